"""`tidenote conflicts` with real processes: a server, two folders, and what a person types."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from e2e.processes import World, environment, eventually, tidenote, world
from tidenote.vault.folder import FolderStatus, read_status

pytestmark = [pytest.mark.timeout(280)]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        made.serve()
        yield made


def conflicts(*args: str | Path, status: int = 0, editor: str | None = None) -> str:
    """Run `tidenote conflicts`, check how it ends, and return what it prints, errors included."""
    more = {} if editor is None else {"EDITOR": editor, "VISUAL": ""}
    done = subprocess.run(
        [sys.executable, "-m", "tidenote", "conflicts", *map(str, args)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=100,
        env={**environment(), **more},
        check=False,
    )
    assert done.returncode == status, f"{args} exited {done.returncode}:\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    if status:
        assert len(done.stderr.strip().splitlines()) <= 2
    return done.stdout + done.stderr


def editor(tmp_path: Path, script: str) -> str:
    """Return a command that edits the file that it is given, as a person would."""
    file = tmp_path / "editor.py"
    file.write_text(f"import pathlib, sys\nfile = pathlib.Path(sys.argv[1])\n{script}\n", encoding="utf-8")
    return f"{sys.executable} '{file}'"


def status(here: World, name: str) -> FolderStatus:
    """Return what a device's daemon last said of itself."""
    return read_status(here.folder(name)) or FolderStatus("starting")


def daily_notes(here: World) -> tuple[Path, Path]:
    """Make two folders that each made the same note before they met; no daemon runs."""
    laptop, phone = here.folder("laptop"), here.folder("phone")
    for folder, text in ((laptop, "met Ada\n"), (phone, "call Bob\n")):
        (folder / "daily.md").write_text(text, encoding="utf-8")
    here.once("laptop")
    once(here, "phone")
    once(here, "laptop")
    return laptop, phone


def once(here: World, name: str) -> None:
    """Sync once; 4 says that there is a conflict."""
    done = tidenote(*here.link(name), "--once", check=False)
    assert done.returncode in (0, 4), done.stderr


def both(here: World, laptop: Path, phone: Path) -> dict[str, str]:
    """Sync both folders until they are equal, and return what they hold."""
    for name in ("laptop", "phone", "laptop"):
        once(here, name)
    trees = [
        {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.md"))}
        for folder in (laptop, phone)
    ]
    assert trees[0] == trees[1]
    return trees[0]


def test_no_conflicts_is_said_so(here: World) -> None:
    laptop = here.folder("laptop")
    (laptop / "a.md").write_text("x\n", encoding="utf-8")
    here.once("laptop")
    assert "no conflicts" in conflicts("list", laptop)
    assert "there is no conflict at a.md" in conflicts("show", "a.md", "--dir", laptop, status=1)
    assert "there is no conflict at a.md" in conflicts("resolve", "a.md", "--dir", laptop, "--confirm", status=1)
    assert "is not synced" in conflicts("list", here.root, status=2)
    assert "does not exist" in conflicts("list", here.root / "none", status=2)
    assert "no path in the folder" in conflicts("show", "../a.md", "--dir", laptop, status=2)


def test_a_conflict_is_listed_shown_and_settled_while_a_daemon_runs(here: World) -> None:
    laptop, phone = daily_notes(here)
    here.sync("phone")
    eventually(lambda: status(here, "phone").conflicts == 1, "the phone's daemon counts the conflict")
    listed = conflicts("list", laptop)
    (line,) = [line for line in listed.splitlines() if line.startswith("daily.md")]
    assert "laptop, phone" in line
    assert "choose" in line
    shown = conflicts("show", "daily.md", "--dir", laptop)
    for part in ("1: laptop", "2: phone", "+ met Ada", "+ call Bob"):
        assert part in shown
    assert "daily.md is settled" in conflicts("resolve", phone / "daily.md", "--dir", phone, "--keep", "laptop")
    eventually(lambda: (phone / "daily.md").read_text(encoding="utf-8") == "met Ada\n", "it reaches the phone")
    eventually(lambda: status(here, "phone").state == "synced", "nothing needs a person any more")
    assert "no conflicts" in conflicts("list", laptop)
    assert both_once(here, laptop) == "met Ada\n"


def both_once(here: World, laptop: Path) -> str:
    here.once("laptop")
    return (laptop / "daily.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("how", "notes"),
    [
        (["--keep", "2"], {"daily.md": "call Bob\n"}),
        (["--both"], {"daily.md": "call Bob\n", "daily (2).md": "met Ada\n"}),
        (["--both", "--as", "ada.md"], {"daily.md": "call Bob\n", "ada.md": "met Ada\n"}),
    ],
)
def test_each_choice_reaches_both_folders(here: World, how: list[str], notes: dict[str, str]) -> None:
    laptop, phone = daily_notes(here)
    conflicts("resolve", "daily.md", "--dir", laptop, *how)
    assert both(here, laptop, phone) == notes
    assert "no conflicts" in conflicts("list", phone)
    if "--both" not in how:
        assert "in the list again" in conflicts("reopen", "daily.md", "--dir", phone)
        assert "met Ada" in conflicts("show", "daily.md", "--dir", phone)


def test_a_text_and_an_edited_text_settle(here: World, tmp_path: Path) -> None:
    laptop, phone = daily_notes(here)
    settle = ("resolve", "daily.md", "--dir", laptop)
    refused = {
        "the text was not changed": "pass",
        "the text is empty": "file.write_text('\\n')",
        "ended with status 3": "sys.exit(3)",
        "is no text in UTF-8": "file.write_bytes(bytes([255]))",
    }
    for said, script in refused.items():
        assert said in conflicts(*settle, "--edit", editor=editor(tmp_path, script), status=2 if "UTF" in said else 1)
    assert "cannot be started" in conflicts(*settle, "--edit", editor="/nowhere/vi", status=2)
    assert "daily.md" in conflicts("list", laptop)
    script = "file.write_text(file.read_text() + 'and more\\n')"
    conflicts(*settle, "--edit", editor=editor(tmp_path, script))
    assert both(here, laptop, phone) == {"daily.md": "met Ada\ncall Bob\nand more\n"}
    conflicts("reopen", "daily.md", "--dir", laptop)
    text = tmp_path / "text"
    text.write_text("from a file\n", encoding="utf-8")
    conflicts(*settle, "--text", text)
    assert both(here, laptop, phone) == {"daily.md": "from a file\n"}


def test_what_a_person_wrote_is_kept_if_somebody_was_faster(here: World, tmp_path: Path) -> None:
    laptop, _ = daily_notes(here)
    change = {"key": "note:daily.md", "value": "read on\n", "timestamp": 1, "device_id": "tablet", "base": []}
    body = json.dumps({"type": "sync_push", "changes": [change], "last_ack": 0})
    url = f"{here.url}/api/v1/sync?device_id=tablet"
    faster = f"import httpx\nhttpx.post({url!r}, content={body!r}).raise_for_status()\nfile.write_text('mine')"
    said = conflicts("resolve", "daily.md", "--dir", laptop, "--edit", editor=editor(tmp_path, faster), status=1)
    assert "others wrote meanwhile" in said
    (kept,) = [line for line in said.splitlines() if "your text is kept in " in line]
    file = Path(kept.partition("kept in ")[2])
    assert file.read_text(encoding="utf-8") == "mine"
    file.unlink()
    file.parent.rmdir()
    assert "tablet" in conflicts("list", laptop)


def test_a_wrong_question_is_answered_with_one_line(here: World) -> None:
    laptop, _ = daily_notes(here)
    settle = ("resolve", "daily.md", "--dir", laptop)
    assert "say how" in conflicts(*settle, status=2)
    assert "say how" in conflicts(*settle, "--both", "--confirm", status=2)
    assert "--as goes with --both" in conflicts(*settle, "--confirm", "--as", "x.md", status=2)
    assert "choose by number: 1 (laptop), 2 (phone)" in conflicts(*settle, "--keep", "tablet", status=2)
    assert "choose by number" in conflicts(*settle, "--keep", "3", status=2)
    assert "more than one version" in conflicts(*settle, "--confirm", status=1)
    assert "already" in conflicts(*settle, "--both", "--as", "daily.md", status=1)
    assert os.fspath(laptop) in conflicts("show", "none.md", "--dir", laptop, status=1)
    assert httpx.get(f"{here.url}/api/v1/conflicts").json()["conflicts"]
