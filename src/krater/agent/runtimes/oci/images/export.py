"""An image as an archive: an OCI layout that `docker load` understands as well.

What stands where in the archive follows from the manifest alone, so any piece of it can be read at any time: whoever
downloads may stop, go on, or begin again at another process, and nobody keeps anything for them meanwhile.
"""

import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from krater.agent.runtimes.oci.images.client import DEFAULT_METADATA, Client, translated
from krater.agent.runtimes.oci.images.content import Descriptor, Manifest
from krater.agent.runtimes.oci.pb import content_pb2
from krater.errors import Permanent
from krater.model.image import DEFAULT_DOMAIN, parse_image

BLOCK: Final = 512
RECORD: Final = 10240  # tar archives end on a multiple of this


@dataclass(frozen=True, slots=True)
class Stored:
    """An image as the store has it: what its name points at, and the manifest for this machine, as it is and read."""

    target: Descriptor
    content: bytes
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of the archive: bytes at hand, or `size` bytes of a blob."""

    size: int
    content: bytes = b""
    digest: str = ""


def pieces_of(image: Stored, reference: str) -> list[_Piece]:
    """The whole archive, in order. Pure."""
    manifest, blobs = image.manifest, [(image.target.digest, _Piece(len(image.content), image.content))]
    parts = (manifest.config, *manifest.layers)
    blobs += [(d.digest, _Piece(d.size, digest=d.digest)) for d in parts]
    files = [("oci-layout", _text({"imageLayoutVersion": "1.0.0"}))]
    files += [(_path(digest), piece) for digest, piece in dict(blobs).items()]
    files.append(("index.json", _text(_index(image, reference))))
    files.append(("manifest.json", _text(_docker(manifest, reference))))
    found: list[_Piece] = []
    for name, piece in files:
        found += [_bytes(_header(name, piece.size)), piece, _bytes(bytes(-piece.size % BLOCK))]
    length = sum(piece.size for piece in found)
    found.append(_bytes(bytes(2 * BLOCK + -(length + 2 * BLOCK) % RECORD)))
    return [piece for piece in found if piece.size]


def _header(name: str, size: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o444
    return entry.tobuf(tarfile.USTAR_FORMAT if size < 1 << 33 else tarfile.GNU_FORMAT)


def _bytes(content: bytes) -> _Piece:
    return _Piece(len(content), content)


def _text(document: Any) -> _Piece:
    return _bytes(msgspec.json.encode(document))


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/', 1)}"


def _index(image: Stored, reference: str) -> dict[str, Any]:
    ref = parse_image(reference)
    names = {"io.containerd.image.name": ref.canonical, "org.opencontainers.image.ref.name": ref.tag or "latest"}
    entry = {"mediaType": image.target.media_type, "digest": image.target.digest, "size": image.target.size}
    media = "application/vnd.oci.image.index.v1+json"
    return {"schemaVersion": 2, "mediaType": media, "manifests": [{**entry, "annotations": names}]}


def _docker(manifest: Manifest, reference: str) -> list[dict[str, Any]]:
    ref = parse_image(reference)
    name = ref.familiar if ref.domain == DEFAULT_DOMAIN else f"{ref.domain}/{ref.path}"
    layers = [_path(layer.digest) for layer in manifest.layers]
    return [{"Config": _path(manifest.config.digest), "RepoTags": [f"{name}:{ref.tag or 'latest'}"], "Layers": layers}]


async def read(client: Client, image: Stored, reference: str, offset: int, length: int) -> tuple[bytes, int]:
    """A part of the archive, and how long it is in all. Nothing beyond its end."""
    parts, position, taken = pieces_of(image, reference), 0, bytearray()
    end = offset + length
    for piece in parts:
        first, last = max(offset, position), min(end, position + piece.size)
        if first < last:
            taken += await _read(client, piece, first - position, last - first)
        position += piece.size
    return bytes(taken), position


async def _read(client: Client, piece: _Piece, offset: int, length: int) -> bytes:
    if piece.content:
        return piece.content[offset : offset + length]
    found = b"".join([part async for part in blob_pieces(client, piece.digest, offset, length)])
    if len(found) != length:
        raise Permanent("the image is damaged: a part of it is shorter than its manifest says")
    return found


async def blob_pieces(client: Client, digest: str, offset: int = 0, length: int = 0) -> AsyncIterator[bytes]:
    """A blob as it comes from the store, a piece at a time. `length` 0 is all of it. Raises Absent."""
    request = content_pb2.ReadContentRequest(digest=digest, offset=offset, size=length)
    with translated("read the image"):
        async for reply in client.content.Read(request, metadata=DEFAULT_METADATA):
            yield reply.data
