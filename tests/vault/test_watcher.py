"""Hints: what happens in a folder is hinted at, what does not matter is not, and what cannot be watched is polled."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from watchfiles import awatch

from tidenote.vault import watcher as module
from tidenote.vault.watcher import BURST_S, MAX_BURST, Burst, Hint, hints

pytestmark = pytest.mark.anyio

PATIENCE_S = 30.0


class Listener:
    """Collects hints."""

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.everywhere = 0
        self._news = asyncio.Event()

    def take(self, hint: Hint) -> None:
        if hint is None:
            self.everywhere += 1
        else:
            self.paths |= hint
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def listening(root: Path, wanted: Callable[[str], bool] = lambda _: True) -> AsyncIterator[Listener]:
    listener = Listener()
    armed = asyncio.Event()

    async def follow() -> None:
        async for hint in hints(root, wanted=wanted, poll_interval_s=0.01, armed=armed):
            listener.take(hint)

    task = asyncio.create_task(follow())
    await armed.wait()
    try:
        yield listener
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "notes"
    (root / ".tidenote").mkdir(parents=True)
    (root / "old.md").write_bytes(b"old")
    (root / "gone.md").write_bytes(b"old")
    (root / "d").mkdir()
    return root


async def test_what_happens_is_hinted_at(root: Path) -> None:
    async with listening(root) as listener:
        (root / "new.md").write_bytes(b"x")
        (root / "old.md").write_bytes(b"y")
        (root / "gone.md").unlink()
        (root / "d" / "deep.md").write_bytes(b"x")
        (root / "folder").mkdir()
        expected = {"new.md", "old.md", "gone.md", "d/deep.md", "folder"}
        await listener.until(lambda: listener.paths >= expected)
        (root / "old.md").rename(root / "d" / "moved.md")
        (root / "folder").rename(root / "renamed")
        await listener.until(lambda: listener.paths >= expected | {"d/moved.md", "renamed"})
        assert listener.everywhere == 0


async def test_what_does_not_matter_is_not(root: Path) -> None:
    async with listening(root, wanted=lambda path: not path.endswith(".log")) as listener:
        (root / "a.log").write_bytes(b"x")
        (root / ".tidenote" / "journal.db").write_bytes(b"x")
        os.utime(root / "d")
        (root / ".tidenote" / "paused").touch()
        (root / "last.md").write_bytes(b"x")
        await listener.until(lambda: listener.paths >= {"last.md", ".tidenote/paused"})
        assert listener.paths == {"last.md", ".tidenote/paused"}


async def test_the_marker_going_away_is_hinted_at(root: Path, tmp_path: Path) -> None:
    async with listening(root) as listener:
        (root / ".tidenote").rename(tmp_path / "marker")
        await listener.until(lambda: ".tidenote" in listener.paths)


@pytest.mark.parametrize("error", [OSError("no more watches"), RuntimeError("internal")])
async def test_a_folder_that_cannot_be_watched_is_polled(
    root: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def failing(*_: object, **__: object) -> AsyncIterator[object]:
        raise error

    monkeypatch.setattr(module, "awatch", failing)
    async with listening(root) as listener:
        await listener.until(lambda: listener.everywhere >= 3)
    monkeypatch.undo()
    # After a while it is tried again.
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    failures = [error]
    real = awatch

    def failing_once(*args: Path, **more: bool) -> AsyncIterator[object]:
        if failures:
            raise failures.pop()
        return real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "awatch", failing_once)
    async with listening(root) as listener:
        while "new.md" not in listener.paths:
            (root / "new.md").write_bytes(os.urandom(4))
            await asyncio.sleep(0.02)


async def test_so_is_one_with_a_name_that_the_watcher_cannot_tell(root: Path) -> None:
    """It fails while it watches, in a way of its own; what happens meanwhile and later is found all the same."""
    async with listening(root) as listener:
        (root / os.fsdecode(b"folder \xff")).mkdir()
        await listener.until(lambda: listener.everywhere >= 3)


async def test_a_flood_of_hints_means_look_everywhere(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BURST", 10)
    async with listening(root) as listener:
        for number in range(30):
            (root / f"{number}.md").write_bytes(b"x")
        await listener.until(lambda: listener.everywhere > 0)


def test_a_burst_is_counted_within_its_time() -> None:
    now = 0.0
    burst = Burst(lambda: now)
    assert not burst.overflows(MAX_BURST)
    assert burst.overflows(1)
    now += BURST_S + 0.1
    assert not burst.overflows(MAX_BURST)
