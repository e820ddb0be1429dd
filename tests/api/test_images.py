"""Images on nodes."""

from typing import Any

import pytest

from krater.model.assignment import NodeImage
from tests.support.api import NODE, FakeAgent, World

KEYS = ["uuid", "links", "image_id", "repo", "tag", "size", "project_id", "host", "status", "status_reason"]


async def pull(world: World, body: Any, who: str = "admin", **more: Any) -> Any:
    return await world.call("POST", "/v1/images", who=who, json=body, **more)


async def test_pulling_an_image_is_stored_and_told_to_the_node(world: World) -> None:
    answer = await pull(world, {"repo": "alpine:3.20", "host": "rack-1"})
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert list(made) == KEYS
    assert answer.headers["location"] == f"http://krater.test:9517/v1/images/{made['uuid']}"
    assert (made["repo"], made["tag"], made["host"], made["image_id"]) == ("alpine", "3.20", "rack-1", None)
    assert world.hints == ["images"]
    [stored] = await world.store.read(lambda tx: tx.images.on_node(NODE))
    assert (stored.id, stored.wanted, stored.project_id) == (made["uuid"], True, "p-office")


@pytest.mark.parametrize(
    ("body", "repo", "tag"),
    [
        ({"repo": "alpine"}, "alpine", "latest"),
        ({"repo": "alpine", "tag": "3.20", "size": "5M", "image_pull_policy": "always"}, "alpine", "3.20"),
        ({"repo": "docker.io/library/alpine"}, "alpine", "latest"),
        ({"repo": "quay.io/org/app:v1"}, "quay.io/org/app", "v1"),
        ({"repo": "alpine@sha256:" + "b" * 64}, "alpine", "sha256:" + "b" * 64),
        ({"repo": "registry.example:5000/app"}, "registry.example:5000/app", "latest"),
    ],
)
async def test_names_are_taken_apart(world: World, body: dict[str, Any], repo: str, tag: str) -> None:
    made = (await pull(world, body)).json()
    assert (made["repo"], made["tag"]) == (repo, tag)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "schema-validation-error"),
        ({"repo": "x"}, 400, "schema-validation-error"),
        ({"repo": "Not An Image"}, 400, "reference-invalid-format"),
        ({"repo": "alpine:1", "tag": "2"}, 400, "reference-invalid-format"),
        ({"repo": "krater.local/p-kitchen/x"}, 400, "reference-invalid-format"),
        ({"repo": "example.org:0/x"}, 400, "reference-invalid-format"),
        ({"repo": "alpine", "host": "nowhere"}, 400, "invalid-value"),
        ({"repo": "alpine", "size": "5 apples"}, 400, "schema-validation-error"),
        ({"repo": "alpine", "colour": "red"}, 400, "schema-validation-error"),
    ],
)
async def test_bad_pulls(world: World, body: dict[str, Any], status: int, code: str) -> None:
    answer = await pull(world, body)
    [error] = answer.json()["errors"]
    assert (answer.status_code, error["code"]) == (status, f"container.{code}")
    assert not error["title"].startswith("image:"), "there is no such field here"


async def test_the_host_may_be_left_out_only_where_there_is_one(world: World) -> None:
    await world.announce("node-2", "rack-2")
    answer = await pull(world, {"repo": "alpine"})
    assert answer.status_code == 400
    assert "host" in answer.json()["errors"][0]["title"]


async def test_the_same_image_twice_is_a_conflict(world: World) -> None:
    assert (await pull(world, {"repo": "alpine"})).status_code == 202
    again = await pull(world, {"repo": "docker.io/library/alpine:latest"})
    assert (again.status_code, again.json()["errors"][0]["code"]) == (409, "container.image-already-exists")


async def test_lists_show_what_the_node_reported(world: World) -> None:
    made = (await pull(world, {"repo": "alpine"})).json()
    seen = NodeImage("docker.io/library/alpine:latest", "sha256:" + "c" * 64, 8_000_000)
    await world.store.write(lambda tx: tx.images.observe(NODE, [("alpine", "latest", seen)], {}, world.clock()))
    listed = (await world.call("GET", "/v1/images/", who="admin")).json()
    assert listed["next"] is None
    assert [(i["uuid"], i["image_id"], i["size"]) for i in listed["images"]] == [
        (made["uuid"], "sha256:" + "c" * 64, "8000000")
    ]
    one = (await world.call("GET", f"/v1/images/{made['uuid']}", who="admin")).json()
    assert one == listed["images"][0]


async def test_images_come_in_pages(world: World) -> None:
    for name in ("one", "two", "three"):
        await pull(world, {"repo": name})
    url, seen = "/v1/images?limit=2", []
    while url:
        page = (await world.call("GET", url, who="admin")).json()
        seen.append([image["repo"] for image in page["images"]])
        url = page["next"]
    assert seen == [["one", "two"], ["three"]]


async def test_deleting_is_a_wish_too(world: World) -> None:
    id = (await pull(world, {"repo": "alpine"})).json()["uuid"]
    for _ in range(2):
        answer = await world.call("DELETE", f"/v1/images/{id}", who="admin")
        assert (answer.status_code, answer.content) == (200, b"null")
    [stored] = await world.store.read(lambda tx: tx.images.on_node(NODE))
    assert stored.removing


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("id", ["nothing", "0f3c2f6e-0000-4000-8000-000000000000"])
async def test_an_unknown_image_is_400_as_the_specification_has_it(world: World, method: str, id: str) -> None:
    answer = await world.call(method, f"/v1/images/{id}", who="admin")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "container.image-not-found")


async def test_a_pull_under_way_tells_how_far_it_is(world: World) -> None:
    FakeAgent(world)
    id = (await pull(world, {"repo": "alpine"})).json()["uuid"]
    shown = (await world.call("GET", f"/v1/images/{id}", who="admin")).json()
    assert (shown["status"], shown["status_reason"]) == ("Pulling", "1.0 of 4.0 MiB (25 %)")


async def test_a_node_that_does_not_answer_only_costs_the_progress(world: World) -> None:
    id = (await pull(world, {"repo": "alpine"})).json()["uuid"]
    shown = (await world.call("GET", f"/v1/images/{id}", who="admin")).json()
    assert (shown["status"], shown["status_reason"]) == ("Pulling", None)
