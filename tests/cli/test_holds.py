"""Deciding about what is held, on the command line: real processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from e2e.processes import World, eventually, on_terminal, tidenote, tree_of, world
from tidenote.cli.holds import WORDS
from tidenote.vault.folder import FolderStatus, HeldPath, StateFolder
from tidenote.wire.messages import HoldKind

pytestmark = pytest.mark.e2e

NAMES = {f"{number:02}.md" for number in range(30)}
MANY = {f"{number:02}.md" for number in range(15)}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        made.serve()
        for name in NAMES:
            (made.folder("notes") / name).write_text(f"text of {name}\n")
        made.once("notes")
        yield made


def remove(folder: Path, names: set[str]) -> None:
    for name in names:
        (folder / name).unlink()


def test_without_a_daemon_the_folder_is_synced_once(here: World) -> None:
    notes = here.folder("notes")
    assert tidenote("holds", "list", notes).stdout == "nothing is held that waits for you\n"
    remove(notes, MANY)
    assert tidenote("sync", notes, "--once", check=False).returncode == 4
    listed = tidenote("holds", "list", notes).stdout
    assert listed.startswith("delete_out: 15 files are gone from this folder\n  00.md\n")
    assert f"`tidenote holds refuse {notes} --kind delete_out`: put back here" in listed
    assert "`tidenote holds list" in tidenote("status", notes, check=False).stdout
    told = json.loads(tidenote("holds", "list", notes, "--json").stdout)
    assert told == [{"kind": "delete_out", "paths": sorted(MANY)}]
    asked = tidenote("holds", "refuse", notes, check=False)
    assert (asked.returncode, "--yes" in asked.stderr) == (2, True), "there is nobody to ask"
    assert tree_of(notes).keys() == NAMES - MANY
    done = tidenote("holds", "refuse", notes, "--yes")
    assert "15 received" in done.stdout
    assert tree_of(notes).keys() == NAMES
    remove(notes, MANY)
    assert tidenote("sync", notes, "--once", check=False).returncode == 4
    # What is gone since was not decided about; with what went out just before it is too many again.
    remove(notes, {"20.md"})
    done = tidenote("holds", "confirm", notes, "--yes", check=False)
    assert (done.returncode, "15 sent" in done.stdout, "held: 20.md" in done.stdout) == (4, True, True), done.stdout
    assert "1 sent" in here.once("notes", "--confirm-deletes")
    here.once("other")
    assert tree_of(here.folder("other")).keys() == NAMES - MANY - {"20.md"}


def test_a_running_daemon_is_told(here: World) -> None:
    notes = here.folder("notes")
    here.sync("notes")
    eventually(lambda: here.told("notes").get("state") == "synced", "it is in sync")
    remove(notes, MANY)
    eventually(lambda: len(here.told("notes")["held"]) == len(MANY), "they are held")
    assert "is told: put back here" in tidenote("holds", "refuse", notes, "--kind", "delete_out", "--yes").stdout
    eventually(lambda: tree_of(notes).keys() == NAMES, "they come back")
    eventually(lambda: here.told("notes")["state"] == "synced", "nothing is held")
    done = tidenote("holds", "confirm", notes, check=False)
    assert (done.returncode, done.stderr) == (1, f"tidenote: {notes} holds nothing that waits for you\n")


def test_a_person_is_asked_first(here: World) -> None:
    notes = here.folder("notes")
    remove(notes, MANY)
    assert tidenote("sync", notes, "--once", check=False).returncode == 4
    status, printed = on_terminal("n\n", "holds", "confirm", notes)
    assert (status, "Delete everywhere?" in printed, "nothing was changed" in printed) == (1, True, True), printed
    status, printed = on_terminal("y\n", "holds", "confirm", notes)
    assert (status, "15 sent" in printed) == (0, True), printed


def test_an_emptied_folder_is_filled_again(here: World) -> None:
    notes = here.folder("notes")
    remove(notes, NAMES)
    assert "the folder is empty" in tidenote("sync", notes, "--once", check=False).stderr
    assert len(json.loads(tidenote("status", notes, "--json", check=False).stdout)["held"]) == len(NAMES)
    assert "`tidenote holds list" in tidenote("status", notes, check=False).stdout
    assert "30 received" in tidenote("holds", "refuse", notes, "--yes").stdout
    assert tree_of(notes).keys() == NAMES


def test_one_kind_is_decided_about_at_a_time(tmp_path: Path) -> None:
    held = [
        HeldPath("a.md", "QUARANTINE", "why"),
        HeldPath("b.md", "DELETED_ELSEWHERE", "why"),
        HeldPath("c.md", "NAME", "why"),
        HeldPath("d.md", "OF_THE_FUTURE", "why"),
    ]
    with StateFolder(tmp_path) as folder:
        (folder.path / "link.json").write_text("{}")
        folder.write_status(FolderStatus("attention", held=held))
    done = tidenote("holds", "confirm", tmp_path, check=False)
    assert done.returncode == 2
    assert "say which one with --kind: quarantine, delete_in" in done.stderr
    done = tidenote("holds", "refuse", tmp_path, "--kind", "delete_out", check=False)
    assert done.stderr == f"tidenote: {tmp_path} holds nothing of the kind delete_out that waits for you\n"


def test_every_kind_can_be_asked_about() -> None:
    assert set(WORDS) == set(get_args(HoldKind))
