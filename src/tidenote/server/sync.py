"""Drives sync sessions: a socket, or a single request, on one side; a vault's hub on the other.

What may be said when is wire/session.py's matter. Here stands only what needs a clock or a socket: who waits for whom
and for how long, and that a client which reads slowly costs bounded memory and nobody else's time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Collection
from functools import partial
from typing import Final, Protocol

from tidenote.config import ServerConfig
from tidenote.core.keys import owner_of
from tidenote.errors import CODES, Action, ProtocolError, StorageError, TidenoteError
from tidenote.server.hub import BUG, Committed, Hub
from tidenote.server.limits import Crowd, Paces, work_of
from tidenote.server.metrics import Metrics
from tidenote.server.pubsub import Bus
from tidenote.wire.messages import ErrorMessage, Notice, SyncAck, encode
from tidenote.wire.session import Fail, Publication, Read, Send, ServerSession, Submit

logger = logging.getLogger("tidenote.server")

GOODBYE_S: Final = 0.3
"""How long a client may leave unread what it is told last, once its access has ended."""

MAX_WAITING_PUSHES: Final = 8
"""How many unanswered pushes a connection may have, if they are small; further ones stay in the network."""


class Socket(Protocol):
    """One WebSocket connection that was accepted."""

    async def receive(self) -> bytes | str | None:
        """Return the next message; None when the connection is gone."""
        ...

    async def send(self, message: bytes) -> None:
        """Send a text message; return when there is room for another one.

        Raises:
            OSError: the connection is gone.
        """
        ...

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye, without waiting for the other side to read."""
        ...


class Connection:
    """One device's open socket.

    All writing happens in the task that calls `run`; a second task only reads.

    Args:
        hub: of the vault.
        bus: where the hub publishes.
        socket: accepted.
        device_id: as authenticated, possibly of a later incarnation.
        may_write: whether the device may push.
        is_replica: whether to note how far it is.
        config: limits and timeouts.
        metrics: what to count.
        nonce: what the client calls this connection, if anything.
        paces: how fast devices may send.
        address: where the connection comes from.
        credential: the id of what let the device in.
    """

    def __init__(
        self,
        hub: Hub,
        bus: Bus[Publication],
        socket: Socket,
        device_id: str,
        *,
        may_write: bool,
        is_replica: bool,
        config: ServerConfig,
        metrics: Metrics,
        paces: Paces,
        address: str = "",
        nonce: str | None = None,
        credential: str = "",
    ) -> None:
        self.name = (hub.name, device_id)
        self.owner = owner_of(device_id)
        self.address = address
        self.nonce = nonce
        self.credential = credential
        self._hub = hub
        self._socket = socket
        self._may_write = may_write
        self._is_replica = is_replica
        self._config = config
        self._metrics = metrics
        self._paces = paces
        self._greet_before = asyncio.get_running_loop().time() + config.request_timeout_ms / 1000
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._outcomes: deque[tuple[int, Committed]] = deque()
        self._unread_bytes = 0
        """How many bytes of messages were read while earlier pushes still wait for their answers."""
        self._gone = False
        self._stopping = False
        self._patience_s = config.write_timeout_ms / 1000
        self._sending: asyncio.Timeout | None = None
        # Listen first, then read the clock: a commit in between is heard of twice rather than never.
        self._news = bus.subscribe(hub.topic, self._wake.set)
        self._session = ServerSession(
            self.owner,
            hub.epoch,
            hub.clock,
            may_write=may_write,
            max_text_bytes=config.max_text_bytes,
            max_push_changes=config.max_push_changes,
            tombstones_gone_before=hub.info.tombstones_gone_before,
        )

    async def run(self) -> None:
        """Serve the device until either side ends the connection."""
        with self._news:
            reader = asyncio.create_task(self._read(), name=f"reader of {self.name}")
            try:
                await self._write(reader)
            finally:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)

    def replace(self, newer: Connection) -> None:
        """End the connection because its device opened another one; say which, for it may be a clone's."""
        self._session.fail("replaced", "this device connected again", nonce=newer.nonce)
        self._wake.set()

    def stop(self) -> None:
        """Answer what was read, read no more, then end the connection because the server stops."""
        self._stopping = True
        self._wake.set()

    def end(self, code: str, message: str) -> None:
        """End the connection with an error."""
        self._session.fail(code, message)
        self._wake.set()

    def notice(self, topic: str) -> None:
        """Tell the client to look again at something that is no change."""
        self._session.notice(topic)
        self._wake.set()

    def expel(self) -> None:
        """End the connection because its device may no longer; also if it reads nothing."""
        self._patience_s = GOODBYE_S
        if self._sending and not self._sending.expired():
            self._sending.reschedule(asyncio.get_running_loop().time() + GOODBYE_S)
        self.end("unauthorized", "this device's access was ended")

    # -- reading

    async def _read(self) -> None:
        try:
            while (data := await self._socket.receive()) is not None:
                self._paces.take(self.owner, self._session.receive(data))
                self._note_seen()
                self._unread_bytes += len(data)
                self._wake.set()
                while self._is_full():
                    self._room.clear()
                    await self._room.wait()
                if pause_s := self._paces.wait_s(self.owner):
                    self._metrics.slowed.inc()
                    await asyncio.sleep(pause_s)
        except Exception:
            logger.exception("a message of %s could not be read", self.name)
            self.end(*BUG)
        else:
            self._gone = True
            self._wake.set()

    def _is_full(self) -> bool:
        waiting = self._session.waiting
        if not waiting:
            self._unread_bytes = 0
        return (
            waiting >= MAX_WAITING_PUSHES
            or self._unread_bytes > self._config.max_frame_bytes
            # What waits in front of others' pushes is then committed soon.
            or self._session.waiting_changes >= self._config.max_push_changes
        )

    # -- writing

    async def _write(self, reader: asyncio.Task[None]) -> None:
        while not self._gone:
            self._wake.clear()
            self._take_news()
            self._check_greeting()
            if self._stopping:
                reader.cancel()
                if not self._session.waiting:
                    self._session.fail("server_stopping", "the server is shutting down")
            step = self._session.next_step()
            if isinstance(step, Fail):
                await self._close(step)
                return
            if isinstance(step, Send):
                await self._send(step.message)
            elif isinstance(step, Submit):
                self._submit(step)
            elif isinstance(step, Read):
                await self._read_page(step)
            else:
                await self._rest()
            self._room.set()

    def _take_news(self) -> None:
        """Tell the session what was published, then what was committed: its answer then needs no reading."""
        publications, lost = self._news.drain()
        for publication in publications:
            self._session.published(publication)
        if lost:
            self._look_at_head()
        while self._outcomes:
            number, committed = self._outcomes.popleft()
            self._session.committed(number, committed.accepted, committed.rejected, committed.clock)

    def _check_greeting(self) -> None:
        """End the connection of a client that never begins; what else it sends gives it no more time."""
        if self._session.position is None and asyncio.get_running_loop().time() > self._greet_before:
            self._session.fail("too_slow", f"no push came within {self._config.request_timeout_ms} ms")

    def _look_at_head(self) -> None:
        self._session.head_is(self._hub.epoch, self._hub.clock)

    async def _rest(self) -> None:
        """Wait for something to do; look at the log's head now and then, in case that a publication was lost."""
        try:
            async with asyncio.timeout(self._config.head_poll_ms / 1000):
                await self._wake.wait()
        except TimeoutError:
            self._look_at_head()
            self._note_seen()

    def _note_seen(self) -> None:
        # Who was sent away is forgotten, and comes back by no last word.
        if self._is_replica and self._session.position is not None and not self._session.failed:
            self._hub.saw(self.name[1], self._session.acknowledged)

    def _submit(self, step: Submit) -> None:
        self._metrics.pushes.labels("websocket").inc()
        self._paces.take(self.owner, work_of(step.changes))
        self._hub.enqueue(step.changes).add_done_callback(partial(self._note, step.number))

    def _note(self, number: int, outcome: asyncio.Future[Committed]) -> None:
        if not outcome.cancelled():
            self._outcomes.append((number, outcome.result()))
            self._wake.set()

    async def _read_page(self, step: Read) -> None:
        try:
            await read_page(self._hub, self._session, step)
        except TidenoteError as error:
            self._session.fail(error.code, error.message)
        except Exception:
            logger.exception("vault %s could not be read after %d", self._hub.name, step.after)
            self._session.fail(*BUG)

    async def _send(self, message: SyncAck | ErrorMessage | Notice) -> None:
        _count(self._metrics, message)
        try:
            async with asyncio.timeout(self._patience_s) as self._sending:
                await self._socket.send(encode(message))
        except TimeoutError:
            self._session.fail("too_slow", f"nothing was read for {self._config.write_timeout_ms} ms")
        except OSError:
            self._gone = True
        finally:
            self._sending = None

    async def _close(self, failure: Fail) -> None:
        message = await settle(self._hub, failure, may_write=self._may_write)
        if message.code == "too_slow":
            # The error would only join what is not being read; the reason of the close frame has to do.
            _count(self._metrics, message)
        else:
            await self._send(message)
        if not self._gone:
            await self._socket.close(close_code(message.code), message.code)


class Connections:
    """All open connections: at most so many, and one per device and vault."""

    def __init__(self, crowd: Crowd, metrics: Metrics) -> None:
        self._crowd = crowd
        self._metrics = metrics
        self._open: set[Connection] = set()
        self._newest: dict[tuple[str, str], Connection] = {}
        self._empty = asyncio.Event()
        self._stopping = False

    def __len__(self) -> int:
        return len(self._open)

    def check_room(self, device: str, address: str) -> None:
        """Check that one more connection of a device may come from an address.

        Raises:
            ProtocolError: `server_stopping`, `overloaded`.
        """
        if self._stopping:
            raise ProtocolError("the server is shutting down", "server_stopping")
        self._crowd.check_room(device, address)

    def notice(self, vault: str, topic: str) -> None:
        """Tell everyone who is connected to a vault to look again at something that is no change."""
        for connection in self._open:
            if connection.name[0] == vault:
                connection.notice(topic)

    async def run(self, connection: Connection) -> None:
        """Serve a connection; an older one of the same device and vault is ended, which may be a dead one."""
        if older := self._newest.get(connection.name):
            older.replace(connection)
        self._newest[connection.name] = connection
        self._open.add(connection)
        self._metrics.connections.set(len(self._open))
        if self._stopping:
            connection.stop()
        try:
            with self._crowd.joined(connection.owner, connection.address):
                await connection.run()
        finally:
            self._open.discard(connection)
            self._metrics.connections.set(len(self._open))
            if self._newest.get(connection.name) is connection:
                del self._newest[connection.name]
            if not self._open:
                self._empty.set()

    @property
    def credentials(self) -> set[str]:
        """The ids of what let those in who are connected."""
        return {connection.credential for connection in self._open}

    def devices(self, vault: str) -> set[str]:
        """Return the devices that are connected to a vault, without incarnations."""
        return {owner_of(connection.name[1]) for connection in self._open if connection.name[0] == vault}

    def expel(self, credentials: Collection[str]) -> None:
        """End the connections of those whom some credentials let in."""
        for connection in list(self._open):
            if connection.credential in credentials:
                connection.expel()

    async def stop(self, timeout_s: float) -> None:
        """Let no one in any more and end all connections: politely, and after the timeout without answers."""
        self._stopping = True
        for connection in list(self._open):
            connection.stop()
        if not self._open:
            return
        try:
            async with asyncio.timeout(timeout_s):
                self._empty.clear()
                await self._empty.wait()
        except TimeoutError:
            for connection in list(self._open):
                connection.end("server_stopping", "the server is shutting down")


async def answer(
    hub: Hub,
    body: bytes,
    device_id: str,
    *,
    may_write: bool,
    is_replica: bool,
    config: ServerConfig,
    metrics: Metrics,
    paces: Paces,
) -> SyncAck | ErrorMessage:
    """Return the one answer to a push that came as a request: a session that lasts for one message."""
    session = ServerSession(
        owner_of(device_id),
        hub.epoch,
        hub.clock,
        may_write=may_write,
        max_text_bytes=config.max_text_bytes,
        max_push_changes=config.max_push_changes,
        tombstones_gone_before=hub.info.tombstones_gone_before,
    )

    async def pace(work: int) -> None:
        if pause_s := paces.take(owner_of(device_id), work):
            metrics.slowed.inc()
            await asyncio.sleep(pause_s)

    await pace(session.receive(body))
    if is_replica and session.position is not None:
        hub.saw(device_id, session.acknowledged)
    while True:
        session.head_is(hub.epoch, hub.clock)
        step = session.next_step()
        if isinstance(step, Submit):
            metrics.pushes.labels("request").inc()
            await pace(work_of(step.changes))
            committed = await hub.submit(step.changes)
            session.committed(step.number, committed.accepted, committed.rejected, committed.clock)
        elif isinstance(step, Read):
            await read_page(hub, session, step)
        else:
            break
    if isinstance(step, Send) and not isinstance(step.message, Notice):
        message = step.message
    elif isinstance(step, Fail):
        message = await settle(hub, step, may_write=may_write)
    else:
        message = ErrorMessage("bad_message", "this is not a sync_push")
    _count(metrics, message)
    return message


async def read_page(hub: Hub, session: ServerSession, step: Read) -> None:
    """Read what a session asked for: the keys first, so that the page is as new or newer."""
    again = await hub.first_entries(step.keys)
    session.page(await hub.changes_since(step.after), again)


async def settle(hub: Hub, failure: Fail, *, may_write: bool) -> ErrorMessage:
    """Do for the vault what a session's failure calls for; return what to tell the client.

    Args:
        hub: of the vault.
        failure: the session's.
        may_write: whether the client may alter the vault, and so be believed about its generation.
    """
    message = failure.message
    if not may_write:
        return message
    try:
        if failure.later_epoch:
            await hub.fence(failure.later_epoch)
        elif failure.ahead and message.epoch:
            info = await hub.new_generation(message.epoch, failure.ahead)
            return ErrorMessage(message.code, message.message, info.epoch)
    except StorageError as error:
        logger.error("vault %s: %s (%s)", hub.name, error.message, error.code)
    return message


def close_code(code: str) -> int:
    """Return the WebSocket close code that goes with an error: whether coming back helps."""
    if code == "server_stopping":
        return 1012
    return 1013 if CODES[code].action is Action.RETRY else 1008


def _count(metrics: Metrics, message: SyncAck | ErrorMessage | Notice) -> None:
    if isinstance(message, ErrorMessage):
        metrics.errors.labels(message.code).inc()
    elif isinstance(message, SyncAck):
        for rejected in message.rejected or ():
            metrics.rejected.labels(rejected.code).inc()
