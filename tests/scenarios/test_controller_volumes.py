"""Volumes in the controller: where they are, who holds them, and that none is stuck, whatever dies when."""

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from krater.bus.messages import FetchFiles, Pull, VolumesChanged
from krater.errors import NotFound
from krater.model.volume import Volume, VolumeClaim, VolumeStatus
from krater.model.workload import Desired
from krater.store.interfaces import EVERYBODY, Workload
from tests.support.control import FakeNode, Killed, World, a_world

pytestmark = pytest.mark.thorough

DATA, SCRATCH = VolumeClaim("data"), VolumeClaim("scratch", 2)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as world:
        await world.announce("n1")
        await world.real.write(lambda tx: tx.volumes.add(Volume("data", "data", "p-ann", 1, world.clock())))
        yield world


async def removed(world: World, id: str) -> None:
    await world.want(id, Desired.REMOVED)
    await world.settle()
    await world.settle()


async def test_a_node_is_told_what_to_connect_and_that_it_is_new_only_once(world: World) -> None:
    await world.create("w1", claims=(DATA, SCRATCH))
    await world.workloads.reconcile("w1")
    [given] = (await world.endpoint.pull(Pull("n1", ("w1",)))).assignments
    assert [(v.volume, v.size, v.is_new) for v in given.volumes] == [("data", 1, True), ("scratch", 2, True)]
    await world.settle()
    [given] = (await world.endpoint.pull(Pull("n1"))).assignments
    assert [v.is_new for v in given.volumes] == [False, False]


async def test_the_users_volume_stays_and_the_containers_goes(world: World) -> None:
    await world.create("w1", claims=(DATA, SCRATCH))
    await world.settle()
    await removed(world, "w1")
    assert not await world.exists("w1")
    assert {v.id: (v.status, v.node) for v in (await world.stored_volumes()).values()} == {
        "data": (VolumeStatus.AVAILABLE, "n1")
    }
    assert world.nodes["n1"].disks == {"data"}
    assert any(isinstance(message, VolumesChanged) for _, message in world.bus.hints)


async def test_a_container_goes_where_its_volume_is(world: World) -> None:
    await world.create("w1", claims=(DATA,))
    await world.settle()
    await removed(world, "w1")
    await world.announce("n2")
    for n in range(3):
        await world.create(f"other{n}")
    await world.settle()
    await world.create("w2", claims=(DATA,))
    await world.settle()
    assert (await world.get("w2")).placement.node == "n1"


async def test_volumes_on_different_nodes_go_into_no_workload_together(world: World) -> None:
    await world.create("w1", claims=(DATA,))
    await world.settle()
    await removed(world, "w1")
    await world.announce("n2")
    other = Volume("other", "other", "p-ann", 1, world.clock(), node="n2")
    await world.real.write(lambda tx: tx.volumes.add(other))
    await world.create("w2", claims=(DATA, VolumeClaim("other")))
    await world.settle()
    placement = (await world.get("w2")).placement
    assert placement.node is None
    assert "Its volumes are on different hosts" in (placement.refusal or "")
    await removed(world, "w2")
    held = {volume.id: volume.workload for volume in (await world.stored_volumes()).values()}
    assert held == {"data": "", "other": ""}


async def test_why_there_is_no_place_is_told_and_the_volume_kept(world: World) -> None:
    await world.create("w1", claims=(DATA,))
    await world.settle()
    await removed(world, "w1")
    await world.announce("n2")
    await world.real.write(lambda tx: tx.nodes.set_disabled("host-n1", True, None))
    await world.create("w2", claims=(DATA,))
    await world.settle()
    refusal = (await world.get("w2")).placement.refusal or ""
    assert "its volume is on another host" in refusal.lower()
    assert (await world.stored_volumes())["data"].workload == "w2"
    await removed(world, "w2")
    assert (await world.stored_volumes())["data"].status is VolumeStatus.AVAILABLE


async def test_contents_of_files_are_told_to_the_workloads_node_alone(world: World) -> None:
    await world.create("w1")
    await world.real.write(lambda tx: tx.volumes.add_files("w1", {"f1": b"words"}))
    fetch = world.endpoint.handlers[FetchFiles]
    with pytest.raises(NotFound):
        await fetch(FetchFiles("n1", "w1"))
    await world.settle()
    answer = await fetch(FetchFiles("n1", "w1"))
    assert answer.files == (("f1", b"words"),)
    assert "words" not in repr(answer)
    for node, workload in (("n2", "w1"), ("n1", "w2")):
        with pytest.raises(NotFound):
            await fetch(FetchFiles(node, workload))


async def test_nothing_waits_for_a_node_that_was_given_up(world: World) -> None:
    await world.create("w1", claims=(DATA, SCRATCH))
    await world.settle()
    await world.want("w1", Desired.REMOVED)
    await world.real.write(lambda tx: tx.nodes.set_forced_down("host-n1", True))
    await world.workloads.reconcile("w1")
    assert not await world.exists("w1")
    await world.garbage.collect()
    assert set(await world.stored_volumes()) == {"data"}


async def test_what_belongs_to_nobody_is_given_back_at_the_second_look(world: World) -> None:
    await world.real.write(lambda tx: tx.volumes.hold(["data"], "nobody"))
    await world.real.write(lambda tx: tx.volumes.add_files("nobody", {"f1": b"x"}))
    await world.garbage.collect()
    assert (await world.stored_volumes())["data"].workload == "nobody"
    await world.garbage.collect()
    assert (await world.stored_volumes())["data"].workload == ""
    assert await world.real.read(lambda tx: tx.volumes.holders()) == set()


async def story(world: World, node: FakeNode) -> None:
    """Placed, run, removed."""
    await world.workloads.reconcile("w1")
    await world.sync(node)
    await world.want("w1", Desired.REMOVED)
    await world.workloads.reconcile("w1")
    await world.sync(node)
    await world.workloads.reconcile("w1")
    await world.sync(node)
    await world.sync(node)


async def tell(directory: Path, before: int | None, after: int | None) -> int:
    async with a_world(directory) as world:
        node = await world.announce("n1")
        await world.real.write(lambda tx: tx.volumes.add(Volume("data", "data", "p-ann", 1, world.clock())))
        made: Workload = await world.create("w1", claims=(DATA, SCRATCH))
        await world.real.write(lambda tx: tx.volumes.add_files(made.id, {"f1": b"x"}))
        world.store.die_before, world.store.die_after = before, after
        with suppress(Killed):
            await story(world, node)
        writes = world.store.writes
        world.restart()
        await world.settle()
        if await world.exists("w1"):
            await world.want("w1", Desired.REMOVED)
        await world.settle()
        await world.settle()
        assert not await world.exists("w1")
        found = await world.stored_volumes()
        assert {id: v.status for id, v in found.items()} == {"data": VolumeStatus.AVAILABLE}
        assert node.disks <= {"data"}
        assert await world.real.read(lambda tx: tx.volumes.holders()) == set()
        assert await world.real.read(lambda tx: tx.workloads.on_node("n1")) == []
        assert await world.real.read(lambda tx: tx.volumes.list(EVERYBODY)) == [*found.values()]
        return writes


async def test_a_volumes_story_survives_a_death_at_any_transaction(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    writes = await tell(tmp_path / "whole", None, None)
    assert writes > 5
    for moment in range(1, writes + 1):
        for name, ends in (("before", (moment, None)), ("after", (None, moment))):
            directory = tmp_path / f"{name}-{moment}"
            directory.mkdir()
            await tell(directory, *ends)
