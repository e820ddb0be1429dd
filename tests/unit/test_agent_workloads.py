"""The agent over fakes: what is asked comes about, once, and is told at once."""

import asyncio
from dataclasses import replace

import pytest

from krater.agent.runtimes.fake import FakeEngineWorld, FakeRuntime
from krater.bus.messages import WorkloadChanged
from krater.config import AgentSettings
from krater.errors import Permanent, Temporary
from krater.model.workload import Desired, PullPolicy, RestartName, RestartPolicy
from tests.support.agent import Table, altered, assignment_of, nic_of, spec_of

pytestmark = pytest.mark.looptime

ONE, TWO = "1" * 32, "2" * 32


async def test_a_container_runs_with_its_cards_and_that_is_told() -> None:
    async with Table() as table:
        await table.controller.want(assignment_of(ONE))
        report = await table.settled(ONE)
        assert table.state(ONE) == "running"
        assert set(table.network.sandboxes[ONE]) == {f"port-{ONE[:8]}"}
        assert report.containers[0].run == 1
        assert report.containers[0].pid
        steps = [step for _, step in table.controller.steps]
        assert sorted(steps[:-1]) == ["create", "ensure_image", "make_sandbox", "plug"]
        assert steps[-1] == "start"


async def test_created_needs_no_sandbox_and_no_process() -> None:
    async with Table() as table:
        await table.controller.want(assignment_of(ONE, desired=Desired.CREATED, run=0))
        await table.settled(ONE)
        assert table.state(ONE) == "created"
        assert not table.network.sandboxes


async def test_stop_start_pause_resume_reboot_rebuild_and_delete_come_about() -> None:
    async with Table() as table:
        wanted = assignment_of(ONE)
        await table.controller.want(wanted)
        await table.settled(ONE)
        for intent, state, run in (
            ({"desired": Desired.STOPPED}, "exited", 1),
            ({"desired": Desired.RUNNING, "run": 2}, "running", 2),
            ({"desired": Desired.PAUSED}, "paused", 2),
            ({"desired": Desired.RUNNING}, "running", 2),
            ({"run": 3}, "running", 3),
            ({"rebuild": 1}, "running", 3),
            ({"desired": Desired.PAUSED, "run": 4}, "paused", 4),
            ({"desired": Desired.STOPPED, "rebuild": 2}, "created", 0),
        ):
            wanted = altered(wanted, **intent)
            await table.controller.want(wanted)
            report = await table.settled(ONE)
            assert table.state(ONE) == state, intent
            assert report.containers[0].run == run
            assert bool(table.network.sandboxes) == (state in ("running", "paused"))
        await table.controller.want(altered(wanted, desired=Desired.REMOVED))
        await table.until(lambda: ONE not in table.controller.assignments)
        assert not table.world.containers
        assert max(table.world.starts.values()) == 1


async def test_a_lost_hint_only_costs_a_resync() -> None:
    async with Table() as table:
        await asyncio.sleep(1)
        await table.controller.want(assignment_of(ONE), hint=False)
        await asyncio.sleep(table.settings.resync + 1)
        assert table.state(ONE) == "running"


async def test_restart_policy_backs_off_and_begins_anew_after_a_long_run() -> None:
    settings = AgentSettings(restart_base=1, restart_cap=8, restart_reset=100)
    async with Table(settings) as table:
        await table.controller.want(
            assignment_of(ONE, "exit-after", "2", "1", restart=RestartPolicy(RestartName.ALWAYS))
        )
        await asyncio.sleep(60)
        times = [attempt for (_, _, _, attempt) in table.world.starts]
        # 2 s running each, then 1, 2, 4, 8, 8 ... seconds of waiting
        assert times == list(range(len(times)))
        assert len(times) == 8
        report = table.report(ONE)
        assert report is not None
        assert not report.settled or table.state(ONE) == "running"


async def test_on_failure_stops_after_its_maximum() -> None:
    async with Table() as table:
        policy = RestartPolicy(RestartName.ON_FAILURE, maximum=2)
        await table.controller.want(assignment_of(ONE, "exit", "3", restart=policy))
        await asyncio.sleep(30)
        report = await table.settled(ONE)
        assert (report.containers[0].attempt, report.containers[0].exit_code) == (2, 3)
        assert not table.network.sandboxes


async def test_a_start_that_fails_is_told_and_not_tried_again() -> None:
    async with Table() as table:
        await table.controller.want(assignment_of(ONE, "fail-start"))
        await asyncio.sleep(100)
        report = table.report(ONE)
        assert report is not None
        assert report.failure is not None
        assert "fail-start" in report.failure
        assert [s for _, s in table.controller.steps].count("start") == 1
        assert not table.network.sandboxes


async def test_an_image_that_does_not_exist_fails_until_the_intent_changes() -> None:
    async with Table() as table:
        wanted = assignment_of(ONE, image="nowhere/nothing")
        await table.controller.want(wanted)
        await asyncio.sleep(100)
        report = table.report(ONE)
        assert report is not None
        assert report.failure == "There is no image nowhere/nothing in its registry."
        assert [s for _, s in table.controller.steps].count("ensure_image") == 1
        table.world.images.add("nowhere/nothing")
        await table.controller.want(altered(wanted, run=2))
        await table.settled(ONE)
        assert table.state(ONE) == "running"


async def test_a_store_that_is_down_is_trouble_and_no_failure() -> None:
    async with Table() as table:
        table.world.images.is_up = False
        await table.controller.want(assignment_of(ONE))
        await asyncio.sleep(5)
        report = table.report(ONE)
        assert report is not None
        assert report.trouble is not None
        assert report.failure is None
        table.world.images.is_up = True
        await table.settled(ONE)
        assert table.state(ONE) == "running"


async def test_a_pull_shows_its_progress_and_gives_way_to_a_delete() -> None:
    async with Table() as table:
        table.world.images.seconds = 1000
        wanted = assignment_of(ONE)
        await table.controller.want(wanted)
        await asyncio.sleep(300)
        report = table.report(ONE)
        assert report is not None
        assert report.step == "image_pulling"
        assert "MiB" in (report.trouble or "")
        await table.controller.want(altered(wanted, desired=Desired.REMOVED, grace=0))
        await table.until(lambda: ONE not in table.controller.assignments, 5)
        assert not table.network.sandboxes


async def test_a_graceful_stop_gives_way_to_a_kill() -> None:
    async with Table() as table:
        wanted = assignment_of(ONE, "ignore-term")
        await table.controller.want(wanted)
        await table.settled(ONE)
        wanted = altered(wanted, desired=Desired.STOPPED, grace=600)
        await table.controller.want(wanted)
        await asyncio.sleep(10)
        assert table.state(ONE) == "running"
        await table.controller.want(altered(wanted, grace=0))
        await table.settled(ONE, 2)
        assert table.state(ONE) == "exited"


async def test_what_is_unknown_goes_only_after_a_complete_answer() -> None:
    table = Table()
    table.start()
    await table.controller.want(assignment_of(ONE))
    await table.settled(ONE)
    await table.stop()
    table.controller.is_down = True
    table.start()
    await asyncio.sleep(100)
    assert table.state(ONE) == "running"
    table.controller.is_down, table.controller.is_complete = False, False
    table.controller.assignments.clear()
    await asyncio.sleep(100)
    assert table.state(ONE) == "running"
    await table.controller.want(assignment_of(ONE))
    await asyncio.sleep(1)
    table.controller.assignments.clear()
    await asyncio.sleep(100)
    assert table.state(ONE) == "running"
    table.controller.is_complete = True
    await asyncio.sleep(100)
    assert not table.world.containers
    assert not table.network.sandboxes
    await table.stop()


async def test_an_older_placement_is_ignored() -> None:
    async with Table() as table:
        wanted = replace(assignment_of(ONE), epoch=5)
        await table.controller.want(wanted)
        await table.settled(ONE)
        await table.controller.want(replace(altered(wanted, desired=Desired.STOPPED), epoch=4))
        await asyncio.sleep(5)
        assert table.state(ONE) == "running"


async def test_several_containers_start_in_order_and_stop_in_reverse() -> None:
    async with Table() as table:
        wanted = assignment_of(ONE, containers=(spec_of("a" * 32), spec_of("b" * 32)))
        await table.controller.want(wanted)
        await table.settled(ONE)
        assert [key[0][0] for key in table.world.starts] == ["a", "b"]
        await table.controller.want(altered(wanted, desired=Desired.STOPPED))
        await table.settled(ONE)
        assert [name[0] for name in table.world.stops] == ["b", "a"]


async def test_cards_are_plugged_and_unplugged_while_it_runs() -> None:
    async with Table() as table:
        wanted = assignment_of(ONE)
        await table.controller.want(wanted)
        await table.settled(ONE)
        second = nic_of("port-b", "net-2", "eth1")
        wanted = replace(altered(wanted), nics=(*wanted.nics, second))
        await table.controller.want(wanted)
        await table.settled(ONE)
        assert "port-b" in table.network.sandboxes[ONE]
        await table.controller.want(replace(altered(wanted), nics=(second,)))
        await table.settled(ONE)
        assert set(table.network.sandboxes[ONE]) == {"port-b"}
        assert sum(table.world.starts.values()) == 1


async def test_other_limits_are_applied() -> None:
    async with Table() as table:
        wanted = assignment_of(ONE)
        await table.controller.want(wanted)
        await table.settled(ONE)
        spec = wanted.containers[0]
        more = replace(spec, resources=replace(spec.resources, memory=128))
        await table.controller.want(replace(altered(wanted), containers=(more,)))
        report = await table.settled(ONE)
        assert report.containers[0].memory == 128
        assert sum(table.world.starts.values()) == 1


async def test_reports_wait_for_a_controller_that_is_away() -> None:
    async with Table() as table:
        await table.controller.want(assignment_of(ONE, "exit-after", "5"))
        await table.settled(ONE)
        table.controller.is_down = True
        await asyncio.sleep(20)
        table.controller.is_down = False
        await asyncio.sleep(15)
        report = table.report(ONE)
        assert report is not None
        assert report.containers[0].state == "exited"


@pytest.mark.parametrize("error", [Temporary("later"), RuntimeError("a mistake"), Permanent("no")])
async def test_a_card_that_cannot_be_plugged_never_lets_the_process_run(error: Exception) -> None:
    async with Table() as table:
        table.network.refusal = error
        await table.controller.want(assignment_of(ONE))
        await table.until(lambda: table.report(ONE) is not None)
        if isinstance(error, Permanent):
            await asyncio.sleep(60)
            assert table.state(ONE) == "created"
            assert not table.network.sandboxes
        else:
            await table.settled(ONE)
            assert table.network.sandboxes[ONE]


async def test_a_failure_of_what_is_not_asked_any_more_is_forgotten() -> None:
    table = Table(world=FakeEngineWorld(latency=1.0))
    refused: list[str] = []

    def refuse_once(moment: str, effect: str, _: str) -> None:
        if (moment, effect) == ("before", "start") and not refused:
            refused.append(effect)
            raise Permanent("never")

    table.start(refuse_once)
    wanted = assignment_of(ONE)
    await table.controller.want(wanted)
    await table.until(lambda: table.state(ONE) == "created")
    await asyncio.sleep(0.5)
    await table.controller.want(altered(wanted, run=2))
    await table.settled(ONE)
    assert table.state(ONE) == "running"
    await table.stop()


async def test_a_network_step_that_failed_half_way_is_not_believed() -> None:
    table = Table()
    failed: list[str] = []

    def fail_once(moment: str, effect: str, _: str) -> None:
        if (moment, effect) == ("after", "remove_sandbox") and not failed:
            failed.append(effect)
            raise Temporary("it is gone, but not all of it")

    table.start(fail_once)
    wanted = assignment_of(ONE)
    await table.controller.want(wanted)
    await table.settled(ONE)
    wanted = altered(wanted, desired=Desired.STOPPED)
    await table.controller.want(wanted)
    await table.until(lambda: bool(failed))
    await table.controller.want(altered(wanted, desired=Desired.RUNNING, run=2))
    await table.settled(ONE)
    assert table.state(ONE) == "running"
    assert table.network.sandboxes[ONE]
    await table.stop()


async def test_steps_that_have_no_effect_are_not_repeated_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def pretend(*_: object) -> None:
        updates.append(1)

    updates: list[int] = []
    monkeypatch.setattr(FakeRuntime, "update", pretend)
    async with Table() as table:
        wanted = assignment_of(ONE)
        await table.controller.want(wanted)
        await table.settled(ONE)
        spec = wanted.containers[0]
        more = replace(spec, resources=replace(spec.resources, memory=128))
        await table.controller.want(replace(altered(wanted), containers=(more,)))
        await asyncio.sleep(60)
        assert 8 <= len(updates) < 100


async def test_what_the_controller_lost_is_told_at_the_next_resync() -> None:
    async with Table() as table:
        await table.controller.want(assignment_of(ONE))
        await table.settled(ONE)
        table.controller.reports.clear()
        await asyncio.sleep(table.settings.resync + 1)
        assert table.is_settled(ONE)


async def test_names_are_published_and_taken_back() -> None:
    async with Table() as table:
        wanted = assignment_of(ONE)
        await table.controller.want(wanted)
        await table.settled(ONE)
        await asyncio.sleep(1)
        assert f"name-{ONE[:4]}" in table.published[-1]["net-1"]
        await table.controller.drop(ONE)
        await asyncio.sleep(1)
        assert table.published[-1] == {}


async def test_a_burst_of_hints_is_asked_about_together() -> None:
    async with Table() as table:
        await asyncio.sleep(1)
        names = [f"{n:032x}" for n in range(100)]
        for name in names:
            table.controller.assignments[name] = assignment_of(name, nics=(nic_of(f"p{name[-4:]}"),))
        await asyncio.gather(*(table.controller.tell(WorkloadChanged(name)) for name in names))
        await table.until(lambda: all(table.is_settled(name) for name in names))
        assert sum(table.world.starts.values()) == 100


async def test_the_pull_policy_of_the_user_is_kept() -> None:
    async with Table() as table:
        for name, policy in ((ONE, PullPolicy.ALWAYS), (TWO, None)):
            spec = replace(spec_of(name), pull_policy=policy)
            await table.controller.want(assignment_of(name, containers=(spec,), nics=()))
            await table.settled(name)
        assert table.world.images.pulls == 1
