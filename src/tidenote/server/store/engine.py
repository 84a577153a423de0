"""How SQL engines are opened, and what their errors mean: all that differs from database to database.

SQLite: write-ahead log, every commit synced (`synchronous=FULL`), one connection that writes beside some that read.
"""

from __future__ import annotations

import errno
import sqlite3
from typing import Any, Final

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError

from tidenote.errors import StorageError

BUSY_TIMEOUT_MS: Final = 10_000
"""How long SQLite waits for a lock; only a backup tool or a person with a shell can hold one."""

MAX_READERS: Final = 16
"""How many reads may run at once; more wait for each other."""

_PRAGMAS: Final = (
    f"busy_timeout = {BUSY_TIMEOUT_MS}",
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "temp_store = MEMORY",
    "cache_size = -16384",  # KiB
    "journal_size_limit = 67108864",
)

_COMMON: Final[dict[str, Any]] = {"hide_parameters": True}
"""Errors go to the log, and parameters are people's texts."""

_FULL: Final = frozenset((sqlite3.SQLITE_FULL,))
_DISK_FAILED: Final = frozenset(
    (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN)
)

BUGS: Final = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
"""What says nothing about the disk: some change was let in that the database cannot hold. No retry helps."""


def open_engines(url: URL) -> tuple[Engine, Engine]:
    """Return the engine that writes, one transaction at a time, and the one that reads."""
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url, "BEGIN IMMEDIATE", 1), _sqlite_engine(url, "BEGIN", MAX_READERS, "query_only = ON")
    engine = create_engine(url, pool_size=MAX_READERS, pool_pre_ping=True, **_COMMON)
    return engine, engine.execution_options(isolation_level="REPEATABLE READ")


def _sqlite_engine(url: URL, begin: str, connections: int, *pragmas: str) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        **_COMMON,
        connect_args={"check_same_thread": False},
    )

    # The driver would begin transactions on its own and too late for reads; it is told not to.
    def connected(connection: Any, _: object) -> None:
        connection.isolation_level = None
        for pragma in (*_PRAGMAS, *pragmas):
            connection.execute(f"PRAGMA {pragma}")

    def began(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", began)
    return engine


def storage_error(error: DBAPIError) -> StorageError:
    """Return what a failed statement or commit means to a client."""
    if _sqlite_code(error) in _FULL or getattr(error.orig, "sqlstate", None) == "53100":
        return StorageError("the server's disk is full", "storage_full")
    return StorageError(f"the server's database failed: {error.orig}", "storage_failed")


def disk_failed(error: DBAPIError) -> bool:
    """Say whether the disk below an embedded database failed, so that what it holds now is not known.

    After a failed sync the kernel may count pages as written that are not: trying again would acknowledge a loss.
    """
    return _sqlite_code(error) in _DISK_FAILED


def _sqlite_code(error: DBAPIError) -> int | None:
    """Return SQLite's primary result code."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def is_full(error: OSError) -> bool:
    """Say whether a file could not grow because the disk or the quota is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
