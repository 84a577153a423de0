"""The folder on disk: a narrow port (`Files`), and the real one.

Everything goes through directory descriptors that were opened without following links, so no path, name or swapped
folder leads outside. Whatever replaces or removes bytes says which bytes it expects, and looks again after the
atomic step: what it did not expect it puts back. Which file should hold what is plan.py's matter.
"""

from __future__ import annotations

import errno
import hashlib
import stat as stat_bits
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, Protocol

from tidenote.core.keys import STATE_FOLDER, check_path
from tidenote.errors import FolderError, RefusedChange
from tidenote.vault.bases import DiskTraits
from tidenote.vault.disk import Disk, LocalDisk, StatResult
from tidenote.vault.ignore import TEMP_PREFIX

CHUNK_BYTES: Final = 1 << 20
"""How much of a file is in memory at once."""

LEFTOVER: Final = "leftover"
"""The folder in the state folder for temporary files, of a run that was killed or that somebody's saves crossed; they
may hold somebody's bytes."""

MAX_TOLD_BYTES: Final = 100
"""How much of a file's name is left where it is kept under another one."""

DEPARTED: Final = "departed"
"""The folder in the state folder for what was replaced or deleted a moment ago, and perhaps is open in a program that
writes into it yet: not every system tells."""


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


class InUse(FileProblem):
    """A program has the file open, and what it writes yet must not go nowhere. Nothing was changed."""


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
            InUse: what is to be replaced is being written.
        """
        ...

    def settle(self, path: str) -> None:
        """Make durable that a name holds what it holds: who put that there may not have come so far."""
        ...

    def delete(self, path: str, expected: str) -> None:
        """Remove a file that has the hash `expected`, and the folders that this leaves empty; raises as `write`."""
        ...

    def move(self, path: str, target: str, expected: str) -> tuple[str, Stat]:
        """Rename a file that has the hash `expected` to a name where nothing is; as `write`."""
        ...

    def look_back(self) -> int:
        """Look at what was replaced or deleted before the last call: return how much was written since, and is kept."""
        ...

    def clean(self) -> int:
        """Take temporary files of an earlier run out of the folder; return how many there were."""
        ...


class RealFiles:
    """A folder of the local disk.

    Args:
        root: a folder with a state folder in it; if it is a link, it is followed here and never again.
        disk: where it is.

    Raises:
        FolderError: it is missing, no folder, or unreadable.
    """

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.root = root
        self._disk = disk or LocalDisk()
        self._departed: frozenset[str] = frozenset()
        """What had departed when that was looked at last."""
        with folder_errors(root):
            self._root = self._disk.open_root(root)
        try:
            with folder_errors(root):
                found = self._disk.fstat(self._root)
                self._identity = (found.st_dev, found.st_ino)
                self._state = self._disk.open_folder(self._root, STATE_FOLDER)
        except BaseException:
            self._disk.close(self._root)
            raise
        try:
            with folder_errors(root):
                self._traits, self._mode = self._probe()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the folder's descriptors back."""
        self._disk.close(self._state)
        self._disk.close(self._root)

    @property
    def traits(self) -> DiskTraits:
        """How the disk tells names apart."""
        return self._traits

    def check(self) -> None:
        """Raise `FolderError` unless the folder is still there, and still the same one."""
        with folder_errors(self.root):
            found = self._disk.root_stat(self.root)
            if (found.st_dev, found.st_ino) != self._identity:
                raise FolderError(f"{self.root} is another folder than before")
            state = self._disk.stat(self._root, STATE_FOLDER)
            ours = self._disk.fstat(self._state)
            if (state.st_dev, state.st_ino) != (ours.st_dev, ours.st_ino):
                raise FolderError(f"{self.root / STATE_FOLDER} is another folder than before")
            self._disk.close(self._disk.open_folder(self._root, "."))

    # -- looking

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder; names that are no UTF-8 come with surrogates."""
        with self._folder(folder) as descriptor, _problems(folder):
            return sorted(self._disk.names(descriptor))

    def stat(self, path: str) -> Stat | None:
        """Look at a path; None if nothing is there."""
        try:
            with self._parent(path) as (parent, name), _problems(path):
                return self._stat_at(parent, name)
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
            return self._digest_at(parent, name, path)

    def read(self, path: str) -> tuple[bytes, Digest]:
        """Read a file whole."""
        chunks: list[bytes] = []
        with self._parent(path) as (parent, name), _problems(path):
            digest = self._digest_at(parent, name, path, chunks)
        return b"".join(chunks), digest

    # -- changing

    def write(self, path: str, source: bytes | Path, expected: str | None) -> tuple[str, Stat]:
        """Put bytes at a path, atomically and durably, if it holds the hash `expected` (None: if nothing is there)."""
        _check_containable(path)
        with self._parent(path, make=True) as (parent, name), _problems(path):
            known = self._expect(parent, name, path, expected)
            if known:
                self._check_unwritten(parent, name, path)
            temporary = self._fill(parent, source)
            try:
                landing = self._stat_at(parent, temporary)
                # Before, nobody but its owner could read it: what others could not read stays so.
                self._disk.chmod(parent, temporary, known[1] if known else self._mode)
                if known:
                    self._replace(parent, temporary, name, path, known[0], landing)
                else:
                    self._put(parent, temporary, parent, name, path)
            finally:
                with suppress(FileNotFoundError):
                    self._disk.unlink(parent, temporary)
            self._disk.fsync(parent)
        return self._landed(path, landing)

    def settle(self, path: str) -> None:
        """Make durable that a name holds what it holds."""
        with self._parent(path) as (parent, _), _problems(path):
            self._disk.fsync(parent)

    def delete(self, path: str, expected: str) -> None:
        """Remove a file that has the hash `expected`, and the folders that this leaves empty."""
        with self._parent(path) as (parent, name), _problems(path):
            known = self._expect(parent, name, path, expected)
            assert known
            self._check_unwritten(parent, name, path)
            temporary = self._temporary()
            # The temporary name is nobody else's: a plain rename, which takes what is there in one step on every disk.
            self._disk.rename(parent, name, parent, temporary)
            if not self._is_still(parent, temporary, known[0].content_hash):
                self._put(parent, temporary, parent, name, path)
                raise Unexpected(path, "it changed while it was to be deleted")
            self._let_go(parent, temporary, name, known[0])
            self._disk.fsync(parent)
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
            here, there = self._stat_at(parent, name), self._stat_at(target_parent, target_name)
            if here and there and here.inode == there.inode and self.traits.fold(path) == self.traits.fold(target):
                self._respell(parent, name, target_parent, target_name)
            else:
                self._put(parent, name, target_parent, target_name, target)
            self._disk.fsync(target_parent)
            self._disk.fsync(parent)
        self._prune(path)
        return self._landed(target, known[0].stat)

    def look_back(self) -> int:
        """Look at what was replaced or deleted before the last call: return how much was written since, and is kept.

        What is kept is the file itself, so that whatever its writer adds later is there as well.
        """
        written = 0
        with folder_errors(self.root), suppress(FileNotFoundError), self._kept(DEPARTED) as departed:
            names = frozenset(self._disk.names(departed))
            for name in self._departed & names:
                if self._is_still(departed, name, name.partition("-")[0]):
                    self._disk.unlink(departed, name)
                else:
                    self._set_aside(departed, name)
                    written += 1
            self._departed = names
        return written

    def clean(self) -> int:
        """Take temporary files of an earlier run out of the folder; return how many there were."""
        # What departed then has had its time.
        self.look_back()
        found = self.look_back()
        folders = [""]
        while folders:
            folder = folders.pop()
            with suppress(FileProblem):
                for name in self.names(folder):
                    path = f"{folder}/{name}" if folder else name
                    if name.startswith(TEMP_PREFIX):
                        found += self._tidy(path)
                    elif name not in (STATE_FOLDER, ".git"):
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
        known = self._stat_at(parent, name)
        if known and known.kind is Kind.FOLDER and expected is None:
            # An empty folder does not stand in a file's way.
            with suppress(OSError):
                self._disk.rmdir(parent, name)
                known = None
        if known is None:
            if expected is None:
                return None
            raise Gone(path, "it is gone")
        if expected is None:
            raise Unexpected(path, f"a {known.kind.value} is there")
        digest = self._digest_at(parent, name, path)
        if digest.content_hash != expected:
            raise Unexpected(path, "it has other content than before")
        mode = stat_bits.S_IMODE(self._disk.stat(parent, name).st_mode)
        return digest, mode

    def _check_unwritten(self, parent: int, name: str, path: str) -> None:
        """Check before anything moves: it may have to be tried for long.

        Raises:
            InUse: a program has the file open for writing.
        """
        if self._is_written(parent, name):
            raise InUse(path, "a program has it open for writing")

    def _fill(self, parent: int, source: bytes | Path) -> str:
        """Put the new bytes, durably, under a temporary name next to their place; return the name."""
        temporary = self._temporary()
        if isinstance(source, bytes):
            self._create(parent, temporary, (source,))
            return temporary
        try:
            self._disk.bring(source, parent, temporary)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with source.open("rb") as file:
                self._create(parent, temporary, iter(lambda: file.read(CHUNK_BYTES), b""))
            source.unlink()
        descriptor = self._disk.open_file(parent, temporary)
        try:
            self._disk.fsync(descriptor)
        finally:
            self._disk.close(descriptor)
        return temporary

    def _replace(self, parent: int, temporary: str, name: str, path: str, known: Digest, landing: Stat | None) -> None:
        """Let the new file and the old one trade places, and look at the old one once more before it goes."""
        self._exchange(parent, temporary, name, path)
        if self._is_still(parent, temporary, known.content_hash):
            self._let_go(parent, temporary, name, known)
            return
        try:
            self._exchange(parent, temporary, name, path)
            # Or a power cut could bring back the moment before, with their file under the temporary name.
            self._disk.fsync(parent)
        finally:
            if self._stat_at(parent, temporary) != landing:
                # Not the new file: somebody saved once more before all was back in its place.
                self._set_aside(parent, temporary)
        raise Unexpected(path, "it changed while it was to be replaced")

    def _exchange(self, parent: int, temporary: str, name: str, path: str) -> None:
        """Let a temporary file and the one at a name trade places, or leave both as they are.

        A disk that cannot do that in one step has nothing at the name for a moment, between two renames. Renaming over
        the old file would avoid that, and destroy what somebody saved since it was looked at. What is saved in that
        moment stays where it is; a run that is killed then leaves the old file to `clean`, which puts it back.
        """
        if self._disk.exchange(parent, temporary, name):
            return
        aside = self._temporary()
        self._disk.mkdir(parent, aside, 0o700)
        try:
            folder = self._disk.open_folder(parent, aside)
            try:
                self._disk.rename(parent, name, folder, name)
                self._put(parent, temporary, parent, name, path)
                self._disk.rename(folder, name, parent, temporary)
            finally:
                self._disk.close(folder)
        finally:
            self._dissolve(parent, aside)

    def _put(self, parent: int, name: str, target_parent: int, target_name: str, target: str) -> None:
        try:
            self._disk.rename_new(parent, name, target_parent, target_name)
        except FileExistsError:
            raise Unexpected(target, "something is there now") from None

    def _respell(self, parent: int, name: str, target_parent: int, target_name: str) -> None:
        """Rename to what the disk takes for the same name: only by way of a third one does the spelling change."""
        temporary = self._temporary()
        self._disk.rename_new(parent, name, parent, temporary)
        try:
            self._disk.rename_new(parent, temporary, target_parent, target_name)
        except OSError:
            self._disk.rename_new(parent, temporary, parent, name)
            raise

    def _landed(self, path: str, landing: Stat | None) -> tuple[str, Stat]:
        """Return where a file came to be, and its stat from before: who saved another one there since saw this one."""
        spelled = self.spelled(path)
        if spelled is None or landing is None:
            raise Unexpected(path, "it is gone again")
        return spelled, landing

    def _prune(self, path: str) -> None:
        """Remove the folders above a path that are empty now."""
        folder = path.rpartition("/")[0]
        while folder:
            try:
                with self._parent(folder) as (parent, name):
                    self._disk.rmdir(parent, name)
            except (OSError, FileProblem):
                return
            folder = folder.rpartition("/")[0]

    def _tidy(self, path: str) -> int:
        """Take what an earlier run left under a temporary name out of the folder; return how much was left."""
        try:
            with self._parent(path) as (parent, name):
                known = self._stat_at(parent, name)
                if known and known.kind is Kind.FOLDER:
                    self._dissolve(parent, name)
                else:
                    self._set_aside(parent, name)
        except (OSError, FileProblem):
            return 0
        return 1

    def _dissolve(self, parent: int, aside: str) -> None:
        """Remove a folder made by `_exchange`; a file in it goes back to its place, if nothing is there."""
        folder = self._disk.open_folder(parent, aside)
        try:
            for name in self._disk.names(folder):
                with suppress(FileExistsError):
                    self._disk.rename_new(folder, name, parent, name)
        finally:
            self._disk.close(folder)
        try:
            self._disk.rmdir(parent, aside)
        except OSError:
            self._set_aside(parent, aside)

    def _set_aside(self, parent: int, name: str) -> None:
        """Keep what is under a temporary name among the leftovers: it may be somebody's."""
        with self._kept(LEFTOVER, make=True) as leftover:
            self._disk.rename(parent, name, leftover, name)

    def _let_go(self, parent: int, temporary: str, name: str, known: Digest) -> None:
        """Remove what was replaced or deleted; at once only if nobody can write into it any more."""
        if self._is_written(parent, temporary) is False:
            self._disk.unlink(parent, temporary)
            return
        # Its hash, to compare it with; a name that is nobody else's; and for people what it was.
        end = name.encode(errors="surrogateescape")[-MAX_TOLD_BYTES:].decode(errors="ignore")
        try:
            with self._kept(DEPARTED, make=True) as departed:
                self._disk.rename(parent, temporary, departed, f"{known.content_hash}-{self._disk.nonce()}-{end}")
        except OSError:
            # On another disk than ours, for one.
            self._disk.unlink(parent, temporary)

    @contextmanager
    def _kept(self, name: str, *, make: bool = False) -> Iterator[int]:
        """Open a folder in the state folder."""
        if make:
            with suppress(FileExistsError):
                self._disk.mkdir(self._state, name, 0o700)
        folder = self._disk.open_folder(self._state, name)
        try:
            yield folder
        finally:
            self._disk.close(folder)

    def _temporary(self) -> str:
        return f"{TEMP_PREFIX}{self._disk.nonce()}"

    # -- descriptors

    @contextmanager
    def _folder(self, folder: str) -> Iterator[int]:
        """Open a folder, one name after the other, following no link."""
        descriptor = self._disk.dup(self._root)
        try:
            for name in folder.split("/") if folder else ():
                descriptor = self._step(descriptor, name, folder, make=False)
            yield descriptor
        finally:
            self._disk.close(descriptor)

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Open the folder above a path; yield its descriptor and the last name."""
        folder, _, name = path.rpartition("/")
        descriptor = self._disk.dup(self._root)
        try:
            for step in folder.split("/") if folder else ():
                descriptor = self._step(descriptor, step, path, make=make)
            yield descriptor, name
        finally:
            self._disk.close(descriptor)

    def _step(self, descriptor: int, name: str, path: str, *, make: bool) -> int:
        """Go down one folder, and close the one above."""
        if name in ("", ".", ".."):
            raise FileProblem(path, "it would leave the folder")
        with _problems(path):
            if make:
                with suppress(FileExistsError):
                    self._disk.mkdir(descriptor, name)
                    self._disk.fsync(descriptor)
            below = self._disk.open_folder(descriptor, name)
        self._disk.close(descriptor)
        return below

    def _probe(self) -> tuple[DiskTraits, int]:
        """Find out how the disk tells names apart, and which mode new files get."""
        name = f"probe-{self._disk.nonce()}-\u00e9"
        self._disk.close(self._disk.create(self._state, name, 0o666))
        try:
            mode = stat_bits.S_IMODE(self._disk.stat(self._state, name).st_mode)
            upper, decomposed = name.upper(), unicodedata.normalize("NFD", name)
            return (
                DiskTraits(self._stat_at(self._state, upper) is None, self._stat_at(self._state, decomposed) is None),
                mode,
            )
        finally:
            self._disk.unlink(self._state, name)

    # -- files below a descriptor

    def _stat_at(self, parent: int, name: str) -> Stat | None:
        try:
            found = self._disk.stat(parent, name)
        except FileNotFoundError:
            return None
        return _to_stat(found)

    def _digest_at(self, parent: int, name: str, path: str, chunks: list[bytes] | None = None) -> Digest:
        """Hash a file that must not change meanwhile; keep its bytes in `chunks` if given."""
        descriptor = self._disk.open_file(parent, name)
        try:
            before = self._disk.fstat(descriptor)
            if not stat_bits.S_ISREG(before.st_mode):
                raise FileProblem(path, f"it is a {_to_stat(before).kind.value}")
            hasher = hashlib.sha256()
            size = 0
            while chunk := self._disk.read(descriptor, CHUNK_BYTES):
                hasher.update(chunk)
                size += len(chunk)
                if chunks is not None:
                    chunks.append(chunk)
            after = self._disk.fstat(descriptor)
        finally:
            self._disk.close(descriptor)
        unchanged = (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
        if not unchanged or size != after.st_size:
            raise Unexpected(path, "it changed while it was read")
        return Digest(hasher.hexdigest(), _to_stat(after))

    def _is_still(self, parent: int, name: str, content_hash: str) -> bool:
        """Say whether a name holds the same bytes as before, for good. Hashed again: clocks of disks are coarse.

        In this order: who closed it before we ask is found by the hash.
        """
        try:
            is_written = self._is_written(parent, name)
            return not is_written and self._digest_at(parent, name, name).content_hash == content_hash
        except (OSError, FileProblem):
            return False

    def _is_written(self, parent: int, name: str) -> bool | None:
        descriptor = self._disk.open_file(parent, name)
        try:
            return self._disk.is_written(descriptor)
        finally:
            self._disk.close(descriptor)

    def _create(self, parent: int, name: str, chunks: Iterable[bytes]) -> None:
        """Put bytes, durably, under a new name; nothing is left of it if that fails."""
        descriptor = self._disk.create(parent, name)
        try:
            for chunk in chunks:
                self._write_all(descriptor, chunk)
            self._disk.fsync(descriptor)
        except BaseException:
            with suppress(OSError):
                self._disk.unlink(parent, name)
            raise
        finally:
            self._disk.close(descriptor)

    def _write_all(self, descriptor: int, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._disk.write(descriptor, left) :]


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
        step = ": check who may read and write it" if isinstance(error, PermissionError) else ""
        raise FileProblem(path, f"{error.strerror or error}{step}") from error
    except UnicodeEncodeError:
        raise BadName(path, "this system cannot encode the name") from None


def _check_containable(path: str) -> None:
    """Check a path that is to be made, although the planner's came from a checked key."""
    try:
        check_path(unicodedata.normalize("NFC", path))
    except RefusedChange as refusal:
        raise FileProblem(path, refusal.message) from None


def _to_stat(found: StatResult) -> Stat:
    kinds = {stat_bits.S_IFREG: Kind.FILE, stat_bits.S_IFDIR: Kind.FOLDER, stat_bits.S_IFLNK: Kind.LINK}
    kind = kinds.get(stat_bits.S_IFMT(found.st_mode), Kind.SPECIAL)
    return Stat(kind, found.st_size, found.st_mtime_ns, found.st_ino)
