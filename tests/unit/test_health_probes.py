"""Probes of members as the agent asks them: in which order, and what comes of it. In virtual time."""

import asyncio

import pytest

from krater.agent.health import HealthChecks
from krater.agent.runtimes.fake import FakeRuntime
from krater.agent.vif.fake import FakeVif
from krater.bus.messages import ImagesChanged, ImageTask
from krater.model.assignment import ContainerState, Health, NodeImage
from krater.model.image import own_name
from krater.model.member import Condition, Dependency
from krater.model.workload import Desired
from tests.support.agent import Table, altered, assignment_of, loop_now, spec_of
from tests.support.probes import (
    ALWAYS,
    HEALTHY,
    ONE,
    STARTING,
    UNHEALTHY,
    Script,
    asks,
    health,
    probed,
    ready,
    seen,
    starts,
)

pytestmark = [pytest.mark.looptime, pytest.mark.thorough]

TWO = "2" * 32


async def test_nobody_else_is_asked_before_startup_has_succeeded(script: Script) -> None:
    script.say(startup="fffs", live="s", ready="s")
    async with Table() as table:
        await table.controller.want(
            probed(startup=asks("startup", failures=10), liveness=asks("live"), readiness=asks("ready"))
        )
        await table.settled(ONE)
        assert (health(table), ready(table)) == (STARTING, False)
        await table.until(lambda: health(table) is HEALTHY and ready(table) is True, 40)
        assert len(script.asked["startup"]) == 4
        assert min(script.asked["live"] + script.asked["ready"]) >= script.asked["startup"][-1]
        await asyncio.sleep(100)
        assert len(script.asked["startup"]) == 4  # it is not asked again
        assert len(script.asked["live"]) > 15


async def test_one_that_never_starts_up_is_restarted(script: Script) -> None:
    script.say(startup="ffffs", live="s")
    async with Table() as table:
        await table.controller.want(
            probed(startup=asks("startup"), liveness=asks("live"), restart=ALWAYS),
        )
        await table.until(lambda: health(table) is HEALTHY, 100)
        assert starts(table) == 2
        assert len(script.asked["startup"]) == 5


async def test_why_it_is_ended_names_the_probe(script: Script) -> None:
    script.say(live="f")
    async with Table() as table:
        await table.controller.want(probed(liveness=asks("live"), restart=ALWAYS))
        await table.until(lambda: starts(table) > 0 and table.state(ONE) == "exited", 100)
        reason = table.world.containers[ONE].seen.cut_off
        assert reason == "Its liveness probe failed 3 times in a row; the last said: exit code 1: live said f"


async def test_a_live_one_that_fails_is_restarted_until_it_is_well(script: Script) -> None:
    script.say(live="sffffffs")
    async with Table() as table:
        await table.controller.want(probed(liveness=asks("live"), restart=ALWAYS))
        await asyncio.sleep(200)
        assert starts(table) == 3
        assert max(table.world.starts.values()) == 1
        assert (health(table), ready(table)) == (HEALTHY, None)


async def test_without_a_policy_an_ill_one_runs_on_and_may_recover(script: Script) -> None:
    script.say(startup="ffffs", live="s")
    async with Table() as table:
        await table.controller.want(probed(startup=asks("startup"), liveness=asks("live")))
        await table.until(lambda: health(table) is UNHEALTHY, 60)
        assert not script.asked["live"]
        await table.until(lambda: health(table) is HEALTHY, 60)
        assert starts(table) == 1
        assert script.asked["live"]


async def test_readiness_comes_and_goes_and_restarts_nothing(script: Script) -> None:
    script.say(ready="ffssfffss")
    async with Table() as table:
        await table.controller.want(probed(readiness=asks("ready", successes=2), restart=ALWAYS, auto_heal=True))
        found: list[bool | None] = []
        for _ in range(1000):
            await asyncio.sleep(0.1)
            if not found or found[-1] is not ready(table):
                found.append(ready(table))
        assert [one for one in found if one is not None] == [False, True, False, True]
        assert health(table) is None
        assert starts(table) == 1


async def test_why_one_is_not_ready_is_told(script: Script) -> None:
    script.say(startup="fs", ready="f")
    async with Table() as table:
        await table.controller.want(probed(startup=asks("startup"), readiness=asks("ready")))
        await table.until(lambda: health(table) is HEALTHY, 30)
        await asyncio.sleep(1)
        one = seen(table)
        assert one is not None
        assert "Its readiness probe failed" in (one.unready or "")
        script.say(ready="s")
        await table.until(lambda: ready(table) is True, 10)
        one = seen(table)
        assert one is not None
        assert one.unready is None


async def test_a_change_is_told_at_once_and_the_same_again_is_not(script: Script) -> None:
    script.say(ready="fffffs", live="s")
    async with Table() as table:
        await table.controller.want(
            probed(readiness=asks("ready", interval=1), liveness=asks("live", interval=1)),
        )
        await table.until(lambda: ready(table) is True, 20)
        assert asyncio.get_running_loop().time() - script.asked["ready"][5] < 1
        await asyncio.sleep(1)
        before = table.controller.received
        await asyncio.sleep(20)
        assert len(script.asked["live"]) > 20
        assert table.controller.received == before


async def test_the_first_question_waits_for_its_delay(script: Script) -> None:
    script.say(startup="s", live="s", ready="s")
    async with Table() as table:
        await table.controller.want(
            probed(
                startup=asks("startup"), liveness=asks("live", delay=30), readiness=asks("ready", delay=5, interval=7)
            )
        )
        await table.settled(ONE)
        begin = asyncio.get_running_loop().time()
        await asyncio.sleep(60)
        assert script.asked["startup"][0] - begin < 1
        assert 4.5 <= script.asked["ready"][0] - begin < 7
        assert 29.5 <= script.asked["live"][0] - begin < 35
        gaps = [after - before for before, after in zip(script.asked["ready"], script.asked["ready"][1:], strict=False)]
        assert 6.2 < min(gaps) <= max(gaps) < 7.8


async def test_a_delay_counts_from_the_start_of_the_process_not_from_the_startup_probe(script: Script) -> None:
    script.say(startup="ffffffs", live="s")
    async with Table() as table:
        await table.controller.want(
            probed(startup=asks("startup", failures=20), liveness=asks("live", delay=10)),
        )
        await table.until(lambda: bool(script.asked["live"]), 100)
        assert script.asked["live"][0] - script.asked["startup"][-1] < 1


async def test_questions_end_with_the_process(script: Script) -> None:
    script.say(live="s", ready="s")
    async with Table() as table:
        wanted = probed(liveness=asks("live"), readiness=asks("ready"))
        await table.controller.want(wanted)
        await table.until(lambda: ready(table) is True, 30)
        await table.controller.want(altered(wanted, desired=Desired.STOPPED))
        await table.settled(ONE)
        assert (health(table), ready(table)) == (None, None)
        before = len(script.asked["live"])
        await asyncio.sleep(60)
        assert len(script.asked["live"]) == before


async def test_a_member_waits_until_the_one_it_depends_on_is_ready(script: Script) -> None:
    script.say(ready="fffs")
    first = spec_of(ONE, readiness=asks("ready"))
    second = spec_of(TWO, depends_on=(Dependency(ONE, Condition.HEALTHY),))
    async with Table() as table:
        await table.controller.want(assignment_of(ONE, containers=(first, second)))
        await table.until(lambda: len(script.asked["ready"]) == 3, 60)
        assert (table.state(ONE), table.state(TWO)) == ("running", "created")
        await table.until(lambda: table.state(TWO) == "running", 30)
        assert len(script.asked["ready"]) >= 4


async def test_silence_of_one_that_is_held_still_is_no_failure(script: Script) -> None:
    script.say(live="f")
    held = {ONE}
    async with Table() as table:
        await table.controller.want(assignment_of(ONE))
        await table.settled(ONE)
        engine = FakeRuntime(table.world, loop_now)
        told: list[str] = []
        checks = HealthChecks(engine, FakeVif(table.network), told.append, held.__contains__)
        keeper = asyncio.get_running_loop().create_task(checks.run())
        await asyncio.sleep(0)
        checks.follow(probed(liveness=asks("live")), (ONE,), [table.world.containers[ONE].seen])
        await asyncio.sleep(100)
        assert not told
        assert not script.asked["live"]
        held.clear()
        await asyncio.sleep(20)
        found = checks.merged(table.world.containers[ONE].seen).health
        assert found is not None
        assert found == Health(UNHEALTHY, found.failures, "exit code 1: live said f", "liveness probe")
        assert found.failures >= 3, "how many it has come to since is not always told"
        keeper.cancel()


async def test_what_is_found_of_a_process_is_not_told_of_the_next(script: Script) -> None:
    script.say(live="s", ready="s")
    async with Table() as table:
        wanted = probed(liveness=asks("live"), readiness=asks("ready"))
        await table.controller.want(wanted)
        await table.until(lambda: ready(table) is True, 30)
        script.say(live="f", ready="f")
        await table.controller.want(altered(wanted, run=2))
        await table.settled(ONE)
        assert (health(table), ready(table)) == (STARTING, False)
        one = seen(table)
        assert one is not None
        assert one.state is ContainerState.RUNNING


async def test_who_becomes_an_image_is_not_ended_for_standing_still(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.say(live="s")
    own, plain = own_name("project", "cafe"), FakeRuntime.commit

    async def slow(self: FakeRuntime, container: str, name: str, limit: int) -> NodeImage:
        script.say(live="f")
        await asyncio.sleep(60)
        script.say(live="s")
        return await plain(self, container, name, limit)

    monkeypatch.setattr(FakeRuntime, "commit", slow)
    async with Table() as table:
        await table.controller.want(probed(liveness=asks("live"), restart=ALWAYS))
        await table.until(lambda: health(table) is HEALTHY, 30)
        table.controller.images["image"] = ImageTask("image", own, wanted=True, source=ONE)
        await table.controller.tell(ImagesChanged())
        await table.until(lambda: any(image.name == own for image in table.world.images.list()), 100)
        await asyncio.sleep(30)
        assert (health(table), starts(table)) == (HEALTHY, 1)
