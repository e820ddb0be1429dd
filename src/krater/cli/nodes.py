"""`krater hosts`, `services`, `zones`: what Krater runs on."""

import click

from krater.cli.arguments import format_option
from krater.cli.connection import pass_client
from krater.cli.tables import Column, show_rows
from krater.cli.words import mebibytes, moment
from krater.client import Client
from krater.client.answers import Service

HOSTS = (
    Column("HOST", lambda h: h["hostname"], least=12),
    Column("CPU", lambda h: f"{h['cpu_used']:g}/{h['cpus']}", right=True),
    Column("MEMORY", lambda h: f"{mebibytes(h['mem_used'])}/{mebibytes(h['mem_total'])}", right=True),
    Column("DISK", lambda h: f"{h['disk_used']}G/{h['disk_total']}G", right=True, rank=2),
    Column("CONTAINERS", lambda h: str(h["total_containers"]), right=True, rank=1),
    Column("RUNTIMES", lambda h: ", ".join(h["runtimes"] or []), least=8, rank=3),
    Column("SYSTEM", lambda h: f"{h['os'] or ''} {h['architecture'] or ''}".strip(), least=8, rank=4),
    Column("KERNEL", lambda h: h["kernel_version"] or "", least=8, rank=5),
)


def _state(service: Service) -> str:
    if service["forced_down"]:
        return "forced down"
    return f"{service['state']}, disabled" if service["disabled"] else service["state"]


SERVICES = (
    Column("HOST", lambda s: s["host"], least=12),
    Column("SERVICE", lambda s: s["binary"]),
    Column("STATE", _state, color=lambda s: "green" if _state(s) == "up" else "red"),
    Column("ZONE", lambda s: s["availability_zone"] or "", least=6, rank=2),
    Column("LAST SEEN", lambda s: moment(s["last_seen_up"]), rank=3),
    Column("REASON", lambda s: s["disabled_reason"] or "", least=10, rank=1),
)


@click.command()
@format_option
@pass_client
def hosts(client: Client, form: str) -> None:
    """List the hosts that run containers: what is claimed of them, and what they have."""
    found = client.hosts.list()
    show_rows(found, HOSTS, form)


@click.command()
@format_option
@pass_client
def services(client: Client, form: str) -> None:
    """List Krater's services on hosts, and whether they report."""
    found = client.services.list()
    show_rows(found, SERVICES, form)


@click.command()
@format_option
@pass_client
def zones(client: Client, form: str) -> None:
    """List availability zones, for `krater run --zone`."""
    found = client.availability_zones.list()
    show_rows(found, (Column("ZONE", lambda zone: zone),), form)
