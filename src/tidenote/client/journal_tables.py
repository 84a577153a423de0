"""The tables of a journal's file as objects: changes, outbox rows, bases. What is done with them is journal.py's.

Whatever writes must be inside `commit`; whatever reads may be outside of it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from tidenote.client.journal_file import BrokenJournal, sqlite_errors
from tidenote.core.register import join_all
from tidenote.core.version import BlobRef, Change, Dot
from tidenote.wire.messages import WireChange, encode, from_change

PAGE: Final = 256
"""How many keys are read at once."""

# Column names are constants of ours; values are always parameters (hence the noqa of S608 below).
_ROW: Final = "seq, key, change, source, uploaded, parked, code, message, attempts"
_CHANGES: Final = msgspec.json.Decoder(list[WireChange])


@dataclass(frozen=True, slots=True)
class BaseEntry:
    """What the folder held at a path when it was last equal to the replica: the base of the next edit.

    Attributes:
        path: relative, `/`-separated, NFC, as in the key.
        dot: the version that the file showed; None while it is about to be put there, and may not be there yet.
        content_hash: SHA-256 in hex of its bytes; None if it is known to be deleted.
        size: bytes.
        mtime_ns: as the disk says.
        inode: as the disk says; 0 if it has none.
        disk_name: the path on this disk, if it cannot be `path`; else the same.
        unbased: whether the file's relation to `dot` is unknown.
        arriving: SHA-256 in hex of the bytes that are about to take its place, and may have done so.
    """

    path: str
    dot: Dot | None
    content_hash: str | None
    size: int
    mtime_ns: int
    inode: int
    disk_name: str
    unbased: bool = False
    arriving: str | None = None


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A change of this device that the server has not confirmed.

    Attributes:
        seq: the order of sending.
        change: the change.
        source: the file that holds its blob's bytes.
        uploaded: whether the server has all bytes that the change names, as far as we know.
        parked: whether it is kept but no longer sent; then `code` and `message` say why.
        code: of the last refusal.
        message: of the last refusal, for people.
        attempts: how often it got a new dot after a refusal.
    """

    seq: int
    change: Change
    source: str | None = None
    uploaded: bool = True
    parked: bool = False
    code: str | None = None
    message: str | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Meta:
    """Whose journal this is, and how far it got.

    Attributes:
        device_id: the current incarnation; empty before `bind`.
        vault: the vault's name; empty before `bind`.
        endpoint: of the server; empty before `bind`.
        token: as given; None if there is none.
        epoch: of the log that `cursor` counts in; None before the first contact.
        cursor: the receipt up to which everything is applied.
        clock: the Lamport clock.
        confirmed_at: when the server last confirmed anything, ms since 1970; None if never.
    """

    device_id: str = ""
    vault: str = ""
    endpoint: str = ""
    token: str | None = None
    epoch: str | None = None
    cursor: int = 0
    clock: int = 0
    confirmed_at: int | None = None


class RawRow(NamedTuple):
    """An outbox row whose change was not decoded yet; `Tables.row` does that."""

    seq: int
    key: str
    change: bytes
    source: bytes | None
    uploaded: int
    parked: int
    code: str | None
    message: str | None
    attempts: int


class Tables:
    """The tables of one journal.

    Args:
        path: of the file, for errors, and as what sources of blobs are relative to.
        database: the open file, its schema up to date.

    Every method raises `BrokenJournal` if the file is damaged, and `StorageError` if it cannot be read or written.
    """

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self._path = path
        self._db = database

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def commit(self) -> Iterator[None]:
        """Run a block as one transaction."""
        with sqlite_errors(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _ask(self, query: str, *parameters: str | int | None) -> list[tuple[Any, ...]]:
        with sqlite_errors(self._path):
            return self._db.execute(query, parameters).fetchall()

    def _names(self, query: str, *parameters: str | int | None) -> list[str]:
        return [name for (name,) in self._ask(query, *parameters)]

    # -- meta

    def meta(self) -> Meta:
        """Return whose journal this is, and how far it got."""
        try:
            return msgspec.convert(dict(self._ask("SELECT name, value FROM meta")), Meta)
        except msgspec.ValidationError as error:
            raise BrokenJournal(self._path, str(error)) from error

    def put_meta(self, **values: str | int | None) -> None:
        """Set some of what `meta` returns."""
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    # -- what the server confirmed

    def confirmed(self, key: str) -> tuple[Change, ...]:
        """Return the siblings of a key."""
        found = self._ask("SELECT changes FROM confirmed WHERE key = ?", key)
        return self.decode(found[0][0]) if found else ()

    def confirmed_pages(self, prefix: str = "") -> Iterator[list[tuple[str, bytes]]]:
        """Yield pages of keys with that prefix, in order, with what `decode` makes siblings of.

        Only the last page has less than `PAGE` keys, and may have none. Between two pages, one may write.
        """
        after = ""
        while True:
            page = self._ask(
                "SELECT key, changes FROM confirmed WHERE key > ? AND substr(key, 1, ?) = ? ORDER BY key LIMIT ?",
                *(after, len(prefix), prefix, PAGE),
            )
            yield page
            if len(page) < PAGE:
                return
            after = page[-1][0]

    def shown_keys(self, prefix: str = "") -> list[str]:
        """Return the keys with that prefix that show something other than a deletion."""
        return self._names(
            "SELECT key FROM confirmed WHERE shown_hash IS NOT NULL AND substr(key, 1, ?) = ?", len(prefix), prefix
        )

    def conflicts(self) -> list[str]:
        """Return the keys with several siblings, or with a merge that a person should look at, in order."""
        return self._names("SELECT key FROM confirmed WHERE conflict ORDER BY key")

    def put_confirmed(self, key: str, siblings: Sequence[Change]) -> None:
        """Replace the siblings of a key; none removes it."""
        if not siblings:
            self._db.execute("DELETE FROM confirmed WHERE key = ?", (key,))
            return
        winner = join_all(siblings).winner
        assert winner is not None
        conflict = len(siblings) > 1 or winner.conflict
        self._db.execute(
            "INSERT OR REPLACE INTO confirmed (key, changes, shown_hash, conflict) VALUES (?, ?, ?, ?)",
            (key, encode([from_change(change) for change in siblings]), winner.content_hash, conflict),
        )

    # -- the outbox

    def outbox(self) -> list[OutboxRow]:
        """Return all rows, in order; likewise the next ones some of them."""
        return self._rows("ORDER BY seq")

    def pending(self) -> list[OutboxRow]:
        """Return the rows that are not parked."""
        return self._rows("WHERE NOT parked ORDER BY seq")

    def parked(self) -> list[OutboxRow]:
        """Return the parked rows."""
        return self._rows("WHERE parked ORDER BY seq")

    def uploads(self) -> list[OutboxRow]:
        """Return the rows that are not parked and whose bytes the server lacks."""
        return self._rows("WHERE NOT uploaded AND NOT parked ORDER BY seq")

    def sourced(self) -> list[OutboxRow]:
        """Return the rows that name a file."""
        return self._rows("WHERE source IS NOT NULL ORDER BY seq")

    def outbox_of(self, key: str) -> list[OutboxRow]:
        """Return the rows of a key."""
        return self._rows("WHERE key = ? ORDER BY seq", key)

    def last_of(self, key: str) -> OutboxRow | None:
        """Return the last row of a key."""
        return next(iter(self._rows("WHERE key = ? ORDER BY seq DESC LIMIT 1", key)), None)

    def at(self, seq: int) -> OutboxRow | None:
        """Return the row with a number."""
        return next(iter(self._rows("WHERE seq = ?", seq)), None)

    def raw_pending(self) -> Iterator[RawRow]:
        """Yield the rows that are not parked, in order, without decoding their changes."""
        with sqlite_errors(self._path):
            for raw in self._db.execute(f"SELECT {_ROW} FROM outbox WHERE NOT parked ORDER BY seq"):  # noqa: S608
                yield RawRow(*raw)

    def numbers(self) -> list[int]:
        """Return the numbers of all rows."""
        return [seq for (seq,) in self._ask("SELECT seq FROM outbox")]

    def counts(self) -> tuple[int, int, int]:
        """Return how many changes are pending, how many are parked, and how many keys are in conflict."""
        ((every, parked, conflicts),) = self._ask(
            "SELECT (SELECT count(*) FROM outbox), (SELECT count(*) FROM outbox WHERE parked),"
            " (SELECT count(*) FROM confirmed WHERE conflict)"
        )
        return every - parked, parked, conflicts

    def outbox_keys(self, prefix: str = "", after: str = "", until: str | None = None) -> set[str]:
        """Return the keys of the outbox with a prefix, after one key and up to another."""
        return set(
            self._names(
                "SELECT DISTINCT key FROM outbox WHERE key > ? AND substr(key, 1, ?) = ? AND (? IS NULL OR key <= ?)",
                *(after, len(prefix), prefix, until, until),
            )
        )

    def keys_not_uploaded(self) -> set[str]:
        """Return the keys with a blob whose bytes the server lacks, the parked ones too."""
        return set(self._names("SELECT DISTINCT key FROM outbox WHERE NOT uploaded"))

    def put(self, row: OutboxRow) -> int:
        """Insert a row, or replace the one with its number; return the number."""
        source = None if row.source is None else os.fsencode(_relative(row.source, self._path.parent))
        cursor = self._db.execute(
            f"INSERT OR REPLACE INTO outbox ({_ROW}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (
                row.seq or None,
                row.change.key,
                encode(from_change(row.change)),
                source,
                row.uploaded,
                row.parked,
                row.code,
                row.message,
                row.attempts,
            ),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def delete(self, seq: int) -> None:
        """Remove the row with a number."""
        self._db.execute("DELETE FROM outbox WHERE seq = ?", (seq,))

    def row(self, raw: RawRow) -> OutboxRow:
        """Return a row with its change."""
        return OutboxRow(
            raw.seq,
            self.decode(b"[" + raw.change + b"]")[0],
            None if raw.source is None else os.path.normpath(self._path.parent / os.fsdecode(raw.source)),
            bool(raw.uploaded),
            bool(raw.parked),
            raw.code,
            raw.message,
            raw.attempts,
        )

    # -- doubts and the quarantine

    def doubts(self) -> list[str]:
        """Return the keys in doubt, in order."""
        return self._names("SELECT key FROM doubts ORDER BY key")

    def doubt(self, keys: Iterable[str]) -> None:
        """Note keys whose confirmed state is a guess."""
        self._db.executemany("INSERT OR IGNORE INTO doubts VALUES (?)", [(key,) for key in keys])

    def believe(self, key: str) -> None:
        """Take a key out of the doubts."""
        self._db.execute("DELETE FROM doubts WHERE key = ?", (key,))

    def quarantined(self) -> list[str]:
        """Return the keys in quarantine that nobody has written since, in order."""
        return self._names("SELECT key FROM quarantine WHERE key NOT IN (SELECT key FROM outbox) ORDER BY key")

    def quarantine(self, keys: Iterable[str]) -> None:
        """Put keys in quarantine instead of those before."""
        self._db.execute("DELETE FROM quarantine")
        self._db.executemany("INSERT INTO quarantine VALUES (?)", ((key,) for key in keys))

    def release(self, key: str) -> None:
        """Take a key out of the quarantine."""
        self._db.execute("DELETE FROM quarantine WHERE key = ?", (key,))

    # -- the folder

    def bases(self) -> dict[str, BaseEntry]:
        """Return the bases by path."""
        rows = self._ask(
            "SELECT path, timestamp, device_id, content_hash, size, mtime_ns, inode, disk_name, unbased, arriving"
            " FROM bases"
        )
        return {
            path: BaseEntry(
                path,
                None if timestamp is None else Dot(timestamp, device_id),
                content_hash,
                size,
                mtime_ns,
                int(inode),
                disk_name,
                bool(unbased),
                arriving,
            )
            for path, timestamp, device_id, content_hash, size, mtime_ns, inode, disk_name, unbased, arriving in rows
        }

    def put_bases(self, bases: Iterable[BaseEntry], forget: Iterable[str]) -> None:
        """Remove the bases of some paths, and put others."""
        self._db.executemany("DELETE FROM bases WHERE path = ?", ((path,) for path in forget))
        self._db.executemany(
            "INSERT OR REPLACE INTO bases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    entry.path,
                    *(entry.dot or (None, None)),
                    entry.content_hash,
                    entry.size,
                    entry.mtime_ns,
                    str(entry.inode),
                    entry.disk_name,
                    entry.unbased,
                    entry.arriving,
                )
                for entry in bases
            ),
        )

    def rename_base_dot(self, path: str, old: Dot, new: Dot) -> None:
        """Let the base of a path name a dot by the one that it has now."""
        self._db.execute(
            "UPDATE bases SET timestamp = ?, device_id = ? WHERE path = ? AND timestamp = ? AND device_id = ?",
            (*new, path, *old),
        )

    # -- changes as JSON

    def decode(self, changes: bytes) -> tuple[Change, ...]:
        """Return the changes that a list of JSON holds."""
        try:
            return tuple(_to_change(wire) for wire in _CHANGES.decode(changes))
        except (msgspec.DecodeError, UnicodeError) as error:
            raise BrokenJournal(self._path, str(error)) from error

    def _rows(self, clause: str, *parameters: str | int) -> list[OutboxRow]:
        return [
            self.row(RawRow(*raw))
            for raw in self._ask(f"SELECT {_ROW} FROM outbox {clause}", *parameters)  # noqa: S608
        ]


def _to_change(wire: WireChange) -> Change:
    """Return a change of our own file, which was checked when it came in."""
    blob = wire.blob
    return Change(
        wire.key,
        Dot(wire.timestamp, wire.device_id),
        None if blob else wire.value,
        BlobRef(blob.sha256, blob.size, blob.media_type) if blob else None,
        None if wire.base is None else frozenset(Dot(dot.timestamp, dot.device_id) for dot in wire.base),
        wire.moved_to,
        wire.modified_at,
        wire.live,
        wire.conflict,
        frozenset(Dot(dot.timestamp, dot.device_id) for dot in wire.merged_from or ()),
    )


def _relative(source: str, folder: Path) -> str:
    """Return a path as seen from the journal's folder: both may be moved together."""
    try:
        return os.path.relpath(source, folder)
    except ValueError:  # another drive
        return source
