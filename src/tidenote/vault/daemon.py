"""`FolderDaemon`: keeps a folder and a vault the same. Hints say where to look; looking, planning and acting repeat.

    with StateFolder(root) as folder:
        journal = folder.open_journal()
        async with SyncClient(config, journal) as client, FolderDaemon(folder, client) as daemon:
            await daemon.run()

What a pass does is passes.py's matter. Here is when: what hints say, what the server says, what is paused.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from tidenote.client.client import SyncClient
from tidenote.core.keys import STATE_FOLDER, key_of_path
from tidenote.errors import FolderError, StorageError, TidenoteError, UnreachableError
from tidenote.vault.apply import Applier, Outcome
from tidenote.vault.bases import Bases
from tidenote.vault.files import LEFTOVER, FileProblem, Files, RealFiles
from tidenote.vault.folder import Decided, FolderStatus, HeldPath, StateFolder
from tidenote.vault.holds import Held, HoldReports
from tidenote.vault.ignore import IGNORE_FILE, IgnoreRules
from tidenote.vault.passes import Emptied, Passes, Report, Unfit
from tidenote.vault.plan import Plan, Why
from tidenote.vault.watcher import hints
from tidenote.vault.work import ThreadWork
from tidenote.wire.messages import HoldDecision, HoldKind

logger = logging.getLogger("tidenote.vault")

TICK_S: Final = 1.0
"""How often the folder's health and the control files are looked at."""

STATUS_EVERY_S: Final = 0.25
"""How often the status file is written at most."""

FULL_RETRY_S: Final = 5.0
"""How long to wait for room on a full disk."""

LOOK_BACK_S: Final = 30.0
"""For how long at least what was replaced is kept where a program may still write into it."""

BY_PERSON: Final = "you paused it"

MAX_ROUNDS: Final = 200
"""How many passes `once` makes at most: others may write without end."""

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done (`scan`, `sync`), how many are done, and of how many, if that is known."""


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


class PausedByPerson(FolderError):
    """A person wants nothing done in the folder for now."""

    def __init__(self) -> None:
        super().__init__(BY_PERSON)


class FolderReplaced(FolderError):
    """Another folder with our marker, or another lock, took the place of ours: start the daemon again."""


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
        self._wake = asyncio.Event()
        self._resumed = asyncio.Event()
        self._passing = False
        self._paused: FolderError | None = None
        """Why nothing is done."""
        self._stopping = False
        self._status_due = 0.0
        self._room_due = 0.0
        """When a decision that a full disk kept from being done is tried again, on the monotonic clock."""
        self._told: FolderStatus | None = None

    async def __aenter__(self) -> Self:
        self._pool = ThreadPoolExecutor(8, "tidenote-files")
        self._work = ThreadWork(self._pool)
        try:
            self._files: Files = await self._work.run(self._opened)
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
            self._work,
            self._fetched,
        )
        settings = self.settings
        self._passes = Passes(
            self._files,
            self._journal,
            self._bases,
            self._applier,
            self._work,
            IgnoreRules(hidden=settings.hidden, only_globs=settings.only_globs, except_globs=settings.except_globs),
            settle_ms=settings.settle_ms,
            settle_empty_ms=settings.settle_empty_ms,
            confirm_deletes=settings.confirm_deletes,
            wake=self._wake.set,
            scanned=self._scanned,
        )
        self._reports = HoldReports(self.client, self.holds, self.decide)
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
            self._follow_changes(),
            self._follow_news(),
            self._follow_hints(armed),
            self._reports.follow(),
            self._tick(),
            self._drive(armed),
        )

    async def once(self, timeout_s: float | None = 60.0, decided: Decided | None = None) -> Report:
        """Sync until both sides are the same, and say what that took.

        Args:
            timeout_s: how long the server may leave us waiting for an answer.
            decided: what a person decided about what will be held.

        Raises:
            FolderError: the folder is unfit, or paused.
            UnreachableError: the server does not answer.
            TidenoteError: why it cannot be synced.
        """
        if self.folder.paused:
            raise FolderError(f"{self.folder.root} is paused: resume it first")
        passes = self._passes
        passes.report = Report()
        passes.look_everywhere()
        await self._patiently(self.client.caught_up, timeout_s)
        await self._side_by_side(self._follow_changes(), self._follow_news(), self._until_decided(timeout_s, decided))
        return replace(passes.report, held=tuple(passes.held.values()), skipped=tuple(sorted(passes.skipped.items())))

    async def dry_run(self, timeout_s: float | None = 60.0) -> Plan:
        """Return what `once` would do first; nothing is sent or written.

        Raises:
            FolderError: the folder is unfit.
            UnreachableError: the server does not answer.
        """
        await self._patiently(self.client.caught_up, timeout_s)
        return await self._passes.preview()

    def confirm_deletes(self) -> int:
        """Carry out the deletions that are held now; return how many."""
        return self._passes.confirm_deletes(emptied=self._is_emptied)

    def holds(self) -> Held:
        """Return the paths that wait for a person's decision, by its kind."""
        if self._is_emptied:
            return {"delete_out": frozenset(base.path for base in self._bases if base.content_hash is not None)}
        return self._passes.holds()

    def decide(self, kind: HoldKind, decision: HoldDecision, paths: Collection[str]) -> int:
        """Do what a person decided about what is held; return about how many paths that is.

        Args:
            kind: what is held.
            decision: whether to do what is held back, or its opposite.
            paths: those that the person has seen; of them, what is no longer held is left alone.
        """
        held = self.holds().get(kind, frozenset()).intersection(paths)
        if self._is_emptied:
            if not held or held != self.holds()[kind]:
                # It is emptied as a whole or not at all, and nobody has seen all of it.
                return 0
            if decision == "confirm":
                self._passes.confirm_deletes(emptied=True)
            else:
                self._passes.put_all_back()
            return len(held)
        if kind == "quarantine":
            self.client.release(map(key_of_path, sorted(held)), keep=decision == "confirm")
        self._passes.decide(kind, decision, held)
        return len(held)

    def status(self) -> FolderStatus:
        """Return how things stand."""
        client, passes = self.client.status(), self._passes
        held = [_told(each.path, each.why.name, each.reason or each.why.value) for each in passes.held.values()]
        if self._is_emptied:
            why = Why.DELETIONS_OUT
            held = [_told(path, why.name, why.value) for path in sorted(self.holds()["delete_out"])]
        skipped = [_told(path, Why.SKIPPED.name, reason) for path, reason in sorted(passes.skipped.items())]
        busy = self._passing or passes.has_work or bool(self._applier.fetches or passes.awaiting)
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
            self._paused.message if self._paused else None,
            [_told(each.key, each.code, each.message) for each in client.parked],
            self._bases.files,
            client.state,
            client.last_error,
            client.device_id,
            self.client.config.vault,
            self.client.config.sync_endpoint,
            os.getpid(),
            time.time_ns() // 1_000_000,
            client.last_error_code,
        )

    # -- what happens outside

    async def _follow_changes(self) -> None:
        async for keys in self._changes:
            self._passes.altered(keys)

    async def _follow_news(self) -> None:
        while True:
            self._passes.take_confirmations()
            self._reports.look()
            self._tell()
            await self.client.news()

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
            wanted=lambda path: not self._passes.rules.ignored(path) or path.rpartition("/")[2] == IGNORE_FILE,
            poll_interval_s=settings.poll_s,
            watch=settings.watch,
            armed=armed,
        ):
            if hint is None:
                self._passes.look_everywhere(quick=True)
            else:
                self._take_hint(hint)

    def _take_hint(self, hint: Iterable[str]) -> None:
        names = []
        for name in hint:
            if name.startswith(f"{STATE_FOLDER}/") or name == STATE_FOLDER:
                self._controlled()
            elif name.rpartition("/")[2] == IGNORE_FILE:
                self._passes.look_everywhere()
            else:
                names.append(name)
        self._passes.look_at(names)

    async def _tick(self) -> None:
        scanned = looked_back = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            self._controlled()
            if self._paused is None:
                await self._check()
            if time.monotonic() - looked_back >= LOOK_BACK_S:
                looked_back = time.monotonic()
                await self._look_back()
            if time.monotonic() - scanned > self.settings.full_scan_s:
                scanned = time.monotonic()
                self._passes.look_everywhere()
            self._tell()

    async def _look_back(self) -> None:
        with suppress(FolderError):
            if written := await self._work.run(self._files.look_back):
                logger.warning(
                    "%d files were written after an edit or deletion from elsewhere had taken their place: see %s",
                    written,
                    self.folder.root / STATE_FOLDER / LEFTOVER,
                )

    def _controlled(self) -> None:
        """Do what other processes ask for."""
        if self.folder.take_confirmation():
            self.confirm_deletes()
        if time.monotonic() >= self._room_due:
            self._do_decisions()
        if self.folder.paused != isinstance(self._paused, PausedByPerson):
            if self._paused is None:
                self._pause(PausedByPerson())
            self._wake.set()

    def _do_decisions(self) -> None:
        """Do what a person decided at this device.

        Raises:
            StorageError: the journal failed.
        """
        for decided in self.folder.decisions():
            try:
                self.decide(decided.kind, decided.decision, decided.paths)
            except StorageError as error:
                if error.code != "storage_full":
                    raise
                # The decision stays where it is until there is room; what is held meanwhile is told as such.
                logger.error("a decision waits: %s", error.message)
                self._room_due = time.monotonic() + FULL_RETRY_S
                return
            self.folder.drop_decision(decided)

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
        return self._passes.is_due or self._paused is not None

    def _next_due(self) -> float | None:
        due = self._passes.next_due_s
        return None if due is None else asyncio.get_running_loop().time() + max(0.0, due - time.monotonic())

    async def _until_decided(self, timeout_s: float | None, decided: Decided | None) -> None:
        """Pass until nothing is left to do that nobody has to decide about; and do what was decided."""
        try:
            await self._until_stable(timeout_s)
        except FolderError:
            # Of an emptied folder is decided, too.
            if decided is None or not self._is_emptied:
                raise
        if decided is not None:
            self.decide(decided.kind, decided.decision, decided.paths)
            if self._paused is not None:
                await self._may_resume()
            await self._until_stable(timeout_s)
        if self.holds():
            with suppress(TidenoteError):
                while await self._reports.report():
                    await self._until_stable(timeout_s)

    async def _until_stable(self, timeout_s: float | None) -> None:
        """Pass until nothing is left to do on either side."""
        for _ in range(MAX_ROUNDS):
            if self._paused is not None:
                raise FolderError(self._paused.message)
            if self._passes.has_work:
                self._passes.retry_now()
                await self._until_due()
                await self._pass()
            elif self._applier.fetches:
                await asyncio.wait(self._applier.fetches.values(), return_when=asyncio.FIRST_COMPLETED)
            elif self._journal.counts()[0] or not self.client.status().caught_up:
                await self._patiently(self.client.flush, timeout_s)
                await self._patiently(self.client.caught_up, timeout_s)
                self._passes.take_confirmations()
            else:
                # What was applied a moment ago is told in the next step of the loop.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                if not self._passes.has_work:
                    return

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
        done = self._passes.report.operations
        try:
            if not await self._passes.make():
                await asyncio.sleep(FULL_RETRY_S)
        except Unfit as error:
            self._pause(error)
        finally:
            self._passing = False
        self._tell_progress(since=done)
        self._reports.look()
        self._tell()

    def _scanned(self, count: int) -> None:
        if self._stopping:
            raise FolderError("stopping")
        self._progress("scan", count, None)

    def _tell_progress(self, *, since: int) -> None:
        if self._passes.report.operations > since:
            self._progress("sync", self._passes.report.operations, None)

    def _fetched(self, path: str, outcome: Outcome) -> None:
        done = self._passes.report.operations
        self._passes.note(outcome)
        self._passes.look_again([path])
        self._tell_progress(since=done)

    # -- pausing

    @property
    def _is_emptied(self) -> bool:
        """Whether it waits for a person because nothing is in the folder any more."""
        return isinstance(self._paused, Emptied)

    def _pause(self, why: FolderError) -> None:
        if self._paused is None or self._paused.message != why.message:
            logger.warning("paused: %s", why.message)
        self._paused = why
        self._passes.look_everywhere()
        self._reports.look()
        self._tell(force=True)

    async def _check(self) -> None:
        try:
            await self._work.run(self._check_folder)
        except FolderReplaced:
            raise
        except FolderError as error:
            self._pause(error)
            self._wake.set()

    def _check_folder(self) -> None:
        try:
            self._files.check()
        except FolderError:
            self.folder.check()  # raises unless it is our marker
            raise FolderReplaced(f"{self.folder.root} was replaced by a copy") from None
        self.folder.check()
        if not self.folder.has_lock():
            raise FolderReplaced(f"the lock of {self.folder.root} was removed")

    async def _may_resume(self) -> bool:
        """Look whether the reason for the pause is gone; then everything is looked at.

        Raises:
            FolderReplaced: another folder with our marker is there.
        """
        try:
            await self._work.run(self._check_folder)
        except FolderReplaced:
            raise
        except FolderError as error:
            self._paused = error
            return False
        if self.folder.paused:
            self._paused = PausedByPerson()
            return False
        if self._is_emptied and not self._passes.may_be_empty and not await self._work.run(self._has_files):
            return False
        logger.info("resumed")
        self._paused = None
        self._passes.look_everywhere()
        self._resumed.set()
        return True

    def _has_files(self) -> bool:
        """Say whether something is in the folder again; a disk that does not tell has nothing."""
        with suppress(FileProblem):
            return any(name != STATE_FOLDER for name in self._files.names(""))
        return False

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


def _told(path: str, why: str, reason: str) -> HeldPath:
    return HeldPath(path, why, reason)
