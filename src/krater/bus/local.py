"""The bus inside one process: a call is a task, a hint is a task nobody waits for.

It keeps to what a bus between machines can do, so that nothing works here only: an answer that comes too late is
lost, the other side stops at the deadline of the request, and it goes on when merely the asker has gone away.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import structlog

from krater.bus.interfaces import Answer, Handler, Request
from krater.errors import KraterError, Permanent, Unavailable, Unsupported

_log = structlog.get_logger(__name__)

_INTERNAL = "internal error; the log of the service that was asked tells more"


class LocalBus:
    """All targets of this process. `most_hints` bounds how many wait at once: what is beyond it is lost."""

    def __init__(self, *, most_hints: int = 10_000) -> None:
        self._targets: dict[str, dict[type, Handler]] = {}
        self._calls: set[asyncio.Task[Any]] = set()
        self._hints: set[asyncio.Task[Any]] = set()
        self._most_hints = most_hints
        self._is_closed = False

    async def call(self, target: str, request: Request[Answer], timeout: float) -> Answer:
        """Ask and wait."""
        if self._is_closed:
            raise Unavailable("The bus is closed.")
        handlers = self._targets.get(target)
        if handlers is None:
            raise Unavailable(f"{target} does not answer.")
        handler = handlers.get(type(request))
        if handler is None:
            raise Unsupported(f"{target} does not know how to answer {type(request).__name__}.")
        task = _start(self._calls, _answer(target, handler, request, timeout))
        try:
            return cast(Answer, await asyncio.shield(task))
        except asyncio.CancelledError:
            if task.cancelled():
                raise Unavailable(f"{target} stopped before it answered.") from None
            raise

    def hint(self, target: str, message: object) -> None:
        """Tell without waiting."""
        handler = self._targets.get(target, {}).get(type(message))
        if handler is None or self._is_closed or len(self._hints) >= self._most_hints:
            _log.debug("a hint is lost", target=target, message=type(message).__name__)
            return
        _start(self._hints, _take(target, handler, message))

    def serve(self, target: str, handlers: dict[type, Handler]) -> None:
        """Answer for `target`; what is served already stays."""
        self._targets[target] = {**self._targets.get(target, {}), **handlers}

    async def close(self) -> None:
        """Stop serving."""
        self._is_closed = True
        self._targets.clear()
        tasks = [*self._calls, *self._hints]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _start(tasks: set[asyncio.Task[Any]], work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """A task that is kept alive until it ends: the loop itself only holds it weakly."""
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    task.add_done_callback(_look_at_error)
    return task


def _look_at_error(task: asyncio.Task[Any]) -> None:
    """An error whose asker has gone away is nobody's; asyncio would complain that it was never looked at."""
    if not task.cancelled():
        task.exception()


async def _answer(target: str, handler: Handler, request: object, timeout: float) -> Any:
    """The serving side of a call."""
    try:
        async with asyncio.timeout(timeout) as deadline:
            return await handler(request)
    except KraterError:
        raise
    except Exception as error:
        if isinstance(error, TimeoutError) and deadline.expired():
            raise Unavailable(f"{target} did not answer within {timeout:g} seconds.") from None
        _log.exception("a request failed", target=target, request=type(request).__name__)
        raise Permanent(_INTERNAL) from None


async def _take(target: str, handler: Handler, message: object) -> None:
    """The serving side of a hint."""
    try:
        await handler(message)
    except Exception:
        _log.exception("a hint failed", target=target, message=type(message).__name__)
