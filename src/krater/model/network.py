"""Networks, ports and network cards as plain data."""

from dataclasses import dataclass


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

    `name` is the interface's name inside (`eth0`, `eth1`, ...). Only the first card carries default routes.
    `internal` networks get no NAT and no route out. `subnet` texts are the CIDRs of the network, which the
    node needs to set up the bridge: `gateways` are the bridge's own addresses with prefix, as `10.66.3.1/24`.
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
