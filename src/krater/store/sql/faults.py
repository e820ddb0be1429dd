"""What a database driver's error means, translated once: here and nowhere else."""

from enum import Enum

import structlog
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError

from krater.errors import Conflict, Unavailable

_log = structlog.get_logger(__name__)

_SQLITE_BUSY = frozenset({5, 6})
_SQLITE_WORDS = {
    8: "The database cannot be written: it is read-only.",
    10: "The database cannot be used: its disk fails.",
    11: "The database cannot be used: its file is damaged.",
    13: "The database cannot be written: its disk is full.",
    14: "The database cannot be used: its file cannot be opened.",
    26: "The database cannot be used: its file is no SQLite database.",
}
_POSTGRES_COLLISIONS = frozenset({"40001", "40P01", "55P03"})
_POSTGRES_FULL = frozenset({"53100"})
_MARIADB_COLLISIONS = frozenset({1020, 1205, 1213})
_MARIADB_FULL = frozenset({1021, 1114})
_PRIMARY = 0xFF


class Fault(Enum):
    """What to do about an error."""

    COLLISION = "another transaction was in the way: run it again"
    RACE = "another transaction stored the same first: run it again, and it will see that"
    LOST = "the connection is gone: run it again on a new one, unless it may have been committed"
    DOWN = "the database does not work now"
    BUG = "the statement is wrong"


def classify(error: DBAPIError) -> Fault:
    """Which of them it is."""
    if isinstance(error, IntegrityError):
        return Fault.RACE
    if _is_collision(error):
        return Fault.COLLISION
    if error.connection_invalidated:
        return Fault.LOST
    if isinstance(error, OperationalError | InterfaceError):
        return Fault.DOWN
    return Fault.BUG


def unavailable(error: DBAPIError) -> Unavailable:
    """The same in plain words. The driver's own text is logged, for it may name files and hosts."""
    _log.error("the database failed", driver=str(error.orig), kind=type(error.orig).__name__)
    return Unavailable(_words(error))


def beaten(error: DBAPIError) -> Conflict:
    """What it means when a constraint was in the way twice: normally that somebody else is always first.

    Logged all the same, for a constraint that no check of ours stands before would look like this too.
    """
    _log.warning("a constraint was in the way", driver=str(error.orig))
    return Conflict("Another request was first.")


def _words(error: DBAPIError) -> str:
    code = _sqlite_code(error)
    if code in _SQLITE_WORDS:
        return _SQLITE_WORDS[code]
    if _is_collision(error):
        return "The database is busy."
    if _sqlstate(error) in _POSTGRES_FULL or _mariadb_code(error) in _MARIADB_FULL:
        return _SQLITE_WORDS[13]
    return "The database does not answer."


def _is_collision(error: DBAPIError) -> bool:
    return (
        _sqlite_code(error) in _SQLITE_BUSY
        or _sqlstate(error) in _POSTGRES_COLLISIONS
        or _mariadb_code(error) in _MARIADB_COLLISIONS
    )


def _sqlite_code(error: DBAPIError) -> int | None:
    """The primary result code: extended ones carry it in their lowest byte."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code & _PRIMARY if isinstance(code, int) else None


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def _mariadb_code(error: DBAPIError) -> int | None:
    first = error.orig.args[0] if error.orig is not None and error.orig.args else None
    return first if isinstance(first, int) else None
