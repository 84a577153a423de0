"""Shrinking finds the actions that matter, and gives up in time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sim.shrink import MAX_WORK, RUN, shrunk

pytestmark = pytest.mark.sim

ITEMS = range(300)


def test_what_matters_is_left() -> None:
    def failing(items: Sequence[int]) -> int | None:
        return items.index(211) + 1 if {17, 80, 211} <= set(items) else None

    assert shrunk(ITEMS, failing) == [17, 80, 211]


def test_the_work_is_bounded() -> None:
    work = 0

    def failing(items: Sequence[int]) -> int | None:
        nonlocal work
        work += len(items)
        return None

    assert shrunk(ITEMS, failing, max_work=3) == list(ITEMS)
    assert work <= 4 * len(ITEMS)
    work = 0
    assert shrunk(ITEMS, failing) == list(ITEMS)
    assert work <= MAX_WORK * len(ITEMS) + len(ITEMS) + RUN
