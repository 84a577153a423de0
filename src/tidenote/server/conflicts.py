"""What a person has to settle, and what settles it: one open conflict, put together from a key's versions.

Pure: versions in, what to show or what to write out. Which notes settle without a person is core/resolve.py's matter;
requests and answers are conflicts_api.py's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Literal

from tidenote.core.ancestry import NoBase, nearest_common_ancestor
from tidenote.core.keys import check_key
from tidenote.core.merge import merge_text
from tidenote.core.merged import Merged
from tidenote.core.register import Register
from tidenote.core.version import UNDATED, Change, Dot, Version
from tidenote.errors import ProtocolError

Kind = Literal["siblings", "merged"]
"""`siblings` compete until a person chooses; `merged` texts are one already, and somebody should look at the result."""

MAX_STEPS: Final = 1000
"""How many versions back a merge is looked for."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """What a person has to settle at one key.

    Attributes:
        key: where.
        kind: of what kind.
        siblings: the dots of all current siblings; whoever settles has to name them.
        sources: the versions to choose between, in the order of their dots: the siblings, or what was merged.
        base: what two sources were both made of; None if that is not known for certain, or there are more sources.
        merged: the merge of two texts, without a base that of two additions; its spots are lines of this very text.
        text: what to propose: of siblings the merge, of merged texts the note as it is now; None where one is no text.
        since: when the last of them arrived, ms since 1970; 0 if it is not known.
    """

    key: str
    kind: Kind
    siblings: frozenset[Dot]
    sources: tuple[Change, ...]
    base: Change | None
    merged: Merged | None
    text: str | None
    since: int


def is_open(register: Register) -> bool:
    """Say whether a person should look at a key: a note that is gone settles itself."""
    winner = register.winner
    return (
        winner is not None
        and not winner.deleted
        and (len(register.siblings) > 1 or any(change.conflict for change in register.siblings))
    )


def kind_of(register: Register) -> Kind:
    """Return the kind of an open conflict."""
    return "siblings" if len(register.siblings) > 1 else "merged"


def describe(register: Register, versions: Iterable[Version]) -> Conflict:
    """Put an open conflict together.

    Args:
        register: the state of the key; it has a sibling.
        versions: all of the key's that are still kept.
    """
    known = {version.dot: version for version in versions}
    winner = register.winner
    assert winner is not None
    if len(register.siblings) > 1:
        sources, last = register.siblings, max(register.dots, key=lambda dot: _receipt(known, dot))
    else:
        found = merge_behind(winner, known)
        sources, last = found or ((winner,), winner.dot)
    base, merged = _compare(sources, known)
    kind = kind_of(register)
    return Conflict(
        winner.key,
        kind,
        register.dots,
        sources,
        base,
        merged,
        winner.value if kind == "merged" else merged.text if merged else None,
        known[last].received_at if last in known else 0,
    )


def merge_behind(winner: Change, known: Mapping[Dot, Version]) -> tuple[tuple[Change, ...], Dot] | None:
    """Return what was merged last into what a key shows, and the merge's dot; None if nothing was.

    Later edits lie between; the versions that a merge settled are its base, unless they only said that it was looked
    at.
    """
    dot = winner.dot
    for _ in range(MAX_STEPS):
        version = known.get(dot)
        if version is None:
            return None
        base = version.change.base or frozenset()
        parents = [known[parent].change for parent in sorted(base) if parent in known]
        if len([parent for parent in parents if not parent.deleted]) > 1:
            return tuple(parents), dot
        if not parents:
            return None
        dot = parents[-1].dot
    return None


def _receipt(known: Mapping[Dot, Version], dot: Dot) -> int:
    return known[dot].receipt if dot in known else 0


def _compare(sources: Sequence[Change], known: Mapping[Dot, Version]) -> tuple[Change | None, Merged | None]:
    """Return the base of two sources and the merge of their texts; of more only what all of them say, one by one."""
    living = [change for change in sources if not change.deleted]
    texts = [change.value for change in living if change.value is not None]
    if len(living) < 2 or len(texts) < len(living):
        return None, None
    if len(living) > 2:
        text = texts[0]
        for other in texts[1:]:
            text = merge_text("", text, other).text
        return None, Merged(text)
    base = _ancestor(living[0].dot, living[1].dot, known)
    return base, merge_text((base.value if base else None) or "", texts[0], texts[1])


def _ancestor(first: Dot, second: Dot, known: Mapping[Dot, Version]) -> Change | None:
    def parents(dot: Dot) -> frozenset[Dot] | None:
        version = known.get(dot)
        return (version.change.base or frozenset()) if version else None

    found = nearest_common_ancestor([first], [second], parents)
    return None if isinstance(found, NoBase) else known[found].change


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
    conflict: Conflict, winner: Change, choice: Choice, register_of: Callable[[str], Register], now_ms: int
) -> list[Change]:
    """Return what the server has to write for a choice, in one push; each over exactly what is there now.

    Args:
        conflict: as it is now.
        winner: what the key shows.
        choice: of the person.
        register_of: returns the state of another key.
        now_ms: ms since 1970.

    Raises:
        ProtocolError: `bad_request`, if there is no such choice.
    """
    match choice:
        case Confirm():
            if conflict.kind != "merged":
                raise ProtocolError(
                    "there is more than one version: keep one, keep both, or give a text", "bad_request"
                )
            return [_write(conflict, winner)]
        case Text(text):
            return [Change(conflict.key, UNDATED, text, base=conflict.siblings, modified_at=now_ms)]
        case Keep(dot):
            source = next((change for change in conflict.sources if change.dot == dot), None)
            if source is None:
                raise ProtocolError("keep names none of the versions to choose between", "bad_request")
            return [_write(conflict, source)]
        case KeepBoth(key):
            *others, last = [change for change in conflict.sources if not change.deleted]
            if not others:
                raise ProtocolError("there is one version only, which cannot be kept twice", "bad_request")
            if key is not None and len(others) > 1:
                raise ProtocolError(f"one name is not enough for {len(others)} notes", "bad_request")
            keys = (
                [_checked(key, conflict.key, register_of)] if key is not None else free_keys(conflict.key, register_of)
            )
            beside = [_copy(other, name, register_of(name).dots) for other, name in zip(others, keys, strict=False)]
            return [*beside, _write(conflict, last)]


def reopen(conflict: Conflict, winner: Change) -> list[Change]:
    """Return what the server has to write so that somebody looks at a merge again.

    Raises:
        ProtocolError: `bad_request`, if nothing was merged.
    """
    if len(conflict.sources) < 2:
        raise ProtocolError("nothing was merged into this note", "bad_request")
    return [_copy(winner, conflict.key, conflict.siblings, conflict=True)]


def free_keys(key: str, register_of: Callable[[str], Register]) -> Iterator[str]:
    """Yield keys like a key, `Name (2).md`, under which there is nothing."""
    kind, _, path = key.partition(":")
    pure = PurePosixPath(path)
    for number in itertools.count(2):
        name = f"{kind}:{pure.with_name(f'{pure.stem} ({number}){pure.suffix}')}"
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


def _write(conflict: Conflict, source: Change) -> Change:
    return _copy(source, conflict.key, conflict.siblings)


def _copy(source: Change, key: str, base: frozenset[Dot], *, conflict: bool = False) -> Change:
    moved_to = source.moved_to if key == source.key else None
    return Change(key, UNDATED, source.value, source.blob, base, moved_to, source.modified_at, conflict=conflict)
