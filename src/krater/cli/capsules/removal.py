"""`krater capsule rm`, and what `krater kube down` does."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import click

from krater.cli.arguments import no_wait_option
from krater.cli.capsules.naming import complete_capsules
from krater.cli.capsules.words import name_of
from krater.cli.connection import pass_client
from krater.cli.progress import Progress
from krater.cli.remove import PATIENCE, PLAIN
from krater.cli.several import Several
from krater.client import Client, Conflict, NotFound
from krater.client.capsule_answers import Capsule, members_of

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
    asked, several = [], Several()
    for name in names:
        with several.one(), suppress(*[NotFound] if force else []):  # then "gone already" is as good as gone
            capsule = client.capsules.find(name)
            _remove(client, capsule, force=force, timeout=timeout)
            asked.append(capsule)
    with Progress() as progress:
        for capsule in asked:
            last = None if no_wait else _gone(client, capsule, timeout, progress)
            progress.clear()
            if last is None:
                print(name_of(capsule), flush=True)
            else:
                why = last["status_reason"] or last["status"].lower()
                several.fails(f"{name_of(capsule)} is not gone yet ({why}); Krater goes on removing it.")
    return several.code


def _remove(client: Client, capsule: Capsule, *, force: bool, timeout: int | None) -> None:
    name, status = name_of(capsule), capsule["status"]
    if status == "Deleting" and timeout is None:
        return  # somebody asked already
    if status not in (*PLAIN, "Deleting") and not force:
        raise Conflict(
            f"{name} is {status}. Stop it first (krater capsule stop {name}) or use krater capsule rm -f.", status=409
        )
    client.capsules.delete(capsule["uuid"], timeout=timeout)


def _gone(client: Client, capsule: Capsule, timeout: int | None, progress: Progress) -> Capsule | None:
    """Wait until it is gone; its state when it is not after PATIENCE and the time that all its members have."""
    grace = capsule.get("grace") or 0
    end = time.monotonic() + PATIENCE + min(grace, grace if timeout is None else timeout) * len(members_of(capsule))
    try:
        for state in client.capsules.watch(capsule["uuid"]):
            if time.monotonic() > end:
                return state
            progress.say(f"{name_of(state)}: being removed")
    except NotFound:
        pass
    return None
