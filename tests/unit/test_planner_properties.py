"""What holds for every plan: from any world to any intent in a bounded number of steps, and then nothing more."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from krater.agent.planner import Backoff, Memory, ObservedWorkload, Plan, made_of, plan
from krater.agent.steps import Remove
from krater.model.assignment import Assignment, ContainerState, Health, HealthState, Made, ObservedContainer
from krater.model.order import is_lost
from krater.model.workload import Desired, Intent, RestartName, RestartPolicy
from tests.support.agent import EPOCH, assignment_of, nic_of, spec_of
from tests.support.planning import NOW, apply

ALIVE = (ContainerState.RUNNING, ContainerState.PAUSED)
NAMES = ("a" * 32, "b" * 32)
PORTS = ("p0", "p1", "stranger")

seen_containers = st.builds(
    ObservedContainer,
    id=st.just(""),
    rebuild=st.integers(0, 2),
    state=st.sampled_from(ContainerState),
    run=st.integers(0, 3),
    attempt=st.integers(0, 4),
    exit_code=st.sampled_from((None, 0, 1)),
    error=st.sampled_from((None, None, "no such file")),
    started_at=st.just(EPOCH),
    finished_at=st.sampled_from((None, EPOCH, NOW - timedelta(seconds=1), NOW)),
    memory=st.sampled_from((None, 64, 32)),
    cut_off=st.sampled_from((None, None, None, "ill")),
    health=st.sampled_from((None, Health(), Health(HealthState.UNHEALTHY, 3, "no"))),
).map(lambda c: c if c.state is ContainerState.EXITED else replace(c, error=None))
worlds = st.builds(
    lambda path, ports, found: ObservedWorkload(
        path, frozenset(ports), {name: replace(c, id=name) for name, c in found.items()}
    ),
    st.sampled_from((None, "/netns")),
    st.sets(st.sampled_from(PORTS)),
    st.dictionaries(st.sampled_from((*NAMES, "c" * 32)), seen_containers),
)
intents = st.builds(
    Intent,
    desired=st.sampled_from(Desired),
    run=st.integers(0, 3),
    rebuild=st.integers(0, 2),
    grace=st.sampled_from((0.0, 10.0)),
)
pasts = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(Made, st.just(""), st.integers(0, 2), st.integers(0, 3), st.booleans()),
).map(lambda found: {name: replace(made, id=name) for name, made in found.items()})
policies = st.builds(RestartPolicy, st.sampled_from(RestartName), st.integers(0, 3))


@st.composite
def assignments(draw: st.DrawFn) -> Assignment | None:
    if draw(st.booleans()) and draw(st.booleans()):
        return None
    base = assignment_of(
        "w" * 32,
        containers=tuple(spec_of(name) for name in NAMES[: draw(st.integers(1, 2))]),
        nics=tuple(nic_of(port) for port in PORTS[: draw(st.integers(0, 2))]),
        restart=draw(policies),
        auto_heal=draw(st.booleans()),
    )
    return replace(base, intent=draw(intents))


@settings(max_examples=500, deadline=None)
@given(assignments(), worlds, pasts, st.data())
def test_every_plan_leads_to_rest_even_when_cut_short(
    assignment: Assignment | None, world: ObservedWorkload, past: dict[str, Made], data: st.DataObject
) -> None:
    """Each plan may be followed only in part, as by a crash; after a few whole ones nothing is left to do."""
    backoff, now, memory = Backoff(), NOW, remembered(Memory(made=past), assignment, world)
    for _ in range(data.draw(st.integers(0, 3))):
        steps = plan(assignment, world, now, backoff, memory).steps
        for step in steps[: data.draw(st.integers(0, len(steps)))]:
            world = apply(world, step)
        memory = remembered(memory, assignment, world)
    for _ in range(6):
        found = plan(assignment, world, now, backoff, memory)
        for step in found.steps:
            world = apply(world, step)
        memory = remembered(memory, assignment, world, found)
        if found.wait is not None:
            now += timedelta(seconds=found.wait)
        if not found.steps and found.wait is None:
            break
    else:
        raise AssertionError(f"no rest: {found}")
    assert found.settled
    assert plan(assignment, world, now, backoff, memory) == found
    check(assignment, world, found.failure, memory)


def remembered(
    memory: Memory, assignment: Assignment | None, world: ObservedWorkload, done: Plan | None = None
) -> Memory:
    """What the agent knows after a look, and after a plan that was followed to its end."""
    here = {} if assignment is None else {name: made_of(assignment, c) for name, c in world.containers.items()}
    made = {**memory.made, **here}
    removed = {step.container for step in (done.steps if done else ()) if isinstance(step, Remove)}
    return replace(memory, made=made, swept=(memory.swept | removed) - world.containers.keys())


def check(assignment: Assignment | None, world: ObservedWorkload, failure: str | None, memory: Memory) -> None:
    """At rest, the world is as asked."""
    alive = [c for c in world.containers.values() if c.state in ALIVE]
    if assignment is None or assignment.intent.desired is Desired.REMOVED:
        assert world == ObservedWorkload()
        return
    intent = assignment.intent
    missing = {spec.id for spec in assignment.containers} - world.containers.keys()
    assert world.containers.keys() <= {spec.id for spec in assignment.containers}
    for name in missing:
        assert failure is not None
        assert is_lost(memory.made[name], assignment.intent)
        assert memory.made[name].is_over or not assignment.auto_heal
    assert all(c.rebuild >= intent.rebuild for c in world.containers.values())
    if not alive:
        assert world.sandbox is None
    if world.sandbox is not None:
        assert world.ports == {nic.port for nic in assignment.nics}
    if intent.desired in (Desired.CREATED, Desired.STOPPED):
        assert not alive
        return
    state = ContainerState.PAUSED if intent.desired is Desired.PAUSED else ContainerState.RUNNING
    assert all(c.state is state for c in alive)
    for container in world.containers.values():
        assert container.run >= intent.run
        assert container in alive or container.state is ContainerState.EXITED
        if container.error is not None:
            assert failure is not None
