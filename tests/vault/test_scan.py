"""What a scan finds, what it leaves out and why."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidenote.client.journal import BaseEntry
from tidenote.core.version import Dot
from tidenote.errors import FolderError
from tidenote.vault.bases import Bases
from tidenote.vault.disk import LocalDisk
from tidenote.vault.files import FileProblem, RealFiles, Stat
from tidenote.vault.ignore import IgnoreRules
from tidenote.vault.scan import Scan, scan_folder, scan_paths
from vault.folding import FoldingFiles

DENIED = "Permission denied: check who may read and write it"
NFC, NFD, SECOND = "caf\u00e9.md", "cafe\u0301.md", "caf\u00e9 (2).md"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "notes"
    (root / ".tidenote").mkdir(parents=True)
    (root / ".tidenote" / "journal.db").write_bytes(b"private")
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


def fill(root: Path, **contents: bytes) -> None:
    for name, data in contents.items():
        put(root, name, data)


def put(root: Path, name: str, data: bytes) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def hashes(scan: Scan) -> dict[str, str]:
    return {path: entry.content_hash for path, entry in scan.entries.items()}


def known(files: RealFiles, *paths: str, **more: str) -> Bases:
    """Return bases that know these files as they are."""
    entries = []
    for path in paths:
        disk_name = more.get("disk_name", path)
        digest = files.digest(disk_name)
        stat = digest.stat
        entries.append(
            BaseEntry(path, Dot(1, "x"), digest.content_hash, stat.size, stat.mtime_ns, stat.inode, disk_name)
        )
    return Bases(entries, files.traits.fold)


class TestFull:
    def test_everything_is_found_and_hashed(self, files: RealFiles, root: Path) -> None:
        contents = {f"d{number % 7}/e/{number}.md": f"text {number}".encode() for number in range(200)}
        contents |= {"empty.md": b"", "image.png": b"\x89PNG\0", "항구/일지.md": "바람".encode()}
        for name, data in contents.items():
            put(root, name, data)
        counts: list[int] = []
        scan = scan_folder(files, IgnoreRules(), Bases(), progress=counts.append)
        assert hashes(scan) == {name: sha(data) for name, data in contents.items()}
        assert scan.skipped == {}
        assert scan.paths == contents.keys()
        assert counts == sorted(counts)
        assert counts[-1] == len(contents)
        entry = scan.entries["empty.md"]
        found = files.stat("empty.md")
        assert found == Stat(found.kind, entry.size, entry.mtime_ns, entry.inode) if found else False

    def test_as_deep_as_a_key_can_be(self, files: RealFiles, root: Path) -> None:
        deepest = "a/" * 507 + "x.md"
        put(root, deepest, b"one")
        (root / deepest).with_name("too deep for any key").mkdir()
        scan = scan_folder(files, IgnoreRules(), Bases())
        assert hashes(scan) == {deepest: sha(b"one")}
        assert list(scan.skipped.values()) == ["a note cannot have this name: the key is over 1024 bytes"]
        shutil.rmtree(root / "a")

    def test_what_is_known_and_gone_is_among_the_paths(self, files: RealFiles, root: Path) -> None:
        fill(root, **{"a.md": b"one", "b.md": b"two"})
        bases = known(files, "a.md", "b.md")
        (root / "a.md").unlink()
        scan = scan_folder(files, IgnoreRules(), bases)
        assert scan.entries.keys() == {"b.md"}
        assert scan.paths == {"a.md", "b.md"}

    def test_ignored_files_are_not_found(self, files: RealFiles, root: Path) -> None:
        names = ["a.md", "x.log", "sub/keep.log", "sub/y.log", ".hidden/b.md", ".git/config", "c.md~", "build/z.md"]
        for name in names:
            put(root, name, b"x")
        put(root, ".tidenoteignore", b"*.log\nbuild/\n!\n")
        put(root, "sub/.tidenoteignore", b"!keep.log\n")
        scan = scan_folder(files, IgnoreRules(), Bases())
        assert scan.entries.keys() == {"a.md", "sub/keep.log"}
        assert scan.skipped == {".tidenoteignore: !": "this line is no pattern"}
        assert scan.rules.ignored("sub/other.log")
        scan = scan_folder(files, IgnoreRules(hidden=True), Bases())
        assert scan.entries.keys() == {
            "a.md",
            "sub/keep.log",
            ".hidden/b.md",
            ".tidenoteignore",
            "sub/.tidenoteignore",
        }

    def test_an_ignore_file_that_cannot_be_read_is_told(
        self, files: RealFiles, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(root, ".tidenoteignore", b"*.log\n")

        def read(_: RealFiles, path: str) -> None:
            raise FileProblem(path, "Permission denied")

        monkeypatch.setattr(RealFiles, "read", read)
        assert scan_folder(files, IgnoreRules(), Bases()).skipped == {".tidenoteignore": "Permission denied"}

    def test_what_is_no_regular_file_is_skipped_with_a_reason(self, files: RealFiles, root: Path) -> None:
        put(root, "a.md", b"one")
        (root / "link.md").symlink_to("a.md")
        (root / "linked").symlink_to("/etc")
        os.mkfifo(root / "pipe")
        scan = scan_folder(files, IgnoreRules(), Bases())
        assert scan.entries.keys() == {"a.md"}
        assert scan.skipped == {
            "link.md": "it is a symbolic link",
            "linked": "it is a symbolic link",
            "pipe": "it is a special file",
        }

    def test_names_that_can_be_no_key_are_skipped(self, files: RealFiles, root: Path) -> None:
        put(root, "a.md", b"one")
        for name in (b"bad \xff.md", b"back\\slash.md", b"new\nline.md"):
            Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(b"x")
        put(root, "bad\\folder/x.md", b"x")
        put(root, "bad\\.tmp", b"x")
        scan = scan_folder(files, IgnoreRules(), Bases())
        assert scan.entries.keys() == {"a.md"}
        assert scan.skipped.keys() == {"bad \\xff.md", "back\\slash.md", "new\\nline.md", "bad\\folder"}

    def test_unreadable_files_and_folders_are_skipped(
        self, files: RealFiles, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("a.md", "b.md", "d/c.md"):
            put(root, name, b"one")
        bases = known(files, "d/c.md")
        real_open = os.open

        def fake_open(path: str, *args: int, **more: int) -> int:
            if path in ("b.md", "d"):
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return real_open(path, *args, **more)

        monkeypatch.setattr(os, "open", fake_open)
        scan = scan_folder(files, IgnoreRules(), bases)
        assert scan.entries.keys() == {"a.md"}
        assert scan.skipped == {"b.md": DENIED, "d": f"the folder cannot be read: {DENIED}"}
        assert scan_paths(files, IgnoreRules(), bases, ["d/c.md"]).skipped == {"d/c.md": DENIED}

    def test_one_that_vanishes_meanwhile_is_a_missing_one(
        self, files: RealFiles, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("a.md", "b.md", "d/c.md"):
            put(root, name, b"one")
        real_stat = RealFiles.stat

        def fake_stat(self: RealFiles, path: str) -> Stat | None:
            found = real_stat(self, path)
            if path == "b.md":
                (root / "b.md").unlink()
            if path == "d":
                (root / "d").rename(root / ".gone")
            return found

        monkeypatch.setattr(RealFiles, "stat", fake_stat)
        scan = scan_folder(files, IgnoreRules(), Bases())
        assert scan.entries.keys() == {"a.md"}
        assert scan.skipped == {}
        assert scan.unsteady

    def test_an_unreadable_or_swapped_root_is_a_folder_error(
        self, files: RealFiles, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(root, "a.md", b"one")
        root.rename(tmp_path / "away")
        root.mkdir()
        with pytest.raises(FolderError):
            scan_folder(files, IgnoreRules(), Bases())

        def names(_: RealFiles, folder: str) -> list[str]:
            raise FileProblem(folder, "Input/output error")

        monkeypatch.setattr(RealFiles, "names", names)
        with pytest.raises(FolderError):
            scan_folder(files, IgnoreRules(), Bases())


class TestForms:
    """One key for both Unicode forms (D11, L12)."""

    def test_a_decomposed_name_has_the_composed_path(self, files: RealFiles, root: Path) -> None:
        put(root, NFD, b"one")
        scan = scan_folder(files, IgnoreRules(), Bases())
        assert scan.entries[NFC].disk_name == NFD

    def test_of_two_forms_the_composed_one_has_the_path_and_the_other_one_like_it(
        self, files: RealFiles, root: Path
    ) -> None:
        put(root, NFD, b"decomposed")
        put(root, NFC, b"composed")
        for scan in (
            scan_folder(files, IgnoreRules(), Bases()),
            scan_paths(files, IgnoreRules(), Bases(), [NFC, NFD]),
        ):
            assert hashes(scan) == {NFC: sha(b"composed"), SECOND: sha(b"decomposed")}
            assert scan.entries[SECOND].disk_name == NFD
            assert scan.skipped == {}

    def test_unless_the_other_one_had_it(self, files: RealFiles, root: Path) -> None:
        put(root, NFD, b"decomposed")
        bases = known(files, NFC, disk_name=NFD)
        put(root, NFC, b"composed")
        for scan in (
            scan_folder(files, IgnoreRules(), bases),
            scan_paths(files, IgnoreRules(), bases, [NFC]),
        ):
            assert hashes(scan) == {NFC: sha(b"decomposed"), SECOND: sha(b"composed")}
            assert scan.entries[SECOND].disk_name == NFC
        assert hashes(scan_paths(files, IgnoreRules(), bases, [NFD])) == {NFC: sha(b"decomposed")}

    def test_folders_have_forms_too(self, files: RealFiles, root: Path) -> None:
        put(root, "caf\u00e9/a.md", b"composed")
        put(root, "cafe\u0301/a.md", b"decomposed")
        put(root, "cafe\u0301/b.md", b"alone")
        scan = scan_folder(files, IgnoreRules(), Bases())
        assert {path: entry.disk_name for path, entry in scan.entries.items()} == {
            "caf\u00e9/a.md": "caf\u00e9/a.md",
            "caf\u00e9/a (2).md": "cafe\u0301/a.md",
            "caf\u00e9/b.md": "cafe\u0301/b.md",
        }

    def test_one_that_is_still_being_written_waits_for_itself_only(self, files: RealFiles, root: Path) -> None:
        put(root, NFC, b"composed")
        put(root, NFD, b"decomp")
        scan = scan_folder(files, IgnoreRules(), Bases(), settled=lambda name, _: name != NFD)
        assert hashes(scan) == {NFC: sha(b"composed")}
        assert scan.unsettled == {SECOND: NFD}

    @pytest.mark.parametrize("ignored", ["*(2)*", None])
    def test_one_that_can_have_no_path_like_it_is_told(self, files: RealFiles, root: Path, ignored: str | None) -> None:
        # With the suffix, the key would be too long.
        long = "/".join(["x" * 200] * 4 + ["y" * 205])
        above = "" if ignored else f"{long}/"
        put(root, above + NFC, b"composed")
        put(root, above + NFD, b"decomposed")
        if ignored:
            put(root, ".tidenoteignore", ignored.encode())
        for _ in range(2):
            scan = scan_folder(files, IgnoreRules(), Bases())
            assert hashes(scan) == {above + NFC: sha(b"composed")}
            reason = "another file has the same name in another Unicode form: rename one of the two"
            assert scan.skipped == {above + NFD: reason}
            assert scan.taken == {above + NFD}

    def test_one_that_nobody_may_look_at_is_taken_to_be_there(
        self, files: RealFiles, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(root, NFC, b"composed")
        put(root, NFD, b"decomposed")
        look = RealFiles.stat

        def stat(self: RealFiles, path: str) -> Stat | None:
            if path in (NFC, SECOND):
                raise FileProblem(path, "Permission denied")
            return look(self, path)

        monkeypatch.setattr(RealFiles, "stat", stat)
        scan = scan_folder(files, IgnoreRules(), Bases())
        assert hashes(scan) == {SECOND: sha(b"decomposed")}
        assert scan.skipped == {NFC: "Permission denied"}


class TestQuick:
    def test_what_has_the_known_stat_is_trusted_unless_it_is_racy(self, files: RealFiles, root: Path) -> None:
        put(root, "a.md", b"one")
        bases = known(files, "a.md")
        stat = (root / "a.md").stat()
        (root / "a.md").write_bytes(b"1ne")
        os.utime(root / "a.md", ns=(stat.st_atime_ns, stat.st_mtime_ns))
        later, soon = stat.st_mtime_ns + 3 * 10**9, stat.st_mtime_ns + 10**9

        def quick(now_ns: int) -> dict[str, str]:
            return hashes(scan_folder(files, IgnoreRules(), bases, quick=True, now_ns=lambda: now_ns))

        assert quick(later) == {"a.md": sha(b"one")}
        assert quick(soon) == {"a.md": sha(b"1ne")}
        assert hashes(scan_folder(files, IgnoreRules(), bases)) == {"a.md": sha(b"1ne")}

    @pytest.mark.parametrize("change", ["size", "mtime", "inode"])
    def test_what_differs_is_hashed(self, files: RealFiles, root: Path, change: str) -> None:
        put(root, "a.md", b"one")
        bases = known(files, "a.md")
        stat = (root / "a.md").stat()
        if change == "inode":
            put(root, "b.md", b"new")
            (root / "b.md").replace(root / "a.md")
        else:
            put(root, "a.md", b"longer" if change == "size" else b"new")
        ns = stat.st_mtime_ns - (10**9 if change == "mtime" else 0)
        os.utime(root / "a.md", ns=(ns, ns))
        scan = scan_folder(files, IgnoreRules(), bases, quick=True, now_ns=lambda: stat.st_mtime_ns + 10**12)
        assert hashes(scan) == {"a.md": sha((root / "a.md").read_bytes())}


class TestPaths:
    def test_only_what_was_asked_for_is_looked_at(self, files: RealFiles, root: Path) -> None:
        for name in ("a.md", "b.md", "d/c.md", "d/e/f.md", "d2/g.md"):
            put(root, name, name.encode())
        scan = scan_paths(files, IgnoreRules(), Bases(), ["a.md", "d", "d/c.md", "none.md"])
        assert scan.entries.keys() == {"a.md", "d/c.md", "d/e/f.md"}
        assert scan.paths == {"a.md", "d", "d/c.md", "d/e/f.md", "none.md"}

    def test_a_folder_that_is_gone_concerns_all_that_was_in_it(self, files: RealFiles, root: Path) -> None:
        for name in ("d/c.md", "d/e/f.md", "d2/g.md"):
            put(root, name, b"one")
        bases = known(files, "d/c.md", "d/e/f.md", "d2/g.md")
        (root / "d").rename(root / "new")
        scan = scan_paths(files, IgnoreRules(), bases, ["d", "new"])
        assert scan.entries.keys() == {"new/c.md", "new/e/f.md"}
        assert scan.paths == {"d", "d/c.md", "d/e/f.md", "new", "new/c.md", "new/e/f.md"}

    def test_a_file_under_another_name_is_found_by_both(self, files: RealFiles, root: Path) -> None:
        put(root, "a (2).md", b"one")
        bases = known(files, "a.md", disk_name="a (2).md")
        for asked in ("a.md", "a (2).md"):
            scan = scan_paths(files, IgnoreRules(), bases, [asked])
            assert {path: entry.disk_name for path, entry in scan.entries.items()} == {"a.md": "a (2).md"}

    def test_who_has_a_path_keeps_it_however_it_is_asked_for(self, folding: FoldingFiles, root: Path) -> None:
        """`A.md` has been `A (2).md` here since there was an `a.md`; now somebody makes an `A.md` beside it."""
        put(root, "A (2).md", b"one")
        put(root, "A.md", b"two")
        bases = known(folding, "A.md", disk_name="A (2).md")
        for asked in ("A.md", "a.md"):
            scan = scan_paths(folding, IgnoreRules(), bases, [asked])
            names = {path: entry.disk_name for path, entry in scan.entries.items()}
            assert names == {"A.md": "A (2).md", "A (3).md": "A.md"}
        scan = scan_paths(folding, IgnoreRules(), bases, ["A (2).md"])
        assert scan.entries.keys() >= {"A.md"}

    def test_what_lies_behind_a_link_is_not_gone(self, files: RealFiles, root: Path) -> None:
        put(root, "d/c.md", b"one")
        bases = known(files, "d/c.md")
        (root / "d").rename(root / "real")
        (root / "d").symlink_to("real")
        for asked in ("d", "d/c.md"):
            scan = scan_paths(files, IgnoreRules(), bases, [asked])
            assert scan.entries == {}
            assert scan.skipped == {"d": "it is a symbolic link"}

    @pytest.mark.parametrize("there", [60, 30], ids=["made", "half of it removed"])
    def test_every_folder_of_a_deep_tree_has_a_hint(
        self, files: RealFiles, root: Path, monkeypatch: pytest.MonkeyPatch, there: int
    ) -> None:
        folders = ["/".join("a" * depth) for depth in range(1, 61)]
        (root / folders[there - 1]).mkdir(parents=True)
        for folder in folders[:there]:
            put(root, f"{folder}/x.md", b"one")
        opened: list[str] = []
        real_open = LocalDisk.open_folder

        def open_folder(self: LocalDisk, parent: int, name: str) -> int:
            opened.append(name)
            return real_open(self, parent, name)

        monkeypatch.setattr(LocalDisk, "open_folder", open_folder)
        notes = [f"{folder}/x.md" for folder in folders]
        for hints in (notes, folders, [*folders, *notes]):
            opened.clear()
            assert scan_paths(files, IgnoreRules(), Bases(), hints).entries.keys() == set(notes[:there])
            assert len(opened) < 4 * 60**2, "each is asked for once, a folder after the other from the root"

    def test_ignored_ones_are_not_found(self, files: RealFiles, root: Path) -> None:
        for name in ("build/a.md", "x.log", "a.md~"):
            put(root, name, b"x")
        rules = IgnoreRules()
        rules.load("", "build/\n*.log\n")
        assert scan_paths(files, rules, Bases(), ["build/a.md", "build", "x.log", "a.md~"]).entries == {}

    def test_a_case_only_rename_shows_under_its_new_name_only(self, folding: FoldingFiles, root: Path) -> None:
        put(root, "a.md", b"one")
        bases = known(folding, "a.md")
        (root / "a.md").rename(root / "A.md")
        for asked in (["a.md"], ["A.md"], ["a.md", "A.md"]):
            scan = scan_paths(folding, IgnoreRules(), bases, asked)
            assert scan.entries.keys() == {"A.md"}
            assert scan.paths >= {"a.md", "A.md"}


class TestSettling:
    def test_what_changes_between_the_look_and_the_hash_is_not_settled(self, files: RealFiles, root: Path) -> None:
        """An editor may have just emptied it."""
        put(root, "a.md", b"one")

        def settled(_: str, stat: Stat) -> bool:
            if stat.size:
                put(root, "a.md", b"")
            return True

        scan = scan_folder(files, IgnoreRules(), Bases(), settled=settled)
        assert (scan.entries, scan.unsettled) == ({}, {"a.md": "a.md"})
        assert "a.md" not in scan.paths

    def test_what_is_being_written_is_left_for_later(self, files: RealFiles, root: Path) -> None:
        for name in ("known.md", "edited.md", "new.md"):
            put(root, name, b"one")
        bases = known(files, "known.md", "edited.md")
        put(root, "edited.md", b"longer")
        asked: list[str] = []

        def settled(disk_name: str, _: Stat) -> bool:
            asked.append(disk_name)
            return False

        for scan in (
            scan_folder(files, IgnoreRules(), bases, settled=settled),
            scan_paths(files, IgnoreRules(), bases, ["known.md", "edited.md", "new.md"], settled=settled),
        ):
            assert scan.entries.keys() == {"known.md"}
            assert scan.paths == {"known.md"}
            assert scan.unsettled == {"edited.md": "edited.md", "new.md": "new.md"}
        assert sorted(asked) == ["edited.md", "edited.md", "new.md", "new.md"]
