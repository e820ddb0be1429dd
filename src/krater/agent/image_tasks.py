"""Images that somebody wants on this node, or wants gone, and what images there are.

An operator asks for those of registries; projects ask for images of their containers. Of the latter, what is not asked
for any more goes: nobody else can have put it there.
"""

import asyncio
from collections.abc import Iterable, Sequence

import structlog

from krater.agent.executor import reason_of, unexpected
from krater.agent.logins import asking
from krater.agent.runtimes.interfaces import Engine, PullProgress
from krater.agent.shares import Shares
from krater.bus.interfaces import CONTROLLER, Bus
from krater.bus.messages import ImageTask, ProgressAnswer, SendImages
from krater.errors import Invalid, Permanent, Rejected, Unavailable
from krater.model.assignment import NodeImage
from krater.model.image import is_own, parse_image
from krater.model.workload import PullPolicy

_log = structlog.get_logger(__name__)

_TIMEOUT = 30.0
_PAUSE = 3.0
_AT_ONCE = 3
_COMMITS_AT_ONCE, _COMMITS_OF_ONE_PROJECT = 2, 1


class ImageTasks:
    """Does the tasks, and tells the controller which images the node has whenever that changed.

    `patience` is how long, in seconds, a registry is asked before it is told that it does not give an image; `largest`
    is how many bytes a container may have written to become one.
    """

    def __init__(self, node: str, bus: Bus, runtime: Engine, patience: float = 10.0, largest: int = 10 << 30) -> None:
        self._node = node
        self._bus = bus
        self._runtime = runtime
        self._tasks: dict[str, ImageTask] = {}
        self._failures: dict[str, str] = {}
        self._unserved_since: dict[str, float] = {}
        self._patience, self._largest = patience, largest
        self._done: set[str] = set()
        self._under_way: set[str] = set()
        self._sent: tuple[tuple[NodeImage, ...], tuple[tuple[str, str], ...]] | None = None
        self._wake = asyncio.Event()
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._commit_room = Shares(_COMMITS_AT_ONCE, _COMMITS_OF_ONE_PROJECT)
        self._commits: dict[str, asyncio.Task[None]] = {}
        self._copied: set[str] = set()
        self._progress: dict[str, PullProgress] = {}
        self._has_answer = False

    def accept(self, tasks: Iterable[ImageTask]) -> None:
        """All tasks there are, from a complete answer. All are looked at and told again: some may have been lost."""
        self._tasks = {task.id: task for task in tasks}
        self._failures = {key: reason for key, reason in self._failures.items() if key in self._tasks}
        self._unserved_since = {key: since for key, since in self._unserved_since.items() if key in self._tasks}
        self._done.clear()
        self._has_answer = True
        for key in self._commits.keys() - self._tasks.keys():
            self._commits[key].cancel()
        self._sent = None
        self._wake.set()

    def wanted(self) -> set[str]:
        """Full names of the images that somebody asked for."""
        return {_canonical(task.name) for task in self._tasks.values() if task.wanted}

    @property
    def has_answer(self) -> bool:
        """Whether it is known at all what was asked for."""
        return self._has_answer

    def progress(self, id: str) -> ProgressAnswer:
        """How far a task is."""
        if id in self._failures:
            return ProgressAnswer("failed", reason=self._failures[id])
        if id in self._under_way:
            seen = self._progress.get(id, PullProgress(0, 0))
            return ProgressAnswer("working", seen.done, seen.total)
        return ProgressAnswer("unknown")

    def copies(self, container: str) -> bool:
        """Whether an image is just being made of this container."""
        return container in self._copied

    def expect(self, name: str) -> None:
        """A container is made of this image, so it is here: tell the controller, if it does not know."""
        if self._sent is not None and all(image.name != _canonical(name) for image in self._sent[0]):
            self._wake.set()

    def notice(self, images: Sequence[NodeImage]) -> None:
        """The images there are now: they may have changed behind our back."""
        if self._sent is not None and _in_order(images) != self._sent[0]:
            self._wake.set()

    async def run(self) -> None:
        """Do what is asked, for as long as the agent lives. A pull that takes long keeps nothing else waiting."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wake.wait()
                self._wake.clear()
                try:
                    await self._begin_due(group)
                    await self._tell()
                except Exception as problem:
                    self._try_later(problem)

    async def _begin_due(self, group: asyncio.TaskGroup) -> None:
        """Begin all that is neither done, nor failed, nor under way."""
        known = self._done | self._under_way | self._failures.keys()
        due = [task for task in self._tasks.values() if task.id not in known]
        present = {_canonical(image.name) for image in await self._runtime.images()}
        await self._drop_unknown(present)
        for task in due:
            self._under_way.add(task.id)
            doing = group.create_task(self._do(task, _canonical(task.name) in present))
            if task.source:
                self._commits[task.id] = doing

    async def _drop_unknown(self, present: Iterable[str]) -> None:
        """Projects' images that were deleted, or whose making was given up at the last moment."""
        known = {_canonical(task.name) for task in self._tasks.values()}
        for name in present:
            if self._has_answer and is_own(name) and name not in known:
                await self._runtime.remove_image(name)

    async def _do(self, task: ImageTask, is_present: bool) -> None:
        try:
            async with self._commit_room.taken(task.name.rpartition("/")[0]) if task.source else self._room:
                if task.wanted and not is_present:
                    await self._have(task)
                elif not task.wanted and is_present:
                    await self._runtime.remove_image(task.name)
            self._done.add(task.id)
            self._wake.set()
        except (Rejected, Permanent) as problem:
            self._failures[task.id] = problem.message
            self._wake.set()
        except Exception as problem:
            if self._was_refused_too_long(task, problem):
                self._failures[task.id] = reason_of(problem)
                self._wake.set()
            else:
                self._try_later(problem)
        finally:
            self._under_way.discard(task.id)
            self._commits.pop(task.id, None)
            self._progress.pop(task.id, None)

    async def _have(self, task: ImageTask) -> None:
        """Pull it, or make it."""
        if task.source:
            self._copied.add(task.source)
            try:
                made = await self._runtime.commit(task.source, task.name, self._largest)
            finally:
                self._copied.discard(task.source)
            _log.info("image made", container=task.source, image=task.id, size=made.size)
        else:

            def tell(seen: PullProgress) -> None:
                self._progress[task.id] = seen

            asker = asking(self._bus, self._node, "", None, "", task.name)
            await self._runtime.ensure_image(task.name, PullPolicy.IF_NOT_PRESENT, tell, asker)

    def _was_refused_too_long(self, task: ImageTask, problem: Exception) -> bool:
        """The same as for a container's image: an image store of ours that is down is waited for."""
        if not task.wanted or isinstance(problem, Unavailable):
            self._unserved_since.pop(task.id, None)
            return False
        now = asyncio.get_running_loop().time()
        return now - self._unserved_since.setdefault(task.id, now) >= self._patience

    def _try_later(self, problem: Exception) -> None:
        _log.warning("image tasks wait", reason=str(problem), exc_info=unexpected(problem))
        asyncio.get_running_loop().call_later(_PAUSE, self._wake.set)

    async def _tell(self) -> None:
        images = _in_order(await self._runtime.images())
        state = (images, tuple(sorted(self._failures.items())))
        if state != self._sent:
            await self._bus.call(CONTROLLER, SendImages(self._node, *state), _TIMEOUT)
            self._sent = state


def _in_order(images: Iterable[NodeImage]) -> tuple[NodeImage, ...]:
    return tuple(sorted(images, key=lambda image: image.name))


def _canonical(name: str) -> str:
    try:
        return parse_image(name).canonical
    except Invalid:
        return name
