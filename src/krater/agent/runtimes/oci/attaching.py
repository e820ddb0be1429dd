"""Attaching to a container's first process, through the socket of its monitor (conmon).

conmon writes to whoever is attached before it goes on reading, so one who does not read would hold up the container,
its log and everybody else who is attached: users of this must always read, see `agent/streams.py`.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from krater.agent.runtimes.oci import syscalls
from krater.agent.runtimes.oci.conmon import INPUT_KEPT_IN
from krater.agent.runtimes.oci.layout import ContainerPaths
from krater.agent.runtimes.oci.outputs import Outputs, Piece, write_all
from krater.agent.runtimes.oci.processes import Identity, ended, open_pidfd
from krater.agent.runtimes.oci.state import read_ending
from krater.errors import Conflict, Temporary
from krater.model.frames import STDERR, STDOUT

PACKET: Final = 32 * 1024
PACKETS_AT_ONCE: Final = 32
INPUT_PACKET: Final = 8 * 1024
EXIT_TOLD_WITHIN: Final = 5.0
CONNECT_TRIES: Final = 200
CONNECT_PAUSE: Final = 0.02
BEGINNING_KEPT: Final = 64 * 1024
BEGINNING_KEPT_FOR: Final = 15.0

_INT: Final = 4
_STREAMS: Final = {2: STDOUT, 3: STDERR}  # as conmon counts them


@dataclass(frozen=True, slots=True)
class Attached:
    """Whom a stream is to: the container's files, and its processes."""

    paths: ContainerPaths
    process: Identity
    monitor: Identity | None
    tty: bool
    interactive: bool


class AttachedStream:
    """Implements `Stream` for a container's first process."""

    def __init__(self, to: Attached, connection: socket.socket, beginning: Sequence[Piece] = ()) -> None:
        self.tty = to.tty
        self._to = to
        self._connection = connection
        self._beginning = list(beginning)
        self._outputs = Outputs([connection.fileno()], _packets)
        self._input = _input_of(to)
        self._ended = False

    async def read(self) -> Sequence[Piece]:
        """What it wrote."""
        if self._beginning:
            found, self._beginning = self._beginning, []
            return found
        found = list(await self._outputs.read())
        self._ended = not found
        return found

    async def write(self, content: bytes) -> None:
        """Give it input, if it was made to take any."""
        if self.tty and self._to.interactive:
            await write_all(self._connection.fileno(), content, INPUT_PACKET)
        elif self._input is not None:
            for end in _ends(self._input, socket.MSG_PEEK):
                try:
                    await write_all(end, content)
                finally:
                    os.close(end)

    def end_input(self) -> None:
        """The input of a terminal does not end; anybody else's does, for all who are attached."""
        if self._input is not None:
            for end in _ends(self._input):
                os.close(end)

    def resize(self, rows: int, columns: int) -> None:
        """Another size."""
        if self.tty:
            resize(self._to.paths, rows, columns)

    async def wait(self) -> int | None:
        """The exit code that the monitor wrote."""
        if self._to.monitor is not None:
            await ended(self._to.monitor, EXIT_TOLD_WITHIN)
        if self._to.process.alive:
            return None
        ending = read_ending(self._to.paths)
        return ending.exit_code if ending is not None else None

    async def close(self) -> None:
        """Let go of it."""
        self._outputs.stop()
        if self._input is not None:
            self._input.close()
            self._input = None
        self._connection.close()


class Beginnings:
    """What containers with input wrote before anybody could attach: a prompt. Kept for seconds, and not much of it."""

    def __init__(self) -> None:
        self._kept: dict[str, _Beginning] = {}

    def keep(self, container: str, paths: ContainerPaths) -> None:
        """Attach to a container that was created and does not run yet."""
        self.drop(container)
        with suppress(OSError):
            self._kept[container] = _Beginning(connect(paths), lambda: self.drop(container))

    def take(self, container: str) -> tuple[socket.socket, list[Piece]] | None:
        """The connection, and what came through it; once."""
        kept = self._kept.pop(container, None)
        return kept.release() if kept is not None else None

    def drop(self, container: str) -> None:
        """Nobody came, or nobody will."""
        taken = self.take(container)
        if taken is not None:
            taken[0].close()

    def close(self) -> None:
        """Drop all."""
        for container in [*self._kept]:
            self.drop(container)


class _Beginning:
    def __init__(self, connection: socket.socket, drop: Callable[[], None]) -> None:
        self._connection = connection
        self._pieces: list[Piece] = []
        self._size = 0
        self._drop = drop
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(BEGINNING_KEPT_FOR, drop)
        self._loop.add_reader(connection.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            pieces = _packets(self._connection.fileno())
        except BlockingIOError:
            return
        except OSError:
            pieces = ()
        self._pieces += pieces
        self._size += sum(len(piece) for _, piece in pieces)
        if not pieces or self._size > BEGINNING_KEPT:
            self._drop()

    def release(self) -> tuple[socket.socket, list[Piece]]:
        self._timer.cancel()
        self._loop.remove_reader(self._connection.fileno())
        return self._connection, self._pieces


async def attach(container: str, to: Attached, beginnings: Beginnings) -> AttachedStream:
    """Attach. Conflict when it has just ended."""
    taken = beginnings.take(container)
    if taken is not None:
        return AttachedStream(to, *taken)
    for _ in range(CONNECT_TRIES):
        try:
            return AttachedStream(to, connect(to.paths))
        except BlockingIOError:  # many at once: the monitor takes in one after the other
            await asyncio.sleep(CONNECT_PAUSE)
        except OSError:
            raise Conflict("the container has no monitor that one could attach to: it ended, or lost it") from None
    raise Temporary("the container's monitor does not answer")


def connect(paths: ContainerPaths) -> socket.socket:
    """A connection to the monitor's socket. Its path may be longer than what sockets take."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    directory = -1
    try:
        connection.setblocking(False)
        directory = os.open(paths.bundle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        connection.connect(f"/proc/self/fd/{directory}/attach")
    except BaseException:
        connection.close()
        raise
    finally:
        if directory >= 0:
            os.close(directory)
    return connection


def resize(paths: ContainerPaths, rows: int, columns: int) -> None:
    """Have the monitor give the terminal another size."""
    with suppress(OSError):
        descriptor = os.open(f"{paths.bundle}/ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(descriptor, b"1 %d %d\n" % (rows, columns))
        finally:
            os.close(descriptor)


def _packets(descriptor: int) -> Sequence[Piece]:
    """As many packets as there are, those of one stream joined."""
    found: list[tuple[int, list[bytes]]] = []
    for _ in range(PACKETS_AT_ONCE):
        try:
            packet = os.read(descriptor, PACKET)
        except BlockingIOError:
            if not found:
                raise
            break
        if not packet:
            break  # the end; asked again, it says so again
        stream = _STREAMS.get(packet[0], STDOUT)
        if found and found[-1][0] == stream:
            found[-1][1].append(packet[1:])
        else:
            found.append((stream, [packet[1:]]))
    return [(stream, b"".join(pieces)) for stream, pieces in found]


def _input_of(to: Attached) -> socket.socket | None:
    """The socket in which the monitor keeps the input of a process without a terminal."""
    pidfd = open_pidfd(to.monitor) if to.monitor is not None and to.interactive and not to.tty else None
    if pidfd is None:
        return None
    try:
        return socket.socket(fileno=syscalls.borrow_descriptor(pidfd, INPUT_KEPT_IN))
    except OSError:
        return None
    finally:
        os.close(pidfd)


def _ends(kept_in: socket.socket, flags: int = 0) -> list[int]:
    """The end of the pipe to write to, taken out or (with MSG_PEEK) only copied; none when input has ended."""
    try:
        # not `socket.recv_fds`: that drops the flags
        _, ancillary, _, _ = kept_in.recvmsg(16, socket.CMSG_LEN(_INT), flags | socket.MSG_DONTWAIT)
    except OSError:
        return []
    descriptors = [int.from_bytes(content[:_INT], sys.byteorder) for _, _, content in ancillary if len(content) >= _INT]
    for descriptor in descriptors:
        os.set_blocking(descriptor, False)
    return descriptors
