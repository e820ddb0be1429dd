"""Live requests to running containers: signals, commands, processes, use of resources."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import msgspec

from krater.agent.runtimes.interfaces import ExecResult, ProcessTable
from krater.agent.runtimes.oci import ps
from krater.agent.runtimes.oci.cgroups import MIB, Usage
from krater.agent.runtimes.oci.families import kill_family
from krater.agent.runtimes.oci.layout import ContainerPaths
from krater.agent.runtimes.oci.lifecycle import Machinery
from krater.agent.runtimes.oci.processes import Identity, send_signal
from krater.agent.runtimes.oci.programs import Program, started
from krater.agent.runtimes.oci.state import ContainerRecord, ProcessRecord
from krater.errors import Conflict, Invalid, NotFound, Temporary, Unsupported
from krater.model.reading import Reading

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
PS_WITHIN: Final = 10.0
PS_LIMIT: Final = 4 * 1024 * 1024
FIRST_SAMPLE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Running:
    """A container and its first process."""

    record: ContainerRecord
    process: Identity
    paths: ContainerPaths
    monitor: Identity | None


class LiveConsole:
    """Implements `Console`, but for the log."""

    def __init__(self, machinery: Machinery) -> None:
        self._with = machinery
        self._readings: dict[str, tuple[Identity, float, int]] = {}

    def running(self, container: str) -> Running:
        """What is known of a container that runs. NotFound, Conflict."""
        paths = self._with.layout.container(container)
        record = self._with.shelf.read(paths.record, ContainerRecord)
        if record is None:
            raise NotFound(f"there is no container {container} on this node")
        last = self._with.shelf.read(paths.process, ProcessRecord)
        if last is None or last.process is None or last.boot != self._with.boot or not last.process.alive:
            raise Conflict("the container does not run")
        return Running(record, last.process, paths, last.monitor)

    async def signal(self, container: str, number: int) -> None:
        """Send a signal to its first process."""
        if not 0 < number < signal.NSIG:
            raise Invalid(f"signal: {number} is not the number of a signal", field="signal")
        if not send_signal(self.running(container).process, number):
            raise Conflict("the container does not run")

    async def exec(self, container: str, command: tuple[str, ...], timeout: float, limit: int) -> ExecResult:
        """Run a command with the identity and the limits of the container's own process."""
        if not command:
            raise Invalid("command: there is nothing to run", field="command")
        running = self.running(container)
        cgroup = running.record.cgroup
        if self._with.cgroups.frozen(cgroup):
            raise Conflict("the container is paused")
        name = f"{running.paths.run}/exec-{uuid4()}"
        with process_document(running.paths, command) as document:
            arguments = [
                self._with.program.path,
                *self._with.program.arguments,
                f"--log={name}.log",
                "exec",
                f"--process={document}",
                container,
            ]
            program = await started(self._with.launcher, arguments, limit)
            try:
                code = await asyncio.wait_for(program.wait(), timeout)
            except TimeoutError:
                raise Conflict(f"the command did not end within {timeout:g} seconds and was killed") from None
            finally:
                complaint = await self._with.threads.run(self._finish, cgroup, name, program)
        if complaint is not None:
            return not_started(command[0], complaint)
        return ExecResult(program.output, code, program.truncated)

    def _finish(self, cgroup: str, name: str, program: Program) -> str | None:
        """Kill what a command that is not waited for any more has running; tell what the OCI runtime complained of."""
        if program.running:
            kill_family(self._with.cgroups, cgroup, program.pid)
        return complaint_in(name)

    async def top(self, container: str, ps_args: str) -> ProcessTable:
        """Its processes, as ps of the host sees them."""
        pids = self._with.cgroups.pids(self.running(container).record.cgroup)
        path = shutil.which("ps")
        if path is None:
            raise Unsupported("the node has no ps")
        program = await started(self._with.launcher, [path, *ps.arguments(ps_args, pids or [0])], PS_LIMIT)
        try:
            await asyncio.wait_for(program.wait(), PS_WITHIN)
        except TimeoutError:
            raise Temporary("ps does not answer") from None
        finally:
            program.kill()
        return ps.table(program.output.decode(errors="replace"), is_dated=ps.is_dated(ps_args))

    async def stats(self, container: str) -> Reading:
        """Its use of resources since the reading before, or since a moment ago."""
        running = self.running(container)
        process, cgroup, group = running.process, running.record.cgroup, running.record.config.group
        earlier = self._readings.get(container)
        if earlier is None or earlier[0] != process:
            earlier = (process, time.monotonic(), self._with.cgroups.usage(cgroup).cpu)
        # several who ask at once share readings: over an instant a share of a core says nothing
        await asyncio.sleep(max(0.0, earlier[1] + FIRST_SAMPLE - time.monotonic()))
        usage, (received, sent) = await self._with.threads.run(self._read, cgroup, process)
        now = time.monotonic()
        self._readings[container] = (process, now, usage.cpu)
        return Reading(
            cpu_percent=max(0.0, (usage.cpu - earlier[2]) / 1e7 / max(now - earlier[1], 1e-3)),
            memory_used=usage.memory,
            memory_limit=_smallest(usage.memory_limit, group.memory * MIB if group is not None else 0),
            block_read=usage.read,
            block_written=usage.written,
            net_received=received,
            net_sent=sent,
        )

    def _read(self, cgroup: str, process: Identity) -> tuple[Usage, tuple[int, int]]:
        return self._with.cgroups.usage(cgroup), network_bytes(process.pid)

    def forget(self, container: str) -> None:
        """Keep no reading of a container that is gone."""
        self._readings.pop(container, None)


def _smallest(*limits: int) -> int:
    """The limit that counts, in bytes; what the machine has where there is none."""
    return min((limit for limit in limits if limit), default=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def network_bytes(pid: int) -> tuple[int, int]:
    """Bytes received and sent by the cards of a process's network namespace, without loopback."""
    received = sent = 0
    try:
        with open(f"/proc/{pid}/net/dev") as file:
            lines = file.readlines()[2:]
    except (FileNotFoundError, OSError):
        raise Conflict("the container does not run") from None
    for line in lines:
        name, _, rest = line.partition(":")
        fields = rest.split()
        if name.strip() != "lo":
            received, sent = received + int(fields[0]), sent + int(fields[8])
    return received, sent


@contextmanager
def process_document(
    paths: ContainerPaths, command: tuple[str, ...], tty: bool = False, size: tuple[int, int] | None = None
) -> Iterator[str]:
    """The description of a further process like the container's own, at a path that lasts as long as it is needed."""
    with open(f"{paths.bundle}/config.json", "rb") as file:
        process: dict[str, Any] = msgspec.json.decode(file.read())["process"]
    process.update(args=list(command), terminal=tty)
    if tty and not any(line.startswith("TERM=") for line in process["env"]):
        process["env"].append("TERM=xterm")
    if size is not None:
        process["consoleSize"] = {"height": size[0], "width": size[1]}
    descriptor = os.memfd_create("process")
    with open(descriptor, "wb") as memory:
        memory.write(msgspec.json.encode(process))
        memory.flush()
        yield f"/proc/{os.getpid()}/fd/{descriptor}"


def complaint_in(name: str) -> str | None:
    """What the OCI runtime itself had to say, if anything."""
    try:
        with open(f"{name}.log") as file:
            text = file.read(4096)
        os.unlink(f"{name}.log")
    except FileNotFoundError:
        return None
    return text.strip() or None


def not_started(program: str, complaint: str) -> ExecResult:
    """What a shell would say of a command that the OCI runtime could not start. Conflict when it is not the command."""
    lowered = complaint.lower()
    if "not found" in lowered or "no such file" in lowered:
        return ExecResult(f"{program}: not found\n".encode(), NOT_FOUND)
    if "permission" in lowered or "format" in lowered or "not permitted" in lowered:
        return ExecResult(f"{program}: cannot be executed\n".encode(), NOT_EXECUTABLE)
    raise Conflict(f"the command cannot be started: {complaint.splitlines()[-1]}")
