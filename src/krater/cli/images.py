"""`krater images`, `pull`, `rmi`."""

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import click

from krater.cli.arguments import complete_images, format_option, no_wait_option
from krater.cli.connection import pass_client
from krater.cli.failures import FAILED, complain
from krater.cli.progress import Progress
from krater.cli.several import Several
from krater.cli.tables import Column, show_json, show_table
from krater.cli.words import short_id, size
from krater.client import Client, Conflict, InvalidRequest, NotAllowed, NotFound
from krater.client.answers import Image
from krater.client.states import is_id

PATIENCE = 900.0

IMAGES = (
    Column("REPOSITORY", lambda i: i["repo"], least=14),
    Column("TAG", lambda i: i["tag"] or "", least=8),
    Column("SIZE", lambda i: size(i["size"]), right=True, rank=2),
    Column("IMAGE ID", lambda i: short_id((i["image_id"] or "").removeprefix("sha256:")), rank=3),
    Column("HOST", lambda i: i["host"] or "", least=8, rank=1),
    Column("ID", lambda i: short_id(i["uuid"]), rank=4),
)


OWN_IMAGES = (
    Column("NAME", lambda i: i["name"], least=14),
    Column("STATUS", lambda i: i["status"]),
    Column("SIZE", lambda i: size(i["size"]), right=True, rank=2),
    Column("IMAGE ID", lambda i: short_id((i["image_id"] or "").removeprefix("sha256:")), rank=3),
    Column("CREATED", lambda i: (i["created_at"] or "")[:19].replace("T", " "), rank=1),
    Column("ID", lambda i: short_id(i["uuid"]), rank=4),
)


@click.command()
@click.option("-q", "--quiet", is_flag=True, help="Only ids.")
@click.option("--own", is_flag=True, help="Those that your project made; for users these are all they see anyway.")
@format_option
@pass_client
def images(client: Client, quiet: bool, own: bool, form: str) -> None:
    """List the images in the stores of the hosts, or those of your project."""
    found: Sequence[Any] = ()
    try:
        found = client.own_images.list() if own else client.images.list()
    except NotAllowed:
        own, found = True, client.own_images.list()
    if quiet:
        for image in found:
            print(image["uuid"])
    elif form == "json":
        show_json(found)
    else:
        show_table(found, OWN_IMAGES if own else IMAGES)


@click.command()
@click.argument("image")
@click.option("--host", "hosts", multiple=True, metavar="HOST", help="Only onto this host; may be repeated.")
@no_wait_option
@pass_client
def pull(client: Client, image: str, hosts: tuple[str, ...], no_wait: bool) -> int:
    """Pull an image from its registry onto all hosts, or onto some."""
    chosen = hosts or tuple(host["hostname"] for host in client.hosts.list())
    if not chosen:
        complain("There is no host to pull it onto.")
        return FAILED
    asked = [_ask_for(client, image, host) for host in chosen]
    code = 0
    with Progress() as progress:
        for item in asked:
            wrong = "" if no_wait else _pulled(client, item, progress)
            progress.clear()
            if wrong:
                complain(f"{image} on {item['host']}: {wrong}")
                code = FAILED
            else:
                print(item["uuid"], flush=True)
    return code


def _ask_for(client: Client, name: str, host: str) -> Image:
    """Ask for it, unless it is there already or on its way: that is as good."""
    try:
        return client.images.pull(name, host)
    except Conflict:
        there = [i for i in client.images.list() if i["host"] == host]
        found = matching(there, name)
        if not found:
            raise
        return found[0]


def _pulled(client: Client, image: Image, progress: Progress) -> str:
    """Wait until the host has it; empty, or what went wrong."""
    end = time.monotonic() + PATIENCE
    pause = 0.05
    while True:
        try:
            image = client.images.show(image["uuid"])
        except (NotFound, InvalidRequest):
            return "it could not be pulled."
        reason = image.get("status_reason") or ""
        if (image.get("status") or "").lower() in ("error", "failed"):
            return reason or "it could not be pulled."
        if image["image_id"]:
            return ""
        if time.monotonic() > end:
            return "it is not there yet; the host goes on pulling it."
        progress.say(f"pulling {image['repo']} onto {image['host']}" + (f": {reason}" if reason else ""))
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", shell_complete=complete_images)
@click.option("--host", metavar="HOST", help="Only from this host.")
@pass_client
def rmi(client: Client, images: tuple[str, ...], host: str | None) -> int:
    """Remove images of your project, or else from all hosts that have them. An IMAGE is NAME[:TAG] or an id."""
    there: Sequence[Image] = ()
    with contextlib.suppress(NotAllowed):  # users have their own only
        there = [image for image in client.images.list() if host in (None, image["host"])]
    several = Several()
    for text in images:
        if host is None and (own := _remove_own(client, text)):
            print(own, flush=True)
            continue
        found = matching(there, text)
        if not found:
            several.fails(f"There is no image {text}." if host is None else f"{host} has no image {text}.")
        for image in found:
            with several.one():
                client.images.delete(image["uuid"])
                print(image["uuid"], flush=True)
    return several.code


def _remove_own(client: Client, text: str) -> str:
    """Remove one of the project's; its id, or empty when it has none of this name."""
    try:
        image = client.own_images.show(text)
        client.own_images.delete(image["uuid"])
    except NotFound:
        return ""
    return image["uuid"]


def matching(there: Sequence[Image], text: str) -> list[Image]:
    """Images meant by a name (its tag is `latest` if not given) or by the beginning of an id of one image."""
    name, tag = text, "latest"
    if "@" in text:
        name, _, tag = text.partition("@")
    elif ":" in text.rpartition("/")[2]:
        name, _, tag = text.rpartition(":")
    found = [i for i in there if _familiar(i["repo"]) == _familiar(name) and (i["tag"] or "latest") == tag]
    if found or not is_id(text.removeprefix("sha256:")):
        return found
    short = text.removeprefix("sha256:")
    by_content = [i for i in there if (i["image_id"] or "").removeprefix("sha256:").startswith(short)]
    by_id = [i for i in there if i["uuid"].startswith(short)]
    if len({i["image_id"] for i in by_content} | {i["uuid"] for i in by_id}) > 1:
        raise click.ClickException(f"The ids of several images begin with {text}.")
    return by_id or by_content


def _familiar(repository: str) -> str:
    """A repository as people write it: without Docker Hub's domain and `library/`."""
    return repository.removeprefix("docker.io/").removeprefix("library/")
