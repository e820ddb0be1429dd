"""`krater config`: the settings file."""

from pathlib import Path

import click

from krater.cli.settings import read_settings, settings_options


@click.group()
def config() -> None:
    """Look at settings."""


@config.command()
def sample() -> None:
    """Print a settings file with every option, its meaning and its default."""
    from krater.config import sample as sample_text

    print(sample_text())


@config.command()
@settings_options
def check(config: Path | None, directory: str | None, settings: tuple[str, ...]) -> None:
    """Check the settings as `krater serve` would read them: exit code 0, or 2 with the reason."""
    read_settings(config, directory, settings)
    print("The settings are good.")


@config.command()
@settings_options
def show(config: Path | None, directory: str | None, settings: tuple[str, ...]) -> None:
    """Print the settings in force, as JSON."""
    import json
    from dataclasses import asdict

    print(json.dumps(asdict(read_settings(config, directory, settings)), indent=2))
