"""The main job with real processes: two folders, one server, kill -9 in between."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.processes import World, eventually, tree_of, world
from e2e.vaults import fill

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(280)]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def replace(path: Path, text: str) -> None:
    """Save as many editors do: a new file, renamed over the old one."""
    beside = path.with_name(f".{path.name}.swp")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def test_a_vault_reaches_the_other_folder_and_stays_the_same(here: World) -> None:
    a, b = here.folder("a"), here.folder("b")
    fill(a)
    start = tree_of(a)
    server = here.serve()
    here.sync("a")
    daemon_b = here.sync("b")
    assert here.settle("a", "b") == start
    notes = sorted(path for path in start if path.endswith(".md"))

    # The three ways in which editors save.
    replace(a / notes[0], "saved by rename\n")
    (b / notes[1]).write_text("written in place\n", encoding="utf-8")
    with (a / notes[2]).open("a", encoding="utf-8") as file:
        file.write("appended\n")
    eventually(lambda: (b / notes[0]).read_bytes() == b"saved by rename\n", "rename-save arrives")
    eventually(lambda: (a / notes[1]).read_bytes() == b"written in place\n", "in-place write arrives")
    eventually(lambda: (b / notes[2]).read_bytes().endswith(b"appended\n"), "append arrives")
    here.settle("a", "b")

    # A deletion and a rename.
    (a / notes[3]).unlink()
    (b / "moved").mkdir()
    (b / notes[4]).rename(b / "moved" / "under a new name.md")
    eventually(lambda: not (b / notes[3]).exists(), "the deletion arrives")
    eventually((a / "moved" / "under a new name.md").exists, "the rename arrives")
    eventually(lambda: not (a / notes[4]).exists(), "the old name goes")
    here.settle("a", "b")

    # Both sides edit while the server is dead and one daemon is killed too.
    server.kill()
    (a / notes[5]).write_text("edited on a, offline\n", encoding="utf-8")
    (b / notes[6]).write_text("edited on b, offline\n", encoding="utf-8")
    daemon_b.kill()
    (b / "new on b.md").write_text("made while nobody watched\n", encoding="utf-8")
    (b / notes[7]).unlink()
    here.sync("b")
    here.serve()
    eventually(lambda: (b / notes[5]).read_bytes() == b"edited on a, offline\n", "a's offline edit arrives")
    eventually(lambda: (a / notes[6]).read_bytes() == b"edited on b, offline\n", "b's offline edit arrives")
    eventually((a / "new on b.md").exists, "b's new note arrives")
    eventually(lambda: not (a / notes[7]).exists(), "b's deletion arrives")
    tree = here.settle("a", "b")
    untouched = {path: data for path, data in start.items() if path not in notes[:8]}
    assert untouched.items() <= tree.items()


def test_once_does_nothing_when_nothing_is_to_do(here: World) -> None:
    a = here.folder("a")
    fill(a)
    here.serve()
    here.once("a")
    here.once("b")
    tree = here.settle("a", "b")
    assert "0 operations" in here.once("a")
    assert "0 operations" in here.once("b")
    assert tree_of(a) == tree


def test_different_edits_while_the_server_is_dead_then_kill_at_any_moment(here: World) -> None:
    """Kill -9 server and daemons again and again under load; what was saved is in both folders in the end."""
    server = here.serve()
    daemons = {"a": here.sync("a"), "b": here.sync("b")}
    saved: dict[str, bytes] = {}
    for number in range(60):
        name = "ab"[number % 2]
        note = here.folder(name) / f"{name} {number}.md"
        saved[note.name] = f"token {number}\n".encode() * 50
        note.write_bytes(saved[note.name])
        if number % 20 == 7:
            server.kill()
            server = here.serve()
        if number % 20 == 13:
            daemons[name].kill()
            daemons[name] = here.sync(name)
    for name in daemons:
        eventually(
            lambda name=name: saved.keys() <= tree_of(here.folder(name)).keys(),  # type: ignore[misc]
            f"everything is in {name}",
        )
    assert here.settle("a", "b") == saved


def test_a_folder_that_is_gone_pauses_and_deletes_nothing(here: World) -> None:
    """An unmounted disk reads as an empty or missing folder."""
    a = here.folder("a")
    for number in range(5):
        (a / f"{number}.md").write_text(f"{number}\n", encoding="utf-8")
    here.serve()
    here.sync("a")
    here.sync("b")
    tree = here.settle("a", "b")
    hidden = here.root / "unmounted"
    a.rename(hidden)
    a.mkdir()
    (here.folder("b") / "sign of life.md").write_text("x\n", encoding="utf-8")
    other = here.sync("c")
    eventually(lambda: tree_of(here.folder("c")).keys() == {*tree, "sign of life.md"}, "c gets everything")
    assert tree_of(here.folder("b")).keys() == {*tree, "sign of life.md"}
    assert other.running
    with contextlib.suppress(FileNotFoundError):
        assert not [path for path in a.iterdir() if path.suffix == ".md"]
    for left in sorted(a.rglob("*"), reverse=True):
        left.unlink() if left.is_file() else left.rmdir()
    a.rmdir()
    hidden.rename(a)
    eventually((a / "sign of life.md").exists, "a goes on by itself")
    assert here.settle("a", "b", "c").keys() == {*tree, "sign of life.md"}
