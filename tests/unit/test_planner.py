"""What is planned, case by case. The properties that hold for all cases are in `test_planner_properties.py`."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from krater.agent.planner import Backoff, Memory, ObservedWorkload, Plan, plan, restart_delay
from krater.agent.steps import Create, EnsureImage, MakeSandbox, Plug, Start, groups
from krater.model.assignment import Assignment, ContainerState, ObservedContainer
from krater.model.workload import Desired, RestartName, RestartPolicy
from tests.support.agent import altered, assignment_of, nic_of, spec_of

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
BACKOFF = Backoff(base=1.0, cap=60.0, reset=600.0)
ONE = "1" * 32
PORT = f"port-{ONE[:8]}"
CREATED, RUNNING, PAUSED, EXITED = ContainerState


def seen_of(state: ContainerState, *, run: int = 1, name: str = ONE, **more: Any) -> ObservedContainer:
    return ObservedContainer(name, more.pop("rebuild", 0), state, run, **more)


def world_of(
    *containers: ObservedContainer, network: bool = True, ports: frozenset[str] | None = None
) -> ObservedWorkload:
    there = frozenset({PORT}) if ports is None else ports
    found = {c.id: c for c in containers}
    return ObservedWorkload("/netns", there, found) if network else ObservedWorkload(None, frozenset(), found)


def planned(
    assignment: Assignment | None, world: ObservedWorkload, now: datetime = NOW, memory: Memory | None = None
) -> Plan:
    return plan(assignment, world, now, BACKOFF, memory or Memory())


def names(found: Plan) -> list[str]:
    return [step.name for step in found.steps]


NOTHING = world_of(network=False)
IDLE = world_of(seen_of(CREATED, run=0), network=False)
UP = world_of(seen_of(RUNNING))
FROZEN = world_of(seen_of(PAUSED))
DOWN = world_of(seen_of(EXITED, exit_code=0, finished_at=NOW), network=False)
LATE = world_of(seen_of(EXITED, exit_code=0, finished_at=NOW))


@pytest.mark.parametrize(
    ("intent", "world", "steps"),
    [
        ({}, NOTHING, ["ensure_image", "create", "make_sandbox", "plug", "start"]),
        ({}, IDLE, ["make_sandbox", "tell_names", "plug", "start"]),
        ({}, UP, []),
        ({}, FROZEN, ["resume"]),
        ({}, DOWN, []),
        ({}, LATE, ["remove_sandbox"]),
        ({"run": 2}, DOWN, ["make_sandbox", "tell_names", "plug", "start"]),
        ({"run": 2}, UP, ["stop", "start"]),
        ({"run": 2}, FROZEN, ["stop", "start"]),
        ({"rebuild": 1}, UP, ["ensure_image", "stop", "remove", "create", "start"]),
        ({"rebuild": 1}, DOWN, ["ensure_image", "remove", "create", "make_sandbox", "plug", "start"]),
        (
            {"rebuild": 1, "desired": Desired.STOPPED},
            UP,
            ["ensure_image", "stop", "remove", "create", "remove_sandbox"],
        ),
        ({"desired": Desired.STOPPED}, UP, ["stop", "remove_sandbox"]),
        ({"desired": Desired.STOPPED}, FROZEN, ["stop", "remove_sandbox"]),
        ({"desired": Desired.STOPPED}, DOWN, []),
        ({"desired": Desired.PAUSED}, UP, ["pause"]),
        ({"desired": Desired.PAUSED}, FROZEN, []),
        ({"desired": Desired.PAUSED}, NOTHING, ["ensure_image", "create", "make_sandbox", "plug", "start", "pause"]),
        ({"desired": Desired.PAUSED, "run": 2}, FROZEN, ["stop", "start", "pause"]),
        ({"desired": Desired.CREATED, "run": 0}, NOTHING, ["ensure_image", "create"]),
        ({"desired": Desired.CREATED, "run": 0}, IDLE, []),
        ({"desired": Desired.REMOVED}, UP, ["stop", "remove", "remove_sandbox"]),
        ({"desired": Desired.REMOVED, "grace": 0}, UP, ["remove", "remove_sandbox"]),
        ({"desired": Desired.REMOVED}, DOWN, ["remove"]),
        ({"desired": Desired.REMOVED}, NOTHING, []),
    ],
)
def test_the_steps_between_what_is_and_what_should_be(
    intent: dict[str, Any], world: ObservedWorkload, steps: list[str]
) -> None:
    found = planned(altered(assignment_of(ONE), **intent), world)
    assert names(found) == steps
    assert found.settled == (not steps)


def test_what_is_not_assigned_is_removed_at_once() -> None:
    assert names(planned(None, UP)) == ["remove", "remove_sandbox"]
    assert planned(None, NOTHING).gone


def test_nothing_is_gone_while_a_card_is_left() -> None:
    assert names(planned(None, ObservedWorkload(None, frozenset({"p"}), {}))) == ["remove_sandbox"]


def test_a_started_process_has_all_its_cards_and_only_those() -> None:
    world = world_of(seen_of(CREATED, run=0), ports=frozenset({"old"}))
    assert names(planned(assignment_of(ONE), world)) == ["tell_names", "unplug", "plug", "start"]


def test_one_that_lost_its_last_card_while_it_was_down_is_told_before_it_starts() -> None:
    wanted = replace(assignment_of(ONE), nics=())
    assert names(planned(wanted, IDLE)) == ["make_sandbox", "tell_names", "start"]


def test_a_running_process_whose_namespace_lost_its_name_is_left_alone() -> None:
    assert planned(assignment_of(ONE), world_of(seen_of(RUNNING), network=False)).settled


def test_the_image_does_not_wait_for_the_network() -> None:
    nic = nic_of(PORT)
    spec = spec_of(ONE)
    image, create = EnsureImage(ONE, "alpine", spec.pull_policy), Create(spec, 0)  # type: ignore[arg-type]
    steps = (image, create, MakeSandbox(), Plug(nic), Start(ONE, 1, 0))
    assert groups(steps) == [[[image, create], [MakeSandbox(), Plug(nic)]], [[Start(ONE, 1, 0)]]]


def ended(policy: RestartPolicy, seconds_ago: float, memory: Memory | None = None, **more: Any) -> Plan:
    finished = NOW - timedelta(seconds=seconds_ago)
    state = {"exit_code": 1, "started_at": finished - timedelta(seconds=1), "finished_at": finished, **more}
    return planned(assignment_of(ONE, restart=policy), world_of(seen_of(EXITED, **state)), memory=memory)


ALWAYS = RestartPolicy(RestartName.ALWAYS)


def test_a_restart_waits_its_time_counted_from_the_end() -> None:
    waiting = ended(ALWAYS, 0.25)
    assert (waiting.steps, waiting.settled, waiting.wait) == ((), False, 0.75)
    assert ended(ALWAYS, 1.0).steps == (Start(ONE, 1, 1),)
    assert ended(ALWAYS, 1.0, attempt=3).wait == 7.0
    assert ended(ALWAYS, 8.0, attempt=3).steps == (Start(ONE, 1, 4),)


def test_a_clock_that_jumped_back_delays_no_restart_for_long() -> None:
    assert ended(ALWAYS, -5000).wait == 1.0


def test_the_waits_double_to_a_cap() -> None:
    assert [restart_delay(n, BACKOFF) for n in (0, 1, 2, 5, 6, 1000)] == [1, 2, 4, 32, 60, 60]


def test_a_long_run_begins_the_waits_anew_and_that_is_remembered() -> None:
    long = ended(ALWAYS, 0.0, attempt=9, started_at=NOW - timedelta(hours=1))
    assert (long.wait, long.calm) == (1.0, {ONE: 9})
    assert ended(ALWAYS, 0.0, memory=Memory(calm=long.calm), attempt=10).wait == 2.0
    running = planned(assignment_of(ONE), world_of(seen_of(RUNNING, attempt=10)), memory=Memory(calm=long.calm))
    assert running.calm == long.calm


@pytest.mark.parametrize(
    ("policy", "exit_code", "attempt", "is_restarted"),
    [
        (RestartPolicy(), 1, 0, False),
        (ALWAYS, 0, 99, True),
        (RestartPolicy(RestartName.UNLESS_STOPPED), 0, 0, True),
        (RestartPolicy(RestartName.ON_FAILURE), 0, 0, False),
        (RestartPolicy(RestartName.ON_FAILURE), 1, 99, True),
        (RestartPolicy(RestartName.ON_FAILURE), None, 0, True),
        (RestartPolicy(RestartName.ON_FAILURE, 2), 1, 1, True),
        (RestartPolicy(RestartName.ON_FAILURE, 2), 1, 2, False),
    ],
)
def test_the_restart_policy_decides(
    policy: RestartPolicy, exit_code: int | None, attempt: int, is_restarted: bool
) -> None:
    found = ended(policy, 1000, exit_code=exit_code, attempt=attempt)
    assert ("start" in names(found)) == is_restarted


def test_a_failed_start_is_final_until_a_new_run() -> None:
    failed = seen_of(EXITED, error="no such file", finished_at=NOW)
    found = planned(assignment_of(ONE, restart=ALWAYS), world_of(failed, network=False))
    assert (found.settled, found.failure) == (True, "no such file")
    again = planned(altered(assignment_of(ONE), run=2), world_of(failed, network=False))
    assert names(again) == ["make_sandbox", "tell_names", "plug", "start"]
    stopped = planned(altered(assignment_of(ONE), desired=Desired.STOPPED), world_of(failed, network=False))
    assert stopped.failure is None


def test_after_a_permanent_failure_only_the_rest_is_cleared_away() -> None:
    found = planned(assignment_of(ONE), world_of(seen_of(CREATED, run=0)), memory=Memory("no such network"))
    assert (names(found), found.failure) == (["remove_sandbox"], "no such network")
    kept = planned(assignment_of(ONE), UP, memory=Memory("no such network"))
    assert (kept.settled, kept.failure) == (True, "no such network")


def test_a_failure_keeps_nobody_from_removing() -> None:
    wanted = altered(assignment_of(ONE), desired=Desired.REMOVED)
    assert names(planned(wanted, UP, memory=Memory("broken"))) == ["stop", "remove", "remove_sandbox"]


def test_a_start_cut_short_is_taken_up_with_the_same_number() -> None:
    half = world_of(seen_of(CREATED, run=1, attempt=4))
    assert planned(assignment_of(ONE), half).steps == (Start(ONE, 1, 4),)


def test_limits_are_changed_only_when_the_engine_says_they_differ() -> None:
    same = world_of(seen_of(RUNNING, cpu=1.0, memory=64))
    assert planned(assignment_of(ONE), same).settled
    other = world_of(seen_of(RUNNING, cpu=1.0, memory=32))
    assert names(planned(assignment_of(ONE), other)) == ["update"]


def test_several_stop_in_reverse_and_a_stranger_goes() -> None:
    pair = assignment_of(ONE, containers=(spec_of("a" * 32), spec_of("b" * 32)))
    both = world_of(seen_of(RUNNING, name="a" * 32), seen_of(RUNNING, name="b" * 32))
    stop = planned(altered(pair, desired=Desired.STOPPED), both)
    assert [getattr(step, "container", "")[:1] for step in stop.steps] == ["b", "a", ""]
    fewer = replace(pair, containers=pair.containers[:1])
    assert names(planned(fewer, both)) == ["remove"]


def test_a_process_whose_namespace_lost_its_name_gives_it_back() -> None:
    found = planned(assignment_of(ONE), world_of(seen_of(RUNNING, pid=7), network=False))
    assert names(found) == ["make_sandbox", "tell_names", "plug"]
    assert found.steps[0] == MakeSandbox(7)
