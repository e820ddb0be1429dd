"""Networks of a container that is there, and administrators' registering of networks."""

from typing import Any

import pytest

from krater.bus.interfaces import node_target
from krater.bus.messages import Resize, Stats
from krater.model.reading import Reading
from tests.support.api import NODE, World


async def network(world: World, name: str, who: str = "ann") -> dict[str, Any]:
    answer = await world.call("POST", "/v1/networks", who=who, json={"name": name})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def nets(world: World, id: str) -> list[str]:
    return [net.network for net in (await world.stored(id)).spec.nets]


async def refused(world: World, status: int, method: str, path: str, **more: Any) -> dict[str, Any]:
    answer = await world.call(method, path, **more)
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["errors"][0]
    return error


async def test_a_network_is_attached_and_detached(world: World) -> None:
    container = await world.running()
    back = await network(world, "back")
    path = f"/v1/containers/{container['uuid']}"
    (default,) = await nets(world, container["uuid"])
    done = await world.call("POST", f"{path}/network_attach", params={"network": "back"})
    assert (done.status_code, done.text) == (200, "null")
    assert await nets(world, container["uuid"]) == [default, back["uuid"]]
    for ident in ("back", back["uuid"]):
        again = await refused(world, 400, "POST", f"{path}/network_attach", json={"network": ident})
        assert "already" in again["title"]
    gone = await world.call("POST", f"{path}/network_detach", params={"network": "default"})
    assert (gone.status_code, gone.text) == (202, "null")
    assert await nets(world, container["uuid"]) == [back["uuid"]]
    missing = await refused(world, 400, "POST", f"{path}/network_detach", params={"network": "default"})
    assert "is not on" in missing["title"]
    await world.call("POST", f"{path}/network_attach")
    assert await nets(world, container["uuid"]) == [back["uuid"], default]
    actions = (await world.call("GET", f"{path}/container_actions")).json()["containerActions"]
    assert [one["action"] for one in actions] == ["network_attach", "network_detach", "network_attach", "create"]


async def test_an_address_or_a_port_may_be_asked_for(world: World) -> None:
    container = await world.running()
    back = await network(world, "back")
    third = back["subnets"][0]["cidr"].rsplit(".", 1)[0]
    path = f"/v1/containers/{container['uuid']}"
    asked = {"network": "back", "fixed_ip": f"{third}.9"}
    assert (await world.call("POST", f"{path}/network_attach", params=asked)).status_code == 200
    assert (await world.stored(container["uuid"])).spec.nets[1].fixed_ips == (f"{third}.9",)
    await world.call("POST", f"{path}/network_detach", params={"network": back["uuid"]})
    port = (await world.call("POST", "/v1/ports", json={"network": "back"})).json()
    assert (await world.call("POST", f"{path}/network_attach", params={"port": port["uuid"]})).status_code == 200
    assert (await world.stored(container["uuid"])).spec.nets[1].port == port["uuid"]
    assert (await world.call("POST", f"{path}/network_detach", params={"port": port["uuid"]})).status_code == 202
    assert len(await nets(world, container["uuid"])) == 1
    (net,) = (await world.stored(container["uuid"])).spec.nets
    only = await world.call("POST", f"{path}/network_detach", params={"network": net.network})
    assert only.status_code == 202
    assert await nets(world, container["uuid"]) == []
    first = (await world.call("GET", "/v1/networks/default")).json()["subnets"][0]["cidr"].rsplit(".", 1)[0]
    asked = {"fixed_ip": f"{first}.77"}
    assert (await world.call("POST", f"{path}/network_attach", json=asked)).status_code == 200
    assert (await world.stored(container["uuid"])).spec.nets[0].fixed_ips == (f"{first}.77",)


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"network": "a", "port": "b"}, 400, "network: cannot be given together with port"),
        ({"network": "nowhere"}, 404, "nowhere"),
        ({"port": "nothing"}, 404, "nothing"),
        ({"network": "theirs"}, 404, "theirs"),
        ({"network": ""}, 400, "network: expected"),
        ({"network": "back", "fixed_ip": "ten"}, 400, "fixed_ip: expected an IPv4 or IPv6 address"),
        ({"network": "back", "fixed_ip": ""}, 400, "fixed_ip: expected"),
        ({"network": "back", "fixed_ip": "192.0.2.1"}, 400, "fixed_ip: 192.0.2.1 is outside"),
        ({"port": "mine", "fixed_ip": "10.66.0.9"}, 400, "fixed_ip: cannot be given together with port"),
        ({"port": "taken"}, 400, "in use"),
    ],
)
async def test_what_cannot_be_attached_changes_nothing(
    world: World, asked: dict[str, str], status: int, said: str
) -> None:
    container = await world.running()
    await network(world, "back")
    await network(world, "theirs", "bob")
    port = (await world.call("POST", "/v1/ports", json={"network": "back"})).json()["uuid"]
    if asked.get("port") == "taken":
        await world.store.write(lambda tx: tx.networks.bind(port, "another"))
    wanted = {key: port if value in ("mine", "taken") else value for key, value in asked.items()}
    before = await world.stored(container["uuid"])
    for given in ({"params": wanted}, {"json": wanted}):
        error = await refused(world, status, "POST", f"/v1/containers/{container['uuid']}/network_attach", **given)
        assert said in error["title"]
    assert (await world.stored(container["uuid"])).intent == before.intent


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({}, 400),
        ({"network": "default", "port": "x"}, 400),
        ({"network": "nowhere"}, 404),
        ({"network": "back"}, 400),
        ({"port": "nothing"}, 400),
    ],
)
async def test_what_cannot_be_detached_changes_nothing(world: World, asked: dict[str, str], status: int) -> None:
    container = await world.running()
    await network(world, "back")
    before = await world.stored(container["uuid"])
    await refused(world, status, "POST", f"/v1/containers/{container['uuid']}/network_detach", params=asked)
    assert (await world.stored(container["uuid"])).intent == before.intent


async def test_an_administrator_attaches_networks_of_the_containers_project(world: World) -> None:
    container = await world.running()
    back = await network(world, "back")
    path = f"/v1/containers/{container['uuid']}/network_attach"
    assert (await world.call("POST", path, who="admin", params={"network": "back"})).status_code == 200
    assert back["uuid"] in await nets(world, container["uuid"])
    await refused(world, 404, "POST", path, who="bob", params={"network": "back"})


async def test_a_container_that_goes_is_left_alone(world: World) -> None:
    container = await world.running()
    await world.call("DELETE", f"/v1/containers/{container['uuid']}", params={"stop": "true"})
    for action in ("network_attach", "network_detach"):
        path = f"/v1/containers/{container['uuid']}/{action}"
        await refused(world, 409, "POST", path, params={"network": "default"})


async def test_versions(world: World) -> None:
    container = await world.running()
    path = f"/v1/containers/{container['uuid']}"
    await refused(world, 406, "POST", f"{path}/network_detach", version="container 1.5")
    await refused(world, 406, "POST", f"{path}/network_attach", version="container 1.7")


async def test_administrators_may_register_a_network_as_with_zun(world: World) -> None:
    back = await network(world, "back")
    body = {"neutron_net_id": back["uuid"], "name": "anything"}
    answer = await world.call("POST", "/v1/networks", who="admin", json=body)
    assert answer.status_code == 200
    shown = answer.json()
    assert {shown[key] for key in ("name", "network_id", "neutron_net_id")} == {back["uuid"]}
    assert shown["project_id"] == "p-kitchen"
    await refused(world, 403, "POST", "/v1/networks", json=body)
    await refused(world, 404, "POST", "/v1/networks", who="admin", json=body | {"neutron_net_id": "nowhere"})
    await refused(world, 400, "POST", "/v1/networks", who="admin", json={"neutron_net_id": back["uuid"]})
    await refused(world, 404, "DELETE", f"/v1/networks/{back['uuid']}", who="admin")
    assert (await world.call("GET", "/v1/networks/back")).json() == back


async def test_administrators_share_networks_with_all_projects(world: World) -> None:
    wanted = {"name": "square", "shared": True}
    await refused(world, 403, "POST", "/v1/networks", json=wanted)
    shared = (await world.call("POST", "/v1/networks", who="admin", json=wanted)).json()
    assert shared["shared"] is True
    assert (await world.call("GET", "/v1/networks/square")).json() == shared
    container = await world.running(nets=[{"network": "square"}])
    assert await nets(world, container["uuid"]) == [shared["uuid"]]
    plain = await world.running()
    assert shared["uuid"] not in await nets(world, plain["uuid"])
    await refused(world, 404, "DELETE", "/v1/networks/square", version="container 1.40")


async def test_memory_is_not_taken_from_under_a_running_container(world: World) -> None:
    container = await world.running(memory=512)

    async def stats(_: Stats) -> Reading:
        return Reading(0.0, 300 << 20, 512 << 20, 0, 0, 0, 0)

    async def resize(_: Resize) -> None:
        return None

    world.bus.serve(node_target(NODE), {Stats: stats, Resize: resize})
    path = f"/v1/containers/{container['uuid']}"
    error = await refused(world, 409, "PATCH", path, json={"memory": 256})
    assert "uses 300 MiB" in error["title"]
    assert (await world.call("GET", path)).json()["memory"] == "512"
    assert (await world.call("PATCH", path, json={"memory": 320})).json()["memory"] == "320"
    assert (await world.call("POST", f"{path}/resize_container", json={"memory": 310})).status_code == 202
    await refused(world, 409, "POST", f"{path}/resize_container", json={"memory": 200})
    assert (await world.call("GET", path)).json()["memory"] == "310"
    assert (await world.call("PATCH", path, json={"name": None, "auto_heal": True})).json()["auto_heal"] is True
