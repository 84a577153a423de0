"""REST, over real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.running import PATIENCE_S, Message, bearer, enrol, plain_client, running_server
from tidenote.errors import CODES, StorageError
from tidenote.server.serve import Running
from tidenote.server.store.memory import MemoryStore

pytestmark = pytest.mark.anyio

NOTE = "note:a.md"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_server(tmp_path) as running:
        yield running


@pytest.fixture
async def http(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.http_url, timeout=PATIENCE_S) as client:
        yield client


def change(key: str, value: str | None, timestamp: Any, device_id: str = "a", **more: Any) -> Message:
    return {"key": key, "value": value, "timestamp": timestamp, "device_id": device_id, **more}


async def sync(
    http: httpx.AsyncClient, *changes: Message, last_ack: int = 0, device: str = "a", **more: Any
) -> Message:
    body = {"type": "sync_push", "changes": changes, "last_ack": last_ack, **more}
    response = await http.post("/api/v1/sync", params={"device_id": device}, json=body)
    message: Message = response.json()
    assert response.status_code == (200 if message["type"] == "sync_ack" else CODES[message["code"]].http_status)
    return message


def refused(response: httpx.Response) -> tuple[int, str]:
    """Return an error's status and code, after checking that they belong together."""
    message = response.json()
    assert message["type"] == "error"
    assert CODES[message["code"]].http_status == response.status_code
    return response.status_code, message["code"]


# ---------------------------------------------------------------------------------------------- sync by requests


async def test_a_push_by_request_is_committed_and_seen_by_sockets_and_the_other_way(
    server: Running, http: httpx.AsyncClient
) -> None:
    async with plain_client(server, "b") as b:
        answer = await sync(http, change(NOTE, "one", 1), id="x")
        assert (answer["id"], answer["changes"], "rejected" in answer) == ("x", [], False)
        await b.until(NOTE, "one")
        await b.push(b.change(NOTE, "two", 5))
        news = await sync(http, last_ack=answer["ack_timestamp"])
        assert [found["value"] for found in news["changes"]] == ["two"]
        nothing = await sync(http, last_ack=news["ack_timestamp"])
        assert (nothing["changes"], nothing["ack_timestamp"]) == ([], news["ack_timestamp"])


async def test_a_poll_is_answered_page_by_page(http: httpx.AsyncClient) -> None:
    await sync(http, *(change(f"note:{n}.md", "x", n + 1) for n in range(1100)))
    keys: list[str] = []
    cursor, behind = 0, 1100
    while behind:
        page = await sync(http, last_ack=cursor, device="b")
        keys += [found["key"] for found in page["changes"]]
        cursor, behind = page["ack_timestamp"], page.get("behind", 0)
        assert behind == 1100 - len(keys)
    assert sorted(keys) == sorted(f"note:{n}.md" for n in range(1100))


async def test_a_bad_change_is_refused_alone(http: httpx.AsyncClient) -> None:
    answer = await sync(http, change(NOTE, "x", 1), change("note:b.md", "x", -1), change("note:c.md", "x", 2**53 - 1))
    assert [rejected["code"] for rejected in answer["rejected"]] == ["bad_timestamp", "clock_too_far"]
    assert answer["rejected"][1]["clock"] == 2
    assert (await sync(http, device="b"))["changes"] == [change(NOTE, "x", 1)]


@pytest.mark.parametrize("body", ["", "{", "[]", '{"type": "sync_push"}', '{"type": "sync_ack"}', '{"type": "other"}'])
async def test_what_is_no_push_is_a_bad_message(http: httpx.AsyncClient, body: str) -> None:
    response = await http.post("/api/v1/sync?device_id=a", content=body)
    assert refused(response) == (400, "bad_message")


async def test_a_resync_is_told_with_the_epoch(server: Running, http: httpx.AsyncClient) -> None:
    epoch = server.service.hub("main").epoch
    for bad in ({"epoch": "1-00000000"}, {"last_ack": 10**6}):
        message = await sync(http, **bad)
        assert (message["code"], message["epoch"]) == ("resync_required", epoch)
    message = await sync(http, last_ack=10**6, epoch=epoch)
    assert message["epoch"].startswith("2-")
    assert server.service.hub("main").epoch == message["epoch"]


async def test_wrong_parameters_are_named(http: httpx.AsyncClient) -> None:
    async def status(query: str) -> tuple[int, str]:
        return refused(
            await http.post(f"/api/v1/sync{query}", json={"type": "sync_push", "changes": [], "last_ack": 0})
        )

    assert await status("") == (400, "bad_request")
    assert await status("?device_id=server") == (400, "bad_request")
    assert await status("?device_id=a&v=2") == (426, "unsupported_version")
    assert await status("?device_id=a&vault=absent") == (404, "unknown_vault")


async def test_a_body_over_the_limit_is_refused(tmp_path: Path) -> None:
    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 30_000

    async with (
        running_server(tmp_path, max_text_bytes=100, max_frame_bytes=300_000) as server,
        httpx.AsyncClient(base_url=server.http_url) as http,
    ):
        for body in (b"x" * 300_001, unannounced()):
            response = await http.post("/api/v1/sync?device_id=a", content=body)
            assert refused(response) == (413, "message_too_large")


async def test_a_body_that_stalls_is_refused(tmp_path: Path) -> None:
    async with running_server(tmp_path, request_timeout_ms=50) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(
            f"POST /api/v1/sync?device_id=a HTTP/1.1\r\nHost: {server.host}\r\nContent-Length: 10\r\n\r\n{{".encode()
        )
        async with asyncio.timeout(PATIENCE_S):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 408")
        writer.close()
        await writer.wait_closed()


async def test_unknown_addresses_and_methods_are_errors_of_ours(http: httpx.AsyncClient) -> None:
    assert refused(await http.get("/api/v1/absent")) == (404, "not_found")
    assert refused(await http.get("/api/v1/sync")) == (400, "bad_request")
    assert refused(await http.get("/ws/sync?device_id=a")) == (400, "bad_request")


# ---------------------------------------------------------------------------------------------- manifest and fetch


async def test_the_manifest_names_every_key_once_in_order(server: Running, http: httpx.AsyncClient) -> None:
    await sync(http, *(change(f"note:{n}.md", "x", n + 1) for n in range(25)))
    await sync(http, change("note:7.md", "y", 8, "b"), device="b")
    entries: list[Message] = []
    params: dict[str, Any] = {"limit": 10}
    while True:
        page = (await http.get("/api/v1/manifest", params=params)).json()
        assert page["clock"] == server.service.hub("main").clock
        assert page["epoch"] == server.service.hub("main").epoch
        entries += page["entries"]
        if not page.get("next"):
            break
        params["after"] = page["next"]
    keys = [entry["key"] for entry in entries]
    assert keys == sorted(f"note:{n}.md" for n in range(25))
    by_key = {entry["key"]: entry["dots"] for entry in entries}
    assert by_key["note:7.md"] == [
        {"timestamp": 8, "device_id": "a", "sha256": hashlib.sha256(b"x").hexdigest()},
        {"timestamp": 8, "device_id": "b", "sha256": hashlib.sha256(b"y").hexdigest()},
    ]


async def test_the_manifest_tells_what_is_marked(http: httpx.AsyncClient) -> None:
    sha256 = hashlib.sha256(b"merged").hexdigest()
    await sync(http, {**change(NOTE, "merged", 1), "conflict": True})
    (entry,) = (await http.get("/api/v1/manifest")).json()["entries"]
    assert entry["dots"] == [{"timestamp": 1, "device_id": "a", "conflict": True, "sha256": sha256}]


async def test_the_manifest_s_parameters_are_checked(http: httpx.AsyncClient) -> None:
    for query in ("limit=0", "limit=5001", "limit=many", "limit=1.5"):
        answer = await http.get(f"/api/v1/manifest?{query}")
        assert refused(answer) == (400, "bad_request")
        assert answer.json()["message"].startswith("limit: Expected `int`")
    assert refused(await http.get("/api/v1/manifest?vault=absent")) == (404, "unknown_vault")
    weird = {"after": "note:%_'\"; DROP TABLE versions"}
    assert (await http.get("/api/v1/manifest", params=weird)).json()["entries"] == []


async def test_a_fetch_returns_all_siblings_of_the_keys_that_are_there(http: httpx.AsyncClient) -> None:
    await sync(http, change(NOTE, "one", 1), change("note:b.md", None, 2))
    await sync(http, change(NOTE, "two", 1, "b"), device="b")
    fetched = (await http.post("/api/v1/fetch", json={"keys": [NOTE, "note:absent.md", "note:b.md"]})).json()
    assert [(found["key"], found["value"]) for found in fetched["changes"]] == [
        (NOTE, "one"),
        (NOTE, "two"),
        ("note:b.md", None),
    ]


async def test_a_large_fetch_is_cut_after_a_whole_key(http: httpx.AsyncClient) -> None:
    keys = [f"note:{n:02}.md" for n in range(30)]
    for key in keys:
        await sync(http, change(key, "x" * 200_000, 1))
    wanted, rounds = list(keys), 0
    while wanted:
        changes = (await http.post("/api/v1/fetch", json={"keys": wanted})).json()["changes"]
        got = [found["key"] for found in changes]
        assert got
        assert got == wanted[: len(got)]
        wanted, rounds = wanted[len(got) :], rounds + 1
    assert rounds >= 6


async def test_a_wrong_fetch_is_named(http: httpx.AsyncClient) -> None:
    bodies: tuple[object, ...] = ({}, {"keys": 7}, {"keys": [7]}, [])
    for body in bodies:
        assert refused(await http.post("/api/v1/fetch", json=body)) == (400, "bad_message")
    assert refused(await http.post("/api/v1/fetch", json={"keys": ["x"] * 501})) == (400, "bad_request")


# ---------------------------------------------------------------------------------------------- blobs


def named(data: bytes) -> str:
    return f"/api/v1/blobs/{hashlib.sha256(data).hexdigest()}"


async def test_a_blob_goes_up_and_down_and_may_then_be_named(server: Running, http: httpx.AsyncClient) -> None:
    data = os.urandom(700_000)
    sha256 = hashlib.sha256(data).hexdigest()
    picture = change("file:p.png", "", 1, blob={"sha256": sha256, "size": len(data), "media_type": "image/png"})
    assert [r["code"] for r in (await sync(http, picture))["rejected"]] == ["blob_missing"]
    up = await http.put(named(data), content=data, headers={"Upload-Length": str(len(data))})
    assert (up.status_code, up.json()) == (200, {"sha256": sha256, "size": len(data), "complete": True})
    assert "rejected" not in await sync(http, picture)
    head = await http.head(named(data))
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(data)), b"")
    down = await http.get(named(data))
    assert (down.status_code, down.content) == (200, data)
    assert down.headers["etag"] == f'"{sha256}"'
    async with plain_client(server, "b") as b:
        assert b.winner("file:p.png")["blob"]["sha256"] == sha256


async def test_a_blob_in_a_browser_is_saved_and_never_run(http: httpx.AsyncClient) -> None:
    page = b"<script>alert(1)</script>"
    await http.put(named(page), content=page, headers={"Upload-Length": str(len(page))})
    headers = (await http.get(named(page))).headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"] == "attachment"
    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]


async def test_an_upload_goes_on_where_it_stopped(http: httpx.AsyncClient) -> None:
    data = os.urandom(300_000)
    length = {"Upload-Length": str(len(data))}
    absent = await http.head(named(data))
    assert (absent.status_code, absent.headers["upload-offset"], absent.content) == (404, "0", b"")
    part = await http.put(named(data), content=data[:100_000], headers=length)
    assert (part.status_code, part.json()["size"], part.json()["complete"]) == (200, 100_000, False)
    assert (await http.head(named(data))).headers["upload-offset"] == "100000"
    assert refused(await http.get(named(data))) == (404, "not_found")
    wrong = await http.put(named(data), content=data, headers={**length, "Upload-Offset": "7"})
    assert refused(wrong) == (409, "bad_offset")
    assert wrong.headers["upload-offset"] == "100000"
    rest = await http.put(named(data), content=data[100_000:], headers={**length, "Upload-Offset": "100000"})
    assert rest.json()["complete"]
    assert (await http.get(named(data))).content == data


async def test_an_upload_that_breaks_off_is_resumed(server: Running, http: httpx.AsyncClient) -> None:
    data = os.urandom(500_000)
    reader, writer = await asyncio.open_connection(server.host, server.port)
    head = (
        f"PUT {named(data)} HTTP/1.1\r\nHost: {server.host}\r\nUpload-Length: 500000\r\nContent-Length: 500000\r\n\r\n"
    )
    writer.write(head.encode() + data[:300_000])
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert await reader.read() == b""
    # The part that arrived is on disk at the latest when the next one is let in.
    while True:
        offset = int((await http.head(named(data))).headers["upload-offset"])
        headers = {"Upload-Length": "500000", "Upload-Offset": str(offset)}
        response = await http.put(named(data), content=data[offset:], headers=headers)
        if response.status_code == 200:
            break
        assert refused(response) == (409, "bad_offset")
    assert offset > 0
    assert (await http.get(named(data))).content == data


async def test_parts_of_a_blob(http: httpx.AsyncClient) -> None:
    data = bytes(range(256)) * 4
    await http.put(named(data), content=data, headers={"Upload-Length": "1024"})
    for wanted, expected in (
        ("bytes=0-0", data[:1]),
        ("bytes=100-199", data[100:200]),
        ("bytes=1000-", data[1000:]),
        ("bytes=1000-99999", data[1000:]),
        ("bytes=-24", data[1000:]),
        ("bytes=-99999", data),
    ):
        part = await http.get(named(data), headers={"Range": wanted})
        assert (part.status_code, part.content) == (206, expected), wanted
        start = data.index(expected) if len(expected) > 24 else int(part.headers["content-range"][6:].split("-")[0])
        assert part.headers["content-range"] == f"bytes {start}-{start + len(expected) - 1}/1024"
    for ignored in ("bytes=-", "bytes=0-1,5-6", "pages=1-2", "bytes=a-b"):
        whole = await http.get(named(data), headers={"Range": ignored})
        assert (whole.status_code, whole.content) == (200, data), ignored
    for impossible in ("bytes=1024-", "bytes=9-3", "bytes=-0"):
        assert refused(await http.get(named(data), headers={"Range": impossible})) == (400, "bad_request")


async def test_wrong_uploads_are_named(http: httpx.AsyncClient) -> None:
    data = b"the bytes"
    length = {"Upload-Length": str(len(data))}
    assert refused(await http.put(named(b"others"), content=data, headers=length)) == (422, "bad_blob")
    assert refused(await http.put(named(data), content=data)) == (400, "bad_request")
    for bad in ("-1", "x", "1.5"):
        assert refused(await http.put(named(data), content=data, headers={"Upload-Length": bad})) == (
            400,
            "bad_request",
        )
        wrong = {**length, "Upload-Offset": bad}
        assert refused(await http.put(named(data), content=data, headers=wrong)) == (400, "bad_request")
    assert refused(await http.put(named(data), content=data + b"x", headers=length)) == (422, "bad_blob")
    huge = {"Upload-Length": str(2**40)}
    assert refused(await http.put(named(data), content=data, headers=huge)) == (413, "message_too_large")
    for name in ("x", "A" * 64, "..", "%2e%2e%2ftokens.toml", "0" * 63):
        for response in (
            await http.get(f"/api/v1/blobs/{name}"),
            await http.put(f"/api/v1/blobs/{name}", headers=length),
        ):
            assert refused(response)[0] in (400, 404)
    assert (await http.put(named(data), content=data, headers=length)).json()["complete"]


async def test_an_empty_blob(http: httpx.AsyncClient) -> None:
    assert (await http.put(named(b""), content=b"", headers={"Upload-Length": "0"})).json()["complete"]
    assert (await http.get(named(b""))).content == b""


async def test_a_reader_may_not_upload(tmp_path: Path) -> None:
    async with running_server(tmp_path, no_auth=False) as server:
        headers = {**bearer(await enrol(server, "kiosk", role="reader")), "Upload-Length": "1"}
        async with httpx.AsyncClient(base_url=server.http_url, headers=headers) as http:
            assert refused(await http.put(named(b"x"), content=b"x")) == (403, "read_only")
            assert (await http.head(named(b"x"))).status_code == 404


# ---------------------------------------------------------------------------------------------- for machines


async def test_health_tells_versions(http: httpx.AsyncClient) -> None:
    response = await http.get("/health")
    assert (response.status_code, response.json()["status"], response.json()["protocol"]) == (200, "ok", 1)


async def test_a_failed_disk_is_told_by_health_until_it_works_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()

    def fail(*_: object, **__: object) -> None:
        raise StorageError("input/output error")

    async with running_server(tmp_path, store=store) as server, httpx.AsyncClient(base_url=server.http_url) as http:
        with monkeypatch.context() as patch:
            patch.setattr(store, "take_in", fail)
            answer = await sync(http, change(NOTE, "x", 1))
            assert [rejected["code"] for rejected in answer["rejected"]] == ["storage_failed"]
            response = await http.get("/health")
            assert (response.status_code, response.json()["status"]) == (503, "failed")
        assert "rejected" not in await sync(http, change(NOTE, "x", 1))
        assert (await http.get("/health")).status_code == 200


async def test_a_failing_read_is_an_error_with_a_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()

    def failing(error: Exception) -> Any:
        def fail(*_: object, **__: object) -> None:
            raise error

        return fail

    async with running_server(tmp_path, store=store) as server, httpx.AsyncClient(base_url=server.http_url) as http:
        await sync(http, change(NOTE, "x", 1))
        for error, code in (
            (StorageError("input/output error"), "storage_failed"),
            (KeyError("x"), "internal_error"),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(store, "changes_since", failing(error))
                assert (await sync(http, device="b"))["code"] == code
                async with plain_client(server, "c") as c:
                    assert c.greeting["code"] == code
            with monkeypatch.context() as patch:
                patch.setattr(store, "manifest", failing(error))
                assert refused(await http.get("/api/v1/manifest"))[1] == code


async def test_metrics_count_what_happens(server: Running, http: httpx.AsyncClient) -> None:
    async with plain_client(server, "b") as b:
        await b.push(b.change(NOTE, "x", 1), b.change("note:b.md", "x", -1))
        await sync(http, change("note:c.md", "x", 1), change("file:x.png", "", 2, blob={"sha256": "0" * 64, "size": 1}))
        text = (await http.get("/metrics")).text
    lines = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}
    assert lines["tidenote_connections"] == 1
    assert lines['tidenote_pushes_total{way="websocket"}'] == 1
    assert lines['tidenote_pushes_total{way="request"}'] == 1
    assert lines["tidenote_changes_accepted_total"] == 2
    assert lines['tidenote_changes_rejected_total{code="bad_timestamp"}'] == 1
    assert lines['tidenote_changes_rejected_total{code="blob_missing"}'] == 1
    assert lines["tidenote_commit_seconds_count"] == 2
    assert lines["tidenote_queue"] == 0
    assert NOTE not in text


async def test_the_api_describes_itself(http: httpx.AsyncClient) -> None:
    described = (await http.get("/api/v1/openapi/openapi.json")).json()
    assert set(described["paths"]) == {
        "/api/v1/sync",
        "/api/v1/manifest",
        "/api/v1/fetch",
        "/api/v1/blobs/{sha256}",
        *(f"/api/v1/conflicts{path}" for path in ("", "/one", "/resolve", "/reopen")),
        *(f"/api/v1/{path}" for path in ("history", "version", "restore", "restore-all", "undo")),
        *(f"/api/v1/{path}" for path in ("trash", "trash/restore", "gc")),
        *(f"/api/v1/{path}" for path in ("notes", "notes/{path}", "rename", "me", "pair", "redeem", "logout")),
        *(
            f"/api/v1/{path}"
            for path in (
                "devices",
                "devices/revoke",
                "devices/rotate",
                "vaults",
                "vaults/set",
                "vaults/unfence",
                "search",
            )
        ),
        "/api/v1/holds",
        "/api/v1/holds/decide",
        "/health",
        "/metrics",
    }
    page = await http.get("/api/v1/openapi")
    assert page.headers["content-type"].startswith("text/html")
    assert "<h2>PUT /api/v1/notes/{path}</h2>" in page.text
    assert "<script" not in page.text
    assert "://" not in page.text
    assert set(described["paths"]["/api/v1/blobs/{sha256}"]) == {"get", "head", "put"}
    assert "ErrorMessage" in json.dumps(described["components"])
