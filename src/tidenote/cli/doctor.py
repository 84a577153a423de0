"""`tidenote doctor`: look for what commonly goes wrong, change nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import typer

from tidenote import __version__
from tidenote.cli import console
from tidenote.cli.linked import Folder, not_synced
from tidenote.errors import TidenoteError

if TYPE_CHECKING:
    from tidenote.config import SyncConfig

MIN_FREE_BYTES: Final = 200 * 2**20
"""Less free space than this is worth a warning."""

OTHER_SYNC: Final = {
    "Dropbox": "Dropbox",
    "Mobile Documents": "iCloud Drive",
    "OneDrive": "OneDrive",
    "Google Drive": "Google Drive",
    ".stfolder": "Syncthing",
}
"""Names that give away that another tool syncs a folder -> the tool."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; `text` says what to do if it is no `ok`."""

    level: Literal["ok", "warning", "problem"]
    text: str


def doctor(folder: Folder = Path()) -> None:
    """Look for what commonly goes wrong with a folder and its server. Exits with 1 if there is a problem."""
    findings = list(examine(folder.absolute()))
    for finding in findings:
        console.say(f"{finding.level:>7}  {finding.text}")
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(1)


def examine(folder: Path) -> Iterator[Finding]:
    """Yield what the checks find; later checks need what earlier ones found to be well."""
    yield Finding("ok", f"Tidenote {__version__}, Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}")
    for check in (_check_folder, _check_space, _check_other_sync, _check_watches, _check_link):
        found = list(check(folder))
        yield from found
        if check is _check_folder and any(finding.level == "problem" for finding in found):
            return


def _check_folder(folder: Path) -> Iterator[Finding]:
    if not folder.is_dir():
        yield Finding("problem", f"{folder} is no folder; is its disk mounted, and the path right?")
    elif not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("problem", f"{folder} cannot be read and written by you; check who owns it")
    else:
        yield Finding("ok", f"{folder} can be read and written")


def _check_space(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    text = f"{free / 2**30:.1f} GiB are free on the folder's disk"
    yield Finding("ok", text) if free >= MIN_FREE_BYTES else Finding("warning", f"only {text}; free some")


def _check_other_sync(folder: Path) -> Iterator[Finding]:
    for name, tool in OTHER_SYNC.items():
        if name in folder.parts or (folder / name).exists():
            text = f"{tool} seems to sync this folder, too; two tools on one folder make copies of each other's work"
            yield Finding("warning", text)


def _check_watches(folder: Path, limit_file: Path = Path("/proc/sys/fs/inotify/max_user_watches")) -> Iterator[Finding]:
    """Compare the folders to watch with how many Linux lets a user watch."""
    if not limit_file.exists():
        return
    limit = int(limit_file.read_text(encoding="ascii"))
    folders = sum(1 for _ in os.walk(folder))
    if folders > limit // 2:
        yield Finding(
            "warning",
            f"{folders} folders are to be watched, and the system allows {limit} watches; changes that go unseen "
            "come with the next full look; raise fs.inotify.max_user_watches with sysctl",
        )
    else:
        watched = console.counted(folders, "folder", "folders")
        yield Finding("ok", f"{watched} to watch, the system allows {limit} watches")


def _check_link(folder: Path) -> Iterator[Finding]:
    """Look at the folder's own state, then at the server that it names."""
    from tidenote.cli.status import reasons
    from tidenote.config import load_sync_config
    from tidenote.core.keys import STATE_FOLDER
    from tidenote.vault.folder import JOURNAL_FILE, daemon_runs, read_link, read_status

    link = read_link(folder)
    if link is None:
        yield Finding("problem", not_synced(folder))
        return
    if daemon_runs(folder):
        yield Finding("ok", "a daemon runs")
    else:
        yield Finding("warning", f"no daemon runs; start one with `tidenote sync {console.typed(folder)}`")
    yield _check_journal(folder / STATE_FOLDER / JOURNAL_FILE)
    status = read_status(folder)
    for line in reasons(folder, status) if status else ():
        yield Finding("warning", line)
    try:
        config = load_sync_config(link)
    except TidenoteError as error:
        yield Finding("problem", console.explain(error))
        return
    try:
        asyncio.run(_greet(config))
    except TidenoteError as error:
        yield Finding("problem", f"{config.sync_endpoint}: {console.explain(error)}")
    else:
        yield Finding("ok", f"{config.sync_endpoint} answers and lets this device in")


def _check_journal(path: Path) -> Finding:
    """Look at the journal without changing it, even while a daemon has it open."""
    if not path.exists():
        return Finding("warning", "there is no journal yet; the next sync makes one and deletes nothing")
    try:
        database = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        try:
            verdict = database.execute("PRAGMA integrity_check(1)").fetchone()[0]
        finally:
            database.close()
    except sqlite3.Error as error:
        verdict = str(error)
    if verdict == "ok":
        return Finding("ok", "the journal is intact")
    return Finding("problem", f"the journal is damaged ({verdict}); the next sync sets it aside and deletes nothing")


async def _greet(config: SyncConfig) -> None:
    """Ask for something that needs the token, the device id and the vault to be right, and costs nothing."""
    from tidenote.client.rest import Rest

    async with Rest(config) as rest:
        await rest.fetch([])
