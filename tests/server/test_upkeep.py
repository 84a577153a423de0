"""What a server does when nobody waits for it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.running import PATIENCE_S, plain_client, running_server
from tidenote.config import ServerConfig
from tidenote.core.retention import DAY_MS, MAX_INCARNATIONS
from tidenote.core.version import BlobRef, Change, Dot
from tidenote.errors import StorageError
from tidenote.server import upkeep
from tidenote.server.hub import Hub
from tidenote.server.service import Service, open_service
from tidenote.server.store.contract import Device
from tidenote.server.store.sql import DATABASE_FILE, SqlStore

pytestmark = pytest.mark.anyio

KEY = "note:a.md"
TEXT = "a text that is long enough to be packed, " * 20


@asynccontextmanager
async def a_service(data: Path, **settings: Any) -> AsyncIterator[tuple[Service, Hub]]:
    async with open_service(ServerConfig(data_dir=data, no_auth=True, **settings)) as service:
        yield service, service.hub("main")


async def write(hub: Hub, number: int, value: str = TEXT, *, blob: BlobRef | None = None) -> None:
    base = [Dot(number - 1, "a")] if number > 1 else []
    change = Change(KEY, Dot(number, "a"), None if blob else f"{value}{number}", blob, frozenset(base))
    assert not (await hub.submit([change])).rejected


def old(service: Service, number: int) -> None:
    """Take a change in that came long ago."""
    change = Change(KEY, Dot(number, "a"), TEXT, base=frozenset([Dot(number - 1, "a")] if number > 1 else []))
    service.store.take_in("main", [[change]], wall_ms=number, check_blob=bool)


def packed(data: Path) -> int:
    with closing(sqlite3.connect(data / DATABASE_FILE)) as database:
        number: int = database.execute("SELECT count(*) FROM versions WHERE packed NOT NULL").fetchone()[0]
    return number


class Steps:
    """Tells when a step of the upkeep has been done, whatever became of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        for name in ("pack", "sweep", "vault"):
            monkeypatch.setattr(SqlStore, name, self._watched(getattr(SqlStore, name)))

    def _watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **named: Any) -> Any:
            try:
                return call(*arguments, **named)
            finally:
                self._loop.call_soon_threadsafe(self._done.set)

        return watched

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self._done.clear()
                if done():
                    return
                await self._done.wait()


@pytest.fixture
async def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


# -- packing


async def test_old_texts_are_packed_when_it_is_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: Steps
) -> None:
    monkeypatch.setattr(upkeep, "IDLE_S", 0.01)
    async with a_service(tmp_path) as (_, hub):
        for number in range(1, 4):
            await write(hub, number)
        await steps.until(lambda: packed(tmp_path) == 2)
        await write(hub, 4)
        await steps.until(lambda: packed(tmp_path) == 3)


async def test_old_texts_are_packed_while_more_and_more_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: Steps
) -> None:
    monkeypatch.setattr(upkeep, "IDLE_S", 1000.0)
    async with a_service(tmp_path) as (_, hub):
        for number in range(1, upkeep.PACK_AFTER_COMMITS + 1):
            await write(hub, number)
        await steps.until(lambda: packed(tmp_path) == upkeep.PACK_AFTER_COMMITS - 1)


async def test_what_a_kill_left_unpacked_is_packed_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: Steps
) -> None:
    monkeypatch.setattr(upkeep, "IDLE_S", 1000.0)
    async with a_service(tmp_path) as (_, hub):
        for number in range(1, 4):
            await write(hub, number)
    assert packed(tmp_path) == 0
    monkeypatch.setattr(upkeep, "IDLE_S", 0.0)
    async with a_service(tmp_path):
        await steps.until(lambda: packed(tmp_path) == 2)


async def test_a_step_that_fails_is_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(upkeep, "IDLE_S", 0.01)
    failures: list[Exception] = [StorageError("the disk is full", "storage_full"), RuntimeError("a bug")]
    really = SqlStore.pack

    def pack(store: SqlStore, vault: str) -> int:
        if failures:
            raise failures.pop()
        return really(store, vault)

    monkeypatch.setattr(SqlStore, "pack", pack)
    steps = Steps(monkeypatch)
    async with a_service(tmp_path) as (_, hub):
        await steps.until(lambda: len(failures) == 1)
        await write(hub, 1)
        await steps.until(lambda: not failures)
        await write(hub, 2)
        await steps.until(lambda: packed(tmp_path) == 1)
    assert "storage_full" in caplog.text
    assert "a bug" in caplog.text


# -- letting go


async def test_a_vault_is_gone_through_once_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: Steps
) -> None:
    monkeypatch.setattr(upkeep, "SWEEP_CHECK_S", 0.01)
    async with a_service(tmp_path) as (service, hub):
        for number in range(1, 5):
            old(service, number)
        await steps.until(lambda: hub.info.swept_at > 0)
        first = hub.info.swept_at
        assert len(service.store.history("main", KEY)) == 2
        old(service, 5)
        await service.upkeep._gc_if_due()
        assert service.store.vault("main").swept_at == first
        monkeypatch.setattr(upkeep, "_now_ms", lambda: first + DAY_MS)
        await steps.until(lambda: hub.info.swept_at == first + DAY_MS)
        assert len(service.store.history("main", KEY)) == 2


async def test_a_vault_that_was_gone_through_in_the_future_is_again_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was while the clock was wrong."""
    async with a_service(tmp_path) as (service, hub):
        now_ms = upkeep._now_ms()
        monkeypatch.setattr(upkeep, "_now_ms", lambda: now_ms + 365 * DAY_MS)
        await service.upkeep._gc_if_due()
        assert hub.info.swept_at == now_ms + 365 * DAY_MS
        monkeypatch.setattr(upkeep, "_now_ms", lambda: now_ms)
        await service.upkeep._gc_if_due()
        assert hub.info.swept_at == now_ms


async def test_a_vault_that_cannot_be_kept_up_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(call: Callable[..., Any]) -> Callable[..., Any]:
        def fail(vault: str, *arguments: Any, **named: Any) -> Any:
            if vault == "a":
                raise RuntimeError("a damaged page")
            return call(vault, *arguments, **named)

        return fail

    async with a_service(tmp_path) as (service, main):
        hubs = [main, await service.create_vault("a"), await service.create_vault("z")]
        for hub in hubs:
            hub.saw("laptop", 1)
        for name in ("sweep", "note_devices"):
            monkeypatch.setattr(service.store, name, failing(getattr(service.store, name)))
        await service.upkeep._gc_if_due()
        await service.upkeep._note_devices()
        assert [service.store.vault(hub.name).swept_at > 0 for hub in hubs] == [True, False, True]
        assert [len(service.store.devices(hub.name)) for hub in hubs] == [1, 0, 1]
    assert "a damaged page" in caplog.text


async def test_the_settings_say_what_is_kept(tmp_path: Path) -> None:
    async with a_service(tmp_path, history_all_days=100_000) as (service, hub):
        for number in range(1, 5):
            old(service, number)
        assert await service.upkeep.gc(hub) == upkeep.GcReport()
    async with a_service(tmp_path) as (service, hub):
        told = await service.upkeep.gc(hub, dry_run=True)
        assert (told.versions, told.size) == (2, 2 * len(TEXT))
        assert await service.upkeep.gc(hub) == told


# -- blobs


def put_blob(service: Service, data: bytes, age_ms: int) -> BlobRef:
    """Put a blob on the disk as an upload does, some time ago."""
    sha256 = hashlib.sha256(data).hexdigest()
    path = service.blobs._path(sha256)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    seconds = upkeep._now_ms() / 1000 - age_ms / 1000
    os.utime(path, (seconds, seconds))
    return BlobRef(sha256, len(data))


async def test_blobs_that_nobody_names_go_after_a_day(tmp_path: Path) -> None:
    async with a_service(tmp_path) as (service, hub):
        named, fresh, left = (
            put_blob(service, data, age_ms)
            for data, age_ms in ((b"named", 9 * DAY_MS), (b"fresh", DAY_MS - 60_000), (b"left", DAY_MS + 60_000))
        )
        await write(hub, 1, blob=named)
        told = await service.upkeep.gc(hub, dry_run=True)
        assert (told.blobs, told.blob_size) == (1, 4)
        assert service.blobs.has(left.sha256)
        assert await service.upkeep.gc(hub) == told
        assert [service.blobs.has(ref.sha256) for ref in (named, fresh, left)] == [True, True, False]
        assert (await service.upkeep.gc(hub)).blobs == 0


async def test_a_blob_of_another_vault_stays(tmp_path: Path) -> None:
    async with a_service(tmp_path) as (service, hub):
        other = await service.create_vault("other")
        blob = put_blob(service, b"theirs", 9 * DAY_MS)
        await write(other, 1, blob=blob)
        assert (await service.upkeep.gc(hub)).blobs == 0
        assert service.blobs.has(blob.sha256)


async def test_a_blob_goes_with_the_last_version_that_names_it(tmp_path: Path) -> None:
    async with a_service(tmp_path) as (service, hub):
        blobs = [put_blob(service, bytes([number]), 9 * DAY_MS) for number in range(3)]
        for number, blob in enumerate(blobs, start=1):
            change = Change(KEY, Dot(number, "a"), None, blob, frozenset([Dot(number - 1, "a")] if number > 1 else []))
            service.store.take_in("main", [[change]], wall_ms=number, check_blob=lambda _: True)
        assert (await service.upkeep.gc(hub)).blobs == 1
        assert [service.blobs.has(blob.sha256) for blob in blobs] == [False, True, True]


async def test_a_commit_that_names_a_blob_comes_before_its_deletion_or_is_refused(tmp_path: Path) -> None:
    """Both are done by one thread: whoever is first, no version ever names a blob that is not there."""
    async with a_service(tmp_path) as (service, hub):
        for number in range(1, 30):
            blob = put_blob(service, f"blob {number}".encode(), 9 * DAY_MS)
            change = Change(f"note:{number}.md", Dot(number, "a"), None, blob, frozenset())
            committed, _ = await asyncio.gather(hub.submit([change]), service.upkeep.gc(hub))
            assert service.blobs.has(blob.sha256) is not bool(committed.rejected)
            assert {rejected.code for rejected in committed.rejected} <= {"blob_missing"}


async def test_uploads_that_nobody_goes_on_with_go_after_a_week(tmp_path: Path) -> None:
    async with a_service(tmp_path) as (service, hub):
        ages = {"1" * 64: 8, "2" * 64: 6}
        for name, days in ages.items():
            path = service.blobs._partial_path(name, "phone")
            path.write_bytes(b"x")
            seconds = upkeep._now_ms() / 1000 - days * 86_400
            os.utime(path, (seconds, seconds))
        await service.upkeep.gc(hub, dry_run=True)
        assert service.blobs.partial_size("1" * 64, "phone") == 1
        await service.upkeep.gc(hub)
        assert [service.blobs.partial_size(name, "phone") for name in ages] == [0, 1]


# -- devices


async def test_devices_are_noted_with_their_cursors(tmp_path: Path) -> None:
    def noted(service: Service) -> dict[str, int]:
        return {device.device_id: device.cursor for device in service.store.devices("main")}

    async with running_server(tmp_path) as server:
        async with plain_client(server, "a") as a:
            await a.push(a.change(KEY, "one", 1))
            cursor = a.last_ack
            await a.send()
            await a.push(a.change(KEY, "two", 5))
        async with httpx.AsyncClient(base_url=server.http_url, timeout=PATIENCE_S) as http:
            body = {"type": "sync_push", "changes": [], "last_ack": cursor, "epoch": "1-ffffffff"}
            await http.post("/api/v1/sync", params={"device_id": "stranger"}, json=body)
            del body["epoch"]
            await http.post("/api/v1/sync", params={"device_id": "b"}, json=body)
        await server.service.upkeep._note_devices()
        assert noted(server.service) == {"a": cursor, "b": cursor}
        epoch = server.service.hub("main").epoch
        assert [device.epoch for device in server.service.store.devices("main")] == [epoch] * 2


async def test_a_device_that_makes_up_incarnations_is_remembered_with_some_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_service(tmp_path) as (service, hub):
        now_ms = 0
        monkeypatch.setattr("tidenote.server.hub._wall_ms", lambda: now_ms)
        hub.saw("laptop", 1)

        async def make_up(numbers: range) -> None:
            nonlocal now_ms
            for number in numbers:
                now_ms = number
                hub.saw(f"phone~{number}", number)

        for start in range(2, 200, 50):
            async with asyncio.TaskGroup() as group:
                # The next ones turn up while the ones before them are written down.
                group.create_task(hub.note_devices())
                group.create_task(make_up(range(start, min(start + 50, 200))))
        await hub.note_devices()
        newest = {f"phone~{number}" for number in range(200 - MAX_INCARNATIONS, 200)}
        assert {device.device_id for device in await hub.devices()} == newest | {"laptop"}
        assert {device.device_id for device in service.store.devices("main")} == newest | {"laptop"}
        assert len(list(hub._progress)) == len(hub._progress._noted) == MAX_INCARNATIONS + 1


async def test_what_is_no_news_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_service(tmp_path) as (service, hub):
        now_ms = 5_000_000
        monkeypatch.setattr("tidenote.server.hub._wall_ms", lambda: now_ms)

        async def noted() -> list[Device]:
            await hub.note_devices()
            return service.store.devices("main")

        hub.saw("a", 7)
        first = await noted()
        now_ms += 3_000_000
        hub.saw("a", 7)
        assert await noted() == first
        hub.saw("a", 8)
        assert [(d.cursor, d.last_seen) for d in await noted()] == [(8, now_ms)]
        now_ms += 3_600_000
        hub.saw("a", 8)
        assert [(d.cursor, d.last_seen) for d in await noted()] == [(8, now_ms)]


async def test_what_was_not_yet_noted_is_when_the_server_ends(tmp_path: Path) -> None:
    async with a_service(tmp_path) as (_, hub):
        hub.saw("a", 7)
    async with a_service(tmp_path) as (service, _):
        assert [(device.device_id, device.cursor) for device in service.store.devices("main")] == [("a", 7)]


# -- quarantine


async def test_a_device_that_missed_a_forgotten_deletion_is_told_to_compare(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        service, hub = server.service, server.service.hub("main")
        for number, value in ((1, TEXT), (2, None)):
            change = Change(KEY, Dot(number, "a"), value, base=frozenset([Dot(1, "a")] if number > 1 else []))
            service.store.take_in("main", [[change]], wall_ms=number, check_blob=bool)
        hub.info = service.store.vault("main")
        before, head = 2, hub.clock
        assert (await service.upkeep.gc(hub)).tombstones == 1
        assert hub.info.tombstones_gone_before == head
        async with plain_client(server, "late", before) as late:
            assert (late.greeting["code"], late.greeting["quarantine"]) == ("resync_required", True)
            assert late.greeting["epoch"] == hub.epoch
        for cursor in (0, head):
            async with plain_client(server, f"knows{cursor}", cursor) as other:
                assert other.greeting["type"] == "sync_ack"
        async with httpx.AsyncClient(base_url=server.http_url, timeout=PATIENCE_S) as http:
            body = {"type": "sync_push", "changes": [], "last_ack": before}
            answer = await http.post("/api/v1/sync", params={"device_id": "late"}, json=body)
            assert (answer.status_code, answer.json()["quarantine"]) == (409, True)
