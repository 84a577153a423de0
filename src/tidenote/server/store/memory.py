"""A store in memory: for the simulation, and the plainest statement of what a store does.

Pure Python and deterministic. What "disk" means here is `copy`: a copy is what a crash, a backup or a standby keeps.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import count

from tidenote.core.crdt import CrdtEntry
from tidenote.core.intake import Batch, server_author, take_in
from tidenote.core.keys import owner_of
from tidenote.core.merge import merge_text
from tidenote.core.merged import Merge
from tidenote.core.register import EMPTY, Context, Register
from tidenote.core.retention import DAY_MS, Policy, is_forgettable, surplus, surplus_incarnations
from tidenote.core.version import BlobRef, Change, Dot, Head, Record, Version
from tidenote.server.store.contract import MAX_BEHIND, Device, Swept, TooMuchAtOnce, VaultInfo, keys_of, unknown_vault
from tidenote.server.store.paging import Weight, fitting
from tidenote.server.store.registry import MemoryRegistry
from tidenote.wire.messages import MAX_MESSAGE_BYTES, MAX_MESSAGE_CHANGES
from tidenote.wire.session import Page


@dataclass(slots=True)
class _Vault:
    """One vault's log.

    Attributes:
        info: as told.
        records: of all versions, by key and dot, in the order of their receipts.
        versions: those of them whose content is kept.
        entries: the current ones, in the order of their `changed_at`: what alters moves to the end.
        forgotten: what the registers of keys have seen whose tombstones are forgotten.
        devices: by their ids.
    """

    info: VaultInfo
    records: dict[str, dict[Dot, Record]] = field(default_factory=dict)
    versions: dict[str, dict[Dot, Version]] = field(default_factory=dict)
    entries: dict[str, CrdtEntry] = field(default_factory=dict)
    forgotten: dict[str, Context] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)

    def copy(self) -> _Vault:
        versions = {key: dict(found) for key, found in self.versions.items()}
        records = {key: dict(found) for key, found in self.records.items()}
        return _Vault(self.info, records, versions, dict(self.entries), dict(self.forgotten), dict(self.devices))

    def append(self, batch: Batch, wall_ms: int) -> None:
        for version in batch.versions:
            version = replace(version, received_at=wall_ms)
            self.records.setdefault(version.change.key, {})[version.dot] = Record.of(version)
            self.versions.setdefault(version.change.key, {})[version.dot] = version
        for entry in batch.entries:
            self.entries.pop(entry.key, None)
            self.forgotten.pop(entry.key, None)
            self.entries[entry.key] = entry
        self.info = replace(self.info, clock=batch.clock)

    def size_of(self, keys: Iterable[str]) -> int:
        """Return how many characters the siblings of some keys have together."""
        entries = (self.entries[key] for key in keys if key in self.entries)
        return sum(len(change.value or "") for entry in entries for change in entry.register.siblings)


@dataclass(frozen=True, slots=True)
class _View:
    """The log as `core.intake` sees it."""

    vault: _Vault
    check_blob: Callable[[BlobRef], object]

    @property
    def clock(self) -> int:
        return self.vault.info.clock

    def register(self, key: str) -> Register:
        entry = self.vault.entries.get(key)
        if entry is None and key in self.vault.forgotten:
            return Register((), self.vault.forgotten[key])
        return entry.register if entry else EMPTY

    def changed_at(self, key: str) -> int:
        entry = self.vault.entries.get(key)
        return entry.changed_at if entry else 0

    def record(self, key: str, dot: Dot) -> Record | None:
        return self.vault.records.get(key, {}).get(dot)

    def version(self, key: str, dot: Dot) -> Version | None:
        return self.vault.versions.get(key, {}).get(dot)

    def had_content(self, key: str, content_hash: str, before: int) -> bool:
        siblings = self.register(key).dots
        return any(
            dot not in siblings and record.receipt < before and record.content_hash == content_hash
            for dot, record in self.vault.records.get(key, {}).items()
        )


class MemoryStore:
    """A store that forgets everything when it is dropped.

    Args:
        new_token: returns 8 hex digits for a new epoch; by default it counts.
    """

    def __init__(self, new_token: Callable[[], str] | None = None) -> None:
        numbers = count(1)
        self._new_token = new_token or (lambda: f"{next(numbers):08x}")
        self._vaults: dict[str, _Vault] = {}
        self.registry = MemoryRegistry()

    def copy(self) -> MemoryStore:
        """Return a store that holds what this one holds now; both go on independently."""
        copy = MemoryStore(self._new_token)
        copy._vaults = {name: vault.copy() for name, vault in self._vaults.items()}
        copy.registry = deepcopy(self.registry)
        return copy

    def vault(self, name: str) -> VaultInfo:
        """Return a vault."""
        return self._vault(name).info

    def vaults(self) -> list[VaultInfo]:
        """Return all vaults, ordered by name."""
        return sorted((vault.info for vault in self._vaults.values()), key=lambda info: info.name)

    def create_vault(self, name: str) -> VaultInfo:
        """Create an empty vault; return it as it is if it exists."""
        if name not in self._vaults:
            self._vaults[name] = _Vault(VaultInfo.new(name, self._new_token()))
        return self._vaults[name].info

    def take_in(
        self,
        vault: str,
        pushes: Sequence[Sequence[Change]],
        *,
        wall_ms: int,
        check_blob: Callable[[BlobRef], object],
        settle: Iterable[str] = (),
        merge: Merge = merge_text,
        max_read: int | None = None,
    ) -> Batch:
        """Take pushes in, all or nothing."""
        log = self._vault(vault)
        log.info.check_writable()
        if max_read is not None and log.size_of(keys_of(pushes)) > max_read:
            raise TooMuchAtOnce
        view, author = _View(log, check_blob), server_author(log.info.epoch)
        batch = take_in(
            view, pushes, author=author, wall_ms=wall_ms, on_tie=log.info.on_tie, settle=settle, merge=merge
        )
        log.append(batch, wall_ms)
        return batch

    def changes_since(
        self,
        vault: str,
        cursor: int,
        *,
        max_changes: int = MAX_MESSAGE_CHANGES,
        max_bytes: int = MAX_MESSAGE_BYTES,
    ) -> Page:
        """Return the next page of keys that altered after a cursor."""
        log = self._vault(vault)
        entries = list(log.entries.values())
        found = entries[bisect_right(entries, cursor, key=lambda entry: entry.changed_at) :]
        number = fitting([_weight(entry) for entry in found[: max_changes + 1]], max_changes, max_bytes)
        left = len(found) - number
        up_to = found[number - 1].changed_at if left else log.info.clock
        return Page(tuple(found[:number]), up_to, min(left, MAX_BEHIND))

    def entries(self, vault: str, keys: Iterable[str]) -> list[CrdtEntry]:
        """Return the state of some keys; those that nobody wrote are left out."""
        entries = self._vault(vault).entries
        return [entries[key] for key in dict.fromkeys(keys) if key in entries]

    def manifest(self, vault: str, after: str | None, limit: int) -> list[tuple[str, dict[Dot, Head]]]:
        """Return keys with the dots of their siblings and what is compared of them, ordered by key."""
        entries = self._vault(vault).entries
        keys = sorted(key for key in entries if after is None or key > after)
        return [(key, entries[key].register.heads) for key in keys[:limit]]

    def listed(self, vault: str, prefix: str, after: str | None, limit: int) -> list[tuple[str, list[Record]]]:
        """Return keys with the records of their siblings, ordered by key."""
        log = self._vault(vault)
        keys = sorted(key for key in log.entries if key.startswith(prefix) and (after is None or key > after))
        return [(key, [log.records[key][dot] for dot in log.entries[key].register.dots]) for key in keys[:limit]]

    def count_notes(self, vault: str) -> int:
        """Return how many keys have a sibling that is not a deletion."""
        entries = self._vault(vault).entries.values()
        return sum(any(not change.deleted for change in entry.register.siblings) for entry in entries)

    def history(self, vault: str, key: str) -> list[Version]:
        """Return the versions of a key whose content is kept, by receipt."""
        return list(self._vault(vault).versions.get(key, {}).values())

    def records(self, vault: str, key: str, *, before: int | None = None, limit: int | None = None) -> list[Record]:
        """Return the latest records of all versions that a key ever had, by receipt."""
        found = self._vault(vault).records.get(key, {}).values()
        wanted = [record for record in found if before is None or record.receipt < before]
        return wanted if limit is None else wanted[max(0, len(wanted) - limit) :]

    def records_of(self, vault: str, key: str, dots: Collection[Dot]) -> list[Record]:
        """Return the records of some versions of a key, by receipt."""
        return [record for record in self.records(vault, key) if record.dot in dots]

    def version(self, vault: str, key: str, dot: Dot) -> Version | None:
        """Return one version; None if it never arrived or its content is no longer kept."""
        return self._vault(vault).versions.get(key, {}).get(dot)

    def renames_to(self, vault: str, key: str, before: int) -> list[Record]:
        """Return the tombstones of keys that were renamed to a key, by receipt."""
        return [record for record in self._log(vault) if record.moved_to == key and record.receipt < before]

    def receipt_at(self, vault: str, time_ms: int) -> int:
        """Return the last receipt that was given at a time or before it."""
        found = 0
        for record in self._log(vault):
            if record.received_at > time_ms:
                break
            found = record.receipt
        return found

    def altered_since(self, vault: str, receipt: int) -> list[str]:
        """Return the keys that altered after a receipt, ordered."""
        log = self._vault(vault)
        return sorted([*(key for key, entry in log.entries.items() if entry.changed_at > receipt), *log.forgotten])

    def written_by(self, vault: str, owner: str, after: int) -> list[str]:
        """Return the keys that a device wrote after a receipt, ordered."""
        return sorted(
            {
                record.key
                for record in self._log(vault)
                if record.receipt > after and owner_of(record.dot.device_id) == owner
            }
        )

    def deleted(self, vault: str, after: str | None, limit: int) -> list[str]:
        """Return keys that are deleted and were not renamed, ordered."""
        found = [
            key
            for key, entry in sorted(self._vault(vault).entries.items())
            if after is None or key > after
            if all(change.deleted and not change.moved_to for change in entry.register.siblings)
        ]
        return found[:limit]

    def pack(self, vault: str, *, max_versions: int = 64, max_bytes: int = 2**20) -> int:  # noqa: ARG002
        """Pack nothing: memory needs no packing."""
        self._vault(vault)
        return 0

    def sweep(
        self,
        vault: str,
        after: str | None,
        *,
        now_ms: int,
        policy: Policy,
        max_keys: int = 50,
        dry_run: bool = False,
    ) -> Swept:
        """Let go what the policy keeps no longer, of some keys."""
        log = self._vault(vault)
        keys = sorted(key for key in log.records if after is None or key > after)[:max_keys]
        seen_ms = now_ms - policy.device_days * DAY_MS
        cursors = [device.cursor for device in log.devices.values() if device.cursor and device.last_seen > seen_ms]
        versions = size = tombstones = gone_before = 0
        for key in keys:
            records = list(log.records[key].values())
            entry = log.entries.get(key)
            standing = entry.register.dots if entry else frozenset()
            if entry and is_forgettable(
                records, standing, entry.changed_at, now_ms=now_ms, policy=policy, cursors=cursors
            ):
                tombstones += 1
                gone_before = max(gone_before, entry.changed_at)
                standing = frozenset()
                if not dry_run:
                    log.forgotten[key] = log.entries.pop(key).register.context
            for dot in surplus(records, standing, now_ms=now_ms, policy=policy, cursors=cursors):
                record = log.records[key][dot]
                versions += 1
                size += record.size
                if not dry_run:
                    log.records[key][dot] = replace(record, gone=True)
                    del log.versions[key][dot]
        swept = Swept(keys[-1] if len(keys) == max_keys else None, versions, size, tombstones)
        if not dry_run:
            gone_before = max(log.info.tombstones_gone_before, gone_before)
            swept_at = log.info.swept_at if swept.after else now_ms
            log.info = replace(log.info, tombstones_gone_before=gone_before, swept_at=swept_at)
        return swept

    def note_devices(self, vault: str, seen: Mapping[str, tuple[int, int]]) -> None:
        """Note how far devices are."""
        log = self._vault(vault)
        for device_id, (cursor, last_seen) in seen.items():
            log.devices[device_id] = Device(device_id, cursor, log.info.epoch, last_seen)
        for device_id in surplus_incarnations({name: device.last_seen for name, device in log.devices.items()}):
            del log.devices[device_id]

    def devices(self, vault: str) -> list[Device]:
        """Return the devices that were ever noted, ordered by their ids."""
        return [device for _, device in sorted(self._vault(vault).devices.items())]

    def forget_device(self, vault: str, owner: str) -> None:
        """Forget how far a device and its incarnations are."""
        log = self._vault(vault)
        log.devices = {name: device for name, device in log.devices.items() if owner_of(name) != owner}

    def blobs_in_use(self, hashes: Iterable[str]) -> set[str]:
        """Return those of some blobs that a version of any vault names whose content is kept."""
        named = {
            record.blob.sha256 for name in self._vaults for record in self._log(name) if record.blob and not record.gone
        }
        return named.intersection(hashes)

    def open_conflicts(self, vault: str, after: str | None, limit: int) -> list[str]:
        """Return keys that a person should look at, in order."""
        return [
            key
            for key, entry in sorted(self._vault(vault).entries.items())
            if after is None or key > after
            if len(entry.register.siblings) > 1 or any(change.conflict for change in entry.register.siblings)
        ][:limit]

    def new_generation(self, vault: str, *, wall_ms: int) -> VaultInfo:
        """Begin a new epoch."""
        log = self._vault(vault)
        log.info = log.info.next_generation(self._new_token(), wall_ms)
        return log.info

    def fence(self, vault: str, by_epoch: str) -> None:
        """Give way to a later generation."""
        log = self._vault(vault)
        log.info = log.info.fence(by_epoch)

    def set_on_tie(self, vault: str, on_tie: str) -> VaultInfo:
        """Set what to do with ties."""
        log = self._vault(vault)
        log.info = log.info.settle_ties(on_tie)
        return log.info

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def _log(self, vault: str) -> list[Record]:
        """Return the records of all keys, by receipt."""
        found = (record for records in self._vault(vault).records.values() for record in records.values())
        return sorted(found, key=lambda record: record.receipt)

    def _vault(self, name: str) -> _Vault:
        if name not in self._vaults:
            raise unknown_vault(name)
        return self._vaults[name]


def _weight(entry: CrdtEntry) -> Weight:
    return Weight.of(entry.key, ((change.weight, change.moved_to) for change in entry.register.siblings))
