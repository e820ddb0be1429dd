"""What to do next for one workload. Pure: the same answer after a crash as before it, and the same for all engines.

`plan` compares the assignment with what was observed and answers with the steps between the two, in order. No steps
means nothing to do now; `settled` means that nothing is left to do either, not even a restart that waits its time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

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
)
from krater.model.assignment import Assignment, ContainerState, HealthState, Made, ObservedContainer
from krater.model.member import Role
from krater.model.order import Crew, Turn, is_restart_due
from krater.model.workload import ContainerSpec, Desired, Intent, PullPolicy

_ALIVE = frozenset({ContainerState.RUNNING, ContainerState.PAUSED})
_MOST_DOUBLINGS = 32
_GRACE_OF_THE_ILL = 10.0
_LOST = "The container is not on its node any more: its files there are gone."
_OVER = "The ordinary containers of the capsule have ended."
_WAY_OUT = "Start or rebuild it to have it made anew from its image, or delete it."


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


@dataclass(frozen=True, slots=True)
class Plan:
    """`wait` is the number of seconds after which to look again; `calm` is to be remembered for the next plan.

    `failed` is the container that `failure` is about, None for all.
    """

    steps: tuple[Step, ...] = ()
    settled: bool = False
    gone: bool = False
    wait: float | None = None
    failure: str | None = None
    failed: str | None = None
    calm: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Course:
    """What becomes of one container. `busy` says that it runs afterwards, or waits to; `queues`, for its turn."""

    spec: ContainerSpec
    intent: Intent
    turn: Turn
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


def plan(
    assignment: Assignment | None, seen: ObservedWorkload, now: datetime, backoff: Backoff, memory: Memory
) -> Plan:
    """The steps from what is to what should be. Nothing assigned means that nothing should be."""
    if assignment is None or assignment.intent.desired is Desired.REMOVED:
        return _plan_removal(assignment, seen)
    courses = _courses(assignment, seen, now, backoff, memory)
    busy, rebuild = any(c.busy for c in courses), assignment.intent.rebuild
    steps: list[Step] = []
    steps += [
        _image_of(c.spec) for c in courses if c.remove and c.create
    ]  # an image that cannot be had must cost nobody a container
    steps += [_stop_of(c) for c in reversed(courses) if c.stop]
    steps += [Remove(c.spec.id) for c in reversed(courses) if c.remove]
    steps += [Remove(stray) for stray in seen.containers if stray not in {c.spec.id for c in courses}]
    for course in courses:
        if course.create:
            steps += [] if course.remove else [_image_of(course.spec)]
            steps.append(Create(course.spec, rebuild))
    steps += _network_steps(assignment, seen, courses)
    steps += _mount_steps(assignment, seen, courses)
    steps += [Update(c.spec.id, c.spec.limit.cpu, c.spec.limit.memory) for c in courses if c.update]
    for course in courses:
        steps += [step for step in (course.start, course.freeze) if step is not None]
    if not busy:
        steps += [RemoveSandbox()] if _has_network(seen) else []
        steps += _disconnections(seen)
    waits = [c.wait for c in courses if c.wait is not None]
    failure, failed = next(((c.failure, c.failed) for c in courses if c.failure), (None, None))
    if memory.failure is not None:
        failure, failed = memory.failure, memory.failed
    return Plan(
        steps=tuple(steps),
        settled=not steps and not waits and not any(c.queues for c in courses),
        wait=min(waits, default=None),
        failure=failure,
        failed=failed,
        calm={c.spec.id: c.calm for c in courses if c.calm},
    )


def _courses(
    assignment: Assignment, seen: ObservedWorkload, now: datetime, backoff: Backoff, memory: Memory
) -> list[_Course]:
    """Every container in its turn. Sidecars have had theirs when the ordinary ones have ended."""
    crew = Crew(assignment.containers, assignment.intent, assignment.restart, assignment.auto_heal, seen.containers)
    turns, courses = crew.turns(), []
    is_over = crew.is_over(turns)
    for spec in assignment.containers:
        course = _Course(spec, assignment.intent.of(spec.id), turns[spec.id])
        if is_over and spec.role is Role.SIDECAR:
            course.intent, course.reason = replace(course.intent, desired=Desired.STOPPED), _OVER
        _chart(course, assignment, seen, now, backoff, memory)
        courses.append(course)
    return courses


def _plan_removal(assignment: Assignment | None, seen: ObservedWorkload) -> Plan:
    """Everything goes: the processes gently if there is a grace, and the network after them."""
    grace = 0.0 if assignment is None else assignment.intent.grace
    order = {} if assignment is None else {spec.id: place for place, spec in enumerate(assignment.containers)}
    last_first = sorted(seen.containers.values(), key=lambda c: order.get(c.id, len(order)), reverse=True)
    steps: list[Step] = []
    steps += [Stop(c.id, grace) for c in last_first if grace > 0 and c.state in _ALIVE]
    steps += [Remove(c.id) for c in last_first]
    if _has_network(seen):
        steps.append(RemoveSandbox())
    steps += _disconnections(seen)
    return Plan(steps=tuple(steps), settled=not steps, gone=not steps)


def _has_network(seen: ObservedWorkload) -> bool:
    return seen.sandbox is not None or bool(seen.ports)


def _network_steps(assignment: Assignment, seen: ObservedWorkload, courses: list[_Course]) -> list[Step]:
    """All cards are in before the first instruction runs; those that came or went since are put in and taken out.

    A process whose namespace lost its name keeps that namespace: nothing can be plugged into it, so nothing is tried.
    """
    starting = any(c.start for c in courses)
    if not any(c.busy for c in courses) or (seen.sandbox is None and not starting):
        return []
    wanted = {nic.port for nic in assignment.nics}
    ports = seen.ports if seen.sandbox is not None else frozenset()
    made: list[Step] = [MakeSandbox()] if seen.sandbox is None else []
    changes: list[Step] = [Unplug(port) for port in sorted(ports - wanted)]
    changes += [Plug(nic) for nic in assignment.nics if nic.port not in ports]
    told: list[Step] = [TellNames(c.spec.id) for c in courses if not c.create and c.spec.id in seen.containers]
    return made + (told if changes else []) + changes


def _mount_steps(assignment: Assignment, seen: ObservedWorkload, courses: list[_Course]) -> list[Step]:
    """All that is mounted is there before a process starts; what runs keeps what it has, whatever becomes of the path.

    Whoever waits for a restart keeps its volumes; they are let go when nothing runs or waits to.
    """
    if not any(c.start for c in courses):
        return []
    made: list[Step] = [ConnectVolume(v) for v in assignment.volumes if v.volume not in seen.mounts]
    missing = tuple(file for file in assignment.files if file not in seen.mounts)
    return [*made, PlaceFiles(missing)] if missing else made


def _disconnections(seen: ObservedWorkload) -> list[Step]:
    return [Disconnect(mount) for mount in sorted(seen.mounts)]


def _chart(
    course: _Course,
    assignment: Assignment,
    world: ObservedWorkload,
    now: datetime,
    backoff: Backoff,
    memory: Memory,
) -> None:
    """One container. After a failure nothing is begun any more: what runs goes on, what does not is left."""
    spec, intent = course.spec, course.intent
    seen = world.containers.get(spec.id)
    alive = seen is not None and seen.state in _ALIVE
    course.calm = memory.calm.get(spec.id, 0) if seen is not None and seen.run >= intent.run else 0
    if memory.failure is not None:
        course.busy = alive
        return
    made = memory.made.get(spec.id)
    if seen is None and made is not None and is_lost(made, assignment):
        _after_loss(course, made, assignment, swept=spec.id in memory.swept)
    elif seen is None or seen.rebuild < intent.rebuild:
        course.stop, course.remove, course.create = alive, seen is not None, True
        if intent.desired in (Desired.RUNNING, Desired.PAUSED):
            _run_anew(course)
    else:
        course.update = _has_other_limits(spec, seen)
        _go_on(course, seen, assignment, now, backoff)


def _go_on(course: _Course, seen: ObservedContainer, assignment: Assignment, now: datetime, backoff: Backoff) -> None:
    """One that is here, with the root filesystem it should have."""
    intent, alive = course.intent, seen.state in _ALIVE
    if intent.desired in (Desired.CREATED, Desired.STOPPED):
        course.stop = alive
    elif seen.run < intent.run or seen.state is ContainerState.CREATED:
        course.stop = alive
        _run_anew(course, seen.attempt if seen.run >= intent.run else 0)
    elif (reason := reason_to_end(assignment, seen)) is not None:
        course.stop, course.reason, course.busy = True, reason, True
    elif alive:
        _keep_running(course, seen, intent.desired)
    else:
        _after_exit(course, seen, assignment, now, backoff)


def _has_other_limits(spec: ContainerSpec, seen: ObservedContainer) -> bool:
    other_cpu = seen.cpu is not None and abs(seen.cpu - spec.limit.cpu) > 1e-6
    return other_cpu or (seen.memory is not None and seen.memory != spec.limit.memory)


def _run_anew(course: _Course, attempt: int = 0) -> None:
    """A process for the run that is asked for, in its turn."""
    turn, intent = course.turn, course.intent
    if turn.doom is not None:
        course.failure, course.failed = turn.doom, turn.culprit
        return
    course.busy, course.queues = True, not turn.is_here
    if turn.is_here:
        _start(course, intent.run, attempt)


def _start(course: _Course, run: int, attempt: int) -> None:
    course.start, course.busy = Start(course.spec.id, run, attempt), True
    course.freeze = Pause(course.spec.id) if course.intent.desired is Desired.PAUSED else None


def _keep_running(course: _Course, seen: ObservedContainer, desired: Desired) -> None:
    course.busy = True
    if desired is Desired.PAUSED and seen.state is ContainerState.RUNNING:
        course.freeze = Pause(seen.id)
    elif desired is Desired.RUNNING and seen.state is ContainerState.PAUSED:
        course.freeze = Resume(seen.id)


def _after_exit(
    course: _Course, seen: ObservedContainer, assignment: Assignment, now: datetime, backoff: Backoff
) -> None:
    """The process that should run has ended: a start that failed stays failed, else the restart policy decides."""
    if seen.error is not None:
        course.failure, course.failed = seen.error, seen.id
        return
    if not _is_restart_due(assignment, seen):
        return
    if _ran_long(seen, backoff):
        course.calm = seen.attempt
    left = _seconds_left(seen, now, restart_delay(seen.attempt - course.calm, backoff))
    if left > 0:
        course.wait, course.busy = left, True
    else:
        _start(course, seen.run, seen.attempt + 1)


def is_lost(made: Made, assignment: Assignment) -> bool:
    """Whether a container that is not here should be: nothing was asked since that makes it anew anyway."""
    intent = assignment.intent.of(made.id)
    return made.rebuild >= intent.rebuild and made.run >= intent.run


def _after_loss(course: _Course, made: Made, assignment: Assignment, *, swept: bool) -> None:
    """It was here and is not: made anew where that was asked for beforehand. What is left of it goes either way."""
    wants_process = course.intent.desired in (Desired.RUNNING, Desired.PAUSED)
    course.remove = not swept
    if not assignment.auto_heal:
        course.failure, course.failed = f"{_LOST} {_WAY_OUT}", made.id
    elif wants_process and made.is_over and course.spec.role is not Role.INIT:  # others wait for what that one does
        reason = f"{_LOST} Its process had ended before, so it was not made anew. {_WAY_OUT}"
        course.failure, course.failed = reason, made.id
    else:
        course.remove = course.create = True
        if wants_process:
            _run_anew(course)


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


def _is_restart_due(assignment: Assignment, seen: ObservedContainer) -> bool:
    return is_restart_due(assignment.restart_of(seen.id), seen, auto_heal=assignment.auto_heal)


def made_of(assignment: Assignment, seen: ObservedContainer) -> Made:
    """What is to be remembered of a container, should it vanish."""
    is_over = seen.state is ContainerState.EXITED and (seen.error is not None or not _is_restart_due(assignment, seen))
    return Made(seen.id, seen.rebuild, seen.run, is_over)


def restart_delay(restarts: int, backoff: Backoff) -> float:
    """Seconds between an end and the start after it, when there were `restarts` in a row before."""
    return min(backoff.cap, backoff.base * 2.0 ** min(max(restarts, 0), _MOST_DOUBLINGS))


def _ran_long(seen: ObservedContainer, backoff: Backoff) -> bool:
    if seen.started_at is None or seen.finished_at is None:
        return False
    return (seen.finished_at - seen.started_at).total_seconds() >= backoff.reset


def _seconds_left(seen: ObservedContainer, now: datetime, delay: float) -> float:
    """Counted from the end of the process, so that it survives a crash; never more than `delay` if clocks jump."""
    if seen.finished_at is None:
        return 0.0
    return min(delay, delay - (now - seen.finished_at).total_seconds())


def _stop_of(course: _Course) -> Stop:
    if course.reason is None or course.reason == _OVER:
        return Stop(course.spec.id, course.intent.grace, course.reason)
    return Stop(course.spec.id, _GRACE_OF_THE_ILL, course.reason)


def _image_of(spec: ContainerSpec) -> EnsureImage:
    return EnsureImage(spec.id, spec.node_image, pull_policy(spec))


def pull_policy(spec: ContainerSpec) -> PullPolicy:
    """An image that is here is used, unless the user said otherwise: imported images are in no registry."""
    if spec.stored_image is not None:  # a project's own is in none either
        return PullPolicy.NEVER
    return spec.pull_policy or PullPolicy.IF_NOT_PRESENT
