"""Failures that were found once: each is fixed, and runs again."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.replay import Failure, run_file

pytestmark = pytest.mark.sim

KEPT = sorted((Path(__file__).parent / "kept").glob("*.json"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_what_was_found_stays_fixed(path: Path) -> None:
    found = run_file(path)
    assert not isinstance(found, Failure), found.message
