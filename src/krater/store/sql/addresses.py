"""Which address a port gets: free ones are found without looking at all that are taken.

A subnet remembers where it looked last (`cursor`) and goes on from there, so an address that was given back rests
until the range has been gone through: whoever still talks to the old owner does not reach the next one. Ranges too
large to be gone through (IPv6) are drawn from at random.
"""

import secrets
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from sqlalchemy import bindparam, func, insert, select, update

from krater.errors import Conflict, Invalid, NoCapacity
from krater.model.network import FixedIp, Subnet, read_address
from krater.store.sql.link import Link
from krater.store.sql.tables import addresses as t
from krater.store.sql.tables import subnets

IpNetwork = IPv4Network | IPv6Network
IpAddress = IPv4Address | IPv6Address

_COUNTABLE = 1 << 32
_LOOK_AHEAD = 256
_DRAWS = 64
_POINT_TO_POINT = 31

_TAKEN = select(t.c.address).where(t.c.network == bindparam("in_network"), t.c.address == bindparam("wanted"))
_NEXT = (
    select(t.c.position)
    .where(t.c.subnet == bindparam("in_subnet"), t.c.position >= bindparam("start"))
    .order_by(t.c.position)
    .limit(_LOOK_AHEAD)
)
_COUNT = select(func.count()).select_from(t).where(t.c.subnet == bindparam("in_subnet"))
_CURSOR = select(subnets.c.cursor).where(subnets.c.id == bindparam("in_subnet")).with_for_update()
_INSERT = insert(t)
_SET_CURSOR = update(subnets).where(subnets.c.id == bindparam("in_subnet"))


def comparable(address: IpAddress) -> str:
    """Text that sorts as addresses do, IPv4 before IPv6, in any database."""
    return f"{address.version}{int(address):032x}"


def is_usable(address: IpAddress, network: IpNetwork) -> bool:
    """Whether a card may have it: not the network's own address, not the broadcast address."""
    if address not in network:
        return False
    return _first(network) <= int(address) - int(network.network_address) <= _last(network)


def _first(network: IpNetwork) -> int:
    """Position of the first usable address. In IPv6 the lowest address means any router."""
    return 0 if network.max_prefixlen - network.prefixlen <= 1 else 1


def _last(network: IpNetwork) -> int:
    broadcast = network.version == 4 and network.prefixlen < _POINT_TO_POINT
    return network.num_addresses - (2 if broadcast else 1)


class Pool:
    """The addresses of the subnets of one network, for one transaction that writes."""

    def __init__(self, link: Link, network: str, ranges: Iterable[Subnet]) -> None:
        self._link = link
        self._network = network
        self._ranges = [(subnet, ip_network(subnet.cidr)) for subnet in ranges]

    def choose(self, wanted: Iterable[str]) -> list[FixedIp]:
        """The wanted addresses, or a free one of each subnet."""
        chosen = [self._take(text) for text in wanted]
        if len({fixed.address for fixed in chosen}) != len(chosen):
            raise Invalid("fixed_ip: the same address is named twice", field="fixed_ip")
        return chosen or [self._free(subnet, network) for subnet, network in self._ranges]

    def store(self, port: str, chosen: Iterable[FixedIp]) -> None:
        """Write down that a port has them."""
        networks = {subnet.id: network for subnet, network in self._ranges}
        rows: list[dict[str, Any]] = []
        for rank, fixed in enumerate(chosen):
            network = networks[fixed.subnet]
            position = int(ip_address(fixed.address)) - int(network.network_address)
            rows.append(
                {
                    "network": self._network,
                    "address": fixed.address,
                    "port": port,
                    "rank": rank,
                    "subnet": fixed.subnet,
                    "position": position if network.num_addresses <= _COUNTABLE else None,
                }
            )
        if rows:
            self._link.run(_INSERT, rows)

    def _take(self, text: str) -> FixedIp:
        try:
            address = read_address(text)
        except ValueError:
            raise Invalid(f"fixed_ip: {text[:64]!r} is not an IP address", field="fixed_ip") from None
        for subnet, network in self._ranges:
            if is_usable(address, network):
                if str(address) == _gateway(subnet) or self._is_taken(str(address)):
                    raise Conflict(f"fixed_ip: {address} is in use")
                return FixedIp(str(address), subnet.id)
        raise Invalid(f"fixed_ip: {address} is not an address of this network's subnets", field="fixed_ip")

    def _free(self, subnet: Subnet, network: IpNetwork) -> FixedIp:
        if network.num_addresses > _COUNTABLE:
            return FixedIp(self._draw(subnet, network), subnet.id)
        cursor = self._link.rows(_CURSOR, {"in_subnet": subnet.id})[0][0]
        start = max(cursor, _first(network))
        position = self._walk(subnet, network, start)
        if position is None:
            position = self._walk(subnet, network, _first(network))
        if position is None:
            raise _full(subnet)
        self._link.run(_SET_CURSOR, {"in_subnet": subnet.id, "cursor": position + 1})
        return FixedIp(str(network.network_address + position), subnet.id)

    def _walk(self, subnet: Subnet, network: IpNetwork, start: int) -> int | None:
        """The first free position from `start` on, a handful of taken ones at a time."""
        last, gateway = _last(network), _gateway_position(subnet, network)
        looked = 0
        while start <= last:
            taken = [row[0] for row in self._link.rows(_NEXT, {"in_subnet": subnet.id, "start": start})]
            for position in taken:
                if start == gateway and position != start:
                    start += 1
                if position != start:
                    return start
                start += 1
            if len(taken) < _LOOK_AHEAD:
                start += start == gateway
                return start if start <= last else None
            looked += 1
            if looked == 1 and self._is_full(subnet, network):
                return None
        return None

    def _is_full(self, subnet: Subnet, network: IpNetwork) -> bool:
        """Asked once it looks so, to save walking through all of a large range that has nothing."""
        usable = _last(network) - _first(network) + 1 - (_gateway_position(subnet, network) is not None)
        return int(self._link.rows(_COUNT, {"in_subnet": subnet.id})[0][0]) >= usable

    def _draw(self, subnet: Subnet, network: IpNetwork) -> str:
        size = _last(network) - _first(network) + 1
        for _ in range(_DRAWS):
            address = str(network.network_address + _first(network) + secrets.randbelow(size))
            if address != _gateway(subnet) and not self._is_taken(address):
                return address
        raise _full(subnet)

    def _is_taken(self, address: str) -> bool:
        return self._link.row(_TAKEN, {"in_network": self._network, "wanted": address}) is not None


def _gateway(subnet: Subnet) -> str | None:
    return None if subnet.gateway is None else str(ip_address(subnet.gateway))


def _gateway_position(subnet: Subnet, network: IpNetwork) -> int | None:
    if subnet.gateway is None or not is_usable(ip_address(subnet.gateway), network):
        return None
    return int(ip_address(subnet.gateway)) - int(network.network_address)


def _full(subnet: Subnet) -> NoCapacity:
    return NoCapacity(f"The subnet {subnet.cidr} has no free address.")
