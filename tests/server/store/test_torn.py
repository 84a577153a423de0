"""The log after a power cut: its write-ahead log cut or zeroed at every frame, a byte more and a byte less."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tidenote.core.version import Change, Dot
from tidenote.server.store.sql import DATABASE_FILE, SqlStore
from wal import cuts, tear

WAL = f"{DATABASE_FILE}-wal"
COMMITS = 5


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """A data folder as a power cut leaves it, and the size of the write-ahead log after each acknowledged commit."""
    data = tmp_path_factory.mktemp("recorded")
    with closing(SqlStore.open(data)) as store:
        store.create_vault("main")
    sizes: list[int] = []
    with closing(SqlStore.open(data)) as store:
        for number in range(1, COMMITS + 1):
            # Two keys in a push, so that half of a commit would show.
            push = [
                Change(f"note:{name} {number}.md", Dot(number, "a"), f"{name} {number}", base=frozenset())
                for name in ("one", "other")
            ]
            assert len(store.take_in("main", [push], wall_ms=number, check_blob=bool).versions) == 2
            sizes.append((data / WAL).stat().st_size)
        torn = data.with_name("torn")
        torn.mkdir()
        for name in (DATABASE_FILE, WAL):
            shutil.copy(data / name, torn / name)
    return torn, sizes


@pytest.mark.parametrize("zeroed", [False, True])
def test_c7_what_is_left_is_a_prefix_of_the_commits(
    tmp_path: Path, recorded: tuple[Path, list[int]], *, zeroed: bool
) -> None:
    torn, sizes = recorded
    whole = (torn / WAL).read_bytes()
    seen: set[int] = set()
    for cut in cuts(torn / WAL):
        data = tmp_path / str(cut)
        data.mkdir()
        shutil.copy(torn / DATABASE_FILE, data / DATABASE_FILE)
        (data / WAL).write_bytes(tear(whole, cut, zeroed=zeroed))
        with closing(SqlStore.open(data)) as store:
            page = store.changes_since("main", 0)
            clock = store.vault("main").clock
            # It goes on from there.
            again = Change("note:again.md", Dot(99, "a"), "again", base=frozenset())
            assert store.take_in("main", [[again]], wall_ms=1, check_blob=bool).versions
        with closing(sqlite3.connect(data / DATABASE_FILE)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        kept = sum(size <= cut for size in sizes)
        found = {entry.key for entry in page.entries}
        expected = {f"note:{name} {number}.md" for name in ("one", "other") for number in range(1, kept + 1)}
        assert found == expected, f"cut at {cut}: every commit that was acknowledged by then, and no half of one"
        assert clock == (2 * kept + 1 if kept else 0)
        seen.add(kept)
        shutil.rmtree(data)
    assert seen == set(range(COMMITS + 1))
