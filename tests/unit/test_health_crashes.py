"""What becomes of probes when the agent dies: they are asked anew, and nothing is ended for that. In virtual time."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.agent import Table, altered, loop_now
from tests.support.probes import (
    ALWAYS,
    HEALTHY,
    ONE,
    STARTING,
    Script,
    asks,
    health,
    probed,
    ready,
    starts,
)

pytestmark = [pytest.mark.looptime, pytest.mark.thorough]

TWO = "2" * 32


async def test_a_crash_of_the_agent_ends_no_process_that_was_well(script: Script) -> None:
    script.say(startup="s", live="s", ready="s")
    table = Table()
    table.start()
    wanted = probed(startup=asks("startup", failures=1), liveness=asks("live"), readiness=asks("ready"), restart=ALWAYS)
    await table.controller.want(wanted)
    await table.until(lambda: health(table) is HEALTHY and ready(table) is True, 30)
    await asyncio.sleep(60)
    await table.stop()
    script.say(startup="f", live="fs", ready="fs")
    table.start()
    await table.until(lambda: health(table) is STARTING and ready(table) is False, 2)
    await table.until(lambda: health(table) is HEALTHY and ready(table) is True, 30)
    assert starts(table) == 1
    assert len(script.asked["startup"]) == 1
    await table.stop()


async def test_a_process_that_has_started_up_is_not_asked_that_again_after_a_crash(script: Script) -> None:
    """Neither at once, nor when liveness has not been asked yet; and what other processes have answered is not its."""
    script.say(startup="s", live="s")
    table = Table()
    table.start()
    wanted = probed(startup=asks("startup", failures=1), liveness=asks("live", delay=100), restart=ALWAYS)
    await table.controller.want(wanted)
    await table.until(lambda: bool(script.asked["startup"]), 30)
    await asyncio.sleep(1)
    await table.stop()
    script.say(startup="f")
    table.start()
    await asyncio.sleep(90)
    assert (len(script.asked["startup"]), starts(table), health(table)) == (1, 1, STARTING)
    await table.until(lambda: health(table) is HEALTHY, 30)
    script.say(startup="s")
    await table.controller.want(altered(wanted, run=2))
    await table.until(lambda: len(script.asked["startup"]) == 2, 30)
    await table.stop()


async def test_the_delay_before_the_first_question_is_counted_from_the_start_of_the_process(script: Script) -> None:
    script.say(live="s", ready="s")
    table = Table()
    table.start()
    await table.controller.want(probed(liveness=asks("live", delay=1000), readiness=asks("ready", delay=100)))
    await table.settled(ONE)
    began = asyncio.get_running_loop().time()
    for seconds in (60, 30):
        await asyncio.sleep(seconds)
        await table.stop()
        table.start()
    await table.until(lambda: ready(table) is True, 30)
    assert 100 <= script.asked["ready"][0] - began < 112
    await table.stop()
    await asyncio.sleep(300)
    table.start()
    await table.until(lambda: ready(table) is False, 2)
    await table.until(lambda: ready(table) is True, 2)
    await table.until(lambda: health(table) is HEALTHY, 1000)
    assert 1000 <= script.asked["live"][0] - began < 1105
    await table.stop()


async def test_when_the_clock_of_the_machine_is_put_back_nobody_waits_longer_than_once(script: Script) -> None:
    script.say(ready="s")
    async with Table() as table:
        wanted = probed(readiness=asks("ready", delay=100))
        await table.controller.want(wanted)
        await table.settled(ONE)
        found = table.world.containers[ONE]
        found.seen = replace(found.seen, started_at=loop_now() + timedelta(days=1))
        await table.controller.want(altered(wanted))
        await table.until(lambda: ready(table) is True, 115)


async def test_one_with_a_startup_probe_alone_is_well_after_a_crash_if_it_was(script: Script) -> None:
    script.say(startup="fs")
    table = Table()
    table.start()
    await table.controller.want(probed(startup=asks("startup"), restart=ALWAYS))
    await table.until(lambda: health(table) is HEALTHY, 30)
    await asyncio.sleep(1)
    await table.stop()
    script.say(startup="f")
    table.controller.reports.clear()
    table.start()
    await table.until(lambda: health(table) is HEALTHY, 2)
    await asyncio.sleep(100)
    assert (health(table), starts(table)) == (HEALTHY, 1)
    await table.stop()


async def test_one_made_anew_for_the_same_run_is_asked_whether_it_has_started_up(script: Script) -> None:
    script.say(startup="s")
    async with Table() as table:
        await table.controller.want(probed(startup=asks("startup", failures=9), auto_heal=True))
        await table.until(lambda: health(table) is HEALTHY, 30)
        await asyncio.sleep(1)
        script.say(startup="ffs")
        table.world.containers.pop(ONE)
        await table.until(lambda: health(table) is STARTING, 100)
        await table.until(lambda: health(table) is HEALTHY, 100)
        assert len(script.asked["startup"]) == 4


async def test_one_that_was_starting_at_a_crash_has_all_its_time_again(script: Script) -> None:
    script.say(startup="f", live="s")
    table = Table()
    table.start()
    await table.controller.want(
        probed(startup=asks("startup", failures=10), liveness=asks("live"), restart=ALWAYS),
    )
    await asyncio.sleep(20)
    await table.stop()
    before = len(script.asked["startup"])
    script.say(startup="ffffffffffs")
    table.start()
    await table.until(lambda: starts(table) == 2 and bool(script.asked["live"]), 200)
    assert script.asked["startup"][before + 9] < script.asked["live"][0]
    await table.stop()


async def test_an_ill_one_is_still_restarted_after_a_crash(script: Script) -> None:
    script.say(startup="s", live="s")
    table = Table()
    table.start()
    await table.controller.want(probed(startup=asks("startup"), liveness=asks("live"), restart=ALWAYS))
    await table.until(lambda: health(table) is HEALTHY, 30)
    await asyncio.sleep(60)
    await table.stop()
    script.say(live="fff")
    table.start()
    await table.until(lambda: starts(table) == 2, 60)
    await table.stop()
