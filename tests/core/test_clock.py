from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidenote.core.clock import MAX_LEAD, MAX_TIMESTAMP, MAX_WALL_LEAD, LamportClock, is_timestamp, too_far_ahead


def test_a_new_replica_writes_at_one() -> None:
    assert LamportClock().tick() == 1


def test_ticks_go_on_from_where_the_clock_was() -> None:
    clock = LamportClock(41)
    assert [clock.tick(), clock.tick()] == [42, 43]


@pytest.mark.parametrize(("seen", "time"), [((), 10), ((3,), 10), ((10,), 10), ((11,), 11), ((4, 20, 7), 20)])
def test_what_is_seen_moves_the_clock_only_forward(seen: tuple[int, ...], time: int) -> None:
    clock = LamportClock(10)
    clock.observe(*seen)
    assert clock.time == time


@given(st.lists(st.lists(st.integers(0, 1000))))
def test_a_write_is_greater_than_everything_seen_and_written_before(rounds: list[list[int]]) -> None:
    clock, before = LamportClock(), [0]
    for seen in rounds:
        clock.observe(*seen)
        before += seen
        written = clock.tick()
        assert written == max(before) + 1
        before.append(written)


@pytest.mark.parametrize("value", [1, 2, 2**53 - 1])
def test_timestamps(value: object) -> None:
    assert is_timestamp(value)


@pytest.mark.parametrize("value", [0, -1, 2**53, 2**63, 1.0, 1.5, "9", True, None, [1], float("nan"), float("inf")])
def test_no_timestamps(value: object) -> None:
    assert not is_timestamp(value)


WALL = 1_760_000_000_000


@pytest.mark.parametrize(
    ("timestamp", "clock", "wall_ms", "too_far"),
    [
        (1, 0, 0, False),
        (MAX_LEAD, 0, 0, False),
        # Over the lead of the clock, but the wall clock allows it: a plain client that counts in milliseconds.
        (MAX_LEAD + 1, 0, 0, False),
        (WALL, 5, WALL, False),
        (WALL + MAX_WALL_LEAD, 5, WALL, False),
        (WALL + MAX_WALL_LEAD + 1, 5, WALL, True),
        # Over the lead of the wall clock, but the log is there already.
        (MAX_WALL_LEAD + 1, MAX_WALL_LEAD, 0, False),
        (MAX_WALL_LEAD + MAX_LEAD, MAX_WALL_LEAD, 0, False),
        (MAX_WALL_LEAD + MAX_LEAD + 1, MAX_WALL_LEAD, 0, True),
        (MAX_TIMESTAMP, 0, WALL, True),
    ],
)
def test_a_timestamp_poisons_the_clock_if_it_is_far_ahead_of_both(
    timestamp: int, clock: int, wall_ms: int, too_far: bool
) -> None:
    assert too_far_ahead(timestamp, clock, wall_ms) is too_far
