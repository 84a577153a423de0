"""Runs a server: binds the port, serves, and stops in order. Prints nothing; the command line does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import uvicorn

from tidenote.config import ServerConfig
from tidenote.errors import CODES, ConfigError
from tidenote.server.app import create_app
from tidenote.server.limits import Proxies
from tidenote.server.local import LocalServer, announced, local_host, reachable_host, url_of
from tidenote.server.metrics import Metrics
from tidenote.server.responses import JSON
from tidenote.server.service import Service, now_ms, open_service
from tidenote.server.store.contract import Store
from tidenote.server.uvicorn_protocols import http_protocol, websocket_protocol
from tidenote.wire.messages import ErrorMessage, encode

if sys.platform != "win32":
    import resource

logger = logging.getLogger("tidenote.server")

BACKLOG: Final = 2048
"""How many connections may wait to be accepted."""

OTHER_FILES: Final = 200
"""How many files a server has open besides its connections, about."""

CUTS_TOLD_EVERY_S: Final = 60.0
"""How often the log says that there was no room for somebody."""

KEEP_ALIVE_S: Final = 30
"""How long a connection stays open between two requests: longer than devices that poll pause."""

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Running:
    """A server that takes requests.

    Attributes:
        host: the address that it listens on.
        port: the port, also if the system chose it.
        tls: whether it speaks TLS.
        owner_link: as long as nobody owns the server, a one-time link that makes its user the owner. None otherwise.
        service: its parts.
    """

    host: str
    port: int
    tls: bool
    owner_link: str | None
    service: Service

    @property
    def http_url(self) -> str:
        """The address of REST, without a trailing slash."""
        return url_of("https" if self.tls else "http", self.host, self.port)

    @property
    def endpoint(self) -> str:
        """The address of the socket, as a device's `sync_endpoint`."""
        return f"ws{self.http_url.removeprefix('http')}/ws/sync"


async def serve(config: ServerConfig, on_start: Callable[[Running], object]) -> None:
    """Serve until SIGINT or SIGTERM arrives; then answer what was read, and return.

    Args:
        config: the settings.
        on_start: called once, when requests are taken.

    Raises:
        ConfigError: the data folder, the port or a certificate cannot be used.
        StorageError: the disk failed.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    with _signals(loop, stop):
        async with running(config) as server:
            on_start(server)
            await stop.wait()


def run(config: ServerConfig, on_start: Callable[[Running], object]) -> None:
    """Serve as `serve` does, on the fastest event loop there is; for a program that does nothing else."""
    config = with_files(config)
    # The data folder may have been made by somebody who lets others look into it.
    os.umask(0o077)
    factory = uvicorn.Config(_no_app, loop="auto", log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(config, on_start))


@asynccontextmanager
async def running(
    config: ServerConfig, *, store: Store | None = None, clock_ms: Callable[[], int] = now_ms
) -> AsyncIterator[Running]:
    """Run a server while the context lasts, then stop it in order: sessions, what waits to be committed, the store.

    Args:
        config: the settings.
        store: another store than the one in the data folder; it is closed too.
        clock_ms: returns the time, ms since 1970: what links, sessions and replaced tokens expire by.

    Raises:
        ConfigError: the data folder, the port or a certificate cannot be used.
        StorageError: the disk failed.
    """
    with _bind(config) as listener:
        async with open_service(config, store=store, clock_ms=clock_ms) as service:
            server = _Uvicorn(_uvicorn_config(config, service))
            serving = await server.start(listener)
            try:
                host, port = listener.getsockname()[:2]
                logger.info("listening on %s port %d", host, port)
                if not config.is_loopback and config.tls_cert is None:
                    logger.warning("without TLS, notes and tokens can be read on their way: see --tls-cert")
                scheme = "http" if config.tls_cert is None else "https"
                service.base_url = config.public_url or url_of(scheme, reachable_host(host), port)
                local = LocalServer(
                    url_of(scheme, local_host(host), port),
                    service.identity.console_token,
                    None if config.tls_cert is None else str(config.tls_cert.absolute()),
                )
                with announced(config.data_dir, local):
                    link = await _owner_link(service)
                    yield Running(host, port, config.tls_cert is not None, link, service)
            finally:
                await service.stop()
                server.stop()
                await serving
                logger.info("stopped")


async def _owner_link(service: Service) -> str | None:
    """Return a link that makes its user the owner, as long as nobody is."""
    if service.config.no_auth or service.identity.has_owner:
        return None
    return service.link((await service.identity.invite(None, None, "owner")).code)


class _Uvicorn(uvicorn.Server):
    """A server that leaves signals to others, and says when it has started."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ready = asyncio.Event()
        self._stop = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._ready.set()

    async def main_loop(self) -> None:
        # What there is to do every second (the `Date` header), without waking ten times as often.
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._stop.wait()

    def stop(self) -> None:
        """Let the task that serves come to its end."""
        self.should_exit = True
        self._stop.set()

    async def start(self, listener: socket.socket) -> asyncio.Task[None]:
        """Return the task that serves, once it takes requests."""
        serving = asyncio.create_task(self.serve(sockets=[listener]), name="uvicorn")
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait((serving, ready), return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if serving.done():
            await serving
            raise RuntimeError("the server ended before it began")
        return serving


def _uvicorn_config(config: ServerConfig, service: Service) -> uvicorn.Config:
    cuts = _Cuts(service.metrics)
    settings = uvicorn.Config(
        cast("Any", create_app(service)),
        http=http_protocol(
            max_head_s=config.request_timeout_ms / 1000,
            max_in_all=config.max_http_connections,
            max_of_peer=config.max_connections_per_address,
            peer_of=Proxies(config.trusted_proxies).peer_of,
            refusal=_no_room(),
            on_cut=cuts.note,
        ),
        ws=websocket_protocol(
            max_fragments=config.max_fragments, max_unread_bytes=2 * config.max_frame_bytes, on_cut=cuts.note
        ),
        ws_max_size=config.max_frame_bytes,
        ws_ping_interval=config.heartbeat_interval_ms / 1000,
        ws_ping_timeout=config.heartbeat_timeout_ms / 1000,
        ws_per_message_deflate=False,
        ssl_certfile=config.tls_cert,
        ssl_keyfile=config.tls_key,
        proxy_headers=bool(config.trusted_proxies),
        forwarded_allow_ips=config.trusted_proxies,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, config.shutdown_timeout_ms // 1000),
    )
    try:
        settings.load()
    except OSError as error:  # `ssl.SSLError` is one
        raise ConfigError(f"the TLS certificate or key cannot be used ({error}): check --tls-cert, --tls-key") from None
    return settings


@contextmanager
def _bind(config: ServerConfig) -> Iterator[socket.socket]:
    try:
        family = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((config.host, config.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"port {config.port} of {config.host} cannot be used ({error.strerror}): "
            "stop what uses it, or choose another with --port"
        ) from None
    with listener:
        yield listener


@contextmanager
def _signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> Iterator[None]:
    """Let the signals that end a program set an event instead."""
    for number in STOP_SIGNALS:
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in STOP_SIGNALS:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)


def with_files(config: ServerConfig) -> ServerConfig:
    """Let the process have as many files open as its connections need; many systems begin with a few hundred.

    Returns:
        The settings, with fewer connections if the system allows no more: without a file left nothing can be stored.

    Raises:
        ConfigError: they are too few for anything.
    """
    if sys.platform == "win32":
        return config
    wanted = config.max_connections + config.max_http_connections + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return config
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(OSError, ValueError):  # macOS has a limit below the hard one
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        soft = limit
    if soft >= wanted:
        return config
    if soft < 2 * OTHER_FILES:
        raise ConfigError(f"the system lets us open {soft} files only: raise the limit with ulimit -n {wanted}")
    others = min(config.max_http_connections, (soft - OTHER_FILES) // 4)
    sockets = min(config.max_connections, soft - OTHER_FILES - others)
    logger.warning(
        "the system lets us open %d files: enough for %d WebSockets and %d other connections", soft, sockets, others
    )
    return replace(config, max_connections=sockets, max_http_connections=others)


class _Cuts:
    """Counts connections that a limit ended, and tells now and then of those for whom there was no room."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._told_at = -CUTS_TOLD_EVERY_S

    def note(self, reason: str) -> None:
        """Take one."""
        self._metrics.cut.labels(reason).inc()
        now = time.monotonic()
        if reason == "too_many" and now >= self._told_at + CUTS_TOLD_EVERY_S:
            self._told_at = now
            logger.warning("there are more connections than may be: see max_http_connections and its neighbours")


def _no_room() -> bytes:
    """Return the answer to a connection for which there is no room, whatever it wants."""
    body = encode(ErrorMessage("overloaded", CODES["overloaded"].meaning))
    head = (
        f"HTTP/1.1 503 Service Unavailable\r\ncontent-type: {JSON}\r\ncontent-length: {len(body)}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + body


async def _no_app(scope: Any, receive: Any, send: Any) -> None:
    """Stands in for an application where uvicorn asks for one and runs none."""
