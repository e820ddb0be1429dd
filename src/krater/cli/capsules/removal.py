"""`krater capsule rm`, and what `krater kube down` does."""

import time
from collections.abc import Sequence

import click

from krater.cli.arguments import no_wait_option
from krater.cli.capsules.naming import complete_capsules
from krater.cli.capsules.words import name_of
from krater.cli.connection import access_of, pass_client
from krater.cli.failures import FAILED, complain, report
from krater.cli.progress import Progress
from krater.cli.remove import PATIENCE, PLAIN
from krater.client import ApiError, Client, Conflict, NotAuthenticated, NotFound
from krater.client.capsule_answers import Capsule


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="CAPSULE...", shell_complete=complete_capsules)
@click.option("-f", "--force", is_flag=True, help="Also those that are not stopped; what is gone is fine.")
@no_wait_option
@pass_client
def rm(client: Client, names: tuple[str, ...], force: bool, no_wait: bool) -> int:
    """Remove capsules with all their members and the volumes that go with them, and wait until they are gone."""
    return remove_each(client, names, force=force, no_wait=no_wait)


def remove_each(client: Client, names: Sequence[str], *, force: bool, no_wait: bool) -> int:
    """Ask for all, then wait for all; the exit code."""
    asked, code = [], 0
    for name in names:
        try:
            capsule = client.capsules.find(name)
            _remove(client, capsule, force=force)
        except NotAuthenticated:
            raise
        except ApiError as error:
            if not (force and isinstance(error, NotFound)):  # "gone already" is as good as gone
                report(error, access_of(click.get_current_context()))
                code = FAILED
        else:
            asked.append(capsule)
    with Progress() as progress:
        for capsule in asked:
            last = None if no_wait else _gone(client, capsule, progress)
            progress.clear()
            if last is None:
                print(name_of(capsule), flush=True)
            else:
                why = last["status_reason"] or last["status"].lower()
                complain(f"{name_of(capsule)} is not gone yet ({why}); Krater goes on removing it.")
                code = FAILED
    return code


def _remove(client: Client, capsule: Capsule, *, force: bool) -> None:
    name, status = name_of(capsule), capsule["status"]
    if status == "Deleting":
        return  # somebody asked already
    if status not in PLAIN and not force:
        raise Conflict(
            f"{name} is {status}. Stop it first (krater capsule stop {name}) or use krater capsule rm -f.", status=409
        )
    client.capsules.delete(capsule["uuid"])


def _gone(client: Client, capsule: Capsule, progress: Progress) -> Capsule | None:
    """Wait until it is gone; its state when it is not after its grace and PATIENCE."""
    end = time.monotonic() + PATIENCE + (capsule.get("grace") or 0)
    try:
        for state in client.capsules.watch(capsule["uuid"]):
            if time.monotonic() > end:
                return state
            progress.say(f"{name_of(state)}: being removed")
    except NotFound:
        pass
    return None
