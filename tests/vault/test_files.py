"""The folder on disk: what is expected is checked, nothing leads outside, every step is atomic."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import random
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.hostile_paths import hostile_paths
from tidenote.core.keys import STATE_FOLDER, key_of_path
from tidenote.errors import FolderError, RefusedChange
from tidenote.vault import disk
from tidenote.vault import files as module
from tidenote.vault.bases import DiskTraits
from tidenote.vault.files import BadName, FileProblem, Gone, InUse, Kind, RealFiles, Unexpected
from tidenote.vault.ignore import TEMP_PREFIX
from vault.folding import FoldingFiles
from vault.world import writing


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


ONE, TWO = sha(b"one"), sha(b"two")

STEPS = ("open_file", "read", "stat", "rename", "rename_new", "exchange", "unlink")
"""The steps of a disk before which somebody may save."""


class Busy(disk.LocalDisk):
    """A disk on which somebody else does something just before some steps of ours, counted from 1.

    Args:
        can_exchange: whether two files can trade places in one step.
    """

    def __init__(self, *, can_exchange: bool) -> None:
        super().__init__()
        self.can_exchange = can_exchange
        self.begin({})

    def begin(self, at: dict[int, Callable[[], object]]) -> None:
        """Count the steps anew, with other things to do."""
        self.at, self.steps = at, 0

    def __getattribute__(self, name: str) -> Any:
        if name in STEPS:
            self.steps += 1
            self.at.get(self.steps, lambda: None)()
            if name == "exchange" and not self.can_exchange:
                return lambda *_: False
        return super().__getattribute__(name)


def save_afresh(path: Path, data: bytes) -> None:
    beside = path.with_name("beside~")
    beside.write_bytes(data)
    beside.replace(path)


def leftovers(root: Path) -> set[bytes]:
    kept = root / ".tidenote" / module.LEFTOVER
    return {path.read_bytes() for path in kept.rglob("*") if path.is_file()}


@pytest.fixture(params=["exchange", "no exchange", "no flags"])
def busy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Busy:
    """Disks as they are, and as some memory cards and network disks are."""
    if request.param == "no flags":
        monkeypatch.setattr(disk, "_system_rename", None)
    return Busy(can_exchange=request.param == "exchange")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "notes"
    (root / ".tidenote").mkdir(parents=True)
    return root


@pytest.fixture
def files(root: Path) -> Iterator[RealFiles]:
    opened = RealFiles(root)
    yield opened
    opened.close()


@pytest.fixture
def folding(root: Path) -> Iterator[FoldingFiles]:
    opened = FoldingFiles(root)
    yield opened
    opened.close()


def tree(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink() and ".tidenote" not in path.parts
    }


class TestRoot:
    def test_a_missing_folder_is_a_folder_error(self, tmp_path: Path) -> None:
        for path in (tmp_path / "nowhere", Path("/dev/null")):
            with pytest.raises(FolderError):
                RealFiles(path)
        (tmp_path / "loose").symlink_to("nowhere")
        with pytest.raises(FolderError):
            RealFiles(tmp_path / "loose")

    def test_a_folder_without_state_folder_is_one(self, tmp_path: Path) -> None:
        with pytest.raises(FolderError):
            RealFiles(tmp_path)

    def test_a_link_to_the_folder_is_followed_once(self, root: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(root)
        files = RealFiles(tmp_path / "link")
        files.write("a.md", b"one", None)
        files.check()
        files.close()
        assert tree(root) == {"a.md": b"one"}

    def test_a_swapped_folder_is_noticed(self, files: RealFiles, root: Path, tmp_path: Path) -> None:
        files.check()
        root.rename(tmp_path / "away")
        with pytest.raises(FolderError):
            files.check()
        (root / ".tidenote").mkdir(parents=True)
        with pytest.raises(FolderError, match="another folder"):
            files.check()
        (root / ".tidenote").rmdir()
        root.rmdir()
        (tmp_path / "away").rename(root)
        files.check()

    def test_so_is_a_missing_or_swapped_marker(self, files: RealFiles, root: Path) -> None:
        (root / ".tidenote").rename(root / "elsewhere")
        with pytest.raises(FolderError):
            files.check()
        (root / ".tidenote").mkdir()
        with pytest.raises(FolderError, match="another folder"):
            files.check()

    def test_the_disk_says_how_it_tells_names_apart(self, files: RealFiles, folding: FoldingFiles) -> None:
        assert files.traits == DiskTraits()
        assert folding._probe()[0] == DiskTraits()
        assert list((files.root / ".tidenote").iterdir()) == []

    def test_traits_fold(self) -> None:
        assert DiskTraits().fold("Cafe\u0301") == "Cafe\u0301"
        assert DiskTraits(case_sensitive=False).fold("CAFÉ") == "café"
        assert DiskTraits(form_sensitive=False).fold("Cafe\u0301") == "Café"


class TestLooking:
    def test_kinds(self, files: RealFiles, root: Path) -> None:
        (root / "a.md").write_bytes(b"one")
        (root / "d").mkdir()
        (root / "link").symlink_to("a.md")
        os.mkfifo(root / "pipe")
        assert {name: known.kind for name in files.names("") if (known := files.stat(name))} == {
            ".tidenote": Kind.FOLDER,
            "a.md": Kind.FILE,
            "d": Kind.FOLDER,
            "link": Kind.LINK,
            "pipe": Kind.SPECIAL,
        }
        assert files.stat("none") is None
        assert files.stat("a.md/x") is None
        assert files.stat("none/x") is None
        assert files.spelled("a.md") == "a.md"
        assert files.spelled("none") is None

    def test_hashing_and_reading(self, files: RealFiles, root: Path) -> None:
        data = random.Random(1).randbytes(3 * module.CHUNK_BYTES + 7)
        (root / "big").write_bytes(data)
        digest = files.digest("big")
        assert digest.content_hash == sha(data)
        assert digest.stat == files.stat("big")
        assert files.read("big") == (data, digest)

    @pytest.mark.parametrize("name", ["link", "pipe", "d"])
    def test_only_regular_files_are_read(self, files: RealFiles, root: Path, name: str) -> None:
        (root / "a.md").write_bytes(b"one")
        (root / "d").mkdir()
        (root / "link").symlink_to("a.md")
        os.mkfifo(root / "pipe")
        with pytest.raises(FileProblem):
            files.digest(name)

    def test_a_missing_file_is_gone(self, files: RealFiles) -> None:
        with pytest.raises(Gone):
            files.digest("none")

    def test_a_file_that_changes_while_it_is_read_is_unexpected(
        self, files: RealFiles, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (root / "a.md").write_bytes(b"one")
        real = os.read

        def read(descriptor: int, number: int) -> bytes:
            data = real(descriptor, number)
            if not data:
                with (root / "a.md").open("ab") as file:
                    file.write(b"!")
            return data

        monkeypatch.setattr(os, "read", read)
        with pytest.raises(Unexpected, match="changed while"):
            files.digest("a.md")

    def test_an_unreadable_file_is_a_problem_of_its_own(
        self, files: RealFiles, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (root / "a.md").write_bytes(b"one")
        failing(monkeypatch, "open", errno.EACCES, "a.md")
        with pytest.raises(FileProblem, match="Permission denied: check who may read and write it"):
            files.digest("a.md")


def failing(monkeypatch: pytest.MonkeyPatch, function: str, number: int, name: str) -> None:
    """Let a function of `os` fail for one name."""
    real: Callable[..., object] = getattr(os, function)

    def fake(*args: object, **more: object) -> object:
        if name in args:
            raise OSError(number, os.strerror(number), name)
        return real(*args, **more)

    monkeypatch.setattr(os, function, fake)


def test_threads_that_list_a_folder_at_once_take_no_names_from_each_other(files: RealFiles, root: Path) -> None:
    names = {f"{number}.md" for number in range(300)}
    for name in names:
        (root / name).touch()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: files.names(""), range(100)))
    assert all(names <= set(each) for each in found)


class TestWriting:
    def test_a_new_file_with_folders(self, files: RealFiles, root: Path) -> None:
        spelled, known = files.write("a/b/c.md", b"one", None)
        assert spelled == "a/b/c.md"
        assert known == files.stat("a/b/c.md")
        assert tree(root) == {"a/b/c.md": b"one"}

    def test_a_new_file_gets_the_mode_that_others_get(self, files: RealFiles, root: Path, tmp_path: Path) -> None:
        plain = tmp_path / "plain"
        plain.write_bytes(b"")
        files.write("a.md", b"one", None)
        source = root / ".tidenote" / "download"
        source.touch(mode=0o600)
        files.write("b.md", source, None)
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (plain, root / "a.md", root / "b.md")}
        assert len(modes) == 1

    def test_a_replaced_file_keeps_its_mode(self, files: RealFiles, root: Path) -> None:
        (root / "a.md").write_bytes(b"one")
        (root / "a.md").chmod(0o640)
        files.write("a.md", b"two", ONE)
        assert tree(root) == {"a.md": b"two"}
        assert stat.S_IMODE((root / "a.md").stat().st_mode) == 0o640

    @pytest.mark.parametrize("source", ["bytes", "file"])
    def test_nobody_else_reads_a_private_note_while_it_is_replaced(self, root: Path, source: str) -> None:
        modes: list[int] = []

        class Watched(disk.LocalDisk):
            def fsync(self, descriptor: int) -> None:
                modes.append(stat.S_IMODE(self.fstat(descriptor).st_mode))
                super().fsync(descriptor)

        (root / "a.md").write_bytes(b"one")
        (root / "a.md").chmod(0o600)
        download = root / ".tidenote" / "download"
        download.touch(mode=0o600)
        with closing(RealFiles(root, Watched())) as files:
            modes.clear()
            files.write("a.md", b"two" if source == "bytes" else download, ONE)
        assert modes[0] == stat.S_IMODE((root / "a.md").stat().st_mode) == 0o600

    def test_a_file_from_the_state_folder_is_moved_into_place(self, files: RealFiles, root: Path) -> None:
        source = root / ".tidenote" / "download"
        source.write_bytes(b"two")
        (root / "a.md").write_bytes(b"one")
        files.write("a.md", source, ONE)
        assert tree(root) == {"a.md": b"two"}
        assert not source.exists()

    def test_so_it_is_from_another_disk(self, files: RealFiles, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source = root / ".tidenote" / "download"
        source.write_bytes(b"two")
        failing(monkeypatch, "rename", errno.EXDEV, source)  # type: ignore[arg-type]
        files.write("a.md", source, None)
        assert tree(root) == {"a.md": b"two"}
        assert not source.exists()

    @pytest.mark.parametrize("expected", [None, TWO])
    def test_what_was_not_expected_stays(self, files: RealFiles, root: Path, expected: str | None) -> None:
        (root / "a.md").write_bytes(b"one")
        with pytest.raises(Unexpected):
            files.write("a.md", b"new", expected)
        assert tree(root) == {"a.md": b"one"}

    def test_what_is_gone_is_not_replaced(self, files: RealFiles, root: Path) -> None:
        with pytest.raises(Unexpected):
            files.write("a.md", b"new", ONE)
        assert tree(root) == {}

    def test_an_edit_in_the_last_moment_is_put_back(
        self, files: RealFiles, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between the check and the rename an editor saves: of the same size, in the same tick of the clock."""
        (root / "a.md").write_bytes(b"one")
        known = (root / "a.md").stat()
        real = RealFiles._fill

        def fill(self: RealFiles, parent: int, source: bytes | Path) -> str:
            (root / "a.md").write_bytes(b"1ne")
            os.utime(root / "a.md", ns=(known.st_atime_ns, known.st_mtime_ns))
            return real(self, parent, source)

        monkeypatch.setattr(RealFiles, "_fill", fill)
        with pytest.raises(Unexpected):
            files.write("a.md", b"two", ONE)
        assert tree(root) == {"a.md": b"1ne"}
        monkeypatch.setattr(disk, "_system_rename", None)
        (root / "a.md").write_bytes(b"one")
        with pytest.raises(Unexpected):
            files.write("a.md", b"two", ONE)
        assert tree(root) == {"a.md": b"1ne"}

    @pytest.mark.parametrize("save", [Path.write_bytes, save_afresh])
    @pytest.mark.parametrize("verb", ["write", "delete"])
    def test_what_is_saved_before_any_step_stays(
        self, busy: Busy, root: Path, save: Callable[[Path, bytes], object], verb: str
    ) -> None:
        files = RealFiles(root, busy)
        note = root / "a.md"
        for step in count(1):
            note.write_bytes(b"one")
            busy.begin({step: lambda: save(note, b"mine")})
            with suppress(Unexpected):
                if verb == "write":
                    files.write("a.md", b"two", ONE)
                else:
                    files.delete("a.md", ONE)
            if busy.steps < step:
                break
            assert tree(root) == {"a.md": b"mine"}, f"saved before step {step}"
        files.close()
        assert tree(root) == ({"a.md": b"two"} if verb == "write" else {})
        assert leftovers(root) <= {b"one"}

    def test_what_is_saved_twice_meanwhile_stays(self, busy: Busy, root: Path) -> None:
        files = RealFiles(root, busy)
        note = root / "a.md"
        for first in count(1):
            for second in count(first + 1):
                note.write_bytes(b"one")
                busy.begin({first: lambda: save_afresh(note, b"mine"), second: lambda: note.write_bytes(b"later")})
                with suppress(Unexpected):
                    files.write("a.md", b"two", ONE)
                if busy.steps < second:
                    break
                kept = leftovers(root) | set(tree(root).values())
                assert b"later" in kept, f"saved before steps {first} and {second}"
                assert tree(root).keys() == {"a.md"}
                shutil.rmtree(root / ".tidenote" / module.LEFTOVER, ignore_errors=True)
            if busy.steps < first:
                break
        files.close()

    def test_a_file_that_appears_in_the_last_moment_stays(
        self, files: RealFiles, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = RealFiles._fill

        def fill(self: RealFiles, parent: int, source: bytes | Path) -> str:
            (root / "a.md").write_bytes(b"mine")
            return real(self, parent, source)

        monkeypatch.setattr(RealFiles, "_fill", fill)
        for _ in range(2):
            with pytest.raises(Unexpected):
                files.write("a.md", b"two", None)
            assert tree(root) == {"a.md": b"mine"}
            (root / "a.md").unlink()
            monkeypatch.setattr(disk, "_system_rename", None)

    def test_a_folder_is_not_replaced_unless_it_is_empty(self, files: RealFiles, root: Path) -> None:
        (root / "d").mkdir()
        (root / "d" / "x.md").write_bytes(b"one")
        with pytest.raises(Unexpected, match="folder"):
            files.write("d", b"two", None)
        (root / "d" / "x.md").unlink()
        files.write("d", b"two", None)
        assert tree(root) == {"d": b"two"}

    def test_a_file_is_not_taken_for_a_folder(self, files: RealFiles, root: Path) -> None:
        (root / "d").write_bytes(b"one")
        with pytest.raises(FileProblem):
            files.write("d/x.md", b"two", None)
        assert tree(root) == {"d": b"one"}

    def test_a_full_disk_leaves_the_old_file(
        self, files: RealFiles, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (root / "a.md").write_bytes(b"one")

        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(FileProblem, match="No space"):
            files.write("a.md", b"two", ONE)
        assert tree(root) == {"a.md": b"one"}

    def test_c13_what_the_disk_did_not_confirm_does_not_count_as_written(
        self, files: RealFiles, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whichever `fsync` fails: the file is old or new, and the next start tidies up."""
        real, outcomes = os.fsync, []
        for failing in count(1):
            (root / "a.md").write_bytes(b"one")
            calls = 0

            def fsync(descriptor: int, failing: int = failing) -> None:
                nonlocal calls
                calls += 1
                if calls == failing:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                real(descriptor)

            monkeypatch.setattr(os, "fsync", fsync)
            try:
                files.write("a.md", b"two", ONE)
            except FileProblem:
                outcomes.append((root / "a.md").read_bytes())
            else:
                break
            finally:
                monkeypatch.undo()
            files.clean()
            assert tree(root).keys() == {"a.md"}
        assert outcomes[0] == b"one", "before what came was safe, nothing was replaced"
        assert set(outcomes) <= {b"one", b"two"}

    def test_disks_without_atomic_flags_do_as_well(
        self, files: RealFiles, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(disk, "_system_rename", None)
        files.write("a.md", b"one", None)
        files.write("a.md", b"two", ONE)
        files.move("a.md", "b.md", TWO)
        assert tree(root) == {"b.md": b"two"}
        with pytest.raises(Unexpected):
            files.write("b.md", b"x", None)

        def no_links(*_: object, **__: object) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", no_links)
        files.move("b.md", "c.md", TWO)
        files.write("b.md", b"one", None)
        with pytest.raises(Unexpected):
            files.move("b.md", "c.md", ONE)
        files.delete("c.md", TWO)
        assert tree(root) == {"b.md": b"one"}

    @pytest.mark.parametrize("name", ["x" * 256, "a/" + "é" * 128])
    def test_a_name_that_the_disk_cannot_hold_says_so(self, files: RealFiles, root: Path, name: str) -> None:
        with pytest.raises(FileProblem):
            files.write(name, b"one", None)
        assert tree(root) == {}

    def test_a_refusal_of_the_disk_is_a_bad_name(self, files: RealFiles, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_check_containable", lambda _: None)
        with pytest.raises(BadName):
            files.write("x" * 256, b"one", None)
        with pytest.raises(BadName):
            files.stat("\ud800")

    @pytest.mark.parametrize("flags", [True, False])
    def test_killed_at_any_moment_the_file_is_old_or_new(self, root: Path, *, flags: bool) -> None:
        """`kill -9` before each system call of a write: no partial file, and the rest is tidied away (C4)."""
        script = (
            "import os, sys\n"
            "from pathlib import Path\n"
            "from tidenote.vault import disk\n"
            "from tidenote.vault.files import RealFiles\n"
            f"disk._system_rename = disk._system_rename if {flags} else None\n"
            "files = RealFiles(Path(sys.argv[1]))\n"
            "left = int(sys.argv[2])\n"
            "def audit(event, args):\n"
            "    global left\n"
            "    if event.startswith('os.') or event in ('open', 'ctypes.call_function'):\n"
            "        left -= 1\n"
            "        if left == 0:\n"
            "            os._exit(9)\n"
            "sys.addaudithook(audit)\n"
            f"files.write('a.md', b'two' * 1000, {sha(b'one' * 1000)!r})\n"
        )
        outcomes = set()
        for step in range(1, 50):
            (root / "a.md").write_bytes(b"one" * 1000)
            done = subprocess.run([sys.executable, "-c", script, str(root), str(step)], check=False, timeout=60)
            # Without the flags there is a moment in which the old file is aside; the next start puts it back.
            assert (root / "a.md").exists() or not flags
            files = RealFiles(root)
            files.clean()
            files.close()
            assert tree(root).keys() == {"a.md"}
            content = (root / "a.md").read_bytes()
            assert content in (b"one" * 1000, b"two" * 1000)
            outcomes.add(content[:3])
            if done.returncode == 0:
                break
        else:
            raise AssertionError("it never came to its end")
        assert outcomes == {b"one", b"two"}


class TestDeleting:
    def test_a_file_goes_with_the_folders_that_it_leaves_empty(self, files: RealFiles, root: Path) -> None:
        files.write("a/b/c.md", b"one", None)
        files.write("a/d.md", b"one", None)
        files.delete("a/b/c.md", ONE)
        assert [path.name for path in (root / "a").iterdir()] == ["d.md"]

    def test_an_unexpected_one_stays(self, files: RealFiles, root: Path) -> None:
        (root / "a.md").write_bytes(b"two")
        with pytest.raises(Unexpected):
            files.delete("a.md", ONE)
        with pytest.raises(Gone):
            files.delete("none.md", ONE)
        assert tree(root) == {"a.md": b"two"}

    def test_an_edit_in_the_last_moment_is_put_back(
        self, files: RealFiles, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (root / "a.md").write_bytes(b"one")
        real = RealFiles._temporary

        def temporary(self: RealFiles) -> str:
            (root / "a.md").write_bytes(b"1ne")
            return real(self)

        monkeypatch.setattr(RealFiles, "_temporary", temporary)
        with pytest.raises(Unexpected):
            files.delete("a.md", ONE)
        assert tree(root) == {"a.md": b"1ne"}


def open_before_each_step(files: RealFiles, busy: Busy, note: Path, verb: str) -> Iterator[int]:
    """Replace or delete a note again and again, while somebody opens it before a step, and writes into it afterwards.

    Yields:
        Before which step that was.
    """
    for step in count(1):
        note.write_bytes(b"one")
        opened: list[BinaryIO] = []
        busy.begin({step: partial(open_to_append, note, opened)})
        with suppress(FileProblem):
            if verb == "write":
                files.write(note.name, b"two", ONE)
            else:
                files.delete(note.name, ONE)
        if busy.steps < step:
            return
        with opened[0]:
            opened[0].write(b"mine")
        yield step


def open_to_append(path: Path, opened: list[BinaryIO]) -> None:
    opened.append(path.open("ab", buffering=0))


class TestOpenForWriting:
    """What a program writes into a file that has no name any more is lost: such a file stays where it is."""

    def test_it_is_replaced_and_deleted_when_the_program_has_closed_it(self, files: RealFiles, root: Path) -> None:
        (root / "a.md").write_bytes(b"one")
        with writing(root / "a.md") as program:
            for _ in range(2):
                with pytest.raises(InUse, match="a program has it open for writing"):
                    files.write("a.md", b"two", ONE)
                with pytest.raises(InUse):
                    files.delete("a.md", ONE)
                assert tree(root) == {"a.md": b"one"}
            program.write(b" and more")
        assert tree(root) == {"a.md": b"one and more"}
        files.write("a.md", b"two", sha(b"one and more"))
        files.delete("a.md", TWO)
        assert tree(root) == {}

    def test_it_may_be_read_meanwhile_and_moved_with_what_is_written_yet(self, files: RealFiles, root: Path) -> None:
        (root / "a.md").write_bytes(b"one")
        with (root / "a.md").open("rb"):
            files.write("a.md", b"two", ONE)
        with writing(root / "a.md") as program:
            assert files.digest("a.md").content_hash == TWO
            files.move("a.md", "b.md", TWO)
            program.write(b" and more")
        assert tree(root) == {"b.md": b"two and more"}

    def test_a_shared_disk_that_knows_no_better_says_the_same_and_is_not_believed(
        self, files: RealFiles, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        nfs = 0x6969
        monkeypatch.setattr("tidenote.vault.disk._kind_of_disk", lambda _: nfs, raising=False)
        (root / "a.md").write_bytes(b"one")
        with writing(root / "a.md") as program:
            files.write("a.md", b"two", ONE)
            program.write(b" and more")
        assert tree(root) == {"a.md": b"two"}
        assert [files.look_back(), files.look_back()] == [0, 1]

    def test_who_wrote_already_is_looked_at_again(self, files: RealFiles, root: Path) -> None:
        (root / "a.md").write_bytes(b"mine")
        with writing(root / "a.md"), pytest.raises(Unexpected):
            files.write("a.md", b"two", ONE)

    @pytest.mark.parametrize("verb", ["write", "delete"])
    def test_what_is_written_by_who_opened_it_before_any_step_stays(self, busy: Busy, root: Path, verb: str) -> None:
        files = RealFiles(root, busy)
        for step in open_before_each_step(files, busy, root / "a.md", verb):
            assert b"mine" in b"".join(tree(root).values()), f"opened before step {step}"
        files.close()
        assert tree(root) == ({"a.md": b"two"} if verb == "write" else {})
        assert not (root / ".tidenote" / module.DEPARTED).exists()

    def test_who_opens_it_while_we_ask_waits_for_a_moment(
        self, files: RealFiles, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The signal of which the kernel tells us then would end the process if it were the usual one."""
        (root / "a.md").write_bytes(b"one")
        real = fcntl.fcntl
        opened: list[Future[int]] = []

        def asking(descriptor: int, command: int, value: int = 0) -> int:
            done: int = real(descriptor, command, value)
            if (command, value) == (fcntl.F_SETLEASE, fcntl.F_RDLCK) and not opened:
                opened.append(pool.submit((root / "a.md").write_bytes, b"mine"))
                while real(descriptor, fcntl.F_GETLEASE) == fcntl.F_RDLCK:
                    pass
            return done

        monkeypatch.setattr(fcntl, "fcntl", asking)
        with ThreadPoolExecutor(1) as pool, suppress(FileProblem):
            files.write("a.md", b"two", ONE)
        assert opened[0].result() == 4
        assert tree(root) == {"a.md": b"mine"}


class TestDeparted:
    """Where no system tells who writes, what was replaced is looked at once more, a while later."""

    @pytest.fixture(autouse=True)
    def silent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> int:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(fcntl, "fcntl", refuse)

    def departed(self, root: Path) -> list[bytes]:
        return [path.read_bytes() for path in (root / ".tidenote" / module.DEPARTED).glob("*")]

    @pytest.mark.parametrize("verb", ["write", "delete"])
    def test_what_was_written_since_is_kept_and_goes_on(self, files: RealFiles, root: Path, verb: str) -> None:
        (root / "a.md").write_bytes(b"one")
        with (root / "a.md").open("ab", buffering=0) as program:
            if verb == "write":
                files.write("a.md", b"two", ONE)
            else:
                files.delete("a.md", ONE)
            assert tree(root) == ({"a.md": b"two"} if verb == "write" else {})
            program.write(b" and more")
            assert [files.look_back() for _ in range(3)] == [0, 1, 0]
            assert leftovers(root) == {b"one and more"}
            program.write(b" later")
        assert leftovers(root) == {b"one and more later"}
        [kept] = (root / ".tidenote" / module.LEFTOVER).iterdir()
        assert kept.name.endswith("-a.md")

    def test_what_nobody_wrote_is_removed_after_a_while(self, files: RealFiles, root: Path) -> None:
        name = "\u00e9" * 120 + ".md"
        (root / name).write_bytes(b"one")
        files.write(name, b"two", ONE)
        assert files.look_back() == 0
        files.delete(name, TWO)
        assert sorted(self.departed(root)) == [b"one", b"two"]
        assert files.look_back() == 0
        assert self.departed(root) == [b"two"]
        assert files.look_back() == 0
        assert self.departed(root) == []
        assert leftovers(root) == set()

    def test_a_new_run_looks_at_what_an_earlier_one_left(self, files: RealFiles, root: Path) -> None:
        for name in ("a.md", "b.md"):
            (root / name).write_bytes(b"one")
        with (root / "a.md").open("ab") as program:
            files.delete("a.md", ONE)
            files.delete("b.md", ONE)
            program.write(b" and more")
        with closing(RealFiles(root)) as again:
            assert again.clean() == 1
        assert self.departed(root) == []
        assert leftovers(root) == {b"one and more"}

    def test_what_lies_on_another_disk_is_removed_at_once(
        self, files: RealFiles, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (root / "a.md").write_bytes(b"one")
        real = disk.LocalDisk.rename

        def rename(self: disk.LocalDisk, parent: int, name: str, target_parent: int, target: str) -> None:
            if target.endswith("-a.md"):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            real(self, parent, name, target_parent, target)

        monkeypatch.setattr(disk.LocalDisk, "rename", rename)
        files.delete("a.md", ONE)
        assert (tree(root), self.departed(root)) == ({}, [])

    @pytest.mark.parametrize("verb", ["write", "delete"])
    def test_what_is_written_by_who_opened_it_before_any_step_is_kept(self, busy: Busy, root: Path, verb: str) -> None:
        files = RealFiles(root, busy)
        for step in open_before_each_step(files, busy, root / "a.md", verb):
            assert files.look_back() == 0
            files.look_back()
            kept = b"".join([*tree(root).values(), *leftovers(root)])
            assert b"mine" in kept, f"opened before step {step}"
            shutil.rmtree(root / ".tidenote" / module.LEFTOVER, ignore_errors=True)
        files.close()


class TestMoving:
    def test_a_file_keeps_its_inode(self, files: RealFiles, root: Path) -> None:
        files.write("a/b.md", b"one", None)
        inode = (root / "a" / "b.md").stat().st_ino
        spelled, known = files.move("a/b.md", "c/d.md", ONE)
        assert (spelled, known.inode) == ("c/d.md", inode)
        assert tree(root) == {"c/d.md": b"one"}
        assert not (root / "a").exists()

    def test_nothing_is_replaced(self, files: RealFiles, root: Path) -> None:
        (root / "a.md").write_bytes(b"one")
        (root / "b.md").write_bytes(b"two")
        with pytest.raises(Unexpected):
            files.move("a.md", "b.md", ONE)
        with pytest.raises(Unexpected):
            files.move("a.md", "c.md", TWO)
        assert tree(root) == {"a.md": b"one", "b.md": b"two"}

    def test_a_case_only_rename_on_a_disk_that_folds(self, folding: FoldingFiles, root: Path) -> None:
        (root / "a.md").write_bytes(b"one")
        spelled, _ = folding.move("a.md", "A.md", ONE)
        assert spelled == "A.md"
        assert tree(root) == {"A.md": b"one"}

    def test_one_that_fails_is_undone(self, folding: FoldingFiles, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (root / "a.md").write_bytes(b"one")
        real = disk.LocalDisk.rename_new

        def rename(self: disk.LocalDisk, parent: int, name: str, target_parent: int, target: str) -> None:
            if target == "A.md":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(self, parent, name, target_parent, target)

        monkeypatch.setattr(disk.LocalDisk, "rename_new", rename)
        with pytest.raises(FileProblem):
            folding.move("a.md", "A.md", ONE)
        assert tree(root) == {"a.md": b"one"}


class TestFolding:
    def test_files_are_found_and_land_as_the_disk_spells_them(self, folding: FoldingFiles, root: Path) -> None:
        (root / "Foo").mkdir()
        assert folding.write("foo/Cafe\u0301.md", b"one", None)[0] == "Foo/Cafe\u0301.md"
        assert folding.spelled("FOO/CAFÉ.md") == "Foo/Cafe\u0301.md"
        assert folding.spelled("FOO/none.md") is None
        assert folding.spelled("none/none.md") is None
        with pytest.raises(Unexpected):
            folding.write("foo/café.md", b"two", None)


class TestContainment:
    """Nothing leads outside of the folder (D15, D16, M1)."""

    @pytest.fixture
    def outside(self, tmp_path: Path) -> Path:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "x.md").write_bytes(b"one")
        return outside

    def test_no_link_is_followed(self, files: RealFiles, root: Path, outside: Path) -> None:
        (root / "link").symlink_to(outside)
        (root / "x.md").symlink_to(outside / "x.md")
        for attempt in (
            lambda: files.write("link/new.md", b"two", None),
            lambda: files.write("link/x.md", b"two", ONE),
            lambda: files.write("x.md", b"two", ONE),
            lambda: files.write("x.md", b"two", None),
            lambda: files.delete("link/x.md", ONE),
            lambda: files.delete("x.md", ONE),
            lambda: files.move("link/x.md", "y.md", ONE),
            lambda: files.digest("link/x.md"),
            lambda: files.digest("x.md"),
            lambda: files.names("link"),
        ):
            with pytest.raises(FileProblem):
                attempt()
        files.write("y.md", b"one", None)
        with pytest.raises(FileProblem):
            files.move("y.md", "link/y.md", ONE)
        assert tree(outside) == {"x.md": b"one"}

    def test_a_folder_swapped_for_a_link_between_check_and_rename_is_not_followed(
        self, files: RealFiles, root: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (root / "d").mkdir()
        (root / "d" / "x.md").write_bytes(b"one")
        real = RealFiles._fill

        def fill(self: RealFiles, parent: int, source: bytes | Path) -> str:
            (root / "d").rename(root / "moved")
            (root / "d").symlink_to(outside)
            return real(self, parent, source)

        monkeypatch.setattr(RealFiles, "_fill", fill)
        with pytest.raises(FileProblem):
            files.write("d/x.md", b"two", ONE)
        assert tree(outside) == {"x.md": b"one"}
        assert (root / "moved" / "x.md").read_bytes() in (b"one", b"two")

    @pytest.mark.parametrize(
        "path",
        [
            "../x",
            "/etc/x",
            "a/../../x",
            "a\\..\\x",
            "",
            ".",
            "..",
            "a//b",
            "a/./b",
            "c:x",
            "a\0b",
            "a\nb",
            "~/..",
            ".tidenote/x",
        ],
    )
    def test_hostile_paths_are_refused_here_too(self, files: RealFiles, root: Path, path: str) -> None:
        before = sorted(root.parent.rglob("*"))
        with pytest.raises((FileProblem, ValueError)):
            files.write(path, b"two", None)
        assert sorted(root.parent.rglob("*")) == before

    def test_d16_no_random_path_is_written_outside(self, tmp_path: Path) -> None:
        """Whatever is asked for, also what no key can be: here nobody has checked it before."""
        inside, outside = tmp_path / "above" / "vault", tmp_path / "outside"
        (inside / STATE_FOLDER).mkdir(parents=True)
        outside.mkdir()
        for name in ("a", "b.md", "c.png", "x.md"):
            (outside / name).write_bytes(b"sentinel")
            (tmp_path / "above" / name).write_bytes(b"sentinel")
        (inside / "link").symlink_to(outside)
        around = {path: path.lstat().st_ino for path in tmp_path.rglob("*") if inside not in path.parents}
        written = refused = 0
        with closing(RealFiles(inside)) as files:
            for path in hostile_paths(20_000):
                for name in (path, f"link/{path}"):
                    try:
                        files.write(name, b"two", None)
                    except (FileProblem, ValueError):
                        refused += 1
                    else:
                        written += 1
        assert min(written, refused) > 1000
        assert {path: path.lstat().st_ino for path in tmp_path.rglob("*") if inside not in path.parents} == around
        assert {path.read_bytes() for path in around if path.is_file()} == {b"sentinel"}

    @given(st.lists(st.sampled_from(["..", ".", "", "a", "~", "C:", "%2e%2e", "\0", "\\", "é", " ", "a.md", ".git"])))
    def test_whatever_is_a_valid_key_lies_inside(self, names: list[str]) -> None:
        path = "/".join(names)
        try:
            key_of_path(path)
        except RefusedChange:
            return
        root = "/srv/notes"
        assert os.path.normpath(f"{root}/{path}") == f"{root}/{path}"


class TestCleaning:
    def test_temporary_files_of_a_killed_run_leave_the_folder_but_not_the_disk(
        self, files: RealFiles, root: Path
    ) -> None:
        (root / "d").mkdir()
        (root / "link").symlink_to("d")
        (root / f"{TEMP_PREFIX}1").write_bytes(b"one")
        (root / "d" / f"{TEMP_PREFIX}2").write_bytes(b"two")
        (root / "d" / "x.md").write_bytes(b"x")
        # What version control keeps is its own; folders that begin like it are people's.
        (root / ".git").mkdir()
        (root / ".git" / f"{TEMP_PREFIX}3").write_bytes(b"three")
        (root / ".github" / "sub").mkdir(parents=True)
        (root / ".github" / "sub" / f"{TEMP_PREFIX}4").write_bytes(b"four")
        assert files.clean() == 3
        shutil.rmtree(root / ".git")
        assert tree(root) == {"d/x.md": b"x"}
        kept = root / ".tidenote" / module.LEFTOVER
        assert {path.read_bytes() for path in kept.iterdir()} == {b"one", b"two", b"four"}
        assert files.clean() == 0
