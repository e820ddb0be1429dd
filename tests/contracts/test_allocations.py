"""What every adapter of `cloud.interfaces.Allocations` does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from krater.clock import utc_now
from krater.cloud.interfaces import Allocations
from krater.cloud.local.allocations import LocalAllocations
from krater.config import SchedulerSettings
from krater.errors import Conflict
from krater.model.node import Inventory
from krater.model.workload import Resources
from krater.store.sql import SqlStore

HALF = Resources(2.0, 1024, 10)


@dataclass
class Subject:
    """The adapter, and how nodes come to be known."""

    allocations: Allocations
    announce: Callable[[str], Awaitable[None]]


@pytest.fixture(params=["local"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    assert request.param == "local"
    store = await SqlStore.open(f"sqlite:///{tmp_path}/krater.sqlite")

    async def announce(node: str) -> None:
        inventory = Inventory(cpus=2, memory=2560, disk=20, dedicated=(4, 5, 6))
        await store.write(lambda tx: tx.nodes.announce(node, f"host-{node}", "nova", inventory, utc_now()))

    settings = SchedulerSettings(cpu_ratio=2.0, memory_ratio=1.0, reserved_memory=512)
    subject = Subject(LocalAllocations(store, settings), announce)
    await announce("n1")
    yield subject
    await store.close()


async def used(subject: Subject, node: str = "n1") -> Resources:
    return next(c.used for c in await subject.allocations.capacities() if c.node.id == node)


async def test_capacities_carry_the_settings_ratios(subject: Subject) -> None:
    (capacity,) = await subject.allocations.capacities()
    assert (capacity.cpu_ratio, capacity.memory_ratio, capacity.reserved_memory) == (2.0, 1.0, 512)


async def test_a_claim_is_counted_once_however_often_it_is_made(subject: Subject) -> None:
    for _ in range(3):
        await subject.allocations.claim("w1", "n1", HALF)
    assert await used(subject) == HALF
    assert await subject.allocations.list_owned() == {"w1"}


async def test_claims_fit_exactly_and_no_further(subject: Subject) -> None:
    await subject.allocations.claim("w1", "n1", HALF)
    await subject.allocations.claim("w2", "n1", HALF)
    for more in (Resources(0.1, 0), Resources(0.0, 1), Resources(0.0, 0, 1)):
        with pytest.raises(Conflict):
            await subject.allocations.claim("w3", "n1", more)
    assert await used(subject) == HALF + HALF


async def test_a_claim_may_grow_and_shrink_in_place(subject: Subject) -> None:
    await subject.allocations.claim("w1", "n1", HALF)
    await subject.allocations.claim("w1", "n1", Resources(4.0, 2048, 20))
    await subject.allocations.claim("w1", "n1", Resources(1.0, 64, 0))
    assert await used(subject) == Resources(1.0, 64, 0)


async def test_a_claim_that_cannot_grow_stays_as_it_was(subject: Subject) -> None:
    await subject.allocations.claim("w1", "n1", HALF)
    with pytest.raises(Conflict):
        await subject.allocations.claim("w1", "n1", Resources(2.0, 4096, 10))
    assert await used(subject) == HALF


async def test_a_claim_moves_to_another_node(subject: Subject) -> None:
    await subject.announce("n2")
    await subject.allocations.claim("w1", "n1", HALF)
    await subject.allocations.claim("w1", "n2", HALF)
    assert (await used(subject, "n1"), await used(subject, "n2")) == (Resources(0.0, 0, 0), HALF)


async def test_release_gives_back_and_is_idempotent(subject: Subject) -> None:
    await subject.allocations.claim("w1", "n1", HALF)
    for _ in range(2):
        await subject.allocations.release("w1")
        assert await used(subject) == Resources(0.0, 0, 0)
    assert await subject.allocations.list_owned() == set()


async def test_of_many_at_once_only_as_many_as_there_is_room_for_succeed(subject: Subject) -> None:
    claims = (subject.allocations.claim(f"w{n}", "n1", Resources(1.0, 64)) for n in range(10))
    ends = await asyncio.gather(*claims, return_exceptions=True)
    assert [type(end) for end in ends].count(Conflict) == 6
    assert (await used(subject)).cpu == 4.0


async def test_a_node_nobody_knows_has_no_room(subject: Subject) -> None:
    with pytest.raises(Conflict):
        await subject.allocations.claim("w1", "nowhere", HALF)


def alone(count: int) -> Resources:
    return Resources(0.1, 16, 0, count)


async def test_dedicated_processors_are_nobody_elses(subject: Subject) -> None:
    first = await subject.allocations.claim("w1", "n1", alone(2))
    assert await subject.allocations.claim("w1", "n1", alone(2)) == first, "asked again, it keeps them"
    second = await subject.allocations.claim("w2", "n1", alone(1))
    assert {*first, *second} == {4, 5, 6}
    (capacity,) = await subject.allocations.capacities()
    assert capacity.pinned == {4, 5, 6}
    with pytest.raises(Conflict):
        await subject.allocations.claim("w3", "n1", alone(1))
    await subject.allocations.release("w1")
    assert set(await subject.allocations.claim("w3", "n1", alone(2))) == set(first)


async def test_dedicated_processors_stay_when_the_rest_of_a_claim_changes(subject: Subject) -> None:
    await subject.allocations.claim("w1", "n1", alone(1))
    second = await subject.allocations.claim("w2", "n1", alone(1))
    await subject.allocations.release("w1")
    assert await subject.allocations.claim("w2", "n1", Resources(0.1, 32, 0, 1)) == second, "its process runs on them"
    (other,) = await subject.allocations.claim("w3", "n1", alone(1))
    assert other not in second


async def test_who_asks_for_no_processor_gets_none(subject: Subject) -> None:
    assert await subject.allocations.claim("w1", "n1", HALF) == ()


async def test_of_many_at_once_nobody_shares_a_processor(subject: Subject) -> None:
    claims = (subject.allocations.claim(f"w{n}", "n1", alone(1)) for n in range(8))
    ends = await asyncio.gather(*claims, return_exceptions=True)
    assert sorted(end for end in ends if isinstance(end, tuple)) == [(4,), (5,), (6,)]
