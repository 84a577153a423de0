"""`FolderDaemon`: keeps a folder and a vault the same. Hints say where to look; looking, planning and acting repeat.

    with StateFolder(root) as folder:
        journal = folder.open_journal()
        async with SyncClient(config, journal) as client, FolderDaemon(folder, client) as daemon:
            await daemon.run()

Deciding is plan.py's matter, doing apply.py's. Here is when: what is dirty, what has settled, what is paused.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec

from tidenote.client.client import SyncClient
from tidenote.core.keys import STATE_FOLDER, key_of_path, path_of_key, portability_problem
from tidenote.core.version import Change
from tidenote.errors import FolderError, RefusedChange, StorageError, UnreachableError
from tidenote.vault.apply import Applier, Outcome
from tidenote.vault.bases import Bases
from tidenote.vault.files import Files, RealFiles
from tidenote.vault.folder import FolderStatus, HeldPath, StateFolder
from tidenote.vault.ignore import IGNORE_FILE, IgnoreRules
from tidenote.vault.plan import MAX_DELETIONS, Held, Plan, Remote, Settings, Why, World, folders_above, plan
from tidenote.vault.scan import Scan, always, scan_folder, scan_paths
from tidenote.vault.settling import Settling
from tidenote.vault.watcher import hints

logger = logging.getLogger("tidenote.vault")

TICK_S: Final = 1.0
"""How often the folder's health and the control files are looked at."""

RECENT_S: Final = 2.0
"""Deletions within this time belong to one pass for the guard, however the hints arrive."""

STATUS_EVERY_S: Final = 0.25
"""How often the status file is written at most."""

MAX_RETRY_S: Final = 60.0
"""The longest pause before something that failed is tried again; the first is one second."""

FULL_RETRY_S: Final = 5.0
"""How long to wait for room on a full disk."""

MAX_DIRTY: Final = 10_000
"""With more dirty paths than this it is cheaper to look everywhere."""

MAX_ROUNDS: Final = 200
"""How many passes `once` makes at most: others may write without end."""

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done (`scan`, `sync`), how many are done, and of how many, if that is known."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FolderSettings:
    """How a folder syncs.

    Attributes:
        hidden: whether hidden files and folders sync.
        only_globs: if any, the only files that sync, as gitignore patterns.
        except_globs: what does not sync, as gitignore patterns.
        confirm_deletes: whether many deletions at once are carried out at the start.
        settle_ms: how long a file must be left alone before it is sent.
        settle_empty_ms: how long an empty one: many editors truncate before they write.
        full_scan_s: how often everything is looked at, whatever the hints say.
        poll_s: how often everything is looked at where the system gives no hints.
        watch: whether to ask the system for hints.
    """

    hidden: bool = False
    only_globs: tuple[str, ...] = ()
    except_globs: tuple[str, ...] = ()
    confirm_deletes: bool = False
    settle_ms: int = 50
    settle_empty_ms: int = 2000
    full_scan_s: float = 600.0
    poll_s: float = 2.0
    watch: bool = True


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


class FolderReplaced(FolderError):
    """Another folder with our marker took this one's place: start the daemon again."""


class FolderDaemon:
    """Keeps one folder and its vault the same while `run` or `once` runs; one at a time.

    Args:
        folder: the opened marker.
        client: an entered client on the folder's journal.
        settings: how it syncs.
        progress: told how far a long pass is.
        open_files: opens the folder on disk.

    Raises (on entering):
        FolderError: the folder cannot be opened.
    """

    def __init__(
        self,
        folder: StateFolder,
        client: SyncClient,
        settings: FolderSettings | None = None,
        progress: Progress | None = None,
        *,
        open_files: Callable[[Path], RealFiles] = RealFiles,
    ) -> None:
        self.folder = folder
        self.client = client
        self.settings = settings or FolderSettings()
        self._progress = progress or (lambda *_: None)
        self._open_files = open_files
        self._rules = IgnoreRules(
            hidden=self.settings.hidden,
            only_globs=self.settings.only_globs,
            except_globs=self.settings.except_globs,
        )
        self._clock = Settling(self.settings.settle_ms, self.settings.settle_empty_ms)
        self._wake = asyncio.Event()
        self._resumed = asyncio.Event()
        self._dirty: dict[str, float] = {}
        """Name on disk -> when to look at it, on the monotonic clock."""
        self._retry: dict[str, float] = {}
        """Path that failed -> when to try again."""
        self._failures: dict[str, int] = {}
        self._keys: set[str] = set()
        """Paths that others altered."""
        self._full = True
        self._quick = False
        self._passing = False
        self._missing: dict[str, float] = {}
        """Path whose file is gone -> since when we know."""
        self._held: dict[str, Held] = {}
        self._skipped: dict[str, str] = {}
        self._awaiting: set[str] = set()
        """Paths that wait for the server's confirmation of our own change."""
        self._recent: deque[tuple[float, int, int]] = deque()
        self._confirmed: set[str] | None = None if self.settings.confirm_deletes else set()
        self._paused: str | None = None
        self._report = Report()
        self._stopping = False
        self._status_due = 0.0
        self._told: FolderStatus | None = None

    async def __aenter__(self) -> Self:
        self._pool = ThreadPoolExecutor(8, "tidenote-files")
        try:
            self._files: Files = await self._in_pool(self._opened)
            self._journal = self.client.journal
            await asyncio.to_thread(self.folder.remember_link, self.client.config)
        except BaseException:
            self._pool.shutdown()
            raise
        self._bases = Bases(self._journal.bases().values(), self._files.traits.fold)
        self._applier = Applier(
            self._files,
            self.folder.root,
            self.folder.incoming,
            self.client,
            self._bases,
            self._pool,
            self._fetched,
        )
        self._changes = self.client.changes()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        await self._applier.close()
        # A thread that still works in the folder must not find its descriptors taken by something else.
        await asyncio.to_thread(self._pool.shutdown)
        self._files.close()
        self._tell(force=True)

    def _opened(self) -> RealFiles:
        files = self._open_files(self.folder.root)
        try:
            if cleaned := files.clean():
                logger.info("%d temporary files of an earlier run were put into %s", cleaned, STATE_FOLDER)
        except BaseException:
            files.close()
            raise
        return files

    # -- what the owner does

    async def run(self) -> None:
        """Sync until cancelled.

        Raises:
            FolderReplaced: another folder took this one's place; start again.
            StorageError: the journal failed; `BrokenJournal` if it is damaged.
            TidenoteError: the client failed.
        """
        armed = asyncio.Event()
        await self._side_by_side(
            self._follow_changes(), self._follow_news(), self._follow_hints(armed), self._tick(), self._drive(armed)
        )

    async def once(self, timeout_s: float | None = 60.0) -> Report:
        """Sync until both sides are the same, and say what that took.

        Args:
            timeout_s: how long the server may leave us waiting for an answer.

        Raises:
            FolderError: the folder is unfit, or paused.
            UnreachableError: the server does not answer.
            TidenoteError: why it cannot be synced.
        """
        if self.folder.paused:
            raise FolderError(f"{self.folder.root} is paused: resume it first")
        self._report = Report()
        self._look_everywhere()
        await self._patiently(self.client.caught_up, timeout_s)
        await self._side_by_side(self._follow_changes(), self._follow_news(), self._until_stable(timeout_s))
        return replace(self._report, held=tuple(self._held.values()), skipped=tuple(sorted(self._skipped.items())))

    async def dry_run(self, timeout_s: float | None = 60.0) -> Plan:
        """Return what `once` would do first; nothing is sent or written.

        Raises:
            FolderError: the folder is unfit.
            UnreachableError: the server does not answer.
        """
        await self._patiently(self.client.caught_up, timeout_s)
        scan = await self._in_pool(lambda: scan_folder(self._files, self._rules, self._bases, settled=always))
        self._rules = scan.rules
        return plan(await self._world(scan, set(), full=True), self._plan_settings())

    def confirm_deletes(self) -> int:
        """Carry out the deletions that are held now; return how many."""
        paths = {path for path, held in self._held.items() if held.why in (Why.DELETIONS_IN, Why.DELETIONS_OUT)}
        if self._confirmed is not None:
            self._confirmed |= paths
        self._look_again(paths)
        if self._paused == EMPTY:
            self._confirmed = None
            self._full = True
            self._wake.set()
        return len(paths)

    def status(self) -> FolderStatus:
        """Return how things stand."""
        client = self.client.status()
        held = [_told(each.path, each.why.name, each.reason or each.why.value) for each in self._held.values()]
        skipped = [_told(path, Why.SKIPPED.name, reason) for path, reason in sorted(self._skipped.items())]
        busy = self._passing or self._has_work() or bool(self._applier.fetches or self._awaiting)
        if self._paused:
            state = "paused"
        elif client.state not in ("online", "polling"):
            state = "offline"
        elif held or client.parked or client.conflicts:
            state = "attention"
        elif busy or client.pending or not client.caught_up:
            state = "pending"
        else:
            state = "synced"
        return FolderStatus(
            state,
            client.pending,
            held,
            skipped,
            client.conflicts,
            client.cursor,
            client.last_confirmed_at,
            self._paused,
            [_told(each.key, each.code, each.message) for each in client.parked],
            self._bases.files,
            client.state,
            client.last_error,
            client.device_id,
            self.client.config.vault,
            self.client.config.sync_endpoint,
            os.getpid(),
            time.time_ns() // 1_000_000,
        )

    # -- what happens outside

    async def _follow_changes(self) -> None:
        async for keys in self._changes:
            for key in keys:
                with suppress(RefusedChange):
                    self._keys.add(path_of_key(key))
            self._wake.set()

    async def _follow_news(self) -> None:
        while True:
            self._take_confirmations()
            self._tell()
            await self.client.news()

    def _take_confirmations(self) -> None:
        """Go on with what waited for the server to confirm our own change."""
        if not self._awaiting:
            return
        confirmed = self._awaiting - self._unconfirmed()
        self._awaiting -= confirmed
        settled = []
        for path in confirmed:
            base, winner = self._bases.get(path), self._journal.winner(key_of_path(path))
            if base is None or winner is None or winner.dot != base.dot:
                # Where we deleted one version, another that nobody had settled may show now.
                self._keys.add(path)
                self._wake.set()
            elif base.unbased:
                settled.append(replace(base, unbased=False))
        if settled:
            self._journal.set_bases(settled)
            for base in settled:
                self._bases.put(base)

    async def _follow_hints(self, armed: asyncio.Event) -> None:
        settings = self.settings
        while True:
            resumed = asyncio.Event()
            self._resumed = resumed
            following = asyncio.ensure_future(self._take_hints(armed))
            restarted = asyncio.ensure_future(resumed.wait())
            try:
                await asyncio.wait((following, restarted), return_when=asyncio.FIRST_COMPLETED)
                if following.done():
                    following.result()
            finally:
                following.cancel()
                restarted.cancel()
                await asyncio.wait((following, restarted))
            await asyncio.sleep(0 if resumed.is_set() else settings.poll_s)

    async def _take_hints(self, armed: asyncio.Event) -> None:
        settings = self.settings
        async for hint in hints(
            self.folder.root,
            wanted=lambda path: not self._rules.ignored(path) or path.rpartition("/")[2] == IGNORE_FILE,
            poll_interval_s=settings.poll_s,
            watch=settings.watch,
            armed=armed,
        ):
            if hint is None:
                self._look_everywhere(quick=True)
            else:
                self._take_hint(hint)

    def _take_hint(self, hint: Iterable[str]) -> None:
        now = time.monotonic()
        for name in hint:
            if name.startswith(f"{STATE_FOLDER}/") or name == STATE_FOLDER:
                self._controlled()
            elif name.rpartition("/")[2] == IGNORE_FILE:
                self._look_everywhere()
            else:
                self._dirty[name] = now
        if len(self._dirty) > MAX_DIRTY:
            self._dirty.clear()
            self._look_everywhere(quick=True)
        self._wake.set()

    async def _tick(self) -> None:
        scanned = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            self._controlled()
            if self._paused is None:
                await self._check()
            if time.monotonic() - scanned > self.settings.full_scan_s:
                scanned = time.monotonic()
                self._look_everywhere()
            self._tell()

    def _controlled(self) -> None:
        """Do what other processes ask for."""
        if self.folder.take_confirmation():
            self.confirm_deletes()
        if self.folder.paused != (self._paused == BY_PERSON):
            if self._paused is None:
                self._pause(BY_PERSON)
            self._wake.set()

    def _look_everywhere(self, *, quick: bool = False) -> None:
        self._quick = quick and (self._quick or not self._full)
        self._full = True
        self._wake.set()

    def _look_again(self, paths: Iterable[str], delay_s: float = 0.0) -> None:
        due = time.monotonic() + delay_s
        for path in paths:
            base = self._bases.file(path)
            self._dirty[base.disk_name if base else path] = due
        self._wake.set()

    # -- passes

    async def _drive(self, armed: asyncio.Event) -> None:
        await armed.wait()
        if self._journal.meta.epoch is None:
            # What nobody has told us about yet might be there already: first listen, then speak.
            await self.client.caught_up()
        while True:
            if self._paused is not None and not await self._may_resume():
                self._wake.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(TICK_S):
                        await self._wake.wait()
                continue
            await self._until_due()
            if self._paused is None:
                await self._pass()

    async def _until_due(self) -> None:
        while not self._is_due():
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._next_due()):
                    await self._wake.wait()

    def _is_due(self) -> bool:
        now = time.monotonic()
        due = (*self._dirty.values(), *self._retry.values())
        return self._full or bool(self._keys) or self._paused is not None or any(when <= now for when in due)

    def _next_due(self) -> float | None:
        due = min((*self._dirty.values(), *self._retry.values()), default=None)
        return None if due is None else asyncio.get_running_loop().time() + max(0.0, due - time.monotonic())

    async def _until_stable(self, timeout_s: float | None) -> None:
        """Pass until nothing is left to do on either side."""
        for _ in range(MAX_ROUNDS):
            if self._paused is not None:
                raise FolderError(self._paused)
            if self._has_work():
                self._retry.clear()
                await self._until_due()
                await self._pass()
            elif self._applier.fetches:
                await asyncio.wait(self._applier.fetches.values(), return_when=asyncio.FIRST_COMPLETED)
            elif self._journal.counts()[0] or not self.client.status().caught_up:
                await self._patiently(self.client.flush, timeout_s)
                await self._patiently(self.client.caught_up, timeout_s)
                self._take_confirmations()
            else:
                # What was applied a moment ago is told in the next step of the loop.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                if not self._has_work():
                    return

    def _has_work(self) -> bool:
        return self._full or bool(self._dirty) or bool(self._keys)

    async def _patiently(self, wait: Callable[[float | None], Awaitable[None]], timeout_s: float | None) -> None:
        """Wait for the server as long as anything moves, and for a timeout after that.

        Raises:
            UnreachableError: nothing moved for the whole timeout.
        """
        while True:
            before = self._how_far()
            try:
                await wait(timeout_s)
            except UnreachableError:
                if self._how_far() == before:
                    raise
            else:
                return

    def _how_far(self) -> tuple[object, ...]:
        return (self._journal.counts(), self._journal.meta.cursor, len(self._journal.uploads()))

    async def _pass(self) -> None:
        """Look at what is due, decide, and act."""
        self._passing = True
        try:
            await self._look_decide_act()
        finally:
            self._passing = False
        self._tell()

    async def _look_decide_act(self) -> None:
        full, quick = self._full, self._quick
        names, paths = self._take_due()
        try:
            scan = await self._look(names, paths, full=full, quick=quick)
        except FolderError as error:
            self._pause(error.message)
            return
        if full and self._is_emptied(scan):
            self._pause(EMPTY)
            return
        postponed = self._postpone(scan)
        made = plan(await self._world(scan, postponed, full=full), self._plan_settings())
        self._awaiting |= set(made.waiting)
        if full:
            self._held.clear()
            self._skipped.clear()
        for path in scan.paths:
            self._held.pop(path, None)
            self._skipped.pop(path, None)
        self._skipped.update(scan.skipped)
        self._held.update((held.path, held) for held in made.held)
        try:
            outcome = await self._applier.apply(made)
        except StorageError as error:
            if error.code != "storage_full":
                raise
            logger.error("%s", error.message)
            self._held[""] = Held("", Why.FAILED, error.message)
            self._look_everywhere()
            await asyncio.sleep(FULL_RETRY_S)
            return
        self._note(outcome, scan.paths)
        if self._confirmed is None and not self._dirty and not self._full:
            # Said once, for what was gone at the start.
            self._confirmed = set()

    def _take_due(self) -> tuple[set[str], set[str]]:
        """Return the names on disk and the paths that are due, and forget that they are."""
        now = time.monotonic()
        names = {name for name, due in self._dirty.items() if due <= now}
        paths = self._keys | {path for path, due in self._retry.items() if due <= now}
        if self._full:
            names, paths = set(self._dirty), set(self._retry) | self._keys
        for name in names:
            del self._dirty[name]
        for path in paths:
            self._retry.pop(path, None)
        self._keys = set()
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
        scan = await self._in_pool(self._scan_paths, disk_names)
        # A new file may be the second half of a rename of which we have not heard the first.
        elsewhere = {
            base.disk_name
            for entry in scan.entries.values()
            for path in self._bases.with_inode(entry.inode)
            if path not in scan.paths and (base := self._bases.file(path)) and base.content_hash == entry.content_hash
        }
        if elsewhere:
            other = await self._in_pool(self._scan_paths, elsewhere)
            scan.entries.update(other.entries)
            scan.skipped.update(other.skipped)
            scan.unsettled.update(other.unsettled)
            scan.paths |= other.paths
        return scan

    def _held_around(self, names: set[str]) -> set[str]:
        """Return what is held above and below the names: they may be, or have been, what was in its way."""
        if not self._held:
            return set()
        above = {folder for name in names for folder in folders_above(name)}
        return {path for path in self._held if path in above or not names.isdisjoint(folders_above(path))}

    async def _look_at_all(self, *, quick: bool) -> Scan:
        for _ in range(3):
            scan = await self._in_pool(
                lambda: scan_folder(
                    self._files,
                    self._rules,
                    self._bases,
                    quick=quick,
                    settled=self._clock.settled,
                    progress=self._scanned,
                )
            )
            # Files that were moved meanwhile may have been missed: a missed file would be a deletion.
            if not scan.unsteady:
                break
        self._rules = scan.rules
        return scan

    def _scan_paths(self, disk_names: Iterable[str]) -> Scan:
        return scan_paths(self._files, self._rules, self._bases, disk_names, settled=self._clock.settled)

    def _scanned(self, count: int) -> None:
        if self._stopping:
            raise FolderError("stopping")
        self._progress("scan", count, None)

    def _is_emptied(self, scan: Scan) -> bool:
        """Say whether nothing at all is left of many files: more likely a disk's fault than a person's wish."""
        nothing = not scan.entries and not scan.skipped and not scan.unsettled
        return nothing and self._bases.files > MAX_DELETIONS and self._confirmed is not None

    def _postpone(self, scan: Scan) -> set[str]:
        """Take out of a scan what has not settled, and return it: files being written, and deletions just seen."""
        now = time.monotonic()
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
            due = self._missing.setdefault(path, now) + self.settings.settle_ms / 1000
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

    async def _world(self, scan: Scan, postponed: set[str], *, full: bool) -> World:
        """Return what the planner sees: the scan beside the base and the replica."""
        replica: dict[str, Remote] = {}
        if full:
            for number, (key, winner) in enumerate(self._journal.winners()):
                with suppress(RefusedChange):
                    replica[path_of_key(key)] = self._remote(path_of_key(key), winner)
                if number % 256 == 255:
                    await asyncio.sleep(0)
            scan.paths |= replica.keys() - postponed
        else:
            for path in scan.paths:
                self._show(path, replica)
            for remote in list(replica.values()):
                if remote.moved_to and remote.moved_to not in replica:
                    self._show(remote.moved_to, replica)
        unconfirmed = self._unconfirmed()
        unsent = {path for path in unconfirmed & scan.paths if self._is_unsent(path)}
        self._awaiting |= {path for path in unsent if (base := self._bases.file(path)) and base.unbased}
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
            recent_out,
            recent_in,
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
        return Remote(winner.dot, content_hash, path_of_key(winner.moved_to) if winner.moved_to else None)

    def _unconfirmed(self) -> set[str]:
        return {key.partition(":")[2] for key in self._journal.unconfirmed_keys()}

    def _is_unsent(self, path: str) -> bool:
        """Say whether the base is a change that only we have."""
        base = self._bases.get(path)
        return base is not None and base.dot in self._journal.unconfirmed_dots(key_of_path(path))

    def _recent_deletions(self, planned: set[str]) -> tuple[int, int]:
        """Return how many deletions went out and came in just before, or are held beside those that are planned now."""
        oldest = time.monotonic() - RECENT_S
        while self._recent and self._recent[0][0] < oldest:
            self._recent.popleft()
        held = [held.why for path, held in self._held.items() if path not in planned]
        return (
            sum(out for _, out, _ in self._recent) + held.count(Why.DELETIONS_OUT),
            sum(into for _, _, into in self._recent) + held.count(Why.DELETIONS_IN),
        )

    def _plan_settings(self) -> Settings:
        return Settings(
            ignored=self._rules.ignored,
            name_problem=portability_problem if sys.platform == "win32" else lambda _: None,
            traits=self._files.traits,
            confirmed=self._confirmed,
        )

    def _note(self, outcome: Outcome, planned: Iterable[str] = ()) -> None:
        """Keep count of what was done, and of what has to be done again."""
        now = time.monotonic()
        self._awaiting |= outcome.unconfirmed
        self._report.sent += outcome.sent
        self._report.received += outcome.received
        if outcome.sent or outcome.received:
            self._progress("sync", self._report.operations, None)
        if outcome.deleted_out or outcome.deleted_in:
            self._recent.append((now, outcome.deleted_out, outcome.deleted_in))
        for name in outcome.again:
            self._dirty.setdefault(name, now + self.settings.settle_ms / 1000)
        failed = {held.path for held in outcome.failed}
        for path in planned:
            if path not in failed:
                self._failures.pop(path, None)
        for held in outcome.failed:
            self._held[held.path] = held
            count = self._failures[held.path] = self._failures.get(held.path, 0) + 1
            self._retry[held.path] = now + min(MAX_RETRY_S, 2.0 ** (count - 1))
        if self._confirmed:
            self._confirmed &= self._held.keys()

    def _fetched(self, path: str, outcome: Outcome) -> None:
        self._note(outcome)
        self._look_again([path])

    # -- pausing

    def _pause(self, reason: str) -> None:
        if self._paused != reason:
            logger.warning("paused: %s", reason)
        self._paused = reason
        self._full = True
        self._quick = False
        self._tell(force=True)

    async def _check(self) -> None:
        try:
            await self._in_pool(self._check_folder)
        except FolderReplaced:
            raise
        except FolderError as error:
            self._pause(error.message)
            self._wake.set()

    def _check_folder(self) -> None:
        try:
            self._files.check()
        except FolderError:
            self.folder.check()  # raises unless it is our marker
            raise FolderReplaced(f"{self.folder.root} was replaced by a copy") from None
        self.folder.check()

    async def _may_resume(self) -> bool:
        """Look whether the reason for the pause is gone; then everything is looked at.

        Raises:
            FolderReplaced: another folder with our marker is there.
        """
        try:
            await self._in_pool(self._check_folder)
        except FolderReplaced:
            raise
        except FolderError as error:
            self._paused = error.message
            return False
        if self.folder.paused:
            self._paused = BY_PERSON
            return False
        if self._paused == EMPTY and self._confirmed is not None and not await self._in_pool(self._has_files):
            return False
        logger.info("resumed")
        self._paused = None
        self._full = True
        self._resumed.set()
        return True

    def _has_files(self) -> bool:
        return any(name != STATE_FOLDER for name in self._files.names(""))

    # -- helpers

    def _tell(self, *, force: bool = False) -> None:
        """Write the status file, not too often and only if something changed."""
        now = time.monotonic()
        if now < self._status_due and not force:
            return
        self._status_due = now + STATUS_EVERY_S
        with suppress(StorageError):
            status = self.status()
            timeless = msgspec.structs.replace(status, updated_at=0)
            if timeless != self._told:
                self._told = timeless
                self.folder.write_status(status)

    async def _in_pool(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    async def _side_by_side(self, *coroutines: Coroutine[Any, Any, None]) -> None:
        """Run until the last one ends or any fails, then stop the others."""
        tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
        try:
            waiting = set(tasks)
            while not tasks[-1].done():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


BY_PERSON: Final = "you paused it"
EMPTY: Final = "the folder is empty, and it was not before; confirm the deletions if that is meant"


def _told(path: str, why: str, reason: str) -> HeldPath:
    return HeldPath(path, why, reason)
