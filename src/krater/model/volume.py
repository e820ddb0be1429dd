"""Volumes, injected files, and where they appear in containers: plain data."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class VolumeStatus(StrEnum):
    """How the API shows a volume. Derived when asked, never stored."""

    AVAILABLE = "available"
    IN_USE = "in-use"
    DELETING = "deleting"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class MountRequest:
    """What appears in a container at `destination`, which is absolute and normal: a volume, or an injected file.

    Exactly one of `volume` and `file` is an id. Files are always read-only.
    """

    destination: str
    volume: str = ""
    file: str = ""
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class VolumeClaim:
    """A volume that a workload is to hold. One with a `size` (GiB) is made for it.

    That goes with the workload unless it has a `name`, which is made longer if it is taken by then.
    """

    volume: str
    size: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """All that a node needs to connect a volume. Only one that `is_new` may be formatted, if it has no data yet."""

    volume: str
    size: int
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Volume:
    """A disk of a project, `size` in GiB. `workload` holds it, or it is free ("").

    Its data are on `node` (None: it was never placed). `is_made` is true once the node said that it has them.
    `auto_remove` ones go with the workload they were made for, and have no name. `failure` is why the node cannot
    remove it.
    """

    id: str
    name: str
    project_id: str
    size: int
    created_at: datetime
    auto_remove: bool = False
    workload: str = ""
    node: str | None = None
    is_made: bool = False
    is_removing: bool = False
    failure: str | None = None

    @property
    def status(self) -> VolumeStatus:
        """Its state in a word."""
        if self.is_removing:
            return VolumeStatus.DELETING if self.failure is None else VolumeStatus.ERROR
        return VolumeStatus.IN_USE if self.workload else VolumeStatus.AVAILABLE
