from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.devices import config, history, siblings, values
from client.journals import edit, hand_out, open_journal, received
from client.proxy import proxy
from core.changes import at, delete, write
from server.running import plain_client, running_server
from tidenote.client import data_sync, rest
from tidenote.client.data_sync import DataSync, Difference, check_generation, difference, fetch
from tidenote.client.journal import Journal
from tidenote.client.rest import Rest
from tidenote.core.version import BlobRef, Change, Dot, Head
from tidenote.errors import ProtocolError, StorageError, UnreachableError
from tidenote.server.serve import Running
from tidenote.wire.messages import (
    ErrorMessage,
    Fetched,
    Manifest,
    ManifestEntry,
    SyncAck,
    WireHead,
    encode,
    from_change,
)

pytestmark = pytest.mark.anyio

A, B, C, D = "note:a.md", "note:b.md", "note:c.md", "note:d.md"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    found = open_journal(tmp_path / "me.db")
    yield found
    found.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_server(tmp_path / "server") as found:
        yield found


def follow(journal: Journal, *changes: Change, epoch: str = "1-00000000", cursor: int = 1000) -> None:
    """Let a journal have followed another log of the vault."""
    journal.apply(received(*changes, epoch=epoch, cursor=cursor))


async def reconcile(journal: Journal, server: Running, **settings: object) -> frozenset[str]:
    async with Rest(config(server.endpoint)) as rest:
        return await DataSync(journal, rest, **settings).run()  # type: ignore[arg-type]


# -- the difference


def heads(names: str) -> dict[Dot, Head]:
    """Return siblings that are written as `1x=hash`, those with a mark as `2y*=hash`, deletions without a hash."""
    found = {}
    for name in names.split():
        dot, _, content_hash = name.partition("=")
        found[at(dot.removesuffix("*"))] = Head(content_hash or None, dot.endswith("*"))
    return found


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ({}, {}, Difference((), ())),
        ({A: "1x"}, {A: "1x"}, Difference((), ())),
        ({A: "1x"}, {}, Difference((), (A,))),
        ({}, {A: "1x"}, Difference((A,), ())),
        ({A: "1x"}, {A: "2x"}, Difference((A,), (A,))),
        ({A: "1x 2y"}, {A: "1x"}, Difference((A,), (A,))),
        ({A: "1x"}, {A: "1x 2y"}, Difference((A,), ())),
        ({B: "1x", A: "1x"}, {D: "1x", C: "1x"}, Difference((C, D), (A, B))),
        ({A: "1x=one"}, {A: "1x=one"}, Difference((), ())),
        ({A: "1x=one"}, {A: "1x=another"}, Difference((A,), (A,))),
        ({A: "1x=one"}, {A: "1x"}, Difference((A,), (A,))),
        ({A: "1x=one 2y"}, {A: "1x=another 2y"}, Difference((A,), (A,))),
        ({A: "1x*"}, {A: "1x*"}, Difference((), ())),
        ({A: "1x"}, {A: "1x*"}, Difference((A,), ())),
        ({A: "1x*"}, {A: "1x"}, Difference((A,), ())),
        ({A: "1x* 2y"}, {A: "1x 2y*"}, Difference((A,), ())),
        ({A: "1x* 2y"}, {A: "1x"}, Difference((A,), (A,))),
    ],
)
def test_the_difference_goes_by_dots_and_heads(
    ours: dict[str, str], theirs: dict[str, str], expected: Difference
) -> None:
    named = [{key: heads(names) for key, names in side.items()} for side in (ours, theirs)]
    assert difference(*named) == expected


sides = st.dictionaries(
    st.sampled_from([A, B, C]),
    st.dictionaries(
        st.builds(Dot, st.integers(1, 3), st.sampled_from("xy")),
        st.builds(Head, st.sampled_from([None, "one"]), st.booleans()),
        min_size=1,
        max_size=3,
    ),
)


@given(sides, sides)
def test_two_replicas_differ_alike_from_either_side(
    ours: dict[str, dict[Dot, Head]], theirs: dict[str, dict[Dot, Head]]
) -> None:
    here, there = difference(ours, theirs), difference(theirs, ours)
    assert set(here.offer) <= set(there.pull)
    assert set(there.offer) <= set(here.pull)
    assert set(here.pull) | set(here.offer) == {key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key)}


# -- generations


@pytest.mark.parametrize(("ours", "theirs"), [(None, "1-a"), ("1-a", "1-b"), ("1-a", "2-b"), ("9-a", "10-b")])
def test_the_same_and_later_generations_are_followed(ours: str | None, theirs: str) -> None:
    check_generation(ours, theirs)


def test_an_earlier_generation_is_not() -> None:
    with pytest.raises(StorageError, match="earlier copy") as caught:
        check_generation("10-a", "9-b")
    assert caught.value.code == "fenced"
    with pytest.raises(ProtocolError):
        check_generation("10-a", "nonsense")


async def test_nothing_is_touched_when_the_generation_is_earlier(journal: Journal, server: Running) -> None:
    follow(journal, write("5x"), epoch="3-aa")
    with pytest.raises(StorageError):
        await reconcile(journal, server)
    assert (journal.meta.epoch, journal.confirmed(A)) == ("3-aa", (write("5x"),))
    assert siblings(server, A) == ()


# -- both ways


async def test_what_either_lacks_it_gets_and_nothing_is_taken_for_deleted(journal: Journal, server: Running) -> None:
    async with plain_client(server, "other") as other:
        await other.push(other.change(A, "only there", 5), other.change(B, "newer there", 9))
    follow(
        journal,
        write("4other", "older here", key=B),
        write("7me", "only here", key=C),
        delete("8x", key=D, base="3x"),
    )
    mine = edit(journal, "not yet sent")
    altered = await reconcile(journal, server)
    assert altered == {A, B}
    assert {change.value for change in journal.register(A).siblings} == {"only there", "not yet sent"}
    winner = journal.winner(B)
    assert winner
    assert winner.value == "newer there"
    assert values(server, C) == {"only here"}
    assert siblings(server, D)[0].deleted
    assert [row.change for row in journal.pending()] == [mine]
    meta = journal.meta
    assert meta.epoch == server.service.hub("main").epoch
    assert 0 < meta.cursor <= server.service.hub("main").clock
    # What was offered is delivered once more from the cursor, and then both are the same.
    async with Rest(config(server.endpoint)) as rest:
        keys = await fetch(rest, [A, B, C, D])
    assert keys[C] == journal.confirmed(C)
    assert keys[D] == journal.confirmed(D)


async def test_what_the_server_lacks_in_our_own_epoch_is_neither_offered_nor_deleted(
    journal: Journal, server: Running
) -> None:
    async with plain_client(server, "other") as other:
        await other.push(other.change(B, "there", 9))
    await reconcile(journal, server)
    epoch = journal.meta.epoch
    gone = [write("4x", "gone there", key=A), delete("5x", key=D), write("6x", "edited here", key=C)]
    journal.apply(received(*gone, epoch=epoch))
    mine = edit(journal, "edited", key=C)
    assert await reconcile(journal, server) == {A, C}
    assert journal.quarantined() == [A], "what its user writes is sent as ever"
    assert [row.change for row in journal.pending()] == [mine]
    assert siblings(server, A) == ()
    winner = journal.winner(A)
    assert winner
    assert winner.value == "gone there"
    # Whoever writes it, here or elsewhere, ends it.
    async with plain_client(server, "other") as other:
        await other.push(other.change(A, "back", 50))
    assert await reconcile(journal, server) == {A, C}
    assert journal.quarantined() == []


async def test_what_the_server_lacks_is_not_offered_to_another_epoch_either_if_deletions_are_forgotten(
    journal: Journal, server: Running
) -> None:
    follow(journal, write("4x", "gone there", key=A))
    async with Rest(config(server.endpoint)) as rest:
        assert await DataSync(journal, rest).run(quarantine=True) == {A}
    assert (journal.quarantined(), siblings(server, A)) == ([A], ())
    assert journal.meta.epoch == server.service.hub("main").epoch
    # Nor is it when that log is lost in its turn.
    follow(journal, write("5x", "lost", key=B), epoch="1-00000001")
    await reconcile(journal, server)
    assert (journal.quarantined(), siblings(server, A), values(server, B)) == ([A], (), {"lost"})


async def test_a_second_reconcile_finds_nothing_to_do(journal: Journal, server: Running) -> None:
    follow(journal, write("4x", key=B))
    await reconcile(journal, server)
    before = (journal.meta.cursor, len(history(server, B)))
    assert await reconcile(journal, server) == set()
    assert len(history(server, B)) == before[1] == 1


async def test_versions_that_the_server_has_replaced_meanwhile_do_not_come_back(
    journal: Journal, server: Running
) -> None:
    async with plain_client(server, "other") as other:
        await other.push(other.change(A, "one", 5, base=[]))
        await other.push(other.change(A, "two", 6, base=[{"timestamp": 5, "device_id": "other"}]))
    follow(journal, write("5other", "one", base=""))
    await reconcile(journal, server)
    assert values(server, A) == {"two"}
    assert len(history(server, A)) == 2
    winner = journal.winner(A)
    assert winner
    assert winner.value == "two"


async def test_both_sides_of_a_conflict_are_kept(journal: Journal, server: Running) -> None:
    async with plain_client(server, "other") as other:
        await other.push(other.change(A, "there", 50, base=[]))
    follow(journal, write("5x", "here", base=""))
    await reconcile(journal, server)
    assert values(server, A) == {"here", "there"}
    assert journal.confirmed(A) == siblings(server, A)


@pytest.mark.parametrize("is_marked", [True, False])
async def test_the_mark_of_a_change_is_what_the_log_says_it_is(
    journal: Journal, server: Running, is_marked: bool
) -> None:
    async with plain_client(server, "other") as other:
        await other.push(other.change(A, "text", 5, base=[], conflict=is_marked))
    follow(journal, write("5other", "text", base="", conflict=not is_marked))
    assert await reconcile(journal, server) == {A}
    assert journal.conflicts() == ([A] if is_marked else [])
    assert journal.confirmed(A) == siblings(server, A)


@pytest.mark.parametrize("page", [1, 3])
async def test_many_keys_come_in_pages(
    journal: Journal, server: Running, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(rest, "MANIFEST_KEYS", page)
    monkeypatch.setattr(data_sync, "FETCH_KEYS", page)
    async with plain_client(server, "other") as other:
        await other.push(*(other.change(f"note:{n}.md", f"text {n}", n + 1) for n in range(10)))
    await reconcile(journal, server)
    assert [winner.value for _, winner in journal.winners()] == [f"text {n}" for n in range(10)]


async def test_a_large_answer_is_cut_and_the_rest_is_asked_for(journal: Journal, server: Running) -> None:
    async with plain_client(server, "other") as other:
        for number in range(5):
            await other.push(other.change(f"note:{number}.md", "x" * 900_000, number + 1))
    await reconcile(journal, server)
    assert len(journal.keys()) == 5


async def test_chains_of_renames_are_offered_so_that_their_targets_are_there(journal: Journal, server: Running) -> None:
    follow(
        journal,
        delete("6x", key=A, base="1x", moved_to=B),
        delete("8x", key=B, base="5x", moved_to=C),
        write("7x", "text", key=C, base=""),
    )
    await reconcile(journal, server)
    assert [siblings(server, key)[0].moved_to for key in (A, B)] == [B, C]
    assert values(server, C) == {"text"}
    assert journal.parked() == []


async def test_a_rename_into_nowhere_is_let_go(journal: Journal, server: Running) -> None:
    follow(journal, delete("6x", key=A, base="1x", moved_to=B), delete("7x", key=B, base="2x", moved_to=A))
    await reconcile(journal, server)
    assert (journal.parked(), journal.keys(), journal.winner(A)) == ([], [], None)


async def test_what_the_server_will_not_take_back_is_parked_with_its_text(journal: Journal, tmp_path: Path) -> None:
    too_large, fits = write("6x", "x" * 200, key=A, base="1x"), write("7x", "y", key=B, base="2x")
    follow(journal, too_large, fits)
    async with running_server(tmp_path / "server", max_text_bytes=100) as server:
        await reconcile(journal, server)
        assert values(server, B) == {"y"}
    [row] = journal.parked()
    assert (row.change, row.code) == (too_large, "value_too_large")
    assert journal.winner(A) == too_large
    assert journal.meta.epoch is not None


@pytest.mark.parametrize("base", ["", "1x", None])
async def test_what_was_written_under_a_dot_that_is_used_again_is_sent_anew(
    journal: Journal, server: Running, base: str | None
) -> None:
    """The server was restored, and whoever wrote it has lost its journal, or was set back."""
    async with plain_client(server, "other") as other:
        await other.push(other.change(A, "after", 5, base=[]), other.change(B, "after", 6, base=[]))
    follow(journal, write("5other", "before", key=A, base=base), delete("6other", key=B))
    assert await reconcile(journal, server) == {A, B}
    assert journal.parked() == []
    [row] = journal.pending()
    assert (row.change.value, row.change.dot.device_id) == ("before", "me")
    assert row.change.base == frozenset([at(base)] if base else []), "it has not seen the other"
    assert {change.value for change in journal.register(A).siblings} == {"before", "after"}
    assert [change.value for change in journal.confirmed(B)] == ["after"]


async def test_an_attachment_whose_dot_is_used_again_is_sent_from_where_it_is(
    journal: Journal, server: Running, tmp_path: Path
) -> None:
    key, blob = "file:a.png", BlobRef(hashlib.sha256(b"before").hexdigest(), 6)
    async with plain_client(server, "other") as other:
        await other.push(other.change(key, None, 5, base=[]), other.change(B, "it", 6, base=[]))
    follow(journal, Change(key, Dot(5, "other"), None, blob), write("6other", "it", key=B, base=""))
    (tmp_path / "a.png").write_bytes(b"before")
    await reconcile(journal, server, find_blob={blob: tmp_path / "a.png"}.get)
    [row] = journal.pending()
    assert (row.change.blob, row.source, row.uploaded) == (blob, str(tmp_path / "a.png"), False)


async def test_a_lost_blob_is_uploaded_from_where_it_is(journal: Journal, server: Running, tmp_path: Path) -> None:
    def blob(data: bytes) -> BlobRef:
        return BlobRef(hashlib.sha256(data).hexdigest(), len(data))

    files = {"file:a.png": b"still here", "file:b.png": b"gone", "file:c.png": b"changed"}
    follow(
        journal,
        *(Change(key, Dot(number + 5, "x"), None, blob(data)) for number, (key, data) in enumerate(files.items())),
        delete("20x", key="file:z.png", moved_to="file:a.png"),
    )
    (tmp_path / "a.png").write_bytes(b"still here")
    (tmp_path / "c.png").write_bytes(b"CHANGED")
    where = {blob(b"still here"): tmp_path / "a.png", blob(b"changed"): tmp_path / "c.png"}
    await reconcile(journal, server, find_blob=where.get)
    assert siblings(server, "file:a.png")[0].blob == blob(b"still here")
    assert siblings(server, "file:z.png")[0].moved_to == "file:a.png"
    assert [(row.change.key, row.code) for row in journal.parked()] == [
        ("file:b.png", "blob_missing"),
        ("file:c.png", "blob_missing"),
    ]


async def test_a_lost_blob_that_is_over_the_limit_by_now_is_parked_and_holds_up_nothing(
    journal: Journal, tmp_path: Path
) -> None:
    large = BlobRef(hashlib.sha256(b"x" * 200).hexdigest(), 200)
    twice = [Change(f"file:{name}.png", Dot(number, "x"), None, large) for number, name in enumerate("ab", 5)]
    follow(journal, *twice, write("7x", "y", key=B, base=""))
    (tmp_path / "a.png").write_bytes(b"x" * 200)
    async with running_server(tmp_path / "server", max_blob_bytes=100) as server:
        await reconcile(journal, server, find_blob={large: tmp_path / "a.png"}.get)
        assert values(server, B) == {"y"}
    assert [(row.change, row.code) for row in journal.parked()] == [(each, "message_too_large") for each in twice]
    assert journal.meta.epoch != "1-00000000"


async def test_a_reconcile_that_is_cut_starts_over(journal: Journal, server: Running) -> None:
    async with plain_client(server, "other") as other:
        for number in range(6):
            await other.push(other.change(f"note:there {number}.md", "x" * 300_000, number + 1))
    follow(journal, *(write("4x", f"here {n}", key=f"note:here {n}.md") for n in range(6)))
    async with proxy(server.port) as network, Rest(config(network.endpoint)) as rest:
        network.download_limit = 600_000
        with pytest.raises(UnreachableError):
            await DataSync(journal, rest).run()
        assert journal.meta.epoch == "1-00000000"
        network.download_limit = None
        await DataSync(journal, rest).run()
    assert journal.meta.epoch == server.service.hub("main").epoch
    assert len(journal.keys()) == 12
    assert all(len(history(server, f"note:here {n}.md")) == 1 for n in range(6))


async def test_a_full_disk_over_there_does_not_park_but_waits(journal: Journal, tmp_path: Path) -> None:
    """Nothing is settled until the server takes part: the old epoch stays, and so does every text."""
    follow(journal, write("6x", base="1x"))
    hand_out(journal)
    async with running_server(tmp_path / "server") as server:
        hub = server.service.hub("main")
        await hub.fence("9-ffffffff")
        with pytest.raises(StorageError) as caught:
            await reconcile(journal, server)
        assert caught.value.code == "fenced"
    assert (journal.meta.epoch, journal.parked()) == ("1-00000000", [])
    assert journal.winner(A) == write("6x", base="1x")


# -- a server that is not itself


class Told(Rest):
    """A server that says what a test tells it to."""

    def __init__(self, *pages: Manifest, fetched: Fetched | None = None, answer: SyncAck | ErrorMessage | None = None):
        super().__init__(config("ws://127.0.0.1:1/ws/sync"))
        self.pages = list(pages)
        self.fetched = fetched
        self.answer = answer

    async def manifest(self, after: str | None = None) -> Manifest:
        return self.pages.pop(0)

    async def fetch(self, keys: Sequence[str]) -> Fetched:
        assert self.fetched is not None
        return self.fetched

    async def sync(self, push: bytes) -> bytes:
        return encode(self.answer)


def manifest(epoch: str, *keys: str, more: str | None = None) -> Manifest:
    return Manifest(epoch, 50, [ManifestEntry(key, [WireHead(5, "x")]) for key in keys], more)


@pytest.mark.parametrize(
    "told",
    [
        Told(manifest("2-a", more=A), manifest("3-b")),
        Told(manifest("2-a", A), fetched=Fetched("3-b", [])),
        Told(manifest("2-a"), answer=SyncAck(50, [], "2-a")),
        Told(manifest("2-a"), answer=ErrorMessage("too_slow", "no")),
    ],
    ids=["manifest", "fetch", "no answer", "error"],
)
async def test_a_log_that_is_replaced_under_way_is_not_followed(journal: Journal, told: Told) -> None:
    follow(journal, write("4x", key=D))
    if told.answer is None:
        told.answer = SyncAck(50, [], "2-a", id=1)
    with pytest.raises((UnreachableError, ProtocolError)):
        await DataSync(journal, told).run()
    assert journal.meta.epoch == "1-00000000"
    assert journal.winner(D) == write("4x", key=D)


async def test_a_change_that_must_not_be_is_not_fetched(journal: Journal) -> None:
    good, bad = from_change(write("5x", key=A)), from_change(write("5x", key=B))
    bad.value = "a\0b"
    also_bad = from_change(write("6y", key=B))
    told = Told(manifest("1-a", A, B), fetched=Fetched("1-a", [good, bad, also_bad]))
    assert await DataSync(journal, told).run() == {A}
    assert journal.keys() == [A]


async def test_what_nobody_asked_for_is_not_taken_in_and_ends_the_asking(journal: Journal) -> None:
    told = Told(fetched=Fetched("1-a", [from_change(write("5x", key=C))]))
    assert await fetch(told, [A, B]) == {}


async def test_a_key_that_vanished_since_the_manifest_is_left_alone(journal: Journal) -> None:
    told = Told(manifest("1-a", A), fetched=Fetched("1-a", []))
    assert await DataSync(journal, told).run() == set()
    assert journal.meta.epoch == "1-a"
