"""`kill -9` of the server and of a daemon at the points where something is half done: C1, C2, C4 to C6, C9."""

from __future__ import annotations

import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from e2e.processes import Process, World, eventually, tree_of, world
from tidenote.server.store.sql import DATABASE_FILE, SqlStore

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(280)]

NOTES = 12

MOMENTS = (1, 3, 8, 21, 34, 55, 89)
"""After how many system calls of a start to kill."""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def dying(when: str, point: str, number: int) -> list[str | Path]:
    """Return what runs a command until a point."""
    return [sys.executable, Path(__file__).with_name("dying.py"), when, point, str(number)]


def write(here: World, name: str, number: int) -> None:
    (here.folder(name) / f"{name} {number}.md").write_text(f"# {name}\n{number}\n", encoding="utf-8")


def write_until_it_dies(here: World, mortal: Process, *names: str) -> int:
    """Write a note in each folder, let it arrive in all others, and so on until a process is dead; return how often."""
    for number in range(1, 1000):
        for name in names:
            write(here, name, number)
        trees = [here.folder(name) for name in names]
        eventually(
            lambda trees=trees: not mortal.running or all(tree_of(tree) == tree_of(trees[0]) for tree in trees),  # type: ignore[misc]
            "the notes arrive, or the process dies",
        )
        if not mortal.running:
            assert mortal.process.returncode == -signal.SIGKILL, mortal.output
            return number
    raise AssertionError("the point was never reached")


def assert_each_was_written_once(here: World, expected: dict[str, bytes]) -> None:
    """Check the log of a server that is not running: one version of each note, and a sound database."""
    with closing(sqlite3.connect(here.data / DATABASE_FILE)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with closing(SqlStore.open(here.data)) as store:
        versions = Counter(
            (path, version.change.value) for path in expected for version in store.history("main", f"note:{path}")
        )
    assert versions == Counter((path, text.decode()) for path, text in expected.items())


@pytest.mark.parametrize(
    ("when", "point"),
    [
        ("before", "sqlalchemy.engine.default:DefaultDialect.do_commit"),
        ("after", "sqlalchemy.engine.default:DefaultDialect.do_commit"),
        ("before", "tidenote.server.store.sql:SqlStore.take_in"),
        ("before", "tidenote.server.pubsub:PubSub.publish"),
        ("after", "tidenote.server.pubsub:PubSub.publish"),
    ],
    ids=[
        "C2 before COMMIT",
        "C1 after COMMIT",
        "C2 before the transaction",
        "C1 before publishing",
        "C1 before answering",
    ],
)
def test_c1_c2_killed_around_a_commit_every_change_is_there_once(here: World, when: str, point: str) -> None:
    here.serve().stop()
    server = here.serve(within=dying(when, point, NOTES))
    a, b = here.sync("a"), here.sync("b")
    last = write_until_it_dies(here, server, "a", "b")
    # What is written while it is dead comes along.
    write(here, "a", last + 1)
    server = here.serve()
    expected = {
        f"{name} {number}.md": f"# {name}\n{number}\n".encode()
        for name in "ab"
        for number in range(1, last + 1 + (name == "a"))
    }
    eventually(lambda: here.settle("a", "b") == expected, "everything is everywhere")
    assert [process.stop() for process in (a, b, server)] == [0, 0, 0]
    assert_each_was_written_once(here, expected)


@pytest.mark.parametrize(
    ("when", "point"),
    [
        ("before", "tidenote.client.journal:Journal.write"),
        ("after", "tidenote.client.journal:Journal.write"),
        ("before", "tidenote.client.journal:Journal.apply"),
        ("after", "tidenote.client.journal:Journal.apply"),
        ("before", "tidenote.vault.files:RealFiles.write"),
        ("after", "tidenote.vault.files:RealFiles.write"),
        ("before", "tidenote.client.journal:Journal.set_bases"),
        ("after", "tidenote.client.journal:Journal.set_bases"),
    ],
    ids=[
        "C5 before an edit is in the outbox",
        "C6 after an edit is in the outbox",
        "before news are in the journal",
        "C6 after news and answers are in the journal",
        "C4 before a file is written",
        "C4 after a file is written",
        "C4 before it is remembered",
        "C4 after it is remembered",
    ],
)
def test_c4_c5_c6_a_daemon_killed_halfway_loses_nothing_and_repeats_nothing(here: World, when: str, point: str) -> None:
    server, a = here.serve(), here.sync("a")
    b = here.sync("b", within=dying(when, point, NOTES))
    last = write_until_it_dies(here, b, "a", "b")
    for name in "ab":
        write(here, name, last + 1)
    b = here.sync("b")
    expected = {
        f"{name} {number}.md": f"# {name}\n{number}\n".encode() for name in "ab" for number in range(1, last + 2)
    }
    eventually(lambda: here.settle("a", "b") == expected, "everything is everywhere")
    assert [process.stop() for process in (a, b)] == [0, 0]
    assert "0 operations" in here.once("b")
    assert not list(here.folder("b").glob(".tidenote-tmp-*"))
    assert server.stop() == 0
    assert_each_was_written_once(here, expected)


def test_c9_killed_again_and_again_while_it_recovers(here: World) -> None:
    """Each time a little later in what a start does; the server and a daemon, each after a dirty end."""
    here.serve().stop()
    server = here.serve(within=dying("after", "tidenote.server.store.sql:SqlStore.take_in", NOTES))
    a = here.sync("a")
    b = here.sync("b", within=dying("after", "tidenote.vault.files:RealFiles.write", NOTES // 2))
    last = write_until_it_dies(here, b, "a", "b")
    a.kill()
    server.kill()
    serve = ("serve", "--no-auth", "--data", here.data, "--port", str(here.port))
    deaths = 0
    for number in MOMENTS:
        process = here.start(f"server until {number}", *serve, within=dying("event", "-", number))
        eventually(lambda process=process: not process.running or "serves" in process.output, "it dies or runs")  # type: ignore[misc]
        deaths += not process.running
        process.stop()
    server = here.serve()
    for number in MOMENTS:
        b = here.sync("b", within=dying("event", "-", number))
        eventually(lambda b=b: not b.running or here.told("b").get("pid") == b.process.pid, "it dies or runs")  # type: ignore[misc]
        deaths += not b.running
        b.stop()
    assert deaths > len(MOMENTS)
    a, b = here.sync("a"), here.sync("b")
    expected = {
        f"{name} {number}.md": f"# {name}\n{number}\n".encode() for name in "ab" for number in range(1, last + 1)
    }
    eventually(lambda: here.settle("a", "b") == expected, "everything is everywhere")
    for name, process in (("a", a), ("b", b)):
        eventually(lambda name=name, process=process: here.told(name).get("pid") == process.process.pid, "it runs")  # type: ignore[misc]
        assert process.stop() == 0
        assert "0 operations" in here.once(name)
        assert "Traceback" not in here.log_of(name)
    assert server.stop() == 0
    assert_each_was_written_once(here, expected)
