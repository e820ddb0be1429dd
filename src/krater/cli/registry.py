"""`krater registry`: logins for registries whose images are not everybody's."""

import sys
from typing import Any

import click

from krater.cli.arguments import format_option
from krater.cli.connection import pass_client
from krater.cli.tables import Column, show_json, show_panel, show_rows
from krater.cli.words import short_id
from krater.client import Client
from krater.client.answers import Registry

_COLUMNS = (
    Column("NAME", lambda r: r["name"] or "", least=8),
    Column("DOMAIN", lambda r: r["domain"], least=12),
    Column("USERNAME", lambda r: r["username"] or "", least=8, rank=2),
    Column("ID", lambda r: short_id(r["uuid"]), rank=1),
)
_FIELDS = ("domain", "name", "username")


@click.group()
def registry() -> None:
    """Manage logins for registries of images.

    With one, `krater run --registry NAME IMAGE` runs an image that only its owners may pull. A password is asked for;
    from a pipe it is read as one line. It is stored encrypted, and never shown again.
    """


@registry.command()
@click.argument("domain")
@click.option("--name", metavar="NAME", help="What to call it.")
@click.option("--username", metavar="NAME", help="Who logs in there.")
@format_option
@pass_client
def create(client: Client, domain: str, name: str | None, username: str | None, form: str) -> None:
    """Keep a login for the registry at DOMAIN, such as registry.example.org:5000."""
    password = _ask_password() if username is not None else None
    _print(client.registries.create(domain, name=name, username=username, password=password), form)


@registry.command()
@click.option("--all-projects", is_flag=True, help="Those of all projects (administrators).")
@format_option
@pass_client
def ls(client: Client, all_projects: bool, form: str) -> None:
    """List the project's registries."""
    found = client.registries.list(all_projects=all_projects)
    show_rows(found, _COLUMNS, form)


@registry.command()
@click.argument("registry")
@format_option
@pass_client
def show(client: Client, registry: str, form: str) -> None:
    """Show a registry, by its name or id."""
    found = client.registries.show(registry)
    if form == "json":
        show_json(found)
        return
    pairs = [("name", found["name"] or ""), ("id", found["uuid"]), ("domain", found["domain"])]
    show_panel([*pairs, ("username", found["username"] or ""), ("project", found["project_id"])])


@registry.command()
@click.argument("registry")
@click.option("--domain", metavar="DOMAIN", help="Where it is. Its password is asked for again.")
@click.option("--name", metavar="NAME", help="What to call it.")
@click.option("--username", metavar="NAME", help="Who logs in there. The password is asked for.")
@click.option("--password", is_flag=True, help="Ask for another password.")
@format_option
@pass_client
def update(client: Client, /, registry: str, password: bool, form: str, **options: str | None) -> None:
    """Change a registry's name, domain or login."""
    changes: dict[str, Any] = {key: options[key] for key in _FIELDS if options[key] is not None}
    if password or "username" in changes or ("domain" in changes and client.registries.show(registry)["username"]):
        changes["password"] = _ask_password()
    if not changes:
        raise click.UsageError("Nothing to change: give --domain, --name, --username or --password.")
    _print(client.registries.update(registry, **changes), form)


@registry.command()
@click.argument("registries", nargs=-1, required=True)
@pass_client
def rm(client: Client, registries: tuple[str, ...]) -> None:
    """Forget registries that no container uses."""
    for name in registries:
        client.registries.delete(name)
        print(name)


def _ask_password() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True))
    return sys.stdin.readline().rstrip("\n")


def _print(made: Registry, form: str) -> None:
    show_json(made) if form == "json" else print(f"{made['name'] or made['uuid']}  {made['domain']}")
