"""The remembered base in memory: what the folder held, found by path, by name on disk, by inode, by folder.

The journal is what lasts; this is its index. Plain data without I/O.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tidenote.client.journal import BaseEntry


@dataclass(frozen=True, slots=True)
class DiskTraits:
    """How a disk tells names apart.

    Attributes:
        case_sensitive: whether `a` and `A` are two files.
        form_sensitive: whether the composed and the decomposed form of a letter are two files.
    """

    case_sensitive: bool = True
    form_sensitive: bool = True

    def fold(self, name: str) -> str:
        """Return what the disk goes by: equal for two names of one file."""
        if not self.form_sensitive:
            name = unicodedata.normalize("NFC", name)
        if not self.case_sensitive:
            # Folding can leave the normal form, and case-insensitive disks compare normalised names.
            name = unicodedata.normalize("NFC", name.casefold())
        return name


class Bases:
    """An index of base entries; one with a content hash is a file, one without is known to be deleted.

    Args:
        entries: the entries.
        fold: what the disk goes by, see `DiskTraits.fold`.
    """

    def __init__(self, entries: Iterable[BaseEntry] = (), fold: Callable[[str], str] = str) -> None:
        self._fold = fold
        self._entries: dict[str, BaseEntry] = {}
        self._by_disk_name: dict[str, set[str]] = {}
        self._by_inode: dict[int, set[str]] = {}
        self._children: dict[str, set[str]] = {}
        self._spelled: dict[str, Counter[str]] = {}
        """Folder -> how the disk spells it, where that is another Unicode form, and in how many files' names."""
        self.files = 0
        """How many entries are files that were here; not those that are only expected."""
        for entry in entries:
            self.put(entry)

    def get(self, path: str) -> BaseEntry | None:
        """Return the entry of a path."""
        return self._entries.get(path)

    def file(self, path: str) -> BaseEntry | None:
        """Return the entry of a path if it is a file."""
        entry = self._entries.get(path)
        return entry if entry and entry.content_hash is not None else None

    def put(self, entry: BaseEntry) -> None:
        """Add or replace an entry."""
        self.drop(entry.path)
        self._entries[entry.path] = entry
        if entry.content_hash is not None:
            self.files += entry.dot is not None
            self._by_disk_name.setdefault(self._fold(entry.disk_name), set()).add(entry.path)
            self._by_inode.setdefault(entry.inode, set()).add(entry.path)
            self._link(entry.path)
            for folder, spelled in _respelled(entry):
                self._spelled.setdefault(folder, Counter())[spelled] += 1

    def drop(self, path: str) -> None:
        """Remove an entry, if there is one."""
        entry = self._entries.pop(path, None)
        if entry and entry.content_hash is not None:
            self.files -= entry.dot is not None
            _discard(self._by_disk_name, self._fold(entry.disk_name), path)
            _discard(self._by_inode, entry.inode, path)
            self._unlink(path)
            for folder, spelled in _respelled(entry):
                self._spelled[folder] -= Counter([spelled])

    def place_of(self, path: str) -> str:
        """Return where on the disk a new file belongs: in the folder that its neighbours are in, however spelled."""
        folder = path
        while folder := folder.rpartition("/")[0]:
            if spelled := self._spelled.get(folder):
                return min(spelled) + path.removeprefix(folder)
        return path

    def named(self, disk_name: str) -> frozenset[str]:
        """Return the paths of the files whose names the disk takes for this one."""
        return frozenset(self._by_disk_name.get(self._fold(disk_name), ()))

    def path_of(self, disk_name: str) -> str:
        """Return the path that a file on the disk stands for: its own in NFC, or the one that it was given to."""
        for path in self.named(disk_name):
            if self._entries[path].disk_name == disk_name:
                return path
        return unicodedata.normalize("NFC", disk_name)

    def with_inode(self, inode: int) -> frozenset[str]:
        """Return the paths of the files that had an inode."""
        return frozenset(self._by_inode.get(inode, ()))

    def below(self, folder: str) -> Iterator[str]:
        """Yield the paths of the files in a folder and its subfolders; `""` is the root."""
        for child in sorted(self._children.get(folder, ())):
            if child in self._children:
                yield from self.below(child)
            if self.file(child):
                yield child

    def is_folder(self, path: str) -> bool:
        """Say whether there are files below a path."""
        return path in self._children

    def __iter__(self) -> Iterator[BaseEntry]:
        # Of a copy, since a thread may read while entries come and go.
        return iter(list(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def _link(self, path: str) -> None:
        while path:
            folder = path.rpartition("/")[0]
            known = self._children.setdefault(folder, set())
            if path in known:
                return
            known.add(path)
            path = folder

    def _unlink(self, path: str) -> None:
        while path and path not in self._children and not self.file(path):
            folder = path.rpartition("/")[0]
            _discard(self._children, folder, path)
            path = folder


def _respelled(entry: BaseEntry) -> Iterator[tuple[str, str]]:
    """Yield the folders of a file that its disk spells in another Unicode form, each with that."""
    folder, spelled = entry.path, entry.disk_name
    while folder != spelled and (folder := folder.rpartition("/")[0]):
        spelled = spelled.rpartition("/")[0]
        if folder != spelled and folder == unicodedata.normalize("NFC", spelled):
            yield folder, spelled


def _discard(index: dict[str, set[str]] | dict[int, set[str]], key: str | int, path: str) -> None:
    found = index[key]  # type: ignore[index]
    found.discard(path)
    if not found:
        del index[key]  # type: ignore[arg-type]
