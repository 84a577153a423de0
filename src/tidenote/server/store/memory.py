"""A store in memory: for the simulation, and the plainest statement of what a store does.

Pure Python and deterministic. What "disk" means here is `copy`: a copy is what a crash, a backup or a standby keeps.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from tidenote.core.crdt import CrdtEntry
from tidenote.core.intake import Batch, server_author, take_in
from tidenote.core.register import EMPTY, Register
from tidenote.core.version import Change, Dot, Record, Version
from tidenote.server.store.contract import MAX_BEHIND, VaultInfo, unknown_vault
from tidenote.server.store.paging import Weight, fitting, text_size
from tidenote.wire.messages import MAX_MESSAGE_BYTES, MAX_MESSAGE_CHANGES
from tidenote.wire.session import Page


@dataclass(slots=True)
class _Vault:
    """One vault's log.

    Attributes:
        info: as told.
        versions: all of them, by key and dot, in the order of their receipts.
        entries: the current ones, in the order of their `changed_at`: what alters moves to the end.
    """

    info: VaultInfo
    versions: dict[str, dict[Dot, Version]] = field(default_factory=dict)
    entries: dict[str, CrdtEntry] = field(default_factory=dict)

    def copy(self) -> _Vault:
        versions = {key: dict(found) for key, found in self.versions.items()}
        return _Vault(self.info, versions, dict(self.entries))

    def append(self, batch: Batch) -> None:
        for version in batch.versions:
            self.versions.setdefault(version.change.key, {})[version.dot] = version
        for entry in batch.entries:
            self.entries.pop(entry.key, None)
            self.entries[entry.key] = entry
        self.info = replace(self.info, clock=batch.clock)


@dataclass(frozen=True, slots=True)
class _View:
    """The log as `core.intake` sees it."""

    vault: _Vault
    has_blob: Callable[[str], bool]

    @property
    def clock(self) -> int:
        return self.vault.info.clock

    def register(self, key: str) -> Register:
        entry = self.vault.entries.get(key)
        return entry.register if entry else EMPTY

    def record(self, key: str, dot: Dot) -> Record | None:
        version = self.version(key, dot)
        return Record.of(version) if version else None

    def version(self, key: str, dot: Dot) -> Version | None:
        return self.vault.versions.get(key, {}).get(dot)

    def had_content(self, key: str, content_hash: str) -> bool:
        siblings = self.register(key).dots
        return any(
            dot not in siblings and version.change.content_hash == content_hash
            for dot, version in self.vault.versions.get(key, {}).items()
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

    def copy(self) -> MemoryStore:
        """Return a store that holds what this one holds now; both go on independently."""
        copy = MemoryStore(self._new_token)
        copy._vaults = {name: vault.copy() for name, vault in self._vaults.items()}
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
        has_blob: Callable[[str], bool],
    ) -> Batch:
        """Take pushes in, all or nothing."""
        log = self._vault(vault)
        log.info.check_writable()
        view, author = _View(log, has_blob), server_author(log.info.epoch)
        batch = take_in(view, pushes, author=author, wall_ms=wall_ms, on_tie=log.info.on_tie)
        log.append(batch)
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

    def manifest(self, vault: str, after: str | None, limit: int) -> list[tuple[str, frozenset[Dot]]]:
        """Return keys with the dots of their siblings, ordered by key."""
        entries = self._vault(vault).entries
        keys = sorted(key for key in entries if after is None or key > after)
        return [(key, entries[key].register.dots) for key in keys[:limit]]

    def history(self, vault: str, key: str) -> list[Version]:
        """Return all versions that a key ever had, by receipt."""
        return list(self._vault(vault).versions.get(key, {}).values())

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

    def _vault(self, name: str) -> _Vault:
        if name not in self._vaults:
            raise unknown_vault(name)
        return self._vaults[name]


def _weight(entry: CrdtEntry) -> Weight:
    return Weight.of(entry.key, ((text_size(change), change.moved_to) for change in entry.register.siblings))
