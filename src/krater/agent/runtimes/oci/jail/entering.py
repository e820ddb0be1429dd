"""Going where only the container's files are. Runs with all the agent's powers, and before any byte of a tenant's."""

import ctypes
import errno
import os
import re
import stat
from typing import Final

from krater.agent.runtimes.oci import detached, syscalls
from krater.agent.runtimes.oci.jail.frames import Refused

MS_PRIVATE: Final = 1 << 18

# What the kernel makes up is no place for files, and root could do harm there. Everything below these goes too.
KERNEL_TREES: Final = ("/proc", "/sys", "/dev")
KERNEL_KINDS: Final = frozenset(
    {
        *("proc", "sysfs", "cgroup", "cgroup2", "devpts", "devtmpfs", "mqueue", "debugfs", "tracefs", "securityfs"),
        *("bpf", "configfs", "pstore", "efivarfs", "binfmt_misc", "hugetlbfs", "fusectl", "nsfs", "rpc_pipefs"),
    }
)
_ESCAPE: Final = re.compile(rb"\\([0-3][0-7]{2})")
_IN_THE_WAY: Final = frozenset(
    {errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EXDEV}
)  # what an image, or its user, may have put where something is to be mounted
_RESTRICTED: Final = detached.ATTR_NOSUID | detached.ATTR_NODEV | detached.ATTR_NOEXEC

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def join(namespace: int) -> None:
    """Into a copy of a running container's mount namespace, and out of it whatever the kernel makes up."""
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    _checked(_libc.setns(namespace, syscalls.CLONE_NEWNS), "setns")
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", None, MS_PRIVATE | syscalls.MS_REC)
    for point, kind in _mounts(proc):
        if kind in KERNEL_KINDS or any(point == tree or point.startswith(f"{tree}/") for tree in KERNEL_TREES):
            try:
                syscalls.umount(point, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
            except OSError:
                continue  # gone with one above it; if not, the next look finds it
    left = [point for point, kind in _mounts(proc) if kind in KERNEL_KINDS]
    os.close(proc)
    os.close(namespace)
    if left:
        raise OSError(0, f"cannot leave {left[0]} behind")
    os.chdir("/")
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    detached.restrict(root, _RESTRICTED, recursive=True)
    os.close(root)


def _mounts(proc: int) -> list[tuple[str, str]]:
    """Mount points and kinds of file systems of our namespace, in the order they were mounted."""
    descriptor = os.open("self/mountinfo", os.O_RDONLY, dir_fd=proc)
    with open(descriptor, "rb") as file:
        found = []
        for line in file:
            fields = line.split(b" ")
            point = _ESCAPE.sub(lambda octal: bytes([int(octal[1], 8)]), fields[4])
            found.append((os.fsdecode(point), fields[fields.index(b"-") + 1].decode()))
        return found


def make(root: int, mounts: list[tuple[str, int]]) -> None:
    """Into a namespace made of the container's root filesystem, and of what is mounted in it when it is started."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", None, MS_PRIVATE | syscalls.MS_REC)
    top = os.open("/", os.O_PATH | os.O_DIRECTORY)
    detached.place(root, top)
    os.close(top)
    os.fchdir(root)
    _checked(_libc.pivot_root(b".", b"."), "pivot_root")
    syscalls.umount(".", syscalls.MNT_DETACH)  # what the machine has; the container's root lies below it
    os.chdir("/")
    os.chroot("/")
    for destination, mount in mounts:
        try:
            target = _ensure(root, destination, is_directory=_is_directory(mount))
            detached.place(mount, target)
        except OSError as error:
            if error.errno not in _IN_THE_WAY:
                raise
            raise Refused("conflict", f"Nothing can be mounted at {destination!r}: {error.strerror}.") from None
        os.close(target)
        os.close(mount)
    detached.restrict(root, _RESTRICTED, recursive=True)
    os.close(root)


def _is_directory(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def _ensure(root: int, path: str, *, is_directory: bool) -> int:
    """A descriptor of what is at `path` in the root, made where it lacks, as at a start. No link leads out."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    above = ""
    for number, part in enumerate(parts, 1):
        here = f"{above}/{part}"
        try:
            os.close(syscalls.open_in_root(root, here, os.O_PATH))
        except FileNotFoundError:
            parent = syscalls.open_in_root(root, above or "/", os.O_RDONLY | os.O_DIRECTORY)
            if number < len(parts) or is_directory:
                os.mkdir(part, 0o755, dir_fd=parent)
            else:
                os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o644, dir_fd=parent))
            os.close(parent)
        above = here
    return syscalls.open_in_root(root, above or "/", os.O_PATH | (os.O_DIRECTORY if is_directory else 0))
