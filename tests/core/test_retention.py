from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.changes import attach, changes_of_one_key, delete, dots, write
from core.records import called, history, standing, without_text
from tidenote.core.retention import (
    DAY_MS,
    MAX_INCARNATIONS,
    Policy,
    is_forgettable,
    surplus,
    surplus_incarnations,
)
from tidenote.core.version import Change, Dot, Record

POLICY = Policy(all_days=90, daily_days=365, tombstone_days=365)
HOUR_MS = DAY_MS // 24


def chain(number: int) -> list[Change]:
    """Return edits of one device, each based on the one before."""
    return [write("1a", base="")] + [write(f"{n}a", base=f"{n - 1}a") for n in range(2, number + 1)]


def gone(
    records: list[Record], siblings: frozenset[Dot], now_ms: int, policy: Policy = POLICY, cursors: tuple[int, ...] = ()
) -> str:
    """Return the short names of what is not kept any longer."""
    found = surplus(records, siblings, now_ms=now_ms, policy=policy, cursors=cursors)
    return called(record for record in records if record.dot in found)


# -- by age


def test_everything_young_is_kept() -> None:
    records = history(*chain(6), every_ms=HOUR_MS)
    assert gone(records, dots("6a"), 90 * DAY_MS) == ""


def test_of_a_day_long_ago_its_last_version_stays() -> None:
    records = history(*chain(8), every_ms=8 * HOUR_MS, start_ms=-8 * HOUR_MS)  # three a day: 1 2 3, 4 5 6, 7 8
    assert gone(records, dots("8a"), 200 * DAY_MS) == "1a 2a 4a 5a"


def test_long_after_only_what_is_shown_and_its_base_stay() -> None:
    records = history(*chain(8), every_ms=8 * HOUR_MS)
    assert gone(records, dots("8a"), 500 * DAY_MS) == "1a 2a 3a 4a 5a 6a"


def test_a_policy_of_nothing_still_keeps_what_is_shown() -> None:
    records = history(*chain(5), every_ms=HOUR_MS)
    assert gone(records, dots("5a"), 9 * DAY_MS, Policy(0, 0, 0)) == "1a 2a 3a"


def test_a_deletion_has_nothing_to_lose_and_does_not_count_as_a_days_last() -> None:
    changes = [write("1a", base=""), write("2a", base="1a"), delete("3a", base="2a"), write("4a", base="3a")]
    records = history(*changes, every_ms=HOUR_MS)
    assert gone(records, dots("4a"), 200 * DAY_MS) == "1a 2a"
    records[3] = replace(records[3], received_at=DAY_MS)
    assert gone(records, dots("4a"), 200 * DAY_MS) == "1a"


def test_blobs_are_let_go_like_texts() -> None:
    changes = [attach("1a", base=""), attach("2a", base="1a"), attach("3a", base="2a")]
    assert gone(history(*changes), dots("3a"), 900 * DAY_MS) == "1a"


# -- by need


def test_while_there_are_several_siblings_everything_stays() -> None:
    changes = [*chain(4), write("5b", base="3a")]
    assert gone(history(*changes), standing(changes), 900 * DAY_MS) == ""


def test_while_a_merge_is_to_be_looked_at_everything_stays() -> None:
    changes = [*chain(4), replace(write("5s", base="4a"), conflict=True)]
    assert gone(history(*changes), standing(changes), 900 * DAY_MS) == ""
    changes.append(write("6a", base="5s"))
    assert gone(history(*changes), standing(changes), 900 * DAY_MS) == "1a 2a 3a 4a"


def test_what_a_device_last_saw_stays() -> None:
    records = history(*chain(8))
    assert gone(records, dots("8a"), 900 * DAY_MS, cursors=(35, 50, 0, 5, 80, 99)) == "1a 2a 4a 6a"


def test_the_text_before_a_deletion_stays_while_the_deletion_is_remembered() -> None:
    changes = [*chain(4), delete("5a", base="4a")]
    records = history(*changes)
    assert gone(records, dots("5a"), 900 * DAY_MS) == "1a 2a 3a"
    assert gone(records, frozenset(), 900 * DAY_MS) == "1a 2a 3a 4a"


# -- properties

policies = st.builds(Policy, *[st.integers(0, 5)] * 4)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Record], frozenset[Dot]]:
    changes = draw(changes_of_one_key())
    texts = st.sampled_from(["x", "y", None])
    changes = [replace(change, value=draw(texts), conflict=draw(st.booleans())) for change in changes]
    records = history(*changes)
    records = [replace(record, received_at=draw(st.integers(0, 10 * DAY_MS))) for record in records]
    return records, standing(changes)


@given(histories(), policies, st.integers(0, 20 * DAY_MS), st.lists(st.integers(0, 100)))
def test_what_is_needed_is_never_let_go(
    drawn: tuple[list[Record], frozenset[Dot]], policy: Policy, now_ms: int, cursors: list[int]
) -> None:
    records, siblings = drawn
    found = surplus(records, siblings, now_ms=now_ms, policy=policy, cursors=cursors)
    present = [record for record in records if record.dot in siblings]
    assert not found & siblings
    assert not found & frozenset().union(*(record.base or () for record in present))
    assert not (found and len(present) > 1)
    for record in records:
        if record.dot in found:
            assert record.kept
            assert now_ms - record.received_at >= policy.all_days * DAY_MS
    for cursor in cursors:
        seen = [record for record in records if record.receipt <= cursor]
        assert not found & standing(Change(r.key, r.dot, base=r.base) for r in seen)


@given(histories(), policies, st.integers(0, 20 * DAY_MS))
def test_doing_it_again_finds_nothing(drawn: tuple[list[Record], frozenset[Dot]], policy: Policy, now_ms: int) -> None:
    records, siblings = drawn
    first = surplus(records, siblings, now_ms=now_ms, policy=policy)
    assert surplus(without_text(records, first), siblings, now_ms=now_ms, policy=policy) == frozenset()


@given(histories(), policies, st.integers(0, 20 * DAY_MS))
def test_every_day_that_is_not_too_old_keeps_a_version(
    drawn: tuple[list[Record], frozenset[Dot]], policy: Policy, now_ms: int
) -> None:
    records, siblings = drawn
    left = without_text(records, surplus(records, siblings, now_ms=now_ms, policy=policy))
    oldest_ms = now_ms - (policy.all_days + policy.daily_days) * DAY_MS
    days = {record.received_at // DAY_MS for record in records if record.kept and record.received_at > oldest_ms}
    assert days <= {record.received_at // DAY_MS for record in left if record.kept}


# -- tombstones


@pytest.mark.parametrize(
    ("age_days", "cursors", "expected"),
    [
        (365, [], True),
        (364, [], False),
        (365, [20, 30], True),
        (365, [20, 19], False),
        (900, [19], False),
        (365, [0, 20], True),
        (inf, [0], True),
    ],
)
def test_a_tombstone_outlives_a_year_and_every_known_device(
    age_days: float, cursors: list[int], expected: bool
) -> None:
    records = history(write("1a", base=""), delete("2a", base="1a"))
    now_ms = int(min(age_days, 10_000) * DAY_MS)
    assert is_forgettable(records, dots("2a"), 20, now_ms=now_ms, policy=POLICY, cursors=cursors) is expected


def test_what_is_not_deleted_is_not_forgotten() -> None:
    records = history(write("1a", base=""), delete("2a", base="1a"), write("3a"))
    for siblings in ("3a", "2a 3a"):
        assert not is_forgettable(records, dots(siblings), 30, now_ms=10_000 * DAY_MS, policy=POLICY)


def test_of_one_device_the_incarnations_that_were_here_last_are_waited_for() -> None:
    few = {f"laptop~{number}": number for number in range(2, MAX_INCARNATIONS)}
    assert surplus_incarnations(few) == frozenset()
    many = {f"phone~{number}": number for number in range(2, MAX_INCARNATIONS + 3)} | {"phone": 10**6, "pho": 0}
    assert surplus_incarnations(few | many) == {"phone~2", "phone~3"}
