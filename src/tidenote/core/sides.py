"""Two texts that compete, and whether they become one: merged, the one that contains the other, or not at all.

Pure. Which texts meet, and where the result goes, is resolve.py's matter; how texts are merged is merge.py's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from tidenote.core.ancestry import NoBase
from tidenote.core.merge import merge_text
from tidenote.core.merged import Merge
from tidenote.core.version import Change, Dot
from tidenote.core.words import tokens

OnTie = Literal["review", "ask", "merge"]
"""What a vault does with a merge of edits that have equal timestamps.

`review` merges and shows it in the conflict view, `ask` leaves the siblings for a person, `merge` says nothing.
"""

MAX_TEXT_BYTES: Final = 2**20
"""A merge whose text would be longer, in bytes of UTF-8, is not made."""

MAX_FINDS: Final = 1000
"""How many places a text is looked for in another one."""

_WINDOW: Final = 8
"""How many characters to read back to see which word one belongs to: more accents than any letter has."""

_BOM: Final = "\ufeff"


@dataclass(frozen=True, slots=True)
class Side:
    """One text of a merge: a version's, or what was made of several.

    Attributes:
        nodes: the dots that stand for it in the graph of the key that is settled.
        dot: the greatest dot in it; of two sides, the one with the smaller comes first.
        times: all timestamps in it.
        text: its text.
        modified_at: the greatest, ms since 1970; None if nobody said.
        live: whether all of it was typed in editors that show remote edits as they come.
        conflict: whether a person should look at it.
    """

    nodes: frozenset[Dot]
    dot: Dot
    times: frozenset[int]
    text: str
    modified_at: int | None
    live: bool
    conflict: bool

    @classmethod
    def of(cls, change: Change, nodes: frozenset[Dot] | None = None) -> Side:
        """Return the side of a text change; other `nodes` than its own dot stand for what came from another key."""
        return cls(
            frozenset([change.dot]) if nodes is None else nodes,
            change.dot,
            frozenset([change.dot.timestamp]),
            change.value or "",
            change.modified_at,
            change.live,
            change.conflict,
        )

    def unite(self, other: Side, base: Change | NoBase, on_tie: OnTie, merge: Merge = merge_text) -> Side | None:
        """Return the side that both become; None if a person has to be asked.

        Args:
            other: the other side.
            base: their nearest common ancestor. One without a text is as good as none.
            on_tie: the vault's setting.
            merge: merges two texts.

        Raises:
            TooMuchWork: the merge says so.
        """
        first, second = sorted((self, other), key=lambda side: side.dot)
        if first.text == second.text:
            return _united(first, second, second.text)
        if isinstance(base, Change) and base.value is not None:
            return _merge(base.value, first, second, on_tie, merge)
        if base is NoBase.UNCLEAR:
            return None
        text = greater_text(first.text, second.text)
        return None if text is None else _united(first, second, text)


def _merge(base: str, first: Side, second: Side, on_tie: OnTie, merge: Merge) -> Side | None:
    """Merge with a common base. Equal timestamps prove that neither author knew of the other: worth a look."""
    live = first.live and second.live
    both_changed = base not in (first.text, second.text)
    tie = both_changed and not live and not first.times.isdisjoint(second.times)
    if tie and on_tie == "ask":
        return None
    merged = merge(base, first.text, second.text)
    doubtful = bool(merged.spots) and not live
    if tie and doubtful and on_tie == "review":
        return None
    if len(merged.text.encode()) > MAX_TEXT_BYTES:
        return None
    return _united(first, second, merged.text, conflict=doubtful or (tie and on_tie == "review"))


def _united(first: Side, second: Side, text: str, *, conflict: bool = False) -> Side:
    return Side(
        first.nodes | second.nodes,
        second.dot,
        first.times | second.times,
        text,
        latest(first.modified_at, second.modified_at),
        first.live and second.live,
        # A merge that nobody has looked at yet still wants a look when more is merged into it.
        first.conflict or second.conflict or conflict,
    )


def latest(*times_ms: int | None) -> int | None:
    """Return the greatest time that anybody said, None if nobody did."""
    return max((time for time in times_ms if time is not None), default=None)


def greater_text(first: str, second: str) -> str | None:
    """Return the text that has all of the other one in it, None if neither has; white space around it is nothing."""
    if _has(second, first):
        return second
    return first if _has(first, second) else None


def _has(text: str, part: str) -> bool:
    """Say whether all words of a part stand in a text, in one piece: "cat" is in "a cat", not in "concatenate"."""
    text, part = _bare(text), _bare(part)
    if not part:
        return True
    at = text.find(part)
    for _ in range(MAX_FINDS):
        if at < 0:
            return False
        if not (_cuts_a_word(text, at) or _cuts_a_word(text, at + len(part))):
            return True
        at = text.find(part, at + 1)
    return False


def _bare(text: str) -> str:
    return text.removeprefix(_BOM).replace("\r\n", "\n").strip()


def _cuts_a_word(text: str, at: int) -> bool:
    """Say whether the character at a place belongs to the one before it."""
    return 0 < at < len(text) and len(tokens(text[max(0, at - _WINDOW) : at + 1])[-1]) > 1
