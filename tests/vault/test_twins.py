"""Files of one name in several Unicode forms: every one has a path of its own, and keeps it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidenote.client.journal import BaseEntry
from tidenote.core.version import Dot
from tidenote.vault.bases import Bases, DiskTraits
from tidenote.vault.twins import Twins

NFC, NFD, SECOND, THIRD = "caf\u00e9.md", "cafe\u0301.md", "caf\u00e9 (2).md", "caf\u00e9 (3).md"
MIXED = ("\u00e9/\u00e9.md", "\u00e9/e\u0301.md", "e\u0301/\u00e9.md", "e\u0301/e\u0301.md")


@dataclass
class Looked:
    """A disk that tells forms apart, and rules."""

    files: set[str]
    unsyncable: set[str] = field(default_factory=set)

    def is_file(self, disk_name: str) -> bool:
        return disk_name in self.files

    def is_free(self, disk_name: str) -> bool:
        return disk_name not in self.files

    def can_sync(self, path: str) -> bool:
        return path not in self.unsyncable


def known(paths: Mapping[str, str]) -> Bases:
    """Return a base that knows these names on disk, by path."""
    dot = Dot(1, "dev")
    return Bases(BaseEntry(path, dot, "hash", 4, 0, 0, name) for path, name in paths.items())


def paths_of(names: Iterable[str], bases: Bases | None = None, look: Looked | None = None) -> dict[str, str | None]:
    names = list(names)
    twins = Twins(bases or Bases(), DiskTraits(), look or Looked(set(names)))
    return {name: twins.path_of(name) for name in names}


def test_one_alone_has_the_composed_path() -> None:
    assert paths_of([NFD]) == {NFD: NFC}
    assert paths_of([NFC]) == {NFC: NFC}


@pytest.mark.parametrize("names", [[NFC, NFD], [NFD, NFC], [NFD, NFC, NFD]])
def test_of_two_new_ones_the_composed_has_it(names: list[str]) -> None:
    assert paths_of(names) == {NFC: NFC, NFD: SECOND}


def test_also_if_only_the_other_is_looked_at() -> None:
    assert paths_of([NFD], look=Looked({NFC, NFD})) == {NFD: SECOND}


def test_who_had_the_path_keeps_it() -> None:
    bases = known({NFC: NFD})
    for names in ([NFC, NFD], [NFD, NFC]):
        assert paths_of(names, bases) == {NFD: NFC, NFC: SECOND}


def test_both_keep_what_they_had_when_the_other_goes() -> None:
    bases = known({NFC: NFC, SECOND: NFD})
    assert paths_of([NFD], bases) == {NFD: SECOND}
    assert paths_of([NFC], bases) == {NFC: NFC}
    # What stands for another path is not the composed one.
    assert paths_of([NFC, NFD], known({SECOND: NFC})) == {NFC: SECOND, NFD: NFC}


def test_a_path_whose_file_is_gone_is_free_for_another_form() -> None:
    assert paths_of([NFD], known({NFC: NFC})) == {NFD: NFC}


def test_names_that_anything_has_are_passed_over() -> None:
    assert paths_of([NFC, NFD, SECOND]) == {NFC: NFC, NFD: THIRD, SECOND: SECOND}
    # Also that of a file which is known and just gone: its deletion is another matter.
    assert paths_of([NFC, NFD], known({SECOND: SECOND})) == {NFC: NFC, NFD: THIRD}


def test_a_file_whose_name_a_twin_goes_by_is_one_itself() -> None:
    bases = known({NFC: NFC, SECOND: NFD})
    assert paths_of([NFC, NFD, SECOND], bases) == {NFC: NFC, NFD: SECOND, SECOND: "caf\u00e9 (2) (2).md"}


def test_one_for_which_only_paths_are_left_that_cannot_sync_has_none() -> None:
    assert paths_of([NFC, NFD], look=Looked({NFC, NFD}, {SECOND})) == {NFC: NFC, NFD: None}


def test_a_disk_that_takes_all_forms_for_one_is_not_asked() -> None:
    twins = Twins(Bases(), DiskTraits(form_sensitive=False), Looked({NFC}))
    assert twins.path_of(NFD) == NFC


POOL = (NFC, NFD, SECOND, unicodedata.normalize("NFD", SECOND), *MIXED)
SOME = st.lists(st.sampled_from(POOL), unique=True, max_size=4)


@given(st.lists(st.tuples(SOME, st.permutations(POOL), SOME, st.booleans()), min_size=1, max_size=5))
def test_every_file_has_a_path_that_no_other_has_and_keeps_it(
    steps: list[tuple[list[str], list[str], list[str], bool]],
) -> None:
    """Looked at in any order, in parts, while others come and go, and what is gone is forgotten or not."""
    names: set[str] = set()
    bases = Bases()
    for changed, order, unseen, forgotten in steps:
        names.symmetric_difference_update(changed)
        for base in bases:
            if forgotten and base.disk_name not in names:
                bases.drop(base.path)
        before = {base.disk_name: base.path for base in bases}
        found = paths_of([name for name in order if name in names.difference(unseen)], bases, Looked(names))
        assert None not in found.values()
        assert len(set(found.values())) == len(found)
        for name, path in found.items():
            assert path
            assert before.get(name, path) == path, "it keeps its path"
            there = bases.file(path)
            assert there is None or there.disk_name == name or there.disk_name not in names, "nobody else has it"
            bases.put(BaseEntry(path, Dot(1, "dev"), "hash", 4, 0, 0, name))
