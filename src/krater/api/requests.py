"""One request as handlers see it, and the answer they give. Plain ASGI underneath, read only as far as needed."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from krater.api.room import Room
from krater.api.streaming import Streams
from krater.bus.interfaces import Bus
from krater.clock import Now
from krater.cloud.interfaces import (
    Allocations,
    Caller,
    Images,
    Networks,
    OwnNetworks,
    OwnVolumes,
    Project,
    SecurityGroups,
    Vault,
    Volumes,
)
from krater.config import Settings
from krater.errors import Invalid
from krater.store.interfaces import EVERYBODY, Store
from krater.store.interfaces import Scope as Reach

if TYPE_CHECKING:
    from krater.api.consoles import Consoles
    from krater.api.nodes import NodeView
    from krater.api.policies import Policies
    from krater.api.rendering import Renderer

_KEY = "krater"
_MOST_QUERY_KEYS = 100
JSON_TYPE = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back. `body` is JSON unless `headers` bring a content type of their own. A `stream` replaces it."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    stream: AsyncGenerator[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Backing:
    """What stands behind the handlers, the same for every request."""

    settings: Settings
    store: Store
    bus: Bus
    networks: Networks
    volumes: Volumes
    allocations: Allocations
    vault: Vault
    policies: "Policies"
    nodes: "NodeView"
    renderer: "Renderer"
    now: Now
    openapi: bytes
    consoles: "Consoles"
    own_networks: OwnNetworks | None = None
    own_volumes: OwnVolumes | None = None
    security_groups: SecurityGroups | None = None
    images: Images | None = None
    projects: Callable[[], Awaitable[list[Project]]] | None = None
    streams: Streams = field(default_factory=Streams)
    archives: Room = field(default_factory=Room)


class Request:
    """One request: who asks, for what, at which microversion."""

    __slots__ = (
        "_query",
        "answered",
        "asgi",
        "backing",
        "caller",
        "headers",
        "id",
        "method",
        "minor",
        "origin",
        "params",
        "path",
        "receive",
        "segments",
    )

    def __init__(self, asgi: Scope, backing: Backing, request_id: str) -> None:
        self.asgi = asgi
        self.backing = backing
        self.id = request_id
        self.method: str = asgi["method"]
        self.headers: dict[bytes, bytes] = dict(asgi["headers"])
        self.path: str = _own_path(asgi)
        self.segments: tuple[str, ...] = _segments(self.path)
        self.params: Mapping[str, str] = {}
        self.caller: Caller = _NOBODY
        self.minor: int | None = None
        self.origin = ""
        self.answered = False
        self.receive: Receive = _no_body
        self._query: dict[str, str | list[str]] | None = None

    @property
    def query(self) -> dict[str, str | list[str]]:
        """The query string; a key given several times has a list."""
        if self._query is None:
            self._query = _parse_query(self.asgi.get("query_string", b""))
        return self._query

    @property
    def version(self) -> int:
        """The minor number of the microversion in force (the major one is always 1)."""
        return self.minor or 1

    async def body(self) -> bytes:
        """The whole body. TooLarge comes out of the layer that counts it."""
        parts = []
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Invalid("The connection was closed before the body was complete.")
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(parts)

    @property
    def is_admin(self) -> bool:
        """Whether the caller is one who sees all projects' things by their id."""
        return self.backing.policies.is_admin(self.caller)

    @property
    def reach(self) -> Reach:
        """Whose things the caller may name."""
        return EVERYBODY if self.is_admin else self.own

    @property
    def own(self) -> Reach:
        """The caller's project."""
        return Reach(self.caller.project_id)

    def require(self, rule: str, project: str | None = None, user: str | None = None) -> None:
        """Forbidden unless policy allows it, on a thing of `project` and `user` (default: the caller's own)."""
        caller = self.caller
        target_project = caller.project_id if project is None else project
        self.backing.policies.require(caller, rule, target_project, caller.user_id if user is None else user)


Handler = Callable[[Request], Awaitable[Answer]]

_NOBODY = Caller("", "", "", "", ())


async def _no_body() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


def request_of(scope: Scope) -> Request:
    """The request that the outermost layer put into the ASGI scope."""
    return cast(Request, scope[_KEY])


def attach(scope: Scope, request: Request) -> None:
    """Put it there."""
    scope[_KEY] = request


async def send_answer(send: Send, answer: Answer) -> None:
    """Write an answer out."""
    headers = [*answer.headers]
    if not any(name == b"content-type" for name, _ in headers) and answer.status != 204:
        headers.append(JSON_TYPE)
    if answer.status != 204:
        headers.append((b"content-length", b"%d" % len(answer.body)))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _own_path(asgi: Scope) -> str:
    """The path below the prefix we are mounted under."""
    path, root = str(asgi["path"]), str(asgi.get("root_path", ""))
    return path[len(root) :] if root and path.startswith(root) else path


def _segments(path: str) -> tuple[str, ...]:
    """The parts of a path. Doubled and trailing slashes mean nothing; `/v1` before a collection is optional."""
    parts = tuple(part for part in path.split("/") if part)
    return parts[1:] if len(parts) > 1 and parts[0] == "v1" else parts


def _parse_query(raw: bytes) -> dict[str, str | list[str]]:
    found: dict[str, str | list[str]] = {}
    if not raw:
        return found
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_QUERY_KEYS)
    except ValueError as error:
        raise Invalid(
            f"The query string cannot be read: it must be UTF-8, with at most {_MOST_QUERY_KEYS} keys."
        ) from error
    if "\0" in "".join(text for pair in pairs for text in pair):
        raise Invalid("The query string has a NUL character in it; it is allowed nowhere.")
    for key, value in pairs:
        before = found.get(key)
        if before is None:
            found[key] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            found[key] = [before, value]
    return found
