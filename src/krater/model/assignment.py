"""What a controller tells a node, and what the node reports back. Plain data that crosses the bus."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from krater.model.network import Nic
from krater.model.volume import Attachment
from krater.model.workload import ContainerSpec, Intent, Resources, RestartPolicy


@dataclass(frozen=True, slots=True)
class Made:
    """A container that a node has had: for which rebuild and run, and whether its process had ended for good.

    Nodes report it and get it back with the assignment: so they know a container that vanished from one that was never
    made, even when nothing is left on the node that could tell. `begun` is when its process was started, once that has
    answered its startup probe: so none is ended for not answering it again.
    """

    id: str
    rebuild: int
    run: int
    is_over: bool = False
    begun: datetime | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """One workload, spelled out for one node: nothing in it needs a further look-up.

    `epoch` numbers the placements of the workload; a report that carries an older one is ignored.
    `project_id` is for accounting and isolation on the node (image ownership), never shown to the container.
    `cpus` are the processors it has for itself; without any it shares those that are nobody's. `whole`, of capsules,
    limits all containers together.
    """

    workload: str
    epoch: int
    intent: Intent
    project_id: str
    name: str
    hostname: str
    containers: tuple[ContainerSpec, ...]
    nics: tuple[Nic, ...] = ()
    volumes: tuple[Attachment, ...] = ()
    restart: RestartPolicy = RestartPolicy()
    auto_heal: bool = False
    cpus: tuple[int, ...] = ()
    made: tuple[Made, ...] = ()
    whole: Resources | None = None

    def restart_of(self, container: str) -> RestartPolicy:
        """The restart policy of one container: its own, else that of all."""
        own = next((spec.restart for spec in self.containers if spec.id == container), None)
        return self.restart if own is None else own

    @property
    def files(self) -> tuple[str, ...]:
        """The ids of the files injected into its containers. A node asks for their contents when it needs them."""
        return tuple(dict.fromkeys(m.file for spec in self.containers for m in spec.mounts if m.file))


class ContainerState(StrEnum):
    """What a runtime says of a container it has."""

    CREATED = "created"  # root filesystem there, no process yet
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"


class HealthState(StrEnum):
    """What the checks of a running process say so far."""

    STARTING = "starting"  # no check has succeeded yet, nor have enough failed
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class Health:
    """`failures` is how many times in a row the `check` has failed, and `output` what it said last."""

    state: HealthState = HealthState.STARTING
    failures: int = 0
    output: str = ""
    check: str = "health check"

    @property
    def complaint(self) -> str:
        """What is wrong, in words."""
        times = "once" if self.failures == 1 else f"{self.failures} times in a row"
        return f"Its {self.check} failed {times}; the last said: {self.output}"


@dataclass(frozen=True, slots=True)
class ObservedContainer:
    """A container as the runtime sees it: read from the world, never remembered.

    `run` and `attempt` say which start the last process belongs to: the pulse of the intent, and how many times it
    was started again for that pulse (0 the first time). `error` tells why a start failed before the process ran.
    `oom_killed` is true when the kernel killed a process of it for want of memory. `cut_off` tells why the process was
    ended, or is about to be, though neither it nor its user wanted that: its health, or the loss of its machine.
    `is_ending` is true of a process that runs and was asked to end: its time for that is running.
    `health` is None where nothing checks it; it is what a crash of the agent may forget.
    `ready` is what the readiness probe says, None where there is none, and `unready` why it is not, once that is known;
    a crash may forget them as well.
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
    cut_off: str | None = None
    is_ending: bool = False
    health: Health | None = None
    ready: bool | None = None
    unready: str | None = None
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
    waits for its back-off is not settled). `failure` is a permanent reason: no further try until the intent changes;
    `failed` is the container it is about, None for all. `trouble` is a temporary one, about `failed` as well: the node
    goes on trying. `step` is a word for what goes on now ("" when nothing). `gone` is true when nothing of the workload
    is left on the node: only then may its placement be forgotten.
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
    made: tuple[Made, ...] = ()
    failed: str | None = None


@dataclass(frozen=True, slots=True)
class StepEvent:
    """One step that was taken, for the history of the action that asked for it. `error` is None on success.

    `container` is whose step it was, "" for those of the whole workload.
    """

    step: str
    started_at: datetime
    finished_at: datetime
    error: str | None = None
    container: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """The stored fold of a workload's reports. Written by the controller on behalf of the node.

    `made` is what the node of the placement `epoch` has had.
    """

    generation: int = 0
    containers: tuple[ObservedContainer, ...] = ()
    settled: bool = False
    failure: str | None = None
    trouble: str | None = None
    step: str = ""
    epoch: int = 0
    made: tuple[Made, ...] = ()
    failed: str | None = None


@dataclass(frozen=True, slots=True)
class NodeImage:
    """An image in a node's store, for reports and lists. `size` in bytes.

    `kept` is one that an operator brought there from an archive: no registry has it, so the node never drops it.
    """

    name: str
    digest: str
    size: int
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a workload lives. Written by the controller only.

    `cpus` are the processors of that node it has for itself.
    `refusal` tells why there is no place for the intent of `generation`; a newer intent is tried anew.
    `leaving` are ports that were taken off a network: free again once the node has let go of them.
    """

    node: str | None = None
    epoch: int = 0
    nics: tuple[Nic, ...] = field(default=())
    refusal: str | None = None
    generation: int = 0
    cpus: tuple[int, ...] = ()
    leaving: tuple[str, ...] = ()
