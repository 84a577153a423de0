"""Which path a file stands for, where names on one disk differ in their Unicode form only. Asks, touches nothing.

All forms of a name are one key, and a disk may have a file of each. Every one syncs: one has the path, the others get
paths like it, ` (2)` and so on, which the base remembers beside their names on disk, as it does for other disks' names.
"""

from __future__ import annotations

from typing import Protocol

from tidenote.core.keys import names_like
from tidenote.vault.bases import Bases, DiskTraits


class Look(Protocol):
    """What has to be known of the disk and of the rules."""

    def is_file(self, disk_name: str) -> bool:
        """Say whether there is a file of exactly this name, or perhaps one."""
        ...

    def is_free(self, disk_name: str) -> bool:
        """Say whether the disk has nothing that it takes for this name, as far as can be told."""
        ...

    def can_sync(self, path: str) -> bool:
        """Say whether a path can be a key, and is not ignored."""
        ...


class Twins:
    """Gives each file that is found a path of its own.

    Which path that is does not depend on the order in which they are found, unless nothing tells them apart: neither
    the base, nor that one of them has the composed name.

    Args:
        bases: the remembered base.
        traits: how the disk tells names apart.
        look: at the disk.
    """

    def __init__(self, bases: Bases, traits: DiskTraits, look: Look) -> None:
        self._bases = bases
        self._traits = traits
        self._look = look
        self._found: dict[str, str] = {}
        """Path -> the name on disk that it was given to."""

    def path_of(self, disk_name: str) -> str | None:
        """Return the path of a file that was found; None if only paths that cannot sync are left for it."""
        path = self._bases.path_of(disk_name)
        names = names_like(path)
        if self._is_own(next(names), disk_name):
            return path
        for name in names:
            if not self._look.can_sync(name):
                return None
            free = self._bases.file(name) is None and self._look.is_free(name)
            if free and self._found.setdefault(name, disk_name) == disk_name:
                return name
        raise AssertionError("names never run out")  # pragma: no cover

    def _is_own(self, path: str, disk_name: str) -> bool:
        base = self._bases.file(path)
        if base is None or base.disk_name != disk_name:
            if base and self._look.is_file(base.disk_name):
                return False
            composed = disk_name != path and self._traits.form_sensitive and self._bases.path_of(path) == path
            if composed and self._look.is_file(path):
                return False
        return self._found.setdefault(path, disk_name) == disk_name
