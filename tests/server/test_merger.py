"""Merging in a process of its own, with the real process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from io import BytesIO

import msgspec
import pytest

from tidenote.core.bounded import Texts
from tidenote.core.merge import merge_text
from tidenote.core.merged import Merged
from tidenote.errors import TidenoteError
from tidenote.server import merger as merger_module
from tidenote.server.merge_worker import work
from tidenote.server.merger import Merger

pytestmark = pytest.mark.anyio

TEXTS: Texts = ("at five\n\nx\n", "at six\n\nx\n", "at seven\n\ny\n")


@pytest.fixture
async def merger() -> AsyncIterator[Merger]:
    async with Merger() as merger:
        yield merger


def process_of(merger: Merger) -> asyncio.subprocess.Process:
    assert merger._process
    return merger._process


async def test_it_merges_as_it_would_be_done_here(merger: Merger) -> None:
    assert await merger.merge(TEXTS) == merge_text(*TEXTS)
    first = process_of(merger)
    others: list[Texts] = [("", "a", "b"), ("", "\u2028é", "\U0001f600"), TEXTS[::-1], ("x\n" * 10**5, "", "y")]
    merged = await asyncio.gather(*(merger.merge(texts) for texts in others))
    assert merged == [merge_text(*texts) for texts in others]
    assert process_of(merger) is first


async def until_busy(merger: Merger) -> None:
    """Wait until a merge is under way."""
    while True:
        if merger._one_at_a_time.locked():
            return
        await asyncio.sleep(0)


async def test_a_process_that_dies_at_work_costs_one_merge(merger: Merger) -> None:
    await merger.merge(TEXTS)
    process = process_of(merger)
    process.send_signal(signal.SIGSTOP)
    lost = asyncio.create_task(merger.merge(TEXTS))
    await until_busy(merger)
    process.kill()
    with pytest.raises(TidenoteError) as failed:
        await lost
    assert failed.value.code == "internal_error"
    assert await merger.merge(TEXTS) == merge_text(*TEXTS)


async def test_a_merge_that_never_ends_is_given_up(merger: Merger, monkeypatch: pytest.MonkeyPatch) -> None:
    await merger.merge(TEXTS)
    process = process_of(merger)
    process.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(merger_module, "PATIENCE_S", 0.01)
    with pytest.raises(TidenoteError):
        await merger.merge(TEXTS)
    assert process.returncode is not None
    monkeypatch.undo()
    assert await merger.merge(TEXTS) == merge_text(*TEXTS)


async def test_an_answer_that_nobody_waits_for_goes_to_nobody_else(merger: Merger) -> None:
    await merger.merge(TEXTS)
    process_of(merger).send_signal(signal.SIGSTOP)
    abandoned = asyncio.create_task(merger.merge(("", "mine\n", "yours\n")))
    await until_busy(merger)
    abandoned.cancel()
    assert await merger.merge(TEXTS) == merge_text(*TEXTS)
    assert abandoned.cancelled()


async def test_without_work_the_process_ends_and_comes_back(merger: Merger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merger_module, "IDLE_S", 0)
    await merger.merge(TEXTS)
    process = process_of(merger)
    async with asyncio.timeout(30):
        assert await process.wait() == 0
    assert await merger.merge(TEXTS) == merge_text(*TEXTS)
    assert process_of(merger) is not process


async def test_it_ends_with_the_server() -> None:
    async with Merger() as merger:
        await merger.merge(TEXTS)
        process = process_of(merger)
    assert process.returncode is not None
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_the_worker_answers_frame_by_frame_and_ends_with_the_requests() -> None:
    request = msgspec.msgpack.encode(TEXTS)
    frame = len(request).to_bytes(4, "big") + request
    answers = BytesIO()
    work(BytesIO(frame + frame), answers)
    data = answers.getvalue()
    size = int.from_bytes(data[:4], "big")
    assert data[: 4 + size] * 2 == data
    assert msgspec.msgpack.decode(data[4 : 4 + size], type=Merged) == merge_text(*TEXTS)
