"""What our own containerd is told of registries: which are spoken to without TLS. It reads this anew at each pull."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_OURS: Final = "# Written by Krater, of the setting plain_http_registries of [agent].\n"
_HOSTS: Final = (
    _OURS
    + """server = "http://{name}"

[host."http://{name}"]
  capabilities = ["pull", "resolve"]
"""
)


def allow_plain_http(directory: Path, registries: Iterable[str]) -> None:
    """Have containerd speak plain HTTP to these (host or host:port) and to no other, but for what others wrote there.

    The registries of the loopback address need not be named.
    """
    wanted = {name for name in registries if name and "/" not in name and name not in (".", "..")}
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for place in directory.iterdir():
        if place.name not in wanted and _is_ours(place):
            shutil.rmtree(place)
    for name in wanted:
        place = directory / name
        place.mkdir(exist_ok=True)
        (place / "hosts.toml").write_text(_HOSTS.format(name=name))


def _is_ours(place: Path) -> bool:
    try:
        return (place / "hosts.toml").read_text().startswith(_OURS)
    except OSError:
        return False
