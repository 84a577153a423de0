"""How the daemon waits: for the disk on threads, for others' turns, and by which clocks. A port, and the real one.

What is done meanwhile (passes.py, apply.py) waits for nothing else, so that whoever gives them another `Work` decides
on every interleaving.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Work(Protocol):
    """Waiting and clocks."""

    async def run(self, work: Callable[[], T]) -> T:
        """Do what may wait for the disk, and return what it returns."""
        ...

    async def gather(self, *parts: Awaitable[T]) -> list[T]:
        """Do several at once, and return what they return, in their order."""
        ...

    async def breathe(self) -> None:
        """Let others have their turn in the middle of something long."""
        ...

    def monotonic_s(self) -> float:
        """Return a time that only goes forward, s."""
        ...

    def wall_ns(self) -> int:
        """Return the time of day, ns since 1970."""
        ...


class ThreadWork:
    """Waits on the threads of a pool, beside an asyncio loop.

    Args:
        pool: where the disk is waited for.
    """

    def __init__(self, pool: Executor) -> None:
        self._pool = pool

    async def run(self, work: Callable[[], T]) -> T:
        """Do what may wait for the disk, and return what it returns."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def gather(self, *parts: Awaitable[T]) -> list[T]:
        """Do several at once, and return what they return, in their order."""
        return await asyncio.gather(*parts)

    async def breathe(self) -> None:
        """Let others have their turn in the middle of something long."""
        await asyncio.sleep(0)

    def monotonic_s(self) -> float:
        """Return a time that only goes forward, s."""
        return time.monotonic()

    def wall_ns(self) -> int:
        """Return the time of day, ns since 1970."""
        return time.time_ns()
