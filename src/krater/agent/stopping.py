"""Processes that were asked to end and have their time to do so, however often their workload is looked at meanwhile.

A grace may be hours. Another member of a capsule may end in these, turn ill, or be due for a restart: then its workload
is looked at again and that is done. The stop goes on, and nobody is asked twice to end.
"""

import asyncio
from dataclasses import dataclass

from krater.agent.runtimes.interfaces import Runtime
from krater.agent.steps import Stop

_SOON = 5.0


@dataclass(frozen=True, slots=True)
class _UnderWay:
    workload: str
    step: Stop
    task: asyncio.Task[None]


class Stops:
    """All gentle stops of a node that are under way."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._under_way: dict[str, _UnderWay] = {}

    def begin(self, workload: str, step: Stop) -> asyncio.Task[None]:
        """The stop, begun now or before."""
        known = self._under_way.get(step.container)
        if known is not None:
            return known.task
        doing = self._runtime.stop(step.container, step.grace, step.reason)
        task = asyncio.get_running_loop().create_task(doing, name=f"stop {step.container}")
        self._under_way[step.container] = _UnderWay(workload, step, task)
        task.add_done_callback(lambda done: self._ended(step.container, done))
        return task

    async def keep_only(self, workload: str, stops: tuple[Stop, ...], alive: frozenset[str]) -> None:
        """Give up those of a workload that are not asked for any more, or otherwise.

        Where nothing is `alive` any more, the stop has only to be told so: that is waited for, but not without end.
        """
        others = [u for u in self._under_way.values() if u.workload == workload and u.step not in stops]
        ending = [u.task for u in others if u.step.container not in alive]
        if ending:
            await asyncio.wait(ending, timeout=_SOON)
        await self._give_up(others)

    async def close(self) -> None:
        """Give up all; the processes go on."""
        await self._give_up(list(self._under_way.values()))

    async def _give_up(self, some: list[_UnderWay]) -> None:
        for one in some:
            one.task.cancel()
        await asyncio.gather(*(one.task for one in some), return_exceptions=True)

    def _ended(self, container: str, task: asyncio.Task[None]) -> None:
        self._under_way.pop(container, None)
        if not task.cancelled():
            task.exception()  # whoever waited has it; if nobody did, the next look finds what became of it
