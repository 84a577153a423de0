"""Runs worlds, and keeps what fails: seed, options and the fewest actions that still fail, as a file that runs again.

python -m sim.replay SEED              one seed
python -m sim.replay FILE.json         a kept failure
python -m sim.replay --soak SECONDS    one seed after the other, and how many those were
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec

from sim.options import Action, Options
from sim.shrink import shrunk
from sim.world import World

FAILURES = Path(os.environ.get("SIM_FAILURES", ".sim-failures"))
"""Where the files of failures go."""


class Kept(msgspec.Struct):
    """A failure as a file keeps it."""

    seed: int
    options: dict[str, int | float | bool]
    actions: list[Action]
    failure: str


@dataclass
class Failure:
    """What went wrong with a world."""

    seed: int
    options: Options
    actions: Sequence[Action]
    """Those that were begun: what would have come later has no part in it."""
    kind: str
    """The invariant, or the name of the exception."""
    message: str
    trace: list[str] = field(default_factory=list)

    def shrink(self) -> Failure:
        """Return the failure with the fewest actions that still lead to one of its kind."""

        def failing(actions: Sequence[Action]) -> int | None:
            again = run(self.seed, self.options, actions)
            return len(again.actions) if isinstance(again, Failure) and again.kind == self.kind else None

        again = run(self.seed, self.options, shrunk(self.actions, failing))
        return again if isinstance(again, Failure) else self

    def write(self) -> Path:
        """Write it into a file that can be run again; return where."""
        FAILURES.mkdir(exist_ok=True)
        path = FAILURES / f"seed-{self.seed}.json"
        kept = Kept(self.seed, asdict(self.options), list(self.actions), f"{self.kind}: {self.message}")
        path.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=0))
        return path

    def report(self) -> str:
        """Shrink it, write it down, and return what to tell a person."""
        small = self.shrink()
        path = small.write()
        return "\n".join(
            (
                f"make sim SEED={self.seed}        ({self.options})",
                self.message,
                f"{len(small.actions)} of {len(self.actions)} actions are enough: make sim REPLAY={path}",
                *(f"    {action.kind} {action.who}" for action in small.actions[-20:]),
                *small.trace[-40:],
            )
        )


def run(seed: int, options: Options | None = None, actions: Sequence[Action] | None = None) -> str | Failure:
    """Run a world; return the hash of all that happened, or what went wrong."""
    world = World(seed, options, actions)
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        world.run()
    except Exception as error:
        kind = str(getattr(error, "invariant", type(error).__name__))
        where = "" if hasattr(error, "invariant") else "".join(traceback.format_exception(error, limit=-6))
        return Failure(seed, world.options, world.actions[: world.begun], kind, f"{where}{error}", list(world.trace))
    finally:
        logging.disable(disabled)
        world.close()
    return world.trace_hash


def run_seed(seed: int) -> str | Failure:
    """Run the world of a seed."""
    return run(seed)


def run_file(path: Path) -> str | Failure:
    """Run a kept failure again."""
    kept = msgspec.json.decode(path.read_bytes(), type=Kept)
    return run(kept.seed, Options(**kept.options), kept.actions)  # type: ignore[arg-type]


def soak(seconds: float, first: int) -> int:
    """Run one seed after the other for a time, each of them twice; return how many failed."""
    began = told = time.monotonic()
    seed, failed = first, 0
    while time.monotonic() - began < seconds:
        found = run_seed(seed)
        if isinstance(found, Failure):
            failed += 1
            _say(found.report())
        elif run_seed(seed) != found:
            failed += 1
            _say(f"seed {seed} went another way when it ran again")
        seed += 1
        if time.monotonic() - told > 60:
            told = time.monotonic()
            _say(f"{told - began:.0f} s: seeds {first} to {seed - 1}, {failed} failed")
    _say(f"{seed - first} seeds, {first} to {seed - 1}, in {seconds:.0f} s: {failed} failed")
    return failed


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; return how many failed."""
    parser = argparse.ArgumentParser(prog="sim.replay", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="?", help="a seed, or the file of a failure")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="run one seed after the other")
    parser.add_argument("--first", type=int, default=1_000_000, help="the first seed of a soak")
    given = parser.parse_args(arguments)
    if given.soak:
        return soak(given.soak, given.first)
    if given.what is None:
        parser.error("name a seed, a file, or --soak")
    found = run_seed(int(given.what)) if given.what.isdigit() else run_file(Path(given.what))
    _say(found.report() if isinstance(found, Failure) else f"nothing fails: {found}")
    return int(isinstance(found, Failure))


if __name__ == "__main__":
    sys.exit(min(main(), 1))
