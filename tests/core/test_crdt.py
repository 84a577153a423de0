from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.changes import KEY, at, changes_of_one_key, delete, dots, names, reordered, write
from tidenote.core.clock import LamportClock
from tidenote.core.crdt import CrdtEngine, CrdtEntry
from tidenote.core.register import EMPTY, join_all
from tidenote.core.version import BlobRef


def test_a_write_is_based_on_what_is_shown() -> None:
    engine = CrdtEngine("a")
    first = engine.write(KEY, "one")
    second = engine.write(KEY, "two")
    assert first.base == frozenset()
    assert second.base == frozenset([first.dot])
    assert engine.winner(KEY) == second
    assert names(engine.entry(KEY).register.siblings) == names([second])


def test_a_write_may_name_its_base() -> None:
    engine = CrdtEngine("a")
    engine.apply(write("1b", base=""))
    engine.apply(write("1c", base=""))
    assert engine.write(KEY, "both", base=dots("1b 1c")).base == dots("1b 1c")
    assert len(engine.entry(KEY).register.siblings) == 1


def test_an_edit_leaves_a_sibling_alone_that_was_not_shown() -> None:
    engine = CrdtEngine("a")
    engine.apply(write("1b", base=""))
    engine.apply(write("1c", base=""))
    engine.write(KEY, "edit")
    assert [change.value for change in engine.entry(KEY).register.siblings] == ["1b", "edit"]


def test_blobs_deletions_and_renames() -> None:
    engine = CrdtEngine("a")
    picture = BlobRef("0" * 64, 3)
    assert engine.write("file:a.png", None, blob=picture).blob == picture
    engine.write(KEY, "text")
    tombstone = engine.write(KEY, None, moved_to="note:b.md")
    assert tombstone.deleted
    assert tombstone.moved_to == "note:b.md"
    assert {entry.key for entry in engine} == {"file:a.png", KEY}
    assert len(engine) == 2


def test_a_write_comes_after_everything_seen() -> None:
    engine = CrdtEngine("a", LamportClock(3))
    engine.apply(write("40b"))
    assert engine.write(KEY, "x").dot.timestamp > 40


def test_nothing_alters_twice() -> None:
    engine = CrdtEngine("a")
    assert engine.apply(write("5b", base=""))
    assert not engine.apply(write("5b", base=""))
    assert not engine.merge(CrdtEntry(KEY, EMPTY))
    assert not engine.merge(CrdtEntry("note:never.md", EMPTY))
    assert engine.winner("note:never.md") is None
    assert len(engine) == 1


def test_changes_come_in_the_order_in_which_they_altered_something() -> None:
    engine = CrdtEngine("a")
    engine.write("note:1.md", "x")
    engine.write("note:2.md", "x")
    cursor = max(entry.changed_at for entry in engine)
    engine.apply(write("90b", key="note:3.md"))
    engine.write("note:1.md", "y")
    assert [entry.key for entry in engine.changes_since(cursor)] == ["note:3.md", "note:1.md"]
    assert [entry.key for entry in engine.changes_since(0)] == ["note:2.md", "note:3.md", "note:1.md"]


def test_an_entry_has_the_winner_of_its_register() -> None:
    register = join_all([write("1a", base=""), delete("2b", base="")])
    winner = CrdtEntry(KEY, register).winner
    assert winner is not None
    assert winner.dot == at("1a")


@given(st.data())
def test_replicas_that_exchange_everything_agree(data: st.DataObject) -> None:
    changes = data.draw(changes_of_one_key())
    first, second = CrdtEngine("a"), CrdtEngine("b")
    for engine in (first, second):
        for change in data.draw(reordered(changes)):
            if data.draw(st.booleans()):
                engine.apply(change)
    for _ in range(2):
        for entry in list(first):
            second.merge(entry)
        for entry in list(second):
            first.merge(entry)
    assert first.entry(KEY).register == second.entry(KEY).register
