"""Folders that sync while people do as they like in them: in the end all are the same, and the log has what went."""

from __future__ import annotations

import asyncio
import random
import shutil
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from tidenote.vault.files import RealFiles, Stat
from vault.folding import FoldingFiles
from vault.world import Site, eventually, site, tree

pytestmark = pytest.mark.anyio

NAMES = ("a.md", "b.md", "d/c.md", "d/e.md", "x/y/z.md", "image.png", "caf\u00e9.md")
FOLDERS = ("d", "x/y", "new")
STEPS = 120


class Person:
    """Saves, renames and deletes at random; every saved line is unique, so that it can be looked for."""

    def __init__(self, here: Site, name: str) -> None:
        self.root = here.folder(name)
        self.name = name
        self.count = 0

    def act(self, rng: random.Random) -> None:
        on_files = [self.save, self.save, self.append, self.replace, self.rename, self.delete]
        on_folders = [self.rename_folder, self.delete_folder]
        with suppress(FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError):
            if rng.random() < 0.85:
                rng.choice(on_files)(self.root / rng.choice(NAMES), rng)
            else:
                rng.choice(on_folders)(self.root / rng.choice(FOLDERS), rng)

    def line(self) -> str:
        self.count += 1
        return f"{self.name} {self.count:04}\n"

    def save(self, path: Path, _: random.Random) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.line())

    def append(self, path: Path, _: random.Random) -> None:
        with path.open("a") as file:
            file.write(self.line())

    def replace(self, path: Path, _: random.Random) -> None:
        text = path.read_text() + self.line()
        beside = path.with_name(f"{path.name}.tmp")
        beside.write_text(text)
        beside.replace(path)

    def rename(self, path: Path, rng: random.Random) -> None:
        target = self.root / rng.choice(NAMES)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)

    def delete(self, path: Path, _: random.Random) -> None:
        path.unlink()

    def rename_folder(self, folder: Path, rng: random.Random) -> None:
        target = self.root / rng.choice(FOLDERS)
        if not target.exists() and target.parent.exists():
            folder.rename(target)

    def delete_folder(self, folder: Path, _: random.Random) -> None:
        with suppress(OSError):  # the daemon put a file there meanwhile
            shutil.rmtree(folder)


@pytest.mark.parametrize("seed", range(3))
async def test_folders_that_are_worked_in_become_the_same(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    removed = record_removals(monkeypatch)
    async with site(tmp_path) as here, AsyncExitStack() as stack:
        persons = [Person(here, name) for name in ("one", "two", "fold")]
        daemons = [
            await stack.enter_async_context(
                here.running(person.name, open_files=FoldingFiles if person.name == "fold" else RealFiles)
            )
            for person in persons
        ]
        for _ in range(STEPS):
            # Now and then two do the same, one shortly after the other.
            deed = rng.random()
            for person in rng.sample(persons, rng.choice([1, 1, 2])):
                person.act(random.Random(deed))
                await asyncio.sleep(rng.choice([0, 0, 0.01, 0.05]))

        def settled() -> bool:
            return all(daemon.status().state in ("synced", "attention") for daemon in daemons) and all(
                tree(person.root) == tree(persons[0].root) for person in persons
            )

        await eventually(settled, f"seed {seed}: the folders are the same")
        store = here.server.service.store
        kept = {
            version.change.content_hash
            for key, _ in store.manifest("main", None, 1000)
            for version in store.history("main", key)
        }
        assert removed
        assert removed <= kept


def record_removals(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return a set that the hash of everything goes into that a daemon overwrites or deletes."""
    removed: set[str] = set()
    write, delete = RealFiles.write, RealFiles.delete

    def recording_write(self: RealFiles, path: str, source: bytes | Path, expected: str | None) -> tuple[str, Stat]:
        done = write(self, path, source, expected)
        if expected is not None:
            removed.add(expected)
        return done

    def recording_delete(self: RealFiles, path: str, expected: str) -> None:
        delete(self, path, expected)
        removed.add(expected)

    monkeypatch.setattr(RealFiles, "write", recording_write)
    monkeypatch.setattr(RealFiles, "delete", recording_delete)
    return removed
