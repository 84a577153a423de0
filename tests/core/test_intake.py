from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.changes import DOTS, KEY, at, attach, bases, delete, dots, names, survivors, write
from core.log import Log
from tidenote.core.clock import MAX_LEAD, MAX_WALL_LEAD
from tidenote.core.crdt import CrdtEntry
from tidenote.core.intake import Batch, Refused, Taken, server_author
from tidenote.core.register import Context, Register, join_all
from tidenote.core.version import BlobRef, Change, Dot, Record


def codes(batch: Batch) -> list[str]:
    """Return what became of each change, in order."""
    return [
        result.code if isinstance(result, Refused) else "duplicate" if result.duplicate else "taken"
        for result in batch.results
    ]


def receipts(batch: Batch) -> list[int]:
    return [version.receipt for version in batch.versions]


# -- the log


def test_nothing_pushed_is_nothing_done() -> None:
    assert Log(7).take_in([], []) == Batch(7, 7)


def test_a_change_is_appended_with_a_receipt_and_alters_its_key() -> None:
    log = Log(7)
    batch = log.take_in([write("3a")])
    assert (batch.previous_clock, batch.clock) == (7, 8)
    assert batch.results == [Taken(write("3a"), 8)]
    assert names(version.change for version in batch.versions) == "3a"
    assert [(entry.key, entry.changed_at) for entry in batch.entries] == [(KEY, 8)]
    assert batch.replaced == {}


def test_a_change_that_was_replaced_before_it_arrived_is_kept_and_told_as_lost() -> None:
    log = Log()
    log.take_in([write("9b")])
    batch = log.take_in([write("5a"), write("9c")])
    assert batch.results == [
        Taken(write("5a"), 11, lost=True, changed_before=10),
        Taken(write("9c"), 12, changed_before=11),
    ]
    assert names(version.change for version in batch.versions) == "5a 9c"


def test_a_receipt_is_a_lamport_receive_event() -> None:
    log = Log(7)
    assert receipts(log.take_in([write("3a", key="note:1.md"), write("20a", key="note:2.md")])) == [8, 21]
    assert receipts(log.take_in([write("5b", key="note:3.md")])) == [22]


def test_what_is_replaced_is_named() -> None:
    log = Log()
    log.take_in([write("1a", base=""), write("1b", base="")])
    batch = log.take_in([write("3a", base="1a")])
    assert batch.replaced == {KEY: dots("1a")}
    assert names(log.register(KEY).siblings) == "1b 3a"


def test_a_change_that_lost_on_arrival_is_in_the_log_and_its_author_is_told() -> None:
    log = Log()
    log.take_in([write("5a")])
    batch = log.take_in([write("3b")])
    assert codes(batch) == ["taken"]
    assert batch.replaced == {KEY: dots("3b")}
    assert names(batch.entries[0].register.siblings) == "5a"
    assert batch.entries[0].changed_at == batch.clock


def test_a_context_keeps_only_covered_dots_that_have_not_arrived() -> None:
    log = Log()
    log.take_in([write("1a", base="")])
    log.take_in([write("5b", base="1a 3x 4x")])
    assert log.register(KEY).context == Context(0, dots("3x 4x"))
    batch = log.take_in([write("3x", base="")])
    assert batch.replaced == {KEY: dots("3x")}
    assert log.register(KEY).context == Context(0, dots("4x"))
    assert names(log.register(KEY).siblings) == "5b"


def test_what_was_covered_before_is_not_looked_for_again() -> None:
    """Each change of a key would cost as many lookups as dots ever came that nobody knows."""
    asked: list[Dot] = []

    class Watched(Log):
        def record(self, key: str, dot: Dot) -> Record | None:
            asked.append(dot)
            return super().record(key, dot)

    log = Watched()
    absent = [Dot(number, "lost") for number in range(1, 500)]
    log.take_in([Change(KEY, Dot(1000, "a"), "x", base=frozenset(absent))])
    asked.clear()
    log.take_in([Change(KEY, Dot(1001, "a"), "y", base=frozenset([Dot(1000, "a"), Dot(500, "lost")]))])
    assert set(asked) == {Dot(1001, "a"), Dot(1000, "a"), Dot(500, "lost")}
    assert log.register(KEY).context.dots == {*absent, Dot(500, "lost")}


def test_siblings_are_bounded_and_what_replaces_some_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidenote.core.intake.MAX_SIBLINGS_BYTES", 2000)
    log = Log()

    def text(name: str, base: str, size: int) -> Change:
        return write(name, name * (size // len(name)), base=base)

    assert codes(log.take_in([text("1a", "", 3000), text("2a", "1a", 4000)])) == ["taken", "taken"]
    assert codes(log.take_in([text("3b", "", 100)])) == ["value_too_large"]
    assert codes(log.take_in([text("4a", "2a", 600), text("5b", "", 600)])) == ["taken", "taken"]
    assert codes(log.take_in([text("6c", "", 600), text("6d", "5b", 1200)])) == ["value_too_large"] * 2
    assert codes(log.take_in([text("7b", "5b", 500), delete("8b", base="4a")])) == ["taken", "taken"]
    (kept,) = log.register(KEY).siblings
    assert kept.value == "7b" * 250


def test_what_does_not_fit_at_the_new_name_stays_at_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidenote.core.intake.MAX_SIBLINGS_BYTES", 2000)
    log = Log()
    log.take_in([write("1a", base="")])
    log.take_in([write("2a", base="", key="note:b.md"), delete("3a", base="1a", moved_to="note:b.md")])
    log.take_in([write("4b", "b" * 1000, base="2z"), write("5c", "c" * 1000, base="1a", key="note:b.md")])
    assert names(log.register(KEY).siblings) == "3a 4b"
    assert names(log.register("note:b.md").siblings) == "2a 5c"


def test_a_context_is_bounded_and_edits_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidenote.core.intake.MAX_ABSENT_DOTS", 3)
    log = Log()
    log.take_in([write("1a", base="")])
    log.take_in([write("5a", base="1a 2q 3q"), write("6b", base="2q 3q 4q")])
    refused = log.take_in([write("7a", base="5a 1q")])
    assert codes(refused) == ["bad_base"]
    assert codes(log.take_in([write("8a", base="5a 6b 2q"), write("9a", base="8a")])) == ["taken", "taken"]
    assert log.register(KEY).context == Context(0, dots("2q 3q 4q"))


def test_a_key_that_altered_twice_is_told_once_as_of_its_last_change() -> None:
    batch = Log().take_in([write("1a", base=""), write("1a", key="note:b.md"), write("4a", base="1a")])
    assert [(entry.key, entry.changed_at) for entry in batch.entries] == [("note:b.md", 3), (KEY, 5)]


# -- duplicates and refusals


def test_the_same_change_again_is_acknowledged_again_with_its_receipt() -> None:
    log = Log()
    first = log.take_in([write("1a", base="")]).results[0]
    log.take_in([write("3a", base="1a")])
    batch = log.take_in([write("1a", base="", modified_at=9)])
    assert isinstance(first, Taken)
    assert codes(batch) == ["duplicate"]
    assert [result.receipt for result in batch.results if isinstance(result, Taken)] == [first.receipt]
    assert (batch.versions, batch.entries, batch.clock) == ([], [], log.clock)


def test_the_same_change_twice_in_a_push() -> None:
    assert codes(Log().take_in([write("1a"), write("1a")])) == ["taken", "duplicate"]


@pytest.mark.parametrize(
    "again",
    [
        write("2a", "other", base="1b"),
        write("2a", base=""),
        write("2a"),
        delete("2a", base="1b"),
        replace(write("2a", base="1b"), merged_from=dots("1c")),
    ],
)
def test_a_dot_is_never_used_twice(again: Change) -> None:
    log = Log()
    log.take_in([write("2a", base="1b")])
    batch = log.take_in([again])
    assert codes(batch) == ["dot_reused"]
    assert names(log.register(KEY).siblings) == "2a"
    # Under the next incarnation the same change is welcome.
    assert codes(log.take_in([replace(again, dot=Dot(2, "a~2"))])) == ["taken"]


def test_the_same_dot_of_another_key_is_another_change() -> None:
    assert codes(Log().take_in([write("2a"), write("2a", "other", key="note:b.md")])) == ["taken", "taken"]


@pytest.mark.parametrize("base", ["2b", "3b", "1b 2a"])
def test_a_base_is_older_than_its_change(base: str) -> None:
    log = Log()
    assert codes(log.take_in([write("2a", base=base)])) == ["bad_base"]
    assert (log.versions, log.clock) == ([], 0)


@pytest.mark.parametrize(("lead", "code"), [(MAX_WALL_LEAD, "taken"), (MAX_WALL_LEAD + 1, "clock_too_far")])
def test_a_timestamp_far_ahead_of_the_wall_clock(lead: int, code: str) -> None:
    wall_ms = 1_760_000_000_000
    log = Log(41)
    batch = log.take_in([Change(KEY, Dot(wall_ms + lead, "a"), "x"), write("2b", key="note:b.md")], wall_ms=wall_ms)
    assert codes(batch) == [code, "taken"]


def test_a_refused_timestamp_does_not_move_the_clock_and_is_told_the_clock() -> None:
    log = Log(41)
    batch = log.take_in([write("2b"), Change("note:b.md", Dot(42 + MAX_WALL_LEAD + MAX_LEAD + 1, "a"), "x")])
    assert batch.results[1] == Refused(
        Change("note:b.md", Dot(42 + MAX_WALL_LEAD + MAX_LEAD + 1, "a"), "x"),
        "clock_too_far",
        "the timestamp is too far ahead of the clock 42",
        42,
    )
    assert batch.clock == 42


def test_a_blob_has_to_be_there_first() -> None:
    log = Log()
    assert codes(log.take_in([attach("1a")])) == ["blob_missing"]
    log.blobs.add("0" * 64)
    assert codes(log.take_in([attach("1a")])) == ["taken"]


def test_one_bad_change_blocks_no_other() -> None:
    pushed = [write("1a"), write("2a", base="9b", key="note:b.md"), attach("1a"), write("3a", key="note:c.md")]
    assert codes(Log().take_in(pushed)) == ["taken", "bad_base", "blob_missing", "taken"]


# -- renames


def rename(create: str = "3a", tombstone: str = "4a", base: str = "1a") -> list[Change]:
    return [
        write(create, "text", key="note:b.md", base=""),
        delete(tombstone, base=base, moved_to="note:b.md"),
    ]


def test_a_rename_is_a_creation_and_a_tombstone() -> None:
    log = Log()
    log.take_in([write("1a", "text", base="")])
    batch = log.take_in(rename())
    assert codes(batch) == ["taken", "taken"]
    assert [entry.key for entry in batch.entries] == ["note:b.md", KEY]
    winner = log.register(KEY).winner
    assert winner is not None
    assert winner.moved_to == "note:b.md"


def test_a_rename_needs_its_target() -> None:
    log = Log()
    log.take_in([write("1a", "text", base="")])
    assert codes(log.take_in(rename()[1:])) == ["move_target_missing"]
    assert codes(log.take_in(rename()[::-1])) == ["move_target_missing", "taken"]
    # Now the target is there, from an earlier push.
    assert codes(log.take_in(rename()[1:])) == ["taken"]


def test_a_rename_whose_creation_is_refused_moves_nothing() -> None:
    log = Log()
    log.take_in([write("1a", "text", base=""), write("9c", "old", key="note:b.md")])
    create, tombstone = rename()
    assert codes(log.take_in([replace(create, base=dots("8z")), tombstone])) == ["bad_base", "move_target_missing"]
    assert names(log.register(KEY).siblings) == "1a"
    # The refusal counts for its own push only.
    assert codes(log.take_in([replace(create, base=dots("8z"))], [tombstone])) == ["bad_base", "taken"]


def test_a_rename_sent_again_is_a_duplicate_even_if_its_target_is_gone() -> None:
    log = Log()
    log.take_in([write("1a", "text", base="")])
    log.take_in(rename())
    log.take_in([delete("9c", base="3a", key="note:b.md")])
    assert codes(log.take_in(rename())) == ["duplicate", "duplicate"]


def test_a_blind_write_revives_a_renamed_key() -> None:
    log = Log()
    log.take_in([write("1a", "text", base="")])
    log.take_in(rename())
    log.take_in([write("9z", "again")])
    winner = log.register(KEY).winner
    assert winner is not None
    assert winner.value == "again"


# -- outcomes


def test_an_outcome_is_a_version_by_the_server_based_on_all_that_it_settles() -> None:
    log = Log(author=server_author("3-ff"))
    batch = log.take_in([write("5a", "x", base=""), write("6b", "x", base="", modified_at=77)])
    assert [version.receipt for version in batch.versions] == [6, 7, 8]
    settled = batch.versions[-1].change
    assert settled == Change(KEY, Dot(8, "server.3-ff"), "x", base=dots("5a 6b"), modified_at=77)
    assert log.register(KEY).siblings == (settled,)
    assert batch.replaced == {KEY: dots("5a 6b")}
    assert len(batch.results) == 2
    assert batch.entries[0].changed_at == batch.clock == 8


def test_outcomes_come_after_all_changes_of_the_batch_have_joined() -> None:
    log = Log()
    # Alone, the first two would be settled; the third replaces them both.
    batch = log.take_in([write("1a", "x", base="")], [write("1b", "x", base="")], [write("2c", "y", base="1a 1b")])
    assert names(version.change for version in batch.versions) == "1a 1b 2c"


def test_a_deletion_beside_an_edit() -> None:
    log = Log()
    log.take_in([write("1a", "x", base="")])
    log.take_in([delete("2a", base="1a")])
    log.take_in([write("2b", "y", base="1a")])
    winner = log.register(KEY).winner
    assert winner is not None
    assert (winner.value, winner.base) == ("y", dots("2a 2b"))


@pytest.mark.parametrize("together", [False, True])
def test_a_rebuilt_journal_does_not_bring_back_what_was_deleted(together: bool) -> None:
    log = Log()
    log.take_in([write("1a", "x", base="")])
    pushes: list[Sequence[Change]] = [[delete("2a", base="1a")], [write("1c", "x", base="")]]
    if together:
        log.take_in(*pushes)
    else:
        for push in pushes:
            log.take_in(push)
    winner = log.register(KEY).winner
    assert winner is not None
    assert winner.deleted
    assert len(log.register(KEY).siblings) == 1


def test_a_rebuilt_journal_whose_content_came_and_went_in_the_same_batch() -> None:
    log = Log()
    log.take_in([write("1a", "x", base="")], [delete("2a", base="1a")], [write("3c", "x", base="")])
    winner = log.register(KEY).winner
    assert winner is not None
    assert winner.deleted


def test_the_content_of_another_key_is_no_past() -> None:
    log = Log()
    other = "note:b.md"
    log.take_in([write("1a", "x", base="", key=other), delete("2a", base="1a", key=other)])
    log.take_in([delete("1a", base=""), write("1b", "x", base="")])
    winner = log.register(KEY).winner
    assert winner is not None
    assert winner.value == "x"


# -- properties

KEYS = ("note:a.md", "note:b.md", "file:c.png")
BLOB = "0" * 64


@st.composite
def any_change(draw: st.DrawFn) -> Change:
    """Draw a change that may be good, a duplicate, or wrong in any way that an intake can see."""
    dot = draw(DOTS)
    content = draw(st.sampled_from(["text", "blob", "deletion", "rename"]))
    key = draw(st.sampled_from(KEYS))
    return Change(
        key,
        dot,
        draw(st.sampled_from("xyz")) if content == "text" else None,
        BlobRef(draw(st.sampled_from([BLOB, "1" * 64])), 1) if content == "blob" else None,
        draw(bases(dot.timestamp) | st.just(frozenset([dot]))),
        draw(st.sampled_from([other for other in KEYS if other != key])) if content == "rename" else None,
    )


@st.composite
def distinct_changes(draw: st.DrawFn) -> list[Change]:
    """Draw changes that no row settles and nothing refuses: blobs that are all different."""
    found = draw(st.lists(st.tuples(st.sampled_from(KEYS), DOTS), unique=True, max_size=10))
    return [
        Change(key, dot, blob=BlobRef(f"{number:064x}", 1), base=draw(bases(dot.timestamp)))
        for number, (key, dot) in enumerate(found)
    ]


def log_with_blobs() -> Log:
    log = Log()
    log.blobs |= {f"{number:064x}" for number in range(10)}
    return log


def split(data: st.DataObject, changes: Sequence[Change]) -> list[list[Change]]:
    """Draw a way to cut changes into pushes."""
    pushes: list[list[Change]] = [[]]
    for change in changes:
        if data.draw(st.booleans()):
            pushes.append([])
        pushes[-1].append(change)
    return pushes


# -- a key whose tombstone was forgotten


def forgetful_log() -> Log:
    """Return a log whose only key was written, deleted, and forgotten; its versions are known."""
    log = Log(20)
    log.take_in([write("1a", base="")], [write("2a", None, base="1a")])
    del log.entries[KEY]
    return log


def test_an_old_change_of_a_forgotten_key_is_told_of_the_deletion() -> None:
    log = forgetful_log()
    batch = log.take_in([write("1a", base="")])
    assert codes(batch) == ["duplicate"]
    (tombstone,) = log.register(KEY).siblings
    assert (tombstone.deleted, tombstone.dot, tombstone.base) == (True, Dot(batch.clock, log.author), frozenset())
    assert [entry.key for entry in batch.entries] == [KEY]


def test_a_covered_change_of_a_forgotten_key_is_told_of_the_deletion() -> None:
    log = forgetful_log()
    log.entries[KEY] = CrdtEntry(KEY, Register((), Context(floor=9)))
    batch = log.take_in([write("5b")])
    assert codes(batch) == ["taken"]
    (tombstone,) = log.register(KEY).siblings
    assert tombstone.deleted
    assert batch.replaced == {KEY: dots("5b")}


def test_an_edit_of_a_forgotten_key_is_an_edit() -> None:
    log = forgetful_log()
    log.take_in([write("5b", base="1a"), write("1a", base="")])
    assert names(log.register(KEY).siblings) == "5b"


@given(st.lists(st.lists(st.lists(any_change(), max_size=4), max_size=3), max_size=4))
def test_the_log_keeps_its_promises(batches: list[list[list[Change]]]) -> None:
    log = Log()
    log.blobs.add(BLOB)
    for pushes in batches:
        before = {key: log.register(key) for key in KEYS}
        previous = log.clock
        batch = log.take_in(*pushes)

        # One result for each change, in order.
        assert [result.change for result in batch.results] == [change for push in pushes for change in push]
        # Receipts strictly increase, past every timestamp.
        assert receipts(batch) == sorted(set(receipts(batch)))
        for version in batch.versions:
            by_server = version.dot.device_id == log.author
            assert version.receipt > previous
            assert version.receipt >= version.dot.timestamp + (not by_server)
        assert batch.clock == max([previous, *receipts(batch)])
        # The log got what was taken, in order, and nothing that was refused.
        taken = [result for result in batch.results if isinstance(result, Taken)]
        pushed = [version.change for version in batch.versions if version.dot.device_id != log.author]
        assert pushed == [result.change for result in taken if not result.duplicate]
        for result in taken:
            known = log.version(result.change.key, result.change.dot)
            assert known is not None
            assert known.receipt == result.receipt
            assert Record.of(known).is_of(result.change)
        # A key is told if and only if it got a version, as of its last one.
        last = {version.change.key: version.receipt for version in batch.versions}
        assert {entry.key: entry.changed_at for entry in batch.entries} == last
        # What stopped being a sibling is named, and nothing else.
        for key in KEYS:
            arrived = {version.dot for version in batch.versions if version.change.key == key}
            gone = (before[key].dots | arrived) - log.register(key).dots
            assert batch.replaced.get(key, set()) == gone

    for key in KEYS:
        changes = [version.change for version in log.versions_of(key)]
        # Every key is what its versions make, the server's among them, and no two have the same dot.
        assert list(log.register(key).siblings) == survivors(changes)
        assert len({change.dot for change in changes}) == len(changes)
        # A stored context and the replaced versions are all that the joined one has seen.
        whole, stored = join_all(changes).context, log.register(key).context
        assert stored.floor == whole.floor
        assert stored.dots == whole.dots - {change.dot for change in changes}


@given(st.data())
def test_without_outcomes_a_key_is_the_join_of_all_its_changes_in_any_order(data: st.DataObject) -> None:
    changes = data.draw(distinct_changes())
    log = log_with_blobs()
    log.take_in(*split(data, data.draw(st.permutations(changes))))
    for key in KEYS:
        own = [change for change in changes if change.key == key]
        assert list(log.register(key).siblings) == survivors(own)
        assert log.register(key).siblings == join_all(own).siblings


@given(st.data())
def test_a_batch_of_many_pushes_is_the_pushes_one_by_one(data: st.DataObject) -> None:
    pushes = split(data, data.draw(distinct_changes()))
    together, one_by_one = log_with_blobs(), log_with_blobs()
    results = together.take_in(*pushes).results
    assert [result for push in pushes for result in one_by_one.take_in(push).results] == results
    assert together.versions == one_by_one.versions
    assert together.entries == one_by_one.entries


@given(st.lists(st.lists(any_change(), max_size=5), max_size=4))
def test_what_was_taken_is_a_duplicate_when_it_comes_again(pushes: list[list[Change]]) -> None:
    log = Log()
    log.blobs.add(BLOB)
    taken = [result for result in log.take_in(*pushes).results if isinstance(result, Taken)]
    before = (log.clock, dict(log.entries), list(log.versions))
    again = log.take_in([result.change for result in taken]).results
    assert [(result.receipt, result.duplicate) for result in again if isinstance(result, Taken)] == [
        (result.receipt, True) for result in taken
    ]
    assert (log.clock, log.entries, log.versions) == before


def test_the_server_is_an_author_of_its_epoch() -> None:
    assert server_author("2-77aa") == "server.2-77aa"
    assert at(f"8{server_author('2-77aa')}") == Dot(8, "server.2-77aa")
