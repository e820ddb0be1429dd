"""Every option with its meaning and its default: what `loading` reads, and what the sample file says."""

import socket
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from krater.model.quota import Limits
from krater.model.registry import RegistryRules


def _option(default: Any, text: str, **limits: Any) -> Any:
    """A settings field: its default, its meaning for the sample file, and limits (`min`, `max`, `choices`)."""
    metadata = {"text": text, **limits}
    if isinstance(default, list):
        return field(default_factory=lambda: tuple(default), metadata={**metadata, "default": list(default)})
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class CoreSettings:
    """Where this Krater lives."""

    directory: str = _option("/var/lib/krater", "Directory of all that Krater keeps: database, images, logs, accounts.")
    run_directory: str = _option(
        "/run/krater", "Directory of what need not outlive a reboot: sockets, namespaces, mounts."
    )
    instance: str = _option("krater", "Name of this installation on the machine, in the names of bridges and tables.")
    host: str = _option(socket.gethostname(), "Name of this node, shown as `host` by the API.")
    debug: bool = _option(False, "Log what only a developer needs.")


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """The store."""

    connection: str = _option("", "SQLAlchemy URL. Empty: an SQLite file in the directory of Krater.")


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """The REST API."""

    host_ip: str = _option("127.0.0.1", "Address to listen on.")
    port: int = _option(9517, "Port to listen on.", min=0, max=65535)
    public_url: str = _option("", "URL under which clients reach this API, without /v1. Empty: as they asked for it.")
    max_limit: int = _option(1000, "Most items in one answer to a list request.", min=1, max=10000)
    max_body: int = _option(1 << 20, "Largest request body in bytes.", min=1024)
    execute_timeout: float = _option(15.0, "Seconds a command of `execute` may take.", min=0.1)
    execute_limit: int = _option(1 << 20, "Most bytes of output that `execute` answers with.", min=1024)
    log_limit: int = _option(8 << 20, "Most bytes of log in one answer.", min=1024)
    archive_limit: int = _option(
        16 << 20, "Most bytes of a tar archive in one JSON text (get_archive, put_archive).", min=1024
    )
    archive_stream_limit: int = _option(
        64 << 30, "Most bytes of a tar archive that is streamed (`krater cp`).", min=1024
    )
    node_timeout: float = _option(30.0, "Seconds to wait for a node's answer to a live request.", min=0.1)
    most_images: int = _option(50, "Images one project may have made of its containers.", min=0)
    image_search: str = _option(
        "https://index.docker.io/v1/search", "Where images are searched for. Empty: nowhere but in one's own project."
    )
    trusted_proxies: tuple[str, ...] = _option(
        [], "Addresses and ranges of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."
    )
    policy_file: str = _option("", "Policy overrides (YAML). Empty: policy.yaml in the directory of Krater, if there.")


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """The gateway: consoles of containers, over websockets."""

    host_ip: str = _option("127.0.0.1", "Address to listen on.")
    port: int = _option(6784, "Port to listen on; 0 takes any that is free.", min=0, max=65535)
    base_url: str = _option(
        "", "URL (ws or wss) under which clients reach it. Empty: the host they reach the API at, with this port."
    )
    allowed_origins: tuple[str, ...] = _option(
        [], "Hosts whose web pages may open consoles, besides the gateway's own, as host or host:port."
    )
    tls_certificate: str = _option("", "File of the certificate (PEM) to serve TLS with. Empty: no TLS.")
    tls_key: str = _option("", "File of its key (PEM). Empty: it is in the certificate's file.")
    idle_timeout: float = _option(14400.0, "Seconds of silence after which a session is closed; 0: never.", min=0)
    session_timeout: float = _option(86400.0, "Seconds until any session is closed; 0: never.", min=0)
    ticket_lifetime: float = _option(60.0, "Seconds to open a console after asking for it.", min=1, max=60)
    most_sessions: int = _option(5000, "Sessions at once.", min=1)


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What one container may ask for, and what it gets when it does not ask."""

    minimum_cpus: float = _option(0.1, "Least cores.", min=0.01)
    maximum_cpus: float = _option(16.0, "Most cores.", min=0.1)
    default_cpu: float = _option(1.0, "Cores when none are asked for.", min=0.01)
    minimum_memory: int = _option(4, "Least MiB of memory.", min=1)
    maximum_memory: int = _option(8192, "Most MiB of memory.", min=4)
    default_memory: int = _option(512, "MiB of memory when none is asked for.", min=4)
    minimum_disk: int = _option(1, "Least GiB of disk.", min=1)
    maximum_disk: int = _option(160, "Most GiB of disk.", min=1)
    default_disk: int = _option(0, "GiB of disk when none is asked for; 0 counts none.", min=0)
    maximum_grace: int = _option(86400, "Most seconds that a capsule may give its processes to end.", min=0)


@dataclass(frozen=True, slots=True)
class QuotaSettings:
    """What one project may have at once, unless told otherwise through the API. -1 is without limit."""

    containers: int = _option(40, "Containers.", min=-1)
    cpu: int = _option(20, "Cores.", min=-1)
    memory: int = _option(51200, "MiB of memory.", min=-1)
    disk: int = _option(100, "GiB of disk.", min=-1)

    @property
    def limits(self) -> Limits:
        """As the model has them."""
        return Limits(self.containers, self.cpu, self.memory, self.disk)


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """Where images come from."""

    default: str = _option("docker.io", "Registry of images whose name has no domain.")
    default_username: str = _option("", "Who pulls from the default registry, for everybody. Empty: nobody special.")
    default_password_file: str = _option("", "File with the password for that, and nothing else.")
    allow: tuple[str, ...] = _option(
        [],
        "Registries images may come from: hosts, patterns as *.example.org, with or without a port. Empty: any.",
    )
    deny: tuple[str, ...] = _option([], "Registries and hosts that are never asked; patterns too. Stronger than allow.")
    reachable: tuple[str, ...] = _option(
        [],
        "Ranges (CIDR), addresses and hosts that may be asked for images although they are loopback, link-local or "
        "private. All others such are refused.",
    )
    ca_file: str = _option("", "Certificates (PEM) to trust besides the system's, for all registries.")
    certificates: str = _option("", "Directory of certificates to trust for single registries: HOST[:PORT]/ca.crt.")


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """Accounts and tokens of the embedded profile."""

    accounts_file: str = _option("", "Accounts (YAML). Empty: accounts.yaml in the directory of Krater.")
    token_lifetime: float = _option(14400.0, "Seconds a token is valid.", min=1)
    cache_time: float = _option(10.0, "Seconds an answer about credentials is remembered.", min=0)


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """Networks of the embedded profile."""

    pool: str = _option("10.66.0.0/16", "Range that networks get their addresses from.")
    prefix: int = _option(24, "Length of the prefix of one network.", min=8, max=30)
    pool_v6: str = _option("", "IPv6 range (such as a ULA /48) that networks get a /64 from. Empty: no IPv6.")
    nat: bool = _option(True, "Let containers reach the outside with the address of the node.")
    host_access: bool = _option(False, "Let containers reach all ports of their node, not only its name server.")
    mtu: int = _option(1500, "Largest packet on the networks.", min=576, max=65535)
    search_domain: str = _option("krater.internal", "Domain under which containers find each other.")


@dataclass(frozen=True, slots=True)
class VolumeSettings:
    """Volumes of the embedded profile, and files injected into containers."""

    maximum_size: int = _option(1024, "Most GiB of one volume.", min=1, max=16384)
    project_volumes: int = _option(100, "Volumes one project may have. -1 is without limit.", min=-1)
    project_gigabytes: int = _option(1000, "GiB of volumes one project may have together. -1: no limit.", min=-1)
    file_limit: int = _option(256 << 10, "Largest injected file in bytes.", min=0, max=1 << 24)


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """Which node takes a workload."""

    weigher: str = _option("spread", "Prefer the emptiest node, or the fullest.", choices=["spread", "binpack"])
    cpu_ratio: float = _option(16.0, "Cores promised for each that a node has.", min=0.1)
    memory_ratio: float = _option(1.5, "Memory promised for each MiB that a node has.", min=0.1)
    reserved_memory: int = _option(512, "MiB of memory a node keeps for itself.", min=0)
    default_zone: str = _option("", "Zone for requests that name none. Empty: any.")
    patience: float = _option(30.0, "Seconds to wait for a node to come alive before a request is refused.", min=0)


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """The controller."""

    node_down_after: float = _option(60.0, "Seconds without a report after which a node counts as down.", min=1)
    resync: float = _option(30.0, "Seconds between looks at everything unfinished.", min=0.1)
    keep_actions: float = _option(30 * 86400.0, "Seconds the history of a removed container is kept.", min=0)
    project_actions: int = _option(
        20_000, "Actions, and names, of each project's removed containers that are kept.", min=0
    )
    concurrency: int = _option(32, "Workloads worked on at once.", min=1)


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """The node."""

    availability_zone: str = _option("nova", "Zone of this node.")
    labels: dict[str, str] = field(
        default_factory=dict, metadata={"text": "Labels of this node, as `key:value,key:value`."}
    )
    announce: float = _option(10.0, "Seconds between a node's reports of itself.", min=0.1)
    resync: float = _option(30.0, "Seconds between complete comparisons of the node with what it should have.", min=0.1)
    concurrency: int = _option(32, "Workloads worked on at once.", min=1)
    ready_namespaces: int = _option(8, "Network namespaces kept ready for the next container.", min=0, max=1000)
    runtime: str = _option("", "OCI runtime: crun, runc, or empty for the best one found.")
    containerd: str = _option("", "Socket of an existing containerd. Empty: Krater runs its own.")
    plain_http_registries: tuple[str, ...] = _option(
        [], "Registries that our own containerd speaks to without TLS, as host or host:port."
    )
    pull_patience: float = _option(10.0, "Seconds a registry is asked for an image before the user is told.", min=0)
    largest_image: int = _option(
        10 << 30, "Bytes a container may have written to become an image (commit).", min=1 << 20
    )
    images_look: float = _option(60.0, "Seconds between looks at whether the disk is full of images.", min=0.1)
    images_high: float = _option(
        85.0, "Per cent of the disk in use above which images go that nobody uses or asked for.", min=0, max=100
    )
    images_low: float = _option(75.0, "Per cent of the disk in use at which no more of them go.", min=0, max=100)
    images_age: float = _option(3600.0, "Seconds for which an image must have been used by nobody to go.", min=0)
    log_size: int = _option(10 << 20, "Bytes after which a container's log is rotated.", min=4096)
    log_files: int = _option(3, "Rotated logs kept for each container.", min=0)
    dedicated_cpus: str = _option(
        "", "Processors kept for containers that ask for some of their own (cpu_policy dedicated), such as 2-3,6."
    )
    keep_logs: float = _option(7 * 86400.0, "Seconds the log of a removed container is kept for its owner.", min=0)
    keep_logs_size: int = _option(2 << 30, "Most bytes of such logs on one node: the oldest give way.", min=0)
    most_sessions: int = _option(2000, "Consoles and interactive commands open at once on this node.", min=1)
    pids: int = _option(4096, "Processes and threads one container may have.", min=16)
    restart_base: float = _option(1.0, "Seconds before the first restart of a container; doubles each time.", min=0.01)
    restart_cap: float = _option(300.0, "Most seconds between restarts.", min=0.01)
    restart_reset: float = _option(600.0, "Seconds a container must run for its back-off to begin anew.", min=0.1)


SECTIONS: dict[str, type] = {
    "core": CoreSettings,
    "database": DatabaseSettings,
    "api": ApiSettings,
    "gateway": GatewaySettings,
    "limits": LimitSettings,
    "quota": QuotaSettings,
    "identity": IdentitySettings,
    "registries": RegistrySettings,
    "network": NetworkSettings,
    "volumes": VolumeSettings,
    "scheduler": SchedulerSettings,
    "controller": ControllerSettings,
    "agent": AgentSettings,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, by section of the configuration file ([DEFAULT] is `core`)."""

    core: CoreSettings = field(default_factory=CoreSettings)
    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    api: ApiSettings = field(default_factory=ApiSettings)
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    quota: QuotaSettings = field(default_factory=QuotaSettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    registries: RegistrySettings = field(default_factory=RegistrySettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    volumes: VolumeSettings = field(default_factory=VolumeSettings)
    scheduler: SchedulerSettings = field(default_factory=SchedulerSettings)
    controller: ControllerSettings = field(default_factory=ControllerSettings)
    agent: AgentSettings = field(default_factory=AgentSettings)

    @property
    def registry_rules(self) -> RegistryRules:
        """What may be pulled from where. A registry that is named as one without TLS may be asked. Invalid."""
        own = self.registries
        return _rules(own.allow, own.deny, (*own.reachable, *self.agent.plain_http_registries))

    @property
    def database_url(self) -> str:
        """The URL of the store, with the default filled in."""
        return self.database.connection or f"sqlite:///{self.core.directory}/krater.sqlite"


@lru_cache(maxsize=64)
def _rules(allow: tuple[str, ...], deny: tuple[str, ...], reachable: tuple[str, ...]) -> RegistryRules:
    return RegistryRules(allow, deny, reachable)
