"""Vaults to sync: a real one where it is at hand, and one made here with everything that is odd about real ones."""

from __future__ import annotations

import os
import random
import tarfile
from pathlib import Path

REAL_VAULT = Path(__file__).parents[3] / "shared" / "corpus" / "vault.tar.gz"
"""A vault of public notes that developers may have beside the project; it is too large to be a part of it."""


def fill(folder: Path) -> str:
    """Put a vault of some hundred files into a folder, and return which one."""
    if REAL_VAULT.exists():
        with tarfile.open(REAL_VAULT) as archive:
            for member in archive.getmembers():
                if member.isfile():
                    target = folder / Path(member.name).relative_to("vault")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    content = archive.extractfile(member)
                    assert content
                    target.write_bytes(content.read())
        return "real"
    made(folder)
    return "made"


def made(folder: Path, *, notes: int = 360, seed: int = 1) -> None:
    """Make a vault: nested folders, Korean names, CRLF, byte-order marks, no final newline, images, an empty note."""
    rng = random.Random(seed)
    words = "tide note harbour wind 항구 메모 바람 rope ünïcode sail 日記 anchor".split()
    for number in range(notes):
        place = folder / rng.choice(["", "daily", "항구/일지", "projects/a b (c)", "projects/deep/er/still"])
        place.mkdir(parents=True, exist_ok=True)
        lines = [" ".join(rng.choices(words, k=rng.randint(1, 14))) for _ in range(rng.randint(1, 200))]
        text = "\n".join([f"# Note {number}", "", *lines]) + ("\n" if number % 4 else "")
        if number % 90 == 1:
            text = "\ufeff" + text
        if number % 90 == 2:
            text = text.replace("\n", "\r\n")
        (place / f"{rng.choice(words)} {number}.md").write_bytes(text.encode())
    (folder / "empty.md").write_bytes(b"")
    (folder / "not utf-8.md").write_bytes(b"caf\xe9 \xff\xfe\n")
    (folder / "large.md").write_bytes(("one long note " * 12_000).encode())
    (folder / "images").mkdir()
    for number in range(20):
        (folder / "images" / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + rng.randbytes(20_000))
    os.utime(folder / "empty.md", (1_000_000_000, 1_000_000_000))
