"""The OCI runtime specification of a container. Pure: what is asked for goes in, a document comes out.

Hard by default: nothing here can be loosened by what a user or an image says, but for `privileged`, which policy denies
to everybody until the operator's own rule says otherwise: such a container is root of its node. Neither labels nor any
other text of a tenant becomes an annotation, because the OCI runtime takes orders from annotations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from krater.agent.runtimes.interfaces import ContainerConfig, Group, Mount
from krater.agent.runtimes.oci.layout import ContainerPaths, GroupPaths
from krater.agent.runtimes.oci.rooted import User
from krater.agent.runtimes.oci.seccomp import CAPABILITIES, Filter
from krater.errors import Permanent
from krater.model.image import ImageFacts
from krater.model.node import format_processors
from krater.model.workload import ContainerSpec

MIB: Final = 1024 * 1024
CPU_PERIOD: Final = 100_000
SMALLEST_QUOTA: Final = 1000
SMALLEST_MEMORY: Final = 6
SHM: Final = "/dev/shm"  # noqa: S108 -- inside the container
SHM_OPTIONS: Final = ("mode=1777", f"size={64 * MIB}")
OPEN_FILES_SOFT: Final = 65_536
OPEN_FILES_HARD: Final = 1_048_576
DEFAULT_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

MASKED: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
)
READ_ONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
NAMESPACES: Final = ("pid", "mount", "uts", "ipc", "cgroup")

# Both are per network namespace, which is the container's own: ping without a capability, and port 80 for everybody.
SYSCTLS: Final = {"net.ipv4.ping_group_range": "0 2147483647", "net.ipv4.ip_unprivileged_port_start": "0"}

_BARE: Final = ("nosuid", "noexec", "nodev")
_FILE_SYSTEMS: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    ("/proc", "proc", _BARE),
    ("/dev", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    ("/dev/pts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    (SHM, "tmpfs", (*_BARE, *SHM_OPTIONS)),
    ("/dev/mqueue", "mqueue", _BARE),
    ("/sys", "sysfs", (*_BARE, "ro")),
    ("/sys/fs/cgroup", "cgroup", (*_BARE, "relatime", "ro")),
)


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What of the host decides how a container is described."""

    limits_swap: bool
    open_files: int
    oom_score: int = 0
    cgroup_parent: str = "krater"
    pids_limit: int = 4096
    capabilities: frozenset[str] = CAPABILITIES


Document = dict[str, Any]


def check(spec: ContainerSpec, group: Group | None = None) -> None:
    """Refuse what this engine will not do, before anything is made."""
    for memory in (spec.limit.memory, 0 if group is None else group.memory):
        if 0 < memory < SMALLEST_MEMORY:
            raise Permanent(f"{memory} MiB of memory are too few: the least is {SMALLEST_MEMORY}")


def limited(spec: ContainerSpec, cpu: float, memory: int) -> ContainerSpec:
    """The same container with other limits of its own. What else it counts with stays: a member's share, above all."""
    changed = replace(spec.limit, cpu=cpu, memory=memory)
    return replace(spec, resources=changed) if spec.limits is None else replace(spec, limits=changed)


def cgroup(config: ContainerConfig) -> str:
    """The name of its control group."""
    return config.id if config.group is None else f"{config.group.id}/{config.id}"


def cpu_limit(config: ContainerConfig, cpu: float) -> float:
    """A limit of its own as the kernel takes it: never more than its group has."""
    most = 0.0 if config.group is None else config.group.cpu
    return min(cpu, most) if cpu > 0 and most > 0 else cpu


def effective_command(spec: ContainerSpec, image: ImageFacts) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Entrypoint and command, completed from the image. An entrypoint of the user's own drops the image's command."""
    if spec.entrypoint is None:
        entrypoint = image.entrypoint
        command = image.command if spec.command is None else spec.command
    else:
        entrypoint = spec.entrypoint
        command = spec.command or ()
    if not entrypoint and not command:
        raise Permanent("there is nothing to run: neither the image nor the request has a command")
    return entrypoint, command


def workdir(spec: ContainerSpec, image: ImageFacts) -> str:
    """Where the process starts."""
    path = spec.workdir or image.workdir or "/"
    return path if path.startswith("/") else f"/{path}"


def environment(spec: ContainerSpec, image: ImageFacts, hostname: str, home: str) -> list[str]:
    """The process's environment: ours, then the image's, then the user's; the last one of a name counts."""
    merged: dict[str, str] = {"PATH": DEFAULT_PATH.partition("=")[2], "HOSTNAME": hostname, "HOME": home}
    if spec.tty:
        merged["TERM"] = "xterm"
    for line in image.environment:
        name, equals, value = line.partition("=")
        if equals and name:
            merged[name] = value
    merged.update(spec.environment)
    return [f"{name}={value}" for name, value in merged.items()]


def resources(
    cpu: float, memory: int, host: HostFacts, cpus: tuple[int, ...] = (), share: float | None = None
) -> Document:
    """Limits as the OCI runtime takes them. 0 is no limit. Swap counts as memory, so memory is a hard limit.

    `share` is how many cores it counts for among others that are busy: as many as `cpu`, if that is not told.
    Processors are bound, memory nodes are not: the kernel takes near memory first, and far memory beats none.
    """
    limits: Document = {"pids": {"limit": host.pids_limit}}
    weight = cpu if share is None else share
    if weight > 0:
        limits["cpu"] = {"shares": max(2, round(weight * 1024))}
    if cpu > 0:
        quota = max(SMALLEST_QUOTA, round(cpu * CPU_PERIOD))
        limits.setdefault("cpu", {}).update(quota=quota, period=CPU_PERIOD)
    if cpus:
        limits.setdefault("cpu", {})["cpus"] = format_processors(cpus)
    if memory > 0:
        limits["memory"] = {"limit": memory * MIB}
        if host.limits_swap:
            limits["memory"]["swap"] = memory * MIB
    return limits


def build(
    config: ContainerConfig,
    image: ImageFacts,
    user: User,
    paths: ContainerPaths,
    host: HostFacts,
    seccomp: Filter,
    netns: str,
    shared: GroupPaths | None = None,
) -> Document:
    """The whole document. `shared` is what there is of its group."""
    spec = config.spec
    limits = resources(
        cpu_limit(config, spec.limit.cpu), spec.limit.memory, host, config.cpus, share=spec.resources.cpu
    )
    # the runtime adds the few devices that every container has
    limits["devices"] = [{"allow": spec.privileged, "access": "rwm"}]
    joined = {"network": netns} if shared is None else {"network": netns, "ipc": shared.ipc}
    namespaces = [{"type": name} for name in NAMESPACES if name not in joined]
    namespaces += [{"type": name, "path": path} for name, path in joined.items()]
    linux: Document = {
        "cgroupsPath": f"/{host.cgroup_parent}/{cgroup(config)}",
        "resources": limits,
        "namespaces": namespaces,
        "maskedPaths": [] if spec.privileged else list(MASKED),
        "readonlyPaths": [] if spec.privileged else list(READ_ONLY),
        "sysctl": SYSCTLS,
    }
    document: Document = {
        "ociVersion": "1.0.2",
        "process": _process(config, image, user, host),
        "root": {"path": paths.rootfs},
        "hostname": config.hostname,
        "mounts": _mounts(config.mounts, paths, shared, is_privileged=spec.privileged),
        "linux": linux,
    }
    if spec.privileged:
        return document
    if seccomp.compiled is not None:
        document["annotations"] = {"run.oci.seccomp_bpf_data": seccomp.compiled}
    elif seccomp.rules is not None:
        linux["seccomp"] = seccomp.rules
    return document


def _process(config: ContainerConfig, image: ImageFacts, user: User, host: HostFacts) -> Document:
    entrypoint, command = effective_command(config.spec, image)
    return {
        "terminal": config.spec.tty,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups), "umask": 0o22},
        "args": [*entrypoint, *command],
        "env": environment(config.spec, image, config.hostname, user.home),
        "cwd": workdir(config.spec, image),
        "capabilities": capabilities(user, host.capabilities if config.spec.privileged else CAPABILITIES),
        "noNewPrivileges": not config.spec.privileged,
        "oomScoreAdj": host.oom_score,
        "rlimits": [
            {
                "type": "RLIMIT_NOFILE",
                "soft": min(OPEN_FILES_SOFT, host.open_files),
                "hard": min(OPEN_FILES_HARD, host.open_files),
            },
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        ],
    }


def capabilities(user: User, most: frozenset[str]) -> dict[str, list[str]]:
    """Root of the container has a small set; others have none, and can get none back (no_new_privs)."""
    held = sorted(most) if user.uid == 0 else []
    return {"bounding": sorted(most), "permitted": held, "effective": held, "inheritable": [], "ambient": []}


def _mounts(
    mounts: Sequence[Mount], paths: ContainerPaths, shared: GroupPaths | None, *, is_privileged: bool
) -> list[Document]:
    """What is the kernel's comes last: whatever link of an image a user's mount follows, it ends up below that."""
    kernel: list[Document] = [
        {
            "destination": where,
            "type": kind,
            "source": kind,
            "options": [option for option in options if option != "ro" or not is_privileged],
        }
        if shared is None or where != SHM
        else {"destination": where, "type": "bind", "source": shared.shm, "options": ["bind", "rprivate", *_BARE]}
        for where, kind, options in _FILE_SYSTEMS
    ]
    return [_bind(m.source, m.destination, m.read_only) for m in binds(mounts, paths)] + kernel


def binds(mounts: Sequence[Mount], paths: ContainerPaths) -> list[Mount]:
    """All paths of the node that appear in a container, in the order to mount them."""
    wanted = {mount.destination for mount in mounts}
    own = [Mount(f"{paths.etc}/{name}", f"/etc/{name}") for name in ("hosts", "hostname", "resolv.conf")]
    inner_last = sorted(mounts, key=lambda m: m.destination.rstrip("/").count("/"))
    return [mount for mount in own if mount.destination not in wanted] + inner_last


def _bind(source: str, destination: str, read_only: bool) -> Document:
    options = ["rbind", "rprivate", "nosuid", "nodev", "ro" if read_only else "rw"]
    return {"destination": destination, "type": "bind", "source": source, "options": options}


def etc_files(config: ContainerConfig) -> Mapping[str, str]:
    """The contents of /etc/hosts, /etc/hostname and /etc/resolv.conf."""
    hosts = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback", "ff02::1\tip6-allnodes"]
    hosts += [f"{address}\t{names}" for address, names in config.hosts]
    resolver = [f"nameserver {address}" for address in config.nameservers]
    if config.search:
        resolver.append(f"search {' '.join(config.search)}")
    return {
        "hosts": "\n".join(hosts) + "\n",
        "hostname": f"{config.hostname}\n",
        "resolv.conf": "".join(f"{line}\n" for line in resolver),
    }
