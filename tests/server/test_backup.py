"""Backups: consistent whatever is written meanwhile, verified, and restored as a new generation."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import sqlite3
import tarfile
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import IO

import pytest

from server.running import PATIENCE_S
from tidenote.config import ServerConfig
from tidenote.core.version import BlobRef, Change, Dot
from tidenote.errors import ConfigError, StorageError
from tidenote.server import backup, upkeep
from tidenote.server.blobs import blob_path
from tidenote.server.service import Service, open_service
from tidenote.server.store.registry import Credential
from tidenote.server.store.sql import DATABASE_FILE, SqlStore

PICTURE = b"\x89PNG" + bytes(range(256)) * 5000
SHA256 = hashlib.sha256(PICTURE).hexdigest()


def note(number: int) -> Change:
    return Change(f"note:{number}.md", Dot(number, "a"), f"text of {number}", base=frozenset())


@asynccontextmanager
async def a_service(data: Path, **settings: object) -> AsyncIterator[Service]:
    async with open_service(ServerConfig(data_dir=data, no_auth=True, **settings)) as service:  # type: ignore[arg-type]
        yield service


def fill(data: Path, notes: int = 5) -> None:
    """Make a data folder with notes 1 to `notes`, and an attachment."""
    path = blob_path(data, SHA256)
    path.parent.mkdir(parents=True)
    path.write_bytes(PICTURE)
    with closing(SqlStore.open(data)) as store:
        store.create_vault("main")
        picture = Change(
            "file:p.png", Dot(1000, "a"), None, BlobRef(SHA256, len(PICTURE), "image/png"), base=frozenset()
        )
        pushes = [[note(number)] for number in range(1, notes + 1)]
        batch = store.take_in("main", [*pushes, [picture]], wall_ms=1, check_blob=bool)
        assert len(batch.versions) == notes + 1


@pytest.fixture
def data(tmp_path: Path) -> Path:
    fill(tmp_path / "data")
    return tmp_path / "data"


def texts(data: Path) -> dict[str, str]:
    """Return the notes of a data folder, by key."""
    with closing(SqlStore.open(data)) as store:
        names = [key for key, _ in store.manifest("main", None, 10_000)]
        shown = [entry.register.winner for entry in store.entries("main", names)]
    return {change.key: change.value or "" for change in shown if change and change.value is not None}


def test_everything_comes_back_as_a_later_generation(tmp_path: Path, data: Path) -> None:
    told: list[tuple[int, int]] = []
    made = backup.back_up(data, tmp_path / "b.tar", step=lambda done, total: told.append((done, total)))
    assert told[-1] == (made.size, made.size)
    assert [(vault.name, vault.epoch[:2], vault.clock) for vault in made.vaults] == [("main", "1-", 1001)]
    assert backup.verify(tmp_path / "b.tar") == made
    assert (tmp_path / "b.tar").stat().st_mode & 0o777 == 0o600
    restored = backup.restore(tmp_path / "b.tar", tmp_path / "new" / "data")
    assert restored == backup.Restored(made, None, keeps_revoked=True)
    assert texts(tmp_path / "new" / "data") == texts(data)
    assert blob_path(tmp_path / "new" / "data", SHA256).read_bytes() == PICTURE
    with closing(SqlStore.open(tmp_path / "new" / "data")) as store:
        info = store.vault("main")
    assert info.epoch.startswith("2-")
    assert info.clock > 2**32
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar", "data", "new"], "nothing is left over"


@pytest.mark.anyio
async def test_what_is_written_meanwhile_is_in_it_wholly_or_not_at_all(tmp_path: Path) -> None:
    """A backup is a prefix of the log: every note up to its clock, none after it."""
    async with a_service(tmp_path / "data") as service:
        hub, written, enough = service.hub("main"), 0, asyncio.Semaphore(0)

        async def write() -> None:
            nonlocal written
            while True:
                written += 1
                # Two keys in one push: a backup must never hold one of them only.
                twin = Change(f"note:twin {written}.md", Dot(written, "a"), "t", base=frozenset())
                assert not (await hub.submit([note(written), twin])).rejected
                if written % 20 == 0:
                    enough.release()

        writer = asyncio.create_task(write())
        for number in range(5):
            async with asyncio.timeout(PATIENCE_S):
                await enough.acquire()
            await asyncio.to_thread(backup.back_up, tmp_path / "data", tmp_path / f"{number}.tar")
        writer.cancel()
    for number in range(5):
        made = backup.restore(tmp_path / f"{number}.tar", tmp_path / f"data {number}").manifest
        assert made.vaults[0].clock > 0
        found = texts(tmp_path / f"data {number}")
        half = len(found) // 2
        assert half >= 20 * (number + 1)
        expected = {f"note:{n}.md": f"text of {n}" for n in range(1, half + 1)}
        assert found == {**expected, **{f"note:twin {n}.md": "t" for n in range(1, half + 1)}}


def test_what_the_folder_held_is_set_aside_only_when_asked(tmp_path: Path, data: Path) -> None:
    backup.back_up(data, tmp_path / "b.tar")
    with closing(SqlStore.open(data)) as store:
        store.take_in("main", [[note(2000)]], wall_ms=1, check_blob=bool)
        with pytest.raises(ConfigError, match="another server uses"):
            backup.restore(tmp_path / "b.tar", data, replace=True)
        with pytest.raises(ConfigError, match="another server uses"):
            backup.restore(tmp_path / "b.tar", data)
    with pytest.raises(ConfigError, match="--replace"):
        backup.restore(tmp_path / "b.tar", data)
    assert "note:2000.md" in texts(data)
    aside = backup.restore(tmp_path / "b.tar", data, replace=True).set_aside
    assert aside
    assert "note:2000.md" in texts(aside)
    assert "note:2000.md" not in texts(data)


def test_nothing_is_overwritten(tmp_path: Path, data: Path) -> None:
    (tmp_path / "b.tar").write_text("mine")
    with pytest.raises(ConfigError, match="exists"):
        backup.back_up(data, tmp_path / "b.tar")
    assert (tmp_path / "b.tar").read_text() == "mine"
    with pytest.raises(ConfigError, match="no server's data"):
        backup.back_up(tmp_path, tmp_path / "c.tar")


def test_a_missing_blob_is_said_and_leaves_no_file(tmp_path: Path, data: Path) -> None:
    blob_path(data, SHA256).unlink()
    with pytest.raises(StorageError, match=SHA256):
        backup.back_up(data, tmp_path / "b.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_blob_that_went_with_its_version_meanwhile_is_not_missed(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The history lets go of it between the copy of the log and that of its blobs: the copy is begun anew."""
    describe = backup._describe

    def let_go(data: Path, snapshot: Path) -> backup.Manifest:
        found = describe(data, snapshot)
        if blob_path(data, SHA256).exists():
            blob_path(data, SHA256).unlink()
            with closing(sqlite3.connect(data / DATABASE_FILE)) as database, database:
                database.execute("UPDATE versions SET gone = 1 WHERE blob_sha256 NOT NULL")
        return found

    monkeypatch.setattr(backup, "_describe", let_go)
    assert backup.back_up(data, tmp_path / "b.tar").blobs == []


def test_the_size_of_a_blob_is_that_on_the_disk(tmp_path: Path, data: Path) -> None:
    """Whatever a change said of it, and however often."""
    with closing(SqlStore.open(data)) as store:
        wrong = [
            Change(f"file:{size}.png", Dot(2000, "a"), None, BlobRef(SHA256, size), base=frozenset())
            for size in (0, len(PICTURE) - 1, 2**53 - 1)
        ]
        store.take_in("main", [wrong], wall_ms=1, check_blob=bool)
    made = backup.back_up(data, tmp_path / "b.tar")
    assert made.blobs == [backup.BackupBlob(SHA256, len(PICTURE))]
    backup.restore(tmp_path / "b.tar", tmp_path / "new")
    assert blob_path(tmp_path / "new", SHA256).read_bytes() == PICTURE


@pytest.mark.parametrize("rotten", [PICTURE[:-1] + b"x", PICTURE[:-1], b""])
def test_a_blob_that_rotted_is_noticed(tmp_path: Path, data: Path, rotten: bytes) -> None:
    blob_path(data, SHA256).write_bytes(rotten)
    with pytest.raises(StorageError, match=f"blobs/{SHA256} is damaged: check the disk"):
        backup.back_up(data, tmp_path / "b.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    for file in (tmp_path, tmp_path / "absent.tar"):
        with pytest.raises(StorageError, match=str(file)):
            backup.verify(file)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9])
def test_a_bit_that_flipped_is_noticed_and_nothing_is_made(tmp_path: Path, data: Path, share: float) -> None:
    file = tmp_path / "b.tar"
    made = backup.back_up(data, file)
    content = bytearray(file.read_bytes())
    content[int(len(content) * share)] ^= 0x40
    file.write_bytes(content)
    for attempt in (lambda: backup.verify(file), lambda: backup.restore(file, tmp_path / "new")):
        try:
            attempt()
        except ConfigError:
            assert not (tmp_path / "new").exists()
        else:
            # Padding of the archive means nothing; everything else is checked.
            backup.restore(file, tmp_path / "again")
            assert texts(tmp_path / "again") == texts(data)
            assert backup.verify(file) == made
            break


@pytest.mark.parametrize("size", [0, 1, 512, 5000])
def test_a_file_that_was_cut_off_is_noticed(tmp_path: Path, data: Path, size: int) -> None:
    backup.back_up(data, tmp_path / "b.tar")
    with (tmp_path / "b.tar").open("r+b") as file:
        file.truncate(size)
    with pytest.raises(ConfigError, match=r"no backup|damaged"):
        backup.restore(tmp_path / "b.tar", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def rewrite(file: Path, change: object) -> None:
    """Write a backup anew with members altered by `change(info, stream)`; None leaves one out."""
    fresh = file.with_suffix(".new")
    with tarfile.open(file) as old, tarfile.open(fresh, "w", format=tarfile.PAX_FORMAT) as new:
        for member in old:
            altered = change(member, old.extractfile(member))  # type: ignore[operator]
            if altered:
                new.addfile(*altered)
    fresh.replace(file)


def _climbs(info: tarfile.TarInfo, stream: IO[bytes]) -> tuple[tarfile.TarInfo, IO[bytes]]:
    if info.name.startswith("blobs/"):
        info.name = "blobs/../../../evil"
    return info, stream


def _links(info: tarfile.TarInfo, stream: IO[bytes]) -> tuple[tarfile.TarInfo, IO[bytes] | None]:
    if info.name.startswith("blobs/"):
        info.type, info.linkname, info.size = tarfile.SYMTYPE, "/etc/passwd", 0
        return info, None
    return info, stream


def _lacks(info: tarfile.TarInfo, stream: IO[bytes]) -> tuple[tarfile.TarInfo, IO[bytes]] | None:
    return None if info.name.startswith("blobs/") else (info, stream)


def _claims(info: tarfile.TarInfo, stream: IO[bytes]) -> tuple[tarfile.TarInfo, IO[bytes]]:
    """Let a blob be of the size that it says to have, all of it a hole."""
    if info.name.startswith("blobs/"):
        info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": f"0,{info.size}"}
        info.pax_headers |= {"GNU.sparse.size": str(info.size), "GNU.sparse.numblocks": "1"}
    return info, stream


@pytest.mark.parametrize("change", [_climbs, _links, _lacks, _claims])
def test_h11_a_file_that_was_made_to_harm_is_refused(tmp_path: Path, data: Path, change: object) -> None:
    backup.back_up(data, tmp_path / "b.tar")
    rewrite(tmp_path / "b.tar", change)
    with pytest.raises(ConfigError, match="damaged"):
        backup.restore(tmp_path / "b.tar", tmp_path / "deep" / "er" / "new")
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "deep" / "er" / "new").exists()


@pytest.mark.parametrize("bomb", ["[" + ",".join(["[]"] * 2_000_000) + "]", "[" * 3_000_000, "{", "\xff", "7"])
def test_h11_a_manifest_that_was_made_to_harm_costs_little(tmp_path: Path, data: Path, bomb: str) -> None:
    def harms(info: tarfile.TarInfo, stream: IO[bytes]) -> tuple[tarfile.TarInfo, IO[bytes]]:
        if info.name != backup.MANIFEST:
            return info, stream
        text = '{"format": 1, "version": "1", "created_at": 1, "database_sha256": "", "database_size": 1, "vaults": '
        body = f'{text}{bomb}, "blobs": {bomb}}}'.encode("latin-1")
        info.size = len(body)
        return info, io.BytesIO(body)

    backup.back_up(data, tmp_path / "b.tar")
    rewrite(tmp_path / "b.tar", harms)
    size = (tmp_path / "b.tar").stat().st_size
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match="damaged"):
            backup.restore(tmp_path / "b.tar", tmp_path / "new")
        assert tracemalloc.get_traced_memory()[1] < 4 * size + 2**20
    finally:
        tracemalloc.stop()


def test_what_could_not_be_read_again_is_not_written(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "MAX_MANIFEST_BYTES", 100)
    with pytest.raises(ConfigError, match="too many"):
        backup.back_up(data, tmp_path / "b.tar")
    assert not (tmp_path / "b.tar").exists()


def test_a_later_format_is_named(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "FORMAT", 2)
    backup.back_up(data, tmp_path / "b.tar")
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="later Tidenote"):
        backup.restore(tmp_path / "b.tar", tmp_path / "new")


def test_a_full_disk_leaves_no_half_of_a_backup(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError) as caught:
        backup.back_up(data, tmp_path / "b.tar")
    assert caught.value.code == "storage_full"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_the_schedule_keeps_as_many_as_it_should(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "backups"
    assert backup.latest(folder) == 0
    for day in range(1, 6):
        monkeypatch.setattr(backup, "_now_name", lambda day=day: f"tidenote-2026110{day}T000000Z.tar")
        (folder / ".tidenote-x.tar.0.part").parent.mkdir(exist_ok=True)
        (folder / ".tidenote-x.tar.0.part").write_text("left over")
        (folder / "notes.txt").write_text("somebody else's")
        backup.back_up_by_schedule(data, folder, keep=3)
    names = [f"tidenote-2026110{day}T000000Z.tar" for day in (3, 4, 5)]
    assert sorted(path.name for path in folder.iterdir()) == ["notes.txt", *names]
    assert backup.latest(folder) == 1793836800000
    blob_path(data, SHA256).unlink()
    monkeypatch.setattr(backup, "_now_name", lambda: "tidenote-20261106T000000Z.tar")
    with pytest.raises(StorageError):
        backup.back_up_by_schedule(data, folder, keep=1)
    assert sorted(path.name for path in folder.iterdir()) == ["notes.txt", *names], "a failed one removes none"


def test_backups_of_the_future_keep_no_other_from_its_place(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are from a time when the clock was wrong."""
    folder, future = tmp_path / "backups", [f"tidenote-203{year}0101T000000Z.tar" for year in (1, 2)]
    folder.mkdir()
    for name in future:
        (folder / name).write_bytes(b"x")
    monkeypatch.setattr(backup, "_now_name", lambda: "tidenote-20261101T000000Z.tar")
    assert backup.latest(folder) == 0
    written = []
    for day, left in ((1, future[1:]), (2, []), (3, [])):
        monkeypatch.setattr(backup, "_now_name", lambda day=day: f"tidenote-2026110{day}T000000Z.tar")
        written.append(backup.back_up_by_schedule(data, folder, keep=2).name)
        assert sorted(path.name for path in folder.iterdir()) == [*written[-2:], *left]
    assert backup.latest(folder) == 1793664000000

    def set_right(_: Path, file: Path) -> None:
        """Write a backup; meanwhile the clock, which was wrong, is set right."""
        file.touch()
        monkeypatch.setattr(backup, "_now_name", lambda: written[-1])

    monkeypatch.setattr(backup, "_now_name", lambda: future[0])
    monkeypatch.setattr(backup, "back_up", set_right)
    assert backup.back_up_by_schedule(data, folder, keep=1).exists()
    assert [path.name for path in folder.iterdir()] == future[:1]


@pytest.mark.anyio
async def test_a_server_writes_backups_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It looks at once, and is told to look again much later.
    folder, loop, written = tmp_path / "backups", asyncio.get_running_loop(), asyncio.Event()
    write = backup.back_up_by_schedule

    def watched(data: Path, folder: Path, *, keep: int) -> Path:
        file = write(data, folder, keep=keep)
        loop.call_soon_threadsafe(written.set)
        return file

    monkeypatch.setattr(backup, "back_up_by_schedule", watched)
    async with a_service(tmp_path / "data", backup_dir=folder):
        async with asyncio.timeout(PATIENCE_S):
            await written.wait()
    written.clear()
    monkeypatch.setattr(upkeep, "BACKUP_CHECK_S", 0.01)
    looks, looked_again, look = 0, asyncio.Event(), backup.latest

    def counted(folder: Path) -> int:
        nonlocal looks
        looks += 1
        if looks == 2:
            loop.call_soon_threadsafe(looked_again.set)
        return look(folder)

    monkeypatch.setattr(backup, "latest", counted)
    async with a_service(tmp_path / "data", backup_dir=folder) as service:
        async with asyncio.timeout(PATIENCE_S):
            await looked_again.wait()
        assert b"tidenote_backup_time_seconds 0.0" not in service.metrics.render(), "before a second one is due"
    assert not written.is_set()
    assert [path.suffix for path in folder.iterdir()] == [".tar"], "one a day, however often it is looked"
    assert backup.verify(next(folder.iterdir())).vaults[0].name == "main"


# -- who is let in


def someone(name: str, token: str = "token") -> Credential:
    return Credential(f"id of {name}", name, None, "editor", f"hash of {name}'s {token}", 1, 1)


def let_in(data: Path, *people: Credential, remove: tuple[str, ...] = ()) -> None:
    with closing(SqlStore.open(data)) as store:
        store.registry.save(people, remove)


def who_may(data: Path) -> list[Credential]:
    with closing(SqlStore.open(data)) as store:
        return store.registry.credentials()


def test_nobody_who_was_revoked_since_is_let_in_again(tmp_path: Path, data: Path) -> None:
    let_in(data, someone("lost"), someone("kept"))
    backup.back_up(data, tmp_path / "b.tar")
    let_in(data, someone("kept", "new token"), someone("later"), remove=("id of lost",))
    assert backup.restore(tmp_path / "b.tar", data, replace=True).keeps_revoked
    assert who_may(data) == [someone("kept", "new token"), someone("later")]
    assert not (data / "former").exists()


@pytest.mark.parametrize("former", ["another server", "damaged", "missing"])
def test_a_folder_that_cannot_tell_leaves_it_to_the_backup(tmp_path: Path, data: Path, former: str) -> None:
    let_in(data, someone("phone"))
    backup.back_up(data, tmp_path / "b.tar")
    let_in(data, someone("other"), remove=("id of phone",))
    if former == "damaged":
        (data / DATABASE_FILE).write_bytes(b"no database" * 1000)
    elif former == "missing":
        (data / DATABASE_FILE).unlink()
    assert not backup.restore(tmp_path / "b.tar", data, replace=True).keeps_revoked
    assert who_may(data) == [someone("phone")]


def test_a_backup_that_lets_in_nobody_lets_in_nobody_who_was_revoked(tmp_path: Path, data: Path) -> None:
    backup.back_up(data, tmp_path / "b.tar")
    assert backup.restore(tmp_path / "b.tar", tmp_path / "new").keeps_revoked
