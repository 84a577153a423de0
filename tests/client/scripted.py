"""A server that says what a test tells it to: for what the real one never does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

Message = dict[str, Any]


class Talk:
    """One connection, from the server's side."""

    def __init__(self, socket: ServerConnection, number: int) -> None:
        self.socket = socket
        self.number = number
        """Which connection this is, from 0."""

    async def push(self) -> Message:
        """Return the next message of the client's."""
        message: Message = json.loads(await self.socket.recv())
        assert message["type"] == "sync_push"
        return message

    async def question(self) -> Message:
        """Return the next push that wants an answer."""
        while "id" not in (push := await self.push()):
            assert push["changes"] == []
        return push

    async def send(self, **message: Any) -> None:
        """Send a message, by default an empty `sync_ack`."""
        await self.socket.send(json.dumps({"type": "sync_ack", "changes": [], **message}))

    async def answer(self, push: Message, ack_timestamp: int = 1, **message: Any) -> None:
        """Accept a push."""
        await self.send(id=push["id"], ack_timestamp=ack_timestamp, epoch="1-aa", **message)

    async def stay(self) -> None:
        """Accept whatever comes, until the client goes."""
        async for data in self.socket:
            push = json.loads(data)
            if "id" in push:
                await self.answer(push, push.get("last_ack", 0))


@asynccontextmanager
async def scripted(script: Callable[[Talk], Awaitable[None]]) -> AsyncIterator[str]:
    """Run a server that plays a script on every connection; yield its endpoint."""
    count = 0

    async def play(socket: ServerConnection) -> None:
        nonlocal count
        count += 1
        await script(Talk(socket, count - 1))

    async with serve(play, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws/sync"
