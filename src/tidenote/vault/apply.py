"""Does what a plan says: files to the journal, the journal's content to files, and what that makes the base.

Everything is checked once more at the last moment; what is not as planned is left alone and named, to be looked at
again. A base changes only when the disk or the journal did. When to plan is daemon.py's matter.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import mimetypes
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeGuard, TypeVar

from tidenote.client.journal import BaseEntry, Journal, Write
from tidenote.config import SyncConfig
from tidenote.core.clock import MAX_TIMESTAMP
from tidenote.core.keys import key_of_path
from tidenote.core.version import BlobRef, Change, Dot
from tidenote.errors import RefusedChange, TidenoteError
from tidenote.vault import plan
from tidenote.vault.bases import Bases, DiskTraits
from tidenote.vault.files import BadName, FileProblem, Files, Gone, InUse, Kind, Unexpected
from tidenote.vault.plan import (
    Adopt,
    Delete,
    DiskEntry,
    Forget,
    Held,
    MoveLocal,
    Plan,
    Push,
    PushDelete,
    PushMove,
    Why,
    folders_above,
)
from tidenote.vault.work import Work

logger = logging.getLogger("tidenote.vault")

MAX_BATCH_FILES: Final = 200
"""How many files are read, or written, between two commits of the journal."""

MAX_BATCH_BYTES: Final = 4 << 20
"""About how many bytes of text are in memory between two commits."""

MAX_FETCHES: Final = 4
"""How many attachments are fetched at once."""

MAX_WRITERS: Final = 16
"""How many texts are in memory at once, waiting for the disk."""

Sent = Push | PushDelete | PushMove
Local = plan.Write | Delete | MoveLocal
T = TypeVar("T")
Step = TypeVar("Step", bound=Sent | Local)
LocalStep = TypeVar("LocalStep", bound=Local)


class Client(Protocol):
    """What is asked of the client: `SyncClient`, for one."""

    @property
    def config(self) -> SyncConfig:
        """Its settings."""
        ...

    @property
    def journal(self) -> Journal:
        """Its state and outbox."""
        ...

    def wake(self) -> None:
        """Say that the outbox has grown."""
        ...

    async def fetch_blob(self, blob: BlobRef, into: Path) -> None:
        """Bring the bytes of a blob into a file."""
        ...


@dataclass(slots=True)
class Outcome:
    """What came of a plan.

    Attributes:
        sent: how many changes went into the outbox.
        received: how many files were written, moved or removed.
        again: names on disk that were not as planned, to be looked at again.
        failed: what the disk or the journal refused, to be tried again later.
        deleted_out: how many of `sent` were deletions.
        deleted_in: how many of `received` were.
        unconfirmed: paths that were sent, and may show something else when the server has confirmed that.
    """

    sent: int = 0
    received: int = 0
    again: set[str] = field(default_factory=set)
    failed: list[Held] = field(default_factory=list)
    deleted_out: int = 0
    deleted_in: int = 0
    unconfirmed: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What one action puts into the journal."""

    action: Sent
    writes: tuple[Write, ...]
    bases: tuple[BaseEntry, ...]


class Applier:
    """Does what plans say, in one folder.

    Args:
        files: the folder.
        root: its path, for attachments that are uploaded from where they are.
        incoming: where attachments are put while they are fetched.
        client: whose journal it is kept in.
        bases: the remembered base, kept in step with the journal's.
        work: how the disk is waited for, and what time it is.
        on_fetched: called with the path when an attachment came, or did not; then with the reason.
    """

    def __init__(
        self,
        files: Files,
        root: Path,
        incoming: Path,
        client: Client,
        bases: Bases,
        work: Work,
        on_fetched: Callable[[str, Outcome], None],
    ) -> None:
        self._files = files
        self._root = root
        self._incoming = incoming
        self._client = client
        self._journal = client.journal
        self._bases = bases
        self._work = work
        self._on_fetched = on_fetched
        self._slots = asyncio.Semaphore(MAX_FETCHES)
        self._writers = asyncio.Semaphore(MAX_WRITERS)
        self.fetches: dict[str, asyncio.Task[None]] = {}
        """Path -> the attachment that is being fetched; such a path is not planned for."""

    async def apply(self, made: Plan) -> Outcome:
        """Carry out a plan, in its order.

        Raises:
            StorageError: the journal refuses; what was done before stays done.
        """
        outcome = Outcome()
        await self._send([action for action in made.actions if isinstance(action, Sent)], outcome)
        self._remember(made.actions, outcome)
        await self._each([action for action in made.actions if isinstance(action, Delete)], self._delete, outcome)
        await self._each([action for action in made.actions if isinstance(action, MoveLocal)], self._move, outcome)
        await self._each([action for action in made.actions if isinstance(action, plan.Write)], self._write, outcome)
        return outcome

    async def close(self) -> None:
        """Stop fetching; parts are kept for the next time."""
        for task in self.fetches.values():
            task.cancel()
        await asyncio.gather(*self.fetches.values(), return_exceptions=True)

    # -- out

    async def _send(self, actions: Sequence[Sent], outcome: Outcome) -> None:
        for batch in _batches(actions, _size):
            prepared = await self._work.run(partial(self._prepare_all, batch, outcome))
            self._commit(prepared, outcome)

    def _prepare_all(self, batch: Sequence[Sent], outcome: Outcome) -> list[_Prepared]:
        prepared = []
        for action in batch:
            with _Noting(action, outcome):
                prepared.append(self._prepare(action))
        return prepared

    def _prepare(self, action: Sent) -> _Prepared:
        """Read what a change says; the file must still be what was planned.

        Raises:
            FileProblem: it is not, or it cannot be read.
        """
        match action:
            case Push(entry, base, unbased):
                return _Prepared(action, (self._creation(entry, base),), (_base_of(entry, unbased=unbased),))
            case PushDelete(path, disk_name, base):
                self._check_gone(disk_name)
                return _Prepared(action, (self._deletion(path, base),), (_gone(path),))
            case PushMove(source, source_disk_name, source_base, entry, base):
                self._check_gone(source_disk_name)
                creation = self._creation(entry, base)
                tombstone = self._deletion(source, source_base, moved_to=creation.key)
                # A rename proves that our memory is good, also where nothing is known of the new name.
                return _Prepared(action, (creation, tombstone), (_base_of(entry, unbased=False), _gone(source)))

    def _creation(self, entry: DiskEntry, base: frozenset[Dot]) -> Write:
        key = key_of_path(entry.path)
        modified_at = min(max(0, entry.mtime_ns // 1_000_000), MAX_TIMESTAMP)
        value = self._text(entry) if key.startswith("note:") else None
        if value is not None:
            return Write(key, value, None, base, modified_at=modified_at)
        blob = BlobRef(entry.content_hash, entry.size, mimetypes.guess_type(entry.path)[0])
        return Write(key, None, blob, base, modified_at=modified_at, source=str(self._root / entry.disk_name))

    def _deletion(self, path: str, base: frozenset[Dot], moved_to: str | None = None) -> Write:
        return Write(key_of_path(path), base=base, moved_to=moved_to, modified_at=self._work.wall_ns() // 1_000_000)

    def _text(self, entry: DiskEntry) -> str | None:
        """Return a file's text; None if its bytes must travel as they are."""
        if entry.size > self._client.config.max_text_bytes:
            return None
        data, digest = self._files.read(entry.disk_name)
        if digest.content_hash != entry.content_hash:
            raise Unexpected(entry.disk_name, "it changed after it was looked at")
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return None
        return None if "\0" in text else text

    def _check_gone(self, disk_name: str) -> None:
        known = self._files.stat(disk_name)
        # A folder may have taken a file's name.
        if known and known.kind is not Kind.FOLDER and self._files.spelled(disk_name) == disk_name:
            raise Unexpected(disk_name, "it is there again")

    def _commit(self, prepared: Sequence[_Prepared], outcome: Outcome) -> None:
        """Put prepared changes into the journal in one commit; if it refuses one of them, one by one."""
        if not prepared:
            return
        writes = [write for each in prepared for write in each.writes]
        bases = [base for each in prepared for base in each.bases]
        try:
            changes = self._journal.write(writes, bases)
        except RefusedChange as refusal:
            if len(prepared) > 1:
                for each in prepared:
                    self._commit([each], outcome)
                return
            _fail(outcome, _path_of(prepared[0].action), Why.FAILED, refusal.message)
            return
        dots = {change.key: change.dot for change in changes}
        for base in bases:
            self._bases.put(replace(base, dot=dots[key_of_path(base.path)]))
        outcome.unconfirmed |= {base.path for base in bases}
        outcome.sent += len(prepared)
        outcome.deleted_out += sum(isinstance(each.action, PushDelete) for each in prepared)
        self._client.wake()

    # -- what is agreed upon

    def _remember(self, actions: Iterable[plan.Action], outcome: Outcome) -> None:
        adopted = []
        for action in actions:
            if isinstance(action, Adopt):
                with _Noting(action, outcome):
                    self._settle(action.base)
                    adopted.append(action.base)
        self._keep(adopted, [action.path for action in actions if isinstance(action, Forget)])

    def _settle(self, found: BaseEntry) -> None:
        """Make durable that a file came or went, which we may have done, and then been killed before it was.

        A power cut would take that back, and what was before would pass for an edit, or a deletion, of a person's.
        """
        known = self._bases.get(found.path)
        if known and known.arriving and known.arriving == found.content_hash:
            self._files.settle(found.disk_name)
        elif known and known.content_hash and found.content_hash is None:
            for place in (known.disk_name, *folders_above(known.disk_name)):
                # Its folder may have gone with it.
                with suppress(Gone):
                    self._files.settle(place)
                    break

    def _keep(self, bases: Sequence[BaseEntry], forgotten: Sequence[str] = ()) -> None:
        if bases or forgotten:
            self._journal.set_bases(bases, forgotten)
            for base in bases:
                self._bases.put(base)
            for path in forgotten:
                self._bases.drop(path)

    # -- in

    async def _each(
        self, steps: Sequence[LocalStep], act: Callable[[LocalStep], Awaitable[Sequence[BaseEntry]]], outcome: Outcome
    ) -> None:
        for batch in _batches(steps, _size):
            self._announce([step for step in batch if _comes_at_once(step)])
            # Different paths may wait for the disk at the same time.
            found = await self._work.gather(*(self._attempt(step, act(step), outcome) for step in batch))
            self._keep([base for bases in found for base in bases])

    async def _attempt(
        self, action: Local, doing: Awaitable[Sequence[BaseEntry]], outcome: Outcome
    ) -> Sequence[BaseEntry]:
        with _Noting(action, outcome):
            try:
                bases = await doing
            except FileProblem as problem:
                if isinstance(problem, Unexpected) or await self._work.run(lambda: self._nothing_came(action)):
                    self._take_back(action.path)
                raise
            outcome.received += bool(bases)
            outcome.deleted_in += isinstance(action, Delete)
            return bases
        return ()

    def _nothing_came(self, action: Local) -> bool:
        """Say whether nothing came to a path, although it failed: the last steps may fail when a file is in place."""
        if isinstance(action, Delete):
            return False
        before = action.expected if isinstance(action, plan.Write) else None
        try:
            return self._files.digest(action.disk_name).content_hash == before
        except Gone:
            return before is None
        except FileProblem:
            return False

    async def _delete(self, action: Delete) -> Sequence[BaseEntry]:
        await self._work.run(lambda: self._files.delete(action.disk_name, action.expected))
        return (plan.tombstone(action.path, action.remote.dot),)

    async def _move(self, action: MoveLocal) -> Sequence[BaseEntry]:
        await self._announce_name(action)
        spelled, stat = await self._work.run(
            lambda: self._files.move(action.source_disk_name, action.disk_name, action.expected)
        )
        moved = BaseEntry(
            action.path, action.remote.dot, action.expected, stat.size, stat.mtime_ns, stat.inode, spelled
        )
        return plan.tombstone(action.source, action.source_remote.dot), moved

    async def _write(self, action: plan.Write) -> Sequence[BaseEntry]:
        blob = self._winner(action).blob
        if blob:
            task = asyncio.create_task(self._fetch(action, blob), name="tidenote-fetch")
            self.fetches[action.path] = task
            return ()
        async with self._writers:
            text = self._winner(action).value
            assert text is not None
            return await self._put(action, text.encode())

    def _winner(self, action: plan.Write) -> Change:
        winner = self._journal.winner(key_of_path(action.path))
        if winner is None or winner.dot != action.remote.dot:
            raise Unexpected(action.disk_name, "something newer came")
        return winner

    async def _put(self, action: plan.Write, source: bytes | Path) -> Sequence[BaseEntry]:
        remote = action.remote
        await self._announce_name(action)
        spelled, stat = await self._work.run(lambda: self._files.write(action.disk_name, source, action.expected))
        return (BaseEntry(action.path, remote.dot, remote.content_hash, stat.size, stat.mtime_ns, stat.inode, spelled),)

    def _announce(self, steps: Iterable[plan.Write | MoveLocal]) -> None:
        """Remember what will be at some paths, before it is there.

        After a crash right then it would be taken for an edit of what we remember there, and sent as one.
        """
        self._keep([self._arrival(step) for step in steps])

    def _arrival(self, step: plan.Write | MoveLocal) -> BaseEntry:
        base = self._bases.get(step.path) or BaseEntry(step.path, None, None, 0, 0, 0, step.path)
        if isinstance(step, plan.Write) and step.expected not in (None, base.content_hash):
            # What came before a crash, and was not remembered.
            base = plan.expected_file(step.path, step.disk_name, step.expected)
        return replace(base, arriving=step.remote.content_hash)

    def _take_back(self, path: str) -> None:
        """Expect no more at a path: nothing came, so that what somebody saved there is an edit of what was there."""
        base = self._bases.get(path)
        if base and base.arriving:
            if base.dot or base.content_hash:
                self._keep([replace(base, arriving=None)])
            else:
                self._keep([], [path])

    async def _announce_name(self, action: plan.Write | MoveLocal) -> None:
        """Remember for which path a file will be that the disk lists under another name, before it is there.

        After a crash it would be taken for a new file of that name, and sent as one.
        """
        path, disk_name = action.path, action.disk_name
        if disk_name == path and self._files.traits == DiskTraits():
            return
        listed = await self._work.run(lambda: self._listed(disk_name))
        if self._bases.path_of(listed) != path and not self._bases.named(listed):
            self._keep([plan.expected_file(path, listed, action.remote.content_hash)])

    def _listed(self, disk_name: str) -> str:
        """Return how the disk will list a new file: folders that are there keep their spelling."""
        for folder in folders_above(disk_name):
            if spelled := self._files.spelled(folder):
                return spelled + disk_name.removeprefix(folder)
        return disk_name

    async def _fetch(self, action: plan.Write, blob: BlobRef) -> None:
        """Fetch an attachment beside everything else, then put it in place."""
        outcome = Outcome()
        # The same name each time, so that fetching goes on where it stopped; one per path, for two may have the bytes.
        into = self._incoming / f"{blob.sha256}-{hashlib.sha256(action.path.encode()).hexdigest()[:8]}"
        try:
            with _Noting(action, outcome):
                async with self._slots:
                    await self._client.fetch_blob(blob, into)
                self._winner(action)
                self._announce([action])
                self._keep(await self._attempt(action, self._put(action, into), outcome))
        finally:
            self.fetches.pop(action.path, None)
        self._on_fetched(action.path, outcome)


class _Noting:
    """Turns what goes wrong with one action into a note in the outcome: the others go on."""

    def __init__(self, action: Sent | Local | Adopt, outcome: Outcome) -> None:
        self._action = action
        self._outcome = outcome

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        path = _path_of(self._action)
        if isinstance(error, Unexpected):
            logger.info("looking again: %s", error.message)
            self._outcome.again |= {error.path, *_names_of(self._action)}
        elif isinstance(error, FileProblem):
            _fail(self._outcome, path, _why(error), error.reason)
        elif isinstance(error, TidenoteError):
            _fail(self._outcome, path, Why.FAILED, error.message)
        else:
            return False
        return True


def _why(problem: FileProblem) -> Why:
    if isinstance(problem, BadName):
        return Why.NAME
    return Why.OPEN if isinstance(problem, InUse) else Why.FAILED


def _fail(outcome: Outcome, path: str, why: Why, reason: str) -> None:
    # What waits for a program to close it is tried every few seconds, for hours perhaps; the status names it.
    logger.log(logging.DEBUG if why is Why.OPEN else logging.WARNING, "%s: %s", path, reason)
    outcome.failed.append(Held(path, why, reason))


def _path_of(action: Sent | Local | Adopt) -> str:
    match action:
        case Push(entry) | PushMove(entry=entry):
            return entry.path
        case Adopt(base):
            return base.path
        case _:
            return action.path


def _comes_at_once(step: Local) -> TypeGuard[plan.Write | MoveLocal]:
    """Say whether a step puts a file there, and has nothing to fetch before that."""
    return isinstance(step, MoveLocal) or (isinstance(step, plan.Write) and not step.remote.is_blob)


def _names_of(action: Sent | Local | Adopt) -> set[str]:
    """Return the names on disk that an action is about."""
    match action:
        case Push(entry):
            return {entry.disk_name}
        case PushMove(_, source_disk_name, _, entry):
            return {source_disk_name, entry.disk_name}
        case MoveLocal():
            return {action.source_disk_name, action.disk_name, action.path}
        case Adopt(base):
            return {base.disk_name, base.path}
        case _:
            return {action.disk_name, action.path}


def _size(action: Sent | Local) -> int:
    return action.entry.size if isinstance(action, Push | PushMove) else 0


def _batches(actions: Sequence[Step], size: Callable[[Step], int]) -> Iterator[list[Step]]:
    """Yield the actions in order, some at a time."""
    batch: list[Step] = []
    total = 0
    for action in actions:
        batch.append(action)
        total += size(action)
        if len(batch) >= MAX_BATCH_FILES or total >= MAX_BATCH_BYTES:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def _base_of(entry: DiskEntry, *, unbased: bool) -> BaseEntry:
    """Return the base of a file whose change gets its dot from the journal."""
    return BaseEntry(
        entry.path, None, entry.content_hash, entry.size, entry.mtime_ns, entry.inode, entry.disk_name, unbased
    )


def _gone(path: str) -> BaseEntry:
    return BaseEntry(path, None, None, 0, 0, 0, path)
