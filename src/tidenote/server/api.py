"""The REST half of the protocol (docs/protocol.md 11 and 12), and what machines ask: health and metrics.

Every handler finds in `request.state.caller` who asks; the gate in app.py put it there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, TypeAlias

from litestar import Request, Response, get, head, post, put
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.exceptions import InternalServerException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery, HeaderParameter, PathParameter, QueryParameter
from litestar.response import Stream

import tidenote
from tidenote.errors import CODES, AccessError, ProtocolError
from tidenote.server.auth import Caller, check_version
from tidenote.server.hub import Hub
from tidenote.server.openapi import BYTES, ERRORS, UploadOperation, body_of
from tidenote.server.responses import HeadedError, json_response
from tidenote.server.service import Service
from tidenote.server.sync import answer
from tidenote.wire.messages import (
    DEFAULT_VAULT,
    PROTOCOL_VERSION,
    BlobStatus,
    Fetched,
    FetchRequest,
    Health,
    Manifest,
    ManifestEntry,
    SyncAck,
    SyncPush,
    decode,
    from_entries,
    from_heads,
)

MAX_MANIFEST_KEYS: Final = 5000
"""The most keys of one page of the manifest."""

MAX_FETCH_KEYS: Final = 500
"""The most keys that one fetch may name."""

MAX_REPORT_BYTES: Final = 65_536
"""The largest report of a browser."""


DOWNLOAD_ONLY: Final = {
    "content-disposition": "attachment",
    "content-security-policy": "sandbox; default-src 'none'",
    "x-content-type-options": "nosniff",
}
"""What goes with bytes of users: a browser must save them, and never run them as a page of ours."""

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")

Parts: TypeAlias = NamedDependency[Service]
Asked: TypeAlias = Request[Any, Any, State]
Vault: TypeAlias = Annotated[str, QueryParameter(description="the vault's name")]
Sha256: TypeAlias = Annotated[str, PathParameter(description="of the bytes, in 64 lower-case hex digits")]


def caller_of(request: Asked) -> Caller:
    """Return who asks."""
    caller: Caller = request.scope["state"]["caller"]
    return caller


def open_hub(service: Service, request: Asked, vault: str) -> Hub:
    """Return the hub of a vault that the caller may use.

    Raises:
        AccessError: `unknown_vault`.
    """
    caller_of(request).check_vault(vault)
    return service.hub(vault)


def open_for_writing(service: Service, request: Asked, vault: str) -> Hub:
    """Return the hub of a vault that the caller may write to.

    Raises:
        AccessError: `unknown_vault`, `read_only`.
    """
    hub = open_hub(service, request, vault)
    if not caller_of(request).may_write:
        raise AccessError("this device may only read", "read_only")
    return hub


async def read_body(request: Asked, service: Service) -> bytes:
    """Return the body of a request, unless it stalls.

    Raises:
        ProtocolError: `too_slow`.
    """
    return b"".join([chunk async for chunk in chunks_of(request, service)])


async def chunks_of(request: Asked, service: Service) -> AsyncIterator[bytes]:
    """Yield the body of a request as it arrives, unless it stalls, or its sender is let in no longer.

    Raises:
        ProtocolError: `too_slow`.
        AccessError: `unauthorized`.
    """
    stream = request.stream()
    caller: Caller | None = request.scope["state"].get("caller")
    loop, patience_s = asyncio.get_running_loop(), service.config.request_timeout_ms / 1000
    deadline_s = loop.time() + patience_s
    try:
        while True:
            async with asyncio.timeout_at(deadline_s):
                chunk = await anext(stream, None)
            if caller is not None:
                if not service.lets_in(caller.credential):
                    raise AccessError("this device was revoked meanwhile", "unauthorized")
                # A stranger has no more time for a long body than for a short one.
                deadline_s = loop.time() + patience_s
            if chunk is None:
                return
            yield chunk
    except TimeoutError:
        raise ProtocolError("the body stopped arriving", "too_slow") from None
    except InternalServerException:
        raise ProtocolError("the body broke off", "bad_request") from None


def bytes_of(
    request: Asked, service: Service, sha256: str, start: int = 0, stop: int | None = None
) -> AsyncIterator[bytes]:
    """Return the bytes of a blob as an answer, which ends at once when its reader is let in no longer.

    Raises:
        AccessError: `not_found`.
        ProtocolError: `bad_request`, if the range lies outside of the blob.
    """
    credential = caller_of(request).credential
    return service.downloads.sent(
        credential.id,
        service.blobs.read(sha256, start, stop),
        may_read=lambda: service.lets_in(credential),
        cut=request.scope["state"]["abort"],
    )


@post("/api/v1/sync", status_code=200, operation_class=body_of(SyncPush), responses=ERRORS)
async def sync(
    service: Parts,
    request: Asked,
    device_id: FromQuery[str],
    vault: Vault = DEFAULT_VAULT,
    v: FromQuery[str | None] = None,
) -> Response[SyncAck]:
    """Take one `sync_push` in and return the `sync_ack` that it is due: the polling form of the socket."""
    check_version(v)
    caller = caller_of(request)
    caller.check_device(device_id)
    hub = open_hub(service, request, vault)
    message = await answer(
        hub,
        await read_body(request, service),
        device_id,
        may_write=caller.may_write,
        is_replica=caller.is_replica,
        config=service.config,
        metrics=service.metrics,
        paces=service.paces,
    )
    status = 200 if isinstance(message, SyncAck) else CODES[message.code].http_status
    return json_response(message, status)


@get("/api/v1/manifest", responses=ERRORS)
async def manifest(
    service: Parts,
    request: Asked,
    vault: Vault = DEFAULT_VAULT,
    after: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_MANIFEST_KEYS)] = 1000,
) -> Response[Manifest]:
    """Return one page of all keys of a vault with the dots of their siblings, ordered by key."""
    hub = open_hub(service, request, vault)
    # The clock is taken before the page is read: what changes in between is then delivered after it.
    epoch, clock = hub.epoch, hub.clock
    keys = await hub.manifest(after, limit)
    entries = [ManifestEntry(key, from_heads(heads)) for key, heads in keys]
    return json_response(Manifest(epoch, clock, entries, keys[-1][0] if len(keys) == limit else None))


@post("/api/v1/fetch", status_code=200, operation_class=body_of(FetchRequest), responses=ERRORS)
async def fetch(service: Parts, request: Asked, vault: Vault = DEFAULT_VAULT) -> Response[Fetched]:
    """Return all siblings of some keys; an answer that would be too large is cut after a whole key."""
    hub = open_hub(service, request, vault)
    keys = decode(await read_body(request, service), FetchRequest).keys
    if len(keys) > MAX_FETCH_KEYS:
        raise ProtocolError(f"more than {MAX_FETCH_KEYS} keys", "bad_request")
    epoch = hub.epoch
    return json_response(Fetched(epoch, from_entries(await hub.first_entries(keys))))


@get("/health", responses={503: ResponseSpec(Health, description="the store has failed", generate_examples=False)})
async def health(service: Parts) -> Response[Health]:
    """Say whether the server takes requests and its disk works."""
    body = Health("failed" if service.failed else "ok", tidenote.__version__, PROTOCOL_VERSION)
    return json_response(body, 503 if service.failed else 200)


@get("/metrics", responses=ERRORS, media_type="text/plain; version=0.0.4")
async def metrics(service: Parts) -> bytes:
    """Return what the server has counted, for Prometheus."""
    return service.metrics.render()


@post("/api/v1/csp-report", status_code=204, include_in_schema=False, request_max_body_size=MAX_REPORT_BYTES)
async def report_violation(service: Parts, request: Asked) -> None:
    """Count what the web app's content security policy forbade; the report itself names pages, and is not kept."""
    await read_body(request, service)
    service.metrics.csp_reports.inc()


# ---------------------------------------------------------------------------------------------- blobs


@head("/api/v1/blobs/{sha256:str}", responses=ERRORS)
async def blob_status(service: Parts, request: Asked, sha256: Sha256) -> Response[None]:
    """Say whether a blob is here; if not, how many bytes of the caller's upload are."""
    size = service.blobs.size(sha256)
    if size is None:
        offset = str(service.blobs.partial_size(sha256, caller_of(request).credential.id))
        return Response(None, status_code=CODES["not_found"].http_status, headers={"upload-offset": offset})
    return Response(None, headers={"content-length": str(size), **_blob_headers(sha256)})


@get(
    "/api/v1/blobs/{sha256:str}",
    responses={**ERRORS, 206: ResponseSpec(None, description="the part that Range names")},
    media_type=BYTES,
)
async def download_blob(
    service: Parts,
    request: Asked,
    sha256: Sha256,
    wanted: Annotated[str | None, HeaderParameter(name="Range")] = None,
) -> Stream:
    """Return the bytes of a blob, or a part of them."""
    size = service.blobs.size(sha256)
    if size is None:
        raise AccessError(f"there is no blob {sha256}", "not_found")
    part = _parse_range(wanted, size) if wanted else None
    start, stop = part or (0, size)
    headers = {"content-length": str(stop - start), **_blob_headers(sha256)}
    if part:
        headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    bytes_ = bytes_of(request, service, sha256, start, stop)
    return Stream(bytes_, status_code=206 if part else 200, headers=headers, media_type=BYTES)


@put(
    "/api/v1/blobs/{sha256:str}",
    responses=ERRORS,
    request_max_body_size=None,
    operation_class=UploadOperation,
)
async def upload_blob(
    service: Parts,
    request: Asked,
    sha256: Sha256,
    total: Annotated[int, HeaderParameter(name="Upload-Length", ge=0, description="of the whole blob, in bytes")],
    offset: Annotated[int, HeaderParameter(name="Upload-Offset", ge=0, description="of the body's first byte")] = 0,
) -> Response[BlobStatus]:
    """Take a blob in, or the next part of it."""
    if not caller_of(request).may_write:
        raise AccessError("this device may only read", "read_only")
    if total > service.config.max_blob_bytes:
        raise ProtocolError(f"a blob has at most {service.config.max_blob_bytes} bytes", "message_too_large")
    sender = caller_of(request).credential.id
    try:
        status = await service.blobs.write(sha256, sender, offset, total, chunks_of(request, service))
    except ProtocolError as error:
        if error.code != "bad_offset":
            raise
        held = service.blobs.partial_size(sha256, sender)
        raise HeadedError(error.message, error.code, {"upload-offset": str(held)}) from None
    return json_response(status)


def _blob_headers(sha256: str) -> dict[str, str]:
    return {
        **DOWNLOAD_ONLY,
        "accept-ranges": "bytes",
        "cache-control": "private, max-age=31536000, immutable",
        "etag": f'"{sha256}"',
    }


def _parse_range(wanted: str, size: int) -> tuple[int, int] | None:
    """Return a `Range` header's first byte and the one after its last; None for what may be ignored (RFC 9110 14.2).

    Raises:
        ProtocolError: `bad_request`, if the blob has no such bytes.
    """
    found = _RANGE.fullmatch(wanted.strip())
    if not found or found[1] == found[2] == "":
        return None
    if found[1] == "":
        start, stop = max(0, size - int(found[2])), size
    else:
        start, stop = int(found[1]), min(size, int(found[2]) + 1 if found[2] else size)
    if start >= stop:
        raise ProtocolError(f"the blob has {size} bytes only", "bad_request")
    return start, stop


ROUTES: Final[list[HTTPRouteHandler]] = [
    sync,
    manifest,
    fetch,
    blob_status,
    download_blob,
    upload_blob,
    health,
    metrics,
    report_violation,
]
