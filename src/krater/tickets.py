"""Tickets: how somebody who may open a console proves it to a gateway that knows nobody.

A ticket is signed by the API, short-lived, good for one gateway (`audience`) and one use, and bound to user, project,
container and session. The gateway holds the public key only: whoever takes it over cannot make tickets.

The text is `<claims>.<signature>`, both URL-safe base64. The signature covers the claims as they stand in the text,
with a prefix of its own: nothing else that this key may ever sign is mistaken for a ticket.
"""

import base64
import binascii
import heapq
import json
import secrets
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from krater.clock import Now, utc_now
from krater.errors import Unauthenticated

GATEWAY = "gateway"  # the audience of tickets for consoles
_PREFIX = b"krater ticket 1\n"
_LONGEST = 4096
_NONCE_BYTES = 16
_MOST_REMEMBERED = 100_000


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket says. `kind` is what it opens (such as `attach`); `expires` is in epoch seconds.

    `address` is where the session waits, and `secret` what lets one in there: it is worth nothing to whoever holds
    the ticket, since nobody but gateways gets to that address.
    """

    audience: str
    user: str
    project: str
    container: str
    session: str
    kind: str
    expires: float
    nonce: str
    address: str = ""
    secret: str = field(default="", repr=False)


_SHAPES = {each.name: float if each.name == "expires" else str for each in fields(Ticket)}


class Signer:
    """Makes tickets. `seed` is the 32 secret bytes of the key; without one the key is new."""

    def __init__(self, audience: str, seed: bytes | None = None, *, lifetime: float = 60.0, now: Now = utc_now) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed) if seed is not None else Ed25519PrivateKey.generate()
        self._audience = audience
        self._lifetime = timedelta(seconds=lifetime)
        self._now = now

    @property
    def public_key(self) -> bytes:
        """The 32 bytes a `Verifier` needs."""
        return self._key.public_key().public_bytes_raw()

    def issue(
        self, *, user: str, project: str, container: str, session: str, kind: str, address: str = "", secret: str = ""
    ) -> str:
        """A new ticket, good for one use from now."""
        expires = (self._now() + self._lifetime).timestamp()
        nonce = secrets.token_hex(_NONCE_BYTES)
        ticket = Ticket(self._audience, user, project, container, session, kind, expires, nonce, address, secret)
        claims = _encode(json.dumps(asdict(ticket), separators=(",", ":")).encode())
        return f"{claims}.{_encode(self._key.sign(_PREFIX + claims.encode()))}"


class Verifier:
    """Takes tickets, each once. What was used is remembered until it would have expired anyway."""

    def __init__(self, audience: str, public_key: bytes, *, now: Now = utc_now) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(public_key)
        self._audience = audience
        self._now = now
        self._used: set[str] = set()
        self._expiries: list[tuple[float, str]] = []

    def redeem(self, text: str) -> Ticket:
        """What a ticket says, once. Unauthenticated for all others; the words do not help who tries them out."""
        ticket = self._read(text)
        now = self._now()
        self._forget(now)
        is_good = (
            ticket is not None
            and secrets.compare_digest(ticket.audience.encode(), self._audience.encode())
            and ticket.expires > now.timestamp()
            and ticket.nonce not in self._used
            and len(self._used) < _MOST_REMEMBERED
        )
        if ticket is None or not is_good:
            raise Unauthenticated("The ticket is not valid, was used or has expired.")
        self._used.add(ticket.nonce)
        heapq.heappush(self._expiries, (ticket.expires, ticket.nonce))
        return ticket

    def _read(self, text: str) -> Ticket | None:
        """The claims, if this key signed them. Nothing is parsed before that is known; comparing is the library's."""
        claims, _, signature = text.partition(".")
        if len(text) > _LONGEST or not text.isascii():
            return None
        try:
            self._key.verify(_decode(signature), _PREFIX + claims.encode())
            found = json.loads(_decode(claims))
        except (InvalidSignature, binascii.Error, ValueError):
            return None
        if not isinstance(found, dict) or {name: type(value) for name, value in found.items()} != _SHAPES:
            return None
        return Ticket(**found)

    def _forget(self, now: datetime) -> None:
        while self._expiries and self._expiries[0][0] <= now.timestamp():
            self._used.discard(heapq.heappop(self._expiries)[1])

    def __len__(self) -> int:
        """How many used tickets are remembered."""
        return len(self._used)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
