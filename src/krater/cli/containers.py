"""`krater ps`, `show`, `rename`, `update`: containers as they are."""

import shlex

import click

from krater.cli.arguments import container_argument, format_option
from krater.cli.arguments import memory as memory_amount
from krater.cli.connection import pass_client
from krater.cli.tables import Column, cut_owner, show_json, show_panel, show_table
from krater.cli.words import (
    addresses,
    health_check_words,
    mebibytes,
    moment,
    name_of,
    progress_words,
    short_id,
    status_color,
    status_words,
)
from krater.client import Client, members_of
from krater.client.answers import Container

_ALIVE = ("Running", "Paused", "Restarting")

COLUMNS = (
    Column("NAME", name_of, least=12, shorten=cut_owner),
    Column("IMAGE", lambda c: c["image"], least=10, rank=2),
    Column("STATUS", status_words, least=14, color=status_color),
    Column("ADDRESSES", lambda c: ", ".join(addresses(c)), least=12, rank=3),
    Column("PORTS", lambda c: ", ".join(map(str, c["ports"] or [])), least=6, rank=5),
    Column("ID", lambda c: short_id(c["uuid"]), rank=4),
)
PROJECT = Column("PROJECT", lambda c: c["project_id"], least=8, rank=6)


@click.command()
@click.option("--running", is_flag=True, help="Only those with a process.")
@click.option("-a", "--all", is_flag=True, hidden=True, help="What `docker ps` needs; here it is so anyway.")
@click.option("--filter", "filters", multiple=True, metavar="KEY=VALUE", help="Only name=, status=, image= or label=.")
@click.option("--capsule", metavar="CAPSULE", help="The members of this capsule instead.")
@click.option("--all-members", is_flag=True, help="The members of capsules too.")
@click.option("--all-projects", is_flag=True, help="Those of all projects (administrators).")
@click.option("-q", "--quiet", is_flag=True, help="Only ids.")
@format_option
@pass_client
def ps(
    client: Client,
    running: bool,
    all: bool,
    filters: tuple[str, ...],
    capsule: str | None,
    all_members: bool,
    all_projects: bool,
    quiet: bool,
    form: str,
) -> None:
    """List containers, those that do not run as well.

    `--filter name=web` keeps names with `web` in them, `--filter status=running` a status, `--filter image=alpine` an
    image, `--filter label=tier` and `--filter label=tier=front` a label. Several of one key: any of them; several
    keys: all of them.
    """
    wanted = _parsed(filters)
    found: list[Container]
    if capsule is not None:
        found = [*client.capsules.members(client.capsules.find(capsule)["uuid"])]
    else:
        found = client.containers.list(all_projects=all_projects)
        if all_members:
            found += [m for one in client.capsules.list(all_projects=all_projects) for m in members_of(one)]
    found = [container for container in found if _matches(container, wanted)]
    if running:
        found = [c for c in found if c["status"] in _ALIVE]
    if quiet:
        for container in found:
            print(container["uuid"])
    elif form == "json":
        show_json(found)
    else:
        show_table(found, (*COLUMNS, PROJECT) if all_projects else COLUMNS)


def _parsed(filters: tuple[str, ...]) -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = {}
    for text in filters:
        key, equals, value = text.partition("=")
        if not equals or key not in ("name", "status", "image", "label"):
            raise click.UsageError(f"--filter {text}: expected name=, status=, image= or label= and a value.")
        wanted.setdefault(key, []).append(value)
    return wanted


def _matches(container: Container, wanted: dict[str, list[str]]) -> bool:
    return all(any(_has(container, key, value) for value in values) for key, values in wanted.items())


def _has(container: Container, key: str, value: str) -> bool:
    if key == "name":
        return value in container["name"]
    if key == "status":
        return container["status"].lower() == value.lower()
    if key == "image":
        return value in (container["image"], container["image"].rpartition(":")[0])
    name, equals, text = value.partition("=")
    labels = container["labels"] or {}
    return name in labels and (not equals or labels[name] == text)


@click.command()
@container_argument
@format_option
@pass_client
def show(client: Client, container: str, form: str) -> None:
    """Show all about a container."""
    found = client.containers.find(container)
    if form == "json":
        show_json(found)
    else:
        show_panel(_facts(found))


def _facts(c: Container) -> list[tuple[str, str | list[str]]]:
    detail = (c["status_detail"] or "").strip()
    policy = c["restart_policy"] or {}
    tries = policy.get("MaximumRetryCount", "0")
    restart = policy.get("Name", "no") + (f", {tries} times at most" if tries not in ("0", "") else "")
    flags = [word for word in ("interactive", "tty", "auto_remove", "auto_heal", "privileged") if c.get(word)]
    return [
        ("Name", name_of(c)),
        ("Id", c["uuid"]),
        *_member_facts(c),
        ("Status", f"{c['status']} ({detail})" if detail not in ("", c["status"]) else c["status"]),
        ("Now", progress_words(c) if c["task_state"] else ""),
        ("Reason", c["status_reason"] or ""),
        ("Image", c["image"]),
        ("Command", shlex.join(c["command"] or [])),
        ("Entrypoint", shlex.join(c["entrypoint"] or [])),
        ("Working dir", c["workdir"] or ""),
        ("CPU", f"{c['cpu']:g}" if c["cpu"] else ""),
        ("Memory", mebibytes(float(c["memory"])) if c["memory"] else ""),
        ("Disk", f"{c['disk']}G" if c["disk"] else ""),
        ("Host name", c["hostname"] or ""),
        ("Addresses", [f"{a['addr']} on {net}" for net, found in (c["addresses"] or {}).items() for a in found]),
        ("Ports", ", ".join(map(str, c["ports"] or []))),
        ("Restart", restart if policy else ""),
        ("Health check", health_check_words(c)),
        ("Flags", ", ".join(flags)),
        ("Environment", [f"{key}={value}" for key, value in sorted((c["environment"] or {}).items())]),
        ("Labels", [f"{key}={value}" for key, value in sorted((c["labels"] or {}).items())]),
        ("Host", c.get("host") or ""),
        ("Runtime", c.get("runtime") or ""),
        ("Project", c["project_id"]),
        ("Created", moment(c["created_at"])),
        ("Updated", moment(c["updated_at"])),
    ]


def _member_facts(c: Container) -> list[tuple[str, str]]:
    """What is to be said of a member of a capsule besides."""
    facts = [("Capsule", "capsule_uuid"), ("Role", "role"), ("Restarts", "restarts"), ("Exit code", "exit_code")]
    ready = {True: "yes", False: "no"}.get(bool(c.get("ready"))) if c.get("ready") is not None else ""
    told = [(title, "" if c.get(key) is None else str(c.get(key))) for title, key in facts]
    return [*told, ("Ready", ready or "")]


@click.command()
@container_argument
@click.argument("name")
@pass_client
def rename(client: Client, container: str, name: str) -> None:
    """Give a container another name."""
    found = client.containers.find(container)
    print(client.containers.rename(found["uuid"], name)["name"])


@click.command()
@container_argument
@click.option("--cpu", type=click.FloatRange(min=0, min_open=True), help="Cores.")
@click.option("-m", "--memory", type=memory_amount, metavar="AMOUNT", help="512 (MiB), 512m or 2g.")
@click.option("--auto-heal/--no-auto-heal", default=None, help="Whether it is made anew when it is lost.")
@pass_client
def update(client: Client, container: str, cpu: float | None, memory: int | None, auto_heal: bool | None) -> None:
    """Change the limits of a container, also while it runs."""
    if cpu is None and memory is None and auto_heal is None:
        raise click.UsageError("Say what to change: --cpu, --memory or --auto-heal.")
    found = client.containers.find(container)
    print(client.containers.update(found["uuid"], cpu=cpu, memory=memory, auto_heal=auto_heal)["name"])
