"""The index of the remembered base agrees with the plain list of its entries, whatever happened to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tidenote.client.journal import BaseEntry
from tidenote.core.version import Dot
from tidenote.vault.bases import Bases, DiskTraits


def entry_of(path: str, dot: Dot | None, content_hash: str | None, inode: int) -> BaseEntry:
    return BaseEntry(path, dot, content_hash, 1, 1, inode, NAMES.get(path, path))


PATHS = st.sampled_from(["a.md", "A.md", "d", "d/x.md", "d/e/y.md", "D/x.md", "caf\u00e9.md"])
NAMES = {"a.md": "a.md", "A.md": "A (2).md", "caf\u00e9.md": "cafe\u0301.md"}
ENTRIES = st.builds(
    entry_of,
    PATHS,
    st.none() | st.just(Dot(1, "x")),
    st.none() | st.just("hash"),
    st.integers(1, 3),
)
STEPS = st.lists(st.tuples(st.just("put"), ENTRIES) | st.tuples(st.just("drop"), PATHS))
TRAITS = st.sampled_from([DiskTraits(), DiskTraits(case_sensitive=False, form_sensitive=False)])


@given(STEPS, TRAITS)
def test_every_question_is_answered_as_by_the_plain_list(
    steps: list[tuple[str, BaseEntry] | tuple[str, str]], traits: DiskTraits
) -> None:
    plain: dict[str, BaseEntry] = {}
    bases = Bases(fold=traits.fold)
    for _, what in steps:
        if isinstance(what, BaseEntry):
            bases.put(what)
            plain[what.path] = what
        else:
            bases.drop(what)
            plain.pop(what, None)
    files = {path: entry for path, entry in plain.items() if entry.content_hash}
    assert {entry.path: entry for entry in bases} == plain
    assert len(bases) == len(plain)
    assert bases.files == sum(entry.dot is not None for entry in files.values())
    for path in (*PATHS.elements, "none"):  # type: ignore[attr-defined]
        assert bases.get(path) == plain.get(path)
        assert bases.file(path) == files.get(path)
        assert set(bases.below(path)) == below(files, path)
        assert bases.is_folder(path) == bool(below(files, path))
        name = NAMES.get(path, path)
        same = {other for other, entry in files.items() if traits.fold(entry.disk_name) == traits.fold(name)}
        assert bases.named(name) == same
    assert set(bases.below("")) == files.keys()
    for inode in range(1, 5):
        assert bases.with_inode(inode) == {path for path, entry in files.items() if entry.inode == inode}


def test_a_new_file_belongs_where_its_neighbours_are() -> None:
    bases = Bases()
    cafe, spelled = "caf\u00e9", "cafe\u0301"
    bases.put(replace(entry_of(f"{cafe}/{cafe}/n.md", Dot(1, "x"), "hash", 1), disk_name=f"{spelled}/{cafe}/n.md"))
    bases.put(replace(entry_of("plain/a.md", Dot(1, "x"), "hash", 2), disk_name="plain/a (2).md"))
    assert bases.place_of(f"{cafe}/{cafe}/new.md") == f"{spelled}/{cafe}/new.md"
    assert bases.place_of(f"{cafe}/x/{cafe}.md") == f"{spelled}/x/{cafe}.md"
    for path in (f"{cafe}.md", "plain/b.md", "new/b.md"):
        assert bases.place_of(path) == path
    bases.put(entry_of(f"{cafe}/{cafe}/n.md", Dot(2, "x"), "hash", 1))
    assert bases.place_of(f"{cafe}/x.md") == f"{cafe}/x.md"


def below(paths: Iterable[str], folder: str) -> set[str]:
    return {path for path in paths if path.startswith(f"{folder}/")}


def test_a_name_on_disk_stands_for_the_path_that_it_was_given_to() -> None:
    entry = BaseEntry("a.md", Dot(1, "x"), "hash", 1, 1, 1, "a (2).md")
    bases = Bases([entry])
    assert bases.path_of("a (2).md") == "a.md"
    assert bases.path_of("cafe\u0301.md") == "caf\u00e9.md"
    bases.put(replace(entry, content_hash=None))
    assert bases.path_of("a (2).md") == "a (2).md"
    folding = Bases([entry], DiskTraits(case_sensitive=False).fold)
    assert folding.path_of("A (2).md") == "A (2).md"
