"""Consoles: the URL under which a gateway lets somebody in, once and soon."""

from urllib.parse import urlencode, urlsplit

from krater.api.links import base_of
from krater.api.requests import Request
from krater.config import GatewaySettings
from krater.model.frames import Opened
from krater.tickets import GATEWAY, Signer


class Consoles:
    """Issues tickets. `seed` is the secret half of the key that gateways know the other half of; `port` is where the
    gateway listens, if not where the settings say."""

    def __init__(self, settings: GatewaySettings, seed: bytes | None = None, port: int | None = None) -> None:
        self._settings = settings
        self._port = port or settings.port
        self._signer = Signer(GATEWAY, seed, lifetime=settings.ticket_lifetime)

    @property
    def public_key(self) -> bytes:
        """What a gateway needs to know."""
        return self._signer.public_key

    def url(self, request: Request, container: str, opened: Opened, kind: str) -> str:
        """The URL for one session with a container."""
        token = self._signer.issue(
            user=request.caller.user_id,
            project=request.caller.project_id,
            container=container,
            session=opened.session,
            kind=kind,
            address=opened.address,
            secret=opened.secret,
        )
        query = {"token": token, "uuid": container}
        if kind == "exec":
            query["exec_id"] = opened.session
        return f"{self._base(request)}?{urlencode(query)}"

    def _base(self, request: Request) -> str:
        """Where the gateway is: as the operator says, else on the host where the caller found the API."""
        settings = self._settings
        if settings.base_url:
            return settings.base_url
        host = urlsplit(base_of(request).url).hostname or "localhost"
        scheme = "wss" if settings.tls_certificate else "ws"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self._port}/"
