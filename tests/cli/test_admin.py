"""The commands beside a server: what they say, and what they say to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from e2e.processes import PATIENCE_S, World, eventually, tidenote, world


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def refusal(*args: str | Path) -> str:
    """Run a command that fails, and return its only line."""
    done = tidenote(*args, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


def test_a_name_that_is_wrong_is_one_line_with_what_to_do(here: World) -> None:
    server = here.serve_guarded()
    eventually(lambda: "A device joins with" in server.output, "the announcement")
    data = ("--data", here.data)
    assert f"`tidenote pair --data {here.data}` on this machine" in server.output
    assert "there is no device nobody; `tidenote devices` lists them" in refusal("revoke", "nobody", *data)
    assert "`tidenote vaults` on the server lists them" in refusal("gc", "--vault", "nowhere", *data)
    assert "choose another name" in refusal("vaults", "create", "main", *data)


def test_a_link_that_others_can_open_has_a_code_for_a_phone(here: World) -> None:
    settings = here.root / "tidenote.toml"
    settings.write_text('[server]\npublic_url = "https://notes.example"\n', encoding="utf-8")
    here.serve_guarded("--config", str(settings))
    told = tidenote("pair", "--data", here.data).stdout
    assert "https://notes.example/#pair=" in told
    assert "photograph the code" in told
    assert "nowhere but" not in told


def test_a_link_that_leads_to_this_machine_only_says_so_and_has_no_code_for_a_phone(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.serve_guarded()
    # Who asks the server of this machine shows its token to nobody in between.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    told = tidenote("pair", "--data", here.data).stdout
    assert f"{here.url}/#pair=" in told
    assert "nowhere but on this machine" in told
    assert "\u2588" not in told


def test_a_vault_that_gave_way_is_named_and_goes_on_if_an_owner_says_so(here: World) -> None:
    here.serve_guarded()
    folder, data = here.root / "folder", ("--data", here.data)
    folder.mkdir()
    link = re.findall(r"http\S+#pair=\S+", tidenote("pair", "--device", "laptop", *data).stdout)[0]
    daemon = here.start("laptop", "sync", folder, "--link", link, "--yes")
    eventually(lambda: "in sync" in daemon.output, "the folder is in sync")

    token = tidenote("pair", "--device", "phone", "--token", *data).stdout.strip().splitlines()[-1]
    push = {"type": "sync_push", "changes": [], "last_ack": 0, "epoch": "7-00000000"}
    httpx.post(f"{here.url}/api/v1/sync?device_id=phone", json=push, headers={"Authorization": f"Bearer {token}"})

    assert "`tidenote vaults unfence main` lets this one go on" in tidenote("vaults", *data).stdout
    assert json.loads(tidenote("vaults", "list", "--json", *data).stdout)["vaults"][0]["fenced_by"] == "7-00000000"
    metrics = httpx.get(f"{here.url}/metrics", headers={"Authorization": f"Bearer {token}"}).text
    assert "tidenote_vaults_fenced 1.0" in metrics
    (folder / "a.md").write_text("text\n", encoding="utf-8")
    assert daemon.process.wait(PATIENCE_S) == 1
    assert "goes on elsewhere, as 7-00000000" in daemon.output

    assert "takes changes in" in tidenote("vaults", "unfence", "main", *data).stdout
    assert "1 change had waited" in tidenote("sync", folder, "--once").stdout
    assert "unfence" not in tidenote("vaults", *data).stdout
    assert json.loads(tidenote("vaults", "list", "--json", *data).stdout)["vaults"][0]["notes"] == 1
