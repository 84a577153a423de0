"""What `write` returned from is in the file, whatever then happens to the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from client.journals import open_journal
from tidenote.core.version import Dot

WRITER = """
import sys
from tidenote.client.journal import BaseEntry, Journal, Write
from tidenote.wire.session import Received

journal = Journal(sys.argv[1])
while True:
    number = journal.meta.clock + 1
    path = f"{number % 7}.md"
    winner = journal.winner(f"note:{path}")
    base = frozenset([winner.dot]) if winner else frozenset()
    write = Write(f"note:{path}", f"text {number} " * 500, base=base)
    entry = BaseEntry(path, None, "h", 1, number, 3, path)
    [change] = journal.write([write, Write(f"note:only {number}.md", "x", base=frozenset())], [entry])[:1]
    if number % 3 == 0:
        rows = journal.ready()
        journal.handed(rows)
        journal.apply(Received("1-aa", number, {}, accepted=tuple(row.change for row in rows), answered=True))
        print("cursor", number, flush=True)
    print("wrote", change.dot.timestamp, change.key, flush=True)
"""


@pytest.mark.e2e
def test_a_killed_process_leaves_whole_commits(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    open_journal(path).close()
    latest: dict[str, int] = {}
    cursor = 0
    for lines in (1, 5, 40, 17, 3):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        assert process.stdout
        told = [process.stdout.readline().split() for _ in range(lines)]
        process.kill()
        # What it still said before it died counts as well.
        told += [line.split() for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        process.stdout.close()
        assert process.wait() == -9
        for line in told:
            if line[0] == "wrote":
                latest[line[2]] = int(line[1])
            else:
                cursor = int(line[1])

        journal = open_journal(path)
        assert journal._tables._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert journal.meta.cursor >= cursor
        for key, timestamp in latest.items():
            winner = journal.winner(key)
            assert winner
            assert winner.dot >= Dot(timestamp, "me")
            assert winner.value == f"text {winner.dot.timestamp} " * 500
            # State, outbox and base are of one commit.
            assert journal.bases()[key.removeprefix("note:")].dot == winner.dot
            assert journal.winner(f"note:only {winner.dot.timestamp}.md")
        dots = [row.change.dot for row in journal.pending()]
        assert len(set(dots)) == len(dots)
        assert all(dot.timestamp <= journal.meta.clock for dot in dots)
        journal.close()
