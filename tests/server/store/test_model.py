"""Every store against the others and against the model: the plain join of all changes of a key."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.store.changes import WALL_MS, note, pages
from tidenote.core.register import join_all
from tidenote.core.version import Change, Dot
from tidenote.server.store.contract import Store
from tidenote.server.store.memory import MemoryStore
from tidenote.server.store.sql import SqlStore

KEYS = ["a", "b", "c"]
DEVICES = ["dev1", "dev2", "dev2~2"]
TIMESTAMPS = 12

_dots = st.builds(Dot, st.integers(1, TIMESTAMPS), st.sampled_from(DEVICES))


@st.composite
def _changes(draw: st.DrawFn) -> Change:
    """Draw a change from few names and few texts, so that they meet."""
    dot = draw(_dots)
    base = draw(st.none() | st.frozensets(_dots, max_size=3))
    key = draw(st.sampled_from(KEYS))
    value = draw(st.sampled_from(["x", "y", "z", None]))
    target = draw(st.none() | st.sampled_from([note(other) for other in KEYS if other != key]))
    return Change(
        note(key),
        dot,
        value,
        base=None if base is None else frozenset(seen for seen in base if seen.timestamp < dot.timestamp),
        moved_to=target if value is None else None,
    )


BATCHES = st.lists(st.lists(st.lists(_changes(), max_size=4), max_size=3), max_size=6)
"""Batches of pushes of changes."""


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    store = SqlStore.open(tmp_path_factory.mktemp("model"), new_token=lambda: "00000000")
    yield store
    store.close()


_NUMBERS = count()


@settings(max_examples=settings().max_examples // 4)
@given(batches=BATCHES, max_changes=st.integers(1, 5))
def test_sql_and_memory_agree_with_the_join_of_all_changes(
    sql: SqlStore, batches: list[list[list[Change]]], max_changes: int
) -> None:
    memory = MemoryStore(lambda: "00000000")
    vault = f"vault {next(_NUMBERS)}"
    stores: tuple[Store, ...] = (sql, memory)
    for store in stores:
        store.create_vault(vault)
    for pushes in batches:
        by_sql, by_memory = (
            store.take_in(vault, pushes, wall_ms=WALL_MS, check_blob=lambda _: True) for store in stores
        )
        assert by_sql == by_memory

    assert sql.vault(vault) == memory.vault(vault)
    assert pages(sql, vault=vault, max_changes=max_changes) == pages(memory, vault=vault, max_changes=max_changes)
    assert sql.manifest(vault, None, 10) == memory.manifest(vault, None, 10)
    for key in map(note, KEYS):
        history = sql.history(vault, key)
        assert history == memory.history(vault, key)
        _check_model(sql, vault, key)


def _check_model(store: Store, vault: str, key: str) -> None:
    """Check a key's entry against the join of its versions; context dots that have arrived need no room."""
    history = store.history(vault, key)
    entries = store.entries(vault, [key])
    if not history:
        assert entries == []
        return
    model = join_all(version.change for version in history)
    (entry,) = entries
    assert entry.register.siblings == model.siblings
    assert entry.register.context == model.context.without(version.dot for version in history)
    assert entry.changed_at == history[-1].receipt


@settings(max_examples=settings().max_examples // 4)
@given(changes=st.lists(_changes(), min_size=1, max_size=8), data=st.data())
def test_a_reader_who_follows_by_cursor_ends_with_what_the_store_holds(
    sql: SqlStore, changes: list[Change], data: st.DataObject
) -> None:
    vault = f"vault {next(_NUMBERS)}"
    sql.create_vault(vault)
    replica: dict[str, tuple[Change, ...]] = {}
    cursor = 0
    for change in changes:
        sql.take_in(vault, [[change]], wall_ms=WALL_MS, check_blob=lambda _: True)
        if data.draw(st.booleans()):
            page = sql.changes_since(vault, cursor, max_changes=2)
            replica |= {entry.key: entry.register.siblings for entry in page.entries}
            cursor = page.up_to
    for page in pages(sql, cursor, vault=vault, max_changes=2):
        replica |= {entry.key: entry.register.siblings for entry in page.entries}
    assert replica == {entry.key: entry.register.siblings for entry in sql.entries(vault, map(note, KEYS))}
