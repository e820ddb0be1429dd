"""What tables are made of: the metadata, types of columns, options.

The SQL stays within what SQLite, PostgreSQL and MariaDB share. Moments are whole microseconds since 1970 (UTC), cores
are whole millionths: both add, compare and sort exactly everywhere. Documents are JSON text (see `documents.py`);
what is filtered, sorted or guarded by is a column of its own. `migrations/` makes the same tables, step by step;
a test holds the two together.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Dialect,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects import mysql

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MILLION = 1_000_000


def to_micros(moment: datetime) -> int:
    """A moment as it is stored."""
    return (moment - _EPOCH) // _MICROSECOND


def to_millionths(cores: float) -> int:
    """Cores as they are stored."""
    return round(cores * _MILLION)


def to_cores(millionths: int) -> float:
    """Cores as the model has them."""
    return millionths / _MILLION


class Moment(TypeDecorator[datetime]):
    """An aware UTC datetime, the same on every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)


NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
DOCUMENT = Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
SEQ = BigInteger().with_variant(Integer(), "sqlite")
ID, NAME, WORD, ADDRESS = String(64), String(255), String(32), String(45)

# A number of `seq` is never given twice, even when its row is gone: the decode cache is keyed by it.
# Binary collation: names differ by case everywhere, as they do on SQLite and PostgreSQL.
OPTIONS: dict[str, Any] = {
    "sqlite_autoincrement": True,
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}
KEYED = {name: value for name, value in OPTIONS.items() if name != "sqlite_autoincrement"}

metadata = MetaData(naming_convention=NAMES)
