"""Live requests about this node's images."""

from collections.abc import Callable

from krater.agent.image_tasks import ImageTasks
from krater.agent.runtimes.interfaces import Engine, PushTarget
from krater.agent.uploads import Uploads
from krater.bus.interfaces import Handler
from krater.bus.messages import ImageProgress, ProgressAnswer, PushImage, ReadImage, ReadImageAnswer
from krater.errors import Unavailable

LARGEST_PIECE = 8 << 20


class ImageEndpoint:
    """Serves them. `is_open` tells whether the engine is there."""

    def __init__(self, engine: Engine, tasks: ImageTasks, uploads: Uploads, is_open: Callable[[], bool]) -> None:
        self._engine = engine
        self._tasks = tasks
        self._uploads = uploads
        self._is_open = is_open

    def handlers(self) -> dict[type, Handler]:
        """What is served, by message."""
        return {ImageProgress: self._progress, ReadImage: self._read, PushImage: self._push}

    async def _progress(self, message: ImageProgress) -> ProgressAnswer:
        found = self._uploads.progress(message.id)
        return found if found.state != "unknown" else self._tasks.progress(message.id)

    async def _read(self, message: ReadImage) -> ReadImageAnswer:
        self._require_open()
        length = min(message.length, LARGEST_PIECE)
        part = await self._engine.read_image(message.name, message.reference, message.offset, length)
        return ReadImageAnswer(part.content, part.total)

    async def _push(self, message: PushImage) -> None:
        self._require_open()
        target = PushTarget(message.reference, message.username, message.password)
        self._uploads.begin(message.id, message.name, target)

    def _require_open(self) -> None:
        if not self._is_open():
            raise Unavailable("The container engine of the node does not answer.")
