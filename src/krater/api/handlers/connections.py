"""Networks and security groups of a container that is there: each change is written down, and brought about at once."""

from dataclasses import replace

from krater.api.commands import connections as commands
from krater.api.commands.workloads import Asking, find_for
from krater.api.handlers.answers import ACCEPTED, found
from krater.api.handlers.asking import asking_of, change
from krater.api.requests import Answer, Request
from krater.api.schemas.actions import GroupName, NetworkAttach, NetworkDetach
from krater.api.schemas.decoding import CODE, decode_arguments, decode_query
from krater.cloud.interfaces import Caller, NetAsk
from krater.errors import Invalid
from krater.model.network import NetRequest, read_address


async def attach(request: Request) -> Answer:
    """Put it on a network: by id or name, by a port, or on the default one."""
    ask = await decode_arguments(request, NetworkAttach)
    asking, ident = await asking_of(request), request.params["container"]
    net = await _resolve(request, asking, ident, ask)
    await change(request, lambda tx: commands.attach(tx, asking, ident, net))
    return found(None)


async def detach(request: Request) -> Answer:
    """Take it off a network."""
    ask = decode_query(request, NetworkDetach)
    if (ask.network is None) == (ask.port is None):
        raise Invalid("network: expected exactly one of network and port", field="network", code=CODE)
    asking, ident = await asking_of(request), request.params["container"]
    await change(request, lambda tx: commands.detach(tx, asking, ident, ask.network, ask.port))
    return ACCEPTED


async def add_group(request: Request) -> Answer:
    """Put it into a security group (microversions up to 1.14)."""
    ask = await decode_arguments(request, GroupName)
    asking, ident = await asking_of(request), request.params["container"]
    await change(request, lambda tx: commands.add_group(tx, asking, ident, ask.name))
    return ACCEPTED


async def remove_group(request: Request) -> Answer:
    """Take it out of a security group (microversions up to 1.14)."""
    ask = await decode_arguments(request, GroupName)
    asking, ident = await asking_of(request), request.params["container"]
    await change(request, lambda tx: commands.remove_group(tx, asking, ident, ask.name))
    return ACCEPTED


async def _resolve(request: Request, asking: Asking, ident: str, ask: NetworkAttach) -> NetRequest:
    """The network in the container's own project, whoever asks: an administrator's networks are no business of it."""
    if ask.network is not None and ask.port is not None:
        raise Invalid("network: cannot be given together with port", field="network", code=CODE)
    if ask.fixed_ip is not None and ask.port is not None:
        raise Invalid("fixed_ip: cannot be given together with port, which has its addresses", field="fixed_ip")
    fixed = () if ask.fixed_ip is None else (_address(ask.fixed_ip),)
    subject = await request.backing.store.read(lambda tx: find_for(tx, asking, ident, "network_attach"))
    owner: Caller = replace(request.caller, project_id=subject.workload.project_id)
    networks, network = request.backing.networks, ask.network
    if network is None and ask.port is None:
        (default,) = await networks.resolve(owner, ())
        if not fixed:
            return default
        network = default.network
    (net,) = await networks.resolve(owner, [NetAsk(network, ask.port, fixed)])
    return net


def _address(text: str) -> str:
    try:
        return str(read_address(text))
    except ValueError:
        raise Invalid("fixed_ip: expected an IPv4 or IPv6 address", field="fixed_ip", code=CODE) from None
