"""What is written down of each container, and how a container's state is told from that and from the kernel.

Files are replaced whole (write beside, rename), so a crash leaves the old or the new one. They are not synced to disk:
after a loss of power no process of ours runs any more anyway, and a container without a readable record is garbage.
"""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec

from krater.agent.runtimes.interfaces import ContainerConfig
from krater.agent.runtimes.oci import spec
from krater.agent.runtimes.oci.layout import ContainerPaths
from krater.agent.runtimes.oci.processes import Identity
from krater.model.assignment import ContainerState, ObservedContainer
from krater.model.image import ImageFacts

KILLED: Final = 137  # what is told when nobody was left to write the exit code down
NODE_RESTARTED: Final = "It ended with its node, which restarted."
MONITOR_LOST: Final = "It was killed together with the process that watches it; nobody knows how it ended."
_PORT: Final = re.compile(r"[0-9]{1,5}")  # not `isdigit`: an image may say `²/tcp`, which is a digit but no number


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """`container.json`: written once, when the container is made."""

    config: ContainerConfig
    image: ImageFacts
    chain: str
    lowers: tuple[str, ...]
    command: tuple[str, ...]
    entrypoint: tuple[str, ...]

    @property
    def cgroup(self) -> str:
        """The name of its control group."""
        return spec.cgroup(self.config)


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """`process.json`: the last start. Written before anything is started (then `process` is None), and again after.

    `error` tells why a start failed before the process ran, `exit_code` what a shell would make of that. `cut_off`
    tells why it was stopped, or is to be, though nobody asked for that. `asked_at` is when it was asked to end, in
    seconds since the machine started.
    """

    run: int
    attempt: int
    boot: str
    process: Identity | None = None
    monitor: Identity | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None
    exit_code: int | None = None
    cut_off: str | None = None
    asked_at: float | None = None


Record = TypeVar("Record")


class Shelf:
    """Reads and writes records. What was read is kept for as long as its file stays the same."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[tuple[int, int, int], Any]] = {}

    def read(self, path: str, kind: type[Record]) -> Record | None:
        """The record at `path`; None when there is none, or none that can be read."""
        try:
            stat = os.stat(path)
            version = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            kept = self._kept.get(path)
            if kept is not None and kept[0] == version and isinstance(kept[1], kind):
                return kept[1]
            with open(path, "rb") as file:
                record = msgspec.json.decode(file.read(), type=kind)
        except (FileNotFoundError, NotADirectoryError):
            self._kept.pop(path, None)
            return None
        except msgspec.MsgspecError:
            return None
        self._kept[path] = (version, record)
        return record

    def write(self, path: str, record: object) -> None:
        """Replace the record at `path`."""
        write_file(path, msgspec.json.encode(record))

    def forget(self, *paths: str) -> None:
        """Keep nothing of these paths any more."""
        for path in paths:
            self._kept.pop(path, None)


def write_file(path: str, content: bytes, mode: int = 0o600) -> None:
    """Replace a file in one step."""
    beside = f"{path}.new"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        _write_all(descriptor, content)
    finally:
        os.close(descriptor)
    os.replace(beside, path)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


@dataclass(frozen=True, slots=True)
class Ending:
    """What conmon wrote of a process that ended."""

    exit_code: int
    at: datetime


def read_ending(paths: ContainerPaths) -> Ending | None:
    """The ending of the last process, or None when it has not been written."""
    path = f"{paths.run}/exit"
    try:
        with open(path) as file:
            text = file.read()
            at = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
    except FileNotFoundError:
        return None
    with suppress(ValueError):
        return Ending(int(text), at)
    return None  # being written right now


def note_out_of_memory(paths: ContainerPaths) -> None:
    """Write down that the kernel killed a process of the container for want of memory."""
    if os.path.isdir(paths.run):
        write_file(f"{paths.run}/oom-killed", b"")


def was_out_of_memory(record: ContainerRecord, paths: ContainerPaths, oom_kills: Callable[[], int]) -> bool:
    """Whether conmon, or we, saw the kernel kill a process of the container for want of memory.

    conmon is told when memory ran out in a group, whoever of it was killed. So of a container with a group it is the
    kernel's count that decides; it is read first, because it is gone when we have written it down.
    """
    if os.path.exists(f"{paths.run}/oom") and (record.config.group is None or oom_kills() > 0):
        return True
    return os.path.exists(f"{paths.run}/oom-killed")


def observe(
    record: ContainerRecord,
    last: ProcessRecord | None,
    paths: ContainerPaths,
    boot: str,
    is_paused: Callable[[], bool],
    oom_kills: Callable[[], int] = int,
) -> ObservedContainer:
    """The state of a container, from its files and its process. `is_paused` and `oom_kills` ask its control group."""
    seen = ObservedContainer(
        id=record.config.id,
        rebuild=record.config.rebuild,
        state=ContainerState.CREATED,
        image_digest=record.image.digest,
        command=record.command,
        entrypoint=record.entrypoint,
        ports=exposed_ports(record.image),
        cpu=record.config.spec.limit.cpu,
        memory=record.config.spec.limit.memory,
    )
    if last is None:
        return seen
    change: dict[str, Any] = {"run": last.run, "attempt": last.attempt, "started_at": last.started_at}
    change["cut_off"] = last.cut_off
    if last.error is not None:
        change |= {"state": ContainerState.EXITED, "error": last.error}
        change |= {"exit_code": last.exit_code, "finished_at": last.finished_at}
    elif last.process is None:
        return seen  # we died while starting it; `start` cleans up and does it again
    else:
        change |= _running_or_not(last, last.process, paths, boot, is_paused)
        change["oom_killed"] = was_out_of_memory(record, paths, oom_kills)
    return replace(seen, **change)


def _running_or_not(
    last: ProcessRecord, process: Identity, paths: ContainerPaths, boot: str, is_paused: Callable[[], bool]
) -> dict[str, Any]:
    ending = read_ending(paths)
    if ending is None and last.boot == boot:
        if process.alive:
            state = ContainerState.PAUSED if is_paused() else ContainerState.RUNNING
            return {"state": state, "pid": process.pid, "is_ending": last.asked_at is not None}
        if last.monitor is not None and last.monitor.alive:  # about to write the ending
            ending = read_ending(paths)
            if ending is None:
                return {"state": ContainerState.RUNNING}
        ending = read_ending(paths)  # it may have been written between the first look and the process's end
    if ending is None:
        # its monitor was killed too, or the machine restarted: no `error`, because it did run and may run again
        return {
            "state": ContainerState.EXITED,
            "exit_code": KILLED,
            "finished_at": last.finished_at,
            "cut_off": last.cut_off or (MONITOR_LOST if last.boot == boot else NODE_RESTARTED),
        }
    return {"state": ContainerState.EXITED, "exit_code": ending.exit_code, "finished_at": ending.at}


def exposed_ports(image: ImageFacts) -> tuple[int, ...]:
    """The numbers of an image's exposed ports (`80/tcp`), sorted."""
    heads = {port.partition("/")[0] for port in image.exposed_ports}
    numbers = {int(head) for head in heads if _PORT.fullmatch(head)}
    return tuple(sorted(number for number in numbers if 0 < number < 1 << 16))
