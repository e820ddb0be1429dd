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
from krater.agent.runtimes.oci.images import archive
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
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    is_index,
    read_blob,
    set_labels,
)
from krater.agent.runtimes.oci.images.grants import EVERYBODY
from krater.agent.runtimes.oci.images.layers import Layers
from krater.agent.runtimes.oci.images.registry import Registries
from krater.agent.runtimes.oci.pb import images_pb2, leases_pb2
from krater.errors import Failed, Invalid, Permanent, Temporary
from krater.model.assignment import NodeImage
from krater.model.image import ImageFacts, parse_image
from krater.model.workload import PullPolicy

ANSWER_WITHIN: Final = 2.0
ASK_EVERY: Final = 2.0
PATIENCE: Final = 5.0
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x"}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ReadyImage:
    """An image that containers can be made of: its facts, its chain of layers and their directories, topmost first."""

    facts: ImageFacts
    chain: str
    lowers: tuple[str, ...]


T = TypeVar("T")


def choose_platform(index: Index) -> Descriptor | None:
    """The manifest of an index that is for this machine; a sole manifest that names no platform will do."""
    machine = os.uname().machine
    wanted = _ARCHITECTURES.get(machine, machine)
    for manifest in index.manifests:
        platform = manifest.platform or {}
        if platform.get("architecture") == wanted and platform.get("os", "linux") == "linux":
            return manifest
    plain = [m for m in index.manifests if not m.platform]
    return plain[0] if len(plain) == 1 else None


def facts_of(name: str, digest: str, size: int, config: ImageConfig) -> ImageFacts:
    """The facts an image's configuration tells. What is not of the right shape counts as absent."""
    said = config.config or {}

    def text(key: str) -> str:
        value = said.get(key)
        return value if isinstance(value, str) else ""

    def texts(key: str) -> tuple[str, ...]:
        value = said.get(key)
        return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list | dict) else ()

    labels = said.get("Labels")
    return ImageFacts(
        name=name,
        digest=digest,
        size=size,
        entrypoint=texts("Entrypoint"),
        command=texts("Cmd"),
        environment=texts("Env"),
        workdir=text("WorkingDir"),
        user=text("User"),
        exposed_ports=texts("ExposedPorts"),
        stop_signal=text("StopSignal"),
        labels=tuple((k, str(v)) for k, v in labels.items()) if isinstance(labels, dict) else (),
    )


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
    def _client(self) -> Client:
        if self._connection is None:  # made late: a channel belongs to the loop it is made on
            self._connection = Client(self._socket)
        return self._connection

    @property
    def _layers(self) -> Layers:
        if self._unpacker is None:
            self._unpacker = Layers(self._client)
        return self._unpacker

    async def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection, self._unpacker = self._connection, None, None
        if connection is not None:
            await connection.close()

    async def version(self, within: float = ANSWER_WITHIN) -> str:
        """containerd's version. Unavailable when it does not answer soon."""
        with translated("reach the image store"):
            reply = await self._client.version.Version(Empty(), timeout=within)
        return str(reply.version)

    async def _while_up(self, doing: Coroutine[Any, Any, T]) -> T:
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
        return await self._while_up(self._ensure(name, policy, progress, asker))

    async def _ensure(self, name: str, policy: PullPolicy, progress: Progress | None, asker: Asker) -> ReadyImage:
        ref = parse_image(name)
        async with self._locks.setdefault(ref.canonical, asyncio.Lock()):
            if policy is not PullPolicy.ALWAYS:
                try:
                    ready = await self._prepare(ref.canonical)
                    if self.admits(name, ready, asker.project):
                        return ready
                except Absent:
                    pass
                if policy is PullPolicy.NEVER:
                    raise Permanent(f"the node has no image {name!r} for you, and it must not be pulled")
            try:
                await self._registries.pull(
                    self._client,
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
        """Whether containers of this project may be made of it."""
        return self._registries.grants.admits(parse_image(name).repository, ready.facts.digest, project)

    async def _digest(self, canonical: str) -> str:
        return str((await self._record(canonical)).target.digest)

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
            reply = await self._client.images.List(images_pb2.ListImagesRequest(), metadata=DEFAULT_METADATA)
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
            raise Temporary(f"the image {name!r} is not on the node any more") from None

    def forget(self, name: str) -> None:
        """Do not trust what is remembered of an image: its layers were not where they should be."""
        self._ready.pop(parse_image(name).canonical, None)

    def remembers(self, chain: str) -> bool:
        """Whether an image at hand has this chain of layers."""
        return any(ready.chain == chain for ready in self._ready.values())

    async def _prepare(self, canonical: str) -> ReadyImage:
        record = await self._record(canonical)
        known = self._ready.get(canonical)
        if known is not None and known.facts.digest == record.target.digest:
            return known
        target = Descriptor(record.target.media_type, record.target.digest, record.target.size)
        ready = await self._unpacked(canonical, target)
        self._ready[canonical] = ready
        return ready

    async def _unpacked(self, canonical: str, target: Descriptor) -> ReadyImage:
        try:
            manifest = await self._manifest(target)
            config = msgspec.json.decode(await read_blob(self._client, manifest.config.digest), type=ImageConfig)
        except msgspec.MsgspecError as error:
            raise Permanent(f"the image {canonical!r} is damaged: {error}") from error
        async with self.lease() as metadata:
            chain = await self._layers.unpack(manifest.layers, config.rootfs.diff_ids, metadata)
            if chain:  # ties the unpacked layers to the image, for the store's garbage collection
                await set_labels(
                    self._client, manifest.config.digest, {f"containerd.io/gc.ref.snapshot.{SNAPSHOTTER}": chain}
                )
            lowers = await self._layers.view(chain)
        size = manifest.config.size + sum(layer.size for layer in manifest.layers)
        return ReadyImage(facts_of(canonical, target.digest, size, config), chain, lowers)

    async def _record(self, canonical: str) -> Any:
        with translated("look up the image"):
            request = images_pb2.GetImageRequest(name=canonical)
            return (await self._client.images.Get(request, metadata=DEFAULT_METADATA)).image

    async def _manifest(self, target: Descriptor, depth: int = 0) -> Manifest:
        content = await read_blob(self._client, target.digest)
        if not is_index(target):
            return msgspec.json.decode(content, type=Manifest)
        chosen = choose_platform(msgspec.json.decode(content, type=Index))
        if chosen is None or depth > 2:
            raise Permanent(f"the image has no variant for this machine ({os.uname().machine}, Linux)")
        return await self._manifest(chosen, depth + 1)

    async def images(self) -> list[NodeImage]:
        """The images by the names people use; the pull service's extra names for them are left out."""
        return await self._while_up(self._images())

    async def _images(self) -> list[NodeImage]:
        with translated("list images"):
            reply = await self._client.images.List(images_pb2.ListImagesRequest(), metadata=DEFAULT_METADATA)
        tagged = {i.target.digest for i in reply.images if "@" not in i.name and not i.name.startswith("sha256:")}
        found = []
        for image in sorted(reply.images, key=lambda i: str(i.name)):
            alias = image.name.startswith("sha256:") or ("@" in image.name and image.target.digest in tagged)
            if not alias:
                found.append(NodeImage(image.name, image.target.digest, await self._size(image)))
        return found

    async def _size(self, image: Any) -> int:
        known = self._ready.get(image.name)
        if known is not None and known.facts.digest == image.target.digest:
            return known.facts.size
        target = Descriptor(image.target.media_type, image.target.digest, image.target.size)
        try:
            manifest = await self._manifest(target)
        except (Absent, Permanent, msgspec.MsgspecError) as error:
            log.warning("size of an image unknown", image=image.name, error=str(error))
            return 0
        return manifest.config.size + sum(layer.size for layer in manifest.layers)

    async def import_archive(self, path: str, name: str | None) -> list[NodeImage]:
        """Take an archive's images into the store, unpacked."""
        return await self._while_up(self._import_archive(path, name))

    async def _import_archive(self, path: str, name: str | None) -> list[NodeImage]:
        async with self.lease() as metadata:
            found = []
            for canonical, target in await archive.read_archive(self._client, path, name, metadata):
                with archive.understood(path):  # a name is not taken from a good image for a bad one
                    ready = await self._unpacked(canonical, target)
                await archive.set_image(self._client, canonical, target)
                repository = parse_image(canonical).repository  # what the operator imports is for everybody
                await asyncio.to_thread(self._registries.grants.give, repository, target.digest, EVERYBODY)
                self._ready[canonical] = ready
                found.append(NodeImage(canonical, ready.facts.digest, ready.facts.size))
            return found

    async def remove(self, name: str, chains_in_use: Iterable[str]) -> None:
        """Forget an image under this name. Layers that containers use stay."""
        await self._while_up(self._remove_image(name, chains_in_use))

    async def _remove_image(self, name: str, chains_in_use: Iterable[str]) -> None:
        canonical = parse_image(name).canonical
        self._ready.pop(canonical, None)
        try:
            target = (await self._record(canonical)).target.digest
        except Absent:
            return
        with translated("list images"):
            reply = await self._client.images.List(images_pb2.ListImagesRequest(), metadata=DEFAULT_METADATA)
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
                await self._client.images.Delete(request, metadata=DEFAULT_METADATA)
            except Absent:
                pass

    async def drop_unused(self, chains_in_use: Iterable[str]) -> None:
        """Let go of the views that neither a container nor an image at hand needs."""
        wanted = {*chains_in_use, *(ready.chain for ready in self._ready.values())}
        for chain in await self._layers.views() - wanted:
            await self._layers.drop_view(chain)

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Metadata]:
        """Inside, what is stored or unpacked with the metadata given is not garbage yet."""
        lease = f"krater/{uuid4()}"
        with translated("reserve room in the image store"):
            request = leases_pb2.CreateRequest(id=lease)
            # should we die before deleting it, it ends by itself
            request.labels["containerd.io/gc.expire"] = _in_a_day()
            await self._client.leases.Create(request, metadata=DEFAULT_METADATA)
        metadata: Metadata = with_lease(lease)
        try:
            yield metadata
        except BaseException:
            await self._release(lease, collect=True)  # what was stored in vain may be what the disk is full of
            raise
        await self._release(lease, collect=False)

    async def _release(self, lease: str, *, collect: bool) -> None:
        """Give up a lease; to `collect` is to wait until its garbage is gone, too."""
        try:
            with translated("release room in the image store"):
                request = leases_pb2.DeleteRequest(id=lease, sync=collect)
                await self._client.leases.Delete(request, metadata=DEFAULT_METADATA, timeout=PATIENCE)
        except (Absent, Failed) as error:
            log.warning("lease left to expire", lease=lease, error=str(error))


def _in_a_day() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
