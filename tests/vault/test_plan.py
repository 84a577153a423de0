"""The planner's table, row by row, and its guards."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import ClassVar

import pytest

from tidenote.client.journal import BaseEntry
from tidenote.core.version import Dot
from tidenote.vault.bases import Bases, DiskTraits
from tidenote.vault.plan import (
    Action,
    Adopt,
    Delete,
    DiskEntry,
    Forget,
    Held,
    MoveLocal,
    Plan,
    Push,
    PushDelete,
    PushMove,
    Remote,
    Settings,
    Why,
    World,
    Write,
    expected_file,
    plan,
    tombstone,
)

OLD, NEW, NEWER = Dot(1, "phone"), Dot(7, "phone"), Dot(9, "laptop")
SERVER = Dot(8, "server.1-ab")
FOLDING = DiskTraits(case_sensitive=False, form_sensitive=False)


def sha(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def disk(path: str, content: str, *, name: str | None = None, inode: int = 0) -> DiskEntry:
    return DiskEntry(path, name or path, len(content), 5, inode or abs(int(sha(path)[:8], 16)), sha(content))


def base(path: str, content: str | None, dot: Dot | None = OLD, *, name: str | None = None, **more: bool) -> BaseEntry:
    if content is None:
        assert dot
        return tombstone(path, dot)
    entry = disk(path, content, name=name)
    return BaseEntry(
        path,
        dot,
        entry.content_hash,
        entry.size,
        entry.mtime_ns,
        entry.inode,
        entry.disk_name,
        more.get("unbased", False),
    )


def shown(content: str | None, dot: Dot = OLD, moved_to: str | None = None) -> Remote:
    return Remote(dot, None if content is None else sha(content), moved_to)


def run(
    disk: Collection[DiskEntry] = (),
    bases: Collection[BaseEntry] = (),
    replica: Mapping[str, Remote] | None = None,
    *,
    paths: Collection[str] | None = None,
    settings: Settings | None = None,
    skipped: Mapping[str, str] | None = None,
    unsent: Collection[str] = (),
    uploading: Collection[str] = (),
    trashed: Collection[str] = (),
    quarantined: Collection[str] = (),
    recent_out: int = 0,
    recent_in: int = 0,
    taken: Collection[str] = (),
) -> Plan:
    settings = settings or Settings()
    replica = replica or {}
    if paths is None:
        paths = {entry.path for entry in disk} | {entry.path for entry in bases} | set(replica)
    return plan(
        World(
            paths,
            {entry.path: entry for entry in disk},
            Bases(bases, settings.traits.fold),
            replica,
            skipped or {},
            unsent,
            uploading,
            trashed,
            quarantined,
            recent_out,
            recent_in,
            taken,
        ),
        settings,
    )


PATH = "a.md"
ONE, TWO, THREE = disk(PATH, "one"), disk(PATH, "two"), disk(PATH, "three")
KNOWN = base(PATH, "one")
GONE = base(PATH, None)
EXPECTED = expected_file(PATH, PATH, sha("one"))
REPLACING = replace(KNOWN, arriving=sha("two"))
RETURNING = replace(GONE, arriving=sha("two"))
ARRIVING = BaseEntry(PATH, None, None, 0, 0, 0, PATH, arriving=sha("two"))


@pytest.mark.parametrize(
    ("now", "known", "there", "expected"),
    [
        # nothing anywhere, or nothing changed
        (None, None, None, []),
        (ONE, KNOWN, shown("one"), []),
        (None, GONE, shown(None), []),
        # only here
        (ONE, None, None, [Push(ONE, frozenset(), unbased=True)]),
        (TWO, KNOWN, shown("one"), [Push(TWO, frozenset({OLD}))]),
        (None, KNOWN, shown("one"), [PushDelete(PATH, PATH, frozenset({OLD}))]),
        (ONE, GONE, shown(None), [Push(ONE, frozenset({OLD}))]),
        # only there
        (None, None, shown("one"), [Write(PATH, PATH, shown("one"), None)]),
        (ONE, KNOWN, shown("two", NEW), [Write(PATH, PATH, shown("two", NEW), sha("one"))]),
        (ONE, KNOWN, shown(None, NEW), [Delete(PATH, PATH, shown(None, NEW), sha("one"))]),
        (None, GONE, shown("two", NEW), [Write(PATH, PATH, shown("two", NEW), None)]),
        # the log lost it, and has another version under its dot
        (None, GONE, shown("one"), [Write(PATH, PATH, shown("one"), None)]),
        (ONE, GONE, shown("one"), [Adopt(KNOWN)]),
        # the log lost it
        (ONE, KNOWN, None, [Push(ONE, frozenset({OLD}))]),
        (TWO, KNOWN, None, [Push(TWO, frozenset({OLD}))]),
        (None, KNOWN, None, [Forget(PATH)]),
        (None, GONE, None, [Forget(PATH)]),
        # both, to the same
        (ONE, None, shown("one"), [Adopt(KNOWN)]),
        (TWO, KNOWN, shown("two", NEW), [Adopt(base(PATH, "two", NEW))]),
        (ONE, KNOWN, shown("one", NEW), [Adopt(base(PATH, "one", NEW))]),
        (None, KNOWN, shown(None, NEW), [Adopt(base(PATH, None, NEW))]),
        (None, None, shown(None, NEW), [Adopt(base(PATH, None, NEW))]),
        # both, differently
        (TWO, KNOWN, shown("three", NEW), [Push(TWO, frozenset({OLD}))]),
        (ONE, None, shown("two", NEW), [Push(ONE, frozenset(), unbased=True)]),
        (TWO, GONE, shown("three", NEW), [Push(TWO, frozenset({OLD}))]),
        (None, KNOWN, shown("two", NEW), [Write(PATH, PATH, shown("two", NEW), None)]),
        (TWO, KNOWN, shown(None, NEW), [Push(TWO, frozenset({OLD}))]),
        (TWO, GONE, shown(None, NEW), [Push(TWO, frozenset({OLD}))]),
        # no memory, and a deletion: offered, never taken for an edit
        (ONE, None, shown(None), [Push(ONE, frozenset(), unbased=True)]),
        # a file that we were about to put there when we were killed: nobody here made it, nobody deleted it
        (None, EXPECTED, shown("one"), [Write(PATH, PATH, shown("one"), None)]),
        (None, EXPECTED, shown(None, NEW), [Adopt(base(PATH, None, NEW))]),
        (None, EXPECTED, None, [Forget(PATH)]),
        (ONE, EXPECTED, shown("one"), [Adopt(KNOWN)]),
        (ONE, EXPECTED, shown("two", NEW), [Write(PATH, PATH, shown("two", NEW), sha("one"))]),
        (ONE, EXPECTED, shown(None, NEW), [Delete(PATH, PATH, shown(None, NEW), sha("one"))]),
        (ONE, EXPECTED, None, [Push(ONE, frozenset(), unbased=True)]),
        (TWO, EXPECTED, shown("one"), [Push(TWO, frozenset(), unbased=True)]),
        # we were about to put "two" there when we were killed: the bytes say whether we did
        (ONE, REPLACING, shown("one"), [Adopt(KNOWN)]),
        (ONE, REPLACING, shown("two", NEW), [Write(PATH, PATH, shown("two", NEW), sha("one"))]),
        (TWO, REPLACING, shown("two", NEW), [Adopt(base(PATH, "two", NEW))]),
        (TWO, REPLACING, shown("three", NEWER), [Write(PATH, PATH, shown("three", NEWER), sha("two"))]),
        (TWO, REPLACING, shown("one"), [Write(PATH, PATH, shown("one"), sha("two"))]),
        (None, ARRIVING, shown("two", NEW), [Write(PATH, PATH, shown("two", NEW), None)]),
        (TWO, ARRIVING, shown("three", NEWER), [Write(PATH, PATH, shown("three", NEWER), sha("two"))]),
        (TWO, ARRIVING, shown(None, NEWER), [Delete(PATH, PATH, shown(None, NEWER), sha("two"))]),
        (THREE, ARRIVING, shown("two", NEW), [Push(THREE, frozenset(), unbased=True)]),
        (None, RETURNING, shown("two", NEW), [Write(PATH, PATH, shown("two", NEW), None)]),
        (TWO, RETURNING, shown("three", NEWER), [Write(PATH, PATH, shown("three", NEWER), sha("two"))]),
        # what somebody made of one of both, nobody knows of which; what somebody deleted, too
        (THREE, REPLACING, shown("two", NEW), [Push(THREE, frozenset(), unbased=True)]),
        (THREE, REPLACING, shown("one"), [Push(THREE, frozenset(), unbased=True)]),
        (None, REPLACING, shown("one"), [Write(PATH, PATH, shown("one"), None)]),
        (None, REPLACING, shown("two", NEW), [Write(PATH, PATH, shown("two", NEW), None)]),
    ],
)
def test_the_table(
    now: DiskEntry | None, known: BaseEntry | None, there: Remote | None, expected: list[Action]
) -> None:
    made = run([now] if now else [], [known] if known else [], {PATH: there} if there else {}, paths=[PATH])
    assert made == Plan(expected)


def test_a_file_that_may_never_have_been_there_was_not_renamed() -> None:
    copy = disk("copy.md", "one")
    made = run([copy], [EXPECTED], {PATH: shown("one")}, paths=[PATH, "copy.md"])
    assert made.actions == [Push(copy, frozenset(), unbased=True), Write(PATH, PATH, shown("one"), None)]


def test_what_the_server_lacks_waits_for_a_person_although_nobody_touched_it() -> None:
    made = run([ONE], [KNOWN], {PATH: shown("one")}, quarantined={PATH})
    assert (made.actions, made.held) == ([], [Held(PATH, Why.QUARANTINE)])


def test_a_file_whose_last_bytes_are_still_to_be_uploaded_is_not_deleted() -> None:
    made = run([ONE], [KNOWN], {PATH: shown(None, NEW)}, trashed={PATH})
    assert (made.actions, made.waiting) == ([], [PATH])
    assert run([ONE], [KNOWN], {PATH: shown(None, NEW)}).waiting == []


def test_a_touched_file_is_remembered_without_an_operation() -> None:
    touched = replace(ONE, mtime_ns=99, inode=3)
    assert run([touched], [KNOWN], {PATH: shown("one")}).actions == [
        Adopt(replace(KNOWN, mtime_ns=99, inode=3)),
    ]


class TestUnsent:
    """What the server has not confirmed is not overwritten."""

    def test_a_newer_version_waits_for_our_own_to_be_confirmed(self) -> None:
        made = run([ONE], [KNOWN], {PATH: shown("two", NEW)}, unsent={PATH})
        assert made == Plan(waiting=[PATH])

    def test_a_rename_elsewhere_waits_too(self) -> None:
        replica = {PATH: shown(None, NEW, "b.md"), "b.md": shown("one", NEW)}
        made = run([ONE], [KNOWN], replica, unsent={PATH}, paths=[PATH])
        assert made == Plan(waiting=[PATH])

    def test_a_further_edit_does_not_wait(self) -> None:
        made = run([TWO], [KNOWN], {PATH: shown("three", NEW)}, unsent={PATH})
        assert made.actions == [Push(TWO, frozenset({OLD}))]


class TestRebuiltJournal:
    def test_what_the_log_settled_as_deleted_stays_here_and_is_told(self) -> None:
        made = run([ONE], [base(PATH, "one", NEW, unbased=True)], {PATH: shown(None, SERVER)})
        assert made == Plan(held=[Held(PATH, Why.DELETED_ELSEWHERE)])

    def test_so_it_does_if_the_log_names_a_rename(self) -> None:
        replica = {PATH: shown(None, SERVER, "b.md"), "b.md": shown("one", NEW)}
        made = run([ONE], [base(PATH, "one", NEW, unbased=True)], replica, paths=[PATH])
        assert made == Plan(held=[Held(PATH, Why.DELETED_ELSEWHERE)])

    def test_what_a_person_deleted_later_goes(self) -> None:
        made = run([ONE], [base(PATH, "one", NEW, unbased=True)], {PATH: shown(None, NEWER)})
        assert made.actions == [Delete(PATH, PATH, shown(None, NEWER), sha("one"))]

    def test_an_edit_brings_it_back(self) -> None:
        made = run([TWO], [base(PATH, "one", NEW, unbased=True)], {PATH: shown(None, SERVER)})
        assert made.actions == [Push(TWO, frozenset({NEW}))]

    def test_deleting_it_here_settles_it(self) -> None:
        made = run([], [base(PATH, "one", NEW, unbased=True)], {PATH: shown(None, SERVER)})
        assert made.actions == [Adopt(tombstone(PATH, SERVER))]

    def test_the_mark_goes_when_the_server_has_confirmed(self) -> None:
        marked = base(PATH, "one", NEW, unbased=True)
        assert run([ONE], [marked], {PATH: shown("one", NEW)}, unsent={PATH}).actions == []
        assert run([ONE], [marked], {PATH: shown("one", NEW)}).actions == [Adopt(base(PATH, "one", NEW))]


class TestMovesFromHere:
    def test_the_same_inode_and_content_is_a_rename(self) -> None:
        twin = replace(disk("c.md", "one"), inode=77)
        moved = replace(disk("b.md", "one"), inode=KNOWN.inode)
        made = run([moved, twin], [KNOWN], {PATH: shown("one")})
        assert made.actions == [
            PushMove(PATH, PATH, frozenset({OLD}), moved, frozenset()),
            Push(twin, frozenset(), unbased=True),
        ]

    def test_the_only_pair_with_a_content_is_a_rename(self) -> None:
        moved = disk("b.md", "one")
        made = run([moved], [KNOWN], {PATH: shown("one")})
        assert made.actions == [PushMove(PATH, PATH, frozenset({OLD}), moved, frozenset())]

    def test_an_ambiguous_content_is_not(self) -> None:
        copies = [disk("b.md", "one"), disk("c.md", "one")]
        made = run(copies, [KNOWN], {PATH: shown("one")})
        assert [type(action) for action in made.actions] == [Push, Push, PushDelete]

    def test_a_rename_goes_out_whatever_happened_to_the_old_name(self) -> None:
        moved = disk("b.md", "one")
        for there in (shown("two", NEW), shown(None, NEW), shown(None, NEW, "c.md")):
            made = run([moved], [KNOWN], {PATH: there})
            assert made.actions == [PushMove(PATH, PATH, frozenset({OLD}), moved, frozenset())]

    def test_a_rename_of_what_the_log_lost_is_a_new_file(self) -> None:
        moved = disk("b.md", "one")
        made = run([moved], [KNOWN], {})
        assert made.actions == [Push(moved, frozenset(), unbased=True), Forget(PATH)]

    def test_a_rename_of_what_is_not_uploaded_yet_is_a_new_file(self) -> None:
        moved = disk("b.md", "one")
        made = run([moved], [KNOWN], {PATH: shown("one")}, uploading={PATH})
        assert made.actions == [Push(moved, frozenset(), unbased=True), PushDelete(PATH, PATH, frozenset({OLD}))]

    @pytest.mark.parametrize("there", [shown("one"), shown("two", NEW), shown(None, NEW)])
    def test_what_vanished_before_it_was_uploaded_is_deleted_whatever_is_shown(self, there: Remote) -> None:
        made = run([], [KNOWN], {PATH: there}, uploading={PATH}, unsent={PATH})
        assert made.actions == [PushDelete(PATH, PATH, frozenset({OLD}))]
        # Unless it is of another change than the one that the folder last knew.
        made = run([], [KNOWN], {PATH: shown("two", NEW)}, uploading={PATH})
        assert made.actions == [Write(PATH, PATH, shown("two", NEW), None)]

    def test_a_rename_onto_a_deleted_name_replaces_the_tombstone(self) -> None:
        moved = disk("b.md", "one")
        replica = {PATH: shown("one"), "b.md": shown(None, NEW)}
        expected = [PushMove(PATH, PATH, frozenset({OLD}), moved, frozenset({NEW}))]
        assert run([moved], [KNOWN, tombstone("b.md", NEW)], replica).actions == expected
        assert run([moved], [KNOWN], replica).actions == expected

    def test_a_rename_onto_a_name_that_someone_else_took_is_none(self) -> None:
        moved = disk("b.md", "one")
        made = run([moved], [KNOWN], {PATH: shown("one"), "b.md": shown("two", NEW)})
        assert made.actions == [Push(moved, frozenset(), unbased=True), PushDelete(PATH, PATH, frozenset({OLD}))]

    def test_a_case_only_rename_is_one_on_any_disk(self) -> None:
        moved = replace(disk("A.md", "one"), inode=KNOWN.inode)
        for traits in (DiskTraits(), FOLDING):
            made = run([moved], [KNOWN], {PATH: shown("one")}, settings=Settings(traits=traits))
            assert made.actions == [PushMove(PATH, PATH, frozenset({OLD}), moved, frozenset())]

    def test_swapped_names_are_two_edits(self) -> None:
        made = run(
            [disk("a.md", "two"), disk("b.md", "one")],
            [base("a.md", "one"), base("b.md", "two")],
            {"a.md": shown("one"), "b.md": shown("two")},
        )
        assert [type(action) for action in made.actions] == [Push, Push]


class TestMovesFromElsewhere:
    replica: ClassVar = {PATH: shown(None, NEWER, "b.md"), "b.md": shown("one", NEW)}
    move = MoveLocal(PATH, PATH, replica[PATH], "b.md", "b.md", replica["b.md"], sha("one"))

    @pytest.mark.parametrize("paths", [[PATH], [PATH, "b.md"]])
    def test_the_file_is_renamed(self, paths: list[str]) -> None:
        assert run([ONE], [KNOWN], self.replica, paths=paths) == Plan([self.move])

    def test_one_that_was_edited_too_is_written_and_deleted(self) -> None:
        replica = {**self.replica, "b.md": shown("two", NEW)}
        assert run([ONE], [KNOWN], replica).actions == [
            Delete(PATH, PATH, replica[PATH], sha("one")),
            Write("b.md", "b.md", replica["b.md"], None),
        ]

    def test_one_that_was_edited_here_stays(self) -> None:
        assert run([TWO], [KNOWN], self.replica, paths=[PATH]).actions == [Push(TWO, frozenset({OLD}))]

    @pytest.mark.parametrize(
        "settings",
        [
            Settings(ignored=lambda path: path == "b.md"),
            Settings(name_problem=lambda path: "no" if path == "b.md" else None),
        ],
    )
    def test_one_to_a_name_that_cannot_be_here_goes(self, settings: Settings) -> None:
        made = run([ONE], [KNOWN], self.replica, paths=[PATH], settings=settings)
        assert made.actions == [Delete(PATH, PATH, self.replica[PATH], sha("one"))]

    def test_one_to_a_name_that_cannot_be_looked_at_goes(self) -> None:
        made = run([ONE], [KNOWN], self.replica, skipped={"b.md": "it is a symbolic link"})
        assert made.actions == [Delete(PATH, PATH, self.replica[PATH], sha("one"))]
        assert made.held == [Held("b.md", Why.SKIPPED, "it is a symbolic link")]

    def test_one_onto_a_file_that_is_here_is_not_followed(self) -> None:
        here = disk("b.md", "mine")
        made = run([ONE, here], [KNOWN], self.replica)
        assert made.actions == [
            Push(here, frozenset(), unbased=True),
            Delete(PATH, PATH, self.replica[PATH], sha("one")),
        ]

    def test_a_new_note_at_the_old_name_is_no_edit_of_the_one_that_was_moved_before_a_crash(self) -> None:
        moved = replace(disk("b.md", "one"), inode=KNOWN.inode)
        announced = BaseEntry("b.md", None, None, 0, 0, 0, "b.md", arriving=sha("one"))
        new = replace(TWO, inode=77)
        made = run([new, moved], [KNOWN, announced], self.replica)
        assert made.actions == [
            Push(new, frozenset({NEWER})),
            Adopt(replace(base("b.md", "one", NEW), inode=KNOWN.inode)),
        ]

    def test_a_copy_at_the_new_name_does_not_make_an_edit_a_new_note(self) -> None:
        copy = disk("b.md", "one")
        made = run([TWO, copy], [KNOWN], self.replica)
        assert Push(TWO, frozenset({OLD})) in made.actions

    def test_two_to_one_name_are_a_rename_and_a_deletion(self) -> None:
        second = disk("c.md", "one")
        replica = {**self.replica, "c.md": shown(None, NEWER, "b.md")}
        assert run([ONE, second], [KNOWN, base("c.md", "one")], replica).actions == [
            Delete("c.md", "c.md", replica["c.md"], sha("one")),
            self.move,
        ]

    def test_one_whose_target_nobody_has_is_a_deletion(self) -> None:
        made = run([ONE], [KNOWN], {PATH: shown(None, NEWER, "b.md")})
        assert [type(action) for action in made.actions] == [Delete]

    def test_a_case_only_rename_is_followed_on_a_disk_that_folds(self) -> None:
        replica = {PATH: shown(None, NEWER, "A.md"), "A.md": shown("one", NEW)}
        made = run([ONE], [KNOWN], replica, settings=Settings(traits=FOLDING))
        assert made.actions == [MoveLocal(PATH, PATH, replica[PATH], "A.md", "A.md", replica["A.md"], sha("one"))]


class TestDeletionGuard:
    def many(self, count: int, *, files: int = 0) -> tuple[list[BaseEntry], dict[str, Remote]]:
        """Return `count` files that were deleted somewhere, and `files` more."""
        bases = [base(f"{number:03}.md", str(number)) for number in range(count + files)]
        return bases, {entry.path: shown(str(int(entry.path[:3]))) for entry in bases}

    def files(self, bases: list[BaseEntry], first: int = 0) -> list[DiskEntry]:
        return [disk(entry.path, str(int(entry.path[:3]))) for entry in bases[first:]]

    def test_ten_deletions_are_never_held(self) -> None:
        bases, replica = self.many(10)
        assert len(run([], bases, replica).actions) == 10

    def test_eleven_of_few_are_held_and_everything_else_goes_on(self) -> None:
        bases, replica = self.many(11, files=3)
        new = disk("new.md", "new")
        made = run([*self.files(bases, 11), new], bases, replica)
        assert made.actions == [Push(new, frozenset(), unbased=True)]
        assert made.held == [Held(entry.path, Why.DELETIONS_OUT) for entry in bases[:11]]

    def test_a_quarter_of_many_is_not_held(self) -> None:
        bases, replica = self.many(20, files=60)
        assert len(run(self.files(bases, 20), bases, replica).actions) == 20
        assert len(run(self.files(bases, 21), bases, replica).held) == 21

    def test_deletions_of_just_before_count(self) -> None:
        bases, replica = self.many(5, files=20)
        assert len(run(self.files(bases, 5), bases, replica, recent_out=5).actions) == 5
        assert len(run(self.files(bases, 5), bases, replica, recent_out=6).held) == 5
        assert run(self.files(bases), bases, replica, recent_out=60) == Plan()

    def test_renames_are_no_deletions(self) -> None:
        bases, replica = self.many(30)
        moved = [replace(entry, path=f"new/{entry.path}", disk_name=f"new/{entry.path}") for entry in self.files(bases)]
        assert {type(action) for action in run(moved, bases, replica).actions} == {PushMove}

    @pytest.mark.parametrize("confirmed", [None, {f"{number:03}.md" for number in range(11)}])
    def test_confirmed_ones_go(self, confirmed: set[str] | None) -> None:
        bases, replica = self.many(11)
        made = run([], bases, replica, settings=Settings(confirmed=confirmed))
        assert len(made.actions) == 11
        assert made.held == []

    def test_only_the_confirmed_ones_go(self) -> None:
        bases, replica = self.many(12)
        made = run([], bases, replica, settings=Settings(confirmed={"003.md"}))
        assert made.actions == [PushDelete("003.md", "003.md", frozenset({OLD}))]
        assert len(made.held) == 11

    def test_incoming_ones_are_held_too(self) -> None:
        bases, _ = self.many(11)
        replica = {entry.path: shown(None, NEW) for entry in bases} | {"new.md": shown("new", NEW)}
        made = run(self.files(bases), bases, replica)
        assert made.actions == [Write("new.md", "new.md", replica["new.md"], None)]
        assert made.held == [Held(entry.path, Why.DELETIONS_IN) for entry in bases]
        made = run(self.files(bases), bases, replica, settings=Settings(confirmed=None))
        assert len(made.actions) == 12
        made = run(self.files(bases), bases, replica, settings=Settings(confirmed={"003.md"}))
        assert len(made.held) == 10

    def test_incoming_renames_with_edits_are_not(self) -> None:
        bases, _ = self.many(12)
        replica = {entry.path: shown(None, NEWER, f"n/{entry.path}") for entry in bases}
        replica |= {f"n/{entry.path}": shown(f"edited {entry.path}", NEW) for entry in bases}
        made = run(self.files(bases), bases, replica)
        assert [type(action) for action in made.actions] == [Delete] * 12 + [Write] * 12
        plain = {f"z{number}.md": base(f"z{number}.md", f"z{number}") for number in range(11)}
        made = run(
            [*self.files(bases), *(disk(path, path[:-3]) for path in plain)],
            [*bases, *plain.values()],
            replica | {path: shown(None, NEW) for path in plain},
        )
        assert {held.path for held in made.held} == plain.keys()
        assert len(made.actions) == 24


class TestIgnored:
    ignoring = Settings(ignored=lambda path: path == PATH)

    def test_neither_sent_nor_written(self) -> None:
        assert run([ONE], [], {}, settings=self.ignoring) == Plan()
        assert run([], [], {PATH: shown("one")}, settings=self.ignoring) == Plan()

    @pytest.mark.parametrize("now", [[], [TWO]])
    def test_forgotten_so_that_its_absence_is_never_a_deletion(self, now: list[DiskEntry]) -> None:
        assert run(now, [KNOWN], {PATH: shown("one")}, settings=self.ignoring) == Plan([Forget(PATH)])


class TestSkipped:
    @pytest.mark.parametrize("skipped", [{"d/a.md": "it is a pipe"}, {"d": "it is a symbolic link"}])
    def test_what_could_not_be_looked_at_is_neither_deleted_nor_written(self, skipped: dict[str, str]) -> None:
        known = base("d/a.md", "one")
        assert run([], [known], {"d/a.md": shown("one")}, skipped=skipped) == Plan()
        made = run([], [known], {"d/a.md": shown("two", NEW)}, skipped=skipped)
        assert made == Plan(held=[Held("d/a.md", Why.SKIPPED, *skipped.values())])
        assert run([], [], {"d/a.md": shown("two", NEW)}, skipped=skipped).actions == []
        assert run([], [known], {}, skipped=skipped) == Plan()

    def test_others_are_not_concerned(self) -> None:
        made = run([TWO], [KNOWN], {PATH: shown("one")}, skipped={"other": "unreadable"})
        assert made.actions == [Push(TWO, frozenset({OLD}))]


class TestKinds:
    """A file and a folder of the same name (D21)."""

    def test_a_file_above_holds_what_would_be_below(self) -> None:
        note = disk("d", "one")
        made = run([note], [base("d", "one")], {"d": shown("one"), "d/x/a.md": shown("two")})
        assert made == Plan(held=[Held("d/x/a.md", Why.KIND, "d is a file here: rename one of the two")])

    def test_so_does_one_that_was_not_looked_at(self) -> None:
        made = run([], [base("d", "one")], {"d": shown("one"), "d/a.md": shown("two")}, paths=["d/a.md"])
        assert made == Plan(held=[Held("d/a.md", Why.KIND, "d is a file here: rename one of the two")])

    @pytest.mark.parametrize("paths", [["d"], ["d", "d/x/a.md"]])
    def test_a_folder_with_files_holds_a_file(self, paths: list[str]) -> None:
        below = disk("d/x/a.md", "one")
        made = run(
            [below] if len(paths) == 2 else [],
            [base("d/x/a.md", "one")],
            {"d": shown("two"), "d/x/a.md": shown("one")},
            paths=paths,
        )
        assert made == Plan(held=[Held("d", Why.KIND, "d is a folder here: rename one of the two")])

    def test_a_file_that_became_a_folder_elsewhere_makes_room_first(self) -> None:
        replica = {"d": shown(None, NEW), "d/a.md": shown("two", NEW)}
        made = run([disk("d", "one")], [base("d", "one")], replica)
        assert made.actions == [
            Delete("d", "d", replica["d"], sha("one")),
            Write("d/a.md", "d/a.md", replica["d/a.md"], None),
        ]

    def test_a_folder_that_became_a_file_elsewhere_makes_room_first(self) -> None:
        replica = {"d/a.md": shown(None, NEW), "d": shown("two", NEW)}
        made = run([disk("d/a.md", "one")], [base("d/a.md", "one")], replica)
        assert made.actions == [
            Delete("d/a.md", "d/a.md", replica["d/a.md"], sha("one")),
            Write("d", "d", replica["d"], None),
        ]

    def test_of_two_that_arrive_together_the_first_comes(self) -> None:
        made = run(replica={"d": shown("one"), "d/a.md": shown("two")})
        assert made.actions == [Write("d", "d", shown("one"), None)]
        assert made.held == [Held("d/a.md", Why.KIND, "d is a file here: rename one of the two")]

    def test_a_folder_may_arrive_first_on_a_disk_that_folds(self) -> None:
        made = run(replica={"D/a.md": shown("one"), "d": shown("two")}, settings=Settings(traits=FOLDING))
        assert made.actions == [Write("D/a.md", "D/a.md", shown("one"), None)]
        assert made.held == [Held("d", Why.KIND, "d is a folder here: rename one of the two")]


class TestNames:
    """Names that this disk cannot tell apart, or cannot hold (D10, D11, D13)."""

    folding = Settings(traits=FOLDING)

    def test_twins_both_come_to_a_disk_that_tells_them_apart(self) -> None:
        made = run(replica={"A.md": shown("one"), "a.md": shown("two")})
        assert [action.disk_name for action in made.actions if isinstance(action, Write)] == ["A.md", "a.md"]

    def test_twins_get_a_suffix_on_a_disk_that_does_not(self) -> None:
        replica = {"d/A.b.md": shown("1"), "d/a.B.md": shown("2"), "d/a.b.md": shown("3"), "d/a.b (2).md": shown("4")}
        made = run(replica=replica, settings=self.folding)
        assert {action.path: action.disk_name for action in made.actions if isinstance(action, Write)} == {
            "d/A.b.md": "d/A.b.md",
            "d/a.B.md": "d/a.B (2).md",
            "d/a.b (2).md": "d/a.b (2) (2).md",
            "d/a.b.md": "d/a.b (3).md",
        }

    @pytest.mark.parametrize("paths", [["a.md"], ["A.md", "a.md"]])
    def test_the_twin_that_is_here_keeps_its_name(self, paths: list[str]) -> None:
        here = disk("A.md", "one")
        made = run(
            [here] if len(paths) == 2 else [],
            [base("A.md", "one")],
            {"A.md": shown("one"), "a.md": shown("two", NEW)},
            paths=paths,
            settings=self.folding,
        )
        assert made.actions == [Write("a.md", "a (2).md", shown("two", NEW), None)]

    def test_what_cannot_sync_keeps_its_name_too(self) -> None:
        made = run(replica={"a.md": shown("one")}, taken={"A.md"}, settings=self.folding)
        assert made.actions == [Write("a.md", "a (2).md", shown("one"), None)]

    def test_a_file_under_another_name_keeps_it(self) -> None:
        here = disk("a.md", "two", name="a (2).md")
        made = run(
            [here],
            [base("a.md", "two", name="a (2).md")],
            {"a.md": shown("three", NEW)},
            settings=self.folding,
        )
        assert made.actions == [Write("a.md", "a (2).md", shown("three", NEW), sha("two"))]

    def test_a_new_file_comes_into_the_folder_whose_name_is_spelled_in_another_form(self) -> None:
        known = base("caf\u00e9/a.md", "one", name="cafe\u0301/a.md")
        made = run(
            [disk("caf\u00e9/a.md", "one", name="cafe\u0301/a.md")],
            [known],
            {"caf\u00e9/a.md": shown("one"), "caf\u00e9/b.md": shown("two")},
        )
        assert made.actions == [Write("caf\u00e9/b.md", "cafe\u0301/b.md", shown("two"), None)]

    def test_a_name_without_extension_gets_the_suffix_at_its_end(self) -> None:
        made = run(
            replica={".X": shown("1"), ".x": shown("2"), "Y": shown("3"), "y": shown("4")}, settings=self.folding
        )
        assert [action.disk_name for action in made.actions if isinstance(action, Write)] == [
            ".X",
            ".x (2)",
            "Y",
            "y (2)",
        ]

    def test_a_suffix_never_makes_a_name_too_long(self) -> None:
        long = "é" * 126 + ".md"
        made = run(replica={long.upper(): shown("1"), long: shown("2")}, settings=self.folding)
        names = [action.disk_name for action in made.actions if isinstance(action, Write)]
        assert names[1] == "é" * 124 + " (2).md"
        assert all(len(name.encode()) <= 255 for name in names)

    def test_a_name_that_this_disk_cannot_hold_is_told(self) -> None:
        settings = Settings(name_problem=lambda path: "CON is reserved" if "CON" in path else None)
        made = run(replica={"CON.md": shown("1"), "b.md": shown("2")}, settings=settings)
        assert made.held == [Held("CON.md", Why.NAME, "CON is reserved")]
        assert [type(action) for action in made.actions] == [Write]


def test_actions_come_in_the_order_in_which_they_are_safe() -> None:
    made = run(
        [disk("edit.md", "2"), disk("new.md", "x"), disk("go.md", "1"), disk("old.md", "m"), disk("up.md", "1")],
        [
            base("edit.md", "1"),
            base("go.md", "1"),
            base("gone.md", "g"),
            base("old.md", "m"),
            base("up.md", "1"),
            base("lost.md", "l"),
        ],
        {
            "edit.md": shown("1"),
            "go.md": shown(None, NEW),
            "gone.md": shown("g"),
            "old.md": shown(None, NEWER, "moved.md"),
            "moved.md": shown("m", NEW),
            "up.md": shown("2", NEW),
        },
    )
    assert [type(action) for action in made.actions] == [Push, Push, PushDelete, Forget, Delete, MoveLocal, Write]
