"""Uploads the blobs of the outbox, beside everything else: texts never wait for a video.

One at a time, in order. When a blob is there, its change may be sent; link.py does that.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from pathlib import Path

from tidenote.client.journal import BrokenJournal, Journal, OutboxRow
from tidenote.client.policy import pause
from tidenote.client.rest import Rest
from tidenote.config import SyncConfig
from tidenote.errors import RefusedChange, StorageError, TidenoteError

logger = logging.getLogger("tidenote.client")


class Uploader:
    """Uploads what the outbox names, whenever it is woken.

    Args:
        config: the pauses after failures.
        journal: whose outbox.
        rest: where to.
        on_uploaded: called after each.
    """

    def __init__(self, config: SyncConfig, journal: Journal, rest: Rest, on_uploaded: Callable[[], None]) -> None:
        self._config = config
        self._journal = journal
        self._rest = rest
        self._on_uploaded = on_uploaded
        self._woken = asyncio.Event()
        self._woken.set()
        self._failures = 0

    def wake(self) -> None:
        """Say that there may be something to upload."""
        self._woken.set()

    async def run(self) -> None:
        """Upload until cancelled.

        Raises:
            BrokenJournal: the journal's file is damaged.
        """
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                for row in self._journal.uploads():
                    if not await self._upload(row):
                        break
            except BrokenJournal:
                raise
            except StorageError as error:
                # Our disk, under the journal: full, for one, which passes.
                self._try_later(error)

    async def _upload(self, row: OutboxRow) -> bool:
        """Upload one blob; return whether to go on with the next."""
        assert row.change.blob is not None
        assert row.source is not None
        try:
            await self._rest.upload(row.change.blob, Path(row.source))
        except TidenoteError as error:
            return self._failed(row, error)
        self._failures = 0
        self._journal.uploaded(row)
        self._on_uploaded()
        return True

    def _failed(self, row: OutboxRow, error: TidenoteError) -> bool:
        if isinstance(error, RefusedChange):
            self._journal.park(row, error.code, error.message)
            self._on_uploaded()
            return True
        self._try_later(error)
        # Bytes that changed on the way concern this file only; anything else, every one.
        return error.code == "bad_blob"

    def _try_later(self, error: TidenoteError) -> None:
        self._failures += 1
        logger.warning("an upload failed (%s): %s", error.code, error.message)
        delay_s = pause(self._failures, self._config, (1 + random.random()) / 2) / 1000  # noqa: S311 - jitter
        asyncio.get_running_loop().call_later(delay_s, self.wake)
