from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tidenote.config import ServerConfig
from tidenote.core.bounded import BoundedMerge, Texts
from tidenote.core.clock import MAX_TIMESTAMP
from tidenote.core.crdt import CrdtEntry
from tidenote.core.intake import Batch
from tidenote.core.merge import merge_text
from tidenote.core.merged import Merge, Merged
from tidenote.core.version import UNDATED, BlobRef, Change, Dot
from tidenote.errors import RefusedChange, StorageError, TidenoteError
from tidenote.server.hub import KEYS_AT_ONCE, Committed, Hub
from tidenote.server.merger import Merger
from tidenote.server.metrics import Metrics
from tidenote.server.pubsub import PubSub, Subscription
from tidenote.server.store.memory import MemoryStore
from tidenote.server.store.sql import SqlStore
from tidenote.wire.session import Publication, generation_of

pytestmark = pytest.mark.anyio


def change(number: int, value: str = "text", device_id: str = "a", **more: object) -> Change:
    return Change(f"note:{number}.md", Dot(number, device_id), value, **more)  # type: ignore[arg-type]


class TroubledStore(MemoryStore):
    """A store whose disk or code fails on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.trouble: Callable[[Sequence[Sequence[Change]]], None] = lambda _: None
        self.batches: list[list[int]] = []
        """The number of changes of each push of each batch that was tried."""
        self.asked: list[str] = []
        """The keys whose state was read."""

    def entries(self, vault: str, keys: Iterable[str]) -> list[CrdtEntry]:
        keys = list(keys)
        self.asked += keys
        return super().entries(vault, keys)

    def take_in(
        self,
        vault: str,
        pushes: Sequence[Sequence[Change]],
        *,
        wall_ms: int,
        check_blob: Callable[[BlobRef], object],
        settle: Iterable[str] = (),
        merge: Merge = merge_text,
        max_read: int | None = None,
    ) -> Batch:
        self.batches.append([len(changes) for changes in pushes])
        self.trouble(pushes)
        return super().take_in(
            vault, pushes, wall_ms=wall_ms, check_blob=check_blob, settle=settle, merge=merge, max_read=max_read
        )


@pytest.fixture
def store() -> TroubledStore:
    return TroubledStore()


@pytest.fixture
def bus() -> PubSub[Publication]:
    return PubSub()


@asynccontextmanager
async def a_hub(
    store: MemoryStore | SqlStore,
    bus: PubSub[Publication],
    config: ServerConfig | None = None,
    blobs: Sequence[str] = (),
) -> AsyncIterator[Hub]:
    def check_blob(blob: BlobRef) -> None:
        if blob.sha256 not in blobs:
            raise RefusedChange("upload it first", "blob_missing")

    with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(2) as readers, ThreadPoolExecutor(2) as slow:
        async with (
            Merger() as merger,
            Hub(
                store.create_vault("main"),
                store,
                bus,
                merger=merger,
                writer=writer,
                readers=readers,
                slow_readers=slow,
                check_blob=check_blob,
                config=config or ServerConfig(),
                metrics=Metrics(),
            ) as hub,
        ):
            yield hub


@pytest.fixture
async def hub(store: TroubledStore, bus: PubSub[Publication]) -> AsyncIterator[Hub]:
    async with a_hub(store, bus) as hub:
        yield hub


@pytest.fixture
def news(bus: PubSub[Publication]) -> Iterator[Subscription[Publication]]:
    with bus.subscribe("vault:main", lambda: None) as subscription:
        yield subscription


def accepted(committed: Committed) -> tuple[Change, ...]:
    return tuple(taken.change for taken in committed.accepted)


def codes(committed: Committed) -> list[str]:
    return [rejected.code for rejected in committed.rejected]


# ---------------------------------------------------------------------------------------------- one commit for many


async def test_what_waits_becomes_one_commit_and_each_push_its_own_answer(hub: Hub, store: TroubledStore) -> None:
    outcomes = [hub.enqueue([change(1)]), hub.enqueue([change(2), change(3)]), hub.enqueue([])]
    first, second, third = await asyncio.gather(*outcomes)
    assert store.batches == [[1, 2, 0]]
    assert [accepted(one) for one in (first, second, third)] == [(change(1),), (change(2), change(3)), ()]
    assert first.clock == second.clock == third.clock == hub.clock == store.vault("main").clock


async def test_a_commit_is_bounded_by_changes(store: TroubledStore, bus: PubSub[Publication]) -> None:
    async with a_hub(store, bus, ServerConfig(max_batch_changes=3)) as hub:
        sizes = [2, 1, 1, 5, 1]
        numbers = iter(range(1, 100))
        await asyncio.gather(*[hub.enqueue([change(next(numbers)) for _ in range(size)]) for size in sizes])
        assert store.batches == [[2, 1], [1], [5], [1]]


async def test_a_commit_is_bounded_by_bytes(store: TroubledStore, bus: PubSub[Publication]) -> None:
    async with a_hub(store, bus, ServerConfig(max_batch_bytes=10_000)) as hub:
        await asyncio.gather(*[hub.enqueue([change(n, "x" * 4000)]) for n in range(1, 6)])
        assert store.batches == [[1, 1], [1, 1], [1]]


async def large_notes(store: TroubledStore, bus: PubSub[Publication], how_many: int) -> None:
    async with a_hub(store, bus) as hub:
        await hub.submit([change(number, "x" * 1000) for number in range(1, how_many + 1)])
    store.batches.clear()


def edit(number: int, value: str | None = "short") -> Change:
    return Change(f"note:{number}.md", Dot(100 + number, "a"), value, base=frozenset([Dot(number, "a")]))


async def test_a_commit_is_bounded_by_what_it_reads(store: TroubledStore, bus: PubSub[Publication]) -> None:
    await large_notes(store, bus, 8)
    async with a_hub(store, bus, ServerConfig(max_batch_bytes=2950)) as hub:
        edits = [edit(number) for number in range(1, 9)]
        refused = change(9, base=frozenset([Dot(9, "b")]))
        one, other = await asyncio.gather(hub.enqueue([*edits[:5], refused]), hub.enqueue(edits[5:]))
        assert store.batches == [[6, 3], [6], [3], [1], [2], [3], [3], [1], [2]]
        assert accepted(one) == tuple(edits[:5])
        assert codes(one) == ["bad_base"]
        assert accepted(other) == tuple(edits[5:])
        assert one.clock < other.clock == hub.clock
    assert {entry.winner for entry in store.entries("main", [each.key for each in edits])} == set(edits)


async def test_renames_and_what_is_all_or_nothing_are_not_parted(
    store: TroubledStore, bus: PubSub[Publication]
) -> None:
    await large_notes(store, bus, 3)
    renames = [
        half
        for number in (1, 2, 3)
        for half in (change(50 + number, "x" * 1000), replace(edit(number, None), moved_to=f"note:{50 + number}.md"))
    ]
    async with a_hub(store, bus, ServerConfig(max_batch_bytes=10)) as hub:
        assert accepted(await hub.submit(renames)) == tuple(renames)
        # A creation and its tombstone are one commit, however much they read.
        assert [sizes for sizes in store.batches if sizes[0] < 4] == [[2], [2], [2], [2], [2], [2]]
        store.batches.clear()
        creations = [change(60 + number, "x" * 1000) for number in (1, 2)]
        tombstones = [replace(edit(50 + number, None), moved_to=f"note:{60 + number}.md") for number in (1, 2)]
        apart = [*creations, *tombstones, edit(53)]
        assert accepted(await hub.submit(apart)) == tuple(apart)
        assert store.batches == [[5], [4], [4], [1], [1]]
        store.batches.clear()
        on_behalf = [replace(edit(number), dot=UNDATED, base=frozenset()) for number in (61, 62)]
        assert codes(await hub.submit(on_behalf)) == ["stale", "stale"]
        assert store.batches == [[2], [2]]
        store.batches.clear()
        written = edit(61)
        deleted = Change(written.key, Dot(500, "a"), base=frozenset((written.dot,)))
        assert accepted(await hub.submit([written, deleted])) == (written, deleted)
        assert store.batches == [[2], [2]]


async def test_what_fails_between_two_parts_of_a_push_is_told(store: TroubledStore, bus: PubSub[Publication]) -> None:
    await large_notes(store, bus, 2)

    def disk_is_full(pushes: Sequence[Sequence[Change]]) -> None:
        if store.vault("main").clock > 3:
            raise StorageError("the disk is full", "storage_full")

    store.trouble = disk_is_full
    async with a_hub(store, bus, ServerConfig(max_batch_bytes=1500)) as hub:
        committed = await hub.submit([edit(1), edit(2)])
        assert (accepted(committed), codes(committed)) == ((edit(1),), ["storage_full"])
        assert committed.rejected[0].key == edit(2).key


async def test_no_more_states_are_read_than_a_message_holds(hub: Hub, store: TroubledStore) -> None:
    changes = [change(number, "x" * 50_000) for number in range(1, 101)]
    await hub.submit(changes)
    keys = [each.key for each in changes]
    assert [entry.key for entry in await hub.first_entries(keys)] == keys[:10]
    assert len(store.asked) == KEYS_AT_ONCE
    assert [entry.key for entry in await hub.first_entries(keys[-3:])] == keys[-3:]
    assert await hub.first_entries([]) == []
    await hub.submit([change(200, "x" * 2**20)])
    assert len(await hub.first_entries(["note:200.md", *keys])) == 1


async def test_a_refused_change_costs_the_others_nothing(hub: Hub) -> None:
    blob = BlobRef("0" * 64, 1)
    lacking = Change("file:x.png", Dot(2, "a"), None, blob)
    other, mixed = await asyncio.gather(hub.enqueue([change(1)]), hub.enqueue([change(3), lacking, change(4)]))
    assert accepted(other) == (change(1),)
    assert accepted(mixed) == (change(3), change(4))
    assert codes(mixed) == ["blob_missing"]
    assert (mixed.rejected[0].key, mixed.rejected[0].timestamp, mixed.rejected[0].device_id) == ("file:x.png", 2, "a")


async def test_a_blob_that_is_on_disk_may_be_named(store: TroubledStore, bus: PubSub[Publication]) -> None:
    blob = BlobRef("0" * 64, 1)
    async with a_hub(store, bus, blobs=[blob.sha256]) as hub:
        committed = await hub.submit([Change("file:x.png", Dot(2, "a"), None, blob)])
        assert committed.rejected == ()


async def test_a_clock_that_is_too_far_ahead_is_told_ours(hub: Hub) -> None:
    committed = await hub.submit([change(1), Change("note:b.md", Dot(2**53 - 1, "a"), "")])
    assert codes(committed) == ["clock_too_far"]
    assert committed.rejected[0].clock == 2
    assert hub.clock == 2


async def test_a_duplicate_is_accepted_again_and_published_to_nobody(hub: Hub, news: Subscription[Publication]) -> None:
    await hub.submit([change(1)])
    news.drain()
    assert accepted(await hub.submit([change(1)])) == (change(1),)
    assert news.drain() == ([], False)


# ---------------------------------------------------------------------------------- commit, publish, acknowledge


class HeldBus(PubSub[Publication]):
    """A bus on which a publication takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.publishing = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def publish(self, topic: str, message: Publication) -> None:
        self.publishing.set()
        await self.goes_on.wait()
        await super().publish(topic, message)


async def test_what_is_published_is_committed_and_what_is_acknowledged_is_published(store: TroubledStore) -> None:
    bus = HeldBus()
    async with a_hub(store, bus, ServerConfig(publish_timeout_ms=60_000)) as hub:
        with bus.subscribe(hub.topic, lambda: None) as news:
            outcome = hub.enqueue([change(1)])
            await bus.publishing.wait()
            assert store.vault("main").clock == 2
            assert not outcome.done()
            bus.goes_on.set()
            await outcome
            assert len(news.drain()[0]) == 1


async def test_a_publication_tells_what_altered_and_where_it_continues(
    hub: Hub, news: Subscription[Publication]
) -> None:
    await hub.submit([change(1)])
    await hub.submit([change(2), change(3)])
    (first, second), lost = news.drain()
    assert not lost
    assert (first.previous_clock, first.clock, second.previous_clock, second.clock) == (0, 2, 2, 4)
    assert second.entries is not None
    assert [entry.key for entry in second.entries] == ["note:2.md", "note:3.md"]
    assert first.epoch == hub.epoch


async def test_a_large_publication_is_left_to_the_log(store: TroubledStore, bus: PubSub[Publication]) -> None:
    async with a_hub(store, bus, ServerConfig(max_publication_bytes=1000)) as hub:
        with bus.subscribe(hub.topic, lambda: None) as news:
            await hub.submit([change(1, "x" * 2000)])
            (publication,), _ = news.drain()
            assert publication.entries is None
            assert publication.clock == hub.clock
            assert (await hub.changes_since(0)).entries[0].key == "note:1.md"


class DeadBus(PubSub[Publication]):
    """A bus between processes that does not answer, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error

    async def publish(self, topic: str, message: Publication) -> None:
        if self.error:
            raise self.error
        await asyncio.Event().wait()


@pytest.mark.parametrize("error", [None, ConnectionError("gone")])
async def test_a_bus_that_is_down_costs_time_and_no_acknowledgement(
    store: TroubledStore, error: Exception | None
) -> None:
    async with a_hub(store, DeadBus(error), ServerConfig(publish_timeout_ms=1)) as hub:
        assert accepted(await hub.submit([change(1)])) == (change(1),)
        assert accepted(await hub.submit([change(2)])) == (change(2),)


# ---------------------------------------------------------------------------------------------- when the disk says no


@pytest.mark.parametrize("code", ["storage_full", "storage_failed", "fenced"])
async def test_when_the_store_refuses_nothing_is_accepted_and_the_hub_lives_on(
    hub: Hub, store: TroubledStore, news: Subscription[Publication], code: str
) -> None:
    def refuse(_: object) -> None:
        raise StorageError("no", code)

    store.trouble = refuse
    first, second = await asyncio.gather(hub.enqueue([change(1), change(2)]), hub.enqueue([change(3)]))
    assert (accepted(first), codes(first), codes(second)) == ((), [code, code], [code])
    assert news.drain() == ([], False)
    assert hub.clock == 0
    assert (hub.failure is not None) == (code == "storage_failed")

    store.trouble = lambda _: None
    assert accepted(await hub.submit([change(1)])) == (change(1),)
    assert hub.failure is None


async def test_a_push_that_trips_a_bug_is_refused_alone(
    hub: Hub, store: TroubledStore, caplog: pytest.LogCaptureFixture
) -> None:
    def trip(pushes: Sequence[Sequence[Change]]) -> None:
        if any(one.value == "poison" for changes in pushes for one in changes):
            raise ZeroDivisionError("the bug")

    store.trouble = trip
    pushes = [[change(1)], [change(2), change(3, "poison")], [change(4)]]
    first, second, third = await asyncio.gather(*map(hub.enqueue, pushes))
    assert (accepted(first), accepted(third)) == ((change(1),), (change(4),))
    assert codes(second) == ["internal_error", "internal_error"]
    assert "the bug" in caplog.text
    assert "poison" not in caplog.text
    assert accepted(await hub.submit([change(5)])) == (change(5),)


async def test_who_gave_up_waiting_does_not_disturb(hub: Hub) -> None:
    gone, stays = hub.enqueue([change(1)]), hub.enqueue([change(2)])
    gone.cancel()
    assert accepted(await stays) == (change(2),)
    assert [entry.key for entry in await hub.entries(["note:1.md"])] == ["note:1.md"]


async def test_reads_that_take_their_time_hold_up_no_session(hub: Hub) -> None:
    """However many of them there are: a restore of everything is planned for seconds."""
    await hub.submit([change(1)])
    goes_on = threading.Event()
    slow = [asyncio.create_task(hub.read(lambda _store, _vault: goes_on.wait(60))) for _ in range(20)]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        assert len((await hub.changes_since(0)).entries) == 1
    goes_on.set()
    assert all(await asyncio.gather(*slow))


# ---------------------------------------------------------------------------------------------- generations


async def test_a_restored_log_begins_a_new_generation_once(hub: Hub, news: Subscription[Publication]) -> None:
    await hub.submit([change(1)])
    old = hub.epoch
    news.drain()
    first, second = await asyncio.gather(hub.new_generation(old, 99), hub.new_generation(old, 99))
    assert first == second == hub.info
    assert hub.epoch.startswith("2-")
    assert hub.clock > 2**32
    (publication,), _ = news.drain()
    assert (publication.epoch, publication.clock, publication.entries) == (hub.epoch, hub.clock, None)
    assert (await hub.submit([change(2)])).clock == hub.clock


async def test_a_cursor_that_only_the_hub_is_behind_of_begins_no_generation(hub: Hub, store: TroubledStore) -> None:
    """Whoever reads the log hears of a commit before the hub does."""
    await hub.submit([change(1)])
    store.take_in("main", [[change(2)]], wall_ms=0, check_blob=bool)
    epoch, clock = hub.epoch, store.vault("main").clock
    assert clock > hub.clock
    await hub.new_generation(epoch, clock)
    assert hub.epoch == epoch == store.vault("main").epoch
    await hub.new_generation(epoch, clock + 1)
    assert hub.epoch != epoch


async def test_nobody_can_make_generations_follow_each_other_quickly(hub: Hub) -> None:
    second = (await hub.new_generation(hub.epoch, 99)).epoch
    assert (await hub.new_generation(second, MAX_TIMESTAMP)).epoch == second == hub.epoch


async def test_a_fenced_vault_takes_nothing_in_and_is_still_read(hub: Hub) -> None:
    await hub.submit([change(1)])
    await hub.fence("7-00000000")
    assert codes(await hub.submit([change(2)])) == ["fenced"]
    assert hub.info.fenced_by == "7-00000000"
    assert len((await hub.changes_since(0)).entries) == 1


async def test_a_vault_that_gave_way_goes_on_as_a_later_generation_if_an_owner_says_so(hub: Hub) -> None:
    epoch = hub.epoch
    await hub.unfence()
    assert hub.epoch == epoch
    await hub.fence("7-00000000")
    await hub.unfence()
    assert (generation_of(hub.epoch), hub.info.fenced_by) == (8, None)
    assert accepted(await hub.submit([change(1)])) == (change(1),)


async def test_a_generation_that_nobody_can_have_reached_is_not_believed(hub: Hub) -> None:
    await hub.fence("999999999-00000000")
    assert accepted(await hub.submit([change(1)])) == (change(1),)


# ---------------------------------------------------------------------------------------------- the end


async def test_closing_takes_in_what_waits_and_refuses_what_comes_later(
    store: TroubledStore, bus: PubSub[Publication]
) -> None:
    started, goes_on = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        started.set()
        assert goes_on.wait(30)

    store.trouble = hold
    async with a_hub(store, bus) as hub:
        outcomes = [hub.enqueue([change(1)])]
        await asyncio.to_thread(started.wait, 30)
        outcomes.append(hub.enqueue([change(2)]))
        closing = asyncio.ensure_future(hub.__aexit__(None, None, None))
        await asyncio.sleep(0)
        late = await hub.submit([change(3)])
        goes_on.set()
        await closing
    assert codes(late) == ["server_stopping"]
    assert [accepted(one.result()) for one in outcomes] == [(change(1),), (change(2),)]
    assert store.vault("main").clock == 3


async def test_on_a_real_disk_what_was_acknowledged_is_there_after_reopening(
    tmp_path: Path, bus: PubSub[Publication]
) -> None:
    store = SqlStore.open(tmp_path)
    async with a_hub(store, bus) as hub:
        clock = (await hub.submit([change(1), change(2)])).clock
    store.close()
    again = SqlStore.open(tmp_path)
    async with a_hub(again, bus) as hub:
        assert hub.clock == clock
        assert [key for key, _ in await hub.manifest(None, 10)] == ["note:1.md", "note:2.md"]
    again.close()


# -- what takes too long for a commit

LINES = [f"line {number}" for number in range(9000)]
OLD = "\n".join(LINES)
MINE, YOURS = OLD.replace("line 7\n", "LINE 7\n"), OLD.replace("line 3900", "LINE 3900")
BOTH = MINE.replace("line 3900", "LINE 3900")
"""Long enough for a process of its own, and merged in a moment."""


def rivals(number: int) -> list[Change]:
    """Return a note and two concurrent edits of it, of different times."""
    first = Dot(1, "a")
    key = f"note:{number}.md"
    return [
        Change(key, first, OLD, base=frozenset()),
        Change(key, Dot(2, "a"), MINE, base=frozenset([first])),
        Change(key, Dot(3, "b"), YOURS, base=frozenset([first])),
    ]


async def until_shown(hub: Hub, number: int, *texts: str) -> None:
    """Wait until a note has these siblings."""
    async with asyncio.timeout(30):
        while True:
            (entry,) = await hub.entries([f"note:{number}.md"])
            if [change.value for change in entry.register.siblings] == list(texts):
                return
            await asyncio.sleep(0.01)


async def test_a_long_merge_is_made_apart_and_told_like_every_commit(
    store: TroubledStore, bus: PubSub[Publication]
) -> None:
    async with a_hub(store, bus) as hub:
        with bus.subscribe(hub.topic, lambda: None) as told:
            committed = await hub.submit(rivals(1))
            assert len(committed.accepted) == 3
            await until_shown(hub, 1, BOTH)
            # What comes after the merge's commit is told after it.
            await hub.submit([change(2)])
            (_, publication, _), _ = told.drain()
        assert (publication.previous_clock, publication.clock) == (committed.clock, committed.clock + 1)
        (settled,) = [entry.register.winner for entry in publication.entries or ()]
        assert settled
        assert (settled.value, settled.dot.device_id, settled.conflict) == (BOTH, f"server.{hub.epoch}", False)


async def test_what_arrives_while_it_is_merged_is_merged_too(store: TroubledStore, bus: PubSub[Publication]) -> None:
    async with a_hub(store, bus) as hub:
        merge, asked = hub._merger.merge, asyncio.Event()

        async def slowly(texts: Texts) -> Merged:
            if not asked.is_set():
                asked.set()
                third = Change("note:1.md", Dot(9, "c"), OLD + "\nthe end", base=frozenset([Dot(1, "a")]))
                await hub.submit([third])
            return await merge(texts)

        hub._merger.merge = slowly  # type: ignore[method-assign]
        await hub.submit(rivals(1))
        await until_shown(hub, 1, BOTH + "\nthe end")
        assert asked.is_set()


async def test_what_was_not_settled_when_the_server_ended_is_when_it_starts(
    store: TroubledStore, bus: PubSub[Publication]
) -> None:
    store.create_vault("main")
    store.take_in("main", [rivals(1)], wall_ms=0, check_blob=bool, merge=BoundedMerge(0))
    different = [Change("note:5.md", Dot(1, name), f"by {name}", base=frozenset()) for name in ("x", "y")]
    store.take_in("main", [different], wall_ms=0, check_blob=bool)
    async with a_hub(store, bus) as hub:
        await until_shown(hub, 1, BOTH)
        assert await hub.open_conflicts(None, 10) == ["note:5.md"]


async def test_questions_that_could_not_be_read_at_the_start_are_read_later(
    store: TroubledStore, bus: PubSub[Publication], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store.create_vault("main")
    store.take_in("main", [rivals(1)], wall_ms=0, check_blob=bool, merge=BoundedMerge(0))
    failures: list[Exception] = [StorageError("the disk failed"), RuntimeError("a bug")]
    really = store.open_conflicts

    def troubled(vault: str, after: str | None, limit: int) -> list[str]:
        if failures:
            raise failures.pop()
        return really(vault, after, limit)

    monkeypatch.setattr(store, "open_conflicts", troubled)
    monkeypatch.setattr("tidenote.server.settling.READ_AGAIN_S", 0)
    async with a_hub(store, bus) as hub:
        await until_shown(hub, 1, BOTH)
    assert caplog.text.count("open questions could not be read") == 2


async def test_what_a_long_merge_makes_late_is_settled_in_its_turn(
    store: TroubledStore, bus: PubSub[Publication]
) -> None:
    """An edit follows its note to the new name, where two rivals become mergeable by it."""
    store.create_vault("main")
    store.set_on_tie("main", "ask")
    old, new, created, moved = "note:1.md", "note:2.md", Dot(1, "a"), Dot(3, "a")
    async with a_hub(store, bus) as hub:
        await hub.submit([Change(old, created, OLD, base=frozenset())])
        await hub.submit(
            [
                Change(new, Dot(2, "a"), OLD, base=frozenset()),
                Change(old, moved, base=frozenset([created]), moved_to=new),
            ]
        )
        await hub.submit(
            [
                Change(new, Dot(4, name), text, base=frozenset([Dot(2, "a")]))
                for name, text in (("a", MINE), ("b", YOURS))
            ]
        )
        await until_shown(hub, 2, MINE, YOURS)
        await hub.submit([Change(old, Dot(5, "c"), OLD + "\nthe end", base=frozenset([created]))])
        await until_shown(hub, 2, BOTH + "\nthe end")


async def test_what_could_not_be_settled_on_a_full_disk_is_when_there_is_room(
    store: TroubledStore, bus: PubSub[Publication]
) -> None:
    full = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fill(pushes: Sequence[Sequence[Change]]) -> None:
        if [list(push) for push in pushes] == [[]]:  # the commit that settles
            loop.call_soon_threadsafe(full.set)
            raise StorageError("the server's disk is full", "storage_full")

    async with a_hub(store, bus) as hub:
        store.trouble = fill
        await hub.submit([*rivals(1), *rivals(2)])
        async with asyncio.timeout(30):
            await full.wait()
        store.trouble = lambda _: None
        await hub.submit([change(7)])
        await until_shown(hub, 1, BOTH)
        await until_shown(hub, 2, BOTH)


@pytest.mark.parametrize("error", [TidenoteError("the process died", "internal_error"), RuntimeError("a bug")])
async def test_texts_that_cannot_be_merged_stay_siblings_and_hold_up_no_others(
    store: TroubledStore, bus: PubSub[Publication], caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    async with a_hub(store, bus) as hub:
        merge, fatal = hub._merger.merge, YOURS + "\nfatal"

        async def fail(texts: Texts) -> Merged:
            if fatal in texts:
                raise error
            return await merge(texts)

        hub._merger.merge = fail  # type: ignore[method-assign]
        *others, yours = rivals(1)
        await hub.submit([*others, replace(yours, value=fatal)])
        await hub.submit(rivals(2))
        await until_shown(hub, 2, BOTH)
        await until_shown(hub, 1, MINE, fatal)
    assert "a note stays in conflict" in caplog.text
    assert str(error) in caplog.text


async def test_a_question_about_long_texts_is_answered_with_their_merge(
    store: TroubledStore, bus: PubSub[Publication]
) -> None:
    async with a_hub(store, bus) as hub:
        assert (await hub.read_merging(lambda _store, _vault, merge: merge(OLD, MINE, YOURS))).text == BOTH
