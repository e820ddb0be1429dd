"""How capsules and their members are named on the command line, and completed."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from krater.cli.connection import client_of
from krater.client import Client, Conflict, members_of
from krater.client.capsule_answers import Capsule, Member, member_names
from krater.client.naming import SLASH

Command = TypeVar("Command", bound=Callable[..., Any])


def complete_capsules(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of capsules, and ids once something was typed. Silent whatever goes wrong: a shell is waiting."""
    return _beginning(_names(_capsules(context), incomplete), incomplete)


def complete_both(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The same, and members of them."""
    found = _capsules(context)
    return _beginning(_names(found, incomplete) + member_names(found), incomplete)


def _names(found: list[Capsule], incomplete: str) -> list[str]:
    return [c["name"] for c in found if c["name"]] + [c["uuid"] for c in found if incomplete or not c["name"]]


def _beginning(texts: list[str], incomplete: str) -> list[str]:
    return [text for text in texts if text.startswith(incomplete)]


def complete_members(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Members of the capsule that was named before."""
    named = context.params.get("capsule")
    found = [capsule for capsule in _capsules(context) if named in (capsule["name"], capsule["uuid"])]
    return _beginning([member["member_name"] for one in found for member in members_of(one)], incomplete)


def _capsules(context: click.Context) -> list[Capsule]:
    try:
        context.find_root().params["timeout"] = 2
        return client_of(context).capsules.list()
    except Exception:
        return []


def capsule_argument(command: Command) -> Command:
    """One capsule."""
    return click.argument("capsule", shell_complete=complete_capsules)(command)


def capsules_argument(command: Command) -> Command:
    """Capsules, or members of them."""
    return click.argument(
        "names", nargs=-1, required=True, metavar="CAPSULE[/MEMBER]...", shell_complete=complete_both
    )(command)


def member_argument(command: Command) -> Command:
    """A member; the capsule alone means the only one there is."""
    return click.argument("name", metavar="CAPSULE[/MEMBER]", shell_complete=complete_both)(command)


def only_member(client: Client, text: str) -> Member:
    """The member that is meant: the one that is named, else the only ordinary one. Conflict."""
    if SLASH in text:
        return client.capsules.find_member(text)
    capsule = client.capsules.find(text)
    if len(capsule["containers"]) == 1:
        return capsule["containers"][0]
    known = ", ".join(f"{text}{SLASH}{member['member_name']}" for member in members_of(capsule))
    raise Conflict(f"{text} has several members; say which: {known}.", status=409)


def meant_members(client: Client, text: str) -> list[Member]:
    """The member that is named, else all of the capsule, in the order they start."""
    return [client.capsules.find_member(text)] if SLASH in text else [*members_of(client.capsules.find(text))]
