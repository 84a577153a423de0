"""The server's side: what the hub and the drivers of sessions do, around the real sessions, intake and store.

Two images of the log: what is in memory, and what is on the disk. A crash keeps exactly what was committed.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from sim.checkers import Log
from sim.network import Connection
from tidenote.core.intake import Batch, Refused, Taken
from tidenote.core.keys import owner_of
from tidenote.core.version import Change
from tidenote.errors import UnreachableError
from tidenote.server.store.memory import MemoryStore
from tidenote.wire.messages import (
    Fetched,
    Manifest,
    ManifestEntry,
    Rejected,
    SyncAck,
    decode,
    encode,
    from_entries,
    from_heads,
)
from tidenote.wire.session import Fail, Publication, Read, Send, ServerSession, Submit

if TYPE_CHECKING:
    from sim.world import World

PAGE_CHANGES: Final = 3
"""How many changes a page has: few, so that catching up takes several."""

AGAIN_KEYS: Final = 1
"""How many keys are read again for an answer: so few that for others there is no room."""

MAX_BUFFERED: Final = 8
"""How many publications a session keeps: few, so that a device which does not read misses some."""


class Crashed(BaseException):
    """The process is gone: nothing may handle this."""


class Server:
    """One server with all its vaults.

    Args:
        world: where.
        vaults: their names.
    """

    def __init__(self, world: World, vaults: tuple[str, ...]) -> None:
        self.world = world
        self.disk = MemoryStore(lambda: f"{world.ids.getrandbits(32):08x}")
        for vault in vaults:
            self.disk.create_vault(vault)
        self.store = self.disk.copy()
        self.connections: dict[Connection, None] = {}
        self.up = True
        self.dies_after: int | None = None
        """After how many more of its steps it crashes."""
        self.backup: MemoryStore | None = None
        self._waiting: dict[str, deque[tuple[Connection, int, tuple[Change, ...]]]] = {
            vault: deque() for vault in vaults
        }
        self._committing: set[str] = set()
        self._told: dict[tuple[str, str, int], bytes] = {}

    # -- life

    def step(self) -> None:
        """Do one step; the process may die before it.

        Raises:
            Crashed: it does.
        """
        if self.dies_after is not None:
            self.dies_after -= 1
            if self.dies_after < 0:
                raise Crashed

    def crash(self) -> None:
        """Stop without warning: what is on the disk stays, everything else is gone."""
        self.world.note("the server crashes")
        self.up = False
        self.dies_after = None
        for waiting in self._waiting.values():
            waiting.clear()
        self._committing.clear()
        for connection in list(self.connections):
            connection.cut()
        self.store = self.disk.copy()
        self.world.after(self.world.faults.randint(10, 4000), self.start)

    def start(self) -> None:
        """Come back, with what is on the disk."""
        self.up = True

    def back_up(self) -> None:
        """Keep a copy of the log."""
        self.backup = self.disk.copy()

    def restore(self) -> None:
        """Come back with the copy, as the next generation."""
        if self.backup is None:
            return
        self.world.before_restore(self.backup)
        self.disk, self.backup = self.backup, None
        for info in self.disk.vaults():
            self.disk.new_generation(info.name, wall_ms=self.world.now)
        self.crash()

    def log(self, vault: str) -> Log:
        """Return what is durable of a vault."""
        info = self.disk.vault(vault)
        if len(self._told) > 5000:
            self._told.clear()
        return Log(info.epoch, info.clock, self.disk._vaults[vault].entries, self._told)

    # -- sessions

    def accept(self, connection: Connection) -> None:
        """Take a new connection; an older one of the same device ends."""
        for other in list(self.connections):
            if (other.vault, other.device_id) == (connection.vault, connection.device_id):
                other.cut()
        info = self.store.vault(connection.vault)
        connection.session = ServerSession(
            owner_of(connection.device_id), info.epoch, info.clock, max_buffered=MAX_BUFFERED
        )
        self.connections[connection] = None

    def gone(self, connection: Connection) -> None:
        """Notice that a connection is no more."""
        self.connections.pop(connection, None)

    def receive(self, connection: Connection, data: bytes) -> None:
        """Take a message."""
        if connection.session:
            connection.session.receive(data)
            self.pump(connection)

    def pump(self, connection: Connection) -> None:
        """Do what the session says until it waits for something, or the socket takes nothing."""
        session = connection.session
        while connection.open and session is not None and not connection.stalled and (step := session.next_step()):
            if isinstance(step, Submit):
                self._waiting[connection.vault].append((connection, step.number, step.changes))
                self._commit_soon(connection.vault)
            elif isinstance(step, Read):
                self._read_soon(connection, step)
            elif isinstance(step, Send):
                connection.to_client(encode(step.message))
            elif isinstance(step, Fail):
                self._settle(connection.vault, step)
                connection.to_client(encode(step.message))
                connection.session = None
                self.gone(connection)
                return

    def _settle(self, vault: str, failure: Fail) -> None:
        assert failure.later_epoch is None, "no device has seen a later generation"
        if failure.ahead and self.store.vault(vault).epoch == failure.message.epoch:
            raise AssertionError("a restored log has a new generation from the start")

    def _read_soon(self, connection: Connection, step: Read) -> None:
        def read() -> None:
            if connection.open and connection.session:
                again = self.store.entries(connection.vault, step.keys)[:AGAIN_KEYS]
                page = self.store.changes_since(connection.vault, step.after, max_changes=PAGE_CHANGES)
                connection.session.page(page, again)
                self.pump(connection)

        self.world.after(self.world.network.randint(0, 20), read)

    # -- the hub

    def _commit_soon(self, vault: str) -> None:
        if vault not in self._committing:
            self._committing.add(vault)
            self.world.after(self.world.network.randint(0, 10), lambda: self._commit(vault))

    def _commit(self, vault: str) -> None:
        """Commit, publish, acknowledge, with a chance to die between any two of them."""
        if not self.up or vault not in self._committing:
            return
        self._committing.discard(vault)
        waiting = self._waiting[vault]
        pushes = list(waiting)
        waiting.clear()
        try:
            self.step()
            batch = self.take_in(vault, [changes for _, _, changes in pushes])
            self.step()
            self.sync(vault, batch)
            self.step()
            self._publish(vault, batch)
            self._acknowledge(pushes, batch)
        except Crashed:
            self.crash()

    def take_in(self, vault: str, pushes: list[tuple[Change, ...]]) -> Batch:
        """Take pushes into the log in memory."""
        return self.store.take_in(vault, pushes, wall_ms=self.world.now, check_blob=lambda _: True)

    def sync(self, vault: str, batch: Batch) -> None:
        """Make durable what was taken in."""
        if batch.versions or batch.entries:
            self.disk = self.store.copy()
            self.world.recorder.committed(vault, batch, self.disk, self.world.now)
            if self.world.is_tracing:
                self.world.note(f"the log of {vault} is at {batch.clock}")

    def _publish(self, vault: str, batch: Batch) -> None:
        if batch.clock == batch.previous_clock:
            return
        epoch = self.store.vault(vault).epoch
        publication = Publication(epoch, batch.previous_clock, batch.clock, tuple(batch.entries))
        for connection in list(self.connections):
            if connection.vault == vault:
                self._publish_to(connection, publication)

    def _publish_to(self, connection: Connection, publication: Publication) -> None:
        network = self.world.network
        lost = network.random() < self.world.options.lost_publications
        for _ in range(0 if lost else network.choice([1, 1, 1, 2])):

            def tell() -> None:
                if connection.open and connection.session:
                    connection.session.published(publication)
                    self.pump(connection)

            self.world.after(network.choice([0, 0, 0, 30]), tell)

    def _acknowledge(self, pushes: list[tuple[Connection, int, tuple[Change, ...]]], batch: Batch) -> None:
        results = iter(batch.results)
        for connection, number, changes in pushes:
            taken, refused = _outcome([next(results) for _ in changes])
            self.step()
            if connection.open and connection.session:
                connection.session.committed(number, taken, refused, batch.clock)
                self.pump(connection)

    def look_at_heads(self) -> None:
        """Poll the logs' heads, as drivers do in case that a publication was lost."""
        for connection in list(self.connections):
            if connection.session:
                info = self.store.vault(connection.vault)
                connection.session.head_is(info.epoch, info.clock)
                self.pump(connection)


class Rest:
    """The server's REST as a device uses it; each request may fail before it arrives or after it was answered.

    Args:
        world: where.
        vault: which vault it is about.
        device_id: who asks.
    """

    def __init__(self, world: World, vault: str, device_id: str) -> None:
        self.world = world
        self.vault = vault
        self.device_id = device_id

    async def manifest(self, after: str | None = None) -> Manifest:
        """Return a page of two keys."""
        store = (await self._reach()).store
        info = store.vault(self.vault)
        found = store.manifest(self.vault, after, 3)
        entries = [ManifestEntry(key, from_heads(heads)) for key, heads in found[:2]]
        return Manifest(info.epoch, info.clock, entries, entries[-1].key if len(found) > 2 else None)

    async def fetch(self, keys: list[str]) -> Fetched:
        """Return some keys' siblings."""
        store = (await self._reach()).store
        answer = encode(Fetched(store.vault(self.vault).epoch, from_entries(store.entries(self.vault, keys))))
        self.world.recorder.frame(self.vault, answer)
        return decode(answer, Fetched)

    async def sync(self, push: bytes) -> bytes:
        """Take a push in, as the polling form of the socket does."""
        server = await self._reach()
        info = server.store.vault(self.vault)
        session = ServerSession(owner_of(self.device_id), info.epoch, info.clock)
        session.receive(push)
        while step := session.next_step():
            if isinstance(step, Submit):
                batch = server.take_in(self.vault, [step.changes])
                server.sync(self.vault, batch)
                server._publish(self.vault, batch)
                taken, refused = _outcome(batch.results)
                session.committed(step.number, taken, refused, batch.clock)
            elif isinstance(step, Read):
                again = server.store.entries(self.vault, step.keys)[:AGAIN_KEYS]
                session.page(server.store.changes_since(self.vault, step.after, max_changes=PAGE_CHANGES), again)
            else:
                return await self._answer(step)
        raise AssertionError("a push without an answer")

    async def _answer(self, step: Send | Fail) -> bytes:
        await self._reach()  # the answer may be lost, too
        message = encode(step.message)
        if isinstance(step.message, SyncAck):
            self.world.recorder.frame(self.vault, message)
        return message

    async def upload(self, *_: object) -> None:
        """Do nothing: there are no blobs here."""

    async def _reach(self) -> Server:
        await self.world.pause()
        if not self.world.server.up or self.world.drops():
            raise UnreachableError("the server does not answer")
        return self.world.server


def _outcome(results: list[Taken | Refused]) -> tuple[list[Taken], list[Rejected]]:
    taken = [result for result in results if isinstance(result, Taken)]
    refused = [_rejected(result) for result in results if isinstance(result, Refused)]
    return taken, refused


def _rejected(refused: Refused) -> Rejected:
    change = refused.change
    clock = refused.clock if refused.code == "clock_too_far" else None
    return Rejected(change.key, *change.dot, refused.code, refused.message, clock)
