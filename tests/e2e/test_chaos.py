"""Kill and stop anything at any moment, under load: three devices and their server."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from e2e.processes import World, eventually, tree_of, world
from e2e.vaults import fill

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(280)]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def test_kill_9_of_anyone_at_any_moment_of_a_first_sync(here: World) -> None:
    """One full folder, one with other notes, an empty one: all the same in the end, nothing made up, nothing lost."""
    rng = random.Random(2)
    fill(here.folder("a"))
    for number in range(40):
        (here.folder("b") / f"b {number}.md").write_text(f"only on b {number}\n", encoding="utf-8")
    expected = tree_of(here.folder("a")) | tree_of(here.folder("b"))
    running = {"server": here.serve(), **{name: here.sync(name) for name in "abc"}}
    for name in ("a", "c", "b", "a", "server", "c", "a"):
        time.sleep(rng.uniform(0.05, 1.5))
        running[name].kill()
        running[name] = here.serve() if name == "server" else here.sync(name)
    eventually(lambda: tree_of(here.folder("c")) == expected, "everything arrives")
    assert here.settle("a", "b", "c") == expected
    for name in "abc":
        # One that has only just begun does not yet hear a polite request.
        pid = running[name].process.pid
        eventually(lambda name=name, pid=pid: here.told(name).get("pid") == pid, "the daemon runs")  # type: ignore[misc]
        assert running[name].stop() == 0, here.log_of(name)
        here.once(name)  # what the stop left half done
        assert "0 operations" in here.once(name)
        assert not [path for path in here.folder(name).rglob(".tidenote-tmp-*") if ".tidenote" not in path.parts]
        assert "Traceback" not in here.log_of(name)
    assert "Traceback" not in here.log_of("server")


def test_sigterm_under_load_loses_no_acknowledgement(here: World) -> None:
    """A stopping server answers what it has read; a stopping daemon has sent, or still has, what was saved."""
    server = here.serve()
    daemon = here.sync("a")
    acknowledged: list[str] = []
    refusals: list[tuple[int, str]] = []
    for round_number in range(3):
        pid = daemon.process.pid
        eventually(lambda pid=pid: here.told("a").get("pid") == pid, "the daemon runs")  # type: ignore[misc]
        with connect(f"{here.endpoint}?device_id=plain") as socket:
            try:
                for number in range(1_000_000):
                    key = f"note:r{round_number}/{number}.md"
                    change = {"key": key, "value": "x" * 500, "timestamp": number + 1, "device_id": "plain"}
                    push = {"type": "sync_push", "changes": [change], "last_ack": 0, "id": number}
                    socket.send(json.dumps(push))
                    answer: dict[str, Any] = {}
                    while answer.get("id") != number:
                        answer = json.loads(socket.recv(timeout=20))
                        assert answer["type"] == "sync_ack" or answer["code"] == "server_stopping", answer
                        assert not answer.get("rejected"), answer
                    acknowledged.append(key.removeprefix("note:"))
                    (here.folder("a") / f"{round_number} {number}.md").write_text("saved", encoding="utf-8")
                    if number == 60:
                        server.process.terminate()
                        daemon.process.terminate()
            except ConnectionClosed as closed:
                if closed.rcvd:
                    refusals.append((closed.rcvd.code, closed.rcvd.reason))
        assert server.process.wait(timeout=30) == 0
        assert daemon.process.wait(timeout=30) == 0
        server = here.serve()
        daemon = here.sync("a")
    assert refusals == [(1012, "server_stopping")] * 3, "the server says goodbye"
    a = here.folder("a")
    saved = {path.name for path in a.glob("*.md")}
    eventually(lambda: {*acknowledged, *saved} <= tree_of(a).keys(), "what was acknowledged is there")
    here.sync("b")
    eventually(lambda: {*acknowledged, *saved} <= tree_of(here.folder("b")).keys(), "and on the other device")
    assert here.settle("a", "b").keys() == {*acknowledged, *saved}
    assert "Traceback" not in here.log_of("server") + here.log_of("a") + here.log_of("b")
