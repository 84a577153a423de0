"""Where a page of catch-up ends: pure, so that every store pages alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Weight:
    """What one key adds to a page.

    Attributes:
        key: the key.
        changes: how many siblings it has.
        size: about how many bytes they take.
        targets: the keys that its tombstones moved to.
    """

    key: str
    changes: int
    size: int
    targets: frozenset[str]

    @classmethod
    def of(cls, key: str, siblings: Iterable[tuple[int, str | None]]) -> Weight:
        """Return the weight of a key.

        Args:
            key: the key.
            siblings: about how many bytes each takes in a message, and its `moved_to`.
        """
        found = list(siblings)
        return cls(
            key,
            len(found),
            sum(size for size, _ in found),
            frozenset(target for _, target in found if target),
        )


def fitting(weights: Sequence[Weight], max_changes: int, max_bytes: int) -> int:
    """Return how many of the keys, from the first, make a page.

    At least one, and within the limits if more. Rather a shorter page than the two keys of a rename on two pages: a
    device that has applied only one of them would show the note twice, or not at all, until the next one.
    """
    full = _within(weights, max_changes, max_bytes)
    if full == len(weights):
        return full
    cut = full
    while cut > 1 and _are_one_rename(weights[cut - 1], weights[cut]):
        cut -= 1
    if cut == 1 and _are_one_rename(weights[0], weights[1]):
        # The page would be the first half alone: both of them, if that is all, else as much as fits.
        return max(full, 2)
    return cut


def _within(weights: Sequence[Weight], max_changes: int, max_bytes: int) -> int:
    changes = size = 0
    for number, weight in enumerate(weights):
        changes += weight.changes
        size += weight.size
        if number and (changes > max_changes or size > max_bytes):
            return number
    return len(weights)


def _are_one_rename(first: Weight, second: Weight) -> bool:
    return second.key in first.targets or first.key in second.targets
