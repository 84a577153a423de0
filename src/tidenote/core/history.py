"""What a key was at some time, and what it would be without somebody's changes: questions to its records.

Pure. Records come in the order of their receipts; texts are not looked at. What is kept of a history is retention.py's
matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from tidenote.core.version import Dot, Record


def siblings_after(records: Iterable[Record]) -> Iterator[frozenset[Dot]]:
    """Yield, for each record of a key, the dots of the siblings after it was taken in."""
    floor = 0
    covered: set[Dot] = set()
    standing: frozenset[Dot] = frozenset()
    for record in records:
        if record.base is None:
            floor = max(floor, record.dot.timestamp - 1)
        else:
            covered |= record.base
        arrived = {*standing, record.dot}
        standing = frozenset(dot for dot in arrived if dot.timestamp > floor and dot not in covered)
        yield standing


def as_of(records: Sequence[Record], receipt: int) -> list[Record]:
    """Return the siblings of a key as they were after a receipt, in the order of their dots."""
    before = [record for record in records if record.receipt <= receipt]
    states = list(siblings_after(before))
    standing = states[-1] if states else frozenset()
    return sorted((record for record in before if record.dot in standing), key=lambda record: record.dot)


def winner(records: Iterable[Record]) -> Record | None:
    """Return the record that everyone shows: the greatest that is no deletion, else the greatest; None of none."""
    return max(records, key=lambda record: (not record.deleted, record.dot), default=None)


class Undone(Enum):
    """Why a key's changes are not taken back."""

    NOTHING = "nothing"
    """None of them stands any more."""
    BUILT_ON = "built_on"
    """Somebody else's later change was made of them."""
    OPEN_CONFLICT = "open_conflict"
    """Others disagree about the key, and that has to be settled first."""


@dataclass(frozen=True, slots=True)
class Undo:
    """How to take changes back.

    Attributes:
        before: whose content comes back; None if there was nothing.
    """

    before: Record | None


def undo(records: Sequence[Record], siblings: Iterable[Dot], is_theirs: Callable[[Record], bool]) -> Undo | Undone:
    """Return how to take some changes of a key back as if they had never been made.

    Args:
        records: the key's, in the order of their receipts.
        siblings: the dots of the present ones.
        is_theirs: says whether a record is to be taken back.
    """
    known = {record.dot: record for record in records}
    standing = [known[dot] for dot in siblings]
    parents = _parents(records)
    others = [record for record in standing if not is_theirs(record)]
    if any(is_theirs(known[dot]) for dot in _ancestors(others, parents)):
        return Undone.BUILT_ON
    if len(others) == len(standing):
        return Undone.NOTHING
    if others:
        return Undo(others[0]) if len(others) == 1 else Undone.OPEN_CONFLICT
    # Back along the bases to what others wrote; what stood first of several is decided as ever.
    before: set[Dot] = set()
    seen: set[Dot] = set()
    queue = [record.dot for record in standing]
    while queue:
        for dot in parents[queue.pop()]:
            if dot in seen:
                continue
            seen.add(dot)
            if is_theirs(known[dot]):
                queue.append(dot)
            else:
                before.add(dot)
    if any(is_theirs(known[dot]) for dot in _ancestors((known[dot] for dot in before), parents)):
        # Somebody else's change in between was made of theirs, and theirs of that again.
        return Undone.BUILT_ON
    return Undo(winner(known[dot] for dot in before))


def _parents(records: Sequence[Record]) -> dict[Dot, frozenset[Dot]]:
    """Return what each record replaced, as far as it is known; a blind write stands on all that it covered."""
    parents: dict[Dot, frozenset[Dot]] = {}
    standing: frozenset[Dot] = frozenset()
    for record, after in zip(records, siblings_after(records), strict=True):
        parents[record.dot] = standing - after if record.base is None else record.base & parents.keys()
        standing = after
    return parents


def _ancestors(records: Iterable[Record], parents: dict[Dot, frozenset[Dot]]) -> set[Dot]:
    """Return the dots of all that records were made of."""
    found: set[Dot] = set()
    queue = [record.dot for record in records]
    while queue:
        fresh = parents[queue.pop()] - found
        found |= fresh
        queue += fresh
    return found
