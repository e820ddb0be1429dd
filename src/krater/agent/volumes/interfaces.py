"""Volumes and injected files on one node. Adapters: `directory` (files of the node's own disk) and `fake`.

Every adapter passes `tests/contracts/test_volume_host.py`. All methods are idempotent; `connected` and `stored` read
the world, never memory. Data are formatted once, when a volume is new, and removed by `discard` alone: nothing that
fails here costs anybody their data. What belongs to another Krater on the same machine is never seen or touched.
"""

from typing import Protocol

from krater.model.volume import Attachment, MountRequest


class VolumeHost(Protocol):
    """What workloads on this node have connected, and the data of the volumes that are kept here."""

    async def open(self) -> None:
        """Prepare the host, and find again what is there. Idempotent."""

    async def close(self) -> None:
        """Let go of threads. What is connected stays."""

    def path(self, workload: str, mount: MountRequest) -> str:
        """Where the volume or file is while it is connected. Nothing is there while it is not."""

    async def connect(self, workload: str, volume: Attachment) -> None:
        """Have the volume at its path, with at least its size.

        Permanent when it should have data and has none here; Temporary while another workload has it connected.
        """

    async def place(self, workload: str, file: str, content: bytes) -> None:
        """Have an injected file at its path: root's, readable by all, as a whole or not at all."""

    async def disconnect(self, workload: str, id: str) -> None:
        """Have a volume (its data stay) or a file no more at its path."""

    async def connected(self) -> dict[str, frozenset[str]]:
        """Volumes and files that are at their paths, by workload, of workloads that have any."""

    async def stored(self) -> frozenset[str]:
        """Volumes whose data are kept on this node."""

    async def discard(self, volume: str) -> None:
        """Remove a volume's data. Temporary while it is connected."""
