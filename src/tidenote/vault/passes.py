"""One folder, pass after pass: what is due, what was found there, what the plan needs to know, and what came of it.

Find (scan.py), decide (plan.py), do (apply.py). Here is what lies between two passes: what is dirty, what has not
settled, what is held. When a pass is made, and when none may be, is daemon.py's matter.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from tidenote.client.journal import BaseEntry, Journal
from tidenote.core.keys import key_of_path, path_of_key, portability_problem
from tidenote.core.version import Change
from tidenote.errors import FolderError, RefusedChange, StorageError
from tidenote.vault.apply import Applier, Outcome
from tidenote.vault.bases import Bases
from tidenote.vault.files import Files
from tidenote.vault.ignore import IgnoreRules
from tidenote.vault.plan import MAX_DELETIONS, Held, Plan, Remote, Settings, Why, World, folders_above, plan, tombstone
from tidenote.vault.scan import Scan, always, scan_folder, scan_paths
from tidenote.vault.settling import Settling
from tidenote.vault.work import Work
from tidenote.wire.messages import HoldDecision, HoldKind

logger = logging.getLogger("tidenote.vault")

RECENT_S: Final = 2.0
"""Deletions within this time belong to one pass for the guard, however the hints arrive."""

FIRST_RETRY_S: Final = 1.0
"""The pause before something that failed is tried again; each is twice as long as the one before."""

MAX_RETRY_S: Final = 60.0
"""The longest of these pauses."""

OPEN_RETRY_S: Final = 2.0
"""The pause before something is tried again that a program has open: nothing says when it is closed."""

MAX_DIRTY: Final = 10_000
"""With more dirty paths than this it is cheaper to look everywhere."""

KINDS: Final[dict[Why, HoldKind]] = {
    Why.DELETIONS_OUT: "delete_out",
    Why.DELETIONS_IN: "delete_in",
    Why.DELETED_ELSEWHERE: "delete_in",
    Why.QUARANTINE: "quarantine",
}
"""What a person is asked where something is held; for anything else there is nothing to decide."""

EMPTY: Final = "the folder is empty, and it was not before; confirm the deletions if that is meant"


class Unfit(FolderError):
    """The folder cannot be synced as it is now: pause until it can."""


class Emptied(Unfit):
    """Nothing is in the folder any more: pause until a person decides, or something is in it again."""

    def __init__(self) -> None:
        super().__init__(EMPTY)


@dataclass(slots=True)
class Report:
    """What a sync did.

    Attributes:
        sent: changes of this folder.
        received: files that were written, moved or removed here.
        held: what waits for a person, or for the disk.
        skipped: what cannot be synced here, and why.
    """

    sent: int = 0
    received: int = 0
    held: tuple[Held, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def operations(self) -> int:
        """How much moved either way; 0 when nothing was to do."""
        return self.sent + self.received


class Passes:
    """Makes passes over a folder, one at a time.

    Args:
        files: the folder.
        journal: what is known of it, and of the vault.
        bases: the remembered base, kept in step with the journal's.
        applier: does what is decided.
        work: how to wait, and by which clocks.
        rules: what does not sync.
        settle_ms: how long a file must be left alone before it is sent.
        settle_empty_ms: how long an empty one: many editors truncate before they write.
        confirm_deletes: whether many deletions at once are carried out at the start.
        wake: called when something became due.
        scanned: called with how many files of a full scan were looked at; may raise `FolderError` to stop it.

    Attributes:
        held: what waits for a person, or for the disk, by path.
        skipped: what cannot be synced here, with reasons.
        awaiting: paths that wait for the server's confirmation of our own change.
        report: what was done since it was replaced.
    """

    def __init__(
        self,
        files: Files,
        journal: Journal,
        bases: Bases,
        applier: Applier,
        work: Work,
        rules: IgnoreRules,
        *,
        settle_ms: int,
        settle_empty_ms: int,
        confirm_deletes: bool = False,
        wake: Callable[[], None] = lambda: None,
        scanned: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._files = files
        self._journal = journal
        self._bases = bases
        self._applier = applier
        self._work = work
        self.rules = rules
        self._settle_s = settle_ms / 1000
        self._clock = Settling(settle_ms, settle_empty_ms, work.monotonic_s, work.wall_ns)
        self._wake = wake
        self._scanned = scanned
        self._dirty: dict[str, float] = {}
        """Name on disk -> when to look at it, on the monotonic clock."""
        self._retry: dict[str, float] = {}
        """Path that failed -> when to try again."""
        self._pauses: dict[str, float] = {}
        """Path that failed -> how long it waits now, s."""
        self._altered: set[str] = set()
        """Paths that others altered."""
        self._full = True
        self._quick = False
        self._missing: dict[str, float] = {}
        """Path whose file is gone -> since when we know."""
        self._recent: deque[tuple[float, int, int]] = deque()
        self._confirmed: set[str] | None = None if confirm_deletes else set()
        self.held: dict[str, Held] = {}
        self.skipped: dict[str, str] = {}
        self.awaiting: set[str] = set()
        self.report = Report()

    # -- what is due

    @property
    def has_work(self) -> bool:
        """Whether anything is to be looked at, now or soon."""
        return self._full or bool(self._dirty) or bool(self._altered)

    @property
    def is_due(self) -> bool:
        """Whether anything is to be looked at now."""
        now = self._work.monotonic_s()
        due = (*self._dirty.values(), *self._retry.values())
        return self._full or bool(self._altered) or any(when <= now for when in due)

    @property
    def next_due_s(self) -> float | None:
        """When something is to be looked at, on the monotonic clock; None if nothing is."""
        return min((*self._dirty.values(), *self._retry.values()), default=None)

    def look_at(self, names: Iterable[str]) -> None:
        """Look at some names on disk, of which somebody says that something happened there."""
        now = self._work.monotonic_s()
        self._dirty.update((name, now) for name in names)
        if len(self._dirty) > MAX_DIRTY:
            self._dirty.clear()
            self.look_everywhere(quick=True)
        self._wake()

    def look_everywhere(self, *, quick: bool = False) -> None:
        """Look at everything; quickly, if sizes and times of modification may be trusted."""
        self._quick = quick and (self._quick or not self._full)
        self._full = True
        self._wake()

    def look_again(self, paths: Iterable[str]) -> None:
        """Look at some paths, wherever they are on disk."""
        now = self._work.monotonic_s()
        for path in paths:
            base = self._bases.file(path)
            self._dirty[base.disk_name if base else path] = now
        self._wake()

    def altered(self, keys: Iterable[str]) -> None:
        """Take what others altered."""
        for key in keys:
            with suppress(RefusedChange):
                self._altered.add(path_of_key(key))
        self._wake()

    def retry_now(self) -> None:
        """Let what failed wait no longer, nor make anybody wait for it."""
        self._retry.clear()

    def confirm_deletes(self, *, emptied: bool) -> int:
        """Carry out the deletions that are held now; return how many.

        Args:
            emptied: whether that is meant of a folder which is empty altogether.
        """
        paths = {path for path, held in self.held.items() if held.why in (Why.DELETIONS_IN, Why.DELETIONS_OUT)}
        if self._confirmed is not None:
            self._confirmed |= paths
        self.look_again(paths)
        if emptied:
            self._confirmed = None
            self.look_everywhere()
        return len(paths)

    def holds(self) -> dict[HoldKind, frozenset[str]]:
        """Return the paths that wait for a person's decision, by its kind."""
        found: dict[HoldKind, set[str]] = {}
        for path, held in self.held.items():
            if kind := KINDS.get(held.why):
                found.setdefault(kind, set()).add(path)
        return {kind: frozenset(paths) for kind, paths in found.items()}

    def decide(self, kind: HoldKind, decision: HoldDecision, paths: Collection[str]) -> None:
        """Do what a person decided about deletions that are held; about the quarantine, the client has to.

        Refused, a file that is gone here is put back from what the replica shows, and one that was deleted elsewhere
        goes out as a new change which has seen the deletion.
        """
        deletes = decision == ("refuse" if kind == "quarantine" else "confirm")
        if deletes:
            if self._confirmed is not None:
                self._confirmed.update(paths)
        elif kind == "delete_out":
            self._put_back(paths)
        elif kind == "delete_in":
            self._remember_deletions(paths)
        self.look_again(paths)

    def _put_back(self, paths: Collection[str]) -> None:
        """Forget that files were here, so that they are not missing but have yet to be written."""
        # Of a change whose bytes were not sent, nothing is left; what shows then is what it was made of.
        self._journal.withdraw(key_of_path(path) for path in paths)
        self.awaiting.difference_update(paths)
        self._journal.set_bases([], paths)
        for path in paths:
            self._bases.drop(path)
        self.altered(key_of_path(path) for path in paths)

    def _remember_deletions(self, paths: Collection[str]) -> None:
        """Note that deletions were seen, so that the files which are still there are newer than they."""
        seen = [
            tombstone(path, winner.dot)
            for path in paths
            if (winner := self._journal.winner(key_of_path(path))) and winner.deleted
        ]
        self._journal.set_bases(seen)
        for base in seen:
            self._bases.put(base)

    def put_all_back(self) -> None:
        """Write everything anew into a folder that was emptied."""
        self._put_back([base.path for base in self._bases if base.content_hash is not None])
        self.look_everywhere()

    @property
    def may_be_empty(self) -> bool:
        """Whether a person confirmed that everything is to be deleted, or nothing is known to have been here."""
        return self._confirmed is None or self._bases.files <= MAX_DELETIONS

    def take_confirmations(self) -> None:
        """Go on with what waited for the server to confirm our own change."""
        if not self.awaiting:
            return
        confirmed = self.awaiting - self._unconfirmed()
        self.awaiting -= confirmed
        settled = []
        for path in sorted(confirmed):
            base, winner = self._bases.get(path), self._journal.winner(key_of_path(path))
            if base is None or winner is None or winner.dot != base.dot:
                # Where we deleted one version, another that nobody had settled may show now.
                self._altered.add(path)
                self._wake()
            elif base.unbased:
                settled.append(replace(base, unbased=False))
        if settled:
            self._settle(settled)

    def _settle(self, bases: list[BaseEntry]) -> None:
        try:
            self._journal.set_bases(bases)
        except StorageError as error:
            if error.code != "storage_full":
                raise
            # A pass finds the same, and waits until there is room.
            self._altered.update(base.path for base in bases)
            self._wake()
            return
        for base in bases:
            self._bases.put(base)

    # -- a pass

    async def make(self) -> bool:
        """Look at what is due, decide, and act; return False if the journal's disk is full.

        Raises:
            Unfit: the folder (`Emptied` if nothing is in it any more), and everything is to be looked at again.
            StorageError: the journal failed.
        """
        full, quick = self._full, self._quick
        names, paths = self._take_due()
        try:
            scan = await self._look(names, paths, full=full, quick=quick)
        except FolderError as error:
            raise Unfit(error.message) from error
        if full and self._is_emptied(scan):
            raise Emptied
        postponed = self._postpone(scan)
        world, settings = await self._world(scan, postponed, full=full), self._settings()
        # Of a whole folder, it takes long enough to keep others from their turn.
        made = await self._work.run(lambda: plan(world, settings)) if full else plan(world, settings)
        self.awaiting |= set(made.waiting)
        if full:
            self.held.clear()
            self.skipped.clear()
        for path in scan.paths:
            self.held.pop(path, None)
            self.skipped.pop(path, None)
        self.skipped.update(scan.skipped)
        self.held.update((held.path, held) for held in made.held)
        try:
            outcome = await self._applier.apply(made)
        except StorageError as error:
            if error.code != "storage_full":
                raise
            logger.error("%s", error.message)
            self.held[""] = Held("", Why.FAILED, error.message)
            self.look_everywhere()
            return False
        self.note(outcome, scan.paths)
        if self._confirmed is None and not self._dirty and not self._full:
            # Said once, for what was gone at the start.
            self._confirmed = set()
        return True

    async def preview(self) -> Plan:
        """Return what a full pass would decide on; nothing is done.

        Raises:
            FolderError: the folder is unfit.
        """
        scan = await self._work.run(lambda: scan_folder(self._files, self.rules, self._bases, settled=always))
        self.rules = scan.rules
        return plan(await self._world(scan, set(), full=True), self._settings())

    def note(self, outcome: Outcome, planned: Iterable[str] = ()) -> None:
        """Keep count of what was done, and of what has to be done again."""
        now = self._work.monotonic_s()
        self.awaiting |= outcome.unconfirmed
        self.report.sent += outcome.sent
        self.report.received += outcome.received
        if outcome.deleted_out or outcome.deleted_in:
            self._recent.append((now, outcome.deleted_out, outcome.deleted_in))
        for name in sorted(outcome.again):
            self._dirty.setdefault(name, now + self._settle_s)
        failed = {held.path for held in outcome.failed}
        for path in planned:
            if path not in failed:
                self._pauses.pop(path, None)
        for held in outcome.failed:
            self.held[held.path] = held
            longer_s = min(MAX_RETRY_S, 2 * self._pauses.get(held.path, FIRST_RETRY_S / 2))
            self._pauses[held.path] = OPEN_RETRY_S if held.why is Why.OPEN else longer_s
            self._retry[held.path] = now + self._pauses[held.path]
        if self._confirmed:
            self._confirmed &= self.held.keys() | self.awaiting | self._altered

    # -- find

    def _take_due(self) -> tuple[set[str], set[str]]:
        """Return the names on disk and the paths that are due, and forget that they are."""
        now = self._work.monotonic_s()
        names = {name for name, due in self._dirty.items() if due <= now}
        paths = self._altered | {path for path, due in self._retry.items() if due <= now}
        if self._full:
            names, paths = set(self._dirty), set(self._retry) | self._altered
        for name in names:
            del self._dirty[name]
        for path in paths:
            self._retry.pop(path, None)
        self._altered = set()
        self._full = self._quick = False
        return names, paths

    async def _look(self, names: set[str], paths: set[str], *, full: bool, quick: bool) -> Scan:
        """Scan what is due, and what a rename may have to do with it.

        Raises:
            FolderError: the folder is unfit.
        """
        if full:
            return await self._look_at_all(quick=quick)
        paths |= self._held_around(names | paths)
        disk_names = names | {base.disk_name if (base := self._bases.file(path)) else path for path in paths}
        scan = await self._work.run(lambda: self._scan_paths(disk_names))
        # A new file may be the second half of a rename of which we have not heard the first.
        elsewhere = {
            base.disk_name
            for entry in scan.entries.values()
            for path in self._bases.with_inode(entry.inode)
            if path not in scan.paths and (base := self._bases.file(path)) and base.content_hash == entry.content_hash
        }
        if elsewhere:
            other = await self._work.run(lambda: self._scan_paths(elsewhere))
            scan.entries.update(other.entries)
            scan.skipped.update(other.skipped)
            scan.taken |= other.taken
            scan.unsettled.update(other.unsettled)
            scan.paths |= other.paths
        return scan

    def _held_around(self, names: set[str]) -> set[str]:
        """Return what is held above and below the names: they may be, or have been, what was in its way."""
        if not self.held:
            return set()
        above = {folder for name in names for folder in folders_above(name)}
        return {path for path in self.held if path in above or not names.isdisjoint(folders_above(path))}

    async def _look_at_all(self, *, quick: bool) -> Scan:
        for _ in range(3):
            scan = await self._work.run(
                lambda: scan_folder(
                    self._files,
                    self.rules,
                    self._bases,
                    quick=quick,
                    settled=self._clock.settled,
                    now_ns=self._work.wall_ns,
                    progress=self._scanned,
                )
            )
            # Files that were moved meanwhile may have been missed: a missed file would be a deletion.
            if not scan.unsteady:
                break
        self.rules = scan.rules
        self._clock.keep(scan.unsettled.values())
        return scan

    def _scan_paths(self, disk_names: Iterable[str]) -> Scan:
        return scan_paths(self._files, self.rules, self._bases, disk_names, settled=self._clock.settled)

    def _is_emptied(self, scan: Scan) -> bool:
        """Say whether nothing at all is left of many files: more likely a disk's fault than a person's wish."""
        nothing = not scan.entries and not scan.skipped and not scan.unsettled
        return nothing and self._bases.files > MAX_DELETIONS and self._confirmed is not None

    def _postpone(self, scan: Scan) -> set[str]:
        """Take out of a scan what has not settled, and return it: files being written, and deletions just seen."""
        now = self._work.monotonic_s()
        for disk_name in scan.unsettled.values():
            self._dirty[disk_name] = self._clock.due(disk_name)
        arrived = {(entry.inode, entry.content_hash) for entry in scan.entries.values()}
        early: dict[str | None, float] = {}
        postponed = {*scan.unsettled, *self._applier.fetches}
        for path in scan.paths:
            base = self._bases.file(path)
            gone = path not in scan.entries and scan.skipped.keys().isdisjoint((path, *folders_above(path)))
            if base is None or not gone:
                self._missing.pop(path, None)
                continue
            due = self._missing.setdefault(path, now) + self._settle_s
            # An editor may be about to put the file back. A rename is complete as it is.
            if now < due and (base.inode, base.content_hash) not in arrived:
                self._dirty[base.disk_name] = due
                postponed.add(path)
                early[base.content_hash] = due
        for path in self._missing.keys() - scan.paths:
            base = self._bases.file(path)
            if base and (due := self._dirty.get(base.disk_name, now)) > now:
                early[base.content_hash] = due
        for path, entry in scan.entries.items():
            # It may be what was deleted, under another name.
            if entry.content_hash in early and self._bases.file(path) is None:
                self._dirty[entry.disk_name] = early[entry.content_hash]
                postponed.add(path)
        scan.paths -= postponed
        return postponed

    # -- what the plan needs to know

    async def _world(self, scan: Scan, postponed: set[str], *, full: bool) -> World:
        """Return what the planner sees: the scan beside the base and the replica."""
        replica: dict[str, Remote] = {}
        if full:
            for number, (key, winner) in enumerate(self._journal.winners()):
                with suppress(RefusedChange):
                    replica[path_of_key(key)] = self._remote(path_of_key(key), winner)
                if number % 256 == 255:
                    await self._work.breathe()
            scan.paths |= replica.keys() - postponed
        else:
            for path in scan.paths:
                self._show(path, replica)
            for remote in list(replica.values()):
                if remote.moved_to and remote.moved_to not in replica:
                    self._show(remote.moved_to, replica)
        unconfirmed = self._unconfirmed()
        unsent = {path for path in unconfirmed & scan.paths if self._is_unsent(path)}
        self.awaiting |= {path for path in unsent if (base := self._bases.file(path)) and base.unbased}
        uploading = {path_of_key(key) for key in self._journal.only_here()} if unconfirmed else set()
        recent_out, recent_in = self._recent_deletions(scan.paths)
        return World(
            frozenset(scan.paths),
            {path: entry for path, entry in scan.entries.items() if path in scan.paths},
            self._bases,
            replica,
            scan.skipped,
            unsent,
            uploading,
            {path_of_key(row.change.key) for row in self._journal.uploads()} if uploading else set(),
            {path_of_key(key) for key in self._journal.quarantined()},
            recent_out,
            recent_in,
            taken=frozenset(scan.taken),
        )

    def _show(self, path: str, replica: dict[str, Remote]) -> None:
        with suppress(RefusedChange):
            if winner := self._journal.winner(key_of_path(path)):
                replica[path] = self._remote(path, winner)

    def _remote(self, path: str, winner: Change) -> Remote:
        base = self._bases.get(path)
        if base and base.dot == winner.dot and (base.content_hash is None) == winner.deleted:
            content_hash = base.content_hash
        else:
            content_hash = winner.content_hash
        moved_to = path_of_key(winner.moved_to) if winner.moved_to else None
        return Remote(winner.dot, content_hash, moved_to, winner.blob is not None)

    def _unconfirmed(self) -> set[str]:
        return {key.partition(":")[2] for key in self._journal.unconfirmed_keys()}

    def _is_unsent(self, path: str) -> bool:
        """Say whether the base is a change that only we have."""
        base = self._bases.get(path)
        return base is not None and base.dot in self._journal.unconfirmed_dots(key_of_path(path))

    def _recent_deletions(self, planned: set[str]) -> tuple[int, int]:
        """Return how many deletions went out and came in just before, or are held beside those that are planned now."""
        oldest = self._work.monotonic_s() - RECENT_S
        while self._recent and self._recent[0][0] < oldest:
            self._recent.popleft()
        held = [held.why for path, held in self.held.items() if path not in planned]
        return (
            sum(out for _, out, _ in self._recent) + held.count(Why.DELETIONS_OUT),
            sum(into for _, _, into in self._recent) + held.count(Why.DELETIONS_IN),
        )

    def _settings(self) -> Settings:
        return Settings(
            ignored=self.rules.ignored,
            name_problem=portability_problem if sys.platform == "win32" else lambda _: None,
            traits=self._files.traits,
            confirmed=self._confirmed,
        )
