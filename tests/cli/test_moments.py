"""Times as people type them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tidenote.cli.moments import parse_moment

NOW = datetime(2026, 1, 31, 14, 30, 20)  # noqa: DTZ001 (local, as the command line has it)


def local(*parts: int) -> int:
    return round(datetime(*parts).timestamp() * 1000)  # type: ignore[arg-type] # noqa: DTZ001 (local)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("2026-01-30", (2026, 1, 30)),
        ("2026-01-30 09:15", (2026, 1, 30, 9, 15)),
        ("2026-01-30T09:15:07", (2026, 1, 30, 9, 15, 7)),
        ("9:15", (2026, 1, 31, 9, 15)),
        ("14:30:19", (2026, 1, 31, 14, 30, 19)),
        ("today", (2026, 1, 31)),
        ("today 8:00", (2026, 1, 31, 8)),
        ("Yesterday", (2026, 1, 30)),
        ("yesterday 18:00", (2026, 1, 30, 18)),
        ("now", (2026, 1, 31, 14, 30, 20)),
        ("2 hours ago", (2026, 1, 31, 12, 30, 20)),
        ("2h", (2026, 1, 31, 12, 30, 20)),
        ("an hour ago", (2026, 1, 31, 13, 30, 20)),
        ("90 min ago", (2026, 1, 31, 13, 0, 20)),
        ("20s", (2026, 1, 31, 14, 30)),
        ("3d", (2026, 1, 28, 14, 30, 20)),
        ("  1   week  ago ", (2026, 1, 24, 14, 30, 20)),
    ],
)
def test_what_people_type(text: str, parts: tuple[int, ...]) -> None:
    assert parse_moment(text, NOW) == local(*parts)


def test_a_zone_counts() -> None:
    assert parse_moment("2026-01-30T09:15Z", NOW) == round(datetime(2026, 1, 30, 9, 15, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "25:00", "yesterday noon", "2026-02-30", "3 fortnights ago", "999999 weeks ago", "9" * 30, "ago"],
)
def test_what_is_no_time_is_told_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no time; write 2026-01-31, .*'2 hours ago'"):
        parse_moment(text, NOW)


def test_nothing_was_in_the_future() -> None:
    for text in ("2026-02-01", "23:00"):
        with pytest.raises(ValueError, match="is in the future"):
            parse_moment(text, NOW)


@pytest.mark.parametrize("microsecond", [0, 1, 499, 500, 501, 999, 999_999])
def test_now_is_never_in_the_future(microsecond: int) -> None:
    now = datetime(2026, 1, 31, 12, 0, 0, microsecond)  # noqa: DTZ001 (local time)
    assert parse_moment("now", now) == int(now.timestamp() * 1000)
