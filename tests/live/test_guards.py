"""What a card may say of itself: forged packets of every kind, on the kernel."""

import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from krater.agent.vif import links
from krater.agent.vif.native import NativeVif
from krater.agent.vif.netlink import Netlink
from krater.model.network import Nic
from krater.model.security import Direction, GroupRules, SecurityRule
from tests.support.networks import card, has_guards, instance_name, nft
from tests.support.reach import asks, inside, listening, pings

pytestmark = pytest.mark.live

OPEN = GroupRules("open", tuple(SecurityRule(f"{d}{v}", d, v) for d in Direction for v in (4, 6)))
SAME = GroupRules(
    "same",
    tuple(SecurityRule(f"out{v}", Direction.EGRESS, v) for v in (4, 6))
    + tuple(SecurityRule(f"in{v}", Direction.INGRESS, v, remote_group="same") for v in (4, 6)),
)
OTHERS = GroupRules("others", tuple(SecurityRule(f"out{v}", Direction.EGRESS, v) for v in (4, 6)))


@pytest.fixture
def instance() -> str:
    return instance_name()


@pytest.fixture
async def vif(instance: str, tmp_path: Path) -> AsyncIterator[NativeVif]:
    made = NativeVif(instance, tmp_path / "n", pool_size=1, linger=0.1)
    await made.open()
    await made.guard([OPEN, SAME, OTHERS], [], is_all=True)
    yield made
    for sandbox in await made.sandboxes():
        await made.remove_sandbox(sandbox)
    await made.close()
    assert not has_guards(instance)


async def plugged(vif: NativeVif, nic: Nic) -> str:
    path = await vif.make_sandbox(nic.port)
    await vif.plug(nic.port, nic)
    return path


def frame(target: str, source: str, kind: int, body: bytes) -> bytes:
    return bytes.fromhex(target.replace(":", "") + source.replace(":", "")) + struct.pack("!H", kind) + body


def udp4(source: str, target: str) -> bytes:
    payload = struct.pack("!HHHH", 4000, 4001, 13, 0) + b"forge"
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, 17, 0,
                       socket.inet_aton(source), socket.inet_aton(target))  # fmt: skip
    total = sum(struct.unpack("!10H", head))
    total = (total >> 16) + (total & 0xFFFF)
    return head[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[12:] + payload


def arp(mac: str, address: str, target: str) -> bytes:
    hardware = bytes.fromhex(mac.replace(":", ""))
    return struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 2, hardware, socket.inet_aton(address), b"\xff" * 6,
                       socket.inet_aton(target))  # fmt: skip


def says(here: str, there: str, sent: bytes) -> bool:
    """Whether a frame that one sends raw is seen by the other's card."""

    def listen() -> socket.socket:
        ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        ear.bind(("eth0", 0))
        ear.settimeout(0.4)
        return ear

    def speak() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as mouth:
            mouth.bind(("eth0", 0))
            mouth.send(sent)

    with inside(there, listen) as ear:
        inside(here, speak)
        try:
            while True:
                heard = ear.recv(2048)
                if heard[12 : len(sent)] == sent[12:]:
                    return True
        except TimeoutError:
            return False


async def test_a_card_speaks_as_itself_and_as_nobody_else(vif: NativeVif) -> None:
    one, two = card(2, groups=("open",)), card(3, groups=("open",))
    here, there = await plugged(vif, one), await plugged(vif, two)
    mine, theirs, wrong = one.mac, two.mac, "02:d3:01:00:00:77"
    assert says(here, there, frame(theirs, mine, 0x800, udp4("10.211.1.2", "10.211.1.3")))
    assert says(here, there, frame("ff:ff:ff:ff:ff:ff", mine, 0x806, arp(mine, "10.211.1.2", "10.211.1.3")))
    forged = {
        "another address": frame(theirs, mine, 0x800, udp4("10.211.1.9", "10.211.1.3")),
        "the gateway's address": frame(theirs, mine, 0x800, udp4("10.211.1.1", "10.211.1.3")),
        "another MAC": frame(theirs, wrong, 0x800, udp4("10.211.1.2", "10.211.1.3")),
        "ARP for the gateway": frame(theirs, mine, 0x806, arp(mine, "10.211.1.1", "10.211.1.3")),
        "ARP with another MAC in it": frame(theirs, mine, 0x806, arp(wrong, "10.211.1.2", "10.211.1.3")),
        "ARP from another MAC": frame(theirs, wrong, 0x806, arp(mine, "10.211.1.2", "10.211.1.3")),
        "a tagged frame": frame(theirs, mine, 0x8100, struct.pack("!HH", 5, 0x800) + udp4("10.211.1.2", "10.211.1.3")),
        "another protocol": frame(theirs, mine, 0x88CC, b"\0" * 50),
        "a broadcast": frame("ff:ff:ff:ff:ff:ff", mine, 0x800, udp4("10.211.1.2", "10.211.1.255")),
        "IPv6 without an address of it": frame(theirs, mine, 0x86DD, b"\x60" + b"\0" * 60),
    }
    for what, sent in forged.items():
        assert not says(here, there, sent), what


async def test_ipv6_is_judged_like_ipv4_with_its_own_addresses(vif: NativeVif) -> None:
    one, two = (card(number, ipv6=True, groups=("same",)) for number in (2, 3))
    other = card(4, ipv6=True, groups=("others",))
    here, there, stranger = [await plugged(vif, nic) for nic in (one, two, other)]
    assert pings(here, "fd4b:1::3", 1)
    assert pings(here, "fd4b:1::1", 1), "the gateway is everybody's"
    with listening(there, "fd4b:1::3", 8080):
        assert asks(here, "fd4b:1::3", 8080) == "fd4b:1::2"
        assert asks(stranger, "fd4b:1::3", 8080, 0.4) is None
    assert not pings(stranger, "fd4b:1::3", 0.4)

    def lie() -> None:
        with Netlink() as inner:
            index = links.read_link(inner.get(links.link_named("eth0"))).index
            inner.do(links.new_address(index, "fd4b:1::99", 64))

    inside(here, lie)
    with listening(there, "fd4b:1::3", 8080):
        assert asks(here, "fd4b:1::3", 8080, 0.4, source="fd4b:1::99") is None
        assert asks(here, "fd4b:1::3", 8080, source="fd4b:1::2") == "fd4b:1::2"


async def test_a_card_with_two_networks_is_judged_on_each(vif: NativeVif) -> None:
    one = card(2, groups=("same",))
    back = card(2, "blue", 2, name="eth1", groups=("same",))
    path = await plugged(vif, one)
    await vif.plug(one.port, back)
    peer = await plugged(vif, card(3, "blue", 2, groups=("same",)))
    stranger = await plugged(vif, card(4, "blue", 2, groups=("others",)))
    assert pings(peer, "10.211.2.2")
    assert not pings(stranger, "10.211.2.2", 0.3)
    assert pings(path, "10.211.2.4", 0.3) is False
    await vif.unplug(one.port, one.port)
    assert pings(peer, "10.211.2.2"), "the other card stays as it was"


async def test_the_default_route_passes_to_the_card_that_stays(vif: NativeVif) -> None:
    one, back = card(2), card(2, "blue", 2, name="eth1")
    path = await plugged(vif, one)
    await vif.plug(one.port, back)

    def defaults() -> list[str]:
        lines = Path("/proc/thread-self/net/route").read_text().splitlines()[1:]
        routes = sorted((int(line.split()[6]), line.split()[0]) for line in lines if line.split()[1] == "00000000")
        return [device for _, device in routes]

    assert inside(path, defaults) == ["eth0", "eth1"]
    await vif.unplug(one.port, one.port)
    assert inside(path, defaults) == ["eth1"]
    assert pings(path, "10.211.2.1")


async def test_tables_that_somebody_else_removed_come_back(vif: NativeVif, instance: str) -> None:
    one, other = card(2, groups=("same",)), card(3, groups=("others",))
    await plugged(vif, one)
    path = await plugged(vif, other)
    for line in nft("list tables").splitlines():
        if instance in line and line.endswith("_groups"):
            nft(f"delete {line}")
    assert pings(path, "10.211.1.2", 0.3)
    await vif.guard([SAME, OTHERS], [one, other], is_all=True)
    assert not pings(path, "10.211.1.2", 0.3)
    for line in nft("list tables").splitlines():
        if instance in line and line.endswith("_groups"):
            nft(f"delete {line}")
    await plugged(vif, replace(card(4), groups=("same",)))
    assert not pings(path, "10.211.1.2", 0.3), "the next change of any card mends it too"
