"""Lines that one side moved while the other changed them (docs/merge.md, rule 4).

The change follows the line: it is made where the line was moved to, before anything is merged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tidenote.core.diff import Edit, Steps, singles
from tidenote.core.hunks import pair_lines, tells


def follow_moves(
    base: list[str], first: list[str], second: list[str], edits: Sequence[Sequence[Edit]], steps: Steps
) -> tuple[list[str], list[str]] | None:
    """Return the sides with each change of a line that the other side moved made at the line's new place.

    Args:
        base: lines of the base.
        first: the first side's lines.
        second: the second side's lines.
        edits: the differences of base and either side.
        steps: what may be spent; changes that it does not suffice for stay where they are.

    Returns:
        The lines of both sides; None if there is no such change.
    """
    sides = (list(first), list(second))
    moved = [_moved(base, side, found) for side, found in zip(sides, edits, strict=True)]
    any_followed = False
    for mover, changer in ((0, 1), (1, 0)):
        wanted = moved[mover].keys() - moved[changer].keys()
        for old, new in _changed(base, sides[changer], edits[changer], wanted, steps):
            sides[mover][moved[mover][old]], sides[changer][new] = sides[changer][new], base[old]
            any_followed = True
    return sides if any_followed else None


def _moved(base: list[str], side: list[str], edits: Sequence[Edit]) -> dict[int, int]:
    """Return where on a side the lines are that it moved as they were: those that both texts have once."""
    places, others = singles(base), singles(side)
    gone = (base[at] for edit in edits for at in range(edit.old_start, edit.old_end))
    return {places[line]: others[line] for line in gone if line in places and line in others and tells(line)}


def _changed(
    base: list[str], side: list[str], edits: Sequence[Edit], wanted: set[int], steps: Steps
) -> Iterator[tuple[int, int]]:
    """Return which of the wanted lines a side changed, and where the changed line is."""
    for edit in edits:
        places = range(edit.old_start, edit.old_end)
        if wanted.isdisjoint(places):
            continue
        pairs = pair_lines(base[edit.old_start : edit.old_end], side[edit.start : edit.end], steps)
        for old, pair in zip(places, pairs, strict=True):
            if old in wanted and pair is not None:
                yield old, edit.start + pair
