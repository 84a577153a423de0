from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.changes import at, changes_of_one_key, delete, dots, survivors, write
from core.records import called, history, standing
from tidenote.core.history import Undo, Undone, as_of, siblings_after, undo, winner
from tidenote.core.version import Change, Record

# -- what a key was


@given(changes_of_one_key())
def test_the_siblings_after_each_record_are_those_of_the_register(changes: list[Change]) -> None:
    found = list(siblings_after(history(*changes)))
    assert found == [standing(changes[:number]) for number in range(1, len(changes) + 1)]


@given(changes_of_one_key(), st.integers(0, 90))
def test_a_key_is_shown_as_it_was_after_a_receipt(changes: list[Change], receipt: int) -> None:
    found = as_of(history(*changes), receipt)
    assert [record.dot for record in found] == [change.dot for change in survivors(changes[: receipt // 10])]


def test_nobody_had_written_it() -> None:
    assert as_of(history(write("1a")), 9) == []
    assert winner([]) is None


def test_the_winner_is_the_greatest_that_is_no_deletion() -> None:
    records = history(write("1a"), delete("9b"), write("3c"))
    assert winner(records) == records[2]
    assert winner(records[1:2]) == records[1]


# -- what it would be without somebody's changes


def undone(*changes: Change, device: str = "d") -> Undo | Undone:
    return undo(history(*changes), standing(changes), lambda record: record.dot.device_id == device)


def said(result: Undo | Undone) -> str | Undone:
    """Return the name of what stood before."""
    if isinstance(result, Undone):
        return result
    return called([result.before]) if result.before else ""


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param([write("1a", base=""), write("2d", base="1a")], "1a", id="an edit"),
        pytest.param([write("1a", base=""), write("2d", base="1a"), write("3d", base="2d")], "1a", id="several edits"),
        pytest.param([write("1d", base="")], "", id="what it created"),
        pytest.param([write("1a", base=""), delete("2d", base="1a")], "1a", id="a deletion"),
        pytest.param([write("1a", base=""), write("2d")], "1a", id="a blind write"),
        pytest.param([write("9a"), write("2d")], Undone.NOTHING, id="a blind write that lost"),
        pytest.param([write("1a", base=""), write("2a", base="1a")], Undone.NOTHING, id="nothing of theirs"),
        pytest.param(
            [write("1a", base=""), write("2d", base="1a"), write("3b", base="2d")], Undone.BUILT_ON, id="edited since"
        ),
        pytest.param([write("1d", base=""), write("2b")], Undone.BUILT_ON, id="replaced blindly since"),
        pytest.param([write("1a", base=""), write("2d", base="1a"), write("2b", base="1a")], "2b", id="beside an edit"),
        pytest.param(
            [write("1a", base=""), *(write(f"2{by}", base="1a") for by in "dbc")],
            Undone.OPEN_CONFLICT,
            id="beside a conflict of others",
        ),
        pytest.param(
            [write("1a", base=""), write("2d", base="1a"), write("2b", base="1a"), write("4b", base="2b 2d")],
            Undone.BUILT_ON,
            id="merged since",
        ),
        pytest.param(
            [write("1d", base=""), write("2b", base="1d"), write("3d", base="2b")],
            Undone.BUILT_ON,
            id="edited in between",
        ),
        pytest.param(
            [write("1a", base=""), write("1b", base=""), write("3d", base="1a 1b")], "1b", id="what settled two"
        ),
        pytest.param([write("3d", base="1x")], "", id="on a base that never came"),
        pytest.param(
            [
                write("1a", base=""),
                write("2d", base="1a"),
                write("3d", base="1a"),
                write("4d", base="2d 3d"),
            ],
            "1a",
            id="two ways back to one",
        ),
    ],
)
def test_changes_are_taken_back(changes: list[Change], expected: str | Undone) -> None:
    assert said(undone(*changes)) == expected


@given(changes_of_one_key())
def test_without_a_change_of_theirs_there_is_nothing_to_take_back(changes: list[Change]) -> None:
    assert undone(*changes, device="nobody") is Undone.NOTHING


@given(changes_of_one_key())
def test_only_what_others_wrote_comes_back(changes: list[Change]) -> None:
    result = undone(*changes, device="a")
    if isinstance(result, Undo):
        assert any(dot.device_id == "a" for dot in standing(changes))
        assert result.before is None or result.before.dot.device_id != "a"


def test_only_what_is_asked_for_is_taken_back() -> None:
    changes = [write("1d", base=""), write("2d", base="1d"), write("3d", base="2d")]
    records = history(*changes)

    def since(record: Record) -> bool:
        return record.receipt > 10

    assert said(undo(records, dots("3d"), since)) == "1d"
    assert records[0].dot == at("1d")
