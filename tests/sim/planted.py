"""Bugs that the product could have, planted from outside: what finds none of them is no evidence of anything.

Each takes one safeguard of the product away, as a slip in a change would. None has a test of its own: the invariants
have to find it in worlds that know nothing of it. Nothing in the product knows that this is here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

from sim.device import Device, SimJournal
from sim.disk import SimDisk
from sim.options import Options
from sim.server import Server
from tidenote.client.data_sync import DataSync
from tidenote.client.journal import BaseEntry, Journal, Meta, OutboxRow, Write
from tidenote.client.journal_tables import Tables
from tidenote.core import keys, resolve
from tidenote.core.crdt import CrdtEntry
from tidenote.core.intake import Batch, _Intake
from tidenote.core.merged import Merged
from tidenote.core.register import Register
from tidenote.core.version import Change, Dot, Head, Record, Version
from tidenote.server.store import memory
from tidenote.server.store.memory import MemoryStore
from tidenote.vault import bases, plan, scan
from tidenote.vault.apply import Applier, Outcome
from tidenote.vault.files import FileProblem, RealFiles, Stat
from tidenote.vault.passes import Passes
from tidenote.vault.plan import DiskEntry, Remote, _Planner
from tidenote.wire.messages import Rejected
from tidenote.wire.session import ClientSession, Publication, Received, ServerSession


@dataclass(frozen=True)
class Planted:
    """A bug that can be planted.

    Attributes:
        name: in a word.
        what: the product does then.
        plant: puts it into the product for a while.
        found_by: the invariants that find it, the one or the other, depending on what happens first.
        within: in how many seeds, counted from 0, it has to.
        options: what is not as those seeds draw it, so that the fault which it takes is in them.
    """

    name: str
    what: str
    plant: Callable[[], AbstractContextManager[None]]
    found_by: str
    within: int
    options: Mapping[str, Any]

    def world_of(self, seed: int) -> Options:
        """Return the options of a seed's world."""
        return replace(Options.draw(seed), **self.options)


ALL: Final[dict[str, Planted]] = {}


def planted(found_by: str, within: int, **options: Any) -> Callable[[Callable[[], Iterator[None]]], None]:
    """Note a bug under its function's name; its docstring says what the product does then."""

    def add(plant: Callable[[], Iterator[None]]) -> None:
        what = (plant.__doc__ or "").rstrip(".")
        ALL[plant.__name__] = Planted(plant.__name__, what, contextmanager(plant), found_by, within, options)

    return add


# ---------------------------------------------------------------------------------------------- the server


@planted("I2, I6, I11", within=5)
def early_acknowledgement() -> Iterator[None]:
    """The server acknowledges a change before it commits it."""
    commit = Server.sync

    def sync(self: Server, vault: str, batch: Batch) -> None:
        running = self.store
        self.world.after(5, lambda: commit(self, vault, batch) if self.store is running else None)

    with patch.object(Server, "sync", sync):
        yield


@planted("I2", within=40, rollbacks=True)
def duplicate_by_dot() -> Iterator[None]:
    """The server takes a change for one that it has by the dot alone, whatever it says."""
    with patch.object(Record, "is_of", lambda *_: True):
        yield


@planted("I6, I7", within=5)
def loser_dropped() -> Iterator[None]:
    """Of concurrent changes the server keeps the winner only."""
    append = _Intake.append

    def only_winner(self: _Intake, version: Version) -> None:
        append(self, version)
        register = self.register(version.change.key)
        if register.winner and len(register.siblings) > 1:
            self.registers[version.change.key] = Register((register.winner,), register.context)

    with patch.object(_Intake, "append", only_winner):
        yield


@planted("I8", within=5)
def merge_drops_side() -> Iterator[None]:
    """A merge takes the text of the later side."""
    take_in = MemoryStore.take_in

    def taking_one(self: MemoryStore, *given: Any, **named: Any) -> Batch:
        return take_in(self, *given, **named, merge=lambda base, first, second: Merged(second))

    with patch.object(MemoryStore, "take_in", taking_one):
        yield


@planted("I8", within=10)
def move_without_edits() -> Iterator[None]:
    """Edits of a note that was renamed are deleted at its old name, and do not come along."""
    with patch.object(resolve, "_receive", lambda *_: []):
        yield


@planted("I8", within=5)
def history_dropped() -> Iterator[None]:
    """The log keeps a version only as long as nothing has replaced it."""
    append = memory._Vault.append

    def forgetting(self: memory._Vault, batch: Batch, wall_ms: int) -> None:
        append(self, batch, wall_ms)
        for key, dots in batch.replaced.items():
            for dot in dots:
                self.versions[key].pop(dot, None)

    with patch.object(memory._Vault, "append", forgetting):
        yield


@planted("I1, I6, I7", within=10)
def tombstone_dropped() -> Iterator[None]:
    """The log forgets a key as soon as it is deleted, with all that its register has seen."""
    append = memory._Vault.append

    def forgetting(self: memory._Vault, batch: Batch, wall_ms: int) -> None:
        append(self, batch, wall_ms)
        for entry in batch.entries:
            if all(change.deleted for change in entry.register.siblings):
                del self.entries[entry.key]

    with patch.object(memory._Vault, "append", forgetting):
        yield


@planted("I3", within=50, restores=True)
def manifest_without_tombstones() -> Iterator[None]:
    """The manifest of a full reconcile lists no deleted keys."""

    def manifest(self: MemoryStore, vault: str, after: str | None, limit: int) -> list[tuple[str, dict[Dot, Head]]]:
        entries = self._vault(vault).entries
        listed = [
            (key, entry.register.heads)
            for key, entry in sorted(entries.items())
            if (after is None or key > after) and not all(change.deleted for change in entry.register.siblings)
        ]
        return listed[:limit]

    with patch.object(MemoryStore, "manifest", manifest):
        yield


@planted("I1, I6, I13", within=5, stranger=True)
def vaults_mixed() -> Iterator[None]:
    """A read by key looks into all vaults."""

    def entries(self: MemoryStore, vault: str, keys: Iterable[str]) -> list[CrdtEntry]:
        logs = [self._vaults[name].entries for name in sorted(self._vaults)]
        return [log[key] for key in dict.fromkeys(keys) for log in logs if key in log]

    with patch.object(MemoryStore, "entries", entries):
        yield


# ---------------------------------------------------------------------------------------------- the wire


@planted("I6, I8", within=5, lost_publications=0.3)
def publication_misfit() -> Iterator[None]:
    """A session sends a publication on, although it does not continue what was sent before."""

    def published(self: ServerSession, publication: Publication) -> None:
        self.head = max(self.head, publication.clock)
        if publication.entries is not None:
            self._publications.append(publication)

    with patch.object(ServerSession, "published", published):
        yield


@planted("I9", within=15, lost_publications=0.3)
def lost_publication_unnoticed() -> Iterator[None]:
    """A session does not hear of the log's head, only of publications; a lost one is never made up for."""
    head_is, published = ServerSession.head_is, ServerSession.published

    def told(self: ServerSession, publication: Publication) -> None:
        head_is(self, publication.epoch, publication.clock)
        published(self, publication)

    with patch.object(ServerSession, "head_is", lambda *_: None), patch.object(ServerSession, "published", told):
        yield


@planted("I15", within=40, stalls=5)
def unbounded_queue() -> Iterator[None]:
    """A session keeps any number of publications for a device that does not read."""

    def published(self: ServerSession, publication: Publication) -> None:
        if publication.epoch != self.epoch:
            self.fail("resync_required", "the vault's log was restored or replaced", epoch=publication.epoch)
            return
        self.head = max(self.head, publication.clock)
        end = self._publications[-1].clock if self._publications else self.position
        if publication.entries is not None and publication.previous_clock == end:
            self._publications.append(publication)

    with patch.object(ServerSession, "published", published):
        yield


@planted("I6, I9", within=5, latency_ms=300)
def resend_storm() -> Iterator[None]:
    """A client sends its outbox again without waiting for the answer to what it sent."""
    with patch.object(ClientSession, "can_push", property(lambda self: not self._failed)):
        yield


# ---------------------------------------------------------------------------------------------- the journal


@planted("I6", within=10, kills=10)
def early_cursor() -> Iterator[None]:
    """A journal advances its cursor in one commit and applies what it got in the next."""
    apply = Journal.apply

    def advancing(self: Journal, received: Received) -> frozenset[str]:
        with self._commit():
            self._advance(received)
        return apply(self, received)

    with patch.object(Journal, "apply", advancing):
        yield


@planted("I3, I4", within=5)
def outbox_emptied_by_sending() -> Iterator[None]:
    """A change leaves the outbox when it is sent."""

    def handed(self: Journal, rows: Iterable[OutboxRow]) -> None:
        with self._commit():
            for row in rows:
                self._delete(row)

    with patch.object(Journal, "handed", handed):
        yield


@planted("I14", within=25, kills=10)
def clock_in_memory() -> Iterator[None]:
    """A journal keeps its Lamport clock in memory only, and uses dots again after a crash."""
    put, read = Tables.put_meta, Tables.meta

    def without_clock(self: Tables, **values: str | int | None) -> None:
        clock = values.pop("clock", None)
        if isinstance(clock, int):
            self.__dict__["clock_in_memory"] = clock
        put(self, **values)

    def with_clock(self: Tables) -> Meta:
        found = read(self)
        return replace(found, clock=self.__dict__.get("clock_in_memory", found.clock))

    with patch.object(Tables, "put_meta", without_clock), patch.object(Tables, "meta", with_clock):
        yield


@planted("I4, I6, I8", within=5, power=8)
def journal_not_synced() -> Iterator[None]:
    """A journal does not sync its commits to the disk, and a power cut takes the last ones back."""
    commit, die = SimJournal._commit, Device.die
    images: dict[Device, list[bytes]] = {}

    @contextmanager
    def unsynced(self: SimJournal) -> Iterator[None]:
        kept = images.setdefault(self._device, [])
        kept.append(self._device.database.serialize())
        del kept[:-3]
        with commit(self):
            yield

    def losing(self: Device) -> None:
        is_power_cut = self.power_rng is not None
        die(self)
        if is_power_cut and (kept := images.pop(self, None)):
            self.database.deserialize(kept[0])

    with patch.object(SimJournal, "_commit", unsynced), patch.object(Device, "die", losing):
        yield


@planted("I3, I8", within=5, restores=True)
def lost_taken_for_deleted() -> Iterator[None]:
    """A full reconcile takes what the server lost for deleted."""

    async def deleting(self: DataSync, keys: Sequence[str], *_: Any) -> frozenset[str]:
        self._journal.write(
            [Write(key, base=frozenset(change.dot for change in self._journal.confirmed(key))) for key in keys]
        )
        return frozenset(keys)

    with patch.object(DataSync, "_offer", deleting):
        yield


@planted("I2", within=5, restores=True)
def deletions_not_offered() -> Iterator[None]:
    """A full reconcile offers a restored log the texts that it lost, and not the deletions."""
    offer_all = DataSync._offer_all

    async def texts_only(
        self: DataSync, changes: Sequence[Change], session: ClientSession
    ) -> list[tuple[Change, Rejected]]:
        return await offer_all(self, [change for change in changes if not change.deleted], session)

    with patch.object(DataSync, "_offer_all", texts_only):
        yield


# ---------------------------------------------------------------------------------------------- the folder


@planted("I1, I5", within=10)
def keys_not_normalised() -> Iterator[None]:
    """Keys are what a disk calls its files, in whatever Unicode form."""
    careless = SimpleNamespace(
        normalize=lambda _, text: text, is_normalized=lambda *_: True, category=unicodedata.category
    )
    caches = (keys.key_of_path, keys.check_path)
    with ExitStack() as stack:
        for module in (keys, bases, scan):
            stack.enter_context(patch.object(module, "unicodedata", careless))
        for cached in caches:
            cached.cache_clear()
            stack.callback(cached.cache_clear)
        yield


@planted("I5, I8", within=5, unmounts=4)
def unreadable_taken_for_gone() -> Iterator[None]:
    """A folder that cannot be read counts as empty."""
    names, stat = RealFiles.names, RealFiles.stat

    def names_or_none(self: RealFiles, folder: str) -> list[str]:
        with suppress(FileProblem):
            return names(self, folder)
        return []

    def stat_or_none(self: RealFiles, path: str) -> Stat | None:
        with suppress(FileProblem):
            return stat(self, path)
        return None

    with (
        patch.object(RealFiles, "names", names_or_none),
        patch.object(RealFiles, "stat", stat_or_none),
        patch.object(RealFiles, "check", lambda _: None),
    ):
        yield


@planted("I3", within=50, races=40)
def no_second_look() -> Iterator[None]:
    """A file is replaced or removed without a look at what it holds by then."""
    with patch.object(RealFiles, "_is_still", lambda *_: True):
        yield


@planted("I3", within=5)
def unsent_edit_overwritten() -> Iterator[None]:
    """Where both sides have changed, the folder gets what others wrote and the edit here is not sent."""

    def overwriting(self: _Planner, path: str, now: DiskEntry | None, base: BaseEntry | None, remote: Remote) -> None:
        self.writes.append((path, remote, now.content_hash if now else None))

    with patch.object(_Planner, "_decide_both", overwriting):
        yield


@planted("I8", within=5)
def unseen_claimed() -> Iterator[None]:
    """An edit names as its base what the replica shows when it is sent, not what the file was made of."""
    creation = Applier._creation

    def claiming(self: Applier, entry: DiskEntry, base: frozenset[Dot]) -> Write:
        winner = self._journal.winner(keys.key_of_path(entry.path))
        return creation(self, entry, frozenset([winner.dot]) if winner else base)

    with patch.object(Applier, "_creation", claiming):
        yield


@planted("I4, I5, I8", within=10, kills=10)
def early_base() -> Iterator[None]:
    """The base of a file is remembered before the file is written."""
    announce = Applier._announce

    def remembering(self: Applier, steps: Sequence[plan.Write | plan.MoveLocal]) -> None:
        announce(self, steps)
        self._keep([BaseEntry(it.path, it.remote.dot, it.remote.content_hash, 0, 0, 0, it.disk_name) for it in steps])

    with patch.object(Applier, "_announce", remembering):
        yield


@planted("I4, I5, I8", within=10, power=8)
def folders_not_synced() -> Iterator[None]:
    """What was renamed is not made durable: its folder is not synced."""
    fsync = SimDisk.fsync

    def only_files(self: SimDisk, descriptor: int) -> None:
        if not self._node_of(descriptor).names:
            fsync(self, descriptor)

    with patch.object(SimDisk, "fsync", only_files):
        yield


@planted("I4, I8", within=5, power=8)
def files_not_synced() -> Iterator[None]:
    """A new file is put in place before its bytes are durable."""
    fsync = SimDisk.fsync

    def only_folders(self: SimDisk, descriptor: int) -> None:
        if self._node_of(descriptor).names:
            fsync(self, descriptor)

    with patch.object(SimDisk, "fsync", only_folders):
        yield


@planted("I11", within=5)
def written_in_place() -> Iterator[None]:
    """A new file is written where people see it, not beside and renamed."""
    write = RealFiles.write

    def in_place(self: RealFiles, path: str, source: bytes | Path, expected: str | None) -> tuple[str, Stat]:
        if expected is None and isinstance(source, bytes):
            with suppress(OSError), self._parent(path, make=True) as (parent, name):
                self._create(parent, name, (source,))
                return self._landed(path, self._stat_at(parent, name))
        return write(self, path, source, expected)

    with patch.object(RealFiles, "write", in_place):
        yield


@planted("I12", within=5)
def temporary_outside() -> Iterator[None]:
    """Temporary files lie beside the folder, not in it."""
    temporary = RealFiles._temporary

    with patch.object(RealFiles, "_temporary", lambda self: f"../{temporary(self)}"):
        yield


@planted("I10", within=15, disk_errors=3)
def retried_at_once() -> Iterator[None]:
    """What the disk refused is tried again at once, for as long as it refuses."""
    note = Passes.note

    def hasty(self: Passes, outcome: Outcome, planned: Iterable[str] = ()) -> None:
        note(self, outcome, planned)
        self._retry.update((held.path, 0.0) for held in outcome.failed)

    with patch.object(Passes, "note", hasty):
        yield
