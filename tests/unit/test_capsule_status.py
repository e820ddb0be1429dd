"""The words shown for a capsule and for its members, for every state they can be in."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from krater.model.assignment import (
    ContainerState,
    Health,
    HealthState,
    Made,
    Observed,
    ObservedContainer,
    Placement,
)
from krater.model.capsules import CapsuleStatus, Situation, derive_capsule_status
from krater.model.member import Condition, Dependency, Probe, Role
from krater.model.status import Status
from krater.model.workload import (
    ContainerSpec,
    Desired,
    Intent,
    MemberIntent,
    Resources,
    RestartName,
    RestartPolicy,
    WorkloadSpec,
)

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
PLACED = Placement(node="n", epoch=1)
CREATED, RUNNING, PAUSED, EXITED = ContainerState
RUN = Intent(Desired.RUNNING, run=1)
STOP = Intent(Desired.STOPPED, 2, run=1)
FREEZE = Intent(Desired.PAUSED, 2, run=1)
ALWAYS, ONCE = RestartPolicy(RestartName.ALWAYS), RestartPolicy()
RETRIED = RestartPolicy(RestartName.ON_FAILURE, 10)


def spec(name: str, role: Role = Role.MAIN, **more: Any) -> ContainerSpec:
    return ContainerSpec(name, name, "busybox", Resources(1.0, 64), role=role, **more)


ONE, LOG = spec("one", Role.INIT, restart=RETRIED), spec("log", Role.SIDECAR, restart=ALWAYS)
DB = spec("db")
WEB = spec("web", depends_on=(Dependency("db", Condition.HEALTHY),))
CREW = (ONE, LOG, DB, WEB)


def up(**more: Any) -> ObservedContainer:
    return ObservedContainer("", 0, more.pop("state", RUNNING), more.pop("run", 1), **more)


def down(exit_code: int | None = 0, **more: Any) -> ObservedContainer:
    return up(state=EXITED, exit_code=exit_code, **more)


def idle() -> ObservedContainer:
    return up(state=CREATED, run=0)


def derive(
    intent: Intent = RUN,
    *,
    specs: tuple[ContainerSpec, ...] = CREW,
    restart: RestartPolicy = ONCE,
    placement: Placement = PLACED,
    alive: bool = True,
    removing: bool = False,
    **more: Any,
) -> CapsuleStatus:
    """`more` are members by name, and fields of what is observed."""
    found = tuple(replace(more.pop(s.id), id=s.id) for s in specs if s.id in more)
    observed = Observed(more.pop("generation", intent.generation), found, **{"settled": True, **more})
    spec = WorkloadSpec(specs, restart=restart, whole=Resources(4.0, 256))
    return derive_capsule_status(Situation(spec, intent, placement, observed, alive, NOW, removing))


def all_up(**more: Any) -> dict[str, Any]:
    return {"one": down(), "log": up(), "db": up(), "web": up(), **more}


PULLING = {"settled": False, "step": "image_pulling"}
LATE = {"settled": False}


@pytest.mark.parametrize(
    ("seen", "task", "reason"),
    [
        (PULLING, "image_pulling", "one: Creating."),
        ({**PULLING, "trouble": "No answer."}, "image_pulling", "one: No answer."),
        ({**PULLING, "trouble": "No answer.", "failed": "db"}, "image_pulling", "db: No answer."),
        ({**LATE, "one": idle()}, "container_starting", "one: Created."),
        ({**LATE, "one": up()}, None, "one: Running."),
        ({**LATE, "one": down()}, None, "log: Creating."),
        ({**LATE, "one": down(), "log": up(), "db": idle()}, "container_starting", "db: Created."),
        ({**LATE, "one": down(), "log": up(), "db": up(), "web": idle()}, "container_starting", "web: Created."),
    ],
)
def test_a_capsule_that_is_being_made_says_what_it_waits_for(
    seen: dict[str, Any], task: str | None, reason: str
) -> None:
    assert derive(**seen).whole == Status("Creating", task, reason)


def test_a_member_that_waits_says_for_whom_and_so_does_the_capsule() -> None:
    probed = (ONE, LOG, replace(DB, readiness=Probe(port=1)), WEB)
    found = derive(specs=probed, settled=False, **all_up(web=idle(), db=up(ready=False)))
    assert found.whole == Status("Creating", "container_starting", "web: Waits for db to be healthy.")
    assert (found.members["web"].word, found.members["web"].reason) == ("Created", "Waits for db to be healthy.")
    assert [found.members[name].word for name in ("one", "log", "db")] == ["Stopped", "Running", "Running"]


def test_while_one_member_is_in_trouble_those_not_begun_say_that_they_wait_for_it() -> None:
    seen: dict[str, Any] = {**PULLING, "one": down(), "log": up(), "web": idle()}
    found = derive(**seen, trouble="No answer.", failed="db")
    reasons = {name: (status.word, status.reason) for name, status in found.members.items()}
    assert reasons == {
        "one": ("Stopped", None),
        "log": ("Running", None),
        "db": ("Creating", "No answer."),
        "web": ("Created", "Waits for db: No answer."),
    }
    assert (found.whole.word, found.whole.reason) == ("Creating", "db: No answer.")


def test_a_capsule_that_begins_anew_tells_of_the_member_in_trouble_and_not_of_those_that_wait() -> None:
    found = derive(replace(RUN, run=2), **all_up(), settled=False, trouble="No answer.", failed="web")
    assert (found.whole.word, found.whole.reason) == ("Restarting", "web: No answer.")
    assert {status.reason for name, status in found.members.items() if name != "web"} == {"Waits for web: No answer."}


def test_trouble_of_nobody_in_particular_is_everybodys() -> None:
    found = derive(settled=False, trouble="No address.", failed=None)
    assert {status.reason for status in found.members.values()} == {"No address."}
    assert found.whole.reason == "one: No address."


def test_a_capsule_without_a_node_is_creating_or_refused() -> None:
    nowhere = Placement()
    assert derive(placement=nowhere, generation=0).whole.word == "Creating"
    refused = Placement(refusal="There are not enough hosts available.", generation=1)
    found = derive(placement=refused, generation=0)
    assert (found.whole.word, found.whole.reason) == ("Error", "There are not enough hosts available.")
    assert {status.word for status in found.members.values()} == {"Error"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"db": up(ready=False)}, "db: Not ready."),
        ({"db": down(3)}, "db: Its process ended by itself with exit code 3."),
        ({"db": down(0)}, None),
        ({"log": up(health=Health(HealthState.HEALTHY))}, None),
        (
            {"web": up(health=Health(HealthState.UNHEALTHY, 3, "exit code 1"))},
            "web: Its health check failed 3 times in a row; the last said: exit code 1",
        ),
    ],
)
def test_a_capsule_runs_when_its_members_do_and_says_who_is_not_well(
    changes: dict[str, Any], reason: str | None
) -> None:
    assert derive(**all_up(**changes)).whole == Status("Running", None, reason)


def test_a_member_that_its_user_stopped_takes_nothing_from_the_capsule() -> None:
    halted = replace(RUN, members={"db": MemberIntent(Desired.STOPPED)})
    found = derive(halted, **all_up(db=down(143)))
    assert found.whole == Status("Running")
    assert found.members["db"].word == "Stopped"
    paused = derive(replace(RUN, members={"db": MemberIntent(Desired.PAUSED)}), **all_up(db=up(state=PAUSED)))
    assert (paused.whole.word, paused.members["db"].word) == ("Running", "Paused")


@pytest.mark.parametrize(
    ("intent", "seen", "word", "task"),
    [
        (RUN, all_up(log=down(143, cut_off="over"), db=down(), web=down()), "Stopped", None),
        (RUN, all_up(settled=False, db=down(), web=down()), "Running", "container_stopping"),
        (STOP, all_up(log=down(143), db=down(143), web=down(137)), "Stopped", None),
        (STOP, all_up(settled=False, web=down(143)), "Running", "container_stopping"),
        (replace(STOP, grace=0.0), all_up(settled=False), "Running", "container_killing"),
        (STOP, {**PULLING}, "Creating", "image_pulling"),
        (Intent(Desired.CREATED), dict.fromkeys(("one", "log", "db", "web"), idle()), "Created", None),
        (FREEZE, all_up(**dict.fromkeys(("log", "db", "web"), up(state=PAUSED))), "Paused", None),
        (FREEZE, all_up(log=up(state=PAUSED), db=down(), web=up(state=PAUSED)), "Running", None),
        (Intent(Desired.REMOVED, 2), all_up(), "Deleting", "container_deleting"),
    ],
)
def test_the_words_for_a_capsule_follow_what_is_asked_and_seen(
    intent: Intent, seen: dict[str, Any], word: str, task: str | None
) -> None:
    whole = derive(intent, **seen).whole
    assert (whole.word, whole.task) == (word, task)


@pytest.mark.parametrize(
    ("desired", "grace", "seen", "reason"),
    [
        (Desired.STOPPED, 600, all_up(web=down(143)), "Waits for log, db to end; each has 600 seconds at most."),
        (Desired.REMOVED, 0.5, all_up(log=down(), db=down()), "Waits for web to end; it has 0.5 seconds at most."),
        (Desired.REMOVED, 600, all_up(log=down(), db=down(), web=down()), None),
        (Desired.REMOVED, 0, all_up(), None),
    ],
)
def test_one_that_ends_says_whom_it_waits_for_and_how_long_that_may_take(
    desired: Desired, grace: float, seen: dict[str, Any], reason: str | None
) -> None:
    assert derive(Intent(desired, 2, run=1, grace=grace), **{**seen, "settled": False}).whole.reason == reason


def test_one_that_ended_well_is_not_in_error_because_others_waited_for_something_else() -> None:
    told = "db has ended, so it will not be healthy."
    found = derive(**{**all_up(db=down(), web=idle()), "failure": told, "failed": "db"})
    assert found.members["db"] == Status("Stopped", detail=found.members["db"].detail)
    assert (found.members["web"].word, found.members["web"].reason) == ("Error", f"Not started: {told}")
    assert found.whole == Status("Error", None, told)


def test_sidecars_that_had_their_time_have_stopped_and_are_not_about_to_restart() -> None:
    ended = {"db": down(), "web": down(), "settled": False}
    found = derive(**all_up(log=down(143, cut_off="The ordinary containers of the capsule have ended."), **ended))
    assert found.members["log"].word == "Stopped"
    stopping = derive(**all_up(**ended)).members["log"]
    assert (stopping.word, stopping.task) == ("Running", "container_stopping")


def test_one_with_all_its_ordinary_members_stopped_by_their_user_still_runs_its_sidecars() -> None:
    halted = {name: MemberIntent(Desired.STOPPED) for name in ("db", "web")}
    found = derive(replace(RUN, members=halted), **all_up(db=down(143), web=down(137)))
    assert found.whole == Status("Running")


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (all_up(log=down(143), db=down(), web=down(3)), "web: Its process ended by itself with exit code 3."),
        (
            all_up(log=down(143), db=down(137, oom_killed=True), web=down()),
            "db: Killed by the kernel: the container used more memory than its limit.",
        ),
        (all_up(log=down(143), db=down(None), web=down()), "db: Its process ended, and nobody knows how."),
        (all_up(log=down(143), db=down(0, cut_off="Its node restarted."), web=down()), "db: Its node restarted."),
    ],
)
def test_a_capsule_that_ended_badly_names_the_member_and_why(seen: dict[str, Any], reason: str) -> None:
    assert derive(**seen).whole == Status("Error", None, reason)


def test_a_member_without_a_limit_of_its_own_was_killed_for_that_of_the_capsule() -> None:
    unlimited = replace(DB, limits=Resources(0.0, 0))
    found = derive(specs=(unlimited, spec("web")), db=down(137, oom_killed=True), web=up())
    told = "Killed by the kernel: all members together used more memory than the limit of their capsule."
    assert found.whole == Status("Running", None, f"db: {told}")
    assert found.members["db"].reason == told
    first = replace(ONE, restart=ONCE, limits=Resources(0.0, 0))
    told = "init container one failed for want of memory: all members used more than the capsule's limit."
    assert derive(specs=(first, DB), one=down(137, oom_killed=True)).members["db"].reason == f"Not started: {told}"


@pytest.mark.parametrize(
    ("failure", "failed", "reason"),
    [
        ("There is no image nowhere.", "db", "db: There is no image nowhere."),
        ("init container one failed with exit code 1.", "one", "init container one failed with exit code 1."),
        ("db failed with exit code 2.", "db", "db failed with exit code 2."),
        ("There is no such network as dbnet.", None, "There is no such network as dbnet."),
        ("There is no database at db.", "db", "db: There is no database at db."),
    ],
)
def test_a_failure_is_told_with_the_name_of_its_member(failure: str, failed: str | None, reason: str) -> None:
    assert derive(failure=failure, failed=failed).whole == Status("Error", None, reason)
    newer = replace(RUN, generation=2)
    assert derive(newer, failure=failure, failed=failed, generation=1).whole.word == "Creating"


def test_the_member_that_failed_has_the_error_others_go_on_and_those_not_begun_say_why() -> None:
    found = derive(failure="no such file", failed="db", **all_up(db=down(None, error="no such file"), web=idle()))
    assert found.members["log"].word == "Running"
    assert (found.members["db"].word, found.members["db"].reason) == ("Error", "no such file")
    assert found.members["web"].word == "Error"
    assert found.members["web"].reason == "Not started: db could not be started: no such file"


def test_after_a_failed_pull_all_that_was_not_begun_says_so() -> None:
    found = derive(failure="There is no image nowhere.", failed="web")
    assert found.members["web"].reason == "There is no image nowhere."
    assert found.members["db"].word == "Error"
    assert found.members["db"].reason == "Not started: web: There is no image nowhere."


def test_a_doomed_member_is_an_error_before_the_node_has_said_so() -> None:
    once = (replace(ONE, restart=ONCE), LOG, DB, WEB)
    found = derive(specs=once, settled=False, one=down(5), log=idle(), db=idle(), web=idle())
    assert found.members["web"].word == "Error"
    assert found.whole.word == "Error"
    assert found.whole.reason == "init container one failed with exit code 5."


def test_a_lost_member_that_is_not_made_anew_is_an_error() -> None:
    lost: dict[str, Any] = {
        "failure": "The container is not on its node any more.",
        "failed": "db",
        "made": (Made("db", 0, 1),),
    }
    seen = {name: one for name, one in all_up().items() if name != "db"}
    found = derive(**seen, **lost)
    assert found.whole == Status("Error", None, "db: The container is not on its node any more.")
    assert found.members["db"].word == "Error"
    assert found.members["web"].word == "Running"


# Restarts, rebuilds, what nobody knows --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("intent", "seen", "word", "task", "reason"),
    [
        (RUN, {"db": down(2)}, "Restarting", None, "db: Its process ended by itself with exit code 2."),
        (RUN, {"one": down(2), "db": idle()}, "Restarting", None, "one: Its process ended by itself with exit code 2."),
        (RUN, {"log": down(0)}, "Restarting", None, None),
        (replace(RUN, generation=2, run=2), {}, "Restarting", "container_starting", None),
        (
            replace(RUN, generation=2, members={"db": MemberIntent(run=1)}),
            {},
            "Restarting",
            "container_rebooting",
            None,
        ),
        (replace(RUN, generation=2, rebuild=1), {}, "Rebuilding", "container_rebuilding", None),
    ],
)
def test_what_begins_again_is_restarting_or_rebuilding(
    intent: Intent, seen: dict[str, Any], word: str, task: str | None, reason: str | None
) -> None:
    found = derive(intent, restart=ALWAYS, settled=False, **all_up(**seen))
    assert found.whole == Status(word, task, reason)


def test_what_a_silent_node_does_is_unknown_and_a_delete_is_a_delete() -> None:
    found = derive(alive=False, **all_up())
    assert {found.whole.word} | {status.word for status in found.members.values()} == {"Unknown"}
    going = derive(removing=True, alive=False, **all_up())
    assert {going.whole.word} | {status.word for status in going.members.values()} == {"Deleting"}
