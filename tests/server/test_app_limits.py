"""What one device or one address may take, over real sockets."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from server.running import PATIENCE_S, bearer, enrol, plain_client, running_server
from tidenote.server.limits import Paces
from tidenote.server.serve import Running

pytestmark = pytest.mark.anyio


async def answers(server: Running) -> tuple[int, str | None]:
    """Return what somebody gets who comes with a connection of their own: the status, and the code of an error."""
    async with httpx.AsyncClient(base_url=server.http_url, timeout=PATIENCE_S) as http:
        answer = await http.get("/health")
        return answer.status_code, answer.json().get("code")


def counted(server: Running, name: str, **labels: str) -> float:
    """Return what a metric says."""
    return server.service.metrics.registry.get_sample_value(name, labels) or 0.0


async def refused(server: Running, device_id: str, **headers: str) -> bool:
    """Say whether a device is refused because there are too many connections."""
    try:
        async with connect(f"{server.endpoint}?device_id={device_id}", additional_headers=headers):
            return False
    except InvalidStatus as error:
        return error.response.status_code == 503 and b'"overloaded"' in error.response.body


async def test_h5_one_address_has_its_share_of_connections(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, max_connections_per_address=2, trusted_proxies="192.0.2.1") as server,
        plain_client(server, "a"),
        plain_client(server, "b"),
    ):
        assert await refused(server, "c")
        assert await refused(server, "c", **{"X-Forwarded-For": "192.0.2.7"}), "nobody vouches for that"


async def test_h5_who_opens_connections_and_says_nothing_leaves_room_for_others(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_connections_per_address=2, trusted_proxies="192.0.2.1") as server:
        silent = [await asyncio.open_connection(server.host, server.port) for _ in range(2)]
        assert await answers(server) == (503, "overloaded")
        silent.pop()[1].close()
        # As soon as the server has noticed that one is gone.
        while await answers(server) != (200, None):
            pass
        silent.pop()[1].close()
        assert counted(server, "tidenote_cut_total", reason="too_many") > 0


async def test_h5_all_addresses_together_leave_room_for_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with (
        running_server(tmp_path, max_http_connections=2) as server,
        plain_client(server, "a"),
        plain_client(server, "b"),
    ):
        # Those two came as requests, and are none any more.
        silent = [await asyncio.open_connection(server.host, server.port) for _ in range(2)]
        assert [await answers(server) for _ in range(2)] == [(503, "overloaded")] * 2
        for _, writer in silent:
            writer.close()
        while await answers(server) != (200, None):
            pass
    assert [record.message for record in caplog.records if "more connections than may be" in record.message] == [
        "there are more connections than may be: see max_http_connections and its neighbours"
    ], "once, not for each"


async def test_every_refusal_is_counted(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, no_auth=False, max_text_bytes=100, max_frame_bytes=300_000) as server,
        httpx.AsyncClient(base_url=server.http_url, timeout=PATIENCE_S) as http,
    ):
        token = bearer(await enrol(server, "a"))
        await http.get("/api/v1/vaults")
        with suppress(InvalidStatus):
            await connect(f"{server.endpoint}?device_id=a")
        await http.get("/api/v1/blobs/00", headers=token)
        await http.get("/api/v1/nothing", headers=token)
        await http.post("/api/v1/sync?device_id=a", content=b"x" * 300_001, headers=token)
        async with connect(f"{server.endpoint}?device_id=a", additional_headers=token) as socket:
            await socket.send("x" * 300_001)
            with suppress(ConnectionClosed):
                await socket.recv()
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"GET / HTTP/1.1\r\nX: " + b"x" * 200_000)
        await reader.read()
        writer.close()

        def errors(code: str) -> float:
            return counted(server, "tidenote_errors_total", code=code)

        assert (errors("unauthorized"), errors("bad_request")) == (2, 1)
        assert (errors("not_found"), errors("message_too_large")) == (1, 1)
        reasons = ("large_message", "large_head", "too_many")
        assert [counted(server, "tidenote_cut_total", reason=reason) for reason in reasons] == [1, 1, 0]


async def test_changes_that_are_refused_count_as_changes(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        server.service.paces = Paces(40, 5, lambda: 0.0)
        async with plain_client(server, "a") as a:
            answer = await a.push(*[{}] * 20)
            assert len(answer["rejected"]) == 20
            await a.push()
        assert counted(server, "tidenote_slowed_total") > 0
        slowed = counted(server, "tidenote_slowed_total")
        async with httpx.AsyncClient(base_url=server.http_url, timeout=PATIENCE_S) as http:
            push = {"type": "sync_push", "changes": [{}] * 20, "last_ack": 0}
            answer = (await http.post("/api/v1/sync", params={"device_id": "b"}, json=push)).json()
            assert len(answer["rejected"]) == 20
        assert counted(server, "tidenote_slowed_total") > slowed


async def test_a_push_of_too_many_changes_is_refused_as_a_whole(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_push_changes=501) as server:
        async with plain_client(server, "a") as a:
            changes = [a.change(f"note:{number}.md", "", number) for number in range(1, 503)]
            assert "rejected" not in await a.push(*changes[:501])
        async with connect(f"{server.endpoint}?device_id=b") as socket:
            changes = [change | {"device_id": "b"} for change in changes]
            await socket.send(json.dumps({"type": "sync_push", "changes": changes, "last_ack": 0}))
            assert json.loads(await socket.recv())["code"] == "message_too_large"
        assert server.service.hub("main").clock < 600


async def test_h5_one_device_has_its_share_of_connections(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, max_connections_per_device=2) as server,
        plain_client(server, "a"),
        plain_client(server, "a~2"),
    ):
        assert await refused(server, "a~3")
        assert not await refused(server, "b")


async def test_a_trusted_proxy_says_whose_connection_it_is(tmp_path: Path) -> None:
    async with running_server(tmp_path, max_connections_per_address=1, trusted_proxies="127.0.0.0/8") as server:
        first, second = ({"X-Forwarded-For": address} for address in ("192.0.2.7", "192.0.2.8"))
        async with connect(f"{server.endpoint}?device_id=a", additional_headers=first):
            assert await refused(server, "b", **first)
            assert not await refused(server, "b", **second)


async def test_a_flood_whose_answers_to_pings_wait_behind_it_is_not_cut_off(tmp_path: Path) -> None:
    slow = {"max_changes_per_second": 50, "max_changes_burst": 1}
    config: dict[str, Any] = {"heartbeat_interval_ms": 50, "heartbeat_timeout_ms": 50, **slow}
    async with (
        running_server(tmp_path, **config) as server,
        plain_client(server, "a", ping_interval=None) as a,
    ):
        for number in range(1, 51):
            await a.send(a.change(f"note:{number}.md", "text", number))
        await a.until("note:50.md")


async def test_a_flood_of_changes_is_read_later_and_none_is_lost(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        # By a clock that stands still: they are too many however long this machine takes.
        server.service.paces = Paces(40, 5, lambda: 0.0)
        async with plain_client(server, "a") as a, plain_client(server, "b") as b:
            for number in range(1, 11):
                await a.send(a.change(f"note:{number}.md", "text", number), a.change(f"note:x{number}.md", "", number))
            await a.until("note:10.md")
            await b.until("note:x10.md", "")
            assert len(b.notes) == 20
        assert b"tidenote_slowed_total 0.0" not in server.service.metrics.render()
        async with httpx.AsyncClient(base_url=server.http_url) as http:
            changes = [
                {"key": f"note:y{number}.md", "value": "", "timestamp": 50, "device_id": "c"} for number in range(10)
            ]
            push = {"type": "sync_push", "changes": changes, "last_ack": 0}
            answer = await http.post("/api/v1/sync", params={"device_id": "c"}, json=push, timeout=PATIENCE_S)
            assert answer.status_code == 200


async def test_h4_who_connects_and_never_begins_is_closed_however_chatty(tmp_path: Path) -> None:
    async with running_server(tmp_path, request_timeout_ms=200, head_poll_ms=50) as server:
        for chatty in (False, True):
            async with connect(f"{server.endpoint}?device_id=a") as socket, asyncio.timeout(PATIENCE_S):
                with suppress(ConnectionClosed):
                    while chatty:
                        await socket.send('{"type": "something_else"}')
                        with suppress(TimeoutError):
                            await asyncio.wait_for(socket.recv(), 0.01)
                    await socket.recv()
                assert socket.close_code == 1013
                assert socket.close_reason == "too_slow"
