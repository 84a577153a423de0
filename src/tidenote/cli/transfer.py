"""`tidenote export` and `tidenote import`: plain files out of a vault, and into one."""

from __future__ import annotations

import secrets
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import typer

from tidenote.cli import console
from tidenote.cli.local import local_server, trust_of
from tidenote.cli.moments import HELP as TIME_HELP
from tidenote.cli.past import moment
from tidenote.cli.progress import bar
from tidenote.config import SyncConfig, load_server_config
from tidenote.core.keys import path_of_key
from tidenote.wire.messages import DEFAULT_VAULT

PATIENCE_S: Final = 600.0
"""How long it may take until everything that the vault has is known."""

LEFT_OUT: Final = 4
"""The exit status if the server refused something."""

MAX_NAMED: Final = 20
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
    console.say(f"{target}: {console.counted(done.files, 'file', 'files')} of vault {vault}")
    if not done.files and not done.damaged:
        console.say(f"nothing was in it{' at that time' if at else ' yet'}")
    _remark("has", "have", "versions that nobody has settled yet; they lie beside the note", done.unsettled)
    _remark("is", "are", "older than asked for: the history keeps nothing later from before then", done.gone)
    _remark("is", "are", "missing: the history keeps nothing of that time", done.missing)
    _remark("is", "are", "left out: the store is damaged there; look for it in a backup", done.damaged)
    if done.damaged:
        raise typer.Exit(1)


def import_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder; it is only read.")],
    vault: Annotated[str, typer.Option(metavar="NAME", help="The vault.")] = DEFAULT_VAULT,
    hidden: Annotated[bool, typer.Option("--hidden", help="Hidden files and folders, too.")] = False,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="The data folder of the running server.")] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="A settings file.")] = None,
) -> None:
    """Bring the files of a folder into a vault, once. Nothing is overwritten. Run it on the server's machine.

    To keep the folder and the vault the same from then on, use `tidenote sync` instead.
    """
    folder = console.existing_folder(folder)
    console.log_to_stderr("ERROR", but="tidenote.client")
    console.run(_import(folder, vault, data, config, hidden=hidden))


async def _import(folder: Path, vault: str, data: Path | None, config: Path | None, *, hidden: bool) -> int | None:
    from tidenote.client.client import SyncClient
    from tidenote.vault.ignore import IgnoreRules
    from tidenote.vault.importer import import_folder

    server = local_server(data, config)
    author = f"import-{secrets.token_hex(4)}"
    settings = SyncConfig(
        device_id=author,
        sync_endpoint=f"ws{server.url.removeprefix('http')}/ws/sync",
        vault=vault,
        token=server.token,
    )
    with TemporaryDirectory(prefix="tidenote-") as room, bar("bringing files in") as step:
        async with SyncClient(settings, Path(room) / "journal.db", trust=trust_of(server)) as client:
            await client.caught_up(PATIENCE_S)
            done = await import_folder(folder, Path(room) / "copy", client, IgnoreRules(hidden=hidden), step=step)
            await client.flush()
            refused = {path_of_key(parked.key): parked.message for parked in client.status().parked}
    new = console.counted(done.written, "file is", "files are")
    console.say(f"{folder}: {new} new in vault {vault}, {console.counted(done.same, 'was', 'were')} there already")
    for path, name in done.beside.items():
        console.say(f"  {path} is there with another text: this one is {name}")
    for path, reason in {**done.skipped, **refused}.items():
        console.say(f"  {path} was left out: {reason}")
    _remark("is", "are", "left out: hidden (--hidden brings it in) or ignored", done.ignored)
    if done.written:
        console.say(f"`tidenote undo --device {author} --since '1 hour ago'` in a synced folder takes this back")
    return LEFT_OUT if refused else None


def _remark(one: str, many: str, what: str, notes: list[str]) -> None:
    if notes:
        console.say(f"{console.counted(len(notes), one, many)} {what}: {console.named(notes, MAX_NAMED)}")
