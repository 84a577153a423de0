"""Bytes beside the log, each named by its SHA-256: uploads that resume, downloads of any part.

Complete ones are `DATA/blobs/ab/<sha256>`, and durable; partial ones `DATA/blobs/partial/<sha256>.<sender>`: whoever
sends other bytes under the same name spoils nobody's upload. Who may is auth.py's matter, headers and status codes are
api.py's.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from tidenote.core.version import BlobRef
from tidenote.errors import AccessError, ProtocolError, RefusedChange, StorageError
from tidenote.server.store.engine import is_full
from tidenote.wire.messages import BlobStatus

CHUNK_BYTES: Final = 2**18
"""How many bytes are read or written at once: what one transfer takes in memory, about."""

_SHA256 = re.compile(r"[0-9a-f]{64}")

P = ParamSpec("P")
T = TypeVar("T")


class BlobStore:
    """The blobs of one server.

    Args:
        data: the server's data folder.

    Raises:
        StorageError: the folder cannot be made.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._root = data / "blobs"
        self._partial = self._root / "partial"
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """One for each upload that runs, by the name of its partial file, and for each blob that one completes."""
        self._not_yet_durable: set[str] = set()
        try:
            for folder in (data, self._root, self._partial):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _storage_error(error) from error

    def has(self, sha256: str) -> bool:
        """Say whether a blob is here: complete, verified and durable."""
        return self.size(sha256) is not None

    def check(self, blob: BlobRef) -> None:
        """Check that a blob is here, and has the size that a change says.

        Raises:
            RefusedChange: `blob_missing`, `bad_value`.
        """
        size = self.size(blob.sha256)
        if size is None:
            raise RefusedChange(f"upload the blob {blob.sha256} first", "blob_missing")
        if size != blob.size:
            raise RefusedChange(f"the blob {blob.sha256} has {size} bytes, not {blob.size}", "bad_value")

    def size(self, sha256: str) -> int | None:
        """Return the bytes of a blob; None if it is not here, or not completely.

        Raises:
            ProtocolError: `bad_request`, if this is no SHA-256 in lower-case hex.
        """
        path = self._path(sha256)
        return None if sha256 in self._not_yet_durable else _size(path)

    def partial_size(self, sha256: str, sender: str) -> int:
        """Return how many bytes of an incomplete blob are here: where its upload by a sender goes on.

        Raises:
            ProtocolError: `bad_request`, if this is no SHA-256 in lower-case hex.
        """
        return _size(self._partial_path(sha256, sender)) or 0

    async def write(
        self, sha256: str, sender: str, offset: int, total: int, chunks: AsyncIterable[bytes]
    ) -> BlobStatus:
        """Take a part of a blob in; the part that completes it returns when the blob is verified and durable.

        What arrived before a broken connection stays, for the sender's next part. One upload of a blob by one sender
        runs at a time; others of the same wait, and then find it here or go on from where it stopped.

        Args:
            sha256: the blob's name.
            sender: the id of what let the sender in.
            offset: of the part's first byte; where the last one stopped.
            total: the bytes of the whole blob.
            chunks: the part. Not read if the blob is here already.

        Raises:
            ProtocolError: `bad_offset`, if the upload stopped elsewhere (see `partial_size`); `bad_blob`, if there are
                more bytes than announced or they have another hash, and the upload must start afresh; `bad_request`.
            StorageError: `storage_full` or `storage_failed`; what was written stays, for when there is room again.
        """
        path = self._partial_path(sha256, sender)
        async with self._lock(path.name):
            if self.size(sha256) is None:
                here = await self._take_part(path, offset, total, chunks)
                if here < total:
                    return BlobStatus(sha256, here, complete=False)
                # Another sender may complete it at this very moment.
                async with self._lock(sha256):
                    if self.size(sha256) is None and not await _to_its_end(self._complete, path, sha256):
                        raise ProtocolError("the bytes have another hash than announced", "bad_blob")
            await _to_its_end(path.unlink, missing_ok=True)
            size = self.size(sha256)
            if size != total:
                raise ProtocolError(f"the blob of this hash has {size} bytes, not {total}", "bad_blob")
            return BlobStatus(sha256, total, complete=True)

    def read(self, sha256: str, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes]:
        """Return the bytes of a blob from `start` to before `stop`, in pieces of at most `CHUNK_BYTES`.

        Raises:
            AccessError: `not_found`.
            ProtocolError: `bad_request`, if the range lies outside of the blob.
        """
        size = self.size(sha256)
        if size is None:
            raise AccessError(f"there is no blob {sha256}", "not_found")
        stop = size if stop is None else stop
        if not 0 <= start <= stop <= size:
            raise ProtocolError(f"the range {start}-{stop} lies outside of the blob's {size} bytes", "bad_request")
        return self._read(self._path(sha256), start, stop)

    def older_than(self, time_ms: int) -> list[str]:
        """Return the blobs that have been here since before a time, ms since 1970.

        Raises:
            StorageError: the folder cannot be read.
        """
        try:
            return sorted(
                path.name
                for folder in self._root.iterdir()
                if folder != self._partial
                for path in folder.iterdir()
                if _SHA256.fullmatch(path.name) and _is_older(path, time_ms)
            )
        except OSError as error:
            raise _storage_error(error) from error

    def remove(self, sha256: str) -> int:
        """Delete a blob that no change names any more, and return its bytes; should one come, it is uploaded again.

        Raises:
            StorageError: it cannot be deleted.
        """
        size = self.size(sha256) or 0
        try:
            self._path(sha256).unlink(missing_ok=True)
        except OSError as error:
            raise _storage_error(error) from error
        return size

    def remove_uploads(self, before_ms: int) -> None:
        """Delete the beginnings of blobs of which nothing more has come since a time, ms since 1970.

        Raises:
            StorageError: they cannot be deleted.
        """
        try:
            for path in self._partial.iterdir():
                if path.name not in self._locks and _is_older(path, before_ms):
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise _storage_error(error) from error

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    async def _take_part(self, path: Path, offset: int, total: int, chunks: AsyncIterable[bytes]) -> int:
        """Append a part to a partial blob, and return its size."""
        here = _size(path) or 0
        if offset != here:
            raise ProtocolError(f"the upload goes on at {here}, not {offset}", "bad_offset")
        if here <= total:
            here = await self._append(path, here, total, chunks)
        if here > total:
            await _to_its_end(path.unlink, missing_ok=True)
            raise ProtocolError(f"more bytes than the {total} announced", "bad_blob")
        return here

    async def _append(self, path: Path, here: int, total: int, chunks: AsyncIterable[bytes]) -> int:
        """Append chunks to a partial blob, and return its size: over `total` if they were too many."""
        descriptor = await _to_its_end(os.open, path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        buffer = bytearray()
        try:
            async for chunk in chunks:
                buffer += chunk
                here += len(chunk)
                if here > total:
                    return here
                if len(buffer) >= CHUNK_BYTES:
                    await _flush(descriptor, buffer)
        finally:
            # Also when the connection broke: the next part then has less to send.
            try:
                if here <= total:
                    await _flush(descriptor, buffer)
            finally:
                os.close(descriptor)
        return here

    def _complete(self, partial: Path, sha256: str) -> bool:
        """Verify a whole partial blob and make it durable under its name; return whether the hash is right.

        Hashes what the disk gives back, not what arrived: parts of an upload may lie days and processes apart.
        """
        path = self._path(sha256)
        with partial.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                partial.unlink()
                return False
            try:
                os.fsync(file.fileno())
            except OSError:
                # Nobody knows what of it is on the disk.
                partial.unlink()
                raise
        self._not_yet_durable.add(sha256)
        try:
            if not path.parent.is_dir():
                path.parent.mkdir(mode=0o700, exist_ok=True)
                sync_folder(self._root)
            partial.replace(path)
            sync_folder(path.parent)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            self._not_yet_durable.discard(sha256)
        return True

    async def _read(self, path: Path, start: int, stop: int) -> AsyncGenerator[bytes]:
        descriptor = await _to_its_end(os.open, path, os.O_RDONLY)
        try:
            while start < stop:
                piece = await _to_its_end(os.pread, descriptor, min(CHUNK_BYTES, stop - start), start)
                if not piece:
                    raise StorageError(f"the blob {path.name} is shorter than it was")
                yield piece
                start += len(piece)
        finally:
            os.close(descriptor)

    def _path(self, sha256: str) -> Path:
        return blob_path(self._data, sha256)

    def _partial_path(self, sha256: str, sender: str) -> Path:
        return self._partial / f"{self._path(sha256).name}.{sender}"


def blob_path(data: Path, sha256: str) -> Path:
    """Return where a data folder keeps a complete blob.

    Raises:
        ProtocolError: `bad_request`, if this is no SHA-256 in lower-case hex.
    """
    if not _SHA256.fullmatch(sha256):
        raise ProtocolError("a blob's name is its SHA-256 in 64 lower-case hex digits", "bad_request")
    return data / "blobs" / sha256[:2] / sha256


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _storage_error(error) from error


def _is_older(path: Path, time_ms: int) -> bool:
    """Say whether a file is as it was before a time, ms since 1970; one that went since it was listed is not."""
    try:
        return path.stat().st_mtime_ns < time_ms * 1_000_000
    except FileNotFoundError:
        return False


async def _flush(descriptor: int, buffer: bytearray) -> None:
    """Write a buffer out and empty it."""

    def write_all() -> None:
        with memoryview(buffer) as rest:
            written = 0
            while written < len(rest):
                written += os.write(descriptor, rest[written:])

    try:
        if buffer:
            await _to_its_end(write_all)
    finally:
        buffer.clear()


async def _to_its_end(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a call that blocks in a thread, to its end even if the caller is cancelled: its file must stay open.

    Raises:
        StorageError: for an `OSError`.
    """
    running = asyncio.ensure_future(asyncio.to_thread(call, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        # A cancel scope cancels again and again; closing the file now would let the thread write into another one.
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        with suppress(Exception):
            running.result()
        raise
    except OSError as error:
        raise _storage_error(error) from error


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _storage_error(error: OSError) -> StorageError:
    if is_full(error):
        return StorageError("the server's disk is full", "storage_full")
    return StorageError(f"the server's disk failed: {error.strerror}", "storage_failed")
