"""The lines of one hunk: what becomes of a place that both sides changed (docs/merge.md, rules 5 to 8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from tidenote.core.diff import Edit, Steps, diff, unique_in_both
from tidenote.core.markdown import LOOK_AROUND, interleave, is_rule, mend_tables
from tidenote.core.merged import Doubt, Origin, Piece
from tidenote.core.words import (
    MIN_SIMILARITY,
    contains,
    has_words,
    merge_line,
    missing_words,
    rewrap,
    same_but_space,
    similarity,
    weights,
    words,
)

MAX_CELLS: Final = 20_000
"""The largest table of base lines times side lines in which versions of one line are looked for."""

MIN_ANCHOR_CHARACTERS: Final = 3
"""Word characters that a line needs to be recognised as the same insertion on both sides."""

MIN_NEAR_SIMILARITY: Final = 0.6
"""Below this two inserted lines are not taken for the same insertion, whatever their words."""

_EQUAL: Final = 1.3
_EQUAL_BLANK: Final = 0.15


class Around(NamedTuple):
    """What stands around a place, as far as that matters."""

    before: Sequence[str] = ()
    after: Sequence[str] = ()


NOTHING_AROUND: Final = Around()

Worth = Callable[[str, str, Counter[str], Counter[str]], float]
"""What it is worth to take two lines, given with their `weights`, for one; 0.0: they are different lines."""


def merge_hunk(
    base: list[str], first: list[str], second: list[str], steps: Steps, around: Around = NOTHING_AROUND
) -> list[Piece]:
    """Merge the lines of a hunk that both sides changed, each in its own way.

    Args:
        base: what the base has there; empty if both sides inserted.
        first: the first side's lines; may be empty.
        second: the second side's lines, not equal to the first's.
        steps: what may be spent; afterwards coarser rules apply, down to the union of lines.
        around: base lines before and after the hunk.
    """
    pieces = _rewrapped(base, first, second, steps) or mend_tables(_walk(base, first, second, steps, around))
    result = [line for piece in pieces for line in piece.lines]
    if missing_words(base, (first, second), result):
        union = [line for piece in _both_inserted(first, second, steps) for line in piece.lines]
        return [Piece(union, "combined", Doubt("both_changed", base, first, second))]
    return pieces


def _rewrapped(base: list[str], first: list[str], second: list[str], steps: Steps) -> list[Piece]:
    """Change the words of lines that the other side only wrapped anew; nothing if that is not what it did."""
    for wrapped, changed in ((second, first), (first, second)):
        if _wraps(base, wrapped):
            text = rewrap("\n".join(base), "\n".join(wrapped), "\n".join(changed), steps)
            return [] if text is None else [Piece(text.split("\n"), "combined")]
    return []


def _wraps(base: list[str], side: list[str]) -> bool:
    """Say whether a side has the base's text in other lines."""
    return same_but_space(base, side) and _texts(base) != _texts(side)


def _texts(lines: list[str]) -> list[list[str]]:
    return [line.split() for line in lines if line.strip()]


# Rule 5: both sides inserted


def _both_inserted(
    first: Sequence[str], second: Sequence[str], steps: Steps, around: Around = NOTHING_AROUND
) -> list[Piece]:
    if first == second:
        return [Piece(first, "both")]
    if not second or (first and contains(first, second)):
        return [Piece(first, "first")]
    if not first or contains(second, first):
        return [Piece(second, "second")]
    if items := interleave(first, second, *around):
        return [Piece(items, "combined")]
    head = _common(first, second)
    tail = _common(first[head:][::-1], second[head:][::-1])
    first_end, second_end = len(first) - tail, len(second) - tail
    return [
        Piece(first[:head], "both"),
        *_side_by_side(first[head:first_end], second[head:second_end], steps),
        Piece(first[first_end:], "both"),
    ]


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """Return how many lines at the start are equal; 0 if they are all blank."""
    count = 0
    while count < min(len(first), len(second)) and first[count] == second[count]:
        count += 1
    return count if any(line.strip() for line in first[:count]) else 0


def _side_by_side(first: Sequence[str], second: Sequence[str], steps: Steps) -> list[Piece]:
    """Lay two insertions next to each other: lines that both have once, between them what only one of them has."""
    pieces = []
    first_at = second_at = 0
    for first_anchor, second_anchor in unique_in_both(first, second, tells):
        pieces += _near(first[first_at:first_anchor], second[second_at:second_anchor], steps)
        pieces.append(Piece([first[first_anchor]], "both"))
        first_at, second_at = first_anchor + 1, second_anchor + 1
    return [*pieces, *_near(first[first_at:], second[second_at:], steps)]


def _near(first: Sequence[str], second: Sequence[str], steps: Steps) -> list[Piece]:
    """Take two insertions of nearly the same line once; between them first's lines come first, then second's."""
    pieces = []
    first_at = second_at = 0
    for first_near, second_near in _near_pairs(first, second, steps):
        pieces += [
            Piece(first[first_at:first_near], "first"),
            Piece(second[second_at:second_near], "second"),
            *_greater("", first[first_near], second[second_near]),
        ]
        first_at, second_at = first_near + 1, second_near + 1
    return [*pieces, Piece(first[first_at:], "first"), Piece(second[second_at:], "second")]


def _near_pairs(first: Sequence[str], second: Sequence[str], steps: Steps) -> list[tuple[int, int]]:
    """Return the places of lines that differ a little, and of which one has all words of the other."""
    pairs = enumerate(_likeliest(first, second, steps, _nearness) or [])
    return [(first_at, second_at) for first_at, second_at in pairs if second_at is not None]


def _nearness(first: str, second: str, mine: Counter[str], yours: Counter[str]) -> float:
    """Return what it is worth to take two inserted lines for the same insertion; 0.0: they are different lines."""
    alike = similarity(mine, yours)
    if first == second or alike < MIN_NEAR_SIMILARITY:
        return 0.0
    return alike if has_words(mine, yours) or has_words(yours, mine) else 0.0


def _greater(base: str, first: str, second: str) -> list[Piece]:
    """Return the version of a line that has every word that the other one added; nothing if neither has."""
    doubt = None if words(first) == words(second) else Doubt("both_changed", _some(base), [first], [second])
    if not missing_words([base], [[second]], [first]):
        return [Piece([first], "first", doubt)]
    if not missing_words([base], [[first]], [second]):
        return [Piece([second], "second", doubt)]
    return []


def tells(line: str) -> bool:
    """Say whether a line is more than a bracket or a rule, so that two equal ones are no chance."""
    return sum(map(len, words(line))) >= MIN_ANCHOR_CHARACTERS


# Rule 6: the base's lines, each with its version on either side


def _walk(base: list[str], first: list[str], second: list[str], steps: Steps, around: Around) -> list[Piece]:
    """Go through the base's lines; what a side put before, between and after them is an insertion."""
    in_first, in_second = pair_lines(base, first, steps), pair_lines(base, second, steps)
    first_gaps, second_gaps = _gaps(in_first, first), _gaps(in_second, second)
    pieces: list[Piece] = []
    between: list[Piece] = []  # since the last line that both sides kept
    gone: list[str] = []  # what both deleted there
    only_blank = not any(map(str.strip, base))
    for index, line in enumerate(base):
        mine, yours = _version(first, in_first[index]), _version(second, in_second[index])
        if first_gaps[index] or second_gaps[index]:
            between += _both_inserted(first_gaps[index], second_gaps[index], steps, _neighbours(base, index, around))
        if mine is not None and yours is not None:
            pieces += [*_doubt_rewritten(gone, between), *_one_line(line, mine, yours, steps)]
            between, gone = [], []
        elif mine is None and yours is None:
            gone.append(line)
        elif only_blank and any(map(str.strip, first if mine is None else second)):
            between.append(Piece([line], "base"))  # text that took its place needs no less room
        else:
            between += _half_deleted(line, mine, yours)
    between += _both_inserted(first_gaps[-1], second_gaps[-1], steps, _neighbours(base, len(base), around))
    return [*pieces, *_doubt_rewritten(gone, between)]


def _doubt_rewritten(gone: list[str], pieces: list[Piece]) -> list[Piece]:
    """Doubt what stands in the place of lines that both sides deleted, if each put something else there."""
    pieces = [piece for piece in pieces if piece.lines]
    if not gone or not {"first", "second"} <= {piece.origin for piece in pieces}:
        return pieces
    doubted = []
    for piece in pieces:
        first = [] if piece.origin == "second" else piece.lines
        second = [] if piece.origin == "first" else piece.lines
        doubted.append(replace(piece, doubt=piece.doubt or Doubt("both_changed", gone, first, second)))
        gone = []
    return doubted


def _neighbours(base: list[str], index: int, around: Around) -> Around:
    """Return what stands around the place before a base line of the hunk."""
    before = [*around.before, *base[max(0, index - LOOK_AROUND) : index]]
    after = [*base[index : index + LOOK_AROUND], *around.after]
    return Around(before[-LOOK_AROUND:], after[:LOOK_AROUND])


def _gaps(pairs: list[int | None], side: list[str]) -> list[list[str]]:
    """Return what a side inserted before each base line and after the last: it follows the last line that it kept."""
    gaps: list[list[str]] = [[] for _ in range(len(pairs) + 1)]
    gap = at = 0
    for index, pair in [*enumerate(pairs), (len(pairs), len(side))]:
        if pair is not None:
            gaps[gap] = side[at:pair]
            gap, at = index + 1, pair + 1
    return gaps


def _version(side: list[str], pair: int | None) -> str | None:
    return None if pair is None else side[pair]


def _one_line(base: str, first: str, second: str, steps: Steps) -> list[Piece]:
    """Merge the versions of a base line that both sides kept."""
    if first == second:
        return [Piece([first], "base" if first == base else "both")]
    if first == base:
        return [Piece([second], "second")]
    if second == base:
        return [Piece([first], "first")]
    line = merge_line(base, first, second, steps)
    if line is None and is_rule(first) and is_rule(second):
        return [Piece([second], "second")]
    if line is not None:
        return [Piece([line], "combined")]
    both = Piece([first, second], "combined", Doubt("both_changed", [base], [first], [second]))
    return _greater(base, first, second) or [both]


def _half_deleted(base: str, first: str | None, second: str | None) -> list[Piece]:
    """Keep a base line that one side deleted only if the other side changed more of it than white space."""
    kept = first or second or ""
    if same_but_space(base, kept):
        return []
    origin: Origin = "first" if second is None else "second"
    return [Piece([kept], origin, Doubt("deleted_and_changed", [base], _some(first), _some(second)))]


def _some(line: str | None) -> list[str]:
    """Return a line's lines: none if there is no text."""
    return [line] if line else []


def pair_lines(base: list[str], side: list[str], steps: Steps) -> list[int | None]:
    """Return for each line of the base the index of its version on a side, None if it has none; they keep their order.

    The pairs are those whose likeness adds up to the most. In a hunk that is too large for that, only equal lines
    pair, as their difference has them.
    """
    pairs = _likeliest(base, side, steps, _likeness)
    return _equal_pairs(base, side, steps) if pairs is None else pairs


def _likeliest(old: Sequence[str], new: Sequence[str], steps: Steps, worth: Worth) -> list[int | None] | None:
    """Return for each line the index of its partner on the other side, None if it has none; together worth the most.

    None if there are too many lines, or the steps don't suffice.
    """
    cells = len(old) * len(new)
    if cells > MAX_CELLS:
        return None
    old_weights, new_weights = [weights(line) for line in old], [weights(line) for line in new]
    if not steps.spend(cells + len(new) * sum(map(len, old_weights)) // 4):
        return None
    table = [
        [worth(one, other, mine, yours) for other, yours in zip(new, new_weights, strict=True)]
        for one, mine in zip(old, old_weights, strict=True)
    ]
    return _heaviest(table, len(new))


def _equal_pairs(base: list[str], side: list[str], steps: Steps) -> list[int | None]:
    pairs: list[int | None] = []
    side_at = 0
    for edit in [*diff(base, side, steps), Edit(len(base), len(base), len(side), len(side))]:
        pairs += range(side_at, edit.start)
        pairs += [None] * (edit.old_end - edit.old_start)
        side_at = edit.end
    return pairs


def _likeness(old: str, new: str, old_weights: Counter[str], new_weights: Counter[str]) -> float:
    """Return what it is worth to take a line for another's version; 0.0: they are different lines."""
    if old == new:
        return _EQUAL if old.strip() else _EQUAL_BLANK
    alike = similarity(old_weights, new_weights)
    return alike if alike >= MIN_SIMILARITY else 0.0


def _heaviest(likeness: list[list[float]], width: int) -> list[int | None]:
    """Return the column of each row in an order-keeping pairing of rows and columns with the greatest sum."""
    best = [[0.0] * (width + 1)]  # for each row, last first: the greatest sum from a column on
    for row in reversed(likeness):
        below, current = best[-1], [0.0] * (width + 1)
        for column in range(width - 1, -1, -1):
            paired = row[column] + below[column + 1] if row[column] else 0.0
            current[column] = max(paired, below[column], current[column + 1])
        best.append(current)
    best.reverse()
    pairs: list[int | None] = []
    column = 0
    for index in range(len(likeness)):
        at = column
        while at < width and best[index][at] == best[index][at + 1]:
            at += 1
        if best[index][column] == best[index + 1][column]:
            pairs.append(None)
            continue
        pairs.append(at)
        column = at + 1
    return pairs
