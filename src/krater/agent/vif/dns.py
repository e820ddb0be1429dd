"""A small name server on each network's gateway: the network's own names, and the host's resolvers for the rest.

A socket is bound to the address *and* the bridge, so no other network can ask it. Tenants share the agent's event loop
here, hence the bounds: queries a second (what comes faster stays in the kernel's buffer and is lost there), questions
asked elsewhere at a time, connections, and how long each may take.
"""

import asyncio
import contextlib
import logging
import socket
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.rcode

from krater.agent.names import Records
from krater.agent.vif.answers import Zone, answer, refusal, wire
from krater.agent.vif.forwarding import Forwarder

log = logging.getLogger(__name__)

_LONGEST_QUERY = 4096
_QUERIES_A_SECOND = 500
_READ_AT_ONCE = 32
_RECEIVED = 64 * 1024  # about a hundred queries: a flood delays the others by no more than that
_REST = 0.05
_FORWARDED_AT_ONCE = 64
_CONNECTIONS = 16
_CONNECTION_PATIENCE = 10.0
_FREEBIND = 15


@dataclass(slots=True)
class _Listening:
    """What one network has open, and what it may still ask."""

    network: str
    forwards: bool
    datagrams: list[socket.socket] = field(default_factory=list)
    servers: list[asyncio.Server] = field(default_factory=list)
    addresses: frozenset[str] = frozenset()
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    forwarding: int = 0
    connections: int = 0
    budget: float = _QUERIES_A_SECOND
    refilled_at: float = 0.0


class NameServer:
    """The name servers of all networks on this node.

    Names answer bare and under `domain`. `resolvers` is read for where to ask the rest; `timeout` is for each of them.
    """

    def __init__(
        self,
        domain: str = "",
        resolvers: Path = Path("/etc/resolv.conf"),
        timeout: float = 2.0,
        port: int = 53,
        resolver_port: int = 53,
    ) -> None:
        self._domain = domain.strip(".").lower()
        self._port = port
        self._zones: dict[str, Zone] = {}
        self._open: dict[str, _Listening] = {}
        self._forwarder = Forwarder(resolvers, self._is_own, timeout, resolver_port)

    def publish(self, records: Records) -> None:
        """Answer from these names from now on."""
        self._zones = {network: Zone(names) for network, names in records.items()}

    async def listen(self, network: str, device: str, addresses: tuple[str, ...], forwards: bool = True) -> None:
        """Answer on these addresses of that device only. Raises OSError when one cannot be had.

        Without `forwards` nobody else is asked: names are a way out too, and an internal network has none.
        """
        await self.close(network)
        here = _Listening(network, forwards, addresses=frozenset(addresses))
        self._open[network] = here
        try:
            for address in addresses:
                here.datagrams.append(self._socket(socket.SOCK_DGRAM, device, address))
                stream = self._socket(socket.SOCK_STREAM, device, address)
                here.servers.append(await asyncio.start_server(lambda r, w: self._converse(here, r, w), sock=stream))
        except OSError:
            await self.close(network)
            raise
        for datagrams in here.datagrams:
            asyncio.get_running_loop().add_reader(datagrams, self._read, here, datagrams)

    async def close(self, network: str) -> None:
        """Answer for that network no longer."""
        here = self._open.pop(network, None)
        if here is None:
            return
        for server in here.servers:
            server.close()
        for task in list(here.tasks):
            task.cancel()
        for datagrams in here.datagrams:
            asyncio.get_running_loop().remove_reader(datagrams)
            datagrams.close()

    async def close_all(self) -> None:
        """Answer nobody any longer."""
        for network in list(self._open):
            await self.close(network)

    def _is_own(self, address: str) -> bool:
        return any(address in here.addresses for here in self._open.values())

    def _socket(self, kind: socket.SocketKind, device: str, address: str) -> socket.socket:
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind | socket.SOCK_CLOEXEC)
        try:
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")
            made.setsockopt(socket.IPPROTO_IP, _FREEBIND, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVED)
            made.bind((address, self._port))
        except OSError:
            made.close()
            raise
        return made

    def _read(self, here: _Listening, datagrams: socket.socket) -> None:
        """Take what came, and rest when it was more than a network's share."""
        for _ in range(_READ_AT_ONCE):
            if not _has_budget(here):
                self._rest(here, datagrams)
                return
            try:
                query, asker = datagrams.recvfrom(_LONGEST_QUERY + 1)
            except BlockingIOError:
                return
            except OSError as error:  # an ICMP error about an answer that found nobody
                log.debug("a socket of network %s reported %s", here.network, error)
                continue
            here.budget -= 1
            self._take_datagram(here, datagrams, query, asker)

    def _rest(self, here: _Listening, datagrams: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(datagrams)

        def wake() -> None:
            if self._open.get(here.network) is here:
                loop.add_reader(datagrams, self._read, here, datagrams)

        loop.call_later(_REST, wake)

    def _take_datagram(self, here: _Listening, datagrams: socket.socket, query: bytes, asker: tuple[str, int]) -> None:
        parsed = _parsed(query)
        if parsed is None:
            return
        response = self._own_answer(here, parsed)
        if response is not None:
            _send(datagrams, wire(parsed, response, is_udp=True), asker)
            return

        async def forward() -> None:
            _send(datagrams, await self._foreign_answer(here, parsed, query, is_udp=True), asker)

        task = asyncio.create_task(forward())
        here.tasks.add(task)
        task.add_done_callback(here.tasks.discard)

    async def _converse(self, here: _Listening, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Queries on a connection, one after the other."""
        task = asyncio.current_task()
        if task is None or here.connections >= _CONNECTIONS:
            writer.close()
            return
        here.connections += 1
        here.tasks.add(task)
        try:
            # A connection that breaks, lingers or talks nonsense ends; its client knows what that means.
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(_CONNECTION_PATIENCE):
                    while await self._exchange(here, reader, writer):
                        pass
        finally:
            here.connections -= 1
            here.tasks.discard(task)
            writer.close()

    async def _exchange(self, here: _Listening, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One query and its answer. False when the connection should end."""
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        if size > _LONGEST_QUERY or not _has_budget(here):
            return False
        here.budget -= 1
        query = await reader.readexactly(size)
        parsed = _parsed(query)
        if parsed is None:
            return False
        response = self._own_answer(here, parsed)
        if response is not None:
            answered = wire(parsed, response, is_udp=False)
        else:
            answered = await self._foreign_answer(here, parsed, query, is_udp=False)
        writer.write(struct.pack("!H", len(answered)) + answered)
        await writer.drain()
        return True

    def _own_answer(self, here: _Listening, query: dns.message.Message) -> dns.message.Message | None:
        return answer(query, self._zones.get(here.network) or Zone({}), self._domain)

    async def _foreign_answer(self, here: _Listening, parsed: dns.message.Message, query: bytes, is_udp: bool) -> bytes:
        if not here.forwards:
            return wire(parsed, refusal(parsed, dns.rcode.REFUSED), is_udp)
        if here.forwarding >= _FORWARDED_AT_ONCE:
            return wire(parsed, refusal(parsed, dns.rcode.SERVFAIL), is_udp)
        here.forwarding += 1
        try:
            found = await self._forwarder.ask(query, is_udp)
        finally:
            here.forwarding -= 1
        return found or wire(parsed, refusal(parsed, dns.rcode.SERVFAIL), is_udp)


def _parsed(query: bytes) -> dns.message.Message | None:
    """The query; None when it is none, which deserves no answer."""
    if not 12 <= len(query) <= _LONGEST_QUERY:
        return None
    try:
        parsed = dns.message.from_wire(query)
    except (dns.exception.DNSException, ValueError, struct.error):
        return None
    return None if parsed.flags & dns.flags.QR else parsed


def _send(datagrams: socket.socket, answered: bytes, asker: tuple[str, int]) -> None:
    # A full buffer or a vanished asker: the asker asks again, as with any lost datagram.
    with contextlib.suppress(OSError):
        datagrams.sendto(answered, asker)


def _has_budget(here: _Listening) -> bool:
    """Whether something is left of the network's share of a second."""
    now = time.monotonic()
    grown = here.budget + (now - here.refilled_at) * _QUERIES_A_SECOND
    here.budget, here.refilled_at = min(grown, _QUERIES_A_SECOND), now
    return here.budget >= 1
