from __future__ import annotations

import hashlib
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.changes import DOTS, at, changes_of_one_key, delete, dots, names, reordered, survivors, write
from laws import law
from tidenote.core.register import EMPTY, Context, Register, join_all
from tidenote.core.version import Change, Dot, Head

CONTEXTS = st.builds(
    lambda floor, seen: Context(floor, frozenset(dot for dot in seen if dot.timestamp > floor)),
    st.integers(0, 9),
    st.frozensets(DOTS, max_size=6),
)
REGISTERS = changes_of_one_key().map(join_all)


@st.composite
def registers_of_one_history(draw: st.DrawFn) -> list[Register]:
    """Draw three replicas, each of which has seen some of the same changes."""
    changes = draw(changes_of_one_key())
    some = st.lists(st.sampled_from(changes), max_size=8) if changes else st.just([])
    return [join_all(draw(some)) for _ in range(3)]


# -- section by section: what one sentence each promises


def test_a_context_covers_what_lies_at_or_below_its_floor_and_what_it_names() -> None:
    context = Context(5, dots("7a 9b"))
    assert [name for name in "4z 5a 6a 7a 7b 9b 9c".split() if context.covers(at(name))] == ["4z", "5a", "7a", "9b"]


def test_united_contexts_keep_the_greater_floor_and_no_dot_below_it() -> None:
    assert Context(5, dots("7a 9b")).unite(Context(7, dots("8c"))) == Context(7, dots("8c 9b"))


def test_dots_can_be_taken_out_of_a_context_but_not_from_below_its_floor() -> None:
    assert Context(5, dots("7a 9b")).without([at("7a"), at("3c")]) == Context(5, dots("9b"))


def test_the_context_of_a_change_is_its_base_and_never_its_own_dot() -> None:
    register = Register.of(write("5a", base="2b 3c"))
    assert register.context == Context(0, dots("2b 3c"))
    assert not register.context.covers(at("5a"))


def test_a_blind_change_has_seen_all_that_is_older() -> None:
    assert Register.of(write("5a")).context == Context(4)


def test_there_was_nothing_is_not_the_same_as_nothing_said() -> None:
    assert Register.of(write("5a", base="")).context == Context()


@pytest.mark.parametrize(
    ("changes", "siblings"),
    [
        ([], ""),
        # Based writes: a chain, a fork, a join.
        ([write("1a", base=""), write("2a", base="1a")], "2a"),
        ([write("1a", base=""), write("2a", base="1a"), write("3b", base="1a")], "2a 3b"),
        ([write("1a", base=""), write("2a", base="1a"), write("3b", base="1a"), write("4a", base="2a 3b")], "4a"),
        # Created on two devices.
        ([write("1a", base=""), write("1b", base="")], "1a 1b"),
        # An edit while a conflict is open names what was shown; the other one stays.
        ([write("1a", base=""), write("2b", base=""), write("3c", base="2b")], "1a 3c"),
        # The author's later write does not say that its reader saw the earlier one.
        ([write("1a", base=""), write("5a", base="1a"), write("6b", base="5a")], "6b"),
        ([write("1a", base=""), write("3a", base=""), write("6b", base="3a")], "1a 6b"),
        # Blind writes are last-writer-wins; equal timestamps stay.
        ([write("1a"), write("2b")], "2b"),
        ([write("2a"), write("1b")], "2a"),
        ([write("2a"), write("2b")], "2a 2b"),
        ([write("2a"), write("2b"), write("3a")], "3a"),
        # A blind write hides concurrent smaller ones, whatever they are based on.
        ([write("1a", base=""), write("2b", base="1a"), write("3c")], "3c"),
        # A blind write against a newer based one: siblings without a common base.
        ([write("4a", base="2b"), write("3c")], "3c 4a"),
        # A base that nobody knows covers itself only, should it arrive later.
        ([write("5a", base="3x")], "5a"),
        ([write("5a", base="3x"), write("3x", base="")], "5a"),
        ([write("5a", base="3x"), write("3y", base=""), write("2x", base="")], "2x 3y 5a"),
        # Deletions compete like any other change.
        ([write("1a", base=""), delete("2a", base="1a")], "2a"),
        ([write("1a", base=""), delete("2a", base="1a"), write("2b", base="1a")], "2a 2b"),
    ],
)
def test_siblings(changes: list[Change], siblings: str) -> None:
    for order in permutations(changes):
        assert names(join_all(order).siblings) == siblings


@pytest.mark.parametrize(
    ("changes", "winner"),
    [
        ([write("1a", base=""), write("2b", base="")], "2b"),
        ([write("2a", base=""), write("2b", base="")], "2b"),
        ([write("1a", base=""), delete("9b", base="")], "1a"),
        ([delete("1a", base=""), delete("2b", base="")], "2b"),
        ([write("1a", base=""), write("2b", base=""), delete("9b", base="")], "2b"),
        ([write("1a", "x", base=""), Change("note:a.md", at("2b"), "", base=frozenset())], "2b"),
    ],
)
def test_the_winner_is_the_greatest_that_is_no_deletion(changes: list[Change], winner: str) -> None:
    register = join_all(changes)
    assert register.winner is not None
    assert names([register.winner]) == winner


def test_a_key_that_nobody_wrote_has_no_winner() -> None:
    assert EMPTY.winner is None
    assert EMPTY.dots == frozenset()


def test_a_register_knows_its_siblings_by_their_dots_and_heads() -> None:
    register = join_all([delete("1a", base=""), write("2b", "text", base="", conflict=True)])
    content_hash = hashlib.sha256(b"text").hexdigest()
    assert register.dots == dots("1a 2b")
    assert register.heads == {at("1a"): Head(None), at("2b"): Head(content_hash, conflict=True)}


# -- the laws


@law()
@given(CONTEXTS, CONTEXTS, DOTS)
def test_a_united_context_covers_what_either_covers(first: Context, second: Context, dot: Dot) -> None:
    united = first.unite(second)
    assert united.covers(dot) == (first.covers(dot) or second.covers(dot))
    assert all(seen.timestamp > united.floor for seen in united.dots)


@law()
@given(registers_of_one_history())
def test_join_is_commutative_associative_and_idempotent(registers: list[Register]) -> None:
    a, b, c = registers
    assert a.join(b) == b.join(a)
    assert a.join(b).join(c) == a.join(b.join(c))
    assert a.join(a) == a
    assert a.join(EMPTY) == a


@law()
@given(registers_of_one_history())
def test_join_is_monotone(registers: list[Register]) -> None:
    a, b, c = registers
    joined = a.join(b)
    assert joined.join(a) == joined
    # What one state has seen or replaced, every later one has.
    assert a.join(c).join(joined.join(c)) == joined.join(c)
    assert all(joined.context.covers(dot) for dot in a.context.dots | b.context.dots)


@law()
@given(st.data())
def test_any_order_and_duplication_of_the_same_changes_gives_the_same_register(data: st.DataObject) -> None:
    changes = data.draw(changes_of_one_key())
    assert join_all(data.draw(reordered(changes))) == join_all(changes)


@law()
@given(st.data())
def test_it_does_not_matter_who_joined_what_first(data: st.DataObject) -> None:
    changes = data.draw(changes_of_one_key())
    replicas = [Register.of(change) for change in data.draw(reordered(changes))]
    while len(replicas) > 1:
        first = replicas.pop(data.draw(st.integers(0, len(replicas) - 1)))
        other = data.draw(st.integers(0, len(replicas) - 1))
        replicas[other] = replicas[other].join(first)
    assert (replicas or [EMPTY])[0] == join_all(changes)


@law()
@given(changes_of_one_key())
def test_siblings_are_what_no_other_change_has_seen(changes: list[Change]) -> None:
    assert list(join_all(changes).siblings) == survivors(changes)


@law()
@given(changes_of_one_key())
def test_a_register_that_was_written_is_never_empty(changes: list[Change]) -> None:
    register = join_all(changes)
    assert bool(register.siblings) == bool(changes)
    if changes:
        greatest = max(change.dot.timestamp for change in changes)
        assert {change.dot for change in changes if change.dot.timestamp == greatest} <= register.dots


@law()
@given(st.lists(DOTS, unique=True, min_size=1, max_size=8))
def test_blind_writes_among_themselves_are_last_writer_wins(found: list[Dot]) -> None:
    register = join_all(Change("note:a.md", dot, "x") for dot in found)
    latest = max(dot.timestamp for dot in found)
    assert register.dots == {dot for dot in found if dot.timestamp == latest}


@law()
@given(st.data())
def test_an_open_conflict_is_closed_by_naming_all_of_it(data: st.DataObject) -> None:
    register = join_all(data.draw(changes_of_one_key().filter(bool)))
    settled = Change("note:a.md", Dot(100, "z"), "x", base=register.dots)
    assert register.join(Register.of(settled)).siblings == (settled,)
