"""Networks and security groups of containers, with the unmodified clients."""

import json

import pytest

from tests.support.server import Server, eventually

pytestmark = pytest.mark.live


def shown(server: Server, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(server.zun("show", "-f", "json", name).stdout)
    return found


def running(server: Server, name: str) -> bool:
    container = server.client().containers.show(name)
    assert container["status"] != "Error", container
    return container["status"] == "Running"


def networks(server: Server, name: str) -> str:
    return str(server.client().containers.show(name)["addresses"])


def test_networks_are_attached_listed_and_detached(server: Server) -> None:
    client = server.client()
    first = client.networks.show("default")["uuid"]
    back = client.networks.create("back")
    third = back["subnets"][0]["cidr"].rsplit(".", 1)[0]
    server.zun("run", "--name", "zun-net", "busybox", "sleep", "1000")
    eventually(lambda: running(server, "zun-net"), within=60)
    server.zun("network-attach", "--network", "back", "--fixed-ip", f"{third}.50", "zun-net")
    eventually(lambda: back["uuid"] in networks(server, "zun-net"))
    assert f"{third}.50" in server.zun("network-list", "zun-net").stdout
    server.zun("network-detach", "--network", "default", "zun-net")
    eventually(lambda: first not in networks(server, "zun-net"))
    port = client.ports.create("default")
    server.openstack("appcontainer", "network", "attach", "--port", port["uuid"], "zun-net")
    eventually(lambda: port["fixed_ips"][0] in networks(server, "zun-net"))
    assert port["fixed_ips"][0] in server.zun("network-list", "zun-net").stdout
    server.openstack("appcontainer", "network", "detach", "--port", port["uuid"], "zun-net")
    eventually(lambda: port["fixed_ips"][0] not in networks(server, "zun-net"))


def test_security_groups_and_exposed_ports(server: Server) -> None:
    client = server.client()
    group = client.security_groups.create("zun-web")["uuid"]
    server.zun("run", "--name", "zun-sg", "--security-group", "zun-web", "busybox", "sleep", "1000")
    assert group in str(shown(server, "zun-sg")["security_groups"])
    eventually(lambda: running(server, "zun-sg"), within=60)
    old = ("--zun-api-version", "1.14")
    server.zun(*old, "remove-security-group", "zun-sg", "zun-web")
    assert group not in str(shown(server, "zun-sg")["security_groups"])
    server.zun(*old, "add-security-group", "zun-sg", "zun-web")
    assert group in str(shown(server, "zun-sg")["security_groups"])
    server.zun("run", "--name", "zun-open", "--expose-port", "80/tcp", "busybox", "sleep", "1000")
    made = shown(server, "zun-open")
    assert "80" in str(made["ports"])
    assert f"zun-{made['uuid']}" in {one["name"] for one in client.security_groups.list()}
