"""Keeping things as they should be, one key at a time.

A `Reconciler` calls a handler for every key that is woken: never twice at once for the same key, for different keys
side by side up to a limit. It is level-triggered: a wake says "look", not what happened, so any number of wakes
while a key waits are one look, and a wake while it is handled is one more look afterwards.

The handler says when it wants to look again (None: not by itself). When it raises, the key is tried again after a
time that doubles with each failure up to a cap, with jitter, until one look succeeds. A wake meanwhile shortens the
wait to the first step of that, not to nothing: wakes are often the echo of what the failed look did itself.

A resync wakes everything that is unfinished from time to time, which is what makes lost wakes harmless.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from krater.errors import KraterError

_log = structlog.get_logger(__name__)

Handle = Callable[[str], Awaitable[float | None]]
Resync = Callable[[], Awaitable[Iterable[str]]]

_MOST_DOUBLINGS = 60


@dataclass(slots=True)
class _Key:
    """What is known of a key that is not settled. Settled keys are forgotten."""

    is_queued: bool = False
    is_running: bool = False
    is_woken: bool = False  # while running
    failures: int = 0
    failed_at: float = 0.0
    timer: asyncio.TimerHandle | None = None


class Reconciler:
    """Use from one event loop; `run()` belongs into a task group. Keys woken before it runs are kept for it."""

    def __init__(
        self,
        name: str,
        handle: Handle,
        *,
        concurrency: int,
        resync: Resync | None = None,
        resync_every: float = 30.0,
        backoff: tuple[float, float] = (0.5, 60.0),
    ) -> None:
        self._name = name
        self._handle = handle
        self._concurrency = concurrency
        self._resync = resync
        self._resync_every = resync_every
        self._base, self._cap = backoff
        self._keys: dict[str, _Key] = {}
        self._ready: deque[str] = deque()
        self._running = 0
        self._aside = 0
        self._is_stopped = False
        self._has_work = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    def wake(self, key: str) -> None:
        """Look at it soon. Costs nothing when it is about to be looked at anyway."""
        if self._is_stopped:
            return
        state = self._keys.get(key)
        if state is None:
            state = self._keys[key] = _Key()
        if state.is_running:
            state.is_woken = True
        elif state.failures:
            self._look_again(key, state, max(0.0, state.failed_at + self._base - _now()))
        else:
            self._queue(key, state)

    async def run(self) -> None:
        """Work until stopped; then let what is under way end. To cut that short too, cancel this."""
        try:
            async with asyncio.TaskGroup() as group:
                resync = group.create_task(self._resync_forever()) if self._resync is not None else None
                while not self._is_stopped:
                    self._has_work.clear()
                    self._start_ready(group)
                    await self._has_work.wait()
                if resync is not None:
                    resync.cancel()
        finally:
            self._forget_all()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Inside, the handler that asks does not count: for what waits on somebody else, and may for long."""
        self._aside += 1
        self._has_work.set()
        try:
            yield
        finally:
            self._aside -= 1

    def stop(self) -> None:
        """Start nothing any more."""
        self._is_stopped = True
        self._has_work.set()

    async def wait_idle(self) -> None:
        """Until nothing is being looked at or about to be; a key that waits for its time is not. For tests."""
        await self._is_idle.wait()

    def __len__(self) -> int:
        """How many keys are remembered: those that are not settled."""
        return len(self._keys)

    # Queue ------------------------------------------------------------------------------------------------------------

    def _queue(self, key: str, state: _Key) -> None:
        if state.timer is not None:
            state.timer.cancel()
            state.timer = None
        if not state.is_queued:
            state.is_queued = True
            self._ready.append(key)
            self._is_idle.clear()
            self._has_work.set()

    def _look_again(self, key: str, state: _Key, delay: float) -> None:
        """Queue it after a time, unless it is to be queued sooner anyway."""
        if state.is_queued:
            return
        if delay <= 0:
            self._queue(key, state)
            return
        due = _now() + delay
        if state.timer is not None:
            if state.timer.when() <= due:
                return
            state.timer.cancel()
        state.timer = asyncio.get_running_loop().call_at(due, self._queue, key, state)

    def _start_ready(self, group: asyncio.TaskGroup) -> None:
        while self._ready and self._running - self._aside < self._concurrency:
            key = self._ready.popleft()
            state = self._keys[key]
            state.is_queued, state.is_running, state.is_woken = False, True, False
            self._running += 1
            group.create_task(self._look(key, state), name=f"{self._name} {key}")

    def _forget_all(self) -> None:
        self._is_stopped = True
        for state in self._keys.values():
            if state.timer is not None:
                state.timer.cancel()
        self._keys.clear()
        self._ready.clear()
        self._is_idle.set()

    # Looking ----------------------------------------------------------------------------------------------------------

    async def _look(self, key: str, state: _Key) -> None:
        """Handle one key once, and arrange what follows from it."""
        try:
            try:
                after = await self._handle(key)
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                after = self._failed(key, state, error)  # something that the handler waited for was cancelled, not it
            except Exception as error:
                after = self._failed(key, state, error)
            else:
                state.failures = 0
                after = 0.0 if state.is_woken else after
        finally:
            state.is_running = False
            self._running -= 1
            self._has_work.set()
        if after is not None and not self._is_stopped:
            self._look_again(key, state, after)
        else:
            del self._keys[key]
        if not self._running and not self._ready:
            self._is_idle.set()

    def _failed(self, key: str, state: _Key, error: BaseException) -> float:
        """Count and log it. Returns how long to wait: half of the step for sure, the rest by chance."""
        state.failures += 1
        state.failed_at = _now()
        step = min(self._cap, self._base * 2.0 ** min(state.failures - 1, _MOST_DOUBLINGS))
        delay = step * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards nothing
        said = {"of": self._name, "key": key, "failures": state.failures, "retry_in": round(delay, 3)}
        if isinstance(error, KraterError):
            _log.warning("could not reconcile", why=error.message, **said)
        else:
            _log.error("could not reconcile", exc_info=error, **said)
        return delay

    # Resync -----------------------------------------------------------------------------------------------------------

    async def _resync_forever(self) -> None:
        """The first time after a random part of the interval: what starts together does not stay together."""
        assert self._resync is not None  # noqa: S101
        await asyncio.sleep(random.uniform(0, self._resync_every))  # noqa: S311
        while True:
            try:
                for key in await self._resync():
                    state = self._keys.get(key)
                    if state is None or not state.failures:
                        self.wake(key)  # those that failed have a time of their own
            except Exception as error:
                _log.warning("could not resync", of=self._name, exc_info=error)
            await asyncio.sleep(self._resync_every)


def _now() -> float:
    return asyncio.get_running_loop().time()
