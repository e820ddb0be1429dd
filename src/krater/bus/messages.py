"""Everything that crosses the bus, as frozen dataclasses. Who serves a message stands above it."""

from dataclasses import dataclass, field

from krater.bus.interfaces import Request
from krater.model.assignment import Assignment, NodeImage, Report
from krater.model.frames import Opened
from krater.model.node import Inventory
from krater.model.reading import Reading
from krater.model.registry import Login
from krater.model.security import GroupRules

# Hints ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WorkloadChanged:
    """To the controller: the intent of this workload changed. To a node: its assignment did."""

    workload: str


@dataclass(frozen=True, slots=True)
class GroupsChanged:
    """To the controller: the rules of these security groups, or who is in them, changed. To a node: ask for them."""

    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImagesChanged:
    """To a node: the images it should have changed."""


@dataclass(frozen=True, slots=True)
class VolumesChanged:
    """To a node: it has volumes to remove."""


# Served by the controller ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImageTask:
    """An image a node should have (or, when `wanted` is false, should not). `id` is the API's id of it.

    `source` is the container that a project's own image is to be made of; one that was made has none.
    """

    id: str
    name: str
    wanted: bool
    source: str = ""


@dataclass(frozen=True, slots=True)
class PullAnswer:
    """`complete` is true only when `assignments` is all the node should have: only then may it remove the rest.

    `discards` are volumes whose data it should remove. No other data of a volume are ever removed.
    `groups` are the security groups that the assignments' cards are in, that their rules name, and those asked for.
    """

    complete: bool
    assignments: tuple[Assignment, ...]
    images: tuple[ImageTask, ...] = ()
    discards: tuple[str, ...] = ()
    groups: tuple[GroupRules, ...] = ()


@dataclass(frozen=True, slots=True)
class Pull(Request[PullAnswer]):
    """What should this node do? `workloads` narrows the question; an id missing from the answer is not assigned.

    `groups` are security groups to be told of besides.
    """

    node: str
    workloads: tuple[str, ...] | None = None
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AskLogin(Request[Login | None]):
    """A node is about to pull an image: of a container that is placed on it, or (no workload) for an image task."""

    node: str
    workload: str | None
    container: str
    image: str


@dataclass(frozen=True, slots=True)
class Announce(Request[None]):
    """A node says that it lives, who it is and what it has. Sent at start, then every few seconds."""

    node: str
    host: str
    availability_zone: str
    inventory: Inventory


@dataclass(frozen=True, slots=True)
class SendReports(Request[None]):
    """What a node found and did. Answered once it is stored."""

    node: str
    reports: tuple[Report, ...]


@dataclass(frozen=True, slots=True)
class SendImages(Request[None]):
    """All images of a node now, and what became of image tasks: failures as (task id, reason)."""

    node: str
    images: tuple[NodeImage, ...]
    failures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SendVolumes(Request[None]):
    """All volumes whose data a node has now, and why it could not remove some: failures as (volume, reason)."""

    node: str
    stored: tuple[str, ...]
    failures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class FilesAnswer:
    """Injected files as (id, content)."""

    files: tuple[tuple[str, bytes], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class FetchFiles(Request[FilesAnswer]):
    """The contents of the files injected into a workload. Only its own node is told."""

    node: str
    workload: str


# Images, served by a node ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProgressAnswer:
    """How far it is, in bytes; `total` is 0 while nobody knows. `state` is working, done, failed or unknown."""

    state: str
    done: int = 0
    total: int = 0
    reason: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class ImageProgress(Request[ProgressAnswer]):
    """How far is a pull (by the id of its task)? Or an upload, by its id?"""

    id: str


@dataclass(frozen=True, slots=True)
class ReadImageAnswer:
    """A piece of an archive, and how long all of it is."""

    content: bytes
    total: int


@dataclass(frozen=True, slots=True)
class ReadImage(Request[ReadImageAnswer]):
    """A piece of an image's archive, in which it is called `reference`."""

    name: str
    reference: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class PushImage(Request[None]):
    """Begin to upload an image. The password is in no log, for it is in no text of this message."""

    id: str
    name: str
    reference: str
    username: str = ""
    password: str = field(default="", repr=False)


# Served by a node -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExecAnswer:
    """`output` is both streams as they came, cut at the request's limit; `truncated` says so."""

    output: bytes
    exit_code: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class Exec(Request[ExecAnswer]):
    """Run a command in a container and wait: at most `timeout` seconds and `limit` bytes."""

    container: str
    command: tuple[str, ...]
    timeout: float
    limit: int


@dataclass(frozen=True, slots=True)
class OpenAttach(Request[Opened]):
    """Let a gateway attach to a container's first process, once and soon."""

    container: str


@dataclass(frozen=True, slots=True)
class OpenExec(Request[Opened]):
    """Let a gateway talk to a command in a container, once and soon: it starts when the gateway comes."""

    container: str
    command: tuple[str, ...]
    tty: bool
    size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class ResizeTerminal(Request[None]):
    """Another size of a terminal: of a session's command, else of the container's first process."""

    container: str
    session: str
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class LogsAnswer:
    """`text` is the log as asked for; `truncated` is true when its beginning was left out for its size.

    `cursor` continues a follow: hand it back to get only what came since.
    """

    text: bytes
    truncated: bool
    cursor: str


@dataclass(frozen=True, slots=True)
class Logs(Request[LogsAnswer]):
    """Read a container's log. `tail` is a number of lines or None for all; `since` is epoch seconds.

    With `cursor` and `wait` > 0 the answer comes as soon as there is more, or after `wait` seconds without.
    """

    container: str
    stdout: bool = True
    stderr: bool = True
    timestamps: bool = False
    tail: int | None = None
    since: float | None = None
    limit: int = 8 * 1024 * 1024
    cursor: str = ""
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class TopAnswer:
    """What `ps` says of a container's processes."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Top(Request[TopAnswer]):
    """List a container's processes; `ps_args` as for `ps`, "" for its default."""

    container: str
    ps_args: str = ""


@dataclass(frozen=True, slots=True)
class Stats(Request[Reading]):
    """Read a container's use of resources."""

    container: str


@dataclass(frozen=True, slots=True)
class Signal(Request[None]):
    """Send a signal to a container's first process."""

    container: str
    number: int


@dataclass(frozen=True, slots=True)
class Resize(Request[None]):
    """Apply new limits to a running container at once: cores, MiB."""

    container: str
    cpu: float
    memory: int
