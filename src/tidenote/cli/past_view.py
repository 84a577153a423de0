"""How the past looks in a terminal: a note's versions, and what comes back. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tidenote.cli.linked import path_of
from tidenote.cli.texts import author, listed, moment, places, plain, unified
from tidenote.core.version import is_server
from tidenote.wire.messages import HistoryEntry, MergeDetails, RefusedNote, RestoredNote, TrashEntry

REASON: Final = {
    "gone": "the history has let go of its text",
    "damaged": "its text cannot be read any more; a backup may have it",
    "built_on": "somebody else's later edits were made of it",
    "open_conflict": "it is in conflict; settle that first",
    "stale": "somebody wrote it meanwhile",
}
"""Why a note is left as it is."""


@dataclass(slots=True)
class Told:
    """A part of a note's history.

    Attributes:
        path: the note's present one.
        versions: the latest first.
        merges: receipt -> what a version was merged of.
        diffs: receipt -> how the version differs from the one before it, where that was asked for.
        older: whether there are older ones.
    """

    path: str
    versions: list[HistoryEntry]
    merges: dict[int, MergeDetails] = field(default_factory=dict)
    diffs: dict[int, list[str]] = field(default_factory=dict)
    older: bool = False


def history(told: Told) -> Iterator[str]:
    """Yield one line for each version, each with its difference below it."""
    rows = [
        (str(version.receipt), moment(version.received_at), writer(version.device_id), size_of(version))
        for version in told.versions
    ]
    widths = [max(map(len, column), default=0) for column in zip(*rows, strict=True)]
    known = {(version.key, version.timestamp, version.device_id): version for version in told.versions}
    standing = sum(version.current and path_of(version.key) == told.path for version in told.versions)
    for version, (number, when, who, size) in zip(told.versions, rows, strict=True):
        what = "; ".join(_notes(version, told, known, standing))
        line = f"{number:>{widths[0]}}  {when:16}  {who:{widths[2]}}  {size:>{widths[3]}}  {what}"
        yield plain(line).plain.rstrip()
        yield from (f"    {plain(line).plain}" for line in told.diffs.get(version.receipt, ()))


def size_of(version: HistoryEntry) -> str:
    """Return how large a version is; nothing for a deletion."""
    return "" if version.deleted else f"{version.size} B"


def writer(device_id: str) -> str:
    """Return who wrote a version."""
    return "server" if is_server(device_id) else device_id


def _notes(
    version: HistoryEntry, told: Told, known: Mapping[tuple[str, int, str], HistoryEntry], standing: int
) -> Iterator[str]:
    if path_of(version.key) != told.path:
        yield f"as {path_of(version.key)}"
    elif version.current:
        yield "now" if standing == 1 else f"now, one of {standing} versions"
    if version.moved_to:
        yield f"renamed to {path_of(version.moved_to)}"
    elif version.deleted:
        yield "deleted"
    parents = [known.get((version.key, dot.timestamp, dot.device_id)) for dot in version.parents or ()]
    names = [
        str(parent.receipt) if parent else f"{dot.timestamp}@{writer(dot.device_id)}"
        for parent, dot in zip(parents, version.parents or (), strict=True)
    ]
    if names:
        yield f"after {listed(names)}"
    elif version.parents is None:
        yield "did not say what it saw"
    if came_back := _restored(version, told, parents):
        yield came_back
    if merge := told.merges.get(version.receipt):
        yield f"merged from {listed(dict.fromkeys(_source(source, version) for source in merge.sources))}"
        if merge.spots:
            yield f"look at {places(merge.spots)}"
    if version.current and version.conflict:
        yield "somebody should look at it"
    if version.gone:
        yield "its text is no longer kept"


def _restored(version: HistoryEntry, told: Told, parents: Sequence[HistoryEntry | None]) -> str | None:
    """Return which version came back, or that a person settled a merge; None if it is neither, or not known."""
    if not is_server(version.device_id) or version.deleted or version.merged_from or len(parents) != 1:
        return None
    (before,) = parents
    same = (old for old in told.versions if old.receipt < version.receipt and old.sha256 == version.sha256)
    source = next(same, None)
    if before and before.conflict and not version.conflict:
        # Who settles a merge leaves it, takes one of its sides, or writes something new; an older text is a restore.
        sides = [(dot.timestamp, dot.device_id) for dot in (*(before.parents or ()), *(before.merged_from or ()))]
        if source in (None, before) or (source.timestamp, source.device_id) in sides:
            return "settled by a person"
    return f"restored from {source.receipt}" if source and source is not before else None


def _source(source: HistoryEntry, merge: HistoryEntry) -> str:
    who = author(source.device_id)
    return who if source.key == merge.key else f"{who} (as {path_of(source.key)})"


def difference(before: str | None, after: str | None) -> list[str]:
    """Return the lines of a difference; None is what has no text."""
    return list(unified(before or "", after or ""))


def outcome(notes: Iterable[RestoredNote]) -> Iterator[str]:
    """Yield one line for each note that comes back, changes or goes."""
    for note in notes:
        what = "" if note.version else "  (deleted)"
        if note.moved_to:
            what = f"  (becomes {path_of(note.moved_to)})"
        yield plain(f"{counts(note):>12}  {path_of(note.key)}{what}").plain


def counts(note: RestoredNote) -> str:
    """Return how many lines come and go."""
    return f"+{note.added} -{note.removed}"


def refused(notes: Iterable[RefusedNote]) -> Iterator[str]:
    """Yield why notes are left as they are."""
    for note in notes:
        yield plain(f"{path_of(note.key)} is left as it is: {REASON.get(note.reason, note.reason)}").plain


def trash(notes: Iterable[TrashEntry]) -> Iterator[str]:
    """Yield one line for each deleted note."""
    for note in notes:
        kept = f"{note.last.size} B" if note.last else "text no longer kept"
        when, who = moment(note.deletion.received_at), writer(note.deletion.device_id)
        yield plain(f"{when}  {path_of(note.key)}  (deleted by {who}, {kept})").plain
