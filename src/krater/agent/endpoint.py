"""Live requests to this node: answered now or refused, never stored."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from krater.agent.logs import LogReader
from krater.agent.runtimes.interfaces import Engine
from krater.agent.shares import Shares
from krater.agent.streams import Streams
from krater.agent.sync import Sync
from krater.bus.interfaces import Handler
from krater.bus.messages import (
    Exec,
    ExecAnswer,
    GroupsChanged,
    ImagesChanged,
    Logs,
    LogsAnswer,
    OpenAttach,
    OpenExec,
    Resize,
    ResizeTerminal,
    Signal,
    Stats,
    Top,
    TopAnswer,
    VolumesChanged,
    WorkloadChanged,
)
from krater.errors import Conflict, NotFound, Unavailable
from krater.model.assignment import ContainerState
from krater.model.frames import Opened
from krater.model.reading import Reading

Answer = TypeVar("Answer")

_LONGEST_EXEC = 3600.0
_LARGEST_OUTPUT = 16 << 20
_EXEC_AT_ONCE, _EXEC_OF_ONE_PROJECT = 64, 16
_OVERTIME = 10.0


class Endpoint:
    """Serves the node's side of the bus. `is_open`: whether the engine is there; `project`: whose a container is."""

    def __init__(
        self,
        engine: Engine,
        logs: LogReader,
        sync: Sync,
        is_open: Callable[[], bool],
        project: Callable[[str], str],
        streams: Streams,
    ) -> None:
        self._engine = engine
        self._streams = streams
        self._logs = logs
        self._sync = sync
        self._is_open = is_open
        self._project = project
        self._execs = Shares(_EXEC_AT_ONCE, _EXEC_OF_ONE_PROJECT)

    def handlers(self) -> dict[type, Handler]:
        """What is served, by message."""
        return {
            WorkloadChanged: self._workload_changed,
            GroupsChanged: self._groups_changed,
            ImagesChanged: self._anything_changed,
            VolumesChanged: self._anything_changed,
            Exec: self._exec,
            Logs: self._read_logs,
            Top: self._top,
            Stats: self._stats,
            Signal: self._signal,
            Resize: self._resize,
            OpenAttach: self._open_attach,
            OpenExec: self._open_exec,
            ResizeTerminal: self._resize_terminal,
        }

    async def _workload_changed(self, message: WorkloadChanged) -> None:
        self._sync.hint(message.workload)

    async def _groups_changed(self, message: GroupsChanged) -> None:
        self._sync.hint_groups(message.groups)

    async def _anything_changed(self, _: ImagesChanged | VolumesChanged) -> None:
        self._sync.hint_all()

    async def _exec(self, message: Exec) -> ExecAnswer:
        await self._require(message.container)
        timeout, limit = min(message.timeout, _LONGEST_EXEC), min(message.limit, _LARGEST_OUTPUT)
        async with self._execs.taken(self._project(message.container)):
            doing = self._engine.exec(message.container, message.command, timeout, limit)
            done = await _within(timeout + _OVERTIME, doing)
        return ExecAnswer(done.output, done.exit_code, done.truncated)

    async def _read_logs(self, message: Logs) -> LogsAnswer:
        """Works for containers that are gone, too, for as long as their log is kept."""
        if not self._logs.has(message.container) and not await self._is_here(message.container):
            raise NotFound(f"There is no log of container {message.container} on its node.")
        return await self._logs.read(message)

    async def _top(self, message: Top) -> TopAnswer:
        await self._require(message.container)
        table = await self._engine.top(message.container, message.ps_args)
        return TopAnswer(table.titles, table.rows)

    async def _stats(self, message: Stats) -> Reading:
        await self._require(message.container, ContainerState.RUNNING, ContainerState.PAUSED)
        return await self._engine.stats(message.container)

    async def _signal(self, message: Signal) -> None:
        await self._require(message.container)
        await self._engine.signal(message.container, message.number)

    async def _resize(self, message: Resize) -> None:
        await self._require(message.container, *ContainerState)
        await self._engine.update(message.container, message.cpu, message.memory)

    async def _open_attach(self, message: OpenAttach) -> Opened:
        await self._require(message.container)
        return self._streams.open(message.container, None)

    async def _open_exec(self, message: OpenExec) -> Opened:
        await self._require(message.container)
        return self._streams.open(message.container, message)

    async def _resize_terminal(self, message: ResizeTerminal) -> None:
        await self._require(message.container)
        if message.session:
            self._streams.resize(message.container, message.session, message.rows, message.columns)
        else:
            await self._engine.resize_terminal(message.container, message.rows, message.columns)

    async def _is_here(self, container: str) -> bool:
        if not self._is_open():
            raise Unavailable("The container engine of the node does not answer.")
        return await self._engine.inspect(container) is not None

    async def _require(self, container: str, *states: ContainerState) -> None:
        """NotFound when there is no such container here, Conflict when it is in none of the states (running)."""
        if not self._is_open():
            raise Unavailable("The container engine of the node does not answer.")
        seen = await self._engine.inspect(container)
        if seen is None:
            raise NotFound(f"There is no container {container} on its node.")
        if seen.state not in (states or (ContainerState.RUNNING,)):
            raise Conflict(f"Container {container} is not running: it is {seen.state.value}.")


async def _within(seconds: float, doing: Awaitable[Answer]) -> Answer:
    """The engine keeps the time itself; this is for an engine that hangs."""
    try:
        async with asyncio.timeout(seconds):
            return await doing
    except TimeoutError:
        raise Unavailable("The container engine of the node does not answer.") from None
