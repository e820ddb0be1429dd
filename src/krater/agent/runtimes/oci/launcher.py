"""Starts programs from a thread with a mount namespace of its own.

Only on hybrid hosts: crun refuses cgroup v1 while `/sys/fs/cgroup/unified` is there to see. A mount namespace belongs
to a thread, and what the thread spawns inherits it, so this costs no `nsenter` and no further exec. The namespace
receives our later mounts (slave propagation). On hosts with cgroup v2 alone nothing is unshared.
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from krater.agent.runtimes.oci import syscalls
from krater.errors import Temporary

UNIFIED: Final = "/sys/fs/cgroup/unified"
ENVIRONMENT: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C"}

Result = TypeVar("Result")


class Launcher:
    """One thread, kept for as long as the engine is open."""

    def __init__(self) -> None:
        self._is_apart = os.path.isdir(UNIFIED)
        self._thread = self._new_thread()

    def _new_thread(self) -> ThreadPoolExecutor:
        """Temporary when it cannot have a namespace of its own: told at the start, not by the first container."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="oci-launcher")
        try:
            thread.submit(_part_from_us).result()
        except OSError as error:
            thread.shutdown(wait=False)
            raise Temporary(f"the engine cannot have a mount namespace of its own: {error.strerror}") from error
        return thread

    async def ensure_sees(self, paths: Sequence[str]) -> None:
        """See to it that programs started from now on find at these paths what we find there.

        Where the host's mounts are not shared, one made after our thread's namespace is missing in that: a program
        would see the directory below it instead. Then a new thread with a new namespace takes over.
        """
        if self._is_apart and paths:
            here = await asyncio.to_thread(_identities, paths)
            if await self.run(lambda: _identities(paths)) != here:
                self.close()
                self._thread = await asyncio.to_thread(self._new_thread)

    def close(self) -> None:
        """End the thread. What it started goes on."""
        self._thread.shutdown(wait=False)

    async def spawn(
        self,
        arguments: Sequence[str],
        directory: str,
        *,
        descriptors: Mapping[int, int],
        more: Mapping[str, str] | None = None,
    ) -> int:
        """Start a program in a session of its own, in a directory; returns its pid, which the caller must reap.

        `descriptors` maps the program's descriptor numbers to ours; all others are closed in it.
        """
        environment = {**ENVIRONMENT, **(more or {})}
        actions = [(os.POSIX_SPAWN_DUP2, ours, theirs) for theirs, ours in descriptors.items()]

        def start() -> int:
            os.chdir(directory)  # of this thread alone
            return os.posix_spawn(arguments[0], list(arguments), environment, file_actions=actions, setsid=True)

        return await self.run(start)

    def call(self, function: Callable[[], Result]) -> Result:
        """Call a function on the thread from another one, and block until it returns."""
        return self._thread.submit(function).result()

    async def run(self, function: Callable[[], Result]) -> Result:
        """Call a short function on the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)


def _identities(paths: Sequence[str]) -> list[tuple[int, int] | None]:
    found: list[tuple[int, int] | None] = []
    for path in paths:
        try:
            stat = os.stat(path)
            found.append((stat.st_dev, stat.st_ino))
        except OSError:
            found.append(None)
    return found


def _part_from_us() -> None:
    """A working directory of the thread's own, and on hybrid hosts file systems without the unified one."""
    syscalls.unshare(syscalls.CLONE_FS)
    if not os.path.isdir(UNIFIED):
        return
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", None, syscalls.MS_SLAVE | syscalls.MS_REC)
    syscalls.umount(UNIFIED, syscalls.MNT_DETACH)
