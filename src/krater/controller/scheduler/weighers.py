"""Which of the nodes that can take a workload should. Pure; smaller weights are better."""

from collections.abc import Callable

from krater.model.node import Capacity

Weight = tuple[float, ...]
Weigher = Callable[[Capacity], Weight]


def _share(used: float, total: float) -> float:
    return used / total if total > 0 else 1.0


def load(candidate: Capacity) -> float:
    """How full a node is, from 0 to 1: the fuller of its cores and its memory."""
    inventory = candidate.node.inventory
    cpu = _share(candidate.used.cpu, inventory.cpus * candidate.cpu_ratio)
    memory = _share(candidate.used.memory, (inventory.memory - candidate.reserved_memory) * candidate.memory_ratio)
    return max(cpu, memory)


def spread(candidate: Capacity) -> Weight:
    """The emptiest first: a node that fails takes few workloads with it."""
    return load(candidate), candidate.containers


def binpack(candidate: Capacity) -> Weight:
    """The fullest first: whole nodes stay free for something large."""
    return -load(candidate), -candidate.containers


WEIGHERS: dict[str, Weigher] = {"spread": spread, "binpack": binpack}


def rank(candidates: list[Capacity], weigher: Weigher) -> list[Capacity]:
    """Best first. A node whose image store is down comes last: it can wait for it, others need not."""
    return sorted(candidates, key=lambda c: (c.node.inventory.image_store != "up", *weigher(c), c.node.id))
