"""Which keys still have to be settled because their merges took a commit too long, and their turns.

A late key gets a commit of its own, with more room. What takes too long even for that is merged by another process, and
the key's next commit finds it done. hub.py commits; merger.py merges.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from tidenote.core.bounded import BoundedMerge, digest
from tidenote.core.merged import Merged
from tidenote.errors import TidenoteError
from tidenote.server.merger import Merger

logger = logging.getLogger("tidenote.server")

MERGE_STEPS: Final = 150_000
"""What merges may cost inside one transaction, where everyone else waits for them: about 50 ms, or 50 KiB a text."""

MAX_KNOWN: Final = 2**24
"""How many characters of texts that were merged apart are kept until they are settled."""

READ_AGAIN_S: Final = 60.0
"""After how long open questions that could not be read are tried again."""


@dataclass(slots=True)
class Late:
    """A key that is to be settled, and whether more than `merge` does is needed for that."""

    key: str
    merge: BoundedMerge
    again: bool = False


class Settling:
    """The late keys of one vault.

    Args:
        vault: its name, for the log.
        merger: merges what would take a commit too long.
        settle: commits one key with the merge it is given, and says by `again` whether that was enough.
        unsettled: returns the keys with siblings on a page of the vault's open questions, and after which key the next
            page begins; None after the last.
    """

    def __init__(
        self,
        vault: str,
        *,
        merger: Merger,
        settle: Callable[[Late], Awaitable[object]],
        unsettled: Callable[[str | None], Awaitable[tuple[list[str], str | None]]],
    ) -> None:
        self._vault = vault
        self._merger = merger
        self._commit = settle
        self._unsettled = unsettled
        self._keys: dict[str, None] = {}
        """Those that wait, in the order of their turns."""
        self._news = asyncio.Event()
        self._known: dict[bytes, Merged] = {}
        """Texts that were merged apart, the latest last."""

    def note(self, keys: Iterable[str]) -> None:
        """Give keys a turn, after those that wait already."""
        self._keys |= dict.fromkeys(sorted(keys))
        if self._keys:
            self._news.set()

    def put_off(self, key: str) -> None:
        """Let a key wait until something can be committed again."""
        self._keys[key] = None
        self._news.clear()

    async def run(self) -> None:
        """Settle one key after the other; between two steps of a key others have a turn.

        While it is merged, changes may come. Then the texts are not those any more, and it starts anew.
        """
        while True:
            await self._news.wait()
            key = next(iter(self._keys))
            del self._keys[key]
            if not self._keys:
                self._news.clear()
            try:
                await self._settle(key)
            except TidenoteError as error:
                logger.error("vault %s: a note stays in conflict: %s", self._vault, error.message)
            except Exception:
                logger.exception("vault %s: a note stays in conflict", self._vault)

    async def find(self) -> None:
        """Look at every open question once: the server may have ended before it could settle it."""
        after: str | None = None
        while True:
            try:
                keys, after = await self._unsettled(after)
            except Exception:
                logger.exception("vault %s: open questions could not be read, and are later", self._vault)
                await asyncio.sleep(READ_AGAIN_S)
            else:
                self.note(keys)
                if after is None:
                    return

    async def _settle(self, key: str) -> None:
        late = Late(key, BoundedMerge(MERGE_STEPS, self._known))
        await self._commit(late)
        if not late.again:
            return
        assert late.merge.missing
        merged = await self._merger.merge(late.merge.missing)
        self._known[digest(late.merge.missing)] = merged
        while sum(len(known.text) for known in self._known.values()) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self.note([key])
