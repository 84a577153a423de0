"""Conflicts over REST and real sockets: list, look, settle, confirm, re-open; and what happens meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.running import PATIENCE_S, Message, PlainClient, enrol, plain_client, running_server
from tidenote.errors import CODES
from tidenote.server.serve import Running

pytestmark = pytest.mark.anyio

NOTE = "note:daily/a.md"
OTHER = "note:daily/a (2).md"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_server(tmp_path) as running:
        yield running


@pytest.fixture
async def http(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.http_url, timeout=PATIENCE_S) as client:
        yield client


def dot(timestamp: int, device_id: str) -> Message:
    return {"timestamp": timestamp, "device_id": device_id}


async def push(http: httpx.AsyncClient, device: str, value: str | None, timestamp: int, **more: Any) -> None:
    change = {"key": NOTE, "value": value, "timestamp": timestamp, "device_id": device, **more}
    body = {"type": "sync_push", "changes": [change], "last_ack": 0}
    answer = (await http.post("/api/v1/sync", params={"device_id": device}, json=body)).json()
    assert "rejected" not in answer, answer


async def siblings_conflict(http: httpx.AsyncClient) -> list[Message]:
    """Make two daily notes that nothing can merge, and return their dots."""
    await push(http, "laptop", "met Ada\n", 1, base=[])
    await push(http, "phone", "call Bob\n", 1, base=[])
    return [dot(1, "laptop"), dot(1, "phone")]


async def merged_conflict(http: httpx.AsyncClient) -> Message:
    """Make a merge that wants a look, by edits at equal times, and return the details."""
    await push(http, "laptop", "one\n\ntwo\n", 1, base=[])
    await push(http, "laptop", "ONE\n\ntwo\n", 5, base=[dot(1, "laptop")])
    await push(http, "phone", "one\n\nTWO\n", 5, base=[dot(1, "laptop")])
    return await one(http)


async def listed(http: httpx.AsyncClient, **params: Any) -> list[Message]:
    response = await http.get("/api/v1/conflicts", params=params)
    assert response.status_code == 200, response.text
    found: list[Message] = response.json()["conflicts"]
    return found


async def one(http: httpx.AsyncClient, key: str = NOTE) -> Message:
    response = await http.get("/api/v1/conflicts/one", params={"key": key})
    assert response.status_code == 200, response.text
    found: Message = response.json()
    return found


async def resolve(http: httpx.AsyncClient, siblings: list[Message], key: str = NOTE, **choice: Any) -> list[Message]:
    body = {"key": key, "siblings": siblings, "choice": choice}
    response = await http.post("/api/v1/conflicts/resolve", json=body)
    assert response.status_code == 200, response.text
    changes: list[Message] = response.json()["changes"]
    return changes


async def refusal(http: httpx.AsyncClient, path: str, **body: Any) -> str:
    response = await http.post(f"/api/v1/conflicts/{path}", json=body)
    code: str = response.json()["code"]
    assert response.status_code == CODES[code].http_status
    return code


async def shown(http: httpx.AsyncClient, *keys: str) -> dict[str, list[str | None]]:
    changes = (await http.post("/api/v1/fetch", json={"keys": keys or [NOTE]})).json()["changes"]
    found: dict[str, list[str | None]] = {}
    for change in changes:
        found.setdefault(change["key"], []).append(change["value"])
    return found


# -- looking


async def test_no_conflict_is_an_empty_list_and_not_found(http: httpx.AsyncClient) -> None:
    await push(http, "laptop", "one\n", 1, base=[])
    assert await listed(http) == []
    for key in (NOTE, "note:none.md"):
        response = await http.get("/api/v1/conflicts/one", params={"key": key})
        assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_two_notes_of_one_name_are_listed_and_shown(http: httpx.AsyncClient) -> None:
    seen = await siblings_conflict(http)
    (entry,) = await listed(http)
    assert entry["since"] > 1_600_000_000_000
    assert {**entry, "since": 0} == {
        "key": NOTE,
        "kind": "siblings",
        "siblings": seen,
        "authors": ["laptop", "phone"],
        "since": 0,
    }
    found = await one(http)
    assert [source["value"] for source in found["sources"]] == ["met Ada\n", "call Bob\n"]
    assert found["siblings"] == seen
    assert "base" not in found
    assert found["proposal"] == "met Ada\ncall Bob\n"


async def test_texts_without_a_known_base_are_proposed_with_what_they_share_once(http: httpx.AsyncClient) -> None:
    shared = "\n".join(["| a thing | a price |", "", "<br>", ""] * 3)
    await push(http, "laptop", f"met Ada\n{shared}\nread on\n", 5, base=[])
    await push(http, "phone", f"call Bob\n{shared}\nwrite up\n", 5, base=[])
    found = await one(http)
    assert "base" not in found
    assert found["proposal"] == f"met Ada\ncall Bob\n{shared}\nread on\nwrite up\n"


async def test_edits_that_cannot_be_one_are_shown_with_base_and_spots(http: httpx.AsyncClient) -> None:
    await push(http, "laptop", "meet at five\n", 1, base=[])
    await push(http, "laptop", "meet at six\n", 5, base=[dot(1, "laptop")])
    await push(http, "phone", "meet at seven\n", 5, base=[dot(1, "laptop")])
    found = await one(http)
    assert (found["kind"], found["base"]["value"]) == ("siblings", "meet at five\n")
    (spot,) = found["spots"]
    assert (spot["first"], spot["base"], spot["second"]) == ("meet at six", "meet at five", "meet at seven")
    lines = found["merged"].split("\n")[spot["start"] : spot["end"]]
    assert lines == ["meet at six", "meet at seven"]
    assert found["proposal"] == found["merged"]


async def test_a_merge_to_look_at_is_shown_with_what_was_merged_also_after_later_edits(http: httpx.AsyncClient) -> None:
    found = await merged_conflict(http)
    assert (found["kind"], found["proposal"]) == ("merged", "ONE\n\nTWO\n")
    assert [source["value"] for source in found["sources"]] == ["ONE\n\ntwo\n", "one\n\nTWO\n"]
    assert found["base"]["value"] == "one\n\ntwo\n"
    (merge,) = found["siblings"]
    await push(http, "phone", "edited\n", merge["timestamp"] + 5, base=[merge])
    again = await one(http)
    assert again["proposal"] == "edited\n"
    assert again["merged"] == "ONE\n\nTWO\n"
    assert again["sources"] == found["sources"]
    assert again["since"] == found["since"]
    (entry,) = await listed(http)
    assert (entry["kind"], entry["authors"]) == ("merged", ["laptop", "phone"])


async def test_the_list_comes_in_pages(http: httpx.AsyncClient) -> None:
    for number in range(5):
        for device in ("a", "b"):
            await push(http, device, f"by {device}", 1, base=[], key=f"note:{number}.md")
    first = (await http.get("/api/v1/conflicts", params={"limit": 3})).json()
    assert [entry["key"] for entry in first["conflicts"]] == ["note:0.md", "note:1.md", "note:2.md"]
    rest = (await http.get("/api/v1/conflicts", params={"limit": 3, "after": first["next"]})).json()
    assert [entry["key"] for entry in rest["conflicts"]] == ["note:3.md", "note:4.md"]
    assert "next" not in rest


# -- settling


@pytest.mark.parametrize(
    ("choice", "values"),
    [
        ({"keep": dot(1, "laptop")}, {NOTE: ["met Ada\n"]}),
        ({"keep": dot(1, "phone")}, {NOTE: ["call Bob\n"]}),
        ({"text": "met Ada, call Bob\n"}, {NOTE: ["met Ada, call Bob\n"]}),
        ({"text": ""}, {NOTE: [""]}),
        ({"keep_both": {}}, {NOTE: ["call Bob\n"], OTHER: ["met Ada\n"]}),
        ({"keep_both": {"as": "note:met.md"}}, {NOTE: ["call Bob\n"], "note:met.md": ["met Ada\n"]}),
    ],
)
async def test_each_choice_leaves_one_version_on_every_device(
    server: Running, http: httpx.AsyncClient, choice: Message, values: dict[str, list[str]]
) -> None:
    seen = await siblings_conflict(http)
    async with plain_client(server, "tablet") as tablet, plain_client(server, "desk") as desk:
        assert sorted(map(str, tablet.values(NOTE))) == ["call Bob\n", "met Ada\n"]
        changes = await resolve(http, seen, **choice)
        assert {change["key"]: [change["value"]] for change in changes} == values
        for device in (tablet, desk):
            for key, texts in values.items():
                await device.until(key, *texts)
        settled = tablet.winner(NOTE)
        assert settled["device_id"].startswith("server.")
        assert settled["base"] == seen
        assert "conflict" not in settled
    assert await listed(http) == []
    assert await shown(http, *values) == values


async def test_a_name_that_is_taken_is_passed_over_and_not_given(http: httpx.AsyncClient) -> None:
    await push(http, "laptop", "something else", 1, base=[], key=OTHER)
    seen = await siblings_conflict(http)
    body = {"key": NOTE, "siblings": seen}
    for bad in (OTHER, NOTE, "note:other.png", "note:/x.md"):
        code = await refusal(http, "resolve", **body, choice={"keep_both": {"as": bad}})
        assert code in ("bad_request", "bad_key")
    await resolve(http, seen, keep_both={})
    assert await shown(http, "note:daily/a (3).md", OTHER) == {
        "note:daily/a (3).md": ["met Ada\n"],
        OTHER: ["something else"],
    }


async def test_of_two_notes_with_the_longest_name_each_is_kept(http: httpx.AsyncClient) -> None:
    longest = f"note:{'漢' * 84}.md"
    for device in ("laptop", "phone"):
        await push(http, device, f"of the {device}\n", 1, base=[], key=longest)
    await resolve(http, [dot(1, "laptop"), dot(1, "phone")], key=longest, keep_both={})
    beside = f"note:{'漢' * 82} (2).md"
    assert await shown(http, longest, beside) == {longest: ["of the phone\n"], beside: ["of the laptop\n"]}


async def test_of_three_versions_each_is_kept(http: httpx.AsyncClient) -> None:
    await siblings_conflict(http)
    await push(http, "tablet", "read on\n", 1, base=[])
    found = await one(http)
    assert found["proposal"] == "met Ada\ncall Bob\nread on\n"
    assert await refusal(
        http, "resolve", key=NOTE, siblings=found["siblings"], choice={"keep_both": {"as": "note:x.md"}}
    ) == ("bad_request")
    await resolve(http, found["siblings"], keep_both={})
    keys = (NOTE, OTHER, "note:daily/a (3).md")
    assert await shown(http, *keys) == dict(zip(keys, (["read on\n"], ["met Ada\n"], ["call Bob\n"]), strict=True))


async def test_three_edits_of_one_text_are_proposed_over_what_they_were_made_of(http: httpx.AsyncClient) -> None:
    await push(http, "laptop", "title\nmiddle\nend\n", 1, base=[])
    for device, text in (("laptop", "TITLE\nmiddle\nend\n"), ("phone", "Title!\nmiddle\nend\n")):
        await push(http, device, text, 5, base=[dot(1, "laptop")])
    await push(http, "tablet", "title\nmiddle\nEND\n", 5, base=[dot(1, "laptop")])
    found = await one(http)
    assert found["base"]["value"] == "title\nmiddle\nend\n"
    assert found["proposal"].endswith("\nmiddle\nEND\n")


@pytest.mark.parametrize(
    ("choice", "code"),
    [
        ({}, "bad_request"),
        ({"confirm": True}, "bad_request"),
        ({"keep": dot(1, "laptop"), "text": "x"}, "bad_request"),
        ({"keep": dot(9, "laptop")}, "bad_request"),
        ({"text": "a\0b"}, "bad_value"),
        ({"text": "x" * (2**20 + 1)}, "value_too_large"),
        ({"keep": 5}, "bad_message"),
        ({"confirm": False}, "bad_message"),
        ({"other": 1}, "bad_message"),
    ],
)
async def test_a_choice_that_is_none_changes_nothing(http: httpx.AsyncClient, choice: Message, code: str) -> None:
    seen = await siblings_conflict(http)
    assert await refusal(http, "resolve", key=NOTE, siblings=seen, choice=choice) == code
    assert (await one(http))["siblings"] == seen


async def test_who_has_not_seen_all_is_told_to_look_again(http: httpx.AsyncClient) -> None:
    seen = await siblings_conflict(http)
    await push(http, "tablet", "read on\n", 1, base=[])
    keep = {"keep": seen[0]}
    for siblings in (seen, [], [*seen, dot(1, "tablet"), dot(1, "x")]):
        assert await refusal(http, "resolve", key=NOTE, siblings=siblings, choice=keep) == "stale"
    assert await refusal(http, "resolve", key="note:none.md", siblings=seen, choice=keep) == "stale"
    assert len((await one(http))["siblings"]) == 3
    await resolve(http, [*seen, dot(1, "tablet")], keep=dot(1, "tablet"))
    assert await refusal(http, "resolve", key=NOTE, siblings=seen, choice=keep) == "stale"


async def test_whatever_arrives_while_it_is_settled_is_not_lost(server: Running, http: httpx.AsyncClient) -> None:
    """Many devices write while two people settle: each text is chosen, still beside it, or was settled as seen."""
    seen = await siblings_conflict(http)
    devices = [f"d{number}" for number in range(8)]

    async def settle(text: str) -> int:
        body = {"key": NOTE, "siblings": seen, "choice": {"text": text}}
        return (await http.post("/api/v1/conflicts/resolve", json=body)).status_code

    statuses = await asyncio.gather(
        *(push(http, device, f"from {device}\n", 1, base=[]) for device in devices[:4]),
        settle("first\n"),
        *(push(http, device, f"from {device}\n", 1, base=[]) for device in devices[4:]),
        settle("second\n"),
    )
    settled = [status for status in statuses if status is not None]
    assert sorted(settled) in ([200, 409], [409, 409])
    left = (await shown(http))[NOTE]
    assert {f"from {device}\n" for device in devices} <= set(left)
    assert ("met Ada\n" in left) == (200 not in settled)


async def test_a_version_with_another_base_stays_beside_what_was_settled(http: httpx.AsyncClient) -> None:
    seen = await siblings_conflict(http)
    await resolve(http, seen, text="both\n")
    await push(http, "tablet", "late\n", 1, base=[])
    found = await one(http)
    assert [source["value"] for source in found["sources"]] == ["late\n", "both\n"]


# -- merges to look at


async def test_a_merge_is_confirmed_and_everybody_hears_of_it(server: Running, http: httpx.AsyncClient) -> None:
    found = await merged_conflict(http)
    async with plain_client(server, "tablet") as tablet:
        assert tablet.winner(NOTE)["conflict"]
        await resolve(http, found["siblings"], confirm=True)
        while "conflict" in tablet.winner(NOTE):
            await tablet.receive()
        assert tablet.values(NOTE) == ["ONE\n\nTWO\n"]
    assert await listed(http) == []


async def test_one_side_of_a_merge_is_chosen_or_both_are_notes(http: httpx.AsyncClient) -> None:
    found = await merged_conflict(http)
    await resolve(http, found["siblings"], keep=dot(5, "laptop"))
    assert await shown(http) == {NOTE: ["ONE\n\ntwo\n"]}
    assert await listed(http) == []
    (now,) = (await http.post("/api/v1/fetch", json={"keys": [NOTE]})).json()["changes"]
    again = await reopen(http, now)
    assert [source["value"] for source in again["sources"]] == ["ONE\n\ntwo\n", "one\n\nTWO\n"]
    await resolve(http, again["siblings"], keep_both={})
    assert await shown(http, NOTE, OTHER) == {NOTE: ["one\n\nTWO\n"], OTHER: ["ONE\n\ntwo\n"]}


async def reopen(http: httpx.AsyncClient, now: Message) -> Message:
    body = {"key": now["key"], "siblings": [dot(now["timestamp"], now["device_id"])]}
    response = await http.post("/api/v1/conflicts/reopen", json=body)
    assert response.status_code == 200, response.text
    return await one(http, now["key"])


async def test_a_confirmed_merge_can_be_reopened(http: httpx.AsyncClient) -> None:
    found = await merged_conflict(http)
    (settled,) = await resolve(http, found["siblings"], confirm=True)
    again = await reopen(http, settled)
    assert (again["kind"], again["sources"], again["base"]) == ("merged", found["sources"], found["base"])
    assert await refusal(http, "reopen", key=NOTE, siblings=found["siblings"]) == "stale"
    assert await refusal(http, "reopen", key=NOTE, siblings=again["siblings"]) == "bad_request"
    await resolve(http, again["siblings"], confirm=True)
    assert await listed(http) == []


async def test_a_chosen_sibling_can_be_reopened_too(http: httpx.AsyncClient) -> None:
    seen = await siblings_conflict(http)
    (settled,) = await resolve(http, seen, keep=seen[0])
    again = await reopen(http, settled)
    assert [source["value"] for source in again["sources"]] == ["met Ada\n", "call Bob\n"]


async def test_where_nothing_was_merged_nothing_is_reopened(http: httpx.AsyncClient) -> None:
    await push(http, "laptop", "one\n", 1, base=[])
    assert await refusal(http, "reopen", key=NOTE, siblings=[dot(1, "laptop")]) == "bad_request"
    assert await refusal(http, "reopen", key="note:none.md", siblings=[]) == "not_found"


# -- what closes by itself


async def test_versions_that_became_equal_are_no_conflict(http: httpx.AsyncClient) -> None:
    seen = await siblings_conflict(http)
    await push(http, "phone", "met Ada\n", 9, base=[seen[1]])
    assert await listed(http) == []
    assert await shown(http) == {NOTE: ["met Ada\n"]}


async def test_a_note_that_is_gone_is_no_conflict(http: httpx.AsyncClient) -> None:
    found = await merged_conflict(http)
    (merge,) = found["siblings"]
    await push(http, "phone", None, merge["timestamp"] + 5, base=[merge])
    assert await listed(http) == []


async def test_a_note_that_was_renamed_is_still_to_be_looked_at(http: httpx.AsyncClient) -> None:
    before = await merged_conflict(http)
    (merge,) = before["siblings"]
    at = merge["timestamp"] + 5
    create = {"key": "note:new.md", "value": "ONE\n\nTWO\n", "timestamp": at, "device_id": "phone", "base": []}
    gone = {"key": NOTE, "value": None, "timestamp": at + 1, "device_id": "phone", "base": [merge]}
    body = {"type": "sync_push", "changes": [create, {**gone, "moved_to": "note:new.md"}], "last_ack": 0}
    await http.post("/api/v1/sync", params={"device_id": "phone"}, json=body)
    (entry,) = await listed(http)
    assert (entry["key"], entry["authors"]) == ("note:new.md", ["laptop", "phone"])
    found = await one(http, "note:new.md")
    for part in ("kind", "sources", "base", "merged", "proposal"):
        assert found[part] == before[part]
    kept = {"keep": dot(5, "phone")}
    (settled,) = await resolve(http, found["siblings"], key="note:new.md", **kept)
    assert (settled["key"], settled["value"]) == ("note:new.md", "one\n\nTWO\n")
    # What was merged under the old name can still be looked at, after another rename, too.
    again = {"key": "note:newer.md", "value": "mine", "timestamp": at + 50, "device_id": "phone", "base": []}
    gone |= {"key": "note:new.md", "timestamp": at + 51, "base": found["siblings"], "moved_to": "note:newer.md"}
    gone["base"] = [dot(settled["timestamp"], settled["device_id"])]
    body["changes"] = [again, gone]
    await http.post("/api/v1/sync", params={"device_id": "phone"}, json=body)
    seen = [dot(at + 50, "phone")]
    response = await http.post("/api/v1/conflicts/reopen", json={"key": "note:newer.md", "siblings": seen})
    assert response.status_code == 200, response.text
    assert (await one(http, "note:newer.md"))["sources"] == before["sources"]


async def test_an_edit_that_followed_a_rename_is_shown_beside_what_it_met(http: httpx.AsyncClient) -> None:
    await push(http, "laptop", "at five\nx\n", 1, base=[])
    create = {"key": "note:new.md", "value": "at six\nx\n", "timestamp": 5, "device_id": "laptop", "base": []}
    gone = {"key": NOTE, "value": None, "timestamp": 6, "device_id": "laptop", "base": [dot(1, "laptop")]}
    body = {"type": "sync_push", "changes": [create, {**gone, "moved_to": "note:new.md"}], "last_ack": 0}
    await http.post("/api/v1/sync", params={"device_id": "laptop"}, json=body)
    await push(http, "phone", "at seven\nx\n", 9, base=[dot(1, "laptop")])
    found = await one(http, "note:new.md")
    assert found["merged"] == found["proposal"] == "at six\nat seven\nx\n"
    assert [(source["key"], source["value"]) for source in found["sources"]] == [
        ("note:new.md", "at six\nx\n"),
        (NOTE, "at seven\nx\n"),
    ]
    assert (found["base"]["key"], found["base"]["value"]) == (NOTE, "at five\nx\n")
    (settled,) = await resolve(http, found["siblings"], key="note:new.md", keep=dot(9, "phone"))
    assert (settled["key"], settled["value"]) == ("note:new.md", "at seven\nx\n")


# -- who may


async def test_a_reader_looks_but_does_not_settle_and_other_vaults_are_closed(tmp_path: Path) -> None:
    async with running_server(tmp_path, no_auth=False) as server, httpx.AsyncClient(base_url=server.http_url) as http:
        reader, stranger = await enrol(server, "reader", "main", "reader"), await enrol(server, "stranger", "other")
        http.headers["authorization"] = f"Bearer {reader}"
        assert await listed(http) == []
        assert await refusal(http, "resolve", key=NOTE, siblings=[], choice={"confirm": True}) == "read_only"
        assert await refusal(http, "reopen", key=NOTE, siblings=[]) == "read_only"
        http.headers["authorization"] = f"Bearer {stranger}"
        assert (await http.get("/api/v1/conflicts")).json()["code"] == "unknown_vault"
        assert await refusal(http, "resolve", key=NOTE, siblings=[], choice={"confirm": True}) == "unknown_vault"


async def test_an_author_is_told_that_an_edit_of_a_merge_is_still_marked(
    server: Running, http: httpx.AsyncClient
) -> None:
    (merge,) = (await merged_conflict(http))["siblings"]
    async with plain_client(server, "laptop") as laptop:
        await edit(laptop, merge)
        while "conflict" not in laptop.winner(NOTE) or laptop.winner(NOTE)["value"] != "edited\n":
            await laptop.receive()


async def edit(device: PlainClient, base: Message) -> None:
    await device.push(device.change(NOTE, "edited\n", base["timestamp"] + 9, base=[base]))
