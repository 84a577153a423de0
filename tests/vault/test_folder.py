"""The marker folder: whose it is, the lock, what other processes read and leave."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tidenote.client.journal import BaseEntry
from tidenote.config import SyncConfig
from tidenote.core.version import Dot
from tidenote.errors import FolderError
from tidenote.vault import folder as module
from tidenote.vault.folder import (
    Decided,
    FolderStatus,
    HeldPath,
    StateFolder,
    confirm_deletes,
    daemon_runs,
    decide,
    pause,
    read_link,
    read_status,
    resume,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "notes"
    root.mkdir()
    return root


def test_a_folder_keeps_its_id(root: Path) -> None:
    with StateFolder(root) as folder:
        first = folder.folder_id
        folder.check()
    with StateFolder(root, create=False) as folder:
        assert folder.folder_id == first
        (folder.path / "folder-id").write_text("another")
        with pytest.raises(FolderError, match="another folder"):
            folder.check()
        (folder.path / "folder-id").unlink()
        with pytest.raises(FolderError):
            folder.check()


def test_a_folder_that_is_missing_or_not_linked_is_refused(root: Path) -> None:
    for bad in (root / "none", Path("/dev/null")):
        with pytest.raises(FolderError):
            StateFolder(bad)
    with pytest.raises(FolderError, match="not linked"):
        StateFolder(root, create=False)
    for leave in (pause, confirm_deletes):
        with pytest.raises(FolderError, match="not linked"):
            leave(root)
    assert list(root.iterdir()) == []


def test_one_that_cannot_be_prepared_gives_the_lock_back(root: Path) -> None:
    (root / ".tidenote" / "folder-id").mkdir(parents=True)
    with pytest.raises(FolderError):
        StateFolder(root)
    assert not daemon_runs(root)


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_in_the_markers_place_is_told(root: Path, tmp_path: Path, kind: str) -> None:
    if kind == "file":
        (root / ".tidenote").touch()
    else:
        (tmp_path / "elsewhere").mkdir()
        (root / ".tidenote").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FolderError, match=r"\.tidenote is no folder: rename it"):
        StateFolder(root)


def test_a_lock_whose_file_was_removed_is_no_longer_ours(root: Path) -> None:
    with StateFolder(root) as folder:
        assert folder.has_lock()
        (root / ".tidenote" / "lock").unlink()
        assert not folder.has_lock()
        with StateFolder(root) as another:
            assert another.has_lock()
            assert not folder.has_lock()


def test_only_one_process_has_it(root: Path) -> None:
    assert not daemon_runs(root)
    with StateFolder(root):
        assert daemon_runs(root)
        with pytest.raises(FolderError, match="another tidenote"):
            StateFolder(root)
    assert not daemon_runs(root)


def test_asking_whether_a_daemon_runs_keeps_none_from_starting(root: Path) -> None:
    with StateFolder(root):
        pass
    ask = "import sys; from pathlib import Path; from tidenote.vault.folder import daemon_runs\n"
    ask += "print(flush=True)\nwhile True: daemon_runs(Path(sys.argv[1]))"
    with subprocess.Popen([sys.executable, "-c", ask, str(root)], stdout=subprocess.PIPE) as asking:
        assert asking.stdout
        asking.stdout.readline()
        try:
            for _ in range(100):
                StateFolder(root).close()
        finally:
            asking.kill()


def test_the_lock_of_a_killed_process_is_free(root: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tidenote.vault.folder import StateFolder\n"
        "folder = StateFolder(Path(sys.argv[1])); print('mine', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdin
    assert process.stdout.readline() == "mine\n"
    assert daemon_runs(root)
    process.kill()
    process.wait()
    process.stdout.close()
    process.stdin.close()
    with StateFolder(root):
        pass


def test_a_broken_journal_is_set_aside(root: Path) -> None:
    with StateFolder(root) as folder:
        folder.journal_path.write_bytes(b"no database " * 1000)
        journal = folder.open_journal()
        journal.set_bases([BaseEntry("a.md", Dot(1, "x"), "h", 1, 1, 1, "a.md")])
        journal.close()
        assert (folder.path / "journal.db.broken-1").read_bytes().startswith(b"no database")
        journal = folder.open_journal()
        assert journal.bases().keys() == {"a.md"}
        journal.close()


def test_control_files(root: Path) -> None:
    with StateFolder(root) as folder:
        seen = [folder.paused]
        for step in (pause, resume, resume, pause):
            step(root)
            seen.append(folder.paused)
        assert seen == [False, True, False, False, True]
        assert not folder.take_confirmation()
        confirm_deletes(root)
        assert folder.take_confirmation()
        assert not folder.take_confirmation()


def test_a_decision_stays_until_it_is_dropped(root: Path) -> None:
    first = Decided("delete_out", "confirm", ["a.md"])
    later = Decided("delete_out", "refuse", ["a.md", "b.md"])
    with StateFolder(root) as folder:
        assert folder.decisions() == []
        decide(root, first)
        assert folder.decisions() == folder.decisions() == [first]
        decide(root, later)
        folder.drop_decision(first)
        assert folder.decisions() == [later]
        folder.drop_decision(later)
        assert folder.decisions() == []
        (folder.path / "decide-delete_out").write_bytes(b"{")
        assert folder.decisions() == []


def test_the_status_is_read_as_it_was_written(root: Path) -> None:
    assert read_status(root) is None
    status = FolderStatus("attention", 3, [HeldPath("a.md", "KIND", "why")], cursor=7, device_id="laptop", pid=1)
    with StateFolder(root) as folder:
        folder.write_status(status)
        assert read_status(root) == status
        (folder.path / "status.json").write_bytes(b"{")
        assert read_status(root) is None
        (folder.path / "status.json").unlink()
        (folder.path / "status.json").mkdir()
        folder.write_status(status)


def test_the_link_is_remembered_for_its_owner_only(root: Path) -> None:
    assert read_link(root) is None
    with StateFolder(root) as folder:
        folder.remember_link(SyncConfig("laptop", token="geheim"))
        target = folder.path / "link.json"
        inode = target.stat().st_ino
        folder.remember_link(SyncConfig("laptop", token="geheim"))
        assert target.stat().st_ino == inode
        folder.remember_link(SyncConfig("laptop", vault="work", token="geheim"))
        assert target.stat().st_mode & 0o777 == 0o600
    assert read_link(root) == {
        "device_id": "laptop",
        "sync_endpoint": "ws://127.0.0.1:8787/ws/sync",
        "vault": "work",
        "token": "geheim",
    }


def test_old_parts_of_attachments_go(root: Path) -> None:
    with StateFolder(root) as folder:
        old, new = folder.incoming / "old.part", folder.incoming / "new.part"
        for path in (old, new):
            path.write_bytes(b"x")
        (folder.incoming / "not ours").mkdir()
        for path in (old, folder.incoming / "not ours"):
            os.utime(path, (time.time() - module.INCOMING_KEPT_S - 60,) * 2)
    with StateFolder(root):
        assert not old.exists()
        assert new.exists()


def test_what_is_somebody_else_s_and_not_to_be_looked_into_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes" / "sub" / ".tidenote").mkdir(parents=True)
    exists = Path.exists

    def refuse(path: Path, **more: bool) -> bool:
        if path.parent.name == ".tidenote":
            raise PermissionError(13, "Permission denied", str(path))
        return exists(path, **more)

    monkeypatch.setattr(Path, "exists", refuse)
    module.check_nothing_nested(tmp_path / "notes")
    assert module.synced_above(tmp_path / "notes" / "sub") is None
