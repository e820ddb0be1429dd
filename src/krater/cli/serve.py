"""`krater serve`: Krater as a long-running service."""

import asyncio
from pathlib import Path

import click

from krater.cli.settings import read_settings, settings_options
from krater.config import Settings


@click.command()
@settings_options
@click.option("--listen", metavar="ADDRESS", help="Address to listen on; short for --set api.host_ip=ADDRESS.")
@click.option("--port", metavar="PORT", help="Port to listen on; short for --set api.port=PORT.")
@click.option("--fake", is_flag=True, help="With a fake engine and network: nothing runs. For development.")
def serve(
    config: Path | None,
    directory: str | None,
    settings: tuple[str, ...],
    listen: str | None,
    port: str | None,
    fake: bool,
) -> None:
    """Run Krater on this machine: API, controller and node in one process.

    Everything is kept in one directory (/var/lib/krater unless told otherwise). The first start makes the accounts
    file and ready client files in it. Containers go on running when this ends; the next start finds them again.
    """
    short = [f"api.host_ip={listen}"] if listen else []
    short += [f"api.port={port}"] if port else []
    _run(read_settings(config, directory, (*settings, *short)), fake=fake)


def _run(settings: Settings, *, fake: bool) -> None:
    import uvloop

    from krater import telemetry
    from krater.wiring import Embedded, own_directories

    telemetry.start_logging(debug=settings.core.debug)
    with own_directories(settings), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Embedded(settings, fake=fake).run())
