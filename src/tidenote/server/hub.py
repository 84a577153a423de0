"""A vault's one writer: many pushes, one commit; then tell the others; then acknowledge. In this order.

The hub owns the order of a vault's log. What a batch does to the log is core/intake.py's matter, how it gets to disk
the store's; who is told is a matter of the sessions that listen (sync.py).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Concatenate, Final, ParamSpec, Self, TypeVar

from tidenote.config import ServerConfig
from tidenote.core.bounded import BoundedMerge, digest
from tidenote.core.crdt import CrdtEntry
from tidenote.core.diff import TooMuchWork
from tidenote.core.intake import Batch, Refused, Taken
from tidenote.core.merged import Merge, Merged
from tidenote.core.version import UNDATED, BlobRef, Change, Dot, Head, Version, weight_of
from tidenote.errors import StorageError
from tidenote.server.merger import Merger
from tidenote.server.metrics import Metrics
from tidenote.server.progress import Progress
from tidenote.server.pubsub import Bus
from tidenote.server.settling import MERGE_STEPS, Late, Settling
from tidenote.server.store.contract import Device, Store, TooMuchAtOnce, VaultInfo
from tidenote.wire.messages import MAX_MESSAGE_BYTES, Rejected
from tidenote.wire.session import Page, Publication, generation_of, size_of

logger = logging.getLogger("tidenote.server")

T = TypeVar("T")
P = ParamSpec("P")

KEYS_AT_ONCE: Final = 20
"""How many keys are read at once where only as many are wanted as a message holds."""

OPEN_AT_ONCE: Final = 100
"""How many open questions are looked at together when a vault is opened."""

GENERATION_PAUSE_S: Final = 60.0
"""At most one new generation begins in this time: a client that lies about its cursor must not keep all others busy."""

MAX_GENERATION_LEAD: Final = 1000
"""A generation further ahead is a client's error: nobody restores or promotes that often."""

BUG: Final = ("internal_error", "the server has a bug; its log tells more")
"""Code and message of what should not have happened."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of one push.

    Attributes:
        accepted: the changes that are durable, duplicates included.
        rejected: the others.
        clock: the vault's clock afterwards.
    """

    accepted: tuple[Taken, ...]
    rejected: tuple[Rejected, ...]
    clock: int


@dataclass(slots=True)
class _Waiting:
    """A push that waits for its commit, or a key whose settling does; `size` in bytes, roughly."""

    changes: Sequence[Change]
    size: int
    outcome: asyncio.Future[Committed]
    late: Late | None = None


class Hub:
    """The writer of one vault. An async context manager: leaving it takes in what waits, then stops.

    Args:
        vault: as it is now.
        store: where the log is.
        bus: where commits are published, under `topic`.
        merger: merges what would take a commit too long.
        writer: a single thread, shared by all hubs of a store.
        readers: some threads for the short reads that sessions wait for.
        slow_readers: some threads for reads that may take their time.
        check_blob: raises `RefusedChange` unless the bytes of a blob are on disk; called on the writer's thread.
        config: limits and timeouts.
        metrics: what to count.
    """

    def __init__(
        self,
        vault: VaultInfo,
        store: Store,
        bus: Bus[Publication],
        *,
        merger: Merger,
        writer: Executor,
        readers: Executor,
        slow_readers: Executor,
        check_blob: Callable[[BlobRef], object],
        config: ServerConfig,
        metrics: Metrics,
    ) -> None:
        self.info = vault
        self.failure: StorageError | None = None
        """How the disk failed, if nothing could be written since. Whether it may be tried again, the store knows."""
        self.writing = asyncio.Lock()
        """Held by who looks at notes and then writes over what it saw: between the two, no other such writer does."""
        self._store = store
        self._bus = bus
        self._merger = merger
        self._writer = writer
        self._readers = readers
        self._slow_readers = slow_readers
        self._check_blob = check_blob
        self._config = config
        self._metrics = metrics
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._progress = Progress()
        self._generation_lock = asyncio.Lock()
        self._next_generation_s = 0.0
        self._settling = Settling(vault.name, merger=merger, settle=self._settle, unsettled=self._unsettled)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def name(self) -> str:
        """The vault's name."""
        return self.info.name

    @property
    def topic(self) -> str:
        """Where the vault's commits are published."""
        return f"vault:{self.info.name}"

    @property
    def epoch(self) -> str:
        """The log's epoch."""
        return self.info.epoch

    @property
    def clock(self) -> int:
        """The last receipt."""
        return self.info.clock

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._run(), name=f"hub of {self.name}"),
            asyncio.create_task(self._settling.find(), name=f"open questions of {self.name}"),
            asyncio.create_task(self._settling.run(), name=f"late merges of {self.name}"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        running, *settling = self._tasks
        # What is still late is so at the next start, too.
        for task in settling:
            task.cancel()
        self._closing = True
        self._wake.set()
        await running
        await asyncio.gather(*settling, return_exceptions=True)

    # -- writing

    async def submit(self, changes: Sequence[Change]) -> Committed:
        """Take one push in; return when it is committed or refused and others have been told."""
        return await self.enqueue(changes)

    def enqueue(self, changes: Sequence[Change]) -> asyncio.Future[Committed]:
        """Take one push in, after all that were enqueued before it. The future never fails: codes say what did."""
        outcome: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        if self._closing:
            outcome.set_result(self._refuse(changes, "server_stopping", "the server is shutting down"))
        else:
            self._queue(_Waiting(changes, weight_of(changes), outcome))
        return outcome

    def _queue(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        self._metrics.queue.inc()
        self._wake.set()

    async def new_generation(self, after: str, cursor: int) -> VaultInfo:
        """Begin a new generation, because the log is older than what a client has seen of it.

        Args:
            after: the epoch that was found to be too old; nothing happens if it is not the epoch any more.
            cursor: up to where the client has seen it; nothing happens if the log goes so far after all.
        """
        async with self._generation_lock:
            now_s = time.monotonic()
            if self.epoch == after and now_s >= self._next_generation_s and cursor > await self._head():
                self._next_generation_s = now_s + GENERATION_PAUSE_S
                await self._begin_generation()
                logger.warning("vault %s was restored from an older copy: it is now %s", self.name, self.epoch)
        return self.info

    async def unfence(self) -> None:
        """Begin a generation later than the one that the vault gave way to; nothing happens if it gave way to none."""
        async with self._generation_lock:
            if self.info.fenced_by is not None:
                await self._begin_generation()
                logger.warning("vault %s goes on here as a later copy, as an owner asked: %s", self.name, self.epoch)

    async def _begin_generation(self) -> None:
        self.info = await self._write(self._store.new_generation, self.name, wall_ms=_wall_ms())
        await self._publish(Publication(self.epoch, self.clock, self.clock, None))

    async def _head(self) -> int:
        """Return the last receipt as of the disk: readers may tell of a commit before we have heard of it."""
        info = await self._write(self._store.vault, self.name)
        return info.clock

    async def fence(self, by_epoch: str) -> None:
        """Give way to a later generation of this vault that a client has synced with elsewhere."""
        if generation_of(by_epoch) - generation_of(self.epoch) > MAX_GENERATION_LEAD:
            logger.warning("vault %s: a client claims the generation %s, which nobody believes", self.name, by_epoch)
            return
        await self._write(self._store.fence, self.name, by_epoch)
        self.info = replace(self.info, fenced_by=by_epoch)
        logger.error("vault %s gave way: a client has synced with the later generation %s", self.name, by_epoch)

    def saw(self, device_id: str, cursor: int) -> None:
        """Note up to where a device says that it has applied the log; it is written down now and then."""
        self._progress.saw(device_id, cursor, _wall_ms())

    async def note_devices(self) -> None:
        """Write down how far devices are, if that is news."""
        news = self._progress.news()
        if news:
            await self.work(_note_devices, news)
            self._progress.noted(news)

    async def devices(self) -> list[Device]:
        """Return how far devices are, as of now."""
        known = {device.device_id: device for device in await self._read(self._store.devices, self.name)}
        for device_id, (cursor, seen_ms) in self._progress:
            known[device_id] = Device(device_id, cursor, self.epoch, seen_ms)
        return [known[device_id] for device_id in sorted(known)]

    async def forget_device(self, owner: str) -> None:
        """Forget how far a device and its incarnations are: they do not come back."""
        self._progress.forget(owner)
        await self._write(self._store.forget_device, self.name, owner)

    async def set_on_tie(self, on_tie: str) -> None:
        """Set what to do with merges of edits that have equal timestamps.

        Raises:
            ConfigError: `bad_request`, if it is none of the settings.
        """
        info = await self._write(self._store.set_on_tie, self.name, on_tie)
        self.info = replace(self.info, on_tie=info.on_tie)

    async def work(self, call: Callable[Concatenate[Store, str, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a short call on the store and the vault's name between two commits."""
        return await self._write(call, self._store, self.name, *args, **kwargs)

    async def refresh(self) -> VaultInfo:
        """Read what was written about the vault besides its log."""
        info = await self._read(self._store.vault, self.name)
        gone_before = info.tombstones_gone_before
        self.info = replace(self.info, on_tie=info.on_tie, tombstones_gone_before=gone_before, swept_at=info.swept_at)
        return self.info

    # -- reading

    async def read(self, call: Callable[Concatenate[Store, str, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call that reads the store and may take its time."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._slow_readers, partial(call, self._store, self.name, *args, **kwargs))

    async def read_merging(
        self, call: Callable[Concatenate[Store, str, Merge, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a call that reads the store and merges texts; long merges are made apart, and then it is run again.

        Raises:
            TidenoteError: `internal_error`, if texts cannot be merged.
        """
        known: dict[bytes, Merged] = {}
        while True:
            merge = BoundedMerge(MERGE_STEPS, known)
            try:
                return await self.read(call, merge, *args, **kwargs)
            except TooMuchWork:
                assert merge.missing
                known[digest(merge.missing)] = await self._merger.merge(merge.missing)

    async def changes_since(self, cursor: int) -> Page:
        """Return the next page of keys that altered after a cursor."""
        return await self._read(self._store.changes_since, self.name, cursor)

    async def entries(self, keys: Iterable[str]) -> list[CrdtEntry]:
        """Return the state of some keys; those that nobody wrote are left out."""
        return await self._read(self._store.entries, self.name, keys)

    async def first_entries(self, keys: Sequence[str]) -> list[CrdtEntry]:
        """Return the state of some keys, from the first, as far as one message holds them; at least of one."""
        found: list[CrdtEntry] = []
        size = 0
        for start in range(0, len(keys), KEYS_AT_ONCE):
            for entry in await self.entries(keys[start : start + KEYS_AT_ONCE]):
                size += size_of(entry)
                if found and size > MAX_MESSAGE_BYTES:
                    return found
                found.append(entry)
        return found

    async def manifest(self, after: str | None, limit: int) -> list[tuple[str, dict[Dot, Head]]]:
        """Return keys with the dots of their siblings and what is compared of them, ordered by key."""
        return await self._read(self._store.manifest, self.name, after, limit)

    async def history(self, key: str) -> list[Version]:
        """Return all versions that a key ever had, by receipt."""
        return await self._read(self._store.history, self.name, key)

    async def open_conflicts(self, after: str | None, limit: int) -> list[str]:
        """Return keys that a person should look at, in order."""
        return await self._read(self._store.open_conflicts, self.name, after, limit)

    # -- the writer's loop

    async def _run(self) -> None:
        while self._waiting or not self._closing:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            pushes = self._next_batch()
            try:
                await self._commit(pushes)
            except Exception:
                logger.exception("vault %s: a batch of %d pushes could not be answered", self.name, len(pushes))
                self._reject(pushes, *BUG)

    def _next_batch(self) -> list[_Waiting]:
        """Take what waits off the queue, up to the limits of one commit; at least one push."""
        batch: list[_Waiting] = []
        changes = size = 0
        while self._waiting:
            push = self._waiting[0]
            changes += len(push.changes)
            size += push.size
            is_full = changes > self._config.max_batch_changes or size > self._config.max_batch_bytes
            # A late key has a commit of its own, with room for its merges.
            if batch and (is_full or push.late or batch[0].late):
                break
            batch.append(self._waiting.popleft())
        self._metrics.queue.dec(len(batch))
        return batch

    async def _commit(self, pushes: list[_Waiting], *, is_bounded: bool = True) -> None:
        """Commit, publish, acknowledge; in several commits, if what is written to is too much to be read for one."""
        started_s = time.perf_counter()
        late = pushes[0].late
        try:
            batch = await self._write(
                self._store.take_in,
                self.name,
                [push.changes for push in pushes],
                wall_ms=_wall_ms(),
                check_blob=self._check_blob,
                settle=[late.key] if late else (),
                merge=late.merge if late else BoundedMerge(MERGE_STEPS),
                max_read=self._config.max_batch_bytes if is_bounded and not late else None,
            )
        except TooMuchAtOnce:
            await self._commit_in_halves(pushes)
        except StorageError as error:
            self._note_failure(error)
            self._reject(pushes, error.code, error.message)
            if late:
                self._settling.put_off(late.key)
        except Exception:
            logger.exception("vault %s: a batch of %d pushes could not be taken in", self.name, len(pushes))
            await self._commit_one_by_one(pushes)
        else:
            self.failure = None
            self._metrics.commit_seconds.observe(time.perf_counter() - started_s)
            if not late:
                self._metrics.batch_changes.observe(len(batch.results))
            await self._tell(batch)
            self._acknowledge(pushes, batch)
            if late:
                late.again = late.key in batch.late
            self._settling.note(batch.late - {late.key} if late else batch.late)

    async def _commit_in_halves(self, pushes: list[_Waiting]) -> None:
        """Commit pushes, or the changes of one, in two parts, each of which may be parted again."""
        middle = len(pushes) // 2
        if middle:
            await self._commit(pushes[:middle])
            await self._commit(pushes[middle:])
            return
        (push,) = pushes
        cut = _cut(push.changes)
        if cut is None:
            await self._commit(pushes, is_bounded=False)
            return
        done: list[Committed] = []
        for changes in (push.changes[:cut], push.changes[cut:]):
            part = _Waiting(changes, push.size, asyncio.get_running_loop().create_future())
            await self._commit([part])
            done.append(part.outcome.result())
        first, second = done
        accepted, rejected = first.accepted + second.accepted, first.rejected + second.rejected
        self._answer(push, Committed(accepted, rejected, second.clock))

    async def _commit_one_by_one(self, pushes: list[_Waiting]) -> None:
        """Find the push that nobody can take in, so that it does not cost the others of its batch."""
        if len(pushes) == 1:
            self._reject(pushes, *BUG)
        else:
            for push in pushes:
                await self._commit([push])

    # -- what takes too long for a commit

    async def _settle(self, late: Late) -> None:
        """Settle a key in a commit of its own, after what waits already."""
        outcome: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        self._queue(_Waiting((), 0, outcome, late))
        await outcome

    async def _unsettled(self, after: str | None) -> tuple[list[str], str | None]:
        """Return the keys with siblings on a page of open questions, and after which key the next page begins."""
        keys = await self.open_conflicts(after, OPEN_AT_ONCE)
        if not keys:
            return [], None
        return [entry.key for entry in await self.entries(keys) if len(entry.register.siblings) > 1], keys[-1]

    # -- answers

    def _note_failure(self, error: StorageError) -> None:
        logger.error("vault %s: %s (%s)", self.name, error.message, error.code)
        if error.code == "storage_failed":
            self.failure = error

    async def _tell(self, batch: Batch) -> None:
        if batch.clock == batch.previous_clock:
            return
        self.info = replace(self.info, clock=batch.clock)
        entries: tuple[CrdtEntry, ...] | None = tuple(batch.entries)
        if sum(map(size_of, batch.entries)) > self._config.max_publication_bytes:
            entries = None
        await self._publish(Publication(self.epoch, batch.previous_clock, batch.clock, entries))

    async def _publish(self, publication: Publication) -> None:
        """Tell the sessions; a failure costs them time, and must not cost the author the acknowledgement."""
        try:
            async with asyncio.timeout(self._config.publish_timeout_ms / 1000):
                await self._bus.publish(self.topic, publication)
        except Exception:
            logger.exception("vault %s: a commit could not be published", self.name)

    def _acknowledge(self, pushes: list[_Waiting], batch: Batch) -> None:
        results = iter(batch.results)
        for push in pushes:
            own = [next(results) for _ in push.changes]
            accepted = tuple(result for result in own if isinstance(result, Taken))
            rejected = tuple(_rejected(result) for result in own if isinstance(result, Refused))
            self._resolve(push, Committed(accepted, rejected, batch.clock))

    def _reject(self, pushes: Iterable[_Waiting], code: str, message: str) -> None:
        for push in pushes:
            self._resolve(push, self._refuse(push.changes, code, message))

    def _refuse(self, changes: Iterable[Change], code: str, message: str) -> Committed:
        rejected = tuple(Rejected(change.key, *change.dot, code, message) for change in changes)
        return Committed((), rejected, self.clock)

    def _resolve(self, push: _Waiting, committed: Committed) -> None:
        self._metrics.accepted.inc(len(committed.accepted))
        self._answer(push, committed)

    @staticmethod
    def _answer(push: _Waiting, committed: Committed) -> None:
        # Whoever waited may have been cancelled: a client went away. Its changes are in the log all the same.
        if not push.outcome.done():
            push.outcome.set_result(committed)

    async def _write(self, call: Callable[..., T], *arguments: object, **named: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, partial(call, *arguments, **named))

    async def _read(self, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, partial(call, *arguments))


def _note_devices(store: Store, vault: str, seen: Mapping[str, tuple[int, int]]) -> None:
    store.note_devices(vault, seen)


def _rejected(refused: Refused) -> Rejected:
    change = refused.change
    clock = refused.clock if refused.code == "clock_too_far" else None
    return Rejected(change.key, *change.dot, refused.code, refused.message, clock)


def _cut(changes: Sequence[Change]) -> int | None:
    """Return where changes may be parted, near their middle; None if they are taken in together or not at all.

    A rename's creation and tombstone are, and a change and its deletion, lest others see it come and go; so is what the
    server writes on somebody's behalf, if nothing of it is stale.
    """
    if any(change.dot == UNDATED for change in changes):
        return None
    created: dict[str, int] = {}
    whole: set[int] = set()
    for place, change in enumerate(changes):
        other = change.moved_to or change.key
        if change.deleted and other in created:
            whole.update(range(created[other] + 1, place + 1))
        created[change.key] = place
    cuts = (cut for cut in range(1, len(changes)) if cut not in whole)
    return min(cuts, key=lambda cut: abs(2 * cut - len(changes)), default=None)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
