"""What an engine must be able to do. Adapters: `oci` (conmon + crun on containerd's images) and `fake`.

Every adapter passes `tests/contracts/test_runtime*.py`. Methods named `ensure_*`, `remove*`, `stop` are idempotent:
"already so" and "already gone" are success. `list` and `images` read the world, never memory. Failures are
`krater.errors.Temporary` (the planner tries again) or `Permanent` (it becomes the workload's reason), in words that the
container's owner understands; nothing returns None for failure.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from krater.model.assignment import NodeImage, ObservedContainer
from krater.model.image import ImageFacts
from krater.model.reading import Reading
from krater.model.registry import Login
from krater.model.workload import ContainerSpec, PullPolicy


@dataclass(frozen=True, slots=True)
class PullProgress:
    """How far a pull is, in bytes. `total` is 0 while unknown."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Mount:
    """A path of the node that appears in a container at `destination`."""

    source: str
    destination: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """What the containers of a capsule share on their node: limits for all of them together (cores, MiB; 0 is none),
    System V and POSIX ipc, and /dev/shm. It is there from the first start of one to the removal of the last.
    """

    id: str
    cpu: float = 0.0
    memory: int = 0


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """Everything an engine needs to make a container, besides its image.

    `project` is whose it is: an image that was pulled with a login is only for projects that have shown to a registry
    that they may have it. `id` names the container on the node (32 to 36 characters, hexadecimal and dashes). `netns`
    is the path of the network namespace it runs in, with its cards plugged. `nameservers` go into resolv.conf; `hosts`
    are lines for /etc/hosts as (address, names). It may use the processors `cpus` only; none named: all.
    `group` is what it shares with others; None is a container that stands alone.
    """

    id: str
    rebuild: int
    spec: ContainerSpec
    hostname: str
    netns: str
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    hosts: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    cpus: tuple[int, ...] = ()
    project: str = ""
    group: Group | None = None


async def no_login() -> Login | None:
    """Whoever needs none."""
    return None


@dataclass(frozen=True, slots=True)
class Asker:
    """For whom an image is had ("" is the operator), and what tells the login when a registry is to be asked."""

    project: str = ""
    login: Callable[[], Awaitable[Login | None]] = no_login


OPERATOR = Asker()


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What an engine is: its OCI runtimes by name, and whether its image store answers now."""

    name: str
    version: str
    runtimes: tuple[str, ...]
    image_store_up: bool
    cgroup: str


@dataclass(frozen=True, slots=True)
class ExecResult:
    """`output` is both streams in order of arrival, cut at the limit asked for (`truncated` says so)."""

    output: bytes
    exit_code: int
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class ProcessTable:
    """What `ps` says of a container's processes."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...] = field(default=())


@dataclass(frozen=True, slots=True)
class PathStat:
    """A file in a container. `mode` is as Go's os.FileMode has it, `mtime` as RFC 3339: so clients know it."""

    name: str
    size: int
    mode: int
    mtime: str
    link_target: str = ""


class ArchiveReader(Protocol):
    """A tar archive that is being packed. Nothing is packed ahead of what is read."""

    stat: PathStat

    async def read(self) -> bytes:
        """The next piece (at most 256 KiB); empty at the end."""

    async def close(self) -> None:
        """Let go of it, finished or not. Idempotent."""


@runtime_checkable
class ArchiveWriter(Protocol):
    """A tar archive that is being unpacked."""

    async def write(self, data: bytes) -> None:
        """The next piece. Invalid, with the reason, when the archive is refused; what was unpacked stays."""

    async def finish(self) -> None:
        """There is no more: wait until everything is unpacked. Raises as `write` does."""

    async def close(self) -> None:
        """Let go of it, finished or not. Idempotent."""


Progress = Callable[[PullProgress], None]


@dataclass(frozen=True, slots=True)
class ImagePart:
    """A piece of an image's archive, and how long the archive is in all."""

    content: bytes
    total: int


@dataclass(frozen=True, slots=True)
class PushTarget:
    """Where an image is pushed: a full name with a registry in it, and how to show oneself there."""

    reference: str
    username: str = ""
    password: str = field(default="", repr=False)


class Runtime(Protocol):
    """One engine on one node."""

    async def open(self) -> None:
        """Connect, or start what must run beside us, and find again what ran before. Idempotent."""

    async def close(self) -> None:
        """Let go of connections and tasks. Containers, and what they need, keep running."""

    async def describe(self) -> EngineFacts:
        """What this engine is and whether it is well. Never fails."""

    async def list(self) -> dict[str, ObservedContainer]:
        """All containers of this node that Krater made, by id, as they are now. Works with the image store down."""

    async def inspect(self, container: str) -> ObservedContainer | None:
        """One container as it is now, None when there is none: what `list` says of it, without a look at the rest."""

    async def ensure_image(
        self, name: str, policy: PullPolicy, progress: Progress | None = None, asker: Asker = OPERATOR
    ) -> ImageFacts:
        """Have the image unpacked on this node. `name` is as the user wrote it. Permanent when there is none.

        An image that is here because of somebody's login is used for another project only after the registry was
        asked whether it gives that project the very same. Without a login it is not kept from anybody.

        May be cancelled at any time, when nobody wants the image any more.
        """

    async def images(self) -> Sequence[NodeImage]:
        """The images in the node's store."""

    async def import_image(self, path: str, name: str | None = None) -> Sequence[NodeImage]:
        """Take a docker-save or OCI archive (plain or gzip tar) into the store. Permanent when it is not one."""

    async def commit(self, container: str, name: str, limit: int) -> NodeImage:
        """Make an image of a container as it is now, filed under the full name `name`; its processes wait meanwhile.

        NotFound when there is no such container, Permanent when what it wrote is more than `limit` bytes. Whatever
        happens, a container that ran goes on. Cut short, it leaves nothing that another try does not take over.
        """

    async def remove_image(self, name: str) -> None:
        """Forget an image; what running containers use of it stays until they are gone."""

    async def read_image(self, name: str, reference: str, offset: int, length: int) -> ImagePart:
        """A piece of an OCI archive of the image, in which it is called `reference`. NotFound when it is not here.

        The archive is the same whenever and in whatever pieces it is read, until the image changes.
        """

    async def push_image(self, name: str, target: PushTarget, progress: Progress | None = None) -> str:
        """Upload an image to a registry; returns the digest it has there. NotFound when it is not here.

        Permanent when the registry does not take it, Temporary when it does not answer. Leaves nothing on this side.
        """

    async def create(self, config: ContainerConfig) -> None:
        """Make the container's root filesystem from its (present) image, and write down its configuration.

        Idempotent for the same `rebuild`; a container of another `rebuild` must be removed first.
        """

    async def start(self, container: str, run: int, attempt: int, netns: str) -> None:
        """Run the container's process; returns when it runs. Idempotent for the same run and attempt.

        When the process cannot be started, that is *recorded* (state EXITED, `error` set, this run and attempt), so
        that `list` tells it after a crash too, and Permanent is raised with the same text.
        """

    async def stop(self, container: str, grace: float, reason: str | None = None) -> None:
        """Send the stop signal, wait `grace` seconds, then kill; returns when nothing runs. Thaws a paused one.

        That it was asked is *recorded*, with the time, and told as `is_ending`: another stop, after a crash too, does
        not ask it again, and counts its grace from there.

        A `reason` is *recorded* with the process before anything is done to it, and told as `cut_off` from then on.
        """

    async def pause(self, container: str) -> None:
        """Freeze all processes. Whoever is paused, or resumed, is not ending any more."""

    async def resume(self, container: str) -> None:
        """Thaw them."""

    async def update(self, container: str, cpu: float, memory: int) -> None:
        """Apply new limits of its own at once: cores, MiB. Of a container that does not run: to its next process.

        What it counts with among others (`spec.resources` of a container in a group) stays as it was.
        """

    async def tell_names(
        self, container: str, nameservers: tuple[str, ...], hosts: tuple[tuple[str, str], ...]
    ) -> None:
        """Have these in its resolv.conf and /etc/hosts, now and at its next start. Of no container: nothing to do."""

    async def remove(self, container: str) -> None:
        """Kill what runs and leave nothing: process, cgroup, mount, files. Its log is kept apart."""

    def events(self) -> AsyncIterator[str]:
        """Ids of containers that changed by themselves: ended, above all. May miss some (a resync finds them), may
        repeat, and need not tell what the caller did himself: he looks anyway.
        """


class Stream(Protocol):
    """The ends of a running process: what it writes, what it reads, its terminal. For one user at a time."""

    tty: bool

    async def read(self) -> Sequence[tuple[int, bytes]]:
        """What it wrote since, as (STDOUT or STDERR of `model.frames`, bytes); empty at the end of it all.

        May be cancelled without loss.
        """

    async def write(self, content: bytes) -> None:
        """Give it input; returns when it is taken. What a process does not read any more is dropped."""

    def end_input(self) -> None:
        """Tell it that there is no more input. A terminal has no such end."""

    def resize(self, rows: int, columns: int) -> None:
        """Another size of its terminal, if it has one."""

    async def wait(self) -> int | None:
        """Once `read` came to the end: the exit code; None when it is not known."""

    async def close(self) -> None:
        """Let go of a container's process, which goes on; end one that was started for this stream. Idempotent."""


class Console(Protocol):
    """Live requests to a running container. Conflict when it does not run, but for archives."""

    async def attach(self, container: str) -> Stream:
        """The streams of its first process, from now on; the first to attach also gets what it wrote just before."""

    async def start_exec(
        self, container: str, command: tuple[str, ...], tty: bool, size: tuple[int, int] | None = None
    ) -> Stream:
        """Run a command in it, to talk to; one that cannot be started says so, and exits, as with a shell.

        `size` is that of its terminal, rows and columns. It ends with the stream, and does not outlive us for long.
        """

    async def resize_terminal(self, container: str, rows: int, columns: int) -> None:
        """Another size of its first process's terminal, if it has one."""

    async def signal(self, container: str, number: int) -> None:
        """Send a signal to its first process."""

    async def exec(self, container: str, command: tuple[str, ...], timeout: float, limit: int) -> ExecResult:
        """Run a command in it and wait. Its processes are killed at `timeout` seconds: Conflict says so."""

    async def top(self, container: str, ps_args: str) -> ProcessTable:
        """Its processes. Invalid when `ps` does not like the arguments."""

    async def stats(self, container: str) -> Reading:
        """Its use of resources."""

    async def pack(self, container: str, path: str, limit: int) -> ArchiveReader:
        """Begin to pack what is at a path of its files, running or not. NotFound when nothing is.

        Links on the way are followed, one at the end is packed itself; a path that ends in `/` must be a directory.
        Invalid (`archive-too-large`) comes out of `read` when there is more than `limit` bytes.
        """

    async def unpack(self, container: str, path: str, limit: int) -> ArchiveWriter:
        """Begin to unpack into an existing directory of its files, running or not."""

    def log_path(self, container: str) -> str:
        """Where conmon writes its log (and rotated ones beside it with .1, .2, ...). The file may not exist."""

    async def tend_log(self, container: str, largest: int) -> None:
        """Rotate a log of more than `largest` bytes: it is called .1 (and .1 is called .2, ...) and another one begun.

        Losing no line of it. To be called now and then for each log that is being written.
        """


class Engine(Runtime, Console, Protocol):
    """What an agent needs of an engine: both."""
