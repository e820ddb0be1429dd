"""Tells the controller what was found and done: at once, in order, again until it is stored.

Only the latest report of a workload matters, so what could not be sent is replaced by what came after; the events
pile up until they are stored, within bounds.
"""

import asyncio
from dataclasses import replace

import structlog

from krater.agent.executor import unexpected
from krater.bus.interfaces import CONTROLLER, Bus
from krater.bus.messages import SendReports
from krater.model.assignment import Report, StepEvent

_log = structlog.get_logger(__name__)

_BATCH = 100
_MOST_EVENTS = 64
_TIMEOUT = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 10.0


class Reporter:
    """The way from the node to the controller."""

    def __init__(self, node: str, bus: Bus) -> None:
        self._is_failing = False
        self._node = node
        self._bus = bus
        self._latest: dict[str, Report] = {}
        self._events: dict[str, tuple[StepEvent, ...]] = {}
        self._unsent: dict[str, None] = {}
        self._wake = asyncio.Event()

    def put(self, report: Report) -> None:
        """Have this sent, unless the controller knows it already."""
        workload, bare = report.workload, replace(report, events=())
        if not report.events and self._latest.get(workload) == bare:
            return
        self._latest[workload] = bare
        if report.events:
            self._events[workload] = (*self._events.get(workload, ()), *report.events)[-_MOST_EVENTS:]
        self._mark(workload)

    def send_all(self) -> None:
        """Send everything again: whatever was lost on the way is found again by this."""
        for workload in self._latest:
            self._mark(workload)

    def forget(self, workload: str) -> None:
        """The controller does not ask for it any more."""
        self._latest.pop(workload, None)
        self._events.pop(workload, None)
        self._unsent.pop(workload, None)

    async def run(self) -> None:
        """Send, for as long as the agent lives."""
        pause = _FIRST_PAUSE
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._unsent:
                if await self._send(list(self._unsent)[:_BATCH]):
                    pause = _FIRST_PAUSE
                    continue
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _mark(self, workload: str) -> None:
        self._unsent[workload] = None
        self._wake.set()

    async def _send(self, workloads: list[str]) -> bool:
        reports = tuple(replace(self._latest[w], events=self._events.get(w, ())) for w in workloads)
        for workload in workloads:
            del self._unsent[workload]
        try:
            await self._bus.call(CONTROLLER, SendReports(self._node, reports), _TIMEOUT)
        except Exception as problem:
            if not self._is_failing:
                _log.warning("reports are not stored yet", reason=str(problem), exc_info=unexpected(problem))
            self._is_failing = True
            for report in reports:
                if report.workload in self._latest:
                    self._unsent[report.workload] = None
            return False
        self._is_failing = False
        for report in reports:
            self._drop_events(report)
        return True

    def _drop_events(self, sent: Report) -> None:
        """What was stored need not be sent again; what came while it was on its way is still to be sent."""
        kept = tuple(e for e in self._events.get(sent.workload, ()) if e not in sent.events)
        if kept:
            self._events[sent.workload] = kept
        else:
            self._events.pop(sent.workload, None)
