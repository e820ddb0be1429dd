"""Capsules that are put into the store of an API under test without asking it."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

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
from krater.store.interfaces import Workload
from tests.support.api import CALLERS, World
from tests.support.capsules import settle, stored

SETUP, LOGGER, DB, WEB = "setup", "logger", "db", "web"
NIC = Nic("port-c", "net-c", "fa:16:3e:00:00:0c", "eth0", (Address("10.100.0.12", 24, None, "subnet-c"),))


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
        return await stored(self.world, self.id)

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
        """The node has done what was asked, or something else: see `capsules.settle`."""
        return await settle(
            self.world, self.id, settled=settled, failure=failure, failed=failed, nics=(NIC,), **changes
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
