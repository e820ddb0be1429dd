"""Who reaches whom: small clients and servers that run on a thread inside a network namespace."""

import ctypes
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


def inside(path: str | None, work: Callable[[], T]) -> T:
    """Do it on a thread of its own in that namespace (here, when None); the thread ends with it."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            enter(path)
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return result.result(30)


def enter(path: str | None) -> None:
    """Have this thread in the namespace, for good."""
    if path is None:
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if _libc.setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(descriptor)


def pings(path: str | None, address: str, timeout: float = 0.5) -> bool:
    """Whether one ICMP echo comes back in time."""
    is_v6 = ":" in address
    family = socket.AF_INET6 if is_v6 else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if is_v6 else socket.IPPROTO_ICMP
    request, reply = (128, 129) if is_v6 else (8, 0)

    def work() -> bool:
        with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
            raw.settimeout(timeout)
            # An identity of its own: an echo that an earlier one let through is not what is asked.
            body = struct.pack("!BBHHH", request, 0, 0, int.from_bytes(os.urandom(2), "big"), 1) + os.urandom(8)
            if not is_v6:
                body = body[:2] + struct.pack("!H", _checksum(body)) + body[4:]
            try:
                raw.sendto(body, (address, 0))
                while True:
                    received, sender = raw.recvfrom(2048)
                    payload = received if is_v6 else received[20:]
                    if sender[0] == address and payload[0] == reply and payload[8:16] == body[8:16]:
                        return True
            except (TimeoutError, OSError):
                return False

    return inside(path, work)


def asks(path: str | None, address: str, port: int, timeout: float = 5.0, source: str = "") -> str | None:
    """Connect, and tell the address the server saw; None when there was no connection."""

    def work() -> str | None:
        try:
            with socket.create_connection(
                (address, port), timeout, source_address=(source, 0) if source else None
            ) as stream:
                return stream.recv(100).decode()
        except OSError:
            return None

    return inside(path, work)


@contextmanager
def listening(path: str | None, address: str, port: int) -> Iterator[None]:
    """A server inside that tells each client its address as seen from there."""

    def bind() -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        server = socket.socket(family, socket.SOCK_STREAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen(16)
        return server

    server = inside(path, bind)

    def serve() -> None:
        while True:
            try:
                client, peer = server.accept()
            except OSError:
                return
            with client:
                client.sendall(peer[0].encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


def _checksum(packet: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
