"""Many seeds of the world: whatever happens, all are equal in the end and nothing acknowledged or saved is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sim.world import World

pytestmark = [pytest.mark.sim, pytest.mark.timeout(300)]

SEEDS = int(os.environ.get("SEEDS", "200"))
"""How many seeds; `make sim SEEDS=5000` runs more."""
FIRST = int(os.environ.get("SEED", "0"))
"""The first of them; `make sim SEED=n SEEDS=1` runs one again."""
CHUNK = 20
STEPS = 100


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, CHUNK))
def test_all_are_equal_in_the_end_and_nothing_is_lost(first: int, tmp_path: Path) -> None:
    for seed in range(first, min(first + CHUNK, FIRST + SEEDS)):
        folder = tmp_path / str(seed)
        folder.mkdir()
        run(seed, folder)


def test_a_seed_runs_the_same_way_twice(tmp_path: Path) -> None:
    traces = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        traces.append(run(7, folder).trace)
    assert traces[0] == traces[1]
    assert len(traces[0]) > STEPS / 2


def run(seed: int, folder: Path) -> World:
    world = World(seed, folder)
    try:
        world.run(STEPS)
    except AssertionError as error:
        pytest.fail(f"make sim SEED={seed} SEEDS=1\n{world}\n{error}\n" + "\n".join(world.trace[-30:]))
    finally:
        for device in world.devices:
            device.journal.close()
    return world
