"""Merging within bounds: what is little work is done at once, what is much is looked up among what was done apart.

Pure. Who does the rest, and when, is server/settling.py's matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tidenote.core.diff import Purse, TooMuchWork
from tidenote.core.merge import merge_text
from tidenote.core.merged import Merged

Texts = tuple[str, str, str]
"""Base, first and second of a merge."""

NOTHING: Final[Mapping[bytes, Merged]] = MappingProxyType({})


class BoundedMerge:
    """A `Merge` that spends only so many steps, on all that it is asked together.

    Args:
        steps: how many.
        known: what was merged apart, by `digest`.
    """

    def __init__(self, steps: int, known: Mapping[bytes, Merged] = NOTHING) -> None:
        self._purse = Purse(steps)
        self._known = known
        self.missing: Texts | None = None
        """The first texts that took too much work, to be merged apart."""

    def __call__(self, base: str, first: str, second: str) -> Merged:
        """Merge two texts.

        Raises:
            TooMuchWork: that takes too many steps, and was not done apart.
        """
        texts = (base, first, second)
        if self._known and (found := self._known.get(digest(texts))):
            return found
        try:
            return merge_text(*texts, purse=self._purse)
        except TooMuchWork:
            self.missing = self.missing or texts
            raise


def digest(texts: Texts) -> bytes:
    """Return a name for three texts."""
    whole = hashlib.sha256()
    for text in texts:
        whole.update(hashlib.sha256(text.encode()).digest())
    return whole.digest()
