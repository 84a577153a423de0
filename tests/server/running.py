"""A real server in the test's own process and event loop, on a port that the system chose; and plain clients for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tidenote.config import ServerConfig
from tidenote.server.serve import Running, running
from tidenote.server.service import now_ms
from tidenote.server.store.contract import Store
from tidenote.wire.messages import Role

Message = dict[str, Any]

PATIENCE_S = 30.0
"""How long a test waits for what must come; no test passes by waiting."""


@asynccontextmanager
async def running_server(
    data_dir: Path, *, store: Store | None = None, clock_ms: Callable[[], int] = now_ms, **settings: Any
) -> AsyncIterator[Running]:
    """Run a server while the context lasts; without tokens, unless the settings say otherwise."""
    config = ServerConfig(**{"data_dir": data_dir, "port": 0, "no_auth": True, **settings})
    async with running(config, store=store, clock_ms=clock_ms) as server:
        yield server


async def enrol(server: Running, device_id: str, vault: str | None = None, role: Role = "editor") -> str:
    """Let a device in, and return its token."""
    identity = server.service.identity
    invitation = await identity.invite(vault, device_id, role)
    _, token, _ = await identity.redeem(invitation.code, None)
    return token


def bearer(token: str) -> dict[str, str]:
    """Return the header that shows a token."""
    return {"Authorization": f"Bearer {token}"}


class PlainClient:
    """A device that knows the mandatory fields of the protocol and nothing else."""

    def __init__(self, socket: ClientConnection, device_id: str, last_ack: int = 0) -> None:
        self.socket = socket
        self.device_id = device_id
        self.last_ack = last_ack
        self.acknowledges = True
        self.notes: dict[str, list[Message]] = {}
        self.greeting: Message = {}
        """The answer to the first push."""
        self.deliveries: list[Message] = []
        """Every change that ever came, in order."""

    def change(self, key: str, value: str | None, timestamp: Any, **more: Any) -> Message:
        return {"key": key, "value": value, "timestamp": timestamp, "device_id": self.device_id, **more}

    async def send(self, *changes: Any, **more: Any) -> None:
        """Send a push, without waiting for anything."""
        last_ack = self.last_ack if self.acknowledges else 0
        await self.send_raw(json.dumps({"type": "sync_push", "changes": changes, "last_ack": last_ack, **more}))

    async def send_raw(self, data: str | bytes) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.socket.send(data)

    async def receive(self) -> Message:
        """Return the next message, and apply it."""
        async with asyncio.timeout(PATIENCE_S):
            message: Message = json.loads(await self.socket.recv())
        if message["type"] == "sync_ack":
            assert message["ack_timestamp"] >= self.last_ack
            self.last_ack = message["ack_timestamp"]
            listed: dict[str, list[Message]] = {}
            for change in message["changes"]:
                listed.setdefault(change["key"], []).append(change)
            self.notes.update(listed)
            self.deliveries += message["changes"]
        return message

    async def push(self, *changes: Any, **more: Any) -> Message:
        """Send a push with an id and return its answer; what is delivered before it is applied."""
        await self.send(*changes, **{"id": "q", **more})
        while True:
            message = await self.receive()
            if message["type"] == "error" or "id" in message:
                return message

    async def until(self, key: str, *values: str | None) -> None:
        """Receive until the siblings of a key have exactly these values."""
        while sorted(map(str, self.values(key))) != sorted(map(str, values)):
            await self.receive()

    def values(self, key: str) -> list[str | None]:
        """Return the values of a key's siblings."""
        return [change["value"] for change in self.notes.get(key, [])]

    def winner(self, key: str) -> Message:
        """Return the sibling that everyone shows."""
        changes = self.notes[key]
        living = [change for change in changes if change["value"] is not None] or changes
        return max(living, key=lambda change: (change["timestamp"], change["device_id"]))


@asynccontextmanager
async def plain_client(
    server: Running, device_id: str, last_ack: int = 0, *, query: str = "", **options: Any
) -> AsyncIterator[PlainClient]:
    """Connect a device that speaks first, as it must, and has caught up when the context begins."""
    url = f"{server.endpoint}?device_id={device_id}{query}"
    async with connect(url, max_size=2**26, **options) as socket:
        client = PlainClient(socket, device_id, last_ack)
        client.greeting = await client.push()
        yield client
