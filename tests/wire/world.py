"""A small world: one log, its hub, and clients whose messages, commits and publications may take any time.

Every action is one small step that may come at any moment; what cannot be done just now does nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from core.log import Log
from tidenote.core.clock import LamportClock
from tidenote.core.crdt import CrdtEntry
from tidenote.core.intake import Refused, Taken
from tidenote.core.keys import next_incarnation
from tidenote.core.register import join_all
from tidenote.core.version import Change, Dot, Record
from tidenote.wire.messages import Rejected, encode
from tidenote.wire.session import ClientSession, Page, Publication, Read, Received, Send, ServerSession, Submit

EPOCH = "1-x"
KEYS = ("note:a.md", "note:b.md", "note:c.md")


@dataclass
class Connection:
    """A socket with both sessions, and everything that is on its way."""

    client: ClientSession
    server: ServerSession
    up: deque[bytes] = field(default_factory=deque)
    down: deque[bytes] = field(default_factory=deque)
    publications: deque[Publication] = field(default_factory=deque)
    outcomes: deque[Callable[[], None]] = field(default_factory=deque)
    reading: Read | None = None
    again: list[CrdtEntry] | None = None
    page: Page | None = None
    opened: bool = False


class Client:
    """A device: its journal, and at most one connection."""

    def __init__(self, device_id: str) -> None:
        self.device_id = device_id
        self.connection: Connection | None = None
        self.forget()

    def forget(self) -> None:
        self.confirmed: dict[str, tuple[Change, ...]] = {}
        self.doubts: set[str] = set()
        self.outbox: list[Change] = []
        self.cursor = 0
        self.clock = LamportClock()

    def siblings(self, key: str) -> tuple[Change, ...]:
        own = [change for change in self.outbox if change.key == key]
        return join_all([*self.confirmed.get(key, ()), *own]).siblings

    def apply(self, received: Received) -> None:
        """Do what `Received` asks for, in one go."""
        for change in received.accepted:
            confirmed = self.confirmed.get(change.key, ())
            # What came before its answer may bear a mark that its author did not give it.
            if all(sibling.dot != change.dot for sibling in confirmed):
                self.confirmed[change.key] = join_all([*confirmed, change]).siblings
        self.confirmed |= received.siblings
        self.doubts = (self.doubts | received.unlisted) - received.siblings.keys()
        settled = {*received.accepted, *(change for change, _ in received.rejected)}
        self.outbox = [change for change in self.outbox if change not in settled]
        seen = [change.dot.timestamp for siblings in received.siblings.values() for change in siblings]
        self.clock.observe(received.cursor, *seen)
        assert received.cursor >= self.cursor, "a cursor never goes back"
        self.cursor = received.cursor


class World:
    """The log, the hub's queue and all clients."""

    def __init__(self, devices: Iterable[str] = "abc", page_keys: int = 2) -> None:
        self.log = Log()
        self.page_keys = page_keys
        self.clients = [Client(device) for device in devices]
        self.hub: deque[tuple[Connection, Submit]] = deque()
        self.acknowledged: set[Change] = set()

    @property
    def connections(self) -> list[Connection]:
        return [client.connection for client in self.clients if client.connection]

    # -- what a device does

    def write(self, client: Client, choice: int) -> None:
        """Write, edit, settle, delete or rename, with or without a base."""
        key = KEYS[choice % len(KEYS)]
        siblings = client.siblings(key)
        shown = join_all(siblings).winner
        base: frozenset[Dot] | None = frozenset([shown.dot] if shown else [])
        kind = ("edit", "edit", "settle", "blind", "delete", "rename", "new")[choice // len(KEYS) % 7]
        if kind == "settle":
            base = frozenset(change.dot for change in siblings)
        elif kind == "blind":
            base = None
        elif kind == "new":
            base = frozenset()
        dot = Dot(client.clock.tick(), client.device_id)
        if kind == "delete":
            client.outbox.append(Change(key, dot, base=base))
        elif kind == "rename" and shown and not shown.deleted:
            target = KEYS[(choice + 1) % len(KEYS)]
            seen = frozenset(change.dot for change in client.siblings(target))
            client.outbox.append(Change(target, dot, shown.value, base=seen))
            tombstone = Dot(client.clock.tick(), client.device_id)
            client.outbox.append(Change(key, tombstone, base=base, moved_to=target))
        else:
            client.outbox.append(Change(key, dot, f"{dot.timestamp % 4}", base=base))

    def connect(self, client: Client, _: int) -> None:
        server = ServerSession(client.device_id, EPOCH, self.log.clock)
        client.connection = Connection(ClientSession(client.cursor, EPOCH), server)

    def disconnect(self, client: Client, _: int) -> None:
        client.connection = None

    def lose_journal(self, client: Client, _: int) -> None:
        """A device that forgot everything, what it had not sent included, goes on under its next incarnation."""
        client.connection = None
        client.forget()
        client.device_id = next_incarnation(client.device_id)

    def push(self, client: Client, choice: int) -> None:
        """Send what is pending, or some of it; the first push comes whatever there is to say."""
        connection = client.connection
        if connection and connection.client.can_push and (client.outbox or not connection.opened):
            pending = client.outbox if choice % 2 else client.outbox[: choice // 2]
            if pending and pending[-1] is not client.outbox[-1] and client.outbox[len(pending)].moved_to:
                pending = client.outbox
            connection.client.push(pending)
            connection.opened = True
            self.flush(connection)

    def flush(self, connection: Connection) -> None:
        connection.up.extend(encode(message) for message in connection.client.outgoing())

    def hear(self, client: Client, _: int) -> None:
        """A message of the server's arrives."""
        connection = client.connection
        if connection is None or not connection.down:
            return
        connection.client.receive(connection.down.popleft())
        for event in connection.client.events():
            assert isinstance(event, Received), event
            self.acknowledged |= set(event.accepted)
            client.apply(event)
            connection.client.applied(event.cursor)
            self.flush(connection)
        self.check(client)

    # -- what the server does

    def arrive(self, client: Client, _: int) -> None:
        """A message of a client's arrives."""
        if client.connection and client.connection.up:
            client.connection.server.receive(client.connection.up.popleft())

    def step(self, client: Client, _: int) -> None:
        """The driver of a session does its next step, or a part of it."""
        connection = client.connection
        if connection is None:
            return
        match connection.server.next_step():
            case Submit() as submit:
                self.hub.append((connection, submit))
            case Read() as read:
                assert connection.reading is None, "one read at a time"
                connection.reading = read
            case Send(message):
                connection.down.append(encode(message))
            case None:
                pass
            case failure:
                raise AssertionError(failure)

    def read(self, client: Client, choice: int) -> None:
        """A read gets on: the keys, or the first of them, then the page, then back to the session."""
        connection = client.connection
        if connection is None or connection.reading is None:
            return
        if connection.again is None:
            connection.again = self.log.entries_of(connection.reading.keys)[: 1 + choice % 3]
        elif connection.page is None:
            connection.page = self.log.page(connection.reading.after, self.page_keys)
        else:
            connection.server.page(connection.page, connection.again)
            connection.reading, connection.again, connection.page = None, None, None

    def commit(self, _: Client, choice: int) -> None:
        """The hub commits some of the waiting pushes together, publishes, then acknowledges."""
        waiting = [self.hub.popleft() for _ in range(min(len(self.hub), 1 + choice % 3))]
        batch = self.log.take_in(*(submit.changes for _, submit in waiting))
        if batch.versions:
            news = Publication(EPOCH, batch.previous_clock, batch.clock, tuple(batch.entries))
            for connection in self.connections:
                connection.publications.append(news)
        results = iter(batch.results)
        for connection, submit in waiting:
            own = [next(results) for _ in submit.changes]
            connection.outcomes.append(self.outcome(connection, submit, own, batch.clock))

    def outcome(
        self, connection: Connection, submit: Submit, results: list[Taken | Refused], clock: int
    ) -> Callable[[], None]:
        taken = [result for result in results if isinstance(result, Taken)]
        refused = [
            Rejected(result.change.key, *result.change.dot, result.code, result.message)
            for result in results
            if isinstance(result, Refused)
        ]
        return lambda: connection.server.committed(submit.number, taken, refused, clock)

    def tell(self, client: Client, choice: int) -> None:
        """A session learns what became of a push, not always in order."""
        connection = client.connection
        if connection and connection.outcomes:
            connection.outcomes.rotate(choice % 2)
            connection.outcomes.popleft()()

    def publish(self, client: Client, choice: int) -> None:
        """A session hears a publication: on time, twice, late, without its entries, or never."""
        connection = client.connection
        if connection is None or not connection.publications:
            return
        if choice % 6 == 5:
            connection.publications.rotate(1)
        news = connection.publications.popleft()
        if choice % 6 == 4:
            news = Publication(news.epoch, news.previous_clock, news.clock, None)
        for _ in range((1, 1, 2, 0, 1, 1)[choice % 6]):
            connection.server.published(news)

    def ask(self, client: Client, _: int) -> None:
        """A device asks for what an answer had no room for."""
        client.confirmed |= {key: self.log.entries[key].register.siblings for key in client.doubts}
        client.doubts.clear()

    def look(self, client: Client, _: int) -> None:
        """A session is told the head of the log."""
        if client.connection:
            client.connection.server.head_is(EPOCH, self.log.clock)

    def prompt(self, client: Client, _: int) -> None:
        """One device gets everything done that it has to do, while the others stand still."""
        for _ in range(3):
            for action in (self.push, self.arrive, self.step, self.commit, self.publish, self.tell, self.step):
                action(client, 1)
            for action in (self.read, self.read, self.read, self.step, self.hear):
                action(client, 0)

    ACTIONS = (
        write,
        connect,
        disconnect,
        push,
        hear,
        arrive,
        step,
        read,
        commit,
        tell,
        publish,
        look,
        ask,
        lose_journal,
        prompt,
    )

    # -- what has to hold

    def check(self, client: Client) -> None:
        """What a client holds of a key that has not altered since its cursor is what the log holds."""
        assert client.cursor <= self.log.clock
        for key, entry in self.log.entries.items():
            if entry.changed_at <= client.cursor and key not in client.doubts:
                assert client.confirmed.get(key) == entry.register.siblings, key

    def heal(self) -> None:
        """Connect everyone and let everything arrive."""
        for client in self.clients:
            self.disconnect(client, 0)
            self.connect(client, 0)
        for _ in range(1000):
            before = self.fingerprint()
            for client in self.clients:
                for action in (self.push, self.arrive, self.step, self.commit, self.publish, self.tell, self.look):
                    action(client, 1)
                for action in (self.step, self.read, self.hear, self.ask):
                    action(client, 0)
            if self.fingerprint() == before and not self.hub:
                return
        raise AssertionError("the world never becomes quiet")

    def fingerprint(self) -> object:
        return self.log.clock, [
            (
                client.cursor,
                len(client.outbox),
                connection.opened,
                (len(connection.up), len(connection.down)),
                (len(connection.publications), len(connection.outcomes)),
                connection.reading,
                connection.again is None,
                connection.page is None,
                connection.server.waiting,
                connection.server.position,
            )
            for client in self.clients
            for connection in [client.connection]
            if connection
        ]

    def check_all(self) -> None:
        """After healing everyone holds what the log holds, and the log holds what was acknowledged."""
        for client in self.clients:
            assert client.outbox == []
            assert client.cursor == self.log.clock
            assert client.confirmed == self.log.siblings()
        for change in self.acknowledged:
            version = self.log.version(change.key, change.dot)
            assert version is not None
            assert Record.of(version).is_of(change)
