"""`krater capsule events`: what was asked of a capsule and its members, and how it went."""

from collections.abc import Sequence
from contextlib import suppress

import click

from krater.cli.actions import result_words, show_action
from krater.cli.arguments import format_option
from krater.cli.capsules.naming import capsule_argument
from krater.cli.connection import pass_client
from krater.cli.tables import Column, show_json, show_table
from krater.cli.words import moment, short_id, took
from krater.client import Client, NotFound, members_of
from krater.client.answers import Action
from krater.client.capsule_answers import Capsule


@click.command()
@capsule_argument
@click.argument("request", required=False)
@format_option
@pass_client
def events(client: Client, capsule: str, request: str | None, form: str) -> None:
    """Show what was asked of a capsule and its members, newest first; with a REQUEST id, the steps of that one.

    The history of a removed capsule is found by its full id.
    """
    found = None
    with suppress(NotFound):  # it may be gone and its history not
        found = client.capsules.find(capsule)
    ident = found["uuid"] if found is not None else capsule
    if request is not None:
        one = client.capsules.action(ident, request)
        show_json(one) if form == "json" else show_action(one)
        return
    actions = client.capsules.actions(ident)
    show_json(actions) if form == "json" else show_events(actions, found)


def show_events(actions: Sequence[Action], capsule: Capsule | None) -> None:
    """A table of them."""
    names = {member["uuid"]: member["member_name"] for member in members_of(capsule)} if capsule is not None else {}
    whole = capsule["uuid"] if capsule is not None else ""

    def whose(action: Action) -> str:
        uuid = action["container_uuid"]
        return names.get(uuid) or ("" if uuid == whole else short_id(uuid))

    show_table(
        actions,
        (
            Column("MEMBER", whose, least=8),
            Column("ACTION", lambda a: a["action"]),
            Column("STARTED", lambda a: moment(a["start_time"]), rank=1),
            Column("TOOK", lambda a: took(a["start_time"], a["finish_time"]), right=True, rank=2),
            Column("RESULT", result_words, least=8),
            Column("REQUEST", lambda a: a["request_id"], rank=3),
        ),
    )
