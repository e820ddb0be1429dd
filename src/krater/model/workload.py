"""What a user wants: the one unit of Krater, and its intent.

A *workload* is one to n containers that share a sandbox. A container of the API is a workload of one, whose
container has the same id; a capsule is a workload of several.
"""

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum

from krater.model.member import Dependency, Probe, Role
from krater.model.network import NetRequest
from krater.model.volume import MountRequest


class Kind(StrEnum):
    """How the API shows a workload. The code below the API makes no difference."""

    CONTAINER = "container"
    CAPSULE = "capsule"


class Desired(StrEnum):
    """The state the user wants a workload to be in."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    REMOVED = "removed"


class RestartName(StrEnum):
    """When a process that ended is started again."""

    NO = "no"
    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    UNLESS_STOPPED = "unless-stopped"


class PullPolicy(StrEnum):
    """When a node asks the registry for an image."""

    ALWAYS = "always"
    NEVER = "never"
    IF_NOT_PRESENT = "ifnotpresent"


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """`maximum` counts restarts, for `on-failure` only; 0 means without end."""

    name: RestartName = RestartName.NO
    maximum: int = 0


@dataclass(frozen=True, slots=True)
class Resources:
    """What a container asks of its node: `cpu` in cores, `memory` in MiB, `disk` in GiB (0: no limit, none counted).

    `dedicated` is how many whole processors it wants for itself alone.
    """

    cpu: float
    memory: int
    disk: int = 0
    dedicated: int = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(
            self.cpu + other.cpu,
            self.memory + other.memory,
            self.disk + other.disk,
            self.dedicated + other.dedicated,
        )


NOTHING = Resources(0.0, 0, 0)


@dataclass(frozen=True, slots=True)
class Requests:
    """What the user of a member asked for, to be shown: None where they said nothing. What counts is `resources`."""

    cpu: float | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """A command line that a shell in the container runs; times are whole seconds. 0 means the default of the node.

    Members of capsules have probes instead (`model/member.py`).
    """

    test: str
    interval: int = 0
    timeout: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container as its user asked for it. None means "as the image says"; nothing here is ever completed later.

    `stored_image` is what the image is filed under, and `stored_on` the node that has it, when it is the project's own
    and lives in no registry.

    From `role` on are the fields of members of capsules. `restart` replaces the workload's policy. `limits` are those
    of the member alone, within the limits of the whole; None is `resources`, and 0 in it no limit.
    """

    id: str
    name: str
    image: str
    resources: Resources
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    workdir: str | None = None
    mounts: tuple[MountRequest, ...] = ()
    cpu_policy: str = "shared"
    interactive: bool = False
    tty: bool = False
    privileged: bool = False
    image_driver: str = "docker"
    stored_image: str | None = None
    stored_on: str | None = None
    pull_policy: PullPolicy | None = None
    healthcheck: Healthcheck | None = None
    registry: str | None = None  # id of the project's registry it comes from
    role: Role = Role.MAIN
    depends_on: tuple[Dependency, ...] = ()
    restart: RestartPolicy | None = None
    requests: Requests | None = None
    limits: Resources | None = None
    liveness: Probe | None = None
    readiness: Probe | None = None
    startup: Probe | None = None

    @property
    def limit(self) -> Resources:
        """The limits its node enforces on it alone."""
        return self.resources if self.limits is None else self.limits

    @property
    def node_image(self) -> str:
        """The image by the name that nodes know: that of the project's own image, if it is one."""
        return self.stored_image or self.image


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """All that a user asked for. `nets` are resolved to ids by the API before the workload is stored.

    `security_groups` are ids, None for the project's default one. `exposed` are (port, protocol) that a group of the
    workload's own opens.

    `containers` are in the order to start them. From `whole` on are the fields of capsules: `whole` is what all of it
    asks of its node, which is a limit of all together; `grace` is how long, in seconds, its processes have to end;
    `volumes` are the names that its template has for volumes and files, by their ids.
    """

    containers: tuple[ContainerSpec, ...]
    restart: RestartPolicy | None = None
    auto_remove: bool = False
    auto_heal: bool = False
    hostname: str | None = None
    nets: tuple[NetRequest, ...] = ()
    runtime: str | None = None
    availability_zone: str | None = None
    hints: dict[str, str] = field(default_factory=dict)
    host: str | None = None
    security_groups: tuple[str, ...] | None = None
    exposed: tuple[tuple[int, str], ...] = ()
    whole: Resources | None = None
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    grace: float = 10.0
    volumes: dict[str, str] = field(default_factory=dict)

    @property
    def has_mounts(self) -> bool:
        """Whether any of its containers mounts anything."""
        return any(c.mounts for c in self.containers)

    @property
    def resources(self) -> Resources:
        """What the whole workload asks of its node."""
        if self.whole is not None:
            return self.whole
        return sum((c.resources for c in self.containers), NOTHING)


@dataclass(frozen=True, slots=True)
class MemberIntent:
    """What the user wants of one member, apart from the others. `run` is added to the workload's.

    `desired` (None: as the workload) holds while the workload is to run.
    """

    desired: Desired | None = None
    run: int = 0
    grace: float | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """What the user wants now. Written by the API only; every change makes `generation` one larger.

    `run` and `rebuild` are pulses. A process belongs to the value of `run` it was started for; when `run` is larger
    than that, a fresh process is due (start and reboot both bump it). `rebuild` is the same for the root filesystem.
    `grace` is how long, in seconds, a stop waits between asking and killing. `members` are by container; one that is
    not there is wanted as the workload is.
    """

    desired: Desired
    generation: int = 1
    run: int = 0
    rebuild: int = 0
    grace: float = 10.0
    members: dict[str, MemberIntent] = field(default_factory=dict)

    def of(self, container: str) -> "Intent":
        """The intent for one container of the workload."""
        own = self.members.get(container)
        if own is None:
            return self
        runs = self.desired in (Desired.RUNNING, Desired.PAUSED)
        return replace(
            self,
            desired=own.desired if runs and own.desired is not None else self.desired,
            run=self.run + own.run,
            grace=own.grace if runs and own.grace is not None else self.grace,
        )


_HOSTNAME_LENGTH = 63
_ID_PREFIX = 12
_NOT_IN_HOSTNAMES = re.compile(r"[^A-Za-z0-9-]+")


def default_hostname(name: str, id: str) -> str:
    """The host name of a workload for which its user gave none: made of its name, else of its id."""
    made = _NOT_IN_HOSTNAMES.sub("-", name)[:_HOSTNAME_LENGTH].strip("-")
    return made or id.replace("-", "")[:_ID_PREFIX]
