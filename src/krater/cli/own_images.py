"""`krater commit`, `save`, `push` and `search`: images that are made here."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from krater.cli.arguments import complete_containers, format_option, no_wait_option
from krater.cli.connection import pass_client
from krater.cli.failures import FAILED, complain
from krater.cli.progress import Progress
from krater.cli.tables import Column, show_json, show_table
from krater.cli.words import size
from krater.client import Client, NotFound
from krater.client.answers import FoundImage

_PASSWORD = "KRATER_REGISTRY_PASSWORD"  # noqa: S105


def complete_own_images(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Images of the project."""
    from krater.cli.connection import client_of

    try:
        context.find_root().params["timeout"] = 2
        found = client_of(context).own_images.list()
    except Exception:
        return []
    return sorted({image["name"] for image in found if image["name"].startswith(incomplete)})


@click.command()
@click.argument("container", shell_complete=complete_containers)
@click.argument("image", metavar="NAME[:TAG]")
@no_wait_option
@pass_client
def commit(client: Client, container: str, image: str, no_wait: bool) -> int:
    """Make an image of a container. A running one waits while its files are read.

    The image belongs to your project: `krater run NAME` runs it, `krater save` and `krater push` take it elsewhere.
    """
    found = client.containers.find(container)
    uuid = client.containers.commit(found["uuid"], image)
    if not no_wait:
        with Progress() as progress:
            try:
                made = client.own_images.wait(uuid, sleep=_moving(progress, f"making an image of {found['name']}"))
            except NotFound:
                progress.clear()
                complain(f"There is no image: {_why(client, found['uuid'])}")
                return FAILED
        if made["status"] != "active":
            complain(f"{made['name']}: {made['status_reason']}")
            return FAILED
    print(uuid)
    return 0


def _moving(progress: Progress, text: str) -> Callable[[float], None]:
    """A pause that says what is being waited for."""

    def pause(seconds: float) -> None:
        progress.say(text)
        time.sleep(seconds)

    return pause


def _why(client: Client, container: str) -> str:
    """What the history says of the last commit."""
    said = [a["message"] for a in client.containers.actions(container) if a["action"] == "commit" and a["message"]]
    return said[0] if said else "it was deleted."


@click.command()
@click.argument("image", shell_complete=complete_own_images)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write to, not stdout.")
@pass_client
def save(client: Client, image: str, output: Path | None) -> int:
    """Write an image of your project to a file that `krater node import` and `docker load` take."""
    if output is None and sys.stdout.isatty():
        complain("An image is nothing for a terminal: say -o FILE, or redirect the output.")
        return FAILED
    pieces = client.own_images.archive(image)
    piece, total = next(pieces)
    beside = None if output is None else output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with sys.stdout.buffer if beside is None else beside.open("wb") as file, Progress() as progress:
            done = file.write(piece)
            for piece, total in pieces:
                done += file.write(piece)
                progress.say(f"saving {image}: {amount(done, total)}")
        if beside is not None and output is not None:
            beside.replace(output)
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)
    return 0


@click.command()
@click.argument("image", shell_complete=complete_own_images)
@click.argument("reference", metavar="REGISTRY/NAME[:TAG]")
@click.option("--registry", default="", help="Push with the login that is kept for this registry.")
@click.option("--username", default="", help="Who you are there.")
@click.option("--password-stdin", is_flag=True, help=f"Read the password from stdin; else {_PASSWORD} has it.")
@pass_client
def push(client: Client, image: str, reference: str, registry: str, username: str, password_stdin: bool) -> int:
    """Upload an image of your project to a registry."""
    if registry and (username or password_stdin):
        raise click.UsageError("--registry has a login of its own: leave out --username and --password-stdin")
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else os.environ.get(_PASSWORD, "")
    if username and not password and sys.stdin.isatty():
        password = click.prompt(f"Password of {username}", hide_input=True, err=True)
    uuid = client.own_images.show(image)["uuid"]
    seen = client.own_images.push(uuid, reference, registry=registry, username=username, password=password)
    with Progress() as progress:
        while seen["state"] == "working":
            time.sleep(0.2)
            seen = client.own_images.pushed(uuid, seen["push"])
            told = f": {amount(seen['done'], seen['total'])}" if seen["total"] else ""
            progress.say(f"pushing {image} to {reference}{told}")
    if seen["state"] == "done":
        print(seen["digest"])
        return 0
    complain(f"{reference}: {seen['reason'] or 'the upload was interrupted; push it again.'}")
    return FAILED


def amount(done: int, total: int) -> str:
    """How much of how much."""
    return f"{size(done)} of {size(total)} ({100 * done // max(total, 1)} %)"


def _with_tag(image: FoundImage) -> str:
    return ":".join([image["name"], *image.get("tags", [])])


FOUND = (
    Column("NAME", lambda i: i["name"], least=16),
    Column("STARS", lambda i: str(i["metadata"].get("star_count", "")), right=True, rank=2),
    Column("OFFICIAL", lambda i: "yes" if i["metadata"].get("is_official") else "", rank=1),
    Column("DESCRIPTION", lambda i: i.get("description") or "", least=20, rank=3),
)
OWN = (
    Column("NAME", _with_tag, least=16),
    Column("STATUS", lambda i: i.get("status") or ""),
    Column("SIZE", lambda i: size(i.get("size")), right=True, rank=1),
    Column("ID", lambda i: i.get("id") or "", rank=2),
)


@click.command()
@click.argument("words")
@click.option("--own", is_flag=True, help="Among the images of your project, not at Docker Hub.")
@click.option("--exact", is_flag=True, help="Only an image of exactly this name.")
@format_option
@pass_client
def search(client: Client, words: str, own: bool, exact: bool, form: str) -> None:
    """Search for images by their names."""
    found = client.images.search(words, driver="glance" if own else "docker", exact=exact)
    if form == "json":
        show_json(found)
    else:
        show_table(found, OWN if own else FOUND)
