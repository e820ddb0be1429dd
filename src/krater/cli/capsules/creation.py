"""`krater capsule create`, and how one that was just made is watched until it runs."""

import sys
from pathlib import Path
from typing import Any

import click

from krater.cli.capsules.board import Board, Row
from krater.cli.capsules.files import FILE, Unreadable, parsed, read_text
from krater.cli.capsules.words import addresses, member_words, name_of, trouble
from krater.cli.connection import pass_client
from krater.cli.failures import FAILED, INTERRUPTED, complain
from krater.cli.tables import show_json
from krater.cli.words import status_color
from krater.client import Client, NotFound, members_of
from krater.client.capsule_answers import Capsule

_OVER = ("Running", "Stopped", "Paused", "Error", "Unknown", "Dead", "Deleting", "Deleted")
_WELL = ("Running", "Stopped", "Paused")

# One that has failed so often will not come up by itself soon: whoever waits is told.
_TOO_MANY = 3


@click.command()
@click.option(
    "-f", "--file", type=FILE, required=True, metavar="FILE", help="Its template, YAML or JSON; `-` is stdin."
)
@click.option("--name", metavar="NAME", help="Its name, instead of the template's.")
@click.option("--wait/--no-wait", " /-d", default=True, help="Wait until all of it runs, as it does if not told.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
@pass_client
def create(client: Client, file: Path, name: str | None, wait: bool, form: str) -> int:
    """Make a capsule of a template, start it, wait until all of it runs, and print its id.

    What its members do is shown meanwhile. Exit code 1, and the reason, when it fails; it is not removed then. With
    --no-wait or -d it returns as soon as Krater has agreed.
    """
    try:
        template = _template(file, name)
    except Unreadable as error:
        complain(str(error))
        return FAILED
    return brought_up(client, client.capsules.create(template), form=form, wait=wait)


def _template(file: Path, name: str | None) -> str | dict[str, Any]:
    """The template as it is written; only where its name is to be another, it has to be understood here."""
    if name is None:
        return read_text(file)
    template = parsed(file)
    metadata = template.get("metadata") if isinstance(template, dict) else None
    if not isinstance(template, dict) or not isinstance(metadata, dict | None):
        raise Unreadable(f"{file}: is no template: expected an object with a key metadata that is one")
    template["metadata"] = {**(metadata or {}), "name": name}
    return template


def brought_up(client: Client, made: Capsule, *, form: str, wait: bool) -> int:
    """Wait until it runs and say which one it is; the exit code."""
    state, name = made, name_of(made)
    if wait:
        try:
            with Board(name) as board:
                watched = _followed(client, made, board)
        except KeyboardInterrupt:
            print(f"krater: {name} goes on without us.", file=sys.stderr)
            return INTERRUPTED
        if watched is None or watched["status"] not in _WELL:
            _explain(watched, name)
            return FAILED
        state = watched
        if sys.stderr.isatty() and sys.stdout.isatty():
            found = addresses(state)
            at = f" at {', '.join(found)}" if found and state["status"] == "Running" else ""
            print(f"{name} is {state['status'].lower()}{at}", file=sys.stderr)
    show_json(state) if form == "json" else print(state["uuid"], flush=True)
    return 0


def _followed(client: Client, made: Capsule, board: Board) -> Capsule | None:
    """Its state once it runs, has ended, has failed or keeps failing; None when it is gone."""
    try:
        for state in client.capsules.watch(made["uuid"]):
            members = members_of(state)
            if state["status"] in _OVER:
                return state
            if state["status"] == "Restarting" and any(member["restarts"] >= _TOO_MANY for member in members):
                return state
            name, reason = name_of(state), state["status_reason"]
            rows = [Row(member["member_name"], member_words(member), status_color(member)) for member in members]
            board.show(f"{name}: {state['status']}" + (f", {reason}" if reason else ""), rows)
    except NotFound:
        pass
    return None


def _explain(state: Capsule | None, name: str) -> None:
    """Why it does not run, and where to look."""
    complain(trouble(state, name))
    if state is None:
        return
    if state["status"] == "Restarting":
        print("  It keeps failing; Krater goes on trying.", file=sys.stderr)
    print(f"  `krater capsule show {name}` says more, `krater capsule logs {name}` what it wrote.", file=sys.stderr)
