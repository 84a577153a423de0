"""Joining a folder and keeping it the same, as a person or a script does it: real processes."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.processes import World, environment, eventually, on_terminal, tidenote, tree_of, world
from tidenote.vault.folder import CONFIRM_FILE

pytestmark = pytest.mark.e2e


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def write(folder: Path, **notes: str) -> None:
    for name, text in notes.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")


def status_of(folder: Path) -> int:
    return tidenote("status", folder, check=False).returncode


def one_line(done: subprocess.CompletedProcess[str], status: int) -> str:
    """Return the one line that a failed command left, and nothing else."""
    assert done.returncode == status, (done.stdout, done.stderr)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("tidenote: ")
    return done.stderr


# -- joining


def test_without_a_terminal_a_folder_with_files_is_not_joined_unasked(here: World) -> None:
    here.serve()
    notes = here.folder("notes")
    write(notes, a="mine")
    line = one_line(tidenote("sync", notes, "--endpoint", here.endpoint, "--once", check=False), 2)
    assert "--yes" in line
    assert "--dry-run" in line
    assert "was never synced" in line
    link = f"{here.url}/#pair=AAAA-AAAA-AAAA"
    line = one_line(tidenote("sync", notes, "--link", link, check=False), 2)
    assert "--yes" in line
    assert "--dry-run" not in line
    assert not (notes / ".tidenote").exists()


def test_a_folder_that_lost_its_link_does_not_say_that_it_was_never_synced(here: World) -> None:
    here.serve()
    notes = here.folder("notes")
    write(notes, a="mine")
    join = ("sync", notes, "--endpoint", here.endpoint, "--device-id", "notes", "--once")
    tidenote(*join, "--yes")
    (notes / ".tidenote" / "link.json").unlink()
    assert "no longer says what it syncs with (link.json is gone)" in one_line(tidenote(*join, check=False), 2)
    assert "0 operations" in tidenote(*join, "--yes").stdout


def test_a_folder_above_or_inside_a_synced_one_is_not_synced_by_itself(here: World) -> None:
    here.serve()
    notes = here.folder("notes")
    (notes / "sub").mkdir()
    write(notes / "sub", a="one")
    here.once("notes")
    inner = ("sync", notes / "sub", "--endpoint", here.endpoint, "--device-id", "inner", "--once", "--yes")
    assert f"lies in {notes}, which is or was synced" in one_line(tidenote(*inner, check=False), 1)
    assert not (notes / "sub" / ".tidenote").exists()
    # Who is in a folder of theirs is told where to go.
    for command in (("history", "a.md", "--dir", notes / "sub"), ("status", notes / "sub")):
        assert f"is a part of {notes}, which is synced; run this in {notes}" in one_line(
            tidenote(*command, check=False), 2
        )

    outer = here.folder("outer")
    (outer / "inner").mkdir()
    there = ("sync", outer / "inner", "--endpoint", here.endpoint, "--device-id", "there", "--once")
    tidenote(*there)
    around = ("sync", outer, "--endpoint", here.endpoint, "--device-id", "around", "--once", "--yes")
    assert f"{outer / 'inner'}, in this folder, is synced by itself" in one_line(tidenote(*around, check=False), 1)
    assert not (outer / ".tidenote").exists()
    # A copy that somebody keeps inside has no daemon, and can get none.
    (outer / "inner").rename(here.root / "copy")
    tidenote(*around)
    (here.root / "copy").rename(outer / "copy")
    tidenote(*around)
    assert "which is or was synced" in one_line(tidenote("sync", outer / "copy", "--once", check=False), 1)


def test_an_empty_folder_is_joined_unasked(here: World) -> None:
    here.serve()
    assert "0 operations" in tidenote("sync", here.folder("notes"), "--endpoint", here.endpoint, "--once").stdout


def test_a_person_sees_the_plan_and_is_asked(here: World) -> None:
    here.serve()
    other, notes = here.folder("other"), here.folder("notes")
    write(other, both="same", clash="theirs", theirs="x")
    here.once("other")
    write(notes, both="same", clash="mine", mine="y")
    join = ("sync", notes, "--endpoint", here.endpoint, "--device-id", "notes", "--once")
    before = tree_of(notes)

    status, printed = on_terminal("n\n", *join)
    assert status == 1
    for part in (
        f"{notes} joins vault main on {here.endpoint} as notes",
        "1 goes to the vault: mine.md",
        "1 comes from the vault: theirs.md",
        "1 is the same on both sides: both.md",
        "1 differs; both versions are kept, and you choose later: clash.md",
        "nothing was done",
    ):
        assert part in printed, printed
    assert tree_of(notes) == before
    assert not (notes / ".tidenote").exists()

    status, printed = on_terminal("y\n", *join)
    assert status == 0, printed
    assert "Join?" in printed
    assert tree_of(notes).keys() == {"both.md", "clash.md", "mine.md", "theirs.md"}
    status, printed = on_terminal("", "sync", notes, "--once")
    assert status == 0
    assert "Join?" not in printed


def test_a_dry_run_changes_nothing_anywhere(here: World) -> None:
    here.serve()
    other, notes = here.folder("other"), here.folder("notes")
    write(other, a="from other")
    here.once("other")
    write(notes, b="from notes")
    told = tidenote(*here.link("notes"), "--dry-run").stdout
    assert "write  a.md" in told
    assert "send  b.md" in told
    assert tree_of(notes) == {"b.md": b"from notes"}
    assert not (notes / ".tidenote").exists()
    assert "0 operations" in here.once("other")
    here.once("notes")
    assert tidenote("sync", notes, "--dry-run").stdout.strip() == "nothing is to be done"
    (notes / "a.md").unlink()
    assert "delete  a.md in the vault" in tidenote("sync", notes, "--dry-run").stdout
    (notes / "a.md").write_bytes(b"from other")
    (notes / "b.md").rename(notes / "c.md")
    assert "move  b.md -> c.md in the vault" in tidenote("sync", notes, "--dry-run").stdout


# -- what is remembered


def test_the_folder_remembers_link_and_flags(here: World) -> None:
    here.serve()
    notes, other = here.folder("notes"), here.folder("other")
    write(notes, a="text")
    (notes / "big.pdf").write_bytes(b"%PDF")
    (notes / ".obsidian").mkdir()
    (notes / ".obsidian" / "app.json").write_text("{}")
    here.once("notes", "--except", "*.pdf", "--hidden")
    here.once("other", "--hidden")
    assert tree_of(other).keys() == {"a.md", ".obsidian/app.json"}
    write(notes, b="more")
    assert "1 operation: 1 sent" in tidenote("sync", notes, "--once").stdout
    assert "1 operation: 1 sent" in tidenote("sync", notes, "--once", "--except", "").stdout
    # A flag that is taken back ignores what it let in; it deletes nothing.
    assert "0 operations" in tidenote("sync", notes, "--once", "--no-hidden").stdout
    here.once("other")
    assert tree_of(other).keys() == {"a.md", "b.md", "big.pdf", ".obsidian/app.json"}


def test_a_device_without_a_name_gets_one_and_keeps_it(here: World) -> None:
    here.serve()
    notes = here.folder("notes")
    write(notes, a="text")
    for _ in range(2):
        tidenote("sync", notes, "--endpoint", here.endpoint, "--once", "--yes")
    names = {json.loads((notes / ".tidenote" / "status.json").read_text())["device_id"]}
    tidenote("sync", notes, "--once")
    names.add(json.loads((notes / ".tidenote" / "status.json").read_text())["device_id"])
    assert len(names) == 1


def test_a_linked_folder_is_not_taken_to_another_vault_or_device(here: World) -> None:
    here.serve()
    here.once("notes")
    for flag, value, known in (("--vault", "other", "main"), ("--device-id", "someone", "notes")):
        line = one_line(tidenote("sync", here.folder("notes"), "--once", flag, value, check=False), 2)
        assert f"syncs with {flag} {known}: leave {flag} out, or remove" in line


# -- what goes wrong


def test_a_server_that_does_not_answer_is_one_line(here: World) -> None:
    line = one_line(tidenote(*here.link("notes"), "--once", check=False), 1)
    assert "check that the server runs" in line


def test_a_folder_or_flag_that_is_wrong_is_one_line(here: World) -> None:
    assert "make it with mkdir" in one_line(tidenote("sync", here.root / "missing", check=False), 2)
    notes = here.folder("notes")
    assert "ws://" in one_line(tidenote("sync", notes, "--endpoint", "http://x", check=False), 2)
    assert "device_id" in one_line(tidenote("sync", notes, "--device-id", "server1", check=False), 2)


@pytest.mark.parametrize("poll", [False, True])
def test_tokens(here: World, poll: bool) -> None:
    here.serve_guarded()
    token = tidenote("pair", "--device", "notes", "--token", "--data", here.data).stdout.strip()
    notes = here.folder("notes")
    write(notes, a="text")
    join: list[str | Path] = ["sync", notes, "--endpoint", here.endpoint, "--device-id", "notes", "--yes"]
    if poll:
        join.append("--poll")
    wrongs: list[list[str]] = [[], ["--token", "wrong"]]
    for wrong in wrongs:
        assert "--link" in one_line(tidenote(*join, *wrong, "--once", check=False), 1)
    daemon = here.start("daemon", *join)
    eventually(lambda: not daemon.running, "a daemon that nobody lets in ends")
    assert "--link" in daemon.output
    assert daemon.process.returncode == 1
    told = tidenote("status", notes, check=False)
    assert told.returncode == 6
    assert "no daemon runs: this device's token is unknown or was revoked" in told.stdout
    assert "join with a new link: `tidenote pair`" in told.stdout
    assert "1 operation: 1 sent" in tidenote(*join, "--token", token, "--once").stdout
    assert "0 operations" in tidenote("sync", notes, "--once").stdout
    revoked = here.start("revoked", "sync", notes)
    eventually(lambda: "in sync" in revoked.output, "it is let in")
    tidenote("revoke", "notes", "--data", here.data)
    eventually(lambda: not revoked.running, "a daemon whose device was revoked ends")
    assert "edits are kept\n" in revoked.output
    assert "sent later" not in revoked.output


# -- a running daemon


def test_status_of_a_daemon_in_all_its_states(here: World) -> None:
    server = here.serve()
    notes = here.folder("notes")
    write(notes, a="text")
    daemon = here.sync("notes")
    eventually(lambda: f"in sync: {notes}, 1 file" in daemon.output, "the announcement")
    eventually(lambda: status_of(notes) == 0, "in sync")
    told = json.loads(tidenote("status", notes, "--json").stdout)
    assert told["state"] == "synced"
    assert told["cursor"] > 0
    assert told["last_confirmed_at"] > 0
    assert told["held"] == []

    second = tidenote("sync", notes, "--once", check=False)
    assert "another tidenote is syncing" in one_line(second, 1)

    tidenote("pause", notes)
    eventually(lambda: "paused: you paused it" in tidenote("status", notes, check=False).stdout, "paused")
    assert status_of(notes) == 4
    write(notes, b="while paused")
    tidenote("resume", notes)
    eventually(lambda: status_of(notes) == 0, "in sync again")
    assert json.loads(tidenote("status", notes, "--json").stdout)["files"] == 2

    server.kill()
    eventually(lambda: status_of(notes) == 5, "offline")
    why = rf"(the connection to 127.0.0.1:{here.port} broke|nothing listens at 127.0.0.1:{here.port})"
    assert re.search(rf"offline: {why}; edits are kept and sent later", daemon.output)
    here.serve()
    eventually(lambda: status_of(notes) == 0, "in sync once more")
    assert daemon.stop() == 0
    assert status_of(notes) == 6
    assert "Traceback" not in daemon.output


@pytest.mark.parametrize("on_terminal", [True, False])
def test_a_daemon_goes_on_when_nobody_listens_any_more(here: World, on_terminal: bool) -> None:
    """As after `disown` in a terminal that is closed, or with a pipe whose reader has ended."""
    server = here.serve()
    folder = here.folder("a")
    ours, theirs = pty.openpty() if on_terminal else os.pipe()
    command = [sys.executable, "-m", "tidenote", *map(str, here.link("a"))]
    daemon = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment(TERM="dumb")
    )
    os.close(theirs)
    try:
        eventually(lambda: status_of(folder) == 0, "it is in sync")
        os.close(ours)
        server.kill()
        eventually(lambda: status_of(folder) == 5, "it has something to say")
        here.serve()
        write(folder, later="later")
        eventually(lambda: status_of(folder) == 0, "it goes on")
        daemon.terminate()
        assert daemon.wait(60) == 0
    finally:
        daemon.kill()
        daemon.wait()
    here.once("b")
    assert tree_of(here.folder("b")) == {"later.md": b"later"}


def test_many_deletions_are_held_until_they_are_confirmed(here: World) -> None:
    here.serve()
    notes, other = here.folder("notes"), here.folder("other")
    write(notes, **{f"n{number}": f"text {number}" for number in range(30)})
    daemon = here.sync("notes")
    here.once("other")
    eventually(lambda: status_of(notes) == 0, "in sync")
    for number in range(20):
        (notes / f"n{number}.md").unlink()
    eventually(lambda: status_of(notes) == 4, "held")
    told = tidenote("status", notes, check=False).stdout
    assert "confirm that they shall be deleted everywhere" in told
    assert "`tidenote holds list" in told
    eventually(lambda: "needs you: 20 held" in daemon.output, "the announcement")
    here.once("other")
    assert len(tree_of(other)) == 30
    looked = tidenote("sync", notes, "--confirm-deletes", "--dry-run", check=False)
    assert looked.returncode == 1, "a look while the daemon runs is no word to it"
    assert not (notes / ".tidenote" / CONFIRM_FILE).exists()
    assert tidenote("status", notes, check=False).returncode == 4
    assert "carries out the deletions" in tidenote("sync", notes, "--confirm-deletes").stdout
    eventually(lambda: status_of(notes) == 0, "carried out")
    # They arrive as many on the other side, too, where someone else sits.
    held = tidenote("sync", other, "--once", check=False)
    assert held.returncode == 4
    assert "held: n0.md" in held.stdout
    assert len(tree_of(other)) == 30
    assert "20 operations" in tidenote("sync", other, "--once", "--confirm-deletes").stdout
    assert len(tree_of(other)) == 10
