"""Exports: everything that is shown, as it is or was, under names that every disk can hold."""

from __future__ import annotations

import hashlib
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tidenote.core.retention import Policy
from tidenote.core.version import BlobRef, Change, Dot
from tidenote.errors import AccessError, ConfigError
from tidenote.server import backup, history
from tidenote.server.blobs import blob_path
from tidenote.server.export import Exported, export
from tidenote.server.store.sql import SqlStore

PICTURE = b"\x89PNG" + bytes(1000)
SHA256 = hashlib.sha256(PICTURE).hexdigest()
DAY_MS = 86_400_000


class Log:
    """A data folder, and what is written to it, a change a day."""

    def __init__(self, data: Path) -> None:
        self.data = data
        path = blob_path(data, SHA256)
        path.parent.mkdir(parents=True)
        path.write_bytes(PICTURE)
        self.days = 0
        with closing(SqlStore.open(data)) as store:
            store.create_vault("main")

    def write(
        self,
        name: str,
        value: str | None,
        *base: Dot,
        by: str = "a",
        at: int = 0,
        modified_at: int | None = None,
        moved_to: str | None = None,
    ) -> Dot:
        self.days += 1
        dot = Dot(at or self.days, by)
        blob = BlobRef(SHA256, len(PICTURE)) if value == "picture" else None
        kind = "file" if blob else "note"
        change = Change(f"{kind}:{name}", dot, None if blob else value, blob, frozenset(base), moved_to, modified_at)
        with closing(SqlStore.open(self.data)) as store:
            batch = store.take_in("main", [[change]], wall_ms=self.days * DAY_MS, check_blob=bool)
        assert batch.versions
        return dot

    def export(self, target: Path, at: int | None = None) -> Exported:
        return export(self.data, target, vault="main", at_ms=None if at is None else at * DAY_MS)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "data")


def files(target: Path) -> dict[str, bytes]:
    if target.suffix == ".zip":
        with zipfile.ZipFile(target) as archive:
            assert archive.testzip() is None
            return {name: archive.read(name) for name in archive.namelist()}
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_every_note_and_file_as_it_is_and_as_it_was(tmp_path: Path, log: Log, name: str) -> None:
    first = log.write("deep/er/a.md", "one\r\n", modified_at=1_600_000_000_000)
    log.write("deep/p.png", "picture")
    second = log.write("deep/er/a.md", "two\n", first)
    log.write("deep/er/a.md", None, second)
    log.write("b.md", "ü 漢\n")
    now = log.export(tmp_path / name)
    assert files(tmp_path / name) == {"deep/p.png": PICTURE, "b.md": "ü 漢\n".encode()}
    assert now == Exported(2)
    (tmp_path / "then").mkdir()
    assert log.export(tmp_path / "then" / name, at=2).files == 2
    assert files(tmp_path / "then" / name) == {"deep/er/a.md": b"one\r\n", "deep/p.png": PICTURE}
    if name == "out":
        assert (tmp_path / "then" / name / "deep/er/a.md").stat().st_mtime == 1_600_000_000
    assert log.export(tmp_path / "never", at=0) == Exported(0)
    assert {path.name for path in tmp_path.iterdir()} == {"data", name, "then", "never"}, "nothing is left over"


def test_what_is_not_settled_lies_beside_it(tmp_path: Path, log: Log) -> None:
    log.write("todo.md", "from the laptop, alone\n", by="laptop", at=7)
    log.write("todo.md", "from the phone, another\n", by="phone", at=7)
    done = log.export(tmp_path / "out")
    assert done == Exported(2, unsettled=["todo.md"])
    assert files(tmp_path / "out") == {
        "todo.md": b"from the phone, another\n",
        "todo (laptop).md": b"from the laptop, alone\n",
    }


def test_what_is_not_settled_of_the_longest_name_lies_beside_it(tmp_path: Path, log: Log) -> None:
    log.write(f"{'漢' * 84}.md", "from the laptop\n", by="laptop", at=7)
    log.write(f"{'漢' * 84}.md", "from the phone\n", by="phone", at=7)
    log.export(tmp_path / "out")
    assert set(files(tmp_path / "out")) == {f"{'漢' * 84}.md", f"{'漢' * 81} (laptop).md"}


def test_what_the_server_wrote_lies_beside_it_by_a_name_for_people(tmp_path: Path, log: Log) -> None:
    log.write("todo.md", "by the server\n", by="server.1-4f58a771", at=7)
    log.write("todo.md", "from the phone\n", by="phone", at=8)
    log.export(tmp_path / "out")
    assert set(files(tmp_path / "out")) == {"todo.md", "todo (server).md"}


def test_names_that_some_disks_take_for_one(tmp_path: Path, log: Log) -> None:
    for name in ("A.md", "a.md", "Folder/x.md", "folder.md", "note", "note/inside.md", "folder/X.md"):
        log.write(name if "." in name else f"{name}.md/inside.md", f"text of {name}")
    log.write("note.md", "the file")
    done = log.export(tmp_path / "out.zip")
    names = files(tmp_path / "out.zip")
    assert done.files == len(names) == 8
    assert len({name.casefold() for name in names}) == 8
    assert {"A.md", "a (2).md", "note (2).md", "note.md/inside.md"} <= names.keys()


def test_what_the_history_let_go_of_is_told(tmp_path: Path, log: Log) -> None:
    first = log.write("a.md", "one\n")
    second = log.write("a.md", "two\n", first)
    log.write("a.md", "three\n", second)
    only = log.write("b.md", "gone\n")
    log.write("b.md", "now\n", only)
    with closing(sqlite3.connect(log.data / "tidenote.db")) as database, database:
        for dot in (second, only):
            database.execute("UPDATE versions SET gone = 1, value = NULL WHERE timestamp = ?", (dot.timestamp,))
            database.execute("DELETE FROM unpacked")
    done = log.export(tmp_path / "out", at=2)
    later = log.export(tmp_path / "later", at=4)
    assert (done.gone, done.missing) == (["a.md"], [])
    assert (later.gone, later.missing) == ([], ["b.md"])
    assert files(tmp_path / "out") == {"a.md": b"one\n"}


def test_what_cannot_be_read_any_more_is_told_and_costs_nothing_else(tmp_path: Path, log: Log) -> None:
    first = log.write("a.md", "one\n")
    log.write("b.md", "kept\n")
    log.write("a.md", "two\n", first)
    with closing(sqlite3.connect(log.data / "tidenote.db")) as database, database:
        database.execute("UPDATE versions SET value = NULL, packed = x'00' WHERE timestamp = ?", (first.timestamp,))
    done = log.export(tmp_path / "out.zip", at=2)
    assert (done.files, done.damaged) == (1, ["a.md"])
    assert files(tmp_path / "out.zip") == {"b.md": b"kept\n"}
    with closing(SqlStore.open(log.data)) as store:
        plan = history.restore_note(store, "main", "note:a.md", store.receipt_at("main", 2 * DAY_MS))
        assert history._changes(store, "main", [list(plan.steps.values())]) == ([], ["note:a.md"])


def test_what_was_deleted_and_is_forgotten_is_there_as_it_was(tmp_path: Path, log: Log) -> None:
    log.write("a.md", "kept\n")
    only = log.write("b.md", "deleted\n")
    log.write("b.md", None, only)
    with closing(SqlStore.open(log.data)) as store:
        swept = store.sweep("main", None, now_ms=300 * DAY_MS, policy=Policy(tombstone_days=180))
    assert (swept.after, swept.tombstones) == (None, 1)
    assert log.export(tmp_path / "out", at=2) == Exported(2)
    assert files(tmp_path / "out") == {"a.md": b"kept\n", "b.md": b"deleted\n"}
    assert log.export(tmp_path / "now") == log.export(tmp_path / "later", at=3) == Exported(1)


def test_a_renamed_note_is_there_once(tmp_path: Path, log: Log) -> None:
    first = log.write("old.md", "text\n")
    log.write("new.md", "text\n")
    log.write("old.md", None, first, moved_to="note:new.md")
    assert log.export(tmp_path / "out").files == 1
    assert files(tmp_path / "out") == {"new.md": b"text\n"}


def test_nothing_is_overwritten_and_what_is_no_data_is_said(tmp_path: Path, log: Log) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.md").write_text("mine")
    (tmp_path / "mine.zip").write_text("mine")
    for target in ("full", "mine.zip"):
        with pytest.raises(ConfigError, match="there already"):
            log.export(tmp_path / target)
    with pytest.raises(ConfigError, match="no server's data"):
        export(tmp_path, tmp_path / "out", vault="main")
    with pytest.raises(AccessError):
        export(log.data, tmp_path / "out", vault="other")


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: path.write_bytes(b"others")])
@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_a_damaged_attachment_is_left_out_and_said(
    tmp_path: Path, log: Log, harm: Callable[[Path], object], name: str
) -> None:
    log.write("p.png", "picture")
    log.write("q.md", "text\n")
    harm(blob_path(log.data, SHA256))
    done = log.export(tmp_path / name)
    assert (done.files, done.damaged) == (1, ["p.png"])
    assert files(tmp_path / name) == {"q.md": b"text\n"}


def test_a_server_may_run_meanwhile(tmp_path: Path, log: Log) -> None:
    log.write("a.md", "text\n")
    with closing(SqlStore.open(log.data)):
        assert log_files(log, tmp_path / "out") == {"a.md": b"text\n"}
        assert backup.back_up(log.data, tmp_path / "b.tar").vaults[0].clock == 2


def log_files(log: Log, target: Path) -> dict[str, bytes]:
    log.export(target)
    return files(target)


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_nobody_else_can_read_an_export(log: Log, tmp_path: Path, name: str) -> None:
    log.write("a.md", "a")
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    # Where others may write, too, a name that could be foreseen would be theirs to make.
    (tmp_path / ".out.zip.part").symlink_to(victim)
    log.export(tmp_path / name)
    assert (tmp_path / name).stat().st_mode & 0o077 == 0
    assert victim.read_bytes() == b"mine"
