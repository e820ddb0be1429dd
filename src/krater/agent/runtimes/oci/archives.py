"""Archives of files in containers, packed and unpacked by the jailed program of `jail`, one process for each.

What a jail says is taken as a tenant's word: it has read a tenant's bytes. Its process ends with the archive, when we
close the connection, and when we die.
"""

import asyncio
import base64
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from krater.agent.runtimes.interfaces import PathStat
from krater.agent.runtimes.oci import detached, seccomp
from krater.agent.runtimes.oci.jail import frames
from krater.agent.runtimes.oci.launcher import Launcher
from krater.agent.runtimes.oci.processes import Identity
from krater.errors import Conflict, Failed, Invalid, KraterError, NotFound, Permanent, Temporary

ENTERED_WITHIN: Final = 20.0
ENDS_WITHIN: Final = 5.0
PROGRAM: Final = ("-I", "-X", "utf8", "-m", "krater.agent.runtimes.oci.jail")

# Reading and writing files, memory, time, and ending. A file descriptor for the agent is the only way out.
CALLS: Final = (
    *(
        "read",
        "write",
        "pread64",
        "lseek",
        "close",
        "fstat",
        "newfstatat",
        "stat",
        "lstat",
        "statx",
        "openat",
        "openat2",
    ),
    *("getdents64", "readlink", "readlinkat", "mkdir", "mkdirat", "mknodat", "symlinkat", "linkat", "unlinkat"),
    *("renameat", "renameat2", "fchmod", "fchmodat", "fchown", "fchownat", "utimensat", "ftruncate", "umask", "dup"),
    *("fcntl", "sendto", "recvfrom", "sendmsg", "recvmsg", "poll", "ppoll", "mmap", "munmap", "mremap", "mprotect"),
    *("brk", "madvise", "futex", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall"),
    *("clock_gettime", "gettimeofday", "getrandom", "getpid", "gettid", "exit", "exit_group"),
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a container's files are: with its process, or in a root filesystem and what is mounted in that.

    `mounts` are (source, destination, read-only) in the order to mount them.
    """

    process: Identity | None
    rootfs: str
    mounts: tuple[tuple[str, str, bool], ...] = ()


class _Refusal(msgspec.Struct):
    kind: str
    message: str


class _Stat(msgspec.Struct):
    name: str
    size: int
    mode: int
    mtime: str
    linkTarget: str


class Jail:
    """One running jail. Use `JailKeeper.start`."""

    def __init__(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lifeline: int) -> None:
        self._pid = pid
        self._reader, self._writer = reader, writer
        self._lifeline = lifeline
        self._pidfd = os.pidfd_open(pid)
        self._ended = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)
        self._is_closed = False

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        os.close(self._pidfd)
        self._ended.set_result(None)

    async def receive(self, *expected: bytes) -> tuple[bytes, bytes]:
        """The next frame. What the jail refuses is raised."""
        try:
            kind, length = frames.HEADER.unpack(await self._reader.readexactly(frames.HEADER.size))
            if length > frames.LARGEST:
                raise Permanent("the archive's helper process misbehaves")
            payload = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Temporary("The copying broke off on the node; try again.") from None
        if kind == frames.FAILED:
            raise _error(payload)
        if kind not in expected:
            raise Permanent("the archive's helper process misbehaves")
        return kind, payload

    async def send(self, kind: bytes, payload: bytes = b"") -> None:
        """Send a frame; waits while the jail is busy."""
        try:
            self._writer.write(frames.HEADER.pack(kind, len(payload)) + payload)
            await self._writer.drain()
        except (ConnectionError, RuntimeError):
            raise Temporary("The copying broke off on the node; try again.") from None

    async def close(self) -> None:
        """Have it end, and wait for that. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        self._writer.close()
        os.close(self._lifeline)
        try:
            await asyncio.wait_for(asyncio.shield(self._ended), ENDS_WITHIN)
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.kill(self._pid, 9)
            await asyncio.shield(self._ended)


def _error(payload: bytes) -> KraterError:
    try:
        said = msgspec.json.decode(payload, type=_Refusal)
    except msgspec.MsgspecError:
        return Permanent("the archive's helper process misbehaves")
    if said.kind in ("invalid", "too-large"):
        code = "archive-refused" if said.kind == "invalid" else "archive-too-large"
        return Invalid(said.message, code=code)
    match said.kind:
        case "not-found":
            return NotFound(said.message, code="path-not-found")
        case "conflict":
            return Conflict(said.message)
        case "full":
            return Temporary(said.message, code="disk-full")
    log.warning("an archive failed", reason=said.message)
    return Permanent("The files could not be copied; the log of the node tells more.")


class PackedArchive:
    """Implements `ArchiveReader`."""

    def __init__(self, jail: Jail, stat: PathStat, gone: Callable[[], None]) -> None:
        self.stat = stat
        self._jail, self._gone = jail, gone
        self._is_over = False

    async def read(self) -> bytes:
        """The next piece; empty at the end."""
        if self._is_over:
            return b""
        kind, payload = await self._jail.receive(frames.PIECE, frames.END)
        self._is_over = kind == frames.END
        return b"" if self._is_over else payload

    async def close(self) -> None:
        """End the process."""
        self._gone()
        await self._jail.close()


class UnpackedArchive:
    """Implements `ArchiveWriter`. What the jail has to say is awaited from the beginning: it may refuse at any time."""

    def __init__(self, jail: Jail, gone: Callable[[], None]) -> None:
        self._jail, self._gone = jail, gone
        self._verdict = asyncio.ensure_future(jail.receive(frames.END))

    async def write(self, data: bytes) -> None:
        """Hand on the next piece."""
        view = memoryview(data)
        while view:
            if self._verdict.done():
                await self._verdict
                raise Permanent("the archive's helper process misbehaves")  # it says that all is there
            await self._jail.send(frames.PIECE, bytes(view[: frames.LARGEST]))
            view = view[frames.LARGEST :]

    async def finish(self) -> None:
        """Wait until everything is unpacked."""
        if not self._verdict.done():
            await self._jail.send(frames.END)
        await asyncio.shield(self._verdict)

    async def close(self) -> None:
        """End the process."""
        self._gone()
        await self._jail.close()
        self._verdict.cancel()
        await asyncio.gather(self._verdict, return_exceptions=True)


class JailKeeper:
    """Starts jails, and ends those of a container that goes away."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._filter: bytes | None = None
        self._running: dict[str, set[Jail]] = {}
        self._unpacking: set[Jail] = set()

    async def pack(self, container: str, place: Place, path: str, limit: int) -> PackedArchive:
        """Begin to pack what is at `path`."""
        jail = await self._start(container, place, limit)
        try:
            await self._order(jail, path, limit, unpacks=False)
            _, text = await jail.receive(frames.STAT)
            return PackedArchive(jail, _stat(text), lambda: self._forget(container, jail))
        except BaseException:
            await self._end(container, jail)
            raise

    async def unpack(self, container: str, place: Place, path: str, limit: int) -> UnpackedArchive:
        """Begin to unpack into the directory `path`."""
        jail = await self._start(container, place, limit)
        try:
            self._unpacking.add(jail)
            await self._order(jail, path, limit, unpacks=True)
            return UnpackedArchive(jail, lambda: self._forget(container, jail))
        except BaseException:
            await self._end(container, jail)
            raise

    def unpacks_into(self, container: str) -> bool:
        """Whether a jail is writing into this container."""
        return not self._unpacking.isdisjoint(self._running.get(container, ()))

    async def end(self, container: str) -> None:
        """Have no jail of this container."""
        for jail in list(self._running.get(container, ())):
            await self._end(container, jail)

    async def close(self) -> None:
        """Have none at all."""
        for container in list(self._running):
            await self.end(container)

    async def _end(self, container: str, jail: Jail) -> None:
        self._forget(container, jail)
        await jail.close()

    def _forget(self, container: str, jail: Jail) -> None:
        of_container = self._running.get(container, set())
        of_container.discard(jail)
        self._unpacking.discard(jail)
        if not of_container:
            self._running.pop(container, None)

    async def _order(self, jail: Jail, path: str, limit: int, *, unpacks: bool) -> None:
        order = {"path": path, "limit": limit, "unpacks": unpacks}
        await jail.send(frames.ORDER, msgspec.json.encode(order))

    async def _start(self, container: str, place: Place, limit: int) -> Jail:
        if self._filter is None:
            self._filter = await asyncio.to_thread(_filter)
        ours, theirs = socket.socketpair()
        lifeline_end, lifeline = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            with _descriptors(place) as roots:
                setup = msgspec.json.encode(
                    {
                        "joins": place.process is not None,
                        "destinations": [destination for _, destination, _ in place.mounts],
                        "limit": limit,
                        "filter": base64.b64encode(self._filter).decode(),
                    }
                )
                socket.send_fds(ours, [b"F"], [lifeline_end, *roots])
                ours.sendall(frames.HEADER.pack(frames.SETUP, len(setup)) + setup)
            descriptors = {0: theirs.fileno(), 1: null, 2: null}
            pid = await self._launcher.spawn([sys.executable, *PROGRAM], "/", descriptors=descriptors)
        except BaseException:
            ours.close()
            os.close(lifeline)
            raise
        finally:
            theirs.close()
            os.close(lifeline_end)
            os.close(null)
        ours.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=2 * frames.LARGEST)
        jail = Jail(pid, reader, writer, lifeline)
        self._running.setdefault(container, set()).add(jail)
        try:
            async with asyncio.timeout(ENTERED_WITHIN):
                await jail.receive(frames.ENTERED)
        except BaseException as error:
            await self._end(container, jail)
            if isinstance(error, TimeoutError):
                raise Temporary("The node is too busy to copy files now.") from None
            if isinstance(error, Failed) and place.process is not None and not place.process.alive:
                raise Temporary("The container's process has just ended; try again.") from None
            raise
        return jail


@contextmanager
def _descriptors(place: Place) -> Iterator[list[int]]:
    """What the jail's world is made of: a namespace, or mounts that are attached nowhere."""
    opened: list[int] = []
    try:
        if place.process is not None:
            opened.append(os.open(f"/proc/{place.process.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))
            if not place.process.alive:
                raise Temporary("The container's process has just ended; try again.")
        else:
            opened.append(detached.take(place.rootfs))
            detached.restrict(opened[-1], 0)
            for source, _, read_only in place.mounts:
                opened.append(detached.take(source, recursive=True))
                detached.restrict(opened[-1], detached.ATTR_RDONLY if read_only else 0, recursive=True)
        yield opened
    except FileNotFoundError:
        raise Temporary("The container is just changing; try again.") from None
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _filter() -> bytes:
    """The compiled filter; none where libseccomp cannot be used."""
    rules = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": [],
        "syscalls": [{"names": list(CALLS), "action": "SCMP_ACT_ALLOW", "args": []}],
    }
    try:
        return seccomp.compile_filter(rules)
    except OSError as error:
        log.warning("archives are unpacked without a system call filter", reason=str(error))
        return b""


def _stat(text: bytes) -> PathStat:
    try:
        found = msgspec.json.decode(text, type=_Stat)
    except msgspec.MsgspecError:
        raise Permanent("the archive's helper process misbehaves") from None
    return PathStat(found.name, found.size, found.mode, found.mtime, found.linkTarget)
