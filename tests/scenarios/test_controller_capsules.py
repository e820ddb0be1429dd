"""A capsule's life as the controller sees it: one place, one claim, and a history for each of its members."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from krater.bus.messages import Pull, SendReports
from krater.model.assignment import ContainerState, Made, ObservedContainer, Report, StepEvent
from krater.model.member import Condition, Dependency, Probe
from krater.model.quota import Usage
from krater.model.workload import ContainerSpec, Desired, MemberIntent, Resources
from krater.store.interfaces import EVERYBODY, Action, Departure
from tests.support.control import ANN, World, a_world

pytestmark = pytest.mark.thorough

CREATED, RUNNING, PAUSED, EXITED = ContainerState
SMALL, WHOLE = Resources(1.0, 256), Resources(2.0, 1024)
DB = ContainerSpec("m-db", "db", "busybox", SMALL, liveness=Probe(port=1))
WEB = ContainerSpec("m-web", "web", "busybox", SMALL, depends_on=(Dependency("m-db", Condition.HEALTHY),))
LOG = ContainerSpec("m-log", "log", "busybox", SMALL)
MEMBERS = (DB, WEB, LOG)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as world:
        yield world


async def create(world: World, **more: Any) -> None:
    await world.create("c1", members=MEMBERS, resources=more.pop("resources", WHOLE), **more)


async def action(world: World, owner: str, request: str) -> Action:
    return await world.real.read(lambda tx: tx.actions.get(EVERYBODY, owner, request))


async def departed(world: World, ident: str) -> Departure:
    since = world.clock() - timedelta(hours=1)
    return await world.real.read(lambda tx: tx.departures.get(EVERYBODY, ident, since))


async def report(
    world: World, *seen: ObservedContainer, settled: bool = True, events: tuple[StepEvent, ...] = (), **more: Any
) -> None:
    """What the node says of the capsule now."""
    row = await world.get("c1")
    told = Report("c1", row.placement.epoch, row.intent.generation, seen, settled, events=events, **more)
    await world.endpoint.send_reports(SendReports("n1", (told,)))


def one(member: ContainerSpec, state: ContainerState = RUNNING, run: int = 1, **more: Any) -> ObservedContainer:
    return ObservedContainer(member.id, 0, state, run, **more)


UP = (one(DB), one(WEB), one(LOG))


# Placing -------------------------------------------------------------------------------------------------------------


async def test_a_capsule_is_placed_whole_and_claims_what_the_whole_asks(world: World) -> None:
    await world.announce()
    await create(world)
    await world.settle()
    assert (await world.get("c1")).placement.node == "n1"
    assert await world.held() == ({"c1"}, {"c1"})
    (capacity,) = await world.allocations.capacities()
    assert (capacity.used.cpu, capacity.used.memory) == (2.0, 1024)
    (given,) = (await world.endpoint.pull(Pull("n1"))).assignments
    assert [spec.id for spec in given.containers] == ["m-db", "m-web", "m-log"]
    assert (given.whole, len(given.nics)) == (WHOLE, 1)


async def test_a_capsule_for_which_there_is_no_room_is_refused_whole_and_holds_nothing(world: World) -> None:
    await world.announce()
    await create(world, resources=Resources(1.0, 8192))
    await world.settle()
    row = await world.get("c1")
    assert row.placement.node is None
    assert "Not enough memory" in (row.placement.refusal or "")
    assert await world.held() == (set(), set())
    assert (await action(world, "c1", "req-c1")).message == row.placement.refusal


async def test_quota_and_claims_are_given_back_and_each_members_log_can_be_found(world: World) -> None:
    await world.announce()
    await create(world)
    await world.settle()
    assert (await world.usage()).containers == 3
    await world.want("c1", Desired.REMOVED)
    await world.settle()
    assert not await world.exists("c1")
    assert await world.usage() == Usage()
    assert await world.held() == (set(), set())
    for member in MEMBERS:
        gone = await departed(world, member.id)
        assert (gone.id, gone.project_id, gone.node) == (member.id, ANN.project_id, "n1")


# Histories -----------------------------------------------------------------------------------------------------------


async def running(world: World) -> None:
    await world.announce()
    await create(world)
    await world.settle()


async def test_what_is_asked_of_a_member_is_closed_when_its_node_is_done(world: World) -> None:
    await running(world)
    request = await world.ask_of_member("c1", "m-web", MemberIntent(run=1))
    await report(world, *UP, settled=False)
    assert (await action(world, "m-web", request)).finish_time is None
    await report(world, one(DB), one(WEB, run=2), one(LOG))
    done = await action(world, "m-web", request)
    assert (done.finish_time, done.message) == (world.clock(), None)


async def test_steps_are_kept_with_what_asked_for_them(world: World) -> None:
    await running(world)
    request = await world.ask_of_member("c1", "m-web", MemberIntent(run=1))
    at = world.clock()
    steps = tuple(StepEvent(step, at, at, None, member) for step, member in (("stop", "m-web"), ("start", "m-log")))
    await report(world, one(DB), one(WEB, run=2), one(LOG), events=steps)
    assert [e.event for e in (await action(world, "m-web", request)).events] == ["stop web"]
    assert [e.event for e in (await action(world, "c1", "req-c1")).events][-1] == "start log"
    await report(world, one(DB), one(WEB, run=2), one(LOG, attempt=1), events=(replace(steps[0], step="start"),))
    assert [e.event for e in (await action(world, "c1", "req-c1")).events][-1] == "start web"


async def test_a_failure_of_one_closes_nothing_that_is_asked_of_another(world: World) -> None:
    await running(world)
    of_web = await world.ask_of_member("c1", "m-web", MemberIntent(run=1))
    of_log = await world.ask_of_member("c1", "m-log", MemberIntent(run=1))
    failed = one(LOG, EXITED, run=2, error="no such file")
    await report(world, one(DB), one(WEB), failed, settled=False, failure="no such file", failed="m-log")
    assert (await action(world, "m-log", of_log)).message == "no such file"
    assert (await action(world, "m-web", of_web)).finish_time is None
    await report(world, one(DB), one(WEB, run=2), failed, failure="no such file", failed="m-log")
    done = await action(world, "m-web", of_web)
    assert (done.finish_time, done.message) == (world.clock(), None)


async def test_what_could_not_be_begun_is_no_success(world: World) -> None:
    await running(world)
    request = await world.ask_of_member("c1", "m-web", MemberIntent(run=1))
    ended = one(DB, EXITED, exit_code=3)
    doom = "db failed with exit code 3."
    await report(world, ended, one(WEB), one(LOG), failure=doom, failed="m-db")
    assert (await action(world, "m-web", request)).message == doom


async def test_what_waits_for_its_user_is_told_so(world: World) -> None:
    await running(world)
    await world.ask_of_member("c1", "m-db", MemberIntent(Desired.STOPPED), "stop")
    request = await world.ask_of_member("c1", "m-web", MemberIntent(run=1))
    await report(world, one(DB, EXITED, exit_code=143), one(WEB, EXITED, exit_code=143), one(LOG))
    told = await action(world, "m-web", request)
    assert told.message == "Waits for db to be healthy, but it is halted."


async def test_a_lost_member_is_told_to_whoever_asked_something_of_it(world: World) -> None:
    await running(world)
    request = await world.ask_of_member("c1", "m-log", MemberIntent(Desired.PAUSED), "pause")
    lost = "The container is not on its node any more."
    await report(world, one(DB), one(WEB), failure=lost, failed="m-log", made=(Made("m-log", 0, 1),))
    assert (await action(world, "m-log", request)).message == lost
    assert (await world.get("c1")).removal is None


async def test_the_end_of_a_capsule_closes_what_was_asked_of_its_members(world: World) -> None:
    await running(world)
    request = await world.ask_of_member("c1", "m-web", MemberIntent(run=1))
    await world.want("c1", Desired.REMOVED)
    await world.settle()
    assert not await world.exists("c1")
    assert (await action(world, "m-web", request)).finish_time == world.clock()
