"""Merging texts in a process of its own, so that long merges cost those who wait for nothing else but a bit of a core.

A thread would not do: it would hold the interpreter, and with it every connection, for milliseconds at a time.
"""

from __future__ import annotations

import asyncio
import sys
from types import TracebackType
from typing import Final, Self

import msgspec

from tidenote.core.bounded import Texts
from tidenote.core.merged import Merged
from tidenote.errors import TidenoteError

IDLE_S: Final = 60.0
"""After how long without work the process ends."""

PATIENCE_S: Final = 120.0
"""A merge takes seconds at most, on the slowest machine; one that takes longer never ends."""

Process = asyncio.subprocess.Process


class Merger:
    """A process that merges texts, one after the other; started when it is first needed. An async context manager."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._one_at_a_time = asyncio.Lock()
        self._end: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._one_at_a_time:
            self._stay()
            await self._stop()

    async def merge(self, texts: Texts) -> Merged:
        """Return the merge of three texts; who asks first is answered first.

        Raises:
            TidenoteError: `internal_error`, if the process died of them or never answered.
        """
        async with self._one_at_a_time:
            self._stay()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    merged = await self._ask(await self._started(), msgspec.msgpack.encode(texts))
            except (TimeoutError, OSError, EOFError, msgspec.DecodeError) as error:
                await self._stop()
                raise TidenoteError(f"texts could not be merged ({type(error).__name__})", "internal_error") from error
            except BaseException:
                # The answer to a request that nobody waits for must not become that to the next.
                await self._stop()
                raise
            self._end = asyncio.get_running_loop().call_later(IDLE_S, self._leave)
            return merged

    async def _started(self) -> Process:
        if self._process and self._process.stdin and self._process.stdin.is_closing():
            await self._stop()
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tidenote.server.merge_worker"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        return self._process

    async def _ask(self, process: Process, request: bytes) -> Merged:
        assert process.stdin
        assert process.stdout
        process.stdin.write(len(request).to_bytes(4, "big") + request)
        await process.stdin.drain()
        size = int.from_bytes(await process.stdout.readexactly(4), "big")
        return msgspec.msgpack.decode(await process.stdout.readexactly(size), type=Merged)

    def _stay(self) -> None:
        if self._end:
            self._end.cancel()
            self._end = None

    def _leave(self) -> None:
        """Let the process end: there is nothing more to read."""
        if self._process and self._process.stdin:
            self._process.stdin.close()

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process:
            if process.returncode is None:
                process.kill()
            await process.wait()
