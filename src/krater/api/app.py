"""The API as an ASGI application: the stack of layers, and the dispatcher at its heart."""

import random
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NotRequired, TypedDict, Unpack, cast
from uuid import UUID

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from krater.api import microversions
from krater.api.auth import Authentication
from krater.api.bodies import BodyLimit
from krater.api.consoles import Consoles
from krater.api.errors import ErrorDocuments
from krater.api.handlers.archives import archive_bodies
from krater.api.nodes import NodeView
from krater.api.openapi import openapi_document
from krater.api.policies import Policies
from krater.api.rendering import Renderer
from krater.api.requests import Backing, Request, attach, request_of, send_answer
from krater.api.router import Router, public_paths
from krater.api.routes import ROUTES
from krater.api.streaming import send_stream
from krater.bus.interfaces import Bus
from krater.clock import Now, utc_now
from krater.cloud.interfaces import (
    Allocations,
    Identity,
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
from krater.store.interfaces import Store
from krater.telemetry import REQUESTS

_REQUEST_ID = re.compile(rb"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Surroundings(TypedDict):
    """What of the cloud stands around the API. What is not given, another service of the cloud does: users make
    networks (`own_networks`), volumes, security groups and `images` of their own there, and nobody here knows all
    `projects`.
    """

    networks: Networks
    volumes: Volumes
    allocations: Allocations
    vault: Vault
    own_networks: NotRequired[OwnNetworks | None]
    own_volumes: NotRequired[OwnVolumes | None]
    security_groups: NotRequired[SecurityGroups | None]
    images: NotRequired[Images | None]
    projects: NotRequired[Callable[[], Awaitable[list[Project]]] | None]


def make_app(
    settings: Settings,
    store: Store,
    bus: Bus,
    identity: Identity,
    *,
    now: Now = utc_now,
    extra_mounts: Mapping[str, ASGIApp] | None = None,
    nodes_lifetime: float = 1.0,
    consoles: Consoles | None = None,
    **surroundings: Unpack[Surroundings],
) -> ASGIApp:
    """The whole API. `extra_mounts` are other applications by the prefix of their paths, such as `/identity`;
    `nodes_lifetime` is for how many seconds a look at the nodes may be shown; `consoles` issues tickets, for a gateway
    to accept.

    Invalid when the operator's policy file cannot be understood.
    """
    named = settings.api.policy_file
    policies = Policies(Path(named or f"{settings.core.directory}/policy.yaml"), required=bool(named))
    backing = Backing(
        settings=settings,
        store=store,
        bus=bus,
        policies=policies,
        nodes=NodeView(store, settings.controller.node_down_after, nodes_lifetime),
        renderer=Renderer(policies),
        now=now,
        openapi=openapi_document(ROUTES),
        consoles=consoles or Consoles(settings.gateway),
        **surroundings,
    )
    # From the inside out; a request meets them from the last line up.
    app: ASGIApp = Dispatcher(Router(ROUTES))  # 6. finds route and microversion, runs the handler
    app = Authentication(app, identity, public_paths(ROUTES))  # 5. knows the caller, or refuses: 401
    app = Mounts(app, extra_mounts or {})  # 4. applications with a front door of their own
    app = BodyLimit(app, settings.api.max_body, archive_bodies(settings.api))  # 3. never lets in more than allowed: 413
    app = ErrorDocuments(app)  # 2. turns everything raised further in into an error document
    app = Entrance(app, backing)  # 1. request ids and version headers, on whatever comes out
    return _behind_proxies(app, settings.api.trusted_proxies)  # 0. who really asks, and by which scheme


def _behind_proxies(app: Any, trusted: tuple[str, ...]) -> ASGIApp:
    """Believe what these proxies say of their client, and nobody else: log-ins are slowed down by address."""
    made: Any = ProxyHeadersMiddleware(app, [*trusted]) if trusted else app
    return cast(ASGIApp, made)


class Entrance:
    """The outermost layer: makes the request, and gives every answer its id and the version it was made for."""

    def __init__(self, app: ASGIApp, backing: Backing) -> None:
        self._app = app
        self._backing = backing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await _live(receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        request = Request(scope, self._backing, _new_id())
        request.origin = _origin(request)
        attach(scope, request)
        self._backing.policies.refresh()

        async def named(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                request.answered = True
                headers = [*message.get("headers", ()), (b"x-openstack-request-id", request.id.encode())]
                if request.minor is not None:
                    headers += microversions.response_headers(request.minor)
                message["headers"] = headers
                _count(request.method, message["status"])
            await send(message)

        await self._app(scope, receive, named)


def _new_id() -> str:
    """No secret, so it need not come from the kernel, where every other thread would get its turn first."""
    return f"req-{UUID(int=random.getrandbits(128), version=4)}"


@lru_cache(maxsize=512)
def _counter(method: str, status: int) -> Any:
    return REQUESTS.labels(method if method in _METHODS else "other", status)


def _count(method: str, status: int) -> None:
    _counter(method, status).inc()


def _origin(request: Request) -> str:
    """The id under which the caller's own service knows this, for the log: only if it looks like one."""
    given = request.headers.get(b"x-openstack-request-id", b"")
    return given.decode("ascii") if _REQUEST_ID.fullmatch(given) else ""


class Mounts:
    """Hands what lies under a prefix to another application."""

    def __init__(self, app: ASGIApp, mounts: Mapping[str, ASGIApp]) -> None:
        self._app = app
        self._mounts = {prefix.strip("/"): mounted for prefix, mounted in mounts.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        segments = request_of(scope).segments
        mounted = self._mounts.get(segments[0]) if segments and self._mounts else None
        if mounted is None:
            return await self._app(scope, receive, send)
        prefix = f"{scope.get('root_path', '')}/{segments[0]}"
        await mounted({**scope, "root_path": prefix}, receive, send)


class Dispatcher:
    """Finds the route, settles the microversion, runs the handler, sends its answer."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_of(scope)
        route, request.params = self._router.find(request.method, request.segments)
        if route.versions is not None:
            minor = microversions.requested_minor(request.headers.get(b"openstack-api-version"))
            microversions.check(minor, route.versions, f"{route.method} /v1{route.path}")
            request.minor = minor
        answer = await route.handler(request)
        if answer.stream is None:
            await send_answer(send, answer)
        else:
            await send_stream(send, request.receive, answer.status, answer.headers, answer.stream)


async def _live(receive: Receive, send: Send) -> None:
    """The server's start and end mean nothing here: who made the parts we stand on also closes them."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            return await send({"type": "lifespan.shutdown.complete"})
