"""`krater top` and `stats`: what containers do now."""

from collections.abc import Callable

import click

from krater.cli.arguments import complete_containers, container_argument, format_option
from krater.cli.connection import pass_client
from krater.cli.tables import Column, show_json, show_table
from krater.cli.words import mebibytes, size
from krater.client import Client, Conflict, NotFound


@click.command(context_settings={"ignore_unknown_options": True})
@container_argument
@click.argument("ps_args", nargs=-1, type=click.UNPROCESSED)
@format_option
@pass_client
def top(client: Client, container: str, ps_args: tuple[str, ...], form: str) -> None:
    """Show the processes of a container. PS_ARGS are options of `ps`, such as `-o pid,args`."""
    found = client.containers.find(container)
    answer = client.containers.top(found["uuid"], " ".join(ps_args) or None)
    titles = answer["Titles"]
    if form == "json":
        show_json(answer)
        return
    last = len(titles) - 1
    columns = [Column(title, _cell(at), least=8 if at == last else None) for at, title in enumerate(titles)]
    show_table(answer["Processes"], columns)


def _cell(at: int) -> Callable[[list[str]], str]:
    return lambda row: row[at] if at < len(row) else ""


STATS = (
    Column("NAME", lambda s: s["name"], least=12),
    Column("CPU %", lambda s: f"{float(s['CPU %'] or 0):.1f}", right=True),
    Column("MEMORY", lambda s: mebibytes(float(s["MEM USAGE(MiB)"] or 0)), right=True),
    Column("LIMIT", lambda s: mebibytes(float(s["MEM LIMIT(MiB)"] or 0)), right=True, rank=2),
    Column("MEM %", lambda s: f"{float(s['MEM %'] or 0):.1f}", right=True, rank=1),
    Column("NET IN/OUT", lambda s: _pair(s["NET I/O(B)"]), right=True, rank=3),
    Column("DISK READ/WRITTEN", lambda s: _pair(s["BLOCK I/O(B)"]), right=True, rank=4),
)


def _pair(text: str) -> str:
    return " / ".join(size(part.strip()) for part in text.split("/"))


@click.command()
@click.argument("containers", nargs=-1, metavar="[CONTAINER]...", shell_complete=complete_containers)
@format_option
@pass_client
def stats(client: Client, containers: tuple[str, ...], form: str) -> None:
    """Show what containers use now; without names, all that run."""
    if containers:
        chosen = [client.containers.find(text) for text in containers]
    else:
        chosen = client.containers.list(filters={"status": "Running"})
    readings = []
    for container in chosen:
        try:
            readings.append({"name": container["name"], **client.containers.stats(container["uuid"])})
        except (Conflict, NotFound):
            if containers:  # one that was not asked for by name may have ended meanwhile
                raise
    if form == "json":
        show_json(readings)
    else:
        show_table(readings, STATS)
