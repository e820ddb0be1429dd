"""What a plan is made of. Each step is one call to the engine or the network; the executor takes them in order.

`word` is what the API shows as `task_state` while the step is under way; `name` is what the history calls it.
"""

from dataclasses import dataclass
from typing import ClassVar

from krater.model.network import Nic
from krater.model.volume import Attachment
from krater.model.workload import ContainerSpec, PullPolicy

NETWORK_LANE = "network"
VOLUME_LANE = "volumes"


@dataclass(frozen=True, slots=True)
class EnsureImage:
    """Have the container's image unpacked."""

    container: str
    image: str
    policy: PullPolicy
    name: ClassVar[str] = "ensure_image"
    word: ClassVar[str] = "image_pulling"

    @property
    def lane(self) -> str:
        """Its container's."""
        return self.container


@dataclass(frozen=True, slots=True)
class Create:
    """Make the root filesystem; no process yet."""

    spec: ContainerSpec
    rebuild: int
    name: ClassVar[str] = "create"
    word: ClassVar[str] = "container_creating"

    @property
    def lane(self) -> str:
        """Its container's: it comes after that image, and does not wait for other images or the network."""
        return self.spec.id


@dataclass(frozen=True, slots=True)
class MakeSandbox:
    """Have the network namespace: that of the process `pid`, which has it already, else one of its own."""

    pid: int | None = None

    name: ClassVar[str] = "make_sandbox"
    word: ClassVar[str] = "network_attaching"
    lane: ClassVar[str] = NETWORK_LANE


@dataclass(frozen=True, slots=True)
class TellNames:
    """Have a container know its addresses and name servers: before cards come or go, so that no crash leaves it out."""

    container: str
    name: ClassVar[str] = "tell_names"
    word: ClassVar[str] = ""
    lane: ClassVar[str] = NETWORK_LANE


@dataclass(frozen=True, slots=True)
class Plug:
    """Connect a network card."""

    nic: Nic
    name: ClassVar[str] = "plug"
    word: ClassVar[str] = "network_attaching"
    lane: ClassVar[str] = NETWORK_LANE


@dataclass(frozen=True, slots=True)
class Unplug:
    """Take a network card out."""

    port: str
    name: ClassVar[str] = "unplug"
    word: ClassVar[str] = "network_detaching"
    lane: ClassVar[str] = NETWORK_LANE


@dataclass(frozen=True, slots=True)
class ConnectVolume:
    """Have a volume at its path. The API has no word of its own for it."""

    volume: Attachment
    name: ClassVar[str] = "connect_volume"
    word: ClassVar[str] = "container_starting"
    lane: ClassVar[str] = VOLUME_LANE


@dataclass(frozen=True, slots=True)
class PlaceFiles:
    """Have injected files at their paths; their contents are asked of the controller now."""

    files: tuple[str, ...]
    name: ClassVar[str] = "place_files"
    word: ClassVar[str] = "container_starting"
    lane: ClassVar[str] = VOLUME_LANE


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Have a volume or an injected file no more at its path: nothing runs that uses it."""

    mount: str
    name: ClassVar[str] = "disconnect"
    word: ClassVar[str] = "container_stopping"
    lane: ClassVar[None] = None


VolumeStep = ConnectVolume | PlaceFiles | Disconnect


@dataclass(frozen=True, slots=True)
class Start:
    """Run the process."""

    container: str
    run: int
    attempt: int
    name: ClassVar[str] = "start"
    word: ClassVar[str] = "container_starting"

    @property
    def lane(self) -> str:
        """Its container's: those that may start now do not wait for one another, but for all that comes before."""
        return f"start {self.container}"


@dataclass(frozen=True, slots=True)
class Stop:
    """End the process: ask, wait `grace` seconds, kill. A `reason` is why, when it is not its user's wish."""

    container: str
    grace: float
    reason: str | None = None
    name: ClassVar[str] = "stop"
    lane: ClassVar[None] = None

    @property
    def word(self) -> str:
        """Without a grace it is a kill."""
        return "container_stopping" if self.grace > 0 else "container_killing"


@dataclass(frozen=True, slots=True)
class Pause:
    """Freeze the processes."""

    container: str
    name: ClassVar[str] = "pause"
    word: ClassVar[str] = "container_pausing"
    lane: ClassVar[None] = None


@dataclass(frozen=True, slots=True)
class Resume:
    """Thaw them."""

    container: str
    name: ClassVar[str] = "resume"
    word: ClassVar[str] = "container_unpausing"
    lane: ClassVar[None] = None


@dataclass(frozen=True, slots=True)
class Update:
    """Apply other limits. The API has no word for it."""

    container: str
    cpu: float
    memory: int
    name: ClassVar[str] = "update"
    word: ClassVar[str] = ""
    lane: ClassVar[None] = None


@dataclass(frozen=True, slots=True)
class Remove:
    """Leave nothing of a container; what still runs is killed."""

    container: str
    name: ClassVar[str] = "remove"
    word: ClassVar[str] = "container_deleting"
    lane: ClassVar[None] = None


@dataclass(frozen=True, slots=True)
class RemoveSandbox:
    """Remove the network namespace with all its cards."""

    name: ClassVar[str] = "remove_sandbox"
    word: ClassVar[str] = "network_detaching"
    lane: ClassVar[None] = None


Step = (
    EnsureImage
    | Create
    | MakeSandbox
    | TellNames
    | Plug
    | Unplug
    | VolumeStep
    | Start
    | Stop
    | Pause
    | Resume
    | Update
    | Remove
    | RemoveSandbox
)


def container_of(step: Step) -> str:
    """The container a step is about, "" when it is about the whole workload."""
    return step.spec.id if isinstance(step, Create) else str(getattr(step, "container", ""))


def groups(steps: tuple[Step, ...]) -> list[list[list[Step]]]:
    """The same steps as groups, each a set of lanes that do not wait for one another.

    Steps without a lane stand alone. Neighbours with lanes form one group: in order within a lane, at once across
    lanes. So an image is unpacked while the network is made, and processes start, together, when both are there.
    """
    found: list[list[list[Step]]] = []
    lanes: dict[str, list[Step]] = {}
    last: Step | None = None
    for step in steps:
        if isinstance(step, Start) is not isinstance(last, Start):
            lanes = {}
        last = step
        if step.lane is None:
            found.append([[step]])
            lanes = {}
        elif step.lane in lanes:
            lanes[step.lane].append(step)
        else:
            if not lanes:
                found.append([])
            lanes[step.lane] = [step]
            found[-1].append(lanes[step.lane])
    return found
