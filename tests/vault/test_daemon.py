"""The folder daemon against a real server, with real files: the main job, and what may go wrong with a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidenote.vault.plan import Push, Why, Write
from vault.world import eventually, site, tree

pytestmark = pytest.mark.anyio

CONTENTS = {
    "a.md": b"# A\n",
    "deep/er/still/b.md": "바람 ünïcode\r\n".encode(),
    "bom.md": b"\xef\xbb\xbftext\n",
    "empty.md": b"",
    "latin.md": b"caf\xe9 \xff\xfe\n",
    "nul.md": b"a\0b\n",
    "large.md": b"one long line " * 100_000,
    "image.png": b"\x89PNG\r\n\x1a\n\0" * 1000,
    "항구/일지.md": b"x\n",
}


class TestOnce:
    async def test_everything_comes_over_byte_for_byte_and_then_nothing_is_to_do(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            for name, data in CONTENTS.items():
                here.put("a", name, data)
            first = await here.once("a")
            assert first.sent == len(CONTENTS)
            assert first.received == 0
            second = await here.once("b")
            assert (second.sent, second.received) == (0, len(CONTENTS))
            assert tree(here.folder("b")) == CONTENTS
            assert (await here.once("a")).operations == 0
            assert (await here.once("b")).operations == 0

    async def test_edits_deletions_and_renames_go_both_ways(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            for number in range(6):
                here.put("a", f"{number}.md", f"text {number}\n")
            await here.once("a")
            await here.once("b")
            here.put("a", "0.md", "edited on a\n")
            (here.folder("a") / "1.md").unlink()
            (here.folder("b") / "2.md").rename(here.folder("b") / "moved.md")
            here.put("b", "new/3.md", "new on b\n")
            assert (await here.once("a")).sent == 2
            report = await here.once("b")
            assert (report.sent, report.received) == (2, 2)
            assert (await here.once("a")).received == 2
            assert tree(here.folder("a")) == tree(here.folder("b"))
            assert tree(here.folder("a")) == {
                "0.md": b"edited on a\n",
                "3.md": b"text 3\n",
                "4.md": b"text 4\n",
                "5.md": b"text 5\n",
                "moved.md": b"text 2\n",
                "new/3.md": b"new on b\n",
            }
            for name in ("a", "b"):
                assert (await here.once(name)).operations == 0

    async def test_two_full_folders_join_by_union(self, tmp_path: Path) -> None:
        """D23: identical files make no operation and no conflict, different ones stay in the history."""
        async with site(tmp_path) as here:
            for name in ("a", "b"):
                here.put(name, "same.md", "the same\n")
                here.put(name, f"only {name}.md", f"{name}\n")
            await here.once("a")
            report = await here.once("b")
            assert (report.sent, report.received) == (1, 1)
            await here.once("a")
            assert tree(here.folder("a")) == tree(here.folder("b"))
            assert len(tree(here.folder("a"))) == 3
            async with here.daemon("a") as daemon:
                await daemon.once()
                assert daemon.status().state == "synced"
                assert daemon.status().conflicts == 0

    async def test_a_dry_run_says_what_would_be_done_and_does_nothing(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            here.put("a", "a.md", "a\n")
            await here.once("a")
            here.put("b", "b.md", "b\n")
            made = await here.dry_run("b")
            assert [action.entry.path for action in made.actions if isinstance(action, Push)] == ["b.md"]
            assert [action.path for action in made.actions if isinstance(action, Write)] == ["a.md"]
            assert tree(here.folder("b")) == {"b.md": b"b\n"}
            assert (await here.once("a")).operations == 0


class TestRunning:
    async def test_a_saved_note_is_on_the_other_side(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here, here.running("a") as a, here.running("b") as b:
            note = here.put("a", "note.md", "one\n")
            other = here.folder("b") / "note.md"
            await eventually(lambda: other.read_bytes() == b"one\n", "the note arrives")
            note.write_text("two\n")
            await eventually(lambda: other.read_bytes() == b"two\n", "the edit arrives")
            other.write_text("three\n")
            await eventually(lambda: note.read_bytes() == b"three\n", "the edit comes back")
            other.unlink()
            await eventually(lambda: not note.exists(), "the deletion arrives")
            await eventually(lambda: a.status().state == b.status().state == "synced", "all is said to be in sync")

    async def test_a_renamed_folder_is_one_there_too(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here, here.running("a"), here.running("b"):
            for number in range(20):
                here.put("a", f"old/{number}.md", f"{number}\n")
            await eventually(lambda: len(tree(here.folder("b"))) == 20, "all arrive")
            inodes = {path.name: path.stat().st_ino for path in (here.folder("b") / "old").iterdir()}
            (here.folder("a") / "old").rename(here.folder("a") / "new")
            await eventually(lambda: len(list((here.folder("b") / "new").iterdir())) == 20, "the folder arrives")
            await eventually(lambda: not (here.folder("b") / "old").exists(), "the old one goes")
            assert {path.name: path.stat().st_ino for path in (here.folder("b") / "new").iterdir()} == inodes

    async def test_attachments_come_and_go_on_by_themselves(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here, here.running("a"), here.running("b"):
            here.put("a", "film.mp4", b"0123456789" * 500_000)
            await eventually(
                lambda: (here.folder("b") / "film.mp4").read_bytes() == b"0123456789" * 500_000, "the film arrives"
            )
            here.put("b", "film.mp4", b"9876543210" * 500_000)
            await eventually(
                lambda: (here.folder("a") / "film.mp4").read_bytes() == b"9876543210" * 500_000, "the cut arrives"
            )

    async def test_deletions_in_great_number_are_held_until_confirmed(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here, here.running("a") as a, here.running("b") as b:
            for number in range(15):
                here.put("a", f"d/{number}.md", f"{number}\n")
            here.put("a", "stays.md", "stays\n")
            await eventually(lambda: len(tree(here.folder("b"))) == 16, "all arrive")
            for path in (here.folder("a") / "d").iterdir():
                path.unlink()
            await eventually(lambda: len(a.status().held) == 15, "they are held")
            assert {held.why for held in a.status().held} == {Why.DELETIONS_OUT.name}
            here.put("a", "new.md", "new\n")
            await eventually((here.folder("b") / "new.md").exists, "everything else goes on")
            assert len(tree(here.folder("b"))) == 17
            assert a.confirm_deletes() == 15
            await eventually(lambda: len(b.status().held) == 15, "the other side holds them, too")
            assert {held.why for held in b.status().held} == {Why.DELETIONS_IN.name}
            assert len(tree(here.folder("b"))) == 17
            b.confirm_deletes()
            await eventually(lambda: len(tree(here.folder("b"))) == 2, "they are deleted")
