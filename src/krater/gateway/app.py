"""The gateway: lets in who has a ticket, and joins them with their session at a node."""

import asyncio
import http
import logging
import os
import secrets
import socket
import ssl
from collections.abc import Sequence
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs, urlsplit

import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from krater.config import GatewaySettings
from krater.errors import KraterError, Permanent, Unauthenticated, Unavailable
from krater.gateway.origins import is_allowed
from krater.gateway.proxy import FAILED, GOING_AWAY, NODE_LIMIT, OVER, REFUSED, Closing, Session
from krater.model import frames
from krater.tickets import GATEWAY, Ticket, Verifier

_log = structlog.get_logger(__name__)
_quiet = logging.getLogger("krater.gateway.connections")  # anybody can connect and talk nonsense: no lines for that
_quiet.setLevel(logging.CRITICAL)

PREFERRED: Final = (frames.SUBPROTOCOL, "binary", "base64")
NODE_WITHIN: Final = 10.0
LOOK_EVERY: Final = 15.0
PING_EVERY: Final = 30.0
UNANSWERED: Final = 90.0
_HANDSHAKES: Final = 512
_WRITE_LIMIT: Final = 256 * 1024
_LARGEST_QUERY: Final = 8192
_Pings = dict[Session, tuple[float, asyncio.Future[Any]]]
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))


class Connection(ServerConnection):
    """A client's connection. `ticket` is there once it was let in.

    `present` are all of one gateway, from the first moment on: the library counts only those that it has answered.
    """

    ticket: Ticket | None = None
    most: int = 0
    present: ClassVar[set["Connection"]]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nobody may fill the gateway with connections that never become sessions."""
        super().connection_made(transport)
        end = transport.get_extra_info("socket")
        if end is not None and end.family != socket.AF_UNIX:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE:
                end.setsockopt(socket.IPPROTO_TCP, option, value)
        self.present.add(self)
        if len(self.present) > self.most + _HANDSHAKES:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, however far it came."""
        self.present.discard(self)
        super().connection_lost(exc)


class Gateway:
    """One gateway. It knows the public key of those who issue tickets, and where sessions wait."""

    def __init__(self, settings: GatewaySettings, public_key: bytes, run_directory: str) -> None:
        self._settings = settings
        self._verifier = Verifier(GATEWAY, public_key)
        self._directory = run_directory
        self._sessions: set[Session] = set()
        self._starting = 0
        self._tls = _tls_context(settings)

    def __len__(self) -> int:
        """How many sessions there are."""
        return len(self._sessions)

    async def run(self, listener: socket.socket) -> None:
        """Serve until cancelled; sessions are closed then."""
        settings = self._settings
        connection = type("LimitedConnection", (Connection,), {"most": settings.most_sessions, "present": set()})
        server: Server = await serve(
            self._serve,
            sock=listener,
            ssl=self._tls,
            process_request=self._admit,
            select_subprotocol=_chosen,
            create_connection=connection,
            compression=None,  # it costs 300 kB a session, and secrets beside chosen text should not be compressed
            server_header=None,
            logger=_quiet,
            ping_interval=None,  # not all clients can answer, and a task for each session is dear; see _look_after
            open_timeout=NODE_WITHIN,
            close_timeout=5,
            max_size=frames.LARGEST,
            max_queue=4,
            write_limit=_WRITE_LIMIT,
        )
        try:
            await self._look_after()
        finally:
            for session in [*self._sessions]:
                session.end(Closing(GOING_AWAY, "the gateway is being stopped"))
            server.close(code=GOING_AWAY)
            await server.wait_closed()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Why somebody is not let in, as an HTTP answer. A ticket is used up only by who comes all the way."""
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return None  # the library says what is expected
        refusal = self._refuse_early(request)
        if refusal is not None:
            return connection.respond(*refusal)
        try:
            ask = parse_qs(urlsplit(request.path).query[:_LARGEST_QUERY], max_num_fields=16)
            ticket = self._verifier.redeem(_one(ask, "token"))
        except (Unauthenticated, ValueError) as error:
            words = error.message if isinstance(error, KraterError) else "The query string cannot be read."
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, f"{words}\n")
        if not _is_for(ticket, ask):
            return connection.respond(http.HTTPStatus.FORBIDDEN, "The ticket is for something else.\n")
        connection.ticket = ticket  # type: ignore[attr-defined]
        return None

    def _refuse_early(self, request: Request) -> tuple[http.HTTPStatus, str] | None:
        """What is wrong before anybody looks at a ticket."""
        given, headers = self._settings, request.headers
        origins, hosts = headers.get_all("Origin"), headers.get_all("Host")
        if len(origins) > 1 or len(hosts) != 1:
            return http.HTTPStatus.BAD_REQUEST, "Expected one Host and at most one Origin.\n"
        tls = self._tls is not None
        if origins and not is_allowed(origins[0], hosts[0], given.base_url, given.allowed_origins, tls=tls):
            return http.HTTPStatus.FORBIDDEN, "Pages of this origin may not open consoles.\n"
        if len(self._sessions) + self._starting >= given.most_sessions:
            return http.HTTPStatus.SERVICE_UNAVAILABLE, "Too many consoles are open now.\n"
        return None

    async def _serve(self, client: ServerConnection) -> None:
        """One session, from its first moment to its last."""
        ticket: Ticket = client.ticket  # type: ignore[attr-defined]
        self._starting += 1
        try:
            reader, writer = await self._reach(ticket)
        except Unavailable as error:
            await client.close(FAILED, error.message)
            return
        finally:
            self._starting -= 1
        session = Session(client, reader, writer, asyncio.get_running_loop().time())
        self._sessions.add(session)
        log = _log.bind(container=ticket.container, user=ticket.user, kind=ticket.kind)
        log.info("console opened")
        try:
            closing = await session.run()
        except Exception:
            log.exception("a console failed")
            closing = Closing(FAILED, "the gateway failed")
        finally:
            self._sessions.discard(session)
            log.info("console closed")
        if closing is not None:
            await client.close(closing.code, closing.reason)

    async def _reach(self, ticket: Ticket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The session at its node, let in. The secret is of no use to others: it is good once."""
        kind, _, name = ticket.address.partition(":")
        if kind != "unix" or not name or "/" in name:
            raise Unavailable("the session is at an address that this gateway cannot reach")
        try:
            async with asyncio.timeout(NODE_WITHIN):
                path = os.path.join(self._directory, name)
                reader, writer = await asyncio.open_unix_connection(path, limit=NODE_LIMIT)
        except (OSError, TimeoutError):
            raise Unavailable("the node of this container does not answer") from None
        writer.write(frames.hello(ticket.session, ticket.secret))
        return reader, writer

    async def _look_after(self) -> None:
        """One task for all sessions: closes those that idle or last too long, and asks clients of ours for life."""
        loop, settings = asyncio.get_running_loop(), self._settings
        pings: _Pings = {}
        shortest = [each for each in (settings.idle_timeout, settings.session_timeout) if each]
        pause = min([LOOK_EVERY, *(each / 4 for each in shortest)])
        while True:
            await asyncio.sleep(pause)
            now = loop.time()
            pings = {session: ping for session, ping in pings.items() if session in self._sessions}
            for session in [*self._sessions]:
                if 0 < settings.session_timeout < now - session.began:
                    session.end(Closing(REFUSED, "no session lasts longer here"))
                elif 0 < settings.idle_timeout < now - session.touched:
                    session.end(Closing(OVER, "closed, since nothing was said for long"))
                elif session.is_typed:
                    await _ask_for_life(session, pings, now)


async def _ask_for_life(session: Session, pings: _Pings, now: float) -> None:
    asked = pings.get(session)
    if asked is None or (asked[1].done() and now - asked[0] >= PING_EVERY):
        try:
            async with asyncio.timeout(0.1):  # its buffer may be full
                pings[session] = now, asyncio.ensure_future(await session.client.ping())
        except Exception:  # it is being closed
            return
    elif not asked[1].done() and now - max(asked[0], session.touched) >= UNANSWERED:
        session.client.transport.abort()


def _one(ask: dict[str, list[str]], name: str) -> str:
    found = ask.get(name, [])
    return found[0] if len(found) == 1 else ""


def _is_for(ticket: Ticket, ask: dict[str, list[str]]) -> bool:
    """Whether the rest of the URL names what the ticket is for."""
    session = _one(ask, "exec_id")
    same = secrets.compare_digest(_one(ask, "uuid").encode(), ticket.container.encode())
    if ticket.kind == "exec":
        return same and secrets.compare_digest(session.encode(), ticket.session.encode())
    return same and not session


def _chosen(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The best that the client can; one that offers nothing gets plain bytes."""
    return next((Subprotocol(each) for each in PREFERRED if each in offered), None)


def _tls_context(settings: GatewaySettings) -> ssl.SSLContext | None:
    if not settings.tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key or None)
    except (OSError, ssl.SSLError) as error:
        reason: Any = getattr(error, "strerror", None) or error
        raise Permanent(f"[gateway] tls_certificate, tls_key: cannot be used: {reason}") from error
    return context
