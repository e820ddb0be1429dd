"""The transport rules of the Container API as tables: what any client may rely on, whatever the operation.

Where Krater differs on purpose, the table says what it does, and docs/compatibility.md why.
"""

import re
from typing import Any

import pytest

from tests.support.api import HOST, FakeAgent, World

pytestmark = pytest.mark.thorough

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
BASE = "http://krater.test:9517"
MINIMUM, MAXIMUM = "container 1.1", "container 1.40"
VERSION_HEADERS = ("openstack-api-version", "openstack-api-minimum-version", "openstack-api-maximum-version")
NOBODY = "00000000-0000-4000-8000-000000000000"
BODY = {"image": "busybox", "cpu": 0.1, "memory": 64}


# Versions -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "effective"),
    [
        (None, "1.1"),
        ("container 1.1", "1.1"),
        ("container 1.25", "1.25"),
        ("container 1.40", "1.40"),
        ("container latest", "1.40"),
        ("container LATEST", "1.40"),
        ("  container   1.7  ", "1.7"),
        ("compute 2.1, container 1.30", "1.30"),
    ],
)
async def test_a_version_is_settled_and_told(world: World, header: str | None, effective: str) -> None:
    answer = await world.call("GET", "/v1/containers", version=header)
    assert answer.status_code == 200
    assert [answer.headers[name] for name in VERSION_HEADERS] == [f"container {effective}", MINIMUM, MAXIMUM]
    assert answer.headers["vary"] == "OpenStack-API-Version"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("container 1.0", "zun.microversion-unsupported"),
        ("container 1.41", "zun.microversion-unsupported"),
        ("container 2.1", "zun.microversion-unsupported"),
        ("container 0.9", "zun.microversion-unsupported"),
        ("container", None),
        ("container 1.1 2", None),
        ("compute 1.1", None),
        ("1.1", None),
        ("", None),
    ],
)
async def test_a_version_that_is_not_served_is_406(world: World, header: str, code: str | None) -> None:
    answer = await world.call("GET", "/v1/containers", version=header)
    assert answer.status_code == 406
    assert not any(name in answer.headers for name in VERSION_HEADERS)
    [error] = answer.json()["errors"]
    if code is not None:
        assert error["code"] == code
        assert error["title"] == "Requested microversion is unsupported"
        assert (error["min_version"], error["max_version"]) == ("1.1", "1.40")
        assert error["links"][0]["rel"] == "help"


@pytest.mark.parametrize(
    ("method", "path", "version"),
    [
        ("POST", "/v1/containers/{id}/rename?name=other", "container 1.14"),
        ("POST", "/v1/containers/{id}/resize_container", "container 1.18"),
        ("GET", "/v1/containers/{id}/network_list", "container 1.12"),
        ("GET", "/v1/hosts", "container 1.3"),
    ],
)
async def test_what_exists_only_at_other_versions_is_406(world: World, method: str, path: str, version: str) -> None:
    id = await world.into("Running")
    answer = await world.call(method, path.format(id=id), who="admin", version=version, json={})
    assert answer.status_code == 406
    assert answer.json()["errors"][0]["code"].startswith("container.")
    assert not any(name in answer.headers for name in VERSION_HEADERS)


@pytest.mark.parametrize(
    ("field", "value", "first"),
    [
        ("auto_remove", True, 3),
        ("runtime", "runc", 5),
        ("hostname", "web", 9),
    ],
)
async def test_a_field_of_a_later_version_is_told_with_both_versions(
    world: World, field: str, value: Any, first: int
) -> None:
    before = f"container 1.{first - 1}"
    refused = await world.call("POST", "/v1/containers", who="admin", version=before, json={**BODY, field: value})
    [error] = refused.json()["errors"]
    assert (refused.status_code, error["code"]) == (400, "container.invalid-param-in-version")
    for part in (field, f"1.{first - 1}", f"1.{first}"):
        assert part in error["title"]
    taken = await world.call(
        "POST", "/v1/containers", who="admin", version=f"container 1.{first}", json={**BODY, field: value}
    )
    assert taken.status_code == 202


# Headers and documents ------------------------------------------------------------------------------------------------

PLACES: list[tuple[str, str, int, bool]] = [
    ("GET", "/", 200, False),
    ("GET", "/v1/containers", 200, True),
    ("GET", "/containers", 200, True),
    ("GET", f"/v1/containers/{NOBODY}", 404, True),
    ("GET", f"/v1/capsules/{NOBODY}", 404, True),
    ("POST", "/v1/capsules?a=b", 400, True),
    ("PATCH", f"/v1/capsules/{NOBODY}", 405, False),
    ("POST", f"/v1/containers/{NOBODY}/start", 404, True),
    ("POST", "/v1/containers", 415, True),
    ("GET", "/v1/containers?limit=0", 400, True),
    ("GET", "/v1/services", 403, True),
    ("GET", "/v1/nothing", 404, False),
    ("PUT", f"/v1/containers/{NOBODY}", 405, False),
]


@pytest.mark.parametrize(("method", "path", "status", "versioned"), PLACES)
async def test_headers_that_every_answer_has(
    world: World, method: str, path: str, status: int, versioned: bool
) -> None:
    answer = await world.call(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"].partition(";")[0] == "application/json"
    assert re.fullmatch(f"req-{UUID}", answer.headers["x-openstack-request-id"])
    assert all((name in answer.headers) is versioned for name in VERSION_HEADERS)
    if status >= 400:
        assert list(answer.json()) == ["errors"]
        [error] = answer.json()["errors"]
        assert list(error) == ["request_id", "code", "status", "title", "detail", "links"]
        assert re.fullmatch(r"container\.[a-z0-9-]*", error["code"])
        assert error["status"] == status
        assert error["title"] == error["detail"]
        assert error["links"] == []


@pytest.mark.parametrize("who", ["", "stranger"])
async def test_who_is_not_known_gets_401_without_versions(world: World, who: str) -> None:
    answer = await world.call("GET", "/v1/containers", who=who)
    assert answer.status_code == 401
    assert "www-authenticate" in answer.headers
    assert not any(name in answer.headers for name in VERSION_HEADERS)


@pytest.mark.parametrize(
    "path",
    ["/v1/containers/{id}", "/containers/{id}", "/v1/containers//{id}", "/v1/containers/{id}/", "/v1//containers/{id}"],
)
async def test_slashes_more_or_less(world: World, path: str) -> None:
    id = await world.into("Running")
    assert (await world.call("GET", path.format(id=id))).json()["uuid"] == id
    assert (await world.call("POST", path.format(id=id).rstrip("/") + "/pause")).status_code == 202


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("PUT", "/v1/containers/{id}", 405, "DELETE, GET, PATCH"),
        ("POST", "/v1/hosts", 405, "GET"),
        ("DELETE", "/v1/containers", 405, "GET, POST"),
        ("PATCH", "/v1/images/{id}", 405, "DELETE, GET"),
        ("GET", "/v1/services/enable", 405, "PUT"),
        ("GET", "/v1/containers/{id}/nonsense", 404, None),
        ("POST", "/v1/containers/{id}/nonsense", 404, None),
        ("GET", "/v2/containers", 404, None),
    ],
)
async def test_methods_and_paths_there_are_not(
    world: World, method: str, path: str, status: int, allow: str | None
) -> None:
    answer = await world.call(method, path.format(id=NOBODY), who="admin")
    assert (answer.status_code, answer.headers.get("allow")) == (status, allow)


@pytest.mark.parametrize("kind", ["containers", "images", "capsules"])
@pytest.mark.parametrize("type", ["text/plain", "application/octet-stream", ""])
async def test_what_is_made_needs_json(world: World, kind: str, type: str) -> None:
    answer = await world.call("POST", f"/v1/{kind}", who="admin", headers={"Content-Type": type}, content=b"{}")
    assert answer.status_code == 415


async def test_what_is_made_says_where_it_is(world: World) -> None:
    answer = await world.call("POST", "/v1/containers", json=BODY)
    id = answer.json()["uuid"]
    assert re.fullmatch(UUID, id)
    assert answer.headers["location"] == f"{BASE}/v1/containers/{id}"
    assert answer.json()["links"] == [
        {"href": f"{BASE}/v1/containers/{id}", "rel": "self"},
        {"href": f"{BASE}/containers/{id}", "rel": "bookmark"},
    ]
    image = await world.call("POST", "/v1/images", who="admin", json={"repo": "busybox", "host": HOST})
    assert image.status_code == 202
    assert image.headers["location"] == f"{BASE}/v1/images/{image.json()['uuid']}"


# Actions --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "action"),
    [
        ("Stopped", "start"),
        ("Running", "stop?timeout=3"),
        ("Running", "stop?timeout="),
        ("Running", "reboot"),
        ("Running", "rebuild"),
        ("Running", "pause"),
        ("Paused", "unpause"),
        ("Running", "kill"),
        ("Running", "kill?signal=SIGHUP"),
        ("Running", "kill?signal=hup"),
        ("Running", "kill?signal=1"),
        ("Running", "kill?signal=None"),
    ],
)
async def test_an_accepted_action_answers_null(world: World, status: str, action: str) -> None:
    FakeAgent(world)
    answer = await world.call("POST", f"/v1/containers/{await world.into(status)}/{action}")
    assert (answer.status_code, answer.content) == (202, b"null")


async def test_a_removal_answers_nothing_at_all(world: World) -> None:
    answer = await world.call("DELETE", f"/v1/containers/{await world.into('Stopped')}")
    assert (answer.status_code, answer.content) == (204, b"")


async def test_the_request_id_is_that_of_the_action(world: World) -> None:
    id = await world.into("Running")
    asked = await world.call("POST", f"/v1/containers/{id}/pause")
    request_id = asked.headers["x-openstack-request-id"]
    actions = (await world.call("GET", f"/v1/containers/{id}/container_actions")).json()["containerActions"]
    assert (actions[0]["action"], actions[0]["request_id"]) == ("pause", request_id)
    assert set(actions[0]) == {
        *("action", "container_uuid", "request_id", "user_id", "project_id", "start_time", "finish_time", "message")
    }
    one = (await world.call("GET", f"/v1/containers/{id}/container_actions/{request_id}")).json()
    assert set(one) == set(actions[0]) | {"events"}
    missing = await world.call("GET", f"/v1/containers/{id}/container_actions/req-{NOBODY}")
    assert (missing.status_code, missing.json()["errors"][0]["code"]) == (404, "container.resource-not-found")


SPACED = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{6})?"
ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?"


async def test_times_are_written_as_clients_expect_them(world: World) -> None:
    id = await world.into("Stopped")
    container = (await world.call("GET", f"/v1/containers/{id}")).json()
    assert re.fullmatch(SPACED, container["created_at"])
    assert re.fullmatch(SPACED, container["updated_at"])
    [action] = (await world.call("GET", f"/v1/containers/{id}/container_actions")).json()["containerActions"]
    assert re.fullmatch(ISO, action["start_time"])
    assert re.fullmatch(ISO, action["finish_time"])
    [service] = (await world.call("GET", "/v1/services", who="admin")).json()["services"]
    for name in ("last_seen_up", "created_at"):
        assert re.fullmatch(ISO, service[name])


async def test_a_container_has_the_kinds_of_values_clients_expect(world: World) -> None:
    made = await world.running(name="web", disk=3, labels={"a": 1}, environment={"K": "v"})
    shown = (await world.call("GET", f"/v1/containers/{made['uuid']}")).json()
    kinds: dict[str, type] = {
        **dict.fromkeys(("memory", "name", "image", "status", "hostname", "cpu_policy"), str),
        **dict.fromkeys(("command", "entrypoint", "ports", "security_groups", "links"), list),
        **dict.fromkeys(("environment", "labels", "addresses", "restart_policy", "healthcheck"), dict),
        **dict.fromkeys(("interactive", "tty", "auto_remove", "auto_heal"), bool),
        "cpu": float,
        "disk": int,
    }
    assert {name: type(shown[name]) for name in kinds} == kinds
    assert (shown["memory"], shown["hostname"], shown["labels"]) == ("64", "web", {"a": "1"})
    assert not {"image_pull_policy", "host", "runtime", "privileged"} & shown.keys(), "for administrators"
    [item] = (await world.call("GET", "/v1/containers")).json()["containers"]
    assert item == {name: value for name, value in shown.items() if name != "links"}
    as_admin = (await world.call("GET", f"/v1/containers/{made['uuid']}", who="admin")).json()
    assert as_admin.keys() - shown.keys() == {"image_pull_policy", "host", "runtime", "privileged"}


# What is shown of nodes -----------------------------------------------------------------------------------------------

_HOST = "uuid links hostname mem_total mem_used total_containers cpus cpu_used architecture os_type os kernel_version"
KEYS = {
    "hosts": f"{_HOST} labels disk_total disk_used disk_quota_supported runtimes enable_cpu_pinning",
    "services": "id host binary state disabled disabled_reason last_seen_up forced_down report_count availability_zone "
    "created_at updated_at",
    "images": "uuid links image_id repo tag size project_id host",
    "availability_zones": "availability_zone",
}


@pytest.mark.parametrize("collection", KEYS)
async def test_items_have_the_keys_of_the_specification(world: World, collection: str) -> None:
    """Krater may show more, never less."""
    await world.call("POST", "/v1/images", who="admin", json={"repo": "busybox", "host": HOST})
    answer = (await world.call("GET", f"/v1/{collection}", who="admin")).json()
    [item] = answer[collection]
    assert set(KEYS[collection].split()) <= item.keys()
    assert ("next" in answer) is (collection != "services")


async def test_what_is_changed_of_a_service_is_answered(world: World) -> None:
    name = {"host": HOST, "binary": "zun-compute"}
    for path, more, shown in (
        ("disable", {"disabled_reason": "moving"}, {"disabled": True, "disabled_reason": "moving"}),
        ("enable", {}, {"disabled": False, "disabled_reason": None}),
        ("force_down", {"forced_down": "true"}, {"forced_down": True}),
        ("force_down", {"forced_down": False}, {"forced_down": False}),
    ):
        answer = await world.call("PUT", f"/v1/services/{path}", who="admin", json=name | more)
        assert (answer.status_code, answer.json()) == (200, {"service": {**name, **shown}}), path
        by_query = await world.call("PUT", f"/v1/services/{path}", who="admin", params=name | more)
        assert by_query.status_code == 200, path
    for missing in ("host", "binary"):
        partial = {key: value for key, value in name.items() if key != missing}
        assert (await world.call("PUT", "/v1/services/enable", who="admin", json=partial)).status_code == 400
    unknown = await world.call("PUT", "/v1/services/enable", who="admin", json=name | {"host": "nowhere"})
    assert unknown.status_code == 404


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"/v1/containers/{NOBODY}", 404, "container-not-found"),
        (f"/v1/hosts/{NOBODY}", 404, "compute-node-not-found"),
        (f"/v1/images/{NOBODY}", 400, "image-not-found"),
    ],
)
async def test_what_there_is_not(world: World, path: str, status: int, code: str) -> None:
    answer = await world.call("GET", path, who="admin")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (status, f"container.{code}")
