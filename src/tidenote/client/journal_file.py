"""The journal's SQLite file: opening it, its schema and migrations, and what SQLite's errors mean to us.

What is in the tables is journal_tables.py's matter. Only the client package imports this.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tidenote.errors import StorageError

BUSY_TIMEOUT_S: Final = 5.0
"""How long a commit waits for another process that has the file open."""

MIGRATIONS: Final = (
    # 1: the first schema. `changes` and `change` are JSON as on the wire; `source` is a path in the disk's own bytes.
    # What is long comes last, and what is counted or searched has an index: neither has to read the texts.
    """
    CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE TABLE confirmed (
        key TEXT PRIMARY KEY, shown_hash TEXT, conflict INTEGER NOT NULL, changes BLOB NOT NULL
    );
    CREATE INDEX confirmed_shown ON confirmed (key) WHERE shown_hash IS NOT NULL;
    CREATE INDEX confirmed_conflicts ON confirmed (key) WHERE conflict;
    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, uploaded INTEGER NOT NULL,
        parked INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, code TEXT, message TEXT, source BLOB,
        change BLOB NOT NULL
    );
    CREATE INDEX outbox_key ON outbox (key, seq);
    CREATE INDEX outbox_parked ON outbox (seq) WHERE parked;
    CREATE INDEX outbox_not_uploaded ON outbox (seq) WHERE NOT uploaded;
    CREATE INDEX outbox_source ON outbox (seq) WHERE source IS NOT NULL;
    CREATE TABLE bases (
        path TEXT PRIMARY KEY, timestamp INTEGER, device_id TEXT, content_hash TEXT, size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL, inode TEXT NOT NULL, disk_name TEXT NOT NULL, unbased INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE doubts (key TEXT PRIMARY KEY) WITHOUT ROWID;
    """,
    # 2: what the server lacks, and nobody knows why.
    """
    CREATE TABLE quarantine (key TEXT PRIMARY KEY) WITHOUT ROWID;
    """,
    # 3: what is about to take a file's place.
    """
    ALTER TABLE bases ADD COLUMN arriving TEXT;
    """,
)
"""One script per schema version; `PRAGMA user_version` counts those that were run."""


class BrokenJournal(StorageError):
    """The journal file is damaged; set it aside with `set_aside` and start a new one.

    Attributes:
        path: of the file.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"the journal {path} is damaged: {why}")
        self.path = path


def open_database(path: Path) -> sqlite3.Connection:
    """Open or create a journal file, readable by its owner only, and bring its schema up to date.

    Raises:
        BrokenJournal: if it is no intact SQLite file.
        StorageError: if it cannot be opened, or a later version of Tidenote wrote it.
    """
    with sqlite_errors(path):
        try:
            # The journal holds the token and the notes; SQLite gives its side files the same mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise StorageError(f"cannot open the journal {path}: {error.strerror}") from error
        database = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            _prepare(database, path)
        except BaseException:
            database.close()
            raise
        return database


def set_aside(path: Path) -> Path:
    """Rename a damaged journal with its side files to the first free `<name>.broken-N`, and return that path."""
    for number in itertools.count(1):
        target = path.with_name(f"{path.name}.broken-{number}")
        if not target.exists():
            break
    # The write-ahead log goes first: a new journal must never find the old one's.
    for suffix in ("-wal", "-shm", ""):
        side = path.with_name(path.name + suffix)
        if side.exists():
            side.rename(target.with_name(target.name + suffix))
    return target


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours.

    Raises:
        BrokenJournal: the file is damaged.
        StorageError: `storage_full` or `storage_failed`; nothing of the commit is in the file.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise BrokenJournal(path, str(error)) from error
        if code == sqlite3.SQLITE_FULL:
            raise StorageError(f"the disk is full: {path}", "storage_full") from error
        raise StorageError(f"the journal {path} failed: {error}") from error


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    database.execute("PRAGMA journal_mode = WAL")
    # FULL: what was committed survives a power cut, so that no acknowledged cursor runs ahead of the disk.
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA trusted_schema = OFF")
    problem = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if problem != "ok":
        raise BrokenJournal(path, problem)
    # Two processes may create the file at once: the version is read under the write lock.
    database.execute("BEGIN IMMEDIATE")
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise StorageError(f"the journal {path} was written by a later version of Tidenote")
    for script in MIGRATIONS[version:]:
        for statement in script.split(";"):
            database.execute(statement)
    if version < len(MIGRATIONS):
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    database.execute("COMMIT")
