"""What every adapter of `cloud.interfaces.Networks` does."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from krater.cloud.interfaces import Caller, NetAsk, Networks
from krater.cloud.local.networks import LocalNetworks
from krater.config import NetworkSettings
from krater.errors import Conflict, Invalid, KraterError, NoCapacity, NotFound
from krater.model.network import NetRequest, Network, Port, Subnet
from krater.store.sql import SqlStore

ANN = Caller("u-ann", "ann", "p-ann", "kitchen", ("member",))
BOB = Caller("u-bob", "bob", "p-bob", "cellar", ("member",))


@dataclass
class Subject:
    """The adapter, and what its operator and users do beside Krater."""

    networks: Networks
    add_network: Callable[[Network], Awaitable[None]]
    add_port: Callable[[Port], Awaitable[Port]]


@pytest.fixture(params=["local"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    assert request.param == "local"
    store = await SqlStore.open(f"sqlite:///{tmp_path}/krater.sqlite")

    async def add_network(network: Network) -> None:
        await store.write(lambda tx: tx.networks.add(network))

    async def add_port(port: Port) -> Port:
        return await store.write(lambda tx: tx.networks.add_port(port))

    settings = NetworkSettings(pool="10.66.0.0/16", pool_v6="fd00:66::/48")
    yield Subject(LocalNetworks(store, settings), add_network, add_port)
    await store.close()


def network(id: str, project: str = ANN.project_id, cidr: str = "10.99.0.0/29", **more: bool) -> Network:
    first = str(ip_network(cidr)[1])
    return Network(id, f"name-{id}", project, (Subnet(f"s-{id}", cidr, first),), **more)


async def refused(wait: Awaitable[object], kind: type[KraterError]) -> KraterError:
    with pytest.raises(kind) as refusal:
        await wait
    return refusal.value


# Resolving -----------------------------------------------------------------------------------------------------------


async def test_asking_for_nothing_gives_the_projects_own_network_every_time(subject: Subject) -> None:
    first = await subject.networks.resolve(ANN, ())
    assert first == await subject.networks.resolve(ANN, ())
    assert await subject.networks.resolve(BOB, ()) != first


async def test_a_shared_network_is_not_anybodys_default(subject: Subject) -> None:
    await subject.add_network(network("shared", BOB.project_id, shared=True))
    assert (await subject.networks.resolve(ANN, ()))[0].network != "shared"


async def test_networks_are_found_by_id_and_name_and_in_order(subject: Subject) -> None:
    await subject.add_network(network("a"))
    await subject.add_network(network("b", cidr="10.98.0.0/24"))
    nets = await subject.networks.resolve(ANN, [NetAsk("name-b"), NetAsk("a")])
    assert nets == (NetRequest("b"), NetRequest("a"))


async def test_what_belongs_to_another_project_is_not_there(subject: Subject) -> None:
    await subject.add_network(network("private", BOB.project_id))
    port = await subject.add_port(Port("p1", "private", BOB.project_id, "", (), owned=False))
    await refused(subject.networks.resolve(ANN, [NetAsk("private")]), NotFound)
    await refused(subject.networks.resolve(ANN, [NetAsk("name-private")]), NotFound)
    await refused(subject.networks.resolve(ANN, [NetAsk(port=port.id)]), NotFound)
    await refused(subject.networks.resolve(ANN, [NetAsk("nowhere")]), NotFound)


async def test_a_shared_network_is_for_all_who_name_it(subject: Subject) -> None:
    await subject.add_network(network("shared", BOB.project_id, shared=True))
    nets = await subject.networks.resolve(ANN, [NetAsk("shared")])
    (nic,) = await subject.networks.ensure_ports("w1", ANN.project_id, nets)
    assert nic.network == "shared"


async def test_a_port_of_ones_own_may_be_brought_once(subject: Subject) -> None:
    await subject.add_network(network("a"))
    port = await subject.add_port(Port("p1", "a", ANN.project_id, "", (), owned=False))
    nets = await subject.networks.resolve(ANN, [NetAsk(port=port.id)])
    assert (nets[0].network, nets[0].port) == ("a", "p1")
    twice = await refused(subject.networks.resolve(ANN, [NetAsk(port="p1"), NetAsk(port="p1")]), Invalid)
    assert twice.code == "port-in-use"
    (nic,) = await subject.networks.ensure_ports("w1", ANN.project_id, nets)
    assert (nic.port, nic.mac) == ("p1", port.mac)
    used = await refused(subject.networks.resolve(ANN, [NetAsk(port="p1")]), Invalid)
    assert used.code == "port-in-use"
    await refused(subject.networks.ensure_ports("w2", ANN.project_id, nets), Conflict)


@pytest.mark.parametrize(
    "wanted",
    ["10.66.0.1", "fd00::1", "10.99.0.0", "10.99.0.7", "10.99.0.1", "not one", "10.99.0.300", ""],
)
async def test_an_address_that_cannot_be_had_is_refused_before_anything_is_stored(
    subject: Subject, wanted: str
) -> None:
    await subject.add_network(network("a"))
    refusal = await refused(subject.networks.resolve(ANN, [NetAsk("a", fixed_ips=(wanted,))]), Invalid)
    assert isinstance(refusal, Invalid)
    assert refusal.field == "fixed_ip"


async def test_two_addresses_in_one_range_are_refused(subject: Subject) -> None:
    await subject.add_network(network("a"))
    await refused(subject.networks.resolve(ANN, [NetAsk("a", fixed_ips=("10.99.0.2", "10.99.0.3"))]), Invalid)


# Ports ---------------------------------------------------------------------------------------------------------------


async def test_ports_are_made_once_and_say_all_that_plugging_needs(subject: Subject) -> None:
    nets = await subject.networks.resolve(ANN, ())
    nics = await subject.networks.ensure_ports("w1", ANN.project_id, nets)
    assert nics == await subject.networks.ensure_ports("w1", ANN.project_id, nets)
    (nic,) = nics
    assert (nic.name, nic.default_route, nic.internal) == ("eth0", True, False)
    assert len(nic.mac.split(":")) == 6
    v4, v6 = nic.addresses
    assert ip_address(v4.address) in ip_network("10.66.0.0/24")
    assert (v4.prefix, v4.gateway) == (24, "10.66.0.1")
    assert (v6.prefix, v6.gateway) == (64, str(ip_network("fd00:66::/64")[1]))
    assert nic.gateways == ("10.66.0.1/24", "fd00:66::1/64")


async def test_two_projects_ranges_never_overlap(subject: Subject) -> None:
    ranges = []
    for number in range(20):
        caller = Caller("u", "u", f"p{number}", f"p{number}", ("member",))
        nets = await subject.networks.resolve(caller, ())
        (nic,) = await subject.networks.ensure_ports(f"w{number}", caller.project_id, nets)
        ranges += [ip_network(gateway, strict=False) for gateway in nic.gateways]
    same = [(a, b) for i, a in enumerate(ranges) for b in ranges[:i] if a.version == b.version and a.overlaps(b)]
    assert same == []


async def test_several_cards_are_numbered_and_all_but_internal_ones_lead_out(subject: Subject) -> None:
    await subject.add_network(network("inside", internal=True))
    await subject.add_network(network("a", cidr="10.98.0.0/24"))
    await subject.add_network(network("b", cidr="10.97.0.0/24"))
    nets = await subject.networks.resolve(ANN, [NetAsk("inside"), NetAsk("a"), NetAsk("b")])
    nics = await subject.networks.ensure_ports("w1", ANN.project_id, nets)
    assert [(n.network, n.name, n.default_route) for n in nics] == [
        ("inside", "eth0", False),
        ("a", "eth1", True),
        ("b", "eth2", True),
    ]
    assert nics[0].internal


async def test_the_same_network_twice_gives_two_cards_and_stays_so(subject: Subject) -> None:
    await subject.add_network(network("a"))
    nets = await subject.networks.resolve(ANN, [NetAsk("a"), NetAsk("a")])
    nics = await subject.networks.ensure_ports("w1", ANN.project_id, nets)
    assert len({nic.port for nic in nics}) == 2
    assert nics == await subject.networks.ensure_ports("w1", ANN.project_id, nets)


async def test_a_wanted_address_is_given_and_then_taken(subject: Subject) -> None:
    await subject.add_network(network("a"))
    asks = [NetAsk("a", fixed_ips=("10.99.0.4",))]
    nets = await subject.networks.resolve(ANN, asks)
    (nic,) = await subject.networks.ensure_ports("w1", ANN.project_id, nets)
    assert [address.address for address in nic.addresses] == ["10.99.0.4"]
    await refused(subject.networks.resolve(ANN, asks), Conflict)
    await refused(subject.networks.ensure_ports("w2", ANN.project_id, nets), Conflict)
    assert await subject.networks.list_owned() == {"w1": {nic.port}}


async def test_a_full_network_is_no_capacity_and_leaves_nothing(subject: Subject) -> None:
    await subject.add_network(network("a"))
    await subject.add_network(network("b", cidr="10.98.0.0/24"))
    nets = await subject.networks.resolve(ANN, [NetAsk("b"), NetAsk("a")])
    for number in range(5):
        await subject.networks.ensure_ports(f"w{number}", ANN.project_id, nets)
    await refused(subject.networks.ensure_ports("w9", ANN.project_id, nets), NoCapacity)
    assert "w9" not in await subject.networks.list_owned()


async def test_release_deletes_own_ports_frees_the_users_and_is_idempotent(subject: Subject) -> None:
    await subject.add_network(network("a"))
    await subject.add_port(Port("p1", "a", ANN.project_id, "", (), owned=False))
    nets = await subject.networks.resolve(ANN, [NetAsk(port="p1"), NetAsk("a")])
    nics = await subject.networks.ensure_ports("w1", ANN.project_id, nets)
    assert await subject.networks.list_owned() == {"w1": {nic.port for nic in nics}}
    for _ in range(2):
        await subject.networks.release("w1")
        assert await subject.networks.list_owned() == {}
    assert (await subject.networks.resolve(ANN, [NetAsk(port="p1")]))[0].port == "p1"
    await subject.networks.release("never was")
