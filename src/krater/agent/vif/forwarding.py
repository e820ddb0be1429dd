"""Asking the host's resolvers what is not ours to answer. The bytes go through as they are, under a fresh id."""

import asyncio
import secrets
import struct
import time
from collections.abc import Callable
from pathlib import Path

import dns.exception
import dns.ipv4
import dns.ipv6

_READ_AGAIN_AFTER = 5.0
_RESOLVERS = 3


class Forwarder:
    """The resolvers of `/etc/resolv.conf`, one after the other. `is_own` tells addresses that would be ourselves."""

    def __init__(self, resolvers: Path, is_own: Callable[[str], bool], timeout: float, port: int = 53) -> None:
        self._path, self._is_own, self._timeout, self._port = resolvers, is_own, timeout, port
        self._known: tuple[str, ...] = ()
        self._read_at = float("-inf")

    async def ask(self, query: bytes, is_udp: bool) -> bytes | None:
        """The answer's bytes, with the id of the query; None when no resolver answers in time."""
        identity = secrets.token_bytes(2)
        asked = identity + query[2:]
        for resolver in await self._resolvers():
            send = self._by_udp if is_udp else self._by_tcp
            try:
                async with asyncio.timeout(self._timeout):
                    answer = await send(resolver, asked)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                continue
            if _is_answer(asked, answer):
                return query[:2] + answer[2:]
        return None

    async def _resolvers(self) -> tuple[str, ...]:
        if time.monotonic() - self._read_at > _READ_AGAIN_AFTER:
            self._read_at = time.monotonic()
            self._known = await asyncio.to_thread(read_resolvers, self._path)
        return tuple(one for one in self._known if not self._is_own(one))[:_RESOLVERS]

    async def _by_udp(self, resolver: str, query: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        transport, waiter = await loop.create_datagram_endpoint(
            lambda: _Waiter(query[:2]), remote_addr=(resolver, self._port)
        )
        try:
            transport.sendto(query)
            return await waiter.answer
        finally:
            transport.close()

    async def _by_tcp(self, resolver: str, query: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(resolver, self._port)
        try:
            writer.write(struct.pack("!H", len(query)) + query)
            (size,) = struct.unpack("!H", await reader.readexactly(2))
            return await reader.readexactly(size)
        finally:
            writer.close()


class _Waiter(asyncio.DatagramProtocol):
    """The first datagram with the right id, from the one address the socket is connected to."""

    def __init__(self, identity: bytes) -> None:
        self._identity = identity
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self.answer.done() and data[:2] == self._identity:
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


def read_resolvers(path: Path) -> tuple[str, ...]:
    """The name servers a resolver configuration names; none when there is no such file."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return ()
    words = (line.split() for line in lines)
    named = (found[1] for found in words if len(found) >= 2 and found[0] == "nameserver")
    return tuple(one for one in named if _is_address(one))


def _is_address(text: str) -> bool:
    try:
        dns.ipv6.inet_aton(text.partition("%")[0]) if ":" in text else dns.ipv4.inet_aton(text)
    except dns.exception.SyntaxError:
        return False
    return True


def _is_answer(query: bytes, answer: bytes) -> bool:
    """Whether these bytes answer that query: same id, a response, the same question."""
    if len(answer) < 12 or answer[:2] != query[:2] or not answer[2] & 0x80:
        return False
    if answer[4:6] == b"\0\0":  # an error may come without the question
        return True
    end = _end_of_question(query)
    return answer[12:end].lower() == query[12:end].lower()


def _end_of_question(query: bytes) -> int:
    """Where the question of a query that was parsed before ends."""
    at = 12
    while at < len(query) and query[at] != 0:
        at += query[at] + 1
    return at + 5
