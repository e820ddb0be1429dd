"""What a database needs on a disk that is full, so that its users can still remove what fills it.

SQLite writes every change into its log file (WAL) first. Some room for that is taken from the disk while there is any,
as blocks behind the end of that file: nobody else can have them, and nothing has to be given back. With them intent
and reports are stored although the disk is full, for as long as little is added; what would add much is refused.
"""

import ctypes
import errno
import os
from typing import Final

import structlog

from krater.errors import Unavailable

SIZE: Final = 8 << 20

_KEEP_SIZE: Final = 1
_libc = ctypes.CDLL(None, use_errno=True)
_log = structlog.get_logger(__name__)


class Reserve:
    """The room set aside for one SQLite database."""

    def __init__(self, database: str) -> None:
        self._directory = os.path.dirname(os.path.abspath(database))
        self._wal = f"{database}-wal"
        self._is_possible = True

    def ensure(self) -> None:
        """Have the room, if the disk has it. What is there already stays."""
        if not self._is_possible:
            return
        try:
            descriptor = os.open(self._wal, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            if os.fstat(descriptor).st_blocks * 512 < SIZE:
                self._take(descriptor)
        finally:
            os.close(descriptor)  # SQLite has no locks on this file that closing it here could drop

    def _take(self, descriptor: int) -> None:
        if not _libc.fallocate(descriptor, _KEEP_SIZE, ctypes.c_long(0), ctypes.c_long(SIZE)):
            return
        error = ctypes.get_errno()
        if error != errno.ENOSPC:
            self._is_possible = False
            _log.warning("no room can be set aside for the database", directory=self._directory, why=os.strerror(error))

    def require(self) -> None:
        """Unavailable when the disk has no room for more than what the reserve is for."""
        found = os.statvfs(self._directory)
        if found.f_bavail * found.f_frsize < SIZE:
            raise Unavailable("The database takes no more: its disk is full. Removing containers may give room.")
        self.ensure()
