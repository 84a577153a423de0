"""How rough a world is, and what is done to it: both drawn from the seed, both plain data that can be written down.

Swarm testing: each seed leaves most faults out, so that those which are in meet more often than if all were.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
from typing import Final

import msgspec

STEPS: Final = 300
"""How many actions a seed has."""


@dataclass(frozen=True, slots=True)
class Options:
    """How rough a world is. Weights are beside those of what people do, which come to about 100.

    Attributes:
        devices: how many sync one vault; all but a library have a folder.
        library: whether the last one is a program that writes without a folder, sometimes blindly.
        stranger: whether a device of another vault is on the same server.
        latency_ms: the longest time that a message takes.
        lost_publications: chance that a session does not hear of a commit.
        lost_hints: chance that a daemon does not hear of a saved file.
        blocked: whether the first device's network lets no WebSocket through.
        folding: whether the first device's disk folds case and normal form.
        links: whether people make symbolic links.
        exchange: whether the disks can exchange two files.
        skew: how far ahead the Lamport clock of a device may start.
        cuts: weight of a connection that is cut.
        partitions: weight of a network that lets messages through one way only.
        stalls: weight of a device that does not read its socket.
        kills: weight of a device whose process is killed, now or at one of its next steps.
        power: weight of a device that loses its power, and with it what was not synced to the disk.
        server_kills: weight of a server that is killed, now or at one of its next steps.
        races: weight of a person who saves in the middle of a step of the daemon's.
        disk_errors: weight of a disk that is full or fails for a while.
        unmounts: weight of a folder that is away for a while.
        walls: weight of a wall clock that jumps.
        lost_journals: weight of a journal that is lost.
        rollbacks: whether a device is once set back to an earlier image of itself.
        restores: whether the server is once restored from an older copy of its log.
        twins: whether people make files whose names differ in their Unicode form only.
        folders: whether people rename and delete whole folders.
    """

    devices: int = 3
    library: bool = False
    stranger: bool = False
    latency_ms: int = 20
    lost_publications: float = 0.0
    lost_hints: float = 0.0
    blocked: bool = False
    folding: bool = False
    links: bool = False
    exchange: bool = True
    skew: int = 0
    cuts: int = 0
    partitions: int = 0
    stalls: int = 0
    kills: int = 0
    power: int = 0
    server_kills: int = 0
    races: int = 0
    disk_errors: int = 0
    unmounts: int = 0
    walls: int = 0
    lost_journals: int = 0
    rollbacks: bool = False
    restores: bool = False
    twins: bool = False
    folders: bool = False

    @classmethod
    def draw(cls, seed: int) -> Options:
        """Draw a random subset of the faults."""
        rng = random.Random(f"{seed} options")

        def sometimes(chance: float, *weights: int) -> int:
            return rng.choice(weights) if rng.random() < chance else 0

        return cls(
            devices=rng.choice([2, 2, 3, 3, 4, 5]),
            library=rng.random() < 0.4,
            stranger=rng.random() < 0.1,
            latency_ms=rng.choice([1, 20, 300]),
            lost_publications=rng.choice([0, 0, 0.3]),
            lost_hints=rng.choice([0, 0, 0.2]),
            blocked=rng.random() < 0.15,
            folding=rng.random() < 0.15,
            links=rng.random() < 0.15,
            exchange=rng.random() < 0.85,
            skew=rng.choice([0, 0, 0, 50, 2**40]),
            cuts=sometimes(0.5, 2, 12),
            partitions=sometimes(0.3, 3),
            stalls=sometimes(0.2, 5),
            kills=sometimes(0.5, 3, 10),
            power=sometimes(0.4, 3, 8),
            server_kills=sometimes(0.4, 2, 8),
            races=sometimes(0.4, 6),
            disk_errors=sometimes(0.2, 3),
            unmounts=sometimes(0.1, 2),
            walls=sometimes(0.2, 3),
            lost_journals=sometimes(0.1, 1),
            rollbacks=rng.random() < 0.1,
            restores=rng.random() < 0.1,
            twins=rng.random() < 0.15,
            folders=rng.random() < 0.3,
        )

    def __str__(self) -> str:
        default = Options()
        told = [
            f"{each.name}={getattr(self, each.name)}"
            for each in fields(self)
            if getattr(self, each.name) != getattr(default, each.name)
        ]
        return ", ".join(told)


class Action(msgspec.Struct, frozen=True, array_like=True):
    """One thing that is done to a world.

    Attributes:
        after_ms: how long after the one before.
        kind: what: `save`, or a fault.
        who: which device, as a number that is taken modulo how many there are.
        roll: decides on everything else, so that leaving others out alters nothing here.
    """

    after_ms: int
    kind: str
    who: int
    roll: int


def draw_actions(seed: int, options: Options, steps: int = STEPS) -> list[Action]:
    """Draw what people do in a world, and what befalls it."""
    rng = random.Random(f"{seed} actions")
    weights = {
        "save": 70,
        "sleep": 6,
        "look": 2,
        "cut": options.cuts,
        "partition": options.partitions,
        "stall": options.stalls,
        "kill": options.kills,
        "power": options.power,
        "server_kill": options.server_kills,
        "race": options.races,
        "disk_error": options.disk_errors,
        "unmount": options.unmounts,
        "wall": options.walls,
        "lost_journal": options.lost_journals,
    }
    kinds, shares = list(weights), list(weights.values())
    pauses = rng.choice([(0, 40), (0, 300), (0, 40, 300, 2500)])
    actions = [
        Action(rng.randint(0, rng.choice(pauses)), kind, rng.randrange(60), rng.getrandbits(31))
        for kind in rng.choices(kinds, shares, k=steps)
    ]
    if options.rollbacks:
        who = rng.randrange(60)
        actions[steps // 3] = Action(0, "image", who, 0)
        actions[steps // 2] = Action(0, "rollback", who, rng.getrandbits(31))
    if options.restores:
        actions[steps // 4] = Action(0, "backup", 0, 0)
        actions[steps * 2 // 3] = Action(0, "restore", 0, rng.getrandbits(31))
    return actions
