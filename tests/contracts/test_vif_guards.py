"""What every `Vif` promises of security groups: on the kernel with real packets, on the fake by its own reckoning."""

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from krater.agent.vif.fake import FakeNetworkWorld, FakeVif
from krater.agent.vif.interfaces import Vif
from krater.agent.vif.native import NativeVif
from krater.model.network import Nic
from krater.model.security import Direction, GroupRules, SecurityRule
from tests.support.networks import card, has_guards, instance_name
from tests.support.reach import asks, inside, listening, pings

IN, OUT = Direction.INGRESS, Direction.EGRESS
TCP, UDP, ICMP = 6, 17, 1
ALL_OUT = SecurityRule("out4", OUT, 4)
SAME = GroupRules("same", (ALL_OUT, SecurityRule("in4", IN, 4, remote_group="same")))
SILENT = GroupRules("silent")
OUT_ONLY = GroupRules("out-only", (ALL_OUT,))


def opened(*rules: SecurityRule) -> GroupRules:
    return GroupRules("opened", (ALL_OUT, *rules))


class World:
    """A node whose packets can be tried out."""

    def __init__(self, kind: str, directory: Path) -> None:
        self._kind, self._directory = kind, directory
        self.instance, self.fake = instance_name(), FakeNetworkWorld()
        self._all: list[Vif] = []
        self._nics: dict[str, Nic] = {}

    async def restarted(self) -> Vif:
        """Another one, after the first just stopped existing."""
        made: Vif = FakeVif(self.fake)
        if self._kind == "native":
            made = NativeVif(self.instance, self._directory / "n", pool_size=1, linger=0.1)
        self._all.append(made)
        await made.open()
        return made

    @property
    def vif(self) -> Vif:
        return self._all[-1]

    async def plug(self, number: int, *groups: str, network: str = "red", third: int = 1) -> Nic:
        """A sandbox with one card in these groups; the sandbox is named after the port."""
        nic = card(number, network, third, groups=groups)
        await self.vif.make_sandbox(nic.port)
        await self.vif.plug(nic.port, nic)
        self._nics[nic.port] = nic
        return nic

    async def reaches(self, source: Nic, target: Nic, protocol: int = TCP, port: int = 8080) -> bool:
        """Whether a new connection, datagram or echo gets from one to the other."""
        if self._kind == "fake":
            return self.fake.passes(source.port, target.port, protocol, port)
        paths = await self.vif.sandboxes()
        here, there, address = paths[source.port], paths[target.port], target.addresses[0].address
        if protocol == ICMP:
            return pings(here, address, 0.3)
        if protocol == UDP:
            return hears(here, there, address, port)
        with listening(there, address, port):
            return asks(here, address, port, 0.3) is not None

    def is_guarded(self) -> bool:
        """Whether any rule is left."""
        if self._kind == "fake":
            return any(nic.groups is not None for cards in self.fake.sandboxes.values() for nic in cards.values())
        return has_guards(self.instance)

    async def clear(self) -> None:
        last = await self.restarted()
        for sandbox in await last.sandboxes():
            await last.remove_sandbox(sandbox)
        for vif in self._all:
            await vif.close()
        assert not self.is_guarded()


def hears(here: str, there: str, address: str, port: int) -> bool:
    def bind() -> socket.socket:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((address, port))
        server.settimeout(0.3)
        return server

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"hello", (address, port))

    with inside(there, bind) as server:
        inside(here, send)
        try:
            return server.recv(10) == b"hello"
        except TimeoutError:
            return False


@pytest.fixture(params=["fake", pytest.param("native", marks=pytest.mark.live)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    made = World(request.param, tmp_path)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(made.clear)
        await made.restarted()
        yield made


async def test_members_of_a_group_reach_each_other_and_others_do_not_reach_them(world: World) -> None:
    await world.vif.guard([SAME, OUT_ONLY], [], is_all=True)
    one, two = await world.plug(2, "same"), await world.plug(3, "same")
    other = await world.plug(4, "out-only")
    for protocol in (TCP, UDP, ICMP):
        assert await world.reaches(one, two, protocol)
        assert await world.reaches(two, one, protocol)
        assert not await world.reaches(other, one, protocol)
        assert not await world.reaches(one, other, protocol)


async def test_a_card_in_no_group_neither_speaks_nor_hears(world: World) -> None:
    await world.vif.guard([SAME, opened(SecurityRule("in", IN, 4))], [], is_all=True)
    mute, open_to_all = await world.plug(2), await world.plug(3, "opened")
    assert not await world.reaches(mute, open_to_all)
    assert not await world.reaches(open_to_all, mute)


async def test_a_group_nobody_told_the_rules_of_allows_nothing(world: World) -> None:
    await world.vif.guard([opened(SecurityRule("in", IN, 4))], [], is_all=True)
    lost, open_to_all = await world.plug(2, "unheard-of"), await world.plug(3, "opened")
    assert not await world.reaches(lost, open_to_all)
    assert not await world.reaches(open_to_all, lost)


async def test_a_card_without_any_guard_is_open(world: World) -> None:
    await world.vif.guard([opened(SecurityRule("in", IN, 4))], [], is_all=True)
    guarded = await world.plug(2, "opened")
    free = card(3)
    await world.vif.make_sandbox(free.port)
    await world.vif.plug(free.port, free)
    assert await world.reaches(guarded, free)
    assert await world.reaches(free, guarded)


@pytest.mark.parametrize(
    ("rule", "protocol", "port", "passes"),
    [
        (SecurityRule("r", IN, 4, "tcp", 8080, 8080), TCP, 8080, True),
        (SecurityRule("r", IN, 4, "tcp", 8080, 8080), TCP, 8081, False),
        (SecurityRule("r", IN, 4, "tcp", 8080, 8080), UDP, 8080, False),
        (SecurityRule("r", IN, 4, "tcp", 8000, 8100), TCP, 8080, True),
        (SecurityRule("r", IN, 4, "tcp"), TCP, 8080, True),
        (SecurityRule("r", IN, 4, "udp", 53, 9000), UDP, 8080, True),
        (SecurityRule("r", IN, 4, "17"), UDP, 8080, True),
        (SecurityRule("r", IN, 4, "132"), TCP, 8080, False),
        (SecurityRule("r", IN, 4, "icmp"), ICMP, 8, True),
        (SecurityRule("r", IN, 4, "icmp", 8), ICMP, 8, True),
        (SecurityRule("r", IN, 4, "icmp", 13), ICMP, 8, False),
        (SecurityRule("r", IN, 4, "icmp", 8, 3), ICMP, 8, False),
        (SecurityRule("r", IN, 4, "tcp", remote_cidr="10.211.1.0/28"), TCP, 8080, True),
        (SecurityRule("r", IN, 4, "tcp", remote_cidr="10.211.1.2/32"), TCP, 8080, True),
        (SecurityRule("r", IN, 4, "tcp", remote_cidr="10.211.1.128/25"), TCP, 8080, False),
        (SecurityRule("r", IN, 4, "tcp", remote_cidr="0.0.0.0/0"), TCP, 8080, True),
        (SecurityRule("r", IN, 6), TCP, 8080, False),
        (SecurityRule("r", OUT, 4, "tcp", 8080, 8080), TCP, 8080, False),
    ],
)
async def test_a_rule_allows_what_it_says(
    world: World, rule: SecurityRule, protocol: int, port: int, passes: bool
) -> None:
    await world.vif.guard([OUT_ONLY, opened(rule)], [], is_all=True)
    client, server = await world.plug(2, "out-only"), await world.plug(3, "opened")
    assert await world.reaches(client, server, protocol, port) is passes


async def test_egress_is_what_the_rules_say(world: World) -> None:
    only = GroupRules("only", (SecurityRule("r", OUT, 4, "tcp", 8080, 8080),))
    await world.vif.guard([only, opened(SecurityRule("in", IN, 4))], [], is_all=True)
    client, server = await world.plug(2, "only"), await world.plug(3, "opened")
    assert await world.reaches(client, server, TCP, 8080)
    assert not await world.reaches(client, server, TCP, 8081)
    assert not await world.reaches(client, server, ICMP)


async def test_news_of_a_group_hold_for_cards_that_are_there(world: World) -> None:
    await world.vif.guard([OUT_ONLY, opened()], [], is_all=True)
    client, server = await world.plug(2, "out-only"), await world.plug(3, "opened")
    assert not await world.reaches(client, server)
    await world.vif.guard([opened(SecurityRule("r", IN, 4, "tcp", 8080, 8080))], [])
    assert await world.reaches(client, server)
    await world.vif.guard([opened()], [])
    assert not await world.reaches(client, server)


async def test_news_of_a_card_hold_at_once_and_for_a_later_plug(world: World) -> None:
    await world.vif.guard([SAME, OUT_ONLY], [], is_all=True)
    one, two = await world.plug(2, "same"), await world.plug(3, "out-only")
    assert not await world.reaches(one, two)
    moved = replace(two, groups=("same",))
    await world.vif.guard([], [moved])
    assert await world.reaches(one, two)
    await world.vif.guard([], [replace(card(4), groups=("same",))])
    late = await world.plug(4, "out-only")
    assert await world.reaches(one, late), "what was told of the port last counts, not the plug"


async def test_members_on_other_nodes_count(world: World) -> None:
    far = GroupRules("far", members=("10.211.1.2",))
    allows = opened(SecurityRule("r", IN, 4, remote_group="far"))
    await world.vif.guard([OUT_ONLY, allows, far], [], is_all=True)
    client, other, server = (
        await world.plug(2, "out-only"),
        await world.plug(4, "out-only"),
        await world.plug(3, "opened"),
    )
    assert await world.reaches(client, server)
    assert not await world.reaches(other, server)
    await world.vif.guard([GroupRules("far")], [])
    assert not await world.reaches(client, server)


async def test_a_member_that_comes_is_heard_and_one_that_went_is_not(world: World) -> None:
    allows = opened(SecurityRule("r", IN, 4, remote_group="out-only"))
    await world.vif.guard([OUT_ONLY, SAME, allows], [], is_all=True)
    server = await world.plug(3, "opened")
    client = await world.plug(2, "out-only")
    assert await world.reaches(client, server)
    await world.vif.remove_sandbox(client.port)
    again = await world.plug(2, "same")
    assert not await world.reaches(again, server)


async def test_rules_outlive_a_restart_and_are_taken_up_again(world: World) -> None:
    await world.vif.guard([SAME, OUT_ONLY], [], is_all=True)
    one, two, other = await world.plug(2, "same"), await world.plug(3, "same"), await world.plug(4, "out-only")
    await world.restarted()
    assert await world.reaches(one, two)
    assert not await world.reaches(other, two)
    await world.vif.guard([SAME, OUT_ONLY], [one, two, other], is_all=True)
    assert await world.reaches(one, two)
    assert not await world.reaches(other, two)
    late = await world.plug(5, "same")
    assert await world.reaches(late, two)
    assert not await world.reaches(other, late)


async def test_nothing_is_left_when_the_last_card_goes(world: World) -> None:
    await world.vif.guard([SAME], [], is_all=True)
    one, two = await world.plug(2, "same"), await world.plug(3, "same")
    await world.vif.unplug(one.port, one.port)
    assert world.is_guarded()
    await world.vif.remove_sandbox(two.port)
    assert not world.is_guarded()
