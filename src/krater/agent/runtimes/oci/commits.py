"""Images made of containers: the container is held still while its layer is written, and no longer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from krater.agent.runtimes.oci.images import commit
from krater.agent.runtimes.oci.images.store import ImageStore
from krater.agent.runtimes.oci.images.transfers import Transfers
from krater.agent.runtimes.oci.lifecycle import Lifecycle
from krater.agent.runtimes.oci.state import ContainerRecord
from krater.agent.runtimes.oci.threads import Threads
from krater.errors import Temporary
from krater.model.assignment import NodeImage


class Commits:
    """Makes them."""

    def __init__(
        self, lifecycle: Lifecycle, images: ImageStore, threads: Threads, is_written: Callable[[str], bool]
    ) -> None:
        """`is_written` tells whether files are just being copied into a container, past its processes."""
        self._lifecycle = lifecycle
        self._transfers = Transfers(images)
        self._threads = threads
        self._is_written = is_written

    async def commit(self, container: str, name: str, limit: int) -> NodeImage:
        """Make one. Temporary when somebody wanted the container stopped or removed meanwhile: that goes first."""
        work = asyncio.ensure_future(self._commit(container, name, limit))
        try:
            return await work
        except asyncio.CancelledError:
            this = asyncio.current_task()
            if work.cancelled() and (this is None or not this.cancelling()):
                raise Temporary("the container was stopped or removed meanwhile") from None
            raise
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _commit(self, container: str, name: str, limit: int) -> NodeImage:
        record, this = self._lifecycle.record_of(container), asyncio.current_task()

        @asynccontextmanager
        async def stilled() -> AsyncIterator[commit.Changes]:
            task: asyncio.Future[Any] = this if this is not None else asyncio.Future()
            async with self._lifecycle.still(container, task) as paths:
                if self._is_written(container):
                    raise Temporary("files are just being copied into the container; try again")
                await self._threads.run(commit.check_size, paths.upper, limit)
                yield _changes(self._lifecycle.record_of(container), paths.upper)

        return await self._transfers.commit(name, record.image.digest, stilled)


def _changes(record: ContainerRecord, upper: str) -> commit.Changes:
    spec = record.config.spec
    return commit.Changes(
        upper, record.lowers, record.entrypoint, record.command, spec.environment, spec.labels, spec.workdir
    )
