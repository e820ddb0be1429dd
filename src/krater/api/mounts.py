"""The `mounts` of a request, checked as far as they can be without looking anything up. Pure."""

import base64
import binascii
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from krater.api.schemas.containers import MountItem
from krater.api.schemas.decoding import CODE
from krater.api.schemas.fields import truth
from krater.cloud.interfaces import VolumeAsk
from krater.errors import Invalid
from krater.model.volume import MountRequest, VolumeClaim

_FORBIDDEN = ("/proc", "/sys", "/dev")  # the kernel's and the engine's, which programs and the engine itself trust
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class MountAsk:
    """One mount as its user wants it: a volume, or (`content`) an injected file."""

    destination: str
    read_only: bool
    volume: VolumeAsk | None = None
    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Mounted:
    """What a workload will mount: for its specification, and what is to be stored beside that."""

    mounts: tuple[MountRequest, ...] = ()
    claims: tuple[VolumeClaim, ...] = ()
    files: dict[str, bytes] = field(default_factory=dict, repr=False)


def read_mounts(items: Iterable[MountItem] | None, file_limit: int) -> list[MountAsk]:
    """What is asked for. Invalid names the item."""
    asks = [_read(f"mounts[{index}]", item, file_limit) for index, item in enumerate(items or ())]
    _check_together(asks)
    return asks


def volume_asks(asks: Sequence[MountAsk]) -> list[VolumeAsk]:
    """The volumes among them, each named one once."""
    found = [ask.volume for ask in asks if ask.volume is not None]
    return [volume for n, volume in enumerate(found) if volume.source is None or volume not in found[:n]]


def mounted(asks: Sequence[MountAsk], claims: Sequence[VolumeClaim]) -> Mounted:
    """The asks with ids, where `claims` answer `volume_asks`, in order."""
    asked = volume_asks(asks)
    named = {ask.source: claim for ask, claim in zip(asked, claims, strict=True) if ask.source is not None}
    made = iter([claim for ask, claim in zip(asked, claims, strict=True) if ask.source is None])
    mounts: list[MountRequest] = []
    files: dict[str, bytes] = {}
    for ask in asks:
        if ask.volume is None:
            id = str(uuid4())
            files[id] = ask.content or b""
            mounts.append(MountRequest(ask.destination, file=id, read_only=True))
        else:
            claim = next(made) if ask.volume.source is None else named[ask.volume.source]
            mounts.append(MountRequest(ask.destination, volume=claim.volume, read_only=ask.read_only))
    held = {claim.volume: claim for claim in claims}  # by name and by id it is one
    return Mounted(tuple(mounts), tuple(held.values()), files)


def _read(place: str, item: MountItem, file_limit: int) -> MountAsk:
    destination = read_destination(f"{place}.destination", item.destination)
    read_only = truth(item.read_only)
    if item.type == "bind":
        if item.source is None or item.size is not None:
            raise _wrong(f"{place}: type bind takes source (the base64 of a file's content), and no size")
        return MountAsk(destination, True, content=read_content(f"{place}.source", item.source, file_limit))
    if (item.source is None) == (item.size is None):
        raise _wrong(f"{place}: expected exactly one of source (a volume's name or id) and size (GiB)")
    if item.source is not None and not 0 < len(item.source) <= _LONGEST_NAME:
        raise _wrong(f"{place}.source: expected the name or id of a volume, 1 to {_LONGEST_NAME} characters")
    size = None if item.size is None else int(item.size)
    return MountAsk(destination, read_only, VolumeAsk(item.source, size))


def read_destination(place: str, text: str) -> str:
    """An absolute path in its plain form, at which a container may have something mounted. Invalid."""
    if not text.startswith("/"):
        raise _wrong(f"{place}: expected an absolute path, such as /data")
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise _wrong(f"{place}: a path must not contain control characters")
    if ".." in text.split("/"):
        raise _wrong(f"{place}: a path must not contain '..'")
    path = posixpath.normpath("/" + text.lstrip("/"))
    if path == "/":
        raise _wrong(f"{place}: nothing can be mounted over the whole container")
    if any(len(part.encode()) > _LONGEST_NAME for part in path.split("/")):
        raise _wrong(f"{place}: a name in a path can have {_LONGEST_NAME} bytes")
    if any(is_below(path, taken) for taken in _FORBIDDEN):
        raise _wrong(f"{place}: nothing can be mounted at or below {', '.join(_FORBIDDEN)}")
    return path


def is_below(path: str, other: str) -> bool:
    """Whether a plain path is another one, or below it."""
    return path == other or path.startswith(f"{other}/")


def read_content(place: str, text: str, limit: int) -> bytes:
    """The content of a file, from base64. Invalid."""
    if len(text) > (limit + 2) // 3 * 4:
        raise _wrong(f"{place}: the file is too large; allowed are {limit} bytes")
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _wrong(f"{place}: expected the content of a file in base64") from None
    if len(content) > limit:
        raise _wrong(f"{place}: the file is too large; allowed are {limit} bytes")
    return content


def _check_together(asks: Sequence[MountAsk]) -> None:
    """Each place once, and nothing below a file."""
    for n, ask in enumerate(asks):
        for other in (*asks[:n], *asks[n + 1 :]):
            if ask.destination == other.destination:
                raise _wrong(f"mounts: {ask.destination} is the destination of two mounts")
            if other.volume is None and is_below(ask.destination, other.destination):
                raise _wrong(f"mounts: {ask.destination} is below {other.destination}, which is a file")


def _wrong(text: str) -> Invalid:
    return Invalid(text, field="mounts", code=CODE)
