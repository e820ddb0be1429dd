"""Uploads of images to registries: begun at once, kept in memory only, asked after by whoever began them.

An upload that ends with this process leaves nothing here and nothing that counts at the registry; it is begun again by
its owner. So its credentials are never stored.
"""

import asyncio
import time
from dataclasses import dataclass

import structlog

from krater.agent.executor import reason_of, unexpected
from krater.agent.runtimes.interfaces import Engine, PullProgress, PushTarget
from krater.agent.shares import Shares
from krater.bus.messages import ProgressAnswer
from krater.errors import Conflict

_log = structlog.get_logger(__name__)

_AT_ONCE, _AT_ONCE_OF_ONE_PROJECT = 4, 2
_MOST = 64  # half of them at most a project's: its registry may be one that never answers
_KEPT = 600.0
_WITHIN = 3600.0


@dataclass(slots=True)
class _Upload:
    task: asyncio.Task[None]
    owner: str
    seen: ProgressAnswer
    ended: float | None = None


class Uploads:
    """All that are under way, and what became of those that ended lately."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, _Upload] = {}
        self._room = Shares(_AT_ONCE, _AT_ONCE_OF_ONE_PROJECT)

    def begin(self, id: str, name: str, target: PushTarget) -> None:
        """Begin one. Conflict when there are too many."""
        self._forget()
        if len(self._known) >= _MOST:
            raise Conflict("Too many images are being pushed: try again when some of them have ended.")
        owner = name.rpartition("/")[0]  # projects' images are filed by project
        if sum(upload.owner == owner for upload in self._known.values()) >= _MOST // 2:
            raise Conflict("The project pushes as many images as it may: try again when some of them have ended.")
        task = asyncio.get_running_loop().create_task(self._run(id, name, target))
        self._known[id] = _Upload(task, owner, ProgressAnswer("working"))

    def progress(self, id: str) -> ProgressAnswer:
        """How far one is."""
        self._forget()
        found = self._known.get(id)
        return ProgressAnswer("unknown") if found is None else found.seen

    async def close(self) -> None:
        """Give up all."""
        tasks = [upload.task for upload in self._known.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, id: str, name: str, target: PushTarget) -> None:
        await asyncio.sleep(0)  # until it is known
        upload = self._known[id]

        def tell(seen: PullProgress) -> None:
            upload.seen = ProgressAnswer("working", seen.done, seen.total)

        try:
            async with self._room.taken(upload.owner), asyncio.timeout(_WITHIN):
                digest = await self._engine.push_image(name, target, tell)
            upload.seen = ProgressAnswer("done", upload.seen.total, upload.seen.total, digest=digest)
        except TimeoutError:
            upload.seen = ProgressAnswer("failed", reason=f"It was not done within {_WITHIN / 60:.0f} minutes.")
        except Exception as problem:
            if unexpected(problem) is not None:
                _log.exception("a push failed", image=name)
            upload.seen = ProgressAnswer("failed", reason=reason_of(problem))
        finally:
            upload.ended = time.monotonic()

    def _forget(self) -> None:
        now = time.monotonic()
        old = [id for id, upload in self._known.items() if upload.ended is not None and now - upload.ended > _KEPT]
        for id in old:
            del self._known[id]
