"""What capsules look like, key by key. UNSET keys are left out.

Up to microversion 1.31 the shape was another one: `name` and `labels` were `meta_name` and `meta_labels`,
`restart_policy` was a word, and there were keys that always had the same value.
"""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from krater.api.schemas.answers import Container, Links


class CapsuleMount(Struct):
    """Where a volume of a capsule is mounted."""

    member: str
    path: str
    read_only: bool


class CapsuleVolumeEntry(Struct):
    """A volume that members share, by the name it has in the template. `size` is in GiB; a file has none."""

    name: str
    id: str
    size: int | None
    mounts: list[CapsuleMount]


class Capsule(Struct, kw_only=True):
    """A capsule with all its members. Those from `hostname` on are Krater's own; `host` is for whom policy lets see it.

    `addresses` are null in the answer that made it. Sidecars are among the `init_containers`, as in the template.
    """

    uuid: str
    links: Links
    user_id: str
    project_id: str
    name: str | UnsetType | None = UNSET
    meta_name: str | UnsetType | None = UNSET
    cpu: float
    memory: str
    status: str
    status_reason: str | None
    labels: dict[str, str] | UnsetType | None = UNSET
    meta_labels: dict[str, str] | UnsetType | None = UNSET
    annotations: dict[str, str] | None
    addresses: dict[str, list[dict[str, Any]]] | None
    restart_policy: dict[str, str] | str
    created_at: str | None
    updated_at: str | None
    containers: list[Container]
    init_containers: list[Container]
    volumes_info: dict[str, str] | UnsetType = UNSET
    containers_uuids: list[str] | UnsetType = UNSET
    init_containers_uuids: list[str] | UnsetType = UNSET
    capsule_version: str | UnsetType = UNSET
    host: str | UnsetType | None = UNSET
    hostname: str | None
    volumes: list[CapsuleVolumeEntry]
    security_groups: list[str]
    grace: int
    auto_heal: bool


class CapsuleList(Struct):
    """A page of capsules."""

    capsules: list[Capsule]
    next: str | None
