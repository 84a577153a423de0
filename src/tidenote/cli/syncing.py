"""Joins a folder to a vault and keeps the two the same: what `tidenote sync` does. Its flags are in sync.py."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import typer

from tidenote.cli import console, preview
from tidenote.cli.progress import Meter
from tidenote.client.client import SyncClient
from tidenote.client.journal import BrokenJournal
from tidenote.client.pairing import Link, leave, parse_link, redeem
from tidenote.config import ENVIRONMENT_PREFIX, SyncConfig, load_sync_config
from tidenote.core.keys import STATE_FOLDER, key_of_path
from tidenote.core.version import is_server
from tidenote.errors import ConfigError, TidenoteError, UnreachableError
from tidenote.vault.daemon import FolderDaemon, FolderReplaced, FolderSettings
from tidenote.vault.folder import (
    JOURNAL_FILE,
    LINK_FILE,
    Decided,
    FolderStatus,
    StateFolder,
    blob_finder,
    check_nothing_nested,
    confirm_deletes,
    daemon_runs,
    read_link,
)

FLAGS_FILE: Final = "flags.json"
"""Where the folder remembers the flags that say what syncs, so that `tidenote sync DIR` alone goes on as before."""

REACH_TIMEOUT_S: Final = 10.0
"""How long `--once` and `--dry-run` wait for a server that does not answer at all."""

RESTART_PAUSE_S: Final = 1.0
"""How long to wait before a folder that was replaced, or whose journal broke, is opened again."""


class Flags(msgspec.Struct, frozen=True):
    """The flags that a folder remembers."""

    hidden: bool = False
    only: tuple[str, ...] = ()
    except_: tuple[str, ...] = ()
    poll: bool = False

    def but(
        self, *, hidden: bool | None, only: list[str] | None, except_: list[str] | None, poll: bool | None
    ) -> Flags:
        """Return these flags with those replaced that were given now; an empty pattern takes all patterns back."""
        return Flags(
            self.hidden if hidden is None else hidden,
            self.only if only is None else tuple(filter(None, only)),
            self.except_ if except_ is None else tuple(filter(None, except_)),
            self.poll if poll is None else poll,
        )


def remembered_flags(folder: Path) -> Flags:
    """Return the flags that a folder was last synced with."""
    try:
        return msgspec.json.decode((folder / STATE_FOLDER / FLAGS_FILE).read_bytes(), type=Flags)
    except (OSError, msgspec.DecodeError):
        return Flags()


def run(
    folder: Path,
    given: Mapping[str, object],
    flags: Flags,
    *,
    link: str | None,
    config: Path | None,
    once: bool,
    dry_run: bool,
    yes: bool,
    confirm: bool,
) -> None:
    """Do what `tidenote sync` was asked for.

    Args:
        folder: an existing one, absolute.
        given: settings that were given as flags, by field name; None if not.
        flags: what syncs.
        link: a one-time link to join with, if one was given.
        config: a settings file.
        once: whether to end when both sides are the same.
        dry_run: whether only to tell what would be done.
        yes: whether to join a folder with files without asking.
        confirm: whether to carry out deletions that are held.

    Raises:
        TidenoteError: it cannot be synced.
        typer.Exit: with the status of the command, if it is not 0.
    """
    check_nothing_nested(folder)
    remembered = read_link(folder)
    asks = remembered is None and not yes and any(path.name != STATE_FOLDER for path in folder.iterdir())
    given = {**given, "enable_websocket": False if flags.poll else None}
    joined = None
    if link is not None:
        if dry_run:
            console.fail("a link is good once: leave --dry-run out; you are asked before a folder joins", console.USAGE)
        if asks:
            _check_someone_answers(folder, has_link=True)
        joined = _join(link, given, remembered, config)
        given |= joined.settings
    settings = _settings(given, remembered, config)
    _check_still_same(folder, settings, remembered, joined)
    if confirm and not dry_run and daemon_runs(folder):
        confirm_deletes(folder)
        console.say(f"the daemon of {folder} carries out the deletions that it held")
        return
    console.log_to_stderr("ERROR", but="tidenote.client")
    how = FolderSettings(flags.hidden, flags.only, flags.except_, confirm)
    if dry_run:
        _preview(folder, settings, how, preview.lines)
        return
    if asks:
        try:
            _ask(folder, settings, how)
        except BaseException:
            if joined:
                joined.give_up()
            raise
    if once:
        console.run(_once(folder, settings, flags, how))
    else:
        console.run(_keep(folder, settings, flags, how), interrupted=0)


# -- before anything moves


@dataclass(frozen=True, slots=True)
class _Joined:
    """A link that was used up, and the settings that came of it."""

    link: Link
    settings: dict[str, object]

    def give_up(self) -> None:
        """Take back that this is a device now; if that fails, it stays in the server's list until it is revoked."""
        with suppress(UnreachableError):
            asyncio.run(leave(self.link, str(self.settings["token"])))


def _join(
    link: str, given: Mapping[str, object], known: Mapping[str, str | None] | None, config: Path | None
) -> _Joined:
    """Use a link up: become a device, or the one again that this folder was."""
    parsed = parse_link(link)
    wanted = str((known or {}).get("device_id") or given["device_id"] or _host_name())
    load_sync_config({"device_id": wanted}, file=config)
    token = (known or {}).get("token") if (known or {}).get("sync_endpoint") == parsed.sync_endpoint else None
    made = asyncio.run(redeem(parsed, wanted, token))
    console.say(f"this is {made.device_id} now, {made.role} of {made.vault or 'every vault'}")
    return _Joined(
        parsed,
        {
            "sync_endpoint": parsed.sync_endpoint,
            "device_id": made.device_id,
            "token": made.token,
            "vault": made.vault or (known or {}).get("vault"),
        },
    )


def _settings(given: Mapping[str, object], link: Mapping[str, str | None] | None, config: Path | None) -> SyncConfig:
    """Return the device's settings: what was said now, else what the folder remembers, else the defaults."""
    merged = dict(given)
    for name, remembered in (link or {}).items():
        if merged.get(name) is None and not os.environ.get(ENVIRONMENT_PREFIX + name.upper()):
            merged[name] = remembered
    try:
        return load_sync_config(merged, file=config)
    except ConfigError:
        if merged["device_id"] is not None:
            raise
        # Either nobody has named this device yet, or something else is wrong, which is then said again.
        return load_sync_config({**merged, "device_id": _new_device_id()}, file=config)


def _new_device_id() -> str:
    """Return an id that tells people which machine it is, and that no other machine has."""
    return f"{_host_name()}-{secrets.token_hex(2)}"


def _host_name() -> str:
    """Return an id that tells people which machine it is."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", platform.node().partition(".")[0]).strip("-")[:40] or "device"
    if is_server(name):
        name = f"host-{name}"
    return name


def _check_still_same(
    folder: Path, settings: SyncConfig, remembered: Mapping[str, str | None] | None, joined: _Joined | None
) -> None:
    """Check that a folder goes on as the device, and with the vault, that it began with.

    Raises:
        typer.Exit: it does not, after saying so.
    """
    for name, flag, pair_flag in (("device_id", "--device-id", "--device"), ("vault", "--vault", "--vault")):
        known = (remembered or {}).get(name)
        if not known or known == getattr(settings, name):
            continue
        step = f"leave {flag} out"
        if joined:
            joined.give_up()
            step = f"make a link with `tidenote pair {pair_flag} {known}`"
        anew = f"or remove {folder / STATE_FOLDER} to join anew, which deletes no notes"
        console.fail(f"{folder} syncs with {flag} {known}: {step}, {anew}", console.USAGE)


def _check_someone_answers(folder: Path, *, has_link: bool = False) -> None:
    """Check that somebody can be asked whether a folder with files in it joins.

    Raises:
        typer.Exit: nobody can, after saying so.
    """
    if not console.is_interactive():
        # A folder with a journal was synced, but what said with whom is lost.
        was_synced = (folder / STATE_FOLDER / JOURNAL_FILE).exists()
        why = f"no longer says what it syncs with ({LINK_FILE} is gone)" if was_synced else "was never synced"
        # A link is good once: it cannot be spent on a look.
        look = "" if has_link else ", --dry-run shows what it would do"
        console.fail(f"{folder} has files and {why}; --yes joins it without asking{look}", console.USAGE)


def _ask(folder: Path, settings: SyncConfig, how: FolderSettings) -> None:
    """Show what joining a folder with files in it would do, and ask."""
    _check_someone_answers(folder)
    console.say(f"{folder} joins vault {settings.vault} on {settings.sync_endpoint} as {settings.device_id}:")
    _preview(folder, settings, how, preview.summary)
    if not typer.confirm("Nothing is deleted. Join?", default=True):
        console.fail("nothing was done", 1)


def _preview(folder: Path, settings: SyncConfig, how: FolderSettings, words: preview.Words) -> None:
    """Print what a sync would do first; a folder that was never synced stays as it was."""
    is_new, is_linked = not (folder / STATE_FOLDER).exists(), read_link(folder) is not None

    async def look() -> None:
        with Meter() as meter:
            async with _opened(folder, settings, how, meter) as daemon:
                await _reach(daemon.client)
                plan = await daemon.dry_run()

                def is_taken(path: str) -> bool:
                    winner = daemon.client.journal.winner(key_of_path(path))
                    return winner is not None and not winner.deleted

                told = list(words(plan, is_taken))
        for line in told or ["nothing is to be done"]:
            console.say(line)

    try:
        console.run(look())
    finally:
        if is_new:
            shutil.rmtree(folder / STATE_FOLDER, ignore_errors=True)
        elif not is_linked:
            (folder / STATE_FOLDER / LINK_FILE).unlink(missing_ok=True)


# -- syncing


def decide_once(folder: Path, decided: Decided) -> None:
    """Sync once as ever, and do what a person decided about what is held.

    Raises:
        TidenoteError: it cannot be synced.
        typer.Exit: with the status of the command, if it is not 0.
    """
    flags = remembered_flags(folder)
    given = {"device_id": None, "enable_websocket": False if flags.poll else None}
    settings = _settings(given, read_link(folder), None)
    console.log_to_stderr("ERROR", but="tidenote.client")
    how = FolderSettings(flags.hidden, flags.only, flags.except_)
    console.run(_once(folder, settings, flags, how, decided))


async def _once(
    folder: Path, settings: SyncConfig, flags: Flags, how: FolderSettings, decided: Decided | None = None
) -> int:
    """Sync once, and say what that took."""
    with Meter() as meter:
        async with _opened(folder, settings, how, meter, meter.told) as daemon:
            waited = daemon.client.status().pending
            _remember(folder, flags)
            await _reach(daemon.client)
            report = await daemon.once(decided=decided)
            parked = daemon.client.status().parked
    done = console.counted(report.operations, "operation", "operations")
    console.say(f"{done}: {report.sent} sent, {report.received} received")
    if waited:
        console.say(f"{console.counted(waited, 'change', 'changes')} had waited since an earlier sync")
    for path, reason in report.skipped:
        console.say(f"not synced: {path}: {reason}")
    for held in report.held:
        console.say(f"held: {held.path}: {held.reason or held.why.value}")
    for refused in parked:
        console.say(f"refused: {refused.key}: {refused.message}")
    return console.NEEDS_YOU if report.held or parked else 0


async def _reach(client: SyncClient) -> None:
    """Wait until the server has answered once: someone who waits for a result wants to know soon that none will come.

    Raises:
        UnreachableError: it has not within `REACH_TIMEOUT_S`.
    """
    try:
        async with asyncio.timeout(REACH_TIMEOUT_S):
            # A client that has stopped tells why when it is asked for anything.
            while client.status().state not in ("online", "polling", "stopped"):
                await client.news()
    except TimeoutError:
        raise UnreachableError(client.status().last_error or "the server does not answer") from None


async def _keep(folder: Path, settings: SyncConfig, flags: Flags, how: FolderSettings) -> int:
    """Sync until cancelled."""
    announcer = _Announcer(folder)
    while True:
        try:
            with Meter() as meter:
                await _keep_while_well(folder, settings, flags, how, meter, announcer)
        except (FolderReplaced, BrokenJournal) as error:
            console.warn(f"{error.message}; starting again")
            await asyncio.sleep(RESTART_PAUSE_S)


async def _keep_while_well(
    folder: Path, settings: SyncConfig, flags: Flags, how: FolderSettings, meter: Meter, announcer: _Announcer
) -> None:
    """Sync until cancelled, or until only a person or a fresh start can help.

    Raises:
        FolderReplaced: a fresh start helps; so it does with `BrokenJournal`.
        TidenoteError: the server or the disk will not have us.
    """
    stopped = asyncio.Event()

    def tell(status: FolderStatus) -> None:
        meter.told(status)
        announcer.tell(status)
        if status.connection == "stopped":
            stopped.set()

    async with _opened(folder, settings, how, meter, tell) as daemon:
        _remember(folder, flags)
        tasks = (asyncio.create_task(daemon.run(), name="tidenote-daemon"), asyncio.create_task(stopped.wait()))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0].done():
                await tasks[0]
            why = daemon.client.status()
            raise TidenoteError(why.last_error or "the connection was stopped", why.last_error_code)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


@asynccontextmanager
async def _opened(
    folder: Path,
    settings: SyncConfig,
    how: FolderSettings,
    meter: Meter,
    tell: Callable[[FolderStatus], None] = lambda _: None,
) -> AsyncIterator[FolderDaemon]:
    """Open everything that syncing a folder takes.

    Raises:
        TidenoteError: the folder or its journal cannot be used.
    """
    with _ToldFolder(folder, tell) as state:
        journal = state.open_journal()
        try:
            async with (
                SyncClient(settings, journal, find_blob=blob_finder(state.root, journal)) as client,
                FolderDaemon(state, client, how, meter.step) as daemon,
            ):
                yield daemon
        finally:
            journal.close()


def _remember(folder: Path, flags: Flags) -> None:
    """Keep the flags for the next time."""
    target = folder / STATE_FOLDER / FLAGS_FILE
    part = target.with_name(f"{FLAGS_FILE}.part")
    part.write_bytes(msgspec.json.encode(flags))
    part.replace(target)


class _ToldFolder(StateFolder):
    """A folder whose status goes not only to its file, but also to us."""

    def __init__(self, root: Path, tell: Callable[[FolderStatus], None]) -> None:
        super().__init__(root)
        self._tell = tell

    def write_status(self, status: FolderStatus) -> None:
        """Tell other processes, and us."""
        super().write_status(status)
        self._tell(status)


class _Announcer:
    """Prints a line whenever a folder's state becomes another one that lasts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last = ""

    def tell(self, status: FolderStatus) -> None:
        """Print a line, if there is news."""
        state, text = _headline(self._folder, status)
        if text and (text if state == "attention" else state) != self._last:
            self._last = text if state == "attention" else state
            # Who closed the terminal, or the other end of a pipe, did not ask that the folder stops to sync.
            with suppress(OSError):
                console.say(text)


def _headline(folder: Path, status: FolderStatus) -> tuple[str, str]:
    """Return what a state is called, and a line for people; none for what passes by itself."""
    if status.state == "synced":
        return "synced", f"in sync: {folder}, {console.counted(status.files, 'file', 'files')}"
    if status.state == "paused":
        return f"paused {status.paused}", f"paused: {status.paused}"
    if status.state == "offline" and status.connection != "connecting":
        # Nothing is sent later by a daemon that the server has turned away for good.
        kept = "edits are kept" if status.connection == "stopped" else "edits are kept and sent later"
        return "offline", f"offline: {status.last_error}; {kept}"
    if status.state == "attention":
        counts = ((len(status.held), "held"), (len(status.refused), "refused"), (status.conflicts, "in conflict"))
        text = ", ".join(f"{count} {what}" for count, what in counts if count)
        return "attention", f"needs you: {text}; `tidenote status {console.typed(folder)}` says more"
    return "", ""
