"""What every store does with networks, subnets, ports and addresses."""

import asyncio
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from krater.errors import Conflict, Invalid, KraterError, NoCapacity, NotFound
from krater.model.network import FixedIp, Network, Port, Subnet
from krater.store.interfaces import EVERYBODY, Scope, Store, Tx
from tests.support.stores import ANN, BOB, network, port

RED = network("red", "10.66.1.0/24")


async def added(store: Store, *networks: Network) -> None:
    def add(tx: Tx) -> None:
        for one in networks:
            tx.networks.add(one)

    await store.write(add)


async def given(store: Store, new: Port, *wanted: str) -> Port:
    return await store.write(lambda tx: tx.networks.add_port(new, wanted))


async def got(store: Store, scope: Scope, ident: str) -> Network:
    return await store.read(lambda tx: tx.networks.get(scope, ident))


async def ports(
    store: Store, scope: Scope = EVERYBODY, network: str | None = None, device: str | None = None
) -> list[Port]:
    return [*await store.read(lambda tx: tx.networks.ports(scope, network, device))]


def addresses(of: Port) -> list[str]:
    return [fixed.address for fixed in of.fixed_ips]


class TestNetworks:
    async def test_it_comes_back_as_it_was(self, store: Store) -> None:
        full = replace(network("red", "10.66.1.0/24", "fd00:1::/64"), internal=True, mtu=1400, shared=True)
        await added(store, full, network("blue", "10.66.2.0/24"))
        assert await got(store, ANN, "n-red") == full
        assert [n.name for n in await store.read(lambda tx: tx.networks.list(ANN))] == ["red", "blue"]

    async def test_it_is_seen_by_its_project_or_by_all(self, store: Store) -> None:
        await added(store, RED, network("open", "10.66.2.0/24", shared=True))
        assert [n.name for n in await store.read(lambda tx: tx.networks.list(BOB))] == ["open"]
        assert (await got(store, BOB, "open")).id == "n-open"
        assert (await got(store, EVERYBODY, "red")).id == "n-red"
        for ident in ("red", "n-red", "none"):
            with pytest.raises(NotFound):
                await got(store, BOB, ident)

    async def test_of_several_with_a_name_ones_own_is_meant(self, store: Store) -> None:
        shared = replace(network("b", "10.66.2.0/24", project="p-bob", shared=True), name="red")
        await added(store, RED, shared, replace(network("c", "10.66.3.0/24", project="p-eve", shared=True), name="red"))
        assert (await got(store, ANN, "red")).id == "n-red"
        for scope in (EVERYBODY, Scope("p-zoe")):
            with pytest.raises(Conflict):
                await got(store, scope, "red")

    @pytest.mark.parametrize(
        "other",
        [
            replace(network("b", "10.66.2.0/24"), name="red"),
            replace(network("b", "10.66.2.0/24"), id="n-red"),
            network("b", "10.66.1.0/24", project="p-bob"),
            network("b", "10.66.0.0/16", project="p-bob"),
            network("b", "10.66.1.128/25", project="p-bob"),
            network("b", "10.66.2.0/24", "10.66.2.128/25", project="p-bob"),
        ],
    )
    async def test_names_ids_and_ranges_do_not_collide(self, store: Store, other: Network) -> None:
        await added(store, RED)
        with pytest.raises(Conflict):
            await added(store, other)
        assert len(await store.read(lambda tx: tx.networks.list(EVERYBODY))) == 1

    async def test_it_is_deleted_by_its_owner_when_empty(self, store: Store) -> None:
        await added(store, replace(RED, shared=True))
        await given(store, port("p1", "n-red"))
        with pytest.raises(Conflict):
            await store.write(lambda tx: tx.networks.delete(ANN, "red"))
        await store.write(lambda tx: tx.networks.delete_port(ANN, "p1"))
        with pytest.raises(NotFound):
            await store.write(lambda tx: tx.networks.delete(BOB, "red"))
        await store.write(lambda tx: tx.networks.delete(ANN, "red"))
        with pytest.raises(NotFound):
            await store.write(lambda tx: tx.networks.delete(ANN, "red"))
        await added(store, RED)

    async def test_free_ranges(self, store: Store) -> None:
        async def free(pool: str, prefix: int) -> Subnet:
            return await store.read(lambda tx: tx.networks.free_subnet(pool, prefix))

        first = await free("10.66.0.0/16", 24)
        assert (first.cidr, first.gateway) == ("10.66.0.0/24", "10.66.0.1")
        await added(store, network("a", "10.66.0.0/24"), network("b", "10.66.1.128/25"), network("c", "10.66.3.0/24"))
        assert (await free("10.66.0.0/16", 24)).cidr == "10.66.2.0/24"
        assert (await free("10.66.0.0/16", 25)).cidr == "10.66.1.0/25"
        assert (await free("10.66.0.0/16", 22)).cidr == "10.66.4.0/22"
        assert (await free("10.66.1.0/24", 25)).cidr == "10.66.1.0/25"
        await added(store, network("d", "10.66.1.0/25"), network("v6", "fd00::/64"))
        assert (await free("fd00::/48", 64)).cidr == "fd00:0:0:1::/64"
        for pool, prefix in (("10.66.1.0/24", 25), ("10.66.0.0/24", 24), ("10.66.0.64/26", 28), ("10.66.0.0/22", 22)):
            with pytest.raises(NoCapacity):
                await free(pool, prefix)
        with pytest.raises(Invalid):
            await free("10.66.0.0/24", 16)


class TestPorts:
    async def test_it_gets_a_mac_and_an_address_of_each_subnet(self, store: Store) -> None:
        await added(store, network("red", "10.66.1.0/24", "fd00:1::/64"))
        made = await given(store, port("p1", "n-red", device="w1"))
        assert made.mac.startswith("fa:16:3e:")
        assert [fixed.subnet for fixed in made.fixed_ips] == ["s-red-0", "s-red-1"]
        assert made.fixed_ips[0] == FixedIp("10.66.1.2", "s-red-0")
        assert ip_address(made.fixed_ips[1].address) in ip_network("fd00:1::/64")
        assert await store.read(lambda tx: tx.networks.get_port(ANN, "p1")) == made
        assert await ports(store) == [made]

    async def test_addresses_are_given_once_and_rest_before_they_come_again(self, store: Store) -> None:
        await added(store, network("red", "10.66.1.0/29"))
        made = [await given(store, port(f"p{n}", "n-red")) for n in range(3)]
        assert [addresses(p) for p in made] == [["10.66.1.2"], ["10.66.1.3"], ["10.66.1.4"]]
        await store.write(lambda tx: tx.networks.delete_port(ANN, "p0"))
        assert addresses(await given(store, port("p3", "n-red"))) == ["10.66.1.5"]
        assert addresses(await given(store, port("p4", "n-red"))) == ["10.66.1.6"]
        assert addresses(await given(store, port("p5", "n-red"))) == ["10.66.1.2"]
        with pytest.raises(NoCapacity):
            await given(store, port("p6", "n-red"))
        assert len(await ports(store)) == 5

    @pytest.mark.parametrize(
        ("cidr", "gateway", "expected"),
        [
            ("10.66.1.0/30", "10.66.1.1", ["10.66.1.2"]),
            ("10.66.1.0/29", "10.66.1.4", ["10.66.1.1", "10.66.1.2", "10.66.1.3", "10.66.1.5", "10.66.1.6"]),
            ("10.66.1.0/30", "10.66.1.2", ["10.66.1.1"]),
            ("10.66.1.0/30", None, ["10.66.1.1", "10.66.1.2"]),
            ("10.66.1.0/31", None, ["10.66.1.0", "10.66.1.1"]),
            ("10.66.1.7/32", None, ["10.66.1.7"]),
            ("fd00::/126", "fd00::2", ["fd00::1", "fd00::3"]),
        ],
    )
    async def test_all_usable_addresses_are_given_and_no_others(
        self, store: Store, cidr: str, gateway: str | None, expected: list[str]
    ) -> None:
        await added(store, Network("n", "n", "p-ann", (Subnet("s", cidr, gateway),)))
        made = [await given(store, port(f"p{n}", "n")) for n in range(len(expected))]
        assert [addresses(p)[0] for p in made] == expected
        with pytest.raises(NoCapacity):
            await given(store, port("one-more", "n"))

    async def test_a_full_range_is_gone_through_when_something_in_it_is_given_back(self, store: Store) -> None:
        """More than one look ahead, with the free one in the middle."""
        await added(store, network("red", "10.66.0.0/22"))

        def fill(tx: Tx) -> None:
            for number in range(1021):
                tx.networks.add_port(port(f"p{number}", "n-red"))

        await store.write(fill)
        with pytest.raises(NoCapacity):
            await given(store, port("late", "n-red"))
        await store.write(lambda tx: tx.networks.delete_port(ANN, "p700"))
        assert addresses(await given(store, port("late", "n-red"))) == ["10.66.2.190"]

    async def test_wanted_addresses(self, store: Store) -> None:
        await added(store, network("red", "10.66.1.0/24", "fd00:1::/64"))
        made = await given(store, port("p1", "n-red"), "fd00:1:0::5", "10.66.1.2")
        assert addresses(made) == ["fd00:1::5", "10.66.1.2"]
        assert addresses(await given(store, port("p2", "n-red")))[0] == "10.66.1.3"
        only = await given(store, port("p3", "n-red"), "10.66.1.9")
        assert only.fixed_ips == (FixedIp("10.66.1.9", "s-red-0"),)

    @pytest.mark.parametrize(
        ("wanted", "error"),
        [
            (["10.66.2.9"], Invalid),
            (["10.66.1.0"], Invalid),
            (["10.66.1.255"], Invalid),
            (["fd00::5"], Invalid),
            (["rubbish"], Invalid),
            (["10.66.1.9", "10.66.1.9"], Invalid),
            (["10.66.1.1"], Conflict),
            (["10.66.1.2"], Conflict),
        ],
    )
    async def test_addresses_that_cannot_be_had(
        self, store: Store, wanted: list[str], error: type[KraterError]
    ) -> None:
        await added(store, RED)
        await given(store, port("p1", "n-red"))
        with pytest.raises(error) as refused:
            await given(store, port("p2", "n-red"), *wanted)
        if isinstance(refused.value, Invalid):
            assert refused.value.field == "fixed_ip"
        assert len(await ports(store)) == 1

    async def test_a_mac_is_given_once(self, store: Store) -> None:
        await added(store, RED)
        assert (await given(store, port("p1", "n-red", mac="FA:16:3E:00:00:01"))).mac == "fa:16:3e:00:00:01"
        with pytest.raises(Conflict):
            await given(store, port("p2", "n-red", mac="fa:16:3e:00:00:01"))
        with pytest.raises(Conflict):
            await given(store, port("p1", "n-red"))
        with pytest.raises(NotFound):
            await given(store, port("p3", "n-none"))

    async def test_ports_are_the_projects_own(self, store: Store) -> None:
        await added(store, replace(RED, shared=True), network("blue", "10.66.2.0/24"))
        await given(store, port("p1", "n-red"))
        await given(store, port("p2", "n-red", project="p-bob", device="w2"))
        await given(store, port("p3", "n-blue", device="w2"))
        assert [p.id for p in await ports(store, BOB)] == ["p2"]
        assert [p.id for p in await ports(store, network="n-red")] == ["p1", "p2"]
        assert [p.id for p in await ports(store, device="w2")] == ["p2", "p3"]
        assert [p.id for p in await ports(store, ANN, "n-blue", "w2")] == ["p3"]
        for id in ("p1", "none"):
            with pytest.raises(NotFound):
                await store.read(lambda tx, id=id: tx.networks.get_port(BOB, id))  # type: ignore[misc]
            with pytest.raises(NotFound):
                await store.write(lambda tx, id=id: tx.networks.delete_port(BOB, id))  # type: ignore[misc]

    async def test_a_port_has_one_workload(self, store: Store) -> None:
        await added(store, RED)
        await given(store, port("p1", "n-red", owned=False))
        for _ in range(2):
            assert (await store.write(lambda tx: tx.networks.bind("p1", "w1"))).device == "w1"
        with pytest.raises(Conflict):
            await store.write(lambda tx: tx.networks.bind("p1", "w2"))
        with pytest.raises(Conflict):
            await store.write(lambda tx: tx.networks.delete_port(ANN, "p1"))
        with pytest.raises(NotFound):
            await store.write(lambda tx: tx.networks.bind("none", "w2"))

    async def test_releasing_deletes_what_was_made_and_frees_what_was_brought(self, store: Store) -> None:
        await added(store, RED)
        await given(store, port("made", "n-red", device="w1"))
        await given(store, port("brought", "n-red", device="w1", owned=False))
        await given(store, port("other", "n-red", device="w2"))
        await given(store, port("free", "n-red"))
        assert await store.read(lambda tx: tx.networks.held()) == {"w1": {"made", "brought"}, "w2": {"other"}}
        for device in ("w1", "w1", "none", ""):
            await store.write(lambda tx, device=device: tx.networks.release(device))  # type: ignore[misc]
        assert {(p.id, p.device) for p in await ports(store)} == {("brought", ""), ("other", "w2"), ("free", "")}
        assert await store.read(lambda tx: tx.networks.held()) == {"w2": {"other"}}
        assert len({a for p in await ports(store) for a in addresses(p)}) == 3

    async def test_no_two_get_the_same_address_at_once(self, store: Store) -> None:
        await added(store, network("red", "10.66.1.0/27"))
        results = await asyncio.gather(
            *(given(store, port(f"p{n}", "n-red")) for n in range(50)), return_exceptions=True
        )
        made = [r for r in results if isinstance(r, Port)]
        assert len(made) == 29
        assert len({a for p in made for a in addresses(p)}) == 29
        assert len({p.mac for p in made}) == 29
        assert all(isinstance(r, Port | NoCapacity) for r in results)
