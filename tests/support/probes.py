"""Members whose probes answer as a test says."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from krater.agent.runtimes.fake import FakeRuntime
from krater.agent.runtimes.interfaces import ExecResult
from krater.model.assignment import Assignment, HealthState, ObservedContainer
from krater.model.member import Probe
from krater.model.workload import RestartName, RestartPolicy
from tests.support.agent import Table, assignment_of, spec_of

ONE = "1" * 32
ALWAYS = RestartPolicy(RestartName.ALWAYS)
STARTING, HEALTHY, UNHEALTHY = HealthState


class Script:
    """Answers by command: each letter of a row is one, `s` for success, and the last one goes on for ever."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}
        self.asked: dict[str, list[float]] = defaultdict(list)
        self._left: dict[str, Iterator[str]] = {}

    def say(self, **rows: str) -> None:
        """From now on, these."""
        self.rows |= rows
        self._left |= {name: iter(row) for name, row in rows.items()}

    async def exec(self, container: str, command: tuple[str, ...], timeout: float, limit: int) -> ExecResult:
        """In place of the engine's."""
        name = command[0]
        self.asked[name].append(asyncio.get_running_loop().time())
        answer = next(self._left[name], self.rows[name][-1])
        return ExecResult(f"{name} said {answer}".encode(), 0 if answer == "s" else 1)


def scripted(monkeypatch: pytest.MonkeyPatch) -> Script:
    """All commands of probes answer by this; and no thread keeps virtual time waiting."""
    made = Script()

    async def answered(_: FakeRuntime, *arguments: Any) -> ExecResult:
        return await made.exec(*arguments)

    async def at_once(function: Any, *arguments: Any) -> Any:
        return function(*arguments)

    monkeypatch.setattr(FakeRuntime, "exec", answered)
    monkeypatch.setattr(asyncio, "to_thread", at_once)
    return made


def asks(name: str, **more: Any) -> Probe:
    """A probe that the script answers by this name."""
    return Probe((name,), **{"interval": 5, "timeout": 2, "failures": 3, **more})


def probed(**more: Any) -> Assignment:
    """One with these probes; what is no probe is for the workload."""
    probes = {name: more.pop(name) for name in ("liveness", "readiness", "startup") if name in more}
    return assignment_of(ONE, containers=(spec_of(ONE, **probes),), **more)


def seen(table: Table, container: str = ONE) -> ObservedContainer | None:
    """What was told last."""
    report = table.report(ONE)
    found = report.containers if report is not None else ()
    return next((one for one in found if one.id == container), None)


def health(table: Table) -> HealthState | None:
    """Of that, the health."""
    one = seen(table)
    return one.health.state if one is not None and one.health is not None else None


def ready(table: Table) -> bool | None:
    """Of that, whether it is ready."""
    one = seen(table)
    return None if one is None else one.ready


def starts(table: Table) -> int:
    """How many processes were started."""
    return sum(table.world.starts.values())
