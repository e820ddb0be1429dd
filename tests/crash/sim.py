"""A node whose agent dies: at any effect, at once, and as often as a test likes.

A `Crash` at one effect is `kill -9`: from then on no effect of that agent happens, whatever its tasks still try. A new
agent is started over the same world.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

from krater.agent.runtimes.fake import FakeContainer, FakeEngineWorld
from krater.config import AgentSettings
from krater.errors import Unavailable
from krater.model.assignment import Assignment, ContainerState, ObservedContainer, Report
from krater.model.member import Role
from krater.model.workload import Desired, Intent, Resources, RestartName
from tests.support.agent import Table, loop_now

SETTINGS = AgentSettings(
    announce=1000.0, resync=30.0, restart_base=0.5, restart_cap=4.0, restart_reset=60.0, concurrency=4
)
ALIVE = (ContainerState.RUNNING, ContainerState.PAUSED)


class Crash(BaseException):
    """The agent is no more. Not an Exception: no handler of the agent may survive it."""


class Life:
    """One agent from its start to its death: the hook that counts its effects and ends it at the chosen one.

    `fails` decides which effects fail for the moment: before they happened, or after, with the answer lost.
    """

    def __init__(self, ends_at: int | None, fails: Callable[[], bool] = lambda: False) -> None:
        self.effects = 0
        self.names: list[str] = []
        self.is_over = False
        self.over = asyncio.Event()
        self.ends_at = ends_at
        self.fails = fails

    def hook(self, moment: str, effect: str, subject: str) -> None:
        """Called around every effect."""
        if self.is_over:
            raise Crash
        self.effects += 1
        self.names.append(f"{moment} {effect} {subject[:4]}")
        if self.effects == self.ends_at:
            self.is_over = True
            self.over.set()
            raise Crash
        if self.fails():
            raise Unavailable(f"{effect} is not possible at the moment")


class Sim:
    """A table whose agent is restarted whenever it died. `ends` gives the effect at which each life ends."""

    def __init__(
        self,
        ends: Callable[[], int | None],
        *,
        fails: Callable[[], bool] = lambda: False,
        latency: float = 0.002,
        seed: int = 0,
    ) -> None:
        self.table = Table(SETTINGS, FakeEngineWorld(latency=latency))
        self.crashes = 0
        self.life = Life(None)
        self._ends = ends
        self._fails = fails
        self._random = random.Random(seed)
        self._keeper: asyncio.Task[None] | None = None

    clock = staticmethod(loop_now)

    async def __aenter__(self) -> "Sim":
        self._begin()
        self._keeper = asyncio.get_running_loop().create_task(self._keep_alive())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
        await self.table.stop()

    def _begin(self) -> None:
        self.life = Life(self._ends(), self._fails)
        self.table.start(self.life.hook)

    def live_until(self, ends: Callable[[], int | None]) -> None:
        """From now on effects count, and lives end as this says."""
        self._ends = ends
        self.life.effects, self.life.ends_at = 0, ends()

    async def _keep_alive(self) -> None:
        """What systemd does."""
        while True:
            await self.life.over.wait()
            self.crashes += 1
            await self.table.stop()
            await asyncio.sleep(self._random.choice((0.0, 0.1, 3.0)))
            self._begin()

    async def quiet(self, seconds: float = 200.0) -> None:
        """From now on nothing dies and everything answers: wait until all has come to rest."""
        self._ends, self.life.ends_at = (lambda: None), None
        self._fails = self.life.fails = lambda: False
        self.table.controller.is_down = False
        self.table.world.images.is_up = True
        await asyncio.sleep(2.5 * SETTINGS.resync)
        try:
            await self.table.until(lambda: not judge(self.table), seconds, 1.0)
        except TimeoutError:
            raise AssertionError("\n".join(judge(self.table))) from None


def judge(table: Table) -> list[str]:
    """What is wrong with the world, now that all should be at rest."""
    wrong: list[str] = []
    wanted = {a.workload: a for a in table.controller.assignments.values()}
    known = {spec.id for a in wanted.values() for spec in a.containers}
    wrong += [f"left over: container {name}" for name in table.world.containers if name not in known]
    wrong += [f"left over: sandbox {name}" for name in table.network.sandboxes if name not in wanted]
    mounted = {*table.volumes.mounts, *(workload for workload, _ in table.volumes.files)}
    wrong += [f"left over: mounts of {name}" for name in mounted if name not in wanted]
    wrong += [f"started twice: {key}" for key, count in table.world.starts.items() if count > 1]
    for assignment in wanted.values():
        wrong += [f"{assignment.workload[:4]}: {what}" for what in _judge_one(table, assignment)]
    return wrong


def _judge_one(table: Table, assignment: Assignment) -> list[str]:
    intent, report = assignment.intent, table.report(assignment.workload)
    if intent.desired is Desired.REMOVED:
        return ["should be gone"]
    if report is None or report.generation != intent.generation:
        return [f"not told: {report}"]
    found = {spec.id: table.world.containers.get(spec.id) for spec in assignment.containers}
    if any(_is_restarting(assignment, container) for container in found.values()):
        return []  # a container that always ends is always started again: it is never at rest
    if not report.settled:
        return [f"not settled: {report}"]
    wrong: list[str] = []
    for name, container in found.items():
        wrong += ["is not there"] if container is None else _judge_container(assignment, name, report, container)
    for spec in assignment.containers:
        seen = found[spec.id]
        wrong += _judge_limits(spec.limit, seen.seen) if seen is not None else []
    is_busy = any(c is not None and c.seen.state in ALIVE for c in found.values())
    return wrong + _judge_network(table, assignment, is_busy) + _judge_mounts(table, assignment, is_busy)


def _judge_container(assignment: Assignment, name: str, report: Report, container: FakeContainer) -> list[str]:
    wrong: list[str] = []
    intent = _intent_of(assignment, name, report)
    told = [replace(one, health=None, ready=None, unready=None) for one in report.containers]  # that, no engine knows
    if container.seen not in told or not container.is_whole:
        wrong.append(f"reported as {report.containers}, is {container.seen}")
    if container.seen.rebuild != intent.rebuild:
        wrong.append("has an old root filesystem")
    if report.failure is not None and report.failed not in (None, name) and container.seen.state not in ALIVE:
        return wrong  # it waited for the one that failed
    if container.seen.state not in ALIVE and _is_held_up(assignment, report):
        return wrong
    return wrong + [f"{name[:4]} {what}" for what in _judge_state(intent.desired, intent.run, container.seen)]


def _is_held_up(assignment: Assignment, report: Report) -> bool:
    """Whether an init container that others wait for is paused with the whole."""
    inits = {spec.id for spec in assignment.containers if spec.role is Role.INIT}
    return any(one.id in inits and one.state is ContainerState.PAUSED for one in report.containers)


def _intent_of(assignment: Assignment, name: str, report: Report) -> Intent:
    """Sidecars end with the ordinary members."""
    intent, roles = assignment.intent.of(name), {spec.id: spec.role for spec in assignment.containers}
    mains = [one for one in report.containers if roles[one.id] is Role.MAIN]
    is_over = all(one.state is ContainerState.EXITED for one in mains)
    is_wanted = all(assignment.intent.of(one.id).desired in (Desired.RUNNING, Desired.PAUSED) for one in mains)
    if roles[name] is Role.SIDECAR and is_over and is_wanted:
        return replace(intent, desired=Desired.STOPPED)
    return intent


def _judge_limits(limit: Resources, seen: ObservedContainer) -> list[str]:
    has = seen.cpu, seen.memory
    return [f"has limits {has}"] if seen.state in ALIVE and has != (limit.cpu, limit.memory) else []


def _judge_network(table: Table, assignment: Assignment, is_busy: bool) -> list[str]:
    cards = set(table.network.sandboxes.get(assignment.workload, {}))
    if cards != ({nic.port for nic in assignment.nics} if is_busy else set()):
        return [f"has cards {cards}"]
    there = [spec for spec in assignment.containers if spec.id in table.world.containers]
    for spec in there if is_busy else ():
        hosts = tuple(address for address, _ in table.world.containers[spec.id].config.hosts)
        if hosts != tuple(a.address for nic in assignment.nics for a in nic.addresses):
            return [f"knows itself as {hosts}"]
    guarded = {port: groups for port, groups in table.network.asked.items() if port in cards}
    if guarded != {nic.port: nic.groups for nic in assignment.nics if nic.port in cards}:
        return [f"is guarded as {guarded}"]
    if not is_busy and assignment.workload in table.network.sandboxes:
        return ["has a sandbox for nothing"]
    return []


def _judge_mounts(table: Table, assignment: Assignment, is_busy: bool) -> list[str]:
    workload = assignment.workload
    has = set(table.volumes.mounts.get(workload, ())) | {file for w, file in table.volumes.files if w == workload}
    wanted = {v.volume for v in assignment.volumes} | set(assignment.files) if is_busy else set()
    return [f"has mounts {has}"] if has != wanted else []


def _is_restarting(assignment: Assignment, found: FakeContainer | None) -> bool:
    if found is None or assignment.intent.of(found.seen.id).desired not in (Desired.RUNNING, Desired.PAUSED):
        return False
    ends = found.program.seconds is not None
    policy = assignment.restart_of(found.seen.id)
    return ends and policy.name in (RestartName.ALWAYS, RestartName.UNLESS_STOPPED)


def _judge_state(desired: Desired, run: int, seen: ObservedContainer) -> list[str]:
    if seen.is_ending:
        return ["is still taken for one that is ending"]
    if desired in (Desired.CREATED, Desired.STOPPED):
        return [f"is {seen.state}"] if seen.state in ALIVE else []
    if seen.run != run or seen.state is ContainerState.CREATED:
        return [f"is {seen.state} of run {seen.run}, not {run}"]
    if seen.state in ALIVE and (seen.state is ContainerState.PAUSED) != (desired is Desired.PAUSED):
        return [f"is {seen.state}"]
    return []
