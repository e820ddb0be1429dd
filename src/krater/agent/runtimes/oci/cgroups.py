"""Control groups of containers, version 1 and 2: what they use, their limits, freezing, killing, removing.

Reading and writing a few files of the kernel; all of it is quick. A container's group is `/PARENT/NAME` in every
hierarchy, where NAME is its id or, of one that shares limits with others, that of their group and its own: `GROUP/ID`.
What is gone already counts as done.
"""

import errno
import glob
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from krater.errors import Temporary

ROOT: Final = "/sys/fs/cgroup"
MIB: Final = 1024 * 1024
PERIOD: Final = 100_000
SMALLEST_QUOTA: Final = 1000
KILL_WITHIN: Final = 5.0
UNLIMITED: Final = 1 << 60


@dataclass(frozen=True, slots=True)
class Usage:
    """What a group has used: nanoseconds of processor, bytes of memory (and its limit, 0 if none), bytes of disk."""

    cpu: int
    memory: int
    memory_limit: int
    read: int
    written: int


class Cgroups(Protocol):
    """One host's hierarchies."""

    kind: str
    limits_swap: bool

    def pids(self, name: str) -> list[int]: ...
    def frozen(self, name: str) -> bool: ...
    def freeze(self, name: str, frozen: bool) -> None: ...
    def oom_kills(self, name: str) -> int: ...
    def usage(self, name: str) -> Usage: ...
    def limit(self, name: str, cpu: float, memory: int, share: float | None = None) -> None: ...
    def kill(self, name: str) -> None: ...
    def remove(self, name: str) -> None: ...
    def remove_empty(self, name: str) -> bool: ...
    def find(self, container: str) -> str: ...


def detect(parent: str) -> Cgroups:
    """The hierarchies of this host."""
    if os.path.exists(f"{ROOT}/cgroup.controllers"):
        return Version2(f"{ROOT}/{parent}")
    return Version1(parent)


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError, OSError):
        return ""


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _number(text: str) -> int:
    text = text.strip()
    return int(text) if text.isdigit() else 0


def _fields(text: str) -> dict[str, int]:
    pairs = (line.split() for line in text.splitlines())
    return {p[0]: int(p[1]) for p in pairs if len(p) == 2 and p[1].isdigit()}


def _groups(directory: str) -> Iterator[str]:
    """A group and all below it, innermost first."""
    try:
        entries = [e.path for e in os.scandir(directory) if e.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return
    for entry in entries:
        yield from _groups(entry)
    yield directory


def _pids(directory: str) -> list[int]:
    return [int(p) for group in _groups(directory) for p in _read(f"{group}/cgroup.procs").split()]


def _remove(directory: str) -> None:
    deadline = time.monotonic() + KILL_WITHIN
    for group in _groups(directory):
        while True:
            try:
                os.rmdir(group)
            except FileNotFoundError:
                pass
            except OSError as error:  # processes that were killed leave a moment later
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise Temporary(f"cannot remove the control group: {error.strerror}") from error
                time.sleep(0.002)
                continue
            break


def _remove_empty(directory: str) -> bool:
    """Remove a group that has none below it; False when it has."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        raise Temporary(f"cannot remove the control group: {error.strerror}") from error
    return True


def _find(directory: str, container: str) -> str:
    """The name of a container's group, by looking at what is there."""
    if not os.path.isdir(f"{directory}/{container}"):
        with suppress(FileNotFoundError):
            for entry in os.scandir(directory):
                if entry.is_dir() and os.path.isdir(f"{entry.path}/{container}"):
                    return f"{entry.name}/{container}"
    return container


def _shares(cores: float) -> int:
    return max(2, round(cores * 1024)) if cores else 1024


def _quota(cpu: float) -> int:
    """Microseconds of a period; the kernel takes no less than one millisecond."""
    return max(SMALLEST_QUOTA, round(cpu * PERIOD))


def _kill_all(directory: str) -> None:
    deadline = time.monotonic() + KILL_WITHIN
    while pids := _pids(directory):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise Temporary("processes of the container do not end although they were killed")
        time.sleep(0.002)


def _refused(error: OSError, memory: int) -> Temporary:
    if error.errno == errno.EBUSY:
        return Temporary(f"the container uses more than {memory} MiB of memory now")
    return Temporary(f"cannot set the limits: {error.strerror}")


class Version2:
    """The unified hierarchy."""

    kind = "v2"

    def __init__(self, parent: str) -> None:
        self._parent = parent
        # only groups below the root have the file, and none where the kernel does not count swap
        self.limits_swap = bool(glob.glob(f"{os.path.dirname(parent)}/*/memory.swap.max"))

    def _at(self, name: str) -> str:
        return f"{self._parent}/{name}"

    def pids(self, name: str) -> list[int]:
        """Processes of the group and of those below it."""
        return _pids(self._at(name))

    def frozen(self, name: str) -> bool:
        """Whether it is frozen, or about to be."""
        return _read(f"{self._at(name)}/cgroup.freeze").strip() == "1"

    def freeze(self, name: str, frozen: bool) -> None:
        """Freeze or thaw it; frozen means that all of it is."""
        _write(f"{self._at(name)}/cgroup.freeze", "1" if frozen else "0")
        deadline = time.monotonic() + KILL_WITHIN
        while frozen and not _fields(_read(f"{self._at(name)}/cgroup.events")).get("frozen"):
            if time.monotonic() > deadline:
                _write(f"{self._at(name)}/cgroup.freeze", "0")
                raise Temporary("the container's processes cannot be frozen now")
            time.sleep(0.002)

    def oom_kills(self, name: str) -> int:
        """How many processes of it were killed for want of memory."""
        return _fields(_read(f"{self._at(name)}/memory.events")).get("oom_kill", 0)

    def usage(self, name: str) -> Usage:
        """What it uses."""
        group = self._at(name)
        cpu = _fields(_read(f"{group}/cpu.stat")).get("usage_usec", 0) * 1000
        cache = _fields(_read(f"{group}/memory.stat")).get("inactive_file", 0)
        memory = max(0, _number(_read(f"{group}/memory.current")) - cache)
        read = written = 0
        for line in _read(f"{group}/io.stat").splitlines():
            values = dict(pair.split("=", 1) for pair in line.split()[1:] if "=" in pair)
            read += _number(values.get("rbytes", ""))
            written += _number(values.get("wbytes", ""))
        return Usage(cpu, memory, _number(_read(f"{group}/memory.max")), read, written)

    def limit(self, name: str, cpu: float, memory: int, share: float | None = None) -> None:
        """Set new limits; 0 is none. `share` is how many cores it counts for beside others: `cpu`, if not told."""
        group = self._at(name)
        is_new = memory > 0 and _number(_read(f"{group}/memory.max")) != memory * MIB
        if is_new and _number(_read(f"{group}/memory.current")) > memory * MIB:
            raise Temporary(f"the container uses more than {memory} MiB of memory now")  # the kernel would kill it
        shares = _shares(cpu if share is None else share)
        try:
            _write(f"{group}/cpu.max", f"{_quota(cpu) if cpu else 'max'} {PERIOD}")
            _write(f"{group}/cpu.weight", str(1 + (shares - 2) * 9999 // 262142))
            _write(f"{group}/memory.max", str(memory * MIB) if memory else "max")
            if os.path.exists(f"{group}/memory.swap.max"):
                _write(f"{group}/memory.swap.max", "0" if memory else "max")
        except OSError as error:
            raise _refused(error, memory) from error

    def kill(self, name: str) -> None:
        """Kill every process of it; returns when none is left."""
        with suppress(OSError):  # kernels before 5.14 lack it; the loop below does the same, one by one
            _write(f"{self._at(name)}/cgroup.kill", "1")
        _kill_all(self._at(name))

    def remove(self, name: str) -> None:
        """Remove the group; it must be empty, or about to be."""
        _remove(self._at(name))

    def remove_empty(self, name: str) -> bool:
        """Remove a group of groups if there is none in it any more; whether it is gone."""
        return _remove_empty(self._at(name))

    def find(self, container: str) -> str:
        """The name of the group of a container of which nothing is written down."""
        return _find(self._parent, container)


class Version1:
    """A hierarchy for each controller."""

    kind = "v1"

    def __init__(self, parent: str) -> None:
        self._parent = parent
        # a controller may have several names, links to one directory; the unified one is hidden from the runtime
        self._hierarchies = [
            entry.path for entry in os.scandir(ROOT) if entry.is_dir(follow_symlinks=False) and entry.name != "unified"
        ]
        self.limits_swap = os.path.exists(f"{ROOT}/memory/memory.memsw.limit_in_bytes")

    def _at(self, controller: str, name: str) -> str:
        return f"{ROOT}/{controller}/{self._parent}/{name}"

    def pids(self, name: str) -> list[int]:
        """Processes of the group and of those below it."""
        return _pids(self._at("freezer", name))

    def frozen(self, name: str) -> bool:
        """Whether it is frozen, or about to be."""
        return _read(f"{self._at('freezer', name)}/freezer.state").startswith("FR")

    def freeze(self, name: str, frozen: bool) -> None:
        """Freeze or thaw it; frozen means that all of it is."""
        path = f"{self._at('freezer', name)}/freezer.state"
        wanted = "FROZEN" if frozen else "THAWED"
        deadline = time.monotonic() + KILL_WITHIN
        _write(path, wanted)
        while _read(path).strip() != wanted:
            if time.monotonic() > deadline:
                _write(path, "THAWED")
                raise Temporary("the container's processes cannot be frozen now")
            time.sleep(0.002)
            _write(path, wanted)

    def oom_kills(self, name: str) -> int:
        """How many processes of it were killed for want of memory."""
        return _fields(_read(f"{self._at('memory', name)}/memory.oom_control")).get("oom_kill", 0)

    def usage(self, name: str) -> Usage:
        """What it uses."""
        group = self._at("memory", name)
        cache = _fields(_read(f"{group}/memory.stat")).get("total_inactive_file", 0)
        memory = max(0, _number(_read(f"{group}/memory.usage_in_bytes")) - cache)
        limit = _number(_read(f"{group}/memory.limit_in_bytes"))
        read = written = 0
        blkio = f"{self._at('blkio', name)}/blkio.throttle.io_service_bytes"
        for line in (_read(f"{blkio}_recursive") or _read(blkio)).splitlines():
            parts = line.split()
            if len(parts) == 3:
                read += int(parts[2]) if parts[1] == "Read" else 0
                written += int(parts[2]) if parts[1] == "Write" else 0
        cpu = _number(_read(f"{self._at('cpuacct', name)}/cpuacct.usage"))
        return Usage(cpu, memory, 0 if limit >= UNLIMITED else limit, read, written)

    def limit(self, name: str, cpu: float, memory: int, share: float | None = None) -> None:
        """Set new limits; 0 is none. `share` is how many cores it counts for beside others: `cpu`, if not told."""
        group = self._at("cpu", name)
        try:
            _write(f"{group}/cpu.cfs_period_us", str(PERIOD))
            _write(f"{group}/cpu.cfs_quota_us", str(_quota(cpu) if cpu else -1))
            _write(f"{group}/cpu.shares", str(_shares(cpu if share is None else share)))
            self._limit_memory(self._at("memory", name), memory * MIB if memory else -1)
        except OSError as error:
            raise _refused(error, memory) from error

    def _limit_memory(self, group: str, limit: int) -> None:
        files = [f"{group}/memory.limit_in_bytes"]
        if self.limits_swap:
            files.append(f"{group}/memory.memsw.limit_in_bytes")
        # memory with swap may never be less than memory alone: going up, it goes first
        if limit < 0 or limit > _number(_read(files[0])):
            files.reverse()
        for path in files:
            _write(path, str(limit))

    def kill(self, name: str) -> None:
        """Kill every process of it, thawed so that they can die; returns when none is left."""
        with suppress(FileNotFoundError):
            _write(f"{self._at('freezer', name)}/freezer.state", "THAWED")
        _kill_all(self._at("freezer", name))

    def remove(self, name: str) -> None:
        """Remove the group from every hierarchy; it must be empty, or about to be."""
        for hierarchy in self._hierarchies:
            _remove(f"{hierarchy}/{self._parent}/{name}")

    def remove_empty(self, name: str) -> bool:
        """Remove a group of groups from every hierarchy where there is none in it any more; whether it is gone."""
        return all([_remove_empty(f"{hierarchy}/{self._parent}/{name}") for hierarchy in self._hierarchies])

    def find(self, container: str) -> str:
        """The name of the group of a container of which nothing is written down."""
        return _find(f"{ROOT}/freezer/{self._parent}", container)
