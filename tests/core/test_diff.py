from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidenote.core import diff as module
from tidenote.core.diff import Edit, Hunk, Steps, diff, increasing, meet, unique_in_both

ENOUGH = 1_000_000

few = st.lists(st.sampled_from("abc"), max_size=14)
many = st.lists(st.sampled_from("abcdefghijklmnop"), max_size=30)
sequences = few | many


def edits(old: str, new: str, steps: int = ENOUGH) -> list[Edit]:
    return diff(old, new, Steps(steps))


def patched(old: list[str], new: list[str], found: list[Edit]) -> list[str]:
    result, at = [], 0
    for edit in found:
        result += old[at : edit.old_start] + new[edit.start : edit.end]
        at = edit.old_end
    return result + old[at:]


def common(old: list[str], new: list[str]) -> int:
    """Return the length of a longest common subsequence, the plain way."""
    row = [0] * (len(new) + 1)
    for one in old:
        below = [0]
        for at, other in enumerate(new):
            below.append(row[at] + 1 if one == other else max(row[at + 1], below[-1]))
        row = below
    return row[-1]


def test_steps_are_spent_until_none_are_left() -> None:
    steps = Steps(3)
    assert steps.spend(3)
    assert not steps.spend(1)
    assert not steps.spend(0)


def test_equal_sequences_have_no_edits() -> None:
    assert edits("abc", "abc") == []
    assert edits("", "") == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("abc", "axc", [Edit(1, 2, 1, 2)]),
        ("", "ab", [Edit(0, 0, 0, 2)]),
        ("ab", "", [Edit(0, 2, 0, 0)]),
        ("abcd", "xbcy", [Edit(0, 1, 0, 1), Edit(3, 4, 3, 4)]),
        ("abab", "baba", [Edit(0, 1, 0, 0), Edit(4, 4, 3, 4)]),
    ],
)
def test_edits(old: str, new: str, expected: list[Edit]) -> None:
    assert edits(old, new) == expected


def test_an_insertion_among_equals_stands_last() -> None:
    assert edits("abbc", "abbbc") == [Edit(3, 3, 3, 4)]
    assert edits("x}y}", "x}z}y}") == [Edit(2, 2, 2, 4)]


def test_a_deletion_among_equals_stands_last() -> None:
    assert edits("abbbc", "abbc") == [Edit(3, 4, 3, 3)]


def test_an_insertion_that_slides_to_the_next_edit_joins_it() -> None:
    assert module._slide([Edit(0, 0, 0, 1), Edit(1, 2, 2, 3)], [0, 1], [0, 0, 2]) == [Edit(1, 2, 1, 3)]


def test_elements_that_are_unique_on_both_sides_anchor() -> None:
    # the shortest script would keep the three brackets and lose the name
    assert unique_in_both("{}f{}", "{}{}f") == [(2, 4)]
    assert unique_in_both("abc", "cab") == [(0, 1), (1, 2)]
    assert unique_in_both("abc", "abc", lambda element: element != "b") == [(0, 0), (2, 2)]


def test_without_steps_the_answer_is_coarser_but_true() -> None:
    assert edits("xabaay", "xbabby", 0) == [Edit(1, 5, 1, 5)]
    assert edits("xabaay", "xbabby", 12) == [Edit(1, 5, 1, 5)]


def test_work_on_sequences_without_anchors_is_bounded() -> None:
    old, new = "ab" * 4000, "abb" * 3000
    steps = Steps(50_000)
    found = diff(old, new, steps)
    assert patched(list(old), list(new), found) == list(new)
    assert steps.left > -20_000  # the last request may exceed what was left, by its own size


@given(sequences, sequences)
def test_edits_make_new_of_old(old: list[str], new: list[str]) -> None:
    found = diff(old, new, Steps(ENOUGH))
    assert patched(old, new, found) == new
    assert all(edit.old_start < edit.old_end or edit.start < edit.end for edit in found)
    assert all(before.old_end < after.old_start and before.end < after.start for before, after in pairwise(found))


@given(sequences, sequences, st.integers(0, 60))
def test_edits_make_new_of_old_with_any_number_of_steps(old: list[str], new: list[str], steps: int) -> None:
    assert patched(old, new, diff(old, new, Steps(steps))) == new


@given(few, few)
def test_the_greedy_search_finds_a_longest_common_subsequence(old: list[str], new: list[str]) -> None:
    ids = {element: ord(element) for element in "abc"}
    pairs = module._greedy([ids[one] for one in old], [ids[one] for one in new], Steps(ENOUGH))
    assert len(pairs) == common(old, new)
    assert all(old[one] == new[other] for one, other in pairs)


@given(st.lists(st.integers(0, 9), max_size=9))
def test_increasing_is_a_longest_increasing_subsequence(values: list[int]) -> None:
    places = increasing(values)
    assert all(one < other and values[one] < values[other] for one, other in pairwise(places))
    best = [0] * len(values)
    for at, value in enumerate(values):
        best[at] = 1 + max((best[before] for before in range(at) if values[before] < value), default=0)
    assert len(places) == max(best, default=0)


def test_edits_apart_make_hunks_of_their_own() -> None:
    first, second = [Edit(1, 2, 1, 3)], [Edit(4, 5, 4, 4)]
    assert meet(first, second, touching=True) == [
        Hunk(slice(1, 2), slice(1, 3), slice(1, 2), by_first=True, by_second=False),
        Hunk(slice(4, 5), slice(5, 6), slice(4, 4), by_first=False, by_second=True),
    ]


def test_touching_edits_share_a_hunk_if_asked() -> None:
    first, second = [Edit(1, 2, 1, 3)], [Edit(2, 3, 2, 2)]
    assert meet(first, second, touching=True) == [
        Hunk(slice(1, 3), slice(1, 4), slice(1, 2), by_first=True, by_second=True)
    ]
    assert len(meet(first, second, touching=False)) == 2


@pytest.mark.parametrize("touching", [True, False])
def test_overlapping_edits_share_a_hunk(touching: bool) -> None:
    first, second = [Edit(0, 3, 0, 1), Edit(4, 5, 2, 2)], [Edit(2, 5, 2, 3)]
    assert meet(first, second, touching=touching) == [
        Hunk(slice(0, 5), slice(0, 2), slice(0, 3), by_first=True, by_second=True)
    ]


@pytest.mark.parametrize("touching", [True, False])
def test_insertions_at_one_place_share_a_hunk(touching: bool) -> None:
    assert meet([Edit(1, 1, 1, 2)], [Edit(1, 1, 1, 3)], touching=touching) == [
        Hunk(slice(1, 1), slice(1, 2), slice(1, 3), by_first=True, by_second=True)
    ]


@given(sequences, sequences, sequences, st.booleans())
def test_hunks_cover_every_edit_and_what_is_between_is_equal(
    base: list[str], first: list[str], second: list[str], touching: bool
) -> None:
    steps = Steps(ENOUGH)
    at, first_at, second_at = 0, 0, 0
    end = Hunk(slice(len(base), 0), slice(len(first), 0), slice(len(second), 0), by_first=False, by_second=False)
    for hunk in [*meet(diff(base, first, steps), diff(base, second, steps), touching=touching), end]:
        between = base[at : hunk.base.start]
        assert first[first_at : hunk.first.start] == between == second[second_at : hunk.second.start]
        assert hunk.by_first or base[hunk.base] == first[hunk.first]
        assert hunk.by_second or base[hunk.base] == second[hunk.second]
        at, first_at, second_at = hunk.base.stop, hunk.first.stop, hunk.second.stop
