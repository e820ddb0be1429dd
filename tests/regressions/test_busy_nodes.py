"""What one tenant's workloads wait for must not keep the others of the node waiting."""

import pytest

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
