"""`tidenote backup` and `tidenote restore-backup`, as typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.processes import tidenote
from tidenote.server.backup import back_up
from tidenote.server.store.sql import DATABASE_FILE, SqlStore


@pytest.fixture
def data(tmp_path: Path) -> Path:
    store = SqlStore.open(tmp_path / "data")
    store.create_vault("main")
    store.close()
    return tmp_path / "data"


def test_there_and_back(tmp_path: Path, data: Path) -> None:
    file = tmp_path / "b.tar"
    assert "verified" in tidenote("backup", file, "--data", data).stdout
    assert "main up to 0; 0 attachments" in tidenote("restore-backup", file, "--dry-run").stdout
    done = tidenote("restore-backup", file, "--data", tmp_path / "new").stdout
    assert "restored" in done
    assert "revoked" not in done
    assert "Start the server" in done
    assert (tmp_path / "new" / DATABASE_FILE).is_file()
    done = tidenote("restore-backup", file, "--data", data, "--replace").stdout
    aside = next(line for line in done.splitlines() if line.startswith("What the folder held before is in "))
    assert (Path(aside.split(" is in ")[1].split(";")[0]) / DATABASE_FILE).is_file()


@pytest.mark.parametrize(
    ("args", "status", "says"),
    [
        (("backup", "b.tar", "--data", "empty"), 2, "holds no server's data"),
        (("backup", "data/tidenote.db", "--data", "data"), 2, "exists: name another file"),
        (("backup", "safe/b.tar", "--data", "data"), 2, "there is no folder safe: make it with mkdir"),
        (("restore-backup", "data/tidenote.db", "--data", "new"), 2, "no backup of Tidenote"),
        (("restore-backup", "missing.tar", "--data", "new"), 1, "missing.tar"),
        (("restore-backup", "missing.tar", "--data", "data"), 1, "missing.tar"),
        (("restore-backup", "good.tar", "--data", "data"), 2, "--replace"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    tmp_path: Path, data: Path, args: tuple[str, ...], status: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    back_up(data, tmp_path / "good.tar")
    done = tidenote(*args, check=False)
    assert done.returncode == status, done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
