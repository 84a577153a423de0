"""What a merge must know of Markdown: lists that people keep in alphabetical order, and tables.

Both are kept what they were: an alphabetical list stays alphabetical, a table stays a table.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from heapq import merge
from itertools import pairwise, takewhile
from typing import Final

from tidenote.core.merged import Piece

LOOK_AROUND: Final = 8
"""Lines before and after an insertion that are looked at."""

MIN_NEIGHBOURS: Final = 3
"""Items around an insertion that must be in order to call a list alphabetical."""

_ITEM: Final = re.compile(r"(\s*[-*+] +)(?:\[[ xX]\] +)?\W*(.*)")
_RULE: Final = re.compile(r"\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?")
_BAR: Final = re.compile(r"(?<!\\)\|")


def interleave(
    first: Sequence[str], second: Sequence[str], before: Sequence[str], after: Sequence[str]
) -> list[str] | None:
    """Return the items that both sides inserted into an alphabetical list in its order; None if it is none.

    Args:
        first: lines that the first side inserted.
        second: lines that the second side inserted in the same place.
        before: up to LOOK_AROUND lines before the place.
        after: up to LOOK_AROUND lines after it.
    """
    marker = _item(first[0])[0] if first and second else ""
    if not marker:
        return None
    above = list(takewhile(lambda line: _item(line)[0] == marker, reversed(before)))[::-1]
    below = list(takewhile(lambda line: _item(line)[0] == marker, after))
    if len(above) + len(below) < MIN_NEIGHBOURS:
        return None
    if all(_in_order([*above, *side, *below], marker) for side in (first, second)):
        return list(merge(first, second, key=_item))
    return None


def _item(line: str) -> tuple[str, str]:
    """Return a list item's indented bullet, and what it is sorted by; two empty texts if the line is no item."""
    found = _ITEM.fullmatch(line)
    return (found[1], found[2].casefold()) if found else ("", "")


def _in_order(lines: Sequence[str], marker: str) -> bool:
    items = [_item(line) for line in lines]
    return all(item[0] == marker for item in items) and all(above <= below for above, below in pairwise(items))


def is_rule(line: str) -> bool:
    """Say whether a line is the rule under a table's head, or another line of dashes."""
    return bool(_RULE.fullmatch(line.strip()))


def mend_tables(pieces: Sequence[Piece]) -> list[Piece]:
    """Give the rule under a table's head as many cells as the head has, where merging made the head.

    Both sides may have added a column: their heads add up, but of equal rules one is taken.
    """
    mended: list[Piece] = []
    head = ""
    for piece in pieces:
        if not piece.lines:
            continue
        if head and len(piece.lines) == 1 and is_rule(piece.lines[0]):
            piece = replace(piece, lines=[_with_cells(piece.lines[0], _cells(head))], origin="combined")
        mended.append(piece)
        head = piece.lines[-1] if piece.origin == "combined" and "|" in piece.lines[-1] else ""
    return mended


def _cells(row: str) -> int:
    row = row.strip().removeprefix("|").removesuffix("|")
    return len(_BAR.findall(row)) + 1


def _with_cells(rule: str, count: int) -> str:
    """Return a table's rule with so many cells; the last one is repeated, or some are cut off."""
    inner = rule.strip().removeprefix("|").removesuffix("|").split("|")
    cells = [*inner, *[inner[-1]] * (count - len(inner))][:count]
    if len(cells) == len(inner):
        return rule
    opened, closed = rule.strip().startswith("|"), rule.strip().endswith("|")
    return "|" * opened + "|".join(cells) + "|" * closed
