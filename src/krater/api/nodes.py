"""Which nodes there are and which of them live: a look at the store that is a second old at most."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

from krater.model.node import Node
from krater.store.interfaces import Store


@dataclass(frozen=True, slots=True)
class NodeTable:
    """The nodes at one moment."""

    by_id: Mapping[str, Node]
    down_after: float

    def is_alive(self, id: str | None, now: datetime) -> bool:
        """Whether the node reports. One that is unknown does not."""
        node = self.by_id.get(id) if id is not None else None
        return node is not None and node.is_alive(now, self.down_after)

    def host(self, id: str | None) -> str | None:
        """The node's name."""
        node = self.by_id.get(id) if id is not None else None
        return node.host if node is not None else id

    def named(self, host: str) -> Node | None:
        """The node of this name or id."""
        return self.by_id.get(host) or next((node for node in self.by_id.values() if node.host == host), None)


class NodeView:
    """Keeps the last look for `lifetime` seconds: status words need it with every container shown."""

    def __init__(self, store: Store, down_after: float, lifetime: float = 1.0) -> None:
        self._store = store
        self._down_after = down_after
        self._lifetime = lifetime
        self._table = NodeTable({}, down_after)
        self._until = 0.0

    async def table(self) -> NodeTable:
        """The nodes now, or a moment ago."""
        if monotonic() >= self._until:
            nodes = await self._store.read(lambda tx: tx.nodes.list())
            self._table = NodeTable({node.id: node for node in nodes}, self._down_after)
            self._until = monotonic() + self._lifetime
        return self._table

    def forget(self) -> None:
        """Look again with the next question: an operator just changed something."""
        self._until = 0.0
