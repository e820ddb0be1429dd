"""Networks and ports of the embedded profile: an extension of the Container API."""

from collections.abc import Sequence

from krater.api.handlers.answers import NO_CONTENT, found
from krater.api.handlers.security_groups import groups_of
from krater.api.requests import Answer, Request
from krater.api.schemas.decoding import decode_json_body
from krater.api.schemas.fields import truth
from krater.api.schemas.networks import (
    CreateNetwork,
    CreatePort,
    NetworkEntry,
    NetworkList,
    PortEntry,
    PortList,
    RegisteredNetwork,
    SubnetEntry,
)
from krater.cloud.interfaces import OwnNetworks
from krater.errors import Unsupported
from krater.model.network import Network, Port


async def list_all(request: Request) -> Answer:
    """The project's networks, and those shared with it."""
    request.require("network:get_all")
    networks = await _own(request).list(request.caller)
    return found(NetworkList([_entry(network) for network in networks]))


async def show(request: Request) -> Answer:
    """One, by id or name."""
    request.require("network:get_one")
    return found(_entry(await _own(request).get(request.caller, request.params["network"])))


async def create(request: Request) -> Answer:
    """A new one, with a range that Krater chooses; with the id of one, what Zun's administrators prepare nodes by."""
    ask = await decode_json_body(request, CreateNetwork)
    if ask.neutron_net_id is not None:
        return await _register(request, ask.neutron_net_id)
    request.require("network:create_own")
    internal, shared = truth(ask.internal), truth(ask.shared)
    if shared:
        request.require("network:create_own:shared")
    return found(_entry(await _own(request).create(request.caller, ask.name, internal=internal, shared=shared)))


async def _register(request: Request, ident: str) -> Answer:
    """A node needs no preparing: a network comes to it with its first card. So this only says that there is one."""
    request.require("network:create")
    network = await request.backing.store.read(lambda tx: tx.networks.get(request.reach, ident))
    return found(
        RegisteredNetwork(
            uuid=network.id,
            name=network.id,
            project_id=network.project_id,
            user_id=request.caller.user_id,
            network_id=network.id,
            neutron_net_id=network.id,
        )
    )


async def delete(request: Request) -> Answer:
    """Remove one that nothing uses."""
    request.require("network:delete_own")
    await _own(request).delete(request.caller, request.params["network"])
    return NO_CONTENT


async def list_ports(request: Request) -> Answer:
    """The project's ports, those of containers as well."""
    request.require("port:get_all")
    ports = await _own(request).ports(request.caller)
    groups = await groups_of(request).of_ports(ports)
    return found(PortList([_port_entry(port, groups[port.id]) for port in ports]))


async def create_port(request: Request) -> Answer:
    """Keep an address."""
    request.require("port:create")
    ask = await decode_json_body(request, CreatePort)
    names = ask.security_groups
    wanted = None if names is None else await groups_of(request).resolve(request.caller, names)
    port = await _own(request).create_port(request.caller, ask.network, ask.fixed_ips, wanted)
    return found(_port_entry(port, (await groups_of(request).of_ports([port]))[port.id]))


async def delete_port(request: Request) -> Answer:
    """Give it up."""
    request.require("port:delete")
    await _own(request).delete_port(request.caller, request.params["port"])
    return NO_CONTENT


def _own(request: Request) -> OwnNetworks:
    own = request.backing.own_networks
    if own is None:
        raise Unsupported("The networks of this cloud are Neutron's: use its API.")
    return own


def _entry(network: Network) -> NetworkEntry:
    subnets = [SubnetEntry(s.id, s.cidr, s.gateway, s.version) for s in network.subnets]
    return NetworkEntry(
        network.id, network.name, network.project_id, network.shared, network.internal, network.mtu, subnets
    )


def _port_entry(port: Port, groups: Sequence[str]) -> PortEntry:
    addresses = [fixed.address for fixed in port.fixed_ips]
    return PortEntry(port.id, port.network, port.project_id, port.mac, addresses, port.device, port.owned, list(groups))
