from __future__ import annotations

import asyncio
import errno
import inspect
import os
import stat
import textwrap
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from client.devices import config, device, until, until_shows, values
from client.journals import open_journal
from client.proxy import proxy
from server.running import plain_client, running_server
from tidenote.client import client as client_module
from tidenote.client.client import Changes, Parked, SyncClient, default_journal_path, key_of
from tidenote.client.journal import BrokenJournal, Journal
from tidenote.config import SyncConfig
from tidenote.errors import AccessError, ConfigError, RefusedChange, StorageError
from tidenote.server.serve import Running

pytestmark = pytest.mark.anyio

NOTE = "note:a.md"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_server(tmp_path / "server") as found:
        yield found


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[SyncClient]:
    """Return a client that reaches nobody."""
    async with proxy() as network, device(tmp_path, network.endpoint) as client:
        yield client


# -- as a library


async def test_the_example_of_the_documentation_runs(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    example = inspect.getdoc(client_module) or ""
    code = textwrap.dedent("    async with" + example.split("    async with", 1)[1].split("\n\n", 1)[0])
    assert len(code.splitlines()) <= 10
    assert 'SyncConfig("laptop")' in code
    code = code.replace('SyncConfig("laptop")', "configuration")
    names: dict[str, object] = {"SyncClient": SyncClient, "configuration": config(server.endpoint, "laptop")}
    exec(f"async def example():\n{textwrap.indent(code, '    ')}", names)
    running = asyncio.create_task(names["example"]())  # type: ignore[operator]
    async with plain_client(server, "phone") as phone:
        await phone.until("note:ideas.md", "a text")
        await phone.push(phone.change("note:ideas.md", "a better text", 99))
        while "note:ideas.md a better text" not in capsys.readouterr().out:
            await phone.push()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert list((tmp_path / "home").rglob("laptop-*.db"))


def test_every_server_and_vault_has_a_journal_of_its_own() -> None:
    configs = [
        SyncConfig("a"),
        SyncConfig("b"),
        SyncConfig("a", vault="../x"),
        SyncConfig("a", "wss://example.org/ws/sync"),
    ]
    paths = {default_journal_path(each) for each in configs}
    assert len(paths) == 4
    assert len({path.parent for path in paths}) == 1


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("a.md", NOTE),
        ("note:a.md", NOTE),
        ("dir/a.png", "file:dir/a.png"),
        ("file:a.png", "file:a.png"),
        ("a\u0308.md", "note:ä.md"),
    ],
)
def test_keys_and_paths_are_names(name: str, key: str) -> None:
    assert key_of(name) == key


@pytest.mark.parametrize("name", ["", "../a.md", "/a.md", "note:a.png", "file:a.md", "a\\b.md", ".tidenote/x.md"])
async def test_a_bad_name_is_refused(alone: SyncClient, name: str) -> None:
    for ask in (alone.put(name, "x"), alone.get(name), alone.delete(name), alone.rename(name, "b.md")):
        with pytest.raises(RefusedChange) as caught:
            await ask
        assert caught.value.code == "bad_key"
    assert alone.status().pending == 0


# -- notes


async def test_what_is_written_can_be_read_at_once(alone: SyncClient) -> None:
    assert await alone.get("a.md") is None
    change = await alone.put("a.md", "text")
    assert (change.key, change.value, change.base) == (NOTE, "text", frozenset())
    assert await alone.get(NOTE) == "text"
    assert change.modified_at


async def test_the_same_content_is_not_written_again(alone: SyncClient, tmp_path: Path) -> None:
    first = await alone.put("a.md", "text")
    assert await alone.put("a.md", b"text") == first
    (tmp_path / "x").write_bytes(b"text")
    assert await alone.put("a.md", tmp_path / "x") == first
    picture = await alone.put("a.png", b"\x89PNG")
    assert await alone.put("a.png", b"\x89PNG") == picture
    assert alone.status().pending == 2
    assert picture.value is None


async def test_a_deleted_note_is_gone_and_may_come_back(alone: SyncClient) -> None:
    assert await alone.delete("a.md") is None
    await alone.put("a.md", "text")
    assert await alone.delete("a.md") is not None
    assert (await alone.get("a.md"), alone.list(), await alone.delete("a.md")) == (None, [], None)
    await alone.put("a.md", "text")
    assert alone.list() == [NOTE]


async def test_a_list_is_ordered_and_has_prefixes(alone: SyncClient) -> None:
    for name in ("b.md", "dir/x.png", "dir/a.md", "a.txt"):
        await alone.put(name, "x")
    assert alone.list() == ["note:a.txt", "note:b.md", "note:dir/a.md", "file:dir/x.png"]
    assert alone.list("dir/") == ["note:dir/a.md", "file:dir/x.png"]
    assert alone.list("note:dir/") == ["note:dir/a.md"]
    assert alone.list("nowhere/") == []


async def test_a_rename_is_a_creation_and_a_tombstone(alone: SyncClient) -> None:
    await alone.put("a.md", "text")
    creation, tombstone = await alone.rename("a.md", "b.md")
    assert (creation.key, creation.value, creation.base) == ("note:b.md", "text", frozenset())
    assert (tombstone.key, tombstone.value, tombstone.moved_to) == (NOTE, None, "note:b.md")
    assert alone.list() == ["note:b.md"]
    # And back again, over the tombstone.
    creation, _ = await alone.rename("b.md", "a.md")
    assert creation.base == frozenset([tombstone.dot])
    assert alone.list() == [NOTE]


async def test_a_rename_may_change_the_kind(alone: SyncClient) -> None:
    await alone.put("a.md", "text")
    creation, _ = await alone.rename("a.md", "a.bin")
    assert creation.blob
    assert await alone.get("a.bin") == b"text"
    await alone.rename("a.bin", "b.bin")
    assert await alone.get("b.bin") == b"text"
    await alone.rename("b.bin", "b.md")
    assert await alone.get("b.md") == b"text"
    assert alone.list() == ["note:b.md"]


async def test_a_rename_loses_nothing_by_mistake(alone: SyncClient) -> None:
    await alone.put("a.md", "a")
    await alone.put("b.md", "b")
    with pytest.raises(AccessError) as missing:
        await alone.rename("never.md", "c.md")
    assert missing.value.code == "not_found"
    for target in ("b.md", "a.md"):
        with pytest.raises(RefusedChange, match="already"):
            await alone.rename("a.md", target)
    assert [await alone.get(name) for name in ("a.md", "b.md")] == ["a", "b"]


async def test_text_that_no_disk_can_hold_is_refused(alone: SyncClient) -> None:
    with pytest.raises(RefusedChange) as caught:
        await alone.put("a.md", "\ud800")
    assert caught.value.code == "bad_value"
    with pytest.raises(FileNotFoundError):
        await alone.put("a.md", Path("/no/such/file"))


async def test_bytes_are_kept_until_they_are_uploaded_and_no_longer(tmp_path: Path) -> None:
    spool = tmp_path / "me.db.blobs"
    async with proxy() as network:
        async with device(tmp_path, network.endpoint) as client:
            await client.put("a.png", b"first")
            await client.put("a.png", b"second")
            assert stat.S_IMODE(spool.stat().st_mode) == 0o700
            (spool / "left by a crash.part").write_bytes(b"x")
        [kept] = spool.iterdir()
        assert kept.read_bytes() == b"second"
        async with running_server(tmp_path / "server") as server, device(tmp_path, network.endpoint) as client:
            network.target = server.port
            await client.flush(30)
            assert list(spool.iterdir()) == []
            assert await client.get("a.png") == b"second"
            assert list(spool.iterdir()) == []


@pytest.mark.parametrize("is_file", [False, True], ids=["bytes", "file"])
async def test_one_content_may_be_put_under_several_names_at_once(
    alone: SyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_file: bool
) -> None:
    (tmp_path / "source").write_bytes(b"\xff bytes")
    content = tmp_path / "source" if is_file else b"\xff bytes"
    both_wrote = threading.Barrier(2, timeout=30)
    monkeypatch.setattr(os, "fsync", lambda _: both_wrote.wait())
    await asyncio.gather(alone.put("a.bin", content), alone.put("b.bin", content))
    monkeypatch.undo()
    assert [await alone.get(name) for name in ("a.bin", "b.bin")] == [b"\xff bytes"] * 2


async def test_what_cannot_be_put_leaves_nothing_in_the_spool(
    alone: SyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "the disk is full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="full"):
        await alone.put("a.bin", b"\xff bytes")
    assert list((tmp_path / "me.db.blobs").iterdir()) == []


async def test_one_attachment_may_be_asked_for_several_times_at_once(server: Running, tmp_path: Path) -> None:
    async with device(tmp_path, server.endpoint, "a") as a, device(tmp_path, server.endpoint, "b") as b:
        await a.put("a.bin", b"\xff bytes")
        await until(b, lambda: "file:a.bin" in b.list(), "the file")
        assert await asyncio.gather(*(b.get("a.bin") for _ in range(4))) == [b"\xff bytes"] * 4
        assert list((tmp_path / "b.db.blobs").iterdir()) == []


# -- changes


async def test_changes_are_sets_that_never_grow_beyond_the_vault(server: Running, tmp_path: Path) -> None:
    async with device(tmp_path, server.endpoint) as client, plain_client(server, "other") as other:
        changes = client.changes()
        await client.caught_up(30)
        for number in range(20):
            await other.push(other.change(NOTE, f"text {number}", number + 1))
        await other.push(other.change("note:b.md", "x", 30))
        await until_shows(client, "note:b.md", "x")
        assert await anext(changes) == {NOTE, "note:b.md"}
        # Two readers do not take each other's.
        second = client.changes()
        await other.push(other.change("note:c.md", "x", 31))
        for reader in (changes, second):
            assert await anext(reader) == {"note:c.md"}
        waiting = asyncio.create_task(_collect(changes))
    assert await waiting == []
    assert await _collect(second) == []


async def _collect(changes: Changes) -> list[frozenset[str]]:
    return [keys async for keys in changes]


async def test_what_one_wrote_oneself_is_no_change(server: Running, tmp_path: Path) -> None:
    async with device(tmp_path, server.endpoint) as client:
        changes = client.changes()
        await client.put("a.md", "mine")
        await client.flush(30)
        async with plain_client(server, "other") as other:
            await other.push(other.change("note:b.md", "theirs", 30))
        assert await anext(changes) == {"note:b.md"}


async def test_changes_that_came_before_the_end_are_still_told() -> None:
    changes = Changes()
    changes.add([])
    changes.add(["a", "b"])
    changes.end(None)
    assert await _collect(changes) == [frozenset({"a", "b"})]
    failed = Changes()
    failed.end(BrokenJournal(Path("x"), "torn"))
    with pytest.raises(BrokenJournal):
        await anext(failed)


# -- how things stand


async def test_the_status_of_a_device_that_is_alone(alone: SyncClient) -> None:
    await alone.put("a.md", "text")
    await until(alone, lambda: alone.status().state == "offline", "offline")
    status = alone.status()
    assert (status.pending, status.parked, status.conflicts, status.behind, status.cursor) == (1, (), 0, 0, 0)
    assert (status.caught_up, status.last_confirmed_at) == (False, None)
    assert (status.last_error_code, status.device_id) == ("unreachable", "me")


async def test_the_status_names_what_was_refused(server: Running, tmp_path: Path) -> None:
    async with device(tmp_path, server.endpoint) as client:
        await client.put("a.md", "text")
        await client.flush(30)
        assert values(server, NOTE) == {"text"}
        await client.put("a.md", "more")
        client.journal.park(client.journal.pending()[0], "read_only", "this device may only read")
        assert client.status().parked == (Parked(NOTE, "read_only", "this device may only read"),)


async def test_a_journal_of_somebody_else_is_refused_and_closed(tmp_path: Path) -> None:
    open_journal(tmp_path / "me.db", "somebody").close()
    with pytest.raises(ConfigError, match="somebody"):
        async with device(tmp_path, "ws://127.0.0.1:9/ws/sync"):
            pass
    assert not (tmp_path / "me.db-wal").exists()


async def test_a_proxy_that_is_of_no_use_is_told_and_leaves_no_journal_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    with pytest.raises(ConfigError, match="ALL_PROXY"):
        async with device(tmp_path, "ws://notes.example/ws/sync"):
            pass
    assert (tmp_path / "me.db").exists()
    assert not (tmp_path / "me.db-wal").exists()


async def test_a_proxy_that_only_the_socket_goes_by_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOCKS_PROXY", "socks5://127.0.0.1:1")
    async with device(tmp_path, "ws://notes.example/ws/sync") as client:
        await until(client, lambda: client.status().state == "stopped", "the end")
        assert client.status().last_error_code == "bad_config"
        assert "SOCKS_PROXY" in (client.status().last_error or "")


async def test_a_journal_that_breaks_under_way_is_told_to_everyone(server: Running, tmp_path: Path) -> None:
    async with device(tmp_path, server.endpoint) as client, plain_client(server, "other") as other:
        changes = client.changes()
        await other.push(other.change(NOTE, "text", 5))
        assert await anext(changes) == {NOTE}
        client.journal._tables._db.execute("UPDATE confirmed SET changes = x'7b'")
        await other.push(other.change(NOTE, "more", 6))
        with pytest.raises(BrokenJournal):
            await anext(changes)
        with pytest.raises(BrokenJournal):
            await anext(client.changes())
        with pytest.raises(BrokenJournal):
            await until(client, lambda: False, "it is told")
        status = client.status()
        assert (status.state, status.last_error_code) == ("stopped", "storage_failed")


@pytest.mark.parametrize("method", ["uploads", "uploaded"])
async def test_a_full_disk_under_an_upload_is_waited_out(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """As it is under what the server says."""
    real, failures = getattr(Journal, method), [StorageError("the disk is full", "storage_full")]

    def full(journal: Journal, *args: object) -> object:
        if journal.uploads() if method == "uploaded" else journal.pending():
            while failures:
                raise failures.pop()
        return real(journal, *args)

    monkeypatch.setattr(Journal, method, full)
    async with device(tmp_path, server.endpoint) as client:
        await client.put("photo.png", b"a picture")
        await client.flush(30)
        assert not failures
        assert client.status().state == "online"


async def test_a_bug_is_not_swallowed(alone: SyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(_: Journal) -> None:
        raise ZeroDivisionError

    changes = alone.changes()
    monkeypatch.setattr(Journal, "uploads", bug)
    alone.wake()
    with pytest.raises(ZeroDivisionError):
        await anext(changes)
    assert "ZeroDivisionError" in (alone.status().last_error or "")
