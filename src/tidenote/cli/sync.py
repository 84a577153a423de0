"""`tidenote sync`: its flags. What they do is syncing.py's matter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tidenote.cli import console


def sync(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder; it must exist.")],
    link: Annotated[
        str | None, typer.Option(metavar="LINK", help="A one-time link from `tidenote pair`: joins with it.")
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The server: ws://HOST:PORT/ws/sync [ws://127.0.0.1:8787/ws/sync]."),
    ] = None,
    device_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Who this device is, unlike any other [from the host's name].")
    ] = None,
    token: Annotated[str | None, typer.Option(help="This device's token; better in TIDENOTE_TOKEN.")] = None,
    vault: Annotated[str | None, typer.Option(metavar="NAME", help="The vault to sync [main].")] = None,
    once: Annotated[bool, typer.Option("--once", help="Sync until both sides are the same, then end.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")] = False,
    poll: Annotated[
        bool | None, typer.Option("--poll/--no-poll", help="Ask now and then instead of keeping a WebSocket open.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Join a folder that has files without asking.")] = False,
    confirm: Annotated[
        bool, typer.Option("--confirm-deletes", help="Carry out deletions that were held because they were many.")
    ] = False,
    hidden: Annotated[
        bool | None, typer.Option("--hidden/--no-hidden", help="Sync hidden files and folders, too.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Sync only what matches; may be repeated; '' for all.")
    ] = None,
    except_: Annotated[
        list[str] | None, typer.Option("--except", metavar="GLOB", help="Leave out what matches; may be repeated.")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="A settings file.")] = None,
) -> None:
    """Keep a folder and a vault the same until Ctrl-C. The folder remembers everything for the next time."""
    from tidenote.cli import syncing

    folder = console.existing_folder(folder)
    if link is not None and (endpoint or token or vault):
        console.fail("a link says where and what; leave --endpoint, --token and --vault out", console.USAGE)
    syncing.run(
        folder,
        {"sync_endpoint": endpoint, "device_id": device_id, "token": token, "vault": vault},
        syncing.remembered_flags(folder).but(hidden=hidden, only=only, except_=except_, poll=poll),
        link=link,
        config=config,
        once=once,
        dry_run=dry_run,
        yes=yes,
        confirm=confirm,
    )
