"""What Krater answers, as its API has it at microversion 1.40.

Typed dictionaries, not classes of our own: an answer is decoded once, costs nothing more, and prints as JSON just as it
came. Keys that only administrators see are `NotRequired`; those that Krater adds to the specification say so.
"""

from typing import NotRequired, TypedDict


class Address(TypedDict):
    """One address of a container on one network."""

    addr: str
    version: int
    port: str
    subnet_id: str
    preserve_on_delete: bool


class RestartPolicy(TypedDict, total=False):
    """Empty when none was asked for. The count is digits."""

    Name: str
    MaximumRetryCount: str


class Container(TypedDict):
    """A container. `memory` is digits of MiB, `disk` GiB, `addresses` by id of the network."""

    uuid: str
    name: str
    project_id: str
    user_id: str
    image: str
    command: list[str] | None
    entrypoint: list[str] | None
    status: str
    status_reason: str | None
    status_detail: str | None
    task_state: str | None
    cpu: float | None
    cpu_policy: str
    memory: str | None
    disk: int
    environment: dict[str, str] | None
    labels: dict[str, str] | None
    workdir: str | None
    hostname: str | None
    ports: list[int] | None
    addresses: dict[str, list[Address]] | None
    restart_policy: RestartPolicy | None
    interactive: bool
    tty: bool
    auto_remove: bool
    auto_heal: bool
    image_driver: str | None
    security_groups: list[str] | None
    healthcheck: dict[str, object] | None
    registry_id: str | None
    created_at: str | None
    updated_at: str | None
    image_pull_policy: NotRequired[str | None]
    host: NotRequired[str | None]
    runtime: NotRequired[str | None]
    privileged: NotRequired[bool]


class Executed(TypedDict):
    """The end of a command run inside a container."""

    output: str | None
    exit_code: int | None
    exec_id: str | None
    proxy_url: str | None


class Processes(TypedDict):
    """The processes of a container, as `ps` prints them."""

    Titles: list[str]
    Processes: list[list[str]]


Stats = TypedDict(
    "Stats",
    {
        "CONTAINER": str,
        "CPU %": float,
        "MEM USAGE(MiB)": float,
        "MEM LIMIT(MiB)": float,
        "MEM %": float,
        "BLOCK I/O(B)": str,
        "NET I/O(B)": str,
    },
)


class Event(TypedDict):
    """One step of an action, on a node."""

    event: str
    start_time: str | None
    finish_time: str | None
    result: str | None
    traceback: str | None


class Action(TypedDict):
    """One request that changed a container. `events` only when one action is asked for."""

    action: str
    container_uuid: str
    request_id: str
    user_id: str
    project_id: str
    start_time: str | None
    finish_time: str | None
    message: str | None
    events: NotRequired[list[Event]]


class Image(TypedDict):
    """An image on a host; `image_id` and `size` are not known before it was pulled.

    `status` and `status_reason` are Krater's addition, where a server has them.
    """

    uuid: str
    image_id: str | None
    repo: str
    tag: str | None
    size: str | int | None
    project_id: NotRequired[str | None]
    host: str | None
    status: NotRequired[str | None]
    status_reason: NotRequired[str | None]


class OwnImage(TypedDict):
    """An image that a project made of a container. `status` is saving, active or lost."""

    uuid: str
    name: str
    repo: str
    tag: str
    status: str
    status_reason: str | None
    image_id: str | None
    size: int | None
    project_id: str
    user_id: str
    container: str
    created_at: str | None


class Push(TypedDict):
    """An upload to a registry, in bytes. `state` is working, done, failed or unknown."""

    push: str
    state: str
    done: int
    total: int
    reason: str
    digest: str


class FoundImage(TypedDict):
    """What a search found: at Docker Hub a description, of one's own an id and a status."""

    name: str
    metadata: dict[str, object]
    description: NotRequired[str]
    id: NotRequired[str]
    tags: NotRequired[list[str]]
    status: NotRequired[str]
    size: NotRequired[int | None]


class Host(TypedDict):
    """A node. Memory is MiB, disk GiB."""

    uuid: str
    hostname: str
    mem_total: int
    mem_used: int
    total_containers: int
    cpus: int
    cpu_used: float
    architecture: str | None
    os_type: str | None
    os: str | None
    kernel_version: str | None
    labels: dict[str, str] | None
    disk_total: int
    disk_used: int
    disk_quota_supported: bool
    runtimes: list[str] | None
    enable_cpu_pinning: bool


class Service(TypedDict):
    """A part of Krater on a host."""

    id: int
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


class Versions(TypedDict):
    """What the server speaks."""

    id: str
    status: str
    min_version: str
    max_version: str


class NewContainer(TypedDict, total=False):
    """What a container is asked for with; only `image` has to be there."""

    image: str
    name: str
    command: list[str]
    entrypoint: list[str]
    cpu: float
    cpu_policy: str
    memory: int
    disk: int
    workdir: str
    environment: dict[str, str]
    labels: dict[str, str]
    image_pull_policy: str
    image_driver: str
    restart_policy: dict[str, str]
    interactive: bool
    tty: bool
    auto_remove: bool
    auto_heal: bool
    runtime: str
    hostname: str
    nets: list[dict[str, str]]
    mounts: list[dict[str, str | bool]]
    security_groups: list[str]
    exposed_ports: dict[str, dict[str, str]]
    hints: dict[str, str]
    availability_zone: str
    healthcheck: dict[str, str | int]
    privileged: bool
    registry: str
    host: str


class Registry(TypedDict):
    """A registry with a login. `password` is always `***`."""

    uuid: str
    name: str | None
    project_id: str
    user_id: str
    domain: str
    username: str | None
    password: str


class Limits(TypedDict):
    """The most a project may have: containers, MiB, GiB, cores. -1 is without limit."""

    containers: int
    memory: int
    disk: int
    cpu: int


class InUse(TypedDict):
    """A limit, and how much there is."""

    limit: int
    in_use: float


class LimitsInUse(TypedDict):
    """The same for every resource."""

    containers: InUse
    memory: InUse
    disk: InUse
    cpu: InUse


class Subnet(TypedDict):
    """A range of a network. `version` is 4 or 6."""

    id: str
    cidr: str
    gateway: str | None
    version: int


class Network(TypedDict):
    """A network. `internal` ones have no way out; `shared` ones belong to all projects."""

    uuid: str
    name: str
    project_id: str
    shared: bool
    internal: bool
    mtu: int
    subnets: list[Subnet]


class Volume(TypedDict):
    """A volume, `size` in GiB. `status` is available, in-use, deleting or error. An extension of Krater.

    `container` is what uses it, or "". `auto_remove` ones have no name and go with their container.
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


class Port(TypedDict):
    """A place on a network. `device` is the container that uses it, or ""."""

    uuid: str
    network: str
    project_id: str
    mac: str
    fixed_ips: list[str]
    device: str
    owned: bool
    security_groups: list[str]


class SecurityRule(TypedDict):
    """What a security group allows; None is any. Of ICMP, the range is type and code."""

    uuid: str
    direction: str
    ethertype: str
    protocol: str | None
    port_range_min: int | None
    port_range_max: int | None
    remote_ip_prefix: str | None
    remote_group: str | None


class SecurityGroup(TypedDict):
    """A security group. `container` is the one whose exposed ports it opens, and with which it goes, or ""."""

    uuid: str
    name: str
    description: str
    project_id: str
    container: str
    rules: list[SecurityRule]


class Attachment(TypedDict):
    """A container's card on a network. `fixed_ips` are objects of subnet_id, version and ip_address."""

    net_id: str
    port_id: str
    fixed_ips: list[dict[str, str | int]]
