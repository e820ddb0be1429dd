"""From stored ports and networks to the cards a node plugs, and whether an address fits a network. Pure."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from krater.errors import Invalid
from krater.model.network import Address, Network, Nic, Port, Subnet


def nics_of(plugged: Sequence[tuple[Port, Network]]) -> tuple[Nic, ...]:
    """A card for each port, in order. The first one that has a way out carries the default routes."""
    first_way_out = next((i for i, (_, network) in enumerate(plugged) if not network.internal), None)
    return tuple(
        Nic(
            port=port.id,
            network=network.id,
            mac=port.mac,
            name=f"eth{index}",
            addresses=_addresses(port, network),
            gateways=tuple(f"{s.gateway}/{s.prefix}" for s in network.subnets if s.gateway is not None),
            mtu=network.mtu,
            internal=network.internal,
            default_route=index == first_way_out,
        )
        for index, (port, network) in enumerate(plugged)
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
            address = ip_address(text)
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
