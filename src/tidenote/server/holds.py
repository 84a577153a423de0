"""What devices hold back until a person decides, and what was decided.

Kept in memory only: every connected device reports anew after a restart, and of one that is away nothing is true but
that it will report when it comes. Who may decide is holds_api.py's matter.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tidenote.core.keys import owner_of
from tidenote.errors import AccessError
from tidenote.wire.messages import DecidedHold, DeviceHold, HoldDecision, HoldKind, WireHold

HOLDS: Final = "holds"
"""The topic of notices that something else is held, or was decided."""

KEPT_MS: Final = 7 * 24 * 3_600_000
"""How long a report counts; a connected device repeats it far more often."""

MAX_REPORTS: Final = 1000
"""The most devices of which a report is kept; the oldest goes first."""


@dataclass(slots=True)
class _Report:
    """What one device said last."""

    at_ms: int
    holds: dict[HoldKind, WireHold]
    decisions: dict[HoldKind, HoldDecision] = field(default_factory=dict)


class Holdings:
    """The holds of all devices of a server."""

    def __init__(self) -> None:
        self._reports: OrderedDict[tuple[str, str], _Report] = OrderedDict()
        """Vault and device -> its report, the oldest first."""

    def count(self, now_ms: int) -> int:
        """Return how many devices hold something; one that does so in two vaults counts twice."""
        self._expire(now_ms)
        return len(self._reports)

    def report(self, vault: str, device_id: str, holds: Sequence[WireHold], now_ms: int) -> list[DecidedHold]:
        """Take in what a device holds back now; return what was decided about exactly that.

        A decision about something else than is held now is void: nobody has looked at it. One is told until the device
        reports that it no longer holds what was decided.
        """
        name = (vault, device_id)
        last = self._reports.pop(name, None)
        now = {hold.kind: hold for hold in holds}
        if not now:
            return []
        kept = {
            kind: decision
            for kind, decision in (last.decisions if last else {}).items()
            if last and kind in now and _same(last.holds[kind], now[kind])
        }
        self._reports[name] = _Report(now_ms, now, kept)
        if len(self._reports) > MAX_REPORTS:
            self._reports.popitem(last=False)
        return [DecidedHold(kind, decision) for kind, decision in kept.items()]

    def of(self, vault: str, now_ms: int) -> list[DeviceHold]:
        """Return what the devices of a vault hold back, by device and kind."""
        self._expire(now_ms)
        return [
            DeviceHold(device_id, hold.kind, hold.keys, hold.count, hold.since, report.decisions.get(kind))
            for (of_vault, device_id), report in sorted(self._reports.items())
            if of_vault == vault
            for kind, hold in sorted(report.holds.items())
        ]

    def decide(self, vault: str, device_id: str, kind: HoldKind, decision: HoldDecision) -> None:
        """Note what a person decided about a hold as it was last reported.

        Raises:
            AccessError: `not_found`, if the device holds nothing of the kind.
        """
        report = self._reports.get((vault, device_id))
        if report is None or kind not in report.holds:
            raise AccessError(f"{device_id} holds nothing of this kind", "not_found")
        report.decisions[kind] = decision

    def forget(self, owner: str) -> set[str]:
        """Forget what a device and its incarnations hold: they hear of no decision. Return the vaults concerned."""
        gone = [name for name in self._reports if owner_of(name[1]) == owner]
        for name in gone:
            del self._reports[name]
        return {vault for vault, _ in gone}

    def _expire(self, now_ms: int) -> None:
        for name, report in list(self._reports.items()):
            if report.at_ms < now_ms - KEPT_MS:
                del self._reports[name]


def _same(first: WireHold, second: WireHold) -> bool:
    return (first.keys, first.count) == (second.keys, second.count)
