"""Registries of images: those of projects, with a login, and what an operator lets be pulled from where."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from krater.errors import Invalid

Address = IPv4Address | IPv6Address

_NAT64 = IPv6Network("64:ff9b::/96")
_LOOPBACK = IPv4Address("127.0.0.1")
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry that a project has a login for. `sealed` is the password, readable with the installation's key only.

    `username` and `sealed` may be missing: then it only says where images without a domain come from.
    """

    id: str
    name: str | None
    domain: str
    username: str | None
    sealed: str | None = field(repr=False)
    project_id: str
    user_id: str
    created_at: datetime
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Login:
    """What shows a registry of this domain who asks. A `shared` one is the operator's, for everybody's containers."""

    domain: str
    username: str
    password: str = field(repr=False)
    shared: bool = False


def split_domain(domain: str) -> tuple[str, int | None]:
    """Host and port of a registry's part of an image name, the host without brackets and in lower case."""
    host, colon, port = domain.rpartition(":")
    if not colon or not port.isdigit():
        host, port = domain, ""
    return host.removeprefix("[").removesuffix("]").lower().rstrip("."), int(port) if port else None


def is_loopback_name(host: str) -> bool:
    """Whether a name stands for this machine itself by what it is."""
    return host == "localhost" or host.endswith(".localhost")


def literal(host: str) -> Address | None:
    """The address that a host is spelled as, or None when it is a name."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def is_public(address: Address) -> bool:
    """Whether anybody in the world may be asked there: not loopback, link-local, private, multicast or reserved.

    Addresses of IPv6 that stand for one of IPv4 are judged by that one.
    """
    if isinstance(address, IPv6Address):
        teredo = address.teredo
        within = address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo is not None else None)
        if address in _NAT64:
            within = IPv4Address(int(address) & 0xFFFFFFFF)
        if within is not None:
            return is_public(within)
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


class RegistryRules:
    """What an operator lets be pulled from where. Patterns are of hosts (`*.example.org`), with or without a port.

    `allow` is for the registry an image's name names; where a registry sends on for tokens and layers only `deny` and
    `reachable` count. Whatever is not public is refused, but for what `reachable` names: ranges, addresses, patterns.
    """

    def __init__(self, allow: Iterable[str] = (), deny: Iterable[str] = (), reachable: Iterable[str] = ()) -> None:
        """Invalid when a range cannot be read."""
        self._allow = tuple(p.strip().lower() for p in allow if p.strip())
        self._deny = tuple(p.strip().lower() for p in deny if p.strip())
        entries = [p.strip().lower() for p in reachable if p.strip()]
        self._ranges = tuple(_range(entry) for entry in entries if _is_range(entry))
        self._hosts = tuple(entry for entry in entries if not _is_range(entry))

    def refusal(self, domain: str) -> str | None:
        """Why images may not be pulled from the registry of this domain, or None when they may, as far as its name
        tells: which addresses it has is looked at by the node that asks it."""
        host, port = split_domain(domain)
        if self._is_denied(host, port):
            return f"the operator does not allow pulls from {domain}"
        if self._allow and not any(_matches(p, host, port) for p in self._allow):
            return f"the operator does not allow pulls from {domain}; allowed are {_listed(self._allow)}"
        if not self.may_be_asked(host, port):
            return f"{domain} is inside the operator's network, where images are not pulled from"
        return None

    def may_be_asked(self, host: str, port: int | None) -> bool:
        """Whether a host may be asked, as far as its name tells."""
        address = _LOOPBACK if is_loopback_name(host) else literal(host)
        inside = address is not None and not is_public(address)
        named = self._is_named(host, port) or (self._is_in_range(address) if address is not None else False)
        return not self._is_denied(host, port) and (named or not inside)

    def admits(self, host: str, port: int, address: Address) -> bool:
        """Whether this address of a host may be connected to."""
        host = host.lower().rstrip(".")
        if self._is_denied(host, port):
            return False
        return is_public(address) or self._is_named(host, port) or self._is_in_range(address)

    def _is_denied(self, host: str, port: int | None) -> bool:
        return any(_matches(p, host, port) for p in self._deny)

    def _is_named(self, host: str, port: int | None) -> bool:
        return any(_matches(p, host, port) for p in self._hosts)

    def _is_in_range(self, address: Address) -> bool:
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return any(candidate in found for found in self._ranges for candidate in (address, mapped) if candidate)


def _is_range(entry: str) -> bool:
    return "/" in entry or literal(entry.removeprefix("[").removesuffix("]")) is not None


def _range(entry: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(entry.removeprefix("[").removesuffix("]"), strict=False)
    except ValueError as error:
        raise Invalid(f"{entry!r} is no range of addresses: {error}") from error


def _matches(pattern: str, host: str, port: int | None) -> bool:
    wanted, wanted_port = split_domain(pattern)
    return fnmatchcase(host, wanted) and wanted_port in (None, port)


def _listed(patterns: tuple[str, ...]) -> str:
    more = "" if len(patterns) <= _SHOWN else f" and {len(patterns) - _SHOWN} more"
    return ", ".join(patterns[:_SHOWN]) + more
