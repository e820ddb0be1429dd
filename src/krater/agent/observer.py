"""What this node has, as the planner needs it.

The engine is always asked: processes end by themselves. Sandboxes, cards and mounts change by our own hand only, so
they are read at every complete comparison and after every failed step, and remembered in between: reading all cards of
the node for each start would cost more than the start.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from krater.agent.planner import ObservedWorkload
from krater.agent.runtimes.interfaces import Runtime
from krater.agent.vif.interfaces import Vif
from krater.agent.volumes.interfaces import VolumeHost
from krater.model.assignment import ObservedContainer

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class World:
    """All that this node has."""

    containers: Mapping[str, ObservedContainer] = field(default_factory=dict)
    sandboxes: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, frozenset[str]] = field(default_factory=dict)
    mounts: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def of(self, workload: str, containers: Iterable[str]) -> ObservedWorkload:
        """The part of it that belongs to one workload."""
        found = {name: self.containers[name] for name in containers if name in self.containers}
        nothing: frozenset[str] = frozenset()
        ports, mounts = self.ports.get(workload, nothing), self.mounts.get(workload, nothing)
        return ObservedWorkload(self.sandboxes.get(workload), ports, found, mounts)


class Observer:
    """Reads the node, whole or one workload."""

    def __init__(self, runtime: Runtime, vif: Vif, volumes: VolumeHost) -> None:
        self._runtime = runtime
        self._vif = vif
        self._volumes = volumes
        self._paths: dict[str, str] = {}
        self._ports: dict[str, frozenset[str]] = {}
        self._mounts: dict[str, frozenset[str]] = {}
        self._doubts = 1
        self._trusted = 0
        self._touched: set[str] = set()
        self._reading = asyncio.Lock()

    async def scan(self) -> World:
        """Everything, from the world itself."""
        containers = await self._runtime.list()
        async with self._reading:
            await self._read_network()
        return World(containers, dict(self._paths), dict(self._ports), dict(self._mounts))

    async def look(self, workload: str, containers: Iterable[str]) -> ObservedWorkload:
        """One workload, with the named containers."""
        found: dict[str, ObservedContainer] = {}
        for name in containers:
            seen = await self._runtime.inspect(name)
            if seen is not None:
                found[name] = seen
        if self._trusted != self._doubts:
            await self._read_network_again()
        nothing: frozenset[str] = frozenset()
        ports, mounts = self._ports.get(workload, nothing), self._mounts.get(workload, nothing)
        return ObservedWorkload(self._paths.get(workload), ports, found, mounts)

    def path(self, workload: str) -> str:
        """Where its namespace is, "" when it has none."""
        return self._paths.get(workload, "")

    def doubt(self) -> None:
        """A step failed or was cut off half-way: read network and mounts again before the next plan."""
        self._doubts += 1

    def made(self, workload: str, path: str) -> None:
        """A sandbox is there."""
        self._touched.add(workload)
        self._paths[workload] = path

    def removed(self, workload: str) -> None:
        """A sandbox is gone, with its cards."""
        self._touched.add(workload)
        self._paths.pop(workload, None)
        self._ports.pop(workload, None)

    def plugged(self, workload: str, port: str) -> None:
        """A card is in."""
        self._touched.add(workload)
        self._ports[workload] = self._ports.get(workload, frozenset()) | {port}

    def unplugged(self, workload: str, port: str) -> None:
        """A card is out."""
        self._touched.add(workload)
        self._ports[workload] = self._ports.get(workload, frozenset()) - {port}

    def connected(self, workload: str, mount: str) -> None:
        """A volume or a file is at its path."""
        self._touched.add(workload)
        self._mounts[workload] = self._mounts.get(workload, frozenset()) | {mount}

    def disconnected(self, workload: str, mount: str) -> None:
        """A volume or a file is there no more."""
        self._touched.add(workload)
        self._mounts[workload] = self._mounts.get(workload, frozenset()) - {mount}
        if not self._mounts[workload]:
            del self._mounts[workload]

    async def _read_network_again(self) -> None:
        """Once for all who wait for it."""
        async with self._reading:
            if self._trusted != self._doubts:
                await self._read_network()

    async def _read_network(self) -> None:
        """Read all sandboxes, cards and mounts; what was changed while we read is kept as we know it."""
        doubts = self._doubts
        self._touched.clear()
        paths, ports = await self._vif.sandboxes(), await self._vif.plugged()
        mounts = await self._volumes.connected()
        self._paths = self._merged(paths, self._paths)
        self._ports = self._merged({w: p for w, p in ports.items() if p}, self._ports)
        self._mounts = self._merged(mounts, self._mounts)
        self._trusted = doubts

    def _merged(self, read: Mapping[str, Value], known: Mapping[str, Value]) -> dict[str, Value]:
        found = {key: value for key, value in read.items() if key not in self._touched}
        return found | {key: value for key, value in known.items() if key in self._touched}
