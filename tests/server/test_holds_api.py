"""Holds over REST and real sockets: devices report, people decide, devices hear of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.running import PATIENCE_S, bearer, enrol, plain_client, running_server
from tidenote.server.holds import KEPT_MS, MAX_REPORTS, Holdings
from tidenote.server.serve import Running
from tidenote.wire.messages import DecidedHold, WireHold

pytestmark = pytest.mark.anyio

HOLD = {"kind": "delete_out", "keys": ["note:a.md", "note:b.md"], "count": 12, "since": 5}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_server(tmp_path) as running:
        yield running


@pytest.fixture
async def http(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.http_url, timeout=PATIENCE_S) as client:
        yield client


async def report(http: httpx.AsyncClient, device_id: str, *holds: object) -> Any:
    answer = await http.put("/api/v1/holds", params={"device_id": device_id}, json={"holds": holds})
    return answer.json()["decisions"] if answer.status_code == 200 else answer.json()["code"]


async def decide(http: httpx.AsyncClient, device_id: str, decision: str = "confirm", kind: str = "delete_out") -> Any:
    body = {"device_id": device_id, "kind": kind, "decision": decision}
    answer = await http.post("/api/v1/holds/decide", json=body)
    return answer.json().get("code", answer.status_code)


async def listed(http: httpx.AsyncClient) -> Any:
    return (await http.get("/api/v1/holds")).json()["holds"]


async def test_what_a_device_holds_is_listed_until_it_says_otherwise(http: httpx.AsyncClient) -> None:
    assert await report(http, "laptop", HOLD) == []
    assert await report(http, "desk", {**HOLD, "kind": "quarantine"}) == []
    assert await listed(http) == [{"device_id": "desk", **HOLD, "kind": "quarantine"}, {"device_id": "laptop", **HOLD}]
    assert "tidenote_holds 2.0" in (await http.get("/metrics")).text
    assert await report(http, "desk") == []
    assert await listed(http) == [{"device_id": "laptop", **HOLD}]


@pytest.mark.parametrize("decision", ["confirm", "refuse"])
async def test_a_decision_is_told_until_what_it_was_about_is_gone(http: httpx.AsyncClient, decision: str) -> None:
    await report(http, "laptop", HOLD)
    assert await decide(http, "laptop", decision) == 200
    assert (await listed(http))[0]["decision"] == decision
    told = [{"kind": "delete_out", "decision": decision}]
    # An answer may get lost; and a device that restarts holds the same since a later time.
    assert await report(http, "laptop", HOLD) == told
    assert await report(http, "laptop", {**HOLD, "since": 99}) == told
    assert await report(http, "laptop") == []
    assert await report(http, "laptop", HOLD) == [], "it is another hold now"


async def test_a_decision_about_something_else_than_is_held_now_is_void(http: httpx.AsyncClient) -> None:
    await report(http, "laptop", HOLD)
    await decide(http, "laptop")
    assert await report(http, "laptop", {**HOLD, "count": 500}) == []
    assert await report(http, "laptop", HOLD) == []


async def test_everyone_who_is_connected_is_told_to_look_again(server: Running, http: httpx.AsyncClient) -> None:
    async with plain_client(server, "laptop") as laptop, plain_client(server, "phone") as phone:
        for happens in (report(http, "laptop", HOLD), decide(http, "laptop"), report(http, "laptop")):
            await happens
            for device in (laptop, phone):
                assert await device.receive() == {"type": "notice", "topic": "holds"}
        # Nothing new is no news, and other vaults hear nothing.
        await server.service.create_vault("work")
        await report(http, "laptop")
        await http.put("/api/v1/holds", params={"device_id": "laptop", "vault": "work"}, json={"holds": [HOLD]})
        assert (await laptop.push())["id"] == "q"
        assert await listed(http) == []


async def test_a_restarted_server_hears_it_again(tmp_path: Path) -> None:
    for _ in range(2):
        async with running_server(tmp_path) as server, httpx.AsyncClient(base_url=server.http_url) as http:
            assert await listed(http) == []
            await report(http, "laptop", HOLD)
            assert len(await listed(http)) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "other"},
        {"keys": ["note:../a.md"]},
        {"keys": ["nothing"]},
        {"keys": [f"note:{number}.md" for number in range(1001)], "count": 2000},
        {"count": 1},
        {"since": -1},
        {"since": "now"},
    ],
)
async def test_a_malformed_hold_is_refused(http: httpx.AsyncClient, wrong: dict[str, object]) -> None:
    assert await report(http, "laptop", {**HOLD, **wrong}) in ("bad_request", "bad_message")
    assert await listed(http) == []


async def test_deciding_about_nothing_is_not_found(http: httpx.AsyncClient) -> None:
    assert await decide(http, "laptop") == "not_found"
    await report(http, "laptop", HOLD)
    assert await decide(http, "laptop", kind="delete_in") == "not_found"
    assert await decide(http, "laptop", "perhaps") == "bad_message"


async def test_who_may_report_and_decide(tmp_path: Path) -> None:
    async with running_server(tmp_path, no_auth=False) as server, httpx.AsyncClient(base_url=server.http_url) as http:
        owner = await enrol(server, "owner", role="owner")
        laptop, phone = await enrol(server, "laptop"), await enrol(server, "phone")
        reader = await enrol(server, "kitchen", role="reader")

        def as_(token: str) -> httpx.AsyncClient:
            http.headers["authorization"] = f"Bearer {token}"
            return http

        assert await report(as_(phone), "laptop", HOLD) == "forbidden"
        assert await report(as_(laptop), "laptop~2", HOLD) == []
        assert await report(as_(reader), "kitchen", HOLD) == []
        assert len(await listed(as_(reader))) == 2
        assert await decide(as_(phone), "laptop~2") == "forbidden"
        assert await decide(as_(reader), "kitchen") == "read_only"
        assert await decide(as_(laptop), "laptop~2") == 200
        assert await decide(as_(owner), "kitchen") == 200


async def test_what_a_revoked_device_holds_is_forgotten(tmp_path: Path) -> None:
    async with running_server(tmp_path, no_auth=False) as server, httpx.AsyncClient(base_url=server.http_url) as http:
        owner, laptop = await enrol(server, "owner", role="owner"), await enrol(server, "laptop")
        phone = await enrol(server, "phone")
        for token, device in ((laptop, "laptop~2"), (phone, "phone")):
            http.headers.update(bearer(token))
            await report(http, device, HOLD)
        http.headers.update(bearer(owner))
        async with plain_client(server, "owner", additional_headers=bearer(owner)) as watching:
            revoked = await http.post("/api/v1/devices/revoke", json={"device_id": "laptop"})
            assert revoked.status_code == 200
            assert [(await watching.receive())["topic"] for _ in range(2)] == ["devices", "holds"]
        assert [held["device_id"] for held in await listed(http)] == ["phone"]
        assert await decide(http, "laptop~2") == "not_found"
        assert "tidenote_holds 1.0" in (await http.get("/metrics")).text


def test_reports_are_kept_for_a_while_and_not_without_end() -> None:
    holdings = Holdings()
    hold = WireHold("delete_in", ["note:a.md"], 1, 1)
    holdings.report("main", "old", [hold], 0)
    holdings.report("main", "new", [hold], 1)
    assert holdings.count(KEPT_MS) == 2
    assert holdings.count(KEPT_MS + 1) == 1
    assert [held.device_id for held in holdings.of("main", KEPT_MS + 1)] == ["new"]
    for number in range(MAX_REPORTS):
        holdings.report("main", f"d{number}", [hold], 2)
    assert holdings.count(3) == MAX_REPORTS
    holdings.decide("main", "d0", "delete_in", "refuse")
    assert holdings.report("main", "d0", [hold], 3) == [DecidedHold("delete_in", "refuse")]
