"""`krater top` and `stats`: what containers do now."""

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import click

from krater.cli.arguments import complete_containers, container_argument, format_option
from krater.cli.connection import pass_client
from krater.cli.tables import Column, cut_owner, is_colored, show_json, show_table, table, terminal_width
from krater.cli.words import mebibytes, name_of, size
from krater.client import Client, Conflict, NotFound
from krater.client.answers import Container, Processes


@click.command(context_settings={"ignore_unknown_options": True})
@container_argument
@click.argument("ps_args", nargs=-1, type=click.UNPROCESSED)
@format_option
@pass_client
def top(client: Client, container: str, ps_args: tuple[str, ...], form: str) -> None:
    """Show the processes of a container. PS_ARGS are options of `ps`, such as `-o pid,args`."""
    found = client.containers.find(container)
    answer = client.containers.top(found["uuid"], " ".join(ps_args) or None)
    show_json(answer) if form == "json" else show_processes(answer)


def show_processes(answer: Processes) -> None:
    """A table as `ps` prints it, but that it fits."""
    show_table(answer["Processes"], title_columns(answer["Titles"], lambda row: row))


def title_columns(titles: Sequence[str], cells: Callable[[Any], list[str]]) -> list[Column]:
    """The columns that `ps` has; `cells` finds its cells in a row."""
    last = len(titles) - 1
    return [Column(title, _cell(cells, at), least=8 if at == last else None) for at, title in enumerate(titles)]


def _cell(cells: Callable[[Any], list[str]], at: int) -> Callable[[Any], str]:
    return lambda row: cells(row)[at] if at < len(cells(row)) else ""


STATS = (
    Column("NAME", lambda s: s["name"], least=12, shorten=cut_owner),
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
@click.option("--no-stream", is_flag=True, help="One reading, instead of a table that stays up to date.")
@format_option
@pass_client
def stats(client: Client, containers: tuple[str, ...], no_stream: bool, form: str) -> None:
    """Show what containers use now; without names, all that run. On a terminal, until you press Ctrl-C."""
    chosen = [client.containers.find(text) for text in containers] if containers else None
    show_stats(client, chosen, no_stream=no_stream, form=form)


def show_stats(client: Client, chosen: Sequence[Container] | None, *, no_stream: bool, form: str) -> None:
    """What they use; None chosen is all that run."""
    if form == "json":
        show_json(_readings(client, chosen))
    elif no_stream or not sys.stdout.isatty():
        show_table(_readings(client, chosen), STATS)
    else:
        _live(client, chosen)


def _readings(client: Client, chosen: Sequence[Container] | None, *, strict: bool = True) -> list[dict[str, Any]]:
    """What they use. None chosen is all that run; of those, one that ends meanwhile is passed over."""
    readings = []
    for container in client.containers.list(filters={"status": "Running"}) if chosen is None else chosen:
        try:
            readings.append({"name": name_of(container), **client.containers.stats(container["uuid"])})
        except (Conflict, NotFound):
            if chosen is not None and strict:
                raise
    return readings


def _live(client: Client, chosen: Sequence[Container] | None) -> None:
    """The table again and again, over itself. Named ones that end leave it; with the last of them it ends."""
    readings = _readings(client, chosen)
    while readings or chosen is None:
        lines = table(readings, STATS, terminal_width(sys.stdout), colored=is_colored(sys.stdout))
        room = max(2, shutil.get_terminal_size().lines - 1)
        shown = lines if len(lines) <= room else [*lines[: room - 1], f"… and {len(lines) - room + 1} more"]
        sys.stdout.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J")
        sys.stdout.flush()
        time.sleep(1)
        readings = _readings(client, chosen, strict=False)
