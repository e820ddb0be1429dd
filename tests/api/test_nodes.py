"""Hosts, services and availability zones."""

from typing import Any

import pytest

from krater.model.workload import Resources
from tests.support.api import HOST, NODE, World

HOST_KEYS = [
    *("uuid", "links", "hostname", "mem_total", "mem_used", "total_containers", "cpus", "cpu_used", "architecture"),
    *("os_type", "os", "kernel_version", "labels", "disk_total", "disk_used", "disk_quota_supported", "runtimes"),
    *("enable_cpu_pinning", "image_store"),
]
SERVICE_KEYS = [
    *("id", "host", "binary", "state", "disabled", "disabled_reason", "last_seen_up", "forced_down", "report_count"),
    *("availability_zone", "created_at", "updated_at"),
]
WHICH = "host=rack-1&binary=zun-compute"


async def admin(world: World, method: str, path: str, **more: Any) -> Any:
    return await world.call(method, path, who="admin", **more)


async def test_hosts_show_what_nodes_have_and_what_is_claimed(world: World) -> None:
    id = (await world.running())["uuid"]
    await world.store.write(lambda tx: tx.allocations.claim(id, NODE, Resources(0.1, 64), (16.0, 1.5, 512)))
    listed = (await admin(world, "GET", "/v1/hosts/")).json()
    assert listed["next"] is None
    [host] = listed["hosts"]
    assert list(host) == HOST_KEYS
    assert (host["uuid"], host["hostname"], host["cpus"], host["mem_total"]) == (NODE, HOST, 8, 16384)
    assert (host["mem_used"], host["cpu_used"], host["total_containers"]) == (64, 0.1, 1)
    for ident in (NODE, HOST):
        assert (await admin(world, "GET", f"/v1/hosts/{ident}")).json() == host


async def test_an_unknown_host(world: World) -> None:
    answer = await admin(world, "GET", "/v1/hosts/nowhere")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, "container.compute-node-not-found")


async def test_hosts_in_pages_and_orders(world: World) -> None:
    for index in (3, 2):
        await world.announce(f"node-{index}", f"rack-{index}")
    url, seen = "/v1/hosts?limit=2&sort_dir=desc&colour=ignored", []
    while url:
        page = (await admin(world, "GET", url)).json()
        seen.append([host["hostname"] for host in page["hosts"]])
        url = page["next"]
    assert seen == [["rack-3", "rack-2"], ["rack-1"]]
    assert (await admin(world, "GET", "/v1/hosts?sort_key=colour")).status_code == 400
    assert (await admin(world, "GET", "/v1/hosts?marker=nothing")).status_code == 404


async def test_services_are_up_while_they_report(world: World) -> None:
    [service] = (await admin(world, "GET", "/v1/services")).json()["services"]
    assert list(service) == SERVICE_KEYS
    assert (service["host"], service["binary"], service["state"]) == (HOST, "zun-compute", "up")
    assert service["last_seen_up"] == "2026-01-31T12:00:00"
    world.clock.move(61)
    assert (await admin(world, "GET", "/v1/services")).json()["services"][0]["state"] == "down"


async def test_disabling_and_enabling_are_stored(world: World) -> None:
    answer = await admin(world, "PUT", f"/v1/services/disable?{WHICH}&disabled_reason=new%20disk")
    assert answer.json() == {
        "service": {"host": HOST, "binary": "zun-compute", "disabled": True, "disabled_reason": "new disk"}
    }
    [service] = (await admin(world, "GET", "/v1/services")).json()["services"]
    assert (service["disabled"], service["disabled_reason"]) == (True, "new disk")
    answer = await admin(world, "PUT", "/v1/services/enable", json={"host": HOST, "binary": "zun-compute"})
    assert answer.json() == {
        "service": {"host": HOST, "binary": "zun-compute", "disabled": False, "disabled_reason": None}
    }


async def test_forcing_down_makes_containers_unknown_at_once(world: World) -> None:
    id = (await world.running())["uuid"]
    answer = await admin(world, "PUT", f"/v1/services/force_down?{WHICH}&forced_down=True")
    assert answer.json() == {"service": {"host": HOST, "binary": "zun-compute", "forced_down": True}}
    assert (await world.call("GET", f"/v1/containers/{id}")).json()["status"] == "Unknown"
    assert (await admin(world, "PUT", f"/v1/services/force_down?{WHICH}&forced_down=False")).status_code == 200
    assert (await world.call("GET", f"/v1/containers/{id}")).json()["status"] == "Running"


async def test_a_service_is_forgotten_only_when_nothing_is_left_on_it(world: World) -> None:
    id = (await world.running())["uuid"]
    assert (await admin(world, "DELETE", f"/v1/services?{WHICH}")).status_code == 409
    await world.store.write(lambda tx: tx.workloads.delete(id))
    answer = await admin(world, "DELETE", f"/v1/services?{WHICH}")
    assert (answer.status_code, answer.content) == (200, b"null")
    assert (await admin(world, "GET", "/v1/services")).json() == {"services": []}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/v1/services/enable", 400),
        ("PUT", "/v1/services/disable?host=rack-1", 400),
        ("PUT", f"/v1/services/disable?{WHICH}&disabled_reason=", 400),
        ("PUT", f"/v1/services/disable?{WHICH}&disabled_reason={'x' * 300}", 400),
        ("PUT", f"/v1/services/force_down?{WHICH}", 400),
        ("PUT", f"/v1/services/force_down?{WHICH}&forced_down=maybe", 400),
        ("PUT", "/v1/services/enable?host=nowhere&binary=zun-compute", 404),
        ("PUT", "/v1/services/enable?host=rack-1&binary=nova-compute", 404),
        ("DELETE", "/v1/services?host=rack-1", 400),
        ("DELETE", "/v1/services?host=nowhere&binary=zun-compute", 404),
        ("PUT", "/v1/services/dance", 404),
    ],
)
async def test_bad_service_requests(world: World, method: str, path: str, status: int) -> None:
    assert (await admin(world, method, path)).status_code == status


async def test_zones_are_each_named_once_to_everybody(world: World) -> None:
    await world.announce("node-2", "rack-2", "east")
    await world.announce("node-3", "rack-3", "east")
    answer = await world.call("GET", "/v1/availability_zones")
    assert answer.json() == {
        "availability_zones": [{"availability_zone": "east"}, {"availability_zone": "nova"}],
        "next": None,
    }
    first = (await world.call("GET", "/v1/availability_zones?limit=1")).json()
    assert [zone["availability_zone"] for zone in first["availability_zones"]] == ["east"]
    rest = (await world.call("GET", first["next"])).json()
    assert [zone["availability_zone"] for zone in rest["availability_zones"]] == ["nova"]
