"""Image references and what is known of an image."""

import hashlib
import re
from dataclasses import dataclass

from krater.errors import Invalid

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
OWN_DOMAIN = "krater.local"
"""Where nodes file the images of projects. No request may name it, so that nobody can name what is not theirs."""

_DOMAIN = re.compile(r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::([0-9]{1,5}))?")
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_OWN_PROJECT = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_DIGEST = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[0-9a-fA-F]{32,}")


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A parsed image name: `[domain/]path[:tag][@digest]`. A digest decides when given; a tag is then only a word."""

    domain: str
    path: str
    tag: str | None
    digest: str | None

    @property
    def canonical(self) -> str:
        """The full name the image store files it under, as `docker.io/library/alpine:3.20`."""
        name = f"{self.domain}/{self.path}"
        return f"{name}@{self.digest}" if self.digest else f"{name}:{self.tag or DEFAULT_TAG}"

    @property
    def repository(self) -> str:
        """The full name without tag and digest."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar(self) -> str:
        """The repository as people write it: without Docker Hub's domain and `library/`."""
        if self.domain != DEFAULT_DOMAIN:
            return f"{self.domain}/{self.path}"
        return self.path.removeprefix("library/")


def parse_image(name: str, default_domain: str = DEFAULT_DOMAIN) -> ImageRef:
    """Parse an image name the way container tools do.

    The first part is a domain when it has a dot, a colon or is `localhost`; otherwise `default_domain` is meant,
    and on Docker Hub a name of one part lives under `library/`. Raises Invalid, field `image`.
    """
    rest, _, digest = name.partition("@")
    head, slash, tail = rest.partition("/")
    has_domain = bool(slash) and ("." in head or ":" in head or head == "localhost")
    domain, path = (head, tail) if has_domain else (default_domain, rest)
    last_slash, last_colon = path.rfind("/"), path.rfind(":")
    tag = path[last_colon + 1 :] if last_colon > last_slash else None
    path = path[:last_colon] if tag is not None else path
    if domain in ("index.docker.io", "registry-1.docker.io"):
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = f"library/{path}"
    bad = (
        not _is_domain(domain)
        or not _PATH.fullmatch(path)
        or (tag is not None and not _TAG.fullmatch(tag))
        or ("@" in name and not _DIGEST.fullmatch(digest))
    )
    if bad:
        raise Invalid(
            f"image: {name[:80]!r} is not an image name; expected [domain/]name[:tag][@digest] in lower case",
            field="image",
        )
    return ImageRef(domain, path, tag, digest or None)


def _is_domain(text: str) -> bool:
    """The host of a registry, with a port there can be."""
    found = _DOMAIN.fullmatch(text)
    return found is not None and (found[1] is None or 0 < int(found[1]) < 65536)


def parse_request(name: str, default_domain: str = DEFAULT_DOMAIN) -> ImageRef:
    """The same for what somebody asks for: images of projects are found by their own names, not by the node's."""
    ref = parse_image(name, default_domain)
    if is_own_domain(ref.domain):
        raise Invalid(
            f"image: {OWN_DOMAIN} is no registry; name your own image as you did when you made it", field="image"
        )
    return ref


def own_name(project: str, image: str) -> str:
    """What a node files a project's own image under: its id is in it, so that a name that moves on changes nothing."""
    return f"{_own_place(project)}{image}:{DEFAULT_TAG}"


def _own_place(project: str) -> str:
    place = project if _OWN_PROJECT.fullmatch(project) else f"x{hashlib.sha256(project.encode()).hexdigest()}"
    return f"{OWN_DOMAIN}/{place}/"


def is_own_domain(domain: str) -> bool:
    """Whether a registry's domain, with or without a port, is that of no registry."""
    return domain.lower().partition(":")[0] == OWN_DOMAIN


def is_own(name: str) -> bool:
    """Whether a node's full name is that of a project's own image."""
    return name.startswith(f"{OWN_DOMAIN}/")


def belongs_to(name: str, project: str) -> bool:
    """Whether it is this project's own."""
    return name.startswith(_own_place(project))


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What the node's store knows of an unpacked image: its configuration, as the OCI image specification names it."""

    name: str
    digest: str
    size: int
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    stop_signal: str = ""
    labels: tuple[tuple[str, str], ...] = ()
