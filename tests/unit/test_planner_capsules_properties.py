"""What holds for every capsule: it comes to rest, nobody begins before his turn, and no plan undoes another."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from krater.agent.planner import Backoff, Memory, ObservedWorkload, Plan, made_of, plan
from krater.agent.steps import Create, Remove, Start, Step, Stop, container_of
from krater.model.assignment import Assignment, ContainerState, Health, HealthState, ObservedContainer
from krater.model.member import Condition, Dependency, Probe, Role
from krater.model.order import is_restart_due
from krater.model.volume import Attachment, MountRequest
from krater.model.workload import ContainerSpec, Desired, Intent, MemberIntent, Resources, RestartName, RestartPolicy
from tests.support.agent import assignment_of, spec_of
from tests.support.planning import ALIVE, NOW, apply

TO_RUN = (Desired.RUNNING, Desired.PAUSED)
SHARED = Attachment("v" * 32, 1)
POLICIES = (
    RestartPolicy(),
    RestartPolicy(RestartName.ALWAYS),
    RestartPolicy(RestartName.ON_FAILURE),
    RestartPolicy(RestartName.ON_FAILURE, 2),
)
OF_INIT = {
    RestartName.NO: RestartPolicy(),
    RestartName.ALWAYS: RestartPolicy(RestartName.ON_FAILURE, 10),
    RestartName.ON_FAILURE: RestartPolicy(RestartName.ON_FAILURE),
}
MOST_LOOKS = 400


@dataclass
class Fate:
    """What the processes of a member do: end with these codes, one after the other, and then run on or end well."""

    codes: list[int]
    runs_on: bool
    refusal: str | None = None
    starts: int = 0

    def next_end(self) -> int | None:
        """The exit code of the process that runs, None when it does not end."""
        if self.starts <= len(self.codes):
            return self.codes[self.starts - 1]
        return None if self.runs_on else 0


@dataclass
class World:
    """One capsule on its node, and all that happened."""

    assignment: Assignment
    fates: dict[str, Fate]
    seen: ObservedWorkload = field(default_factory=ObservedWorkload)
    memory: Memory = field(default_factory=Memory)
    now: datetime = NOW

    def look(self) -> Plan:
        """Plan, and remember what an agent remembers."""
        made = {**self.memory.made, **{n: made_of(self.assignment, c) for n, c in self.seen.containers.items()}}
        self.memory = replace(self.memory, made=made, swept=self.memory.swept - self.seen.containers.keys())
        found = plan(self.assignment, self.seen, self.now, Backoff(), self.memory)
        self.memory = replace(self.memory, calm=found.calm)
        return found

    def take(self, steps: tuple[Step, ...]) -> None:
        """The steps, of which a start is judged by the world that it was planned in."""
        before, has_failed = self.seen, False
        for step in steps:
            if has_failed and not isinstance(step, Start):
                return  # those that start at once are let finish
            if isinstance(step, Start):
                self._judge(step, before)
                self.fates[step.container].starts += 1
            self.seen = apply(self.seen, step)
            if isinstance(step, Start):
                has_failed = self._is_refused(step.container) or has_failed
            elif isinstance(step, Remove):
                self.memory = replace(self.memory, swept=self.memory.swept | {step.container})

    def _is_refused(self, name: str) -> bool:
        refusal = self.fates[name].refusal
        if refusal is not None:
            self.set(name, state=ContainerState.EXITED, error=refusal, exit_code=None)
        return refusal is not None

    def set(self, name: str, **changes: object) -> None:
        """Something happens to a container by itself."""
        one = replace(self.seen.containers[name], **changes)  # type: ignore[arg-type]
        self.seen = replace(self.seen, containers={**self.seen.containers, name: one})

    def _judge(self, step: Start, before: ObservedWorkload) -> None:
        """Nobody begins before his turn; for a start after an end, that was in the past."""
        if step.attempt > 0:
            return
        for spec in self.assignment.containers:
            if spec.id == step.container:
                for awaited in spec.depends_on:
                    assert self._has_come(before, awaited.container, awaited.condition), f"{awaited} for {step}"
                return
            if spec.role is Role.INIT:
                assert self._has_come(before, spec.id, Condition.COMPLETED), f"{spec.id} before {step}"
            elif spec.role is Role.SIDECAR:
                assert self._has_come(before, spec.id, Condition.STARTED), f"{spec.id} before {step}"

    def _has_come(self, before: ObservedWorkload, name: str, condition: Condition) -> bool:
        one, intent = before.containers.get(name), self.assignment.intent.of(name)
        if one is None or one.run < intent.run or one.state is ContainerState.CREATED or one.error is not None:
            return False
        if condition is Condition.COMPLETED:
            return one.state is ContainerState.EXITED and one.exit_code == 0 and one.cut_off is None
        spec = next(s for s in self.assignment.containers if s.id == name)
        if condition is Condition.HEALTHY:
            return one.state in ALIVE and (spec.liveness is None or one.health == Health(HealthState.HEALTHY))
        return one.state in ALIVE or spec.role is not Role.SIDECAR or intent.desired is Desired.STOPPED

    def happen(self) -> bool:
        """One thing happens by itself: a process becomes healthy, or ends. False when nothing does any more."""
        for spec in self.assignment.containers:
            one = self.seen.containers.get(spec.id)
            if one is None or one.state is not ContainerState.RUNNING:
                continue
            if spec.liveness is not None and one.health is None:
                self.set(spec.id, health=Health(HealthState.HEALTHY))
                return True
            code = self.fates[spec.id].next_end()
            if code is not None:
                self.set(spec.id, state=ContainerState.EXITED, exit_code=code, health=None, finished_at=self.now)
                return True
        return False

    def rest(self) -> Plan:
        """Until nothing is left to do, nor happens. Between two events there are few plans: none undoes another."""
        plans = 0
        for _ in range(MOST_LOOKS):
            found = self.look()
            if found.steps:
                plans += 1
                assert plans <= 3 * len(self.assignment.containers) + 4, f"plans without end: {found.steps}"
                begun = [container_of(step) for step in found.steps if isinstance(step, Start | Create)]
                assert len(begun) <= 2 * len(self.assignment.containers)
                self.take(found.steps)
                continue
            plans = 0
            if self.happen():
                continue
            if found.wait is None:
                assert found.settled or self._waits_for_ever(), f"it waits for nothing: {found}"
                return found
            self.now += timedelta(seconds=found.wait)
        raise AssertionError(f"no rest: {found}")

    def _waits_for_ever(self) -> bool:
        """Whether somebody asked to wait for the end of what does not end."""
        alive = {name for name, one in self.seen.containers.items() if one.state in ALIVE}
        waits = [d for spec in self.assignment.containers for d in spec.depends_on]
        return any(d.condition is Condition.COMPLETED and d.container in alive for d in waits)


@st.composite
def capsules(draw: st.DrawFn) -> World:
    """One to six members in the order to start them, and what their processes will do."""
    policy = draw(st.sampled_from(POLICIES))
    specs: list[ContainerSpec] = []
    fates: dict[str, Fate] = {}
    for number in range(draw(st.integers(0, 3))):
        role = draw(st.sampled_from((Role.INIT, Role.SIDECAR)))
        restart = OF_INIT[policy.name] if role is Role.INIT else RestartPolicy(RestartName.ALWAYS)
        specs.append(_member(draw, f"{role.value}{number}", role, specs, restart=restart))
    for number in range(draw(st.integers(1, 3))):
        specs.append(_member(draw, f"main{number}", Role.MAIN, specs))
    for spec in specs:
        codes = draw(st.lists(st.sampled_from((0, 1, 1)), max_size=4))
        always = policy.name is RestartName.ALWAYS and spec.role is Role.MAIN
        runs_on = always or spec.role is Role.SIDECAR or (spec.role is Role.MAIN and draw(st.booleans()))
        refusal = draw(st.sampled_from((None, None, None, None, "no such file")))
        fates[spec.id] = Fate(codes, runs_on, refusal)
    wanted = assignment_of(
        "w" * 32, containers=tuple(specs), restart=policy, volumes=(SHARED,), auto_heal=draw(st.booleans())
    )
    return World(replace(wanted, whole=Resources(4.0, 256)), fates)


def _member(
    draw: st.DrawFn, name: str, role: Role, before: list[ContainerSpec], restart: RestartPolicy | None = None
) -> ContainerSpec:
    """One that depends on some of those before it, as a template may say."""
    awaited: list[Dependency] = []
    for other in before:
        if draw(st.integers(0, 3)) == 0:
            conditions = (Condition.STARTED, Condition.HEALTHY) if other.role is Role.SIDECAR else tuple(Condition)
            if other.role is Role.INIT:
                conditions = (Condition.STARTED, Condition.COMPLETED)
            awaited.append(Dependency(other.id, draw(st.sampled_from(conditions))))
    liveness = Probe(port=1) if role is not Role.INIT and draw(st.booleans()) else None
    spec = spec_of(
        name,
        role=role,
        depends_on=tuple(awaited),
        restart=restart,
        liveness=liveness,
        mounts=(MountRequest("/data", volume=SHARED.volume),),
    )
    return replace(spec, name=name)


def check(world: World, found: Plan) -> None:
    """What is so at rest."""
    assignment, seen = world.assignment, world.seen.containers
    alive = [one for one in seen.values() if one.state in ALIVE]
    if assignment.intent.desired is Desired.REMOVED:
        assert world.seen == ObservedWorkload()
        return
    if alive:
        assert world.seen.sandbox is not None
    elif world.seen.sandbox is None:
        assert not world.seen.mounts
    mains = [spec for spec in assignment.containers if spec.role is Role.MAIN]
    sidecars = [spec for spec in assignment.containers if spec.role is Role.SIDECAR]
    over: set[str] = set()
    if all(_is_over(world, spec, found) for spec in mains):
        assert not any(seen[s.id].state in ALIVE for s in sidecars if s.id in seen), "a sidecar outlived the rest"
        over = {spec.id for spec in sidecars}  # asked to begin anew meanwhile or not: there is nothing to serve
    check_members(world, found, over)


def check_members(world: World, found: Plan, over: set[str]) -> None:
    """Each is as asked, or there is a reason, or its time is over."""
    assignment = world.assignment
    for spec in assignment.containers:
        intent, one = assignment.intent.of(spec.id), world.seen.containers.get(spec.id)
        if one is None:
            assert found.failure is not None
        elif intent.desired not in TO_RUN:
            assert one.state not in ALIVE
        elif one.state in ALIVE:
            assert (one.state is ContainerState.PAUSED) == (intent.desired is Desired.PAUSED)
            assert one.run == intent.run
        elif one.error is not None and one.run >= intent.run:
            assert found.failure is not None
        elif one.run < intent.run or one.state is ContainerState.CREATED:
            assert found.failure is not None or _is_held(assignment) or not found.settled or spec.id in over


def _is_held(assignment: Assignment) -> bool:
    """Whether its user keeps something from running, so that others may wait for that."""
    return any(assignment.intent.of(s.id).desired is not Desired.RUNNING for s in assignment.containers)


def _is_over(world: World, spec: ContainerSpec, found: Plan) -> bool:
    one, intent = world.seen.containers.get(spec.id), world.assignment.intent.of(spec.id)
    if intent.desired not in TO_RUN or one is None:
        return False
    if one.run < intent.run or one.state is ContainerState.CREATED:
        return found.failure is not None and not _is_held(world.assignment)
    policy = world.assignment.restart_of(spec.id)
    is_due = is_restart_due(policy, one, auto_heal=world.assignment.auto_heal)
    return one.state is ContainerState.EXITED and (one.error is not None or not is_due)


@settings(max_examples=150, deadline=None)
@given(capsules())
def test_a_capsule_comes_to_rest_and_nobody_begins_before_his_turn(world: World) -> None:
    check(world, world.rest())


changes = st.sampled_from(
    (
        "stop",
        "start",
        "reboot",
        "pause",
        "rebuild",
        "remove",
        "one stops",
        "one starts",
        "one is lost",
        "cut off",
        "run",
    )
)


@settings(max_examples=250, deadline=None)
@given(capsules(), st.lists(changes, min_size=1, max_size=5), st.data())
def test_it_does_so_whatever_is_asked_and_whatever_is_lost(world: World, what: list[str], data: st.DataObject) -> None:
    """Each change comes at any time: some plans after the one before, the last of them followed in part."""
    for change in what:
        for _ in range(data.draw(st.integers(0, 6))):
            steps = world.look().steps
            world.take(steps[: data.draw(st.integers(0, len(steps)))])
            if data.draw(st.booleans()):
                world.happen()
        _change(world, change, data)
    check(world, world.rest())


def _change(world: World, change: str, data: st.DataObject) -> None:
    intent = world.assignment.intent
    if intent.desired is Desired.REMOVED:
        return
    name = data.draw(st.sampled_from([spec.id for spec in world.assignment.containers]))
    if change == "one is lost":
        kept = {key: one for key, one in world.seen.containers.items() if key != name}
        world.seen = replace(world.seen, containers=kept)
    elif change == "cut off":
        for one in list(world.seen.containers.values()):
            if one.state in ALIVE:
                world.set(one.id, state=ContainerState.EXITED, exit_code=137, cut_off="lost power", health=None)
        world.seen = replace(world.seen, sandbox=None, ports=frozenset(), mounts=frozenset())
        world.memory = Memory(made=world.memory.made)
    else:
        own = intent.members.get(name, MemberIntent())
        asked: dict[str, Intent] = {
            "stop": replace(intent, desired=Desired.STOPPED),
            "start": replace(intent, desired=Desired.RUNNING, run=intent.run + 1),
            "reboot": replace(intent, desired=Desired.RUNNING, run=intent.run + 1),
            "pause": replace(intent, desired=Desired.PAUSED),
            "run": replace(intent, desired=Desired.RUNNING),
            "rebuild": replace(intent, rebuild=intent.rebuild + 1),
            "remove": replace(intent, desired=Desired.REMOVED),
            "one stops": replace(intent, members={**intent.members, name: replace(own, desired=Desired.STOPPED)}),
            "one starts": replace(
                intent, members={**intent.members, name: replace(own, desired=None, run=own.run + 1)}
            ),
        }
        world.assignment = replace(world.assignment, intent=asked[change])
        world.memory = replace(world.memory, failure=None, failed=None)


def test_the_world_of_these_tests_can_end_badly() -> None:
    """Else nothing that is asserted of it would mean anything."""
    spec = replace(spec_of("init0", role=Role.INIT, restart=RestartPolicy()), name="init0")
    wanted = assignment_of("w" * 32, containers=(spec, spec_of("main0")))
    world = World(wanted, {"init0": Fate([1], False), "main0": Fate([], True)})
    found = world.rest()
    assert (found.failed, found.settled) == ("init0", True)
    assert world.seen.containers["init0"].exit_code == 1
    assert [one.state for one in world.seen.containers.values()] == [ContainerState.EXITED, ContainerState.CREATED]
    assert isinstance(world.seen.containers["main0"], ObservedContainer)
    assert not [step for step in found.steps if isinstance(step, Stop)]
