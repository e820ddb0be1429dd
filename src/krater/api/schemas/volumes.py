"""Volumes that users make in Krater itself: an extension of the Container API."""

from msgspec import Struct

from krater.api.schemas.fields import Name, Positive


class CreateVolume(Struct, forbid_unknown_fields=True):
    """A volume, `size` in GiB."""

    name: Name
    size: Positive


class ResizeVolume(Struct, forbid_unknown_fields=True):
    """Another size, in GiB."""

    size: Positive


class VolumeEntry(Struct):
    """A volume. `container` is what uses it, or "". `auto_remove` ones have no name and go with their container.

    `status` is available, in-use, deleting or error; `status_reason` tells why it is error.
    """

    uuid: str
    name: str
    project_id: str
    size: int
    status: str
    status_reason: str | None
    container: str
    auto_remove: bool
    host: str | None
    created_at: str


class VolumeList(Struct):
    """All volumes of a project."""

    volumes: list[VolumeEntry]
