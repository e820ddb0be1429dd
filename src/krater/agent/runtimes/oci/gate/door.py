"""The proxy that our containerd asks for every connection: a listener in its namespace, threads of ours behind it.

Go speaks to loopback addresses without asking a proxy. Where the operator allows a registry there, a listener at the
same address and port in the namespace leads to it for as long as something is pulled from it; all others lead nowhere.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import BoundedSemaphore, Lock, Thread
from typing import Final
from urllib.parse import urlsplit

import structlog

from krater.agent.runtimes.oci.gate.relay import relay
from krater.agent.runtimes.oci.gate.space import listen_in_space_of
from krater.outgoing import DIRECT, Refused, Unreachable, Ways

ADDRESS: Final = "127.42.0.1"
PORT: Final = 3128
URL: Final = f"http://{ADDRESS}:{PORT}"
REFUSED: Final = "krater-refused"
UNREACHABLE: Final = "krater-unreachable"
AT_ONCE: Final = 256
HEAD_WITHIN: Final = 30.0
_LONGEST_HEAD: Final = 64 * 1024
_DROPPED: Final = (b"connection", b"proxy-connection", b"proxy-authorization", b"keep-alive", b"upgrade")

log = structlog.get_logger()

Serve = Callable[[socket.socket], None]
_Place = tuple[int, str, int]


class Door:
    """Serves what comes in at listening sockets, each connection on a thread; at most so many at once."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self._room = BoundedSemaphore(AT_ONCE)

    def open(self, listener: socket.socket) -> None:
        """Be the proxy there, until the socket is shut down."""
        self._start(listener, self._serve)

    def lead(self, listener: socket.socket, host: str, port: int) -> None:
        """Lead whoever comes to one place."""

        def serve(client: socket.socket) -> None:
            with suppress(Refused, Unreachable), self._ways.connect(host, port, DIRECT) as upstream:
                relay(client, upstream)

        self._start(listener, serve)

    def _start(self, listener: socket.socket, serve: Serve) -> None:
        Thread(target=self._accept, args=(listener, serve), name="registry-door", daemon=True).start()

    def _accept(self, listener: socket.socket, serve: Serve) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._room.acquire()
            Thread(target=self._handle, args=(client, serve), name="registry-way", daemon=True).start()

    def _handle(self, client: socket.socket, serve: Serve) -> None:
        try:
            with client:
                client.settimeout(HEAD_WITHIN)
                serve(client)
        except (OSError, ValueError):
            pass  # it went away, or speaks no HTTP
        finally:
            self._room.release()

    def _serve(self, client: socket.socket) -> None:
        """One request: a tunnel (CONNECT), or one of plain HTTP with the whole URL."""
        head, rest = _read_head(client)
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        tunnel = method == "CONNECT"
        try:
            parts = urlsplit(f"//{target}" if tunnel else target)
            if not parts.hostname or (not tunnel and parts.scheme != "http"):
                raise Refused("this is a proxy")
            port = parts.port or 80
            upstream = self._ways.connect(parts.hostname, port, "https" if tunnel else "http")
        except (Refused, Unreachable, ValueError) as error:
            _decline(client, error)
            return
        with upstream:
            if tunnel:
                client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                upstream.sendall(rest)
                relay(client, upstream)
            else:
                path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
                _pass_on(client, upstream, f"{method} {path} HTTP/1.1".encode("latin-1"), head, rest)


def _read_head(client: socket.socket) -> tuple[bytes, bytes]:
    """A request's head without the empty line after it, and what came behind it."""
    read = b""
    while b"\r\n\r\n" not in read:
        piece = client.recv(16384)
        if not piece or len(read) > _LONGEST_HEAD:
            raise ValueError("no request")
        read += piece
    head, _, rest = read.partition(b"\r\n\r\n")
    return head, rest


def _pass_on(client: socket.socket, upstream: socket.socket, first: bytes, head: bytes, rest: bytes) -> None:
    """One request and its answer. Another one on this connection may be for another host, so none is passed on."""
    lines, length = [first], 0
    for line in head.split(b"\r\n")[1:]:
        name = line.partition(b":")[0].strip().lower()
        if name == b"transfer-encoding":
            raise ValueError("a body without a length")
        if name == b"content-length":
            length = int(line.partition(b":")[2])
        if name not in _DROPPED:
            lines.append(line)
    upstream.sendall(b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + rest[:length])
    left = length - len(rest)
    while left > 0:
        piece = client.recv(min(left, 65536))
        if not piece:
            raise ValueError("the body ends early")
        upstream.sendall(piece)
        left -= len(piece)
    answer, begun = _read_head(upstream)
    status, *fields = answer.split(b"\r\n")
    kept = [f for f in fields if f.partition(b":")[0].strip().lower() not in (b"connection", b"keep-alive")]
    client.sendall(b"\r\n".join([status, *kept, b"Connection: close"]) + b"\r\n\r\n" + begun)
    relay(client, upstream, both_ways=False)


def _decline(client: socket.socket, error: Exception) -> None:
    """containerd repeats the status line, and `images/pull.py` finds our word in it."""
    code, word = (403, REFUSED) if isinstance(error, Refused) else (502, UNREACHABLE)
    log.info("a registry led where nothing is asked", reason=str(error)[:200])
    client.sendall(f"HTTP/1.1 {code} {word}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())


class SideDoors:
    """Listeners for allowed registries on loopback addresses, while they are needed."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._lock = Lock()
        self._open: dict[_Place, tuple[socket.socket, int]] = {}

    @contextmanager
    def opened(self, pid: int, host: str, ports: tuple[int, ...]) -> Iterator[None]:
        """Have them lead from the addresses that `host` has in a process's namespace to where it is here."""
        addresses = ("127.0.0.1", "::1") if host == "localhost" else (host,)
        with ExitStack() as stack:
            for address in addresses:
                for port in ports:
                    stack.enter_context(self._one((pid, address, port)))
            yield

    @contextmanager
    def _one(self, key: _Place) -> Iterator[None]:
        with self._lock:
            listener, users = self._open.get(key) or (None, 0)
            if listener is None:
                with suppress(OSError):  # no IPv6 here, or our own port: then it leads nowhere
                    listener = listen_in_space_of(*key)
                    self._door.lead(listener, *key[1:])
            if listener is not None:
                self._open[key] = (listener, users + 1)
        try:
            yield
        finally:
            if listener is not None:
                self._release(key)

    def _release(self, key: _Place) -> None:
        with self._lock:
            listener, users = self._open[key]
            if users > 1:
                self._open[key] = (listener, users - 1)
                return
            del self._open[key]
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # `accept` ends
            listener.close()
