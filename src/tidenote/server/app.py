"""The application: one gate in front of everything, the socket, the REST routes, and what an error looks like.

`serve.py` runs it on a port; `service.py` is what it works on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from litestar import Litestar, Request, Response, asgi
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

import tidenote
from tidenote.core.keys import owner_of
from tidenote.errors import CODES, ProtocolError, TidenoteError
from tidenote.server import api, conflicts_api, history_api, holds_api, identity_api, notes_api, search_api
from tidenote.server.auth import SOCKET, Caller, Door, Head, check_version, subprotocols
from tidenote.server.hub import BUG
from tidenote.server.limits import address_of
from tidenote.server.metrics import Metrics
from tidenote.server.openapi_page import PagePlugin
from tidenote.server.responses import error_parts, error_response
from tidenote.server.service import Service
from tidenote.server.static import StaticFiles
from tidenote.server.sync import Connection
from tidenote.wire.messages import DEFAULT_VAULT, MAX_NONCE_LENGTH, SUBPROTOCOL

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger("tidenote.server")

OUR_PATHS: Final = ("/api/", "/ws/", "/metrics", "/health")
"""Where no files of the web app are."""

OPEN_PATHS: Final = frozenset(("/health", "/api/v1/redeem", "/api/v1/csp-report"))
"""What is answered to everyone; everything else asks who is there."""


GUARDS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
"""What an answer tells browsers if it says nothing else of it: keep no copy, and let no other page have anything."""

PARTS: Final = (api, conflicts_api, history_api, notes_api, identity_api, holds_api, search_api)
"""The modules that serve REST."""


def create_app(service: Service) -> ASGIApp:
    """Return the ASGI application of a running server."""
    errors = _Errors(service.metrics)

    @asgi("/ws/sync", copy_scope=False)
    async def sync_socket(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            connect = _admit(service, scope)
        except TidenoteError as error:
            await errors.refuse(error, scope, receive, send)
        else:
            await _serve_socket(service, connect, scope, receive, send)

    app = Litestar(
        [sync_socket, *(route for part in PARTS for route in part.ROUTES)],
        dependencies={"service": Provide(lambda: service, use_cache=True, sync_to_thread=False)},
        exception_handlers={
            TidenoteError: errors.on_error,
            HTTPException: errors.on_http_error,
            Exception: errors.on_bug,
        },
        openapi_config=OpenAPIConfig(
            title="Tidenote",
            version=tidenote.__version__,
            description="The REST half of the protocol; docs/protocol.md is normative.",
            path="/api/v1/openapi",
            render_plugins=[PagePlugin(), JsonRenderPlugin(path="/openapi.json")],
        ),
        request_max_body_size=service.config.max_frame_bytes,
        logging_config=None,
    )
    door = Door(service.identity, service.config.public_url, no_auth=service.config.no_auth)
    return _Gate(app, door, StaticFiles(), errors)


class _Gate:
    """Asks every request and every socket who is there, before anything else of it is looked at."""

    def __init__(self, app: ASGIApp, door: Door, static: StaticFiles, errors: _Errors) -> None:
        self._app = app
        self._door = door
        self._static = static
        self._errors = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = _head(scope)
        scope["state"]["head"], scope["state"]["door"] = head, self._door
        send = send if scope["type"] == ScopeType.WEBSOCKET else _guarded(send)
        try:
            self._door.check_site(head)
            if await self._serve_file(scope, head, send):
                return
            if scope["path"] not in OPEN_PATHS:
                # A route that finds no caller here fails, so that a path which slips by opens nothing.
                scope["state"]["caller"] = self._door.admit(head)
        except TidenoteError as error:
            await self._errors.refuse(error, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve_file(self, scope: Scope, head: Head, send: Send) -> bool:
        """Answer with a file of the web app, if that is what was asked for."""
        if head.method not in ("GET", "HEAD") or scope["path"].startswith(OUR_PATHS):
            return False
        answer = await self._static.answer(scope["path"], head.headers)
        if answer is None:
            return False
        sent = {**answer.headers, "content-length": str(len(answer.body))}
        await _answer("http.response", answer.status, sent, b"" if head.method == "HEAD" else answer.body, send)
        return True


def _guarded(send: Send) -> Send:
    """Return what sends an answer with the headers that it lacks."""

    async def send_guarded(message: Any) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(guard for guard in GUARDS if guard[0] not in given)]
        await send(message)

    return send_guarded


# ---------------------------------------------------------------------------------------------- the socket


class _Socket:
    """An accepted ASGI WebSocket, as sync.py asks for it."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send

    async def receive(self) -> bytes | str | None:
        event: Any = await self._receive()
        if event["type"] != "websocket.receive":
            return None
        text: str | None = event.get("text")
        data: bytes | None = event.get("bytes")
        return text if text is not None else data

    async def send(self, message: bytes) -> None:
        await self._send({"type": "websocket.send", "text": message.decode(), "bytes": None})

    async def close(self, code: int, reason: str) -> None:
        await self._send({"type": "websocket.close", "code": code, "reason": reason})


async def _serve_socket(
    service: Service, connect: Callable[[_Socket], Connection], scope: Scope, receive: Receive, send: Send
) -> None:
    """Accept a socket, and serve it until it ends."""
    await receive()  # the `websocket.connect`
    chosen = SUBPROTOCOL if SUBPROTOCOL in subprotocols(scope["state"]["head"].headers) else None
    await send({"type": "websocket.accept", "subprotocol": chosen, "headers": []})
    # Only now, since it listens from the start: who has left meanwhile would never be forgotten.
    connection = connect(_Socket(receive, send))
    if not service.lets_in(scope["state"]["caller"].credential):
        connection.expel()  # while the connection was being made
    await service.connections.run(connection)


def _admit(service: Service, scope: Scope) -> Callable[[_Socket], Connection]:
    """Return what makes the connection that was asked for, if the caller may have it.

    Raises:
        TidenoteError: they may not, and why.
    """
    if scope["type"] != ScopeType.WEBSOCKET:
        raise ProtocolError("this address speaks WebSocket only", "bad_request")
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    device_id, vault, version, nonce = (query.get(name, [None])[0] for name in ("device_id", "vault", "v", "nonce"))
    caller: Caller = scope["state"]["caller"]
    check_version(version)
    if len(nonce or "") > MAX_NONCE_LENGTH:
        raise ProtocolError(f"a nonce has at most {MAX_NONCE_LENGTH} characters", "bad_request")
    caller.check_device(device_id or "")
    vault = vault or DEFAULT_VAULT
    caller.check_vault(vault)
    hub = service.hub(vault)
    address = address_of(scope["client"][0] if scope["client"] else None)
    service.connections.check_room(owner_of(device_id or ""), address)
    return lambda accepted: Connection(
        hub,
        service.bus,
        accepted,
        device_id or "",
        may_write=caller.may_write,
        is_replica=caller.is_replica,
        config=service.config,
        metrics=service.metrics,
        paces=service.paces,
        address=address,
        credential=caller.credential.id,
        nonce=nonce,
    )


# ---------------------------------------------------------------------------------------------- errors


_CODE_OF_STATUS: Final = {404: "not_found", 413: "message_too_large"}


class _Errors:
    """What errors look like in HTTP. Each is counted."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def refuse(self, error: TidenoteError, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an error to a request that got no further than here, or in place of an upgrade."""
        status, headers, body = error_parts(error, self._metrics)
        kind = "http.response"
        if scope["type"] == ScopeType.WEBSOCKET:
            await receive()  # the `websocket.connect`
            kind = "websocket.http.response"
        await _answer(kind, status, {**headers, "content-length": str(len(body))}, body, send)

    def on_error(self, _: Request[Any, Any, Any], error: TidenoteError) -> Response[Any]:
        """Answer an error of our own."""
        return error_response(error, self._metrics)

    def on_http_error(self, request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
        """Say in our own words what the framework refused."""
        if error.status_code >= 500:
            return self.on_bug(request, error)
        code = _CODE_OF_STATUS.get(error.status_code, "bad_request")
        message = error.detail or CODES[code].meaning
        if isinstance(error, ValidationException) and isinstance(error.extra, list):
            parameters: list[Any] = error.extra
            message = "; ".join(f"{found['key']}: {found['message']}" for found in parameters) or message
        return self.on_error(request, ProtocolError(message, code))

    def on_bug(self, request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        """Log what should not have happened."""
        logger.error("%s %r failed", request.method, request.url.path, exc_info=error)
        return self.on_error(request, ProtocolError(BUG[1], BUG[0]))


async def _answer(kind: str, status: int, headers: Mapping[str, str], body: bytes, send: Send) -> None:
    """Send a whole answer, made by hand."""
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    start: Any = {"type": f"{kind}.start", "status": status, "headers": encoded}
    end: Any = {"type": f"{kind}.body", "body": body, "more_body": False}
    await send(start)
    await send(end)


def _head(scope: Scope) -> Head:
    """Return what of a request decides about it; a header that came twice is joined, and so equals neither value."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    is_secure = scope["scheme"] in ("https", "wss")
    method = SOCKET if scope["type"] == ScopeType.WEBSOCKET else scope["method"]
    return Head(method, "https" if is_secure else "http", headers)
