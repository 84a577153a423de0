"""How hard the laws that everything stands on are tried: the join, the merge, the planner."""

from __future__ import annotations

from hypothesis import settings

TIMES = 4
"""How many times more examples a law gets than another property: 2,000 in CI."""


def law(*, print_blob: bool = False) -> settings:
    """Return the settings of a law."""
    return settings(max_examples=TIMES * settings().max_examples, print_blob=print_blob)
