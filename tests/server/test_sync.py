"""Conversations over real sockets, by clients that know only what is mandatory."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from server.running import PATIENCE_S, Message, PlainClient, bearer, enrol, plain_client, running_server
from tidenote.core.intake import Batch
from tidenote.server import sync
from tidenote.server.serve import Running
from tidenote.server.store.memory import MemoryStore
from tidenote.server.sync import MAX_WAITING_PUSHES, Socket

pytestmark = pytest.mark.anyio

NOTE = "note:a.md"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_server(tmp_path) as running:
        yield running


# ---------------------------------------------------------------------------------------------- mandatory fields only


async def test_a_write_reaches_another_device_while_it_is_connected(server: Running) -> None:
    async with plain_client(server, "a") as a, plain_client(server, "b") as b:
        await a.send(a.change(NOTE, "one", 1))
        answer = await a.receive()
        assert answer["type"] == "sync_ack"
        assert "rejected" not in answer
        message = await b.receive()
        assert message["changes"] == [{"key": NOTE, "value": "one", "timestamp": 1, "device_id": "a"}]
        assert message["ack_timestamp"] == answer["ack_timestamp"]
        await b.send(b.change(NOTE, "two", 2))
        await a.until(NOTE, "two")


async def test_the_newer_write_wins_in_either_order_of_arrival(server: Running) -> None:
    async with plain_client(server, "a") as a, plain_client(server, "b") as b:
        await a.push(a.change("note:1.md", "new", 20))
        await b.push(b.change("note:1.md", "old", 10))
        await b.push(b.change("note:2.md", "old", 10))
        await a.push(a.change("note:2.md", "new", 20))
        await a.push(a.change("note:last.md", "x", 30))
        await b.until("note:last.md", "x")
        for client in (a, b):
            async with plain_client(server, f"fresh-{client.device_id}") as fresh:
                assert fresh.values("note:1.md") == fresh.values("note:2.md") == ["new"]
        assert b.values("note:1.md") == b.values("note:2.md") == ["new"]


async def test_equal_timestamps_keep_both_with_the_same_winner_everywhere(server: Running) -> None:
    async with plain_client(server, "a") as a, plain_client(server, "b") as b:
        await a.push(a.change(NOTE, "from a", 5))
        await b.push(b.change(NOTE, "from b", 5))
        await a.until(NOTE, "from a", "from b")
        await b.until(NOTE, "from a", "from b")
        async with plain_client(server, "c") as c:
            winners = [client.winner(NOTE)["device_id"] for client in (a, b, c)]
        assert winners == ["b", "b", "b"]


async def test_a_late_change_with_a_low_timestamp_reaches_a_device_that_is_far_ahead(server: Running) -> None:
    async with plain_client(server, "a") as a, plain_client(server, "offline") as offline:
        for number in range(50):
            await a.push(a.change(f"note:{number}.md", "x", 1000 + number))
        seen = a.last_ack
        await offline.push(offline.change("note:late.md", "written long ago", 3))
        await a.until("note:late.md", "written long ago")
    async with plain_client(server, "a", last_ack=seen) as again:
        assert again.values("note:late.md") == ["written long ago"]
        assert len(again.notes) == 1


async def test_a_duplicate_is_acknowledged_again_and_delivered_once(server: Running) -> None:
    async with plain_client(server, "a") as a, plain_client(server, "b") as b:
        change = a.change(NOTE, "one", 1)
        first = await a.push(change)
        second = await a.push(change, change)
        assert "rejected" not in first
        assert "rejected" not in second
        await a.push(a.change("note:last.md", "x", 2))
        await b.until("note:last.md", "x")
        assert [change["key"] for change in b.deliveries] == [NOTE, "note:last.md"]


async def test_a_small_push_has_no_large_answer(server: Running) -> None:
    """What it says of many large notes comes in parts, and whoever sends again what was refused gets all."""
    keys = [f"note:{number:02}.md" for number in range(24)]
    async with plain_client(server, "a") as a, plain_client(server, "b") as b:
        for number, key in enumerate(keys):
            await a.push(a.change(key, "x" * 60_000, 100 + number))
            await b.until(key, "x" * 60_000)
        for client in (b, b):  # what loses on arrival, then what is a duplicate
            wanted, rounds = list(keys), 0
            while wanted:
                answer = await client.push(*(client.change(key, "old", 1) for key in wanted))
                assert len(json.dumps(answer)) < 2**20
                listed = {change["key"] for change in answer["changes"]}
                wanted, before = [refused["key"] for refused in answer.get("rejected", ())], wanted
                assert listed >= {*before} - {*wanted}
                assert len(wanted) < len(before)
                assert {refused["code"] for refused in answer.get("rejected", ())} <= {"no_room"}
                rounds += 1
            assert 3 <= rounds <= 5


async def test_deletions_are_seen_live_and_by_fresh_devices(server: Running) -> None:
    async with plain_client(server, "a") as a, plain_client(server, "b") as b:
        await a.push(a.change(NOTE, "one", 1))
        await a.push(a.change(NOTE, None, 2))
        await b.until(NOTE, None)
        await b.push(b.change("note:b.md", "x", 3))
        await b.push({**b.change("note:b.md", None, 4), "deleted": True})
        await a.until("note:b.md", None)
        async with plain_client(server, "c") as c:
            assert c.values(NOTE) == c.values("note:b.md") == [None]
            assert c.winner(NOTE)["deleted"]


async def test_a_listener_that_never_acknowledges_gets_everything_whole(server: Running) -> None:
    async with plain_client(server, "a") as a, plain_client(server, "listener") as listener:
        listener.acknowledges = False
        for start in range(0, 2000, 100):
            await a.push(*(a.change(f"note:{n}.md", f"text {n}", n + 1) for n in range(start, start + 100)))
        while len(listener.notes) < 2000:
            await listener.receive()
        assert {key: change["value"] for key, (change,) in listener.notes.items()} == {
            f"note:{n}.md": f"text {n}" for n in range(2000)
        }
        assert len(listener.deliveries) == 2000


async def test_a_fresh_device_is_told_how_much_is_still_to_come(server: Running) -> None:
    async with plain_client(server, "a") as a:
        await a.push(*(a.change(f"note:{n}.md", "x", n + 1) for n in range(1200)))
        async with plain_client(server, "b") as b:
            behind = [1200 - len(b.notes)]
            while len(b.notes) < 1200:
                message = await b.receive()
                assert message.get("behind", 0) == 1200 - len(b.notes)
                behind.append(message.get("behind", 0))
            assert behind[-1] == 0
            assert len(behind) > 2


async def test_a_device_that_lost_everything_gets_its_own_notes_back(server: Running) -> None:
    async with plain_client(server, "a") as a:
        await a.push(a.change(NOTE, "mine", 1))
    async with plain_client(server, "a") as again:
        assert again.values(NOTE) == ["mine"]


async def test_many_devices_hear_of_each_other_s_writes(server: Running) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(plain_client(server, f"d{n}")) for n in range(20)]
        for number, client in enumerate(clients):
            await client.send(client.change(f"note:{number}.md", client.device_id, number + 1))
        for client in clients:
            while len(client.notes) < 19:
                await client.receive()


# ---------------------------------------------------------------------------------------------- answers and order


async def test_answers_carry_the_push_s_id_in_order(server: Running) -> None:
    async with plain_client(server, "a") as a:
        for number in range(30):
            await a.send(a.change(NOTE, str(number), number + 1), id=number)
        ids: list[int] = []
        while len(ids) < 30:
            message = await a.receive()
            ids += [message["id"]] if "id" in message else []
        assert ids == list(range(30))


async def test_a_pure_acknowledgement_gets_no_answer(server: Running) -> None:
    async with plain_client(server, "a") as a:
        await a.send()
        await a.send(id="later")
        assert (await a.receive())["id"] == "later"


async def test_what_is_acknowledged_is_in_the_store(tmp_path: Path) -> None:
    store = MemoryStore()
    async with running_server(tmp_path, store=store) as server, plain_client(server, "a") as a:
        await a.push(a.change(NOTE, "one", 1))
        assert store.entries("main", [NOTE])[0].register.siblings[0].value == "one"


# ---------------------------------------------------------------------------------------------- bad input

BAD_CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"timestamp": -1}, "bad_timestamp"),
    ({"timestamp": 0}, "bad_timestamp"),
    ({"timestamp": 1.5}, "bad_timestamp"),
    ({"timestamp": 2**53}, "bad_timestamp"),
    ({"timestamp": 2**63}, "bad_timestamp"),
    ({"timestamp": 10**400}, "bad_timestamp"),
    ({"timestamp": "9"}, "bad_timestamp"),
    ({"timestamp": True}, "bad_timestamp"),
    ({"timestamp": None}, "bad_timestamp"),
    ({"timestamp": 2**53 - 1}, "clock_too_far"),
    ({"key": ""}, "bad_key"),
    ({"key": "a.md"}, "bad_key"),
    ({"key": "note:"}, "bad_key"),
    ({"key": "note:../a.md"}, "bad_key"),
    ({"key": "note:a/../../b.md"}, "bad_key"),
    ({"key": "note:/etc/passwd.md"}, "bad_key"),
    ({"key": "note:a\\b.md"}, "bad_key"),
    ({"key": "note:C:/a.md"}, "bad_key"),
    ({"key": "note:a\x00.md"}, "bad_key"),
    ({"key": "note:.tidenote/x.md"}, "bad_key"),
    ({"key": "note:" + "a" * 2000 + ".md"}, "bad_key"),
    ({"key": "note:picture.png"}, "bad_key"),
    ({"key": "note:e\u0301.md"}, "bad_key"),
    ({"key": 7}, "bad_key"),
    ({"key": None}, "bad_key"),
    ({"device_id": "b"}, "bad_author"),
    ({"device_id": "server"}, "bad_device"),
    ({"device_id": "server.1-0"}, "bad_device"),
    ({"device_id": ""}, "bad_device"),
    ({"device_id": "a b"}, "bad_device"),
    ({"device_id": 1}, "bad_device"),
    ({"value": 7}, "bad_value"),
    ({"value": "a\x00b"}, "bad_value"),
    ({"value": "text", "deleted": True}, "bad_value"),
    ({"value": "text", "moved_to": "note:b.md"}, "bad_value"),
    ({"value": None, "moved_to": "note:absent.md"}, "move_target_missing"),
    ({"value": None, "moved_to": "note:../x.md"}, "bad_key"),
    ({"value": "x" * (2**20 + 1)}, "value_too_large"),
    ({"base": "none"}, "bad_base"),
    ({"base": [1]}, "bad_base"),
    ({"base": [{"timestamp": 50, "device_id": "a"}]}, "bad_base"),
    ({"base": [{"timestamp": 51, "device_id": "a"}]}, "bad_base"),
    ({"base": [{"timestamp": 0, "device_id": "a"}]}, "bad_base"),
    ({"base": [{"timestamp": 1, "device_id": "a/b"}]}, "bad_base"),
    ({"base": [{"timestamp": 1, "device_id": f"d{n}"} for n in range(1001)]}, "bad_base"),
    ({"value": "", "blob": {"sha256": "x", "size": 1}}, "bad_value"),
    ({"value": "", "blob": {"sha256": "0" * 64, "size": -1}}, "bad_value"),
    ({"value": "x", "blob": {"sha256": "0" * 64, "size": 1}}, "bad_value"),
    ({"value": "", "blob": {"sha256": "0" * 64, "size": 1}}, "blob_missing"),
]


async def test_a_bad_change_is_named_and_costs_the_others_nothing(server: Running, subtests: pytest.Subtests) -> None:
    async with plain_client(server, "b") as b:
        for number, (fault, code) in enumerate(BAD_CHANGES):
            with subtests.test(str(fault)[:60]):
                async with plain_client(server, f"a{number}") as a:
                    first, last = f"note:{number}.md", f"note:{number} last.md"
                    bad = {**a.change("note:bad.md", "bad", 50), **fault}
                    answer = await a.push(a.change(first, "good", 50), bad, a.change(last, "good too", 51))
                    (rejected,) = answer["rejected"]
                    assert rejected["code"] == code
                    assert rejected["message"]
                    for name in ("key", "timestamp", "device_id"):
                        assert rejected[name] in (bad[name], None)
                await b.until(last, "good too")
                assert b.values(first) == ["good"]
        assert len(b.notes) == 2 * len(BAD_CHANGES)
        # No refused timestamp has moved the clock.
        assert b.last_ack < 1000


async def test_numbers_that_json_does_not_know_are_no_timestamps(server: Running) -> None:
    async with plain_client(server, "a") as a:
        for number in ("NaN", "Infinity", "1e400", "1e15", "01", "0x10"):
            change = json.dumps(a.change(NOTE, "x", 7)).replace("7", number)
            await a.send_raw(f'{{"type": "sync_push", "changes": [{change}], "last_ack": 0, "id": "n"}}')
            message = await a.receive()
            code = message["code"] if message["type"] == "error" else message["rejected"][0]["code"]
            assert code in ("bad_message", "bad_timestamp")
        assert "rejected" not in await a.push(a.change(NOTE, "x", 7))


async def test_a_dot_that_came_with_other_content_is_refused(server: Running) -> None:
    async with plain_client(server, "a") as a:
        await a.push(a.change(NOTE, "one", 1))
        answer = await a.push(a.change(NOTE, "two", 1), a.change("note:b.md", "x", 2))
        assert [rejected["code"] for rejected in answer["rejected"]] == ["dot_reused"]


MALFORMED: list[str | bytes] = [
    "",
    "{",
    "not json",
    "[]",
    "7",
    "null",
    '{"changes": [], "last_ack": 0}',
    '{"type": 7, "changes": [], "last_ack": 0}',
    '{"type": "sync_push"}',
    '{"type": "sync_push", "changes": {}, "last_ack": 0}',
    '{"type": "sync_push", "changes": [], "last_ack": "0"}',
    '{"type": "sync_push", "changes": [], "last_ack": -1}',
    '{"type": "sync_push", "changes": [], "last_ack": 9007199254740992}',
    '{"type": "sync_push", "changes": [], "last_ack": 1.5}',
    '{"type": "sync_push", "changes": [], "last_ack": 0, "id": []}',
    '{"type": "sync_push", "changes": [], "last_ack": 0, "epoch": 1}',
    '{"type": "sync_push", "changes": [], "last_ack": 0, "epoch": "x"}',
    '{"type": "sync_push", "changes": ' + "[" * 100_000,
    '{"type": "sync_push", "changes": ' + "[" * 5000 + "]" * 5000 + ', "last_ack": 0}',
    b'{"type": "sync_push", "changes": [], "last_ack": 0, "id": "\xff"}',
]


async def test_a_malformed_message_is_told_and_the_connection_goes_on(
    server: Running, subtests: pytest.Subtests
) -> None:
    for number, text in enumerate(MALFORMED):
        with subtests.test(str(text)[:60]):
            async with plain_client(server, f"a{number}") as a:
                await a.send_raw(text)
                message = await a.receive()
                if message["type"] == "error":
                    assert message["code"] == "bad_message"
                else:
                    assert [rejected["code"] for rejected in message["rejected"]] == ["bad_change"]
                assert "rejected" not in await a.push(a.change(NOTE, "x", 7))


async def test_unknown_types_and_fields_are_ignored(server: Running) -> None:
    async with plain_client(server, "a") as a:
        await a.send_raw('{"type": "sync_hologram", "changes": 7}')
        answer = await a.push(a.change(NOTE, "x", 1, colour="red", base=None), mood="fine")
        assert answer["type"] == "sync_ack"
        assert "rejected" not in answer


async def test_the_sixteenth_malformed_message_ends_the_connection(server: Running) -> None:
    async with plain_client(server, "a") as a:
        for _ in range(16):
            await a.send_raw("nonsense")
            assert (await a.receive())["code"] == "bad_message"
        assert await closing(a) == (1008, "bad_message")


async def test_a_message_over_the_limit_closes_the_socket(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_text_bytes=100, max_frame_bytes=300_000) as server:
        async with plain_client(server, "a") as a, plain_client(server, "b") as b:
            await a.send_raw("x" * 300_001)
            assert (await closing(a))[0] == 1009
            await b.push(b.change(NOTE, "x", 1))
        async with plain_client(server, "a") as again:
            assert again.values(NOTE) == ["x"]


# ---------------------------------------------------------------------------------------------- who waits for whom


async def test_a_device_that_reads_nothing_holds_up_nobody_and_is_closed(tmp_path: Path) -> None:
    async with running_server(tmp_path, write_timeout_ms=500) as server:
        async with plain_client(server, "a") as a, plain_client(server, "b") as b:
            async with plain_client(server, "zombie", max_queue=1) as zombie:
                text = "x" * 500_000
                for number in range(60):
                    await a.push(a.change(f"note:{number}.md", text, number + 1))
                    await b.until(f"note:{number}.md", text)
                    if len(server.service.connections) < 3:
                        break
                while len(server.service.connections) > 2:
                    await a.push()
                await everything(zombie)
            received = len(b.notes)
        async with plain_client(server, "zombie") as again:
            while len(again.notes) < received:
                await again.receive()


async def test_a_client_that_reads_no_answers_is_not_read_for_ever(tmp_path: Path) -> None:
    async with running_server(tmp_path, write_timeout_ms=500) as server, plain_client(server, "other") as other:
        async with plain_client(server, "a", max_queue=1) as a:
            for start in range(0, 300, 50):
                await other.push(
                    *(other.change(f"note:{n}.md", "x" * 100_000, n + 1) for n in range(start, start + 50))
                )
            with suppress(ConnectionClosed):
                for number in itertools.count(1):
                    await a.send(a.change(NOTE, "y" * 10_000, number), id=number)
        assert other.values("note:49.md") == []
        assert "rejected" not in await other.push(other.change("note:z.md", "x", 1))


class HeldStore(MemoryStore):
    """A store whose disk takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()

    def take_in(self, *arguments: Any, **named: Any) -> Batch:
        assert self.goes_on.wait(PATIENCE_S)
        return super().take_in(*arguments, **named)


async def test_a_connection_has_a_bounded_number_of_pushes_under_way(tmp_path: Path) -> None:
    store = HeldStore()
    async with (
        running_server(tmp_path, store=store) as server,
        plain_client(server, "a") as a,
        httpx.AsyncClient(base_url=server.http_url) as http,
    ):
        for number in range(100):
            await a.send(a.change(NOTE, str(number), number + 1), id=number)
        for _ in range(50):
            # Every answer gives the server time to read more, if it would.
            assert (await http.get("/health")).status_code == 200
        connections: Any = server.service.connections
        waiting = connections._newest["main", "a"]._session.waiting
        store.goes_on.set()
        assert waiting == MAX_WAITING_PUSHES
        while (await a.receive()).get("id") != 99:
            pass


class HungSocket:
    """A connection's socket whose peer reads nothing until it is let go on."""

    def __init__(self, connection: Any) -> None:
        self._socket: Socket = connection._socket
        self.hangs = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.has_heard = asyncio.Event()
        """Whether a message was read and done with."""

    async def receive(self) -> bytes | str | None:
        self.has_heard.set()
        return await self._socket.receive()

    async def send(self, message: bytes) -> None:
        self.hangs.set()
        await self.goes_on.wait()
        await self._socket.send(message)

    async def close(self, code: int, reason: str) -> None:
        await self._socket.close(code, reason)


async def hang(server: Running, device_id: str) -> tuple[Any, HungSocket]:
    """Let a connection wait for its peer to read; return both."""
    connections: Any = server.service.connections
    connection = connections._newest["main", device_id]
    connection._socket = hung = HungSocket(connection)
    connection.notice("devices")
    await hung.hangs.wait()
    return connection, hung


async def test_everyone_s_access_ends_though_one_of_them_is_being_given_up(server: Running) -> None:
    """The time to read a message is over, and what waits for that has not heard of it yet."""
    connections = server.service.connections
    async with plain_client(server, "a") as a, plain_client(server, "b"):
        connection, _ = await hang(server, "b")
        connection._sending.reschedule(0)
        await asyncio.sleep(0)
        assert connection._sending.expired()
        connections.expel(connections.credentials)
        assert (await a.receive())["code"] == "unauthorized"
        assert await closing(a) == (1008, "unauthorized")


async def test_a_device_that_was_sent_away_is_remembered_for_no_last_word(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "GOODBYE_S", PATIENCE_S)
    hub = server.service.hub("main")
    async with plain_client(server, "a") as a:
        connection, hung = await hang(server, "a")
        assert [device.device_id for device in await hub.devices()] == ["a"]
        connection.expel()
        await hub.forget_device("a")
        await a.send()
        await hung.has_heard.wait()
        assert await hub.devices() == []
        hung.goes_on.set()


async def test_the_newest_connection_of_a_device_wins(server: Running) -> None:
    async with plain_client(server, "a") as old, plain_client(server, "a") as new:
        message = await old.receive()
        assert (message["type"], message["code"]) == ("error", "replaced")
        assert await closing(old) == (1013, "replaced")
        assert "rejected" not in await new.push(new.change(NOTE, "x", 1))
        assert len(server.service.connections) == 1


async def test_who_is_replaced_hears_by_which_connection(server: Running) -> None:
    for query, nonce in (("&nonce=its.name", "its.name"), ("", None)):
        async with plain_client(server, "a") as old, plain_client(server, "a", query=query):
            assert (await old.receive()).get("nonce") == nonce
    with pytest.raises(InvalidStatus) as refused:
        async with plain_client(server, "a", query=f"&nonce={'x' * 65}"):
            pass
    assert json.loads(refused.value.response.body or b"")["code"] == "bad_request"


async def test_other_incarnations_and_vaults_of_a_device_do_not_replace_it(server: Running) -> None:
    await server.service.create_vault("work")
    async with (
        plain_client(server, "a") as a,
        plain_client(server, "a~2") as clone,
        plain_client(server, "a", query="&vault=work") as elsewhere,
    ):
        await clone.push(clone.change(NOTE, "by the clone", 1))
        await a.until(NOTE, "by the clone")
        await elsewhere.push(elsewhere.change(NOTE, "work", 1))
        assert elsewhere.values(NOTE) == []
        assert a.values(NOTE) == ["by the clone"]


async def test_a_lost_publication_costs_time_only(tmp_path: Path) -> None:
    async with running_server(tmp_path, head_poll_ms=50) as server, plain_client(server, "b") as b:
        await deafen(server, "b")
        async with plain_client(server, "a") as a:
            await a.push(a.change(NOTE, "unheard", 1))
        await b.until(NOTE, "unheard")


async def deafen(server: Running, device_id: str) -> None:
    """Let a connection miss everything that is published from now on."""
    connections: Any = server.service.connections
    connections._newest["main", device_id]._news.close()


# ---------------------------------------------------------------------------------------------- generations


async def test_an_unknown_epoch_and_a_cursor_from_the_future_need_a_resync(server: Running) -> None:
    for query in ({"epoch": "1-00000000"}, {"last_ack": 10**9}):
        async with plain_client(server, "a") as a:
            message = await a.push(**query)
            assert (message["type"], message["code"]) == ("error", "resync_required")
            assert message["epoch"] == server.service.hub("main").epoch
            assert (await closing(a))[0] == 1008


async def test_a_cursor_ahead_of_a_restored_log_begins_a_generation_for_everyone(tmp_path: Path) -> None:
    store = MemoryStore()
    async with running_server(tmp_path, store=store) as server, plain_client(server, "a") as a:
        await a.push(a.change(NOTE, "x", 1))
        backup = store.copy()
        await a.push(a.change(NOTE, "y", 2))
        epoch, cursor = (await a.push())["epoch"], a.last_ack

    async with running_server(tmp_path, store=backup) as server, plain_client(server, "b") as b:
        async with plain_client(server, "c") as c:
            message = await c.push(epoch=epoch, last_ack=cursor)
            assert message["code"] == "resync_required"
            assert message["epoch"].startswith("2-")
            told = await b.receive()
            assert (told["code"], told["epoch"]) == ("resync_required", message["epoch"])
        async with plain_client(server, "d") as d:
            answer = await d.push(epoch=message["epoch"])
            assert answer["type"] == "sync_ack"
            assert answer["ack_timestamp"] > 2**32


async def test_a_client_of_a_later_generation_fences_the_server(server: Running) -> None:
    async with plain_client(server, "a") as a:
        async with plain_client(server, "b") as b:
            assert (await b.push(epoch="9-00000000"))["code"] == "resync_required"
        answer = await a.push(a.change(NOTE, "x", 1))
        assert [rejected["code"] for rejected in answer["rejected"]] == ["fenced"]


async def test_a_reader_is_not_believed_about_generations(tmp_path: Path) -> None:
    async with running_server(tmp_path, no_auth=False) as server:
        headers = bearer(await enrol(server, "kiosk", role="reader"))
        epoch = server.service.hub("main").epoch
        for claim in ({"epoch": "9-00000000"}, {"epoch": epoch, "last_ack": 10**9}):
            async with plain_client(server, "kiosk", additional_headers=headers) as kiosk:
                assert (await kiosk.push(**claim))["code"] == "resync_required"
        assert server.service.hub("main").epoch == epoch
        assert server.service.hub("main").info.fenced_by is None


# ---------------------------------------------------------------------------------------------- the end


async def test_a_stopping_server_answers_what_it_read_then_says_so(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        async with running_server(tmp_path) as server:
            clients = [await stack.enter_async_context(plain_client(server, f"d{n}")) for n in range(5)]
            for client in clients:
                await client.push(client.change(f"note:{client.device_id}.md", "x", 1))
        for client in clients:
            messages = await everything(client)
            assert messages[-1]["code"] == "server_stopping"
            assert await closing(client) == (1012, "server_stopping")
    async with running_server(tmp_path) as server, plain_client(server, "fresh") as fresh:
        assert len(fresh.notes) == 5


async def test_what_was_acknowledged_while_the_server_stopped_is_there_afterwards(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    enough = asyncio.Event()

    async def write(client: PlainClient) -> None:
        for number in range(100_000):
            key = f"note:{client.device_id}-{number}.md"
            message = await client.push(client.change(key, "x", number + 1))
            if message["type"] == "error":
                assert message["code"] == "server_stopping"
                return
            assert "rejected" not in message
            acknowledged.add(key)
            if len(acknowledged) == 50:
                enough.set()

    async with AsyncExitStack() as stack:
        async with running_server(tmp_path) as server:
            clients = [await stack.enter_async_context(plain_client(server, f"d{n}")) for n in range(4)]
            writers = [asyncio.create_task(write(client)) for client in clients]
            await enough.wait()
        await asyncio.gather(*writers)
    async with running_server(tmp_path) as server, plain_client(server, "fresh") as fresh:
        while fresh.last_ack < server.service.hub("main").clock:
            await fresh.receive()
        assert acknowledged <= set(fresh.notes)


async def everything(client: PlainClient) -> list[Message]:
    """Return what still arrives before the connection is closed."""
    messages: list[Message] = []
    try:
        while True:
            messages.append(await client.receive())
    except ConnectionClosed:
        return messages


async def closing(client: PlainClient) -> tuple[int | None, str]:
    """Return how the server closed the connection, after nothing else arrived."""
    assert await everything(client) == []
    return client.socket.close_code, client.socket.close_reason or ""


async def test_a_push_of_too_many_changes_ends_its_connection_and_nobody_elses(server: Running) -> None:
    async with plain_client(server, "a") as a, plain_client(server, "b") as b:
        await a.send_raw('{"type":"sync_push","last_ack":0,"changes":[' + ",".join(["{}"] * 500_000) + "]}")
        assert (await a.receive())["code"] == "message_too_large"
        await b.push(b.change(NOTE, "x", 1))
    body = {"type": "sync_push", "changes": [{}] * 20_001, "last_ack": 0}
    async with httpx.AsyncClient(base_url=server.http_url, timeout=PATIENCE_S) as http:
        refused = await http.post("/api/v1/sync", params={"device_id": "c"}, json=body)
    assert (refused.status_code, refused.json()["code"]) == (413, "message_too_large")
