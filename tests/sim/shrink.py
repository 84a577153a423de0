"""Finds few actions that still fail: leaves out halves, quarters, ... and keeps what is left if it fails, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

MAX_TRIES: Final = 400
"""After so many runs what is left is small enough."""


def shrunk(items: Sequence[T], fails: Callable[[Sequence[T]], bool], *, max_tries: int = MAX_TRIES) -> list[T]:
    """Return a part of the items, in order, that still fails and from which hardly one can be left out.

    Args:
        items: that fail.
        fails: tells whether some items do.
        max_tries: how often it may be asked.
    """
    left = list(items)
    size = max(1, len(left) // 2)
    tries = 0
    while tries < max_tries:
        at, shorter = 0, False
        while at < len(left) and tries < max_tries:
            without = left[:at] + left[at + size :]
            tries += 1
            if fails(without):
                left, shorter = without, True
            else:
                at += size
        if size == 1 and not shorter:
            break
        size = max(1, size // 2) if not shorter or size > 1 else 1
    return left
