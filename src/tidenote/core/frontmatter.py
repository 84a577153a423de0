"""Three-way merge of YAML front matter by key (docs/merge.md, rule 9).

The result is made of slices of the three sources, so what nobody touched stays as it was typed; yaml_source.py reads
them. What has a key twice, or none at all, is merge.py's matter: text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from tidenote.core.diff import Steps
from tidenote.core.hunks import merge_hunk
from tidenote.core.merged import Doubt, Origin, Piece, Reason
from tidenote.core.words import missing_words, words
from tidenote.core.yaml_source import (
    LIST,
    LOOSE,
    NOTHING,
    Block,
    Entry,
    Item,
    Items,
    Meaning,
    mapping,
    read_block,
    read_loosely,
)

_RULE: Final = re.compile(r"---[ \t\r]*")

_WHEN_CHANGED: Final = re.compile(
    r"(?:.+[._ -])?(?:date|last)?[._ -]?(?:mod|modified|updated?|edited|changed|mtime)(?:[._ -]?(?:at|on|date|time))?"
    r"|ms\.date",
    re.IGNORECASE,
)
"""Keys that say when the note was changed last: modified, lastmod, updated_at, date-updated ..."""

FRONT_STEPS: Final = 50_000
"""What the values of one front matter may cost."""

_MONTH_FIRST: Final = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")

_NEEDS_QUOTES: Final = re.compile(r"[\[\]{},#]")

_FIRST: Final[Origin] = "first"
_SECOND: Final[Origin] = "second"

K = TypeVar("K", bound=Hashable)


def front_size(lines: Sequence[str]) -> int:
    """Return how many lines at the start of a text are front matter with both its rules, 0 if it has none."""
    if not _RULE.fullmatch(lines[0]):
        return 0
    return next((at + 1 for at in range(1, len(lines)) if _RULE.fullmatch(lines[at])), 0)


def merge_front(base: list[str], first: list[str], second: list[str]) -> list[Piece] | None:
    """Merge three front matters, given as lines with their rules; an empty one is absent.

    Returns:
        Pieces of the result, each key once; None if they have to be merged as text: one has a key twice, none has
        any, or a side lacks what the base has (its rules may be broken, and its keys part of its text now).
    """
    if base and not (first and second):
        return None
    if first == second:
        return [Piece(first, "base" if first == base else "both")]
    if second == base:
        return [Piece(first, "first")]
    if first == base:
        return [Piece(second, "second")]
    sources = [lines[1:-1] for lines in (base, first, second)]
    for read in (read_block, read_loosely):
        blocks = [block for block in map(read, sources) if block]
        if len(blocks) == len(sources) and (read is read_block or any(block.keyed for block in blocks)):
            return _merge_read(read, blocks, base, first, second)
    return None


def _merge_read(
    read: Callable[[Sequence[str]], Block | None],
    blocks: list[Block],
    base: list[str],
    first: list[str],
    second: list[str],
) -> list[Piece]:
    """Merge front matters that were read; if the result would not be read as meant, second's stays."""
    old, mine, yours = blocks
    merged = _merge_blocks(old, mine, yours, Steps(FRONT_STEPS))
    check = read([line for piece in merged.pieces for line in piece.lines])
    if check is None or check.meaning != merged.meaning:
        pieces = [Piece(second[1:-1], "second", Doubt("front_matter", base, first, second))]
    else:
        pieces = merged.pieces
    if read is read_loosely or not base:
        pieces = [*pieces, _left_out(pieces, base, first, second)]
    return [Piece(second[:1], "base"), *pieces, Piece(second[-1:], "base")]


def _left_out(pieces: list[Piece], base: list[str], first: list[str], second: list[str]) -> Piece:
    """Return comments that say what the sides added and the pieces lack.

    Where nothing was front matter before, or what is does not parse, no word may depend on the history alone.
    """
    missing = missing_words(base, (first, second), (line for piece in pieces for line in piece.lines))
    comments = []
    for line in (*first, *second):
        if found := missing & Counter(words(line)):
            comments.append(f"# {line}")
            missing -= found
    return Piece(comments, "combined")


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Merged source, and what it must say when it is read again."""

    pieces: list[Piece]
    meaning: Meaning


def _merge_blocks(base: Block, first: Block, second: Block, steps: Steps) -> _Outcome:
    """Merge mappings key by key."""
    pieces: list[Piece] = []
    meanings = []
    old, mine, yours = base.by_key(), first.by_key(), second.by_key()
    for key in merge_order(list(old), list(mine), list(yours)):
        if outcome := _merge_entry(old.get(key), mine.get(key), yours.get(key), steps):
            pieces += outcome.pieces
            meanings.append((key, outcome.meaning))
    tail = _merge_comments(base.tail, first.tail, second.tail)
    return _Outcome([*pieces, Piece(tail, "combined")], mapping(meanings))


def merge_order(base: list[K], first: list[K], second: list[K]) -> list[K]:
    """Return all elements that either side has, once: in the order of the side that changed it, else the first's.

    What only the other side has follows what it follows there.
    """
    shared = set(first).intersection(second)
    kept = [element for element in base if element in shared]
    known = set(kept)
    moved = [[element for element in side if element in known] != kept for side in (first, second)]
    spine, other = (second, first) if moved == [False, True] else (first, second)
    pending: list[K] = []
    followers = {}
    for element in reversed(other):
        if element in shared:
            followers[element] = pending[::-1]
            pending = []
        else:
            pending.append(element)
    result = []
    pending.reverse()
    for element in spine:
        if element in shared:
            result += pending
            pending = followers[element]
        result.append(element)
    return [*result, *pending]


def _merge_entry(base: Entry | None, first: Entry | None, second: Entry | None, steps: Steps) -> _Outcome | None:
    """Merge one key; None if it goes."""
    if first is None or second is None:
        return _one_sided(base, first, second)
    if first.source == second.source:
        return _take(first, "both" if base is None or base.source != first.source else "base")
    if base and second.source == base.source:
        return _take(first, "first")
    if base and first.source == base.source:
        return _take(second, "second")
    lead = _merge_comments(base.lead if base else [], first.lead, second.lead)
    value = _merge_values(base, first, second, steps)
    return _Outcome([Piece(lead, "combined"), *value.pieces], value.meaning)


def _one_sided(base: Entry | None, first: Entry | None, second: Entry | None) -> _Outcome | None:
    """Merge a key that at most one side has: it was added there, or removed by the other side."""
    kept, origin = (second, _SECOND) if first is None else (first, _FIRST)
    if kept is None or (base and base.source == kept.source):
        return None
    return _take(kept, origin, _doubt("deleted_and_changed", base, first, second) if base else None)


def _merge_values(base: Entry | None, first: Entry, second: Entry, steps: Steps) -> _Outcome:
    """Merge a key that both sides wrote differently."""
    if second.meaning == first.meaning or (base and first.meaning == base.meaning):
        outcome = _Outcome([Piece(second.lines, "second")], second.meaning)
    elif base and second.meaning == base.meaning:
        outcome = _Outcome([Piece(first.lines, "first")], first.meaning)
    elif later := _later(first, second):
        return later
    else:
        ways = (_merge_loose,) if first.key[0] == LOOSE else (_merge_inner, _merge_items, _merge_long)
        merged = next(filter(None, (way(base, first, second, steps) for way in ways)), None)
        if merged is None:
            return _Outcome(
                [Piece(second.lines, "second", _doubt("front_matter", base, first, second))], second.meaning
            )
        outcome = merged
    lines = [line for piece in outcome.pieces for line in piece.lines]
    if missing_words(base.lines if base else [], (first.lines, second.lines), lines):
        return _Outcome([Piece(lines, "combined", _doubt("front_matter", base, first, second))], outcome.meaning)
    return outcome


def _take(entry: Entry, origin: Origin, doubt: Doubt | None = None) -> _Outcome:
    return _Outcome([Piece(entry.source, origin, doubt)], entry.meaning)


def _doubt(reason: Reason, base: Entry | None, first: Entry | None, second: Entry | None) -> Doubt:
    return Doubt(reason, *(entry.source if entry else [] for entry in (base, first, second)))


def _merge_comments(base: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Merge comments and blank lines: a side's change, or all lines of both."""
    if first in (base, second):
        return list(second)
    if second == base:
        return list(first)
    return [*first, *(line for line in second if line not in first)]


def _merge_inner(base: Entry | None, first: Entry, second: Entry, steps: Steps) -> _Outcome | None:
    """Merge values that are mappings themselves; None if they are not, or are indented differently."""
    mine, yours = first.block, second.block
    old = base.block if base else Block(())
    if old is None or mine is None or yours is None or mine.column != yours.column:
        return None
    merged = _merge_blocks(old, mine, yours, steps)
    head = first.lines[:1] if base and second.lines[0] == base.lines[0] else second.lines[:1]
    return _Outcome([Piece(head, "combined"), *merged.pieces], merged.meaning if len(merged.meaning) > 1 else NOTHING)


def _merge_items(base: Entry | None, first: Entry, second: Entry, _: Steps) -> _Outcome | None:
    """Merge lists as sets that keep their order; None if one is no list, or cannot be written like the other."""
    mine, yours = first.items, second.items
    old = base.items if base else Items()
    if old is None or mine is None or yours is None:
        return None
    lists = [[item.meaning for item in items.items] for items in (old, mine, yours)]
    if any(len(set(meanings)) < len(meanings) for meanings in lists):
        return None
    template = yours if yours.style else mine
    known = {item.meaning: _written_like(template, items, item) for items in (mine, yours) for item in items.items}
    kept = [
        meaning
        for meaning in merge_order(*lists)
        if meaning not in lists[0] or (meaning in lists[1] and meaning in lists[2])
    ]
    sources = [known[meaning] for meaning in kept]
    lines = template.render([source for source in sources if source is not None])
    if None in sources:
        return None
    return _Outcome([Piece(lines, "combined")], (LIST, *kept) if kept or template.style == "[" else NOTHING)


def _merge_loose(base: Entry | None, first: Entry, second: Entry, steps: Steps) -> _Outcome | None:
    """Merge entries that were read loosely as text; None if that makes something else than one of their key."""
    if steps.left < 0:
        return None
    pieces = merge_hunk(base.lines if base else [], first.lines, second.lines, steps)
    block = read_loosely([line for piece in pieces for line in piece.lines])
    if block is None or [entry.key for entry in block.entries] != [first.key]:
        return None
    return _Outcome(pieces, block.entries[0].meaning)


def _merge_long(base: Entry | None, first: Entry, second: Entry, steps: Steps) -> _Outcome | None:
    """Merge values of several lines as text; None if that leaves a doubt, or something else than one value."""
    if base is None or min(len(entry.lines) for entry in (base, first, second)) == 1:
        return None
    pieces = merge_hunk(base.lines, first.lines, second.lines, steps)
    block = read_block([line for piece in pieces for line in piece.lines])
    if block is None or len(block.entries) != 1 or any(piece.doubt for piece in pieces):
        return None
    return _Outcome(pieces, block.entries[0].meaning)


def _written_like(template: Items, items: Items, item: Item) -> str | None:
    """Return an item's source as the template's list writes it; None if that takes more than copying."""
    if items.style == template.style:
        return item.source
    if item.bare is None or (template.style == "[" and _NEEDS_QUOTES.search(item.bare)):
        return None
    return item.bare if template.style == "[" else template.style + item.bare


def _later(first: Entry, second: Entry) -> _Outcome | None:
    """Return the later of two times of change; None if the key is another, or one value is no time."""
    if not _WHEN_CHANGED.fullmatch(str(first.key[1])):
        return None
    mine, yours = _moment(first.meaning), _moment(second.meaning)
    if mine is None or yours is None:
        return None
    kept, origin = (first, _FIRST) if mine > yours else (second, _SECOND)
    return _Outcome([Piece(kept.lines, origin)], kept.meaning)


def _moment(meaning: Meaning) -> datetime | None:
    """Read a time as people write it: ISO 8601, or month/day/year. Without a zone it is UTC."""
    value = meaning[-1]
    if not isinstance(value, str):
        return None
    if found := _MONTH_FIRST.fullmatch(value):
        value = f"{found[3]}-{found[1]:0>2}-{found[2]:0>2}"
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
