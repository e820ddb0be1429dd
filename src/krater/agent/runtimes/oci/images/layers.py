"""From layers in the content store to directories that can be mounted.

A container does not get a snapshot of its own. Its writable layer is two directories beside its other files, and all
containers of an image share *one* view of the image's layers, whose directories are the lower ones of their overlays.
So once an image is unpacked, creating and removing containers needs no containerd at all: no round trips, no bolt
transactions with their fsyncs, and it works while the image store is down. The view is marked as a root of garbage
collection in the same transaction that makes it, which protects the layers below it just as a lease would.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4
from weakref import WeakValueDictionary

from grpc import aio

from krater.agent.runtimes.oci.images.client import (
    DEFAULT_METADATA,
    GC_ROOT,
    SNAPSHOTTER,
    Absent,
    AlreadyThere,
    Client,
    Metadata,
    translated,
)
from krater.agent.runtimes.oci.images.content import Descriptor
from krater.agent.runtimes.oci.pb import diff_pb2, snapshots_pb2, types_pb2
from krater.errors import Permanent

_DAMAGE: Final = ("archive/tar", "gzip:", "zstd", "unexpected EOF", "invalid header", "flate:")
VIEWS: Final = "krater/view/"
ANSWER_WITHIN: Final = 20.0


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """The names of the snapshots of an image's layers, lowest first, as the OCI image specification defines them."""
    chain: list[str] = []
    for diff in diff_ids:
        if chain:
            text = f"{chain[-1]} {diff}".encode()
            chain.append(f"sha256:{hashlib.sha256(text).hexdigest()}")
        else:
            chain.append(diff)
    return chain


def lower_directories(mounts: Sequence[Any]) -> tuple[str, ...]:
    """The directories that a view's mounts are made of, topmost first."""
    if len(mounts) == 1:
        mount = mounts[0]
        if mount.type == "bind":
            return (str(mount.source),)
        if mount.type == "overlay":
            for option in mount.options:
                name, _, value = str(option).partition("=")
                if name == "lowerdir":
                    return tuple(value.split(":"))
    raise Permanent("the node's image store keeps its layers in a form that Krater cannot mount")


@contextmanager
def _damage_named() -> Iterator[None]:
    """A layer that is no archive will be none the next time either."""
    try:
        yield
    except aio.AioRpcError as error:
        details = error.details() or ""
        if any(word in details for word in _DAMAGE) and "no space left" not in details:
            raise Permanent(f"the image is damaged: {details.rpartition(': ')[2]}") from error
        raise


class Layers:
    """Unpacks layers, and keeps one view for each chain of them that is in use."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def unpack(self, layers: Sequence[Descriptor], diff_ids: Sequence[str], metadata: Metadata) -> str:
        """Have all layers unpacked; returns the name of the topmost one, "" for an image without layers."""
        if len(layers) != len(diff_ids):
            raise Permanent("the image is damaged: its manifest and its configuration disagree on its layers")
        parent = ""
        for name, diff_id, layer in zip(chain_ids(diff_ids), diff_ids, layers, strict=True):
            async with self._locks.setdefault(name, asyncio.Lock()):
                if not await self._exists(name):
                    await self._unpack_one(name, parent, diff_id, layer, metadata)
            parent = name
        return parent

    async def _exists(self, name: str) -> bool:
        try:
            await self._ask(self._client.snapshots.Stat, snapshots_pb2.StatSnapshotRequest, key=name)
        except Absent:
            return False
        return True

    async def _unpack_one(self, name: str, parent: str, diff_id: str, layer: Descriptor, metadata: Metadata) -> None:
        key = f"krater/unpack/{uuid4()}"
        with translated("unpack the image"):
            prepared = await self._client.snapshots.Prepare(
                snapshots_pb2.PrepareSnapshotRequest(snapshotter=SNAPSHOTTER, key=key, parent=parent),
                metadata=metadata,
            )
        try:
            descriptor = types_pb2.Descriptor(media_type=layer.media_type, digest=layer.digest, size=layer.size)
            with translated("unpack the image"), _damage_named():
                applied = await self._client.diff.Apply(
                    diff_pb2.ApplyRequest(diff=descriptor, mounts=prepared.mounts), metadata=metadata
                )
            if applied.applied.digest != diff_id:
                raise Permanent("the image is damaged: a layer does not have the content its configuration names")
            with translated("unpack the image"):
                await self._client.snapshots.Commit(
                    snapshots_pb2.CommitSnapshotRequest(snapshotter=SNAPSHOTTER, name=name, key=key),
                    metadata=metadata,
                )
        except AlreadyThere:
            await self._discard(key)  # another client was quicker
        except BaseException:
            await self._discard(key)
            raise

    async def _discard(self, key: str) -> None:
        with suppress(Absent):
            await self._ask(self._client.snapshots.Remove, snapshots_pb2.RemoveSnapshotRequest, key=key)

    async def view(self, chain: str) -> tuple[str, ...]:
        """The directories of a chain, topmost first; they stay until `drop_view`."""
        key = VIEWS + (chain or "empty")
        try:
            reply = await self._ask(
                self._client.snapshots.View,
                snapshots_pb2.ViewSnapshotRequest,
                key=key,
                parent=chain,
                labels={GC_ROOT: datetime.now(UTC).isoformat()},
            )
        except AlreadyThere:
            reply = await self._ask(self._client.snapshots.Mounts, snapshots_pb2.MountsRequest, key=key)
        return lower_directories(reply.mounts)

    async def views(self) -> set[str]:
        """The chains that have a view."""
        found: set[str] = set()
        with translated("list the image's layers"):
            request = snapshots_pb2.ListSnapshotsRequest(snapshotter=SNAPSHOTTER)
            listing = self._client.snapshots.List(request, metadata=DEFAULT_METADATA, timeout=ANSWER_WITHIN)
            async for reply in listing:
                found |= {i.name.removeprefix(VIEWS) for i in reply.info if i.name.startswith(VIEWS)}
        return {"" if chain == "empty" else chain for chain in found}

    async def drop_view(self, chain: str) -> None:
        """Let go of a chain that no container uses any more."""
        await self._discard(VIEWS + (chain or "empty"))

    async def _ask(self, call: Callable[..., Awaitable[Any]], request: Callable[..., Any], **fields: Any) -> Any:
        with translated("use the image's layers"):
            asked = request(snapshotter=SNAPSHOTTER, **fields)
            return await call(asked, metadata=DEFAULT_METADATA, timeout=ANSWER_WITHIN)
