"""The layer that finds out who is calling: HTTP Basic, or a token of the identity service."""

import base64
from urllib.parse import unquote, urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from krater.api.requests import Request, request_of
from krater.cloud.interfaces import Credentials, Identity, PasswordCredentials, TokenCredentials
from krater.errors import Forbidden, Unauthenticated

PROJECT_HEADER = b"x-krater-project"  # percent-encoded id or name of one of the caller's projects; only with Basic
_LONGEST = 8192
_HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})


class Authentication:
    """Refuses everybody it does not know, but for the public paths."""

    def __init__(self, app: ASGIApp, identity: Identity, public: frozenset[tuple[str, ...]]) -> None:
        self._app = app
        self._identity = identity
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_of(scope)
        if request.segments not in self._public:
            request.caller = await self._identity.authenticate(credentials_of(request))
        await self._app(scope, receive, send)


def credentials_of(request: Request) -> Credentials:
    """What the request brings to prove who sends it: a token first, else a user's name and password."""
    token = request.headers.get(b"x-auth-token")
    if token:
        return TokenCredentials(_text(token))
    scheme, _, value = request.headers.get(b"authorization", b"").partition(b" ")
    match scheme.lower():
        case b"basic":
            return _from_basic(request, value.strip())
        case b"bearer":
            return TokenCredentials(_text(value.strip()))
    raise Unauthenticated("This needs credentials: a token in X-Auth-Token, or HTTP Basic with a user and password.")


def _refuse_other_sites(request: Request) -> None:
    """A browser adds a remembered password to what any site's page asks of us; nothing may be changed that way."""
    site = request.headers.get(b"sec-fetch-site")
    if site is None:  # browsers say it only where the address is https, or this machine
        is_ours = _is_own_page(request, request.headers.get(b"origin"))
    else:
        is_ours = site in (b"same-origin", b"none")
    if request.method not in _HARMLESS and not is_ours:
        raise Forbidden("This request was made by the page of another site.", code="cross-site")


def _is_own_page(request: Request, origin: bytes | None) -> bool:
    """Whether a page of ours asks, or no page at all: browsers name its origin with all that may change something."""
    if origin is None:
        return True
    public = urlsplit(request.backing.settings.api.public_url).netloc.encode()
    return origin.partition(b"://")[2] in {request.headers.get(b"host"), public} - {b"", None}


def _from_basic(request: Request, value: bytes) -> PasswordCredentials:
    _refuse_other_sites(request)
    try:
        user, colon, password = base64.b64decode(_text(value), validate=True).decode().partition(":")
    except ValueError:  # neither base64, nor ASCII, nor UTF-8
        user, colon, password = "", "", ""
    if not colon:
        raise Unauthenticated("The Authorization header is not HTTP Basic as RFC 7617 has it.")
    project = request.headers.get(PROJECT_HEADER)
    client = request.asgi.get("client")
    wanted = unquote(_text(project)) if project else None
    return PasswordCredentials(user, password, wanted, peer=client[0] if client else "")


def _text(value: bytes) -> str:
    if len(value) > _LONGEST:
        raise Unauthenticated("The credentials are too long to be ours.")
    return value.decode("latin-1")
