"""Times as people type them: `2 hours ago`, `yesterday 18:00`, `2026-01-31`. In the local time zone."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

HELP: Final = "Like 2026-01-31, '2026-01-31 14:30', 14:30, '2 hours ago', 3d, 'yesterday 18:00'; local time."
"""What a flag that takes a time says of it."""

_UNITS: Final = {
    "s": "seconds",
    "sec": "seconds",
    "second": "seconds",
    "m": "minutes",
    "min": "minutes",
    "minute": "minutes",
    "h": "hours",
    "hour": "hours",
    "d": "days",
    "day": "days",
    "w": "weeks",
    "week": "weeks",
}
_AGO: Final = re.compile(r"(\d{1,6}|an?)\s*([a-z]+?)s?(?:\s+ago)?")
_DAY: Final = {"today": 0, "yesterday": 1}
_CLOCK: Final = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?")


def parse_moment(text: str, now: datetime) -> int:
    """Return the time that someone means, in ms since 1970.

    A date is its first moment, a time of day is today's; what is counted in days or weeks keeps the time of day.

    Args:
        text: a date or a date and time as ISO 8601 has them, a time of day, `today` or `yesterday` with or without
            one, or how long ago.
        now: the local time, without a zone.

    Raises:
        ValueError: it is none of these, or in the future; the message is for people.
    """
    wanted = " ".join(text.lower().split())
    try:
        found = _ago(wanted, now) or _of_day(wanted, now) or datetime.fromisoformat(wanted.upper())
        seconds = found.timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"{text!r} is no time; write 2026-01-31, '2026-01-31 14:30', 14:30, '2 hours ago' or 'yesterday 18:00'"
        ) from None
    if seconds > now.timestamp():
        raise ValueError(f"{text!r} is in the future")
    return int(seconds * 1000)


def _ago(text: str, now: datetime) -> datetime | None:
    match = _AGO.fullmatch(text)
    if match is None or (unit := _UNITS.get(match[2])) is None:
        return now if text == "now" else None
    span = timedelta(**{unit: 1 if match[1] in ("a", "an") else int(match[1])})
    if unit in ("days", "weeks"):
        return now - span
    # Hours that pass are not always hours on the clock.
    return datetime.fromtimestamp(now.timestamp() - span.total_seconds())  # noqa: DTZ006 (local, like `now`)


def _of_day(text: str, now: datetime) -> datetime | None:
    """Return the moment of a day that has a name, or of today."""
    word, _, rest = text.partition(" ")
    if word not in _DAY:
        word, rest = "today", text
        if not _CLOCK.fullmatch(text):
            return None
    match = _CLOCK.fullmatch(rest or "0:00")
    if match is None:
        raise ValueError
    hour, minute, second = (int(number or 0) for number in match.groups())
    return (now - timedelta(days=_DAY[word])).replace(hour=hour, minute=minute, second=second, microsecond=0)
