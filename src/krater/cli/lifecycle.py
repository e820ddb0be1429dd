"""`krater start`, `stop`, `restart`, `pause`, `unpause`, `kill`, `rebuild`: ask, and wait until it is so.

Waiting is what makes `krater stop web && krater rm web` work: the API only promises.
"""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import click

from krater.cli.arguments import containers_argument, no_wait_option
from krater.cli.connection import pass_client
from krater.cli.progress import Progress
from krater.cli.several import Several
from krater.cli.words import name_of, progress_words, trouble
from krater.client import Client, NotFound, is_settled
from krater.client.answers import Container

PATIENCE = 300.0

Command = TypeVar("Command", bound=Callable[..., int])

STARTED = ("Running", "Stopped", "Restarting")  # what was started may have ended already
STOPPED = ("Stopped", "Created")


def timeout_option(command: Command) -> Command:
    """How long a process may take to end."""
    return click.option(
        "-t", "--timeout", type=click.IntRange(min=0), metavar="SECONDS", help="How long it may take to end by itself."
    )(command)


@click.command()
@containers_argument
@no_wait_option
@pass_client
def start(client: Client, containers: tuple[str, ...], no_wait: bool) -> int:
    """Start containers."""
    return _each(client, containers, client.containers.start, STARTED, no_wait)


@click.command()
@containers_argument
@timeout_option
@no_wait_option
@pass_client
def stop(client: Client, containers: tuple[str, ...], timeout: int | None, no_wait: bool) -> int:
    """Stop containers: ask their processes to end, and kill them when they do not."""
    return _each(client, containers, lambda uuid: client.containers.stop(uuid, timeout=timeout), STOPPED, no_wait)


@click.command()
@containers_argument
@timeout_option
@no_wait_option
@pass_client
def restart(client: Client, containers: tuple[str, ...], timeout: int | None, no_wait: bool) -> int:
    """Restart containers."""
    return _each(client, containers, lambda uuid: client.containers.restart(uuid, timeout=timeout), STARTED, no_wait)


@click.command()
@containers_argument
@no_wait_option
@pass_client
def pause(client: Client, containers: tuple[str, ...], no_wait: bool) -> int:
    """Freeze containers: their processes keep their memory and get no CPU."""
    return _each(client, containers, client.containers.pause, ("Paused",), no_wait)


@click.command()
@containers_argument
@no_wait_option
@pass_client
def unpause(client: Client, containers: tuple[str, ...], no_wait: bool) -> int:
    """Thaw containers."""
    return _each(client, containers, client.containers.unpause, STARTED, no_wait)


@click.command()
@containers_argument
@click.option("-s", "--signal", metavar="SIGNAL", help="Its name or number; SIGKILL if not given.")
@no_wait_option
@pass_client
def kill(client: Client, containers: tuple[str, ...], signal: str | None, no_wait: bool) -> int:
    """Send a signal to the first process of containers."""
    return _each(
        client, containers, lambda uuid: client.containers.kill(uuid, signal=signal), (*STARTED, "Paused"), no_wait
    )


@click.command()
@containers_argument
@click.option("--image", help="Another image to make them from.")
@no_wait_option
@pass_client
def rebuild(client: Client, containers: tuple[str, ...], image: str | None, no_wait: bool) -> int:
    """Make containers anew from their image; ids, names and addresses stay, what they wrote to disk is lost."""
    return _each(
        client, containers, lambda uuid: client.containers.rebuild(uuid, image=image), (*STARTED, "Created"), no_wait
    )


def _each(
    client: Client, texts: Sequence[str], act: Callable[[str], None], wanted: Sequence[str], no_wait: bool
) -> int:
    """Ask for all, then wait for all, so that ten take as long as one. A failure does not keep the others from it."""
    asked, several = [], Several()
    for text in texts:
        with several.one():
            container = client.containers.find(text)
            act(container["uuid"])
            asked.append(container)
    with Progress() as progress:
        for container in asked:
            ended = None if no_wait else settled(client, container, progress)
            progress.clear()
            if no_wait or (ended is not None and ended["status"] in wanted):
                print(name_of(container), flush=True)
            else:
                several.fails(trouble(ended, name_of(container)))
    return several.code


def settled(
    client: Client, container: Container, progress: Progress, sleep: Callable[[float], None] = time.sleep
) -> Container | None:
    """Wait until nothing is being done to it; None when it is gone. After PATIENCE, what it is by then."""
    end = time.monotonic() + PATIENCE
    try:
        for state in client.containers.watch(container["uuid"], sleep=sleep):
            if is_settled(state) or time.monotonic() > end:
                return state
            progress.say(f"{name_of(state)}: {progress_words(state)}")
    except NotFound:
        pass
    return None
