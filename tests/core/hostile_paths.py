"""Paths made of the pieces that path traversal is made of."""

from __future__ import annotations

import random
from collections.abc import Iterator

PIECES = (
    *("..", ".", "/", "//", "\\", "a", "b.md", "c.png", ":", "C:", "\0", "%2e", "%2f", "~", " ", "\n"),
    *(".tidenote", ".TIDENOTE", ".git", "link", "x" * 200),
    *("\u00e4", "a\u0308", "\u202e", "\u2024", "\uff0f"),
)


def hostile_paths(number: int, seed: int = 20260101) -> Iterator[str]:
    """Yield so many paths, the same ones for the same seed; good ones are among them."""
    dice = random.Random(seed)
    for _ in range(number):
        yield "".join(dice.choices(PIECES, k=dice.randint(0, 7)))
