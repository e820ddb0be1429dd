"""Volumes between the store and the nodes: what a node is told of them, and what it tells."""

from collections.abc import Sequence

from krater.bus.messages import FetchFiles, FilesAnswer, SendVolumes
from krater.errors import NotFound
from krater.model.volume import Volume
from krater.store.interfaces import Store, Tx, Workload


class VolumeEndpoint:
    """The part of the controller's endpoint that is about volumes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def send_volumes(self, message: SendVolumes) -> None:
        """Store what a node has: what was to be removed and is gone there, is gone."""
        failures = dict(message.failures)
        await self._store.write(lambda tx: tx.volumes.observe(message.node, message.stored, failures))

    async def fetch_files(self, message: FetchFiles) -> FilesAnswer:
        """Contents, for the node that the workload is on."""

        def look(tx: Tx) -> FilesAnswer:
            rows = tx.workloads.by_ids([message.workload])
            if not rows or rows[0].placement.node != message.node:
                raise NotFound(f"The workload {message.workload} is not on this node.")
            return FilesAnswer(tuple(sorted(tx.volumes.files(message.workload).items())))

        return await self._store.read(look)


def volumes_of(tx: Tx, workloads: Sequence[Workload]) -> dict[str, list[Volume]]:
    """What those workloads hold that mount anything, by workload."""
    mounting = [w.id for w in workloads if w.spec.has_mounts]
    found: dict[str, list[Volume]] = {}
    for volume in tx.volumes.held_by(mounting) if mounting else ():
        found.setdefault(volume.workload, []).append(volume)
    return found


def discards(tx: Tx, node: str) -> tuple[str, ...]:
    """Volumes whose data the node should remove."""
    return tuple(volume.id for volume in tx.volumes.on_node(node) if volume.is_removing)


def forget_on_lost_nodes(tx: Tx) -> int:
    """Forget what is to be removed from nodes that are no more, or that their operator has given up."""
    asked = {v.node for v in tx.volumes.removing() if v.node is not None}
    living = {node.id for node in tx.nodes.list() if not node.forced_down}
    return sum(tx.volumes.forget_removed(node) for node in asked - living)
