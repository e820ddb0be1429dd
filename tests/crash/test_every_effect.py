"""The agent dies around each effect of each story, once and several times; the next one finishes the story."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from krater.model.member import Condition, Dependency, Role
from krater.model.volume import Attachment, MountRequest
from krater.model.workload import Desired, MemberIntent, Resources, RestartName, RestartPolicy
from tests.crash.sim import Sim
from tests.support.agent import altered, assignment_of, capsule_of, nic_of, resized, spec_of

pytestmark = [pytest.mark.looptime, pytest.mark.thorough]

ONE, INITS = "1" * 32, ("a" * 32, "b" * 32)
_LONG_ENOUGH = 40.0
ALWAYS = RestartPolicy(RestartName.ALWAYS)
STOPPED, RUNNING, PAUSED, REMOVED = Desired.STOPPED, Desired.RUNNING, Desired.PAUSED, Desired.REMOVED

NEW = Attachment("v" * 32, 1, is_new=True)
MOUNTS = (MountRequest("/data", volume=NEW.volume), MountRequest("/conf", file="f" * 32))


def with_mounts(*command: str, **more: Any) -> Any:
    """A workload of two containers that share a volume; one has a file injected."""
    first = spec_of("a" * 32, *command, mounts=MOUNTS)
    return assignment_of(ONE, containers=(first, spec_of("b" * 32, mounts=MOUNTS[:1])), volumes=(NEW,), **more)


def batch(*last: str) -> Callable[[], Any]:
    """A capsule of three that share a volume, after two init containers; one of the three ends as `last` says."""

    def make() -> Any:
        web = replace(spec_of("e" * 32, mounts=MOUNTS[:1]), depends_on=(Dependency("d" * 32, Condition.STARTED),))
        mains = (spec_of("d" * 32, *last, mounts=MOUNTS), web, spec_of("f" * 32, *last))
        inits = tuple(_init(name, "exit-after", "0.3", "0") for name in INITS)
        return capsule_of(ONE, *inits, *mains, volumes=(NEW,))

    return make


def beside(*last: str) -> Callable[[], Any]:
    """A capsule with an init container, a sidecar after it, and two ordinary ones that end as `last` says."""

    def make() -> Any:
        sidecar = spec_of("c" * 32, role=Role.SIDECAR, restart=ALWAYS, mounts=MOUNTS[:1])
        mains = (spec_of("d" * 32, *last, mounts=MOUNTS[:1]), spec_of("e" * 32, *last))
        return capsule_of(ONE, _init(INITS[0], "exit", "0"), sidecar, *mains, volumes=(NEW,))

    return make


def _init(name: str, *command: str) -> Any:
    policy = RestartPolicy(RestartName.ON_FAILURE, 1)
    return spec_of(name, *command, role=Role.INIT, restart=policy, mounts=MOUNTS[:1])


BACK = nic_of("port-back", "net-2", "eth1", 77)
GUARDED = replace(BACK, groups=("web",))

# Each story is a first assignment and the intents that follow, with other `nics` and `limits` where there are any. They
# follow when all is done for those before, or `after` seconds.
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
    "resize": (
        lambda: assignment_of(ONE, containers=(spec_of(ONE), spec_of("b" * 32))),
        [{"limits": Resources(0.5, 32)}, {"desired": PAUSED}, {"limits": Resources(2.0, 96)}, {"desired": RUNNING}],
    ),
    "resize while it is down": (
        lambda: assignment_of(ONE),
        [{"desired": STOPPED}, {"limits": Resources(2.0, 96)}, {"desired": RUNNING, "run": 2}],
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
    "capsule, done": (batch("exit-after", "4", "0"), []),
    "capsule, stopped": (batch(), [{"desired": STOPPED, "grace": 5.0}, {"desired": RUNNING, "run": 2}]),
    "capsule, one restarts": (batch(), [{"members": {"d" * 32: MemberIntent(run=1)}}]),
    "capsule, deleted": (batch("ignore-term"), [{"desired": REMOVED, "grace": 2.0}]),
    "capsule, deleted in a hurry": (
        batch("ignore-term"),
        [{"desired": REMOVED, "grace": 600.0}, {"grace": 3.0, "after": 2.0}, {"grace": 1.0, "after": 4.0}],
    ),
    "capsule, failing": (batch("fail-start"), []),
    "sidecar": (beside(), [{"members": {"e" * 32: MemberIntent(STOPPED)}}, {"desired": STOPPED}]),
    "sidecar, done": (beside("exit-after", "4", "0"), [{"run": 2}]),
    "sidecar, deleted": (beside(), [{"desired": REMOVED, "grace": 2.0}]),
}


async def tell(name: str, ends: list[int | None]) -> tuple[int, int]:
    """One story, with an agent that dies at these effects of its lives. How often it did, and effects of the last."""
    left = iter(ends)
    first, intents = STORIES[name]
    begins_late = bool(intents) and is_of_capsule(name)  # how a capsule begins is told by those without more to tell
    async with Sim(lambda: None if begins_late else next(left, None)) as sim:
        wanted = first()
        sim.table.controller.files = {"f" * 32: b"content"}
        await sim.table.controller.want(wanted)
        if begins_late:
            await sim.table.until(lambda: sim.table.is_settled(ONE), 300)
            sim.live_until(lambda: next(left, None))
        for intent in intents:
            changes = dict(intent)
            if "after" in changes:
                await asyncio.sleep(changes.pop("after"))
            else:
                await sim.table.until(lambda: sim.table.is_settled(ONE), 300)
            wanted = replace(wanted, nics=changes.pop("nics", wanted.nics))
            wanted = altered(resized(wanted, changes.pop("limits", None)), **changes)
            await sim.table.controller.want(wanted)
        await asyncio.sleep(_LONG_ENOUGH)
        effects = sim.life.effects
        await sim.quiet()
        assert max(sim.table.world.starts.values(), default=1) == 1
        check_order(sim, name)
        assert set(sim.table.volumes.formatted.values()) <= {1}
        assert set(sim.table.volumes.disks) == {volume.volume for volume in wanted.volumes}
        return sim.crashes, effects


def is_of_capsule(story: str) -> bool:
    return story.startswith(("capsule", "sidecar"))


TURNS = [*((x, y) for x in "abc" for y in "abcdef" if x < y), ("d", "e")]  # who begins before whom


def check_order(sim: Sim, story: str) -> None:
    """No member of a capsule began before its turn, and no init container that had succeeded ran again."""
    if not is_of_capsule(story):
        return
    turns = TURNS if story.startswith("capsule") else TURNS[:-1]
    runs: dict[int, list[str]] = {}
    for name, _, run, _ in sim.table.world.starts:
        runs.setdefault(run, []).append(name[0])
    for run, begun in runs.items():
        if run == 2 and story == "capsule, one restarts":
            assert begun == ["d"]
            continue
        place = {name: number for number, name in enumerate(begun)}
        early = [(x, y) for x, y in turns if {x, y} <= place.keys() and place[x] > place[y]]
        assert not early, f"run {run} began as {begun}"
    assert {attempt for name, _, _, attempt in sim.table.world.starts if name in INITS} == {0}


@pytest.mark.parametrize("story", STORIES)
async def test_a_story_survives_a_death_at_any_effect(story: str) -> None:
    _, effects = await tell(story, [])
    chance = random.Random(story)
    for end in range(1, effects + 1):
        crashes, _ = await tell(story, [end])
        assert crashes == 1
        if not is_of_capsule(story) or end % 3 == 0:
            await tell(story, [end, chance.randrange(1, 30), chance.randrange(1, 30)])
