"""Both ends together, with everything in between in any order: lost, late, doubled, cut off."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.world import World

NAMES = [action.__name__ for action in World.ACTIONS]
SELDOM = ("connect", "disconnect", "lose_journal")
STEPS = 400
SEEDS = 200


def run(world: World, script: str) -> World:
    """Run steps such as `write b 3`: what happens, to which device, and a number that says how."""
    for step in script.split(";"):
        name, device, choice = step.split()
        getattr(world, name)(world.clients["abc".index(device)], int(choice))
    return world


def connected(page_keys: int = 2) -> World:
    world = World(page_keys=page_keys)
    for client in world.clients:
        world.connect(client, 0)
        world.prompt(client, 0)
    return world


def check_in_the_end(world: World) -> None:
    world.heal()
    world.check_all()


@pytest.mark.parametrize("page_keys", [1, 2, 100])
def test_a_quiet_world_agrees_at_once(page_keys: int) -> None:
    world = run(connected(page_keys), "write a 0; write b 1; write c 2")
    check_in_the_end(world)
    assert len(world.log.versions) == 3
    assert len(world.acknowledged) == 3


OVERTAKEN = (
    # b's note is not heard of by a, who therefore begins to read ...
    "write b 2; prompt b 0; publish a 3; look a 0; step a 0;"
    # ... and pushes a note, which is committed and twice edited by b before the page is read.
    "write a 0; push a 1; arrive a 0; step a 0; commit a 0;"
    "prompt b 0; write b 0; write b 0; prompt b 0;"
    "read a 0; read a 0; read a 0; step a 0; hear a 0"
)


def test_a_page_overtakes_the_answer_to_a_push() -> None:
    world = run(connected(), OVERTAKEN)
    assert world.clients[0].cursor > 0
    assert len(world.clients[0].outbox) == 1
    run(world, "tell a 0; step a 0; read a 0; read a 0; read a 0; step a 0; hear a 0")
    assert world.clients[0].outbox == []
    check_in_the_end(world)


def test_a_page_overtakes_an_answer_that_never_comes() -> None:
    check_in_the_end(run(connected(), OVERTAKEN + "; disconnect a 0"))


def test_a_push_is_committed_after_its_connection_is_gone() -> None:
    world = run(connected(), "write a 0; push a 1; arrive a 0; step a 0; disconnect a 0; connect a 0; commit a 0")
    assert world.acknowledged == set()
    check_in_the_end(world)
    assert len(world.log.versions) == 1


def test_a_device_that_lost_its_journal_gets_its_notes_back() -> None:
    world = run(connected(), "write a 0; prompt a 0; lose_journal a 0; connect a 0; prompt a 0")
    assert [change.dot.device_id for change in world.clients[0].confirmed["note:a.md"]] == ["a"]
    check_in_the_end(world)


ACTIONS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from("abc"), st.integers(0, 20)).map(
        lambda step: f"{step[0]} {step[1]} {step[2]}"
    ),
    min_size=1,
    max_size=100,
)


@given(ACTIONS)
def test_whatever_happens_everyone_agrees_in_the_end(steps: list[str]) -> None:
    check_in_the_end(run(connected(), ";".join(steps)))


@pytest.mark.parametrize("first_seed", range(0, SEEDS, 20))
def test_long_runs_in_which_everything_has_a_pace_of_its_own(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 20):
        dice = random.Random(seed)
        world = connected(dice.choice([1, 2, 100]))
        steps = [(action, client) for action in World.ACTIONS for client in world.clients]
        pace = [dice.choice([0, 0.02, 0.05] if action.__name__ in SELDOM else [0.05, 1, 1, 3]) for action, _ in steps]
        try:
            for action, client in dice.choices(steps, pace, k=STEPS):
                action(world, client, dice.randrange(21))
            check_in_the_end(world)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
