"""Disks that are full, and places where nothing can be written: told in one line, nothing lost, going on by itself.

A small disk is a tmpfs in a mount namespace of the process's own, which needs Linux and no rights. Where the system
has none of that, a limit on the size of files stands in for it (`RLIMIT_FSIZE`): writing fails in the same places.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.processes import Process, World, eventually, tree_of, world

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(280)]

MIB = 1 << 20


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def on_small_disk(folder: Path, size: int) -> list[str]:
    """Return what runs a command in a world where a folder is a disk of its own."""
    folder.mkdir(exist_ok=True)
    mount = f'mount -t tmpfs -o size={size} tidenote "$0" && exec "$@"'
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, str(folder)]


def inside(process: Process, folder: Path) -> Path:
    """Return a folder as a process sees it."""
    return Path(f"/proc/{process.process.pid}/root{folder}")


def has_small_disks() -> bool:
    """Say whether the system lets us have one."""
    if not sys.platform.startswith("linux") or shutil.which("unshare") is None:
        return False
    probe = ["unshare", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs none /tmp"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def test_a_full_disk_of_the_server(here: World) -> None:
    """C12: refused by name, never acknowledged; reads go on; once there is room, everything arrives by itself."""
    if not has_small_disks():
        limited(here, "server")
        return
    server = here.serve(within=on_small_disk(here.data, 64 * MIB))
    a = here.folder("a")
    (a / "first.md").write_text("there was room\n", encoding="utf-8")
    here.once("a")
    daemon = here.sync("a")
    eventually(lambda: here.told("a").get("state") == "synced", "in sync")
    data = inside(server, here.data)
    with contextlib.suppress(OSError), (data / "ballast").open("wb", buffering=0) as ballast:
        while ballast.write(b"\0" * 65536):
            pass
    for number in range(20):
        # Together more than the database may have set aside for itself.
        (a / f"{number}.md").write_text(f"{number:07d}\n" * 50_000, encoding="utf-8")
    (a / "picture.png").write_bytes(bytes(300_000))
    eventually(lambda: "storage_full" in here.log_of("server"), "the log says why")
    eventually(lambda: here.told("a")["pending"] > 0, "a knows what was not taken")
    here.once("b")
    assert tree_of(here.folder("b"))["first.md"] == b"there was room\n", "reads go on"
    assert here.told("a")["pending"] > 0, "nothing counts as sent that was not taken"
    assert server.running
    (data / "ballast").unlink()
    eventually(lambda: here.told("a").get("pending") == 0, "everything is sent")
    assert daemon.running
    here.once("b")
    assert tree_of(here.folder("b")) == tree_of(a)
    assert len(tree_of(a)) == 22
    assert "Traceback" not in here.log_of("a") + here.log_of("server")


def test_a_full_disk_of_a_device(here: World) -> None:
    """C12: what does not fit is held and told, what is there stays, and it all comes when there is room."""
    if not has_small_disks():
        limited(here, "b")
        return
    here.serve()
    a = here.folder("a")
    (a / "old.md").write_text("old\n", encoding="utf-8")
    here.sync("a")
    b = here.sync("b", within=on_small_disk(here.folder("b"), 6 * MIB))
    seen = inside(b, here.folder("b"))
    eventually((seen / "old.md").exists, "b runs")
    with contextlib.suppress(OSError), (seen / ".ballast").open("wb", buffering=0) as ballast:
        while ballast.write(b"\0" * 4096):
            pass
    (a / "large.bin").write_bytes(bytes(range(256)) * 4096)
    (a / "old.md").write_text("new\n" * 50_000, encoding="utf-8")
    eventually(lambda: "disk is full" in (b.output + str(told(seen))) or "No space" in str(told(seen)), "b says why")
    assert (seen / "old.md").read_bytes() == b"old\n", "the old text stays whole"
    assert not (seen / "large.bin").exists()
    assert b.running
    (seen / ".ballast").unlink()
    expected = tree_of(a)
    eventually(lambda: tree_of(seen) == expected, "everything comes", within_s=120)
    (seen / "from b.md").write_text("b writes\n", encoding="utf-8")
    eventually((a / "from b.md").exists, "b sends, too")
    assert "Traceback" not in b.output


def told(folder: Path) -> bytes:
    with contextlib.suppress(OSError):
        return (folder / ".tidenote" / "status.json").read_bytes()
    return b""


def limited(here: World, who: str) -> None:
    """The same with a limit on the size of files, which a fresh start takes away."""
    limit = ["sh", "-c", 'ulimit -f 512 && exec "$0" "$@"']
    server = here.serve(within=limit if who == "server" else ())
    a = here.folder("a")
    (a / "first.md").write_text("there was room\n", encoding="utf-8")
    (a / "large.bin").write_bytes(bytes(range(256)) * 4096)
    here.sync("a")
    b = here.sync("b", within=limit if who == "b" else ())
    eventually((here.folder("b") / "first.md").exists, "what is small arrives")
    assert not (here.folder("b") / "large.bin").exists()
    for process in (server, b):
        process.kill()
    here.serve()
    here.sync("b")
    eventually(lambda: tree_of(here.folder("b")) == tree_of(a), "everything comes")


@pytest.mark.parametrize("way", ["folder in the way", "file in the way"])
def test_a_note_that_cannot_be_written_holds_up_no_other(here: World, way: str) -> None:
    """D18, D21: an error of one file is told, the others come, and that one when it can."""
    here.serve()
    a, b = here.folder("a"), here.folder("b")
    (a / "good.md").write_text("good\n", encoding="utf-8")
    (a / "bad").mkdir()
    (a / "bad" / "note.md").write_text("one\n", encoding="utf-8")
    (b / "empty").mkdir()
    if way == "folder in the way":
        (b / "bad" / "note.md" / "kept").mkdir(parents=True)
        (b / "bad" / "note.md" / "kept" / "mine.bin").write_bytes(b"\0mine")
    else:
        (b / "bad").write_bytes(b"\0mine")
    here.sync("a")
    daemon = here.sync("b")
    eventually((b / "good.md").exists, "the good one comes")
    eventually(lambda: here.told("b").get("held"), "the other is told")
    assert {held["why"] for held in here.told("b")["held"]} == {"KIND"}
    assert [path for path, data in tree_of(b).items() if data == b"\0mine"], "what is there stays"
    if way == "folder in the way":
        shutil.rmtree(b / "bad" / "note.md")
    else:
        (b / "bad").unlink()
    eventually((b / "bad" / "note.md").is_file, "it comes")
    here.settle("a", "b")
    assert daemon.running


def mounted(disk: Path, folder: Path) -> list[str]:
    """Return what runs a command in a world where a folder is another one's disk."""
    disk.mkdir(exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    mount = 'mount --bind "$0" "$1" && shift && exec "$@"'
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, str(disk), str(folder)]


def remount(process: Process, *args: str | Path) -> None:
    """Run a command in the world of a process, as its root."""
    enter = ["nsenter", "--target", str(process.process.pid), "--user", "--mount", "--preserve-credentials"]
    subprocess.run([*enter, *map(str, args)], check=True, capture_output=True, timeout=30)


def test_d3_a_disk_that_is_unmounted_pauses_and_deletes_nothing(here: World) -> None:
    """L13: the mount point is there, and empty; later the disk is back. Where nobody may mount, by renaming."""
    here.serve()
    a, b, disk = here.folder("a"), here.folder("b"), here.root / "disk of b"
    for number in range(5):
        (a / f"{number}.md").write_text(f"{number}\n", encoding="utf-8")
    here.sync("a")
    mounts = has_small_disks()
    daemon = here.sync("b", within=mounted(disk, b) if mounts else ())
    seen = disk if mounts else b
    eventually(lambda: tree_of(seen) == tree_of(a), "b has everything, on its disk")
    if mounts:
        remount(daemon, "umount", "--lazy", b)
    else:
        b.rename(disk)
        b.mkdir()
    eventually(lambda: "paused" in daemon.output, "b notices")
    (a / "sign of life.md").write_text("x\n", encoding="utf-8")
    here.once("c")
    expected = tree_of(a)
    assert len(expected) == 6
    assert tree_of(here.folder("c")) == expected, "nothing was deleted"
    assert not tree_of(b), "nothing was written below the mount point"
    if mounts:
        remount(daemon, "mount", "--bind", disk, b)
    else:
        b.rmdir()
        disk.rename(b)
    eventually(lambda: tree_of(seen) == expected, "b goes on by itself")
    (seen / "from b.md").write_text("b\n", encoding="utf-8")
    eventually((a / "from b.md").exists, "both ways")
    assert "Traceback" not in daemon.output


def test_d18_a_folder_that_may_only_be_read_holds_back_and_goes_on(here: World) -> None:
    if not has_small_disks():
        limited(here, "b")
        return
    here.serve()
    a, b, disk = here.folder("a"), here.folder("b"), here.root / "disk of b"
    for name in ("locked", "open"):
        (a / name).mkdir()
        (a / name / "note.md").write_text("one\n", encoding="utf-8")
    here.sync("a")
    daemon = here.sync("b", within=mounted(disk, b / "locked"))
    locked, other = disk / "note.md", b / "open" / "note.md"
    eventually(lambda: has(locked, "one\n") and has(other, "one\n"), "b has everything")
    remount(daemon, "mount", "-o", "remount,ro,bind", b / "locked")
    for name in ("locked", "open"):
        (a / name / "note.md").write_text("two\n", encoding="utf-8")
    eventually(lambda: has(other, "two\n"), "the other one comes")
    eventually(lambda: here.told("b").get("held"), "it is told")
    assert has(locked, "one\n")
    here.once("c")
    assert tree_of(here.folder("c")) == tree_of(a), "nothing goes back, and nothing is deleted"
    remount(daemon, "mount", "-o", "remount,rw,bind", b / "locked")
    eventually(lambda: has(locked, "two\n"), "it goes on by itself")
    assert daemon.running
    assert "Traceback" not in daemon.output


def test_d18_a_disk_that_may_only_be_read_is_one_clear_line(here: World) -> None:
    if not has_small_disks():
        limited(here, "b")
        return
    here.serve()
    b, disk = here.folder("b"), here.root / "disk of b"
    disk.mkdir()
    (disk / "mine.md").write_text("mine\n", encoding="utf-8")
    read_only = 'mount --bind "$0" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
    within = ["unshare", "--map-root-user", "--mount", "sh", "-c", read_only, str(disk), str(b)]
    daemon = here.sync("b", within=within)
    assert daemon.process.wait(timeout=60) not in (0, None)
    assert "ead-only" in daemon.output
    assert "Traceback" not in daemon.output
    assert len(daemon.output.strip().splitlines()) == 1, daemon.output
    here.sync("b", within=mounted(disk, b))
    here.sync("a")
    eventually(lambda: has(here.folder("a") / "mine.md", "mine\n"), "once it may be written, it syncs")


def has(file: Path, text: str) -> bool:
    """Say whether a file is there with a text."""
    return file.exists() and file.read_text(encoding="utf-8") == text
