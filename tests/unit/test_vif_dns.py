"""What the name server of a network says, and what it does about packets that are none."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.reversename
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from krater.agent.vif import dns as nameserver
from krater.agent.vif.answers import Zone, answer, wire
from krater.agent.vif.dns import NameServer
from krater.agent.vif.forwarding import read_resolvers

ZONE = Zone({"web": ("10.0.0.2", "fd00::2"), "id-of-web": ("10.0.0.2",), "db": ("10.0.0.3",), "a.b": ("10.0.0.4",)})


def said(name: str, kind: str = "A", domain: str = "krater.test") -> dns.message.Message | None:
    return answer(dns.message.make_query(name, kind), ZONE, domain)


def values(response: dns.message.Message | None) -> list[str]:
    assert response is not None
    return [record.to_text() for rrset in response.answer for record in rrset]


@pytest.mark.parametrize("name", ["web", "WEB", "web.krater.test", "Web.Krater.Test."])
def test_a_name_is_answered_bare_and_under_the_domain_in_any_case(name: str) -> None:
    assert values(said(name)) == ["10.0.0.2"]
    assert values(said(name, "AAAA")) == ["fd00::2"]


@pytest.mark.parametrize(("name", "kind"), [("db", "AAAA"), ("web", "MX"), ("web", "HTTPS")])
def test_a_name_without_such_a_record_exists_all_the_same(name: str, kind: str) -> None:
    response = said(name, kind)
    assert response is not None
    assert response.rcode() == dns.rcode.NOERROR
    assert values(response) == []


@pytest.mark.parametrize("name", ["nobody", "nobody.krater.test"])
def test_nobodys_name_does_not_exist(name: str) -> None:
    response = said(name)
    assert response is not None
    assert response.rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("name", ["example.org", "a.b", "web.example.org", "krater.test"])
def test_the_worlds_names_are_not_ours_even_when_a_container_claims_one(name: str) -> None:
    assert said(name) is None


def test_an_address_is_answered_by_the_shortest_name() -> None:
    assert values(said("2.0.0.10.in-addr.arpa", "PTR")) == ["web.krater.test."]
    assert values(said(dns.reversename.from_address("fd00::2").to_text(), "PTR")) == ["web.krater.test."]
    assert said("9.0.0.10.in-addr.arpa", "PTR") is None
    assert said("nonsense.in-addr.arpa", "PTR") is None


@pytest.mark.parametrize("opcode", [dns.opcode.NOTIFY, dns.opcode.STATUS])
def test_other_operations_are_not_implemented(opcode: dns.opcode.Opcode) -> None:
    query = dns.message.make_query("web", "A")
    query.set_opcode(opcode)
    response = answer(query, ZONE, "")
    assert response is not None
    assert response.rcode() == dns.rcode.NOTIMP


def test_other_classes_are_refused() -> None:
    response = answer(dns.message.make_query("version.bind", "TXT", "CH"), ZONE, "")
    assert response is not None
    assert response.rcode() == dns.rcode.REFUSED


def test_an_answer_too_long_for_a_datagram_says_that_it_is_cut() -> None:
    zone = Zone({"many": tuple(f"10.0.{n // 250}.{n % 250}" for n in range(400))})
    query = dns.message.make_query("many", "A")
    response = answer(query, zone, "")
    assert response is not None
    cut = dns.message.from_wire(wire(query, response, is_udp=True))
    assert cut.flags & dns.flags.TC
    assert len(dns.message.from_wire(wire(query, response, is_udp=False)).answer[0]) == 400


def test_resolvers_are_read_from_the_hosts_configuration(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("# nameserver 1.1.1.1\nnameserver 192.0.2.1\nsearch a b\nnameserver bad\nnameserver fd00::1\n")
    assert read_resolvers(path) == ("192.0.2.1", "fd00::1")
    assert read_resolvers(tmp_path / "none") == ()


# --- the server, on loopback ---------------------------------------------------------------------------------------

HERE, UPSTREAM = "127.0.0.77", "127.0.0.78"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
async def server(tmp_path: Path, port: int) -> AsyncIterator[NameServer]:
    """A name server whose host has one resolver, on the same port of another address."""
    (tmp_path / "resolv.conf").write_text(f"nameserver {HERE}\nnameserver {UPSTREAM}\n")
    made = NameServer("krater.test", tmp_path / "resolv.conf", timeout=0.3, port=port, resolver_port=port)
    made.publish({"red": {"web": ("10.0.0.2",)}, "blue": {"secret": ("10.0.1.2",)}})
    await made.listen("red", "lo", (HERE,))
    yield made
    await made.close_all()


class Resolver(asyncio.DatagramProtocol):
    """The world: every name is 192.0.2.80, or what `reply` makes of the query."""

    def __init__(self, reply: Callable[[bytes], list[bytes]] | None = None) -> None:
        self.reply = reply or (lambda query: [resolved(query)])
        self.asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked += 1
        for answered in self.reply(data):
            self.transport.sendto(answered, addr)


def resolved(query: bytes) -> bytes:
    response = dns.message.make_response(dns.message.from_wire(query))
    response.answer.append(dns.rrset.from_text(response.question[0].name, 60, "IN", "A", "192.0.2.80"))
    return response.to_wire()


@pytest.fixture
async def upstream(port: int) -> AsyncIterator[Resolver]:
    transport, made = await asyncio.get_running_loop().create_datagram_endpoint(Resolver, local_addr=(UPSTREAM, port))
    yield made
    transport.close()


async def asked(port: int, name: str, kind: str = "A", timeout: float = 3) -> dns.message.Message:
    return await dns.asyncquery.udp(dns.message.make_query(name, kind), HERE, timeout=timeout, port=port)


async def test_it_answers_by_datagram_and_by_connection(server: NameServer, port: int) -> None:
    assert values(await asked(port, "web")) == ["10.0.0.2"]
    query = dns.message.make_query("web.krater.test", "A")
    assert values(await dns.asyncquery.tcp(query, HERE, timeout=3, port=port)) == ["10.0.0.2"]


async def test_what_is_published_is_answered_at_once(server: NameServer, port: int) -> None:
    server.publish({"red": {"new": ("10.0.0.9",)}})
    assert values(await asked(port, "new")) == ["10.0.0.9"]
    assert (await asked(port, "web")).rcode() == dns.rcode.NXDOMAIN


async def test_names_of_other_networks_are_unknown(server: NameServer, port: int) -> None:
    assert (await asked(port, "secret")).rcode() == dns.rcode.NXDOMAIN


async def test_the_worlds_names_are_asked_of_the_hosts_resolvers(
    server: NameServer, upstream: Resolver, port: int
) -> None:
    assert values(await asked(port, "example.org")) == ["192.0.2.80"]
    assert (await asked(port, "nobody")).rcode() == dns.rcode.NXDOMAIN
    assert upstream.asked == 1, "names of one label stay here"


async def test_a_silent_resolver_costs_its_time_and_no_more(server: NameServer, port: int) -> None:
    async with asyncio.timeout(2):
        assert (await asked(port, "example.org")).rcode() == dns.rcode.SERVFAIL


async def test_without_resolvers_the_failure_is_immediate(server: NameServer, port: int, tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text(f"nameserver {HERE}\n")
    async with asyncio.timeout(0.2):
        assert (await asked(port, "example.org")).rcode() == dns.rcode.SERVFAIL


async def test_an_internal_network_asks_nobody(server: NameServer, upstream: Resolver, port: int) -> None:
    await server.listen("red", "lo", (HERE,), forwards=False)
    assert (await asked(port, "example.org")).rcode() == dns.rcode.REFUSED
    assert values(await asked(port, "web")) == ["10.0.0.2"]
    assert upstream.asked == 0


async def test_an_answer_to_another_question_is_not_passed_on(
    server: NameServer, upstream: Resolver, port: int
) -> None:
    def forged(query: bytes) -> list[bytes]:
        other = dns.message.make_query("evil.example", "A", id=int.from_bytes(query[:2], "big")).to_wire()
        return [b"", b"x", b"\0\0" + resolved(query)[2:], query, resolved(other)]

    upstream.reply = forged
    assert (await asked(port, "example.org")).rcode() == dns.rcode.SERVFAIL


async def test_nonsense_gets_no_answer_and_does_no_harm(
    server: NameServer, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(4)
    good = dns.message.make_query("web", "A").to_wire()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as liar:
        liar.setblocking(False)
        for _ in range(150):
            mangled = bytearray(good)
            for _ in range(chance.randint(1, 6)):
                mangled[chance.randrange(len(mangled))] = chance.randrange(256)
            mangled[2] |= 0x80 if chance.random() < 0.3 else 0
            for packet in (bytes(mangled[: chance.randint(0, len(mangled))]), chance.randbytes(40)):
                with contextlib.suppress(BlockingIOError):
                    liar.sendto(packet, (HERE, port))
        liar.sendto(b"\0" * 5000, (HERE, port))
        await asyncio.sleep(0.2)
    assert values(await asked(port, "web")) == ["10.0.0.2"]
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


@given(st.binary(max_size=120))
def test_any_bytes_are_a_query_or_not_and_never_a_fault(packet: bytes) -> None:
    parsed = nameserver._parsed(packet)
    if parsed is not None:
        response = answer(parsed, ZONE, "krater.test")
        if response is not None:
            wire(parsed, response, is_udp=True)


@given(st.binary(min_size=1, max_size=3), st.integers(0, 60), st.integers(0, 15))
def test_a_mangled_query_is_answered_or_not_and_never_a_fault(patch: bytes, place: int, opcode: int) -> None:
    query = dns.message.make_query("2.0.0.10.in-addr.arpa", "PTR", use_edns=0)
    mangled = bytearray(query.to_wire())
    mangled[2] = (mangled[2] & 0x87) | (opcode << 3)
    mangled[place : place + len(patch)] = patch
    test_any_bytes_are_a_query_or_not_and_never_a_fault.hypothesis.inner_test(bytes(mangled))  # type: ignore[attr-defined]


async def test_a_flood_is_bounded_and_soon_forgotten(server: NameServer, port: int) -> None:
    flood = dns.message.make_query("web", "A").to_wire()
    answers = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.setblocking(False)
        until = asyncio.get_running_loop().time() + 0.5
        while asyncio.get_running_loop().time() < until:
            for _ in range(100):
                with contextlib.suppress(BlockingIOError):
                    asker.sendto(flood, (HERE, port))
            await asyncio.sleep(0.001)
            with contextlib.suppress(BlockingIOError):
                while asker.recv(512):
                    answers += 1
    assert 0 < answers < 1000
    await asyncio.sleep(0.5)
    assert values(await asked(port, "web")) == ["10.0.0.2"]


async def test_connections_are_bounded(server: NameServer, port: int) -> None:
    opened = [await asyncio.open_connection(HERE, port) for _ in range(40)]
    await asyncio.sleep(0.1)
    ended = [reader.at_eof() for reader, _ in opened]
    assert sum(not over for over in ended) <= 16
    for _, writer in opened:
        writer.close()
    await asyncio.sleep(0.1)
    query = dns.message.make_query("web", "A")
    assert values(await dns.asyncquery.tcp(query, HERE, timeout=3, port=port)) == ["10.0.0.2"]


async def test_a_closed_network_is_silent_and_may_open_again(server: NameServer, port: int) -> None:
    await server.close("red")
    await server.close("red")
    with pytest.raises((OSError, dns.exception.Timeout)):
        await asked(port, "web", timeout=0.2)
    await server.listen("red", "lo", (HERE,))
    assert values(await asked(port, "web")) == ["10.0.0.2"]


async def test_an_address_that_is_taken_is_an_error_and_leaves_nothing_open(server: NameServer, port: int) -> None:
    with pytest.raises(OSError, match="in use"):
        await server.listen("blue", "lo", ("127.0.0.79", HERE))
    await server.listen("blue", "lo", ("127.0.0.79",))
