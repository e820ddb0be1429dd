"""Networks and ports that users make in Krater itself: an extension of the Container API."""

from typing import Annotated

from msgspec import Meta, Struct

from krater.api.schemas.fields import Boolean, Name, ShortText


class CreateNetwork(Struct, forbid_unknown_fields=True):
    """A network of Krater's own. `neutron_net_id` is the Container API's, for a network that exists elsewhere."""

    name: Name
    internal: Boolean = False
    shared: Boolean = False
    neutron_net_id: ShortText | None = None


class CreatePort(Struct, forbid_unknown_fields=True):
    """A port: an address that outlives containers. Without `security_groups` it is in the default one."""

    network: ShortText
    fixed_ips: Annotated[list[ShortText], Meta(max_length=2, description="at most one address of each family")] = []
    security_groups: (
        Annotated[list[ShortText], Meta(max_length=64, description="a list of names or ids of security groups")] | None
    ) = None


class SubnetEntry(Struct):
    """A range of a network."""

    id: str
    cidr: str
    gateway: str | None
    version: int


class NetworkEntry(Struct):
    """A network."""

    uuid: str
    name: str
    project_id: str
    shared: bool
    internal: bool
    mtu: int
    subnets: list[SubnetEntry]


class RegisteredNetwork(Struct):
    """The Container API's answer about a network that exists elsewhere: its own, to Krater."""

    uuid: str
    name: str
    project_id: str
    user_id: str
    network_id: str
    neutron_net_id: str


class NetworkList(Struct):
    """All networks a project can use."""

    networks: list[NetworkEntry]


class PortEntry(Struct):
    """A port. `device` is the container that uses it, or "" ; `owned` ones go with their container."""

    uuid: str
    network: str
    project_id: str
    mac: str
    fixed_ips: list[str]
    device: str
    owned: bool
    security_groups: list[str]


class PortList(Struct):
    """All ports of a project."""

    ports: list[PortEntry]
