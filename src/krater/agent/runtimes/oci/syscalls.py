"""System calls that Python does not offer, through ctypes. Every function raises OSError on failure."""

import ctypes
import os
from typing import Final

CLONE_FS: Final = 0x00000200
CLONE_NEWNS: Final = 0x00020000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWNET: Final = 0x40000000
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_SLAVE: Final = 1 << 19
MS_SHARED: Final = 1 << 20
MNT_DETACH: Final = 2
UMOUNT_NOFOLLOW: Final = 8
RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_IN_ROOT: Final = 0x10

_SYS_OPENAT2: Final = 437  # the same on every architecture
_SYS_PIDFD_GETFD: Final = 438
_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _checked(result: int, *paths: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), *paths[:1])
    return result


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """mount(2)."""
    _checked(
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            None if kind is None else kind.encode(),
            ctypes.c_ulong(flags),
            None if options is None else os.fsencode(options),
        ),
        target,
    )


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    _checked(_libc.umount2(os.fsencode(target), flags), target)


def unshare(flags: int) -> None:
    """unshare(2), for the calling thread."""
    _checked(_libc.unshare(flags))


def setns(descriptor: int, kind: int) -> None:
    """setns(2), for the calling thread."""
    _checked(_libc.setns(descriptor, kind))


def borrow_descriptor(process: int, number: int) -> int:
    """pidfd_getfd(2): a descriptor of another process, by a pidfd for that."""
    return _checked(_libc.syscall(_SYS_PIDFD_GETFD, process, number, 0))


def open_in_root(root: int, path: str, flags: int, mode: int = 0) -> int:
    """Open `path` as a process whose root directory is `root` would see it: no link leads out of it.

    This is how files of an image are read with host rights: its links, absolute ones too, are the tenant's.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    result = _libc.syscall(
        ctypes.c_long(_SYS_OPENAT2),
        ctypes.c_int(root),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    return _checked(result, path)
