"""A folder on a disk that folds names: a real folder whose names are looked up as such a disk does.

Linux tests run on disks that tell all names apart; this stands in front of one. The names that are stored keep their
spelling, as on macOS and Windows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidenote.vault.bases import DiskTraits
from tidenote.vault.files import RealFiles, Stat


class FoldingFiles(RealFiles):
    """A case-insensitive, form-insensitive, name-preserving folder."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._traits = DiskTraits(case_sensitive=False, form_sensitive=False)

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        with super()._parent(path, make=make) as (parent, name):
            yield parent, self._stored(parent, name)

    def _step(self, descriptor: int, name: str, path: str, *, make: bool) -> int:
        return super()._step(descriptor, self._stored(descriptor, name), path, make=make)

    def _respell(self, parent: int, name: str, target_parent: int, target_name: str) -> None:
        # `_parent` has looked the target up, and so lost its new spelling.
        super()._respell(parent, name, target_parent, self.respelled)

    def move(self, path: str, target: str, expected: str) -> tuple[str, Stat]:
        self.respelled = target.rpartition("/")[2]
        return super().move(path, target, expected)

    def _stored(self, parent: int, name: str) -> str:
        names = os.listdir(parent)
        if name in names:
            return name
        folded = self.traits.fold(name)
        return next((known for known in names if self.traits.fold(known) == folded), name)
