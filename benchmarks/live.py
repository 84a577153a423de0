"""A change from one device to another through the server, beside a raw relay with one commit."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from websockets.sync.client import ClientConnection, connect

from benchmarks.running import free_port, milliseconds, process, server, until

ROUNDS = 400
NOTE = "a line of a note of the usual length, with some words in it\n" * 34  # about 2 KiB


def run(folder: Path) -> None:
    """Measure both in turns, so that whatever else the machine does meets both."""
    relay_port = free_port()
    with (
        server(folder) as (port, _),
        process(folder / "relay.log", "benchmarks.relay", str(relay_port), str(folder / "relay.db")),
        contextlib.ExitStack() as open_ones,
    ):
        until(lambda: listens(relay_port))
        ours = [open_ones.enter_context(device(port, name)) for name in ("sender", "receiver")]
        raw = [open_ones.enter_context(connect(f"ws://127.0.0.1:{relay_port}", compression=None)) for _ in range(2)]
        times: dict[str, list[float]] = {"raw": [], "tidenote": []}
        for number in range(ROUNDS):
            times["raw"].append(relay(raw[0], raw[1], message(number)))
            times["tidenote"].append(deliver(ours[0], ours[1], message(number)))
    warm = {name: measured[20:] for name, measured in times.items()}
    print(f"relay + one commit   {milliseconds(warm['raw'])}")
    print(f"tidenote             {milliseconds(warm['tidenote'])}")
    ratio = statistics.median(warm["tidenote"]) / statistics.median(warm["raw"])
    print(f"ratio of the p50     {ratio:.2f}  (aim: at most 3)")


def message(number: int) -> str:
    """Return a push with one change of about 2 KiB."""
    change = {"key": "note:live.md", "value": NOTE + str(number), "timestamp": number + 1, "device_id": "sender"}
    return json.dumps({"type": "sync_push", "changes": [change], "last_ack": 0})


@contextlib.contextmanager
def device(port: int, name: str) -> Iterator[ClientConnection]:
    """Connect a device that has caught up."""
    with connect(f"ws://127.0.0.1:{port}/ws/sync?device_id={name}", compression=None, max_size=None) as connection:
        connection.send('{"type": "sync_push", "changes": [], "last_ack": 0}')
        connection.recv(timeout=10)
        yield connection


def deliver(sender: ClientConnection, receiver: ClientConnection, push: str) -> float:
    """Return how long a change took to the other device, in s."""
    started = time.perf_counter()
    sender.send(push)
    received = json.loads(receiver.recv(timeout=10))
    took = time.perf_counter() - started
    assert received["changes"][0]["value"] == json.loads(push)["changes"][0]["value"]
    sender.recv(timeout=10)
    return took


def relay(sender: ClientConnection, receiver: ClientConnection, push: str) -> float:
    """Return how long a message took through the relay, in s."""
    started = time.perf_counter()
    sender.send(push)
    json.loads(receiver.recv(timeout=10))
    took = time.perf_counter() - started
    sender.recv(timeout=10)
    return took


def listens(port: int) -> bool:
    """Say whether the relay takes connections."""
    try:
        with connect(f"ws://127.0.0.1:{port}", compression=None):
            return True
    except OSError:
        return False
