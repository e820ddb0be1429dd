"""From stored ports and networks to the cards a node plugs, and whether an address fits a network. Pure."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import count

from krater.errors import Invalid
from krater.model.network import Address, Network, Nic, Port, Subnet, read_address

_CARD = "eth"


def nics_of(plugged: Sequence[tuple[Port, Network]], names: Mapping[str, str] | None = None) -> tuple[Nic, ...]:
    """A card for each port, in order. Those that have a way out carry default routes (see `Nic`).

    `names` are those of cards that are there, by port: they stay. New ones are counted on, so that none comes before
    a card that is in use.
    """
    known = names or {}
    first = 1 + max((int(name.removeprefix(_CARD)) for name in known.values()), default=-1)
    fresh = (f"{_CARD}{number}" for number in count(first))
    return tuple(
        Nic(
            port=port.id,
            network=network.id,
            mac=port.mac,
            name=known.get(port.id) or next(fresh),
            addresses=_addresses(port, network),
            gateways=tuple(f"{s.gateway}/{s.prefix}" for s in network.subnets if s.gateway is not None),
            mtu=network.mtu,
            internal=network.internal,
            default_route=not network.internal,
        )
        for port, network in plugged
    )


def _addresses(port: Port, network: Network) -> tuple[Address, ...]:
    subnets = {subnet.id: subnet for subnet in network.subnets}
    return tuple(
        Address(fixed.address, subnets[fixed.subnet].prefix, subnets[fixed.subnet].gateway, fixed.subnet)
        for fixed in port.fixed_ips
        if fixed.subnet in subnets
    )


def check_addresses(network: Network, wanted: Sequence[str]) -> tuple[str, ...]:
    """The wanted addresses in their canonical form: each in a subnet of its own, none of them reserved. Invalid."""
    taken: set[str] = set()
    canonical = []
    for text in wanted:
        try:
            address = read_address(text)
        except ValueError:
            raise _bad(f"{text[:80]!r} is not an IP address") from None
        subnet = next((s for s in network.subnets if address in ip_network(s.cidr)), None)
        if subnet is None:
            ranges = ", ".join(s.cidr for s in network.subnets)
            raise _bad(f"{address} is outside the network, which has {ranges}")
        if _is_reserved(address, subnet):
            raise _bad(f"{address} is reserved in its network")
        if subnet.id in taken:
            raise _bad(f"{address} is the second address asked for in {subnet.cidr}")
        taken.add(subnet.id)
        canonical.append(str(address))
    return tuple(canonical)


def _is_reserved(address: IPv4Address | IPv6Address, subnet: Subnet) -> bool:
    cidr = ip_network(subnet.cidr)
    last = cidr.broadcast_address if subnet.version == 4 else None
    gateway = ip_address(subnet.gateway) if subnet.gateway is not None else None
    return address in (cidr.network_address, last, gateway)


def _bad(message: str) -> Invalid:
    return Invalid(f"fixed_ip: {message}", field="fixed_ip")
