"""First syncs: 10,000 notes of 2 KiB up into an empty vault and down into an empty folder, beside a plain copy."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from benchmarks.running import files_in, link, once, server

NOTES = 10_000
SIZE = 2048


def run(folder: Path) -> None:
    """Measure both directions for a small vault and a large one."""
    for count in (384, NOTES):
        here = folder / str(count)
        a, b, copy = here / "a", here / "b", here / "copy"
        for place in (a, b, copy):
            place.mkdir(parents=True)
        make(a, count)
        raw = copied(a, copy)
        with server(here) as (port, _):
            up = once(here / "a.log", *link(a, port, "a"), "--once")
            down = once(here / "b.log", *link(b, port, "b"), "--once")
            again = once(here / "b.log", *link(b, port, "b"), "--once")
        assert files_in(b) == count
        print(f"{count:6} notes   copied with fsync {raw:6.2f} s")
        print(f"{'':14} up    {up:6.2f} s   {count / up:7.0f} files/s   {up / raw:5.1f} x copy")
        print(f"{'':14} down  {down:6.2f} s   {count / down:7.0f} files/s   {down / raw:5.1f} x copy")
        print(f"{'':14} again {again:6.2f} s   (nothing to do)")


def make(folder: Path, count: int) -> None:
    """Write notes of random words, all different, in 100 folders."""
    rng = random.Random(1)
    words = [f"word{number}" for number in range(3000)]
    for number in range(count):
        place = folder / f"folder {number % 100}"
        place.mkdir(exist_ok=True)
        text = f"# {number}\n" + " ".join(rng.choices(words, k=SIZE // 8))
        (place / f"{number}.md").write_text(text[:SIZE], encoding="utf-8")


def copied(source: Path, target: Path) -> float:
    """Copy as carefully as a sync must (each file by a temporary one, fsync and rename); return the time in s."""
    started = time.perf_counter()
    for path in source.rglob("*.md"):
        place = target / path.relative_to(source)
        place.parent.mkdir(exist_ok=True)
        beside = place.with_suffix(".tmp")
        with beside.open("wb") as file:
            file.write(path.read_bytes())
            file.flush()
            os.fsync(file.fileno())
        beside.replace(place)
    return time.perf_counter() - started
