"""Three-way merge of a note's text: no word lost, none made up, and every replica gets the same.

Pure and deterministic: work is counted, never timed. The rules have their numbers from docs/merge.md; those for one
hunk are in hunks.py, for one line in words.py, for YAML front matter in frontmatter.py. Whether texts are merged at
all is resolve.py's matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from tidenote.core.diff import Edit, Hunk, Purse, Steps, diff, meet
from tidenote.core.frontmatter import front_size, merge_front
from tidenote.core.hunks import Around, merge_hunk, tells
from tidenote.core.markdown import LOOK_AROUND
from tidenote.core.merged import Merged, Origin, Part, Piece, assemble
from tidenote.core.moves import follow_moves
from tidenote.core.words import missing_words
from tidenote.core.yaml_source import read_loosely

LINE_STEPS: Final = 150_000
"""What the line differences of one merge may cost."""

HUNK_STEPS: Final = 150_000
"""What the hunks of one merge may cost."""

FRONT_STEPS: Final = 8
"""What a character of front matter costs, about: it is read as YAML."""

_BOM: Final = "\ufeff"

T = TypeVar("T")


def merge_text(base: str, first: str, second: str, *, purse: Purse | None = None) -> Merged:
    """Merge two texts that were made of one base without knowing each other.

    Args:
        base: the text that both sides started from.
        first: the side with the smaller dot; where both insert in one place its text comes first.
        second: the side with the greater dot; where only one value can stay it is this side's.
        purse: what it may cost: a step a character, and those of its differences. It never alters the result.

    Raises:
        TooMuchWork: it costs more than is in the purse.
    """
    if first == second:
        return _whole(first, "base" if first == base else "both")
    if second == base:
        return _whole(first, "first")
    if first == base:
        return _whole(second, "second")
    texts = (base, first, second)
    bom = choose(*(text.startswith(_BOM) for text in texts))
    if purse is not None:
        purse.take(sum(map(len, texts)))
    merged = _merge_plain(*map(_plain, texts), purse=purse)
    text = _with_crlf(merged.text) if _ends_in_crlf(*texts) else merged.text
    return Merged(_BOM + text if bom else text, merged.spots, merged.parts)


def choose(base: T, first: T, second: T) -> T:
    """Return the value that a side changed; the first's if both did."""
    return second if first == base else first


def _whole(text: str, origin: Origin) -> Merged:
    return Merged(text, parts=(Part(0, text.count("\n") + 1, origin),))


def _ends_in_crlf(base: str, first: str, second: str) -> bool:
    """Say whether the lines of the result end in CR LF; a text of one line has no say."""
    style = _uses_crlf(base)
    sides = [_uses_crlf(side) if "\n" in side else style for side in (first, second)]
    return choose(style, *sides)


def _uses_crlf(text: str) -> bool:
    """Say whether most lines end in CR LF."""
    return 2 * text.count("\r\n") > text.count("\n")


def _with_crlf(text: str) -> str:
    """End all lines in CR LF; some may already, if the text they are from ended few that way."""
    return text.replace("\r\n", "\n").replace("\n", "\r\n")


def _plain(text: str) -> str:
    """Take off the byte-order mark and, where they are the rule, the carriage returns."""
    text = text.removeprefix(_BOM)
    return text.replace("\r\n", "\n") if _uses_crlf(text) else text


def _merge_plain(base: str, first: str, second: str, *, purse: Purse | None) -> Merged:
    texts = [text.split("\n") for text in (base, first, second)]
    sizes = [front_size(lines) for lines in texts]
    if not any(sizes):
        return assemble(_merge_whole(texts, purse))
    heads = [lines[:size] for lines, size in zip(texts, sizes, strict=True)]
    if purse is not None:
        purse.take(FRONT_STEPS * sum(len(line) for head in heads for line in head))
    front = merge_front(*heads)
    if front is None and all(sizes):  # a rule must not wander off into the text
        rules = heads[2]
        front = [
            Piece(rules[:1], "base"),
            *merge_lines(*(head[1:-1] for head in heads), purse=purse),
            Piece(rules[-1:], "base"),
        ]
    if front is None:
        return assemble(_merge_whole(texts, purse))
    bodies = [lines[size:] for lines, size in zip(texts, sizes, strict=True)]
    return assemble([*front, *merge_lines(*bodies, purse=purse)])


def _merge_whole(texts: list[list[str]], purse: Purse | None) -> list[Piece]:
    """Merge texts from their first line on; what would become front matter with a key twice is kept from it."""
    pieces = merge_lines(*texts, purse=purse)
    lines = [line for piece in pieces for line in piece.lines]
    if _repeats_a_key(lines) and not any(map(_repeats_a_key, texts)):
        pieces.insert(0, Piece([""], "combined"))
    return pieces


def _repeats_a_key(lines: list[str]) -> bool:
    """Say whether a text's front matter has a key twice."""
    size = front_size(lines) if lines else 0
    return size > 0 and read_loosely(lines[1 : size - 1]) is None


def shared_text(first: str, second: str) -> str:
    """Return the lines that two texts share, in their order: what to propose a merge over where no base is known.

    Passages that are equal by chance, blank lines and rules, are left out but for the end: two notes are not to be
    woven together there.
    """
    lines = first.split("\n")
    shared: list[str] = []
    at = 0
    for edit in [*diff(lines, second.split("\n"), Steps(LINE_STEPS)), Edit(len(lines), len(lines), 0, 0)]:
        passage = lines[at : edit.old_start]
        if any(map(tells, passage)) or edit.old_start == len(lines):
            shared += passage
        at = edit.old_end
    return "\n".join(shared)


def merge_lines(base: list[str], first: list[str], second: list[str], *, purse: Purse | None = None) -> list[Piece]:
    """Merge texts by their lines. The last line is empty if a text ends in a line feed: an ordinary line, too."""
    steps = Steps(LINE_STEPS, purse)
    hunk_steps = Steps(HUNK_STEPS, purse)
    edits = [diff(base, side, steps) for side in (first, second)]
    followed = follow_moves(base, first, second, edits, hunk_steps)
    if followed is not None:
        edits_there = [diff(base, side, steps) for side in followed]
        pieces = _merge_edits(base, *followed, edits_there, hunk_steps)
        if not missing_words(base, (first, second), (line for piece in pieces for line in piece.lines)):
            return pieces
    return _merge_edits(base, first, second, edits, hunk_steps)


def _merge_edits(
    base: list[str], first: list[str], second: list[str], edits: list[list[Edit]], steps: Steps
) -> list[Piece]:
    """Merge the differences of two sides, hunk by hunk."""
    pieces: list[Piece] = []
    at = 0
    for hunk in meet(*edits, touching=True):
        pieces.append(Piece(base[at : hunk.base.start], "base"))
        pieces += _merge_hunk(hunk, base, first, second, steps)
        at = hunk.base.stop
    return [*pieces, Piece(base[at:], "base")]


def _merge_hunk(
    hunk: Hunk, base: Sequence[str], first: Sequence[str], second: Sequence[str], steps: Steps
) -> list[Piece]:
    """Take a change that one side made, or both alike; else look into the hunk."""
    old, mine, yours = list(base[hunk.base]), list(first[hunk.first]), list(second[hunk.second])
    if not hunk.by_second:
        return [Piece(mine, "first")]
    if not hunk.by_first:
        return [Piece(yours, "second")]
    if mine == yours:
        return [Piece(mine, "both")]
    around = Around(
        base[max(0, hunk.base.start - LOOK_AROUND) : hunk.base.start],
        base[hunk.base.stop : hunk.base.stop + LOOK_AROUND],
    )
    return merge_hunk(old, mine, yours, steps, around)
