"""What the doctor finds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.processes import World, eventually, tidenote, world
from tidenote.cli import doctor
from tidenote.client.journal import Journal
from tidenote.config import SyncConfig
from tidenote.vault.folder import FolderStatus, HeldPath, StateFolder


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def link(here: World, *, token: str | None = None, status: FolderStatus | None = None) -> Path:
    """Make a folder as a daemon leaves it."""
    folder = here.folder("notes")
    with StateFolder(folder) as state:
        state.remember_link(SyncConfig("laptop", here.endpoint, token=token))
        state.open_journal().close()
        if status:
            state.write_status(status)
    return folder


def found(folder: Path, level: str) -> list[str]:
    return [finding.text for finding in doctor.examine(folder) if finding.level == level]


def test_a_healthy_folder_has_no_problem(here: World) -> None:
    here.serve()
    done = tidenote("doctor", link(here))
    assert f"{here.endpoint} answers and lets this device in" in done.stdout
    assert "the journal is intact" in done.stdout
    assert "no daemon runs" in done.stdout


def test_a_server_that_does_not_answer(here: World) -> None:
    done = tidenote("doctor", link(here), check=False)
    assert done.returncode == 1
    assert f"problem  {here.endpoint}: " in done.stdout
    assert "check that the server runs" in done.stdout
    assert done.stderr == ""


def test_a_token_that_is_not_known(here: World) -> None:
    server = here.start("server", "serve", "--data", here.data, "--port", str(here.port))
    folder = link(here, token="wrong")
    eventually(lambda: "A device joins with" in server.output, "the announcement")
    problems = found(folder, "problem")
    assert len(problems) == 1
    assert "--link" in problems[0]


def test_what_the_daemon_left_is_told(here: World) -> None:
    held = [HeldPath(name, "NAME", "this disk cannot hold the name") for name in ("con.md", "aux.md")]
    folder = link(here, status=FolderStatus("attention", held=held, conflicts=2))
    warnings = found(folder, "warning")
    assert "held: con.md, aux.md: this disk cannot hold the name" in warnings
    assert f"2 notes have concurrent versions; `tidenote conflicts list {folder}` names them" in warnings


def test_a_damaged_journal(here: World) -> None:
    folder = link(here)
    with StateFolder(folder) as state:
        path = state.journal_path
    journal = Journal(path)
    journal.close()
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 4000)
    assert any("the journal is damaged" in text for text in found(folder, "problem"))
    path.unlink()
    assert any("there is no journal yet" in text for text in found(folder, "warning"))


def test_a_folder_that_is_none_ends_the_examination(tmp_path: Path) -> None:
    assert [finding.level for finding in doctor.examine(tmp_path / "missing")] == ["ok", "problem"]
    problems = found(tmp_path, "problem")
    assert len(problems) == 1
    assert "is not synced" in problems[0]


@pytest.mark.parametrize(("name", "tool"), [("Dropbox", "Dropbox"), (".stfolder", "Syncthing")])
def test_another_tool_on_the_folder(tmp_path: Path, name: str, tool: str) -> None:
    folder = tmp_path / "Dropbox" / "Notes" if name == "Dropbox" else tmp_path / "Notes"
    folder.mkdir(parents=True)
    if name != "Dropbox":
        (folder / name).mkdir()
    assert any(text.startswith(tool) for text in found(folder, "warning"))


def test_more_folders_than_the_system_watches(tmp_path: Path) -> None:
    limit = tmp_path / "max_user_watches"
    notes = tmp_path / "notes"
    for number in range(5):
        (notes / f"{number}").mkdir(parents=True)
    limit.write_text("6\n")
    assert [finding.level for finding in doctor._check_watches(notes, limit)] == ["warning"]
    limit.write_text("65536\n")
    assert [finding.level for finding in doctor._check_watches(notes, limit)] == ["ok"]
    assert list(doctor._check_watches(notes, tmp_path / "no such file")) == []


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "MIN_FREE_BYTES", 2**80)
    assert any("free some" in text for text in found(tmp_path, "warning"))
