"""`krater quota`: how much projects may have, and have."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from krater.cli.arguments import format_option
from krater.cli.connection import pass_client
from krater.cli.tables import Column, show_json, show_table
from krater.client import Client

Command = TypeVar("Command", bound=Callable[..., Any])

_OWN = "~"
_ROWS = (("containers", ""), ("cpu", " cores"), ("memory", " MiB"), ("disk", " GiB"))
_UNLIMITED = -1


def _amount(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    return "no limit" if value == _UNLIMITED else f"{value:g}{row['unit']}"


_COLUMNS = (
    Column("RESOURCE", lambda row: row["name"]),
    Column("LIMIT", lambda row: _amount(row, "limit"), right=True),
    Column("IN USE", lambda row: _amount(row, "in_use"), right=True),
)


def _limit_options(command: Command) -> Command:
    texts = {"containers": "Containers.", "cpu": "Cores.", "memory": "MiB of memory.", "disk": "GiB of disk."}
    for name, text in reversed(texts.items()):
        option = click.option(f"--{name}", type=click.IntRange(min=_UNLIMITED), help=f"{text} -1 is no limit.")
        command = option(command)
    return command


_project = click.argument("project", default=_OWN, metavar="[PROJECT]")


@click.group()
def quota() -> None:
    """Show and set how much projects may have. A PROJECT is named by its name or id; without one it is yours."""


@quota.command()
@_project
@format_option
@pass_client
def show(client: Client, project: str, form: str) -> None:
    """Show what a project may have, and has."""
    _print(client.quotas.usages(project), form)


@quota.command("set")
@click.argument("project")
@_limit_options
@format_option
@pass_client
def set_limits(client: Client, /, project: str, form: str, **limits: int | None) -> None:
    """Set what a project may have (administrators). What it has already stays."""
    _print(client.quotas.update(project, **_given(limits)), form)


@quota.command()
@click.argument("project")
@pass_client
def unset(client: Client, project: str) -> None:
    """Give a project the defaults again (administrators)."""
    client.quotas.delete(project)
    print(project)


@quota.command()
@_project
@format_option
@pass_client
def defaults(client: Client, project: str, form: str) -> None:
    """Show what projects may have of which nothing was said."""
    _print(client.quotas.defaults(project), form)


@quota.group("class")
def class_() -> None:
    """Show and set limits of classes (administrators). All projects are in the class `default`."""


@class_.command("show")
@click.argument("name", default="default", metavar="[NAME]")
@format_option
@pass_client
def show_class(client: Client, name: str, form: str) -> None:
    """Show the limits of a class."""
    _print(client.quota_classes.show(name), form)


@class_.command("set")
@click.argument("name", default="default", metavar="[NAME]")
@_limit_options
@format_option
@pass_client
def set_class(client: Client, /, name: str, form: str, **limits: int | None) -> None:
    """Set the limits of a class."""
    _print(client.quota_classes.update(name, **_given(limits)), form)


def _given(limits: dict[str, int | None]) -> dict[str, int]:
    given = {name: value for name, value in limits.items() if value is not None}
    if not given:
        raise click.UsageError("Nothing to set: give --containers, --cpu, --memory or --disk.")
    return given


def _print(found: Any, form: str) -> None:
    if form == "json":
        show_json(found)
        return
    with_use = all(isinstance(found[name], dict) for name, _ in _ROWS)
    rows = [{"name": n, "unit": u, **(found[n] if with_use else {"limit": found[n]})} for n, u in _ROWS]
    show_table(rows, _COLUMNS if with_use else _COLUMNS[:-1])
