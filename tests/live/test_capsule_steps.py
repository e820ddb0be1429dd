"""`kill -9` of the real process at every step of a capsule: two init containers, three members and a shared volume."""

import contextlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.asking import admin_of
from tests.support.leftovers import leftovers, loop_devices
from tests.support.live_capsules import Capsule, Json, capsules, member, mounts, new_volume, template
from tests.support.networks import has_guards, links_left
from tests.support.server import Server, eventually, serving

pytestmark = pytest.mark.live

KILLS = 12  # at most, of a beginning, and of an end: about as many steps can be told apart from outside
MEMBERS = ("web", "log", "clock")
LINE = "echo {0} >> /job/lines; echo {0}"


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A Krater of this module's own, to be hurt."""
    with serving("agent.restart_base=0.1") as server:
        yield server
        eventually(lambda: not has_guards(server.instance), what="no rule")
        eventually(lambda: not links_left(server.instance), what="no link")


def wanted() -> Json:
    """The capsule. Its init containers leave a line each in the volume, its members read them."""
    init = tuple(
        member(name, f"{LINE.format(name)}; sleep 0.2; echo ended", **mounts(work="/job"))
        for name in ("first", "second")
    )
    reads = "trap 'exit 0' TERM; cat /job/lines; echo begun; sleep 1000 & wait"
    return template(
        *(member(name, reads, ports=[{"containerPort": 8080}], **mounts(work="/job")) for name in MEMBERS),
        name="hurt",
        init=init,
        volumes=[new_volume("work")],
    )


def world(server: Server) -> frozenset[str]:
    """What steps leave on the machine: directories, records of processes and of their ends, namespaces, mounts."""
    containers = ("engine/containers/*", "engine/containers/*/process.json", "engine/containers/*/run/exit")
    places = (*containers, "run/netns/sandboxes/*", "run/volumes/*/*")
    return frozenset(str(path) for place in places for path in server.directory.glob(place))


def through_kills(server: Server, is_done: Callable[[], bool]) -> int:
    """Krater dies at step after step until it is done, or has died often enough; how often. It answers then."""
    died = 0
    while died < KILLS and dies_at_the_next_step(server, is_done):
        died += 1
        server.child = server.spawn()
    eventually(lambda: knows(server, lambda: True), within=30, what="Krater answering")
    return died


def dies_at_the_next_step(server: Server, is_done: Callable[[], bool]) -> bool:
    """Kill it as soon as the world is another one than now; False when it is done before that."""
    before, end, looks = world(server), time.monotonic() + 60, 0
    while world(server) == before:
        looks += 1
        if looks % 200 == 0 and knows(server, is_done):
            return False
        assert time.monotonic() < end, "neither a step nor the end in a minute"
        time.sleep(0.0005)
    server.kill()
    return True


def knows(server: Server, question: Callable[[], bool]) -> bool:
    """A question to a Krater that may not answer yet."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return admin_of(server).ask("GET", "/v1/hosts").status == 200 and question()
    return False


def is_running(capsule: Capsule) -> bool:
    return bool(capsule.shown()["status"] == "Running")


def is_gone(capsule: Capsule) -> bool:
    return capsule.ask().status == 404


def nothing_left(server: Server) -> None:
    """Of processes, control groups, mounts, namespaces, cards, ports, volumes, devices and rows."""
    eventually(lambda: not leftovers(server), within=40, what="nothing left over")
    eventually(lambda: not server.client().volumes.list(), what="no volume")
    eventually(lambda: not server.client().ports.list(), what="no port")
    assert loop_devices(server.directory) == []
    assert list((server.directory / "volumes" / "disks").iterdir()) == []


def test_killed_at_every_step_of_its_making_and_of_its_removal(own: Server) -> None:
    capsule = Capsule.of(own, wanted())
    assert through_kills(own, lambda: is_running(capsule)) >= 2
    capsule.ends_up("Running")
    for name in MEMBERS:
        capsule.says(name, "begun")
        lines = capsule.log(name).splitlines()
        assert [line for line in dict.fromkeys(lines) if line in ("first", "second")] == ["first", "second"]
    for name in ("first", "second"):
        shown = capsule.member(name)
        assert (shown["status"], shown["exit_code"]) == ("Stopped", 0)
        assert capsule.log(name).count("ended") == 1, "what had succeeded was not run again"
    assert {one["status"] for one in capsule.shown()["containers"]} == {"Running"}
    address = capsule.address()
    for name in MEMBERS:
        capsule.prints(name, f"ip -o addr show dev eth0 | grep -q {address}")
    assert capsule.ask("DELETE").status == 204
    assert through_kills(own, lambda: is_gone(capsule)) >= 2
    capsule.gone()
    nothing_left(own)


@pytest.mark.parametrize("after", [0.0, 0.015, 0.05])
def test_killed_while_it_is_asked_for_it_is_there_whole_or_not_at_all(own: Server, after: float) -> None:
    admin, death, reply = admin_of(own), threading.Timer(after, own.kill), None
    death.start()
    with contextlib.suppress(OSError, http.client.HTTPException):
        reply = admin.ask("POST", "/v1/capsules", {"template": wanted()})
    death.join()
    own.start()
    found = capsules(own)
    if reply is not None:
        assert (reply.status, [one["uuid"] for one in found]) == (202, [reply.json["uuid"]]), "acknowledged, so kept"
    for one in found:
        capsule = Capsule(own, one["uuid"])
        shown = capsule.ends_up("Running")
        assert len(shown["containers"]) == 3
        assert len(shown["init_containers"]) == 2
        capsule.delete()
    assert len(found) <= 1
    nothing_left(own)


def test_killed_amid_a_stop_it_still_stops_in_order(own: Server) -> None:
    """Whoever was not asked yet when Krater died is asked after whoever was."""
    talks = "trap 'echo ending; sleep 0.4; echo ended; exit 0' TERM; echo begun; sleep 1000 & wait"
    capsule = Capsule.running(own, *(member(name, talks) for name in MEMBERS))
    for name in MEMBERS:
        capsule.says(name, "begun")
    capsule.act("stop?timeout=30")
    capsule.says("clock", "ending")
    own.kill()
    own.start()
    capsule.ends_up("Stopped")
    moments = [capsule.when(name, words) for name in reversed(MEMBERS) for words in ("ending", "ended")]
    assert moments == sorted(moments)
    capsule.delete()
    nothing_left(own)


def test_who_ends_while_krater_is_down_is_counted(own: Server) -> None:
    """An init container that ends meanwhile has ended, and what waits for it begins with the first look."""
    waits = "while ! test -e /job/go; do sleep 0.05; done; echo went"
    capsule = Capsule.made(
        own,
        member("web", "echo begun; exec sleep 1000", **mounts(work="/job")),
        init=(member("waits", waits, **mounts(work="/job")),),
        volumes=[new_volume("work")],
    )
    capsule.has("waits", status="Running")
    pid = capsule.pid("waits")
    own.kill()
    Path(f"/proc/{pid}/root/job/go").touch()
    eventually(lambda: not Path(f"/proc/{pid}").exists(), what="its end")
    own.start()
    capsule.ends_up("Running")
    assert capsule.log("waits") == "went\n"
    capsule.says("web", "begun")
    capsule.delete()
    nothing_left(own)
