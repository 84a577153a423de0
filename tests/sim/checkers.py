"""The invariants, each a checker that is told what happens and what the end looks like.

Checkers know no world: they are told plain facts. That they find what they are for, test_planted.py shows.
Safety is checked at once, with every fact; what must hold in the end, after all faults are over, in `end`.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, Final

from tidenote.client.journal import OutboxRow
from tidenote.core.clock import MAX_LEAD, MAX_WALL_LEAD
from tidenote.core.crdt import CrdtEntry
from tidenote.core.intake import Batch
from tidenote.core.keys import key_of_path, owner_of
from tidenote.core.register import join_all
from tidenote.core.version import Change, Dot, Version, is_server
from tidenote.server.store.memory import MemoryStore
from tidenote.wire.messages import encode, from_change

MAX_PASSES: Final = 200
"""How many passes a folder may need without anything new."""

MAX_SIBLINGS: Final = 64
"""How many versions of a note may wait for a person at once.

In these worlds nobody settles any, and each of 300 actions may add one to one of a few notes; I4 sees to it that
nothing else adds any.
"""

_TOKEN = re.compile("«[^»]+»")
_NUMBER = re.compile(r"(?: \(\d+\))+(?=\.\w+$)")


class Violation(AssertionError):
    """An invariant does not hold.

    Args:
        invariant: `I1` and so on.
        what: happened.
    """

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant


@lru_cache(4096)
def tokens(text: str | None) -> frozenset[str]:
    """Return the words in a text that nobody else wrote."""
    return frozenset(_TOKEN.findall(text or ""))


def _without_twin(path: str) -> str:
    """Return what two names have in common of which a disk that folds cannot hold both: one has a number there."""
    return _NUMBER.sub("", path).casefold()


@dataclass
class Ending:
    """What a vault looks like in the end.

    Attributes:
        vault: its name.
        store: the server's log.
        replicas: device -> key -> what it holds as confirmed.
        outboxes: device -> what it still keeps to send, or parked.
        trees: device -> path in the vault -> the file's text, of devices with a folder.
        held: device -> paths that wait for a person, or cannot be on that disk.
        leftovers: device -> temporary files among people's.
    """

    vault: str
    store: MemoryStore
    replicas: Mapping[str, Mapping[str, tuple[Change, ...]]]
    outboxes: Mapping[str, Sequence[OutboxRow]] = field(default_factory=dict)
    trees: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    held: Mapping[str, frozenset[str]] = field(default_factory=dict)
    leftovers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    on_disks: Sequence[str] = ()
    """The texts of all files, those that cannot sync included."""

    def all_keys(self) -> list[str]:
        """Return every key that anybody knows."""
        found = {key for replica in self.replicas.values() for key in replica}
        return sorted(found | {key for key, _ in self.store.manifest(self.vault, None, 10_000)})

    def entry(self, key: str) -> CrdtEntry | None:
        """Return the state of a key in the log."""
        return next(iter(self.store.entries(self.vault, [key])), None)


class Checker:
    """What a checker may be told; by default it does not mind."""

    invariant: ClassVar[str]

    def saved(self, owner: str, path: str, before: str | None, after: str | None) -> None:
        """A person saved a file, or deleted it (after is None), having seen what was there before."""

    def moved(self, owner: str, path: str, target: str, text: str) -> None:
        """A person renamed a file."""

    def wrote(self, changes: Sequence[Change]) -> None:
        """A journal gave these changes their dots."""

    def committed(self, vault: str, batch: Batch, store: MemoryStore, wall_ms: int) -> None:
        """The server's log took a batch in, durably."""

    def acknowledged(self, owner: str, vault: str, change: Change, store: MemoryStore) -> None:
        """A device was told that a change is in the log; the store is what would survive a crash."""

    def refused(self, owner: str, code: str) -> None:
        """A device was told that a change is not taken in."""

    def applied(self, owner: str, epoch: str | None, cursor: int, replica: Mapping[str, bytes], log: Log) -> None:
        """A device says that it has applied the log up to a cursor; what it holds of each key, as JSON."""

    def shown(self, owner: str, path: str, data: bytes) -> None:
        """A daemon put bytes where people see them."""

    def carried(self, owner: str, data: bytes) -> None:
        """A daemon put bytes into a folder that a person renamed meanwhile: the rename took them elsewhere."""

    def dropped(self, owner: str, data: bytes, own: Callable[[], set[str]]) -> None:
        """A daemon removed a file for good; `own` returns the texts in the device's outbox."""

    def frame(self, vault: str, data: bytes) -> None:
        """A message went to a device of a vault."""

    def passed(self, owner: str, news: int) -> None:
        """A daemon made a pass over its folder; `news` counts all that came from outside so far."""

    def bounds(self, measured: Mapping[str, tuple[int, int]]) -> None:
        """What is in memory somewhere, and how much of it may be."""

    def forgiven(self, words: Iterable[str]) -> None:
        """Words of which the only copies were destroyed: with a disk, or by a person who restored a backup."""

    def set_back(self, owner: str, texts: Iterable[str]) -> None:
        """A device lost its memory, or is as it was once: it may send again what it holds."""

    def restored(self, held: Mapping[str, Sequence[Change]]) -> None:
        """The server's log is as it was once: devices may offer again what they hold as confirmed."""

    def end(self, ending: Ending) -> None:
        """Everything is over, and quiet."""

    def fail(self, what: str) -> Violation:
        """Return the error to raise."""
        return Violation(self.invariant, what)


class Log:
    """What the server durably holds, as a device should hold it."""

    def __init__(
        self, epoch: str, clock: int, entries: Mapping[str, CrdtEntry], told: dict[tuple[str, str, int], bytes]
    ) -> None:
        self.epoch = epoch
        self.clock = clock
        self.entries = entries
        self._told = told

    def siblings(self, entry: CrdtEntry) -> bytes:
        """Return the siblings of a key as a journal keeps them."""
        name = (self.epoch, entry.key, entry.changed_at)
        known = self._told.get(name)
        if known is None:
            known = self._told[name] = encode([from_change(change) for change in entry.register.siblings])
        return known


class Convergence(Checker):
    """I1: in the end log, journals and folders hold the same."""

    invariant = "I1"

    def end(self, ending: Ending) -> None:
        for device, rows in ending.outboxes.items():
            unsent = [row.change for row in rows if not row.parked]
            if unsent:
                raise self.fail(f"{device} has not sent {unsent}")
        for key in ending.all_keys():
            entry = ending.entry(key)
            siblings = entry.register.siblings if entry else ()
            for device, replica in ending.replicas.items():
                if replica.get(key, ()) != siblings:
                    raise self.fail(f"{device} holds {replica.get(key)} of {key}, the log {siblings}")
            self._check_files(key, entry.register.winner if entry else None, ending)

    def _check_files(self, key: str, winner: Change | None, ending: Ending) -> None:
        path = key.partition(":")[2]
        text = winner.value if winner else None
        for device, tree in ending.trees.items():
            if tree.get(path) != text and path not in ending.held.get(device, ()):
                raise self.fail(f"{path} of {device} is {tree.get(path)!r}, not {text!r}")
        known = set(ending.all_keys())
        for device, tree in ending.trees.items():
            for path in tree:
                if key_of_path(path) not in known and path not in ending.held.get(device, ()):
                    raise self.fail(f"{path} of {device} is nowhere else")


class AckedDurability(Checker):
    """I2: what was acknowledged is in the log, also after crashes; after a restore, what a device still has of it."""

    invariant = "I2"

    def __init__(self) -> None:
        self.acked: dict[tuple[str, str, Dot], str | None] = {}
        self.held: dict[str, Sequence[Change]] = {}
        """What devices had as confirmed when the log was restored last, texts and deletions."""

    def acknowledged(self, owner: str, vault: str, change: Change, store: MemoryStore) -> None:
        version = store.version(vault, change.key, change.dot)
        if version is None or version.change.content_hash != change.content_hash:
            raise self.fail(f"{change.key} {change.dot} was acknowledged to {owner} and is not in the log")
        self.acked[vault, change.key, change.dot] = change.content_hash

    def restored(self, held: Mapping[str, Sequence[Change]]) -> None:
        self.acked.clear()
        self.held = dict(held)

    def set_back(self, owner: str, texts: Iterable[str]) -> None:
        self.held.pop(owner, None)

    def end(self, ending: Ending) -> None:
        for (vault, key, dot), content_hash in self.acked.items():
            if vault == ending.vault:
                version = ending.store.version(vault, key, dot)
                if version is None or version.change.content_hash != content_hash:
                    raise self.fail(f"{key} {dot} was acknowledged and is gone from the log")
        for owner in self.held.keys() & ending.replicas.keys():
            for change in self.held[owner]:
                entry = ending.entry(change.key)
                # What others saw of it before it came back to the log needs not come any more.
                is_covered = entry is not None and entry.register.context.covers(change.dot)
                if not is_covered and ending.store.version(ending.vault, change.key, change.dot) is None:
                    raise self.fail(f"{owner} had {change} when the log was restored, and the log never got it back")


class LocalDurability(Checker):
    """I3: every word that a person saved is in a text, in an open conflict, or in the history, unless a person who
    had it in front of them took it out. A daemon removes nothing of which there is no other copy.
    """

    invariant = "I3"

    def __init__(self) -> None:
        self.words: dict[str, tuple[str, str]] = {}
        self.removed: set[str] = set()
        self.kept: set[str] = set()

    def saved(self, owner: str, path: str, before: str | None, after: str | None) -> None:
        left = tokens(after)
        self.removed |= tokens(before) - left
        for word in left - self.words.keys():
            self.words[word] = (owner, path)

    def committed(self, vault: str, batch: Batch, store: MemoryStore, wall_ms: int) -> None:
        self.kept.update(version.change.value for version in batch.versions if version.change.value is not None)

    def dropped(self, owner: str, data: bytes, own: Callable[[], set[str]]) -> None:
        text = data.decode()
        if text not in self.kept and text not in own() and tokens(text) - self.removed:
            raise self.fail(f"the daemon of {owner} removed the only copy of {text!r}")

    def forgiven(self, words: Iterable[str]) -> None:
        self.removed |= set(words)

    def end(self, ending: Ending) -> None:
        found: set[str] = set()
        for key in ending.all_keys():
            for version in ending.store.history(ending.vault, key):
                found |= tokens(version.change.value)
        for rows in ending.outboxes.values():
            for row in rows:
                found |= tokens(row.change.value)
        found.update(*(tokens(text) for text in ending.on_disks))
        here = {word for word, (owner, _) in self.words.items() if owner in ending.replicas}
        lost = here - self.removed - found
        if lost:
            raise self.fail(f"lost: {[(word, self.words[word]) for word in sorted(lost)]}")


class NoResurrection(Checker):
    """I4: a text comes into the log because a person saved it: as often as they did, and by their device."""

    invariant = "I4"

    def __init__(self) -> None:
        self.saves: Counter[tuple[str, str]] = Counter()
        self.sent: Counter[tuple[str, str]] = Counter()
        self.is_restored = False

    def saved(self, owner: str, path: str, before: str | None, after: str | None) -> None:
        if after is not None:
            self.saves[owner, after] += 1

    def moved(self, owner: str, path: str, target: str, text: str) -> None:
        self.saves[owner, text] += 1

    def carried(self, owner: str, data: bytes) -> None:
        self.saves[owner, data.decode()] += 1

    def set_back(self, owner: str, texts: Iterable[str]) -> None:
        for text in texts:
            self.saves[owner, text] += 1

    def restored(self, held: Mapping[str, Sequence[Change]]) -> None:
        # What the log lost comes from whoever still has it: under its author's name, or where the log has that dot for
        # something else by then, under their own.
        self.is_restored = True
        for owner, changes in held.items():
            self.saves.update((owner, change.value) for change in changes if change.value is not None)

    def committed(self, vault: str, batch: Batch, store: MemoryStore, wall_ms: int) -> None:
        for version in batch.versions:
            change = version.change
            if change.value is None or is_server(change.dot.device_id):
                continue
            text = (owner_of(change.dot.device_id), change.value)
            self.sent[text] = 1 if self.is_restored else self.sent[text] + 1
            if self.sent[text] > self.saves[text]:
                raise self.fail(f"{change.key} {change.dot} says {change.value!r}, which nobody saved there (again)")


class NoPhantomDelete(Checker):
    """I5: what is deleted was deleted by a person, on the device that says so.

    Of a note that was renamed to two names one stays; at the other there was a person's note, and the server deletes
    it, in favour of the first. Nobody else deletes there.
    """

    invariant = "I5"

    def __init__(self) -> None:
        self.deleted: Counter[tuple[str, str]] = Counter()
        self.sent: Counter[tuple[str, str]] = Counter()
        self.put: set[tuple[str, str]] = set()
        """Where people put something, whatever it is called beside a twin."""
        self.renames: dict[str, set[str]] = {}
        """Old name -> new names, as devices say."""
        self.is_restored = False

    def saved(self, owner: str, path: str, before: str | None, after: str | None) -> None:
        if after is None:
            self.deleted[owner, path] += 1
        else:
            self.put.add((owner, _without_twin(path)))

    def moved(self, owner: str, path: str, target: str, text: str) -> None:
        self.deleted[owner, path] += 1
        self.put.add((owner, _without_twin(target)))

    def set_back(self, owner: str, texts: Iterable[str]) -> None:
        for (who, path), count in list(self.deleted.items()):
            if who == owner:
                self.deleted[who, path] = 2 * count

    def restored(self, held: Mapping[str, Sequence[Change]]) -> None:
        self.is_restored = True

    def committed(self, vault: str, batch: Batch, store: MemoryStore, wall_ms: int) -> None:
        for version in batch.versions:
            change = version.change
            if not change.deleted:
                continue
            owner, path = owner_of(change.dot.device_id), change.key.partition(":")[2]
            if is_server(owner):
                if path not in self._named() and not self._gave_way(change):
                    raise self.fail(f"the server deleted {change.key}, which nobody did")
                continue
            self.sent[owner, path] = 1 if self.is_restored else self.sent[owner, path] + 1
            if self.sent[owner, path] > self.deleted[owner, path]:
                raise self.fail(f"{owner} deleted {change.key} ({change.dot}), which nobody did there (again)")
            if change.moved_to:
                target = change.moved_to.partition(":")[2]
                if (owner, _without_twin(target)) not in self.put:
                    raise self.fail(f"{owner} renamed {change.key} to {target}, where nobody put anything there")
                self.renames.setdefault(path, set()).add(target)

    def _named(self) -> set[str]:
        """Return the paths at which people deleted."""
        return {path for _, path in self.deleted}

    def _gave_way(self, tombstone: Change) -> bool:
        """Say whether the note at a path was renamed to there and, elsewhere, to where the tombstone leads."""
        if tombstone.moved_to is None:
            return False
        both = {tombstone.key.partition(":")[2], tombstone.moved_to.partition(":")[2]}
        return any(both <= self._reached(path) for path in self.renames)

    def _reached(self, path: str) -> set[str]:
        """Return all names that the note at a path was given, by one rename or several."""
        found: set[str] = set()
        left = [path]
        while left:
            further = self.renames.get(left.pop(), set()) - found
            found |= further
            left.extend(further)
        return found

    def end(self, ending: Ending) -> None:
        named = self._named()
        for key in ending.all_keys():
            entry = ending.entry(key)
            winner = entry.register.winner if entry else None
            is_gone = winner is None or (winner.deleted and not self._gave_way(winner))
            if is_gone and key.partition(":")[2] not in named:
                raise self.fail(f"{key} is gone, and nobody deleted it")


class Cursor(Checker):
    """I6: a cursor only goes on within an epoch, never past what is durable, and what lies behind it was applied."""

    invariant = "I6"

    def __init__(self) -> None:
        self.known: dict[str, tuple[str | None, int]] = {}

    def set_back(self, owner: str, texts: Iterable[str]) -> None:
        self.known.pop(owner, None)

    def applied(self, owner: str, epoch: str | None, cursor: int, replica: Mapping[str, bytes], log: Log) -> None:
        before = self.known.get(owner)
        if before and before[0] == epoch and cursor < before[1]:
            raise self.fail(f"the cursor of {owner} went back from {before[1]} to {cursor}")
        self.known[owner] = (epoch, cursor)
        if epoch != log.epoch:
            return
        if cursor > log.clock:
            raise self.fail(f"the cursor of {owner} is {cursor}, the log ends at {log.clock}")
        for key, entry in log.entries.items():
            if entry.changed_at <= cursor and replica.get(key) != log.siblings(entry):
                raise self.fail(f"{owner} is at {cursor} and holds {replica.get(key)!r} of {key}, not {entry}")


class Idempotence(Checker):
    """I7: the order and the number of arrivals alter nothing."""

    invariant = "I7"

    def end(self, ending: Ending) -> None:
        for key in ending.all_keys():
            entry = ending.entry(key)
            changes = [version.change for version in ending.store.history(ending.vault, key)]
            if entry is None or not changes:
                continue
            rng = random.Random(key)
            doubled = [*changes, *rng.choices(changes, k=len(changes))]
            rng.shuffle(doubled)
            if join_all(doubled).siblings != entry.register.siblings:
                raise self.fail(f"in another order {key} holds {join_all(doubled).siblings}, not {entry}")


class LoserKept(Checker):
    """I8: what another version replaced unseen is kept; a merge has all words of both sides, and a device's change all
    words of what it says to have seen, but those that somebody took out.
    """

    invariant = "I8"

    def __init__(self) -> None:
        self.versions: dict[tuple[str, str, Dot], str | None] = {}
        self.siblings: dict[tuple[str, str], tuple[Change, ...]] = {}
        self.removed: set[str] = set()
        self.at_path: dict[str, set[str]] = {}
        """All words that ever were in a note."""
        self.meanings: dict[tuple[str, str, Dot], list[frozenset[str]]] = {}
        """The words of all texts that a dot stood for: a device without its memory may use one again that a restored
        log has lost. Who still holds the other text has seen that."""

    def saved(self, owner: str, path: str, before: str | None, after: str | None) -> None:
        words = self.at_path.setdefault(path, set())
        # Who makes a note where one just was on its way to be replaced or deleted has not seen what it held.
        self.removed |= (tokens(before) if before is not None else words) - tokens(after)
        words |= tokens(after)

    def moved(self, owner: str, path: str, target: str, text: str) -> None:
        # They are elsewhere now: what comes to be at the old path may be without them.
        self.removed |= tokens(text)

    def restored(self, held: Mapping[str, Sequence[Change]]) -> None:
        self.versions.clear()
        self.siblings.clear()

    def committed(self, vault: str, batch: Batch, store: MemoryStore, wall_ms: int) -> None:
        for version in batch.versions:
            self.versions[vault, version.change.key, version.dot] = version.change.content_hash
            self.at_path.setdefault(version.change.key.partition(":")[2], set()).update(tokens(version.change.value))
            self.meanings.setdefault((vault, version.change.key, version.dot), []).append(tokens(version.change.value))
            if is_server(version.change.dot.device_id):
                self._check_merge(vault, version, store)
            else:
                self._check_seen(vault, version.change, store)
        for entry in batch.entries:
            before = self.siblings.get((vault, entry.key), ())
            for lost in before:
                if lost not in entry.register.siblings and store.version(vault, entry.key, lost.dot) is None:
                    raise self.fail(f"{entry.key} {lost.dot} was replaced and is not kept")
            self.siblings[vault, entry.key] = entry.register.siblings

    @staticmethod
    def _is_old(vault: str, side: Version, store: MemoryStore) -> bool:
        """Say whether a device that forgot everything only offers what the history has: nobody wrote it anew."""
        return side.change.base == frozenset() and any(
            record.receipt < side.receipt and record.content_hash == side.change.content_hash
            for record in store.records(vault, side.change.key)
        )

    def _check_seen(self, vault: str, change: Change, store: MemoryStore) -> None:
        for dot in sorted(change.base or ()):
            if store.version(vault, change.key, dot) is None:
                continue
            lost = self._unseen(vault, change.key, dot, self.removed | tokens(change.value))
            if lost:
                raise self.fail(f"{change.dot} of {change.key} says to have seen {dot} and lacks {sorted(lost)} of it")

    def _unseen(self, vault: str, key: str, dot: Dot, seen: set[str] | frozenset[str]) -> frozenset[str]:
        """Return the words of a dot's text that are not seen; of the text of which the fewest are not."""
        return min((words - seen for words in self.meanings[vault, key, dot]), key=len)

    def _check_merge(self, vault: str, version: Version, store: MemoryStore) -> None:
        change = version.change
        if change.value is None:
            self._check_move(vault, change, store)
            return
        words = tokens(change.value)
        sides = sorted(change.base or ())
        for dot in sides:
            side = store.version(vault, change.key, dot)
            if side and self._is_old(vault, side, store):
                continue
            lost = self._unseen(vault, change.key, dot, words) if side else frozenset()
            if lost:
                # What another side had and has no more, it took out.
                lost = lost.difference(
                    *(self._known_to(vault, change.key, other, store) for other in sides if other != dot)
                )
            if lost - self.removed:
                raise self.fail(f"the merge {change.dot} of {change.key} has lost {sorted(lost)} of {dot}")

    def _check_move(self, vault: str, tombstone: Change, store: MemoryStore) -> None:
        """Check that what the server moved to a note is in that."""
        home = tombstone.moved_to and next(iter(store.entries(vault, [tombstone.moved_to])), None)
        if not home:
            return
        known = self.removed.union(
            *(self._known_to(vault, home.key, sibling.dot, store) for sibling in home.register.siblings)
        )
        for dot in sorted(tombstone.base or ()):
            side = store.version(vault, tombstone.key, dot)
            lost = tokens(side.change.value) - known if side else frozenset()
            if lost:
                raise self.fail(f"{sorted(lost)} of {dot} did not move from {tombstone.key} to {home.key}")

    @staticmethod
    def _known_to(vault: str, key: str, dot: Dot, store: MemoryStore) -> set[str]:
        """Return all words that a version or one that it is based on has."""
        found: set[str] = set()
        seen: set[Dot] = set()
        left = [dot]
        while left:
            version = store.version(vault, key, left.pop())
            if version is not None and version.dot not in seen:
                seen.add(version.dot)
                found |= tokens(version.change.value)
                left.extend(version.change.base or ())
        return found

    def end(self, ending: Ending) -> None:
        for (vault, key, dot), content_hash in self.versions.items():
            if vault == ending.vault:
                version = ending.store.version(vault, key, dot)
                if version is None or version.change.content_hash != content_hash:
                    raise self.fail(f"the version {dot} of {key} is gone")


class Liveness(Checker):
    """I9: once faults are over everything becomes quiet, and stays so. The world waits and counts; see its `heal`."""

    invariant = "I9"


class Termination(Checker):
    """I10: without news a folder needs few passes."""

    invariant = "I10"

    def __init__(self) -> None:
        self.since: dict[str, tuple[int, int]] = {}

    def passed(self, owner: str, news: int) -> None:
        known, count = self.since.get(owner, (news, 0))
        count = count + 1 if known == news else 1
        self.since[owner] = (news, count)
        if count > MAX_PASSES:
            raise self.fail(f"{owner} made {count} passes without any news")


class WholeFiles(Checker):
    """I11: what people see of a file is at every moment something whole: what a person saved, or what the log says."""

    invariant = "I11"

    def __init__(self) -> None:
        self.whole: set[str] = set()

    def saved(self, owner: str, path: str, before: str | None, after: str | None) -> None:
        if after is not None:
            self.whole.add(after)

    def committed(self, vault: str, batch: Batch, store: MemoryStore, wall_ms: int) -> None:
        self.whole.update(version.change.value for version in batch.versions if version.change.value is not None)

    def shown(self, owner: str, path: str, data: bytes) -> None:
        if data.decode(errors="replace") not in self.whole:
            raise self.fail(f"{path} of {owner} shows {data!r}, which is nothing whole")


class Isolation(Checker):
    """I13: nothing of one vault reaches the devices of another."""

    invariant = "I13"

    def __init__(self, canaries: Mapping[str, bytes]) -> None:
        self.canaries = canaries

    def frame(self, vault: str, data: bytes) -> None:
        for other, canary in self.canaries.items():
            if other != vault and canary in data:
                raise self.fail(f"a message to a device of {vault} has words of {other}")


class Clocks(Checker):
    """I14: a dot means one content, for ever, unless a device was set back; the clock stays bounded."""

    invariant = "I14"

    def __init__(self) -> None:
        self.contents: dict[tuple[str, Dot], tuple[str | None, frozenset[Dot] | None]] = {}
        self.set_back_once: set[str] = set()
        self.clock = 0
        self.in_log: dict[tuple[str, str, Dot], str | None] = {}
        self.is_restored = False

    def set_back(self, owner: str, texts: Iterable[str]) -> None:
        self.set_back_once.add(owner)

    def restored(self, held: Mapping[str, Sequence[Change]]) -> None:
        self.in_log.clear()
        self.clock = 0
        self.is_restored = True

    def wrote(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if owner_of(change.dot.device_id) in self.set_back_once:
                continue
            content = (change.content_hash, change.base)
            if self.contents.setdefault((change.key, change.dot), content) != content:
                raise self.fail(f"{change.dot} of {change.key} was used twice")

    def refused(self, owner: str, code: str) -> None:
        if code == "dot_reused" and owner not in self.set_back_once and not self.is_restored:
            raise self.fail(f"{owner} used a dot twice, and was never set back")

    def committed(self, vault: str, batch: Batch, store: MemoryStore, wall_ms: int) -> None:
        for version in batch.versions:
            name = (vault, version.change.key, version.dot)
            content_hash = version.change.content_hash
            if self.in_log.setdefault(name, content_hash) != content_hash:
                raise self.fail(f"{version.dot} of {version.change.key} has two contents in the log")
        bound = max(batch.previous_clock + MAX_LEAD, wall_ms + MAX_WALL_LEAD) + 4 * len(batch.versions) + 1
        if batch.clock > bound:
            raise self.fail(f"the clock jumped from {batch.previous_clock} to {batch.clock}")


class Bounded(Checker):
    """I15: what waits in memory, or for a person, is bounded."""

    invariant = "I15"

    def bounds(self, measured: Mapping[str, tuple[int, int]]) -> None:
        for what, (size, most) in measured.items():
            if size > most:
                raise self.fail(f"{what}: {size}, more than {most}")

    def committed(self, vault: str, batch: Batch, store: MemoryStore, wall_ms: int) -> None:
        for entry in batch.entries:
            if len(entry.register.siblings) > MAX_SIBLINGS:
                raise self.fail(f"{entry.key} has {len(entry.register.siblings)} siblings")

    def end(self, ending: Ending) -> None:
        for device, names in ending.leftovers.items():
            if names:
                raise self.fail(f"{device} has temporary files left: {names}")


def all_checkers(canaries: Mapping[str, bytes]) -> list[Checker]:
    """Return a fresh checker of every invariant; I12, containment, is the disk's own (`disk.Escaped`)."""
    return [
        Convergence(),
        AckedDurability(),
        LocalDurability(),
        NoResurrection(),
        NoPhantomDelete(),
        Cursor(),
        Idempotence(),
        LoserKept(),
        Termination(),
        WholeFiles(),
        Isolation(canaries),
        Clocks(),
        Bounded(),
    ]


class Recorder:
    """Tells every checker what happens; those that do not mind a fact are not asked.

    Args:
        checkers: whom to tell.
    """

    def __init__(self, checkers: Sequence[Checker]) -> None:
        def of(fact: str) -> list[Checker]:
            return [each for each in checkers if getattr(type(each), fact) is not getattr(Checker, fact)]

        self.checkers = checkers
        self._dropped, self._shown, self._frame = of("dropped"), of("shown"), of("frame")
        self._carried = of("carried")
        self._saved, self._moved, self._wrote = of("saved"), of("moved"), of("wrote")
        self._committed, self._acknowledged, self._refused = of("committed"), of("acknowledged"), of("refused")
        self._applied, self._passed, self._bounds = of("applied"), of("passed"), of("bounds")

    def saved(self, owner: str, path: str, before: str | None, after: str | None) -> None:
        for each in self._saved:
            each.saved(owner, path, before, after)

    def moved(self, owner: str, path: str, target: str, text: str) -> None:
        for each in self._moved:
            each.moved(owner, path, target, text)

    def wrote(self, changes: Sequence[Change]) -> None:
        for each in self._wrote:
            each.wrote(changes)

    def committed(self, vault: str, batch: Batch, store: MemoryStore, wall_ms: int) -> None:
        for each in self._committed:
            each.committed(vault, batch, store, wall_ms)

    def acknowledged(self, owner: str, vault: str, change: Change, store: MemoryStore) -> None:
        for each in self._acknowledged:
            each.acknowledged(owner, vault, change, store)

    def refused(self, owner: str, code: str) -> None:
        for each in self._refused:
            each.refused(owner, code)

    def applied(self, owner: str, epoch: str | None, cursor: int, replica: Mapping[str, bytes], log: Log) -> None:
        for each in self._applied:
            each.applied(owner, epoch, cursor, replica, log)

    def shown(self, owner: str, path: str, data: bytes) -> None:
        for each in self._shown:
            each.shown(owner, path, data)

    def carried(self, owner: str, data: bytes) -> None:
        for each in self._carried:
            each.carried(owner, data)

    def dropped(self, owner: str, data: bytes, own: Callable[[], set[str]]) -> None:
        for each in self._dropped:
            each.dropped(owner, data, own)

    def frame(self, vault: str, data: bytes) -> None:
        for each in self._frame:
            each.frame(vault, data)

    def passed(self, owner: str, news: int) -> None:
        for each in self._passed:
            each.passed(owner, news)

    def bounds(self, measured: Mapping[str, tuple[int, int]]) -> None:
        for each in self._bounds:
            each.bounds(measured)

    def forgiven(self, words: Iterable[str]) -> None:
        words = list(words)
        for each in self.checkers:
            each.forgiven(words)

    def set_back(self, owner: str, texts: Iterable[str]) -> None:
        texts = list(texts)
        for each in self.checkers:
            each.set_back(owner, texts)

    def restored(self, held: Mapping[str, Sequence[Change]]) -> None:
        for each in self.checkers:
            each.restored(held)

    def end(self, ending: Ending) -> None:
        for each in self.checkers:
            each.end(ending)
