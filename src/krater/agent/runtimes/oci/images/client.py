"""A connection to containerd, and the translation of its errors.

Everything lives in containerd's namespace `k8s.io`. That is the one its CRI image service pulls into, and a namespace
cannot be named in a CRI request; with a namespace of our own each pulled image would be unpacked twice. The containerd
is normally our own, so nobody shares the namespace; on an existing one that a kubelet uses too, its collection may
remove a *name* (the next ensure_image pulls it again), but never layers in use: those are garbage collection roots.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc
from grpc import aio

from krater.agent.runtimes.oci.pb import (
    content_pb2_grpc,
    cri_pb2_grpc,
    diff_pb2_grpc,
    images_pb2_grpc,
    leases_pb2_grpc,
    snapshots_pb2_grpc,
    version_pb2_grpc,
)
from krater.errors import Permanent, Temporary, Unavailable

NAMESPACE: Final = "k8s.io"
SNAPSHOTTER: Final = "overlayfs"
GC_ROOT: Final = "containerd.io/gc.root"

Metadata = tuple[tuple[str, str], ...]
DEFAULT_METADATA: Final[Metadata] = (("containerd-namespace", NAMESPACE),)

_MESSAGE_LIMIT: Final = 16 * 1024 * 1024
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", _MESSAGE_LIMIT),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
)


class Absent(Exception):
    """containerd has no such thing."""


class AlreadyThere(Exception):
    """containerd has it already."""


class Client:
    """Stubs of the services that are used, over one connection that mends itself."""

    def __init__(self, socket: str) -> None:
        self._channel = aio.insecure_channel(f"unix:{socket}", options=_OPTIONS)
        channel: Any = self._channel  # generated code carries no annotations
        self.content: Any = content_pb2_grpc.ContentStub(channel)
        self.images: Any = images_pb2_grpc.ImagesStub(channel)
        self.snapshots: Any = snapshots_pb2_grpc.SnapshotsStub(channel)
        self.leases: Any = leases_pb2_grpc.LeasesStub(channel)
        self.diff: Any = diff_pb2_grpc.DiffStub(channel)
        self.version: Any = version_pb2_grpc.VersionStub(channel)
        self.registry: Any = cri_pb2_grpc.ImageServiceStub(channel)

    async def close(self) -> None:
        """Let go of the connection."""
        await self._channel.close(None)


def with_lease(lease: str) -> Metadata:
    """What makes a request's results belong to a lease."""
    return (*DEFAULT_METADATA, ("containerd-lease", lease))


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn gRPC's errors into ours. `doing` completes the sentence "cannot ..."."""
    try:
        yield
    except aio.AioRpcError as error:
        raise _translate(error, doing) from error


def _translate(error: aio.AioRpcError, doing: str) -> Exception:
    code, details = error.code(), error.details() or ""
    if "no space left on device" in details:
        return Temporary(f"cannot {doing}: the node's disk is full", code="disk-full")
    match code:
        case grpc.StatusCode.NOT_FOUND:
            return Absent(details)
        case grpc.StatusCode.ALREADY_EXISTS:
            return AlreadyThere(details)
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED | grpc.StatusCode.CANCELLED:
            return Unavailable(f"cannot {doing}: the node's image store does not answer now")
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.OUT_OF_RANGE | grpc.StatusCode.FAILED_PRECONDITION:
            return Permanent(f"cannot {doing}: {details}")
        case _:
            return Temporary(f"cannot {doing}: {details}")
