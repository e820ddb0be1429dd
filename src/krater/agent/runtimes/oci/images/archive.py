"""Image archives (docker-save and OCI layout, plain or gzip tar) into the store, read once from front to back.

An archive is a tenant's bytes. Only its member headers and small JSON documents are looked at here; layers go unread
to the store, which verifies their digests and applies them. Sizes are bounded before anything is held in memory.
"""

import asyncio
import tarfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Final, Self

import msgspec

from krater.agent.runtimes.oci.images import content as blobs
from krater.agent.runtimes.oci.images.client import (
    DEFAULT_METADATA,
    Absent,
    AlreadyThere,
    Client,
    Metadata,
    translated,
)
from krater.agent.runtimes.oci.images.content import Descriptor, Index, Manifest
from krater.agent.runtimes.oci.pb import images_pb2, types_pb2
from krater.errors import Invalid, Permanent, Temporary
from krater.model.image import parse_request

PIECE: Final = 1024 * 1024
DOCUMENT_LIMIT: Final = 4 * 1024 * 1024
DOCUMENTS_LIMIT: Final = 64 * 1024 * 1024
MEMBERS_LIMIT: Final = 20_000
HEADER_LIMIT: Final = 64 * 1024

OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_NAMES: Final = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
_METADATA_MEMBERS: Final = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


class DockerImage(msgspec.Struct, frozen=True):
    """One image of a docker-save archive."""

    config: str = msgspec.field(name="Config")
    layers: tuple[str, ...] = msgspec.field(name="Layers", default=())
    tags: tuple[str, ...] | None = msgspec.field(name="RepoTags", default=None)


class _Header(tarfile.TarInfo):
    """A member header that does not let an archive have its extended headers read into memory without bound."""

    @classmethod
    def fromtarfile(cls, tarball: tarfile.TarFile) -> Self:
        header = super().fromtarfile(tarball)
        if header.size < 0:
            raise tarfile.ReadError("negative size")
        return header

    def _proc_member(self, tarball: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _METADATA_MEMBERS and self.size > HEADER_LIMIT:
            raise tarfile.ReadError("oversized header")
        return super()._proc_member(tarball)  # type: ignore[misc,no-any-return]


@dataclass(slots=True)
class _Found:
    """What one pass over an archive found: small documents by path, and blobs stored, by path."""

    documents: dict[str, bytes] = field(default_factory=dict)
    stored: dict[str, Descriptor] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def blob(self, path: str) -> Descriptor:
        for _ in range(3):  # old docker-save archives link equal layers to one another
            if path in self.stored:
                return self.stored[path]
            path = self.links.get(path, "")
        raise Permanent("the archive is not complete: a layer that its manifest names is missing")


async def read_archive(client: Client, path: str, name: str | None, metadata: Metadata) -> list[tuple[str, Descriptor]]:
    """Store the archive's content; returns full names and what each is to point at. Nothing is unpacked yet."""
    with understood(path):
        found = await _read(client, path, metadata)
        targets = await _targets(client, found, metadata)
    return _named(targets, name)


@contextmanager
def understood(path: str) -> Iterator[None]:
    """Say of any failure what it means for who brought the archive."""
    try:
        yield
    except Absent as error:
        raise Permanent(f"{path!r} is not a complete image archive: a part that it names is missing") from error
    except FileNotFoundError:
        raise Permanent(f"there is no archive {path!r}") from None
    except (tarfile.TarError, EOFError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise Permanent(f"{path!r} is not an image archive: {error}") from error
    except OSError as error:  # gzip reports damage as OSError too
        if error.errno is not None:
            raise Temporary(f"cannot read {path!r}: {error.strerror}") from error
        raise Permanent(f"{path!r} is not an image archive: {error}") from error


async def _read(client: Client, path: str, metadata: Metadata) -> _Found:
    found = _Found()
    source = await asyncio.to_thread(open, path, "rb")
    try:
        archive = await asyncio.to_thread(_open, source)
        members = 0
        while (member := await asyncio.to_thread(archive.next)) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # a stream never goes back, and a million members fit no memory
            members += 1
            if members > MEMBERS_LIMIT:
                raise tarfile.ReadError("it has too many members")
            await _take(client, archive, member, found, metadata)
    finally:
        source.close()
    return found


def _open(source: IO[bytes]) -> tarfile.TarFile:
    magic = source.read(2)
    source.seek(0)
    mode = "r|gz" if magic == b"\x1f\x8b" else "r|"
    return tarfile.open(fileobj=source, mode=mode, tarinfo=_Header, bufsize=PIECE)  # type: ignore[call-overload,no-any-return]


async def _take(
    client: Client, archive: tarfile.TarFile, member: tarfile.TarInfo, found: _Found, metadata: Metadata
) -> None:
    path = member.name.removeprefix("./")
    if member.issym() or member.islnk():
        found.links[path] = _beside(path, member.linkname) if member.issym() else member.linkname
    if not member.isreg() or member.sparse is not None:
        return
    stream = archive.extractfile(member)
    if stream is None:
        return
    is_blob = path.startswith("blobs/")
    if member.size <= DOCUMENT_LIMIT and (is_blob or path.endswith(".json")):
        content = await asyncio.to_thread(stream.read)
        if len(content) != member.size:
            raise tarfile.ReadError("unexpected end of archive")
        if sum(map(len, found.documents.values())) + len(content) > DOCUMENTS_LIMIT:
            raise tarfile.ReadError("its documents are too large")
        if not is_blob or content[:1] == b"{":
            found.documents[path] = content
        if is_blob:
            found.stored[path] = await _store(client, _once(content), path, len(content), metadata, content[:2])
    elif is_blob or path.endswith(("/layer.tar", ".tar")):
        first = await asyncio.to_thread(stream.read, PIECE)
        pieces = _pieces(first, stream)
        found.stored[path] = await _store(client, pieces, path, member.size, metadata, first[:2])


async def _store(
    client: Client, pieces: AsyncIterator[bytes], path: str, size: int, metadata: Metadata, magic: bytes
) -> Descriptor:
    parts = path.split("/")
    expected = f"{parts[1]}:{parts[2]}" if parts[0] == "blobs" and len(parts) == 3 else ""
    digest = await blobs.write_stream(client, pieces, expected, size, {}, metadata)
    kind = OCI_LAYER + ("+gzip" if magic == b"\x1f\x8b" else "")
    return Descriptor(kind, digest, size)


def _beside(path: str, link: str) -> str:
    """What a relative link of docker-save (`../ID/layer.tar`) points at."""
    parts = path.split("/")[:-1]
    for part in link.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def _pieces(first: bytes, stream: IO[bytes]) -> AsyncIterator[bytes]:
    piece = first
    while piece:
        yield piece
        piece = await asyncio.to_thread(stream.read, PIECE)


async def _targets(client: Client, found: _Found, metadata: Metadata) -> list[tuple[tuple[str, ...], Descriptor]]:
    """The images of an archive: the names it gives them, and what they point at."""
    if "manifest.json" in found.documents:  # docker-save; recent ones are OCI layouts too
        images = msgspec.json.decode(found.documents["manifest.json"], type=tuple[DockerImage, ...])
        return [(image.tags or (), await _from_docker(client, image, found, metadata)) for image in images]
    if "index.json" in found.documents:
        index = msgspec.json.decode(found.documents["index.json"], type=Index)
        return [(_names_of(d), await _from_layout(client, d, found)) for d in index.manifests]
    raise tarfile.ReadError("it has neither manifest.json nor index.json")


async def _from_docker(client: Client, image: DockerImage, found: _Found, metadata: Metadata) -> Descriptor:
    config = found.documents.get(image.config)
    if config is None:
        raise Permanent("the archive is not complete: the configuration that its manifest names is missing")
    layers = tuple(found.blob(path) for path in image.layers)
    digest = await blobs.write_blob(client, config, {}, metadata)
    manifest = Manifest(Descriptor(OCI_CONFIG, digest, len(config)), layers)
    content = blobs.encode_manifest(manifest)
    stored = await blobs.write_blob(client, content, blobs.references(manifest), metadata)
    return Descriptor(blobs.OCI_MANIFEST, stored, len(content))


async def _from_layout(client: Client, target: Descriptor, found: _Found, depth: int = 0) -> Descriptor:
    """Mark what a manifest or an index of an OCI layout refers to, so that the store keeps it with the image."""
    content = found.documents.get(f"blobs/{target.digest.replace(':', '/', 1)}")
    if content is None or depth > 2:
        raise Permanent("the archive is not complete: a manifest that its index names is missing")
    if blobs.is_index(target):
        index = msgspec.json.decode(content, type=Index)
        present = [d for d in index.manifests if f"blobs/{d.digest.replace(':', '/', 1)}" in found.stored]
        for nested in present:
            await _from_layout(client, nested, found, depth + 1)
        labels = {f"containerd.io/gc.ref.content.m.{i}": d.digest for i, d in enumerate(present)}
    elif blobs.is_manifest(target):
        labels = blobs.references(msgspec.json.decode(content, type=Manifest))
    else:
        raise Permanent(f"the archive holds something that is not an image ({target.media_type or 'no type'})")
    if labels:
        await blobs.set_labels(client, target.digest, labels)
    return target


def _names_of(descriptor: Descriptor) -> tuple[str, ...]:
    annotations = descriptor.annotations or {}
    return next(((annotations[key],) for key in _NAMES if key in annotations), ())


def _named(targets: list[tuple[tuple[str, ...], Descriptor]], name: str | None) -> list[tuple[str, Descriptor]]:
    if name is not None:
        if len(targets) != 1:
            raise Permanent(f"the archive holds {len(targets)} images: they cannot all be called {name!r}")
        return [(parse_request(name).canonical, targets[0][1])]
    try:
        named = [(parse_request(text).canonical, target) for names, target in targets for text in names]
    except Invalid as error:
        raise Permanent(f"the archive gives its image a name that is none: {error.message}") from error
    if not named:
        raise Permanent("the archive does not name its image: give it a name")
    return named


async def set_image(
    client: Client, canonical: str, target: Descriptor, labels: Mapping[str, str] | None = None
) -> None:
    """Have a name point at an image."""
    image = images_pb2.Image(name=canonical, labels=labels or {})
    image.target.CopyFrom(types_pb2.Descriptor(media_type=target.media_type, digest=target.digest, size=target.size))
    with translated("name the image"):
        try:
            with translated("name the image"):
                await client.images.Create(images_pb2.CreateImageRequest(image=image), metadata=DEFAULT_METADATA)
        except AlreadyThere:
            await client.images.Update(images_pb2.UpdateImageRequest(image=image), metadata=DEFAULT_METADATA)
