"""A small Keystone: enough of its v3 API for unmodified OpenStack clients to log in to an embedded Krater.

GET              /identity                       version list (300)
GET              /identity/v3                    the one version
POST             /identity/v3/auth/tokens        a token, for a password or a token
GET HEAD DELETE  /identity/v3/auth/tokens        what X-Subject-Token stands for; end it
GET              /identity/v3/auth/catalog       the services
GET              /identity/v3/auth/projects      the caller's projects (also users/{id}/projects)
GET              /identity/v3/projects[/{id}]    those, or all for administrators; ?name= filters
"""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from krater.api.errors import TooLarge, status_of
from krater.api.schemas.identity import (
    catalog,
    list_document,
    project_document,
    read_scope,
    read_token_request,
    token_document,
    version_document,
)
from krater.cloud.interfaces import Grant, Issuer, Project
from krater.config import ApiSettings
from krater.errors import Forbidden, Invalid, KraterError, NotFound, Unauthenticated, Unsupported

_log = structlog.get_logger(__name__)

PREFIX = "/identity"
_LARGEST_BODY = 64 * 1024
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


def make_identity_app(settings: ApiSettings, issuer: Issuer) -> ASGIApp:
    """The ASGI application for everything below /identity, whether or not the prefix is still in the path."""
    front = _Front(settings, issuer)
    tokens = "/v3/auth/tokens"
    routes = [
        Route("/", front.show_versions),
        Route("/v3", front.show_version),
        Route(tokens, front.create_token, methods=["POST"]),
        Route(tokens, front.show_token, methods=["GET"]),  # and HEAD
        Route(tokens, front.revoke_token, methods=["DELETE"]),
        Route("/v3/auth/catalog", front.show_catalog),
        Route("/v3/auth/projects", front.list_own_projects),
        Route("/v3/users/{id}/projects", front.list_own_projects),
        Route("/v3/projects", front.list_projects),
        Route("/v3/projects/{id}", front.show_project),
    ]
    handlers: dict[Any, Callable[..., Any]] = {
        HTTPException: _answer_http_error,
        KraterError: front.answer_error,
        Exception: _answer_unexpected,
    }
    inner = ExceptionMiddleware(Router(routes, redirect_slashes=False), handlers=handlers)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        below = path[path.index(PREFIX) + len(PREFIX) :] if PREFIX in path else path
        # ExceptionMiddleware and Router look for the outer application under "app": this one stands alone.
        await inner({**scope, "path": below.rstrip("/") or "/", "root_path": "", "app": inner}, receive, send)

    return app


class _Front:
    """The handlers."""

    def __init__(self, settings: ApiSettings, issuer: Issuer) -> None:
        self._settings = settings
        self._issuer = issuer

    # Versions ---------------------------------------------------------------------------------------------------------

    async def show_versions(self, request: Request) -> Response:
        """Which versions there are."""
        return _json({"versions": {"values": [version_document(self._base(request))]}}, 300)

    async def show_version(self, request: Request) -> Response:
        """Where version 3 is."""
        return _json({"version": version_document(self._base(request))})

    # Tokens -----------------------------------------------------------------------------------------------------------

    async def create_token(self, request: Request) -> Response:
        """Log in, or change the scope."""
        auth = read_token_request(await _body(request))
        scope, proof = read_scope(auth.scope), auth.identity
        if proof.methods == ["password"] and proof.password is not None:
            user = proof.password.user
            ident = user.id or user.name
            if not ident:
                raise Invalid("The user has neither id nor name.")
            if user.domain is not None:
                user.domain.check()
            peer = request.client.host if request.client is not None else ""
            token, grant = await self._issuer.log_in(ident, user.password, peer, scope)
        elif proof.methods == ["token"] and proof.token is not None:
            token, grant = await self._issuer.exchange(proof.token.id, scope)
        else:
            raise Invalid("One method is expected, password or token, with what belongs to it.")
        document = token_document(grant, self._base(request), with_catalog="nocatalog" not in request.query_params)
        return _json(document, 201, {"X-Subject-Token": token})

    async def show_token(self, request: Request) -> Response:
        """What a token stands for: to its own user and to administrators."""
        token, grant = await self._subject(request)
        document = token_document(grant, self._base(request), with_catalog="nocatalog" not in request.query_params)
        return _json(document, headers={"X-Subject-Token": token})

    async def revoke_token(self, request: Request) -> Response:
        """End a token."""
        token, _ = await self._subject(request)
        await self._issuer.revoke(token)
        return Response(status_code=204)

    async def _subject(self, request: Request) -> tuple[str, Grant]:
        caller = await self._caller(request)
        token = request.headers.get("x-subject-token")
        if not token:
            raise Invalid("X-Subject-Token is missing.")
        try:
            grant = await self._issuer.inspect(token)
        except Unauthenticated:
            raise NotFound("The token in X-Subject-Token is not valid.") from None
        if grant.user_id != caller.user_id and "admin" not in caller.roles:
            raise Forbidden("Only administrators may look at the tokens of others.")
        return token, grant

    async def show_catalog(self, request: Request) -> Response:
        """The services there are."""
        await self._caller(request)
        base = self._base(request)
        document = list_document("catalog", catalog(base), f"{base}{PREFIX}/v3/auth/catalog")
        return _json(document)

    # Projects ---------------------------------------------------------------------------------------------------------

    async def list_own_projects(self, request: Request) -> Response:
        """The projects in which the caller has a role."""
        caller = await self._caller(request)
        if request.path_params.get("id", caller.user_id) != caller.user_id:
            raise Forbidden("Only a user's own projects are listed.")
        return self._projects(request, await self._issuer.list_projects(caller))

    async def list_projects(self, request: Request) -> Response:
        """All the caller may see, by name when asked so."""
        name = request.query_params.get("name")
        found = await self._visible(await self._caller(request))
        return self._projects(request, [p for p in found if name in (None, p.name)])

    async def show_project(self, request: Request) -> Response:
        """One by its id."""
        for project in await self._visible(await self._caller(request)):
            if project.id == request.path_params["id"]:
                return _json({"project": project_document(project, self._base(request))})
        raise NotFound("Could not find such a project.")

    async def _visible(self, caller: Grant) -> list[Project]:
        if "admin" in caller.roles:
            return await self._issuer.list_all_projects()
        return await self._issuer.list_projects(caller)

    def _projects(self, request: Request, projects: list[Project]) -> Response:
        base = self._base(request)
        items = (project_document(p, base) for p in projects)
        return _json(list_document("projects", items, f"{base}{PREFIX}{request.scope['path']}"))

    # All --------------------------------------------------------------------------------------------------------------

    async def _caller(self, request: Request) -> Grant:
        token = request.headers.get("x-auth-token")
        if not token:
            raise Unauthenticated("The request you have made requires authentication.")
        return await self._issuer.inspect(token)

    def _base(self, request: Request) -> str:
        return base_url(self._settings, request.scope["scheme"], request.headers)

    async def answer_error(self, request: Request, error: KraterError) -> Response:
        """In Keystone's form. What a stranger is told of a failed log-in is always the same."""
        status, headers = status_of(error), {}
        if isinstance(error, Unauthenticated):
            headers["WWW-Authenticate"] = f'Keystone uri="{self._base(request)}{PREFIX}/v3"'
            if error.retry_after is not None:
                headers["Retry-After"] = str(int(error.retry_after) + 1)
        if status >= 500 and not isinstance(error, Unsupported):
            _log.warning("identity request failed", path=request.scope["path"], reason=error.message)
        return _error(status, error.message, headers)


def base_url(settings: ApiSettings, scheme: str, headers: Headers) -> str:
    """The address clients reach this API under, without a path: as the operator says, else as they asked for it."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = headers.get("host", "")
    if not _HOST.fullmatch(host):
        host = f"{settings.host_ip}:{settings.port}"
    return f"{scheme}://{host}"


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BODY:
            raise TooLarge(f"The request body is larger than {_LARGEST_BODY} bytes.")
    return bytes(body)


def _json(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = msgspec.json.encode(document)
    return Response(body, status, {"Vary": "X-Auth-Token", **(headers or {})}, "application/json")


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    title = HTTPStatus(status).phrase
    return _json({"error": {"code": status, "title": title, "message": message}}, status, headers)


async def _answer_http_error(_request: Request, error: HTTPException) -> Response:
    return _error(error.status_code, error.detail, dict(error.headers or {}))


async def _answer_unexpected(request: Request, error: Exception) -> Response:
    _log.error("unexpected error", path=request.scope["path"], exc_info=error)
    return _error(500, "Something went wrong inside Krater; its operator finds the reason in the log.")
