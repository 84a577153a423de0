"""The past by REST, over real sockets."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.running import PATIENCE_S, Message, bearer, enrol, plain_client, running_server
from tidenote.core.version import Change, Dot
from tidenote.errors import CODES
from tidenote.server.history import Plan, Step, listing, names, unseen_stay
from tidenote.server.serve import Running
from tidenote.server.store.memory import MemoryStore

pytestmark = pytest.mark.anyio

A, B, C = "note:a.md", "note:b.md", "note:c.md"


class Devices:
    """Several devices of one vault that push by request, each with all that went before in front of it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.time = 0
        self.answers: list[Message] = []

    async def push(self, device: str, *changes: Message) -> Message:
        body = {"type": "sync_push", "changes": changes, "last_ack": 0}
        answer: Message = (await self.http.post("/api/v1/sync", params={"device_id": device}, json=body)).json()
        assert "rejected" not in answer, answer
        return answer

    async def dots(self, key: str) -> list[Message]:
        changes = (await self.http.post("/api/v1/fetch", json={"keys": [key]})).json()["changes"]
        return [{"timestamp": change["timestamp"], "device_id": change["device_id"]} for change in changes]

    async def change(self, device: str, key: str, value: str | None, **more: Any) -> Message:
        entries = (await self.http.get("/api/v1/manifest")).json()
        self.time = max(self.time, entries["clock"]) + 1
        base = await self.dots(key)
        return {"key": key, "value": value, "timestamp": self.time, "device_id": device, "base": base, **more}

    async def write(self, device: str, key: str, value: str | None, **more: Any) -> Message:
        change = await self.change(device, key, value, **more)
        await self.push(device, change)
        return change

    async def rename(self, device: str, old: str, new: str, value: str) -> None:
        create = await self.change(device, new, value)
        tombstone = await self.change(device, old, None, moved_to=new)
        await self.push(device, create, tombstone)

    async def values(self, *keys: str) -> list[str | None]:
        """Return what everyone is shown."""
        found: list[str | None] = []
        for key in keys:
            changes = (await self.http.post("/api/v1/fetch", json={"keys": [key]})).json()["changes"]
            assert len(changes) <= 1
            found.append(changes[0]["value"] if changes else None)
        return found

    async def history(self, key: str, **params: Any) -> list[Message]:
        response = await self.http.get("/api/v1/history", params={"key": key, **params})
        assert response.status_code == 200, response.text
        versions: list[Message] = response.json()["versions"]
        return versions

    async def clock(self) -> int:
        clock: int = (await self.http.get("/api/v1/manifest")).json()["clock"]
        return clock

    async def ask(self, path: str, **body: Any) -> Message:
        response = await self.http.post(f"/api/v1/{path}", json=body)
        assert response.status_code == 200, response.text
        answer: Message = response.json()
        return answer

    async def refused(self, path: str, **body: Any) -> str:
        return refusal(await self.http.post(f"/api/v1/{path}", json=body))


def refusal(response: httpx.Response) -> str:
    code: str = response.json()["code"]
    assert CODES[code].http_status == response.status_code
    return code


def notes(answer: Message) -> dict[str, str]:
    """Return what was done by key: `+2 -1`, and where to for a deletion that is a rename."""
    return {
        note["key"]: f"+{note['added']} -{note['removed']}" + (f" > {note['moved_to']}" if "moved_to" in note else "")
        for note in answer["notes"]
    }


def left(answer: Message) -> dict[str, str]:
    return {note["key"]: note["reason"] for note in answer["refused"]}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_server(tmp_path) as running:
        yield running


@pytest.fixture
async def devices(server: Running) -> AsyncIterator[Devices]:
    async with httpx.AsyncClient(base_url=server.http_url, timeout=PATIENCE_S) as client:
        yield Devices(client)


# -- history


async def test_a_history_is_listed_from_the_latest_version_on(devices: Devices) -> None:
    first = await devices.write("x", A, "öne")
    await devices.write("y", A, None)
    versions = await devices.history(A)
    assert [(v["device_id"], v["size"], "deleted" in v, "current" in v) for v in versions] == [
        ("y", 0, True, True),
        ("x", 4, False, False),
    ]
    assert versions[0]["parents"] == [{"timestamp": first["timestamp"], "device_id": "x"}]
    assert versions[1]["parents"] == []
    assert versions[0]["receipt"] > versions[1]["receipt"]
    assert versions[0]["received_at"] >= versions[1]["received_at"] > 1_700_000_000_000


async def test_a_history_comes_in_pages(devices: Devices) -> None:
    for number in range(7):
        await devices.write("x", A, f"{number}")
    every = await devices.history(A)
    found: list[Message] = []
    params: dict[str, Any] = {"key": A, "limit": 3}
    while True:
        page = (await devices.http.get("/api/v1/history", params=params)).json()
        found += page["versions"]
        if "next" not in page:
            break
        params["before"] = page["next"]
    assert found == every
    assert len(found) == 7


async def test_a_history_follows_renames_backwards(devices: Devices) -> None:
    await devices.write("x", A, "one")
    await devices.rename("x", A, B, "one")
    await devices.write("x", B, "two")
    await devices.rename("y", B, C, "two")
    await devices.write("y", A, "another note")
    told = [(v["key"], v["size"], v.get("moved_to")) for v in await devices.history(C)]
    assert told == [(B, 0, C), (C, 3, None), (B, 3, None), (A, 0, B), (B, 3, None), (A, 3, None)]
    assert [v["size"] for v in await devices.history(A)] == [12, 0, 3]


async def test_two_notes_that_were_renamed_to_each_other_have_an_end(devices: Devices) -> None:
    await devices.write("x", A, "one")
    for _ in range(3):
        await devices.rename("x", A, B, "one")
        await devices.rename("x", B, A, "one")
    assert len(await devices.history(A)) == len({v["receipt"] for v in await devices.history(A)}) == 13


def test_a_name_is_looked_at_once_however_often_a_note_had_it() -> None:
    store = MemoryStore()
    store.create_vault("main")
    here, there = Change(A, Dot(1, "x"), "one"), Change(B, Dot(2, "x"))
    store.take_in("main", [[here]], wall_ms=1, check_blob=bool)
    for number in range(1, 40):
        written = Change(there.key, Dot(2 * number + 1, "x"), "one", base=frozenset((there.dot,)))
        renamed = Change(here.key, Dot(2 * number + 2, "x"), base=frozenset((here.dot,)), moved_to=there.key)
        store.take_in("main", [[written, renamed]], wall_ms=1, check_blob=bool)
        here, there = written, renamed
    # By each of its renames it would be a thousand times the work, and by the cube of them.
    assert sorted(name for name, _ in names(store, "main", here.key)) == [A, B]
    assert len(listing(store, "main", here.key, before=None, limit=1000)) == 79


async def test_one_version_comes_with_its_text(devices: Devices) -> None:
    one = await devices.write("x", A, "one")
    await devices.write("x", A, "two")
    params = {"key": A, "timestamp": one["timestamp"], "device_id": "x"}
    answer = (await devices.http.get("/api/v1/version", params=params)).json()
    assert (answer["value"], answer["version"]["size"], "current" in answer["version"]) == ("one", 3, False)


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        ("history", {"key": "note:none.md"}, "not_found"),
        ("history", {"key": "../etc/passwd"}, "bad_request"),
        ("history", {"key": A, "limit": "0"}, "bad_request"),
        ("history", {"key": A, "vault": "other"}, "unknown_vault"),
        ("history", {}, "bad_request"),
        ("version", {"key": A, "timestamp": "5", "device_id": "x"}, "not_found"),
        ("version", {"key": A, "timestamp": "x", "device_id": "x"}, "bad_request"),
        ("version", {"key": A, "timestamp": "9223372036854775808", "device_id": "x"}, "bad_request"),
    ],
)
async def test_what_is_not_there_is_refused(devices: Devices, path: str, params: dict[str, str], code: str) -> None:
    assert refusal(await devices.http.get(f"/api/v1/{path}", params=params)) == code


# -- how a version was merged


async def version(devices: Devices, of: Message) -> Message:
    params = {name: of[name] for name in ("key", "timestamp", "device_id")}
    response = await devices.http.get("/api/v1/version", params=params)
    assert response.status_code == 200, response.text
    found: Message = response.json()
    return found


async def test_a_merge_names_its_sources_and_the_lines_to_look_at(devices: Devices) -> None:
    base = await devices.write("x", A, "top\nat five\nend\n")
    dots = [{"timestamp": base["timestamp"], "device_id": "x"}]
    for number, (device, text) in enumerate((("laptop", "at six"), ("phone", "at seven")), start=10):
        change = {"key": A, "value": f"top\n{text}\nend\n", "timestamp": number, "device_id": device, "base": dots}
        await devices.push(device, change)
    merge, *others = await devices.history(A)
    found = await version(devices, merge)
    assert found["value"] == "top\nat six\nat seven\nend\n"
    merged = found["merged"]
    assert [source["device_id"] for source in merged["sources"]] == ["laptop", "phone"]
    assert merged["base"]["device_id"] == "x"
    (spot,) = merged["spots"]
    assert found["value"].split("\n")[spot["start"] : spot["end"]] == ["at six", "at seven"]
    for other in others:
        assert "merged" not in await version(devices, other)
    # A person's decision is no merge, whatever it is made of.
    await devices.push("laptop", {**base, "value": "mine", "timestamp": 100, "device_id": "laptop", "base": []})
    siblings = await devices.dots(A)
    assert len(siblings) == 2
    await devices.ask("conflicts/resolve", key=A, siblings=siblings, choice={"text": "decided"})
    decided = (await devices.history(A))[0]
    assert len(decided["parents"]) == 2
    assert "merged" not in await version(devices, decided)


# -- restoring a note


async def test_a_version_is_restored_as_a_new_version(server: Running, devices: Devices) -> None:
    one = await devices.write("x", A, "one\nsame")
    await devices.write("y", A, "two\nsame\nthree")
    async with plain_client(server, "z") as z:
        answer = await devices.ask("restore", key=A, timestamp=one["timestamp"], device_id="x")
        await z.until(A, "one\nsame")
    assert notes(answer) == {A: "+1 -2"}
    assert answer["notes"][0]["version"]["timestamp"] == one["timestamp"]
    versions = await devices.history(A)
    assert [v["size"] for v in versions] == [8, 14, 8]
    assert versions[0]["device_id"].startswith("server.")
    assert [parent["device_id"] for parent in versions[0]["parents"]] == ["y"]


async def test_a_note_is_restored_as_it_was_at_a_time(devices: Devices) -> None:
    for text in ("one", "two", "three"):
        await devices.write("x", A, text)
    (_, second, _) = await devices.history(A)
    await devices.ask("restore", key=A, receipt=second["receipt"])
    assert await devices.values(A) == ["two"]
    await devices.ask("restore", key=A, at=2**45)
    assert await devices.values(A) == ["two"]
    assert await devices.refused("restore", key=A, at=1000) == "not_found"
    assert await devices.values(A) == ["two"]


async def test_a_renamed_note_is_restored_from_its_earlier_name_to_its_present_one(devices: Devices) -> None:
    await devices.write("x", A, "one")
    receipt = await devices.clock()
    await devices.write("x", A, "two")
    await devices.rename("x", A, B, "two")
    await devices.ask("restore", key=B, receipt=receipt)
    assert await devices.values(A, B) == [None, "one"]
    version = (await devices.history(A))[1]
    await devices.ask("restore", key=B, source=A, timestamp=version["timestamp"], device_id=version["device_id"])
    assert await devices.values(A, B) == [None, "two"]
    # And under its old name, if that is what is asked for.
    await devices.ask("restore", key=A, timestamp=version["timestamp"], device_id=version["device_id"])
    assert await devices.values(A, B) == ["two", "two"]


async def test_restoring_what_is_there_writes_nothing(devices: Devices) -> None:
    await devices.write("x", A, "one")
    clock = await devices.clock()
    answer = await devices.ask("restore", key=A, at=2**45)
    assert (answer["notes"], answer["refused"], await devices.clock()) == ([], [], clock)


async def test_a_restore_settles_what_was_open(devices: Devices) -> None:
    base = await devices.write("x", A, "one")
    dot = {"timestamp": base["timestamp"], "device_id": "x"}
    for device, value in (("x", "left"), ("y", "right")):
        change = {"key": A, "value": value, "timestamp": 50, "device_id": device, "base": []}
        await devices.push(device, change)
    assert len(await devices.dots(A)) > 1
    await devices.ask("restore", key=A, **dot)
    assert await devices.values(A) == ["one"]


async def test_a_blob_is_restored_by_its_name(devices: Devices) -> None:
    data, key = b"\x00image", "file:a.png"
    sha256 = hashlib.sha256(data).hexdigest()
    url = f"/api/v1/blobs/{sha256}"
    await devices.http.put(url, content=data, headers={"Upload-Length": str(len(data))})
    await devices.write("x", key, "", blob={"sha256": sha256, "size": len(data)})
    await devices.write("x", key, None)
    assert notes(await devices.ask("trash/restore", key=key)) == {key: "+0 -0"}
    assert (await devices.history(key))[0]["blob"] == {"sha256": sha256, "size": len(data)}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"key": A},
        {"key": "a.md", "at": 5},
        {"key": A, "at": 5, "receipt": 5},
        {"key": A, "timestamp": 5},
        {"key": A, "timestamp": 1, "device_id": "x", "at": 5},
        {"key": A, "receipt": -1},
        {"key": A, "receipt": 2**63},
        {"key": A, "at": "now"},
        {"key": A, "timestamp": 2**63, "device_id": "x"},
        {"key": A, "timestamp": 0, "device_id": "x"},
    ],
)
async def test_a_restore_says_what_and_as_of_when(devices: Devices, body: Message) -> None:
    await devices.write("x", A, "one")
    assert await devices.refused("restore", **body) in ("bad_request", "bad_message")
    assert await devices.values(A) == ["one"]


async def test_a_renamed_note_has_one_version_that_is_current(devices: Devices) -> None:
    await devices.write("x", A, "one")
    await devices.rename("x", A, B, "one")
    assert [(v["key"], "current" in v) for v in await devices.history(B)] == [(A, False), (B, True), (A, False)]
    assert [(v["key"], "current" in v) for v in await devices.history(A)] == [(A, True), (A, False)]


async def test_what_the_log_has_not_come_to_cannot_be_restored(devices: Devices) -> None:
    await devices.write("x", A, "one")
    receipt = (await devices.history(A))[0]["receipt"]
    assert await devices.refused("restore", key=A, receipt=receipt + 1) == "not_found"
    assert await devices.refused("restore-all", receipt=receipt + 1) == "not_found"
    assert notes(await devices.ask("restore", key=A, receipt=receipt)) == {}


# -- restoring everything


async def test_a_place_that_no_log_has_is_refused(devices: Devices) -> None:
    await devices.write("x", A, "one")
    for number in (-1, 2**53, 2**63):
        assert await devices.refused("restore-all", receipt=number, dry_run=True) == "bad_message"
        assert await devices.refused("restore-all", receipt=0, seen=number) == "bad_message"
        assert await devices.refused("undo", device="x", since=0, seen=number) == "bad_message"
    assert await devices.values(A) == ["one"]


async def test_the_whole_vault_is_restored_and_that_is_undone_by_the_same_means(devices: Devices) -> None:
    await devices.write("x", A, "kept\nold")
    await devices.write("x", B, "deleted later")
    await devices.write("x", "note:same.md", "same")
    receipt = await devices.clock()
    await devices.write("y", A, "kept\nnew\nlines")
    await devices.write("y", B, None)
    await devices.write("y", C, "new")
    keys = (A, B, C, "note:same.md")
    before = await devices.values(*keys)

    told = await devices.ask("restore-all", receipt=receipt, dry_run=True)
    assert notes(told) == {A: "+1 -2", B: "+1 -0", C: "+0 -1"}
    assert told["dry_run"]
    assert await devices.values(*keys) == before

    done = await devices.ask("restore-all", receipt=receipt)
    assert (notes(done), left(done)) == (notes(told), {})
    assert await devices.values(*keys) == ["kept\nold", "deleted later", None, "same"]

    await devices.ask("restore-all", receipt=done["receipt"])
    assert await devices.values(*keys) == before


async def test_what_is_damaged_is_left_as_it_is_and_costs_nothing_else(
    devices: Devices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidenote.server.history.PUSHES_AT_ONCE", 1)
    for key in (A, B, C):
        await devices.write("x", key, f"old {key}")
    receipt = (await devices.history(C))[0]["receipt"]
    for key in (A, B, C):
        await devices.write("x", key, f"new {key}")
    with closing(sqlite3.connect(tmp_path / "tidenote.db")) as database, database:
        database.execute("UPDATE versions SET value = NULL, packed = x'00' WHERE value = ?", (f"old {B}",))
    done = await devices.ask("restore-all", receipt=receipt)
    assert left(done) == {B: "damaged"}
    assert await devices.values(A, B, C) == [f"old {A}", f"new {B}", f"old {C}"]


async def test_a_rename_is_restored_as_a_rename(devices: Devices) -> None:
    await devices.write("x", A, "text")
    old = await devices.clock()
    await devices.rename("x", A, B, "text")
    new = await devices.clock()
    assert notes(await devices.ask("restore-all", receipt=old)) == {A: "+1 -0", B: f"+0 -1 > {A}"}
    assert await devices.values(A, B) == ["text", None]
    assert notes(await devices.ask("restore-all", receipt=new)) == {A: f"+0 -1 > {B}", B: "+1 -0"}
    assert await devices.values(A, B) == [None, "text"]
    assert (await devices.history(A))[0]["moved_to"] == B


async def test_what_was_written_since_somebody_looked_is_left_as_it_is(devices: Devices) -> None:
    await devices.write("x", A, "old a")
    await devices.write("x", B, "old b")
    then = await devices.clock()
    await devices.write("x", A, "new a")
    await devices.rename("x", B, C, "old b")
    seen = (await devices.ask("restore-all", receipt=then, dry_run=True))["receipt"]
    await devices.write("y", C, "old b, edited")
    answer = await devices.ask("restore-all", receipt=then, seen=seen)
    assert (notes(answer), left(answer)) == ({A: "+1 -1"}, {B: "stale", C: "stale"})
    assert await devices.values(A, B, C) == ["old a", None, "old b, edited"]
    await devices.write("x", A, "spoiled")
    answer = await devices.ask("undo", device="x", since=0, seen=seen)
    assert (notes(answer), left(answer)) == ({}, {A: "built_on", C: "built_on"})


async def test_hundreds_of_notes_are_restored(devices: Devices) -> None:
    keys = [f"note:n{number}.md" for number in range(350)]
    made = [{"key": key, "value": key, "timestamp": n + 1, "device_id": "x"} for n, key in enumerate(keys)]
    await devices.push("x", *made)
    receipt = await devices.clock()
    gone = [{"key": key, "value": None, "timestamp": 1000 + n, "device_id": "x"} for n, key in enumerate(keys)]
    await devices.push("x", *gone)
    answer = await devices.ask("restore-all", receipt=receipt)
    assert (len(answer["notes"]), left(answer)) == (350, {})
    assert await devices.values(keys[0], keys[-1]) == [keys[0], keys[-1]]


# -- undo


async def test_everything_that_a_device_did_is_taken_back(devices: Devices) -> None:
    await devices.write("x", A, "one")
    await devices.write("x", B, "two")
    for key, value in ((A, "spoiled"), (A, "spoiled more"), (B, None), (C, "junk")):
        await devices.write("bad", key, value)
    told = await devices.ask("undo", device="bad", since=0, dry_run=True)
    assert await devices.values(A, B, C) == ["spoiled more", None, "junk"]
    done = await devices.ask("undo", device="bad", since=0)
    assert notes(done) == notes(told) == {A: "+1 -1", B: "+1 -0", C: "+0 -1"}
    assert await devices.values(A, B, C) == ["one", "two", None]
    assert notes(await devices.ask("undo", device="bad", since=0)) == {}
    await devices.ask("restore-all", receipt=done["receipt"])
    assert await devices.values(A, B, C) == ["spoiled more", None, "junk"]


async def test_what_others_have_built_on_is_left_and_told(devices: Devices) -> None:
    await devices.write("x", A, "one")
    await devices.write("bad", A, "one, and more")
    await devices.write("x", A, "one, and more, and mine")
    await devices.write("bad", B, "junk")
    answer = await devices.ask("undo", device="bad", since=0)
    assert (notes(answer), left(answer)) == ({B: "+0 -1"}, {A: "built_on"})
    assert await devices.values(A, B) == ["one, and more, and mine", None]


async def test_a_rename_is_taken_back_as_a_rename_or_not_at_all(devices: Devices) -> None:
    await devices.write("x", A, "text")
    await devices.rename("bad", A, B, "text")
    assert notes(await devices.ask("undo", device="bad", since=0)) == {A: "+1 -0", B: f"+0 -1 > {A}"}
    assert await devices.values(A, B) == ["text", None]
    await devices.rename("bad2", A, C, "text")
    await devices.write("x", C, "text, edited")
    answer = await devices.ask("undo", device="bad2", since=0)
    assert (notes(answer), left(answer)) == ({}, {A: "built_on", C: "built_on"})
    assert await devices.values(A, C) == [None, "text, edited"]


def test_a_thousand_renames_in_a_row_are_kept_together_in_one_pass() -> None:
    class Counted(dict[str, Step]):
        looked = 0

        def __contains__(self, key: object) -> bool:
            self.looked += 1
            return super().__contains__(key)

    store = MemoryStore()
    store.create_vault("main")
    keys = [f"note:{number}.md" for number in range(1001)]
    store.take_in("main", [[Change(keys[-1], Dot(1, "x"), "written meanwhile")]], wall_ms=1, check_blob=bool)
    steps = Counted({key: Step(key, frozenset(), None, None, target) for key, target in pairwise(keys)})
    steps[keys[-1]] = Step(keys[-1], frozenset(), None, None)
    plan = unseen_stay(store, "main", Plan(steps), seen=0)
    assert (plan.steps, plan.refused) == ({}, dict.fromkeys(keys, "stale"))
    assert steps.looked < 3 * len(keys)


async def test_only_what_came_since_a_time_is_taken_back(devices: Devices) -> None:
    await devices.write("bad", A, "before")
    assert notes(await devices.ask("undo", device="bad", since=2**45)) == {}
    (version,) = await devices.history(A)
    assert notes(await devices.ask("undo", device="bad", since=version["received_at"])) == {A: "+0 -1"}


async def test_the_undoing_of_an_unknown_device_is_refused(devices: Devices) -> None:
    await devices.write("good", A, "text")
    assert await devices.refused("undo", device="godo", since=0) == "not_found"
    assert notes(await devices.ask("undo", device="good", since=2**45)) == {}


# -- the trash


async def test_deleted_notes_are_in_the_trash_until_they_are_restored(devices: Devices) -> None:
    for key in (A, B, C):
        await devices.write("x", key, "old")
        await devices.write("x", key, f"text of {key}")
    await devices.write("y", A, None)
    await devices.write("y", B, None)
    await devices.rename("y", C, "note:d.md", "moved")
    found = (await devices.http.get("/api/v1/trash")).json()
    assert [(n["key"], n["deletion"]["device_id"], n["last"]["size"]) for n in found["notes"]] == [
        (A, "y", len(f"text of {A}")),
        (B, "y", len(f"text of {B}")),
    ]
    page = (await devices.http.get("/api/v1/trash", params={"limit": 1})).json()
    assert (len(page["notes"]), page["next"]) == (1, A)
    assert notes(await devices.ask("trash/restore", key=A)) == {A: "+1 -0"}
    assert await devices.values(A) == [f"text of {A}"]
    assert [n["key"] for n in (await devices.http.get("/api/v1/trash")).json()["notes"]] == [B]
    for key in (A, C, "note:none.md"):
        assert await devices.refused("trash/restore", key=key) == "not_found"


# -- letting go


async def test_what_the_history_keeps_no_longer_is_told_and_refused(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, history_all_days=1, history_daily_days=1) as server,
        httpx.AsyncClient(base_url=server.http_url, timeout=PATIENCE_S) as http,
    ):
        devices = Devices(http)
        (hub,) = [server.service.hub("main")]
        old = []
        for number in range(3):
            old.append(await devices.change("x", A, f"text {number}"))
            changes = [_as_change(old[-1])]
            server.service.store.take_in("main", [changes], wall_ms=1000 * number, check_blob=bool)
            await hub.refresh()
        receipt = (await devices.history(A))[-1]["receipt"]
        told = await devices.ask("gc", dry_run=True)
        assert told == {"versions": 1, "size": 6, "tombstones": 0, "blobs": 0, "blob_size": 0}
        assert await devices.ask("gc") == told
        assert (await devices.ask("gc"))["versions"] == 0
        versions = await devices.history(A)
        assert ["gone" in version for version in versions] == [False, False, True]
        params = {"key": A, "timestamp": old[0]["timestamp"], "device_id": "x"}
        answer = (await http.get("/api/v1/version", params=params)).json()
        assert (answer["version"]["gone"], "value" in answer) == (True, False)
        assert left(await devices.ask("restore", **params)) == {A: "gone"}
        assert left(await devices.ask("restore", key=A, receipt=receipt)) == {A: "gone"}
        assert left(await devices.ask("restore-all", receipt=receipt)) == {A: "gone"}
        assert await devices.values(A) == ["text 2"]


def _as_change(message: Message) -> Any:
    from tidenote.core.version import Change, Dot

    base = frozenset(Dot(dot["timestamp"], dot["device_id"]) for dot in message["base"])
    return Change(message["key"], Dot(message["timestamp"], message["device_id"]), message["value"], base=base)


# -- who may


async def test_readers_look_and_do_not_touch(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, no_auth=False) as server,
        httpx.AsyncClient(base_url=server.http_url, timeout=PATIENCE_S) as http,
    ):
        writes: dict[str, Message] = {
            "restore": {"key": A, "at": 5},
            "restore-all": {"at": 5},
            "undo": {"device": "x", "since": 0},
            "trash/restore": {"key": A},
            "gc": {},
        }
        reader, stranger = await enrol(server, "kiosk", role="reader"), await enrol(server, "stranger", "other")
        editor = await enrol(server, "laptop")
        for path, body in writes.items():
            denied = "forbidden" if path == "gc" else "read_only"
            for token, code in ((reader, denied), (stranger, "unknown_vault"), ("", "unauthorized")):
                headers = {"authorization": f"Bearer {token}"} if token else {}
                assert refusal(await http.post(f"/api/v1/{path}", json=body, headers=headers)) == code
        assert refusal(await http.post("/api/v1/gc", json={}, headers=bearer(editor))) == "forbidden"
        headers = {"authorization": f"Bearer {reader}"}
        assert (await http.get("/api/v1/trash", headers=headers)).json()["notes"] == []
        assert refusal(await http.get("/api/v1/trash")) == "unauthorized"
