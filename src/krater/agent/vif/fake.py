"""`Vif` in memory, for development and tests. The world is a thing of its own, so that it outlives a "crash"."""

from dataclasses import dataclass, field

from krater.agent.vif.marks import checked
from krater.errors import Conflict, NotFound, Permanent
from krater.model.network import Nic


@dataclass
class FakeNetworkWorld:
    """What a node's kernel would hold. `refusal` is raised by the next plug, once, when it is set."""

    sandboxes: dict[str, dict[str, Nic]] = field(default_factory=dict)
    bridges: set[str] = field(default_factory=set)
    spares: int = 0
    refusal: Exception | None = None


class FakeVif:
    """The same promises as `NativeVif`, kept in a `FakeNetworkWorld`."""

    def __init__(self, world: FakeNetworkWorld | None = None, pool_size: int = 4) -> None:
        self.world = world if world is not None else FakeNetworkWorld()
        self._pool_size = pool_size
        self._is_open = False

    async def open(self) -> None:
        """Have spares ready."""
        self._is_open = True
        self.world.spares = self._pool_size

    async def close(self) -> None:
        """Give up spares and bridges without cards; sandboxes stay."""
        if self._is_open:
            await self.sweep()
            self.world.spares = 0
        self._is_open = False

    async def make_sandbox(self, sandbox: str) -> str:
        """Have a sandbox; its path leads nowhere."""
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


def _path(sandbox: str) -> str:
    return f"/run/fake/netns/{sandbox}"
