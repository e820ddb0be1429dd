"""How a link on the host tells that it is ours: its name, and when it is complete, its alias.

A name is derived, so that a link is found without a list: `kr`, five letters for the instance, then `b`
(bridge), `i` (bridge of an internal network) or `v` (host side of a card) and seven letters for the network
or port. Firewall rules match the first eight letters. The alias is written *last*: a link of ours without one
was left half made.
"""

import base64
import hashlib
import re

from krater.errors import Invalid

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
FAMILY = "kr"


def checked(word: str, what: str) -> str:
    """`word`, which becomes a file name and part of an alias."""
    if not _SAFE.fullmatch(word):
        raise Invalid(f"{word!r} cannot be the name of {what}.")
    return word


class Marks:
    """Names and aliases of one instance."""

    def __init__(self, instance: str) -> None:
        self.instance = checked(instance, "an instance")
        self.prefix = FAMILY + _letters(f"instance:{instance}", 5)
        self.bridges = self.prefix + "b"
        self.internal_bridges = self.prefix + "i"
        self.cards = self.prefix + "v"

    def bridge(self, network: str, internal: bool) -> str:
        """Name of a network's bridge."""
        return (self.internal_bridges if internal else self.bridges) + _letters(f"network:{network}", 7)

    def bridge_mac(self, network: str) -> str:
        """MAC of a network's bridge: fixed, so that gateways do not change with the cards."""
        digest = hashlib.sha256(f"{self.instance}:{network}".encode()).digest()
        return (b"\x02\x4b" + digest[:4]).hex(":")

    def card(self, port: str) -> str:
        """Name of the host side of a port's card."""
        return self.cards + _letters(f"port:{port}", 7)

    def is_bridge(self, name: str) -> bool:
        """Whether a link of that name is a bridge of this instance."""
        return name.startswith((self.bridges, self.internal_bridges))

    def is_card(self, name: str) -> bool:
        """Whether a link of that name is a card of this instance."""
        return name.startswith(self.cards)

    def bridge_alias(self, network: str) -> str:
        """What a complete bridge carries."""
        return f"krater:{self.instance}:network:{network}"

    def card_alias(self, sandbox: str, port: str) -> str:
        """What a complete card carries."""
        return f"krater:{self.instance}:{checked(sandbox, 'a sandbox')}:{checked(port, 'a port')}"

    def network_of(self, alias: str) -> str | None:
        """The network of a bridge that carries this alias; None when it is not a complete bridge of ours."""
        start = self.bridge_alias("")
        return alias[len(start) :] if alias.startswith(start) and len(alias) > len(start) else None

    def card_of(self, alias: str) -> tuple[str, str] | None:
        """Sandbox and port of a card that carries this alias; None when it is not a complete card of ours."""
        words = alias.split(":")
        if len(words) != 4 or words[:2] != ["krater", self.instance]:
            return None
        return words[2], words[3]


def _letters(text: str, count: int) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.b32encode(digest).decode().lower()[:count]
