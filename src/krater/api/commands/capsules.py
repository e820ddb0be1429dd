"""Changes of a capsule's intent as a whole. Each is whole or nothing, like those of containers."""

from collections.abc import Callable
from dataclasses import replace

from krater.api.commands import workloads
from krater.api.commands.connections import join_groups
from krater.api.commands.workloads import Asking, change_intent
from krater.api.rendering import situation_of
from krater.errors import Conflict, NotFound
from krater.model.capsules import derive_capsule_status
from krater.model.operations import is_allowed_on_capsule
from krater.model.quota import Limits
from krater.model.workload import Desired, Intent, Kind, MemberIntent
from krater.store.interfaces import Action, Tx, Workload


def find(tx: Tx, asking: Asking, ident: str, rule: str) -> Workload:
    """The capsule the caller means, if they may do this to it. One they may not see does not exist."""
    try:
        workload = tx.workloads.get(asking.reach, ident, Kind.CAPSULE)
    except NotFound:
        raise NotFound(f"Container {ident[:255]} could not be found.", code="container-not-found") from None
    asking.require(rule, workload)
    return workload


def create(
    tx: Tx, asking: Asking, workload: Workload, limits: Limits, hold: Callable[[Tx], None] | None = None
) -> Workload:
    """Store a new one with all that goes with it, and charge the project. OverQuota."""
    stored = workloads.create(tx, asking, workload, limits, hold)
    join_groups(tx, stored)
    return stored


def start(tx: Tx, asking: Asking, ident: str) -> Workload:
    """Fresh processes for all members, those included that were stopped one by one."""
    workload = _find_ready(tx, asking, ident, "start")
    intent = workload.intent
    changed = replace(intent, desired=Desired.RUNNING, run=intent.run + 1, members=_together(intent))
    return change_intent(tx, asking, workload, "start", changed)


def stop(tx: Tx, asking: Asking, ident: str, grace: float | None) -> Workload:
    """No processes, after asking them to end in the reverse of the order to start. `grace` None: the capsule's own."""
    workload = _find_ready(tx, asking, ident, "stop")
    changed = replace(workload.intent, desired=Desired.STOPPED, grace=_grace(workload, grace))
    return change_intent(tx, asking, workload, "stop", changed)


def reboot(tx: Tx, asking: Asking, ident: str, grace: float | None) -> Workload:
    """Other processes, in order, whether there are any or not."""
    workload = _find_ready(tx, asking, ident, "reboot")
    intent = workload.intent
    changed = replace(
        intent,
        desired=Desired.RUNNING,
        run=intent.run + 1,
        grace=_grace(workload, grace),
        members=_together(intent),
    )
    return change_intent(tx, asking, workload, "reboot", changed)


def delete(tx: Tx, asking: Asking, ident: str, grace: float | None = None) -> Workload:
    """Nothing of it left, in whatever state it is. One that goes already just goes on doing so, or sooner.

    `grace` only ever takes away from the time that members have otherwise: of several requests the least counts.
    """
    workload = find(tx, asking, ident, "capsule:delete")
    is_going = workload.intent.desired is Desired.REMOVED or workload.removal is not None
    before = workload.intent.grace if is_going else workload.spec.grace
    if is_going and (grace is None or grace >= before):
        return workload
    least = before if grace is None else min(grace, before)
    return change_intent(tx, asking, workload, "delete", replace(workload.intent, desired=Desired.REMOVED, grace=least))


def actions(tx: Tx, asking: Asking, ident: str) -> list[Action]:
    """What was done to it and to its members, newest first."""
    found = [action for id in _with_members(tx, asking, ident) for action in tx.actions.list(asking.reach, id)]
    return sorted(found, key=lambda action: action.start_time, reverse=True)


def action(tx: Tx, asking: Asking, ident: str, request_id: str) -> Action:
    """One of them, with its steps. NotFound."""
    for id in _with_members(tx, asking, ident):
        try:
            return tx.actions.get(asking.reach, id, request_id)
        except NotFound:
            continue
    raise NotFound(f"Action {request_id[:80]} could not be found.", code="resource-not-found")


def _with_members(tx: Tx, asking: Asking, ident: str) -> list[str]:
    """The ids of what has a history of its own. Of a capsule that is gone, only its own id still finds some."""
    try:
        workload = find(tx, asking, ident, "capsule:actions")
    except NotFound:
        past = tx.actions.list(asking.reach, ident) if not tx.workloads.by_ids([ident]) else []
        if not past:
            raise
        asking.policies.require(asking.caller, "capsule:actions", past[0].project_id, past[0].user_id)
        return [ident]
    return [workload.id, *(one.id for one in workload.spec.containers)]


def _find_ready(tx: Tx, asking: Asking, ident: str, operation: str) -> Workload:
    """The capsule, if the caller may do this to it and its state allows it."""
    workload = find(tx, asking, ident, f"capsule:{operation}")
    word = derive_capsule_status(situation_of(workload, asking.nodes, asking.at)).whole.word
    if not is_allowed_on_capsule(operation, word):
        raise Conflict(f"Cannot {operation} capsule {workload.id} in {word} state.", code="invalid-state-exception")
    return workload


def _together(intent: Intent) -> dict[str, MemberIntent]:
    """What is left of members' own intents when all of them begin again: how often each did, which must not shrink."""
    return {id: MemberIntent(run=own.run) for id, own in intent.members.items() if own.run}


def _grace(workload: Workload, grace: float | None) -> float:
    return workload.spec.grace if grace is None else grace
