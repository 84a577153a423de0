"""The acceptance suite: what every store does, whatever it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from server.store.changes import WALL_MS, change, codes, names, note, pages, receipts, take, winner
from tidenote.core.intake import Taken
from tidenote.core.version import BlobRef, Dot, Head
from tidenote.errors import AccessError, ConfigError, ProtocolError, RefusedChange, StorageError
from tidenote.server.store.contract import GENERATION_GAP, Store, TooMuchAtOnce
from tidenote.server.store.memory import MemoryStore
from tidenote.server.store.sql import SqlStore
from tidenote.wire.messages import SyncAck, encode, from_entries
from tidenote.wire.session import Page

KINDS = ("memory", "sqlite")


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An open store with an empty vault `main`."""
    opened: Store = MemoryStore() if request.param == "memory" else SqlStore.open(tmp_path / "data")
    opened.create_vault("main")
    yield opened
    opened.close()


# -- vaults


def test_a_new_vault_is_empty_and_of_generation_one(store: Store) -> None:
    info = store.vault("main")
    assert (info.name, info.clock, info.fenced_by) == ("main", 0, None)
    generation, _, token = info.epoch.partition("-")
    assert generation == "1"
    assert len(token) == 8
    assert int(token, 16) >= 0
    assert store.changes_since("main", 0) == Page((), 0)
    assert store.manifest("main", None, 10) == []
    assert store.entries("main", [note("a")]) == []
    assert store.history("main", note("a")) == []


def test_creating_a_vault_again_returns_it_as_it_is(store: Store) -> None:
    take(store, change("a", 5))
    before = store.vault("main")
    assert store.create_vault("main") == before
    assert before.clock == 6


def test_vaults_are_listed_by_name_and_have_epochs_of_their_own(store: Store) -> None:
    store.create_vault("work")
    store.create_vault("diary")
    infos = store.vaults()
    assert [info.name for info in infos] == ["diary", "main", "work"]
    assert len({info.epoch for info in infos}) == 3


def test_vaults_know_nothing_of_each_other(store: Store) -> None:
    store.create_vault("other")
    take(store, change("a", 7, "mine"))
    take(store, change("a", 7, "theirs"), vault="other")
    assert winner(store, "a") == "mine"
    assert winner(store, "a", "other") == "theirs"
    assert [len(store.history(name, note("a"))) for name in ("main", "other")] == [1, 1]
    assert len(store.changes_since("main", 0).entries) == 1


@pytest.mark.parametrize("name", ["", " main", "main ", "a\nb", "x" * 101])
def test_a_vault_needs_a_name_that_can_be_shown(store: Store, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        store.create_vault(name)
    assert caught.value.code == "bad_request"
    assert [info.name for info in store.vaults()] == ["main"]


@pytest.mark.parametrize(
    "name", ["nope", "MAIN", "' OR 1=1 --", "%", ""], ids=["other", "case", "injection", "wildcard", "empty"]
)
def test_every_operation_refuses_an_unknown_vault(store: Store, name: str) -> None:
    take(store, change("a", 1))
    for operation in (
        lambda: store.vault(name),
        lambda: take(store, change("a", 2), vault=name),
        lambda: store.changes_since(name, 0),
        lambda: store.entries(name, [note("a")]),
        lambda: store.manifest(name, None, 10),
        lambda: store.listed(name, "", None, 10),
        lambda: store.history(name, note("a")),
        lambda: store.new_generation(name, wall_ms=WALL_MS),
        lambda: store.fence(name, "2-00000000"),
        lambda: store.set_on_tie(name, "ask"),
    ):
        with pytest.raises(AccessError) as caught:
            operation()
        assert caught.value.code == "unknown_vault"


def test_keys_are_listed_by_prefix_with_all_their_siblings(store: Store) -> None:
    take(store, change("b/x", 1), change("b/%", 2), change("ba", 3), change("é", 4), change("a", 5, "one"))
    take(store, change("a", 5, "two", by="dev2"), change("b/x", 9, None))
    everything = [note(name) for name in ("a", "b/%", "b/x", "ba", "é")]
    assert [key for key, _ in store.listed("main", "", None, 9)] == everything
    assert [key for key, _ in store.listed("main", "note:b/", None, 9)] == everything[1:3]
    assert [key for key, _ in store.listed("main", "note:b/%", None, 9)] == everything[1:2]
    assert [key for key, _ in store.listed("main", "note:b", note("b/%"), 1)] == [note("b/x")]
    assert store.listed("main", "file:", None, 9) == []
    ((_, siblings),) = store.listed("main", note("a"), None, 9)
    assert {record.dot for record in siblings} == store.entries("main", [note("a")])[0].register.dots
    ((_, (deletion,)),) = store.listed("main", note("b/x"), None, 9)
    assert deletion.deleted


# -- taking in


def test_receipts_are_unique_and_increasing_and_move_the_clock(store: Store) -> None:
    first = take(store, change("a", 100), change("b", 3), change("c", 101))
    assert receipts(first) == [101, 102, 103]
    second = take(store, change("d", 1))
    assert receipts(second) == [104]
    assert (first.previous_clock, first.clock, second.previous_clock, second.clock) == (0, 103, 103, 104)
    assert store.vault("main").clock == 104


def no_blob_is_here(blob: BlobRef) -> None:
    raise RefusedChange(f"upload {blob.sha256} first", "blob_missing")


def test_pushes_of_one_batch_are_taken_in_together_and_answered_one_by_one(store: Store) -> None:
    batch = store.take_in(
        "main",
        [[change("a", 1)], [], [change("a", 1, by="dev2"), change("b", 1, blob=BlobRef("0" * 64, 4))]],
        wall_ms=WALL_MS,
        check_blob=no_blob_is_here,
    )
    assert codes(batch) == [None, None, "blob_missing"]
    assert [entry.key for entry in batch.entries] == [note("a")]
    assert store.entries("main", [note("a"), note("b")]) == batch.entries


def test_a_batch_of_nothing_changes_nothing(store: Store) -> None:
    take(store, change("a", 1))
    batch = store.take_in("main", [], wall_ms=WALL_MS, check_blob=lambda _: True)
    assert (batch.previous_clock, batch.clock, batch.versions, batch.results) == (2, 2, [], [])


def test_what_is_too_much_to_be_read_at_once_is_not_taken_in(store: Store) -> None:
    take(store, change("a", 1, "x" * 100), change("a", 1, "y" * 100, by="dev2"), change("b", 1, "z" * 50))
    both = [[change("a", 9)], [change("b", 9, base=[])]]
    rename = [[change("c", 9), change("d", 9, None, base=[], moved_to="b")]]
    for pushes, size in ((rename, 50), (both, 250)):
        clock = store.vault("main").clock
        with pytest.raises(TooMuchAtOnce):
            store.take_in("main", pushes, wall_ms=WALL_MS, check_blob=bool, max_read=size - 1)
        assert store.vault("main").clock == clock
        batch = store.take_in("main", pushes, wall_ms=WALL_MS, check_blob=bool, max_read=size)
        assert codes(batch) == [None, None]


def test_a_change_sent_again_is_acknowledged_again_and_kept_once(store: Store) -> None:
    first = take(store, change("a", 5, base=[]))
    again = take(store, change("a", 5, base=[]))
    assert receipts(again) == receipts(first)
    assert [result.duplicate for result in again.results if isinstance(result, Taken)] == [True]
    assert (again.clock, again.versions) == (first.clock, [])
    assert len(store.history("main", note("a"))) == 1


def test_a_change_that_was_replaced_long_ago_is_still_a_duplicate(store: Store) -> None:
    old = change("a", 1, "one")
    first = take(store, old)
    take(store, change("a", 2, "two"))
    take(store, change("a", 3, "three"))
    assert receipts(take(store, old)) == receipts(first)
    assert winner(store, "a") == "three"


def test_the_same_change_twice_in_one_batch_is_kept_once(store: Store) -> None:
    batch = take(store, change("a", 5), change("a", 5))
    assert receipts(batch) == [6, 6]
    assert len(store.history("main", note("a"))) == 1


def test_a_dot_used_again_with_other_content_is_refused(store: Store) -> None:
    take(store, change("a", 5, "mine"))
    take(store, change("a", 6, "newer"))
    assert codes(take(store, change("a", 5, "the clone's"), change("b", 7))) == ["dot_reused", None]
    assert [version.change.value for version in store.history("main", note("a"))] == ["mine", "newer"]


def test_one_dot_may_name_changes_of_several_keys(store: Store) -> None:
    assert receipts(take(store, change("a", 5, "A"), change("b", 5, "B"))) == [6, 7]
    assert receipts(take(store, change("b", 5, "B"), change("a", 5, "A"))) == [7, 6]


def test_a_late_change_with_a_low_timestamp_gets_a_higher_receipt_and_is_found(store: Store) -> None:
    take(store, change("a", 1000))
    cursor = store.vault("main").clock
    (receipt,) = receipts(take(store, change("b", 2, "from long ago", by="dev2")))
    assert receipt > cursor
    page = store.changes_since("main", cursor)
    assert (names(page), page.up_to, page.behind) == ([note("b")], receipt, 0)


def test_a_blind_write_replaces_older_ones_and_loses_to_newer_ones(store: Store) -> None:
    take(store, change("a", 5, "five"))
    take(store, change("a", 9, "nine", by="dev2"))
    take(store, change("a", 7, "seven", by="dev3"))
    (entry,) = store.entries("main", [note("a")])
    assert [sibling.value for sibling in entry.register.siblings] == ["nine"]
    assert [version.change.value for version in store.history("main", note("a"))] == ["five", "nine", "seven"]


def test_equal_timestamps_of_two_devices_stay_as_siblings(store: Store) -> None:
    take(store, change("a", 5, "left", by="dev1"))
    take(store, change("a", 5, "right", by="dev2"))
    (entry,) = store.changes_since("main", 0).entries
    assert [sibling.value for sibling in entry.register.siblings] == ["left", "right"]
    assert store.manifest("main", None, 10) == [(note("a"), entry.register.heads)]


def test_based_writes_replace_exactly_what_they_saw(store: Store) -> None:
    take(store, change("a", 1, "base", base=[]))
    base = [Dot(1, "dev1")]
    take(store, change("a", 2, "left", base=base))
    # What else this author had seen never arrived, so nothing is merged.
    take(store, change("a", 9, "right", by="dev2", base=[*base, Dot(8, "dev3")]))
    (entry,) = store.entries("main", [note("a")])
    assert [sibling.value for sibling in entry.register.siblings] == ["left", "right"]
    take(store, change("a", 10, "settled", base=[Dot(2, "dev1"), Dot(9, "dev2")]))
    (entry,) = store.entries("main", [note("a")])
    assert [sibling.value for sibling in entry.register.siblings] == ["settled"]
    assert entry.register.context.dots == {Dot(8, "dev3")}


def test_a_blind_write_beside_a_newer_based_one_is_a_pair(store: Store) -> None:
    take(store, change("a", 9, "based", base=[]))
    take(store, change("a", 5, "blind", by="dev2"))
    (entry,) = store.entries("main", [note("a")])
    assert [sibling.value for sibling in entry.register.siblings] == ["blind", "based"]
    assert entry.register.context.floor == 4


def test_a_base_that_arrives_after_its_successor_is_replaced_at_once(store: Store) -> None:
    take(store, change("a", 9, "after", base=[Dot(4, "dev2"), Dot(6, "dev3")]))
    (entry,) = store.entries("main", [note("a")])
    assert entry.register.context.dots == {Dot(4, "dev2"), Dot(6, "dev3")}
    take(store, change("a", 4, "before", by="dev2", base=[]))
    (entry,) = store.entries("main", [note("a")])
    assert [sibling.value for sibling in entry.register.siblings] == ["after"]
    assert entry.register.context.dots == {Dot(6, "dev3")}
    take(store, change("a", 10, "blind"))
    (entry,) = store.entries("main", [note("a")])
    assert (entry.register.context.floor, entry.register.context.dots) == (9, frozenset())


def test_a_successor_and_its_base_may_come_in_one_batch_in_the_wrong_order(store: Store) -> None:
    take(store, change("a", 9, "after", base=[Dot(4, "dev2")]), change("a", 4, "before", by="dev2", base=[]))
    (entry,) = store.entries("main", [note("a")])
    assert [sibling.value for sibling in entry.register.siblings] == ["after"]
    assert entry.register.context.dots == frozenset()


def test_a_deletion_is_a_version_that_pages_and_manifests_show(store: Store) -> None:
    take(store, change("a", 1, base=[]))
    take(store, change("a", 2, None, base=[Dot(1, "dev1")]))
    (entry,) = store.changes_since("main", 0).entries
    assert entry.winner is not None
    assert entry.winner.deleted
    assert store.manifest("main", None, 10) == [(note("a"), {Dot(2, "dev1"): Head(None)})]


def test_an_edit_wins_over_a_concurrent_deletion_by_a_version_of_the_server(store: Store) -> None:
    take(store, change("a", 1, "text", base=[]))
    take(store, change("a", 2, None, base=[Dot(1, "dev1")]))
    batch = take(store, change("a", 3, "edited", by="dev2", base=[Dot(1, "dev1")]))
    (entry,) = store.entries("main", [note("a")])
    assert entry.winner is not None
    assert entry.winner.value == "edited"
    assert entry.winner.dot == Dot(batch.clock, f"server.{store.vault('main').epoch}")
    assert len(store.history("main", note("a"))) == 4


@pytest.mark.parametrize("on_tie", ["review", "ask", "merge"])
def test_edits_with_a_common_base_are_merged_as_the_vault_wants_it(store: Store, on_tie: str) -> None:
    info = store.set_on_tie("main", on_tie)
    assert info == store.vault("main") == store.create_vault("main") == store.vaults()[0]
    assert info.on_tie == on_tie
    base = "one\ntwo\nthree\n"
    take(store, change("a", 1, base, base=[]), change("b", 1, base, base=[]))
    # The nearest version that both know is some versions back.
    for time in range(2, 6):
        take(store, change("a", time, f"{base}{time}\n", base=[Dot(time - 1, "dev1")]))
    take(store, change("a", 7, f"zero\n{base}", by="dev2", base=[Dot(1, "dev1")]))
    take(store, change("b", 2, f"{base}four\n", base=[Dot(1, "dev1")]))
    take(store, change("b", 2, f"zero\n{base}", by="dev2", base=[Dot(1, "dev1")]))
    a, b = store.entries("main", [note("a"), note("b")])
    assert [(found.value, found.conflict) for found in a.register.siblings] == [(f"zero\n{base}5\n", False)]
    assert len(b.register.siblings) == (2 if on_tie == "ask" else 1)
    assert b.winner is not None
    assert b.winner.conflict is (on_tie == "review")


def test_a_setting_outlives_a_new_generation_and_fencing(store: Store) -> None:
    store.set_on_tie("main", "ask")
    store.fence("main", "5-cafebabe")
    assert store.new_generation("main", wall_ms=WALL_MS).on_tie == "ask"
    assert store.vault("main").on_tie == "ask"


def test_a_vault_cannot_be_told_to_treat_ties_in_another_way(store: Store) -> None:
    with pytest.raises(ConfigError) as caught:
        store.set_on_tie("main", "never")
    assert caught.value.code == "bad_request"
    assert store.vault("main").on_tie == "review"


def test_an_edit_follows_a_rename_to_a_key_that_the_batch_does_not_name(store: Store) -> None:
    take(store, change("a", 1, "one\n", base=[]))
    seen = [Dot(1, "dev1")]
    take(store, change("b", 2, "one\n", base=[]), change("a", 3, None, base=seen, moved_to="b"))
    take(store, change("c", 4, "one\n", base=[]), change("b", 5, None, base=[Dot(2, "dev1")], moved_to="c"))
    batch = take(store, change("a", 2, "one\ntwo\n", by="dev2", base=seen))
    assert [entry.key for entry in batch.entries] == [note("c"), note("a")]
    assert winner(store, "c") == "one\ntwo\n"
    (entry,) = store.entries("main", [note("a")])
    assert [sibling.moved_to for sibling in entry.register.siblings] == [note("c")]
    assert store.history("main", note("c"))[-1].change.merged_from == {Dot(2, "dev2")}


def test_what_a_rebuilt_journal_offers_again_stays_deleted(store: Store) -> None:
    take(store, change("a", 1, "text", base=[]))
    take(store, change("a", 2, None, base=[Dot(1, "dev1")]))
    take(store, change("a", 3, "text", by="dev2", base=[]))
    (entry,) = store.entries("main", [note("a")])
    assert entry.winner is not None
    assert entry.winner.deleted


def test_words_that_were_offered_twice_are_still_new(store: Store) -> None:
    take(store, change("a", 5, "other", base=[Dot(3, "dev2")]))
    take(store, change("a", 7, "words", by="dev2", base=[]))
    # The device lost its memory once more: under a dot that others have seen with another text, it is replaced at once.
    take(store, change("a", 3, "words", by="dev2", base=[]))
    (entry,) = store.entries("main", [note("a")])
    assert [sibling.value for sibling in entry.register.siblings] == ["other", "words"]


def test_the_content_that_stands_now_is_no_earlier_content(store: Store) -> None:
    take(store, change("a", 2, None, base=[]))
    take(store, change("a", 3, "new", by="dev2", base=[]))
    assert winner(store, "a") == "new"


def test_a_rename_needs_its_target(store: Store) -> None:
    take(store, change("a", 1, base=[]))
    tombstone = change("a", 3, None, base=[Dot(1, "dev1")], moved_to="b")
    assert codes(take(store, tombstone)) == ["move_target_missing"]
    assert codes(take(store, change("b", 2, base=[]), tombstone)) == [None, None]
    (entry,) = store.entries("main", [note("a")])
    assert entry.winner == tombstone


def test_everything_about_a_change_comes_back(store: Store) -> None:
    blob = BlobRef("ab" * 32, 2**40, "image/png")
    changes = [
        change("a", 1, "", base=[]),
        change("b", 2, "züge 🚂\r\n\u202e", base=[Dot(1, "x"), Dot(1, "y~2")]),
        change("c", 3, blob=blob),
        change("d", 4, blob=BlobRef("cd" * 32, 0)),
        change("e", 5, None, base=[]),
        change("f", 6, None, base=[], moved_to="a"),
    ]
    take(store, *changes)
    full = type(changes[0])(
        note("g"), Dot(7, "dev1"), "all", None, None, None, 1_760_000_000_001, True, True, frozenset([Dot(5, "q")])
    )
    take(store, full)
    for original in [*changes, full]:
        (version,) = store.history("main", original.key)
        assert version.change == original
    entries = store.changes_since("main", 0).entries
    assert [entry.register.siblings for entry in entries] == [(original,) for original in [*changes, full]]


def test_the_history_of_a_key_is_complete_and_in_order(store: Store) -> None:
    for number in range(1, 30):
        take(store, change("a", number, f"text {number}"), change("b", number))
    versions = store.history("main", note("a"))
    assert [version.change.value for version in versions] == [f"text {number}" for number in range(1, 30)]
    assert [version.receipt for version in versions] == sorted({version.receipt for version in versions})


def test_entries_come_in_the_order_asked_for(store: Store) -> None:
    take(store, *(change(f"n{number}", number) for number in range(1, 4)))
    found = store.entries("main", iter([note("n3"), note("missing"), note("n1"), note("n3")]))
    assert [entry.key for entry in found] == [note("n3"), note("n1")]


def test_two_thousand_keys_in_one_batch(store: Store) -> None:
    changes = [change(f"n{number}", number, f"text {number}", base=[]) for number in range(1, 2001)]
    assert len(receipts(take(store, *changes))) == 2000
    clock = store.vault("main").clock
    edits = [change(f"n{number}", clock + number, "edited", base=[Dot(number, "dev1")]) for number in range(1, 2001)]
    assert len(receipts(take(store, *edits))) == 2000
    assert receipts(take(store, *changes)) == list(range(2, 2002))
    assert len(store.entries("main", [edit.key for edit in edits])) == 2000
    assert {entry.winner.value for page in pages(store) for entry in page.entries if entry.winner} == {"edited"}


# -- pages


def test_pages_bring_every_altered_key_once_in_the_order_of_alteration(store: Store) -> None:
    take(store, *(change(f"n{number}", number) for number in range(1, 8)))
    take(store, change("n2", 100))
    found = pages(store, max_changes=3)
    assert [len(page.entries) for page in found] == [3, 3, 1]
    assert [page.behind for page in found] == [4, 1, 0]
    assert [key for page in found for key in names(page)] == [note(f"n{n}") for n in (1, 3, 4, 5, 6, 7, 2)]
    assert found[-1].up_to == store.vault("main").clock
    assert [page.up_to for page in found[:-1]] == [page.entries[-1].changed_at for page in found[:-1]]


def test_a_reader_at_the_head_gets_an_empty_page(store: Store) -> None:
    batch = take(store, change("a", 1))
    assert store.changes_since("main", batch.clock) == Page((), batch.clock)


def test_a_page_keeps_all_siblings_of_a_key_together(store: Store) -> None:
    for number in range(1, 6):
        take(store, change("a", 9, f"text {number}", by=f"dev{number}", base=[]))
    take(store, change("b", 10))
    first, second = pages(store, max_changes=2)
    assert len(first.entries[0].register.siblings) == 5
    assert names(second) == [note("b")]


def test_a_page_counts_the_versions_that_its_changes_name(store: Store) -> None:
    """However short their texts are."""
    many = [Dot(number, f"d{number}") for number in range(1, 401)]
    merged = frozenset(many)
    take(store, change("a", 500, base=many), replace(change("b", 600, base=[]), merged_from=merged), change("c", 700))
    assert list(map(names, pages(store, max_bytes=60_000))) == [[note("a")], [note("b"), note("c")]]
    assert list(map(names, pages(store, max_bytes=100_000))) == [[note("a"), note("b"), note("c")]]


def test_a_page_keeps_within_its_bytes_but_has_at_least_one_key(store: Store) -> None:
    take(store, change("a", 1, "x" * 50_000), change("b", 2, "ü" * 500), change("c", 3, "ü" * 500), change("d", 4, "x"))
    found = pages(store, max_bytes=2000)
    assert [names(page) for page in found] == [[note("a")], [note("b")], [note("c"), note("d")]]


def test_a_page_is_a_message_that_every_websocket_library_takes(store: Store) -> None:
    """Many take 1 MiB unless told otherwise; in JSON line ends, quotes, tabs and backslashes take two bytes."""
    text = '""\n\t\\\r' * 2000
    for number in range(1, 100):
        take(store, change(f"n{number}", number, text, base=[]))
    found = pages(store)
    assert len(found) > 1
    for page in found:
        assert len(encode(SyncAck(page.up_to, from_entries(list(page.entries)), "1-00000000"))) < 2**20


@pytest.mark.parametrize("max_changes", [1, 2, 3, 4, 5])
def test_a_rename_is_not_separated_by_the_end_of_a_page(store: Store, max_changes: int) -> None:
    take(store, *(change(f"old{number}", number, base=[]) for number in range(1, 4)))
    clock = store.vault("main").clock
    for number in range(1, 4):
        clock += 10
        take(
            store,
            change(f"new{number}", clock + 1, base=[]),
            change(f"old{number}", clock + 2, None, base=[Dot(number, "dev1")], moved_to=f"new{number}"),
        )
    for page in pages(store, max_changes=max_changes):
        assert {key.replace("old", "new") for key in names(page)} == {
            note(f"new{number}") for number in range(1, 4) if note(f"old{number}") in names(page)
        }
        assert len(page.entries) <= max(2, max_changes)


def test_a_cursor_in_the_gap_of_a_new_generation_reads_on(store: Store) -> None:
    take(store, change("a", 1))
    info = store.new_generation("main", wall_ms=WALL_MS)
    page = store.changes_since("main", 0)
    assert (names(page), page.up_to) == ([note("a")], info.clock)
    assert store.changes_since("main", page.up_to) == Page((), info.clock)
    take(store, change("b", 2))
    assert names(store.changes_since("main", info.clock)) == [note("b")]


# -- manifest


def test_the_manifest_pages_by_key(store: Store) -> None:
    keys = sorted(note(name) for name in ["a", "b", "B", "ä", "z", "~", "文", "🚂", "a b", "a/b", "a%", "a_"])
    take(store, *(change(key[5:-3], 1) for key in keys))
    found: list[str] = []
    while page := store.manifest("main", found[-1] if found else None, 5):
        assert len(page) <= 5
        found += [key for key, _ in page]
    assert found == keys


def test_the_manifest_counts_keys_and_not_siblings(store: Store) -> None:
    for number in range(1, 4):
        take(store, change("a", 9, f"text {number}", by=f"dev{number}", base=[]))
    take(store, change("b", 10))
    page = store.manifest("main", None, 2)
    assert [(key, len(dots)) for key, dots in page] == [(note("a"), 3), (note("b"), 1)]


def test_the_manifest_tells_which_siblings_are_marked(store: Store) -> None:
    take(store, replace(change("a", 5, base=[]), conflict=True), change("a", 5, "other", by="dev2", base=[]))
    [(_, heads)] = store.manifest("main", None, 9)
    assert {dot: head.conflict for dot, head in heads.items()} == {Dot(5, "dev1"): True, Dot(5, "dev2"): False}


# -- generations and the fence


def test_a_new_generation_starts_past_all_that_was_issued(store: Store) -> None:
    take(store, change("a", 1))
    old = store.vault("main")
    new = store.new_generation("main", wall_ms=WALL_MS)
    assert new.epoch.startswith("2-")
    assert new.clock == WALL_MS + GENERATION_GAP
    assert store.vault("main") == new
    newer = store.new_generation("main", wall_ms=5)
    assert (newer.epoch[:2], newer.clock) == ("3-", new.clock + GENERATION_GAP)
    assert len({old.epoch, new.epoch, newer.epoch}) == 3
    assert receipts(take(store, change("a", 2))) == [newer.clock + 1]


def test_a_fenced_vault_reads_but_does_not_write(store: Store) -> None:
    take(store, change("a", 1))
    store.create_vault("other")
    store.fence("main", "3-cafebabe")
    assert store.vault("main").fenced_by == "3-cafebabe"
    with pytest.raises(StorageError) as caught:
        take(store, change("a", 2))
    assert caught.value.code == "fenced"
    assert len(store.history("main", note("a"))) == 1
    assert len(store.changes_since("main", 0).entries) == 1
    take(store, change("a", 2), vault="other")


def test_only_a_later_generation_fences(store: Store) -> None:
    store.fence("main", "1-cafebabe")
    store.fence("main", "0-cafebabe")
    assert store.vault("main").fenced_by is None
    store.fence("main", "5-cafebabe")
    store.fence("main", "4-cafebabe")
    assert store.vault("main").fenced_by == "5-cafebabe"
    with pytest.raises(ProtocolError):
        store.fence("main", "nonsense")


def test_a_promotion_past_the_fence_writes_again(store: Store) -> None:
    store.fence("main", "5-cafebabe")
    assert store.new_generation("main", wall_ms=WALL_MS).epoch.startswith("6-")
    assert store.vault("main").fenced_by is None
    take(store, change("a", 1))


def test_closing_twice_is_harmless(store: Store) -> None:
    store.close()
    store.close()
