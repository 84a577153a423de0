"""Differences of two sequences, and how two of them meet over the same base.

Works on anything hashable: lines, or the tokens of one line. All work is counted in `Steps`, never timed, so that
every replica gets the same answer; when they are used up the answer is coarser, never wrong. What is done with the
differences is merge.py's matter.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T", bound=Hashable)


class TooMuchWork(Exception):
    """What was asked for takes more steps than a purse has."""


class Purse:
    """Steps that several merges have together; who wants more than are left gets nothing, instead of less exactness."""

    __slots__ = ("left",)

    def __init__(self, steps: int) -> None:
        self.left = steps

    def take(self, count: int) -> None:
        """Take steps away.

        Raises:
            TooMuchWork: there are not as many; none is taken then.
        """
        if count > self.left:
            raise TooMuchWork
        self.left -= count


class Steps:
    """How much more work may be done, in comparisons: about 3 million a second.

    Args:
        limit: after so many the answer becomes coarser.
        purse: what they are taken from besides.
    """

    __slots__ = ("_purse", "left")

    def __init__(self, limit: int, purse: Purse | None = None) -> None:
        self.left = limit
        self._purse = purse

    def spend(self, count: int) -> bool:
        """Take steps away; say whether there were as many. Once there were not, no later request is granted.

        Raises:
            TooMuchWork: the purse has not as many.
        """
        if self._purse is not None:
            self._purse.take(count)
        self.left -= count
        return self.left >= 0


class Edit(NamedTuple):
    """`old[old_start:old_end]` became `new[start:end]`; at least one of the two is not empty."""

    old_start: int
    old_end: int
    start: int
    end: int


class Hunk(NamedTuple):
    """A place where at least one of two sides changed the base: three half-open ranges."""

    base: slice
    first: slice
    second: slice
    by_first: bool
    """The first side has an edit here."""
    by_second: bool
    """The second side has an edit here."""


class _Run(NamedTuple):
    """`old[old:old + length] == new[new:new + length]`."""

    old: int
    new: int
    length: int


class _Gap(NamedTuple):
    """What is still to be compared: `old[old_start:old_end]` against `new[start:end]`."""

    old_start: int
    old_end: int
    start: int
    end: int


def diff(old: Sequence[Hashable], new: Sequence[Hashable], steps: Steps) -> list[Edit]:
    """Return the edits that make `new` of `old`, in order, never two without an equal element between them.

    Common ends are stripped, elements that are unique in both sequences anchor the rest, a shortest edit script
    fills what is between them. An insertion or deletion that could stand in several places stands in the last.
    """
    ids: dict[Hashable, int] = {}
    olds = [ids.setdefault(element, len(ids)) for element in old]
    news = [ids.setdefault(element, len(ids)) for element in new]
    return _slide(_edits(_runs(olds, news, steps), len(olds), len(news)), olds, news)


def meet(first: Sequence[Edit], second: Sequence[Edit], *, touching: bool) -> list[Hunk]:
    """Group the edits of two sides of one base into hunks.

    Args:
        first: edits of the first side, as `diff` returns them.
        second: edits of the second side of the same base.
        touching: whether edits that touch without overlapping share a hunk. Two insertions at one place always do.
    """
    queue = sorted([(edit, 0) for edit in first] + [(edit, 1) for edit in second])
    hunks = []
    shift = [0, 0]  # how far each side's index runs ahead of the base's, before the hunk
    at = 0
    while at < len(queue):
        start, end = queue[at][0][:2]
        before = tuple(shift)
        changed = [False, False]
        while at < len(queue) and _joins(queue[at][0], start, end, touching=touching or not any(changed)):
            edit, side = queue[at]
            end = max(end, edit.old_end)
            shift[side] = edit.end - edit.old_end
            changed[side] = True
            at += 1
        first_range, second_range = (slice(start + before[side], end + shift[side]) for side in (0, 1))
        hunks.append(Hunk(slice(start, end), first_range, second_range, *changed))
    return hunks


def increasing(values: Sequence[int]) -> list[int]:
    """Return the positions of a longest strictly increasing subsequence."""
    tails: list[int] = []  # smallest last value of an increasing subsequence of each length
    places: list[int] = []
    previous: list[int] = []
    for place, value in enumerate(values):
        length = bisect_left(tails, value)
        previous.append(places[length - 1] if length else -1)
        tails[length : length + 1] = [value]
        places[length : length + 1] = [place]
    chain = []
    place = places[-1] if places else -1
    while place >= 0:
        chain.append(place)
        place = previous[place]
    return chain[::-1]


def unique_in_both(
    old: Sequence[T], new: Sequence[T], counts: Callable[[T], bool] = lambda _: True
) -> list[tuple[int, int]]:
    """Return the index pairs of elements that both sequences have exactly once, as far as they keep their order.

    Args:
        old: one sequence.
        new: the other.
        counts: which elements are looked at.
    """
    theirs = singles(new)
    pairs = [(at, theirs[element]) for element, at in singles(old).items() if element in theirs and counts(element)]
    return [pairs[place] for place in increasing([pair[1] for pair in pairs])]


def singles(elements: Sequence[T]) -> dict[T, int]:
    """Return where the elements are that a sequence has exactly once."""
    places: dict[T, int] = {}
    repeated = set()
    for index, element in enumerate(elements):
        if places.setdefault(element, index) != index:
            repeated.add(element)
    return {element: index for element, index in places.items() if element not in repeated}


def _joins(edit: Edit, start: int, end: int, *, touching: bool) -> bool:
    """Say whether an edit that starts no earlier belongs to a hunk over `start:end` of the base."""
    if edit.old_start < end or touching:
        return edit.old_start <= end
    return edit.old_start == edit.old_end == start == end


def _runs(old: list[int], new: list[int], steps: Steps) -> list[_Run]:
    """Return the runs that the sequences share, in order."""
    runs: list[_Run] = []
    gaps = [_Gap(0, len(old), 0, len(new))]
    while gaps:
        gap = _strip(old, new, gaps.pop(), runs)
        if gap.old_start == gap.old_end or gap.start == gap.end:
            continue
        if not steps.spend(gap.old_end - gap.old_start + gap.end - gap.start):
            continue
        anchors = unique_in_both(old[gap.old_start : gap.old_end], new[gap.start : gap.end])
        if anchors:
            gaps += _between(gap, anchors, runs)
        else:
            runs += _shortest(old, new, gap, steps)
    return sorted(runs)


def _strip(old: list[int], new: list[int], gap: _Gap, runs: list[_Run]) -> _Gap:
    """Take the common ends off a gap and note them as runs."""
    old_start, old_end, start, end = gap
    while old_start < old_end and start < end and old[old_start] == new[start]:
        old_start, start = old_start + 1, start + 1
    if start > gap.start:
        runs.append(_Run(gap.old_start, gap.start, start - gap.start))
    while old_start < old_end and start < end and old[old_end - 1] == new[end - 1]:
        old_end, end = old_end - 1, end - 1
    if end < gap.end:
        runs.append(_Run(old_end, end, gap.end - end))
    return _Gap(old_start, old_end, start, end)


def _between(gap: _Gap, anchors: list[tuple[int, int]], runs: list[_Run]) -> list[_Gap]:
    """Note the anchors, whose indexes count from the gap's start, and return the gaps before, between and after."""
    gaps = []
    old_from, new_from = gap.old_start, gap.start
    for old_at, new_at in anchors:
        runs.append(_Run(gap.old_start + old_at, gap.start + new_at, 1))
        gaps.append(_Gap(old_from, gap.old_start + old_at, new_from, gap.start + new_at))
        old_from, new_from = gap.old_start + old_at + 1, gap.start + new_at + 1
    gaps.append(_Gap(old_from, gap.old_end, new_from, gap.end))
    return gaps


def _shortest(old: list[int], new: list[int], gap: _Gap, steps: Steps) -> list[_Run]:
    """Return the runs of a shortest edit script of a gap; none if the steps don't suffice.

    Elements that the other side lacks can be in no run, so they are left out first.
    """
    olds = _shared(old, gap.old_start, gap.old_end, new[gap.start : gap.end])
    news = _shared(new, gap.start, gap.end, old[gap.old_start : gap.old_end])
    pairs = _greedy([old[place] for place in olds], [new[place] for place in news], steps)
    return [_Run(olds[old_at], news[new_at], 1) for old_at, new_at in pairs]


def _shared(elements: list[int], start: int, end: int, others: list[int]) -> list[int]:
    wanted = set(others)
    return [place for place in range(start, end) if elements[place] in wanted]


def _greedy(old: list[int], new: list[int], steps: Steps) -> list[tuple[int, int]]:
    """Return the equal pairs of a shortest edit script (Myers 1986), last first; none if the steps don't suffice.

    `reach[k + zero]` is the furthest index in old that was reached on diagonal k = old index - new index.
    """
    zero = len(new) + 1
    end = zero + len(old) - len(new)
    reach = [-1] * (len(old) + len(new) + 3)
    reach[zero + 1] = 0
    trail: list[tuple[int, array[int]]] = []
    while reach[end] < len(old):
        cost = len(trail)
        low = zero - (cost - 2 * max(0, cost - len(new)))  # beyond these diagonals the edge has been reached
        high = zero + (cost - 2 * max(0, cost - len(old)))
        if not steps.spend(high - low + 3):
            return []
        trail.append((low - 1, array("i", reach[low - 1 : high + 2])))
        for diagonal in range(low, high + 1, 2):
            x = max(reach[diagonal - 1] + 1, reach[diagonal + 1])
            y = begun = x - diagonal + zero
            while x < len(old) and y < len(new) and old[x] == new[y]:
                x, y = x + 1, y + 1
            steps.spend(y - begun)
            reach[diagonal] = x
    return _walk_back(trail, len(old), len(new), zero)


def _walk_back(trail: list[tuple[int, array[int]]], x: int, y: int, zero: int) -> list[tuple[int, int]]:
    """Follow the greedy search back from its end and return the equal pairs, last first."""
    pairs = []
    for low, reach in reversed(trail):
        diagonal = x - y + zero - low
        across, down = reach[diagonal - 1], reach[diagonal + 1]
        begun = max(across + 1, down)
        pairs += [(x - back, y - back) for back in range(1, x - begun + 1)]
        y -= x - begun
        x = begun
        if down > across:
            y -= 1
        else:
            x -= 1
    return pairs


def _edits(runs: list[_Run], old_size: int, new_size: int) -> list[Edit]:
    """Return what lies between the runs."""
    edits = []
    old_at = new_at = 0
    for old_start, start, length in [*runs, _Run(old_size, new_size, 0)]:
        if old_at < old_start or new_at < start:
            edits.append(Edit(old_at, old_start, new_at, start))
        old_at, new_at = old_start + length, start + length
    return edits


def _slide(edits: list[Edit], old: list[int], new: list[int]) -> list[Edit]:
    """Move each pure insertion or deletion down as far as it goes; one that arrives at the next joins it."""
    done: list[Edit] = []  # last first
    for edit in reversed(edits):
        after = done[-1].old_start if done else len(old)
        edit = _slide_one(edit, old, new, after)
        if done and edit.old_end == after:
            edit = Edit(edit.old_start, done[-1].old_end, edit.start, done.pop().end)
        done.append(edit)
    return done[::-1]


def _slide_one(edit: Edit, old: list[int], new: list[int], after: int) -> Edit:
    """Move one edit down, at most until its old end is at `after`."""
    old_start, old_end, start, end = edit
    if old_start < old_end and start < end:
        return edit
    side, head, tail = (new, start, end) if old_start == old_end else (old, old_start, old_end)
    far = 0
    while old_end + far < after and side[head + far] == side[tail + far]:
        far += 1
    return Edit(old_start + far, old_end + far, start + far, end + far)
