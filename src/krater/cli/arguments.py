"""Options and arguments that several commands share, and what shells complete for them."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from krater.cli.connection import client_of
from krater.client.capsule_answers import member_names

Command = TypeVar("Command", bound=Callable[..., Any])

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def complete_containers(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of containers, and ids once something was typed. Silent whatever goes wrong: a shell is waiting."""
    try:
        context.find_root().params["timeout"] = 2
        client = client_of(context)
        found, capsules = client.containers.list(), client.capsules.list_if_any()
    except Exception:
        return []
    texts = [c["name"] for c in found] + [c["uuid"] for c in found if incomplete] + member_names(capsules)
    return [text for text in texts if text.startswith(incomplete)]


def complete_images(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Images that hosts have."""
    try:
        context.find_root().params["timeout"] = 2
        found = client_of(context).images.list()
    except Exception:
        return []
    names = {f"{image['repo']}:{image['tag']}" if image["tag"] else image["repo"] for image in found}
    return sorted(name for name in names if name.startswith(incomplete))


def container_argument(command: Command) -> Command:
    """One container."""
    return click.argument("container", shell_complete=complete_containers)(command)


def containers_argument(command: Command) -> Command:
    """One container or more."""
    argument = click.argument(
        "containers", nargs=-1, required=True, metavar="CONTAINER...", shell_complete=complete_containers
    )
    return argument(command)


def format_option(command: Command) -> Command:
    """Tables for people, JSON for programs."""
    return click.option(
        "--format", "form", type=click.Choice(["table", "json"]), default="table", help="How to print it."
    )(command)


def no_wait_option(command: Command) -> Command:
    """For those who do not want to know how it ends."""
    return click.option("--no-wait", is_flag=True, help="Return as soon as Krater has agreed to do it.")(command)


def since(text: str) -> str:
    """A moment as seconds since 1970; written so, as 2026-01-31T12:00:00, or how long ago as 90s, 10m, 2h, 3d."""
    if text.isdigit():
        return text
    ago = re.fullmatch(r"(\d+)([smhd])", text)
    if ago:
        return str(int(time.time()) - int(ago[1]) * _UNITS[ago[2]])
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no moment; expected 10m, 2026-01-31T12:00:00 or seconds since 1970."
        ) from None
    return str(max(0, int(parsed.astimezone(UTC).timestamp())))


def memory(text: str) -> int:
    """MiB, of 512, 512m or 2g."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([mgt])(?:i?b)?)?", text.lower())
    amount = float(found[1]) * {"m": 1, "g": 1024, "t": 1024**2}[found[2] or "m"] if found else 0
    if amount < 1 or amount != int(amount):
        raise click.BadParameter(f"{text!r} is no amount of memory; expected MiB as 512 or 512m, or 2g.")
    return int(amount)


def disk(text: str) -> int:
    """GiB, of 10 or 10g."""
    found = re.fullmatch(r"(\d+)\s*(?:g(?:i?b)?)?", text.lower())
    if not found or int(found[1]) < 1:
        raise click.BadParameter(f"{text!r} is no amount of disk; expected GiB as 10 or 10g.")
    return int(found[1])
