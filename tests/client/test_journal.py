from __future__ import annotations

import hashlib
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from client.journals import (
    NOTE,
    WALL_MS,
    edit,
    entry,
    hand_out,
    open_journal,
    received,
    refusal,
    refused,
)
from core.changes import at, delete, dots, write
from tidenote.client import journal_file
from tidenote.client.journal import MAX_NEW_DOTS, REPLACED_WITHIN_MS, BrokenJournal, Journal, Meta, Write, set_aside
from tidenote.core.register import join_all
from tidenote.core.version import BlobRef, Change, Dot
from tidenote.errors import ConfigError, RefusedChange, StorageError
from tidenote.wire.messages import MAX_MESSAGE_CHANGES
from wal import cuts, tear

BLOB = BlobRef("ab" * 32, 3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    found = open_journal(path)
    yield found
    found.close()


def reopened(journal: Journal) -> Journal:
    """Return the same journal as a new process finds it."""
    journal.close()
    return open_journal(journal.path)


# -- who we are


def test_a_new_journal_is_nobodys(path: Path) -> None:
    journal = Journal(path)
    assert journal.meta == Meta()
    journal.close()


def test_what_it_is_bound_to_is_remembered(journal: Journal) -> None:
    again = reopened(journal)
    assert again.meta == Meta("me", "main", "ws://127.0.0.1:1/ws/sync", "secret")
    again.bind(device_id="me", vault="main", endpoint="ws://elsewhere/ws/sync")
    assert again.meta == Meta("me", "main", "ws://elsewhere/ws/sync", None)
    again.close()


@pytest.mark.parametrize(("device_id", "vault"), [("you", "main"), ("me", "other")])
def test_it_is_never_used_for_another_device_or_vault(journal: Journal, device_id: str, vault: str) -> None:
    with pytest.raises(ConfigError, match="belongs to"):
        journal.bind(device_id=device_id, vault=vault, endpoint="ws://127.0.0.1:2/ws/sync")
    assert journal.meta.endpoint == "ws://127.0.0.1:1/ws/sync"


def test_a_device_id_must_be_one(journal: Journal) -> None:
    with pytest.raises(RefusedChange, match="device id"):
        journal.bind(device_id="a b", vault="main", endpoint="ws://127.0.0.1:1/ws/sync")


def test_only_its_owner_can_read_it(journal: Journal) -> None:
    edit(journal, "text")
    for file in journal.path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


# -- the file


def test_the_file_keeps_what_was_committed_through_a_power_cut(journal: Journal) -> None:
    settings = {
        name: journal._tables._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    }
    assert settings == {"journal_mode": "wal", "synchronous": 2}


def test_a_copy_of_the_files_at_any_commit_holds_that_commit(journal: Journal, tmp_path: Path) -> None:
    for number in range(5):
        edit(journal, f"text {number}", f"note:{number}.md")
        crashed = tmp_path / f"crash {number}"
        shutil.copytree(journal.path.parent, crashed)
        again = Journal(crashed / journal.path.name)
        assert [row.change.value for row in again.pending()] == [f"text {n}" for n in range(number + 1)]
        again.close()


@pytest.mark.parametrize("zeroed", [False, True])
def test_c7_a_torn_write_ahead_log_loses_only_the_last_commits(
    journal: Journal, tmp_path: Path, *, zeroed: bool
) -> None:
    folder, name = journal.path.parent, journal.path.name
    wal, sizes = folder / f"{name}-wal", []
    journal._tables._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for number in range(4):
        # An edit, its row in the outbox and the clock are one commit; so are two edits that belong together.
        journal.write([Write(f"note:{part} {number}.md", f"{part} {number}", base=frozenset()) for part in "ab"])
        sizes.append(wal.stat().st_size)
    whole, seen = wal.read_bytes(), set()
    for cut in cuts(wal):
        torn = tmp_path / f"torn {cut}"
        torn.mkdir()
        shutil.copy(journal.path, torn / name)
        (torn / wal.name).write_bytes(tear(whole, cut, zeroed=zeroed))
        kept = sum(size <= cut for size in sizes)
        with closing(Journal(torn / name)) as again:
            found = [row.change.value for row in again.pending()]
            assert found == [f"{part} {number}" for number in range(kept) for part in "ab"], f"cut at {cut}"
            assert again._tables._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            # It goes on from there, and no dot comes twice.
            dots_before = {row.change.dot for row in again.pending()}
            assert edit(again, "again", "note:again.md").dot not in dots_before
        seen.add(kept)
    assert seen == set(range(5))


def test_opening_twice_does_no_harm(journal: Journal) -> None:
    second = open_journal(journal.path)
    changes = [edit(which, f"{number}", f"note:{number}.md") for number in range(6) for which in (journal, second)]
    assert len({change.dot for change in changes}) == len(changes)
    assert [change.dot for change in changes] == sorted(change.dot for change in changes)
    for which in (journal, second):
        assert [row.change for row in which.pending()] == [row.change for row in journal.pending()]
        assert which.winner("note:5.md") == changes[-1]
    second.close()


def test_a_file_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(journal_file, "MIGRATIONS", journal_file.MIGRATIONS[:2])
        database = journal_file.open_database(tmp_path / "journal.db")
    database.execute("INSERT INTO bases VALUES ('a.md', 3, 'x', 'h', 1, 2, '3', 'a.md', 0)")
    database.close()
    with closing(Journal(tmp_path / "journal.db")) as journal:
        assert journal.bases() == {"a.md": entry("a.md", at("3x"), "h")}


def test_a_file_of_a_later_version_is_left_alone(journal: Journal) -> None:
    journal._tables._db.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageError, match="later version") as caught:
        Journal(journal.path)
    assert not isinstance(caught.value, BrokenJournal)
    assert journal._tables._db.execute("PRAGMA user_version").fetchone() == (99,)


@pytest.mark.parametrize("damage", ["no database", "a page", "a row", "meta"])
def test_a_damaged_file_is_named_and_can_be_set_aside(journal: Journal, damage: str) -> None:
    for number in range(300):
        edit(journal, "words " * 300, f"note:{number}.md")
    if damage == "a row":
        journal._tables._db.execute("UPDATE outbox SET change = x'7b22' WHERE seq = 7")
    if damage == "meta":
        journal._tables._db.execute("INSERT INTO meta VALUES ('cursor', 'nonsense')")
    journal._tables._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    journal.close()
    path = journal.path
    data = bytearray(path.read_bytes())
    if damage == "no database":
        data[:100] = b"x" * 100
    if damage == "a page":
        data[4096 * 20 : 4096 * 40] = b"\xff" * 4096 * 20
    path.write_bytes(data)

    def use() -> None:
        broken = Journal(path)
        try:
            assert broken.meta.cursor == 0
            broken.pending()
        finally:
            broken.close()

    with pytest.raises(BrokenJournal) as caught:
        use()
    assert caught.value.path == path
    assert caught.value.code == "storage_failed"
    assert set_aside(path) == path.with_name("journal.db.broken-1")
    assert path.with_name("journal.db.broken-1").read_bytes() == bytes(data)
    fresh = open_journal(path)
    assert fresh.pending() == []
    fresh.close()
    assert set_aside(path) == path.with_name("journal.db.broken-2")


def test_setting_aside_takes_the_write_ahead_log_along(journal: Journal) -> None:
    edit(journal, "text")
    copy = journal.path.with_name("copy.db")
    for suffix in ("", "-wal", "-shm"):
        shutil.copy(f"{journal.path}{suffix}", f"{copy}{suffix}")
    set_aside(copy)
    assert not [file for file in copy.parent.iterdir() if file.name in ("copy.db", "copy.db-wal", "copy.db-shm")]
    again = Journal(copy.with_name("copy.db.broken-1"))
    assert [row.change.value for row in again.pending()] == ["text"]
    again.close()


def test_a_full_disk_refuses_the_write_and_nothing_of_it_stays(journal: Journal) -> None:
    edit(journal, "before")
    hand_out(journal)
    pages = journal._tables._db.execute("PRAGMA page_count").fetchone()[0]
    journal._tables._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StorageError) as caught:
        journal.write([Write(f"note:{n}.md", "words " * 1000) for n in range(50)], [entry()])
    assert caught.value.code == "storage_full"
    assert (len(journal.pending()), journal.bases(), journal.meta.clock) == (1, {}, 1)
    journal._tables._db.execute("PRAGMA max_page_count = 100000")
    assert edit(journal, "after", "note:b.md").dot == at("2me")


def test_a_path_that_cannot_be_opened_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot open"):
        Journal(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be made"):
        Journal(tmp_path / "file" / "journal.db")


# -- writes


def test_a_write_is_state_and_outbox_and_base_in_one(journal: Journal) -> None:
    [change] = journal.write(
        [Write(NOTE, "text", base=frozenset(), modified_at=5)], [entry(), entry("other.md", at("3x"))], ["gone.md"]
    )
    assert change == Change(NOTE, at("1me"), "text", base=frozenset(), modified_at=5)
    journal = reopened(journal)
    assert journal.winner(NOTE) == change
    assert [row.change for row in journal.pending()] == [change]
    assert journal.bases() == {"a.md": entry("a.md", at("1me")), "other.md": entry("other.md", at("3x"))}
    assert journal.meta.clock == 1
    journal.close()


def test_bases_are_set_and_forgotten(journal: Journal) -> None:
    kept = entry("ä.md", at("3x"), None, inode=2**64 - 1, disk_name="a\u0308.md", unbased=True, arriving="new")
    journal.set_bases([kept, entry("gone.md")])
    journal.set_bases([entry("late.md")], ["gone.md", "never.md"])
    journal = reopened(journal)
    assert journal.bases() == {"ä.md": kept, "late.md": entry("late.md")}
    journal.close()


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (Write("note:../a.md", "x"), "bad_key"),
        (Write("note:a.png", "x"), "bad_key"),
        (Write(NOTE, None, moved_to="b.md"), "bad_key"),
        (Write(NOTE, None, moved_to=NOTE), "bad_value"),
        (Write(NOTE, "x", moved_to="note:b.md"), "bad_value"),
        (Write(NOTE, "x", BLOB), "bad_value"),
        (Write(NOTE, "a\0b"), "bad_value"),
        (Write(NOTE, "\ud800"), "bad_value"),
    ],
)
def test_a_bad_write_is_refused_and_takes_all_others_with_it(journal: Journal, bad: Write, code: str) -> None:
    with pytest.raises(RefusedChange) as caught:
        journal.write([Write("note:good.md", "x"), bad], [entry()])
    assert caught.value.code == code
    assert (journal.pending(), journal.bases(), journal.meta.clock) == ([], {}, 0)


def test_a_write_is_later_than_everything_it_has_seen(journal: Journal) -> None:
    assert journal.write([Write(NOTE, "x", base=dots("40x"))])[0].dot == at("41me")
    journal.apply(received(write("60x", key="note:b.md"), cursor=75))
    assert edit(journal, "y", "note:c.md").dot == at("76me")


def test_texts_come_back_as_they_were(journal: Journal) -> None:
    texts = ["", "\r\n\ufeff", "naïve 🦉", '"\\', "\x01\x7f\u2028", "x" * 2**20]
    for number, text in enumerate(texts):
        edit(journal, text, f"note:{number}.md")
    hand_out(journal)
    journal.apply(received(accepted=[row.change for row in journal.pending()]))
    journal = reopened(journal)
    assert [journal.winner(f"note:{number}.md") for number in range(len(texts))] == [
        Change(f"note:{number}.md", Dot(number + 1, "me"), text, base=frozenset()) for number, text in enumerate(texts)
    ]
    journal.close()


def test_every_field_of_a_change_comes_back(journal: Journal) -> None:
    changes = [
        Change(NOTE, at("5x"), None, BLOB, dots("1y 2z"), None, 7, live=True, conflict=True, merged_from=dots("3q")),
        Change(NOTE, at("6server.1-aa"), None, None, None, "note:b.md"),
    ]
    journal.apply(received(*changes))
    assert journal.confirmed(NOTE) == tuple(changes)


# -- coalescing


def test_a_later_write_takes_the_place_of_one_that_was_never_sent(journal: Journal) -> None:
    journal.apply(received(write("5x", "old"), cursor=6))
    edit(journal, "one")
    between = edit(journal, "between", "note:b.md")
    last = edit(journal, "two")
    assert [row.change for row in journal.pending()] == [
        Change(NOTE, at("9me"), "two", base=dots("5x")),
        between,
    ]
    assert last == journal.winner(NOTE)


def test_a_blind_write_stays_blind(journal: Journal) -> None:
    journal.write([Write(NOTE, "one", base=frozenset())])
    journal.write([Write(NOTE, "two")])
    assert edit(journal, "three").base is None
    assert [(row.change.value, row.change.base) for row in journal.pending()] == [("one", frozenset()), ("three", None)]


def test_a_deletion_replaces_no_text(journal: Journal) -> None:
    first = edit(journal, "one")
    journal.write([Write(NOTE, base=frozenset([first.dot]))])
    assert [row.change.value for row in journal.pending()] == ["one", None]


@pytest.mark.parametrize("again", [False, True])
def test_a_blob_that_was_not_uploaded_gives_way_to_whatever_came_after(
    journal: Journal, tmp_path: Path, again: bool
) -> None:
    change = attach(journal, "x", tmp_path / "x.png")
    journal = reopened(journal) if again else journal
    journal.write([Write(change.key, base=frozenset([change.dot]))])
    [row] = journal.pending()
    assert (row.change.deleted, row.change.base, row.source) == (True, frozenset(), None)
    journal.close()


def test_only_what_was_saved_within_a_minute_is_replaced(path: Path) -> None:
    now = [WALL_MS]
    journal = open_journal(path, wall_ms=lambda: now[0])
    for text in ("one", "two", "three", "four"):
        edit(journal, text)
        now[0] += REPLACED_WITHIN_MS // 2
    assert [row.change.value for row in journal.pending()] == ["two", "four"]
    journal.close()


def test_what_is_remembered_of_a_change_goes_with_it(journal: Journal, tmp_path: Path) -> None:
    attach(journal, "x", tmp_path / "x.png")
    sent = edit(journal, "text")
    with pytest.raises(RefusedChange):
        journal.write([Write("note:b.md", "text"), Write("note:c.md", "a\0b")])
    assert len(journal._since) == len(journal.pending()) == 2
    hand_out(journal)
    journal.apply(received(accepted=[sent]))
    journal.withdraw(["file:x.png"])
    assert (journal._since, journal._handed) == ({}, {})


def test_what_was_sent_is_not_replaced(journal: Journal) -> None:
    first = edit(journal, "one")
    hand_out(journal)
    second = edit(journal, "two")
    assert second.base == frozenset([first.dot])
    assert [row.change for row in journal.pending()] == [first, second]


def test_what_an_earlier_process_may_have_sent_is_not_replaced(journal: Journal) -> None:
    edit(journal, "one")
    journal = reopened(journal)
    edit(journal, "two")
    edit(journal, "three")
    assert [(row.change.value, row.change.base) for row in journal.pending()] == [
        ("one", frozenset()),
        ("three", dots("1me")),
    ]
    journal.close()


def test_what_the_write_has_not_seen_is_not_replaced(journal: Journal) -> None:
    journal.write([Write(NOTE, "one", base=frozenset())])
    journal.write([Write(NOTE, "two", base=frozenset())])
    assert [row.change.value for row in journal.pending()] == ["one", "two"]
    assert {change.value for change in journal.register(NOTE).siblings} == {"one", "two"}


def rename(journal: Journal, old: str, new: str, value: str = "text") -> list[Change]:
    winner, taken = journal.winner(old), journal.winner(new)
    assert winner
    return journal.write(
        [
            Write(new, value, base=frozenset([taken.dot]) if taken else frozenset()),
            Write(old, base=frozenset([winner.dot]), moved_to=new),
        ]
    )


def test_a_chain_of_renames_keeps_its_order(journal: Journal) -> None:
    edit(journal, "text", "note:a.md")
    rename(journal, "note:a.md", "note:b.md")
    rename(journal, "note:b.md", "note:c.md")
    rename(journal, "note:c.md", "note:a.md")
    seen: set[str] = set()
    for row in journal.pending():
        assert row.change.moved_to is None or row.change.moved_to in seen
        seen.add(row.change.key)
    assert journal.keys() == ["note:a.md"]


def test_an_edit_of_a_renamed_note_stays_before_the_tombstone(journal: Journal) -> None:
    edit(journal, "text", "note:a.md")
    _, tombstone = rename(journal, "note:a.md", "note:b.md")
    edit(journal, "edited", "note:b.md")
    assert [(row.change.key, row.change.value) for row in journal.pending()] == [
        ("note:a.md", "text"),
        ("note:b.md", "edited"),
        ("note:a.md", None),
    ]
    assert journal.pending()[-1].change == tombstone


# -- what may be sent


def test_at_most_one_change_of_a_key_goes_out_at_once(journal: Journal) -> None:
    first = edit(journal, "one")
    hand_out(journal)
    second = edit(journal, "two")
    other = edit(journal, "x", "note:b.md")
    assert [row.change for row in journal.ready()] == [first, other]
    journal.apply(received(accepted=[first]))
    assert [row.change for row in journal.ready()] == [second, other]


def test_a_tombstone_waits_for_the_creation_it_points_to(journal: Journal) -> None:
    edit(journal, "text", "note:a.md")
    edit(journal, "text", "note:b.md")
    hand_out(journal)
    edit(journal, None, "note:b.md")
    hand_out(journal)
    rename(journal, "note:a.md", "note:b.md")
    ready = [(row.change.key, row.change.value) for row in journal.ready()]
    assert ready == [("note:a.md", "text"), ("note:b.md", "text"), ("note:b.md", None)]


def test_a_message_is_bounded(journal: Journal) -> None:
    journal.write([Write(f"note:{n}.md", "x") for n in range(MAX_MESSAGE_CHANGES + 50)])
    assert len(journal.ready()) == MAX_MESSAGE_CHANGES + 1
    journal.write([Write(f"note:big {n}.md", "x" * 2**20) for n in range(5)])
    journal.apply(received(accepted=[row.change for row in journal.pending() if row.change.value == "x"]))
    assert 1 <= len(journal.ready()) <= 3


def attach(journal: Journal, name: str, source: Path | None) -> Change:
    blob = BlobRef(hashlib.sha256(name.encode()).hexdigest(), 3)
    return journal.write(
        [Write(f"file:{name}.png", None, blob, frozenset(), source=None if source is None else str(source))]
    )[0]


def test_a_blob_goes_out_once_it_is_uploaded_and_holds_up_nothing_else(journal: Journal, tmp_path: Path) -> None:
    source = tmp_path / "x.png"
    blob = attach(journal, "x", source)
    known = attach(journal, "known", None)
    note = edit(journal, "text")
    assert [row.change for row in journal.ready()] == [known, note]
    [row] = journal.uploads()
    assert (row.change, row.source) == (blob, str(source))
    assert blob.blob
    assert journal.source_of(blob.blob.sha256) == str(source)
    assert journal.source_of("0" * 64) is None
    assert journal.sources() == {str(source)}
    journal.uploaded(row)
    assert [row.change for row in journal.ready()] == [blob, known, note]
    journal.apply(refused(blob, "blob_missing"))
    assert [row.change for row in journal.uploads()] == [blob]
    assert [row.change for row in journal.ready()] == [known, note]


def test_a_blob_whose_bytes_nobody_has_is_parked(journal: Journal) -> None:
    change = attach(journal, "x", None)
    hand_out(journal)
    journal.apply(refused(change, "blob_missing"))
    assert ([row.code for row in journal.parked()], journal.uploads()) == (["blob_missing"], [])


def test_a_rename_of_a_file_waits_for_its_upload(journal: Journal, tmp_path: Path) -> None:
    attach(journal, "x", tmp_path / "x.png")
    winner = journal.winner("file:x.png")
    assert winner
    assert winner.blob
    journal.write(
        [
            Write("file:y.png", None, winner.blob, frozenset(), source=str(tmp_path / "x.png")),
            Write("file:x.png", base=frozenset([winner.dot]), moved_to="file:y.png"),
        ]
    )
    assert journal.ready() == []
    for row in journal.uploads():
        journal.uploaded(row)
    assert [row.change.key for row in journal.ready()] == ["file:x.png", "file:y.png"]


def test_an_upload_that_was_overtaken_by_a_later_version_proves_nothing(journal: Journal, tmp_path: Path) -> None:
    attach(journal, "x", tmp_path / "x.png")
    [row] = journal.uploads()
    winner = journal.winner("file:x.png")
    assert winner
    journal.write([Write("file:x.png", None, BLOB, frozenset([winner.dot]), source=str(tmp_path / "x2.png"))])
    journal.uploaded(row)
    journal.park(row, "blob_missing", "gone")
    [left] = journal.uploads()
    assert (left.change.blob, left.parked) == (BLOB, False)


def test_sources_move_together_with_the_journal(journal: Journal, tmp_path: Path) -> None:
    attach(journal, "x", tmp_path / "folder" / "x.png")
    journal.close()
    moved = tmp_path / "elsewhere"
    journal.path.parent.rename(moved)
    again = open_journal(moved / journal.path.name)
    assert again.sources() == {str(moved / "x.png")}
    again.close()


# -- what the server says


def test_accepted_changes_are_confirmed_and_leave_the_outbox(journal: Journal) -> None:
    change = edit(journal, "text")
    hand_out(journal)
    assert journal.apply(received(accepted=[change], cursor=9)) == set()
    assert (journal.pending(), journal.confirmed(NOTE), journal.winner(NOTE)) == ([], (change,), change)
    assert journal.meta == Meta("me", "main", "ws://127.0.0.1:1/ws/sync", "secret", "1-aa", 9, 9, WALL_MS)


def test_an_accepted_change_that_the_outbox_no_longer_has_is_news(journal: Journal) -> None:
    """Two processes, or a journal that was set aside in between."""
    assert journal.apply(received(accepted=[write("5me")])) == {NOTE}
    assert journal.confirmed(NOTE) == (write("5me"),)


def test_an_answer_after_the_change_itself_keeps_the_mark_that_the_server_gave_it(journal: Journal) -> None:
    change = edit(journal, "text")
    hand_out(journal)
    marked = replace(change, conflict=True)
    journal.apply(received(marked, cursor=9))
    journal.apply(received(accepted=[change], cursor=9))
    assert journal.confirmed(NOTE) == (marked,)
    assert journal.conflicts() == [NOTE]


def test_what_the_server_lists_replaces_what_was_confirmed(journal: Journal) -> None:
    journal.apply(received(write("3x"), write("3y"), write("1z", key="note:b.md"), cursor=5))
    assert journal.conflicts() == [NOTE]
    altered = journal.apply(received(write("7x", base="3x 3y"), cursor=8))
    assert altered == {NOTE}
    assert journal.confirmed(NOTE) == (write("7x", base="3x 3y"),)
    assert journal.conflicts() == []
    assert journal.keys() == [NOTE, "note:b.md"]
    assert journal.apply(received(write("7x", base="3x 3y"), cursor=9)) == set()


def test_a_merge_that_a_person_should_look_at_counts_as_a_conflict(journal: Journal) -> None:
    journal.apply(received(write("3server.1-aa", base="1x 2y", conflict=True)))
    assert journal.conflicts() == [NOTE]
    assert journal.counts() == (0, 0, 1)


def test_an_unconfirmed_edit_is_never_overwritten(journal: Journal) -> None:
    journal.apply(received(write("3x"), cursor=4))
    mine = edit(journal, "mine")
    theirs = write("9y", base="3x")
    assert journal.apply(received(theirs, cursor=10)) == {NOTE}
    assert journal.register(NOTE) == join_all([theirs, mine])
    assert {change.value for change in journal.register(NOTE).siblings} == {"mine", "9y"}
    journal.apply(received(accepted=[mine]))
    assert journal.register(NOTE).siblings == (mine, theirs)


def test_a_deletion_elsewhere_does_not_hide_an_unconfirmed_edit(journal: Journal) -> None:
    journal.apply(received(write("3x"), cursor=4))
    mine = edit(journal, "mine")
    journal.apply(received(delete("9y", base="3x"), cursor=10))
    assert journal.winner(NOTE) == mine
    assert journal.keys() == [NOTE]


def test_the_cursor_and_the_clock_never_go_back(journal: Journal) -> None:
    journal.apply(received(cursor=50))
    journal.apply(received(write("3x"), cursor=20))
    assert (journal.meta.cursor, journal.meta.clock) == (50, 50)
    journal.apply(received(write("70x"), cursor=60, epoch=None))
    assert (journal.meta.cursor, journal.meta.clock, journal.meta.epoch) == (60, 70, "1-aa")


def test_keys_show_what_is_not_deleted(journal: Journal) -> None:
    journal.apply(
        received(
            write("1x", key="note:a.md"),
            delete("2x", key="note:b.md"),
            write("3x", key="note:dir/c.md"),
            write("4x", key="note:dir%.md"),
        )
    )
    edit(journal, None, "note:a.md")
    edit(journal, "new", "note:b.md")
    edit(journal, "new", "note:dir/d.md")
    assert journal.keys() == ["note:b.md", "note:dir%.md", "note:dir/c.md", "note:dir/d.md"]
    assert journal.keys("note:dir/") == ["note:dir/c.md", "note:dir/d.md"]
    assert journal.keys("file:") == []
    found = [(key, winner.value) for key, winner in journal.winners()]
    assert found == [
        ("note:a.md", None),
        ("note:b.md", "new"),
        ("note:dir%.md", "4x"),
        ("note:dir/c.md", "3x"),
        ("note:dir/d.md", "new"),
    ]
    assert [key for key, _ in journal.winners("note:dir/")] == ["note:dir/c.md", "note:dir/d.md"]


def test_winners_merge_what_is_confirmed_and_what_is_not(journal: Journal) -> None:
    confirmed = [write("5x", key=f"note:{n:04}.md") for n in range(0, 1200, 2)]
    journal.apply(received(*confirmed))
    for number in (1, 500, 511, 513, 1199, 1300):
        edit(journal, "mine", f"note:{number:04}.md")
    edit(journal, None, "note:0510.md")
    found = dict(journal.winners())
    assert list(found) == sorted({*(change.key for change in confirmed), *journal.unconfirmed_keys()})
    assert all(found[key] == journal.winner(key) for key in found)
    assert dict(journal.winners("note:05")) == {key: found[key] for key in found if key.startswith("note:05")}
    assert len(dict(journal.confirmed_heads())) == 600


def test_winners_can_be_written_to_while_they_are_read(journal: Journal) -> None:
    journal.write([Write(f"note:{n:04}.md", "x") for n in range(600)])
    seen = []
    for key, _ in journal.winners():
        seen.append(key)
        edit(journal, "y", key)
    assert seen == [f"note:{n:04}.md" for n in range(600)]


# -- refusals


@pytest.mark.parametrize(
    "code",
    "bad_change bad_key bad_timestamp bad_device bad_author bad_base bad_value value_too_large read_only "
    "move_target_missing".split(),
)
def test_a_bad_change_is_parked_and_the_others_go_on(journal: Journal, code: str) -> None:
    bad, good = edit(journal, "bad"), edit(journal, "good", "note:b.md")
    hand_out(journal)
    journal.apply(received(accepted=[good], rejected=[refusal(bad, code)]))
    journal = reopened(journal)
    [row] = journal.parked()
    assert (row.change, row.code, row.message) == (bad, code, f"because of {code}")
    assert (journal.pending(), journal.ready(), journal.winner(NOTE)) == ([], [], bad)
    assert journal.counts() == (0, 1, 0)
    journal.close()


@pytest.mark.parametrize("code", ["storage_full", "storage_failed", "fenced", "a_code_of_the_future"])
def test_what_the_store_could_not_take_is_kept(journal: Journal, code: str) -> None:
    change = edit(journal, "text")
    hand_out(journal)
    journal.apply(refused(change, code))
    [row] = journal.ready()
    assert (row.change, row.code) == (change, code)


def test_what_the_store_could_not_take_may_be_replaced(journal: Journal) -> None:
    change = edit(journal, "one")
    hand_out(journal)
    journal.apply(refused(change, "storage_full"))
    edit(journal, "two")
    assert [(row.change.value, row.change.base) for row in journal.pending()] == [("two", frozenset())]


def test_the_next_edit_takes_the_place_of_a_parked_one(journal: Journal) -> None:
    journal.apply(received(write("3x"), cursor=4))
    too_large = edit(journal, "too large")
    hand_out(journal)
    journal.apply(refused(too_large, "value_too_large"))
    edit(journal, "smaller")
    assert journal.parked() == []
    [row] = journal.ready()
    assert (row.change.value, row.change.base) == ("smaller", dots("3x"))


@pytest.mark.parametrize("is_late", [False, True], ids=["deleted meanwhile", "deleted after the refusal"])
def test_a_deletion_takes_the_place_of_what_was_refused_for_good(journal: Journal, is_late: bool) -> None:
    """No history can show it, and whoever deletes it sees it."""
    journal.apply(received(write("3x"), cursor=4))
    too_large = edit(journal, "too large")
    hand_out(journal)
    if not is_late:
        edit(journal, None)
    journal.apply(refused(too_large, "value_too_large"))
    if is_late:
        edit(journal, None)
    assert journal.parked() == []
    [row] = journal.ready()
    assert (row.change.deleted, row.change.base) == (True, dots("3x"))


def test_a_deletion_that_has_not_seen_what_was_refused_leaves_it(journal: Journal) -> None:
    journal.apply(received(write("3x"), cursor=4))
    too_large = edit(journal, "too large")
    hand_out(journal)
    journal.apply(refused(too_large, "value_too_large"))
    journal.write([Write(NOTE, base=dots("3x"))])
    assert [row.change for row in journal.parked()] == [too_large]
    assert journal.winner(NOTE) == too_large


def test_what_was_written_on_top_of_a_parked_change_takes_its_place(journal: Journal) -> None:
    bad = edit(journal, "bad")
    hand_out(journal)
    other = edit(journal, "other", "note:b.md")
    better = edit(journal, "better")
    journal.apply(refused(bad, "bad_value"))
    assert journal.parked() == []
    assert [(row.change.value, row.change.base) for row in journal.ready()] == [
        ("better", frozenset()),
        ("other", frozenset()),
    ]
    assert (better.dot, other.dot) == (journal.ready()[0].change.dot, journal.ready()[1].change.dot)


def test_parked_changes_are_sent_again_only_when_somebody_asks(journal: Journal) -> None:
    changes = [edit(journal, key, key) for key in ("note:a.md", "note:b.md")]
    hand_out(journal)
    journal.apply(received(rejected=[refusal(change, "read_only") for change in changes]))
    assert journal.retry_parked(["note:b.md", "note:never.md"]) == 1
    assert [row.change for row in journal.ready()] == [changes[1]]
    assert journal.retry_parked() == 1
    assert [row.change for row in journal.ready()] == changes


def test_a_rename_waits_if_its_target_is_still_to_come(journal: Journal) -> None:
    journal.apply(received(write("3x"), cursor=4))
    creation, tombstone = rename(journal, NOTE, "note:b.md", "bad")
    hand_out(journal)
    better = edit(journal, "better", "note:b.md")
    journal.apply(received(rejected=[refusal(creation, "bad_value"), refusal(tombstone, "move_target_missing")]))
    assert journal.parked() == []
    assert [row.change.dot for row in journal.ready()] == [better.dot, tombstone.dot]


# -- new dots


def test_a_clock_that_is_too_far_ahead_is_set_back_and_everything_follows(journal: Journal) -> None:
    journal.apply(received(write("3x"), cursor=4))
    journal.write([Write(NOTE, "one", base=dots(f"{2**50}x"))], [entry(), entry("still.md", at("3x"))])
    [one] = hand_out(journal)
    other = edit(journal, "other", "note:b.md")
    two = edit(journal, "two")
    assert two.base == frozenset([one.dot])
    assert other.dot.timestamp > 2**50
    altered = journal.apply(refused(one, "clock_too_far", clock=20, cursor=10))
    assert altered == {NOTE, "note:b.md"}
    journal = reopened(journal)
    assert [row.change for row in journal.pending()] == [
        Change(NOTE, at("21me"), "one", base=frozenset()),
        Change("note:b.md", at("22me"), "other", base=frozenset()),
        Change(NOTE, at("23me"), "two", base=dots("21me")),
    ]
    assert journal.bases() == {"a.md": entry("a.md", at("21me")), "still.md": entry("still.md", at("3x"))}
    assert journal.meta.clock == 23
    assert edit(journal, "next", "note:c.md").dot == at("24me")
    journal.close()


def test_what_is_not_ahead_of_the_servers_clock_keeps_its_dot(journal: Journal) -> None:
    early = edit(journal, "early", "note:early.md")
    journal.write([Write(NOTE, "far", base=dots(f"{2**50}x"))])
    far = hand_out(journal)[-1]
    journal.apply(refused(far, "clock_too_far", clock=20))
    assert [row.change.dot for row in journal.pending()] == [early.dot, at("21me")]


def test_the_clock_is_never_set_below_a_receipt_that_was_seen(journal: Journal) -> None:
    journal.apply(received(cursor=100))
    journal.write([Write(NOTE, "far", base=dots(f"{2**50}x"))])
    [far] = hand_out(journal)
    journal.apply(refused(far, "clock_too_far"))
    assert journal.pending()[0].change.dot == at("101me")


def test_a_plan_made_before_a_new_dot_still_fits(journal: Journal) -> None:
    journal.write([Write(NOTE, "one", base=dots(f"{2**50}x"))])
    [one] = hand_out(journal)
    journal.apply(refused(one, "clock_too_far", clock=20))
    hand_out(journal)
    [two] = journal.write([Write(NOTE, "two", base=frozenset([one.dot]))])
    assert two.base == dots("21me")
    journal.set_bases([entry("a.md", one.dot)])
    assert journal.bases()["a.md"].dot == at("21me")


def test_a_cloned_device_goes_on_as_its_next_incarnation(journal: Journal) -> None:
    edit(journal, "sent", "note:sent.md")
    [sent] = hand_out(journal)
    journal.write([Write(NOTE, "cloned", base=frozenset())], [entry()])
    cloned = hand_out(journal)[-1]
    unsent = edit(journal, "unsent", "note:unsent.md")
    later = edit(journal, "later")
    altered = journal.apply(refused(cloned, "dot_reused"))
    assert altered == {NOTE, "note:unsent.md"}
    journal = reopened(journal)
    assert journal.device_id == "me~2"
    assert [row.change for row in journal.pending()] == [
        sent,
        Change(NOTE, at("5me~2"), "cloned", base=frozenset()),
        Change("note:unsent.md", at("6me~2"), "unsent", base=frozenset()),
        Change(NOTE, at("7me~2"), "later", base=dots("5me~2")),
    ]
    assert (unsent.dot, later.dot) == (at("3me"), at("4me"))
    assert journal.bases()["a.md"].dot == at("5me~2")
    journal.bind(device_id="me", vault="main", endpoint="ws://127.0.0.1:1/ws/sync")
    assert journal.device_id == "me~2"
    # What was sent under the old id gets a new dot, too, if that turns out to be taken; the id is new already.
    journal.apply(refused(sent, "dot_reused"))
    assert journal.device_id == "me~2"
    assert journal.pending()[0].change.dot == at("8me~2")
    # And a clone of the clone.
    journal.apply(refused(journal.pending()[1].change, "dot_reused"))
    assert journal.device_id == "me~3"
    journal.close()


def test_a_server_that_never_agrees_does_not_keep_us_busy_for_ever(journal: Journal) -> None:
    edit(journal, "text")
    rounds = 0
    while ready := hand_out(journal):
        journal.apply(refused(ready[0], "clock_too_far", clock=5))
        rounds += 1
    assert rounds == MAX_NEW_DOTS + 1
    assert [row.code for row in journal.parked()] == ["clock_too_far"]


def test_a_refusal_of_something_unknown_is_ignored(journal: Journal) -> None:
    change = edit(journal, "text")
    journal.apply(refused(write("99z", key="note:z.md"), "bad_value"))
    assert [row.change for row in journal.pending()] == [change]


# -- doubts


def test_an_answer_that_was_lost_leaves_a_doubt_until_the_server_tells(journal: Journal) -> None:
    mine = edit(journal, "mine")
    hand_out(journal)
    # The answer is lost; others replace our change, and one deletes theirs: of all this only the end comes.
    gone = delete("9y", base="7x")
    journal.apply(received(gone, cursor=10))
    hand_out(journal)
    journal.apply(received(accepted=[mine]))
    assert journal.doubts() == [NOTE]
    journal = reopened(journal)
    assert journal.doubts() == [NOTE]
    assert journal.reconcile({NOTE: (gone,)}) == {NOTE}
    assert (journal.doubts(), journal.winner(NOTE)) == ([], gone)
    journal.close()


def test_what_an_answer_had_no_room_for_is_a_doubt(journal: Journal) -> None:
    mine = edit(journal, "mine")
    hand_out(journal)
    journal.apply(received(accepted=[mine], unlisted=frozenset([NOTE])))
    assert (journal.pending(), journal.doubts()) == ([], [NOTE])
    journal.apply(received(write("9y", base="7x"), cursor=10))
    assert (journal.doubts(), journal.confirmed(NOTE)) == ([], (write("9y", base="7x"),))


def test_the_servers_word_in_the_same_message_leaves_no_doubt(journal: Journal) -> None:
    mine = edit(journal, "mine")
    hand_out(journal)
    hand_out(journal)
    journal.apply(received(delete("9y", base="7x"), accepted=[mine], cursor=10))
    assert (journal.doubts(), journal.confirmed(NOTE)) == ([], (delete("9y", base="7x"),))


@pytest.mark.parametrize("times", [1, 2])
def test_there_is_no_doubt_where_nothing_could_have_happened(journal: Journal, times: int) -> None:
    mine = edit(journal, "mine")
    for _ in range(times):
        hand_out(journal)
    if times == 2:
        journal.apply(received(mine, cursor=10))
    journal.apply(received(accepted=[mine]))
    assert journal.doubts() == []


# -- full reconcile


def test_a_reconcile_replaces_and_parks_what_the_server_lost(journal: Journal) -> None:
    lost = write("5x", base="1x")
    journal.apply(received(lost, write("3x", key="note:b.md"), cursor=6))
    there = write("40z", key="note:b.md")
    altered = journal.reconcile({NOTE: (), "note:b.md": (there,)}, lost=[(lost, "blob_missing", "it is gone")])
    assert altered == {"note:b.md"}
    assert journal.confirmed(NOTE) == ()
    assert journal.winner(NOTE) == lost
    assert [(row.change, row.code) for row in journal.parked()] == [(lost, "blob_missing")]
    assert journal.meta.clock == 40
    assert dict(journal.confirmed_heads()) == {"note:b.md": {there.dot: there.head}}


def test_after_a_reconcile_the_log_is_followed_from_its_clock(journal: Journal) -> None:
    journal.apply(received(cursor=500))
    journal.resynced("2-bb", 90)
    meta = journal.meta
    assert (meta.epoch, meta.cursor, meta.clock) == ("2-bb", 90, 500)


def test_an_old_own_dot_of_another_incarnation_is_not_given_a_new_one(journal: Journal) -> None:
    """A parked change of somebody else's has its own dot, whatever happens to ours."""
    journal.reconcile({}, lost=[(write("900x", key="note:z.md"), "bad_value", "no")])
    journal.write([Write(NOTE, "far", base=dots(f"{2**50}x"))])
    [far] = hand_out(journal)
    journal.apply(refused(far, "clock_too_far", clock=20))
    assert [row.change.dot for row in journal.parked()] == [at("900x")]


def test_sqlite_says_no_in_our_words(journal: Journal) -> None:
    blocker = sqlite3.connect(journal.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    journal._tables._db.execute("PRAGMA busy_timeout = 1")
    with pytest.raises(StorageError, match="locked"):
        edit(journal, "text")
    blocker.close()
    assert edit(journal, "text").dot == at("1me")


# -- the quarantine


def quarantined(journal: Journal, *changes: Change) -> None:
    journal.apply(received(*changes, cursor=9))
    journal.quarantine({change.key for change in changes})


def no_file(_: BlobRef) -> None:
    return None


def test_what_is_quarantined_stays_until_somebody_writes_it_or_the_server_tells_of_it(journal: Journal) -> None:
    keys = [f"note:{name}.md" for name in "abcd"]
    quarantined(journal, *(write("4x", key=key) for key in keys), delete("5x", key="note:e.md"))
    assert journal.quarantined() == keys
    mine = edit(journal, "edited", key=keys[0])
    assert journal.quarantined() == keys[1:]
    journal.apply(received(accepted=[mine]))
    journal.apply(received(write("8y", key=keys[1])))
    journal.reconcile({keys[2]: (write("9y", key=keys[2]),)})
    journal = reopened(journal)
    assert journal.quarantined() == keys[3:]
    journal.close()


def test_what_is_kept_is_written_anew_on_all_that_was_there(journal: Journal, tmp_path: Path) -> None:
    blob = Change("file:x.png", Dot(6, "x"), None, BLOB)
    quarantined(journal, write("4x", "text"), write("5y", "other"), blob)
    released = journal.release([NOTE, "file:x.png", "note:unknown.md"], lambda _: tmp_path / "x.png", keep=True)
    assert released == [NOTE, "file:x.png"]
    first, second = journal.pending()
    assert (first.change.value, first.change.base) == ("other", dots("4x 5y"))
    assert first.change.dot > Dot(9, "")
    assert (second.change.blob, second.source, second.uploaded) == (BLOB, str(tmp_path / "x.png"), False)
    assert (journal.quarantined(), journal.release([NOTE], no_file, keep=True)) == ([], [])


def test_what_is_refused_is_written_and_then_deleted(journal: Journal, tmp_path: Path) -> None:
    quarantined(journal, write("4x", "text"), Change("file:x.png", Dot(6, "x"), None, BLOB))
    journal.release([NOTE, "file:x.png"], lambda _: tmp_path / "x.png", keep=False)
    rows = journal.pending()
    assert [(row.change.key, row.change.deleted) for row in rows] == [
        (NOTE, False),
        (NOTE, True),
        ("file:x.png", False),
        ("file:x.png", True),
    ]
    assert rows[1].change.base == frozenset([rows[0].change.dot, Dot(4, "x")])
    winner = journal.winner(NOTE)
    assert winner
    assert winner.deleted
    sent = [(change.key, change.deleted) for change in hand_out(journal)]
    assert sent == [(NOTE, False), (NOTE, True)], "together; the picture when it is uploaded"


@pytest.mark.parametrize("code", ["value_too_large", "bad_value", "dot_reused", "clock_too_far"])
def test_a_deletion_holds_although_what_it_deletes_is_refused(journal: Journal, code: str) -> None:
    old = write("4x")
    journal.apply(received(old))
    edit(journal, "too much")
    deletion = edit(journal, None)
    sent = hand_out(journal)
    assert [change.value for change in sent] == ["too much", None]
    journal.apply(received(accepted=[deletion], rejected=[refusal(sent[0], code, 3)]))
    # What the server joins of the two that it has is what is shown here.
    assert join_all((old, deletion)).siblings == (deletion,)
    journal = reopened(journal)
    assert (journal.confirmed(NOTE), journal.register(NOTE).siblings) == ((deletion,), (deletion,))
    assert (journal.pending(), journal.parked()) == ([], [])
    assert journal.device_id == ("me~2" if code == "dot_reused" else "me")


def test_a_text_whose_dot_was_used_before_is_not_taken_for_deleted(journal: Journal) -> None:
    mine = edit(journal, "after the journal was set back")
    hand_out(journal)
    others = write("9x", base=str(mine.dot.timestamp) + "me")
    journal.apply(received(others))
    journal.apply(refused(mine, "dot_reused"))
    (row,) = journal.pending()
    assert (row.change.value, row.change.dot.device_id) == (mine.value, "me~2")


def test_bytes_that_nobody_has_any_more_are_not_waited_for(journal: Journal, tmp_path: Path) -> None:
    attach(journal, "x", tmp_path / "x.png")
    there = attach(journal, "y", None)
    text = edit(journal, "text")
    assert journal.only_here() == {"file:x.png"}
    journal.withdraw(["file:x.png", "file:y.png", NOTE])
    assert [row.change for row in journal.pending()] == [there, text]
    assert journal.winner("file:x.png") is None


def test_a_device_that_meets_its_clone_takes_along_what_it_has_not_sent(journal: Journal) -> None:
    sent = edit(journal, "sent")
    hand_out(journal)
    unsent = edit(journal, "unsent", key="note:b.md")
    assert journal.reincarnate() == {"note:b.md"}
    assert journal.device_id == "me~2"
    first, second = journal.pending()
    assert first.change == sent
    assert (second.change.dot.device_id, second.change.value) == ("me~2", unsent.value)
    assert edit(journal, "next").dot.device_id == "me~2"
