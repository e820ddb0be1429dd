"""Health checks, healing and kept logs with real containers."""

import contextlib
import http.client
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from krater.client.errors import NotFound
from tests.support.asking import admin_of, with_account
from tests.support.containers import ends_up, made, remove_all, running, shown
from tests.support.server import Server, eventually, serving

pytestmark = pytest.mark.live

WELL_AFTER_RESTART = "test -e /tmp/ran-before"
WRITES = ["sh", "-c", "test -e /tmp/first && touch /tmp/ran-before; touch /tmp/first; exec sleep 1000"]


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A Krater that restarts soon and compares often."""
    with serving("agent.restart_base=0.2", "agent.announce=0.5", "agent.resync=1", "agent.keep_logs=3600") as server:
        yield server


@pytest.fixture(autouse=True)
def empty(own: Server) -> Iterator[None]:
    """Every test leaves nothing."""
    yield
    remove_all(own)


def check(cmd: str, **more: Any) -> dict[str, Any]:
    return {"cmd": cmd, "interval": 1, "timeout": 10, "retries": 2, **more}


def detail(server: Server, uuid: str) -> str:
    return str(shown(server, uuid)["status_detail"])


def starts(server: Server, uuid: str) -> int:
    """How often its process was started, by the record of the engine."""
    record = server.directory / "engine" / "containers" / uuid / "process.json"
    return int(json.loads(record.read_text())["attempt"])


def directory(server: Server, uuid: str) -> Path:
    return server.directory / "engine" / "containers" / uuid


def process_of(server: Server, uuid: str) -> int | None:
    """The number of its process, by the record of the engine."""
    try:
        record = json.loads((directory(server, uuid) / "process.json").read_text())
    except FileNotFoundError:
        return None
    return int(record["process"]["pid"]) if record["process"] else None


def test_health_goes_from_starting_to_healthy_to_unhealthy_and_back(own: Server) -> None:
    fresh = made(own, command=["sleep", "1000"], healthcheck=check("true", interval=3600))
    eventually(lambda: "(health: starting)" in detail(own, fresh), within=120, what="starting")
    uuid = made(own, command=["sleep", "1000"], healthcheck=check("cat /tmp/well"))
    eventually(lambda: "(unhealthy)" in detail(own, uuid), within=120, what="unhealthy")
    state = shown(own, uuid)
    assert state["status"] == "Running"
    assert "No such file" in str(state["status_reason"])
    assert "(unhealthy)" in own.krater("ps").stdout
    own.client().containers.execute(uuid, ["touch", "/tmp/well"])
    eventually(lambda: "(healthy)" in detail(own, uuid), within=120, what="healthy")
    assert shown(own, uuid)["status_reason"] is None
    assert starts(own, uuid) == 0


@pytest.mark.parametrize("wanted", [{"auto_heal": True}, {"restart_policy": {"Name": "on-failure"}}])
def test_an_ill_container_is_restarted_when_that_was_asked_for(own: Server, wanted: dict[str, Any]) -> None:
    uuid = made(own, command=WRITES, healthcheck=check(WELL_AFTER_RESTART), **wanted)
    eventually(lambda: "(healthy)" in detail(own, uuid), within=240, what="healthy after a restart")
    assert starts(own, uuid) >= 1


def test_a_check_that_hangs_is_killed_and_leaves_nothing(own: Server) -> None:
    uuid = made(own, command=["sleep", "1000"], healthcheck=check("sleep 4242", timeout=1, retries=1))
    eventually(lambda: "(unhealthy)" in detail(own, uuid), within=120, what="unhealthy")
    assert "no end within 1 seconds" in str(shown(own, uuid)["status_reason"])
    own.client().containers.pause(uuid)
    eventually(lambda: shown(own, uuid)["status"] == "Paused")
    time.sleep(2)  # a check under way is over by now, and none begins
    own.client().containers.unpause(uuid)
    eventually(lambda: shown(own, uuid)["status"] == "Running")
    processes = [" ".join(row) for row in own.client().containers.top(uuid)["Processes"]]
    assert sum("sleep 4242" in row for row in processes) <= 2  # its shell and its sleep, of one check at most


def vanish(server: Server, uuid: str) -> None:
    """Somebody wipes its directory; its process goes on for now."""
    where = directory(server, uuid)
    (where / "container.json").unlink()
    shutil.rmtree(where, ignore_errors=True)


def test_a_container_that_vanished_is_healed_with_its_name_and_address(own: Server) -> None:
    uuid = made(own, command=["sleep", "1000"], name="phoenix", auto_heal=True)
    eventually(lambda: shown(own, uuid)["status"] == "Running")
    before = shown(own, uuid)
    pid = process_of(own, uuid)
    vanish(own, uuid)
    eventually(lambda: process_of(own, uuid) not in (None, pid), within=120, what="another process")
    ends_up(own, uuid, "Running", within=120)
    after = shown(own, uuid)
    assert (after["name"], after["addresses"]) == ("phoenix", before["addresses"])
    assert after["addresses"]
    eventually(lambda: not Path(f"/proc/{pid}").exists(), what="the old process gone")
    [(_, addresses)] = after["addresses"].items()
    said = own.client().containers.execute(uuid, ["ip", "addr"])["output"]
    assert addresses[0]["addr"] in str(said)


def test_a_container_that_vanished_is_an_error_unless_it_was_to_be_healed(own: Server) -> None:
    uuid = made(own, command=["sleep", "1000"])
    eventually(lambda: shown(own, uuid)["status"] == "Running")
    pid = process_of(own, uuid)
    vanish(own, uuid)
    eventually(lambda: shown(own, uuid)["status"] == "Error", within=120, what="Error")
    assert "not on its node any more" in str(shown(own, uuid)["status_reason"])
    eventually(lambda: not Path(f"/proc/{pid}").exists(), what="what was left of it gone")
    own.kill()
    own.start()
    eventually(lambda: shown(own, uuid)["status"] == "Error", within=120, what="Error after a crash too")
    time.sleep(3)
    assert not directory(own, uuid).exists()
    own.client().containers.start(uuid)
    eventually(lambda: shown(own, uuid)["status"] == "Running", within=120, what="running again")


class TestKeptLogs:
    def gone(self, server: Server, name: str, **wanted: Any) -> str:
        uuid = made(server, command=["sh", "-c", f"echo last words of {name}"], name=name, **wanted)
        ends_up(server, uuid, "Stopped")
        server.client().containers.delete(uuid, stop=True)
        assert server.client().containers.wait(uuid, "gone", timeout=30) is None
        return uuid

    def test_the_owner_reads_the_log_of_a_removed_container_and_nobody_else(self, own: Server) -> None:
        uuid = self.gone(own, "brief")
        assert own.client().containers.logs(uuid) == "last words of brief\n"
        assert own.krater("logs", "brief").stdout == "last words of brief\n"
        admin, stranger = admin_of(own), with_account(own, "stranger")
        for path in (f"/v1/containers/{uuid}/logs", f"/v1/containers/{uuid}/logs/stream", "/v1/containers/brief/logs"):
            assert admin.ask("GET", path).status == 200
            assert stranger.ask("GET", path).status == 404
        assert admin.ask("GET", f"/v1/containers/{uuid}/logs/stream").body == b"last words of brief\n"

    def test_after_the_time_it_is_gone(self) -> None:
        with serving("agent.keep_logs=4") as server:
            uuid = self.gone(server, "briefer")
            log = server.directory / "engine" / "logs" / uuid
            assert server.client().containers.logs(uuid) == "last words of briefer\n"
            time.sleep(4)
            with pytest.raises(NotFound):
                server.client().containers.logs(uuid)
            eventually(lambda: not log.exists(), within=40, what="the files deleted")


def test_a_stream_of_a_log_goes_on_while_the_container_writes(own: Server) -> None:
    line = "while :; do date; sleep 0.2; done"
    uuid = running(own, command=["sh", "-c", f"echo begin; {line}"])
    connection = http.client.HTTPConnection("127.0.0.1", own.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", f"/v1/containers/{uuid}/logs/stream", headers=_login(own))
        answer = connection.getresponse()
        assert answer.headers["Transfer-Encoding"] == "chunked"
        lines = [answer.readline() for _ in range(10)]
        assert lines[0] == b"begin\n"
        assert len(set(lines)) > 1
        own.client().containers.kill(uuid)
        rest = answer.read()  # ends by itself
    assert b"[krater]" not in rest


def _login(server: Server) -> dict[str, str]:
    return {"X-Auth-Token": admin_of(server).token(), "OpenStack-API-Version": "container 1.40"}
