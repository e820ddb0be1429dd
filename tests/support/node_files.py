"""A node's archives over files in memory, for tests of the API and of sessions."""

from typing import Any, cast

from krater.agent.archives import Archives
from krater.agent.runtimes.fake_files import FakeFiles, FakePacked, FakeUnpacked
from krater.agent.runtimes.interfaces import ArchiveReader, ArchiveWriter, Engine
from krater.bus.interfaces import Bus, node_target


class FilesEngine:
    """Knows every container, and nothing of them but their files. Counts what is open."""

    def __init__(self) -> None:
        self.files: dict[str, FakeFiles] = {}
        self.open = 0

    async def inspect(self, container: str) -> object:
        return object()

    async def pack(self, container: str, path: str, limit: int) -> ArchiveReader:
        packed: ArchiveReader = _CountedPacked(self, self.of(container).pack(path, limit))
        return packed

    async def unpack(self, container: str, path: str, limit: int) -> ArchiveWriter:
        unpacked: ArchiveWriter = _CountedUnpacked(self, self.of(container).unpack(path, limit))
        return unpacked

    def of(self, container: str) -> FakeFiles:
        return self.files.setdefault(container, FakeFiles())


class _Counted:
    def __init__(self, engine: FilesEngine) -> None:
        self._engine = engine
        self._is_open = True
        engine.open += 1

    async def close(self) -> None:
        self._engine.open -= self._is_open
        self._is_open = False


class _CountedPacked(_Counted):
    def __init__(self, engine: FilesEngine, packed: FakePacked) -> None:
        super().__init__(engine)
        self.stat, self.read = packed.stat, packed.read


class _CountedUnpacked(_Counted):
    def __init__(self, engine: FilesEngine, unpacked: FakeUnpacked) -> None:
        super().__init__(engine)
        self.write, self.finish = unpacked.write, unpacked.finish


def served(bus: Bus, node: str, idle: float = 60.0) -> tuple[FilesEngine, Archives]:
    """Serve archives for a node. Containers are of the project that the first part of their name says."""
    engine = FilesEngine()
    archives = Archives(
        cast(Engine, cast(Any, engine)), lambda: True, lambda container: container.partition("-")[0], idle=idle
    )
    bus.serve(node_target(node), archives.handlers())
    return engine, archives
