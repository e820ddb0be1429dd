"""Whose turn it is among the members of a capsule, when it is over, and who is missed. As tables."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from krater.model.assignment import ContainerState, Health, HealthState, Made, ObservedContainer
from krater.model.member import Condition, Dependency, Probe, Role
from krater.model.order import Crew, Turn
from krater.model.workload import (
    ContainerSpec,
    Desired,
    Intent,
    MemberIntent,
    Resources,
    RestartName,
    RestartPolicy,
)

CREATED, RUNNING, PAUSED, EXITED = ContainerState
NEVER, ALWAYS = RestartPolicy(), RestartPolicy(RestartName.ALWAYS)
TWICE = RestartPolicy(RestartName.ON_FAILURE, 2)
STARTED, HEALTHY, COMPLETED = Condition
STARTING, WELL, ILL = Health(), Health(HealthState.HEALTHY), Health(HealthState.UNHEALTHY, 3, "no")
PROBE = Probe(port=80)
RUN = Intent(Desired.RUNNING, run=1)


def spec(name: str, role: Role = Role.MAIN, *awaited: tuple[str, Condition], **more: Any) -> ContainerSpec:
    """A container whose id is its name."""
    waits = tuple(Dependency(*one) for one in awaited)
    if role is Role.SIDECAR:
        more.setdefault("restart", ALWAYS)
    return ContainerSpec(name, name, "busybox", Resources(1.0, 64), role=role, depends_on=waits, **more)


def init(name: str, restart: RestartPolicy = TWICE) -> ContainerSpec:
    return spec(name, Role.INIT, restart=restart)


def sidecar(name: str, **more: Any) -> ContainerSpec:
    return spec(name, Role.SIDECAR, **more)


def up(**more: Any) -> ObservedContainer:
    return ObservedContainer("", 0, more.pop("state", RUNNING), more.pop("run", 1), **more)


def down(exit_code: int | None = 0, **more: Any) -> ObservedContainer:
    return up(state=EXITED, exit_code=exit_code, **more)


def crew_of(*specs: ContainerSpec, intent: Intent = RUN, restart: RestartPolicy = NEVER, **seen: Any) -> Crew:
    """`seen` by name; `heals` and `made` are the crew's."""
    heals, made = seen.pop("heals", False), seen.pop("made", {})
    found = {name: replace(one, id=name) for name, one in seen.items()}
    return Crew(specs, intent, restart, heals, found, made)


def words(crew: Crew) -> dict[str, str]:
    """`now`, what it waits for, or `! doom`."""
    return {name: told(turn) for name, turn in crew.turns().items()}


def told(turn: Turn) -> str:
    return "now" if turn.is_here else f"! {turn.doom}" if turn.doom is not None else str(turn.waits)


# One after the other -------------------------------------------------------------------------------------------------

LATER = datetime(2030, 1, 1, tzinfo=UTC)
THREE = (init("one"), init("two"), spec("web"))
AFTER_ONE, AFTER_TWO = "Waits for one to succeed.", "Waits for two to succeed."
ONE_FAILED = "! init container one failed 3 times, the last time with exit code 4."


@pytest.mark.parametrize(
    ("seen", "turns"),
    [
        ({}, ["now", AFTER_ONE, AFTER_ONE]),
        ({"one": up(state=CREATED, run=0)}, ["now", AFTER_ONE, AFTER_ONE]),
        ({"one": up(state=CREATED)}, ["now", AFTER_ONE, AFTER_ONE]),
        ({"one": up()}, ["now", AFTER_ONE, AFTER_ONE]),
        ({"one": up(state=PAUSED)}, ["now", AFTER_ONE, AFTER_ONE]),
        ({"one": down()}, ["now", "now", AFTER_TWO]),
        ({"one": down(), "two": up()}, ["now", "now", AFTER_TWO]),
        ({"one": down(), "two": down()}, ["now", "now", "now"]),
        ({"one": down(4)}, ["now", AFTER_ONE, AFTER_ONE]),
        ({"one": down(4, attempt=1)}, ["now", AFTER_ONE, AFTER_ONE]),
        ({"one": down(4, attempt=2)}, ["now", ONE_FAILED, ONE_FAILED]),
        ({"one": down(0, cut_off="It ended with its node.")}, ["now", AFTER_ONE, AFTER_ONE]),
        ({"one": down(), "two": down(4)}, ["now", "now", AFTER_TWO]),
        ({"one": down(run=0), "two": down(run=0), "web": up(run=0)}, ["now", AFTER_ONE, AFTER_ONE]),
    ],
)
def test_init_containers_begin_one_after_the_other_and_their_exit_codes_count(
    seen: dict[str, Any], turns: list[str]
) -> None:
    assert list(words(crew_of(*THREE, **seen)).values()) == turns


@pytest.mark.parametrize(
    ("policy", "ended", "doom"),
    [
        (NEVER, down(1), "failed with exit code 1."),
        (NEVER, down(None), "failed with an unknown exit code."),
        (NEVER, down(137, oom_killed=True), "failed for want of memory: it used more than its limit."),
        (NEVER, down(137, cut_off="Its node restarted."), "was ended before it was done: Its node restarted."),
        (TWICE, down(1, attempt=1), None),
        (TWICE, down(1, attempt=2), "failed 3 times, the last time with exit code 1."),
        (RestartPolicy(RestartName.ON_FAILURE), down(1, attempt=99), None),
        (ALWAYS, down(None, error="no such file"), "could not be started: no such file"),
    ],
)
def test_an_init_container_is_retried_as_its_policy_says_and_then_that_is_told(
    policy: RestartPolicy, ended: ObservedContainer, doom: str | None
) -> None:
    turn = crew_of(init("one", policy), spec("web"), one=ended).turns()["web"]
    assert turn.doom == (doom and f"init container one {doom}")
    assert turn.culprit == ("one" if doom else None)


def test_whoever_waits_for_the_doomed_names_the_one_that_failed() -> None:
    specs = (init("one", NEVER), spec("db"), spec("web", Role.MAIN, ("db", HEALTHY)))
    turn = crew_of(*specs, one=down(1)).turns()["web"]
    assert (turn.doom, turn.culprit) == ("init container one failed with exit code 1.", "one")


# Sidecars ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "seen", "turns"),
    [
        ({}, {}, ["now", "Waits for log to run.", "Waits for log to run."]),
        ({}, {"log": up()}, ["now", "now", AFTER_ONE]),
        ({}, {"log": up(state=PAUSED)}, ["now", "now", AFTER_ONE]),
        ({}, {"log": down(1)}, ["now", "Waits for log to run.", "Waits for log to run."]),
        ({}, {"log": up(), "one": down()}, ["now", "now", "now"]),
        ({}, {"log": down(), "one": down()}, ["now", "Waits for log to run.", "Waits for log to run."]),
        ({"startup": PROBE}, {"log": up(health=STARTING)}, ["now", "Waits for log to run.", "Waits for log to run."]),
        ({"startup": PROBE}, {"log": up()}, ["now", "Waits for log to run.", "Waits for log to run."]),
        ({"startup": PROBE}, {"log": up(health=WELL)}, ["now", "now", AFTER_ONE]),
        (
            {},
            {"log": down(None, error="no such file")},
            ["now", *["! log could not be started: no such file"] * 2],
        ),
    ],
)
def test_a_sidecar_runs_before_those_after_it_begin(
    more: dict[str, Any], seen: dict[str, Any], turns: list[str]
) -> None:
    assert list(words(crew_of(sidecar("log", **more), init("one"), spec("web"), **seen)).values()) == turns


def test_a_sidecar_has_started_once_its_startup_probe_was_answered_whatever_liveness_says() -> None:
    log = up(health=STARTING, started_at=LATER)
    made = {"log": Made("log", 0, 1, begun=LATER)}
    crew = crew_of(sidecar("log", startup=PROBE, liveness=PROBE), spec("web"), log=log, made=made)
    assert words(crew) == {"log": "now", "web": "now"}
    before = crew_of(sidecar("log", startup=PROBE), spec("web"), log=replace(log, started_at=None), made=made)
    assert words(before)["web"] == "Waits for log to run.", "that was another process"


# Dependencies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "more", "db", "turn"),
    [
        (STARTED, {}, None, "Waits for db to run."),
        (STARTED, {}, up(state=CREATED), "Waits for db to run."),
        (STARTED, {}, up(), "now"),
        (STARTED, {}, down(), "now"),
        (STARTED, {}, down(1), "now"),
        (STARTED, {"startup": PROBE}, up(health=STARTING), "Waits for db to run."),
        (STARTED, {"startup": PROBE}, up(health=WELL), "now"),
        (STARTED, {"startup": PROBE}, down(), "now"),
        (STARTED, {"startup": PROBE}, down(1), "! db failed with exit code 1."),
        (STARTED, {}, down(None, error="no"), "! db could not be started: no"),
        (HEALTHY, {}, up(), "now"),
        (HEALTHY, {"liveness": PROBE}, up(), "Waits for db to be healthy."),
        (HEALTHY, {"liveness": PROBE}, up(health=STARTING), "Waits for db to be healthy."),
        (HEALTHY, {"liveness": PROBE}, up(health=ILL), "Waits for db to be healthy."),
        (HEALTHY, {"liveness": PROBE}, up(health=WELL), "now"),
        (HEALTHY, {"readiness": PROBE}, up(), "Waits for db to be healthy."),
        (HEALTHY, {"readiness": PROBE}, up(ready=False, health=WELL), "Waits for db to be healthy."),
        (HEALTHY, {"readiness": PROBE}, up(ready=True), "now"),
        (HEALTHY, {"liveness": PROBE}, up(health=WELL, state=PAUSED), "now"),
        (HEALTHY, {}, down(), "! db has ended, so it will not be healthy."),
        (HEALTHY, {}, down(2), "! db failed with exit code 2."),
        (HEALTHY, {"restart": ALWAYS}, down(2), "Waits for db to be healthy."),
        (COMPLETED, {}, up(), "Waits for db to succeed."),
        (COMPLETED, {}, down(), "now"),
        (COMPLETED, {}, down(2), "! db failed with exit code 2."),
        (COMPLETED, {"restart": TWICE}, down(2), "Waits for db to succeed."),
        (COMPLETED, {}, down(run=0), "Waits for db to succeed."),
    ],
)
def test_a_member_waits_until_the_other_has_come_so_far(
    condition: Condition, more: dict[str, Any], db: ObservedContainer | None, turn: str
) -> None:
    seen: dict[str, Any] = {} if db is None else {"db": db}
    crew = crew_of(spec("db", **more), spec("web", Role.MAIN, ("db", condition)), **seen)
    assert words(crew) == {"db": "now", "web": turn}


def test_who_will_never_come_is_told_before_who_is_only_late() -> None:
    web = spec("web", Role.MAIN, ("late", STARTED), ("never", COMPLETED))
    assert told(crew_of(spec("late"), spec("never"), web, never=down(9)).turns()["web"]) == (
        "! never failed with exit code 9."
    )


def test_what_runs_already_is_not_doomed_by_what_it_came_after() -> None:
    specs = (spec("a"), spec("b", Role.MAIN, ("a", HEALTHY), liveness=PROBE), spec("c", Role.MAIN, ("b", HEALTHY)))
    crew = crew_of(*specs, a=down(), b=up(health=STARTING))
    assert words(crew)["c"] == "Waits for b to be healthy."


# What a user does to one of them -------------------------------------------------------------------------------------


def asking(name: str, **own: Any) -> Intent:
    return replace(RUN, members={name: MemberIntent(**own)})


@pytest.mark.parametrize(
    ("intent", "db", "is_halted", "turn"),
    [
        (asking("db", desired=Desired.STOPPED), RUNNING, True, "Waits for db to be healthy, but it is halted."),
        (asking("db", desired=Desired.PAUSED), PAUSED, True, "Waits for db to be healthy, but it is halted."),
        (asking("db", desired=Desired.PAUSED), RUNNING, False, "Waits for db to be healthy."),
        (asking("db", run=1), RUNNING, False, "Waits for db to be healthy."),
    ],
)
def test_whoever_waits_for_one_that_its_user_halted_does_not_wait_for_us(
    intent: Intent, db: ContainerState, is_halted: bool, turn: str
) -> None:
    specs = (
        spec("db", liveness=PROBE),
        spec("web", Role.MAIN, ("db", HEALTHY)),
        spec("last", Role.MAIN, ("web", STARTED)),
    )
    turns = crew_of(*specs, intent=intent, db=up(state=db, health=STARTING)).turns()
    assert (told(turns["web"]), turns["web"].is_halted) == (turn, is_halted)
    assert turns["last"].is_halted == is_halted


def test_what_failed_for_good_dooms_the_rest_although_the_whole_is_paused() -> None:
    paused = replace(RUN, desired=Desired.PAUSED)
    assert words(crew_of(*THREE, intent=paused, one=down(4, attempt=2)))["web"] == ONE_FAILED


def test_one_that_its_user_stopped_is_no_failure_and_may_have_been_started() -> None:
    halted = asking("db", desired=Desired.STOPPED)
    later = crew_of(spec("db"), spec("web", Role.MAIN, ("db", COMPLETED)), intent=halted, db=down(143))
    assert words(later)["web"] == "Waits for db to succeed, but it is halted."
    started = crew_of(spec("db"), spec("web", Role.MAIN, ("db", STARTED)), intent=halted, db=down(143))
    assert words(started)["web"] == "now"
    beside = crew_of(sidecar("log"), spec("web"), intent=asking("log", desired=Desired.STOPPED), log=down(143))
    assert words(beside)["web"] == "now"


def test_a_reboot_of_the_whole_runs_init_containers_again_and_that_of_one_does_not() -> None:
    done: dict[str, Any] = {"one": down(), "two": down(), "web": up()}
    again = crew_of(*THREE, intent=replace(RUN, run=2), **done)
    assert list(words(again).values()) == ["now", AFTER_ONE, AFTER_ONE]
    halfway = crew_of(*THREE, intent=replace(RUN, run=2), **{**done, "one": down(run=2), "two": up(run=2)})
    assert words(halfway)["web"] == AFTER_TWO
    one = crew_of(*THREE, intent=asking("web", run=1), **done)
    assert list(words(one).values()) == ["now", "now", "now"]


def test_after_one_was_asked_to_run_again_those_that_depend_on_it_wait_for_the_new_process() -> None:
    specs = (spec("db"), spec("web", Role.MAIN, ("db", STARTED)))
    assert words(crew_of(*specs, intent=asking("db", run=1), db=up()))["web"] == "Waits for db to run."
    assert words(crew_of(*specs, intent=asking("db", run=1), db=up(run=2)))["web"] == "now"


# Over ----------------------------------------------------------------------------------------------------------------

BATCH = (init("one", NEVER), sidecar("log"), spec("a"), spec("b", Role.MAIN, ("a", COMPLETED)))
DONE: dict[str, Any] = {"one": down(), "log": up(), "a": down(), "b": down()}
HALT_A = asking("a", desired=Desired.STOPPED)


@pytest.mark.parametrize(
    ("changes", "more", "is_over"),
    [
        ({}, {}, True),
        ({"log": down(1)}, {}, True),
        ({"b": down(3)}, {}, True),
        ({"b": up()}, {}, False),
        ({"b": up(state=PAUSED)}, {}, False),
        ({"b": up(state=CREATED)}, {}, False),
        ({"b": down(3)}, {"restart": TWICE}, False),
        ({"b": down(3, attempt=2)}, {"restart": TWICE}, True),
        ({"b": down()}, {"restart": ALWAYS}, False),
        ({"b": down(None, error="no such file")}, {"restart": TWICE}, True),
        ({"a": down(3), "b": up(state=CREATED, run=0)}, {}, True),
        ({"one": down(3), "a": up(state=CREATED, run=0), "b": up(state=CREATED, run=0)}, {}, True),
        ({"a": down(143)}, {"intent": HALT_A}, False),
        ({}, {"intent": asking("a", run=1)}, False),
        ({}, {"intent": replace(RUN, run=2)}, False),
        ({}, {"intent": replace(RUN, desired=Desired.PAUSED)}, True),
        ({}, {"intent": replace(RUN, desired=Desired.STOPPED)}, False),
    ],
)
def test_it_is_over_when_no_ordinary_one_will_do_anything_more(
    changes: dict[str, Any], more: dict[str, Any], is_over: bool
) -> None:
    crew = crew_of(*BATCH, **more, **{**DONE, **changes})
    assert crew.is_over(crew.turns()) == is_over


# Lost ----------------------------------------------------------------------------------------------------------------


def had(**over: bool) -> dict[str, Made]:
    return {name: Made(name, 0, 1, is_over) for name, is_over in over.items()}


@pytest.mark.parametrize(
    ("seen", "made", "heals", "missing"),
    [
        ({}, {}, True, set()),
        ({}, had(one=True, log=False, a=False, b=False), False, {"one", "log", "a", "b"}),
        ({}, had(one=True, log=False, a=False, b=False), True, set()),
        ({}, had(one=True, log=False, a=True, b=False), True, {"a"}),
        ({}, had(one=True, log=False, a=True, b=True), True, {"one", "a", "b"}),
        ({"log": up(), "a": down(), "b": up()}, had(one=True), True, {"one"}),
        ({"log": up(), "a": down()}, had(one=True, b=False), True, set()),
        ({"one": down(), "log": up(), "a": down()}, had(b=False), False, {"b"}),
        ({"one": down(), "a": down(), "b": down()}, had(log=False), True, set()),
    ],
)
def test_what_is_lost_is_missed_or_made_anew_and_init_containers_only_for_those_after_them(
    seen: dict[str, Any], made: dict[str, Made], heals: bool, missing: set[str]
) -> None:
    assert crew_of(*BATCH, heals=heals, made=made, **seen).missing() == missing


def test_a_run_that_was_asked_for_since_misses_nobody() -> None:
    made = had(one=True, log=False, a=True, b=True)
    assert crew_of(*BATCH, made=made, intent=replace(RUN, run=2)).missing() == frozenset()
    assert crew_of(*BATCH, made=made, intent=asking("a", run=1)).missing() == {"one", "log", "b"}


def test_init_containers_run_again_before_those_that_are_made_anew() -> None:
    crew = crew_of(*THREE, heals=True, made=had(one=True, two=True, web=False))
    assert list(words(crew).values()) == ["now", AFTER_ONE, AFTER_ONE]


def test_whoever_waits_for_a_missing_one_is_told_so() -> None:
    crew = crew_of(*THREE, made=had(one=True, two=True))
    assert words(crew)["web"].startswith("! init container one is lost.")
    assert crew.is_over(crew.turns())


def test_a_capsule_whose_ended_members_are_lost_is_over() -> None:
    crew = crew_of(*BATCH, heals=True, made=had(a=True, b=True), one=down(), log=up())
    assert crew.is_over(crew.turns())


# The machine restarts ------------------------------------------------------------------------------------------------

CUT = "It ended with its node, which restarted."


def test_after_a_restart_of_the_machine_what_had_succeeded_stays_done_and_the_rest_comes_back() -> None:
    crew = crew_of(*THREE, restart=ALWAYS, one=down(), two=down(), web=down(None, cut_off=CUT))
    assert words(crew)["web"] == "now"
    assert crew.comes_back(THREE[2], crew.seen["web"])
    cut_short = crew_of(*THREE, restart=ALWAYS, one=down(), two=down(None, cut_off=CUT))
    assert words(cut_short)["web"] == AFTER_TWO


@pytest.mark.parametrize(
    ("db", "is_near"),
    [
        (up(health=STARTING), True),
        (up(), True),
        (up(health=ILL), False),
        (up(health=WELL), False),
        (up(ready=False, unready="it does not answer"), False),
        (down(None, cut_off=CUT), False),
        (up(state=PAUSED), False),
    ],
)
def test_one_that_is_on_its_way_is_near(db: ObservedContainer, is_near: bool) -> None:
    specs = (spec("db", liveness=PROBE, restart=ALWAYS), spec("web", Role.MAIN, ("db", HEALTHY)))
    turn = crew_of(*specs, db=db, web=down(None, cut_off=CUT)).turns()["web"]
    assert (turn.is_near, turn.after) == (is_near, frozenset({"db"}))
