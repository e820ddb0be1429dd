"""Short-lived programs: started by the launcher, read without threads, their exit waited for without polling."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from krater.agent.runtimes.oci.launcher import Launcher

PIECE: Final = 65536
DRAIN_LIMIT: Final = 16 * 1024 * 1024


class Program:
    """One running program with its output in a pipe. Use `started` to make one."""

    def __init__(self, pid: int, reader: int, limit: int) -> None:
        self.pid = pid
        self.truncated = False
        self._reader = reader
        self._limit = limit
        self._pieces: list[bytes] = []
        self._kept = 0
        self._loop = asyncio.get_running_loop()
        self._status: asyncio.Future[int] = self._loop.create_future()
        self._pidfd = os.pidfd_open(pid)
        os.set_blocking(reader, False)
        self._loop.add_reader(reader, self._readable)
        self._loop.add_reader(self._pidfd, self._ended)

    @property
    def output(self) -> bytes:
        """What it wrote, up to the limit."""
        return b"".join(self._pieces)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return not self._status.done()

    async def wait(self) -> int:
        """Its exit code, as shells count it; its output is complete then."""
        return await asyncio.shield(self._status)

    def _readable(self) -> bool:
        try:
            piece = os.read(self._reader, PIECE)
        except BlockingIOError:
            return False
        if not piece:
            self._loop.remove_reader(self._reader)
            return False
        room = self._limit - self._kept
        if len(piece) > room:
            self.truncated = True
        if room > 0:
            self._pieces.append(piece[:room])
            self._kept += min(room, len(piece))
        return True

    def _ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        _, status = os.waitpid(self.pid, 0)
        drained = 0
        while drained < DRAIN_LIMIT and self._readable():  # what it left in the background may write for ever
            drained += PIECE
        self._loop.remove_reader(self._reader)
        os.close(self._reader)
        code = os.waitstatus_to_exitcode(status)
        self._status.set_result(code if code >= 0 else 128 - code)

    def kill(self) -> None:
        """Kill it, and nothing that it started."""
        if self.running:
            with suppress(ProcessLookupError):
                os.kill(self.pid, 9)


async def started(launcher: Launcher, arguments: Sequence[str], limit: int) -> Program:
    """Start a program with nothing to read and both its outputs in one pipe."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pid = await launcher.spawn(arguments, "/", descriptors={0: null, 1: writer, 2: writer})
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
        os.close(null)
    return Program(pid, reader, limit)
