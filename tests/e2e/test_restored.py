"""Copies and losses: a cloned device, a server from an older backup, a journal that is lost, broken or garbled."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.processes import Process, World, eventually, tidenote, tree_of, world

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(280)]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def put(folder: Path, *names: str, text: str = "") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text or f"text of {name}\n", encoding="utf-8")


def text_of(note: Path) -> str | None:
    return note.read_text(encoding="utf-8") if note.exists() else None


def again(here: World, name: str) -> Process:
    """Start the daemon of a folder that remembers everything."""
    return here.start(name, "sync", here.folder(name))


def ids(here: World) -> set[str]:
    return {str(here.told(name)["device_id"]) for name in ("a", "clone")}


def test_a_cloned_device_and_the_original_both_write(here: World) -> None:
    """A backup of a whole machine runs beside it: one device id, one journal, two writers."""
    server = here.serve()
    a = here.folder("a")
    put(a, "one.md", "two.md", "three.md")
    here.once("a")
    here.once("b")
    server.kill()
    clone = here.root / "clone"
    shutil.copytree(a, clone)
    # Both write the same notes from the same clock: every timestamp would be given away twice.
    put(a, "one.md", "from a.md", text="written by the original\n")
    put(clone, "one.md", "two.md", "from the clone.md", text="written by the clone\n")
    (clone / "three.md").unlink()
    for name in ("a", "clone"):
        daemon = again(here, name)
        eventually(
            lambda name=name, pid=daemon.process.pid: (  # type: ignore[misc]
                here.told(name).get("pid") == pid and here.told(name)["pending"] >= 2
            ),
            "both have written before they hear of the other",
        )
    here.serve()
    here.sync("b")
    eventually(
        lambda: all(
            {"from a.md", "from the clone.md"} <= tree_of(here.folder(name)).keys() for name in ("a", "b", "clone")
        ),
        "everyone has the new notes of both",
    )
    tree = here.settle("a", "b", "clone")
    assert tree.keys() == {"one.md", "two.md", "from a.md", "from the clone.md"}
    assert tree["two.md"] == b"written by the clone\n"
    lines = tree["one.md"].decode().splitlines()
    assert sorted(lines) == ["written by the clone", "written by the original"], "both wrote it: nothing is lost"
    # Each may notice first, or both at once; then they part again.
    eventually(lambda: len(names := ids(here)) == 2 and names <= {"a", "a~2", "a~3", "a~4"}, "they have parted")
    # Both are connected, and what they write from now on arrives.
    put(a, "later a.md")
    put(clone, "later clone.md")
    eventually(
        lambda: all(
            {"later a.md", "later clone.md"} <= tree_of(here.folder(name)).keys() for name in ("a", "b", "clone")
        ),
        "both go on",
    )
    here.settle("a", "b", "clone")


def test_a_server_from_an_older_backup_gets_back_what_it_lost(here: World) -> None:
    server = here.serve()
    a, b = here.folder("a"), here.folder("b")
    put(a, "kept.md", "edited.md", "deleted.md", "renamed.md")
    (a / "old.png").write_bytes(b"\x89PNG old")
    daemons = [here.sync("a"), here.sync("b")]
    here.settle("a", "b")
    here.once("c")
    here.settle("a", "b", "c")
    assert server.stop() == 0
    backup = here.root / "backup"
    shutil.copytree(here.data, backup)

    server = here.serve()
    put(a, "new on a.md", "deep/er/new.md")
    put(b, "edited.md", text="edited on b after the backup\n")
    (a / "new.png").write_bytes(b"\x89PNG" + bytes(2_000_000))
    (b / "deleted.md").unlink()
    (a / "renamed.md").rename(a / "under a new name.md")
    eventually(lambda: not (a / "deleted.md").exists() and (b / "under a new name.md").exists(), "all is exchanged")
    eventually((b / "new.png").exists, "the attachment, too")
    newer = here.settle("a", "b")
    server.kill()
    shutil.rmtree(here.data)
    backup.rename(here.data)

    # The daemons run on, and one edits while nobody serves.
    put(b, "while away.md")
    here.serve()
    eventually((a / "while away.md").exists, "a hears of b's edit")
    expected = {**newer, "while away.md": b"text of while away.md\n"}
    assert here.settle("a", "b") == expected
    # A device that saw nothing since the backup, and a fresh one, get what the others had.
    here.once("c")
    here.once("d")
    assert here.settle("a", "b", "c", "d") == expected
    assert all(daemon.running for daemon in daemons)
    assert all("Traceback" not in here.log_of(name) for name in ("a", "b", "c", "d", "server"))
    for name in ("c", "d"):
        assert "0 operations" in here.once(name)


def test_an_older_backup_under_live_devices_loses_nothing_that_anyone_has(here: World) -> None:
    """Taken while devices write, restored while they run on: what it lacks comes back from them, nothing goes."""
    server = here.serve()
    a, b = here.folder("a"), here.folder("b")
    put(a, *(f"{number}.md" for number in range(200)), "edited.md", "deleted.md", "renamed.md")
    (a / "old.png").write_bytes(b"\x89PNG old")
    daemons = [here.sync("a"), here.sync("b")]
    eventually((b / "0.md").exists, "the first sync is under way")
    file = here.root / "b.tar"
    assert "verified" in tidenote("backup", file, "--data", here.data).stdout
    here.settle("a", "b")
    put(b, "edited.md", text="edited on b after the backup\n")
    put(a, "new on a.md")
    (a / "new.png").write_bytes(b"\x89PNG" + bytes(2_000_000))
    (b / "deleted.md").unlink()
    (a / "renamed.md").rename(a / "under a new name.md")
    eventually(lambda: not (a / "deleted.md").exists() and (b / "under a new name.md").exists(), "all is exchanged")
    eventually((b / "new.png").exists, "the attachment, too")
    newer = here.settle("a", "b")
    refused = tidenote("restore-backup", file, "--data", here.data, "--replace", check=False)
    assert refused.returncode == 2
    assert "another server uses" in refused.stderr
    server.kill()
    tidenote("restore-backup", file, "--data", here.data, "--replace")
    put(b, "while away.md")
    here.serve()
    eventually((a / "while away.md").exists, "a hears of b's edit")
    expected = {**newer, "while away.md": b"text of while away.md\n"}
    assert here.settle("a", "b") == expected
    here.once("c")
    assert here.settle("a", "b", "c") == expected
    assert all(daemon.running for daemon in daemons)
    assert all("Traceback" not in here.log_of(name) for name in ("a", "b", "c", "server"))
    assert "0 operations" in here.once("c")


@pytest.mark.parametrize("how", ["removed", "garbled", "cut off"])
def test_without_a_journal_nothing_is_deleted_and_nothing_comes_back(here: World, how: str) -> None:
    here.serve()
    a, b = here.folder("a"), here.folder("b")
    put(a, *(f"{number}.md" for number in range(30)), "deleted elsewhere.md", "edited elsewhere.md", "edited here.md")
    here.once("a")
    here.once("b")
    here.settle("a", "b")
    journal = a / ".tidenote" / "journal.db"
    (b / "deleted elsewhere.md").unlink()
    put(b, "edited elsewhere.md", text="edited on b\n")
    here.once("b")
    put(a, "edited here.md", text="edited on a\n")
    match how:
        case "removed":
            for path in journal.parent.glob("journal.db*"):
                path.unlink()
        case "cut off":
            with journal.open("r+b") as file:
                file.truncate(journal.stat().st_size // 2 + 100)
        case _:
            with journal.open("r+b") as file:
                file.write(b"\xa5" * journal.stat().st_size)
    daemon = again(here, "a")
    # Nobody knows which is newer of two different texts without a common past: both are kept, and told.
    eventually(lambda: here.told("a").get("conflicts") == 1, "a tells of what was edited meanwhile")
    eventually(lambda: "needs you" in daemon.output, "and says so")
    assert here.told("a")["state"] == "attention"
    here.once("b")
    texts = {text_of(folder / "edited here.md") for folder in (a, b)}
    assert texts <= {"edited on a\n", "text of edited here.md\n"}, texts
    # What is only older here is known to be.
    eventually(lambda: text_of(a / "edited elsewhere.md") == "edited on b\n", "the later text comes")
    assert text_of(b / "edited elsewhere.md") == "edited on b\n"
    assert len(tree_of(a)) == 33, "nothing is deleted on a"
    assert len(tree_of(b)) == 32
    assert not (b / "deleted elsewhere.md").exists(), "nothing comes back on b"
    here.once("c")
    assert tree_of(here.folder("c")).keys() == tree_of(b).keys()


def test_an_older_journal_deletes_nothing_and_brings_nothing_back(here: World) -> None:
    """The folder is of today, its memory of last week: whoever restores `.tidenote` from a backup gets this."""
    here.serve()
    a, b = here.folder("a"), here.folder("b")
    put(a, "edited by both.md", "deleted here.md", "deleted there.md", "edited later.md", "renamed.md")
    here.once("a")
    here.once("b")
    shutil.copytree(a / ".tidenote", here.root / "last week")
    put(a, "edited by both.md", text="edited on a\n")
    put(a, "new.md")
    (a / "deleted here.md").unlink()
    (a / "renamed.md").rename(a / "under a new name.md")
    here.once("a")
    here.once("b")
    put(b, "edited by both.md", text="edited on b, later\n")
    (b / "deleted there.md").unlink()
    here.once("b")
    here.once("a")
    shutil.rmtree(a / ".tidenote")
    (here.root / "last week").rename(a / ".tidenote")
    put(a, "edited later.md", text="edited after the restore\n")
    put(a, "newer.md")
    for name in ("a", "b", "a"):
        here.once(name)
    tree = here.settle("a", "b")
    assert tree.keys() == {"edited by both.md", "edited later.md", "new.md", "newer.md", "under a new name.md"}
    assert tree["edited by both.md"] == b"edited on b, later\n"
    assert tree["edited later.md"] == b"edited after the restore\n"
    here.once("c")
    assert tree_of(here.folder("c")) == tree
    for name in ("a", "b"):
        assert "0 operations" in here.once(name)
