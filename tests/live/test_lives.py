"""Starts that fail, ends of all kinds, restarts, freezing: what is told of a real container, and that it can go."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.containers import ends_up, made, remove_all, running, shown
from tests.support.images import busybox_layer, configuration, docker_members, write_archive
from tests.support.leftovers import leftovers
from tests.support.server import Server, eventually, serving

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A Krater that restarts soon."""
    with serving("agent.restart_base=0.2", "agent.announce=0.5") as server:
        yield server


@pytest.fixture(autouse=True)
def empty(own: Server) -> Iterator[None]:
    """Every test leaves nothing."""
    yield
    remove_all(own)


@pytest.mark.parametrize(
    ("wanted", "reason", "code"),
    [
        ({"command": ["no-such-program"]}, "'no-such-program': no such program in the image", 127),
        ({"command": ["/no/such"]}, "'/no/such': no such program in the image", 127),
        ({"command": ["/etc/passwd"]}, "'/etc/passwd': it is not an executable file", 126),
        ({"command": ["/etc"]}, "'/etc': it is not an executable file", 126),
        ({"command": ["true"], "workdir": "/etc/passwd"}, "the working directory '/etc/passwd'", None),
        ({"command": ["true"], "memory": "4"}, "4 MiB of memory are too few", None),
        ({"command": ["true"], "image": "no-such-image", "image_pull_policy": "never"}, "must not be pulled", None),
    ],
)
def test_a_start_that_cannot_be_says_why_and_leaves_nothing(
    own: Server, wanted: dict[str, Any], reason: str, code: int | None
) -> None:
    uuid = made(own, **wanted)
    state = ends_up(own, uuid, "Error")
    assert reason in str(state["status_reason"])
    assert code is None or f"Exited({code})" in str(state["status_detail"])
    own.client().containers.delete(uuid)  # its owner can, without force
    assert own.client().containers.wait(uuid, "gone", timeout=10) is None
    eventually(lambda: not leftovers(own), what="nothing left over")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"User": "ghost", "Cmd": ["id"]}, "ghost"),
        ({"User": "root:ghosts", "Cmd": ["id"]}, "ghosts"),
        ({"Cmd": []}, "command"),
        ({"Cmd": ["id"], "Env": ["PATH=/nowhere"]}, "'id': no such program"),
    ],
)
def test_an_image_that_cannot_be_run_as_it_is_says_why(
    own: Server, tmp_path: Path, config: dict[str, Any], reason: str
) -> None:
    layers = [busybox_layer()]
    path = write_archive(tmp_path / "odd.tar", docker_members("odd:1", layers, configuration(layers, **config)))
    own.operator("node", "import", path, *own.options)
    client = own.client()
    uuid = client.containers.run(image="odd:1", memory=32)["uuid"]
    assert reason in str(ends_up(own, uuid, "Error")["status_reason"])
    client.containers.delete(uuid)
    assert client.containers.wait(uuid, "gone", timeout=10) is None


def test_a_start_that_failed_can_be_tried_again(own: Server) -> None:
    uuid = made(own, ["/tmp/later"], name="later")
    ends_up(own, uuid, "Error")
    own.client().containers.start(uuid)
    eventually(lambda: len(own.client().containers.actions(uuid)) == 2)
    assert "no such program" in str(ends_up(own, uuid, "Error")["status_reason"])
    own.client().containers.rebuild(uuid)
    assert ends_up(own, uuid, "Created")["status_reason"] is None


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -9 $$", 137), ("kill -15 $$; sleep 5", None)],
)
def test_exit_codes_are_told(own: Server, script: str, code: int | None) -> None:
    command = ["sh", "-c", f"sh -c '{script}'; exit $?"] if code == 137 else ["sh", "-c", script]
    uuid = made(own, command)
    if code is None:  # init of a namespace ignores what it has no handler for
        ends_up(own, uuid, "Running")
        own.client().containers.kill(uuid)
        code = 137
    state = ends_up(own, uuid, "Stopped")
    assert str(state["status_detail"]).startswith(f"Exited({code}) ")


def test_the_kernels_kill_for_memory_is_told(own: Server) -> None:
    uuid = made(own, ["sh", "-c", "x=a; while true; do x=$x$x; done"], memory="16")
    state = ends_up(own, uuid, "Stopped")
    assert "Exited(137)" in str(state["status_detail"])
    assert "more memory than its limit" in str(state["status_reason"])
    assert own.client().containers.list(), "the node itself is well"


def starts_of(server: Server, uuid: str) -> int:
    if shown(server, uuid)["status"] in ("Creating", "Created"):
        return 0
    return server.client().containers.logs(uuid).count("born")


def test_on_failure_restarts_so_many_times_with_growing_pauses(own: Server) -> None:
    policy = {"Name": "on-failure", "MaximumRetryCount": "3"}
    uuid = made(own, ["sh", "-c", "date +born%s; cut -d' ' -f1 /proc/uptime; exit 4"], restart_policy=policy)
    eventually(lambda: starts_of(own, uuid) == 4, what="the third restart")
    assert "Exited(4)" in str(ends_up(own, uuid, "Stopped")["status_detail"])
    moments = [float(line) for line in own.client().containers.logs(uuid).split() if not line.startswith("born")]
    pauses = [after - before for before, after in pairwise(moments)]
    assert [pause > least for pause, least in zip(pauses, (0.18, 0.38, 0.78), strict=True)] == [True] * 3, pauses
    assert pauses[2] < 5
    assert starts_of(own, uuid) == 4


def test_on_failure_leaves_a_good_end_alone(own: Server) -> None:
    uuid = made(own, ["sh", "-c", "echo born; exit 0"], restart_policy={"Name": "on-failure"})
    ends_up(own, uuid, "Stopped")
    assert starts_of(own, uuid) == 1


@pytest.mark.parametrize("name", ["always", "unless-stopped"])
def test_always_restarts_until_somebody_stops_it(own: Server, name: str) -> None:
    uuid = made(own, ["sh", "-c", "echo born; exit 0"], restart_policy={"Name": name})
    eventually(lambda: starts_of(own, uuid) >= 3, what="two restarts")
    eventually(lambda: shown(own, uuid)["status"] in ("Running", "Restarting"))
    own.client().containers.stop(uuid, timeout=0)
    ends_up(own, uuid, "Stopped")
    assert shown(own, uuid)["status"] == "Stopped"


def test_auto_remove_takes_it_away_with_its_end(own: Server) -> None:
    uuid = running(own, ["sh", "-c", "sleep 0.5"], auto_remove=True)
    assert own.client().containers.wait(uuid, "gone", timeout=10) is None
    eventually(lambda: not leftovers(own), what="nothing left over")


def test_paused_processes_stand_still(own: Server) -> None:
    client = own.client()
    uuid = running(own, ["sh", "-c", "while true; do echo tick; sleep 0.02; done"])
    client.containers.pause(uuid)
    ends_up(own, uuid, "Paused")
    before = client.containers.logs(uuid).count("tick")
    assert client.containers.logs(uuid).count("tick") - before <= 1
    client.containers.unpause(uuid)
    ends_up(own, uuid, "Running")
    eventually(lambda: client.containers.logs(uuid).count("tick") > before + 3, what="ticks")
    client.containers.pause(uuid)
    ends_up(own, uuid, "Paused")
    own.krater("rm", "-f", uuid)


def test_stop_waits_for_those_that_listen_and_kills_those_that_do_not(own: Server) -> None:
    client = own.client()
    polite = running(own, ["sh", "-c", "trap 'echo bye; exit 5' TERM; while true; do sleep 0.05; done"])
    deaf = running(own, ["sh", "-c", "trap '' TERM; while true; do sleep 0.05; done"])
    client.containers.stop(polite, timeout=10)
    client.containers.stop(deaf, timeout=1)
    assert "Exited(5)" in str(ends_up(own, polite, "Stopped")["status_detail"])
    assert client.containers.logs(polite) == "bye\n"
    assert "Exited(137)" in str(ends_up(own, deaf, "Stopped")["status_detail"])


def test_new_limits_hold_at_once(own: Server) -> None:
    client = own.client()
    uuid = running(own, memory="64")
    client.containers.update(uuid, memory=128, cpu=0.5)
    eventually(lambda: client.containers.stats(uuid)["MEM LIMIT(MiB)"] == 128, what="the new limit")
    assert (shown(own, uuid)["memory"], shown(own, uuid)["cpu"]) == ("128", 0.5)
