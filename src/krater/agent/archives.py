"""Archives of containers' files, piece by piece: sessions that are bounded in number, and that end when nobody asks.

The bus carries one piece at a time in either direction, so nobody is ahead of anybody: as slow as the slowest of
reader, bus and disk, in the memory of a piece.
"""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final

import structlog

from krater.agent.runtimes.interfaces import ArchiveReader, ArchiveWriter, Engine
from krater.bus.archives import (
    LARGEST_PIECE,
    CloseArchive,
    FileStat,
    GetPiece,
    PackAnswer,
    PackFiles,
    PutPiece,
    UnpackFiles,
)
from krater.bus.interfaces import Handler
from krater.errors import Conflict, Invalid, NotFound, Unavailable

IDLE: Final = 60.0
MOST_SESSIONS: Final = 24
MOST_OF_PROJECT: Final = 12
MOST_OF_CONTAINER: Final = 4

_log = structlog.get_logger(__name__)


class _Session:
    """One archive under way. Its pieces are taken strictly one after the other."""

    def __init__(self, container: str, archive: ArchiveReader | ArchiveWriter) -> None:
        self.container = container
        self.archive = archive
        self.lock = asyncio.Lock()
        self.number = 0
        self.last = b""
        self.is_over = False
        self.timer: asyncio.TimerHandle | None = None


class Archives:
    """Serves the node's part of copying files. `is_open` tells whether the engine is there, `project` whose a container
    is. While an archive is begun, `furnished` has what the container mounts at its paths.
    """

    def __init__(
        self,
        engine: Engine,
        is_open: Callable[[], bool],
        project: Callable[[str], str],
        furnished: Callable[[str], AbstractAsyncContextManager[None]] = lambda container: nullcontext(),
        idle: float = IDLE,
    ) -> None:
        self._engine = engine
        self._is_open = is_open
        self._project = project
        self._furnished = furnished
        self._idle = idle
        self._sessions: dict[str, _Session] = {}
        self._opening: list[str] = []
        self._closing: set[asyncio.Task[None]] = set()

    def handlers(self) -> dict[type, Handler]:
        """What is served, by message."""
        return {
            PackFiles: self._pack,
            UnpackFiles: self._unpack,
            GetPiece: self._get,
            PutPiece: self._put,
            CloseArchive: self._close,
        }

    async def _pack(self, message: PackFiles) -> PackAnswer:
        await self._require(message.container)
        with self._room(message.container):
            async with self._furnished(message.container):
                reader = await self._engine.pack(message.container, message.path, message.limit)
            session = self._add(message.container, reader)
        found = reader.stat
        return PackAnswer(session, FileStat(found.name, found.size, found.mode, found.mtime, found.link_target))

    async def _unpack(self, message: UnpackFiles) -> str:
        await self._require(message.container)
        with self._room(message.container):
            async with self._furnished(message.container):
                writer = await self._engine.unpack(message.container, message.path, message.limit)
            return self._add(message.container, writer)

    async def _get(self, message: GetPiece) -> bytes:
        session = self._find(message.session)
        async with session.lock:
            self._touch(message.session, session)
            if message.number == session.number - 1:
                return session.last
            reader = session.archive
            if message.number != session.number or isinstance(reader, ArchiveWriter):
                raise Conflict("The pieces of an archive come one after the other.")
            try:
                session.last = await reader.read()
            except BaseException:
                await self._end(message.session)
                raise
            session.number += 1
            session.is_over = not session.last
            return session.last

    async def _put(self, message: PutPiece) -> None:
        if len(message.data) > LARGEST_PIECE:
            raise Invalid("A piece of an archive is too large.")
        session = self._find(message.session)
        async with session.lock:
            self._touch(message.session, session)
            if message.number == session.number - 1:
                return
            writer = session.archive
            if message.number != session.number or session.is_over or not isinstance(writer, ArchiveWriter):
                raise Conflict("The pieces of an archive come one after the other.")
            try:
                await writer.write(message.data)
                if message.is_last:
                    await writer.finish()
            except BaseException:
                await self._end(message.session)
                raise
            session.number += 1
            session.is_over = message.is_last

    async def _close(self, message: CloseArchive) -> None:
        await self._end(message.session)

    async def close(self) -> None:
        """End all."""
        for id in list(self._sessions):
            await self._end(id)

    def _room(self, container: str) -> "_Room":
        going = (session.container for session in self._sessions.values() if not session.is_over)
        under_way = [*self._opening, *going]
        if len(under_way) >= MOST_SESSIONS:
            raise Unavailable("The node is copying as many files as it can at once; try again in a moment.")
        if under_way.count(container) >= MOST_OF_CONTAINER:
            raise Conflict(f"Files of this container are being copied {MOST_OF_CONTAINER} times already.")
        owner = self._project(container)
        if sum(self._project(other) == owner for other in under_way) >= MOST_OF_PROJECT:
            raise Unavailable("The project copies as many files of this node as it can at once; try again in a moment.")
        return _Room(self._opening, container)

    def _add(self, container: str, archive: ArchiveReader | ArchiveWriter) -> str:
        id, session = secrets.token_hex(16), _Session(container, archive)
        self._sessions[id] = session
        self._touch(id, session)
        return id

    def _find(self, id: str) -> _Session:
        session = self._sessions.get(id)
        if session is None:
            raise NotFound("The copying has ended; begin again.", code="archive-ended")
        return session

    def _touch(self, id: str, session: _Session) -> None:
        """Somebody asks: it lives on for a while."""
        if session.timer is not None:
            session.timer.cancel()
        session.timer = asyncio.get_running_loop().call_later(self._idle, self._expire, id)

    def _expire(self, id: str) -> None:
        session = self._sessions.get(id)
        if session is None:
            return
        if session.lock.locked():  # the disk is slow, not the one who asks
            self._touch(id, session)
            return
        if not session.is_over:
            _log.info("files were being copied, but nobody asks any more", container=session.container)
        task = asyncio.get_running_loop().create_task(self._end(id))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _end(self, id: str) -> None:
        session = self._sessions.pop(id, None)
        if session is not None:
            if session.timer is not None:
                session.timer.cancel()
            await session.archive.close()

    async def _require(self, container: str) -> None:
        if not self._is_open():
            raise Unavailable("The container engine of the node does not answer.")
        if await self._engine.inspect(container) is None:
            raise NotFound(f"There is no container {container} on its node.")


class _Room:
    """Counts one that is being opened among those under way."""

    def __init__(self, opening: list[str], container: str) -> None:
        self._opening, self._container = opening, container

    def __enter__(self) -> None:
        self._opening.append(self._container)

    def __exit__(self, *_: object) -> None:
        self._opening.remove(self._container)
