"""The folder on disk: a narrow port (`Files`), and the real one.

Everything goes through directory descriptors that were opened without following links, so no path, name or swapped
folder leads outside. Whatever replaces or removes bytes says which bytes it expects, and looks again after the
atomic step: what it did not expect it puts back. Which file should hold what is plan.py's matter.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import stat as stat_bits
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from itertools import count
from pathlib import Path
from typing import Final, Protocol

from tidenote.core.keys import STATE_FOLDER, check_path
from tidenote.errors import FolderError, RefusedChange
from tidenote.vault.bases import DiskTraits
from tidenote.vault.ignore import TEMP_PREFIX

CHUNK_BYTES: Final = 1 << 20
"""How much of a file is in memory at once."""

LEFTOVER: Final = "leftover"
"""The folder in the state folder for temporary files of a run that was killed; they may hold somebody's bytes."""


class FileProblem(FolderError):
    """One file could not be read, written or removed; the others are not concerned.

    Args:
        path: on disk.
        reason: for people.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Unexpected(FileProblem):
    """The file is not what the plan saw: look again, and plan again. Nothing was changed."""


class Gone(Unexpected):
    """Nothing is at the path, or a folder above it is missing or a file."""


class BadName(FileProblem):
    """This disk cannot hold the name."""


class Kind(Enum):
    """What a name stands for."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "symbolic link"
    SPECIAL = "special file"


@dataclass(frozen=True, slots=True)
class Stat:
    """What the disk says about a name, without looking inside.

    Attributes:
        kind: what it is; links are never followed.
        size: bytes.
        mtime_ns: last modification, ns since 1970 by the disk's clock.
        inode: the file's number.
    """

    kind: Kind
    size: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Digest:
    """The hash of a file that did not change while it was read, and its stat."""

    content_hash: str
    stat: Stat


class Files(Protocol):
    """What the daemon asks of a folder. Paths are relative, `/`-separated, as the disk spells them.

    Every method raises `FolderError` if the folder itself is gone or swapped, and `FileProblem` for one path.
    """

    @property
    def traits(self) -> DiskTraits:
        """How the disk tells names apart."""
        ...

    def close(self) -> None:
        """Give the folder back."""
        ...

    def check(self) -> None:
        """Raise `FolderError` unless the folder is still there, and still the same one."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder; names that are no UTF-8 come with surrogates."""
        ...

    def stat(self, path: str) -> Stat | None:
        """Look at a path; None if nothing is there."""
        ...

    def spelled(self, path: str) -> str | None:
        """Return a path as the disk lists it; None if nothing is there."""
        ...

    def digest(self, path: str) -> Digest:
        """Hash a file. Raises `Unexpected` if it vanishes or changes meanwhile."""
        ...

    def read(self, path: str) -> tuple[bytes, Digest]:
        """Read a file whole. Raises as `digest`."""
        ...

    def write(self, path: str, source: bytes | Path, expected: str | None) -> tuple[str, Stat]:
        """Put bytes at a path, atomically and durably, if it holds the hash `expected` (None: if nothing is there).

        Args:
            path: folders above it are made.
            source: the bytes, or a file in the state folder that is moved into place.
            expected: what is replaced.

        Returns:
            The path as the disk lists it, and its stat.

        Raises:
            Unexpected: something else is there.
        """
        ...

    def delete(self, path: str, expected: str) -> None:
        """Remove a file that has the hash `expected`, and the folders that this leaves empty."""
        ...

    def move(self, path: str, target: str, expected: str) -> tuple[str, Stat]:
        """Rename a file that has the hash `expected` to a name where nothing is; as `write`."""
        ...

    def clean(self) -> int:
        """Take temporary files of an earlier run out of the folder; return how many there were."""
        ...


class RealFiles:
    """A folder of the local disk.

    Args:
        root: a folder with a state folder in it; if it is a link, it is followed here and never again.

    Raises:
        FolderError: it is missing, no folder, or unreadable.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        with folder_errors(root):
            self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with folder_errors(root):
                found = os.fstat(self._root)
                self._identity = (found.st_dev, found.st_ino)
                self._state = os.open(STATE_FOLDER, _FOLDER_FLAGS, dir_fd=self._root)
        except BaseException:
            os.close(self._root)
            raise
        self._numbers = count()
        try:
            with folder_errors(root):
                self._traits, self._mode = self._probe()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the folder's descriptors back."""
        os.close(self._state)
        os.close(self._root)

    @property
    def traits(self) -> DiskTraits:
        """How the disk tells names apart."""
        return self._traits

    def check(self) -> None:
        """Raise `FolderError` unless the folder is still there, and still the same one."""
        with folder_errors(self.root):
            found = self.root.stat()
            if (found.st_dev, found.st_ino) != self._identity:
                raise FolderError(f"{self.root} is another folder than before")
            state = os.stat(STATE_FOLDER, dir_fd=self._root, follow_symlinks=False)
            ours = os.fstat(self._state)
            if (state.st_dev, state.st_ino) != (ours.st_dev, ours.st_ino):
                raise FolderError(f"{self.root / STATE_FOLDER} is another folder than before")
            with os.scandir(self._root):
                pass

    # -- looking

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder; names that are no UTF-8 come with surrogates."""
        with self._folder(folder) as descriptor, _problems(folder), os.scandir(descriptor) as entries:
            return sorted(entry.name for entry in entries)

    def stat(self, path: str) -> Stat | None:
        """Look at a path; None if nothing is there."""
        try:
            with self._parent(path) as (parent, name), _problems(path):
                return _stat_at(parent, name)
        except Gone:
            return None

    def spelled(self, path: str) -> str | None:
        """Return a path as the disk lists it; None if nothing is there."""
        if self.traits == DiskTraits():
            return path if self.stat(path) else None
        found = ""
        for name in path.split("/"):
            try:
                names = self.names(found)
            except Gone:
                return None
            folded = self.traits.fold(name)
            if name not in names:
                name = next((known for known in names if self.traits.fold(known) == folded), "")
            if not name:
                return None
            found = f"{found}/{name}" if found else name
        return found

    def digest(self, path: str) -> Digest:
        """Hash a file."""
        with self._parent(path) as (parent, name), _problems(path):
            return _digest_at(parent, name, path)

    def read(self, path: str) -> tuple[bytes, Digest]:
        """Read a file whole."""
        chunks: list[bytes] = []
        with self._parent(path) as (parent, name), _problems(path):
            digest = _digest_at(parent, name, path, chunks)
        return b"".join(chunks), digest

    # -- changing

    def write(self, path: str, source: bytes | Path, expected: str | None) -> tuple[str, Stat]:
        """Put bytes at a path, atomically and durably, if it holds the hash `expected` (None: if nothing is there)."""
        _check_containable(path)
        with self._parent(path, make=True) as (parent, name), _problems(path):
            known = self._expect(parent, name, path, expected)
            temporary = self._fill(parent, source)
            try:
                landing = _stat_at(parent, temporary)
                if known:
                    # What nobody but the file's owner could read stays so.
                    os.chmod(temporary, known[1], dir_fd=parent)
                    self._replace(parent, temporary, name, path, known[0])
                else:
                    self._put(parent, temporary, parent, name, path)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=parent)
            os.fsync(parent)
        return self._landed(path, landing)

    def delete(self, path: str, expected: str) -> None:
        """Remove a file that has the hash `expected`, and the folders that this leaves empty."""
        with self._parent(path) as (parent, name), _problems(path):
            known = self._expect(parent, name, path, expected)
            assert known
            temporary = self._temporary()
            _rename_new(parent, name, parent, temporary)
            if not _is_still(parent, temporary, known[0]):
                self._put(parent, temporary, parent, name, path)
                raise Unexpected(path, "it changed while it was to be deleted")
            os.unlink(temporary, dir_fd=parent)
            os.fsync(parent)
        self._prune(path)

    def move(self, path: str, target: str, expected: str) -> tuple[str, Stat]:
        """Rename a file that has the hash `expected` to a name where nothing is."""
        _check_containable(target)
        with (
            self._parent(path) as (parent, name),
            self._parent(target, make=True) as (target_parent, target_name),
            _problems(path),
        ):
            known = self._expect(parent, name, path, expected)
            assert known
            here, there = _stat_at(parent, name), _stat_at(target_parent, target_name)
            if here and there and here.inode == there.inode and self.traits.fold(path) == self.traits.fold(target):
                self._respell(parent, name, target_parent, target_name)
            else:
                self._put(parent, name, target_parent, target_name, target)
            os.fsync(target_parent)
            os.fsync(parent)
        self._prune(path)
        return self._landed(target, known[0].stat)

    def clean(self) -> int:
        """Take temporary files of an earlier run out of the folder; return how many there were."""
        found = 0
        folders = [""]
        while folders:
            folder = folders.pop()
            with suppress(FileProblem):
                for name in self.names(folder):
                    path = f"{folder}/{name}" if folder else name
                    if name.startswith(TEMP_PREFIX):
                        found += self._set_aside(path)
                    elif name != STATE_FOLDER and not folder.startswith(".git"):
                        known = self.stat(path)
                        if known and known.kind is Kind.FOLDER:
                            folders.append(path)
        return found

    # -- steps

    def _expect(self, parent: int, name: str, path: str, expected: str | None) -> tuple[Digest, int] | None:
        """Return what is at a name, with its mode, if it is what is expected.

        Raises:
            Unexpected: if it is not.
        """
        known = _stat_at(parent, name)
        if known and known.kind is Kind.FOLDER and expected is None:
            # An empty folder does not stand in a file's way.
            with suppress(OSError):
                os.rmdir(name, dir_fd=parent)
                known = None
        if known is None:
            if expected is None:
                return None
            raise Gone(path, "it is gone")
        if expected is None:
            raise Unexpected(path, f"a {known.kind.value} is there")
        digest = _digest_at(parent, name, path)
        if digest.content_hash != expected:
            raise Unexpected(path, "it has other content than before")
        mode = stat_bits.S_IMODE(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
        return digest, mode

    def _fill(self, parent: int, source: bytes | Path) -> str:
        """Put the new bytes, durably, under a temporary name next to their place; return the name."""
        temporary = self._temporary()
        if isinstance(source, bytes):
            _create(parent, temporary, source)
            return temporary
        try:
            os.rename(source, temporary, dst_dir_fd=parent)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy(parent, temporary, source)
            source.unlink()
        descriptor = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            os.fchmod(descriptor, self._mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return temporary

    def _replace(self, parent: int, temporary: str, name: str, path: str, known: Digest) -> None:
        """Exchange the new file with the old one, and look at the old one once more before it goes."""
        if _rename(parent, temporary, parent, name, _EXCHANGE):
            if not _is_still(parent, temporary, known):
                _rename(parent, temporary, parent, name, _EXCHANGE)
                raise Unexpected(path, "it changed while it was to be replaced")
            return
        if not _is_still(parent, name, known):
            raise Unexpected(path, "it changed while it was to be replaced")
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)

    def _put(self, parent: int, name: str, target_parent: int, target_name: str, target: str) -> None:
        try:
            _rename_new(parent, name, target_parent, target_name)
        except FileExistsError:
            raise Unexpected(target, "something is there now") from None

    def _respell(self, parent: int, name: str, target_parent: int, target_name: str) -> None:
        """Rename to what the disk takes for the same name: only by way of a third one does the spelling change."""
        temporary = self._temporary()
        _rename_new(parent, name, parent, temporary)
        try:
            _rename_new(parent, temporary, target_parent, target_name)
        except OSError:
            _rename_new(parent, temporary, parent, name)
            raise

    def _landed(self, path: str, landing: Stat | None) -> tuple[str, Stat]:
        """Return where a file came to be, and its stat from before: what is there now may be someone's newer one."""
        spelled = self.spelled(path)
        known = self.stat(spelled) if spelled else None
        if spelled is None or known is None or landing is None or known.inode != landing.inode:
            raise Unexpected(path, "it is gone again")
        return spelled, landing

    def _prune(self, path: str) -> None:
        """Remove the folders above a path that are empty now."""
        folder = path.rpartition("/")[0]
        while folder:
            try:
                with self._parent(folder) as (parent, name):
                    os.rmdir(name, dir_fd=parent)
            except (OSError, FileProblem):
                return
            folder = folder.rpartition("/")[0]

    def _set_aside(self, path: str) -> int:
        with suppress(FileExistsError):
            os.mkdir(LEFTOVER, 0o700, dir_fd=self._state)
        try:
            with self._parent(path) as (parent, name):
                os.rename(name, f"{STATE_FOLDER}/{LEFTOVER}/{name}", src_dir_fd=parent, dst_dir_fd=self._root)
        except (OSError, FileProblem):
            return 0
        return 1

    def _temporary(self) -> str:
        return f"{TEMP_PREFIX}{os.getpid():x}-{os.urandom(4).hex()}-{next(self._numbers):x}"

    # -- descriptors

    @contextmanager
    def _folder(self, folder: str) -> Iterator[int]:
        """Open a folder, one name after the other, following no link."""
        descriptor = os.dup(self._root)
        try:
            for name in folder.split("/") if folder else ():
                descriptor = self._step(descriptor, name, folder, make=False)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Open the folder above a path; yield its descriptor and the last name."""
        folder, _, name = path.rpartition("/")
        descriptor = os.dup(self._root)
        try:
            for step in folder.split("/") if folder else ():
                descriptor = self._step(descriptor, step, path, make=make)
            yield descriptor, name
        finally:
            os.close(descriptor)

    def _step(self, descriptor: int, name: str, path: str, *, make: bool) -> int:
        """Go down one folder, and close the one above."""
        if name in ("", ".", ".."):
            raise FileProblem(path, "it would leave the folder")
        with _problems(path):
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=descriptor)
                    os.fsync(descriptor)
            below = os.open(name, _FOLDER_FLAGS, dir_fd=descriptor)
        os.close(descriptor)
        return below

    def _probe(self) -> tuple[DiskTraits, int]:
        """Find out how the disk tells names apart, and which mode new files get."""
        name = f"probe-{os.getpid():x}-\u00e9"
        _create(self._state, name, b"")
        try:
            mode = stat_bits.S_IMODE(os.stat(name, dir_fd=self._state, follow_symlinks=False).st_mode)
            upper, decomposed = name.upper(), unicodedata.normalize("NFD", name)
            return (
                DiskTraits(_stat_at(self._state, upper) is None, _stat_at(self._state, decomposed) is None),
                mode,
            )
        finally:
            os.unlink(name, dir_fd=self._state)


@contextmanager
def folder_errors(root: Path) -> Iterator[None]:
    """Turn errors of the operating system about the folder itself into ours.

    Raises:
        FolderError: with what the system said.
    """
    try:
        yield
    except OSError as error:
        raise FolderError(f"{root}: {error.strerror or error}") from error


@contextmanager
def _problems(path: str) -> Iterator[None]:
    """Turn errors of the operating system about one path into ours."""
    try:
        yield
    except FileNotFoundError as error:
        raise Gone(path, "it is gone") from error
    except NotADirectoryError as error:
        raise Gone(path, "a folder above it is a file or a link") from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise FileProblem(path, "it is, or lies behind, a symbolic link") from error
        if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
            raise BadName(path, f"this disk cannot hold the name: {error.strerror}") from error
        raise FileProblem(path, error.strerror or str(error)) from error
    except UnicodeEncodeError:
        raise BadName(path, "this system cannot encode the name") from None


def _check_containable(path: str) -> None:
    """Check a path that is to be made, although the planner's came from a checked key."""
    try:
        check_path(unicodedata.normalize("NFC", path))
    except RefusedChange as refusal:
        raise FileProblem(path, refusal.message) from None


def _stat_at(parent: int, name: str) -> Stat | None:
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return _to_stat(found)


def _to_stat(found: os.stat_result) -> Stat:
    kinds = {stat_bits.S_IFREG: Kind.FILE, stat_bits.S_IFDIR: Kind.FOLDER, stat_bits.S_IFLNK: Kind.LINK}
    kind = kinds.get(stat_bits.S_IFMT(found.st_mode), Kind.SPECIAL)
    return Stat(kind, found.st_size, found.st_mtime_ns, found.st_ino)


def _digest_at(parent: int, name: str, path: str, chunks: list[bytes] | None = None) -> Digest:
    """Hash a file that must not change meanwhile; keep its bytes in `chunks` if given.

    O_NONBLOCK, so that a pipe of that name does not wait for its writer.
    """
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    try:
        before = os.fstat(descriptor)
        if not stat_bits.S_ISREG(before.st_mode):
            raise FileProblem(path, f"it is a {_to_stat(before).kind.value}")
        hasher = hashlib.sha256()
        size = 0
        while chunk := os.read(descriptor, CHUNK_BYTES):
            hasher.update(chunk)
            size += len(chunk)
            if chunks is not None:
                chunks.append(chunk)
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    unchanged = (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
    if not unchanged or size != after.st_size:
        raise Unexpected(path, "it changed while it was read")
    return Digest(hasher.hexdigest(), _to_stat(after))


def _is_still(parent: int, name: str, known: Digest) -> bool:
    """Say whether a name holds the same bytes as before. Hashed again: clocks of disks are coarse."""
    try:
        return _digest_at(parent, name, name).content_hash == known.content_hash
    except (OSError, FileProblem):
        return False


def _create(parent: int, name: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o666, dir_fd=parent)
    try:
        _write_all(descriptor, data)
        os.fsync(descriptor)
    except BaseException:
        with suppress(OSError):
            os.unlink(name, dir_fd=parent)
        raise
    finally:
        os.close(descriptor)


def _copy(parent: int, name: str, source: Path) -> None:
    _create(parent, name, b"")
    descriptor = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        with source.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                _write_all(descriptor, chunk)
    except BaseException:
        with suppress(OSError):
            os.unlink(name, dir_fd=parent)
        raise
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


# ---------------------------------------------------------------------------------------------- renaming

_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_MACOS: Final = sys.platform == "darwin"
_NO_REPLACE: Final = 4 if _MACOS else 1
_EXCHANGE: Final = 2
_UNSUPPORTED: Final = frozenset((errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP))

_libc = ctypes.CDLL(None, use_errno=True)
_system_rename = getattr(_libc, "renameatx_np" if _MACOS else "renameat2", None)


def _rename(parent: int, name: str, target_parent: int, target: str, flag: int) -> bool:
    """Rename with a flag; return False if this disk or system cannot.

    Raises:
        OSError: as `os.rename`; `FileExistsError` if something is at the target.
    """
    if _system_rename is None:
        return False
    if _system_rename(parent, os.fsencode(name), target_parent, os.fsencode(target), flag) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), name)


def _rename_new(parent: int, name: str, target_parent: int, target: str) -> None:
    """Rename to a name that must be free.

    Raises:
        FileExistsError: it is not.
    """
    if _rename(parent, name, target_parent, target, _NO_REPLACE):
        return
    try:
        os.link(name, target, src_dir_fd=parent, dst_dir_fd=target_parent, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:
        # Neither the rename nor links: some memory cards and network disks. Looking first is the best there is.
        if _stat_at(target_parent, target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
        os.rename(name, target, src_dir_fd=parent, dst_dir_fd=target_parent)
    else:
        os.unlink(name, dir_fd=parent)
