"""Commands in running containers that somebody talks to: over pipes, or at a terminal of their own.

What is started here ends with the stream. Should Krater be killed, the next life finds it by a file beside the
container's others and ends it: `sweep`.
"""

import asyncio
import fcntl
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from krater.agent.runtimes.oci.cgroups import Cgroups
from krater.agent.runtimes.oci.console import (
    LiveConsole,
    complaint_in,
    not_started,
    process_document,
)
from krater.agent.runtimes.oci.families import kill_family, kill_session
from krater.agent.runtimes.oci.layout import Layout
from krater.agent.runtimes.oci.lifecycle import Machinery
from krater.agent.runtimes.oci.outputs import Outputs, Piece, take_from, write_all
from krater.agent.runtimes.oci.processes import Identity, identify
from krater.agent.runtimes.oci.state import KILLED, ContainerRecord, Shelf
from krater.agent.runtimes.oci.terminals import TerminalSocket, set_size
from krater.errors import Conflict, Invalid, KraterError, Temporary
from krater.model.frames import STDERR, STDOUT

TERMINAL_WITHIN: Final = 10.0
_LOST: Final = 255  # what crun says when the whole container is gone
_PIPE_SIZE: Final = 1 << 20
_F_SETPIPE_SZ: Final = 1031


@dataclass(frozen=True, slots=True)
class _Ends:
    """Our ends of a command's input and outputs; one descriptor when it has a terminal."""

    input: int
    outputs: dict[int, int]


class ExecutedStream:
    """Implements `Stream` for a command. `status` is the exit status of the OCI runtime, which is the command's."""

    def __init__(
        self, machinery: Machinery, cgroup: str, name: str, command: str, pid: int, status: asyncio.Future[int]
    ) -> None:
        self.tty = False
        self._with = machinery
        self._cgroup = cgroup
        self._name = name
        self._command = command
        self._pid = pid
        self.status = status
        self._ends: _Ends | None = None
        self._outputs = Outputs([], take_from({}))
        self._input_ended = False
        self._said = self._told = False
        self._code: int | None = None
        self._closed = False
        self._kept = ExitStack()

    def keep(self, kept: ExitStack) -> None:
        """What the OCI runtime may need yet: let go of with the stream."""
        self._kept = kept

    def take(self, ends: _Ends, *, tty: bool) -> None:
        """Go on with these ends."""
        self._ends, self.tty = ends, tty
        for descriptor in {ends.input, *ends.outputs}:
            os.set_blocking(descriptor, False)
        self._outputs = Outputs([*ends.outputs], take_from(ends.outputs))
        self.status.add_done_callback(lambda _: self._outputs.finish())

    async def read(self) -> Sequence[Piece]:
        """What it wrote, and after that why it could not be started, if that is so."""
        found = await self._outputs.read()
        if found or self._told:
            self._said = self._said or bool(found)
            return found
        self._code = await asyncio.shield(self.status)
        self._told = True
        if self._code == _LOST and not self._with.cgroups.pids(self._cgroup):
            self._code = KILLED
            return ()
        why = await self._with.threads.run(complaint_in, self._name)
        if why is None:
            return ()
        try:
            failed = not_started(self._command, why)
        except KraterError as error:
            self._code = 126
            return ((STDERR, f"{error.message}\n".encode()),)
        self._code = failed.exit_code
        return () if self._said else ((STDERR, failed.output),)  # crun has told it itself, on the same streams

    async def write(self, content: bytes) -> None:
        """Give it input."""
        if self._ends is not None and not self._input_ended:
            await write_all(self._ends.input, content)

    def end_input(self) -> None:
        """No more input."""
        if self._ends is not None and not self.tty and not self._input_ended:
            self._input_ended = True
            os.close(self._ends.input)

    def resize(self, rows: int, columns: int) -> None:
        """Another size of its terminal."""
        if self.tty and self._ends is not None:
            set_size(self._ends.input, rows, columns)

    async def wait(self) -> int | None:
        """The exit code."""
        return self._code

    async def close(self) -> None:
        """End it with all that it started, and leave nothing."""
        if self._closed:
            return
        self._closed = True
        self._outputs.stop()
        self._kept.close()
        if self._ends is not None:
            left = {*self._ends.outputs} | (set() if self._input_ended else {self._ends.input})
            for descriptor in left:
                os.close(descriptor)
            self._ends = None
        await asyncio.shield(self._with.threads.run(self._leave_nothing))

    def _leave_nothing(self) -> None:
        if not self.status.done():
            kill_family(self._with.cgroups, self._cgroup, self._pid)
        for kind in ("pid", "log", "sock"):
            Path(f"{self._name}.{kind}").unlink(missing_ok=True)


class Executions:
    """Starts such commands."""

    def __init__(self, machinery: Machinery, console: LiveConsole) -> None:
        self._with = machinery
        self._console = console
        self._us = identify(os.getpid()) or Identity(os.getpid(), 0)

    async def start(
        self, container: str, command: tuple[str, ...], tty: bool, size: tuple[int, int] | None
    ) -> ExecutedStream:
        """Start one. Its failure to start is what it says, and its exit code, as with a shell."""
        if not command:
            raise Invalid("command: there is nothing to run", field="command")
        running = self._console.running(container)
        paths, record = running.paths, running.record
        if self._with.cgroups.frozen(record.cgroup):
            raise Conflict("the container is paused")
        name = f"{paths.run}/exec-{self._us.pid}-{self._us.ticks}-{uuid4().hex[:12]}"
        with ExitStack() as ours, ExitStack() as held:
            document = ours.enter_context(process_document(paths, command, tty, size))
            start = self._at_terminal if tty else self._over_pipes
            stream = await start(record, name, command[0], document, held)
            stream.keep(ours.pop_all())
        return stream

    def _arguments(self, record: ContainerRecord, name: str, document: str, *more: str) -> list[str]:
        program = self._with.program
        head = [program.path, *program.arguments, f"--log={name}.log", "exec"]
        return [*head, f"--process={document}", f"--pid-file={name}.pid", *more, record.config.id]

    async def _over_pipes(
        self, record: ContainerRecord, name: str, command: str, document: str, held: ExitStack
    ) -> ExecutedStream:
        theirs_in, ours_in = os.pipe2(os.O_CLOEXEC)
        ours_out, theirs_out = os.pipe2(os.O_CLOEXEC)
        ours_err, theirs_err = os.pipe2(os.O_CLOEXEC)
        for descriptor in (theirs_in, theirs_out, theirs_err):
            held.callback(os.close, descriptor)
        _enlarge(ours_out, ours_in)
        ends = _Ends(ours_in, {ours_out: STDOUT, ours_err: STDERR})
        try:
            arguments = self._arguments(record, name, document)
            stream = await self._spawn(
                record.cgroup, name, command, arguments, {0: theirs_in, 1: theirs_out, 2: theirs_err}
            )
        except BaseException:
            for descriptor in (ours_in, ours_out, ours_err):
                os.close(descriptor)
            raise
        stream.take(ends, tty=False)
        return stream

    async def _at_terminal(
        self, record: ContainerRecord, name: str, command: str, document: str, held: ExitStack
    ) -> ExecutedStream:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        held.callback(os.close, null)
        terminals = held.enter_context(TerminalSocket(f"{name}.sock"))
        arguments = self._arguments(record, name, document, f"--console-socket={terminals.name}")
        stream = await self._spawn(record.cgroup, name, command, arguments, {0: null, 1: null, 2: null})
        try:
            async with asyncio.timeout(TERMINAL_WITHIN):
                terminal = await terminals.terminal(stream.status)
        except TimeoutError:
            await stream.close()
            raise Temporary("the command has got no terminal") from None
        except BaseException:
            await stream.close()
            raise
        if terminal is not None:
            stream.take(_Ends(terminal, {terminal: STDOUT}), tty=True)
        return stream

    async def _spawn(
        self, cgroup: str, name: str, command: str, arguments: list[str], descriptors: dict[int, int]
    ) -> ExecutedStream:
        pid = await self._with.launcher.spawn(arguments, os.path.dirname(name), descriptors=descriptors)
        return ExecutedStream(self._with, cgroup, name, command, pid, _status_of(pid))


def _enlarge(*pipes: int) -> None:
    """Fewer, larger pieces. A user's pipes may be limited in number; then they stay as they are."""
    for pipe in pipes:
        with suppress(OSError):
            fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_SIZE)


def _status_of(pid: int) -> asyncio.Future[int]:
    """The exit code of a child of ours, as shells count it, once it ended."""
    loop = asyncio.get_running_loop()
    status: asyncio.Future[int] = loop.create_future()
    pidfd = os.pidfd_open(pid)

    def ended() -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        _, raw = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(raw)
        status.set_result(code if code >= 0 else 128 - code)

    loop.add_reader(pidfd, ended)
    return status


def sweep(layout: Layout, shelf: Shelf, cgroups: Cgroups) -> None:
    """End the commands that earlier lives of ours have left running. Those of one that still lives stay."""
    for file in Path(layout.containers).glob("*/run/exec-*.*"):
        parts = file.name.split("-")
        if len(parts) != 4 or not parts[1].isdigit() or not parts[2].isdigit():
            continue
        if Identity(int(parts[1]), int(parts[2])).alive:
            continue
        text = file.read_text(errors="replace").strip() if file.suffix == ".pid" else ""
        if text.isdigit():
            container = file.parent.parent.name
            record = shelf.read(layout.container(container).record, ContainerRecord)
            kill_session(cgroups, cgroups.find(container) if record is None else record.cgroup, int(text))
        file.unlink(missing_ok=True)
