"""Long answers that are on their way: they end when who reads them is let in no longer. Knows no HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing


class Downloads:
    """All long answers of a server that are being sent."""

    def __init__(self) -> None:
        self._running: set[tuple[str, Callable[[], None]]] = set()
        """The id of what let the reader in, and what ends the connection at once."""

    def __len__(self) -> int:
        return len(self._running)

    async def sent(
        self, credential: str, pieces: AsyncGenerator[bytes], *, may_read: Callable[[], bool], cut: Callable[[], None]
    ) -> AsyncGenerator[bytes]:
        """Yield the pieces of an answer, as long as its reader is let in.

        Args:
            credential: the id of what let the reader in.
            pieces: of the answer; closed at the end.
            may_read: whether the reader is let in, when the first piece is asked for.
            cut: ends the connection at once, whether or not the peer reads.
        """
        running = (credential, cut)
        self._running.add(running)
        try:
            if not may_read():
                cut()
                return
            async with aclosing(pieces):
                async for piece in pieces:
                    yield piece
        finally:
            self._running.discard(running)

    def expel(self, credentials: Collection[str]) -> None:
        """End the answers to those whom some credentials let in."""
        for credential, cut in list(self._running):
            if credential in credentials:
                cut()
