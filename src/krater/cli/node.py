"""`krater node`: what the operator does on a node itself, as root, beside the running service."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click

from krater.cli.settings import read_settings, settings_options
from krater.config import Settings


@click.group()
def node() -> None:
    """Look after this node."""


@node.command("import")
@click.argument("archive", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", help="Name to file the image under; else the name in the archive.")
@settings_options
def import_(
    archive: Path, name: str | None, config: Path | None, directory: str | None, settings: tuple[str, ...]
) -> None:
    """Take an image archive (of `docker save`, or OCI; plain or gzip) into this node's image store."""
    chosen = read_settings(config, directory, settings)
    _run(_import(chosen, archive, name))


async def _import(settings: Settings, archive: Path, name: str | None) -> None:
    from krater.wiring import open_runtime

    runtime = await open_runtime(settings)
    try:
        for image in await runtime.import_image(str(archive), name):
            print(f"{image.name}  {image.digest}")
    finally:
        await runtime.close()


@node.command()
@settings_options
def clear(config: Path | None, directory: str | None, settings: tuple[str, ...]) -> None:
    """Leave no container, network or engine of Krater on this machine. Database, images and logs stay.

    Refused while `krater serve` runs.
    """
    from krater.wiring import clear_node, own_directories

    chosen = read_settings(config, directory, settings)
    with own_directories(chosen):
        _run(clear_node(chosen))


def _run(work: Coroutine[Any, Any, None]) -> None:
    from krater import telemetry

    telemetry.start_logging(quiet=True)
    asyncio.run(work)
