"""The agent: one node's part of Krater, put together and run.

hints, pulls -> Sync -> Workloads --(wake)--> Reconciler -> a pass: Observer, plan, Executor
                            ^                                   |
engine events ------(wake)--+            controller <- Reporter <- the state found
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import structlog

from krater.agent.archives import Archives
from krater.agent.endpoint import Endpoint
from krater.agent.executor import Executor, unexpected
from krater.agent.guarding import Guarding
from krater.agent.health import HealthChecks
from krater.agent.image_endpoint import ImageEndpoint
from krater.agent.image_garbage import ImageGarbage, Marks
from krater.agent.image_tasks import ImageTasks
from krater.agent.inventory import read_inventory, split_processors
from krater.agent.log_files import LogKeeper
from krater.agent.logins import asking
from krater.agent.logs import LogReader
from krater.agent.mounting import Mounting
from krater.agent.names import Records, host_lines, records
from krater.agent.observer import Observer
from krater.agent.planner import Backoff
from krater.agent.reporter import Reporter
from krater.agent.runtimes.interfaces import Asker, ContainerConfig, Engine, Group
from krater.agent.steps import Create, EnsureImage
from krater.agent.streams import Streams
from krater.agent.sync import Sync
from krater.agent.uploads import Uploads
from krater.agent.vif.interfaces import Vif
from krater.agent.volume_tasks import VolumeTasks
from krater.agent.volumes.interfaces import VolumeHost
from krater.agent.workloads import Workloads
from krater.bus.interfaces import CONTROLLER, Bus, node_target
from krater.bus.messages import Announce
from krater.clock import Now, utc_now
from krater.config import AgentSettings
from krater.errors import KraterError
from krater.model.assignment import Assignment, ContainerState
from krater.model.image import parse_image
from krater.reconcile import Reconciler

_log = structlog.get_logger(__name__)

_ANNOUNCE_TIMEOUT = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
_NAMES_PAUSE = 0.05
_CLEAN_EVERY = 10.0


class Names(Protocol):
    """Where the names of this node's workloads are answered."""

    def publish(self, records: Records) -> None:
        """Answer from these names from now on."""


def _marks(settings: AgentSettings) -> Marks:
    high = 100.0 if settings.containerd else settings.images_high  # of a shared store, others may use the rest
    return Marks(high, settings.images_low, settings.images_age)


class Agent:
    """One node. `directory` is on the disk whose room is reported; without `names` the node's resolver is used.

    Gateways reach it in `run_directory`; without one, not at all.
    """

    def __init__(
        self,
        node: str,
        settings: AgentSettings,
        runtime: Engine,
        vif: Vif,
        volumes: VolumeHost,
        bus: Bus,
        names: Names | None = None,
        now: Now = utc_now,
        *,
        host: str = "",
        directory: str = "/",
        search: tuple[str, ...] = (),
        run_directory: str = "",
    ) -> None:
        self._node, self._host, self._directory = node, host or node, directory
        self._settings = settings
        self._runtime = runtime
        self._vif = vif
        self._volumes = volumes
        self._bus = bus
        self._names = names
        self._search = search
        self._dedicated, self._shared = split_processors(settings.dedicated_cpus)
        self._is_open = False
        self._names_due = asyncio.Event()
        self._reconciler = Reconciler("workloads", self._reconcile, concurrency=settings.concurrency)
        self._volume_tasks = VolumeTasks(node, bus, volumes)
        self._reporter = Reporter(node, bus)
        self._health = HealthChecks(runtime, vif, self._stir, self._is_held, now)
        self._images = ImageTasks(node, bus, runtime, settings.pull_patience, settings.largest_image)
        self._uploads = Uploads(runtime)
        self._garbage = ImageGarbage(runtime, self._images, self._images_in_use, directory, _marks(settings))
        self._log_reader = LogReader(runtime.log_path)
        self._log_keeper = LogKeeper(runtime, settings.log_size, settings.keep_logs, settings.keep_logs_size)
        self._set_up(now)
        project = self._workloads.project
        self._archives = Archives(runtime, lambda: self._is_open, project, self._furnished)
        self._streams = Streams(runtime, run_directory, settings.most_sessions, project)

    def _set_up(self, now: Now) -> None:
        """The parts that a workload passes through, from the pull to the report."""
        node, bus, runtime, vif, settings = self._node, self._bus, self._runtime, self._vif, self._settings
        observer = Observer(runtime, vif, self._volumes)
        self._mounting = Mounting(node, bus, self._volumes, observer, self._volume_tasks.notice)
        executor = Executor(
            runtime, vif, self._mounting, observer, now, self._configure, self._reconciler.aside, self._asker
        )
        backoff = Backoff(settings.restart_base, settings.restart_cap, settings.restart_reset)
        self._executor = executor
        self._workloads = Workloads(
            observer, executor, self._reporter, self._health, backoff, now, self._changed, settings.pull_patience
        )
        self._sync = Sync(
            node,
            bus,
            self._workloads,
            observer,
            self._reporter,
            self._images,
            self._volume_tasks,
            settings.resync,
            Guarding(vif).keep,
        )

    async def run(self) -> None:
        """Live. Requests are answered from the first moment, also while the engine is not there yet."""
        project = self._workloads.project
        endpoint = Endpoint(self._runtime, self._log_reader, self._sync, lambda: self._is_open, project, self._streams)
        about_images = ImageEndpoint(self._runtime, self._images, self._uploads, lambda: self._is_open)
        handlers = {**endpoint.handlers(), **self._archives.handlers(), **about_images.handlers()}
        self._bus.serve(node_target(self._node), handlers)
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._open()
                for part in (
                    self._follow_events(),
                    self._every(self._settings.announce, self._announce),
                    self._reconciler.run(),
                    self._sync.run(),
                    self._reporter.run(),
                    self._health.run(),
                    self._images.run(),
                    self._volume_tasks.run(),
                    self._publish_names(),
                    self._streams.run(),
                    self._every(_CLEAN_EVERY, self._log_keeper.keep),
                    self._every(self._settings.images_look, self._garbage.collect),
                ):
                    tasks.create_task(part)
        finally:
            await self._close()

    async def _open(self) -> None:
        """Find the engine and the network, however long that takes."""
        pause = _FIRST_PAUSE
        while not self._is_open:
            try:
                await self._vif.open()
                await self._volumes.open()
                await self._runtime.open()
                await self._vif.sweep()
                self._is_open = True
            except (KraterError, OSError) as problem:
                _log.warning("the engine or the network cannot be opened yet", reason=str(problem))
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def _close(self) -> None:
        """Let go; containers keep running."""
        closes = (
            self._executor.close,
            self._archives.close,
            self._uploads.close,
            self._runtime.close,
            self._vif.close,
            self._volumes.close,
        )
        for close in closes:
            try:
                await close()
            except Exception:
                _log.exception("closing failed")

    async def _every(self, seconds: float, action: Callable[[], Awaitable[None]]) -> None:
        """Again and again; a failure is noted once, until it works again."""
        is_failing = False
        while True:
            try:
                await action()
                is_failing = False
            except Exception as problem:
                if not is_failing:
                    _log.warning(
                        "will be tried again",
                        action=action.__name__,
                        reason=str(problem),
                        exc_info=unexpected(problem),
                    )
                is_failing = True
            await asyncio.sleep(seconds)

    async def _announce(self) -> None:
        facts = await self._runtime.describe()
        images = await self._runtime.images() if self._is_open and facts.image_store_up else ()
        labels = self._settings.labels
        inventory = await asyncio.to_thread(read_inventory, self._directory, facts, images, labels, self._dedicated)
        zone = self._settings.availability_zone
        await self._bus.call(CONTROLLER, Announce(self._node, self._host, zone, inventory), _ANNOUNCE_TIMEOUT)
        self._images.notice(images)

    async def _reconcile(self, workload: str) -> float | None:
        return await self._workloads.reconcile(workload)

    def _images_in_use(self) -> set[str]:
        """Of all that this node has or is about to have."""
        specs = [spec for assignment in self._workloads.assignments() for spec in assignment.containers]
        return {parse_image(spec.node_image).canonical for spec in specs}

    def _stir(self, workload: str) -> None:
        self._workloads.stir(workload)

    def _changed(self, workload: str) -> None:
        self._names_due.set()
        self._reconciler.wake(workload)

    def _is_held(self, container: str) -> bool:
        """Whether its processes stand still because an image is made of it."""
        return self._images.copies(container)

    async def _follow_events(self) -> None:
        """A process ended, or something else happened to a container: look at it at once."""
        while True:
            try:
                async for container in self._runtime.events():
                    self._log_reader.stir(container)
                    self._workloads.stir(self._workloads.owner(container), container)
            except Exception as problem:
                _log.warning("the engine's events broke off", reason=str(problem), exc_info=unexpected(problem))
            await asyncio.sleep(_FIRST_PAUSE)
            self._sync.hint_all()

    async def _publish_names(self) -> None:
        """When assignments changed, but not for each of many."""
        while self._names is not None:
            await self._names_due.wait()
            self._names_due.clear()
            self._names.publish(records(self._workloads.assignments()))
            await asyncio.sleep(_NAMES_PAUSE)

    @asynccontextmanager
    async def _furnished(self, container: str) -> AsyncIterator[None]:
        """Have what a container mounts at its paths, also when nothing runs: then the next pass takes it away again."""
        asked, seen = self._workloads.asked(container), await self._runtime.inspect(container)
        if asked is None or seen is None or seen.state not in (ContainerState.CREATED, ContainerState.EXITED):
            yield
            return
        try:
            async with self._mounting.furnished(asked):
                yield
        finally:
            if asked.volumes or asked.files:
                self._reconciler.wake(asked.workload)

    def _asker(self, assignment: Assignment, step: EnsureImage) -> Asker:
        """For whom an image is pulled."""
        project, workload = assignment.project_id, assignment.workload
        return asking(self._bus, self._node, project, workload, step.container, step.image)

    def _configure(self, assignment: Assignment, step: Create, netns: str) -> ContainerConfig:
        """Spell a container out for the engine."""
        self._images.expect(step.spec.node_image)
        resolvers = assignment.nics[0].gateways if assignment.nics and self._names is not None else ()
        whole = assignment.whole
        return ContainerConfig(
            id=step.spec.id,
            rebuild=step.rebuild,
            spec=step.spec,
            hostname=assignment.hostname,
            netns=netns,
            nameservers=tuple(gateway.partition("/")[0] for gateway in resolvers),
            search=self._search if resolvers else (),
            cpus=assignment.cpus or (self._shared if self._dedicated else ()),
            project=assignment.project_id,
            mounts=self._mounting.mounts(assignment.workload, step.spec),
            hosts=host_lines(assignment),
            group=None if whole is None else Group(assignment.workload, whole.cpu, whole.memory),
        )
