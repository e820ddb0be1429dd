"""What to do next for one workload. Pure: the same answer after a crash as before it, and the same for all engines.

`plan` compares the assignment with what was observed and answers with the steps between the two, in order. No steps
means nothing to do now; `settled` means that nothing is left to do either, not even a restart that waits its time.
What becomes of each container is found in `courses.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from krater.agent.courses import (
    OVER,
    Backoff,
    Course,
    Memory,
    ObservedWorkload,
    courses,
    made_of,
    reason_to_end,
    restart_delay,
)
from krater.agent.steps import (
    ConnectVolume,
    Create,
    Disconnect,
    EnsureImage,
    MakeSandbox,
    PlaceFiles,
    Plug,
    Remove,
    RemoveSandbox,
    Step,
    Stop,
    TellNames,
    Unplug,
    Update,
)
from krater.model.assignment import Assignment
from krater.model.order import ALIVE
from krater.model.workload import ContainerSpec, Desired, PullPolicy

__all__ = ["Backoff", "Memory", "ObservedWorkload", "Plan", "made_of", "plan", "reason_to_end", "restart_delay"]

_GRACE_OF_THE_ILL = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """`wait` is the number of seconds after which to look again; `calm` is to be remembered for the next plan.

    `failed` is the container that `failure` is about, None for all. `stops` are all that are due, also those that come
    after these steps.
    """

    steps: tuple[Step, ...] = ()
    stops: tuple[Stop, ...] = ()
    settled: bool = False
    gone: bool = False
    wait: float | None = None
    failure: str | None = None
    failed: str | None = None
    calm: Mapping[str, int] = field(default_factory=dict)


def plan(
    assignment: Assignment | None, seen: ObservedWorkload, now: datetime, backoff: Backoff, memory: Memory
) -> Plan:
    """The steps from what is to what should be. Nothing assigned means that nothing should be."""
    if assignment is None or assignment.intent.desired is Desired.REMOVED:
        return _plan_removal(assignment, seen, memory)
    charted = courses(assignment, seen, now, backoff, memory)
    steps = _steps(assignment, seen, charted)
    waits = [c.wait for c in charted if c.wait is not None]
    failure, failed = next(((c.failure, c.failed) for c in charted if c.failure), (None, None))
    if memory.failure is not None:
        failure, failed = memory.failure, memory.failed
    return Plan(
        steps=tuple(steps),
        stops=tuple(_stop_of(c) for c in charted if c.stop),
        settled=not steps and not waits and not any(c.queues for c in charted),
        wait=min(waits, default=None),
        failure=failure,
        failed=failed,
        calm={c.spec.id: c.calm for c in charted if c.calm},
    )


def _steps(assignment: Assignment, seen: ObservedWorkload, charted: list[Course]) -> list[Step]:
    """All that is due, in order: an image that cannot be had must cost nobody a container, so those come first."""
    steps: list[Step] = []
    if early := _before_slow_stops(charted):
        return [*_network_steps(assignment, seen, charted), *_mount_steps(assignment, seen, charted), *early]
    steps += [_image_of(c.spec) for c in charted if c.remove and c.create]
    steps += [_stop_of(c) for c in reversed(charted) if c.stop]
    steps += [Remove(c.spec.id) for c in reversed(charted) if c.remove]
    steps += [Remove(stray) for stray in seen.containers if stray not in {c.spec.id for c in charted}]
    for course in charted:
        if course.create:
            steps += [] if course.remove else [_image_of(course.spec)]
            steps.append(Create(course.spec, assignment.intent.rebuild))
    steps += _network_steps(assignment, seen, charted)
    steps += _mount_steps(assignment, seen, charted)
    steps += [Update(c.spec.id, c.spec.limit.cpu, c.spec.limit.memory) for c in charted if c.update]
    steps += [course.start for course in charted if course.start is not None]
    steps += [course.freeze for course in charted if course.freeze is not None]
    return steps if any(c.busy for c in charted) else [*steps, *_rest(seen)]


def _before_slow_stops(charted: list[Course]) -> list[Step]:
    """A stop may take hours: what has no part in it starts before, and the rest is planned after that."""
    slow = [c for c in charted if c.stop and c.start is None and _stop_of(c).grace > 0]
    later = {name for c in slow for name in c.turn.after}
    steps: list[Step] = []
    for course in charted if slow else []:
        start = course.start
        if start is not None and not course.create and (start.attempt > 0 or start.container not in later):
            steps += [_stop_of(course), start] if course.stop else [start]
    return steps


def _plan_removal(assignment: Assignment | None, seen: ObservedWorkload, memory: Memory) -> Plan:
    """Everything goes: the processes gently if there is a grace, and the network after them.

    Of a container that was here and is not seen, a process may be left: whoever wiped its files did not end it.
    """
    grace = 0.0 if assignment is None else assignment.intent.grace
    order = {} if assignment is None else {spec.id: place for place, spec in enumerate(assignment.containers)}
    last_first = sorted(seen.containers.values(), key=lambda c: order.get(c.id, len(order)), reverse=True)
    stops = tuple(Stop(c.id, grace) for c in last_first if grace > 0 and c.state in ALIVE)
    unseen = [id for id in memory.made if id not in seen.containers and id not in memory.swept]
    steps = (*stops, *(Remove(id) for id in (*(c.id for c in last_first), *unseen)), *_rest(seen))
    return Plan(steps=steps, stops=stops, settled=not steps, gone=not steps)


def _network_steps(assignment: Assignment, seen: ObservedWorkload, charted: list[Course]) -> list[Step]:
    """All cards are in before the first instruction runs; those that came or went since are put in and taken out.

    A namespace that lost its name gets it back by a process in it that stays: who starts later has to be in the same.
    While there was no namespace, cards may have come and gone that nobody was told of.
    """
    inside = _process_inside(seen, charted) if seen.sandbox is None else None
    starting = any(c.start for c in charted)
    if not any(c.busy for c in charted) or (seen.sandbox is None and not starting and inside is None):
        return []
    wanted = {nic.port for nic in assignment.nics}
    ports = seen.ports if seen.sandbox is not None else frozenset()
    made: list[Step] = [MakeSandbox(inside)] if seen.sandbox is None else []
    changes: list[Step] = [Unplug(port) for port in sorted(ports - wanted)]
    changes += [Plug(nic) for nic in assignment.nics if nic.port not in ports]
    told: list[Step] = [TellNames(c.spec.id) for c in charted if not c.create and c.spec.id in seen.containers]
    return made + (told if made or changes else []) + changes


def _process_inside(seen: ObservedWorkload, charted: list[Course]) -> int | None:
    """A process of the workload that is not about to end."""
    staying = [seen.containers[c.spec.id] for c in charted if c.spec.id in seen.containers and not c.stop]
    return next((one.pid for one in staying if one.state in ALIVE and one.pid is not None), None)


def _mount_steps(assignment: Assignment, seen: ObservedWorkload, charted: list[Course]) -> list[Step]:
    """All that is mounted is there before a process starts; what runs keeps what it has, whatever becomes of the path.

    Whoever waits for a restart keeps its volumes; they are let go when nothing runs or waits to.
    """
    if not any(c.start for c in charted):
        return []
    made: list[Step] = [ConnectVolume(v) for v in assignment.volumes if v.volume not in seen.mounts]
    missing = tuple(file for file in assignment.files if file not in seen.mounts)
    return [*made, PlaceFiles(missing)] if missing else made


def _rest(seen: ObservedWorkload) -> list[Step]:
    """What nothing that runs needs any more."""
    network: list[Step] = [RemoveSandbox()] if seen.sandbox is not None or seen.ports else []
    return network + [Disconnect(mount) for mount in sorted(seen.mounts)]


def _stop_of(course: Course) -> Stop:
    if course.reason is None or course.reason == OVER:
        return Stop(course.spec.id, course.intent.grace, course.reason)
    return Stop(course.spec.id, _GRACE_OF_THE_ILL, course.reason)


def _image_of(spec: ContainerSpec) -> EnsureImage:
    return EnsureImage(spec.id, spec.node_image, pull_policy(spec))


def pull_policy(spec: ContainerSpec) -> PullPolicy:
    """An image that is here is used, unless the user said otherwise: imported images are in no registry."""
    if spec.stored_image is not None:  # a project's own is in none either
        return PullPolicy.NEVER
    return spec.pull_policy or PullPolicy.IF_NOT_PRESENT
