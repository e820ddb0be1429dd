"""`krater network`: the networks of a project, and addresses kept on them."""

import time

import click

from krater.cli.arguments import container_argument, format_option
from krater.cli.connection import pass_client
from krater.cli.failures import FAILED, complain
from krater.cli.tables import Column, show_json, show_panel, show_rows
from krater.cli.words import short_id
from krater.client import Client
from krater.client.answers import Network, Port


def _ranges(network: Network) -> str:
    return ", ".join(subnet["cidr"] for subnet in network["subnets"])


def _gateways(network: Network) -> str:
    return ", ".join(subnet["gateway"] or "" for subnet in network["subnets"])


def _kind(network: Network) -> str:
    return " ".join(word for word in ("shared", "internal") if network[word])


_PATIENCE, _PAUSE = 60.0, 0.05
_NETWORKS = (
    Column("NAME", lambda n: n["name"], least=10),
    Column("RANGE", _ranges, least=14),
    Column("GATEWAY", _gateways, least=10, rank=2),
    Column("KIND", _kind, rank=3),
    Column("ID", lambda n: short_id(n["uuid"]), rank=1),
)
_PORTS = (
    Column("ID", lambda p: p["uuid"]),
    Column("ADDRESSES", lambda p: ", ".join(p["fixed_ips"]), least=12),
    Column("MAC", lambda p: p["mac"], rank=2),
    Column("CONTAINER", lambda p: short_id(p["device"]) if p["device"] else "", rank=1),
)


@click.group()
def network() -> None:
    """Manage networks."""


@network.command()
@format_option
@pass_client
def ls(client: Client, form: str) -> None:
    """List the project's networks, and those shared with it."""
    found = client.networks.list()
    show_rows(found, _NETWORKS, form)


@network.command()
@click.argument("name")
@format_option
@pass_client
def show(client: Client, name: str, form: str) -> None:
    """Show all about a network."""
    found = client.networks.show(name)
    if form == "json":
        show_json(found)
        return
    show_panel(
        [
            ("name", found["name"]),
            ("id", found["uuid"]),
            ("range", _ranges(found)),
            ("gateway", _gateways(found)),
            ("kind", _kind(found) or "ordinary"),
            ("mtu", str(found["mtu"])),
        ]
    )


@network.command()
@click.argument("name")
@click.option("--internal", is_flag=True, help="Without a way out.")
@click.option("--shared", is_flag=True, help="For all projects (administrators).")
@format_option
@pass_client
def create(client: Client, name: str, internal: bool, shared: bool, form: str) -> None:
    """Make a network. Krater chooses its range."""
    made = client.networks.create(name, internal=internal, shared=shared)
    show_json(made) if form == "json" else print(f"{made['name']}  {_ranges(made)}")


@network.command()
@click.argument("names", nargs=-1, required=True)
@pass_client
def rm(client: Client, names: tuple[str, ...]) -> None:
    """Remove networks that nothing uses."""
    for name in names:
        client.networks.delete(name)
        print(name)


@network.command()
@container_argument
@click.argument("network", required=False)
@click.option("--port", metavar="ID", help="A port of yours, in place of a network.")
@click.option("--ip", "address", metavar="ADDRESS", help="Address to have; else a free one.")
@pass_client
def attach(client: Client, container: str, network: str | None, port: str | None, address: str | None) -> int:
    """Put a container on another network, while it runs."""
    container = client.containers.find(container)["uuid"]
    client.containers.attach_network(container, network, port=port, fixed_ip=address)
    return _settled(client, container)


@network.command()
@container_argument
@click.argument("network", required=False)
@click.option("--port", metavar="ID", help="One port of it, in place of a network.")
@pass_client
def detach(client: Client, container: str, network: str | None, port: str | None) -> int:
    """Take a container off a network, while it runs."""
    if (network is None) == (port is None):
        raise click.UsageError("Give either the network or --port.")
    container = client.containers.find(container)["uuid"]
    client.containers.detach_network(container, network, port=port)
    return _settled(client, container)


def _settled(client: Client, container: str) -> int:
    """Wait until the node has done it; print the addresses there are now."""
    deadline = time.monotonic() + _PATIENCE
    newest = client.containers.actions(container)[0]
    while newest["finish_time"] is None and time.monotonic() < deadline:
        time.sleep(_PAUSE)
        newest = client.containers.actions(container)[0]
    if newest["message"] is not None:
        reason = client.containers.show(container)["status_reason"]
        complain(reason or "It could not be done; `krater actions` tells more.")
        return FAILED
    cards = client.containers.networks(container)
    print(", ".join(str(ip["ip_address"]) for card in cards for ip in card["fixed_ips"]) or "on no network")
    return 0


@network.group()
def port() -> None:
    """Manage addresses that outlive their containers."""


@port.command("ls")
@format_option
@pass_client
def list_ports(client: Client, form: str) -> None:
    """List ports, those of containers as well."""
    found: list[Port] = client.ports.list()
    show_rows(found, _PORTS, form)


@port.command("create")
@click.argument("network")
@click.option("--ip", "addresses", multiple=True, metavar="ADDRESS", help="Address to have; else a free one.")
@click.option("--security-group", "groups", multiple=True, metavar="GROUP", help="Instead of the default one.")
@format_option
@pass_client
def create_port(client: Client, network: str, addresses: tuple[str, ...], groups: tuple[str, ...], form: str) -> None:
    """Keep an address on a network. Use it with `krater run --net port=ID`."""
    made = client.ports.create(network, *addresses, security_groups=groups or None)
    show_json(made) if form == "json" else print(f"{made['uuid']}  {', '.join(made['fixed_ips'])}")


@port.command("rm")
@click.argument("ids", nargs=-1, required=True)
@pass_client
def remove_ports(client: Client, ids: tuple[str, ...]) -> None:
    """Give addresses up."""
    for id in ids:
        client.ports.delete(id)
        print(id)
