"""From a stored workload to what its node is told: pure."""

import re
from dataclasses import replace

from krater.model.assignment import Assignment
from krater.model.workload import Desired, RestartPolicy
from krater.store.interfaces import Workload

_HOSTNAME_LENGTH = 63
_ID_PREFIX = 12
_NOT_IN_HOSTNAMES = re.compile(r"[^A-Za-z0-9-]+")


def is_going(workload: Workload) -> bool:
    """Whether it is to be removed: by its user, or by the controller of its own accord."""
    return workload.intent.desired is Desired.REMOVED or workload.removal is not None


def hostname(workload: Workload) -> str:
    """The name the user gave the host, else one made of the workload's own name, else of its id."""
    if workload.spec.hostname:
        return workload.spec.hostname
    made = _NOT_IN_HOSTNAMES.sub("-", workload.name)[:_HOSTNAME_LENGTH].strip("-")
    return made or workload.id.replace("-", "")[:_ID_PREFIX]


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
        hostname=hostname(workload),
        containers=workload.spec.containers,
        nics=workload.placement.nics,
        restart=workload.spec.restart or RestartPolicy(),
        auto_heal=workload.spec.auto_heal,
        cpus=workload.placement.cpus,
    )
