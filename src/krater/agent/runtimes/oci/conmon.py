"""conmon: one small process a container that keeps its terminal, writes its log and, in the end, its exit code."""

import asyncio
import fcntl
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from krater.agent.runtimes.oci.crun import OciProgram
from krater.agent.runtimes.oci.launcher import Launcher
from krater.agent.runtimes.oci.layout import ContainerPaths
from krater.agent.runtimes.oci.processes import Identity, ended, identify, send_signal
from krater.errors import Permanent, Temporary

REOPEN_LOG: Final = b"2 0 0\n"
CREATE_WITHIN: Final = 60.0
MONITOR_ENDS_WITHIN: Final = 5.0

# Input without a terminal is a pipe of ours. Its end to write to waits in the queue of a socket that the monitor has
# under this number, though it knows nothing of it: whoever attaches borrows socket and end, and whoever takes the end
# out of the queue ends the input. With a pipe of conmon's own it would end with whoever lets go first, or with Krater.
# A shell puts the pipe in place, since conmon gives the OCI runtime no input to hand on.
INPUT_KEPT_IN: Final = 8
_INPUT_GIVEN_AS: Final = 9
_HAND_ON: Final = f'exec "$0" "$@" 0<&{_INPUT_GIVEN_AS} {_INPUT_GIVEN_AS}<&- {INPUT_KEPT_IN}<&-'
_ABOVE: Final = 16


@dataclass(frozen=True, slots=True)
class Monitored:
    """A created container: its first process, which still waits to be let go, and its monitor."""

    process: Identity
    monitor: Identity


class CreateFailed(Exception):
    """The OCI runtime could not create the container; the message is its own."""


class Conmon:
    """Starts containers' monitors."""

    def __init__(self, launcher: Launcher, program: OciProgram, binary: str, log_limit: int) -> None:
        self._launcher = launcher
        self._program = program
        self._log_limit = log_limit
        path = shutil.which(binary)
        if path is None:
            raise Permanent(f"no {binary} found: install conmon")
        self._path = path
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of what is held open."""
        os.close(self._null)

    async def create(self, container: str, paths: ContainerPaths, interactive: bool, tty: bool) -> Monitored:
        """Have a container created, its process waiting. CreateFailed when the OCI runtime cannot."""
        reader, writer = _pipe()
        with ExitStack() as held:
            held.callback(os.close, writer)
            descriptors = {0: self._null, 1: self._null, 2: self._null, writer: writer}
            if interactive and not tty:
                kept, given = (_out_of_the_way(descriptor, held) for descriptor in _input())
                descriptors |= {INPUT_KEPT_IN: kept, _INPUT_GIVEN_AS: given}
            try:
                pid = await self._launcher.spawn(
                    [self._path, *self._arguments(container, paths, interactive, tty)],
                    paths.run,  # where conmon leaves a file that tells of a want of memory
                    descriptors=descriptors,
                    more={"_OCI_SYNCPIPE": str(writer)},
                )
            except BaseException:
                os.close(reader)
                raise
        monitor = identify(pid) or Identity(pid, 0)
        process = None
        try:
            process = _created(await _line(reader))
        finally:
            if process is None and not await ended(monitor, MONITOR_ENDS_WITHIN):
                send_signal(monitor, signal.SIGKILL)
                await ended(monitor, MONITOR_ENDS_WITHIN)
        return Monitored(process, monitor)

    def _arguments(self, container: str, paths: ContainerPaths, interactive: bool, tty: bool) -> Iterator[str]:
        own_input = interactive and not tty
        runtime = "/bin/sh" if own_input else self._program.path
        first = ("-c", _HAND_ON, self._program.path) if own_input else ()
        options = {
            "--api-version": "1",
            "--cid": container,
            "--cuuid": container,
            "--name": container,
            "--runtime": runtime,
            "--bundle": paths.bundle,
            "--container-pidfile": f"{paths.run}/pid",
            "--persist-dir": paths.run,
            "--log-path": f"k8s-file:{paths.log}",
            "--log-size-max": str(self._log_limit),
            "--log-level": "error",
        }
        for name, value in options.items():
            yield name
            yield value
        # --sync: one fork less, and its pid is known to us at once. --full-attach: its socket lies in the bundle,
        # bound through a descriptor, so the length of our paths does not matter.
        yield from ("--sync", "--full-attach", "--no-sync-log")
        yield from (f"--runtime-arg={argument}" for argument in (*first, *self._program.arguments))
        if tty:
            yield "--terminal"
            if interactive:
                yield from ("--stdin", "--leave-stdin-open")  # else conmon takes no more after the first who leaves


def _input() -> tuple[int, int]:
    """A socket that has the end of a pipe to write to in its queue, and the other end of that pipe."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    outer, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with outer:
        socket.send_fds(outer, [b"input"], [writer])
    os.close(writer)
    return inner.detach(), reader


def _out_of_the_way(descriptor: int, held: ExitStack) -> int:
    """The same under a number that none in the monitor has."""
    try:
        moved = int(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _ABOVE))
    finally:
        os.close(descriptor)
    held.callback(os.close, moved)
    return moved


def _pipe() -> tuple[int, int]:
    """A pipe whose end to write to, which the monitor has under our number, is none of those it keeps input under."""
    reader, low = os.pipe2(os.O_CLOEXEC)
    try:
        return reader, fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
    finally:
        os.close(low)


async def _line(reader: int) -> bytes:
    """What conmon writes into its pipe, up to the end of a line, without a thread that waits for it."""
    loop = asyncio.get_running_loop()
    os.set_blocking(reader, False)
    done: asyncio.Future[bytes] = loop.create_future()
    pieces: list[bytes] = []

    def readable() -> None:
        piece = os.read(reader, 65536)
        pieces.append(piece)
        if (not piece or piece.endswith(b"\n")) and not done.done():
            done.set_result(b"".join(pieces))

    loop.add_reader(reader, readable)
    try:
        return await asyncio.wait_for(done, CREATE_WITHIN)
    except TimeoutError:
        raise Temporary(f"the container could not be created within {CREATE_WITHIN:.0f} seconds") from None
    finally:
        loop.remove_reader(reader)
        os.close(reader)


def _created(answer: bytes) -> Identity:
    try:
        said: dict[str, Any] = msgspec.json.decode(answer or b"{}")
    except msgspec.MsgspecError:
        said = {}
    pid = said.get("data", -1)
    process = identify(pid) if isinstance(pid, int) and pid > 0 else None
    if process is None:
        raise CreateFailed(str(said.get("message") or "the monitor (conmon) ended"))
    return process


def reopen_log(paths: ContainerPaths) -> bool:
    """Ask the monitor to begin a new log file, the old one having been moved away. False when there is no monitor."""
    try:
        descriptor = os.open(f"{paths.bundle}/ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(descriptor, REOPEN_LOG)
    finally:
        os.close(descriptor)
    return True


def find_monitors(bundle: str) -> list[Identity]:
    """The monitors of a bundle. Looks at every process: only for cleaning up after a crash in the middle of a start."""
    wanted = os.fsencode(bundle)
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            with open(f"{entry.path}/cmdline", "rb") as file:
                arguments = file.read().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if wanted in arguments and arguments[0].endswith(b"conmon"):
            process = identify(int(entry.name))
            if process is not None:
                found.append(process)
    return found
