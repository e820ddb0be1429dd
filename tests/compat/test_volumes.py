"""Volumes and injected files with the unmodified clients: the steps of zun-tempest-plugin's volume tests, retold."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.containers import ends_up
from tests.support.server import Server, eventually

pytestmark = pytest.mark.live


@pytest.fixture
def data(server: Server) -> Iterator[str]:
    """A volume called `data`."""
    client = server.client()
    yield client.volumes.create("data", 1)["uuid"]
    for container in client.containers.list():
        client.containers.delete(container["uuid"], force=True)
    eventually(lambda: not client.containers.list(), what="no containers")
    client.volumes.delete("data")


def status(server: Server) -> str:
    return server.client().volumes.show("data")["status"]


def test_data_persist_over_two_containers(server: Server, data: str) -> None:
    for name, source, script, words in (
        ("zun-first", "data", "echo hello > /data/testfile; cat /data/testfile", "hello"),
        ("zun-second", data, "cat /data/testfile", "hello"),
    ):
        server.zun("run", "--name", name, "--mount", f"source={source},destination=/data", "busybox", "sleep", "1000")
        ends_up(server, name, "Running")
        assert words in server.zun("exec", name, "sh", "-c", script).stdout
        assert status(server) == "in-use"
        refused = server.zun("run", "--mount", "source=data,destination=/d", "busybox", "true", check=False)
        assert "in use" in refused.stdout + refused.stderr
        server.zun("delete", "--force", name)
        eventually(lambda: status(server) == "available", what="available")


def test_a_volume_by_size_goes_with_its_container(server: Server) -> None:
    server.openstack(
        *("appcontainer", "run", "--name", "osc-sized", "--mount", "size=1,destination=/data", "busybox"),
        *("sleep", "1000"),
    )
    ends_up(server, "osc-sized", "Running")
    [volume] = server.client().volumes.list()
    shown = json.loads(server.openstack("appcontainer", "show", "osc-sized", "-f", "json").stdout)
    assert (volume["status"], volume["container"]) == ("in-use", shown["uuid"])
    done = server.openstack("appcontainer", "exec", "osc-sized", "sh", "-c", "echo hi > /data/x; cat /data/x")
    assert "hi" in done.stdout
    server.openstack("appcontainer", "delete", "--force", "osc-sized")
    eventually(lambda: not server.client().volumes.list(), what="no volume")


def test_a_file_is_injected(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "testfile"
    file.write_text("hello from outside")
    server.zun(
        *("run", "--name", "zun-file", "--mount", f"type=bind,source={file},destination=/data/testfile"),
        *("busybox", "cat", "/data/testfile"),
    )
    ends_up(server, "zun-file", "Stopped")
    assert server.zun("logs", "zun-file").stdout.strip() == "hello from outside"
