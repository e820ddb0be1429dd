"""`krater keys`: the keys of this installation."""

import asyncio
from pathlib import Path

import click

from krater.cli.settings import read_settings, settings_options


@click.group()
def keys() -> None:
    """Look after the keys of this installation."""


@keys.command()
@settings_options
def rotate(config: Path | None, directory: str | None, settings: tuple[str, ...]) -> None:
    """Encrypt all stored passwords of registries with a new key.

    Krater may be running. The key before is kept until the next time; to be rid of one that got known, rotate twice.
    """
    from krater.wiring import rotate_keys

    count = asyncio.run(rotate_keys(read_settings(config, directory, settings)))
    print(f"{count} {'password is' if count == 1 else 'passwords are'} encrypted with a new key.")
