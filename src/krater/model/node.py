"""Nodes: what they are, what they have, whether they live."""

from collections.abc import Set
from dataclasses import dataclass, field
from datetime import datetime

from krater.model.assignment import NodeImage
from krater.model.workload import Resources


@dataclass(frozen=True, slots=True)
class NumaNode:
    """One NUMA node: its processors and its memory in MiB."""

    id: int
    cpus: tuple[int, ...]
    memory: int


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a node has, as its agent reports it. Memory in MiB, disk in GiB; `labels` are the operator's.

    `dedicated` are the processors (by number) kept for containers that want some for themselves.
    """

    cpus: int
    memory: int
    disk: int
    disk_used: int = 0
    architecture: str = ""
    os_type: str = "linux"
    os: str = ""
    kernel_version: str = ""
    runtimes: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    numa: tuple[NumaNode, ...] = ()
    image_store: str = "up"
    images: tuple[NodeImage, ...] = ()
    dedicated: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A node as the store knows it. `host` is the API's word for its name.

    `disabled`, `disabled_reason` and `forced_down` are the operator's; the rest is the node's own report.
    """

    id: str
    host: str
    inventory: Inventory
    availability_zone: str
    last_seen: datetime
    created_at: datetime
    disabled: bool = False
    disabled_reason: str | None = None
    forced_down: bool = False
    report_count: int = 0

    def is_alive(self, now: datetime, down_after: float) -> bool:
        """Whether it reported within `down_after` seconds and nobody declared it down."""
        return not self.forced_down and (now - self.last_seen).total_seconds() <= down_after


@dataclass(frozen=True, slots=True)
class Capacity:
    """A node with what is claimed of it, as the scheduler sees it. `ratio`s let more be promised than there is.

    `pinned` are those of its dedicated processors that somebody has.
    """

    node: Node
    used: Resources
    containers: int
    cpu_ratio: float = 16.0
    memory_ratio: float = 1.5
    reserved_memory: int = 512
    pinned: frozenset[int] = frozenset()


def choose_processors(inventory: Inventory, taken: Set[int], count: int) -> tuple[int, ...] | None:
    """So many free dedicated processors, of one NUMA node if one has enough. None when there are too few. Pure.

    The NUMA node with the least to spare is used up first, so that room for large ones stays.
    """
    free = [cpu for cpu in inventory.dedicated if cpu not in taken]
    if len(free) < count:
        return None
    groups = [[cpu for cpu in free if cpu in numa.cpus] for numa in inventory.numa]
    fitting = [group for group in groups if len(group) >= count]
    return tuple(min(fitting, key=len, default=free)[:count])


def parse_processors(text: str) -> tuple[int, ...]:
    """The kernel's way to write sets of processors: `0-3,8`. ValueError."""
    found: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


def format_processors(cpus: Set[int] | tuple[int, ...]) -> str:
    """The same back, each by its number."""
    return ",".join(str(cpu) for cpu in sorted(cpus))
