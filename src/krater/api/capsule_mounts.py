"""The volumes of a capsule's template and where its members mount them, as far as can be said without looking. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from krater.api.mounts import is_below, read_content, read_destination
from krater.api.schemas.capsules import CapsuleVolume, Cinder, VolumeMount
from krater.api.schemas.decoding import CODE
from krater.api.schemas.fields import truth
from krater.cloud.interfaces import VolumeAsk
from krater.errors import Invalid
from krater.model.volume import MountRequest, VolumeClaim

_LONGEST_NAME = 255
_LARGEST = 10**9  # what it may really be is the operator's to say


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """A volume of the template: one to be had (`ask`), or a file with this `content`."""

    name: str
    ask: VolumeAsk | None = None
    content: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class MemberMount:
    """Where a member has a volume, which is named as in the template."""

    volume: str
    destination: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Shared:
    """What the volumes of a template have become: for mounts by their names, and what is to be stored beside."""

    mounts: Mapping[str, MountRequest] = field(default_factory=dict)
    claims: tuple[VolumeClaim, ...] = ()
    files: dict[str, bytes] = field(default_factory=dict, repr=False)

    def of(self, mounts: Sequence[MemberMount]) -> tuple[MountRequest, ...]:
        """The mounts of a member."""
        found = []
        for mount in mounts:
            what = self.mounts[mount.volume]
            is_file = bool(what.file)
            found.append(MountRequest(mount.destination, what.volume, what.file, mount.read_only or is_file))
        return tuple(found)

    @property
    def names(self) -> dict[str, str]:
        """The names of the template, by the ids of volumes and files."""
        return {what.volume or what.file: name for name, what in self.mounts.items()}


def read_volumes(volumes: Sequence[CapsuleVolume], capsule: str, file_limit: int) -> tuple[VolumePlan, ...]:
    """What each of them is; `capsule` is in the names of those that stay when it goes. Invalid."""
    return tuple(_read(f"template.spec.volumes[{n}]", one, capsule, file_limit) for n, one in enumerate(volumes))


def _read(place: str, volume: CapsuleVolume, capsule: str, file_limit: int) -> VolumePlan:
    if volume.file is not None:
        content = read_content(f"{place}.file.content", volume.file.content, file_limit)
        return VolumePlan(volume.name, content=content)
    cinder = volume.cinder or Cinder()
    if cinder.volume_id is not None:
        return VolumePlan(volume.name, VolumeAsk(cinder.volume_id, place=f"{place}.cinder.volumeID"))
    stays = not truth(cinder.auto_remove)
    place = f"{place}.cinder.size"
    name = f"capsule-{capsule}-{volume.name}"[:_LONGEST_NAME] if stays else ""
    return VolumePlan(volume.name, VolumeAsk(size=_size(place, cinder.size), name=name, place=place))


def _size(place: str, size: float | str | None) -> int:
    """Whole GiB."""
    is_whole = not isinstance(size, float) or size.is_integer()  # infinity is not, nor what is no number
    whole = int(size or 0) if is_whole else 0
    if not 1 <= whole <= _LARGEST:
        raise _wrong(place, "expected whole GiB, at least 1")
    return whole


def read_member_mounts(
    place: str, mounts: Sequence[VolumeMount], volumes: Sequence[VolumePlan]
) -> tuple[MemberMount, ...]:
    """Where a member has them: each place once, and nothing below a file. Invalid."""
    files = {volume.name for volume in volumes if volume.ask is None}
    found: list[MemberMount] = []
    for n, mount in enumerate(mounts):
        here = f"{place}.volumeMounts[{n}].mountPath"
        one = MemberMount(mount.name, read_destination(here, mount.mount_path), truth(mount.read_only))
        for other in found:
            _check_together(here, one, other, files)
        found.append(one)
    return tuple(found)


def _check_together(place: str, one: MemberMount, other: MemberMount, files: set[str]) -> None:
    if one.destination == other.destination:
        raise _wrong(place, f"something else is mounted at {one.destination} already")
    for outer, inner in ((one, other), (other, one)):
        if outer.volume in files and is_below(inner.destination, outer.destination):
            raise _wrong(place, f"{inner.destination} is below {outer.destination}, which is a file")


def asked_volumes(volumes: Sequence[VolumePlan]) -> list[VolumeAsk]:
    """Those that are to be looked up or made."""
    return [volume.ask for volume in volumes if volume.ask is not None]


def shared(volumes: Sequence[VolumePlan], claims: Sequence[VolumeClaim]) -> Shared:
    """The volumes with ids, where `claims` answer `asked_volumes`, in order. One named twice is held once."""
    answers = iter(claims)
    mounts: dict[str, MountRequest] = {}
    files: dict[str, bytes] = {}
    for volume in volumes:
        if volume.ask is None:
            id = str(uuid4())
            files[id] = volume.content
            mounts[volume.name] = MountRequest("", file=id, read_only=True)
        else:
            mounts[volume.name] = MountRequest("", volume=next(answers).volume)
    held = {claim.volume: claim for claim in claims}
    return Shared(mounts, tuple(held.values()), files)


def _wrong(place: str, reason: str) -> Invalid:
    return Invalid(f"{place}: {reason}", field="template", code=CODE)
