"""What Krater answers about capsules, as its API has it at microversion 1.40."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

from krater.client.answers import Address, Container, RestartPolicy


class Member(Container):
    """A container of a capsule. `role` is main, init or sidecar; `ready` is None where there is no readiness probe.

    `exit_code` is that of its last process, if one ended. Addresses and security groups are the capsule's.
    """

    capsule_uuid: str
    member_name: str
    role: str
    ready: bool | None
    exit_code: int | None
    restarts: int


class VolumeUse(TypedDict):
    """Where a member sees a volume of its capsule."""

    member: str
    path: str
    read_only: bool


class CapsuleVolume(TypedDict):
    """A volume of a capsule; `name` is that of the template, `id` the volume's own, `size` GiB."""

    name: str
    id: str | None
    size: int | None
    mounts: list[VolumeUse]


class Capsule(TypedDict):
    """A capsule. `memory` is digits of MiB, `addresses` by id of the network, `grace` seconds.

    `containers` are the ordinary members, `init_containers` those that start before them; from `hostname` on the keys
    are Krater's own.
    """

    uuid: str
    name: str | None
    project_id: str
    user_id: str
    status: str
    status_reason: str | None
    cpu: float | None
    memory: str | None
    labels: dict[str, str] | None
    annotations: dict[str, str] | None
    addresses: dict[str, list[Address]] | None
    restart_policy: RestartPolicy | None
    created_at: str | None
    updated_at: str | None
    containers: list[Member]
    init_containers: list[Member]
    hostname: NotRequired[str | None]
    volumes: NotRequired[list[CapsuleVolume]]
    security_groups: NotRequired[list[str] | None]
    grace: NotRequired[int | None]
    auto_heal: NotRequired[bool]
    host: NotRequired[str | None]


def members_of(capsule: Capsule) -> Sequence[Member]:
    """Its members: those that start before the ordinary ones, then these."""
    return [*capsule["init_containers"], *capsule["containers"]]


def member_names(capsules: Sequence[Capsule]) -> list[str]:
    """All members of all these, as CAPSULE/MEMBER."""
    return [f"{c['name'] or c['uuid']}/{member['member_name']}" for c in capsules for member in members_of(c)]
