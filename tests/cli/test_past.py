"""`tidenote history`, `restore`, `undo` and `trash` with real processes: a server, two folders, what a person types."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.processes import World, environment, tidenote, world

pytestmark = [pytest.mark.timeout(280)]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        made.serve()
        yield made


def run(*args: str | Path, status: int = 0) -> str:
    """Run a command, check how it ends, and return what it prints, errors included."""
    done = tidenote(*args, check=False)
    assert done.returncode == status, f"{args} exited {done.returncode}:\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    if status:
        assert len(done.stderr.strip().splitlines()) <= 2
    return done.stdout + done.stderr


def answer_in_terminal(answer: str, *args: str | Path) -> tuple[int, str]:
    """Run a command in a terminal of its own, type an answer, and return its status and all that was on the screen."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tidenote", *map(str, args)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment()) as process:
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        seen = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # Linux's way to say that the other end is closed
                break
            if not part:
                break
            seen += part
    os.close(ours)
    return process.returncode, seen.decode()


def put(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")


def text_of(folder: Path, name: str) -> str | None:
    file = folder / name
    return file.read_text(encoding="utf-8") if file.exists() else None


def versions(note: str, folder: Path) -> list[dict[str, Any]]:
    """Return a note's versions as scripts get them, the latest first."""
    found: list[dict[str, Any]] = json.loads(run("history", note, "--json", "--dir", folder))
    return found


def clock(here: World) -> int:
    found: int = httpx.get(f"{here.url}/api/v1/manifest").json()["clock"]
    return found


def test_a_note_is_looked_up_and_brought_back_under_its_new_name(here: World) -> None:
    laptop, phone = here.folder("laptop"), here.folder("phone")
    put(laptop, "todo.md", "milk\nbread\n")
    here.once("laptop")
    here.once("phone")
    put(phone, "todo.md", "milk\nbread\ntea\n")
    here.once("phone")
    here.once("laptop")
    (laptop / "todo.md").rename(laptop / "list.md")
    here.once("laptop")
    put(laptop, "list.md", "spoiled\n")
    here.once("laptop")

    found = versions("list.md", laptop)
    assert [(v["key"], v["device_id"]) for v in found if not v.get("deleted")] == [
        ("note:list.md", "laptop"),
        ("note:list.md", "laptop"),
        ("note:todo.md", "phone"),
        ("note:todo.md", "laptop"),
    ]
    listed = run("history", "list.md", "--dir", laptop, "--diff").splitlines()
    latest = next(line for line in listed if line.startswith(str(found[0]["receipt"])))
    (before,) = [v["receipt"] for v in found if v["timestamp"] == found[0]["parents"][0]["timestamp"]]
    assert latest.endswith(f"8 B  now; after {before}")
    assert "as todo.md; renamed to list.md" in "\n".join(listed)
    assert {"    -milk", "    +spoiled", "    +tea"} <= set(listed)
    assert "older ones: --limit 2" in run("history", laptop / "list.md", "--dir", laptop, "--limit", "1")

    (by_phone,) = [v for v in found if v["device_id"] == "phone"]
    assert "list.md is back (+3 -1 lines)" in run(
        "restore", "list.md", "--version", str(by_phone["receipt"]), "--dir", laptop
    )
    here.once("laptop")
    assert text_of(laptop, "list.md") == "milk\nbread\ntea\n"
    (line,) = [line for line in run("history", "list.md", "--dir", laptop).splitlines() if "now" in line]
    same = next(v for v in found if v.get("sha256") == by_phone["sha256"])
    assert line.endswith(f"restored from {same['receipt']}")
    assert "nothing was changed" in run("restore", "list.md", "--version", str(by_phone["receipt"]), "--dir", laptop)
    number = str(clock(here) + 1)
    said = run("restore", "list.md", "--version", number, "--dir", laptop, status=1)
    assert f"there is no version {number} yet: the latest one is {clock(here)}" in said
    assert "`tidenote history list.md` lists what there was" in said
    said = run("restore", "--all", "--version", number, "--dry-run", "--dir", laptop, status=1)
    assert f"there is no version {number} yet" in said
    # What the message says takes it back does so.
    said = run("restore", "list.md", "--at", "1 day ago", "--dir", laptop, status=1)
    assert "there was no list.md then" in said
    before = clock(here)
    run("restore", "list.md", "--version", str(found[-1]["receipt"]), "--dir", laptop)
    said = run("restore", "list.md", "--version", str(before), "--dir", laptop)
    here.once("laptop")
    assert text_of(laptop, "list.md") == "milk\nbread\ntea\n"
    assert f"tidenote restore list.md --version {clock(here) - 1}" in said


def test_a_merge_says_from_whom_and_where_to_look(here: World) -> None:
    laptop = here.folder("laptop")
    put(laptop, "a.md", "top\n\nat five\n")
    here.once("laptop")
    (first,) = versions("a.md", laptop)
    put(laptop, "a.md", "top\n\nat six\n")
    here.once("laptop")
    # An edit with a greater time than the laptop's, by a device that has not seen it.
    change = {"key": "note:a.md", "value": "top\n\nat seven\n", "timestamp": clock(here) + 5, "device_id": "phone"}
    change["base"] = [{"timestamp": first["timestamp"], "device_id": "laptop"}]
    body = {"type": "sync_push", "changes": [change], "last_ack": 0}
    httpx.post(f"{here.url}/api/v1/sync?device_id=phone", json=body).raise_for_status()
    found = versions("a.md", laptop)
    (merge,) = [v for v in found if v["device_id"].startswith("server.")]
    assert [source["device_id"] for source in merge["merged"]["sources"]] == ["laptop", "phone"]
    said = run("history", "a.md", "--dir", laptop).splitlines()
    (line,) = [line for line in said if line.startswith(str(merge["receipt"]))]
    assert "server" in line
    assert "merged from laptop and phone; look at lines 3-4; somebody should look at it" in line
    # The side that a person misses is one step away.
    (by_laptop,) = [v for v in found if v["device_id"] == "laptop" and v["parents"]]
    run("restore", "a.md", "--version", str(by_laptop["receipt"]), "--dir", laptop)
    tidenote(*here.link("laptop"), "--once", check=False)
    assert text_of(laptop, "a.md") == "top\n\nat six\n"
    assert "settled by a person" in run("history", "a.md", "--dir", laptop)


def test_the_whole_vault_comes_back_after_a_question_and_that_can_be_taken_back(here: World) -> None:
    laptop = here.folder("laptop")
    put(laptop, "kept.md", "one\ntwo\n")
    put(laptop, "gone.md", "to be deleted\n")
    here.once("laptop")
    then = clock(here)
    put(laptop, "kept.md", "one\nspoiled\n")
    (laptop / "gone.md").unlink()
    put(laptop, "new.md", "made later\n")
    here.once("laptop")
    back = ("restore", "--all", "--version", str(then), "--dir", laptop)

    plan = run(*back, "--dry-run", "--diff").splitlines()
    assert any(line.endswith("+1 -0  gone.md") for line in plan)
    assert {"    -spoiled", "    +two", "    +to be deleted"} <= set(plan)
    assert any(line.endswith("new.md  (deleted)") for line in plan)
    assert "--yes does all of this without asking" in run(*back, status=2)
    status, screen = answer_in_terminal("n", *back)
    assert (status, "Restore 3 notes?" in screen, "nothing was changed" in screen) == (1, True, True)
    assert clock(here) == max(v["receipt"] for name in ("kept.md", "gone.md", "new.md") for v in versions(name, laptop))

    status, screen = answer_in_terminal("y", *back)
    assert (status, "3 notes restored" in screen) == (0, True)
    here.once("laptop", "--confirm-deletes")
    assert [text_of(laptop, name) for name in ("kept.md", "gone.md", "new.md")] == [
        "one\ntwo\n",
        "to be deleted\n",
        None,
    ]
    (line,) = [line for line in screen.splitlines() if "takes it back" in line]
    again = line.split("`")[1].split()
    assert again[0] == "tidenote"
    done = json.loads(run(*again[1:], "--yes", "--json"))
    assert sorted(note["key"] for note in done["notes"]) == ["note:gone.md", "note:kept.md", "note:new.md"]
    here.once("laptop", "--confirm-deletes")
    assert [text_of(laptop, name) for name in ("kept.md", "gone.md", "new.md")] == [
        "one\nspoiled\n",
        None,
        "made later\n",
    ]
    assert "everything is as it was then" in run("restore", "--all", "--at", "now", "--dir", laptop)


def test_a_device_is_undone_where_nobody_has_built_on_it(here: World) -> None:
    laptop, phone = here.folder("laptop"), here.folder("phone")
    put(laptop, "a.md", "one\n")
    put(laptop, "b.md", "two\n")
    here.once("laptop")
    here.once("phone")
    put(phone, "a.md", "spoiled\n")
    put(phone, "b.md", "spoiled, too\n")
    here.once("phone")
    here.once("laptop")
    put(laptop, "b.md", "spoiled, too\nand mine\n")
    here.once("laptop")
    undo = ("undo", "--device", "phone", "--since", "1 hour ago", "--dir", laptop)
    told = run(*undo, "--dry-run", "--diff")
    assert "    +one" in told.splitlines()
    assert "--yes does all of this without asking" in run(*undo, status=2)
    status, screen = answer_in_terminal("n", *undo)
    assert status == 1
    assert "Take back what phone did to 1 note?" in screen
    assert "nothing was changed" in screen
    said = run(*undo, "--yes", status=4)
    assert "1 note taken back" in said
    assert "b.md is left as it is: somebody else's later edits were made of it" in said
    here.once("laptop")
    assert [text_of(laptop, name) for name in ("a.md", "b.md")] == ["one\n", "spoiled, too\nand mine\n"]
    assert "is left as it is" in run(*undo, "--yes", status=4)
    told = run("undo", "--device", "laptop", "--since", "now", "--dir", laptop)
    assert "laptop changed nothing since then that still stands" in told
    said = run("undo", "--device", "phnoe", "--since", "today", "--dir", laptop, status=1)
    assert "there is no device phnoe; `tidenote devices` on the server lists them" in said


def test_the_trash_gives_back_what_was_deleted(here: World) -> None:
    laptop = here.folder("laptop")
    put(laptop, "a.md", "one\n")
    here.once("laptop")
    assert "the trash is empty" in run("trash", "--dir", laptop)
    (laptop / "a.md").unlink()
    here.once("laptop")
    assert "a.md  (deleted by laptop, 4 B)" in run("trash", "list", "--dir", laptop)
    (note,) = json.loads(run("trash", "--json", "--dir", laptop))
    assert note["key"] == "note:a.md"
    assert "a.md is back (+1 -0 lines)" in run("trash", "--dir", laptop, "restore", "a.md")
    here.once("laptop")
    assert text_of(laptop, "a.md") == "one\n"
    assert "tidenote: a.md is not deleted" in run("trash", "restore", "a.md", "--dir", laptop, status=1)


def test_a_wrong_question_is_answered_with_one_line(here: World) -> None:
    laptop = here.folder("laptop")
    put(laptop, "a.md", "one\n")
    here.once("laptop")
    there = ("--dir", laptop)
    assert "nobody wrote none.md; check its path" in run("history", "none.md", *there, status=1)
    assert "no path in the folder" in run("history", "../a.md", *there, status=2)
    assert "is not synced" in run("history", "a.md", "--dir", here.root, status=2)
    assert "say what" in run("restore", *there, status=2)
    assert "say what" in run("restore", "a.md", "--all", "--at", "now", *there, status=2)
    assert "say what" in run("restore", "a.md", "--at", "now", "--version", "1", *there, status=2)
    assert "is no time" in run("restore", "a.md", "--at", "soon", *there, status=2)
    assert "in the future" in run("undo", "--device", "x", "--since", "2100-01-01", *there, status=2)
    assert "go with --all" in run("restore", "a.md", "--at", "now", "--yes", *there, status=2)
    assert "--json asks nothing" in run("restore", "--all", "--at", "now", "--json", *there, status=2)
    assert "--json asks nothing" in run("undo", "--device", "x", "--since", "1h", "--json", *there, status=2)
