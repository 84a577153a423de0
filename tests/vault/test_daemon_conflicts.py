"""Two folders that were apart, and what both did to the same notes: faults D1, D2, D11, D22, D23, L4, L5, L8, T2.

Each test proves that the changes were concurrent: in the server's log neither was made of the other.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

import httpx
import pytest

from tidenote.core.version import Dot, Record
from vault.world import Site, site, tree

pytestmark = pytest.mark.anyio

NOTE = "one\n\ntwo\n"


async def start(here: Site, **notes: str) -> None:
    """Give both folders the same notes."""
    for name, text in notes.items():
        here.put("a", f"{name}.md", text)
    await together(here)


async def together(here: Site, *names: str) -> dict[str, str]:
    """Sync all folders until they are equal, and return what they hold; a further pass has nothing to do."""
    names = names or ("a", "b")
    for _ in range(3):
        for name in names:
            await here.once(name)
    for name in names:
        report = await here.once(name)
        assert report.operations == 0, f"{name} still has something to do"
    trees = [texts(here.folder(name)) for name in names]
    assert all(tree == trees[0] for tree in trees)
    return trees[0]


def texts(folder: Path) -> dict[str, str]:
    return {path: data.decode() for path, data in tree(folder).items()}


def latest(here: Site, device: str, *paths: str) -> list[Record]:
    """Return the last record of a device at each path."""
    found = []
    for path in paths:
        records = here.server.service.store.records("main", f"note:{path}")
        found.append([record for record in records if record.dot.device_id == device][-1])
    return found


def assert_concurrent(here: Site, path: str) -> None:
    """Check in the log that the latest changes of both devices at a path were made without knowing each other."""
    records = {record.dot: record for record in here.server.service.store.records("main", f"note:{path}")}
    ends = [latest(here, device, path)[0].dot for device in ("a", "b")]
    for start, other in (ends, ends[::-1]):
        seen: set[Dot] = set()
        queue = [start]
        while queue:
            base = records[queue.pop()].base
            assert base is not None
            queue += base - seen
            seen |= base
        assert other not in seen, f"{start} was made of {other}"


async def conflicts(here: Site) -> dict[str, str]:
    """Return what a person has to look at: path -> kind."""
    async with httpx.AsyncClient(base_url=here.server.http_url) as http:
        found = (await http.get("/api/v1/conflicts")).json()["conflicts"]
    return {entry["key"].partition(":")[2]: entry["kind"] for entry in found}


def history(here: Site, path: str) -> list[str | None]:
    return [version.change.value for version in here.server.service.store.history("main", f"note:{path}")]


class TestRenames:
    async def test_to_two_names_leave_one_note_with_everything(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            await start(here, n=NOTE)
            for name in ("a", "b"):
                (here.folder(name) / "n.md").rename(here.folder(name) / f"by {name}.md")
            await here.once("a")
            here.put("a", "by a.md", "ONE\n\ntwo\n")
            await here.once("a")
            assert await together(here) == {"by b.md": "ONE\n\ntwo\n"}
            assert_concurrent(here, "n.md")
            assert "ONE\n\ntwo\n" in history(here, "by a.md")
            assert await conflicts(here) == {}

    async def test_to_the_same_name_are_one(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            await start(here, n=NOTE)
            for name in ("a", "b"):
                (here.folder(name) / "n.md").rename(here.folder(name) / "same.md")
            assert await together(here) == {"same.md": NOTE}
            assert await conflicts(here) == {}

    async def test_a_swap_and_an_edit_lose_nothing(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            await start(here, x="x one\n\nx two\n", y="y one\n\ny two\n")
            a = here.folder("a")
            (a / "x.md").rename(a / "z.md")
            (a / "y.md").rename(a / "x.md")
            (a / "z.md").rename(a / "y.md")
            here.put("b", "x.md", "x one\n\nx two\n\nx three by b\n")
            found = await together(here)
            assert_concurrent(here, "x.md")
            shown = "".join(found.values())
            kept = "".join(text or "" for path in ("x.md", "y.md") for text in history(here, path))
            assert "x three by b" in shown or "x.md" in await conflicts(here)
            for words in ("x one", "x two", "y one", "y two", "x three by b"):
                assert words in kept
            for words in ("x one", "y one"):
                assert words in shown

    async def test_a_chain_takes_an_edit_along_and_the_old_names_stay_away(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            await start(here, n=NOTE)
            a = here.folder("a")
            for old, new in (("n.md", "m.md"), ("m.md", "folder/k.md")):
                (a / new).parent.mkdir(exist_ok=True)
                (a / old).rename(a / new)
                await here.once("a")
            here.put("b", "n.md", "one\n\ntwo\n\nthree by b\n")
            assert await together(here) == {"folder/k.md": "one\n\ntwo\n\nthree by b\n"}
            assert_concurrent(here, "n.md")
            assert await conflicts(here) == {}


class TestDeletions:
    async def test_of_a_note_that_the_other_edited_keep_the_edit(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            await start(here, n=NOTE, m=NOTE)
            (here.folder("a") / "n.md").unlink()
            here.put("b", "n.md", "edited by b\n")
            (here.folder("b") / "m.md").unlink()
            here.put("a", "m.md", "edited by a\n")
            assert await together(here) == {"n.md": "edited by b\n", "m.md": "edited by a\n"}
            assert_concurrent(here, "n.md")
            assert await conflicts(here) == {}

    async def test_of_a_folder_keep_the_new_note_in_it(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            here.put("a", "folder/old.md", "old\n")
            await together(here)
            (here.folder("a") / "folder" / "old.md").unlink()
            (here.folder("a") / "folder").rmdir()
            here.put("b", "folder/new.md", "new by b\n")
            assert await together(here) == {"folder/new.md": "new by b\n"}


class TestEdits:
    async def test_of_two_forms_of_one_name_are_one_note_and_a_question(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            name = "Grün.md"
            here.put("a", unicodedata.normalize("NFC", name), "by a\n")
            here.put("b", unicodedata.normalize("NFD", name), "by b\n")
            for device in ("a", "b", "a", "b"):
                await here.once(device)
            assert_concurrent(here, unicodedata.normalize("NFC", name))
            assert await conflicts(here) == {unicodedata.normalize("NFC", name): "siblings"}
            shown = [[*texts(here.folder(device)).values()] for device in ("a", "b")]
            assert shown in ([["by a\n"]] * 2, [["by b\n"]] * 2)

    async def test_after_a_long_absence_with_a_low_clock_are_merged_and_the_next_one_counts(
        self, tmp_path: Path
    ) -> None:
        async with site(tmp_path) as here:
            await start(here, n=NOTE)
            for number in range(20):
                here.put("a", "n.md", f"one {number}\n\ntwo\n")
                await here.once("a")
            here.put("b", "n.md", "one\n\ntwo by b\n")
            assert await together(here) == {"n.md": "one 19\n\ntwo by b\n"}
            assert_concurrent(here, "n.md")
            here.put("b", "n.md", "last word\n")
            assert await together(here) == {"n.md": "last word\n"}
            assert await conflicts(here) == {}

    async def test_of_three_in_one_place_make_no_copies_however_often(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            names = ("a", "b", "c")
            for device in names:
                here.put(device, "n.md", f"0 by {device}\n")
            await together(here, *names)
            for number in (1, 2):
                assert await conflicts(here) == {"n.md": "siblings"}
                for device in names:
                    here.put(device, "n.md", f"{number} by {device}\n")
                found = await together(here, *names)
                assert found.keys() == {"n.md"}
            assert_concurrent(here, "n.md")
            kept = history(here, "n.md")
            assert {f"{number} by {device}\n" for number in (0, 1, 2) for device in names} <= set(kept)

    async def test_that_cannot_be_one_are_never_glued_together(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            for device in ("a", "b"):
                here.put(device, "daily.md", f"# Today\nmet {device}\n")
            found = await together(here)
            assert_concurrent(here, "daily.md")
            assert found["daily.md"] in ("# Today\nmet a\n", "# Today\nmet b\n")
            assert await conflicts(here) == {"daily.md": "siblings"}


class TestFirstSync:
    async def test_of_two_full_folders_asks_about_what_differs_only(self, tmp_path: Path) -> None:
        async with site(tmp_path) as here:
            for device in ("a", "b"):
                here.put(device, "same.md", "the same\n")
                here.put(device, "differs.md", f"by {device}\n")
                here.put(device, f"only {device}.md", "x\n")
            found = await together(here)
            assert found.keys() == {"same.md", "differs.md", "only a.md", "only b.md"}
            assert await conflicts(here) == {"differs.md": "siblings"}
            assert set(history(here, "differs.md")) == {"by a\n", "by b\n"}
