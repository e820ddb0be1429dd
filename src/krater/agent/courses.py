"""What becomes of each container of a workload: pure, and the same for all engines. The planner makes steps of it.

Each container is looked at by itself, in its turn. What it means for the others is in `model/order.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from krater.agent.steps import Pause, Resume, Start
from krater.model.assignment import Assignment, ContainerState, HealthState, Made, ObservedContainer
from krater.model.member import Role
from krater.model.order import ALIVE, LOST, NOW, TO_RUN, Crew, Turn, is_lost, is_restart_due
from krater.model.workload import ContainerSpec, Desired, Intent

OVER = "The ordinary containers of the capsule have ended."
_MOST_DOUBLINGS = 32
_WAY_OUT = "Start or rebuild it to have it made anew from its image, or delete it."
_WAY_OUT_OF_MEMBERS = "Start it to have it made anew from its image, or delete the capsule."


@dataclass(frozen=True, slots=True)
class ObservedWorkload:
    """What the engine, the network and the volumes have of one workload. `sandbox` is its path.

    `mounts` are the volumes and files that are at their paths.
    """

    sandbox: str | None = None
    ports: frozenset[str] = frozenset()
    containers: Mapping[str, ObservedContainer] = field(default_factory=dict)
    mounts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds before a restart: `base`, doubling to `cap`; anew after a process ran for `reset`."""

    base: float = 1.0
    cap: float = 300.0
    reset: float = 600.0


@dataclass(frozen=True, slots=True)
class Memory:
    """What the world does not tell and a crash may forget.

    `failure` is a permanent reason met while working on this intent, `failed` the container it is about. `calm` is, by
    container, the attempt after which its back-off began anew; when forgotten, one restart waits longer than it had to.
    `made` are the containers that were here, of which the controller remembers what we forget; `swept` are lost ones of
    which the rest was removed.
    """

    failure: str | None = None
    failed: str | None = None
    calm: Mapping[str, int] = field(default_factory=dict)
    made: Mapping[str, Made] = field(default_factory=dict)
    swept: frozenset[str] = frozenset()


@dataclass(slots=True)
class Course:
    """What becomes of one container. `busy` says that it runs afterwards, or waits to.

    `queues` says that it waits for others, which come so far by themselves. `failed` is the container that the
    `failure` is about.
    """

    spec: ContainerSpec
    intent: Intent
    turn: Turn = NOW
    stop: bool = False
    reason: str | None = None
    remove: bool = False
    create: bool = False
    update: bool = False
    start: Start | None = None
    freeze: Pause | Resume | None = None
    busy: bool = False
    queues: bool = False
    wait: float | None = None
    failure: str | None = None
    failed: str | None = None
    calm: int = 0

    def fail(self, failure: str, failed: str | None) -> None:
        """Nothing comes of it, for good."""
        self.failure, self.failed = failure, failed

    def begin(self, run: int, attempt: int) -> None:
        """A process, now."""
        self.start, self.busy = Start(self.spec.id, run, attempt), True
        self.freeze = Pause(self.spec.id) if self.intent.desired is Desired.PAUSED else None

    def run_anew(self, attempt: int = 0) -> None:
        """A process for the run that is asked for, in its turn."""
        if self.turn.doom is not None:
            self.fail(self.turn.doom, self.turn.culprit)
        elif self.turn.is_here:
            self.begin(self.intent.run, attempt)
        else:
            self.busy = self.queues = not self.turn.is_halted

    def keep_running(self, seen: ObservedContainer) -> None:
        """The process it has. Should it have been asked to end, before its user thought better of it, that is void."""
        self.busy = True
        if self.intent.desired is Desired.PAUSED and (seen.state is ContainerState.RUNNING or seen.is_ending):
            self.freeze = Pause(seen.id)
        elif self.intent.desired is Desired.RUNNING and (seen.state is ContainerState.PAUSED or seen.is_ending):
            self.freeze = Resume(seen.id)


def courses(
    assignment: Assignment, seen: ObservedWorkload, now: datetime, backoff: Backoff, memory: Memory
) -> list[Course]:
    """Every container in its turn. Sidecars have had theirs when the ordinary ones have ended."""
    crew = Crew.of(assignment, seen.containers, memory.made)
    turns = crew.turns()
    is_over = crew.is_over(turns)
    chart = _Chart(assignment, crew.missing(), seen, now, backoff, memory)
    for spec in assignment.containers:
        course = Course(spec, assignment.intent.of(spec.id), turns[spec.id])
        if is_over and spec.role is Role.SIDECAR:
            course.intent, course.reason = replace(course.intent, desired=Desired.STOPPED), OVER
        chart.enter(course)
    return chart.courses


@dataclass(slots=True)
class _Chart:
    """The courses found so far, and all that the next one depends on."""

    assignment: Assignment
    missing: frozenset[str]
    world: ObservedWorkload
    now: datetime
    backoff: Backoff
    memory: Memory
    courses: list[Course] = field(default_factory=list)

    def enter(self, course: Course) -> None:
        """One container. After a failure nothing is begun any more; what others have begun goes on."""
        self.courses.append(course)
        spec, intent, memory = course.spec, course.intent, self.memory
        seen = self.world.containers.get(spec.id)
        alive = seen is not None and seen.state in ALIVE
        course.calm = memory.calm.get(spec.id, 0) if seen is not None and seen.run >= intent.run else 0
        if memory.failure is not None and (memory.failed in (None, spec.id) or not _has_begun(seen, intent)):
            course.busy = alive
            return
        made = memory.made.get(spec.id)
        if seen is None and made is not None and is_lost(made, self.assignment.intent):
            self._after_loss(course)
        elif seen is None or seen.rebuild < intent.rebuild:
            course.stop, course.remove, course.create = alive, seen is not None, True
            if intent.desired in TO_RUN:
                course.run_anew()
        else:
            course.update = _has_other_limits(spec, seen)
            self._go_on(course, seen)

    def _go_on(self, course: Course, seen: ObservedContainer) -> None:
        """One that is here, with the root filesystem it should have."""
        intent, alive = course.intent, seen.state in ALIVE
        if intent.desired not in TO_RUN:
            course.stop = alive
        elif seen.run < intent.run or seen.state is ContainerState.CREATED:
            course.stop = alive
            course.run_anew(seen.attempt if seen.run >= intent.run else 0)
        elif (reason := reason_to_end(self.assignment, seen)) is not None:
            course.stop, course.reason, course.busy = True, reason, True
        elif alive:
            course.keep_running(seen)
        else:
            self._after_exit(course, seen)

    def _after_exit(self, course: Course, seen: ObservedContainer) -> None:
        """The process that should run has ended: a start that failed stays failed, else the restart policy decides.

        What it comes after may have ended too, as with its machine: then that begins first. It is not waited for long,
        as when it is ill or always ends: this one was begun in its turn already.
        """
        if seen.error is not None:
            course.fail(seen.error, seen.id)
            return
        if not _is_restart_due(self.assignment, seen):
            return
        if _ran_long(seen, self.backoff):
            course.calm = seen.attempt
        left = _seconds_left(seen, self.now, restart_delay(seen.attempt - course.calm, self.backoff))
        starting = {other.spec.id for other in self.courses if other.start is not None}
        if left > 0:
            course.wait, course.busy = left, True
        elif course.turn.is_near or starting & course.turn.after:
            course.busy = course.queues = True
        else:
            course.begin(seen.run, seen.attempt + 1)

    def _after_loss(self, course: Course) -> None:
        """It was here and is not: made anew where that was asked for beforehand. What is left of it goes either way."""
        spec = course.spec
        if spec.id not in self.missing:
            course.remove = course.create = True
            if course.intent.desired in TO_RUN:
                course.run_anew()
            return
        course.remove = spec.id not in self.memory.swept
        ended = " Its process had ended before, so it was not made anew." if self.assignment.auto_heal else ""
        way_out = _WAY_OUT if self.assignment.whole is None else _WAY_OUT_OF_MEMBERS
        course.fail(f"{LOST}{ended} {way_out}", spec.id)


def reason_to_end(assignment: Assignment, seen: ObservedContainer) -> str | None:
    """Why a process that runs as asked is ended all the same, to be started again: None when it is not.

    One that is not going to be started again is never ended: an ill process may still be of use.
    """
    if seen.state is not ContainerState.RUNNING or assignment.intent.of(seen.id).desired is not Desired.RUNNING:
        return None
    if seen.cut_off is not None:  # we were about to
        return seen.cut_off
    health = seen.health
    if health is None or health.state is not HealthState.UNHEALTHY:
        return None
    is_due = _is_restart_due(assignment, replace(seen, exit_code=1, cut_off=health.complaint))
    return health.complaint if is_due else None


def made_of(assignment: Assignment, seen: ObservedContainer) -> Made:
    """What is to be remembered of a container, should it vanish."""
    is_over = seen.state is ContainerState.EXITED and (seen.error is not None or not _is_restart_due(assignment, seen))
    return Made(seen.id, seen.rebuild, seen.run, is_over)


def restart_delay(restarts: int, backoff: Backoff) -> float:
    """Seconds between an end and the start after it, when there were `restarts` in a row before."""
    return min(backoff.cap, backoff.base * 2.0 ** min(max(restarts, 0), _MOST_DOUBLINGS))


def _has_begun(seen: ObservedContainer | None, intent: Intent) -> bool:
    """Whether there was a process for what is asked now."""
    if seen is None or seen.state is ContainerState.CREATED:
        return False
    return seen.run >= intent.run and seen.rebuild >= intent.rebuild


def _has_other_limits(spec: ContainerSpec, seen: ObservedContainer) -> bool:
    other_cpu = seen.cpu is not None and abs(seen.cpu - spec.limit.cpu) > 1e-6
    return other_cpu or (seen.memory is not None and seen.memory != spec.limit.memory)


def _is_restart_due(assignment: Assignment, seen: ObservedContainer) -> bool:
    return is_restart_due(assignment.restart_of(seen.id), seen, auto_heal=assignment.auto_heal)


def _ran_long(seen: ObservedContainer, backoff: Backoff) -> bool:
    if seen.started_at is None or seen.finished_at is None:
        return False
    return (seen.finished_at - seen.started_at).total_seconds() >= backoff.reset


def _seconds_left(seen: ObservedContainer, now: datetime, delay: float) -> float:
    """Counted from the end of the process, so that it survives a crash; never more than `delay` if clocks jump."""
    if seen.finished_at is None:
        return 0.0
    return min(delay, delay - (now - seen.finished_at).total_seconds())
