"""Finds few actions that still fail: leaves out halves, quarters, ... and keeps what is left if it fails, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

MAX_WORK: Final = 100
"""How often all items may be run, or as many of them in shorter runs; what is left then is small enough."""

RUN: Final = 10
"""What a run costs beside its items: as much as so many of them."""


def shrunk(items: Sequence[T], failing: Callable[[Sequence[T]], int | None], *, max_work: int = MAX_WORK) -> list[T]:
    """Return a part of the items, in order, that still fails and from which hardly one can be left out.

    Args:
        items: that fail.
        failing: tells how many of some items, from the first on, are enough to fail; None if all of them do not.
        max_work: how often all items may be run.
    """
    left = list(items)
    size = max(1, len(left) // 2)
    work = max_work * len(left)
    while work > 0:
        at, shorter = 0, False
        while at < len(left) and work > 0:
            without = left[:at] + left[at + size :]
            work -= len(without) + RUN
            enough = failing(without)
            if enough is None:
                at += size
            else:
                left, shorter = without[:enough], True
        if size == 1 and not shorter:
            break
        size = max(1, size // 2) if not shorter or size > 1 else 1
    return left
