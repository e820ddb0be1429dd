"""Capsule templates, as users write them.

What Zun's templates have is here under the same names; what is Krater's own is marked so. Members of a capsule are
strict, because a misspelt key would otherwise silently mean nothing. Unknown keys of `metadata` and `spec` are
accepted, as the Container API has it; `krater capsule lint` names them.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from krater.api.schemas.actions import CapsuleTimeout
from krater.api.schemas.fields import (
    Boolean,
    BooleanExtended,
    Cpu,
    Digits,
    Environment,
    GuestHostName,
    ImageName,
    Labels,
    Memory,
    Name,
    ShortText,
    Text,
    Words,
)

Port = Annotated[
    Annotated[int, Meta(ge=0, le=65535)] | Annotated[str, Meta(pattern=r"^[0-9]{1,5}(?![\s\S])")],
    Meta(description="the number of a port, 0 to 65535"),
]
Seconds = Annotated[
    Annotated[int, Meta(ge=0, le=86400)] | Annotated[str, Meta(pattern=r"^[0-9]{1,5}(?![\s\S])")],
    Meta(description="whole seconds, 0 to 86400"),
]
Path = Annotated[
    str,
    Meta(
        min_length=2,
        max_length=1024,
        pattern=r"^/[^\x00-\x1f\x7f]+(?![\s\S])",
        description="an absolute path other than /, of at most 1024 characters",
    ),
]
PullName = Annotated[
    Literal["never", "always", "ifnotpresent", "Never", "Always", "IfNotPresent"],
    Meta(description="one of Always, Never, IfNotPresent"),
]
RestartName = Annotated[Literal["Always", "OnFailure", "Never"], Meta(description="one of Always, OnFailure, Never")]


class Amounts(Struct, forbid_unknown_fields=True):
    """Cores and MiB."""

    cpu: Cpu | None = None
    memory: Memory | None = None


class MemberResources(Struct, forbid_unknown_fields=True):
    """What a member asks for, and (Krater's own) the most it may use."""

    requests: Amounts | None = None
    limits: Amounts | None = None


class MemberPort(Struct, forbid_unknown_fields=True, rename="camel"):
    """A port that is opened to the capsule. `hostPort` and `name` mean nothing here."""

    container_port: Port
    host_port: Digits | None = None
    protocol: Annotated[Literal["TCP", "UDP", "tcp", "udp"], Meta(description="TCP or UDP")] = "TCP"
    name: ShortText | None = None


class VolumeMount(Struct, forbid_unknown_fields=True, rename="camel"):
    """Where a volume of the capsule appears in a member."""

    name: Name
    mount_path: Path
    read_only: Boolean = False


class Command(Struct, forbid_unknown_fields=True):
    """A command that tells by its exit code."""

    command: Annotated[Words, Meta(min_length=1, description="a list of at least one string")]


class HttpGet(Struct, forbid_unknown_fields=True):
    """A request that tells by its status: 200 to 399."""

    port: Port
    path: Annotated[str, Meta(max_length=1024, pattern=r"^/", description="a path that begins with /")] = "/"
    scheme: Annotated[Literal["HTTP", "HTTPS"], Meta(description="HTTP or HTTPS")] = "HTTP"


class TcpSocket(Struct, forbid_unknown_fields=True):
    """A connection that tells by being accepted."""

    port: Port


class Probe(Struct, forbid_unknown_fields=True, rename="camel"):
    """A question asked again and again. Exactly one of exec, httpGet and tcpSocket. Krater's own."""

    exec: Command | None = None
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    initial_delay_seconds: Seconds = 0
    period_seconds: Seconds = 10
    timeout_seconds: Seconds = 1
    failure_threshold: Annotated[int, Meta(ge=1, le=1000, description="a whole number, 1 to 1000")] = 3
    success_threshold: Annotated[int, Meta(ge=1, le=1000, description="a whole number, 1 to 1000")] = 1


class Dependency(Struct, forbid_unknown_fields=True):
    """Another member that must have come so far before this one starts. Krater's own."""

    container: Name
    condition: Annotated[
        Literal["started", "healthy", "completed"], Meta(description="one of started, healthy, completed")
    ] = "started"


class Member(Struct, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A container of a capsule. `command` and `args` together are what its entrypoint is given.

    `entrypoint`, `restartPolicy`, `dependsOn`, `registry` and the probes are Krater's own.
    """

    image: ImageName
    name: Name | None = None
    entrypoint: Words | None = None
    command: Words | None = None
    args: Words | None = None
    env: Environment | None = None
    work_dir: Text | None = None
    resources: MemberResources | None = None
    ports: Annotated[list[MemberPort], Meta(max_length=64)] | None = None
    volume_mounts: Annotated[list[VolumeMount], Meta(max_length=64)] | None = None
    image_pull_policy: PullName | None = None
    stdin: Boolean = False
    tty: Boolean = False
    restart_policy: RestartName | None = None
    depends_on: Annotated[list[Dependency], Meta(max_length=32)] | None = None
    registry: Name | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None


class Cinder(Struct, forbid_unknown_fields=True, rename={"volume_id": "volumeID", "auto_remove": "autoRemove"}):
    """A volume: one that is there, or a new one of so many GiB."""

    volume_id: ShortText | None = None
    size: float | Digits | None = None
    auto_remove: Boolean = False


class File(Struct, forbid_unknown_fields=True):
    """A file that members can read, as base64. Krater's own."""

    content: Annotated[str, Meta(max_length=1 << 20)]


class CapsuleVolume(Struct, forbid_unknown_fields=True):
    """Something that members mount: exactly one of cinder and file."""

    name: Name
    cinder: Cinder | None = None
    file: File | None = None


class PullSecret(Struct, forbid_unknown_fields=True):
    """A registry, by name or id, whose credentials are used for images of its domain. Krater's own."""

    registry: Name


class CapsuleSpec(Struct, rename="camel", kw_only=True):
    """What a capsule is made of."""

    containers: Annotated[list[Member], Meta(min_length=1, max_length=32, description="a list of 1 to 32 containers")]
    init_containers: Annotated[list[Member], Meta(max_length=32, description="a list of at most 32 containers")] = (
        field(default_factory=list)
    )
    volumes: Annotated[list[CapsuleVolume], Meta(max_length=64)] | None = None
    restart_policy: RestartName | None = None
    hostname: GuestHostName | None = None
    resources: MemberResources | None = None
    security_groups: Annotated[list[ShortText], Meta(max_length=64)] | None = None
    termination_grace_period_seconds: Annotated[int, Meta(ge=0, le=10**9)] | None = None
    image_pull_secrets: Annotated[list[PullSecret], Meta(max_length=32)] | None = None
    auto_heal: Boolean = False


class Metadata(Struct):
    """What a capsule is called."""

    name: Name | None = None
    labels: Labels | None = None
    annotations: Labels | None = None


class Template(Struct, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A whole template."""

    kind: Annotated[Literal["capsule", "Capsule"], Meta(description="capsule or Capsule")]
    metadata: Metadata
    spec: CapsuleSpec
    capsule_version: Annotated[Literal["beta", "Beta"], Meta(description="beta or Beta")] | None = None
    restart_policy: RestartName | None = None
    availability_zone: ShortText | None = None


class CreateCapsule(Struct, forbid_unknown_fields=True):
    """A new capsule."""

    template: Annotated[Template | str, Meta(description="an object, or a text of JSON or YAML that holds one")]


class DeleteCapsule(CapsuleTimeout):
    """The query of DELETE of a capsule; `timeout` is Krater's own. Other keys mean nothing."""

    all_projects: BooleanExtended = False
