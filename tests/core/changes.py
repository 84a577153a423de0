"""Short ways to write changes down: `write("5a", base="3b 4c")`, and Hypothesis strategies for many of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from hypothesis import strategies as st

from tidenote.core.version import BlobRef, Change, Dot

KEY = "note:a.md"


def at(name: str) -> Dot:
    """Return the dot of a short name: `5a` is timestamp 5 of device a."""
    found = re.fullmatch(r"(\d+)(\D.*)", name)
    assert found, name
    return Dot(int(found[1]), found[2])


def dots(names: str) -> frozenset[Dot]:
    return frozenset(map(at, names.split()))


def write(name: str, value: str | None = "", *, base: str | None = None, key: str = KEY, **fields: object) -> Change:
    """Return a text change; its text is its name unless another one is given; without `base` it is blind."""
    text = name if value == "" else value
    return Change(key, at(name), text, base=None if base is None else dots(base), **fields)  # type: ignore[arg-type]


def delete(name: str, *, base: str | None = None, key: str = KEY, moved_to: str | None = None) -> Change:
    return Change(key, at(name), base=None if base is None else dots(base), moved_to=moved_to)


def attach(name: str, sha256: str = "0" * 64, *, base: str | None = None, key: str = "file:a.png") -> Change:
    return Change(key, at(name), blob=BlobRef(sha256, 1), base=None if base is None else dots(base))


def names(changes: Iterable[Change]) -> str:
    """Return the short names of changes, in their order."""
    return " ".join(f"{change.dot.timestamp}{change.dot.device_id}" for change in changes)


def survivors(changes: Iterable[Change]) -> list[Change]:
    """Return the siblings that changes of one key leave, in order of dots: the definition, without any joining."""
    distinct = {change.dot: change for change in changes}
    return [
        change
        for dot, change in sorted(distinct.items())
        if not any(_has_seen(other, dot) for other in distinct.values())
    ]


def _has_seen(change: Change, dot: Dot) -> bool:
    return dot.timestamp < change.dot.timestamp if change.base is None else dot in change.base


DEVICES = "abc"
TIMES = st.integers(1, 9)
DOTS = st.builds(Dot, TIMES, st.sampled_from(DEVICES))


@cache
def bases(timestamp: int) -> st.SearchStrategy[frozenset[Dot] | None]:
    """Return what an author may have seen: nothing said, nothing there, or smaller dots, possibly unknown to others."""
    smaller = [Dot(time, device) for time in range(1, timestamp) for device in DEVICES]
    seen = st.frozensets(st.sampled_from(smaller), max_size=4) if smaller else st.just(frozenset[Dot]())
    return st.none() | st.just(frozenset[Dot]()) | seen


@st.composite
def changes_of_one_key(draw: st.DrawFn, max_size: int = 8) -> list[Change]:
    """Draw changes of one key with distinct dots, blind and based ones mixed, each with a text of its own."""
    found = draw(st.lists(DOTS, unique=True, max_size=max_size))
    return [Change(KEY, dot, f"{dot.timestamp}{dot.device_id}", base=draw(bases(dot.timestamp))) for dot in found]


@st.composite
def reordered(draw: st.DrawFn, changes: list[Change]) -> list[Change]:
    """Draw the same changes in another order, some of them several times."""
    again = draw(st.lists(st.sampled_from(changes), max_size=5)) if changes else []
    return draw(st.permutations([*changes, *again]))
