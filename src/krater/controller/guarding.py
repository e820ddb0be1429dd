"""What a node is told of security groups: which ones its cards are in, and what those allow."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from krater.controller.assignments import assignment
from krater.controller.volumes import volumes_of
from krater.model.assignment import Assignment
from krater.model.security import GroupRules
from krater.store.interfaces import Tx, Workload


def assignments_of(
    tx: Tx, workloads: Sequence[Workload], domains: Mapping[str, str], default_domain: str
) -> tuple[Assignment, ...]:
    """What a node is told of these workloads. A port that its user brought is in groups of its own."""
    brought = [net.port for workload in workloads for net in workload.spec.nets if net.port is not None]
    own = tx.security_groups.joined(brought) if brought else {}
    volumes = volumes_of(tx, workloads)
    return tuple(_guarded(w, assignment(w, volumes.get(w.id, ()), domains, default_domain), own) for w in workloads)


def _guarded(workload: Workload, made: Assignment, own: Mapping[str, tuple[str, ...]]) -> Assignment:
    theirs = {net.port for net in workload.spec.nets if net.port is not None}
    nics = (
        replace(nic, groups=own.get(nic.port, ()) if nic.port in theirs else workload.security_groups)
        for nic in made.nics
    )
    return replace(made, nics=tuple(nics))


def rules_for(tx: Tx, node: str, assignments: Iterable[Assignment], also: Iterable[str] = ()) -> Sequence[GroupRules]:
    """The rules of all groups that these assignments' cards are in, and of some more."""
    asked = {group for one in assignments for nic in one.nics for group in nic.groups or ()}.union(also)
    return tx.security_groups.rules(asked, node) if asked else ()
