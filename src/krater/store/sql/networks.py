"""Networks, subnets and ports of the embedded profile. Which address a port gets is in `addresses.py`."""

import secrets
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, bindparam, delete, insert, or_, select, update

from krater.errors import Conflict, Invalid, NoCapacity, NotFound
from krater.model.network import FixedIp, Network, Port, Subnet
from krater.store.interfaces import EVERYBODY, Scope
from krater.store.sql.addresses import IpNetwork, Pool, comparable
from krater.store.sql.link import Link
from krater.store.sql.tables import addresses, ports, subnets
from krater.store.sql.tables import networks as t

_CHUNK = 500
_NETWORK = (t.c.id, t.c.name, t.c.project_id, t.c.shared, t.c.internal, t.c.mtu)
_PORT = (
    ports.c.id,
    ports.c.network,
    ports.c.project_id,
    ports.c.mac,
    ports.c.device,
    ports.c.owned,
)
_SUBNETS = (
    select(subnets.c.network, subnets.c.id, subnets.c.cidr, subnets.c.gateway)
    .where(subnets.c.network.in_(bindparam("in_networks", expanding=True)))
    .order_by(subnets.c.rank)
)
_RANGES = (
    select(subnets.c.id, subnets.c.cidr, subnets.c.gateway)
    .where(subnets.c.network == bindparam("wanted"))
    .order_by(subnets.c.rank)
)
_NETWORK_EXISTS = select(t.c.id).where(t.c.id == bindparam("wanted"))
_PORT_EXISTS = select(ports.c.id).where(ports.c.id == bindparam("wanted"))
_INSERT_PORT = insert(ports)
_ADDRESSES = (
    select(addresses.c.port, addresses.c.address, addresses.c.subnet)
    .where(addresses.c.port.in_(bindparam("of_ports", expanding=True)))
    .order_by(addresses.c.rank)
)
_OVERLAPPING = select(subnets.c.lowest, subnets.c.highest, subnets.c.cidr).where(
    subnets.c.lowest <= bindparam("end"), subnets.c.highest >= bindparam("start")
)
_MAC = select(ports.c.id).where(ports.c.mac == bindparam("wanted"))
_CHANGE_PORT = update(ports).where(ports.c.id == bindparam("wanted"))
_FREE = update(ports).where(ports.c.device == bindparam("wanted"), ports.c.owned == 0)
_DELETE_OWNED = delete(ports).where(ports.c.device == bindparam("wanted"), ports.c.owned == 1)
_HELD = select(ports.c.device, ports.c.id).where(ports.c.device != "")


class SqlNetworks:
    """Networks and what is on them."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def add(self, network: Network) -> None:
        """Store a new one with its subnets."""
        self._link.require_room()
        taken = select(t.c.id).where(t.c.project_id == network.project_id, t.c.name == network.name)
        if self._link.row(taken) is not None:
            raise Conflict(f"There is a network {network.name} already.")
        if self._link.row(_NETWORK_EXISTS, {"wanted": network.id}) is not None:
            raise Conflict(f"There is a network {network.id} already.")
        values = {
            "id": network.id,
            "name": network.name,
            "project_id": network.project_id,
            "shared": int(network.shared),
            "internal": int(network.internal),
            "mtu": network.mtu,
        }
        self._link.run(insert(t), values)
        for rank, subnet in enumerate(network.subnets):
            self._add_subnet(network.id, rank, subnet)

    def list(self, scope: Scope) -> list[Network]:
        """Own and shared ones, oldest first."""
        return [*self._networks(_may_use(scope))]

    def get(self, scope: Scope, ident: str) -> Network:
        """By id, else by name; of several with the name, the project's own."""
        found = self._networks([*_may_use(scope), t.c.id == ident])
        if not found:
            named = self._networks([*_may_use(scope), t.c.name == ident])
            own = [network for network in named if network.project_id == scope.project]
            found = own or named
        if len(found) > 1:
            raise Conflict(f"Several networks are named {ident}; use the id.")
        if not found:
            raise _no_network(ident)
        return found[0]

    def delete(self, scope: Scope, ident: str) -> None:
        """Forget it. A shared one is seen by all and deleted by its owner."""
        network = self.get(scope, ident)
        if scope.project not in (None, network.project_id):
            raise _no_network(ident)
        if self._link.row(select(ports.c.id).where(ports.c.network == network.id).limit(1)) is not None:
            raise Conflict(f"The network {network.name} is in use: containers or kept ports are on it.")
        self._link.run(delete(t).where(t.c.id == network.id))

    def add_port(self, port: Port, wanted: Sequence[str] = ()) -> Port:
        """Store a port with addresses and a MAC."""
        if self._link.row(_NETWORK_EXISTS, {"wanted": port.network}) is None:
            raise _no_network(port.network)
        ranges = self._link.rows(_RANGES, {"wanted": port.network})
        pool = Pool(self._link, port.network, [Subnet(*row) for row in ranges])
        mac = port.mac.lower() or self._free_mac()
        if port.mac and self._link.row(_MAC, {"wanted": mac}) is not None:
            raise Conflict(f"mac: {mac} is in use")
        if self._link.row(_PORT_EXISTS, {"wanted": port.id}) is not None:
            raise Conflict(f"There is a port {port.id} already.")
        stored = replace(port, mac=mac, fixed_ips=tuple(pool.choose(wanted)))
        values = {
            "id": stored.id,
            "network": stored.network,
            "project_id": stored.project_id,
            "mac": stored.mac,
            "device": stored.device,
            "owned": int(stored.owned),
        }
        self._link.run(_INSERT_PORT, values)
        pool.store(stored.id, stored.fixed_ips)
        return stored

    def get_port(self, scope: Scope, id: str) -> Port:
        """By id."""
        found = self._ports([*_owns(scope), ports.c.id == id], lock=True)
        if not found:
            raise _no_port(id)
        return found[0]

    def ports(self, scope: Scope, network: str | None = None, device: str | None = None) -> Sequence[Port]:
        """Ports, oldest first."""
        conditions = _owns(scope)
        if network is not None:
            conditions.append(ports.c.network == network)
        if device is not None:
            conditions.append(ports.c.device == device)
        return self._ports(conditions)

    def bind(self, id: str, device: str) -> Port:
        """Give a port to a workload."""
        port = self.get_port(EVERYBODY, id)
        if port.device == device:
            return port
        if port.device:
            raise Conflict(f"The port {id} is in use.")
        self._link.run(_CHANGE_PORT, {"wanted": id, "device": device})
        return replace(port, device=device)

    def release(self, device: str, only: Sequence[str] | None = None) -> None:
        """Delete a workload's own ports and free the user's."""
        if device and only is not None:
            for port in only:
                its = (ports.c.id == port, ports.c.device == device)
                self._link.run(delete(ports).where(*its, ports.c.owned == 1))
                self._link.run(update(ports).where(*its).values(device=""))
        elif device:
            self._link.run(_DELETE_OWNED, {"wanted": device})
            self._link.run(_FREE, {"wanted": device, "device": ""})

    def delete_port(self, scope: Scope, id: str) -> None:
        """Forget a port that nobody uses."""
        if self.get_port(scope, id).device:
            raise Conflict(f"The port {id} is in use.")
        self._link.run(delete(ports).where(ports.c.id == id))

    def held(self) -> dict[str, set[str]]:
        """Ports by workload."""
        found: dict[str, set[str]] = defaultdict(set)
        for device, port in self._link.rows(_HELD):
            found[device].add(port)
        return dict(found)

    def free_subnet(self, pool: str, prefix: int) -> Subnet:
        """The first range of the pool that overlaps none."""
        whole = ip_network(pool)
        if not whole.prefixlen <= prefix <= whole.max_prefixlen:
            raise Invalid(f"prefix: a /{prefix} does not fit into {pool}", field="prefix")
        size = 1 << (whole.max_prefixlen - prefix)
        start, end = int(whole.network_address), int(whole.broadcast_address)
        for row in self._link.rows(_OVERLAPPING.order_by(subnets.c.lowest), _ends(whole)):
            lowest, highest = int(row.lowest[1:], 16), int(row.highest[1:], 16)
            if start + size <= lowest:
                break
            if highest >= start:
                start = -(-(highest + 1) // size) * size
        if start + size - 1 > end:
            raise NoCapacity(f"There is no range left for another network in {pool}.")
        first = type(whole.network_address)(start)
        gateway = first + 1 if size > 2 else None
        return Subnet(str(uuid4()), f"{first}/{prefix}", None if gateway is None else str(gateway))

    # Networks ---------------------------------------------------------------------------------------------------------

    def _add_subnet(self, network: str, rank: int, subnet: Subnet) -> None:
        ends = _ends(ip_network(subnet.cidr))
        other = self._link.row(_OVERLAPPING.limit(1), ends)
        if other is not None:
            raise Conflict(f"The range {subnet.cidr} overlaps that of another network, {other.cidr}.")
        values = {
            "id": subnet.id,
            "network": network,
            "rank": rank,
            "cidr": subnet.cidr,
            "gateway": subnet.gateway,
            "lowest": ends["start"],
            "highest": ends["end"],
            "cursor": 0,
        }
        self._link.run(insert(subnets), values)

    def _networks(self, conditions: Sequence[ColumnElement[bool]]) -> Sequence[Network]:
        rows = self._link.rows(select(*_NETWORK).where(*conditions).order_by(t.c.seq))
        ranges: dict[str, list[Subnet]] = defaultdict(list)
        for part in _chunks([row.id for row in rows]):
            for network, id, cidr, gateway in self._link.rows(_SUBNETS, {"in_networks": part}):
                ranges[network].append(Subnet(id, cidr, gateway))
        return [
            Network(id, name, project, tuple(ranges[id]), bool(shared), bool(internal), mtu)
            for id, name, project, shared, internal, mtu in rows
        ]

    # Ports ------------------------------------------------------------------------------------------------------------

    def _ports(self, conditions: Sequence[ColumnElement[bool]], *, lock: bool = False) -> Sequence[Port]:
        statement = select(*_PORT).where(*conditions).order_by(ports.c.seq)
        rows = self._link.rows(self._link.lock(statement) if lock else statement)
        held: dict[str, list[FixedIp]] = defaultdict(list)
        for part in _chunks([row.id for row in rows]):
            for port, address, subnet in self._link.rows(_ADDRESSES, {"of_ports": part}):
                held[port].append(FixedIp(address, subnet))
        return [_decode(row, held[row.id]) for row in rows]

    def _free_mac(self) -> str:
        while True:
            mac = "fa:16:3e:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3))
            if self._link.row(_MAC, {"wanted": mac}) is None:
                return mac


def _may_use(scope: Scope) -> list[ColumnElement[bool]]:
    return [] if scope.project is None else [or_(t.c.project_id == scope.project, t.c.shared == 1)]


def _owns(scope: Scope) -> list[ColumnElement[bool]]:
    return [] if scope.project is None else [ports.c.project_id == scope.project]


def _ends(network: IpNetwork) -> dict[str, str]:
    return {"start": comparable(network.network_address), "end": comparable(network.broadcast_address)}


def _chunks(ids: list[str]) -> list[list[str]]:
    return [ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK)]


def _decode(row: Any, fixed_ips: list[FixedIp]) -> Port:
    id, network, project, mac, device, owned = row
    return Port(id, network, project, mac, tuple(fixed_ips), device, bool(owned))


def _no_network(ident: str) -> NotFound:
    return NotFound(f"There is no network {ident}.", code="network-not-found")


def _no_port(id: str) -> NotFound:
    return NotFound(f"There is no port {id}.", code="port-not-found")
