"""The simulation finds what it is for: every planted bug, within few seeds, by an invariant that knows none of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.planted import ALL, Planted
from sim.replay import Failure, run

pytestmark = [pytest.mark.sim, pytest.mark.timeout(600)]

DOCS = Path(__file__).parents[2] / "docs" / "simulation.md"


def hunt(bug: Planted) -> Failure | None:
    """Return the first failure that one of the bug's invariants tells of."""
    with bug.plant():
        for seed in range(bug.within):
            found = run(seed, bug.world_of(seed))
            if isinstance(found, Failure) and found.kind in bug.found_by.split(", "):
                return found
    return None


@pytest.mark.parametrize("bug", ALL.values(), ids=ALL)
def test_every_planted_bug_is_found(bug: Planted) -> None:
    found = hunt(bug)
    assert found, f"{bug.name} is found by none of {bug.found_by} in {bug.within} seeds"
    # It was the bug: without it nothing is wrong with that world.
    assert isinstance(run(found.seed, found.options), str), found.message


@pytest.mark.parametrize("bug", ALL.values(), ids=ALL)
def test_the_documentation_lists_it(bug: Planted) -> None:
    assert f"| {bug.what} | {bug.found_by} | {bug.within} |" in DOCS.read_text().splitlines()
