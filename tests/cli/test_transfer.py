"""`tidenote export`, as typed."""

from __future__ import annotations

import time
from pathlib import Path

from e2e.processes import tidenote
from tidenote.core.version import Change, Dot
from tidenote.server.store.sql import SqlStore


def test_export_says_what_it_wrote_and_what_it_could_not(tmp_path: Path) -> None:
    store = SqlStore.open(tmp_path / "data")
    store.create_vault("main")
    for device in ("laptop", "phone"):
        change = Change("note:todo.md", Dot(7, device), f"from the {device}\n", base=frozenset())
        store.take_in("main", [[change]], wall_ms=time.time_ns() // 1_000_000, has_blob=bool)
    store.close()
    done = tidenote("export", tmp_path / "out", "--data", tmp_path / "data")
    assert f"{tmp_path / 'out'}: 2 files of vault main" in done.stdout
    assert "1 have versions that nobody has settled yet; they lie beside them: todo.md" in done.stdout
    assert (tmp_path / "out" / "todo (laptop).md").read_text() == "from the laptop\n"
    again = tidenote("export", tmp_path / "out", "--data", tmp_path / "data", check=False)
    assert (again.returncode, again.stdout) == (2, "")
    assert "is there already" in again.stderr
    odd = tidenote("export", tmp_path / "new", "--data", tmp_path / "data", "--at", "some day", check=False)
    assert odd.returncode == 2
    assert "is no time" in odd.stderr
    assert tidenote("export", tmp_path / "new", "--data", tmp_path / "data", "--at", "1999-01-01").stdout.startswith(
        f"{tmp_path / 'new'}: 0 files"
    )
