"""`VolumeHost` in memory, for development and tests. The world is a thing of its own, so that it outlives a "crash"."""

from dataclasses import dataclass, field

from krater.agent.volumes.names import checked
from krater.errors import Permanent, Temporary
from krater.model.volume import Attachment, MountRequest


@dataclass
class FakeVolumeWorld:
    """What a node's disk and kernel would hold: sizes by volume, what is connected by workload, contents by file.

    `formatted` counts how often a volume's data were made. `refusal` is raised by the next connection, once.
    """

    disks: dict[str, int] = field(default_factory=dict)
    mounts: dict[str, set[str]] = field(default_factory=dict)
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    formatted: dict[str, int] = field(default_factory=dict)
    refusal: Exception | None = None


class FakeVolumeHost:
    """The same promises as `DirectoryVolumes`, kept in a `FakeVolumeWorld`."""

    def __init__(self, world: FakeVolumeWorld | None = None) -> None:
        self.world = world if world is not None else FakeVolumeWorld()
        self._is_open = False

    async def open(self) -> None:
        """Begin."""
        self._is_open = True

    async def close(self) -> None:
        """End; what is connected stays."""
        self._is_open = False

    def path(self, workload: str, mount: MountRequest) -> str:
        """A path that leads nowhere."""
        return f"/run/fake/volumes/{workload}/{mount.volume or mount.file}"

    async def connect(self, workload: str, volume: Attachment) -> None:
        """Have it there, and nowhere else."""
        self._check_open()
        checked(workload), checked(volume.volume)
        refusal, self.world.refusal = self.world.refusal, None
        if refusal is not None:
            raise refusal
        if any(volume.volume in held for other, held in self.world.mounts.items() if other != workload):
            raise Temporary(f"The volume {volume.volume} is still in use on this node.")
        if volume.volume not in self.world.disks:
            if not volume.is_new:
                raise Permanent(f"The data of volume {volume.volume} are not on this node.")
            self.world.formatted[volume.volume] = self.world.formatted.get(volume.volume, 0) + 1
            self.world.disks[volume.volume] = volume.size
        self.world.disks[volume.volume] = max(volume.size, self.world.disks[volume.volume])
        self.world.mounts.setdefault(workload, set()).add(volume.volume)

    async def place(self, workload: str, file: str, content: bytes) -> None:
        """Have the file."""
        self._check_open()
        checked(workload), checked(file)
        self.world.files[workload, file] = content

    async def disconnect(self, workload: str, id: str) -> None:
        """Have it no more."""
        self._check_open()
        self.world.files.pop((workload, id), None)
        held = self.world.mounts.get(workload, set())
        held.discard(id)
        if not held:
            self.world.mounts.pop(workload, None)

    async def connected(self) -> dict[str, frozenset[str]]:
        """All there is."""
        self._check_open()
        found = {workload: frozenset(held) for workload, held in self.world.mounts.items() if held}
        for workload, file in self.world.files:
            found[workload] = found.get(workload, frozenset()) | {file}
        return found

    async def stored(self) -> frozenset[str]:
        """Disks."""
        self._check_open()
        return frozenset(self.world.disks)

    async def discard(self, volume: str) -> None:
        """Have no such disk."""
        self._check_open()
        if any(volume in held for held in self.world.mounts.values()):
            raise Temporary(f"The volume {volume} is still in use on this node.")
        self.world.disks.pop(volume, None)

    def _check_open(self) -> None:
        if not self._is_open:
            raise Temporary("The volumes of this node are not open.")
