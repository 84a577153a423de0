"""Long answers end with their readers' credentials."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import pytest

from tidenote.server.downloads import Downloads

pytestmark = pytest.mark.anyio


class Pieces:
    """Pieces without an end, and whether they were closed."""

    closed = False

    async def __call__(self) -> AsyncGenerator[bytes]:
        try:
            while True:
                yield b"piece"
        finally:
            self.closed = True


def called(names: list[str], name: str) -> Callable[[], None]:
    return lambda: names.append(name)


async def test_only_those_end_whose_reader_is_let_in_no_longer() -> None:
    downloads, cut, pieces = Downloads(), list[str](), Pieces()
    answers = [
        downloads.sent(name, pieces(), may_read=lambda: True, cut=called(cut, name)) for name in ("phone", "laptop")
    ]
    for answer in answers:
        assert await anext(answer) == b"piece"
    downloads.expel({"phone", "tablet"})
    assert cut == ["phone"]


async def test_what_is_closed_is_forgotten() -> None:
    downloads, cut, pieces = Downloads(), list[str](), Pieces()
    answer = downloads.sent("phone", pieces(), may_read=lambda: True, cut=called(cut, "phone"))
    assert await anext(answer) == b"piece"
    assert len(downloads) == 1
    await answer.aclose()
    assert pieces.closed
    assert len(downloads) == 0
    downloads.expel({"phone"})
    assert cut == []


async def test_who_was_sent_away_before_the_first_piece_gets_none() -> None:
    downloads, cut = Downloads(), list[str]()
    answer = downloads.sent("phone", Pieces()(), may_read=lambda: False, cut=called(cut, "phone"))
    assert [piece async for piece in answer] == []
    assert cut == ["phone"]
    assert len(downloads) == 0
