"""The log inside a transaction: what `core.intake` reads, loaded in few queries, and what it decided, written."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

from sqlalchemy import (
    BindParameter,
    Connection,
    Dialect,
    Select,
    and_,
    bindparam,
    column,
    delete,
    exists,
    insert,
    select,
    update,
    values,
)
from sqlalchemy.sql.dml import UpdateBase

from tidenote.core.ancestry import MAX_STEPS
from tidenote.core.crdt import CrdtEntry
from tidenote.core.intake import Batch
from tidenote.core.register import EMPTY, Context, Register
from tidenote.core.version import BlobRef, Change, Dot, Record, Version
from tidenote.server.store.contract import TooMuchAtOnce, keys_of
from tidenote.server.store.packing import MIN_BYTES
from tidenote.server.store.rows import RECORD_COLUMNS, from_version, to_record, to_version
from tidenote.server.store.tables import absent_dots, keys, siblings, unpacked, vaults, versions
from tidenote.server.store.texts import load_texts

CHUNK: Final = 1000
"""How many values one IN lists at most; databases bound the number of parameters."""

LOOKUPS: Final = (1, 4, 16, 64, 256)
"""How many records one statement may look up: few numbers, so that few statements are compiled, once each."""

MANY_MISSES: Final = 4
"""After so many records of a key that were asked for one by one, somebody goes through its history."""

T = TypeVar("T")

_VAULT: BindParameter[Any] = bindparam("in_vault")
_KEY: BindParameter[Any] = bindparam("of_key")
_RECEIPT: BindParameter[Any] = bindparam("with_receipt")
_ARE_SIBLINGS = (siblings.c.vault_id == versions.c.vault_id) & (siblings.c.receipt == versions.c.receipt)

_LOAD_SIBLINGS = (
    select(keys.c.key, keys.c.floor, keys.c.changed_at, versions.c.value, *RECORD_COLUMNS)
    .select_from(keys)
    .outerjoin(siblings, (siblings.c.vault_id == keys.c.vault_id) & (siblings.c.key == keys.c.key))
    .outerjoin(versions, _ARE_SIBLINGS)
    .where(keys.c.vault_id == _VAULT, keys.c.key.in_(bindparam("wanted", expanding=True)))
)
_LOAD_ABSENT = select(absent_dots.c.key, absent_dots.c.timestamp, absent_dots.c.device_id).where(
    absent_dots.c.vault_id == _VAULT, absent_dots.c.key.in_(bindparam("wanted", expanding=True))
)
_LOAD_EARLIER = (
    select(*RECORD_COLUMNS)
    .where(versions.c.vault_id == _VAULT, versions.c.key == _KEY, versions.c.receipt < _RECEIPT)
    .order_by(versions.c.receipt.desc())
    .limit(CHUNK)
)
_HAD_CONTENT = (
    select(versions.c.receipt)
    .where(
        versions.c.vault_id == _VAULT,
        versions.c.key == _KEY,
        versions.c.receipt < bindparam("before"),
        versions.c.content_hash == bindparam("hash"),
        ~exists().where(_ARE_SIBLINGS, siblings.c.key == versions.c.key),
    )
    .limit(1)
)

_DELETE_SIBLING = delete(siblings).where(
    siblings.c.vault_id == _VAULT, siblings.c.key == _KEY, siblings.c.receipt == _RECEIPT
)
_DELETE_ABSENT = delete(absent_dots).where(
    absent_dots.c.vault_id == _VAULT,
    absent_dots.c.key == _KEY,
    absent_dots.c.timestamp == bindparam("of_timestamp"),
    absent_dots.c.device_id == bindparam("of_device"),
)
_INSERT_VERSION = insert(versions)
_INSERT_KEY = insert(keys)
_UPDATE_KEY = (
    update(keys)
    .where(keys.c.vault_id == _VAULT, keys.c.key == _KEY)
    .values(floor=bindparam("new_floor"), changed_at=bindparam("new_changed_at"))
)
_INSERT_SIBLING = insert(siblings)
_INSERT_ABSENT = insert(absent_dots)
_INSERT_UNPACKED = insert(unpacked)
_IN_ORDER = (
    _DELETE_SIBLING,
    _DELETE_ABSENT,
    _INSERT_VERSION,
    _INSERT_KEY,
    _UPDATE_KEY,
    _INSERT_SIBLING,
    _INSERT_ABSENT,
    _INSERT_UNPACKED,
)
"""So that every foreign key finds its row."""
_UPDATE_CLOCK = update(vaults).where(vaults.c.id == _VAULT).values(clock=bindparam("new_clock"))


def chunks(values: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Yield the distinct values in lists that one IN may hold."""
    distinct = list(dict.fromkeys(values))
    for start in range(0, len(distinct), size):
        yield distinct[start : start + size]


def execute_many(connection: Connection, statement: UpdateBase, rows: list[dict[str, Any]]) -> None:
    """Execute a statement once for each row of plain values.

    Goes straight to the driver: for hundreds of small rows, most of the time was SQLAlchemy's conversion of values.
    """
    sql, names = _compiled(statement, connection.dialect, tuple(rows[0]))
    connection.exec_driver_sql(sql, rows if names is None else [_in_order(row, names) for row in rows])


@lru_cache(maxsize=64)
def _compiled(
    statement: UpdateBase | Select[Any], dialect: Dialect, columns: tuple[str, ...] | None
) -> tuple[str, list[str] | None]:
    """Return a statement's text, and the order of its parameters where the driver wants them by position."""
    compiled = statement.compile(dialect=dialect, column_keys=columns)
    return str(compiled), getattr(compiled, "positiontup", None)


def _in_order(row: dict[str, Any], names: Iterable[str]) -> tuple[Any, ...]:
    return tuple([row[name] for name in names])


@lru_cache
def _lookup(number: int) -> Select[Any]:
    """Return the statement that looks so many records up, and gives a row of nulls for each that never arrived.

    Each by its whole name: any number of keys may share a dot. A join, because SQLite looks a list of such names up
    in no index, and an outer one, so that no database begins with the versions.
    """
    name = (versions.c.key, versions.c.timestamp, versions.c.device_id)
    wanted = (
        values(*(column(part.name, part.type) for part in name), name="wanted")
        .data([tuple(bindparam(f"{part.name}_{row}", type_=part.type) for part in name) for row in range(number)])
        .cte("wanted")
    )
    is_wanted = and_(versions.c.vault_id == _VAULT, *(part == wanted.c[part.name] for part in name))
    return select(*RECORD_COLUMNS).select_from(wanted).outerjoin(versions, is_wanted)


def load_records(connection: Connection, vault_id: int, wanted: Iterable[tuple[str, Dot]]) -> Iterator[Record]:
    """Yield the records of those of some versions that arrived."""
    for part in chunks(wanted, LOOKUPS[-1]):
        number = next(number for number in LOOKUPS if number >= len(part))
        row: dict[str, Any] = {"in_vault": vault_id}
        for index in range(number):
            key, dot = part[index] if index < len(part) else (None, (None, None))
            row[f"key_{index}"] = key
            row[f"timestamp_{index}"], row[f"device_id_{index}"] = dot
        # Straight to the driver, because SQLAlchemy compiles a list of values anew each time.
        sql, names = _compiled(_lookup(number), connection.dialect, None)
        rows = connection.exec_driver_sql(sql, row if names is None else _in_order(row, names))
        yield from [to_record(found) for found in rows if found.receipt is not None]


def load_entries(
    connection: Connection, vault_id: int, wanted: Iterable[str], max_read: int | None = None
) -> dict[str, tuple[CrdtEntry, list[tuple[Record, Version]]]]:
    """Return the state of those of the keys that anybody wrote, each with its siblings as the log has them.

    A key whose tombstone was forgotten has a context only.

    Raises:
        TooMuchAtOnce: the siblings have more characters together than they may.
    """
    room = math.inf if max_read is None else max_read
    heads: dict[str, tuple[int, int]] = {}
    found: dict[str, list[tuple[Record, Version]]] = {}
    absent: dict[str, set[Dot]] = {}
    for part in chunks(wanted):
        values = {"in_vault": vault_id, "wanted": part}
        for row in connection.execute(_LOAD_SIBLINGS, values):
            key, floor, changed_at, value = row[:4]
            room -= len(value or "")
            if room < 0:
                raise TooMuchAtOnce
            heads[key] = (floor, changed_at or 0)
            siblings_of_key = found.setdefault(key, [])
            if row.receipt is not None:
                record = to_record(row)
                siblings_of_key.append((record, to_version(record, value)))
        for key, timestamp, device_id in connection.execute(_LOAD_ABSENT, values):
            absent.setdefault(key, set()).add(Dot(timestamp, device_id))
    return {
        key: (
            CrdtEntry(key, _register(found[key], Context(floor, frozenset(absent.get(key, ())))), changed_at),
            found[key],
        )
        for key, (floor, changed_at) in heads.items()
    }


class SqlView:
    """One vault's log as `core.intake` sees it, inside the transaction that holds the vault's lock.

    Args:
        connection: in that transaction.
        vault_id: the vault's row.
        clock: the last receipt.
        check_blob: raises `RefusedChange` unless the bytes of a blob are on the disk.
        max_read: how many characters all siblings that are loaded may have; past that, `TooMuchAtOnce` is raised.
    """

    def __init__(
        self,
        connection: Connection,
        vault_id: int,
        clock: int,
        check_blob: Callable[[BlobRef], object],
        max_read: int | None = None,
    ) -> None:
        self._connection = connection
        self._vault_id = vault_id
        self._clock = clock
        self._check_blob = check_blob
        self._room = max_read
        self._registers: dict[str, Register] = {}
        self._changed_at: dict[str, int] = {}
        self._receipts: dict[str, dict[Dot, int]] = {}
        self._known: set[str] = set()
        """The keys that anybody wrote; some have no siblings, because their tombstone was forgotten."""
        self._siblings: dict[tuple[str, Dot], Version] = {}
        self._records: dict[tuple[str, Dot], Record | None] = {}
        self._misses: Counter[str] = Counter()

    @property
    def clock(self) -> int:
        """The last receipt."""
        return self._clock

    def check_blob(self, blob: BlobRef) -> None:
        """Check that the bytes of a blob are on the server's disk."""
        self._check_blob(blob)

    def register(self, key: str) -> Register:
        """Return a key's siblings, with the context of its floor and absent dots."""
        if key not in self._registers:
            self._load_registers([key])
        return self._registers[key]

    def changed_at(self, key: str) -> int:
        """Return the receipt of the last change that altered a key; 0 if nobody wrote it, or that was forgotten."""
        self.register(key)
        return self._changed_at.get(key, 0)

    def record(self, key: str, dot: Dot) -> Record | None:
        """Return what is known of the version of a key with this dot; None if it never arrived."""
        self.register(key)
        if key not in self._known:
            return None
        if (key, dot) not in self._records:
            self._load_records([(key, dot)])
            self._misses[key] += 1
            found = self._records[key, dot]
            # No more than such a search looks at: a history may be of any length, and skip most of it.
            if found and MANY_MISSES < self._misses[key] <= MANY_MISSES + MAX_STEPS // CHUNK:
                self._load_earlier(found)
        return self._records[key, dot]

    def version(self, key: str, dot: Dot) -> Version | None:
        """Return the version of a key with this dot; None if it never arrived or its content is no longer kept."""
        record = self.record(key, dot)
        if record is None or (key, dot) in self._siblings:
            return self._siblings.get((key, dot))
        if record.deleted or (record.kept and record.blob):
            return to_version(record, None)
        text = load_texts(self._connection, self._vault_id, [record.receipt]).get(record.receipt)
        return None if text is None else to_version(record, text)

    def had_content(self, key: str, content_hash: str, before: int) -> bool:
        """Say whether a version of the key that arrived before a receipt had this content, and is replaced by now."""
        if key not in self._known:
            return False
        values = {"in_vault": self._vault_id, "of_key": key, "hash": content_hash, "before": before}
        return self._connection.execute(_HAD_CONTENT, values).first() is not None

    def prefetch(self, pushes: Sequence[Sequence[Change]]) -> None:
        """Load what the changes will ask for; whatever else they ask is loaded then."""
        changes = [change for push in pushes for change in push]
        self._load_registers(sorted(keys_of(pushes)))
        names = [(change.key, dot) for change in changes for dot in (change.dot, *(change.base or ()))]
        # A key that nobody wrote has no versions to look for.
        self._load_records(name for name in names if name not in self._records and name[0] in self._known)

    def write(self, batch: Batch, wall_ms: int) -> None:
        """Append a batch to the log and bring what sums the log up to date."""
        if not batch.versions:
            return
        rows: dict[UpdateBase, list[dict[str, Any]]] = {statement: [] for statement in _IN_ORDER}
        rows[_INSERT_VERSION] = [from_version(self._vault_id, version, wall_ms) for version in batch.versions]
        arrived = {(version.change.key, version.dot): version.receipt for version in batch.versions}
        for entry in batch.entries:
            self._sum_up(entry, arrived, rows)
        rows[_INSERT_UNPACKED] = [
            {"vault_id": self._vault_id, "receipt": receipt} for receipt in self._replaced_texts(batch)
        ]
        for statement in _IN_ORDER:
            if rows[statement]:
                execute_many(self._connection, statement, rows[statement])
        self._connection.execute(_UPDATE_CLOCK, {"in_vault": self._vault_id, "new_clock": batch.clock})

    def _sum_up(
        self, entry: CrdtEntry, arrived: dict[tuple[str, Dot], int], rows: dict[UpdateBase, list[dict[str, Any]]]
    ) -> None:
        """Add what brings one key's rows from the loaded state to the new one."""
        key, after = entry.key, entry.register
        before = self.register(key)
        there = {"in_vault": self._vault_id, "of_key": key}
        new = {"vault_id": self._vault_id, "key": key}
        if key in self._known:
            rows[_UPDATE_KEY].append({**there, "new_floor": after.context.floor, "new_changed_at": entry.changed_at})
        else:
            rows[_INSERT_KEY].append({**new, "floor": after.context.floor, "changed_at": entry.changed_at})
        for dot in sorted(before.dots - after.dots):
            rows[_DELETE_SIBLING].append({**there, "with_receipt": self._receipts[key][dot]})
        for dot in sorted(after.dots - before.dots):
            rows[_INSERT_SIBLING].append({**new, "receipt": arrived[key, dot]})
        for timestamp, device_id in sorted(before.context.dots - after.context.dots):
            rows[_DELETE_ABSENT].append({**there, "of_timestamp": timestamp, "of_device": device_id})
        for timestamp, device_id in sorted(after.context.dots - before.context.dots):
            rows[_INSERT_ABSENT].append({**new, "timestamp": timestamp, "device_id": device_id})

    def _replaced_texts(self, batch: Batch) -> Iterator[int]:
        """Yield the receipts of the texts that nobody shows any more and that are worth packing."""
        arrived = {(version.change.key, version.dot): version for version in batch.versions}
        for key, dots in batch.replaced.items():
            for dot in sorted(dots):
                version = arrived.get((key, dot)) or self._siblings[key, dot]
                if len(version.change.value or "") >= MIN_BYTES:
                    yield version.receipt

    def _load_registers(self, wanted: Sequence[str]) -> None:
        loaded = load_entries(self._connection, self._vault_id, wanted, self._room)
        for key in wanted:
            self._registers[key], self._receipts[key] = EMPTY, {}
        for key, (entry, found) in loaded.items():
            self._known.add(key)
            self._registers[key], self._changed_at[key] = entry.register, entry.changed_at
            for record, version in found:
                self._records[key, version.dot] = record
                self._receipts[key][version.dot] = version.receipt
                self._siblings[key, version.dot] = version
                if self._room is not None:
                    self._room -= len(version.change.value or "")

    def _load_earlier(self, record: Record) -> None:
        """Load a piece of a key's history, back from a record."""
        values = {"in_vault": self._vault_id, "of_key": record.key, "with_receipt": record.receipt}
        earlier = map(to_record, self._connection.execute(_LOAD_EARLIER, values))
        self._records.update(((found.key, found.dot), found) for found in earlier)

    def _load_records(self, wanted: Iterable[tuple[str, Dot]]) -> None:
        names = list(wanted)
        self._records.update(dict.fromkeys(names))
        for record in load_records(self._connection, self._vault_id, names):
            self._records[record.key, record.dot] = record


def _register(found: Iterable[tuple[Record, Version]], context: Context) -> Register:
    changes = sorted((version.change for _, version in found), key=lambda change: change.dot)
    return Register(tuple(changes), context)
