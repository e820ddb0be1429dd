"""Packets through the native networks: who reaches whom, and who does not."""

import asyncio
import socket
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from krater.agent.vif import links
from krater.agent.vif.marks import Marks
from krater.agent.vif.namespaces import Namespaces
from krater.agent.vif.native import NativeVif
from krater.agent.vif.netlink import Netlink, Request
from krater.errors import Permanent
from krater.model.network import Address, Nic
from tests.support.networks import bridges_left, card, instance_name, links_left
from tests.support.reach import asks, inside, listening, pings

pytestmark = pytest.mark.live

ELSEWHERE, HERE = "198.51.100.2", "198.51.100.1"


@pytest.fixture
def instance() -> str:
    return instance_name()


@pytest.fixture
async def vif(instance: str, tmp_path: Path) -> AsyncIterator[NativeVif]:
    made = NativeVif(instance, tmp_path / "n", pool_size=2, linger=0.1)
    await made.open()
    yield made
    await emptied(made)


async def emptied(vif: NativeVif) -> None:
    for sandbox in await vif.sandboxes():
        await vif.remove_sandbox(sandbox)
    await vif.close()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    """The path of a namespace that is a host next to this one, with no route to any container."""
    spaces = Namespaces(tmp_path / "e")
    spaces.open()
    path = spaces.give(spaces.make(), "elsewhere")
    with Netlink() as kernel:
        with spaces.inside(path) as space, Netlink() as inner:
            kernel.do(links.new_veth("tkrelse", "eth0", "02:d3:ff:00:00:02", 1500, space))
            outer = links.read_link(kernel.get(links.link_named("tkrelse")))
            there = links.read_link(inner.get(links.link_named("eth0")))
            inner.do(links.link_up(there.index), links.new_address(there.index, ELSEWHERE, 24))
        kernel.do(links.link_up(outer.index), links.new_address(outer.index, HERE, 24))
        for _ in range(1000):
            if links.read_link(kernel.get(links.link_named("tkrelse"))).is_up:
                break
            time.sleep(0.001)
        yield path
        kernel.do(links.link_removed(outer.index))
    spaces.remove("elsewhere")
    spaces.close()


async def plugged(vif: NativeVif, sandbox: str, *nics: Nic) -> str:
    path = await vif.make_sandbox(sandbox)
    for nic in nics:
        await vif.plug(sandbox, nic)
    return path


async def test_an_address_answers_as_soon_as_plug_returns(vif: NativeVif) -> None:
    for number in range(2, 12):
        await plugged(vif, f"s{number}", card(number))
        assert pings(None, f"10.211.1.{number}", 0.05)


async def test_containers_reach_their_gateway_and_each_other(vif: NativeVif) -> None:
    one = await plugged(vif, "one", card(2))
    two = await plugged(vif, "two", card(3))
    assert pings(one, "10.211.1.1")
    assert pings(one, "10.211.1.3")
    with listening(two, "10.211.1.3", 8080):
        assert asks(one, "10.211.1.3", 8080) == "10.211.1.2"


async def test_networks_are_isolated_from_each_other(vif: NativeVif) -> None:
    red = await plugged(vif, "red", card(2))
    blue = await plugged(vif, "blue", card(2, "blue", 2))
    assert not pings(red, "10.211.2.2", 0.2)
    assert not pings(blue, "10.211.1.2", 0.2)
    with listening(blue, "10.211.2.2", 8080), listening(red, "10.211.1.2", 8080):
        assert asks(red, "10.211.2.2", 8080, 0.2) is None
        assert asks(blue, "10.211.1.2", 8080, 0.2) is None
        assert asks(None, "10.211.2.2", 8080) == "10.211.2.1"


async def test_instances_are_isolated_from_each_other(vif: NativeVif, tmp_path: Path) -> None:
    other = NativeVif(instance_name(), tmp_path / "o", pool_size=0, nat=False)
    await other.open()
    try:
        ours = await plugged(vif, "one", card(2))
        theirs = await plugged(other, "one", card(2, "blue", 2))
        assert not pings(ours, "10.211.2.2", 0.2)
        assert not pings(theirs, "10.211.1.2", 0.2)
        assert set(await vif.sandboxes()) == {"one"}
    finally:
        await emptied(other)


async def test_the_way_out_is_by_the_hosts_address(vif: NativeVif, elsewhere: str) -> None:
    path = await plugged(vif, "one", card(2))
    with listening(elsewhere, ELSEWHERE, 8080):
        assert asks(path, ELSEWHERE, 8080) == HERE
    assert pings(path, ELSEWHERE)


async def test_nobody_comes_in_from_elsewhere(vif: NativeVif, elsewhere: str) -> None:
    path = await plugged(vif, "one", card(2))
    route_back(elsewhere)
    with listening(path, "10.211.1.2", 8080):
        assert asks(elsewhere, "10.211.1.2", 8080, 0.2) is None


async def test_without_nat_containers_keep_their_address_and_can_be_reached(
    instance: str, tmp_path: Path, elsewhere: str
) -> None:
    vif = NativeVif(instance, tmp_path / "n", pool_size=0, nat=False)
    await vif.open()
    try:
        path = await plugged(vif, "one", card(2))
        route_back(elsewhere)
        with listening(elsewhere, ELSEWHERE, 8080), listening(path, "10.211.1.2", 8080):
            assert asks(path, ELSEWHERE, 8080) == "10.211.1.2"
            assert asks(elsewhere, "10.211.1.2", 8080) == ELSEWHERE
    finally:
        await emptied(vif)


async def test_an_internal_network_has_no_way_out(vif: NativeVif, elsewhere: str) -> None:
    one = await plugged(vif, "one", card(2, internal=True))
    await plugged(vif, "two", card(3, internal=True))
    assert pings(one, "10.211.1.3")
    assert pings(None, "10.211.1.2")
    with Netlink() as kernel, listening(elsewhere, ELSEWHERE, 8080):
        del kernel
        assert asks(one, ELSEWHERE, 8080, 0.2) is None
        add_route(one, "10.211.1.1")  # a container that helps itself to a route gets no further
        assert asks(one, ELSEWHERE, 8080, 0.2) is None


async def test_the_hosts_services_are_out_of_reach(vif: NativeVif, elsewhere: str) -> None:
    path = await plugged(vif, "one", card(2))
    with listening(None, "0.0.0.0", 8099):
        assert asks(None, "10.211.1.1", 8099) is not None
        for address in ("10.211.1.1", HERE):
            asked = time.monotonic()
            assert asks(path, address, 8099, 2) is None
            assert time.monotonic() - asked < 1, "a refusal is an answer, not a silence"


async def test_the_hosts_services_are_in_reach_when_the_operator_says_so(instance: str, tmp_path: Path) -> None:
    vif = NativeVif(instance, tmp_path / "n", pool_size=0, host_access=True)
    await vif.open()
    try:
        path = await plugged(vif, "one", card(2))
        with listening(None, "0.0.0.0", 8099):
            assert asks(path, "10.211.1.1", 8099) == "10.211.1.2"
    finally:
        await emptied(vif)


async def test_metadata_services_of_the_cloud_below_are_out_of_reach(vif: NativeVif) -> None:
    path = await plugged(vif, "one", card(2))
    with Netlink() as kernel:
        loopback = links.read_link(kernel.get(links.link_named("lo"))).index
        kernel.do(links.new_address(loopback, "169.254.77.77", 32))
        try:
            with listening(None, "169.254.77.77", 8099):
                assert asks(path, "169.254.77.77", 8099, 0.3) is None
        finally:
            kernel.do(address_removed(loopback, "169.254.77.77", 32))


async def test_a_forged_source_goes_nowhere(vif: NativeVif, elsewhere: str) -> None:
    """A container that takes an address of another network as its own is not heard with it."""
    path = await plugged(vif, "one", card(2))
    await plugged(vif, "two", card(2, "blue", 2))

    def forge() -> None:
        with Netlink() as inner:
            index = links.read_link(inner.get(links.link_named("eth0"))).index
            inner.do(links.new_address(index, "10.211.2.9", 32), links.new_address(index, "203.0.113.9", 32))

    inside(path, forge)

    def heard(forged: str) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
            there.bind((ELSEWHERE, 0))
            there.settimeout(0.3)
            port = there.getsockname()[1]

            def send() -> None:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as liar:
                    liar.bind((forged, 0))
                    liar.sendto(b"hello", (ELSEWHERE, port))

            inside(path, send)
            try:
                return bool(there.recv(100))
            except TimeoutError:
                return False

    assert inside(elsewhere, lambda: heard("10.211.1.2"))
    assert not inside(elsewhere, lambda: heard("10.211.2.9"))
    assert not inside(elsewhere, lambda: heard("203.0.113.9"))


async def test_ipv6_answers_at_once_beside_ipv4(vif: NativeVif) -> None:
    one = await plugged(vif, "one", card(2, ipv6=True))
    assert pings(None, "fd4b:1::2", 0.1)
    two = await plugged(vif, "two", card(3, ipv6=True))
    assert pings(one, "fd4b:1::1", 0.1)
    assert pings(one, "fd4b:1::3", 0.1)
    assert pings(two, "10.211.1.2", 0.1)
    blue = await plugged(vif, "blue", card(2, "blue", 2, ipv6=True))
    assert not pings(blue, "fd4b:1::2", 0.2)
    with listening(None, "::", 8099):
        assert asks(one, "fd4b:1::1", 8099, 0.3) is None


async def test_a_network_may_get_ipv6_later(vif: NativeVif) -> None:
    await plugged(vif, "one", card(2))
    two = await plugged(vif, "two", card(3, ipv6=True))
    assert pings(two, "fd4b:1::1", 0.5)


async def test_a_card_without_an_ipv6_address_has_no_ipv6(vif: NativeVif) -> None:
    path = await plugged(vif, "one", card(2))
    knob = Path("/proc/sys/net/ipv6/conf/eth0/disable_ipv6")
    assert inside(path, knob.read_text).strip() == "1"
    assert pings(path, "::1"), "loopback keeps it: programs expect localhost to have both"


async def test_a_card_is_as_it_was_asked_for(vif: NativeVif) -> None:
    path = await plugged(vif, "one", card(2, mtu=1400), card(2, "blue", 2, name="eth1", default_route=False))

    def look() -> tuple[links.Link, links.Link, str]:
        with Netlink() as inner:
            first = links.read_link(inner.get(links.link_named("eth0")))
            second = links.read_link(inner.get(links.link_named("eth1")))
        return first, second, Path("/proc/thread-self/net/route").read_text()

    first, second, routes = inside(path, look)
    assert (first.mac, first.mtu) == ("02:d3:01:00:00:02", 1400)
    assert (second.mac, second.mtu) == ("02:d3:02:00:00:02", 1500)
    defaults = [line.split()[0] for line in routes.splitlines()[1:] if line.split()[1] == "00000000"]
    assert defaults == ["eth0"]


async def test_a_gateway_outside_the_subnet_is_reached_on_the_link(vif: NativeVif, elsewhere: str) -> None:
    lone = replace(card(2), addresses=(Address("10.211.1.2", 32, "10.211.1.1"),))
    path = await plugged(vif, "one", lone)
    assert pings(path, ELSEWHERE)


async def test_an_address_that_moves_is_heard_at_its_new_place(vif: NativeVif) -> None:
    """The neighbours remember the old MAC for half a minute; they must not."""
    watcher = await plugged(vif, "watcher", card(9, ipv6=True))
    for turn in range(4):
        moved = replace(card(2, ipv6=True), port=f"port-{turn}", mac=f"02:d3:01:00:01:{turn:02x}")
        await plugged(vif, f"s{turn}", moved)
        for address in ("10.211.1.2", "fd4b:1::2"):
            assert pings(None, address, 0.3)
            assert pings(watcher, address, 0.3)
        await vif.remove_sandbox(f"s{turn}")
        assert not pings(watcher, "10.211.1.2", 0.05), "silent at once"


async def test_a_range_the_host_has_already_is_refused(vif: NativeVif, elsewhere: str) -> None:
    clash = replace(card(2), gateways=("198.51.100.129/25",))
    await vif.make_sandbox("one")
    with pytest.raises(Permanent, match="overlaps"):
        await vif.plug("one", clash)
    assert await vif.plugged() == {}


@pytest.mark.parametrize("ipv6", [False, True])
async def test_a_range_passes_to_another_network_with_its_last_card(vif: NativeVif, ipv6: bool) -> None:
    await plugged(vif, "one", card(2, "old", ipv6=ipv6))
    await vif.remove_sandbox("one")
    await plugged(vif, "two", card(2, "new", ipv6=ipv6))
    assert pings(None, "10.211.1.2")


async def test_a_bridge_lasts_from_the_first_card_to_the_last(vif: NativeVif, instance: str) -> None:
    assert bridges_left(instance) == []
    await plugged(vif, "one", card(2))
    await plugged(vif, "two", card(3))
    with Netlink() as kernel:
        bridge = links.read_link(kernel.get(links.link_named(Marks(instance).bridge("red", False))))
    assert bridge.alias == f"krater:{instance}:network:red"
    assert bridge.mac == Marks(instance).bridge_mac("red")
    await vif.unplug("one", "port-red-2")
    await asyncio.sleep(0.3)
    assert bridges_left(instance) == [bridge.name]
    await vif.remove_sandbox("two")
    for _ in range(50):
        if not links_left(instance):
            return
        await asyncio.sleep(0.1)
    assert links_left(instance) == []


async def test_plug_and_remove_take_milliseconds(vif: NativeVif) -> None:
    """A guard against a wrong turn, not a benchmark: the bounds are several times what is measured."""
    await plugged(vif, "keeper", card(250))
    plugs, removals = [], []
    for turn in range(20):
        await vif.make_sandbox(f"s{turn}")
        start = time.perf_counter()
        await vif.plug(f"s{turn}", card(turn + 2))
        plugs.append(time.perf_counter() - start)
    for turn in range(20):
        start = time.perf_counter()
        await vif.remove_sandbox(f"s{turn}")
        removals.append(time.perf_counter() - start)
    assert statistics.median(plugs) < 0.02
    assert statistics.median(removals) < 0.02


def route_back(path: str) -> None:
    add_route(path, HERE)


def add_route(path: str, gateway: str) -> None:
    def work() -> None:
        with Netlink() as inner:
            index = links.read_link(inner.get(links.link_named("eth0"))).index
            inner.do(links.default_route(index, gateway, onlink=False))

    inside(path, work)


def address_removed(index: int, address: str, prefix: int) -> Request:
    added = links.new_address(index, address, prefix)
    return Request(21, 0, added.body)
