"""Volumes as files of fixed size on the node's disk, each with a file system of its own in it.

    <directory>/disks/<volume>             the volume: a sparse file with ext4 in it; `.new` while it is being made
               /seed/data                  what a new file system begins with
               /files/<workload>/<file>    injected files
    <mounts>/<workload>/<volume>           where a volume is mounted; <mounts> is a small tmpfs of its own, shared, so
                                           that what is unmounted here is unmounted in every copy of the mount table

A file system is made beside and renamed into place: a disk that has its name has been formatted, and is never
formatted again. What is deleted inside gives its blocks back to the node (`discard`). Containers see its directory
`data`, so `lost+found` stays out of sight; and where nothing is mounted there is no `data`, so a container can never
write below a missing mount. A device over the same file that some dying container still holds is used again: the
kernel then gives the same file system, not a second one over the same blocks.
"""

import asyncio
import errno
import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar
from weakref import WeakValueDictionary

import structlog

from krater.agent.volumes import loops
from krater.agent.volumes.names import checked
from krater.errors import Permanent, Temporary
from krater.model.volume import Attachment, MountRequest

_log = structlog.get_logger(__name__)

Result = TypeVar("Result")

GIB: Final = 1 << 30
_THREADS: Final = 16
_PATIENCE: Final = 600.0
_MAKE: Final = ("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1")
_SUPERBLOCK: Final = 1024
_MAGIC: Final = 0xEF53
_NOT_MOUNTED: Final = (errno.EINVAL, errno.ENOENT)


class DirectoryVolumes:
    """Implements `VolumeHost`."""

    def __init__(self, directory: Path, mounts: Path) -> None:
        self._disks, self._files, self._seed = directory / "disks", directory / "files", directory / "seed"
        self._mounts = Path(os.path.abspath(mounts))
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="volumes")
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def open(self) -> None:
        """Have the directories, and nothing half-made in them."""
        await self._run(self._prepare)

    def _prepare(self) -> None:
        for directory in (self._disks, self._files, self._mounts):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self._seed / "data").mkdir(parents=True, exist_ok=True)
        (self._seed / "data").chmod(0o755)
        for left in (*self._disks.glob("*.new"), *self._files.glob("*/*.new")):
            left.unlink(missing_ok=True)
        _remove_empty(*self._files.iterdir())
        if not os.path.ismount(self._mounts):
            flags = loops.MS_NOSUID | loops.MS_NODEV
            loops.mount("krater", str(self._mounts), "tmpfs", flags, "mode=0700,size=8m")
        loops.mount("none", str(self._mounts), None, loops.MS_SHARED)
        _remove_empty(*self._mounts.glob("*/*"), *self._mounts.iterdir())

    async def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False)

    async def retire(self) -> None:
        """Leave nothing mounted, for taking the node out of service. Data stay."""
        for workload, ids in (await self.connected()).items():
            for id in ids:
                await self.disconnect(workload, id)
        with suppress(OSError):
            loops.umount(str(self._mounts))

    def path(self, workload: str, mount: MountRequest) -> str:
        """Below the mount point, or the file itself."""
        if mount.volume:
            return f"{self._point(workload, mount.volume)}/data"
        return str(self._file(workload, mount.file))

    def _point(self, workload: str, volume: str) -> Path:
        return self._mounts / checked(workload) / checked(volume)

    def _file(self, workload: str, file: str) -> Path:
        return self._files / checked(workload) / checked(file)

    async def connect(self, workload: str, volume: Attachment) -> None:
        """Make it if it is new, grow it if it is small, mount it."""
        point, disk = self._point(workload, volume.volume), self._disks / checked(volume.volume)
        async with self._locks.setdefault(volume.volume, asyncio.Lock()):
            await self._run(lambda: self._connect(point, disk, volume))

    def _connect(self, point: Path, disk: Path, volume: Attachment) -> None:
        mounted = self._mounted()
        if point in mounted:
            return
        if any(other.name == volume.volume for other in mounted):
            raise Temporary(f"The volume {volume.volume} is still in use on this node.")
        if not disk.exists():
            if not volume.is_new:
                raise Permanent(f"The data of volume {volume.volume} are not on this node.")
            self._make(disk, volume.size * GIB)
        if not loops.is_in_use(str(disk)):
            _grow(disk, volume.size * GIB)
        point.mkdir(parents=True, exist_ok=True, mode=0o700)
        with loops.device_of(str(disk)) as device:
            loops.mount(device, str(point), "ext4", loops.MS_NOSUID | loops.MS_NODEV, "discard")

    def _make(self, disk: Path, size: int) -> None:
        room = os.statvfs(self._disks)
        if room.f_bavail * room.f_frsize < size:
            raise Permanent(f"The node's disk has no room for a volume of {size // GIB} GiB.")
        made = disk.with_name(f"{disk.name}.new")
        with made.open("wb") as file:
            file.truncate(size)
        _program(*_MAKE, "-d", str(self._seed), str(made))
        _sync(made)
        made.rename(disk)
        _sync(self._disks)

    async def place(self, workload: str, file: str, content: bytes) -> None:
        """Write it beside, then rename."""
        path = self._file(workload, file)
        await self._run(lambda: _place(path, content))

    async def disconnect(self, workload: str, id: str) -> None:
        """Unmount it, or remove the file."""
        point, file = self._point(workload, id), self._file(workload, id)
        async with self._locks.setdefault(id, asyncio.Lock()):
            await self._run(lambda: _disconnect(point, file))

    async def connected(self) -> dict[str, frozenset[str]]:
        """From the mount table, and the directory of files."""
        return await self._run(self._connected)

    def _connected(self) -> dict[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        for point in self._mounted():
            found.setdefault(point.parent.name, set()).add(point.name)
        for file in self._files.glob("*/*"):
            if file.suffix != ".new":
                found.setdefault(file.parent.name, set()).add(file.name)
        return {workload: frozenset(ids) for workload, ids in found.items()}

    def _mounted(self) -> set[Path]:
        """Mount points of volumes of ours."""
        prefix, found = f"{self._mounts}/", set()
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            for line in table:
                point = line.split(" ", 5)[4].encode(errors="surrogateescape").decode("unicode_escape")
                if point.startswith(prefix):
                    found.add(Path(point))
        return found

    async def stored(self) -> frozenset[str]:
        """Disks that are whole."""
        return await self._run(lambda: frozenset(p.name for p in self._disks.iterdir() if p.suffix != ".new"))

    async def discard(self, volume: str) -> None:
        """Remove the file."""
        disk = self._disks / checked(volume)
        async with self._locks.setdefault(volume, asyncio.Lock()):
            await self._run(lambda: self._discard(disk))

    def _discard(self, disk: Path) -> None:
        if not disk.exists():
            return
        if any(point.name == disk.name for point in self._mounted()) or loops.is_in_use(str(disk)):
            raise Temporary(f"The volume {disk.name} is still in use on this node.")
        disk.unlink(missing_ok=True)

    async def _run(self, function: Callable[[], Result]) -> Result:
        """On a thread. What the host refuses now, it may grant another time."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Temporary("The node's disk is full.", code="disk-full") from error
            raise Temporary(f"The volume cannot be used now: {error.strerror or error}.") from error


def _place(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f"{path.name}.new")
    try:
        beside.write_bytes(content)
        beside.chmod(0o644)
        beside.rename(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def _disconnect(point: Path, file: Path) -> None:
    try:
        loops.umount(str(point))
    except OSError as error:
        if error.errno not in _NOT_MOUNTED:
            raise
    file.unlink(missing_ok=True)
    _remove_empty(point, point.parent, file.parent)


def _remove_empty(*directories: Path) -> None:
    """Those that are there, have nothing in them, and nothing mounted on them."""
    for directory in directories:
        with suppress(OSError):
            directory.rmdir()


def _grow(disk: Path, size: int) -> None:
    """Have the file system fill at least this size. Cut off at any point, it is found again and finished."""
    if _size(disk) >= size:
        return
    _log.info("a volume grows", volume=disk.name, bytes=size)
    if disk.stat().st_size < size:
        os.truncate(disk, size)
    _program("e2fsck", "-fp", str(disk), fine=(0, 1))
    _program("resize2fs", str(disk))


def _size(disk: Path) -> int:
    """How large the file system is, from its own superblock. Permanent when there is none: it is not made anew."""
    with disk.open("rb") as file:
        file.seek(_SUPERBLOCK)
        head = file.read(1024)
    if len(head) == 1024 and struct.unpack_from("<H", head, 0x38)[0] == _MAGIC:
        low, high = struct.unpack_from("<I", head, 0x4)[0], struct.unpack_from("<I", head, 0x150)[0]
        is_large = struct.unpack_from("<I", head, 0x60)[0] & 0x80
        blocks = low | (high << 32 if is_large else 0)
        return int(blocks << (10 + struct.unpack_from("<I", head, 0x18)[0]))
    raise Permanent(f"The volume {disk.name} has no file system that can be read.")


def _program(*arguments: str, fine: tuple[int, ...] = (0,)) -> None:
    """Run a program of e2fsprogs."""
    program = shutil.which(arguments[0], path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        raise Permanent(f"The node lacks {arguments[0]} (Debian's e2fsprogs).")
    try:
        done = subprocess.run(
            [program, *arguments[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
            env={"LANG": "C", "PATH": "/usr/sbin:/sbin:/usr/bin:/bin"},
        )
    except subprocess.TimeoutExpired:
        raise Temporary(f"{arguments[0]} takes too long.") from None
    if done.returncode not in fine:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        _log.error("a program failed", program=arguments[0], code=done.returncode, said=said[-5:])
        raise Permanent(f"The volume cannot be prepared: {arguments[0]} failed; the node's log tells why.")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
