"""Changes of a workload's intent. Each is whole or nothing: the state check, the change, its line in the history.

Nothing is done here but writing down what is wanted; the controller and the node do it. The caller hints the
controller after the transaction, never within it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from krater.api.commands.members import can_be_killed, check_member, wish
from krater.api.nodes import NodeTable
from krater.api.policies import Policies
from krater.api.rendering import situation_of, status_of
from krater.api.specs import of_own_image, of_registry_image
from krater.api.subjects import Subject, look_up
from krater.cloud.interfaces import Allocations, Caller, StoredImage
from krater.errors import Conflict, Invalid, NotFound
from krater.model.capsules import derive_capsule_status
from krater.model.operations import is_allowed
from krater.model.quota import Limits, Usage
from krater.model.status import RUNNING, Status
from krater.model.workload import Desired, Intent, Resources, WorkloadSpec
from krater.store.interfaces import Action, Scope, Tx, Workload

DEFAULT_GRACE = 10.0


@dataclass(frozen=True, slots=True)
class Asking:
    """A caller's request, as far as a command needs to know it."""

    caller: Caller
    reach: Scope
    request_id: str
    at: datetime
    nodes: NodeTable
    policies: Policies

    def require(self, rule: str, workload: Workload) -> None:
        """Forbidden unless policy lets the caller do this to the workload."""
        self.policies.require(self.caller, rule, workload.project_id, workload.user_id)

    def status(self, subject: Subject) -> Status:
        """The container's state in words, now."""
        if subject.is_member:
            situation = situation_of(subject.workload, self.nodes, self.at)
            return derive_capsule_status(situation).members[subject.id]
        return status_of(subject.workload, self.nodes, self.at)


def find(tx: Tx, asking: Asking, ident: str, rule: str) -> Subject:
    """The container the caller means, if they may do this to it. One they may not see does not exist."""
    try:
        subject = look_up(tx, asking.reach, ident)
    except NotFound:
        raise NotFound(f"Container {ident[:255]} could not be found.", code="container-not-found") from None
    asking.require(rule, subject.workload)
    return subject


def find_for(tx: Tx, asking: Asking, ident: str, operation: str) -> Subject:
    """The container, if the caller may do this to it and it is not left to its capsule. Conflict."""
    subject = find(tx, asking, ident, f"container:{operation}")
    if subject.is_member:
        check_member(subject, operation)
    return subject


def check_state(asking: Asking, subject: Subject, operation: str) -> str:
    """The status word, if the table of operations allows this one in it. Conflict."""
    word = asking.status(subject).word
    if not is_allowed(operation, word):
        raise Conflict(f"Cannot {operation} container {subject.id} in {word} state.", code="invalid-state-exception")
    return word


def find_ready(tx: Tx, asking: Asking, ident: str, operation: str) -> Subject:
    """The same, if its state allows it as well."""
    subject = find_for(tx, asking, ident, operation)
    check_state(asking, subject, operation)
    return subject


def create(
    tx: Tx, asking: Asking, workload: Workload, limits: Limits, hold: Callable[[Tx], None] | None = None
) -> Workload:
    """Store a new one and charge the project for it; `hold` takes what it holds beside that. OverQuota."""
    project = workload.project_id
    usage = Usage.of(len(workload.spec.containers), workload.spec.resources)
    tx.quotas.charge(project, usage, tx.quotas.limits(project, limits))
    stored = tx.workloads.add(workload)
    for registry in {c.registry for c in workload.spec.containers if c.registry is not None}:
        tx.registries.get(Scope(project), registry)  # it may have been deleted since it was looked up
        tx.registries.use(registry, workload.id)
    if hold is not None:
        hold(tx)
    _note(tx, asking, stored, "create")
    return stored


def start(tx: Tx, asking: Asking, ident: str) -> Workload:
    """A process for a new value of `run`."""
    subject = find_ready(tx, asking, ident, "start")
    return _store(tx, asking, subject, "start", wish(subject, Desired.RUNNING, again=True))


def stop(tx: Tx, asking: Asking, ident: str, grace: float | None) -> Workload:
    """No process, after asking it to end. `grace` None: what a capsule's template says, or the usual."""
    subject = find_ready(tx, asking, ident, "stop")
    return _store(tx, asking, subject, "stop", wish(subject, Desired.STOPPED, grace=_grace(subject, grace)))


def kill(tx: Tx, asking: Asking, ident: str) -> Workload | None:
    """No process, without asking. None when that is not the container's own affair, and the signal is all there is."""
    subject = find_ready(tx, asking, ident, "kill")
    if subject.is_member and not can_be_killed(subject):
        return None
    return _store(tx, asking, subject, "kill", wish(subject, Desired.STOPPED, grace=0.0))


def reboot(tx: Tx, asking: Asking, ident: str, grace: float | None) -> Workload:
    """Another process, whether there is one or not."""
    subject = find_ready(tx, asking, ident, "reboot")
    intent = wish(subject, Desired.RUNNING, again=True, grace=_grace(subject, grace))
    return _store(tx, asking, subject, "reboot", intent)


def rebuild(tx: Tx, asking: Asking, ident: str, image: str | None, own: StoredImage | None = None) -> Workload:
    """Another root filesystem, of another image if one is named; running again only if it was running."""
    subject = find_for(tx, asking, ident, "rebuild")
    was_running = check_state(asking, subject, "rebuild") == RUNNING
    workload = subject.workload
    intent, spec = workload.intent, workload.spec
    if image is not None:
        container = of_registry_image(spec.containers[0], image)
        if own is not None:
            container = of_own_image(container, own)
            if workload.placement.node not in (None, own.node):
                raise Conflict(f"Image {image} is on another host than container {workload.id}.")
        spec = replace(spec, containers=(container, *spec.containers[1:]))
    changed = replace(
        intent,
        desired=Desired.RUNNING if was_running else Desired.CREATED,
        run=intent.run + was_running,
        rebuild=intent.rebuild + 1,
        grace=0.0,
    )
    return change_intent(tx, asking, workload, "rebuild", changed, spec=spec)


def pause(tx: Tx, asking: Asking, ident: str) -> Workload:
    """Freeze its processes."""
    subject = find_ready(tx, asking, ident, "pause")
    return _store(tx, asking, subject, "pause", wish(subject, Desired.PAUSED))


def unpause(tx: Tx, asking: Asking, ident: str) -> Workload:
    """Thaw them."""
    subject = find_ready(tx, asking, ident, "unpause")
    return _store(tx, asking, subject, "unpause", wish(subject, Desired.RUNNING))


def delete(tx: Tx, asking: Asking, ident: str, *, force: bool, stop: bool) -> Workload:
    """Nothing of it left. The row goes when the node has said so."""
    subject = find_for(tx, asking, ident, "delete")
    workload = subject.workload
    if force and not stop:
        asking.require("container:delete_force", workload)
    word = asking.status(subject).word
    needs_stop = stop and not is_allowed("delete", word)
    if needs_stop:
        asking.require("container:stop", workload)
    operation = "delete_stop" if stop else "delete_force" if force else "delete"
    if not is_allowed(operation, word):
        raise Conflict(f"Cannot delete container {workload.id} in {word} state.", code="invalid-state-exception")
    grace = DEFAULT_GRACE if needs_stop else 0.0
    return change_intent(tx, asking, workload, "delete", replace(workload.intent, desired=Desired.REMOVED, grace=grace))


@dataclass(frozen=True, slots=True)
class Changes:
    """What an update changes; None leaves as it is."""

    name: str | None = None
    cpu: float | None = None
    memory: int | None = None
    auto_heal: bool | None = None

    def __bool__(self) -> bool:
        return any(value is not None for value in (self.name, self.cpu, self.memory, self.auto_heal))


def update(
    tx: Tx, asking: Asking, ident: str, changes: Changes, limits: Limits, operation: str, allocations: Allocations
) -> tuple[Workload, Workload]:
    """Other limits, another name. Charges project and node for the difference. Answers with before and after."""
    before = find_ready(tx, asking, ident, operation).workload
    if not changes:
        return before, before
    if changes.cpu is not None and before.spec.resources.dedicated and changes.cpu != before.spec.resources.cpu:
        raise Invalid("cpu: a container with dedicated processors keeps their number", field="cpu")
    spec = _updated(before.spec, changes)
    asked, had = spec.resources, before.spec.resources
    more = Usage.of(0, Resources(asked.cpu - had.cpu, asked.memory - had.memory, 0))
    if more != Usage():
        tx.quotas.charge(before.project_id, more, tx.quotas.limits(before.project_id, limits))
        _claim(tx, before, asked, allocations)
    after = tx.workloads.set_intent(before.id, _next(before.intent), spec=spec, name=changes.name)
    return before, after


def _claim(tx: Tx, workload: Workload, resources: Resources, allocations: Allocations) -> None:
    """What its node has promised to others, and has not got, it cannot have."""
    node = workload.placement.node
    if node is None:
        return
    try:
        allocations.resize(tx, workload.id, node, resources)
    except Conflict:
        raise Conflict(f"Container {workload.id} cannot have that much: its host has no room for it.") from None


def rename(tx: Tx, asking: Asking, ident: str, name: str) -> Workload:
    """Another name, in any state (microversions up to 1.13)."""
    workload = find_for(tx, asking, ident, "rename").workload
    if workload.name == name:
        raise Conflict(f"Container {workload.id} has the name {name} already.")
    spec = _updated(workload.spec, Changes(name=name))
    return tx.workloads.set_intent(workload.id, _next(workload.intent), spec=spec, name=name)


def note_signal(tx: Tx, asking: Asking, subject: Subject, error: str | None) -> None:
    """A line in the history for what changed no intent: a signal that was sent."""
    message = "Error" if error is not None else None
    _note(tx, asking, subject.workload, "kill", of=subject.id, finished=True, message=message)


def _updated(spec: WorkloadSpec, changes: Changes) -> WorkloadSpec:
    container = spec.containers[0]
    resources = replace(
        container.resources,
        cpu=container.resources.cpu if changes.cpu is None else changes.cpu,
        memory=container.resources.memory if changes.memory is None else changes.memory,
    )
    container = replace(container, resources=resources, name=changes.name or container.name)
    auto_heal = spec.auto_heal if changes.auto_heal is None else changes.auto_heal
    return replace(spec, containers=(container, *spec.containers[1:]), auto_heal=auto_heal)


def _next(intent: Intent) -> Intent:
    return replace(intent, generation=intent.generation + 1)


def change_intent(
    tx: Tx, asking: Asking, workload: Workload, action: str, intent: Intent, spec: WorkloadSpec | None = None
) -> Workload:
    """Store what is wanted now, with a line in the history."""
    changed = tx.workloads.set_intent(workload.id, _next(intent), spec=spec)
    _note(tx, asking, changed, action)
    return changed


def _grace(subject: Subject, asked: float | None) -> float:
    return subject.workload.spec.grace if asked is None else asked


def _store(tx: Tx, asking: Asking, subject: Subject, action: str, intent: Intent) -> Workload:
    """Store what is wanted of a container now, with a line in its own history."""
    changed = tx.workloads.set_intent(subject.workload.id, _next(intent))
    _note(tx, asking, changed, action, of=subject.id)
    return changed


def _note(
    tx: Tx,
    asking: Asking,
    workload: Workload,
    action: str,
    *,
    of: str | None = None,
    finished: bool = False,
    message: str | None = None,
) -> None:
    """A line in the history of the workload, or `of` one of its containers."""
    tx.actions.start(
        Action(
            workload=of or workload.id,
            action=action,
            request_id=asking.request_id,
            user_id=asking.caller.user_id,
            project_id=workload.project_id,
            generation=workload.intent.generation,
            start_time=asking.at,
            finish_time=asking.at if finished else None,
            message=message,
        )
    )
