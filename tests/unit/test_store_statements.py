"""What the SQL store says to the database, and how often: as the driver hears it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from krater.errors import Conflict
from krater.store.sql import SqlStore
from tests.support.stores import workload


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    opened = await SqlStore.open(f"sqlite:///{tmp_path}/krater.sqlite")
    yield opened
    await opened.close()


async def heard(store: SqlStore) -> list[str]:
    """What is said to the driver of the connection that writes, from now on."""
    said: list[str] = []

    def listen(tx: Any) -> None:
        tx._link.connection.connection.dbapi_connection.set_trace_callback(said.append)

    await store.write(listen)
    return said


async def test_each_of_several_transactions_is_said_in_the_same_words(store: SqlStore) -> None:
    """What is new to the driver is parsed, and takes the place of one of the hundred or so that it knows."""
    said = await heard(store)

    def fail(tx: Any) -> None:
        tx.workloads.add(workload())
        raise Conflict("not this one")

    await asyncio.gather(*(store.write(fail) for _ in range(20)), return_exceptions=True)
    about_savepoints = [text for text in said if text.startswith(("SAVEPOINT", "RELEASE", "ROLLBACK TO"))]
    assert len(about_savepoints) > 30
    assert len(set(about_savepoints)) == 3
    assert await store.read(lambda tx: tx.workloads.unfinished()) == []


async def test_where_nobody_has_departed_nobody_is_looked_for(store: SqlStore) -> None:
    said = await heard(store)
    await store.write(lambda tx: tx.departures.add([]))
    assert not [text for text in said if "departures" in text]
