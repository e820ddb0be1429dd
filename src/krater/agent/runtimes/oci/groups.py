"""What the containers of a group share: limits for all of them together, one ipc namespace, one /dev/shm.

The first start in a group makes it, later ones find it, and it goes with its last container. Its directory is there
before anything else of it is made, and goes last: should we die in between, `sweep` finds by it what nobody needs any
more. Who belongs to a group is read from the containers' records. Everything here blocks, but for little.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Final

import structlog

from krater.agent.runtimes.interfaces import Group
from krater.agent.runtimes.oci import spec, syscalls
from krater.agent.runtimes.oci.cgroups import Cgroups
from krater.agent.runtimes.oci.layout import GroupPaths, Layout
from krater.agent.runtimes.oci.mounts import is_mount_point, unmount
from krater.agent.runtimes.oci.state import ContainerRecord, Shelf
from krater.errors import Failed, Temporary

_LOCKS: Final = 64
_OWN: Final = "/proc/thread-self/ns/ipc"

log = structlog.get_logger()


class Groups:
    """The groups of one engine."""

    def __init__(self, layout: Layout, shelf: Shelf, cgroups: Cgroups) -> None:
        self._layout = layout
        self._shelf = shelf
        self._cgroups = cgroups
        self._locks = tuple(Lock() for _ in range(_LOCKS))  # of a group, and now and then of a few

    def _lock_of(self, group: str) -> Lock:
        return self._locks[hash(group) % _LOCKS]

    def ensure(self, group: str) -> GroupPaths:
        """Have what a group's containers share. Whoever calls this is one of them, and stays so meanwhile."""
        paths = self._layout.group(group)
        with self._lock_of(group):
            if not is_mount_point(paths.ipc):
                os.makedirs(paths.directory, mode=0o700, exist_ok=True)
                _make_ipc(paths.ipc)
            if not is_mount_point(paths.shm):
                os.makedirs(paths.shm, mode=0o700, exist_ok=True)
                flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
                syscalls.mount("shm", paths.shm, "tmpfs", flags, ",".join(spec.SHM_OPTIONS))
        return paths

    def limit(self, group: Group) -> None:
        """Set the limits of all together. The OCI runtime has made the control group."""
        self._cgroups.limit(group.id, group.cpu, group.memory)

    @contextmanager
    def left_by(self, container: str, group: str) -> Iterator[None]:
        """Inside, a container leaves a group, which goes before it if no other is in it.

        In this order, since a container that is still there is removed once more, but nobody asks for its group.
        """
        with self._lock_of(group):
            if not self._is_used(group, besides=container):
                self._let_go(group)
            yield

    def sweep(self) -> None:
        """Let go of groups that no container is in."""
        for group in os.listdir(self._layout.groups):
            with self._lock_of(group):
                if not self._is_used(group):
                    try:
                        self._let_go(group)
                    except (Failed, OSError) as error:
                        log.warning("a group without containers cannot be removed", group=group, reason=str(error))

    def _is_used(self, group: str, besides: str = "") -> bool:
        """Whether any container, but for one, is in it."""
        for entry in os.scandir(self._layout.containers):
            if entry.name != besides and not entry.name.startswith("."):
                record = self._shelf.read(self._layout.container(entry.name).record, ContainerRecord)
                if record is not None and record.config.group is not None and record.config.group.id == group:
                    return True
        return False

    def _let_go(self, group: str) -> None:
        """Leave nothing. Whatever runs in it though nothing is written of it keeps its control group, for `find`."""
        paths = self._layout.group(group)
        for point in (paths.shm, paths.ipc):
            unmount(point)
        if not self._cgroups.remove_empty(group):
            return
        for remove, path in ((os.rmdir, paths.shm), (os.unlink, paths.ipc), (os.rmdir, paths.directory)):
            with suppress(FileNotFoundError):
                remove(path)


def _make_ipc(path: str) -> None:
    """Have a new ipc namespace mounted at a path. The thread is where it was afterwards."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.unshare(syscalls.CLONE_NEWIPC)
        try:
            syscalls.mount(_OWN, path, None, syscalls.MS_BIND)
        finally:
            syscalls.setns(home, syscalls.CLONE_NEWIPC)
    except OSError as error:  # among others ENOSPC, which has nothing to do with disks here
        raise Temporary(f"the node cannot make an ipc namespace now: {error.strerror}") from error
    finally:
        os.close(home)
