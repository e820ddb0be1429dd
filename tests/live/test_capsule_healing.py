"""Capsules on the real engine: probes, operations on one member, and what is brought back after which loss."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.asking import admin_of
from tests.support.live_capsules import Capsule, clear, member, mounts, new_volume, sidecar
from tests.support.server import Server, eventually, serving

pytestmark = pytest.mark.live

SERVES = "mkdir -p /www; echo hi > /www/index.html; exec httpd -f -p 8080 -h /www"


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A Krater that restarts soon and compares often; it is killed now and then."""
    with serving("agent.restart_base=0.2", "agent.announce=0.5", "agent.resync=1") as server:
        yield server


@pytest.fixture(autouse=True)
def empty(own: Server) -> Iterator[None]:
    """Every test leaves nothing."""
    yield
    clear(own)


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def runs_anew(capsule: Capsule, name: str, before: int) -> None:
    """Wait for another process of a member, and for the capsule to say that it runs."""
    eventually(lambda: capsule.process(name) and capsule.pid(name) != before, within=60, what=f"a new {name}")
    capsule.ends_up("Running")


# Probes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ask", "spoil", "mend"),
    [
        ({"exec": {"command": ["test", "-e", "/www/index.html"]}}, "rm /www/index.html", "echo hi > /www/index.html"),
        ({"httpGet": {"port": 8080, "path": "/index.html"}}, "rm /www/index.html", "echo hi > /www/index.html"),
        ({"tcpSocket": {"port": 8080}}, "killall httpd", "httpd -p 8080 -h /www"),
    ],
    ids=["exec", "http", "tcp"],
)
def test_readiness_comes_and_goes_and_ends_nobody(own: Server, ask: dict[str, object], spoil: str, mend: str) -> None:
    probe = {**ask, "periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": 1}
    serves = "mkdir -p /www; echo hi > /www/index.html; httpd -p 8080 -h /www; exec sleep 1000"
    capsule = Capsule.running(own, member("web", serves, readinessProbe=probe), member("log"))
    capsule.has("web", ready=True)
    before = capsule.pids()
    capsule.prints("web", spoil)
    capsule.has("web", ready=False)
    shown = capsule.shown()
    assert shown["status"] == "Running"
    assert shown["status_reason"].startswith("web: Its readiness probe failed once")
    capsule.prints("web", mend)
    capsule.has("web", ready=True)
    assert capsule.shown()["status_reason"] is None
    assert capsule.pids() == before


@pytest.mark.parametrize(
    "ask",
    [
        {"exec": {"command": ["test", "!", "-e", "/ill"]}},
        {"httpGet": {"port": 8080, "path": "/"}},
        {"tcpSocket": {"port": 8080}},
    ],
    ids=["exec", "http", "tcp"],
)
def test_a_member_that_fails_its_liveness_probe_is_started_again_alone(own: Server, ask: dict[str, object]) -> None:
    probe = {**ask, "periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": 2, "initialDelaySeconds": 1}
    serves = "rm -f /ill; mkdir -p /www; echo hi > /www/index.html; httpd -p 8080 -h /www; exec sleep 1000"
    capsule = Capsule.running(own, member("web", serves, livenessProbe=probe), member("log"))
    before = capsule.pids()
    capsule.prints("web", "touch /ill; killall httpd")
    runs_anew(capsule, "web", before["web"])
    assert capsule.pid("log") == before["log"]
    assert capsule.member("web")["restarts"] >= 1
    eventually(lambda: capsule.does("log", "nc -w 1 localhost 8080 < /dev/null")[0] == 0, what="the server again")


def test_a_startup_probe_holds_back_who_waits_for_the_start(own: Server) -> None:
    probe = {"exec": {"command": ["test", "-e", "/up"]}, "periodSeconds": 1, "timeoutSeconds": 10}
    init = (sidecar("proxy", startupProbe={**probe, "failureThreshold": 600}),)
    capsule = Capsule.made(own, member("web"), init=init)
    capsule.has("proxy", status="Running")
    assert capsule.has("web", status_reason="Waits for proxy to run.")
    assert capsule.process("web") is None
    capsule.prints("proxy", "touch /up")
    capsule.ends_up("Running")


# One member -----------------------------------------------------------------------------------------------------------


def test_one_member_is_restarted_stopped_and_started_while_the_others_run_on(own: Server) -> None:
    capsule = Capsule.running(own, member("web", SERVES), member("log"))
    before, address, client = capsule.pids(), capsule.address(), own.client()
    web = capsule.container("web")
    client.containers.restart(web, timeout=0)
    runs_anew(capsule, "web", before["web"])
    client.containers.stop(web, timeout=0)
    capsule.has("web", status="Stopped", task_state=None)
    assert capsule.shown()["status"] == "Running"
    assert capsule.process("web") is None or gone(capsule.pid("web"))
    client.containers.start(web)
    capsule.has("web", status="Running", task_state=None)
    eventually(lambda: capsule.does("log", "wget -q -O - http://localhost:8080/") == (0, "hi\n"), what="its page")
    assert capsule.pid("log") == before["log"]
    assert capsule.address() == address
    capsule.prints("web", f"ip -o addr show dev eth0 | grep -q {address}")


def test_one_member_is_frozen_and_thawed(own: Server) -> None:
    capsule = Capsule.running(own, member("web"), member("log"))
    before, client = capsule.pids(), own.client()
    client.containers.pause(capsule.container("web"))
    capsule.has("web", status="Paused")
    assert capsule.prints("log", "echo still here") == "still here"
    client.containers.unpause(capsule.container("web"))
    capsule.has("web", status="Running")
    assert capsule.pids() == before


def test_logs_top_stats_commit_and_copies_are_a_members_own(own: Server) -> None:
    words = "echo words of {0}; echo made by {0} > /made; exec sleep 1000"
    capsule = Capsule.running(own, member("one", words.format("one")), member("two", words.format("two")))
    client = own.client()
    for name in ("one", "two"):
        container = capsule.container(name)
        capsule.says(name, f"words of {name}\n")
        assert capsule.log(name) == f"words of {name}\n"
        assert len(client.containers.top(container)["Processes"]) == 1
        assert client.containers.stats(container)["MEM USAGE(MiB)"] < 32
        reply = admin_of(own).ask("GET", f"/v1/containers/{container}/get_archive?path=/made")
        assert reply.json["stat"]["size"] == len(f"made by {name}\n")
    image = client.containers.commit(capsule.container("two"), "two-as-it-was")
    eventually(lambda: client.own_images.show(image)["status"] == "active", what="the image")
    copy = Capsule.made(own, member("again", "cat /made", image="two-as-it-was"), restartPolicy="Never")
    copy.ends_up("Stopped")
    assert copy.log("again") == "made by two\n"
    copy.delete()
    client.own_images.delete(image)


def test_what_concerns_the_whole_is_refused_for_one_member_with_what_to_do_instead(own: Server) -> None:
    capsule = Capsule.running(own, member("web"), init=(member("prepare", "true"),), name="pair")
    admin = admin_of(own)

    def refusal(method: str, path: str, body: object = None) -> str:
        reply = admin.ask(method, f"/v1/containers/{path}", body)
        assert reply.status == 409, reply.body
        assert "pair" in reply.title
        return reply.title

    web = capsule.container("web")
    refusal("DELETE", f"{web}?force=true")
    refusal("POST", f"{web}/rebuild")
    refusal("PATCH", web, {"name": "other"})
    refusal("PATCH", web, {"memory": "64"})
    refusal("POST", f"{web}/network_attach?network=default")
    refusal("POST", f"{web}/network_detach?network=default")
    refusal("POST", f"{capsule.container('prepare')}/start")
    assert capsule.shown()["status"] == "Running"


# Loss -----------------------------------------------------------------------------------------------------------------


def test_a_member_whose_process_is_killed_is_started_again_alone(own: Server) -> None:
    capsule = Capsule.running(own, member("web"), member("log"), init=(sidecar("proxy"),))
    before = capsule.pids()
    for name in ("web", "proxy"):
        os.kill(capsule.pid(name), signal.SIGKILL)
        runs_anew(capsule, name, before[name])
    assert capsule.pid("log") == before["log"]
    assert capsule.prints("web", "readlink /proc/self/ns/net") == capsule.prints("log", "readlink /proc/self/ns/net")
    assert capsule.prints("web", "readlink /proc/self/ns/ipc") == capsule.prints("log", "readlink /proc/self/ns/ipc")


def test_a_member_that_vanished_is_made_anew_if_that_was_asked_for(own: Server) -> None:
    init = (member("prepare", "echo made > /out/page", **mounts(work="/out")),)
    web = member("web", "cat /in/page; exec sleep 1000", **mounts(work="/in"))
    capsule = Capsule.running(own, web, member("log"), init=init, volumes=[new_volume("work")], autoHeal=True)
    before = capsule.pids("web", "log")
    vanish(capsule, "web")
    runs_anew(capsule, "web", before["web"])
    eventually(lambda: gone(before["web"]), what="the old process gone")
    assert capsule.pid("log") == before["log"]
    assert capsule.prints("web", "cat /in/page") == "made"
    assert capsule.member("prepare")["restarts"] == 0


def test_a_member_that_vanished_is_an_error_that_names_it_unless_it_was_to_be_healed(own: Server) -> None:
    capsule = Capsule.running(own, member("web"), member("log"))
    vanish(capsule, "web")
    reason = capsule.ends_up("Error")["status_reason"]
    assert reason.startswith("web: ")
    assert "not on its node any more" in reason
    assert capsule.prints("log", "echo still here") == "still here"
    capsule.act("start")
    capsule.ends_up("Running")


def vanish(capsule: Capsule, name: str) -> None:
    """Somebody wipes its directory; its process goes on for now."""
    where = capsule.directory(name)
    (where / "container.json").unlink()
    shutil.rmtree(where, ignore_errors=True)


def test_a_capsule_runs_on_while_krater_is_down_and_is_mended_afterwards(own: Server) -> None:
    loop = "while :; do echo tick; sleep 0.1; done"
    capsule = Capsule.running(own, member("web", loop), member("log"), init=(sidecar("proxy"),))
    before = capsule.pids()
    own.kill()
    os.kill(before["log"], signal.SIGKILL)
    own.start()
    runs_anew(capsule, "log", before["log"])
    assert capsule.pids("web", "proxy") == {"web": before["web"], "proxy": before["proxy"]}
    assert capsule.does("log", "echo back") == (0, "back\n")
    ticks = len(capsule.log("web").splitlines())
    eventually(lambda: len(capsule.log("web").splitlines()) > ticks, what="more output")


def test_stop_start_and_reboot_of_the_whole(own: Server) -> None:
    init = (member("prepare", "echo prepared"),)
    capsule = Capsule.running(own, member("web", "echo begun; exec sleep 1000"), member("log"), init=init)
    address = capsule.address()
    capsule.act("stop?timeout=0")
    capsule.ends_up("Stopped")
    assert capsule.member("web")["status"] == "Stopped"
    own.kill()
    own.start()
    assert capsule.ends_up("Stopped")["status"] == "Stopped"
    capsule.act("start")
    capsule.ends_up("Running")
    before = capsule.pids("web", "log")
    capsule.act("reboot?timeout=0")
    for name in ("web", "log"):
        runs_anew(capsule, name, before[name])
    assert capsule.log("prepare") == "prepared\n" * 3, "a new run begins with the init containers"
    assert capsule.address() == address
    reply = capsule.ask("GET", "/container_actions")
    actions = [(one["action"], one["container_uuid"]) for one in reply.json["containerActions"]]
    assert {action for action, whose in actions if whose == capsule.id} >= {"create", "stop", "start", "reboot"}


def test_the_history_of_a_capsule_has_what_was_done_to_its_members(own: Server) -> None:
    capsule = Capsule.running(own, member("web"), member("log"), name="told")
    web = capsule.container("web")
    own.client().containers.restart(web, timeout=0)

    def actions() -> list[tuple[str, str, bool]]:
        found = capsule.ask("GET", "/container_actions").json["containerActions"]
        return [(one["action"], one["container_uuid"], one["finish_time"] is not None) for one in found]

    eventually(lambda: actions()[0] == ("reboot", web, True), what="the restart told as done")
    assert actions()[-1][:2] == ("create", capsule.id)
    request = capsule.ask("GET", "/container_actions").json["containerActions"][-1]["request_id"]
    told = capsule.ask("GET", f"/container_actions/{request}").json
    steps = {event["event"] for event in told["events"]}
    assert {"start web", "start log"} <= steps
