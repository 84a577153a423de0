"""`tidenote export`: plain files out of a vault."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tidenote.cli import console
from tidenote.cli.moments import HELP as TIME_HELP
from tidenote.cli.past import moment
from tidenote.cli.progress import bar
from tidenote.config import load_server_config
from tidenote.wire.messages import DEFAULT_VAULT

MAX_NAMED = 20
"""How many notes a remark names before it counts the rest."""


def export(
    target: Annotated[Path, typer.Argument(metavar="DIR|FILE.zip", help="A new folder, or a new zip file.")],
    at: Annotated[str | None, typer.Option(metavar="TIME", help=f"As the vault was then. {TIME_HELP}")] = None,
    vault: Annotated[str, typer.Option(metavar="NAME", help="The vault.")] = DEFAULT_VAULT,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="The server's data folder.")] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="A settings file.")] = None,
) -> None:
    """Write all notes of a vault as plain files. Run it on the server's machine, any time."""
    from tidenote.server.export import export as write

    at_ms = moment(at) if at else None
    folder = load_server_config({"data_dir": data}, file=config).data_dir
    with bar("writing files") as step:
        done = write(folder, target.absolute(), vault=vault, at_ms=at_ms, step=step)
    console.say(f"{target}: {done.files} files of vault {vault}")
    _remark("have versions that nobody has settled yet; they lie beside them", done.unsettled)
    _remark("are older than asked for: the history keeps nothing later from before then", done.gone)
    _remark("are missing: the history keeps nothing of them from then", done.missing)


def _remark(what: str, notes: list[str]) -> None:
    if notes:
        named = ", ".join(notes[:MAX_NAMED]) + (f" and {len(notes) - MAX_NAMED} more" if notes[MAX_NAMED:] else "")
        console.say(f"{len(notes)} {what}: {named}")
