"""Who of a capsule begins when, what becomes of the others when one fails, and how it ends; on the real engine."""

import json
from collections.abc import Iterator

import pytest

from tests.support.live_capsules import TALKS, Capsule, after, clear, member, mounts, new_volume, sidecar
from tests.support.server import Server, eventually, serving

pytestmark = pytest.mark.live

COUNTS = "n=$(cat /n 2>/dev/null || echo 0); n=$((n+1)); echo $n > /n; echo try $n"


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A Krater that restarts soon."""
    with serving("agent.restart_base=0.05", "agent.restart_cap=0.1", "agent.resync=2") as server:
        yield server


@pytest.fixture(autouse=True)
def empty(own: Server) -> Iterator[None]:
    """Every test leaves nothing."""
    yield
    clear(own)


# Init containers ------------------------------------------------------------------------------------------------------


def test_init_containers_run_one_after_the_other_to_their_end_before_the_rest(own: Server) -> None:
    init = (
        member("first", "echo begun; sleep 0.5; echo ended"),
        member("second", "echo begun; sleep 0.5; echo ended"),
    )
    capsule = Capsule.running(own, member("main", "echo begun; exec sleep 1000"), init=init)
    capsule.says("main", "begun")
    moments = [
        capsule.when("first", "begun"),
        capsule.when("first", "ended"),
        capsule.when("second", "begun"),
        capsule.when("second", "ended"),
        capsule.when("main", "begun"),
    ]
    assert moments == sorted(moments)
    for name in ("first", "second"):
        shown = capsule.member(name)
        assert (shown["status"], shown["exit_code"], shown["role"], shown["restarts"]) == ("Stopped", 0, "init", 0)
    assert [one["member_name"] for one in capsule.shown()["init_containers"]] == ["first", "second"]


def test_init_containers_have_the_network_of_the_capsule(own: Server) -> None:
    init = (member("asks", "ip -o addr show dev eth0; hostname"),)
    capsule = Capsule.running(own, member("main"), init=init, hostname="front")
    assert capsule.address() in capsule.log("asks")
    assert "front" in capsule.log("asks")


def test_a_failing_init_container_is_an_error_that_names_it_and_its_exit_code(own: Server) -> None:
    init = (member("prepare", "exit 3"), member("never", "echo begun"))
    capsule = Capsule.made(own, member("main", "echo begun; exec sleep 1000"), init=init, restartPolicy="Never")
    reason = capsule.ends_up("Error")["status_reason"]
    assert "prepare" in reason
    assert "exit code 3" in reason
    assert capsule.member("prepare")["exit_code"] == 3
    for name in ("never", "main"):
        assert "prepare" in capsule.member(name)["status_reason"]
        assert capsule.process(name) is None


def test_a_failing_init_container_is_tried_again_until_it_succeeds(own: Server) -> None:
    init = (member("prepare", f"{COUNTS}; test $n -ge 4"),)
    capsule = Capsule.running(own, member("main"), init=init, restartPolicy="OnFailure")
    shown = capsule.member("prepare")
    assert (shown["status"], shown["exit_code"], shown["restarts"]) == ("Stopped", 0, 3)
    assert capsule.log("prepare") == "try 1\ntry 2\ntry 3\ntry 4\n"


def test_with_always_an_init_container_is_tried_again_ten_times(own: Server) -> None:
    capsule = Capsule.made(own, member("main"), init=(member("prepare", f"{COUNTS}; exit 7"),))
    reason = capsule.ends_up("Error")["status_reason"]
    assert "prepare" in reason
    assert "exit code 7" in reason
    assert capsule.log("prepare").splitlines()[-1] == "try 11"


def test_what_init_containers_make_is_there_for_the_others(own: Server) -> None:
    init = (member("makes", "echo made > /out/page", **mounts(work="/out")),)
    capsule = Capsule.running(own, member("main", **mounts(work="/in")), init=init, volumes=[new_volume("work")])
    assert capsule.prints("main", "cat /in/page") == "made"


# Sidecars -------------------------------------------------------------------------------------------------------------


def test_a_sidecar_begins_before_and_ends_after_the_ordinary_ones_and_never_blocks_the_end(own: Server) -> None:
    init = (sidecar("proxy", TALKS), member("asks", "echo begun; sleep 0.2; echo ended"))
    capsule = Capsule.made(own, member("job", "echo begun; sleep 1; echo ended"), init=init, restartPolicy="Never")
    capsule.ends_up("Stopped")
    moments = [
        capsule.when("proxy", "begun"),
        capsule.when("asks", "begun"),
        capsule.when("asks", "ended"),
        capsule.when("job", "begun"),
        capsule.when("job", "ended"),
        capsule.when("proxy", "ending"),
        capsule.when("proxy", "ended"),
    ]
    assert moments == sorted(moments)
    assert capsule.member("proxy")["role"] == "sidecar"
    assert {one["status"] for one in capsule.members().values()} == {"Stopped"}


def test_a_sidecar_that_ends_is_started_again_while_the_others_run(own: Server) -> None:
    init = (sidecar("proxy", f"{COUNTS}; test $n -ge 3 && exec sleep 1000; exit 0"),)
    capsule = Capsule.made(own, member("main", "echo begun; exec sleep 1000"), init=init, restartPolicy="Never")
    capsule.says("proxy", "try 3")
    capsule.ends_up("Running")
    assert capsule.member("main")["restarts"] == 0
    assert capsule.log("main") == "begun\n"


def test_a_job_that_fails_makes_the_capsule_an_error_with_its_name(own: Server) -> None:
    capsule = Capsule.made(own, member("good", "exit 0"), member("bad", "exit 4"), restartPolicy="Never")
    reason = capsule.ends_up("Error")["status_reason"]
    assert reason.startswith("bad: ")
    assert "4" in reason


def test_an_exit_code_of_zero_of_all_is_stopped_and_nothing_runs_on(own: Server) -> None:
    capsule = Capsule.made(own, member("one", "exit 0"), member("two", "sleep 0.5"), restartPolicy="OnFailure")
    shown = capsule.ends_up("Stopped")
    assert shown["status_reason"] is None
    assert {one["exit_code"] for one in capsule.members().values()} == {0}


# Dependencies ---------------------------------------------------------------------------------------------------------


def test_started_waits_for_the_process_whatever_the_order_of_the_template(own: Server) -> None:
    capsule = Capsule.running(
        own, member("app", "echo begun; exec sleep 1000", **after("db")), member("db", "echo begun; exec sleep 1000")
    )
    db, app = capsule.process("db"), capsule.process("app")
    assert db is not None
    assert app is not None
    assert db["ticks"] <= app["ticks"], "its process was there first, whichever of the two says something first"


def test_healthy_waits_for_the_readiness_probe(own: Server) -> None:
    probe = {"exec": {"command": ["test", "-e", "/ready"]}, "periodSeconds": 1, "timeoutSeconds": 30}
    capsule = Capsule.made(own, member("db", readinessProbe=probe), member("app", **after("db", "healthy")))
    capsule.has("db", status="Running", ready=False)
    waiting = capsule.has("app", status_reason="Waits for db to be healthy.")
    assert waiting["status"] == "Created" or waiting["status"] == "Creating"
    shown = capsule.shown()
    assert (shown["status"], shown["status_reason"]) == ("Creating", "app: Waits for db to be healthy.")
    assert capsule.process("app") is None
    capsule.prints("db", "touch /ready")
    capsule.ends_up("Running")
    assert capsule.member("db")["ready"] is True


def test_completed_waits_for_success(own: Server) -> None:
    migrate = member("migrate", "sleep 0.7; echo migrated")
    capsule = Capsule.running(
        own,
        member("app", "echo begun; exec sleep 1000", **after("migrate", "completed")),
        migrate,
        restartPolicy="OnFailure",
    )
    capsule.says("app", "begun")
    assert capsule.when("migrate", "migrated") < capsule.when("app", "begun")


def test_who_waits_for_one_that_failed_is_told_which(own: Server) -> None:
    capsule = Capsule.made(
        own,
        member("migrate", "exit 9"),
        member("app", "echo begun; exec sleep 1000", **after("migrate", "completed")),
        restartPolicy="Never",
    )
    reason = capsule.ends_up("Error")["status_reason"]
    assert "migrate" in reason
    assert "exit code 9" in reason
    assert capsule.process("app") is None


# The end --------------------------------------------------------------------------------------------------------------


def test_a_stop_asks_in_reverse_order_and_waits_for_each(own: Server) -> None:
    init = (sidecar("proxy", TALKS),)
    capsule = Capsule.running(own, member("db", TALKS), member("web", TALKS, **after("db")), init=init)
    for name in ("proxy", "db", "web"):
        capsule.says(name, "begun")
    capsule.act("stop?timeout=30")
    capsule.ends_up("Stopped")
    moments = [capsule.when(name, words) for name in ("web", "db", "proxy") for words in ("ending", "ended")]
    assert moments == sorted(moments)
    assert {one["exit_code"] for one in capsule.members().values()} == {0}


def test_a_delete_gives_members_the_grace_of_the_template(own: Server) -> None:
    """Half a minute would be too long for a test, so the one that ignores being asked has a second."""
    ignores = "trap 'echo asked' TERM; echo begun; while :; do sleep 0.1; done"
    capsule = Capsule.running(own, member("stubborn", ignores), terminationGracePeriodSeconds=1)
    capsule.says("stubborn", "begun")
    log = capsule.container("stubborn")
    capsule.delete()
    assert "asked" in own.client().containers.logs(log), "its log is kept"


def test_a_grace_of_a_day_is_taken_and_used_only_if_need_be(own: Server) -> None:
    capsule = Capsule.running(own, member("polite", TALKS), terminationGracePeriodSeconds=86400)
    capsule.says("polite", "begun")
    assert capsule.shown()["grace"] == 86400
    capsule.delete(within=30)


def test_a_delete_under_way_is_hurried_and_has_asked_nobody_twice(own: Server) -> None:
    """Also when Krater dies meanwhile. What the first had of its hour counts; the others have their second."""
    ignores = "trap 'echo asked' TERM; echo begun; while :; do sleep 0.1; done"
    names = ("first", "second", "third")
    capsule = Capsule.running(own, *(member(name, ignores) for name in names), terminationGracePeriodSeconds=3600)
    for name in names:
        capsule.says(name, "begun")
    ids = [capsule.container(name) for name in names]
    assert capsule.ask("DELETE").status == 204
    log = own.directory / "engine/logs" / ids[2] / "container.log"
    eventually(lambda: "asked" in log.read_text(), what="the one that began last being asked")
    record = capsule.directory("third") / "process.json"
    eventually(lambda: json.loads(record.read_text())["asked_at"], what="that being written down")
    own.kill()
    own.start()
    assert capsule.ask("DELETE", "?timeout=1").status == 204
    capsule.gone()
    said = [own.client().containers.logs(id).splitlines() for id in ids]
    assert said[2] == ["begun", "asked"]
    assert max(one.count("asked") for one in said) == 1
