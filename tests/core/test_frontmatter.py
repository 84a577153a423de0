from __future__ import annotations

import itertools

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tidenote.core import frontmatter
from tidenote.core.frontmatter import front_size, merge_front, merge_order
from tidenote.core.merged import Merged, assemble


def front(text: str) -> list[str]:
    return ["---", *text.split("\n"), "---"] if text else []


def merge(base: str, first: str, second: str) -> Merged:
    pieces = merge_front(front(base), front(first), front(second))
    assert pieces is not None
    return assemble(pieces)


def inner(merged: Merged) -> str:
    assert merged.text.startswith("---\n")
    assert merged.text.endswith("\n---")
    return merged.text[4:-4]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("---\na: 1\n---\ntext", 3),
        ("--- \na: 1\n---\t\n", 3),
        ("---\r\na: 1\n---\r\n", 3),
        ("---\na: 1\n---\r\r\n", 3),
        ("---\n---\n", 2),
        ("---\na: 1", 0),
        ("text\n---\n---", 0),
        ("----\na\n----", 0),
        ("", 0),
    ],
)
def test_front_matter_stands_between_two_rules_at_the_start(text: str, size: int) -> None:
    assert front_size(text.split("\n")) == size


def test_one_sided_changes_are_taken() -> None:
    for other in ("a: 1", "a: 1\nb: 2", ""):
        if other:
            assert inner(merge("a: 1", other, "a: 1")) == other
            assert inner(merge("a: 1", "a: 1", other)) == other
            assert inner(merge("a: 1", other, other)) == other
    assert merge("", "", "a: 1").text == "---\na: 1\n---"
    assert merge("", "a: 1", "").text == "---\na: 1\n---"
    assert merge("", "a: 1", "b: 2").text == "---\na: 1\nb: 2\n---"


@pytest.mark.parametrize(
    "texts",
    [
        ("a: 1", "", "a: 2"),
        ("a: 1", "a: 2", ""),
        ("- a", "- b", "- c"),
        ("a: 1", "a: 1\na: 2", "a: 3"),
    ],
)
def test_what_has_no_key_or_one_twice_or_lost_its_rules_is_text(texts: tuple[str, str, str]) -> None:
    assert merge_front(*map(front, texts)) is None


@pytest.mark.parametrize(
    ("base", "first", "second", "expected"),
    [
        ("t: a: b\nk: 1", "t: a: c\nk: 1", "t: a: b\nk: 2", "t: a: c\nk: 2"),
        ("t: a: b", "t: a: c", "t: a: d", "t: a: d\n# t: a: c"),
        ("a: 1", "a: two", "a: [three", "a: [three\n# a: two"),
        ("a: 1", "a: 2", "a: [", "a: 2"),
        ("a: 1", "a: 2", "a", "a\n# a: 2"),
        ("- x\na: 1", "- x\n- y\na: 2", "- z\n- x\na: 1", "- z\n- x\n- y\na: 2"),
        ("n: 'a\n  b'", "n: 'a\n  b c", "n: 'a\n  b d'", "n: 'a\n  b d c"),
        ("x: [\nn:\n  b", "x: [\nn:\n  b", "x: [\nn:\n  c", "x: [\nn:\n  c"),
        ("k: " + "x " * 9000, "k: y", "k: " + "x " * 9000 + "\nl: z", "k: y\nl: z"),
    ],
)
def test_what_does_not_parse_is_merged_by_its_lines_with_keys(
    base: str, first: str, second: str, expected: str
) -> None:
    assert inner(merge(base, first, second)) == expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("a: one", "a: two", "a: two\n# a: one"),
        ("a: one\nb: x", "a: two\nc: y", "a: two\nb: x\nc: y\n# a: one"),
        ("modified: 2026-01-03", "modified: 2026-01-02", "modified: 2026-01-03\n# modified: 2026-01-02"),
        ("t: [a, a]", "t: [b]", "t: [b]\n# t: [a, a]"),
    ],
)
def test_values_that_both_sides_added_with_the_front_matter_are_not_left_to_the_history(
    first: str, second: str, expected: str
) -> None:
    merged = merge("", first, second)
    assert inner(merged) == expected
    assert valid(expected)


TITLE = "# mine\ntitle:   A title\n\n# tags\ntags: [a]   # of old\ndone: false\n"


@pytest.mark.parametrize(
    ("base", "first", "second", "expected"),
    [
        ("a: 1\nb: 2", "a: 3\nb: 2", "a: 1\nb: 4", "a: 3\nb: 4"),
        ("a: 1", "a: 1\nb: 2", "a: 1\nc: 3", "a: 1\nb: 2\nc: 3"),
        ("a: 1\nb: 2\nc: 3", "b: 2\nc: 3", "a: 1\nb: 2", "b: 2"),
        ("a: 1\nb: 2", "b: 2\na: 1\nx: 0", "a: 1\nb: 2\ny: 0", "b: 2\ny: 0\na: 1\nx: 0"),
        ("a: 1\nb: 2", "a: 1\nb: 3", "b: 2\na: 1", "b: 3\na: 1"),
        ("a: 1", "a: '1'\nb: 2", "a: \"1\"", "a: \"1\"\nb: 2"),
        ("a:  1", "a:  2", "a: 1", "a:  2"),
        ("a:  1", "a: 1", "a:  2", "a:  2"),
        # lists are sets in order
        ("t: [a, b]", "t: [a, b, c]", "t: [b, d]", "t: [b, c, d]"),
        ("t: [ a,b ]", "t: [ a,b,c ]", "t: [ a,b,d ] # x", "t: [ a,b,c,d ] # x"),
        ("t:\n  - a\n  # two\n  - b", "t:\n  - x\n  - a\n  # two\n  - b", "t:\n  - a", "t:\n  - x\n  - a"),
        ("t: [a]", "t: [a, b]", "t:\n  - a\n  - c", "t:\n  - a\n  - b\n  - c"),
        ("t: [a]", "t:\n- a\n- b", "t: [a, c]", "t: [a, b, c]"),
        ("t:", "t: [a]", "t:\n  - b", "t:\n  - a\n  - b"),
        ("x: 1", "t: [a]\nx: 1", "t: [b]\nx: 1", "t: [a, b]\nx: 1"),
        ("t: [a, b]", "t:", "t: [a, b, c]", "t: [c]"),
        ("t: [a, b]", "t: [a]", "t:", "t: []"),
        ("t:\n- a\n- b", "t:\n- a", "t:\n- b", "t:"),
        ("t:\n- a: 1", "t:\n- a: 1\n- b: 2", "t:\n- a: 1\n- c: 3", "t:\n- a: 1\n- b: 2\n- c: 3"),
        # times of change by maximum
        ("modified: 2026-01-01", "modified: 2026-03-01", "modified: 2026-02-01", "modified: 2026-03-01"),
        ("modified: 2026-01-01", "modified: 2026-02-01", "modified: 2026-03-01", "modified: 2026-03-01"),
        ("lastmod: 1", "lastmod: 2026-02-01T10:00:00+02:00", "lastmod: 2026-02-01 09:00:00",
         "lastmod: 2026-02-01 09:00:00"),
        ("ms.date: 01/01/2026", "ms.date: 12/01/2026", "ms.date: 2/11/2026", "ms.date: 12/01/2026"),
        # mappings inside by key
        ("m:\n  a: 1\n  b: 2", "m:\n  a: 3\n  b: 2", "m: #\n  a: 1\n  b: 2\n  c: 4", "m: #\n  a: 3\n  b: 2\n  c: 4"),
        ("m:\n  a: 1", "m:  # of\n  a: 1\n  b: 2", "m:\n  a: 1\n  c: 3", "m:  # of\n  a: 1\n  b: 2\n  c: 3"),
        ("x: 1", "x: 1\nm:\n  a: 1", "x: 1\nm:\n  b: 2", "x: 1\nm:\n  a: 1\n  b: 2"),
        ("m:\n  a: 1\n  b: 2", "m:\n  a: 1", "m:\n  b: 2", "m:"),
        # values of several lines as text
        ("n: |\n  one\n  two words\n  end", "n: |\n  ONE\n  two words\n  end", "n: |\n  one\n  two words\n  END",
         "n: |\n  ONE\n  two words\n  END"),
        # comments
        ("# x\na: 1", "# x\n# y\na: 2", "# x\n# z\na: 1\nb: 1", "# x\n# y\n# z\na: 2\nb: 1"),
        ("a: 1\n# end", "a: 1\n# END", "a: 2\n# end", "a: 2\n# END"),
        ("a: 1\n# end", "a: 2\n# end", "a: 1\n# END", "a: 2\n# END"),
        (TITLE, TITLE.replace("[a]", "[a, b]"), TITLE.replace("false", "true"),
         TITLE.replace("[a]", "[a, b]").replace("false", "true")),
    ],
)  # fmt: skip
def test_keys_merge_and_leave_no_doubt(base: str, first: str, second: str, expected: str) -> None:
    merged = merge(base, first, second)
    assert inner(merged) == expected
    assert merged.spots == ()


@pytest.mark.parametrize(
    ("base", "first", "second", "expected", "reason"),
    [
        ("a: 1", "a: 2", "a: 3", "a: 3", "front_matter"),
        ("x: 1", "x: 1\na: 2", "x: 1\na: 3", "x: 1\na: 3", "front_matter"),
        ("a: 1\nb: 2", "a: 1", "a: 1\nb: 3", "a: 1\nb: 3", "deleted_and_changed"),
        ("a: 1\nb: 2", "a: 1\nb: 3", "a: 1", "a: 1\nb: 3", "deleted_and_changed"),
        ("modified: 1", "modified: soon", "modified: 2026-01-01", "modified: 2026-01-01", "front_matter"),
        ("modified:", "modified: []", "modified: 2026-01-01", "modified: 2026-01-01", "front_matter"),
        ("modified: x", "modified: [2026-01-01]", "modified: []", "modified: []", "front_matter"),
        ("date: 2026-01-01", "date: 2026-03-01", "date: 2026-02-01", "date: 2026-02-01", "front_matter"),
        ("t: [a]", "t: x", "t: [a, b]", "t: [a, b]", "front_matter"),
        ("t: x", "t: [a]", "t: [b]", "t: [b]", "front_matter"),
        ("t: [a]", "t: [a, a]", "t: [a, b]", "t: [a, b]", "front_matter"),
        ("t: [a]", "t:\n- a\n- 'b'\n- c, d", "t: [a, e]", "t: [a, e]", "front_matter"),
        ("t: [a]", "t:\n- a\n- b: 1", "t: [a, e]", "t: [a, e]", "front_matter"),
        ("m:\n  a: 1", "m:\n    a: 1\n    b: 2", "m:\n  a: 1\n  c: 3", "m:\n  a: 1\n  c: 3", "front_matter"),
        ("m: x", "m:\n  a: 1", "m:\n  b: 1", "m:\n  b: 1", "front_matter"),
        ("m:\n  a: 1", "m:\n  a: 2", "m:\n  a: 3", "m:\n  a: 3", "front_matter"),
        ("a: 1 # one", "a: 1 # two", "a: 1 # three", "a: 1 # three", "front_matter"),
        ("a: 1", "a: 2", "a: 1 # one", "a: 2", "front_matter"),
        ("n: |\n  one two", "n: |\n  one six", "n: |\n  one ten", "n: |\n  one ten", "front_matter"),
    ],
)
def test_doubts(base: str, first: str, second: str, expected: str, reason: str) -> None:
    merged = merge(base, first, second)
    assert inner(merged) == expected
    assert [spot.reason for spot in merged.spots] == [reason]


def test_a_spot_shows_the_three_sources() -> None:
    [spot] = merge("x: 0\na: 1", "x: 0\n# mine\na: 2", "x: 0\na: 3").spots
    assert (spot.start, spot.end) == (3, 4)
    assert (spot.base, spot.first, spot.second) == ("a: 1", "# mine\na: 2", "a: 3")


def test_parts_say_whose_the_keys_are() -> None:
    merged = merge("a: 1\nb: 1\nc: 1", "a: 2\nb: 1\nc: 1\nd: 4", "a: 1\nb: 1\nc: 3\nd: 4")
    assert inner(merged) == "a: 2\nb: 1\nc: 3\nd: 4"
    assert [part.origin for part in merged.parts] == ["base", "first", "base", "second", "both", "base"]


def test_a_result_that_would_not_read_as_meant_is_the_seconds() -> None:
    # the first side removes the anchor that the second side begins to use
    base = "a: &x 1\nb: 2\nc: 3"
    merged = merge(base, "b: 2\nc: 4", "a: &x 1\nb: *x\nc: 3")
    assert inner(merged) == "a: &x 1\nb: *x\nc: 3"
    [spot] = merged.spots
    assert (spot.reason, spot.first) == ("front_matter", "---\nb: 2\nc: 4\n---")


def test_a_result_that_reads_differently_is_the_seconds() -> None:
    merged = merge("t: [a]\nk: 1", "t:\n- a\n- b: c\n- d\nk: 2", "t: [a, e: f]\nk: 1")
    assert yaml.compose(inner(merged), Loader=yaml.SafeLoader)


@pytest.mark.parametrize(
    "key",
    "modified Modified last_modified lastModified lastmod date-modified updated updated_at changed mtime ms.date "
    "file.mtime".split(),
)
def test_keys_that_say_when_a_note_was_changed(key: str) -> None:
    assert frontmatter._WHEN_CHANGED.fullmatch(key)


@pytest.mark.parametrize("key", "date created created_at published due model mode update_policy unchanged".split())
def test_other_keys(key: str) -> None:
    assert not frontmatter._WHEN_CHANGED.fullmatch(key)


@pytest.mark.parametrize("order", [("abc", "abxc", "abyc", "abxyc"), ("abc", "cab", "abcd", "cdab")])
def test_order_of_keys(order: tuple[str, str, str, str]) -> None:
    assert merge_order(*map(list, order[:3])) == list(order[3])


orders = st.lists(st.sampled_from("abcdef"), unique=True)


@given(orders, orders, orders)
def test_the_order_has_each_key_of_either_side_once(base: list[str], first: list[str], second: list[str]) -> None:
    order = merge_order(base, first, second)
    assert sorted(order) == sorted({*first, *second})
    assert merge_order(base, first, base)[: len(first)] == first or set(base) - set(first)
    shared = [key for key in order if key in first and key in second]
    assert shared in ([key for key in first if key in second], [key for key in second if key in first])


def valid(text: str) -> bool:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return False
    return node is None or isinstance(node, yaml.MappingNode)


VALUES = [
    *["", "1", "two words", "'q'", "2026-01-02", "2026-03-01T10:00:00Z", "[]", "[a, b]", "[b, c]", "[ 'a', d ] # c"],
    *["\n  - a\n  - b", "\n  - b\n  # c\n  - d", "\n- a\n- e", "\n  x: 1\n  y: 2", "\n  x: 2\n  y: [a]", "\n    x: 1"],
    *["|\n  one\n  two\n  three", "|\n  one\n  2\n  three", ">-\n  one\n\n  two\n  3", "{a: 1}", "&x a", "*x", "# c"],
    *["[a, '#', \"b\"]", "\n  - x: 1\n    y: 2\n  - a", "!t z", "\n\n  - a", "[[a], b]", "~"],
]
entries = st.tuples(st.sampled_from(["", "", "# c\n", "\n"]), st.sampled_from(VALUES))
keys = st.sampled_from(["a", "tags", "modified", "'q k'", "m"])
fronts = (
    st.tuples(st.dictionaries(keys, entries, max_size=5), st.sampled_from(["", "# end", "\n"]))
    .map(lambda made: "\n".join([*(f"{lead}{key}: {value}" for key, (lead, value) in made[0].items()), made[1]]))
    .filter(valid)
)


def keys_of(text: str) -> list[str]:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    return [key.value for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []


@given(fronts, fronts, fronts)
def test_front_matter_stays_valid_with_each_key_once(base: str, first: str, second: str) -> None:
    pieces = merge_front(*(["---", *text.split("\n"), "---"] for text in (base, first, second)))
    assert pieces is not None
    merged = assemble(pieces)
    assert valid(inner(merged))
    found = keys_of(inner(merged))
    assert len(set(found)) == len(found)
    old, mine, yours = map(keys_of, (base, first, second))
    wanted = {key for key in {*mine, *yours} if key not in old or (key in mine and key in yours)}
    whole = any(spot.reason == "front_matter" and spot.first.startswith("---") for spot in merged.spots)
    assert whole or wanted <= set(found) <= {*mine, *yours}


@given(fronts, fronts)
def test_identities(base: str, side: str) -> None:
    old, new = (["---", *text.split("\n"), "---"] for text in (base, side))
    for texts in ((old, new, old), (old, old, new), (old, new, new), ([], new, []), ([], new, new)):
        pieces = merge_front(*texts)
        assert pieces is not None
        assert list(itertools.chain(*(piece.lines for piece in pieces))) == new
