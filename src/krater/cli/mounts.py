"""`--mount` and `--volume` of `krater run` and `create`: what of a command line becomes `mounts` of the request."""

import base64
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from krater.cli.arguments import disk

Mount = dict[str, str | bool]

_FORMS = (
    "source=VOLUME,destination=PATH[,readonly], size=GIB,destination=PATH[,readonly] "
    "or type=bind,source=FILE,destination=PATH"
)
_KEYS = {"source": "source", "src": "source", "destination": "destination", "dst": "destination", "target":
         "destination", "size": "size", "type": "type"}  # fmt: skip
_LARGEST = 16 << 20  # the server knows its own limit; this is for somebody who names a disk image

OPTIONS = (
    click.option(
        "--mount",
        multiple=True,
        metavar="KEY=VALUE,...",
        help="source=VOLUME, size=GIB or type=bind,source=FILE; each with destination=PATH, volumes with ,readonly.",
    ),
    click.option("-v", "--volume", multiple=True, metavar="VOLUME:PATH[:ro]", help="Volume, by name or id, at PATH."),
)


def mounts(mount: Iterable[str], volume: Iterable[str]) -> list[Mount]:
    """The mounts that these options ask for, in order."""
    return [*(_mount(text) for text in mount), *(_volume(text) for text in volume)]


def _mount(text: str) -> Mount:
    given: dict[str, str] = {}
    read_only = False
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals and key in ("readonly", "ro"):
            read_only = True
        elif not value or _KEYS.get(key) is None or _KEYS[key] in given:
            raise _wrong(text)
        else:
            given[_KEYS[key]] = value
    kind, keys = given.pop("type", "volume"), set(given)
    if kind == "bind" and keys == {"source", "destination"}:
        return {"type": "bind", "source": _content(given["source"]), "destination": given["destination"]}
    if kind != "volume" or keys not in ({"source", "destination"}, {"size", "destination"}):
        raise _wrong(text)
    if "size" in given:
        given["size"] = str(disk(given["size"]))
    return {**given, "read_only": True} if read_only else {**given}


def _volume(text: str) -> Mount:
    source, colon, rest = text.partition(":")
    path, _, mode = rest.partition(":")
    if source.startswith(("/", ".", "~")):
        raise click.BadParameter(
            f"{text!r}: paths of this machine cannot be mounted. Make a volume (krater volume create NAME --size GIB), "
            "or inject a file with --mount type=bind,source=FILE,destination=PATH.",
            param_hint="--volume",
        )
    if not source or not colon or not path.startswith("/") or mode not in ("", "ro", "rw"):
        raise click.BadParameter(f"{text!r}: expected VOLUME:/PATH[:ro].", param_hint="--volume")
    mount: Mount = {"source": source, "destination": path}
    return {**mount, "read_only": True} if mode == "ro" else mount


def _content(path: str) -> str:
    try:
        with sys.stdin.buffer if path == "-" else Path(path).open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be read: {error.strerror}.", param_hint="--mount") from None
    if len(content) > _LARGEST:
        raise click.BadParameter(f"{path} is too large to be injected; use a volume.", param_hint="--mount")
    return base64.b64encode(content).decode()


def _wrong(text: str) -> click.BadParameter:
    return click.BadParameter(f"{text!r}: expected {_FORMS}.", param_hint="--mount")
