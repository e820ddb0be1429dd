"""Other networks for a workload that is placed: whatever dies when, and whatever the bus loses."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from krater.bus.interfaces import node_target
from krater.bus.messages import GroupsChanged, Pull
from krater.cloud.interfaces import NetAsk
from krater.controller.reports import fold
from krater.model.assignment import Report
from krater.model.network import NetRequest, Network, Port, Subnet
from krater.model.security import Direction, SecurityRule, exposing_group
from krater.model.workload import Desired
from krater.store.interfaces import EVERYBODY, Action, Tx, Workload
from tests.support.control import ANN, Killed, World, a_world, placed

pytestmark = pytest.mark.thorough


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as made:
        await placed(made)
        await made.real.write(
            lambda tx: tx.networks.add(
                Network("back", "back", ANN.project_id, (Subnet("s", "10.99.0.0/29", "10.99.0.1"),))
            )
        )
        yield made


async def wants(world: World, *nets: NetRequest) -> Workload:
    """What the API's network_attach and network_detach write."""
    row = await world.get("w1")
    intent = replace(row.intent, generation=row.intent.generation + 1)
    action = Action("w1", f"nets-{intent.generation}", "req", "u", row.project_id, intent.generation, world.clock())

    def change(tx: Tx) -> Workload:
        tx.actions.start(action)
        return tx.workloads.set_intent("w1", intent, spec=replace(row.spec, nets=nets))

    return await world.real.write(change)


async def networks(world: World) -> list[str]:
    return [nic.network for nic in (await world.get("w1")).placement.nics]


async def held(world: World) -> set[str]:
    return {port.network for port in await world.real.read(lambda tx: tx.networks.ports(EVERYBODY)) if port.device}


async def test_a_lost_hint_only_costs_a_resync(world: World) -> None:
    (first,) = (await world.get("w1")).spec.nets
    before = (await world.get("w1")).placement
    await wants(world, first, NetRequest("back"))
    assert "w1" in await world.real.read(lambda tx: tx.workloads.unfinished())
    await world.settle()
    after = (await world.get("w1")).placement
    assert [nic.name for nic in after.nics] == ["eth0", "eth1"]
    assert after.nics[0] == before.nics[0]
    assert after.epoch == before.epoch + 1
    await wants(world, NetRequest("back"))
    await world.settle()
    (nic,) = (await world.get("w1")).placement.nics
    assert (nic, nic.name) == (after.nics[1], "eth1")
    assert await held(world) == {"back"}
    assert (await world.get("w1")).placement.leaving == ()
    await wants(world)
    await world.settle()
    assert await held(world) == set()
    assert all(action.finish_time and not action.message for action in (await world.actions("w1")).values())


async def test_a_port_is_held_until_its_node_has_let_go(world: World) -> None:
    (first,) = (await world.get("w1")).spec.nets
    old = (await world.get("w1")).placement
    await wants(world)
    generation = (await world.get("w1")).intent.generation
    stale = Report("w1", old.epoch, generation, settled=True)
    await world.real.write(lambda tx: _fold(tx, stale, world))
    assert not (await world.get("w1")).observed.settled, "it does not know yet of what was taken away"
    await world.workloads.reconcile("w1")
    assert (await world.get("w1")).placement.leaving == (old.nics[0].port,)
    await world.real.write(lambda tx: _fold(tx, stale, world))
    await world.workloads.reconcile("w1")
    assert await held(world) == {first.network}
    await world.settle()
    assert await held(world) == set()


def _fold(tx: Tx, report: Report, world: World) -> None:
    fold(tx, "n1", [report], world.clock())


async def test_any_death_of_the_controller_is_made_good(world: World) -> None:
    (first,) = (await world.get("w1")).spec.nets
    port = await world.real.write(
        lambda tx: tx.networks.add_port(Port("mine", "back", ANN.project_id, "", (), owned=False), ())
    )
    asks = [(first, NetRequest("back", port.id)), (NetRequest("back", port.id),), (first,), ()]
    for step, nets in enumerate(asks):
        for when in ("die_before", "die_after"):
            for at in (1, 2, 3):
                await wants(world, *nets)
                setattr(world.store, when, world.store.writes + at)
                with suppress(Killed):
                    await world.settle()
                world.restart()
                await world.settle()
                assert await networks(world) == [net.network for net in nets], (step, when, at)
                assert await held(world) == {net.network for net in nets}
    assert not (await world.real.read(lambda tx: tx.networks.get_port(EVERYBODY, "mine"))).device


async def test_ports_for_what_is_not_asked_for_any_more_are_free_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = (await world.get("w1")).spec.nets
    await world.real.write(lambda tx: tx.networks.add_port(Port("mine", "back", ANN.project_id, "", (), owned=False)))
    await wants(world, first, NetRequest("back", "mine"), NetRequest("back"))
    plain = world.networks.ensure_ports

    async def overtaken(*arguments: Any) -> Any:
        """Its user takes it back while the ports are made, before a placement names them."""
        nics = await plain(*arguments)
        assert await held(world) == {first.network, "back"}
        await wants(world, first)
        return nics

    monkeypatch.setattr(world.networks, "ensure_ports", overtaken)
    await world.workloads.reconcile("w1")
    assert await held(world) == {first.network}


async def test_ports_that_a_death_left_behind_go_with_the_next_change(world: World) -> None:
    (first,) = (await world.get("w1")).spec.nets
    await wants(world, first, NetRequest("back"))
    world.store.die_after = world.store.writes + 1  # the ports are there, and no placement names them
    with suppress(Killed):
        await world.workloads.reconcile("w1")
    assert await held(world) == {first.network, "back"}
    world.restart()
    await wants(world)
    await world.settle()
    assert await held(world) == set()


@pytest.mark.parametrize("is_stopped", [False, True])
async def test_ports_that_a_death_left_behind_are_given_back_if_nothing_changes(world: World, is_stopped: bool) -> None:
    mine = Port("mine", "back", ANN.project_id, "", (), owned=False)
    await world.real.write(lambda tx: tx.networks.add_port(mine))
    (first,) = (await world.get("w1")).spec.nets
    await wants(world, first, NetRequest("back"), NetRequest("back", "mine"))
    world.store.die_after = world.store.writes + 1
    with suppress(Killed):
        await world.workloads.reconcile("w1")
    world.restart()
    await wants(world, first)
    if is_stopped:
        await world.want("w1", Desired.STOPPED)
    await world.settle()
    assert await held(world) == {first.network, "back"}, "no placement was to change, so nobody looked"
    await world.garbage.collect()
    assert await held(world) == {first.network, "back"}, "only who looks after the workload knows"
    await world.workloads.reconcile("w1")
    assert await held(world) == {first.network}
    assert [port.id for port in await world.real.read(lambda tx: tx.networks.ports(EVERYBODY))][-1:] == ["mine"]


async def test_ports_that_are_just_being_named_are_not_given_back(world: World) -> None:
    (first,) = (await world.get("w1")).spec.nets
    await wants(world, first, NetRequest("back"))
    world.store.die_after = world.store.writes + 1
    with suppress(Killed):
        await world.workloads.reconcile("w1")
    world.restart()
    await world.garbage.collect()
    for _ in range(2):
        await world.workloads.reconcile("w1")
        assert await networks(world) == [first.network, "back"]
        assert await held(world) == {first.network, "back"}


async def test_a_port_that_came_back_while_it_was_given_back_is_not_given_back_again(world: World) -> None:
    (first,) = (await world.get("w1")).spec.nets
    port = Port("mine", "back", ANN.project_id, "", (), owned=False)
    await world.real.write(lambda tx: tx.networks.add_port(port))
    await wants(world, first, NetRequest("back", "mine"))
    await world.settle()
    await wants(world, first)
    await world.workloads.reconcile("w1")
    await world.sync(world.nodes["n1"])
    world.store.die_after = world.store.writes + 2  # it is free, and the placement still says that it leaves
    with suppress(Killed):
        await world.workloads.reconcile("w1")
    assert await held(world) == {first.network}
    world.restart()
    await wants(world, first, NetRequest("back", "mine"))
    await world.settle()
    assert await networks(world) == [first.network, "back"]
    assert await held(world) == {first.network, "back"}, "its card is in use"


async def test_what_cannot_be_had_is_told_and_hurts_nothing(world: World) -> None:
    (first,) = (await world.get("w1")).spec.nets
    before = (await world.get("w1")).placement
    taken = await world.networks.resolve(ANN, [NetAsk("back", fixed_ips=("10.99.0.4",))])
    await world.create("w2", nets=taken)
    await world.settle()
    await wants(world, first, *taken)
    await world.settle()
    row = await world.get("w1")
    assert row.placement.nics == before.nics
    assert "10.99.0.4" in (row.placement.refusal or "")
    (failed,) = [a for a in (await world.actions("w1")).values() if a.message]
    assert failed.finish_time is not None
    await wants(world, first)
    await world.settle()
    assert await networks(world) == [first.network]


async def test_nodes_are_told_the_groups_of_their_cards(world: World) -> None:
    answer = await world.endpoint.pull(Pull("n1"))
    ((nic,),) = [one.nics for one in answer.assignments]
    (default,) = nic.groups or ()
    await world.real.write(lambda tx: tx.security_groups.ensure_default(ANN.project_id))
    await world.real.write(lambda tx: tx.security_groups.join("w1", [default]))
    answer = await world.endpoint.pull(Pull("n1", ("w1",)))
    assert [group.id for group in answer.groups] == [default]
    rule = SecurityRule("r", Direction.INGRESS, 4, "tcp", 80, 80)
    await world.real.write(lambda tx: tx.security_groups.add_rule(default, rule))
    await world.endpoint.groups_changed(GroupsChanged((default,)))
    assert world.bus.hints[-1] == (node_target("n1"), GroupsChanged((default,)))
    answer = await world.endpoint.pull(Pull("n1", (), (default,)))
    assert (answer.assignments, answer.complete) == ((), False)
    assert rule in answer.groups[0].rules


async def test_other_nodes_are_told_who_comes_and_goes_also_after_a_restart(world: World) -> None:
    def join(tx: Tx) -> None:
        tx.security_groups.join("w1", [tx.security_groups.ensure_default(ANN.project_id).id])

    await world.real.write(join)
    await world.announce("n2")
    await world.real.write(lambda tx: tx.nodes.set_disabled("host-n1", True, None))
    await world.create("w2")
    await world.settle()
    row = await world.get("w1")
    (default,) = row.security_groups
    await world.real.write(lambda tx: tx.security_groups.join("w2", [default]))
    told = node_target("n2"), GroupsChanged((default,))
    world.restart()
    await wants(world, *row.spec.nets, NetRequest("back"))
    await world.workloads.reconcile("w1")
    assert told in world.bus.hints, "an address comes"
    await wants(world, *row.spec.nets)
    await world.workloads.reconcile("w1")
    await world.sync(world.nodes["n1"])
    world.restart()
    await world.workloads.reconcile("w1")
    assert told in world.bus.hints, "an address is free"
    await world.want("w1", Desired.REMOVED)
    await world.workloads.reconcile("w1")
    await world.sync(world.nodes["n1"])
    world.restart()
    await world.workloads.reconcile("w1")
    assert not await world.exists("w1")
    assert told in world.bus.hints, "all is gone"


async def test_a_removed_workload_takes_its_own_group_along(world: World) -> None:
    def expose(tx: Tx) -> None:
        tx.security_groups.add(exposing_group("g-own", ANN.project_id, "w1", [(80, "tcp")]))
        tx.security_groups.join("w1", ["g-own"])

    await world.real.write(expose)
    await world.want("w1", Desired.REMOVED)
    await world.settle()
    assert await world.real.read(lambda tx: tx.security_groups.list(EVERYBODY)) == []
