"""The pod reference: Debian's podman with a store, state, network and control groups of its own.

Like the Docker of the benchmarks it lives in a mount and a network namespace of its own. /run and /dev/shm, where it
would meet what the machine's own podman, crun and CNI keep, are empty file systems there.
"""

import contextlib
import os
import resource
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import kernel, machine, timestamps
from benchmarks.contenders import COMMAND, CPUS, IMAGE, MEMORY_MIB, PATIENCE, PIDS, Unmeasured

CONF = """[containers]
default_ulimits = [{1}]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
static_dir = "{0}/libpod"
tmp_dir = "/run/libpod"
volume_path = "{0}/volumes"
[network]
network_backend = "cni"
network_config_dir = "{0}/networks"
"""
STORAGE = """[storage]
driver = "overlay"
graphroot = "{0}/store"
runroot = "/run/containers/storage"
"""
OWN = ("/run", "/dev/shm", "/var/lib/cni")  # noqa: S108 -- mount points


def _ulimits() -> str:
    """Podman would set larger ones than those of this process, which not every machine allows."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return f'"nofile={files}:{files}", "nproc={PIDS}:{PIDS}"'


@dataclass(frozen=True, slots=True)
class Group:
    """Two containers that are one, and when (seconds since 1970) they were asked for."""

    id: str
    asked: float
    containers: tuple[str, ...]


class Podman:
    """`podman` with directories, control groups and a network of its own. There is no daemon to start."""

    def __init__(self, directory: Path, image: Path) -> None:
        self.directory = directory / "podman"
        self.cgroup = f"krater-bench-podman-{os.getpid()}"
        self._image = image
        self._program = ""
        self._cell: kernel.Cell | None = None
        self._made_cni = False

    def open(self) -> None:
        """Install it if need be and give it the image. A second call does nothing."""
        if self._cell is not None:
            return
        machine.ensure_package("catatonit", "catatonit")  # what holds the namespaces of its pods
        found = machine.ensure_package("podman", "podman")
        cni = machine.ensure_package("containernetworking-plugins", "/usr/lib/cni/bridge")
        if found is None or cni is None:
            raise Unmeasured("Debian's podman is not installed and could not be installed")
        self._program = found
        self.directory.mkdir()
        for name, text in (("containers.conf", CONF), ("storage.conf", STORAGE), ("registries.conf", "")):
            (self.directory / name).write_text(text.format(self.directory, _ulimits()))
        (self.directory / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self._made_cni = not Path(OWN[-1]).exists()
        Path(OWN[-1]).mkdir(parents=True, exist_ok=True)
        self._cell = kernel.Cell(2, network=True, hide_hybrid=True)
        for place in OWN:
            self._cell.run(kernel.mount, "tmpfs", place, "tmpfs")
        self._cell.run(subprocess.run, ["ip", "link", "set", "lo", "up"], check=True)
        self.run("load", "--quiet", "--signature-policy", str(self.directory / "policy.json"), "-i", str(self._image))

    def run(self, *arguments: str) -> str:
        """Run the podman command; its output."""
        assert self._cell is not None
        return self._cell.run(self._run, arguments)

    def _run(self, arguments: tuple[str, ...]) -> str:
        environment = {
            "HOME": str(self.directory),
            "PATH": os.environ["PATH"],
            "CONTAINERS_CONF": str(self.directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.directory / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(self.directory / "registries.conf"),
        }
        # Output by files: conmon would hold a pipe open for as long as its container lives.
        with (self.directory / "out").open("w+") as out, (self.directory / "err").open("w+") as err:
            command = [self._program, *arguments]
            code = subprocess.run(command, env=environment, stdout=out, stderr=err, check=False).returncode
            out.seek(0)
            err.seek(0)
            if code != 0:
                raise RuntimeError(f"podman {' '.join(arguments[:2])}: {err.read().strip()[-400:]}")
            return out.read().strip()

    def log_path(self, container: str) -> Path:
        """Where conmon writes the log of a container."""
        return self.directory / "store/overlay-containers" / container / "userdata/ctr.log"

    def close(self) -> None:
        """Remove the pods, end whatever is left, remove the cgroups."""
        if self._cell is None:
            return
        with contextlib.suppress(RuntimeError):
            self.run("pod", "rm", "--all", "--force", "--time", "0")
        for pid in machine.family(str(self.directory), machine.processes()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._cell.close()
        self._cell = None
        if self._made_cni:
            with contextlib.suppress(OSError):
                Path(OWN[-1]).rmdir()
        machine.remove_cgroups(self.cgroup)


class PodmanPod:
    """`podman pod create` and twice `podman run -d --pod`, as people do it by hand."""

    name = "podman pod"

    def __init__(self, podman: Podman) -> None:
        self.podman = podman
        self._made = 0

    def open(self) -> None:
        """Have podman."""
        self.podman.open()

    def make_ready(self) -> None:
        """Podman has nothing that could be made ready."""

    def start(self) -> Group:
        """Make the pod and run two containers in it."""
        asked = time.time()
        self._made += 1
        pod = f"pod{self._made}"
        self.podman.run("pod", "create", "--name", pod, "--cgroup-parent", f"/{self.podman.cgroup}")
        limits = ("--cpus", str(CPUS), "--memory", f"{MEMORY_MIB}m", "--pids-limit", str(PIDS))
        run = ("run", "--detach", "--pod", pod, "--log-driver", "k8s-file", *limits, IMAGE, *COMMAND)
        return Group(pod, asked, tuple(self.podman.run(*run) for _ in range(2)))

    def seconds_to_run(self, group: Group) -> float:
        """By the time stamps in the logs of both."""
        logs = [self.podman.log_path(container) for container in group.containers]
        return max(timestamps.wait_for_line(log, timestamps.conmon_time, PATIENCE) for log in logs) - group.asked

    def delete(self, group: Group) -> float:
        """`podman pod rm`, which kills at once."""
        asked = time.time()
        self.podman.run("pod", "rm", "--force", "--time", "0", group.id)
        return time.time() - asked

    def close(self) -> None:
        """Leave nothing of podman."""
        self.podman.close()
