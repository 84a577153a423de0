"""What happens to each file: (disk, remembered base, replica) -> ordered actions. Pure.

The table, per path; "now" is the hash on disk, "known" the base's, "shown" the replica's winner's; none = no file:

    shown is unknown to the replica    push what is there (the log lost it, or it is new); forget what is not
    shown version = base's version     now = known: nothing; no file: push the deletion; else push the edit
    known = deleted, shown as a file   as if it were newer: a restored log took the dot for what was written after it
    now = shown                        remember only: nothing has to move
    now != known, both changed         no file: write what is shown (an edit wins over a deletion); else push the edit
                                       on its base: the siblings are settled by the log, and shown by a later round
    now = known, shown is newer        write, delete or move the file, if the disk still holds what we saw
    base without a version             a file that we were about to put there, perhaps did: its bytes are ours; if it is
                                       gone nobody deleted it, and what else is there is unbased
    base that was about to be replaced now = known: it was not; else it may have been: a base without a version
    was moved as shown, and not known  the tombstone is the base: what is here now is new
    no file, and its bytes not sent    push the deletion of what can never be sent, whatever is shown

So bytes are overwritten only when they equal the base, and a base is set only for what the journal holds.
Doing it is apply.py's matter; every action names what must still be true on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from tidenote.client.journal import BaseEntry
from tidenote.core.keys import names_like
from tidenote.core.version import Dot, is_server
from tidenote.vault.bases import Bases, DiskTraits

MAX_DELETIONS: Final = 10
"""How many deletions in one pass are never held."""

MAX_DELETED_SHARE: Final = 0.25
"""The share of the known files whose deletion in one pass is not held."""


@dataclass(frozen=True, slots=True)
class DiskEntry:
    """A regular file as a scan found it.

    Attributes:
        path: of its key, NFC.
        disk_name: its path on this disk.
        size: bytes.
        mtime_ns: as the disk says.
        inode: as the disk says.
        content_hash: SHA-256 in hex.
    """

    path: str
    disk_name: str
    size: int
    mtime_ns: int
    inode: int
    content_hash: str


@dataclass(frozen=True, slots=True)
class Remote:
    """What the replica shows at a path.

    Attributes:
        dot: of the winner.
        content_hash: SHA-256 in hex of its bytes; None for a deletion.
        moved_to: the path that a deletion renamed this one to.
        is_blob: whether its bytes have to be fetched.
    """

    dot: Dot
    content_hash: str | None
    moved_to: str | None = None
    is_blob: bool = False

    @property
    def by_server(self) -> bool:
        """Whether the log settled it by itself, so that no person deleted what is there."""
        return is_server(self.dot.device_id)


# ---------------------------------------------------------------------------------------------- outcomes


@dataclass(frozen=True, slots=True)
class Push:
    """Send the file's content; `unbased` if nobody knows how it relates to what others have."""

    entry: DiskEntry
    base: frozenset[Dot]
    unbased: bool = False


@dataclass(frozen=True, slots=True)
class PushDelete:
    """Send a deletion, if there is still no file."""

    path: str
    disk_name: str
    base: frozenset[Dot]


@dataclass(frozen=True, slots=True)
class PushMove:
    """Send a rename: the creation of `entry`, then the tombstone of `source` that names it."""

    source: str
    source_disk_name: str
    source_base: frozenset[Dot]
    entry: DiskEntry
    base: frozenset[Dot]


@dataclass(frozen=True, slots=True)
class Write:
    """Put the shown content on disk, if the file still has the hash `expected` (None: if there is none)."""

    path: str
    disk_name: str
    remote: Remote
    expected: str | None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the file, if it still has the hash `expected`."""

    path: str
    disk_name: str
    remote: Remote
    expected: str


@dataclass(frozen=True, slots=True)
class MoveLocal:
    """Rename the file, if it still has the hash `expected` and nothing is at the target."""

    source: str
    source_disk_name: str
    source_remote: Remote
    path: str
    disk_name: str
    remote: Remote
    expected: str


@dataclass(frozen=True, slots=True)
class Adopt:
    """Remember a base: the disk and the replica agree already."""

    base: BaseEntry


@dataclass(frozen=True, slots=True)
class Forget:
    """Remember nothing of a path any more."""

    path: str


Action = Push | PushDelete | PushMove | Write | Delete | MoveLocal | Adopt | Forget


class Why(Enum):
    """Why something is held back."""

    DELETIONS_OUT = "many files are gone from this folder; confirm that they shall be deleted everywhere"
    DELETIONS_IN = "many files were deleted elsewhere; confirm that they shall be deleted here"
    QUARANTINE = "the server no longer has it, so it may have been deleted elsewhere long ago; keep it or let it go"
    DELETED_ELSEWHERE = "it was deleted elsewhere; edit it to bring it back, or delete it here"
    KIND = "a file and a folder have the same name"
    NAME = "this disk cannot hold the name"
    SKIPPED = "the file here cannot be synced"
    OPEN = "a program has it open for writing; it comes when that is closed"
    FAILED = "it failed here and is tried again"


@dataclass(frozen=True, slots=True)
class Held:
    """A path that waits for a person, or for the disk."""

    path: str
    why: Why
    reason: str = ""


@dataclass(slots=True)
class Plan:
    """What to do, in this order; what is held; what waits for the server's confirmation."""

    actions: list[Action] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)


# ---------------------------------------------------------------------------------------------- input


def _never(_: str) -> bool:
    return False


def _no_problem(_: str) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Settings:
    """What does not change from pass to pass.

    Attributes:
        ignored: says whether a path does not sync.
        name_problem: says why this disk cannot hold a path, or None.
        traits: how the disk tells names apart.
        confirmed: the paths whose deletion a person confirmed; None for all.
    """

    ignored: Callable[[str], bool] = _never
    name_problem: Callable[[str], str | None] = _no_problem
    traits: DiskTraits = field(default_factory=DiskTraits)
    confirmed: Collection[str] | None = frozenset()


@dataclass(frozen=True, slots=True)
class World:
    """What a pass sees.

    Attributes:
        paths: those to decide about; of all others it is assumed that the disk holds what the base says.
        disk: the files found at these paths.
        skipped: paths of the disk that could not be looked at, with reasons; what lies below them is unknown too.
        bases: the remembered base of the whole folder.
        replica: path -> what it shows; a path that is in nobody's log is missing.
        unsent: paths whose base is a change of ours that the server has not confirmed.
        uploading: paths whose bytes the server still lacks: only the file has them, so a rename is a new file, and a
            deletion takes the place of what can no longer be sent.
        trashed: paths that were deleted after their bytes were written once more, which are still to be uploaded.
        quarantined: paths that the server lacks, and that nobody here has written since.
        recent_out: how many deletions were sent, or are held, just before this pass.
        recent_in: how many files were deleted here, or are held, just before this pass.
        taken: names on disk of what is there and cannot be synced.
    """

    paths: Collection[str]
    disk: Mapping[str, DiskEntry]
    bases: Bases
    replica: Mapping[str, Remote]
    skipped: Mapping[str, str] = field(default_factory=dict)
    unsent: Collection[str] = frozenset()
    uploading: Collection[str] = frozenset()
    trashed: Collection[str] = frozenset()
    quarantined: Collection[str] = frozenset()
    recent_out: int = 0
    recent_in: int = 0
    taken: Collection[str] = frozenset()


def plan(world: World, settings: Settings) -> Plan:
    """Decide what happens to each path of the world.

    Returns:
        Actions in the order in which they are safe: what is here goes out before anything is overwritten, and what
        leaves the disk leaves before its name is taken again. Running the plan of a settled world is empty.
    """
    return _Planner(world, settings).run()


# ---------------------------------------------------------------------------------------------- the decision


class _Planner:
    def __init__(self, world: World, settings: Settings) -> None:
        self.world = world
        self.settings = settings
        self.fold = settings.traits.fold
        self.held: list[Held] = []
        self.waiting: list[str] = []
        self.pushes: list[Action] = []
        self.notes: list[Action] = []
        self.deletions_out: list[PushDelete] = []
        self.deletions_in: list[Delete] = []
        self.moves: list[MoveLocal] = []
        self.writes: list[tuple[str, Remote, str | None]] = []
        self.leaving: set[str] = set()
        """Paths whose files this plan takes away."""
        self.taken = {self.fold(name) for name in world.taken}
        self.arriving: dict[str, str] = {}
        """Folded disk names that this plan takes, and for which path."""
        self.arriving_folders: set[str] = set()
        self.on_disk: dict[str, set[str]] = {}
        """Folded disk names of the scanned files, and their paths."""
        self.folders_on_disk: dict[str, set[str]] = {}
        """Folded names of the folders above the scanned files, and the paths below."""

    def run(self) -> Plan:
        paths = sorted(path for path in self.world.paths if not self._left_alone(path))
        self._index_disk()
        decided = self._push_moves(paths)
        candidates = [path for path in paths if path not in decided]
        decided |= self._move_locally(candidates)
        for path in candidates:
            if path not in decided:
                self._decide(path)
        deletions_out = self._guard_out()
        deletions_in = self._guard_in()
        writes = [write for path, remote, expected in self.writes if (write := self._place(path, remote, expected))]
        actions = [*self.pushes, *deletions_out, *self.notes, *deletions_in, *self.moves, *writes]
        return Plan(actions, self.held, self.waiting)

    def _left_alone(self, path: str) -> bool:
        """Say whether a path is not to be decided about; note what that leaves behind."""
        base = self.world.bases.get(path)
        if self.settings.ignored(path):
            # Forgotten, so that a file that is missing when the rules change again is no deletion.
            if base:
                self.notes.append(Forget(path))
            return True
        reason = self._skipped(path)
        if reason is None:
            return False
        remote = self.world.replica.get(path)
        if remote and remote.dot != (base.dot if base else None):
            self._hold(path, Why.SKIPPED, reason)
        return True

    def _skipped(self, path: str) -> str | None:
        skipped = self.world.skipped
        if skipped:
            for part in (path, *folders_above(path)):
                if part in skipped:
                    return skipped[part]
        return None

    def _decide(self, path: str) -> None:
        now, remote = self.world.disk.get(path), self.world.replica.get(path)
        now_hash = now.content_hash if now else None
        base = self._base(path, now, remote)
        known_hash = base.content_hash if base else None
        if remote is None:
            self._decide_without_remote(path, now, base)
        elif base and known_hash is not None and now is None and self._holds_last_bytes(path):
            self.deletions_out.append(PushDelete(path, base.disk_name, _dots(base)))
        elif base and base.dot == remote.dot and (known_hash is not None or remote.content_hash is None):
            self._decide_local(path, now, base)
        elif now_hash == remote.content_hash:
            self._adopt(path, now, remote.dot)
        elif now_hash != known_hash:
            self._decide_both(path, now, base, remote)
        elif path in self.world.unsent:
            self.waiting.append(path)
        elif remote.content_hash is not None:
            self.writes.append((path, remote, now_hash))
        else:
            assert now is not None, "no file, and none shown, is equal"
            self._decide_deletion(path, now, base, remote)

    def _base(self, path: str, now: DiskEntry | None, remote: Remote | None) -> BaseEntry | None:
        """Return what the file at a path was made of."""
        base = self.world.bases.get(path)
        if base and now and remote and self._was_moved(base, now, remote):
            return tombstone(path, remote.dot)
        return _made_of(base, now.content_hash if now else None)

    def _was_moved(self, base: BaseEntry, now: DiskEntry, remote: Remote) -> bool:
        """Say whether the file that was here is where the replica says it went, so that another one is here now."""
        there = self.world.disk.get(remote.moved_to or "")
        was = (base.inode, base.content_hash)
        return was != (now.inode, now.content_hash) and there is not None and was == (there.inode, there.content_hash)

    def _holds_last_bytes(self, path: str) -> bool:
        """Say whether nobody but the file has, or had, the bytes of our last change: without it that is never sent."""
        return path in self.world.uploading and path in self.world.unsent

    def _decide_without_remote(self, path: str, now: DiskEntry | None, base: BaseEntry | None) -> None:
        if now:
            self.pushes.append(Push(now, _dots(base), unbased=not _dots(base)))
        elif base:
            self.notes.append(Forget(path))

    def _decide_local(self, path: str, now: DiskEntry | None, base: BaseEntry) -> None:
        """The replica shows what the base says: whatever differs was done here."""
        if now and now.content_hash != base.content_hash:
            self.pushes.append(Push(now, _dots(base)))
        elif now:
            if path in self.world.quarantined:
                self._hold(path, Why.QUARANTINE)
            unbased = base.unbased and path in self.world.unsent
            seen = _base_of(now, base.dot, unbased=unbased)
            if seen != base:
                self.notes.append(Adopt(seen))
        elif base.content_hash is not None:
            self.deletions_out.append(PushDelete(path, base.disk_name, _dots(base)))

    def _decide_both(self, path: str, now: DiskEntry | None, base: BaseEntry | None, remote: Remote) -> None:
        """Both changed, differently."""
        if now:
            self.pushes.append(Push(now, _dots(base), unbased=not _dots(base)))
        else:
            self.writes.append((path, remote, None))

    def _decide_deletion(self, path: str, now: DiskEntry, base: BaseEntry | None, remote: Remote) -> None:
        if base and base.unbased and remote.by_server and not self._is_confirmed(path):
            self._hold(path, Why.DELETED_ELSEWHERE)
        elif path in self.world.trashed:
            # What was deleted shall be found in the history, and only the file has its bytes.
            self.waiting.append(path)
        else:
            self.deletions_in.append(Delete(path, now.disk_name, remote, now.content_hash))

    def _adopt(self, path: str, now: DiskEntry | None, dot: Dot) -> None:
        if now:
            self.notes.append(Adopt(_base_of(now, dot)))
        else:
            self.notes.append(Adopt(tombstone(path, dot)))

    def _hold(self, path: str, why: Why, reason: str = "") -> None:
        self.held.append(Held(path, why, reason))

    # -- renames

    def _push_moves(self, paths: list[str]) -> set[str]:
        """Match files that are gone with new ones of the same content; return the paths that this decides."""
        # What has no version may never have come to be there.
        gone = [
            base for path in paths if (base := self.world.bases.file(path)) and base.dot and self._may_have_moved(path)
        ]
        if not gone:
            return set()
        new = [entry for path in paths if (entry := self.world.disk.get(path)) and self._is_new(path)]
        decided: set[str] = set()
        for source, entry in _matches(gone, new):
            target = self.world.bases.get(entry.path)
            remote = self.world.replica.get(entry.path)
            # The rename proves that our memory is good: the new file is meant to replace the tombstone.
            seen = _dots(target) or frozenset({remote.dot} if remote else ())
            self.pushes.append(PushMove(source.path, source.disk_name, _dots(source), entry, seen))
            decided |= {source.path, entry.path}
        return decided

    def _may_have_moved(self, path: str) -> bool:
        return path not in self.world.disk and path in self.world.replica and path not in self.world.uploading

    def _is_new(self, path: str) -> bool:
        """Say whether a file on disk was created here, and nobody else created another one there."""
        remote = self.world.replica.get(path)
        return self.world.bases.file(path) is None and (remote is None or remote.content_hash is None)

    def _move_locally(self, paths: list[str]) -> set[str]:
        """Follow renames made elsewhere, where the bytes are here already; return the paths that this decides."""
        decided: set[str] = set()
        for path in paths:
            now, base, remote = self.world.disk.get(path), self.world.bases.get(path), self.world.replica.get(path)
            if not (now and base and remote and remote.moved_to) or path in self.world.unsent:
                continue
            target = self.world.replica.get(remote.moved_to)
            if (
                now.content_hash != base.content_hash
                or (base.unbased and remote.by_server)
                or target is None
                or target.content_hash != now.content_hash
                or remote.moved_to in decided
                or not self._is_free(remote.moved_to)
            ):
                continue
            self.leaving.add(path)
            disk_name = self._name_for(remote.moved_to)
            if isinstance(disk_name, Held):
                self.leaving.discard(path)
                continue
            self._arrive(remote.moved_to, disk_name)
            self.moves.append(
                MoveLocal(path, now.disk_name, remote, remote.moved_to, disk_name, target, now.content_hash)
            )
            decided |= {path, remote.moved_to}
        return decided

    def _is_free(self, path: str) -> bool:
        """Say whether nothing is, or was, at a path that syncs."""
        return (
            path not in self.world.disk
            and self.world.bases.file(path) is None
            and self._skipped(path) is None
            and not self.settings.ignored(path)
        )

    # -- the deletion guard

    def _guard_out(self) -> list[PushDelete]:
        paths = [action.path for action in self.deletions_out]
        if not self._too_many(paths, self.world.recent_out):
            return self.deletions_out
        return [action for action in self.deletions_out if not self._held_deletion(action.path, Why.DELETIONS_OUT)]

    def _guard_in(self) -> list[Delete]:
        # What was renamed is not lost.
        paths = [action.path for action in self.deletions_in if not self._has_moved(action.remote)]
        if self._too_many(paths, self.world.recent_in):
            counted = set(paths)
            self.deletions_in = [
                action
                for action in self.deletions_in
                if action.path not in counted or not self._held_deletion(action.path, Why.DELETIONS_IN)
            ]
        self.leaving |= {action.path for action in self.deletions_in}
        return self.deletions_in

    def _too_many(self, paths: list[str], recent: int) -> bool:
        limit = max(MAX_DELETIONS, self.world.bases.files * MAX_DELETED_SHARE)
        return self.settings.confirmed is not None and bool(paths) and len(paths) + recent > limit

    def _held_deletion(self, path: str, why: Why) -> bool:
        if self._is_confirmed(path):
            return False
        self._hold(path, why)
        return True

    def _is_confirmed(self, path: str) -> bool:
        return self.settings.confirmed is None or path in self.settings.confirmed

    def _has_moved(self, remote: Remote) -> bool:
        target = self.world.replica.get(remote.moved_to) if remote.moved_to else None
        return target is not None and target.content_hash is not None

    # -- names on disk

    def _place(self, path: str, remote: Remote, expected: str | None) -> Write | None:
        """Return the write of a file, at the name that this disk can give it; None if it has to be held."""
        now = self.world.disk.get(path)
        disk_name = now.disk_name if now else self._name_for(path)
        if isinstance(disk_name, Held):
            self.held.append(disk_name)
            return None
        self._arrive(path, disk_name)
        return Write(path, disk_name, remote, expected)

    def _name_for(self, path: str) -> str | Held:
        """Return the disk name of a new file: its place, or with a suffix if the disk takes that for another file's."""
        if problem := self.settings.name_problem(path):
            return Held(path, Why.NAME, problem)
        for folder in folders_above(path):
            if self._occupied(folder, path):
                return Held(path, Why.KIND, f"{folder} is a file here: rename one of the two")
        if self._is_folder(path):
            return Held(path, Why.KIND, f"{path} is a folder here: rename one of the two")
        for name in names_like(self.world.bases.place_of(path)):
            if not self._occupied(name, path):
                return name
        raise AssertionError("names never run out")  # pragma: no cover

    def _arrive(self, path: str, disk_name: str) -> None:
        self.arriving[self.fold(disk_name)] = path
        self.arriving_folders.update(self.fold(folder) for folder in folders_above(disk_name))

    def _occupied(self, disk_name: str, path: str) -> bool:
        """Say whether another path's file has this name, or will have."""
        folded = self.fold(disk_name)
        if folded in self.arriving or folded in self.taken:
            return True
        holders = self.on_disk.get(folded, set()) | {
            holder for holder in self.world.bases.named(disk_name) if self._untouched(holder)
        }
        return bool(holders - self.leaving - {path})

    def _is_folder(self, path: str) -> bool:
        """Say whether there is, or will be, a folder with files at a path."""
        folded = self.fold(path)
        if folded in self.arriving_folders or self.folders_on_disk.get(folded, set()) - self.leaving:
            return True
        return any(self._untouched(below) and below not in self.leaving for below in self.world.bases.below(path))

    def _untouched(self, path: str) -> bool:
        """Say whether a known file was not looked at now, so that it is taken to be where it was."""
        return path not in self.world.paths or self._skipped(path) is not None

    def _index_disk(self) -> None:
        for path, entry in self.world.disk.items():
            self.on_disk.setdefault(self.fold(entry.disk_name), set()).add(path)
            for folder in folders_above(entry.disk_name):
                self.folders_on_disk.setdefault(self.fold(folder), set()).add(path)


# ---------------------------------------------------------------------------------------------- helpers


def tombstone(path: str, dot: Dot) -> BaseEntry:
    """Return the base of a path that is known to be deleted: what is created there later replaces the deletion."""
    return BaseEntry(path, dot, None, 0, 0, 0, path)


def expected_file(path: str, disk_name: str, content_hash: str | None) -> BaseEntry:
    """Return the base of a file that is about to be put at another name than its path: it is ours if it is there.

    It names no version: if the file is not there, that is no deletion.
    """
    return BaseEntry(path, None, content_hash, 0, 0, 0, disk_name)


def _base_of(entry: DiskEntry, dot: Dot | None, *, unbased: bool = False) -> BaseEntry:
    return BaseEntry(
        entry.path, dot, entry.content_hash, entry.size, entry.mtime_ns, entry.inode, entry.disk_name, unbased
    )


def _made_of(base: BaseEntry | None, now_hash: str | None) -> BaseEntry | None:
    """Return the base, or what was to replace it if the file does not have its bytes any more."""
    if base is None or base.arriving is None or base.content_hash == now_hash:
        return base
    return expected_file(base.path, base.disk_name, base.arriving)


def _dots(base: BaseEntry | None) -> frozenset[Dot]:
    return frozenset((base.dot,)) if base and base.dot else frozenset()


def _matches(gone: list[BaseEntry], new: list[DiskEntry]) -> Iterator[tuple[BaseEntry, DiskEntry]]:
    """Yield which new file is which gone one: the same inode and content, else the only pair with that content."""
    by_inode = {(entry.inode, entry.content_hash): entry for entry in new}
    left: dict[str | None, tuple[list[BaseEntry], list[DiskEntry]]] = {}
    taken: set[str] = set()
    for base in gone:
        entry = by_inode.pop((base.inode, base.content_hash or ""), None)
        if entry:
            taken.add(entry.path)
            yield base, entry
        else:
            left.setdefault(base.content_hash, ([], []))[0].append(base)
    for entry in new:
        if entry.path not in taken and entry.content_hash in left:
            left[entry.content_hash][1].append(entry)
    for bases, entries in left.values():
        if len(bases) == len(entries) == 1:
            yield bases[0], entries[0]


def folders_above(path: str) -> Iterator[str]:
    """Yield the folders above a path, the nearest first, without the root."""
    while path := path.rpartition("/")[0]:
        yield path
