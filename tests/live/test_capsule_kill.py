"""`kill -9` of the real process amid the making and removing of capsules: all are as asked for, and nothing is left."""

import http.client
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.asking import admin_of
from tests.support.leftovers import leftovers
from tests.support.server import Server, eventually, serving

pytestmark = pytest.mark.live

LONG = 120.0


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A Krater of this module's own, to be hurt."""
    with serving("quota.containers=-1", "quota.cpu=-1", "quota.memory=-1", "scheduler.cpu_ratio=1000") as server:
        yield server


def statuses(server: Server) -> dict[str, str]:
    return {
        capsule["uuid"]: capsule["status"] for capsule in admin_of(server).ask("GET", "/v1/capsules").json["capsules"]
    }


def template() -> dict[str, Any]:
    member = {"image": "busybox", "command": ["sleep", "1000"], "resources": {"requests": {"cpu": 0.1, "memory": "16"}}}
    containers = [{**member, "name": name} for name in ("first", "second")]
    return {"template": {"kind": "capsule", "metadata": {"name": "two"}, "spec": {"containers": containers}}}


class Storm:
    """Makes and removes capsules as fast as one user can, remembering what was acknowledged."""

    def __init__(self, server: Server) -> None:
        self.user = admin_of(server)
        self.made: set[str] = set()
        self.unwanted: set[str] = set()
        self.deleted: set[str] = set()
        self.trouble: Exception | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            for number in range(1000):
                self.made.add(self.user.ask("POST", "/v1/capsules", template()).json["uuid"])
                if number % 3 == 2:
                    victim = random.choice(sorted(self.made - self.unwanted))
                    self.unwanted.add(victim)  # killed amid this request, the server may have taken it or not
                    if self.user.ask("DELETE", f"/v1/capsules/{victim}").status == 204:
                        self.deleted.add(victim)
        except (OSError, http.client.HTTPException):
            return  # the server was killed
        except Exception as trouble:
            self.trouble = trouble


@pytest.mark.parametrize("after", [0.1, 0.4, 0.9])
def test_killed_amid_the_making_and_removing_of_capsules(own: Server, after: float) -> None:
    storm = Storm(own)
    storm.thread.start()
    time.sleep(after)
    own.kill()
    storm.thread.join()
    assert storm.trouble is None
    assert storm.made or after < 0.9
    own.start()
    wanted = storm.made - storm.unwanted
    eventually(lambda: not storm.deleted & statuses(own).keys(), within=LONG, what="all removals done")
    eventually(
        lambda: wanted <= {c for c, s in statuses(own).items() if s == "Running"}, within=LONG, what="all running"
    )
    for capsule in statuses(own):
        assert admin_of(own).ask("DELETE", f"/v1/capsules/{capsule}").status == 204
    eventually(lambda: not statuses(own), within=LONG, what="an empty list")
    eventually(lambda: not leftovers(own), within=LONG, what="nothing left over")
