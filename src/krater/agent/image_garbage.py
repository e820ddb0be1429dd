"""Images that nobody uses go when the disk fills up: the one that was used longest ago first.

What was asked for through the API, what projects made, what an operator brought from an archive and what a container
has or is about to have stays, however full the disk is.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog

from krater.agent.image_tasks import ImageTasks
from krater.agent.runtimes.interfaces import Engine
from krater.model.assignment import NodeImage
from krater.model.image import is_own

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Marks:
    """Per cent of the disk: above `high` images go until it is at `low`. None that was used less than `age` s ago."""

    high: float
    low: float
    age: float


def doomed(
    images: Sequence[NodeImage], used: dict[str, float], spared: set[str], now: float, excess: int, age: float
) -> list[NodeImage]:
    """The images to drop, the one used longest ago first, until `excess` bytes are gained. Pure."""
    found: list[NodeImage] = []
    for image in sorted(images, key=lambda i: used.get(i.name, now)):
        if excess <= 0:
            break
        is_free = not image.kept and not is_own(image.name) and image.name not in spared
        if is_free and now - used.get(image.name, now) >= age:
            found.append(image)
            excess -= image.size
    return found


class ImageGarbage:
    """Looks from time to time. `in_use` names the images of all workloads of the node, as nodes know them."""

    def __init__(
        self,
        engine: Engine,
        tasks: ImageTasks,
        in_use: Callable[[], Iterable[str]],
        directory: str,
        marks: Marks,
        clock: Callable[[], float] = time.monotonic,
        disk: Callable[[str], tuple[int, int]] | None = None,
    ) -> None:
        self._engine = engine
        self._tasks = tasks
        self._in_use = in_use
        self._directory = directory
        self._marks = marks
        self._clock = clock
        self._disk = disk or disk_of
        self._used: dict[str, float] = {}

    async def collect(self) -> None:
        """One look. Nothing goes before it is known what is asked for."""
        images = await self._engine.images()
        now, spared = self._clock(), self._spared()
        present = {image.name for image in images}
        self._used = {name: now if name in spared else self._used.get(name, now) for name in present}
        size, used = self._disk(self._directory)
        if not self._tasks.has_answer or not size or 100 * used / size <= self._marks.high:
            return
        excess = int(used - size * self._marks.low / 100)
        for image in doomed(images, self._used, spared, now, excess, self._marks.age):
            if image.name not in self._spared():  # asked for while another was being removed
                _log.info("dropping an image that nobody uses: the disk is full", image=image.name, size=image.size)
                await self._engine.remove_image(image.name)

    def _spared(self) -> set[str]:
        return {*self._tasks.wanted(), *self._in_use()}


def disk_of(directory: str) -> tuple[int, int]:
    """Bytes there are and bytes in use of the file system of a directory."""
    found = os.statvfs(directory)
    return found.f_blocks * found.f_frsize, (found.f_blocks - found.f_bavail) * found.f_frsize
