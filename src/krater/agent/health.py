"""The checks of this node's containers: health checks of lone ones, probes of members. In time, never many at once.

Checks belong to one process: they begin when that runs, and end with it. What they find is part of what is observed of
the container; what follows from it, the planner decides. Nothing of it is on disk: after a crash of the agent checks
begin anew, but what has passed of the time before the first one counts, as that is the process's. That one has answered
its startup probe is kept, by the controller (`Made.begun`).

What a row of answers means is in `verdicts`, how one is asked in `probing`.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

import structlog

from krater.agent.probing import LOOPBACK, Place, Prober
from krater.agent.runtimes.interfaces import Engine
from krater.agent.verdicts import Check, Outcome, Purpose, Tally, Verdict, checks_of, verdict
from krater.agent.vif.interfaces import Vif
from krater.clock import Now, utc_now
from krater.errors import KraterError
from krater.model.assignment import Assignment, ContainerState, Made, ObservedContainer
from krater.model.member import Probe

_log = structlog.get_logger(__name__)

_COMMANDS, _COMMANDS_OF_ONE = 16, 4  # at once on this node, and of one project: a hanging one keeps its place for long
_CONNECTIONS, _CONNECTIONS_OF_ONE = 128, 16  # the same of what starts no program
_JITTER = 0.1
_QUIET = 10.0  # seconds between reports of changes that change no state
_ALIVE = (ContainerState.RUNNING, ContainerState.PAUSED)


class _Start(NamedTuple):
    """Which process: what was found of another one does not count."""

    rebuild: int
    run: int
    attempt: int
    started_at: datetime | None


@dataclass(slots=True, eq=False)
class _Watch:
    """One process under checks. `told` is what was last made known of it, and `told_at` when."""

    workload: str
    project: str
    place: Place
    start: _Start
    checks: tuple[Check, ...]
    told: Verdict
    told_at: float = float("-inf")
    tallies: dict[Purpose, Tally] = field(default_factory=dict)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def has_begun(self) -> bool:
        """Whether it has answered its startup probe."""
        return bool(self.tallies.get(Purpose.STARTUP, Tally()).verdict)


def _never(_: str) -> bool:
    return False


class HealthChecks:
    """All checks of a node. `changed` is called with a workload of which something is to be told.

    `is_held` tells which containers are held still for a moment, by us: silence of those says nothing.
    """

    def __init__(
        self,
        engine: Engine,
        vif: Vif,
        changed: Callable[[str], None],
        is_held: Callable[[str], bool] = _never,
        now: Now = utc_now,
    ) -> None:
        self._engine = engine
        self._prober = Prober(engine, vif)
        self._changed = changed
        self._is_held = is_held
        self._now = now
        self._watches: dict[str, _Watch] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._for_commands = FairRoom(_COMMANDS, _COMMANDS_OF_ONE)
        self._for_connections = FairRoom(_CONNECTIONS, _CONNECTIONS_OF_ONE)

    def follow(
        self,
        assignment: Assignment | None,
        containers: Iterable[str],
        seen: Iterable[ObservedContainer],
        made: Mapping[str, Made] | None = None,
    ) -> None:
        """Of these containers of a workload, check those that run and are to be checked, and no others."""
        found = {one.id: one for one in seen if one.state in _ALIVE}
        specs = {} if assignment is None else {spec.id: spec for spec in assignment.containers}
        for container in containers:
            spec, one, watch = specs.get(container), found.get(container), self._watches.get(container)
            checks = () if spec is None or one is None else checks_of(spec)
            if watch is not None and (one is None or not checks or watch.start != _start_of(one)):
                self._leave(container)
                watch = None
            if assignment is None or one is None or not checks:
                continue
            place = _place_of(assignment, container)
            if watch is None:
                known = (made or {}).get(container)
                self._begin(assignment, place, _start_of(one), checks, None if known is None else known.begun)
            else:
                watch.place = place

    def merged(self, seen: ObservedContainer) -> ObservedContainer:
        """A container with what is known of its health."""
        watch = self._watches.get(seen.id)
        if watch is None or seen.state not in _ALIVE or watch.start != _start_of(seen):
            return seen
        return replace(seen, **watch.told._asdict())

    def begun(self, container: str) -> datetime | None:
        """When its process was started, if that has answered its startup probe."""
        watch = self._watches.get(container)
        return watch.start.started_at if watch is not None and watch.has_begun else None

    async def run(self) -> None:
        """Checks go on for as long as this runs."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for container in list(self._watches):
                self._leave(container)
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._prober.close()

    def __len__(self) -> int:
        """How many processes are checked."""
        return len(self._watches)

    def _begin(
        self, assignment: Assignment, place: Place, start: _Start, checks: tuple[Check, ...], begun: datetime | None
    ) -> None:
        """`begun` is the start of the process that was known to have answered its startup probe."""
        tallies = {Purpose.STARTUP: Tally(True)} if begun is not None and begun == start.started_at else {}
        told = verdict(checks, tallies)
        watch = _Watch(assignment.workload, assignment.project_id, place, start, checks, told, tallies=tallies)
        if watch.has_begun or not any(check.first for check in checks):
            watch.begun.set()
        self._watches[place.container] = watch
        for check in checks:
            if check.first and watch.has_begun:
                continue
            asking = self._ask_again_and_again(watch, check)
            task = asyncio.get_running_loop().create_task(asking, name=f"{check.purpose} {place.container}")
            watch.tasks.append(task)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _leave(self, container: str) -> None:
        for task in self._watches.pop(container).tasks:
            task.cancel()

    async def _ask_again_and_again(self, watch: _Watch, check: Check) -> None:
        """The time between is counted from the end of a check, as a slow one is load enough."""
        probe = check.probe
        await asyncio.sleep(self._seconds_left(watch, probe))
        if not check.first:
            await watch.begun.wait()
        commands = probe.http is None and probe.port is None
        room = self._for_commands if commands else self._for_connections
        while True:
            async with room.place(watch.project):
                outcome = await self._ask_safely(watch, check)
            if outcome is not None:
                self._count(watch, check, outcome)
            if check.first and watch.has_begun:
                return
            await asyncio.sleep(probe.interval * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311

    def _seconds_left(self, watch: _Watch, probe: Probe) -> float:
        """Until the first question, counted from the process's start; never more than its delay if clocks jump.

        When the agent is started again, the delays of many are over at once: those are not asked at once.
        """
        began = watch.start.started_at
        left = probe.delay if began is None else probe.delay - (self._now() - began).total_seconds()
        if left > 0:
            return min(left, probe.delay) * random.uniform(1, 1 + _JITTER)  # noqa: S311
        return probe.interval * random.uniform(0, _JITTER) if probe.delay else 0.0  # noqa: S311

    async def _ask_safely(self, watch: _Watch, check: Check) -> Outcome | None:
        """What a check said; None when it says nothing about the process, as it is held still, paused or gone."""
        container = watch.place.container
        if self._is_held(container):
            return None
        try:
            outcome = await self._prober.ask(watch.place, check.probe)
            if outcome.succeeded and check.probe.command:
                return outcome
            seen = await self._engine.inspect(container)  # connections are taken by the kernel, too
        except Exception as problem:
            if not isinstance(problem, KraterError):
                _log.exception("a check could not be made", container=container)
            return None
        is_same = seen is not None and seen.state is ContainerState.RUNNING and _start_of(seen) == watch.start
        return outcome if is_same and not self._is_held(container) else None

    def _count(self, watch: _Watch, check: Check, outcome: Outcome) -> None:
        watch.tallies[check.purpose] = watch.tallies.get(check.purpose, Tally()).after(outcome, check.probe)
        if check.first and watch.has_begun:
            watch.begun.set()
            self._changed(watch.workload)  # to have it kept, even if nothing else follows from it yet
        self._tell(watch)

    def _tell(self, watch: _Watch) -> None:
        """Make it known: a change of state at once, the rest not often, however often a user has it checked."""
        now, found = asyncio.get_running_loop().time(), verdict(watch.checks, watch.tallies)
        if found == watch.told or (found.is_like(watch.told) and now - watch.told_at < _QUIET):
            return
        watch.told, watch.told_at = found, now
        self._changed(watch.workload)


class FairRoom:
    """Lets so many in at once, of one owner no more than a share. Who has least inside comes first."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._inside: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def place(self, owner: str) -> AsyncIterator[None]:
        """Be inside."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        self._admit()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._inside[owner] -= 1
                if not self._inside[owner]:
                    del self._inside[owner]
            else:
                turn.cancel()
            self._admit()

    def _admit(self) -> None:
        while self._inside.total() < self._most:
            owners = [owner for owner in self._waiting if self._inside[owner] < self._most_of_one]
            if not owners:
                return
            owner = min(owners, key=self._inside.__getitem__)
            queue = self._waiting.pop(owner)
            turn = queue.popleft()
            if queue:
                self._waiting[owner] = queue  # behind the others, for its next turn
            if not turn.done():
                self._inside[owner] += 1
                turn.set_result(None)


def _start_of(seen: ObservedContainer) -> _Start:
    return _Start(seen.rebuild, seen.run, seen.attempt, seen.started_at)


def _place_of(assignment: Assignment, container: str) -> Place:
    """Its capsule is asked at its first address, as others would."""
    addresses = assignment.nics[0].addresses if assignment.nics else ()
    return Place(container, assignment.workload, addresses[0].address if addresses else LOOPBACK)
