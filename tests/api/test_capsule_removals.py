"""How long capsules that are removed have to end: the time of the template, or less."""

from collections.abc import Sequence

import pytest

from krater.model.workload import Desired
from tests.api.test_capsules import history
from tests.support.api import World
from tests.support.capsules import URL, running, stored

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize(
    ("timeouts", "graces"),
    [
        ("3", [3.0]),
        ("0", [0.0]),
        ("60", [25.0]),
        (("", "7", "", "8", "7", "2", "0"), [25.0, 7.0, 7.0, 7.0, 7.0, 2.0, 0.0]),
    ],
)
async def test_a_removal_can_be_shortened_at_any_time_and_never_lengthened(
    world: World, timeouts: Sequence[str], graces: list[float]
) -> None:
    id = (await running(world, terminationGracePeriodSeconds=25))["uuid"]
    told = []
    for timeout in [timeouts] if isinstance(timeouts, str) else timeouts:
        world.hints.clear()
        before = (await stored(world, id)).intent
        assert (await world.call("DELETE", f"{URL}/{id}?timeout={timeout}")).status_code == 204
        after = (await stored(world, id)).intent
        told.append(after.grace)
        changes = (after.desired, after.grace) != (before.desired, before.grace)
        assert (after.generation - before.generation, world.hints) == (int(changes), [id])
    assert told == graces
    assert [one["action"] for one in await history(world, id)] == ["delete"] * len(set(graces)) + ["create"]


async def test_one_that_its_controller_removes_can_be_hurried_too(world: World) -> None:
    id = (await running(world, terminationGracePeriodSeconds=25))["uuid"]
    await world.store.write(lambda tx: tx.workloads.retire(id, "It has ended."))
    for timeout, grace, desired in (("", 25.0, Desired.RUNNING), ("?timeout=1", 1.0, Desired.REMOVED)):
        assert (await world.call("DELETE", f"{URL}/{id}{timeout}")).status_code == 204
        intent = (await stored(world, id)).intent
        assert (intent.grace, intent.desired) == (grace, desired)
