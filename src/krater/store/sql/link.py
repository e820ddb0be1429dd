"""A connection and what goes with it, shared by the parts of its transaction."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, CursorResult, Dialect, Executable, Select
from sqlalchemy.exc import DBAPIError

from krater.clock import Now
from krater.store.sql.documents import DecodeCache
from krater.store.sql.reserve import Reserve


@dataclass(frozen=True, slots=True)
class Link:
    """`writes` is true for connections that write: only they lock rows, and only the others fill the cache."""

    connection: Connection
    now: Now
    cache: DecodeCache
    writes: bool
    reserve: Reserve | None = None

    def require_room(self) -> None:
        """Before more is stored: Unavailable when the disk is full. Changes and removals go on then."""
        if self.reserve is not None:
            self.reserve.require()

    def rows(self, statement: Select[Any], values: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """All rows of a query. Their types are those of the columns, which the type checker is not told."""
        return self.connection.execute(statement, values).fetchall()

    def direct_rows(self, statement: Select[Any], values: Mapping[str, Any]) -> Sequence[Any]:
        """As `rows`, for the one query that nearly every request asks: 5 us instead of 35. Only for a statement that is
        made once, without lists, and for values and columns that the driver takes and gives as they are.
        """
        raw: Any = self.connection.connection.dbapi_connection
        dialect = self.connection.dialect
        compiled = _compiled(statement, dialect)
        named = compiled.construct_params(values)
        try:
            with closing(raw.cursor()) as cursor:
                positions = compiled.positiontup if compiled.positional else None
                cursor.execute(compiled.string, named if positions is None else [named[name] for name in positions])
                return list(cursor.fetchall())
        except dialect.loaded_dbapi.Error as error:
            raise _as_sqlalchemy(error, dialect, raw) from error

    def row(self, statement: Select[Any], values: Mapping[str, Any] | None = None) -> Any | None:
        """The first row of a query."""
        return self.connection.execute(statement, values).first()

    def run(
        self, statement: Executable, values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> CursorResult[Any]:
        """A change, with one set of values or many."""
        result: CursorResult[Any] = self.connection.execute(statement, values)
        return result

    def change(self, statement: Executable, values: Mapping[str, Any] | None = None) -> int:
        """A change; how many rows it met."""
        return self.run(statement, values).rowcount

    def key(self, statement: Executable, values: Mapping[str, Any]) -> int:
        """An insert; the `seq` it was given."""
        primary = self.run(statement, values).inserted_primary_key
        if primary is None:
            raise RuntimeError("an insert gave no key")
        return int(primary[0])

    def lock(self, statement: Select[Any]) -> Select[Any]:
        """The query, holding what it finds until the transaction ends (where it writes at all)."""
        return statement.with_for_update() if self.writes else statement


@lru_cache(maxsize=64)
def _compiled(statement: Select[Any], dialect: Dialect) -> Any:
    return statement.compile(dialect=dialect)


def _as_sqlalchemy(error: Exception, dialect: Dialect, raw: Any) -> BaseException:
    """A driver's error as SQLAlchemy raises it, which is what we know the meaning of."""
    is_lost = dialect.is_disconnect(error, raw, None)  # type: ignore[arg-type]
    kinds = dialect.loaded_dbapi.Error
    return DBAPIError.instance(None, None, error, kinds, connection_invalidated=is_lost, dialect=dialect)
