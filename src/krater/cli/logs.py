"""`krater logs`, and how output gets from a container to stdout: byte for byte."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from krater.cli.arguments import container_argument
from krater.cli.arguments import since as since_moment
from krater.cli.connection import pass_client
from krater.client import Client, NotFound
from krater.client.naming import SLASH

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which part of a log, and whether with stamps."""

    tail: str | None
    since: str | None
    timestamps: bool


def log_options(command: Command) -> Command:
    """Which part of a log, and whether to go on."""
    for option in (
        click.option("-t", "--timestamps", is_flag=True, help="The moment before each line."),
        click.option(
            "--since",
            type=since_moment,
            metavar="WHEN",
            help="Only what is newer: 10m, 2026-01-31T12:00:00, seconds since 1970.",
        ),
        click.option("-n", "--tail", metavar="LINES", help="Only the last so many lines, or `all`."),
        click.option("-f", "--follow", is_flag=True, help="Go on until the container ends."),
    ):
        command = option(command)
    return command


def check_tail(tail: str | None) -> str | None:
    """The same, if it makes sense."""
    if tail is not None and tail != "all" and not tail.isdigit():
        raise click.BadParameter(f"{tail!r} is no number of lines.", param_hint="--tail")
    return tail


@click.command()
@container_argument
@log_options
@pass_client
def logs(client: Client, container: str, follow: bool, tail: str | None, since: str | None, timestamps: bool) -> None:
    """Print what a container wrote, on stdout, exactly as it wrote it.

    The log of a container that was removed is kept for a while: name it by its whole id, or by its name.
    """
    chosen = Chosen(check_tail(tail), since, timestamps)
    try:
        uuid = client.containers.find(container)["uuid"]
    except NotFound:  # its log may be kept all the same; if not, the server says that there is no such container
        if SLASH in container:
            raise
        uuid, follow = container, False
    print_log(client, uuid, chosen, follow=follow)


def print_log(client: Client, uuid: str, chosen: Chosen, *, follow: bool) -> None:
    """Print what one container wrote, exactly as it wrote it."""
    tail, since, timestamps = chosen.tail, chosen.since, chosen.timestamps
    if follow:
        write(client.containers.follow(uuid, timestamps=timestamps, tail=tail, since=since))
    elif tail != "0":
        write([client.containers.logs(uuid, timestamps=timestamps, tail=tail, since=since)])


def write(pieces: Iterable[str]) -> None:
    """Write pieces of output to stdout, each as soon as it is there, without changing or adding anything."""
    sys.stdout.flush()
    for piece in pieces:
        sys.stdout.buffer.write(encoded(piece))
        sys.stdout.buffer.flush()


def encoded(text: str) -> bytes:
    """The bytes that were decoded to this text: those that were no UTF-8 may have come as lone surrogates."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")
