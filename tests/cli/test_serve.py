"""The server as a process: how it starts, refuses and stops."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from e2e.processes import World, eventually, tidenote, world


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def test_it_says_where_it_is_and_how_to_join_and_stops_when_asked(here: World) -> None:
    here.data.mkdir(mode=0o755, parents=True)
    server = here.serve()
    eventually(lambda: "A device joins with" in server.output, "the announcement")
    assert f"serves {here.url}, data in {here.data}" in server.output
    assert f"--endpoint {here.endpoint} " in server.output
    assert (here.data / "server.json").stat().st_mode & 0o777 == 0o600
    eventually((here.data / "search.db").exists, "the index")
    assert "everyone on this machine" in server.output
    health = httpx.get(f"{here.url}/health").json()
    assert health["status"] == "ok"
    assert server.stop() == 0
    assert "Traceback" not in server.output
    # Although others may look into the folder, which was there before.
    assert [file for file in here.data.rglob("*") if file.stat().st_mode & 0o077] == []


def test_the_owner_s_link_is_shown_until_somebody_used_it(here: World) -> None:
    start = ("serve", "--data", here.data, "--port", str(here.port))

    def up(log: str) -> str | None:
        server = here.start(log, *start)
        eventually(lambda: "A device joins with" in server.output, "the announcement")
        found = re.search(r"Open this in your browser within 10 minutes: (\S+)/#pair=(\S+)", server.output)
        assert httpx.get(f"{here.url}/api/v1/me").status_code == 401
        if found:
            assert found[1] == here.url
            if log != "first":
                made = httpx.post(f"{found[1]}/api/v1/redeem", json={"code": found[2]}).json()
                headers = {"Authorization": f"Bearer {made['token']}"}
                assert httpx.get(f"{here.url}/api/v1/me", headers=headers).json()["role"] == "owner"
                again = httpx.post(f"{found[1]}/api/v1/redeem", json={"code": found[2]})
                assert (again.status_code, again.json()["code"]) == (403, "bad_link")
        assert server.stop() == 0
        assert not (here.data / "server.json").exists()
        return found and found[2]

    first, second, third = up("first"), up("second"), up("third")
    assert first
    assert second
    assert first != second
    assert third is None


def test_a_port_that_is_taken_and_data_that_is_in_use_are_one_line(here: World) -> None:
    here.serve()
    for args in (
        ("--data", here.root / "other", "--port", str(here.port)),
        ("--data", here.data, "--port", "0"),
    ):
        done = tidenote("serve", "--no-auth", *args, check=False)
        assert done.returncode != 0
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert done.stderr.startswith("tidenote: ")
        assert done.stdout == ""


def test_a_system_that_lets_it_open_hardly_any_files_is_one_line(tmp_path: Path) -> None:
    command = f"ulimit -n 24 && exec {sys.executable} -m tidenote serve --no-auth --port 0 --data {tmp_path / 'data'}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("tidenote: the system lets us open 24 files only: raise the limit with ulimit -n ")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (("--no-auth", "--host", "0.0.0.0"), "leave --no-auth out"),
        (("--port", "99999"), "port 99999"),
        (("--tls-cert", "x.pem"), "--tls-key"),
        (("--database", "postgresql://x"), "database_url is not yet supported"),
        (("--config", "missing.toml"), "missing.toml cannot be read"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exits_with_2(tmp_path: Path, args: tuple[str, ...], part: str) -> None:
    done = tidenote("serve", "--data", tmp_path / "data", *args, check=False)
    assert done.returncode == 2
    assert part in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "data").exists()


def test_an_unknown_flag_points_at_help() -> None:
    done = tidenote("serve", "--prot", "1", check=False)
    assert done.returncode == 2
    assert "--port" in done.stderr
