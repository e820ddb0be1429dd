"""How operator commands find the settings: a file, then options of the command line."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from krater.config import Settings, load
from krater.errors import Invalid

DEFAULT_FILE = Path("/etc/krater/krater.conf")

Command = TypeVar("Command", bound=Callable[..., Any])


def settings_options(command: Command) -> Command:
    """The options that every operator command takes."""
    for option in (
        click.option("--set", "settings", multiple=True, metavar="SECTION.OPTION=VALUE", help="Override one setting."),
        click.option("--directory", metavar="DIR", help="Where Krater keeps everything."),
        click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False),
            help=f"Settings file; {DEFAULT_FILE} when it is there.",
        ),
    ):
        command = option(command)
    return command


def read_settings(config: Path | None, directory: str | None, texts: tuple[str, ...]) -> Settings:
    """The settings, or the end of the program with exit code 2 and the reason."""
    if config is None and DEFAULT_FILE.exists():
        config = DEFAULT_FILE
    try:
        return load(config, _overrides(directory, texts))
    except Invalid as error:
        print(f"krater: {error.message}", file=sys.stderr)
        sys.exit(2)


def _overrides(directory: str | None, texts: tuple[str, ...]) -> dict[tuple[str, str], str]:
    found = {("core", "directory"): directory} if directory else {}
    for text in texts:
        name, equals, value = text.partition("=")
        section, dot, option = name.partition(".")
        if not equals or not dot:
            raise Invalid(f"--set {text}: expected SECTION.OPTION=VALUE, such as api.port=9517")
        found["core" if section == "DEFAULT" else section, option] = value
    return found
