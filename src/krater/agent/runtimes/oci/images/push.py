"""Uploading to a registry: the distribution protocol, with basic and token authentication.

Blobs stream from the store to the wire, a piece at a time; sending is done on a thread, which asks the loop for the
next piece. What a registry answers is read up to a limit and never believed to be short.
"""

import asyncio
import base64
import http.client
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode, urljoin, urlsplit

from krater.agent.runtimes.interfaces import PushTarget
from krater.errors import Forbidden, KraterError, Permanent, Temporary
from krater.model.image import DEFAULT_DOMAIN, parse_image
from krater.outgoing import Place, Ways, link

TIMEOUT: Final = 60.0
ANSWER_LIMIT: Final = 1 << 20
HUB: Final = "registry-1.docker.io"
_THREADS: Final = ThreadPoolExecutor(8, thread_name_prefix="push")
_FIELD: Final = re.compile(r'(\w+)="([^"]*)"')

Pieces = Callable[[], AsyncIterator[bytes]]
Trusted = Callable[[Place], ssl.SSLContext]
"""What is trusted where a connection leads. Blocks."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a registry answered. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Registry:
    """One repository of a registry, for one push. `secure` is false where the operator allows plain HTTP."""

    target: PushTarget
    ways: Ways
    trusted: Trusted
    secure: bool
    _authorization: str = field(default="", repr=False)

    @property
    def repository(self) -> str:
        """The path of the image at its registry."""
        return parse_image(self.target.reference).path

    @property
    def base(self) -> str:
        """The beginning of all addresses there."""
        domain = parse_image(self.target.reference).domain
        host = HUB if domain == DEFAULT_DOMAIN else domain
        return f"{'https' if self.secure else 'http'}://{host}/v2/{self.repository}/"

    def _connect(self, place: Place) -> http.client.HTTPConnection:
        return link(place, self.ways, self.trusted(place) if place.scheme == "https" else None, TIMEOUT)

    async def has_blob(self, digest: str) -> bool:
        """Whether it need not be sent."""
        return (await self.ask("HEAD", f"blobs/{digest}", (200, 404))).status == 200

    async def put_blob(self, digest: str, size: int, pieces: Pieces) -> None:
        """Send one."""
        begun = await self.ask("POST", "blobs/uploads/", (202,), body=b"")
        where = urljoin(self.base, begun.headers.get("location", ""))
        joint = "&" if "?" in where else "?"
        place = f"{where}{joint}{urlencode({'digest': digest})}"
        await self.ask("PUT", place, (201,), kind="application/octet-stream", stream=(size, pieces))

    async def put_manifest(self, content: bytes, media_type: str) -> None:
        """Name what was sent."""
        tag = parse_image(self.target.reference).tag or "latest"
        await self.ask("PUT", f"manifests/{tag}", (201, 200), body=content, kind=media_type)

    async def ask(
        self, method: str, path: str, expected: tuple[int, ...], *, body: bytes | None = None, kind: str = "",
        stream: tuple[int, Pieces] | None = None,
    ) -> Reply:  # fmt: skip
        """One request, once more with credentials if those are asked for. Permanent with the registry's own words."""
        url = urljoin(self.base, path)
        headers = {"User-Agent": "krater", **({"Content-Type": kind} if kind else {})}
        reply = await self._send(method, url, headers, body, stream)
        if reply.status == 401:
            self._authorization = await self._log_in(reply.headers.get("www-authenticate", ""))
            reply = await self._send(method, url, headers, body, stream)
        if reply.status in expected:
            return reply
        raise refusal(self.target.reference, reply)

    async def _send(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, stream: tuple[int, Pieces] | None
    ) -> Reply:
        place, own = Place.of(url), Place.of(self.base)
        if self.secure and place.scheme != "https":
            raise Forbidden(f"the registry of {self.target.reference!r} leads to {place.host} without TLS")
        if self._authorization and place == own:  # another host is not told
            headers = {**headers, "Authorization": self._authorization}
        loop = asyncio.get_running_loop()
        if stream is None:
            work = lambda: _exchange(place, self._connect, method, url, headers, body)  # noqa: E731
        else:
            size, pieces = stream
            source, headers = pieces(), {**headers, "Content-Length": str(size)}
            work = lambda: _exchange(place, self._connect, method, url, headers, _drawn(loop, source))  # noqa: E731
        return await loop.run_in_executor(_THREADS, work)

    async def _log_in(self, challenge: str) -> str:
        """What to show from now on."""
        scheme, _, rest = challenge.partition(" ")
        account = f"{self.target.username}:{self.target.password}".encode()
        basic = f"Basic {base64.b64encode(account).decode()}"
        if scheme.lower() == "basic" and self.target.username:
            return basic
        fields = dict(_FIELD.findall(rest))
        if scheme.lower() != "bearer" or "realm" not in fields:
            raise Permanent(f"the registry of {self.target.reference!r} wants a login: give a user name and password")
        asked = {"scope": fields.get("scope") or f"repository:{self.repository}:pull,push"}
        asked |= {"service": fields["service"]} if "service" in fields else {}
        url = f"{fields['realm']}{'&' if '?' in fields['realm'] else '?'}{urlencode(asked)}"
        place = Place.of(url)
        if self.secure and place.scheme != "https":
            raise Forbidden(f"the registry of {self.target.reference!r} wants the password without TLS")
        headers = {"User-Agent": "krater", **({"Authorization": basic} if self.target.username else {})}
        loop = asyncio.get_running_loop()
        reply = await loop.run_in_executor(_THREADS, lambda: _exchange(place, self._connect, "GET", url, headers, None))
        try:
            answer = json.loads(reply.body) if reply.status == 200 else {}
            return f"Bearer {answer.get('token') or answer['access_token']}"
        except (ValueError, KeyError, AttributeError):
            raise refusal(self.target.reference, reply) from None


def _drawn(loop: asyncio.AbstractEventLoop, source: AsyncIterator[bytes]) -> Iterator[bytes]:
    """Pieces of the loop's, for a thread."""

    async def next_piece() -> bytes:
        return await anext(source, b"")

    while piece := asyncio.run_coroutine_threadsafe(next_piece(), loop).result(TIMEOUT):
        yield piece


def _exchange(
    place: Place,
    connect: Callable[[Place], http.client.HTTPConnection],
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | Iterator[bytes] | None,
) -> Reply:
    """One request on a connection of its own. Blocks."""
    made = connect(place)
    try:
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        made.request(method, path, body=body, headers=dict(headers))
        answer = made.getresponse()
        content = answer.read(ANSWER_LIMIT)
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, content)
    except KraterError:
        raise
    except (OSError, http.client.HTTPException, TimeoutError) as error:
        raise Temporary(f"the registry at {place.host}:{place.port} broke off the connection") from error
    finally:
        made.close()


def refusal(reference: str, reply: Reply) -> KraterError:
    """What a registry's no means."""
    if reply.status in (401, 403):
        return Permanent(f"the registry does not let you push to {reference!r}: log in, or check the name")
    if reply.status == 404:
        return Permanent(f"the registry has no place for {reference!r}")
    try:
        words = str(json.loads(reply.body)["errors"][0]["message"])[:200]
    except (ValueError, KeyError, IndexError, TypeError):
        words = f"HTTP status {reply.status}"
    if reply.status == 429 or reply.status >= 500:
        return Temporary(f"the registry cannot take {reference!r} now: {words}")
    return Permanent(f"the registry does not take {reference!r}: {words}")
