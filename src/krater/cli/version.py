"""`krater version`."""

import click

from krater import __version__
from krater.cli.arguments import format_option
from krater.cli.connection import pass_client
from krater.cli.tables import show_json, show_panel
from krater.client import Client, Unreachable
from krater.client.session import MICROVERSION


@click.command()
@format_option
@pass_client
def version(client: Client, form: str) -> None:
    """Show the versions of this program and of the server."""
    try:
        server = client.version()
        spoken = f"{server['min_version']} to {server['max_version']} at {client.access.url}"
    except Unreachable as error:
        server, spoken = None, error.title
    if form == "json":
        show_json({"krater": __version__, "api_version": MICROVERSION, "server": server})
    else:
        show_panel([("Krater", __version__), ("Asks for API", MICROVERSION), ("Server has API", spoken)])
