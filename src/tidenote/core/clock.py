"""The Lamport clock and the bounds of a timestamp.

One replica keeps one clock a vault. The wall clock orders nothing (Lamport 1978, rules IR1 and IR2).
"""

from __future__ import annotations

from typing import Final

MAX_TIMESTAMP: Final = 2**53 - 1
"""The greatest timestamp: the greatest integer that every JSON implementation reads back unchanged."""

MAX_LEAD: Final = 2**20
"""How far a timestamp may be ahead of the server's clock whatever the wall clock says."""

MAX_WALL_LEAD: Final = 2**32
"""How far, in ms, a timestamp may be ahead of the server's wall clock (clients may count in milliseconds)."""


class LamportClock:
    """A logical clock that a write advances and that every seen timestamp pushes forward.

    Args:
        time: the last timestamp issued or seen; 0 for a new replica.
    """

    __slots__ = ("time",)

    def __init__(self, time: int = 0) -> None:
        self.time = time

    def tick(self) -> int:
        """Return the timestamp of a new write: one greater than everything seen."""
        self.time += 1
        return self.time

    def observe(self, *timestamps: int) -> None:
        """Note timestamps and receipts seen, so that the next write is greater than all of them."""
        self.time = max((self.time, *timestamps))


def is_timestamp(value: object) -> bool:
    """Say whether a value is an integer in 1..2^53-1 (`True` is not an integer here)."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_TIMESTAMP


def too_far_ahead(timestamp: int, clock: int, wall_ms: int) -> bool:
    """Say whether a timestamp would poison the clock.

    Args:
        timestamp: of the change, 1..2^53-1.
        clock: the server's Lamport clock.
        wall_ms: the server's wall clock, ms since 1970.
    """
    return timestamp > clock + MAX_LEAD and timestamp > wall_ms + MAX_WALL_LEAD
