"""The connection of a device to its vault: drives `ClientSession` over a WebSocket, or over HTTP where none works.

policy.py decides when to try what, session.py what a message may say, journal.py what becomes of it; here is only
the I/O between them. The order is always: message received, applied durably, acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import ssl
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from tidenote.client import policy
from tidenote.client.data_sync import DataSync, FindBlob, fetch
from tidenote.client.journal import BrokenJournal, Journal
from tidenote.client.policy import Close, Connect, LinkState, Poll, Stop, Wait, next_step
from tidenote.client.rest import Rest, authorization, error_from, error_of_code, is_refusal
from tidenote.client.uploads import Uploader
from tidenote.config import SyncConfig, leads_here, unfit_proxy
from tidenote.errors import CODES, Action, ProtocolError, TidenoteError, UnreachableError
from tidenote.wire.messages import PROTOCOL_VERSION, encode
from tidenote.wire.session import ClientSession, Failed, Noticed, Received

logger = logging.getLogger("tidenote.client")

MAX_RECEIVED_BYTES: Final = 64 * 2**20
"""The largest message that is accepted from the server: a key with many siblings comes in one."""

ANSWER_TIMEOUT_S: Final = 60.0
"""How long an open connection may be silent while an answer is due."""

NONCE_BYTES: Final = 8
"""How long the random name of a connection is."""

REMEMBERED_NONCES: Final = 64
"""How many of our own connections we know again: far more than may be on their way to a server at once."""

CLOSE_TIMEOUT_S: Final = 3.0
"""How long a polite goodbye may take."""

# At its debug level the library writes headers down, and with them the token.
_socket_logger = logging.getLogger("tidenote.client.socket")
_socket_logger.setLevel(logging.INFO)


class Link:
    """Keeps a journal and its vault the same, as long as `run` runs.

    Args:
        config: where to, who, and the pauses.
        journal: this device's replica and outbox.
        rest: the same server's REST.
        on_altered: called with the keys that a message of the server's altered here.
        on_news: called when anything about the state of the link or of the outbox is new.
        find_blob: finds the bytes of blobs that a restored server has lost.
        trust: which certificates are believed; None without TLS.

    Attributes:
        state: what the next step depends on.
        behind: how many keys are still to come, as the server last said.
        caught_up: whether everything that the server had was applied since the connection began.
        last_error: why the last attempt ended; None while things work.
        notices: how many notices of each topic came.
    """

    def __init__(
        self,
        config: SyncConfig,
        journal: Journal,
        rest: Rest,
        *,
        on_altered: Callable[[frozenset[str]], None],
        on_news: Callable[[], None],
        find_blob: FindBlob = lambda _: None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._config = config
        self._trust = trust
        self._journal = journal
        self._rest = rest
        self._on_altered = on_altered
        self._on_news = on_news
        self._find_blob = find_blob
        self._uploader = Uploader(config, journal, rest, self.wake)
        self._woken = asyncio.Event()
        self._doubtful = asyncio.Event()
        self._hold_until_ms = 0
        self._retry: asyncio.TimerHandle | None = None
        """Wakes us once the hold is over."""
        self._refusals = 0
        self._resyncs = 0
        self._answered = False
        self._named = ""
        """The id that our latest connection was opened under."""
        self._nonces: deque[str] = deque(maxlen=REMEMBERED_NONCES)
        """What we called our latest connections."""
        self.state = LinkState()
        self.behind = 0
        self.caught_up = False
        self.last_error: TidenoteError | None = None
        self.notices: Counter[str] = Counter()

    # -- what the owner says

    def wake(self) -> None:
        """Say that the outbox has grown."""
        self.state = policy.hurried(self.state)
        self._woken.set()
        self._uploader.wake()
        self._on_news()

    def close(self) -> None:
        """Let `run` end."""
        self.state = policy.closing(self.state)
        self._woken.set()

    async def run(self) -> None:
        """Sync until closed, or until the server says something that trying again does not cure.

        Raises:
            BrokenJournal: the journal's file is damaged.
        """
        try:
            await _first_of(self._drive(), self._uploader.run())
        finally:
            self._end_retry()

    # -- attempts

    async def _drive(self) -> None:
        while True:
            step = next_step(self.state, self._config, self._now_ms())
            match step:
                case Stop():
                    self._on_news()
                    return
                case Wait(ms):
                    await self._sleep(ms)
                case Close():
                    self.state = policy.closed(self.state)
                case Connect() | Poll():
                    await self._attempt(step)

    async def _attempt(self, step: Connect | Poll) -> None:
        self._answered = False
        try:
            if isinstance(step, Connect):
                await self._over_websocket()
                self.state = policy.closed(self.state)
            else:
                await self._over_http()
                self.state = policy.polled(self.state, self._config, self._now_ms(), _chance())
                self._works()
        except BrokenJournal:
            raise
        except TidenoteError as error:
            await self._failed(step, error)
            self._on_news()

    def _works(self) -> None:
        if self.last_error is not None:
            logger.info("connected again")
        self.last_error = None
        # Uploads need not wait for their own pauses to end.
        self._uploader.wake()
        self._on_news()

    async def _failed(self, step: Connect | Poll, error: TidenoteError) -> None:
        self.caught_up = False
        if error.action is Action.RESYNC and self._resyncs == 0:
            try:
                self._resyncs += 1
                sync = DataSync(self._journal, self._rest, find_blob=self._find_blob)
                quarantine = isinstance(error, ProtocolError) and error.quarantine
                self._tell_altered(await sync.run(quarantine=quarantine))
            except BrokenJournal:
                raise
            except TidenoteError as second:
                self._resyncs = 0
                error = second
            else:
                self.state = policy.closed(self.state)
                return
        self.last_error = error
        now_ms = self._now_ms()
        if error.action is Action.STOP:
            logger.error("stopped (%s): %s", error.code, error.message)
            self.state = policy.stopped(policy.closed(self.state), error.code)
            return
        self._resyncs = 0
        logger.info("not connected (%s): %s", error.code, error.message)
        if isinstance(step, Connect):
            # In another name nobody is there to be chased out.
            replaced = error.code == "replaced" and self._journal.device_id == self._named
            self.state = policy.lost(self.state, self._config, now_ms, _chance(), replaced=replaced)
        else:
            self.state = policy.poll_failed(self.state, self._config, now_ms, _chance())

    async def _sleep(self, ms: int) -> None:
        try:
            async with asyncio.timeout(ms / 1000):
                await self._woken.wait()
                self._woken.clear()
        except TimeoutError:
            pass

    # -- over a WebSocket

    async def _over_websocket(self) -> None:
        """Talk over a WebSocket until it ends.

        Raises:
            TidenoteError: why it ended; it returns if the link was closed by its owner.
        """
        config = self._config
        # None would be refused where a redirection leads to TLS.
        tls: dict[str, Any] = {"ssl": self._trust} if self._trust else {}
        try:
            async with connect(
                self._address(),
                additional_headers=authorization(config.token),
                compression=None,
                max_size=MAX_RECEIVED_BYTES,
                open_timeout=config.connect_timeout_ms / 1000,
                ping_interval=config.heartbeat_interval_ms / 1000,
                ping_timeout=config.heartbeat_timeout_ms / 1000,
                close_timeout=CLOSE_TIMEOUT_S,
                proxy=None if leads_here(config.sync_endpoint) else True,
                **tls,
                logger=_socket_logger,
            ) as socket:
                await self._converse(socket)
        except InvalidStatus as refusal:
            raise error_from(refusal.response.status_code, bytes(refusal.response.body or b"")) from refusal
        except ImportError as error:
            raise unfit_proxy() from error
        except (OSError, WebSocketException) as error:
            raise UnreachableError(_why(error, config.sync_endpoint)) from error

    def _address(self) -> str:
        # With the incarnation: the device that this one was cloned from may be connected, too.
        self._named = self._journal.device_id
        # A new name each time: the memory of a virtual machine is copied with all that is in it.
        self._nonces.append(secrets.token_hex(NONCE_BYTES))
        query = {
            "device_id": self._named,
            "vault": self._config.vault,
            "v": str(PROTOCOL_VERSION),
            "nonce": self._nonces[-1],
        }
        endpoint = self._config.sync_endpoint
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def _converse(self, socket: ClientConnection) -> None:
        meta = self._journal.meta
        session = ClientSession(meta.cursor, meta.epoch)
        self._push(session, first=True)
        await _send(socket, session)
        await _first_of(self._read(socket, session), self._write(socket, session), self._settle_doubts())

    async def _read(self, socket: ClientConnection, session: ClientSession) -> None:
        while True:
            # An answer is due within bounds; otherwise silence is normal, and the heartbeat watches over it.
            try:
                async with asyncio.timeout(None if session.can_push else ANSWER_TIMEOUT_S):
                    data = await socket.recv(decode=False)
            except TimeoutError:
                raise UnreachableError("the server did not answer a push") from None
            device_id = self._journal.device_id
            self._receive(session, data)
            if self._journal.device_id != device_id:
                # The connection is in the name of another one's device: make room, and come back in our own.
                return
            if self._answered and self.state.connected_at_ms is None:
                self.state = policy.opened(self.state, self._now_ms())
                self._works()
            self._push(session)
            await _send(socket, session)

    async def _write(self, socket: ClientConnection, session: ClientSession) -> None:
        while not isinstance(next_step(self.state, self._config, self._now_ms()), Close | Stop):
            await self._woken.wait()
            self._woken.clear()
            self._push(session)
            await _send(socket, session)

    # -- over HTTP

    async def _over_http(self) -> None:
        """Push and pull everything that there is.

        Raises:
            TidenoteError: what the server said instead, or that it gave no answer.
        """
        self.state = policy.sending(self.state)
        while True:
            meta = self._journal.meta
            session = ClientSession(meta.cursor, meta.epoch)
            self._push(session, first=True)
            for push in session.outgoing():
                self._receive(session, await self._rest.sync(encode(push)))
            if not session.can_push:
                raise UnreachableError("the server did not answer a push")
            if not self.behind and not self._ready():
                break
        await self._settle_doubts_once()

    # -- what both have in common

    def _ready(self) -> bool:
        return self._now_ms() >= self._hold_until_ms and bool(self._journal.ready())

    def _push(self, session: ClientSession, *, first: bool = False) -> None:
        """Hand the session what may be sent now, if none is under way; the first push may be empty."""
        if not session.can_push:
            return
        rows = self._journal.ready() if self._now_ms() >= self._hold_until_ms else []
        if rows or first:
            sent = session.push([row.change for row in rows])
            self._journal.handed(rows[:sent])

    def _receive(self, session: ClientSession, data: bytes) -> None:
        """Apply a message durably, then let the session acknowledge it.

        Raises:
            TidenoteError: the connection cannot go on.
        """
        try:
            session.receive(data)
        except ProtocolError as error:
            raise UnreachableError(f"the server's answer makes no sense: {error.message}") from error
        for event in session.events():
            if isinstance(event, Failed):
                if event.code == "replaced":
                    self._heed_replacement(event)
                raise error_of_code(event.code, event.message, quarantine=event.quarantine)
            if isinstance(event, Noticed):
                self.notices[event.topic] += 1
                continue
            altered = self._journal.apply(event)
            session.applied(event.cursor)
            self._note(event)
            self._tell_altered(altered)
        self._on_news()

    def _heed_replacement(self, event: Failed) -> None:
        """Make room if it was not one of our own connections that came in this one's place."""
        if event.nonce is None or event.nonce in self._nonces:
            return
        altered = self._journal.reincarnate()
        logger.warning("another device has the id %s: this one goes on as %s", self._named, self._journal.device_id)
        self._tell_altered(altered)

    def _note(self, received: Received) -> None:
        """Remember what a message said about the state of things.

        Raises:
            TidenoteError: it said that the connection cannot go on.
        """
        self.behind = received.behind
        self._resyncs = 0
        for key, why in received.skipped:
            logger.warning("the server sent a change of %s that must not be: %s", key, why)
        self._answered = self._answered or received.answered
        self.caught_up = self._answered and received.behind == 0
        if received.accepted or self.caught_up:
            self._doubtful.set()
        self._heed(received)

    def _heed(self, received: Received) -> None:
        codes = {rejection.code for _, rejection in received.rejected}
        for code in sorted(codes):
            logger.warning("the server refused changes: %s", code)
        actions = {CODES[code].action if code in CODES else Action.RETRY for code in codes}
        if Action.UPLOAD in actions:
            self._uploader.wake()
        if Action.RETRY in actions or "move_target_missing" in codes:
            self._refusals += 1
            wait_ms = policy.pause(self._refusals, self._config, (1 + _chance()) / 2)
            self._hold_until_ms = self._now_ms() + wait_ms
            self._end_retry()
            # A little later, so that the pause is over when it asks.
            self._retry = asyncio.get_running_loop().call_later((wait_ms + 5) / 1000, self.wake)
        elif received.answered:
            self._refusals = 0
        for _, rejection in received.rejected:
            if rejection.code in CODES and CODES[rejection.code].action in (Action.STOP, Action.RESYNC):
                raise error_of_code(rejection.code, rejection.message)

    def _end_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()

    def _tell_altered(self, keys: frozenset[str]) -> None:
        if keys:
            self._on_altered(keys)

    async def _settle_doubts(self) -> None:
        """Settle doubts when a message may have left some; after a failure also without one, which may never come."""
        failures = 0
        wait_s: float | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._doubtful.wait()
            self._doubtful.clear()
            try:
                await self._settle_doubts_once()
            except BrokenJournal:
                raise
            except TidenoteError as error:
                failures += 1
                wait_s = policy.pause(failures, self._config, (1 + _chance()) / 2) / 1000
                logger.debug("%d keys stay in doubt: %s", len(self._journal.doubts()), error.message)
            else:
                failures, wait_s = 0, None

    async def _settle_doubts_once(self) -> None:
        """Ask for the keys whose confirmed state is a guess; what was delivered meanwhile is newer and stays."""
        while keys := self._journal.doubts()[:100]:
            before = {key: self._journal.confirmed(key) for key in keys}
            found = await fetch(self._rest, keys, self._journal.meta.epoch)
            settled = {key: siblings for key, siblings in found.items() if self._journal.confirmed(key) == before[key]}
            if not settled:
                return
            self._tell_altered(self._journal.reconcile(settled))
            self._on_news()

    @staticmethod
    def _now_ms() -> int:
        return int(asyncio.get_running_loop().time() * 1000)


def _why(error: OSError | WebSocketException, endpoint: str) -> str:
    """Return why there is no connection, for people."""
    server = urlsplit(endpoint).netloc.rpartition("@")[2]
    if isinstance(error, ConnectionClosed):
        return f"the connection to {server} broke"
    if is_refusal(error):
        return f"nothing listens at {server}"
    return f"no connection to {server}: {str(error) or type(error).__name__}"


async def _send(socket: ClientConnection, session: ClientSession) -> None:
    # Who reads finds out that the socket was closed, and after the last message: it may say why.
    with contextlib.suppress(ConnectionClosed):
        for message in session.outgoing():
            await socket.send(encode(message), text=True)


async def _first_of(*work: Coroutine[None, None, None]) -> None:
    """Run several at once until the first ends, end the others, and raise what any raised."""
    tasks = [asyncio.create_task(part) for part in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            task.result()


def _chance() -> float:
    return random.random()  # noqa: S311 - jitter
