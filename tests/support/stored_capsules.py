"""Capsules put into the store of an API under test, and what their node reports of them: no controller, no agent."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from krater.model.assignment import ContainerState, Observed, ObservedContainer, Placement
from krater.model.member import Role
from krater.model.network import Address, Nic
from krater.model.workload import (
    ContainerSpec,
    Desired,
    Intent,
    Kind,
    MemberIntent,
    Requests,
    Resources,
    RestartName,
    RestartPolicy,
    WorkloadSpec,
)
from krater.store.interfaces import Tx, Workload
from tests.support.api import CALLERS, NODE, World

SETUP, LOGGER, DB, WEB = "setup", "logger", "db", "web"
NIC = Nic("port-c", "net-c", "fa:16:3e:00:00:0c", "eth0", (Address("10.100.0.12", 24, None, "subnet-c"),))
_STATES = {Desired.RUNNING: ContainerState.RUNNING, Desired.PAUSED: ContainerState.PAUSED}


def member(name: str, role: Role = Role.MAIN, **more: Any) -> ContainerSpec:
    """A member that its user gave no limits of its own."""
    policy = RestartName.ALWAYS if role is Role.SIDECAR else RestartName.NO
    shares: dict[str, Any] = {
        "requests": Requests(0.1, 64),
        "limits": Resources(0.0, 0),
        "restart": RestartPolicy(policy),
    }
    return ContainerSpec(str(uuid4()), name, "busybox", Resources(0.1, 64), role=role, **(shares | more))


def four() -> tuple[ContainerSpec, ...]:
    """An init container, a sidecar, two ordinary ones, of which the last takes input."""
    return (
        member(SETUP, Role.INIT),
        member(LOGGER, Role.SIDECAR),
        member(DB, requests=None),
        member(WEB, interactive=True, labels={"tier": "front"}),
    )


def new_capsule(
    containers: tuple[ContainerSpec, ...],
    at: datetime,
    *,
    name: str = "pod",
    project: str = "p-kitchen",
    user: str = "u-ann",
    **more: Any,
) -> Workload:
    """A capsule that was just asked for; `more` are fields of its specification."""
    spec = WorkloadSpec(containers, restart=RestartPolicy(), whole=Resources(0.3, 192), **more)
    intent = Intent(Desired.RUNNING, run=1)
    return Workload(str(uuid4()), Kind.CAPSULE, project, user, name, spec, intent, created_at=at)


@dataclass(frozen=True, slots=True)
class StoredCapsule:
    """One that is stored; `ids` are those of its members, by name."""

    world: World
    id: str
    ids: dict[str, str]

    @classmethod
    async def of(
        cls, world: World, who: str = "ann", *, containers: tuple[ContainerSpec, ...] = (), **more: Any
    ) -> "StoredCapsule":
        """One of somebody's that was just asked for."""
        caller = CALLERS[who]
        wanted = new_capsule(
            containers or four(), world.clock(), project=caller.project_id, user=caller.user_id, **more
        )
        await world.store.write(lambda tx: tx.workloads.add(wanted))
        return cls(world, wanted.id, {one.name: one.id for one in wanted.spec.containers})

    @classmethod
    async def running(cls, world: World, who: str = "ann", **more: Any) -> "StoredCapsule":
        """One that runs."""
        capsule = await cls.of(world, who, **more)
        await capsule.settle()
        return capsule

    async def row(self) -> Workload:
        """As it is stored."""
        found = await self.world.store.read(lambda tx: tx.workloads.by_ids([self.id]))
        return found[0]

    async def own(self, name: str) -> MemberIntent | None:
        """What is wanted of one member apart."""
        return (await self.row()).intent.members.get(self.ids[name])

    async def want(self, **changes: Any) -> Workload:
        """Another intent for the whole, as the capsule's own operations write it."""
        intent = (await self.row()).intent
        changed = replace(intent, generation=intent.generation + 1, **changes)
        return await self.world.store.write(lambda tx: tx.workloads.set_intent(self.id, changed))

    async def settle(
        self, *, settled: bool = True, failure: str | None = None, failed: str | None = None, **changes: dict[str, Any]
    ) -> Workload:
        """The node has done what was asked; by name of a member, what else it says of that one.

        `missing=True` among these says that it has not been made. `failed` is the name of a member.
        """
        row = await self.row()
        seen = [
            replace(self._seen(row, one), **{k: v for k, v in changes.get(one.name, {}).items() if k != "missing"})
            for one in row.spec.containers
            if not changes.get(one.name, {}).get("missing")
        ]
        culprit = None if failed is None else self.ids[failed]
        observed = Observed(row.intent.generation, tuple(seen), settled, failure, failed=culprit)

        def fold(tx: Tx) -> Workload:
            if row.placement.node is None:
                tx.workloads.place(self.id, Placement(NODE, 1, (NIC,), generation=row.intent.generation))
            for id in (self.id, *self.ids.values()):
                tx.actions.finish(id, row.intent.generation, failure, self.world.clock())
            return tx.workloads.observe(self.id, observed)

        return await self.world.store.write(fold)

    def _seen(self, row: Workload, spec: ContainerSpec) -> ObservedContainer:
        intent, now = row.intent.of(spec.id), self.world.clock()
        state = _STATES.get(intent.desired, ContainerState.EXITED)
        if spec.role is Role.INIT:
            state = ContainerState.EXITED
        ended = state is ContainerState.EXITED
        return ObservedContainer(
            spec.id,
            intent.rebuild,
            state,
            run=intent.run,
            exit_code=0 if ended else None,
            started_at=now,
            finished_at=now if ended else None,
        )

    async def call(self, name: str, method: str = "GET", path: str = "", **more: Any) -> Any:
        """A request about one member, by its id."""
        return await self.world.call(method, f"/v1/containers/{self.ids[name]}{path}", **more)

    async def shown(self, name: str, **more: Any) -> dict[str, Any]:
        """A member as the API shows it."""
        answer = await self.call(name, **more)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found
