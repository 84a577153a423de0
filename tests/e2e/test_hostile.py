"""Hostile peers against a real server process: its memory stays bounded, and somebody else works on beside them."""

from __future__ import annotations

import asyncio
import json
import struct
import subprocess
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect

from core.test_merge import HARD
from e2e.processes import Process, World, world

pytestmark = [pytest.mark.e2e, pytest.mark.anyio, pytest.mark.timeout(300)]

PATIENCE_S = 120.0
MIB = 2**20

MAX_GROWTH = 96 * MIB
"""How much the server may grow under one attack: some messages of the largest size, however many were sent."""

MAX_GROWTH_BY_CROWDED_PUSHES = 256 * MIB
"""The same where one message holds millions of changes: each is an object for a moment, until they are counted."""


@dataclass
class Victim:
    """A server under attack, and a device that is delivered to meanwhile."""

    here: World
    server: Process
    writer: ClientConnection
    reader: ClientConnection
    written: int = 0

    def memory(self) -> int:
        """Return the server's resident bytes."""
        told = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(self.server.process.pid)], capture_output=True, text=True, check=True
        )
        return int(told.stdout) * 1024

    def most_memory(self) -> int:
        """Return the most resident bytes that the server ever had, where the system tells; else those it has now."""
        status = Path(f"/proc/{self.server.process.pid}/status")
        if not status.exists():
            return self.memory()
        told = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        return int(told["VmHWM"].split()[0]) * 1024

    async def deliver(self) -> None:
        """Let a change go from one device to another."""
        self.written += 1
        change = {"key": "note:live.md", "value": f"{self.written}", "timestamp": self.written, "device_id": "writer"}
        async with asyncio.timeout(PATIENCE_S):
            await self.writer.send(json.dumps({"type": "sync_push", "changes": [change], "last_ack": 0, "id": 1}))
            while not any(found["value"] == change["value"] for found in (await self.heard())):
                pass

    async def heard(self) -> list[dict[str, str]]:
        """Return what the next message delivers."""
        changes: list[dict[str, str]] = json.loads(await self.reader.recv())["changes"]
        return changes


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


@pytest.fixture
async def victim(here: World) -> AsyncIterator[Victim]:
    settings = here.root / "tidenote.toml"
    settings.write_text("[server]\nrequest_timeout_ms = 3000\nshutdown_timeout_ms = 1000\n", encoding="utf-8")
    server = here.serve("--config", str(settings))
    async with (
        connect(f"{here.endpoint}?device_id=writer", max_size=2**25, max_queue=None) as writer,
        connect(f"{here.endpoint}?device_id=reader", max_size=2**25) as reader,
    ):
        for socket in (writer, reader):
            await socket.send('{"type": "sync_push", "changes": [], "last_ack": 0}')
            await socket.recv()
        yield Victim(here, server, writer, reader)
    assert "Traceback" not in server.output


@asynccontextmanager
async def raw(
    victim: Victim, *, upgrade: bool = True
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", victim.here.port)
    try:
        if upgrade:
            writer.write(
                b"GET /ws/sync?device_id=raw HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
                b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
            )
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 101")
            assert b"permessage-deflate" not in answer.lower()
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def frame(opcode: int, payload: bytes = b"", *, fin: bool, rsv1: bool = False) -> bytes:
    """Return a client's frame, masked with zeros."""
    head = bytes([opcode | (0x80 if fin else 0) | (0x40 if rsv1 else 0)])
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0xFF]) + struct.pack(">Q", len(payload))
    return head + size + bytes(4) + payload


async def pour(writer: asyncio.StreamWriter, pieces: Iterator[bytes]) -> int:
    """Send until the server closes, or everything is sent; return how many bytes that were."""
    sent = 0
    with suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)
    return sent


async def ends(reader: asyncio.StreamReader) -> None:
    """Wait until the server has closed."""
    async with asyncio.timeout(PATIENCE_S):
        with suppress(ConnectionError):
            await reader.read()


def empty_fragments() -> Iterator[bytes]:
    yield frame(1, fin=False)
    block = frame(0, fin=False) * 10_000
    for _ in range(500):
        yield block


def one_huge_message() -> Iterator[bytes]:
    yield bytes([0x81, 0xFF]) + struct.pack(">Q", 2**32) + bytes(4)
    for _ in range(1024):
        yield bytes(MIB)


def a_deflate_bomb() -> Iterator[bytes]:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(packer.compress(bytes(MIB)) for _ in range(512)) + packer.flush(zlib.Z_SYNC_FLUSH)
    for _ in range(20):
        yield frame(1, bomb[:-4], fin=True, rsv1=True)


def malformed_messages() -> Iterator[bytes]:
    for number in range(2000):
        yield frame(1, b"[" * 100_000 + str(number).encode(), fin=True)


def many_keys() -> Iterator[bytes]:
    wide = "{" + ",".join(f'"{number}": 1' for number in range(500_000)) + "}"
    for _ in range(50):
        yield frame(1, wide.encode()[: 7 * MIB], fin=True)


def crowded_pushes() -> Iterator[bytes]:
    changes = ",".join(["{}"] * 2_500_000)
    for number in range(20):
        push = f'{{"type": "sync_push", "last_ack": 0, "id": {number}, "changes": [{changes}]}}'
        yield frame(1, push.encode(), fin=True)


@pytest.mark.parametrize(
    "attack",
    [empty_fragments, one_huge_message, a_deflate_bomb, malformed_messages, many_keys, crowded_pushes],
    ids=lambda attack: attack.__name__,
)
async def test_h1_h2_h3_floods_end_the_connection_and_cost_bounded_memory(
    victim: Victim, attack: Callable[[], Iterator[bytes]], record_property: Callable[[str, object], None]
) -> None:
    await victim.deliver()
    before = victim.memory()
    peak = before
    async with raw(victim) as (reader, writer):
        pouring = asyncio.create_task(pour(writer, attack()))
        while not pouring.done():
            await victim.deliver()
            peak = max(peak, victim.most_memory())
        await ends(reader)
    await victim.deliver()
    peak = max(peak, victim.most_memory())
    record_property("sent_mib", round(pouring.result() / MIB, 1))
    record_property("growth_mib", round((peak - before) / MIB, 1))
    assert peak - before < (MAX_GROWTH_BY_CROWDED_PUSHES if attack is crowded_pushes else MAX_GROWTH)


async def test_h3_a_device_that_sends_all_it_may_at_once_holds_up_nobody_for_long(
    victim: Victim, record_property: Callable[[str, object], None]
) -> None:
    await victim.deliver()
    before, slowest = victim.memory(), 0.0
    changes = [
        {"key": f"note:flood/{number}.md", "value": f"{number}", "timestamp": number, "device_id": "raw"}
        for number in range(1, 20_001)
    ]
    async with connect(f"{victim.here.endpoint}?device_id=raw") as socket:
        for number in range(10):
            push = {"type": "sync_push", "changes": changes[2000 * number :][:2000], "last_ack": 0, "id": number}
            await socket.send(json.dumps(push))
        flooding = asyncio.create_task(answers(socket, 10))
        while not flooding.done():
            start = time.monotonic()
            await victim.deliver()
            slowest = max(slowest, time.monotonic() - start)
    assert [answer.get("rejected") for answer in await flooding] == [None] * 10
    record_property("slowest_delivery_s", round(slowest, 2))
    record_property("growth_mib", round((victim.most_memory() - before) / MIB, 1))
    assert victim.most_memory() - before < MAX_GROWTH


@pytest.mark.parametrize("name", ["all lines reversed", "every line changed on both sides"])
async def test_h12_texts_that_are_hard_to_merge_hold_up_nobody(
    victim: Victim, name: str, record_property: Callable[[str, object], None]
) -> None:
    await victim.deliver()
    slowest, texts = 0.0, HARD[name]
    async with connect(f"{victim.here.endpoint}?device_id=raw", max_size=2**25) as socket:
        base = [{"timestamp": 1, "device_id": "raw"}]
        for number, text in enumerate(texts):
            # What comes out is still small enough for a text; a larger one would stay a question.
            change = {"key": "note:hard.md", "value": text[:450_000], "timestamp": number + 1, "device_id": "raw"}
            if number:
                change["base"] = base
            push = {"type": "sync_push", "changes": [change], "last_ack": 0, "id": number}
            await socket.send(json.dumps(push))
        settling = asyncio.create_task(settled(socket))
        while not settling.done():
            start = time.monotonic()
            await victim.deliver()
            slowest = max(slowest, time.monotonic() - start)
        assert await settling
    record_property("slowest_delivery_s", round(slowest, 2))


async def settled(socket: ClientConnection) -> str:
    """Return the text that the server made of a note's two."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for change in json.loads(await socket.recv())["changes"]:
                if change["device_id"].startswith("server"):
                    text: str = change["value"]
                    return text


async def answers(socket: ClientConnection, number: int) -> list[dict[str, object]]:
    """Return so many answers to pushes that had an id, once all have come."""
    found: list[dict[str, object]] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < number:
            message = json.loads(await socket.recv())
            if "id" in message:
                found.append(message)
    return found


async def test_h4_slow_heads_and_silent_peers_are_cut_off_while_others_are_served(victim: Victim) -> None:
    before = victim.memory()
    opened = []
    for number in range(300):
        reader, writer = await asyncio.open_connection("127.0.0.1", victim.here.port)
        writer.write(b"GET / HTTP/1.1\r\nX-Slow: " if number % 2 else b"")
        opened.append((reader, writer))
    await victim.deliver()
    gone = [asyncio.create_task(ends(reader)) for reader, _ in opened]
    while not all(task.done() for task in gone):
        # A byte now and then gives nobody more time.
        for _, writer in opened:
            if not writer.is_closing():
                writer.write(b"x")
        await victim.deliver()
        await asyncio.wait(gone, timeout=0.2)
    for _, writer in opened:
        writer.close()
    assert victim.most_memory() - before < MAX_GROWTH


async def test_n5_a_peer_that_reads_nothing_costs_bounded_memory(
    victim: Victim, record_property: Callable[[str, object], None]
) -> None:
    await victim.deliver()
    before = peak = victim.memory()
    async with raw(victim) as (_, writer):
        writer.write(frame(1, b'{"type": "sync_push", "changes": [], "last_ack": 0}', fin=True))
        text = "x" * 200_000
        for number in range(300):
            change = {"key": f"note:{number}.md", "value": text, "timestamp": number + 1, "device_id": "writer"}
            await victim.writer.send(json.dumps({"type": "sync_push", "changes": [change], "last_ack": 0, "id": 1}))
            async with asyncio.timeout(PATIENCE_S):
                while not any(found["key"] == change["key"] for found in await victim.heard()):
                    pass
            peak = max(peak, victim.most_memory())
    record_property("growth_mib", round((peak - before) / MIB, 1))
    assert peak - before < MAX_GROWTH
