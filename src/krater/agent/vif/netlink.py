"""rtnetlink by hand: the dozen messages a node needs, several to a system call.

Written out instead of taken from a library because a card costs 4 ms this way and 9 to 35 with pyroute2 (its
event loop, its helper processes): the kernel's work is the larger part of what remains. Only bytes and
numbers live here; what they mean is in `links.py`. A socket belongs to the network namespace of the thread
that opened it, for ever: that is how one thread serves all namespaces.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

REQUEST, ACK, REPLACE, EXCLUSIVE, CREATE, DUMP = 0x01, 0x04, 0x100, 0x200, 0x400, 0x300

_DONE, _ERROR = 3, 2
_DUMP_INTERRUPTED = 0x10
_EXTENDED_ERROR_MESSAGE = 1
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT_CHECK = 270, 10, 11, 12
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_BUFFER = 1 << 18
_DUMP_TRIES = 5


class NetlinkError(OSError):
    """The kernel refused a message; its own words, when it had any, are in `strerror`."""


@dataclass(frozen=True, slots=True)
class Request:
    """One message to the kernel. `fine` are the error numbers that mean "already so" to whoever sends it."""

    type: int
    flags: int
    body: bytes
    fine: frozenset[int] = frozenset()

    def encoded(self, sequence: int) -> bytes:
        """The message on the wire."""
        size = _HEADER.size + len(self.body)
        return _HEADER.pack(size, self.type, self.flags | REQUEST, sequence, 0) + self.body


def attribute(kind: int, value: bytes) -> bytes:
    """A type-length-value, padded to four bytes."""
    return _ATTRIBUTE.pack(len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


def text(kind: int, value: str) -> bytes:
    """An attribute that holds a C string."""
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """An attribute that holds a 32-bit number."""
    return attribute(kind, struct.pack("=I", value))


def nest(kind: int, *inner: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | 0x8000, b"".join(inner))


def attributes(payload: bytes) -> dict[int, bytes]:
    """The attributes of a message body (after its fixed part), by type. A repeated one: the last counts."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(payload):
        size, kind = _ATTRIBUTE.unpack_from(payload, at)
        if size < 4:
            break
        found[kind & 0x3FFF] = payload[at + 4 : at + size]
        at += (size + 3) & ~3
    return found


class Netlink:
    """A route socket in the namespace of the opening thread. Not for two threads at a time."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        for option in (_CAP_ACK, _EXT_ACK, _STRICT_CHECK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.settimeout(None)
        self._sequence = 0

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket, and with it this hold on its namespace."""
        self._socket.close()

    def do(self, *requests: Request) -> list[bool]:
        """Have the kernel do these, in order, in one system call. True for each that was not so before.

        All of them are tried; the first real error is raised then. Only batch what may each fail alone.
        """
        if not requests:
            return []
        first = self._sequence + 1
        wire = b""
        for request in requests:
            self._sequence += 1
            wire += Request(request.type, request.flags | ACK, request.body).encoded(self._sequence)
        self._socket.sendall(wire)
        done: dict[int, bool] = {}
        failure: NetlinkError | None = None
        while len(done) < len(requests):
            for kind, _, sequence, payload in _messages(self._socket.recv(_BUFFER)):
                place = sequence - first
                if kind != _ERROR or not 0 <= place < len(requests):
                    continue
                error = _error(payload)
                done[place] = error is None
                if error is not None and error.errno not in requests[place].fine:
                    failure = failure or error
        if failure is not None:
            raise failure
        return [done[place] for place in range(len(requests))]

    def get(self, request: Request) -> bytes:
        """The body of the one message that answers."""
        self._sequence += 1
        self._socket.sendall(request.encoded(self._sequence))
        while True:
            for kind, _, sequence, payload in _messages(self._socket.recv(_BUFFER)):
                if sequence != self._sequence:
                    continue
                if kind != _ERROR:
                    return payload
                error = _error(payload)
                if error is not None:
                    raise error

    def dump(self, request: Request) -> list[bytes]:
        """The bodies of all messages that answer. A list that changed under the reading is read again."""
        for _ in range(_DUMP_TRIES):
            found, interrupted = self._dump_once(request)
            if not interrupted:
                return found
        raise NetlinkError(errno.EAGAIN, "the kernel's list changed at every try to read it")

    def _dump_once(self, request: Request) -> tuple[list[bytes], bool]:
        self._sequence += 1
        asked = Request(request.type, request.flags | DUMP, request.body)
        self._socket.sendall(asked.encoded(self._sequence))
        found: list[bytes] = []
        interrupted = False
        while True:
            for kind, flags, sequence, payload in _messages(self._socket.recv(_BUFFER)):
                if sequence != self._sequence:
                    continue
                interrupted = interrupted or bool(flags & _DUMP_INTERRUPTED)
                if kind == _DONE:
                    return found, interrupted
                if kind == _ERROR:
                    error = _error(payload)
                    if error is not None:
                        raise error
                    continue
                found.append(payload)


def _messages(received: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and body of every message in a datagram."""
    at = 0
    while at + _HEADER.size <= len(received):
        size, kind, flags, sequence, _ = _HEADER.unpack_from(received, at)
        yield kind, flags, sequence, received[at + _HEADER.size : at + size]
        at += (size + 3) & ~3


def _error(payload: bytes) -> NetlinkError | None:
    """What an acknowledgement says: None for success."""
    (code,) = struct.unpack_from("=i", payload)
    if code == 0:
        return None
    words = attributes(payload[4 + _HEADER.size :]).get(_EXTENDED_ERROR_MESSAGE, b"").rstrip(b"\0").decode()
    return NetlinkError(-code, words or os.strerror(-code))
