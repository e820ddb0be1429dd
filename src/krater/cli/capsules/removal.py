"""`krater capsule rm`, and what `krater kube down` does."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from krater.cli.arguments import no_wait_option
from krater.cli.capsules.naming import complete_capsules
from krater.cli.capsules.words import name_of
from krater.cli.connection import pass_client
from krater.cli.progress import Progress
from krater.cli.remove import PATIENCE, PLAIN, not_gone
from krater.cli.waiting import Wait, ask_each
from krater.client import Client, Conflict, NotFound
from krater.client.capsule_answers import Capsule, members_of
from krater.client.watching import last_of, never

Command = TypeVar("Command", bound=Callable[..., Any])


def grace_option(command: Command) -> Command:
    """For those who do not want to wait for processes that do not end."""
    return click.option(
        "-t",
        "--timeout",
        type=click.IntRange(min=0),
        metavar="SECONDS",
        help="End each member after that long, if it would have longer; 0 is at once.",
    )(command)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="CAPSULE...", shell_complete=complete_capsules)
@click.option("-f", "--force", is_flag=True, help="Also those that are not stopped; what is gone is fine.")
@grace_option
@no_wait_option
@pass_client
def rm(client: Client, names: tuple[str, ...], force: bool, timeout: int | None, no_wait: bool) -> int:
    """Remove capsules with all their members and the volumes that go with them, and wait until they are gone.

    Members end one after the other. Those that are being removed already are hurried by a smaller --timeout.
    """
    return remove_each(client, names, force=force, timeout=timeout, no_wait=no_wait)


def remove_each(client: Client, names: Sequence[str], *, force: bool, timeout: int | None, no_wait: bool) -> int:
    """Ask for all, then wait for all; the exit code."""
    gone_already = (NotFound,) if force else ()

    def ask(name: str) -> tuple[str, Wait]:
        capsule = client.capsules.find(name)
        _remove(client, capsule, force=force, timeout=timeout)
        return name_of(capsule), lambda progress: _wait(client, capsule, timeout, progress)

    return ask_each(names, ask, no_wait=no_wait, forgiven=gone_already)


def _remove(client: Client, capsule: Capsule, *, force: bool, timeout: int | None) -> None:
    name, status = name_of(capsule), capsule["status"]
    if status == "Deleting" and timeout is None:
        return  # somebody asked already
    if status not in (*PLAIN, "Deleting") and not force:
        raise Conflict(
            f"{name} is {status}. Stop it first (krater capsule stop {name}) or use krater capsule rm -f.", status=409
        )
    client.capsules.delete(capsule["uuid"], timeout=timeout)


def _wait(client: Client, capsule: Capsule, timeout: int | None, progress: Progress) -> str | None:
    """Wait until it is gone, for PATIENCE and the time that all its members have."""
    grace = capsule.get("grace") or 0
    last = last_of(
        client.capsules.watch(capsule["uuid"]),
        never,
        PATIENCE + min(grace, grace if timeout is None else timeout) * len(members_of(capsule)),
        lambda state: progress.say(f"{name_of(state)}: being removed"),
    )
    return None if last is None else not_gone(name_of(capsule), last["status_reason"] or last["status"].lower())
