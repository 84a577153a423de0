"""A seeded world: devices, one server, a lossy network, crashes. No sockets, no threads, no real time.

It drives the parts that production drives: both wire sessions, the intake and its resolutions behind the in-memory
store, the link's policy, the client's journal and its full reconcile. Everything random comes from the seed; a run is
its list of steps, and two runs of a seed are equal. Checks that must always hold run at every step; those of the end
(`World.heal`) after all faults are over.
"""

from __future__ import annotations

import heapq
import random
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from tidenote.client import policy
from tidenote.client.data_sync import DataSync, fetch
from tidenote.client.journal import Journal, Write
from tidenote.client.policy import LinkState
from tidenote.config import SyncConfig
from tidenote.core.intake import Refused, Taken
from tidenote.core.version import Change, Dot
from tidenote.errors import CODES, Action, UnreachableError
from tidenote.server.store.memory import MemoryStore
from tidenote.wire.messages import (
    Fetched,
    Manifest,
    ManifestEntry,
    Rejected,
    decode,
    encode,
    from_dots,
    from_entries,
)
from tidenote.wire.session import (
    ClientSession,
    Fail,
    Failed,
    Publication,
    Read,
    Received,
    Send,
    ServerSession,
    Submit,
)

VAULT: Final = "main"
KEYS: Final = tuple(f"note:{name}.md" for name in "abcdef")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """How rough a world is; each seed draws its own.

    Attributes:
        devices: how many.
        cuts: chance a step that a connection is cut.
        crashes: chance a step that a device or the server stops without warning.
        lost_publications: chance that a session does not hear of a commit.
        restores: whether the server may once be restored from an older copy of its log.
        skew: by how much a device's Lamport clock may start ahead.
        latency_ms: the longest time a message takes.
    """

    devices: int
    cuts: float
    crashes: float
    lost_publications: float
    restores: bool
    skew: int
    latency_ms: int

    @classmethod
    def draw(cls, rng: random.Random) -> Options:
        """Draw a random subset of the faults."""
        return cls(
            devices=rng.randint(2, 5),
            cuts=rng.choice([0, 0.02, 0.1]),
            crashes=rng.choice([0, 0.01, 0.04]),
            lost_publications=rng.choice([0, 0, 0.3]),
            restores=rng.random() < 0.15,
            skew=rng.choice([0, 0, 50, 2**40]),
            latency_ms=rng.choice([1, 20, 500]),
        )


class Connection:
    """Two ordered streams that lose everything under way when they are cut."""

    def __init__(self, world: World, device: Device) -> None:
        self.world = world
        self.device = device
        self.open = True
        self.session: ServerSession | None = None
        self._arrives = [0, 0]
        self._subscribed = True

    def to_server(self, data: bytes) -> None:
        """Send a client's message."""
        self._later(0, lambda: self.world.server.receive(self, data))

    def to_client(self, data: bytes) -> None:
        """Send a server's message."""
        self._later(1, lambda: self.device.receive(self, data))

    def _later(self, direction: int, deliver: Callable[[], None]) -> None:
        world = self.world
        at = max(self._arrives[direction], world.now + world.network.randint(0, world.options.latency_ms))
        self._arrives[direction] = at

        def arrive() -> None:
            if self.open:
                deliver()

        world.at(at, arrive)

    def cut(self) -> None:
        """End it without a goodbye; the device notices at once or only by its heartbeat."""
        if self.open:
            self.open = False
            self.world.server.connections.pop(self, None)
            device = self.device
            late = self.world.network.choice([0, self.world.options.latency_ms, 20_000])
            self.world.at(self.world.now + late, lambda: device.lost(self))


class Server:
    """What the hub and the drivers of sessions do, around the real sessions and the real intake."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.store = MemoryStore(lambda: f"{world.ids.getrandbits(32):08x}")
        self.store.create_vault(VAULT)
        self.connections: dict[Connection, None] = {}
        self.up = True
        self.waiting: deque[tuple[Connection | None, int, tuple[Change, ...]]] = deque()
        self.committing = False
        self.backup: MemoryStore | None = None
        self.backup_is_old = False

    # -- life

    def crash(self) -> None:
        """Stop without warning: what is committed stays, everything else is gone."""
        self.up = False
        self.waiting.clear()
        self.committing = False
        for connection in list(self.connections):
            connection.cut()
        self.world.after(self.world.faults.randint(10, 4000), self.start)

    def start(self) -> None:
        """Come back, with the log as it was committed."""
        self.up = True

    def restore(self) -> None:
        """Come back with an older copy of the log, as an operator who knows of no epochs would do it."""
        if self.backup:
            self.world.note("restore")
            self.crash()
            self.store = self.backup
            self.backup = None
            self.world.restored()

    # -- sessions

    def accept(self, connection: Connection) -> None:
        """Take a new connection; an older one of the same device ends."""
        for other in list(self.connections):
            if other.device is connection.device:
                other.cut()
        info = self.store.vault(VAULT)
        connection.session = ServerSession(connection.device.name, info.epoch, info.clock)
        self.connections[connection] = None

    def receive(self, connection: Connection, data: bytes) -> None:
        """Take a message."""
        if connection.session:
            connection.session.receive(data)
            self.pump(connection)

    def pump(self, connection: Connection) -> None:
        """Do what the session says until it waits for something."""
        session = connection.session
        assert session
        while connection.open and (step := session.next_step()):
            if isinstance(step, Submit):
                self.waiting.append((connection, step.number, step.changes))
                self._commit_soon()
            elif isinstance(step, Read):
                self.world.after(self.world.network.randint(0, 20), lambda step=step: self._read(connection, step))  # type: ignore[misc]
            elif isinstance(step, Send):
                connection.to_client(encode(step.message))
            elif isinstance(step, Fail):
                self._settle(step)
                connection.to_client(encode(step.message))
                connection.session = None
                self.connections.pop(connection, None)
                return

    def _settle(self, failure: Fail) -> None:
        if failure.rolled_back and self.store.vault(VAULT).epoch == failure.message.epoch:
            self.store.new_generation(VAULT, wall_ms=self.world.now)

    def _read(self, connection: Connection, step: Read) -> None:
        if connection.open and connection.session:
            again = self.store.entries(VAULT, step.keys)
            connection.session.page(self.store.changes_since(VAULT, step.after, max_changes=3), again)
            self.pump(connection)

    def _commit_soon(self) -> None:
        if not self.committing:
            self.committing = True
            self.world.after(self.world.network.randint(0, 10), self._commit)

    def _commit(self) -> None:
        """Commit, publish, acknowledge, with a chance to die between any two of them."""
        if not self.up or not self.committing:
            return None
        self.committing = False
        pushes = list(self.waiting)
        self.waiting.clear()
        if self.world.crashes_now():
            return self.crash()
        batch = self.store.take_in(
            VAULT, [changes for _, _, changes in pushes], wall_ms=self.world.now, has_blob=lambda _: True
        )
        self.world.recorder.committed(batch.versions)
        if self.world.crashes_now():
            return self.crash()
        if batch.clock != batch.previous_clock:
            epoch = self.store.vault(VAULT).epoch
            self._publish(Publication(epoch, batch.previous_clock, batch.clock, tuple(batch.entries)))
        results = iter(batch.results)
        for connection, number, changes in pushes:
            own = [next(results) for _ in changes]
            if self.world.crashes_now():
                return self.crash()
            if connection and connection.open and connection.session:
                taken = [result for result in own if isinstance(result, Taken)]
                refused = [_rejected(result) for result in own if isinstance(result, Refused)]
                connection.session.committed(number, taken, refused, batch.clock)
                self.pump(connection)
        return None

    def _publish(self, publication: Publication) -> None:
        for connection in list(self.connections):
            times = self.world.network.choice([1, 1, 1, 2])
            if self.world.network.random() < self.world.options.lost_publications:
                times = 0
            for _ in range(times):
                delay = self.world.network.choice([0, 0, 0, 30])
                self.world.after(delay, lambda connection=connection: self._tell(connection, publication))  # type: ignore[misc]

    def _tell(self, connection: Connection, publication: Publication) -> None:
        if connection.open and connection.session:
            connection.session.published(publication)
            self.pump(connection)

    def look_at_head(self) -> None:
        """Poll the log's head, as drivers do in case that a publication was lost."""
        info = self.store.vault(VAULT)
        for connection in list(self.connections):
            if connection.session:
                connection.session.published(Publication(info.epoch, info.clock, info.clock, None))
                self.pump(connection)


def _rejected(refused: Refused) -> Rejected:
    change = refused.change
    return Rejected(change.key, *change.dot, refused.code, refused.message, refused.clock)


class Rest:
    """The server's REST as the full reconcile uses it; requests may fail."""

    def __init__(self, world: World, device: Device) -> None:
        self.world = world
        self.device = device

    def _reach(self) -> Server:
        server = self.world.server
        if not server.up or self.world.network.random() < self.world.options.cuts:
            raise UnreachableError("the server does not answer")
        return server

    async def manifest(self, after: str | None = None) -> Manifest:
        """Return a page of two keys."""
        store = self._reach().store
        info = store.vault(VAULT)
        found = store.manifest(VAULT, after, 3)
        entries = [ManifestEntry(key, from_dots(dots)) for key, dots in found[:2]]
        return Manifest(info.epoch, info.clock, entries, entries[-1].key if len(found) > 2 else None)

    async def fetch(self, keys: Sequence[str]) -> Fetched:
        """Return some keys' siblings."""
        store = self._reach().store
        return decode(encode(Fetched(store.vault(VAULT).epoch, from_entries(store.entries(VAULT, keys)))), Fetched)

    async def sync(self, push: bytes) -> bytes:
        """Take a push in, as the polling form of the socket does."""
        server = self._reach()
        info = server.store.vault(VAULT)
        session = ServerSession(self.device.name, info.epoch, info.clock)
        session.receive(push)
        while step := session.next_step():
            if isinstance(step, Submit):
                batch = server.store.take_in(VAULT, [step.changes], wall_ms=self.world.now, has_blob=lambda _: True)
                self.world.recorder.committed(batch.versions)
                taken = [result for result in batch.results if isinstance(result, Taken)]
                refused = [_rejected(result) for result in batch.results if isinstance(result, Refused)]
                session.committed(step.number, taken, refused, batch.clock)
            elif isinstance(step, Read):
                again = server.store.entries(VAULT, step.keys)
                session.page(server.store.changes_since(VAULT, step.after), again)
            else:
                self._reach()  # the answer may be lost, too
                return encode(step.message)
        raise AssertionError("a push without an answer")

    async def upload(self, *_: object) -> None:
        """Do nothing: there are no blobs here."""


class Device:
    """A person's device: a real journal and a real client session behind the link's real policy."""

    def __init__(self, world: World, name: str, folder: Path) -> None:
        self.world = world
        self.name = name
        self.path = folder / f"{name}.db"
        self.config = SyncConfig(name, sync_endpoint="ws://127.0.0.1:1/ws/sync")
        self.rng = random.Random(f"{world.seed} {name}")
        self.journal = self._open()
        if world.options.skew and self.rng.random() < 0.5:
            # A clock that is far ahead, as after a bug or with a bad wall clock.
            with self.journal._commit():
                self.journal._set(clock=world.options.skew)
        self.state = LinkState()
        self.connection: Connection | None = None
        self.session: ClientSession | None = None
        self.resync = False
        self.on = True
        self.cursor = 0
        self.epoch: str | None = None

    def _open(self) -> Journal:
        journal = Journal(self.path, wall_ms=lambda: self.world.now)
        journal.bind(device_id=self.name, vault=VAULT, endpoint=self.config.sync_endpoint)
        return journal

    # -- what a person does

    def edit(self) -> None:
        """Do one random thing to one note."""
        key = self.rng.choice(KEYS)
        shown = self.journal.winner(key)
        token = self.world.recorder.token(self.name)
        base = frozenset([shown.dot]) if shown else frozenset()
        roll = self.rng.random()
        if roll < 0.15 and shown and not shown.deleted:
            self._write([Write(key, base=base)])
            self.world.recorder.deleted.add(key)
        elif roll < 0.25 and shown and not shown.deleted:
            self._rename(key, shown, base)
        elif roll < 0.35:
            self._write([Write(key, f"{token}\n")])  # a blind write
        else:
            text = (shown.value or "") if shown else ""
            self._write([Write(key, f"{text}{token}\n", base=base)])

    def _rename(self, key: str, shown: Change, base: frozenset[Dot]) -> None:
        target = self.rng.choice([other for other in KEYS if other != key])
        there = self.journal.winner(target)
        if there and not there.deleted:
            return
        seen = frozenset([there.dot]) if there else frozenset()
        self._write([Write(target, shown.value, base=seen), Write(key, base=base, moved_to=target)])
        self.world.recorder.deleted.add(key)

    def _write(self, writes: Sequence[Write]) -> None:
        for write in writes:
            shown = self.journal.winner(write.key)
            self.world.recorder.seen[self.name, write.key] |= set((shown.value or "").split() if shown else ())
        changes = self.journal.write(writes)
        self.world.recorder.saved(changes)
        self.world.note(f"{self.name} writes {[(change.key, change.dot) for change in changes]}")
        self.push()

    # -- the link

    def step(self) -> None:
        """Ask the policy, and do what it says."""
        if not self.on:
            return
        step = policy.next_step(self.state, self.config, self.world.now)
        if isinstance(step, policy.Connect | policy.Poll) and self.connection is None:
            self._connect()
        elif isinstance(step, policy.Wait):
            self.world.after(max(1, min(step.ms, 5000)), self.step)

    def _connect(self) -> None:
        if not self.world.server.up or self.world.network.random() < self.world.options.cuts:
            return self._failed()
        try:
            if self.resync:
                _finish(DataSync(self.journal, Rest(self.world, self)).run())  # type: ignore[arg-type]
                self.resync = False
            elif doubts := self.journal.doubts():
                found = _finish(fetch(Rest(self.world, self), doubts))  # type: ignore[arg-type]
                self.journal.reconcile({key: found.get(key, ()) for key in doubts})
        except UnreachableError:
            return self._failed()
        meta = self.journal.meta
        self.session = ClientSession(meta.cursor, meta.epoch)
        self.connection = Connection(self.world, self)
        self.world.server.accept(self.connection)
        self.push(first=True)
        return None

    def _failed(self) -> None:
        self.state = policy.lost(self.state, self.config, self.world.now, self.rng.random())
        self.world.after(1, self.step)

    def push(self, *, first: bool = False) -> None:
        """Send what is ready, if nothing is under way."""
        if not self.session or not self.connection or not self.session.can_push:
            return
        ready = self.journal.ready()
        if not first and (not ready or self.state.connected_at_ms is None):
            return
        sent = self.session.push([row.change for row in ready])
        self.journal.handed(ready[:sent])
        self._flush()

    def _flush(self) -> None:
        assert self.session
        for message in self.session.outgoing():
            if self.connection:
                self.connection.to_server(encode(message))

    def receive(self, connection: Connection, data: bytes) -> None:
        """Take a message of the server's."""
        if connection is not self.connection or self.session is None:
            return None
        self.session.receive(data)
        for event in self.session.events():
            if isinstance(event, Failed):
                return self._refused(event.code)
            assert isinstance(event, Received), event
            self.journal.apply(event)
            if self.state.connected_at_ms is None:
                self.state = policy.opened(self.state, self.world.now)
            self.world.recorder.received(self, event)
            self.session.applied(event.cursor)
        self.push()
        self._flush()
        return None

    def _refused(self, code: str) -> None:
        action = CODES[code].action
        assert action in (Action.RESYNC, Action.RETRY), code
        self.resync = self.resync or action is Action.RESYNC
        connection, self.connection, self.session = self.connection, None, None
        if connection:
            connection.cut()
        self._failed()

    def lost(self, connection: Connection) -> None:
        """Notice that a connection is gone."""
        if connection is self.connection:
            self.connection = self.session = None
            self._failed()

    # -- life

    def crash(self) -> None:
        """Stop without warning, and start again later from what the journal holds."""
        self.world.note(f"{self.name} crashes")
        self.on = False
        connection, self.connection, self.session = self.connection, None, None
        if connection:
            connection.cut()
        self.journal.close()
        self.journal = self._open()
        self.state = LinkState()
        self.world.after(self.world.faults.randint(10, 10_000), self.start)

    def start(self) -> None:
        """Run again."""
        if not self.on:
            self.on = True
            self.step()


@dataclass
class Recorder:
    """What people saved and servers acknowledged, and the checks on it."""

    tokens: int = 0
    written: dict[tuple[str, Dot], Change] = field(default_factory=dict)
    seen: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    """Per device and key the words that were shown when something else was saved over them."""
    durable: dict[tuple[str, Dot], int] = field(default_factory=dict)
    acknowledged: set[tuple[str, Dot]] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    lost_by_restore: bool = False

    def token(self, device: str) -> str:
        """Return a word that nobody has written before."""
        self.tokens += 1
        return f"«{device}:{self.tokens:05}»"

    def saved(self, changes: Sequence[Change]) -> None:
        """A person saved something; it is in the journal."""
        for change in changes:
            assert (change.key, change.dot) not in self.written, f"the dot {change.dot} was used twice"
            self.written[change.key, change.dot] = change

    def committed(self, versions: Sequence[Any]) -> None:
        """The log took versions in."""
        for version in versions:
            self.durable[version.change.key, version.dot] = version.receipt

    def received(self, device: Device, event: Received) -> None:
        """A device applied a message: what it says was acknowledged is in the log, and the cursor never goes back."""
        for change in event.accepted:
            assert (change.key, change.dot) in self.durable, f"{change.dot} was acknowledged and is not in the log"
            self.acknowledged.add((change.key, change.dot))
        meta = device.journal.meta
        head = device.world.server.store.vault(VAULT)
        if meta.epoch == device.epoch:
            assert meta.cursor >= device.cursor
        if meta.epoch == head.epoch and not self.lost_by_restore:
            assert meta.cursor <= head.clock
        device.epoch, device.cursor = meta.epoch, meta.cursor


class World:
    """Everything together.

    Args:
        seed: of all randomness.
        folder: for the journals.
        options: by default drawn from the seed.
    """

    def __init__(self, seed: int, folder: Path, options: Options | None = None) -> None:
        self.seed = seed
        self.options = options or Options.draw(random.Random(f"{seed} options"))
        # One stream a part, so that more draws of one part do not shift all others.
        self.network = random.Random(f"{seed} network")
        self.faults = random.Random(f"{seed} faults")
        self.people = random.Random(f"{seed} people")
        self.ids = random.Random(f"{seed} ids")
        self.now = 1_000
        self.trace: list[str] = []
        self.recorder = Recorder()
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._healing = False
        self.server = Server(self)
        self.devices = [Device(self, f"d{number}", folder) for number in range(self.options.devices)]

    def at(self, when: int, do: Callable[[], Any]) -> None:
        """Do something at a time."""
        self._count += 1
        heapq.heappush(self._queue, (max(when, self.now), self._count, do))

    def after(self, ms: int, do: Callable[[], Any]) -> None:
        """Do something later."""
        self.at(self.now + ms, do)

    def note(self, line: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.now} {line}")

    def crashes_now(self) -> bool:
        """Draw whether the server dies at this point."""
        return not self._healing and self.faults.random() < self.options.crashes

    def restored(self) -> None:
        """Forget what the log is known to hold: an older copy took its place."""
        self.recorder.lost_by_restore = True

    def run(self, steps: int) -> None:
        """Let people work and faults happen for a number of steps."""
        for device in self.devices:
            self.after(self.people.randint(0, 2000), device.step)
        for step in range(steps):
            self._advance(self.now + self.people.randint(1, 300))
            self.people.choice(self.devices).edit()
            if self.faults.random() < self.options.cuts and self.server.connections:
                self.faults.choice(list(self.server.connections)).cut()
            if self.faults.random() < self.options.crashes:
                self.faults.choice(self.devices).crash()
            if self.server.up and self.faults.random() < self.options.crashes / 2:
                self.note("the server crashes")
                self.server.crash()
            if step % 10 == 0 and self.server.up:
                self.server.look_at_head()
            if self.options.restores and step == steps // 3:
                self.server.backup = self.server.store.copy()
            if self.options.restores and step == steps // 2:
                self.server.restore()
        self.heal()

    def heal(self) -> None:
        """End all faults, wait until nothing happens any more, and check the end."""
        self._healing = True
        self.options = Options(self.options.devices, 0, 0, 0, restores=False, skew=0, latency_ms=5)
        if not self.server.up:
            self.server.start()
        for device in self.devices:
            device.start()
        for _ in range(40):
            for device in self.devices:
                device.state = LinkState() if device.connection is None else device.state
                device.step()
                device.push()
            self._advance(self.now + 10_000)
            self.server.look_at_head()
            if self._settled():
                break
        self._check_the_end()

    def _advance(self, until: int) -> None:
        for _ in range(100_000):
            if not self._queue or self._queue[0][0] > until:
                self.now = until
                return
            self.now, _, do = heapq.heappop(self._queue)
            do()
        raise AssertionError(f"{self}: messages go round without end")

    def _settled(self) -> bool:
        clock = self.server.store.vault(VAULT).clock
        return all(
            device.connection and not device.journal.pending() and device.journal.meta.cursor == clock
            for device in self.devices
        )

    def _check_the_end(self) -> None:
        store = self.server.store
        for device in self.devices:
            assert not device.journal.pending(), f"{self}: {device.name} has unsent changes"
            assert device.connection, f"{self}: {device.name} is offline"
        keys = {key for key, _ in self.recorder.written} | set(KEYS)
        state = {entry.key: entry.register for entry in store.entries(VAULT, sorted(keys))}
        for key in sorted(keys):
            siblings = state[key].siblings if key in state else ()
            for device in self.devices:
                got = device.journal.confirmed(key)
                assert got == siblings, f"{self}: {device.name} holds {got} of {key}, the server {siblings}"
            winner = state[key].winner if key in state else None
            if winner is None or winner.deleted:
                named = key in self.recorder.deleted or not any(written == key for written, _ in self.recorder.written)
                assert named or self.recorder.lost_by_restore, f"{self}: {key} is gone, and nobody deleted it"
        if not self.recorder.lost_by_restore:
            self._check_history(keys)

    def _check_history(self, keys: set[str]) -> None:
        """Check that everything acknowledged, and every word saved, is in the log."""
        store = self.server.store
        versions = {(key, version.dot) for key in keys for version in store.history(VAULT, key)}
        missing = self.recorder.acknowledged - versions
        assert not missing, f"{self}: acknowledged and lost: {sorted(missing)}"
        words: dict[str, set[str]] = defaultdict(set)
        for key in sorted(keys):
            for version in store.history(VAULT, key):
                words[key] |= set((version.change.value or "").split())
        for (key, dot), change in self.recorder.written.items():
            lost = set((change.value or "").split()) - words[key]
            # A save that was never sent gives way to the next one of the same device, which has seen it.
            lost -= self.recorder.seen[dot.device_id.partition("~")[0], key]
            assert not lost, f"{self}: {lost} of {key} {dot} is nowhere"

    def __str__(self) -> str:
        return f"seed {self.seed} {self.options}"


def _finish(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it waited for something")
