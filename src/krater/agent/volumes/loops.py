"""Loop devices and mounts: the kernel's part of volumes that are files. Everything here blocks.

A device is made with the autoclear flag: it ends by itself with its last user, so whatever is killed when, none leaks.
"""

import ctypes
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_SHARED: Final = 1 << 20
_UMOUNT_NOFOLLOW: Final = 8
_LOOP_CONFIGURE: Final = 0x4C0A
_LOOP_CTL_GET_FREE: Final = 0x4C82
_LOOP_GET_STATUS64: Final = 0x4C05
_AUTOCLEAR: Final = 4
_INFO: Final = struct.Struct("=QQQQQIIII64s64s32sQQ")  # struct loop_info64
_CONFIG_HEAD: Final = struct.Struct("=II")
_RESERVED: Final = b"\0" * 64
_LOOP_MAJOR: Final = 7
_ROUNDS: Final = 64

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """mount(2)."""
    words = (os.fsencode(source), os.fsencode(target), None if kind is None else kind.encode())
    _check(_libc.mount(*words, ctypes.c_ulong(flags), options.encode() or None), target)


def umount(target: str) -> None:
    """umount2(2), never lazily: a volume is disconnected when this returns, or it is not."""
    _check(_libc.umount2(os.fsencode(target), _UMOUNT_NOFOLLOW), target)


def _check(result: int, path: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


@contextmanager
def device_of(path: str) -> Iterator[str]:
    """A loop device over a file, held open meanwhile: the one there is, else a new one.

    Two devices over one file would be two file systems that do not know of each other, and the end of its data.
    """
    name, descriptor = _find(path) or _make(path)
    try:
        yield name
    finally:
        os.close(descriptor)


def is_in_use(path: str) -> bool:
    """Whether there is a loop device over the file."""
    found = _find(path)
    if found is None:
        return False
    os.close(found[1])
    return True


def _find(path: str) -> tuple[str, int] | None:
    wanted = os.stat(path)
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            if os.path.basename(backing.read_text().strip()) != os.path.basename(path):
                continue
            name = f"/dev/{backing.parts[3]}"
            descriptor = os.open(name, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # it has ended meanwhile
            continue
        try:
            found = _INFO.unpack(fcntl.ioctl(descriptor, _LOOP_GET_STATUS64, bytes(_INFO.size)))
            if (found[0], found[1]) == (_old_dev(wanted.st_dev), wanted.st_ino):
                return name, descriptor
        except OSError:
            pass
        os.close(descriptor)
    return None


def _old_dev(device: int) -> int:
    """A device's number as the kernel's huge_encode_dev has it, which loop_info64 tells."""
    major, minor = os.major(device), os.minor(device)
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)


def _make(path: str) -> tuple[str, int]:
    info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, _AUTOCLEAR, os.fsencode(path)[-63:], b"", b"", 0, 0)
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    backing = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_ROUNDS):
            number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
            made = _configure(number, _CONFIG_HEAD.pack(backing, 0) + info + _RESERVED)
            if made is not None:
                return f"/dev/loop{number}", made
            time.sleep(0.005)
    finally:
        os.close(backing)
        os.close(control)
    raise OSError(16, "no loop device is free", path)


def _configure(number: int, config: bytes) -> int | None:
    """Take a free device; None when somebody was faster."""
    name = f"/dev/loop{number}"
    if not os.path.exists(name):  # where /dev is not the kernel's own
        os.mknod(name, 0o600 | 0o060000, os.makedev(_LOOP_MAJOR, number))
    descriptor = os.open(name, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _LOOP_CONFIGURE, config)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        os.close(descriptor)
        if error.errno == 16:  # EBUSY
            return None
        raise
    return descriptor
