"""A person's device: a computer that keeps a disk and a journal, and the process on it, which may die at every step.

The process is what production runs: journal, passes over the folder, their applier and files, and the link's parts
(link.py). Only waiting and the operating system are ours.
"""

from __future__ import annotations

import hashlib
import random
import sqlite3
import types
import unicodedata
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sim.disk import ROOT, SimDisk
from sim.link import SimLink, texts_of
from sim.server import Crashed
from tidenote.client.journal import BaseEntry, Journal, Write
from tidenote.client.journal_file import _prepare
from tidenote.config import SyncConfig
from tidenote.core.keys import key_of_path
from tidenote.core.version import BlobRef, Change
from tidenote.errors import FolderError, TidenoteError
from tidenote.vault.apply import Applier
from tidenote.vault.bases import Bases, DiskTraits
from tidenote.vault.files import RealFiles
from tidenote.vault.ignore import IgnoreRules
from tidenote.vault.passes import Passes, Unfit
from tidenote.vault.twins import Twins
from tidenote.wire.session import Received

if TYPE_CHECKING:
    from sim.world import World

T = TypeVar("T")

SETTLE_MS: Final = 50
SETTLE_EMPTY_MS: Final = 2000
HINT_MS: Final = (1, 60)
TICK_MS: Final = 5000
FULL_SCAN_MS: Final = 60_000
FULL_RETRY_MS: Final = 5000
CHECK_EVERY: Final = 8
"""After how many messages all that a device holds is compared with the log."""


def _new_database() -> bytes:
    database = sqlite3.connect(":memory:", isolation_level=None)
    _prepare(database, Path("journal.db"))
    image = database.serialize()
    database.close()
    return image


_EMPTY: Final = _new_database()


class SimJournal(Journal):
    """A journal on a disk in memory, whose process may die before, in and after every commit."""

    def __init__(self, device: Device) -> None:
        self._device = device
        super().__init__("journal.db", wall_ms=device.wall_ms, open_file=lambda _: device.database)

    def write(
        self, writes: Sequence[Write], bases: Iterable[BaseEntry] = (), forget: Iterable[str] = ()
    ) -> list[Change]:
        changes = super().write(writes, bases, forget)
        self._device.world.recorder.wrote(changes)
        return changes

    @contextmanager
    def _commit(self) -> Iterator[None]:
        self._device.step("before a commit")
        with super()._commit():
            yield
            self._device.step("in a commit")
        self._device.step("after a commit")


@types.coroutine
def pause() -> Generator[None, None, None]:
    """Let the world go on before what follows."""
    yield


class SimWork:
    """Waiting in a world: whatever is waited for takes a moment, in which anything may happen."""

    def __init__(self, device: Device) -> None:
        self._device = device

    async def run(self, work: Callable[[], T]) -> T:
        await pause()
        return work()

    async def gather(self, *parts: Any) -> list[Any]:
        found = []
        for number, part in enumerate(parts):
            try:
                found.append(await part)
            except BaseException:
                for left in parts[number + 1 :]:
                    with suppress(BaseException):
                        left.send(None)
                    left.close()
                raise
        return found

    async def breathe(self) -> None:
        await pause()

    def monotonic_s(self) -> float:
        return self._device.world.now / 1000

    def wall_ns(self) -> int:
        return self._device.wall_ms() * 1_000_000


class Device:
    """A computer, or a program without a folder.

    Args:
        world: where.
        number: which.
        vault: which vault it syncs.
        has_folder: whether it is a folder that syncs.
    """

    def __init__(self, world: World, number: int, vault: str, *, has_folder: bool) -> None:
        self.world = world
        self.number = number
        self.name = f"d{number}"
        self.vault = vault
        self.has_folder = has_folder
        self.rng = random.Random(f"{world.seed} {self.name}")
        self.wall_offset_ms = 0
        options = world.options
        self.disk = SimDisk(
            lambda: self.wall_ms() * 1_000_000, folding=options.folding and number == 0, can_exchange=options.exchange
        )
        self.disk.before_step = self.step
        self.disk.on_shown = lambda path, data: world.recorder.shown(self.name, path, data)
        self.disk.on_carried = lambda data: world.recorder.carried(self.name, data)
        self.disk.on_dropped = lambda _, data: world.recorder.dropped(self.name, data, self._own_texts)
        self.disk.on_hint = self._hint
        self.database = sqlite3.connect(":memory:", isolation_level=None)
        self.database.deserialize(_EMPTY)
        self.process: Process | None = None
        self.steps = 0
        self.news = 0
        """How much came from outside so far: saves and messages."""
        self._armed: tuple[int, Callable[[], None]] | None = None
        self._dying = False
        self._image: tuple[SimDisk, bytes, dict[str, str]] | None = None
        self.power_rng: random.Random | None = None
        """Set if the process dies of a power cut: decides on what is lost."""
        if options.skew and self.rng.random() < 0.5:
            # A clock that is far ahead, as after a bug or with a bad wall clock.
            self.database.execute("INSERT OR REPLACE INTO meta VALUES ('clock', ?)", (options.skew,))

    def wall_ms(self) -> int:
        """Return the time of day."""
        return 1_700_000_000_000 + self.world.now + self.wall_offset_ms

    # -- life

    def start(self) -> None:
        """Start the process, unless it runs."""
        if self.process is None:
            self._dying = False
            try:
                self.process = Process(self)
                self.process.begin()
            except FolderError:
                self.process = None
                self.world.after(2000, self.start)
            except Crashed:
                self.die()

    def step(self, _: str) -> None:
        """Do one step of the process; it may die before it, or something else may happen.

        Raises:
            Crashed: it dies.
        """
        if self._dying:
            raise Crashed
        self.steps += 1
        if self._armed is not None:
            left, do = self._armed
            self._armed = (left - 1, do) if left else None
            if not left:
                do()

    def at_step(self, steps: int, do: Callable[[], None]) -> None:
        """Do something after so many more steps of the process."""
        self._armed = (steps, do)

    def kill(self) -> None:
        """Let the process die in the middle of what it does."""
        self._dying = True
        raise Crashed

    def die(self) -> None:
        """End the process without warning, and start it again later."""
        self._dying = True
        self._armed = None
        rng, self.power_rng = self.power_rng, None
        process, self.process = self.process, None
        self.disk.restart()
        if process:
            process.end()
        if self.database.in_transaction:
            self.database.execute("ROLLBACK")
        if rng:
            self.disk.power_cut(rng)
        self.world.note(f"{self.name} is dead")
        self.world.after(self.world.faults.randint(10, 10_000), self.start)

    def close(self) -> None:
        """End everything for good."""
        self._dying = True
        if self.process:
            self.process.end()
        self.database.close()

    # -- what else befalls it

    def lose_journal(self) -> None:
        """Lose all memory: only the folder is left."""
        self.die()
        destroyed = self.texts()
        self.database.deserialize(_EMPTY)
        self._set_back(destroyed)

    def keep_image(self) -> None:
        """Keep an image of the whole computer."""
        if self._image is None:
            # A commit that is under way is not in it.
            image = self.database.serialize()
            self._image = (self.disk.image(), image, self.world.people[self.name].in_editors())

    def roll_back(self) -> None:
        """Be set back to that image."""
        if self._image is None:
            return
        self.die()
        disk, database, unfinished = self._image
        self._image = None
        saved = self.texts()
        self.world.people[self.name].close_editors()
        self.disk.become(disk)
        self.database.deserialize(database)
        self._set_back(saved)
        for path, text in unfinished.items():
            # The editor that was about to write it is not in the image: it has emptied it, and no more.
            self.world.saved(self, path, text, "")

    def _set_back(self, destroyed: list[str]) -> None:
        world = self.world
        world.forgive(destroyed)
        texts = [data.decode() for data in self.disk.files().values()]
        world.recorder.set_back(self.name, texts + self.outbox_texts())

    # -- looking

    def texts(self, *, with_replaced: bool = True) -> list[str]:
        """Return all texts on this computer: in files, with editors that are about to write them, in the journal.

        Args:
            with_replaced: with the files that the daemon replaces at its next step, because the log has something else
                that replaced their versions.
        """
        files = [
            data.decode()
            for path, data in self.disk.files().items()
            if with_replaced or not self._is_replaced(path, data)
        ]
        unsent = self.outbox_texts()
        confirmed = [data.decode() for data in self.replica().values()]
        return [*files, *self.world.people[self.name].in_editors().values(), *unsent, *confirmed]

    def _is_replaced(self, path: str, data: bytes) -> bool:
        journal, path = self.open_journal(), self.path_of(path)
        base = journal.bases().get(path)
        if base is None or base.content_hash != hashlib.sha256(data).hexdigest():
            return False
        return base.dot is not None and base.dot not in journal.register(key_of_path(path)).dots

    def outbox_texts(self) -> list[str]:
        """Return the texts in the outbox, of a process that may be dead."""
        return sorted(texts_of(self.open_journal().pending()) | texts_of(self.open_journal().parked()))

    def open_journal(self) -> Journal:
        """Return the journal, for looking only."""
        return self.process.journal if self.process else Journal("journal.db", open_file=lambda _: self.database)

    def path_of(self, disk_path: str) -> str:
        """Return the path in the vault that a file on the disk stands for, whether or not a process runs.

        On a disk that folds, `d/f.md` comes to be `D/f.md` if there is a folder `D`: who deletes that while the
        process is dead deletes `d/f.md` all the same, and the process will say so when it is back.
        """
        process = self.process
        bases = process.bases if process and process.passes else Bases(self.open_journal().bases().values())
        twins = Twins(bases, DiskTraits(not self.disk.folding, not self.disk.folding), self)
        return unicodedata.normalize("NFC", twins.path_of(disk_path) or disk_path)

    def is_file(self, disk_name: str) -> bool:
        """Say whether there is a file of exactly this name."""
        return self.disk.spelled(disk_name) == disk_name

    def is_free(self, disk_name: str) -> bool:
        """Say whether nothing is there."""
        return self.disk.is_free(disk_name)

    def can_sync(self, _: str) -> bool:
        """Say that every path that people use can sync."""
        return True

    def confirmed(self) -> list[Change]:
        """Return everything that the journal holds as confirmed."""
        journal = self.open_journal()
        return [change for key, _ in journal.confirmed_heads() for change in journal.confirmed(key)]

    def replica(self) -> dict[str, bytes]:
        """Return what the device holds as confirmed, as JSON."""
        return dict(self.database.execute("SELECT key, changes FROM confirmed"))

    def _own_texts(self) -> set[str]:
        return set(self.outbox_texts())

    def _hint(self, path: str) -> None:
        process = self.process
        if process and process.passes and self.world.network.random() >= self.world.options.lost_hints:
            process.hint(path)


class Process:
    """What runs on a device until it dies.

    Args:
        device: where.

    Raises:
        FolderError: the folder cannot be opened.
        Crashed: it died while it started.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.world = device.world
        self.rng = device.rng
        self.config = SyncConfig(device.name, sync_endpoint="ws://127.0.0.1:1/ws/sync", vault=device.vault)
        self.journal = SimJournal(device)
        self.journal.bind(device_id=device.name, vault=device.vault, endpoint=self.config.sync_endpoint)
        self.runs = True
        self.passes: Passes | None = None
        self._coroutines: list[Coroutine[Any, Any, Any]] = []
        self._passing = False
        self._paused = False
        self._look_at_ms: int | None = None
        self._scanned_ms = self.world.now
        self._hints: dict[str, None] = {}
        self._messages = 0
        if device.has_folder:
            self._open_folder()
        self.link = SimLink(self)

    def _open_folder(self) -> None:
        work = SimWork(self.device)
        self.files = RealFiles(ROOT, self.device.disk)
        self.files.clean()
        self.bases = Bases(self.journal.bases().values(), self.files.traits.fold)
        applier = Applier(self.files, ROOT, ROOT, self, self.bases, work, lambda *_: None)
        self.passes = Passes(
            self.files,
            self.journal,
            self.bases,
            applier,
            work,
            IgnoreRules(),
            settle_ms=SETTLE_MS,
            settle_empty_ms=SETTLE_EMPTY_MS,
            wake=self.look_soon,
        )

    def begin(self) -> None:
        """Start to work."""
        self.world.after(0, self.guarded(self.link.step))
        if self.passes:
            self.look_soon()
            self.world.after(TICK_MS, self.guarded(self._tick))
        self.check_replica()

    def end(self) -> None:
        """Be dead."""
        self.runs = False
        self.link.stop() if hasattr(self, "link") else None
        for coroutine in self._coroutines:
            with suppress(Crashed):
                coroutine.close()

    # -- running

    def guard(self, do: Callable[[], None]) -> None:
        """Do something in this process, if it runs; if it dies of that, it is dead."""
        if self.runs:
            try:
                do()
            except Crashed:
                self.device.die()

    def guarded(self, do: Callable[[], None]) -> Callable[[], None]:
        """Return something to be done later."""
        return lambda: self.guard(do)

    def spawn(self, work: Coroutine[Any, Any, Any], over: Callable[[TidenoteError | None], None]) -> None:
        """Run a coroutine beside everything else."""
        self._coroutines.append(work)
        self._go_on(work, over)

    def _go_on(self, work: Coroutine[Any, Any, Any], over: Callable[[TidenoteError | None], None]) -> None:
        try:
            work.send(None)
        except StopIteration:
            self._coroutines.remove(work)
            over(None)
        except TidenoteError as error:
            self._coroutines.remove(work)
            over(error)
        else:
            self.world.after(self.world.network.randint(0, 3), self.guarded(lambda: self._go_on(work, over)))

    # -- the folder

    def look_soon(self) -> None:
        """Make a pass when one is due."""
        if not self._passing and self._look_at_ms != self.world.now:
            self._look_at_ms = self.world.now
            self.world.after(0, self.guarded(self._look))

    def _look(self) -> None:
        passes = self.passes
        if not passes or self._passing or self._paused:
            return
        self._look_at_ms = None
        if self.journal.meta.epoch is None and not self.link.caught_up:
            # What nobody has told us about yet might be there already: first listen, then speak.
            return
        if not passes.is_due:
            self._look_later()
            return
        self._passing = True
        self.world.recorder.passed(self.device.name, self.device.news + self.world.now // 1000)
        self.spawn(self._pass(passes), self._passed)

    async def _pass(self, passes: Passes) -> None:
        if not await passes.make():
            for _ in range(FULL_RETRY_MS // 10):
                await pause()

    def _passed(self, error: TidenoteError | None) -> None:
        self._passing = False
        if isinstance(error, Unfit):
            self._paused = True
            assert self.passes
            self.passes.look_everywhere()
        elif error is not None:
            raise error
        self._look_later()

    def _look_later(self) -> None:
        passes = self.passes
        assert passes
        if passes.is_due:
            self.look_soon()
        elif (due := passes.next_due_s) is not None:
            ms = max(1, round(due * 1000) - self.world.now)
            self.world.after(ms, self.guarded(self.look_soon))

    def _tick(self) -> None:
        passes = self.passes
        assert passes
        self.world.after(TICK_MS, self.guarded(self._tick))
        try:
            self.files.check()
        except FolderError:
            self._paused = True
            return
        if self._paused:
            self._paused = False
            passes.look_everywhere()
        elif self.world.now - self._scanned_ms >= FULL_SCAN_MS:
            self.look_everywhere()

    def look_everywhere(self) -> None:
        """Make a full scan."""
        if self.passes:
            self._scanned_ms = self.world.now
            self.passes.look_everywhere()

    def hint(self, path: str) -> None:
        """Hear that something happened at a path; as a watcher does, of several at once, and a little later."""
        if not self._hints:
            self.world.after(self.world.network.randint(*HINT_MS), self.guarded(self._take_hints))
        self._hints[path] = None

    def _take_hints(self) -> None:
        names = list(self._hints)
        self._hints.clear()
        assert self.passes
        self.passes.look_at(names)

    # -- for the link and the applier

    def wake(self) -> None:
        """Hear that the outbox has grown."""
        self.link.wake()

    async def fetch_blob(self, blob: BlobRef, into: Path) -> None:
        """Never needed: there are texts only."""
        raise AssertionError("there are no blobs here")

    def altered(self, keys: Iterable[str]) -> None:
        """Hear what others altered."""
        self.device.news += 1
        if self.passes:
            self.passes.altered(keys)

    def news(self) -> None:
        """Hear that something is confirmed."""
        if self.passes:
            self.passes.take_confirmations()
            if self.link.caught_up:
                self.look_soon()

    def write(self, writes: list[Write]) -> list[Change]:
        """Write without a folder."""
        changes = self.journal.write(writes)
        self.link.wake()
        return changes

    # -- checking

    def check_applied(self, event: Received) -> None:
        """Compare what a message led to with what the log holds."""
        recorder, device = self.world.recorder, self.device
        disk = self.world.server.disk
        for change in event.accepted:
            recorder.acknowledged(device.name, device.vault, change, disk)
        for _, rejection in event.rejected:
            recorder.refused(device.name, rejection.code)
        self._messages += 1
        if self._messages % CHECK_EVERY == 0:
            self.check_replica()

    def check_replica(self) -> None:
        """Compare all that is held with the log."""
        meta = self.journal.meta
        device = self.device
        if self.journal.doubts():
            return
        self.world.recorder.applied(
            device.name, meta.epoch, meta.cursor, device.replica(), self.world.server.log(device.vault)
        )
