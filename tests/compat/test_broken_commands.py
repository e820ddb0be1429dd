"""Commands that the clients themselves break: they fail as docs/compatibility.md says, and what they ask for is right.

Whoever sees a test fail here because the command works now: it belongs to the others.
"""

import json
from typing import Any

import pytest

from tests.support.containers import running
from tests.support.server import CLIENTS, Server, run

pytestmark = pytest.mark.live

_ASK = """
import json, os, sys
from zunclient import client
words = {name: os.environ["OS_" + name.upper()] for name in (
    "username", "password", "project_name", "auth_url", "user_domain_id", "project_domain_id")}
containers = client.Client(sys.argv[1], **words).containers
found = getattr(containers, sys.argv[2])(*sys.argv[3:])
print(json.dumps(found, default=lambda entry: entry.to_dict()))
"""


def by_python(server: Server, call: str, *words: str, version: str = "1.40") -> Any:
    """What the client's Python API gives for a call on containers."""
    environment = {**server.environment, **server.openrc()}
    return json.loads(run(CLIENTS / "python", "-c", _ASK, version, call, *words, environment=environment).stdout)


def test_top(server: Server) -> None:
    running(server, name="broken-top")
    for done in (
        server.zun("top", "broken-top", check=False),
        server.openstack("appcontainer", "top", "broken-top", check=False),
    ):
        assert done.returncode != 0
        assert "%-20s" in done.stdout
    found = by_python(server, "top", "broken-top")
    assert any("sleep 1000" in " ".join(process) for process in found["Processes"])
    assert {len(process) for process in found["Processes"]} == {len(found["Titles"])}


def test_network_list(server: Server) -> None:
    uuid = running(server, name="broken-net")
    done = server.openstack("appcontainer", "network", "list", "broken-net", check=False)
    assert done.returncode != 0
    assert "Invalid formatter" in done.stderr
    [found] = by_python(server, "network_list", "broken-net")
    [(network, addresses)] = (server.client().containers.show(uuid)["addresses"] or {}).items()
    assert (found["net_id"], found["port_id"]) == (network, addresses[0]["port"])
    assert [ip["ip_address"] for ip in found["fixed_ips"]] == [address["addr"] for address in addresses]


def test_rename(server: Server) -> None:
    uuid = running(server, name="broken-name")
    done = server.zun("rename", "broken-name", "zun-renamed", check=False)
    assert "1.13" in done.stdout + done.stderr
    server.zun("--zun-api-version", "1.13", "rename", "broken-name", "zun-renamed")
    assert server.client().containers.show(uuid)["name"] == "zun-renamed"
