"""Tells when containers change, from the kernel's own word that a process ended: nothing is polled."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import structlog

from krater.agent.runtimes.oci.processes import Identity, on_exit

EVENTS_KEPT: Final = 10_000

log = structlog.get_logger()


class Watch:
    """Watches one process for each running container, and hands ids of changed containers to who listens."""

    def __init__(self, settle: Callable[[str], Awaitable[None]]) -> None:
        self._settle = settle
        self._watched: dict[str, tuple[Identity, Callable[[], None]]] = {}
        self._listeners: set[asyncio.Queue[str]] = set()
        self._settling: set[asyncio.Task[None]] = set()

    def follow(self, container: str, monitor: Identity | None, process: Identity) -> None:
        """Watch a container that runs: its monitor, which ends after it has written the exit code.

        Should the monitor be killed, the container's own process is watched in its stead.
        """
        self.leave(container)

        def gone() -> None:
            self._watched.pop(container, None)
            if process.alive:
                self.follow(container, None, process)
            else:
                self._settle_soon(container)
            self.tell(container)

        subject = monitor if monitor is not None and monitor.alive else process
        cancel = on_exit(subject, gone)
        if cancel is None:
            gone()
        else:
            self._watched[container] = (subject, cancel)

    def follows(self, container: str) -> bool:
        """Whether it is being watched."""
        return container in self._watched

    def leave(self, container: str) -> None:
        """Watch it no more."""
        watched = self._watched.pop(container, None)
        if watched is not None:
            watched[1]()

    def tell(self, container: str) -> None:
        """Say that a container changed."""
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()  # events may be missed; memory may not grow for a listener that sleeps
            queue.put_nowait(container)

    def listen(self) -> AsyncIterator[str]:
        """Ids of containers, as they change from now on."""
        queue: asyncio.Queue[str] = asyncio.Queue(EVENTS_KEPT)
        self._listeners.add(queue)
        return self._drain(queue)

    async def _drain(self, queue: asyncio.Queue[str]) -> AsyncIterator[str]:
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)

    async def close(self) -> None:
        """Watch nothing any more."""
        for container in list(self._watched):
            self.leave(container)
        for task in list(self._settling):
            task.cancel()
        await asyncio.gather(*self._settling, return_exceptions=True)

    def _settle_soon(self, container: str) -> None:
        task = asyncio.get_running_loop().create_task(self._settle_one(container))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _settle_one(self, container: str) -> None:
        try:
            await self._settle(container)
        except Exception as error:
            log.warning("an ended container is not tidied up yet", container=container, error=str(error))
        self.tell(container)
