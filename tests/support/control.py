"""A controller over a real store, with nodes that are told what to do by it and a process that can be killed.

Time stands still unless moved; nothing happens but when it is asked for, so a test can stop the world anywhere.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from krater.bus.messages import Announce, Pull, SendReports, SendVolumes
from krater.cloud.interfaces import Caller
from krater.cloud.local.allocations import LocalAllocations
from krater.cloud.local.networks import LocalNetworks
from krater.cloud.local.volumes import LocalVolumes
from krater.config import Settings
from krater.controller.endpoint import Endpoint
from krater.controller.garbage import Garbage
from krater.controller.nodes import Nodes
from krater.controller.workloads import Workloads
from krater.model.assignment import Assignment, ContainerState, ObservedContainer, Report, StepEvent
from krater.model.node import Inventory
from krater.model.quota import Limits, Usage
from krater.model.volume import MountRequest, Volume, VolumeClaim
from krater.model.workload import (
    ContainerSpec,
    Desired,
    Intent,
    Kind,
    MemberIntent,
    Resources,
    WorkloadSpec,
)
from krater.store.interfaces import EVERYBODY, Action, Store, Workload
from krater.store.sql import SqlStore
from tests.support.accounts import Clock

T = TypeVar("T")

ANN = Caller("u-ann", "ann", "p-ann", "kitchen", ("member",))
BOB = Caller("u-bob", "bob", "p-bob", "cellar", ("member",))
INVENTORY = Inventory(cpus=4, memory=4096, disk=100, runtimes=("crun",), labels={"disk": "ssd"})
_ROUNDS = 12


class Killed(BaseException):
    """The process is gone: nothing that catches errors may go on."""


class MortalStore:
    """A store whose process dies before or after a chosen write."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.writes = 0
        self.die_before: int | None = None
        self.die_after: int | None = None

    async def read(self, fn: Callable[[Any], T]) -> T:
        return await self._store.read(fn)

    async def write(self, fn: Callable[[Any], T]) -> T:
        self.writes += 1
        if self.writes == self.die_before:
            raise Killed
        result = await self._store.write(fn)
        if self.writes == self.die_after:
            raise Killed
        return result

    async def close(self) -> None:
        await self._store.close()


class SilentBus:
    """Remembers hints and delivers none: whatever works over it survives a bus that loses everything."""

    def __init__(self) -> None:
        self.hints: list[tuple[str, object]] = []

    async def call(self, target: str, request: Any, timeout: float) -> Any:
        raise NotImplementedError

    def hint(self, target: str, message: object) -> None:
        self.hints.append((target, message))

    def serve(self, target: str, handlers: dict[type, Any]) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        pass


@dataclass
class FakeNode:
    """A node that does at once what it is told. `exits` holds workloads whose process ends by itself."""

    id: str
    containers: dict[str, ObservedContainer] = field(default_factory=dict)
    exits: set[str] = field(default_factory=set)
    failures: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    disks: set[str] = field(default_factory=set)

    def obey(self, assignments: tuple[Assignment, ...], at: Any) -> list[Report]:
        """Do what a complete answer says, and report."""
        for unknown in self.containers.keys() - {a.workload for a in assignments}:
            self._remove(unknown)
        return [self._obey(assignment, at) for assignment in assignments]

    def _obey(self, given: Assignment, at: Any) -> Report:
        id, intent = given.workload, given.intent
        events = (StepEvent("start", at, at),)
        if intent.desired is Desired.REMOVED:
            self._remove(id)
            return Report(id, given.epoch, intent.generation, settled=True, gone=True, events=events)
        if id in self.failures:
            return Report(id, given.epoch, intent.generation, failure=self.failures[id], events=events)
        self.disks |= {volume.volume for volume in given.volumes if volume.is_new}
        seen = tuple(self._run(given, container.id) for container in given.containers)
        self.containers[id] = seen[0]
        return Report(id, given.epoch, intent.generation, containers=seen, settled=True, events=events)

    def _run(self, given: Assignment, container: str) -> ObservedContainer:
        intent = given.intent.of(container)
        state = ContainerState.RUNNING if intent.desired is Desired.RUNNING else ContainerState.EXITED
        if intent.desired is Desired.CREATED:
            state = ContainerState.CREATED
        if given.workload in self.exits:
            state = ContainerState.EXITED
        return ObservedContainer(container, intent.rebuild, state, run=intent.run)

    def _remove(self, id: str) -> None:
        if self.containers.pop(id, None) is not None:
            self.removed.append(id)


class World:
    """One controller, its store, its nodes."""

    def __init__(self, store: Store, clock: Clock, settings: Settings) -> None:
        self.real, self.clock, self.settings = store, clock, settings
        self.nodes: dict[str, FakeNode] = {}
        self.store = MortalStore(store)
        self.restart()

    def restart(self) -> None:
        """A new process, of which only the store's content is old."""
        settings, now = self.settings, self.clock
        self.store = MortalStore(self.real)
        self.bus = SilentBus()
        self.woken: list[str] = []
        self.networks = LocalNetworks(self.store, settings.network)
        self.allocations = LocalAllocations(self.store, settings.scheduler)
        self.volumes = LocalVolumes(self.store, settings.volumes, now)
        self.workloads = Workloads(settings, self.store, self.bus, self.networks, self.allocations, self.volumes, now)
        down_after = settings.controller.node_down_after
        self.watcher = Nodes(self.store, down_after, now, self.woken.append)
        self.endpoint = Endpoint(self.store, self.bus, self.watcher, now, self.woken.append)
        own = settings.controller
        keep = own.keep_actions
        suspect = self.workloads.suspect
        self.garbage = Garbage(
            self.store, self.networks, self.allocations, self.volumes, keep, own.project_actions, keep, now, suspect
        )

    # The API's writes -------------------------------------------------------------------------------------------------

    async def create(self, id: str, caller: Caller = ANN, **changes: Any) -> Workload:
        """What POST does."""
        resources = changes.pop("resources", Resources(1.0, 512))
        claims: tuple[VolumeClaim, ...] = changes.pop("claims", ())
        mounts = tuple(MountRequest(f"/{claim.volume}", volume=claim.volume) for claim in claims)
        nets = changes.pop("nets", None)
        if nets is None:
            nets = await LocalNetworks(self.real, self.settings.network).resolve(caller, ())
        lone = ContainerSpec(id, f"name-{id}", "busybox", resources, mounts=mounts)
        members: tuple[ContainerSpec, ...] = changes.pop("members", ())
        spec = WorkloadSpec(members or (lone,), nets=tuple(nets), whole=resources if members else None)
        row = Workload(
            id=id,
            kind=Kind.CAPSULE if members else Kind.CONTAINER,
            project_id=caller.project_id,
            user_id=caller.user_id,
            name=changes.pop("name", f"name-{id}"),
            spec=replace(spec, **changes),
            intent=Intent(Desired.RUNNING, run=1),
            created_at=self.clock(),
        )
        action = Action(id, "create", f"req-{id}", caller.user_id, caller.project_id, 1, self.clock())

        def add(tx: Any) -> Workload:
            tx.quotas.charge(caller.project_id, Usage.of(max(1, len(members)), resources), Limits())
            self.volumes.reserve(tx, caller.project_id, id, claims)
            tx.actions.start(action)
            added: Workload = tx.workloads.add(row)
            return added

        return await self.real.write(add)

    async def ask_of_member(self, id: str, member: str, own: MemberIntent, action: str = "start") -> str:
        """What start, stop and reboot of one member do. Returns the id of the request."""
        row = await self.get(id)
        generation = row.intent.generation + 1
        intent = replace(row.intent, generation=generation, members={**row.intent.members, member: own})
        request = f"req-{member}-{generation}"
        started = Action(member, action, request, row.user_id, row.project_id, generation, self.clock())

        def change(tx: Any) -> None:
            tx.workloads.set_intent(id, intent)
            tx.actions.start(started)

        await self.real.write(change)
        return request

    async def want(self, id: str, desired: Desired, *, run: int = 0) -> None:
        """What start, stop and delete do."""
        row = await self.get(id)
        generation = row.intent.generation + 1
        intent = replace(row.intent, desired=desired, generation=generation, run=row.intent.run + run)
        action = Action(
            id, str(desired), f"req-{id}-{generation}", row.user_id, row.project_id, generation, self.clock()
        )

        def change(tx: Any) -> None:
            tx.workloads.set_intent(id, intent)
            tx.actions.start(action)

        await self.real.write(change)

    # Looking ----------------------------------------------------------------------------------------------------------

    async def get(self, id: str) -> Workload:
        """The row."""
        return await self.real.read(lambda tx: tx.workloads.get(EVERYBODY, id, None))

    async def exists(self, id: str) -> bool:
        """Whether there is a row."""
        return bool(await self.real.read(lambda tx: tx.workloads.by_ids([id])))

    async def usage(self, caller: Caller = ANN) -> Usage:
        """What the quota counts."""
        return await self.real.read(lambda tx: tx.quotas.usage(caller.project_id))

    async def actions(self, id: str) -> dict[str, Action]:
        """The history by name."""
        return {a.action: a for a in await self.real.read(lambda tx: tx.actions.list(EVERYBODY, id))}

    async def held(self) -> tuple[set[str], set[str]]:
        """Workloads with claims, workloads with ports."""
        return await self.real.read(lambda tx: (tx.allocations.owners(), set(tx.networks.held())))

    async def stored_volumes(self) -> dict[str, Volume]:
        """All volumes, by id."""
        return {v.id: v for v in await self.real.read(lambda tx: tx.volumes.list(EVERYBODY))}

    # Going on ---------------------------------------------------------------------------------------------------------

    async def announce(self, id: str = "n1", inventory: Inventory = INVENTORY) -> FakeNode:
        """A node comes, or says that it is still there."""
        await self.endpoint.handlers[Announce](Announce(id, f"host-{id}", "nova", inventory))
        return self.nodes.setdefault(id, FakeNode(id))

    async def sync(self, node: FakeNode) -> None:
        """A node's complete comparison."""
        answer = await self.endpoint.pull(Pull(node.id))
        assert answer.complete
        reports = node.obey(answer.assignments, self.clock())
        node.disks -= set(answer.discards)
        await self.endpoint.send_reports(SendReports(node.id, tuple(reports)))
        await self.endpoint.handlers[SendVolumes](SendVolumes(node.id, tuple(sorted(node.disks))))

    async def settle(self) -> None:
        """What resyncs of the controller and all nodes do, until nothing changes."""
        before = None
        for _ in range(_ROUNDS):
            for id in await self.store.read(lambda tx: tx.workloads.unfinished()):
                while await self.workloads.reconcile(id) == 0.0:
                    pass
            for node in self.nodes.values():
                await self.sync(node)
            now = await self.real.read(
                lambda tx: [(i, tx.workloads.get(EVERYBODY, i, None)) for i in tx.workloads.unfinished()]
            )
            rows = (now, [await self._versions(node) for node in self.nodes])
            if rows == before:
                return
            before = rows
        raise AssertionError("the world does not come to rest")

    async def _versions(self, node: str) -> list[tuple[str, int]]:
        return await self.real.read(lambda tx: [(w.id, w.version) for w in tx.workloads.on_node(node)])


@asynccontextmanager
async def a_world(directory: Path, settings: Settings | None = None) -> AsyncIterator[World]:
    """A world with an empty store."""
    clock = Clock()
    store = await SqlStore.open(f"sqlite:///{directory}/krater.sqlite", now=clock)
    try:
        yield World(store, clock, settings or Settings())
    finally:
        await store.close()


async def placed(world: World) -> None:
    """One node, and the workload `w1` running on it."""
    await world.announce()
    await world.create("w1")
    await world.settle()
