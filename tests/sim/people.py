"""People: they save, move and delete notes, and every line they add has a word that nobody else ever wrote."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sim.checkers import tokens
from sim.server import Crashed
from tidenote.client.journal import Write
from tidenote.core.version import Change

if TYPE_CHECKING:
    from sim.device import Device
    from sim.world import World

ACCENTED: Final = "caf\u00e9.md"
NAMES: Final = ("a.md", "b.md", "c.md", "d/e.md", "d/f.md", ACCENTED)
TWINS: Final = ("A.md", "D/e.md")
"""Names that a disk which folds takes for others."""

FOLDERS: Final = ("d", "g")
"""What people call folders, where they rename them."""
IN_FOLDERS: Final = tuple(f"{folder}/e.md" for folder in FOLDERS)

LINK: Final = "away.md"
"""Where people make symbolic links."""

WINDOW_MS: Final = (20, 500)
"""For how long an editor that truncates before it writes leaves an empty file."""


class Person:
    """Who works on a device.

    Args:
        world: where.
        device: on which.
    """

    def __init__(self, world: World, device: Device) -> None:
        self.world = world
        self.device = device
        self._busy: dict[str, str] = {}
        """Path -> what it held, of files that an editor is in the middle of writing."""

    def act(self, roll: int) -> None:
        """Do one thing, as a number decides."""
        rng = random.Random(roll)
        self.device.news += 1
        if self.device.has_folder:
            self._in_folder(rng)
        else:
            self._without_folder(rng)

    def word(self) -> str:
        """Return a word that nobody has written before."""
        self.world.words += 1
        return f"«{self.device.name}:{self.world.words:05}»"

    def in_editors(self) -> dict[str, str]:
        """Return, by path, the texts of files that are empty because an editor is about to write them."""
        return dict(self._busy)

    def close_editors(self) -> None:
        """Let nobody write what an editor is about to write."""
        self._busy.clear()

    # -- with a folder

    def _in_folder(self, rng: random.Random) -> None:
        disk = self.device.disk
        if disk.away:
            return
        if self.world.options.folders and rng.random() < 0.1:
            self._with_folder(rng)
            return
        path = self._name(rng)
        if path in self._busy:
            return
        there = disk.get(path)
        if there is None:
            if disk.is_free(path):
                self._save(path, None, f"# {path}\n\n{self.word()}\n")
            return
        deeds: list[tuple[int, Callable[[str, str, random.Random], None]]] = [
            (40, self._append),
            (10, self._insert),
            (12, self._rewrite),
            (10, self._delete),
            (10, self._rename),
            (4, self._swap),
            (5, self._truncate),
            (3, self._touch),
            (4, self._copy),
            (2, self._link),
        ]
        deed = rng.choices([each for _, each in deeds], [weight for weight, _ in deeds])[0]
        deed(path, there.decode(), rng)

    def _name(self, rng: random.Random) -> str:
        options = self.world.options
        names = [*NAMES, *(TWINS if options.folding else ()), *(IN_FOLDERS if options.folders else ())]
        path = rng.choice(names)
        if self.world.options.twins and rng.random() < 0.2:
            path = unicodedata.normalize(rng.choice(["NFC", "NFD"]), ACCENTED)
            return self.device.disk.spelled(path) or path
        if (spelled := self.device.disk.spelled(path)) is not None:
            return spelled
        # One's programs write an accent as a character of its own.
        return unicodedata.normalize("NFD", path) if self.device.number == 1 else path

    def _save(self, path: str, before: str | None, after: str, *, afresh: bool = False) -> None:
        if self.device.disk.put(path, after.encode(), afresh=afresh):
            self.world.saved(self.device, path, before, after)

    def _append(self, path: str, text: str, rng: random.Random) -> None:
        self._save(path, text, f"{text}{self.word()}\n", afresh=rng.random() < 0.4)

    def _insert(self, path: str, text: str, rng: random.Random) -> None:
        lines = text.splitlines(keepends=True)
        lines.insert(rng.randint(0, len(lines)), f"{self.word()}\n")
        self._save(path, text, "".join(lines))

    def _rewrite(self, path: str, text: str, rng: random.Random) -> None:
        lines = [line for line in text.splitlines(keepends=True) if rng.random() < 0.6]
        self._save(path, text, "".join([*lines, f"{self.word()}\n"]), afresh=True)

    def _delete(self, path: str, text: str, _: random.Random) -> None:
        self.device.disk.remove(path)
        self.world.saved(self.device, path, text, None)

    def _rename(self, path: str, text: str, rng: random.Random) -> None:
        target = self._name(rng)
        if target not in self._busy and self.device.disk.rename_path(path, target):
            self.world.moved(self.device, path, target, text)

    def _swap(self, path: str, text: str, rng: random.Random) -> None:
        other = self._name(rng)
        disk = self.device.disk
        theirs = disk.get(other)
        if other in self._busy or other == path or theirs is None or disk.get("swap.tmp") is not None:
            return
        beside = f"{path}.swap.md"
        if disk.rename_path(path, beside):
            disk.rename_path(other, path)
            disk.rename_path(beside, other)
            self.world.moved(self.device, path, beside, text)
            self.world.moved(self.device, other, path, theirs.decode())
            self.world.moved(self.device, beside, other, text)

    def _with_folder(self, rng: random.Random) -> None:
        """Rename or delete a folder with all that is in it."""
        disk = self.device.disk
        files = disk.files()
        folders = sorted({path.partition("/")[0] for path in files if "/" in path})
        if not folders:
            return
        folder, target = rng.choice(folders), rng.choice(FOLDERS)
        below = [path for path in files if path.startswith(f"{folder}/")]
        if not self._busy.keys().isdisjoint(below):
            return
        if rng.random() < 0.5:
            for path in below:
                self._delete(path, files[path].decode(), rng)
        elif disk.rename_folder(folder, target):
            for path in below:
                self.world.moved(self.device, path, target + path.removeprefix(folder), files[path].decode())

    def _truncate(self, path: str, text: str, rng: random.Random) -> None:
        """Save as editors do that empty the file first."""
        if self.world.options.walls:
            # By a clock that jumps, any file may have been left alone for long.
            return
        self.device.disk.put(path, b"")
        self._busy[path] = text
        after = f"{text}{self.word()}\n"

        def write() -> None:
            if self._busy.get(path) != text:
                return
            del self._busy[path]
            if self.device.disk.get(path) == b"":
                self._save(path, text, after)

        self.world.after(rng.randint(*WINDOW_MS), write)

    def _touch(self, path: str, text: str, _: random.Random) -> None:
        self._save(path, text, text)

    def _copy(self, path: str, text: str, rng: random.Random) -> None:
        target = self._name(rng)
        if target not in self._busy and self.device.disk.is_free(target):
            self._save(target, None, text)

    def _link(self, path: str, text: str, _: random.Random) -> None:
        if self.world.options.links:
            self.device.disk.link(LINK)

    # -- without a folder

    def _without_folder(self, rng: random.Random) -> None:
        process = self.device.process
        if process is None:
            return
        path = rng.choice(NAMES)
        key = f"note:{path}"
        shown = process.journal.winner(key)
        base = frozenset([shown.dot]) if shown else frozenset()
        roll = rng.random()
        if shown is None or shown.deleted or roll >= 0.35:
            before = shown.value if shown else None
            self._write(path, before, [Write(key, f"{before or ''}{self.word()}\n", base=base)])
        elif roll < 0.15:
            self._write(path, shown.value, [Write(key, base=base)])
        elif roll < 0.25:
            self._move(path, shown, rng)
        else:
            # Blindly: what is replaced was not read, and must be in the history.
            self._write(path, None, [Write(key, f"{self.word()}\n")])

    def _move(self, path: str, shown: Change, rng: random.Random) -> None:
        process = self.device.process
        assert process
        target = rng.choice([other for other in NAMES if other != path])
        there = process.journal.winner(f"note:{target}")
        if there is not None and not there.deleted:
            return
        seen = frozenset([there.dot]) if there else frozenset()
        self.world.moved(self.device, path, target, shown.value or "")
        process.write(
            [
                Write(f"note:{target}", shown.value, base=seen),
                Write(f"note:{path}", base=frozenset([shown.dot]), moved_to=f"note:{target}"),
            ]
        )

    def _write(self, path: str, before: str | None, writes: list[Write]) -> None:
        process = self.device.process
        assert process
        after = writes[0].value
        self.world.saved(self.device, path, before, after)
        try:
            process.write(writes)
        except Crashed:
            if after not in self.device.outbox_texts():
                # The program died before it could say that it was saved.
                self.world.recorder.forgiven(tokens(after) - tokens(before))
            raise


def words_of(texts: list[str]) -> set[str]:
    """Return all words of some texts that nobody else wrote."""
    return set().union(*(tokens(text) for text in texts))
