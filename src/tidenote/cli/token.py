"""`tidenote token`: let one more device in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tidenote.cli import console
from tidenote.config import load_server_config
from tidenote.core.keys import check_device_id
from tidenote.errors import RefusedChange


def token(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="The device id that the token is for.")],
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="The server's data folder.")] = None,
    vault: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this vault; may be repeated.")] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="The device may not write.")] = False,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="A settings file.")] = None,
) -> None:
    """Make a token for a device and print it. Run this on the server's machine; a running server notices.

    To revoke a token take its entry out of tokens.toml in the data folder.
    """
    from tidenote.server.auth import ANY, TOKENS_FILE, Tokens

    try:
        check_device_id(device)
    except RefusedChange as refusal:
        console.fail(f"{refusal.message}; choose another name for the device", console.USAGE)
    folder = load_server_config({"data_dir": data}, file=config).data_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = Tokens(folder / TOKENS_FILE).create(device, vault or [ANY], "reader" if read_only else "editor")
    console.say(made)
