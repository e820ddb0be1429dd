"""The controller's half of a container's life: finding it a place, and forgetting it when it is gone.

`Workloads.reconcile` is called for one workload at a time whenever something may have changed, and from time to
time for all that are unfinished. It looks at what is stored and takes the next step; every step is idempotent, so
being killed between any two of them costs a repetition:

    going, on a node that will answer    hint the node; its report that all is gone unplaces it
    going, nowhere (any more)            give back ports, claim, volumes and quota; delete the row, last
    not placed                           choose a node, claim, have ports and volumes, write the placement; hint it
    placed, on other networks than asked have ports, write the placement anew; hint the node
    placed                               hint the node; keep the claim in step with the specification; free the ports
                                         that were taken off a network, once the node has said that they are out
"""

from collections.abc import Set
from dataclasses import dataclass, replace

import structlog

from krater.bus.interfaces import Bus, node_target
from krater.bus.messages import GroupsChanged, VolumesChanged, WorkloadChanged
from krater.clock import Now
from krater.cloud.interfaces import Allocations, Networks, Volumes
from krater.config import Settings
from krater.controller.assignments import is_going, is_wired, named_ports
from krater.controller.histories import finish
from krater.controller.reports import departures
from krater.controller.scheduler.filters import Ask
from krater.controller.scheduler.select import REFUSAL, select
from krater.controller.scheduler.weighers import WEIGHERS
from krater.errors import Conflict, KraterError, NoCapacity, NotFound, Permanent, Rejected
from krater.model.assignment import Placement
from krater.model.node import Capacity, Node
from krater.model.quota import UNLIMITED, Limits, Usage
from krater.store.interfaces import Store, Tx, Workload

_log = structlog.get_logger(__name__)

_NO_LIMITS = Limits(UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED)
_WAIT_FOR_A_NODE = 1.0
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """A workload, and the node it is placed on, as one transaction found them."""

    workload: Workload
    node: Node | None


class Workloads:
    """Brings workloads to their nodes, and to their end."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        bus: Bus,
        networks: Networks,
        allocations: Allocations,
        volumes: Volumes,
        now: Now,
    ) -> None:
        self._scheduler = settings.scheduler
        self._down_after = settings.controller.node_down_after
        self._store = store
        self._bus = bus
        self._networks = networks
        self._allocations = allocations
        self._volumes = volumes
        self._now = now
        self._unnamed: dict[str, Set[str]] = {}

    def suspect(self, id: str, ports: Set[str]) -> None:
        """Have the next look at a workload give back these ports of its, if no placement names them then."""
        self._unnamed[id] = ports

    async def reconcile(self, id: str) -> float | None:
        """Take the next step for one workload. Returns in how many seconds to look again, None for not by itself."""
        unnamed = self._unnamed.pop(id, frozenset())
        seen = await self._store.read(lambda tx: look(tx, id))
        if seen is None:
            return None
        workload = seen.workload
        if is_going(workload):
            return await self._see_off(seen)
        if workload.placement.node is None:
            return await self._place(workload)
        if not is_wired(workload):
            return await self._wire(workload, workload.placement.node)
        self._hint(workload.placement.node, id)
        await self._keep_claim(workload, workload.placement.node)
        await self._free_ports(workload)
        if lost := unnamed - named_ports(workload.placement):  # of a wiring that was cut short and is not wanted now
            _log.warning("releasing ports that nobody was told of", workload=id, ports=sorted(lost))
            await self._networks.release(id, sorted(lost))
        return None

    # Going ------------------------------------------------------------------------------------------------------------

    async def _see_off(self, seen: Seen) -> float | None:
        workload, node = seen.workload, seen.node
        if workload.placement.node is not None:
            if node is not None and not node.forced_down:
                self._hint(node.id, workload.id)
                return None
            # Its epoch ends with the row: should that node return, a complete pull tells it to remove the rest.
            _log.warning("forgetting a workload of a lost node", workload=workload.id, node=workload.placement.node)
        await self._give_back(workload.id)
        if workload.spec.has_mounts:
            await self._free_volumes(workload.id)
        at = self._now()

        def forget(tx: Tx) -> set[str]:
            concerned = tx.security_groups.other_nodes(workload.security_groups, None)
            for row in tx.workloads.by_ids([workload.id]):
                tx.departures.add(departures(row, at))
                tx.quotas.charge(row.project_id, given_back(row), _NO_LIMITS)
                finish(tx, row, row.intent.generation, None, at)
                tx.security_groups.leave(row.id)
                tx.workloads.delete(row.id)
            return concerned

        self._tell(await self._store.write(forget), workload)
        return None

    async def _give_back(self, id: str) -> None:
        await self._networks.release(id)
        await self._allocations.release(id)

    async def _free_volumes(self, id: str) -> None:
        """What it held; not before it is nowhere, and not for want of a place: it may find one yet."""
        for node in await self._volumes.release(id):
            self._bus.hint(node_target(node), VolumesChanged())

    # Placing ----------------------------------------------------------------------------------------------------------

    async def _place(self, workload: Workload) -> float | None:
        placement = workload.placement
        if placement.refusal is not None and placement.generation == workload.intent.generation:
            return None
        try:
            claimed = await self._claim(workload)
            if claimed is None:
                return _WAIT_FOR_A_NODE
            node, cpus = claimed
            nics = await self._networks.ensure_ports(workload.id, workload.project_id, workload.spec.nets)
            if workload.spec.has_mounts:
                await self._volumes.ensure_attached(workload.id, node.id)
        except (NoCapacity, Rejected, Permanent) as error:
            return await self._refuse(workload, error)
        placed = Placement(node.id, placement.epoch + 1, nics, cpus=cpus)
        concerned = await self._store.write(lambda tx: place(tx, workload, placed))
        if concerned is None:
            return 0.0
        self._hint(node.id, workload.id)
        self._tell(concerned, workload)
        return None

    async def _claim(self, workload: Workload) -> tuple[Node, tuple[int, ...]] | None:
        """A node with room that is now claimed, and the dedicated processors there.

        None while it is worth waiting for a node to come alive at all.
        """
        homes = await self._volumes.homes(workload.id) if workload.spec.has_mounts else frozenset()
        for _ in range(_ROUNDS):
            capacities = await self._allocations.capacities()
            try:
                candidates = self._select(workload, capacities, homes)
            except NoCapacity as refusal:
                if self._is_worth_waiting(workload, capacities):
                    return None
                # A claim left by an attempt that was cut short counts against us: without it there may be room.
                if workload.id not in await self._allocations.list_owned():
                    _log.info("no node can take a workload", workload=workload.id, said=refusal.explanations)
                    raise
                await self._allocations.release(workload.id)
                continue
            for candidate in candidates:
                try:
                    cpus = await self._allocations.claim(workload.id, candidate.node.id, workload.spec.resources)
                except Conflict:
                    continue
                return candidate.node, cpus
        raise NoCapacity(f"{REFUSAL} Others were faster to take the room there was.")

    def _select(self, workload: Workload, capacities: list[Capacity], homes: frozenset[str]) -> list[Capacity]:
        ask = Ask.of(
            workload.spec,
            default_zone=self._scheduler.default_zone,
            down_after=self._down_after,
            now=self._now(),
            homes=homes,
        )
        return select(ask, capacities, WEIGHERS[self._scheduler.weigher])

    def _is_worth_waiting(self, workload: Workload, capacities: list[Capacity]) -> bool:
        now = self._now()
        if any(c.node.is_alive(now, self._down_after) for c in capacities):
            return False
        asked_at = workload.updated_at or workload.created_at
        return (now - asked_at).total_seconds() < self._scheduler.patience

    async def _refuse(self, workload: Workload, error: KraterError) -> float | None:
        """Say why there is no place, once nothing is held for it any more."""
        await self._give_back(workload.id)
        generation, at = workload.intent.generation, self._now()
        refused = replace(workload.placement, refusal=error.message, generation=generation, nics=())

        def refuse(tx: Tx) -> bool:
            if place(tx, workload, refused) is None:
                return False
            finish(tx, workload, generation, error.message, at)
            return True

        return None if await self._store.write(refuse) else 0.0

    # Placed -----------------------------------------------------------------------------------------------------------

    async def _keep_claim(self, workload: Workload, node: str) -> None:
        """Claim what the specification asks for now: a container that was resized keeps its place either way."""
        try:
            await self._allocations.claim(workload.id, node, workload.spec.resources)
        except Conflict as error:
            _log.warning("a node has promised more than it has", workload=workload.id, node=node, why=error.message)

    async def _wire(self, workload: Workload, node: str) -> float | None:
        """Have ports for the networks it asks for now. Those of others leave, but hold until its node let go of them.

        A new epoch: whatever the node says of the former one, it says without knowing of these cards.
        """
        placement, error = workload.placement, None
        before, leaving = placement.nics, placement.leaving
        try:
            nics = await self._networks.ensure_ports(
                workload.id, workload.project_id, workload.spec.nets, before, leaving
            )
        except (NoCapacity, Rejected, Permanent) as refusal:
            _log.info("no port for a workload", workload=workload.id, why=refusal.message)
            nics, error = before, refusal.message
        kept, generation, at = {nic.port for nic in nics}, workload.intent.generation, self._now()
        gone = tuple(nic.port for nic in before if nic.port not in kept)
        wired = replace(
            placement,
            epoch=placement.epoch + 1,
            nics=nics,
            leaving=tuple(port for port in (*leaving, *gone) if port not in kept),  # one may have come back
            refusal=error,
            generation=0 if error is None else generation,
        )

        def write(tx: Tx) -> set[str] | None:
            concerned = place(tx, workload, wired)
            if concerned is not None and error is not None:
                finish(tx, workload, generation, error, at)
            return concerned

        concerned = await self._store.write(write)
        if concerned is None:  # other networks are asked for by now: no node was told of these ports
            await self._networks.release(workload.id, sorted(kept - {nic.port for nic in before}))
            return 0.0
        self._hint(node, workload.id)
        self._tell(concerned, workload)
        return None

    async def _free_ports(self, workload: Workload) -> None:
        """Give back the ports that its node has let go of."""
        seen, leaving = workload.observed, workload.placement.leaving
        if not leaving or not seen.settled or seen.generation != workload.intent.generation:
            return
        await self._networks.release(workload.id, leaving)
        free = replace(workload.placement, leaving=())
        concerned = await self._store.write(lambda tx: place(tx, workload, free))
        self._tell(concerned or set(), workload)

    def _tell(self, nodes: set[str], workload: Workload) -> None:
        """Tell nodes whose rules name the groups of this one that its addresses came or went."""
        for node in sorted(nodes):
            self._bus.hint(node_target(node), GroupsChanged(workload.security_groups))

    def _hint(self, node: str, id: str) -> None:
        self._bus.hint(node_target(node), WorkloadChanged(id))


def look(tx: Tx, id: str) -> Seen | None:
    """The workload and its node, or None when it is gone."""
    rows = tx.workloads.by_ids([id])
    if not rows:
        return None
    workload = rows[0]
    if workload.placement.node is None or not is_going(workload):
        return Seen(workload, None)
    try:
        return Seen(workload, tx.nodes.get(workload.placement.node))
    except NotFound:
        return Seen(workload, None)


def place(tx: Tx, workload: Workload, placement: Placement) -> set[str] | None:
    """Write a placement, unless the workload has changed since it was read: then there is something else to do.

    None then, else the other nodes whose rules name what it is in, as they are at this moment.
    """
    rows = tx.workloads.by_ids([workload.id])
    if not rows or rows[0].placement != workload.placement or rows[0].intent != workload.intent or is_going(rows[0]):
        return None
    tx.workloads.place(workload.id, placement)
    return tx.security_groups.other_nodes(workload.security_groups, placement.node)


def given_back(workload: Workload) -> Usage:
    """What a project has less of once this workload is gone: what its creation charged, as a negative."""
    resources = workload.spec.resources
    return Usage(-len(workload.spec.containers), -resources.cpu, -resources.memory, -resources.disk)
