"""Reports arrive: at once, in order, and again when they were lost."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from krater.agent.reporter import Reporter
from krater.bus.messages import SendReports
from krater.errors import Unavailable
from krater.model.assignment import Report, StepEvent
from tests.support.agent import EPOCH

pytestmark = pytest.mark.looptime


class Line:
    """The bus as a reporter sees it. `failures` calls fail; those after the answer was made, with `deaf`."""

    def __init__(self) -> None:
        self.failures = 0
        self.sent: list[SendReports] = []
        self.wait = 0.0

    async def call(self, target: str, request: Any, timeout: float) -> Any:
        await asyncio.sleep(self.wait)
        if self.failures:
            self.failures -= 1
            raise Unavailable("nobody answers")
        self.sent.append(request)

    def hint(self, target: str, message: object) -> None: ...

    def serve(self, target: str, handlers: Any) -> None: ...

    async def close(self) -> None: ...


def report(name: str = "w", **more: Any) -> Report:
    return Report(name, 1, **{"generation": 1, **more})


def event(step: str) -> StepEvent:
    return StepEvent(step, EPOCH, EPOCH)


class Running:
    """A reporter at work."""

    def __init__(self) -> None:
        self.line = Line()
        self.reporter = Reporter("node", self.line)

    async def __aenter__(self) -> "Running":
        self._task = asyncio.create_task(self.reporter.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    def steps(self) -> list[str]:
        return [e.step for request in self.line.sent for r in request.reports for e in r.events]


async def test_a_report_goes_out_at_once_and_only_once() -> None:
    async with Running() as it:
        it.reporter.put(report())
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        it.reporter.put(report())
        await asyncio.sleep(1)
        assert [request.reports for request in it.line.sent] == [(report(),)]


async def test_what_comes_while_one_is_on_its_way_goes_together_and_last_wins() -> None:
    async with Running() as it:
        it.line.wait = 1.0
        it.reporter.put(report("a"))
        await asyncio.sleep(0.5)
        for step in ("one", "two"):
            it.reporter.put(report("a", step=step, events=(event(step),)))
            it.reporter.put(report("b", step=step))
        await asyncio.sleep(5)
        assert len(it.line.sent) == 2
        assert [(r.workload, r.step) for r in it.line.sent[1].reports] == [("a", "two"), ("b", "two")]
        assert it.steps() == ["one", "two"]


async def test_what_could_not_be_sent_is_sent_later_with_all_its_events() -> None:
    async with Running() as it:
        it.line.failures = 3
        it.reporter.put(report(events=(event("one"),)))
        await asyncio.sleep(0.3)
        it.reporter.put(report(settled=True, events=(event("two"),)))
        await asyncio.sleep(10)
        assert [r.settled for request in it.line.sent for r in request.reports] == [True]
        assert it.steps() == ["one", "two"]


async def test_everything_can_be_told_again() -> None:
    async with Running() as it:
        for name in ("a", "b", "c"):
            it.reporter.put(report(name, events=(event(name),)))
        await asyncio.sleep(1)
        it.reporter.forget("b")
        it.reporter.send_all()
        await asyncio.sleep(1)
        assert [r.workload for r in it.line.sent[-1].reports] == ["a", "c"]
        assert it.steps() == ["a", "b", "c"], "events are told once"


async def test_events_that_nobody_takes_do_not_pile_up_for_ever() -> None:
    async with Running() as it:
        it.line.failures = 1
        for number in range(1000):
            it.reporter.put(replace(report(), events=(event(str(number)),)))
        await asyncio.sleep(10)
        assert len(it.steps()) == 64
        assert it.steps()[-1] == "999"
