"""Backups: a data folder as one file, consistent and verified; and a data folder made of such a file again.

A backup is a tar file: `manifest.json`, then `tidenote.db`, then `blobs/<sha256>` in the manifest's order. Everything
in it has its hash in the manifest or in its name. It is made from the folder itself, whether or not a server runs on
it, and is read back before it counts. Restoring begins a new generation (docs/protocol.md 9), so that devices offer
what the backup lacks and nobody infers a deletion.
"""

from __future__ import annotations

import calendar
import contextlib
import hashlib
import io
import os
import re
import secrets
import shutil
import sqlite3
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import msgspec

import tidenote
from tidenote.errors import ConfigError, ProtocolError, StorageError
from tidenote.server.blobs import blob_path, sync_folder
from tidenote.server.store.engine import is_full
from tidenote.server.store.sql import DATABASE_FILE, LOCK_FILE, SqlStore, lock_folder

FORMAT: Final = 1
"""Of the file; another one is refused."""

MANIFEST: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 2**26
"""The largest manifest: that of about half a million blobs. A larger one is not read, and so not written."""

ATTEMPTS: Final = 3
"""How often a copy is begun when the history lets go of a blob meanwhile."""

_BLOBS = "SELECT DISTINCT blob_sha256 FROM versions WHERE blob_sha256 IS NOT NULL AND NOT gone ORDER BY 1"
_VAULTS = "SELECT name, epoch, clock FROM vaults ORDER BY name"
_CHUNK = 2**20
_SCHEDULED_FORMAT = "tidenote-%Y%m%dT%H%M%SZ.tar"
_SCHEDULED = re.compile(r"tidenote-[0-9]{8}T[0-9]{6}Z\.tar")

Step = Callable[[int, int], object]
"""Is told how many bytes are done, and of how many."""


def unwatched(_done: int, _total: int) -> None:
    """Stands in for a person who watches the progress."""


class BackupBlob(msgspec.Struct, frozen=True):
    """One blob of a backup; `size` in bytes."""

    sha256: str
    size: int


class BackupVault(msgspec.Struct, frozen=True):
    """One vault's log in a backup: up to which receipt it goes."""

    name: str
    epoch: str
    clock: int


class _Format(msgspec.Struct, frozen=True):
    format: int


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds. `created_at` in ms since 1970, `database_size` in bytes."""

    format: int
    version: str
    created_at: int
    database_sha256: str
    database_size: int
    vaults: list[BackupVault]
    blobs: list[BackupBlob]

    @property
    def size(self) -> int:
        """The bytes of the database and of all blobs."""
        return self.database_size + sum(blob.size for blob in self.blobs)


class _Damaged(ConfigError):
    """A part of a backup is not what it was; `part` names it."""

    def __init__(self, file: Path, part: str) -> None:
        super().__init__(f"{file} is damaged at {part}: choose another backup")
        self.part = part


@dataclass(frozen=True, slots=True)
class Restored:
    """A data folder that was made of a backup.

    Attributes:
        manifest: what the backup held.
        set_aside: where the folder's former content is now; None if there was none.
        keeps_revoked: whether nobody is let in who was revoked since the backup: the former content told who was let in
            last, or the backup lets in nobody at all.
    """

    manifest: Manifest
    set_aside: Path | None
    keeps_revoked: bool = False


def back_up(data: Path, file: Path, *, step: Step = unwatched) -> Manifest:
    """Write a backup of a data folder to a new file, and verify it. A server may run meanwhile; nobody waits for it.

    Args:
        data: the server's data folder.
        file: where to write; it must not exist.
        step: is told of the progress.

    Raises:
        ConfigError: the file exists, its folder does not, or the data folder holds no server's data.
        StorageError: a disk failed or is full, or a blob is missing or damaged. The file is not there then.
    """
    if file.exists():
        raise ConfigError(f"{file} exists: name another file, or remove it first")
    if not file.parent.is_dir():
        raise ConfigError(f"there is no folder {file.parent}: make it with mkdir, or name another file")
    if not (data / DATABASE_FILE).is_file():
        raise ConfigError(f"{data} holds no server's data: name its folder with --data")
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
    snapshot = unfinished.with_suffix(".db")
    with disk_errors(), _removing(snapshot, unfinished):
        for attempt in range(ATTEMPTS):
            copy_database(data / DATABASE_FILE, snapshot)
            try:
                manifest = _describe(data, snapshot)
                _write(unfinished, data, snapshot, manifest, step)
                break
            except FileNotFoundError as missing:
                # Between the copy of the log and that of its blobs the history may have let go of one.
                if attempt == ATTEMPTS - 1:
                    raise StorageError(f"the blob {missing.filename} is missing: check the disk") from None
        try:
            verify(unfinished)
        except _Damaged as damaged:
            raise StorageError(f"{damaged.part} is damaged: check the disk") from None
        unfinished.replace(file)
        sync_folder(file.parent)
    return manifest


def verify(file: Path) -> Manifest:
    """Read a backup to its end, and check every byte of it.

    Raises:
        ConfigError: it is no backup, of a later format, or damaged.
        StorageError: it cannot be read.
    """
    with disk_errors(), _opened(file) as (manifest, members):
        for name, stream, size in members:
            digest = _digest_of(name, manifest)
            found = hashlib.sha256()
            while chunk := stream.read(_CHUNK):
                found.update(chunk)
                size -= len(chunk)
            if size or found.hexdigest() != digest:
                raise _Damaged(file, name)
    return manifest


def restore(file: Path, data: Path, *, replace: bool = False, step: Step = unwatched) -> Restored:
    """Make a data folder of a backup, and begin a new generation of every vault in it.

    Args:
        file: the backup.
        data: the folder to make. What is in it stays as it is if anything fails.
        replace: whether to set aside what the folder holds now; it is renamed, never deleted.
        step: is told of the progress.

    Raises:
        ConfigError: the file is no backup or damaged; the folder is in use, or not empty without `replace`.
        StorageError: a disk failed or is full.
    """
    fresh = data.with_name(f"{data.name}.{secrets.token_hex(4)}.part")
    with disk_errors():
        with _opened(file):
            pass  # what is wrong with the backup is said before anybody makes room for it
        is_used = data.exists() and any(data.iterdir())
        with contextlib.ExitStack() as stack:
            # Of a running server's folder that is said first; in a folder of something else no lock is left behind.
            if is_used and (replace or (data / LOCK_FILE).exists()):
                stack.callback(lock_folder(data).release)
            if is_used and not replace:
                raise ConfigError(
                    f"{data} is not empty: name another folder, or set what it holds aside with --replace"
                )
            stack.callback(shutil.rmtree, fresh, ignore_errors=True)
            manifest = _extract(file, fresh, step)
            keeps_revoked = (is_used and _let_in_as_before(data, fresh)) or not _lets_in_anyone(fresh)
            _begin_generations(fresh)
            set_aside = _swap(fresh, data) if is_used else None
            if not is_used:
                with contextlib.suppress(FileNotFoundError):
                    data.rmdir()
                fresh.replace(data)
            sync_folder(data.parent)
    return Restored(manifest, set_aside, keeps_revoked)


# -- by schedule


def latest(folder: Path) -> int:
    """Return when the last scheduled backup in a folder was begun, ms since 1970; 0 if none was until now.

    Raises:
        StorageError: the folder cannot be read.
    """
    with disk_errors():
        found = [file for file in _scheduled(folder) if file.name <= _now_name()]
    return _begun_at(found[-1]) if found else 0


def back_up_by_schedule(data: Path, folder: Path, *, keep: int) -> Path:
    """Write one more backup into a folder, and remove the oldest of its kind beyond those to keep.

    Args:
        data: the server's data folder.
        folder: of the backups; created if it is missing. Other files in it are left alone.
        keep: how many to keep, the new one among them.

    Raises:
        ConfigError, StorageError: as `back_up`; nothing is removed then.
    """
    with disk_errors():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for unfinished in folder.glob(".tidenote-*.tar.*"):  # left behind by a server that was killed
            unfinished.unlink()
    file = folder / _now_name()
    back_up(data, file)
    with disk_errors():
        others = [other for other in _scheduled(folder) if other != file]
        for old in [*others, file][:-keep]:
            old.unlink()
    return file


def _scheduled(folder: Path) -> list[Path]:
    """Return the scheduled backups of a folder, the oldest first.

    Those of the future are from a time when the clock was wrong: they count as older than all others.
    """
    if not folder.is_dir():
        return []
    now = _now_name()
    found = [path for path in folder.iterdir() if _SCHEDULED.fullmatch(path.name)]
    return sorted(found, key=lambda path: (path.name <= now, path.name))


def _now_name() -> str:
    return time.strftime(_SCHEDULED_FORMAT, time.gmtime())


def _begun_at(file: Path) -> int:
    return calendar.timegm(time.strptime(file.name, _SCHEDULED_FORMAT)) * 1000


# -- writing


def copy_database(database: Path, snapshot: Path) -> None:
    """Copy a database in one read transaction: what is committed then, wholly; writers do not wait.

    Raises:
        StorageError: the database is damaged.
        OSError, sqlite3.Error: a disk failed or is full.
    """
    snapshot.unlink(missing_ok=True)
    descriptor = os.open(snapshot, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.close(descriptor)
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(snapshot)) as copy:
        source.backup(copy)
        # One file is to be all of it.
        copy.execute("PRAGMA journal_mode = DELETE")
        if copy.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise StorageError("the database is damaged: `PRAGMA integrity_check` says more")


def _describe(data: Path, snapshot: Path) -> Manifest:
    with closing(sqlite3.connect(snapshot)) as copy:
        # Their sizes as of the disk: what a change said of them is its author's word.
        blobs = [BackupBlob(sha256, blob_path(data, sha256).stat().st_size) for (sha256,) in copy.execute(_BLOBS)]
        vaults = [BackupVault(*row) for row in copy.execute(_VAULTS)]
    with snapshot.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    size = snapshot.stat().st_size
    return Manifest(FORMAT, tidenote.__version__, time.time_ns() // 1_000_000, digest, size, vaults, blobs)


def _write(file: Path, data: Path, snapshot: Path, manifest: Manifest, step: Step) -> None:
    head = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    if len(head) > MAX_MANIFEST_BYTES:
        raise ConfigError(f"{len(manifest.blobs)} attachments are too many for a backup: copy the data folder instead")
    done = 0
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as output:
        with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as archive:
            info = tarfile.TarInfo(MANIFEST)
            info.size, info.mode = len(head), 0o600
            archive.addfile(info, io.BytesIO(head))
            for name, path in _sources(data, snapshot, manifest):
                info = tarfile.TarInfo(name)
                with path.open("rb") as stream:
                    info.size, info.mode = os.fstat(stream.fileno()).st_size, 0o600
                    archive.addfile(info, stream)
                done += info.size
                step(done, manifest.size)
        output.flush()
        os.fsync(output.fileno())


def _sources(data: Path, snapshot: Path, manifest: Manifest) -> Iterator[tuple[str, Path]]:
    yield DATABASE_FILE, snapshot
    for blob in manifest.blobs:
        yield f"blobs/{blob.sha256}", blob_path(data, blob.sha256)


# -- reading


@contextmanager
def _opened(file: Path) -> Iterator[tuple[Manifest, Iterator[tuple[str, IO[bytes], int]]]]:
    """Open a backup; give its manifest and, to be read in order, its members with their sizes."""
    try:
        with tarfile.open(file, mode="r:") as archive:
            manifest = _read_manifest(file, archive)
            yield manifest, _members(file, archive, manifest)
    except tarfile.TarError:
        raise ConfigError(f"{file} is no backup of Tidenote, or damaged: choose another one") from None


def _read_manifest(file: Path, archive: tarfile.TarFile) -> Manifest:
    member = archive.next()
    if member is None or member.name != MANIFEST or not member.isreg() or member.size > MAX_MANIFEST_BYTES:
        raise ConfigError(f"{file} is no backup of Tidenote: choose another file")
    stream = archive.extractfile(member)
    assert stream is not None
    try:
        # Nothing is made of what is not asked for: a manifest of empty lists would take a hundred times its size.
        raw = stream.read()
        if msgspec.json.decode(raw, type=_Format).format != FORMAT:
            raise ConfigError(f"{file} was written by a later Tidenote: install that version")
        return msgspec.json.decode(raw, type=Manifest)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        raise _Damaged(file, MANIFEST) from None


def _members(file: Path, archive: tarfile.TarFile, manifest: Manifest) -> Iterator[tuple[str, IO[bytes], int]]:
    """Yield what the manifest names, in its order; anything else, links and paths among them, is damage."""
    expected = [(DATABASE_FILE, manifest.database_size)]
    expected += [(f"blobs/{blob.sha256}", blob.size) for blob in manifest.blobs]
    for name, size in expected:
        member = archive.next()
        # A sparse member could claim terabytes that the file does not have.
        if member is None or member.name != name or not member.isreg() or member.issparse() or member.size != size:
            raise _Damaged(file, name)
        stream = archive.extractfile(member)
        assert stream is not None
        yield name, stream, size
    if archive.next() is not None:
        raise _Damaged(file, "its end")


def _digest_of(name: str, manifest: Manifest) -> str:
    return manifest.database_sha256 if name == DATABASE_FILE else name.removeprefix("blobs/")


def _extract(file: Path, fresh: Path, step: Step) -> Manifest:
    """Write a backup's content to a new folder, every byte checked and durable."""
    fresh.mkdir(mode=0o700, parents=True)
    done = 0
    with _opened(file) as (manifest, members):
        for name, stream, _ in members:
            digest = _digest_of(name, manifest)
            path = fresh / name if name == DATABASE_FILE else _new_blob(fresh, file, digest)
            found = hashlib.sha256()
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as output:
                while chunk := stream.read(_CHUNK):
                    found.update(chunk)
                    output.write(chunk)
                    done += len(chunk)
                    step(done, manifest.size)
                output.flush()
                os.fsync(output.fileno())
            if found.hexdigest() != digest:
                raise _Damaged(file, name)
    for folder, _, _ in os.walk(fresh):
        sync_folder(Path(folder))
    return manifest


def _new_blob(fresh: Path, file: Path, digest: str) -> Path:
    try:
        path = blob_path(fresh, digest)
    except ProtocolError:
        raise _Damaged(file, digest) from None
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _begin_generations(fresh: Path) -> None:
    with closing(SqlStore.open(fresh)) as store:
        for vault in store.vaults():
            store.new_generation(vault.name, wall_ms=time.time_ns() // 1_000_000)


def _let_in_as_before(data: Path, fresh: Path) -> bool:
    """Take over whom the former folder let in; return False if it cannot tell, or is that of another server."""
    if not (data / DATABASE_FILE).is_file():
        return False
    former = fresh / "former"
    former.mkdir(mode=0o700)
    try:
        copy_database(data / DATABASE_FILE, former / DATABASE_FILE)
        with closing(SqlStore.open(former)) as store:
            last = store.registry.credentials()
    except (OSError, sqlite3.Error, StorageError, ConfigError):
        return False
    finally:
        shutil.rmtree(former)
    with closing(SqlStore.open(fresh)) as store:
        ids = {credential.id for credential in store.registry.credentials()}
        if ids.isdisjoint(credential.id for credential in last):
            return False
        store.registry.save(last, ids - {credential.id for credential in last})
    return True


def _lets_in_anyone(fresh: Path) -> bool:
    with closing(SqlStore.open(fresh)) as store:
        return bool(store.registry.credentials())


def _swap(fresh: Path, data: Path) -> Path:
    """Put a new folder in the place of another, which is renamed."""
    aside = data.with_name(f"{data.name}.{time.strftime('%Y%m%d-%H%M%S')}")
    while aside.exists():
        aside = aside.with_name(f"{aside.name}+")
    data.rename(aside)
    try:
        fresh.replace(data)
    except OSError:
        aside.rename(data)
        raise
    return aside


# -- helpers


@contextmanager
def _removing(*files: Path) -> Iterator[None]:
    """Remove temporary files at the end, whatever happens."""
    try:
        yield
    finally:
        for file in files:
            file.unlink(missing_ok=True)


@contextmanager
def disk_errors() -> Iterator[None]:
    """Raise `StorageError` for what a failing or full disk raises."""
    try:
        yield
    except OSError as error:
        code = "storage_full" if is_full(error) else "storage_failed"
        where = f"{error.filename}: " if error.filename else ""
        raise StorageError(f"{where}{error.strerror or error}", code) from error
    except sqlite3.Error as error:
        full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        raise StorageError(
            f"the database cannot be copied: {error}", "storage_full" if full else "storage_failed"
        ) from error
