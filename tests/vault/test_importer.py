"""A folder that is brought into a vault once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from server.running import running_server
from tidenote.client.client import SyncClient
from tidenote.config import SyncConfig
from tidenote.server.serve import Running
from tidenote.vault.ignore import IgnoreRules
from tidenote.vault.importer import Imported, import_folder

pytestmark = pytest.mark.anyio


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


async def bring_in(server: Running, source: Path, room: Path, name: str) -> Imported:
    config = SyncConfig(device_id=name, sync_endpoint=server.endpoint)
    async with SyncClient(config, room / f"{name}.db") as client:
        await client.caught_up(60)
        done = await import_folder(source, room / name, client, IgnoreRules(), step=lambda done, total: (done, total))
        await client.flush(60)
        assert client.status().parked == ()
    return done


async def contents(server: Running, room: Path) -> dict[str, str | bytes | None]:
    async with SyncClient(SyncConfig(device_id="reader", sync_endpoint=server.endpoint), room / "reader.db") as client:
        await client.caught_up(60)
        return {key.partition(":")[2]: await client.get(key) for key in client.list()}


async def test_nothing_is_overwritten_and_nothing_comes_twice(tmp_path: Path) -> None:
    first = write(
        tmp_path / "first",
        {"a.md": b"one\r\n", "deep/er/b.md": b"two", "p.png": bytes(3_000_000), "odd.md": b"\xff\xfe", "x/y.md": b"y"}
        | {"x/.hidden.md": b"h"},
    )
    (first / ".tidenote").mkdir()
    (first / ".tidenote" / "journal.db").write_text("another vault's")
    (first / ".git").mkdir()
    (first / "link.md").symlink_to(first / "a.md")
    os.mkfifo(first / "pipe.md")
    second = write(tmp_path / "second", {"a.md": b"another\n", "deep/er/b.md": b"two", "new.md": b"new"})
    async with running_server(tmp_path / "data") as server:
        done = await bring_in(server, first, tmp_path, "one")
        assert (done.written, done.same, done.beside) == (5, 0, {})
        assert sorted(done.skipped) == ["link.md", "pipe.md"]
        assert done.ignored == [".git/", "x/.hidden.md"]
        done = await bring_in(server, second, tmp_path, "two")
        assert (done.written, done.same, done.beside) == (2, 1, {"a.md": "a (imported).md"})
        for name in ("three", "four"):
            done = await bring_in(server, second, tmp_path, name)
            assert (done.written, done.same, done.skipped) == (0, 3, {}), "a second time there is nothing to do"
        third = write(tmp_path / "third", {"a.md": b"a third\n"})
        assert (await bring_in(server, third, tmp_path, "five")).beside == {"a.md": "a (imported 2).md"}
        found = await contents(server, tmp_path)
    assert found == {
        "a.md": "one\r\n",
        "a (imported).md": "another\n",
        "a (imported 2).md": "a third\n",
        "deep/er/b.md": "two",
        "new.md": "new",
        "odd.md": b"\xff\xfe",
        "p.png": bytes(3_000_000),
        "x/y.md": "y",
    }
    assert {path.name for path in first.iterdir()} >= {".tidenote", "pipe.md", "link.md", "a.md"}, "it is only read"


async def test_of_the_longest_name_both_are_there(tmp_path: Path) -> None:
    name = f"{'漢' * 84}.md"
    async with running_server(tmp_path / "data") as server:
        for number, text in enumerate((b"one\n", b"two\n")):
            source = write(tmp_path / f"source{number}", {name: text})
            done = await bring_in(server, source, tmp_path, f"device{number}")
            assert (done.written, done.skipped) == (1, {})
        assert await contents(server, tmp_path) == {name: "one\n", f"{'漢' * 80} (imported).md": "two\n"}


async def test_as_deep_as_a_key_can_be(tmp_path: Path) -> None:
    deepest = "a/" * 507
    source = write(tmp_path / "source", {f"{deepest}x.md": b"one", f"{deepest}too deep for any key/x.md": b"two"})
    async with running_server(tmp_path / "data") as server:
        done = await bring_in(server, source, tmp_path, "one")
        assert (done.written, list(done.skipped)) == (1, [f"{deepest}too deep for any key"])
        assert await contents(server, tmp_path) == {f"{deepest}x.md": "one"}
    for copy in ("source", "one"):
        shutil.rmtree(tmp_path / copy)
