"""What devices know of conflicts, and what they ask the server about them; with a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from client.devices import config, device, until, until_shows
from server.running import running_server
from tidenote.client.client import SyncClient
from tidenote.client.rest import Rest
from tidenote.errors import ProtocolError
from tidenote.server.serve import Running
from tidenote.wire.messages import ReopenRequest, ResolveRequest, SyncPush, WireChange, WireChoice, WireDot, encode

pytestmark = pytest.mark.anyio

NOTE = "note:a.md"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_server(tmp_path / "data") as running:
        yield running


async def push(server: Running, author: str, value: str, timestamp: int, *base: WireDot) -> None:
    change = WireChange(NOTE, value, timestamp, author, base=list(base))
    async with Rest(config(server.endpoint, author)) as rest:
        await rest.sync(encode(SyncPush([change], 0)))


async def merged(server: Running) -> WireDot:
    """Make a merge to look at, of two edits at one Lamport time; return its dot."""
    await push(server, "x", "one\n\ntwo\n", 1)
    await push(server, "x", "ONE\n\ntwo\n", 5, WireDot(1, "x"))
    await push(server, "y", "one\n\nTWO\n", 5, WireDot(1, "x"))
    async with Rest(config(server.endpoint, "x")) as rest:
        (dot,) = (await rest.conflict(NOTE)).siblings
    return dot


async def until_conflicts(client: SyncClient, number: int) -> None:
    await until(client, lambda: client.status().conflicts == number, f"{number} conflicts are counted")


async def test_every_device_counts_a_merge_until_a_person_has_looked(server: Running, tmp_path: Path) -> None:
    async with device(tmp_path, server.endpoint, "me") as me, device(tmp_path, server.endpoint, "other") as other:
        await merged(server)
        for client in (me, other):
            await until_conflicts(client, 1)
        # An edit, and a device that comes later, change nothing about it.
        await me.put(NOTE, "edited\n")
        await me.flush()
        await until_shows(other, NOTE, "edited\n")
        async with device(tmp_path, server.endpoint, "late") as late:
            for client in (me, other, late):
                await until_conflicts(client, 1)
                assert client.journal.conflicts() == [NOTE]
            async with Rest(config(server.endpoint)) as rest:
                seen = await rest.conflict(NOTE)
                await rest.resolve(ResolveRequest(NOTE, seen.siblings, WireChoice(confirm=True)))
            for client in (me, other, late):
                await until_conflicts(client, 0)
                await until_shows(client, NOTE, "edited\n")


async def test_a_renamed_merge_is_still_counted_once(server: Running, tmp_path: Path) -> None:
    await merged(server)
    async with device(tmp_path, server.endpoint) as me:
        await until_conflicts(me, 1)
        await me.rename(NOTE, "note:b.md")
        await me.flush()
        await until(me, lambda: me.journal.conflicts() == ["note:b.md"], "the new name has the mark")


async def test_requests_about_conflicts(server: Running) -> None:
    dot = await merged(server)
    async with Rest(config(server.endpoint)) as rest:
        page = await rest.conflicts()
        assert [(entry.key, entry.authors) for entry in page.conflicts] == [(NOTE, ["x", "y"])]
        assert (await rest.conflicts(NOTE)).conflicts == []
        with pytest.raises(ProtocolError) as refused:
            await rest.resolve(ResolveRequest(NOTE, [WireDot(1, "x")], WireChoice(confirm=True)))
        assert refused.value.code == "stale"
        (settled,) = (await rest.resolve(ResolveRequest(NOTE, [dot], WireChoice(keep=WireDot(5, "y"))))).changes
        assert settled.value == "one\n\nTWO\n"
        now = WireDot(settled.timestamp, settled.device_id)
        (again,) = (await rest.reopen(ReopenRequest(NOTE, [now]))).changes
        assert (again.value, again.conflict) == ("one\n\nTWO\n", True)
