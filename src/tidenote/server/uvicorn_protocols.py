"""The HTTP and WebSocket protocols that uvicorn runs, with what a server on the open network needs besides.

Both bound what a connection costs before and besides our own limits: heads that never end, messages in endless
fragments, pings whose answers nobody reads, peers that do not let go. No knowledge of Tidenote lives here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    from asyncio.transports import BaseTransport

    from uvicorn._types import ASGISendEvent
    from websockets.frames import Frame

MAX_HEAD_BYTES: Final = 65_536
"""The largest head of a request: its line and all its headers."""

MIN_BYTES_S: Final = 16_384
"""How many bytes a second of a body that was refused already have to come, so that the connection stays."""

LINGER_S: Final = 2.0
"""How long a connection that we closed may take to send what is left and say goodbye."""


def _nobody_minds(reason: str) -> None:
    """Take the reason of a cut where nobody counts them."""


class HttpProtocol(HttpToolsProtocol):
    """HTTP whose heads are bounded in size and time, however slowly they trickle in.

    So is what else a peer may leave undone: a body that was refused, the next request, an answer that is not read.
    """

    max_head_s = 30.0
    """How long the head of a request may take, not extended by traffic; and how long a peer may read nothing."""

    max_in_all = 2000
    """How many connections may be open at once that are no WebSockets."""

    max_of_peer = 1000
    """How many of them one peer may have."""

    refusal = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    """What somebody is answered for whom there is no room."""

    on_cut: Callable[[str], None] = staticmethod(_nobody_minds)
    """Told why a connection ends that its peer did not end, in one word."""

    peer_of: Callable[[str], str | None] = staticmethod(str)
    """Returns who counts as one peer, by the address; None for who may have as many as they like."""

    crowd: ClassVar[set[HttpProtocol]] = set()
    """All that are open and no WebSockets."""

    peers: ClassVar[Counter[str]] = Counter()
    """How many connections each peer has."""

    def connection_made(self, transport: BaseTransport) -> None:
        """Start the clock: whoever connects has to say something."""
        super().connection_made(cast("asyncio.Transport", transport))
        self._peer = self.peer_of(self.client[0]) if self.client else None
        if self._peer is not None:
            self.peers[self._peer] += 1
        self.crowd.add(self)
        self._unread_bytes = 0
        self._has_read = False
        self._deadline: asyncio.TimerHandle | None = None
        self._next_look = self.loop.call_later(self.max_head_s, self._look)
        self._expect_head()
        of_peer = 0 if self._peer is None else self.peers[self._peer]
        if len(self.crowd) > self.max_in_all or of_peer > self.max_of_peer:
            self.on_cut("too_many")
            self.transport.write(self.refusal)
            # Before its head was read: who says nothing would stay until then.
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Count the bytes of a head; other bytes are counted by whoever reads them."""
        if self._is_idle():
            self._expect_after(len(data))
        elif self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES + len(data):
                self.on_cut("large_head")
                self.send_400_response("The head of the request is too large.")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Start the clock for a further request on the same connection, and let whoever answers it cut that off."""
        super().on_message_begin()
        self.scope["state"]["abort"] = self.transport.abort
        if not self._in_head:
            self._stop_clock()
            self._expect_head()

    def on_headers_complete(self) -> None:
        """Stop the clock."""
        self._stop_clock()
        self._in_head = False
        super().on_headers_complete()

    def resume_writing(self) -> None:
        """Note that the peer reads."""
        self._has_read = True
        super().resume_writing()

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to the other protocol."""
        self._next_look.cancel()
        self._leave()
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        self._next_look.cancel()
        self._leave()
        super().connection_lost(exc)

    def _leave(self) -> None:
        """Count the connection no longer."""
        self.crowd.discard(self)
        if self._peer is not None:
            self.peers[self._peer] -= 1
            if not self.peers[self._peer]:
                del self.peers[self._peer]
            self._peer = None

    def _is_idle(self) -> bool:
        """Say whether a request was answered, and no other has begun."""
        return not self._in_head and self.cycle.response_complete

    def _expect_head(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        self._deadline = self.loop.call_later(self.max_head_s, self._cut, "slow_head")

    def _expect_after(self, size: int) -> None:
        """Give a peer that was answered time for what it still sends: uvicorn's own limit ends with its next byte."""
        if self._deadline is None:
            self._answered_at, self._late_bytes = self.loop.time(), 0
        self._stop_clock()
        # The rest of a body that was refused may be long; it has to come at some speed.
        self._late_bytes += size
        until = self._answered_at + self.max_head_s + self._late_bytes / MIN_BYTES_S
        self._deadline = self.loop.call_at(until, self._cut, "slow_body")

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _look(self) -> None:
        """Cut off a peer that has taken nearly nothing of an answer since we last looked."""
        waiting = self.transport.get_write_buffer_size()
        taken = self._unread_bytes - waiting
        if waiting and self._unread_bytes and not self._has_read and taken < MIN_BYTES_S:
            self._cut("unread")
            return
        self._unread_bytes, self._has_read = waiting, False
        self._next_look = self.loop.call_later(self.max_head_s, self._look)

    def _cut(self, reason: str) -> None:
        self.on_cut(reason)
        self.transport.abort()


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """WebSocket whose messages come in a bounded number of frames, and whose end cannot be delayed by the peer."""

    max_fragments = 4096
    """In how many frames a message may come; empty ones cost us memory too, and the size limit does not see them."""

    max_unread_bytes = 16 * 2**20
    """How many bytes may wait for a peer that does not read but keeps sending pings."""

    on_cut: Callable[[str], None] = staticmethod(_nobody_minds)
    """Told why a connection ends that its peer did not end, in one word."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # It would log every header and message, tokens and notes with them, wherever somebody asks for debug output.
        self.conn.debug = False
        self._fragments = 0
        self._is_heard = False
        """Whether the peer has sent anything since our last ping."""
        self._last_resort: asyncio.TimerHandle | None = None

    def handle_text(self, event: Frame) -> None:
        """Start a message."""
        self._fragments = 1
        super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        """Start a message."""
        self._fragments = 1
        super().handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        """Continue a message, unless that has been going on for too long."""
        if self.close_sent:
            return
        self._fragments += 1
        if self._fragments > self.max_fragments:
            self.frames = []
            self.conn.fail(1009, "too many fragments")
            self.handle_parser_exception()
            self._abort_soon()
            return
        super().handle_cont(event)

    def handle_ping(self) -> None:
        """Answer, if the peer reads answers."""
        super().handle_ping()
        if self.transport.get_write_buffer_size() > self.max_unread_bytes:
            self.on_cut("unread")
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Note that the peer is there."""
        self._is_heard = True
        super().data_received(data)

    def send_keepalive_ping(self) -> None:
        """Ask whether the peer is there."""
        self._is_heard = False
        super().send_keepalive_ping()

    def keepalive_timeout(self) -> None:
        """Give up a peer that does not answer; it will not read what is left either.

        Where it sends faster than the application takes, its answer stands behind what we have not read: we ask again.
        """
        if (self._is_heard or self.read_paused) and not self.close_sent:
            self.pong_timer = self.pending_ping_payload = None
            self.schedule_ping()
            return
        self.on_cut("silent")
        super().keepalive_timeout()
        self._abort_soon()

    def handle_parser_exception(self) -> None:
        """Close because of what the peer sent."""
        super().handle_parser_exception()
        code = self.conn.close_sent.code if self.conn.close_sent else 0
        self.on_cut({1002: "bad_frame", 1007: "bad_text", 1009: "large_message"}.get(code, "bad_frame"))
        self._abort_soon()

    def shutdown(self) -> None:
        """Close because the server stops."""
        super().shutdown()
        self._abort_soon()

    async def run_asgi(self) -> None:
        """Run the application, and see to it that the connection ends soon after it."""
        await super().run_asgi()
        self._abort_soon()

    async def send(self, message: ASGISendEvent) -> None:
        """Send; only closing does not wait for a peer that reads nothing."""
        if self.handshake_complete and self.close_sent:
            raise ClientDisconnected
        if message["type"] == "websocket.close":
            self.writable.set()
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            # The base class takes an answer in HTTP for none, and logs an error for everyone who is refused.
            self.handshake_complete = self.close_sent

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._last_resort is not None:
            self._last_resort.cancel()
        super().connection_lost(exc)

    def _abort_soon(self) -> None:
        """Let go in a while, even if the peer never takes what is buffered."""
        if self._last_resort is None and not self.disconnected:
            self._last_resort = self.loop.call_later(LINGER_S, self.transport.abort)


def http_protocol(
    *,
    max_head_s: float,
    max_in_all: int,
    max_of_peer: int,
    peer_of: Callable[[str], str | None],
    refusal: bytes,
    on_cut: Callable[[str], None],
) -> type[Any]:
    """Return the HTTP protocol with these limits, and nobody connected."""
    limits = {"max_head_s": max_head_s, "max_in_all": max_in_all, "max_of_peer": max_of_peer, "refusal": refusal}
    calls = {"peer_of": staticmethod(peer_of), "on_cut": staticmethod(on_cut)}
    return type("HttpProtocol", (HttpProtocol,), {**limits, **calls, "crowd": set(), "peers": Counter()})


def websocket_protocol(*, max_fragments: int, max_unread_bytes: int, on_cut: Callable[[str], None]) -> type[Any]:
    """Return the WebSocket protocol with these limits."""
    limits = {"max_fragments": max_fragments, "max_unread_bytes": max_unread_bytes, "on_cut": staticmethod(on_cut)}
    return type("WebSocketProtocol", (WebSocketProtocol,), limits)
