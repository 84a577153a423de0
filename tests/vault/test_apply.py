"""Doing what a plan says: the last look, one bad file among good ones, and what the base becomes."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tidenote.client.client import SyncClient
from tidenote.client.journal import BaseEntry, Journal, Write
from tidenote.config import SyncConfig
from tidenote.core.version import BlobRef, Change, Dot
from tidenote.errors import RefusedChange, UnreachableError
from tidenote.vault import apply as module
from tidenote.vault import plan
from tidenote.vault.apply import Applier, Outcome
from tidenote.vault.bases import Bases
from tidenote.vault.disk import LocalDisk
from tidenote.vault.files import BadName, FileProblem, RealFiles, Stat
from tidenote.vault.plan import (
    Adopt,
    Delete,
    DiskEntry,
    Held,
    MoveLocal,
    Plan,
    Push,
    PushDelete,
    PushMove,
    Remote,
    Why,
    expected_file,
    tombstone,
)
from tidenote.vault.work import ThreadWork
from vault.folding import FoldingFiles

pytestmark = pytest.mark.anyio


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Bench:
    """An applier on a real folder and a real journal; the client has no server."""

    root: Path
    files: RealFiles
    client: SyncClient
    bases: Bases
    applier: Applier
    fetched: list[tuple[str, Outcome]]

    @property
    def journal(self) -> Journal:
        return self.client.journal

    def put(self, name: str, text: str) -> DiskEntry:
        (self.root / name).write_text(text)
        return self.entry(name)

    def entry(self, name: str) -> DiskEntry:
        """Return a file as a scan finds it."""
        digest = self.files.digest(name)
        return DiskEntry(name, name, digest.stat.size, digest.stat.mtime_ns, digest.stat.inode, digest.content_hash)

    def remote(self, key: str, text: str | None = None, blob: BlobRef | None = None) -> Remote:
        """Let the replica show something, and return it."""
        winner = self.journal.winner(key)
        base = frozenset({winner.dot}) if winner else frozenset[Dot]()
        [change] = self.journal.write([Write(key, text, blob, base)])
        return Remote(change.dot, change.content_hash, is_blob=blob is not None)

    async def apply(self, *actions: plan.Action) -> Outcome:
        return await self.applier.apply(Plan(list(actions)))

    def know(self, name: str, text: str) -> BaseEntry:
        """Put a file that is remembered as what another device wrote; return that base."""
        entry = self.put(name, text)
        base = BaseEntry(name, Dot(3, "x"), entry.content_hash, entry.size, entry.mtime_ns, entry.inode, name)
        self.journal.set_bases([base])
        self.bases.put(base)
        return base

    def pending(self) -> list[Change]:
        return [row.change for row in self.journal.pending()]


@asynccontextmanager
async def bench(tmp_path: Path, open_files: Callable[[Path], RealFiles] = RealFiles) -> AsyncIterator[Bench]:
    root = tmp_path / "notes"
    (root / ".tidenote").mkdir(parents=True)
    files = open_files(root)
    config = SyncConfig("laptop", sync_endpoint="ws://127.0.0.1:9/ws/sync")
    fetched: list[tuple[str, Outcome]] = []
    with ThreadPoolExecutor(2) as pool:
        async with SyncClient(config, root / ".tidenote" / "journal.db") as client:
            bases = Bases(fold=files.traits.fold)
            applier = Applier(
                files, root, root / ".tidenote", client, bases, ThreadWork(pool), lambda *what: fetched.append(what)
            )
            yield Bench(root, files, client, bases, applier, fetched)
            await applier.close()
    files.close()


class TestOut:
    async def test_texts_blobs_and_bases(self, tmp_path: Path) -> None:
        async with bench(tmp_path) as here:
            text, other = here.put("a.md", "text\r\n"), here.put("b.bin", "text")
            outcome = await here.apply(Push(text, frozenset(), unbased=True), Push(other, frozenset({Dot(3, "x")})))
            assert (outcome.sent, outcome.deleted_out, outcome.unconfirmed) == (2, 0, {"a.md", "b.bin"})
            first, second = here.pending()
            assert (first.value, first.blob, first.base) == ("text\r\n", None, frozenset())
            assert first.modified_at == text.mtime_ns // 1_000_000
            assert (second.value, second.base) == (None, frozenset({Dot(3, "x")}))
            assert second.blob == BlobRef(sha("text"), 4, "application/octet-stream")
            assert here.journal.source_of(sha("text")) == str(here.root / "b.bin")
            for change, entry, unbased in ((first, text, True), (second, other, False)):
                base = here.journal.bases()[entry.path]
                assert here.bases.get(entry.path) == base
                assert (base.dot, base.content_hash, base.unbased) == (change.dot, entry.content_hash, unbased)

    async def test_a_rename_is_two_changes_of_one_commit(self, tmp_path: Path) -> None:
        async with bench(tmp_path) as here:
            entry = here.put("new.md", "text")
            outcome = await here.apply(PushMove("old.md", "old.md", frozenset({Dot(1, "x")}), entry, frozenset()))
            creation, tombstone = here.pending()
            assert (creation.key, creation.value) == ("note:new.md", "text")
            assert (tombstone.key, tombstone.moved_to, tombstone.deleted) == ("note:old.md", "note:new.md", True)
            assert (outcome.sent, outcome.deleted_out) == (1, 0)
            moved = here.bases.get("new.md")
            assert moved
            assert not moved.unbased
            gone = here.bases.get("old.md")
            assert gone
            assert (gone.dot, gone.content_hash) == (tombstone.dot, None)

    async def test_what_is_not_as_planned_is_looked_at_again(self, tmp_path: Path) -> None:
        async with bench(tmp_path) as here:
            changed, good = here.put("changed.md", "old"), here.put("good.md", "good")
            (here.root / "changed.md").write_text("new")
            here.put("back.md", "is there again")
            outcome = await here.apply(
                Push(changed, frozenset()),
                PushDelete("back.md", "back.md", frozenset({Dot(1, "x")})),
                PushMove("back.md", "back.md", frozenset({Dot(1, "x")}), good, frozenset()),
                Push(good, frozenset()),
            )
            assert [change.key for change in here.pending()] == ["note:good.md"]
            assert outcome.again == {"changed.md", "back.md", "good.md"}
            assert (outcome.sent, outcome.failed) == (1, [])

    async def test_a_change_that_the_journal_refuses_holds_up_no_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with bench(tmp_path) as here:
            real = Journal.write

            def write(self: Journal, writes: list[Write], bases: object = ()) -> list[Change]:
                if any(each.key == "note:b.md" for each in writes):
                    raise RefusedChange("not this one", "bad_value")
                return real(self, writes, bases)  # type: ignore[arg-type]

            monkeypatch.setattr(Journal, "write", write)
            entries = [here.put(name, name) for name in ("a.md", "b.md", "c.md")]
            outcome = await here.apply(*(Push(entry, frozenset()) for entry in entries))
            assert [change.key for change in here.pending()] == ["note:a.md", "note:c.md"]
            assert outcome.failed == [Held("b.md", Why.FAILED, "not this one")]
            assert here.bases.get("b.md") is None

    async def test_many_are_read_and_committed_some_at_a_time(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MAX_BATCH_FILES", 3)
        commits: list[int] = []
        real = Journal.write

        def write(self: Journal, writes: list[Write], bases: object = ()) -> list[Change]:
            commits.append(len(writes))
            return real(self, writes, bases)  # type: ignore[arg-type]

        monkeypatch.setattr(Journal, "write", write)
        async with bench(tmp_path) as here:
            entries = [here.put(f"{number}.md", f"{number}") for number in range(8)]
            await here.apply(*(Push(entry, frozenset()) for entry in entries))
            assert commits == [3, 3, 2]


class TestIn:
    async def test_write_delete_and_move(self, tmp_path: Path) -> None:
        async with bench(tmp_path) as here:
            gone, moved = here.put("gone.md", "gone"), here.put("old.md", "moved")
            deletion, target = Remote(Dot(5, "x"), None), Remote(Dot(6, "x"), moved.content_hash)
            outcome = await here.apply(
                plan.Write("d/new.md", "d/new.md", here.remote("note:d/new.md", "new"), None),
                MoveLocal("old.md", "old.md", deletion, "new name.md", "new name.md", target, moved.content_hash),
                Delete("gone.md", "gone.md", deletion, gone.content_hash),
            )
            assert (outcome.received, outcome.deleted_in, outcome.again) == (3, 1, set())
            assert not (here.root / "gone.md").exists()
            assert (here.root / "d" / "new.md").read_text() == "new"
            base = here.bases.get("new name.md")
            assert base
            assert (base.dot, base.inode) == (target.dot, moved.inode)
            assert here.journal.bases() == {entry.path: entry for entry in here.bases}
            assert {entry.path: entry.content_hash for entry in here.bases} == {
                "d/new.md": sha("new"),
                "gone.md": None,
                "old.md": None,
                "new name.md": sha("moved"),
            }

    async def test_what_is_not_as_planned_is_looked_at_again(self, tmp_path: Path) -> None:
        async with bench(tmp_path) as here:
            known = here.know("a.md", "other")
            here.put("a.md", "mine")
            here.put("b.md", "mine")
            deletion = Remote(Dot(5, "x"), None)
            stale = here.remote("note:stale.md", "old")
            here.remote("note:stale.md", "new")
            outcome = await here.apply(
                plan.Write("a.md", "a.md", here.remote("note:a.md", "theirs"), sha("other")),
                plan.Write("stale.md", "stale.md", stale, None),
                Delete("a.md", "a.md", deletion, sha("other")),
                MoveLocal("a.md", "a.md", deletion, "b.md", "b.md", Remote(Dot(6, "x"), sha("mine")), sha("mine")),
            )
            assert outcome.again == {"a.md", "b.md", "stale.md"}
            assert outcome.received == 0
            assert (here.root / "a.md").read_text() == (here.root / "b.md").read_text() == "mine"
            assert list(here.bases) == [known]
            assert here.journal.bases() == {"a.md": known}

    @pytest.mark.parametrize(("there", "expected"), [("mine", "known"), ("mine", None), (None, "known")])
    async def test_what_was_saved_meanwhile_is_an_edit_of_what_was_there(
        self, tmp_path: Path, there: str | None, expected: str | None
    ) -> None:
        async with bench(tmp_path) as here:
            known = here.know("a.md", "known")
            (here.root / "a.md").unlink()
            if there:
                here.put("a.md", there)
            remote = here.remote("note:a.md", "theirs")
            outcome = await here.apply(plan.Write("a.md", "a.md", remote, expected and sha(expected)))
            assert (outcome.again, outcome.received) == ({"a.md"}, 0)
            assert here.journal.bases() == {"a.md": known}
            assert list(here.bases) == [known]

    @pytest.mark.parametrize("known", ["old", None])
    async def test_what_is_saved_after_a_write_that_failed_is_an_edit_of_what_was_there(
        self, tmp_path: Path, known: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with bench(tmp_path) as here:
            before = {"a.md": here.know("a.md", known)} if known else {}
            monkeypatch.setattr(LocalDisk, "create", full)
            remote = here.remote("note:a.md", "theirs")
            outcome = await here.apply(plan.Write("a.md", "a.md", remote, known and sha(known)))
            assert outcome.failed == [Held("a.md", Why.FAILED, "No space left on device")]
            assert here.journal.bases() == before
            assert {base.path: base for base in here.bases} == before

    async def test_where_a_move_that_failed_was_to_go_nothing_is_expected(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with bench(tmp_path) as here:
            known = here.know("a.md", "text")
            monkeypatch.setattr(LocalDisk, "rename_new", full)
            gone, there = Remote(Dot(5, "x"), None, "b.md"), Remote(Dot(6, "x"), sha("text"))
            outcome = await here.apply(MoveLocal("a.md", "a.md", gone, "b.md", "b.md", there, sha("text")))
            assert outcome.failed == [Held("b.md", Why.FAILED, "No space left on device")]
            assert here.journal.bases() == {"a.md": known}

    @pytest.mark.parametrize(("step", "known"), [("fsync", "old"), ("fsync", None), ("unlink", "old")])
    async def test_what_failed_when_the_file_was_in_place_is_expected_there(
        self, tmp_path: Path, step: str, known: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with bench(tmp_path) as here:
            base = here.know("a.md", known) if known else BaseEntry("a.md", None, None, 0, 0, 0, "a.md")
            fail_when_in_place(monkeypatch, here.root / "a.md", step)
            remote = here.remote("note:a.md", "theirs")
            outcome = await here.apply(plan.Write("a.md", "a.md", remote, known and sha(known)))
            assert outcome.failed == [Held("a.md", Why.FAILED, "Input/output error")]
            assert (here.root / "a.md").read_text() == "theirs"
            assert here.journal.bases() == {"a.md": replace(base, arriving=sha("theirs"))}

    async def test_an_unreadable_disk_does_not_say_that_nothing_came(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with bench(tmp_path) as here:
            known = here.know("a.md", "old")
            monkeypatch.setattr(LocalDisk, "open_file", full)
            outcome = await here.apply(plan.Write("a.md", "a.md", here.remote("note:a.md", "theirs"), sha("old")))
            assert outcome.failed == [Held("a.md", Why.FAILED, "No space left on device")]
            assert here.journal.bases() == {"a.md": replace(known, arriving=sha("theirs"))}

    async def test_a_name_that_the_disk_cannot_hold_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with bench(tmp_path) as here:

            def write(self: RealFiles, path: str, source: object, expected: str | None) -> tuple[str, Stat]:
                raise BadName(path, "this disk cannot hold the name")

            monkeypatch.setattr(RealFiles, "write", write)
            outcome = await here.apply(plan.Write("a|b.md", "a|b.md", here.remote("note:a|b.md", "x"), None))
            assert outcome.failed == [Held("a|b.md", Why.NAME, "this disk cannot hold the name")]


def full(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fail_when_in_place(monkeypatch: pytest.MonkeyPatch, path: Path, step: str) -> None:
    """Let a step of the disk fail as soon as a file holds what is written there."""
    real = getattr(LocalDisk, step)

    def failing(*args: object) -> object:
        if path.exists() and path.read_text() == "theirs":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*args)

    monkeypatch.setattr(LocalDisk, step, failing)


class TestAgreed:
    """The disk and the replica are the same already: only the base is to be remembered."""

    async def test_a_file_that_both_sides_removed_with_its_folder(self, tmp_path: Path) -> None:
        async with bench(tmp_path) as here:
            (here.root / "d").mkdir()
            here.know("d/a.md", "text")
            shutil.rmtree(here.root / "d")
            gone = tombstone("d/a.md", Dot(5, "x"))
            assert await here.apply(Adopt(gone)) == Outcome()
            assert here.journal.bases() == {"d/a.md": gone}

    async def test_what_a_killed_process_may_have_left_is_made_durable(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settled: list[str] = []
        real_settle = RealFiles.settle

        def settle(self: RealFiles, path: str) -> None:
            real_settle(self, path)
            settled.append(path)

        monkeypatch.setattr(RealFiles, "settle", settle)
        async with bench(tmp_path) as here:
            (here.root / "d").mkdir()
            came = {
                name: replace(here.know(f"{name}.md", "new"), dot=Dot(5, "x")) for name in ("over", "fresh", "back")
            }
            here.bases.put(replace(here.know("over.md", "old"), arriving=sha("new")))
            here.bases.put(replace(came["fresh"], dot=None, content_hash=None, arriving=sha("new")))
            here.bases.put(replace(tombstone("back.md", Dot(3, "x")), arriving=sha("new")))
            await here.apply(*map(Adopt, came.values()))
            assert settled == ["over.md", "fresh.md", "back.md"]
            # Gone alone, and with its folder; and what was gone before.
            settled.clear()
            here.know("alone.md", "text")
            (here.root / "d/e").mkdir()
            here.know("d/e/with.md", "text")
            (here.root / "alone.md").unlink()
            shutil.rmtree(here.root / "d")
            gone = [tombstone(name, Dot(5, "x")) for name in ("alone.md", "d/e/with.md", "never.md")]
            assert await here.apply(*map(Adopt, gone)) == Outcome()
            assert settled == ["alone.md", "d"]

    @pytest.mark.parametrize("problem", ["the folder went", "the disk failed"])
    async def test_what_cannot_be_made_durable_is_not_remembered_and_holds_up_no_other(
        self, tmp_path: Path, problem: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with bench(tmp_path) as here:
            (here.root / "d").mkdir()
            known = replace(here.know("d/a.md", "old"), arriving=sha("new"))
            came, other = (replace(here.know(name, "new"), dot=Dot(5, "x")) for name in ("d/a.md", "b.md"))
            here.bases.put(known)

            def settle(_: RealFiles, path: str) -> None:
                raise FileProblem(path, "Input/output error")

            if problem == "the disk failed":
                monkeypatch.setattr(RealFiles, "settle", settle)
                expected = Outcome(failed=[Held("d/a.md", Why.FAILED, "Input/output error")])
            else:
                shutil.rmtree(here.root / "d")
                expected = Outcome(again={"d/a.md"})
            assert await here.apply(Adopt(came), Adopt(other)) == expected
            assert here.bases.get("d/a.md") == known
            assert here.bases.get("b.md") == other


class Killed(BaseException):
    """The process ends here."""


class TestKilled:
    """What was put on the disk, and not yet remembered as a base."""

    @pytest.fixture(autouse=True)
    def killed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def write(self: RealFiles, path: str, source: bytes | Path, expected: str | None) -> tuple[str, Stat]:
            real_write(self, path, source, expected)
            raise Killed

        def move(self: RealFiles, path: str, target: str, expected: str) -> tuple[str, Stat]:
            real_move(self, path, target, expected)
            raise Killed

        real_write, real_move = RealFiles.write, RealFiles.move
        monkeypatch.setattr(RealFiles, "write", write)
        monkeypatch.setattr(RealFiles, "move", move)

    async def test_a_file_that_had_to_get_another_name_is_known_by_its_path(self, tmp_path: Path) -> None:
        async with bench(tmp_path) as here:
            remote = here.remote("note:a.md", "text")
            with pytest.raises(Killed):
                await here.apply(plan.Write("a.md", "a (2).md", remote, None))
            assert (here.root / "a (2).md").read_text() == "text"
            assert here.journal.bases() == {"a.md": expected_file("a.md", "a (2).md", sha("text"))}
            assert here.bases.path_of("a (2).md") == "a.md"

    @pytest.mark.parametrize("above", ["d/", "d/x/"])
    async def test_a_file_in_a_folder_of_another_spelling_is_known_by_its_path(
        self, tmp_path: Path, above: str
    ) -> None:
        async with bench(tmp_path, FoldingFiles) as here:
            (here.root / "D").mkdir()
            path = f"{above}f.md"
            remote = here.remote(f"note:{path}", "text")
            with pytest.raises(Killed):
                await here.apply(plan.Write(path, path, remote, None))
            listed = f"D{path[1:]}"
            assert (here.root / listed).read_text() == "text"
            assert here.journal.bases() == {path: expected_file(path, listed, sha("text"))}

    async def test_a_file_that_is_moved_into_such_a_folder_is_known_by_its_path(self, tmp_path: Path) -> None:
        async with bench(tmp_path, FoldingFiles) as here:
            (here.root / "D").mkdir()
            entry = here.put("a.md", "text")
            target, gone = here.remote("note:d/f.md", "text"), here.remote("note:a.md")
            with pytest.raises(Killed):
                await here.apply(MoveLocal("a.md", "a.md", gone, "d/f.md", "d/f.md", target, entry.content_hash))
            assert (here.root / "D/f.md").read_text() == "text"
            assert here.journal.bases() == {"d/f.md": expected_file("d/f.md", "D/f.md", sha("text"))}

    async def test_what_is_put_where_a_file_was_moved_from_is_new(self, tmp_path: Path) -> None:
        async with bench(tmp_path) as here:
            known, there = here.know("a.md", "text"), here.remote("note:b.md", "text")
            [change] = here.journal.write([Write("note:a.md", base=frozenset({Dot(3, "x")}), moved_to="note:b.md")])
            gone = Remote(change.dot, None, "b.md")
            with pytest.raises(Killed):
                await here.apply(MoveLocal("a.md", "a.md", gone, "b.md", "b.md", there, sha("text")))
            assert here.journal.bases()["a.md"] == known
            new = here.put("a.md", "new")
            found = {entry.path: entry for entry in (new, here.entry("b.md"))}
            made = plan.plan(plan.World(set(found), found, here.bases, {"a.md": gone, "b.md": there}), plan.Settings())
            assert made.actions[0] == Push(new, frozenset({gone.dot}))

    async def test_of_a_file_that_was_replaced_both_are_known(self, tmp_path: Path) -> None:
        async with bench(tmp_path) as here:
            known = here.know("a.md", "old")
            with pytest.raises(Killed):
                await here.apply(plan.Write("a.md", "a.md", here.remote("note:a.md", "new"), sha("old")))
            assert (here.root / "a.md").read_text() == "new"
            assert here.journal.bases() == {"a.md": replace(known, arriving=sha("new"))}
            # The next start finds that it came, and that something newer did.
            with pytest.raises(Killed):
                await here.apply(plan.Write("a.md", "a.md", here.remote("note:a.md", "newer"), sha("new")))
            came = expected_file("a.md", "a.md", sha("new"))
            assert here.journal.bases() == {"a.md": replace(came, arriving=sha("newer"))}

    async def test_what_comes_where_one_was_deleted_is_no_edit_of_that(self, tmp_path: Path) -> None:
        async with bench(tmp_path) as here:
            known = here.know("a.md", "old")
            (here.root / "a.md").unlink()
            with pytest.raises(Killed):
                await here.apply(plan.Write("a.md", "a.md", here.remote("note:a.md", "new"), None))
            assert here.journal.bases() == {"a.md": replace(known, arriving=sha("new"))}

    @pytest.mark.parametrize("open_files", [RealFiles, FoldingFiles])
    async def test_a_new_file_under_its_own_name_is_known_by_its_bytes(
        self, tmp_path: Path, open_files: Callable[[Path], RealFiles]
    ) -> None:
        async with bench(tmp_path, open_files) as here:
            remote = here.remote("note:d/a.md", "text")
            with pytest.raises(Killed):
                await here.apply(plan.Write("d/a.md", "d/a.md", remote, None))
            assert here.journal.bases() == {
                "d/a.md": BaseEntry("d/a.md", None, None, 0, 0, 0, "d/a.md", arriving=sha("text"))
            }


class TestFetching:
    BLOB = BlobRef(sha("bytes"), 5)

    async def test_attachments_come_beside_everything_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with bench(tmp_path) as here:

            async def fetch(_: SyncClient, blob: BlobRef, into: Path) -> None:
                assert blob == self.BLOB
                into.write_text("bytes")  # noqa: ASYNC240

            monkeypatch.setattr(SyncClient, "fetch_blob", fetch)
            outcome = await here.apply(
                plan.Write("a.png", "a.png", here.remote("file:a.png", blob=self.BLOB), None),
                plan.Write("a.md", "a.md", here.remote("note:a.md", "text"), None),
            )
            assert outcome.received == 1
            await asyncio.gather(*here.applier.fetches.values())
            assert here.applier.fetches == {}
            assert [(path, done.received) for path, done in here.fetched] == [("a.png", 1)]
            assert (here.root / "a.png").read_text() == "bytes"
            assert here.journal.bases().keys() == {"a.png", "a.md"}

    async def test_one_that_does_not_come_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async with bench(tmp_path) as here:

            async def fetch(*_: object) -> None:
                raise UnreachableError("no answer")

            monkeypatch.setattr(SyncClient, "fetch_blob", fetch)
            await here.apply(plan.Write("a.png", "a.png", here.remote("file:a.png", blob=self.BLOB), None))
            await asyncio.gather(*here.applier.fetches.values())
            [(path, outcome)] = here.fetched
            assert (path, outcome.failed) == ("a.png", [Held("a.png", Why.FAILED, "no answer")])
            assert list(here.bases) == []

    async def test_one_that_is_out_of_date_when_it_comes_is_not_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with bench(tmp_path) as here:

            async def fetch(_: SyncClient, __: BlobRef, into: Path) -> None:
                here.remote("file:a.png", blob=BlobRef(sha("newer"), 5))
                into.write_text("bytes")  # noqa: ASYNC240

            monkeypatch.setattr(SyncClient, "fetch_blob", fetch)
            await here.apply(plan.Write("a.png", "a.png", here.remote("file:a.png", blob=self.BLOB), None))
            await asyncio.gather(*here.applier.fetches.values())
            assert not (here.root / "a.png").exists()
            assert here.fetched[0][1].again == {"a.png"}
