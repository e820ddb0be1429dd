"""Which web pages may open a console. Pure.

Browsers say which page a websocket was opened by; other clients say nothing, or what they like. So this protects a
user's browser from foreign pages, and nothing else: what protects consoles is the ticket.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_SCHEMES = {"ws": "http", "wss": "https"}


def is_allowed(origin: str, host: str, base_url: str, others: Sequence[str], *, tls: bool) -> bool:
    """Whether a page of this origin may, at a gateway asked for as `host` or by its own `base_url`."""
    base = urlsplit(base_url)
    scheme = _SCHEMES.get(base.scheme, "https" if tls else "http")
    asking = _place(origin)
    if asking is None or asking[0] != scheme:
        return False
    known = (f"{scheme}://{each}" for each in (host, base.netloc, *others) if each)
    return any(_same(asking, _place(place)) for place in known)


def _place(url: str) -> tuple[str, str, int | None] | None:
    """Scheme, host and port. A port of `None`, as one client writes where it knows of none, may be any."""
    is_any = url.endswith(":None")
    try:
        parts = urlsplit(url.removesuffix(":None"))
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname or parts.scheme not in _PORTS or parts.path not in ("", "/") or parts.username is not None:
        return None
    return parts.scheme, parts.hostname, None if is_any else port or _PORTS[parts.scheme]


def _same(asking: tuple[str, str, int | None], known: tuple[str, str, int | None] | None) -> bool:
    return known is not None and asking[:2] == known[:2] and asking[2] in (None, known[2])
