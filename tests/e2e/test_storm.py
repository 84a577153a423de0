"""Very many devices at once: after a restart of the server, and beside somebody who works on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from e2e.processes import World, world
from tidenote.client.policy import Connect, LinkState, Poll, Wait, lost, next_step, opened
from tidenote.config import SyncConfig

pytestmark = [pytest.mark.e2e, pytest.mark.anyio, pytest.mark.timeout(300)]

DEVICES = 2000
PATIENCE_S = 60.0
"""How long until everyone has what was written."""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * DEVICES) if hard > 0 else 4 * DEVICES, hard))
    with world(tmp_path) as made:
        yield made
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@dataclass
class Device:
    """A device that only listens, and comes back as the link's policy says."""

    number: int
    endpoint: str
    cursor: int = 0
    tries: int = 0
    notes: set[str] = field(default_factory=set)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        config = SyncConfig(f"d{self.number}", self.endpoint)
        chance, state = random.Random(self.number), LinkState()
        while True:
            step = next_step(state, config, _now_ms())
            if isinstance(step, Wait):
                await asyncio.sleep(step.ms / 1000)
                continue
            assert isinstance(step, Connect | Poll)
            self.tries += 1
            with contextlib.suppress(OSError, ConnectionClosed, InvalidHandshake, TimeoutError):
                async with connect(
                    f"{self.endpoint}?device_id={config.device_id}", compression=None, open_timeout=60
                ) as socket:
                    await self._listen(socket)
                    state = opened(state, _now_ms())
                    while True:
                        await self._take(socket)
            state = lost(state, config, _now_ms(), chance.random())

    async def _listen(self, socket: ClientConnection) -> None:
        await socket.send(json.dumps({"type": "sync_push", "changes": [], "last_ack": self.cursor}))
        await self._take(socket)

    async def _take(self, socket: ClientConnection) -> None:
        message = json.loads(await socket.recv())
        self.cursor = message["ack_timestamp"]
        self.notes |= {change["key"] for change in message["changes"]}
        self.news.set()


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


async def everyone_has(devices: list[Device], key: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        for device in devices:
            while key not in device.notes:
                device.news.clear()
                await device.news.wait()


async def write(endpoint: str, key: str, timestamp: int) -> None:
    async with connect(f"{endpoint}?device_id=writer") as socket:
        change = {"key": key, "value": "text", "timestamp": timestamp, "device_id": "writer"}
        push = {"type": "sync_push", "changes": [change], "last_ack": 0, "id": 1}
        await socket.send(json.dumps(push))
        assert "rejected" not in json.loads(await socket.recv())


async def test_n7_two_thousand_devices_come_back_after_a_restart(
    here: World, record_property: Callable[[str, object], None]
) -> None:
    settings = here.root / "tidenote.toml"
    settings.write_text(f"[server]\nmax_connections_per_address = {2 * DEVICES}\n", encoding="utf-8")
    server = here.serve("--config", str(settings))
    devices = [Device(number, here.endpoint) for number in range(DEVICES)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(device.run()) for device in devices]
        await write(here.endpoint, "note:before.md", 1)
        await everyone_has(devices, "note:before.md")
        server.kill()
        tries = [device.tries for device in devices]
        again = await asyncio.to_thread(here.serve, "--config", str(settings))
        began = time.monotonic()
        await write(here.endpoint, "note:after.md", 2)
        await everyone_has(devices, "note:after.md")
        record_property("all_back_after_s", round(time.monotonic() - began, 1))
        tries = [device.tries - before for device, before in zip(devices, tries, strict=True)]
        record_property("most_tries", max(tries))
        # They come back spread over the pauses of their policy, and not again and again.
        assert sum(tries) < 4 * DEVICES
        assert max(tries) < 20
        assert again.running
        # Whoever asks is answered beside all of them.
        await write(here.endpoint, "note:beside.md", 3)
        await everyone_has(devices, "note:beside.md")
        for task in tasks:
            task.cancel()
    assert "Traceback" not in again.output
