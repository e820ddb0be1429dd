"""Images that nobody uses, and a disk that fills up."""

from dataclasses import replace
from typing import Any

from krater.agent.image_garbage import ImageGarbage, Marks, disk_of, doomed
from krater.agent.image_tasks import ImageTasks
from krater.agent.runtimes.fake import FakeRuntime
from krater.bus.messages import ImageTask
from krater.model.assignment import NodeImage
from krater.model.image import own_name

GIB = 1 << 30


def image(name: str, size: int = GIB, kept: bool = False) -> NodeImage:
    return NodeImage(name, "sha256:1", size, kept)


def test_the_one_used_longest_ago_goes_first_and_no_more_than_needed() -> None:
    images = [image(name) for name in ("new", "old", "older")]
    used = {"new": 90.0, "old": 50.0, "older": 10.0}
    assert [i.name for i in doomed(images, used, set(), 100.0, GIB + 1, 5.0)] == ["older", "old"]
    assert [i.name for i in doomed(images, used, set(), 100.0, 10 * GIB, 20.0)] == ["older", "old"]
    assert doomed(images, used, set(), 100.0, 0, 5.0) == []


def test_what_is_spared_whatever_the_disk_says() -> None:
    images = [image("used"), image("kept", kept=True), image(own_name("p", "1")), image("free")]
    used = dict.fromkeys((i.name for i in images), 0.0)
    assert [i.name for i in doomed(images, used, {"used"}, 100.0, 100 * GIB, 5.0)] == ["free"]


class Node:
    """Images in a fake engine, and a disk and a time that are moved by hand."""

    def __init__(self, **marks: Any) -> None:
        self.engine = FakeRuntime()
        self.tasks = ImageTasks("n", None, self.engine)  # type: ignore[arg-type]
        self.in_use: set[str] = set()
        self.now, self.disk = 1000.0, (100 * GIB, 50 * GIB)
        chosen = replace(Marks(85.0, 75.0, 60.0), **marks)
        self.garbage = ImageGarbage(
            self.engine, self.tasks, lambda: self.in_use, "/", chosen, lambda: self.now, lambda _: self.disk
        )
        for name in ("a", "b"):
            self.engine.world.images.add(name)

    async def left(self) -> list[str]:
        await self.garbage.collect()
        return [i.name.split("/")[-1].removesuffix(":latest") for i in await self.engine.images()]


async def test_nothing_goes_while_there_is_room_or_it_is_not_known_what_is_wanted() -> None:
    node = Node()
    await node.left()
    node.now, node.disk = 2000.0, (100 * GIB, 90 * GIB)
    assert await node.left() == ["a", "b"]
    node.tasks.accept([])
    node.disk = (100 * GIB, 80 * GIB)
    assert await node.left() == ["a", "b"]


async def test_a_full_disk_costs_what_nobody_wants() -> None:
    node = Node()
    node.tasks.accept([ImageTask("1", "a", wanted=True)])
    await node.left()
    node.now, node.disk = 1050.0, (100 * GIB, 90 * GIB)
    assert await node.left() == ["a", "b"]  # too young
    node.now = 1100.0
    assert await node.left() == ["a"]


async def test_what_a_container_has_stays_and_its_age_begins_when_it_is_gone() -> None:
    node = Node()
    node.tasks.accept([])
    node.in_use = {"docker.io/library/b:latest"}
    await node.left()
    node.now, node.disk = 2000.0, (100 * GIB, 99 * GIB)
    assert await node.left() == ["b"]
    node.in_use = set()
    node.now = 2030.0
    assert await node.left() == ["b"]
    node.now = 2090.0
    assert await node.left() == []


def test_the_disk_of_a_directory_is_measured() -> None:
    size, used = disk_of("/")
    assert 0 < used <= size
