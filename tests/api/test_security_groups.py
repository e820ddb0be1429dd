"""Security groups: requests and answers, and what other projects see of them (nothing)."""

from dataclasses import replace
from typing import Any

import pytest

from krater.controller.guarding import assignments_of
from krater.model.network import Nic
from krater.store.interfaces import Tx
from tests.support.api import World


async def made(world: World, name: str = "web", who: str = "ann") -> dict[str, Any]:
    answer = await world.call("POST", "/v1/security_groups", who=who, json={"name": name})
    assert answer.status_code == 200, answer.text
    group: dict[str, Any] = answer.json()
    return group


async def names(world: World, who: str = "ann") -> list[str]:
    answer = await world.call("GET", "/v1/security_groups", who=who)
    return [group["name"] for group in answer.json()["security_groups"]]


async def refused(world: World, status: int, method: str, path: str, **more: Any) -> dict[str, Any]:
    answer = await world.call(method, path, **more)
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["errors"][0]
    return error


async def test_a_project_has_its_default_group_from_the_first_look(world: World) -> None:
    first = (await world.call("GET", "/v1/security_groups")).json()["security_groups"]
    assert [group["name"] for group in first] == ["default"]
    said = {(rule["direction"], rule["ethertype"], rule["remote_group"]) for rule in first[0]["rules"]}
    assert said == {
        *(("egress", ip, None) for ip in ("IPv4", "IPv6")),
        *(("ingress", ip, first[0]["uuid"]) for ip in ("IPv4", "IPv6")),
    }
    assert (await world.call("GET", "/v1/security_groups")).json()["security_groups"] == first
    bobs = (await world.call("GET", "/v1/security_groups/default", who="bob")).json()
    assert bobs["uuid"] != first[0]["uuid"]


async def test_a_new_group_lets_everything_out_and_nothing_in(world: World) -> None:
    group = await made(world)
    assert {rule["direction"] for rule in group["rules"]} == {"egress"}
    assert (await world.call("GET", "/v1/security_groups/web")).json() == group
    assert (await world.call("GET", f"/v1/security_groups/{group['uuid']}")).json() == group
    assert (await world.call("DELETE", "/v1/security_groups/web")).status_code == 204
    await refused(world, 404, "GET", "/v1/security_groups/web")


async def test_groups_are_their_projects_own(world: World) -> None:
    group = await made(world)
    rule = group["rules"][0]["uuid"]
    for ident in ("web", group["uuid"]):
        await refused(world, 404, "GET", f"/v1/security_groups/{ident}", who="bob")
        await refused(world, 404, "DELETE", f"/v1/security_groups/{ident}", who="bob")
        await refused(world, 404, "POST", f"/v1/security_groups/{ident}/rules", who="bob", json={})
        error = await refused(
            world, 400, "POST", "/v1/containers", who="bob", json={"image": "busybox", "security_groups": [ident]}
        )
        assert error["code"] == "container.security-group-not-found"
    await refused(world, 404, "DELETE", f"/v1/security_group_rules/{rule}", who="bob")
    remote = {"remote_group": group["uuid"]}
    await refused(world, 404, "POST", "/v1/security_groups/default/rules", who="bob", json=remote)
    assert await names(world, "bob") == ["default"]
    assert await names(world) == ["web", "default"]


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ({}, {"direction": "ingress", "ethertype": "IPv4", "protocol": None, "port_range_min": None}),
        ({"protocol": "TCP", "port_range_min": 80}, {"protocol": "tcp", "port_range_min": 80, "port_range_max": 80}),
        ({"protocol": 17, "port_range_min": "53", "port_range_max": "99"}, {"protocol": "udp", "port_range_max": 99}),
        ({"protocol": "any", "ethertype": "IPv6"}, {"protocol": None, "ethertype": "IPv6"}),
        ({"protocol": "icmp", "port_range_min": 8}, {"protocol": "icmp", "port_range_min": 8, "port_range_max": None}),
        ({"protocol": "icmpv6"}, {"protocol": "icmp", "ethertype": "IPv6"}),
        ({"protocol": 58, "ethertype": "IPv6"}, {"protocol": "icmp"}),
        ({"protocol": "1", "ethertype": "IPv6"}, {"protocol": "1"}),
        ({"protocol": "112"}, {"protocol": "112"}),
        ({"remote_ip_prefix": "10.1.2.3/8"}, {"remote_ip_prefix": "10.0.0.0/8"}),
        ({"remote_ip_prefix": "fd00::1"}, {"remote_ip_prefix": "fd00::1/128", "ethertype": "IPv6"}),
        ({"direction": "egress", "protocol": "sctp", "port_range_min": 9}, {"direction": "egress", "protocol": "sctp"}),
    ],
)
async def test_a_rule_is_shown_in_its_plain_form(world: World, body: dict[str, Any], shown: dict[str, Any]) -> None:
    await made(world)
    answer = await world.call("POST", "/v1/security_groups/web/rules", json=body)
    assert answer.status_code == 200, answer.text
    assert shown.items() <= answer.json().items()
    again = await refused(world, 409, "POST", "/v1/security_groups/web/rules", json=body)
    assert "already" in again["title"]
    assert (await world.call("DELETE", f"/v1/security_group_rules/{answer.json()['uuid']}")).status_code == 204
    await refused(world, 404, "DELETE", f"/v1/security_group_rules/{answer.json()['uuid']}")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"direction": "in"}, "direction"),
        ({"direction": None}, "direction"),
        ({"ethertype": "IPX"}, "ethertype"),
        ({"protocol": "http"}, "protocol"),
        ({"protocol": 256}, "protocol"),
        ({"protocol": -1}, "protocol"),
        ({"protocol": "icmpv6", "ethertype": "IPv4"}, "protocol"),
        ({"protocol": "tcp", "port_range_min": 0}, "port_range_min"),
        ({"protocol": "tcp", "port_range_min": 65536}, "port_range_min"),
        ({"protocol": "tcp", "port_range_min": 90, "port_range_max": 80}, "port_range_min"),
        ({"protocol": "tcp", "port_range_max": 80}, "port_range_max"),
        ({"protocol": "tcp", "port_range_min": "80-90"}, "port_range_min"),
        ({"port_range_min": 80}, "port_range_min"),
        ({"protocol": 112, "port_range_min": 80}, "port_range_min"),
        ({"protocol": "icmp", "port_range_min": 256}, "port_range_min"),
        ({"protocol": "icmp", "port_range_max": 0}, "port_range_max"),
        ({"protocol": "icmp", "port_range_min": 3, "port_range_max": 256}, "port_range_max"),
        ({"remote_ip_prefix": "everywhere"}, "remote_ip_prefix"),
        ({"remote_ip_prefix": "10.0.0.0/33"}, "remote_ip_prefix"),
        ({"remote_ip_prefix": "10.0.0.0/8", "ethertype": "IPv6"}, "remote_ip_prefix"),
        ({"remote_ip_prefix": "10.0.0.0/8", "remote_group": "default"}, "remote_group"),
        ({"remote_group": ""}, "remote_group"),
        ({"ports": 80}, "ports"),
    ],
)
async def test_a_rule_that_makes_no_sense_is_refused_by_field(world: World, body: dict[str, Any], field: str) -> None:
    await made(world)
    error = await refused(world, 400, "POST", "/v1/security_groups/web/rules", json=body)
    assert field in error["title"]
    assert len((await world.call("GET", "/v1/security_groups/web")).json()["rules"]) == 2


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "x" * 256}, {"name": "a\nb"}, {"name": None}, {"n": "x"}])
async def test_a_group_needs_a_name(world: World, body: dict[str, Any]) -> None:
    await refused(world, 400, "POST", "/v1/security_groups", json=body)
    assert await names(world) == ["default"]


async def test_the_default_group_is_neither_made_nor_deleted(world: World) -> None:
    await refused(world, 409, "POST", "/v1/security_groups", json={"name": "default"})
    await names(world)
    await refused(world, 409, "DELETE", "/v1/security_groups/default")


async def test_what_is_in_use_stays(world: World) -> None:
    group = await made(world)
    container = await world.make(security_groups=["web"])
    await refused(world, 409, "DELETE", "/v1/security_groups/web")
    other = await made(world, "other")
    await world.call("POST", "/v1/security_groups/web/rules", json={"remote_group": "other"})
    error = await refused(world, 409, "DELETE", f"/v1/security_groups/{other['uuid']}")
    assert group["uuid"] in error["title"]
    port = (await world.call("POST", "/v1/ports", json={"network": "default", "security_groups": ["other"]})).json()
    assert port["security_groups"] == [other["uuid"]]
    assert container["security_groups"] == [group["uuid"]]


async def test_there_is_an_end_to_groups_and_rules(world: World) -> None:
    for number in range(100):
        await made(world, f"g{number}")
    await refused(world, 409, "POST", "/v1/security_groups", json={"name": "more"})
    for port in range(1, 99):
        body = {"protocol": "tcp", "port_range_min": port}
        assert (await world.call("POST", "/v1/security_groups/g0/rules", json=body)).status_code == 200
    await refused(world, 409, "POST", "/v1/security_groups/g0/rules", json={"protocol": "udp"})


async def test_containers_show_ids_each_once(world: World) -> None:
    group = await made(world)
    both = await world.make(security_groups=["web", "default", group["uuid"], "web"])
    default = (await world.call("GET", "/v1/security_groups/default")).json()["uuid"]
    assert both["security_groups"] == [group["uuid"], default]
    assert (await world.make(security_groups=[]))["security_groups"] == [default]
    assert (await world.make(security_groups=None))["security_groups"] == [default]


async def test_a_name_that_two_groups_have_is_ambiguous(world: World) -> None:
    one = await made(world)
    await made(world)
    body = {"image": "busybox", "security_groups": ["web"]}
    await refused(world, 409, "POST", "/v1/containers", json=body)
    await refused(world, 409, "GET", "/v1/security_groups/web")
    assert (await world.make(security_groups=[one["uuid"]]))["security_groups"] == [one["uuid"]]


async def test_exposed_ports_make_a_group_that_goes_with_the_container(world: World) -> None:
    container = await world.make(exposed_ports={"80": {}, "53/udp": {}})
    assert container["ports"] == [80, 53]
    (id,) = container["security_groups"]
    group = (await world.call("GET", f"/v1/security_groups/{id}")).json()
    assert (group["name"], group["container"]) == (f"zun-{container['uuid']}", container["uuid"])
    opened = [
        (rule["ethertype"], rule["protocol"], rule["port_range_min"], rule["port_range_max"])
        for rule in group["rules"]
        if rule["direction"] == "ingress"
    ]
    assert sorted(opened) == sorted(
        (ip, *what) for ip in ("IPv4", "IPv6") for what in (("tcp", 80, 80), ("udp", 53, 53))
    )
    await refused(world, 409, "DELETE", f"/v1/security_groups/{id}")


async def kept_port(world: World, **more: Any) -> dict[str, Any]:
    answer = await world.call("POST", "/v1/ports", json={"network": "default", **more})
    assert answer.status_code == 200, answer.text
    port: dict[str, Any] = answer.json()
    return port


async def told_groups(world: World, container: str) -> list[tuple[str, ...] | None]:
    """What the node is told of the groups of a container's cards."""

    def look(tx: Tx) -> list[tuple[str, ...] | None]:
        (workload,) = tx.workloads.by_ids([container])
        nics = [Nic(net.port or "own", net.network, "", "eth0", ()) for net in workload.spec.nets]
        placed = replace(workload, placement=replace(workload.placement, nics=tuple(nics)))
        (one,) = assignments_of(tx, [placed], {}, "docker.io")
        return [nic.groups for nic in one.nics]

    return await world.store.read(look)


async def test_a_port_in_no_group_is_in_none(world: World) -> None:
    await world.call("GET", "/v1/networks/default")
    port = await kept_port(world, security_groups=[])
    assert port["security_groups"] == []
    container = await world.running(nets=[{"port": port["uuid"]}])
    assert await told_groups(world, container["uuid"]) == [()]


async def test_a_port_that_was_taken_out_of_its_last_group_is_in_none(world: World) -> None:
    await world.call("GET", "/v1/networks/default")
    port = await kept_port(world)
    container = await world.running(nets=[{"port": port["uuid"]}])
    path = f"/v1/containers/{container['uuid']}/remove_security_group"
    assert (await world.call("POST", path, version=OLD, params={"name": "default"})).status_code == 202
    ports = (await world.call("GET", "/v1/ports")).json()["ports"]
    assert [one["security_groups"] for one in ports] == [[]]
    assert await told_groups(world, container["uuid"]) == [()]


async def test_a_group_that_went_with_its_container_holds_up_nobody(world: World) -> None:
    await made(world)
    exposing = await world.make(exposed_ports={"80": {}})
    (id,) = exposing["security_groups"]
    container = await world.running(security_groups=["default", id])
    await world.store.write(lambda tx: tx.security_groups.leave(exposing["uuid"]))
    path = f"/v1/containers/{container['uuid']}"
    added = await world.call("POST", f"{path}/add_security_group", version=OLD, params={"name": "web"})
    assert added.status_code == 202, added.text
    assert id not in (await world.call("GET", path)).json()["security_groups"]


OLD = "container 1.14"


async def test_groups_are_added_and_removed_up_to_1_14(world: World) -> None:
    group = await made(world)
    container = await world.running()
    path = f"/v1/containers/{container['uuid']}"
    default = container["security_groups"]
    added = await world.call("POST", f"{path}/add_security_group", version=OLD, params={"name": "web"})
    assert (added.status_code, added.text) == (202, "null")
    assert (await world.call("GET", path)).json()["security_groups"] == [*default, group["uuid"]]
    await refused(world, 400, "POST", f"{path}/add_security_group", version=OLD, json={"name": group["uuid"]})
    assert (
        await world.call("POST", f"{path}/remove_security_group", version=OLD, json={"name": "default"})
    ).status_code == 202
    await refused(world, 400, "POST", f"{path}/remove_security_group", version=OLD, json={"name": "default"})
    assert (
        await world.call("POST", f"{path}/remove_security_group", version=OLD, json={"name": "web"})
    ).status_code == 202
    assert (await world.call("GET", path)).json()["security_groups"] == []
    assert (await world.call("DELETE", "/v1/security_groups/web")).status_code == 204
    for action in ("add_security_group", "remove_security_group"):
        await refused(world, 400, "POST", f"{path}/{action}", version=OLD)
        unknown = await refused(world, 400, "POST", f"{path}/{action}", version=OLD, params={"name": "nope"})
        assert unknown["code"] == "container.security-group-not-found"
        await refused(world, 404, "POST", f"{path}/{action}", version=OLD, params={"name": "web"}, who="bob")
        await refused(world, 406, "POST", f"{path}/{action}", version="container 1.15", params={"name": "web"})
    actions = (await world.call("GET", f"{path}/container_actions")).json()["containerActions"]
    assert {one["action"] for one in actions} == {"create", "add_security_group", "remove_security_group"}


async def test_groups_cannot_be_changed_of_what_is_still_being_made(world: World) -> None:
    container = await world.make()
    path = f"/v1/containers/{container['uuid']}/add_security_group"
    await refused(world, 409, "POST", path, version=OLD, params={"name": "default"})
