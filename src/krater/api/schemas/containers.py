"""Requests about containers. A class for each microversion at which what POST accepts changed."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from krater.api.schemas.fields import (
    Boolean,
    BooleanExtended,
    Cpu,
    Digits,
    Disk,
    Environment,
    GuestHostName,
    Hints,
    HostName,
    ImageName,
    Labels,
    Memory,
    Name,
    ShortText,
    Text,
    Words,
)


class RestartPolicyAsk(Struct, forbid_unknown_fields=True):
    """When a process that ended is started again."""

    name: Annotated[
        Literal["no", "always", "on-failure", "unless-stopped"],
        Meta(description="one of no, always, on-failure, unless-stopped"),
    ] = msgspec.field(name="Name")
    maximum: Digits | None = msgspec.field(name="MaximumRetryCount", default=None)


class NetItem(Struct, forbid_unknown_fields=True):
    """A network or a port, and the addresses wanted on it."""

    network: ShortText | None = None
    port: ShortText | None = None
    v4_fixed_ip: Annotated[str, Meta(max_length=45)] | None = msgspec.field(name="v4-fixed-ip", default=None)
    v6_fixed_ip: Annotated[str, Meta(max_length=45)] | None = msgspec.field(name="v6-fixed-ip", default=None)


class MountItem(Struct, forbid_unknown_fields=True):
    """A volume, or the content of a file, and where it goes."""

    destination: ShortText
    type: Literal["volume", "bind"] | None = None
    source: str | None = None
    size: Digits | None = None
    read_only: Boolean = False


class HealthcheckAsk(Struct, forbid_unknown_fields=True):
    """A command that tells whether the container is well. Times are whole seconds."""

    cmd: Text | None = None
    interval: Digits | None = None
    retries: Digits | None = None
    timeout: Digits | None = None


RestartField = Annotated[
    RestartPolicyAsk,
    Meta(
        description="an object of Name (no, always, on-failure or unless-stopped) and MaximumRetryCount "
        "(a whole number of at least 0)"
    ),
]
NetsField = Annotated[
    list[NetItem],
    Meta(
        max_length=32,
        description="a list of {network or port, v4-fixed-ip, v6-fixed-ip}, each with exactly one of network and port",
    ),
]
MountsField = Annotated[
    list[MountItem],
    Meta(max_length=64, description="a list of {destination, source or size, type: volume or bind, read_only}"),
]
HealthField = Annotated[
    HealthcheckAsk,
    Meta(
        description="an object of cmd (a command line for a shell), interval and timeout (whole seconds) and retries "
        "(a whole number)"
    ),
]
PullField = Annotated[
    Literal["never", "always", "ifnotpresent", "Never", "Always", "IfNotPresent"],
    Meta(description="one of never, always, ifnotpresent"),
]
DriverField = Annotated[Literal["docker", "glance", "None"], Meta(description="docker or glance")]
PolicyField = Annotated[Literal["shared", "dedicated"], Meta(description="shared or dedicated")]
GroupsField = Annotated[list[ShortText], Meta(max_length=64, description="a list of names or ids of security groups")]
ExposedField = Annotated[
    dict[str, Annotated[dict[str, str], Meta(max_length=0)]],
    Meta(max_length=256, description='an object such as {"80/tcp": {}}'),
]
TextField = Annotated[str, Meta(max_length=65536, description="a text")]


class CreateBase(Struct, forbid_unknown_fields=True, kw_only=True):
    """What POST /containers accepts at every version."""

    image: ImageName
    name: Name | None = None
    cpu: Cpu | None = None
    cpu_policy: PolicyField = "shared"
    memory: Memory | None = None
    disk: Disk | None = None
    workdir: TextField | None = None
    environment: Environment | None = None
    labels: Labels | None = None
    image_pull_policy: PullField | None = None
    image_driver: DriverField | None = None
    restart_policy: RestartField | None = None
    interactive: Boolean | UnsetType = UNSET
    tty: Boolean = False
    auto_remove: Annotated[bool, Meta(description="true or false")] | None = None
    auto_heal: Boolean = False
    runtime: TextField | None = None
    hostname: GuestHostName | UnsetType = UNSET
    nets: NetsField | None = None
    mounts: MountsField | None = None
    security_groups: GroupsField | None = None
    exposed_ports: ExposedField | None = None
    hints: Hints | None = None
    availability_zone: ShortText | None = None
    healthcheck: HealthField | None = None
    privileged: Boolean | None = None
    registry: Name | UnsetType = UNSET


class Create1(CreateBase, kw_only=True):
    """1.1 to 1.19: the command is one string, split as a shell does."""

    command: TextField | None = None


class Create20(CreateBase, kw_only=True):
    """1.20 to 1.38: the command is a list."""

    command: Words | None = None


class Create39(Create20, kw_only=True):
    """1.39: the node can be asked for."""

    host: HostName | UnsetType = UNSET


class Create40(Create39, kw_only=True):
    """1.40: the entrypoint, too."""

    entrypoint: Words | None = None


def create_shape(minor: int) -> type[CreateBase]:
    """What POST /containers accepts at a version."""
    if minor < 20:
        return Create1
    if minor < 39:
        return Create20
    return Create39 if minor < 40 else Create40


class CreateQuery(Struct, forbid_unknown_fields=True):
    """The query of POST /containers."""

    run: BooleanExtended = False


class Update(Struct, forbid_unknown_fields=True, kw_only=True):
    """PATCH of a container, and resize_container."""

    name: Name | None = None
    cpu: Cpu | None = None
    memory: Memory | None = None
    auto_heal: Boolean | None = None


class DeleteQuery(Struct, forbid_unknown_fields=True):
    """The query of DELETE of a container."""

    force: BooleanExtended = False
    stop: BooleanExtended = False
    all_projects: BooleanExtended = False
