"""`SyncClient`: notes that are the same on all devices, as a library. The folder daemon is built on it, too.

    async with SyncClient(SyncConfig("laptop")) as notes:
        await notes.put("ideas.md", "a text")
        async for keys in notes.changes():
            for key in keys:
                print(key, await notes.get(key))

What is written here is durable at once and sent when there is a connection; what is durable on the server is
acknowledged. link.py does the sending, journal.py the remembering.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import shutil
import ssl
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

import platformdirs

from tidenote.client.data_sync import FindBlob
from tidenote.client.journal import Journal, Write
from tidenote.client.link import CLOSE_TIMEOUT_S, Link
from tidenote.client.rest import Rest, holds
from tidenote.client.trust import trust_for
from tidenote.config import SyncConfig
from tidenote.core.keys import check_key, key_of_path, path_of_key
from tidenote.core.version import BlobRef, Change
from tidenote.errors import AccessError, RefusedChange, StorageError, TidenoteError, UnreachableError
from tidenote.wire.messages import DecidedHold, WireHold

State = Literal["connecting", "online", "polling", "offline", "stopped"]
Content = tuple[str | None, BlobRef | None, str | None]
"""A text; or a blob, and the file that holds its bytes until they are uploaded."""


@dataclass(frozen=True, slots=True)
class Parked:
    """A change that the server refused for good: it is kept here and no longer sent."""

    key: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Status:
    """How things stand.

    Attributes:
        state: of the connection.
        pending: how many changes the server has not yet confirmed.
        parked: what it refused, and why.
        conflicts: how many keys a person should look at.
        behind: how many keys are still to come.
        caught_up: whether everything that the server had was applied since the connection began.
        cursor: the receipt up to which everything is applied.
        last_confirmed_at: when the server last confirmed anything, ms since 1970; None if never.
        last_error: why there is no connection, for people; None while there is.
        last_error_code: its code.
        device_id: who we are, with incarnation.
    """

    state: State
    pending: int
    parked: tuple[Parked, ...]
    conflicts: int
    behind: int
    caught_up: bool
    cursor: int
    last_confirmed_at: int | None
    last_error: str | None
    last_error_code: str | None
    device_id: str


class Changes:
    """The keys that others altered since one last asked: an async iterator of sets, so it never grows without bound."""

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._woken = asyncio.Event()
        self._ended = False
        self._failure: BaseException | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> frozenset[str]:
        """Wait until something altered, and return the keys.

        Raises:
            StopAsyncIteration: the client was closed.
            TidenoteError: the client failed; `BrokenJournal`, for one.
        """
        await self._woken.wait()
        if self._keys:
            keys = frozenset(self._keys)
            self._keys.clear()
            if not self._ended:
                self._woken.clear()
            return keys
        if self._failure:
            raise self._failure
        raise StopAsyncIteration

    def add(self, keys: Iterable[str]) -> None:
        """Note keys that altered."""
        self._keys.update(keys)
        if self._keys:
            self._woken.set()

    def end(self, failure: BaseException | None) -> None:
        """Note that no more will come."""
        self._ended, self._failure = True, failure
        self._woken.set()


class SyncClient:
    """One device's replica of a vault, kept the same as the server's while the context lasts.

    Args:
        config: where to, who, which vault.
        journal: the journal, or where its file is to be; by default in the user's data folder.
        find_blob: finds the bytes of blobs that a restored server has lost.
        trust: which certificates are believed; by default those of `trust_for`.

    Raises (on entering):
        BrokenJournal: the journal's file is damaged.
        ConfigError: it is another device's or another vault's; or the environment's proxy or certificates are of no
            use.
        StorageError: it cannot be opened.
    """

    def __init__(
        self,
        config: SyncConfig,
        journal: Journal | Path | str | None = None,
        *,
        find_blob: FindBlob | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self.config = config
        self._trust = trust
        self._given = journal
        self._find_blob = find_blob
        self._subscribers: weakref.WeakSet[Changes] = weakref.WeakSet()
        self._news = asyncio.Event()
        self._closed = False
        self._spoolers = 0
        self._getting: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._swept = True

    async def __aenter__(self) -> Self:
        config = self.config
        given = self._given if self._given is not None else default_journal_path(config)
        self.journal = given if isinstance(given, Journal) else Journal(given)
        """This device's state and outbox; after writing to it directly, call `wake`."""
        try:
            self.journal.bind(
                device_id=config.device_id, vault=config.vault, endpoint=config.sync_endpoint, token=config.token
            )
            self._sweep()
            self._swept = not self.journal.sources()
            trust = self._trust or trust_for(config.sync_endpoint)
            self._rest = Rest(config, trust)
        except BaseException:
            self._close_journal()
            raise
        self._link = Link(
            config,
            self.journal,
            self._rest,
            on_altered=self._altered,
            on_news=self._tell_news,
            find_blob=self._find_blob or self._find_own_blob,
            trust=trust,
        )
        self._task = asyncio.create_task(self._link.run(), name="tidenote-link")
        self._task.add_done_callback(self._ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self._link.close()
        if self._link.state.connected_at_ms is not None:
            await asyncio.wait([self._task], timeout=CLOSE_TIMEOUT_S)
        self._task.cancel()
        await asyncio.wait([self._task])
        for changes in list(self._subscribers):
            changes.end(self._failure())
        await self._rest.__aexit__(kind, error, trace)
        self._sweep()
        self._close_journal()

    # -- notes

    async def put(self, name: str, content: str | bytes | Path) -> Change:
        """Write a note or file; what is already there is not written again.

        Args:
            name: a key (`note:a.md`) or a path (`a.md`).
            content: a text, bytes, or a file that is copied now.

        Returns:
            The change; when it is back from the server, `status().pending` no longer counts it.

        Raises:
            RefusedChange: `bad_key` or `bad_value`.
            StorageError: the journal cannot be written.
            OSError: the file cannot be read, or the disk takes no copy of the bytes.
        """
        key = key_of(name)
        with self._spooling():
            value, blob, source = await self._content(key, content)
            return self._put(key, value, blob, source)

    async def get(self, name: str) -> str | bytes | None:
        """Return what a key shows here: its text, or the bytes of a blob, fetched if need be; None if nothing.

        Raises:
            RefusedChange: `bad_key`.
            TidenoteError: the bytes cannot be fetched now.
        """
        winner = self.journal.winner(key_of(name))
        if winner is None or winner.blob is None:
            return winner.value if winner else None
        blob = winner.blob
        into = self._spool(f"{blob.sha256}.get")
        # By this name a download that broke off goes on, so there is one at a time.
        lock = self._getting.setdefault(blob.sha256, asyncio.Lock())
        async with lock:
            with self._spooling():
                await self.fetch_blob(blob, into)
                try:
                    return await asyncio.to_thread(into.read_bytes)
                finally:
                    into.unlink(missing_ok=True)

    async def delete(self, name: str) -> Change | None:
        """Delete a note or file and return the change; None if there is none.

        Raises:
            RefusedChange: `bad_key`.
            StorageError: the disk refuses.
        """
        key = key_of(name)
        winner = self.journal.winner(key)
        if winner is None or winner.deleted:
            return None
        return self._write(Write(key, base=frozenset([winner.dot]), modified_at=_wall_ms()))[0]

    async def rename(self, old: str, new: str) -> tuple[Change, Change]:
        """Give a note or file another name; edits that others make meanwhile follow.

        Returns:
            The creation and the tombstone, durable together.

        Raises:
            AccessError: `not_found`, if there is nothing under the old name.
            RefusedChange: `bad_key`, if there is something under the new one.
            StorageError: the disk refuses.
        """
        source, target = key_of(old), key_of(new)
        winner = self.journal.winner(source)
        taken = self.journal.winner(target)
        if winner is None or winner.deleted:
            raise AccessError(f"there is no {source}", "not_found")
        if taken is not None and not taken.deleted:
            raise RefusedChange(f"there is a {target} already", "bad_key")
        value, blob, file = winner.value, winner.blob, None
        if blob is not None:
            file = self.journal.source_of(blob.sha256)
        with self._spooling():
            if value is not None and not target.startswith("note:"):
                value, blob, file = await self._content(target, value)
            base = frozenset([taken.dot]) if taken else frozenset()
            creation, tombstone = self._write(
                Write(target, value, blob, base=base, modified_at=winner.modified_at, source=file),
                Write(source, base=frozenset([winner.dot]), moved_to=target, modified_at=_wall_ms()),
            )
        return creation, tombstone

    def list(self, prefix: str = "") -> list[str]:
        """Return the keys of all notes and files, in order.

        Args:
            prefix: of the keys (`note:daily/`) or of the paths (`daily/`).
        """
        if prefix.startswith(("note:", "file:")):
            return self.journal.keys(prefix)
        return sorted((*self.journal.keys(f"file:{prefix}"), *self.journal.keys(f"note:{prefix}")), key=path_of_key)

    # -- how things stand

    def changes(self) -> Changes:
        """Return an async iterator over the keys that others alter from now on, as sets."""
        changes = Changes()
        if self._closed or self._task.done():
            changes.end(self._failure())
        self._subscribers.add(changes)
        return changes

    def status(self) -> Status:
        """Return how things stand."""
        meta = self.journal.meta
        pending, _, conflicts = self.journal.counts()
        error = self._link.last_error
        failure = self._failure()
        if failure is not None:
            error = failure if isinstance(failure, TidenoteError) else StorageError(f"a bug: {failure!r}")
        return Status(
            self._state(),
            pending,
            tuple(Parked(row.change.key, row.code or "", row.message or "") for row in self.journal.parked()),
            conflicts,
            self._link.behind,
            self._link.caught_up,
            meta.cursor,
            meta.confirmed_at,
            error.message if error else None,
            error.code if error else None,
            meta.device_id,
        )

    async def flush(self, timeout_s: float | None = None) -> None:
        """Wait until the server has confirmed every change that it does not refuse.

        Raises:
            UnreachableError: not within the time.
            TidenoteError: why the client stopped.
        """
        self.wake()
        await self._until(lambda: self.journal.counts()[0] == 0, timeout_s, "not everything was confirmed in time")

    async def caught_up(self, timeout_s: float | None = None) -> None:
        """Wait until everything that the server has is here.

        Raises:
            UnreachableError: not within the time.
            TidenoteError: why the client stopped.
        """
        await self._until(lambda: self._link.caught_up, timeout_s, "the server did not answer in time")

    async def news(self) -> None:
        """Wait until anything about the connection or the outbox is new; then ask `status` or the journal what."""
        await self._news.wait()

    # -- what waits for a person

    def quarantined(self) -> Sequence[str]:
        """Return the keys that the server lacks, though they once were there: deleted elsewhere long ago, perhaps."""
        return self.journal.quarantined()

    def release(self, names: Iterable[str], *, keep: bool) -> int:
        """Bring quarantined notes back everywhere, or let them go to the trash; return how many that is.

        Raises:
            StorageError: the disk refuses.
        """
        released = self.journal.release(map(key_of, names), self._find_blob or self._find_own_blob, keep=keep)
        self._altered(frozenset(released))
        self.wake()
        return len(released)

    async def report_holds(self, holds: Sequence[WireHold]) -> Sequence[DecidedHold]:
        """Tell the server what is held back here until a person decides; return what was decided about that.

        Raises:
            TidenoteError: what the server said instead.
            UnreachableError: it gave no answer.
        """
        return await self._rest.report_holds(self.journal.device_id, holds)

    def notices(self, topic: str) -> int:
        """Return how many notices of a topic came since the client was opened; `news` tells of each."""
        return self._link.notices[topic]

    # -- for who writes to the journal

    def wake(self) -> None:
        """Say that the outbox has grown."""
        self._link.wake()

    async def fetch_blob(self, blob: BlobRef, into: Path) -> None:
        """Bring the bytes of a blob into a file, from this device if it has them; verified, flushed, renamed.

        Raises:
            ProtocolError: `bad_blob`.
            StorageError: our disk refuses.
            TidenoteError: what the server said.
            UnreachableError: it gave no answer.
        """
        own = self._find_own_blob(blob)
        if own is None or not await asyncio.to_thread(_copy, own, into, blob):
            await self._rest.download(blob, into)

    def retry_parked(self, names: Iterable[str] | None = None) -> int:
        """Send again what the server refused, all or some, and return how many changes that is."""
        count = self.journal.retry_parked(None if names is None else [key_of(name) for name in names])
        self.wake()
        return count

    # -- inside

    def _put(self, key: str, value: str | None, blob: BlobRef | None, source: str | None) -> Change:
        winner = self.journal.winner(key)
        if winner is not None and not winner.deleted and (winner.value, _sha(winner.blob)) == (value, _sha(blob)):
            return winner
        base = frozenset([winner.dot]) if winner else frozenset()
        return self._write(Write(key, value, blob, base=base, modified_at=_wall_ms(), source=source))[0]

    def _write(self, *writes: Write) -> tuple[Change, ...]:
        changes = self.journal.write(writes)
        self.wake()
        return tuple(changes)

    async def _content(self, key: str, content: str | bytes | Path) -> Content:
        """Return a text, or a blob and the file that holds its bytes until they are uploaded."""
        if isinstance(content, Path):
            return await asyncio.to_thread(self._file_content, key, content)
        return await asyncio.to_thread(self._bytes_content, key, content)

    def _file_content(self, key: str, path: Path) -> Content:
        if key.startswith("note:") and path.stat().st_size <= self.config.max_text_bytes:
            return self._bytes_content(key, path.read_bytes())
        return self._spool_file(path)

    def _bytes_content(self, key: str, content: str | bytes) -> Content:
        try:
            text = content if isinstance(content, str) else content.decode()
            data = content if isinstance(content, bytes) else content.encode()
        except UnicodeDecodeError:
            assert isinstance(content, bytes)
            return self._spool_bytes(content)
        except UnicodeEncodeError:
            raise RefusedChange("the text is not valid Unicode", "bad_value") from None
        if key.startswith("note:") and len(data) <= self.config.max_text_bytes and "\0" not in text:
            return text, None, None
        return self._spool_bytes(data)

    def _spool(self, name: str) -> Path:
        folder = self.journal.path.with_name(f"{self.journal.path.name}.blobs")
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / name

    def _spool_bytes(self, content: bytes) -> Content:
        blob = BlobRef(hashlib.sha256(content).hexdigest(), len(content))
        with self._part() as part:
            part.write_bytes(content)
            return None, blob, self._keep(part, blob)

    def _spool_file(self, source: Path) -> Content:
        with self._part() as part:
            shutil.copyfile(source, part)
            with part.open("rb") as file:
                blob = BlobRef(hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size)
            return None, blob, self._keep(part, blob)

    @contextlib.contextmanager
    def _part(self) -> Iterator[Path]:
        """Name a file of the spool that nobody else writes; what bears that name afterwards is removed."""
        part = self._spool(f"{secrets.token_hex(8)}.part")
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)

    def _keep(self, part: Path, blob: BlobRef) -> str:
        """Give a blob's bytes their name in the spool, durably, and return where they are."""
        path = self._spool(blob.sha256)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
        self._swept = False
        return str(path)

    @contextlib.contextmanager
    def _spooling(self) -> Iterator[None]:
        """Keep the spool as it is until what was put there is named in the outbox."""
        self._spoolers += 1
        try:
            yield
        finally:
            self._spoolers -= 1

    def _sweep(self) -> None:
        """Remove what the outbox no longer needs from the spool."""
        folder = self.journal.path.with_name(f"{self.journal.path.name}.blobs")
        if not self._spoolers and folder.is_dir():
            needed = self.journal.sources()
            for path in folder.iterdir():
                if str(path) not in needed:
                    path.unlink(missing_ok=True)

    def _find_own_blob(self, blob: BlobRef) -> Path | None:
        source = self.journal.source_of(blob.sha256)
        return Path(source) if source else None

    def _state(self) -> State:
        state = self._link.state
        if self._closed or self._task.done() or state.stopped:
            return "stopped"
        if state.connected_at_ms is not None:
            return "online"
        if state.polling:
            return "polling"
        return "offline" if state.failures else "connecting"

    def _failure(self) -> BaseException | None:
        if self._task.done() and not self._task.cancelled():
            return self._task.exception()
        return None

    async def _until(self, holds: Callable[[], bool], timeout_s: float | None, late: str) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not holds():
                    if failure := self._failure():
                        raise failure
                    if self._state() == "stopped":
                        raise self._link.last_error or UnreachableError("the client was closed")
                    await self._news.wait()
        except TimeoutError:
            why = f": {self._link.last_error.message}" if self._link.last_error else ""
            raise UnreachableError(f"{late}{why}") from None

    def _altered(self, keys: frozenset[str]) -> None:
        for changes in list(self._subscribers):
            changes.add(keys)

    def _tell_news(self) -> None:
        if not self._swept and self.journal.counts()[0] == 0:
            self._swept = True
            self._sweep()
        self._news.set()
        self._news = asyncio.Event()

    def _ended(self, _: asyncio.Task[None]) -> None:
        failure = self._failure()
        # A client that stopped for a reason that a person can cure goes on taking writes; what others do just pauses.
        if failure is not None:
            for changes in list(self._subscribers):
                changes.end(failure)
        self._tell_news()

    def _close_journal(self) -> None:
        if not isinstance(self._given, Journal):
            self.journal.close()


def key_of(name: str) -> str:
    """Return the key of a key or a path.

    Raises:
        RefusedChange: `bad_key`.
    """
    if name.startswith(("note:", "file:")):
        check_key(name)
        return name
    return key_of_path(name)


def default_journal_path(config: SyncConfig) -> Path:
    """Return where the journal of a device and vault is, if nobody says otherwise: one file a server."""
    server = hashlib.sha256(config.http_endpoint.encode()).hexdigest()[:8]
    folder: Final = platformdirs.user_data_path("tidenote", appauthor=False)
    vault = hashlib.sha256(config.vault.encode()).hexdigest()[:8]
    return folder / "journals" / f"{config.device_id}-{server}-{vault}.db"


def _copy(source: Path, into: Path, blob: BlobRef) -> bool:
    """Copy a file that holds a blob; return whether the copy does."""
    part = into.with_name(f"{into.name}.part")
    with contextlib.suppress(OSError):
        shutil.copyfile(source, part)
        if holds(part, blob):
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(into)
            return True
    part.unlink(missing_ok=True)
    return False


def _sha(blob: BlobRef | None) -> str | None:
    return blob.sha256 if blob else None


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
