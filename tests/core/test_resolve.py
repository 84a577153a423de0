"""The rows of the table on given siblings; test_intake.py shows them at work, batch after batch."""

from __future__ import annotations

from itertools import pairwise

import pytest

from core.changes import KEY, attach, delete, dots, write
from core.log import Log
from tidenote.core.crdt import CrdtEntry
from tidenote.core.register import join_all
from tidenote.core.resolve import MAX_HOPS, MAX_SIBLINGS, Settlement, resolve
from tidenote.core.sides import OnTie
from tidenote.core.version import BlobRef, Change, Dot, Record, Version

B, C, D = "note:b.md", "note:c.md", "note:d.md"
PICTURE = "ab" * 32
BASE = "one\ntwo\nthree\n"
TOP = "zero\none\ntwo\nthree\n"
BOTTOM = "one\ntwo\nthree\nfour\n"
BOTH = "zero\none\ntwo\nthree\nfour\n"


def log_of(*changes: Change) -> Log:
    """Return a log in which changes have joined and nothing was settled."""
    log = Log()
    log.versions = [Version(change, number) for number, change in enumerate(changes)]
    for key in {change.key for change in changes}:
        log.entries[key] = CrdtEntry(key, join_all(change for change in changes if change.key == key))
    return log


def outcome(*changes: Change, on_tie: OnTie = "review") -> list[Settlement]:
    """Return what the server writes for the key of these tests."""
    return resolve(KEY, log_of(*changes), on_tie)


def tombstone(base: str, moved_to: str | None = None, key: str = KEY) -> Settlement:
    return Settlement(key, dots(base), moved_to=moved_to)


# -- nothing to settle, or nothing that can be


@pytest.mark.parametrize(
    "changes",
    [
        [],
        [write("1a")],
        [delete("1a")],
        # Created on two devices.
        [write("1a", "x", base=""), write("1b", "y", base="")],
        # An edit beside a deletion stays, but which of two?
        [write("1a", "x", base=""), write("1b", "y", base=""), delete("2c", base="")],
        # Binary, different; binary beside text.
        [attach("1a", PICTURE, base="", key=KEY), attach("2b", base="", key=KEY)],
        [attach("1a", PICTURE, base="", key=KEY), write("2b", "x", base="")],
        [write("1c", "x"), write("2a", "x", base="1c"), write("2b", "y", base="1c"), attach("2c", base="1c", key=KEY)],
        # Three, of which two have no base in common with the third.
        [write("1c", BASE), write("2a", TOP, base="1c"), write("2b", BOTTOM, base="1c"), write("3d", "x", base="")],
    ],
)
def test_a_person_is_asked(changes: list[Change]) -> None:
    assert outcome(*changes) == []


# -- equal content, deletions


@pytest.mark.parametrize(
    ("changes", "settled_like"),
    [
        # Equal content: one version, no conflict.
        ([write("1a", "x", base=""), write("1b", "x", base="", modified_at=7)], 1),
        ([write("1a", "x", base=""), write("1b", "x", base=""), write("1c", "x", base="")], 2),
        ([attach("1a", PICTURE, base="", key=KEY), attach("2b", PICTURE, base="", key=KEY)], 1),
        ([delete("1a", base=""), delete("2b", base="")], 1),
        # One is a deletion: the edit stays, whichever came later.
        ([write("1a", "x", base=""), delete("2b", base="")], 0),
        ([delete("1a", base=""), write("2b", "x", base="")], 1),
        ([attach("1a", PICTURE, base="", key=KEY), delete("2b", base="")], 0),
        ([write("1a", "x", base=""), delete("2b", base=""), write("3c", "x", base="")], 2),
        # Renamed to where nothing is any more: the edit stays here, the greatest rename says where it went.
        ([write("1a", "x", base=""), delete("2b", base="", moved_to=B)], 0),
        ([delete("1a", base="", moved_to=B), delete("2b", base="", moved_to=C)], 1),
        ([delete("1a", base="", moved_to=B), delete("2b", base="")], 0),
    ],
)
def test_one_of_them_stays(changes: list[Change], settled_like: int) -> None:
    stays = changes[settled_like]
    base = frozenset(change.dot for change in changes)
    assert outcome(*changes) == [Settlement(KEY, base, stays.value, stays.blob, stays.moved_to, stays.modified_at)]


def test_an_outcome_is_as_late_as_the_latest_and_as_live_as_all() -> None:
    changes = [
        write("1a", "x", base="", modified_at=9, live=True),
        write("1b", "x", base="", modified_at=7, live=True, conflict=True),
    ]
    assert outcome(*changes) == [
        Settlement(KEY, dots("1a 1b"), "x", modified_at=9, live=True, conflict=True),
    ]


@pytest.mark.parametrize(
    ("changes", "settled_like"),
    [
        # A device that forgot everything offers what others deleted: the tombstone stays.
        ([delete("2b", base="1a"), write("1c", "old", base="")], 0),
        ([delete("2b", base="1a"), write("3c", "old", base="")], 0),
        ([delete("2b", base="1a", moved_to=B), delete("3d", base="1a"), write("4c", "old", base="")], 0),
        ([delete("2b", base="1a"), write("3c", "old", base=""), write("3d", "older", base="")], 0),
        # It edited the note meanwhile, or says what it is based on, or says nothing: the edit stays.
        ([delete("2b", base="1a"), write("3c", "new", base="")], 1),
        ([delete("2b", base="1a"), write("3c", "old", base="1a")], 1),
        ([delete("2b", base="1a"), write("2c", "old")], 1),
    ],
)
@pytest.mark.parametrize("target_is_there", [True, False])
def test_a_rebuilt_journal(changes: list[Change], settled_like: int, target_is_there: bool) -> None:
    past = [write("1a", "old", base="1x"), write("1x", "older", base="")]
    there = [write("1b", key=B)] if target_is_there else []
    log = log_of(*past, *there, *changes)
    log.entries[KEY] = CrdtEntry(KEY, join_all(changes))
    (settled,) = resolve(KEY, log)
    assert (settled.value, settled.moved_to) == (changes[settled_like].value, changes[settled_like].moved_to)
    # With a living target the two deletions are settled first, and the old text then, in the next round.
    offered = 1 if target_is_there and len(changes) == 3 and changes[0].moved_to else 0
    assert settled.base == frozenset(change.dot for change in changes[: len(changes) - offered])


def test_of_rebuilt_journals_with_old_and_new_content_the_new_one_stays() -> None:
    log = log_of(write("1a", "old", base=""), delete("2b", base="1a"), write("3c", "old", base=""))
    log.entries[KEY] = CrdtEntry(
        KEY, join_all([delete("2b", base="1a"), write("3c", "old", base=""), write("3d", "new", base="")])
    )
    assert resolve(KEY, log) == [Settlement(KEY, dots("2b 3c 3d"), "new")]


@pytest.mark.parametrize(
    ("offered", "stays"),
    [
        # What was replaced before is no new text of the device that offers it.
        ([write("3c", "old", base="")], "now"),
        ([write("9c", "older", base="", modified_at=9)], "now"),
        ([write("3c", "old", base=""), write("3d", "older", base="")], "now"),
        # Edited meanwhile, or with a base, or blind: it is.
        ([write("3c", "edited", base="")], None),
        ([write("3c", "old", base=""), write("3d", "edited", base="")], None),
        ([write("3c", "old", base="2a")], None),
        ([write("2c", "old")], None),
    ],
)
def test_a_rebuilt_journal_beside_a_later_text(offered: list[Change], stays: str | None) -> None:
    now = write("3a", "now", base="2a", modified_at=5)
    log = log_of(write("1a", "older", base=""), write("2a", "old", base="1a"), now, *offered)
    log.entries[KEY] = CrdtEntry(KEY, join_all([now, *offered]))
    base = frozenset(change.dot for change in (now, *offered))
    settled = resolve(KEY, log)
    if stays is None:
        assert all(settlement.value not in ("old", "older") for settlement in settled)
    else:
        assert settled == [Settlement(KEY, base, stays, modified_at=5)]


def test_a_rebuilt_journal_offers_an_older_blob() -> None:
    past = [attach("1a", PICTURE, base="", key=KEY), attach("2a", base="1a", key=KEY)]
    offered = attach("1c", PICTURE, base="", key=KEY)
    log = log_of(*past, offered)
    log.entries[KEY] = CrdtEntry(KEY, join_all([past[1], offered]))
    assert resolve(KEY, log) == [Settlement(KEY, dots("2a 1c"), blob=past[1].blob)]


def test_words_that_were_offered_twice_are_still_new() -> None:
    now, offered, again = write("3a", "now", base="1c"), write("4c", "new", base=""), write("1c", "new", base="")
    log = log_of(now, offered, again)
    log.entries[KEY] = CrdtEntry(KEY, join_all([now, offered]))
    assert resolve(KEY, log) == []


def test_a_rebuilt_journal_offers_a_blob() -> None:
    old = [attach("1a", PICTURE, base="", key=KEY), delete("2b", base="1a")]
    assert outcome(*old, attach("1c", PICTURE, base="", key=KEY)) == [tombstone("2b 1c")]


# -- texts


def test_texts_with_a_common_base_are_merged() -> None:
    changes = [
        write("1c", BASE),
        write("2a", TOP, base="1c", modified_at=70),
        write("3b", BOTTOM, base="1c", modified_at=50),
    ]
    assert outcome(*changes) == [Settlement(KEY, dots("2a 3b"), BOTH, modified_at=70)]


def test_a_deletion_beside_several_edits_is_settled_with_them() -> None:
    changes = [
        write("1c", BASE),
        write("2a", TOP, base="1c"),
        write("3b", BOTTOM, base="1c"),
        delete("4d", base="1c"),
    ]
    assert outcome(*changes) == [Settlement(KEY, dots("2a 3b 4d"), BOTH)]


@pytest.mark.parametrize(
    ("on_tie", "settled"),
    [
        ("review", [Settlement(KEY, dots("2a 2b"), BOTH, conflict=True)]),
        ("ask", []),
        ("merge", [Settlement(KEY, dots("2a 2b"), BOTH)]),
    ],
)
def test_equal_timestamps(on_tie: OnTie, settled: list[Settlement]) -> None:
    changes = [write("1c", BASE), write("2a", TOP, base="1c"), write("2b", BOTTOM, base="1c")]
    assert outcome(*changes, on_tie=on_tie) == settled


def test_live_edits_make_a_live_version() -> None:
    changes = [write("1c", BASE), *(write(f"2{by}", f"{BASE}{by}\n", base="1c", live=True) for by in "ab")]
    assert outcome(*changes) == [Settlement(KEY, dots("2a 2b"), f"{BASE}a\nb\n", live=True)]


def test_three_and_four_are_merged_pair_by_pair_in_the_order_of_their_dots() -> None:
    changes = [write("1x", BASE), *(write(name, f"{BASE}{name}\n", base="1x") for name in ("4a", "2b", "5c", "3d"))]
    assert outcome(*changes[:4]) == [Settlement(KEY, dots("2b 4a 5c"), f"{BASE}2b\n4a\n5c\n")]
    assert outcome(*changes) == [Settlement(KEY, dots("2b 3d 4a 5c"), f"{BASE}2b\n3d\n4a\n5c\n")]


def test_what_is_merged_already_counts_for_the_base_of_the_next() -> None:
    changes = [
        write("1x", "x\n"),
        write("2x", "x\nlast\n", base="1x"),
        write("3a", "first\nx\n", base="1x"),
        write("3b", "x!\nlast\n", base="2x"),
        write("4c", "x\n", base="2x"),
    ]
    # The first two share less with each other than both together with the third, which deletes a line.
    (settled,) = outcome(*changes, on_tie="merge")
    assert settled.value == "first\nx!\n"


def test_a_tie_between_two_of_three_is_worth_a_look() -> None:
    changes = [write("1x", BASE), *(write(name, f"{BASE}{name}\n", base="1x") for name in ("2a", "3b", "3c"))]
    assert outcome(*changes) == [Settlement(KEY, dots("2a 3b 3c"), f"{BASE}2a\n3b\n3c\n", conflict=True)]
    assert outcome(*changes, on_tie="ask") == []


def test_too_many_texts_are_for_a_person() -> None:
    base = Change(KEY, Dot(1, "x"), BASE)
    edits = [
        Change(KEY, Dot(2 + at, "a"), f"{BASE}{at}\n", base=frozenset([base.dot])) for at in range(MAX_SIBLINGS + 1)
    ]
    assert outcome(base, *edits[:-1]) != []
    assert outcome(base, *edits) == []


@pytest.mark.parametrize(
    "bases",
    [
        # Criss-cross: both were settled twice.
        [write("1c", BASE), write("2a", TOP, base="1c"), write("2b", BOTTOM, base="1c")],
        # One or both never arrived.
        [write("2a", TOP, base="1c")],
        [],
    ],
)
def test_without_a_certain_base_nothing_is_merged(bases: list[Change]) -> None:
    sides = [write("3a", f"{BOTH}a\n", base="2a 2b"), write("4b", f"{BOTH}b\n", base="2a 2b")]
    assert outcome(*bases, *sides) == []


def test_a_base_whose_text_is_no_longer_kept_is_none() -> None:
    class Forgetful(Log):
        def version(self, key: str, dot: Dot) -> Version | None:
            return None

        def record(self, key: str, dot: Dot) -> Record | None:
            return log.record(key, dot)

    log = log_of(write("1c", BASE), write("2a", "", base="1c"), write("3b", BOTTOM, base="1c"))
    forgetful = Forgetful()
    forgetful.entries = log.entries
    assert resolve(KEY, forgetful) == []
    assert resolve(KEY, log) != []


@pytest.mark.parametrize("bases", ["", None], ids=["created", "blind"])
def test_created_on_two_devices(bases: str | None) -> None:
    daily, filled = "# Monday\n\n", "# Monday\n\n- call Ann\n"
    changes = [write("3a", filled, base=bases), write("3b", daily, base=bases)]
    assert outcome(*changes, on_tie="ask") == [Settlement(KEY, dots("3a 3b"), filled)]
    assert outcome(changes[0], write("3b", " \n", base=bases)) == [Settlement(KEY, dots("3a 3b"), filled)]
    assert outcome(changes[0], write("3b", "- mow\n", base=bases)) == []


def test_what_both_made_of_a_tombstone_has_no_common_base() -> None:
    past = [write("1a", BASE, base=""), delete("2a", base="1a")]
    assert outcome(*past, write("3a", "x", base="2a"), write("4b", "y", base="2a")) == []
    assert outcome(*past, write("3a", "x y", base="2a"), write("4b", "y", base="2a"))[0].value == "x y"


# -- renames


def renamed(*, to: str = B, text: str = BASE, by: str = "a", at: int = 2, base: str = "1x") -> list[Change]:
    """Return a rename of the key of these tests."""
    return [
        write(f"{at}{by}", text, key=to, base=""),
        delete(f"{at + 1}{by}", base=base, moved_to=to),
    ]


ORIGIN = write("1x", BASE, base="")


def test_an_edit_follows_a_rename() -> None:
    edit = write("4b", BOTTOM, base="1x", modified_at=8)
    assert outcome(ORIGIN, *renamed(text=TOP), edit) == [
        Settlement(B, dots("2a"), BOTH, modified_at=8, merged_from=dots("4b")),
        Settlement(KEY, dots("3a 4b"), moved_to=B, modified_at=8),
    ]


def test_several_edits_follow_a_rename() -> None:
    edits = [write(name, f"{BASE}{name}\n", base="1x") for name in ("4b", "5c")]
    assert outcome(ORIGIN, *renamed(), *edits) == [
        Settlement(B, dots("2a"), f"{BASE}4b\n5c\n", merged_from=dots("4b 5c")),
        tombstone("3a 4b 5c", B),
    ]


def test_an_edit_that_adds_nothing_leaves_only_the_tombstone() -> None:
    assert outcome(ORIGIN, *renamed(), write("4b", BASE, base="1x")) == [tombstone("3a 4b", B)]


def test_another_note_where_one_was_renamed_away_follows_no_other_rename_of_that() -> None:
    """Else its text came to replace the renamed note's: it would pass for an edit that took all words out."""
    away = renamed(by="a")
    other = write("5a", "another note\n", base="3a", modified_at=8)
    assert outcome(ORIGIN, *away, *renamed(by="b", at=3), other) == [
        Settlement(KEY, dots("4b 5a"), "another note\n", modified_at=8)
    ]


def test_the_base_of_an_edit_that_follows_is_what_it_shares_with_the_rename() -> None:
    # The second edit replaced the first, which the target never saw: the first one's words must come along.
    edits = [write("4b", f"{BASE}first\n", base="1x"), write("5b", f"{BASE}first\nsecond\n", base="4b")]
    assert outcome(ORIGIN, *renamed(), *edits)[0].value == f"{BASE}first\nsecond\n"
    # Where the first one came along before, only the second one's are new.
    settled = [
        write("6s", f"{BASE}first\n", base="2a", key=B),
        delete("7s", base="3a 4b", moved_to=B),
    ]
    assert outcome(ORIGIN, *renamed(), *settled, *edits) == [
        Settlement(B, dots("6s"), f"{BASE}first\nsecond\n", merged_from=dots("5b")),
        tombstone("5b 7s", B),
    ]


def test_an_edit_follows_into_the_winner_and_leaves_the_other_siblings() -> None:
    other = write("9c", "another", key=B, base="")
    settled = outcome(ORIGIN, *renamed(), write("4b", BOTTOM, base="1x"), other)
    assert [(settlement.key, settlement.base) for settlement in settled] == [
        (B, dots("9c")),
        (KEY, dots("3a 4b")),
    ]


@pytest.mark.parametrize(
    "edit",
    [
        # Its base never arrived, or is one of several.
        write("5b", "mine", base="1z"),
        write("5b", "mine", base="1x 1z"),
        # It is no text.
        attach("5b", PICTURE, base="1x", key=KEY),
    ],
)
def test_an_edit_that_cannot_be_merged_stands_beside_the_renamed_note(edit: Change) -> None:
    assert outcome(ORIGIN, *renamed(), edit) == [
        Settlement(B, frozenset(), edit.value, edit.blob, merged_from=dots("5b")),
        tombstone("3a 5b", B),
    ]


def test_an_edit_of_a_note_that_a_blind_rename_moved_stands_beside_it() -> None:
    blind = [write("2a", "text", key=B, base=""), delete("3a", moved_to=B)]
    assert outcome(*blind, write("4b", "mine", base="1x"), ORIGIN) == [
        Settlement(B, frozenset(), "mine", merged_from=dots("4b")),
        tombstone("3a 4b", B),
    ]


def test_an_edit_stands_beside_a_renamed_picture() -> None:
    moved = [attach("2a", PICTURE, key=B, base=""), delete("3a", base="1x", moved_to=B)]
    assert outcome(ORIGIN, *moved, write("4b", BOTTOM, base="1x"), write("5c", BOTTOM, base="1x")) == [
        Settlement(B, frozenset(), BOTTOM, merged_from=dots("4b")),
        tombstone("3a 4b 5c", B),
    ]
    # What is there already does not come twice.
    assert outcome(ORIGIN, *moved, attach("4b", PICTURE, base="1x", key=KEY)) == [tombstone("3a 4b", B)]


@pytest.mark.parametrize(
    ("on_tie", "written"),
    [
        ("review", Settlement(B, dots("2a"), BOTH, conflict=True, merged_from=dots("2b"))),
        ("ask", Settlement(B, frozenset(), BOTTOM, merged_from=dots("2b"))),
        ("merge", Settlement(B, dots("2a"), BOTH, merged_from=dots("2b"))),
    ],
)
def test_a_tie_of_an_edit_and_a_rename_that_edits(on_tie: OnTie, written: Settlement) -> None:
    edit = write("2b", BOTTOM, base="1x")
    assert outcome(ORIGIN, *renamed(text=TOP), edit, on_tie=on_tie) == [written, tombstone("3a 2b", B)]
    # A rename that does not edit competes with nobody's words.
    assert outcome(ORIGIN, *renamed(), edit, on_tie=on_tie)[0] == Settlement(
        B, dots("2a"), BOTTOM, merged_from=dots("2b")
    )


def test_a_flagged_edit_that_follows_is_still_worth_a_look() -> None:
    edit = write("4s", BASE, base="1x", conflict=True)
    assert outcome(ORIGIN, *renamed(), edit)[0] == Settlement(
        B, dots("2a"), BASE, conflict=True, merged_from=dots("4s")
    )


@pytest.mark.parametrize(
    "note",
    [
        write("5b", "mine", base=""),
        write("2b", "mine"),
        # Made of a tombstone: a new note at the same path.
        write("5b", "mine", base="1y"),
    ],
    ids=["created", "blind", "revived"],
)
def test_a_note_of_its_own_at_the_same_path_stays(note: Change) -> None:
    past = [write("1o", "old", base=""), delete("1y", base="")]
    if note.base:
        past = [delete("1y", base=""), write("2x", BASE, base="1y"), *renamed(at=3, base="2x")]
        assert outcome(*past, note) == [Settlement(KEY, dots("4a 5b"), "mine")]
    else:
        assert outcome(ORIGIN, *renamed(), note) == [Settlement(KEY, dots("3a") | {note.dot}, "mine")]


def test_an_edit_follows_and_a_note_of_its_own_stays_for_the_next_round() -> None:
    changes = [ORIGIN, *renamed(), write("4b", BOTTOM, base="1x"), write("5c", "mine", base="")]
    assert outcome(*changes) == [
        Settlement(B, dots("2a"), BOTTOM, merged_from=dots("4b")),
        tombstone("3a 4b", B),
    ]


def chain(hops: int) -> list[Change]:
    """Return a note that was renamed several times."""
    keys = [KEY, *(f"note:{number}.md" for number in range(1, hops + 1))]
    changes = [ORIGIN]
    for number, (key, target) in enumerate(pairwise(keys)):
        changes.append(write(f"{2 * number + 2}a", BASE, key=target, base=""))
        changes.append(
            delete(f"{2 * number + 3}a", base=f"{2 * number}a" if number else "1x", key=key, moved_to=target)
        )
    return changes


@pytest.mark.parametrize("hops", [2, MAX_HOPS])
def test_an_edit_follows_a_chain_of_renames(hops: int) -> None:
    edit = write("99b", BOTTOM, base="1x")
    end = f"note:{hops}.md"
    assert outcome(*chain(hops), edit) == [
        Settlement(end, dots(f"{2 * hops}a"), BOTTOM, merged_from=dots("99b")),
        tombstone("3a 99b", end),
    ]


def test_an_edit_stays_where_the_chain_is_too_long() -> None:
    assert outcome(*chain(MAX_HOPS + 1), write("99b", BOTTOM, base="1x")) == [Settlement(KEY, dots("3a 99b"), BOTTOM)]


@pytest.mark.parametrize(
    "moves",
    [
        # The target was deleted, or is not there at all.
        [delete("5c", base="2a", key=B)],
        # It came back to where it was, by one hop or two; or goes round elsewhere.
        [delete("5c", base="2a", key=B, moved_to=KEY)],
        [delete("5c", base="2a", key=B, moved_to=C), delete("6c", base="", key=C, moved_to=KEY)],
        [delete("5c", base="2a", key=B, moved_to=C), delete("6c", base="", key=C, moved_to=B)],
        [delete("5c", base="2a", key=B, moved_to=C)],
    ],
)
def test_an_edit_stays_where_the_note_went_nowhere(moves: list[Change]) -> None:
    edit = write("7b", BOTTOM, base="1x")
    assert outcome(ORIGIN, *renamed(), *moves, edit) == [Settlement(KEY, dots("3a 7b"), BOTTOM)]


def test_a_target_that_was_renamed_and_deleted_was_renamed() -> None:
    moves = [
        delete("5c", base="2a", key=B, moved_to=C),
        delete("6d", base="2a", key=B),
        write("4c", BASE, base="", key=C),
    ]
    assert outcome(ORIGIN, *renamed(), *moves, write("7b", BOTTOM, base="1x"))[0].key == C


# -- renamed to two targets


def test_the_greater_rename_stays_and_the_edits_of_the_other_come_along() -> None:
    changes = [ORIGIN, *renamed(text=TOP), *renamed(to=C, text=BOTTOM, by="b", at=4)]
    assert outcome(*changes) == [
        Settlement(C, dots("4b"), BOTH, merged_from=dots("2a")),
        tombstone("2a", C, B),
        tombstone("3a 5b", C),
    ]


def test_two_renames_without_edits_leave_tombstones_only() -> None:
    changes = [ORIGIN, *renamed(), *renamed(to=C, by="b")]
    assert outcome(*changes) == [tombstone("2a", C, B), tombstone("3a 3b", C)]


def test_a_note_of_its_own_stays_where_another_was_renamed_to_two_targets() -> None:
    changes = [ORIGIN, write("1y", TOP, base=""), *renamed(), *renamed(to=C, by="b", at=4)]
    assert outcome(*changes) == [tombstone("2a", C, B), tombstone("3a 5b", C)]


def test_three_renames_and_an_edit() -> None:
    changes = [
        ORIGIN,
        *renamed(text=f"{BASE}b\n"),
        *renamed(to=C, text=f"{BASE}c\n", by="b", at=4),
        *renamed(to=D, by="c", at=6),
        write("9d", f"{BASE}d\n", base="1x"),
    ]
    assert outcome(*changes) == [
        Settlement(D, dots("6c"), f"{BASE}c\nb\nd\n", merged_from=dots("2a 4b 9d")),
        tombstone("2a", D, B),
        tombstone("4b", D, C),
        tombstone("3a 5b 7c 9d", D),
    ]


def test_two_renames_to_one_target_and_one_to_another() -> None:
    changes = [ORIGIN, *renamed(), *renamed(by="b", at=2), *renamed(to=C, by="c", at=6)]
    assert outcome(*changes) == [tombstone("2a 2b", C, B), tombstone("3a 3b 7c", C)]


def test_two_renames_that_end_at_one_home() -> None:
    changes = [ORIGIN, *renamed(), *renamed(to=C, by="b", at=4), delete("8a", base="4b", key=C, moved_to=B)]
    assert outcome(*changes) == [tombstone("3a 5b", B)]


def test_a_rename_whose_target_is_gone_gives_way_to_one_whose_target_is_there() -> None:
    changes = [ORIGIN, *renamed(), *renamed(to=C, by="b", at=4), delete("8b", base="4b", key=C)]
    assert outcome(*changes) == [tombstone("3a 5b", B)]


def test_a_deletion_gives_way_to_a_rename() -> None:
    assert outcome(ORIGIN, *renamed(), delete("9b", base="1x")) == [tombstone("3a 9b", B)]


def test_all_siblings_of_the_other_target_come_along_or_stand_beside() -> None:
    picture = attach("6d", PICTURE, base="", key=B)
    changes = [ORIGIN, *renamed(text=TOP), picture, *renamed(to=C, text=BOTTOM, by="b", at=7)]
    assert outcome(*changes) == [
        Settlement(C, dots("7b"), BOTH, merged_from=dots("2a")),
        Settlement(C, frozenset(), None, BlobRef(PICTURE, 1), merged_from=dots("6d")),
        tombstone("2a 6d", C, B),
        tombstone("3a 8b", C),
    ]


def test_a_deletion_beside_the_other_target_is_settled_with_it() -> None:
    changes = [ORIGIN, *renamed(), delete("6d", base="", key=B), *renamed(to=C, by="b", at=7)]
    assert outcome(*changes) == [tombstone("2a 6d", C, B), tombstone("3a 8b", C)]


# -- what is written


def test_a_settlement_is_a_change_by_whoever_writes_it() -> None:
    settlement = Settlement(KEY, dots("1a"), "x", None, None, 7, live=True, conflict=True, merged_from=dots("1b"))
    assert settlement.change(Dot(9, "server.1-x")) == Change(
        KEY,
        Dot(9, "server.1-x"),
        "x",
        base=dots("1a"),
        modified_at=7,
        live=True,
        conflict=True,
        merged_from=dots("1b"),
    )
    moved = Settlement(KEY, dots("1a"), None, BlobRef(PICTURE, 1), moved_to=B).change(Dot(9, "server.1-x"))
    assert (moved.blob, moved.moved_to) == (BlobRef(PICTURE, 1), B)
