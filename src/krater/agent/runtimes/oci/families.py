"""Killing a command inside a container with all that it has started. Everything here blocks, for a moment."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from krater.agent.runtimes.oci.cgroups import Cgroups

STOPPED_WITHIN: Final = 1.0
_LOOK_EVERY: Final = 0.0005
_STILL: Final = ("T", "t", "Z", "X")


def kill_family(cgroups: Cgroups, cgroup: str, pid: int) -> None:
    """Kill a child of ours with all that it has started inside a container, and whoever shares a session with that."""

    def family() -> set[int]:
        offspring, inside = _offspring(pid), set(cgroups.pids(cgroup))
        return {pid} | offspring | _sessions(offspring & inside, inside)

    _kill(family)


def kill_session(cgroups: Cgroups, cgroup: str, pid: int) -> None:
    """Kill a process, if it is inside the container, with all that it started and that shares its session."""

    def session() -> set[int]:
        inside = set(cgroups.pids(cgroup))
        family = ({pid} | _offspring(pid)) & inside
        return family | _sessions(family, inside)

    if pid in cgroups.pids(cgroup):
        _kill(session)


def _kill(find: Callable[[], set[int]]) -> None:
    """Kill all that is found. All are stopped before, until there is nobody left who could start another.

    For no longer than STOPPED_WITHIN: a process elsewhere in the container may wake up whom we stop, again and again.
    """
    deadline, held = time.monotonic() + STOPPED_WITHIN, set[int]()
    while fresh := find() - held:
        _signal(fresh, signal.SIGSTOP)
        held |= fresh
        while not all(map(_is_still, held)) and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY)
        if time.monotonic() >= deadline:
            break
    _signal(held, signal.SIGKILL)


def _signal(members: set[int], number: int) -> None:
    for member in members:
        with suppress(ProcessLookupError):
            os.kill(member, number)


def _is_still(pid: int) -> bool:
    """Whether it does nothing more: a signal to stop takes effect a little later, it may start another until then."""
    return (_stat(pid) or [_STILL[0]])[0] in _STILL


def _stat(pid: int) -> list[str] | None:
    """What the kernel tells of a process from its state on; None when it is gone."""
    with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].decode().split()
    return None


def _offspring(pid: int) -> set[int]:
    """All that a process has started and that has started since, as far as the kernel knows the family."""
    found: set[int] = set()
    due = [pid]
    while due:
        parent = due.pop()
        try:
            with open(f"/proc/{parent}/task/{parent}/children") as file:
                children = {int(child) for child in file.read().split()} - found
        except (FileNotFoundError, ProcessLookupError):
            continue
        found |= children
        due.extend(children)
    return found


def _sessions(members: set[int], candidates: set[int]) -> set[int]:
    """Candidates of the same sessions as `members`: what a command left behind when its parent ended before it."""
    stats = {pid: _stat(pid) for pid in candidates}
    sessions = {pid: int(stat[3]) for pid, stat in stats.items() if stat is not None}
    wanted = {sessions[pid] for pid in members if pid in sessions}
    return {pid for pid, session in sessions.items() if session in wanted}
