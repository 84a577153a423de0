from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.changes import at, dots, write
from tidenote.core.ancestry import NoBase
from tidenote.core.sides import MAX_FINDS, MAX_TEXT_BYTES, OnTie, Side, greater_text, latest
from tidenote.core.version import BlobRef, Change
from tidenote.core.words import words

BASE = write("1a", "one\ntwo\nthree\n", base="")
TOP = "zero\none\ntwo\nthree\n"
BOTTOM = "one\ntwo\nthree\nfour\n"
BOTH = "zero\none\ntwo\nthree\nfour\n"
# Changes of the same words, which nobody can combine.
LEFT, RIGHT = "one\nto left\nthree\n", "one\nto right\nthree\n"


def unite(first: Change, second: Change, on_tie: OnTie = "review", base: Change | NoBase = BASE) -> Side | None:
    """Unite two changes, which does not depend on who is asked."""
    one, other = Side.of(first), Side.of(second)
    united = one.unite(other, base, on_tie)
    assert other.unite(one, base, on_tie) == united
    return united


def test_edits_in_different_places_are_merged_and_nobody_is_asked() -> None:
    united = unite(write("2a", TOP, modified_at=7), write("3b", BOTTOM, modified_at=5))
    assert united == Side(dots("2a 3b"), at("3b"), frozenset([2, 3]), BOTH, 7, live=False, conflict=False)


@pytest.mark.parametrize(
    ("on_tie", "text", "conflict"), [("review", BOTH, True), ("ask", None, False), ("merge", BOTH, False)]
)
def test_equal_timestamps(on_tie: OnTie, text: str | None, conflict: bool) -> None:
    united = unite(write("2a", TOP), write("2b", BOTTOM), on_tie)
    assert (united and united.text) == text
    assert bool(united and united.conflict) is conflict


@pytest.mark.parametrize("on_tie", ["review", "ask", "merge"])
def test_a_tie_with_a_side_that_changed_nothing_is_none(on_tie: OnTie) -> None:
    united = unite(write("2a", TOP), write("2b", BASE.value), on_tie)
    assert united
    assert (united.text, united.conflict) == (TOP, False)


@pytest.mark.parametrize("on_tie", ["review", "ask", "merge"])
def test_spots_are_merged_and_shown(on_tie: OnTie) -> None:
    united = unite(write("2a", LEFT), write("3b", RIGHT), on_tie)
    assert united
    assert {"left", "right"} <= set(united.text.split())
    assert united.conflict


@pytest.mark.parametrize(("on_tie", "merged"), [("review", False), ("ask", False), ("merge", True)])
def test_spots_and_equal_timestamps(on_tie: OnTie, merged: bool) -> None:
    united = unite(write("2a", LEFT), write("2b", RIGHT), on_tie)
    assert (united is not None) is merged
    assert not united or united.conflict


def test_front_matter_of_which_only_one_value_can_stay_is_a_spot() -> None:
    base = write("1a", "---\nstatus: open\n---\ntext\n", base="")
    first, second = (f"---\nstatus: {status}\n---\ntext\n" for status in ("done", "dropped"))
    united = unite(write("2a", first), write("3b", second), base=base)
    assert united
    assert (united.text, united.conflict) == (second, True)


@pytest.mark.parametrize("on_tie", ["review", "ask", "merge"])
@pytest.mark.parametrize("texts", [(TOP, BOTTOM), (LEFT, RIGHT)])
def test_live_edits_merge_silently(on_tie: OnTie, texts: tuple[str, str]) -> None:
    first, second = (write(name, text, live=True) for name, text in zip(("2a", "2b"), texts, strict=True))
    united = unite(first, second, on_tie)
    assert united
    assert (united.live, united.conflict) == (True, False)
    # Both have to be live.
    half = unite(first, replace(second, live=False), "review")
    assert half is None or (half.live, half.conflict) == (False, True)


def test_a_merge_that_nobody_looked_at_yet_still_wants_a_look() -> None:
    united = unite(write("2a", TOP, conflict=True), write("3b", BOTTOM))
    assert united
    assert united.conflict
    united = unite(write("2a", TOP), write("3b", TOP, conflict=True))
    assert united
    assert united.conflict


def test_equal_texts_need_no_base_and_are_no_tie() -> None:
    for base in (BASE, NoBase.NONE, NoBase.UNCLEAR):
        united = unite(write("2a", "x"), write("2b", "x"), "ask", base)
        assert united
        assert (united.text, united.conflict) == ("x", False)


def test_the_smaller_dot_comes_first() -> None:
    united = unite(write("2b", BOTTOM), write("3a", "one\ntwo\nthree\nfive\n"))
    assert united
    assert united.text == "one\ntwo\nthree\nfour\nfive\n"


def test_line_ends_stay_what_they_were() -> None:
    base, first, second = (text.replace("\n", "\r\n") for text in (BASE.value or "", TOP, BOTTOM))
    united = unite(write("2a", first), write("3b", second), base=write("1a", base))
    assert united
    assert united.text == BOTH.replace("\n", "\r\n")


def test_a_merge_that_would_be_too_long_is_not_made() -> None:
    half = MAX_TEXT_BYTES // 2
    base = write("1a", "x\n")
    first, second = "a" * (half - 2) + "\nx\n", "x\n" + "b" * (half - 2) + "\n"
    united = unite(write("2a", first), write("3b", second), base=base)
    assert united
    assert len(united.text) == MAX_TEXT_BYTES
    assert unite(write("2a", first), write("3b", f"{second}\n"), base=base) is None
    # Bytes count, not characters.
    assert unite(write("2a", first), write("3b", second.replace("b", "é", 1)), base=base) is None


def test_without_certainty_there_is_no_guess() -> None:
    for text in ("", "one", TOP):
        assert unite(write("2a", text), write("3b", BOTTOM), base=NoBase.UNCLEAR) is None


@pytest.mark.parametrize("base", [NoBase.NONE, Change("k", at("1a")), Change("k", at("1a"), blob=BlobRef("0" * 64, 1))])
@pytest.mark.parametrize("on_tie", ["review", "ask", "merge"])
def test_without_a_common_text_the_greater_text_stays_or_nobody_decides(base: Change | NoBase, on_tie: OnTie) -> None:
    united = unite(write("2a", BOTTOM), write("2b", "two\n"), on_tie, base)
    assert united
    assert (united.text, united.conflict) == (BOTTOM, False)
    assert unite(write("2a", BOTTOM), write("3b", "five\n"), on_tie, base) is None


@pytest.mark.parametrize(
    ("small", "large"),
    [
        ("", "text"),
        (" \n\t\n", "text"),
        ("\ufeff", "text"),
        ("# Monday\n\n", "# Monday\n\n- call Ann\n"),
        ("# Monday\r\n\r\n- call", "# Monday\n\n- call Ann\n"),
        ("Ann", "call Ann\n"),
        ("a", "banana a"),
        ("日記", "日記を書く"),
        ("cafe", "cafe, cafe\u0301"),
    ],
)
def test_one_contains_the_other(small: str, large: str) -> None:
    assert greater_text(small, large) == large
    assert greater_text(large, small) == large


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("apples", "pears"),
        # Not as words.
        ("cat", "concatenate"),
        ("cat", "cats"),
        ("cafe", "cafe\u0301"),
        ("👩", "👩‍👧 and more"),
        # Not in one piece.
        ("one three", "one two three"),
    ],
)
def test_neither_contains_the_other(first: str, second: str) -> None:
    assert greater_text(first, second) is None
    assert greater_text(second, first) is None


def test_of_two_that_contain_each_other_the_second_stays() -> None:
    assert greater_text(" ", "\n\n") == "\n\n"
    assert greater_text("x\n", "x") == "x"


def test_looking_for_a_text_is_bounded() -> None:
    assert greater_text("aa", "aaa " * (MAX_FINDS // 2 - 1) + "aa") == "aaa " * (MAX_FINDS // 2 - 1) + "aa"
    assert greater_text("aa", "aaa " * MAX_FINDS + "aa") is None
    assert greater_text("a" * 2**19, "a" * 2**20) is None


@given(st.text("ab c\n", max_size=12), st.text("ab c\n", max_size=12))
def test_the_greater_text_has_all_words_of_the_other(first: str, second: str) -> None:
    greater = greater_text(first, second)
    if greater is not None:
        assert greater in (first, second)
        assert set(words(first)) | set(words(second)) == set(words(greater))
    assert (greater is None) == (greater_text(second, first) is None)


def test_the_latest_time_that_anybody_said() -> None:
    assert latest(None, 3, 1) == 3
    assert latest(None, None) is latest() is None
