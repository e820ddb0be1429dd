"""`krater node clear` leaves nothing of a Krater on the machine, whatever it was doing when it died."""

import subprocess
from pathlib import Path

import pytest

from tests.support.asking import admin_of
from tests.support.containers import made, running
from tests.support.leftovers import leftovers, loop_devices
from tests.support.server import BIN, Server, run

pytestmark = pytest.mark.live


def traces(server: Server) -> list[str]:
    """Everything of this Krater that is not a file in its directory: asked of the kernel."""
    directory, instance = str(server.directory), server.instance
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            group = (place / "cgroup").read_text()
        except OSError:
            continue
        if directory in words or f"/{instance}/" in group:
            found.append(f"process {place.name}: {words}")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if directory in line:
            found.append(f"mount {line.split()[4]}")
    for command in (["ip", "-o", "link"], ["nft", "list", "tables"], ["ip", "rule"], ["ip", "netns"]):
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found += [f"{command}: {line}" for line in said.splitlines() if instance in line]
    found += [f"control group {path}" for path in Path("/sys/fs/cgroup").glob(f"**/{instance}")]
    found += [f"namespace {path}" for path in (server.directory / "run" / "netns").glob("**/*") if path.is_file()]
    return found


def test_nothing_of_a_killed_krater_is_left(tmp_path: Path) -> None:
    server = Server("agent.ready_namespaces=3", ipv6=True)
    try:
        server.start()
        server.import_busybox()
        admin = admin_of(server)
        assert admin.ask("POST", "/v1/networks", {"name": "second"}).status == 200
        running(server, name="plain")
        running(server, name="both", nets=[{"network": "second"}])
        family = ["sh", "-c", "sleep 1000 & sleep 1000 & wait"]
        running(server, family, name="family", restart_policy={"Name": "always"})
        server.client().containers.pause(running(server, name="frozen"))
        made(server, ["false"], name="loops", restart_policy={"Name": "always"})
        content = {"type": "bind", "source": "d29yZHM=", "destination": "/conf"}
        running(server, name="disks", mounts=[{"size": 1, "destination": "/data"}, content])
        assert loop_devices(server.directory) != []
        assert len(traces(server)) > 10
        server.kill()
        assert len(traces(server)) > 10, "containers end with the server"
        for _ in range(2):
            run(BIN / "krater", "node", "clear", *server.options, environment=server.environment)
            assert traces(server) == []
            assert loop_devices(server.directory) == []
        assert len([*(server.directory / "volumes" / "disks").iterdir()]) == 1, "data stay"
        assert [line for line in leftovers(server) if " rows of " not in line] == []
    finally:
        server.clear()
    assert not server.directory.exists()
    assert traces(server) == []
