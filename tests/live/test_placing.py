"""What of the node a container gets: processors of its own, and, where an operator allows it, everything."""

from collections.abc import Iterator

import pytest

from tests.support.containers import remove_all
from tests.support.server import Server, eventually, serving

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A Krater with a dedicated processor, whose operator lets administrators have privileged containers."""
    with serving("agent.dedicated_cpus=1", "agent.announce=0.5") as server:
        (server.directory / "policy.yaml").write_text('"container:create:privileged": "rule:admin_api"\n')
        yield server
        remove_all(server)


def allowed(server: Server, name: str) -> str:
    """The processors its first process may use."""
    seen = server.krater("exec", name, "grep", "Cpus_allowed_list", "/proc/1/status").stdout
    return seen.split()[1]


def create(server: Server, name: str, **more: object) -> None:
    body = {"name": name, "image": "busybox", "command": ["sleep", "1000"], "cpu": 0.5, "memory": 64, **more}
    server.client().containers.create(run=True, **body)  # type: ignore[arg-type]
    eventually(lambda: server.client().containers.show(name)["status"] == "Running", what=f"{name} running")


def test_a_dedicated_processor_is_one_containers_alone(own: Server) -> None:
    create(own, "alone", cpu_policy="dedicated")
    create(own, "together")
    assert allowed(own, "alone") == "1"
    assert allowed(own, "together") == "0"
    own.client().containers.create(name="too-many", image="busybox", cpu=0.5, memory=64, cpu_policy="dedicated")
    refused = eventually(lambda: own.client().containers.show("too-many")["status_reason"])
    assert "dedicated processors" in str(refused)
    assert own.client().hosts.list()[0]["enable_cpu_pinning"]


def test_a_privileged_container_is_root_of_its_node(own: Server) -> None:
    create(own, "mighty", privileged=True)
    create(own, "modest")
    mount = ("mount", "-t", "tmpfs", "none", "/mnt")
    own.krater("exec", "mighty", "mkdir", "-p", "/mnt")
    own.krater("exec", "modest", "mkdir", "-p", "/mnt")
    assert own.krater("exec", "mighty", *mount, check=False).returncode == 0
    assert own.krater("exec", "modest", *mount, check=False).returncode != 0
    assert own.krater("exec", "mighty", "mknod", "/null", "c", "1", "3", check=False).returncode == 0
