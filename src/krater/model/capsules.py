"""The words for capsules and their members: a lone container's, and what comes of being one of several. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime

from krater.model.assignment import ContainerState, Observed, ObservedContainer, Placement
from krater.model.member import Role
from krater.model.order import ALIVE, TO_RUN, Crew, Turn, ended_well
from krater.model.status import (
    CREATED,
    CREATING,
    DELETING,
    ERROR,
    OUT_OF_MEMORY,
    PAUSED,
    REBUILDING,
    RESTARTING,
    RUNNING,
    STOPPED,
    UNKNOWN,
    Status,
    derive_status,
)
from krater.model.workload import ContainerSpec, Desired, Intent, WorkloadSpec

_NOT_STARTED = "Not started: "
_HELD_UP = "Waits for "
_OUT_OF_ALL_MEMORY = "Killed by the kernel: all members together used more memory than the limit of their capsule."


@dataclass(frozen=True, slots=True)
class CapsuleStatus:
    """Of the whole, and by container of each member."""

    whole: Status
    members: dict[str, Status]


@dataclass(frozen=True, slots=True)
class Situation:
    """All that the words for a capsule depend on; the fields are those of `derive_status`."""

    spec: WorkloadSpec
    intent: Intent
    placement: Placement
    observed: Observed
    node_alive: bool
    now: datetime
    removing: bool = False

    @property
    def is_current(self) -> bool:
        """Whether the node's last report is about what is wanted now."""
        return self.observed.generation == self.intent.generation

    @property
    def seen(self) -> dict[str, ObservedContainer]:
        """What is seen of each container."""
        return {one.id: one for one in self.observed.containers}

    @property
    def hold_up(self) -> str | None:
        """What is the trouble with one member, with its name: whoever has not begun waits for that."""
        trouble, failed = self.observed.trouble, self.observed.failed
        is_of_one = trouble is not None and any(one.id == failed for one in self.spec.containers)
        return _named(self.spec, failed, trouble) if is_of_one else None


def derive_capsule_status(situation: Situation) -> CapsuleStatus:
    """The status of a capsule, with those of its members."""
    spec = situation.spec
    crew = Crew.stored(spec, situation.intent, situation.observed)
    turns = crew.turns()
    is_over = crew.is_over(turns)
    members = {one.id: _member(situation, crew, one, turns[one.id], is_over=is_over) for one in spec.containers}
    return CapsuleStatus(_whole(situation, members, is_over=is_over), members)


def _member(situation: Situation, crew: Crew, spec: ContainerSpec, turn: Turn, *, is_over: bool) -> Status:
    """As a lone container's, but for what the others mean for it."""
    observed, seen, intent = situation.observed, crew.seen.get(spec.id), situation.intent.of(spec.id)
    is_begun = seen is not None and seen.state is not ContainerState.CREATED and seen.run >= intent.run
    if is_over and is_begun and spec.role is Role.SIDECAR:
        intent = replace(intent, desired=Desired.STOPPED)
    waits = turn.waits
    if observed.failed not in (None, spec.id):
        waits = waits if situation.hold_up is None else f"{_HELD_UP}{situation.hold_up}"
        observed = replace(observed, trouble=None)
    has_ended = is_begun and seen is not None and seen.state is ContainerState.EXITED
    if has_ended and seen is not None and not crew.comes_back(spec, seen):
        observed = _settled(observed, intent)
        if ended_well(seen):  # a failure that is about it is that of whoever waited for something else
            observed = replace(observed, failure=None)
    status = derive_status(
        intent,
        situation.placement,
        observed,
        container=spec.id,
        node_alive=situation.node_alive,
        now=situation.now,
        removing=situation.removing,
    )
    if status.reason == OUT_OF_MEMORY and not spec.limit.memory:  # it has none of its own to go beyond
        status = replace(status, reason=_OUT_OF_ALL_MEMORY)
    if is_begun or intent.desired not in TO_RUN or status.word in (DELETING, UNKNOWN, ERROR):
        return status
    if turn.doom is not None:
        return replace(status, word=ERROR, task=None, reason=f"{_NOT_STARTED}{turn.doom}")
    if situation.is_current and observed.settled and observed.failure is not None:
        return replace(status, word=ERROR, task=None, reason=f"{_NOT_STARTED}{_failure(situation)}")
    return replace(status, reason=status.reason or waits)


def _settled(observed: Observed, intent: Intent) -> Observed:
    """As it is for one that has nothing to do, whatever was asked of others since."""
    failure = observed.failure if observed.generation == intent.generation else None
    return replace(observed, generation=intent.generation, settled=True, failure=failure)


def _whole(situation: Situation, members: dict[str, Status], *, is_over: bool) -> Status:
    spec, observed, placement = situation.spec, situation.observed, situation.placement
    first = members[spec.containers[0].id]
    if first.word in (DELETING, UNKNOWN):  # of these, all members are
        is_on_its_way = first.word == DELETING and first.reason is None
        return replace(first, reason=_who_ends(situation)) if is_on_its_way else first
    if situation.is_current and observed.failure is not None:
        return Status(ERROR, None, _failure(situation))
    if placement.node is None:
        return first
    if situation.intent.desired not in TO_RUN:
        return _at_rest(situation, members)
    return _in_action(situation, members, is_over=is_over)


def _failure(situation: Situation) -> str:
    """What went wrong for good, with the name of the member it is about."""
    return _named(situation.spec, situation.observed.failed, situation.observed.failure)


def _named(spec: WorkloadSpec, container: str | None, reason: str | None) -> str:
    """A reason with the name of the member it is about, unless it begins with that."""
    name, words = next((c.name for c in spec.containers if c.id == container), None), reason or ""
    is_told = name is None or words.startswith((f"{name} ", f"init container {name} "))
    return words if is_told else f"{name}: {words}"


def _at_rest(situation: Situation, members: dict[str, Status]) -> Status:
    """One that shall not run."""
    words = {status.word for status in members.values()}
    if RUNNING in words or PAUSED in words:
        task = "container_stopping" if situation.intent.grace > 0 else "container_killing"
        return Status(RUNNING, task, _who_ends(situation))
    for spec in situation.spec.containers:
        if members[spec.id].word in (CREATING, REBUILDING):
            return _told_of(situation, spec, members[spec.id])
    return Status(CREATED if situation.intent.desired is Desired.CREATED else STOPPED)


def _who_ends(situation: Situation) -> str | None:
    """Whose processes have still their time to end, and how much that is: it may be hours."""
    seen, grace = situation.seen, situation.intent.grace
    names = [spec.name for spec in situation.spec.containers if spec.id in seen and seen[spec.id].state in ALIVE]
    if not names or grace <= 0:
        return None
    who = f"each has {grace:g} seconds" if len(names) > 1 else f"it has {grace:g} seconds"
    return f"Waits for {', '.join(names)} to end; {who} at most."


def _told_of(situation: Situation, spec: ContainerSpec, status: Status) -> Status:
    """The status of a member as that of the whole: with its name, unless it tells of another one."""
    reason = status.reason
    if reason is not None and reason.startswith(_NOT_STARTED):
        reason = reason.removeprefix(_NOT_STARTED)
    elif reason == f"{_HELD_UP}{situation.hold_up}":
        reason = situation.hold_up
    elif reason is not None:
        reason = f"{spec.name}: {reason}"
    return Status(status.word, status.task, reason)


def _in_action(situation: Situation, members: dict[str, Status], *, is_over: bool) -> Status:
    """One that shall run: what its ordinary containers and sidecars do."""
    named = [(spec, members[spec.id]) for spec in situation.spec.containers]
    mains = [(spec, status) for spec, status in named if spec.role is Role.MAIN]
    for word in (ERROR, REBUILDING):
        for spec, status in named:
            if status.word == word:
                return _told_of(situation, spec, status)
    if all(status.word == STOPPED and status.task is None for _, status in mains):
        return _ended(situation, named, is_over=is_over)
    for spec, status in named:
        if status.word == RESTARTING or (status.word == STOPPED and status.task is not None):
            return replace(_told_of(situation, spec, status), word=RESTARTING)
    for spec, status in named:
        is_ready = status.word == STOPPED if spec.role is Role.INIT else status.word not in (CREATED, CREATING)
        if not is_ready:
            told = _told_of(situation, spec, replace(status, reason=status.reason or f"{status.word}."))
            return replace(told, word=CREATING, task=situation.observed.step or status.task)
    if all(status.word == PAUSED for _, status in mains):
        return Status(PAUSED)
    return Status(RUNNING, None, _remark(situation, mains))


def _ended(situation: Situation, named: list[tuple[ContainerSpec, Status]], *, is_over: bool) -> Status:
    """All ordinary containers have ended: well, if all have. Sidecars end after them."""
    for spec, status in named:
        one, intent = situation.seen.get(spec.id), situation.intent.of(spec.id)
        is_asked = spec.role is not Role.MAIN or intent.desired not in TO_RUN
        if is_asked or one is None or one.run < intent.run:
            continue
        if one.exit_code != 0 or one.cut_off is not None:
            return Status(ERROR, None, f"{spec.name}: {status.reason or 'Its process ended, and nobody knows how.'}")
    if any(spec.role is Role.SIDECAR and status.word in (RUNNING, PAUSED) for spec, status in named):
        return Status(RUNNING, "container_stopping" if is_over else None)
    return Status(STOPPED)


def _remark(situation: Situation, mains: list[tuple[ContainerSpec, Status]]) -> str | None:
    """What there is to say of one that runs: who has ended, is ill, or not ready."""
    for spec, status in mains:
        if status.reason is not None:
            return f"{spec.name}: {status.reason}"
        one = situation.seen.get(spec.id)
        if one is not None and one.ready is False:
            return f"{spec.name}: Not ready."
    return None
