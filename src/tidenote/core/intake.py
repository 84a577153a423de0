"""What the hub runs inside its transaction: (state, changes) -> versions to append, outcomes, refusals.

Pure and deterministic: a store and a simulation call the same function. What a message may look like was checked
before (wire/messages.py); here stands what only the log can know.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from tidenote.core.clock import too_far_ahead
from tidenote.core.crdt import CrdtEntry
from tidenote.core.diff import TooMuchWork
from tidenote.core.merge import merge_text
from tidenote.core.merged import Merge
from tidenote.core.register import Register
from tidenote.core.resolve import Settlement, resolve
from tidenote.core.sides import OnTie
from tidenote.core.version import SERVER_PREFIX, UNDATED, BlobRef, Change, Dot, Record, Version, is_server, weight_of
from tidenote.errors import RefusedChange

MAX_ROUNDS: Final = 8
"""How often one batch looks at its keys; what could be settled even then waits for the key's next change."""

MAX_ABSENT_DOTS: Final = 5000
"""How many versions that never arrived a key's context may name: each further change of the key has to read them."""

MAX_SIBLINGS_BYTES: Final = 2**22
"""How large a key's siblings may become, together and in a message: they always travel in one."""


class View(Protocol):
    """A consistent view of one vault's log, valid inside the transaction."""

    @property
    def clock(self) -> int:
        """The server's Lamport clock: the last receipt."""
        ...

    def register(self, key: str) -> Register:
        """Return a key's siblings, with a context of its floor and of the covered dots that have not arrived."""
        ...

    def changed_at(self, key: str) -> int:
        """Return the receipt of the last change that altered a key; 0 if that is not known."""
        ...

    def record(self, key: str, dot: Dot) -> Record | None:
        """Return what is known of a key's version with this dot, replaced or not; None if it never arrived."""
        ...

    def version(self, key: str, dot: Dot) -> Version | None:
        """Return the version of a key with this dot; None if it never arrived or its content is no longer kept."""
        ...

    def had_content(self, key: str, content_hash: str, before: int) -> bool:
        """Say whether a version of the key that arrived before a receipt had this content, and is replaced by now."""
        ...

    def check_blob(self, blob: BlobRef) -> object:
        """Check that the bytes of a blob are on the server's disk, as many as it says.

        Raises:
            RefusedChange: `blob_missing`, `bad_value`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Taken:
    """A change that is in the log, now or from before.

    Attributes:
        change: as it was pushed.
        receipt: when it was taken in.
        duplicate: whether it was in the log before. Then it may have been replaced long ago, which its author cannot
            tell from an acknowledgement alone.
        lost: whether what was there had replaced it before it arrived; nor can its author tell that.
        changed_before: the receipt of the change that had altered the key last; 0 if that is not known. Who has not
            seen that one may hold siblings which it replaced.
    """

    change: Change
    receipt: int
    duplicate: bool = False
    lost: bool = False
    changed_before: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """A change that is not in the log, and why; `clock` is the server's, for a re-stamp."""

    change: Change
    code: str
    message: str
    clock: int


@dataclass(slots=True)
class Batch:
    """What one transaction writes, and what it answers.

    Attributes:
        previous_clock: the clock before.
        clock: the clock after; equal to `previous_clock` if nothing was appended.
        versions: to append, in the order of their receipts.
        entries: the new state of each key that got a version, ordered by `changed_at`; contexts hold the floor and
            the covered dots that have not arrived.
        replaced: per key the dots that were siblings or arrived now, and are no siblings any more.
        results: one per submitted change, in order.
        late: keys whose siblings stay for now, because merging them takes more work than this batch may cost.
    """

    previous_clock: int
    clock: int
    versions: list[Version] = field(default_factory=list)
    entries: list[CrdtEntry] = field(default_factory=list)
    replaced: dict[str, set[Dot]] = field(default_factory=dict)
    results: list[Taken | Refused] = field(default_factory=list)
    late: set[str] = field(default_factory=set)


def take_in(
    view: View,
    pushes: Iterable[Sequence[Change]],
    *,
    author: str,
    wall_ms: int,
    on_tie: OnTie = "review",
    settle: Iterable[str] = (),
    merge: Merge = merge_text,
) -> Batch:
    """Join pushed changes into the log's registers and settle what can be settled.

    Args:
        view: the log inside the transaction.
        pushes: the changes of each push; the changes of one push may refer to each other (a rename).
        author: the device id of the server's own versions, `server.<epoch>`.
        wall_ms: the server's wall clock, ms since 1970; only bounds timestamps.
        on_tie: what the vault does with merges of edits that have equal timestamps.
        settle: keys to look at besides: those that were `late` before.
        merge: merges two texts; where it raises `TooMuchWork` the key is late.
    """
    return _Intake(view, author, wall_ms, on_tie, merge).run(pushes, settle)


class _Intake:
    """The state of one `take_in`: the view with this batch's own writes on top."""

    def __init__(self, view: View, author: str, wall_ms: int, on_tie: OnTie, merge: Merge) -> None:
        self.view = view
        self.author = author
        self.wall_ms = wall_ms
        self.on_tie = on_tie
        self.merge = merge
        self.batch = Batch(view.clock, view.clock)
        self.registers: dict[str, Register] = {}
        self.changed_at: dict[str, int] = {}
        self.arrived: dict[tuple[str, Dot], Version] = {}
        self.marks: list[tuple[str, frozenset[Dot]]] = []
        """Where notes were renamed to that a person should look at, and the dots of what says so."""

    def run(self, pushes: Iterable[Sequence[Change]], settle: Iterable[str]) -> Batch:
        for changes in pushes:
            refused_keys: set[str] = set()
            stale = self.is_stale(changes)
            for change in changes:
                try:
                    if stale:
                        raise RefusedChange("others wrote meanwhile: look again", "stale")
                    result: Taken | Refused = self.take(change, refused_keys)
                except RefusedChange as refusal:
                    refused_keys.add(change.key)
                    result = Refused(change, refusal.code, refusal.message, self.batch.clock)
                self.batch.results.append(result)
        for key in settle:
            if len(self.register(key).siblings) > 1:
                self.registers[key] = self.register(key)
        # After all changes have joined: what a rename brings along is then in place.
        self.carry_marks()
        self.settle()
        self.batch.entries = sorted(
            (CrdtEntry(key, self.registers[key], changed_at) for key, changed_at in self.changed_at.items()),
            key=lambda entry: entry.changed_at,
        )
        return self.batch

    def is_stale(self, changes: Iterable[Change]) -> bool:
        """Say whether the server is to write on somebody's behalf over other siblings than they have seen."""
        return any(change.dot == UNDATED and change.base != self.register(change.key).dots for change in changes)

    def take(self, change: Change, refused_keys: set[str]) -> Taken:
        if change.dot == UNDATED:
            change = replace(change, dot=Dot(self.batch.clock + 1, self.author))
            self.check(change, refused_keys)
            self.append(Version(change, change.dot.timestamp))
            return Taken(change, change.dot.timestamp)
        known = self.record(change.key, change.dot)
        if known:
            if known.is_of(change):
                if not self.register(change.key).siblings:
                    self.registers[change.key] = self.register(change.key)
                return Taken(change, known.receipt, duplicate=True)
            raise RefusedChange("this key and dot came before with other content", "dot_reused")
        self.check(change, refused_keys)
        receipt = max(self.batch.clock, change.dot.timestamp) + 1
        changed_before = self.changed_at.get(change.key) or self.view.changed_at(change.key)
        self.append(Version(change, receipt))
        lost = change.dot not in self.register(change.key).dots
        return Taken(change, receipt, lost=lost, changed_before=changed_before)

    def check(self, change: Change, refused_keys: set[str]) -> None:
        if any(dot.timestamp >= change.dot.timestamp for dot in change.base or ()):
            raise RefusedChange("every base dot must be smaller than the change's timestamp", "bad_base")
        if self.has_too_many_absent(change):
            raise RefusedChange(f"the bases of this key name over {MAX_ABSENT_DOTS} unknown versions", "bad_base")
        if too_far_ahead(change.dot.timestamp, self.batch.clock, self.wall_ms):
            raise RefusedChange(f"the timestamp is too far ahead of the clock {self.batch.clock}", "clock_too_far")
        if change.blob:
            self.view.check_blob(change.blob)
        target = change.moved_to
        if target and (target in refused_keys or not self.register(target).siblings):
            raise RefusedChange(f"there is no {target} that this could have moved to", "move_target_missing")
        if not self.has_room(change.key, [change]):
            raise RefusedChange("the concurrent versions of this key are too large together", "value_too_large")

    def has_too_many_absent(self, change: Change) -> bool:
        """Say whether a change names more versions that never arrived than a key's context may hold."""
        absent = self.register(change.key).context.dots
        unknown = (change.base or frozenset()) - absent
        if len(absent) + len(unknown) <= MAX_ABSENT_DOTS:
            return False
        unknown = unknown.difference(self.arrived_of(change.key, unknown))
        return bool(unknown) and len(absent) + len(unknown) > MAX_ABSENT_DOTS

    def has_room(self, key: str, changes: Sequence[Change]) -> bool:
        """Say whether a key's siblings stay small enough for one message, or at least do not grow."""
        before = self.register(key)
        if weight_of([*before.siblings, *changes]) <= MAX_SIBLINGS_BYTES:
            return True
        after = before
        for change in changes:
            after = after.join(Register.of(change))
        grows = weight_of(after.siblings) > max(weight_of(before.siblings), MAX_SIBLINGS_BYTES)
        return not grows or len(after.siblings) == 1

    def append(self, version: Version) -> None:
        """Put a version into the log and join it into its key's register."""
        key = version.change.key
        before = self.register(key)
        version = self.marked(version, before)
        self.batch.versions.append(version)
        self.batch.clock = version.receipt
        self.arrived[key, version.dot] = version

        joined = before.join(Register.of(version.change))
        # Covered dots that are in the log need no room in the context: the log marks them as replaced. Those that the
        # context had before are not in it, or they would not be here: looking again would cost each change all of them.
        arrived = self.arrived_of(key, joined.context.dots - before.context.dots)
        after = Register(joined.siblings, joined.context.without([version.dot, *arrived]))
        replaced = (before.dots | {version.dot}) - after.dots
        if replaced:
            self.batch.replaced.setdefault(key, set()).update(replaced)
        self.registers[key] = after
        # Also where nothing altered: the author of a change that lost on arrival has to learn what it lost to.
        self.changed_at[key] = version.receipt

    def settle(self) -> None:
        """Settle what can be, until nothing more can: what one key gets may settle another."""
        for key in list(self.registers):
            if not self.registers[key].siblings:
                self.bring_tombstone_back(key)
        for _ in range(MAX_ROUNDS):
            before = self.batch.clock
            for key in [key for key in self.registers if key not in self.batch.late]:
                for settlement in self.resolve(key):
                    receipt = self.batch.clock + 1
                    self.append(Version(settlement.change(Dot(receipt, self.author)), receipt))
            if self.batch.clock == before:
                return

    def resolve(self, key: str) -> list[Settlement]:
        """Return what settles a key; nothing, if that has to wait, or a key that it goes to would become too large."""
        try:
            settlements = resolve(key, self, self.on_tie, self.merge)
        except TooMuchWork:
            self.batch.late.add(key)
            return []
        written: dict[str, list[Change]] = {}
        for number, settlement in enumerate(settlements, start=1):
            change = settlement.change(Dot(self.batch.clock + number, self.author))
            written.setdefault(change.key, []).append(change)
        return settlements if all(self.has_room(*target) for target in written.items()) else []

    def marked(self, version: Version, before: Register) -> Version:
        """Return a version with the mark of what it replaces: whoever edits a note need not have looked at its merge.

        Only the server takes a mark away, when a person has; and with a note that is deleted it goes.
        """
        change = version.change
        seen = Register.of(change).context
        marks = frozenset(other.dot for other in before.siblings if other.conflict and seen.covers(other.dot))
        if not marks or change.conflict or is_server(change.dot.device_id):
            return version
        if change.deleted:
            if change.moved_to:
                self.marks.append((change.moved_to, marks))
            return version
        return replace(version, change=replace(change, conflict=True))

    def carry_marks(self) -> None:
        """Mark the notes that were renamed, as they were marked under their old names."""
        for key, marks in self.marks:
            winner = self.register(key).winner
            if winner and not winner.deleted and not winner.conflict:
                receipt = self.batch.clock + 1
                change = replace(
                    winner,
                    dot=Dot(receipt, self.author),
                    base=frozenset([winner.dot]),
                    conflict=True,
                    merged_from=marks,
                )
                self.append(Version(change, receipt))

    def bring_tombstone_back(self, key: str) -> None:
        """Delete a key anew whose tombstone was forgotten, so that a device which comes with an old change hears of it.

        Only there can a register be empty: all that came was known, or is covered by what was known.
        """
        receipt = self.batch.clock + 1
        self.append(Version(Change(key, Dot(receipt, self.author), base=frozenset()), receipt))

    def register(self, key: str) -> Register:
        return self.registers.get(key) or self.view.register(key)

    def record(self, key: str, dot: Dot) -> Record | None:
        arrived = self.arrived.get((key, dot))
        return Record.of(arrived) if arrived else self.view.record(key, dot)

    def version(self, key: str, dot: Dot) -> Version | None:
        return self.arrived.get((key, dot)) or self.view.version(key, dot)

    def arrived_of(self, key: str, dots: frozenset[Dot]) -> list[Dot]:
        return [dot for dot in dots if (key, dot) in self.arrived or self.view.record(key, dot)]

    def had_content(self, key: str, content_hash: str, before: int) -> bool:
        replaced_now = (self.record(key, dot) for dot in self.batch.replaced.get(key, ()))
        return self.view.had_content(key, content_hash, before) or any(
            record is not None and record.receipt < before and record.content_hash == content_hash
            for record in replaced_now
        )


def server_author(epoch: str) -> str:
    """Return the device id of a server's own versions under an epoch."""
    return f"{SERVER_PREFIX}.{epoch}"
