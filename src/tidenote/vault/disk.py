"""What a folder asks of the operating system: a narrow port (`Disk`), and the local disk behind it.

Names are looked up below descriptors of folders, and no link is followed but the root's. Every method is one step that
a crash may come before or after; what is durable when is files.py's matter, which is all that uses this.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Final, Protocol


class StatResult(Protocol):
    """What is used of `os.stat_result`."""

    @property
    def st_mode(self) -> int:
        """Kind and permissions."""
        ...

    @property
    def st_dev(self) -> int:
        """The device."""
        ...

    @property
    def st_ino(self) -> int:
        """The inode."""
        ...

    @property
    def st_size(self) -> int:
        """Bytes."""
        ...

    @property
    def st_mtime_ns(self) -> int:
        """Last modification, ns since 1970."""
        ...


class Disk(Protocol):
    """The steps of an operating system. Every method raises `OSError` as the call of `os` with its name does."""

    def root_stat(self, root: Path) -> StatResult:
        """Look at the root; a link is followed."""
        ...

    def open_root(self, root: Path) -> int:
        """Open the root; a link is followed."""
        ...

    def open_folder(self, parent: int, name: str) -> int:
        """Open a folder that is no link."""
        ...

    def open_file(self, parent: int, name: str) -> int:
        """Open a file that is no link for reading, without waiting for anybody."""
        ...

    def create(self, parent: int, name: str, mode: int = 0o600) -> int:
        """Create and open a file where nothing is; only its owner may read it, unless the mode says otherwise."""
        ...

    def dup(self, descriptor: int) -> int:
        """Return another descriptor of the same folder."""
        ...

    def close(self, descriptor: int) -> None:
        """Give a descriptor back."""
        ...

    def names(self, folder: int) -> list[str]:
        """Return the names in a folder, in any order."""
        ...

    def stat(self, parent: int, name: str) -> StatResult:
        """Look at a name; a link is not followed."""
        ...

    def fstat(self, descriptor: int) -> StatResult:
        """Look at what is open."""
        ...

    def is_written(self, descriptor: int) -> bool | None:
        """Say whether any program has a file open for writing; None if this disk or system does not tell."""
        ...

    def read(self, descriptor: int, size: int) -> bytes:
        """Read on."""
        ...

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write some, and return how much."""
        ...

    def fsync(self, descriptor: int) -> None:
        """Make durable: of a file its bytes, of a folder its names."""
        ...

    def chmod(self, parent: int, name: str, mode: int) -> None:
        """Set a file's permissions."""
        ...

    def mkdir(self, parent: int, name: str, mode: int = 0o777) -> None:
        """Make a folder."""
        ...

    def rmdir(self, parent: int, name: str) -> None:
        """Remove an empty folder."""
        ...

    def unlink(self, parent: int, name: str) -> None:
        """Remove a file's name."""
        ...

    def bring(self, source: Path, parent: int, name: str) -> None:
        """Rename a file of the same disk, wherever it is, to a name."""
        ...

    def rename(self, parent: int, name: str, target_parent: int, target: str) -> None:
        """Rename, and replace what is at the target."""
        ...

    def rename_new(self, parent: int, name: str, target_parent: int, target: str) -> None:
        """Rename to a name that must be free; `FileExistsError` if it is not."""
        ...

    def exchange(self, parent: int, name: str, other: str) -> bool:
        """Let two names trade places in one step; return False if this disk cannot."""
        ...

    def nonce(self) -> str:
        """Return a part of a name that nobody else uses."""
        ...


class LocalDisk:
    """The disk of this computer."""

    def __init__(self) -> None:
        self._numbers = count()

    def root_stat(self, root: Path) -> os.stat_result:
        """Look at the root; a link is followed."""
        return root.stat()

    def open_root(self, root: Path) -> int:
        """Open the root; a link is followed."""
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def open_folder(self, parent: int, name: str) -> int:
        """Open a folder that is no link."""
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)

    def open_file(self, parent: int, name: str) -> int:
        """Open a file that is no link for reading. O_NONBLOCK, so that a pipe does not wait for its writer."""
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)

    def create(self, parent: int, name: str, mode: int = 0o600) -> int:
        """Create and open a file where nothing is."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags, mode, dir_fd=parent)

    def dup(self, descriptor: int) -> int:
        """Return another descriptor of the same folder."""
        return os.dup(descriptor)

    def close(self, descriptor: int) -> None:
        """Give a descriptor back."""
        os.close(descriptor)

    def names(self, folder: int) -> list[str]:
        """Return the names in a folder, in any order."""
        # Descriptors that were duplicated share one place in the listing: two threads would take names from each other.
        own = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
        try:
            with os.scandir(own) as entries:
                return [entry.name for entry in entries]
        finally:
            os.close(own)

    def stat(self, parent: int, name: str) -> os.stat_result:
        """Look at a name; a link is not followed."""
        return os.stat(name, dir_fd=parent, follow_symlinks=False)

    def fstat(self, descriptor: int) -> os.stat_result:
        """Look at what is open."""
        return os.fstat(descriptor)

    def is_written(self, descriptor: int) -> bool | None:
        """Say whether any program has a file open for writing: Linux tells, of most disks and of one's own files."""
        return _is_written(descriptor)

    def read(self, descriptor: int, size: int) -> bytes:
        """Read on."""
        return os.read(descriptor, size)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write some, and return how much."""
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        """Make durable: of a file its bytes, of a folder its names."""
        os.fsync(descriptor)

    def chmod(self, parent: int, name: str, mode: int) -> None:
        """Set a file's permissions."""
        os.chmod(name, mode, dir_fd=parent)

    def mkdir(self, parent: int, name: str, mode: int = 0o777) -> None:
        """Make a folder."""
        os.mkdir(name, mode, dir_fd=parent)

    def rmdir(self, parent: int, name: str) -> None:
        """Remove an empty folder."""
        os.rmdir(name, dir_fd=parent)

    def unlink(self, parent: int, name: str) -> None:
        """Remove a file's name."""
        os.unlink(name, dir_fd=parent)

    def bring(self, source: Path, parent: int, name: str) -> None:
        """Rename a file of the same disk, wherever it is, to a name."""
        os.rename(source, name, dst_dir_fd=parent)

    def rename(self, parent: int, name: str, target_parent: int, target: str) -> None:
        """Rename, and replace what is at the target."""
        os.rename(name, target, src_dir_fd=parent, dst_dir_fd=target_parent)

    def rename_new(self, parent: int, name: str, target_parent: int, target: str) -> None:
        """Rename to a name that must be free; `FileExistsError` if it is not."""
        if _rename_with(_NO_REPLACE, parent, name, target_parent, target):
            return
        try:
            os.link(name, target, src_dir_fd=parent, dst_dir_fd=target_parent, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:
            # Neither the rename nor links: some memory cards and network disks. Looking first is the best there is.
            if _is_there(target_parent, target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
            os.rename(name, target, src_dir_fd=parent, dst_dir_fd=target_parent)
        else:
            os.unlink(name, dir_fd=parent)

    def exchange(self, parent: int, name: str, other: str) -> bool:
        """Let two names trade places in one step; return False if this disk cannot."""
        return _rename_with(_EXCHANGE, parent, name, parent, other)

    def nonce(self) -> str:
        """Return a part of a name that nobody else uses."""
        return f"{os.getpid():x}-{os.urandom(4).hex()}-{next(self._numbers):x}"


def _is_there(parent: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


_libc = ctypes.CDLL(None, use_errno=True)

if sys.platform == "linux":

    def _is_written(descriptor: int) -> bool | None:
        """Ask for a read lease, which nobody gets of a file that is open for writing, and give it back."""
        try:
            # Who opens the file in this very moment breaks the lease; the signal that tells us must not be SIGIO, which
            # ends a process, but one that does nothing.
            fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except BlockingIOError:
            return None if _kind_of_disk(descriptor) in _SHARED_DISKS else True
        except OSError:
            return None
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False

    _SHARED_DISKS: Final = frozenset((0x6969, 0xFF534D42, 0xFE534D42, 0x517B))
    """NFS, CIFS, SMB 2 and SMB, by their numbers in statfs(2): they refuse a lease in the same words where their server
    has lent us nothing."""

    def _kind_of_disk(descriptor: int) -> int:
        """Return the number of a file system's kind; 0 if that cannot be told."""
        # As much as any system's struct statfs needs; the kind comes first.
        found = (ctypes.c_long * 64)()
        return found[0] & 0xFFFFFFFF if _libc.fstatfs(descriptor, found) == 0 else 0

else:

    def _is_written(_: int) -> bool | None:
        """Return None: no system call tells."""
        return None


_MACOS: Final = sys.platform == "darwin"
_NO_REPLACE: Final = 4 if _MACOS else 1
_EXCHANGE: Final = 2
_UNSUPPORTED: Final = frozenset((errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP))
_system_rename = getattr(_libc, "renameatx_np" if _MACOS else "renameat2", None)


def _rename_with(flag: int, parent: int, name: str, target_parent: int, target: str) -> bool:
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
