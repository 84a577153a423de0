"""The REST of notes (docs/protocol.md 11.7), for scripts and small clients: list, read, write, delete, rename.

A note's ETag is the dot of its winner. What is written is a change of the device that asks, like every push: whoever
writes at the same moment loses nothing, since the two are then siblings.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Final
from urllib.parse import unquote_to_bytes

from litestar import Response, delete, get, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery, HeaderParameter, QueryParameter
from litestar.response import Stream

from tidenote.core.history import winner
from tidenote.core.keys import check_device_id, check_key, key_of_path
from tidenote.core.register import EMPTY, Register
from tidenote.core.version import UNDATED, BlobRef, Change, Dot, Record
from tidenote.errors import AccessError, ProtocolError, RefusedChange
from tidenote.server.api import (
    DOWNLOAD_ONLY,
    Asked,
    Parts,
    Vault,
    bytes_of,
    caller_of,
    open_for_writing,
    open_hub,
    read_body,
)
from tidenote.server.hub import Hub
from tidenote.server.openapi import BYTES, ERRORS, PathOperation, UploadOperation, body_of
from tidenote.server.responses import HeadedError, json_response
from tidenote.server.service import Service
from tidenote.server.store.contract import Store
from tidenote.wire.messages import (
    DEFAULT_VAULT,
    Fetched,
    NoteEntry,
    Notes,
    RenameRequest,
    WireBlob,
    decode,
    from_entries,
)

MAX_LISTED: Final = 1000
"""The most notes of one page."""

NOBODY: Final = "rest"
"""The author of what is written with neither a device's own token nor a `device_id`."""

TRIES: Final = 8
"""How often a write is stamped anew because the device itself used the same dot at the same moment."""

_KINDS: Final = ("file:", "note:")
"""What keys begin with, in their order."""

IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", description="the ETag of what is written over")]
IfNoneMatch = Annotated[
    str | None, HeaderParameter(name="If-None-Match", description="ETags that the caller has; * means any")
]


@get("/api/v1/notes", responses=ERRORS)
async def list_notes(
    service: Parts,
    request: Asked,
    vault: Vault = DEFAULT_VAULT,
    prefix: FromQuery[str] = "",
    after: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_LISTED)] = 100,
) -> Response[Notes]:
    """Return one page of what is there, notes and files, ordered by key: the winners without their texts."""
    hub = open_hub(service, request, vault)
    epoch, clock = hub.epoch, hub.clock
    found = await hub.read(_list, prefix, after, limit)
    return json_response(Notes(epoch, clock, found, found[-1].key if len(found) == limit else None))


@get(
    "/api/v1/notes/{path:path}",
    operation_class=PathOperation,
    responses={**ERRORS, 304: ResponseSpec(None, description="the caller has it already")},
    media_type=BYTES,
)
async def read_note(
    service: Parts,
    request: Asked,
    vault: Vault = DEFAULT_VAULT,
    if_none_match: IfNoneMatch = None,
) -> Response[bytes] | Stream:
    """Return a note's text, or a file's bytes; its `ETag` names the version."""
    hub = open_hub(service, request, vault)
    key = _key_of(request)
    found = (await _register(hub, key)).winner
    if found is None or found.deleted:
        raise AccessError(f"there is no {key}", "not_found")
    headers = {**DOWNLOAD_ONLY, "cache-control": "private, no-cache", "etag": etag_of(found.dot)}
    # A proxy that compresses makes the tag a weak one, and for this question that is the same (RFC 9110, 13.1.2).
    if {"*", headers["etag"]} & {tag.removeprefix("W/") for tag in _tags(if_none_match)}:
        return Response(b"", status_code=304, headers=headers)
    if found.blob is None:
        return Response((found.value or "").encode(), headers=headers, media_type="text/markdown")
    bytes_ = bytes_of(request, service, found.blob.sha256)
    headers["content-length"] = str(service.blobs.size(found.blob.sha256))
    return Stream(bytes_, headers=headers, media_type=BYTES)


@put("/api/v1/notes/{path:path}", operation_class=UploadOperation, responses=ERRORS)
async def write_note(
    service: Parts,
    request: Asked,
    vault: Vault = DEFAULT_VAULT,
    device_id: FromQuery[str | None] = None,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response[Fetched]:
    """Write a note or a file; `If-Match` says which version it is made of, `If-None-Match: *` that it is new."""
    hub = open_for_writing(service, request, vault)
    key, author = _key_of(request), _author(request, device_id)
    content = await _content(service, key, await read_body(request, service), caller_of(request).credential.id)
    return await _write(hub, author, content, _tags(if_match), is_new=_tags(if_none_match) == ["*"])


@delete("/api/v1/notes/{path:path}", status_code=200, operation_class=PathOperation, responses=ERRORS)
async def delete_note(
    service: Parts,
    request: Asked,
    vault: Vault = DEFAULT_VAULT,
    device_id: FromQuery[str | None] = None,
    if_match: IfMatch = None,
) -> Response[Fetched]:
    """Delete a note or a file; `If-Match` says which version."""
    hub = open_for_writing(service, request, vault)
    key, author = _key_of(request), _author(request, device_id)
    seen = _tags(if_match)
    if not seen:
        raise ProtocolError("say with If-Match which version is to be deleted", "bad_request")
    return await _write(hub, author, Change(key, UNDATED), seen)


@post("/api/v1/rename", status_code=200, operation_class=body_of(RenameRequest), responses=ERRORS)
async def rename_note(
    service: Parts, request: Asked, vault: Vault = DEFAULT_VAULT, device_id: FromQuery[str | None] = None
) -> Response[Fetched]:
    """Give a note another name: the new one and the deletion of the old one are one push."""
    hub = open_for_writing(service, request, vault)
    author = _author(request, device_id)
    asked = decode(await read_body(request, service), RenameRequest)
    for key in (asked.key, asked.to):
        _checked(check_key, key)
    if asked.key == asked.to:
        raise ProtocolError("this is its name already", "bad_request")
    seen = Dot(asked.timestamp, asked.device_id)

    async def decide() -> list[Change]:
        old, new = [await _register(hub, key) for key in (asked.key, asked.to)]
        if old.winner is None or old.winner.deleted or old.winner.dot != seen:
            raise ProtocolError(f"{asked.key} is another one by now: look again", "stale")
        if new.winner and not new.winner.deleted:
            raise ProtocolError(f"there is a {asked.to} already: choose another name", "stale")
        timestamp = _next_timestamp(hub, [*old.dots, *new.dots])
        return [
            replace(old.winner, key=asked.to, dot=Dot(timestamp, author), base=new.dots, merged_from=frozenset()),
            Change(asked.key, Dot(timestamp + 1, author), base=frozenset((seen,)), moved_to=asked.to),
        ]

    return await _push(hub, decide)


def etag_of(dot: Dot) -> str:
    """Return the entity tag of a version."""
    return f'"{dot.timestamp}.{dot.device_id}"'


class _Stale(HeadedError):
    """What was to be written over is no longer what is there; the answer says what is, if there is a note."""

    def __init__(self, register: Register) -> None:
        found = register.winner
        headers = {} if found is None or found.deleted else {"etag": etag_of(found.dot)}
        super().__init__("it is another one by now: look again", "stale", headers)


async def _write(
    hub: Hub, author: str, content: Change, seen: Sequence[str], *, is_new: bool = False
) -> Response[Fetched]:
    """Write one change over what its author has seen: one of these entity tags, or that there is nothing.

    Raises:
        ProtocolError: `bad_request`, if they don't say what that is; or why the change was refused.
    """

    async def decide() -> list[Change]:
        base = _base(await _register(hub, content.key), seen, is_new=is_new)
        now_ms = None if content.deleted else time.time_ns() // 1_000_000
        return [replace(content, dot=Dot(_next_timestamp(hub, base), author), base=base, modified_at=now_ms)]

    return await _push(hub, decide)


async def _push(hub: Hub, decide: Callable[[], Awaitable[list[Change]]]) -> Response[Fetched]:
    """Write what is decided; anew, while the device itself takes the same dots at the same moment.

    Raises:
        ProtocolError: what was decided instead, or why it was refused.
    """
    async with hub.writing:
        for _ in range(TRIES):
            changes = await decide()
            committed = await hub.submit(changes)
            if not committed.rejected:
                return await _answer(hub, [change.key for change in changes])
            if committed.rejected[0].code != "dot_reused":
                break
    raise ProtocolError(committed.rejected[0].message, committed.rejected[0].code)


def _base(register: Register, seen: Sequence[str], *, is_new: bool) -> frozenset[Dot]:
    """Return what the author has seen.

    Raises:
        ProtocolError: `stale`, if something else is there; `bad_request`, if they don't say.
    """
    found = register.winner
    living = found if found and not found.deleted else None
    if seen:
        if living is None or not {"*", etag_of(living.dot)} & set(seen):
            raise _Stale(register)
        return frozenset((living.dot,))
    if is_new:
        if living:
            raise _Stale(register)
        return register.dots
    raise ProtocolError("say what you have seen: If-Match: ETAG, or If-None-Match: * for a new note", "bad_request")


async def _answer(hub: Hub, keys: Sequence[str]) -> Response[Fetched]:
    entries = await hub.entries(keys)
    found = entries[0].register.winner if entries else None
    headers = {"etag": etag_of(found.dot)} if found and not found.deleted else {}
    return json_response(Fetched(hub.epoch, from_entries(entries)), headers=headers)


async def _content(service: Service, key: str, body: bytes, sender: str) -> Change:
    """Return a body as a change without a dot: a text, where it is one; else a blob, which is taken in."""
    if key.startswith("note:") and len(body) <= service.config.max_text_bytes and b"\0" not in body:
        try:
            return Change(key, UNDATED, body.decode())
        except UnicodeDecodeError:
            pass
    sha256 = hashlib.sha256(body).hexdigest()

    async def chunks() -> AsyncIterator[bytes]:
        yield body[service.blobs.partial_size(sha256, sender) :]

    await service.blobs.write(sha256, sender, service.blobs.partial_size(sha256, sender), len(body), chunks())
    return Change(key, UNDATED, blob=BlobRef(sha256, len(body)))


async def _register(hub: Hub, key: str) -> Register:
    entries = await hub.entries([key])
    return entries[0].register if entries else EMPTY


def _next_timestamp(hub: Hub, seen: Iterable[Dot]) -> int:
    return max(hub.clock, *(dot.timestamp for dot in seen), 0) + 1


def _key_of(request: Asked) -> str:
    """Return the key of the path in a request's address, as it was sent: the framework tidies its own copy up."""
    raw = request.scope["raw_path"].partition(b"/api/v1/notes/")[2]
    try:
        return _checked(key_of_path, unquote_to_bytes(raw).decode())
    except UnicodeDecodeError:
        raise ProtocolError("the path is not valid UTF-8", "bad_key") from None


def _checked(check: Callable[[str], str | None], text: str) -> str:
    """Return a key, or what a check makes of a text.

    Raises:
        ProtocolError: `bad_key` or `bad_request`.
    """
    try:
        return check(text) or text
    except RefusedChange as refusal:
        raise ProtocolError(refusal.message, "bad_key" if refusal.code == "bad_key" else "bad_request") from None


def _author(request: Asked, device_id: str | None) -> str:
    """Return the device that writes: the caller's own, or one that the caller may name."""
    caller = caller_of(request)
    if device_id is not None:
        caller.check_device(device_id)
        return _checked(check_device_id, device_id)
    return caller.device_id or NOBODY


def _tags(header: str | None) -> list[str]:
    """Return the entity tags of a header."""
    return [tag.strip() for tag in (header or "").split(",") if tag.strip()]


def _list(store: Store, vault: str, prefix: str, after: str | None, limit: int) -> list[NoteEntry]:
    """Return the next notes that are not deleted."""
    found: list[NoteEntry] = []
    for kind in _KINDS:
        last = after
        while len(found) < limit:
            page = store.listed(vault, kind + prefix, last, limit)
            for _, records in page:
                entry = _entry(records)
                if entry and len(found) < limit:
                    found.append(entry)
            if len(page) < limit:
                break
            last = page[-1][0]
    return found


def _entry(records: Sequence[Record]) -> NoteEntry | None:
    shown = winner(records)
    if shown is None or shown.deleted:
        return None
    blob = shown.blob
    return NoteEntry(
        shown.key,
        *shown.dot,
        shown.size,
        shown.modified_at,
        len(records) > 1 or shown.conflict,
        WireBlob(blob.sha256, blob.size, blob.media_type) if blob else None,
    )


ROUTES: Final[list[HTTPRouteHandler]] = [list_notes, read_note, write_note, delete_note, rename_note]
