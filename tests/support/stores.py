"""Things to put into a store, and a clock to hold still."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from krater.model.assignment import Observed, Placement
from krater.model.network import Network, Port, Subnet
from krater.model.node import Inventory
from krater.model.workload import ContainerSpec, Desired, Intent, Kind, Resources, WorkloadSpec
from krater.store.interfaces import Action, Scope, Workload

T0 = datetime(2026, 7, 1, 12, 0, 0, 123456, tzinfo=UTC)
ANN, BOB = Scope("p-ann"), Scope("p-bob")
INVENTORY = Inventory(cpus=4, memory=4096, disk=100, runtimes=("crun",), labels={"disk": "ssd"})

_numbers = count(1)


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


def spec(*, image: str = "alpine", cpu: float = 1.0, memory: int = 512, disk: int = 0, **more: Any) -> WorkloadSpec:
    """A specification of one container; its id is put right by `workload`."""
    container = ContainerSpec("", "main", image, Resources(cpu, memory, disk), environment={"KEY": "wörth"})
    return WorkloadSpec((container,), **more)


def workload(id: str = "", *, project: str = "p-ann", name: str = "", **changes: Any) -> Workload:
    """A new workload of one container."""
    number = next(_numbers)
    id = id or f"w-{number:06}"
    made = Workload(
        id=id,
        kind=changes.pop("kind", Kind.CONTAINER),
        project_id=project,
        user_id=changes.pop("user", "u-ann"),
        name=name or f"name-{number}",
        spec=changes.pop("spec", spec()),
        intent=changes.pop("intent", Intent(Desired.RUNNING, run=1)),
        created_at=changes.pop("created_at", T0 + timedelta(seconds=number)),
        **changes,
    )
    if len(made.spec.containers) == 1:
        only = replace(made.spec.containers[0], id=id)
        made = replace(made, spec=replace(made.spec, containers=(only,)))
    return made


def capsule(id: str, *members: str, project: str = "p-ann", name: str = "") -> Workload:
    """A workload of several containers."""
    containers = tuple(ContainerSpec(member, member, "alpine", Resources(1, 128)) for member in members)
    return workload(id, project=project, name=name, kind=Kind.CAPSULE, spec=WorkloadSpec(containers))


def action(of: str, request: str, generation: int = 1, *, name: str = "create", project: str = "p-ann") -> Action:
    """An action that began at T0."""
    return Action(of, name, request, "u-ann", project, generation, T0)


def network(name: str, cidr: str, *more: str, project: str = "p-ann", shared: bool = False) -> Network:
    """A network of some ranges, each with its first address as gateway."""
    subnets = tuple(
        Subnet(f"s-{name}-{rank}", text, text.partition("/")[0].removesuffix("0") + "1")
        for rank, text in enumerate((cidr, *more))
    )
    return Network(f"n-{name}", name, project, subnets, shared=shared)


def port(id: str, on: str, *, project: str = "p-ann", device: str = "", owned: bool = True, mac: str = "") -> Port:
    """A port without addresses."""
    return Port(id, on, project, mac, (), device, owned)


def placed(node: str = "node-1", epoch: int = 1) -> Placement:
    """A placement without cards."""
    return Placement(node, epoch)


def seen(generation: int = 1, *, settled: bool = True) -> Observed:
    """An observation without containers."""
    return Observed(generation=generation, settled=settled)
