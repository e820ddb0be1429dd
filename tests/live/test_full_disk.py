"""The disk fills up: what needs room says so, everything else goes on, and all is well once there is room again."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.containers import ends_up, remove_all, running, shown
from tests.support.images import configuration, docker_members, small_layer, write_archive
from tests.support.server import BIN, Server, eventually, run

pytestmark = pytest.mark.live

FILL = ["sh", "-c", "until [ -e /tmp/go ]; do sleep 0.05; done; dd if=/dev/zero of=/fill bs=64k; sleep 1000"]


@pytest.fixture
def own() -> Iterator[Server]:
    """A Krater whose directory is a small file system of its own."""
    server = Server("agent.announce=0.5")
    directory = str(server.directory)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", directory], check=True)
    try:
        server.start()
        server.import_busybox()
        yield server
    finally:
        if server.child is not None and server.child.poll() is None:
            server.stop()
        server.operator("node", "clear", *server.options)
        subprocess.run(["umount", directory], check=True)
        server.directory.rmdir()


def free(server: Server) -> int:
    found = os.statvfs(server.directory)
    return found.f_bavail * found.f_frsize


def test_an_image_for_which_there_is_no_room(own: Server, tmp_path: Path) -> None:
    before = free(own)
    layers = [small_layer({"big": (0o644, os.urandom(40 << 20))})]
    path = write_archive(tmp_path / "big.tar", docker_members("big:1", layers, configuration(layers)))
    refused = run(BIN / "krater", "node", "import", path, *own.options, environment=own.environment, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("krater: ")
    assert refused.stderr.rstrip().endswith("the node's disk is full")
    eventually(lambda: free(own) > before - (2 << 20), what="the room given back")
    assert own.krater("run", "--rm", "busybox", "echo", "well").stdout == "well\n"
    assert "big" not in own.krater("images").stdout


def test_a_container_fills_the_disk(own: Server) -> None:
    client = own.client()
    greedy = running(own, FILL, memory="512")
    other = running(own)
    client.containers.execute(greedy, ["touch", "/tmp/go"])
    eventually(lambda: free(own) == 0, what="a full disk")
    refused = own.krater("run", "-d", "busybox", "sleep", "1000", check=False)
    assert refused.returncode == 125
    assert "its disk is full" in refused.stderr
    assert shown(own, other)["status"] == "Running"
    assert client.containers.execute(other, ["echo", "well"])["output"] == "well\n"
    own.krater("stop", "-t", "0", other)
    ends_up(own, other, "Stopped")
    own.krater("rm", "-f", greedy)
    eventually(lambda: free(own) > 8 << 20, what="the room given back")
    assert own.krater("run", "--rm", "busybox", "echo", "well").stdout == "well\n"
    remove_all(own)


def test_who_takes_all_room_at_once_again_is_removed_all_the_same(own: Server) -> None:
    """What is set aside for the database is nobody's to take."""
    others = [running(own) for _ in range(3)]
    greedy = running(own, ["sh", "-c", "while :; do cat /dev/zero >> /fill; done"], memory="512")
    eventually(lambda: free(own) == 0, what="a full disk")
    for other in others:
        own.krater("rm", "-f", other)
    eventually(lambda: free(own) == 0, what="a disk that is full again")
    own.kill()
    own.start()
    eventually(lambda: shown(own, greedy)["status"] == "Running", what="a Krater that starts on a full disk")
    own.krater("rm", "-f", greedy)
    assert own.krater("run", "--rm", "busybox", "echo", "well").stdout == "well\n"
    remove_all(own)
