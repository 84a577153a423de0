"""The folder's marker `.tidenote/`: whose folder this is, the lock, the journal's place, status and control files.

The daemon holds the lock; the small functions at the end are for other processes, which leave files for it.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self, get_args

import msgspec
from filelock import FileLock, Timeout

from tidenote.client.data_sync import FindBlob
from tidenote.client.journal import BrokenJournal, Journal, set_aside
from tidenote.config import SyncConfig
from tidenote.core.keys import STATE_FOLDER
from tidenote.core.version import BlobRef
from tidenote.errors import FolderError
from tidenote.vault.files import folder_errors
from tidenote.wire.messages import HoldDecision, HoldKind

logger = logging.getLogger("tidenote.vault")

ID_FILE: Final = "folder-id"
LOCK_FILE: Final = "lock"
JOURNAL_FILE: Final = "journal.db"
STATUS_FILE: Final = "status.json"
LINK_FILE: Final = "link.json"
PAUSE_FILE: Final = "paused"
CONFIRM_FILE: Final = "confirm-deletes"
INCOMING: Final = "incoming"
"""The folder for attachments that are being fetched."""

DECISION_PREFIX: Final = "decide-"
"""What the file of a decision begins with; then comes the kind of hold."""

CONTROL_FILES: Final = frozenset((PAUSE_FILE, CONFIRM_FILE, *(DECISION_PREFIX + kind for kind in get_args(HoldKind))))
"""What other processes leave for the daemon."""

LOCK_WAIT_S: Final = 0.5
"""How long the lock may be taken: who only asks whether a daemon runs has it for a moment."""

INCOMING_KEPT_S: Final = 7 * 24 * 3600
"""How long a part of an attachment is kept, so that fetching it can go on."""


class HeldPath(msgspec.Struct):
    """A path that waits for a person, or for the disk; `why` is a name of `plan.Why`."""

    path: str
    why: str
    reason: str


class Decided(msgspec.Struct):
    """What a person decided about what is held, and which paths they saw."""

    kind: HoldKind
    decision: HoldDecision
    paths: list[str]


class FolderStatus(msgspec.Struct):
    """How the folder stands, as `status.json` says it.

    `state` is `synced`, `pending`, `attention`, `offline` or `paused`; times are ms since 1970.
    """

    state: str
    pending: int = 0
    held: list[HeldPath] = []
    skipped: list[HeldPath] = []
    conflicts: int = 0
    cursor: int = 0
    last_confirmed_at: int | None = None
    paused: str | None = None
    refused: list[HeldPath] = []
    files: int = 0
    connection: str = ""
    last_error: str | None = None
    device_id: str = ""
    vault: str = ""
    endpoint: str = ""
    pid: int = 0
    updated_at: int = 0
    last_error_code: str | None = None


class StateFolder:
    """The opened marker of a folder; no second one can be opened while it is.

    Args:
        root: the folder that syncs; it exists.
        create: whether to make the marker if it is missing.

    Raises:
        FolderError: the folder is missing or unreadable, has no marker, or another daemon has it.
    """

    def __init__(self, root: Path, *, create: bool = True) -> None:
        with folder_errors(root):
            self.root = root.resolve(strict=True)
            self.path = self.root / STATE_FOLDER
            if not self.root.is_dir():
                raise FolderError(f"{root} is not a folder")
            if self.path.is_symlink() or (self.path.exists() and not self.path.is_dir()):
                raise FolderError(f"{self.path} is no folder: rename it, Tidenote keeps its own files there")
            if create:
                self.path.mkdir(mode=0o700, exist_ok=True)
            elif not self.path.is_dir():
                raise FolderError(f"{root} is not linked yet: it has no {STATE_FOLDER} folder")
            self._lock: FileLock | None = _lock(self.path)
            try:
                self._lock.acquire(timeout=LOCK_WAIT_S)
            except Timeout:
                raise FolderError(f"another tidenote is syncing {self.root}") from None
            except NotImplementedError:
                self._lock = None
            self._lock_inode = self._find_lock()
        try:
            with folder_errors(root):
                self._prepare()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the lock back."""
        if self._lock:
            self._lock.release()

    @property
    def journal_path(self) -> Path:
        """Where the journal is."""
        return self.path / JOURNAL_FILE

    @property
    def incoming(self) -> Path:
        """Where attachments are while they are being fetched."""
        return self.path / INCOMING

    def open_journal(self) -> Journal:
        """Open the journal; one that is damaged is set aside, and a new one finds its way by union.

        Raises:
            StorageError: it cannot be opened.
        """
        try:
            return Journal(self.journal_path)
        except BrokenJournal as error:
            kept = set_aside(self.journal_path)
            logger.error("%s; it is kept as %s, and nothing is deleted", error.message, kept.name)
            return Journal(self.journal_path)

    def check(self) -> None:
        """Check that the marker is still this folder's.

        Raises:
            FolderError: it is missing, or another's.
        """
        with folder_errors(self.root):
            found = (self.path / ID_FILE).read_text(encoding="ascii", errors="replace").strip()
        if found != self.folder_id:
            raise FolderError(f"{self.root} is another folder than before")

    def has_lock(self) -> bool:
        """Say whether the lock is still ours: who removes its file lets another daemon make a new one."""
        return self._lock is None or self._find_lock() == self._lock_inode

    def _find_lock(self) -> int | None:
        with suppress(FileNotFoundError):
            return (self.path / LOCK_FILE).stat().st_ino
        return None

    # -- control and status

    @property
    def paused(self) -> bool:
        """Whether a person paused this folder."""
        return (self.path / PAUSE_FILE).exists()

    def take_confirmation(self) -> bool:
        """Say whether a person confirmed the deletions that are held, once."""
        with suppress(OSError):
            (self.path / CONFIRM_FILE).unlink()
            return True
        return False

    def decisions(self) -> list[Decided]:
        """Return what a person decided about what is held, and what was not dropped since."""
        return [decided for kind in get_args(HoldKind) if (decided := self._decision(kind))]

    def drop_decision(self, decided: Decided) -> None:
        """Forget a decision, because it is done; unless a later one took its place."""
        if self._decision(decided.kind) == decided:
            with suppress(OSError):
                (self.path / (DECISION_PREFIX + decided.kind)).unlink()

    def _decision(self, kind: HoldKind) -> Decided | None:
        with suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode((self.path / (DECISION_PREFIX + kind)).read_bytes(), type=Decided)
        return None

    def write_status(self, status: FolderStatus) -> None:
        """Tell other processes how things stand; best effort."""
        with suppress(OSError):
            _replace(self.path / STATUS_FILE, msgspec.json.encode(status))

    def remember_link(self, config: SyncConfig) -> None:
        """Remember where this folder syncs to, so that it need not be said again, even if the journal breaks."""
        link = {
            "device_id": config.device_id,
            "sync_endpoint": config.sync_endpoint,
            "vault": config.vault,
            "token": config.token,
        }
        data = json.dumps(link).encode()
        target = self.path / LINK_FILE
        with folder_errors(self.root):
            if not target.exists() or target.read_bytes() != data:
                _replace(target, data)

    def _prepare(self) -> None:
        self.incoming.mkdir(mode=0o700, exist_ok=True)
        for path in self.incoming.iterdir():
            if path.is_file() and path.lstat().st_mtime < time.time() - INCOMING_KEPT_S:
                path.unlink()
        # The journal holds the token and all texts: it should not end up in anyone's repository.
        if not (self.path / ".gitignore").exists():
            (self.path / ".gitignore").write_text("*\n", encoding="ascii")
        marker = self.path / ID_FILE
        if not marker.exists():
            _replace(marker, f"{secrets.token_hex(16)}\n".encode())
        self.folder_id = marker.read_text(encoding="ascii", errors="replace").strip()
        """Tells this folder from any other that may appear in its place."""


def blob_finder(root: Path, journal: Journal) -> FindBlob:
    """Return what finds the bytes of a blob that a restored server has lost: in the outbox, or in the folder."""

    def find(blob: BlobRef) -> Path | None:
        if source := journal.source_of(blob.sha256):
            return Path(source)
        names = (base.disk_name for base in journal.bases().values() if base.content_hash == blob.sha256)
        name = next(names, None)
        return None if name is None else root / name

    return find


# ---------------------------------------------------------------------------------------------- for other processes


def daemon_runs(root: Path) -> bool:
    """Say whether a daemon has this folder."""
    if not (root / STATE_FOLDER / LOCK_FILE).exists():
        return False
    lock = _lock(root / STATE_FOLDER)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except (NotImplementedError, OSError):
        return False
    lock.release()
    return False


def read_status(root: Path) -> FolderStatus | None:
    """Return what the last daemon said of this folder; None if none did."""
    try:
        return msgspec.json.decode((root / STATE_FOLDER / STATUS_FILE).read_bytes(), type=FolderStatus)
    except (OSError, msgspec.DecodeError):
        return None


def read_link(root: Path) -> dict[str, str | None] | None:
    """Return the settings that `StateFolder.remember_link` kept, by field name; None if there are none."""
    try:
        data = (root / STATE_FOLDER / LINK_FILE).read_bytes()
        return msgspec.json.decode(data, type=dict[str, str | None])
    except (OSError, msgspec.DecodeError):
        return None


def synced_above(root: Path) -> Path | None:
    """Return the nearest folder above one that is or was synced; None if there is none."""
    return next((above for above in root.resolve().parents if _is_synced(above)), None)


def check_nothing_nested(root: Path) -> None:
    """Raise `FolderError` if a folder above or below is synced, too: each would send on what the other wrote, for ever.

    One below that has no daemon does not matter to a folder that was synced before: it cannot be given one.
    """
    if above := synced_above(root):
        raise FolderError(
            f"{root} lies in {above}, which is or was synced, and this with it; to sync a part of a vault only, use "
            f"`--only` in a folder elsewhere; if {above} is not to be synced any more, remove {above / STATE_FOLDER}"
        )
    is_new = not _is_synced(root)
    for folder, names, _ in os.walk(root):
        below = Path(folder)
        if below != root and STATE_FOLDER in names and _is_synced(below) and (is_new or daemon_runs(below)):
            raise FolderError(
                f"{below}, in this folder, is synced by itself; sync one of the two: "
                f"stop the other one's daemon, and remove {below / STATE_FOLDER} if it is this one that stays"
            )
        names[:] = [name for name in names if name != STATE_FOLDER]


def _is_synced(root: Path) -> bool:
    state = root / STATE_FOLDER
    # What is somebody else's, and not to be looked into, is not synced by us.
    with suppress(OSError):
        return (state / LINK_FILE).exists() or (state / JOURNAL_FILE).exists()
    return False


def pause(root: Path) -> None:
    """Let the daemon of this folder pause, now or when it starts.

    Raises:
        FolderError: the folder is not linked.
    """
    _leave(root, PAUSE_FILE)


def resume(root: Path) -> None:
    """Let the daemon of this folder go on."""
    with folder_errors(root):
        (root / STATE_FOLDER / PAUSE_FILE).unlink(missing_ok=True)


def confirm_deletes(root: Path) -> None:
    """Let the daemon of this folder carry out the deletions that it holds.

    Raises:
        FolderError: the folder is not linked.
    """
    _leave(root, CONFIRM_FILE)


def decide(root: Path, decided: Decided) -> None:
    """Let the daemon of this folder do what a person decided.

    Raises:
        FolderError: the folder is not linked.
    """
    name = DECISION_PREFIX + decided.kind
    _leave(root, name, msgspec.json.encode(decided))


def _leave(root: Path, name: str, data: bytes = b"") -> None:
    with folder_errors(root):
        if not (root / STATE_FOLDER).is_dir():
            raise FolderError(f"{root} is not linked yet: it has no {STATE_FOLDER} folder")
        _replace(root / STATE_FOLDER / name, data)


def _lock(state: Path) -> FileLock:
    return FileLock(state / LOCK_FILE, thread_local=False, fallback_to_soft=False, preserve_lock_file=True)


def _replace(target: Path, data: bytes) -> None:
    """Write a small file, readable by its owner only, so that readers see it old or new."""
    part = target.with_name(f"{target.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(target)
