"""An attachment of 200 MB, and kill -9 of each side in the middle: it goes on where it was."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.gate import Gate, gate
from e2e.processes import World, eventually, world

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(280)]

MIB = 1 << 20
SIZE = 200 * MIB
SLACK = 12 * MIB
"""What may have been under way in buffers when a process was killed, twice, and all that is no attachment."""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def film(path: Path) -> str:
    """Write a large file without any pattern, and return its hash."""
    block = random.Random(1).randbytes(MIB)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for number in range(SIZE // MIB):
            piece = number.to_bytes(8, "big") + block[8:]
            file.write(piece)
            digest.update(piece)
    return digest.hexdigest()


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_uploads_and_downloads_go_on_after_kill_9_of_either_side(here: World) -> None:
    server = here.serve()
    sha256 = film(here.folder("a") / "film.mkv")
    with gate(here.port) as between:
        through = ("--endpoint", f"ws://127.0.0.1:{between.port}/ws/sync")
        # Up: the device dies, then the server.
        between.allow(Gate.UP, 60 * MIB)
        daemon = here.sync("a", *through)
        between.wait_until_held(Gate.UP)
        daemon.kill()
        between.allow(Gate.UP, 130 * MIB)
        here.sync("a", *through)
        between.wait_until_held(Gate.UP)
        server.kill()
        server = here.serve()
        between.allow(Gate.UP)
        eventually((here.data / "blobs" / sha256[:2] / sha256).exists, "the server has it")
        eventually(lambda: here.told("a").get("state") == "synced", "a says that it is done")
        assert between.passed(Gate.UP) < SIZE + SLACK
    with gate(here.port) as between:
        through = ("--endpoint", f"ws://127.0.0.1:{between.port}/ws/sync")
        between.allow(Gate.DOWN, 60 * MIB)
        daemon = here.sync("b", *through)
        between.wait_until_held(Gate.DOWN)
        daemon.kill()
        assert not (here.folder("b") / "film.mkv").exists(), "a file is there whole or not at all"
        between.allow(Gate.DOWN, 130 * MIB)
        here.sync("b", *through)
        between.wait_until_held(Gate.DOWN)
        server.kill()
        here.serve()
        between.allow(Gate.DOWN)
        eventually((here.folder("b") / "film.mkv").exists, "the other device has it")
        eventually(lambda: here.told("b").get("state") == "synced", "b says that it is done")
        assert between.passed(Gate.DOWN) < SIZE + SLACK
    assert hash_of(here.folder("b") / "film.mkv") == sha256
    assert not list((here.data / "blobs" / "partial").iterdir())
    assert not [path for path in (here.folder("b") / ".tidenote" / "incoming").iterdir() if path.is_file()]
