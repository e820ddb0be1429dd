"""Terminals that the OCI runtime makes inside a container and hands out to us, through a socket."""

import asyncio
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from krater.agent.runtimes.oci.outputs import tell

Result = TypeVar("Result")


class TerminalSocket:
    """Where the OCI runtime delivers a terminal. Its path may be longer than what sockets take."""

    def __init__(self, path: str) -> None:
        self._directory, self.name = os.path.split(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)

    def __enter__(self) -> Self:
        directory = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._listener.bind(f"/proc/self/fd/{directory}/{self.name}")
            self._listener.listen(1)
        finally:
            os.close(directory)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        os.unlink(f"{self._directory}/{self.name}")

    async def terminal(self, given_up: "asyncio.Future[int]") -> int | None:
        """The terminal's descriptor; None when the OCI runtime ended without one."""
        connection = await _until(self._listener, given_up, self._accepted)
        if connection is None:
            return None
        with connection:
            return await _until(connection, given_up, lambda: _received(connection))

    def _accepted(self) -> socket.socket:
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        return connection


async def _until(of: socket.socket, given_up: "asyncio.Future[int]", take: Callable[[], Result]) -> Result | None:
    """What `take` gets from a socket once there is something; None when the process ended first."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return take()
        except BlockingIOError:
            if given_up.done():
                return None
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(of.fileno(), tell, readable)
        waited: list[asyncio.Future[Any]] = [readable, given_up]
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_reader(of.fileno())
            readable.cancel()


def _received(connection: socket.socket) -> int | None:
    _, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
    return descriptors[0] if descriptors else None


def set_size(terminal: int, rows: int, columns: int) -> None:
    """Another size; the kernel tells the programs at it."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
