"""Texts of notes, their authors and times as a terminal shows them. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from rich.console import Console
from rich.text import Text

from tidenote.cli import console
from tidenote.core.diff import Edit, Steps, diff
from tidenote.core.version import is_server
from tidenote.wire.messages import WireSpot

CONTEXT_LINES: Final = 3
"""How many lines are shown around those that differ."""

DIFF_STEPS: Final = 1_000_000
"""What one difference may cost; beyond that it is coarser."""


def terminal() -> Console:
    """Return the screen; what is printed is never taken for markup."""
    return Console(highlight=False, markup=False, emoji=False)


def author(device_id: str) -> str:
    """Return who wrote a version, as people say it."""
    return "the server" if is_server(device_id) else device_id


def moment(time_ms: int | None) -> str:
    """Return a time as people here write it; nothing if it is not known."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M") if time_ms else ""


def listed(names: Iterable[str]) -> str:
    """Return "one", "one and two", "one, two and three"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def places(spots: Sequence[WireSpot]) -> str:
    """Return which lines of a merge to look at."""
    ranges = [f"{spot.start + 1}" if spot.end - spot.start == 1 else f"{spot.start + 1}-{spot.end}" for spot in spots]
    is_one = len(spots) == 1 and "-" not in ranges[0]
    return f"line {ranges[0]}" if is_one else f"lines {listed(ranges)}"


def lines_of(text: str) -> list[str]:
    """Return the lines of a text, without an empty last one."""
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def plain(text: str) -> Text:
    """Return a text that the terminal shows and never obeys: a note may hold escape sequences."""
    return Text(console.harmless(text.expandtabs(4)))


def unified(before: str, after: str) -> Iterator[str]:
    """Yield how one text became another, as `diff -u` shows it but without a head; nothing if they are equal."""
    old, new = lines_of(before), lines_of(after)
    if old == new and before != after:
        yield "(only line ends differ)"
    for group in _groups(diff(old, new, Steps(DIFF_STEPS))):
        start, end = max(0, group[0].old_start - CONTEXT_LINES), min(len(old), group[-1].old_end + CONTEXT_LINES)
        shift, growth = group[0].start - group[0].old_start, group[-1].end - group[-1].old_end
        yield f"@@ -{_range(start, end)} +{_range(start + shift, end + growth)} @@"
        for edit in group:
            yield from (f" {line}" for line in old[start : edit.old_start])
            yield from (f"-{line}" for line in old[edit.old_start : edit.old_end])
            yield from (f"+{line}" for line in new[edit.start : edit.end])
            start = edit.old_end
        yield from (f" {line}" for line in old[start:end])


def _groups(edits: Sequence[Edit]) -> Iterator[list[Edit]]:
    """Yield edits together whose surroundings touch."""
    group: list[Edit] = []
    for edit in edits:
        if group and edit.old_start - group[-1].old_end > 2 * CONTEXT_LINES:
            yield group
            group = []
        group.append(edit)
    if group:
        yield group


def _range(start: int, end: int) -> str:
    """Return a half-open range of lines as `diff -u` writes it: an empty one names the line before it."""
    return f"{start + 1 if end > start else start},{end - start}"
