"""The agent with capsules, over fakes: in order, with retries, and no member at the cost of another."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from krater.config import AgentSettings
from krater.errors import Permanent, Temporary
from krater.model.assignment import Assignment
from krater.model.member import Condition, Dependency, Role
from krater.model.workload import Desired, MemberIntent, RestartName, RestartPolicy
from tests.support.agent import Table, altered, assignment_of, capsule_of, spec_of

pytestmark = [pytest.mark.looptime, pytest.mark.thorough]

CAPSULE, OTHER = "c" * 32, "f" * 32
ONE, TWO, LOG, DB, WEB = ("1" * 32, "2" * 32, "3" * 32, "d" * 32, "e" * 32)
ALWAYS = RestartPolicy(RestartName.ALWAYS)


def init(name: str, *command: str, **more: Any) -> Any:
    policy = more.pop("restart", RestartPolicy(RestartName.ON_FAILURE, 10))
    return spec_of(name, *command, role=Role.INIT, restart=policy, **more)


def sidecar(name: str, *command: str) -> Any:
    return spec_of(name, *command, role=Role.SIDECAR, restart=ALWAYS)


def begun(table: Table) -> list[str]:
    """Who was started, in order."""
    return [name for name, *_ in table.world.starts]


async def test_members_begin_in_their_turn_and_the_capsule_comes_to_rest() -> None:
    web = replace(spec_of(WEB), depends_on=(Dependency(DB, Condition.STARTED),))
    specs = (init(ONE, "exit-after", "3"), sidecar(LOG), init(TWO, "exit", "0"), spec_of(DB), web)
    async with Table() as table:
        await table.controller.want(capsule_of(CAPSULE, *specs))
        await asyncio.sleep(2)
        assert begun(table) == [ONE]
        report = await table.settled(CAPSULE)
        assert begun(table) == [ONE, LOG, TWO, DB, WEB]
        assert [one.state for one in report.containers] == ["exited", "running", "exited", "running", "running"]
        assert max(table.world.starts.values()) == 1


async def test_a_batch_ends_and_its_sidecar_and_network_after_it() -> None:
    async with Table() as table:
        await table.controller.want(capsule_of(CAPSULE, sidecar(LOG), spec_of(DB, "exit-after", "5", "0")))
        await asyncio.sleep(6)
        report = await table.settled(CAPSULE)
        assert [one.state for one in report.containers] == ["exited", "exited"]
        assert table.world.stops == [LOG]
        assert not table.network.sandboxes
        assert report.failure is None


async def test_an_init_container_is_tried_again_and_then_dooms_the_rest() -> None:
    async with Table(AgentSettings(restart_base=1, restart_cap=2)) as table:
        policy = RestartPolicy(RestartName.ON_FAILURE, 3)
        await table.controller.want(capsule_of(CAPSULE, init(ONE, "exit", "4", restart=policy), spec_of(WEB)))
        report = await table.settled(CAPSULE)
        assert begun(table) == [ONE] * 4
        assert report.failed == ONE
        assert report.failure == f"init container {ONE[:8]} failed 4 times, the last time with exit code 4."
        assert table.state(WEB) == "created"
        assert not table.network.sandboxes


async def test_a_pull_that_fails_begins_nothing_and_names_its_member_even_beside_slower_ones() -> None:
    async with Table() as table:
        table.world.images.seconds = 30
        specs = (spec_of(DB), spec_of(WEB, image="nowhere/nothing"), spec_of(ONE, image="nginx"))
        await table.controller.want(capsule_of(CAPSULE, *specs))
        report = await table.settled(CAPSULE)
        assert (report.failed, report.failure) == (WEB, "There is no image nowhere/nothing in its registry.")
        assert not table.world.starts
        assert not table.network.sandboxes


async def test_of_two_failures_at_once_the_final_one_is_told_with_its_own_member() -> None:
    table = Table()

    def fail(moment: str, effect: str, subject: str) -> None:
        if (moment, effect, subject) == ("before", "create", DB):
            raise Permanent("never")
        if (moment, effect, subject) == ("before", "create", WEB):
            raise Temporary("later")

    table.start(fail)
    await table.controller.want(capsule_of(CAPSULE, spec_of(DB), spec_of(WEB)))
    report = await table.settled(CAPSULE)
    assert (report.failed, report.failure) == (DB, "never")
    await table.stop()


async def test_trouble_names_its_member() -> None:
    table = Table()
    table.start(lambda moment, effect, subject: _refuse(effect == "create" and subject == WEB))
    await table.controller.want(capsule_of(CAPSULE, spec_of(DB), spec_of(WEB)))
    await asyncio.sleep(5)
    report = table.report(CAPSULE)
    assert report is not None
    assert (report.trouble, report.failed, report.failure, report.settled) == ("later", WEB, None, False)
    await table.stop()


async def test_a_pull_names_its_member_while_it_goes_on_and_when_it_failed() -> None:
    table = Table()
    table.start(
        lambda moment, effect, subject: _refuse((moment, effect, subject) == ("after", "ensure_image", "nginx"))
    )
    table.world.images.add("alpine")
    table.world.images.seconds = 100
    await table.controller.want(capsule_of(CAPSULE, spec_of(DB), spec_of(WEB, image="nginx")))
    await asyncio.sleep(50)
    report = table.report(CAPSULE)
    assert report is not None
    assert (report.failed, (report.trouble or "").partition(":")[0]) == (WEB, "Pulling the image")
    await asyncio.sleep(51)
    report = table.report(CAPSULE)
    assert report is not None
    assert (report.failed, report.trouble) == (WEB, "later")
    await table.stop()


def _refuse(is_so: bool) -> None:
    if is_so:
        raise Temporary("later")


async def test_a_start_that_fails_leaves_the_others_running_and_restarting() -> None:
    specs = (spec_of(DB, "exit-after", "5", "1"), spec_of(WEB, "fail-start"))
    async with Table(AgentSettings(restart_base=1)) as table:
        await table.controller.want(capsule_of(CAPSULE, *specs, restart=ALWAYS))
        await asyncio.sleep(30)
        report = table.report(CAPSULE)
        assert report is not None
        assert report.failed == WEB
        assert begun(table).count(DB) > 2
        assert begun(table).count(WEB) <= 1


async def test_one_member_is_stopped_started_and_paused_alone() -> None:
    async with Table() as table:
        wanted = capsule_of(CAPSULE, spec_of(DB), spec_of(WEB))
        await table.controller.want(wanted)
        await table.settled(CAPSULE)
        for own, state, starts in (
            (MemberIntent(Desired.STOPPED), "exited", 1),
            (MemberIntent(run=1), "running", 2),
            (MemberIntent(run=2), "running", 3),
            (MemberIntent(Desired.PAUSED, run=2), "paused", 3),
        ):
            wanted = altered(wanted, members={WEB: own})
            await table.controller.want(wanted)
            await table.settled(CAPSULE)
            assert (table.state(WEB), begun(table).count(WEB)) == (state, starts)
        assert (table.state(DB), begun(table).count(DB)) == ("running", 1)


async def test_an_agent_that_died_runs_no_init_container_again() -> None:
    table = Table()
    table.start()
    await table.controller.want(capsule_of(CAPSULE, init(ONE, "exit", "0"), spec_of(WEB)))
    await table.settled(CAPSULE)
    await table.stop()
    table.start()
    await asyncio.sleep(3 * table.settings.resync)
    assert begun(table) == [ONE, WEB]
    await table.stop()


@pytest.mark.parametrize("heals", [True, False])
async def test_lost_files_are_made_anew_with_auto_heal_and_told_without(heals: bool) -> None:
    table = Table()
    table.start()
    await table.controller.want(capsule_of(CAPSULE, init(ONE, "exit", "0"), spec_of(WEB), auto_heal=heals))
    await table.settled(CAPSULE)
    await table.stop()
    table.world.containers.clear()
    table.start()
    await asyncio.sleep(3 * table.settings.resync)
    report = await table.settled(CAPSULE)
    assert {key[0]: count for key, count in table.world.starts.items()} == dict.fromkeys((ONE, WEB), 1 + heals)
    assert (report.failure is None) == heals
    await table.stop()


# A stop that takes its time ------------------------------------------------------------------------------------------


def stubborn(*more: Any) -> Assignment:
    return capsule_of(CAPSULE, spec_of(DB, "ignore-term"), *more, restart=ALWAYS)


async def seconds_to_end(table: Table, wanted: Assignment, container: str) -> float:
    """How long it takes until a process has ended, from when something else is wanted."""
    begin = asyncio.get_running_loop().time()
    await table.controller.want(wanted)
    await table.until(lambda: table.state(container) in ("exited", ""), 100_000, 0.5)
    return asyncio.get_running_loop().time() - begin


async def test_a_grace_of_hours_holds_no_place() -> None:
    async with Table(AgentSettings(concurrency=1)) as table:
        wanted = stubborn()
        await table.controller.want(wanted)
        await table.settled(CAPSULE)
        await table.controller.want(altered(wanted, desired=Desired.STOPPED, grace=7200.0))
        await asyncio.sleep(1)
        await table.controller.want(assignment_of(OTHER))
        await table.settled(OTHER, 5)
        assert table.state(DB) == "running"


async def test_a_capsule_that_pulls_many_images_gives_up_one_place_and_not_many() -> None:
    async with Table(AgentSettings(concurrency=1)) as table:
        table.world.images.seconds = 60
        for number, capsule in enumerate((CAPSULE, OTHER)):
            members = (f"{letter}{number}" * 16 for letter in "abcd")
            await table.controller.want(capsule_of(capsule, *(spec_of(name) for name in members)))
        await asyncio.sleep(5)
        assert table.agent is not None
        reconciler = table.agent._reconciler
        assert (reconciler._running, reconciler._aside) == (2, 2)
        await table.settled(CAPSULE, 200)
        await table.settled(OTHER, 200)
        assert reconciler._aside == 0


async def test_while_one_takes_its_time_to_end_the_others_restart() -> None:
    async with Table(AgentSettings(restart_base=1, restart_cap=2, restart_reset=1000)) as table:
        wanted = stubborn(spec_of(WEB, "exit-after", "60", "1"))
        await table.controller.want(wanted)
        await table.settled(CAPSULE)
        asked_at = asyncio.get_running_loop().time()
        wanted = altered(wanted, members={DB: MemberIntent(Desired.STOPPED, grace=1000.0)})
        await table.controller.want(wanted)
        await asyncio.sleep(900)
        assert begun(table).count(WEB) > 10
        assert table.state(DB) == "running"
        assert table.world.stops == [DB], "it was asked once"
        await table.until(lambda: table.state(DB) == "exited", 200)
        assert abs(asyncio.get_running_loop().time() - asked_at - 1000) < 2, "its time did not begin anew"
        assert [s for _, s in table.controller.steps].count("stop") <= 1


async def test_whoever_is_wanted_again_is_not_killed_for_having_been_asked_to_end() -> None:
    async with Table() as table:
        wanted = stubborn(spec_of(WEB))
        await table.controller.want(wanted)
        await table.settled(CAPSULE)
        await table.controller.want(altered(wanted, members={DB: MemberIntent(Desired.STOPPED, grace=100.0)}))
        await asyncio.sleep(10)
        assert table.state(DB) == "running"
        wanted = altered(altered(wanted), members={})
        await table.controller.want(wanted)
        await asyncio.sleep(500)
        assert (table.state(DB), begun(table).count(DB)) == ("running", 1)
        wanted = altered(wanted, members={DB: MemberIntent(Desired.STOPPED, grace=100.0)})
        assert 99 < await seconds_to_end(table, wanted, DB) < 102, "all its time, when it is asked another time"
        assert table.world.asks[DB] == 2


@pytest.mark.parametrize("reached", [60, 99, 150])
async def test_a_crash_gives_nobody_more_time_to_end(reached: int) -> None:
    """The agent dies twice meanwhile; when it comes back late, the time is over."""
    table = Table()
    table.start()
    wanted = stubborn()
    await table.controller.want(wanted)
    await table.settled(CAPSULE)
    begin = asyncio.get_running_loop().time()
    await table.controller.want(altered(wanted, desired=Desired.STOPPED, grace=100.0))
    await asyncio.sleep(30)
    await table.stop()
    table.start()
    await asyncio.sleep(20)
    await table.stop()
    await asyncio.sleep(reached - 50)
    assert table.state(DB) == "running"
    table.start()
    await table.settled(CAPSULE, 100)
    assert abs(asyncio.get_running_loop().time() - begin - max(100, reached)) < 2
    assert table.world.asks[DB] == 1
    await table.stop()


async def test_a_removal_is_hurried_again_and_again_and_its_time_counts_from_when_it_began() -> None:
    async with Table() as table:
        wanted = stubborn(spec_of(WEB, "ignore-term"), spec_of(LOG, "ignore-term"))
        await table.controller.want(wanted)
        await table.settled(CAPSULE)
        wanted = altered(wanted, desired=Desired.REMOVED, grace=7200.0)
        await table.controller.want(wanted)
        await asyncio.sleep(60)
        assert [table.state(one) for one in (DB, WEB, LOG)] == ["running"] * 3
        wanted = altered(wanted, grace=100.0)
        assert 39 < await seconds_to_end(table, wanted, LOG) < 42, "of its hundred seconds sixty were over"
        await asyncio.sleep(30)
        wanted = altered(wanted, grace=20.0)
        assert await seconds_to_end(table, wanted, WEB) < 2
        assert 19 < await seconds_to_end(table, wanted, DB) < 23
        await table.until(lambda: CAPSULE not in table.controller.assignments, 5)
        assert table.world.asks == {LOG: 1, WEB: 1, DB: 1}


async def test_many_members_that_end_at_once_come_to_rest() -> None:
    async with Table() as table:
        inits = [init(f"{number:02d}" * 16, "exit", "0") for number in range(20)]
        await table.controller.want(capsule_of(CAPSULE, *inits, spec_of(WEB)))
        await table.settled(CAPSULE, 10)
        assert begun(table) == [*(spec.id for spec in inits), WEB]


async def test_a_grace_of_hours_ends_when_something_else_is_asked() -> None:
    async with Table() as table:
        wanted = stubborn()
        await table.controller.want(wanted)
        await table.settled(CAPSULE)
        wanted = altered(wanted, desired=Desired.REMOVED, grace=7200.0)
        await table.controller.want(wanted)
        await asyncio.sleep(60)
        assert table.state(DB) == "running"
        await table.controller.want(altered(wanted, grace=0.0))
        await table.until(lambda: CAPSULE not in table.controller.assignments, 5)
        assert not table.world.containers


async def test_a_network_namespace_that_lost_its_name_is_named_again_and_nobody_is_ended() -> None:
    async with Table() as table:
        wanted = capsule_of(CAPSULE, sidecar(LOG), spec_of(DB), spec_of(WEB))
        await table.controller.want(wanted)
        await table.settled(CAPSULE)
        cards = dict(table.network.sandboxes.pop(CAPSULE))
        await asyncio.sleep(600)  # until all is compared
        assert table.network.sandboxes == {CAPSULE: cards}
        await table.controller.want(altered(wanted, members={WEB: MemberIntent(run=1)}))
        await table.settled(CAPSULE)
        assert [begun(table).count(name) for name in (LOG, DB, WEB)] == [1, 1, 2]
        assert table.network.sandboxes == {CAPSULE: cards}
