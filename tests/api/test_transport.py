"""What holds for every request: ids, who may come in, errors, sizes, version documents."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from krater.config import ApiSettings, Settings
from krater.errors import Unavailable
from tests.support.api import World, open_world

ERROR_KEYS = ["request_id", "code", "status", "title", "detail", "links"]


def error_of(answer: httpx2.Response) -> dict[str, Any]:
    """The one error of an error document."""
    document = answer.json()
    assert list(document) == ["errors"]
    [entry] = document["errors"]
    assert list(entry)[:6] == ERROR_KEYS
    assert entry["status"] == answer.status_code
    found: dict[str, Any] = entry
    return found


async def test_the_root_document_is_what_clients_negotiate_from(world: World) -> None:
    answer = await world.call("GET", "/", who="", version=None)
    assert answer.status_code == 200
    assert list(answer.json()) == ["name", "description", "versions", "default_version"]
    [version] = answer.json()["versions"]
    assert version == {
        "id": "v1",
        "links": [{"href": "http://krater.test:9517/v1/", "rel": "self"}],
        "status": "CURRENT",
        "max_version": "1.40",
        "min_version": "1.1",
    }
    assert "openstack-api-version" not in answer.headers


@pytest.mark.parametrize("path", ["/v1", "/v1/"])
async def test_the_v1_document_names_every_collection(world: World, path: str) -> None:
    document = (await world.call("GET", path, who="")).json()
    assert document["id"] == "v1"
    assert document["containers"] == [
        {"href": "http://krater.test:9517/v1/containers/", "rel": "self"},
        {"href": "http://krater.test:9517/containers/", "rel": "bookmark"},
    ]


@pytest.mark.parametrize("path", ["/", "/v1", "/nothing", "/v1/containers", "/v1/containers/nobody"])
async def test_every_answer_has_a_request_id(world: World, path: str) -> None:
    answer = await world.call("GET", path)
    assert answer.headers["x-openstack-request-id"].startswith("req-")
    assert len(answer.headers["x-openstack-request-id"]) == 40


async def test_an_error_document_has_the_request_id_of_its_answer(world: World) -> None:
    answer = await world.call("GET", "/v1/containers/nobody")
    assert error_of(answer)["request_id"] == answer.headers["x-openstack-request-id"]


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-Auth-Token": "ann"}, 200),
        (basic("ann:ann"), 200),
        ({"Authorization": "Bearer ann"}, 200),
        ({}, 401),
        ({"X-Auth-Token": "nobody"}, 401),
        ({"X-Auth-Token": "x" * 9000}, 401),
        (basic("ann:wrong"), 401),
        (basic("ann"), 401),
        ({"Authorization": "Basic !!!"}, 401),
        ({"Authorization": "Digest x"}, 401),
        (basic("ann:" + "x" * 9000), 401),
    ],
)
async def test_who_may_come_in(world: World, headers: dict[str, str], status: int) -> None:
    answer = await world.call("GET", "/v1/containers", who="", headers=headers)
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Basic ")
        assert "openstack-api-version" not in answer.headers
        assert error_of(answer)["code"] == "container.unauthorized"


@pytest.mark.parametrize(
    ("site", "method", "status"),
    [
        ("cross-site", "POST", 403),
        ("same-site", "DELETE", 403),
        ("same-origin", "POST", 404),
        ("cross-site", "GET", 404),
    ],
)
async def test_a_remembered_password_is_no_good_to_other_sites(
    world: World, site: str, method: str, status: int
) -> None:
    path = "/v1/containers/nobody" + ("/start" if method == "POST" else "")
    answer = await world.call(method, path, who="", headers=basic("ann:ann") | {"Sec-Fetch-Site": site})
    assert answer.status_code == status
    token = await world.call(method, path, headers={"Sec-Fetch-Site": site})
    assert token.status_code == 404


async def test_a_slowed_down_login_is_told_when_to_come_back(world: World) -> None:
    answer = await world.call("GET", "/v1/containers", who="", headers=basic("slow:x"))
    assert answer.status_code == 401
    assert int(answer.headers["retry-after"]) >= 7


@pytest.mark.parametrize(
    "path",
    ["/containers", "/v1/containers", "/v1/containers/", "/v1//containers", "//v1/containers//", "/containers/"],
)
async def test_slashes_and_v1_are_lenient(world: World, path: str) -> None:
    assert (await world.call("GET", path)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/v1/nothing", 404, None),
        ("GET", "/v2/containers", 404, None),
        ("GET", "/v1/quotas", 404, None),
        ("POST", "/v1/containers/x/dance", 404, None),
        ("PUT", "/v1/containers/x", 405, "DELETE, GET, PATCH"),
        ("PATCH", "/v1/services", 405, "DELETE, GET"),
        ("PATCH", "/v1/capsules/x", 405, "DELETE, GET"),
        ("GET", "/v1/containers/x/start", 405, "POST"),
    ],
)
async def test_unknown_urls_and_methods(world: World, method: str, path: str, status: int, allow: str | None) -> None:
    answer = await world.call(method, path)
    assert answer.status_code == status
    assert answer.headers.get("allow") == allow
    assert error_of(answer)["code"] == "container."
    assert "openstack-api-version" not in answer.headers


async def test_head_is_get_without_a_body(world: World) -> None:
    assert (await world.call("HEAD", "/v1/containers")).status_code == 200


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[World]:
    """An API that takes no body above 2 KiB."""
    async with open_world(tmp_path, Settings(api=ApiSettings(max_body=2048))) as opened:
        yield opened


async def test_a_declared_large_body_is_refused_unread(small: World) -> None:
    answer = await small.call("POST", "/v1/containers", content=b"x" * 5000)
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    assert error_of(answer)["code"] == "container.request-too-large"


async def test_a_streamed_large_body_is_refused_without_reading_all_of_it(small: World) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100 << 20:
            sent += 1024
            yield b"x" * 1024

    before = sent
    messages: list[Any] = []
    source = endless()

    async def receive() -> Any:
        return {"type": "http.request", "body": await anext(source), "more_body": True}

    async def send(message: Any) -> None:
        messages.append(message)

    headers = [(b"x-auth-token", b"ann"), (b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")]
    scope = {"type": "http", "method": "POST", "path": "/v1/containers", "query_string": b"", "headers": headers}
    await small.app(scope, receive, send)
    assert messages[0]["status"] == 413
    assert sent - before <= 17 << 20  # a bounded part is let go by, so that most clients see the answer


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b"[]",
        b"\xff\xfe",
        b'{"image": "busybox"',
        b"null",
        b'"text"',
        b"[" * 1500,
        b'{"hints":{"a":' * 100,
    ],
)
async def test_a_body_that_is_no_json_object_is_refused_with_a_reason(small: World, body: bytes) -> None:
    answer = await small.call("POST", "/v1/containers", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "body" in error_of(answer)["title"] or "hints" in error_of(answer)["title"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"])
async def test_creating_needs_a_json_body_by_name(world: World, kind: str) -> None:
    answer = await world.call("POST", "/v1/containers", content=b'{"image":"busybox"}', headers={"Content-Type": kind})
    assert answer.status_code == 415


async def test_what_nobody_foresaw_is_answered_without_a_trace_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def explode(*_: Any) -> None:
        raise RuntimeError("secret: /etc/passwd")

    monkeypatch.setattr(world.store, "read", explode)
    answer = await world.call("GET", "/v1/containers")
    assert answer.status_code == 500
    entry = error_of(answer)
    assert entry["code"] == "container."
    assert entry["title"] == "Internal Server Error"
    assert "Error Correlation id is: " in entry["detail"]
    assert "secret" not in answer.text
    assert answer.headers["openstack-api-version"] == "container 1.40"


async def test_a_database_that_is_away_is_503_everywhere(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any) -> None:
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr(world.store, "read", away)
    assert (await world.call("GET", "/v1/containers")).status_code == 503
    health = await world.call("GET", "/healthcheck", who="")
    assert health.status_code == 503
    assert health.json()["status"] == "unavailable"


async def test_healthcheck_is_open_to_all(world: World) -> None:
    answer = await world.call("GET", "/healthcheck", who="", version=None)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_links_come_from_public_url(tmp_path: Path) -> None:
    settings = Settings(api=ApiSettings(public_url="https://cloud.example/container/"))
    async with open_world(tmp_path, settings) as world:
        answer = await world.call("POST", "/v1/containers", json={"image": "busybox"})
        id = answer.json()["uuid"]
        assert answer.headers["location"] == f"https://cloud.example/container/v1/containers/{id}"
        assert answer.json()["links"] == [
            {"href": f"https://cloud.example/container/v1/containers/{id}", "rel": "self"},
            {"href": f"https://cloud.example/container/containers/{id}", "rel": "bookmark"},
        ]


async def test_a_host_header_that_is_no_host_is_not_repeated(world: World) -> None:
    answer = await world.call("GET", "/", who="", headers={"Host": 'evil"><script>'})
    assert "evil" not in answer.text


async def test_mounted_applications_have_a_front_door_of_their_own(tmp_path: Path) -> None:
    seen: list[Scope] = []

    async def other(scope: Scope, _: Receive, send: Send) -> None:
        seen.append(scope)
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    async with open_world(tmp_path, mounts={"/identity": other}) as world:
        answer = await world.call("GET", "/identity/v3", who="")
        assert (answer.status_code, answer.text) == (299, "hello")
        assert (seen[0]["root_path"], seen[0]["path"]) == ("/identity", "/identity/v3")
        assert "x-openstack-request-id" in answer.headers


async def test_the_openapi_document_names_every_operation(world: World) -> None:
    answer = await world.call("GET", "/openapi.json", who="")
    document = json.loads(answer.content)
    assert document["openapi"].startswith("3.")
    assert {"get", "post"} <= document["paths"]["/v1/containers"].keys()
    assert document["paths"]["/v1/containers"]["post"]["x-policy"] == "container:create"
    for reference in _references(document):
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for part in value.values() for ref in _references(part)]
    if isinstance(value, list):
        return [ref for part in value for ref in _references(part)]
    return []


async def test_the_docs_page_loads_nothing_from_elsewhere(world: World) -> None:
    answer = await world.call("GET", "/docs", who="")
    assert answer.headers["content-type"].startswith("text/html")
    assert "http://" not in answer.text
    assert "https://" not in answer.text
    assert "openapi.json" in answer.text


async def test_metrics_are_for_administrators(world: World) -> None:
    answer = await world.call("GET", "/metrics", who="admin")
    assert answer.status_code == 200
    assert "krater_requests_total" in answer.text
    assert (await world.call("GET", "/metrics", who="ann")).status_code == 403
