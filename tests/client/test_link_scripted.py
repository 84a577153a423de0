"""The link against a server that misbehaves in ways in which ours does not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from client.devices import device, until, until_shows
from client.scripted import Message, Talk, scripted
from tidenote.client import link
from tidenote.client.journal import Write
from tidenote.errors import ProtocolError, StorageError

pytestmark = pytest.mark.anyio

NOTE = "note:a.md"


def change(key: str = NOTE, value: str | None = "text", timestamp: int = 5, **more: Any) -> Message:
    return {"key": key, "value": value, "timestamp": timestamp, "device_id": "other", **more}


async def test_a_cursor_is_acknowledged_once_it_is_durable_and_named_on_the_next_connection(tmp_path: Path) -> None:
    last_acks: list[int] = []

    async def script(talk: Talk) -> None:
        push = await talk.push()
        last_acks.append(push["last_ack"])
        if talk.number:
            await talk.answer(push, 9)
            await talk.stay()
        await talk.answer(push, 7, changes=[change()])
        acknowledgement = await talk.push()
        assert "id" not in acknowledgement
        assert acknowledgement["changes"] == []
        last_acks.append(acknowledgement["last_ack"])
        await talk.send(ack_timestamp=9)
        last_acks.append((await talk.push())["last_ack"])

    async with scripted(script) as endpoint, device(tmp_path, endpoint) as client:
        await until(client, lambda: len(last_acks) == 4, "four acknowledgements")
        assert last_acks == [0, 7, 9, 9]
        assert client.list() == [NOTE]


async def test_one_push_is_under_way_and_the_next_has_everything_since(tmp_path: Path) -> None:
    pushes: list[list[str]] = []
    arrived, written = asyncio.Event(), asyncio.Event()

    async def script(talk: Talk) -> None:
        await talk.answer(await talk.push())
        first = await talk.question()
        arrived.set()
        await written.wait()
        # A live delivery without an id, and one with another, confirm nothing.
        await talk.send(ack_timestamp=2)
        await talk.send(ack_timestamp=3, id=99)
        await talk.answer(first, 4)
        while len(pushes) < 2:
            push = await talk.question()
            pushes.append([change["key"] for change in push["changes"]])
            await talk.answer(push, 5)
            # The same answer again is no news.
            await talk.answer(push, 5)
        await talk.stay()

    async with scripted(script) as endpoint, device(tmp_path, endpoint) as client:
        await client.caught_up(30)
        await client.put("first.md", "x")
        await arrived.wait()
        for name in ("b.md", "c.md", "d.md"):
            await client.put(name, "x")
        written.set()
        await client.flush(30)
        await client.put("e.md", "x")
        await client.flush(30)
        assert pushes == [["note:b.md", "note:c.md", "note:d.md"], ["note:e.md"]]


@pytest.mark.parametrize(
    "nonsense",
    [
        "not JSON",
        '{"type": "sync_ack"}',
        '{"type": "sync_ack", "ack_timestamp": -1, "changes": []}',
        '{"type": "sync_ack", "ack_timestamp": 1, "changes": [], "id": 1, "rejected": [{"key": "note:never.md"}]}',
        '{"type": "error", "code": "a_code_of_the_future", "message": "?"}',
        '{"type": "error", "code": "server_stopping", "message": "bye"}',
        '{"type": "error", "code": "too_slow", "message": "bye"}',
    ],
)
async def test_after_nonsense_or_a_passing_error_it_tries_again(tmp_path: Path, nonsense: str) -> None:
    async def script(talk: Talk) -> None:
        push = await talk.push()
        if talk.number < 2:
            await talk.socket.send(nonsense)
            await talk.socket.wait_closed()
        else:
            await talk.answer(push)
            await talk.stay()

    async with scripted(script) as endpoint, device(tmp_path, endpoint) as client:
        await client.put("a.md", "text")
        await client.flush(30)
        assert client.status().last_error is None


async def test_messages_of_a_later_version_are_ignored(tmp_path: Path) -> None:
    async def script(talk: Talk) -> None:
        push = await talk.push()
        await talk.socket.send('{"type": "weather", "sunny": true}')
        await talk.answer(push, 3, mood="good", changes=[change(colour="red")])
        await talk.stay()

    async with scripted(script) as endpoint, device(tmp_path, endpoint) as client:
        await until_shows(client, NOTE, "text")


@pytest.mark.parametrize("code", ["bad_message", "message_too_large", "forbidden", "fenced"])
async def test_what_trying_again_does_not_cure_stops_with_a_clear_word(tmp_path: Path, code: str) -> None:
    async def script(talk: Talk) -> None:
        await talk.push()
        assert talk.number == 0
        await talk.socket.send(f'{{"type": "error", "code": "{code}", "message": "because of {code}"}}')
        await talk.socket.wait_closed()

    async with scripted(script) as endpoint, device(tmp_path, endpoint) as client:
        with pytest.raises((ProtocolError, StorageError, Exception), match=f"because of {code}"):
            await client.caught_up(30)
        status = client.status()
        assert (status.state, status.last_error, status.last_error_code) == ("stopped", f"because of {code}", code)


async def test_a_server_that_never_answers_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "ANSWER_TIMEOUT_S", 0.05)

    async def script(talk: Talk) -> None:
        push = await talk.push()
        if talk.number == 0:
            await talk.socket.wait_closed()
        await talk.answer(push)
        await talk.stay()

    async with scripted(script) as endpoint, device(tmp_path, endpoint) as client:
        await client.caught_up(30)
        assert client.status().state == "online"


async def test_a_change_that_must_not_be_is_skipped_and_the_others_are_applied(tmp_path: Path) -> None:
    async def script(talk: Talk) -> None:
        push = await talk.push()
        bad = [change("note:../../etc/passwd"), change("note:b.md", "x\0y"), change("note:c.md", timestamp=2**53)]
        await talk.answer(push, 3, changes=[*bad, change()])
        await talk.stay()

    async with scripted(script) as endpoint, device(tmp_path, endpoint) as client:
        await until_shows(client, NOTE, "text")
        assert client.list() == [NOTE]
        assert client.journal.meta.cursor == 3


async def test_what_the_store_could_not_take_is_sent_again_and_holds_up_nothing(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    async def script(talk: Talk) -> None:
        while True:
            push = await talk.question()
            rejected = []
            if push["changes"]:
                seen.append([sent["key"] for sent in push["changes"]])
                names = ("key", "timestamp", "device_id")
                rejected = [
                    {**{name: sent[name] for name in names}, "code": "storage_full", "message": "full"}
                    for sent in push["changes"]
                    if sent["key"] == NOTE and len(seen) < 4
                ]
            await talk.answer(push, 3, rejected=rejected)

    async with scripted(script) as endpoint, device(tmp_path, endpoint) as client:
        client.journal.write([Write(NOTE, "text"), Write("note:b.md", "text")])
        await client.flush(30)
        assert seen == [[NOTE, "note:b.md"], [NOTE], [NOTE], [NOTE]]


@pytest.mark.parametrize("code", ["fenced", "resync_required"])
async def test_a_refusal_that_concerns_the_whole_connection_ends_it(tmp_path: Path, code: str) -> None:
    async def script(talk: Talk) -> None:
        push = await talk.push()
        rejected = [
            {"key": sent["key"], "timestamp": sent["timestamp"], "device_id": "me", "code": code, "message": "no"}
            for sent in push["changes"]
        ]
        await talk.answer(push, 3, rejected=rejected)
        await talk.stay()

    async with scripted(script) as endpoint, device(tmp_path, endpoint) as client:
        await client.put("a.md", "text")
        await until(client, lambda: client.status().last_error is not None, "an error")
        assert [row.change.value for row in client.journal.pending()] == ["text"]


async def test_a_refusal_that_is_worth_another_try_is_forgotten_when_the_client_is_closed(tmp_path: Path) -> None:
    async def script(talk: Talk) -> None:
        push = await talk.push()
        rejected = [
            {
                "key": sent["key"],
                "timestamp": sent["timestamp"],
                "device_id": "me",
                "code": "storage_full",
                "message": "",
            }
            for sent in push["changes"]
        ]
        await talk.answer(push, 3, rejected=rejected)
        await talk.stay()

    async with scripted(script) as endpoint, device(tmp_path, endpoint) as client:
        await client.put("a.md", "text")
        await until(client, lambda: client._link._retry is not None, "a refusal")
    assert client._link._retry is not None
    assert client._link._retry.cancelled()


async def test_a_doubt_that_cannot_be_settled_now_stays(tmp_path: Path) -> None:
    """This server has no REST: the connection goes on all the same."""

    async def script(talk: Talk) -> None:
        push = await talk.push()
        if talk.number == 0:
            return
        await talk.answer(push, 3)
        await talk.stay()

    async with scripted(script) as endpoint, device(tmp_path, endpoint) as client:
        await client.put("a.md", "text")
        await client.flush(30)
        await client.put("b.md", "text")
        await client.flush(30)
        assert client.journal.doubts() == [NOTE]
        assert client.status().state == "online"
