"""Between a row of the table `versions` and the `Version` that it stands for."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import Row

from tidenote.core.version import BlobRef, Change, Dot, Version
from tidenote.server.store.paging import text_size
from tidenote.server.store.tables import versions

COLUMNS: Final = tuple(
    versions.c[name]
    for name in (
        "receipt key timestamp device_id base merged_from moved_to blob_sha256 blob_size blob_media_type "
        "modified_at live conflict value"
    ).split()
)
"""What `to_version` wants, in this order."""

_ENCODER = msgspec.json.Encoder()
_DOTS = msgspec.json.Decoder(frozenset[Dot])


def to_version(row: Row[Any]) -> Version:
    """Return the version of a row whose last columns are `COLUMNS`."""
    (
        receipt,
        key,
        timestamp,
        device_id,
        base,
        merged_from,
        moved_to,
        sha256,
        size,
        media_type,
        modified_at,
        live,
        conflict,
        value,
    ) = row[-len(COLUMNS) :]
    change = Change(
        key,
        Dot(timestamp, device_id),
        value,
        BlobRef(sha256, size, media_type) if sha256 is not None else None,
        None if base is None else _DOTS.decode(base),
        moved_to,
        modified_at,
        live,
        conflict,
        frozenset() if merged_from is None else _DOTS.decode(merged_from),
    )
    return Version(change, receipt)


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
        "text_size": text_size(change),
        "value": change.value,
    }


def _encode(dots: frozenset[Dot]) -> str:
    return _ENCODER.encode(sorted(dots)).decode()
