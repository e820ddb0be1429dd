"""The parts of a node fail one by one: what needs them waits or says why, and everything else goes on."""

import json
import time
from collections.abc import Iterator

import pytest

from tests.support.containers import ends_up, made, remove, remove_all, running, shown
from tests.support.daemons import Daemon
from tests.support.server import BIN, Server, eventually, run

pytestmark = pytest.mark.live


BORN = ["sh", "-c", "echo born; exec sleep 1000"]


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A Krater of this module's own, to be hurt."""
    server = Server("agent.announce=0.3", "agent.resync=2", "agent.pull_patience=2")
    Daemon(server)
    try:
        server.start()
        server.import_busybox()
        yield server
    finally:
        server.clear()


@pytest.fixture
def daemon(own: Server) -> Iterator[Daemon]:
    """Its image store's daemon; whole again after the test."""
    daemon = Daemon(own)
    yield daemon
    daemon.allow()
    eventually(lambda: store_is(own, "up"), within=40, what="the image store up")
    remove_all(own)


def store_is(server: Server, word: str) -> bool:
    (host,) = json.loads(server.krater("hosts", "--format", "json").stdout)
    return bool(host["image_store"] == word)


def lives_on(server: Server, uuid: str) -> None:
    """All that can be done to a running container without an image is done."""
    client = server.client()
    assert shown(server, uuid)["status"] == "Running"
    done = client.containers.execute(uuid, ["echo", "alive"])
    assert (done["output"], done["exit_code"]) == ("alive\n", 0)
    assert "born" in client.containers.logs(uuid)
    assert client.containers.stats(uuid)["MEM LIMIT(MiB)"] == 32
    client.containers.stop(uuid, timeout=0)
    ends_up(server, uuid, "Stopped")
    client.containers.start(uuid)
    ends_up(server, uuid, "Running")


def outlives(server: Server, uuids: list[str]) -> str:
    """With the image store down: existing ones live and go, a new one waits and says for what; its id."""
    eventually(lambda: store_is(server, "down"), what="the image store down")
    for uuid in uuids:
        lives_on(server, uuid)
    remove(server, uuids[0])
    waiting = made(server, ["sh", "-c", "echo born; exec sleep 1000"], name="waiting", image_pull_policy="always")
    eventually(lambda: shown(server, waiting)["status_reason"], what="a reason")
    time.sleep(1.5)
    state = shown(server, waiting)
    assert state["status"] == "Creating"
    assert "image store" in str(state["status_reason"])
    return waiting


def test_the_image_store_frozen_and_thawed(own: Server, daemon: Daemon) -> None:
    uuids = [running(own, BORN) for _ in range(2)]
    daemon.freeze()
    try:
        outlives(own, uuids)
        fresh = made(own, BORN, name="fresh")
    finally:
        daemon.thaw()
    eventually(lambda: store_is(own, "up"), what="the image store up")
    ends_up(own, fresh, "Running")


def test_the_image_store_killed_comes_back_at_once(own: Server, daemon: Daemon) -> None:
    uuid = running(own, BORN)
    before = daemon.pid
    daemon.kill()
    new = made(own, BORN)
    ends_up(own, new, "Running")
    eventually(lambda: daemon.pid != before, what="another containerd")
    eventually(lambda: store_is(own, "up"), what="the image store up")
    lives_on(own, uuid)
    own.import_busybox()


def test_the_image_store_ends_and_cannot_be_started_for_a_while(own: Server, daemon: Daemon) -> None:
    uuids = [running(own, BORN) for _ in range(2)]
    daemon.prevent()
    daemon.kill()
    waiting = outlives(own, uuids)
    asked = own.client().images.pull("127.0.0.1:1/later", own.client().hosts.list()[0]["hostname"])
    time.sleep(1)
    assert own.client().images.show(asked["uuid"]).get("status") != "Error", "what waits for the store is no failure"
    remove(own, waiting)
    fresh = made(own, BORN, name="fresh")
    daemon.allow()
    ends_up(own, fresh, "Running", within=40)
    own.client().images.delete(asked["uuid"])


def test_a_start_without_an_image_store(own: Server, daemon: Daemon) -> None:
    uuids = [running(own, BORN) for _ in range(2)]
    daemon.prevent()
    own.kill()
    daemon.kill()
    own.start()
    waiting = outlives(own, uuids)
    assert own.stop() == 0, "it cannot be stopped cleanly either"
    own.start()
    assert shown(own, uuids[1])["status"] == "Running"
    remove(own, waiting)
    fresh = made(own, BORN, name="fresh")
    daemon.allow()
    ends_up(own, fresh, "Running", within=40)


def test_a_second_server_on_the_same_directory_is_refused_with_the_owners_number(own: Server) -> None:
    assert own.child is not None
    second = run(BIN / "krater", "serve", *own.options, "--port", "0", environment=own.environment, check=False)
    clear = run(BIN / "krater", "node", "clear", *own.options, environment=own.environment, check=False)
    for refused in (second, clear):
        assert refused.returncode != 0
        assert f"process {own.child.pid}\n" in refused.stderr
        assert str(own.directory) in refused.stderr
        assert "Traceback" not in refused.stderr
    assert own.client().hosts.list()


def test_a_port_that_is_taken_is_named(own: Server) -> None:
    other = Server(f"api.port={own.port}", fake=True)
    try:
        second = run(BIN / "krater", "serve", *other.options, "--fake", environment=own.environment, check=False)
        assert second.returncode != 0
        assert second.stderr == f"krater: cannot listen on 127.0.0.1 port {own.port}: Address already in use\n"
    finally:
        other.clear()
