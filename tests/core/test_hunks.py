from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidenote.core import hunks
from tidenote.core.diff import Steps
from tidenote.core.hunks import NOTHING_AROUND, Around, merge_hunk, pair_lines
from tidenote.core.merged import Piece, assemble
from tidenote.core.words import missing_words


def merge(base: str, first: str, second: str, steps: int = 100_000, around: Around = NOTHING_AROUND) -> list[Piece]:
    """Merge hunks whose lines are separated by slashes; an empty text is no line at all."""
    old, mine, yours = (text.split("/") if text else [] for text in (base, first, second))
    return merge_hunk(old, mine, yours, Steps(steps), around)


def text(pieces: list[Piece]) -> str:
    return "/".join(line for piece in pieces for line in piece.lines)


def origins(pieces: list[Piece]) -> str:
    return " ".join(f"{part.start}-{part.end}:{part.origin}" for part in assemble(pieces).parts)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("one line", "two lines", "one line/two lines"),
        ("alpha/beta/gamma", "beta/gamma", "alpha/beta/gamma"),
        ("beta", "alpha/beta/gamma", "alpha/beta/gamma"),
        ("# head/one", "# head/two", "# head/one/two"),
        ("one/the end", "two/the end", "one/two/the end"),
        ("/one/", "/two/", "/one///two/"),
        ("one/shared line/two", "three/shared line/four", "one/three/shared line/two/four"),
        ("one/}/two", "three/}/four", "one/}/two/three/}/four"),
    ],
)
def test_both_inserted(first: str, second: str, expected: str) -> None:
    pieces = merge("", first, second)
    assert text(pieces) == expected
    assert all(piece.doubt is None for piece in pieces)


@pytest.mark.parametrize(
    ("first", "second", "expected", "doubted"),
    [
        ("- buy milk today", "- buy oat milk today", "- buy oat milk today", True),
        ("- buy oat milk today", "- buy milk today", "- buy oat milk today", True),
        ("a/- buy milk/b", "c/- buy  milk!/d", "a/c/- buy milk/b/d", False),
        ("- buy milk today", "- buy tea today", "- buy milk today/- buy tea today", False),
        ("- milk", "- a long way to the milk", "- milk/- a long way to the milk", False),
    ],
)
def test_nearly_the_same_insertion_is_taken_once(first: str, second: str, expected: str, doubted: bool) -> None:
    for sides in ((first, second), (second, first)):
        merged = assemble(merge("", *sides))
        assert sorted(merged.text.split("\n")) == sorted(expected.split("/"))[: len(merged.text.split("\n"))] or (
            not doubted
        )
        assert bool(merged.spots) == doubted
    assert text(merge("", first, second)) == expected


def test_without_steps_or_in_large_insertions_only_equal_lines_are_the_same() -> None:
    first, second = "a/- buy milk/b", "c/- buy oat milk/d"
    assert text(merge("", first, second, steps=0)) == "a/- buy milk/b/c/- buy oat milk/d"
    many = "/".join(f"line {number} here" for number in range(150))
    assert len(text(merge("", many, many.replace("here", "there!"))).split("/")) == 300


def test_insertions_say_whose_they_are() -> None:
    assert origins(merge("", "# head/one/same words/x", "# head/two/same words/y")) == (
        "0-1:both 1-2:first 2-3:second 3-4:both 4-5:first 5-6:second"
    )


def test_insertions_into_an_alphabetical_list_keep_its_order() -> None:
    around = Around(["- ant", "- bee"], ["- yak"])
    assert text(merge("", "- fox", "- cat", around=around)) == "- cat/- fox"
    assert text(merge("- ant/- bee/- yak", "- ant!/- bee/- fox/- yak", "- ant/- bee/- cat/- yak")) == (
        "- ant!/- bee/- cat/- fox/- yak"
    )


@pytest.mark.parametrize(
    ("base", "first", "second", "expected"),
    [
        ("red apple/blue sky", "red apples/blue sky", "red apple/blue skies", "red apples/blue skies"),
        ("red apple/blue sky", "red apples", "red apple/blue sky/new", "red apples/new"),
        ("red apple/blue sky", "blue sky", "red apple", ""),
        ("red apple/blue sky", "blue sky/first", "red apple/second", "second/first"),
        ("red apple pie", "red apple cake", "green apple pie", "green apple cake"),
        ("same old line", "same new line", "same new line/more", "same new line/more"),
    ],
)
def test_lines_and_their_versions(base: str, first: str, second: str, expected: str) -> None:
    pieces = merge(base, first, second)
    assert text(pieces) == expected
    assert all(piece.doubt is None for piece in pieces)


def test_a_deleted_line_that_the_other_side_changed_stays_and_is_doubted() -> None:
    for sides in (("new", "red apple pie"), ("red apple pie", "new")):
        [spot] = assemble(merge("red apple", *sides)).spots
        assert spot.reason == "deleted_and_changed"
        assert spot.base == "red apple"
        assert "red apple pie" in (spot.first, spot.second)


def test_a_deleted_line_that_the_other_side_only_spaced_anew_is_gone() -> None:
    for sides in (("new", "red  apple "), ("red  apple ", "new")):
        pieces = merge("red apple", *sides)
        assert text(pieces) == "new"
        assert all(piece.doubt is None for piece in pieces)


def test_a_line_with_all_words_that_the_other_side_added_is_enough_and_doubted() -> None:
    for sides in (("meet at six", "meet at half past six"), ("meet at half past six", "meet at six")):
        [spot] = assemble(merge("meet at five", *sides)).spots
        assert text(merge("meet at five", *sides)) == "meet at half past six"
        assert (spot.reason, spot.base, spot.first, spot.second) == ("both_changed", "meet at five", *sides)
    pieces = merge("see one", "see 'two'", 'see "two"')
    assert text(pieces) == "see 'two'"
    assert pieces[0].doubt is None


def test_room_that_text_took_on_one_side_stays() -> None:
    assert text(merge("/", "- ant/", "/- bee/")) == "- ant//- bee/"
    assert text(merge("/", "- ant", "- bee//")) == "- ant/- bee//"
    assert text(merge("//", "", "/")) == ""


def test_words_changed_in_a_paragraph_that_the_other_side_wrapped_anew() -> None:
    base = "the quick brown fox/jumps over the dog/and sleeps"
    wrapped = "the quick/brown/fox jumps over the dog and sleeps"
    changed = "the quick brown cat/leaps over the dog/and sleeps"
    for sides in ((wrapped, changed), (changed, wrapped)):
        pieces = merge(base, *sides)
        assert text(pieces) == "the quick/brown/cat leaps over the dog and sleeps"
        assert all(piece.doubt is None for piece in pieces)
    assert text(merge(base, wrapped, "new")) == "new"


def test_a_wrap_that_would_make_words_touch_is_merged_by_lines() -> None:
    assert text(merge("a -b/c", "a-b c", "a xb/c")) == "a-b c/a xb"


def test_edits_of_the_same_words_leave_both_lines_and_a_doubt() -> None:
    pieces = merge("meet at five o'clock", "meet at six o'clock", "meet at seven o'clock")
    assert text(pieces) == "meet at six o'clock/meet at seven o'clock"
    [spot] = assemble(pieces).spots
    assert (spot.reason, spot.start, spot.end) == ("both_changed", 0, 2)
    assert (spot.first, spot.second) == ("meet at six o'clock", "meet at seven o'clock")


def test_lines_that_both_sides_replaced_by_others_are_doubted() -> None:
    pieces = merge("old words here", "# quite different", "nothing alike")
    assert text(pieces) == "# quite different/nothing alike"
    [spot] = assemble(pieces).spots
    assert (spot.reason, spot.start, spot.end) == ("both_changed", 0, 2)
    assert (spot.base, spot.first, spot.second) == ("old words here", "# quite different", "nothing alike")


def test_replaced_lines_stay_doubted_where_other_doubts_are() -> None:
    pieces = merge("old words here/more of it", "brand new/more of that", "nothing alike")
    assert text(pieces) == "brand new/nothing alike/more of that"
    assert [spot.reason for spot in assemble(pieces).spots] == ["both_changed", "deleted_and_changed"]


def test_rules_that_both_sides_changed_are_the_seconds() -> None:
    assert text(merge("| a |", "| - |", "|:- |")) == "|:- |"
    assert text(merge("| - |", "|:- |", "|  - |")) == "|:- |"


def test_columns_that_both_sides_added_leave_a_table() -> None:
    merged = merge("| a |/|---|/| 1 |", "| a | b |/|---|---|/| 1 | 2 |", "| a | c |/|---|---|/| 1 | 3 |")
    assert text(merged) == "| a | b | c |/|---|---|---|/| 1 | 2 | 3 |"


def test_if_a_word_went_missing_the_lines_of_both_sides_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hunks, "_walk", lambda *_: [Piece(["red"], "combined")])
    pieces = merge("red", "red one/same line", "red two/same line")
    assert text(pieces) == "red one/red two/same line"
    [spot] = assemble(pieces).spots
    assert (spot.reason, spot.first, spot.second) == ("both_changed", "red one\nsame line", "red two\nsame line")


def test_pairs_add_up_to_the_most_likeness() -> None:
    base = ["the first line", "", "the second line", "last"]
    side = ["", "the second line here", "other", "last"]
    assert pair_lines(base, side, Steps(1000)) == [None, 0, 1, 3]


def test_a_large_hunk_pairs_equal_lines_only() -> None:
    base = [f"line {number} of many" for number in range(150)]
    side = [line if number % 2 else f"{line}!" for number, line in enumerate(base)]
    pairs = pair_lines(base, side, Steps(1_000_000))
    assert pairs == [number if number % 2 else None for number in range(150)]


def test_without_steps_only_equal_lines_pair() -> None:
    assert pair_lines(["a b c", "same"], ["a b d", "same"], Steps(0)) == [None, 1]
    assert pair_lines(["a b c", "same"], ["a b d", "same"], Steps(100)) == [0, 1]


SOME = (
    "/# head/- ant/- bee/- cat/- [ ] do it/- [x] do it/| a | b |/|---|---|/| 1 | 2 |/}/一二三/一三"
    "/one two three/one two four/one six three/one/two"
)
lines = st.lists(st.sampled_from(SOME.split("/")), max_size=7)


@given(lines, lines, lines, st.integers(0, 3000))
def test_all_added_words_and_only_lines_with_words_of_the_three(
    base: list[str], first: list[str], second: list[str], steps: int
) -> None:
    pieces = merge_hunk(base, first, second, Steps(steps), Around(["- ant", "- bee"], ["- cow", "text"]))
    result = [line for piece in pieces for line in piece.lines]
    assert not missing_words(base, (first, second), result)
    for piece in pieces:
        known = {"base": base, "first": first, "second": second, "both": first}.get(piece.origin)
        assert known is None or all(line in known for line in piece.lines)
        assert piece.origin != "both" or all(line in second for line in piece.lines)
