"""A node on the table: an agent over a fake engine, a fake network and a stand-in for the controller.

Everything but the agent survives its "crash", as it would in life: engine world, network world, controller.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from krater.agent.runtimes.fake import FakeEngineWorld, FakeRuntime, Hook, no_hook
from krater.agent.service import Agent
from krater.agent.vif.fake import FakeNetworkWorld, FakeVif
from krater.agent.volumes.fake import FakeVolumeHost, FakeVolumeWorld
from krater.bus.interfaces import Answer, Handler, Request
from krater.bus.messages import (
    Announce,
    FetchFiles,
    FilesAnswer,
    ImageTask,
    Pull,
    PullAnswer,
    SendImages,
    SendReports,
    SendVolumes,
    WorkloadChanged,
)
from krater.config import AgentSettings
from krater.errors import Unavailable
from krater.model.assignment import Assignment, Report
from krater.model.network import Address, Nic
from krater.model.security import GroupRules
from krater.model.volume import Attachment
from krater.model.workload import ContainerSpec, Desired, Intent, Resources, RestartPolicy

Made = TypeVar("Made")

NODE = "node-1"
EPOCH = datetime(2030, 1, 1, tzinfo=UTC)


def loop_now() -> datetime:
    """A clock that follows the event loop's, virtual or not."""
    return EPOCH + timedelta(seconds=asyncio.get_running_loop().time())


def spec_of(container: str, *command: str, image: str = "alpine", **more: Any) -> ContainerSpec:
    """One container."""
    chosen = command or ("sleep", "inf")
    return ContainerSpec(container, container[:8], image, Resources(1.0, 64), command=chosen, **more)


def nic_of(port: str, network: str = "net-1", name: str = "eth0", host: int = 9) -> Nic:
    """One card."""
    address = Address(f"10.66.1.{host}", 24, "10.66.1.1")
    return Nic(port, network, "02:00:00:00:00:01", name, (address,), ("10.66.1.1/24",))


def assignment_of(
    workload: str,
    *command: str,
    desired: Desired = Desired.RUNNING,
    run: int = 1,
    grace: float = 10.0,
    restart: RestartPolicy | None = None,
    containers: tuple[ContainerSpec, ...] | None = None,
    nics: tuple[Nic, ...] | None = None,
    image: str = "alpine",
    auto_heal: bool = False,
    volumes: tuple[Attachment, ...] = (),
) -> Assignment:
    """A workload of one container with one card, unless told otherwise."""
    return Assignment(
        workload=workload,
        epoch=1,
        intent=Intent(desired, generation=1, run=run, grace=grace),
        project_id="project",
        name=f"name-{workload[:4]}",
        hostname=f"host-{workload[:4]}",
        containers=(spec_of(workload, *command, image=image),) if containers is None else containers,
        nics=(nic_of(f"port-{workload[:8]}"),) if nics is None else nics,
        volumes=volumes,
        restart=restart or RestartPolicy(),
        auto_heal=auto_heal,
    )


def capsule_of(capsule: str, *members: ContainerSpec, **more: Any) -> Assignment:
    """A capsule with one card, placed on the node."""
    return replace(assignment_of(capsule, containers=members, **more), whole=Resources(4.0, 256))


def altered(assignment: Assignment, **intent: Any) -> Assignment:
    """The same with another intent, one generation later."""
    newer = replace(assignment.intent, generation=assignment.intent.generation + 1, **intent)
    return replace(assignment, intent=newer)


def resized(assignment: Assignment, limits: Resources | None) -> Assignment:
    """The same with other limits for each container; None for those they have."""
    if limits is None:
        return assignment
    return replace(assignment, containers=tuple(replace(spec, resources=limits) for spec in assignment.containers))


class StandIn:
    """What a controller is to a node, in memory. `is_down` makes it unreachable; `announced` counts."""

    def __init__(self) -> None:
        self.assignments: dict[str, Assignment] = {}
        self.images: dict[str, ImageTask] = {}
        self.reports: dict[str, Report] = {}
        self.steps: list[tuple[str, str]] = []
        self.sent_images: SendImages | None = None
        self.sent_volumes: SendVolumes | None = None
        self.discards: tuple[str, ...] = ()
        self.files: dict[str, bytes] = {}
        self.announced: list[Announce] = []
        self.received = 0
        self.is_down = False
        self.is_complete = True
        self.handlers: dict[type, Handler] = {}

    def answer(self, message: object) -> object:
        """Serve one request."""
        if self.is_down:
            raise Unavailable("nobody answers")
        match message:
            case Pull(_, workloads, _):
                return self._pull(workloads)
            case SendReports(_, reports):
                for report in reports:
                    self._fold(report)
            case SendImages():
                self.sent_images = message
            case SendVolumes():
                self.sent_volumes = message
                self.discards = tuple(v for v in self.discards if v in message.stored)
            case FetchFiles(_, workload):
                wanted = self.assignments[workload].files
                return FilesAnswer(tuple((file, self.files[file]) for file in wanted))
            case Announce():
                self.announced.append(message)
        return None

    def _pull(self, workloads: tuple[str, ...] | None) -> PullAnswer:
        if workloads is None:
            return PullAnswer(
                self.is_complete, tuple(self.assignments.values()), tuple(self.images.values()), self.discards
            )
        return PullAnswer(False, tuple(self.assignments[w] for w in workloads if w in self.assignments))

    def _fold(self, report: Report) -> None:
        self.received += 1
        self.steps += [(report.workload, event.step) for event in report.events]
        assigned = self.assignments.get(report.workload)
        if assigned is None or report.epoch < assigned.epoch:
            return
        self.reports[report.workload] = replace(report, events=())
        self.assignments[report.workload] = replace(assigned, made=report.made)
        if report.gone and assigned.intent.desired is Desired.REMOVED:
            del self.assignments[report.workload]

    async def want(self, assignment: Assignment, *, hint: bool = True) -> None:
        """Assign this to the node, and tell it unless the hint is lost."""
        self.assignments[assignment.workload] = assignment
        if hint:
            await self.tell(WorkloadChanged(assignment.workload))

    async def drop(self, workload: str, *, hint: bool = True) -> None:
        """The node should not have it any more."""
        self.assignments.pop(workload, None)
        if hint:
            await self.tell(WorkloadChanged(workload))

    async def tell(self, message: object) -> None:
        """A hint or a request to the node; hints are lost when nobody serves."""
        handler = self.handlers.get(type(message))
        if handler is not None and not self.is_down:
            await handler(message)

    async def ask(self, request: Request[Answer]) -> Answer:
        """A live request to the node."""
        answer: Answer = await self.handlers[type(request)](request)
        return answer


class StandInBus:
    """The agent's end of the bus. `hook` is called around every call."""

    def __init__(self, controller: StandIn, hook: Hook = no_hook) -> None:
        self._controller = controller
        self._hook = hook

    async def call(self, target: str, request: Request[Answer], timeout: float) -> Answer:
        """Ask the stand-in."""
        name = type(request).__name__
        await asyncio.sleep(0)
        self._hook("before", name, target)
        answer: Any = self._controller.answer(request)
        self._hook("after", name, target)
        return answer  # type: ignore[no-any-return]

    def hint(self, target: str, message: object) -> None:
        """A node has nobody to tell."""

    def serve(self, target: str, handlers: dict[type, Handler]) -> None:
        """From now on this agent is the node."""
        self._controller.handlers = handlers

    async def close(self) -> None:
        """Nothing to close."""


class Hooked:
    """Something with a hook around its effects, as the fake engine has."""

    _hook: Hook

    async def _around(self, name: str, subject: str, doing: Coroutine[Any, Any, Made]) -> Made:
        try:
            await asyncio.sleep(0)
            self._hook("before", name, subject)
        except BaseException:
            doing.close()
            raise
        made = await doing
        self._hook("after", name, subject)
        return made


class HookedVif(Hooked, FakeVif):
    """The fake network with a hook around every effect."""

    def __init__(self, world: FakeNetworkWorld, hook: Hook) -> None:
        super().__init__(world)
        self._hook = hook

    async def open(self) -> None:
        """Hooked."""
        await self._around("open_vif", "", super().open())

    async def close(self) -> None:
        """Hooked."""
        await self._around("close_vif", "", super().close())

    async def make_sandbox(self, sandbox: str, pid: int | None = None) -> str:
        """Hooked."""
        return await self._around("make_sandbox", sandbox, super().make_sandbox(sandbox, pid))

    async def remove_sandbox(self, sandbox: str) -> None:
        """Hooked."""
        await self._around("remove_sandbox", sandbox, super().remove_sandbox(sandbox))

    async def plug(self, sandbox: str, nic: Nic) -> None:
        """Hooked."""
        await self._around("plug", sandbox, super().plug(sandbox, nic))

    async def unplug(self, sandbox: str, port: str) -> None:
        """Hooked."""
        await self._around("unplug", sandbox, super().unplug(sandbox, port))

    async def guard(self, groups: Sequence[GroupRules], nics: Sequence[Nic], *, is_all: bool = False) -> None:
        """Hooked."""
        await self._around("guard", "", super().guard(groups, nics, is_all=is_all))

    async def plugged(self) -> dict[str, frozenset[str]]:
        """Hooked."""
        return await self._around("plugged", "", super().plugged())


class HookedVolumes(Hooked, FakeVolumeHost):
    """The fake volumes with a hook around every effect."""

    def __init__(self, world: FakeVolumeWorld, hook: Hook) -> None:
        super().__init__(world)
        self._hook = hook

    async def connect(self, workload: str, volume: Attachment) -> None:
        """Hooked."""
        await self._around("connect", workload, super().connect(workload, volume))

    async def place(self, workload: str, file: str, content: bytes) -> None:
        """Hooked."""
        await self._around("place", workload, super().place(workload, file, content))

    async def disconnect(self, workload: str, id: str) -> None:
        """Hooked."""
        await self._around("disconnect", workload, super().disconnect(workload, id))

    async def connected(self) -> dict[str, frozenset[str]]:
        """Hooked."""
        return await self._around("connected", "", super().connected())

    async def discard(self, volume: str) -> None:
        """Hooked."""
        await self._around("discard", volume, super().discard(volume))


class Table:
    """The node and all around it. Use `start` and `stop`, or as a context."""

    def __init__(self, settings: AgentSettings | None = None, world: FakeEngineWorld | None = None) -> None:
        self.settings = settings or AgentSettings()
        self.world = world or FakeEngineWorld()
        self.network = FakeNetworkWorld()
        self.volumes = FakeVolumeWorld()
        self.controller = StandIn()
        self.agent: Agent | None = None
        self.published: list[Any] = []
        self._task: asyncio.Task[None] | None = None

    def start(self, hook: Hook = no_hook, **more: Any) -> asyncio.Task[None]:
        """Run an agent over what there is."""
        self.agent = Agent(
            NODE,
            self.settings,
            FakeRuntime(self.world, loop_now, hook),
            HookedVif(self.network, hook),
            HookedVolumes(self.volumes, hook),
            StandInBus(self.controller, hook),
            self,
            loop_now,
            host="host-1",
            **more,
        )
        self._task = asyncio.get_running_loop().create_task(self.agent.run())
        return self._task

    def publish(self, records: Any) -> None:
        """The name server's part."""
        self.published.append(records)

    async def stop(self) -> None:
        """End the agent; everything else stays."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(BaseException):
                await self._task
        self._task = self.agent = None
        self.controller.handlers = {}
        self.world.listeners.clear()

    async def __aenter__(self) -> "Table":
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def until(self, condition: Callable[[], bool], seconds: float = 60.0, step: float = 0.01) -> None:
        """Wait in small steps until something holds."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(step)

    def state(self, container: str) -> str:
        """What the world says of a container, "" when it has none."""
        found = self.world.containers.get(container)
        return "" if found is None else found.seen.state.value

    def report(self, workload: str) -> Report | None:
        """What the controller was told last."""
        return self.controller.reports.get(workload)

    def is_settled(self, workload: str) -> bool:
        """Whether the controller was told that all was done for what it asked last."""
        report, wanted = self.report(workload), self.controller.assignments.get(workload)
        if report is None or wanted is None:
            return wanted is None
        return report.settled and report.generation == wanted.intent.generation

    async def settled(self, workload: str, seconds: float = 60.0) -> Report:
        """Wait for that."""
        await self.until(lambda: self.is_settled(workload), seconds)
        return self.controller.reports[workload]
