"""`tidenote service`: have the system run a folder's daemon, with systemd or launchd."""

from __future__ import annotations

import hashlib
import os
import plistlib
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tidenote.cli import console

app = typer.Typer(
    help="Have the system run `tidenote sync DIR` whenever you are logged in.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The synced folder.")]


@dataclass(frozen=True, slots=True)
class Service:
    """What is written for the system, and the commands that make it take notice.

    Attributes:
        file: the definition's place.
        content: the definition.
        start: commands that start it now and at every login.
        stop: commands that stop it for good; a failing one means that it did not run.
        logs: the command that shows what it prints.
    """

    file: Path
    content: bytes
    start: tuple[tuple[str, ...], ...]
    stop: tuple[tuple[str, ...], ...]
    logs: str


@app.command(
    epilog=console.example(
        "tidenote sync ~/Notes --once --endpoint ws://127.0.0.1:8787/ws/sync --device-id laptop",
        "tidenote service install ~/Notes",
    )
)
def install(folder: Folder) -> None:
    """Start syncing a folder now and at every login."""
    folder = console.existing_folder(folder)
    if not str(folder).isprintable():
        console.fail("the folder's path has a control character; rename it for a service", console.USAGE)
    if not (folder / ".tidenote").is_dir():
        console.fail(
            f"{folder} was never synced; run `tidenote sync {console.typed(folder)}` once, a service cannot ask",
            console.USAGE,
        )
    service = service_for(folder)
    service.file.parent.mkdir(parents=True, exist_ok=True)
    service.file.write_bytes(service.content)
    for command in service.start:
        done = _run(command)
        if done.returncode:
            said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
            console.fail(f"{service.file} is written, but `{' '.join(command)}` failed: {said[0]}; run it by hand")
    console.say(f"{folder} is synced now and at every login ({service.file}). Its log: {service.logs}")


@app.command(epilog=console.example("tidenote service remove ~/Notes"))
def remove(folder: Folder) -> None:
    """Stop syncing a folder by itself. The folder and its notes stay as they are."""
    service = service_for(folder.absolute())
    if not service.file.exists():
        console.fail(f"no service is installed for {folder}; look for {service.file.parent}", console.USAGE)
    for command in service.stop:
        _run(command)
    service.file.unlink(missing_ok=True)
    console.say(f"{folder} is no longer synced by itself.")


def service_for(folder: Path, platform: str = sys.platform) -> Service:
    """Return the service of a folder for this system.

    Args:
        folder: absolute.
        platform: as `sys.platform` has it.
    """
    name = f"{re.sub(r'[^A-Za-z0-9]+', '-', folder.name).strip('-') or 'notes'}-{_fingerprint(folder)}"
    command = (sys.executable, "-m", "tidenote", "sync", str(folder))
    if platform == "darwin":
        return _launchd(f"org.tidenote.{name}", command, folder)
    if not platform.startswith("linux"):
        console.fail(f"{platform} has no services that we know; have it run `tidenote sync` at login", console.USAGE)
    return _systemd(f"tidenote-{name}.service", command, folder)


def _systemd(unit: str, command: tuple[str, ...], folder: Path) -> Service:
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    content = f"""\
[Unit]
Description=Tidenote: {_escape(str(folder))}
After=network.target

[Service]
# Wait for a disk that is mounted later: what lies below its place before that is another folder.
ExecStartPre=/usr/bin/env test -d {_quote(str(folder / ".tidenote"))}
ExecStart={" ".join(_quote(word) for word in command)}
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2
Nice=5

[Install]
WantedBy=default.target
"""
    control = ("systemctl", "--user")
    return Service(
        home / "systemd" / "user" / unit,
        content.encode(),
        start=((*control, "daemon-reload"), (*control, "enable", "--now", unit)),
        stop=((*control, "disable", "--now", unit), (*control, "daemon-reload")),
        logs=f"journalctl --user -u {unit}",
    )


def _launchd(label: str, command: tuple[str, ...], folder: Path) -> Service:
    file = Path.home() / "Library" / "LaunchAgents" / f"{label}.plist"
    log = folder / ".tidenote" / "service.log"
    content = plistlib.dumps(
        {
            "Label": label,
            "ProgramArguments": list(command),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ProcessType": "Background",
            "StandardOutPath": str(log),
            "StandardErrorPath": str(log),
        }
    )
    domain = f"gui/{os.getuid()}"
    return Service(
        file,
        content,
        start=(("launchctl", "bootstrap", domain, str(file)),),
        stop=(("launchctl", "bootout", f"{domain}/{label}"),),
        logs=f"tail -f '{log}'",
    )


def _fingerprint(folder: Path) -> str:
    """Return what tells folders of the same name apart."""
    return hashlib.sha256(str(folder).encode()).hexdigest()[:8]


def _quote(word: str) -> str:
    """Return a word of a systemd command line."""
    word = _escape(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{word}"'


def _escape(text: str) -> str:
    """Return text in which systemd sees no specifiers; a unit file has no way to write a line break."""
    return text.replace("%", "%%")


def _run(command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 our own words
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", f"there is no {command[0]} on this system")
