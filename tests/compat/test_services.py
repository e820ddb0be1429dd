"""Hosts and services with the unmodified clients, on a server of their own: what they say is real."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.containers import ends_up, made, remove_all, running
from tests.support.server import Server, eventually, serving

pytestmark = pytest.mark.live

BINARY = "zun-compute"


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def empty(own: Server, host: str) -> Iterator[None]:
    """Every test leaves a node that takes containers, and none on it."""
    yield
    services = own.client().services
    services.enable(host)
    services.force_down(host, False)
    eventually(lambda: is_back(own), what="the node counting")
    remove_all(own)


@pytest.fixture
def host(own: Server) -> str:
    return own.client().hosts.list()[0]["hostname"]


def listed(own: Server) -> list[Any]:
    found: list[Any] = json.loads(own.openstack("appcontainer", "service", "list", "-f", "json").stdout)
    return found


def is_back(own: Server) -> bool:
    return [service["state"] for service in own.client().services.list()] == ["up"]


def test_zun_services(own: Server, host: str) -> None:
    assert "maintenance" in own.zun("service-disable", host, BINARY, "--reason", "maintenance").stdout
    assert "maintenance" in own.zun("service-list").stdout
    refused = ends_up(own, made(own), "Error")
    assert refused["status_reason"]
    assert "False" in own.zun("service-enable", host, BINARY).stdout
    assert "maintenance" not in own.zun("service-list").stdout
    assert "True" in own.zun("service-force-down", host, BINARY).stdout
    assert "down" in own.zun("service-list").stdout
    assert "False" in own.zun("service-force-down", "--unset", host, BINARY).stdout
    eventually(lambda: is_back(own), what="the node counting again")
    running(own)


def test_openstack_hosts_and_services(own: Server, host: str) -> None:
    shown = json.loads(own.openstack("appcontainer", "host", "show", host, "-f", "json").stdout)
    assert shown["hostname"] == host
    assert shown["cpus"] >= 1
    service = ("appcontainer", "service")
    own.openstack(*service, "disable", host, BINARY, "--reason", "maintenance")
    [entry] = listed(own)
    assert (entry["Disabled"], entry["Disabled Reason"]) == (True, "maintenance")
    own.openstack(*service, "enable", host, BINARY)
    own.openstack(*service, "forcedown", host, BINARY)
    [entry] = listed(own)
    assert (entry["State"], entry["Disabled"]) == ("down", False)
    own.openstack(*service, "forcedown", "--unset", host, BINARY)
    eventually(lambda: is_back(own), what="the node counting again")


@pytest.mark.parametrize("client", ["zun", "openstack"])
def test_a_service_that_lives_comes_back_after_its_deletion(own: Server, host: str, client: str) -> None:
    running(own)
    refused = delete(own, host, client)
    assert "container" in refused
    remove_all(own)
    assert "failed" not in delete(own, host, client)
    eventually(lambda: is_back(own), within=60, what="the node coming back")
    eventually(lambda: "busybox" in str(own.client().images.list()), within=60, what="its images")
    running(own)


def delete(own: Server, host: str, client: str) -> str:
    if client == "zun":
        done = own.zun("service-delete", host, BINARY, check=False)
    else:
        done = own.openstack("appcontainer", "service", "delete", host, BINARY, check=False)
    return done.stdout + done.stderr
