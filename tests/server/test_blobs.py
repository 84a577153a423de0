"""Blobs: nothing counts that is not whole, verified and on the disk."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
import tracemalloc
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from tidenote.core.version import BlobRef
from tidenote.errors import AccessError, ProtocolError, RefusedChange, StorageError
from tidenote.server.blobs import CHUNK_BYTES, BlobStore
from tidenote.wire.messages import BlobStatus

pytestmark = pytest.mark.anyio

BYTES = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(BYTES).hexdigest()
TOTAL = len(BYTES)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path)


async def parts(*data: bytes) -> AsyncIterator[bytes]:
    for part in data:
        yield part


async def broken(*data: bytes) -> AsyncIterator[bytes]:
    """Yield some parts, then break as a connection does."""
    for part in data:
        yield part
    raise ConnectionResetError


async def everything(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


async def test_a_blob_comes_back_as_it_was(blobs: BlobStore, tmp_path: Path) -> None:
    assert (blobs.has(SHA256), blobs.size(SHA256), blobs.partial_size(SHA256, "phone")) == (False, None, 0)
    status = await blobs.write(SHA256, "phone", 0, TOTAL, parts(BYTES[:10], b"", BYTES[10:]))
    assert status == BlobStatus(SHA256, TOTAL, complete=True)
    assert (blobs.has(SHA256), blobs.size(SHA256), blobs.partial_size(SHA256, "phone")) == (True, TOTAL, 0)
    assert await everything(blobs.read(SHA256)) == BYTES
    assert files(tmp_path) == [f"blobs/{SHA256[:2]}/{SHA256}"]
    assert (tmp_path / "blobs").stat().st_mode & 0o077 == 0


async def test_a_change_must_say_the_size_of_a_blob_that_is_here(blobs: BlobStore) -> None:
    with pytest.raises(RefusedChange) as missing:
        blobs.check(BlobRef(SHA256, TOTAL))
    await blobs.write(SHA256, "phone", 0, TOTAL, parts(BYTES))
    blobs.check(BlobRef(SHA256, TOTAL, "image/png"))
    with pytest.raises(RefusedChange) as wrong:
        blobs.check(BlobRef(SHA256, TOTAL + 1))
    assert (missing.value.code, wrong.value.code) == ("blob_missing", "bad_value")


async def test_the_empty_blob(blobs: BlobStore) -> None:
    empty = hashlib.sha256().hexdigest()
    assert await blobs.write(empty, "phone", 0, 0, parts()) == BlobStatus(empty, 0, complete=True)
    assert await everything(blobs.read(empty)) == b""


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 1), (5, 5), (100, 1000), (TOTAL - 1, None), (TOTAL, TOTAL), (CHUNK_BYTES - 1, 2 * CHUNK_BYTES + 1)],
)
async def test_any_range_can_be_read(blobs: BlobStore, start: int, stop: int | None) -> None:
    await blobs.write(SHA256, "phone", 0, TOTAL, parts(BYTES))
    pieces = [piece async for piece in blobs.read(SHA256, start, stop)]
    assert b"".join(pieces) == BYTES[start:stop]
    assert all(len(piece) <= CHUNK_BYTES for piece in pieces)


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (6, 5), (0, TOTAL + 1), (TOTAL + 1, None)])
async def test_a_range_outside_is_refused(blobs: BlobStore, start: int, stop: int | None) -> None:
    await blobs.write(SHA256, "phone", 0, TOTAL, parts(BYTES))
    with pytest.raises(ProtocolError) as caught:
        blobs.read(SHA256, start, stop)
    assert caught.value.code == "bad_request"


async def test_what_is_not_here_is_not_found(blobs: BlobStore) -> None:
    await blobs.write(SHA256, "phone", 0, TOTAL, parts(BYTES[:100]))
    with pytest.raises(AccessError) as caught:
        blobs.read(SHA256)
    assert caught.value.code == "not_found"


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", SHA256.upper(), SHA256[1:], SHA256 + "\n", f"../{SHA256[3:]}"]
)
async def test_only_a_hash_is_a_name(blobs: BlobStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        await blobs.write(name, "phone", 0, 1, parts(b"x"))
    assert caught.value.code == "bad_request"
    for operation in (blobs.has, blobs.size, partial(blobs.partial_size, sender="phone"), blobs.read):
        with pytest.raises(ProtocolError):
            operation(name)
    assert files(tmp_path) == []


async def test_an_upload_goes_on_where_the_connection_broke_also_after_a_restart(
    blobs: BlobStore, tmp_path: Path
) -> None:
    with pytest.raises(ConnectionResetError):
        await blobs.write(SHA256, "phone", 0, TOTAL, broken(BYTES[:300_000], BYTES[300_000:300_007]))
    restarted = BlobStore(tmp_path)
    assert (restarted.has(SHA256), restarted.partial_size(SHA256, "phone")) == (False, 300_007)
    status = await restarted.write(SHA256, "phone", 300_007, TOTAL, parts(BYTES[300_007:500_000]))
    assert status == BlobStatus(SHA256, 500_000, complete=False)
    status = await restarted.write(SHA256, "phone", 500_000, TOTAL, parts(BYTES[500_000:]))
    assert status == BlobStatus(SHA256, TOTAL, complete=True)
    assert await everything(restarted.read(SHA256)) == BYTES


async def test_a_cancelled_upload_keeps_what_came(blobs: BlobStore) -> None:
    arrived = asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        yield BYTES[:1000]
        arrived.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(blobs.write(SHA256, "phone", 0, TOTAL, stalls()))
    await arrived.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert blobs.partial_size(SHA256, "phone") == 1000
    await blobs.write(SHA256, "phone", 1000, TOTAL, parts(BYTES[1000:]))
    assert blobs.has(SHA256)


async def test_a_cancelled_upload_closes_its_file_only_after_the_write_under_way(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the bytes could end up in whatever file is opened next."""
    writing, go_on = threading.Event(), threading.Event()
    real_write = os.write

    def slow_write(descriptor: int, data: bytes) -> int:
        if len(data) >= CHUNK_BYTES:
            writing.set()
            go_on.wait()
        return real_write(descriptor, data)

    monkeypatch.setattr(os, "write", slow_write)
    upload = asyncio.create_task(
        blobs.write(SHA256, "phone", 0, TOTAL, parts(BYTES[:CHUNK_BYTES], BYTES[CHUNK_BYTES:]))
    )
    await asyncio.to_thread(writing.wait)
    upload.cancel()
    for _ in range(10):  # turns of the loop: all that the cancellation can do by itself
        await asyncio.sleep(0)
    assert not upload.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert blobs.partial_size(SHA256, "phone") == CHUNK_BYTES


@pytest.mark.parametrize("offset", [0, 99, 101, TOTAL])
async def test_another_offset_than_the_one_it_stopped_at_is_refused(blobs: BlobStore, offset: int) -> None:
    await blobs.write(SHA256, "phone", 0, TOTAL, parts(BYTES[:100]))
    with pytest.raises(ProtocolError, match="goes on at 100") as caught:
        await blobs.write(SHA256, "phone", offset, TOTAL, parts(BYTES[offset:]))
    assert caught.value.code == "bad_offset"
    assert blobs.partial_size(SHA256, "phone") == 100


async def test_bytes_of_another_hash_are_thrown_away(blobs: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="another hash") as caught:
        await blobs.write(SHA256, "phone", 0, TOTAL, parts(BYTES[:-1] + b"!"))
    assert caught.value.code == "bad_blob"
    assert (blobs.has(SHA256), files(tmp_path)) == (False, [])
    await blobs.write(SHA256, "phone", 0, TOTAL, parts(BYTES))
    assert blobs.has(SHA256)


async def test_the_hash_is_that_of_all_parts(blobs: BlobStore, tmp_path: Path) -> None:
    """The first part was of something else; only the whole shows it."""
    await blobs.write(SHA256, "phone", 0, TOTAL, parts(b"?" * 100))
    with pytest.raises(ProtocolError) as caught:
        await blobs.write(SHA256, "phone", 100, TOTAL, parts(BYTES[100:]))
    assert caught.value.code == "bad_blob"
    assert files(tmp_path) == []


async def test_more_bytes_than_announced_are_thrown_away_unread(blobs: BlobStore, tmp_path: Path) -> None:
    asked = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield b"x" * 1000

    with pytest.raises(ProtocolError, match="more bytes") as caught:
        await blobs.write(SHA256, "phone", 0, 10_000, endless())
    assert caught.value.code == "bad_blob"
    assert asked == 11
    assert files(tmp_path) == []


async def test_a_part_that_is_longer_than_a_later_total_starts_afresh(blobs: BlobStore) -> None:
    await blobs.write(SHA256, "phone", 0, TOTAL * 2, parts(BYTES, b"more"))
    with pytest.raises(ProtocolError) as caught:
        await blobs.write(SHA256, "phone", TOTAL + 4, TOTAL, parts())
    assert caught.value.code == "bad_blob"
    assert blobs.partial_size(SHA256, "phone") == 0


async def test_a_blob_that_is_here_is_not_read_again(blobs: BlobStore) -> None:
    await blobs.write(SHA256, "phone", 0, TOTAL, parts(BYTES))

    assert await blobs.write(SHA256, "phone", 0, TOTAL, broken()) == BlobStatus(SHA256, TOTAL, complete=True)
    with pytest.raises(ProtocolError) as caught:
        await blobs.write(SHA256, "phone", 0, TOTAL - 1, broken())
    assert caught.value.code == "bad_blob"


async def test_uploads_of_the_same_blob_at_once_end_with_one_right_one(blobs: BlobStore, tmp_path: Path) -> None:
    first_has_begun = asyncio.Event()
    go_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield BYTES[:1000]
        first_has_begun.set()
        await go_on.wait()
        yield BYTES[1000:]

    first = asyncio.create_task(blobs.write(SHA256, "phone", 0, TOTAL, slow()))
    await first_has_begun.wait()
    others = [asyncio.create_task(blobs.write(SHA256, "phone", 0, TOTAL, parts(BYTES))) for _ in range(3)]
    other_name = hashlib.sha256(b"other").hexdigest()
    await blobs.write(other_name, "phone", 0, 5, parts(b"other"))
    assert not any(task.done() for task in (first, *others))
    go_on.set()
    assert await asyncio.gather(first, *others) == [BlobStatus(SHA256, TOTAL, complete=True)] * 4
    assert await everything(blobs.read(SHA256)) == BYTES
    assert len(files(tmp_path)) == 2


async def test_whoever_waited_for_an_upload_that_broke_learns_where_to_go_on(blobs: BlobStore) -> None:
    begun = asyncio.Event()
    go_on = asyncio.Event()

    async def breaks() -> AsyncIterator[bytes]:
        yield BYTES[:1000]
        begun.set()
        await go_on.wait()
        raise ConnectionResetError

    first = asyncio.create_task(blobs.write(SHA256, "phone", 0, TOTAL, breaks()))
    await begun.wait()
    second = asyncio.create_task(blobs.write(SHA256, "phone", 0, TOTAL, parts(BYTES)))
    go_on.set()
    with pytest.raises(ConnectionResetError):
        await first
    with pytest.raises(ProtocolError, match="goes on at 1000"):
        await second


async def test_whoever_sends_something_else_under_its_name_spoils_no_upload(blobs: BlobStore, tmp_path: Path) -> None:
    await blobs.write(SHA256, "phone", 0, TOTAL, parts(BYTES[:1000]))
    await blobs.write(SHA256, "thief", 0, TOTAL, parts(b"?" * 2000))
    assert [blobs.partial_size(SHA256, sender) for sender in ("phone", "thief", "laptop")] == [1000, 2000, 0]
    stalled = asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        yield b"?"
        stalled.set()
        await asyncio.Event().wait()

    hanging = asyncio.create_task(blobs.write(SHA256, "thief", 2000, TOTAL, stalls()))
    await stalled.wait()
    assert (await blobs.write(SHA256, "phone", 1000, TOTAL, parts(BYTES[1000:]))).complete
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    assert (await blobs.write(SHA256, "thief", 0, TOTAL, parts())).complete
    assert await everything(blobs.read(SHA256)) == BYTES
    assert len(files(tmp_path)) == 1


async def test_two_who_complete_a_blob_at_once_both_find_it_complete(blobs: BlobStore, tmp_path: Path) -> None:
    senders = [f"phone{number}" for number in range(8)]
    for sender in senders:
        await blobs.write(SHA256, sender, 0, TOTAL, parts(BYTES[:-1]))
    last = [blobs.write(SHA256, sender, TOTAL - 1, TOTAL, parts(BYTES[-1:])) for sender in senders]
    assert await asyncio.gather(*last) == [BlobStatus(SHA256, TOTAL, complete=True)] * len(senders)
    assert await everything(blobs.read(SHA256)) == BYTES
    assert len(files(tmp_path)) == 1


async def test_a_full_disk_is_told_and_the_upload_goes_on_when_there_is_room(blobs: BlobStore, tmp_path: Path) -> None:
    begun = tmp_path / "blobs" / "partial" / f"{SHA256}.phone"
    begun.symlink_to("/dev/full")  # the kernel's own "no space left on device"
    with pytest.raises(StorageError) as caught:
        await blobs.write(SHA256, "phone", 0, TOTAL, parts(BYTES))
    assert caught.value.code == "storage_full"
    assert not blobs.has(SHA256)
    begun.unlink()
    assert (await blobs.write(SHA256, "phone", 0, TOTAL, parts(BYTES))).complete


async def test_a_failing_disk_is_told(blobs: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "blobs" / SHA256[:2]).write_text("a file where the folder should be")
    with pytest.raises(StorageError) as caught:
        await blobs.write(SHA256, "phone", 0, TOTAL, parts(BYTES))
    assert caught.value.code == "storage_failed"


async def test_c13_what_the_disk_did_not_confirm_is_no_blob(
    blobs: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StorageError) as caught:
        await blobs.write(SHA256, "phone", 0, TOTAL, parts(BYTES))
    assert caught.value.code == "storage_failed"
    monkeypatch.undo()
    assert BlobStore(tmp_path).size(SHA256) is None


async def test_what_goes_while_everything_is_looked_through_is_no_failure(blobs: BlobStore, tmp_path: Path) -> None:
    """An upload completes at that moment. A link to nowhere, too, is listed and then is not there."""
    sha256 = "ab" * 32
    for path in (blobs._path(sha256), blobs._partial_path(sha256, "phone")):
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(tmp_path / "nowhere")
    assert blobs.older_than(2**60) == []
    blobs.remove_uploads(2**60)


async def test_a_data_folder_that_cannot_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        BlobStore(tmp_path / "file")


async def test_a_blob_counts_only_once_its_folder_is_on_the_disk(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the rename and the sync, a change that names the blob would outlive it in a power cut."""
    seen: list[bool] = []
    monkeypatch.setattr("tidenote.server.blobs.sync_folder", lambda _: seen.append(blobs.has(SHA256)))
    await blobs.write(SHA256, "phone", 0, TOTAL, parts(BYTES))
    assert seen == [False, False]
    assert blobs.has(SHA256)


async def test_transfers_take_little_memory_whatever_the_size(blobs: BlobStore) -> None:
    size = 64 * 2**20
    piece = b"tide" * 2**14
    digest = hashlib.sha256()
    for _ in range(size // len(piece)):
        digest.update(piece)

    async def large() -> AsyncIterator[bytes]:
        for _ in range(size // len(piece)):
            yield piece

    tracemalloc.start()
    try:
        await blobs.write(digest.hexdigest(), "phone", 0, size, large())
        read = 0
        async for chunk in blobs.read(digest.hexdigest()):
            read += len(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read == size
    assert peak < 4 * 2**20
