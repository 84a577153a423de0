"""`tidenote conflicts`: what a person has to decide, side by side, and deciding it.

How it looks is conflict_view.py's matter.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidenote.cli import console
from tidenote.cli.linked import Dir, Folder, Note, ask_server, key_of, linked
from tidenote.errors import TidenoteError

if TYPE_CHECKING:
    from tidenote.client.rest import Rest
    from tidenote.wire.messages import ConflictDetails, Fetched, WireChoice, WireDot

app = typer.Typer(
    help="Decide what concurrent edits left open. All versions are kept until you do.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list", epilog=console.example("tidenote conflicts list ~/Notes"))
def list_(folder: Folder = Path(), as_json: console.AsJson = False) -> None:
    """List the notes that somebody should look at."""
    from tidenote.cli.conflict_view import listing
    from tidenote.wire.messages import ConflictEntry

    async def ask(rest: Rest) -> list[ConflictEntry]:
        page = await rest.conflicts()
        found = page.conflicts
        while page.next is not None:
            page = await rest.conflicts(page.next)
            found += page.conflicts
        return found

    folder = linked(folder)
    found = ask_server(folder, ask)
    if as_json:
        console.say_json(found)
        return
    if not found:
        console.say("no conflicts: every note has one version, and no merge waits for a look")
        return
    listing(found)
    console.say("`tidenote conflicts show NOTE` shows one, `tidenote conflicts resolve NOTE` settles it")


@app.command(epilog=console.example("tidenote conflicts show daily/2026-01-31.md"))
def show(note: Note, folder: Dir = Path()) -> None:
    """Show the versions of a note side by side, and where to look."""
    from tidenote.cli.conflict_view import details

    folder = linked(folder)
    details(note, _look(folder, key_of(folder, note)))


@app.command(
    epilog=console.example(
        "tidenote conflicts resolve todo.md --keep laptop",
        "tidenote conflicts resolve todo.md --both --as 'todo of phone.md'",
        "tidenote conflicts resolve todo.md --edit",
        "tidenote conflicts resolve todo.md --confirm",
    )
)
def resolve(
    note: Note,
    folder: Dir = Path(),
    keep: Annotated[
        str | None, typer.Option(metavar="WHO", help="Keep the version of this device, or of this number in `show`.")
    ] = None,
    both: Annotated[
        bool, typer.Option("--both", help="Keep the last, and each other one as a note beside it.")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--as", metavar="NOTE", help="With --both: the other note's path.")
    ] = None,
    text: Annotated[Path | None, typer.Option(metavar="FILE", help="Take this file's text; - is the input.")] = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="Leave a merge as it is: you have looked.")] = False,
    edit: Annotated[bool, typer.Option("--edit", help="Open the proposal in $EDITOR and take what you save.")] = False,
) -> None:
    """Settle a note. Nothing is lost: what you don't keep stays in the history."""
    from tidenote.wire.messages import WireChoice, WireKeepBoth

    if [keep is not None, both, text is not None, confirm, edit].count(True) != 1:
        console.fail("say how: one of --keep WHO, --both, --text FILE, --confirm and --edit", console.USAGE)
    if name is not None and not both:
        console.fail("--as goes with --both", console.USAGE)
    folder = linked(folder)
    key = key_of(folder, note)
    seen = _look(folder, key)
    if edit:
        _edit(folder, note, seen)
        return
    if keep is not None:
        choice = WireChoice(keep=_find(note, seen, keep))
    elif both:
        choice = WireChoice(keep_both=WireKeepBoth(key_of(folder, name) if name is not None else None))
    elif text is not None:
        choice = WireChoice(text=_read(text))
    else:
        choice = WireChoice(confirm=True)
    _settle(folder, note, seen, choice)


@app.command(epilog=console.example("tidenote conflicts reopen todo.md"))
def reopen(note: Note, folder: Dir = Path()) -> None:
    """Look again at what was merged into a note, or settled, last."""
    from tidenote.wire.messages import ReopenRequest, WireDot

    folder = linked(folder)
    key = key_of(folder, note)

    async def ask(rest: Rest) -> Fetched:
        now = await rest.fetch([key])
        dots = [WireDot(change.timestamp, change.device_id) for change in now.changes]
        return await rest.reopen(ReopenRequest(key, dots))

    ask_server(folder, ask)
    console.say(f"{note} is in the list again; `tidenote conflicts show {shlex.quote(note)}` shows what was merged")


def _look(folder: Path, key: str) -> ConflictDetails:
    try:
        return ask_server(folder, lambda rest: rest.conflict(key))
    except TidenoteError as error:
        if error.code != "not_found":
            raise
        path = key.partition(":")[2]
        console.fail(
            f"there is no conflict at {path}; `tidenote conflicts list {console.typed(folder)}` names those there are"
        )


# -- settling


def _settle(folder: Path, note: str, seen: ConflictDetails, choice: WireChoice) -> None:
    from tidenote.wire.messages import ResolveRequest

    request = ResolveRequest(seen.key, seen.siblings, choice)
    written = ask_server(folder, lambda rest: rest.resolve(request)).changes
    for key in dict.fromkeys(change.key for change in written if change.key != seen.key):
        console.say(f"{key.partition(':')[2]} is the other version")
    if sum(change.key == seen.key for change in written) > 1:
        console.warn(f"{note} is settled, but somebody wrote it just now: look again")
        raise typer.Exit(console.NEEDS_YOU)
    console.say(f"{note} is settled; it reaches every device with its next sync")


def _find(note: str, seen: ConflictDetails, who: str) -> WireDot:
    """Return the dot of the version that a device wrote, or that has a number."""
    from tidenote.wire.messages import WireDot

    dots = [WireDot(source.timestamp, source.device_id) for source in seen.sources]
    own = [dot for dot in dots if dot.device_id.partition("~")[0] == who or dot.device_id == who]
    if not own and who.isascii() and who.isdigit() and 1 <= int(who) <= len(dots):
        own = [dots[int(who) - 1]]
    if len(own) != 1:
        problem = f"{who} wrote {len(own)} of the versions" if own else f"there is no version of {who}"
        known = ", ".join(f"{number} ({dot.device_id})" for number, dot in enumerate(dots, start=1))
        console.fail(f"{problem} of {note}; choose by number: {known}", console.USAGE)
    return own[0]


def _read(file: Path) -> str:
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        return data.decode()
    except UnicodeDecodeError:
        console.fail(f"{file} is no text in UTF-8", console.USAGE)


def _edit(folder: Path, note: str, seen: ConflictDetails) -> None:
    """Let the person edit the proposal; what they wrote is kept if it cannot be sent."""
    from tidenote.wire.messages import WireChoice

    if seen.proposal is None:
        console.fail(f"{note} is no text in all versions; use --keep or --both", console.USAGE)
    place = Path(tempfile.mkdtemp(prefix="tidenote-"))
    file = place / Path(note).name
    file.write_bytes(seen.proposal.encode())
    try:
        _run_editor(file)
        text = _read(file)
        if not text.strip():
            console.fail(f"the text is empty, so nothing was changed; {note} is still open")
        if text == seen.proposal:
            console.fail(
                f"the text was not changed, so {note} is still open; `--text FILE` or `--confirm` takes it as it is"
            )
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    try:
        _settle(folder, note, seen, WireChoice(text=text))
    except TidenoteError:
        console.warn(f"your text is kept in {file}")
        raise
    shutil.rmtree(place, ignore_errors=True)


def _run_editor(file: Path) -> None:
    command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    try:
        status = subprocess.run([*command, str(file)], check=False).returncode  # noqa: S603 (their own choice)
    except OSError as error:
        console.fail(f"the editor {command[0]} cannot be started ({error.strerror}); set EDITOR", console.USAGE)
    if status:
        console.fail(f"the editor ended with status {status}, so nothing was changed")
