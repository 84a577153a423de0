"""A client with nothing but a WebSocket and the mandatory fields, against a real server process."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from websockets.sync.client import ClientConnection, connect

from e2e.processes import World, world

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

Message = dict[str, Any]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


class Plain:
    """A device that knows `key`, `value`, `timestamp`, `device_id`, `last_ack` and nothing else."""

    def __init__(self, here: World, device_id: str, last_ack: int = 0) -> None:
        self.device_id = device_id
        self.last_ack = last_ack
        self._leave = contextlib.ExitStack()
        self.socket: ClientConnection = self._leave.enter_context(
            connect(f"{here.endpoint}?device_id={device_id}", max_size=2**26)
        )
        self.notes: dict[str, list[Message]] = {}
        self.push()

    def change(self, key: str, value: str | None, timestamp: int) -> Message:
        return {"key": key, "value": value, "timestamp": timestamp, "device_id": self.device_id}

    def push(self, *changes: Message) -> Message:
        self.socket.send(json.dumps({"type": "sync_push", "changes": changes, "last_ack": self.last_ack}))
        return self.receive()

    def receive(self) -> Message:
        message: Message = json.loads(self.socket.recv(timeout=20))
        assert message["type"] == "sync_ack", message
        listed: dict[str, list[Message]] = {}
        for change in message["changes"]:
            listed.setdefault(change["key"], []).append(change)
        self.notes.update(listed)
        assert message["ack_timestamp"] >= self.last_ack
        self.last_ack = message["ack_timestamp"]
        return message

    def until(self, key: str, values: set[str | None]) -> None:
        while {change["value"] for change in self.notes.get(key, [])} != values:
            self.receive()

    def winner(self, key: str) -> str | None:
        best = max(self.notes[key], key=lambda c: (c["value"] is not None, c["timestamp"], c["device_id"]))
        value: str | None = best["value"]
        return value

    def close(self) -> None:
        self._leave.close()


def test_last_writer_wins_and_ties_keep_both(here: World) -> None:
    here.serve()
    one, two, watcher = Plain(here, "one"), Plain(here, "two"), Plain(here, "watcher")
    one.push(one.change("note:a.md", "newer", 10))
    watcher.until("note:a.md", {"newer"})
    two.push(two.change("note:a.md", "older", 5))
    two.until("note:a.md", {"newer"})
    two.push(two.change("note:a.md", "newest", 20))
    for device in (one, two, watcher):
        if device is not two:
            device.until("note:a.md", {"newest"})
    one.push(one.change("note:tie.md", "from one", 30))
    two.push(two.change("note:tie.md", "from two", 30))
    for device in (one, two, watcher):
        device.until("note:tie.md", {"from one", "from two"})
        assert device.winner("note:tie.md") == "from two"
    one.push(one.change("note:a.md", None, 40))
    watcher.until("note:a.md", {None})
    for device in (one, two, watcher):
        device.close()


def test_a_late_change_with_a_low_timestamp_is_seen_and_duplicates_come_once(here: World) -> None:
    here.serve()
    ahead, behind = Plain(here, "ahead"), Plain(here, "behind")
    ahead.push(ahead.change("note:high.md", "x", 1_000_000))
    behind.until("note:high.md", {"x"})
    cursor = behind.last_ack
    assert cursor > 1_000_000
    late = ahead.change("note:low.md", "late", 3)
    ahead.push(late)
    behind.until("note:low.md", {"late"})
    ahead.push(late)
    ahead.push(ahead.change("note:end.md", "end", 1_000_001))
    behind.until("note:end.md", {"end"})
    again = Plain(here, "behind2", cursor)
    again.until("note:end.md", {"end"})
    assert again.notes.keys() == {"note:low.md", "note:end.md"}
    for device in (ahead, behind, again):
        device.close()


def test_a_listener_that_never_acknowledges_gets_the_vault_whole(here: World) -> None:
    here.serve()
    writer = Plain(here, "writer")
    keys = [f"note:folder/{number}.md" for number in range(2000)]
    for start in range(0, len(keys), 250):
        writer.push(*(writer.change(key, f"text of {key}", 1 + start) for key in keys[start : start + 250]))
    listener = Plain(here, "listener")
    while len(listener.notes) < len(keys):
        listener.receive()
        listener.last_ack = 0
    assert {key: changes[0]["value"] for key, changes in listener.notes.items()} == {
        key: f"text of {key}" for key in keys
    }
    writer.close()
    listener.close()


def test_everything_acknowledged_survives_kill_9(here: World) -> None:
    server = here.serve()
    writer = Plain(here, "writer")
    acknowledged: dict[str, str | None] = {}
    for number in range(100):
        key = f"note:{number % 40}.md"
        writer.push(writer.change(key, f"text {number}", number + 1))
        acknowledged[key] = f"text {number}"
        if number % 25 == 24:
            server.kill()
            server = here.serve()
            writer = Plain(here, "writer", writer.last_ack)
    server.kill()
    here.serve()
    reader = Plain(here, "reader")
    while len(reader.notes) < len(acknowledged):
        reader.receive()
    assert {key: reader.winner(key) for key in reader.notes} == acknowledged
    reader.close()
    writer.close()
