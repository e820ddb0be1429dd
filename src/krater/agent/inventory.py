"""What a node is and has. Read from the kernel; the parts that never change once only."""

import os
import platform
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from krater.agent.runtimes.interfaces import EngineFacts
from krater.errors import Invalid
from krater.model.assignment import NodeImage
from krater.model.node import Inventory, NumaNode, parse_processors

_MIB, _GIB = 1 << 20, 1 << 30


def read_inventory(
    directory: str,
    engine: EngineFacts,
    images: Sequence[NodeImage],
    labels: Mapping[str, str],
    dedicated: Sequence[int] = (),
) -> Inventory:
    """The node now. `directory` is on the disk that containers use. Blocks for as long as that disk does."""
    size, used = _disk(directory)
    return Inventory(
        cpus=_cpus(),
        memory=_memory(),
        disk=size // _GIB,
        disk_used=used // _GIB,
        architecture=platform.machine(),
        os_type="linux",
        os=_os_name(),
        kernel_version=platform.release(),
        runtimes=engine.runtimes,
        labels=dict(labels),
        numa=_numa(),
        image_store="up" if engine.image_store_up else "down",
        images=tuple(images),
        dedicated=tuple(dedicated),
    )


def _disk(directory: str) -> tuple[int, int]:
    """Bytes there are and bytes in use, of the file system of the nearest directory that exists."""
    place = Path(directory)
    while not place.exists() and place != place.parent:
        place = place.parent
    found = os.statvfs(place)
    return found.f_blocks * found.f_frsize, (found.f_blocks - found.f_bfree) * found.f_frsize


def _cpus() -> int:
    return len(os.sched_getaffinity(0))


def split_processors(dedicated: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The processors kept for containers of their own, of those this process may use, and the others.

    Invalid when no other is left: everybody else has to run somewhere.
    """
    present = os.sched_getaffinity(0)
    kept = present & set(parse_processors(dedicated))
    if kept == present:
        raise Invalid("[agent] dedicated_cpus: leaves no processor for the node itself and for other containers")
    return tuple(sorted(kept)), tuple(sorted(present - kept))


@cache
def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MIB


@cache
def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


@cache
def _numa(root: str = "/sys/devices/system/node") -> tuple[NumaNode, ...]:
    """NUMA nodes; none where the kernel shows none."""
    found = []
    for place in sorted(Path(root).glob("node[0-9]*"), key=lambda p: int(p.name[4:])):
        try:
            cpus = parse_processors((place / "cpulist").read_text())
            memory = _numa_memory((place / "meminfo").read_text())
        except (OSError, ValueError):
            continue
        found.append(NumaNode(int(place.name[4:]), cpus, memory))
    return tuple(found)


def _numa_memory(text: str) -> int:
    for line in text.splitlines():
        words = line.split()
        if "MemTotal:" in words:
            return int(words[words.index("MemTotal:") + 1]) // 1024
    return 0
