"""What a controller tells a node, and what the node reports back. Plain data that crosses the bus."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from krater.model.network import Nic
from krater.model.workload import ContainerSpec, Intent, RestartPolicy


@dataclass(frozen=True, slots=True)
class Assignment:
    """One workload, spelled out for one node: nothing in it needs a further look-up.

    `epoch` numbers the placements of the workload; a report that carries an older one is ignored.
    `project_id` is for accounting and isolation on the node (image ownership), never shown to the container.
    `cpus` are the processors it has for itself; without any it shares those that are nobody's.
    """

    workload: str
    epoch: int
    intent: Intent
    project_id: str
    name: str
    hostname: str
    containers: tuple[ContainerSpec, ...]
    nics: tuple[Nic, ...] = ()
    restart: RestartPolicy = RestartPolicy()
    auto_heal: bool = False
    cpus: tuple[int, ...] = ()


class ContainerState(StrEnum):
    """What a runtime says of a container it has."""

    CREATED = "created"  # root filesystem there, no process yet
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class ObservedContainer:
    """A container as the runtime sees it: read from the world, never remembered.

    `run` and `attempt` say which start the last process belongs to: the pulse of the intent, and how many times it
    was started again for that pulse (0 the first time). `error` tells why a start failed before the process ran.
    `oom_killed` is true when the kernel killed a process of it for want of memory.
    `command`, `entrypoint`, `ports` are the effective ones, completed from the image. `cpu` and `memory` are the limits
    in force (cores, MiB), None when the engine does not tell.
    """

    id: str
    rebuild: int
    state: ContainerState
    run: int = 0
    attempt: int = 0
    pid: int | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    error: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    image_digest: str = ""
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    cpu: float | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a node found and did for one workload.

    `generation` is the intent the node last worked on; `settled` says nothing is left to do for it (a restart that
    waits for its back-off is not settled). `failure` is a permanent reason: no further try until the intent changes.
    `trouble` is a temporary one: the node goes on trying. `step` is a word for what goes on now ("" when nothing).
    `gone` is true when nothing of the workload is left on the node: only then may its placement be forgotten.
    """

    workload: str
    epoch: int
    generation: int
    containers: tuple[ObservedContainer, ...] = ()
    settled: bool = False
    gone: bool = False
    failure: str | None = None
    trouble: str | None = None
    step: str = ""
    events: tuple["StepEvent", ...] = ()


@dataclass(frozen=True, slots=True)
class StepEvent:
    """One step that was taken, for the history of the action that asked for it. `error` is None on success."""

    step: str
    started_at: datetime
    finished_at: datetime
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """The stored fold of a workload's reports. Written by the controller on behalf of the node."""

    generation: int = 0
    containers: tuple[ObservedContainer, ...] = ()
    settled: bool = False
    failure: str | None = None
    trouble: str | None = None
    step: str = ""


@dataclass(frozen=True, slots=True)
class NodeImage:
    """An image in a node's store, for reports and lists. `size` in bytes."""

    name: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a workload lives. Written by the controller only.

    `cpus` are the processors of that node it has for itself.
    `refusal` tells why there is no place for the intent of `generation`; a newer intent is tried anew.
    """

    node: str | None = None
    epoch: int = 0
    nics: tuple[Nic, ...] = field(default=())
    refusal: str | None = None
    generation: int = 0
    cpus: tuple[int, ...] = ()
