"""The ledger of capacity in Krater's own store."""

from dataclasses import replace

from krater.config import SchedulerSettings
from krater.model.node import Capacity
from krater.model.workload import Resources
from krater.store.interfaces import Store, Tx


class LocalAllocations:
    """Allocations, kept beside the workloads they are for."""

    def __init__(self, store: Store, settings: SchedulerSettings) -> None:
        self._store = store
        self._ratios = (settings.cpu_ratio, settings.memory_ratio, settings.reserved_memory)

    async def capacities(self) -> list[Capacity]:
        """Nodes and what is claimed of them, with the ratios of the settings."""
        cpu, memory, reserved = self._ratios
        stored = await self._store.read(lambda tx: tx.allocations.capacities())
        return [replace(c, cpu_ratio=cpu, memory_ratio=memory, reserved_memory=reserved) for c in stored]

    async def claim(self, workload: str, node: str, resources: Resources) -> tuple[int, ...]:
        """The dedicated processors it got. Idempotent. Conflict when the room is gone."""
        return await self._store.write(lambda tx: tx.allocations.claim(workload, node, resources, self._ratios))

    def resize(self, tx: Tx, workload: str, node: str, resources: Resources) -> None:
        """Its claim becomes this, with the rest of the transaction or not at all."""
        tx.allocations.claim(workload, node, resources, self._ratios)

    async def release(self, workload: str) -> None:
        """Idempotent."""
        await self._store.write(lambda tx: tx.allocations.release(workload))

    async def list_owned(self) -> set[str]:
        """Workloads that hold a claim."""
        return await self._store.read(lambda tx: tx.allocations.owners())
