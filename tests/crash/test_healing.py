"""Containers vanish, or turn ill, and the agent dies around each effect of what follows. In the end all is as asked."""

import asyncio
import random
from typing import Any

import pytest

from krater.model.assignment import Assignment, ContainerState
from krater.model.member import Probe, Role
from krater.model.workload import Desired, Healthcheck, RestartName, RestartPolicy
from tests.crash.sim import Sim, judge
from tests.support.agent import altered, assignment_of, capsule_of, spec_of

pytestmark = [pytest.mark.looptime, pytest.mark.thorough]

ONE, INITS = "1" * 32, ("a" * 32, "b" * 32)
CHECK = Healthcheck("well-from 2", 2, 1, 2)
PROBES = {
    "startup": Probe(("true",), interval=2, successes=2),
    "liveness": Probe(("well-from", "2"), interval=2, failures=2),
    "readiness": Probe(("false",), interval=2),
}


async def vanish(wanted: Assignment, ends: list[int | None], *, quiet: float = 200.0) -> tuple[Sim, int]:
    """A container comes to rest, is wiped off the node, and the agent dies at these effects of its following lives."""
    left = iter(ends)
    async with Sim(lambda: None) as sim:
        await sim.table.controller.want(wanted)
        await sim.table.until(lambda: sim.table.is_settled(ONE), 300)
        sim._ends = lambda: next(left, None)
        sim.table.world.containers.pop(ONE)
        sim.table.world.starts.clear()  # what is made anew is started for the same run again
        sim.life.effects = 0
        sim.life.ends_at = next(left, None)
        await asyncio.sleep(40)
        effects = sim.life.effects
        if quiet:
            await sim.quiet(quiet)
        return sim, effects


@pytest.mark.parametrize("desired", [Desired.RUNNING, Desired.PAUSED, Desired.STOPPED])
async def test_what_vanished_is_healed_whatever_happens_to_the_agent(desired: Desired) -> None:
    wanted = assignment_of(ONE, desired=desired, auto_heal=True)
    _, effects = await vanish(wanted, [])
    chance = random.Random(desired)
    for end in range(1, effects + 1):
        sim, _ = await vanish(wanted, [end, chance.randrange(1, 40)])
        assert sim.crashes >= 1


async def test_what_vanished_and_was_not_to_be_healed_stays_an_error_until_it_is_started() -> None:
    for end in (None, *range(1, 25)):
        async with Sim(lambda: None) as sim:
            wanted = assignment_of(ONE)
            await sim.table.controller.want(wanted)
            await sim.table.settled(ONE, 300)
            sim.table.world.containers.pop(ONE)
            sim.table.world.starts.clear()
            sim.life.effects, sim.life.ends_at = 0, end
            await asyncio.sleep(100)
            sim._ends, sim.life.ends_at = (lambda: None), None
            await asyncio.sleep(40)
            report = sim.table.report(ONE)
            assert report is not None
            assert (report.settled, report.containers) == (True, ())
            assert "not on its node" in (report.failure or "")
            assert not sim.table.world.containers
            assert ONE not in sim.table.network.sandboxes
            await sim.table.controller.want(altered(sim.table.controller.assignments[ONE], run=2))
            await sim.quiet()


async def lose(ends: list[int | None], *names: str) -> tuple[Sim, int]:
    """A capsule that is up loses the files of some of its members, and the agent dies at these effects."""
    left = iter(ends)
    async with Sim(lambda: None) as sim:
        policy = RestartPolicy(RestartName.ON_FAILURE, 1)
        inits = (spec_of(name, "exit", "0", role=Role.INIT, restart=policy) for name in INITS)
        sidecar = spec_of("c" * 32, role=Role.SIDECAR, restart=RestartPolicy(RestartName.ALWAYS))
        mains = (spec_of("d" * 32), spec_of("e" * 32))
        await sim.table.controller.want(capsule_of(ONE, *inits, sidecar, *mains, auto_heal=True))
        await sim.table.until(lambda: sim.table.is_settled(ONE), 300)
        await asyncio.sleep(5)  # nobody is half-way through a look
        for name in names:
            sim.table.world.containers.pop(name)
        sim.table.world.starts.clear()
        sim.live_until(lambda: next(left, None))
        await asyncio.sleep(40)
        effects = sim.life.effects
        await sim.quiet()
        return sim, effects


@pytest.mark.parametrize("names", [(*INITS, "c" * 32, "d" * 32, "e" * 32), (INITS[0], "d" * 32), ("c" * 32,)])
async def test_members_that_vanished_are_healed_in_their_order(names: tuple[str, ...]) -> None:
    _, effects = await lose([], *names)
    for end in range(1, effects + 1):
        sim, _ = await lose([end], *names)
        assert sim.crashes == 1
        begun = [key[0] for key in sim.table.world.starts]
        assert sorted(begun) == sorted(names), "those that vanished, and each once"
        inits = [name for name in begun if name in INITS]
        assert begun[: len(inits)] == inits == sorted(inits)


async def ill(ends: list[int | None], restart: RestartPolicy, *, auto_heal: bool, **checks: Any) -> tuple[Sim, int]:
    """A container whose checks fail until it was started again twice."""
    left = iter(ends)
    random.seed(1)  # checks have a jitter: without it, each telling has its effects at the same times
    async with Sim(lambda: next(left, None)) as sim:
        spec = spec_of(ONE, **(checks or {"healthcheck": CHECK}))
        await sim.table.controller.want(assignment_of(ONE, containers=(spec,), restart=restart, auto_heal=auto_heal))
        await asyncio.sleep(60)
        effects = sim.life.effects
        await sim.quiet()
        await sim.table.until(lambda: _is_well(sim), 300, 1.0)
        assert judge(sim.table) == []
        return sim, effects


def _is_well(sim: Sim) -> bool:
    seen = sim.table.world.containers[ONE].seen
    return seen.state is ContainerState.RUNNING and seen.attempt == 2


@pytest.mark.parametrize(
    ("restart", "auto_heal"),
    [(RestartPolicy(), True), (RestartPolicy(RestartName.ON_FAILURE, 5), False)],
    ids=["auto_heal", "on-failure"],
)
async def test_an_ill_container_becomes_well_whatever_happens_to_the_agent(
    restart: RestartPolicy, auto_heal: bool
) -> None:
    _, effects = await ill([], restart, auto_heal=auto_heal)
    for end in range(1, effects + 1):
        sim, _ = await ill([end], restart, auto_heal=auto_heal)
        assert sim.crashes == 1


async def test_a_member_becomes_well_whatever_happens_to_the_agent_that_asks_its_probes() -> None:
    policy = RestartPolicy(RestartName.ON_FAILURE, 5)
    _, effects = await ill([], policy, auto_heal=False, **PROBES)
    for end in range(1, effects + 1, 3):
        sim, _ = await ill([end], policy, auto_heal=False, **PROBES)
        assert sim.crashes == 1
        (told,) = sim.table.controller.reports[ONE].containers
        assert told.ready is False
