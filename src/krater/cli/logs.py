"""`krater logs`, and how output gets from a container to stdout: byte for byte."""

import sys
from collections.abc import Iterable

import click

from krater.cli.arguments import container_argument
from krater.cli.arguments import since as since_moment
from krater.cli.connection import pass_client
from krater.client import Client, NotFound


@click.command()
@container_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the container ends.")
@click.option("-n", "--tail", metavar="LINES", help="Only the last so many lines, or `all`.")
@click.option(
    "--since",
    type=since_moment,
    metavar="WHEN",
    help="Only what is newer: 10m, 2026-01-31T12:00:00, seconds since 1970.",
)
@click.option("-t", "--timestamps", is_flag=True, help="The moment before each line.")
@pass_client
def logs(client: Client, container: str, follow: bool, tail: str | None, since: str | None, timestamps: bool) -> None:
    """Print what a container wrote, on stdout, exactly as it wrote it.

    The log of a container that was removed is kept for a while: name it by its whole id, or by its name.
    """
    if tail is not None and tail != "all" and not tail.isdigit():
        raise click.BadParameter(f"{tail!r} is no number of lines.", param_hint="--tail")
    try:
        uuid = client.containers.find(container)["uuid"]
    except NotFound:  # its log may be kept all the same; if not, the server says that there is no such container
        uuid, follow = container, False
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
