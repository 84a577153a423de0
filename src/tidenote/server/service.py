"""All that a running server consists of, opened and closed in the right order. Knows no HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from tidenote.config import ServerConfig
from tidenote.errors import AccessError, ConfigError
from tidenote.server.auth import TOKENS_FILE, Tokens
from tidenote.server.blobs import BlobStore
from tidenote.server.holds import Holdings
from tidenote.server.hub import Hub
from tidenote.server.merger import Merger
from tidenote.server.metrics import Metrics
from tidenote.server.pubsub import Bus, PubSub
from tidenote.server.store.contract import Store, VaultInfo
from tidenote.server.store.sql import SqlStore
from tidenote.server.sync import Connections
from tidenote.server.upkeep import Upkeep
from tidenote.wire.messages import DEFAULT_VAULT
from tidenote.wire.session import Publication

logger = logging.getLogger("tidenote.server")

READERS: Final = 4
"""How many reads of the log may run at once."""


@dataclass(slots=True)
class Service:
    """A running server's parts.

    Attributes:
        config: the settings.
        store: the logs.
        blobs: the bytes beside them.
        tokens: who may; None lets everyone in who sits at this machine.
        new_token: the token that was made because there was none yet; it can be shown this once.
        bus: where commits are published.
        metrics: what is counted.
        connections: the open sockets.
        holdings: what devices hold back until a person decides.
        upkeep: what is done when nobody waits for it.
    """

    config: ServerConfig
    store: Store
    blobs: BlobStore
    tokens: Tokens | None
    new_token: str | None
    bus: Bus[Publication]
    metrics: Metrics
    connections: Connections
    holdings: Holdings
    upkeep: Upkeep
    _merger: Merger
    _writer: ThreadPoolExecutor
    _readers: ThreadPoolExecutor
    _stack: AsyncExitStack
    _hubs: dict[str, Hub]

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
                    has_blob=self.blobs.has,
                    config=self.config,
                    metrics=self.metrics,
                )
            )
            self.upkeep.watch(self._hubs[info.name])
        return self._hubs[info.name]


@asynccontextmanager
async def open_service(config: ServerConfig, *, store: Store | None = None) -> AsyncIterator[Service]:
    """Open what is in the data folder, creating what is missing; at the end, take in what waits, and close.

    Args:
        config: the settings.
        store: another store than the one in the data folder; it is closed too.

    Raises:
        ConfigError: the data folder cannot be used, or another server uses it.
        StorageError: the disk failed.
    """
    async with AsyncExitStack() as stack:
        try:
            config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            tokens, new_token = (None, None) if config.no_auth else _open_tokens(config)
        except OSError as error:
            raise ConfigError(
                f"the data folder {config.data_dir} cannot be used ({error.strerror}): choose another with --data"
            ) from None
        store = store or SqlStore.open(config.data_dir)
        stack.callback(store.close)
        metrics = Metrics()
        blobs, bus = BlobStore(config.data_dir), PubSub[Publication]()
        hubs: dict[str, Hub] = {}
        service = Service(
            config=config,
            store=store,
            blobs=blobs,
            tokens=tokens,
            new_token=new_token,
            bus=bus,
            metrics=metrics,
            connections=Connections(config.max_connections, metrics),
            upkeep=Upkeep(lambda: list(hubs.values()), blobs, bus, config, metrics),
            holdings=Holdings(),
            _merger=await stack.enter_async_context(Merger()),
            _writer=stack.enter_context(ThreadPoolExecutor(1, "tidenote-writer")),
            _readers=stack.enter_context(ThreadPoolExecutor(READERS, "tidenote-reader")),
            _stack=stack,
            _hubs=hubs,
        )
        for info in store.vaults() or [store.create_vault(DEFAULT_VAULT)]:
            await service._serve_vault(info)  # noqa: SLF001
        # Last, so that it ends first: it works with all that was opened before.
        await stack.enter_async_context(service.upkeep)
        yield service


def _open_tokens(config: ServerConfig) -> tuple[Tokens, str | None]:
    tokens = Tokens(config.data_dir / TOKENS_FILE)
    return tokens, None if tokens.file.exists() else tokens.create()
