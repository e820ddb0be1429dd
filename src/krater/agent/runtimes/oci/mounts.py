"""Root filesystems: an overlay of an image's layers and a container's own writable directories."""

import os
from contextlib import suppress
from typing import Final

from krater.agent.runtimes.oci import syscalls
from krater.agent.runtimes.oci.layout import ContainerPaths
from krater.errors import Temporary

_OPTIONS_LIMIT: Final = 4000  # mount(2) takes one page


def mount_rootfs(paths: ContainerPaths, lowers: tuple[str, ...]) -> None:
    """Have the root filesystem mounted. Idempotent."""
    if is_mount_point(paths.rootfs):
        return
    for directory in (paths.rootfs, paths.upper, paths.work):
        with suppress(FileExistsError):
            os.mkdir(directory, 0o755)
    held: list[int] = []
    try:
        short = _shortened(lowers, held)
        options = f"index=off,lowerdir={':'.join(short)},upperdir={paths.upper},workdir={paths.work}"
        syscalls.mount("overlay", paths.rootfs, "overlay", syscalls.MS_NODEV, options)
    except FileNotFoundError as error:
        raise Temporary("the layers of the image are not in the node's image store any more") from error
    except OSError as error:
        raise Temporary(f"cannot mount the root filesystem: {error.strerror}") from error
    finally:
        for descriptor in held:
            os.close(descriptor)


def _shortened(lowers: tuple[str, ...], held: list[int]) -> tuple[str, ...]:
    """Many long paths do not fit a page: name the directory they share by an open descriptor of it instead."""
    if sum(map(len, lowers)) + len(lowers) < _OPTIONS_LIMIT // 2:
        return lowers
    shared = os.path.commonpath(lowers)
    descriptor = os.open(shared, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    held.append(descriptor)
    return tuple(f"/proc/self/fd/{descriptor}/{os.path.relpath(lower, shared)}" for lower in lowers)


def unmount_rootfs(paths: ContainerPaths) -> None:
    """Have the root filesystem not mounted any more. Idempotent."""
    unmount(paths.rootfs)


def unmount(path: str) -> None:
    """Have nothing mounted there. Idempotent."""
    while True:
        try:
            syscalls.umount(path, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
        except OSError:
            return  # not a mount point, or not there at all


def is_mount_point(path: str) -> bool:
    """Whether something is mounted at a path whose directory is not on the same file system."""
    try:
        return os.stat(path).st_dev != os.stat(os.path.dirname(path)).st_dev
    except FileNotFoundError:
        return False


def ensure_shared(directory: str) -> None:
    """See to it that what is mounted below a directory appears in mount namespaces made from ours.

    On most hosts everything is shared already. Where it is not, the directory becomes a mount of its own that is.
    """
    mount_point, is_shared = mount_of(directory)
    if is_shared:
        return
    if mount_point != directory:
        syscalls.mount(directory, directory, None, syscalls.MS_BIND | syscalls.MS_REC)
    syscalls.mount("none", directory, None, syscalls.MS_SHARED)


def mount_of(path: str) -> tuple[str, bool]:
    """The mount point that holds a path, and whether that mount is shared with other namespaces."""
    best, is_shared = "", False
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields = line.split(" ")
            point = fields[4].encode().decode("unicode_escape")
            inside = path == point or path.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best):
                optional = fields[6 : fields.index("-")]
                best, is_shared = point, any(o.startswith("shared:") for o in optional)
    return best, is_shared


def release_shared(directory: str) -> None:
    """Undo `ensure_shared`, for tests and for taking a node out of service."""
    with suppress(OSError):
        syscalls.umount(directory, syscalls.MNT_DETACH)
