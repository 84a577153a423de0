"""A reconnect with nothing to do: one round trip and under 1 KiB each way, whatever the vault's size."""

from __future__ import annotations

import json
import time
from pathlib import Path

from websockets.sync.client import connect

from benchmarks.running import milliseconds, server


def run(folder: Path) -> None:
    """Count the bytes of the messages for an empty vault and for one of 10,000 notes."""
    with server(folder) as (port, _):
        address = f"ws://127.0.0.1:{port}/ws/sync?device_id=device"
        for notes in (0, 10_000):
            cursor, epoch = fill(address, notes)
            hello = json.dumps({"type": "sync_push", "changes": [], "last_ack": cursor, "id": 1, "epoch": epoch})
            times = []
            for _ in range(50):
                with connect(address, compression=None) as connection:
                    started = time.perf_counter()
                    connection.send(hello)
                    answer = connection.recv(timeout=10)
                    times.append(time.perf_counter() - started)
            print(
                f"{notes:6} notes   sent {len(hello)} bytes, received {len(answer)} bytes, one round trip, "
                f"{milliseconds(times)}"
            )


def fill(address: str, notes: int) -> tuple[int, str]:
    """Write notes and return the log's clock and epoch."""
    with connect(address, compression=None, max_size=2**26) as connection:
        cursor, epoch = 0, ""
        for start in range(0, max(notes, 1), 500):
            changes = [
                {"key": f"note:{number}.md", "value": "x" * 2000, "timestamp": number + 1, "device_id": "device"}
                for number in range(start, min(start + 500, notes))
            ]
            push = {"type": "sync_push", "changes": changes, "last_ack": cursor, "id": start}
            connection.send(json.dumps(push))
            answered, behind = False, 0
            while not answered or behind:
                answer = json.loads(connection.recv(timeout=60))
                cursor, epoch, behind = answer["ack_timestamp"], answer["epoch"], answer.get("behind", 0)
                answered = answered or answer.get("id") == start
        return cursor, epoch
