"""`krater rm`."""

import time
from contextlib import suppress

import click

from krater.cli.arguments import containers_argument, no_wait_option
from krater.cli.connection import pass_client
from krater.cli.lifecycle import settled
from krater.cli.progress import Progress
from krater.cli.several import Several
from krater.cli.words import name_of, progress_words
from krater.client import Client, Conflict, NotAllowed, NotFound
from krater.client.answers import Container

PATIENCE = 120.0

PLAIN = ("Created", "Stopped", "Error", "Deleted", "Dead")


@click.command()
@containers_argument
@click.option("-f", "--force", is_flag=True, help="Also those that are not stopped; what is gone is fine.")
@no_wait_option
@pass_client
def rm(client: Client, containers: tuple[str, ...], force: bool, no_wait: bool) -> int:
    """Remove containers and wait until they are gone."""
    asked, several = [], Several()
    for text in containers:
        with several.one(), suppress(*[NotFound] if force else []):  # then "gone already" is as good as gone
            container = client.containers.find(text)
            remove(client, container, force=force)
            asked.append(container)
    with Progress() as progress:
        for container in asked:
            last = None if no_wait else _gone(client, container, progress)
            progress.clear()
            if last is None:
                print(container["name"], flush=True)
            else:
                words = progress_words(last)
                several.fails(f"{container['name']} is not gone yet ({words}); Krater goes on removing it.")
    return several.code


def remove(client: Client, container: Container, *, force: bool) -> None:
    """Have it removed, in the gentlest way that its state and the user allow. Returns before it is gone."""
    name, uuid, status = container["name"], container["uuid"], container["status"]
    if "member_name" in container:
        whole = name_of(container).rpartition("/")[0]
        raise Conflict(f"{name_of(container)} goes with its capsule: krater capsule rm {whole}.", status=409)
    if status == "Deleting":
        return  # somebody asked already
    if status in PLAIN:
        client.containers.delete(uuid)
    elif not force:
        raise Conflict(f"{name} is {status}. Stop it first (krater stop {name}) or use rm -f.", status=409)
    elif status == "Paused":
        client.containers.unpause(uuid)
        settled(client, container, Progress())
        client.containers.delete(uuid, stop=True)
    else:
        _remove_at_once(client, uuid, name)


def _remove_at_once(client: Client, uuid: str, name: str) -> None:
    """Stop and remove; where the state does not allow that, as when it is being made, only administrators can."""
    try:
        client.containers.delete(uuid, stop=True)
    except Conflict as error:
        try:
            client.containers.delete(uuid, force=True)
        except NotAllowed:
            raise Conflict(
                f"{error.title.rstrip('.')}. Wait, or ask an administrator to remove {name}.", status=409
            ) from error


def _gone(client: Client, container: Container, progress: Progress) -> Container | None:
    """Wait until it is gone; its state when it is not after PATIENCE."""
    end = time.monotonic() + PATIENCE
    try:
        for state in client.containers.watch(container["uuid"]):
            if time.monotonic() > end:
                return state
            progress.say(f"{state['name']}: {progress_words(state)}")
    except NotFound:
        pass
    return None
