"""What nobody should have to do: giving back what no workload holds any more, and forgetting old history.

The order of steps in `workloads.py` leaves nothing behind, whatever is killed when. This is for what no order can
help: a network attached, and taken off again before a crash was got over; two controllers at once; a database restored
from yesterday; an adapter's own mistakes.
"""

from collections.abc import Callable, Sequence, Set
from datetime import timedelta

import structlog

from krater.clock import Now
from krater.cloud.interfaces import Allocations, Networks, Volumes
from krater.controller.assignments import named_ports
from krater.controller.volumes import forget_on_lost_nodes
from krater.errors import Conflict
from krater.model.node import Capacity
from krater.model.workload import NOTHING
from krater.store.interfaces import Store, Tx, Workload

_log = structlog.get_logger(__name__)


Suspect = Callable[[str, Set[str]], None]


class Garbage:
    """Collects in passes; what is nobody's is released when the pass before found it so too.

    `suspect` is told of ports that a workload holds and no placement names. It may be that they are just about to be
    named, which only whoever looks after that workload, one look at a time, can tell.
    """

    def __init__(
        self,
        store: Store,
        networks: Networks,
        allocations: Allocations,
        volumes: Volumes,
        keep_actions: float,
        project_actions: int,
        keep_logs: float,
        now: Now,
        suspect: Suspect,
    ) -> None:
        self._store = store
        self._networks = networks
        self._allocations = allocations
        self._volumes = volumes
        self._keep_actions, self._project_actions = timedelta(seconds=keep_actions), project_actions
        self._keep_logs = timedelta(seconds=keep_logs)
        self._now = now
        self._suspect = suspect
        self._suspects: set[str] = set()

    async def collect(self) -> None:
        """One pass."""
        await self._release_unowned()
        await self._mend_claims()
        await self._store.write(forget_on_lost_nodes)
        now = self._now()
        await self._store.write(lambda tx: tx.actions.prune(now - self._keep_actions, self._project_actions))
        await self._store.write(lambda tx: tx.departures.prune(now - self._keep_logs, self._project_actions))

    async def _release_unowned(self) -> None:
        # Owners first: a workload's row is older than what it holds, so one that is missing now is gone.
        ports = await self._networks.list_owned()
        owners = ports.keys() | await self._allocations.list_owned() | await self._volumes.list_owned()
        known = await self._store.read(lambda tx: {w.id: w for w in tx.workloads.by_ids(sorted(owners))})
        for row in known.values():
            unnamed = ports.get(row.id, set()) - named_ports(row.placement)
            if unnamed and row.placement.node is not None:
                self._suspect(row.id, unnamed)
        orphans = owners - known.keys()
        for id in sorted(orphans & self._suspects):
            _log.warning("releasing what a workload left behind", workload=id)
            await self._networks.release(id)
            await self._allocations.release(id)
            await self._volumes.release(id)
        self._suspects = orphans - self._suspects

    async def _mend_claims(self) -> None:
        """Have a claim for every placed workload: a resize that was cut short may have missed it."""
        for capacity in await self._allocations.capacities():
            node = capacity.node.id

            def on_node(tx: Tx, node: str = node) -> Sequence[Workload]:
                return tx.workloads.on_node(node)

            rows = await self._store.read(on_node)
            if not is_short(capacity, rows):
                continue
            for row in rows:
                try:
                    await self._allocations.claim(row.id, node, row.spec.resources)
                except Conflict as error:
                    _log.warning("a node has promised more than it has", workload=row.id, node=node, why=error.message)


def is_short(capacity: Capacity, rows: Sequence[Workload]) -> bool:
    """Whether less is claimed of a node than the workloads on it ask for."""
    asked = sum((row.spec.resources for row in rows), NOTHING)
    used = capacity.used
    return used.cpu < asked.cpu - 1e-6 or used.memory < asked.memory or used.disk < asked.disk
