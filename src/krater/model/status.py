"""The words the API shows for a workload. Derived whenever asked, never stored. Pure."""

from dataclasses import dataclass
from datetime import datetime
from signal import Signals

from krater.model.assignment import ContainerState, Health, HealthState, Observed, ObservedContainer, Placement
from krater.model.workload import Desired, Intent

CREATING, CREATED, RUNNING, PAUSED = "Creating", "Created", "Running", "Paused"
STOPPED, ERROR, UNKNOWN, DELETING = "Stopped", "Error", "Unknown", "Deleting"
RESTARTING, REBUILDING = "Restarting", "Rebuilding"

OUT_OF_MEMORY = "Killed by the kernel: the container used more memory than its limit."

_HEALTH_WORDS = {  # as docker has them
    HealthState.STARTING: "health: starting",
    HealthState.HEALTHY: "healthy",
    HealthState.UNHEALTHY: "unhealthy",
}
_STATE_WORDS = {
    ContainerState.CREATED: CREATED,
    ContainerState.RUNNING: RUNNING,
    ContainerState.PAUSED: PAUSED,
    ContainerState.EXITED: STOPPED,
}


@dataclass(frozen=True, slots=True)
class Status:
    """`word` is the API's status; `task` its task_state; `reason` and `detail` are for people."""

    word: str
    task: str | None = None
    reason: str | None = None
    detail: str | None = None


def derive_status(
    intent: Intent,
    placement: Placement,
    observed: Observed,
    *,
    container: str,
    node_alive: bool,
    now: datetime,
    removing: bool = False,
) -> Status:
    """The status of one container of a workload.

    `removing` is true when the controller retires the workload; `node_alive` when its node reports.
    """
    seen = next((c for c in observed.containers if c.id == container), None)
    detail = _detail(seen, now)
    if intent.desired is Desired.REMOVED or removing:
        return Status(DELETING, "container_deleting", _waiting(placement, node_alive) or observed.trouble, detail)
    if placement.node is not None and not node_alive:
        return Status(UNKNOWN, None, _waiting(placement, node_alive), detail)
    current = observed.generation == intent.generation
    if current and observed.failure is not None and observed.failed in (None, container):
        return Status(ERROR, None, observed.failure, detail)
    refused = placement.refusal is not None and placement.generation == intent.generation
    if placement.node is None and refused:
        return Status(ERROR, None, placement.refusal, detail)
    if placement.node is None or seen is None:
        return Status(CREATING, observed.step or None, observed.trouble, detail)
    word, task = _progress(intent, seen, settled=current and observed.settled)
    return Status(word, task, _reason(intent, seen, observed) or (placement.refusal if refused else None), detail)


def _waiting(placement: Placement, node_alive: bool) -> str | None:
    if placement.node is not None and not node_alive:
        return "The node of this container does not report; what it does there is not known."
    return None


def _progress(intent: Intent, seen: ObservedContainer, *, settled: bool) -> tuple[str, str | None]:
    """The status word and task of a container that exists, by what is still to be done for it."""
    word = _STATE_WORDS[seen.state]
    alive = seen.state in (ContainerState.RUNNING, ContainerState.PAUSED)
    if seen.rebuild < intent.rebuild:
        return REBUILDING, "container_rebuilding"
    if settled:
        return word, None
    if intent.desired in (Desired.RUNNING, Desired.PAUSED):
        return _towards_running(intent, seen, word, alive=alive)
    if alive:
        return word, "container_stopping" if intent.grace > 0 else "container_killing"
    return word, None


def _towards_running(intent: Intent, seen: ObservedContainer, word: str, *, alive: bool) -> tuple[str, str | None]:
    """The same for one that should have a process."""
    if seen.run < intent.run:
        return (RESTARTING, "container_rebooting") if alive else (word, "container_starting")
    if intent.desired is Desired.PAUSED and seen.state is ContainerState.RUNNING:
        return word, "container_pausing"
    if intent.desired is Desired.RUNNING and seen.state is ContainerState.PAUSED:
        return word, "container_unpausing"
    return (RESTARTING if seen.state is ContainerState.EXITED else word), None


def _reason(intent: Intent, seen: ObservedContainer, observed: Observed) -> str | None:
    """Why it is as it is, for people: what went wrong, or how it ended when nobody asked for that."""
    if seen.error is not None:
        return seen.error
    if seen.state is not ContainerState.EXITED:
        return observed.trouble or seen.cut_off or _illness(seen.health) or seen.unready
    if seen.oom_killed:
        return OUT_OF_MEMORY
    asked_for = intent.desired in (Desired.STOPPED, Desired.CREATED)
    if seen.cut_off is not None and not asked_for:
        return observed.trouble or seen.cut_off
    return observed.trouble or (None if asked_for or not seen.exit_code else _ending(seen.exit_code))


def _illness(health: Health | None) -> str | None:
    """What the last check said, of a process that may be ill: nobody has to ask who is well."""
    return None if health is None or not health.failures else health.complaint


def _ending(code: int) -> str:
    """An exit code in words. Engines and shells tell of a signal as 128 more than its number."""
    try:
        name = Signals(code - 128).name
    except ValueError:
        return f"Its process ended by itself with exit code {code}."
    return f"Its process ended with exit code {code}, as {name} makes it end."


def _detail(seen: ObservedContainer | None, now: datetime) -> str | None:
    """Docker's words, which clients show: `Up 5 mins`, `Exited(0) 5 mins ago `."""
    if seen is None:
        return None
    if seen.state is ContainerState.CREATED:
        return "Created"
    if seen.state is ContainerState.EXITED:
        ago = f"{_span(now, seen.finished_at)} ago"
        if seen.error is not None:
            return f"Exited({_code(seen)}) {ago} (error)"
        return f"Exited({_code(seen)}) {ago} "
    up = f"Up {_span(now, seen.started_at)}"
    if seen.state is ContainerState.PAUSED:
        return f"{up} (paused)"
    return up if seen.health is None else f"{up} ({_HEALTH_WORDS[seen.health.state]})"


def _code(seen: ObservedContainer) -> str:
    return "unknown" if seen.exit_code is None else str(seen.exit_code)


def _span(now: datetime, then: datetime | None) -> str:
    seconds = 0 if then is None else max(0, int((now - then).total_seconds()))
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "mins")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"
