"""`tidenote holds`: what a folder holds back until a person decides, and deciding it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tidenote.cli import console
from tidenote.cli.linked import Folder, linked

if TYPE_CHECKING:
    from tidenote.vault.folder import HeldPath
    from tidenote.wire.messages import HoldDecision, HoldKind

app = typer.Typer(
    help="Decide about deletions that were held because they were many, and notes that may be gone elsewhere.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

QUESTIONS: Final[dict[HoldKind, tuple[str, str, str]]] = {
    "delete_out": (
        "files are gone from this folder",
        "delete them everywhere",
        "put them back here",
    ),
    "delete_in": (
        "notes were deleted elsewhere",
        "delete them here, too",
        "keep them, and bring them back everywhere",
    ),
    "quarantine": (
        "notes are unknown to the server, which may have been deleted elsewhere long ago",
        "bring them back everywhere",
        "let them go to the trash",
    ),
}
"""Kind -> what is held, and what it means to confirm and to refuse."""


class Kind(StrEnum):
    """What `--kind` may be."""

    DELETE_OUT = "delete_out"
    DELETE_IN = "delete_in"
    QUARANTINE = "quarantine"


Which = Annotated[Kind | None, typer.Option("--kind", help="Only this kind of hold, if there are several.")]


@app.command("list", epilog=console.example("tidenote holds list ~/Notes"))
def list_(folder: Folder = Path()) -> None:
    """List what is held, and what deciding means."""
    folder = linked(folder)
    held = _held(folder)
    if not held:
        console.say("nothing is held")
    for kind, paths in held.items():
        what, confirm, refuse = QUESTIONS[kind]
        console.say(f"{kind}: {len(paths)} {what}")
        for path in paths:
            console.say(f"  {path}")
        console.say(f"  `tidenote holds confirm {folder} --kind {kind}`: {confirm}")
        console.say(f"  `tidenote holds refuse {folder} --kind {kind}`: {refuse}")


@app.command(epilog=console.example("tidenote holds confirm ~/Notes", "tidenote holds confirm --kind delete_out"))
def confirm(folder: Folder = Path(), kind: Which = None) -> None:
    """Do what is held: delete what was to be deleted, bring back what the server no longer knows."""
    _decide(folder, "confirm", kind)


@app.command(epilog=console.example("tidenote holds refuse ~/Notes", "tidenote holds refuse --kind quarantine"))
def refuse(folder: Folder = Path(), kind: Which = None) -> None:
    """Do the opposite: keep what was to be deleted, let go of what the server no longer knows."""
    _decide(folder, "refuse", kind)


def _decide(folder: Path, decision: HoldDecision, wanted: Kind | None) -> None:
    from tidenote.cli.syncing import decide_once
    from tidenote.vault.folder import Decided, daemon_runs, decide

    folder = linked(folder)
    held = _held(folder)
    kinds = list(held) if wanted is None else [kind for kind in held if kind == wanted]
    if not kinds:
        console.fail(f"{folder} holds nothing{f' of the kind {wanted}' if wanted else ''}", 1)
    if len(kinds) > 1:
        console.fail(f"several kinds are held; say which one with --kind: {', '.join(kinds)}", console.USAGE)
    (kind,) = kinds
    decided = Decided(kind, decision, held[kind])
    words = QUESTIONS[kind][1 if decision == "confirm" else 2]
    if daemon_runs(folder):
        decide(folder, decided)
        console.say(f"{len(decided.paths)} held: the daemon of {folder} is told to {words}")
    else:
        console.say(f"{len(decided.paths)} held: syncing {folder} once to {words}")
        decide_once(folder, decided)


def _held(folder: Path) -> dict[HoldKind, list[str]]:
    """Return the paths that the folder's daemon last said it holds, by kind."""
    from tidenote.vault.folder import read_status

    status = read_status(folder)
    found: dict[HoldKind, list[str]] = {}
    for held in status.held if status else ():
        if kind := _kind_of(held):
            found.setdefault(kind, []).append(held.path)
    return found


def _kind_of(held: HeldPath) -> HoldKind | None:
    from tidenote.vault.passes import KINDS
    from tidenote.vault.plan import Why

    return KINDS.get(Why[held.why]) if held.why in Why.__members__ else None
