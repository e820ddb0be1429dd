"""`krater exec`."""

import click

from krater.cli.arguments import complete_containers
from krater.cli.connection import access_of, pass_client
from krater.cli.failures import NOT_RUN, report
from krater.cli.logs import write
from krater.client import Client, ClientError

NEXT_RELEASE = "Terminals and input come with the next release of Krater; "


@click.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-i", "--interactive", is_flag=True, help="Pass input on (next release).")
@click.option("-t", "--tty", is_flag=True, help="With a terminal (next release).")
@click.argument("container", shell_complete=complete_containers)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@pass_client
def execute(client: Client, interactive: bool, tty: bool, container: str, command: tuple[str, ...]) -> int:
    """Run a command inside a running container, print its output and end with its exit code.

    The exit code is 125 when the command could not be run at all.
    """
    if interactive or tty:
        raise click.UsageError(NEXT_RELEASE + "run a command that needs neither, without -i and -t.")
    words = command[1:] if command[0] == "--" else command  # as `krater exec web -- ls` is meant
    try:
        ended = client.containers.execute(client.containers.find(container)["uuid"], words)
    except ClientError as error:
        report(error, access_of(click.get_current_context()))
        return NOT_RUN
    write([ended["output"] or ""])
    return ended["exit_code"] or 0
