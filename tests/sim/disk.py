"""A disk that forgets what was not synced: the steps of an operating system (`vault.disk.Disk`) in memory.

What is visible and what would survive a power cut are kept apart. Bytes survive once their file was synced. Changes of
names survive in their order: a power cut takes the last ones back, up to the last time that a folder was synced.
People's own saves are durable at once, as those of an editor that syncs.
"""

from __future__ import annotations

import errno
import os
import random
import stat as bits
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tidenote.core.keys import STATE_FOLDER
from tidenote.vault.ignore import TEMP_PREFIX

ROOT: Final = Path("/notes")
OUTSIDE: Final = b"what lies outside of the folder is nobody's business\n"


class Escaped(AssertionError):
    """I12: somebody tried to leave the folder."""

    invariant: Final = "I12"


@dataclass(eq=False, slots=True)
class Node:
    """A file, a folder or a link; `synced` is what a power cut leaves of a file's bytes."""

    kind: int
    number: int
    data: bytes = b""
    synced: bytes = b""
    mtime_ns: int = 0
    mode: int = 0o644
    names: dict[str, Node] = field(default_factory=dict)
    parent: Node | None = None
    name: str = ""
    shown: bool = False
    """Whether it ever was a file that people see, under a name of a note."""
    saved: bytes | None = None
    """What a person saved last: theirs to see, also if it is half of something."""

    # As `os.stat_result`.

    @property
    def st_mode(self) -> int:
        return self.kind | self.mode

    @property
    def st_dev(self) -> int:
        return 1

    @property
    def st_ino(self) -> int:
        return self.number

    @property
    def st_size(self) -> int:
        return len(self.data)

    @property
    def st_mtime_ns(self) -> int:
        return self.mtime_ns


@dataclass(frozen=True, slots=True)
class _Look:
    """A look at a node that later changes do not alter."""

    st_mode: int
    st_ino: int
    st_size: int
    st_mtime_ns: int
    st_dev: int = 1


def _nothing(*_: object) -> None:
    pass


class SimDisk:
    """A disk with one folder on it.

    Args:
        wall_ns: the clock that stamps files.
        folding: whether it takes names for equal that differ in case or normal form only.
        can_exchange: whether two files can trade places in one step.

    Attributes:
        before_step: called before each step of the daemon's, with what it is; may raise.
        on_shown: called with the path and bytes of a file that a step of the daemon's put where people see it.
        on_carried: called with the bytes of such a file in a folder that was renamed under the daemon's hands.
        on_dropped: called with the bytes of a file that people saw, and that a step of the daemon's removed for good.
        on_hint: called with a path at which anybody changed something.
        error: the number of an error that writing gives; 0 for none.
        away: whether the disk is gone.
    """

    def __init__(self, wall_ns: Callable[[], int], *, folding: bool = False, can_exchange: bool = True) -> None:
        self._wall_ns = wall_ns
        self.folding = folding
        self._can_exchange = can_exchange
        self._numbers = 0
        self._nonces = 0
        self.root = self._node(bits.S_IFDIR)
        self._add(self.root, STATE_FOLDER, self._node(bits.S_IFDIR))
        self._open: dict[int, tuple[Node, int]] = {}
        self._descriptors = 10
        self._carried: set[int] = set()
        """The descriptors of folders that were renamed since they were opened."""
        self._undo: list[Callable[[], None]] = []
        self.before_step: Callable[[str], None] = _nothing
        self.on_shown: Callable[[str, bytes], None] = _nothing
        self.on_carried: Callable[[bytes], None] = lambda _: None
        self.on_dropped: Callable[[str, bytes], None] = _nothing
        self.on_hint: Callable[[str], None] = _nothing
        self.error = 0
        self.away = False

    # -- nodes

    def _node(self, kind: int, data: bytes = b"") -> Node:
        self._numbers += 1
        return Node(kind, self._numbers, data, b"", self._wall_ns(), 0o755 if kind == bits.S_IFDIR else 0o644)

    @staticmethod
    def _add(parent: Node, name: str, node: Node) -> None:
        parent.names[name] = node
        node.parent, node.name = parent, name

    def _fold(self, name: str) -> str:
        return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())

    def _stored(self, parent: Node, name: str) -> str | None:
        """Return a name as the disk has it; None if it has none."""
        if name in parent.names:
            return name
        if self.folding:
            folded = self._fold(name)
            return next((known for known in parent.names if self._fold(known) == folded), None)
        return None

    def _find(self, parent: Node, name: str) -> Node | None:
        stored = self._stored(parent, name)
        return parent.names[stored] if stored is not None else None

    def _path(self, parent: Node, name: str) -> str | None:
        """Return the path of a name if it is one that people see; None of temporary and state files."""
        parts = [name]
        node: Node | None = parent
        while node is not None and node is not self.root:
            parts.append(node.name)
            node = node.parent
        if node is None or parts[-1] == STATE_FOLDER or name.startswith(TEMP_PREFIX):
            return None
        return "/".join(reversed(parts))

    # -- what people do, durably and in one step

    def files(self) -> dict[str, bytes]:
        """Return every file that people see, by its path on this disk."""
        return {path: node.data for path, node in self._walk(self.root, "") if node.kind == bits.S_IFREG}

    def temporary(self) -> list[str]:
        """Return the temporary files that lie among people's."""
        return [
            node.name for folder in self._folders(self.root) for node in folder.names.values() if _is_temporary(node)
        ]

    def _folders(self, folder: Node) -> Iterator[Node]:
        yield folder
        for name, node in folder.names.items():
            if node.kind == bits.S_IFDIR and name != STATE_FOLDER:
                yield from self._folders(node)

    def _walk(self, folder: Node, above: str) -> Iterator[tuple[str, Node]]:
        for name in sorted(folder.names):
            node = folder.names[name]
            if name == STATE_FOLDER or name.startswith(TEMP_PREFIX):
                continue
            if node.kind == bits.S_IFDIR:
                yield from self._walk(node, f"{above}{name}/")
            else:
                yield f"{above}{name}", node

    def get(self, path: str) -> bytes | None:
        """Return a file's bytes; None if there is no file."""
        parent, name = self._at(path)
        node = self._find(parent, name) if parent else None
        return node.data if node and node.kind == bits.S_IFREG else None

    def taken_from(self, path: str) -> bytes | None:
        """Return what the daemon has just taken from a name to put something else there; None if it has not."""
        parent, name = self._at(path)
        for aside in parent.names.values() if parent else ():
            if _is_temporary(aside) and aside.kind == bits.S_IFDIR and (taken := self._find(aside, name)):
                return taken.data
        return None

    def spelled(self, path: str) -> str | None:
        """Return the path of a file as the disk has it; None if there is none."""
        folder = self.root
        found = []
        for step in path.split("/"):
            node = self._find(folder, step) if folder.kind == bits.S_IFDIR else None
            if node is None:
                return None
            found.append(node.name)
            folder = node
        return "/".join(found) if folder.kind == bits.S_IFREG else None

    def is_free(self, path: str) -> bool:
        """Say whether a file can be made there."""
        folder = self.root
        *above, name = path.split("/")
        for step in above:
            node = self._find(folder, step)
            if node is None:
                return True
            if node.kind != bits.S_IFDIR:
                return False
            folder = node
        return self._find(folder, name) is None

    def put(self, path: str, data: bytes, *, afresh: bool = False) -> bool:
        """Save a file in place, or afresh, beside and renamed; return False if something else is in the way."""
        parent, name = self._at(path, make=True)
        if parent is None:
            return False
        node = self._find(parent, name)
        if node is not None and node.kind != bits.S_IFREG:
            return False
        if node is None or afresh:
            stored = node.name if node else name
            node = self._node(bits.S_IFREG)
            self._add(parent, stored, node)
        node.data = node.synced = node.saved = data
        node.mtime_ns = self._wall_ns()
        node.shown = True
        self._changed(path)
        return True

    def link(self, path: str) -> bool:
        """Make a symbolic link that leads outside; return False if something is in the way."""
        if "/" in path or not self.is_free(path):
            return False
        self._add(self.root, path, self._node(bits.S_IFLNK, OUTSIDE))
        self._changed(path)
        return True

    def remove(self, path: str) -> None:
        """Delete a file, and the folders that this leaves empty."""
        parent, name = self._at(path)
        assert parent
        stored = self._stored(parent, name)
        assert stored is not None
        del parent.names[stored]
        while parent is not self.root and not parent.names and parent.parent:
            del parent.parent.names[parent.name]
            parent = parent.parent
        self._changed(path)

    def rename_path(self, path: str, target: str) -> bool:
        """Rename a file to a free name; return False if it is not free."""
        parent, name = self._at(path)
        assert parent
        node = self._find(parent, name)
        assert node
        if not self.is_free(target):
            return False
        into, new = self._at(target, make=True)
        assert into
        del parent.names[node.name]
        self._add(into, new, node)
        while parent is not self.root and not parent.names and parent.parent:
            del parent.parent.names[parent.name]
            parent = parent.parent
        self._changed(path)
        self._changed(target)
        return True

    def rename_folder(self, name: str, target: str) -> bool:
        """Rename a folder of the root, with all that is in it; return False if the name is not free."""
        if not self.is_free(target):
            return False
        node = self.root.names.pop(name)
        self._add(self.root, target, node)
        self._carried.update(descriptor for descriptor, (opened, _) in self._open.items() if opened is node)
        self._changed(name)
        self._changed(target)
        return True

    def _at(self, path: str, *, make: bool = False) -> tuple[Node | None, str]:
        folder = self.root
        *above, name = path.split("/")
        for step in above:
            node = self._find(folder, step)
            if node is None and make:
                node = self._node(bits.S_IFDIR)
                self._add(folder, step, node)
            if node is None or node.kind != bits.S_IFDIR:
                return None, name
            folder = node
        return folder, name

    def _changed(self, path: str) -> None:
        self._undo.clear()
        self.on_hint(path)

    # -- what befalls it

    def restart(self) -> None:
        """Forget what a process had open."""
        self._open.clear()
        self._carried.clear()

    def power_cut(self, rng: random.Random) -> None:
        """Lose what was not synced, or some of it."""
        keep = rng.randint(0, len(self._undo))
        while len(self._undo) > keep:
            self._undo.pop()()
        self._undo.clear()
        for node in self._all(self.root):
            if node.kind == bits.S_IFREG and node.data != node.synced:
                torn = node.data[: rng.randint(0, len(node.data))]
                node.data = node.synced = rng.choice([node.synced, torn, node.data])
        self.restart()

    def _all(self, folder: Node) -> Iterator[Node]:
        for node in folder.names.values():
            yield node
            if node.kind == bits.S_IFDIR:
                yield from self._all(node)

    def image(self) -> SimDisk:
        """Return a copy of everything, as a backup of the whole computer holds it."""
        copy = SimDisk(self._wall_ns, folding=self.folding, can_exchange=self._can_exchange)
        copy._numbers, copy._nonces = self._numbers, self._nonces
        copy.root = _copied(self.root)
        return copy

    def become(self, image: SimDisk) -> None:
        """Be set back to an earlier image."""
        self.root = _copied(image.root)
        self._undo.clear()
        self.restart()

    # -- the port

    def root_stat(self, root: Path) -> _Look:
        self._step("stat")
        if root != ROOT:
            raise Escaped(f"{root} is not the folder")
        return _look(self.root)

    def open_root(self, root: Path) -> int:
        self._step("open")
        if root != ROOT:
            raise Escaped(f"{root} is not the folder")
        return self._descriptor(self.root)

    def open_folder(self, parent: int, name: str) -> int:
        self._step("open")
        node = self._node_of(parent) if name == "." else self._existing(parent, name)
        if node.kind == bits.S_IFLNK:
            raise _error(errno.ELOOP, name)
        if node.kind != bits.S_IFDIR:
            raise _error(errno.ENOTDIR, name)
        return self._descriptor(node)

    def open_file(self, parent: int, name: str) -> int:
        self._step("open")
        node = self._existing(parent, name)
        if node.kind == bits.S_IFLNK:
            raise _error(errno.ELOOP, name)
        return self._descriptor(node)

    def create(self, parent: int, name: str, mode: int = 0o600) -> int:
        self._step("create", writing=True)
        folder = self._node_of(parent)
        if self._find(folder, _plain(name)):
            raise _error(errno.EEXIST, name)
        node = self._node(bits.S_IFREG)
        self._insert(folder, name, node)
        self._show(node)
        return self._descriptor(node)

    def dup(self, descriptor: int) -> int:
        return self._descriptor(self._node_of(descriptor))

    def close(self, descriptor: int) -> None:
        self._open.pop(descriptor, None)
        self._carried.discard(descriptor)

    def names(self, folder: int) -> list[str]:
        self._step("list")
        return list(self._node_of(folder).names)

    def stat(self, parent: int, name: str) -> _Look:
        self._step("stat")
        return _look(self._existing(parent, name))

    def fstat(self, descriptor: int) -> _Look:
        return _look(self._node_of(descriptor))

    def is_written(self, descriptor: int) -> bool:
        return False

    def read(self, descriptor: int, size: int) -> bytes:
        self._step("read")
        node, at = self._opened(descriptor)
        data = node.data[at : at + size]
        self._open[descriptor] = (node, at + len(data))
        return data

    def write(self, descriptor: int, data: memoryview) -> int:
        self._step("write", writing=True)
        node = self._node_of(descriptor)
        # In two pieces, so that a crash finds half of it.
        piece = bytes(data[: max(1, len(data) // 2)])
        node.data += piece
        node.mtime_ns = self._wall_ns()
        self._show(node)
        return len(piece)

    def fsync(self, descriptor: int) -> None:
        self._step("fsync", writing=True)
        node = self._node_of(descriptor)
        if node.kind == bits.S_IFDIR:
            self._undo.clear()
        else:
            node.synced = node.data

    def chmod(self, parent: int, name: str, mode: int) -> None:
        self._existing(parent, name).mode = mode

    def mkdir(self, parent: int, name: str, mode: int = 0o777) -> None:
        self._step("mkdir", writing=True)
        folder = self._node_of(parent)
        if self._find(folder, _plain(name)):
            raise _error(errno.EEXIST, name)
        self._insert(folder, name, self._node(bits.S_IFDIR))

    def rmdir(self, parent: int, name: str) -> None:
        self._step("rmdir")
        node = self._existing(parent, name)
        if node.kind != bits.S_IFDIR:
            raise _error(errno.ENOTDIR, name)
        if node.names:
            raise _error(errno.ENOTEMPTY, name)
        self._remove(self._node_of(parent), node)

    def unlink(self, parent: int, name: str) -> None:
        self._step("unlink")
        node = self._existing(parent, name)
        if node.kind == bits.S_IFDIR:
            raise _error(errno.EISDIR, name)
        folder = self._node_of(parent)
        self._remove(folder, node)
        self._drop(node, name)
        self._tell(folder, name)

    def bring(self, source: Path, parent: int, name: str) -> None:
        raise Escaped(f"{source} is not in the folder")

    def rename(self, parent: int, name: str, target_parent: int, target: str) -> None:
        self._step("rename", writing=True)
        node, into = self._existing(parent, name), self._node_of(target_parent)
        replaced = self._find(into, _plain(target))
        if replaced is not None and replaced is not node:
            if replaced.kind == bits.S_IFDIR:
                raise _error(errno.EISDIR, target)
            self._remove(into, replaced)
            self._drop(replaced, target)
        self._move(node, into, replaced.name if replaced and replaced is not node else target)
        self._tell(self._node_of(parent), name)
        self._tell(into, target)

    def rename_new(self, parent: int, name: str, target_parent: int, target: str) -> None:
        self._step("rename", writing=True)
        node, into = self._existing(parent, name), self._node_of(target_parent)
        if self._find(into, _plain(target)):
            raise _error(errno.EEXIST, target)
        self._move(node, into, target)
        self._tell(self._node_of(parent), name)
        self._tell(into, target)

    def exchange(self, parent: int, name: str, other: str) -> bool:
        if not self._can_exchange:
            return False
        self._step("exchange", writing=True)
        folder = self._node_of(parent)
        first, second = self._existing(parent, name), self._existing(parent, other)
        self._trade(folder, first, second)
        self._undo.append(lambda: self._trade(folder, first, second))
        self._tell(folder, first.name)
        return True

    def nonce(self) -> str:
        self._nonces += 1
        return f"{self._nonces:x}"

    # -- steps

    def _step(self, what: str, *, writing: bool = False) -> None:
        self.before_step(what)
        if self.away:
            raise _error(errno.EIO, "the disk")
        if writing and self.error:
            raise _error(self.error, "the disk")

    def _descriptor(self, node: Node) -> int:
        self._descriptors += 1
        self._open[self._descriptors] = (node, 0)
        return self._descriptors

    def _opened(self, descriptor: int) -> tuple[Node, int]:
        if descriptor not in self._open:
            raise _error(errno.EBADF, str(descriptor))
        return self._open[descriptor]

    def _node_of(self, descriptor: int) -> Node:
        return self._opened(descriptor)[0]

    def _existing(self, parent: int, name: str) -> Node:
        node = self._find(self._node_of(parent), _plain(name))
        if node is None:
            raise _error(errno.ENOENT, name)
        return node

    def _insert(self, folder: Node, name: str, node: Node) -> None:
        self._add(folder, _plain(name), node)
        self._undo.append(lambda: _take(folder, node))

    def _remove(self, folder: Node, node: Node) -> None:
        name = node.name
        _take(folder, node)
        self._undo.append(lambda: self._add(folder, name, node))

    def _move(self, node: Node, into: Node, name: str) -> None:
        folder, old = node.parent, node.name
        assert folder

        def back() -> None:
            _take(into, node)
            self._add(folder, old, node)

        _take(folder, node)
        self._add(into, name, node)
        self._undo.append(back)

    def _trade(self, folder: Node, first: Node, second: Node) -> None:
        one, two = first.name, second.name
        self._add(folder, two, first)
        self._add(folder, one, second)

    def _tell(self, folder: Node, name: str) -> None:
        path = self._path(folder, name)
        if path is None:
            return
        node = self._find(folder, name)
        if node is not None and node.kind == bits.S_IFREG:
            self._show(node)
        self.on_hint(path)

    def _show(self, node: Node) -> None:
        path = self._path(node.parent, node.name) if node.parent else None
        if path is not None:
            node.shown = True
            if node.data != node.saved:
                self.on_shown(path, node.data)
                if any(self._open[descriptor][0] is node.parent for descriptor in self._carried):
                    self.on_carried(node.data)

    def _drop(self, node: Node, name: str) -> None:
        if node.shown:
            self.on_dropped(name, node.data)


def _take(folder: Node, node: Node) -> None:
    if folder.names.get(node.name) is node:
        del folder.names[node.name]


def _copied(node: Node) -> Node:
    copy = Node(
        node.kind, node.number, node.data, node.synced, node.mtime_ns, node.mode, shown=node.shown, saved=node.saved
    )
    for name, below in node.names.items():
        SimDisk._add(copy, name, _copied(below))
    return copy


def _look(node: Node) -> _Look:
    return _Look(node.kind | node.mode, node.number, len(node.data), node.mtime_ns)


def _is_temporary(node: Node) -> bool:
    return node.name.startswith(TEMP_PREFIX)


def _plain(name: str) -> str:
    if name in ("", ".", "..") or "/" in name:
        raise Escaped(f"{name!r} is no plain name")
    return name


def _error(number: int, name: str) -> OSError:
    return OSError(number, os.strerror(number), name)
