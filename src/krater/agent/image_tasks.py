"""Images that an operator wants on this node, or wants gone, and what images there are."""

import asyncio
from collections.abc import Iterable, Sequence

import structlog

from krater.agent.executor import reason_of, unexpected
from krater.agent.logins import asking
from krater.agent.runtimes.interfaces import Runtime
from krater.bus.interfaces import CONTROLLER, Bus
from krater.bus.messages import ImageTask, SendImages
from krater.errors import Invalid, Permanent, Rejected, Unavailable
from krater.model.assignment import NodeImage
from krater.model.image import parse_image
from krater.model.workload import PullPolicy

_log = structlog.get_logger(__name__)

_TIMEOUT = 30.0
_PAUSE = 3.0
_AT_ONCE = 3


class ImageTasks:
    """Does the tasks, and tells the controller which images the node has whenever that changed.

    `patience` is how long, in seconds, a registry is asked before it is told that it does not give an image.
    """

    def __init__(self, node: str, bus: Bus, runtime: Runtime, patience: float = 10.0) -> None:
        self._node = node
        self._bus = bus
        self._runtime = runtime
        self._tasks: dict[str, ImageTask] = {}
        self._failures: dict[str, str] = {}
        self._unserved_since: dict[str, float] = {}
        self._patience = patience
        self._done: set[str] = set()
        self._under_way: set[str] = set()
        self._sent: tuple[tuple[NodeImage, ...], tuple[tuple[str, str], ...]] | None = None
        self._wake = asyncio.Event()
        self._room = asyncio.Semaphore(_AT_ONCE)

    def accept(self, tasks: Iterable[ImageTask]) -> None:
        """All tasks there are, from a complete answer. All are looked at and told again: some may have been lost."""
        self._tasks = {task.id: task for task in tasks}
        self._failures = {key: reason for key, reason in self._failures.items() if key in self._tasks}
        self._unserved_since = {key: since for key, since in self._unserved_since.items() if key in self._tasks}
        self._done.clear()
        self._sent = None
        self._wake.set()

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
        if not due:
            return
        present = {_canonical(image.name) for image in await self._runtime.images()}
        for task in due:
            self._under_way.add(task.id)
            group.create_task(self._do(task, _canonical(task.name) in present))

    async def _do(self, task: ImageTask, is_present: bool) -> None:
        try:
            async with self._room:
                if task.wanted and not is_present:
                    asker = asking(self._bus, self._node, "", None, "", task.name)
                    await self._runtime.ensure_image(task.name, PullPolicy.IF_NOT_PRESENT, None, asker)
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
