"""Progress is drawn for people only, on stderr."""

from __future__ import annotations

import pytest

from tidenote.cli.progress import Meter
from tidenote.vault.folder import FolderStatus


def test_nothing_is_drawn_where_nobody_watches(capfd: pytest.CaptureFixture[str]) -> None:
    with Meter() as meter:
        meter.step("scan", 10, None)
        meter.told(FolderStatus("pending", pending=3))
    assert capfd.readouterr() == ("", "")


def test_a_person_sees_how_far_it_is(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with Meter(shown=True) as meter:
        meter.step("scan", 10, None)
        meter.told(FolderStatus("pending", pending=8))
        meter.told(FolderStatus("pending", pending=2))
    out, err = capfd.readouterr()
    assert out == ""
    assert "looking at files" in err
    assert "sending changes" in err
    assert "6/8" in err


def test_bars_go_when_everything_is_done(capfd: pytest.CaptureFixture[str]) -> None:
    with Meter(shown=True) as meter:
        meter.step("sync", 5, None)
        meter.told(FolderStatus("synced"))
        assert not any(task.visible for task in meter._progress.tasks)
    assert "5" not in capfd.readouterr().out
