"""Networks, ports and network cards as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network


@dataclass(frozen=True, slots=True)
class NetRequest:
    """One item of a workload's `nets`, resolved to ids. Exactly one of `network` and `port` came from the user.

    `network` is always known after resolution; `port` only when the user brought a port of their own.
    """

    network: str
    port: str | None = None
    fixed_ips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Subnet:
    """A range of addresses of a network. `cidr` and `gateway` are text forms, as `10.66.3.0/24`, `10.66.3.1`."""

    id: str
    cidr: str
    gateway: str | None

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.cidr else 4

    @property
    def prefix(self) -> int:
        """Length of the network prefix in bits."""
        return int(self.cidr.rpartition("/")[2])


@dataclass(frozen=True, slots=True)
class Network:
    """A network of a project. `shared` ones may be used by every project; `internal` ones have no way out."""

    id: str
    name: str
    project_id: str
    subnets: tuple[Subnet, ...]
    shared: bool = False
    internal: bool = False
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class FixedIp:
    """An address a port holds in a subnet."""

    address: str
    subnet: str


@dataclass(frozen=True, slots=True)
class Port:
    """A place on a network with a MAC and addresses. `device` is the workload that uses it, or "" when free.

    `owned` ports were made by Krater for their workload and go with it; the others are the user's and stay.
    """

    id: str
    network: str
    project_id: str
    mac: str
    fixed_ips: tuple[FixedIp, ...]
    device: str = ""
    owned: bool = True


@dataclass(frozen=True, slots=True)
class Address:
    """What a node needs to configure one address on a card; `subnet` is the id of where it comes from."""

    address: str
    prefix: int
    gateway: str | None
    subnet: str = ""


@dataclass(frozen=True, slots=True)
class Nic:
    """A network card a node puts into a sandbox: all that plugging needs, with no further look-up.

    `name` is the interface's name inside (`eth0`, `eth1`, ...). With `default_route` it carries default routes: of
    several cards that do, the one with the lowest number is used, and when it goes the next one.
    `internal` networks get no NAT and no route out. `subnet` texts are the CIDRs of the network, which the
    node needs to set up the bridge: `gateways` are the bridge's own addresses with prefix, as `10.66.3.1/24`.
    `groups` are the security groups whose rules hold for it, by id; None: no rules hold for it at all.
    """

    port: str
    network: str
    mac: str
    name: str
    addresses: tuple[Address, ...]
    gateways: tuple[str, ...] = ()
    mtu: int = 1500
    internal: bool = False
    default_route: bool = True
    groups: tuple[str, ...] | None = None


def read_address(text: str) -> IPv4Address | IPv6Address:
    """An address somebody wrote. ValueError.

    Without a zone (`fe80::1%eth0`): that may be any text at all, and one address would have many forms.
    """
    if "%" in text:
        raise ValueError(f"{text!r} has a zone")
    return ip_address(text)


def read_range(text: str) -> IPv4Network | IPv6Network:
    """A range of addresses somebody wrote, or one address. ValueError. Without a zone, as `read_address`."""
    if "%" in text:
        raise ValueError(f"{text!r} has a zone")
    return ip_network(text, strict=False)


def are_wired(nets: Sequence[NetRequest], nics: Sequence[Nic]) -> bool:
    """Whether there is a card for each item of `nets`, and no other."""
    return len(nets) == len(nics) and all(card is not None for _, card in paired(nets, nics))


def paired(nets: Sequence[NetRequest], nics: Sequence[Nic]) -> list[tuple[NetRequest, Nic | None]]:
    """Each item of `nets`, in order, with the card that is there for it."""
    left = list(nics)
    found: list[Nic | None] = [None] * len(nets)
    for place, net in sorted(enumerate(nets), key=lambda item: (item[1].port is None, not item[1].fixed_ips)):
        card = next((nic for nic in left if _answers(nic, net)), None)
        if card is not None:
            left.remove(card)
        found[place] = card
    return list(zip(nets, found, strict=True))


def _answers(nic: Nic, net: NetRequest) -> bool:
    if net.port is not None:
        return nic.port == net.port
    return nic.network == net.network and {one.address for one in nic.addresses}.issuperset(net.fixed_ips)
