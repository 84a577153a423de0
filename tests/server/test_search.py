"""Searching: what is found, that nothing in a query is an operator, and that the index follows the log."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.running import PATIENCE_S, bearer, enrol, plain_client, running_server
from tidenote.errors import CODES, ProtocolError
from tidenote.server import search
from tidenote.server.search import SEARCH_FILE, SearchIndex, parse
from tidenote.server.serve import Running
from tidenote.server.store.memory import MemoryStore

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_server(tmp_path) as running:
        yield running


@pytest.fixture
async def http(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{server.http_url}/api/v1", timeout=PATIENCE_S) as client:
        yield client


async def write(http: httpx.AsyncClient, **notes: str) -> None:
    for name, text in notes.items():
        response = await http.put(f"/notes/{name}.md", content=text, headers={"If-None-Match": "*"})
        assert response.status_code == 200


async def find(http: httpx.AsyncClient, q: str, **more: Any) -> list[dict[str, Any]]:
    response = await http.get("/search", params={"q": q, **more})
    assert response.status_code == 200, response.text
    hits: list[dict[str, Any]] = response.json()["hits"]
    return hits


async def keys(http: httpx.AsyncClient, q: str, **more: Any) -> list[str]:
    return sorted(hit["title"] for hit in await find(http, q, **more))


def marked(hit: dict[str, Any]) -> str:
    return "".join(f"[{part['text']}]" if part["hit"] else part["text"] for part in hit["parts"])


async def test_words_are_found_from_their_beginnings(http: httpx.AsyncClient) -> None:
    await write(http, boat="# Boat\n\nThe hull is Naïve red.\n", car="A red car\n", empty="", hull="nothing")
    assert await keys(http, "RED") == ["boat", "car"]
    assert await keys(http, "naive hul") == ["boat"]
    assert await keys(http, "red nothing") == []
    assert await keys(http, "ull") == []
    # The path counts more than the text.
    assert [hit["title"] for hit in await find(http, "hull")] == ["hull", "boat"]
    assert marked((await find(http, "naive"))[0]) == "# Boat\n\nThe hull is [Naïve] red.\n"
    assert await keys(http, "") == await keys(http, "  ") == []


async def test_what_is_no_word_is_found_as_it_is_written(http: httpx.AsyncClient) -> None:
    await write(
        http,
        a="Learn C++ and C#, 100% *** [ ] a_b tomorrow@example.com",
        b="Learn C and 100",
        c="京都から東京都へ行く",
        d="สวัสดีชาวโลก",
        e='say "hello world" NEAR OR NOT (x)',
        f="You don't\n  stop, you roll; 東\n京 on",
    )
    for query, found in (
        ("c++", ["a"]),
        ("100%", ["a"]),
        ("***", ["a"]),
        ("learn ***", ["a"]),
        ("[ ]", ["a"]),
        ("a_b", ["a"]),
        ("tomorrow@example", ["a"]),
        ("tomorrow.example", []),
        ("learn", ["a", "b"]),
        ("東京", ["c"]),
        ("京都へ", ["c"]),
        ("京都 learn", []),
        ("ชาวโลก", ["d"]),
        ('"hello', ["e"]),
        ('"hello world"', ["e"]),
        ("\u201cHello  world\u201d say", ["e"]),
        ('"hello w"', ["e"]),
        ('"world hello"', []),
        ('"learn C++"', ["a"]),
        ('"learn C+++"', []),
        ('"c"', ["a", "b", "c"]),
        ('"東京都へ"', ["c"]),
        ('""', []),
        ('"don\'t stop you"', []),
        ('"don\'t stop, you"', ["f"]),
        ('"stop you roll"', ["f"]),
        ('"東 京"', ["f"]),
        ("NEAR OR", ["e"]),
        ("say NOT x", ["e"]),
        ("(x)", ["e"]),
        ("hello*", []),
        ("body:hello", []),
        ("^say", []),
        ("%", ["a"]),
        ("_", ["a"]),
        ("'; DROP TABLE notes; --", []),
    ):
        assert await keys(http, query) == found, query
    assert marked((await find(http, "c++"))[0]).startswith("Learn ")
    assert marked((await find(http, '"hello wor"'))[0]) == 'say "[hello world]" NEAR OR NOT (x)'
    assert marked((await find(http, '"stop you ro"'))[0]) == "You don't\n  [stop, you roll]; 東\n京 on"
    assert marked((await find(http, "東京"))[0]) == "京都から[東京]都へ行く"


async def test_a_long_note_is_cut_around_the_hit(http: httpx.AsyncClient) -> None:
    await write(http, a="x " * 1000 + "wort *** " + "y " * 1000)
    for query, hit in (("wort", "wort"), ("***", "***")):
        shown = marked((await find(http, query))[0])
        assert f"[{hit}]" in shown
        assert shown.startswith("…")
        assert shown.endswith("…")
        assert len(shown) < 400


async def test_marks_in_a_note_are_not_taken_for_ours(http: httpx.AsyncClient) -> None:
    await write(http, a="one \x02two\x03 three <b>bold</b>")
    assert marked((await find(http, "three"))[0]) == "one \x02two\x03 [three] <b>bold</b>"


async def test_the_index_follows_the_log(server: Running, http: httpx.AsyncClient) -> None:
    async with plain_client(server, "a") as a:
        await a.push(a.change("note:a.md", "apple", 1), a.change("file:apple.png", "", 1, blob=None))
        assert await keys(http, "apple") == ["a", "apple"]
        await a.push(a.change("note:a.md", "banana", 9))
        assert (await keys(http, "apple"), await keys(http, "banana")) == (["apple"], ["a"])
        await a.push(a.change("note:b.md", "cherry", 9), a.change("note:a.md", None, 20, moved_to="note:b.md"))
        assert (await keys(http, "banana"), await keys(http, "cherry")) == ([], ["b"])


async def test_pages(http: httpx.AsyncClient) -> None:
    await write(http, **{f"n{number}": "same" for number in range(5)})
    first = (await http.get("/search", params={"q": "same", "limit": 3})).json()
    assert (len(first["hits"]), first["more"]) == (3, True)
    rest = (await http.get("/search", params={"q": "same", "limit": 3, "offset": 3})).json()
    assert (len(rest["hits"]), rest["more"]) == (2, False)
    assert len({hit["key"] for hit in first["hits"] + rest["hits"]}) == 5
    bads: list[dict[str, Any]] = [
        {"q": "x" * 501},
        {"q": "x " * 21},
        {"q": "x", "limit": 0},
        {"q": "x", "offset": -1},
        {},
    ]
    for bad in bads:
        response = await http.get("/search", params=bad)
        assert response.json()["code"] == "bad_request"
        assert response.status_code == CODES["bad_request"].http_status


async def test_vaults_are_searched_apart(tmp_path: Path) -> None:
    async with running_server(tmp_path, no_auth=False) as server:
        await server.service.create_vault("work")
        mine, theirs = await enrol(server, "a", "main"), await enrol(server, "b", "work")
        async with httpx.AsyncClient(base_url=f"{server.http_url}/api/v1", headers=bearer(theirs)) as http:
            headers = {"If-None-Match": "*"}
            await http.put("/notes/canary.md", params={"vault": "work"}, content=b"canary", headers=headers)
            assert await keys(http, "canary", vault="work") == ["canary"]
            http.headers.update(bearer(mine))
            assert await keys(http, "canary") == []
            response = await http.get("/search", params={"q": "canary", "vault": "work"})
            assert response.json()["code"] == "unknown_vault"


async def test_an_index_of_another_log_is_made_anew(tmp_path: Path) -> None:
    """Another log under the same name: of another epoch, or behind what was indexed."""
    async with running_server(tmp_path) as server, httpx.AsyncClient(base_url=f"{server.http_url}/api/v1") as http:
        await write(http, old="apple", older="apple")
        assert await keys(http, "apple") == ["old", "older"]
    async with (
        running_server(tmp_path, store=MemoryStore()) as server,
        httpx.AsyncClient(base_url=f"{server.http_url}/api/v1") as http,
    ):
        await write(http, new="apple")
        assert await keys(http, "apple") == ["new"]


async def test_what_the_log_does_not_know_is_not_shown(
    server: Running, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    """A log that was restored from an older copy, and has grown past the index's cursor since."""
    await write(http, a="apple", b="apple")
    assert await keys(http, "apple") == ["a", "b"]
    with sqlite3.connect(tmp_path / SEARCH_FILE) as index:
        index.execute("UPDATE notes SET key = 'note:lost.md' WHERE key = 'note:a.md'")
        index.execute("UPDATE notes SET timestamp = 999 WHERE key = 'note:b.md'")
    index.close()
    assert await keys(http, "apple") == ["b"]
    assert await keys(http, "apple") == ["b"]


@pytest.mark.parametrize("damage", ["garbage", "truncated", "older"])
async def test_a_broken_index_is_made_anew(tmp_path: Path, damage: str) -> None:
    file = tmp_path / SEARCH_FILE
    async with running_server(tmp_path) as server, httpx.AsyncClient(base_url=f"{server.http_url}/api/v1") as http:
        await write(http, a="apple " * 5000)
        assert await keys(http, "apple") == ["a"]
    if damage == "garbage":
        file.write_bytes(b"no database" * 1000)
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:5000] + b"\0" * 4000)
    else:
        with sqlite3.connect(file) as index:
            index.execute("PRAGMA user_version = 99")
        index.close()
    async with running_server(tmp_path) as server, httpx.AsyncClient(base_url=f"{server.http_url}/api/v1") as http:
        assert await keys(http, "apple") == ["a"]


async def test_it_is_indexed_when_nothing_is_to_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "IDLE_S", 0.0)
    async with running_server(tmp_path) as server, httpx.AsyncClient(base_url=f"{server.http_url}/api/v1") as http:
        await write(http, a="apple")
        done = False
        while not done:
            index = server.service.search._index
            done = index is not None and await server.service.search._run(
                lambda index: index.cursor("main", server.service.hub("main").epoch, 10) > 0
            )


# ---------------------------------------------------------------------------------------------- the index alone


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SearchIndex]:
    opened = SearchIndex(tmp_path_factory.mktemp("index") / SEARCH_FILE)
    yield opened
    opened.close()


@given(st.text(max_size=60))
def test_no_query_fails(index: SearchIndex, text: str) -> None:
    with suppress(ProtocolError):  # too many words
        assert index.find("main", parse(text), 10, 0) == []


def test_a_search_that_takes_too_long_is_ended(index: SearchIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SEARCH_S", -1.0)
    with index._transaction():
        for number in range(2000):
            index._connection.execute("INSERT INTO notes VALUES (?, 'slow', ?, 1, 'a')", (number + 1, str(number)))
            index._connection.execute("INSERT INTO texts (rowid, path, body) VALUES (?, '', 'x')", (number + 1,))
    with pytest.raises(ProtocolError) as caught:
        index.find("slow", parse("***"), 10, 0)
    assert caught.value.code == "bad_request"


async def test_a_note_that_is_nothing_but_hits_costs_no_more_than_its_size(http: httpx.AsyncClient) -> None:
    await write(http, words="ha " * 300_000, signs="-" * 400_000 + "-+ -+")
    # By the square of the hits it would be an hour.
    assert marked((await find(http, "ha h"))[0]).startswith("[ha] [ha] [ha] ")
    assert marked((await find(http, "-+"))[0]).endswith("-[-+] [-+]")


@pytest.mark.parametrize("query", ["word", "***"])
def test_hits_come_in_order_without_sorting_their_texts(index: SearchIndex, query: str) -> None:
    statements: list[str] = []
    index._connection.set_trace_callback(statements.append)
    index.find("main", parse(query), 10, 0)
    index._connection.set_trace_callback(None)
    (statement,) = [statement for statement in statements if "notes.key" in statement]
    steps = index._connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
    assert steps
    assert not [step for step in steps if "TEMP B-TREE" in step[3]]
