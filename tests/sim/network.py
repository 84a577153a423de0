"""Connections that deliver late, or never: two ordered streams, as of TCP; a cut loses what is under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tidenote.wire.session import ServerSession

if TYPE_CHECKING:
    from sim.link import SimLink
    from sim.world import World

HEARTBEAT_MS: Final = 40_000
"""After how long at most each side notices that the other is gone."""

UP: Final = 0
DOWN: Final = 1


class Connection:
    """One device's open socket.

    Args:
        world: where.
        link: the client's end.
        vault: which vault it is about.
    """

    def __init__(self, world: World, link: SimLink, vault: str) -> None:
        self.world = world
        self.link = link
        self.vault = vault
        self.device_id = link.journal.device_id
        self.open = True
        """Whether the server still has it; the client may notice later."""
        self.session: ServerSession | None = None
        self.stalled = False
        """Whether the client does not read, so that the server cannot send."""
        self.under_way = [0, 0]
        """How many messages were sent each way and have not arrived."""
        self._arrives = [0, 0]
        self._blocked = [False, False]
        self._held: tuple[deque[Callable[[], None]], ...] = (deque(), deque())

    def to_server(self, data: bytes) -> None:
        """Send a client's message."""
        self._later(UP, lambda: self.world.server.receive(self, data))

    def to_client(self, data: bytes) -> None:
        """Send a server's message."""
        self.world.recorder.frame(self.vault, data)
        self._later(DOWN, lambda: self.link.receive(self, data))

    def _later(self, way: int, deliver: Callable[[], None]) -> None:
        world = self.world
        at = max(self._arrives[way], world.now + world.latency())
        self._arrives[way] = at
        self.under_way[way] += 1

        def arrive() -> None:
            if self._blocked[way] or self._held[way]:
                self._held[way].append(arrive_late)
            else:
                arrive_late()

        def arrive_late() -> None:
            self.under_way[way] -= 1
            # What was under way when the connection was cut arrives no more, whole or in part.
            if self.open:
                deliver()

        world.at(at, arrive)

    def block(self, way: int, ms: int) -> None:
        """Let nothing through one way; past the heartbeats' patience the connection is dead."""
        self._blocked[way] = True
        if ms > HEARTBEAT_MS:
            self.world.after(HEARTBEAT_MS, self.cut)
        else:
            self.world.after(ms, lambda: self._unblock(way))

    def _unblock(self, way: int) -> None:
        self._blocked[way] = False
        while self._held[way]:
            self._held[way].popleft()()

    def stall(self, ms: int) -> None:
        """Let the client read nothing for a while; past the server's patience it is closed."""
        self.stalled = True

        def over() -> None:
            self.stalled = False
            self.world.server.pump(self)

        self.world.after(ms, over)

    def cut(self) -> None:
        """End it without a goodbye; the client notices at once, or only by its heartbeat."""
        if self.open:
            self.open = False
            self.world.server.gone(self)
            late = self.world.network.choice([0, self.world.options.latency_ms, HEARTBEAT_MS // 2])
            self.world.after(late, lambda: self.link.lost(self))
