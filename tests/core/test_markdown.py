from __future__ import annotations

import pytest

from tidenote.core.markdown import interleave, is_rule, mend_tables
from tidenote.core.merged import Origin, Piece


def items(names: str, bullet: str = "- ") -> list[str]:
    return [bullet + name for name in names.split()]


@pytest.mark.parametrize(
    ("first", "second", "before", "after", "expected"),
    [
        ("fig", "date", "apple cherry", "kiwi", "date fig"),
        ("date lime", "fig", "apple cherry", "mango", "date fig lime"),
        ("fig", "Date", "apple Cherry", "[Kiwi](k)", "Date fig"),
        ("fig", "fig", "apple cherry", "kiwi", "fig fig"),
        ("date", "fig", "", "kiwi lime mango", "date fig"),
        ("fig", "date", "apple", "kiwi", None),  # two neighbours prove no order
        ("fig", "date", "cherry apple", "kiwi", None),
        ("zebra", "date", "apple cherry", "kiwi", None),
        ("fig", "", "apple cherry", "kiwi", None),
        ("", "fig", "apple cherry", "kiwi", None),
    ],
)
def test_items_go_into_an_alphabetical_list_in_its_order(
    first: str, second: str, before: str, after: str, expected: str | None
) -> None:
    result = interleave(items(first), items(second), items(before), items(after))
    assert result == (None if expected is None else items(expected))


def test_only_items_with_the_same_bullet_count() -> None:
    around = (items("apple cherry"), items("kiwi"))
    assert interleave(["text"], ["- date"], *around) is None
    assert interleave(["- fig"], ["text"], *around) is None
    assert interleave(["  - fig"], ["  - date"], *around) is None
    assert interleave(["- fig"], ["- date"], ["- x", "text", *around[0]], [*around[1], "", "- a"]) == items("date fig")


def test_a_task_is_sorted_by_its_text() -> None:
    before = ["- [x] apple", "- [ ] cherry"]
    assert interleave(["- [ ] fig"], ["- [x] date"], before, ["- kiwi"]) == ["- [x] date", "- [ ] fig"]


@pytest.mark.parametrize("line", ["---", "|---|", "| --- | :-: |", " --|-- ", "|:-|-:|", "-"])
def test_rules(line: str) -> None:
    assert is_rule(line)


@pytest.mark.parametrize("line", ["", "|", "| a |", "- -", "||", "|--|x|"])
def test_no_rules(line: str) -> None:
    assert not is_rule(line)


def test_a_line_of_a_million_spaces_is_soon_no_rule() -> None:
    assert not is_rule("|" + " " * 1_000_000 + "x")


def table(head: str, rule: str, *, origin: Origin = "combined") -> list[str]:
    pieces = [Piece([head], origin), Piece([], "first"), Piece([rule], "both"), Piece(["| 1 |"], "base")]
    return [line for piece in mend_tables(pieces) for line in piece.lines]


@pytest.mark.parametrize(
    ("head", "rule", "expected"),
    [
        ("| a | b | c |", "|---|---|", "|---|---|---|"),
        ("| a | b | c |", "| --- | :-: |", "| --- | :-: | :-: |"),
        ("a | b | c", "---|---", "---|---|---"),
        ("| a |", "|---|---|", "|---|"),
        (r"| a \| b |", "|---|", "|---|"),
        ("| a | b |", " |---|---| ", " |---|---| "),
        ("a title", "---", "---"),
    ],
)
def test_the_rule_of_a_table_follows_its_merged_head(head: str, rule: str, expected: str) -> None:
    assert table(head, rule) == [head, expected, "| 1 |"]


def test_a_head_that_somebody_wrote_is_left_alone() -> None:
    assert table("| a | b |", "|---|", origin="first") == ["| a | b |", "|---|", "| 1 |"]
