"""What stands between a device and its server: it cuts, swallows and refuses, as networks do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """Forwards TCP connections to a port of this machine.

    Attributes:
        port: where it listens.
        target: the port that it forwards to; 0 refuses everyone.
        refusals: how many of the next connections are refused.
        sockets_blocked: answer upgrades to WebSocket with 403, as some companies do.
        swallow: take what the server says and pass none of it on.
        upload_limit: cut a connection after so many bytes that the device sent; None never.
        download_limit: cut a connection after so many bytes that the server sent; None never.
        limited: set when a limit has cut a connection.
        idle_s: cut a connection that is silent for so long, as proxies on the way do; None never.
        passed: how many pieces went through in either direction.
        heads: the first line of every request that opened a connection.
    """

    port: int = 0
    target: int = 0
    refusals: int = 0
    sockets_blocked: bool = False
    swallow: bool = False
    upload_limit: int | None = None
    download_limit: int | None = None
    limited: asyncio.Event = field(default_factory=asyncio.Event)
    idle_s: float | None = None
    passed: int = 0
    _enough: tuple[int, asyncio.Event] = field(default_factory=lambda: (0, asyncio.Event()))
    heads: list[str] = field(default_factory=list)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def endpoint(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/sync"

    async def has_passed(self, pieces: int) -> None:
        """Wait until so many pieces more went through."""
        self._enough = (self.passed + pieces, asyncio.Event())
        await self._enough[1].wait()

    def _count(self) -> None:
        self.passed += 1
        if self.passed >= self._enough[0]:
            self._enough[1].set()

    def cut(self) -> None:
        """Break every connection at once, without a goodbye."""
        for writer in list(self._open):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.decode("latin-1").split("\r\n", 1)[0])
            if self.refusals:
                self.refusals -= 1
            elif self.sockets_blocked and b"upgrade: websocket" in head.lower():
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\nConnection: close\r\n\r\nblocked")
                await writer.drain()
            elif self.target:
                await self._forward(head, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _forward(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._open.add(up_writer)
        try:
            up_writer.write(head)
            up = asyncio.create_task(self._up(reader, up_writer))
            down = asyncio.create_task(self._down(up_reader, writer))
            passed = -1
            while passed != self.passed and not (up.done() or down.done()):
                passed = self.passed
                await asyncio.wait([up, down], timeout=self.idle_s, return_when=asyncio.FIRST_COMPLETED)
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
        finally:
            self._open.discard(up_writer)
            up_writer.close()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = 0
        while data := await reader.read(2**16):
            writer.write(_up_to(self.upload_limit, sent, data))
            await writer.drain()
            sent += len(data)
            self._count()
            if self.upload_limit is not None and sent > self.upload_limit:
                self.limited.set()
                return

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = 0
        while data := await reader.read(2**16):
            if not self.swallow:
                writer.write(_up_to(self.download_limit, sent, data))
                await writer.drain()
            sent += len(data)
            self._count()
            if self.download_limit is not None and sent > self.download_limit:
                self.limited.set()
                return


def _up_to(limit: int | None, sent: int, data: bytes) -> bytes:
    """Return what of some bytes may still be passed on."""
    return data if limit is None else data[: max(0, limit - sent)]


@asynccontextmanager
async def proxy(target: int = 0) -> AsyncIterator[Proxy]:
    """Run a proxy while the context lasts."""
    made = Proxy(target=target)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.cut()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await server.wait_closed()
