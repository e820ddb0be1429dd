"""Making an image of a container: what it wrote becomes a layer, and its ways become the configuration.

The layer is made by containerd's own differ, which knows whiteouts, links, devices and capabilities: on the left the
image's layers, on the right the same with the container's directory on top, both read-only. Krater itself never reads
a tenant's file for this; it only adds up sizes, before anything is read, so that a sparse file of an exabyte is refused
and not compressed.
"""

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from grpc import aio

from krater.agent.runtimes.oci.images import content as blobs
from krater.agent.runtimes.oci.images.client import DEFAULT_METADATA, Absent, Client, Metadata, translated
from krater.agent.runtimes.oci.images.content import Descriptor, ImageConfig, Manifest
from krater.agent.runtimes.oci.pb import content_pb2, diff_pb2, types_pb2
from krater.errors import Permanent

OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_PLAIN_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
UNCOMPRESSED: Final = "containerd.io/uncompressed"
WITHIN: Final = 1800.0
MOST_ENTRIES: Final = 1_000_000
MOST_LAYERS: Final = 120
_DOCKER_LAYERS: Final = {
    "application/vnd.docker.image.rootfs.diff.tar.gzip": OCI_LAYER,
    "application/vnd.docker.image.rootfs.diff.tar": OCI_PLAIN_LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}


@dataclass(frozen=True, slots=True)
class Changes:
    """What a container adds to its image: directories, topmost first, and how its process is run."""

    upper: str
    lowers: tuple[str, ...]
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    environment: dict[str, str]
    labels: dict[str, str]
    workdir: str | None


async def make_layer(client: Client, changes: Changes, ref: str, metadata: Metadata) -> tuple[Descriptor, str]:
    """Store what the container wrote as a layer; returns it, and the digest it has unpacked."""
    request = diff_pb2.DiffRequest(media_type=OCI_LAYER, ref=ref)
    request.left.append(_view(changes.lowers))
    request.right.append(_view((changes.upper, *changes.lowers)))
    with translated("make a layer of what the container wrote"):
        try:
            made = (await client.diff.Diff(request, metadata=metadata, timeout=WITHIN)).diff
        except BaseException:
            await abort(client, ref)
            raise
        info = await client.content.Info(content_pb2.InfoRequest(digest=made.digest), metadata=DEFAULT_METADATA)
    return Descriptor(OCI_LAYER, made.digest, made.size), info.info.labels.get(UNCOMPRESSED, made.digest)


def _view(directories: tuple[str, ...]) -> Any:
    """How to look at layers without being able to change them. An upper directory is as good a lower one."""
    if len(directories) == 1:
        return types_pb2.Mount(type="bind", source=directories[0], options=["ro", "rbind"])
    return types_pb2.Mount(type="overlay", source="overlay", options=["index=off", f"lowerdir={':'.join(directories)}"])


async def write_image(
    client: Client, base: Manifest, changes: Changes, layer: tuple[Descriptor, str], metadata: Metadata
) -> Descriptor:
    """Store configuration and manifest of the base image with one layer more."""
    if len(base.layers) >= MOST_LAYERS:
        raise Permanent(f"the image has {len(base.layers)} layers already, and can have no more: start from another")
    try:
        document = msgspec.json.decode(await blobs.read_blob(client, base.config.digest), type=dict[str, Any])
        diff_ids = msgspec.convert(document, ImageConfig).rootfs.diff_ids
    except msgspec.MsgspecError as error:
        raise Permanent(f"the image that the container was made of is damaged: {error}") from error
    if len(diff_ids) != len(base.layers):
        raise Permanent("the image that the container was made of is damaged: its documents disagree on its layers")
    under = [await _at_hand(client, part, diff_id) for part, diff_id in zip(base.layers, diff_ids, strict=True)]
    config = msgspec.json.encode(configuration(document, changes, layer[1], datetime.now(UTC)))
    digest = await blobs.write_blob(client, config, {}, metadata)
    layers = (*under, layer[0])
    manifest = Manifest(Descriptor(OCI_CONFIG, digest, len(config)), layers)
    content = blobs.encode_manifest(manifest)
    stored = await blobs.write_blob(client, content, blobs.references(manifest), metadata)
    return Descriptor(blobs.OCI_MANIFEST, stored, len(content))


async def _at_hand(client: Client, part: Descriptor, diff_id: str) -> Descriptor:
    """A layer as it is stored: an image without one of its layers could be run here, but never exported or pushed.

    containerd does not fetch a layer that it has unpacked already of another image. That one's, if it was imported, is
    there as it is unpacked, and is as good.
    """
    found = await _size_of(client, part.digest)
    if found is not None:
        return _as_oci(part)
    found = await _size_of(client, diff_id)
    if found is None:
        raise Permanent("the image that the container was made of is not complete on its node any more")
    return Descriptor(OCI_PLAIN_LAYER, diff_id, found)


async def _size_of(client: Client, digest: str) -> int | None:
    try:
        with translated("look up the image's layers"):
            reply = await client.content.Info(content_pb2.InfoRequest(digest=digest), metadata=DEFAULT_METADATA)
    except Absent:
        return None
    return int(reply.info.size)


def _as_oci(layer: Descriptor) -> Descriptor:
    return Descriptor(_DOCKER_LAYERS.get(layer.media_type, layer.media_type), layer.digest, layer.size)


def configuration(base: dict[str, Any], changes: Changes, diff_id: str, at: datetime) -> dict[str, Any]:
    """The configuration of the new image: the container's ways over those of its image. Pure."""
    said = base.get("config") or {}
    kept = said.get("Env")
    before = [e for e in kept if isinstance(e, str)] if isinstance(kept, list) else []
    environment = {name: value for name, _, value in (entry.partition("=") for entry in before)} | changes.environment
    labels = said.get("Labels")
    config = {
        **{key: value for key, value in said.items() if value is not None},
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Entrypoint": list(changes.entrypoint) or None,
        "Cmd": list(changes.command) or None,
        "WorkingDir": changes.workdir or said.get("WorkingDir") or "",
        "Labels": {**(labels if isinstance(labels, dict) else {}), **changes.labels} or None,
    }
    rootfs = base.get("rootfs") or {}
    made_by = " ".join((*changes.entrypoint, *changes.command))[:4096]
    history = base.get("history")
    line = {"created": at.isoformat(), "created_by": made_by, "comment": "krater commit"}
    about = ("architecture", "os", "os.version", "os.features", "variant", "author")
    return {
        **{key: base[key] for key in about if key in base},
        "created": at.isoformat(),
        "config": {key: value for key, value in config.items() if value is not None},
        "rootfs": {"type": "layers", "diff_ids": [*rootfs.get("diff_ids", ()), diff_id]},
        "history": [*(history if isinstance(history, list) else ()), line],
    }


def check_size(directory: str, limit: int) -> None:
    """Permanent when what is below a directory is more than `limit` bytes, or more than anybody can name. Blocks.

    Nothing is followed and nothing opened but directories. Every file counts its length, however sparse it is.
    """
    due, total, entries = [directory], 0, 0
    while due:
        try:
            with os.scandir(due.pop()) as listing:
                for entry in listing:
                    found = entry.stat(follow_symlinks=False)
                    entries += 1
                    total += found.st_size if stat.S_ISREG(found.st_mode) else 0
                    if stat.S_ISDIR(found.st_mode):
                        due.append(entry.path)
                    if total > limit:
                        raise Permanent(f"the container wrote more than an image can take ({limit >> 20} MiB)")
                    if entries > MOST_ENTRIES:
                        raise Permanent(f"the container wrote more files than an image can take ({MOST_ENTRIES})")
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise Permanent("the container nested its directories too deeply for an image") from error
            raise


async def abort(client: Client, ref: str) -> None:
    """Give back the room of a layer that was not finished."""
    with suppress(aio.AioRpcError):  # should that fail, the store does it a day later
        await client.content.Abort(content_pb2.AbortRequest(ref=ref), metadata=DEFAULT_METADATA)
