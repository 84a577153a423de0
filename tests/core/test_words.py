from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidenote.core.diff import Steps
from tidenote.core.words import (
    contains,
    has_words,
    merge_line,
    missing_words,
    rewrap,
    same_but_space,
    similarity,
    tokens,
    weights,
    words,
)


def merged(base: str, first: str, second: str) -> str | None:
    return merge_line(base, first, second, Steps(100_000))


def test_words_are_runs_or_single_characters_of_scripts_without_spaces() -> None:
    assert words("It's 3.5 km, naïve_x") == ["It", "s", "3", "5", "km", "naïve_x"]
    assert words("한국어 日本 ไทย") == [*"한국어", *"日本", *"ไทย"]


def test_marks_belong_to_their_character() -> None:
    assert words("cafe\u0301 की") == ["cafe\u0301", "की"]
    assert tokens("👩\u200d👩\u200d👧🇩🇪👍🏽❤\ufe0f!") == ["👩\u200d👩\u200d👧", "🇩🇪", "👍🏽", "❤\ufe0f", "!"]


def test_tokens_are_words_spaces_and_single_symbols() -> None:
    assert tokens("- [x]  a_b, 道。") == ["-", " ", "[", "x", "]", "  ", "a_b", ",", " ", "道", "。"]


@given(st.text())
def test_tokens_joined_are_the_line(line: str) -> None:
    assert "".join(tokens(line)) == line
    assert words(line) == [token for token in tokens(line) if words(token)]


def test_similarity_counts_shared_tokens() -> None:
    assert similarity(weights("a b, c"), weights("a b x x")) == pytest.approx(8 / 13)
    assert similarity(weights("a b x x"), weights("a b, c")) == pytest.approx(8 / 13)
    assert similarity(weights("a a"), weights("a a")) == 1


def test_lines_that_share_only_spaces_are_not_alike() -> None:
    assert similarity(weights("a b c"), weights("x y z")) == 0
    assert similarity(weights("a"), weights("b")) == 0
    assert similarity(weights(""), weights("  ")) == 0


def test_contains_means_without_a_break() -> None:
    assert contains(["a", "b", "c"], ["b", "c"])
    assert not contains(["a", "b", "c"], ["a", "c"])
    assert not contains(["ab"], ["a"])


def test_missing_words_are_those_that_a_side_added() -> None:
    assert missing_words(["a b"], [["a b c"], ["b"]], ["b c"]) == Counter()
    assert missing_words(["a"], [["a x x"], ["a y"]], ["a x"]) == Counter({"x": 1, "y": 1})


@pytest.mark.parametrize(
    ("base", "first", "second", "expected"),
    [
        ("the quick fox", "the slow fox", "the quick foxes", "the slow foxes"),
        ("- [ ] buy milk", "- [x] buy milk", "- [ ] buy oat milk", "- [x] buy oat milk"),
        ("see", "see one", "see two", "see one two"),
        ("see.", "see, one.", "see, one, two.", "see, one, two."),
        ("see.", "see, one, two.", "see, one.", "see, one, two."),
        ("see", "seeone", "seetwo", None),
        ("a c", "a (b) c", "a (b) c d", "a (b) c d"),
        ("a b c d", "a d", "a b x d", "a b x d"),
        ("a b c d", "a b x d", "a d", "a b x d"),
        ("a b c", "a x c", "a y c", None),
        ("one two three", "uno two three", "one dos three", "uno dos three"),
        ("one two three", "uno dos three", "one two tres", "uno dos tres"),
        ("one two three four", "uno dos three four", "one two tres four", "uno dos tres four"),
        ("| a | b |", "| a | b | c |", "| a | b | d |", "| a | b | c | d |"),
        ("我愛你", "我很愛你", "我愛你們", "我很愛你們"),
    ],
)
def test_edits_of_one_line(base: str, first: str, second: str, expected: str | None) -> None:
    assert merged(base, first, second) == expected


def test_words_that_would_touch_get_a_space_between_them() -> None:
    assert (
        merged(
            "(see)",
            "(see)one",
            "(see)two",
        )
        == "(see)one two"
    )
    assert merged("(see)", "(see)。", "(see)two") == "(see)。two"


def test_a_word_that_nobody_wrote_is_refused() -> None:
    assert merged("a-b", "ab", "a-b c") == "ab c"
    assert merged("a-b c", "ab c", "a-bb c") is None
    assert merged(" -", "b-", " c") is None


@pytest.mark.parametrize(
    ("base", "first", "second", "expected"),
    [
        ("# Old title", "# New title {#title}", "# Old title {#title}", "# New title {#title}"),
        ("see a", "see b, c and d", "see a and d", "see b, c and d"),
        ("see a", "see x a", "see x b", "see x b"),
        ("one", "one.", "one. two", "one. two"),
        ("a (b)", "a (c)", "a (b))", "a (c))"),
    ],
)
def test_what_two_edits_have_in_common_where_they_touch_comes_once(
    base: str, first: str, second: str, expected: str
) -> None:
    assert merged(base, first, second) == expected


def test_has_words_counts_words_only() -> None:
    assert has_words(weights("buy oat milk"), weights("- milk!"))
    assert not has_words(weights("buy oat milk"), weights("milk milk"))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("a b c", "a  bc", True), ("a b c", "ab d", False), ("", " \t", True)],
)
def test_same_but_space(one: str, other: str, same: bool) -> None:
    assert same_but_space(one, other) == same
    assert same_but_space([*one, ""], [other]) == same


def test_what_an_edit_over_a_space_replaced_is_replaced_as_one() -> None:
    assert merged("the red car", "the blue van", "the red cars") is None


@pytest.mark.parametrize(
    ("base", "wrapped", "changed", "expected"),
    [
        ("a b c\nd e", "a b\nc d e", "a b x\nd e", "a b\nx d e"),
        ("a b c\nd e", "a b\nc d e", "a b c\nd e f", "a b\nc d e f"),
        ("a b\nc d", "a\nb c\nd", "a b x\nc d", "a\nb x c\nd"),
        ("a b\nc d", "a\nb c\nd", "a c d", "a c\nd"),
        ("a b\nc d", " a b c d\n", "x y\nz z", " x y z z\n"),
        ("a b\nc", "a b c", "a  b\n\nc", "a  b\n\nc"),
        ("a b", "a c", "a d", None),
        ("a -b c", "a-b\nc", "a xb c", None),
    ],
)
def test_a_changed_text_takes_over_how_the_other_one_is_wrapped(
    base: str, wrapped: str, changed: str, expected: str | None
) -> None:
    assert rewrap(base, wrapped, changed, Steps(100_000)) == expected
    assert rewrap(base, wrapped, changed, Steps(-1)) is None


def test_without_steps_a_person_has_to_choose() -> None:
    base = " ".join("ab" * 50)
    assert merge_line(base, base + " c", " ".join("ba" * 50), Steps(10)) is None


line = st.lists(st.sampled_from(["a", "b", "word", "-", "[", "]", "|", " ", " ", "字", "x1"]), max_size=10).map("".join)


@given(line, line, line)
def test_a_merged_line_has_all_added_words_and_no_others(base: str, first: str, second: str) -> None:
    result = merged(base, first, second)
    if result is not None:
        assert not missing_words([base], [[first], [second]], [result])
        assert set(words(result)) <= {*words(base), *words(first), *words(second)}


@given(line, line)
def test_a_line_that_one_side_changed_is_that_side(base: str, side: str) -> None:
    for result in (merged(base, side, base), merged(base, base, side), merged(base, side, side)):
        assert result == side
