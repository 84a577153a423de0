"""The folder that a command is about, its notes, and questions to the server that it is linked to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from tidenote.cli import console
from tidenote.errors import RefusedChange

if TYPE_CHECKING:
    from tidenote.client.rest import Rest

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The synced folder; by default the current one.")]
Dir = Annotated[Path, typer.Option("--dir", metavar="DIR", help="The synced folder; by default the current one.")]
Note = Annotated[str, typer.Argument(metavar="NOTE", help="The note's path in the folder.")]

T = TypeVar("T")


def linked(folder: Path) -> Path:
    """Return the absolute path of a folder that remembers its server.

    Raises:
        typer.Exit: it does not, after saying so.
    """
    from tidenote.vault.folder import read_link

    folder = console.existing_folder(folder)
    if read_link(folder) is None:
        fail_unlinked(folder)
    return folder


def fail_unlinked(folder: Path) -> NoReturn:
    """Say that a folder is not synced, and end."""
    from tidenote.vault.folder import synced_above

    if above := synced_above(folder):
        console.fail(f"{folder} is a part of {above}, which is synced; run this in {above}", console.USAGE)
    console.fail(not_synced(folder), console.USAGE)


def not_synced(folder: Path) -> str:
    """Return what is said of a folder that is not synced, and how to begin."""
    return f"{folder} is not synced; begin with `tidenote sync {console.typed(folder)} --endpoint URL`"


def ask_server(folder: Path, question: Callable[[Rest], Awaitable[T]]) -> T:
    """Ask the server that a folder syncs to; its daemon may run meanwhile."""
    from tidenote.client.rest import Rest
    from tidenote.config import load_sync_config
    from tidenote.vault.folder import read_link

    async def ask() -> T:
        async with Rest(load_sync_config(read_link(folder) or {})) as rest:
            return await question(rest)

    return asyncio.run(ask())


def key_of(folder: Path, note: str) -> str:
    """Return the key of a note that was named by its path, in the folder or absolute.

    Raises:
        typer.Exit: it is no path in the folder, after saying so.
    """
    from tidenote.core.keys import key_of_path

    path = Path(note)
    if path.is_absolute() and path.is_relative_to(folder):
        note = path.relative_to(folder).as_posix()
    try:
        return key_of_path(note.removeprefix("./"))
    except RefusedChange as refusal:
        console.fail(f"{note} is no path in the folder: {refusal.message}", console.USAGE)


def path_of(key: str) -> str:
    """Return the path of a key's note in the folder."""
    return key.partition(":")[2]
