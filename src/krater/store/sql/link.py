"""A connection and what goes with it, shared by the parts of its transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, CursorResult, Executable, Select

from krater.clock import Now
from krater.store.sql.documents import DecodeCache


@dataclass(frozen=True, slots=True)
class Link:
    """`writes` is true for connections that write: only they lock rows, and only the others fill the cache."""

    connection: Connection
    now: Now
    cache: DecodeCache
    writes: bool

    def rows(self, statement: Select[Any], values: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """All rows of a query. Their types are those of the columns, which the type checker is not told."""
        return self.connection.execute(statement, values).fetchall()

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
