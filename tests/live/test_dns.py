"""Names, asked from inside containers' namespaces."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode
import pytest

from krater.agent.names import Records
from krater.agent.vif.dns import NameServer
from krater.agent.vif.native import NativeVif
from tests.support.networks import card, instance_name
from tests.support.reach import inside

pytestmark = pytest.mark.live

RECORDS: Records = {
    "red": {"web": ("10.211.1.2", "fd4b:1::2")},
    "blue": {"secret": ("10.211.2.2",)},
}


class Node:
    """A node with a name server, which may be killed and started again."""

    def __init__(self, directory: Path) -> None:
        self._instance, self._directory = instance_name(), directory
        (directory / "resolv.conf").write_text("")

    async def start(self) -> None:
        self.names = NameServer("krater.test", self._directory / "resolv.conf", timeout=0.3)
        self.names.publish(RECORDS)
        self.vif = NativeVif(self._instance, self._directory / "n", names=self.names, linger=0.05)
        await self.vif.open()

    async def stop(self) -> None:
        await self.vif.close()

    async def plugged(self, sandbox: str, **wanted: object) -> str:
        path = await self.vif.make_sandbox(sandbox)
        await self.vif.plug(sandbox, card(**wanted))  # type: ignore[arg-type]
        return path


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    made = Node(tmp_path)
    await made.start()
    yield made
    for sandbox in await made.vif.sandboxes():
        await made.vif.remove_sandbox(sandbox)
    await made.stop()


async def answers(path: str, name: str, gateway: str = "10.211.1.1", kind: str = "A") -> list[str] | str | None:
    """The addresses told, the error told, or None when nothing is."""

    def ask() -> dns.message.Message:
        return dns.query.udp(dns.message.make_query(name, kind), gateway, timeout=0.5)

    try:
        response = await asyncio.to_thread(inside, path, ask)
    except (dns.exception.Timeout, OSError):
        return None
    if response.rcode() != dns.rcode.NOERROR:
        return str(dns.rcode.to_text(response.rcode()))
    return [record.to_text() for rrset in response.answer for record in rrset]


async def test_names_are_answered_when_plug_returns(node: Node) -> None:
    path = await node.plugged("one", number=3, ipv6=True)
    assert await answers(path, "web") == ["10.211.1.2"]
    assert await answers(path, "WEB.krater.test", kind="AAAA") == ["fd4b:1::2"]
    assert await answers(path, "web", "fd4b:1::1") == ["10.211.1.2"]
    assert await answers(path, "nobody") == "NXDOMAIN"
    assert await answers(path, "example.org") == "SERVFAIL"


async def test_connections_are_answered_too(node: Node) -> None:
    path = await node.plugged("one", number=3)

    def ask() -> dns.message.Message:
        return dns.query.tcp(dns.message.make_query("web", "A"), "10.211.1.1", timeout=1)

    response = await asyncio.to_thread(inside, path, ask)
    assert response.answer[0][0].to_text() == "10.211.1.2"


async def test_a_network_hears_nothing_of_anothers_names(node: Node) -> None:
    red = await node.plugged("one", number=3)
    blue = await node.plugged("two", number=3, network="blue", third=2)
    assert await answers(blue, "secret", "10.211.2.1") == ["10.211.2.2"]
    assert await answers(red, "secret") == "NXDOMAIN"
    assert await answers(red, "secret", "10.211.2.1") is None, "another network's server is out of reach"


async def test_an_internal_network_resolves_its_own_names_only(node: Node) -> None:
    path = await node.plugged("one", number=3, internal=True)
    assert await answers(path, "web") == ["10.211.1.2"]
    assert await answers(path, "example.org") == "REFUSED"


async def test_names_are_answered_again_after_a_restart(node: Node) -> None:
    path = await node.plugged("one", number=3)
    await node.stop()
    assert await answers(path, "web") is None
    await node.start()
    assert await answers(path, "web") == ["10.211.1.2"]


async def test_a_network_that_comes_back_is_answered_again(node: Node) -> None:
    for turn in range(3):
        path = await node.plugged(f"s{turn}", number=3)
        assert await answers(path, "web") == ["10.211.1.2"]
        await node.vif.remove_sandbox(f"s{turn}")
        await asyncio.sleep(0.2 * turn)
    path = await node.plugged("last", number=3)
    assert await answers(path, "web") == ["10.211.1.2"]
