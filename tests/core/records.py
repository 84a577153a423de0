"""Histories of one key in short: changes become records, one receipt after the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from core.changes import names, survivors
from tidenote.core.version import Change, Dot, Record, Version


def history(*changes: Change, every_ms: int = 0, start_ms: int = 0) -> list[Record]:
    """Return the records of changes with receipts 10, 20, ... that came at equal distances."""
    return [
        Record.of(Version(change, 10 * number, start_ms + every_ms * number))
        for number, change in enumerate(changes, start=1)
    ]


def standing(changes: Iterable[Change]) -> frozenset[Dot]:
    """Return the dots of the siblings that changes leave."""
    return frozenset(change.dot for change in survivors(changes))


def called(records: Iterable[Record]) -> str:
    """Return the short names of records, in their order."""
    return names(Change(record.key, record.dot) for record in records)


def without_text(records: Iterable[Record], dots: frozenset[Dot]) -> list[Record]:
    """Return the records after the content of some is gone."""
    return [replace(record, gone=record.gone or record.dot in dots) for record in records]
