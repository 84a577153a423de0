"""Full-text search: an index beside the log, made of it and brought up to date by its cursor.

The index (`search.db` in the data folder, SQLite's FTS5) is nobody's only copy of anything: whenever it does not fit
the log, or is broken, it is made anew. It is behind by what was committed since; a search catches up first.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeVar

from tidenote.core.crdt import CrdtEntry
from tidenote.core.version import Change, Dot
from tidenote.errors import ProtocolError, StorageError, TidenoteError
from tidenote.server.hub import Hub
from tidenote.server.pubsub import Bus
from tidenote.wire.session import Page, Publication

logger = logging.getLogger("tidenote.server")

SEARCH_FILE: Final = "search.db"

MAX_QUERY: Final = 500
"""The most characters of a query."""

MAX_TERMS: Final = 20
"""The most words of a query."""

SEARCH_S: Final = 2.0
"""How long one look into the index may take."""

CATCH_UP_S: Final = 5.0
"""For how long a search catches up with the log before it answers with what it has."""

IDLE_S: Final = 1.0
"""For how long nothing must have been committed before the index catches up by itself."""

ROUNDS: Final = 3
"""How often a search looks again because what it found has altered meanwhile."""

T = TypeVar("T")

_VERSION: Final = 1
_EXCERPT_CHARACTERS: Final = 90
"""How many characters before a hit are shown; after it twice as many."""

_SCHEMA: Final = f"""
CREATE TABLE state (vault TEXT PRIMARY KEY, epoch TEXT NOT NULL, cursor INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE notes (
    id INTEGER PRIMARY KEY, vault TEXT NOT NULL, key TEXT NOT NULL, timestamp INTEGER NOT NULL, device_id TEXT NOT NULL,
    UNIQUE (vault, key)
);
CREATE VIRTUAL TABLE texts USING fts5(path, body, tokenize = "unicode61 remove_diacritics 2");
PRAGMA user_version = {_VERSION};
"""

_UNSPACED: Final = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Characters of scripts whose words have no spaces between them, so that the index does not know them."""

_TERM: Final = re.compile(r'["\u201c-\u201f]([^"\u201c-\u201f]*)["\u201c-\u201f]|([^\s"\u201c-\u201f]+)')
"""What somebody quotes, with the marks that a telephone writes, too; or a word."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a snippet; `hit` if it is what was searched for."""

    text: str
    hit: bool


@dataclass(frozen=True, slots=True)
class Hit:
    """A note that was found: where, which version, and the place in it."""

    key: str
    dot: Dot
    parts: tuple[Part, ...]


class Query(NamedTuple):
    """What somebody searches for.

    Attributes:
        match: for the index; empty if it can not help.
        literal: what must stand in the path or the text as it is, but for case.
        shown: finds each word in a text that was folded by `_FOLDED`.
    """

    match: str
    literal: tuple[str, ...]
    shown: tuple[re.Pattern[str], ...]


def parse(text: str) -> Query:
    """Return what a query asks for: all its words, each from its beginning, and what it quotes, word for word.

    Nothing else in it is an operator; a quotation mark that is alone is left out.

    Raises:
        ProtocolError: `bad_request`, if it is too long.
    """
    found = _TERM.findall(unicodedata.normalize("NFC", text).replace("\0", " "))
    # A quoted single word is like any other; so is a quoted nothing like nothing.
    terms = [term for quoted, word in found if (term := " ".join(quoted.split()) or word)]
    if len(text) > MAX_QUERY or len(terms) > MAX_TERMS:
        raise ProtocolError(f"a search has at most {MAX_QUERY} characters and {MAX_TERMS} words", "bad_request")
    known = [term for term in terms if re.search(r"[^\W_]", term) and not _UNSPACED.search(term)]
    match = " ".join('"{}"*'.format(term.replace('"', '""')) for term in known)
    literal = tuple(term for term in terms if term not in known or re.search(r"[^\w ]|_", term))
    return Query(match, literal, tuple(_pattern(term, whole=term in known) for term in terms))


class SearchIndex:
    """The index of all vaults. Synchronous; for one thread.

    Args:
        file: where it is; made if it is missing, and anew if it is broken.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._connection = self._open()

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    def cursor(self, vault: str, epoch: str, clock: int) -> int:
        """Return up to where a vault is indexed; 0 if what there is does not fit its log."""
        row = self._connection.execute("SELECT epoch, cursor FROM state WHERE vault = ?", (vault,)).fetchone()
        if row is None or row[0] != epoch or row[1] > clock:
            with self._transaction():
                self._forget(vault)
            return 0
        cursor: int = row[1]
        return cursor

    def add(self, vault: str, epoch: str, page: Page) -> None:
        """Take a page of a vault's log in."""
        with self._transaction():
            for entry in page.entries:
                self._put(vault, entry)
            self._connection.execute("REPLACE INTO state VALUES (?, ?, ?)", (vault, epoch, page.up_to))

    def refresh(self, vault: str, keys: Iterable[str], entries: Iterable[CrdtEntry]) -> None:
        """Take some keys in as they are now; those without an entry are gone."""
        known = {entry.key: entry for entry in entries}
        with self._transaction():
            for key in keys:
                if key in known:
                    self._put(vault, known[key])
                else:
                    self._drop(vault, key)

    def find(self, vault: str, query: Query, limit: int, offset: int) -> list[Hit]:
        """Return hits, the best first.

        Raises:
            ProtocolError: `bad_request`, if it takes too long.
        """
        if not query.match and not query.literal:
            return []
        # FTS5's `snippet` and `highlight` take time by the square of the hits in a note: `_excerpt` does without.
        # Either table has the order that is wanted, so that no more texts are read than are asked for.
        tables, order = ("texts CROSS JOIN notes", "rank") if query.match else ("notes CROSS JOIN texts", "notes.key")
        sql = f"SELECT notes.key, notes.timestamp, notes.device_id, texts.body FROM {tables} "  # noqa: S608 (ours)
        sql += "ON notes.id = texts.rowid WHERE notes.vault = ?"
        values: list[object] = [vault]
        if query.match:
            sql += " AND texts MATCH ? AND rank MATCH 'bm25(8.0, 1.0)'"
            values.append(query.match)
        for literal in query.literal:
            sql += " AND (holds(texts.body, ?) OR holds(texts.path, ?))"
            values += [_folded(literal)] * 2
        sql += f" ORDER BY {order} LIMIT ? OFFSET ?"
        with self._bounded():
            return [
                Hit(key, Dot(timestamp, device_id), _excerpt(body, query.shown))
                for key, timestamp, device_id, body in self._connection.execute(sql, (*values, limit, offset))
            ]

    def _put(self, vault: str, entry: CrdtEntry) -> None:
        self._drop(vault, entry.key)
        shown = entry.register.winner
        if shown is None or shown.deleted:
            return
        row = self._connection.execute(
            "INSERT INTO notes (vault, key, timestamp, device_id) VALUES (?, ?, ?, ?)", (vault, entry.key, *shown.dot)
        )
        self._connection.execute(
            "INSERT INTO texts (rowid, path, body) VALUES (?, ?, ?)", (row.lastrowid, _path(entry.key), _body(shown))
        )

    def _drop(self, vault: str, key: str) -> None:
        found = self._connection.execute("SELECT id FROM notes WHERE vault = ? AND key = ?", (vault, key)).fetchone()
        if found:
            self._connection.execute("DELETE FROM texts WHERE rowid = ?", found)
            self._connection.execute("DELETE FROM notes WHERE id = ?", found)

    def _forget(self, vault: str) -> None:
        self._connection.execute("DELETE FROM texts WHERE rowid IN (SELECT id FROM notes WHERE vault = ?)", (vault,))
        self._connection.execute("DELETE FROM notes WHERE vault = ?", (vault,))
        self._connection.execute("DELETE FROM state WHERE vault = ?", (vault,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """Interrupt what takes too long."""
        deadline_s = time.monotonic() + SEARCH_S
        self._connection.set_progress_handler(lambda: time.monotonic() > deadline_s, 100)
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            raise ProtocolError("the search takes too long: add a word, or a longer one", "bad_request") from None
        finally:
            self._connection.set_progress_handler(None, 0)

    def _open(self) -> sqlite3.Connection:
        with suppress(sqlite3.DatabaseError):
            connection = _connect(self._file)
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == _VERSION:
                return connection
            connection.close()
        remove(self._file)
        connection = _connect(self._file)
        connection.executescript(_SCHEMA)
        return connection


class Search:
    """Searches the vaults of a server. An async context manager: leaving it ends the work under way.

    Args:
        data: the server's data folder.
        bus: tells of commits.
    """

    def __init__(self, data: Path, bus: Bus[Publication]) -> None:
        self._file = data / SEARCH_FILE
        self._bus = bus
        self._index: SearchIndex | None = None
        self._thread = ThreadPoolExecutor(1, "tidenote-search")
        self._busy: dict[str, asyncio.Lock] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._index:
            self._thread.submit(self._index.close)
        self._thread.shutdown()

    def watch(self, hub: Hub) -> None:
        """Keep the index of a vault near its log from now on."""
        self._tasks.append(asyncio.create_task(self._keep_up(hub), name=f"indexer of {hub.name}"))

    async def find(self, hub: Hub, text: str, limit: int, offset: int) -> list[Hit]:
        """Return notes in which all words of a query stand, the best first.

        Raises:
            ProtocolError: `bad_request`, if the query is too long, or takes too long.
            StorageError: the disk failed.
        """
        query = parse(text)
        with suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_S):
                await self._catch_up(hub)
        hits: list[Hit] = []
        for _ in range(ROUNDS):
            hits = await self._run(lambda index: index.find(hub.name, query, limit, offset))
            entries = await hub.entries([hit.key for hit in hits])
            winners = {entry.key: entry.register.winner for entry in entries}
            old = [hit.key for hit in hits if not _is_shown(winners.get(hit.key), hit.dot)]
            if not old:
                return hits
            # Written meanwhile; or the log was restored from an older copy, and the index knows what it does not.
            await self._run(lambda index: index.refresh(hub.name, old, entries))  # noqa: B023 (awaited here)
        return [hit for hit in hits if hit.key not in old]

    async def _catch_up(self, hub: Hub) -> None:
        """Bring the index of a vault up to date, page by page."""
        async with self._busy.setdefault(hub.name, asyncio.Lock()):
            epoch, clock = hub.epoch, hub.clock
            cursor = await self._run(lambda index: index.cursor(hub.name, epoch, clock))
            while cursor < clock:
                page = await hub.changes_since(cursor)
                await self._run(lambda index: index.add(hub.name, epoch, page))  # noqa: B023 (awaited here)
                cursor = page.up_to

    async def _keep_up(self, hub: Hub) -> None:
        wake = asyncio.Event()
        with self._bus.subscribe(hub.topic, wake.set, max_waiting=0):
            while True:
                wake.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_S):
                        await wake.wait()
                        continue
                try:
                    await self._catch_up(hub)
                except TidenoteError as error:
                    logger.error("search in vault %s: %s (%s)", hub.name, error.message, error.code)
                except Exception:
                    logger.exception("vault %s could not be indexed", hub.name)
                await wake.wait()

    async def _run(self, call: Callable[[SearchIndex], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._do, call)

    def _do(self, call: Callable[[SearchIndex], T]) -> T:
        """Do something with the index; if that is broken, with a new one."""
        try:
            if self._index is None:
                self._index = SearchIndex(self._file)
            try:
                return call(self._index)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                logger.warning("the search index is broken (%s) and is made anew", error)
                self._index.close()
                remove(self._file)
                self._index = SearchIndex(self._file)
                return call(self._index)
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"the search index cannot be used: {error}", "storage_failed") from error


def remove(file: Path) -> None:
    """Delete an index."""
    for name in (file.name, f"{file.name}-wal", f"{file.name}-shm"):
        file.with_name(name).unlink(missing_ok=True)


def title_of(key: str) -> str:
    """Return what a note is called: its file's name without the ending."""
    return Path(_path(key)).stem


def _connect(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    try:
        connection.create_function("holds", 2, lambda text, term: term in _folded(text), deterministic=True)
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "cache_size = -8192"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _path(key: str) -> str:
    return key.partition(":")[2]


def _body(change: Change) -> str:
    return change.value or ""


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _is_shown(shown: Change | None, dot: Dot) -> bool:
    return shown is not None and not shown.deleted and shown.dot == dot


def _excerpt(text: str, patterns: Sequence[re.Pattern[str]]) -> tuple[Part, ...]:
    """Return what is around the first hit in a text; its beginning, if there is none."""
    folded = text.translate(_FOLDED)
    middle = min((hit.start() for pattern in patterns if (hit := pattern.search(folded))), default=0)
    start, end = max(0, middle - _EXCERPT_CHARACTERS), middle + 2 * _EXCERPT_CHARACTERS
    parts = [Part("…", hit=False)] if start else []
    at = start
    # A hit that a longer one covers, or that began before the excerpt, is not marked by itself.
    for first, last in sorted(hit.span() for pattern in patterns for hit in pattern.finditer(folded, start, end)):
        if first >= at:
            parts += [Part(text[at:first], hit=False), Part(text[first:last], hit=True)]
            at = last
    parts.append(Part(text[at:end] + ("…" if len(text) > end else ""), hit=False))
    return tuple(part for part in parts if part.text)


def _pattern(term: str, *, whole: bool) -> re.Pattern[str]:
    """Return what finds a word of a query in a folded text, in linear time.

    Args:
        term: of the query.
        whole: whether it stands at the beginning of a word, and that word is shown to its end.
    """
    literal = (r"[\W_]+" if whole else r"\s+").join(map(re.escape, term.translate(_FOLDED).split()))
    return re.compile(rf"(?<![^\W_]){literal}(?:(?<=[^\W_])[^\W_]*)?" if whole else literal)


class _Folding(dict[int, str]):
    """Folds every character to one, about as the index does: lower case, without accents."""

    def __missing__(self, point: int) -> str:
        plain = unicodedata.normalize("NFD", chr(point))[0].lower()
        folded = plain if len(plain) == 1 else chr(point)
        if point < 0x10000:
            self[point] = folded
        return folded


_FOLDED: Final = _Folding()
