"""`kill -9` of the real process at any moment: nothing acknowledged is lost, nothing is stuck, nothing is left."""

import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from krater.client import ClientError
from tests.support.leftovers import leftovers
from tests.support.server import Server, eventually, serving

pytestmark = pytest.mark.live

FINAL = {"Created", "Running", "Stopped", "Paused", "Error"}


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A Krater of this module's own, to be hurt."""
    with serving("quota.containers=-1", "quota.cpu=-1", "quota.memory=-1", "scheduler.cpu_ratio=1000") as server:
        yield server


def statuses(server: Server) -> dict[str, str]:
    return {c["uuid"]: c["status"] for c in server.client().containers.list()}


def are_final(server: Server) -> bool:
    return set(statuses(server).values()) <= FINAL


def remove_all(server: Server) -> None:
    client = server.client()
    for uuid in statuses(server):
        client.containers.delete(uuid, force=True)
    eventually(lambda: not statuses(server), within=40, what="an empty list")
    eventually(lambda: not leftovers(server), within=20, what="nothing left over")


class Storm:
    """Creates and deletes as fast as one client can, remembering what was asked for and what was acknowledged."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.made: set[str] = set()
        self.unwanted: set[str] = set()
        self.deleted: set[str] = set()
        self.trouble: Exception | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        client = self.server.client()
        try:
            for number in range(1000):
                made = client.containers.run(image="busybox", command=["sleep", "1000"], memory=16, cpu=0.1)
                self.made.add(made["uuid"])
                if number % 3 == 2:
                    victim = random.choice(sorted(self.made - self.deleted))
                    self.unwanted.add(victim)  # killed amid this request, the server may have taken it or not
                    client.containers.delete(victim, force=True)
                    self.deleted.add(victim)
        except ClientError:
            return  # the server was killed
        except Exception as trouble:
            self.trouble = trouble


@pytest.mark.parametrize("after", [0.05, 0.2, 0.45, 0.8])
def test_killed_amid_creates_and_deletes(own: Server, after: float) -> None:
    storm = Storm(own)
    storm.thread.start()
    time.sleep(after)
    own.kill()
    storm.thread.join()
    assert storm.trouble is None
    own.start()
    eventually(lambda: are_final(own), within=40, what="all states final")
    now = statuses(own)
    wanted = storm.made - storm.unwanted
    assert wanted <= now.keys(), "an acknowledged container is lost"
    eventually(lambda: not storm.deleted & statuses(own).keys(), what="all deletes done")
    assert {now[uuid] for uuid in wanted} <= {"Running"}
    remove_all(own)


def test_containers_run_on_while_krater_is_down_and_no_output_is_lost(own: Server) -> None:
    client = own.client()
    script = "i=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); sleep 0.1; done; echo end; sleep 1000"
    made = client.containers.run(image="busybox", command=["sh", "-c", script], name="writer")
    eventually(lambda: own.client().containers.show(made["uuid"])["status"] == "Running")
    own.kill()
    time.sleep(2)
    own.start()
    eventually(lambda: "end" in own.client().containers.logs(made["uuid"]))
    lines = own.client().containers.logs(made["uuid"]).split("\n")
    assert [line for line in lines if line.startswith("line")] == [f"line {i}" for i in range(40)]
    assert own.client().containers.show(made["uuid"])["status"] == "Running"
    remove_all(own)


def test_what_ends_while_krater_is_down_is_told_and_restarted_as_its_policy_says(own: Server) -> None:
    client = own.client()
    brief: dict[str, Any] = {"image": "busybox", "command": ["sh", "-c", "sleep 1.5; exit 3"]}
    ended = client.containers.run(**brief, name="ended")
    again = client.containers.run(**brief, name="again", restart_policy={"Name": "always"})
    eventually(lambda: set(statuses(own).values()) == {"Running"})
    own.kill()
    time.sleep(2)
    own.start()
    eventually(lambda: statuses(own)[ended["uuid"]] == "Stopped")
    assert "Exited(3)" in str(own.client().containers.show(ended["uuid"])["status_detail"])
    eventually(lambda: statuses(own)[again["uuid"]] == "Running", what="the restart")
    remove_all(own)


def test_killed_again_and_again_while_starting(own: Server) -> None:
    client = own.client()
    made = [client.containers.run(image="busybox", command=["sleep", "1000"])["uuid"] for _ in range(5)]
    own.kill()
    for pause in (0.3, 0.6, 0.9, 1.2):
        own.child = own.spawn()
        time.sleep(pause)
        own.kill()
    own.start()
    eventually(lambda: all(statuses(own)[uuid] == "Running" for uuid in made), within=40)
    remove_all(own)
