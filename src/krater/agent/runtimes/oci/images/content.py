"""Reading and writing blobs by digest."""

import hashlib
from collections.abc import AsyncIterable, Mapping
from contextlib import suppress
from typing import Any, Final
from uuid import uuid4

import grpc
import msgspec
from grpc import aio

from krater.agent.runtimes.oci.images.client import DEFAULT_METADATA, Client, Metadata, translated
from krater.agent.runtimes.oci.pb import content_pb2 as pb
from krater.errors import Permanent

END: Final[Any] = aio.EOF  # type: ignore[attr-defined]  # missing from the stubs
DOCUMENT_LIMIT: Final = 8 * 1024 * 1024

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_MANIFESTS: Final = frozenset({OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json"})
_INDEXES: Final = frozenset(
    {"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"}
)


class Descriptor(msgspec.Struct, frozen=True, rename={"media_type": "mediaType"}):
    """A pointer to a blob."""

    media_type: str = ""
    digest: str = ""
    size: int = 0
    platform: dict[str, Any] | None = None
    annotations: dict[str, str] | None = None


class Manifest(msgspec.Struct, frozen=True):
    """What an image is made of."""

    config: Descriptor
    layers: tuple[Descriptor, ...] = ()


class Index(msgspec.Struct, frozen=True):
    """Several manifests, normally one for each platform."""

    manifests: tuple[Descriptor, ...] = ()


class RootFs(msgspec.Struct, frozen=True):
    """Digests of the unpacked layers, lowest first."""

    diff_ids: tuple[str, ...] = ()


class ImageConfig(msgspec.Struct, frozen=True):
    """The configuration blob, as far as it is used."""

    config: dict[str, Any] | None = None
    rootfs: RootFs = RootFs()


def is_index(descriptor: Descriptor) -> bool:
    """Whether it names an index, by its media type."""
    return descriptor.media_type in _INDEXES


def is_manifest(descriptor: Descriptor) -> bool:
    """Whether it names a manifest, by its media type."""
    return descriptor.media_type in _MANIFESTS


def encode_manifest(manifest: Manifest) -> bytes:
    """A manifest of ours as it is stored."""

    def plain(d: Descriptor) -> dict[str, object]:
        return {"mediaType": d.media_type, "digest": d.digest, "size": d.size}

    parts = {"config": plain(manifest.config), "layers": [plain(layer) for layer in manifest.layers]}
    return msgspec.json.encode({"schemaVersion": 2, "mediaType": OCI_MANIFEST, **parts})


def references(manifest: Manifest) -> dict[str, str]:
    """The labels that tell the store's garbage collection what a manifest needs."""
    labels = {f"containerd.io/gc.ref.content.l.{i}": layer.digest for i, layer in enumerate(manifest.layers)}
    labels["containerd.io/gc.ref.content.config"] = manifest.config.digest
    return labels


def digest_of(content: bytes) -> str:
    """The sha256 digest of a blob held in memory."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


async def read_blob(client: Client, digest: str, limit: int = DOCUMENT_LIMIT) -> bytes:
    """A small blob, whole. Raises Absent, and Permanent when it is larger than a document ever is."""
    pieces: list[bytes] = []
    total = 0
    with translated("read the image"):
        async for piece in client.content.Read(pb.ReadContentRequest(digest=digest), metadata=DEFAULT_METADATA):
            total += len(piece.data)
            if total > limit:
                raise Permanent(f"the image is damaged: its document {digest[:19]} is larger than {limit} bytes")
            pieces.append(piece.data)
    return b"".join(pieces)


async def write_blob(client: Client, content: bytes, labels: Mapping[str, str], metadata: Metadata) -> str:
    """Store a small blob; returns its digest."""
    digest = digest_of(content)

    async def whole() -> AsyncIterable[bytes]:
        yield content

    await write_stream(client, whole(), digest, len(content), labels, metadata)
    if labels:  # a blob that was there already keeps its labels otherwise
        await set_labels(client, digest, labels)
    return digest


async def write_stream(
    client: Client,
    pieces: AsyncIterable[bytes],
    expected: str,
    total: int,
    labels: Mapping[str, str],
    metadata: Metadata,
) -> str:
    """Store a blob piece by piece; the store verifies `expected` (may be "") and `total`. Returns the digest."""
    ref = f"krater-{uuid4()}"  # never one that a crashed writer may still hold
    with translated("store the image"):
        call = client.content.Write(metadata=metadata)
        try:
            await call.write(pb.WriteContentRequest(action=pb.WRITE, ref=ref, expected=expected, total=total))
            await _reply(call)
            offset = 0
            async for piece in pieces:
                await call.write(pb.WriteContentRequest(action=pb.WRITE, offset=offset, data=piece))
                await _reply(call)
                offset += len(piece)
            request = pb.WriteContentRequest(action=pb.COMMIT, offset=offset, total=total, expected=expected)
            request.labels.update(labels)
            await call.write(request)
            return str((await _reply(call)).digest)
        except aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.ALREADY_EXISTS:
                return expected
            await _abort(client, ref)
            raise
        except BaseException:
            call.cancel()
            await _abort(client, ref)
            raise


async def _abort(client: Client, ref: str) -> None:
    """Give back the room of a blob that was not finished. Should that fail, the store does it a day later."""
    with suppress(aio.AioRpcError):
        await client.content.Abort(pb.AbortRequest(ref=ref), metadata=DEFAULT_METADATA)


async def _reply(call: Any) -> Any:
    """The next reply. At the end of the stream the call's status tells what went wrong."""
    reply = await call.read()
    if reply is END:
        code, details = await call.code(), await call.details()
        raise aio.AioRpcError(code, aio.Metadata(), aio.Metadata(), details, None)
    return reply


async def set_labels(client: Client, digest: str, labels: Mapping[str, str]) -> None:
    """Add labels to a blob."""
    request = pb.UpdateRequest(info=pb.Info(digest=digest, labels=dict(labels)))
    request.update_mask.paths.extend(f"labels.{name}" for name in labels)
    with translated("mark the image"):
        await client.content.Update(request, metadata=DEFAULT_METADATA)
