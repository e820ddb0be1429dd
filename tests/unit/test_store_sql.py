"""The SQL store's own parts: schema, cache, faults, and being killed."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.schema import CreateIndex, CreateTable

from krater.errors import Conflict, Permanent, Unavailable
from krater.model.workload import Desired, Intent
from krater.store.interfaces import EVERYBODY, Page, WorkloadQuery
from krater.store.sql import SqlStore, reserve, workloads
from krater.store.sql.documents import DecodeCache
from krater.store.sql.faults import Fault, classify, unavailable
from krater.store.sql.schema import HEAD, configuration
from krater.store.sql.tables import metadata
from tests.support.stores import ANN, placed, workload


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "krater.sqlite"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqlStore]:
    opened = await SqlStore.open(f"sqlite:///{path}")
    yield opened
    await opened.close()


class TestSchema:
    async def test_the_migrations_make_the_tables(self, store: SqlStore, path: Path) -> None:
        engine = create_engine(f"sqlite:///{path}")
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []
            assert context.get_current_revision() == HEAD
            scripts = ScriptDirectory.from_config(configuration(connection))
            assert scripts.get_heads() == [HEAD]
        tables = {row[0]: row[1] for row in sqlite3.connect(path).execute("SELECT name, sql FROM sqlite_master")}
        for table in metadata.sorted_tables:
            declared = str(CreateTable(table).compile(engine))
            assert ("AUTOINCREMENT" in declared) == ("AUTOINCREMENT" in tables[table.name]), table.name
            assert declared.count("REFERENCES") == tables[table.name].count("REFERENCES"), table.name

    @pytest.mark.parametrize("make", [postgresql.dialect, mysql.dialect])
    def test_the_tables_are_for_other_databases_too(self, make: Callable[[], Any]) -> None:
        dialect = make()
        for table in metadata.sorted_tables:
            str(CreateTable(table).compile(dialect=dialect))
            for index in table.indexes:
                assert len(str(index.name)) <= 60
                str(CreateIndex(index).compile(dialect=dialect))
        assert "FOR UPDATE" in str(workloads._locked("id", project=True, kind=True).compile(dialect=dialect))

    async def test_opening_again_keeps_everything(self, store: SqlStore, path: Path) -> None:
        await store.write(lambda tx: tx.workloads.add(workload("w1")))
        await store.close()
        again = await SqlStore.open(f"sqlite:///{path}")
        assert (await again.read(lambda tx: tx.workloads.get(ANN, "w1"))).id == "w1"
        await again.close()

    async def test_a_newer_database_is_refused_and_left_alone(self, store: SqlStore, path: Path) -> None:
        await store.close()
        with sqlite3.connect(path) as raw:
            raw.execute("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(Permanent, match="9999"):
            await SqlStore.open(f"sqlite:///{path}")
        with sqlite3.connect(path) as raw:
            assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)

    async def test_a_database_of_something_else_is_refused(self, tmp_path: Path) -> None:
        with sqlite3.connect(tmp_path / "x.sqlite") as raw:
            raw.execute("CREATE TABLE recipes (id INTEGER)")
        with pytest.raises(Permanent, match="tables"):
            await SqlStore.open(f"sqlite:///{tmp_path}/x.sqlite")

    async def test_a_migration_that_fails_leaves_nothing(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from alembic import command

        upgrade = command.upgrade

        def broken(*arguments: Any) -> None:
            upgrade(*arguments)
            raise RuntimeError("killed")

        monkeypatch.setattr(command, "upgrade", broken)
        with pytest.raises(RuntimeError):
            await SqlStore.open(f"sqlite:///{path}")
        with sqlite3.connect(path) as raw:
            assert raw.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)

    async def test_several_processes_may_open_an_empty_one_at_once(self, path: Path) -> None:
        stores = await asyncio.gather(*(SqlStore.open(f"sqlite:///{path}") for _ in range(4)))
        for one in stores:
            await one.close()

    async def test_the_file_is_for_its_owner_only(self, store: SqlStore, path: Path) -> None:
        await store.write(lambda tx: tx.workloads.add(workload()))
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file

    @pytest.mark.parametrize(
        ("url", "error"),
        [
            ("sqlite://", Permanent),
            ("nonsense", Permanent),
            ("oracle9://x/y", Permanent),
            ("sqlite:////proc/none/x.sqlite", Unavailable),
        ],
    )
    async def test_what_cannot_be_opened_is_said_plainly(self, url: str, error: type[Exception]) -> None:
        with pytest.raises(error):
            await SqlStore.open(url)


class TestCache:
    def test_it_is_good_for_one_version(self) -> None:
        cache = DecodeCache()
        one = replace(workload(), seq=7, version=2)
        cache.add(one)
        assert cache.find(7, 2) is one
        assert cache.find(7, 3) is None
        assert cache.find(7, 1) is None
        assert cache.find(8, 2) is None

    def test_it_is_bounded_and_keeps_what_is_used(self) -> None:
        cache = DecodeCache(100)
        rows = [replace(workload(), seq=seq, version=1) for seq in range(1000)]
        for row in rows:
            cache.add(row)
            assert cache.find(0, 1) is rows[0]
            assert len(cache) <= 101
        assert cache.find(1, 1) is None

    async def test_only_readers_fill_it(self, store: SqlStore) -> None:
        await store.write(lambda tx: tx.workloads.add(workload("w1")))
        written = await store.write(lambda tx: tx.workloads.get(ANN, "w1"))
        again = await store.write(lambda tx: tx.workloads.get(ANN, "w1"))
        assert written == again
        assert written is not again
        first = await store.read(lambda tx: tx.workloads.get(ANN, "w1"))
        (second,) = await store.read(lambda tx: tx.workloads.find(ANN, WorkloadQuery(), Page(9)))
        assert first is second


class TestTogether:
    """What waits for SQLite's one writer is synced to the disk together, and each stays a transaction of its own."""

    async def test_one_that_fails_takes_no_other_with_it(self, store: SqlStore) -> None:
        def add(id: str, is_well: bool) -> Callable[[Any], str]:
            def write(tx: Any) -> str:
                tx.workloads.add(workload(id))
                if not is_well:
                    raise Conflict("not this one")
                return id

            return write

        jobs = [store.write(add(f"w{number}", number % 3 != 1)) for number in range(40)]
        ends = await asyncio.gather(*jobs, return_exceptions=True)
        well = {f"w{number}" for number in range(40) if number % 3 != 1}
        assert {end for end in ends if isinstance(end, str)} == well
        assert sum(isinstance(end, Conflict) for end in ends) == 40 - len(well)
        assert set(await store.read(lambda tx: tx.workloads.unfinished())) == well

    async def test_one_that_the_database_refuses_has_the_others_run_by_themselves(self, store: SqlStore) -> None:
        def refused(tx: Any) -> None:
            tx.workloads.add(workload("refused"))
            raise ProgrammingError("X", {}, Exception("syntax"))

        def add(id: str) -> Callable[[Any], str]:
            return lambda tx: str(tx.workloads.add(workload(id)).id)

        jobs = [*(add(f"w{number}") for number in range(5)), refused, add("w0")]
        ends = await asyncio.gather(*map(store.write, jobs), return_exceptions=True)
        assert [str(end) for end in ends[:5]] == [f"w{number}" for number in range(5)]
        assert isinstance(ends[5], ProgrammingError)
        assert isinstance(ends[6], Conflict)
        assert len(await store.read(lambda tx: tx.workloads.unfinished())) == 5

    async def test_they_need_fewer_syncs_than_there_are(self, store: SqlStore) -> None:
        commits: list[str] = []

        def watch(tx: Any) -> None:
            raw = tx._link.connection.connection.dbapi_connection
            raw.set_trace_callback(lambda said: commits.append(said) if said == "COMMIT" else None)

        await store.write(watch)
        commits.clear()
        await asyncio.gather(*(store.write(lambda tx: tx.workloads.add(workload())) for _ in range(20)))
        assert 0 < len(commits) < 10


class TestFaults:
    async def test_readers_cannot_write(self, store: SqlStore) -> None:
        with pytest.raises(Unavailable, match="read-only"):
            await store.read(lambda tx: tx.workloads.add(workload()))
        await store.write(lambda tx: tx.workloads.add(workload()))
        assert len(await store.read(lambda tx: tx.workloads.unfinished())) == 1

    async def test_a_lock_that_goes_away_is_waited_for(self, store: SqlStore, path: Path) -> None:
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(store.write(lambda tx: tx.workloads.add(workload("w1"))))
        await asyncio.sleep(0.1)
        assert await store.read(lambda tx: tx.workloads.unfinished()) == []
        other.execute("COMMIT")
        assert (await writing).id == "w1"

    async def test_a_lock_that_stays_is_unavailable(
        self, store: SqlStore, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("krater.store.sql.engine._BUSY_MILLISECONDS", 10)
        impatient = await SqlStore.open(f"sqlite:///{path}")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="busy"):
            await impatient.write(lambda tx: tx.workloads.add(workload("w1")))
        other.execute("COMMIT")
        await impatient.write(lambda tx: tx.workloads.add(workload("w1")))
        await impatient.close()

    async def test_a_full_disk_is_said_plainly_and_passes(self, store: SqlStore) -> None:
        def let_it_grow_no_more(tx: Any) -> None:
            raw = tx._link.connection.connection.dbapi_connection
            pages = raw.execute("PRAGMA page_count").fetchone()[0]
            raw.execute(f"PRAGMA max_page_count={pages}")

        await store.write(let_it_grow_no_more)
        with pytest.raises(Unavailable, match="full"):
            await store.write(lambda tx: [tx.workloads.add(workload()) for _ in range(500)])
        await store.write(lambda tx: tx.workloads.add(workload("w1")))
        assert await store.read(lambda tx: tx.workloads.unfinished()) == ["w1"]

    async def test_room_is_set_aside_while_there_is_any(self, store: SqlStore, path: Path) -> None:
        assert os.stat(f"{path}-wal").st_blocks * 512 >= reserve.SIZE

    async def test_on_a_full_disk_nothing_is_added_and_all_else_goes_on(
        self, store: SqlStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await store.write(lambda tx: tx.workloads.add(workload("w1")))
        found = os.statvfs("/")
        full = os.statvfs_result((*found[:4], 0, *found[5:]))
        monkeypatch.setattr("krater.store.sql.reserve.os.statvfs", lambda _: full)
        with pytest.raises(Unavailable, match="its disk is full"):
            await store.write(lambda tx: tx.workloads.add(workload("w2")))
        await store.write(lambda tx: tx.workloads.set_intent("w1", Intent(Desired.REMOVED, 2)))
        await store.write(lambda tx: tx.workloads.delete("w1"))
        monkeypatch.undo()
        await store.write(lambda tx: tx.workloads.add(workload("w2")))

    async def test_a_database_that_is_damaged_is_unavailable_for_every_kind_of_query(
        self, store: SqlStore, path: Path
    ) -> None:
        other = sqlite3.connect(path)
        other.execute("DROP TABLE workloads")
        other.close()
        with pytest.raises(Unavailable):
            await store.read(lambda tx: tx.workloads.get(EVERYBODY, "w1"))
        with pytest.raises(Unavailable):
            await store.read(lambda tx: tx.workloads.unfinished())

    async def test_a_closed_store_is_unavailable(self, store: SqlStore) -> None:
        await store.close()
        await store.close()
        with pytest.raises(Unavailable):
            await store.read(lambda tx: tx.nodes.list())
        with pytest.raises(Unavailable):
            await store.write(lambda tx: tx.nodes.list())

    async def test_closing_ends_what_was_begun(self, store: SqlStore) -> None:
        def slow(tx: Any) -> str:
            time.sleep(0.1)
            return str(tx.workloads.add(workload("w1")).id)

        writing = asyncio.create_task(store.write(slow))
        await asyncio.sleep(0.01)
        await store.close()
        assert await writing == "w1"

    @pytest.mark.parametrize(
        ("error", "times", "is_well"),
        [
            (OperationalError("X", {}, Exception(1213, "Deadlock found")), 3, True),
            (OperationalError("X", {}, Exception(1213, "Deadlock found")), 9, False),
            (OperationalError("X", {}, Exception("gone"), connection_invalidated=True), 2, True),
            (IntegrityError("X", {}, Exception("unique")), 1, True),
            (IntegrityError("X", {}, Exception("unique")), 2, False),
            (OperationalError("X", {}, Exception("down")), 1, False),
            (ProgrammingError("X", {}, Exception("syntax")), 1, False),
        ],
    )
    async def test_collisions_are_run_again_and_other_errors_are_not(
        self, store: SqlStore, error: DBAPIError, times: int, is_well: bool
    ) -> None:
        """Errors of databases that more than one may write to, played back on this one."""
        errors = [error] * times

        def write(tx: Any) -> None:
            tx.workloads.add(workload("w1"))
            if errors:
                raise errors.pop()

        if is_well:
            await store.write(write)
        else:
            with pytest.raises((Unavailable, Conflict, ProgrammingError)):
                await store.write(write)
        await store.write(lambda tx: tx.workloads.add(workload("w2")))
        found = await store.read(lambda tx: tx.workloads.unfinished())
        assert found == (["w1", "w2"] if is_well else ["w2"])

    def test_other_databases_errors_are_known(self) -> None:
        class Postgres(Exception):
            sqlstate = "40P01"

        def error(orig: BaseException, *, lost: bool = False) -> OperationalError:
            return OperationalError("SELECT", {}, orig, connection_invalidated=lost)

        assert classify(error(Postgres())) is Fault.COLLISION
        assert classify(error(Exception(1213, "Deadlock found"))) is Fault.COLLISION
        assert classify(error(Exception(2013, "Lost connection"), lost=True)) is Fault.LOST
        assert classify(error(Exception("no route to host db.internal"))) is Fault.DOWN
        assert classify(IntegrityError("INSERT", {}, Exception("unique"))) is Fault.RACE
        assert "db.internal" not in unavailable(error(Exception("no route to host db.internal"))).message
        assert "full" in unavailable(error(Exception(1114, "The table is full"))).message


_WRITER = """
import asyncio, sys
from krater.model.quota import Limits, Usage
from krater.store.sql import SqlStore
from tests.support.stores import placed, workload

async def main():
    store = await SqlStore.open(sys.argv[1])
    limits = Limits(-1, -1, -1, -1)

    def create(tx, number):
        tx.quotas.charge("p-ann", Usage(1), limits)
        for part in range(5):
            tx.workloads.add(workload(f"{number}-{part}", name=f"batch-{number}"))
        tx.workloads.place(f"{number}-0", placed())

    for number in range(1_000_000):
        await store.write(lambda tx: create(tx, number))
        print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("after", [1, 7, 30])
async def test_a_writer_that_is_killed_leaves_whole_transactions(store: SqlStore, path: Path, after: int) -> None:
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    child = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", _WRITER, f"sqlite:///{path}"], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert child.stdout is not None
    said = 0
    for _ in range(after):
        said = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    said = max([said, *(int(line) for line in child.stdout.read().split())])
    child.wait()

    rows = await store.read(lambda tx: tx.workloads.find(EVERYBODY, WorkloadQuery(), Page(100_000)))
    batches = {row.name for row in rows}
    assert len(batches) in (said + 1, said + 2), "all that was confirmed, and at most the one under way"
    assert len(rows) == 5 * len(batches)
    assert (await store.read(lambda tx: tx.quotas.usage("p-ann"))).containers == len(batches)
    assert sum(row.placement == placed() for row in rows) == len(batches)
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    await store.write(lambda tx: tx.workloads.set_intent("0-0", Intent(Desired.STOPPED, 2)))
