from __future__ import annotations

import pytest

from core.changes import attach, delete, write
from tidenote.core.register import join_all
from tidenote.core.resolve import Outcome, resolve
from tidenote.core.version import BlobRef, Change


class Past:
    """What a key once held."""

    def __init__(self, *changes: Change) -> None:
        self.contents = {(change.key, change.content_hash) for change in changes}

    def had_content(self, key: str, content_hash: str) -> bool:
        return (key, content_hash) in self.contents


NO_PAST = Past()
PICTURE = "ab" * 32


def like(change: Change) -> Outcome:
    return Outcome(change.value, change.blob, change.moved_to, change.modified_at)


@pytest.mark.parametrize(
    "changes",
    [
        [],
        [write("1a")],
        [delete("1a")],
        # Texts without a row, nor blobs: a person is asked.
        [write("1a", "x", base=""), write("1b", "y", base="")],
        [attach("1a", PICTURE, base=""), attach("2b", base="")],
        # An edit beside a deletion stays, but which of two?
        [write("1a", "x", base=""), write("1b", "y", base=""), delete("2c", base="")],
    ],
)
def test_nothing_to_settle_or_nothing_that_can_be(changes: list[Change]) -> None:
    assert resolve(join_all(changes), NO_PAST) is None


@pytest.mark.parametrize(
    ("changes", "settled_like"),
    [
        # Equal content: one version, no conflict.
        ([write("1a", "x", base=""), write("1b", "x", base="", modified_at=7)], 1),
        ([write("1a", "x", base=""), write("1b", "x", base=""), write("1c", "x", base="")], 2),
        ([attach("1a", PICTURE, base=""), attach("2b", PICTURE, base="")], 1),
        ([delete("1a", base=""), delete("2b", base="")], 1),
        # One is a deletion: the edit stays, whichever came later.
        ([write("1a", "x", base=""), delete("2b", base="")], 0),
        ([delete("1a", base=""), write("2b", "x", base="")], 1),
        ([attach("1a", PICTURE, base=""), delete("2b", base="")], 0),
        ([write("1a", "x", base=""), delete("2b", base=""), write("3c", "x", base="")], 2),
        ([write("1a", "x", base=""), delete("2b", base="", moved_to="note:b.md")], 0),
        # Renamed to two targets, or renamed here and deleted there: the greatest rename stays.
        ([delete("1a", base="", moved_to="note:b.md"), delete("2b", base="", moved_to="note:c.md")], 1),
        ([delete("1a", base="", moved_to="note:b.md"), delete("2b", base="")], 0),
    ],
)
def test_rows(changes: list[Change], settled_like: int) -> None:
    assert resolve(join_all(changes), NO_PAST) == like(changes[settled_like])


@pytest.mark.parametrize(
    ("changes", "settled_like"),
    [
        # A device that forgot everything offers what others deleted: the tombstone stays.
        ([delete("2b", base="1a"), write("1c", "old", base="")], 0),
        ([delete("2b", base="1a"), write("3c", "old", base="")], 0),
        ([delete("2b", base="1a", moved_to="note:b.md"), delete("3d", base="1a"), write("4c", "old", base="")], 0),
        ([delete("2b", base="1a"), write("3c", "old", base=""), write("3d", "older", base="")], 0),
        # It edited the note meanwhile, or says what it is based on, or says nothing: the edit stays.
        ([delete("2b", base="1a"), write("3c", "new", base="")], 1),
        ([delete("2b", base="1a"), write("3c", "old", base="1a")], 1),
        ([delete("2b", base="1a"), write("2c", "old")], 1),
    ],
)
def test_a_rebuilt_journal(changes: list[Change], settled_like: int) -> None:
    past = Past(write("1a", "old", base=""), write("1a", "older", base=""))
    assert resolve(join_all(changes), past) == like(changes[settled_like])


def test_a_rebuilt_journal_with_old_and_new_content_is_for_a_person() -> None:
    changes = [delete("2b", base="1a"), write("3c", "old", base=""), write("3d", "new", base="")]
    assert resolve(join_all(changes), Past(write("1a", "old"))) is None


def test_a_rebuilt_journal_offers_a_blob() -> None:
    old = attach("1c", PICTURE, base="")
    tombstone = delete("2b", base="1a", key=old.key)
    assert resolve(join_all([tombstone, old]), Past(old)) == like(tombstone)


def test_an_outcome_repeats_content_and_nothing_else() -> None:
    change = attach("1a", PICTURE)
    assert Outcome.like(change) == Outcome(None, BlobRef(PICTURE, 1), None, None)
