"""How conflicts look in a terminal: a table of them, and one with its versions side by side. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Final

from rich.table import Table
from rich.text import Text

from tidenote.cli import console
from tidenote.cli.texts import CONTEXT_LINES, author, lines_of, moment, places, plain, terminal, unified
from tidenote.wire.messages import ConflictDetails, ConflictEntry, WireChange

MAX_ALIGNED_LINES: Final = 5000
"""Longer texts are shown one beside the other without looking for what is alike."""

_KIND: Final = {"siblings": "choose", "merged": "look at the merge"}
_REASON: Final = {
    "both_changed": "both changed this, both are kept",
    "deleted_and_changed": "one deleted what the other changed; the change is kept",
    "front_matter": "both set this; the later one is kept",
}


def listing(entries: Iterable[ConflictEntry]) -> None:
    """Print one line for each conflict."""
    table = Table("note", "what to do", "versions of", "since", box=None, pad_edge=False)
    for entry in entries:
        authors = ", ".join(map(author, entry.authors))
        table.add_row(plain(entry.key.partition(":")[2]), _KIND[entry.kind], plain(authors), moment(entry.since))
    terminal().print(table)


def details(note: str, conflict: ConflictDetails) -> None:
    """Print a conflict: its versions side by side, then where to look."""
    screen = terminal()
    screen.print(plain(f"{note}: {_KIND[conflict.kind]}, since {moment(conflict.since)}"))
    if conflict.base or len(conflict.sources) == 2:
        whom = "their common base does not have" if conflict.base else "the other version does not have"
        screen.print(plain(f"+ marks what {whom}"))
    screen.print(side_by_side(conflict))
    for line in spots(conflict):
        screen.print(line)
    if conflict.kind == "merged" and conflict.proposal != conflict.merged:
        screen.print(plain("The note was edited since it was merged."))


def side_by_side(conflict: ConflictDetails) -> Table:
    """Return the versions as columns, and only around what differs: two texts line beside line, more as changes.

    Of more than two without a known base the ends are left out that are the same in all.
    """
    table = Table(show_lines=False, expand=True)
    for number, source in enumerate(conflict.sources, start=1):
        table.add_column(plain(f"{number}: {author(source.device_id)} {moment(source.modified_at)}"), ratio=1)
    texts = [source.value for source in conflict.sources if source.value is not None and not source.blob]
    known = set(lines_of(conflict.base.value)) if conflict.base and conflict.base.value is not None else None
    if len(texts) == len(conflict.sources) == 2:
        for pair in aligned(lines_of(texts[0]), lines_of(texts[1])):
            table.add_row(*(_marked(line, other, known) for line, other in (pair, pair[::-1])))
    else:
        base = conflict.base.value if conflict.base else None
        same = (0, 0) if base is not None else _same_ends([lines_of(text) for text in texts])
        table.add_row(*(plain(_content(source, base, same)) for source in conflict.sources))
    return table


def aligned(first: Sequence[str], second: Sequence[str]) -> Iterator[tuple[str | None, str | None]]:
    """Yield the lines of two texts side by side, None where one has nothing; a row of dots where lines are left out."""
    if len(first) + len(second) > MAX_ALIGNED_LINES:
        yield from _beside(first, second)
        return
    groups = list(SequenceMatcher(None, first, second, autojunk=False).get_grouped_opcodes(CONTEXT_LINES))
    at = 0
    for group in groups:
        if group[0][1] > at:
            yield ("...", "...")
        for _, start, stop, other_start, other_stop in group:
            yield from _beside(first[start:stop], second[other_start:other_stop])
        at = group[-1][2]
    if groups and at < len(first):
        yield ("...", "...")


def spots(conflict: ConflictDetails) -> Iterator[Text]:
    """Yield where to look, and what the three texts had there."""
    for spot in conflict.spots or ():
        yield plain(f"{places([spot])} of the merge: {_REASON[spot.reason]}")
        for name, text in (("base", spot.base), ("1", spot.first), ("2", spot.second)):
            for line in lines_of(text) if text else ["(nothing)"]:
                yield plain(f"  {name:>4} | {line}")


def _beside(first: Sequence[str], second: Sequence[str]) -> Iterator[tuple[str | None, str | None]]:
    for number in range(max(len(first), len(second))):
        yield (
            first[number] if number < len(first) else None,
            second[number] if number < len(second) else None,
        )


def _marked(line: str | None, other: str | None, known: set[str] | None) -> Text:
    if line is None:
        return Text("")
    is_new = line != other if known is None else line not in known and line != "..."
    text = plain(f"{'+' if is_new else ' '} {line}")
    if is_new:
        text.stylize("bold")
    return text


def _same_ends(texts: Sequence[Sequence[str]]) -> tuple[int, int]:
    """Return how many lines at the start and at the end of texts may be left out, since they are the same in all."""
    if len(texts) < 2:
        return 0, 0
    shortest = min(map(len, texts))
    head = next((at for at in range(shortest) if len({text[at] for text in texts}) > 1), shortest)
    rest = shortest - head
    tail = next((at for at in range(rest) if len({text[-1 - at] for text in texts}) > 1), rest)
    return max(0, head - CONTEXT_LINES), max(0, tail - CONTEXT_LINES)


def _content(source: WireChange, base: str | None, same: tuple[int, int]) -> str:
    """Return a version without the ends that all have, or what it changed where its base is known."""
    if source.blob:
        return f"{console.counted(source.blob.size, 'byte', 'bytes')}, SHA-256 {source.blob.sha256[:12]}..."
    if source.value is None:
        return "(deleted)"
    if base is not None:
        return "\n".join(unified(base, source.value))
    lines, (head, tail) = lines_of(source.value), same
    return "\n".join([*(["..."] if head else []), *lines[head : len(lines) - tail], *(["..."] if tail else [])])
