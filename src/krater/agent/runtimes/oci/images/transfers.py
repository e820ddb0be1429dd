"""Images that this node makes, gives out and uploads."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from krater.agent.runtimes.interfaces import ImagePart, Progress, PullProgress, PushTarget
from krater.agent.runtimes.oci.images import commit, export, push
from krater.agent.runtimes.oci.images.client import Absent, Client
from krater.agent.runtimes.oci.images.content import Descriptor, digest_of
from krater.agent.runtimes.oci.images.store import ImageStore
from krater.agent.runtimes.oci.registries import Trust
from krater.errors import NotFound, Permanent
from krater.model.assignment import NodeImage
from krater.model.image import parse_image
from krater.model.registry import RegistryRules
from krater.outgoing import Ways

Stilled = Callable[[], AbstractAsyncContextManager[commit.Changes]]
"""Holds a container still while its changes are read."""


class Transfers:
    """Does it, over an image store."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store

    async def commit(self, name: str, base: str, stilled: Stilled) -> NodeImage:
        """Have an image of what `stilled` shows, made on the image whose digest is `base`."""
        return await self._store.while_up(self._commit(name, base, stilled))

    async def _commit(self, name: str, base: str, stilled: Stilled) -> NodeImage:
        canonical, client = parse_image(name).canonical, self._store.client
        ref = f"commit-{digest_of(canonical.encode()).partition(':')[2]}"
        try:
            async with self._store.lease(ref) as metadata:
                under = await self._store.stored(Descriptor(digest=base))
                async with stilled() as changes:
                    layer = await commit.make_layer(client, changes, f"krater-{ref}", metadata)
                target = await commit.write_image(client, under.manifest, changes, layer, metadata)
                return await self._store.adopt(canonical, target)
        except Absent:  # at any moment: until the new image refers to its parts, the store may drop them
            raise Permanent("the image that the container was made of is not on its node any more") from None

    async def _named(self, name: str) -> export.Stored:
        """An image with its manifest. NotFound."""
        try:
            target = (await self._store.record(parse_image(name).canonical)).target
            return await self._store.stored(Descriptor(target.media_type, target.digest, target.size))
        except Absent:
            raise NotFound("the image is not on its node any more") from None

    async def read(self, name: str, reference: str, offset: int, length: int) -> ImagePart:
        """A piece of an image's archive."""
        image = await self._named(name)
        try:
            return ImagePart(*await export.read(self._store.client, image, reference, offset, length))
        except Absent:
            raise Permanent("the image is damaged: a part of it is missing") from None

    async def push(
        self, name: str, target: PushTarget, rules: RegistryRules, trust: Trust, progress: Progress | None
    ) -> str:
        """Upload an image."""
        domain = parse_image(target.reference).domain
        refusal = rules.refusal(domain)
        if refusal is not None:
            raise Permanent(f"the image is not pushed: {refusal}")
        image, secure = await self._named(name), await asyncio.to_thread(trust.is_secure, domain)
        registry = push.Registry(target, Ways(rules), trust.context, secure)
        blobs = {d.digest: d for d in (*image.manifest.layers, image.manifest.config)}
        total, done = sum(d.size for d in blobs.values()), 0
        for blob in blobs.values():
            if not await registry.has_blob(blob.digest):
                source = _counted(self._store.client, blob.digest, done, total, progress)
                await registry.put_blob(blob.digest, blob.size, source)
            done += blob.size
            if progress is not None:
                progress(PullProgress(done, total))
        await registry.put_manifest(image.content, image.target.media_type)
        return image.target.digest


def _counted(
    client: Client, digest: str, before: int, total: int, progress: Progress | None
) -> Callable[[], AsyncIterator[bytes]]:
    """A blob to send, told of as it goes."""

    async def pieces() -> AsyncIterator[bytes]:
        sent = before
        async for piece in export.blob_pieces(client, digest):
            yield piece
            sent += len(piece)
            if progress is not None:
                progress(PullProgress(sent, total))

    return pieces
