"""Bytes from one connection to another and back, without passing through Python: the kernel moves them (splice)."""

import fcntl
import os
import select
import socket
import struct
from contextlib import suppress
from typing import Final

PIECE: Final = 1 << 20
IDLE: Final = 300.0
STUCK: Final = 60.0
_F_SETPIPE_SZ: Final = 1031


def relay(one: socket.socket, other: socket.socket, *, both_ways: bool = True) -> None:
    """Until both have said all, or nobody has said anything for long. With `both_ways` false only `other` is heard."""
    for end in (one, other):
        end.settimeout(None)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _seconds(STUCK))
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        _widen(writer)
        ways = {other.fileno(): one}
        if both_ways:
            ways[one.fileno()] = other
        _pump(ways, one, reader, writer)
    except OSError:
        pass  # one of them is gone: so is the connection
    finally:
        os.close(reader)
        os.close(writer)


def _pump(ways: dict[int, socket.socket], client: socket.socket, reader: int, writer: int) -> None:
    poll = select.poll()
    for source in ways:
        poll.register(source, select.POLLIN)
    if client.fileno() not in ways:
        poll.register(client, select.POLLRDHUP)
    while ways:
        ready = poll.poll(IDLE * 1000)
        if not ready:
            return
        for source, _ in ready:
            if source not in ways:
                return  # who is not listened to has left
            target = ways[source]
            moved = os.splice(source, writer, PIECE)
            if moved:
                _empty(reader, target, moved)
                continue
            poll.unregister(source)
            del ways[source]
            with suppress(OSError):
                target.shutdown(socket.SHUT_WR)


def _empty(reader: int, target: socket.socket, amount: int) -> None:
    while amount:
        amount -= os.splice(reader, target.fileno(), amount)


def _widen(pipe: int) -> None:
    """Fewer calls for the same bytes. What is not allowed is not needed."""
    with suppress(OSError):
        fcntl.fcntl(pipe, _F_SETPIPE_SZ, PIECE)


def _seconds(value: float) -> bytes:
    return struct.pack("ll", int(value), 0)
