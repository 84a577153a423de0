"""What happens to concurrent siblings: the one table of automatic outcomes.

Pure. A row that applies yields the content of one more version, written by the server, whose base is all the
siblings that it settles; if none applies, the siblings stay and a person is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tidenote.core.register import Register
from tidenote.core.version import BlobRef, Change


class History(Protocol):
    """What a row may ask about a key's past."""

    def had_content(self, key: str, content_hash: str) -> bool:
        """Say whether a replaced version of the key had this content."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """The content that settles all siblings of a key."""

    value: str | None
    blob: BlobRef | None
    moved_to: str | None
    modified_at: int | None

    @classmethod
    def like(cls, change: Change) -> Outcome:
        """Return the outcome that repeats one sibling."""
        return cls(change.value, change.blob, change.moved_to, change.modified_at)


def resolve(register: Register, history: History) -> Outcome | None:
    """Return the outcome of the first row of the table that applies, None if the siblings stay.

    Args:
        register: the key's state after all changes of a batch have joined.
        history: the key's past.
    """
    if len(register.siblings) < 2:
        return None
    for row in (_equal_content, _only_deletions, _rebuilt_journal, _edit_and_deletion):
        if outcome := row(register.siblings, history):
            return outcome
    return None


def _equal_content(siblings: tuple[Change, ...], _: History) -> Outcome | None:
    """All siblings say the same: one version, no conflict."""
    first = siblings[-1]
    return Outcome.like(first) if all(first.same_content(other) for other in siblings) else None


def _only_deletions(siblings: tuple[Change, ...], _: History) -> Outcome | None:
    """Deleted here and renamed there, or renamed to two targets: the greatest rename stays."""
    return _deletion(siblings) if all(change.deleted for change in siblings) else None


def _rebuilt_journal(siblings: tuple[Change, ...], history: History) -> Outcome | None:
    """A device that forgot everything offers what others deleted meanwhile: the deletion stays."""
    deletions = tuple(change for change in siblings if change.deleted)
    offered = [change for change in siblings if not change.deleted]
    if not deletions or not all(_is_old(change, history) for change in offered):
        return None
    return _deletion(deletions)


def _edit_and_deletion(siblings: tuple[Change, ...], _: History) -> Outcome | None:
    """The edit stays, whatever was deleted beside it; the history shows both."""
    edits = [change for change in siblings if not change.deleted]
    if len(edits) == len(siblings) or not all(edits[-1].same_content(other) for other in edits):
        return None
    return Outcome.like(edits[-1])


def _deletion(deletions: tuple[Change, ...]) -> Outcome:
    renames = [change for change in deletions if change.moved_to]
    return Outcome.like((renames or deletions)[-1])


def _is_old(change: Change, history: History) -> bool:
    content = change.content_hash
    return change.base == frozenset() and content is not None and history.had_content(change.key, content)
