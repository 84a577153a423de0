"""Which keys a store names as open conflicts, the same for every store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from server.store.changes import change, note, take
from tidenote.core.version import UNDATED, Change, Dot
from tidenote.errors import AccessError
from tidenote.server.store.contract import Store
from tidenote.server.store.memory import MemoryStore
from tidenote.server.store.sql import DATABASE_FILE, SqlStore


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else SqlStore.open(tmp_path)
    made.create_vault("main")
    yield made
    made.close()


def conflict(store: Store, name: str) -> None:
    """Make two versions that nothing can unite."""
    for device in ("dev1", "dev2"):
        take(store, change(name, 1, f"by {device}", by=device, base=[]))


def merge(store: Store, name: str) -> Dot:
    """Make a merge that a person should look at, and return its dot."""
    first = Dot(1, "dev1")
    take(store, change(name, 1, "one\n\ntwo\n", base=[]))
    take(store, change(name, 5, "ONE\n\ntwo\n", base=[first]))
    take(store, change(name, 5, "one\n\nTWO\n", by="dev2", base=[first]))
    (entry,) = store.entries("main", [note(name)])
    assert entry.winner
    assert entry.winner.conflict
    return entry.winner.dot


def test_a_new_vault_has_none_and_an_unknown_one_is_refused(store: Store) -> None:
    assert store.open_conflicts("main", None, 10) == []
    with pytest.raises(AccessError):
        store.open_conflicts("other", None, 10)


def test_siblings_and_marked_merges_are_named_in_order(store: Store) -> None:
    take(store, change("a", 1))
    merge(store, "c")
    conflict(store, "d")
    conflict(store, "b")
    take(store, change("e", 1, base=[]), change("e", 2, base=[Dot(1, "dev1")]))
    assert store.open_conflicts("main", None, 10) == [note("b"), note("c"), note("d")]
    assert store.open_conflicts("main", None, 2) == [note("b"), note("c")]
    assert store.open_conflicts("main", note("c"), 2) == [note("d")]


def test_other_vaults_have_their_own(store: Store) -> None:
    store.create_vault("other")
    conflict(store, "a")
    assert store.open_conflicts("other", None, 10) == []


def test_an_edited_merge_stays_and_a_settled_or_deleted_one_goes(store: Store) -> None:
    marked = merge(store, "a")
    take(store, change("a", 20, "edited", base=[marked]))
    assert store.open_conflicts("main", None, 10) == [note("a")]
    take(store, Change(note("a"), UNDATED, "settled", base=frozenset([Dot(20, "dev1")])))
    assert store.open_conflicts("main", None, 10) == []
    marked = merge(store, "b")
    take(store, change("b", 30, None, base=[marked]))
    assert store.open_conflicts("main", None, 10) == []


def test_a_conflict_that_was_settled_is_not_named(store: Store) -> None:
    conflict(store, "a")
    take(store, Change(note("a"), UNDATED, "settled", base=frozenset([Dot(1, "dev1"), Dot(1, "dev2")])))
    assert store.open_conflicts("main", None, 10) == []


def test_marked_versions_are_found_by_an_index(tmp_path: Path) -> None:
    SqlStore.open(tmp_path).close()
    with create_engine(f"sqlite:///{tmp_path / DATABASE_FILE}").connect() as connection:
        plan = connection.execute(
            text(
                'EXPLAIN QUERY PLAN SELECT "key" FROM versions WHERE conflict IS 1 AND vault_id = 1 AND "key" > :after'
            ),
            {"after": ""},
        )
        assert any("versions_to_look_at" in row[3] for row in plan)
        connection.engine.dispose()
