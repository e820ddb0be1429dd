"""What one tenant's workloads wait for must not keep the others of the node waiting."""

import asyncio

import pytest

from krater.agent.runtimes.fake import FakeRuntime
from krater.agent.shares import Shares
from krater.config import AgentSettings
from krater.model.workload import Desired
from tests.support.agent import Table, altered, assignment_of

pytestmark = pytest.mark.looptime

TWO_AT_ONCE = AgentSettings(concurrency=2)


def _id(number: int) -> str:
    return f"{number:08d}-0000-0000-0000-000000000000"


async def test_processes_that_take_days_to_end_leave_room_for_others() -> None:
    async with Table(TWO_AT_ONCE) as table:
        stubborn = [assignment_of(_id(n), "ignore-term") for n in range(3)]
        for one in stubborn:
            await table.controller.want(one)
        for one in stubborn:
            await table.settled(one.workload)
        for one in stubborn:
            await table.controller.want(altered(one, desired=Desired.STOPPED, grace=999_999.0))
        await table.controller.want(assignment_of(_id(7)))
        await table.settled(_id(7), 30)
        assert [table.state(one.workload) for one in stubborn] == ["running"] * 3


async def test_a_registry_that_takes_for_ever_leaves_room_for_others() -> None:
    async with Table(TWO_AT_ONCE) as table:
        table.world.images.add("busybox")
        table.world.images.seconds = 999_999.0
        for number in range(3):
            await table.controller.want(assignment_of(_id(number), image="alpine"))
        await table.controller.want(assignment_of(_id(7), image="busybox"))
        await table.settled(_id(7), 30)
        assert table.state(_id(0)) == ""


async def test_millions_of_files_that_go_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Table(TWO_AT_ONCE) as table:
        full = [assignment_of(_id(number)) for number in range(3)]
        for one in full:
            await table.controller.want(one)
        for one in full:
            await table.settled(one.workload)
        plain = FakeRuntime.remove

        async def slowly(self: FakeRuntime, container: str) -> None:
            await asyncio.sleep(999_999.0)
            await plain(self, container)

        monkeypatch.setattr(FakeRuntime, "remove", slowly)
        for one in full:
            await table.controller.want(altered(one, desired=Desired.REMOVED))
        await table.controller.want(assignment_of(_id(7)))
        await table.settled(_id(7), 30)
        assert [table.state(one.workload) for one in full] == ["exited"] * 3


async def test_one_project_cannot_have_all_places_for_commands() -> None:
    shares = Shares(total=6, each=2)
    inside: list[str] = []

    async def work(owner: str, seconds: float) -> None:
        async with shares.taken(owner):
            inside.append(owner)
            await asyncio.sleep(seconds)
            inside.remove(owner)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(50):
            tasks.create_task(work("greedy", 10.0))
        await asyncio.sleep(0.1)
        assert inside == ["greedy"] * 2
        modest = [tasks.create_task(work("modest", 1.0)) for _ in range(2)]
        await asyncio.sleep(1.2)
        assert all(task.done() for task in modest)
        for number in range(9):
            tasks.create_task(work(f"other-{number}", 1.0))
        await asyncio.sleep(0.1)
        assert len(inside) == 6
