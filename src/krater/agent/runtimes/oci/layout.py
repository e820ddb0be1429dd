"""Where the engine keeps what on disk. Pure: names only, nothing is touched here.

DIRECTORY/
  containerd/               root/ state/ config.toml containerd.sock log pid       our own image store
  containers/ID/            container.json   what was asked for, and of which image; written once
                            process.json     the last start: run, attempt, process, or why it failed
                            upper/ work/     the writable layer
                            rootfs/          where image and writable layer are mounted together
                            etc/             hosts, hostname, resolv.conf as the container sees them
                            bundle/          config.json for the OCI runtime; conmon's attach, ctl, winsz
                            run/             pid, exit, oom: what conmon writes of the last start
  groups/ID/                what the containers of a group share while there are any
                            ipc              their ipc namespace: mounted here, so that it needs no process
                            shm/             their /dev/shm
  grants/                   who was given which images by a registry that asks for a login
  crun/                     the OCI runtime's own state
  logs/ID/container.log     outlives the container; rotated ones beside it with .1, .2, ...
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ContainerPaths:
    """The files of one container."""

    directory: str
    log_directory: str

    @property
    def record(self) -> str:
        return f"{self.directory}/container.json"

    @property
    def process(self) -> str:
        return f"{self.directory}/process.json"

    @property
    def upper(self) -> str:
        return f"{self.directory}/upper"

    @property
    def work(self) -> str:
        return f"{self.directory}/work"

    @property
    def rootfs(self) -> str:
        return f"{self.directory}/rootfs"

    @property
    def etc(self) -> str:
        return f"{self.directory}/etc"

    @property
    def bundle(self) -> str:
        return f"{self.directory}/bundle"

    @property
    def run(self) -> str:
        return f"{self.directory}/run"

    @property
    def log(self) -> str:
        return f"{self.log_directory}/container.log"


@dataclass(frozen=True, slots=True)
class GroupPaths:
    """What the containers of a group share."""

    directory: str

    @property
    def ipc(self) -> str:
        return f"{self.directory}/ipc"

    @property
    def shm(self) -> str:
        return f"{self.directory}/shm"


@dataclass(frozen=True, slots=True)
class Layout:
    """The engine's directory."""

    root: str

    @classmethod
    def at(cls, directory: str | Path) -> "Layout":
        """The layout below `directory`, made absolute: conmon and containerd have working directories of their own."""
        return cls(str(Path(directory).resolve()))

    @property
    def containerd(self) -> str:
        return f"{self.root}/containerd"

    @property
    def grants(self) -> str:
        return f"{self.root}/grants"

    @property
    def containers(self) -> str:
        return f"{self.root}/containers"

    @property
    def groups(self) -> str:
        return f"{self.root}/groups"

    @property
    def runtime_state(self) -> str:
        return f"{self.root}/crun"

    @property
    def logs(self) -> str:
        return f"{self.root}/logs"

    def container(self, container: str) -> ContainerPaths:
        """The files of one container, whether it exists or not."""
        return ContainerPaths(f"{self.containers}/{container}", f"{self.logs}/{container}")

    def group(self, group: str) -> GroupPaths:
        """What a group's containers share, whether it exists or not."""
        return GroupPaths(f"{self.groups}/{group}")
