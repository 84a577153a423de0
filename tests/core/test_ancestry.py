from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.changes import at, dots
from tidenote.core.ancestry import MAX_STEPS, NoBase, nearest_common_ancestor
from tidenote.core.version import Dot

Graph = dict[Dot, frozenset[Dot]]


def graph(**bases: str) -> Graph:
    """Return a graph: `v3a="1a 2b"` is a version 3a that was made of 1a and 2b."""
    return {at(name.removeprefix("v")): dots(base) for name, base in bases.items()}


def nearest(versions: Graph, first: str, second: str) -> Dot | NoBase:
    """Return the nearest common ancestor, which is the same from either side."""
    found = nearest_common_ancestor(dots(first), dots(second), versions.get)
    assert nearest_common_ancestor(dots(second), dots(first), versions.get) == found
    return found


@pytest.mark.parametrize(
    ("versions", "first", "second", "base"),
    [
        # Two edits of one version.
        (graph(v1a="", v2a="1a", v2b="1a"), "2a", "2b", "1a"),
        # Far apart on one side, and on both.
        (graph(v1a="", v2a="1a", v3a="2a", v4a="3a", v2b="1a"), "4a", "2b", "1a"),
        (graph(v1a="", v2a="1a", v3a="2a", v3b="1a", v4b="3b"), "3a", "4b", "1a"),
        # Of several common ones the nearest, even if an older one is nearer by steps.
        (graph(v1a="", v2a="1a", v3a="2a", v4a="3a 1a", v4b="3a"), "4a", "4b", "3a"),
        # Of a merge and one of its sides: that side.
        (graph(v1a="", v2a="1a", v2b="1a", v3s="2a 2b", v4a="2a"), "3s", "4a", "2a"),
        # A side may be several versions that were merged just now.
        (graph(v1a="", v2a="1a", v2b="1a", v2c="1a"), "2a 2b", "2c", "1a"),
        (graph(v1a="", v2a="1a", v3a="2a", v3b="2a", v3c="1a"), "3a 3c", "3b", "2a"),
        # One is made of the other.
        (graph(v1a="", v2a="1a", v3a="2a"), "1a 3a", "2a", "2a"),
    ],
)
def test_the_nearest_common_ancestor(versions: Graph, first: str, second: str, base: str) -> None:
    assert nearest(versions, first, second) == at(base)


@pytest.mark.parametrize(
    ("versions", "first", "second"),
    [
        (graph(v1a="", v1b=""), "1a", "1b"),
        (graph(v1a="", v2a="1a", v1b="", v2b="1b"), "2a", "2b"),
    ],
)
def test_histories_that_share_nothing(versions: Graph, first: str, second: str) -> None:
    assert nearest(versions, first, second) is NoBase.NONE


@pytest.mark.parametrize(
    ("versions", "first", "second"),
    [
        # Criss-cross: two merges of the same two versions.
        (graph(v1a="", v2a="1a", v2b="1a", v3a="2a 2b", v3b="2a 2b"), "3a", "3b"),
        # A lost version, common to both, or of one side only: what lies behind it?
        (graph(v2a="1a", v2b="1a"), "2a", "2b"),
        (graph(v1a="", v3a="2a", v2b="1a"), "3a", "2b"),
        (graph(v1a="", v2a="1a", v3b="1a 2x"), "2a", "3b"),
    ],
)
def test_what_is_not_certain_is_no_base(versions: Graph, first: str, second: str) -> None:
    assert nearest(versions, first, second) is NoBase.UNCLEAR


def test_a_version_lost_behind_the_base_does_not_matter() -> None:
    assert nearest(graph(v3a="2a", v4a="3a", v4b="3a"), "4a", "4b") == at("3a")
    assert nearest(graph(v3a="2a 1b", v4a="3a 2a", v4b="3a 1b"), "4a", "4b") == at("3a")


@pytest.mark.parametrize(("length", "base"), [(MAX_STEPS - 2, Dot(1, "a")), (MAX_STEPS, NoBase.UNCLEAR)])
def test_work_is_bounded(length: int, base: Dot | NoBase) -> None:
    chain: Graph = {Dot(time + 1, "a"): frozenset([Dot(time, "a")]) for time in range(1, length)}
    versions = chain | graph(v1a="", v2b="1a")
    looked_at = 0

    def parents(dot: Dot) -> frozenset[Dot] | None:
        nonlocal looked_at
        looked_at += 1
        return versions.get(dot)

    assert nearest_common_ancestor([Dot(length, "a")], dots("2b"), parents) == base
    assert looked_at <= MAX_STEPS


# -- against the definition


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Draw versions, each made of some older ones, a few of them lost."""
    found: Graph = {}
    for time in range(1, draw(st.integers(2, 12))):
        older = sorted(found)
        found[Dot(time, "a")] = draw(st.frozensets(st.sampled_from(older), max_size=3)) if older else frozenset()
    return found


def ancestors(versions: Graph, start: frozenset[Dot]) -> frozenset[Dot]:
    """Return the versions and all that they were made of, as far as it is known."""
    found, waiting = set(start), list(start)
    while waiting:
        new = versions.get(waiting.pop(), frozenset()) - found
        found |= new
        waiting += new
    return frozenset(found)


@given(st.data(), graphs())
def test_it_is_what_the_definition_says(data: st.DataObject, versions: Graph) -> None:
    some = st.frozensets(st.sampled_from(sorted(versions)), min_size=1, max_size=2) if versions else st.nothing()
    first, second = data.draw(some), data.draw(some)
    lost = data.draw(st.frozensets(st.sampled_from(sorted(versions)), max_size=2)) - first - second
    known = {dot: base for dot, base in versions.items() if dot not in lost}

    of_first, of_second = ancestors(known, first), ancestors(known, second)
    common = of_first & of_second
    behind = frozenset(dot for found in common if found in known for dot in ancestors(known, known[found]))
    open_questions = (of_first | of_second) - behind - known.keys()
    closest = common - behind
    expected: Dot | NoBase = NoBase.UNCLEAR
    if not open_questions and len(closest) < 2:
        expected = next(iter(closest), NoBase.NONE)
    assert nearest_common_ancestor(first, second, known.get) == expected
