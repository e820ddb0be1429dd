"""The search for images: at Docker Hub, and among one's own."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from krater.config import Settings
from tests.api.test_own_images import ready
from tests.support.api import World, open_world

pytestmark = pytest.mark.thorough

RESULTS = [
    {"name": "nginx", "description": "Web server", "is_official": True, "star_count": 20000, "pull_count": 1},
    {"name": "bitnami/nginx", "description": None, "is_official": False},
]


class Hub(ThreadingHTTPServer):
    """As Docker Hub answers, or not."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _HubHandler)
        self.status, self.content, self.paths = 200, json.dumps({"results": RESULTS}).encode(), list[str]()


class _HubHandler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    served = Hub()
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield served
    served.shutdown()
    served.server_close()


def searching(hub: Hub) -> Settings:
    url = f"http://127.0.0.1:{hub.server_port}/v1/search"
    registries = replace(Settings().registries, reachable=("127.0.0.0/8",))
    return replace(Settings(), api=replace(Settings().api, image_search=url), registries=registries)


async def test_the_search_goes_only_where_images_may_come_from(tmp_path: Path, hub: Hub) -> None:
    settings = replace(searching(hub), registries=Settings().registries)
    async with open_world(tmp_path, settings) as world:
        assert (await world.call("GET", "/v1/images/nginx/search")).status_code == 503
    assert hub.paths == []


@pytest.mark.parametrize("name", ["nginx", "library/nginx", "docker.io/library/nginx", "a/b/c/nginx"])
@pytest.mark.parametrize("driver", ["", "?image_driver=docker", "?image_driver=None"])
async def test_searching_docker_hub(tmp_path: Path, hub: Hub, name: str, driver: str) -> None:
    async with open_world(tmp_path, searching(hub)) as world:
        answer = await world.call("GET", f"/v1/images/{name}/search{driver}")
    assert answer.status_code == 200, answer.text
    assert answer.json() == [
        {"name": "nginx", "description": "Web server", "metadata": {"is_official": True, "star_count": 20000}},
        {"name": "bitnami/nginx", "description": "", "metadata": {"is_official": False, "star_count": 0}},
    ]
    assert hub.paths == [f"/v1/search?q={name.replace('/', '%2F')}&n=100"]


async def test_searching_exactly(tmp_path: Path, hub: Hub) -> None:
    async with open_world(tmp_path, searching(hub)) as world:
        answer = await world.call("GET", "/v1/images/bitnami/nginx/search?exact_match=True")
    assert [image["name"] for image in answer.json()] == ["bitnami/nginx"]


@pytest.mark.parametrize(
    ("status", "content"), [(500, b"{}"), (200, b"<html>"), (200, b"[]"), (200, b'{"results": 5}')]
)
async def test_a_docker_hub_that_does_not_answer_well(tmp_path: Path, hub: Hub, status: int, content: bytes) -> None:
    hub.status, hub.content = status, content
    async with open_world(tmp_path, searching(hub)) as world:
        answer = await world.call("GET", "/v1/images/nginx/search")
    assert answer.status_code == 503
    assert "Docker Hub does not answer" in answer.json()["errors"][0]["title"]


async def test_a_search_that_is_turned_off(tmp_path: Path) -> None:
    settings = replace(Settings(), api=replace(Settings().api, image_search=""))
    async with open_world(tmp_path, settings) as world:
        assert (await world.call("GET", "/v1/images/nginx/search")).status_code == 503


async def test_searching_ones_own(world: World) -> None:
    uuid = await ready(world, "team/app")
    await ready(world, "team/other")
    found = (await world.call("GET", "/v1/images/team/app/search?image_driver=glance")).json()
    assert [(i["id"], i["name"], i["tags"], i["status"], i["size"]) for i in found] == [
        (uuid, "team/app", ["latest"], "active", 5_000_000)
    ]
    assert len((await world.call("GET", "/v1/images/team/search?image_driver=glance")).json()) == 2
    exact = "?image_driver=glance&exact_match=yes"
    assert (await world.call("GET", f"/v1/images/team/search{exact}")).json() == []
    assert len((await world.call("GET", f"/v1/images/{uuid}/search{exact}")).json()) == 1


@pytest.mark.parametrize("query", ["?image_driver=podman", "?exact_match=maybe", "?exact_match=1&exact_match=0"])
async def test_bad_searches(world: World, query: str) -> None:
    assert (await world.call("GET", f"/v1/images/nginx/search{query}")).status_code == 400
