"""The base of a three-way merge: the nearest common ancestor in the graph of one key's versions.

Pure. An edge leads from a version to each dot of its base; a blind write has none. Only a base that is certain counts:
of several nearest ancestors, or where a version is missing, none is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from heapq import heappop, heappush
from typing import Final

from tidenote.core.version import Dot

MAX_STEPS: Final = 10_000
"""How many versions one search looks at; further apart counts as unclear."""

_FIRST, _SECOND, _STALE = 1, 2, 4
_COMMON = _FIRST | _SECOND


class NoBase(Enum):
    """Why there is no nearest common ancestor."""

    NONE = "none"
    """The histories are known to their beginnings, and share nothing."""
    UNCLEAR = "unclear"
    """Several are nearest, a version is missing, or the search went too far."""


def nearest_common_ancestor(
    first: Iterable[Dot], second: Iterable[Dot], parents: Callable[[Dot], frozenset[Dot] | None]
) -> Dot | NoBase:
    """Return the one version that both sides were made of and that no later such version was made of.

    Args:
        first: the dots that one side unites: a version's own, or those of the versions merged so far.
        second: the other side's.
        parents: returns the base of a version, empty for a blind write; None if the version is missing.
    """
    walk = _Walk()
    for dot in first:
        walk.reach(dot, _FIRST)
    for dot in second:
        walk.reach(dot, _SECOND)
    nearest: list[Dot] = []
    for _ in range(MAX_STEPS):
        if not walk.fresh:
            return nearest[0] if len(nearest) == 1 else NoBase.UNCLEAR if nearest else NoBase.NONE
        dot, sides = walk.pop()
        base = parents(dot)
        if sides < _STALE:
            if base is None:
                return NoBase.UNCLEAR
            if sides == _COMMON:
                nearest.append(dot)
                sides |= _STALE
        for parent in base or ():
            walk.reach(parent, sides)
    return NoBase.UNCLEAR


class _Walk:
    """Versions from the latest to the earliest, each with the sides that it was reached from.

    A base is older than its change, so whatever was made of a version is popped before it: its sides are complete.
    """

    def __init__(self) -> None:
        self.fresh = 0
        """How many wait that don't lie behind a common ancestor."""
        self._sides: dict[Dot, int] = {}
        self._queue: list[tuple[int, Dot]] = []

    def reach(self, dot: Dot, sides: int) -> None:
        """Note that a version was reached from some sides."""
        before = self._sides.get(dot)
        after = (before or 0) | sides
        if before is None:
            heappush(self._queue, (-dot.timestamp, dot))
        self.fresh += (after < _STALE) - (before is not None and before < _STALE)
        self._sides[dot] = after

    def pop(self) -> tuple[Dot, int]:
        """Take the latest version that waits."""
        _, dot = heappop(self._queue)
        sides = self._sides[dot]
        self.fresh -= sides < _STALE
        return dot, sides
