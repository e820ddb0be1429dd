"""The steps of zun-tempest-plugin's container tests, retold: networks, security groups, volumes, nodes.

What the plugin asks of Neutron and Cinder is asked of Krater's own networks and volumes here.
"""

import base64
import ipaddress
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.asking import User
from tests.support.server import eventually
from tests.support.tempest import Tempest

pytestmark = pytest.mark.live

WELCOME = "Hello from Krater"
WRITE = "/bin/sh -c 'echo hello > /data/testfile'"


@pytest.fixture(scope="module")
def zun_class(primary: User, admin: User) -> Iterator[Tempest]:
    tempest = Tempest(primary, admin, "1.40")
    yield tempest
    tempest.tear_down_class()


@pytest.fixture
def tempest(zun_class: Tempest) -> Iterator[Tempest]:
    yield zun_class
    zun_class.tear_down()


def name() -> str:
    return f"tempest-{secrets.token_hex(4)}"


def new_network(tempest: Tempest, user: User | None = None, **given: Any) -> Any:
    return tempest.ask("POST", "/networks/", {"name": name(), **given}, user=user).json


def delete(tempest: Tempest, path: str, user: User | None = None) -> None:
    """Delete it as soon as nothing uses it."""
    eventually(lambda: tempest.send("DELETE", path, user=user).status == 204, what=f"{path} deleted")


def ports_of(tempest: Tempest, uuid: str) -> list[Any]:
    return [port for port in tempest.found("/ports/")["ports"] if port["device"] == uuid]


def port_is_as_made(tempest: Tempest, made: Any) -> bool:
    return made in tempest.found("/ports/")["ports"]


def groups_of(tempest: Tempest, uuid: str) -> list[Any]:
    [port] = ports_of(tempest, uuid)
    return [tempest.found(f"/security_groups//{group}") for group in port["security_groups"]]


def on_one_subnet(container: Any, network: Any) -> None:
    """It has one network, this one, and an address of its first range."""
    [(id, addresses)] = container["addresses"].items()
    subnet = network["subnets"][0]
    assert id == network["uuid"]
    assert addresses[0]["subnet_id"] == subnet["id"]
    assert ipaddress.ip_address(addresses[0]["addr"]) in ipaddress.ip_network(subnet["cidr"])


def test_a_port_outlives_its_container(tempest: Tempest) -> None:
    """8fc7fec1-e1a2-3f65-a5a6-dba425c1607c."""
    [network, *_] = tempest.found("/networks/")["networks"]
    port = tempest.ask("POST", "/ports/", {"network": network["uuid"]}).json
    assert port["device"] == ""
    made = tempest.run(nets=[{"port": port["uuid"]}])
    [(id, addresses)] = made["addresses"].items()
    assert id == network["uuid"]
    assert {one["port"] for one in addresses} == {port["uuid"]}
    assert [one["addr"] for one in addresses] == port["fixed_ips"]
    assert {one["subnet_id"] for one in addresses} == {subnet["id"] for subnet in network["subnets"]}
    [bound] = [one for one in tempest.found("/ports/")["ports"] if one["uuid"] == port["uuid"]]
    assert bound["device"] == made["uuid"]
    tempest.ask("DELETE", f"/containers//{made['uuid']}?stop=True", expected=204)
    tempest.gone(made["uuid"])
    eventually(lambda: port_is_as_made(tempest, port), what="the port being as before")
    tempest.ask("DELETE", f"/ports//{port['uuid']}", expected=204)


def test_ports_of_both_kinds_of_addresses(tempest: Tempest) -> None:
    """cfa24356-30fd-42b7-92c7-bbf01bcaf6eb."""
    network = new_network(tempest)
    four, six = network["subnets"]
    both = tempest.ask("POST", "/ports/", {"network": network["uuid"]}).json
    made = tempest.run(nets=[{"port": both["uuid"]}])
    first, second = made["addresses"][network["uuid"]]
    assert (first["version"], first["subnet_id"]) == (4, four["id"])
    assert (second["version"], second["subnet_id"]) == (6, six["id"])
    assert [first["addr"], second["addr"]] == both["fixed_ips"]
    assert tempest.execute(made["uuid"], f"ping -c1 -W5 {six['gateway']}")["exit_code"] == 0
    chosen = str(ipaddress.ip_network(four["cidr"])[77])
    single = tempest.ask("POST", "/ports/", {"network": network["uuid"], "fixed_ips": [chosen]}).json
    [only] = tempest.run(nets=[{"port": single["uuid"]}])["addresses"][network["uuid"]]
    assert (only["version"], only["subnet_id"], only["addr"]) == (4, four["id"], chosen)
    tempest.tear_down()
    for port in (both, single):
        delete(tempest, f"/ports//{port['uuid']}")
    delete(tempest, f"/networks//{network['uuid']}")


def test_with_and_without_security_groups(tempest: Tempest) -> None:
    """f181eeda-a9d1-4b2e-9746-d6634ca81e2f, both."""
    plain = tempest.run()
    assert [group["name"] for group in groups_of(tempest, plain["uuid"])] == ["default"]
    group = tempest.ask("POST", "/security_groups/", {"name": name()}).json
    guarded = tempest.run(security_groups=[group["name"]])
    assert guarded["security_groups"] == [group["uuid"]]
    assert [one["uuid"] for one in groups_of(tempest, guarded["uuid"])] == [group["uuid"]]
    tempest.tear_down()
    delete(tempest, f"/security_groups//{group['uuid']}")


def test_with_a_network_of_its_own(tempest: Tempest) -> None:
    """f55dbe0d-3e8a-4798-9267-c9b13361e721."""
    network = new_network(tempest)
    on_one_subnet(tempest.run(nets=[{"network": network["uuid"]}]), network)
    tempest.tear_down()
    delete(tempest, f"/networks//{network['uuid']}")


def test_with_a_shared_network(tempest: Tempest) -> None:
    """2bc86759-ffca-4b3d-bf25-4cf260a67704."""
    network = new_network(tempest, tempest.admin, shared=True)
    on_one_subnet(tempest.run(nets=[{"network": network["uuid"]}]), network)
    tempest.tear_down()
    delete(tempest, f"/networks//{network['uuid']}", tempest.admin)


def test_with_a_subnet_that_has_no_gateway(tempest: Tempest) -> None:
    """956e9944-3647-4f87-bdbf-017569549227."""
    network = new_network(tempest, internal=True)
    on_one_subnet(tempest.run(nets=[{"network": network["uuid"]}]), network)
    tempest.tear_down()
    delete(tempest, f"/networks//{network['uuid']}")


def test_an_exposed_port(tempest: Tempest) -> None:
    """df7b2518-f779-43f6-b188-28cf3595e251."""
    made = tempest.run(image="web", command=[], exposed_ports={"80/tcp": {}})
    [group_id] = made["security_groups"]
    group = tempest.found(f"/security_groups//{group_id}")
    assert group["name"] != "default"
    allowed = [rule for rule in group["rules"] if rule["direction"] == "ingress"]
    assert {(rule["protocol"], rule["port_range_min"], rule["port_range_max"]) for rule in allowed} == {("tcp", 80, 80)}
    [addresses] = made["addresses"].values()
    eventually(lambda: WELCOME in tempest.execute(made["uuid"], "wget -qO- http://127.0.0.1")["output"], what="httpd")
    asking = tempest.run("Stopped", command=["wget", "-qO-", f"http://{addresses[0]['addr']}"])
    eventually(lambda: WELCOME in tempest.found(f"/containers//{asking['uuid']}/logs"), what="the page")
    tempest.ask("DELETE", f"/containers//{made['uuid']}?stop=True", expected=204)
    tempest.gone(made["uuid"])
    eventually(lambda: tempest.send("GET", f"/security_groups//{group_id}").status == 404, what="the group gone")


def test_a_volume_keeps_its_data_over_two_containers(tempest: Tempest) -> None:
    """7a947d75-ab23-439a-bd94-f6e219f716a9, which the plugin skips at present."""
    volume = tempest.ask("POST", "/volumes/", {"name": name(), "size": 1}).json

    def status() -> str:
        return str(tempest.found(f"/volumes//{volume['uuid']}")["status"])

    mounts = [{"source": volume["uuid"], "destination": "/data"}]
    first = tempest.run(mounts=mounts)
    assert status() == "in-use"
    assert tempest.execute(first["uuid"], WRITE)["exit_code"] == 0
    tempest.tear_down()
    eventually(lambda: status() == "available", what="the volume free")
    second = tempest.run(mounts=[{"source": volume["name"], "destination": "/data"}])
    assert "hello" in tempest.execute(second["uuid"], "cat /data/testfile")["output"]
    tempest.tear_down()
    eventually(lambda: status() == "available", what="the volume free")
    tempest.ask("DELETE", f"/volumes//{volume['uuid']}", expected=202)


def test_a_volume_made_with_its_container(tempest: Tempest) -> None:
    """e49231b2-b095-40d3-9b54-33bb1b371cbe."""
    made = tempest.run(mounts=[{"size": 1, "destination": "/data"}])
    [volume] = [one for one in tempest.found("/volumes/")["volumes"] if one["container"] == made["uuid"]]
    assert volume["status"] == "in-use"
    assert tempest.execute(made["uuid"], WRITE)["exit_code"] == 0
    assert "hello" in tempest.execute(made["uuid"], "cat /data/testfile")["output"]
    tempest.ask("DELETE", f"/containers//{made['uuid']}?stop=True", expected=204)
    tempest.gone(made["uuid"])
    eventually(lambda: tempest.send("GET", f"/volumes//{volume['uuid']}").status == 404, what="the volume gone")


def test_an_injected_file(tempest: Tempest) -> None:
    """8a4395ff-3a91-4a35-bd71-5248afc6c465."""
    content = secrets.token_hex(8)
    source = base64.b64encode(content.encode()).decode()
    made = tempest.run(mounts=[{"type": "bind", "source": source, "destination": "/data/testfile"}])
    assert content in tempest.execute(made["uuid"], "cat /data/testfile")["output"]


def test_on_a_host_that_was_asked_for(tempest: Tempest) -> None:
    """0c8afb23-312d-4647-897d-b3c8591b26eb. Policy leaves the wish to administrators, and the sight of it, too."""
    [host, *_] = tempest.found("/hosts/", tempest.admin)["hosts"]
    made = tempest.run_as_admin(host=host["hostname"])
    assert made["host"] == host["hostname"]
    assert "host" not in tempest.run()
    assert tempest.send("POST", "/containers/", {"image": "busybox", "host": host["hostname"]}).status == 403


def test_networks_are_detached_and_attached(tempest: Tempest) -> None:
    """dcb0dddb-7f0f-43f6-b82a-0cae13938bd6."""
    made = tempest.run()
    [network] = made["addresses"]

    def is_there() -> bool:
        return network in tempest.get(made["uuid"])["addresses"]

    tempest.act(made["uuid"], f"network_detach?network={network}")
    eventually(lambda: not is_there(), within=60, what="the network going")
    tempest.act(made["uuid"], f"network_attach?network={network}", expected=200)
    eventually(is_there, within=60, what="the network coming back")


def test_a_container_reaches_its_gateway(tempest: Tempest) -> None:
    """91d8bf98-9dbf-4c38-91c3-6dc8cc47132f, without the floating addresses: those are Neutron's."""
    made = tempest.run()
    assert made["project_id"]
    [(id, addresses)] = made["addresses"].items()
    [gateway, _] = [subnet["gateway"] for subnet in tempest.found(f"/networks//{id}")["subnets"]]
    assert tempest.execute(made["uuid"], f"ping -c1 -W5 {gateway}")["exit_code"] == 0
    other = tempest.run()
    assert tempest.execute(other["uuid"], f"ping -c1 -W5 {addresses[0]['addr']}")["exit_code"] == 0
