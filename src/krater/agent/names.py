"""What a node's name server answers: names of workloads, by network. Pure; the server is in `vif/dns.py`."""

from collections.abc import Iterable

from krater.model.assignment import Assignment

Records = dict[str, dict[str, tuple[str, ...]]]


def records(assignments: Iterable[Assignment]) -> Records:
    """Network id -> lower-case name -> addresses. A workload answers to its name, its host name and its id.

    When two workloads of a network share a name, both sets of addresses are answered.
    """
    table: Records = {}
    for assignment in assignments:
        names = {assignment.name, assignment.hostname, assignment.workload}
        for nic in assignment.nics:
            zone = table.setdefault(nic.network, {})
            found = tuple(a.address for a in nic.addresses)
            for name in filter(None, names):
                key = name.lower()
                zone[key] = zone.get(key, ()) + found
    return table
