"""What becomes of the rows of an older database."""

import sqlite3
from pathlib import Path
from typing import Any

from alembic import command

from krater.model.security import default_group_id
from krater.store.sql import SqlStore
from krater.store.sql.engine import open_engine
from krater.store.sql.schema import configuration


def _insert(raw: sqlite3.Connection, table: str, **values: Any) -> None:
    """A row with nothing in the columns that do not matter."""
    needed = [(name, kind) for _, name, kind, needed, _, _ in raw.execute(f"PRAGMA table_info({table})") if needed]
    row = {name: 0 if "INT" in kind.upper() else "" for name, kind in needed if name != "seq"} | values
    names = ", ".join(row)
    raw.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(row))})", [*row.values()])  # noqa: S608


async def test_what_was_there_before_security_groups_is_in_the_default_one(tmp_path: Path) -> None:
    path = tmp_path / "krater.sqlite"
    with open_engine(f"sqlite:///{path}", writes=True).begin() as connection:
        command.upgrade(configuration(connection), "0001")
    with sqlite3.connect(path) as raw:
        _insert(raw, "workloads", id="w1", project_id="p1")
        _insert(raw, "ports", id="kept", project_id="p2", owned=0, mac="1")
        _insert(raw, "ports", id="own", project_id="p1", owned=1, mac="2", device="w1")
    store = await SqlStore.open(f"sqlite:///{path}")
    joined = await store.read(lambda tx: tx.security_groups.joined(["w1", "kept", "own"]))
    await store.close()
    assert joined == {"w1": (default_group_id("p1"),), "kept": (default_group_id("p2"),)}
