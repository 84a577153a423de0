"""All that a running server consists of, opened and closed in the right order. Knows no HTTP."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from tidenote.config import ServerConfig
from tidenote.errors import AccessError, ConfigError, StorageError
from tidenote.server.blobs import BlobStore
from tidenote.server.downloads import Downloads
from tidenote.server.earlier_tokens import take_over
from tidenote.server.holds import HOLDS, Holdings
from tidenote.server.hub import Hub
from tidenote.server.identity import Identity
from tidenote.server.limits import Crowd, Paces
from tidenote.server.merger import Merger
from tidenote.server.metrics import Metrics
from tidenote.server.pubsub import Bus, PubSub
from tidenote.server.search import Search
from tidenote.server.store.contract import Store, VaultInfo
from tidenote.server.store.registry import Credential
from tidenote.server.store.sql import SqlStore
from tidenote.server.sync import Connections
from tidenote.server.throttle import Throttle
from tidenote.server.upkeep import Upkeep
from tidenote.wire.messages import DEFAULT_VAULT
from tidenote.wire.session import Publication

logger = logging.getLogger("tidenote.server")


def now_ms() -> int:
    """Return the wall clock's time, ms since 1970."""
    return time.time_ns() // 1_000_000


READERS: Final = 4
"""How many of the reads that sessions wait for may run at once."""

SLOW_READERS: Final = 4
"""How many reads that take their time may run at once: plans of restores, histories, lists."""


@dataclass(slots=True)
class Service:
    """A running server's parts.

    Attributes:
        config: the settings.
        store: the logs.
        blobs: the bytes beside them.
        identity: who may, if the settings ask for tokens at all.
        strangers: bounds how often strangers may try links.
        bus: where commits are published.
        metrics: what is counted.
        connections: the open sockets.
        downloads: the long answers that are being sent.
        paces: how fast devices may send changes.
        holdings: what devices hold back until a person decides.
        search: the index of all texts.
        upkeep: what is done when nobody waits for it.
    """

    config: ServerConfig
    store: Store
    blobs: BlobStore
    identity: Identity
    strangers: Throttle
    bus: Bus[Publication]
    metrics: Metrics
    connections: Connections
    downloads: Downloads
    paces: Paces
    holdings: Holdings
    search: Search
    upkeep: Upkeep
    _merger: Merger
    _writer: ThreadPoolExecutor
    _readers: ThreadPoolExecutor
    _slow_readers: ThreadPoolExecutor
    _stack: AsyncExitStack
    _hubs: dict[str, Hub]
    base_url: str = ""
    """The address at which others reach the server, without a trailing slash."""

    def hub(self, vault: str) -> Hub:
        """Return the hub of a vault.

        Raises:
            AccessError: `unknown_vault`.
        """
        hub = self._hubs.get(vault)
        if hub is None:
            raise AccessError(f"there is no vault {vault}", "unknown_vault")
        return hub

    @property
    def vaults(self) -> list[str]:
        """The names of all vaults, ordered."""
        return sorted(self._hubs)

    @property
    def failed(self) -> bool:
        """Whether the disk below a vault failed, and nothing has been written to it since."""
        return any(hub.failure for hub in self._hubs.values())

    async def create_vault(self, name: str) -> Hub:
        """Create a vault and serve it; return it as it is if it exists."""
        info = await asyncio.get_running_loop().run_in_executor(self._writer, self.store.create_vault, name)
        return await self._serve_vault(info)

    def link(self, code: str, base_url: str | None = None) -> str:
        """Return a one-time link; the code stands behind the #, which browsers send to nobody."""
        return f"{(base_url or self.base_url).rstrip('/')}/#pair={code}"

    def tell_devices_altered(self) -> None:
        """Tell everyone who is connected that the list of devices is another one."""
        for vault in self._hubs:
            self.connections.notice(vault, "devices")

    def lets_in(self, credential: Credential) -> bool:
        """Say whether a credential that was found is still good, if any is asked for."""
        return self.config.no_auth or self.identity.knows(credential)

    async def let_go(self, ended: Iterable[Credential]) -> None:
        """Let some in no longer: their connections and downloads end now.

        Raises:
            StorageError: the disk failed; they are let in as before, and it may be tried again.
        """
        ended = list(ended)
        await self.identity.end(ended)
        await self.see_off(ended)

    async def see_off(self, ended: Iterable[Credential]) -> None:
        """End what is open to those who are let in no longer; what devices nobody is now are forgotten."""
        ended = list(ended)
        ids = {credential.id for credential in ended}
        self.connections.expel(ids)
        self.downloads.expel(ids)
        self.tell_devices_altered()
        known = {credential.device_id for credential in self.identity.credentials}
        for device_id in {credential.device_id for credential in ended} - known:
            for vault in self.holdings.forget(device_id):
                self.connections.notice(vault, HOLDS)
            for hub in self._hubs.values():
                try:
                    await hub.forget_device(device_id)
                except StorageError as error:
                    # They are out all the same. What is left keeps deletions as long as a device that stays away does.
                    logger.error("vault %s: %s (%s)", hub.name, error.message, error.code)

    async def stop(self) -> None:
        """Let no one in any more, answer what was read, and say goodbye to everyone."""
        await self.connections.stop(self.config.shutdown_timeout_ms / 1000)

    async def _serve_vault(self, info: VaultInfo) -> Hub:
        if info.name not in self._hubs:
            self._hubs[info.name] = await self._stack.enter_async_context(
                Hub(
                    info,
                    self.store,
                    self.bus,
                    merger=self._merger,
                    writer=self._writer,
                    readers=self._readers,
                    slow_readers=self._slow_readers,
                    check_blob=self.blobs.check,
                    config=self.config,
                    metrics=self.metrics,
                )
            )
            self.upkeep.watch(self._hubs[info.name])
            self.search.watch(self._hubs[info.name])
        return self._hubs[info.name]


@asynccontextmanager
async def open_service(
    config: ServerConfig, *, store: Store | None = None, clock_ms: Callable[[], int] = now_ms
) -> AsyncIterator[Service]:
    """Open what is in the data folder, creating what is missing; at the end, take in what waits, and close.

    Args:
        config: the settings.
        store: another store than the one in the data folder; it is closed too.
        clock_ms: returns the time, ms since 1970: what links, sessions and replaced tokens expire by.

    Raises:
        ConfigError: the data folder cannot be used, or another server uses it.
        StorageError: the disk failed.
    """
    async with AsyncExitStack() as stack:
        try:
            config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            store = store or SqlStore.open(config.data_dir)
            stack.callback(store.close)
            take_over(config.data_dir, store.registry, clock_ms())
        except OSError as error:
            raise ConfigError(
                f"the data folder {config.data_dir} cannot be used ({error.strerror}): choose another with --data"
            ) from None
        writer = stack.enter_context(ThreadPoolExecutor(1, "tidenote-writer"))

        async def write(call: Callable[[], Any]) -> Any:
            return await asyncio.get_running_loop().run_in_executor(writer, call)

        metrics = Metrics()
        blobs, bus = BlobStore(config.data_dir), PubSub[Publication]()
        hubs: dict[str, Hub] = {}
        connections = Connections(
            Crowd(config.max_connections, config.max_connections_per_device, config.max_connections_per_address),
            metrics,
        )
        identity = Identity(store.registry, write, clock_ms, config.session_days)

        async def note_visitors(*, everything: bool) -> None:
            identity.saw(connections.credentials)
            await identity.note_seen(everything=everything)

        holdings = Holdings()
        metrics.holds.set_function(lambda: holdings.count(now_ms()))
        metrics.fenced.set_function(lambda: sum(hub.info.fenced_by is not None for hub in hubs.values()))
        search = Search(config.data_dir, bus)
        service = Service(
            config=config,
            store=store,
            blobs=blobs,
            identity=identity,
            strangers=Throttle(time.monotonic),
            bus=bus,
            metrics=metrics,
            connections=connections,
            downloads=Downloads(),
            paces=Paces(config.max_changes_per_second, config.max_changes_burst, time.monotonic),
            upkeep=Upkeep(lambda: list(hubs.values()), blobs, bus, config, metrics, note_visitors),
            holdings=holdings,
            search=search,
            _merger=await stack.enter_async_context(Merger()),
            _writer=writer,
            _readers=stack.enter_context(ThreadPoolExecutor(READERS, "tidenote-reader")),
            _slow_readers=stack.enter_context(ThreadPoolExecutor(SLOW_READERS, "tidenote-slow-reader")),
            _stack=stack,
            _hubs=hubs,
        )
        for info in store.vaults() or [store.create_vault(DEFAULT_VAULT)]:
            await service._serve_vault(info)  # noqa: SLF001
        # Last, so that it ends first: it works with all that was opened before.
        await stack.enter_async_context(search)
        await stack.enter_async_context(service.upkeep)
        yield service
