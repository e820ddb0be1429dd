"""POST /v1/containers: what is accepted, what it becomes, and what is refused with which words."""

from typing import Any

import pytest

from krater.model.network import Port
from krater.model.workload import Desired
from krater.store.interfaces import EVERYBODY, Page, Workload, WorkloadQuery
from tests.support.api import NODE, World

KEYS = [
    *("uuid", "links", "user_id", "project_id", "name", "image", "command", "entrypoint", "status", "status_reason"),
    *("task_state", "status_detail", "cpu", "cpu_policy", "memory", "disk", "environment", "labels", "workdir"),
    *("hostname", "ports", "addresses", "restart_policy", "interactive", "tty", "auto_remove", "auto_heal"),
    *("image_driver", "security_groups", "healthcheck", "registry_id", "created_at", "updated_at"),
]
ADMIN_KEYS = ["image_pull_policy", "host", "runtime", "privileged"]
AT_1 = "container 1.1"


async def post(world: World, body: Any, query: str = "", **more: Any) -> Any:
    return await world.call("POST", f"/v1/containers{query}", json=body, **more)


async def rows(world: World) -> list[Workload]:
    return await world.store.read(lambda tx: tx.workloads.find(EVERYBODY, WorkloadQuery(), Page(100)))


async def test_the_least_request_gets_defaults_and_every_key_in_order(world: World) -> None:
    answer = await post(world, {"image": "busybox"})
    assert answer.status_code == 202
    made = answer.json()
    assert list(made) == KEYS
    assert answer.headers["location"] == made["links"][0]["href"]
    assert made["status"] == "Creating"
    assert made["name"].endswith("-container")
    assert (made["cpu"], made["memory"], made["disk"]) == (1.0, "512", 0)
    assert (made["command"], made["environment"], made["labels"], made["addresses"]) == ([], {}, {}, {})
    assert made["created_at"] == "2026-01-31 12:00:00"
    stored = await world.stored(made["uuid"])
    assert stored.intent.desired is Desired.CREATED
    assert stored.intent.run == 0
    assert world.hints == [made["uuid"]]


async def test_an_admin_sees_four_keys_more(world: World) -> None:
    made = (await post(world, {"image": "busybox"}, who="admin")).json()
    assert list(made) == KEYS + ADMIN_KEYS


async def test_the_action_has_the_id_of_the_request(world: World) -> None:
    answer = await post(world, {"image": "busybox"})
    [action] = (await world.call("GET", f"/v1/containers/{answer.json()['uuid']}/container_actions")).json()[
        "containerActions"
    ]
    assert action["action"] == "create"
    assert action["request_id"] == answer.headers["x-openstack-request-id"]


@pytest.mark.parametrize("word", ["True", "true", "1", "ON", "yes"])
async def test_run_asks_for_a_process(world: World, word: str) -> None:
    made = (await post(world, {"image": "busybox"}, f"?run={word}")).json()
    intent = (await world.stored(made["uuid"])).intent
    assert (intent.desired, intent.run, intent.generation) == (Desired.RUNNING, 1, 1)


ACCEPTED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"name": "web.1_a-b"}, {"name": "web.1_a-b"}),
    ({"name": None, "workdir": None, "labels": None, "environment": None}, {"workdir": None, "labels": {}}),
    ({"command": ["sh", "-c", "echo $A"]}, {"command": ["sh", "-c", "echo $A"]}),
    ({"command": ["printf", "\\u0000"]}, {"command": ["printf", "\\u0000"]}),
    ({"command": ["sleep", 5, 1.5]}, {"command": ["sleep", "5", "1.5"]}),
    ({"command": [], "entrypoint": ["/init"]}, {"command": [], "entrypoint": ["/init"]}),
    ({"cpu": 2}, {"cpu": 2.0}),
    ({"cpu": ".5", "memory": "100"}, {"cpu": 0.5, "memory": "100"}),
    ({"cpu": None, "memory": None, "disk": None}, {"cpu": 1.0, "memory": "512"}),
    ({"memory": 8192, "disk": "20"}, {"memory": "8192", "disk": 20}),
    ({"environment": {"A": "1"}, "labels": {"n": 3, "t": True}}, {"labels": {"n": "3", "t": "True"}}),
    ({"restart_policy": {"Name": "no"}}, {"restart_policy": {"Name": "no", "MaximumRetryCount": "0"}}),
    (
        {"restart_policy": {"Name": "no", "MaximumRetryCount": 3}},
        {"restart_policy": {"Name": "no", "MaximumRetryCount": "0"}},
    ),
    (
        {"restart_policy": {"Name": "on-failure", "MaximumRetryCount": 2}},
        {"restart_policy": {"Name": "on-failure", "MaximumRetryCount": "2"}},
    ),
    (
        {"restart_policy": {"Name": "always", "MaximumRetryCount": "0"}},
        {"restart_policy": {"Name": "always", "MaximumRetryCount": "0"}},
    ),
    ({"interactive": "True", "tty": True}, {"interactive": True, "tty": True}),
    ({"interactive": 1, "tty": "false"}, {"interactive": True, "tty": False}),
    ({"auto_remove": True, "auto_heal": "true"}, {"auto_remove": True, "auto_heal": True}),
    ({"hostname": "web-1"}, {"hostname": "web-1"}),
    ({"name": "web_1.blue"}, {"hostname": "web-1-blue"}),
    ({"hints": {"label:disk": "ssd"}, "availability_zone": "nova"}, {}),
    ({"security_groups": ["default"], "nets": [], "mounts": [], "hints": {}, "exposed_ports": None}, {}),
    ({"image": "docker.io/library/alpine:3.20", "image_driver": "docker"}, {"image": "docker.io/library/alpine:3.20"}),
    ({"image": "alpine@sha256:" + "a" * 64}, {"image": "alpine@sha256:" + "a" * 64}),
    ({"image_driver": "None", "cpu_policy": "shared"}, {"image_driver": "docker", "cpu_policy": "shared"}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "shown"), ACCEPTED)
async def test_what_is_accepted(world: World, body: dict[str, Any], shown: dict[str, Any]) -> None:
    answer = await post(world, {"image": "busybox", **body})
    assert answer.status_code == 202, answer.text
    assert answer.json() | shown == answer.json()


REFUSED: list[tuple[dict[str, Any], int, str, str]] = [
    ({"image": None}, 400, "schema-validation-error", "image: expected"),
    ({"image": "a"}, 400, "schema-validation-error", "image: expected"),
    ({"image": "Not An Image"}, 400, "reference-invalid-format", "image: "),
    ({"image": "x" * 256}, 400, "schema-validation-error", "image: expected"),
    ({"image": "--rm"}, 400, "reference-invalid-format", "image: "),
    ({"name": "x"}, 400, "schema-validation-error", "name: expected 2 to 255"),
    ({"name": "../../etc/passwd"}, 400, "schema-validation-error", "name: expected"),
    ({"name": "a/b"}, 400, "schema-validation-error", "name: expected"),
    ({"name": "web\n"}, 400, "schema-validation-error", "name: expected"),
    ({"name": "web\x00"}, 400, "schema-validation-error", "NUL"),
    ({"name": "web\x1b[2J"}, 400, "schema-validation-error", "name: expected"),
    ({"name": "n" * 900_000}, 400, "schema-validation-error", "name: expected"),
    ({"name": 7}, 400, "schema-validation-error", "name: expected"),
    ({"colour": "red"}, 400, "schema-validation-error", "there is no field 'colour'"),
    ({"x" * 5000: 1}, 400, "schema-validation-error", "there is no field"),
    ({"command": "echo hi"}, 400, "schema-validation-error", "command: expected a list"),
    ({"command": [{"a": 1}]}, 400, "schema-validation-error", "command[0]: expected"),
    ({"command": ["a\x00b"]}, 400, "schema-validation-error", "NUL"),
    ({"cpu": 0.05}, 400, "schema-validation-error", "cpu: 0.05 is out of range; allowed are 0.1 to 16 cores"),
    ({"cpu": 17}, 400, "schema-validation-error", "cpu: 17 is out of range"),
    ({"cpu": "1."}, 400, "schema-validation-error", "cpu: expected"),
    ({"cpu": ""}, 400, "schema-validation-error", "cpu: expected"),
    ({"cpu": "1\n"}, 400, "schema-validation-error", "cpu: expected"),
    ({"cpu": True}, 400, "schema-validation-error", "cpu: expected"),
    ({"memory": 3}, 400, "schema-validation-error", "memory: 3 is out of range; allowed are 4 to 8192 MiB"),
    ({"memory": 10**30}, 400, "schema-validation-error", "memory: expected"),
    ({"memory": "512m"}, 400, "schema-validation-error", "memory: expected"),
    ({"memory": -5}, 400, "schema-validation-error", "memory: expected"),
    ({"disk": 161}, 400, "schema-validation-error", "disk: 161 is out of range"),
    ({"environment": {"A": 1}}, 400, "schema-validation-error", "environment['A']: expected"),
    ({"environment": {"A=B": "1"}}, 400, "schema-validation-error", "environment: "),
    ({"environment": {"A": "1" * 65_535}}, 400, "schema-validation-error", "environment: all of it together may have"),
    ({"labels": {"é" * 32_000: "é" * 768}}, 400, "schema-validation-error", "labels: all of it together may have"),
    ({"hints": {str(n): "123" for n in range(10_000)}}, 400, "schema-validation-error", "hints: all of it together"),
    ({"command": ["x"] * 4000 + ["x" * 61_536]}, 400, "schema-validation-error", "command: all of it together may"),
    ({"entrypoint": ["x" * 65_536]}, 400, "schema-validation-error", "entrypoint: all of it together may have no more"),
    ({"environment": {"A": "1\x00"}}, 400, "schema-validation-error", "NUL"),
    ({"labels": ["a"]}, 400, "schema-validation-error", "labels: expected an object"),
    ({"restart_policy": {"Name": "sometimes"}}, 400, "schema-validation-error", "restart_policy.Name: expected"),
    ({"restart_policy": {}}, 400, "schema-validation-error", "'Name' is a required property"),
    ({"restart_policy": {"Name": "no", "Extra": 1}}, 400, "schema-validation-error", "there is no field 'Extra'"),
    ({"restart_policy": {"Name": "always", "MaximumRetryCount": 2}}, 400, "invalid", "MaximumRetryCount"),
    ({"restart_policy": {"Name": "on-failure", "MaximumRetryCount": -1}}, 400, "schema-validation-error", "Maximum"),
    ({"interactive": None}, 400, "schema-validation-error", "interactive: expected true or false"),
    ({"tty": "yes"}, 400, "schema-validation-error", "tty: expected true or false"),
    ({"auto_remove": "true"}, 400, "schema-validation-error", "auto_remove: expected true or false"),
    ({"cpu_policy": None}, 400, "schema-validation-error", "cpu_policy: expected shared or dedicated"),
    ({"hostname": None}, 400, "schema-validation-error", "hostname: expected"),
    ({"hostname": "a b"}, 400, "schema-validation-error", "hostname: expected"),
    ({"hostname": "a" * 64}, 400, "schema-validation-error", "hostname: expected 1 to 63"),
    ({"image_pull_policy": "sometimes"}, 400, "schema-validation-error", "image_pull_policy: expected one of"),
    ({"image_pull_policy": "always"}, 403, "policy-not-authorized", "container:create:image_pull_policy"),
    ({"runtime": "runc"}, 403, "policy-not-authorized", "container:create:runtime"),
    ({"host": "rack-1"}, 403, "policy-not-authorized", "container:create:requested_destination"),
    ({"privileged": False}, 403, "policy-not-authorized", "container:create:privileged"),
    ({"nets": [{}]}, 400, "schema-validation-error", "nets[0]: expected exactly one"),
    ({"nets": [{"network": "a", "port": "b"}]}, 400, "schema-validation-error", "nets[0]: expected exactly one"),
    ({"nets": [{"network": "a", "mac": "b"}]}, 400, "schema-validation-error", "nets[0]: there is no field 'mac'"),
    ({"nets": [{"network": "a", "v4-fixed-ip": "fe80::1"}]}, 400, "schema-validation-error", "expected an IPv4"),
    ({"nets": [{"network": "nowhere"}]}, 404, "", "nowhere"),
    ({"nets": [{"port": "nothing"}]}, 404, "", "nothing"),
    ({"mounts": [{"source": "v", "destination": "/d"}]}, 404, "volume-not-found", "volume v"),
    ({"registry": "mine"}, 404, "registry-not-found", "mine"),
    ({"security_groups": ["web"]}, 400, "security-group-not-found", "security_groups: "),
    ({"security_groups": "web"}, 400, "schema-validation-error", "security_groups: expected a list"),
    ({"security_groups": [""]}, 400, "schema-validation-error", "security_groups"),
    *(
        ({"exposed_ports": {text: {}}}, 400, "schema-validation-error", "exposed_ports: ")
        for text in ("", "/", "0", "65536", "http", "80/", "80/sctp", "-1", "80/tcp/x", "\uff18\uff10")
    ),
    ({"image_driver": "glance"}, 400, "image-not-found", "Image busybox "),
    ({"image": "krater.local/p-kitchen/x"}, 400, "reference-invalid-format", "image: krater.local is no registry"),
    ({"image_driver": "podman"}, 400, "schema-validation-error", "image_driver: expected docker or glance"),
    ({"exposed_ports": {"80": {}}, "security_groups": ["default"]}, 400, "invalid", "security_groups"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "code", "words"), REFUSED, ids=lambda value: str(value)[:60])
async def test_what_is_refused_leaves_nothing(
    world: World, body: dict[str, Any], status: int, code: str, words: str
) -> None:
    answer = await post(world, {"image": "busybox", **body})
    assert answer.status_code == status, answer.text
    [error] = answer.json()["errors"]
    assert words in error["title"]
    assert len(error["title"]) < 1000
    if code:
        assert error["code"] == f"container.{code}"
    assert await rows(world) == []
    assert (await world.store.read(lambda tx: tx.quotas.usage("p-kitchen"))).containers == 0


async def test_an_image_is_required(world: World) -> None:
    answer = await post(world, {})
    assert "'image' is a required property" in answer.json()["errors"][0]["title"]


@pytest.mark.parametrize("query", ["?colour=red", "?run=maybe", "?run=true&run=true"])
async def test_the_query_is_checked_too(world: World, query: str) -> None:
    assert (await post(world, {"image": "busybox"}, query)).status_code == 400


@pytest.mark.parametrize(
    ("body", "below", "status", "code"),
    [
        ({"auto_remove": False}, "1.2", 400, "invalid-param-in-version"),
        ({"runtime": "runc"}, "1.4", 400, "invalid-param-in-version"),
        ({"hostname": "x1"}, "1.8", 400, "invalid-param-in-version"),
        ({"mounts": [{"size": 1, "destination": "/d"}]}, "1.10", 400, "invalid-param-in-version"),
        ({"privileged": True}, "1.20", 400, "invalid-param-in-version"),
        ({"healthcheck": {"cmd": "true"}}, "1.21", 400, "invalid-param-in-version"),
        ({"exposed_ports": {"80": {}}}, "1.23", 400, "invalid-param-in-version"),
        ({"registry": "mine"}, "1.30", 400, "invalid-param-in-version"),
        ({"host": "rack-1"}, "1.38", 400, "schema-validation-error"),
        ({"entrypoint": ["/init"]}, "1.39", 400, "schema-validation-error"),
        ({"command": ["a"]}, "1.19", 400, "schema-validation-error"),
        ({"command": "echo 'a b'"}, "1.19", 202, ""),
        ({"command": "echo 'a"}, "1.19", 400, "invalid"),
        ({"nets": [], "cpu_policy": "shared", "mounts": []}, "1.1", 202, ""),
        ({"entrypoint": ["/init"]}, "1.40", 202, ""),
    ],
)
async def test_fields_have_the_version_they_came_with(
    world: World, body: dict[str, Any], below: str, status: int, code: str
) -> None:
    answer = await post(world, {"image": "busybox", **body}, version=f"container {below}")
    assert answer.status_code == status, answer.text
    if code:
        assert answer.json()["errors"][0]["code"] == f"container.{code}"


async def test_a_command_was_one_string_before_1_20(world: World) -> None:
    answer = await post(world, {"image": "busybox", "command": "'sh' '-c' 'echo a b'"}, version=AT_1)
    assert answer.json()["command"] == ["sh", "-c", "echo a b"]


@pytest.mark.parametrize(("minor", "tty"), [(1, False), (19, False), (20, True), (35, True), (36, False), (40, False)])
async def test_a_terminal_went_with_standard_input_from_1_20_to_1_35(world: World, minor: int, tty: bool) -> None:
    body = {"image": "busybox", "interactive": True, "tty": False}
    assert (await post(world, body, version=f"container 1.{minor}")).json()["tty"] is tty


async def test_an_admin_may_choose_policy_runtime_and_host(world: World) -> None:
    body = {"image": "busybox", "image_pull_policy": "IfNotPresent", "runtime": "crun", "host": "rack-1"}
    made = (await post(world, body, who="admin")).json()
    assert (made["image_pull_policy"], made["runtime"]) == ("ifnotpresent", "crun")
    assert (await world.stored(made["uuid"])).spec.host == "rack-1"


async def test_a_host_nobody_knows_is_404(world: World) -> None:
    answer = await post(world, {"image": "busybox", "host": "nowhere"}, who="admin")
    assert answer.status_code == 404
    assert answer.json()["errors"][0]["code"] == "container.requested-host-not-found"


async def test_networks_are_stored_by_id(world: World) -> None:
    made = (await post(world, {"image": "busybox"})).json()
    [net] = (await world.stored(made["uuid"])).spec.nets
    again = (await post(world, {"image": "busybox", "nets": [{"network": "default"}]})).json()
    assert (await world.stored(again["uuid"])).spec.nets == (net,)


async def test_a_port_of_another_project_does_not_exist(world: World) -> None:
    made = await world.make("bob")
    [net] = (await world.stored(made["uuid"])).spec.nets
    port = Port("port-of-bob", net.network, "p-cellar", "fa:16:3e:00:00:01", ())
    await world.store.write(lambda tx: tx.networks.add_port(port))
    assert (await post(world, {"image": "busybox", "nets": [{"port": "port-of-bob"}]})).status_code == 404
    assert (await post(world, {"image": "busybox", "nets": [{"port": "port-of-bob"}]}, who="bob")).status_code == 202
    other = await post(world, {"image": "busybox", "nets": [{"network": net.network}]})
    assert other.status_code == 404


async def test_a_quota_is_kept_and_named(world: World) -> None:
    for _ in range(2):
        assert (await post(world, {"image": "busybox", "cpu": 10})).status_code == 202
    answer = await post(world, {"image": "busybox", "cpu": 0.1})
    assert answer.status_code == 403
    [error] = answer.json()["errors"]
    assert error["code"] == "container.over-quota"
    assert "cpu" in error["title"]
    assert (await post(world, {"image": "busybox"}, who="bob")).status_code == 202
    assert NODE not in answer.text
