"""What our own containerd is told of registries: which are spoken to without TLS, and whose certificates are trusted.

It reads this anew at each pull.
"""

import json
import os
import shutil
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from krater.model.registry import is_loopback_name, literal, split_domain
from krater.outgoing import Place

_OURS: Final = "# Written by Krater, of its settings.\n"
_OURS_BEFORE: Final = "# Written by Krater, of the setting plain_http_registries of [agent].\n"
_CERTIFICATE: Final = "ca.crt"
_EVERY: Final = "_default"
_TLS: Final = 443

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Trust:
    """Registries without TLS (host or host:port); certificates for all; a directory of HOST[:PORT]/ca.crt."""

    plain_http: tuple[str, ...] = ()
    ca_file: str = ""
    certificates: str = ""

    def is_secure(self, domain: str) -> bool:
        """Whether TLS is spoken to the registry of this domain: as containerd does for pulls."""
        host, port = split_domain(domain)
        address = literal(host)
        if domain in self.plain_http:
            return False
        is_here = is_loopback_name(host) or (address is not None and address.is_loopback)
        return not is_here or port == _TLS or domain in _own_certificates(self.certificates)

    def context(self, place: Place) -> ssl.SSLContext:
        """What is trusted where a connection leads. Blocks."""
        made, own = ssl.create_default_context(), _own_certificates(self.certificates)
        host = f"[{place.host}]" if ":" in place.host else place.host
        names = (f"{host}:{place.port}", *((host,) if place.port == _TLS else ()))
        for file in (self.ca_file, *(own[name] for name in names if name in own)):
            if file:
                try:
                    made.load_verify_locations(file)
                except OSError as error:
                    log.error("certificates of registries cannot be read", file=file, reason=str(error))
        return made


def write_hosts(directory: Path, trust: Trust) -> None:
    """Have containerd speak plain HTTP to these and to no other, and trust these certificates and the system's.

    What others wrote there stays. The registries of the loopback address need not be named.
    """
    wanted = {name: _plain(name) for name in trust.plain_http if _is_name(name)}
    everywhere = [os.path.abspath(trust.ca_file)] if trust.ca_file else []
    for name, file in _own_certificates(trust.certificates).items():
        wanted.setdefault(name, f'server = "https://{name}"\n{_trusting([*everywhere, file])}')
    if everywhere:
        wanted[_EVERY] = _trusting(everywhere)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for place in directory.iterdir():
        if place.name not in wanted and _is_ours(place):
            shutil.rmtree(place)
    for name, text in wanted.items():
        place = directory / name
        place.mkdir(exist_ok=True)
        (place / "hosts.toml").write_text(_OURS + text)


def _plain(name: str) -> str:
    return f'server = "http://{name}"\n\n[host."http://{name}"]\n  capabilities = ["pull", "resolve"]\n'


def _trusting(files: list[str]) -> str:
    """containerd 1.6 reads no file that has no table of hosts, be it empty."""
    return f"ca = {json.dumps(files)}\n[host]\n"


def _is_name(name: str) -> bool:
    return bool(name) and "/" not in name and '"' not in name and name not in (".", "..", _EVERY)


def _own_certificates(directory: str) -> dict[str, str]:
    """By registry."""
    if not directory:
        return {}
    try:
        places = sorted(Path(directory).resolve().iterdir())
    except OSError as error:
        log.error("the certificates of registries cannot be read", directory=directory, reason=error.strerror)
        return {}
    found = {place.name: place / _CERTIFICATE for place in places if _is_name(place.name)}
    return {name: str(file) for name, file in found.items() if file.is_file()}


def _is_ours(place: Path) -> bool:
    try:
        return (place / "hosts.toml").read_text().startswith((_OURS, _OURS_BEFORE))
    except OSError:
        return False
