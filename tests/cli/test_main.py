"""The command as a whole: version, help, completion, and that nobody ever sees a traceback unasked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tidenote as package
from e2e.processes import environment, tidenote
from tidenote.cli import console


def test_version() -> None:
    assert tidenote("--version").stdout == f"tidenote {package.__version__}\n"


def test_without_arguments_it_helps() -> None:
    done = tidenote(check=False)
    assert "Commands:" in done.stdout + done.stderr
    assert "sync" in done.stdout + done.stderr


def test_the_installed_script_is_the_same_command() -> None:
    script = Path(sys.executable).with_name("tidenote")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"tidenote {package.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tidenote", "--show-completion", shell],
        capture_output=True,
        text=True,
        env=environment(_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"),
        check=True,
    )
    assert "tidenote" in done.stdout


def test_an_unexpected_failure_is_one_line_and_a_traceback_only_on_demand(tmp_path: Path) -> None:
    """A folder in the place of a file cannot be made: the system's own error comes all the way up."""
    (tmp_path / "file").write_text("not a folder")
    args = [sys.executable, "-m", "tidenote", "demo", "--dir", str(tmp_path / "file" / "demo")]
    plain = subprocess.run(args, capture_output=True, text=True, env=environment(), check=False)
    assert plain.returncode == 1
    assert len(plain.stderr.splitlines()) == 1
    assert "check the path" in plain.stderr
    debug = subprocess.run(args, capture_output=True, text=True, env=environment(TIDENOTE_DEBUG="1"), check=False)
    assert debug.returncode == 1
    assert "Traceback" in debug.stderr
    assert debug.stderr.splitlines()[-1] == plain.stderr.strip()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_without_standard_streams_commands_end_as_with_them(tmp_path: Path, closed: str) -> None:
    """As services and scripts start programs: what is closed must not fail a command, nor be given to a journal."""
    (tmp_path / "a.md").write_bytes(b"a")
    script = f'exec "$@" {closed}'
    command = [sys.executable, "-m", "tidenote", "sync", tmp_path, "--endpoint", "ws://127.0.0.1:9/ws/sync"]
    run = ["sh", "-c", script, "sh", *map(str, command)]
    done = subprocess.run(run, capture_output=True, stdin=subprocess.DEVNULL, env=environment(), check=False)
    assert done.returncode == console.USAGE, "it cannot ask"
    assert (b"--yes" in done.stderr) == ("2>" not in closed)


def test_starting_is_quick_because_the_server_is_not_imported() -> None:
    code = "import sys; import tidenote.cli.main; print('litestar' in sys.modules, 'sqlalchemy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), check=True
    )
    assert done.stdout.split() == ["False", "False"]
