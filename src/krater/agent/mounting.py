"""The agent's part in volumes and injected files: the steps, and what a container is told of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from krater.agent.observer import Observer
from krater.agent.runtimes.interfaces import Mount
from krater.agent.steps import ConnectVolume, Disconnect, PlaceFiles, VolumeStep
from krater.agent.volumes.interfaces import VolumeHost
from krater.bus.interfaces import CONTROLLER, Bus
from krater.bus.messages import FetchFiles
from krater.errors import NotFound, Permanent
from krater.model.assignment import Assignment
from krater.model.workload import ContainerSpec

_TIMEOUT = 30.0


class Mounting:
    """Takes the steps that are about volumes and files. `made` is called when a new volume may have got its data."""

    def __init__(self, node: str, bus: Bus, volumes: VolumeHost, observer: Observer, made: Callable[[], None]) -> None:
        self._node = node
        self._bus = bus
        self._volumes = volumes
        self._observer = observer
        self._made = made
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def take(self, workload: str, step: VolumeStep) -> None:
        """One step; what changed is remembered like what is read."""
        match step:
            case ConnectVolume(volume):
                await self._volumes.connect(workload, volume)
                self._observer.connected(workload, volume.volume)
                if volume.is_new:
                    self._made()
            case PlaceFiles(files):
                await self._place(workload, files)
            case Disconnect(mount):
                async with self._held(workload):
                    await self._volumes.disconnect(workload, mount)
                    self._observer.disconnected(workload, mount)

    @asynccontextmanager
    async def furnished(self, assignment: Assignment) -> AsyncIterator[None]:
        """Have all that its containers mount at its paths, as before a start. Nothing is disconnected meanwhile."""
        async with self._held(assignment.workload):
            for volume in assignment.volumes:
                await self.take(assignment.workload, ConnectVolume(volume))
            if assignment.files:
                await self.take(assignment.workload, PlaceFiles(assignment.files))
            yield

    def _held(self, workload: str) -> asyncio.Lock:
        return self._locks.setdefault(workload, asyncio.Lock())

    async def _place(self, workload: str, files: tuple[str, ...]) -> None:
        try:
            answer = await self._bus.call(CONTROLLER, FetchFiles(self._node, workload), _TIMEOUT)
        except NotFound as error:
            raise Permanent("The injected files of the container are not to be had any more.") from error
        contents = dict(answer.files)
        for file in files:
            if file not in contents:
                raise Permanent("An injected file of the container is not to be had any more.")
            await self._volumes.place(workload, file, contents[file])
            self._observer.connected(workload, file)

    def mounts(self, workload: str, spec: ContainerSpec) -> tuple[Mount, ...]:
        """What a container finds where, by paths of this node. Injected files are never written to."""
        return tuple(
            Mount(self._volumes.path(workload, m), m.destination, read_only=m.read_only or bool(m.file))
            for m in spec.mounts
        )
