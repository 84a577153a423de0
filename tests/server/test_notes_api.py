"""Notes by REST, over real sockets."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.running import PATIENCE_S, plain_client, running_server
from tidenote.core.version import BlobRef, Change, Dot
from tidenote.errors import CODES
from tidenote.server.serve import Running

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_server(tmp_path) as running:
        yield running


@pytest.fixture
async def http(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{server.http_url}/api/v1", timeout=PATIENCE_S) as client:
        yield client


NEW = {"If-None-Match": "*"}


def seen(response: httpx.Response) -> dict[str, str]:
    """Return the header that says that a response's version was seen."""
    return {"If-Match": response.headers["etag"]}


def refused(response: httpx.Response) -> str:
    """Return the code of an error, after checking that the status belongs to it."""
    code: str = response.json()["code"]
    assert CODES[code].http_status == response.status_code
    return code


async def write(http: httpx.AsyncClient, path: str, text: str | bytes, **headers: str) -> httpx.Response:
    response = await http.put(f"/notes/{path}", content=text, headers=headers or NEW)
    assert response.status_code == 200, response.text
    return response


async def listed(http: httpx.AsyncClient, **params: Any) -> list[str]:
    return [note["key"] for note in (await http.get("/notes", params=params)).json()["notes"]]


async def test_a_note_is_written_read_altered_and_deleted(server: Running, http: httpx.AsyncClient) -> None:
    async with plain_client(server, "b") as b:
        made = await write(http, "work/a%20b.md", "one")
        await b.until("note:work/a b.md", "one")
        assert made.json()["changes"][0]["base"] == []
        read = await http.get("/notes/work/a b.md")
        assert (read.text, read.headers["etag"]) == ("one", made.headers["etag"])
        assert read.headers["content-type"] == "text/markdown; charset=utf-8"
        assert read.headers["content-disposition"] == "attachment"
        for known in (made.headers["etag"], f"W/{made.headers['etag']}", f'"1.x", {made.headers["etag"]}', "*"):
            answer = await http.get("/notes/work/a b.md", headers={"If-None-Match": known})
            assert (answer.status_code, answer.content) == (304, b"")
        again = await http.put("/notes/work/a b.md", content="two", headers=seen(read))
        assert again.headers["etag"] != read.headers["etag"]
        await b.until("note:work/a b.md", "two")
        gone = await http.delete("/notes/work/a b.md", headers=seen(again))
        assert (gone.status_code, "etag" in gone.headers) == (200, False)
        await b.until("note:work/a b.md", None)
    assert refused(await http.get("/notes/work/a b.md")) == "not_found"
    assert await listed(http) == []
    # The same text again is a note again, and not taken for an echo of the deleted one.
    await write(http, "work/a b.md", "two")
    assert (await http.get("/notes/work/a b.md")).text == "two"


async def test_what_was_not_seen_is_not_written_over(http: httpx.AsyncClient) -> None:
    first = await write(http, "a.md", "one")
    second = await http.put("/notes/a.md", content="two", headers=seen(first))
    for method, headers in (("PUT", seen(first)), ("DELETE", seen(first)), ("PUT", NEW)):
        response = await http.request(method, "/notes/a.md", content=b"three", headers=headers)
        assert refused(response) == "stale"
        assert response.headers["etag"] == second.headers["etag"]
    for method, headers in (("PUT", {}), ("DELETE", {}), ("PUT", {"If-None-Match": '"1.a"'}), ("DELETE", NEW)):
        assert refused(await http.request(method, "/notes/a.md", content=b"three", headers=headers)) == "bad_request"
    absent = await http.put("/notes/b.md", content="x", headers=seen(second))
    assert (refused(absent), "etag" in absent.headers) == ("stale", False)
    assert (await http.get("/notes/a.md")).text == "two"
    assert (await http.put("/notes/a.md", content="four", headers={"If-Match": "*"})).status_code == 200


async def test_writes_of_the_same_moment_lose_nothing(server: Running, http: httpx.AsyncClient) -> None:
    first = await write(http, "a.md", "one\n\ntwo\n")

    async def put(text: str, device: str) -> httpx.Response:
        return await http.put("/notes/a.md", content=text, headers=seen(first), params={"device_id": device})

    answers = await asyncio.gather(put("ONE\n\ntwo\n", "x"), put("one\n\nTWO\n", "y"), put("ONE!\n\ntwo\n", "x"))
    written = [answer for answer in answers if answer.status_code == 200]
    assert written
    assert all(refused(answer) == "stale" for answer in answers if answer not in written)
    history = (await http.get("/history", params={"key": "note:a.md"})).json()["versions"]
    authors = [version["device_id"] for version in history]
    assert len([author for author in authors if not author.startswith("server")]) == 1 + len(written)


async def test_authors_are_who_they_say(server: Running, http: httpx.AsyncClient) -> None:
    def author(response: httpx.Response) -> str:
        device_id: str = response.json()["changes"][0]["device_id"]
        return device_id

    assert author(await write(http, "a.md", "x")) == "rest"
    named = await http.put("/notes/b.md", content="x", headers=NEW, params={"device_id": "script"})
    assert author(named) == "script"
    bad = await http.put("/notes/c.md", content="x", headers=NEW, params={"device_id": "server"})
    assert refused(bad) == "bad_request"


async def test_files_and_texts_that_are_none_are_blobs(server: Running, http: httpx.AsyncClient) -> None:
    limit = server.service.config.max_text_bytes
    for path, body in (
        ("image.png", b"\x89PNG\r\n\0"),
        ("plain.bin", b"text"),
        ("latin.md", b"caf\xe9"),
        ("nul.md", b"a\0b"),
        ("long.md", b"x" * (limit + 1)),
        ("empty.png", b""),
    ):
        made = await write(http, path, body)
        assert made.json()["changes"][0]["blob"]["size"] == len(body)
        read = await http.get(f"/notes/{path}")
        assert read.content == body
        assert (read.headers["content-type"], read.headers["etag"]) == (
            "application/octet-stream",
            made.headers["etag"],
        )
    await write(http, "again.png", b"\x89PNG\r\n\0")
    most = server.service.config.max_frame_bytes
    assert refused(await http.put("/notes/huge.bin", content=b"x" * (most + 1), headers=NEW)) == "message_too_large"


async def test_the_length_of_a_file_is_that_of_its_bytes(server: Running, http: httpx.AsyncClient) -> None:
    """Also where a log from before this was checked says something else."""
    sha256 = hashlib.sha256(b"bytes").hexdigest()
    await write(http, "right.png", b"bytes")
    wrong = Change("file:wrong.png", Dot(1, "a"), blob=BlobRef(sha256, 9))
    refused_now = await server.service.hub("main").submit([wrong])
    assert [rejected.code for rejected in refused_now.rejected] == ["bad_value"]
    server.service.store.take_in("main", [[wrong]], wall_ms=1, check_blob=bool)
    assert (await http.get("/notes/wrong.png")).content == b"bytes"


async def test_a_rename_is_one_step(server: Running, http: httpx.AsyncClient) -> None:
    async def rename(key: str, to: str, etag: str) -> httpx.Response:
        timestamp, _, device_id = etag.strip('"').partition(".")
        body = {"key": key, "to": to, "timestamp": int(timestamp), "device_id": device_id}
        return await http.post("/rename", json=body)

    made = await write(http, "a.md", "text")
    other = await write(http, "taken.md", "mine")
    async with plain_client(server, "b") as b:
        moved = await rename("note:a.md", "note:b/c.md", made.headers["etag"])
        assert moved.status_code == 200
        await b.until("note:a.md", None)
        assert b.notes["note:a.md"][0]["moved_to"] == "note:b/c.md"
        assert b.values("note:b/c.md") == ["text"]
    assert refused(await rename("note:a.md", "note:d.md", made.headers["etag"])) == "stale"
    assert refused(await rename("note:b/c.md", "note:taken.md", moved.headers["etag"])) == "stale"
    assert refused(await rename("note:b/c.md", "note:e.md", other.headers["etag"])) == "stale"
    assert refused(await rename("note:b/c.md", "note:b/c.md", moved.headers["etag"])) == "bad_request"
    for bad in ("note:../x.md", "note:x.png", "x.md", ""):
        assert refused(await rename("note:b/c.md", bad, moved.headers["etag"])) == "bad_key"
    back = await rename("note:b/c.md", "note:a.md", moved.headers["etag"])
    assert back.status_code == 200
    assert (await http.get("/notes/a.md")).text == "text"


async def test_of_several_renames_of_one_moment_one_is_written(server: Running, http: httpx.AsyncClient) -> None:
    timestamp, _, device_id = (await write(http, "a.md", "text")).headers["etag"].strip('"').partition(".")

    async def rename(to: str) -> httpx.Response:
        body = {"key": "note:a.md", "to": to, "timestamp": int(timestamp), "device_id": device_id}
        return await http.post("/rename", json=body)

    answers = await asyncio.gather(*(rename(f"note:{name}.md") for name in "bcdef"))
    codes = [None if answer.status_code == 200 else refused(answer) for answer in answers]
    assert sorted(codes, key=str) == [None, *["stale"] * 4]
    assert await listed(http) == [f"note:{'bcdef'[codes.index(None)]}.md"]


async def test_of_several_writes_over_one_version_one_is_written(server: Running, http: httpx.AsyncClient) -> None:
    first = await write(http, "a.md", "one")

    async def put(device: str) -> httpx.Response:
        return await http.put("/notes/a.md", content=device, headers=seen(first), params={"device_id": device})

    answers = dict(zip("xyz", await asyncio.gather(*map(put, "xyz")), strict=True))
    (written,) = [device for device, answer in answers.items() if answer.status_code == 200]
    assert (await http.get("/notes/a.md")).text == written


async def test_lists_come_page_by_page(http: httpx.AsyncClient) -> None:
    for path in ("a.md", "b/x.md", "b/y.png", "b/z.md", "ba.md", "c%25.md", "é.md"):
        await write(http, path, path)
    etag = seen(await http.get("/notes/b/x.md"))
    assert (await http.delete("/notes/b/x.md", headers=etag)).status_code == 200
    everything = ["file:b/y.png", "note:a.md", "note:b/z.md", "note:ba.md", "note:c%.md", "note:é.md"]
    assert await listed(http) == everything
    assert await listed(http, prefix="b/") == ["file:b/y.png", "note:b/z.md"]
    assert await listed(http, prefix="b") == ["file:b/y.png", "note:b/z.md", "note:ba.md"]
    assert await listed(http, prefix="%") == []
    assert await listed(http, prefix="é") == ["note:é.md"]
    for limit in (1, 2, 5, 6):
        found: list[str] = []
        after: dict[str, str] = {}
        while True:
            page = (await http.get("/notes", params={"limit": limit, **after})).json()
            found += [note["key"] for note in page["notes"]]
            if "next" not in page:
                break
            after = {"after": page["next"]}
        assert found == everything
    assert refused(await http.get("/notes", params={"limit": 0})) == "bad_request"
    one = (await http.get("/notes", params={"prefix": "a"})).json()["notes"][0]
    assert (one["size"], one["device_id"], "conflict" in one) == (4, "rest", False)
    assert one["modified_at"] > 1_700_000_000_000


@pytest.mark.parametrize(
    "path",
    "..%2Fx.md %2e%2e/x.md a/../../x.md %2Fetc/passwd a%5Cb.md a%00.md .tidenote/x.md C:x a//b.md a.md/ %ff.md".split(),
)
async def test_paths_that_lead_elsewhere_are_refused(server: Running, path: str) -> None:
    """Sent as they are: a client would tidy them up."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    head = f"PUT /api/v1/notes/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nIf-None-Match: *\r\n"
    writer.write(f"{head}Content-Length: 1\r\nConnection: close\r\n\r\nx".encode())
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert b'"code":"bad_key"' in answer
    assert answer.startswith(b"HTTP/1.1 422")
