"""Addresses from Krater's own store: networks, subnets and ports are rows, and nodes do the rest."""

from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import uuid4

from krater.cloud.interfaces import Caller, NetAsk
from krater.cloud.local.nics import check_addresses, nics_of
from krater.config import NetworkSettings
from krater.errors import Conflict, Invalid, NotFound
from krater.model.network import NetRequest, Network, Nic, Port
from krater.store.interfaces import EVERYBODY, Scope, Store, Tx

T = TypeVar("T")

DEFAULT_NAME = "default"
_PREFIX_V6 = 64
_ATTEMPTS = 3


class LocalNetworks:
    """Networks of the embedded profile."""

    def __init__(self, store: Store, settings: NetworkSettings) -> None:
        self._store = store
        self._settings = settings

    async def resolve(self, caller: Caller, asks: Sequence[NetAsk]) -> tuple[NetRequest, ...]:
        """Names to ids, within what the caller may see."""
        scope = Scope(caller.project_id)
        if asks:
            return await self._store.read(lambda tx: resolve_asks(tx, scope, asks))
        found = await self._store.read(lambda tx: default_network(tx, caller.project_id))
        if found is None:
            found = await insist(self._store, lambda tx: self._ensure_default(tx, caller.project_id))
        return (NetRequest(found.id),)

    async def ensure_ports(
        self,
        workload: str,
        project: str,
        nets: Sequence[NetRequest],
        before: Sequence[Nic] = (),
        leaving: Sequence[str] = (),
    ) -> tuple[Nic, ...]:
        """Have a port for each item, and say how to plug it."""
        scope = Scope(project)
        return await self._store.write(lambda tx: ensure_ports(tx, workload, scope, nets, before, leaving))

    async def release(self, workload: str, only: Sequence[str] | None = None) -> None:
        """Delete the ports made for the workload, free the user's own."""
        await self._store.write(lambda tx: tx.networks.release(workload, only))

    async def list_owned(self) -> dict[str, set[str]]:
        """Ports by the workload that holds them."""
        return await self._store.read(lambda tx: tx.networks.held())

    def _ensure_default(self, tx: Tx, project: str) -> Network:
        found = default_network(tx, project)
        if found is not None:
            return found
        return make_network(tx, self._settings, project, DEFAULT_NAME)


async def insist(store: Store, fn: Callable[[Tx], T]) -> T:
    """Write, again when somebody took the same range or name at the same moment."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return await store.write(fn)
        except Conflict:
            continue
    return await store.write(fn)


def make_network(
    tx: Tx, settings: NetworkSettings, project: str, name: str, *, internal: bool = False, shared: bool = False
) -> Network:
    """A network with the next free range of the pool, and of the IPv6 pool where there is one."""
    subnets = [tx.networks.free_subnet(settings.pool, settings.prefix)]
    if settings.pool_v6:
        subnets.append(tx.networks.free_subnet(settings.pool_v6, _PREFIX_V6))
    made = Network(uuid4().hex, name, project, tuple(subnets), shared, internal, settings.mtu)
    tx.networks.add(made)
    return made


def default_network(tx: Tx, project: str) -> Network | None:
    """The project's own network of that name, else its oldest. Shared ones are for those who ask for them:
    two projects that ask for nothing must not meet."""
    own = [n for n in tx.networks.list(Scope(project)) if n.project_id == project and not n.shared]
    return next((n for n in own if n.name == DEFAULT_NAME), own[0] if own else None)


def resolve_asks(tx: Tx, scope: Scope, asks: Sequence[NetAsk]) -> tuple[NetRequest, ...]:
    """Each ask by its id or name, checked as far as it can be without taking anything."""
    resolved = [_resolve_port(tx, scope, ask) if ask.port else _resolve_network(tx, scope, ask) for ask in asks]
    ports = [net.port for net in resolved if net.port is not None]
    if len(ports) != len(set(ports)):
        raise Invalid("nets: the same port is named twice", field="nets", code="port-in-use")
    return tuple(resolved)


def _resolve_port(tx: Tx, scope: Scope, ask: NetAsk) -> NetRequest:
    port = tx.networks.get_port(scope, ask.port or "")
    if port.device:
        raise Invalid(f"port {port.id} is in use", field="port", code="port-in-use")
    if ask.network is not None and tx.networks.get(scope, ask.network).id != port.network:
        raise Invalid(f"port {port.id} is on another network", field="port", code="port-not-usable")
    return NetRequest(port.network, port.id, tuple(fixed.address for fixed in port.fixed_ips))


def _resolve_network(tx: Tx, scope: Scope, ask: NetAsk) -> NetRequest:
    if ask.network is None:
        raise Invalid("nets: an item names neither a network nor a port", field="nets")
    network = tx.networks.get(scope, ask.network)
    wanted = check_addresses(network, ask.fixed_ips)
    if wanted:
        held = {fixed.address for port in tx.networks.ports(EVERYBODY, network.id) for fixed in port.fixed_ips}
        for address in wanted:
            if address in held:
                raise Conflict(f"fixed_ip: {address} is in use")
    return NetRequest(network.id, None, wanted)


def ensure_ports(
    tx: Tx,
    workload: str,
    scope: Scope,
    nets: Sequence[NetRequest],
    before: Sequence[Nic] = (),
    leaving: Sequence[str] = (),
) -> tuple[Nic, ...]:
    """Bind the user's ports, find or make the others, in the order of `nets`; free those that nobody was told of."""
    held = tx.networks.ports(EVERYBODY, device=workload)
    kept = {nic.port for nic in before}
    spare = sorted((port for port in held if port.id not in leaving), key=lambda port: port.id not in kept)
    plugged: list[tuple[Port, Network]] = []
    for net in nets:
        port = next((p for p in spare if _serves(p, net)), None)
        if port is not None:
            spare.remove(port)
        elif net.port is not None:
            tx.networks.get_port(scope, net.port)
            port = tx.networks.bind(net.port, workload)
        else:
            port = _make_port(tx, workload, scope, net)
        plugged.append((port, tx.networks.get(scope, net.network)))
    # Had for nets that were asked for before, and never told to a node since no placement names them: free at once.
    tx.networks.release(workload, [port.id for port in spare if port.id not in kept])
    return nics_of(plugged, {nic.port: nic.name for nic in before})


def _serves(port: Port, net: NetRequest) -> bool:
    """Whether a port the workload holds already is the one this item asks for."""
    if net.port is not None:
        return port.id == net.port
    held = {fixed.address for fixed in port.fixed_ips}
    return port.owned and port.network == net.network and held.issuperset(net.fixed_ips)


def _make_port(tx: Tx, workload: str, scope: Scope, net: NetRequest) -> Port:
    if scope.project is None:
        raise NotFound("a port needs a project")
    made = Port(uuid4().hex, net.network, scope.project, mac="", fixed_ips=(), device=workload)
    return tx.networks.add_port(made, net.fixed_ips)
