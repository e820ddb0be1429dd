"""Nodes that come and go, images they have, and what is collected when nobody holds it any more."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from krater.bus.messages import Pull, SendImages
from krater.config import Settings
from krater.errors import Conflict
from krater.model.assignment import NodeImage
from krater.model.workload import Desired, Resources
from krater.store.interfaces import Image
from tests.support.control import ANN, World, a_world, placed

pytestmark = pytest.mark.thorough


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as world:
        yield world


async def test_a_dead_node_takes_nothing_new_and_keeps_what_it_has(world: World) -> None:
    await placed(world)
    world.clock.move(61)
    await world.announce("n2")
    await world.create("w2")
    await world.workloads.reconcile("w2")
    assert (await world.get("w1")).placement.node == "n1"
    assert (await world.get("w2")).placement.node == "n2"


async def test_a_disabled_node_keeps_what_it_has_and_takes_nothing_new_until_enabled(world: World) -> None:
    await placed(world)
    await world.announce("n2")
    await world.real.write(lambda tx: tx.nodes.set_disabled("host-n1", True, "new disk"))
    for id in ("w2", "w3"):
        await world.create(id)
    await world.settle()
    assert [(await world.get(id)).placement.node for id in ("w1", "w2", "w3")] == ["n1", "n2", "n2"]
    await world.want("w1", Desired.STOPPED)
    await world.settle()
    assert "w1" in world.nodes["n1"].containers, "it goes on doing what it is told"
    await world.real.write(lambda tx: tx.nodes.set_disabled("host-n1", False, None))
    await world.create("w4")
    await world.settle()
    assert (await world.get("w4")).placement.node == "n1"


async def test_a_node_that_is_forced_down_takes_nothing_new(world: World) -> None:
    await placed(world)
    await world.real.write(lambda tx: tx.nodes.set_forced_down("host-n1", True))
    await world.announce()
    await world.create("w2")
    await world.workloads.reconcile("w2")
    assert (await world.get("w2")).placement.node is None
    await world.announce("n2")
    await world.workloads.reconcile("w2")
    assert (await world.get("w2")).placement.node == "n2"


async def test_a_deleted_node_takes_nothing_until_it_announces_itself_again(world: World) -> None:
    await placed(world)
    with pytest.raises(Conflict):
        await world.real.write(lambda tx: tx.nodes.delete("host-n1"))
    await world.want("w1", Desired.REMOVED)
    await world.settle()
    await world.real.write(lambda tx: tx.nodes.delete("host-n1"))
    await world.create("w2")
    await world.workloads.reconcile("w2")
    assert (await world.get("w2")).placement.node is None
    await world.announce()
    await world.settle()
    assert (await world.get("w2")).placement.node == "n1"


async def test_garbage_releases_what_has_no_workload_in_the_second_pass(world: World) -> None:
    await placed(world)
    network = (await world.get("w1")).spec.nets
    await world.allocations.claim("ghost", "n1", Resources(1.0, 64))
    await world.networks.ensure_ports("ghost", ANN.project_id, network)
    await world.garbage.collect()
    assert await world.held() == ({"w1", "ghost"}, {"w1", "ghost"})
    await world.garbage.collect()
    assert await world.held() == ({"w1"}, {"w1"})


async def test_garbage_mends_a_claim_that_is_missing(world: World) -> None:
    await placed(world)
    await world.allocations.release("w1")
    await world.garbage.collect()
    assert (await world.held())[0] == {"w1"}


async def test_old_history_of_what_is_gone_is_forgotten(world: World) -> None:
    await placed(world)
    await world.want("w1", Desired.REMOVED)
    await world.settle()
    await world.create("w2")
    await world.settle()
    world.clock.move(Settings().controller.keep_actions + 1)
    await world.garbage.collect()
    assert await world.actions("w1") == {}
    assert await world.actions("w2") != {}


async def test_images_asked_for_are_tasks_and_reports_fill_them_in(world: World) -> None:
    await world.announce()
    wanted = Image("i1", "alpine", "3.20", "n1", ANN.project_id, ANN.user_id, world.clock())
    await world.real.write(lambda tx: tx.images.add(wanted))
    (task,) = (await world.endpoint.pull(Pull("n1"))).images
    assert (task.id, task.name, task.wanted) == ("i1", "docker.io/library/alpine:3.20", True)
    seen = (
        NodeImage("docker.io/library/alpine:3.20", "sha256:" + "a" * 64, 7),
        NodeImage("quay.io/x/y:1", "sha256:" + "b" * 64, 9),
        NodeImage("quay.io/x/z@sha256:" + "c" * 64, "sha256:" + "c" * 64, 9),
        NodeImage("Not A Name", "sha256:" + "d" * 64, 1),
    )
    await world.endpoint.send_images(SendImages("n1", seen))
    rows = {(i.repo, i.tag): i for i in await world.real.read(lambda tx: tx.images.on_node("n1"))}
    assert rows.keys() == {("alpine", "3.20"), ("quay.io/x/y", "1"), ("quay.io/x/z", "sha256:" + "c" * 64)}
    assert (rows["alpine", "3.20"].size, rows["alpine", "3.20"].id) == (7, "i1")
    by_digest = rows["quay.io/x/z", "sha256:" + "c" * 64]
    await world.real.write(lambda tx: tx.images.set_removing(by_digest.id))
    names = {t.name: t.wanted for t in (await world.endpoint.pull(Pull("n1"))).images}
    assert names == {"docker.io/library/alpine:3.20": True, "quay.io/x/z@sha256:" + "c" * 64: False}


async def test_an_image_that_failed_is_told_and_not_asked_for_again(world: World) -> None:
    await world.announce()
    wanted = Image("i1", "nowhere", "1", "n1", ANN.project_id, ANN.user_id, world.clock())
    await world.real.write(lambda tx: tx.images.add(wanted))
    await world.endpoint.send_images(SendImages("n1", (), (("i1", "no such image"),)))
    (image,) = await world.real.read(lambda tx: tx.images.on_node("n1"))
    assert image.failure == "no such image"
    assert (await world.endpoint.pull(Pull("n1"))).images == ()
