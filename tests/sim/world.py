"""A seeded world: devices with folders, a server, networks and disks that fail. No sockets, threads or real time.

It runs what production runs, on ports of its own: both wire sessions, the intake and its resolutions behind the store
in memory, the link's policy, journal and reconcile, and the folder's passes down to every step on the disk. Everything
random comes from the seed or from the actions; a run is decided by both, and two runs of the same are equal.
"""

from __future__ import annotations

import errno
import hashlib
import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from sim.checkers import Ending, Recorder, Violation, all_checkers
from sim.device import Device, pause
from sim.network import DOWN, UP
from sim.options import Action, Options, draw_actions
from sim.people import Person, words_of
from sim.server import MAX_BUFFERED, Server
from tidenote.core.version import Change
from tidenote.server.store.memory import MemoryStore

MAIN: Final = "main"
OTHER: Final = "other"

HEAL_ROUNDS: Final = 60
"""For how long everything may take to become quiet, in rounds of ten virtual seconds."""

MAX_UNDER_WAY: Final = 100
"""How many messages of a device may be under way at once; more are a storm."""

MAX_EVENTS: Final = 60_000
"""How many events one advance of the clock may take; more are a loop."""


class World:
    """Everything together.

    Args:
        seed: of all randomness that the actions do not bring along.
        options: how rough; by default drawn from the seed.
        actions: what is done; by default drawn from the seed and the options.
        is_tracing: whether to keep the lines of the trace, beside their hash.
    """

    def __init__(
        self,
        seed: int,
        options: Options | None = None,
        actions: Sequence[Action] | None = None,
        *,
        is_tracing: bool = True,
    ) -> None:
        self.seed = seed
        self.options = options or Options.draw(seed)
        self.actions = draw_actions(seed, self.options) if actions is None else actions
        self.is_tracing = is_tracing
        # One stream a part, so that more draws of one part do not shift all others.
        self.network = random.Random(f"{seed} network")
        self.faults = random.Random(f"{seed} faults")
        self.ids = random.Random(f"{seed} ids")
        self.now = 1_000
        self.words = 0
        self.events = 0
        self.begun = 0
        """How many of the actions were begun."""
        self.trace: deque[str] = deque(maxlen=400)
        self._hash = hashlib.blake2b(digest_size=16)
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._healing = False
        self.recorder = Recorder(all_checkers({OTHER: "«d9:".encode(), MAIN: "«d0:".encode()}))
        self.server = Server(self, (MAIN, OTHER))
        options_ = self.options
        self.devices = [
            Device(self, number, MAIN, has_folder=not (options_.library and number == options_.devices - 1))
            for number in range(options_.devices)
        ]
        if options_.stranger:
            self.devices.append(Device(self, 9, OTHER, has_folder=True))
        self.people = {device.name: Person(self, device) for device in self.devices}

    # -- time and chance

    def at(self, when: int, do: Callable[[], None]) -> None:
        """Do something at a time."""
        self.events += 1
        heapq.heappush(self._queue, (max(when, self.now), self.events, do))

    def after(self, ms: int, do: Callable[[], None]) -> None:
        """Do something later."""
        self.at(self.now + ms, do)

    def latency(self) -> int:
        """Draw how long a message takes."""
        return self.network.randint(0, self.options.latency_ms)

    def drops(self) -> bool:
        """Draw whether a connection or request fails."""
        return not self._healing and self.network.random() < self.options.cuts / 100

    async def pause(self) -> None:
        """Let the world go on before what follows."""
        await pause()

    def note(self, line: str) -> None:
        """Add a line to the trace."""
        told = f"{self.now} {line}"
        self._hash.update(told.encode())
        self.trace.append(told)

    @property
    def trace_hash(self) -> str:
        """The hash of all that happened."""
        return self._hash.hexdigest()

    # -- facts

    def saved(self, device: Device, path: str, before: str | None, after: str | None) -> None:
        """A person saved or deleted a file."""
        self.note(f"{device.name} saves {path}" if after is not None else f"{device.name} deletes {path}")
        self.recorder.saved(device.name, device.path_of(path), before, after)

    def moved(self, device: Device, path: str, target: str, text: str) -> None:
        """A person renamed a file."""
        self.note(f"{device.name} renames {path} to {target}")
        replaced = device.disk.taken_from(target)
        if replaced is not None:
            # In the moment in which nothing is there, on a disk that cannot let two files trade places: to the
            # daemon they are like an editor that saves by renaming over what is there.
            self.recorder.saved(device.name, device.path_of(target), replaced.decode(), text)
        self.recorder.moved(device.name, device.path_of(path), device.path_of(target), text)

    def forgive(self, destroyed: Iterable[str]) -> None:
        """Forgive the loss of words of which a device had the only copies."""
        left = words_of([change.value or "" for change in self._in_log(MAIN)])
        self.recorder.forgiven(words_of(list(destroyed)) - left - self._on_devices())

    def _on_devices(self, *, with_replaced: bool = True) -> set[str]:
        """Return the words that devices have, in whatever place."""
        return set().union(*(words_of(device.texts(with_replaced=with_replaced)) for device in self.devices))

    def before_restore(self, backup: MemoryStore) -> None:
        """Forgive the loss of what only the log had, before an older one takes its place."""
        # A daemon that has not heard of it goes on replacing what the history had: that is the backup's by now.
        held = self._on_devices(with_replaced=False)
        kept = words_of([change.value or "" for change in _log_of(backup, MAIN)])
        lost = words_of([change.value or "" for change in self._in_log(MAIN)]) - kept - held
        self.recorder.forgiven(lost)
        mine = [device for device in self.devices if device.vault == MAIN]
        self.recorder.restored({device.name: device.confirmed() for device in mine})

    def _in_log(self, vault: str) -> list[Change]:
        return _log_of(self.server.disk, vault)

    # -- what is done

    def run(self) -> None:
        """Do all actions, then heal, and check the end.

        Raises:
            Violation: an invariant does not hold.
        """
        for device in self.devices:
            self.after(self.network.randint(0, 2000), device.start)
        for action in self.actions:
            self.begun += 1
            self.advance(action.after_ms)
            self.do(action)
        self.heal()

    def do(self, action: Action) -> None:
        """Do one action."""
        device = self.devices[action.who % len(self.devices)]
        rng = random.Random(action.roll)
        self.note(f"{action.kind} {device.name}")
        match action.kind:
            case "save":
                self._by_person(device, action.roll)
            case "sleep":
                self.advance(rng.choice([3_000, 15_000, 70_000]))
            case "look":
                self.server.look_at_heads()
                if device.process:
                    device.process.guard(device.process.look_everywhere)
            case "image":
                device.keep_image()
            case "backup":
                self.server.back_up()
            case "restore":
                self.server.restore()
            case "rollback":
                device.roll_back()
            case _:
                self._befall(device, action.kind, rng)

    def _by_person(self, device: Device, roll: int) -> None:
        process = device.process
        person = self.people[device.name]
        if device.has_folder or process is None:
            person.act(roll)
        else:
            process.guard(lambda: person.act(roll))

    def _befall(self, device: Device, kind: str, rng: random.Random) -> None:
        """Let a fault happen."""
        connections = list(self.server.connections)
        steps = rng.choice([0, 0, rng.randint(0, 8), rng.randint(0, 80)])
        match kind:
            case "cut":
                if connections:
                    rng.choice(connections).cut()
            case "partition":
                if connections:
                    rng.choice(connections).block(rng.choice([UP, DOWN]), rng.choice([2_000, 30_000, 100_000]))
            case "stall":
                if connections:
                    rng.choice(connections).stall(rng.choice([500, 10_000, 60_000]))
            case "kill":
                self._kill(device, steps)
            case "power":
                device.at_step(steps, lambda: self._power_fails(device, rng))
            case "server_kill":
                self.server.dies_after = steps
            case "race":
                roll = rng.getrandbits(31)
                device.at_step(steps, lambda: self.people[device.name].act(roll) if device.has_folder else None)
            case "disk_error":
                device.disk.error = rng.choice([errno.ENOSPC, errno.EIO])
                self.after(rng.choice([100, 5_000]), lambda: setattr(device.disk, "error", 0))
            case "unmount":
                device.disk.away = True
                self.after(rng.choice([100, 20_000]), lambda: setattr(device.disk, "away", False))
            case "wall":
                device.wall_offset_ms += rng.choice([-365, -1, 1, 3650]) * 86_400_000
            case "lost_journal":
                device.lose_journal()
            case _:
                raise AssertionError(f"no such action: {kind}")

    def _kill(self, device: Device, steps: int) -> None:
        if steps:
            device.at_step(steps, device.kill)
        elif device.process:
            device.die()

    def _power_fails(self, device: Device, rng: random.Random) -> None:
        """Lose the power at the very step: what follows it is done by a dead process."""
        device.power_rng = rng
        device.kill()

    # -- the end

    def heal(self) -> None:
        """End all faults, wait until nothing happens any more, and check the end."""
        self._end_faults()
        events, allowed = self.events, 4_000 * len(self.devices) + 100 * self.words
        for round_ in range(HEAL_ROUNDS):
            self.advance(10_000)
            if self.events - events > allowed:
                raise Violation("I9", f"more than {allowed} events to become quiet: {self._unsettled()}")
            self.server.look_at_heads()
            if round_ in (1, 4):
                for device in self.devices:
                    if device.process:
                        device.process.look_everywhere()
            if round_ > 4 and self._is_settled():
                break
        else:
            raise Violation("I9", f"not quiet after {HEAL_ROUNDS * 10} virtual seconds: {self._unsettled()}")
        self._check_quiet()
        for vault in (MAIN, OTHER):
            self.recorder.end(self._final(vault))

    def _end_faults(self) -> None:
        self._healing = True
        self.note("heal")
        for device in self.devices:
            device._armed = None
            device.disk.error = 0
            device.disk.away = False
            device.wall_offset_ms = 0
            device.start()
        self.server.dies_after = None
        if not self.server.up:
            self.server.start()

    def _is_settled(self) -> bool:
        return not self._unsettled()

    def _unsettled(self) -> list[str]:
        found = []
        for device in self.devices:
            process = device.process
            if process is None or not process.link.caught_up:
                found.append(f"{device.name} is not connected")
            elif process.journal.pending() or process.journal.doubts():
                found.append(f"{device.name} has {process.journal.pending()} to send")
            elif process.journal.meta.cursor != self.server.store.vault(device.vault).clock:
                found.append(f"{device.name} is at {process.journal.meta.cursor}")
            elif process.passes and (process.passes.has_work or process._passing):
                found.append(f"{device.name} has work in its folder")
        return found

    def _check_quiet(self) -> None:
        """Check that looking once more leads to nothing."""
        clocks = {vault: self.server.store.vault(vault).clock for vault in (MAIN, OTHER)}
        done = {}
        for device in self.devices:
            process = device.process
            assert process
            if process.passes:
                done[device.name] = process.passes.report.operations
                process.look_everywhere()
        self.advance(10_000)
        for device in self.devices:
            process = device.process
            assert process
            if process.passes and process.passes.report.operations != done[device.name]:
                raise Violation("I9", f"{device.name} found something to do where nothing happened")
        if clocks != {vault: self.server.store.vault(vault).clock for vault in (MAIN, OTHER)}:
            raise Violation("I9", "the log goes on where nothing happens")

    def _final(self, vault: str) -> Ending:
        devices = [device for device in self.devices if device.vault == vault]
        texts = [data.decode() for device in devices for data in device.disk.files().values()]
        final = Ending(vault, self.server.disk, {}, {}, {}, {}, {}, texts)
        for device in devices:
            process = device.process
            assert process
            journal = process.journal
            replica = {key: journal.confirmed(key) for key in device.replica()}
            final.replicas[device.name] = replica  # type: ignore[index]
            final.outboxes[device.name] = journal.pending() + journal.parked()  # type: ignore[index]
            if process.passes:
                tree = {device.path_of(name): data.decode() for name, data in device.disk.files().items()}
                final.trees[device.name] = tree  # type: ignore[index]
                held = frozenset(process.passes.held) | frozenset(process.passes.skipped)
                final.held[device.name] = held  # type: ignore[index]
                final.leftovers[device.name] = device.disk.temporary()  # type: ignore[index]
        return final

    def close(self) -> None:
        """Give back what the devices hold."""
        for device in self.devices:
            device.close()

    # -- the clock

    def advance(self, ms: int) -> None:
        """Let everything happen that is due within a time."""
        until = self.now + ms
        queue = self._queue
        for _ in range(MAX_EVENTS):
            if not queue or queue[0][0] > until:
                self.now = until
                self._measure()
                return
            self.now, _, do = heapq.heappop(queue)
            do()
        raise Violation("I10", "things go round without end")

    def _measure(self) -> None:
        measured = {}
        for connection in self.server.connections:
            if connection.session:
                name = f"{connection.device_id}'s"
                measured[f"{name} publications"] = (len(connection.session._publications), MAX_BUFFERED)
                measured[f"{name} unanswered pushes"] = (connection.session.waiting, 8)
                measured[f"{name} messages to the server"] = (connection.under_way[UP], MAX_UNDER_WAY)
        self.recorder.bounds(measured)

    def __str__(self) -> str:
        return f"seed {self.seed} ({self.options})"


def _log_of(store: MemoryStore, vault: str) -> list[Change]:
    return [version.change for key, _ in store.manifest(vault, None, 10_000) for version in store.history(vault, key)]
