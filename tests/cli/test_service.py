"""What the system is told to run."""

from __future__ import annotations

import os
import plistlib
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tidenote.cli.service import service_for


def tidenote(*args: str | Path, home: Path, path: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with a home and a PATH of its own."""
    environment = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "PATH": str(path)}
    return subprocess.run(
        [sys.executable, "-m", "tidenote", *map(str, args)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=environment,
        check=False,
    )


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "My Notes"
    (folder / ".tidenote").mkdir(parents=True)
    return folder


def tool(path: Path, name: str, status: int = 0) -> Path:
    """Put a command into a folder that writes down what it is asked, and return where."""
    path.mkdir(exist_ok=True)
    log = path / f"{name}.log"
    script = path / name
    script.write_text(f'#!/bin/sh\necho "$@" >> {shlex.quote(str(log))}\necho "no bus" >&2\nexit {status}\n')
    script.chmod(0o755)
    return log


CONTROLLER = "launchctl" if sys.platform == "darwin" else "systemctl"


def test_install_and_remove(tmp_path: Path, notes: Path) -> None:
    log = tool(tmp_path / "bin", CONTROLLER)
    done = tidenote("service", "install", notes, home=tmp_path, path=tmp_path / "bin")
    assert done.returncode == 0, done.stderr
    files = [path for path in tmp_path.rglob("*") if path.suffix in (".service", ".plist")]
    assert len(files) == 1
    assert files[0].name in done.stdout
    asked = log.read_text()
    assert "enable --now" in asked or "bootstrap" in asked
    done = tidenote("service", "remove", notes, home=tmp_path, path=tmp_path / "bin")
    assert done.returncode == 0, done.stderr
    assert not files[0].exists()
    assert "disable --now" in log.read_text() or "bootout" in log.read_text()
    again = tidenote("service", "remove", notes, home=tmp_path, path=tmp_path / "bin")
    assert again.returncode == 2
    assert "no service is installed" in again.stderr


def test_a_folder_that_was_never_synced_is_refused(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    done = tidenote("service", "install", tmp_path / "new", home=tmp_path, path=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "was never synced" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("exists", [True, False])
def test_a_system_that_says_no_is_told(tmp_path: Path, notes: Path, exists: bool) -> None:
    if exists:
        tool(tmp_path / "bin", CONTROLLER, status=1)
    done = tidenote("service", "install", notes, home=tmp_path, path=tmp_path / "bin")
    assert done.returncode == 1
    assert ("no bus" if exists else f"no {CONTROLLER}") in done.stderr
    assert "run it by hand" in done.stderr


def test_a_unit_quotes_what_systemd_would_read() -> None:
    unit = service_for(Path('/h/My "Notes" 100% $HOME \\'), "linux").content.decode()
    assert '"sync" "/h/My \\"Notes\\" 100%% $$HOME \\\\"' in unit
    assert 'test -d "/h/My \\"Notes\\" 100%% $$HOME \\\\/.tidenote"' in unit, "an unmounted disk is waited for"
    assert "RestartPreventExitStatus=2" in unit


def test_an_agent_runs_the_daemon() -> None:
    service = service_for(Path("/Users/a/My Notes"), "darwin")
    agent = plistlib.loads(service.content)
    assert agent["ProgramArguments"][1:] == ["-m", "tidenote", "sync", "/Users/a/My Notes"]
    assert agent["RunAtLoad"] is True
    assert agent["Label"] == service.file.stem


def test_folders_of_the_same_name_have_services_of_their_own() -> None:
    files = {service_for(Path(folder), "linux").file for folder in ("/a/Notes", "/b/Notes", "/b/")}
    assert len(files) == 3
