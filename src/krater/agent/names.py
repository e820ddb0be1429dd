"""By which names workloads are known: to others on their networks, and to themselves. Pure.

The name server that answers is in `vif/dns.py`.
"""

from collections.abc import Iterable

from krater.model.assignment import Assignment

_LOOPBACK = "localhost"  # is somewhere else

Records = dict[str, dict[str, tuple[str, ...]]]


def records(assignments: Iterable[Assignment]) -> Records:
    """Network id -> lower-case name -> addresses. A workload answers to its name, its host name and its id.

    When two workloads of a network share a name, both sets of addresses are answered.
    """
    table: Records = {}
    for assignment in assignments:
        names = {name.lower() for name in (assignment.name, assignment.hostname, assignment.workload) if name}
        for nic in assignment.nics:
            zone = table.setdefault(nic.network, {})
            found = tuple(a.address for a in nic.addresses)
            for name in names:
                zone[name] = zone.get(name, ()) + found
    return table


def host_lines(assignment: Assignment) -> tuple[tuple[str, str], ...]:
    """The lines of /etc/hosts for the workload itself: its addresses, and what it calls itself.

    The members of a capsule find each other by their names, at the addresses that they share.
    """
    members = () if assignment.whole is None else tuple(spec.name for spec in assignment.containers)
    own = dict.fromkeys((assignment.hostname, assignment.name, *members))
    names = " ".join(name for name in own if name and name.lower() != _LOOPBACK)
    return tuple((a.address, names) for nic in assignment.nics for a in nic.addresses if names)
