"""What was merged of what, told from a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.changes import KEY, delete, write
from core.log import Log
from tidenote.core.merge import merge_text
from tidenote.core.merged import Merged
from tidenote.core.version import Change, Dot, Record, Version
from tidenote.server.merges import base_of, merge_again, union_behind, union_of

B, C = "note:b.md", "note:c.md"
BASE = "one\ntwo\nthree\n"
TOP = "zero\none\ntwo\nthree\n"
BOTTOM = "one\ntwo\nthree\nfour\n"
BOTH = "zero\none\ntwo\nthree\nfour\n"
ORIGIN = write("1x", BASE, base="")
RENAME = [write("5a", BASE, key=B, base=""), delete("6a", base="1x", moved_to=B)]


class LogPast:
    """The past of a log, of which some texts may be gone."""

    def __init__(self, *batches: Sequence[Change]) -> None:
        self.log = Log()
        self.versions: list[Version] = []
        self.gone: set[Dot] = set()
        for number, batch in enumerate(batches):
            self.log.take_in(batch)
            arrived = self.log.versions[len(self.versions) :]
            self.versions += [Version(version.change, version.receipt, number) for version in arrived]

    def records(self, key: str) -> Mapping[Dot, Record]:
        return {version.dot: Record.of(version) for version in self.versions if version.change.key == key}

    def renames_to(self, key: str) -> Sequence[Record]:
        return [Record.of(version) for version in self.versions if version.change.moved_to == key]

    def change(self, record: Record) -> Change | None:
        found = self.log.version(record.key, record.dot)
        return found.change if found and record.dot not in self.gone else None

    def shown(self, key: str) -> Record:
        winner = self.log.register(key).winner
        assert winner
        return self.records(key)[winner.dot]


def told(past: LogPast, key: str) -> tuple[list[str], str | None, Merged | None]:
    """Return what was merged last into what a key shows: its sources, their base, and the merge again."""
    union = union_behind(past.shown(key), past)
    assert union
    base = base_of(union.sources, past)
    return (
        [_name(source) for source in union.sources],
        _name(base) if base else None,
        merge_again(union, past, merge_text),
    )


def _name(record: Record) -> str:
    return f"{record.dot.timestamp}{record.dot.device_id}"


def test_of_two_edits() -> None:
    past = LogPast([ORIGIN], [write("2a", TOP, base="1x")], [write("3b", BOTTOM, base="1x")])
    assert told(past, KEY) == (["2a", "3b"], "1x", merge_text(BASE, TOP, BOTTOM))


def test_of_three_edits_without_places_in_the_text() -> None:
    edits = [write("2a", TOP, base="1x"), write("3b", BOTTOM, base="1x"), write("4c", "one\n2\nthree\n", base="1x")]
    past = LogPast([ORIGIN], edits)
    sources, base, merged = told(past, KEY)
    assert (sources, base, merged) == (["2a", "3b", "4c"], "1x", Merged(BOTH.replace("two", "2")))


def test_of_notes_without_a_base_of_which_one_has_the_other_in_it() -> None:
    past = LogPast([write("2a", "one", base="")], [write("3b", "one\ntwo", base="")])
    sources, base, merged = told(past, KEY)
    assert (sources, base) == (["2a", "3b"], None)
    assert merged
    assert merged.text == "one\ntwo"


def test_an_edit_that_followed_a_rename() -> None:
    met = write("9b", TOP, key=B, base="5a")
    past = LogPast([ORIGIN], RENAME, [met], [write("10c", BOTTOM, base="1x")])
    assert told(past, B) == (["9b", "10c"], "1x", merge_text(BASE, TOP, BOTTOM))


def test_a_rename_that_followed_another() -> None:
    other = [write("7b", BOTTOM, key=C, base=""), delete("8b", base="1x", moved_to=C)]
    past = LogPast([ORIGIN], RENAME, [write("9a", TOP, key=B, base="5a")], other)
    sources, base, merged = told(past, C)
    assert (sorted(sources), base) == (["7b", "9a"], "1x")
    assert merged == merge_text(BASE, BOTTOM, TOP)


def test_what_was_merged_before_a_rename_is_found_behind_its_mark_and_without_one() -> None:
    tie = [write("2a", TOP, base="1x"), write("2b", BOTTOM, base="1x")]
    for edits, marked in ((tie, True), ([tie[0], write("3b", BOTTOM, base="1x")], False)):
        past = LogPast([ORIGIN], edits)
        merge = past.shown(KEY)
        assert merge.conflict is marked
        time = merge.receipt + 5
        renamed = [
            Change(B, Dot(time, "a"), BOTH, base=frozenset()),
            Change(KEY, Dot(time + 1, "a"), base=frozenset([merge.dot]), moved_to=B),
        ]
        later = LogPast([ORIGIN], edits, renamed)
        assert later.shown(B).conflict is marked
        assert told(later, B) == told(past, KEY)
        # A note that was there before, and which another one was renamed over, was not merged.
        over = Change(B, Dot(time, "a"), BOTH, base=frozenset([Dot(1, "y")]))
        other = LogPast([ORIGIN], edits, [write("1y", "other", key=B, base="")], [over, renamed[1]])
        assert (union_behind(other.shown(B), other) is None) is not marked


def test_where_nothing_was_merged_nothing_is_told() -> None:
    past = LogPast([ORIGIN], [write("2a", TOP, base="1x")], [delete("3b", base="1x")], [*RENAME[:1]])
    for key in (KEY, B):
        assert union_of(past.shown(key), past) is None
        assert union_behind(past.shown(key), past) is None


def test_a_version_that_a_person_made_is_no_merge_and_one_whose_texts_are_gone_cannot_be_told() -> None:
    past = LogPast([ORIGIN], [write("2a", TOP, base="1x"), write("3b", BOTTOM, base="1x")])
    union = union_behind(past.shown(KEY), past)
    assert union
    for gone in ("1x", "2a"):
        past.gone = {Dot(int(gone[0]), gone[1])}
        assert merge_again(union, past, merge_text) is None
    chosen = LogPast([ORIGIN], [write("2a", TOP, base="1x")], [write("4b", "mine", base="1x 2a")])
    union = union_of(chosen.shown(KEY), chosen)
    assert union
    assert merge_again(union, chosen, merge_text) is None


def test_one_alone_and_more_than_two_notes_have_no_base() -> None:
    past = LogPast([ORIGIN], [write("2a", TOP, key=B, base=""), write("3a", TOP, key=C, base="")])
    origin, *others = (past.shown(key) for key in (KEY, B, C))
    assert base_of([origin], past) is None
    assert base_of([origin, *others], past) is None
