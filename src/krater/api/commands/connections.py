"""Changes of who a container talks to: its networks and its security groups. Each is whole or nothing."""

from collections.abc import Sequence
from dataclasses import replace

from krater.api.commands.workloads import Asking, change_intent, find_for, find_ready
from krater.errors import Conflict, Invalid, NotFound
from krater.model.network import NetRequest, paired
from krater.model.security import exposing_group
from krater.model.workload import Desired
from krater.store.interfaces import Scope, Tx, Workload

_MOST_NETWORKS, _MOST_GROUPS = 32, 64


def join_groups(tx: Tx, workload: Workload) -> None:
    """Have a new workload in the groups of its specification; makes the last one, if that is for its exposed ports."""
    groups, project = tx.security_groups, workload.project_id
    if workload.spec.security_groups is None:
        groups.ensure_default(project)
    if workload.spec.exposed:
        id = workload.security_groups[-1]
        groups.add(exposing_group(id, project, workload.id, workload.spec.exposed))
    groups.join(workload.id, workload.security_groups)


def attach(tx: Tx, asking: Asking, ident: str, net: NetRequest) -> Workload:
    """Have it on one more network."""
    workload = find_for(tx, asking, ident, "network_attach").workload
    _refuse_leaving(workload)
    nets = workload.spec.nets
    if any(other.network == net.network for other in nets):
        raise Invalid(f"Container {workload.id} is on network {net.network} already.", field="network")
    if len(nets) >= _MOST_NETWORKS:
        raise Conflict(f"A container can be on {_MOST_NETWORKS} networks.")
    spec = replace(workload.spec, nets=(*nets, net))
    return change_intent(tx, asking, workload, "network_attach", workload.intent, spec)


def detach(tx: Tx, asking: Asking, ident: str, network: str | None, port: str | None) -> Workload:
    """Have it off a network, or one of its cards out."""
    workload = find_for(tx, asking, ident, "network_detach").workload
    _refuse_leaving(workload)
    pairs = paired(workload.spec.nets, workload.placement.nics)
    if port is not None:
        gone = [net for net, nic in pairs if port in (net.port, nic.port if nic is not None else None)]
    else:
        id = _network_id(tx, workload, network or "")
        gone = [net for net, _ in pairs if net.network == id]
    if not gone:
        named = f"port {port}" if port is not None else f"network {network}"
        raise Invalid(f"Container {workload.id} is not on {named[:80]}.", field="port" if port else "network")
    kept = list(pairs)
    for net in gone:
        kept.remove(next(pair for pair in kept if pair[0] is net))
    # What stays is held to the addresses it has: of two cards on one network the other one must not go.
    nets = [
        net if nic is None or net.port is not None else replace(net, fixed_ips=tuple(a.address for a in nic.addresses))
        for net, nic in kept
    ]
    others = {net.network for net in gone}
    nets = [new if old.network in others else old for (old, _), new in zip(kept, nets, strict=True)]
    spec = replace(workload.spec, nets=tuple(nets))
    return change_intent(tx, asking, workload, "network_detach", workload.intent, spec)


def add_group(tx: Tx, asking: Asking, ident: str, name: str) -> Workload:
    """Have it in one more security group, with the ports its user brought."""
    workload = find_ready(tx, asking, ident, "add_security_group").workload
    id = _group_id(tx, workload, name)
    there = _groups_left(tx, workload)
    if id in there:
        raise Invalid(f"Container {workload.id} is in security group {name} already.", field="name")
    if len(there) >= _MOST_GROUPS:
        raise Conflict(f"A container can be in {_MOST_GROUPS} security groups.")
    for port, groups in _brought(tx, workload).items():
        tx.security_groups.join(port, (*groups, id))
    return _regroup(tx, asking, workload, "add_security_group", (*there, id))


def remove_group(tx: Tx, asking: Asking, ident: str, name: str) -> Workload:
    """Have it out of a security group."""
    workload = find_ready(tx, asking, ident, "remove_security_group").workload
    id = _group_id(tx, workload, name)
    there = _groups_left(tx, workload)
    if id not in there:
        raise Invalid(f"Container {workload.id} is not in security group {name}.", field="name")
    for port, groups in _brought(tx, workload).items():
        tx.security_groups.join(port, [one for one in groups if one != id])
    left = tuple(one for one in there if one != id)
    return _regroup(tx, asking, workload, "remove_security_group", left)


def _regroup(tx: Tx, asking: Asking, workload: Workload, action: str, groups: tuple[str, ...]) -> Workload:
    tx.security_groups.join(workload.id, groups)
    spec = replace(workload.spec, security_groups=groups)
    return change_intent(tx, asking, workload, action, workload.intent, spec)


def _groups_left(tx: Tx, workload: Workload) -> tuple[str, ...]:
    """Its groups, less those that went with the container whose exposed ports they opened."""
    known = {group.id for group in tx.security_groups.list(Scope(workload.project_id))}
    return tuple(id for id in workload.security_groups if id in known)


def _brought(tx: Tx, workload: Workload) -> dict[str, Sequence[str]]:
    """The ports that its user brought, with their groups."""
    ports = [net.port for net in workload.spec.nets if net.port is not None]
    joined = tx.security_groups.joined(ports) if ports else {}
    return {port: joined.get(port, ()) for port in ports}


def _group_id(tx: Tx, workload: Workload, name: str) -> str:
    """A group of the container's own project, whoever asks."""
    try:
        return tx.security_groups.get(Scope(workload.project_id), name).id
    except NotFound as error:
        raise Invalid(error.message, field="name", code="security-group-not-found") from None


def _network_id(tx: Tx, workload: Workload, ident: str) -> str:
    if any(net.network == ident for net in workload.spec.nets):
        return ident
    return tx.networks.get(Scope(workload.project_id), ident).id


def _refuse_leaving(workload: Workload) -> None:
    if workload.intent.desired is Desired.REMOVED or workload.removal is not None:
        raise Conflict(f"Container {workload.id} is being deleted.", code="invalid-state-exception")
