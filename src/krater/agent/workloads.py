"""The workloads of this node: what is asked of each, and the pass that brings it about.

A pass looks, plans, takes the steps and looks again, until there is nothing to do. There is no other way in: a
crash, a restart, a lost hint and a vanished container all end in the same pass.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from krater.agent.executor import Executor, Interrupted, Work, reason_of
from krater.agent.health import HealthChecks
from krater.agent.observer import Observer, World
from krater.agent.planner import Backoff, Memory, ObservedWorkload, Plan, made_of, plan
from krater.agent.reporter import Reporter
from krater.agent.steps import EnsureImage, Remove, Stop, container_of
from krater.clock import Now
from krater.errors import Conflict, Failed, KraterError, NotFound, Temporary, Unavailable
from krater.model.assignment import Assignment, Made, ObservedContainer, Report, StepEvent
from krater.model.order import ALIVE
from krater.model.workload import Desired

_log = structlog.get_logger(__name__)

_MOST_PASSES, _MOST_PASSES_OF_EACH = 8, 4
_SLOW = 0.25  # seconds after which a pass that still goes on is worth a report of its own


@dataclass(slots=True, eq=False)
class Entry:
    """What the agent knows of one workload. Everything but the assignment may be forgotten without harm; `made` comes
    back with that.

    No assignment means that the controller said that it does not belong here. What it said nothing of has no entry.
    """

    workload: str
    containers: tuple[str, ...]
    assignment: Assignment | None = None
    failure: str | None = None
    failed: str | None = None
    trouble: str | None = None
    troubled: str | None = None
    unserved_since: datetime | None = None
    calm: Mapping[str, int] = field(default_factory=dict)
    made: dict[str, Made] = field(default_factory=dict)
    swept: frozenset[str] = frozenset()
    seen: tuple[ObservedContainer, ...] = ()
    events: list[StepEvent] = field(default_factory=list)
    work: Work | None = None
    timer: asyncio.TimerHandle | None = None

    @property
    def is_leaving(self) -> bool:
        """Whether nothing of it shall stay."""
        return self.assignment is None or self.assignment.intent.desired is Desired.REMOVED


class Workloads:
    """All entries. `wake` has a workload reconciled soon; `patience` is how long, in seconds, registries are asked."""

    def __init__(
        self,
        observer: Observer,
        executor: Executor,
        reporter: Reporter,
        health: HealthChecks,
        backoff: Backoff,
        now: Now,
        wake: Callable[[str], None],
        patience: float = 10.0,
    ) -> None:
        self._observer = observer
        self._executor = executor
        self._reporter = reporter
        self._health = health
        self._backoff = backoff
        self._now = now
        self._wake = wake
        self._patience = patience
        self._entries: dict[str, Entry] = {}
        self._owners: dict[str, str] = {}

    def assignments(self) -> list[Assignment]:
        """What is asked of this node now."""
        return [e.assignment for e in self._entries.values() if e.assignment is not None and not e.is_leaving]

    def owner(self, container: str) -> str:
        """The workload a container belongs to."""
        return self._owners.get(container, container)

    def asked(self, container: str) -> Assignment | None:
        """What is asked of the workload a container belongs to; None when nothing of it shall stay."""
        entry = self._entries.get(self.owner(container))
        return None if entry is None or entry.is_leaving else entry.assignment

    def project(self, container: str) -> str:
        """The project a container belongs to, "" when it is not known."""
        entry = self._entries.get(self.owner(container))
        return entry.assignment.project_id if entry is not None and entry.assignment is not None else ""

    def accept(self, assignment: Assignment) -> bool:
        """Take an assignment as what is asked now; true if that is news. One of an older placement is ignored."""
        entry = self._entries.get(assignment.workload)
        known = None if entry is None else entry.assignment
        if known is not None and (assignment.epoch < known.epoch or assignment == replace(known, made=assignment.made)):
            return False  # what was made, we told it ourselves
        containers = tuple(spec.id for spec in assignment.containers)
        if entry is None:
            entry = self._entries[assignment.workload] = Entry(assignment.workload, containers)
        if known is None or known.epoch < assignment.epoch:
            entry.made = {made.id: made for made in assignment.made}
        entry.containers = tuple(dict.fromkeys((*containers, *entry.containers)))
        for container in containers:
            self._owners[container] = assignment.workload
        self._turn(entry, assignment)
        return True

    def release(self, workload: str) -> None:
        """The controller said that this does not belong here."""
        entry = self._entries.get(workload)
        if entry is None:
            entry = self._entries[workload] = Entry(workload, (workload,))
        elif entry.assignment is None:
            return
        self._turn(entry, None)

    def keep_only(self, wanted: Iterable[str]) -> None:
        """The controller named everything that belongs here."""
        for workload in self._entries.keys() - set(wanted):
            self.release(workload)

    def compare(self, world: World, *, is_complete: bool) -> None:
        """Wake what has something to do. What nobody knows goes, if the controller's answer was complete."""
        for entry in self._entries.values():
            seen = self._with_health(world.of(entry.workload, entry.containers))
            if entry.work is None and (self._has_news(entry, seen) or self._plan(entry, seen).steps):
                self._wake(entry.workload)
        if is_complete:
            unknown = [c for c in world.containers if self.owner(c) not in self._entries]
            unknown += [s for s in (*world.sandboxes, *world.ports, *world.mounts) if s not in self._entries]
            for name in unknown:
                _log.info("removing what the controller does not know", id=name)
                self.release(name)

    async def reconcile(self, workload: str) -> float | None:
        """Bring one workload to what is asked. Answers the seconds after which to look again."""
        entry = self._entries.get(workload)
        if entry is None:
            return None
        try:
            left = _MOST_PASSES + _MOST_PASSES_OF_EACH * (len(entry.containers) - 1)
            while left > 0:
                done = await self._pass(entry)
                if done is not None:
                    return done.wait
                left -= entry.work is None or not entry.work.is_interrupted
            raise Temporary("The container does not come to rest, though every step succeeded.")
        finally:
            entry.work = None

    def stir(self, workload: str, container: str = "") -> None:
        """Something happened to one of its containers: nothing else should wait for another one to end."""
        entry = self._entries.get(workload)
        work = None if entry is None else entry.work
        if work is not None and not any(isinstance(s, Stop) and s.container == container for s in work.active):
            work.news.set()
        self._wake(workload)

    def _turn(self, entry: Entry, assignment: Assignment | None) -> None:
        """Another thing is asked: forget what went wrong with the former, and interrupt what takes long."""
        entry.assignment = assignment
        entry.failure = entry.failed = entry.trouble = entry.troubled = entry.unserved_since = None
        if entry.work is not None:
            entry.work.changed.set()
        self._wake(entry.workload)

    def _has_news(self, entry: Entry, seen: ObservedWorkload) -> bool:
        return tuple(seen.containers.values()) != entry.seen

    def _plan(self, entry: Entry, seen: ObservedWorkload) -> Plan:
        memory = Memory(entry.failure, entry.failed, entry.calm, entry.made, entry.swept)
        return plan(entry.assignment, seen, self._now(), self._backoff, memory)

    async def _look(self, entry: Entry) -> ObservedWorkload:
        """The workload as it is now, to be remembered until the next look."""
        found = await self._observer.look(entry.workload, entry.containers)
        self._health.follow(entry.assignment, entry.containers, found.containers.values(), entry.made)
        seen = self._with_health(found)
        entry.seen = tuple(seen.containers.values())
        if entry.assignment is not None:
            begun = {one.id: self._health.begun(one.id) for one in entry.seen}
            entry.made |= {one.id: replace(made_of(entry.assignment, one), begun=begun[one.id]) for one in entry.seen}
        entry.swept -= seen.containers.keys()
        return seen

    def _with_health(self, found: ObservedWorkload) -> ObservedWorkload:
        return replace(found, containers={id: self._health.merged(one) for id, one in found.containers.items()})

    async def _pass(self, entry: Entry) -> Plan | None:
        """Look, plan, take the steps. The plan when there was nothing to do, None when it is time to look again."""
        work = entry.work = Work(entry.workload, entry.assignment, lambda: self._note(entry), entry.events)
        try:
            seen = await self._look(entry)
            todo = self._plan(entry, seen)
            entry.calm = todo.calm
            work.patience = todo.wait
            await self._executor.keep_stops(entry.workload, todo.stops, _alive(seen))
            if not todo.steps:
                self._conclude(entry, work, todo)
                return todo
            await self._executor.execute(work, todo.steps)
            entry.swept |= {step.container for step in todo.steps if isinstance(step, Remove)}
            entry.trouble = entry.troubled = entry.unserved_since = None
        except Interrupted:
            work.is_interrupted = True
        except Exception as problem:
            await self._judge(entry, work, problem)
        finally:
            if entry.timer is not None:
                entry.timer.cancel()
                entry.timer = None
        return None

    def _conclude(self, entry: Entry, work: Work, todo: Plan) -> None:
        """Nothing to do: say so, and forget what is gone."""
        entry.trouble = entry.troubled = None
        if work.assignment is not None:
            self._report(entry, work.assignment, todo)
        elif todo.gone and entry.assignment is None:
            self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        self._reporter.forget(entry.workload)
        self._health.follow(None, entry.containers, ())
        del self._entries[entry.workload]
        for container in entry.containers:
            self._owners.pop(container, None)

    async def _judge(self, entry: Entry, work: Work, problem: Exception) -> None:
        """What is final is remembered until something else is asked; the rest is tried again by who called us.

        On the way out nothing is final: a workload must be removable, however often it takes. And what the world tells
        by itself, as a start that failed, need not be remembered: then the step is not in the next plan.
        """
        if work.assignment is not entry.assignment:
            return
        seen = await self._look_anyway(entry)
        temporary = isinstance(problem, Temporary | Conflict | NotFound) or not isinstance(problem, KraterError)
        temporary = temporary and not self._was_refused_too_long(entry, work, problem)
        if not temporary and not entry.is_leaving and entry.failure is None:
            if seen is None or work.failed in self._plan(entry, seen).steps:
                entry.failure, entry.failed = reason_of(problem), _culprit(work)
                _log.info("gave up", workload=entry.workload, reason=entry.failure)
            return
        entry.trouble, entry.troubled = reason_of(problem), _culprit(work)
        if work.assignment is not None:
            self._report(entry, work.assignment, None)
        raise problem

    def _was_refused_too_long(self, entry: Entry, work: Work, problem: Exception) -> bool:
        """Whether a registry has not given the image for so long that the user should be told to look.

        An image store of ours that is down is no reason to give up: it comes back.
        """
        if not isinstance(work.failed, EnsureImage) or isinstance(problem, Unavailable):
            entry.unserved_since = None
            return False
        entry.unserved_since = entry.unserved_since or self._now()
        return (self._now() - entry.unserved_since).total_seconds() >= self._patience

    async def _look_anyway(self, entry: Entry) -> ObservedWorkload | None:
        """For the report of a failure; that this fails too is no surprise."""
        try:
            return await self._look(entry)
        except Failed:
            return None

    def _note(self, entry: Entry) -> None:
        """A step began. That is told only of what takes long: most passes are over before anybody could read it."""
        if entry.timer is None:
            entry.timer = asyncio.get_running_loop().call_later(_SLOW, self._tell_progress, entry)
        elif entry.timer.when() < asyncio.get_running_loop().time():
            self._tell_progress(entry)

    def _tell_progress(self, entry: Entry) -> None:
        if entry.work is not None and entry.work.assignment is not None and entry.work.step:
            self._report(entry, entry.work.assignment, None)

    def _report(self, entry: Entry, assignment: Assignment, done: Plan | None) -> None:
        events, entry.events[:] = tuple(entry.events), []
        work = entry.work
        trouble = (None if work is None else work.progress) or (entry.trouble, entry.troubled)
        self._reporter.put(
            Report(
                workload=entry.workload,
                epoch=assignment.epoch,
                generation=assignment.intent.generation,
                containers=entry.seen,
                settled=done is not None and done.settled,
                gone=done is not None and done.gone,
                failure=None if done is None else done.failure,
                failed=trouble[1] if done is None else done.failed,
                trouble=trouble[0],
                step="" if work is None or done is not None else work.step,
                events=events,
                made=tuple(entry.made.values()),
            )
        )


def _alive(seen: ObservedWorkload) -> frozenset[str]:
    return frozenset(one.id for one in seen.containers.values() if one.state in ALIVE)


def _culprit(work: Work) -> str | None:
    """The container whose step failed; None when the step was one of the whole workload."""
    return None if work.failed is None else container_of(work.failed) or None
