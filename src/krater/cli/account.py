"""`krater account`: users and projects of the embedded profile. Works on the accounts file, running or not."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from krater.cli.arguments import format_option
from krater.cli.settings import read_settings, settings_options
from krater.cli.tables import Column, show_table

if TYPE_CHECKING:
    from krater.wiring import AccountBook

_COLUMNS = (
    Column("USER", lambda entry: entry["user"]),
    Column("PROJECT", lambda entry: entry["project"]),
    Column("ROLE", lambda entry: entry["role"]),
    Column("PROJECT ID", lambda entry: entry["project_id"], rank=1),
)
_ROLES = click.Choice(["member", "reader", "admin"])


@click.group()
def account() -> None:
    """Manage users and projects.

    A password is asked for twice; from a pipe it is read as one line.
    """


def _book(config: Path | None, directory: str | None, settings: tuple[str, ...]) -> "AccountBook":
    from krater.wiring import open_accounts

    return open_accounts(read_settings(config, directory, settings))


def _ask_password() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\n")


@account.command()
@click.argument("user")
@click.option("--project", help="Project to work in; one of the user's name when left out. Made if need be.")
@click.option("--role", type=_ROLES, default="member", show_default=True)
@settings_options
def add(
    user: str, project: str | None, role: str, config: Path | None, directory: str | None, settings: tuple[str, ...]
) -> None:
    """Add a user, who may work in a project."""
    _book(config, directory, settings).add(user, _ask_password(), project or user, role)
    print(f"{user} may work in project {project or user} as {role}.")


@account.command()
@click.argument("user")
@click.argument("project")
@click.option("--role", type=_ROLES, default="member", show_default=True)
@settings_options
def assign(
    user: str, project: str, role: str, config: Path | None, directory: str | None, settings: tuple[str, ...]
) -> None:
    """Let a user work in a further project."""
    book = _book(config, directory, settings)
    book.assign(user, project, role)
    print(f"{user} may work in project {project} as {role}.")
    _warn_without_administrator(book)


@account.command()
@click.argument("user")
@settings_options
def passwd(user: str, config: Path | None, directory: str | None, settings: tuple[str, ...]) -> None:
    """Give a user another password; tokens got with the old one end."""
    _book(config, directory, settings).set_password(user, _ask_password())
    print(f"The password of {user} is changed.")


@account.command()
@click.argument("user")
@settings_options
def rm(user: str, config: Path | None, directory: str | None, settings: tuple[str, ...]) -> None:
    """Remove a user. What is in the projects stays."""
    book = _book(config, directory, settings)
    book.remove(user)
    print(f"{user} is removed.")
    _warn_without_administrator(book)


def _warn_without_administrator(book: "AccountBook") -> None:
    """Nothing is refused: whoever may edit the accounts can make one again."""
    if not any(entry.role == "admin" for entry in book.list()):
        print("Nobody is an administrator now. `krater account assign USER PROJECT --role admin` makes one.")


@account.command("list")
@format_option
@settings_options
def list_(form: str, config: Path | None, directory: str | None, settings: tuple[str, ...]) -> None:
    """List users, their projects and roles."""
    found = [asdict(entry) for entry in _book(config, directory, settings).list()]
    if form == "json":
        print(json.dumps(found, indent=2))
        return
    show_table(found, _COLUMNS)
