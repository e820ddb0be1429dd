"""`krater capsule ls` and `show`: capsules as they are."""

import sys
from collections.abc import Sequence

import click

from krater.cli.arguments import format_option
from krater.cli.capsules.history import show_events
from krater.cli.capsules.naming import capsule_argument
from krater.cli.capsules.words import addresses, age_of, color, ended_words, name_of, ready_words, running, state_words
from krater.cli.connection import pass_client
from krater.cli.tables import Column, show_json, show_panel, show_table, table, terminal_width, width_of
from krater.cli.words import mebibytes, moment, short_id, status_color
from krater.client import ApiError, Client, members_of
from krater.client.capsule_answers import Capsule, CapsuleVolume, Member

_COLUMNS = (
    Column("NAME", name_of, least=12),
    Column("STATUS", lambda c: c["status"], color=color),
    Column("MEMBERS", running),
    Column("ADDRESSES", lambda c: ", ".join(addresses(c)), least=12, rank=2),
    Column("AGE", age_of, rank=3),
    Column("REASON", lambda c: c["status_reason"] or "", least=20, rank=1),
    Column("ID", lambda c: short_id(c["uuid"]), rank=4),
)
_PROJECT = Column("PROJECT", lambda c: c["project_id"], least=8, rank=5)
_MEMBERS = (
    Column("MEMBER", lambda m: m["member_name"], least=8),
    Column("ROLE", lambda m: m["role"], rank=2),
    Column("STATE", state_words, least=10, color=status_color),
    Column("RESTARTS", lambda m: str(m["restarts"]), right=True, rank=3),
    Column("READY", ready_words, rank=4),
    Column("EXIT CODE", ended_words, right=True, rank=5),
    Column("REASON", lambda m: m["status_reason"] or "", least=20, rank=1),
)
_EVENTS_SHOWN = 8


@click.command()
@click.option("--name", metavar="NAME", help="Only those of this name.")
@click.option("--status", metavar="STATUS", help="Only those in this state, such as Running or Error.")
@click.option("-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Only with this label; repeatable.")
@click.option("--all-projects", is_flag=True, help="Those of all projects (administrators).")
@click.option("-q", "--quiet", is_flag=True, help="Only ids.")
@format_option
@pass_client
def ls(
    client: Client,
    name: str | None,
    status: str | None,
    labels: tuple[str, ...],
    all_projects: bool,
    quiet: bool,
    form: str,
) -> None:
    """List capsules: how many of their members run, of those that should, and why, where they do not."""
    wrong = next((label for label in labels if "=" not in label), None)
    if wrong is not None:
        raise click.UsageError(f"--label {wrong}: expected KEY=VALUE.")
    filters: dict[str, str | list[str]] = {}
    if name is not None:
        filters["name"] = name
    if status is not None:
        filters["status"] = status.capitalize()
    if labels:
        filters["labels"] = [*labels]
    found = client.capsules.list(all_projects=all_projects, filters=filters)
    if quiet:
        for capsule in found:
            print(capsule["uuid"])
    elif form == "json":
        show_json(found)
    else:
        show_table(found, (*_COLUMNS, _PROJECT) if all_projects else _COLUMNS)


@click.command()
@capsule_argument
@format_option
@pass_client
def show(client: Client, capsule: str, form: str) -> None:
    """Show all about a capsule: its state and why, its members, and what happened to it lately."""
    found = client.capsules.find(capsule)
    if form == "json":
        show_json(found)
        return
    show_panel(_facts(found))
    print()
    _show_members(members_of(found))
    try:
        actions = client.capsules.actions(found["uuid"])
    except ApiError:  # there is no more to say, which is no reason to fail
        return
    if actions:
        print()
        show_events(actions[:_EVENTS_SHOWN], found)


def _show_members(members: Sequence[Member]) -> None:
    """A table; where it would have to cut a reason, these are told below it in full."""
    reasons = [(member["member_name"], member["status_reason"] or "") for member in members]
    width = terminal_width(sys.stdout)
    whole = table(members, _MEMBERS, None)
    if width is None or not any(told for _, told in reasons) or max(map(width_of, whole)) <= width:
        show_table(members, _MEMBERS)
        return
    show_table(members, [column for column in _MEMBERS if column.title != "REASON"])
    print()
    show_panel(reasons)


def _facts(c: Capsule) -> list[tuple[str, str | list[str]]]:
    policy, grace = c["restart_policy"] or {}, c.get("grace")
    tries = policy.get("MaximumRetryCount", "0")
    restart = policy.get("Name", "") + (f", {tries} times at most" if tries not in ("0", "") else "")
    return [
        ("Name", c["name"] or "(none)"),
        ("Id", c["uuid"]),
        ("Status", c["status"]),
        ("Reason", c["status_reason"] or ""),
        ("CPU", f"{c['cpu']:g}" if c["cpu"] else ""),
        ("Memory", mebibytes(float(c["memory"])) if c["memory"] else ""),
        ("Host name", c.get("hostname") or ""),
        ("Addresses", [f"{a['addr']} on {net}" for net, found in (c["addresses"] or {}).items() for a in found]),
        ("Groups", ", ".join(c.get("security_groups") or [])),
        ("Volumes", [line for volume in c.get("volumes") or [] for line in _volume_lines(volume)]),
        ("Restart", restart),
        ("Grace", "" if grace is None else f"{grace}s"),
        ("Flags", "auto_heal" if c.get("auto_heal") else ""),
        ("Labels", [f"{key}={value}" for key, value in sorted((c["labels"] or {}).items())]),
        ("Annotations", [f"{key}={value}" for key, value in sorted((c["annotations"] or {}).items())]),
        ("Host", c.get("host") or ""),
        ("Project", c["project_id"]),
        ("Created", moment(c["created_at"])),
        ("Updated", moment(c["updated_at"])),
    ]


def _volume_lines(volume: CapsuleVolume) -> list[str]:
    """What it is, then who sees it where."""
    facts = [short_id(volume["id"]) if volume["id"] else "", f"{volume['size']} GiB" if volume["size"] else ""]
    told = ", ".join(fact for fact in facts if fact)
    uses = [
        f"  {use['member']} at {use['path']}" + (" (read-only)" if use["read_only"] else "") for use in volume["mounts"]
    ]
    return [f"{volume['name']} ({told})" if told else volume["name"], *uses]
