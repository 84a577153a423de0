"""The journal against a model in plain Python, and against a server: whatever happens in whatever order, with restarts.

The first machine compares every part of the state with the model after every step, through a second handle on the
file. The second plays a whole vault with a real (in-memory) store, lost answers and another device, and asks in the
end that both hold the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from client.journals import entry, open_journal, received, refusal
from tidenote.client.journal import REPLACED_WITHIN_MS, BaseEntry, Journal, Write
from tidenote.core.intake import Taken
from tidenote.core.register import Register, join_all
from tidenote.core.version import Change, Dot
from tidenote.errors import CODES, Action
from tidenote.server.store.memory import MemoryStore
from tidenote.wire.messages import Rejected

KEYS = ["note:a.md", "note:b.md"]
keys = st.sampled_from(KEYS)
texts = st.sampled_from(["", "one", "two\n", "drei ü"])
CODES_OF_CHANGES = ["bad_value", "storage_full", "clock_too_far", "dot_reused", "dot_reused", "not_a_code"]


def fast_journal(path: Path, wall_ms: Callable[[], int] = lambda: 0) -> Journal:
    """Return a journal that does not wait for the disk: nothing here cuts the power."""
    journal = open_journal(path, wall_ms=wall_ms)
    journal._tables._db.execute("PRAGMA synchronous = OFF")
    return journal


@dataclass
class Row:
    """A row of the model's outbox."""

    change: Change
    fresh: bool = True
    since: int | None = 0
    parked: bool = False


@dataclass
class Model:
    """What a journal is to be, said as plainly as possible."""

    device_id: str = "me"
    clock: int = 0
    cursor: int = 0
    now_ms: int = 0
    confirmed: dict[str, tuple[Change, ...]] = field(default_factory=dict)
    outbox: list[Row] = field(default_factory=list)
    bases: dict[str, BaseEntry] = field(default_factory=dict)

    def register(self, key: str) -> Register:
        return join_all([*self.confirmed.get(key, ()), *(row.change for row in self.outbox if row.change.key == key)])

    def winner(self, key: str) -> Change | None:
        return self.register(key).winner

    def write(self, write: Write) -> None:
        self.clock = max([self.clock, *(dot.timestamp for dot in write.base or ())]) + 1
        dot = Dot(self.clock, self.device_id)
        new = Row(Change(write.key, dot, write.value, base=write.base, moved_to=write.moved_to))
        same_key = [row for row in self.outbox if row.change.key == write.key]
        old = same_key[-1] if same_key else None
        renames = write.moved_to or (old and old.change.moved_to)
        seen = old and old.change.dot in (write.base or ())
        if old and seen and write.value is None and write.moved_to is None:
            new.change = replace(new.change, base=(write.base or frozenset()) | (old.change.base or frozenset()))
        recent = old and old.since is not None and self.now_ms - old.since < REPLACED_WITHIN_MS
        new.since = self.now_ms
        if old and seen and (old.parked or (old.fresh and recent and write.value is not None and not renames)):
            new.change = self.on_top(new.change, old.change)
            new.since = self.now_ms if write.moved_to else old.since
            if write.moved_to is None:
                self.outbox[self.outbox.index(old)] = new
            else:
                self.outbox.remove(old)
                self.outbox.append(new)
        else:
            self.outbox.append(new)

    @staticmethod
    def on_top(change: Change, old: Change) -> Change:
        if change.base is None or old.base is None:
            return replace(change, base=None)
        return replace(change, base=(change.base - {old.dot}) | old.base)

    def accept(self, change: Change) -> None:
        self.confirmed[change.key] = join_all([*self.confirmed.get(change.key, ()), change]).siblings
        self.outbox = [row for row in self.outbox if row.change != change]
        self.observe(change.dot.timestamp)

    def deliver(self, key: str, siblings: tuple[Change, ...], cursor: int) -> None:
        self.confirmed[key] = siblings
        self.cursor = max(self.cursor, cursor)
        self.observe(cursor, *(change.dot.timestamp for change in siblings))

    def observe(self, *stamps: int) -> None:
        self.clock = max(self.clock, *stamps)

    def park(self, row: Row) -> None:
        later = self.outbox[self.outbox.index(row) + 1 :]
        for successor in later:
            if successor.change.key == row.change.key and row.change.dot in (successor.change.base or ()):
                successor.change = self.on_top(successor.change, row.change)
                self.outbox.remove(row)
                if successor.change.moved_to is None:
                    self.outbox.remove(successor)
                    place = len(self.outbox) - len(later) + 1
                    self.outbox.insert(place, successor)
                    successor.fresh = True
                    successor.since = row.since
                return
        row.parked = True

    def restamp(self, rows: list[Row], told: int) -> None:
        self.clock = max(told, self.cursor)
        limit = self.clock
        self.new_dots([row for row in self.outbox if row in rows or row.change.dot.timestamp > limit])

    def reincarnate(self, rows: list[Row]) -> None:
        if any(row.change.dot.device_id == self.device_id for row in rows):
            number = int(self.device_id.partition("~")[2] or 1) + 1
            self.device_id = f"me~{number}"
        self.new_dots([row for row in self.outbox if row in rows or row.fresh])

    def new_dots(self, rows: list[Row]) -> None:
        changed: dict[Dot, Dot] = {}
        for row in self.outbox:
            base = row.change.base
            if row in rows or (base or frozenset()) & changed.keys():
                self.clock += 1
                dot = Dot(self.clock, self.device_id)
                changed[row.change.dot] = dot
                if base is not None:
                    base = frozenset(new for seen in base if (new := changed.get(seen, seen)).timestamp < dot.timestamp)
                for path, found in self.bases.items():
                    if found.dot == row.change.dot and row.change.key == f"note:{path}":
                        self.bases[path] = replace(found, dot=dot)
                row.change = replace(row.change, dot=dot, base=base)


class JournalMachine(RuleBasedStateMachine):
    """Drives a journal and the model alike."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.model = Model()
        self.journal = fast_journal(Path(self.folder.name) / "journal.db", lambda: self.model.now_ms)
        self.second = fast_journal(self.journal.path)
        self.in_flight: list[Row] = []
        self.server_clock = 0

    def teardown(self) -> None:
        self.journal.close()
        self.second.close()
        self.folder.cleanup()

    def seen(self, key: str) -> frozenset[Dot]:
        winner = self.model.winner(key)
        return frozenset([winner.dot]) if winner else frozenset()

    @rule(key=keys, value=st.none() | texts, blind=st.booleans(), unseen=st.booleans())
    def write(self, key: str, value: str | None, blind: bool, unseen: bool) -> None:
        base = None if blind else frozenset() if unseen else self.seen(key)
        write = Write(key, value, base=base)
        path = key.removeprefix("note:")
        [change] = self.journal.write([write], [entry(path)])
        self.model.write(write)
        self.model.bases[path] = entry(path, change.dot)

    @rule(old=keys, new=keys, value=texts)
    def rename(self, old: str, new: str, value: str) -> None:
        if old == new:
            return
        writes = [Write(new, value, base=self.seen(new)), Write(old, base=self.seen(old), moved_to=new)]
        self.journal.write(writes, (), [old.removeprefix("note:")])
        self.model.bases.pop(old.removeprefix("note:"), None)
        for write in writes:
            self.model.write(write)

    @rule(ahead=st.integers(2**21, 2**40))
    def poison_the_clock(self, ahead: int) -> None:
        write = Write("note:far.md", "far", base=frozenset([Dot(self.model.clock + ahead, "x")]))
        self.journal.write([write])
        self.model.write(write)

    @precondition(lambda self: not self.in_flight)
    @rule(count=st.integers(1, 4))
    def send(self, count: int) -> None:
        rows = self.journal.ready()[:count]
        self.journal.handed(rows)
        by_dot = {(row.change.key, row.change.dot): row for row in self.model.outbox}
        self.in_flight = [by_dot[row.change.key, row.change.dot] for row in rows]
        for row in self.in_flight:
            row.fresh = False

    @precondition(lambda self: self.in_flight)
    @rule(codes=st.lists(st.none() | st.sampled_from(CODES_OF_CHANGES), min_size=4, max_size=4))
    def answer(self, codes: list[str | None]) -> None:
        flight, self.in_flight = self.in_flight, []
        codes = [
            None if code == "clock_too_far" and row.change.dot.timestamp < self.server_clock + 2**20 else code
            for code, row in zip(codes, flight, strict=False)
        ]
        accepted = [row.change for row, code in zip(flight, codes, strict=True) if code is None]
        told = self.server_clock = max([self.server_clock, self.model.cursor, *(c.dot.timestamp for c in accepted)]) + 1
        refused = [(row, code) for row, code in zip(flight, codes, strict=True) if code is not None]
        self.journal.apply(
            received(
                accepted=accepted,
                rejected=[refusal(row.change, code, told) for row, code in refused],
                cursor=self.server_clock,
            )
        )
        for change in accepted:
            self.model.accept(change)
        self.model.cursor = self.server_clock
        self.model.observe(self.server_clock)
        actions: dict[Action, list[Row]] = {}
        for row, code in refused:
            row.fresh = True
            actions.setdefault(CODES[code].action if code in CODES else Action.RETRY, []).append(row)
        for row in actions.get(Action.PARK, []):
            self.model.park(row)
        if Action.RESTAMP in actions:
            self.model.restamp(actions[Action.RESTAMP], told)
        if Action.REINCARNATE in actions:
            self.model.reincarnate(actions[Action.REINCARNATE])

    @rule(
        key=keys, value=st.none() | texts, sees=st.sampled_from(["all", "nothing", "one"]), author=st.sampled_from("xy")
    )
    def others_write(self, key: str, value: str | None, sees: str, author: str) -> None:
        confirmed = self.model.confirmed.get(key, ())
        base = {"all": confirmed, "nothing": (), "one": confirmed[:1]}[sees]
        self.server_clock = max(self.server_clock, self.model.cursor) + 2
        change = Change(key, Dot(self.server_clock - 1, author), value, base=frozenset(other.dot for other in base))
        siblings = join_all([*confirmed, change]).siblings
        altered = self.journal.apply(received(*siblings, cursor=self.server_clock))
        before = self.model.register(key).siblings
        self.model.deliver(key, siblings, self.server_clock)
        assert altered == ({key} if self.model.register(key).siblings != before else set())

    @rule()
    def restart(self) -> None:
        for journal in (self.journal, self.second):
            journal.close()
        self.journal = fast_journal(self.journal.path, lambda: self.model.now_ms)
        self.second = fast_journal(self.journal.path)
        self.in_flight = []
        for row in self.model.outbox:
            row.fresh, row.since = False, None

    @rule()
    def time_passes(self) -> None:
        self.model.now_ms += REPLACED_WITHIN_MS // 2

    @rule()
    def retry_parked(self) -> None:
        self.journal.retry_parked()
        for row in self.model.outbox:
            row.parked = False

    @invariant()
    def the_file_is_what_the_model_says(self) -> None:
        for journal in (self.journal, self.second):
            self.compare(journal)

    def compare(self, journal: Journal) -> None:
        model = self.model
        assert [row.change for row in journal.pending()] == [row.change for row in model.outbox if not row.parked]
        assert [row.change for row in journal.parked()] == [row.change for row in model.outbox if row.parked]
        assert journal.bases() == model.bases
        meta = journal.meta
        assert (meta.device_id, meta.clock, meta.cursor) == (model.device_id, model.clock, model.cursor)
        for key in KEYS:
            assert journal.confirmed(key) == model.confirmed.get(key, ())
            assert journal.register(key) == model.register(key)
            assert journal.winner(key) == model.winner(key)
        assert journal.keys() == sorted(
            key for key in [*KEYS, "note:far.md"] if (winner := model.winner(key)) and not winner.deleted
        )

    @invariant()
    def no_own_dot_names_two_changes(self) -> None:
        dots = [row.change.dot for row in self.model.outbox]
        assert len(set(dots)) == len(dots)
        assert all(
            seen.timestamp < row.change.dot.timestamp for row in self.model.outbox for seen in row.change.base or ()
        )


class VaultMachine(RuleBasedStateMachine):
    """A journal, a server and another device; answers get lost, the process restarts, the folder is restored."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.journal = fast_journal(Path(self.folder.name) / "journal.db")
        self.store = MemoryStore()
        self.store.create_vault("main")
        self.written: set[str] = set()
        self.count = 0

    def teardown(self) -> None:
        try:
            self.settle()
        finally:
            self.journal.close()
            self.folder.cleanup()

    def text(self) -> str:
        self.count += 1
        return f"word{self.count}"

    @rule(key=keys, deletes=st.booleans())
    def write(self, key: str, deletes: bool) -> None:
        winner = self.journal.winner(key)
        base = frozenset([winner.dot]) if winner else frozenset()
        # As an editor does: what was there stays, a word is added.
        shown = winner.value if winner else ""
        value = None if deletes else f"{shown or ''} {self.text()}"
        if winner or value:
            self.journal.write([Write(key, value, base=base)])

    @rule(key=keys, deletes=st.lists(st.booleans(), min_size=1, max_size=3))
    def other_device_writes(self, key: str, deletes: list[bool]) -> None:
        for delete in deletes:
            found = self.store.entries("main", [key])
            winner = found[0].winner if found else None
            value = None if delete else f"{(winner.value if winner else '') or ''} {self.text()}"
            stamp = self.store.vault("main").clock + 1
            base = frozenset([winner.dot]) if winner else frozenset()
            self.take_in([Change(key, Dot(stamp, "other"), value, base=base)])

    def take_in(self, changes: list[Change]) -> list[tuple[Change, Rejected | None]]:
        batch = self.store.take_in("main", [changes], wall_ms=0, check_blob=lambda _: True)
        return [
            (
                change,
                None
                if isinstance(result, Taken)
                else Rejected(change.key, *change.dot, result.code, result.message, result.clock),
            )
            for change, result in zip(changes, batch.results, strict=True)
        ]

    @rule(count=st.integers(0, 4), fate=st.sampled_from(["answered", "answered", "lost on the way", "answer lost"]))
    def exchange(self, count: int, fate: str) -> None:
        rows = self.journal.ready()[:count]
        self.journal.handed(rows)
        if fate == "lost on the way":
            return
        results = self.take_in([row.change for row in rows])
        if fate == "answered":
            self.journal.apply(
                received(
                    accepted=[change for change, rejected in results if rejected is None],
                    rejected=[(change, rejected) for change, rejected in results if rejected is not None],
                    cursor=0,
                )
            )
            self.pull(10)

    @rule(key=keys, deletes=st.lists(st.booleans(), min_size=1, max_size=3))
    def others_go_on_while_answers_are_lost(self, key: str, deletes: list[bool]) -> None:
        self.exchange(4, "answer lost")
        self.other_device_writes(key, deletes)
        self.pull(3)

    @rule(count=st.integers(1, 3))
    def pull(self, count: int) -> None:
        page = self.store.changes_since("main", self.journal.meta.cursor, max_changes=count)
        changes = [change for found in page.entries for change in found.register.siblings]
        self.journal.apply(received(*changes, cursor=page.up_to))

    @rule()
    def restart(self) -> None:
        path = self.journal.path
        self.journal.close()
        self.journal = fast_journal(path)

    @rule()
    def restore_an_older_journal(self) -> None:
        """Somebody copies the folder back from a backup: the same dots may come again with other content."""
        path = self.journal.path
        backup = path.with_name("backup.db")
        if backup.exists():
            self.journal.close()
            for side in (path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
                side.unlink(missing_ok=True)
            path.write_bytes(backup.read_bytes())
            backup.unlink()
        else:
            self.journal._tables._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self.journal.close()
            backup.write_bytes(path.read_bytes())
        self.journal = fast_journal(path)

    def settle(self) -> None:
        for _ in range(60):
            self.exchange(4, "answered")
            doubts = self.journal.doubts()
            self.journal.reconcile({found.key: found.register.siblings for found in self.store.entries("main", doubts)})
            page = self.store.changes_since("main", self.journal.meta.cursor)
            if not self.journal.pending() and not page.entries and not self.journal.doubts():
                break
        assert (self.journal.pending(), self.journal.parked(), self.journal.doubts()) == ([], [], [])
        for key in KEYS:
            found = self.store.entries("main", [key])
            theirs = found[0].register.siblings if found else ()
            assert self.journal.confirmed(key) == theirs

    @invariant()
    def what_is_shown_is_the_join_of_both(self) -> None:
        for key in KEYS:
            own = [row.change for row in self.journal.pending() if row.change.key == key]
            assert self.journal.register(key) == join_all([*self.journal.confirmed(key), *own])


TestJournalAgainstTheModel = JournalMachine.TestCase
TestJournalAgainstTheModel.settings = settings(max_examples=settings().max_examples // 4, stateful_step_count=30)
TestJournalInAVault = VaultMachine.TestCase
TestJournalInAVault.settings = settings(max_examples=settings().max_examples // 4, stateful_step_count=30)
