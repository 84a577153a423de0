"""When a file has been left alone for long enough."""

from __future__ import annotations

from tidenote.vault.files import Kind, Stat
from tidenote.vault.settling import Settling

NOW_NS = 1_700_000_000_000_000_000


def test_a_file_settles_by_its_own_time() -> None:
    settling = Settling(50, 2000, lambda: 1000.0, lambda: NOW_NS)

    def judge(size: int, age_ms: int) -> bool:
        return settling.settled("a.md", Stat(Kind.FILE, size, NOW_NS - age_ms * 1_000_000, 1))

    assert judge(1, 10_000)
    assert not judge(1, -10_000_000)
    assert settling.due("a.md") == 1000.05
    assert not judge(0, 1000)
    assert settling.due("a.md") == 1001.0
    assert judge(0, 3000)
    assert settling.due("a.md") == 1000.0


def test_one_with_a_time_in_the_future_by_what_was_seen() -> None:
    now = [10**6]
    settling = Settling(50, 2000, lambda: now[0] / 1000, lambda: NOW_NS)
    future = NOW_NS + 10**15

    def judge(size: int) -> bool:
        return settling.settled("a.md", Stat(Kind.FILE, size, future, 1))

    assert not judge(1)
    now[0] += 40
    assert not judge(2)
    now[0] += 40
    assert not judge(2)
    now[0] += 20
    assert judge(2)


def test_a_large_file_that_keeps_growing_is_read_a_few_times_only() -> None:
    now_ms = 0
    settling = Settling(50, 2000, lambda: now_ms / 1000, lambda: now_ms * 1_000_000)
    size, sent = 0, []
    while now_ms < 600_000:
        size += 10**5
        written_ms = now_ms
        for _ in range(15):
            now_ms += 10
            if settling.settled("film.mkv", Stat(Kind.FILE, size, written_ms * 1_000_000, 1)):
                sent.append(size)
                break
        now_ms = written_ms + 150
    # Those of before it was large, and while the wait was still shorter than a pause of its writer.
    assert sum(sent) < 2 * size
    assert max(sent) < 4 * 10**6
    while not settling.settled("film.mkv", Stat(Kind.FILE, size, written_ms * 1_000_000, 1)):
        now_ms = int(settling.due("film.mkv") * 1000) + 1
    assert 60_000 <= now_ms - written_ms < 61_000

    # Saved again after a pause, it is as live as any file.
    now_ms += 120_000
    saved = Stat(Kind.FILE, size + 1, now_ms * 1_000_000, 1)
    assert not settling.settled("film.mkv", saved)
    now_ms += 51
    assert settling.settled("film.mkv", saved)


def test_what_is_not_there_any_more_is_forgotten() -> None:
    now = [10**6]
    settling = Settling(50, 2000, lambda: now[0] / 1000, lambda: NOW_NS)
    for name in ("here.md", "gone.md"):
        assert not settling.settled(name, Stat(Kind.FILE, 1, NOW_NS + 10**15, 1))
    now[0] += 40
    settling.keep(["here.md"])
    assert settling.due("gone.md") == now[0] / 1000
    assert settling.due("here.md") == now[0] / 1000 + 0.01
    now[0] += 10
    assert settling.settled("here.md", Stat(Kind.FILE, 1, NOW_NS + 10**15, 1))
    assert not settling.settled("gone.md", Stat(Kind.FILE, 1, NOW_NS + 10**15, 1))
