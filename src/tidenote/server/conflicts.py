"""What a person has to settle, and what settles it: one open conflict, put together from a key's versions.

Pure: versions in, what to show or what to write out. Which notes settle without a person is core/resolve.py's matter;
requests and answers are conflicts_api.py's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tidenote.core.keys import check_key, marked_path
from tidenote.core.merge import shared_text
from tidenote.core.merged import Merge, Merged
from tidenote.core.register import Register
from tidenote.core.version import UNDATED, Change, Dot, Record
from tidenote.errors import ProtocolError
from tidenote.server.merges import Past, base_of, texts_of, union_behind

Kind = Literal["siblings", "merged"]
"""`siblings` compete until a person chooses; `merged` texts are one already, and somebody should look at the result."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a person has to settle at one key.

    Attributes:
        key: where.
        kind: of what kind.
        siblings: the dots of all current siblings; whoever settles has to name them.
        sources: the versions to choose between, in the order of their dots: the siblings, or what was merged, which may
            have had another key.
        since: when the last of them arrived, ms since 1970.
    """

    key: str
    kind: Kind
    siblings: frozenset[Dot]
    sources: tuple[Record, ...]
    since: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """What may help to settle.

    Attributes:
        base: what the last source and those before it were both made of; None if that is not known for certain.
        merged: the merge of two texts, without a base over the lines that they share; its spots are lines of this very
            text.
        text: what to propose: of siblings the merge, of merged texts the note as it is now; None where one is no text.
    """

    base: Change | None
    merged: Merged | None
    text: str | None


def is_open(register: Register) -> bool:
    """Say whether a person should look at a key: a note that is gone settles itself."""
    winner = register.winner
    return (
        winner is not None
        and not winner.deleted
        and (len(register.siblings) > 1 or any(change.conflict for change in register.siblings))
    )


def question(register: Register, past: Past) -> Question:
    """Put an open conflict together, or what was merged last into a note that has one version.

    Args:
        register: the state of the key; it has a sibling.
        past: of the vault.
    """
    winner = register.winner
    assert winner is not None
    known = past.records(winner.key)
    siblings = tuple(known[dot] for dot in sorted(register.dots))
    if len(siblings) > 1:
        since = max(siblings, key=lambda record: record.receipt).received_at
        return Question(winner.key, "siblings", register.dots, siblings, since)
    union = union_behind(siblings[0], past)
    record, sources = (union.record, union.sources) if union else (siblings[0], siblings)
    kept = tuple(source for source in sources if source.kept)
    return Question(winner.key, "merged", register.dots, kept if len(kept) > 1 else siblings, record.received_at)


def propose(asked: Question, winner: Change, past: Past, merge: Merge) -> Proposal:
    """Return what may help to settle a conflict: of texts their base and their merge, without one over what they share.

    Raises:
        TooMuchWork: the merge says so.
    """
    living = [source for source in asked.sources if not source.deleted]
    texts = texts_of(living, past) if len(living) > 1 else None
    base = merged = None
    if texts:
        merged = Merged(texts[0])
        for number, text in enumerate(texts[1:], start=2):
            common = base_of(living[:number], past)
            base = past.change(common) if common else None
            start = (base.value or "") if base else shared_text(merged.text, text)
            merged = merge(start, merged.text, text)
        if len(texts) > 2:
            merged = Merged(merged.text)
    return Proposal(base, merged, winner.value if asked.kind == "merged" else merged.text if merged else None)


# -- settling


@dataclass(frozen=True, slots=True)
class Keep:
    """Let one of the sources be the note."""

    dot: Dot


@dataclass(frozen=True, slots=True)
class Text:
    """Let this text be the note."""

    text: str


@dataclass(frozen=True, slots=True)
class KeepBoth:
    """Let the last source be the note, and each other one a note beside it.

    Attributes:
        key: of the note beside it, if there is one only; None for a free name like its own.
    """

    key: str | None = None


@dataclass(frozen=True, slots=True)
class Confirm:
    """Leave a merge as it is, and say that somebody looked."""


Choice = Keep | Text | KeepBoth | Confirm


def settle(
    asked: Question,
    sources: Sequence[Change],
    winner: Change,
    choice: Choice,
    register_of: Callable[[str], Register],
    now_ms: int,
) -> list[Change]:
    """Return what the server has to write for a choice, in one push; each over exactly what is there now.

    Args:
        asked: the conflict as it is now.
        sources: its sources, with their contents.
        winner: what the key shows.
        choice: of the person.
        register_of: returns the state of another key.
        now_ms: ms since 1970.

    Raises:
        ProtocolError: `bad_request`, if there is no such choice.
    """
    match choice:
        case Confirm():
            if asked.kind != "merged":
                raise ProtocolError(
                    "there is more than one version: keep one, keep both, or give a text", "bad_request"
                )
            return [_write(asked, winner)]
        case Text(text):
            return [Change(asked.key, UNDATED, text, base=asked.siblings, modified_at=now_ms)]
        case Keep(dot):
            named = [change for change in sources if change.dot == dot]
            if len(named) != 1:  # of two keys there may be two
                raise ProtocolError("keep does not name one of the versions to choose between", "bad_request")
            return [_write(asked, named[0])]
        case KeepBoth(key):
            *others, last = [change for change in sources if not change.deleted]
            if not others:
                raise ProtocolError("there is one version only, which cannot be kept twice", "bad_request")
            if key is not None and len(others) > 1:
                raise ProtocolError(f"one name is not enough for {len(others)} notes", "bad_request")
            keys = [_checked(key, asked.key, register_of)] if key is not None else free_keys(asked.key, register_of)
            beside = [_copy(other, name, register_of(name).dots) for other, name in zip(others, keys, strict=False)]
            return [*beside, _write(asked, last)]


def reopen(asked: Question, winner: Change) -> list[Change]:
    """Return what the server has to write so that somebody looks at a merge again.

    Raises:
        ProtocolError: `bad_request`, if nothing was merged.
    """
    if len(asked.sources) < 2:
        raise ProtocolError("nothing was merged into this note", "bad_request")
    return [_copy(winner, asked.key, asked.siblings, conflict=True)]


def free_keys(key: str, register_of: Callable[[str], Register]) -> Iterator[str]:
    """Yield keys like a key, `Name (2).md`, under which there is nothing."""
    kind, _, path = key.partition(":")
    for number in itertools.count(2):
        name = f"{kind}:{marked_path(path, str(number))}"
        check_key(name)
        if _is_free(register_of(name)):
            yield name


def _checked(key: str, beside: str, register_of: Callable[[str], Register]) -> str:
    check_key(key)
    if key == beside or not _is_free(register_of(key)):
        raise ProtocolError(f"there is a {key} already: choose another name", "bad_request")
    return key


def _is_free(register: Register) -> bool:
    return register.winner is None or register.winner.deleted


def _write(asked: Question, source: Change) -> Change:
    return _copy(source, asked.key, asked.siblings)


def _copy(source: Change, key: str, base: frozenset[Dot], *, conflict: bool = False) -> Change:
    moved_to = source.moved_to if key == source.key else None
    return Change(key, UNDATED, source.value, source.blob, base, moved_to, source.modified_at, conflict=conflict)
