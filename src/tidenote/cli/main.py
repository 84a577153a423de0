"""The command `tidenote`: puts the groups of commands together, and turns every failure into one clear line."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tidenote import __version__
from tidenote.cli import (
    admin,
    backup,
    conflicts,
    console,
    demo,
    doctor,
    holds,
    pair,
    past,
    serve,
    service,
    status,
    sync,
    transfer,
    trash,
)
from tidenote.errors import ConfigError

app = typer.Typer(
    name="tidenote",
    help="Keep a folder of Markdown notes the same on all your devices.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.say(f"tidenote {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Keep a folder of Markdown notes the same on all your devices."""


_example = console.example
app.command(
    "serve",
    epilog=_example("tidenote serve --no-auth", "tidenote serve --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem"),
)(serve.serve)
app.command(
    "pair",
    epilog=_example(
        "tidenote pair",
        "tidenote pair --device kitchen --vault recipes --role reader",
        "tidenote pair --device script --token",
    ),
)(pair.pair)
app.command("devices", epilog=_example("tidenote devices", "tidenote devices --vault recipes --json"))(admin.devices)
app.command("revoke", epilog=_example("tidenote revoke phone"))(admin.revoke)
app.add_typer(admin.vaults_app, name="vaults")
app.command("gc", epilog=_example("tidenote gc --dry-run"))(admin.gc)
app.command(
    "sync",
    epilog=_example(
        "tidenote sync ~/Notes --link 'http://192.168.1.5:8787/#pair=CODE'",
        "tidenote sync ~/Notes --endpoint ws://127.0.0.1:8787/ws/sync --device-id laptop",
        "tidenote sync ~/Notes --once",
        "tidenote sync ~/Notes --except '*.pdf' --hidden",
    ),
)(sync.sync)
app.command("status", epilog=_example("tidenote status ~/Notes", "tidenote status --json | jq .state"))(status.status)
app.command("pause", epilog=_example("tidenote pause ~/Notes"))(status.pause)
app.command("resume", epilog=_example("tidenote resume ~/Notes"))(status.resume)
app.add_typer(conflicts.app, name="conflicts")
app.command("history", epilog=_example("tidenote history todo.md", "tidenote history todo.md --diff --dir ~/Notes"))(
    past.history
)
app.command(
    "restore",
    epilog=_example(
        "tidenote restore todo.md --at '2 hours ago'",
        "tidenote restore todo.md --version 1042",
        "tidenote restore --all --at 'yesterday 18:00' --diff",
    ),
)(past.restore)
app.command("undo", epilog=_example("tidenote undo --device phone --since 14:30 --dry-run"))(past.undo)
app.add_typer(trash.app, name="trash")
app.add_typer(holds.app, name="holds")
app.add_typer(service.app, name="service")
app.command(
    "backup", epilog=_example("tidenote backup /mnt/disk/tidenote.tar", "tidenote backup notes.tar --data DIR")
)(backup.backup)
app.command(
    "restore-backup",
    epilog=_example(
        "tidenote restore-backup tidenote.tar --dry-run",
        "tidenote restore-backup tidenote.tar --data DIR --replace",
    ),
)(backup.restore_backup)
app.command(
    "export", epilog=_example("tidenote export notes.zip", "tidenote export ~/Copy --at 'yesterday 18:00' --data DIR")
)(transfer.export)
app.command("import", epilog=_example("tidenote import ~/Old-notes", "tidenote import ~/Recipes --vault recipes"))(
    transfer.import_
)
app.command("doctor", epilog=_example("tidenote doctor ~/Notes"))(doctor.doctor)
app.command("demo", epilog=_example("tidenote demo", "tidenote demo --dir /tmp/notes --port 9000"))(demo.demo)


def main() -> None:
    """Run the command that the process was started with, and end the process."""
    console.open_standard_streams()
    try:
        app()
    except Exception as error:
        # The last line of defence: nobody should ever have to read a traceback to know what to do.
        console.show_traceback(error)
        console.warn(console.explain(error))
        sys.exit(console.USAGE if isinstance(error, ConfigError) else 1)
