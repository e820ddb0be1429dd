"""Takes the steps of a plan, each recorded. What a failed step means is for `workloads.py` to decide."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from krater.agent.mounting import Mounting
from krater.agent.observer import Observer
from krater.agent.runtimes.interfaces import OPERATOR, Asker, ContainerConfig, PullProgress, Runtime
from krater.agent.steps import (
    ConnectVolume,
    Create,
    Disconnect,
    EnsureImage,
    MakeSandbox,
    Pause,
    PlaceFiles,
    Plug,
    Remove,
    RemoveSandbox,
    Resume,
    Start,
    Step,
    Stop,
    TellNames,
    Unplug,
    Update,
    container_of,
    groups,
)
from krater.agent.stopping import Stops
from krater.agent.vif.interfaces import Vif
from krater.clock import Now
from krater.errors import KraterError, Permanent, Temporary
from krater.model.assignment import Assignment, StepEvent
from krater.telemetry import STARTS, STEP_SECONDS

MIB = 1024 * 1024
_LONG = 1.0
_REMEMBERED = (MakeSandbox, Plug, Unplug, RemoveSandbox, ConnectVolume, PlaceFiles, Disconnect)


class Interrupted(Exception):
    """The assignment changed during a step that takes long; plan again."""


class Deferred(Interrupted):
    """There is something else to do while a process takes its time to end; that goes on."""


@dataclass(slots=True, eq=False)
class Work:
    """The steps of one workload under way. `note` is called when `step` or `progress` changed: how far a pull is, and
    the container whose image that is.

    `changed` is set when another assignment came: a pull or a graceful stop then gives way. `failures` are the steps
    that failed, and why. `waiting` is how many of its lanes wait `aside`.

    `news` is set when something happened to one of its containers, and after `patience` seconds something is due: only
    a graceful stop gives way to that, and is taken up again.
    """

    workload: str
    assignment: Assignment | None
    note: Callable[[], None]
    events: list[StepEvent] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    active: list[Step] = field(default_factory=list)
    progress: tuple[str, str] | None = None
    failures: list[tuple[Step, BaseException]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    patience: float | None = None
    is_interrupted: bool = False
    waiting: int = 0
    aside: ExitStack = field(default_factory=ExitStack)

    @property
    def step(self) -> str:
        """The word for what goes on now: of several at once, what was begun first."""
        return self.active[0].word if self.active else ""

    @property
    def worst(self) -> tuple[Step, BaseException]:
        """Of several failures at once, the one that decides."""
        return max(self.failures, key=lambda failure: _weight(failure[1]))

    @property
    def failed(self) -> Step | None:
        """The step that failed, if one did."""
        return self.worst[0] if self.failures else None


class Executor:
    """The hands of the agent. `configure` spells out a container for the engine.

    `asker` tells for whom an image is pulled, and with which login. `aside` is where to wait for a registry, for a
    process that takes its time to end, or for millions of files to go: one tenant's waiting must not become
    everybody's.
    """

    def __init__(
        self,
        runtime: Runtime,
        vif: Vif,
        mounting: Mounting,
        observer: Observer,
        now: Now,
        configure: Callable[[Assignment, Create, str], ContainerConfig],
        aside: Callable[[], AbstractContextManager[None]] = nullcontext,
        asker: Callable[[Assignment, EnsureImage], Asker] = lambda assignment, step: Asker(assignment.project_id),
    ) -> None:
        self._runtime = runtime
        self._vif = vif
        self._mounting = mounting
        self._observer = observer
        self._now = now
        self._configure = configure
        self._aside = aside
        self._asker = asker
        self._stops = Stops(runtime)

    async def execute(self, work: Work, steps: tuple[Step, ...]) -> None:
        """Take all steps, or raise what the first that failed raised. Lanes under way are let finish first."""
        for lanes in groups(steps):
            if len(lanes) == 1:
                await self._follow(work, lanes[0])
                continue
            await asyncio.gather(*(self._follow(work, lane) for lane in lanes), return_exceptions=True)
            if work.failures:
                raise work.worst[1]

    async def keep_stops(self, workload: str, stops: tuple[Stop, ...], alive: frozenset[str]) -> None:
        """Of the stops that are under way, go on with these only."""
        await self._stops.keep_only(workload, stops, alive)

    async def close(self) -> None:
        """Let go of what is under way."""
        await self._stops.close()

    async def _follow(self, work: Work, lane: Sequence[Step]) -> None:
        for step in lane:
            await self._take(work, step)

    async def _take(self, work: Work, step: Step) -> None:
        started, clock = self._now(), time.perf_counter()
        work.active.append(step)
        work.note()
        error: str | None = None
        try:
            await self._do(work, step)
        except BaseException as problem:
            error = reason_of(problem)
            work.failures.append((step, problem))
            # A start that may succeed later may miss what somebody took away.
            if isinstance(step, _REMEMBERED) or (isinstance(step, Start) and isinstance(problem, Temporary)):
                self._observer.doubt()
            raise
        finally:
            work.active.remove(step)
            STEP_SECONDS.labels(step.name).observe(time.perf_counter() - clock)
            if not (work.failures and isinstance(work.failures[-1][1], Deferred)):
                work.events.append(StepEvent(step.name, started, self._now(), error, container_of(step)))

    async def _do(self, work: Work, step: Step) -> None:
        match step:
            case EnsureImage() | Create():
                await self._prepare(work, step)
            case MakeSandbox() | Plug() | Unplug() | RemoveSandbox():
                await self._connect(work.workload, step)
            case TellNames(container):
                await self._tell_names(work, container)
            case ConnectVolume() | PlaceFiles() | Disconnect():
                await self._at_length(work, self._mounting.take(work.workload, step))
            case Start(container, run, attempt):
                await self._runtime.start(container, run, attempt, self._observer.path(work.workload))
                STARTS.inc()
            case Stop(container, grace, reason):
                if grace > 0:
                    await self._stop_gently(work, step)
                else:
                    await _unless_changed(work, self._runtime.stop(container, grace, reason))
            case Remove(container):
                await self._at_length(work, self._runtime.remove(container))
            case _:
                await self._adjust(step)

    async def _stop_gently(self, work: Work, step: Stop) -> None:
        stop, loop = self._stops.begin(work.workload, step), asyncio.get_running_loop()
        changed, news = loop.create_task(work.changed.wait()), loop.create_task(work.news.wait())
        try:
            with self._waiting(work):
                await asyncio.wait({stop, changed, news}, timeout=work.patience, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                stop.result()
            else:
                raise Interrupted if changed.done() else Deferred
        finally:
            changed.cancel()
            news.cancel()

    @contextmanager
    def _waiting(self, work: Work) -> Iterator[None]:
        """Aside, meanwhile: once, however many of its lanes wait, as it takes one place."""
        if not work.waiting:
            work.aside.enter_context(self._aside())
        work.waiting += 1
        try:
            yield
        finally:
            work.waiting -= 1
            if not work.waiting:
                work.aside.close()

    async def _at_length(self, work: Work, doing: Coroutine[Any, Any, None]) -> None:
        """Wait for what seldom takes long; when it does, wait aside."""
        step = asyncio.ensure_future(doing)
        try:
            done, _ = await asyncio.wait({step}, timeout=_LONG)
            with nullcontext() if done else self._waiting(work):
                await step
        finally:
            step.cancel()
            await asyncio.gather(step, return_exceptions=True)

    async def _prepare(self, work: Work, step: EnsureImage | Create) -> None:
        if isinstance(step, EnsureImage):
            asker = self._asker(work.assignment, step) if work.assignment is not None else OPERATOR
            pull = self._runtime.ensure_image(step.image, step.policy, _progress_into(work, step.container), asker)
            try:
                with self._waiting(work):
                    await _unless_changed(work, pull)
            finally:
                if work.progress is not None and work.progress[1] == step.container:
                    work.progress = None
        elif work.assignment is not None:
            config = self._configure(work.assignment, step, self._observer.path(work.workload))
            await self._runtime.create(config)

    async def _tell_names(self, work: Work, container: str) -> None:
        if work.assignment is None:
            return
        for spec in work.assignment.containers:
            if spec.id == container:
                config = self._configure(work.assignment, Create(spec, 0), "")
                await self._runtime.tell_names(container, config.nameservers, config.hosts)

    async def _adjust(self, step: Pause | Resume | Update) -> None:
        match step:
            case Pause(container):
                await self._runtime.pause(container)
            case Resume(container):
                await self._runtime.resume(container)
            case Update(container, cpu, memory):
                await self._runtime.update(container, cpu, memory)

    async def _connect(self, sandbox: str, step: MakeSandbox | Plug | Unplug | RemoveSandbox) -> None:
        match step:
            case MakeSandbox(pid):
                self._observer.made(sandbox, await self._vif.make_sandbox(sandbox, pid))
            case Plug(nic):
                await self._vif.plug(sandbox, nic)
                self._observer.plugged(sandbox, nic.port)
            case Unplug(port):
                await self._vif.unplug(sandbox, port)
                self._observer.unplugged(sandbox, port)
            case RemoveSandbox():
                await self._vif.remove_sandbox(sandbox)
                self._observer.removed(sandbox)


async def _unless_changed(work: Work, doing: Coroutine[Any, Any, Any]) -> None:
    """Wait for it, but give way to another assignment."""
    step, changed = asyncio.ensure_future(doing), asyncio.ensure_future(work.changed.wait())
    try:
        await asyncio.wait({step, changed}, return_when=asyncio.FIRST_COMPLETED)
        if not step.done():
            raise Interrupted
        step.result()
    finally:
        step.cancel()
        changed.cancel()
        await asyncio.gather(step, changed, return_exceptions=True)


def _progress_into(work: Work, container: str) -> Callable[[PullProgress], None]:
    """Says how far a pull is, at most once a second."""
    last = 0.0

    def tell(progress: PullProgress) -> None:
        nonlocal last
        now = asyncio.get_running_loop().time()
        if now - last < 1.0:
            return
        last = now
        done = f"Pulling the image: {progress.done / MIB:.1f}"
        if progress.total:
            done += f" of {progress.total / MIB:.1f} MiB ({100 * progress.done // progress.total} %)"
        else:
            done += " MiB"
        work.progress = done, container
        work.note()

    return tell


def _weight(problem: BaseException) -> int:
    """Which of several failures decides: the end of this agent, then a change of mind, then what is final."""
    if not isinstance(problem, Exception):
        return 3
    return 2 if isinstance(problem, Interrupted) else int(isinstance(problem, Permanent))


def reason_of(problem: BaseException) -> str:
    """A sentence for the container's owner. What was not raised on purpose says nothing about this node."""
    if isinstance(problem, KraterError):
        return problem.message
    if isinstance(problem, Interrupted | asyncio.CancelledError):
        return "Given up, because something else was asked for."
    return "Something went wrong on the node; its log tells what."


def unexpected(problem: BaseException) -> BaseException | None:
    """For the log: the error itself, with where it came from, when it was not raised on purpose."""
    return None if isinstance(problem, KraterError | OSError) else problem
