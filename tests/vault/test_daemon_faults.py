"""What folders, editors, disks and other programs do to the daemon: faults D3 to D23 and L1 to L18."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import time
from pathlib import Path

import pytest

from server.running import running_server
from tidenote.client.journal import Journal
from tidenote.errors import FolderError, StorageError, UnreachableError
from tidenote.vault import daemon as daemon_module
from tidenote.vault import passes as passes_module
from tidenote.vault.apply import Applier, Outcome
from tidenote.vault.daemon import BY_PERSON, FolderReplaced
from tidenote.vault.disk import LocalDisk
from tidenote.vault.files import FileProblem, RealFiles, Stat
from tidenote.vault.folder import StateFolder, confirm_deletes, pause, read_status, resume
from tidenote.vault.passes import EMPTY
from tidenote.vault.plan import Held, Why
from vault.folding import FoldingFiles
from vault.world import Site, eventually, site, tree, writing

pytestmark = pytest.mark.anyio


def values(here: Site, key: str) -> list[str | None]:
    """Return every value that the log ever had at a key, in order."""
    return [version.change.value for version in here.server.service.store.history("main", key)]


class TestRoot:
    """A folder that is not there, or not the same, is never a reason to delete (L13, D3)."""

    @pytest.mark.parametrize("instead", ["nothing", "an empty folder", "a link to nowhere", "a file"])
    async def test_a_folder_that_goes_pauses_and_goes_on_when_it_is_back(self, tmp_path: Path, instead: str) -> None:
        async with site(tmp_path) as here, here.running("a") as a, here.running("b"):
            for number in range(5):
                here.put("a", f"{number}.md", f"{number}\n")
            await eventually(lambda: len(tree(here.folder("b"))) == 5, "all arrive")
            root, away = here.folder("a"), tmp_path / "away"
            root.rename(away)
            if instead == "an empty folder":
                root.mkdir()
            elif instead == "a link to nowhere":
                root.symlink_to(tmp_path / "nowhere")
            elif instead == "a file":
                root.write_bytes(b"")
            await eventually(lambda: a.status().state == "paused", "it pauses")
            here.put("b", "sign of life.md", "x\n")
            await eventually(lambda: len(values(here, "note:sign of life.md")) == 1, "the other side goes on")
            assert len(tree(here.folder("b"))) == 6
            assert tree(away) == {f"{number}.md": f"{number}\n".encode() for number in range(5)}
            if instead == "an empty folder":
                root.rmdir()
            elif instead != "nothing":
                root.unlink()
            away.rename(root)
            await eventually((root / "sign of life.md").exists, "it goes on by itself")
            here.put("a", "after.md", "x\n")
            await eventually((here.folder("b") / "after.md").exists, "its hints come again")
            assert len(await here.same("a", "b")) == 7

    async def test_a_missing_marker_pauses(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here, here.running("a") as a:
            here.put("a", "a.md", "x\n")
            await eventually(lambda: values(here, "note:a.md"), "it is sent")
            (here.folder("a") / ".tidenote").rename(tmp_path / "marker")
            await eventually(lambda: a.status().state == "paused", "it pauses")
            (tmp_path / "marker").rename(here.folder("a") / ".tidenote")
            await eventually(lambda: a.status().state == "synced", "it goes on")

    async def test_another_marker_pauses(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here, here.running("a") as a:
            marker = here.folder("a") / ".tidenote" / "folder-id"
            ours = marker.read_text()
            marker.write_text("another\n")
            await eventually(lambda: a.status().state == "paused", "it pauses")
            marker.write_text(ours)
            await eventually(lambda: a.status().state == "synced", "it goes on")

    async def test_a_copy_with_our_marker_needs_a_new_start(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here, here.daemon("a") as a:
            here.put("a", "a.md", "x\n")
            running = asyncio.create_task(a.run())
            await eventually(lambda: values(here, "note:a.md"), "it is sent")
            shutil.copytree(here.folder("a"), tmp_path / "copy")
            here.folder("a").rename(tmp_path / "away")
            (tmp_path / "copy").rename(tmp_path / "a")
            with pytest.raises(FolderReplaced):
                await asyncio.wait_for(running, 30)
            (tmp_path / "a").rename(tmp_path / "copy")
            (tmp_path / "away").rename(tmp_path / "a")

    async def test_a_removed_lock_needs_a_new_start(self, tmp_path: Path) -> None:
        """Else whoever starts a second daemon has two of them in one folder."""
        async with site(tmp_path) as here, here.daemon("a") as a:
            running = asyncio.create_task(a.run())
            await eventually(lambda: a.status().state == "synced", "it runs")
            (here.folder("a") / ".tidenote" / "lock").unlink()
            with pytest.raises(FolderReplaced, match="lock"):
                await asyncio.wait_for(running, 30)

    async def test_a_folder_that_was_emptied_pauses_until_confirmed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with site(tmp_path) as here:
            for number in range(12):
                here.put("a", f"{number}.md", f"{number}\n")
            await here.once("a")
            await here.once("b")
            for path in here.folder("a").glob("*.md"):
                path.unlink()
            with pytest.raises(FolderError, match="empty"):
                await here.once("a")
            async with here.running("a") as a:
                await eventually(lambda: a.status().paused == EMPTY, "it pauses")
                # A disk that fails meanwhile does not end the daemon.
                refused: list[str] = []

                def names(_: RealFiles, folder: str) -> list[str]:
                    refused.append(folder)
                    raise FileProblem(folder, "Input/output error")

                with monkeypatch.context() as failing:
                    failing.setattr(RealFiles, "names", names)
                    await eventually(lambda: refused, "it looks whether something is there again")
                    await eventually(lambda: a.status().paused == EMPTY, "it stays paused")
                confirm_deletes(here.folder("a"))
                await eventually(lambda: a.status().state == "synced", "it goes on")
            report = await here.once("b", confirm_deletes=True)
            assert report.received == 12
            assert tree(here.folder("b")) == {}

    async def test_a_folder_of_few_notes_may_be_emptied(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here, here.running("a"), here.running("b"):
            here.put("a", "only.md", "x\n")
            await eventually((here.folder("b") / "only.md").exists, "it arrives")
            (here.folder("a") / "only.md").unlink()
            await eventually(lambda: not (here.folder("b") / "only.md").exists(), "it goes")

    async def test_an_unreadable_disk_is_no_empty_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async with site(tmp_path) as here:
            here.put("a", "a.md", "x\n")
            await here.once("a")

            def names(_: RealFiles, folder: str) -> list[str]:
                raise FileProblem(folder, "Input/output error")

            async with here.daemon("a") as a:
                monkeypatch.setattr(RealFiles, "names", names)
                with pytest.raises(FolderError, match="Input/output error"):
                    await a.once()
                monkeypatch.undo()
            assert (await here.once("a")).operations == 0


class TestControl:
    async def test_pause_resume_and_status_by_files(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            folder = here.folder("a")
            async with here.running("a"):
                here.put("a", "a.md", "x\n")
                await eventually(lambda: getattr(read_status(folder), "state", "") == "synced", "it says so")
                status = read_status(folder)
                assert status
                assert (status.pending, status.files, status.pid, status.device_id) == (0, 1, os.getpid(), "a")
                assert status.last_confirmed_at
                pause(folder)
                await eventually(lambda: getattr(read_status(folder), "paused", "") == BY_PERSON, "it pauses")
                here.put("a", "b.md", "x\n")
            with pytest.raises(FolderError, match="paused"):
                await here.once("a")
            assert values(here, "note:b.md") == []
            async with here.running("a"):
                resume(folder)
                await eventually(lambda: values(here, "note:b.md"), "it goes on")

    async def test_deletions_are_confirmed_by_a_file(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            for number in range(11):
                here.put("a", f"d/{number}.md", f"{number}\n")
            here.put("a", "stays.md", "x\n")
            await here.once("a")
            shutil.rmtree(here.folder("a") / "d")
            report = await here.once("a")
            assert report.operations == 0
            assert {held.why for held in report.held} == {Why.DELETIONS_OUT}
            async with here.running("a") as a:
                await eventually(lambda: len(a.status().held) == 11, "they are held")
                assert a.status().state == "attention"
                confirm_deletes(here.folder("a"))
                await eventually(lambda: a.status().state == "synced", "they go")
            assert values(here, "note:d/0.md") == ["0\n", None]

    async def test_a_second_daemon_is_refused(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here, here.daemon("a"):
            with pytest.raises(FolderError, match="another tidenote"):
                await here.once("a")


class TestEditors:
    """How editors save (D6, D9, L1)."""

    async def test_truncating_before_writing_never_sends_an_empty_note(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here, here.running("a"), here.running("b"):
            note = here.put("a", "note.md", "0\n")
            await eventually((here.folder("b") / "note.md").exists, "it arrives")
            for number in range(1, 6):
                with note.open("w") as file:
                    # Truncated, and on the disk for longer than others have to be left alone.
                    file.flush()
                    await asyncio.sleep(0.1)
                    file.write(f"{number}\n")
                await eventually(
                    lambda number=number: (here.folder("b") / "note.md").read_text() == f"{number}\n",  # type: ignore[misc]
                    "the edit arrives",
                )
            assert values(here, "note:note.md") == [f"{number}\n" for number in range(6)]

    async def test_renaming_over_the_old_file_is_one_edit(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here, here.running("a"), here.running("b"):
            note = here.put("a", "note.md", "0\n")
            await eventually((here.folder("b") / "note.md").exists, "it arrives")
            beside = note.with_name(".note.md.swp")
            beside.write_text("1\n")
            beside.replace(note)
            await eventually(lambda: (here.folder("b") / "note.md").read_text() == "1\n", "the edit arrives")
            # As vim does: the old file becomes the backup, the new one is written afresh.
            note.rename(note.with_name("note.md~"))
            note.write_text("2\n")
            await eventually(lambda: (here.folder("b") / "note.md").read_text() == "2\n", "the edit arrives")
            assert values(here, "note:note.md") == ["0\n", "1\n", "2\n"]
            assert tree(here.folder("b")).keys() == {"note.md"}

    async def test_an_emptied_note_is_sent_in_the_end(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            note = here.put("a", "note.md", "0\n")
            await here.once("a")
            note.write_bytes(b"")
            await here.once("a", settle_empty_ms=100)
            assert values(here, "note:note.md") == ["0\n", ""]

    async def test_an_edit_of_the_same_size_and_time_is_found(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            note = here.put("a", "note.md", "one")
            await here.once("a")
            stat = note.stat()
            note.write_bytes(b"two")
            os.utime(note, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            assert (await here.once("a")).sent == 1
            os.utime(note, ns=(0, 0))
            assert (await here.once("a")).operations == 0
            note.write_bytes(b"six")
            os.utime(note, (time.time() + 10**6,) * 2)
            assert (await here.once("a")).sent == 1
            assert values(here, "note:note.md") == ["one", "two", "six"]


class TestRaces:
    async def test_a_note_saved_between_plan_and_write_is_not_overwritten(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """D8: the remote version waits, and both texts reach the log."""
        async with site(tmp_path) as here:
            here.put("a", "note.md", "0\n")
            await here.once("a")
            await here.once("b")
            here.put("a", "note.md", "theirs\n")
            await here.once("a")
            real = RealFiles.write
            raced: list[str] = []

            def write(self: RealFiles, path: str, source: bytes | Path, expected: str | None) -> tuple[str, Stat]:
                if not raced:
                    raced.append(path)
                    here.put("b", "note.md", "mine\n")
                return real(self, path, source, expected)

            monkeypatch.setattr(RealFiles, "write", write)
            await here.once("b")
            assert raced == ["note.md"]
            assert {"0\n", "theirs\n", "mine\n"} <= set(values(here, "note:note.md"))

    @pytest.mark.parametrize("theirs", ["edited", "deleted"])
    async def test_a_note_that_a_program_has_open_waits_until_that_has_written(
        self, tmp_path: Path, theirs: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """D8: what `cat >> note.md` writes goes into the file that it opened, wherever that is by then."""
        monkeypatch.setattr(passes_module, "OPEN_RETRY_S", 0.02)
        async with site(tmp_path) as here:
            note = here.put("a", "note.md", "one\n")
            await here.once("a")
            await here.once("b")
            async with here.running("a") as a:
                with writing(note) as program:
                    if theirs == "edited":
                        here.put("b", "note.md", "one, edited\n")
                    else:
                        (here.folder("b") / "note.md").unlink()
                    await here.once("b")
                    await eventually(lambda: a.status().held, "it waits")
                    [held] = a.status().held
                    assert (held.path, held.why, held.reason) == (
                        "note.md",
                        Why.OPEN.name,
                        "a program has it open for writing",
                    )
                    program.write(b"typed\n")
                await eventually(lambda: a.status().state == "synced", "it comes")
                expected = b"one, edited\ntyped\n" if theirs == "edited" else b"one\ntyped\n"
                await eventually(lambda: tree(here.folder("a")) == {"note.md": expected}, "both are there")

    async def test_a_note_that_is_closed_unwritten_is_replaced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing says when a program closes a file: it is tried again."""
        monkeypatch.setattr(passes_module, "OPEN_RETRY_S", 0.02)
        async with site(tmp_path) as here:
            note = here.put("a", "note.md", "one\n")
            await here.once("a")
            await here.once("b")
            here.put("b", "note.md", "two\n")
            await here.once("b")
            async with here.running("a") as a:
                with note.open("ab"):
                    await eventually(lambda: a.status().held, "it waits")
                await eventually(lambda: note.read_text() == "two\n", "it comes")

    async def test_what_is_written_into_a_note_that_was_replaced_is_kept_where_no_system_tells(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(LocalDisk, "is_written", lambda *_: None)
        monkeypatch.setattr(daemon_module, "TICK_S", 0.02)
        async with site(tmp_path) as here:
            note = here.put("a", "note.md", "one\n")
            await here.once("a")
            await here.once("b")
            here.put("b", "note.md", "two\n")
            await here.once("b")
            async with here.running("a"):
                with note.open("ab", buffering=0) as program:
                    await eventually(lambda: note.read_text() == "two\n", "it comes")
                    program.write(b"typed\n")
                monkeypatch.setattr(daemon_module, "LOOK_BACK_S", 0.0)
                state = here.folder("a") / ".tidenote"
                await eventually((state / "leftover").exists, "it is found")
                assert [path.read_bytes() for path in (state / "leftover").iterdir()] == [b"one\ntyped\n"]
                await eventually(lambda: "1 files were written after" in caplog.text, "the log says so")
            assert tree(here.folder("a")) == {"note.md": b"two\n"}

    async def test_an_attachment_that_changes_before_it_is_uploaded_arrives_whole(self, tmp_path: Path) -> None:
        """D7: what is uploaded is one consistent state; the later one follows."""
        async with site(tmp_path) as here:
            film = here.put("a", "film.mp4", b"one" * 100_000)
            offline = here.config("a", sync_endpoint="ws://127.0.0.1:9/ws/sync")
            await here.once("a")
            film.write_bytes(b"two" * 100_000)
            async with here.running("a", config=offline) as a:
                await eventually(lambda: a.client.status().pending == 1, "it is noted")
                film.write_bytes(b"three" * 100_000)
                await eventually(
                    lambda: (
                        [row.change.blob.size for row in a.client.journal.pending() if row.change.blob] == [500_000]
                    ),
                    "the later state takes its place",
                )
            await here.once("a")
            await here.once("b")
            assert tree(here.folder("b")) == {"film.mp4": b"three" * 100_000}

    async def test_one_that_is_renamed_or_deleted_before_it_is_uploaded_blocks_nothing(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            await here.once("a")
            offline = here.config("a", sync_endpoint="ws://127.0.0.1:9/ws/sync")
            film, song = here.put("a", "film.mp4", b"one" * 100_000), here.put("a", "song.mp3", b"two" * 100_000)
            async with here.running("a", config=offline) as a:
                await eventually(lambda: a.client.status().pending == 2, "they are noted")
                film.rename(film.with_name("renamed.mp4"))
                song.unlink()
                await eventually(
                    lambda: (
                        {row.change.key for row in a.client.journal.pending() if row.change.deleted}
                        == {"file:film.mp4", "file:song.mp3"}
                    ),
                    "that is noted, too",
                )
            await here.once("a")
            await here.once("b")
            assert tree(here.folder("b")) == {"renamed.mp4": b"one" * 100_000}
            assert (await here.once("a")).operations == 0

    @pytest.mark.parametrize("there", ["edited", "deleted"])
    async def test_one_that_is_gone_before_it_is_uploaded_is_not_waited_for(self, tmp_path: Path, there: str) -> None:
        """Its bytes are nowhere, so it must not stand in the way of what others did with it meanwhile."""
        async with site(tmp_path) as here:
            film = here.put("a", "film.mp4", b"one" * 100_000)
            await here.once("a")
            await here.once("b")
            film.write_bytes(b"two" * 100_000)
            async with here.running("a", config=here.config("a", sync_endpoint="ws://127.0.0.1:9/ws/sync")) as a:
                await eventually(lambda: a.client.status().pending == 1, "it is noted")
            film.unlink()
            theirs = here.folder("b") / "film.mp4"
            if there == "edited":
                theirs.write_bytes(b"three" * 100_000)
            else:
                theirs.unlink()
            await here.once("b")
            # The client hears of b's change and finds the bytes missing before the folder is looked at.
            async with here.daemon("a") as a:
                await a.client.caught_up(30)
                await eventually(a.client.journal.parked, "the upload is given up")
                await a.once(30)
                assert a.status().state == "synced"
            assert tree(here.folder("a")) == tree(here.folder("b"))
            assert (await here.once("a")).operations == 0

    async def test_deletions_and_renames_while_offline_are_sent_later(self, tmp_path: Path) -> None:
        """L10: they are in the journal before anything else, and survive a restart."""
        async with site(tmp_path) as here:
            for name in ("gone.md", "old.md", "edited.md"):
                here.put("a", name, f"{name}\n")
            await here.once("a")
            await here.once("b")
            offline = here.config("a", sync_endpoint="ws://127.0.0.1:9/ws/sync")
            async with here.running("a", config=offline) as a:
                (here.folder("a") / "gone.md").unlink()
                (here.folder("a") / "old.md").rename(here.folder("a") / "new.md")
                here.put("a", "edited.md", "offline\n")
                await eventually(lambda: a.client.status().pending == 4, "all is noted")
                assert a.status().state == "offline"
            with pytest.raises(UnreachableError):
                async with here.daemon("a", config=offline) as a:
                    await a.once(0.2)
            await here.once("a")
            await here.once("b")
            assert tree(here.folder("b")) == {"new.md": b"old.md\n", "edited.md": b"offline\n"}

    async def test_a_note_that_two_renamed_while_apart_has_one_name_in_the_end(self, tmp_path: Path) -> None:
        """Whose name loses renamed the note in its own folder: there is nothing to ask about."""
        async with site(tmp_path) as here:
            here.put("a", "note.md", "text\n")
            await here.once("a")
            await here.once("b")
            (here.folder("b") / "note.md").rename(here.folder("b") / "by b.md")
            for number in range(3):
                # b's clock is ahead, so that its name is the one that stays.
                here.put("b", f"{number}.md", f"{number}\n")
                await here.once("b")
            (here.folder("a") / "note.md").rename(here.folder("a") / "by a.md")
            async with here.running("a", config=here.config("a", sync_endpoint="ws://127.0.0.1:9/ws/sync")) as a:
                await eventually(lambda: a.client.status().pending == 2, "it is noted")
            async with here.running("a") as a, here.running("b"):
                left = tree(here.folder("b"))
                await eventually(lambda: tree(here.folder("a")) == left, "it is as b named it")
                await eventually(lambda: a.status().state == "synced", "nothing waits for a person")
                assert tree(here.folder("b")) == left

    async def test_both_sides_edit_one_note_while_apart(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            here.put("a", "note.md", "one\ntwo\nthree\n")
            await here.once("a")
            await here.once("b")
            here.put("a", "note.md", "one on a\ntwo\nthree\n")
            here.put("b", "note.md", "one\ntwo\nthree on b\n")
            await here.once("a")
            await here.once("b")
            await here.once("a")
            assert tree(here.folder("a")) == tree(here.folder("b"))
            assert {"one on a\ntwo\nthree\n", "one\ntwo\nthree on b\n"} <= set(values(here, "note:note.md"))
            for name in ("a", "b"):
                assert (await here.once(name)).operations == 0

    async def test_a_deletion_here_and_an_edit_there_keeps_the_edit(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            here.put("a", "note.md", "0\n")
            await here.once("a")
            await here.once("b")
            (here.folder("a") / "note.md").unlink()
            here.put("b", "note.md", "edited\n")
            await here.once("a")
            await here.once("b")
            await here.once("a")
            assert tree(here.folder("a")) == tree(here.folder("b")) == {"note.md": b"edited\n"}


class TestNoHints:
    async def test_changes_are_found_without_any_hint(self, tmp_path: Path) -> None:
        """L18: hints may be lost; looking everywhere finds the rest."""
        async with site(tmp_path) as here, here.running("a", watch=False, poll_s=0.1), here.running("b"):
            here.put("a", "a.md", "x\n")
            await eventually((here.folder("b") / "a.md").exists, "it arrives")

    async def test_the_periodic_scan_finds_what_hints_did_not_say(self, tmp_path: Path) -> None:
        async with (
            site(tmp_path) as here,
            here.running("a", watch=False, poll_s=1000.0, full_scan_s=0.1) as a,
            here.running("b"),
        ):
            await eventually(lambda: a.status().state == "synced", "it is at rest")
            here.put("a", "a.md", "x\n")
            await eventually((here.folder("b") / "a.md").exists, "it arrives")


class TestDisk:
    async def test_one_file_that_cannot_be_written_holds_up_no_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """D18, C12: it is told, the old file stays, and it is tried again."""
        async with site(tmp_path) as here:
            for name in ("a.md", "b.md"):
                here.put("a", name, "0\n")
            await here.once("a")
            await here.once("b")
            here.put("a", "a.md", "1 a\n")
            here.put("a", "b.md", "1 b\n")
            await here.once("a")
            real = RealFiles._fill
            full = {b"1 a\n"}

            def fill(self: RealFiles, parent: int, source: bytes | Path) -> str:
                if source in full:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return real(self, parent, source)

            monkeypatch.setattr(RealFiles, "_fill", fill)
            async with here.running("b") as b:
                await eventually(lambda: b.status().held, "it is told")
                [held] = b.status().held
                assert (held.path, held.why, held.reason) == ("a.md", Why.FAILED.name, "No space left on device")
                await eventually(lambda: (here.folder("b") / "b.md").read_text() == "1 b\n", "the other one comes")
                assert (here.folder("b") / "a.md").read_text() == "0\n"
                full.clear()
                await eventually(lambda: (here.folder("b") / "a.md").read_text() == "1 a\n", "it is tried again")
                await eventually(lambda: b.status().state == "synced", "all is well")

    async def test_what_fails_for_very_long_is_tried_every_minute(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here, here.daemon("a") as a:
            failed = Outcome(failed=[Held("a.md", Why.FAILED, "No space left on device")])
            for _ in range(2000):
                a._passes.note(failed)
            due = a._passes.next_due_s
            assert due
            assert due <= time.monotonic() + passes_module.MAX_RETRY_S

    async def test_unreadable_ones_are_told_and_not_deleted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with site(tmp_path) as here:
            for name in ("a.md", "b.md"):
                here.put("a", name, f"{name}\n")
            await here.once("a")
            real = os.open

            def fake_open(path: str, *args: int, **more: int) -> int:
                if path == "a.md":
                    raise PermissionError(errno.EACCES, "Permission denied", path)
                return real(path, *args, **more)

            monkeypatch.setattr(os, "open", fake_open)
            here.put("a", "b.md", "edited\n")
            report = await here.once("a")
            assert report.sent == 1
            assert report.skipped == (("a.md", "Permission denied: check who may read and write it"),)
            assert values(here, "note:a.md") == ["a.md\n"]

    async def test_a_folder_replaced_by_a_link_is_neither_followed_nor_deleted(self, tmp_path: Path) -> None:
        """D15."""
        async with site(tmp_path) as here:
            here.put("a", "d/note.md", "0\n")
            here.put("a", "other.md", "0\n")
            await here.once("a")
            await here.once("b")
            (here.folder("a") / "d").rename(tmp_path / "outside")
            (here.folder("a") / "d").symlink_to(tmp_path / "outside")
            here.put("b", "d/note.md", "1\n")
            here.put("b", "d/new.md", "1\n")
            await here.once("b")
            report = await here.once("a")
            assert report.operations == 0
            assert {(held.path, held.why) for held in report.held} == {
                ("d/note.md", Why.SKIPPED),
                ("d/new.md", Why.SKIPPED),
            }
            assert tree(tmp_path / "outside") == {"note.md": b"0\n"}
            assert len(tree(here.folder("b"))) == 3

    async def test_a_file_that_becomes_a_folder_does_so_there_too(self, tmp_path: Path) -> None:
        """D21."""
        async with site(tmp_path) as here:
            here.put("a", "thing", "file\n")
            await here.once("a")
            await here.once("b")
            (here.folder("a") / "thing").unlink()
            here.put("a", "thing/note.md", "folder\n")
            await here.once("a")
            await here.once("b")
            assert tree(here.folder("b")) == {"thing/note.md": b"folder\n"}

    async def test_a_file_here_and_a_folder_there_are_both_kept(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            here.put("a", "thing", "file\n")
            here.put("b", "thing/note.md", "folder\n")
            await here.once("a")
            report = await here.once("b")
            assert [(held.path, held.why) for held in report.held] == [("thing", Why.KIND)]
            report = await here.once("a")
            assert [(held.path, held.why) for held in report.held] == [("thing/note.md", Why.KIND)]
            assert tree(here.folder("a")) == {"thing": b"file\n"}
            assert tree(here.folder("b")) == {"thing/note.md": b"folder\n"}

    @pytest.mark.parametrize("where", ["above", "below"])
    async def test_what_is_held_comes_as_soon_as_its_way_is_free(self, tmp_path: Path, where: str) -> None:
        async with site(tmp_path) as here:
            mine, others = ("thing", "thing/note.md") if where == "above" else ("thing/note.md", "thing")
            here.put("b", others, "from b\n")
            await here.once("b")
            here.put("a", mine, "in the way\n")
            async with here.running("a", full_scan_s=3600.0) as daemon:
                await eventually(lambda: [held.path for held in daemon.status().held] == [others], "held")
                (here.folder("a") / mine).unlink()
                if where == "below":
                    (here.folder("a") / "thing").rmdir()
                await eventually(lambda: tree(here.folder("a")) == {others: b"from b\n"}, "it comes")
                await eventually(lambda: daemon.status().held == [], "nothing is held")

    async def test_what_is_behind_a_link_comes_when_the_link_goes(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            (tmp_path / "outside").mkdir()
            (here.folder("a") / "d").symlink_to(tmp_path / "outside")
            here.put("b", "d/new.md", "from b\n")
            await here.once("b")
            async with here.running("a", full_scan_s=3600.0) as daemon:
                await eventually(lambda: [held.path for held in daemon.status().held] == ["d/new.md"], "held")
                (here.folder("a") / "d").unlink()
                await eventually(lambda: tree(here.folder("a")) == {"d/new.md": b"from b\n"}, "it comes")
                assert tree(tmp_path / "outside") == {}


class TestNames:
    async def test_twins_and_renames_by_case_on_a_disk_that_folds(self, tmp_path: Path) -> None:
        """D10, L11."""
        async with site(tmp_path) as here:
            here.put("a", "Note.md", "upper\n")
            here.put("a", "note.md", "lower\n")
            here.put("a", "Folder/x.md", "x\n")
            await here.once("a")
            await here.once("fold", open_files=FoldingFiles)
            assert tree(here.folder("fold")) == {
                "Note.md": b"upper\n",
                "note (2).md": b"lower\n",
                "Folder/x.md": b"x\n",
            }
            # An edit of the twin goes to its own key, a rename of the folder is one.
            here.put("fold", "note (2).md", "lower, edited\n")
            (here.folder("fold") / "Folder").rename(here.folder("fold") / "folder")
            assert (await here.once("fold", open_files=FoldingFiles)).sent == 2
            await here.once("a")
            assert tree(here.folder("a")) == {
                "Note.md": b"upper\n",
                "note.md": b"lower, edited\n",
                "folder/x.md": b"x\n",
            }
            # And the other way round.
            (here.folder("a") / "Note.md").rename(here.folder("a") / "NOTE.md")
            await here.once("a")
            await here.once("fold", open_files=FoldingFiles)
            assert tree(here.folder("fold")) == {
                "NOTE.md": b"upper\n",
                "note (2).md": b"lower, edited\n",
                "folder/x.md": b"x\n",
            }
            for name, opener in (("a", RealFiles), ("fold", FoldingFiles)):
                assert (await here.once(name, open_files=opener)).operations == 0

    async def test_a_decomposed_name_is_one_note(self, tmp_path: Path) -> None:
        """D11, L12."""
        composed, decomposed = "caf\u00e9.md", "cafe\u0301.md"
        async with site(tmp_path) as here:
            here.put("a", decomposed, "0\n")
            await here.once("a")
            await here.once("b")
            assert tree(here.folder("b")) == {composed: b"0\n"}
            here.put("b", composed, "1\n")
            await here.once("b")
            await here.once("a")
            assert tree(here.folder("a")) == {decomposed: b"1\n"}

    async def test_names_that_are_no_keys_are_told(self, tmp_path: Path) -> None:
        """D12."""
        async with site(tmp_path) as here:
            here.put("a", "good.md", "x\n")
            here.put("a", os.fsdecode(b"bad \xff.md"), "x")
            report = await here.once("a")
            assert report.sent == 1
            assert [path for path, _ in report.skipped] == ["bad \\xff.md"]


class TestIgnored:
    async def test_what_is_ignored_here_is_not_written_and_not_deleted(self, tmp_path: Path) -> None:
        """D17, M2, L3."""
        async with site(tmp_path) as here:
            hidden = {".obsidian/plugins/x/main.js": b"code\n", ".obsidian/app.json": b"{}\n"}
            for name, data in {**hidden, ".obsidian/workspace.json": b"{}\n", "note.md": b"x\n"}.items():
                here.put("a", name, data)
            await here.once("a", hidden=True)
            await here.once("b")
            assert tree(here.folder("b")) == {"note.md": b"x\n"}
            await here.once("b", hidden=True)
            assert tree(here.folder("b")) == {"note.md": b"x\n", **hidden}
            # Without the flag the folder goes; with it again that is no deletion.
            await here.once("b")
            shutil.rmtree(here.folder("b") / ".obsidian")
            await here.once("b")
            await here.once("b", hidden=True)
            assert tree(here.folder("b")) == {"note.md": b"x\n", **hidden}
            assert (await here.once("a", hidden=True)).operations == 0

    async def test_an_ignore_file_takes_effect_at_once(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here, here.running("a"), here.running("b"):
            here.put("a", ".tidenoteignore", "drafts/\n")
            here.put("a", "drafts/d.md", "x\n")
            here.put("a", "note.md", "x\n")
            await eventually((here.folder("b") / "note.md").exists, "the note arrives")
            assert values(here, "note:drafts/d.md") == []
            (here.folder("a") / ".tidenoteignore").unlink()
            await eventually((here.folder("b") / "drafts" / "d.md").exists, "the draft arrives")

    async def test_only_and_except(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            for name in ("p/a.md", "p/b.log", "c.md"):
                here.put("a", name, f"{name}\n")
            await here.once("a", only_globs=("p",), except_globs=("*.log",))
            assert len(values(here, "note:p/a.md")) == 1
            assert values(here, "note:c.md") == values(here, "note:p/b.log") == []


class TestJournal:
    """D19: without memory the union is right: identical is synced, different is a conflict, nothing is deleted."""

    @pytest.mark.parametrize("how", ["lost", "broken"])
    async def test_a_lost_or_broken_journal_deletes_and_resurrects_nothing(self, tmp_path: Path, how: str) -> None:
        async with site(tmp_path) as here:
            for name in ("same.md", "deleted elsewhere.md", "deleted here.md", "edited.md"):
                here.put("a", name, f"{name}\n")
            await here.once("a")
            await here.once("b")
            (here.folder("b") / "deleted elsewhere.md").unlink()
            await here.once("b")
            (here.folder("a") / "deleted here.md").unlink()
            here.put("a", "edited.md", "edited\n")
            journal = here.folder("a") / ".tidenote" / "journal.db"
            if how == "lost":
                for path in journal.parent.glob("journal.db*"):
                    path.unlink()
            else:
                journal.write_bytes(b"this is no database " * 1000)
            report = await here.once("a")
            assert [(held.path, held.why) for held in report.held] == [("deleted elsewhere.md", Why.DELETED_ELSEWHERE)]
            everything = {
                "same.md": b"same.md\n",
                "deleted elsewhere.md": b"deleted elsewhere.md\n",
                "deleted here.md": b"deleted here.md\n",
            }
            on_a = tree(here.folder("a"))
            assert {path: on_a[path] for path in everything} == everything
            await here.once("b")
            assert not (here.folder("b") / "deleted elsewhere.md").exists()
            assert {"edited.md\n", "edited\n"} <= set(values(here, "note:edited.md"))
            # An edit brings it back.
            here.put("a", "deleted elsewhere.md", "wanted after all\n")
            await here.once("a")
            await here.once("b")
            assert (here.folder("b") / "deleted elsewhere.md").read_bytes() == b"wanted after all\n"
            for name in ("a", "b"):
                assert (await here.once(name)).operations == 0
            assert list(journal.parent.glob("journal.db.broken-*")) != [] or how == "lost"

    async def test_an_empty_log_deletes_nothing(self, tmp_path: Path) -> None:
        """D5: the server was set up anew; the folder offers what it has."""
        async with site(tmp_path) as here:
            for number in range(12):
                here.put("a", f"{number}.md", f"{number}\n")
            await here.once("a")
        shutil.rmtree(tmp_path / "data")
        async with running_server(tmp_path / "data") as server:
            here = Site(tmp_path, server)
            await here.once("a")
            assert len(tree(here.folder("a"))) == 12
            await here.once("b")
            assert await here.same("a", "b") == {f"{number}.md": f"{number}\n".encode() for number in range(12)}

    async def test_killed_between_writing_and_remembering_nothing_comes_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """C4, L1, L2: a file that was written but not remembered is neither sent nor taken for a deletion."""
        async with site(tmp_path) as here:
            here.put("a", "a.md", "0\n")
            here.put("a", "gone.md", "0\n")
            await here.once("a")
            await here.once("b")
            here.put("a", "a.md", "1\n")
            here.put("a", "new.md", "1\n")
            (here.folder("a") / "gone.md").unlink()
            await here.once("a")

            class Killed(Exception):
                pass

            def killed(*_: object) -> None:
                raise Killed

            monkeypatch.setattr(Applier, "_keep", killed)
            with pytest.raises(Killed):
                await here.once("b")
            monkeypatch.undo()
            report = await here.once("b")
            assert report.sent == 0
            assert await here.same("a", "b") == {"a.md": b"1\n", "new.md": b"1\n"}
            assert (await here.once("a")).operations == 0


class TestHints:
    async def test_a_rename_of_which_only_one_half_is_hinted_at_is_one(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            note = here.put("a", "old.md", "x\n")
            here.put("a", "other.md", "y\n")
            await here.once("a")
            async with here.daemon("a") as a:
                await a.once()
                note.rename(note.with_name("new.md"))
                a._passes._dirty["new.md"] = 0.0
                a._passes._full = False
                await a._pass()
                assert [row.change.moved_to for row in a.client.journal.pending()] == [None, "note:new.md"]

    async def test_a_copy_and_a_deletion_are_a_rename(self, tmp_path: Path) -> None:
        """As moving to another disk and back does: the inode is new, the content the only one of its kind."""
        async with site(tmp_path) as here, here.running("a"), here.running("b"):
            note = here.put("a", "old.md", "unique\n")
            other = here.folder("b")
            await eventually((other / "old.md").exists, "it arrives")
            inode = (other / "old.md").stat().st_ino
            shutil.copyfile(note, note.with_name(".hidden"))
            note.unlink()
            (here.folder("a") / ".hidden").replace(here.folder("a") / "new.md")
            await eventually((other / "new.md").exists, "the new name arrives")
            await eventually(lambda: not (other / "old.md").exists(), "the old one goes")
            assert (other / "new.md").stat().st_ino == inode

    async def test_very_many_hints_are_one_look_everywhere(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(passes_module, "MAX_DIRTY", 3)
        async with site(tmp_path) as here, here.daemon("a") as a:
            await a.once()
            a._take_hint({"1.md", "2.md", "3.md"})
            assert len(a._passes._dirty) == 3
            assert not a._passes._full
            a._take_hint({"4.md"})
            assert a._passes._dirty == {}
            assert a._passes._full


class TestFullDisk:
    async def test_a_full_disk_under_the_journal_is_waited_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """C12."""
        monkeypatch.setattr(daemon_module, "FULL_RETRY_S", 0.01)
        async with site(tmp_path) as here, here.running("a") as a:
            await eventually(lambda: a.status().state == "synced", "it is at rest")
            real, full = Journal.write, [True]

            def write(self: Journal, *args: object) -> object:
                if full:
                    raise StorageError("the disk is full", "storage_full")
                return real(self, *args)  # type: ignore[arg-type]

            monkeypatch.setattr(Journal, "write", write)
            here.put("a", "a.md", "x\n")
            await eventually(lambda: [held.reason for held in a.status().held] == ["the disk is full"], "it is told")
            full.clear()
            await eventually(lambda: values(here, "note:a.md") == ["x\n"], "it goes on")
            await eventually(lambda: a.status().state == "synced", "all is well")

    async def test_also_when_the_server_confirms_a_new_note(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(daemon_module, "FULL_RETRY_S", 0.01)
        async with site(tmp_path) as here, here.running("a") as a:
            await eventually(lambda: a.status().state == "synced", "it is at rest")
            real = Journal.set_bases
            refused: list[object] = []

            def set_bases(self: Journal, *args: object) -> None:
                if len(refused) < 3:
                    refused.append(args)
                    raise StorageError("the disk is full", "storage_full")
                real(self, *args)  # type: ignore[arg-type]

            monkeypatch.setattr(Journal, "set_bases", set_bases)
            here.put("a", "a.md", "x\n")
            await eventually(lambda: len(refused) == 3, "it is confirmed, and that cannot be remembered")
            await eventually(lambda: a.status().state == "synced", "all is well")
            base = a._journal.bases()["a.md"]
            assert not base.unbased

    async def test_a_failing_one_ends_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async with site(tmp_path) as here, here.daemon("a") as a:

            def write(*_: object) -> object:
                raise StorageError("input/output error")

            monkeypatch.setattr(Journal, "write", write)
            here.put("a", "a.md", "x\n")
            with pytest.raises(StorageError, match="input/output error"):
                await a.once()


async def test_the_state_folder_is_private(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        await here.once("a", config=here.config("a", token="geheim"))
        state = here.folder("a") / ".tidenote"
        assert state.stat().st_mode & 0o077 == 0
        assert (state / "link.json").stat().st_mode & 0o077 == 0
        assert (state / ".gitignore").read_text() == "*\n"


async def test_the_journal_is_the_folders(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with StateFolder(tmp_path / "a") as folder:
        journal = folder.open_journal()
        assert isinstance(journal, Journal)
        assert journal.path == tmp_path / "a" / ".tidenote" / "journal.db"
        journal.close()
