"""`krater db`: the database. `krater serve` brings it up to date by itself; this does only that."""

import asyncio
from pathlib import Path

import click

from krater.cli.settings import read_settings, settings_options


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
@settings_options
def upgrade(config: Path | None, directory: str | None, settings: tuple[str, ...]) -> None:
    """Bring the database to this program's version. Safe to repeat; nothing may be serving from it meanwhile."""
    from krater.wiring import open_store, own_directories

    chosen = read_settings(config, directory, settings)

    async def run() -> None:
        store = await open_store(chosen)
        await store.close()

    with own_directories(chosen):
        asyncio.run(run())
    print("The database is up to date.")
