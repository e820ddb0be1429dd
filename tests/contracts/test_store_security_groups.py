"""What every store does with security groups, their rules and who is in them."""

import asyncio
from dataclasses import replace

import pytest

from krater.errors import Conflict, NotFound
from krater.model.assignment import Placement
from krater.model.security import (
    Direction,
    GroupRules,
    SecurityGroup,
    SecurityRule,
    default_group_id,
    exposing_group,
)
from krater.store.interfaces import EVERYBODY, Store, Tx
from tests.support.stores import ANN, BOB, INVENTORY, T0, network, port, workload

IN, OUT = Direction.INGRESS, Direction.EGRESS
WEB = SecurityGroup("g-web", "p-ann", "web", "for the web", rules=(SecurityRule("r-1", IN, 4, "tcp", 80, 90),))


async def added(store: Store, *groups: SecurityGroup) -> None:
    def add(tx: Tx) -> None:
        for one in groups:
            tx.security_groups.add(one)

    await store.write(add)


async def rules(store: Store, *groups: str, node: str = "n1") -> dict[str, GroupRules]:
    found = await store.read(lambda tx: tx.security_groups.rules(groups, node))
    return {one.id: one for one in found}


async def test_a_group_comes_back_as_it_was(store: Store) -> None:
    full = replace(
        WEB,
        rules=(
            *WEB.rules,
            SecurityRule("r-2", OUT, 6, None, remote_cidr="fd00::/8"),
            SecurityRule("r-3", IN, 4, "icmp", 8, 0, remote_group="g-web"),
        ),
    )
    await added(store, full, replace(WEB, id="g-2", name="other", rules=()))
    assert await store.read(lambda tx: tx.security_groups.get(ANN, "g-web")) == full
    assert await store.read(lambda tx: tx.security_groups.get(ANN, "web")) == full
    assert [one.name for one in await store.read(lambda tx: tx.security_groups.list(ANN))] == ["web", "other"]
    with pytest.raises(Conflict):
        await added(store, WEB)


async def test_what_is_anothers_is_not_there(store: Store) -> None:
    await added(store, WEB)
    assert await store.read(lambda tx: tx.security_groups.list(BOB)) == []
    for refused in (
        lambda tx: tx.security_groups.get(BOB, "web"),
        lambda tx: tx.security_groups.delete(BOB, "g-web"),
        lambda tx: tx.security_groups.delete_rule(BOB, "r-1"),
    ):
        with pytest.raises(NotFound):
            await store.write(refused)


async def test_a_name_may_be_had_twice_and_then_means_nothing(store: Store) -> None:
    await added(store, WEB, replace(WEB, id="g-2", rules=()))
    with pytest.raises(Conflict):
        await store.read(lambda tx: tx.security_groups.get(ANN, "web"))


async def test_the_default_group_is_made_once(store: Store) -> None:
    made = await asyncio.gather(*(store.write(lambda tx: tx.security_groups.ensure_default("p-ann")) for _ in range(5)))
    assert {one.id for one in made} == {default_group_id("p-ann")}
    assert len(await store.read(lambda tx: tx.security_groups.list(ANN))) == 1
    with pytest.raises(Conflict):
        await store.write(lambda tx: tx.security_groups.delete(ANN, "default"))


async def test_rules_come_and_go(store: Store) -> None:
    await added(store, WEB)
    rule = SecurityRule("r-9", IN, 6, "udp", 53, 53)
    await store.write(lambda tx: tx.security_groups.add_rule("g-web", rule))
    with pytest.raises(Conflict):
        await store.write(lambda tx: tx.security_groups.add_rule("g-web", replace(rule, id="r-10")))
    assert (await rules(store, "g-web"))["g-web"].rules == (*WEB.rules, rule)
    assert await store.write(lambda tx: tx.security_groups.delete_rule(ANN, "r-9")) == "g-web"
    with pytest.raises(NotFound):
        await store.write(lambda tx: tx.security_groups.delete_rule(ANN, "r-9"))


async def test_a_device_is_in_the_groups_it_joined_last(store: Store) -> None:
    await added(store, WEB, replace(WEB, id="g-2", name="two", rules=()))
    await store.write(lambda tx: tx.security_groups.join("w1", ["g-2", "g-web", "g-2"]))
    assert await store.read(lambda tx: tx.security_groups.joined(["w1", "w2"])) == {"w1": ("g-2", "g-web")}
    with pytest.raises(NotFound):
        await store.write(lambda tx: tx.security_groups.join("w1", ["g-web", "g-none"]))
    with pytest.raises(Conflict, match="in use"):
        await store.write(lambda tx: tx.security_groups.delete(ANN, "two"))
    await store.write(lambda tx: tx.security_groups.join("w1", ["g-web"]))
    await store.write(lambda tx: tx.security_groups.delete(ANN, "two"))
    for _ in range(2):
        await store.write(lambda tx: tx.security_groups.leave("w1"))
    assert await store.read(lambda tx: tx.security_groups.joined(["w1"])) == {}


async def test_a_group_that_a_rule_names_stays(store: Store) -> None:
    naming = SecurityGroup("g-2", "p-ann", "two", rules=(SecurityRule("r-5", IN, 4, remote_group="g-web"),))
    own = SecurityRule("r-6", IN, 4, remote_group="g-web")
    await added(store, WEB, naming)
    await store.write(lambda tx: tx.security_groups.add_rule("g-web", own))
    with pytest.raises(Conflict, match="g-2"):
        await store.write(lambda tx: tx.security_groups.delete(ANN, "web"))
    await store.write(lambda tx: tx.security_groups.delete(ANN, "two"))
    await store.write(lambda tx: tx.security_groups.delete(ANN, "web"))
    assert await store.read(lambda tx: tx.security_groups.list(EVERYBODY)) == []


async def test_what_was_made_for_a_workload_goes_with_it(store: Store) -> None:
    await added(store, WEB, exposing_group("g-w1", "p-ann", "w1", [(80, "tcp")]))
    naming = SecurityRule("r-7", IN, 4, remote_group="g-w1")
    await store.write(lambda tx: tx.security_groups.add_rule("g-web", naming))
    await store.write(lambda tx: tx.security_groups.join("w1", ["g-w1"]))
    await store.write(lambda tx: tx.security_groups.join("kept-port", ["g-w1"]))
    await store.write(lambda tx: tx.security_groups.leave("w1"))
    (left,) = await store.read(lambda tx: tx.security_groups.list(EVERYBODY))
    assert left == WEB, "no rule names what is gone"


async def test_a_node_is_told_of_members_elsewhere_and_nodes_of_changes(store: Store) -> None:
    naming = SecurityGroup("g-2", "p-ann", "two", rules=(SecurityRule("r-5", IN, 4, remote_group="g-web"),))

    def prepare(tx: Tx) -> None:
        tx.security_groups.add(WEB)
        tx.security_groups.add(naming)
        tx.networks.add(network("red", "10.66.1.0/24"))
        for id, node, group in (("w1", "n1", "g-web"), ("w2", "n2", "g-web"), ("w3", "n3", "g-2")):
            tx.workloads.add(workload(id))
            tx.workloads.place(id, Placement(node, 1))
            tx.security_groups.join(id, [group])
            tx.networks.add_port(port(f"p-{id}", "n-red", device=id), ())
        tx.networks.add_port(port("kept", "n-red", device="w3", owned=False), ())
        tx.security_groups.join("kept", ["g-web"])

    await store.write(prepare)
    held = {one.id: one.fixed_ips[0].address for one in await store.read(lambda tx: tx.networks.ports(EVERYBODY))}
    there = await rules(store, "g-2", node="n3")
    assert set(there) == {"g-2", "g-web"}
    assert set(there["g-web"].members) == {held["p-w1"], held["p-w2"]}
    assert set((await rules(store, "g-2", node="n1"))["g-web"].members) == {held["p-w2"], held["kept"]}
    assert await store.read(lambda tx: tx.security_groups.nodes(["g-2"])) == {"n3"}
    assert await store.read(lambda tx: tx.security_groups.nodes(["g-web"])) == {"n1", "n2", "n3"}
    assert await store.read(lambda tx: tx.security_groups.other_nodes(["g-web"], "n1")) == set(), "no node is known"
    for id in ("n1", "n2"):
        await store.write(lambda tx, id=id: tx.nodes.announce(id, id, "nova", INVENTORY, T0))  # type: ignore[misc]
    assert await store.read(lambda tx: tx.security_groups.other_nodes(["g-web"], "n1")) == {"n2", "n3"}
    assert await store.read(lambda tx: tx.security_groups.other_nodes(["g-2"], None)) == {"n3"}
