"""`krater start`, `stop`, `restart`, `pause`, `unpause`, `kill`, `rebuild`: ask, and wait until it is so.

Waiting is what makes `krater stop web && krater rm web` work: the API only promises.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import click

from krater.cli.arguments import containers_argument, no_wait_option
from krater.cli.connection import pass_client
from krater.cli.progress import Progress
from krater.cli.waiting import Wait, ask_each
from krater.cli.words import name_of, progress_words, trouble
from krater.client import Client, is_settled
from krater.client.answers import Container
from krater.client.watching import last_of

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
    act, grace = partial(client.containers.stop, timeout=timeout), timeout or 0
    return _each(client, containers, act, STOPPED, no_wait, grace)


@click.command()
@containers_argument
@timeout_option
@no_wait_option
@pass_client
def restart(client: Client, containers: tuple[str, ...], timeout: int | None, no_wait: bool) -> int:
    """Restart containers."""
    act, grace = partial(client.containers.restart, timeout=timeout), timeout or 0
    return _each(client, containers, act, STARTED, no_wait, grace)


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
    client: Client,
    texts: Sequence[str],
    act: Callable[[str], None],
    wanted: Sequence[str],
    no_wait: bool,
    grace: float = 0.0,
) -> int:
    def ask(text: str) -> tuple[str, Wait]:
        container = client.containers.find(text)
        act(container["uuid"])
        return name_of(container), lambda progress: wait_for(client, container, wanted, progress, grace)

    return ask_each(texts, ask, no_wait=no_wait)


def wait_for(
    client: Client, container: Container, wanted: Sequence[str], progress: Progress, grace: float = 0.0
) -> str | None:
    """Wait until nothing is being done to it; what is wrong when its state is none of those that are wanted."""
    ended = settled(client, container, progress, grace)
    is_well = ended is not None and ended["status"] in wanted
    return None if is_well else trouble(ended, name_of(container))


def settled(
    client: Client,
    container: Container,
    progress: Progress,
    grace: float = 0.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Container | None:
    """Wait until nothing is being done to it; None when it is gone. After `grace` and PATIENCE, what it is by then."""
    return last_of(
        client.containers.watch(container["uuid"], sleep=sleep),
        is_settled,
        PATIENCE + grace,
        lambda state: progress.say(f"{name_of(state)}: {progress_words(state)}"),
    )
