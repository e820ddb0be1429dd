"""Health checks as the agent runs them: when, how many, and what comes of what they say. In virtual time."""

import asyncio
from typing import Any

import pytest

from krater.agent.health import FairRoom, HealthChecks
from krater.agent.runtimes.fake import FakeRuntime
from krater.agent.runtimes.interfaces import ExecResult
from krater.agent.vif.fake import FakeVif
from krater.errors import Unavailable
from krater.model.assignment import Assignment, Health, HealthState
from krater.model.workload import Desired, Healthcheck, RestartName, RestartPolicy
from tests.support.agent import Table, altered, assignment_of, loop_now, spec_of

pytestmark = pytest.mark.looptime

ONE = "1" * 32
ALWAYS = RestartPolicy(RestartName.ALWAYS)
STARTING, HEALTHY, UNHEALTHY = HealthState


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(function: Any, *arguments: Any) -> Any:
        return function(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", at_once)


def checked(test: str, *, interval: int = 5, timeout: int = 2, retries: int = 3, **more: Any) -> Assignment:
    check = Healthcheck(test, interval, timeout, retries)
    return assignment_of(ONE, containers=(spec_of(ONE, healthcheck=check),), **more)


def health(table: Table) -> Health | None:
    report = table.report(ONE)
    return report.containers[0].health if report is not None and report.containers else None


async def until_health(table: Table, state: HealthState, seconds: float = 60.0) -> Health:
    def has_it() -> bool:
        found = health(table)
        return found is not None and found.state is state

    await table.until(has_it, seconds)
    found = health(table)
    assert found is not None
    return found


async def test_it_starts_then_is_healthy_and_nothing_more_is_told() -> None:
    async with Table() as table:
        await table.controller.want(checked("true"))
        await table.settled(ONE)
        assert health(table) == Health(STARTING)
        assert await until_health(table, HEALTHY, 6.0) == Health(HEALTHY)
        await asyncio.sleep(1)
        before = table.controller.received
        await asyncio.sleep(20)
        assert table.controller.received == before


async def test_what_is_not_to_be_checked_has_no_health() -> None:
    async with Table() as table:
        await table.controller.want(assignment_of(ONE))
        await table.settled(ONE)
        await asyncio.sleep(40)
        assert health(table) is None


async def test_failures_in_a_row_make_it_unhealthy_which_is_only_shown_when_no_more_was_asked() -> None:
    async with Table() as table:
        await table.controller.want(checked("exit 7"))
        await table.settled(ONE)
        await table.until(lambda: health(table) == Health(STARTING, 1, "exit code 7"), 6.0)
        found = await until_health(table, UNHEALTHY, 20.0)
        assert (found.failures, found.output) == (3, "exit code 7")
        await asyncio.sleep(60)
        assert table.state(ONE) == "running"
        assert sum(table.world.starts.values()) == 1
        assert table.is_settled(ONE)


@pytest.mark.parametrize(
    ("more", "starts"),
    [({"restart": ALWAYS}, 4), ({"auto_heal": True}, 4), ({"restart": RestartPolicy(RestartName.ON_FAILURE, 2)}, 3)],
)
async def test_it_is_restarted_until_it_is_well_or_that_was_often_enough(more: dict[str, Any], starts: int) -> None:
    async with Table() as table:
        await table.controller.want(checked("well-from 3", **more))
        await table.settled(ONE)
        await asyncio.sleep(200)
        assert sum(table.world.starts.values()) == starts
        assert max(table.world.starts.values()) == 1
        found = health(table)
        assert found is not None
        assert found.state is (HEALTHY if starts == 4 else UNHEALTHY)
        assert table.state(ONE) == "running"


async def test_one_success_makes_it_healthy_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def well(*_: Any) -> ExecResult:
        return ExecResult(b"fine", 0)

    async with Table() as table:
        await table.controller.want(checked("false"))
        await until_health(table, UNHEALTHY)
        monkeypatch.setattr(FakeRuntime, "exec", well)
        assert await until_health(table, HEALTHY, 6.0) == Health(HEALTHY)


async def test_a_check_that_hangs_is_given_up_and_counts_as_failed() -> None:
    async with Table() as table:
        await table.controller.want(checked("sleep inf", retries=1))
        found = await until_health(table, UNHEALTHY, 9.0)
        assert found.output == "no end within 2 seconds"


async def test_a_paused_container_is_neither_well_nor_ill() -> None:
    async with Table() as table:
        wanted = checked("exit 1")
        await table.controller.want(wanted)
        await table.settled(ONE)
        await table.controller.want(altered(wanted, desired=Desired.PAUSED))
        await table.settled(ONE)
        await asyncio.sleep(100)
        assert health(table) == Health(STARTING)


async def test_a_crash_of_the_agent_forgets_what_checks_found_and_nothing_else() -> None:
    table = Table()
    table.start()
    await table.controller.want(checked("exit 1"))
    await until_health(table, UNHEALTHY)
    await table.stop()
    table.start()
    await until_health(table, STARTING, 2.0)
    await until_health(table, UNHEALTHY)
    assert sum(table.world.starts.values()) == 1
    await table.stop()


async def test_a_check_ends_with_its_container() -> None:
    async with Table() as table:
        wanted = checked("true")
        await table.controller.want(wanted)
        await until_health(table, HEALTHY)
        assert table.agent is not None
        checks = table.agent._health
        assert len(checks) == 1
        await table.controller.want(altered(wanted, desired=Desired.STOPPED))
        await table.settled(ONE)
        assert len(checks) == 0
        await table.controller.want(altered(altered(wanted), run=2))
        await table.settled(ONE)
        assert (len(checks), health(table)) == (1, Health(STARTING))
        await table.controller.drop(ONE)
        await table.until(lambda: not table.world.containers)
        await asyncio.sleep(1)
        assert len(checks) == 0


async def test_an_engine_in_trouble_makes_nobody_ill(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> ExecResult:
        raise Unavailable("The engine is away.")

    async with Table() as table:
        await table.controller.want(checked("true"))
        await until_health(table, HEALTHY)
        monkeypatch.setattr(FakeRuntime, "exec", broken)
        await asyncio.sleep(100)
        assert health(table) == Health(HEALTHY)


async def test_checks_that_change_their_mind_all_the_time_are_not_told_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    table = Table()
    engine = FakeRuntime(table.world, loop_now)
    turn = 0

    async def noisy(*_: Any) -> ExecResult:
        nonlocal turn
        turn += 1
        return ExecResult(f"{turn}".encode(), 1)

    monkeypatch.setattr(engine, "exec", noisy)
    async with Table(world=table.world) as running:
        plain = assignment_of(ONE)
        await running.controller.want(plain)
        await running.settled(ONE)
        checks = HealthChecks(engine, FakeVif(running.network), told.append)
        keeper = asyncio.get_running_loop().create_task(checks.run())
        await asyncio.sleep(0)
        wanted = checked("x", interval=1, retries=1000)
        checks.follow(wanted, (ONE,), [running.world.containers[ONE].seen])
        await asyncio.sleep(100)
        assert turn > 80
        assert len(told) <= 11
        keeper.cancel()


class TestFairRoom:
    async def test_no_more_are_inside_than_may_be_and_none_of_one_owner_than_its_share(self) -> None:
        room, inside, most = FairRoom(4, 2), [], []

        async def stay(owner: str) -> None:
            async with room.place(owner):
                inside.append(owner)
                most.append((len(inside), inside.count(owner)))
                await asyncio.sleep(1)
                inside.remove(owner)

        await asyncio.gather(*(stay(owner) for owner in "aaaaaaaabbbbc"))
        assert max(count for count, _ in most) <= 4
        assert max(own for _, own in most) <= 2

    async def test_who_comes_late_with_little_does_not_wait_behind_who_has_much(self) -> None:
        room, order = FairRoom(2, 2), []

        async def stay(owner: str) -> None:
            async with room.place(owner):
                order.append(owner)
                await asyncio.sleep(1)

        waiting = [asyncio.ensure_future(stay("much")) for _ in range(20)]
        await asyncio.sleep(0.5)
        waiting.append(asyncio.ensure_future(stay("little")))
        await asyncio.gather(*waiting)
        assert order.index("little") <= 3

    async def test_who_gives_up_waiting_takes_no_place_away(self) -> None:
        room = FairRoom(1, 1)

        async def stay(seconds: float) -> None:
            async with room.place("a"):
                await asyncio.sleep(seconds)

        first = asyncio.ensure_future(stay(10))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(stay(1))
        await asyncio.sleep(1)
        second.cancel()
        first.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        async with asyncio.timeout(5):
            await stay(1)
