"""What is planned for capsules: whose steps, in which order, and what goes on at once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from krater.agent.planner import Backoff, Memory, ObservedWorkload, Plan, made_of, plan
from krater.agent.steps import MakeSandbox, Start, Step, Stop, container_of, groups
from krater.model.assignment import Assignment, ContainerState, Health, HealthState, Made, ObservedContainer
from krater.model.member import Condition, Dependency, Probe, Role
from krater.model.volume import Attachment, MountRequest
from krater.model.workload import ContainerSpec, Desired, Intent, MemberIntent, Resources, RestartName, RestartPolicy
from tests.support.agent import altered, assignment_of, spec_of

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
BACKOFF = Backoff(base=1.0, cap=60.0, reset=600.0)
CAPSULE = "c" * 32
PORT = f"port-{CAPSULE[:8]}"
CREATED, RUNNING, PAUSED, EXITED = ContainerState
ALWAYS, ONCE = RestartPolicy(RestartName.ALWAYS), RestartPolicy()
RETRIED = RestartPolicy(RestartName.ON_FAILURE, 10)
SHARED = Attachment("v" * 32, 1, is_new=True)
CUT = "It ended with its node, which restarted."
OVER = "The ordinary containers of the capsule have ended."


def member(name: str, role: Role = Role.MAIN, *after: tuple[str, Condition], **more: Any) -> ContainerSpec:
    """A member whose id is its name."""
    waits = tuple(Dependency(*one) for one in after)
    return replace(spec_of(name, role=role, depends_on=waits, **more), name=name)


ONE, LOG = member("one", Role.INIT, restart=RETRIED), member("log", Role.SIDECAR, restart=ALWAYS)
DB, WEB = member("db"), member("web", Role.MAIN, ("db", Condition.HEALTHY))


def capsule(*specs: ContainerSpec, **more: Any) -> Assignment:
    """A placed capsule that shall run."""
    wanted = assignment_of(CAPSULE, containers=specs or (ONE, LOG, DB, WEB), **more)
    return replace(wanted, whole=Resources(4.0, 256))


def up(**more: Any) -> ObservedContainer:
    return ObservedContainer("", more.pop("rebuild", 0), more.pop("state", RUNNING), more.pop("run", 1), **more)


def down(exit_code: int | None = 0, **more: Any) -> ObservedContainer:
    return up(state=EXITED, exit_code=exit_code, **{"finished_at": NOW - timedelta(hours=1), **more})


def idle(**more: Any) -> ObservedContainer:
    return up(**{"state": CREATED, "run": 0, **more})


def planned(assignment: Assignment | None, memory: Memory | None = None, *, network: bool = True, **seen: Any) -> Plan:
    """`seen` are containers by name, and `mounts`."""
    mounts = frozenset(seen.pop("mounts", ()))
    found = {name: replace(one, id=name) for name, one in seen.items()}
    ports = frozenset({PORT} if network else ())
    world = ObservedWorkload("/netns" if network else None, ports, found, mounts)
    return plan(assignment, world, NOW, BACKOFF, memory or Memory())


def told(steps: Any) -> list[str]:
    """Steps in words: what, and of whom."""
    return [f"{step.name} {container_of(step)}".strip() for step in steps]


ALL_UP: dict[str, Any] = {"one": down(), "log": up(), "db": up(), "web": up()}

DOWN: dict[str, Any] = dict.fromkeys(ALL_UP, down())


def test_a_new_capsule_has_images_and_network_side_by_side_and_volumes_before_the_first_start() -> None:
    mounts = (MountRequest("/data", volume=SHARED.volume), MountRequest("/conf", file="f" * 32))
    specs = (replace(ONE, mounts=mounts), LOG, replace(DB, mounts=mounts[:1]), WEB)
    found = planned(capsule(*specs, volumes=(SHARED,)), network=False)
    together, last = groups(found.steps)
    assert [told(lane) for lane in together] == [
        *[[f"ensure_image {name}", f"create {name}"] for name in ("one", "log", "db", "web")],
        ["make_sandbox", "plug"],
        ["connect_volume", "place_files"],
    ]
    assert [told(lane) for lane in last] == [["start one"]]
    assert not found.settled


@pytest.mark.parametrize(
    ("seen", "steps"),
    [
        ({"one": idle(), "log": idle(), "db": idle(), "web": idle()}, ["start one"]),
        ({"one": up(), "log": idle(), "db": idle(), "web": idle()}, []),
        ({"one": down(1, finished_at=NOW), "log": idle(), "db": idle(), "web": idle()}, []),
        ({"one": down(1), "log": idle(), "db": idle(), "web": idle()}, ["start one"]),
        ({"one": down(), "log": idle(), "db": idle(), "web": idle()}, ["start log"]),
        ({"one": down(), "log": up(), "db": idle(), "web": idle()}, ["start db"]),
        ({"one": down(), "log": up(), "db": up(), "web": idle()}, ["start web"]),
        (ALL_UP, []),
        ({**ALL_UP, "log": down(1, finished_at=NOW), "web": idle()}, []),
    ],
)
def test_members_begin_in_their_turn(seen: dict[str, Any], steps: list[str]) -> None:
    found = planned(capsule(), **seen)
    assert told(found.steps) == steps
    assert found.settled == (seen == ALL_UP)
    assert found.failure is None


def test_a_member_waits_for_health_without_being_done() -> None:
    ready = (replace(DB, readiness=Probe(port=1)), WEB)
    waiting = planned(capsule(*ready), db=up(ready=False), web=idle())
    assert (waiting.steps, waiting.settled, waiting.wait) == ((), False, None)
    assert told(planned(capsule(*ready), db=up(ready=True), web=idle()).steps) == ["start web"]


def test_those_that_may_begin_begin_at_once() -> None:
    found = planned(capsule(member("a"), member("b")), a=idle(), b=idle())
    assert [[told(lane) for lane in lanes] for lanes in groups(found.steps)] == [[["start a"], ["start b"]]]


# Stopping ------------------------------------------------------------------------------------------------------------


def test_a_capsule_stops_in_reverse_with_its_grace_and_gives_up_what_it_shared() -> None:
    found = planned(altered(capsule(), desired=Desired.STOPPED, grace=3600.0), **ALL_UP, mounts=("v",))
    assert found.steps[:3] == (Stop("web", 3600.0), Stop("db", 3600.0), Stop("log", 3600.0))
    assert told(found.steps[3:]) == ["remove_sandbox", "disconnect"]
    assert planned(altered(capsule(), desired=Desired.STOPPED), network=False, **DOWN).settled


@pytest.mark.parametrize(
    ("assignment", "steps"),
    [
        (None, []),
        (altered(capsule(), desired=Desired.REMOVED, grace=0.0), []),
        (altered(capsule(), desired=Desired.REMOVED, grace=7.0), ["stop web", "stop db", "stop log"]),
    ],
)
def test_a_capsule_goes_in_reverse_and_its_network_and_volumes_after_it(
    assignment: Assignment | None, steps: list[str]
) -> None:
    found = planned(assignment, **ALL_UP, mounts=("v",))
    gone = {"remove web", "remove db", "remove log", "remove one"}
    assert told(found.steps[: len(steps)]) == steps
    assert set(told(found.steps[len(steps) : len(steps) + 4])) == gone
    assert told(found.steps[len(steps) + 4 :]) == ["remove_sandbox", "disconnect"]
    assert all(step.grace == 7.0 for step in found.steps if isinstance(step, Stop))
    if assignment is not None:
        assert told(found.steps[len(steps) :])[:4] == ["remove web", "remove db", "remove log", "remove one"]


def test_when_the_ordinary_ones_have_ended_sidecars_go_and_then_the_rest() -> None:
    over: dict[str, Any] = {"one": down(), "log": up(), "db": down(), "web": down(3)}
    found = planned(capsule(grace=40.0), **over)
    assert found.steps[0] == Stop("log", 40.0, OVER)
    assert told(found.steps[1:]) == ["remove_sandbox"]
    after = planned(capsule(), network=False, **{**over, "log": down(143, cut_off=OVER)})
    assert (after.steps, after.settled, after.wait) == ((), True, None)


def test_sidecars_stop_last_first() -> None:
    two = (LOG, member("mesh", Role.SIDECAR, restart=ALWAYS), DB)
    assert told(planned(capsule(*two), log=up(), mesh=up(), db=down()).steps)[:2] == ["stop mesh", "stop log"]


def test_an_ordinary_member_begins_again_after_its_sidecars() -> None:
    again = Intent(Desired.RUNNING, 2, run=1, members={"db": MemberIntent(run=1)})
    wanted = replace(capsule(LOG, DB), intent=again)
    ended = down(143, cut_off=OVER)
    assert told(planned(wanted, log=ended, db=down()).steps) == ["start log"]
    assert told(planned(wanted, log=up(attempt=1), db=down()).steps) == ["start db"]


def test_what_has_no_part_in_a_slow_stop_starts_before_it() -> None:
    halted = altered(capsule(DB, member("web"), restart=ALWAYS), members={"db": MemberIntent(Desired.STOPPED)})
    early = planned(halted, db=up(), web=down(1))
    assert told(early.steps) == ["start web"]
    assert [stop.container for stop in early.stops] == ["db"]
    assert told(planned(halted, db=up(), web=up(attempt=1)).steps) == ["stop db"]
    begins = altered(capsule(DB, member("web")), members={"db": MemberIntent(Desired.STOPPED)})
    assert told(planned(begins, db=up(), web=idle()).steps) == ["start web"]
    both = {"db": MemberIntent(Desired.STOPPED), "web": MemberIntent(run=1)}
    again = planned(altered(capsule(DB, member("web")), members=both), db=up(), web=up())
    assert told(again.steps) == ["stop web", "start web"], "one that is rebooted waits for nobody who rests"
    assert {stop.container for stop in again.stops} == {"db", "web"}
    kill = altered(capsule(DB, member("web")), members={"db": MemberIntent(Desired.STOPPED, grace=0.0)})
    assert told(planned(kill, db=up(), web=idle()).steps) == ["stop db", "start web"]


# One of them ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "own", "steps"),
    [
        ("db", {"desired": Desired.STOPPED, "grace": 3.0}, ["stop db"]),
        ("db", {"desired": Desired.PAUSED}, ["pause db"]),
        ("db", {"run": 1, "grace": 3.0}, ["stop db", "start db"]),
        ("log", {"desired": Desired.STOPPED}, ["stop log"]),
        ("log", {"run": 1}, ["stop log", "start log"]),
    ],
)
def test_what_is_asked_of_one_member_is_done_to_no_other(name: str, own: dict[str, Any], steps: list[str]) -> None:
    wanted = altered(capsule(), members={name: MemberIntent(**own)})
    found = planned(wanted, **ALL_UP)
    assert told(found.steps) == steps
    assert {step.grace for step in found.steps if isinstance(step, Stop)} <= {own.get("grace", 10.0)}


def test_a_stopped_member_stays_so_and_keeps_nothing_from_its_rest() -> None:
    wanted = altered(capsule(restart=ALWAYS), members={"db": MemberIntent(Desired.STOPPED)})
    assert planned(wanted, **{**ALL_UP, "db": down(143)}).settled
    probed = capsule(replace(DB, liveness=Probe(port=1)), WEB)
    halted = altered(probed, members={"db": MemberIntent(Desired.STOPPED)})
    assert told(planned(halted, db=down(143), web=idle()).steps) == ["remove_sandbox"]
    waits = planned(halted, network=False, db=down(143), web=idle())
    assert (waits.steps, waits.settled, waits.failure) == ((), True, None)


def test_a_reboot_runs_the_init_containers_again_and_nothing_before_its_turn() -> None:
    wanted = altered(capsule(), run=2)
    assert told(planned(wanted, **ALL_UP).steps) == ["stop web", "stop db", "stop log", "start one"]
    down_again: dict[str, Any] = {"one": up(run=2), **dict.fromkeys(("log", "db", "web"), down(143))}
    assert planned(wanted, **down_again).steps == ()
    assert told(planned(wanted, **{**down_again, "one": down(run=2)}).steps) == ["start log"]


# Failures ------------------------------------------------------------------------------------------------------------


def test_a_pull_that_failed_begins_nothing_and_names_its_member() -> None:
    made: dict[str, Any] = {"one": idle(), "log": idle(), "db": idle()}
    found = planned(capsule(), Memory("There is no image nowhere.", "web"), network=False, **made)
    assert (found.steps, found.settled) == ((), True)
    assert (found.failure, found.failed) == ("There is no image nowhere.", "web")


def test_a_start_that_failed_leaves_the_others_running_and_names_its_member() -> None:
    lone = (DB, member("web"))
    found = planned(capsule(*lone), db=up(), web=down(None, error="no such file"))
    assert (found.steps, found.settled) == ((), True)
    assert (found.failure, found.failed) == ("no such file", "web")


def test_a_failure_of_one_member_keeps_the_others_restarts() -> None:
    failed = Memory("There is no image nowhere.", "web")
    lone = (DB, member("web"))
    due = planned(capsule(*lone, restart=ALWAYS), failed, db=down(1), web=idle())
    assert told(due.steps) == ["start db"]
    whole = planned(capsule(*lone, restart=ALWAYS), Memory("no such network"), db=down(1), web=idle())
    assert told(whole.steps) == ["remove_sandbox"]


def test_an_init_container_that_failed_for_good_dooms_the_rest_and_the_network_goes() -> None:
    waiting: dict[str, Any] = {"log": idle(), "db": idle(), "web": idle()}
    found = planned(capsule(), one=down(7, attempt=10), **waiting)
    assert told(found.steps) == ["remove_sandbox"]
    after = planned(capsule(), network=False, one=down(7, attempt=10), **waiting)
    assert (after.settled, after.failed) == (True, "one")
    assert after.failure == "init container one failed 11 times, the last time with exit code 7."


def test_each_member_has_a_back_off_of_its_own() -> None:
    found = planned(
        capsule(DB, member("web"), restart=ALWAYS),
        Memory(calm={"db": 5}),
        db=down(1, attempt=6, finished_at=NOW),
        web=down(1, attempt=3, finished_at=NOW),
    )
    assert (found.wait, found.calm) == (2.0, {"db": 5})
    other = planned(capsule(DB, member("web"), restart=ALWAYS), db=down(1, attempt=6, finished_at=NOW), web=down(1))
    assert told(other.steps) == ["start web"]
    assert other.wait == 60.0


def test_an_ill_member_is_started_again_and_the_others_are_not() -> None:
    ill = Health(HealthState.UNHEALTHY, 3, "no")
    found = planned(capsule(DB, member("web"), restart=ALWAYS), db=up(health=ill), web=up())
    assert found.steps == (Stop("db", 10.0, ill.complaint),)


# Machine and files lost ----------------------------------------------------------------------------------------------


def test_after_a_restart_of_the_machine_members_begin_again_in_order_and_init_containers_do_not() -> None:
    probed = (ONE, LOG, replace(DB, liveness=Probe(port=1)), WEB)
    cut: dict[str, Any] = {
        "log": down(None, cut_off=CUT),
        "db": down(None, cut_off=CUT),
        "web": down(None, cut_off=CUT),
    }
    seen: dict[str, Any] = {"one": down(), **cut}
    order: list[list[str]] = []
    for name in ("log", "db", "web"):
        found = planned(capsule(*probed, restart=ALWAYS), **seen)
        order.append([word for word in told(found.steps) if word.startswith("start")])
        seen[name] = up(attempt=1, health=Health())
        if name == "db":
            waiting = planned(capsule(*probed, restart=ALWAYS), **seen)
            assert (waiting.steps, waiting.settled) == ((), False)
            seen[name] = up(attempt=1, health=Health(HealthState.HEALTHY))
    assert order == [["start log"], ["start db"], ["start web"]]


def test_a_sidecar_that_always_ends_delays_nobody_who_had_his_turn() -> None:
    found = planned(capsule(LOG, DB, restart=ALWAYS), log=down(1, finished_at=NOW), db=down(1))
    assert told(found.steps) == ["start db"]


def all_made(*over: str) -> dict[str, Made]:
    return {name: Made(name, 0, 1, name in over) for name in ("one", "log", "db", "web")}


def test_all_files_lost_without_auto_heal_is_told_and_nothing_is_begun() -> None:
    found = planned(capsule(), Memory(made=all_made("one")), network=False)
    assert told(found.steps) == ["remove web", "remove db", "remove log", "remove one"]
    swept = Memory(made=all_made("one"), swept=frozenset(ALL_UP))
    after = planned(capsule(), swept, network=False)
    assert (after.settled, after.failed) == (True, "one")
    assert "not on its node any more" in (after.failure or "")


def test_with_auto_heal_all_is_made_anew_and_init_containers_run_again_first() -> None:
    found = planned(capsule(auto_heal=True), Memory(made=all_made("one")), network=False)
    assert [word for word in told(found.steps) if word.startswith(("create", "start"))] == [
        "create one",
        "create log",
        "create db",
        "create web",
        "start one",
    ]
    assert found.failure is None


def test_a_batch_that_was_done_is_not_done_again_because_its_files_are_lost() -> None:
    found = planned(capsule(ONE, DB, auto_heal=True), Memory(made=all_made("one", "db")), network=False)
    assert told(found.steps) == ["remove db", "remove one"]
    assert "had ended before" in (found.failure or "")


def test_an_init_container_that_succeeded_is_remembered_as_over_and_a_sidecar_never_is() -> None:
    wanted = capsule()
    assert made_of(wanted, replace(down(), id="one")).is_over
    assert not made_of(wanted, replace(down(1), id="one")).is_over
    assert not made_of(wanted, replace(down(), id="log")).is_over


def test_no_step_is_taken_twice_in_one_plan() -> None:
    steps: tuple[Step, ...] = planned(altered(capsule(), run=2, rebuild=1), **ALL_UP).steps
    assert len(set(told(steps))) == len(steps)
    assert [step.container for step in steps if isinstance(step, Start)] == ["one"]


def test_a_namespace_that_lost_its_name_is_that_of_a_member_that_stays_in_it() -> None:
    members: dict[str, Any] = {"one": down(), "log": up(pid=7), "db": up(pid=8), "web": up(pid=9)}
    found = planned(capsule(ONE, LOG, DB, member("web")), network=False, **members)
    assert MakeSandbox(7) in found.steps
    assert [step.name for step in found.steps if isinstance(step, MakeSandbox) or step.name == "plug"] == [
        "make_sandbox",
        "plug",
    ]
    assert not any(isinstance(step, Start | Stop) for step in found.steps)


def test_of_members_that_are_about_to_end_none_keeps_the_namespace() -> None:
    members: dict[str, Any] = {"one": down(), "log": up(pid=7, state=PAUSED), "db": up(pid=8)}
    wanted = altered(capsule(ONE, LOG, DB), run=2)
    found = planned(wanted, network=False, **members)
    assert all(step.pid is None for step in found.steps if isinstance(step, MakeSandbox))
    halted = altered(capsule(ONE, LOG, DB), desired=Desired.STOPPED)
    assert not any(isinstance(step, MakeSandbox) for step in planned(halted, network=False, **members).steps)
