"""The controller role as it runs: loops, hints, and what happens when those are lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from krater.bus.interfaces import CONTROLLER, Bus, node_target
from krater.bus.local import LocalBus
from krater.bus.messages import Announce, Pull, SendReports, WorkloadChanged
from krater.cloud.local.allocations import LocalAllocations
from krater.cloud.local.networks import LocalNetworks
from krater.cloud.local.volumes import LocalVolumes
from krater.config import ControllerSettings
from krater.controller.service import Controller
from krater.errors import Unavailable
from krater.model.workload import Desired
from krater.store.interfaces import Store
from tests.support.control import INVENTORY, FakeNode, World, a_world

_TIMEOUT = 10.0


class DeafBus(LocalBus):
    """Loses every hint."""

    def hint(self, target: str, message: object) -> None:
        pass


class Agent:
    """Answers hints, pulls, reports: as an agent does, without containers."""

    def __init__(self, world: World, bus: Bus, node: str = "n1") -> None:
        self._world, self._bus, self._node = world, bus, FakeNode(node)
        self.pulled = asyncio.Event()
        bus.serve(node_target(node), {WorkloadChanged: self.changed})

    async def announce(self) -> None:
        message = Announce(self._node.id, f"host-{self._node.id}", "nova", INVENTORY)
        await self._bus.call(CONTROLLER, message, _TIMEOUT)

    async def changed(self, message: WorkloadChanged) -> None:
        answer = await self._bus.call(CONTROLLER, Pull(self._node.id, (message.workload,)), _TIMEOUT)
        self.pulled.set()
        kept = dict(self._node.containers)
        reports = self._node.obey(answer.assignments, self._world.clock())
        self._node.containers = {**kept, **self._node.containers}
        await self._bus.call(CONTROLLER, SendReports(self._node.id, tuple(reports)), _TIMEOUT)


class UnusedVault:
    """Nothing here has a secret."""

    def seal(self, owner: str, text: str) -> str:
        raise NotImplementedError

    def open(self, owner: str, sealed: str) -> str:
        raise NotImplementedError


@asynccontextmanager
async def running(world: World, bus: Bus, store: Store | None = None, **own: float) -> AsyncIterator[Agent]:
    """A controller and one agent."""
    settings = replace(world.settings, controller=replace(ControllerSettings(), **own))  # type: ignore[arg-type]
    store = store or world.real
    networks, allocations = LocalNetworks(store, settings.network), LocalAllocations(store, settings.scheduler)
    volumes = LocalVolumes(store, settings.volumes, world.clock)
    role = Controller(settings, store, bus, networks, allocations, volumes, world.clock, vault=UnusedVault())
    controller = asyncio.create_task(role.run())
    await asyncio.sleep(0)
    agent = Agent(world, bus)
    try:
        yield agent
    finally:
        controller.cancel()
        await asyncio.gather(controller, return_exceptions=True)
        await bus.close()


async def until(ask: Callable[[], Any]) -> None:
    async with asyncio.timeout(_TIMEOUT):
        while not await ask():  # noqa: ASYNC110 - what is waited for happens in the store
            await asyncio.sleep(0.01)


async def test_hints_carry_a_workload_to_its_node_and_to_its_end(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        bus = LocalBus()
        async with running(world, bus) as agent:
            await agent.announce()
            await world.create("w1")
            bus.hint(CONTROLLER, WorkloadChanged("w1"))
            await asyncio.wait_for(agent.pulled.wait(), 1.0)
            await world.want("w1", Desired.REMOVED)
            bus.hint(CONTROLLER, WorkloadChanged("w1"))

            async def gone() -> bool:
                return not await world.exists("w1")

            await until(gone)
            assert await world.held() == (set(), set())


async def test_a_lost_hint_only_costs_a_resync(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, running(world, DeafBus(), resync=0.1) as agent:
        await agent.announce()
        await world.create("w1")

        async def placed() -> bool:
            return (await world.get("w1")).placement.node is not None

        await until(placed)


async def test_what_was_unfinished_is_looked_at_when_the_controller_starts(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await world.announce()
        await world.create("w1")
        async with running(world, LocalBus(), resync=3600.0):

            async def placed() -> bool:
                return (await world.get("w1")).placement.node is not None

            await until(placed)


class Flaky:
    """A store that cannot be reached three times, each in the middle of something."""

    def __init__(self, store: Store) -> None:
        self._store, self._count = store, 0

    def _fail(self) -> None:
        self._count += 1
        if self._count in (2, 6, 11):
            raise Unavailable("The database does not answer.")

    async def read(self, fn: Callable[[Any], Any]) -> Any:
        self._fail()
        return await self._store.read(fn)

    async def write(self, fn: Callable[[Any], Any]) -> Any:
        self._fail()
        return await self._store.write(fn)

    async def close(self) -> None:
        await self._store.close()


async def test_a_database_that_fails_now_and_then_only_delays(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await world.announce()
        await world.create("w1")
        async with running(world, LocalBus(), Flaky(world.real), resync=0.2):

            async def placed() -> bool:
                return (await world.get("w1")).placement.node is not None

            await until(placed)
