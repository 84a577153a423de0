"""The planner against a model: three folders, one of them on a disk that folds names, and a real log between.

The model knows who saved and who removed what. Checked at every step: bytes are overwritten or removed only when the
log or the device's own outbox has them; a deletion goes out only where a person removed the file. Checked at the end:
all devices come to rest, agree, and hold everything that nobody removed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count

from hypothesis import event, given, note
from hypothesis import strategies as st

from laws import law
from tidenote.client.journal import BaseEntry
from tidenote.core.clock import LamportClock
from tidenote.core.keys import key_of_path, path_of_key
from tidenote.core.register import join_all
from tidenote.core.version import Change, Dot
from tidenote.server.store.memory import MemoryStore
from tidenote.vault.bases import Bases, DiskTraits
from tidenote.vault.plan import (
    Action,
    Adopt,
    Delete,
    DiskEntry,
    Forget,
    MoveLocal,
    Plan,
    Push,
    PushDelete,
    PushMove,
    Remote,
    Settings,
    Why,
    World,
    Write,
    plan,
    tombstone,
)
from tidenote.vault.twins import Twins

VAULT = "main"
COMPOSED, DECOMPOSED = "caf\u00e9.md", "cafe\u0301.md"
PATHS = ("a.md", "A.md", "b.md", "d", "d/x.md", "D/x.md", COMPOSED, "e/f/g.md")
FOLDING = DiskTraits(case_sensitive=False, form_sensitive=False)


def sha(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


@dataclass
class File:
    content: str
    inode: int
    mtime_ns: int = 0


class Disk:
    """Names as one disk sees them, with a folder's rules: no file and folder of the same name."""

    def __init__(self, traits: DiskTraits) -> None:
        self.traits = traits
        self.files: dict[str, File] = {}
        self.inodes = count(1)

    def find(self, name: str) -> str | None:
        """Return the name under which the disk has the file that it takes this name for."""
        return next((known for known in self.files if self.traits.fold(known) == self.traits.fold(name)), None)

    def is_file(self, name: str) -> bool:
        return name in self.files

    def is_free(self, name: str) -> bool:
        return self.find(name) is None

    def can_sync(self, _: str) -> bool:
        return True

    def fits(self, name: str) -> bool:
        """Say whether a file of this name can be made as far as folders go."""
        folded = self.traits.fold(name)
        names = [self.traits.fold(known) for known in self.files]
        return not any(known.startswith(folded + "/") or folded.startswith(known + "/") for known in names)

    def save(self, name: str, content: str) -> None:
        known = self.find(name)
        if known:
            self.files[known] = replace(self.files[known], content=content)
        else:
            assert self.fits(name)
            self.files[self.spelled(name)] = File(content, next(self.inodes))

    def spelled(self, name: str) -> str:
        """Return a new file's name: in a folder that exists, the folder keeps its spelling."""
        folder, slash, last = name.rpartition("/")
        for known in self.files:
            above = known.rpartition("/")[0]
            if self.traits.fold(above) == self.traits.fold(folder):
                return above + slash + last
        return name


@dataclass
class Device:
    name: str
    disk: Disk
    bases: Bases
    confirmed: dict[str, tuple[Change, ...]] = field(default_factory=dict)
    outbox: list[Change] = field(default_factory=list)
    cursor: int = 0
    clock: LamportClock = field(default_factory=LamportClock)
    removed: set[str] = field(default_factory=set)
    """Paths whose files the person at this device removed or renamed, and nobody made again here."""
    incarnation: int = 1

    def paths(self) -> dict[str, str]:
        """Return the path of each file, by its name on disk."""
        twins = Twins(self.bases, self.disk.traits, self.disk)
        found = {name: twins.path_of(name) for name in sorted(self.disk.files)}
        return {name: path for name, path in found.items() if path}

    def name_of(self, path: str) -> str | None:
        """Return the name of a file that has a path, or that has this very name, in a form that is no path."""
        if path == DECOMPOSED:
            return self.disk.find(path)
        return next((name for name, known in self.paths().items() if known == path), None)

    @property
    def author(self) -> str:
        return self.name if self.incarnation == 1 else f"{self.name}~{self.incarnation}"

    def winner(self, key: str) -> Change | None:
        return join_all([*self.confirmed.get(key, ()), *(row for row in self.outbox if row.key == key)]).winner

    def write(self, path: str, value: str | None, base: frozenset[Dot], moved_to: str | None = None) -> Dot:
        target = key_of_path(moved_to) if moved_to else None
        self.clock.observe(*(dot.timestamp for dot in base), 0)
        change = Change(key_of_path(path), Dot(self.clock.tick(), self.author), value, None, base, target)
        self.outbox.append(change)
        return change.dot


class WorldModel:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.store.create_vault(VAULT)
        self.devices = [
            Device(name, Disk(traits), Bases(fold=traits.fold))
            for name, traits in (("one", DiskTraits()), ("two", DiskTraits()), ("fold", FOLDING))
        ]
        self.words = count(1)
        self.saved: dict[str, list[str]] = {}
        """Path -> contents that a person saved there."""
        self.ever_removed: set[str] = set()

    # -- what persons do

    def save(self, device: Device, path: str, content: str | None, *, append: bool) -> None:
        name = device.name_of(path) or path
        known = device.disk.find(name)
        if known and path not in (DECOMPOSED, device.paths()[known]):
            return  # on this disk the name is another file's
        if not known and not device.disk.fits(name):
            return
        text = content if content is not None else f"w{next(self.words)}"
        if append and known:
            text = f"{device.disk.files[known].content}\n{text}"
        device.disk.save(name, text)
        # A folder keeps its spelling, and with it decides which path this is.
        actual = device.disk.find(name)
        assert actual
        path = device.paths()[actual]
        self.saved.setdefault(path, []).append(text)
        device.removed.discard(path)

    def remove(self, device: Device, path: str) -> None:
        name = device.name_of(path)
        if name:
            path = device.paths()[name]
            del device.disk.files[name]
            device.removed.add(path)
            self.ever_removed.add(path)

    def rename(self, device: Device, path: str, target: str) -> None:
        name = device.name_of(path)
        if name is None or name == target:
            return
        path = device.paths()[name]
        file = device.disk.files.pop(name)
        target = device.disk.spelled(target)
        if device.disk.find(target) or not device.disk.fits(target):
            device.disk.files[name] = file
            return
        device.disk.files[target] = file
        device.removed.add(path)
        self.ever_removed.add(path)
        moved = device.paths()[target]
        self.saved.setdefault(moved, []).append(file.content)
        device.removed.discard(moved)

    def forget_journal(self, device: Device) -> None:
        device.bases = Bases(fold=device.disk.traits.fold)
        device.confirmed, device.outbox, device.cursor = {}, [], 0
        # Dots are never used twice: the real client learns this from `dot_reused`.
        device.incarnation += 1
        device.clock = LamportClock()
        self.pull(device)

    @contextmanager
    def renamed_twins(self) -> Iterator[None]:
        """Note which files stand for other paths afterwards: of two that nobody sent, the composed one has the path."""
        before = [device.paths() for device in self.devices]
        yield
        for device, known in zip(self.devices, before, strict=True):
            for name, path in device.paths().items():
                if known.get(name, path) != path:
                    self.ever_removed.add(known[name])
                    self.saved.setdefault(path, []).append(device.disk.files[name].content)

    # -- the link

    def push(self, device: Device, number: int | None = None) -> None:
        sent = device.outbox[:number]
        # The halves of a rename travel together.
        for change in device.outbox[len(sent) :]:
            if not change.moved_to:
                break
            sent.append(change)
        self.store.take_in(VAULT, [sent], wall_ms=0, check_blob=lambda _: True)
        device.outbox = device.outbox[len(sent) :]
        for change in sent:
            device.confirmed[change.key] = join_all([*device.confirmed.get(change.key, ()), change]).siblings
        self.pull(device)

    def pull(self, device: Device) -> None:
        page = self.store.changes_since(VAULT, device.cursor, max_changes=10**6, max_bytes=10**9)
        for entry in page.entries:
            device.confirmed[entry.key] = entry.register.siblings
            device.clock.observe(*(change.dot.timestamp for change in entry.register.siblings))
        device.cursor = page.up_to
        device.clock.observe(page.up_to)

    # -- the folder

    def plan(self, device: Device, only: set[str] | None = None) -> tuple[Plan, World]:
        disk = {
            path: DiskEntry(path, name, len(file.content), file.mtime_ns, file.inode, sha(file.content))
            for name, path in device.paths().items()
            for file in [device.disk.files[name]]
        }
        assert len(disk) == len(device.disk.files)
        replica = {}
        for key in {*device.confirmed, *(change.key for change in device.outbox)}:
            winner = device.winner(key)
            if winner:
                moved_to = path_of_key(winner.moved_to) if winner.moved_to else None
                replica[path_of_key(key)] = Remote(winner.dot, winner.content_hash, moved_to)
        paths = {*disk, *replica, *(base.path for base in device.bases)}
        if only is not None:
            paths &= only
            disk = {path: entry for path, entry in disk.items() if path in only}
        pending = {change.dot for change in device.outbox}
        unsent = {base.path for base in device.bases if base.dot in pending}
        world = World(paths, disk, device.bases, replica, unsent=unsent)
        # The guard has tests of its own; these worlds are too small for it.
        return plan(world, Settings(traits=device.disk.traits, confirmed=None)), world

    def sync(self, device: Device, only: set[str] | None = None, stop_after: int | None = None) -> int:
        """Plan and act; return how many actions there were."""
        made, world = self.plan(device, only)
        for action in made.actions[:stop_after]:
            self.act(device, action, world, partial=only is not None)
        return len(made.actions)

    def act(self, device: Device, action: Action, world: World, *, partial: bool) -> None:
        match action:
            case Push(entry, base, unbased):
                dot = device.write(entry.path, device.disk.files[entry.disk_name].content, base)
                device.bases.put(self.remembered(device, entry.path, entry.disk_name, dot, unbased=unbased))
            case PushDelete(path, _, base):
                assert path in device.removed, f"phantom deletion of {path}"
                device.bases.put(tombstone(path, device.write(path, None, base)))
            case PushMove(source, _, source_base, entry, base):
                assert source in device.removed, f"phantom rename of {source}"
                dot = device.write(entry.path, device.disk.files[entry.disk_name].content, base)
                device.bases.put(tombstone(source, device.write(source, None, source_base, entry.path)))
                device.bases.put(self.remembered(device, entry.path, entry.disk_name, dot))
            case Write(path, disk_name, remote, expected):
                self.check_expected(device, path, disk_name, expected, partial=partial)
                known = device.disk.find(disk_name)
                if expected is None and (known or not device.disk.fits(disk_name)):
                    assert partial, f"{disk_name} is taken by {known}"
                    return
                winner = device.winner(key_of_path(path))
                assert winner
                if winner.dot != remote.dot:
                    return
                assert winner.value is not None
                device.disk.save(disk_name, winner.value)
                actual = device.disk.find(disk_name)
                assert actual
                device.bases.put(self.remembered(device, path, actual, remote.dot))
                device.removed.discard(path)
            case Delete(path, disk_name, remote, expected):
                self.check_expected(device, path, disk_name, expected, partial=partial)
                assert path in self.ever_removed, f"nobody ever removed {path}"
                del device.disk.files[disk_name]
                device.bases.put(tombstone(path, remote.dot))
            case MoveLocal(source, source_disk_name, source_remote, path, disk_name, remote, expected):
                self.check_expected(device, source, source_disk_name, expected, partial=partial)
                file = device.disk.files.pop(source_disk_name)
                if device.disk.find(disk_name) or not device.disk.fits(disk_name):
                    assert partial, f"{disk_name} is taken"
                    device.disk.files[source_disk_name] = file
                    return
                actual = device.disk.spelled(disk_name)
                device.disk.files[actual] = file
                device.bases.put(tombstone(source, source_remote.dot))
                device.bases.put(self.remembered(device, path, actual, remote.dot))
                device.removed.discard(path)
            case Adopt(base_entry):
                device.bases.put(base_entry)
            case Forget(path):
                device.bases.drop(path)

    def remembered(self, device: Device, path: str, name: str, dot: Dot, *, unbased: bool = False) -> BaseEntry:
        file = device.disk.files[name]
        return BaseEntry(path, dot, sha(file.content), len(file.content), 0, file.inode, name, unbased)

    def check_expected(self, device: Device, path: str, name: str, expected: str | None, *, partial: bool) -> None:
        """What leaves the disk is what the plan saw, and it is kept elsewhere."""
        file = device.disk.files.get(name)
        if expected is None:
            return
        assert file
        assert sha(file.content) == expected
        key = key_of_path(path)
        kept = {version.change.value for version in self.store.history(VAULT, key)}
        kept |= {change.value for change in device.outbox if change.key == key}
        assert file.content in kept, f"{file.content!r} at {path} would be lost"

    # -- the end

    def heal(self) -> None:
        for round_number in range(40):
            actions = 0
            for device in self.devices:
                actions += len(device.outbox)
                self.push(device)
                actions += self.sync(device)
            if not actions:
                event(f"at rest after {round_number} rounds")
                return
        raise AssertionError("it never comes to rest")

    def check_end(self) -> None:
        shown = {
            path_of_key(entry.key): entry.winner.value
            for entry in self.store.changes_since(VAULT, 0, max_changes=10**6, max_bytes=10**9).entries
            if entry.winner and not entry.winner.deleted
        }
        deleted_elsewhere = set()
        for device in self.devices:
            made, _ = self.plan(device)
            assert made.actions == []
            assert made.waiting == []
            held = {each.path for each in made.held}
            deleted_elsewhere |= {each.path for each in made.held if each.why is Why.DELETED_ELSEWHERE}
            on_disk = {path: device.disk.files[name].content for name, path in device.paths().items()}
            assert {path: text for path, text in on_disk.items() if path not in held} == {
                path: text for path, text in shown.items() if path not in held
            }
        for path in self.saved:
            if path not in self.ever_removed:
                assert path in shown, f"{path} is gone, and nobody removed it"
        for path, text in shown.items():
            assert text in {version.change.value for version in self.store.history(VAULT, key_of_path(path))}, path


DEVICES = st.integers(0, 2)
SOME_PATHS = st.sampled_from(PATHS)
SOME_NAMES = st.sampled_from((*PATHS, DECOMPOSED))
OPERATIONS = st.one_of(
    st.tuples(st.just("save"), DEVICES, SOME_NAMES, st.none() | st.sampled_from(["same", "other"]), st.booleans()),
    st.tuples(st.just("twins"), DEVICES),
    st.tuples(st.just("remove"), DEVICES, SOME_NAMES),
    st.tuples(st.just("rename"), DEVICES, SOME_NAMES, SOME_NAMES),
    st.tuples(st.just("sync"), DEVICES, st.none() | st.sets(SOME_PATHS), st.none() | st.integers(0, 3)),
    st.tuples(st.just("push"), DEVICES, st.none() | st.integers(0, 3)),
    st.tuples(st.just("pull"), DEVICES),
    st.tuples(st.just("round"), DEVICES),
    st.tuples(st.just("rebuild"), DEVICES),
)


@law(print_blob=True)
@given(st.lists(OPERATIONS, max_size=40))
def test_nothing_is_lost_nothing_is_deleted_by_itself_and_all_come_to_rest(
    operations: list[tuple[object, ...]],
) -> None:
    model = WorldModel()
    for operation in operations:
        note(str(operation))
        with model.renamed_twins():
            run_one(model, operation)
    with model.renamed_twins():
        model.heal()
    model.check_end()


def run_one(model: WorldModel, operation: tuple[object, ...]) -> None:
    device = model.devices[operation[1]]  # type: ignore[call-overload]
    match operation:
        case ("save", _, str(path), content, bool(append)):
            model.save(device, path, content, append=append)  # type: ignore[arg-type]
        case ("twins", _):
            for name in (COMPOSED, DECOMPOSED):
                model.save(device, name, None, append=False)
        case ("remove", _, str(path)):
            model.remove(device, path)
        case ("rename", _, str(path), str(target)):
            model.rename(device, path, target)
        case ("sync", _, only, stop_after):
            model.sync(device, only, stop_after)  # type: ignore[arg-type]
        case ("push", _, number):
            model.push(device, number)  # type: ignore[arg-type]
        case ("pull", _):
            model.pull(device)
        case ("round", _):
            model.sync(device)
            model.push(device)
            model.sync(device)
        case _:
            model.forget_journal(device)
