"""`krater volume`: the volumes of a project."""

import click

from krater.cli.arguments import disk, format_option, no_wait_option
from krater.cli.connection import client_of, pass_client
from krater.cli.progress import Progress
from krater.cli.tables import Column, show_json, show_panel, show_rows
from krater.cli.waiting import Wait, ask_each
from krater.cli.words import short_id
from krater.client import Client, NotSettled
from krater.client.answers import Volume

_COLORS = {"error": "red", "deleting": "grey"}

_VOLUMES = (
    Column("NAME", lambda v: v["name"], least=10),
    Column("SIZE", lambda v: f"{v['size']} GiB", right=True),
    Column("STATUS", lambda v: v["status"], color=lambda v: _COLORS.get(v["status"])),
    Column("CONTAINER", lambda v: short_id(v["container"]), rank=2),
    Column("ID", lambda v: v["uuid"], least=12, rank=1),
)


def complete_volumes(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of volumes. Silent whatever goes wrong: a shell is waiting."""
    try:
        context.find_root().params["timeout"] = 2
        found = client_of(context).volumes.list()
    except Exception:
        return []
    return [v["name"] for v in found if v["name"] and v["name"].startswith(incomplete)]


@click.group()
def volume() -> None:
    """Manage volumes: disks that outlive containers. Use one with `krater run -v NAME:/PATH`."""


@volume.command()
@format_option
@pass_client
def ls(client: Client, form: str) -> None:
    """List the project's volumes. Those without a name go with their container."""
    found = client.volumes.list()
    show_rows(found, _VOLUMES, form)


@volume.command()
@click.argument("name", shell_complete=complete_volumes)
@format_option
@pass_client
def show(client: Client, name: str, form: str) -> None:
    """Show all about a volume."""
    found = client.volumes.show(name)
    if form == "json":
        show_json(found)
        return
    rows = [
        ("name", found["name"] or "(none: it goes with its container)"),
        ("id", found["uuid"]),
        ("size", f"{found['size']} GiB"),
        ("status", found["status"]),
        ("reason", found["status_reason"] or ""),
        ("container", found["container"]),
        ("host", found["host"] or ""),
        ("created", found["created_at"]),
    ]
    show_panel([(title, text) for title, text in rows if text])


@volume.command()
@click.argument("name")
@click.option("--size", type=disk, required=True, metavar="AMOUNT", help="How large: 10 (GiB), 10g.")
@format_option
@pass_client
def create(client: Client, name: str, size: int, form: str) -> None:
    """Make a volume. Its space on disk is taken as it is written to, never more than its size."""
    _say(client.volumes.create(name, size), form)


@volume.command()
@click.argument("name", shell_complete=complete_volumes)
@click.option("--size", type=disk, required=True, metavar="AMOUNT", help="How large: 10 (GiB), 10g.")
@format_option
@pass_client
def resize(client: Client, name: str, size: int, form: str) -> None:
    """Make a volume larger that no container uses. It has grown when it is used next."""
    _say(client.volumes.resize(name, size), form)


@volume.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_volumes)
@no_wait_option
@pass_client
def rm(client: Client, names: tuple[str, ...], no_wait: bool) -> int:
    """Remove volumes that no container uses, with all that is in them, and wait until they are gone."""

    def ask(name: str) -> tuple[str, Wait]:
        uuid = client.volumes.show(name)["uuid"]
        client.volumes.delete(uuid)
        return name, lambda progress: _wait(client, name, uuid, progress)

    return ask_each(names, ask, no_wait=no_wait)


def _wait(client: Client, name: str, uuid: str, progress: Progress) -> str | None:
    progress.say(f"{name}: being removed")
    try:
        client.volumes.wait_gone(uuid)
    except NotSettled as error:
        return f"{name} is not gone yet; Krater goes on removing it. {error}"
    return None


def _say(made: Volume, form: str) -> None:
    show_json(made) if form == "json" else print(f"{made['name']}  {made['size']} GiB")
