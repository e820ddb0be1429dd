"""Sessions of this node: who talks to which process. Opened by a message, reached once by a gateway, then gone.

A session is a few frames a gateway and a process exchange, both ways at the pace of the slower one. Only a container
that one is attached to does not wait for long: its output is for its log and for others too (`_Patience`).
"""

import asyncio
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from krater.agent.pumps import pump_output, take_input
from krater.agent.runtimes.interfaces import Engine, Stream
from krater.bus.messages import OpenExec
from krater.errors import KraterError, NotFound, Permanent, Unavailable
from krater.model import frames
from krater.model.frames import Opened

_log = structlog.get_logger(__name__)

SOCKET: Final = "streams.sock"
OPEN_FOR: Final = 75.0  # a little longer than a ticket for it is good
HELLO_WITHIN: Final = 10.0
MOST_OF_ONE_CONTAINER: Final = 128
_HELLO_SIZE: Final = 64
_LONGEST_PATH: Final = 107  # what the kernel takes for a socket
_LIMIT: Final = 256 * 1024


@dataclass(eq=False)
class Session:
    """One session. `asked` is the command to run, None to attach; `stream` is there once it was reached."""

    id: str
    container: str
    asked: OpenExec | None
    secret: str = field(repr=False)
    size: tuple[int, int] | None = None
    stream: Stream | None = None
    reached: bool = False
    expiry: asyncio.TimerHandle | None = None


class Streams:
    """All sessions, and the socket where gateways reach them: in `directory`, which only Krater may enter.

    `project` tells whose a container is: of the `most` there can be, half are nobody's alone.
    """

    def __init__(self, engine: Engine, directory: str, most: int, project: Callable[[str], str]) -> None:
        self._engine = engine
        self._directory = directory
        self._most = most
        self._project = project
        self._sessions: dict[str, Session] = {}
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many there are, reached or not."""
        return len(self._sessions)

    def open(self, container: str, asked: OpenExec | None) -> Opened:
        """A new session. Unavailable when there are too many."""
        of_this = sum(1 for session in self._sessions.values() if session.container == container)
        if len(self._sessions) >= self._most:
            raise Unavailable("The node of this container has as many consoles open as it may: try again later.")
        if of_this >= MOST_OF_ONE_CONTAINER:
            raise Unavailable(f"This container has {of_this} consoles open, and more it may not have: close some.")
        owner = self._project(container)
        of_owner = sum(1 for session in self._sessions.values() if self._project(session.container) == owner)
        if of_owner >= max(1, self._most // 2):
            raise Unavailable("The project has as many consoles open on this node as it may: close some.")
        session = Session(secrets.token_hex(32), container, asked, secrets.token_hex(32))
        session.size = asked.size if asked is not None else None
        session.expiry = asyncio.get_running_loop().call_later(OPEN_FOR, self._expire, session.id)
        self._sessions[session.id] = session
        return Opened(session.id, session.secret, f"unix:{SOCKET}")

    def resize(self, container: str, session: str, rows: int, columns: int) -> None:
        """Another size of a command's terminal, which may not have started yet. NotFound."""
        found = self._sessions.get(session)
        if found is None or found.container != container or found.asked is None:
            raise NotFound(f"There is no session {session} of container {container}.")
        found.size = (rows, columns)
        if found.stream is not None:
            found.stream.resize(rows, columns)

    def _expire(self, session: str) -> None:
        found = self._sessions.get(session)
        if found is not None and not found.reached:
            del self._sessions[session]

    async def run(self) -> None:
        """Be there for gateways."""
        if not self._directory:
            return
        path = await asyncio.to_thread(self._prepare)
        server = await asyncio.start_unix_server(self._reached, path, limit=_LIMIT)
        await asyncio.to_thread(os.chmod, path, 0o600)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def _prepare(self) -> str:
        """The socket's path, with nobody there any more."""
        directory = Path(self._directory)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = str(directory / SOCKET)
        if len(os.fsencode(path)) > _LONGEST_PATH:
            raise Permanent(f"[DEFAULT] run_directory: {directory} is too long a path for a socket in it")
        Path(path).unlink(missing_ok=True)
        return path

    async def _reached(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._running.add(task)
        try:
            session = await self._admitted(reader)
            if session is not None:
                await self._serve(session, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError, ValueError, asyncio.CancelledError):
            pass  # the gateway, or what it stands for, is gone, or we are going
        except Exception:
            _log.exception("a console failed")
        finally:
            if task is not None:
                self._running.discard(task)
            writer.close()

    async def _admitted(self, reader: asyncio.StreamReader) -> Session | None:
        """The session whose id and secret the other side says, once; anybody else learns nothing."""
        async with asyncio.timeout(HELLO_WITHIN):
            said = await reader.readexactly(_HELLO_SIZE)
        found = self._sessions.get(said[:32].hex())
        expected = bytes.fromhex(found.secret) if found is not None else bytes(32)
        if not secrets.compare_digest(said[32:], expected) or found is None or found.reached:
            return None
        found.reached = True
        if found.expiry is not None:
            found.expiry.cancel()
        return found

    async def _serve(self, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            stream = await self._streams_of(session)
        except KraterError as error:
            writer.write(frames.packed(frames.REFUSED, error.message.encode()))
            await writer.drain()
            return
        finally:
            if session.stream is None:
                self._sessions.pop(session.id, None)
        try:
            if session.size is not None:
                stream.resize(*session.size)
            await _exchange(stream, reader, writer, waits=session.asked is not None)
        finally:
            self._sessions.pop(session.id, None)
            await stream.close()

    async def _streams_of(self, session: Session) -> Stream:
        asked = session.asked
        if asked is None:
            session.stream = await self._engine.attach(session.container)
        else:
            size = session.size if asked.tty else None
            session.stream = await self._engine.start_exec(session.container, asked.command, asked.tty, size)
        return session.stream


async def _exchange(stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, waits: bool) -> None:
    """Until the process has said all, or the other side is gone."""
    output = asyncio.ensure_future(pump_output(stream, writer, waits=waits))
    entered = asyncio.ensure_future(take_input(stream, reader))
    try:
        await asyncio.wait((output, entered), return_when=asyncio.FIRST_COMPLETED)
        if output.done():
            output.result()
    finally:
        await _ended(output, entered)


async def _ended(*tasks: "asyncio.Future[None]") -> None:
    for task in tasks:
        task.cancel()
    results: Sequence[object] = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception) and not isinstance(
            result, ConnectionError | asyncio.IncompleteReadError | ValueError
        ):
            raise result
