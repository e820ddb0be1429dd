"""Closing what is under way in the history of a workload and of its containers, which have histories of their own."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from krater.model.assignment import ContainerState, StepEvent
from krater.model.order import TO_RUN, Crew
from krater.model.workload import ContainerSpec
from krater.store.interfaces import Tx, Workload


def finish(
    tx: Tx,
    workload: Workload,
    generation: int,
    error: str | None,
    at: datetime,
    failed: str | None = None,
    *,
    only_failed: bool = False,
) -> None:
    """Close all unfinished actions of at most this generation. If a member is named, only that one has failed.

    With `only_failed` others are still at work: of the members, only that one's actions are closed.
    """
    tx.actions.finish(workload.id, generation, error, at)
    for container in workload.spec.containers:
        is_to_blame = failed in (None, container.id)
        if container.id == workload.id or (only_failed and not is_to_blame):
            continue
        tx.actions.finish(container.id, generation, error if is_to_blame else None, at)


def conclude(tx: Tx, workload: Workload, at: datetime) -> None:
    """Close all that is under way, now that its node has nothing left to do for it: well or not, one by one."""
    seen, intent = workload.observed, workload.intent
    tx.actions.finish(workload.id, seen.generation, seen.failure, at)
    members = [container for container in workload.spec.containers if container.id != workload.id]
    if not members:
        return
    whys = _why_not(workload) if seen.generation == intent.generation else {}
    for container in members:
        is_to_blame = seen.failure is not None and seen.failed in (None, container.id)
        error = seen.failure if is_to_blame else whys.get(container.id)
        tx.actions.finish(container.id, seen.generation, error, at)


def _why_not(workload: Workload) -> dict[str, str]:
    """Of members that shall run and did not begin: for want of whom."""
    spec, observed = workload.spec, workload.observed
    crew = Crew.stored(spec, workload.intent, observed)
    turns = crew.turns()
    idle = [one for one in spec.containers if _is_idle(crew, one)]
    whys = {one.id: turns[one.id].doom or observed.failure or turns[one.id].waits for one in idle}
    return {name: why for name, why in whys.items() if why is not None}


def _is_idle(crew: Crew, container: ContainerSpec) -> bool:
    intent, one = crew.intent.of(container.id), crew.seen.get(container.id)
    if intent.desired not in TO_RUN:
        return False
    return one is None or one.state is ContainerState.CREATED or one.run < intent.run


def add_events(tx: Tx, workload: Workload, generation: int, events: Sequence[StepEvent]) -> None:
    """Keep the steps that were taken with what asked for them: an action on the member alone, else one on the whole.

    Of a capsule, it is told whose step each was.
    """
    names = {c.id: c.name for c in workload.spec.containers if c.id != workload.id}
    told = [replace(e, step=f"{e.step} {names[e.container]}") if e.container in names else e for e in events]
    kept: set[str] = set()
    for member in {e.container for e in told} & workload.intent.members.keys():
        steps = [e for e in told if e.container == member]
        if tx.actions.add_events(member, generation, steps, if_open=True):
            kept.add(member)
    tx.actions.add_events(workload.id, generation, [e for e in told if e.container not in kept])
