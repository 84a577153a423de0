"""Tells the server what a folder holds back until a person decides, and hears what was decided.

What is held, and doing what was decided, are passes.py's matter; here is only when to tell.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from tidenote.client.client import SyncClient
from tidenote.core.keys import key_of_path
from tidenote.errors import AccessError, StorageError, TidenoteError
from tidenote.wire.messages import MAX_HOLD_KEYS, HoldDecision, HoldKind, WireHold

logger = logging.getLogger("tidenote.vault")

TOPIC: Final = "holds"

PAUSE_S: Final = 1.0
"""How long after a report the next one may come: what is held often grows for a moment."""

REPEAT_S: Final = 60.0
"""How often something that is still held is told again: a server keeps it in memory only."""

REPEAT_POLLING_S: Final = 5.0
"""How often while no notice can come, or after a report that did not get through."""

Held = Mapping[HoldKind, frozenset[str]]
Decide = Callable[[HoldKind, HoldDecision, frozenset[str]], object]


class HoldReports:
    """Keeps the server informed of what one folder holds back.

    Args:
        client: of the folder.
        held: returns the paths that are held now, by kind.
        decide: does what was decided about some of them.
    """

    def __init__(self, client: SyncClient, held: Callable[[], Held], decide: Decide) -> None:
        self._client = client
        self._held = held
        self._decide = decide
        self._wake = asyncio.Event()
        self._since: dict[HoldKind, int] = {}
        """Kind -> since when anything of it has been held, ms since 1970."""
        self._told: Held | None = None
        """What the server knows; None if nobody knows what it does."""
        self._told_at = 0.0
        self._heard = 0
        """How many notices had come before the last report."""

    def look(self) -> None:
        """Say that something may be new."""
        self._wake.set()

    async def follow(self) -> None:
        """Report, whenever it is due, until cancelled."""
        while True:
            self._wake.clear()
            if self._is_due():
                try:
                    await self.report()
                except StorageError as error:
                    logger.error("a decision waits: %s", error.message)
                except TidenoteError as error:
                    logger.debug("what is held could not be told: %s", error.message)
                await asyncio.sleep(PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(REPEAT_POLLING_S):
                    await self._wake.wait()

    async def report(self) -> bool:
        """Tell what is held now; return whether anything was decided about it, which is then done.

        Raises:
            TidenoteError: the server does not hear it.
            StorageError: our disk refuses what was decided.
        """
        held = dict(self._held())
        self._told_at, self._heard = time.monotonic(), self._client.notices(TOPIC)
        try:
            decisions = await self._client.report_holds(self._holds(held))
        except AccessError as error:
            # A server of an earlier version: people decide at this device.
            logger.info("the server does not take reports of what is held: %s", error.message)
            self._told = held
            return False
        self._told = held
        for decided in decisions:
            paths = held.get(decided.kind, frozenset())
            logger.info("decided: %s for %d paths (%s)", decided.decision, len(paths), decided.kind)
            try:
                self._decide(decided.kind, decided.decision, paths)
            except StorageError:
                # The server says it again as long as we hold the same: ask again soon.
                self._told = None
                raise
        return bool(decisions)

    def _is_due(self) -> bool:
        state = self._client.status().state
        if state not in ("online", "polling"):
            # The server may be another one, or have restarted, when we are back.
            self._told = None if self._told else self._told
            return False
        if self._held() != self._told or self._client.notices(TOPIC) != self._heard:
            return True
        repeat_s = REPEAT_S if state == "online" else REPEAT_POLLING_S
        return bool(self._told) and time.monotonic() - self._told_at >= repeat_s

    def _holds(self, held: Held) -> Sequence[WireHold]:
        now_ms = time.time_ns() // 1_000_000
        self._since = {kind: self._since.get(kind, now_ms) for kind in held}
        return [
            WireHold(kind, sorted(map(key_of_path, paths))[:MAX_HOLD_KEYS], len(paths), self._since[kind])
            for kind, paths in sorted(held.items())
        ]
