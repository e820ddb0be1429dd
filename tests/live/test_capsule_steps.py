"""`kill -9` of the real process at every step of a capsule: two init containers, three members and a shared volume.

Before and behind steps, that is. Deaths amid them are in `test_capsule_kill.py` for whole capsules, at any moment, and
in `test_engine_crashes.py` and its neighbours for each part.
"""

import contextlib
import http.client
import json
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from krater.agent.runtimes.oci.processes import Identity
from krater.client import Unreachable
from tests.support.asking import admin_of
from tests.support.leftovers import leftovers, loop_devices
from tests.support.live_capsules import Capsule, Json, capsules, member, mounts, new_volume, template
from tests.support.mortal import points_left
from tests.support.networks import has_guards, links_left
from tests.support.server import Server, eventually, serving

pytestmark = pytest.mark.live

INIT, MEMBERS = ("first", "second"), ("web", "log", "clock")
ALL = (*INIT, *MEMBERS)
CAPSULES = 8  # at most: of steps that are taken at once, some die of another one's death
LONG = 90.0  # seconds that one life may take
LINE = "echo {0} >> /job/lines; echo {0}"
# At each of these points Krater dies once, and this is then on the machine, or among what is stored.
MADE = {
    "after claim": "claims",
    "after place": "ports",
    "after make_sandbox": "sandbox",
    "after plug": "card",
    "after connect_volume": "loop device",
    **{f"after create {name}": f"record of {name}" for name in ALL},
    **{f"after start {name}": f"process of {name}" for name in ALL},
    "before start second": "end of first",
    "before start web": "end of second",
}
# At these, it is not there any more.
REMOVED = {
    **{f"after stop {name}": f"life of {name}" for name in MEMBERS},
    **{f"after remove {name}": f"record of {name}" for name in ALL},
    "after remove_sandbox": "sandbox",
    "after disconnect": "loop device",
    "after give back": "ports",
    "after free volumes": "held volumes",
    "after forget": "workloads",
    "after discard": "disk",
}


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


class Lives:
    """The lives of a Krater that dies once at each of these points; there `has` to be what they say, or must not."""

    def __init__(self, server: Server, file: Path, points: Mapping[str, str], *, has: bool) -> None:
        self.server, self.file, self.points, self.has = server, file, points, has
        self.members: dict[str, str] = {}
        self.ahead = set(points)
        file.write_text("".join(f"{point}\n" for point in points))

    @property
    def left(self) -> set[str]:
        """Where it has not died yet."""
        return set(points_left(self.file))

    def go_on(self, is_done: Callable[[], bool]) -> None:
        """Start it again as often as it dies, until it is done; each time it must have done what it died behind."""
        end = time.monotonic() + LONG
        while not knows(self.server, is_done):
            assert time.monotonic() < end, f"does neither get done nor die {sorted(self.left)}; is: {self.world()}"
            if self.server.child is None or self.server.child.poll() is None:
                time.sleep(0.02)
                continue
            assert self.server.child.returncode == -signal.SIGKILL, self.server.log.read_text()[-4000:]
            (point,) = self.ahead - self.left
            self.ahead, seen = self.left, self.world()
            assert (self.points[point] in seen) is self.has, f"it died {point}, and there is: {seen}"
            self.server.child, end = self.server.spawn(), time.monotonic() + LONG

    def world(self) -> set[str]:
        """What there is of the only capsule: told by the disk, the kernel and the database."""
        listed = leftovers(self.server)
        kinds = ("sandbox", "card", "loop device")
        seen = {kind for kind in kinds if any(line.startswith(f"{kind} ") for line in listed)}
        seen |= {line.partition(" rows of ")[2] for line in listed if " rows of " in line}
        seen |= {"disk"} if any(self.server.directory.glob("volumes/disks/*")) else set()
        self.members |= stored_members(self.server)
        for name, container in self.members.items():
            directory = self.server.directory / "engine" / "containers" / container
            process = process_of(directory)
            found = {
                "record": (directory / "container.json").exists(),
                "process": process is not None,
                "life": process is not None and process.alive,
                "end": (directory / "run" / "exit").exists(),
            }
            seen |= {f"{what} of {name}" for what, is_so in found.items() if is_so}
        return seen


def stored_members(server: Server) -> dict[str, str]:
    """The ids of the only capsule's members by their names: it is asked nothing, as it may be dead."""
    with contextlib.closing(sqlite3.connect(f"file:{server.directory}/krater.sqlite?mode=ro", uri=True)) as database:
        rows = database.execute("select spec from workloads").fetchall()
    return {one["name"]: one["id"] for (spec,) in rows for one in json.loads(spec)["containers"]}


def process_of(directory: Path) -> Identity | None:
    """The process that is recorded of a container, if one is."""
    try:
        record = json.loads((directory / "process.json").read_text())["process"]
    except FileNotFoundError:
        return None
    return None if record is None else Identity(record["pid"], record["ticks"])


@contextlib.contextmanager
def mortal(server: Server, file: Path) -> Iterator[None]:
    """Meanwhile it is one that dies at the points in this file."""
    program, variables = server.program, server.variables
    server.program = [sys.executable, "-m", "tests.support.mortal", str(file)]
    server.variables = {**variables, "PYTHONPATH": str(Path(__file__).parents[2])}
    try:
        server.kill()
        server.start()
        yield
    finally:
        server.program, server.variables = program, variables
        server.kill()
        server.start()


def knows(server: Server, question: Callable[[], bool]) -> bool:
    """A question to a Krater that may not answer yet."""
    with contextlib.suppress(OSError, http.client.HTTPException, Unreachable):
        return admin_of(server).ask("GET", "/v1/hosts").status == 200 and question()
    return False


def is_running(server: Server) -> bool:
    (capsule,) = capsules(server)
    assert capsule["status"] != "Error", capsule["status_reason"]
    return bool(capsule["status"] == "Running")


def is_gone(server: Server) -> bool:
    return capsules(server) == []


def asked(server: Server, method: str, path: str, body: Any = None) -> None:
    """Have it begin. It may die before it answers, but not before it has stored what it is to do."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        assert admin_of(server).ask(method, path, body).status in (202, 204)


def nothing_left(server: Server) -> None:
    """Of processes, control groups, mounts, namespaces, cards, ports, volumes, devices and rows."""
    eventually(lambda: not leftovers(server), within=40, what="nothing left over")
    eventually(lambda: not server.client().volumes.list(), what="no volume")
    eventually(lambda: not server.client().ports.list(), what="no port")
    assert loop_devices(server.directory) == []
    assert list((server.directory / "volumes" / "disks").iterdir()) == []


def test_killed_at_every_step_of_its_making(own: Server, tmp_path: Path) -> None:
    dies_everywhere(Lives(own, tmp_path / "points", MADE, has=True))


def test_killed_at_every_step_of_its_removal(own: Server, tmp_path: Path) -> None:
    dies_everywhere(Lives(own, tmp_path / "points", REMOVED, has=False))


def dies_everywhere(lives: Lives) -> None:
    """Capsules are made and removed until it has died at all points, each as if nobody had died."""
    server = lives.server
    with mortal(server, lives.file):
        for _ in range(CAPSULES):
            asked(server, "POST", "/v1/capsules", {"template": wanted()})
            lives.go_on(lambda: is_running(server))
            capsule = Capsule(server, capsules(server)[0]["uuid"])
            is_as_wanted(capsule)
            assert lives.world() >= {*lives.points.values()}
            asked(server, "DELETE", f"/v1/capsules/{capsule.id}")
            lives.go_on(lambda: is_gone(server) and not leftovers(server) and not server.client().volumes.list())
            nothing_left(server)
            if not lives.left:
                return
    raise AssertionError(f"{CAPSULES} capsules were made and removed, and it did not die {sorted(lives.left)}")


def is_as_wanted(capsule: Capsule) -> None:
    """As if nobody had died: everything was done, in order, and what had succeeded was not done again."""
    for name in MEMBERS:
        capsule.says(name, "begun")
        lines = capsule.log(name).splitlines()
        assert [line for line in dict.fromkeys(lines) if line in INIT] == [*INIT]
    for name in INIT:
        shown = capsule.member(name)
        assert (shown["status"], shown["exit_code"]) == ("Stopped", 0)
        assert capsule.log(name).count("ended") == 1, "what had succeeded was not run again"
    assert {one["status"] for one in capsule.shown()["containers"]} == {"Running"}
    address = capsule.address()
    for name in MEMBERS:
        capsule.prints(name, f"ip -o addr show dev eth0 | grep -q {address}")


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
