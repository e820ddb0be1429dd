"""Connections, and what a transaction is.

Connections are kept for good and used by one thread at a time. On SQLite there is one thread that writes, for the
database has one writer anyway, and a few that read beside it (WAL).
"""

import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from sqlite3 import OperationalError
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from krater.errors import KraterError, Permanent, Unavailable
from krater.store.sql.faults import Fault, beaten, classify, unavailable

T = TypeVar("T")

SQLITE = "sqlite"
_CONNECT: dict[str, dict[str, Any]] = {SQLITE: {"check_same_thread": False}}
_BUSY_MILLISECONDS = 2000
_ATTEMPTS = 5
_FIRST_WAIT = 0.01


def open_engine(url: str, *, writes: bool) -> Engine:
    """An engine whose connections are set up as the store wants them: to write, or only to read.

    Those for reading cannot write, where the database can see to that.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise Permanent("The database's URL is not one.") from error
    if parsed.get_backend_name() == SQLITE:
        _ensure_private(parsed.database)
    try:
        engine = create_engine(parsed, poolclass=NullPool, connect_args=_CONNECT.get(parsed.get_backend_name(), {}))
    except (ImportError, ArgumentError) as error:
        raise Permanent(f"There is no driver for {parsed.drivername} here.") from error
    if engine.dialect.name == SQLITE:
        event.listen(engine, "connect", _set_up)
        if writes:
            event.listen(engine, "begin", _begin_writing)
        else:
            event.listen(engine, "connect", _forbid_writing)
            event.listen(engine, "begin", _begin_reading)
    return engine


def _ensure_private(database: str | None) -> None:
    """Specifications hold what users put into environments: the file is for its owner only."""
    if not database or database == ":memory:":
        raise Permanent("The database must be a file: each thread of the store has a connection of its own.")
    try:
        Path(database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise Unavailable(f"The database {database} cannot be opened: {error.strerror}.") from error


def _set_up(connection: SqliteConnection, _: Any) -> None:
    connection.isolation_level = None  # the listeners of "begin" say how a transaction begins
    connection.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}")
    _ensure_wal(connection)
    for pragma in (
        "synchronous=FULL",  # what was acknowledged survives a loss of power, too
        "foreign_keys=ON",
        "temp_store=MEMORY",
        "cache_size=-16384",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _ensure_wal(connection: SqliteConnection) -> None:
    """Several processes may open a new file at once. All but one are refused then: here SQLite waits for no lock."""
    for attempt in range(_ATTEMPTS):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except OperationalError:
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(_FIRST_WAIT * 2**attempt)


def _forbid_writing(connection: SqliteConnection, _: Any) -> None:
    connection.execute("PRAGMA query_only=ON")


def _begin_writing(connection: Connection) -> None:
    """Take the lock at once: taking it halfway is what makes SQLite report collisions."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_reading(connection: Connection) -> None:
    """Straight on the driver's connection: it locks nothing, cannot fail, and is on the path of every request."""
    raw: Any = connection.connection.dbapi_connection
    raw.execute("BEGIN")


def transact(connection: Connection, fn: Callable[[], T]) -> T:
    """Run a function as one transaction: all of it or nothing, again when it collided with another one."""
    attempt = 0
    while True:
        attempt += 1
        ended = False
        try:
            transaction = connection.begin()
            try:
                result = fn()
                ended = True
                transaction.commit()
                return result
            except BaseException:
                transaction.rollback()
                raise
        except DBAPIError as error:
            fault = classify(error)
            _recover(connection, fault)
            refusal = _refusal(error, fault, attempt, ended=ended)
            if refusal is not None:
                raise refusal from error
        time.sleep(random.uniform(0, _FIRST_WAIT * 2**attempt))  # noqa: S311 - spreads retries, guards nothing


def transact_together(connection: Connection, fns: Sequence[Callable[[], T]]) -> list[T | BaseException]:
    """Run several functions as a transaction each, with one sync to the disk for all: it costs more than they do.

    Answers with what each returned or raised. Should the database refuse anything on the way, all of it is undone and
    each is run by itself, so that none fails for another's sake.
    """
    if len(fns) > 1:
        try:
            with connection.begin():
                return [_within(connection, fn) for fn in fns]
        except SQLAlchemyError:
            with suppress(SQLAlchemyError):
                _recover(connection, Fault.DOWN)
    return [_outcome(lambda fn=fn: transact(connection, fn)) for fn in fns]  # type: ignore[misc]


def _within(connection: Connection, fn: Callable[[], T]) -> T | BaseException:
    """One of several: what it did is undone when it raises. What the database raises undoes all of them.

    The savepoint always has the same name. SQLAlchemy would give each another: a statement to compile, which the driver
    parses and keeps in the place of one that is asked again.
    """
    connection.exec_driver_sql("SAVEPOINT one")
    try:
        result = fn()
    except DBAPIError:
        raise
    except BaseException as error:
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT one")
        connection.exec_driver_sql("RELEASE SAVEPOINT one")
        return error
    connection.exec_driver_sql("RELEASE SAVEPOINT one")
    return result


def _outcome(fn: Callable[[], T]) -> T | BaseException:
    try:
        return fn()
    except BaseException as error:
        return error


def _refusal(error: DBAPIError, fault: Fault, attempt: int, *, ended: bool) -> KraterError | None:
    """What the caller is told, or None when it is worth another try."""
    if fault is Fault.BUG:
        raise error
    if fault is Fault.RACE:
        return beaten(error) if attempt > 1 else None
    is_ours = fault is Fault.COLLISION or (fault is Fault.LOST and not ended)
    if is_ours and attempt < _ATTEMPTS:
        return None
    return unavailable(error)


def _recover(connection: Connection, fault: Fault) -> None:
    """Leave nothing half open. A connection whose state is not known is replaced with the next transaction."""
    if fault in (Fault.LOST, Fault.DOWN) and not connection.invalidated and not connection.closed:
        connection.invalidate()
    if connection.in_transaction():
        connection.rollback()
