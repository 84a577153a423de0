"""`tidenote trash`: the notes that were deleted, and getting them back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidenote.cli import console
from tidenote.cli.linked import Note, ask_server, key_of, linked
from tidenote.cli.past import ask_about, say_restored

if TYPE_CHECKING:
    from tidenote.client.rest import Rest
    from tidenote.wire.messages import TrashEntry

Dir = Annotated[
    Path | None, typer.Option("--dir", metavar="DIR", help="The synced folder; by default the current one.")
]

app = typer.Typer(
    help="List the notes that were deleted, or bring one back.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def _list_by_default(context: typer.Context, folder: Dir = None, as_json: console.AsJson = False) -> None:
    context.obj = folder
    if context.invoked_subcommand is None:
        list_(context, folder, as_json)


@app.command("list", epilog=console.example("tidenote trash list", "tidenote trash list --json --dir ~/Notes"))
def list_(context: typer.Context, folder: Dir = None, as_json: console.AsJson = False) -> None:
    """List the notes that were deleted and not renamed."""
    from tidenote.cli import past_view

    async def ask(rest: Rest) -> list[TrashEntry]:
        page = await rest.trash()
        found = page.notes
        while page.next is not None:
            page = await rest.trash(page.next)
            found += page.notes
        return found

    found = ask_server(_folder(context, folder), ask)
    if as_json:
        console.say_json(found)
    elif not found:
        console.say("the trash is empty")
    else:
        for line in past_view.trash(found):
            console.say(line)
        console.say("`tidenote trash restore NOTE` brings one back")


@app.command(epilog=console.example("tidenote trash restore todo.md"))
def restore(context: typer.Context, note: Note, folder: Dir = None, as_json: console.AsJson = False) -> None:
    """Bring a deleted note back as it was last."""
    from tidenote.wire.messages import TrashRestoreRequest

    root = _folder(context, folder)
    request = TrashRestoreRequest(key_of(root, note))
    restored = ask_about(note, root, lambda rest: rest.restore_discarded(request))
    say_restored(note, restored, "nothing was changed", as_json=as_json)


def _folder(context: typer.Context, folder: Path | None) -> Path:
    """Return the folder that was named, after the command or before it."""
    return linked(folder or context.obj or Path())
