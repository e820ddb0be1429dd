"""What the engine asks of the image store: have an image ready to run, list, import, forget."""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar
from uuid import uuid4
from weakref import WeakValueDictionary

import msgspec
import structlog
from google.protobuf.empty_pb2 import Empty

from krater.agent.runtimes.interfaces import OPERATOR, Asker, Progress
from krater.agent.runtimes.oci.images import archive, export
from krater.agent.runtimes.oci.images.client import (
    DEFAULT_METADATA,
    SNAPSHOTTER,
    Absent,
    Client,
    Metadata,
    translated,
    with_lease,
)
from krater.agent.runtimes.oci.images.content import (
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    read_blob,
    set_labels,
)
from krater.agent.runtimes.oci.images.facts import choose_platform, facts_of
from krater.agent.runtimes.oci.images.grants import EVERYBODY
from krater.agent.runtimes.oci.images.layers import Layers
from krater.agent.runtimes.oci.images.registry import Registries
from krater.agent.runtimes.oci.pb import images_pb2, leases_pb2
from krater.errors import Failed, Invalid, Permanent, Temporary
from krater.model.assignment import NodeImage
from krater.model.image import ImageFacts, belongs_to, is_own, parse_image
from krater.model.workload import PullPolicy

ANSWER_WITHIN: Final = 2.0
ASK_EVERY: Final = 2.0
PATIENCE: Final = 5.0
KEPT: Final = "io.krater.kept"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ReadyImage:
    """An image that containers can be made of: its facts, its chain of layers and their directories, topmost first."""

    facts: ImageFacts
    chain: str
    lowers: tuple[str, ...]


T = TypeVar("T")


class ImageStore:
    """One containerd. Knows nothing of how it is started, and nothing of containers."""

    def __init__(self, socket: str, registries: Registries) -> None:
        self._socket = socket
        self._registries = registries
        self._connection: Client | None = None
        self._unpacker: Layers | None = None
        self._ready: dict[str, ReadyImage] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def client(self) -> Client:
        """The connection."""
        if self._connection is None:  # made late: a channel belongs to the loop it is made on
            self._connection = Client(self._socket)
        return self._connection

    @property
    def _layers(self) -> Layers:
        if self._unpacker is None:
            self._unpacker = Layers(self.client)
        return self._unpacker

    async def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection, self._unpacker = self._connection, None, None
        if connection is not None:
            await connection.close()

    async def version(self, within: float = ANSWER_WITHIN) -> str:
        """containerd's version. Unavailable when it does not answer soon."""
        with translated("reach the image store"):
            reply = await self.client.version.Version(Empty(), timeout=within)
        return str(reply.version)

    async def while_up(self, doing: Coroutine[Any, Any, T]) -> T:
        """Wait for something that may take long. Unavailable once the store does not even tell its version."""
        task = asyncio.ensure_future(doing)
        try:
            while not (await asyncio.wait({task}, timeout=ASK_EVERY))[0]:
                await self.version(PATIENCE)
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def ensure(
        self, name: str, policy: PullPolicy, progress: Progress | None, asker: Asker = OPERATOR
    ) -> ReadyImage:
        """Have an image unpacked and its layers at hand."""
        return await self.while_up(self._ensure(name, policy, progress, asker))

    async def _ensure(self, name: str, policy: PullPolicy, progress: Progress | None, asker: Asker) -> ReadyImage:
        ref = parse_image(name)
        async with self._locks.setdefault(ref.canonical, asyncio.Lock()):
            if policy is not PullPolicy.ALWAYS or is_own(ref.canonical):
                try:
                    ready = await self._prepare(ref.canonical)
                    if self.admits(name, ready, asker.project):
                        return ready
                except Absent:
                    pass
                if is_own(ref.canonical):  # in no registry; and the node's name of it is nobody's business
                    raise Permanent("the image is not on its node any more")
                if policy is PullPolicy.NEVER:
                    raise Permanent(f"the node has no image {name!r} for you, and it must not be pulled")
            try:
                await self._registries.pull(
                    self.client,
                    ref,
                    asker,
                    progress,
                    partial(self._digest, ref.canonical),
                    partial(self._present, ref.repository),
                )
            except Failed:
                await self._sweep_grants()
                raise
            return await self._prepare(ref.canonical)

    def admits(self, name: str, ready: ReadyImage, project: str) -> bool:
        """Whether containers of this project may be made of it. What a project made itself nobody else may use."""
        canonical = parse_image(name).canonical
        if is_own(canonical):
            return belongs_to(canonical, project)
        return self._registries.grants.admits(parse_image(name).repository, ready.facts.digest, project)

    async def _digest(self, canonical: str) -> str:
        return str((await self.record(canonical)).target.digest)

    async def _sweep_grants(self) -> None:
        try:
            await self._registries.sweep(self._repositories)
        except Failed as error:
            log.warning("what projects were given is kept for now", error=error.message)

    async def _repositories(self) -> set[str]:
        return {repository for repository, _ in await self._named()}

    async def _present(self, repository: str) -> set[str]:
        return {digest for found, digest in await self._named() if found == repository}

    async def _named(self) -> set[tuple[str, str]]:
        """All repositories with the digests there are of them."""
        with translated("list images"):
            reply = await self.client.images.List(images_pb2.ListImagesRequest(), metadata=DEFAULT_METADATA)
        found = set()
        for image in reply.images:
            with suppress(Invalid):  # a name of somebody else's, in a store that is not ours alone
                found.add((parse_image(image.name).repository, image.target.digest))
        return found

    async def ready(self, name: str) -> ReadyImage:
        """An image that `ensure` has made ready before, normally without a question to the store."""
        canonical = parse_image(name).canonical
        known = self._ready.get(canonical)
        if known is not None:
            return known
        try:
            return await self._prepare(canonical)
        except Absent:
            shown = "" if is_own(canonical) else f" {name!r}"
            raise Temporary(f"the image{shown} is not on the node any more") from None

    def forget(self, name: str) -> None:
        """Do not trust what is remembered of an image: its layers were not where they should be."""
        self._ready.pop(parse_image(name).canonical, None)

    def remembers(self, chain: str) -> bool:
        """Whether an image at hand has this chain of layers."""
        return any(ready.chain == chain for ready in self._ready.values())

    async def _prepare(self, canonical: str) -> ReadyImage:
        record = await self.record(canonical)
        known = self._ready.get(canonical)
        if known is not None and known.facts.digest == record.target.digest:
            return known
        target = Descriptor(record.target.media_type, record.target.digest, record.target.size)
        ready = await self._unpacked(canonical, target)
        self._ready[canonical] = ready
        return ready

    async def _unpacked(self, canonical: str, target: Descriptor) -> ReadyImage:
        try:
            manifest = (await self.stored(target)).manifest
            config = msgspec.json.decode(await read_blob(self.client, manifest.config.digest), type=ImageConfig)
        except msgspec.MsgspecError as error:
            shown = "" if is_own(canonical) else f" {canonical!r}"
            raise Permanent(f"the image{shown} is damaged: {error}") from error
        async with self.lease() as metadata:
            chain = await self._layers.unpack(manifest.layers, config.rootfs.diff_ids, metadata)
            if chain:  # ties the unpacked layers to the image, for the store's garbage collection
                await set_labels(
                    self.client, manifest.config.digest, {f"containerd.io/gc.ref.snapshot.{SNAPSHOTTER}": chain}
                )
            lowers = await self._layers.view(chain)
        size = manifest.config.size + sum(layer.size for layer in manifest.layers)
        return ReadyImage(facts_of(canonical, target.digest, size, config), chain, lowers)

    async def record(self, canonical: str) -> Any:
        """What the store has under a full name. Raises Absent."""
        with translated("look up the image"):
            request = images_pb2.GetImageRequest(name=canonical)
            return (await self.client.images.Get(request, metadata=DEFAULT_METADATA)).image

    async def images(self) -> list[NodeImage]:
        """The images by the names people use; the pull service's extra names for them are left out."""
        return await self.while_up(self._images())

    async def _images(self) -> list[NodeImage]:
        with translated("list images"):
            reply = await self.client.images.List(images_pb2.ListImagesRequest(), metadata=DEFAULT_METADATA)
        tagged = {i.target.digest for i in reply.images if "@" not in i.name and not i.name.startswith("sha256:")}
        found = []
        for image in sorted(reply.images, key=lambda i: str(i.name)):
            alias = image.name.startswith("sha256:") or ("@" in image.name and image.target.digest in tagged)
            if not alias:
                size, kept = await self._size(image), KEPT in image.labels
                found.append(NodeImage(image.name, image.target.digest, size, kept))
        return found

    async def _size(self, image: Any) -> int:
        known = self._ready.get(image.name)
        if known is not None and known.facts.digest == image.target.digest:
            return known.facts.size
        target = Descriptor(image.target.media_type, image.target.digest, image.target.size)
        try:
            manifest = (await self.stored(target)).manifest
        except (Absent, Permanent, msgspec.MsgspecError) as error:
            log.warning("size of an image unknown", image=image.name, error=str(error))
            return 0
        return manifest.config.size + sum(layer.size for layer in manifest.layers)

    async def import_archive(self, path: str, name: str | None) -> list[NodeImage]:
        """Take an archive's images into the store, unpacked."""
        return await self.while_up(self._import_archive(path, name))

    async def _import_archive(self, path: str, name: str | None) -> list[NodeImage]:
        async with self.lease() as metadata:
            found = []
            for canonical, target in await archive.read_archive(self.client, path, name, metadata):
                with archive.understood(path):  # a name is not taken from a good image for a bad one
                    ready = await self._unpacked(canonical, target)
                await archive.set_image(self.client, canonical, target, {KEPT: "imported"})
                repository = parse_image(canonical).repository  # what the operator imports is for everybody
                await asyncio.to_thread(self._registries.grants.give, repository, target.digest, EVERYBODY)
                self._ready[canonical] = ready
                found.append(NodeImage(canonical, ready.facts.digest, ready.facts.size, kept=True))
            return found

    async def adopt(self, canonical: str, target: Descriptor) -> NodeImage:
        """File what is stored already under a name, unpacked."""
        ready = await self._unpacked(canonical, target)
        await archive.set_image(self.client, canonical, target)
        self._ready[canonical] = ready
        return NodeImage(canonical, ready.facts.digest, ready.facts.size)

    async def stored(self, target: Descriptor, depth: int = 0) -> export.Stored:
        """What a digest stands for on this machine, whatever its media type says of itself. Raises Absent."""
        content = await read_blob(self.client, target.digest)
        try:
            document = msgspec.json.decode(content, type=dict[str, Any])
            if "manifests" not in document:
                media_type = target.media_type or str(document.get("mediaType", OCI_MANIFEST))
                exact = Descriptor(media_type, target.digest, len(content))
                return export.Stored(exact, content, msgspec.json.decode(content, type=Manifest))
            chosen = choose_platform(msgspec.json.decode(content, type=Index))
        except msgspec.MsgspecError as error:
            raise Permanent(f"the image is damaged: {error}") from error
        if chosen is None or depth > 2:
            raise Permanent(f"the image has no variant for this machine ({os.uname().machine}, Linux)")
        return await self.stored(chosen, depth + 1)

    async def remove(self, name: str, chains_in_use: Iterable[str]) -> None:
        """Forget an image under this name. Layers that containers use stay."""
        await self.while_up(self._remove_image(name, chains_in_use))

    async def _remove_image(self, name: str, chains_in_use: Iterable[str]) -> None:
        canonical = parse_image(name).canonical
        self._ready.pop(canonical, None)
        try:
            target = (await self.record(canonical)).target.digest
        except Absent:
            return
        with translated("list images"):
            reply = await self.client.images.List(images_pb2.ListImagesRequest(), metadata=DEFAULT_METADATA)
        same = {i.name for i in reply.images if i.target.digest == target}
        aliases = {n for n in same if n.startswith("sha256:") or "@" in n}
        for doomed in [canonical] if same - aliases - {canonical} else [*sorted(aliases - {canonical}), canonical]:
            await self._remove_name(doomed)
        await self.drop_unused(chains_in_use)
        await self._sweep_grants()

    async def _remove_name(self, canonical: str) -> None:
        with translated("remove the image"):
            try:
                request = images_pb2.DeleteImageRequest(name=canonical, sync=False)
                await self.client.images.Delete(request, metadata=DEFAULT_METADATA)
            except Absent:
                pass

    async def drop_unused(self, chains_in_use: Iterable[str]) -> None:
        """Let go of the views that neither a container nor an image at hand needs."""
        wanted = {*chains_in_use, *(ready.chain for ready in self._ready.values())}
        for chain in await self._layers.views() - wanted:
            await self._layers.drop_view(chain)

    @asynccontextmanager
    async def lease(self, name: str = "") -> AsyncIterator[Metadata]:
        """Inside, what is stored or unpacked with the metadata given is not garbage yet.

        With a `name`, the lease is taken over from an earlier try that was cut short.
        """
        lease = f"krater/{name or uuid4()}"
        if name:
            await self._release(lease, collect=False, is_sure=False)
        with translated("reserve room in the image store"):
            request = leases_pb2.CreateRequest(id=lease)
            # should we die before deleting it, it ends by itself
            request.labels["containerd.io/gc.expire"] = _in_a_day()
            await self.client.leases.Create(request, metadata=DEFAULT_METADATA)
        metadata: Metadata = with_lease(lease)
        try:
            yield metadata
        except BaseException:
            await self._release(lease, collect=True)  # what was stored in vain may be what the disk is full of
            raise
        await self._release(lease, collect=False)

    async def _release(self, lease: str, *, collect: bool, is_sure: bool = True) -> None:
        """Give up a lease; to `collect` is to wait until its garbage is gone, too."""
        try:
            with translated("release room in the image store"):
                request = leases_pb2.DeleteRequest(id=lease, sync=collect)
                await self.client.leases.Delete(request, metadata=DEFAULT_METADATA, timeout=PATIENCE)
        except (Absent, Failed) as error:
            if isinstance(error, Absent) and not is_sure:
                return
            log.warning("lease left to expire", lease=lease, error=str(error))


def _in_a_day() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
