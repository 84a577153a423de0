"""The past in SQL: what histories ask, how old texts are packed, and how the policy of retention is carried out.

Functions on a connection; sql.py says in which transaction. Each is crash-safe, because each is within one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    Connection,
    bindparam,
    delete,
    exists,
    false,
    insert,
    null,
    or_,
    select,
    update,
)

from tidenote.core.keys import owner_of
from tidenote.core.retention import DAY_MS, Policy, is_forgettable, surplus, surplus_incarnations
from tidenote.core.version import Dot, Record, Version
from tidenote.server.store.contract import Device, Swept
from tidenote.server.store.packing import may_link, pack
from tidenote.server.store.rows import RECORD_COLUMNS, to_record, to_version
from tidenote.server.store.tables import devices, keys, siblings, unpacked, versions
from tidenote.server.store.texts import load_texts
from tidenote.server.store.view import chunks, execute_many, load_entries, load_records

_VAULT: BindParameter[Any] = bindparam("in_vault")
_KEY: BindParameter[Any] = bindparam("of_key")
_RECEIPT: BindParameter[Any] = bindparam("with_receipt")
_IS_SIBLING = (
    exists()
    .where(siblings.c.vault_id == versions.c.vault_id, siblings.c.key == versions.c.key)
    .where(siblings.c.receipt == versions.c.receipt)
)

# -- reading

_RECORDS = select(*RECORD_COLUMNS).where(versions.c.vault_id == _VAULT, versions.c.key == _KEY)
_RENAMES = (
    select(*RECORD_COLUMNS)
    .where(versions.c.vault_id == _VAULT, versions.c.moved_to == _KEY, versions.c.receipt < bindparam("before"))
    .order_by(versions.c.receipt)
)
_NEXT = (
    select(versions.c.receipt, versions.c.received_at)
    .where(versions.c.vault_id == _VAULT, versions.c.receipt > bindparam("after"))
    .order_by(versions.c.receipt)
    .limit(1)
)
_ALTERED = select(keys.c.key).where(
    keys.c.vault_id == _VAULT, or_(keys.c.changed_at > bindparam("after"), keys.c.changed_at.is_(None))
)
_AUTHORS = (
    select(versions.c.key, versions.c.device_id)
    .where(versions.c.vault_id == _VAULT, versions.c.receipt > bindparam("after"))
    .distinct()
)
_OTHER = siblings.alias("other")
_OTHER_VERSION = versions.alias("other_version")
_DELETED = (
    select(siblings.c.key)
    .join(versions, (versions.c.vault_id == siblings.c.vault_id) & (versions.c.receipt == siblings.c.receipt))
    .where(
        siblings.c.vault_id == _VAULT,
        siblings.c.key > bindparam("after"),
        versions.c.content_hash.is_(None),
        versions.c.moved_to.is_(None),
        ~exists()
        .where(_OTHER.c.vault_id == siblings.c.vault_id, _OTHER.c.key == siblings.c.key)
        .where(_OTHER_VERSION.c.vault_id == _OTHER.c.vault_id, _OTHER_VERSION.c.receipt == _OTHER.c.receipt)
        .where(or_(_OTHER_VERSION.c.content_hash.is_not(None), _OTHER_VERSION.c.moved_to.is_not(None))),
    )
    .distinct()
    .order_by(siblings.c.key)
    .limit(bindparam("most"))
)
_BLOBS_IN_USE = select(versions.c.blob_sha256).where(
    versions.c.blob_sha256.in_(bindparam("hashes", expanding=True)), versions.c.gone == false()
)


def records(
    connection: Connection, vault_id: int, key: str, *, before: int | None = None, limit: int | None = None
) -> list[Record]:
    """Return the latest records of a key, by receipt."""
    query = _RECORDS.order_by(versions.c.receipt.desc())
    if before is not None:
        query = query.where(versions.c.receipt < before)
    if limit is not None:
        query = query.limit(limit)
    found = [to_record(row) for row in connection.execute(query, {"in_vault": vault_id, "of_key": key})]
    return found[::-1]


def records_of(connection: Connection, vault_id: int, key: str, dots: Collection[Dot]) -> list[Record]:
    """Return the records of some versions of a key, by receipt."""
    found = load_records(connection, vault_id, [(key, dot) for dot in dots])
    return sorted(found, key=lambda record: record.receipt)


def history(connection: Connection, vault_id: int, key: str) -> list[Version]:
    """Return the versions of a key whose content is kept, by receipt."""
    found = [record for record in records(connection, vault_id, key) if record.kept or record.deleted]
    texts = load_texts(connection, vault_id, [record.receipt for record in found if _is_text(record)])
    return [
        to_version(record, texts.get(record.receipt))
        for record in found
        if not _is_text(record) or record.receipt in texts
    ]


def renames_to(connection: Connection, vault_id: int, key: str, before: int) -> list[Record]:
    """Return the tombstones of keys that were renamed to a key, by receipt."""
    values = {"in_vault": vault_id, "of_key": key, "before": before}
    return [to_record(row) for row in connection.execute(_RENAMES, values)]


def receipt_at(connection: Connection, vault_id: int, clock: int, time_ms: int) -> int:
    """Return the last receipt that was given at a time or before it."""
    low, high = 0, clock
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(_NEXT, {"in_vault": vault_id, "after": middle}).first()
        if row is None or row.received_at > time_ms:
            high = middle
        else:
            low = row.receipt
    return low


def altered_since(connection: Connection, vault_id: int, receipt: int) -> list[str]:
    """Return the keys that altered after a receipt, and those that are forgotten, ordered."""
    return sorted(connection.execute(_ALTERED, {"in_vault": vault_id, "after": receipt}).scalars())


def written_by(connection: Connection, vault_id: int, owner: str, after: int) -> list[str]:
    """Return the keys that a device wrote after a receipt, ordered."""
    rows = connection.execute(_AUTHORS, {"in_vault": vault_id, "after": after})
    return sorted({row.key for row in rows if owner_of(row.device_id) == owner})


def deleted(connection: Connection, vault_id: int, after: str | None, limit: int) -> list[str]:
    """Return keys that are deleted and were not renamed, ordered."""
    values = {"in_vault": vault_id, "after": after or "", "most": limit}
    return list(connection.execute(_DELETED, values).scalars())


def blobs_in_use(connection: Connection, hashes: Iterable[str]) -> set[str]:
    """Return those of some blobs that a version names whose content is kept."""
    return {
        sha256 for part in chunks(hashes) for sha256 in connection.execute(_BLOBS_IN_USE, {"hashes": part}).scalars()
    }


def _is_text(record: Record) -> bool:
    return record.blob is None and not record.deleted


# -- packing

_WAITING = (
    select(versions.c.receipt, versions.c.key, versions.c.text_size, versions.c.value)
    .select_from(unpacked)
    .join(versions, (versions.c.vault_id == unpacked.c.vault_id) & (versions.c.receipt == unpacked.c.receipt))
    .where(unpacked.c.vault_id == _VAULT)
    .order_by(unpacked.c.receipt)
    .limit(bindparam("most"))
)
_LAST_PACKED = (
    select(versions.c.receipt, versions.c.links)
    .where(
        versions.c.vault_id == _VAULT,
        versions.c.key == _KEY,
        versions.c.receipt < _RECEIPT,
        versions.c.links.is_not(None),
    )
    .order_by(versions.c.receipt.desc())
    .limit(1)
)
_WHOLE_ROWS = select(versions).where(
    versions.c.vault_id == _VAULT, versions.c.receipt.in_(bindparam("receipts", expanding=True))
)
_NO_LONGER_WAITING = delete(unpacked).where(unpacked.c.vault_id == _VAULT, unpacked.c.receipt == _RECEIPT)
_REMOVE = delete(versions).where(versions.c.vault_id == _VAULT, versions.c.receipt == _RECEIPT)
_PUT_BACK = insert(versions)
_GONE: Final = {"gone": True, "value": None, "packed": None, "packed_with": None, "links": None}


def _packed(text: str, packed_with: int | None, dictionary: str | None, links: int) -> dict[str, Any]:
    """Return the columns of a text that is packed."""
    return {"value": None, "packed": pack(text, dictionary), "packed_with": packed_with, "links": links}


def _rewrite(connection: Connection, vault_id: int, columns: Mapping[int, Mapping[str, Any]]) -> None:
    """Give versions that are no siblings other columns, and leave no holes behind where they were.

    SQLite does not join the pages of rows that shrink, only those of rows that are taken out.
    """
    for part in chunks(columns):
        rows = connection.execute(_WHOLE_ROWS, {"in_vault": vault_id, "receipts": part}).mappings().all()
        names = [{"in_vault": vault_id, "with_receipt": receipt} for receipt in part]
        execute_many(connection, _NO_LONGER_WAITING, names)
        execute_many(connection, _REMOVE, names)
        execute_many(connection, _PUT_BACK, [{**row, **columns[row["receipt"]]} for row in rows])


def pack_some(connection: Connection, vault_id: int, max_versions: int, max_bytes: int) -> int:
    """Pack texts that wait for it, the oldest first; return how many are done with."""
    done: dict[int, dict[str, Any]] = {}
    texts: dict[int, str] = {}
    last: dict[str, tuple[int, int]] = {}
    size = 0
    for receipt, key, text_size, text in connection.execute(_WAITING, {"in_vault": vault_id, "most": max_versions}):
        size += text_size
        if done and size > max_bytes:
            break
        before, links = last.get(key) or _last_packed(connection, vault_id, key, receipt)
        dictionary = None
        if before and before < receipt and may_link(links, text_size):
            if before not in texts:
                texts.update(load_texts(connection, vault_id, [before]))
            dictionary = texts.get(before)
        links = 0 if dictionary is None else links + 1
        done[receipt] = _packed(text, None if dictionary is None else before, dictionary, links)
        texts[receipt] = text
        last[key] = (receipt, links)
    _rewrite(connection, vault_id, done)
    return len(done)


def _last_packed(connection: Connection, vault_id: int, key: str, before: int) -> tuple[int, int]:
    """Return the receipt and the links of the last text of a key that is packed; 0, if there is none."""
    row = connection.execute(_LAST_PACKED, {"in_vault": vault_id, "of_key": key, "with_receipt": before}).first()
    return (row.receipt, row.links) if row else (0, 0)


# -- retention

_OLD = (
    select(versions.c.key)
    .where(
        versions.c.vault_id == _VAULT,
        versions.c.key > bindparam("after"),
        versions.c.received_at <= bindparam("old"),
        versions.c.content_hash.is_not(None),
        versions.c.gone == false(),
        ~_IS_SIBLING,
    )
    .distinct()
    .order_by(versions.c.key)
    .limit(bindparam("most"))
)
_OLD_TOMBSTONES = (
    select(siblings.c.key)
    .join(versions, (versions.c.vault_id == siblings.c.vault_id) & (versions.c.receipt == siblings.c.receipt))
    .where(
        siblings.c.vault_id == _VAULT,
        siblings.c.key > bindparam("after"),
        versions.c.content_hash.is_(None),
        versions.c.received_at <= bindparam("old"),
    )
    .distinct()
    .order_by(siblings.c.key)
    .limit(bindparam("most"))
)
_RECORDS_OF = (
    select(*RECORD_COLUMNS).where(versions.c.vault_id == _VAULT, versions.c.key == _KEY).order_by(versions.c.receipt)
)
_CURSORS = (
    select(devices.c.cursor)
    .where(devices.c.vault_id == _VAULT, devices.c.last_seen > bindparam("since"), devices.c.cursor > 0)
    .distinct()
)
_LINKED = select(versions.c.receipt, versions.c.packed_with, versions.c.links).where(
    versions.c.vault_id == _VAULT, versions.c.key == _KEY, versions.c.links.is_not(None)
)
_FORGET_SIBLINGS = delete(siblings).where(siblings.c.vault_id == _VAULT, siblings.c.key == _KEY)
_FORGET_KEY = update(keys).where(keys.c.vault_id == _VAULT, keys.c.key == _KEY).values(changed_at=null())


@dataclass(frozen=True, slots=True)
class ToSweep:
    """Keys to look at closely, and the one to go on after; None at the end."""

    keys: Sequence[str]
    after: str | None


def to_sweep(
    connection: Connection, vault_id: int, after: str | None, *, now_ms: int, policy: Policy, limit: int
) -> ToSweep:
    """Return the next keys that have old versions or old tombstones."""
    values = {"in_vault": vault_id, "after": after or "", "most": limit}
    found: set[str] = set()
    for query, days in ((_OLD, policy.all_days), (_OLD_TOMBSTONES, policy.tombstone_days)):
        found.update(connection.execute(query, {**values, "old": now_ms - days * DAY_MS}).scalars())
    wanted = sorted(found)[:limit]
    return ToSweep(wanted, wanted[-1] if len(wanted) == limit else None)


def sweep(
    connection: Connection, vault_id: int, found: ToSweep, *, now_ms: int, policy: Policy, dry_run: bool = False
) -> tuple[Swept, int]:
    """Let go what the policy keeps no longer of some keys; return that, and the greatest receipt of a deletion."""
    since = now_ms - policy.device_days * DAY_MS
    cursors = list(connection.execute(_CURSORS, {"in_vault": vault_id, "since": since}).scalars())
    versions_gone = size = tombstones = gone_before = 0
    # One by one: each has texts that are shown, and a history of any length.
    for key in found.keys:
        ((entry, _),) = load_entries(connection, vault_id, [key]).values()
        records = list(map(to_record, connection.execute(_RECORDS_OF, {"in_vault": vault_id, "of_key": key})))
        standing = entry.register.dots
        if standing and is_forgettable(
            records, standing, entry.changed_at, now_ms=now_ms, policy=policy, cursors=cursors
        ):
            tombstones += 1
            gone_before = max(gone_before, entry.changed_at)
            standing = frozenset()
            if not dry_run:
                _forget(connection, vault_id, key)
        dots = surplus(records, standing, now_ms=now_ms, policy=policy, cursors=cursors)
        gone = [record for record in records if record.dot in dots]
        versions_gone += len(gone)
        size += sum(record.size for record in gone)
        if gone and not dry_run:
            _let_go(connection, vault_id, key, {record.receipt for record in gone})
    return Swept(found.after, versions_gone, size, tombstones), gone_before


def _forget(connection: Connection, vault_id: int, key: str) -> None:
    """Forget a tombstone: of the key stay its records, and what its register has seen."""
    values = {"in_vault": vault_id, "of_key": key}
    connection.execute(_FORGET_SIBLINGS, values)
    connection.execute(_FORGET_KEY, values)


def _let_go(connection: Connection, vault_id: int, key: str, gone: set[int]) -> None:
    """Let go of contents of a key; what was packed with them is packed anew first, with what stays of its chain."""
    rows = connection.execute(_LINKED, {"in_vault": vault_id, "of_key": key}).all()
    links = {row.receipt: (row.packed_with, row.links) for row in rows}
    anew: dict[int, int | None] = {}
    for receipt, (packed_with, _) in links.items():
        if receipt not in gone and packed_with in gone:
            while packed_with is not None and packed_with in gone:
                packed_with = links[packed_with][0]
            anew[receipt] = packed_with
    texts = load_texts(connection, vault_id, [*anew, *filter(None, anew.values())])
    columns: dict[int, Mapping[str, Any]] = dict.fromkeys(gone, _GONE)
    for receipt, packed_with in anew.items():
        if receipt not in texts:
            continue  # It cannot be read, and so not be saved.
        if packed_with is None or packed_with not in texts:
            columns[receipt] = _packed(texts[receipt], None, None, 0)
        else:
            # What hangs on this one has no more links than before: its own number may stay too great.
            columns[receipt] = _packed(texts[receipt], packed_with, texts[packed_with], links[packed_with][1] + 1)
    _rewrite(connection, vault_id, columns)


# -- devices

_NOTE_DEVICE = (
    update(devices)
    .where(devices.c.vault_id == _VAULT, devices.c.device_id == bindparam("of_device"))
    .values(cursor=bindparam("new_cursor"), epoch=bindparam("new_epoch"), last_seen=bindparam("new_last_seen"))
)
_DEVICES = select(devices).where(devices.c.vault_id == _VAULT).order_by(devices.c.device_id)


def note_devices(connection: Connection, vault_id: int, epoch: str, seen: Mapping[str, tuple[int, int]]) -> None:
    """Note how far devices are."""
    known = {device.device_id for device in load_devices(connection, vault_id)}
    for device_id, (cursor, last_seen) in seen.items():
        if device_id in known:
            values = {"in_vault": vault_id, "of_device": device_id, "new_cursor": cursor, "new_epoch": epoch}
            connection.execute(_NOTE_DEVICE, {**values, "new_last_seen": last_seen})
        else:
            fresh = {"vault_id": vault_id, "device_id": device_id, "cursor": cursor, "epoch": epoch}
            connection.execute(insert(devices), {**fresh, "last_seen": last_seen})
    if not known.issuperset(seen):
        noted = {device.device_id: device.last_seen for device in load_devices(connection, vault_id)}
        _forget_devices(connection, vault_id, surplus_incarnations(noted))


def forget_device(connection: Connection, vault_id: int, owner: str) -> None:
    """Forget how far a device and its incarnations are."""
    known = (device.device_id for device in load_devices(connection, vault_id))
    _forget_devices(connection, vault_id, (device_id for device_id in known if owner_of(device_id) == owner))


def _forget_devices(connection: Connection, vault_id: int, device_ids: Iterable[str]) -> None:
    for device_id in device_ids:
        of_device = (devices.c.vault_id == vault_id) & (devices.c.device_id == device_id)
        connection.execute(delete(devices).where(of_device))


def load_devices(connection: Connection, vault_id: int) -> list[Device]:
    """Return the devices that were ever noted, ordered by their ids."""
    rows = connection.execute(_DEVICES, {"in_vault": vault_id})
    return [Device(row.device_id, row.cursor, row.epoch, row.last_seen) for row in rows]
