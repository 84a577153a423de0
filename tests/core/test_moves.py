from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidenote.core.diff import Steps, diff
from tidenote.core.moves import follow_moves

ENOUGH = 100_000


def followed(base: str, first: str, second: str, steps: int = ENOUGH) -> tuple[str, str] | None:
    """Follow moves in texts whose lines are separated by slashes."""
    texts = [text.split("/") for text in (base, first, second)]
    edits = [diff(texts[0], side, Steps(ENOUGH)) for side in texts[1:]]
    sides = follow_moves(texts[0], texts[1], texts[2], edits, Steps(steps))
    return None if sides is None else ("/".join(sides[0]), "/".join(sides[1]))


TASKS = "- buy milk/- call Ann/- mow the lawn/# Done/- pay rent"


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (
            "- call Ann/- mow the lawn/# Done/- pay rent/- buy milk",
            "- buy oat milk/- call Ann/- mow the lawn/# Done/- pay rent",
            ("- call Ann/- mow the lawn/# Done/- pay rent/- buy oat milk", TASKS),
        ),
        (
            "- buy oat milk/- call Ann/- mow the lawn/# Done/- pay rent",
            "- call Ann/- mow the lawn/# Done/- pay rent/- buy milk",
            (TASKS, "- call Ann/- mow the lawn/# Done/- pay rent/- buy oat milk"),
        ),
        (
            "# Done/- pay rent/- buy milk/- call Ann/- mow the lawn",
            "- buy milk/- call Ann at 5/- mow the lawn/# Done/- pay rent!",
            (
                "# Done/- pay rent!/- buy milk/- call Ann/- mow the lawn",
                "- buy milk/- call Ann at 5/- mow the lawn/# Done/- pay rent",
            ),
        ),
    ],
)
def test_a_change_of_a_line_follows_it_to_where_the_other_side_moved_it(
    first: str, second: str, expected: tuple[str, str]
) -> None:
    assert followed(TASKS, first, second) == expected


@pytest.mark.parametrize(
    ("base", "first", "second"),
    [
        ("one line/two/three", "one line/two/three", "one line!/two/three"),  # not moved
        ("one line/two/three", "two/three/one line", "one line/two/three!"),  # not changed
        ("one line/two/three", "two/three/one line", "two/three"),  # deleted
        ("one line/two/three", "two/three/one line", "quite different/two/three"),  # replaced
        ("one line/two/three", "two/three", "one line!/two/three"),  # deleted instead of moved
        ("one line/two/three", "two/three/one line", "two/one line/three"),  # moved on both sides
        ("one line/two/one line", "two/one line/new", "one line!/two/one line"),  # not once
        ("}/two/three", "two/three/}", "} /two/three"),  # too little to know it by
    ],
)
def test_nothing_else_is_followed(base: str, first: str, second: str) -> None:
    assert followed(base, first, second) is None


def test_without_steps_changes_stay_where_they_are() -> None:
    assert followed("one line/two/three", "two/three/one line", "one line!/two/three", 0) is None


lines = st.lists(
    st.sampled_from("one line/one line!/two lines/two more lines/x//- [ ] task/- [x] task".split("/")), max_size=6
)


@given(lines, lines, lines)
def test_sides_keep_their_size_and_together_their_lines(base: list[str], first: list[str], second: list[str]) -> None:
    edits = [diff(base, side, Steps(ENOUGH)) for side in (first, second)]
    sides = follow_moves(base, first, second, edits, Steps(ENOUGH)) or (first, second)
    assert [len(side) for side in sides] == [len(first), len(second)]
    assert {*sides[0], *sides[1]} <= {*base, *first, *second}
    assert {*first, *second} <= {*sides[0], *sides[1]} | set(base)
