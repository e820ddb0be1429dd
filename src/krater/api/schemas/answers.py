"""What answers look like, key by key in the order clients print them. UNSET keys are left out."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

Links = list[dict[str, str]]


class ErrorEntry(Struct):
    """One error. `title` is for people."""

    request_id: str
    code: str
    status: int
    title: str
    detail: str
    links: Links


class ErrorDocument(Struct):
    """What every answer of 400 and above looks like."""

    errors: list[ErrorEntry]


class Container(Struct, kw_only=True):
    """A container. `links` are left out in lists; those from `image_pull_policy` on are for whom policy lets see them.

    Only members of capsules have the last six, which are Krater's own.
    """

    uuid: str
    links: Links | UnsetType = UNSET
    user_id: str
    project_id: str
    name: str
    image: str
    command: list[str]
    entrypoint: list[str]
    status: str
    status_reason: str | None
    task_state: str | None
    status_detail: str | None
    cpu: float | None
    cpu_policy: str
    memory: str | None
    disk: int
    environment: dict[str, str]
    labels: dict[str, str]
    workdir: str | None
    hostname: str | None
    ports: list[int]
    addresses: dict[str, list[dict[str, Any]]]
    restart_policy: dict[str, str]
    interactive: bool
    tty: bool
    auto_remove: bool
    auto_heal: bool
    image_driver: str | None
    security_groups: list[str]
    healthcheck: dict[str, Any]
    registry_id: str | None
    created_at: str | None
    updated_at: str | None
    image_pull_policy: str | UnsetType | None = UNSET
    host: str | UnsetType | None = UNSET
    runtime: str | UnsetType | None = UNSET
    privileged: bool | UnsetType = UNSET
    capsule_uuid: str | UnsetType = UNSET
    member_name: str | UnsetType = UNSET
    role: str | UnsetType = UNSET
    ready: bool | UnsetType | None = UNSET
    exit_code: int | UnsetType | None = UNSET
    restarts: int | UnsetType = UNSET


class ContainerList(Struct):
    """A page of containers."""

    containers: list[Container]
    next: str | None


class ExecuteResult(Struct):
    """What a command said and how it ended."""

    output: str | None
    exit_code: int | None
    exec_id: str | None
    proxy_url: str | None


class TopResult(Struct):
    """The processes of a container."""

    titles: list[str] = field(name="Titles")
    processes: list[list[str]] = field(name="Processes")


class StatsResult(Struct):
    """A reading of a container's use of resources."""

    container: str = field(name="CONTAINER")
    cpu: float = field(name="CPU %")
    memory: float = field(name="MEM USAGE(MiB)")
    memory_limit: float = field(name="MEM LIMIT(MiB)")
    memory_percent: float = field(name="MEM %")
    block: str = field(name="BLOCK I/O(B)")
    net: str = field(name="NET I/O(B)")


class ContainerNetworks(Struct):
    """The networks of a container."""

    networks: list[dict[str, Any]]


class ContainerAction(Struct):
    """Something that was done to a container."""

    action: str
    container_uuid: str
    request_id: str
    user_id: str
    project_id: str
    start_time: str | None
    finish_time: str | None
    message: str | None


class ArchiveStat(Struct):
    """A file in a container. `mode` is as Go's os.FileMode has it."""

    name: str
    size: int
    mode: int
    mtime: str
    link_target: str = field(name="linkTarget")


class Archive(Struct):
    """An archive whole: base64 (before 1.25: as it is)."""

    data: str
    stat: ArchiveStat


class ContainerActionList(Struct):
    """All of a container, newest first."""

    actions: list[ContainerAction] = field(name="containerActions")


class ActionEventEntry(Struct):
    """One step of an action. The text of an error is for those whom policy allows to see it."""

    event: str
    start_time: str | None
    finish_time: str | None
    result: str
    traceback: str | None


class ContainerActionDetail(ContainerAction):
    """The same with its steps."""

    events: list[ActionEventEntry]


class ImageEntry(Struct):
    """An image on a node. The specification has no `status` (Pulling, Ready, Error, Deleting) and `status_reason`."""

    uuid: str
    links: Links
    image_id: str | None
    repo: str
    tag: str
    size: str | None
    project_id: str
    host: str | None
    status: str
    status_reason: str | None


class ImageList(Struct):
    """A page of images."""

    images: list[ImageEntry]
    next: str | None


class Host(Struct):
    """A node and what it has: MiB, GiB, cores."""

    uuid: str
    links: Links
    hostname: str
    mem_total: int
    mem_used: int
    total_containers: int
    cpus: int
    cpu_used: float
    architecture: str
    os_type: str
    os: str
    kernel_version: str
    labels: dict[str, str]
    disk_total: int
    disk_used: int
    disk_quota_supported: bool
    runtimes: list[str]
    enable_cpu_pinning: bool
    image_store: str


class HostList(Struct):
    """A page of nodes."""

    hosts: list[Host]
    next: str | None


class ServiceEntry(Struct):
    """The agent of a node, as an operator sees it."""

    id: str
    host: str
    binary: str
    state: str
    disabled: bool
    disabled_reason: str | None
    last_seen_up: str | None
    forced_down: bool
    report_count: int
    availability_zone: str | None
    created_at: str | None
    updated_at: str | None


class ServiceList(Struct):
    """All agents."""

    services: list[ServiceEntry]


class ServiceChange(Struct):
    """What an operator just said of an agent."""

    host: str
    binary: str
    disabled: bool | UnsetType = UNSET
    disabled_reason: str | UnsetType | None = UNSET
    forced_down: bool | UnsetType = UNSET


class ServiceChanged(Struct):
    """The same, wrapped."""

    service: ServiceChange


class Zone(Struct):
    """A zone."""

    availability_zone: str | None


class ZoneList(Struct):
    """A page of zones."""

    availability_zones: list[Zone]
    next: str | None
