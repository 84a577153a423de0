"""Old texts on the disk: small, in bounded chains, and always the same when they are read."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from server.store.changes import WALL_MS, change, note, take, winner
from tidenote.core.retention import DAY_MS, Policy
from tidenote.core.version import Change, Dot
from tidenote.server.store import past
from tidenote.server.store.packing import MAX_LINKS
from tidenote.server.store.sql import DATABASE_FILE, SqlStore
from tidenote.server.store.tables import metadata
from tidenote.server.store.view import execute_many

KEY = note("a")
NOTHING = Policy(0, 0, 0, 0)
LATER_MS = WALL_MS + 1000 * DAY_MS


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def store(data: Path) -> Iterator[SqlStore]:
    opened = SqlStore.open(data)
    opened.create_vault("main")
    yield opened
    opened.close()


def prose(size: int, seed: int = 1) -> str:
    """Return text with the statistics of language: few words often, many seldom."""
    numbers = random.Random(seed)
    words = ["".join(numbers.choices("etaoinshrdlucmfwyp", k=numbers.randint(1, 10))) for _ in range(3000)]
    weights = [1 / rank for rank in range(1, 3001)]
    lines: list[str] = []
    while sum(map(len, lines)) < size:
        lines.append(" ".join(numbers.choices(words, weights, k=numbers.randint(3, 30))))
    return "\n".join(lines)[:size]


def edited(text: str, words: str, numbers: random.Random) -> str:
    """Return the text after one edit of some words anywhere."""
    at, chosen, length = numbers.randrange(len(text)), numbers.randrange(len(words) - 120), numbers.randrange(1, 120)
    return text[:at] + words[chosen : chosen + length] + text[at + numbers.randrange(length + 1) :]


def chain(texts: list[str], key: str = "a") -> Iterator[Change]:
    for number, text in enumerate(texts, start=1):
        yield change(key, number, text, base=[Dot(number - 1, "dev1")] if number > 1 else [])


def texts_of(store: SqlStore, key: str = KEY) -> list[str | None]:
    return [version.change.value for version in store.history("main", key)]


def pack_all(store: SqlStore) -> None:
    while store.pack("main"):
        pass


def query(data: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(data / DATABASE_FILE)) as database:
        return database.execute(statement).fetchall()


def links(data: Path) -> list[tuple[int | None, int | None]]:
    """Return what each version was packed with, and its links, by receipt."""
    return query(data, "SELECT packed_with, links FROM versions ORDER BY receipt")


# -- small


def test_a_thousand_edits_of_ten_kib_take_at_most_one_mib(store: SqlStore, data: Path) -> None:
    numbers = random.Random(7)
    texts, words = [prose(10 * 1024)], prose(20_000, 5)
    while len(texts) < 1001:
        texts.append(edited(texts[-1], words, numbers)[: 10 * 1024])
    changes = list(chain(texts))

    def size() -> int:
        query(data, "PRAGMA wal_checkpoint(TRUNCATE)")
        return (data / DATABASE_FILE).stat().st_size

    take(store, changes[0])
    before = size()
    for number, edit in enumerate(changes[1:]):
        take(store, edit)
        if number % 16 == 15:
            pack_all(store)
    pack_all(store)
    assert size() - before <= 2**20
    assert texts_of(store) == texts


def test_short_texts_blobs_and_deletions_are_left_as_they_are(store: SqlStore, data: Path) -> None:
    for edit in chain(["short", "x" * 300, "short again"]):
        take(store, edit)
    take(store, change("a", 4, None, base=[Dot(3, "dev1")]))
    assert store.pack("main") == 1
    assert links(data) == [(None, None), (None, 0), (None, None), (None, None)]
    assert texts_of(store) == ["short", "x" * 300, "short again", None]


def test_what_is_shown_is_never_packed(store: SqlStore, data: Path) -> None:
    take(store, change("a", 5, prose(500, 1), base=[]), change("a", 5, prose(500, 2), by="dev2", base=[]))
    take(store, change("b", 5, prose(500, 3)))
    assert store.pack("main") == 0
    assert links(data) == [(None, None)] * 3


def test_a_change_that_lost_on_arrival_is_packed(store: SqlStore) -> None:
    take(store, change("a", 9, prose(500, 1)), change("a", 3, prose(500, 2), by="dev2"))
    assert store.pack("main") == 1
    assert texts_of(store) == [prose(500, 1), prose(500, 2)]


def test_steps_are_bounded(store: SqlStore) -> None:
    for edit in chain([prose(1000, seed) for seed in range(20)]):
        take(store, edit)
    assert store.pack("main", max_versions=5) == 5
    assert store.pack("main", max_bytes=2500) == 2
    assert store.pack("main", max_bytes=10) == 1
    pack_all(store)
    assert texts_of(store) == [prose(1000, seed) for seed in range(20)]


# -- chains


def test_chains_are_bounded(store: SqlStore, data: Path) -> None:
    texts = [f"{prose(200)} {number}" for number in range(100)]
    for edit in chain(texts):
        take(store, edit)
        store.pack("main")
    found = [number for _, number in links(data)[:-1]]
    assert max(number for number in found if number is not None) == MAX_LINKS
    assert found.count(0) == 4
    assert [with_ is None for with_, _ in links(data)[:-1]] == [number == 0 for number in found]
    assert [store.version("main", KEY, Dot(n, "dev1")) for n in range(1, 101)] == store.history("main", KEY)


def test_long_texts_have_short_chains(store: SqlStore, data: Path) -> None:
    text = prose(2**20 - 100)
    for edit in chain([f"{text} {number}" for number in range(8)]):
        take(store, edit)
    pack_all(store)
    assert [number for _, number in links(data)] == [0, 1, 2, 3, 0, 1, 2, None]


def test_a_base_is_unpacked_for_a_late_edit(store: SqlStore) -> None:
    lines = [f"line {number} of a text that is long enough" for number in range(9)]
    texts = ["\n".join([*lines, *(f"more {n}" for n in range(number))]) for number in range(5)]
    for edit in chain(texts):
        take(store, edit)
    pack_all(store)
    late = change("a", 10, texts[1].replace("line 0", "line zero"), by="dev2", base=[Dot(2, "dev1")])
    take(store, late)
    assert winner(store, "a") == texts[-1].replace("line 0", "line zero")


# -- letting go


def test_what_hung_on_a_text_that_is_let_go_is_packed_anew(store: SqlStore, data: Path) -> None:
    texts = [f"{prose(500)} {number}" for number in range(40)]
    for number, edit in enumerate(chain(texts)):
        at_ms = WALL_MS // DAY_MS * DAY_MS + number * DAY_MS // 4
        store.take_in("main", [[edit]], wall_ms=at_ms, check_blob=bool)
    pack_all(store)
    # Of each four a day the last stays; and what the last one of all was made of.
    assert store.sweep("main", None, now_ms=WALL_MS + 100 * DAY_MS, policy=Policy()).versions == 29
    assert texts_of(store) == [*texts[3:39:4], *texts[38:]]
    left = [(with_, number) for with_, number in links(data) if number is not None]
    assert len(left) == 10
    gone = {row[0] for row in query(data, "SELECT receipt FROM versions WHERE gone")}
    assert not gone & {with_ for with_, _ in left}
    assert query(data, "SELECT count(*) FROM versions WHERE gone AND (value NOT NULL OR packed NOT NULL)") == [(0,)]


def test_a_text_that_is_let_go_before_it_was_packed_is_skipped(store: SqlStore, data: Path) -> None:
    for edit in chain([f"{prose(500)} {number}" for number in range(5)]):
        take(store, edit)
    store.sweep("main", None, now_ms=LATER_MS, policy=NOTHING)
    pack_all(store)
    assert query(data, "SELECT count(*) FROM unpacked") == [(0,)]
    assert texts_of(store) == [f"{prose(500)} {number}" for number in (3, 4)]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    opened = SqlStore.open(tmp_path_factory.mktemp("packed"))
    yield opened
    opened.close()


_NUMBERS = count()


@settings(max_examples=settings().max_examples // 4)
@given(st.data())
def test_whatever_is_kept_reads_as_it_was_written(one: SqlStore, data: st.DataObject) -> None:
    vault = f"vault {next(_NUMBERS)}"
    one.create_vault(vault)
    texts = [f"{line} " * 40 for line in ("alpha", "beta", "gamma\n", "δέλτα")] + ["", "short"]
    written: dict[int, str | None] = {}
    now_ms = WALL_MS
    head: list[Dot] = []
    for _ in range(data.draw(st.integers(1, 12))):
        now_ms += data.draw(st.sampled_from([0, DAY_MS // 2, 3 * DAY_MS]))
        timestamp = one.vault(vault).clock + 1
        base = data.draw(st.sampled_from([head, [], None]))
        value = data.draw(st.none() | st.lists(st.sampled_from(texts), max_size=3).map("".join))
        batch = one.take_in(vault, [[change("a", timestamp, value, base=base)]], wall_ms=now_ms, check_blob=bool)
        written |= {version.receipt: version.change.value for version in batch.versions}
        head = [Dot(timestamp, "dev1")]
        for step in data.draw(st.lists(st.sampled_from(["pack", "sweep"]), max_size=2)):
            if step == "pack":
                one.pack(vault, max_versions=data.draw(st.integers(1, 4)))
            else:
                one.sweep(vault, None, now_ms=now_ms, policy=Policy(data.draw(st.integers(0, 3)), 5, 0, 0))
            for version in one.history(vault, KEY):
                assert version.change.value == written[version.receipt]
                assert one.version(vault, KEY, version.dot) == version
            kept = {version.receipt for version in one.history(vault, KEY)}
            assert kept == {r.receipt for r in one.records(vault, KEY) if r.kept or r.deleted}


# -- what goes wrong


def breaking(call: Callable[..., None], at: int) -> Callable[..., None]:
    """Return a call that is interrupted the n-th time."""
    numbers = count(1)

    def broken(*arguments: Any) -> None:
        if next(numbers) == at:
            raise KeyboardInterrupt
        call(*arguments)

    return broken


def test_a_step_that_breaks_off_changes_nothing(store: SqlStore, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{prose(500)} {number}" for number in range(9)]
    for edit in chain(texts):
        take(store, edit)
    store.pack("main", max_versions=4)
    everything = "SELECT * FROM versions ORDER BY receipt", "SELECT * FROM unpacked", "SELECT * FROM vaults"
    before = [query(data, statement) for statement in everything]
    steps: list[tuple[int, Callable[[], object]]] = [
        (1, lambda: store.pack("main")),
        (2, lambda: store.pack("main")),
        (3, lambda: store.pack("main")),
        (3, lambda: store.sweep("main", None, now_ms=LATER_MS, policy=NOTHING)),
    ]
    for at, step in steps:
        monkeypatch.setattr(past, "execute_many", breaking(execute_many, at))
        with pytest.raises(KeyboardInterrupt):
            step()
        monkeypatch.undo()
        assert [query(data, statement) for statement in everything] == before
    pack_all(store)
    assert texts_of(store) == texts
    store.sweep("main", None, now_ms=LATER_MS, policy=NOTHING)
    assert texts_of(store) == texts[-2:]


def test_a_text_that_rotted_is_missed_alone(store: SqlStore, data: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts = [f"{prose(500, seed)}" for seed in range(6)]
    for edit in chain(texts):
        take(store, edit)
    pack_all(store)
    with closing(sqlite3.connect(data / DATABASE_FILE)) as database:
        (rotten,) = database.execute("SELECT receipt FROM versions ORDER BY receipt LIMIT 1 OFFSET 3").fetchone()
        database.execute("UPDATE versions SET packed = x'00ff' WHERE receipt = ?", (rotten,))
        database.commit()
    assert texts_of(store) == [*texts[:3], texts[5]]
    assert "cannot be read" in caplog.text
    assert store.version("main", KEY, Dot(4, "dev1")) is None
    # What needs it is a question to a person, and no guess; what can be let go is.
    take(store, change("a", 20, prose(500, 99), by="dev2", base=[Dot(4, "dev1")]))
    (entry,) = store.entries("main", [KEY])
    assert len(entry.register.siblings) == 2
    take(store, change("a", 30, "settled", base=[Dot(20, "dev2"), Dot(6, "dev1")]))
    store.sweep("main", None, now_ms=LATER_MS, policy=NOTHING)
    assert texts_of(store) == [texts[5], prose(500, 99), "settled"]


# -- speed, as a property of the statements


def test_no_statement_reads_a_whole_table(store: SqlStore) -> None:
    statements: dict[str, Any] = {}

    def executed(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        statements[statement] = parameters[0] if isinstance(parameters, list) else parameters

    for engine in (store._writer, store._reader):
        event.listen(engine, "before_cursor_execute", executed)
    for edit in chain([f"{prose(500)} {number}" for number in range(6)]):
        take(store, edit)
    take(store, change("b", 1, base=[]))
    take(store, change("b", 2, None, base=[Dot(1, "dev1")]))
    pack_all(store)
    store.version("main", KEY, Dot(1, "dev1"))
    store.records("main", KEY, before=9, limit=3)
    store.renames_to("main", KEY, 9)
    store.receipt_at("main", WALL_MS)
    store.altered_since("main", 1)
    store.written_by("main", "dev1", 1)
    store.deleted("main", None, 9)
    store.note_devices("main", {"a": (1, 2)})
    store.note_devices("main", {"a": (1, 2)})
    store.blobs_in_use(["00" * 32])
    store.sweep("main", None, now_ms=LATER_MS, policy=NOTHING)
    with store._reader.connect() as connection:
        plans = {
            statement: [
                row.detail
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                if any(f"SCAN {table}" == row.detail[: 5 + len(table)] for table in metadata.tables)
            ]
            for statement, parameters in list(statements.items())
            if statement.startswith(("SELECT", "UPDATE", "DELETE", "INSERT", "WITH"))
        }
    assert len(plans) >= 30
    assert {statement: plan for statement, plan in plans.items() if plan} == {}
