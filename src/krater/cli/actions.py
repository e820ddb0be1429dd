"""`krater actions`: what was asked of a container and how it went, also after it is gone."""

import click

from krater.cli.arguments import container_argument, format_option
from krater.cli.connection import pass_client
from krater.cli.tables import Column, safe, show_json, show_panel, show_rows, show_table
from krater.cli.words import moment, took
from krater.client import Client, NotFound
from krater.client.answers import Action, Event
from krater.client.naming import SLASH


def result_words(action: Action) -> str:
    """How it went."""
    return action["message"] or ("done" if action["finish_time"] else "under way")


ACTIONS = (
    Column("ACTION", lambda a: a["action"]),
    Column("STARTED", lambda a: moment(a["start_time"]), rank=1),
    Column("TOOK", lambda a: took(a["start_time"], a["finish_time"]), right=True, rank=2),
    Column("RESULT", result_words, least=8),
    Column("REQUEST", lambda a: a["request_id"], rank=3),
)
EVENTS = (
    Column("EVENT", lambda e: e["event"], least=12),
    Column("STARTED", lambda e: moment(e["start_time"]), rank=1),
    Column("TOOK", lambda e: took(e["start_time"], e["finish_time"]), right=True, rank=2),
    Column("RESULT", lambda e: e["result"] or "", least=8),
)


@click.command()
@container_argument
@click.argument("request", required=False)
@format_option
@pass_client
def actions(client: Client, container: str, request: str | None, form: str) -> None:
    """Show what was asked of a container, newest first; with a REQUEST id, the steps of that one.

    The history of a removed container is found by its full id.
    """
    try:
        container = client.containers.find(container)["uuid"]
    except NotFound:  # it may be gone and its history not
        if SLASH in container:
            raise
    if request is None:
        found = client.containers.actions(container)
        show_rows(found, ACTIONS, form)
        return
    one = client.containers.action(container, request)
    show_json(one) if form == "json" else show_action(one)


def show_action(one: Action) -> None:
    """One thing asked, with its steps."""
    pairs = [("Action", one["action"]), ("Request", one["request_id"]), ("User", one["user_id"])]
    show_panel([*pairs, ("Started", moment(one["start_time"])), ("Result", result_words(one))])
    _show_events(one.get("events") or [])


def _show_events(events: list[Event]) -> None:
    if not events:
        return
    print()
    show_table(events, EVENTS)
    for event in events:
        if event["traceback"]:
            print(f"\n{event['event']}:", *map(safe, event["traceback"].split("\n")), sep="\n")
