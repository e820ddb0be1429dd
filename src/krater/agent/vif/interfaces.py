"""A sandbox's network namespace, and cards plugged into it. Adapters: `native` (netlink, nftables) and `fake`.

Every adapter passes `tests/contracts/test_vif.py`. All methods are idempotent; `sandboxes` and `plugged` read the
kernel, never memory. What belongs to another Krater on the same machine (another *instance*) is never seen or touched.
"""

import socket
from collections.abc import Sequence
from typing import Protocol

from krater.model.network import Nic
from krater.model.security import GroupRules


class Vif(Protocol):
    """Namespaces and cards on one node."""

    async def open(self) -> None:
        """Prepare the host (forwarding, NAT table) and find again what is there. Idempotent."""

    async def close(self) -> None:
        """Let go of threads and spare namespaces. What sandboxes use stays."""

    async def make_sandbox(self, sandbox: str, pid: int | None = None) -> str:
        """Have a network namespace with loopback up; returns its path. Taken from a pool of ready ones if it can.

        Where there is none and `pid` is given, it is that of this process: one that lost its name. NotFound when there
        is no such process, Conflict when its namespace is not one that nobody else has.
        """

    async def remove_sandbox(self, sandbox: str) -> None:
        """Remove the namespace and every card in it, and the bridges that thereby lost their last card."""

    async def sandboxes(self) -> dict[str, str]:
        """Sandboxes that exist, with the paths of their namespaces."""

    async def plug(self, sandbox: str, nic: Nic) -> None:
        """Connect a card: after this its address answers. Makes the network's bridge on first use.

        The rules of its groups hold before its first packet: those of `guard`, which knows better than `nic` does.
        """

    async def unplug(self, sandbox: str, port: str) -> None:
        """Take a card out, and remove its network's bridge with the last one."""

    async def guard(self, groups: Sequence[GroupRules], nics: Sequence[Nic], *, is_all: bool = False) -> None:
        """Have these groups' rules hold, at once, for these cards and for those in them that come to be plugged.

        `is_all`: these are all groups and cards of the node; else they are news of some. What is not said stays as it
        was in the kernel, across restarts. A card in groups that were never told hears and says nothing.
        """

    async def connection(self, sandbox: str, address: str, port: int) -> socket.socket:
        """A TCP connection within a sandbox, from one of its own addresses to the same one: it never leaves it.

        Not blocking, for whoever called to close; who does not wait any longer leaves nothing open. NotFound when there
        is no such sandbox, Conflict when the address is not its own or nobody takes the connection.
        """

    async def plugged(self) -> dict[str, frozenset[str]]:
        """Ports plugged, by sandbox."""

    async def sweep(self) -> None:
        """Remove what a crash left that belongs to no sandbox: spare namespaces, bridges without cards, addresses."""
