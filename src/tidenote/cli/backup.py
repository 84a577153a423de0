"""`tidenote backup` and `tidenote restore-backup`: a server's data folder as one file, and back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidenote.cli import console
from tidenote.cli.progress import bar
from tidenote.config import load_server_config

if TYPE_CHECKING:
    from tidenote.server.backup import Manifest

Data = Annotated[Path | None, typer.Option(metavar="DIR", help="The server's data folder.")]
Settings = Annotated[Path | None, typer.Option(metavar="FILE", help="A settings file.")]


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; it must not exist.")],
    data: Data = None,
    config: Settings = None,
) -> None:
    """Write everything that a server keeps to one file, and verify it. Run it on the server's machine, any time."""
    from tidenote.server.backup import back_up

    folder = load_server_config({"data_dir": data}, file=config).data_dir
    with bar("backing up", of_bytes=True) as step:
        made = back_up(folder, file, step=step)
    console.say(f"{file}: verified, {describe(made)}")


def restore_backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")],
    data: Data = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Set aside what the data folder holds now; it is renamed, not deleted.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only verify the backup, and say what it holds.")] = False,
    config: Settings = None,
) -> None:
    """Make a data folder of a backup. Stop the server first.

    Devices then compare everything with it, offer what the backup lacks, and delete nothing.
    """
    from tidenote.server.backup import restore, verify

    if dry_run:
        console.say(f"{file}: verified, {describe(verify(file))}")
        return
    folder = load_server_config({"data_dir": data}, file=config).data_dir
    with bar("restoring", of_bytes=True) as step:
        restored = restore(file, folder, replace=replace, step=step)
    console.say(f"{folder}: restored, {describe(restored.manifest)}")
    if restored.set_aside:
        console.say(f"What the folder held before is in {restored.set_aside}; remove it when you no longer need it.")
    if not restored.keeps_revoked:
        console.say("Who was revoked since the backup is let in again: see `tidenote devices`, `tidenote revoke`.")
    console.say("Start the server: devices offer what the backup lacks, and delete nothing.")


def describe(manifest: Manifest) -> str:
    """Return what a backup holds, in a few words."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(manifest.created_at / 1000))
    vaults = ", ".join(f"{vault.name} up to {vault.clock}" for vault in manifest.vaults)
    attachments = console.counted(len(manifest.blobs), "attachment", "attachments")
    return f"{manifest.size / 2**20:.1f} MiB of {when}: {vaults}; {attachments}"
