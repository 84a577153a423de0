"""The past, in every store: records, what is let go, what is forgotten, and that nothing comes back by that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.store.changes import WALL_MS, change, codes, names, note, pages, take
from server.store.test_model import BATCHES, KEYS
from tidenote.core.history import winner
from tidenote.core.retention import DAY_MS, MAX_INCARNATIONS, Policy
from tidenote.core.version import BlobRef, Change, Dot
from tidenote.errors import AccessError
from tidenote.server.store.contract import Store
from tidenote.server.store.memory import MemoryStore
from tidenote.server.store.sql import SqlStore

KEY = note("a")
POLICY = Policy(all_days=90, daily_days=365, tombstone_days=365, device_days=730)
NOTHING = Policy(0, 0, 0, 730)
LATER_MS = WALL_MS + 1000 * DAY_MS


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened: Store = MemoryStore() if request.param == "memory" else SqlStore.open(tmp_path / "data")
    opened.create_vault("main")
    yield opened
    opened.close()


def push(store: Store, *changes: Change, at_ms: int = WALL_MS) -> None:
    """Take one push in that arrives at a time."""
    batch = store.take_in("main", [changes], wall_ms=at_ms, check_blob=lambda _: True)
    assert set(codes(batch)) == {None}


def edits(store: Store, number: int, *, every_ms: int = 0, key: str = "a", text: str = "text") -> list[Change]:
    """Take in a chain of edits of one note; return them."""
    found = [change(key, n, f"{text} {n}", base=[] if n == 1 else [Dot(n - 1, "dev1")]) for n in range(1, number + 1)]
    for n, edit in enumerate(found):
        push(store, edit, at_ms=WALL_MS + n * every_ms)
    return found


def values(store: Store, key: str = KEY) -> list[str | None]:
    """Return the texts that a key's history still has."""
    return [version.change.value for version in store.history("main", key)]


def sweep(
    store: Store, now_ms: int = LATER_MS, policy: Policy = POLICY, *, dry_run: bool = False, max_keys: int = 50
) -> tuple[int, int, int]:
    """Go through the whole history; return how many versions and bytes were let go, and deletions forgotten."""
    after = None
    versions = size = tombstones = 0
    while True:
        step = store.sweep("main", after, now_ms=now_ms, policy=policy, dry_run=dry_run, max_keys=max_keys)
        versions, size, tombstones = versions + step.versions, size + step.size, tombstones + step.tombstones
        if step.after is None:
            return versions, size, tombstones
        assert after is None or step.after > after
        after = step.after


def deleted_note(store: Store) -> None:
    """Write a note and delete it."""
    push(store, change("a", 1, "text", base=[]))
    push(store, change("a", 2, None, base=[Dot(1, "dev1")]))


# -- reading


def test_a_version_says_when_it_was_received(store: Store) -> None:
    edits(store, 3, every_ms=1000)
    assert [version.received_at for version in store.history("main", KEY)] == [WALL_MS, WALL_MS + 1000, WALL_MS + 2000]
    assert [record.received_at - WALL_MS for record in store.records("main", KEY)] == [0, 1000, 2000]


def test_records_are_versions_without_texts(store: Store) -> None:
    blob = change("b", 7, base=[], blob=BlobRef("ab" * 32, 2**40, "image/png"))
    full = Change(KEY, Dot(9, "x"), "zü", None, frozenset([Dot(1, "y")]), None, 5, True, True, frozenset([Dot(2, "q")]))
    push(store, blob, full, change("c", 8, None, base=[], moved_to="b"))
    for key in (KEY, note("b"), note("c")):
        (record,), (version,) = store.records("main", key), store.history("main", key)
        assert record == type(record).of(version)


def test_records_are_read_from_the_latest_on(store: Store) -> None:
    edits(store, 9)
    every = store.records("main", KEY)
    assert [record.dot.timestamp for record in every] == list(range(1, 10))
    latest = store.records("main", KEY, limit=4)
    assert latest == every[5:]
    assert store.records("main", KEY, before=latest[0].receipt, limit=2) == every[3:5]
    assert store.records("main", KEY, before=every[0].receipt) == []
    assert store.records("main", note("other")) == []


def test_one_version_by_its_dot(store: Store) -> None:
    edits(store, 3)
    assert [store.version("main", KEY, version.dot) for version in store.history("main", KEY)] == store.history(
        "main", KEY
    )
    for key, dot in ((KEY, Dot(9, "dev1")), (KEY, Dot(1, "dev2")), (note("b"), Dot(1, "dev1"))):
        assert store.version("main", key, dot) is None


def test_the_place_of_a_time_in_the_log(store: Store) -> None:
    assert store.receipt_at("main", WALL_MS) == 0
    edits(store, 9, every_ms=1000)
    receipts = [record.receipt for record in store.records("main", KEY)]
    assert store.receipt_at("main", WALL_MS - 1) == 0
    assert [store.receipt_at("main", WALL_MS + 1000 * n) for n in range(9)] == receipts
    assert [store.receipt_at("main", WALL_MS + 1000 * n + 999) for n in range(9)] == receipts
    store.new_generation("main", wall_ms=LATER_MS)
    assert store.receipt_at("main", LATER_MS * 2) == receipts[-1]


def test_what_altered_since_and_by_whom(store: Store) -> None:
    push(store, change("b", 1), change("a", 2, by="dev2"))
    receipt = store.vault("main").clock
    push(store, change("c", 3), change("a", 4, by="dev2~2"), change("d", 5, by="dev22"))
    assert store.altered_since("main", receipt) == [note("a"), note("c"), note("d")]
    assert store.altered_since("main", store.vault("main").clock) == []
    assert store.written_by("main", "dev2", 0) == [note("a")]
    assert store.written_by("main", "dev1", 0) == [note("b"), note("c")]
    assert store.written_by("main", "dev1", receipt) == [note("c")]
    assert store.written_by("main", "dev", 0) == []


def test_deleted_notes_are_listed_but_not_renamed_ones(store: Store) -> None:
    for number, key in enumerate("abcdef", start=1):
        push(store, change(key, number, base=[]))
    clock = store.vault("main").clock
    for number, key in enumerate("fca", start=1):
        push(store, change(key, clock + 10 * number, None, base=[Dot("abcdef".index(key) + 1, "dev1")]))
    push(store, change("b", clock + 99, None, base=[Dot(2, "dev1")], moved_to="d"))
    assert store.deleted("main", None, 9) == [note("a"), note("c"), note("f")]
    assert store.deleted("main", None, 2) == [note("a"), note("c")]
    assert store.deleted("main", note("c"), 2) == [note("f")]
    (rename,) = store.renames_to("main", note("d"), 2**53)
    assert (rename.key, rename.dot) == (note("b"), Dot(clock + 99, "dev1"))
    assert store.renames_to("main", note("d"), rename.receipt) == []


def test_a_note_that_came_back_is_not_deleted(store: Store) -> None:
    deleted_note(store)
    assert store.deleted("main", None, 9) == [KEY]
    push(store, change("a", 9, "again", base=[Dot(2, "dev1")]))
    assert store.deleted("main", None, 9) == []


def test_the_past_of_an_unknown_vault_is_refused(store: Store) -> None:
    operations: list[Callable[[], object]] = [
        lambda: store.records("x", KEY),
        lambda: store.version("x", KEY, Dot(1, "a")),
        lambda: store.renames_to("x", KEY, 1),
        lambda: store.receipt_at("x", 1),
        lambda: store.altered_since("x", 1),
        lambda: store.written_by("x", "a", 1),
        lambda: store.deleted("x", None, 1),
        lambda: store.pack("x"),
        lambda: store.sweep("x", None, now_ms=1, policy=POLICY),
        lambda: store.note_devices("x", {}),
        lambda: store.devices("x"),
    ]
    for operation in operations:
        with pytest.raises(AccessError) as caught:
            operation()
        assert caught.value.code == "unknown_vault"


# -- letting go


def test_old_versions_lose_their_texts_but_not_their_records(store: Store) -> None:
    edits(store, 9, every_ms=DAY_MS // 2)
    before = store.records("main", KEY)
    assert sweep(store, WALL_MS + 100 * DAY_MS) == (4, 4 * 6, 0)
    kept = values(store)
    assert kept == ["text 2", "text 4", "text 6", "text 8", "text 9"]
    after = store.records("main", KEY)
    assert [record.gone for record in after] == [value not in kept for value in map("text {}".format, range(1, 10))]
    assert [(r.receipt, r.dot, r.base, r.content_hash, r.size) for r in before] == [
        (r.receipt, r.dot, r.base, r.content_hash, r.size) for r in after
    ]
    assert store.version("main", KEY, Dot(1, "dev1")) is None
    assert sweep(store) == (3, 3 * 6, 0)
    assert values(store) == ["text 8", "text 9"]
    assert sweep(store) == (0, 0, 0)


def test_a_dry_run_tells_the_same_and_does_nothing(store: Store) -> None:
    edits(store, 9)
    deleted_note_key = change("z", 1, base=[])
    push(store, deleted_note_key)
    push(store, change("z", 2, None, base=[Dot(1, "dev1")]))
    before = (store.vaults(), values(store), pages(store))
    told = sweep(store, dry_run=True)
    assert (store.vaults(), values(store), pages(store)) == before
    assert sweep(store) == told == (8, 7 * 6 + 4, 1)


def test_a_change_whose_text_is_gone_is_still_a_duplicate_and_its_dot_is_taken(store: Store) -> None:
    first, *_ = edits(store, 5)
    sweep(store)
    clock = store.vault("main").clock
    assert codes(take(store, first)) == [None]
    assert codes(take(store, change("a", 1, "another", base=[]))) == ["dot_reused"]
    assert codes(take(store, change("a", 1, "text 1"))) == ["dot_reused"]
    assert store.vault("main").clock == clock
    assert [entry.winner.value for entry in store.entries("main", [KEY]) if entry.winner] == ["text 5"]


def test_a_base_that_is_gone_still_replaces_nothing_twice(store: Store) -> None:
    edits(store, 5)
    sweep(store)
    push(store, change("a", 20, "late", by="dev2", base=[Dot(2, "dev1")]))
    (entry,) = store.entries("main", [KEY])
    assert [sibling.value for sibling in entry.register.siblings] == ["text 5", "late"]
    assert entry.register.context.dots == frozenset()


def test_what_was_deleted_long_ago_and_is_offered_again_stays_deleted(store: Store) -> None:
    edits(store, 4)
    push(store, change("a", 9, None, base=[Dot(4, "dev1")]))
    sweep(store, WALL_MS + 200 * DAY_MS, Policy(0, 0, 365, 730))
    assert values(store)[:-1] == ["text 4"]
    push(store, change("a", 3, "text 2", by="dev2", base=[]))
    (entry,) = store.entries("main", [KEY])
    assert entry.winner is not None
    assert entry.winner.deleted


def test_the_sweep_notes_when_it_came_to_the_end(store: Store) -> None:
    for key in "abc":
        edits(store, 3, key=key)
    step = store.sweep("main", None, now_ms=LATER_MS, policy=POLICY, max_keys=2)
    assert step.after == note("b")
    assert store.vault("main").swept_at == 0
    assert store.sweep("main", step.after, now_ms=LATER_MS, policy=POLICY, max_keys=2).after is None
    assert store.vault("main").swept_at == LATER_MS


@pytest.mark.parametrize("max_keys", [1, 2, 50])
def test_a_sweep_in_steps_does_the_same(store: Store, max_keys: int) -> None:
    for key in "abcde":
        edits(store, 4, key=key)
    assert sweep(store, max_keys=max_keys) == (10, 60, 0)
    assert [values(store, note(key)) for key in "abcde"] == [["text 3", "text 4"]] * 5


def test_what_a_lagging_device_last_saw_stays(store: Store) -> None:
    edits(store, 9)
    third = store.records("main", KEY)[2]
    store.note_devices("main", {"phone": (third.receipt, LATER_MS - DAY_MS), "ghost": (3, WALL_MS)})
    sweep(store)
    assert values(store) == ["text 3", "text 8", "text 9"]


def test_the_records_of_some_versions(store: Store) -> None:
    edits(store, 9)
    edits(store, 3, key="b")
    found = store.records("main", KEY)
    wanted = [found[1].dot, found[6].dot]
    assert store.records_of("main", KEY, [*reversed(wanted), Dot(wanted[0].timestamp, "nobody"), Dot(10**6, "x")]) == [
        found[1],
        found[6],
    ]
    assert store.records_of("main", KEY, []) == store.records_of("main", note("none"), wanted) == []


def test_of_one_device_only_so_many_incarnations_are_noted(store: Store) -> None:
    store.note_devices("main", {"laptop": (1, 1)})
    for start in (2, 22, 42):
        store.note_devices("main", {f"phone~{number}": (number, number) for number in range(start, start + 20)})
    newest = {f"phone~{number}" for number in range(62 - MAX_INCARNATIONS, 62)}
    assert {device.device_id for device in store.devices("main")} == newest | {"laptop"}
    store.note_devices("main", {"phone~50": (60, 100)})
    assert len(store.devices("main")) == MAX_INCARNATIONS + 1


def test_devices_are_noted_as_they_were_last_seen(store: Store) -> None:
    assert store.devices("main") == []
    store.note_devices("main", {"b": (5, 100), "a": (0, 50)})
    store.note_devices("main", {"b": (4, 200)})
    epoch = store.vault("main").epoch
    assert [(d.device_id, d.cursor, d.epoch, d.last_seen) for d in store.devices("main")] == [
        ("a", 0, epoch, 50),
        ("b", 4, epoch, 200),
    ]


def test_a_blob_is_in_use_while_a_version_of_any_vault_keeps_it(store: Store) -> None:
    store.create_vault("other")
    one, two, three = ("11" * 32, "22" * 32, "33" * 32)
    push(store, change("a", 1, blob=BlobRef(one, 5), base=[]))
    push(store, change("a", 2, blob=BlobRef(two, 7), base=[Dot(1, "dev1")]))
    push(store, change("a", 3, "text", base=[Dot(2, "dev1")]))
    take(store, change("b", 1, blob=BlobRef(three, 7)), vault="other")
    assert store.blobs_in_use([one, two, three, "44" * 32]) == {one, two, three}
    assert sweep(store) == (1, 5, 0)
    assert store.blobs_in_use([one, two, three]) == {two, three}
    assert store.records("main", KEY)[0].blob == BlobRef(one, 5)
    assert store.version("main", KEY, Dot(1, "dev1")) is None


# -- forgetting


def test_a_tombstone_of_more_than_a_year_is_forgotten(store: Store) -> None:
    deleted_note(store)
    push(store, change("b", 9, "stays"))
    head = store.entries("main", [KEY])[0].changed_at
    assert sweep(store, WALL_MS + 364 * DAY_MS) == (0, 0, 0)
    assert sweep(store, WALL_MS + 365 * DAY_MS) == (0, 0, 1)
    assert store.vault("main").tombstones_gone_before == head
    assert store.entries("main", [KEY]) == []
    assert [key for key, _ in store.manifest("main", None, 9)] == [note("b")]
    assert names(store.changes_since("main", 0)) == [note("b")]
    assert store.deleted("main", None, 9) == []
    # What is in the history stays there, as long as anything.
    assert values(store) == ["text", None]
    assert sweep(store, WALL_MS + 500 * DAY_MS) == (1, 4, 0)
    assert values(store) == [None]
    assert sweep(store) == (0, 0, 0)


def test_a_tombstone_waits_for_every_known_device(store: Store) -> None:
    deleted_note(store)
    head = store.vault("main").clock
    store.note_devices("main", {"phone": (head - 1, LATER_MS), "new": (0, LATER_MS), "laptop": (head, LATER_MS)})
    assert sweep(store)[2] == 0
    store.note_devices("main", {"phone": (head, LATER_MS)})
    assert sweep(store)[2] == 1


def test_many_forgotten_keys_do_not_hide_what_comes_after_them(store: Store) -> None:
    for number in range(40):
        push(store, change(f"n{number:02}", number + 1, None, base=[]))
    push(store, change("n39x", 100, "stays", base=[]))
    assert sweep(store)[2] == 40
    assert [names(page) for page in pages(store, max_changes=3)] == [[note("n39x")]]
    assert [key for key, _ in store.manifest("main", None, 3)] == [note("n39x")]


def test_a_forgotten_dot_that_comes_back_brings_the_tombstone_back(store: Store) -> None:
    deleted_note(store)
    sweep(store)
    clock = store.vault("main").clock
    assert codes(take(store, change("a", 1, "text", base=[]))) == [None]
    (entry,) = store.entries("main", [KEY])
    assert entry.winner is not None
    assert entry.winner.deleted
    assert names(store.changes_since("main", clock)) == [KEY]
    assert store.deleted("main", None, 9) == [KEY]


def test_what_a_forgotten_key_had_seen_is_still_seen(store: Store) -> None:
    push(store, change("a", 5, "blind", by="dev2"))
    push(store, change("a", 9, None, base=[Dot(5, "dev2"), Dot(7, "absent")]))
    sweep(store)
    for late in (change("a", 7, "absent", by="absent", base=[]), change("a", 4, "older", by="dev3")):
        push(store, late)
        (entry,) = store.entries("main", [KEY])
        assert entry.winner is not None
        assert entry.winner.deleted


def test_a_forgotten_key_can_be_written_again(store: Store) -> None:
    deleted_note(store)
    sweep(store)
    push(store, change("a", 50, "new", base=[]))
    (entry,) = store.entries("main", [KEY])
    assert [sibling.value for sibling in entry.register.siblings] == ["new"]
    assert names(store.changes_since("main", 0)) == [KEY]
    push(store, change("a", 60, None, base=[Dot(50, "dev1")]))
    assert sweep(store)[2] == 1


# -- properties


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    opened = SqlStore.open(tmp_path_factory.mktemp("past"), new_token=lambda: "00000000")
    yield opened
    opened.close()


_NUMBERS = count()


@settings(max_examples=settings().max_examples // 4)
@given(
    batches=BATCHES,
    policies=st.lists(st.builds(Policy, *[st.integers(0, 3)] * 4), min_size=1, max_size=3),
    data=st.data(),
)
def test_both_stores_let_go_and_forget_alike_and_never_what_is_shown(
    sql: SqlStore, batches: list[list[list[Change]]], policies: list[Policy], data: st.DataObject
) -> None:
    memory = MemoryStore(lambda: "00000000")
    vault = f"vault {next(_NUMBERS)}"
    stores: tuple[Store, ...] = (sql, memory)
    for store in stores:
        store.create_vault(vault)
    cut = data.draw(st.integers(0, len(batches)))
    now_ms = WALL_MS
    for part in (batches[:cut], batches[cut:]):
        for pushes in part:
            now_ms += data.draw(st.sampled_from([0, DAY_MS // 3, DAY_MS]))
            by_sql, by_memory = (s.take_in(vault, pushes, wall_ms=now_ms, check_blob=lambda _: True) for s in stores)
            assert by_sql == by_memory
        cursors = data.draw(st.dictionaries(st.sampled_from("xy"), st.integers(0, 60), max_size=2))
        shown = {entry.key: entry.winner for entry in sql.entries(vault, map(note, KEYS))}
        for store in stores:
            store.note_devices(vault, {device: (cursor, now_ms) for device, cursor in cursors.items()})
        sql.pack(vault)
        for policy in policies:
            now_ms += DAY_MS
            steps = [s.sweep(vault, None, now_ms=now_ms, policy=policy) for s in stores]
            assert steps[0] == steps[1]
        for entry in sql.entries(vault, map(note, KEYS)):
            assert entry.winner == shown.pop(entry.key)
        assert all(left and left.deleted for left in shown.values())
        assert sql.vault(vault) == memory.vault(vault)
        assert pages(sql, vault=vault) == pages(memory, vault=vault)
        assert sql.manifest(vault, None, 10) == memory.manifest(vault, None, 10)
        for key in map(note, KEYS):
            assert sql.history(vault, key) == memory.history(vault, key)
            records = sql.records(vault, key)
            assert records == memory.records(vault, key)
            for entry in sql.entries(vault, [key]):
                standing = [record for record in records if record.dot in entry.register.dots]
                top = winner(standing)
                assert top is not None
                assert entry.winner is not None
                assert top.dot == entry.winner.dot
