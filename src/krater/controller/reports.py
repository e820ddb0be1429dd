"""Folding what a node reports into what is stored: one transaction a batch.

A report counts only when it comes from the node the workload is placed on, for the epoch of that placement, and
about an intent not older than the one already reported on. Everything else is the past.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from krater.controller.assignments import is_going, is_wired
from krater.controller.histories import add_events, conclude, finish
from krater.model.assignment import ContainerState, Observed, Placement, Report
from krater.model.order import is_lost as is_made_lost
from krater.model.workload import Kind
from krater.store.interfaces import Departure, Tx, Workload

AUTO_REMOVE = "removed when its process ended, as asked for"


@dataclass(slots=True)
class Folded:
    """What the fold left to do: workloads the controller should look at."""

    wake: list[str] = field(default_factory=list)


def fold(tx: Tx, node: str, reports: Sequence[Report], at: datetime) -> Folded:
    """Store a batch of reports of one node."""
    known = {w.id: w for w in tx.workloads.by_ids([r.workload for r in reports])}
    folded = Folded()
    for report in reports:
        workload = known.get(report.workload)
        if workload is None or not is_from_its_node(workload, node, report):
            continue
        if report.events:
            add_events(tx, workload, report.generation, report.events)
        if report.generation < workload.observed.generation:
            continue
        workload = _observe(tx, workload, report, at)
        known[workload.id] = _draw_conclusions(tx, workload, report, folded, at)
    return folded


def is_from_its_node(workload: Workload, node: str, report: Report) -> bool:
    """Whether the node that reports is the one that has the workload now."""
    return workload.placement.node == node and workload.placement.epoch == report.epoch


def is_over(workload: Workload) -> bool:
    """Whether all of its processes have ended for good, by their own will or the user's, as far as is known."""
    seen = workload.observed
    return (
        seen.settled
        and seen.failure is None
        and seen.generation == workload.intent.generation
        and len(seen.containers) == len(workload.spec.containers)
        and all(c.state is ContainerState.EXITED for c in seen.containers)
    )


def is_lost(workload: Workload) -> bool:
    """Whether a container of it is not on its node any more, and will not be made anew."""
    intent, seen = workload.intent, workload.observed
    if seen.failure is None or not seen.settled or seen.generation != intent.generation:
        return False
    here = {one.id for one in seen.containers}
    return any(made.id not in here and is_made_lost(made, intent) for made in seen.made)


def _observe(tx: Tx, workload: Workload, report: Report, at: datetime) -> Workload:
    observed = Observed(
        generation=report.generation,
        containers=report.containers,
        settled=report.settled and is_wired(workload),  # not before it has been told of the cards it is to have
        failure=report.failure,
        trouble=report.trouble,
        step=report.step,
        epoch=report.epoch,
        made=report.made,
        failed=report.failed,
    )
    if observed == workload.observed:
        return workload
    if observed.settled and not is_going(workload):
        conclude(tx, replace(workload, observed=observed), at)
    elif report.failure is not None:
        finish(tx, workload, report.generation, report.failure, at, report.failed, only_failed=True)
    return tx.workloads.observe(workload.id, observed)


def departures(workload: Workload, at: datetime) -> list[Departure]:
    """What is remembered of a workload's containers when they are gone from their node, which has their logs.

    A member is found by its id only, before as after.
    """
    node = workload.placement.node
    if node is None:
        return []
    owner, name = (workload.project_id, workload.user_id), workload.name if workload.kind is Kind.CONTAINER else ""
    return [Departure(c.id, *owner, name, node, at) for c in workload.spec.containers]


def _draw_conclusions(tx: Tx, workload: Workload, report: Report, folded: Folded, at: datetime) -> Workload:
    """What follows from what was seen: gone for good, or to be removed now."""
    if is_going(workload):
        if report.gone and report.generation == workload.intent.generation:
            # From here on the workload is nowhere; giving back what it held is the reconciler's next step.
            tx.departures.add(departures(workload, at))
            nowhere = replace(workload.placement, node=None, nics=())
            workload = tx.workloads.place(workload.id, nowhere)
            folded.wake.append(workload.id)
    elif workload.spec.auto_remove and (is_over(workload) or is_lost(workload)):
        workload = tx.workloads.retire(workload.id, AUTO_REMOVE)
        folded.wake.append(workload.id)
    elif workload.placement.leaving and workload.observed.settled:
        folded.wake.append(workload.id)  # its node has let go of those ports
    return workload


def forget_refusals(tx: Tx) -> list[str]:
    """Let everything be tried again for which there was no node: there is one more now. Returns all without a place."""
    rows = [w for w in tx.workloads.by_ids(tx.workloads.unfinished()) if w.placement.node is None]
    for row in rows:
        if row.placement.refusal is not None and not is_going(row):
            tx.workloads.place(row.id, Placement(epoch=row.placement.epoch))
    return [row.id for row in rows]
