"""What a folder holds back until a person decides, and what comes of the decision, wherever it is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

from tidenote.client.journal import Journal
from tidenote.errors import AccessError, FolderError, StorageError
from tidenote.server import upkeep
from tidenote.vault import daemon as daemon_module
from tidenote.vault import holds as holds_module
from tidenote.vault.daemon import FolderDaemon
from tidenote.vault.folder import Decided, decide
from tidenote.vault.passes import EMPTY
from tidenote.vault.plan import Why
from tidenote.wire.messages import HoldDecision, HoldKind
from vault.world import Site, eventually, site, tree

pytestmark = pytest.mark.anyio

NOTES = {f"{number:02}.md": f"note {number}\n".encode() for number in range(30)}
MANY = [f"{number:02}.md" for number in range(15)]
YEARS_MS = 3 * 365 * 24 * 3_600_000

Decide = Callable[[Site, FolderDaemon, HoldKind, HoldDecision], Awaitable[None]]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holds_module, "PAUSE_S", 0.01)


async def at_the_folder(_: Site, daemon: FolderDaemon, kind: HoldKind, decision: HoldDecision) -> None:
    decide(daemon.folder.root, Decided(kind, decision, sorted(daemon.holds()[kind])))


async def at_the_server(here: Site, daemon: FolderDaemon, kind: HoldKind, decision: HoldDecision) -> None:
    """Decide as the web app does, once the server has been told of everything."""
    async with httpx.AsyncClient(base_url=here.server.http_url) as http:

        def told() -> bool:
            found = here.server.service.holdings.of("main", 0)
            return {(hold.device_id, hold.kind, hold.count) for hold in found} == {
                (daemon.client.status().device_id, kind, len(daemon.holds().get(kind, ())))
            }

        await eventually(told, "the server is told")
        body = {"device_id": daemon.client.status().device_id, "kind": kind, "decision": decision}
        assert (await http.post("/api/v1/holds/decide", json=body)).status_code == 200


WAYS = [at_the_folder, at_the_server]
DECISIONS = get_args(HoldDecision)


async def fill(here: Site, **more: bytes) -> None:
    for path, data in {**NOTES, **more}.items():
        here.put("a", path, data)
    await here.once("a")
    await here.once("b")
    assert len(tree(here.folder("b"))) == len(NOTES) + len(more)


def remove_many(here: Site, device: str) -> None:
    for path in MANY:
        (here.folder(device) / path).unlink()


def shown(here: Site) -> set[str]:
    """Return the keys that the server shows."""
    store = here.server.service.store
    entries = store.entries("main", [key for key, _ in store.manifest("main", None, 1000)])
    return {entry.key for entry in entries if entry.winner and not entry.winner.deleted}


async def nothing_is_held(here: Site, daemon: FolderDaemon) -> None:
    await eventually(lambda: daemon.status().state == "synced", "the folder is in sync")
    await eventually(lambda: here.server.service.holdings.of("main", 0) == [], "the server knows")


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("decision", DECISIONS)
async def test_many_deletions_that_go_out(tmp_path: Path, how: Decide, decision: HoldDecision) -> None:
    async with site(tmp_path) as here:
        await fill(here)
        remove_many(here, "a")
        async with here.running("a") as a:
            await eventually(lambda: a.holds() == {"delete_out": frozenset(MANY)}, "they are held")
            await how(here, a, "delete_out", decision)
            await nothing_is_held(here, a)
        expected = NOTES if decision == "refuse" else {path: NOTES[path] for path in NOTES if path not in MANY}
        await here.once("b", confirm_deletes=True)
        assert await here.same("a", "b") == expected
        assert len(shown(here)) == len(expected)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("decision", DECISIONS)
async def test_many_deletions_that_come_in(tmp_path: Path, how: Decide, decision: HoldDecision) -> None:
    async with site(tmp_path) as here:
        await fill(here)
        remove_many(here, "b")
        await here.once("b", confirm_deletes=True)
        async with here.running("a") as a, here.running("b"):
            await eventually(lambda: a.holds() == {"delete_in": frozenset(MANY)}, "they are held")
            await how(here, a, "delete_in", decision)
            await nothing_is_held(here, a)
            expected = NOTES if decision == "refuse" else {path: NOTES[path] for path in NOTES if path not in MANY}
            await eventually(lambda: tree(here.folder("b")) == expected, "the other side agrees")
            assert tree(here.folder("a")) == expected
            assert len(shown(here)) == len(expected)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("decision", DECISIONS)
async def test_a_folder_that_is_empty(tmp_path: Path, how: Decide, decision: HoldDecision) -> None:
    async with site(tmp_path) as here:
        await fill(here)
        for path in NOTES:
            (here.folder("a") / path).unlink()
        async with here.running("a") as a:
            await eventually(lambda: a.status().paused == EMPTY, "it pauses")
            assert len(a.holds()["delete_out"]) == len(NOTES)
            await how(here, a, "delete_out", decision)
            await nothing_is_held(here, a)
            assert tree(here.folder("a")) == (NOTES if decision == "refuse" else {})
            assert len(shown(here)) == len(tree(here.folder("a")))


async def test_attachments_that_went_before_they_were_uploaded_do_not_come_back(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        await fill(here, **{"edited.png": b"first"})
        pictures = [here.put("a", f"{number}.png", f"{number}".encode()) for number in range(15)]
        pictures.append(here.put("a", "edited.png", b"second"))
        async with here.running("a", config=here.config("a", sync_endpoint="ws://127.0.0.1:9/ws/sync")) as a:
            await eventually(lambda: a.client.status().pending == len(pictures), "they are noted")
        for picture in pictures:
            picture.unlink()
        async with here.running("a") as a:
            await eventually(lambda: len(a.holds().get("delete_out", ())) == len(pictures), "they are held")
            await at_the_folder(here, a, "delete_out", "refuse")
            await nothing_is_held(here, a)
            assert await here.same("a", "b") == {**NOTES, "edited.png": b"first"}


@pytest.mark.parametrize("how", WAYS)
async def test_a_decision_waits_until_the_disk_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, how: Decide
) -> None:
    monkeypatch.setattr(daemon_module, "FULL_RETRY_S", 0.01)
    monkeypatch.setattr(daemon_module, "TICK_S", 0.01)
    refused: list[object] = []

    def withdraw(*args: object) -> None:
        refused.append(args)
        raise StorageError("the disk is full", "storage_full")

    async with site(tmp_path) as here:
        await fill(here)
        remove_many(here, "a")
        async with here.running("a") as a:
            await eventually(lambda: a.holds() == {"delete_out": frozenset(MANY)}, "they are held")
            with monkeypatch.context() as patch:
                patch.setattr(Journal, "withdraw", withdraw)
                await how(here, a, "delete_out", "refuse")
                await eventually(lambda: len(refused) >= 3, "it is tried again and again")
                assert a.holds() == {"delete_out": frozenset(MANY)}
                assert "a decision waits: the disk is full" in caplog.text
                here.put("a", "new.md", b"meanwhile\n")
                await eventually(lambda: "note:new.md" in shown(here), "everything else goes on")
            await nothing_is_held(here, a)
            assert tree(here.folder("a")) == {**NOTES, "new.md": b"meanwhile\n"}
            assert a.folder.decisions() == []


async def test_a_decision_ends_with_a_journal_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def withdraw(*_: object) -> None:
        raise StorageError("input/output error")

    async with site(tmp_path) as here:
        await fill(here)
        remove_many(here, "a")
        await here.once("a")
        async with here.daemon("a") as a:
            await a.once()
            monkeypatch.setattr(Journal, "withdraw", withdraw)
            await at_the_folder(here, a, "delete_out", "refuse")
            with pytest.raises(StorageError, match="input/output error"):
                await a.run()
            assert [decided.kind for decided in a.folder.decisions()] == ["delete_out"]


# -- the quarantine


@contextmanager
def years_later(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    now_ms = upkeep._now_ms
    with monkeypatch.context() as patch:
        patch.setattr(upkeep, "_now_ms", lambda: now_ms() + YEARS_MS)
        yield


async def miss_deletions(here: Site, monkeypatch: pytest.MonkeyPatch, *paths: str) -> None:
    """Let others delete notes while a is away, until nobody remembers that they did."""
    for path in paths:
        (here.folder("b") / path).unlink()
    await here.once("b", confirm_deletes=True)
    with years_later(monkeypatch):
        report = await here.server.service.upkeep.gc(here.server.service.hub("main"))
    assert report.tombstones == len(paths)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("decision", DECISIONS)
async def test_notes_whose_deletion_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Decide, decision: HoldDecision
) -> None:
    gone = [*MANY, "picture.png", "large.md"]
    pictures = {"picture.png": b"\x89PNG", "large.md": b"\xff" * 2_000_000}
    async with site(tmp_path) as here:
        await fill(here, **pictures)
        await miss_deletions(here, monkeypatch, *gone)
        here.put("a", "new.md", b"written while away\n")
        here.put("a", "20.md", b"edited while away\n")
        async with here.running("a") as a, here.running("b"):
            await eventually(lambda: a.holds() == {"quarantine": frozenset(gone)}, "they are held")
            assert {held.why for held in a.status().held} == {Why.QUARANTINE.name}
            mine = {**NOTES, **pictures, "new.md": b"written while away\n", "20.md": b"edited while away\n"}
            left = {path: data for path, data in mine.items() if path not in gone}
            await eventually(lambda: tree(here.folder("b")) == left, "everything else goes on")
            assert tree(here.folder("a")) == mine
            await how(here, a, "quarantine", decision)
            await nothing_is_held(here, a)
            expected = mine if decision == "confirm" else left
            await eventually(lambda: tree(here.folder("b")) == expected, "the other side agrees")
            assert tree(here.folder("a")) == expected
            if decision == "refuse":
                async with httpx.AsyncClient(base_url=here.server.http_url) as http:
                    body = {"key": "file:picture.png"}
                    assert (await http.post("/api/v1/trash/restore", json=body)).status_code == 200
                    assert len((await http.get("/api/v1/trash")).json()["notes"]) == len(gone) - 1
                await eventually((here.folder("a") / "picture.png").exists, "it comes back from the trash")
        assert (await here.once("a")).operations == 0


async def test_whoever_touches_a_quarantined_note_has_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with site(tmp_path) as here:
        await fill(here)
        await miss_deletions(here, monkeypatch, "01.md", "02.md", "03.md", "04.md")
        async with here.running("a") as a, here.running("b"):
            await eventually(lambda: len(a.holds().get("quarantine", ())) == 4, "they are held")
            here.put("a", "01.md", b"edited\n")
            (here.folder("a") / "02.md").unlink()
            (here.folder("a") / "03.md").rename(here.folder("a") / "renamed.md")
            here.put("b", "04.md", b"made anew elsewhere\n")
            await nothing_is_held(here, a)
            both = await here.same("a", "b")
            assert both["01.md"] == b"edited\n"
            assert both["renamed.md"] == NOTES["03.md"]
            assert both["04.md"] == b"made anew elsewhere\n"
            assert both.keys().isdisjoint({"02.md", "03.md"})


async def test_a_quarantine_outlives_a_restart_and_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with site(tmp_path) as here:
        await fill(here)
        await miss_deletions(here, monkeypatch, "01.md")
        for _ in range(2):
            report = await here.once("a")
            assert [(held.path, held.why) for held in report.held] == [("01.md", Why.QUARANTINE)]
            assert report.operations == 0
        hub = here.server.service.hub("main")
        await hub.new_generation(hub.epoch, hub.clock + 1)
        report = await here.once("a")
        assert [(held.path, held.why) for held in report.held] == [("01.md", Why.QUARANTINE)]
        assert "note:01.md" not in shown(here)


# -- telling the server


async def test_a_device_that_polls_or_syncs_once_hears_of_a_decision(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        await fill(here)
        remove_many(here, "a")
        report = await here.once("a")
        assert len(report.held) == len(MANY)
        polling = here.config("a", enable_websocket=False, sync_interval_ms=50)
        async with here.running("a", config=polling) as a:
            await eventually(a.holds, "they are held")
            await at_the_server(here, a, "delete_out", "refuse")
            await nothing_is_held(here, a)
            assert tree(here.folder("a")) == NOTES
        remove_many(here, "a")
        async with here.daemon("a") as a:
            await a.once(30)
            await at_the_server(here, a, "delete_out", "confirm")
        assert (await here.once("a")).held == ()
        assert len(shown(here)) == len(NOTES) - len(MANY)


async def test_a_decision_about_less_than_is_held_now_is_for_that_only(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        await fill(here)
        remove_many(here, "a")
        async with here.running("a") as a:
            await eventually(a.holds, "they are held")
            assert a.decide("delete_out", "refuse", [*MANY[:3], "20.md", "unknown.md"]) == 3
            assert a.decide("delete_in", "confirm", MANY) == 0
            await eventually(lambda: len(tree(here.folder("a"))) == len(NOTES) - len(MANY) + 3, "they come back")
            assert a.holds() == {"delete_out": frozenset(MANY[3:])}


@pytest.mark.parametrize("decision", DECISIONS)
async def test_what_was_decided_before_is_done_by_syncing_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decision: HoldDecision
) -> None:
    async with site(tmp_path) as here:
        await fill(here)
        await miss_deletions(here, monkeypatch, *MANY)
        async with here.daemon("a") as a:
            report = await a.once(decided=Decided("quarantine", decision, MANY[1:]))
        assert [(held.path, held.why) for held in report.held] == [(MANY[0], Why.QUARANTINE)]
        expected = {*NOTES} - (set(MANY[1:]) if decision == "refuse" else set())
        assert tree(here.folder("a")).keys() == expected
        assert len(shown(here)) == len(expected - {MANY[0]})


@pytest.mark.parametrize("decision", DECISIONS)
async def test_an_emptied_folder_is_decided_about_by_who_saw_all_of_it(tmp_path: Path, decision: HoldDecision) -> None:
    async with site(tmp_path) as here:
        await fill(here)
        for path in NOTES:
            (here.folder("a") / path).unlink()
        others: list[tuple[HoldKind, list[str]]] = [("delete_out", MANY), ("quarantine", [*NOTES])]
        for kind, seen in others:
            async with here.daemon("a") as a:
                with pytest.raises(FolderError, match="empty"):
                    await a.once(decided=Decided(kind, decision, seen))
            assert tree(here.folder("a")) == {}
            assert len(shown(here)) == len(NOTES)
        async with here.daemon("a") as a:
            assert (await a.once(decided=Decided("delete_out", decision, [*NOTES]))).operations == len(NOTES)
        assert tree(here.folder("a")) == (NOTES if decision == "refuse" else {})
        assert len(shown(here)) == len(tree(here.folder("a")))


async def test_the_server_is_told_again_when_it_may_have_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holds_module, "REPEAT_S", 0.1)
    monkeypatch.setattr(holds_module, "REPEAT_POLLING_S", 0.1)
    async with site(tmp_path) as here:
        await fill(here)
        remove_many(here, "a")
        async with here.running("a") as a:
            await eventually(a.holds, "they are held")
            for _ in range(2):
                await eventually(lambda: here.server.service.holdings.of("main", 0), "the server is told")
                here.server.service.holdings.report("main", "a", [], 0)


async def test_a_server_that_knows_no_holds_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def unknown(*_: Any) -> None:
        asked.append(1)
        raise AccessError("no such path", "not_found")

    async with site(tmp_path) as here:
        await fill(here)
        remove_many(here, "a")
        async with here.running("a") as a:
            monkeypatch.setattr(a.client, "report_holds", unknown)
            await eventually(lambda: a.holds() and asked, "they are held")
            await at_the_folder(here, a, "delete_out", "refuse")
            await eventually(lambda: a.status().state == "synced", "it goes on")
            assert tree(here.folder("a")) == NOTES
