"""The store on SQL: SQLite in the data folder now, other databases by URL. The log survives whatever the process does.

Each write is one transaction that first takes the vault's row, then reads, asks `core.intake`, and appends. Nothing
here is particular to a database; engine.py is.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby, takewhile
from pathlib import Path
from threading import Lock
from typing import Any, Final

from filelock import FileLock, Timeout
from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Row,
    bindparam,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from tidenote.core.crdt import CrdtEntry
from tidenote.core.intake import Batch, server_author, take_in
from tidenote.core.merge import merge_text
from tidenote.core.merged import Merge
from tidenote.core.retention import Policy
from tidenote.core.sides import OnTie
from tidenote.core.version import BlobRef, Change, Dot, Head, Record, Version, weight
from tidenote.errors import ConfigError, StorageError
from tidenote.server.store import past
from tidenote.server.store.contract import MAX_BEHIND, Device, Swept, VaultInfo, unknown_vault
from tidenote.server.store.engine import BUGS, disk_failed, is_full, open_engines, storage_error
from tidenote.server.store.migrate import migrate, needs_migration
from tidenote.server.store.paging import Weight, fitting
from tidenote.server.store.registry import SqlRegistry
from tidenote.server.store.rows import RECORD_COLUMNS, to_record
from tidenote.server.store.tables import keys, siblings, vaults, versions
from tidenote.server.store.view import SqlView, load_entries
from tidenote.wire.messages import MAX_MESSAGE_BYTES, MAX_MESSAGE_CHANGES
from tidenote.wire.session import Page

DATABASE_FILE: Final = "tidenote.db"
LOCK_FILE: Final = "server.lock"

_VaultRow = Row[tuple[int, str, str, int, str | None, OnTie, int, int]]


def _dots_in(column: Column[str | None]) -> ColumnElement[int]:
    """Return how many dots stand in a column of JSON lists of them: one less than there are brackets; 0 for null."""
    return func.coalesce(func.length(column) - func.length(func.replace(column, "[", "")) - 1, 0)


_VAULT: BindParameter[Any] = bindparam("in_vault")
_BY_NAME = select(vaults).where(vaults.c.name == bindparam("with_name"))
_PAGE_KEYS = (
    select(keys.c.key, keys.c.changed_at)
    .where(keys.c.vault_id == _VAULT, keys.c.changed_at > bindparam("cursor"))
    .order_by(keys.c.changed_at)
    .limit(bindparam("most"))
    .subquery()
)
_PAGE_WEIGHTS = (
    select(
        _PAGE_KEYS.c.key,
        _PAGE_KEYS.c.changed_at,
        versions.c.text_size,
        (_dots_in(versions.c.base) + _dots_in(versions.c.merged_from)).label("dots"),
        versions.c.moved_to,
    )
    .select_from(_PAGE_KEYS)
    .join(siblings, (siblings.c.vault_id == _VAULT) & (siblings.c.key == _PAGE_KEYS.c.key))
    .join(versions, (versions.c.vault_id == _VAULT) & (versions.c.receipt == siblings.c.receipt))
    .order_by(_PAGE_KEYS.c.changed_at)
)
_BEHIND = select(func.count()).select_from(
    select(literal(1))
    .where(keys.c.vault_id == _VAULT, keys.c.changed_at > bindparam("cursor"))
    .limit(MAX_BEHIND)
    .subquery()
)
_MANIFEST_KEYS = (
    select(keys.c.key)
    .where(keys.c.vault_id == _VAULT, keys.c.key > bindparam("after"), keys.c.changed_at.is_not(None))
    .order_by(keys.c.key)
    .limit(bindparam("most"))
    .subquery()
)
_MANIFEST = (
    select(
        _MANIFEST_KEYS.c.key, versions.c.timestamp, versions.c.device_id, versions.c.content_hash, versions.c.conflict
    )
    .select_from(_MANIFEST_KEYS)
    .join(siblings, (siblings.c.vault_id == _VAULT) & (siblings.c.key == _MANIFEST_KEYS.c.key))
    .join(versions, (versions.c.vault_id == _VAULT) & (versions.c.receipt == siblings.c.receipt))
    .order_by(_MANIFEST_KEYS.c.key)
)
_LISTED_KEYS = (
    select(keys.c.key)
    .where(keys.c.vault_id == _VAULT, keys.c.key >= bindparam("prefix"), keys.c.key > bindparam("after"))
    .where(keys.c.changed_at.is_not(None))
    .order_by(keys.c.key)
    .limit(bindparam("most"))
    .subquery()
)
_LISTED = (
    select(*RECORD_COLUMNS)
    .select_from(_LISTED_KEYS)
    .join(siblings, (siblings.c.vault_id == _VAULT) & (siblings.c.key == _LISTED_KEYS.c.key))
    .join(versions, (versions.c.vault_id == _VAULT) & (versions.c.receipt == siblings.c.receipt))
    .order_by(_LISTED_KEYS.c.key)
)
_COUNT = (
    select(func.count(siblings.c.key.distinct()))
    .join(versions, (versions.c.vault_id == _VAULT) & (versions.c.receipt == siblings.c.receipt))
    .where(siblings.c.vault_id == _VAULT, versions.c.content_hash.is_not(None))
)
_OPEN_CONFLICTS = (
    select(siblings.c.key)
    .where(siblings.c.vault_id == _VAULT, siblings.c.key > bindparam("after"))
    .group_by(siblings.c.key)
    .having(func.count() > 1)
    .union(
        select(siblings.c.key)
        .join(versions, (versions.c.vault_id == _VAULT) & (versions.c.receipt == siblings.c.receipt))
        .where(versions.c.conflict.is_(True), versions.c.key > bindparam("after"))
        .where(siblings.c.vault_id == _VAULT, siblings.c.key == versions.c.key)
    )
    .order_by("key")
    .limit(bindparam("most"))
)


class SqlStore:
    """A store in an SQL database. Open it with `SqlStore.open`, and close it.

    Args:
        url: of the database.
        lock: held for as long as the store is open; released by `close`.
        new_token: returns 8 hex digits, never the same, for a new epoch.
    """

    def __init__(self, url: URL, lock: FileLock, new_token: Callable[[], str]) -> None:
        self._lock = lock
        self._new_token = new_token
        self._one_writer = Lock()
        self._refuse_writes: str | None = None
        self._closed = False
        self._writer, self._reader = open_engines(url)
        self.registry = SqlRegistry(self._reading, self._writing)
        """Who may use the server: in the same database."""

    @classmethod
    def open(
        cls, data: Path, url: str | None = None, *, new_token: Callable[[], str] = lambda: secrets.token_hex(4)
    ) -> SqlStore:
        """Open the store of a data folder, creating or migrating it.

        Args:
            data: the server's folder, on a local disk; created if it is missing.
            url: of another database than the embedded one in the folder.
            new_token: returns 8 hex digits, never the same, for a new epoch.

        Raises:
            ConfigError: another server uses the folder, or the database is not for this version.
            StorageError: the disk fails or is full.
        """
        location = _url(data, url)
        store = cls(location, lock_folder(data), new_token)
        try:
            store._migrate()
        except BaseException:
            store.close()
            raise
        return store

    def vault(self, name: str) -> VaultInfo:
        """Return a vault."""
        with self._reading() as connection:
            return _info(_find(connection, name))

    def vaults(self) -> list[VaultInfo]:
        """Return all vaults, ordered by name."""
        with self._reading() as connection:
            return [_info(row) for row in connection.execute(select(vaults).order_by(vaults.c.name))]

    def create_vault(self, name: str) -> VaultInfo:
        """Create an empty vault; return it as it is if it exists."""
        with self._writing() as connection:
            if row := connection.execute(_BY_NAME, {"with_name": name}).first():
                return _info(row)
            info = VaultInfo.new(name, self._new_token())
            connection.execute(insert(vaults).values({"name": name, **_values(info)}))
            return info

    def take_in(
        self,
        vault: str,
        pushes: Sequence[Sequence[Change]],
        *,
        wall_ms: int,
        check_blob: Callable[[BlobRef], object],
        settle: Iterable[str] = (),
        merge: Merge = merge_text,
        max_read: int | None = None,
    ) -> Batch:
        """Take pushes in, in one transaction."""
        with self._writing() as connection:
            row = _lock_row(connection, vault)
            info = _info(row)
            info.check_writable()
            view = SqlView(connection, row.id, info.clock, check_blob, max_read)
            view.prefetch(pushes)
            author = server_author(info.epoch)
            batch = take_in(
                view, pushes, author=author, wall_ms=wall_ms, on_tie=info.on_tie, settle=settle, merge=merge
            )
            view.write(batch, wall_ms)
        return batch

    def changes_since(
        self,
        vault: str,
        cursor: int,
        *,
        max_changes: int = MAX_MESSAGE_CHANGES,
        max_bytes: int = MAX_MESSAGE_BYTES,
    ) -> Page:
        """Return the next page of keys that altered after a cursor."""
        with self._reading() as connection:
            row = _find(connection, vault)
            if cursor >= row.clock:
                return Page((), row.clock)
            # Sizes first: a page is cut before any text is read.
            values = {"in_vault": row.id, "cursor": cursor, "most": max_changes + 1}
            weights = [
                (
                    changed_at,
                    Weight.of(key, ((weight(key, found.text_size, found.dots), found.moved_to) for found in group)),
                )
                for (key, changed_at), group in groupby(
                    connection.execute(_PAGE_WEIGHTS, values), key=lambda found: (found.key, found.changed_at)
                )
            ]
            number = fitting([each for _, each in weights], max_changes, max_bytes)
            names = [each.key for _, each in weights[:number]]
            loaded = load_entries(connection, row.id, names)
            up_to = weights[number - 1][0] if weights else row.clock
            behind = connection.execute(_BEHIND, {"in_vault": row.id, "cursor": up_to}).scalar_one()
        return Page(tuple(loaded[key][0] for key in names), up_to if behind else row.clock, behind)

    def entries(self, vault: str, keys: Iterable[str]) -> list[CrdtEntry]:
        """Return the state of some keys; those that nobody wrote are left out."""
        wanted = list(dict.fromkeys(keys))
        with self._reading() as connection:
            loaded = load_entries(connection, _find(connection, vault).id, wanted)
        return [loaded[key][0] for key in wanted if key in loaded and loaded[key][1]]

    def manifest(self, vault: str, after: str | None, limit: int) -> list[tuple[str, dict[Dot, Head]]]:
        """Return keys with the dots of their siblings and what is compared of them, ordered by key."""
        with self._reading() as connection:
            values = {"in_vault": _find(connection, vault).id, "after": after or "", "most": limit}
            rows = connection.execute(_MANIFEST, values).all()
        return [
            (key, {Dot(row.timestamp, row.device_id): Head(row.content_hash, row.conflict) for row in group})
            for key, group in groupby(rows, key=lambda row: row.key)
        ]

    def listed(self, vault: str, prefix: str, after: str | None, limit: int) -> list[tuple[str, list[Record]]]:
        """Return keys with the records of their siblings, ordered by key."""
        with self._reading() as connection:
            values = {"in_vault": _find(connection, vault).id, "prefix": prefix, "after": after or "", "most": limit}
            rows = connection.execute(_LISTED, values).all()
        found = ((key, [to_record(row) for row in group]) for key, group in groupby(rows, key=lambda row: row.key))
        return list(takewhile(lambda listed: listed[0].startswith(prefix), found))

    def count_notes(self, vault: str) -> int:
        """Return how many keys have a sibling that is not a deletion."""
        with self._reading() as connection:
            found: int = connection.execute(_COUNT, {"in_vault": _find(connection, vault).id}).scalar_one()
        return found

    def history(self, vault: str, key: str) -> list[Version]:
        """Return the versions of a key whose content is kept, by receipt."""
        with self._reading() as connection:
            return past.history(connection, _find(connection, vault).id, key)

    def records(self, vault: str, key: str, *, before: int | None = None, limit: int | None = None) -> list[Record]:
        """Return the latest records of all versions that a key ever had, by receipt."""
        with self._reading() as connection:
            return past.records(connection, _find(connection, vault).id, key, before=before, limit=limit)

    def records_of(self, vault: str, key: str, dots: Collection[Dot]) -> list[Record]:
        """Return the records of some versions of a key, by receipt."""
        with self._reading() as connection:
            return past.records_of(connection, _find(connection, vault).id, key, dots)

    def version(self, vault: str, key: str, dot: Dot) -> Version | None:
        """Return one version; None if it never arrived or its content is no longer kept."""
        with self._reading() as connection:
            row = _find(connection, vault)
            return SqlView(connection, row.id, row.clock, bool).version(key, dot)

    def renames_to(self, vault: str, key: str, before: int) -> list[Record]:
        """Return the tombstones of keys that were renamed to a key, by receipt."""
        with self._reading() as connection:
            return past.renames_to(connection, _find(connection, vault).id, key, before)

    def receipt_at(self, vault: str, time_ms: int) -> int:
        """Return the last receipt that was given at a time or before it."""
        with self._reading() as connection:
            row = _find(connection, vault)
            return past.receipt_at(connection, row.id, row.clock, time_ms)

    def altered_since(self, vault: str, receipt: int) -> list[str]:
        """Return the keys that altered after a receipt, ordered."""
        with self._reading() as connection:
            return past.altered_since(connection, _find(connection, vault).id, receipt)

    def written_by(self, vault: str, owner: str, after: int) -> list[str]:
        """Return the keys that a device wrote after a receipt, ordered."""
        with self._reading() as connection:
            return past.written_by(connection, _find(connection, vault).id, owner, after)

    def deleted(self, vault: str, after: str | None, limit: int) -> list[str]:
        """Return keys that are deleted and were not renamed, ordered."""
        with self._reading() as connection:
            return past.deleted(connection, _find(connection, vault).id, after, limit)

    def pack(self, vault: str, *, max_versions: int = 64, max_bytes: int = 2**20) -> int:
        """Make some texts small that nobody shows any more."""
        with self._writing() as connection:
            return past.pack_some(connection, _lock_row(connection, vault).id, max_versions, max_bytes)

    def sweep(
        self,
        vault: str,
        after: str | None,
        *,
        now_ms: int,
        policy: Policy,
        max_keys: int = 50,
        dry_run: bool = False,
    ) -> Swept:
        """Let go what the policy keeps no longer, of some keys."""
        # Looked for without holding anybody up; decided upon inside the transaction.
        with self._reading() as connection:
            row = _find(connection, vault)
            found = past.to_sweep(connection, row.id, after, now_ms=now_ms, policy=policy, limit=max_keys)
            if dry_run:
                return past.sweep(connection, row.id, found, now_ms=now_ms, policy=policy, dry_run=True)[0]
        with self._writing() as connection:
            row = _lock_row(connection, vault)
            info = _info(row)
            swept, gone_before = past.sweep(connection, row.id, found, now_ms=now_ms, policy=policy)
            gone_before = max(info.tombstones_gone_before, gone_before)
            swept_at = info.swept_at if swept.after else now_ms
            _update(connection, row, replace(info, tombstones_gone_before=gone_before, swept_at=swept_at))
        return swept

    def note_devices(self, vault: str, seen: Mapping[str, tuple[int, int]]) -> None:
        """Note how far devices are."""
        with self._writing() as connection:
            row = _lock_row(connection, vault)
            past.note_devices(connection, row.id, row.epoch, seen)

    def devices(self, vault: str) -> list[Device]:
        """Return the devices that were ever noted, ordered by their ids."""
        with self._reading() as connection:
            return past.load_devices(connection, _find(connection, vault).id)

    def forget_device(self, vault: str, owner: str) -> None:
        """Forget how far a device and its incarnations are."""
        with self._writing() as connection:
            past.forget_device(connection, _lock_row(connection, vault).id, owner)

    def blobs_in_use(self, hashes: Iterable[str]) -> set[str]:
        """Return those of some blobs that a version of any vault names whose content is kept."""
        with self._reading() as connection:
            return past.blobs_in_use(connection, hashes)

    def open_conflicts(self, vault: str, after: str | None, limit: int) -> list[str]:
        """Return keys that a person should look at, in order."""
        with self._reading() as connection:
            values = {"in_vault": _find(connection, vault).id, "after": after or "", "most": limit}
            return list(connection.execute(_OPEN_CONFLICTS, values).scalars())

    def new_generation(self, vault: str, *, wall_ms: int) -> VaultInfo:
        """Begin a new epoch."""
        with self._writing() as connection:
            row = _lock_row(connection, vault)
            return _update(connection, row, _info(row).next_generation(self._new_token(), wall_ms))

    def fence(self, vault: str, by_epoch: str) -> None:
        """Give way to a later generation."""
        with self._writing() as connection:
            row = _lock_row(connection, vault)
            _update(connection, row, _info(row).fence(by_epoch))

    def set_on_tie(self, vault: str, on_tie: str) -> VaultInfo:
        """Set what to do with ties."""
        with self._writing() as connection:
            row = _lock_row(connection, vault)
            return _update(connection, row, _info(row).settle_ties(on_tie))

    def close(self) -> None:
        """Release the database and the folder."""
        with self._one_writer:
            self._closed = True
            self._writer.dispose()
            self._reader.dispose()
            self._lock.release()

    def _migrate(self) -> None:
        # Reads before it writes: what it must refuse stays untouched.
        with self._reading() as connection:
            outdated = needs_migration(connection)
        if outdated:
            with self._writing() as connection:
                migrate(connection)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """Run one consistent read."""
        if self._closed:
            raise StorageError("the store is closed", "storage_failed")
        try:
            with self._reader.begin() as connection:
                yield connection
        except BUGS:
            raise
        except DBAPIError as error:
            raise storage_error(error) from error

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Run one transaction that writes; nobody else's runs meanwhile."""
        with self._one_writer:
            if self._closed:
                raise StorageError("the store is closed", "storage_failed")
            if self._refuse_writes:
                raise StorageError(self._refuse_writes, "storage_failed")
            try:
                with self._writer.begin() as connection:
                    yield connection
            except BUGS:
                raise
            except DBAPIError as error:
                failure = storage_error(error)
                if disk_failed(error):
                    self._refuse_writes = f"{failure.message}; check the disk, then start the server anew"
                raise failure from error


def lock_folder(data: Path) -> FileLock:
    """Take a data folder for this process alone, and return the lock that is held.

    Raises:
        ConfigError: another process has it.
        StorageError: the disk fails.
    """
    lock = FileLock(data / LOCK_FILE, blocking=False, thread_local=False)
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise ConfigError(f"another server uses {data}: stop it, or name another folder with --data") from None
    except OSError as error:
        code = "storage_full" if is_full(error) else "storage_failed"
        raise StorageError(f"cannot use {data}: {error.strerror}", code) from error
    return lock


def _url(data: Path, url: str | None) -> URL:
    if url is None:
        return URL.create("sqlite", database=str(data / DATABASE_FILE))
    try:
        parsed = make_url(url)
        parsed.get_dialect().import_dbapi()
    except (ArgumentError, ImportError) as error:
        raise ConfigError(f"the database's URL is of no use here: {error}") from None
    return parsed


def _find(connection: Connection, name: str) -> _VaultRow:
    row = connection.execute(_BY_NAME, {"with_name": name}).first()
    if row is None:
        raise unknown_vault(name)
    return row


def _lock_row(connection: Connection, name: str) -> _VaultRow:
    """Return a vault's row, and hold it to the end of the transaction: its reads come after every earlier commit."""
    row = connection.execute(_BY_NAME.with_for_update(), {"with_name": name}).first()
    if row is None:
        raise unknown_vault(name)
    return row


def _info(row: _VaultRow) -> VaultInfo:
    return VaultInfo(
        row.name, row.epoch, row.clock, row.fenced_by, row.on_tie, row.tombstones_gone_before, row.swept_at
    )


def _values(info: VaultInfo) -> dict[str, object]:
    """Return the columns of a vault but its name."""
    return {
        "epoch": info.epoch,
        "clock": info.clock,
        "fenced_by": info.fenced_by,
        "on_tie": info.on_tie,
        "tombstones_gone_before": info.tombstones_gone_before,
        "swept_at": info.swept_at,
    }


def _update(connection: Connection, row: _VaultRow, info: VaultInfo) -> VaultInfo:
    connection.execute(update(vaults).where(vaults.c.id == row.id).values(_values(info)))
    return info
