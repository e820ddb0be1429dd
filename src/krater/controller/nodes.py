"""Which nodes live. Nobody stores it: it follows from when a node was last heard. Only changes need somebody to act."""

from collections.abc import Callable

import structlog

from krater.bus.messages import Announce
from krater.clock import Now
from krater.controller.reports import forget_refusals
from krater.errors import NotFound
from krater.store.interfaces import Store, Tx

_log = structlog.get_logger(__name__)


class Nodes:
    """Takes the nodes' announcements and notices when they stop."""

    def __init__(self, store: Store, down_after: float, now: Now, wake: Callable[[str], None]) -> None:
        self._store = store
        self._down_after = down_after
        self._now = now
        self._wake = wake
        self._states: dict[str, str] | None = None

    async def announce(self, message: Announce) -> None:
        """Store what a node says of itself. One that was not there before may take what was refused until now."""
        at = self._now()

        def store(tx: Tx) -> list[str]:
            try:
                was_alive = tx.nodes.get(message.node).is_alive(at, self._down_after)
            except NotFound:
                was_alive = False
            node = tx.nodes.announce(message.node, message.host, message.availability_zone, message.inventory, at)
            return forget_refusals(tx) if node.is_alive(at, self._down_after) and not was_alive else []

        for id in await self._store.write(store):
            self._wake(id)

    async def watch(self) -> None:
        """Say which nodes came and went, and have everything unfinished looked at then: some of it waits for that.

        The first time is after a start, which is when everything unfinished is due anyway.
        """
        now = self._now()
        before, self._states = self._states, {}
        for node in await self._store.read(lambda tx: tx.nodes.list()):
            state = "up" if node.is_alive(now, self._down_after) else "forced down" if node.forced_down else "down"
            self._states[node.id] = state
            if before is None or before.get(node.id) != state:
                _log.info("node is " + state, node=node.id, host=node.host, last_seen=node.last_seen.isoformat())
        if before != self._states:
            for id in await self._store.read(lambda tx: tx.workloads.unfinished()):
                self._wake(id)
