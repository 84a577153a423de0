"""A file saved in one folder until it is replaced in the other, both daemons and the server on this machine."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.running import link, milliseconds, process, server, until

ROUNDS = 60


def run(folder: Path) -> None:
    """Save by writing in place and by rename, in turns."""
    a, b = folder / "a", folder / "b"
    for place in (a, b):
        place.mkdir()
    (a / "note.md").write_text("first\n", encoding="utf-8")
    with (
        server(folder) as (port, _),
        process(folder / "a.log", *link(a, port, "a")),
        process(folder / "b.log", *link(b, port, "b")),
    ):
        until((b / "note.md").exists)
        times: dict[str, list[float]] = {"in place": [], "by rename": []}
        for number in range(ROUNDS):
            for way, taken in times.items():
                taken.append(save(a / "note.md", b / "note.md", f"{way} {number}\n", rename=way == "by rename"))
                time.sleep(0.05)  # a person does not save twice within one settle time
    for way, taken in times.items():
        print(f"saved {way:10}     {milliseconds(taken)}  (aim: p50 about 100 ms, settle time included)")


def save(source: Path, target: Path, text: str, *, rename: bool) -> float:
    """Save a file here and return how long it took until it stood there, in s."""
    started = time.perf_counter()
    if rename:
        beside = source.with_suffix(".md.tmp")
        beside.write_text(text, encoding="utf-8")
        beside.replace(source)
    else:
        source.write_text(text, encoding="utf-8")
    until(lambda: target.read_text(encoding="utf-8") == text, within_s=30, every_s=0.0005)
    return time.perf_counter() - started
