"""Hints where to look: which paths of the folder may have changed.

Only hints: a lost, late or doubled one costs time, never a note. What is true, a scan says.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final

from watchfiles import Change, awatch

from tidenote.core.keys import STATE_FOLDER
from tidenote.vault.folder import CONTROL_FILES

logger = logging.getLogger("tidenote.vault")

STEP_MS: Final = 10
"""How long it has to be quiet before a hint is passed on; waiting for the file to settle comes on top."""

DEBOUNCE_MS: Final = 100
"""How long hints are collected at most."""

MAX_BURST: Final = 8192
"""More hints than this within `BURST_S`, and some may have been dropped on the way."""

BURST_S: Final = 5.0

RETRY_S: Final = 60.0
"""How often to try again to watch a folder that cannot be watched."""

Hint = frozenset[str] | None
"""Paths as the disk spells them; None: look everywhere."""


async def hints(
    root: Path,
    *,
    wanted: Callable[[str], bool] = lambda _: True,
    poll_interval_s: float = 2.0,
    watch: bool = True,
    armed: asyncio.Event | None = None,
) -> AsyncGenerator[Hint, None]:
    """Yield hints for ever. Where the system cannot watch, look everywhere again and again.

    Args:
        root: the folder.
        wanted: says which paths are worth a hint.
        poll_interval_s: how often to look everywhere while nothing can be watched.
        watch: whether to watch at all.
        armed: set as soon as no later change is missed.
    """
    armed = armed or asyncio.Event()
    while True:
        if watch:
            try:
                async with aclosing(_watch(root, wanted, armed)) as found:
                    async for hint in found:
                        yield hint
            # In a group if it fails under way: at a name that is no UTF-8, or where no more watches are allowed.
            except* (OSError, RuntimeError) as failed:
                why = failed.exceptions[0]
                logger.warning("cannot watch %s, looking every %g s instead: %s", root, poll_interval_s, why)
        armed.set()
        until = time.monotonic() + RETRY_S
        while not watch or time.monotonic() < until:
            yield None
            await asyncio.sleep(poll_interval_s)


async def _watch(root: Path, wanted: Callable[[str], bool], armed: asyncio.Event) -> AsyncGenerator[Hint, None]:
    burst = Burst()
    watcher = awatch(
        root,
        watch_filter=None,
        step=STEP_MS,
        debounce=DEBOUNCE_MS,
        recursive=True,
        force_polling=False,
        ignore_permission_denied=True,
    )
    async with aclosing(watcher) as changes:
        following = asyncio.ensure_future(anext(changes, None))
        try:
            # Its first step registers with the system; after that nothing is missed.
            await asyncio.sleep(0)
            armed.set()
            while (found := await following) is not None:
                following = asyncio.ensure_future(anext(changes, None))
                hint = frozenset(_relevant(root, found, wanted))
                if burst.overflows(len(found)):
                    yield None
                elif hint:
                    yield hint
        finally:
            following.cancel()
            await asyncio.wait([following])


class Burst:
    """Tells when so much happens that the system's queue may have run over: it drops what does not fit, silently."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._count = 0

    def overflows(self, number: int) -> bool:
        """Count some more hints; say whether to look everywhere."""
        now = self._clock()
        if now - self._since > BURST_S:
            self._since, self._count = now, 0
        self._count += number
        return self._count > MAX_BURST


def _relevant(root: Path, found: set[tuple[Change, str]], wanted: Callable[[str], bool]) -> set[str]:
    relevant = set()
    for change, name in found:
        path = Path(name)
        try:
            relative = path.relative_to(root).as_posix()
        except ValueError:
            continue
        if relative.startswith(f"{STATE_FOLDER}/"):
            if relative.partition("/")[2] in CONTROL_FILES:
                relevant.add(relative)
        elif relative not in (".", STATE_FOLDER) and wanted(relative):
            # A folder is "modified" with everything in it, which has hints of its own.
            if change is not Change.modified or not path.is_dir():
                relevant.add(relative)
        elif relative == STATE_FOLDER and change is not Change.modified:
            relevant.add(relative)
    return relevant
