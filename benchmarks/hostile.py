"""Deliveries to others while somebody has the server merge the most expensive texts that it takes."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from pathlib import Path

import httpx
from websockets.sync.client import ClientConnection

from benchmarks.live import device
from benchmarks.running import milliseconds, server

ROUNDS = 300
PAIRS = 6
SIZE = 300_000
"""Characters of each of the three texts of a merge."""


def run(folder: Path) -> None:
    """Measure the same deliveries alone, then while pairs of hostile edits come one after the other."""
    with server(folder) as (port, _), contextlib.ExitStack() as open_ones:
        sender, receiver = (open_ones.enter_context(device(port, name)) for name in ("sender", "receiver"))
        alone = [deliver(sender, receiver, number) for number in range(1, ROUNDS)][20:]
        print(f"nobody else            {milliseconds(alone)}")
        done = threading.Event()
        attacker = threading.Thread(target=attack, args=(port, done))
        attacker.start()
        beside: list[float] = []
        while not done.is_set() or len(beside) < ROUNDS:
            beside.append(deliver(sender, receiver, ROUNDS + len(beside)))
        attacker.join()
        print(f"beside {PAIRS} such merges    {milliseconds(beside)}")
        print(f"the slowest            {max(beside) * 1e3:.0f} ms  (aim: below 300)")


def deliver(sender: ClientConnection, receiver: ClientConnection, number: int) -> float:
    """Return how long a change took to the other device, in s, whatever else comes on the way."""
    key = f"note:{number}.md"
    change = {"key": key, "value": "a line\n" * 300, "timestamp": number, "device_id": "sender"}
    started = time.perf_counter()
    sender.send(json.dumps({"type": "sync_push", "changes": [change], "last_ack": 0, "id": key}))
    while f'"{key}"' not in str(receiver.recv(timeout=60)):
        pass
    took = time.perf_counter() - started
    while json.loads(sender.recv(timeout=60)).get("id") != key:
        pass
    return took


def attack(port: int, done: threading.Event) -> None:
    """Push pairs of concurrent edits, each of a note of its own, until all are merged."""
    rnd = random.Random(1)
    keys = [f"note:hostile {number}.md" for number in range(PAIRS)]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
        for key in keys:
            base = [{"timestamp": 1, "device_id": "one"}]
            for who, timestamp, seen in (("one", 1, []), ("one", 2, base), ("two", 3, base)):
                text = "\n".join(rnd.choice("abcdef") for _ in range(SIZE // 2))
                change = {"key": key, "value": text, "timestamp": timestamp, "device_id": who, "base": seen}
                body = {"type": "sync_push", "changes": [change], "last_ack": 0}
                client.post("/api/v1/sync", params={"device_id": who}, json=body).raise_for_status()
        for key in keys:
            while len(client.post("/api/v1/fetch", json={"keys": [key]}).json()["changes"]) > 1:
                time.sleep(0.05)
    done.set()
