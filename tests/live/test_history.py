"""What was asked of a container is told after it is gone, to its project only."""

import subprocess

import pytest

from krater.client import Client
from tests.support.server import BIN, Server, eventually

pytestmark = pytest.mark.live


def test_the_history_outlives_the_container(server: Server) -> None:
    client = server.client()
    made = client.containers.run(image="busybox", command=["true"], name="brief")["uuid"]
    eventually(lambda: client.containers.show(made)["status"] == "Stopped")
    client.containers.delete(made)
    eventually(lambda: made not in {c["uuid"] for c in client.containers.list()})
    history = client.containers.actions(made)
    assert [entry["action"] for entry in history] == ["delete", "create"]
    detail = client.containers.action(made, history[1]["request_id"])
    assert {"ensure_image", "create", "plug", "start"} <= {event["event"] for event in detail["events"]}
    assert {event["result"] for event in detail["events"]} == {"Success"}


def test_strangers_are_told_nothing(server: Server) -> None:
    made = server.client().containers.run(image="busybox", command=["true"])["uuid"]
    subprocess.run(
        [BIN / "krater", "account", "add", "stranger", *server.options], input="secret-enough\n", text=True, check=True
    )
    with Client(server.url, "stranger", "secret-enough") as stranger:
        assert stranger.containers.list() == []
        for ask in (stranger.containers.show, stranger.containers.actions, stranger.containers.logs):
            with pytest.raises(Exception, match="could not be found"):
                ask(made)
