"""Between a row of the table `versions` and the `Record` or `Version` that it stands for."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import Row

from tidenote.core.version import BlobRef, Change, Dot, Record, Version
from tidenote.server.store.tables import versions

RECORD_COLUMNS: Final = tuple(
    versions.c[name]
    for name in (
        "receipt key timestamp device_id base merged_from moved_to blob_sha256 blob_size blob_media_type "
        "modified_at live conflict received_at content_hash text_size gone"
    ).split()
)
"""What `to_record` wants, in this order."""

_ENCODER = msgspec.json.Encoder()
_DOTS = msgspec.json.Decoder(frozenset[Dot])


def to_record(row: Row[Any]) -> Record:
    """Return the record of a row whose last columns are `RECORD_COLUMNS`, as SQLAlchemy or a driver gives them."""
    (
        receipt,
        key,
        timestamp,
        device_id,
        base,
        merged_from,
        moved_to,
        sha256,
        blob_size,
        media_type,
        modified_at,
        live,
        conflict,
        received_at,
        content_hash,
        text_size,
        gone,
    ) = row[-len(RECORD_COLUMNS) :]
    return Record(
        key,
        Dot(timestamp, device_id),
        receipt,
        received_at,
        None if base is None else _DOTS.decode(base),
        content_hash,
        text_size if sha256 is None else blob_size,
        None if sha256 is None else BlobRef(sha256, blob_size, media_type),
        moved_to,
        frozenset() if merged_from is None else _DOTS.decode(merged_from),
        modified_at,
        bool(live),
        bool(conflict),
        bool(gone),
    )


def to_version(record: Record, text: str | None) -> Version:
    """Return the version of a record, given its text if it is one of text."""
    change = Change(
        record.key,
        record.dot,
        text,
        record.blob,
        record.base,
        record.moved_to,
        record.modified_at,
        record.live,
        record.conflict,
        record.merged_from,
    )
    return Version(change, record.receipt, record.received_at)


def from_version(vault_id: int, version: Version, wall_ms: int) -> dict[str, Any]:
    """Return the row of a version that arrives at `wall_ms`."""
    change = version.change
    blob = change.blob
    return {
        "vault_id": vault_id,
        "receipt": version.receipt,
        "key": change.key,
        "timestamp": change.dot.timestamp,
        "device_id": change.dot.device_id,
        "base": None if change.base is None else _encode(change.base),
        "merged_from": _encode(change.merged_from) if change.merged_from else None,
        "moved_to": change.moved_to,
        "blob_sha256": blob.sha256 if blob else None,
        "blob_size": blob.size if blob else None,
        "blob_media_type": blob.media_type if blob else None,
        "modified_at": change.modified_at,
        "live": change.live,
        "conflict": change.conflict,
        "received_at": wall_ms,
        "content_hash": change.content_hash,
        "text_size": change.text_size,
        "gone": False,
        "value": change.value,
    }


def _encode(dots: frozenset[Dot]) -> str:
    return _ENCODER.encode(sorted(dots)).decode()
