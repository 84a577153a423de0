"""Brings the files of any folder into a vault, once: nothing that is there is overwritten, the folder stays as it is.

What has the same content is left alone. What has a name that is taken by something else goes beside it, as
`todo (imported).md`: a person decides later which to keep.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tidenote.client.client import SyncClient, key_of
from tidenote.core.keys import STATE_FOLDER, key_of_path, marked_path
from tidenote.errors import RefusedChange
from tidenote.vault.bases import Bases
from tidenote.vault.files import RealFiles
from tidenote.vault.ignore import IgnoreRules
from tidenote.vault.plan import DiskEntry
from tidenote.vault.scan import scan_folder


@dataclass(slots=True)
class Imported:
    """What an import did.

    Attributes:
        written: how many files are new in the vault.
        same: how many were there already.
        beside: path -> the name under which it is now, because another content has its own.
        skipped: path -> why it was left out.
        ignored: what the ignore rules leave out, a folder as one with a slash behind it.
    """

    written: int = 0
    same: int = 0
    beside: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)


async def import_folder(
    source: Path, copy: Path, client: SyncClient, rules: IgnoreRules, *, step: Callable[[int, int], object]
) -> Imported:
    """Write every file of a folder that a vault has not to it.

    Args:
        source: the folder; it is only read.
        copy: a new folder for a copy of it, so that all files are of one moment and no link is followed.
        client: of the vault; it has caught up.
        rules: what is left out, besides what its ignore files say.
        step: is told how many files are done, and of how many.

    Raises:
        FolderError, OSError: the folder cannot be read, or not copied.
        StorageError: a disk refuses.
    """
    await asyncio.to_thread(_copy, source, copy)
    with closing(RealFiles(copy)) as files:
        scan = await asyncio.to_thread(scan_folder, files, rules, Bases())
    done = Imported(skipped=dict(scan.skipped), ignored=await asyncio.to_thread(_ignored, copy, scan.rules))
    for number, entry in enumerate(scan.entries.values()):
        step(number, len(scan.entries))
        try:
            await _import(copy, client, entry, done)
        except RefusedChange as refusal:
            done.skipped[entry.path] = refusal.message
    step(len(scan.entries), len(scan.entries))
    return done


async def _import(copy: Path, client: SyncClient, entry: DiskEntry, done: Imported) -> None:
    for path in _names(entry.path):
        there = client.journal.winner(key_of(path))
        if there is None or there.deleted:
            break
        if there.content_hash == entry.content_hash:
            done.same += 1
            return
    await client.put(path, copy / entry.disk_name)
    done.written += 1
    if path != entry.path:
        done.beside[entry.path] = path


def _names(path: str) -> Iterator[str]:
    """Yield a path and others like it, in the order in which they are tried."""
    yield path
    yield marked_path(path, "imported")
    yield from (marked_path(path, f"imported {number}") for number in itertools.count(2))


def _copy(source: Path, copy: Path) -> None:
    """Copy files, folders and links, but no state folder, and nothing below a folder whose name can be in no key.

    Without calling itself: folders may lie deeper in each other than calls can.
    """
    copy.mkdir()
    (copy / STATE_FOLDER).mkdir()
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(source / folder) as entries:
            for entry in entries:
                if entry.name == STATE_FOLDER:
                    continue
                path = f"{folder}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    (copy / path).mkdir()
                    with suppress(RefusedChange):  # the scan tells which
                        key_of_path(path)
                        waiting.append(f"{path}/")
                elif entry.is_symlink() or entry.is_file():
                    shutil.copy2(entry.path, copy / path, follow_symlinks=False)
                else:
                    # A pipe stands for whatever is no file: the scan tells of it.
                    os.mkfifo(copy / path)


def _ignored(copy: Path, rules: IgnoreRules) -> list[str]:
    """Return what the rules leave out, in order."""
    found: list[str] = []
    for folder, folders, files in os.walk(copy):
        above = Path(folder).relative_to(copy)
        out = {name for name in folders if rules.ignored((above / name).as_posix(), folder=True)}
        found += [f"{(above / name).as_posix()}/" for name in out - {STATE_FOLDER}]
        found += [path for name in files if rules.ignored(path := (above / name).as_posix())]
        folders[:] = [name for name in folders if name not in out]
    return sorted(found)
