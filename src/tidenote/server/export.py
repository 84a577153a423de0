"""Exports: a vault as plain files, as it is or as it was, in a folder or a zip; no server is needed to read them.

Made from a copy of the log (backup.py), so that a running server is not disturbed and all files are of one moment.
What people had not settled is there, too: the version that everyone is shown under the note's name, each other one
beside it with its author's.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, Final

from tidenote.core.history import as_of, winner
from tidenote.core.keys import marked_path, names_like, path_of_key
from tidenote.core.version import Record, is_server
from tidenote.errors import ConfigError
from tidenote.server.backup import Step, copy_database, disk_errors, unwatched
from tidenote.server.blobs import blob_path
from tidenote.server.store.contract import Store
from tidenote.server.store.sql import DATABASE_FILE, SqlStore

_PAGE: Final = 1000
_CHUNK: Final = 2**20
_EARLIEST: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can say."""


@dataclass(slots=True)
class Exported:
    """What an export wrote.

    Attributes:
        files: how many.
        unsettled: notes of which others' versions lie beside them.
        gone: notes of which the history has let go of what they were; those have their last kept content before.
        missing: notes of which nothing is kept from then or before.
        damaged: paths that are left out because their texts or attachments are gone from the disk, or are others.
    """

    files: int = 0
    unsettled: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    record: Record


def export(data: Path, target: Path, *, vault: str, at_ms: int | None = None, step: Step = unwatched) -> Exported:
    """Write the files of a vault to a new folder, or to a new zip file if the name ends in `.zip`.

    Args:
        data: the server's data folder.
        target: where to write; a folder may be there if it is empty.
        vault: its name.
        at_ms: as of this time, ms since 1970; None for now.
        step: is told how many files are done, and of how many.

    Raises:
        ConfigError: the target is there already, or the folder holds no server's data.
        AccessError: `unknown_vault`.
        StorageError: a disk failed or is full.
    """
    if target.exists() and (not target.is_dir() or target.suffix == ".zip" or any(target.iterdir())):
        raise ConfigError(f"{target} is there already: name a new folder, or a new .zip file")
    if not (data / DATABASE_FILE).is_file():
        raise ConfigError(f"{data} holds no server's data: name its folder with --data")
    with disk_errors(), TemporaryDirectory(prefix=".tidenote-", dir=target.parent) as copy:
        copy_database(data / DATABASE_FILE, Path(copy) / DATABASE_FILE)
        with closing(SqlStore.open(Path(copy))) as store:
            receipt = None if at_ms is None else store.receipt_at(vault, at_ms)
            exported = Exported()
            files = _place(_wanted(store, vault, receipt, exported))
            with _opened(target) as output:
                for done, file in enumerate(files):
                    step(done, len(files))
                    if _write(output, store, vault, data, file):
                        exported.files += 1
                    else:
                        exported.damaged.append(file.path)
                step(len(files), len(files))
    return exported


# -- what


def _wanted(store: Store, vault: str, receipt: int | None, exported: Exported) -> list[_File]:
    """Return what is to be written, by path; say what differs from what was there."""
    found: list[_File] = []
    for key in _keys(store, vault, receipt):
        records = store.records(vault, key)
        standing = as_of(records, records[-1].receipt if receipt is None else receipt)
        shown = winner(standing)
        if shown is None or shown.deleted:
            continue
        path = path_of_key(key)
        others = [record for record in standing if record is not shown and not record.deleted]
        for record in (shown, *others):
            kept = _kept(records, record)
            if kept is None:
                exported.missing.append(path)
                continue
            if kept is not record:
                exported.gone.append(path)
            found.append(_File(path if record is shown else marked_path(path, _author(record)), kept))
        if others:
            exported.unsettled.append(path)
    return found


def _keys(store: Store, vault: str, receipt: int | None) -> list[str]:
    """Return the keys that there are, ordered; as of a receipt also those whose deletion is forgotten."""
    keys = set() if receipt is None else set(store.altered_since(vault, receipt))
    after: str | None = None
    while page := store.manifest(vault, after, _PAGE):
        keys.update(key for key, _ in page)
        after = page[-1][0]
    return sorted(keys)


def _kept(records: Sequence[Record], wanted: Record) -> Record | None:
    """Return a record, or the last one before it whose content is kept."""
    if wanted.kept:
        return wanted
    return next((record for record in reversed(records) if record.kept and record.receipt < wanted.receipt), None)


# -- where


def _author(record: Record) -> str:
    """Return who wrote a version, for people: of a server without the name of its log."""
    author = record.dot.device_id
    return "server" if is_server(author) else author


def _place(files: Iterable[_File]) -> list[_File]:
    """Give files paths that every disk can hold side by side, whatever it takes for the same name."""
    files = list(files)
    taken = {_fold(str(parent)) for file in files for parent in PurePosixPath(file.path).parents}
    placed: list[_File] = []
    for file in files:
        path = next(name for name in names_like(file.path) if _fold(name) not in taken)
        taken.add(_fold(path))
        placed.append(_File(path, file.record))
    return placed


def _fold(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


# -- writing


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def open(self, path: str, modified_ms: int) -> Iterator[IO[bytes]]:
        file = self._root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("xb") as stream:
            yield stream
        os.utime(file, ns=(modified_ms * 1_000_000, modified_ms * 1_000_000))


class _Zip:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    @contextmanager
    def open(self, path: str, modified_ms: int) -> Iterator[IO[bytes]]:
        when = time.localtime(modified_ms / 1000)[:6]
        info = zipfile.ZipInfo(path, max(_EARLIEST, when))
        info.compress_type = zipfile.ZIP_DEFLATED
        with self._archive.open(info, "w", force_zip64=True) as stream:
            yield stream


@contextmanager
def _opened(target: Path) -> Iterator[_Folder | _Zip]:
    """Open where to write, for nobody else to read; a zip is there when it is whole."""
    if target.suffix != ".zip":
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield _Folder(target)
        return
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w+b") as file, zipfile.ZipFile(file, "w") as archive:
            yield _Zip(archive)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _write(output: _Folder | _Zip, store: Store, vault: str, data: Path, file: _File) -> bool:
    """Write one file; return False if its content cannot be read, or is not what was stored."""
    content = _content(store, vault, data, file.record)
    if content is None:
        return False
    with content, output.open(file.path, file.record.modified_at or file.record.received_at) as stream:
        shutil.copyfileobj(content, stream, _CHUNK)
    return True


def _content(store: Store, vault: str, data: Path, record: Record) -> IO[bytes] | None:
    if record.blob is None:
        version = store.version(vault, record.key, record.dot)
        return None if version is None or version.change.value is None else BytesIO(version.change.value.encode())
    try:
        blob = blob_path(data, record.blob.sha256).open("rb")
    except FileNotFoundError:
        return None
    if hashlib.file_digest(blob, "sha256").hexdigest() != record.blob.sha256:
        blob.close()
        return None
    blob.seek(0)
    return blob
