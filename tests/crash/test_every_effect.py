"""The agent dies around each effect of each story, once and several times; the next one finishes the story."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from krater.model.volume import Attachment, MountRequest
from krater.model.workload import Desired, RestartName, RestartPolicy
from tests.crash.sim import Sim
from tests.support.agent import altered, assignment_of, nic_of, spec_of

pytestmark = [pytest.mark.looptime, pytest.mark.thorough]

ONE = "1" * 32
_LONG_ENOUGH = 40.0
ALWAYS = RestartPolicy(RestartName.ALWAYS)
STOPPED, RUNNING, PAUSED, REMOVED = Desired.STOPPED, Desired.RUNNING, Desired.PAUSED, Desired.REMOVED

NEW = Attachment("v" * 32, 1, is_new=True)
MOUNTS = (MountRequest("/data", volume=NEW.volume), MountRequest("/conf", file="f" * 32))


def with_mounts(*command: str, **more: Any) -> Any:
    """A workload of two containers that share a volume; one has a file injected."""
    first = spec_of("a" * 32, *command, mounts=MOUNTS)
    return assignment_of(ONE, containers=(first, spec_of("b" * 32, mounts=MOUNTS[:1])), volumes=(NEW,), **more)


BACK = nic_of("port-back", "net-2", "eth1", 77)
GUARDED = replace(BACK, groups=("web",))

# Each story is a first assignment and the intents that follow, with other `nics` where there are any.
STORIES: dict[str, tuple[Callable[[], Any], list[dict[str, Any]]]] = {
    "run": (lambda: assignment_of(ONE), []),
    "create": (lambda: assignment_of(ONE, desired=Desired.CREATED, run=0), []),
    "stop": (lambda: assignment_of(ONE), [{"desired": STOPPED}]),
    "stubborn": (lambda: assignment_of(ONE, "ignore-term"), [{"desired": STOPPED}]),
    "start": (lambda: assignment_of(ONE), [{"desired": STOPPED}, {"desired": RUNNING, "run": 2}]),
    "reboot": (lambda: assignment_of(ONE), [{"run": 2}]),
    "rebuild": (lambda: assignment_of(ONE), [{"rebuild": 1}]),
    "pause": (lambda: assignment_of(ONE), [{"desired": PAUSED}, {"desired": RUNNING}]),
    "delete": (lambda: assignment_of(ONE), [{"desired": REMOVED}]),
    "delete at once": (lambda: assignment_of(ONE), [{"desired": REMOVED, "grace": 0}]),
    "networks": (
        lambda: assignment_of(ONE),
        [{"nics": (nic_of(f"port-{ONE[:8]}"), BACK)}, {"nics": (GUARDED,)}, {"nics": ()}],
    ),
    "networks while it is down": (
        lambda: assignment_of(ONE),
        [{"desired": STOPPED}, {"nics": (GUARDED,)}, {"desired": RUNNING, "run": 2}],
    ),
    "restart": (
        lambda: assignment_of(ONE, "exit-after", "3", "1", restart=RestartPolicy(RestartName.ON_FAILURE, 2)),
        [],
    ),
    "fail": (lambda: assignment_of(ONE, "fail-start"), []),
    "several": (
        lambda: assignment_of(ONE, containers=(spec_of("a" * 32), spec_of("b" * 32))),
        [{"desired": STOPPED}, {"desired": REMOVED}],
    ),
    "volume": (with_mounts, [{"desired": STOPPED}, {"desired": RUNNING, "run": 2}, {"desired": REMOVED}]),
    "volume, rebuilt": (with_mounts, [{"rebuild": 1, "run": 2}]),
    "volume, failing": (lambda: with_mounts("fail-start"), []),
}


async def tell(name: str, ends: list[int | None]) -> tuple[int, int]:
    """One story, with an agent that dies at these effects of its lives. How often it did, and effects of the last."""
    left = iter(ends)
    first, intents = STORIES[name]
    async with Sim(lambda: next(left, None)) as sim:
        wanted = first()
        sim.table.controller.files = {"f" * 32: b"content"}
        await sim.table.controller.want(wanted)
        for intent in intents:
            await sim.table.until(lambda: sim.table.is_settled(ONE), 300)
            changes = dict(intent)
            wanted = altered(replace(wanted, nics=changes.pop("nics", wanted.nics)), **changes)
            await sim.table.controller.want(wanted)
        await asyncio.sleep(_LONG_ENOUGH)
        effects = sim.life.effects
        await sim.quiet()
        assert max(sim.table.world.starts.values(), default=1) == 1
        assert set(sim.table.volumes.formatted.values()) <= {1}
        assert set(sim.table.volumes.disks) == {volume.volume for volume in wanted.volumes}
        return sim.crashes, effects


@pytest.mark.parametrize("story", STORIES)
async def test_a_story_survives_a_death_at_any_effect(story: str) -> None:
    _, effects = await tell(story, [])
    chance = random.Random(story)
    for end in range(1, effects + 1):
        crashes, _ = await tell(story, [end])
        assert crashes == 1
        await tell(story, [end, chance.randrange(1, 30), chance.randrange(1, 30)])
