"""Asks the controller what this node should have. One question at a time, so that answers never overtake each other.

A hint asks about one workload, at once; hints that come while a question is open are asked about together. Everything
is asked at start, every `resync` seconds, and whenever an answer was lost. Only after such a complete, successful
answer may anything unknown be removed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import structlog

from krater.agent.executor import unexpected
from krater.agent.image_tasks import ImageTasks
from krater.agent.observer import Observer
from krater.agent.reporter import Reporter
from krater.agent.volume_tasks import VolumeTasks
from krater.agent.workloads import Workloads
from krater.bus.interfaces import CONTROLLER, Bus
from krater.bus.messages import Pull, PullAnswer
from krater.errors import Failed

_log = structlog.get_logger(__name__)

_TIMEOUT = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 10.0


Guard = Callable[[PullAnswer], Awaitable[None]]


async def _nothing(_: PullAnswer) -> None:
    """There are no rules to keep."""


class Sync:
    """Keeps what is asked of the node up to date. `guard` has the rules of security groups hold, before all else."""

    def __init__(
        self,
        node: str,
        bus: Bus,
        workloads: Workloads,
        observer: Observer,
        reporter: Reporter,
        images: ImageTasks,
        volumes: VolumeTasks,
        resync: float,
        guard: Guard = _nothing,
    ) -> None:
        self._node = node
        self._bus = bus
        self._workloads = workloads
        self._observer = observer
        self._reporter = reporter
        self._images = images
        self._volumes = volumes
        self._resync = resync
        self._guard = guard
        self._asked: dict[str, None] = {}
        self._groups: dict[str, None] = {}
        self._all_due = True
        self._again: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()

    def hint(self, workload: str) -> None:
        """What is asked for this workload changed."""
        self._asked[workload] = None
        self._wake.set()

    def hint_groups(self, groups: Iterable[str]) -> None:
        """The rules of these security groups changed, or who is in them on other nodes."""
        self._groups |= dict.fromkeys(groups)
        self._wake.set()

    def hint_all(self) -> None:
        """Anything may have changed."""
        self._all_due = True
        self._wake.set()

    async def run(self) -> None:
        """Ask, for as long as the agent lives."""
        loop = asyncio.get_running_loop()
        pause, next_all = _FIRST_PAUSE, loop.time()
        while True:
            self._wake.clear()
            try:
                if self._all_due or loop.time() >= next_all:
                    next_all = loop.time() + self._resync
                    await self._ask_all()
                elif self._asked or self._groups:
                    await self._ask_some()
                pause, wait = _FIRST_PAUSE, next_all - loop.time()
            except Exception as problem:
                if pause == _FIRST_PAUSE:
                    _log.warning(
                        "the controller or the engine does not answer yet",
                        reason=str(problem),
                        exc_info=unexpected(problem),
                    )
                self._all_due = True
                wait, pause = pause, min(pause * 2, _LONGEST_PAUSE)
            if not self._wake.is_set():
                await self._sleep(wait)

    async def _sleep(self, seconds: float) -> None:
        """Until there is something to ask, or the time for a complete question has come."""
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                await self._wake.wait()
        except TimeoutError:
            self._all_due = True

    async def _ask_all(self) -> None:
        asked, self._asked, self._groups = self._asked, {}, {}
        try:
            answer = await self._bus.call(CONTROLLER, Pull(self._node), _TIMEOUT)
        except Exception:
            self._asked = asked | self._asked
            raise
        await self._keep_rules(answer)
        for assignment in answer.assignments:
            self._workloads.accept(assignment)
        if answer.complete:
            self._workloads.keep_only(a.workload for a in answer.assignments)
        self._images.accept(answer.images)
        if answer.complete:
            self._volumes.accept(answer.discards)
        self._all_due = False
        self._workloads.compare(await self._observer.scan(), is_complete=answer.complete)
        self._reporter.send_all()

    async def _ask_some(self) -> None:
        asked, self._asked = tuple(self._asked), {}
        groups, self._groups = tuple(self._groups), {}
        try:
            answer: PullAnswer = await self._bus.call(CONTROLLER, Pull(self._node, asked, groups), _TIMEOUT)
        except Exception:
            self._asked = dict.fromkeys(asked) | self._asked
            raise
        await self._keep_rules(answer)
        for assignment in answer.assignments:
            self._workloads.accept(assignment)
        for workload in set(asked) - {a.workload for a in answer.assignments}:
            self._workloads.release(workload)

    async def _keep_rules(self, answer: PullAnswer) -> None:
        """Before the assignments are taken: a card comes up under the rules it is told of, and so does a change.

        When the kernel refuses them the rest goes on, since much of it needs no cards, and everything is asked again.
        """
        try:
            await self._guard(answer)
        except Failed as problem:
            _log.warning("the rules of security groups cannot be kept", reason=problem.message)
            if self._again is None:
                self._again = asyncio.get_running_loop().call_later(_LONGEST_PAUSE, self._ask_again)

    def _ask_again(self) -> None:
        self._again = None
        self.hint_all()
