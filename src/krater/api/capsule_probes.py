"""The probes of a capsule's template, from the API's words to the model's. Pure."""

import re

from krater.api.schemas import capsules as asked
from krater.api.schemas.decoding import CODE
from krater.api.specs import words
from krater.errors import Invalid
from krater.model.member import HttpRequest, Probe

_IN_A_REQUEST = re.compile(r"/[\x21-\x7e]*")


def read_probe(place: str, probe: asked.Probe | None) -> Probe | None:
    """A probe that has exactly one way to ask. Invalid."""
    if probe is None:
        return None
    http = probe.http_get
    return Probe(
        command=(words(f"{place}.exec.command", probe.exec.command) or ()) if probe.exec is not None else (),
        http=None if http is None else _request(f"{place}.httpGet", http),
        port=None if probe.tcp_socket is None else _port(f"{place}.tcpSocket.port", probe.tcp_socket.port),
        delay=_seconds(f"{place}.initialDelaySeconds", probe.initial_delay_seconds, 0),
        interval=_seconds(f"{place}.periodSeconds", probe.period_seconds, 1),
        timeout=_seconds(f"{place}.timeoutSeconds", probe.timeout_seconds, 1, _LONGEST_WAIT),
        failures=probe.failure_threshold,
        successes=probe.success_threshold,
    )


def _request(place: str, http: asked.HttpGet) -> HttpRequest:
    if _IN_A_REQUEST.fullmatch(http.path) is None:
        raise _wrong(f"{place}.path", "expected printable ASCII without spaces; write other characters as %XX")
    return HttpRequest(_port(f"{place}.port", http.port), http.path, http.scheme.lower())


def _port(place: str, value: int | str) -> int:
    port = int(value)
    if 1 <= port <= 65535:
        return port
    raise _wrong(place, f"{port} is out of range; allowed are 1 to 65535")


_LONGEST, _LONGEST_WAIT = 86_400, 600  # who hangs keeps a place on the node, of which there are few


def _seconds(place: str, value: int | str, least: int, most: int = _LONGEST) -> int:
    seconds = int(value)
    if least <= seconds <= most:
        return seconds
    raise _wrong(place, f"{seconds} is out of range; allowed are {least} to {most} seconds")


def _wrong(place: str, reason: str) -> Invalid:
    return Invalid(f"{place}: {reason}", field="template", code=CODE)
