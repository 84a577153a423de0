"""Devices of this process: clients with short pauses, and ways to wait for what they do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tidenote.client.client import SyncClient
from tidenote.config import SyncConfig
from tidenote.core.version import Change, Version
from tidenote.server.serve import Running

PATIENCE_S = 30.0
"""How long a test waits for what must come; no test passes by waiting."""


def config(endpoint: str, device_id: str = "me", **settings: Any) -> SyncConfig:
    """Return settings whose pauses do not make tests long."""
    quick = {"sync_interval_ms": 40, "backoff_initial_ms": 5, "backoff_max_ms": 60, "connect_timeout_ms": 5000}
    return SyncConfig(device_id, endpoint, **{**quick, **settings})


@asynccontextmanager
async def device(
    folder: Path, endpoint: str, device_id: str = "me", *, journal: Any = None, find_blob: Any = None, **settings: Any
) -> AsyncIterator[SyncClient]:
    """Run a client while the context lasts; its journal stays in the folder."""
    where = folder / f"{device_id}.db" if journal is None else journal
    async with SyncClient(config(endpoint, device_id, **settings), where, find_blob=find_blob) as client:
        yield client


async def until(client: SyncClient, condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds that the client's own doings make true."""
    await client._until(condition, PATIENCE_S, what)


async def until_state(client: SyncClient, *states: str) -> None:
    """Wait until the connection is in one of these states."""
    while client.status().state not in states:
        await client.news()


async def until_shows(client: SyncClient, key: str, value: str | None) -> None:
    """Wait until a key shows a text, or nothing."""

    def shows() -> bool:
        winner = client.journal.winner(key)
        return (winner.value if winner else None) == value

    await until(client, shows, f"{key} shows {value!r}")


def siblings(server: Running, key: str) -> tuple[Change, ...]:
    """Return the siblings of a key on the server."""
    found = server.service.store.entries("main", [key])
    return found[0].register.siblings if found else ()


def values(server: Running, key: str) -> set[str | None]:
    """Return the texts of a key's siblings on the server."""
    return {change.value for change in siblings(server, key)}


def history(server: Running, key: str) -> list[Version]:
    """Return all versions of a key on the server."""
    return server.service.store.history("main", key)
