"""`tidenote status`, `pause`, `resume`: a folder's daemon leaves files for us, and we leave files for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from tidenote.cli import console
from tidenote.cli.holds import by_kind
from tidenote.cli.linked import Folder, fail_unlinked
from tidenote.errors import TidenoteError

if TYPE_CHECKING:
    from tidenote.vault.folder import FolderStatus, HeldPath

EXIT_STATUS: Final = {"synced": 0, "pending": 3, "attention": 4, "paused": 4, "offline": 5, "stopped": 6}
"""State -> the exit status of `tidenote status`; scripts rely on it."""

MAX_LISTED: Final = 5
"""How many paths are listed for people, for each reason; `--json` has them all."""


def status(
    folder: Folder = Path(),
    as_json: console.AsJson = False,
) -> None:
    """Say how a folder stands. Exits with 0 in sync, 3 pending, 4 needs you, 5 offline, 6 no daemon runs."""
    from tidenote.vault.folder import FolderStatus, daemon_runs, read_status

    folder = linked_folder(folder)
    found = read_status(folder) or FolderStatus("stopped")
    if not daemon_runs(folder):
        found.state = "stopped"
    if as_json:
        console.say_json(found)
    else:
        for line in describe(folder, found, time.time()):
            console.say(line)
    raise typer.Exit(EXIT_STATUS.get(found.state, EXIT_STATUS["attention"]))


def pause(folder: Folder = Path()) -> None:
    """Let a folder's daemon rest: nothing is sent or written until `tidenote resume`."""
    from tidenote.vault.folder import daemon_runs
    from tidenote.vault.folder import pause as leave

    folder = linked_folder(folder)
    leave(folder)
    when = "" if daemon_runs(folder) else "; no daemon runs, the next one will wait"
    console.say(f"{folder} is paused{when}. `tidenote resume` lets it go on.")


def resume(folder: Folder = Path()) -> None:
    """Let a paused folder's daemon go on."""
    from tidenote.vault.folder import daemon_runs
    from tidenote.vault.folder import resume as remove

    folder = linked_folder(folder)
    remove(folder)
    when = "" if daemon_runs(folder) else f", as soon as `tidenote sync {console.typed(folder)}` runs"
    console.say(f"{folder} goes on{when}.")


def linked_folder(folder: Path) -> Path:
    """Return the absolute path of a folder that was synced before.

    Raises:
        typer.Exit: it was not, after saying so.
    """
    from tidenote.core.keys import STATE_FOLDER

    folder = console.existing_folder(folder)
    if not (folder / STATE_FOLDER).is_dir():
        fail_unlinked(folder)
    return folder


def describe(folder: Path, status: FolderStatus, now_s: float) -> Iterator[str]:
    """Yield what a person wants to know, the most important first.

    Args:
        folder: whose status it is.
        status: as the daemon left it.
        now_s: seconds since 1970.
    """
    yield f"{folder}: {_headline(folder, status)}"
    if status.device_id:
        files = console.counted(status.files, "file", "files")
        yield f"  {status.device_id} in vault {status.vault} on {status.endpoint}, {files}"
    if status.last_confirmed_at is not None:
        yield f"  last confirmed by the server {_ago(now_s - status.last_confirmed_at / 1000)}"
    if status.pending and status.state != "pending":
        yield f"  {console.counted(status.pending, 'change waits', 'changes wait')} to be sent"
    yield from (f"  {reason}" for reason in reasons(folder, status))


def reasons(folder: Path, status: FolderStatus) -> Iterator[str]:
    """Yield what waits for a person, one line a reason, and what to do about it."""
    if status.conflicts:
        notes = console.counted(status.conflicts, "note has", "notes have")
        yield f"{notes} concurrent versions; `tidenote conflicts list {console.typed(folder)}` names them"
    for title, paths in (("held", status.held), ("refused", status.refused), ("not synced", status.skipped)):
        yield from _paths(title, paths)
    if by_kind(status):
        yield f"`tidenote holds list {console.typed(folder)}` says what you can decide about what is held"


def _headline(folder: Path, status: FolderStatus) -> str:
    if status.state == "synced":
        left_out = console.counted(len(status.skipped), "path", "paths")
        return f"in sync, but for {left_out}" if status.skipped else "in sync"
    if status.state == "pending":
        waiting = console.counted(status.pending, "change is", "changes are")
        return f"syncing, {waiting} not yet confirmed" if status.pending else "syncing"
    if status.state == "attention":
        return "needs you"
    if status.state == "paused":
        return f"paused: {status.paused or 'by you'}"
    if status.state == "offline":
        return f"offline: {status.last_error or 'no connection'}"
    if status.connection == "stopped" and status.last_error:
        # The server would have it no more: another start alone ends the same way.
        return f"no daemon runs: {console.explain(TidenoteError(status.last_error, status.last_error_code))}"
    return f"no daemon runs; start one with `tidenote sync {console.typed(folder)}`"


def _paths(title: str, paths: list[HeldPath]) -> Iterator[str]:
    """Yield one line a reason, with the first paths that it holds for."""
    by_reason: dict[str, list[str]] = {}
    for held in paths:
        by_reason.setdefault(held.reason or held.why, []).append(held.path)
    for reason, names in by_reason.items():
        yield f"{title}: {console.named(names, MAX_LISTED)}: {reason}"


def _ago(seconds: float) -> str:
    for size, one, many in ((86400, "day", "days"), (3600, "h", "h"), (60, "min", "min")):
        if seconds >= size:
            return f"{console.counted(round(seconds / size), one, many)} ago"
    return f"{max(0, seconds):.0f} s ago"
