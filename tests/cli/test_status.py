"""What a folder's daemon says, told to people and scripts. With a running daemon: test_sync.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from e2e.processes import tidenote
from tidenote.cli.status import EXIT_STATUS, describe
from tidenote.vault.folder import FolderStatus, HeldPath, StateFolder

NOTES = Path("/home/ada/Notes")


def told(**fields: object) -> str:
    status = FolderStatus(**fields)  # type: ignore[arg-type]
    return "\n".join(describe(NOTES, status, now_s=1_000_000.0))


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"state": "synced"}, "/home/ada/Notes: in sync"),
        (
            {"state": "synced", "skipped": [HeldPath("a:b.md", "SKIPPED", "a note cannot have this name")]},
            "in sync, but for 1 path\n",
        ),
        ({"state": "pending", "pending": 3}, "3 changes are not yet confirmed"),
        ({"state": "pending"}, "/home/ada/Notes: syncing"),
        ({"state": "attention"}, "needs you"),
        ({"state": "paused"}, "paused: by you"),
        ({"state": "paused", "paused": "the folder is missing"}, "paused: the folder is missing"),
        ({"state": "offline", "last_error": "no answer", "pending": 2}, "offline: no answer"),
        ({"state": "offline", "pending": 2}, "2 changes wait to be sent"),
        ({"state": "stopped"}, "start one with `tidenote sync /home/ada/Notes`"),
        (
            {
                "state": "stopped",
                "connection": "stopped",
                "last_error": "this device's access was ended",
                "last_error_code": "unauthorized",
            },
            "no daemon runs: this device's access was ended; join with a new link: `tidenote pair` on the server",
        ),
        ({"state": "stopped", "connection": "offline", "last_error": "no answer"}, "start one with"),
        ({"state": "synced", "last_confirmed_at": 1_000_000_000 - 5_000}, "last confirmed by the server 5 s ago"),
        ({"state": "synced", "last_confirmed_at": 1_000_000_000 + 5_000}, "0 s ago"),
        ({"state": "synced", "last_confirmed_at": 1_000_000_000 - 7_200_000}, "2 h ago"),
        ({"state": "synced", "last_confirmed_at": 1_000_000_000 - 90_000_000}, "1 day ago"),
        ({"state": "pending", "pending": 1}, "1 change is not yet confirmed"),
        ({"state": "attention", "conflicts": 2}, "2 notes have concurrent versions"),
        ({"state": "synced", "device_id": "laptop", "vault": "main", "files": 1}, "laptop in vault main on , 1 file"),
    ],
)
def test_people_read(fields: dict[str, object], part: str) -> None:
    assert part in told(**fields)


def test_a_command_can_be_copied_whatever_the_folder_is_called() -> None:
    text = "\n".join(describe(Path("/home/ada/My notes"), FolderStatus("stopped"), now_s=1_000_000.0))
    assert "`tidenote sync '/home/ada/My notes'`" in text


def test_paths_are_grouped_by_reason_and_deletions_say_what_to_do() -> None:
    held = [HeldPath(f"{number}.md", "DELETIONS_OUT", "many files are gone") for number in range(12)]
    refused = [HeldPath("a.md", "FAILED", "")]
    text = told(state="attention", held=held, refused=refused)
    assert "  held: 0.md, 1.md, 2.md, 3.md, 4.md and 7 more: many files are gone" in text
    assert "  refused: a.md: FAILED" in text
    assert "`tidenote holds list /home/ada/Notes`" in text
    assert "tidenote holds" not in told(state="attention", refused=refused)


def test_a_folder_that_was_never_synced(tmp_path: Path) -> None:
    for command in ("status", "pause", "resume"):
        done = tidenote(command, tmp_path, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert "is not synced; begin with" in done.stderr
        missing = tidenote(command, tmp_path / "missing", check=False)
        assert missing.returncode == 2
        assert "does not exist" in missing.stderr


def test_without_a_daemon_the_last_status_is_told_and_marked(tmp_path: Path) -> None:
    with StateFolder(tmp_path) as state:
        assert tidenote("status", tmp_path, check=False).returncode == EXIT_STATUS["stopped"]
        state.write_status(FolderStatus("synced", files=3, device_id="laptop", vault="main", cursor=9))
        assert tidenote("status", tmp_path).returncode == 0
    done = tidenote("status", tmp_path, "--json", check=False)
    assert done.returncode == 6
    told = json.loads(done.stdout)
    assert told["state"] == "stopped"
    assert told["cursor"] == 9
    assert {"pending", "held", "conflicts", "last_confirmed_at"} <= told.keys()
    assert "no daemon runs" in tidenote("status", tmp_path, check=False).stdout


@pytest.mark.parametrize(("state", "status"), sorted(EXIT_STATUS.items()))
def test_scripts_read_the_exit_status(tmp_path: Path, state: str, status: int) -> None:
    with StateFolder(tmp_path) as folder:
        folder.write_status(FolderStatus(state))
        assert tidenote("status", tmp_path, check=False).returncode == status


def test_pause_and_resume_without_a_daemon(tmp_path: Path) -> None:
    StateFolder(tmp_path).close()
    assert "the next one will wait" in tidenote("pause", tmp_path).stdout
    with StateFolder(tmp_path) as state:
        seen = [state.paused]
        assert "the next one" not in tidenote("pause", tmp_path).stdout
        assert tidenote("resume", tmp_path).stdout.strip().endswith("goes on.")
        seen.append(state.paused)
    assert seen == [True, False]
    assert "as soon as" in tidenote("resume", tmp_path).stdout
