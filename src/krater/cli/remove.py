"""`krater rm`."""

import click

from krater.cli.arguments import containers_argument, no_wait_option
from krater.cli.connection import pass_client
from krater.cli.lifecycle import settled
from krater.cli.progress import Progress
from krater.cli.waiting import Wait, ask_each
from krater.cli.words import name_of, progress_words
from krater.client import Client, Conflict, NotAllowed, NotFound
from krater.client.answers import Container
from krater.client.watching import last_of, never

PATIENCE = 120.0

PLAIN = ("Created", "Stopped", "Error", "Deleted", "Dead")


@click.command()
@containers_argument
@click.option("-f", "--force", is_flag=True, help="Also those that are not stopped; what is gone is fine.")
@no_wait_option
@pass_client
def rm(client: Client, containers: tuple[str, ...], force: bool, no_wait: bool) -> int:
    """Remove containers and wait until they are gone."""
    gone_already = (NotFound,) if force else ()
    return ask_each(containers, lambda text: _ask(client, text, force), no_wait=no_wait, forgiven=gone_already)


def _ask(client: Client, text: str, force: bool) -> tuple[str, Wait]:
    container = client.containers.find(text)
    remove(client, container, force=force)
    return container["name"], lambda progress: _wait(client, container, progress)


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


def _wait(client: Client, container: Container, progress: Progress) -> str | None:
    last = last_of(
        client.containers.watch(container["uuid"]),
        never,
        PATIENCE,
        lambda state: progress.say(f"{state['name']}: {progress_words(state)}"),
    )
    return None if last is None else not_gone(container["name"], progress_words(last))


def not_gone(name: str, words: str) -> str:
    """What to say of one that takes longer to remove than anybody waits."""
    return f"{name} is not gone yet ({words}); Krater goes on removing it."
