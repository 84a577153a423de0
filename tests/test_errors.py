from __future__ import annotations

from http import HTTPStatus

import pytest

from tidenote import errors
from tidenote.errors import CODES, Action, TidenoteError

CLASSES = [
    found
    for found in vars(errors).values()
    if isinstance(found, type) and issubclass(found, TidenoteError) and found is not TidenoteError
]


@pytest.mark.parametrize("code", CODES)
def test_a_code_says_what_to_do_and_why(code: str) -> None:
    row = CODES[code]
    assert code.replace("_", "").isalpha()
    assert code == code.lower()
    assert 400 <= HTTPStatus(row.http_status) < 600
    assert row.meaning
    assert not row.meaning.endswith(".")


def test_every_action_is_called_for() -> None:
    assert {row.action for row in CODES.values()} == set(Action)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_has_a_code_of_its_own(kind: type[TidenoteError]) -> None:
    error = kind("one line")
    assert (str(error), error.message, error.code) == ("one line", "one line", kind.default_code)
    assert error.action is CODES[kind.default_code].action


def test_errors_of_one_class_differ_by_their_codes() -> None:
    defaults = [kind.default_code for kind in CLASSES]
    assert len(set(defaults)) == len(defaults)
    assert errors.RefusedChange("why", "dot_reused").action is Action.REINCARNATE


def test_a_code_that_is_not_in_the_table_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        TidenoteError("why", "no_such_code")


def test_the_tree_is_the_one_that_is_drawn() -> None:
    drawn = errors.__doc__ or ""
    assert all(kind.__bases__ == (TidenoteError,) and kind.__name__ in drawn for kind in CLASSES)


@pytest.mark.parametrize(
    ("code", "action"),
    [
        ("clock_too_far", Action.RESTAMP),
        ("dot_reused", Action.REINCARNATE),
        ("blob_missing", Action.UPLOAD),
        ("resync_required", Action.RESYNC),
        ("bad_key", Action.PARK),
        ("storage_full", Action.RETRY),
        ("unauthorized", Action.STOP),
    ],
)
def test_what_a_client_does(code: str, action: Action) -> None:
    assert CODES[code].action is action
