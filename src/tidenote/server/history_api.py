"""The REST of the past (docs/protocol.md 11.6): histories, versions, restores, undo, the trash, and letting go.

What is planned and how it is written stands in history.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, QueryParameter

from tidenote.core.clock import MAX_TIMESTAMP
from tidenote.core.keys import check_key, owner_of, path_of_key
from tidenote.core.merged import Merge
from tidenote.core.version import Dot, Record, is_server
from tidenote.errors import AccessError, ProtocolError, RefusedChange
from tidenote.server import history
from tidenote.server.api import Asked, Parts, Vault, caller_of, open_for_writing, open_hub, read_body
from tidenote.server.history import Plan, record_of
from tidenote.server.hub import Hub
from tidenote.server.merges import Past, StoredPast, base_of, merge_again, union_of
from tidenote.server.openapi import ERRORS, body_of
from tidenote.server.responses import json_response
from tidenote.server.store.contract import Store
from tidenote.wire.messages import (
    DEFAULT_VAULT,
    Collected,
    GcRequest,
    HistoryEntry,
    HistoryPage,
    MergeDetails,
    RefusedNote,
    RestoreAllRequest,
    Restored,
    RestoredNote,
    RestoreRequest,
    Trash,
    TrashEntry,
    TrashRestoreRequest,
    UndoRequest,
    VersionText,
    WireBlob,
    decode,
    from_dots,
    from_spots,
)

MAX_VERSIONS: Final = 1000
"""The most versions of one page of a history."""

MAX_DISCARDED: Final = 500
"""The most notes of one page of the trash."""


@get("/api/v1/history", responses=ERRORS)
async def list_history(
    service: Parts,
    request: Asked,
    key: FromQuery[str],
    vault: Vault = DEFAULT_VAULT,
    before: Annotated[int | None, QueryParameter(ge=0)] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_VERSIONS)] = 100,
) -> Response[HistoryPage]:
    """Return one page of a note's versions, the latest first, those under its earlier names among them."""
    hub = open_hub(service, request, vault)
    _check_key(key)
    found = await hub.read(history.listing, key, before=before, limit=limit)
    standing = {dot for entry in await hub.entries([key]) for dot in entry.register.dots}
    if not found and before is None:
        raise AccessError(f"nobody wrote {path_of_key(key)}", "not_found")
    # What stands under an earlier name is that name's matter.
    versions = [_entry(record, current=record.key == key and record.dot in standing) for record in found]
    return json_response(HistoryPage(hub.epoch, versions, found[-1].receipt if len(found) == limit else None))


@get("/api/v1/version", responses=ERRORS)
async def one_version(
    service: Parts,
    request: Asked,
    key: FromQuery[str],
    timestamp: Annotated[int, QueryParameter(ge=1, le=MAX_TIMESTAMP)],
    device_id: FromQuery[str],
    vault: Vault = DEFAULT_VAULT,
) -> Response[VersionText]:
    """Return one version with its text, if that is still kept."""
    hub = open_hub(service, request, vault)
    _check_key(key)
    return json_response(await hub.read_merging(_version, key, Dot(timestamp, device_id)))


@post("/api/v1/restore", status_code=200, operation_class=body_of(RestoreRequest), responses=ERRORS)
async def restore(service: Parts, request: Asked, vault: Vault = DEFAULT_VAULT) -> Response[Restored]:
    """Bring one version of a note back, or the note as it was at a time."""
    hub = open_for_writing(service, request, vault)
    asked = decode(await read_body(request, service), RestoreRequest)
    _check_key(asked.key)
    if asked.at is None and asked.receipt is None and asked.timestamp is not None and asked.device_id is not None:
        source, dot = asked.source or asked.key, Dot(asked.timestamp, asked.device_id)
        return await _carry_out(hub, lambda store, name: history.restore_version(store, name, asked.key, source, dot))
    if asked.timestamp is not None or asked.device_id is not None or asked.source is not None:
        raise ProtocolError("name a version by timestamp and device_id, or a time, or a receipt", "bad_request")
    receipt = await _receipt(hub, asked.at, asked.receipt)
    return await _carry_out(hub, lambda store, name: history.restore_note(store, name, asked.key, receipt))


@post("/api/v1/restore-all", status_code=200, operation_class=body_of(RestoreAllRequest), responses=ERRORS)
async def restore_all(service: Parts, request: Asked, vault: Vault = DEFAULT_VAULT) -> Response[Restored]:
    """Bring the whole vault back as it was at a time, or tell what that would alter."""
    hub = open_for_writing(service, request, vault)
    asked = decode(await read_body(request, service), RestoreAllRequest)
    receipt = await _receipt(hub, asked.at, asked.receipt)
    return await _carry_out(
        hub, lambda store, name: history.restore_all(store, name, receipt), dry_run=asked.dry_run, seen=asked.seen
    )


@post("/api/v1/undo", status_code=200, operation_class=body_of(UndoRequest), responses=ERRORS)
async def undo(service: Parts, request: Asked, vault: Vault = DEFAULT_VAULT) -> Response[Restored]:
    """Take back what a device wrote since a time, where nobody else's later edits stand on it."""
    hub = open_for_writing(service, request, vault)
    asked = decode(await read_body(request, service), UndoRequest)
    await _check_device(service, hub, asked.device)
    # What came in the very millisecond counts as since.
    receipt = await _receipt(hub, asked.since - 1, None)
    return await _carry_out(
        hub,
        lambda store, name: history.undo_device(store, name, asked.device, receipt),
        dry_run=asked.dry_run,
        seen=asked.seen,
    )


@get("/api/v1/trash", responses=ERRORS)
async def list_trash(
    service: Parts,
    request: Asked,
    vault: Vault = DEFAULT_VAULT,
    after: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_DISCARDED)] = 100,
) -> Response[Trash]:
    """Return one page of deleted notes, ordered by key."""
    hub = open_hub(service, request, vault)
    found = await hub.read(history.trash, after, limit)
    notes = [
        TrashEntry(note.deletion.key, _entry(note.deletion, current=True), _entry(note.last) if note.last else None)
        for note in found
    ]
    return json_response(Trash(hub.epoch, notes, notes[-1].key if len(notes) == limit else None))


@post("/api/v1/trash/restore", status_code=200, operation_class=body_of(TrashRestoreRequest), responses=ERRORS)
async def restore_discarded(service: Parts, request: Asked, vault: Vault = DEFAULT_VAULT) -> Response[Restored]:
    """Bring a deleted note back."""
    hub = open_for_writing(service, request, vault)
    asked = decode(await read_body(request, service), TrashRestoreRequest)
    _check_key(asked.key)
    return await _carry_out(hub, lambda store, name: history.restore_discarded(store, name, asked.key))


@post("/api/v1/gc", status_code=200, operation_class=body_of(GcRequest), responses=ERRORS)
async def gc(service: Parts, request: Asked, vault: Vault = DEFAULT_VAULT) -> Response[Collected]:
    """Let go now what the settings keep no longer, or tell what that is."""
    hub = open_hub(service, request, vault)
    caller_of(request).check_owner((vault,))
    asked = decode(await read_body(request, service), GcRequest)
    report = await service.upkeep.gc(hub, dry_run=asked.dry_run)
    return json_response(Collected(report.versions, report.size, report.tombstones, report.blobs, report.blob_size))


async def _check_device(service: Parts, hub: Hub, device: str) -> None:
    """Check that a vault knows a device: who mistyped its name would take its silence for a success.

    Raises:
        AccessError: `not_found`.
    """
    known = {owner_of(seen.device_id) for seen in await hub.devices()}
    known |= {one.device_id for one in service.identity.credentials if one.vaults is None or hub.name in one.vaults}
    if device not in known and not await hub.read(_wrote, device):
        raise AccessError(f"there is no device {device}", "not_found")


def _wrote(store: Store, vault: str, device: str) -> bool:
    return bool(store.written_by(vault, device, 0))


def _check_key(key: str) -> None:
    try:
        check_key(key)
    except RefusedChange as refusal:
        raise ProtocolError(f"{key!r} is no key: {refusal.message}", "bad_request") from None


async def _receipt(hub: Hub, at: int | None, receipt: int | None) -> int:
    """Return the place in the log that is asked for."""
    if at is not None and receipt is None:
        return await hub.read(_receipt_at, at)
    if receipt is not None and at is None:
        return await hub.read(_known_receipt, receipt)
    raise ProtocolError("name a time or a receipt, or a version by timestamp and device_id", "bad_request")


def _receipt_at(store: Store, vault: str, time_ms: int) -> int:
    return store.receipt_at(vault, time_ms)


def _known_receipt(store: Store, vault: str, receipt: int) -> int:
    clock = store.vault(vault).clock
    if receipt > clock:
        raise AccessError(f"there is no version {receipt} yet: the latest one is {clock}", "not_found")
    return receipt


async def _carry_out(
    hub: Hub, make: Callable[[Store, str], Plan], *, dry_run: bool = False, seen: int | None = None
) -> Response[Restored]:
    """Plan, write, and tell."""
    receipt = hub.clock
    plan = await hub.read(make)
    if seen is not None:
        plan = await hub.read(history.unseen_stay, plan, seen)
    lines = await hub.read(history.differences, list(plan.steps.values()))
    failed = {} if dry_run else await history.carry_out(hub, plan)
    notes = [
        RestoredNote(
            step.key,
            lines[step.key].added,
            lines[step.key].removed,
            _entry(step.becomes) if step.becomes else None,
            step.moved_to,
        )
        for step in sorted(plan.steps.values(), key=lambda step: step.key)
        if step.key not in failed
    ]
    refused = [RefusedNote(key, why) for key, why in sorted([*plan.refused.items(), *failed.items()])]
    return json_response(Restored(hub.epoch, receipt, notes, refused, dry_run))


def _version(store: Store, vault: str, merge: Merge, key: str, dot: Dot) -> VersionText:
    past = StoredPast(store, vault)
    record = record_of(store, vault, key, dot)
    change = past.change(record)
    current = any(dot in entry.register.dots for entry in store.entries(vault, [key]))
    return VersionText(
        _entry(record, current=current), change.value if change else None, _merge_details(record, past, merge)
    )


def _merge_details(record: Record, past: Past, merge: Merge) -> MergeDetails | None:
    """Return which versions the server merged into one; None if it did not, or that cannot be told any more."""
    union = union_of(record, past) if is_server(record.dot.device_id) else None
    merged = merge_again(union, past, merge) if union else None
    if union is None or merged is None:
        return None
    base = base_of(union.sources, past)
    sources = [_entry(source) for source in union.sources]
    return MergeDetails(sources, from_spots(merged.spots), _entry(base) if base else None)


def _entry(record: Record, *, current: bool = False) -> HistoryEntry:
    blob = record.blob
    return HistoryEntry(
        record.key,
        *record.dot,
        record.receipt,
        record.received_at,
        record.size,
        None if record.base is None else from_dots(record.base),
        from_dots(record.merged_from) or None,
        record.conflict,
        record.deleted,
        record.moved_to,
        WireBlob(blob.sha256, blob.size, blob.media_type) if blob else None,
        record.modified_at,
        current,
        record.gone,
        record.content_hash,
    )


ROUTES: Final[list[HTTPRouteHandler]] = [
    list_history,
    one_version,
    restore,
    restore_all,
    undo,
    list_trash,
    restore_discarded,
    gc,
]
