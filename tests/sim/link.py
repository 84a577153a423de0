"""A device's connection: the real policy, session and journal, joined as client/link.py joins them, without its I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sim.network import Connection
from sim.server import Rest
from tidenote.client import policy
from tidenote.client.data_sync import DataSync, fetch
from tidenote.client.journal import Journal
from tidenote.client.policy import LinkState
from tidenote.client.rest import error_of_code
from tidenote.errors import CODES, Action, ProtocolError, TidenoteError, UnreachableError
from tidenote.wire.messages import encode
from tidenote.wire.session import ClientSession, Failed, Received

if TYPE_CHECKING:
    from sim.device import Process


class SimLink:
    """The link of one process.

    Args:
        process: whose.
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        self.world = process.world
        self.config = process.config
        self.journal: Journal = process.journal
        self.state = LinkState()
        self.connection: Connection | None = None
        self.session: ClientSession | None = None
        self.caught_up = False
        self._answered = False
        self._behind = 0
        self._hold_until_ms = 0
        self._refusals = 0
        self._resyncs = 0
        self._busy = False
        """Whether an attempt is under way that is no open connection: a poll, a reconcile."""
        self._settling = False
        self._unsettled = 0
        """How often in a row the server could not be asked for what is in doubt."""

    # -- attempts

    def wake(self) -> None:
        """Hear that the outbox has grown."""
        self.state = policy.hurried(self.state)
        self.push()
        if self.state.polling:
            self.world.after(0, self.process.guarded(self.step))

    def step(self) -> None:
        """Ask the policy, and do what it says."""
        if not self.process.runs or self.connection or self._busy:
            return
        step = policy.next_step(self.state, self.config, self.world.now)
        if isinstance(step, policy.Wait):
            self.world.after(max(1, min(step.ms, 5000)), self.process.guarded(self.step))
        elif isinstance(step, policy.Poll):
            self._attempt(self._over_http(), policy.poll_failed)
        elif isinstance(step, policy.Connect):
            self._connect()
        else:
            raise AssertionError(f"the link does not stop: {step}")

    def _connect(self) -> None:
        blocked = self.world.options.blocked and self.process.device.number == 0
        if blocked or not self.world.server.up or self.world.drops():
            self._failed(UnreachableError("no connection"), policy.lost)
            return
        meta = self.journal.meta
        self.session = ClientSession(meta.cursor, meta.epoch)
        self.connection = Connection(self.world, self, self.process.device.vault)
        self.world.server.accept(self.connection)
        self._answered = False
        self._push(self.session, first=True)
        self._flush()

    def _attempt(self, work: Any, transition: Any) -> None:
        """Run a coroutine as an attempt."""
        self._busy = True

        def over(error: TidenoteError | None) -> None:
            self._busy = False
            if error is None:
                self.step()
            else:
                self._failed(error, transition)

        self.process.spawn(work, over)

    def _failed(self, error: TidenoteError, transition: Any) -> None:
        """Do what an attempt's failure calls for."""
        self.caught_up = False
        if error.action is Action.RESYNC and self._resyncs == 0:
            self._resyncs += 1
            quarantine = isinstance(error, ProtocolError) and error.quarantine
            self._attempt(self._resync(quarantine=quarantine), transition)
            return
        assert error.action is not Action.STOP, f"{self.process.device.name} stopped: {error.message}"
        self._resyncs = 0
        self.state = transition(self.state, self.config, self.world.now, self.process.rng.random())
        self.world.after(1, self.process.guarded(self.step))

    async def _resync(self, *, quarantine: bool) -> None:
        self._tell(await DataSync(self.journal, self._rest()).run(quarantine=quarantine))
        self.process.check_replica()
        self.state = policy.closed(self.state)

    def _rest(self) -> Any:
        return Rest(self.world, self.process.device.vault, self.journal.device_id)

    async def _over_http(self) -> None:
        self.state = policy.sending(self.state)
        while True:
            meta = self.journal.meta
            session = ClientSession(meta.cursor, meta.epoch)
            self._push(session, first=True)
            for push in session.outgoing():
                self._receive(session, await self._rest().sync(encode(push)))
            if not session.can_push:
                raise UnreachableError("the server did not answer a push")
            if not self._behind and not self._ready():
                break
        await self._settle_doubts_once()
        self.state = policy.polled(self.state, self.config, self.world.now, self.process.rng.random())

    # -- an open connection

    def push(self) -> None:
        """Send what is ready, if nothing is under way."""
        if self.session and self.connection:
            self._push(self.session)
            self._flush()

    def receive(self, connection: Connection, data: bytes) -> None:
        """Take a message of the server's."""
        self.process.guard(lambda: self._take(connection, data))

    def _take(self, connection: Connection, data: bytes) -> None:
        session = self.session
        if connection is not self.connection or session is None:
            return
        device_id = self.journal.device_id
        try:
            self._receive(session, data)
        except TidenoteError as error:
            self._hang_up()
            self._failed(error, policy.lost)
            return
        if self.journal.device_id != device_id:
            # The connection is in the name of another one's device.
            self._hang_up()
            self.state = policy.closed(self.state)
            self.world.after(1, self.process.guarded(self.step))
            return
        if self._answered and self.state.connected_at_ms is None:
            self.state = policy.opened(self.state, self.world.now)
        self._push(session)
        self._flush()

    def lost(self, connection: Connection) -> None:
        """Notice that a connection is gone."""
        if connection is self.connection and self.process.runs:
            self.connection = self.session = None
            self._failed(UnreachableError("the connection is gone"), policy.lost)

    def stop(self) -> None:
        """Let go of the connection without a word."""
        self._hang_up()

    def _hang_up(self) -> None:
        connection, self.connection, self.session = self.connection, None, None
        if connection:
            connection.cut()

    def _flush(self) -> None:
        assert self.session
        for message in self.session.outgoing():
            if self.connection:
                self.connection.to_server(encode(message))

    # -- what both have in common

    def _ready(self) -> bool:
        return self.world.now >= self._hold_until_ms and bool(self.journal.ready())

    def _push(self, session: ClientSession, *, first: bool = False) -> None:
        if not session.can_push:
            return
        rows = self.journal.ready() if self.world.now >= self._hold_until_ms else []
        if rows or first:
            sent = session.push([row.change for row in rows])
            self.journal.handed(rows[:sent])

    def _receive(self, session: ClientSession, data: bytes) -> None:
        session.receive(data)
        for event in session.events():
            if isinstance(event, Failed):
                raise error_of_code(event.code, event.message, quarantine=event.quarantine)
            assert isinstance(event, Received), event
            altered = self.journal.apply(event)
            session.applied(event.cursor)
            self.process.check_applied(event)
            self._note(event)
            self._tell(altered)
        self.process.news()

    def _note(self, received: Received) -> None:
        self._behind = received.behind
        self._resyncs = 0
        assert not received.skipped, received.skipped
        self._answered = self._answered or received.answered
        self.caught_up = self._answered and received.behind == 0
        if received.accepted or self.caught_up:
            self._settle_doubts()
        actions = {CODES[rejection.code].action for _, rejection in received.rejected}
        if Action.RETRY in actions or any(each.code == "move_target_missing" for _, each in received.rejected):
            self._refusals += 1
            wait_ms = policy.pause(self._refusals, self.config, (1 + self.process.rng.random()) / 2)
            self._hold_until_ms = self.world.now + wait_ms
            self.world.after(wait_ms + 5, self.process.guarded(self.wake))
        elif received.answered:
            self._refusals = 0
        assert actions.isdisjoint((Action.STOP, Action.RESYNC)), actions

    def _tell(self, altered: frozenset[str]) -> None:
        if altered:
            self.process.altered(altered)

    def _settle_doubts(self) -> None:
        def over(error: TidenoteError | None) -> None:
            self._settling = False
            self._unsettled = self._unsettled + 1 if error else 0
            if error and self.connection:
                wait_ms = policy.pause(self._unsettled, self.config, (1 + self.process.rng.random()) / 2)
                self.world.after(wait_ms, self.process.guarded(self._settle_doubts))

        if not self._settling and self.journal.doubts():
            self._settling = True
            self.process.spawn(self._settle_doubts_once(), over)

    async def _settle_doubts_once(self) -> None:
        while keys := self.journal.doubts()[:100]:
            before = {key: self.journal.confirmed(key) for key in keys}
            found = await fetch(self._rest(), keys, self.journal.meta.epoch)
            settled = {key: siblings for key, siblings in found.items() if self.journal.confirmed(key) == before[key]}
            if not settled:
                return
            self._tell(self.journal.reconcile(settled))


def texts_of(rows: Sequence[Any]) -> set[str]:
    """Return the texts in an outbox."""
    return {row.change.value for row in rows if row.change.value is not None}
