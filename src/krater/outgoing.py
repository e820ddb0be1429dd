"""The one way out: every connection to where images come from and go to, to checked addresses only.

Names are resolved here, once, and the address that was looked at is the one that is connected to: a name that means
something else a moment later gains nothing. Redirects are connections like any other."""

import http.client
import socket
import ssl
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from krater.errors import Forbidden, Temporary
from krater.model.registry import RegistryRules, is_loopback_name, literal

DIRECT: Final = "direct"
CONNECT_WITHIN: Final = 10.0
_MOST_ADDRESSES: Final = 8
_LONGEST_REPLY: Final = 16384


class Refused(Exception):
    """The operator's rules forbid it."""


class Unreachable(Exception):
    """Nobody answers there."""


class Ways:
    """Connects. The environment's proxies (HTTPS_PROXY and so on), which an operator may have set, are used."""

    def __init__(self, rules: RegistryRules, proxies: Mapping[str, str] | None = None) -> None:
        self._rules = rules
        self._proxies = getproxies_environment() if proxies is None else dict(proxies)

    def connect(self, host: str, port: int, scheme: str) -> socket.socket:
        """A connection to a host. Refused, Unreachable."""
        proxy = self._proxy_for(host, port, scheme)
        addresses = self._addresses(host, port, needed=proxy is None)
        if addresses is not None:
            allowed = [a for a in addresses if self._rules.admits(host, port, ip_address(a.partition("%")[0]))]
            if not allowed or (proxy is not None and len(allowed) < len(addresses)):
                raise Refused(f"{host}:{port} is not where images may come from")
        elif not self._rules.may_be_asked(host, port):
            raise Refused(f"{host}:{port} is not where images may come from")
        if proxy is not None:
            return _through(proxy, host, port)
        return _first(allowed, port)

    def _proxy_for(self, host: str, port: int, scheme: str) -> SplitResult | None:
        url = self._proxies.get(scheme) or self._proxies.get("all")
        if scheme == DIRECT or not url or proxy_bypass(f"{host}:{port}", self._proxies):
            return None
        return urlsplit(url if "://" in url else f"http://{url}")

    def _addresses(self, host: str, port: int, *, needed: bool) -> list[str] | None:
        """What the name stands for. None when only the proxy can tell."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError, ValueError) as error:
            if needed:
                raise Unreachable(f"{host} has no address") from error
            return None
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))[:_MOST_ADDRESSES]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a URL leads."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Place":
        """Forbidden for anything but http and https."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise Forbidden(f"{url[:80]!r} is no address of a registry") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise Forbidden(f"{url[:80]!r} is no address of a registry")
        return cls(parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80))

    @property
    def is_here(self) -> bool:
        """Whether it is this machine itself by its name: no proxy is asked for that."""
        address = literal(self.host)
        return is_loopback_name(self.host) or (address is not None and address.is_loopback)


def link(place: Place, ways: Ways, trusted: ssl.SSLContext | None, timeout: float) -> http.client.HTTPConnection:
    """A connection for HTTP, with TLS where the place wants that. Blocks. Forbidden; Temporary."""
    try:
        raw = ways.connect(place.host, place.port, DIRECT if place.is_here else place.scheme)
    except Refused as error:
        raise Forbidden(str(error)) from error
    except Unreachable as error:
        raise Temporary(f"{place.host}:{place.port} does not answer: {error}") from error
    try:
        raw.settimeout(timeout)
        if place.scheme == "https":
            raw = (trusted or ssl.create_default_context()).wrap_socket(raw, server_hostname=place.host)
    except ssl.SSLCertVerificationError as error:
        raw.close()
        raise Temporary(f"{place.host}:{place.port} has a certificate that is not trusted here") from error
    except OSError as error:
        raw.close()
        why = error.reason if isinstance(error, ssl.SSLError) else error.strerror or "it does not answer"
        raise Temporary(f"{place.host}:{place.port} does not speak TLS as it should: {why}") from error
    made = http.client.HTTPConnection(place.host, place.port, timeout=timeout)
    made.default_port = 443 if place.scheme == "https" else 80  # what goes without saying in `Host`
    made.sock = raw
    return made


def _first(addresses: list[str], port: int) -> socket.socket:
    for address in addresses:
        with suppress(OSError):
            made = socket.create_connection((address, port), timeout=CONNECT_WITHIN)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return made
    raise Unreachable(f"{addresses[0]} port {port} does not answer")


def _through(proxy: SplitResult, host: str, port: int) -> socket.socket:
    """Through the operator's proxy."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    asked = f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n"
    if proxy.username is not None:
        login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
        asked += f"Proxy-Authorization: Basic {b64encode(login).decode()}\r\n"
    try:
        made = socket.create_connection((proxy.hostname or "", proxy.port or 80), timeout=CONNECT_WITHIN)
    except (OSError, ValueError) as error:
        raise Unreachable("the proxy of the node does not answer") from error
    try:
        made.sendall(f"{asked}\r\n".encode())
        reply = b""
        while not reply.endswith(b"\r\n\r\n") and len(reply) < _LONGEST_REPLY:
            piece = made.recv(1)  # not a byte more than the head: what follows is not ours
            if not piece:
                break
            reply += piece
        if reply.split(b" ", 2)[1:2] != [b"200"]:
            raise Unreachable(f"the proxy of the node does not connect to {host}")
    except (OSError, Unreachable) as error:
        made.close()
        raise Unreachable(str(error) if isinstance(error, Unreachable) else "the proxy does not answer") from error
    return made
