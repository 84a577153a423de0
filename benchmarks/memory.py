"""How much more memory server and daemons hold while 2 GiB of one attachment, or 1 GiB of notes, pass through.

And the server alone, while one message of short edits comes to many large notes.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx

from benchmarks.running import link, memory_mib, peak_mib, process, server, until

ATTACHMENT = 2 * 2**30
NOTES = 1100
NOTE_SIZE = 1_000_000
EDITED = 300
"""How many large notes one message edits."""


def run(folder: Path) -> None:
    """Measure the growth of the peak over what an idle process holds."""
    through("2 GiB attachment", folder / "attachment", attachment)
    through("1 GiB of notes", folder / "notes", notes)
    edits(folder / "edits")


def through(name: str, folder: Path, make: Callable[[Path], None]) -> None:
    """Let files pass from one folder to another, and print what that took."""
    a, b = folder / "a", folder / "b"
    for place in (a, b):
        place.mkdir(parents=True)
    (a / "first.md").write_text("first\n", encoding="utf-8")
    with (
        server(folder) as (port, serving),
        process(folder / "a.log", *link(a, port, "a")) as sending,
        process(folder / "b.log", *link(b, port, "b")) as receiving,
    ):
        until((b / "first.md").exists)
        parts: dict[str, subprocess.Popen[bytes]] = {"server": serving, "sender": sending, "receiver": receiving}
        before = {part: memory_mib(running.pid) for part, running in parts.items()}
        make(a)
        wanted = {path.name: path.stat().st_size for path in a.iterdir() if path.is_file()}
        until(
            lambda: all((b / file).exists() and (b / file).stat().st_size == size for file, size in wanted.items()),
            within_s=1800,
            every_s=0.5,
        )
        growth = {part: peak_mib(running.pid) - before[part] for part, running in parts.items()}
    told = ", ".join(f"{part} {mib:.0f} MiB" for part, mib in growth.items())
    print(f"{name:18} growth of the peak: {told}  (aim: at most 64 MiB each)")


def edits(folder: Path) -> None:
    """Push large notes one by one, then a short edit of each in one message."""
    folder.mkdir()
    with server(folder) as (port, serving), httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:

        def push(changes: list[dict[str, object]]) -> None:
            body = {"type": "sync_push", "changes": changes, "last_ack": 0}
            client.post("/api/v1/sync", params={"device_id": "a"}, json=body).raise_for_status()

        text = "some words of a long note\n" * (NOTE_SIZE // 26)
        for number in range(1, EDITED + 1):
            push([{"key": f"note:{number}.md", "value": text, "timestamp": number, "device_id": "a"}])
        before = peak_mib(serving.pid)
        push(
            [
                {"key": f"note:{number}.md", "value": "short", "timestamp": EDITED + number, "device_id": "a"}
                for number in range(1, EDITED + 1)
            ]
        )
        name = f"{EDITED} short edits"
        print(f"{name:18} growth of the peak: server {peak_mib(serving.pid) - before:.0f} MiB  (aim: at most 64 MiB)")


def attachment(folder: Path) -> None:
    """Write one large file of incompressible bytes."""
    block = os.urandom(2**22)
    with (folder / "attachment.bin").open("wb") as file:
        for number in range(ATTACHMENT // len(block)):
            file.write(number.to_bytes(8, "big") + block[8:])


def notes(folder: Path) -> None:
    """Write large notes, all different."""
    text = "some words of a long note that goes on and on\n" * (NOTE_SIZE // 46)
    for number in range(NOTES):
        (folder / f"{number}.md").write_text(f"{number}\n{text}", encoding="utf-8")
