"""The link against a real server in the same process, with a network in between that misbehaves."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from client.devices import config, device, history, siblings, until, until_shows, until_state, values
from client.journals import open_journal, received
from client.proxy import Proxy, proxy
from core.changes import write
from server.running import enrol, plain_client, running_server
from tidenote.client.client import SyncClient
from tidenote.client.journal import Write
from tidenote.core.version import BlobRef, Dot
from tidenote.errors import AccessError, StorageError, UnreachableError
from tidenote.server.serve import Running

pytestmark = pytest.mark.anyio

NOTE = "note:a.md"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_server(tmp_path / "server") as found:
        yield found


@pytest.fixture
async def network(server: Running) -> AsyncIterator[Proxy]:
    async with proxy(server.port) as found:
        yield found


# -- both ways


@pytest.mark.parametrize("enable_websocket", [True, False])
async def test_two_devices_see_what_the_other_does(server: Running, tmp_path: Path, enable_websocket: bool) -> None:
    async with (
        device(tmp_path, server.endpoint, "a", enable_websocket=enable_websocket) as a,
        device(tmp_path, server.endpoint, "b", enable_websocket=enable_websocket) as b,
    ):
        await a.put("a.md", "from a")
        await until_shows(b, NOTE, "from a")
        await b.put("a.md", "from b")
        await until_shows(a, NOTE, "from b")
        await a.rename("a.md", "c.md")
        await until_shows(b, "note:c.md", "from b")
        assert b.list() == ["note:c.md"]
        await b.delete("c.md")
        await until_shows(a, "note:c.md", None)
        for client in (a, b):
            await client.flush(30)
            status = client.status()
            assert (status.state, status.pending, status.behind) == ("online" if enable_websocket else "polling", 0, 0)
            assert status.caught_up
            assert status.last_confirmed_at
        assert siblings(server, "note:a.md")[0].moved_to == "note:c.md"


@pytest.mark.parametrize("enable_websocket", [True, False])
async def test_a_fresh_device_gets_everything_page_by_page(
    server: Running, tmp_path: Path, enable_websocket: bool
) -> None:
    async with device(tmp_path, server.endpoint, "a") as a:
        a.journal.write([Write(f"note:{n}.md", f"text {n}", base=frozenset()) for n in range(1203)])
        await a.flush(60)
        await a.delete("7.md")
        await a.flush(30)
    async with device(tmp_path, server.endpoint, "b", enable_websocket=enable_websocket) as b:
        await b.caught_up(60)
        assert len(b.list()) == 1202
        assert b.journal.winner("note:7.md") is not None
        assert b.status().caught_up


async def test_concurrent_edits_stay_siblings_on_both(server: Running, tmp_path: Path) -> None:
    async with proxy() as away:
        async with device(tmp_path, away.endpoint, "a") as a, device(tmp_path, server.endpoint, "b") as b:
            # Neither has seen the other's, and both are there: a is offline until b has written.
            await a.put("a.md", "one thing")
            await b.put("a.md", "another thing")
            await b.flush(30)
            away.target = server.port
            await a.flush(30)
            for client in (a, b):
                await until(client, lambda c=client: len(c.journal.confirmed(NOTE)) > 1, "two siblings")  # type: ignore[misc]
                assert client.status().conflicts == 1
        assert values(server, NOTE) == {"one thing", "another thing"}


# -- bad networks


async def test_what_was_written_offline_arrives_when_the_server_comes(tmp_path: Path) -> None:
    async with proxy() as network, device(tmp_path, network.endpoint) as client:
        await client.put("a.md", "written offline")
        await until_state(client, "offline")
        status = client.status()
        assert (status.pending, status.last_error_code, status.caught_up) == (1, "unreachable", False)
        async with running_server(tmp_path / "server") as server:
            network.target = server.port
            await client.flush(30)
            assert values(server, NOTE) == {"written offline"}
            assert client.status().last_error is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_where_nothing_listens_is_said_with_the_port(tmp_path: Path, host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"{host}:{taken.getsockname()[1]}"
    async with device(tmp_path, f"ws://{address}/ws/sync") as client:
        await until_state(client, "offline")
        assert client.status().last_error == f"nothing listens at {address}"


async def test_cuts_lose_nothing_and_double_nothing(server: Running, network: Proxy, tmp_path: Path) -> None:
    async with device(tmp_path, network.endpoint) as client:
        for number in range(30):
            await client.put(f"{number}.md", f"text {number}")
            if number % 5 == 4:
                await until(client, lambda: client.status().state in ("online", "polling"), "a connection")
                network.cut()
        await client.flush(30)
        await client.caught_up(30)
    for number in range(30):
        assert [version.change.value for version in history(server, f"note:{number}.md")] == [f"text {number}"]


@pytest.mark.parametrize("enable_websocket", [True, False])
@pytest.mark.parametrize("limit", ["upload_limit", "download_limit"])
async def test_n1_a_cut_at_any_byte_loses_nothing_and_doubles_nothing(
    server: Running, network: Proxy, tmp_path: Path, limit: str, enable_websocket: bool
) -> None:
    text = "word " * 60
    async with (
        device(tmp_path, network.endpoint, "me", enable_websocket=enable_websocket) as client,
        plain_client(server, "other") as other,
    ):
        await client.caught_up(30)
        # From the first byte of the answer to the upgrade, or of the first frame, to behind a message with a note.
        for place in range(0, 700, 11):
            network.limited.clear()
            setattr(network, limit, place)
            network.cut()
            await client.put(f"mine/{place}.md", f"{text}{place}")
            await other.push(other.change(f"note:others/{place}.md", f"{text}{place}", place + 1))
            async with asyncio.timeout(30):
                await network.limited.wait()
            setattr(network, limit, None)
            await client.flush(30)
            await until_shows(client, f"note:others/{place}.md", f"{text}{place}")
        for place in range(0, 700, 11):
            for folder in ("mine", "others"):
                versions = history(server, f"note:{folder}/{place}.md")
                assert [version.change.value for version in versions] == [f"{text}{place}"]
                assert await client.get(f"{folder}/{place}.md") == f"{text}{place}"


async def test_answers_that_never_arrive_lead_to_one_version_each(
    server: Running, network: Proxy, tmp_path: Path
) -> None:
    async with device(tmp_path, network.endpoint) as client, plain_client(server, "watcher") as watcher:
        await client.caught_up(30)
        network.swallow = True
        await client.put("a.md", "text")
        await watcher.until(NOTE, "text")
        assert client.status().pending == 1
        network.swallow = False
        network.cut()
        await client.flush(30)
        assert len(history(server, NOTE)) == 1


async def test_a_lost_answer_and_a_deletion_elsewhere_do_not_bring_the_note_back(
    server: Running, network: Proxy, tmp_path: Path
) -> None:
    """Our change was taken in, edited and deleted by others; of all this only the deletion comes before the answer."""
    async with device(tmp_path, network.endpoint) as client, plain_client(server, "other") as other:
        await client.caught_up(30)
        network.swallow = True
        change = await client.put("a.md", "mine")
        await other.until(NOTE, "mine")
        network.target = 0
        network.cut()
    base = [{"timestamp": change.dot.timestamp, "device_id": "me"}]
    async with plain_client(server, "other") as other:
        await other.push(other.change(NOTE, "mine, edited", 50, base=base))
        await other.push(other.change(NOTE, None, 60, base=[{"timestamp": 50, "device_id": "other"}]))
    # The deletion came over a connection that was cut before its answer.
    journal = open_journal(tmp_path / "me.db")
    deletion = siblings(server, NOTE)
    journal.apply(received(*deletion, cursor=server.service.hub("main").clock, epoch=journal.meta.epoch))
    journal.close()
    network.swallow, network.target = False, server.port
    async with device(tmp_path, network.endpoint) as client:
        await client.flush(30)
        await until(client, lambda: not client.journal.doubts(), "no doubt")
        assert client.journal.confirmed(NOTE) == deletion
        assert client.list() == []


async def test_a_doubt_is_settled_though_the_server_cannot_be_asked_at_first(
    server: Running, network: Proxy, tmp_path: Path
) -> None:
    """The connection holds, and nothing comes over it that would say: ask again."""
    async with plain_client(server, "other") as other:
        await other.push(other.change(NOTE, "right", 10))
    async with device(tmp_path, network.endpoint) as client:
        await client.caught_up(30)
        epoch, cursor = client.journal.meta.epoch, client.journal.meta.cursor
        client.journal.apply(received(write("9x", "a guess"), epoch=epoch, cursor=cursor))
        client.journal.apply(received(unlisted=frozenset([NOTE]), epoch=epoch, cursor=cursor))
        network.refusals = 2
        await client.put("b.md", "so that there is an answer")
        await until_shows(client, NOTE, "right")
        assert (network.refusals, client.journal.doubts()) == (0, [])


async def test_a_server_that_is_killed_and_started_again_loses_nothing(tmp_path: Path) -> None:
    async with proxy() as network, device(tmp_path, network.endpoint) as client:
        for number in range(3):
            await client.put(f"before {number}.md", "x")
            async with running_server(tmp_path / "server") as server:
                network.target = server.port
                await client.put(f"while {number}.md", "x")
                await client.flush(30)
                await client.caught_up(30)
                network.target = 0
                network.cut()
            await until_state(client, "offline")
        async with running_server(tmp_path / "server") as server:
            network.target = server.port
            await client.flush(30)
            await client.caught_up(30)
            assert len(server.service.store.manifest("main", None, 100)) == 6


async def test_where_websockets_are_blocked_it_polls_and_later_returns(
    server: Running, network: Proxy, tmp_path: Path
) -> None:
    network.sockets_blocked = True
    async with device(tmp_path, network.endpoint) as client, plain_client(server, "other") as other:
        await client.put("a.md", "by polling")
        await other.until(NOTE, "by polling")
        await until_state(client, "polling")
        await other.push(other.change("note:b.md", "back", 50))
        await until_shows(client, "note:b.md", "back")
        network.sockets_blocked = False
        await until_state(client, "online")
        await client.put("c.md", "live again")
        await other.until("note:c.md", "live again")
        assert client.status().last_error is None


async def test_n9_pings_keep_a_connection_through_a_proxy_that_closes_silent_ones(
    server: Running, network: Proxy, tmp_path: Path
) -> None:
    network.idle_s = 1.0
    async with device(tmp_path, network.endpoint, heartbeat_interval_ms=100) as client:
        await client.caught_up(30)
        opened = len(network.heads)
        # Nothing but pings and their answers: many times as long as silence would be let pass.
        async with asyncio.timeout(30):
            await network.has_passed(60)
        assert len(network.heads) == opened
        assert client.status().last_error is None


async def test_n9_without_pings_such_a_proxy_closes_and_the_device_comes_back(
    server: Running, network: Proxy, tmp_path: Path
) -> None:
    network.idle_s = 0.2
    async with device(tmp_path, network.endpoint, enable_websocket=True) as client:
        await client.caught_up(30)
        opened = len(network.heads)
        await until(client, lambda: len(network.heads) > opened + 1, "it was closed, and came back")
        await client.put("a.md", "text")
        await client.flush(30)
        assert len(history(server, NOTE)) == 1


async def test_a_peer_that_fell_silent_is_noticed(server: Running, network: Proxy, tmp_path: Path) -> None:
    async with device(tmp_path, network.endpoint, heartbeat_interval_ms=30, heartbeat_timeout_ms=30) as client:
        await client.caught_up(30)
        network.swallow = True
        await until(client, lambda: client.status().last_error is not None, "the loss is noticed")
        network.swallow = False
        await until_state(client, "online", "polling")


# -- what the server refuses


async def test_a_clock_that_is_far_ahead_is_set_right(server: Running, tmp_path: Path) -> None:
    async with device(tmp_path, server.endpoint) as client:
        await client.caught_up(30)
        client.journal.write([Write(NOTE, "far", base=frozenset([Dot(2**52, "x")])), Write("note:b.md", "too")])
        client.wake()
        await client.flush(30)
        assert siblings(server, NOTE)[0].dot.timestamp < 2**40
        assert values(server, "note:b.md") == {"too"}
        await client.put("a.md", "next")
        await client.flush(30)
        assert values(server, NOTE) == {"next"}
        assert client.status().parked == ()


async def test_a_clone_goes_on_under_another_name_and_both_texts_stay(server: Running, tmp_path: Path) -> None:
    async with device(tmp_path, server.endpoint) as client:
        await client.caught_up(30)
    shutil.copy(tmp_path / "me.db", tmp_path / "clone.db")
    async with device(tmp_path, server.endpoint) as client:
        await client.put("a.md", "the original's")
        await client.flush(30)
    # The clone writes before it hears of that: its change has the same dot.
    journal = open_journal(tmp_path / "clone.db")
    journal.write([Write(NOTE, "the clone's", base=frozenset())])
    journal.close()
    async with device(tmp_path, server.endpoint, journal=tmp_path / "clone.db") as clone:
        await clone.flush(30)
        assert clone.status().device_id == "me~2"
        assert values(server, NOTE) == {"the original's", "the clone's"}


async def test_a_change_that_is_refused_is_parked_and_the_others_go_on(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path / "server", max_text_bytes=100) as server,
        device(tmp_path, server.endpoint) as client,
    ):
        await client.put("large.md", "x" * 101)
        await client.put("small.md", "x")
        await client.flush(30)
        [parked] = client.status().parked
        assert (parked.key, parked.code) == ("note:large.md", "value_too_large")
        assert values(server, "note:small.md") == {"x"}
        await client.put("large.md", "y")
        await client.flush(30)
        assert values(server, "note:large.md") == {"y"}
        assert client.status().parked == ()


async def test_parked_changes_are_sent_again_on_demand(tmp_path: Path) -> None:
    async with proxy() as network, device(tmp_path, network.endpoint) as client:
        async with running_server(tmp_path / "server", max_text_bytes=100) as server:
            network.target = server.port
            await client.put("large.md", "x" * 101)
            await until(client, lambda: len(client.status().parked) == 1, "parked")
            network.target = 0
            network.cut()
        async with running_server(tmp_path / "server") as server:
            network.target = server.port
            assert client.retry_parked(["large.md"]) == 1
            await client.flush(30)
            assert values(server, "note:large.md") == {"x" * 101}


async def test_who_has_no_token_stops_with_a_clear_word_and_keeps_what_was_written(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path / "server", no_auth=False) as server,
        device(tmp_path, server.endpoint) as client,
    ):
        await client.put("a.md", "kept")
        with pytest.raises(AccessError) as caught:
            await client.flush(30)
        assert caught.value.code == "unauthorized"
        status = client.status()
        assert (status.state, status.last_error_code, status.pending) == ("stopped", "unauthorized", 1)
        await client.put("b.md", "still written")
        assert client.list() == ["note:a.md", "note:b.md"]


async def test_who_has_a_token_is_let_in(tmp_path: Path) -> None:
    async with running_server(tmp_path / "server", no_auth=False) as server:
        for enable_websocket in (True, False):
            name = f"me{enable_websocket}"
            token = await enrol(server, name)
            async with device(
                tmp_path, server.endpoint, name, token=token, enable_websocket=enable_websocket
            ) as client:
                await client.put(f"{name}.md", "text")
                await client.flush(30)
                assert values(server, f"note:{name}.md") == {"text"}


async def test_an_unknown_vault_stops(server: Running, tmp_path: Path) -> None:
    for enable_websocket in (True, False):
        name = f"me{enable_websocket}"
        async with device(
            tmp_path, server.endpoint, name, vault="nowhere", enable_websocket=enable_websocket
        ) as client:
            with pytest.raises(AccessError) as caught:
                await client.caught_up(30)
            assert caught.value.code == "unknown_vault"


async def test_a_program_that_has_taken_our_place_is_left_alone(server: Running, tmp_path: Path) -> None:
    """It gave no nonce: nobody knows whether it is a clone of ours."""
    async with device(tmp_path, server.endpoint, backoff_max_ms=3_600_000) as first:
        await first.caught_up(30)
        async with plain_client(server, "me") as second:
            await until(first, lambda: first.status().last_error_code == "replaced", "replaced")
            # The next attempt is half an hour away, or more.
            assert first._link.state.due_at_ms - first._link._now_ms() > 1_000_000
            assert "rejected" not in await second.push(second.change("note:a.md", "undisturbed", 1))
            assert first.status().device_id == "me"


async def test_two_devices_with_one_id_part_at_once(server: Running, tmp_path: Path) -> None:
    """They never use a dot twice, so nothing but the replaced connection tells of the other."""
    patient: dict[str, Any] = {"backoff_max_ms": 3_600_000}
    async with device(tmp_path, server.endpoint, **patient) as first:
        await first.put("first.md", "text")
        await first.flush(30)
        await first.put("unsent.md", "text")
        async with device(tmp_path, server.endpoint, journal=tmp_path / "second.db", **patient) as second:
            await second.put("second.md", "text")
            await until(second, lambda: len(second.list()) == 3, "everything is at the second")
            await until(first, lambda: len(first.list()) == 3, "everything is at the first")
            for client in (first, second):
                await until(client, lambda client=client: client.status().state == "online", "both are connected")  # type: ignore[misc]
            assert {first.status().device_id, second.status().device_id} == {"me", "me~2"}
            assert values(server, "note:unsent.md") == {"text"}


async def test_our_own_late_connection_is_no_clone(server: Running, network: Proxy, tmp_path: Path) -> None:
    """A connection that we gave up may reach the server after the one that we use now."""
    async with device(tmp_path, network.endpoint) as client:
        await client.caught_up(30)
        late = network.heads[0].split(" ")[1]
        async with connect(f"ws://127.0.0.1:{server.port}{late}"):
            await until(client, lambda: client.status().last_error_code == "replaced", "replaced by ourselves")
            await until(client, lambda: client.status().state == "online", "we are back")
        assert client.status().device_id == "me"


async def test_a_clone_makes_room_as_soon_as_it_knows(server: Running, tmp_path: Path) -> None:
    """It goes on as the next incarnation, and the device that it was cloned from can be connected beside it."""
    async with device(tmp_path, server.endpoint) as original:
        await original.put("a.md", "before")
        await original.flush(30)
    (tmp_path / "clone.db").write_bytes((tmp_path / "me.db").read_bytes())
    async with device(tmp_path, server.endpoint, backoff_max_ms=200) as original:
        await original.put("a.md", "by the original")
        await original.flush(30)
        async with device(tmp_path, server.endpoint, journal=tmp_path / "clone.db", backoff_max_ms=200) as clone:
            await clone.put("a.md", "by the clone")
            await until(clone, lambda: clone.status().device_id == "me~2", "the clone knows")
            await clone.put("b.md", "by the clone")
            await clone.flush(30)
            await until(original, lambda: original.status().state == "online", "the original is back")
            for number in range(3):
                await original.put(f"{number}.md", "by the original")
                await original.flush(30)
                await until(clone, lambda number=number: f"note:{number}.md" in clone.list(), "it arrives")  # type: ignore[misc]
                assert (original.status().state, clone.status().state) == ("online", "online")
            await until(original, lambda: "note:b.md" in original.list(), "it arrives")


# -- blobs


def content(size: int) -> bytes:
    return hashlib.shake_128(b"seed").digest(size)


async def test_bytes_travel_as_a_blob(server: Running, tmp_path: Path) -> None:
    async with device(tmp_path, server.endpoint, "a") as a, device(tmp_path, server.endpoint, "b") as b:
        picture = tmp_path / "picture.png"
        picture.write_bytes(content(100_000))
        await a.put("picture.png", picture)
        picture.write_bytes(b"changed at once")
        await a.put("latin1.md", "naïve".encode("latin-1"))
        await a.put("nul.md", "a\0b")
        await a.put("large.md", "x" * (2**20 + 1))
        await a.put("text.md", "naïve".encode())
        await a.put("empty.bin", b"")
        assert await a.get("picture.png") == content(100_000)
        await a.flush(30)
        await until(b, lambda: len(b.list()) == 6, "all files")
        assert b.list() == [
            "file:empty.bin",
            "note:large.md",
            "note:latin1.md",
            "note:nul.md",
            "file:picture.png",
            "note:text.md",
        ]
        assert await b.get("picture.png") == content(100_000)
        assert await b.get("latin1.md") == "naïve".encode("latin-1")
        assert await b.get("nul.md") == b"a\0b"
        assert await b.get("large.md") == b"x" * (2**20 + 1)
        assert await b.get("text.md") == "naïve"
        assert await b.get("empty.bin") == b""
        await b.rename("picture.png", "photo.png")
        await until(a, lambda: "file:photo.png" in a.list(), "the rename")
        assert await a.get("photo.png") == content(100_000)
        assert list((tmp_path / "a.db.blobs").iterdir()) == []


async def test_an_upload_that_breaks_off_goes_on_where_it_was(server: Running, network: Proxy, tmp_path: Path) -> None:
    network.upload_limit = 400_000
    data = content(1_500_000)
    async with device(tmp_path, network.endpoint) as client:
        await client.put("film.bin", data)
        await client.put("a.md", "texts do not wait")
        await until(client, lambda: values(server, NOTE) == {"texts do not wait"}, "the text")
        await client.flush(60)
        blob = siblings(server, "file:film.bin")[0].blob
        assert blob == BlobRef(hashlib.sha256(data).hexdigest(), len(data))
    async with device(tmp_path, server.endpoint, "b") as other:
        await other.caught_up(30)
        assert await other.get("film.bin") == data
    puts = [head for head in network.heads if head.startswith("HEAD")]
    assert puts


async def test_a_blob_that_the_server_lost_is_uploaded_again(server: Running, tmp_path: Path) -> None:
    source = tmp_path / "x.png"
    source.write_bytes(content(5000))
    blob = BlobRef(hashlib.sha256(content(5000)).hexdigest(), 5000)
    journal = open_journal(tmp_path / "me.db")
    journal.write([Write("file:x.png", None, blob, frozenset(), source=str(source))])
    # We believe that the server has it.
    journal.uploaded(journal.uploads()[0])
    async with device(tmp_path, server.endpoint, journal=journal) as client:
        await client.flush(30)
        assert siblings(server, "file:x.png")[0].blob == blob
    journal.close()


async def test_a_file_that_changed_before_its_upload_is_parked(server: Running, tmp_path: Path) -> None:
    source = tmp_path / "x.png"
    source.write_bytes(b"other bytes")
    blob = BlobRef(hashlib.sha256(content(5000)).hexdigest(), 5000)
    journal = open_journal(tmp_path / "me.db")
    async with device(tmp_path, server.endpoint, journal=journal) as client:
        journal.write([Write("file:x.png", None, blob, frozenset(), source=str(source)), Write(NOTE, "goes on")])
        client.wake()
        await client.flush(30)
        [parked] = client.status().parked
        assert (parked.key, parked.code) == ("file:x.png", "blob_missing")
        assert values(server, NOTE) == {"goes on"}
    journal.close()


# -- logs that are not what they were


async def test_a_server_restored_from_an_older_copy_gets_back_what_it_lost(tmp_path: Path) -> None:
    data, backup = tmp_path / "server", tmp_path / "backup"
    async with proxy() as network:
        async with device(tmp_path, network.endpoint, "a") as a, device(tmp_path, network.endpoint, "b") as b:
            async with running_server(data) as server:
                network.target = server.port
                await a.put("old.md", "old")
                await a.put("edited.md", "before the backup")
                await a.put("deleted.md", "to be deleted")
                for client in (a, b):
                    await client.flush(30)
                await until_shows(b, "note:deleted.md", "to be deleted")
                network.target = 0
                network.cut()
            shutil.copytree(data, backup)
            async with running_server(data) as server:
                network.target = server.port
                await a.put("lost.md", "written after the backup")
                await a.put("edited.md", "edited after the backup")
                await a.put("photo.png", content(5000))
                await a.rename("old.md", "new.md")
                await a.delete("deleted.md")
                await a.flush(30)
                await until(b, lambda: b.journal.meta.cursor == a.journal.meta.cursor, "b has all")
                network.target = 0
                network.cut()
        # Its author is away: b alone brings it back. The picture is lost on b, which never fetched it.
        shutil.rmtree(data)
        shutil.copytree(backup, data)
        async with device(tmp_path, network.endpoint, "b") as b:
            await b.put("meanwhile.md", "written offline")
            async with running_server(data) as server:
                network.target = server.port
                await b.flush(30)
                await b.caught_up(30)
                assert values(server, "note:lost.md") == {"written after the backup"}
                assert siblings(server, "note:lost.md")[0].dot.device_id == "a"
                assert values(server, "note:edited.md") == {"edited after the backup"}
                assert values(server, "note:new.md") == {"old"}
                assert siblings(server, "note:old.md")[0].moved_to == "note:new.md"
                assert values(server, "note:deleted.md") == {None}
                assert values(server, "note:meanwhile.md") == {"written offline"}
                assert [parked.key for parked in b.status().parked] == ["file:photo.png"]
                assert b.journal.meta.epoch == server.service.hub("main").epoch
                # And a, when it is back, brings what only it has.
                found = tmp_path / "photo.png"
                found.write_bytes(content(5000))
                async with device(tmp_path, network.endpoint, "a", find_blob=lambda _: found) as a:
                    await a.caught_up(30)
                    await until(a, lambda: a.journal.meta.epoch == b.journal.meta.epoch, "the new epoch")
                    await a.flush(30)
                    assert siblings(server, "file:photo.png")[0].dot.device_id == "a"
                    assert sorted(a.list()) == [
                        "file:photo.png",
                        "note:edited.md",
                        "note:lost.md",
                        "note:meanwhile.md",
                        "note:new.md",
                    ]
                    assert a.status().parked == ()


@pytest.mark.parametrize("enable_websocket", [True, False])
async def test_an_empty_server_in_place_of_ours_gets_everything_and_deletes_nothing(
    tmp_path: Path, enable_websocket: bool
) -> None:
    async with proxy() as network, device(tmp_path, network.endpoint, enable_websocket=enable_websocket) as client:
        async with running_server(tmp_path / "server") as server:
            network.target = server.port
            for number in range(20):
                await client.put(f"{number}.md", f"text {number}")
            await client.flush(30)
            network.target = 0
            network.cut()
        async with running_server(tmp_path / "empty") as server:
            network.target = server.port
            await until(client, lambda: client.journal.meta.epoch == server.service.hub("main").epoch, "resynced")
            assert len(client.list()) == 20
            for number in range(20):
                assert values(server, f"note:{number}.md") == {f"text {number}"}


async def test_a_server_of_an_earlier_generation_is_never_followed(server: Running, tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "me.db")
    journal.resynced("7-aa", 10)
    journal.write([Write(NOTE, "kept")])
    async with device(tmp_path, server.endpoint, journal=journal, enable_websocket=False) as client:
        with pytest.raises(StorageError) as caught:
            await client.flush(30)
        assert caught.value.code == "fenced"
        assert client.status().state == "stopped"
        assert (journal.meta.epoch, len(journal.pending())) == ("7-aa", 1)
    journal.close()


# -- closing


async def test_closing_does_not_wait_for_a_server_that_does_not_answer(tmp_path: Path) -> None:
    async with proxy() as network:
        network.swallow = True
        async with running_server(tmp_path / "server") as server:
            network.target = server.port
            async with device(tmp_path, network.endpoint) as client:
                await client.put("a.md", "text")
            journal = open_journal(tmp_path / "me.db")
            assert [row.change.value for row in journal.pending()] == ["text"]
            journal.close()


async def test_waiting_ends_with_its_time(tmp_path: Path) -> None:
    async with proxy() as network, device(tmp_path, network.endpoint) as client:
        await client.put("a.md", "text")
        with pytest.raises(UnreachableError, match="not everything was confirmed"):
            await client.flush(0.01)
        with pytest.raises(UnreachableError, match="did not answer in time"):
            await client.caught_up(0.01)


async def test_a_given_journal_stays_open(server: Running, tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "me.db")
    async with SyncClient(config(server.endpoint), journal) as client:
        await client.caught_up(30)
    await asyncio.sleep(0)
    assert journal.meta.epoch
    journal.close()
