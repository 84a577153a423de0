"""Merges of real concurrent edits: how often they are what a person made of them, whether a word was lost, and time.

    python -m benchmarks.merge_corpus [CASES.jsonl.gz] [--function MODULE:NAME]

Without a file it takes the sample of the tests; tests/fixtures/merge/README.md says what a case is.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidenote.core.merged import Merged
from tidenote.core.words import missing_words, words

SAMPLE = Path(__file__).parent.parent / "tests" / "fixtures" / "merge" / "cases.jsonl.gz"

Merge = Callable[[str, str, str], Merged]


@dataclass
class Figures:
    """What is counted in one group of cases."""

    cases: int = 0
    exact: int = 0
    lost: int = 0
    garbled: int = 0
    with_spots: int = 0
    times_ms: list[float] = field(default_factory=list)

    def add(self, case: dict[str, Any], merge: Merge) -> None:
        """Merge one case and count what came of it."""
        base, first, second = case["base"], case["a"], case["b"]
        started = time.perf_counter()
        merged = merge(base, first, second)
        self.times_ms.append(1000 * (time.perf_counter() - started))
        self.cases += 1
        self.exact += merged.text == case["human"]
        self.lost += bool(missing_words([base], [[first], [second]], [merged.text]))
        self.garbled += not set(words(merged.text)) <= {*words(base), *words(first), *words(second)}
        self.with_spots += bool(merged.spots)

    def row(self, name: str) -> str:
        """Return the group's line of the table."""
        times = sorted(self.times_ms)
        p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
        return (
            f"{name:10} {self.cases:6} {100 * self.exact / self.cases:8.1f} {self.lost:6} {self.garbled:8} "
            f"{self.with_spots:6} {p50:8.2f} {p99:8.2f}"
        )


def cases(path: Path) -> Iterator[dict[str, Any]]:
    """Return the cases of a file."""
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        yield from map(json.loads, file)


def group_of(case: dict[str, Any]) -> str:
    """Return the group of a case: what a person decided for one side says nothing about merging."""
    if case["human_kind"] in "ab":
        return "one side"
    return "conflict" if case["git_conflicts"] else "git clean"


def main() -> None:
    """Merge all cases of a file and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="?", type=Path, default=SAMPLE)
    parser.add_argument("--function", default="tidenote.core.merge:merge_text")
    chosen = parser.parse_args()
    module, _, name = chosen.function.partition(":")
    merge: Merge = getattr(importlib.import_module(module), name)
    groups: dict[str, Figures] = {}
    for case in cases(chosen.cases):
        groups.setdefault(group_of(case), Figures()).add(case, merge)
    print("group       cases  exact %   lost  garbled  spots   p50 ms   p99 ms")
    for group, figures in groups.items():
        print(figures.row(group))


if __name__ == "__main__":
    main()
