"""What a server does when nobody waits for it: pack, note how far devices are, let go of what is too old, back up.

Each step is short and one transaction, so that commits come in between and a kill does no harm. What is kept is
core/retention.py's matter, how it gets off the disk the store's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from tidenote.config import ServerConfig
from tidenote.core.retention import Policy
from tidenote.errors import ConfigError, StorageError
from tidenote.server import backup
from tidenote.server.blobs import BlobStore
from tidenote.server.hub import Hub
from tidenote.server.metrics import Metrics
from tidenote.server.pubsub import Bus
from tidenote.server.store.contract import Store, Swept
from tidenote.wire.session import Publication

logger = logging.getLogger("tidenote.server")

PACK_AFTER_COMMITS: Final = 16
"""After so many commits texts are packed even if more are coming, so that the disk does not fill up meanwhile."""

IDLE_S: Final = 1.0
"""For how long nothing must have been committed, else, before texts are packed."""

DEVICES_INTERVAL_S: Final = 60.0
"""How often the cursors of devices are written down."""

BACKUP_CHECK_S: Final = 300.0
"""How often to look whether a backup is due."""

SWEEP_CHECK_S: Final = 300.0
"""How often to look whether a day has passed since the history was last gone through."""

BLOB_GRACE_MS: Final = 86_400_000
"""For how long a blob may be here before a change names it."""

UPLOAD_GRACE_MS: Final = 7 * 86_400_000
"""For how long an upload may pause."""

BLOBS_AT_ONCE: Final = 200
"""How many blobs are checked and deleted while commits wait."""


@dataclass(frozen=True, slots=True)
class GcReport:
    """What going through a vault's history did, or would do.

    Attributes:
        versions: how many versions lost their content.
        size: the bytes of these, packed or not.
        tombstones: how many deletions were forgotten.
        blobs: how many blobs were deleted, of the whole server.
        blob_size: the bytes of these.
    """

    versions: int = 0
    size: int = 0
    tombstones: int = 0
    blobs: int = 0
    blob_size: int = 0


class NoteVisitors(Protocol):
    """Writes down who was here; all of it, or what is news."""

    async def __call__(self, *, everything: bool) -> None:
        """Write them down; only what is news unless everything is wanted."""
        ...


class Upkeep:
    """The work of all vaults that can wait. An async context manager: leaving it ends the step under way.

    Args:
        hubs: returns the vaults' hubs.
        blobs: the blobs.
        bus: tells of commits.
        config: how long what is kept, how often to go through it, and where backups go.
        metrics: what is counted.
        note_visitors: writes down who was here.
    """

    def __init__(
        self,
        hubs: Callable[[], list[Hub]],
        blobs: BlobStore,
        bus: Bus[Publication],
        config: ServerConfig,
        metrics: Metrics,
        note_visitors: NoteVisitors,
    ) -> None:
        self._hubs = hubs
        self._blobs = blobs
        self._bus = bus
        self._note_visitors = note_visitors
        self._policy = Policy(
            config.history_all_days, config.history_daily_days, config.tombstone_days, config.device_days
        )
        self._config = config
        self._metrics = metrics
        self._sweeping = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        works = [self._repeat(self._note_devices, DEVICES_INTERVAL_S), self._repeat(self._gc_if_due, SWEEP_CHECK_S)]
        if self._config.backup_dir:
            works.append(self._back_up(self._config.backup_dir))
        self._tasks += [asyncio.create_task(work, name="upkeep") for work in works]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._note_devices(everything=True)

    def watch(self, hub: Hub) -> None:
        """Pack the old texts of a vault from now on."""
        self._tasks.append(asyncio.create_task(self._pack(hub), name=f"packer of {hub.name}"))

    async def gc(self, hub: Hub, *, dry_run: bool = False) -> GcReport:
        """Go through a vault's history once, and through all blobs.

        Raises:
            StorageError: the disk failed.
        """
        async with self._sweeping:
            report = GcReport()
            after: str | None = None
            while True:
                step = await hub.read(_sweep, after, self._policy, dry_run)
                report = replace(
                    report,
                    versions=report.versions + step.versions,
                    size=report.size + step.size,
                    tombstones=report.tombstones + step.tombstones,
                )
                after = step.after
                if after is None:
                    break
            await hub.refresh()
            removed = await self._sweep_blobs(hub, dry_run=dry_run)
        report = replace(report, blobs=len(removed), blob_size=sum(removed))
        if not dry_run and report != GcReport():
            logger.info(
                "vault %s: let go of the content of versions: %d (%d bytes), deletions: %d, files: %d (%d bytes)",
                *(hub.name, report.versions, report.size, report.tombstones, report.blobs, report.blob_size),
            )
        return report

    async def _sweep_blobs(self, hub: Hub, *, dry_run: bool) -> list[int]:
        """Delete the blobs that no version names, and uploads that nobody goes on with; return the blobs' sizes."""
        old = await asyncio.to_thread(self._blobs.older_than, _now_ms() - BLOB_GRACE_MS)
        removed: list[int] = []
        for start in range(0, len(old), BLOBS_AT_ONCE):
            # On the writer's thread: no commit can begin to name a blob between the look and the deletion.
            removed += await hub.work(_remove_unused, self._blobs, old[start : start + BLOBS_AT_ONCE], dry_run)
        if not dry_run:
            await asyncio.to_thread(self._blobs.remove_uploads, _now_ms() - UPLOAD_GRACE_MS)
        return removed

    async def _gc_if_due(self) -> None:
        for hub in self._hubs():
            await self._guarded(partial(self._gc_one_if_due, hub))

    async def _gc_one_if_due(self, hub: Hub) -> None:
        info = await hub.refresh()
        if _is_due(info.swept_at, self._config.gc_interval_ms):
            await self.gc(hub)

    async def _back_up(self, folder: Path) -> None:
        """Write a backup whenever one is due, also of a server that is never up for long."""
        look = partial(self._back_up_if_due, folder)
        await self._guarded(look)
        await self._repeat(look, min(BACKUP_CHECK_S, self._config.backup_interval_ms / 1000))

    async def _back_up_if_due(self, folder: Path) -> None:
        begun = await asyncio.to_thread(backup.latest, folder)
        self._metrics.backup_time.set(begun / 1000)
        if _is_due(begun, self._config.backup_interval_ms):
            write = partial(backup.back_up_by_schedule, keep=self._config.backup_keep)
            file = await asyncio.to_thread(write, self._config.data_dir, folder)
            logger.info("backup: wrote %s", file)
            begun = await asyncio.to_thread(backup.latest, folder)
            self._metrics.backup_time.set(begun / 1000)

    async def _note_devices(self, *, everything: bool = False) -> None:
        await self._guarded(partial(self._note_visitors, everything=everything))
        for hub in self._hubs():
            await self._guarded(hub.note_devices)

    async def _pack(self, hub: Hub) -> None:
        """Pack what commits replace, soon after each but not while many come."""
        commits = 0
        wake = asyncio.Event()

        def committed() -> None:
            nonlocal commits
            commits += 1
            wake.set()

        with self._bus.subscribe(hub.topic, committed, max_waiting=0):
            while True:
                idle = False
                while commits < PACK_AFTER_COMMITS and not idle:
                    wake.clear()
                    try:
                        async with asyncio.timeout(IDLE_S):
                            await wake.wait()
                    except TimeoutError:
                        idle = True
                commits = 0
                wake.clear()
                await self._guarded(partial(_pack_some, hub, wake if idle else None))
                if idle:
                    await wake.wait()

    async def _repeat(self, work: Callable[[], Awaitable[None]], pause_s: float) -> None:
        while True:
            await asyncio.sleep(pause_s)
            await self._guarded(work)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do what can be done later as well: an error is told, and no more."""
        try:
            await work()
        except (ConfigError, StorageError) as error:
            logger.error("upkeep: %s (%s)", error.message, error.code)
        except Exception:
            logger.exception("upkeep failed")


async def _pack_some(hub: Hub, news: asyncio.Event | None) -> None:
    """Pack one step, or with `news` everything until there are any."""
    while await hub.work(_pack_step) and news is not None and not news.is_set():
        pass


def _pack_step(store: Store, vault: str) -> int:
    return store.pack(vault)


def _sweep(store: Store, vault: str, after: str | None, policy: Policy, dry_run: bool) -> Swept:
    return store.sweep(vault, after, now_ms=_now_ms(), policy=policy, dry_run=dry_run)


def _remove_unused(store: Store, _: str, blobs: BlobStore, hashes: Sequence[str], dry_run: bool) -> list[int]:
    in_use = store.blobs_in_use(hashes)
    unused = [sha256 for sha256 in hashes if sha256 not in in_use]
    return [blobs.size(sha256) or 0 if dry_run else blobs.remove(sha256) for sha256 in unused]


def _is_due(last_ms: int, interval_ms: int) -> bool:
    """Say whether an interval has passed since a time; one of the future tells of a wrong clock only."""
    return not 0 <= _now_ms() - last_ms < interval_ms


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
