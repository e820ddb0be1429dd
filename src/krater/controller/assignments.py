"""From a stored workload to what its node is told: pure."""

from dataclasses import replace

from krater.model.assignment import Assignment
from krater.model.workload import Desired, RestartPolicy, default_hostname
from krater.store.interfaces import Workload


def is_going(workload: Workload) -> bool:
    """Whether it is to be removed: by its user, or by the controller of its own accord."""
    return workload.intent.desired is Desired.REMOVED or workload.removal is not None


def assignment(workload: Workload) -> Assignment:
    """All that a node needs to know of a workload that is placed on it."""
    intent = workload.intent
    if workload.removal is not None:
        intent = replace(intent, desired=Desired.REMOVED)
    return Assignment(
        workload=workload.id,
        epoch=workload.placement.epoch,
        intent=intent,
        project_id=workload.project_id,
        name=workload.name,
        hostname=workload.spec.hostname or default_hostname(workload.name, workload.id),
        containers=workload.spec.containers,
        nics=workload.placement.nics,
        restart=workload.spec.restart or RestartPolicy(),
        auto_heal=workload.spec.auto_heal,
        cpus=workload.placement.cpus,
        made=workload.observed.made if workload.observed.epoch == workload.placement.epoch else (),
    )
