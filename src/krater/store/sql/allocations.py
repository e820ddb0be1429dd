"""Claims of capacity. What is claimed of a node is summed in its row and checked as the sum is changed."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

from sqlalchemy import Update, bindparam, delete, insert, select, update

from krater.errors import Conflict
from krater.model.node import Capacity, choose_processors, format_processors, parse_processors
from krater.model.workload import Resources
from krater.store.sql.link import Link
from krater.store.sql.nodes import RECORD, decode_node
from krater.store.sql.tables import claims as t
from krater.store.sql.tables import nodes, to_cores, to_millionths, workloads

_CAPACITIES = select(
    *RECORD, nodes.c.used_cpu, nodes.c.used_memory, nodes.c.used_disk, nodes.c.used_containers
).order_by(nodes.c.host)
_CLAIM = select(t.c.node, t.c.cpu, t.c.memory, t.c.disk, t.c.containers, t.c.cpus).where(
    t.c.workload == bindparam("wanted")
)
_PINNED = select(t.c.node, t.c.cpus).where(t.c.cpus != "")
_PINNED_BY_OTHERS = _PINNED.where(t.c.node == bindparam("wanted"), t.c.workload != bindparam("except"))
_NODE = select(*RECORD).where(nodes.c.id == bindparam("wanted"))
_COUNT = select(workloads.c.containers).where(workloads.c.id == bindparam("wanted"))
_NAMES = ("cpu", "memory", "disk", "containers")
_ADD = (
    update(nodes)
    .where(nodes.c.id == bindparam("wanted"))
    .values({nodes.c[f"used_{name}"]: nodes.c[f"used_{name}"] + bindparam(f"more_{name}") for name in _NAMES})
)
_RELEASE = delete(t).where(t.c.workload == bindparam("wanted"))


class SqlAllocations:
    """The ledger."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def capacities(self) -> list[Capacity]:
        """All nodes with what is claimed of them."""
        found = []
        for row in self._link.rows(_CAPACITIES):
            cpu, memory, disk, containers = row[len(RECORD) :]
            found.append(Capacity(decode_node(row), Resources(to_cores(cpu), memory, disk), containers))
        if not any(capacity.node.inventory.dedicated for capacity in found):
            return found
        pinned = [(row.node, parse_processors(row.cpus)) for row in self._link.rows(_PINNED)]
        return [
            replace(
                capacity, pinned=frozenset(cpu for node, cpus in pinned if node == capacity.node.id for cpu in cpus)
            )
            for capacity in found
        ]

    def claim(
        self, workload: str, node: str, resources: Resources, ratios: tuple[float, float, int]
    ) -> tuple[int, ...]:
        """Take room on a node instead of whatever was claimed for the workload before."""
        wanted = {
            "cpu": to_millionths(resources.cpu),
            "memory": resources.memory,
            "disk": resources.disk,
            "containers": self._containers(workload),
        }
        held = self._link.row(self._link.lock(_CLAIM), {"wanted": workload})
        if held is not None and _is_the_same(held, node, wanted, resources.dedicated):
            return parse_processors(held.cpus)
        here = held._asdict() if held is not None and held.node == node else dict.fromkeys(_NAMES, 0)
        more = {name: wanted[name] - here[name] for name in _NAMES}
        room = _room_for(ratios, cpu=more["cpu"] > 0, memory=more["memory"] > 0, disk=more["disk"] > 0)
        if not self._link.change(room, {"wanted": node, **_more(more)}):
            raise Conflict("The node has no room for it any more.")
        kept = parse_processors(held.cpus) if held is not None and held.node == node else ()
        # Its process runs on them, whatever else changes: others must not be given what it goes on using.
        cpus = kept if len(kept) == resources.dedicated else self._choose(workload, node, resources.dedicated)
        if held is not None:
            if held.node != node:
                self._give_back(held)
            self._link.run(_RELEASE, {"wanted": workload})
        self._link.run(insert(t), {"workload": workload, "node": node, "cpus": format_processors(cpus), **wanted})
        return cpus

    def _choose(self, workload: str, node: str, count: int) -> tuple[int, ...]:
        """Dedicated processors. The node's row is locked by then: it was just changed."""
        if count == 0:
            return ()
        row = self._link.row(_NODE, {"wanted": node})
        others = self._link.rows(_PINNED_BY_OTHERS, {"wanted": node, "except": workload})
        taken = {cpu for other in others for cpu in parse_processors(other.cpus)}
        chosen = None if row is None else choose_processors(decode_node(row).inventory, taken, count)
        if chosen is None:
            raise Conflict("The node has too few dedicated processors left.")
        return chosen

    def release(self, workload: str) -> None:
        """Give the room back."""
        held = self._link.row(self._link.lock(_CLAIM), {"wanted": workload})
        if held is not None:
            self._give_back(held)
            self._link.run(_RELEASE, {"wanted": workload})

    def owners(self) -> set[str]:
        """Workloads that hold a claim."""
        return {row[0] for row in self._link.rows(select(t.c.workload))}

    def _containers(self, workload: str) -> int:
        row = self._link.row(_COUNT, {"wanted": workload})
        return 1 if row is None else row[0]

    def _give_back(self, held: Any) -> None:
        self._link.run(_ADD, {"wanted": held.node, **_more({name: -held._mapping[name] for name in _NAMES})})


def _is_the_same(held: Any, node: str, wanted: dict[str, int], dedicated: int) -> bool:
    same = held.node == node and all(held._mapping[name] == wanted[name] for name in _NAMES)
    return same and len(parse_processors(held.cpus)) == dedicated


def _more(amounts: dict[str, int]) -> dict[str, int]:
    return {f"more_{name}": amount for name, amount in amounts.items()}


@lru_cache(maxsize=64)
def _room_for(ratios: tuple[float, float, int], *, cpu: bool, memory: bool, disk: bool) -> Update:
    """Adds to a node's sums if there is room for what grows. The rest needs none: a node may have become smaller.

    Ratios become whole numbers here: each database would multiply by a fraction in its own way.
    """
    cpu_ratio, memory_ratio, reserved = ratios
    statement = _ADD
    if cpu:
        total = nodes.c.cpus * to_millionths(cpu_ratio)
        statement = statement.where(nodes.c.used_cpu + bindparam("more_cpu") <= total)
    if memory:
        total = (nodes.c.memory - reserved) * round(memory_ratio * 1000)
        statement = statement.where((nodes.c.used_memory + bindparam("more_memory")) * 1000 <= total)
    if disk:
        statement = statement.where(nodes.c.used_disk + bindparam("more_disk") <= nodes.c.disk)
    return statement
