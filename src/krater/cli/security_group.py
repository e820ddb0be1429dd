"""`krater security-group`: who may talk to containers, and to whom they may."""

import click

from krater.cli.arguments import format_option
from krater.cli.connection import pass_client
from krater.cli.tables import Column, show_json, show_panel, show_rows, show_table
from krater.cli.words import short_id
from krater.client import Client
from krater.client.answers import SecurityRule


def _what(rule: SecurityRule) -> str:
    """`tcp 80-90`, `icmp type 8`, `any`."""
    protocol, lowest, highest = rule["protocol"] or "any", rule["port_range_min"], rule["port_range_max"]
    if lowest is None:
        return protocol
    if protocol == "icmp":
        return f"icmp type {lowest}" + ("" if highest is None else f" code {highest}")
    return f"{protocol} {lowest}" if highest in (None, lowest) else f"{protocol} {lowest}-{highest}"


def _whom(rule: SecurityRule) -> str:
    group = rule["remote_group"]
    return f"group {short_id(group)}" if group else rule["remote_ip_prefix"] or "anybody"


_GROUPS = (
    Column("NAME", lambda g: g["name"], least=10),
    Column("RULES", lambda g: str(len(g["rules"]))),
    Column("DESCRIPTION", lambda g: g["description"], rank=2),
    Column("ID", lambda g: g["uuid"], rank=1),
)
_RULES = (
    Column("DIRECTION", lambda r: r["direction"]),
    Column("IP", lambda r: r["ethertype"], rank=2),
    Column("WHAT", _what, least=8),
    Column("WHOM", _whom, least=10),
    Column("ID", lambda r: r["uuid"], rank=1),
)


@click.group("security-group")
def security_group() -> None:
    """Manage who may talk to containers.

    A container is in the project's group `default` unless told otherwise: everything goes out, and what comes in must
    come from a member.
    """


@security_group.command()
@format_option
@pass_client
def ls(client: Client, form: str) -> None:
    """List the project's groups."""
    found = client.security_groups.list()
    show_rows(found, _GROUPS, form)


@security_group.command()
@click.argument("group")
@format_option
@pass_client
def show(client: Client, group: str, form: str) -> None:
    """Show a group and its rules."""
    found = client.security_groups.show(group)
    if form == "json":
        show_json(found)
        return
    panel = [("name", found["name"]), ("id", found["uuid"]), ("description", found["description"])]
    if found["container"]:
        panel.append(("made for", f"container {found['container']}, with which it goes"))
    show_panel(panel)
    show_table(found["rules"], _RULES)


@security_group.command()
@click.argument("name")
@click.option("--description", default="", metavar="TEXT", help="What it is for.")
@format_option
@pass_client
def create(client: Client, name: str, description: str, form: str) -> None:
    """Make a group. It lets everything out and nothing in until rules are added."""
    made = client.security_groups.create(name, description)
    show_json(made) if form == "json" else print(made["uuid"])


@security_group.command()
@click.argument("groups", nargs=-1, required=True)
@pass_client
def rm(client: Client, groups: tuple[str, ...]) -> None:
    """Remove groups that nothing is in."""
    for group in groups:
        client.security_groups.delete(group)
        print(group)


@security_group.group()
def rule() -> None:
    """Manage what a group allows. Changes hold for running containers at once."""


@rule.command()
@click.argument("group")
@click.option("--egress", is_flag=True, help="What goes out; else what comes in.")
@click.option("-p", "--protocol", metavar="PROTOCOL", help="tcp, udp, icmp or a number; else any.")
@click.option("--port", "ports", metavar="PORT[-PORT]", help="Port or range; of icmp, TYPE[-CODE].")
@click.option("--cidr", metavar="RANGE", help="The other side's addresses, such as 10.0.0.0/8.")
@click.option("--remote-group", metavar="GROUP", help="The other side is in this group.")
@click.option("--ipv6", is_flag=True, help="For IPv6; else for IPv4, or as --cidr is.")
@format_option
@pass_client
def add(
    client: Client,
    group: str,
    egress: bool,
    protocol: str | None,
    ports: str | None,
    cidr: str | None,
    remote_group: str | None,
    ipv6: bool,
    form: str,
) -> None:
    """Allow something."""
    made = client.security_groups.add_rule(
        group,
        direction="egress" if egress else "ingress",
        ethertype="IPv6" if ipv6 else None,
        protocol=protocol or ("tcp" if ports else None),
        ports=None if ports is None else _ports(ports),
        remote_ip_prefix=cidr,
        remote_group=remote_group,
    )
    show_json(made) if form == "json" else print(made["uuid"])


@rule.command("rm")
@click.argument("rules", nargs=-1, required=True)
@pass_client
def remove(client: Client, rules: tuple[str, ...]) -> None:
    """Allow something no longer. Connections that were made under it stay."""
    for rule in rules:
        client.security_groups.delete_rule(rule)
        print(rule)


def _ports(text: str) -> tuple[int, int | None]:
    first, dash, last = text.partition("-")
    if not first.isdigit() or (dash and not last.isdigit()):
        raise click.BadParameter(f"{text!r}: expected PORT or PORT-PORT.", param_hint="--port")
    return int(first), int(last) if dash else None
