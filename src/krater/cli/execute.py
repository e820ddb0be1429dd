"""`krater exec` and `krater attach`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from krater.cli.arguments import complete_containers, container_argument
from krater.cli.connection import access_of, pass_client
from krater.cli.conversation import Spoken, check_terminal, converse, window_size
from krater.cli.detaching import DEFAULT, read_keys
from krater.cli.failures import FAILED, INTERRUPTED, NOT_RUN, complain, report
from krater.cli.logs import write
from krater.client import Client, ClientError
from krater.client.answers import Container

Command = TypeVar("Command", bound=Callable[..., Any])
Find = Callable[[str], Container]
"""Which container a text means."""

EXEC_SETTINGS = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@dataclass(frozen=True, slots=True)
class Way:
    """Whether a command gets input and a terminal, and what is typed to leave that."""

    interactive: bool
    tty: bool
    keys: bytes


detach_keys_option = click.option(
    "--detach-keys",
    metavar="KEYS",
    default=DEFAULT,
    show_default=True,
    help="What to type to leave a terminal without ending what runs in it.",
)


def way_options(command: Command) -> Command:
    """How to talk to a command."""
    for option in (
        detach_keys_option,
        click.option("-t", "--tty", is_flag=True, help="Give it a terminal."),
        click.option("-i", "--interactive", is_flag=True, help="Pass input on."),
    ):
        command = option(command)
    return command


@click.command("exec", context_settings=EXEC_SETTINGS)
@way_options
@click.argument("container", shell_complete=complete_containers)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@pass_client
def execute(
    client: Client, interactive: bool, tty: bool, detach_keys: str, container: str, command: tuple[str, ...]
) -> int:
    """Run a command inside a running container, print its output and end with its exit code.

    With -i it gets your input, with -it a terminal; it ends when you leave. The exit code is 125 when the command could
    not be run at all.
    """
    way = Way(interactive, tty, read_keys(detach_keys))
    return run_inside(client, client.containers.find, container, command, way)


def run_inside(client: Client, find: Find, container: str, command: Sequence[str], way: Way) -> int:
    """Run a command in what `find` says is meant; the exit code."""
    check_terminal(way.tty, way.interactive)
    words = command[1:] if command[0] == "--" else command  # as `krater exec web -- ls` is meant
    try:
        uuid = find(container)["uuid"]
        if way.interactive or way.tty:
            console = client.containers.open_exec(uuid, words, tty=way.tty, size=window_size() if way.tty else None)
            return _ended(converse(console, tty=way.tty, interactive=way.interactive, keys=way.keys), container)
        ended = client.containers.execute(uuid, words)
    except KeyboardInterrupt:
        return INTERRUPTED
    except ClientError as error:
        report(error, access_of(click.get_current_context()))
        return NOT_RUN
    write([ended["output"] or ""])
    return ended["exit_code"] or 0


@click.command()
@detach_keys_option
@container_argument
@pass_client
def attach(client: Client, detach_keys: str, container: str) -> int:
    """Talk to a container's first process, made with -i, and end with its exit code.

    At a terminal, Ctrl-P Ctrl-Q leaves it running; so does Ctrl-C where it has none.
    """
    return talk_to(client, client.containers.find, container, read_keys(detach_keys))


def talk_to(client: Client, find: Find, container: str, keys: bytes) -> int:
    """Talk to the first process of what `find` says is meant; its exit code."""
    try:
        found = find(container)
        tty = found["tty"]
        check_terminal(tty, True)
        console = client.containers.attach(found["uuid"])
        return _ended(converse(console, tty=tty, interactive=True, keys=keys), container)
    except KeyboardInterrupt:
        return INTERRUPTED
    except ClientError as error:
        report(error, access_of(click.get_current_context()))
        return NOT_RUN


def _ended(spoken: Spoken, name: str) -> int:
    """The exit code for how a conversation ended."""
    if spoken.detached:
        return 0
    if spoken.refused:
        complain(spoken.refused)
        return NOT_RUN
    if not spoken.over:
        complain(f"The connection to {name} was lost.")
        return FAILED
    if spoken.exit_code is None:
        complain(f"The exit code of {name} is not known.")
        return FAILED
    return spoken.exit_code
