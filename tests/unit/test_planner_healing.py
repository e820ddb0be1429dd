"""What is planned for containers that are ill, and for those that vanished."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from krater.agent.planner import Backoff, Memory, ObservedWorkload, Plan, made_of, plan
from krater.agent.steps import Start, Stop
from krater.model.assignment import Assignment, ContainerState, Health, HealthState, Made, ObservedContainer
from krater.model.workload import Desired, RestartName, RestartPolicy
from tests.support.agent import altered, assignment_of

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
BACKOFF = Backoff(base=1.0, cap=60.0, reset=600.0)
ONE = "1" * 32
ILL = Health(HealthState.UNHEALTHY, 3, "exit code 1: no")
NO, ALWAYS = RestartPolicy(), RestartPolicy(RestartName.ALWAYS)
UNLESS_STOPPED = RestartPolicy(RestartName.UNLESS_STOPPED)
TWICE = RestartPolicy(RestartName.ON_FAILURE, 2)
FOR_EVER = RestartPolicy(RestartName.ON_FAILURE)


def seen_of(state: ContainerState = ContainerState.RUNNING, **more: Any) -> ObservedContainer:
    return ObservedContainer(ONE, more.pop("rebuild", 0), state, more.pop("run", 1), **more)


def world_of(*containers: ObservedContainer) -> ObservedWorkload:
    return ObservedWorkload("/netns", frozenset({f"port-{ONE[:8]}"}), {c.id: c for c in containers})


def planned(assignment: Assignment, *containers: ObservedContainer, **memory: Any) -> Plan:
    return plan(assignment, world_of(*containers), NOW, BACKOFF, Memory(**memory))


def names(found: Plan) -> list[str]:
    return [step.name for step in found.steps]


@pytest.mark.parametrize(
    ("policy", "auto_heal", "attempt", "is_ended"),
    [
        (NO, False, 0, False),
        (NO, True, 0, True),
        (NO, True, 99, True),
        (ALWAYS, False, 99, True),
        (UNLESS_STOPPED, False, 0, True),
        (FOR_EVER, False, 99, True),
        (TWICE, False, 1, True),
        (TWICE, False, 2, False),
        (TWICE, True, 2, False),
    ],
)
def test_an_ill_process_is_ended_only_to_be_started_again(
    policy: RestartPolicy, auto_heal: bool, attempt: int, is_ended: bool
) -> None:
    wanted = assignment_of(ONE, restart=policy, auto_heal=auto_heal)
    found = planned(wanted, seen_of(health=ILL, attempt=attempt))
    assert found.steps == ((Stop(ONE, 10.0, ILL.complaint),) if is_ended else ())
    ended = seen_of(ContainerState.EXITED, exit_code=0, cut_off=ILL.complaint, attempt=attempt)
    after = planned(wanted, ended)
    if is_ended:
        assert after.steps == (Start(ONE, 1, attempt + 1),)
    else:
        assert Start not in {type(step) for step in after.steps}


@pytest.mark.parametrize("health", [None, Health(), Health(HealthState.HEALTHY), Health(HealthState.HEALTHY, 2, "no")])
def test_a_process_that_is_not_ill_is_left_alone(health: Health | None) -> None:
    assert planned(assignment_of(ONE, restart=ALWAYS), seen_of(health=health)).settled


@pytest.mark.parametrize(
    ("intent", "state", "steps"),
    [
        ({"desired": Desired.PAUSED}, ContainerState.RUNNING, ["pause"]),
        ({"desired": Desired.PAUSED}, ContainerState.PAUSED, []),
        ({"desired": Desired.STOPPED}, ContainerState.RUNNING, ["stop", "remove_sandbox"]),
        ({"desired": Desired.RUNNING}, ContainerState.PAUSED, ["resume"]),
    ],
)
def test_what_its_user_wants_comes_before_its_health(
    intent: dict[str, Any], state: ContainerState, steps: list[str]
) -> None:
    found = planned(altered(assignment_of(ONE, restart=ALWAYS), **intent), seen_of(state, health=ILL))
    assert names(found) == steps
    assert all(step.reason is None for step in found.steps if isinstance(step, Stop))


def test_a_restart_for_illness_waits_its_time_like_any_other() -> None:
    wanted = assignment_of(ONE, auto_heal=True)
    ended = seen_of(ContainerState.EXITED, exit_code=0, cut_off="ill", attempt=3, finished_at=NOW)
    assert planned(wanted, ended).wait == 8.0
    long = replace(ended, started_at=NOW - timedelta(hours=1))
    assert planned(wanted, long).wait == 1.0


def test_a_stop_that_was_cut_short_is_taken_up_although_nobody_knows_of_the_illness_any_more() -> None:
    condemned = seen_of(cut_off="ill", health=Health())
    assert planned(assignment_of(ONE, restart=ALWAYS), condemned).steps == (Stop(ONE, 10.0, "ill"),)


@pytest.mark.parametrize(
    ("policy", "auto_heal", "is_started"),
    [(NO, False, False), (NO, True, True), (ALWAYS, False, True), (FOR_EVER, False, True), (TWICE, True, True)],
)
def test_after_a_restart_of_the_machine_the_policy_decides_and_auto_heal(
    policy: RestartPolicy, auto_heal: bool, is_started: bool
) -> None:
    lost = seen_of(ContainerState.EXITED, exit_code=137, cut_off="It ended with its node, which restarted.")
    found = planned(assignment_of(ONE, restart=policy, auto_heal=auto_heal), lost)
    assert ("start" in names(found)) == is_started


MADE, OVER = Made(ONE, 0, 1), Made(ONE, 0, 1, is_over=True)
AT_REST = ["ensure_image", "remove", "create", "remove_sandbox"]


def test_what_was_never_made_is_made_and_what_vanished_is_told() -> None:
    fresh = plan(assignment_of(ONE), ObservedWorkload(), NOW, BACKOFF, Memory())
    assert names(fresh) == ["ensure_image", "create", "make_sandbox", "plug", "start"]
    found = planned(assignment_of(ONE), made={ONE: MADE})
    assert names(found) == ["remove", "remove_sandbox"]
    swept = plan(assignment_of(ONE), ObservedWorkload(), NOW, BACKOFF, Memory(made={ONE: MADE}, swept=frozenset({ONE})))
    assert swept.settled
    assert swept.failure is not None
    assert "not on its node any more" in swept.failure
    assert "delete it" in swept.failure


@pytest.mark.parametrize(
    ("intent", "made", "steps"),
    [
        ({}, MADE, ["ensure_image", "remove", "create", "start"]),
        ({"desired": Desired.PAUSED}, MADE, ["ensure_image", "remove", "create", "start", "pause"]),
        ({"desired": Desired.STOPPED}, MADE, AT_REST),
        ({"desired": Desired.STOPPED}, OVER, AT_REST),
        ({"desired": Desired.CREATED, "run": 0}, Made(ONE, 0, 0), AT_REST),
        ({}, OVER, ["remove", "remove_sandbox"]),
        ({"run": 2}, OVER, ["ensure_image", "create", "start"]),
    ],
)
def test_auto_heal_makes_anew_what_vanished_and_runs_what_ran(
    intent: dict[str, Any], made: Made, steps: list[str]
) -> None:
    wanted = altered(assignment_of(ONE, auto_heal=True), **intent)
    assert names(planned(wanted, made={ONE: made})) == steps


@pytest.mark.parametrize("intent", [{"run": 2}, {"rebuild": 1}])
def test_start_and_rebuild_make_anew_what_vanished(intent: dict[str, Any]) -> None:
    found = planned(altered(assignment_of(ONE), **intent), made={ONE: MADE})
    assert names(found) == ["ensure_image", "create", "start"]
    assert found.failure is None


def test_a_lost_container_can_be_deleted_with_what_is_left_of_it() -> None:
    wanted = altered(assignment_of(ONE), desired=Desired.REMOVED)
    assert names(planned(wanted, made={ONE: MADE})) == ["remove", "remove_sandbox"]
    assert names(planned(wanted, made={ONE: MADE}, swept=frozenset({ONE}))) == ["remove_sandbox"]


@pytest.mark.parametrize(
    ("policy", "more", "is_over"),
    [
        (NO, {"exit_code": 0}, True),
        (NO, {"exit_code": 1}, True),
        (ALWAYS, {"exit_code": 0}, False),
        (TWICE, {"exit_code": 0}, True),
        (TWICE, {"exit_code": 1, "attempt": 1}, False),
        (TWICE, {"exit_code": 1, "attempt": 2}, True),
        (ALWAYS, {"error": "no such file"}, True),
    ],
)
def test_what_is_remembered_says_whether_it_had_ended_for_good(
    policy: RestartPolicy, more: dict[str, Any], is_over: bool
) -> None:
    wanted = assignment_of(ONE, restart=policy)
    assert made_of(wanted, seen_of(ContainerState.EXITED, **more)) == Made(ONE, 0, 1, is_over)
    assert not made_of(wanted, seen_of()).is_over
