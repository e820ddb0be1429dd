"""`krater capsule lint` and `convert`: templates of capsules, checked and made without a server."""

import json
from pathlib import Path
from typing import Any, ClassVar

import click

from krater.cli.failures import FAILED, complain
from krater.cli.tables import safe

FILE = click.Path(dir_okay=False, allow_dash=True, path_type=Path)
_LARGEST = 1 << 20


class Unreadable(Exception):
    """A file that cannot be read, or is not what it should be; the text begins with its name."""


@click.command()
@click.argument("files", type=FILE, nargs=-1, required=True, metavar="FILE...")
def lint(files: tuple[Path, ...]) -> None:
    """Check templates (YAML or JSON) without sending them. Exit code 1 when one is wrong: for CI."""
    is_wrong = False
    for file in files:
        try:
            odd = _odd_keys(parsed(file))
        except (Unreadable, ValueError) as error:
            complain(str(error) if isinstance(error, Unreadable) else f"{file}: {error}")
            is_wrong = True
            continue
        for key in odd:
            click.echo(safe(f"{file}: {key}: means nothing in a capsule"), err=True)
        click.echo(f"{file}: ok")
    if is_wrong:
        raise SystemExit(FAILED)


def _odd_keys(written: object) -> list[str]:
    """The places of keys that mean nothing, in a template that is right as far as can be said without a server: how
    much one may ask for and what there is, only that knows. ValueError.
    """
    from krater.api.capsule_specs import read_capsule
    from krater.api.templates import read_template, unknown_keys
    from krater.config import LimitSettings
    from krater.errors import Invalid

    anything = LimitSettings(
        minimum_cpus=0.01, maximum_cpus=1e6, minimum_memory=1, maximum_memory=10**9, maximum_grace=10**9
    )
    try:
        template = read_template(written)
        read_capsule("0" * 32, template, anything, _LARGEST)
    except Invalid as error:
        raise ValueError(error.message) from None
    return list(unknown_keys(written, template))


def parsed(file: Path) -> object:
    """What a template says, as the server reads it. Unreadable."""
    from krater.api.templates import parse
    from krater.errors import Invalid

    try:
        return parse(read_text(file))
    except Invalid as error:
        raise Unreadable(f"{file}: {error.message}") from None


@click.command()
@click.argument("file", type=FILE, metavar="POD.yaml")
@click.option("--strict", is_flag=True, help="Fail when a field of the Pod has to be left out.")
def convert(file: Path, strict: bool) -> None:
    """Turn a Kubernetes Pod manifest into a template, on standard output. What has to be left out is named."""
    from krater.cli.pods import NotAPod, capsule_of, told

    try:
        template, left_out = capsule_of(load(file, read_text(file)))
    except (Unreadable, NotAPod, ValueError) as error:
        complain(str(error) if isinstance(error, Unreadable) else f"{file}: {error}")
        raise SystemExit(FAILED) from None
    for note in left_out:
        click.echo(safe(f"{file}: {told(note)}"), err=True)
    if strict and left_out:
        raise SystemExit(FAILED)
    click.echo(json.dumps(template, indent=2, default=str))


def read_text(file: Path) -> str:
    """The text of a file, or of standard input for `-`. Unreadable."""
    try:
        with click.open_file(str(file), "r", encoding="utf-8") as stream:
            text: str = stream.read(_LARGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise Unreadable(f"{file}: cannot be read: {reason}") from None
    if len(text) > _LARGEST:
        raise Unreadable(f"{file}: is longer than {_LARGEST} characters")
    return text


def load(file: Path, text: str) -> Any:
    """What a text of YAML, or JSON, means. Unreadable."""
    documents = load_all(file, text)
    if len(documents) > 1:
        raise Unreadable(f"{file}: has {len(documents)} documents; one was expected")
    return documents[0] if documents else None


def load_all(file: Path, text: str) -> list[Any]:
    """What each document of it means; empty ones are left out. Dates are texts, as Kubernetes has it. Unreadable."""
    import yaml

    base: Any = yaml.SafeLoader

    class Loader(base):  # type: ignore[misc]
        yaml_implicit_resolvers: ClassVar[Any] = {
            first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
            for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    try:
        found = yaml.load_all(text, Loader=Loader)
        return [document for document in found if document is not None]
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Unreadable(f"{file}: is not YAML: {' '.join(str(error).split())[:200]}") from None
