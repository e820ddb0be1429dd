"""`krater capsule`: templates of capsules, checked and made without a server."""

import json
from pathlib import Path
from typing import Any

import click

from krater.cli.failures import FAILED, complain
from krater.cli.tables import safe

_FILE = click.Path(dir_okay=False, allow_dash=True, path_type=Path)
_LARGEST = 1 << 20


@click.group()
def capsule() -> None:
    """Look at templates of capsules: several containers that are one. Running them comes with a later release."""


@capsule.command()
@click.argument("files", type=_FILE, nargs=-1, required=True, metavar="FILE...")
def lint(files: tuple[Path, ...]) -> None:
    """Check templates (YAML or JSON) without sending them. Exit code 1 when one is wrong: for CI."""
    from krater.api.templates import read_template, unknown_keys
    from krater.errors import Invalid

    is_wrong = False
    for file in files:
        text = _read(file)
        try:
            template = read_template(text)
        except Invalid as error:
            complain(f"{file}: {error.message}")
            is_wrong = True
            continue
        for key in unknown_keys(_load(text), template):
            click.echo(safe(f"{file}: {key}: means nothing in a capsule"), err=True)
        click.echo(f"{file}: ok")
    if is_wrong:
        raise SystemExit(FAILED)


@capsule.command()
@click.argument("file", type=_FILE, metavar="POD.yaml")
@click.option("--strict", is_flag=True, help="Fail when a field of the Pod has to be left out.")
def convert(file: Path, strict: bool) -> None:
    """Turn a Kubernetes Pod manifest into a template, on standard output. What has to be left out is named."""
    from krater.cli.pods import NotAPod, capsule_of

    try:
        template, left_out = capsule_of(_load(_read(file)))
    except (NotAPod, ValueError) as error:
        complain(f"{file}: {error}")
        raise SystemExit(FAILED) from None
    for place in left_out:
        click.echo(safe(f"{file}: {place}: left out, a capsule has no such thing"), err=True)
    if strict and left_out:
        raise SystemExit(FAILED)
    click.echo(json.dumps(template, indent=2))


def _read(file: Path) -> str:
    """The text of a file, or of standard input for `-`."""
    try:
        with click.open_file(str(file), "r", encoding="utf-8") as stream:
            text: str = stream.read(_LARGEST + 1)
            return text
    except (OSError, UnicodeDecodeError) as error:
        complain(f"{file}: cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}")
        raise SystemExit(FAILED) from None


def _load(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"is not YAML: {' '.join(str(error).split())[:200]}") from None
