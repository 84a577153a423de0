"""What a plan means, in words: for `--dry-run`, and for the question before a folder is joined."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from tidenote.vault.plan import Action, Adopt, Delete, Forget, MoveLocal, Plan, Push, PushDelete, PushMove, Write

Words = Callable[[Plan, Callable[[str], bool]], Iterator[str]]
"""`lines` or `summary`."""

EXAMPLES: Final = 3
"""How many paths of each kind a summary names."""


def lines(plan: Plan, is_taken: Callable[[str], bool]) -> Iterator[str]:
    """Yield one line for each thing that would be done or is held.

    Args:
        plan: what `FolderDaemon.dry_run` returned.
        is_taken: says whether the vault has a file at a path.
    """
    for action in plan.actions:
        if told := _told(action, is_taken):
            yield f"{told[0]:>8}  {told[1]}"
    for held in plan.held:
        yield f"{'hold':>8}  {held.path}: {held.reason or held.why.value}"


def summary(plan: Plan, is_taken: Callable[[str], bool]) -> Iterator[str]:
    """Yield one line for each kind of thing that would be done or is held, with examples."""
    found: dict[str, list[str]] = {}
    for action in plan.actions:
        if told := _told(action, is_taken):
            found.setdefault(told[0], []).append(told[1])
        elif isinstance(action, Adopt) and action.base.content_hash is not None:
            found.setdefault("same", []).append(action.base.path)
    found["hold"] = [held.path for held in plan.held]
    for verb, (one, many) in _MEANINGS.items():
        if paths := found.get(verb):
            yield f"  {len(paths):>6} {one if len(paths) == 1 else many}: {_some(paths)}"


_MEANINGS: Final = {
    "send": ("goes to the vault", "go to the vault"),
    "write": ("comes from the vault", "come from the vault"),
    "same": ("is the same on both sides", "are the same on both sides"),
    "differ": (
        "differs; both versions are kept, and you choose later",
        "differ; both versions are kept, and you choose later",
    ),
    "move": ("is renamed", "are renamed"),
    "delete": ("is deleted", "are deleted"),
    "hold": ("waits for you or this disk", "wait for you or this disk"),
}


def _told(action: Action, is_taken: Callable[[str], bool]) -> tuple[str, str] | None:
    """Return a verb and what it is done to; None for what moves nothing."""
    match action:
        case Push(entry):
            return ("differ" if action.unbased and is_taken(entry.path) else "send"), entry.path
        case PushMove(source, entry=entry):
            return "move", f"{source} -> {entry.path} in the vault"
        case PushDelete(path):
            return "delete", f"{path} in the vault"
        case Write(path):
            return "write", path
        case MoveLocal(source, path=path):
            return "move", f"{source} -> {path} here"
        case Delete(path):
            return "delete", f"{path} here"
        case Adopt() | Forget():
            return None


def _some(paths: list[str]) -> str:
    more = f", ... {len(paths) - EXAMPLES} more" if len(paths) > EXAMPLES else ""
    return ", ".join(paths[:EXAMPLES]) + more
