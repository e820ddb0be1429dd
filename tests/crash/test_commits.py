"""The agent dies around each effect of a commit: the next one finishes it, and nothing is left paused."""

import random

import pytest

from krater.bus.messages import ImagesChanged, ImageTask
from krater.model.image import own_name
from krater.model.workload import Desired
from tests.crash.sim import Sim
from tests.support.agent import altered, assignment_of

pytestmark = [pytest.mark.looptime, pytest.mark.thorough]

ONE, OWN = "1" * 32, own_name("kitchen", "8d1f2a4e")


async def tell(ends: list[int | None], then: Desired | None = None) -> tuple[int, int]:
    """A container runs and is committed; `then` something else is asked. How often the agent died, and its effects."""
    left = iter(ends)
    async with Sim(lambda: next(left, None)) as sim:
        wanted, controller = assignment_of(ONE), sim.table.controller
        await controller.want(wanted)
        await sim.table.until(lambda: sim.table.is_settled(ONE), 300)
        before = sim.life.effects
        controller.images["image"] = ImageTask("image", OWN, wanted=True, source=ONE)
        await controller.tell(ImagesChanged())
        if then is not None:
            await controller.want(altered(wanted, desired=then))
        await sim.quiet()
        sent = controller.sent_images
        assert sent is not None
        is_there = OWN in {image.name for image in sent.images}
        assert is_there == (OWN in {image.name for image in sim.table.world.images.list()})
        assert is_there or [key for key, _ in sent.failures] == ["image"]
        assert is_there or then is Desired.REMOVED
        return sim.crashes, sim.life.effects - before


@pytest.mark.parametrize("then", [None, Desired.STOPPED, Desired.PAUSED, Desired.REMOVED])
async def test_a_commit_survives_a_death_at_any_effect(then: Desired | None) -> None:
    chance = random.Random(str(then))
    for end in range(1, 40):
        await tell([end], then)
        await tell([end, chance.randrange(1, 30), chance.randrange(1, 30)], then)


async def test_what_was_deleted_while_nobody_looked_is_dropped() -> None:
    async with Sim(lambda: None) as sim:
        sim.table.world.images.add(OWN)
        kept = own_name("kitchen", "cafe")
        sim.table.world.images.add(kept)
        sim.table.controller.images["kept"] = ImageTask("kept", kept, wanted=True)
        await sim.table.controller.tell(ImagesChanged())
        await sim.quiet()
        assert [image.name for image in sim.table.world.images.list()] == [kept]


async def test_nothing_is_dropped_before_the_controller_has_said_what_is_wanted() -> None:
    async with Sim(lambda: None) as sim:
        sim.table.controller.is_down = True
        sim.table.world.images.add(OWN)
        await sim.table.until(lambda: sim.life.effects > 5, 300)
        assert [image.name for image in sim.table.world.images.list()] == [OWN]
