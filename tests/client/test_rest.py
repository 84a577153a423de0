from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from client.devices import config, device
from client.proxy import Proxy, proxy
from server.running import running_server
from tidenote.client import rest as rest_module
from tidenote.client.rest import Rest, error_from, error_of_code
from tidenote.config import SyncConfig
from tidenote.core.version import BlobRef
from tidenote.errors import (
    CODES,
    AccessError,
    ConfigError,
    ProtocolError,
    RefusedChange,
    StorageError,
    TidenoteError,
    UnreachableError,
)
from tidenote.server.serve import Running

# ruff: noqa: ASYNC240 - small local files
pytestmark = pytest.mark.anyio

DATA = hashlib.shake_128(b"seed").digest(1_000_000)
BLOB = BlobRef(hashlib.sha256(DATA).hexdigest(), len(DATA))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_server(tmp_path / "server") as found:
        yield found


@pytest.fixture
async def network(server: Running) -> AsyncIterator[Proxy]:
    async with proxy(server.port) as found:
        yield found


@pytest.fixture
async def rest(network: Proxy) -> AsyncIterator[Rest]:
    async with Rest(config(network.endpoint)) as found:
        yield found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(DATA)
    return path


# -- the environment


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "ftp://127.0.0.1:1", "127.0.0.1:x"])
def test_a_proxy_that_is_of_no_use_is_named(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ConfigError, match=r"^ALL_PROXY names a proxy"):
        Rest(SyncConfig("me", "wss://notes.example/ws/sync"))
    Rest(config("ws://127.0.0.1:1/ws/sync"))


# -- answers


@pytest.mark.parametrize("status", [200, 500])
async def test_an_answer_without_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setattr(rest_module, "MAX_ANSWER_BYTES", 2**20)
    bomb = gzip.compress(bytes(2**24))

    head = f"HTTP/1.1 {status} Found\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
    async with hostile(head.encode() + bomb) as asking:
        with pytest.raises(UnreachableError, match="more than 1048576 bytes"):
            await asking.manifest()


@pytest.mark.parametrize("offset", ["9" * 5000, "9" * 19, "-1", "x", ""])
async def test_an_offset_that_is_none_is_not_used(source: Path, offset: str) -> None:
    async with hostile(f"HTTP/1.1 404 Not Found\r\nUpload-Offset: {offset}\r\n\r\n".encode()) as asking:
        with pytest.raises(UnreachableError, match="no offset"):
            await asking.upload(BLOB, source)


@pytest.mark.parametrize("clock", ["9" * 30, "-1"])
async def test_a_clock_that_is_none_is_not_used(clock: str) -> None:
    body = f'{{"epoch": "1-aa", "clock": {clock}, "entries": []}}'
    async with hostile(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()) as asking:
        with pytest.raises(UnreachableError, match="clock"):
            await asking.manifest()


@asynccontextmanager
async def hostile(answer: bytes) -> AsyncIterator[Rest]:
    """Yield what asks a server that always gives this answer."""

    async def give(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(give, "127.0.0.1", 0)
    async with server, Rest(config(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws/sync")) as asking:
        yield asking


# -- errors


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_becomes_an_error_with_its_action(code: str) -> None:
    error = error_of_code(code, "why")
    assert (error.code, error.message, error.action) == (code, "why", CODES[code].action)


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (401, b'{"type":"error","code":"unauthorized","message":"m"}', AccessError, "unauthorized"),
        (404, b'{"type":"error","code":"unknown_vault","message":"m"}', AccessError, "unknown_vault"),
        (507, b'{"type":"error","code":"storage_full","message":"m"}', StorageError, "storage_full"),
        (
            409,
            b'{"type":"error","code":"resync_required","message":"m","epoch":"2-a"}',
            ProtocolError,
            "resync_required",
        ),
        (418, b'{"type":"error","code":"teapot","message":"m"}', UnreachableError, "unreachable"),
        (403, b"<html>blocked by your company", UnreachableError, "unreachable"),
        (401, b"", UnreachableError, "unreachable"),
        (500, b'{"type":"sync_ack","ack_timestamp":1,"changes":[]}', UnreachableError, "unreachable"),
        (502, b"\xff\xfe", UnreachableError, "unreachable"),
    ],
)
def test_an_answer_that_is_no_good_becomes_an_error(
    status: int, body: bytes, kind: type[TidenoteError], code: str
) -> None:
    error = error_from(status, body)
    assert (type(error), error.code) == (kind, code)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_where_nothing_listens_is_said_with_the_port(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"{host}:{taken.getsockname()[1]}"
    async with Rest(config(f"ws://{address}/ws/sync")) as rest:
        with pytest.raises(UnreachableError, match=f"^nothing listens at {address}$"):
            await rest.manifest()


async def test_nobody_there_is_unreachable() -> None:
    async with proxy() as network, Rest(config(network.endpoint)) as rest:
        for ask in (rest.sync(b"{}"), rest.manifest(), rest.fetch([]), rest.blob_offset(BLOB.sha256)):
            with pytest.raises(UnreachableError):
                await ask


async def test_what_the_server_says_keeps_its_code(rest: Rest, network: Proxy) -> None:
    with pytest.raises(ProtocolError) as caught:
        await rest.sync(b"nonsense")
    assert caught.value.code == "bad_message"
    with pytest.raises(TidenoteError) as refused:
        await rest.fetch(["note:a.md"] * 501)
    assert refused.value.code == "bad_request"
    async with Rest(config(network.endpoint, vault="nowhere")) as other:
        with pytest.raises(AccessError) as unknown:
            await other.manifest()
    assert unknown.value.code == "unknown_vault"


async def test_another_program_at_the_address_is_worth_another_try(server: Running) -> None:
    elsewhere = SyncConfig("me", f"ws://127.0.0.1:{server.port}/some/other/ws/sync")
    async with Rest(elsewhere) as rest:
        with pytest.raises(AccessError) as caught:
            await rest.manifest()
    assert caught.value.code == "not_found"


# -- blobs


async def test_bytes_go_up_and_come_down(rest: Rest, source: Path, tmp_path: Path) -> None:
    assert await rest.blob_offset(BLOB.sha256) == 0
    await rest.upload(BLOB, source)
    assert await rest.blob_offset(BLOB.sha256) is None
    # Twice is once.
    await rest.upload(BLOB, source)
    into = tmp_path / "into.bin"
    await rest.download(BLOB, into)
    assert into.read_bytes() == DATA
    assert sorted(path.name for path in tmp_path.glob("into*")) == ["into.bin"]


async def test_an_empty_blob_is_one_too(rest: Rest, tmp_path: Path) -> None:
    blob = BlobRef(hashlib.sha256(b"").hexdigest(), 0)
    (tmp_path / "empty").write_bytes(b"")
    await rest.upload(blob, tmp_path / "empty")
    await rest.download(blob, tmp_path / "into")
    assert (tmp_path / "into").read_bytes() == b""


async def test_an_upload_goes_on_where_it_broke_off(rest: Rest, network: Proxy, source: Path) -> None:
    network.upload_limit = 400_000
    offsets = []
    while True:
        try:
            await rest.upload(BLOB, source)
        except UnreachableError:
            offsets.append(await rest.blob_offset(BLOB.sha256))
        else:
            break
    # Each attempt gets a little further, or at least not back; without resuming none would ever arrive.
    assert len(offsets) >= 2
    assert offsets == sorted(offset or 0 for offset in offsets)


async def test_what_still_arrives_of_a_broken_upload_is_not_sent_again(
    rest: Rest, network: Proxy, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server goes on reading what was on its way when the connection broke, while the next attempt begins."""
    network.upload_limit = 400_000
    with pytest.raises(UnreachableError):
        await rest.upload(BLOB, source)
    network.upload_limit = None
    asked, ask = [], rest.blob_offset

    async def too_early(sha256: str) -> int | None:
        asked.append(sha256)
        return 0 if len(asked) == 1 else await ask(sha256)

    while not await ask(BLOB.sha256):
        pass
    monkeypatch.setattr(rest, "blob_offset", too_early)
    await rest.upload(BLOB, source)
    assert len(asked) == 2
    assert await ask(BLOB.sha256) is None


async def test_a_server_that_has_less_than_it_said_is_not_asked_again_and_again(
    rest: Rest, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def too_much(_: str) -> int | None:
        return 1000

    monkeypatch.setattr(rest, "blob_offset", too_much)
    with pytest.raises(ProtocolError) as caught:
        await rest.upload(BLOB, source)
    assert caught.value.code == "bad_offset"


async def test_a_download_goes_on_where_it_broke_off(rest: Rest, network: Proxy, source: Path, tmp_path: Path) -> None:
    await rest.upload(BLOB, source)
    network.download_limit = 400_000
    into, sizes = tmp_path / "into.bin", []
    while not into.exists():
        try:
            await rest.download(BLOB, into)
        except UnreachableError:
            sizes.append((tmp_path / "into.bin.part").stat().st_size)
    assert len(sizes) >= 2
    assert sizes == sorted(sizes)
    assert into.read_bytes() == DATA


@pytest.mark.parametrize("left", [b"other bytes", b"x" * len(DATA), b"x" * (len(DATA) + 1)])
async def test_what_is_left_of_something_else_is_thrown_away(
    rest: Rest, source: Path, tmp_path: Path, left: bytes
) -> None:
    await rest.upload(BLOB, source)
    into = tmp_path / "into.bin"
    (tmp_path / "into.bin.part").write_bytes(left)
    for _ in range(2):
        with contextlib.suppress(ProtocolError):
            await rest.download(BLOB, into)
    assert into.read_bytes() == DATA


async def test_bytes_that_are_not_the_blobs_are_never_handed_out(
    rest: Rest, server: Running, source: Path, tmp_path: Path
) -> None:
    await rest.upload(BLOB, source)
    [stored] = [path for path in server.service.config.data_dir.rglob(BLOB.sha256) if path.is_file()]
    stored.chmod(0o600)
    stored.write_bytes(bytes(len(DATA)))
    with pytest.raises(ProtocolError) as caught:
        await rest.download(BLOB, tmp_path / "into.bin")
    assert caught.value.code == "bad_blob"
    assert not list(tmp_path.glob("into*"))


async def test_a_server_that_sends_too_much_is_stopped(rest: Rest, source: Path, tmp_path: Path) -> None:
    await rest.upload(BLOB, source)
    with pytest.raises(ProtocolError) as caught:
        await rest.download(BlobRef(BLOB.sha256, 1000), tmp_path / "into.bin")
    assert caught.value.code == "bad_blob"
    assert not (tmp_path / "into.bin").exists()


async def test_a_blob_that_nobody_has_is_not_found(rest: Rest, tmp_path: Path) -> None:
    with pytest.raises(AccessError) as caught:
        await rest.download(BLOB, tmp_path / "into.bin")
    assert caught.value.code == "not_found"


async def test_our_own_disk_may_refuse(rest: Rest, source: Path, tmp_path: Path) -> None:
    await rest.upload(BLOB, source)
    with pytest.raises(StorageError) as caught:
        await rest.download(BLOB, tmp_path / "no such folder" / "into.bin")
    assert caught.value.code == "storage_failed"


async def test_a_source_that_is_gone_or_changed_is_refused_before_it_is_sent(
    rest: Rest, source: Path, tmp_path: Path
) -> None:
    for path in (tmp_path / "gone", tmp_path):
        with pytest.raises(RefusedChange) as caught:
            await rest.upload(BLOB, path)
        assert caught.value.code == "blob_missing"
    source.write_bytes(DATA[::-1])
    with pytest.raises(RefusedChange):
        await rest.upload(BLOB, source)
    assert await rest.blob_offset(BLOB.sha256) == 0


async def test_a_source_that_changes_under_way_does_not_pass(
    rest: Rest, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_module, "holds", lambda *_: True)
    source.write_bytes(DATA[::-1])
    with pytest.raises(ProtocolError) as caught:
        await rest.upload(BLOB, source)
    assert caught.value.code == "bad_blob"
    source.write_bytes(DATA[:100])
    with pytest.raises(RefusedChange):
        await rest.upload(BLOB, source)
    source.unlink()
    with pytest.raises(RefusedChange):
        await rest.upload(BLOB, source)
    source.write_bytes(DATA + b"more")
    await rest.upload(BLOB, source)
    assert await rest.blob_offset(BLOB.sha256) is None


async def test_a_device_finds_its_own_bytes_without_the_server(tmp_path: Path) -> None:
    async with proxy() as network, device(tmp_path, network.endpoint) as client:
        change = await client.put("x.bin", DATA)
        assert change.blob
        await client.fetch_blob(change.blob, tmp_path / "into.bin")
        assert (tmp_path / "into.bin").read_bytes() == DATA
        source = client.journal.source_of(change.blob.sha256)
        assert source
        Path(source).write_bytes(b"spoilt")
        with pytest.raises(UnreachableError):
            await client.fetch_blob(change.blob, tmp_path / "other.bin")
        assert not list(tmp_path.glob("other*"))
