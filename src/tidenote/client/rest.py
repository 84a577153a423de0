"""The server's REST from a device's side: sync by polling, manifest, fetch, blobs (docs/protocol.md 11 and 12).

Every failure of a request is one of our errors: what the server said, or `UnreachableError`. What to do about it is
the caller's matter.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self, TypeVar

import httpx

from tidenote.client.trust import trust_for
from tidenote.config import SyncConfig, leads_here, unfit_proxy
from tidenote.core.version import BlobRef, Dot
from tidenote.errors import (
    CODES,
    AccessError,
    Action,
    ProtocolError,
    RefusedChange,
    StorageError,
    TidenoteError,
    UnreachableError,
)
from tidenote.wire.messages import (
    PROTOCOL_VERSION,
    BlobStatus,
    Collected,
    ConflictDetails,
    Conflicts,
    DecidedHold,
    DecidedHolds,
    ErrorMessage,
    Fetched,
    FetchRequest,
    GcRequest,
    HistoryPage,
    HoldsReport,
    Manifest,
    ReopenRequest,
    ResolveRequest,
    RestoreAllRequest,
    Restored,
    RestoreRequest,
    Trash,
    TrashRestoreRequest,
    UndoRequest,
    VersionText,
    WireHold,
    decode,
    decode_from_server,
    encode,
)

CHUNK_BYTES: Final = 2**18
"""How much of a blob is in memory at once."""

MAX_ANSWER_BYTES: Final = 256 * 2**20
"""The longest answer that is read into memory."""

STALL_TIMEOUT_S: Final = 60.0
"""How long a request may make no progress; the server commits and hashes within it."""

MANIFEST_KEYS: Final = 2000
"""How many keys a page of the manifest has."""

_REFUSED: Final = f"[Errno {errno.ECONNREFUSED}]"

_ACCESS: Final = frozenset(("unauthorized", "forbidden", "unknown_vault", "not_found"))
_STORAGE: Final = frozenset(("storage_full", "storage_failed", "fenced"))

T = TypeVar("T")


class Rest:
    """Requests of one device to one vault; an async context manager.

    Args:
        config: the address, the vault, the token.
        trust: which certificates are believed; by default those of `trust_for`.

    Raises:
        ConfigError: the environment names a proxy or certificates that are of no use.
    """

    def __init__(self, config: SyncConfig, trust: ssl.SSLContext | None = None) -> None:
        self._query = {"device_id": config.device_id, "vault": config.vault, "v": str(PROTOCOL_VERSION)}
        timeout = httpx.Timeout(STALL_TIMEOUT_S, connect=config.connect_timeout_ms / 1000)
        self._client = http_client(config.http_endpoint, timeout, config.token, trust)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def sync(self, push: bytes) -> bytes:
        """Send one `sync_push` and return the `sync_ack`, both as JSON.

        Raises:
            TidenoteError: what the server said instead.
            UnreachableError: it gave no answer.
        """
        return await self._ask("POST", "/api/v1/sync", content=push, params=self._query)

    async def manifest(self, after: str | None = None) -> Manifest:
        """Return a page of what the server holds, after a key.

        Raises:
            TidenoteError: what the server said instead.
            UnreachableError: it gave no answer.
        """
        params = {"vault": self._query["vault"], "limit": str(MANIFEST_KEYS)}
        if after is not None:
            params["after"] = after
        return _read(await self._ask("GET", "/api/v1/manifest", params=params), Manifest)

    async def fetch(self, keys: Sequence[str]) -> Fetched:
        """Return all siblings of some keys, at most 500; the answer may be cut after a whole key.

        Raises:
            TidenoteError: what the server said instead.
            UnreachableError: it gave no answer.
        """
        body = encode(FetchRequest(list(keys)))
        params = {"vault": self._query["vault"]}
        return _read(await self._ask("POST", "/api/v1/fetch", content=body, params=params), Fetched)

    async def conflicts(self, after: str | None = None) -> Conflicts:
        """Return a page of what a person should look at, after a key.

        Raises:
            TidenoteError: what the server said instead.
            UnreachableError: it gave no answer.
        """
        params = {"vault": self._query["vault"]}
        if after is not None:
            params["after"] = after
        return _read(await self._ask("GET", "/api/v1/conflicts", params=params), Conflicts)

    async def conflict(self, key: str) -> ConflictDetails:
        """Return all that is needed to settle one conflict.

        Raises:
            TidenoteError: what the server said instead; `not_found` if there is no conflict.
            UnreachableError: it gave no answer.
        """
        params = {"vault": self._query["vault"], "key": key}
        return _read(await self._ask("GET", "/api/v1/conflicts/one", params=params), ConflictDetails)

    async def resolve(self, request: ResolveRequest) -> Fetched:
        """Settle a conflict; return all siblings of the keys that were written.

        Raises:
            TidenoteError: what the server said instead; `stale` if others wrote meanwhile.
            UnreachableError: it gave no answer.
        """
        return await self._write("/api/v1/conflicts/resolve", request, Fetched)

    async def reopen(self, request: ReopenRequest) -> Fetched:
        """Have a merge looked at again.

        Raises:
            TidenoteError: what the server said instead; `stale` if others wrote meanwhile.
            UnreachableError: it gave no answer.
        """
        return await self._write("/api/v1/conflicts/reopen", request, Fetched)

    async def history(self, key: str, *, before: int | None = None, limit: int = 100) -> HistoryPage:
        """Return a page of a note's versions, the latest first, those under its earlier names among them.

        Args:
            key: the note's present name.
            before: leave out what has this receipt or a greater one.
            limit: the most versions to return, at most 1000.

        Raises:
            TidenoteError: what the server said instead; `not_found` if nobody wrote the key.
            UnreachableError: it gave no answer.
        """
        params = {"vault": self._query["vault"], "key": key, "limit": str(limit)}
        if before is not None:
            params["before"] = str(before)
        return _read(await self._ask("GET", "/api/v1/history", params=params), HistoryPage)

    async def version(self, key: str, dot: Dot) -> VersionText:
        """Return one version with its text, and what it was merged of.

        Raises:
            TidenoteError: what the server said instead; `not_found` if there is no such version.
            UnreachableError: it gave no answer.
        """
        params = {
            "vault": self._query["vault"],
            "key": key,
            "timestamp": str(dot.timestamp),
            "device_id": dot.device_id,
        }
        return _read(await self._ask("GET", "/api/v1/version", params=params), VersionText)

    async def restore(self, request: RestoreRequest) -> Restored:
        """Bring a version of a note back, or the note as it was.

        Raises:
            TidenoteError: what the server said instead; `not_found` if there was none.
            UnreachableError: it gave no answer.
        """
        return await self._write("/api/v1/restore", request, Restored)

    async def restore_all(self, request: RestoreAllRequest) -> Restored:
        """Bring the whole vault back as it was, or tell what that would alter.

        Raises:
            TidenoteError: what the server said instead.
            UnreachableError: it gave no answer.
        """
        return await self._write("/api/v1/restore-all", request, Restored)

    async def undo(self, request: UndoRequest) -> Restored:
        """Take back what a device wrote, or tell what that would alter.

        Raises:
            TidenoteError: what the server said instead.
            UnreachableError: it gave no answer.
        """
        return await self._write("/api/v1/undo", request, Restored)

    async def trash(self, after: str | None = None) -> Trash:
        """Return a page of deleted notes, after a key.

        Raises:
            TidenoteError: what the server said instead.
            UnreachableError: it gave no answer.
        """
        params = {"vault": self._query["vault"]}
        if after is not None:
            params["after"] = after
        return _read(await self._ask("GET", "/api/v1/trash", params=params), Trash)

    async def restore_discarded(self, request: TrashRestoreRequest) -> Restored:
        """Bring a deleted note back.

        Raises:
            TidenoteError: what the server said instead; `not_found` if it is not deleted.
            UnreachableError: it gave no answer.
        """
        return await self._write("/api/v1/trash/restore", request, Restored)

    async def gc(self, request: GcRequest) -> Collected:
        """Let go at once what the server's settings keep no longer, or tell what that is.

        Raises:
            TidenoteError: what the server said instead.
            UnreachableError: it gave no answer.
        """
        return await self._write("/api/v1/gc", request, Collected)

    async def report_holds(self, device_id: str, holds: Sequence[WireHold]) -> list[DecidedHold]:
        """Tell all that this device holds back until a person decides; return what was decided about that.

        Args:
            device_id: with incarnation.
            holds: one a kind.

        Raises:
            TidenoteError: what the server said instead.
            UnreachableError: it gave no answer.
        """
        params = {"vault": self._query["vault"], "device_id": device_id}
        body = encode(HoldsReport(list(holds)))
        return _read(await self._ask("PUT", "/api/v1/holds", content=body, params=params), DecidedHolds).decisions

    async def blob_offset(self, sha256: str) -> int | None:
        """Return how many bytes of a blob the server has, None if it has all.

        Raises:
            TidenoteError: what the server said instead.
            UnreachableError: it gave no answer.
        """
        async with self._send("HEAD", f"/api/v1/blobs/{sha256}") as response:
            if response.status_code == 200:
                return None
            if response.status_code == 404:
                return _offset(response)
            raise await _error_of(response)

    async def upload(self, blob: BlobRef, source: Path) -> None:
        """Bring the bytes of a blob to the server, going on where an earlier upload broke off.

        Raises:
            RefusedChange: `blob_missing`, if the file is gone or holds other bytes; else why they are never taken.
            TidenoteError: what the server said instead.
            UnreachableError: it gave no answer.
        """
        offset = await self.blob_offset(blob.sha256)
        if offset is None:
            return
        if not await asyncio.to_thread(holds, source, blob):
            raise RefusedChange(f"{source} no longer holds the bytes that were to be uploaded", "blob_missing")
        while offset is not None:
            offset = await self._upload_rest(blob, source, offset)

    async def _upload_rest(self, blob: BlobRef, source: Path, offset: int) -> int | None:
        """Send a blob's bytes from an offset on; return where to go on instead, None once the server has them all."""
        headers = {"Upload-Offset": str(offset), "Upload-Length": str(blob.size)}
        # With its length known a cut request is noticed; without, it would look complete.
        headers["Content-Length"] = str(max(0, blob.size - offset))
        content = _chunks(source, offset, blob.size)
        try:
            body = await self._ask("PUT", f"/api/v1/blobs/{blob.sha256}", content=content, headers=headers)
        except ProtocolError as error:
            if error.action is Action.PARK or error.code == "message_too_large":
                raise RefusedChange(error.message, error.code) from error
            # What an upload that broke off had on its way still arrived after we had asked. Only ever forwards, so
            # that this ends.
            further = await self.blob_offset(blob.sha256) if error.code == "bad_offset" else 0
            if further is not None and further <= offset:
                raise
            return further
        if not _read(body, BlobStatus).complete:
            raise UnreachableError("the upload was cut short")
        return None

    async def download(self, blob: BlobRef, into: Path) -> None:
        """Bring the bytes of a blob into a file, going on where an earlier download broke off.

        Until they are complete and verified they are in `<into>.part`; then they are flushed to the disk and renamed.

        Raises:
            ProtocolError: `bad_blob`, if the server's bytes are not the blob's.
            StorageError: our disk refuses.
            TidenoteError: what the server said instead.
            UnreachableError: it gave no answer.
        """
        part = into.with_name(f"{into.name}.part")
        with _disk_errors(part):
            offset = part.stat().st_size if part.exists() else 0
        if offset > blob.size:
            offset = 0
        if offset < blob.size or blob.size == 0:
            await self._download_rest(blob, part, offset)
        with _disk_errors(part):
            if not await asyncio.to_thread(holds, part, blob):
                part.unlink(missing_ok=True)
                raise ProtocolError(f"the server's bytes do not have the hash {blob.sha256}", "bad_blob")
            await asyncio.to_thread(_finish, part, into)

    async def _download_rest(self, blob: BlobRef, part: Path, offset: int) -> None:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        async with self._send("GET", f"/api/v1/blobs/{blob.sha256}", headers=headers) as response:
            if response.status_code not in (200, 206):
                raise await _error_of(response)
            mode = "r+b" if offset and response.status_code == 206 else "wb"
            with _disk_errors(part), _open_private(part, mode) as file:
                file.seek(0, os.SEEK_END)
                async for chunk in response.aiter_bytes(CHUNK_BYTES):
                    if file.tell() + len(chunk) > blob.size:
                        raise ProtocolError("the server sends more than the blob's size", "bad_blob")
                    await asyncio.to_thread(file.write, chunk)

    async def _write(self, path: str, request: object, kind: type[T]) -> T:
        """Send a request about the vault as JSON and return the answer."""
        params = {"vault": self._query["vault"]}
        return _read(await self._ask("POST", path, content=encode(request), params=params), kind)

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        content: bytes | AsyncIterator[bytes] | None = None,
        params: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> bytes:
        async with self._send(method, path, content=content, params=params, headers=headers) as response:
            if response.status_code != 200:
                raise await _error_of(response)
            return await _body(response)

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        path: str,
        *,
        content: bytes | AsyncIterator[bytes] | None = None,
        params: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """Send a request and yield the answer, its body not yet read.

        Raises:
            UnreachableError: whatever breaks on the way, also while the body is read.
        """
        request = self._client.build_request(method, path, content=content, params=params, headers=headers)
        try:
            response = await self._client.send(request, stream=True)
            try:
                yield response
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.StreamError) as error:
            server = request.url.netloc.decode()
            if is_refusal(error):
                raise UnreachableError(f"nothing listens at {server}") from error
            raise UnreachableError(f"{server} does not answer: {str(error) or type(error).__name__}") from error


def http_client(
    url: str, timeout: httpx.Timeout | float, token: str | None = None, trust: ssl.SSLContext | None = None
) -> httpx.AsyncClient:
    """Return what sends requests to a server.

    Args:
        url: the server's.
        timeout: seconds.
        token: says who we are.
        trust: which certificates are believed; by default those of `trust_for`.

    Raises:
        ConfigError: the environment names a proxy or certificates that are of no use.
    """
    try:
        return httpx.AsyncClient(
            base_url=url,
            headers=authorization(token),
            timeout=timeout,
            trust_env=not leads_here(url),
            verify=trust or trust_for(url) or False,
        )
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise unfit_proxy() from error


def authorization(token: str | None) -> dict[str, str]:
    """Return the headers that say who we are."""
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def is_refusal(error: BaseException | None) -> bool:
    """Return whether a failure comes of this: nothing listens at the address."""
    while error is not None:
        # Where a name has several addresses, the errors of each of them are in the text only, or in a group.
        parts = error.exceptions if isinstance(error, BaseExceptionGroup) else (error,)
        if any(isinstance(part, ConnectionRefusedError) or _REFUSED in str(part) for part in parts):
            return True
        error = error.__cause__ or error.__context__
    return False


def error_from(status: int, body: bytes) -> TidenoteError:
    """Return the error that an HTTP answer means; one that is not Tidenote's own is worth another try."""
    try:
        message = decode_from_server(body)
    except ProtocolError:
        message = None
    if not isinstance(message, ErrorMessage):
        return UnreachableError(f"the server's address answers with HTTP {status}, but not as Tidenote does")
    return error_of_code(message.code, message.message, quarantine=message.quarantine)


def error_of_code(code: str, message: str, *, quarantine: bool = False) -> TidenoteError:
    """Return the error of a code that the server sent; an unknown code is worth another try."""
    if code not in CODES:
        return UnreachableError(f"{code}: {message}")
    if code in _ACCESS:
        return AccessError(message, code)
    if code in _STORAGE:
        return StorageError(message, code)
    error = ProtocolError(message, code)
    error.quarantine = quarantine
    return error


def holds(path: Path, blob: BlobRef) -> bool:
    """Say whether a file holds exactly the bytes of a blob."""
    try:
        with path.open("rb") as file:
            return (
                os.fstat(file.fileno()).st_size == blob.size
                and hashlib.file_digest(file, "sha256").hexdigest() == blob.sha256
            )
    except OSError:
        return False


async def _error_of(response: httpx.Response) -> TidenoteError:
    return error_from(response.status_code, await _body(response))


async def _body(response: httpx.Response) -> bytes:
    """Return an answer, unpacked.

    Raises:
        UnreachableError: it is longer than any of a server, and who sends it might never end.
    """
    body = bytearray()
    async for chunk in response.aiter_bytes(CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise UnreachableError(f"{response.url.host} answers with more than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return decode(body, kind)
    except ProtocolError as error:
        # Something in between answers in the server's place; that passes.
        raise UnreachableError(f"the server's address does not answer as Tidenote does: {error.message}") from None


def _offset(response: httpx.Response) -> int:
    value = response.headers.get("Upload-Offset", "0")
    # No file has an offset of more digits.
    if not re.fullmatch(r"[0-9]{1,18}", value):
        raise UnreachableError("the server's address does not answer as Tidenote does: its Upload-Offset is no offset")
    return int(value)


async def _chunks(source: Path, offset: int, end: int) -> AsyncIterator[bytes]:
    """Yield the bytes of a file from an offset up to an end.

    Raises:
        RefusedChange: `blob_missing`, if it has become shorter, or cannot be read.
    """
    try:
        file = await asyncio.to_thread(source.open, "rb")
        try:
            file.seek(offset)
            while offset < end and (chunk := await asyncio.to_thread(file.read, min(CHUNK_BYTES, end - offset))):
                offset += len(chunk)
                yield chunk
        finally:
            file.close()
    except OSError as error:
        raise RefusedChange(f"{source} cannot be read: {error.strerror}", "blob_missing") from error
    if offset < end:
        raise RefusedChange(f"{source} became shorter while it was uploaded", "blob_missing")


def _open_private(path: Path, mode: str) -> IO[bytes]:
    """Open a file that nobody else can read, should it be made."""
    return open(path, mode, opener=lambda name, flags: os.open(name, flags, 0o600))


def _finish(part: Path, into: Path) -> None:
    """Flush and rename: after a power cut the name shows all bytes, or nothing."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(into)


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Turn errors of our disk into ours.

    Raises:
        StorageError: `storage_full` or `storage_failed`.
    """
    try:
        yield
    except OSError as error:
        code = "storage_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "storage_failed"
        raise StorageError(f"{path}: {error.strerror}", code) from error
