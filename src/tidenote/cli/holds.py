"""`tidenote holds`: what a folder holds back until a person decides, and deciding it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tidenote.cli import console
from tidenote.cli.linked import Folder, linked
from tidenote.wire.messages import HoldDecision, HoldKind

if TYPE_CHECKING:
    from tidenote.vault.folder import FolderStatus

app = typer.Typer(
    help="Decide about deletions that are held because they are many, and notes that may be gone elsewhere.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

WORDS: Final[dict[HoldKind, tuple[str, str, str, str]]] = {
    "delete_out": (
        "file is gone from this folder",
        "files are gone from this folder",
        "delete everywhere",
        "put back here",
    ),
    "delete_in": (
        "file was deleted elsewhere",
        "files were deleted elsewhere",
        "delete here, too",
        "keep, and bring back everywhere",
    ),
    "quarantine": (
        "file is unknown to the server, and may have been deleted elsewhere long ago",
        "files are unknown to the server, and may have been deleted elsewhere long ago",
        "bring back everywhere",
        "let go to the trash",
    ),
}
"""Kind -> what is held, one and several, and what it means to confirm and to refuse."""

Which = Annotated[HoldKind | None, typer.Option("--kind", help="Only this kind, if several are held.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command("list", epilog=console.example("tidenote holds list ~/Notes", "tidenote holds list --json"))
def list_(folder: Folder = Path(), as_json: console.AsJson = False) -> None:
    """List what is held, and what deciding means."""
    folder = linked(folder)
    held = _held(folder)
    if as_json:
        console.say_json([{"kind": kind, "paths": paths} for kind, paths in held.items()])
    elif not held:
        console.say("nothing is held that waits for you")
    else:
        for kind, paths in held.items():
            _show(kind, paths)
            confirm, refuse = WORDS[kind][2:]
            console.say(f"  `tidenote holds confirm {console.typed(folder)} --kind {kind}`: {confirm}")
            console.say(f"  `tidenote holds refuse {console.typed(folder)} --kind {kind}`: {refuse}")


@app.command(epilog=console.example("tidenote holds confirm ~/Notes", "tidenote holds confirm --kind delete_out --yes"))
def confirm(folder: Folder = Path(), kind: Which = None, yes: Yes = False) -> None:
    """Do what is held: delete what was to be deleted, bring back what the server no longer knows."""
    _decide(folder, "confirm", kind, yes=yes)


@app.command(epilog=console.example("tidenote holds refuse ~/Notes", "tidenote holds refuse --kind quarantine --yes"))
def refuse(folder: Folder = Path(), kind: Which = None, yes: Yes = False) -> None:
    """Do the opposite: keep what was to be deleted, let go of what the server no longer knows."""
    _decide(folder, "refuse", kind, yes=yes)


def by_kind(status: FolderStatus) -> dict[HoldKind, list[str]]:
    """Return the paths that wait for a person's decision, by its kind."""
    from tidenote.vault.passes import KINDS

    kinds = {why.name: kind for why, kind in KINDS.items()}
    found: dict[HoldKind, list[str]] = {}
    for held in status.held:
        if kind := kinds.get(held.why):
            found.setdefault(kind, []).append(held.path)
    return found


def _decide(folder: Path, decision: HoldDecision, wanted: HoldKind | None, *, yes: bool) -> None:
    from tidenote.cli.syncing import decide_once
    from tidenote.vault.folder import Decided, daemon_runs, decide

    folder = linked(folder)
    held = _held(folder)
    if wanted:
        held = {kind: paths for kind, paths in held.items() if kind == wanted}
    if not held:
        console.fail(f"{folder} holds nothing{f' of the kind {wanted}' if wanted else ''} that waits for you")
    if len(held) > 1:
        console.fail(f"several kinds are held; say which one with --kind: {', '.join(held)}", console.USAGE)
    ((kind, paths),) = held.items()
    what = WORDS[kind][2 if decision == "confirm" else 3]
    _show(kind, paths)
    console.ask(f"{what[0].upper()}{what[1:]}?", yes=yes)
    decided = Decided(kind, decision, paths)
    if daemon_runs(folder):
        decide(folder, decided)
        console.say(f"the daemon of {folder} is told: {what}")
    else:
        decide_once(folder, decided)


def _held(folder: Path) -> dict[HoldKind, list[str]]:
    """Return what waits for a decision, as the folder's daemon said last."""
    from tidenote.vault.folder import read_status

    status = read_status(folder)
    return by_kind(status) if status else {}


def _show(kind: HoldKind, paths: list[str]) -> None:
    one, many, *_ = WORDS[kind]
    console.say(f"{kind}: {console.counted(len(paths), one, many)}")
    for path in paths:
        console.say(f"  {path}")
