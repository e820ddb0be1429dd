"""What a fake engine's containers live in, as real ones live in a kernel: it outlives every `FakeRuntime`."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from krater.agent.runtimes.fake_files import FakeFiles
from krater.agent.runtimes.fake_groups import FakeIpc
from krater.agent.runtimes.fake_images import FakeImages
from krater.agent.runtimes.fake_programs import Program, program_of
from krater.agent.runtimes.fake_streams import FakeProcess
from krater.agent.runtimes.interfaces import ContainerConfig
from krater.clock import Now
from krater.model.assignment import ContainerState, ObservedContainer
from krater.model.image import ImageFacts

ALIVE = (ContainerState.RUNNING, ContainerState.PAUSED)

Hook = Callable[[str, str, str], None]


def no_hook(moment: str, effect: str, subject: str) -> None:
    """`moment` is before, during or after; `subject` the container or image."""


@dataclass(eq=False)
class FakeContainer:
    """One container: what it was made of, and what it is now. `asked_at` is when it was asked to end."""

    config: ContainerConfig
    seen: ObservedContainer
    program: Program
    is_whole: bool = False
    timer: asyncio.TimerHandle | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    asked_at: float = 0.0
    files: FakeFiles = field(default_factory=FakeFiles)
    process: FakeProcess | None = None
    ipc: FakeIpc = field(default_factory=lambda: FakeIpc(0))

    @property
    def memory_limit(self) -> int:
        """In bytes; of its own limit and its group's the smaller."""
        group = self.config.group
        limits = (self.seen.memory, None if group is None else group.memory)
        return min((limit for limit in limits if limit), default=0) << 20


class FakeEngineWorld:
    """What would be in the kernel and on the disk. `starts` and `asks` count, for those who judge an agent.

    `groups` are there from the first start in one to the removal of its last container.
    `latency` is the seconds that every effect takes; `logs` is a directory, or "" for no logs.
    """

    def __init__(self, *, logs: str = "", latency: float = 0.0) -> None:
        self.containers: dict[str, FakeContainer] = {}
        self.groups: dict[str, FakeIpc] = {}
        self.images = FakeImages()
        self.logs = logs
        self.latency = latency
        self.starts: Counter[tuple[str, int, int, int]] = Counter()
        self.asks: Counter[str] = Counter()
        self.stops: list[str] = []
        self.listeners: set[asyncio.Queue[str]] = set()
        self._last_pid = 1000

    def end(self, container: str, exit_code: int, now: Now, *, oom: bool = False) -> None:
        """The process of a container ends, for whatever reason."""
        found = self.containers.get(container)
        if found is None or found.seen.state not in ALIVE:
            return
        if found.timer is not None:
            found.timer.cancel()
        gone = replace(found.seen, state=ContainerState.EXITED, pid=None, is_ending=False)
        found.seen = replace(gone, exit_code=exit_code, oom_killed=oom, finished_at=now())
        found.ended.set()
        if found.process is not None:
            found.process.end(exit_code)
        self.tell(container)

    def ipc_of(self, config: ContainerConfig) -> FakeIpc:
        """What a process that starts now joins: its group's, which the first one makes, or one of its own."""
        made = FakeIpc(self.next_pid())
        return made if config.group is None else self.groups.setdefault(config.group.id, made)

    def sweep_groups(self) -> None:
        """Forget groups that no container is in."""
        used = {c.config.group.id for c in self.containers.values() if c.config.group is not None}
        for group in set(self.groups) - used:
            del self.groups[group]

    def tell(self, container: str) -> None:
        """Have everybody who listens know that it changed."""
        for listener in self.listeners:
            listener.put_nowait(container)

    def next_pid(self) -> int:
        """A number nobody had."""
        self._last_pid += 1
        return self._last_pid


def new_container(config: ContainerConfig, facts: ImageFacts) -> FakeContainer:
    """As it is made: no process yet."""
    spec = config.spec
    entrypoint = facts.entrypoint if spec.entrypoint is None else spec.entrypoint
    command = facts.command if spec.command is None else spec.command
    seen = ObservedContainer(
        id=config.id,
        rebuild=config.rebuild,
        state=ContainerState.CREATED,
        image_digest=facts.digest,
        command=command,
        entrypoint=entrypoint,
        cpu=spec.limit.cpu,
        memory=spec.limit.memory,
    )
    return FakeContainer(config, seen, program_of((*entrypoint, *command)))
