"""`Vif` in memory, for development and tests. The world is a thing of its own, so that it outlives a "crash"."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from krater.agent.vif.marks import checked
from krater.errors import Conflict, NotFound, Permanent
from krater.model.network import Nic
from krater.model.security import Direction, GroupRules, permits

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_LOOPBACK = ("127.0.0.1", "::1")


@dataclass
class FakeNetworkWorld:
    """What a node's kernel would hold. `refusal` is raised by the next plug, once, when it is set.

    `asked` are the groups of ports as they were told last, `groups` the rules. `servers` are what takes connections, by
    sandbox and port.
    """

    sandboxes: dict[str, dict[str, Nic]] = field(default_factory=dict)
    groups: dict[str, GroupRules] = field(default_factory=dict)
    asked: dict[str, tuple[str, ...] | None] = field(default_factory=dict)
    bridges: set[str] = field(default_factory=set)
    spares: int = 0
    refusal: Exception | None = None
    servers: dict[tuple[str, int], Serve] = field(default_factory=dict)

    def passes(self, source: str, target: str, protocol: int, port: int) -> bool:
        """Whether a first packet gets from one plugged port to another, both by their first addresses."""
        cards = {port: card for cards in self.sandboxes.values() for port, card in cards.items()}
        if not {source, target} <= cards.keys() or cards[source].network != cards[target].network:
            return False
        here, there = (cards[one].addresses[0].address for one in (source, target))
        leaves = self._permits(cards[source], Direction.EGRESS, there, protocol, port)
        return leaves and self._permits(cards[target], Direction.INGRESS, here, protocol, port)

    def _permits(self, card: Nic, direction: Direction, other: str, protocol: int, port: int) -> bool:
        groups = self._groups_of(card)
        if groups is None:
            return True
        rules = [rule for id in groups if id in self.groups for rule in self.groups[id].rules]
        members = {id: self._members(id) for id in {r.remote_group for r in rules if r.remote_group is not None}}
        return permits(rules, direction, other, protocol, port, members)

    def _groups_of(self, card: Nic) -> tuple[str, ...] | None:
        return self.asked.get(card.port, card.groups)

    def _members(self, group: str) -> set[str]:
        cards = [card for cards in self.sandboxes.values() for card in cards.values()]
        own = {a.address for card in cards if group in (self._groups_of(card) or ()) for a in card.addresses}
        return own | set(self.groups[group].members if group in self.groups else ())


class FakeVif:
    """The same promises as `NativeVif`, kept in a `FakeNetworkWorld`."""

    def __init__(self, world: FakeNetworkWorld | None = None, pool_size: int = 4) -> None:
        self.world = world if world is not None else FakeNetworkWorld()
        self._pool_size = pool_size
        self._is_open = False
        self._serving: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Have spares ready."""
        self._is_open = True
        self.world.spares = self._pool_size

    async def close(self) -> None:
        """Give up spares and bridges without cards; sandboxes stay."""
        if self._is_open:
            await self.sweep()
            self.world.spares = 0
        for task in self._serving:
            task.cancel()
        self._is_open = False

    async def make_sandbox(self, sandbox: str, pid: int | None = None) -> str:
        """Have a sandbox; its path leads nowhere. Here no process has another one than that of its workload."""
        self._check_open()
        self.world.sandboxes.setdefault(checked(sandbox, "a sandbox"), {})
        return _path(sandbox)

    async def remove_sandbox(self, sandbox: str) -> None:
        """Have no such sandbox."""
        self._check_open()
        self.world.sandboxes.pop(sandbox, None)

    async def sandboxes(self) -> dict[str, str]:
        """Sandboxes and their paths."""
        self._check_open()
        return {sandbox: _path(sandbox) for sandbox in self.world.sandboxes}

    async def plug(self, sandbox: str, nic: Nic) -> None:
        """Have the card in that sandbox and in no other."""
        self._check_open()
        refusal, self.world.refusal = self.world.refusal, None
        if refusal is not None:
            raise refusal
        if sandbox not in self.world.sandboxes:
            raise NotFound(f"There is no sandbox {sandbox} on this node.")
        cards = self.world.sandboxes[sandbox]
        if any(card.name == nic.name and port != nic.port for port, card in cards.items()):
            raise Conflict(f"The sandbox has another card named {nic.name}.")
        for other in self.world.sandboxes.values():
            other.pop(nic.port, None)
        cards[nic.port] = nic
        self.world.bridges.add(nic.network)

    async def unplug(self, sandbox: str, port: str) -> None:
        """Have the card out."""
        self._check_open()
        self.world.sandboxes.get(sandbox, {}).pop(port, None)

    async def guard(self, groups: Sequence[GroupRules], nics: Sequence[Nic], *, is_all: bool = False) -> None:
        """Have these rules hold."""
        self._check_open()
        if is_all:
            self.world.groups.clear()
            self.world.asked.clear()
        self.world.groups |= {group.id: group for group in groups}
        self.world.asked |= {nic.port: nic.groups for nic in nics}

    async def connection(self, sandbox: str, address: str, port: int) -> socket.socket:
        """To a server of the world."""
        self._check_open()
        cards = self.world.sandboxes.get(sandbox)
        if cards is None:
            raise NotFound(f"There is no sandbox {sandbox} on this node.")
        if address not in {*_LOOPBACK, *(a.address for card in cards.values() for a in card.addresses)}:
            raise Conflict("cannot assign requested address")
        server = self.world.servers.get((sandbox, port))
        if server is None:
            raise Conflict("connection refused")
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        task = asyncio.get_running_loop().create_task(_serve(server, theirs))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        return ours

    async def plugged(self) -> dict[str, frozenset[str]]:
        """Ports by sandbox, of sandboxes that have any."""
        self._check_open()
        return {sandbox: frozenset(cards) for sandbox, cards in self.world.sandboxes.items() if cards}

    async def sweep(self) -> None:
        """Have no bridge without a card."""
        self._check_open()
        cards = (card for cards in self.world.sandboxes.values() for card in cards.values())
        self.world.bridges = {card.network for card in cards}

    def _check_open(self) -> None:
        if not self._is_open:
            raise Permanent("The networks of this node are not open.")


async def _serve(server: Serve, connection: socket.socket) -> None:
    """One connection, until its server has had enough of it."""
    reader, writer = await asyncio.open_connection(sock=connection)
    try:
        await server(reader, writer)
    except OSError:
        pass  # whoever called has gone
    finally:
        writer.close()


def _path(sandbox: str) -> str:
    return f"/run/fake/netns/{sandbox}"
