"""How a process is brought to its end: asked once, given its time, then killed. Whoever asked it may die meanwhile."""

import asyncio
import signal
import time
from contextlib import suppress
from dataclasses import replace
from typing import Final

from krater.agent.runtimes.oci.cgroups import Cgroups
from krater.agent.runtimes.oci.layout import ContainerPaths
from krater.agent.runtimes.oci.processes import Identity, ended, send_signal, signal_has_effect
from krater.agent.runtimes.oci.state import ContainerRecord, ProcessRecord, Shelf
from krater.agent.runtimes.oci.threads import Threads
from krater.errors import Temporary

KILLED_WITHIN: Final = 10.0
MONITOR_WRITES_WITHIN: Final = 5.0


class Endings:
    """Ends processes. When one was asked to end is in its record, so that its time goes on after a crash of ours."""

    def __init__(self, threads: Threads, cgroups: Cgroups, shelf: Shelf) -> None:
        self._threads = threads
        self._cgroups = cgroups
        self._shelf = shelf

    async def end(
        self, record: ContainerRecord, last: ProcessRecord, process: Identity, paths: ContainerPaths, grace: float
    ) -> None:
        """It has `grace` seconds from when it is asked, or was: by another life of ours, or with another grace."""
        threads, cgroups, cgroup = self._threads, self._cgroups, record.cgroup
        frozen = await threads.run(cgroups.frozen, cgroup)
        asked_at = None if frozen else last.asked_at  # that one, if it was asked, could not heed it
        if grace > 0 and asked_at is None:
            asked_at = await self._asked(last, process, paths, stop_signal(record))
        if frozen:
            await threads.run(cgroups.freeze, cgroup, False)
        left = 0.0 if asked_at is None else min(grace, asked_at + grace - _now())
        if left > 0 and await ended(process, left):
            return
        await threads.run(cgroups.kill, cgroup)
        if not await ended(process, KILLED_WITHIN):
            raise Temporary("the container's process does not end although it was killed")

    async def spare(self, last: ProcessRecord, paths: ContainerPaths) -> None:
        """It is to go on after all: should it be asked to end another time, it has all its time again."""
        if last.asked_at is not None:
            await self._threads.run(self._shelf.write, paths.process, replace(last, asked_at=None))

    async def _asked(self, last: ProcessRecord, process: Identity, paths: ContainerPaths, number: int) -> float | None:
        """Ask, and write it down, all of it even if whoever wanted that gives up: the record is the next one's then."""
        asking = asyncio.ensure_future(self._threads.run(self._ask, last, process, paths, number))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            await asyncio.gather(asking, return_exceptions=True)
            raise

    def _ask(self, last: ProcessRecord, process: Identity, paths: ContainerPaths, number: int) -> float | None:
        """When it was asked, None if there is nothing to wait for. Written then: better asked twice than never."""
        if not (signal_has_effect(process.pid, number) and send_signal(process, number)):
            return None
        asked_at = _now()
        with suppress(OSError):  # a full disk, say: it must not keep anything from ending
            self._shelf.write(paths.process, replace(last, asked_at=asked_at))
        return asked_at


async def written(monitor: Identity | None) -> None:
    """Wait until the monitor has written the exit code, which it does at once."""
    if monitor is not None and not await ended(monitor, MONITOR_WRITES_WITHIN):
        send_signal(monitor, signal.SIGKILL)
        await ended(monitor, MONITOR_WRITES_WITHIN)


def stop_signal(record: ContainerRecord) -> int:
    """The number of the signal that an image wants to be stopped by: `SIGINT`, `INT` or `2`."""
    wanted = record.image.stop_signal.upper()
    if wanted.isascii() and wanted.isdigit() and len(wanted) <= 3:
        return int(wanted) if 0 < int(wanted) < signal.NSIG else signal.SIGTERM
    name = wanted if wanted.startswith("SIG") else f"SIG{wanted}"
    return next((s for s in signal.Signals if s.name == name), signal.SIGTERM)


def _now() -> float:
    """The machine's own clock, which is the same for all processes and which nobody sets."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)
