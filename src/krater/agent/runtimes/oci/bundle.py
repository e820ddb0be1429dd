"""The files of one container, made and removed. Everything here blocks: it is called on a thread."""

import os
import shutil
import signal
import time
from contextlib import suppress
from typing import Final

import msgspec

from krater.agent.runtimes.interfaces import ContainerConfig
from krater.agent.runtimes.oci import spec
from krater.agent.runtimes.oci.cgroups import Cgroups
from krater.agent.runtimes.oci.conmon import find_monitors
from krater.agent.runtimes.oci.crun import OciProgram
from krater.agent.runtimes.oci.layout import ContainerPaths, GroupPaths
from krater.agent.runtimes.oci.mounts import mount_rootfs, unmount_rootfs
from krater.agent.runtimes.oci.processes import Identity, reap, send_signal
from krater.agent.runtimes.oci.rooted import ensure_directory, find_user
from krater.agent.runtimes.oci.seccomp import Filter
from krater.agent.runtimes.oci.state import ContainerRecord, ProcessRecord
from krater.errors import Temporary

ENDS_WITHIN: Final = 5.0
_DIRECTORIES: Final = ("upper", "work", "rootfs", "etc", "bundle")


def make(paths: ContainerPaths, lowers: tuple[str, ...]) -> None:
    """Make a container's directories. What is there already stays."""
    for directory in (paths.directory, paths.log_directory):
        os.makedirs(directory, mode=0o700, exist_ok=True)
    for name in _DIRECTORIES:
        with suppress(FileExistsError):
            os.mkdir(f"{paths.directory}/{name}", 0o700)
    try:
        root = os.stat(lowers[0])
    except FileNotFoundError as error:
        raise Temporary("the layers of the image are not in the node's image store any more") from error
    os.chmod(paths.upper, root.st_mode & 0o7777)  # the upper directory's own mode is what `/` shows
    os.chown(paths.upper, root.st_uid, root.st_gid)


def write(
    record: ContainerRecord,
    paths: ContainerPaths,
    host: spec.HostFacts,
    seccomp: Filter,
    netns: str,
    shared: GroupPaths | None = None,
) -> None:
    """Mount the root filesystem and write all that the OCI runtime reads. Idempotent."""
    config, image = record.config, record.image
    furnish(record, paths)
    user = find_user(paths.rootfs, image.user)
    where = spec.workdir(config.spec, image)
    if where != "/" and not _is_below_a_mount(where, config):
        ensure_directory(paths.rootfs, where)
    document = spec.build(config, image, user, paths, host, seccomp, netns, shared)
    _write_in_place(f"{paths.bundle}/config.json", msgspec.json.encode(document))
    _fresh_run(paths)


def furnish(record: ContainerRecord, paths: ContainerPaths) -> None:
    """Mount the root filesystem and write what is mounted into it. Idempotent."""
    mount_rootfs(paths, record.lowers)
    write_names(record.config, paths)


def write_names(config: ContainerConfig, paths: ContainerPaths) -> None:
    """Write the files below /etc, which stay the same files: a container has them mounted."""
    for name, text in spec.etc_files(config).items():
        _write_in_place(f"{paths.etc}/{name}", text.encode())


def _is_below_a_mount(path: str, config: ContainerConfig) -> bool:
    return any((path + "/").startswith(m.destination.rstrip("/") + "/") for m in config.mounts)


def _write_in_place(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def _fresh_run(paths: ContainerPaths) -> None:
    try:
        os.mkdir(paths.run, 0o700)
    except FileExistsError:
        shutil.rmtree(paths.run)
        os.mkdir(paths.run, 0o700)
    os.makedirs(paths.log_directory, mode=0o700, exist_ok=True)


def clear(
    container: str,
    cgroup: str,
    last: ProcessRecord | None,
    paths: ContainerPaths,
    cgroups: Cgroups,
    program: OciProgram,
) -> None:
    """Leave nothing of the last start: no process, no monitor, no control group, no record of the OCI runtime."""
    monitors: list[Identity] = []
    if last is not None and last.monitor is not None:
        monitors = [last.monitor]
    elif last is not None and last.error is None:  # we died while starting it: its monitor may still be at it
        monitors = find_monitors(paths.bundle)
        _end(monitors)
    cgroups.kill(cgroup)
    if not _await(monitors, ENDS_WITHIN):
        _end(monitors)
    cgroups.remove(cgroup)
    program.forget(container)


def _end(monitors: list[Identity]) -> None:
    for monitor in monitors:
        send_signal(monitor, signal.SIGKILL)
    _await(monitors, ENDS_WITHIN)


def _await(processes: list[Identity], within: float) -> bool:
    deadline = time.monotonic() + within
    while any(p.alive for p in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    for process in processes:
        reap(process.pid)
    return True


def discard(paths: ContainerPaths) -> str | None:
    """Have a container's files out of the way: it is no container any more. Returns the tree that is to be removed."""
    directory, name = os.path.split(paths.directory)
    trash = f"{directory}/.{name}.{time.monotonic_ns()}"
    try:
        os.rename(paths.directory, trash)
    except FileNotFoundError:
        return None
    return trash


def date_log(paths: ContainerPaths) -> None:
    """Have the log say when its container went: from then on counts how long it is kept."""
    with suppress(FileNotFoundError):
        os.utime(paths.log_directory)


def discarded(containers: str) -> list[str]:
    """The trees that earlier lives of ours had begun to remove, or to make: no container yet, and perhaps nobody's wish
    any more. Nothing is mounted in them.
    """
    entries = list(os.scandir(containers))
    found = [entry.path for entry in entries if entry.name.startswith(".")]
    for entry in entries:
        paths = ContainerPaths(entry.path, "")
        if entry.path not in found and not os.path.exists(paths.record) and not os.path.exists(paths.process):
            tree = discard(paths)
            found += [tree] if tree is not None else []
    for path in found:
        unmount_rootfs(ContainerPaths(path, ""))
    return found
