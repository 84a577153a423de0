"""Letting devices in."""

from __future__ import annotations

from pathlib import Path

from e2e.processes import tidenote
from tidenote.server.auth import TOKENS_FILE, Tokens


def test_a_token_is_printed_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    made = tidenote("token", "laptop", "--vault", "main", "--read-only", "--data", tmp_path / "data").stdout.strip()
    file = tmp_path / "data" / TOKENS_FILE
    assert made not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    grant = Tokens(file).find(made)
    assert grant is not None
    assert (grant.device_id, grant.vaults, grant.role) == ("laptop", ("main",), "reader")
    other = tidenote("token", "phone", "--data", tmp_path / "data").stdout.strip()
    found = Tokens(file).find(other)
    assert found is not None
    assert (found.device_id, found.vaults, found.role) == ("phone", ("*",), "editor")
    assert Tokens(file).find(made) == grant


def test_a_bad_device_id_is_refused(tmp_path: Path) -> None:
    done = tidenote("token", "server-1", "--data", tmp_path / "data", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "choose another name" in done.stderr
    assert not (tmp_path / "data").exists()
