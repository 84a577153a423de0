"""What becomes of concurrent changes, batch after batch: the table of resolve.py as the intake runs it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.changes import KEY, delete, dots, names, write
from core.log import Log
from tidenote.core import intake
from tidenote.core.diff import TooMuchWork
from tidenote.core.merge import merge_text
from tidenote.core.merged import Merge, Merged
from tidenote.core.register import EMPTY, Register
from tidenote.core.resolve import resolve
from tidenote.core.sides import OnTie
from tidenote.core.version import Change, Dot

B, C = "note:b.md", "note:c.md"
BASE = "one\ntwo\nthree\n"
TOP = "zero\none\ntwo\nthree\n"
BOTTOM = "one\ntwo\nthree\nfour\n"
BOTH = "zero\none\ntwo\nthree\nfour\n"

ORIGIN = write("1x", BASE, base="")
RENAME = [write("5a", BASE, key=B, base=""), delete("6a", base="1x", moved_to=B)]


def log_after(*batches: Sequence[Change], on_tie: OnTie = "review") -> Log:
    """Return a log that took batches of one push each."""
    log = Log()
    log.on_tie = on_tie
    for batch in batches:
        log.take_in(batch)
    return log


def shown(log: Log, key: str = KEY) -> str | None:
    """Return the text that everyone shows; the key's siblings are settled."""
    (change,) = log.register(key).siblings
    return change.value


def target(log: Log, key: str = KEY) -> str | None:
    """Return where a key was moved to; its siblings are settled."""
    (change,) = log.register(key).siblings
    assert change.deleted
    return change.moved_to


# -- a batch


def test_a_merge_is_a_version_by_the_server_with_the_next_receipt() -> None:
    log = log_after([ORIGIN], [write("2a", TOP, base="1x", modified_at=7)])
    batch = log.take_in([write("2b", BOTTOM, base="1x", modified_at=5)])
    merged = batch.versions[-1]
    assert merged.change == Change(
        KEY, Dot(batch.clock, log.author), BOTH, base=dots("2a 2b"), modified_at=7, conflict=True
    )
    assert merged.receipt == batch.clock == batch.versions[0].receipt + 1
    assert batch.replaced == {KEY: dots("2a 2b")}


@pytest.mark.parametrize("on_tie", ["review", "ask", "merge"])
def test_the_vaults_setting_decides_ties(on_tie: OnTie) -> None:
    log = log_after([ORIGIN], [write("2a", TOP, base="1x"), write("2b", BOTTOM, base="1x")], on_tie=on_tie)
    if on_tie == "ask":
        assert names(log.register(KEY).siblings) == "2a 2b"
    else:
        (merged,) = log.register(KEY).siblings
        assert (merged.value, merged.conflict) == (BOTH, on_tie == "review")


def test_a_device_that_typed_on_meanwhile_is_merged_from_what_it_sent_before() -> None:
    log = log_after([ORIGIN], [write("2a", TOP, base="1x")], [write("3b", f"{BASE}b", base="1x")])
    log.take_in([write("4b", f"{BASE}bee", base="3b")])
    assert shown(log) == f"{TOP}bee"


def test_a_late_sibling_is_merged_into_what_was_settled() -> None:
    edits = [write(f"{time}{by}", f"{BASE}{by}\n", base="1x") for time, by in ((2, "a"), (4, "b"), (3, "c"))]
    log = log_after([ORIGIN], *([edit] for edit in edits))
    assert shown(log) == f"{BASE}c\na\nb\n"
    assert shown(log_after([ORIGIN], edits)) == f"{BASE}a\nc\nb\n"


def test_a_base_that_arrives_late_settles_what_waited_for_it() -> None:
    log = log_after([write("2a", TOP, base="1x"), write("3b", BOTTOM, base="1x")])
    assert names(log.register(KEY).siblings) == "2a 3b"
    log.take_in([ORIGIN])
    assert shown(log) == BOTH


def test_the_same_merge_again_changes_nothing() -> None:
    log = log_after([ORIGIN], [write("2a", TOP, base="1x"), write("3b", BOTTOM, base="1x")])
    before = list(log.versions)
    log.take_in([write("2a", TOP, base="1x"), write("3b", BOTTOM, base="1x")])
    assert (log.versions, shown(log)) == (before, BOTH)


# -- renames


EDIT = write("7b", BOTTOM, base="1x")


@pytest.mark.parametrize(
    "batches",
    [
        [[ORIGIN, *RENAME, EDIT]],
        [[ORIGIN], [EDIT, *RENAME]],
        [[ORIGIN], RENAME, [EDIT]],
        [[ORIGIN], [EDIT], RENAME],
    ],
)
def test_an_edit_follows_a_rename_whenever_it_comes(batches: list[Sequence[Change]]) -> None:
    log = log_after(*batches)
    assert (shown(log, B), target(log)) == (BOTTOM, B)
    (merged,), (moved,) = log.register(B).siblings, log.register(KEY).siblings
    assert (merged.base, merged.merged_from) == (dots("5a"), dots("7b"))
    assert moved.base == dots("6a 7b")
    # The create first, then the tombstone, as in a rename.
    assert merged.dot < moved.dot


def test_a_device_goes_on_editing_under_the_old_name() -> None:
    log = log_after([ORIGIN], RENAME, [EDIT], [write("8b", f"{BOTTOM}five\n", base="7b")])
    assert (shown(log, B), target(log)) == (f"{BOTTOM}five\n", B)
    log.take_in([write("9c", TOP, base="1x")])
    assert (shown(log, B), target(log)) == (f"{BOTH}five\n", B)


def test_an_edit_meets_edits_at_the_new_name() -> None:
    log = log_after([ORIGIN], RENAME, [write("7a", TOP, key=B, base="5a")], [EDIT])
    (merged,) = log.register(B).siblings
    # Equal timestamps of two devices that both edited.
    assert (merged.value, merged.conflict) == (BOTH, True)


def test_an_edit_that_cannot_follow_makes_a_conflict_at_the_new_name() -> None:
    log = log_after([ORIGIN], RENAME, [write("7b", "mine", base="4z")])
    assert [change.value for change in log.register(B).siblings] == [BASE, "mine"]
    assert target(log) == B
    # Settled by what a person makes of it.
    both = [change.dot for change in log.register(B).siblings]
    log.take_in([Change(B, Dot(20, "a"), "ours", base=frozenset(both))])
    assert shown(log, B) == "ours"


def test_an_edit_that_cannot_follow_may_be_contained_in_the_note() -> None:
    log = log_after([ORIGIN], RENAME, [write("7b", "two\n", base="4z")])
    assert (shown(log, B), target(log)) == (BASE, B)


def test_an_edit_follows_a_chain_and_stops_where_the_note_was_deleted() -> None:
    onwards = [write("7a", BASE, key=C, base=""), delete("8a", key=B, base="5a", moved_to=C)]
    log = log_after([ORIGIN], RENAME, onwards, [EDIT])
    assert (shown(log, C), target(log, B), target(log)) == (BOTTOM, C, C)
    log = log_after([ORIGIN], RENAME, onwards, [delete("9a", key=C, base="7a")], [EDIT])
    assert (shown(log), target(log, C)) == (BOTTOM, None)


def test_a_note_that_came_back_takes_the_edit_where_it_is() -> None:
    back = [write("8a", TOP, base="6a"), delete("9a", key=B, base="5a", moved_to=KEY)]
    log = log_after([ORIGIN], RENAME, back, [EDIT])
    assert (shown(log), target(log, B)) == (BOTH, KEY)


def test_an_edit_follows_while_a_new_note_takes_the_old_name() -> None:
    log = log_after([ORIGIN], [*RENAME, EDIT, write("7c", "new", base="")])
    assert (shown(log, B), shown(log)) == (BOTTOM, "new")


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("edited", [False, True])
def test_two_renames(together: bool, edited: bool) -> None:
    first = [write("2a", TOP if edited else BASE, key=B, base=""), delete("3a", base="1x", moved_to=B)]
    second = [write("2b", BOTTOM if edited else BASE, key=C, base=""), delete("4b", base="1x", moved_to=C)]
    log = log_after([ORIGIN], [*first, *second]) if together else log_after([ORIGIN], first, second)
    assert (shown(log, C), target(log, B), target(log)) == (BOTH if edited else BASE, C, C)


def test_a_late_rename_that_is_smaller_gives_way_with_its_edits() -> None:
    first = [write("7a", TOP, key=B, base=""), delete("8a", base="1x", moved_to=B)]
    late = [write("2b", BOTTOM, key=C, base=""), delete("3b", base="1x", moved_to=C)]
    log = log_after([ORIGIN], first, late)
    assert (shown(log, B), target(log, C), target(log)) == (BOTH, B, B)
    # The device of the smaller one goes on at its target.
    log.take_in([write("9b", f"{BOTTOM}five\n", key=C, base="2b")])
    assert (shown(log, B), target(log, C)) == (f"{BOTH}five\n", B)


def test_two_renames_to_one_name() -> None:
    first, second = ([write(f"2{by}", BASE, key=B, base=""), delete(f"3{by}", base="1x", moved_to=B)] for by in "ab")
    log = log_after([ORIGIN], first, second)
    assert (shown(log, B), target(log)) == (BASE, B)


def test_a_swap_by_two_devices_keeps_both_texts() -> None:
    """Each device swaps the names of two notes by way of a third one."""
    log = log_after([write("1x", "first", base=""), write("1y", "second", key=B, base="")])
    for by in "ab":
        log.take_in(
            [
                write(f"2{by}", "first", key=f"note:{by}.tmp", base=""),
                write(f"3{by}", "second", base="1x"),
                write(f"4{by}", "first", key=B, base="1y"),
                delete(f"5{by}", key=f"note:{by}.tmp", base=f"2{by}", moved_to=B),
            ]
        )
    assert (shown(log), shown(log, B)) == ("second", "first")


def test_work_is_bounded_even_if_keys_kept_settling_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_ROUNDS", 1)
    changes = [ORIGIN, *RENAME, EDIT, write("7c", "new", base="")]
    log = log_after(changes)
    # The second round, in which the new note would have stayed, was not allowed.
    assert names(log.register(KEY).siblings).startswith("7c ")
    assert len(log.register(KEY).siblings) == 2
    monkeypatch.undo()
    log.take_in([write("30d", "other", key=C, base="")])
    assert len(log.register(KEY).siblings) == 2
    log.take_in([delete("31e", base="1x")])
    assert shown(log) == "new"


# -- what takes too much work for a batch


def never(*_: str) -> Merged:
    raise TooMuchWork


def test_what_takes_too_much_work_waits_as_siblings_and_is_settled_by_a_later_batch() -> None:
    log = log_after([ORIGIN], [write("2a", TOP, base="1x")])
    batch = log.take_in([write("2b", BOTTOM, base="1x"), write("3b", "other", key=B, base="")], merge=never)
    assert batch.late == {KEY}
    assert names(log.register(KEY).siblings) == "2a 2b"
    assert log.take_in([write("4c", "more", key=C, base="")]).late == set()
    settled = log.take_in(settle=[KEY])
    assert (settled.late, shown(log)) == (set(), BOTH)
    assert [entry.key for entry in settled.entries] == [KEY]
    # Once it is done there is nothing left to do, and nobody wrote these keys.
    for keys in ([KEY], [B], ["note:none.md"]):
        assert log.take_in(settle=keys).versions == []


def test_a_change_that_comes_in_between_is_settled_with_the_others() -> None:
    log = log_after([ORIGIN], [write("2a", TOP, base="1x")])
    log.take_in([write("2b", BOTTOM, base="1x")], merge=never)
    log.take_in([write("9c", "one\n2\nthree\n", base="1x")], merge=never)
    log.take_in(settle=[KEY])
    assert shown(log) == BOTH.replace("two", "2")


def test_an_edit_that_follows_a_rename_waits_as_a_whole() -> None:
    log = log_after([ORIGIN], RENAME, [write("9b", TOP, key=B, base="5a")])
    assert log.take_in([write("10c", BOTTOM, base="1x")], merge=never).late == {KEY}
    assert (names(log.register(KEY).siblings), shown(log, B)) == ("6a 10c", TOP)
    log.take_in(settle=[KEY])
    assert (target(log), shown(log, B)) == (B, BOTH)


@pytest.mark.parametrize(("characters", "siblings"), [(len(TOP) + len(BOTTOM), 1), (len(TOP) + len(BOTTOM) - 1, 2)])
def test_more_text_than_is_bearable_is_left_to_a_person(
    characters: int, siblings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidenote.core.resolve.MAX_CHARACTERS", characters)
    log = log_after([ORIGIN], [write("2a", TOP, base="1x")], [write("2b", BOTTOM, base="1x")])
    assert len(log.register(KEY).siblings) == siblings


# -- properties


KEYS = (KEY, B, C)


@dataclass
class Device:
    """A device with a copy of everything, as it was when it last looked, and its own writes on top.

    Attributes:
        name: the author.
        clock: its Lamport clock.
        registers: what it holds.
        outbox: what it has not sent; the changes of one push together.
    """

    name: str
    clock: int = 0
    registers: dict[str, Register] = field(default_factory=dict)
    outbox: list[list[Change]] = field(default_factory=list)

    def shown(self, key: str) -> Change | None:
        return self.registers.get(key, EMPTY).winner

    def write(self, *writes: tuple[str, str | None, str | None]) -> None:
        """Write keys in one push: (key, text, moved_to)."""
        push = []
        for key, text, moved_to in writes:
            self.clock += 1
            winner = self.shown(key)
            base = frozenset([winner.dot]) if winner else frozenset[Dot]()
            push.append(Change(key, Dot(self.clock, self.name), text, base=base, moved_to=moved_to))
            self.registers[key] = self.registers.get(key, EMPTY).join(Register.of(push[-1]))
        self.outbox.append(push)

    def look(self, log: Log) -> None:
        """Take what the log holds, with the own writes on top."""
        self.clock = max(self.clock, log.clock)
        self.registers = {key: log.register(key) for key in KEYS}
        for change in (change for push in self.outbox for change in push):
            self.registers[change.key] = self.registers[change.key].join(Register.of(change))


@dataclass
class World:
    """A log, some devices, and which words people wrote and took out again, having seen them."""

    log: Log
    devices: list[Device]
    written: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    merge: Merge = merge_text
    """What a batch may merge; the rest is settled by later ones."""

    def edit(self, device: Device, key: str, draw: st.DataObject) -> None:
        """Let a person change what a device shows."""
        shown = device.shown(key)
        old = (shown and shown.value) or ""
        lines = old.split("\n")
        action = draw.draw(st.sampled_from(["add", "add", "extend", "cut", "delete", "rename"]))
        place = draw.draw(st.integers(0, len(lines) - 1))
        if action == "delete" and old:
            return self._save(device, old, (key, None, None))
        if action == "rename" and old:
            free = [other for other in KEYS if other != key and ((at := device.shown(other)) is None or at.deleted)]
            if free:
                to = draw.draw(st.sampled_from(free))
                return self._save(device, "", (to, old, None), (key, None, to))
        if action == "cut":
            del lines[place]
        elif action == "extend":
            lines[place] = f"{lines[place]} {self.token()}".strip()
        else:
            lines.insert(place, self.token())
        new = "\n".join(lines)
        return self._save(device, old, (key, new, None))

    def token(self) -> str:
        self.written.add(f"w{len(self.written):03}")
        return max(self.written)

    def _save(self, device: Device, old: str, *writes: tuple[str, str | None, str | None]) -> None:
        kept = {word for _, text, _ in writes for word in (text or "").split()}
        self.removed |= set(old.split()) - kept
        device.write(*writes)

    def commit(self, devices: Iterable[Device]) -> None:
        """Take everything in that some devices have not sent yet, as one batch, and check what must always hold."""
        before = dict(self.log.entries)
        count = len(self.log.versions)
        batch = self.log.take_in(*(push for device in devices for push in device.outbox), merge=self.merge)
        while batch.late:
            batch = self.log.take_in(settle=sorted(batch.late))
        for device in devices:
            device.outbox.clear()
        # What the server wrote is based on nothing but siblings that stood then.
        registers = {key: before[key].register if key in before else EMPTY for key in KEYS}
        for version in self.log.versions[count:]:
            change = version.change
            if version.dot.device_id == self.log.author:
                assert change.base is not None
                assert change.base <= registers[change.key].dots
                # What was renamed twice and says the same is only moved.
                assert len(change.base) > 1 or change.merged_from or change.moved_to
                assert all(any(self.log.version(key, dot) for key in KEYS) for dot in change.merged_from)
            registers[change.key] = registers[change.key].join(Register.of(change))
        self.check({version.change.key for version in self.log.versions[count:]})

    def check(self, keys: Iterable[str]) -> None:
        for key in keys:
            siblings = self.log.register(key).siblings
            # Settled for good, or an open question about several contents that stand.
            assert resolve(key, self.log, self.log.on_tie) == []
            if len(siblings) > 1:
                assert len({change.value for change in siblings if not change.deleted}) > 1
        waiting = {word for device in self.devices for push in device.outbox for word in _words(push)}
        standing = _words(change for key in KEYS for change in self.log.register(key).siblings)
        assert self.written - self.removed <= standing | waiting


def _words(changes: Iterable[Change]) -> set[str]:
    return {word for change in changes for word in (change.value or "").split()}


@given(st.data(), st.integers(2, 4), st.sampled_from(["review", "ask", "merge"]))
def test_no_word_is_lost_and_everything_is_settled_or_asked(data: st.DataObject, count: int, on_tie: OnTie) -> None:
    log = Log()
    log.on_tie = on_tie
    merge = data.draw(st.sampled_from(list[Merge]([merge_text, never])))
    world = World(log, [Device(f"d{number}") for number in range(count)], merge=merge)
    for _ in range(data.draw(st.integers(1, 14))):
        device = data.draw(st.sampled_from(world.devices))
        step = data.draw(st.sampled_from(["edit", "edit", "edit", "look", "send", "send all"]))
        if step == "edit":
            world.edit(device, data.draw(st.sampled_from(KEYS)), data)
        elif step == "look":
            device.look(log)
        else:
            world.commit([device] if step == "send" else world.devices)
    world.commit(world.devices)
    # Whoever sends it all again changes nothing.
    versions, entries = list(log.versions), dict(log.entries)
    log.take_in([version.change for version in versions])
    assert (log.versions, log.entries) == (versions, entries)


@st.composite
def histories(draw: st.DrawFn) -> list[list[list[Change]]]:
    """Draw batches of pushes of edits, deletions and renames, based on any older dots."""
    made: list[Change] = []
    batches: list[list[list[Change]]] = [[[]]]
    for number in range(draw(st.integers(1, 12))):
        if draw(st.booleans()):
            batches.append([[]])
        key = draw(st.sampled_from(KEYS))
        known = sorted(change.dot for change in made if change.key == key)
        base = draw(st.frozensets(st.sampled_from(known), max_size=2)) if known else frozenset[Dot]()
        # Small steps, so that equal timestamps happen.
        time = max([0, *(dot.timestamp for dot in base)]) + draw(st.integers(1, 2))
        kind = draw(st.sampled_from(["text", "text", "text", "deletion", "rename"]))
        change = Change(
            key,
            Dot(time, f"d{number}"),
            "\n".join(draw(st.lists(st.sampled_from("abcd"), max_size=4))) if kind == "text" else None,
            base=base,
            moved_to=draw(st.sampled_from([other for other in KEYS if other != key])) if kind == "rename" else None,
            live=draw(st.booleans()),
        )
        made.append(change)
        batches[-1][-1].append(change)
    return batches


@given(histories(), st.sampled_from(["review", "ask", "merge"]))
def test_two_servers_write_the_same_and_then_nothing_more(batches: list[list[list[Change]]], on_tie: OnTie) -> None:
    logs = Log(), Log()
    for log in logs:
        log.on_tie = on_tie
        for pushes in batches:
            batch = log.take_in(*pushes)
            assert not any(resolve(entry.key, log, on_tie) for entry in batch.entries)
    assert logs[0].versions == logs[1].versions
    assert logs[0].entries == logs[1].entries
