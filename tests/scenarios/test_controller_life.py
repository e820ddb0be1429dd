"""A workload's life as the controller sees it: placed, reported on, removed, forgotten."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from krater.bus.interfaces import node_target
from krater.bus.messages import Pull, SendReports, WorkloadChanged
from krater.config import SchedulerSettings, Settings
from krater.controller.reports import AUTO_REMOVE
from krater.controller.scheduler.select import REFUSAL
from krater.model.assignment import ContainerState, ObservedContainer, Report
from krater.model.network import NetRequest
from krater.model.quota import Usage
from krater.model.status import CREATING, ERROR, RUNNING, derive_status
from krater.model.workload import Desired, Resources
from krater.store.interfaces import EVERYBODY
from tests.support.control import ANN, INVENTORY, World, a_world, placed

pytestmark = pytest.mark.thorough


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as world:
        yield world


async def status(world: World, id: str) -> str:
    row = await world.get(id)
    alive = True
    derived = derive_status(row.intent, row.placement, row.observed, container=id, node_alive=alive, now=world.clock())
    return derived.word


# Placing -------------------------------------------------------------------------------------------------------------


async def test_a_new_workload_is_placed_claimed_addressed_and_its_node_told(world: World) -> None:
    await world.announce()
    await world.create("w1")
    assert await world.workloads.reconcile("w1") is None
    placement = (await world.get("w1")).placement
    assert (placement.node, placement.epoch, placement.refusal) == ("n1", 1, None)
    assert [nic.name for nic in placement.nics] == ["eth0"]
    assert await world.held() == ({"w1"}, {"w1"})
    assert world.bus.hints == [(node_target("n1"), WorkloadChanged("w1"))]


async def test_placing_takes_three_writes(world: World) -> None:
    await world.announce()
    await world.create("w1")
    before = world.store.writes
    await world.workloads.reconcile("w1")
    assert world.store.writes - before == 3


async def test_a_changed_workload_is_hinted_to_its_node_and_its_claim_follows(world: World) -> None:
    await world.announce()
    row = await world.create("w1")
    await world.settle()
    (container,) = row.spec.containers
    bigger = replace(row.spec, containers=(replace(container, resources=Resources(2.0, 1024)),))
    intent = replace(row.intent, generation=2)
    await world.real.write(lambda tx: tx.workloads.set_intent("w1", intent, spec=bigger))
    world.bus.hints.clear()
    await world.workloads.reconcile("w1")
    assert world.bus.hints == [(node_target("n1"), WorkloadChanged("w1"))]
    (capacity,) = await world.allocations.capacities()
    assert (capacity.used.cpu, capacity.used.memory) == (2.0, 1024)


async def test_without_room_it_is_refused_with_the_reasons_and_holds_nothing(world: World) -> None:
    await world.announce()
    await world.create("w1", resources=Resources(1.0, 8192))
    await world.settle()
    row = await world.get("w1")
    assert row.placement.refusal == f"{REFUSAL} Not enough memory."
    assert await status(world, "w1") == ERROR
    assert await world.held() == (set(), set())
    action = (await world.actions("w1"))["create"]
    assert (action.message, action.finish_time) == (row.placement.refusal, world.clock())


async def test_a_refusal_is_tried_again_when_the_user_wants_something_new(world: World) -> None:
    await world.announce()
    await world.create("w1", host="host-n2")
    await world.settle()
    version = (await world.get("w1")).version
    await world.settle()
    assert (await world.get("w1")).version == version
    await world.real.write(
        lambda tx: tx.workloads.set_intent(
            "w1",
            replace(tx.workloads.get(EVERYBODY, "w1").intent, generation=2),
            spec=replace(tx.workloads.get(EVERYBODY, "w1").spec, host=None),
        )
    )
    await world.settle()
    assert await status(world, "w1") == RUNNING


async def test_a_new_node_takes_what_was_refused(world: World) -> None:
    await world.announce("n1")
    await world.create("w1", host="host-n2")
    await world.settle()
    await world.announce("n1")
    assert world.woken == []
    await world.announce("n2")
    assert world.woken == ["w1"]
    await world.settle()
    assert (await world.get("w1")).placement.node == "n2"


async def test_while_no_node_lives_it_waits_and_then_is_refused(world: World) -> None:
    await world.create("w1")
    patience = Settings().scheduler.patience
    assert await world.workloads.reconcile("w1") == 1.0
    world.clock.move(patience - 1)
    assert await world.workloads.reconcile("w1") == 1.0
    assert await status(world, "w1") == CREATING
    world.clock.move(2)
    assert await world.workloads.reconcile("w1") is None
    assert (await world.get("w1")).placement.refusal == f"{REFUSAL} No host has reported yet."


async def test_a_node_that_comes_in_time_ends_the_wait(world: World) -> None:
    await world.create("w1")
    await world.workloads.reconcile("w1")
    await world.announce()
    assert world.woken == ["w1"]
    await world.settle()
    assert await status(world, "w1") == RUNNING


async def test_many_at_once_fill_the_nodes_and_no_more(world: World) -> None:
    small = replace(INVENTORY, memory=1536)  # room for three of 512 MiB: (1536 - 512) * 1.5
    await world.announce("n1", small)
    await world.announce("n2", small)
    ids = [f"w{number}" for number in range(8)]
    for id in ids:
        await world.create(id)
    await world.settle()
    nodes = [(await world.get(id)).placement.node for id in ids]
    assert (nodes.count("n1"), nodes.count("n2"), nodes.count(None)) == (3, 3, 2)


async def test_spread_and_binpack_are_a_setting(tmp_path: Path) -> None:
    for weigher, expected in (("spread", {"n1", "n2"}), ("binpack", {"n1"})):
        (tmp_path / weigher).mkdir()
        settings = Settings(scheduler=SchedulerSettings(weigher=weigher))
        async with a_world(tmp_path / weigher, settings) as world:
            for node in ("n1", "n2"):
                await world.announce(node)
            for id in ("w1", "w2"):
                await world.create(id)
                await world.settle()
            assert {(await world.get(id)).placement.node for id in ("w1", "w2")} == expected


async def test_a_taken_address_becomes_the_reason_and_gives_the_claim_back(world: World) -> None:
    await world.announce()
    first = await world.create("w1")
    await world.settle()
    taken = (await world.get("w1")).placement.nics[0].addresses[0].address
    await world.create("w2", nets=[NetRequest(first.spec.nets[0].network, None, (taken,))])
    await world.settle()
    assert taken in ((await world.get("w2")).placement.refusal or "")
    assert await world.held() == ({"w1"}, {"w1"})


async def test_a_change_while_a_place_is_looked_for_is_not_lost(world: World) -> None:
    await world.announce()
    await world.create("w1")
    ensure = world.networks.ensure_ports

    async def slow(*args: object) -> object:
        nics = await ensure(*args)  # type: ignore[arg-type]
        await world.want("w1", Desired.REMOVED)
        return nics

    world.networks.ensure_ports = slow  # type: ignore[assignment,method-assign]
    assert await world.workloads.reconcile("w1") == 0.0
    await world.settle()
    assert not await world.exists("w1")
    assert await world.held() == (set(), set())


# Reports -------------------------------------------------------------------------------------------------------------


async def test_reports_close_the_action_and_keep_its_steps(world: World) -> None:
    node = await world.announce()
    await world.create("w1")
    await world.workloads.reconcile("w1")
    await world.sync(node)
    assert await status(world, "w1") == RUNNING
    action = await world.real.read(lambda tx: tx.actions.get(EVERYBODY, "w1", "req-w1"))
    assert (action.finish_time, action.message) == (world.clock(), None)
    assert [event.event for event in action.events]


async def test_a_failure_closes_the_action_with_its_reason(world: World) -> None:
    node = await world.announce()
    node.failures["w1"] = "The command was not found."
    await world.create("w1", auto_remove=True)
    await world.settle()
    assert (await world.actions("w1"))["create"].message == "The command was not found."
    assert await status(world, "w1") == ERROR
    assert (await world.get("w1")).removal is None


def report(
    state: ContainerState = ContainerState.EXITED, epoch: int = 1, generation: int = 1, **more: object
) -> Report:
    seen = ObservedContainer("w1", 0, state, run=1)
    return Report("w1", epoch, generation, containers=(seen,), settled=True, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("node", ["n2", "n1"])
async def test_reports_of_other_nodes_or_older_epochs_are_ignored(world: World, node: str) -> None:
    await placed(world)
    before = await world.get("w1")
    stale = report(epoch=1 if node == "n2" else 0, gone=True)
    await world.endpoint.send_reports(SendReports(node, (stale,)))
    assert await world.get("w1") == before


async def test_a_report_on_an_older_intent_never_overwrites_a_newer_one(world: World) -> None:
    await placed(world)
    await world.want("w1", Desired.STOPPED)
    await world.settle()
    before = await world.get("w1")
    await world.endpoint.send_reports(SendReports("n1", (report(ContainerState.RUNNING, generation=1),)))
    assert await world.get("w1") == before


async def test_the_same_report_again_changes_nothing(world: World) -> None:
    await placed(world)
    before = await world.get("w1")
    await world.sync(world.nodes["n1"])
    assert await world.get("w1") == before


async def test_reports_about_unknown_workloads_are_ignored(world: World) -> None:
    await placed(world)
    await world.endpoint.send_reports(SendReports("n1", (replace(report(), workload="w9"),)))


async def test_gone_is_believed_only_for_the_intent_that_wants_it(world: World) -> None:
    await placed(world)
    await world.want("w1", Desired.REMOVED)
    await world.endpoint.send_reports(SendReports("n1", (Report("w1", 1, 1, gone=True),)))
    assert (await world.get("w1")).placement.node == "n1"


async def test_gone_means_nothing_for_a_workload_that_should_be_there(world: World) -> None:
    await placed(world)
    await world.endpoint.send_reports(SendReports("n1", (Report("w1", 1, 1, gone=True),)))
    assert (await world.get("w1")).placement.node == "n1"


# Pulls ---------------------------------------------------------------------------------------------------------------


async def test_a_complete_pull_is_all_of_a_node_and_a_narrow_one_only_what_was_asked(world: World) -> None:
    for node in ("n1", "n2"):
        await world.announce(node)
    for id in ("w1", "w2", "w3"):
        await world.create(id)
        await world.settle()
    rows = {id: (await world.get(id)).placement.node for id in ("w1", "w2", "w3")}
    for node in ("n1", "n2"):
        everything = await world.endpoint.pull(Pull(node))
        assert everything.complete
        assert {a.workload for a in everything.assignments} == {id for id, at in rows.items() if at == node}
        narrow = await world.endpoint.pull(Pull(node, ("w1", "w9")))
        assert not narrow.complete
        assert {a.workload for a in narrow.assignments} == ({"w1"} if rows["w1"] == node else set())


async def test_an_assignment_spells_everything_out(world: World) -> None:
    await placed(world)
    (given,) = (await world.endpoint.pull(Pull("n1"))).assignments
    assert (given.epoch, given.project_id, given.hostname) == (1, ANN.project_id, "name-w1")
    (nic,) = given.nics
    assert nic.default_route
    assert nic.gateways == ("10.66.0.1/24",)


# Removal -------------------------------------------------------------------------------------------------------------


async def test_a_removed_workload_leaves_nothing_but_its_history(world: World) -> None:
    await placed(world)
    await world.want("w1", Desired.REMOVED)
    await world.workloads.reconcile("w1")
    assert world.bus.hints[-1] == (node_target("n1"), WorkloadChanged("w1"))
    await world.sync(world.nodes["n1"])
    assert world.woken[-1] == "w1"
    await world.workloads.reconcile("w1")
    assert not await world.exists("w1")
    assert await world.held() == (set(), set())
    assert await world.usage() == Usage()
    assert {a.finish_time for a in (await world.actions("w1")).values()} == {world.clock()}
    assert world.nodes["n1"].removed == ["w1"]


async def test_a_refused_workload_is_removed_at_once(world: World) -> None:
    await world.announce()
    await world.create("w1", host="elsewhere")
    await world.workloads.reconcile("w1")
    await world.want("w1", Desired.REMOVED)
    await world.workloads.reconcile("w1")
    assert not await world.exists("w1")
    assert await world.usage() == Usage()


async def test_auto_remove_waits_for_the_end_and_leaves_nothing(world: World) -> None:
    node = await world.announce()
    await world.create("w1", auto_remove=True)
    await world.settle()
    assert await status(world, "w1") == RUNNING
    node.exits.add("w1")
    await world.sync(node)
    assert (await world.get("w1")).removal == AUTO_REMOVE
    await world.settle()
    assert not await world.exists("w1")
    assert await world.held() == (set(), set())


async def test_auto_remove_does_not_take_a_restart_that_is_due_for_the_end(world: World) -> None:
    await world.announce()
    await world.create("w1", auto_remove=True)
    await world.settle()
    waiting = replace(report(), settled=False)
    await world.endpoint.send_reports(SendReports("n1", (waiting,)))
    assert (await world.get("w1")).removal is None


async def test_a_removed_workload_on_a_dead_node_waits_for_it(world: World) -> None:
    await placed(world)
    world.clock.move(3600)
    await world.want("w1", Desired.REMOVED)
    await world.workloads.reconcile("w1")
    assert await world.exists("w1")
    await world.announce("n1")
    await world.settle()
    assert not await world.exists("w1")


async def test_a_node_declared_down_is_not_waited_for_and_cleans_up_when_it_returns(world: World) -> None:
    await placed(world)
    await world.want("w1", Desired.REMOVED)
    await world.real.write(lambda tx: tx.nodes.set_forced_down("host-n1", True))
    await world.watcher.watch()
    assert world.woken == ["w1"]
    await world.workloads.reconcile("w1")
    assert not await world.exists("w1")
    assert await world.held() == (set(), set())
    assert await world.usage() == Usage()
    assert world.nodes["n1"].containers
    await world.real.write(lambda tx: tx.nodes.set_forced_down("host-n1", False))
    await world.sync(world.nodes["n1"])
    assert not world.nodes["n1"].containers
