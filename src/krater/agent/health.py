"""Health checks of this node's containers: run inside them, in time, and never many at once.

A check belongs to one process: it begins when that runs, and ends with it. What it finds is part of what is observed
of the container; what follows from it, the planner decides. Nothing of it is on disk: after a crash of the agent
checks begin anew, as they do for a process that was just started.

Everything about a check but its command is the same for all kinds: another kind is another `_attempt`.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import structlog

from krater.agent.runtimes.interfaces import Engine
from krater.errors import Conflict, KraterError, NotFound
from krater.model.assignment import Assignment, ContainerState, Health, HealthState, ObservedContainer
from krater.model.workload import ContainerSpec, Healthcheck

_log = structlog.get_logger(__name__)

INTERVAL, TIMEOUT, RETRIES = 30, 30, 3
SHELL = ("/bin/sh", "-c")

_AT_ONCE, _AT_ONCE_OF_ONE = 16, 4  # checks on this node, and of one project: a hanging one keeps its place for long
_OUTPUT, _TOLD = 4096, 300  # bytes that are read, characters that are told
_JITTER = 0.1
_QUIET = 10.0  # seconds between reports of changes that change no state
_OVERTIME = 5.0
_ALIVE = (ContainerState.RUNNING, ContainerState.PAUSED)


class _Start(NamedTuple):
    """Which process: what was found of another one does not count."""

    rebuild: int
    run: int
    attempt: int
    started_at: object


class _Outcome(NamedTuple):
    """What one check said."""

    succeeded: bool
    output: str = ""


@dataclass(slots=True, eq=False)
class _Watch:
    """One process under checks. `told` is what was last made known of `health`, and `told_at` when."""

    workload: str
    project: str
    spec: ContainerSpec
    start: _Start
    health: Health = Health()
    told: Health = Health()
    told_at: float = float("-inf")
    task: asyncio.Task[None] | None = None


class HealthChecks:
    """All checks of a node. `changed` is called with a workload of which something is to be told."""

    def __init__(self, engine: Engine, changed: Callable[[str], None]) -> None:
        self._engine = engine
        self._changed = changed
        self._watches: dict[str, _Watch] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = FairRoom(_AT_ONCE, _AT_ONCE_OF_ONE)

    def follow(
        self, assignment: Assignment | None, containers: Iterable[str], seen: Iterable[ObservedContainer]
    ) -> None:
        """Of these containers of a workload, check those that run and are to be checked, and no others."""
        found = {one.id: one for one in seen if one.state in _ALIVE}
        specs = {} if assignment is None else {spec.id: spec for spec in assignment.containers}
        for container in containers:
            spec, one, watch = specs.get(container), found.get(container), self._watches.get(container)
            start = None if one is None else _start_of(one)
            is_due = spec is not None and spec.healthcheck is not None and start is not None
            if watch is not None and (not is_due or watch.start != start):
                self._leave(container)
                watch = None
            if assignment is not None and spec is not None and start is not None and is_due and watch is None:
                self._begin(_Watch(assignment.workload, assignment.project_id, spec, start))

    def merged(self, seen: ObservedContainer) -> ObservedContainer:
        """A container with what is known of its health."""
        watch = self._watches.get(seen.id)
        if watch is None or seen.state not in _ALIVE or watch.start != _start_of(seen):
            return seen
        return replace(seen, health=watch.told)

    async def run(self) -> None:
        """Checks go on for as long as this runs."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for container in list(self._watches):
                self._leave(container)
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def __len__(self) -> int:
        """How many processes are checked."""
        return len(self._watches)

    def _begin(self, watch: _Watch) -> None:
        self._watches[watch.spec.id] = watch
        watch.task = asyncio.get_running_loop().create_task(self._check_on(watch), name=f"health {watch.spec.id}")
        self._tasks.add(watch.task)
        watch.task.add_done_callback(self._tasks.discard)

    def _leave(self, container: str) -> None:
        task = self._watches.pop(container).task
        if task is not None:
            task.cancel()

    async def _check_on(self, watch: _Watch) -> None:
        """Check again and again. The time between is counted from the end of a check, as a slow one is load enough."""
        check = watch.spec.healthcheck
        assert check is not None  # noqa: S101
        while True:
            await asyncio.sleep((check.interval or INTERVAL) * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311
            async with self._room.place(watch.project):
                outcome = await self._attempt_safely(watch, check)
            if outcome is not None:
                self._count(watch, check, outcome)

    async def _attempt_safely(self, watch: _Watch, check: Healthcheck) -> _Outcome | None:
        """What a check said; None when it says nothing about the process, as it is paused or gone."""
        try:
            outcome = await self._attempt(watch.spec.id, check)
            if outcome.succeeded:
                return outcome
            seen = await self._engine.inspect(watch.spec.id)
        except Exception as problem:
            if not isinstance(problem, KraterError):
                _log.exception("a health check could not be made", container=watch.spec.id)
            return None
        is_same = seen is not None and seen.state is ContainerState.RUNNING and _start_of(seen) == watch.start
        return outcome if is_same else None

    async def _attempt(self, container: str, check: Healthcheck) -> _Outcome:
        """Run its command. What hangs is killed, with all that it has started."""
        timeout = check.timeout or TIMEOUT
        try:
            async with asyncio.timeout(timeout):
                done = await self._engine.exec(container, (*SHELL, check.test), timeout + _OVERTIME, _OUTPUT)
        except TimeoutError:
            return _Outcome(False, f"no end within {timeout} seconds")
        except (Conflict, NotFound) as problem:
            return _Outcome(False, _shown(problem.message))
        said = _shown(done.output.decode(errors="replace"))
        return _Outcome(done.exit_code == 0, f"exit code {done.exit_code}" + (f": {said}" if said else ""))

    def _count(self, watch: _Watch, check: Healthcheck, outcome: _Outcome) -> None:
        if outcome.succeeded:
            watch.health = Health(HealthState.HEALTHY)
        else:
            failures = watch.health.failures + 1
            is_ill = failures >= (check.retries or RETRIES)
            state = HealthState.UNHEALTHY if is_ill else watch.health.state
            watch.health = Health(state, failures, outcome.output)
        self._tell(watch)

    def _tell(self, watch: _Watch) -> None:
        """Make it known: a change of state at once, the rest not often, however often a user has it checked."""
        now = asyncio.get_running_loop().time()
        is_other_state = watch.health.state is not watch.told.state
        if watch.health == watch.told or not (is_other_state or now - watch.told_at >= _QUIET):
            return
        watch.told, watch.told_at = watch.health, now
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


def _shown(text: str) -> str:
    """Short enough to be told, and without what no database takes."""
    plain = " ".join(text.replace("\0", "\N{REPLACEMENT CHARACTER}").split())
    return plain if len(plain) <= _TOLD else plain[: _TOLD - 1] + "…"
