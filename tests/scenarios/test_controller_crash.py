"""`kill -9` of the controller before or after every single transaction of every story; then the world is judged."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from krater.model.quota import Usage
from krater.model.workload import Desired, Resources
from tests.support.control import FakeNode, Killed, World, a_world

pytestmark = pytest.mark.thorough

Story = Callable[[World, FakeNode], Awaitable[None]]


async def lives(world: World, node: FakeNode) -> None:
    """Placed, reported on, stopped, started."""
    await world.workloads.reconcile("w1")
    await world.sync(node)
    await world.want("w1", Desired.STOPPED)
    await world.workloads.reconcile("w1")
    await world.sync(node)


async def dies(world: World, node: FakeNode) -> None:
    """Placed, then removed."""
    await world.workloads.reconcile("w1")
    await world.sync(node)
    await world.want("w1", Desired.REMOVED)
    await world.workloads.reconcile("w1")
    await world.sync(node)
    await world.workloads.reconcile("w1")


async def ends(world: World, node: FakeNode) -> None:
    """Removed by itself when its process ends."""
    node.exits.add("w1")
    await world.workloads.reconcile("w1")
    await world.sync(node)
    await world.sync(node)
    await world.workloads.reconcile("w1")


async def is_abandoned(world: World, node: FakeNode) -> None:
    """Removed while its node is declared down."""
    await world.workloads.reconcile("w1")
    await world.sync(node)
    await world.want("w1", Desired.REMOVED)
    await world.real.write(lambda tx: tx.nodes.set_forced_down("host-n1", True))
    await world.workloads.reconcile("w1")
    await world.real.write(lambda tx: tx.nodes.set_forced_down("host-n1", False))


STORIES: dict[str, tuple[Story, bool]] = {
    "lives": (lives, True),
    "dies": (dies, False),
    "ends": (ends, False),
    "is abandoned": (is_abandoned, False),
}


async def tell(world: World, story: Story, at: int, *, after: bool) -> bool:
    """Tell a story in a process that dies at its write number `at`. Returns whether it came so far."""
    node = world.nodes["n1"]
    if after:
        world.store.die_after = at
    else:
        world.store.die_before = at
    try:
        await story(world, node)
    except Killed:
        return True
    finally:
        world.restart()
    return False


async def carry_on(world: World, *, stays: bool) -> None:
    """What a user would have asked for in the end, and a resync of everybody."""
    await world.real.write(lambda tx: tx.nodes.set_forced_down("host-n1", False))
    if await world.exists("w1"):
        row = await world.get("w1")
        wanted = Desired.STOPPED if stays else Desired.REMOVED
        if row.intent.desired is not wanted and not row.spec.auto_remove:
            await world.want("w1", wanted)
    await world.settle()


async def judge(world: World, node: FakeNode, *, stays: bool) -> None:
    """Nothing left over, nothing lost."""
    kept = {"w1"} if stays else set()
    assert await world.exists("w1") is stays
    assert await world.held() == (kept, kept)
    assert await world.usage() == (Usage.of(1, Resources(1.0, 512)) if stays else Usage())
    assert set(node.containers) == kept
    assert await world.real.read(lambda tx: tx.workloads.unfinished()) == []
    unfinished = [a.action for a in (await world.actions("w1")).values() if a.finish_time is None]
    assert unfinished == []
    ports = await world.real.read(lambda tx: len(tx.networks.held()))
    assert ports == len(kept)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", STORIES)
async def test_killed_at_any_write_the_world_comes_out_the_same(tmp_path: Path, name: str, after: bool) -> None:
    story, stays = STORIES[name]
    crashes = 0
    while True:
        crashes += 1
        directory = tmp_path / str(crashes)
        directory.mkdir()
        async with a_world(directory) as world:
            node = await world.announce()
            await world.create("w1", auto_remove=name == "ends")
            world.restart()
            came_so_far = await tell(world, story, crashes, after=after)
            await carry_on(world, stays=stays)
            await judge(world, node, stays=stays)
        if not came_so_far:
            break
    assert crashes > 5


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_killed_again_and_again_it_still_gets_there(tmp_path: Path, after: bool) -> None:
    async with a_world(tmp_path) as world:
        node = await world.announce()
        await world.create("w1")
        world.restart()
        for _ in range(3):
            for at in (1, 2, 3):
                await tell(world, dies if await world.exists("w1") else _nothing, at, after=after)
        await carry_on(world, stays=False)
        await judge(world, node, stays=False)


async def _nothing(world: World, node: FakeNode) -> None:
    """The story is over."""


async def test_killed_while_refusing_it_holds_nothing(tmp_path: Path) -> None:
    for at in range(1, 5):
        directory = tmp_path / str(at)
        directory.mkdir()
        async with a_world(directory) as world:
            await world.announce()
            await world.create("w1", resources=Resources(1.0, 20000))
            world.restart()
            world.store.die_before = at
            with suppress(Killed):
                await world.workloads.reconcile("w1")
            world.restart()
            await world.settle()
            assert (await world.get("w1")).placement.refusal
            assert await world.held() == (set(), set())


async def test_a_claim_cut_short_does_not_count_against_its_own_workload(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await world.announce()
        await world.create("w1", resources=Resources(1.0, 5000))  # of 5376 there are
        world.restart()
        world.store.die_after = 1
        with pytest.raises(Killed):
            await world.workloads.reconcile("w1")
        assert (await world.held())[0] == {"w1"}
        world.restart()
        await world.settle()
        assert (await world.get("w1")).placement.node == "n1"
