"""`tidenote export` and `tidenote import`, as typed."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path

from e2e.processes import eventually, tidenote, world
from tidenote.core.version import Change, Dot
from tidenote.server.store.sql import SqlStore


def test_export_says_what_it_wrote_and_what_it_could_not(tmp_path: Path) -> None:
    store = SqlStore.open(tmp_path / "data")
    store.create_vault("main")
    for device in ("laptop", "phone"):
        change = Change("note:todo.md", Dot(7, device), f"from the {device}\n", base=frozenset())
        store.take_in("main", [[change]], wall_ms=time.time_ns() // 1_000_000, check_blob=bool)
    store.close()
    done = tidenote("export", tmp_path / "out", "--data", tmp_path / "data")
    assert f"{tmp_path / 'out'}: 2 files of vault main" in done.stdout
    assert "1 has versions that nobody has settled yet; they lie beside the note: todo.md" in done.stdout
    assert (tmp_path / "out" / "todo (laptop).md").read_text() == "from the laptop\n"
    again = tidenote("export", tmp_path / "out", "--data", tmp_path / "data", check=False)
    assert (again.returncode, again.stdout) == (2, "")
    assert "is there already" in again.stderr
    odd = tidenote("export", tmp_path / "new", "--data", tmp_path / "data", "--at", "some day", check=False)
    assert odd.returncode == 2
    assert "is no time" in odd.stderr
    before = tidenote("export", tmp_path / "new", "--data", tmp_path / "data", "--at", "1999-01-01").stdout
    assert before.startswith(f"{tmp_path / 'new'}: 0 files")
    assert "nothing was in it at that time" in before


def test_import_brings_in_what_is_new_and_says_what_it_did(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "todo.md").write_text("from the old folder\n")
    (tmp_path / "old" / "a.md").write_text("a\n")
    (tmp_path / "old" / ".obsidian").mkdir()
    (tmp_path / "old" / ".obsidian" / "app.json").write_text("{}")
    with world(tmp_path) as here:
        missing = tidenote("import", tmp_path / "old", "--data", here.data, check=False)
        assert missing.returncode == 2
        assert "no server runs" in missing.stderr
        # With tokens: the command finds its own beside the server's data.
        server = here.start("server", "serve", "--data", here.data, "--port", str(here.port))
        eventually(lambda: "serves" in server.output, "the server runs")
        done = tidenote("import", tmp_path / "old", "--data", here.data)
        assert "2 files are new in vault main, 0 were there already" in done.stdout
        assert "1 is left out: hidden (--hidden brings it in) or ignored: .obsidian/" in done.stdout
        (tmp_path / "old" / "todo.md").write_text("another\n")
        done = tidenote("import", tmp_path / "old", "--data", here.data)
        assert "1 file is new in vault main, 1 was there already" in done.stdout
        assert "todo.md is there with another text: this one is todo (imported).md" in done.stdout
        # What the message says takes it back, and nothing of the import before.
        undo = next(line for line in done.stdout.splitlines() if line.startswith("`tidenote undo"))
        token = tidenote("pair", "--device", "laptop", "--token", "--data", here.data).stdout.strip()
        tidenote(*here.link("laptop"), "--token", token, "--once")
        taken = tidenote(*shlex.split(undo.split("`")[1])[1:], "--yes", "--dir", here.folder("laptop"))
        assert "1 note taken back" in taken.stdout
        tidenote("import", tmp_path / "old", "--data", here.data)
        assert tidenote("import", tmp_path / "nowhere", "--data", here.data, check=False).returncode == 2
        # It wrote, and keeps nothing: nobody waits for it to have the latest.
        devices = json.loads(tidenote("devices", "--json", "--data", here.data).stdout)["devices"]
        assert [device["device_id"] for device in devices] == ["laptop"]
    tidenote("export", tmp_path / "out", "--data", here.data)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"todo.md", "todo (imported).md", "a.md"}


def test_import_knows_the_server_of_this_machine_by_its_certificate_not_by_its_name(tmp_path: Path) -> None:
    for name in ("old", "world"):
        (tmp_path / name).mkdir()
    (tmp_path / "old" / "a.md").write_text("one\n")
    tls = Path(__file__).parents[1] / "server" / "tls"
    with world(tmp_path / "world") as here:
        port = ("--data", here.data, "--port", str(here.port))
        here.start("server", "serve", *port, "--tls-cert", tls / "elsewhere.pem", "--tls-key", tls / "key.pem")
        eventually((here.data / "server.json").exists, "the server runs")
        assert "1 file is new in vault main" in tidenote("import", tmp_path / "old", "--data", here.data).stdout
