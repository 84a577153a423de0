"""What a text merge returns: the text, where each part of it came from, and where a person may want to look.

Values only; made by merge.py and frontmatter.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

Origin = Literal["base", "first", "second", "both", "combined"]
"""Whose lines they are: unchanged, one side's, the same on both, or made of more than one text."""

Reason = Literal["both_changed", "deleted_and_changed", "front_matter"]
"""Why a person may want to look.

`both_changed`: the sides' words could not be combined, so both are kept; `deleted_and_changed`: one side deleted
what the other changed, and the change is kept; `front_matter`: only one value of two could stay.
"""


@dataclass(frozen=True, slots=True)
class Spot:
    """A place that a person may want to look at: lines `start:end` of the result, counted from 0, end not included."""

    start: int
    end: int
    reason: Reason
    base: str
    """What the base had there, lines joined by a line feed; empty if it had nothing."""
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Part:
    """A run of result lines `start:end` that came from the same text, counted from 0, end not included."""

    start: int
    end: int
    origin: Origin


@dataclass(frozen=True, slots=True)
class Merged:
    """The result of a merge.

    Lines end at line feeds only; the last one is empty if the text ends in one.
    """

    text: str
    spots: tuple[Spot, ...] = ()
    """In order; they don't overlap."""
    parts: tuple[Part, ...] = ()
    """In order; together they are all lines of the text, and two neighbours have different origins."""


Merge = Callable[[str, str, str], Merged]
"""What merges two texts: base, first, second. It may raise `TooMuchWork`."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a piece may want a look, and what the three texts had there, as lines."""

    reason: Reason
    base: Sequence[str]
    first: Sequence[str]
    second: Sequence[str]


@dataclass(frozen=True, slots=True)
class Piece:
    """Lines of a result before they are put together; it may have none, if it has no doubt."""

    lines: Sequence[str]
    origin: Origin
    doubt: Doubt | None = None


def assemble(pieces: Sequence[Piece]) -> Merged:
    """Put pieces together; neighbours of one origin become one part, neighbouring doubts of one reason one spot."""
    lines: list[str] = []
    parts: list[Part] = []
    doubts: list[_Place] = []
    for piece in pieces:
        if not piece.lines:
            continue
        start = len(lines)
        lines += piece.lines
        if parts and parts[-1].origin == piece.origin:
            start = parts.pop().start
        parts.append(Part(start, len(lines), piece.origin))
        if piece.doubt:
            _note(doubts, len(lines) - len(piece.lines), len(lines), piece.doubt)
    if not lines:  # all is gone, which leaves the one empty line of an empty text
        return Merged("", parts=(Part(0, 1, "combined"),))
    return Merged("\n".join(lines), tuple(place.spot() for place in doubts), tuple(parts))


@dataclass(slots=True)
class _Place:
    """Result lines `start:end` with what makes one doubt of them, in order."""

    start: int
    end: int
    doubts: list[Doubt]

    def spot(self) -> Spot:
        """Return the spot that the doubts make together."""
        base, first, second = (
            "\n".join(chain.from_iterable(sources))
            for sources in zip(*((doubt.base, doubt.first, doubt.second) for doubt in self.doubts), strict=True)
        )
        return Spot(self.start, self.end, self.doubts[0].reason, base, first, second)


def _note(places: list[_Place], start: int, end: int, doubt: Doubt) -> None:
    """Add a doubt about lines `start:end`, to the one before it if they touch."""
    if places and places[-1].end == start and places[-1].doubts[0].reason == doubt.reason:
        places[-1].end = end
        places[-1].doubts.append(doubt)
    else:
        places.append(_Place(start, end, [doubt]))
