"""What is on the disk: walk the folder, leave out what does not sync, hash the rest.

One bad file never stops a scan: it is named with a reason, and the planner leaves it alone. What the findings mean
is plan.py's matter.
"""

from __future__ import annotations

import os
import time
import unicodedata
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from tidenote.client.journal import BaseEntry
from tidenote.core.keys import key_of_path
from tidenote.errors import FolderError, RefusedChange
from tidenote.vault.bases import Bases
from tidenote.vault.files import FileProblem, Files, Gone, Kind, Stat
from tidenote.vault.ignore import IGNORE_FILE, IgnoreRules
from tidenote.vault.plan import DiskEntry, folders_above
from tidenote.vault.twins import Twins

RACY_NS: Final = 2_000_000_000
"""A file that was modified this shortly before a scan is hashed whatever its stat says: clocks of disks are coarse."""

MAX_IGNORE_BYTES: Final = 1 << 20
"""A longer ignore file is not one."""

_BATCH: Final = 32
"""How many files a thread hashes at a time."""

_ODD: Final = (Kind.LINK, Kind.SPECIAL)
"""What does not sync, whatever its name."""


@dataclass(slots=True)
class Scan:
    """What was found.

    Attributes:
        entries: by the path of their key.
        skipped: what could not be looked at; what lies below is unknown too.
        paths: what was looked at: the entries, the skipped, and what is known from the base but no longer there.
        rules: what was ignored; a full scan reads the ignore files anew.
        taken: names on disk of what is there and cannot be synced.
        unsettled: path -> disk name of what is still being written; it is not in `paths`.
        unsteady: whether files or folders went away meanwhile: a full scan may have missed where they went.
    """

    rules: IgnoreRules
    entries: dict[str, DiskEntry] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    paths: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)
    unsettled: dict[str, str] = field(default_factory=dict)
    unsteady: bool = False


Settled = Callable[[str, Stat], bool]
"""Says whether the file of a disk name has been left alone for long enough to be looked at."""


def always(_: str, __: Stat) -> bool:
    """Say that every file is settled."""
    return True


@dataclass(frozen=True, slots=True)
class _Skipped:
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Found:
    path: str
    disk_name: str
    stat: Stat


_Result = DiskEntry | _Skipped | _Found | str


def scan_folder(
    files: Files,
    rules: IgnoreRules,
    bases: Bases,
    *,
    quick: bool = False,
    settled: Settled = always,
    now_ns: Callable[[], int] = time.time_ns,
    progress: Callable[[int], None] | None = None,
) -> Scan:
    """Look at everything.

    Args:
        files: the folder.
        rules: flags as given; the ignore files are read anew.
        bases: the remembered base: which names on disk stand for other paths, and what is known.
        quick: trust that a file with the known size, modification time and inode has the known content.
        settled: judges files that differ from what is known.
        now_ns: the wall clock, for telling racy files from settled ones.
        progress: called with the number of files looked at so far.

    Raises:
        FolderError: the folder is gone, swapped or unreadable.
    """
    scan = Scan(rules.fresh())
    scanner = _Scanner(files, bases, scan, settled, now_ns() if quick else None, progress)
    scanner.collect(scanner.walk(scanner.inside("")))
    scan.paths |= {base.path for base in bases}
    scan.paths -= scan.unsettled.keys()
    files.check()
    return scan


def scan_paths(
    files: Files, rules: IgnoreRules, bases: Bases, disk_paths: Iterable[str], *, settled: Settled = always
) -> Scan:
    """Look at some paths, and at all that lies below those that are, or were, folders.

    Args:
        files: the folder.
        rules: of the last full scan.
        bases: the remembered base.
        disk_paths: relative, as the disk or the watcher spells them, or as the base knows them.
        settled: judges files that differ from what is known.

    Raises:
        FolderError: the folder is gone, swapped or unreadable.
    """
    scan = Scan(rules)
    scanner = _Scanner(files, bases, scan, settled, None, None)
    scanner.collect(scanner.pick(disk_paths))
    scan.paths -= scan.unsettled.keys()
    files.check()
    return scan


class _Scanner:
    def __init__(
        self,
        files: Files,
        bases: Bases,
        scan: Scan,
        settled: Settled,
        trusting_at_ns: int | None,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.files = files
        self.bases = bases
        self.scan = scan
        self.settled = settled
        self.trusting_at_ns = trusting_at_ns
        self.progress = progress
        self.twins = Twins(bases, files.traits, self)
        self.done = 0
        # Of a deep tree each folder has a hint, and asking for one costs as much as it is deep.
        self.odd_at = cache(self.look_for_odd)

    # -- finding

    def walk(self, waiting: list[str]) -> Iterator[_Found]:
        """Yield the regular files that sync among some names on disk, the last first, and below those.

        Without calling itself: folders may lie deeper in each other than calls can.
        """
        while waiting:
            disk_name = waiting.pop()
            known = self.look(disk_name)
            if known is None:
                continue
            if known.kind is Kind.FOLDER:
                waiting += self.inside(disk_name)
            else:
                yield from self.look_at_file(disk_name, known)

    def inside(self, folder: str) -> list[str]:
        """Return the names on disk of what is in a folder, the first last; take up its rules."""
        try:
            names = self.files.names(folder)
        except Gone:
            if not folder:
                raise
            # It went meanwhile, with all that was in it: perhaps to where we have looked already.
            self.scan.unsteady = True
            return []
        except FileProblem as problem:
            if not folder:
                raise FolderError(problem.message) from problem
            self.skip(folder, f"the folder cannot be read: {problem.reason}")
            return []
        if IGNORE_FILE in names:
            self.read_rules(folder)
        return [f"{folder}/{name}" if folder else name for name in reversed(names)]

    def look(self, disk_name: str) -> Stat | None:
        """Look at a file or folder; None if it is gone or ignored, or skipped since it cannot sync."""
        path = self.checked(disk_name)
        if path is None:
            return None
        try:
            known = self.files.stat(disk_name)
        except FileProblem as problem:
            self.skip(path, problem.reason)
            return None
        if known is None or self.scan.rules.ignored(path, folder=known.kind is Kind.FOLDER):
            return None
        if known.kind in _ODD:
            self.scan.taken.add(disk_name)
            self.skip(path, f"it is a {known.kind.value}")
            return None
        return known

    def look_at_file(self, disk_name: str, stat: Stat) -> Iterator[_Found]:
        path = self.twins.path_of(disk_name)
        if path is None:
            self.scan.taken.add(disk_name)
            told = f"{disk_name} (second)" if unicodedata.is_normalized("NFC", disk_name) else disk_name
            self.skip(told, "another file has the same name in another Unicode form: rename one of the two")
            return
        found = _Found(path, disk_name, stat)
        base = self.bases.file(path)
        if (base and _same(base, found)) or self.settled(disk_name, stat):
            yield found
        else:
            self.scan.unsettled[path] = disk_name

    def checked(self, disk_name: str) -> str | None:
        """Return the path that a name on disk stands for, None if it can be no key, which is noted."""
        path = self.bases.path_of(disk_name)
        try:
            key_of_path(path)
        except RefusedChange as refusal:
            if not self.scan.rules.ignored(path):
                self.skip(_printable(disk_name), f"a note cannot have this name: {refusal.message}")
            return None
        return path

    # -- what twins.py asks

    def is_file(self, disk_name: str) -> bool:
        """Say whether there is a file of exactly this name, or perhaps one."""
        try:
            known = self.files.stat(disk_name) if self.files.spelled(disk_name) == disk_name else None
        except FileProblem:
            return True
        return known is not None and known.kind is Kind.FILE

    def is_free(self, disk_name: str) -> bool:
        """Say whether the disk has nothing that it takes for this name, as far as can be told."""
        try:
            return self.files.spelled(disk_name) is None
        except FileProblem:
            return True

    def can_sync(self, path: str) -> bool:
        """Say whether a path can be a key, and is not ignored."""
        try:
            key_of_path(path)
        except RefusedChange:
            return False
        return not self.scan.rules.ignored(path)

    def read_rules(self, folder: str) -> None:
        path = f"{folder}/{IGNORE_FILE}" if folder else IGNORE_FILE
        try:
            known = self.files.stat(path)
            if known and known.kind is Kind.FILE and known.size <= MAX_IGNORE_BYTES:
                data, _ = self.files.read(path)
                rules = data.decode("utf-8", "replace")
                for line in self.scan.rules.load(unicodedata.normalize("NFC", folder), rules):
                    self.skip(f"{path}: {line}", "this line is no pattern")
        except FileProblem as problem:
            self.skip(path, problem.reason)

    def pick(self, disk_paths: Iterable[str]) -> Iterator[_Found]:
        """Yield the files at some paths, or below; note which known ones are concerned."""
        done: set[str] = set()

        def is_done(name: str) -> bool:
            return not done.isdisjoint((name, *folders_above(name)))

        for asked in sorted(set(disk_paths)):
            names = [asked]
            # What stands for the same path may be on disk under another name: the base's.
            self.add_known(names, unicodedata.normalize("NFC", asked))
            for name in names:
                self.scan.paths |= self.concerned(name)
                if is_done(name):
                    continue
                if blocked := self.blocked(name):
                    self.skip(*blocked)
                    continue
                spelled = self.spelled(name)
                if spelled is not None and not is_done(spelled):
                    done.add(spelled)
                    self.add_known(names, self.bases.path_of(spelled))
                    if not self.in_ignored(spelled):
                        yield from self.walk([spelled])

    def add_known(self, names: list[str], path: str) -> None:
        base = self.bases.file(path)
        if base and base.disk_name not in names:
            names.append(base.disk_name)

    def in_ignored(self, spelled: str) -> bool:
        above = unicodedata.normalize("NFC", spelled).rpartition("/")[0]
        return bool(above) and self.scan.rules.ignored(above, folder=True)

    def blocked(self, disk_name: str) -> tuple[str, str] | None:
        """Return the link above a path, and what it is; None if there is none.

        What lies behind it is not ours, and what lay there before is not deleted.
        """
        for folder in folders_above(disk_name):
            if kind := self.odd_at(folder):
                return unicodedata.normalize("NFC", folder), f"it is a {kind.value}"
        return None

    def look_for_odd(self, folder: str) -> Kind | None:
        try:
            known = self.files.stat(folder)
        except FileProblem:
            return None
        return known.kind if known and known.kind in _ODD else None

    def spelled(self, name: str) -> str | None:
        try:
            return self.files.spelled(name)
        except FileProblem:
            # A link above, or no right to look: `look` will say which.
            return name

    def concerned(self, disk_name: str) -> set[str]:
        """Return the paths that a name on disk says something about: its own, and all known ones below."""
        path = self.bases.path_of(disk_name)
        below = set(self.bases.below(path)) if self.bases.is_folder(path) else set()
        return {path, unicodedata.normalize("NFC", disk_name), *self.bases.named(disk_name), *below}

    # -- hashing

    def collect(self, found: Iterator[_Found]) -> None:
        """Hash what is found, a few batches at a time, so that memory does not grow with the folder."""
        first = _take(found, _BATCH)
        rest = _take(found, _BATCH)
        if not rest:
            # A saved note is one file: no need for threads.
            self.note(self.hash_batch(first))
            return
        workers = min(4, os.cpu_count() or 1)
        with ThreadPoolExecutor(workers, "tidenote-scan") as pool:
            waiting: deque[Future[list[_Result]]] = deque((pool.submit(self.hash_batch, first),))
            while rest or waiting:
                if rest:
                    waiting.append(pool.submit(self.hash_batch, rest))
                    rest = _take(found, _BATCH)
                if not rest or len(waiting) > 2 * workers:
                    self.note(waiting.popleft().result())

    def hash_batch(self, found: Collection[_Found]) -> list[_Result]:
        """Hash files; one that vanished meanwhile is its path only, one that changed comes back as it was found."""
        results: list[_Result] = []
        for each in found:
            try:
                known = self.trusted(each)
                if known is None:
                    digest = self.files.digest(each.disk_name)
                    stat, content_hash = digest.stat, digest.content_hash
                else:
                    stat, content_hash = each.stat, known
            except Gone:
                results.append(each.path)
            except FileProblem as problem:
                results.append(_Skipped(each.path, problem.reason))
            else:
                # What was judged to be settled was another state of it.
                changed = stat != each.stat and not self.is_known(each, stat)
                entry = DiskEntry(each.path, each.disk_name, stat.size, stat.mtime_ns, stat.inode, content_hash)
                results.append(each if changed else entry)
        return results

    def is_known(self, found: _Found, stat: Stat) -> bool:
        base = self.bases.file(found.path)
        return base is not None and _same(base, _Found(found.path, found.disk_name, stat))

    def trusted(self, found: _Found) -> str | None:
        """Return the known hash of a file whose stat is the known one, in a quick scan."""
        if self.trusting_at_ns is None:
            return None
        base = self.bases.file(found.path)
        if base is None or not _same(base, found) or found.stat.mtime_ns > self.trusting_at_ns - RACY_NS:
            return None
        return base.content_hash

    def note(self, results: list[_Result]) -> None:
        for result in results:
            if isinstance(result, DiskEntry):
                self.scan.entries[result.path] = result
                self.scan.paths.add(result.path)
            elif isinstance(result, _Skipped):
                self.skip(result.path, result.reason)
            elif isinstance(result, _Found):
                self.scan.unsettled[result.path] = result.disk_name
            else:
                self.scan.paths.add(result)
                self.scan.unsteady = True
        self.done += len(results)
        if self.progress:
            self.progress(self.done)

    def skip(self, path: str, reason: str) -> None:
        self.scan.skipped[path] = reason
        self.scan.paths.add(path)


def _same(base: BaseEntry, found: _Found) -> bool:
    stat = found.stat
    return (base.size, base.mtime_ns, base.inode, base.disk_name) == (
        stat.size,
        stat.mtime_ns,
        stat.inode,
        found.disk_name,
    )


def _take(found: Iterator[_Found], number: int) -> list[_Found]:
    taken = []
    for each in found:
        taken.append(each)
        if len(taken) == number:
            break
    return taken


def _printable(name: str) -> str:
    """Return a name as one line for people: a terminal would obey its control characters."""
    text = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
