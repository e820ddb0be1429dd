"""`krater capsule exec`, `attach`, `top`, `stats`: what runs inside a capsule."""

import click

from krater.cli.arguments import format_option
from krater.cli.capsules.naming import capsules_argument, meant_members, member_argument, only_member
from krater.cli.connection import pass_client
from krater.cli.detaching import read_keys
from krater.cli.execute import EXEC_SETTINGS, Way, detach_keys_option, run_inside, talk_to, way_options
from krater.cli.tables import Column, show_json, show_table
from krater.cli.usage import show_processes, show_stats, title_columns
from krater.client import Client, Conflict
from krater.client.answers import Processes
from krater.client.naming import SLASH


@click.command("exec", context_settings=EXEC_SETTINGS)
@way_options
@member_argument
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@pass_client
def execute(client: Client, interactive: bool, tty: bool, detach_keys: str, name: str, command: tuple[str, ...]) -> int:
    """Run a command inside a member, as `krater exec` does. The capsule alone means its only ordinary member."""
    way = Way(interactive, tty, read_keys(detach_keys))
    return run_inside(client, lambda text: only_member(client, text), name, command, way)


@click.command()
@detach_keys_option
@member_argument
@pass_client
def attach(client: Client, detach_keys: str, name: str) -> int:
    """Talk to a member's first process, made with `stdin`. The capsule alone means its only ordinary member."""
    return talk_to(client, lambda text: only_member(client, text), name, read_keys(detach_keys))


@click.command(context_settings={"ignore_unknown_options": True})
@member_argument
@click.argument("ps_args", nargs=-1, type=click.UNPROCESSED)
@format_option
@pass_client
def top(client: Client, name: str, ps_args: tuple[str, ...], form: str) -> None:
    """Show the processes of the members that run. PS_ARGS are options of `ps`, such as `-o pid,args`."""
    found: dict[str, Processes] = {}
    for member in meant_members(client, name):
        try:
            found[member["member_name"]] = client.containers.top(member["uuid"], " ".join(ps_args) or None)
        except Conflict:  # it does not run, which is no news of all members
            if SLASH in name:
                raise
    if form == "json":
        show_json(found)
    elif SLASH in name:
        show_processes(*found.values())
    else:
        rows = [(member, row) for member, answer in found.items() for row in answer["Processes"]]
        titles = next((answer["Titles"] for answer in found.values()), [])
        columns = title_columns(titles, lambda row: row[1])
        show_table(rows, (Column("MEMBER", lambda row: row[0], least=8), *columns))


@click.command()
@capsules_argument
@click.option("--no-stream", is_flag=True, help="One reading, instead of a table that stays up to date.")
@format_option
@pass_client
def stats(client: Client, names: tuple[str, ...], no_stream: bool, form: str) -> None:
    """Show what the members that run use now. On a terminal, until you press Ctrl-C."""
    chosen = []
    for text in names:
        chosen += [m for m in meant_members(client, text) if SLASH in text or m["status"] == "Running"]
    show_stats(client, chosen, no_stream=no_stream, form=form)
