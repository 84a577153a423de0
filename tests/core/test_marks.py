"""The mark of a note that a person should look at, and what the server writes on a person's behalf (core/intake.py)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.changes import KEY, names, write
from core.log import Log
from tidenote.core.intake import Refused, Taken
from tidenote.core.version import UNDATED, Change, Dot

OTHER = "note:b.md"


def marked_log() -> tuple[Log, Dot]:
    """Return a log with one note that is a merge to look at, and the merge's dot."""
    log = Log()
    log.take_in([write("1a", "one\n\ntwo", base="")])
    log.take_in([write("5a", "ONE\n\ntwo", base="1a")])
    log.take_in([write("5b", "one\n\nTWO", base="1a")])
    (merge,) = log.register(KEY).siblings
    assert (merge.value, merge.conflict) == ("ONE\n\nTWO", True)
    return log, merge.dot


def only(log: Log, key: str = KEY) -> Change:
    (change,) = log.register(key).siblings
    return change


def behalf(log: Log, value: str | None, *, key: str = KEY, base: frozenset[Dot] | None = None) -> Change:
    return Change(key, UNDATED, value, base=log.register(key).dots if base is None else base)


# -- marks


@pytest.mark.parametrize("blind", [False, True])
def test_an_edit_of_a_marked_note_is_marked(blind: bool) -> None:
    log, merge = marked_log()
    edit = replace(write("20a", "edited"), base=None if blind else frozenset([merge]))
    marked_at = log.clock
    batch = log.take_in([edit])
    assert batch.results == [Taken(edit, batch.clock, changed_before=marked_at)]
    assert only(log) == replace(edit, conflict=True)
    again = log.take_in([edit]).results[0]
    assert isinstance(again, Taken)
    assert again.duplicate


def test_an_edit_that_has_not_seen_the_mark_is_not_marked_but_what_is_made_of_both_is() -> None:
    log, _ = marked_log()
    batch = log.take_in([write("20c", "one\n\ntwo\n\nthree", base="1a")])
    assert not batch.versions[0].change.conflict
    assert only(log).value == "ONE\n\nTWO\n\nthree"
    assert only(log).conflict


def test_a_deletion_takes_the_mark_away() -> None:
    log, merge = marked_log()
    log.take_in([replace(write("20a", None), base=frozenset([merge]))])
    assert only(log).deleted
    assert not only(log).conflict


def test_a_rename_carries_the_mark_along() -> None:
    log, merge = marked_log()
    create = write("20a", "ONE\n\nTWO", key=OTHER, base="")
    gone = replace(write("21a", None), base=frozenset([merge]), moved_to=OTHER)
    log.take_in([create, gone])
    found = only(log, OTHER)
    assert (found.value, found.conflict, found.merged_from) == ("ONE\n\nTWO", True, frozenset([merge]))
    assert found.base == frozenset([create.dot])
    assert found.dot == Dot(log.clock, log.author)
    assert only(log) == gone


# -- on a person's behalf


def test_the_server_writes_over_exactly_what_was_seen() -> None:
    log, merge = marked_log()
    batch = log.take_in([behalf(log, "settled")])
    (taken,) = batch.results
    assert isinstance(taken, Taken)
    assert taken.change.dot == Dot(batch.clock, log.author) == Dot(taken.receipt, log.author)
    assert only(log) == Change(KEY, taken.change.dot, "settled", base=frozenset([merge]))


def test_what_others_wrote_over_meanwhile_is_stale_and_nothing_of_the_push_is_taken_in() -> None:
    log, _ = marked_log()
    settling = [behalf(log, "beside", key=OTHER), behalf(log, "settled")]
    late = write("20c", "late", base="")
    batch = log.take_in([late], settling)
    assert [result.code for result in batch.results if isinstance(result, Refused)] == ["stale", "stale"]
    assert late in [version.change for version in batch.versions]
    assert not log.register(OTHER).siblings


def test_of_two_that_settle_at_once_the_second_is_stale() -> None:
    log, _ = marked_log()
    batch = log.take_in([behalf(log, "first")], [behalf(log, "second")])
    assert [isinstance(result, Taken) for result in batch.results] == [True, False]
    assert only(log).value == "first"


def test_what_comes_after_it_was_settled_stays_beside_it() -> None:
    log, _ = marked_log()
    log.take_in([behalf(log, "settled")], [write("20c", "something else", base="")])
    assert names(log.register(KEY).siblings).endswith("20c")
    assert [change.value for change in log.register(KEY).siblings] == ["settled", "something else"]


def test_a_new_note_on_a_persons_behalf_has_to_be_new() -> None:
    log = Log()
    log.take_in([behalf(log, "new")])
    assert only(log).value == "new"
    (refused,) = log.take_in([behalf(log, "newer", base=frozenset())]).results
    assert isinstance(refused, Refused)
    assert refused.code == "stale"
