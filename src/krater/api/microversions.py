"""Which microversion a request is for: `OpenStack-API-Version: container X.Y`, 1.1 to 1.40."""

import re
from dataclasses import dataclass

from krater.api.errors import NotAcceptable

MIN, MAX = 1, 40
MIN_TEXT, MAX_TEXT = f"1.{MIN}", f"1.{MAX}"

_SERVICE = "container"
_VERSION = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Versions:
    """The minor versions at which something exists, both ends included."""

    first: int = MIN
    last: int = MAX

    def __contains__(self, minor: int) -> bool:
        return self.first <= minor <= self.last

    def __str__(self) -> str:
        if self.last == MAX:
            return f"from 1.{self.first} on"
        return f"from 1.{self.first} to 1.{self.last}"


ALL = Versions()


def requested_minor(header: bytes | None) -> int:
    """The minor version a request asks for. NotAcceptable when there is no such, or the header makes no sense."""
    if header is None:
        return MIN
    text = header.decode("latin-1").strip()
    for part in text.split(","):
        words = part.split()
        if len(words) != 2 or (words[0].lower() != _SERVICE and words[1].lower() != "latest"):
            continue
        if words[1].lower() == "latest":
            return MAX
        return _known_minor(words[1])
    raise NotAcceptable(
        "The header OpenStack-API-Version cannot be read: expected `container X.Y` or `container latest`, "
        f"with X.Y from {MIN_TEXT} to {MAX_TEXT}."
    )


def _known_minor(text: str) -> int:
    match = _VERSION.fullmatch(text)
    if match is not None and int(match[1]) == 1 and int(match[2]) in ALL:
        return int(match[2])
    raise NotAcceptable(
        "Requested microversion is unsupported",
        code="zun.microversion-unsupported",
        detail=f"Version {text[:20]} is not supported; supported are {MIN_TEXT} to {MAX_TEXT}.",
        max_version=MAX_TEXT,
        min_version=MIN_TEXT,
        links=[{"rel": "help", "href": "https://docs.openstack.org/api-guide/compute/microversions.html"}],
    )


def check(minor: int, versions: Versions, what: str) -> None:
    """NotAcceptable when an operation does not exist at this version."""
    if minor not in versions:
        raise NotAcceptable(
            f"{what} exists {versions}; the request is for version 1.{minor}.",
            max_version=f"1.{versions.last}",
            min_version=f"1.{versions.first}",
        )


_HEADERS = {
    minor: [
        (b"openstack-api-version", f"{_SERVICE} 1.{minor}".encode()),
        (b"openstack-api-minimum-version", f"{_SERVICE} {MIN_TEXT}".encode()),
        (b"openstack-api-maximum-version", f"{_SERVICE} {MAX_TEXT}".encode()),
        (b"vary", b"OpenStack-API-Version"),
    ]
    for minor in range(MIN, MAX + 1)
}


def response_headers(minor: int) -> list[tuple[bytes, bytes]]:
    """What every answer of a versioned operation carries."""
    return _HEADERS[minor]
