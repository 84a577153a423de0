"""What only a store on a disk can do: survive, refuse, run full, fail."""

from __future__ import annotations

import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DataError

from server.store.changes import WALL_MS, change, note, pages, receipts, take, winner
from tidenote.core.version import BlobRef, Change, Dot
from tidenote.errors import ConfigError, StorageError
from tidenote.server.store.sql import DATABASE_FILE, SqlStore
from tidenote.server.store.tables import metadata


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def store(data: Path) -> Iterator[SqlStore]:
    opened = SqlStore.open(data)
    opened.create_vault("main")
    yield opened
    opened.close()


# -- opening


def test_reopening_gives_the_same(data: Path) -> None:
    with closing(SqlStore.open(data)) as store:
        store.create_vault("main")
        take(store, change("a", 1, "A"), change("b", 2, "B", base=[Dot(1, "absent")]))
        take(store, change("a", 1, "tie", by="dev2"))
        before = (store.vaults(), pages(store), store.manifest("main", None, 9), store.history("main", note("a")))
    with closing(SqlStore.open(data)) as store:
        assert (
            store.vaults(),
            pages(store),
            store.manifest("main", None, 9),
            store.history("main", note("a")),
        ) == before
        assert receipts(take(store, change("c", 1))) == [store.vault("main").clock]


def test_a_new_data_folder_is_the_owners_alone(data: Path) -> None:
    SqlStore.open(data / "nested").close()
    assert (data / "nested").stat().st_mode & 0o077 == 0


def test_a_second_store_on_the_same_folder_is_refused_until_the_first_closes(data: Path) -> None:
    with closing(SqlStore.open(data)) as store:
        store.create_vault("main")
        with pytest.raises(ConfigError, match="another server"):
            SqlStore.open(data)
        take(store, change("a", 1))
    SqlStore.open(data).close()


def test_another_process_on_the_same_folder_is_refused(store: SqlStore, data: Path) -> None:
    program = (
        "import sys, pathlib; from tidenote.server.store.sql import SqlStore; SqlStore.open(pathlib.Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", program, data], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "another server uses" in done.stderr.splitlines()[-1]


def test_a_database_of_a_newer_version_is_refused_untouched(data: Path) -> None:
    SqlStore.open(data).close()
    with closing(sqlite3.connect(data / DATABASE_FILE)) as database:
        database.execute("UPDATE alembic_version SET version_num = '999'")
        database.commit()
    before = (data / DATABASE_FILE).read_bytes()
    with pytest.raises(ConfigError, match="newer Tidenote"):
        SqlStore.open(data)
    assert (data / DATABASE_FILE).read_bytes() == before
    with pytest.raises(ConfigError, match="newer Tidenote"):
        SqlStore.open(data)


def test_a_database_of_another_program_is_refused_untouched(data: Path) -> None:
    data.mkdir()
    with closing(sqlite3.connect(data / DATABASE_FILE)) as database:
        database.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(ConfigError, match="not Tidenote's"):
        SqlStore.open(data)
    with closing(sqlite3.connect(data / DATABASE_FILE)) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]


def test_a_file_that_is_no_database_is_refused_untouched(data: Path) -> None:
    data.mkdir()
    (data / DATABASE_FILE).write_bytes(b"# My notes\n" * 1000)
    with pytest.raises(StorageError) as caught:
        SqlStore.open(data)
    assert caught.value.code == "storage_failed"
    assert (data / DATABASE_FILE).read_bytes() == b"# My notes\n" * 1000


def test_a_data_folder_that_cannot_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot use"):
        SqlStore.open(tmp_path / "file" / "data")


@pytest.mark.parametrize("url", ["nonsense", "nosuch://host/db", "postgresql+nosuch://host/db"])
def test_a_url_of_no_use_is_a_clear_error(data: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="URL"):
        SqlStore.open(data, url)
    SqlStore.open(data).close()


def test_another_database_by_url(data: Path, tmp_path: Path) -> None:
    with closing(SqlStore.open(data, f"sqlite:///{tmp_path / 'elsewhere.db'}")) as store:
        store.create_vault("main")
        take(store, change("a", 1, "A"))
        assert winner(store, "a") == "A"
    assert (tmp_path / "elsewhere.db").stat().st_size > 0
    assert not (data / DATABASE_FILE).exists()


def test_the_migrations_lead_to_the_tables_that_the_program_uses(data: Path) -> None:
    SqlStore.open(data).close()
    engine = create_engine(URL.create("sqlite", database=str(data / DATABASE_FILE)))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_a_migration_that_breaks_off_leaves_nothing_behind(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(connection: Connection) -> None:
        metadata.create_all(connection)
        raise KeyboardInterrupt

    monkeypatch.setattr("tidenote.server.store.sql.migrate", broken)
    with pytest.raises(KeyboardInterrupt):
        SqlStore.open(data)
    monkeypatch.undo()
    with closing(sqlite3.connect(data / DATABASE_FILE)) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == []
    SqlStore.open(data).close()


def test_every_connection_is_set_to_keep_what_it_commits(store: SqlStore) -> None:
    for engine in (store._writer, store._reader):
        with engine.connect() as connection:
            values = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
        assert values == ["wal", 2, 1]


# -- surviving


KILLED = """
import itertools, pathlib, sys
from tidenote.core.version import BlobRef, Change, Dot
from tidenote.server.store.sql import SqlStore
store = SqlStore.open(pathlib.Path(sys.argv[1]))
store.create_vault("main")
for number in itertools.count(1):
    changes = [Change(f"note:{name}.md", Dot(store.vault("main").clock + 1, "dev1"), f"{number} " * 500)
               for name in ("one", f"new{number}")]
    batch = store.take_in("main", [changes], wall_ms=1, check_blob=bool)
    print(number, batch.clock, flush=True)
"""


@pytest.mark.e2e
@pytest.mark.parametrize("acknowledged", [1, 40, 150])
def test_whatever_was_acknowledged_before_kill_9_is_there(data: Path, acknowledged: int) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, data], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(acknowledged)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    told = [tuple(map(int, line.split())) for line in lines if line.endswith("\n")]
    assert len(told) >= acknowledged
    with closing(SqlStore.open(data)) as store:
        for number, clock in told:
            (version,) = store.history("main", note(f"new{number}"))
            assert (version.change.value, version.receipt) == (f"{number} " * 500, clock)
        # At most one more was committed and not yet told, and that one wholly.
        history = store.history("main", note("one"))
        assert len(history) - len(told) in (0, 1)
        assert len(store.entries("main", [note(f"new{len(history)}")])) == 1
        assert store.vault("main").clock == history[-1].receipt + 1
        take(store, change("after", store.vault("main").clock + 1))


def test_what_fails_halfway_is_not_there(store: SqlStore) -> None:
    take(store, change("a", 1))
    before = pages(store)

    def disk_is_gone(blob: BlobRef) -> None:
        raise OSError(blob.sha256)

    with_blob = change("c", 3, blob=BlobRef("00" * 32, 1))
    with pytest.raises(OSError, match="00"):
        store.take_in("main", [[change("b", 2), with_blob]], wall_ms=WALL_MS, check_blob=disk_is_gone)
    assert pages(store) == before
    take(store, change("b", 2), with_blob)


def test_what_the_database_cannot_hold_does_not_count_as_a_failing_disk(store: SqlStore) -> None:
    with store._writer.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 50_000)
    with pytest.raises(DataError) as caught:
        take(store, change("a", 1, "a secret"), change("b", 2, "x" * 60_000))
    # It goes to the log, which has no note's text.
    assert "secret" not in str(caught.value)
    assert "xxx" not in str(caught.value)
    assert receipts(take(store, change("a", 1))) == [2]


# -- full and failing disks


def test_a_full_disk_takes_nothing_in_and_recovers(store: SqlStore, data: Path) -> None:
    take(store, change("a", 1, "A"))
    with store._writer.connect() as connection:
        used = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {used + 3}")
    before = (store.vaults(), pages(store))
    large = change("b", 2, "x" * 100_000)
    for _ in range(2):
        with pytest.raises(StorageError) as caught:
            take(store, change("c", 1), large)
        assert caught.value.code == "storage_full"
        assert (store.vaults(), pages(store)) == before
    assert receipts(take(store, change("small", 2))) == [3]

    with store._writer.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    assert receipts(take(store, large)) == [4]
    assert winner(store, "b") == large.value


@contextmanager
def _no_file_may_exceed(size: int) -> Iterator[None]:
    """Let the kernel refuse writes past a size, with an error that is not "disk full"."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_after_a_failed_commit_nothing_is_written_until_the_store_is_opened_anew(data: Path) -> None:
    with closing(SqlStore.open(data)) as store:
        store.create_vault("main")
        take(store, change("a", 1, "A"))
        before = pages(store)
        with _no_file_may_exceed(100_000), pytest.raises(StorageError) as caught:
            take(store, change("b", 2, "x" * 500_000))
        assert caught.value.code == "storage_failed"
        with pytest.raises(StorageError, match="check the disk") as caught:
            take(store, change("c", 3))
        assert caught.value.code == "storage_failed"
        assert pages(store) == before
    with closing(SqlStore.open(data)) as store:
        assert pages(store) == before
        take(store, change("c", 3, "C"))
        assert winner(store, "c") == "C"


def test_a_closed_store_says_so(data: Path) -> None:
    store = SqlStore.open(data)
    store.create_vault("main")
    store.close()
    for operation in (lambda: take(store, change("a", 1)), lambda: store.vault("main"), lambda: pages(store)):
        with pytest.raises(StorageError, match="closed"):
            operation()


# -- side by side


def test_readers_see_whole_batches_while_one_writes(store: SqlStore) -> None:
    rounds = 40

    def write() -> None:
        for number in range(1, rounds + 1):
            take(store, change("left", number * 10, str(number)), change("right", number * 10 + 5, str(number)))

    def read() -> int:
        seen = 0
        clock = 0
        while seen < rounds:
            entries = store.entries("main", [note("left"), note("right")])
            values = {entry.winner.value for entry in entries if entry.winner}
            assert len(values) <= 1, values
            page = store.changes_since("main", 0)
            assert page.up_to >= clock
            assert page.up_to == max((entry.changed_at for entry in page.entries), default=0)
            clock = page.up_to
            seen = max([seen, *(int(value or 0) for value in values)])
        return seen

    with ThreadPoolExecutor(5) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        pool.submit(write).result()
        assert [reader.result() for reader in readers] == [rounds] * 4


def test_writers_in_several_threads_wait_for_each_other(store: SqlStore) -> None:
    def write(device: int) -> list[int]:
        return [
            receipt
            for number in range(20)
            for receipt in receipts(take(store, change(f"n{device}", number + 1, by=f"dev{device}")))
        ]

    with ThreadPoolExecutor(4) as pool:
        found = [receipt for taken in pool.map(write, range(4)) for receipt in taken]
    assert len(set(found)) == 80
    assert max(found) == store.vault("main").clock
    assert len(store.entries("main", [note(f"n{device}") for device in range(4)])) == 4


def test_a_transaction_holds_the_write_lock_before_it_reads(store: SqlStore, data: Path) -> None:
    """Else what it decided could rest on a log that somebody else has appended to meanwhile."""
    refusals: list[str] = []

    def somebody_else_writes(_: BlobRef) -> None:
        with closing(sqlite3.connect(data / DATABASE_FILE, timeout=0)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                refusals.append(str(error))

    with_blob = change("a", 1, blob=BlobRef("00" * 32, 1))
    store.take_in("main", [[with_blob]], wall_ms=WALL_MS, check_blob=somebody_else_writes)
    assert refusals == ["database is locked"]


# -- speed, as a property of the statements


def test_no_statement_reads_a_whole_table(store: SqlStore) -> None:
    statements: dict[str, Any] = {}

    def executed(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        statements[statement] = parameters[0] if isinstance(parameters, list) else parameters

    for engine in (store._writer, store._reader):
        event.listen(engine, "before_cursor_execute", executed)
    take(store, change("a", 1, "text", base=[]), change("b", 9, base=[Dot(4, "absent")]))
    take(store, change("a", 2, None, base=[Dot(1, "dev1")]), change("b", 4, by="absent"))
    take(store, change("a", 3, "text", by="dev2", base=[]), change("b", 10, base=[Dot(3, "q")]))
    take(store, change("b", 11))
    pages(store)
    store.manifest("main", None, 10)
    store.history("main", note("a"))
    with store._reader.connect() as connection:
        plans = {
            statement: [
                row.detail
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                if any(f"SCAN {table}" in row.detail for table in metadata.tables)
            ]
            for statement, parameters in list(statements.items())
            if statement.startswith(("SELECT", "UPDATE", "DELETE", "INSERT", "WITH"))
        }
    assert len(plans) >= 14
    assert {statement: plan for statement, plan in plans.items() if plan} == {}


def test_a_batch_takes_few_statements(store: SqlStore) -> None:
    take(store, *(change(f"n{number}", number, base=[]) for number in range(1, 401)))
    clock = store.vault("main").clock
    edits: list[Change] = [
        change(f"n{number}", clock + number, "edited", base=[Dot(number, "dev1")]) for number in range(1, 401)
    ]
    statements: list[str] = []
    event.listen(store._writer, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    take(store, *edits)
    assert len(statements) <= 11, statements


def test_a_long_search_for_a_merge_base_takes_few_statements(store: SqlStore) -> None:
    first = Dot(1, "dev1")
    chain = [
        change("a", 1, base=[]),
        *(change("a", number, base=[Dot(number - 1, "dev1")]) for number in range(2, 2001)),
    ]
    take(store, *chain)
    statements: list[str] = []
    event.listen(store._writer, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    batch = take(store, change("a", 3000, "text\nof another", by="dev2", base=[first]))
    (entry,) = batch.entries
    assert [sibling.dot.device_id[:6] for sibling in entry.register.siblings] == ["server"], "merged over the first one"
    assert len(statements) < 30, len(statements)


def test_a_long_base_costs_no_more_lookups_than_dots(store: SqlStore) -> None:
    """Not one for each of its timestamps with each of its devices: everyone waits for the one writer."""
    take(store, *(change(f"n{number}", number, base=[]) for number in range(1, 1001)))
    base = [Dot(number, f"device{number}") for number in range(1, 1001)]
    assert steps_of(store, change("n1", 2000, "x", base=base)) < 200_000


def test_a_dot_that_many_keys_share_costs_no_more_than_its_own(store: SqlStore) -> None:
    shared, sole = Dot(5, "dev1"), Dot(6, "dev1")
    take(store, *(change(f"n{number}", shared.timestamp, base=[]) for number in range(1000)))
    take(store, change("n1", sole.timestamp, base=[shared]), change("m1", sole.timestamp - 1, by="dev2", base=[]))
    take(store, change("m1", sole.timestamp, by="dev2", base=[Dot(sole.timestamp - 1, "dev2")]))
    of_its_own = steps_of(store, change("m1", 9, by="dev2", base=[Dot(5, "dev2"), Dot(6, "dev2")]))
    assert steps_of(store, change("n1", 9, base=[shared, sole])) < 2 * of_its_own


def steps_of(store: SqlStore, taken: Change) -> int:
    """Return about how many steps the database takes for one change."""
    steps = 0

    def stepped() -> int:
        nonlocal steps
        steps += 10
        return 0

    with store._writer.connect() as connection:
        driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    driver.set_progress_handler(stepped, 10)
    take(store, taken)
    driver.set_progress_handler(None, 0)
    return steps
