"""`tidenote history`, `restore`, `undo`: what was, and bringing it back. How it looks is past_view.py's matter."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from tidenote.cli import console
from tidenote.cli.linked import Dir, Note, ask_server, key_of, linked, path_of
from tidenote.cli.moments import HELP as TIME_HELP
from tidenote.cli.moments import parse_moment

if TYPE_CHECKING:
    from tidenote.cli.past_view import Told
    from tidenote.client.rest import Rest
    from tidenote.wire.messages import HistoryEntry, Restored, RestoreRequest

PAGE: Final = 1000
"""How many versions are asked for at once."""

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")]

T = TypeVar("T")


# -- history


def history(
    note: Note,
    folder: Dir = Path(),
    diff: Annotated[bool, typer.Option("--diff", help="Show what each version changed.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=0, help="The most versions to show; 0 for all.")] = 50,
    as_json: console.AsJson = False,
) -> None:
    """List the versions of a note, the latest first, those under its earlier names among them."""
    from tidenote.cli import past_view

    folder = linked(folder)
    key = key_of(folder, note)
    hint = "check its path, or look for it in `tidenote trash list`"
    told = ask_about(note, folder, lambda rest: _tell(rest, key, limit, diff=diff), hint=hint)
    if as_json:
        console.say_json([_as_object(version, told) for version in told.versions])
        return
    for line in past_view.history(told):
        console.say(line)
    if told.older:
        console.say(f"there are older ones: --limit {2 * limit}, or --limit 0 for all")


async def _tell(rest: Rest, key: str, limit: int, *, diff: bool) -> Told:
    from tidenote.cli.past_view import Told, difference
    from tidenote.core.version import Dot, is_server

    # One more than is shown, so that the last one's parent is known by its number.
    versions = await _versions(rest, key, limit + 1 if limit else None)
    shown = versions[:limit] if limit else versions
    told = Told(path_of(key), shown, older=len(versions) > len(shown))
    texts: dict[int, str | None] = {}

    async def text_of(version: HistoryEntry | None) -> str | None:
        if version is None or version.deleted or version.blob or version.gone:
            return None
        if version.receipt not in texts:
            found = await rest.version(version.key, Dot(version.timestamp, version.device_id))
            texts[version.receipt] = found.value
            if found.merged:
                told.merges[version.receipt] = found.merged
        return texts[version.receipt]

    for place, version in enumerate(shown):
        sources = len(version.parents or ()) + len(version.merged_from or ())
        if diff:
            before = _before(version, versions[place + 1 :])
            told.diffs[version.receipt] = difference(await text_of(before), await text_of(version))
        elif sources > 1 and is_server(version.device_id):
            await text_of(version)
    return told


async def _versions(rest: Rest, key: str, most: int | None) -> list[HistoryEntry]:
    found: list[HistoryEntry] = []
    before: int | None = None
    while most is None or len(found) < most:
        page = await rest.history(key, before=before, limit=PAGE if most is None else min(PAGE, most - len(found)))
        found += page.versions
        before = page.next
        if before is None:
            break
    return found


def _before(version: HistoryEntry, older: list[HistoryEntry]) -> HistoryEntry | None:
    """Return the version that another one is compared with: its latest parent, or what a renamed note was before."""
    parents = {(dot.timestamp, dot.device_id) for dot in version.parents or ()}
    for other in older:
        if other.deleted:
            continue
        if other.key != version.key or (other.timestamp, other.device_id) in parents or version.parents is None:
            return other
    return None


def _as_object(version: HistoryEntry, told: Told) -> dict[str, object]:
    import msgspec

    made: dict[str, object] = msgspec.to_builtins(version)
    if merge := told.merges.get(version.receipt):
        made["merged"] = msgspec.to_builtins(merge)
    if version.receipt in told.diffs:
        made["diff"] = told.diffs[version.receipt]
    return made


# -- restore


def restore(
    note: Annotated[str | None, typer.Argument(metavar="[NOTE]", help="The note's path in the folder.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="The whole vault; what was not there is deleted.")] = False,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help=f"As it was then. {TIME_HELP}")] = None,
    version: Annotated[
        int | None, typer.Option("--version", metavar="V", min=0, help="The version of this number in `history`.")
    ] = None,
    folder: Dir = Path(),
    diff: Annotated[bool, typer.Option("--diff", help="With --all: show how each text would change.")] = False,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --all: do not ask.")] = False,
    as_json: console.AsJson = False,
) -> None:
    """Bring back a note, or the whole vault, as it was. Nothing is lost: what is there now stays in the history."""
    from tidenote.wire.messages import RestoreAllRequest

    if (note is not None) == everything or (at is not None) == (version is not None):
        console.fail("say what, NOTE or --all, and when, --at TIME or --version V", console.USAGE)
    if everything:
        _check_json_asks_nothing(as_json=as_json, yes=yes, dry_run=dry_run)
    if not everything and (diff or dry_run or yes):
        console.fail(
            "--diff, --dry-run and --yes go with --all; `tidenote history NOTE --diff` shows a note's changes",
            console.USAGE,
        )
    at_ms = None if at is None else moment(at)
    folder = linked(folder)
    if note is not None:
        _restore_one(folder, note, at_ms, version, as_json=as_json)
        return
    seen = ask_server(folder, lambda rest: rest.restore_all(RestoreAllRequest(at_ms, version, dry_run=True)))
    _ask_first(
        folder,
        seen,
        f"Restore {console.counted(len(seen.notes), 'note', 'notes')}?",
        nothing="everything is as it was then",
        diff=diff,
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )
    request = RestoreAllRequest(at_ms, version, seen=seen.receipt)
    _report(folder, ask_server(folder, lambda rest: rest.restore_all(request)), "restored", as_json=as_json)


def _restore_one(folder: Path, note: str, at_ms: int | None, version: int | None, *, as_json: bool) -> None:
    from tidenote.wire.messages import RestoreRequest

    key = key_of(folder, note)

    async def ask(rest: Rest) -> tuple[RestoreRequest, Restored]:
        request = RestoreRequest(key, at=at_ms) if version is None else await _request_for(rest, key, version)
        return request, await rest.restore(request)

    request, restored = ask_about(note, folder, ask)
    nothing = "it is as it was then; nothing was changed"
    if request.receipt is not None:
        nothing = f"after {request.receipt}, a version of another note, it was as it is now; nothing was changed"
    say_restored(note, restored, nothing, as_json=as_json)


async def _request_for(rest: Rest, key: str, number: int) -> RestoreRequest:
    """Return the request for a version of a note; for another number of the log, the note as it was then."""
    from tidenote.wire.messages import RestoreRequest

    page = await rest.history(key, before=number + 1, limit=1)
    for found in page.versions:
        if found.receipt == number:
            return RestoreRequest(key, found.timestamp, found.device_id, found.key)
    return RestoreRequest(key, receipt=number)


def say_restored(note: str, restored: Restored, nothing: str, *, as_json: bool = False) -> None:
    """Say what became of one note, and how to take it back.

    Raises:
        typer.Exit: it is left as it is for a reason, after saying so.
    """
    from tidenote.cli import past_view

    if as_json:
        console.say_json(restored)
    elif not restored.notes and not restored.refused:
        console.say(f"{note}: {nothing}")
    for done in restored.notes if not as_json else ():
        what = "is deleted, as it was then" if done.version is None else "is back"
        back = f"tidenote restore {shlex.quote(note)} --version {restored.receipt}"
        console.say(f"{note} {what} ({past_view.counts(done)} lines); it reaches every device with its next sync")
        console.say(f"`{back}` takes this back")
    for line in past_view.refused(restored.refused):
        console.warn(line)
    if restored.refused:
        raise typer.Exit(1)


# -- undo


def undo(
    device: Annotated[str, typer.Option("--device", metavar="D", help="Whose changes: a device id.")],
    since: Annotated[str, typer.Option("--since", metavar="T", help=f"From when on. {TIME_HELP}")],
    folder: Dir = Path(),
    diff: Annotated[bool, typer.Option("--diff", help="Show how each text would change.")] = False,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: console.AsJson = False,
) -> None:
    """Take back all that a device did since a time, except where somebody's later edits stand on it.

    It does so with new changes, so that nothing is lost and it can be taken back, too. Exits with 4 if a note is left
    as it is.
    """
    from tidenote.wire.messages import UndoRequest

    _check_json_asks_nothing(as_json=as_json, yes=yes, dry_run=dry_run)
    since_ms = moment(since)
    folder = linked(folder)
    with console.unless_found("`tidenote devices` on the server lists them"):
        seen = ask_server(folder, lambda rest: rest.undo(UndoRequest(device, since_ms, dry_run=True)))
    _ask_first(
        folder,
        seen,
        f"Take back what {device} did to {console.counted(len(seen.notes), 'note', 'notes')}?",
        nothing=f"{device} changed nothing since then that still stands",
        diff=diff,
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )
    request = UndoRequest(device, since_ms, seen=seen.receipt)
    _report(folder, ask_server(folder, lambda rest: rest.undo(request)), "taken back", as_json=as_json)


# -- what both of them say


def _check_json_asks_nothing(*, as_json: bool, yes: bool, dry_run: bool) -> None:
    if as_json and not (yes or dry_run):
        console.fail("--json asks nothing: give --yes or --dry-run, too", console.USAGE)


def _ask_first(
    folder: Path,
    seen: Restored,
    question: str,
    *,
    nothing: str,
    diff: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Show what would be done, and ask whether it may be.

    Raises:
        typer.Exit: it may not, or there is nothing to do, or that was all that was asked for; after saying so.
    """
    if dry_run or not seen.notes:
        _show_plan(folder, seen, diff=diff, as_json=as_json, nothing=nothing)
        raise typer.Exit(console.NEEDS_YOU if seen.refused and not dry_run else 0)
    if not as_json:
        _show_plan(folder, seen, diff=diff, as_json=False, nothing="")
    console.ask(question, yes=yes)


def _show_plan(folder: Path, seen: Restored, *, diff: bool, as_json: bool, nothing: str) -> None:
    """Print what would be done."""
    from tidenote.cli import past_view

    if as_json:
        console.say_json(seen)
        return
    diffs = ask_server(folder, lambda rest: _diffs(rest, seen)) if diff else {}
    for note in seen.notes:
        for line in [*past_view.outcome([note]), *(f"    {line}" for line in diffs.get(note.key, ()))]:
            console.say(line)
    for line in past_view.refused(seen.refused):
        console.say(line)
    if not seen.notes and not seen.refused:
        console.say(nothing)


async def _diffs(rest: Rest, seen: Restored) -> dict[str, list[str]]:
    """Return how each text would change."""
    from tidenote.cli.past_view import difference
    from tidenote.cli.texts import plain
    from tidenote.core.version import Dot

    found: dict[str, list[str]] = {}
    for note in seen.notes:
        before, after = (await rest.fetch([note.key])).changes, None
        living = [change for change in before if change.value is not None and not change.blob]
        winner = max(living, key=lambda change: (change.timestamp, change.device_id), default=None)
        if note.version:
            dot = Dot(note.version.timestamp, note.version.device_id)
            after = (await rest.version(note.version.key, dot)).value
        lines = difference(winner.value if winner else None, after)
        found[note.key] = [plain(line).plain for line in lines]
    return found


def _report(folder: Path, restored: Restored, done: str, *, as_json: bool) -> None:
    """Say what was done, what was left, and how to take it back."""
    from tidenote.cli import past_view

    if as_json:
        console.say_json(restored)
    else:
        for line in past_view.outcome(restored.notes):
            console.say(line)
        back = f"tidenote restore --all --version {restored.receipt} --dir {shlex.quote(str(folder))}"
        notes = console.counted(len(restored.notes), "note", "notes")
        console.say(f"{notes} {done}; every device has this with its next sync")
        if restored.notes:
            console.say(f"`{back}` takes it back")
    for line in past_view.refused(restored.refused):
        console.warn(line)
    if restored.refused:
        raise typer.Exit(console.NEEDS_YOU)


def ask_about(note: str, folder: Path, question: Callable[[Rest], Awaitable[T]], *, hint: str = "") -> T:
    """Ask the server about one note.

    Args:
        note: its path, as it was typed.
        folder: whose server to ask.
        question: to ask.
        hint: what to do if there is no such note; by default to look at its history.

    Raises:
        typer.Exit: there is none, or was none then, after saying so.
    """
    history_of = f"`tidenote history {shlex.quote(note)}` lists what there was"
    with console.unless_found(hint or f"{history_of}, `tidenote trash list` what was deleted"):
        return ask_server(folder, question)


def moment(text: str) -> int:
    """Return the time that someone typed, in ms since 1970, or end with a line that says how to type one."""
    try:
        return parse_moment(text, datetime.now())  # noqa: DTZ005 (local time is what people type)
    except ValueError as error:
        console.fail(str(error), console.USAGE)
