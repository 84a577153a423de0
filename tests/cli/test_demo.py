"""The demo comes up, does the main job, and leaves nothing running."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from e2e.processes import World, eventually, free_port, tidenote, world
from tidenote.cli.console import NEEDS_YOU

pytestmark = pytest.mark.e2e


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def test_two_folders_are_kept_the_same_and_ctrl_c_ends_everything(here: World) -> None:
    folder = here.root / "demo"
    demo = here.start("demo", "demo", "--dir", folder, "--port", str(here.port))
    eventually(lambda: "Ctrl-C ends the demo" in demo.output, "the hints")
    laptop, phone = folder / "laptop", folder / "phone"
    assert (phone / "Ideas" / "boat.md").read_bytes() == (laptop / "Ideas" / "boat.md").read_bytes()
    (phone / "Welcome.md").write_text("written on the phone", encoding="utf-8")
    eventually(lambda: (laptop / "Welcome.md").read_text() == "written on the phone", "it arrives")
    assert str(laptop) in demo.output
    assert here.url + "/" in demo.output
    hint = re.search(rf"(\S*tidenote) status '{laptop}'", demo.output)
    assert hint
    assert shutil.which(hint[1]), "what the hint says can be typed"
    eventually(lambda: tidenote("status", laptop, check=False).returncode == 0, "in sync")
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(timeout=60) == 0
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{here.url}/health")
    assert tidenote("status", laptop, check=False).returncode == 6
    assert "Traceback" not in demo.output

    # A second time it goes on with what is there.
    again = here.start("again", "demo", "--dir", folder, "--port", str(free_port()))
    eventually(lambda: "Ctrl-C ends the demo" in again.output, "the hints")
    assert (laptop / "Welcome.md").read_text() == "written on the phone"
    assert again.stop() == 0


def test_it_starts_again_with_a_conflict_and_a_pause_left_from_the_last_time(here: World) -> None:
    folder = here.root / "demo"
    laptop, phone = folder / "laptop", folder / "phone"
    demo = here.start("demo", "demo", "--dir", folder, "--port", str(here.port))
    eventually(lambda: "Ctrl-C ends the demo" in demo.output, "the hints")
    tidenote("pause", laptop)
    tidenote("pause", phone)
    eventually(lambda: demo.output.count("paused: you paused it") == 2, "both rest")
    for device in (laptop, phone):
        note = device / "Ideas" / "boat.md"
        note.write_text(note.read_text().replace("ask Ada about wood", f"buy a {device.name}"), encoding="utf-8")
    tidenote("resume", laptop)
    tidenote("resume", phone)
    eventually(lambda: tidenote("status", phone, check=False).returncode == NEEDS_YOU, "a conflict")
    tidenote("pause", phone)
    assert demo.stop() == 0

    again = here.start("again", "demo", "--dir", folder, "--port", str(free_port()))
    eventually(lambda: "Ctrl-C ends the demo" in again.output, "the hints")
    assert "laptop | needs you: 1 in conflict" in again.output
    eventually(lambda: "phone | paused" in again.output, "the pause")
    assert again.stop() == 0


def test_the_conflict_that_it_suggests_comes_about(here: World) -> None:
    folder = here.root / "demo"
    demo = here.start("demo", "demo", "--dir", folder, "--port", str(here.port))
    eventually(lambda: "Ctrl-C ends the demo" in demo.output, "the hints")
    laptop = folder / "laptop"
    hints = [line.strip() for line in demo.output.splitlines()]
    pause, write, other, resume, show, settle = hints[next(at for at, line in enumerate(hints) if " pause " in line) :][
        :6
    ]
    typed(pause)
    eventually(lambda: "phone | paused" in demo.output, "the phone rests")
    typed(f"{write}\n{other}\n{resume}")
    eventually(lambda: tidenote("status", laptop, check=False).returncode == NEEDS_YOU, "a conflict")
    shown = typed(show)
    assert "ask Ada about oak" in shown
    assert "ask Ben about pine" in shown
    typed(settle)
    eventually(lambda: (folder / "phone" / "Ideas" / "boat.md").read_text() == "- [ ] ask Ada about oak\n", "settled")
    assert demo.stop() == 0


def typed(line: str) -> str:
    """Do what a person types into a shell, and return what it prints."""
    done = subprocess.run(line, shell=True, check=True, timeout=60, stdin=subprocess.DEVNULL, capture_output=True)
    return done.stdout.decode()


def test_a_part_that_cannot_start_ends_the_demo_with_a_reason(here: World) -> None:
    here.serve()
    done = tidenote("demo", "--dir", here.root / "demo", "--port", str(here.port), check=False)
    assert done.returncode == 1
    assert re.search(rf"server \| tidenote: port {here.port} .*--port", done.stdout)
    assert done.stderr == "tidenote: the server did not start; what it printed is above\n"
