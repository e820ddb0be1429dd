"""Live requests to a node, image tasks, and what it says of itself."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from krater.agent.inventory import read_inventory, split_processors
from krater.agent.runtimes.fake import FakeEngineWorld
from krater.agent.runtimes.interfaces import EngineFacts
from krater.bus.interfaces import Request
from krater.bus.messages import (
    Exec,
    ImagesChanged,
    ImageTask,
    Logs,
    Resize,
    Signal,
    Stats,
    Top,
)
from krater.errors import Conflict, Invalid, NotFound, Unavailable
from krater.model.assignment import NodeImage
from krater.model.workload import Desired
from tests.support.agent import Table, altered, assignment_of

ONE, NOBODY = "1" * 32, "0" * 32


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Table]:
    async with Table(world=FakeEngineWorld(logs=str(tmp_path))) as made:
        await made.controller.want(assignment_of(ONE))
        await made.settled(ONE)
        yield made


def requests(container: str) -> list[Request[Any]]:
    return [
        Exec(container, ("true",), 1.0, 100),
        Top(container),
        Stats(container),
        Signal(container, 15),
        Resize(container, 1.0, 64),
        Logs(container),
    ]


async def test_what_does_not_exist_is_not_found(table: Table) -> None:
    for request in requests(NOBODY):
        with pytest.raises(NotFound):
            await table.controller.ask(request)


async def test_what_does_not_run_is_a_conflict(table: Table) -> None:
    await table.controller.want(altered(assignment_of(ONE), desired=Desired.STOPPED))
    await table.settled(ONE)
    for request in requests(ONE)[:4]:
        with pytest.raises(Conflict):
            await table.controller.ask(request)
    await table.controller.ask(Resize(ONE, 1.0, 128))
    assert (await table.controller.ask(Logs(ONE))).text == b""


async def test_an_engine_that_is_not_there_yet_is_unavailable() -> None:
    table = Table()

    def refuse(moment: str, effect: str, _: str) -> None:
        if effect == "open":
            raise Unavailable("not there")

    table.start(refuse)
    await asyncio.sleep(0.1)
    for request in requests(ONE):
        with pytest.raises(Unavailable):
            await table.controller.ask(request)
    assert not table.controller.announced, "nothing is placed on a node that can run nothing"
    await table.stop()


async def test_requests_are_answered(table: Table) -> None:
    ask = table.controller.ask
    done = await ask(Exec(ONE, ("echo", "hello"), 1.0, 3))
    assert (done.output, done.exit_code, done.truncated) == (b"hel", 0, True)
    assert len((await ask(Top(ONE))).rows) == 1
    assert (await ask(Stats(ONE))).memory_limit == 64 << 20
    await ask(Resize(ONE, 0.5, 32))
    assert table.world.containers[ONE].seen.memory == 32
    await ask(Signal(ONE, 9))
    await table.until(lambda: (r := table.report(ONE)) is not None and r.containers[0].exit_code == 137, 2)


async def test_the_log_outlives_the_container(table: Table) -> None:
    other = "2" * 32
    wanted = assignment_of(other, "echo", "last", "words", nics=())
    await table.controller.want(wanted)
    await table.settled(other)
    await table.controller.want(altered(wanted, desired=Desired.REMOVED))
    await table.until(lambda: other not in table.controller.assignments, 2)
    assert (await table.controller.ask(Logs(other))).text == b"last words\n"


async def test_a_command_that_does_not_end_is_cut_off(table: Table) -> None:
    with pytest.raises(Conflict):
        await table.controller.ask(Exec(ONE, ("sleep", "100"), 0.05, 100))


async def test_image_tasks_are_done_and_told(table: Table) -> None:
    controller = table.controller
    for number, (name, wanted) in enumerate((("busybox", True), ("nowhere/x", True), ("alpine", False))):
        controller.images[str(number)] = ImageTask(str(number), name, wanted)
    await controller.tell(ImagesChanged())

    def names() -> set[str]:
        return {image.name for image in controller.sent_images.images} if controller.sent_images else set()

    await table.until(lambda: names() == {"docker.io/library/busybox:latest"}, 5)
    await table.until(lambda: bool(controller.sent_images and controller.sent_images.failures), 5)
    assert controller.sent_images is not None
    assert controller.sent_images.failures == (("1", "There is no image nowhere/x in its registry."),)


async def test_an_image_imported_behind_our_back_is_told_at_the_next_announce() -> None:
    table = Table()
    table.settings = replace(table.settings, announce=0.1)
    async with table:
        await table.until(lambda: table.controller.sent_images is not None, 5)
        table.world.images.add("mine")
        await table.until(lambda: bool(table.controller.sent_images and table.controller.sent_images.images), 5)


async def test_a_node_announces_itself_at_once(table: Table) -> None:
    announced = table.controller.announced[0]
    assert announced.host == "host-1"
    assert announced.inventory.cpus > 0


def test_the_inventory_is_what_the_machine_has(tmp_path: Path) -> None:
    facts = EngineFacts("fake", "1", ("crun",), False, "v2")
    images = [NodeImage("a", "sha256:1", 5)]
    found = read_inventory(str(tmp_path / "not" / "there"), facts, images, {"rack": "7"})
    assert found.memory > 64
    assert found.disk >= found.disk_used >= 0
    assert (found.image_store, found.runtimes, found.labels) == ("down", ("crun",), {"rack": "7"})
    assert found.images == tuple(images)
    assert found.architecture
    assert found.kernel_version


def test_dedicated_processors_leave_some_for_the_others() -> None:
    present = sorted(os.sched_getaffinity(0))
    assert split_processors("") == ((), tuple(present))
    assert split_processors("4095") == ((), tuple(present)), "what is not there cannot be kept"
    if len(present) > 1:
        assert split_processors(str(present[-1])) == ((present[-1],), tuple(present[:-1]))
    with pytest.raises(Invalid, match="leaves no processor"):
        split_processors(",".join(map(str, present)))
