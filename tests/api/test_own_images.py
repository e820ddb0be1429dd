"""Images that projects make of their containers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from krater.bus.messages import ImageProgress, ProgressAnswer, PushImage, ReadImage, ReadImageAnswer
from krater.config import Settings
from krater.controller.endpoint import own_image_tasks
from krater.errors import Conflict, NotFound, Unavailable
from krater.model.assignment import NodeImage
from krater.store.interfaces import EVERYBODY, OwnImage
from tests.support.api import HOST, NODE, FakeAgent, World, open_world

DIGEST = "sha256:" + "d" * 64


async def commit(world: World, id: str, query: str = "?repository=myrepo", **more: Any) -> Any:
    return await world.call("POST", f"/v1/containers/{id}/commit{query}", **more)


async def stored(world: World) -> list[OwnImage]:
    return list(await world.store.read(lambda tx: tx.own_images.on_node(NODE)))


async def observe(world: World, failures: dict[str, str] | None = None) -> None:
    """The node has made what it was asked for, but for what failed; as the controller folds it."""
    images = [i for i in await stored(world) if i.id not in (failures or {})]
    there = {image.stored: NodeImage(image.stored, DIGEST, 5_000_000) for image in images}

    def fold(tx: Any) -> None:
        for ended in tx.own_images.observe(NODE, there, failures or {}):
            tx.actions.finish_request(ended.image.source, ended.image.request_id, ended.error, world.clock())

    await world.store.write(fold)


async def ready(world: World, name: str = "myrepo", who: str = "ann") -> str:
    """An image that is there; its id."""
    made = await world.running(who)
    uuid: str = (await commit(world, made["uuid"], f"?repository={name}", who=who)).json()["uuid"]
    await observe(world)
    return uuid


def _driven(driver: str | None) -> dict[str, Any]:
    return {"image_driver": driver} if driver else {}


@pytest.mark.parametrize("state", ["Running", "Stopped", "Paused"])
async def test_a_commit_is_stored_and_told_to_the_node(world: World, state: str) -> None:
    id = await world.into(state)
    world.hints.clear()
    answer = await commit(world, id, "?repository=myrepo&tag=1.0")
    assert answer.status_code == 202, answer.text
    uuid = answer.json()["uuid"]
    assert list(answer.json()) == ["uuid"]
    assert answer.headers["location"] == f"http://krater.test:9517/v1/own_images/{uuid}"
    assert world.hints == ["images"]
    [image] = await stored(world)
    assert (image.id, image.repo, image.tag, image.source, image.project_id) == (uuid, "myrepo", "1.0", id, "p-kitchen")
    assert image.stored == f"krater.local/p-kitchen/{uuid}:latest"
    assert [(t.id, t.name, t.source) for t in own_image_tasks([image])] == [(uuid, image.stored, id)]
    shown = (await world.call("GET", f"/v1/own_images/{uuid}")).json()
    assert (shown["status"], shown["image_id"], shown["size"]) == ("saving", None, None)
    await observe(world)
    shown = (await world.call("GET", "/v1/own_images/myrepo:1.0")).json()
    assert (shown["status"], shown["image_id"], shown["size"]) == ("active", DIGEST, 5_000_000)
    assert [t.source for t in own_image_tasks(await stored(world))] == [""]


@pytest.mark.parametrize("state", ["Creating", "Created", "Error", "Deleting", "Rebuilding", "Unknown"])
async def test_states_in_which_nothing_is_committed(world: World, state: str) -> None:
    answer = await commit(world, await world.into(state))
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, "container.invalid-state-exception")
    assert await stored(world) == []


@pytest.mark.parametrize(
    ("query", "repo", "tag"),
    [
        ("?repository=a:2", "a", "2"),
        ("?repository=docker.io/library/a", "a", "latest"),
        ("?repository=registry.example:5000/team/app&tag=x", "registry.example:5000/team/app", "x"),
    ],
)
async def test_names_of_new_images(world: World, query: str, repo: str, tag: str) -> None:
    await commit(world, await world.into("Running"), query)
    assert [(i.repo, i.tag) for i in await stored(world)] == [(repo, tag)]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "schema-validation-error"),
        ("?repository=", "schema-validation-error"),
        ("?repository=" + "a" * 300, "schema-validation-error"),
        ("?repository=ok&tag=a/b", "schema-validation-error"),
        ("?repository=ok&tag=", "schema-validation-error"),
        ("?repository=ok&tag=" + "t" * 129, "schema-validation-error"),
        ("?repository=ok&repository=two", "schema-validation-error"),
        ("?repository=My Repo", "reference-invalid-format"),
        ("?repository=UPPER", "reference-invalid-format"),
        ("?repository=../etc", "reference-invalid-format"),
        ("?repository=a:1&tag=2", "reference-invalid-format"),
        ("?repository=a@sha256:" + "b" * 64, "reference-invalid-format"),
        ("?repository=krater.local/p-cellar/x", "reference-invalid-format"),
    ],
)
async def test_bad_names_of_new_images(world: World, query: str, code: str) -> None:
    answer = await commit(world, await world.into("Running"), query)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, f"container.{code}"), answer.text
    assert await stored(world) == []


async def test_the_history_tells_how_a_commit_ended(world: World) -> None:
    id = await world.into("Running")
    uuid = (await commit(world, id)).json()["uuid"]
    await world.settle(id, cpu=0.1)  # what the node says of the intent does not end it

    async def action() -> Any:
        listed = (await world.call("GET", f"/v1/containers/{id}/container_actions")).json()["containerActions"]
        return next(a for a in listed if a["action"] == "commit")

    assert (await action())["finish_time"] is None
    await observe(world, {uuid: "The disk is full."})
    ended = await action()
    assert (ended["message"], ended["finish_time"] is None) == ("The disk is full.", False)
    assert (await world.call("GET", f"/v1/own_images/{uuid}")).status_code == 404


async def test_a_node_that_is_away_commits_nothing(world: World) -> None:
    id = await world.into("Running")
    await world.store.write(lambda tx: tx.nodes.set_forced_down(HOST, True))
    assert (await commit(world, id)).status_code in (409, 503)
    assert await stored(world) == []


async def test_a_project_has_so_many_and_no_more(tmp_path: Path) -> None:
    settings = replace(Settings(), api=replace(Settings().api, most_images=2))
    async with open_world(tmp_path, settings) as world:
        id = await world.into("Running")
        assert [(await commit(world, id)).status_code for _ in range(3)] == [202, 202, 403]
        assert len(await stored(world)) == 2


async def test_containers_are_made_of_own_images_first(world: World) -> None:
    uuid = await ready(world)
    for image, driver in (("myrepo", None), ("myrepo:latest", "glance"), (uuid, "glance"), (uuid, None)):
        made = await world.make(image=image, **_driven(driver))
        assert (made["image"], made["image_driver"]) == (image, "glance")
        spec = (await world.stored(made["uuid"])).spec.containers[0]
        assert (spec.node_image, spec.stored_on) == (f"krater.local/p-kitchen/{uuid}:latest", NODE)
    for image, driver in (("myrepo", "docker"), ("docker.io/library/myrepo", None), ("myrepo:other", None)):
        made = await world.make(image=image, **_driven(driver))
        spec = (await world.stored(made["uuid"])).spec.containers[0]
        assert (spec.node_image, spec.stored_on, spec.image_driver) == (image, None, "docker")


async def test_a_name_means_the_newest_that_is_ready(world: World) -> None:
    first, second = await ready(world), await ready(world)
    await commit(world, (await world.running())["uuid"])
    assert (await world.call("GET", "/v1/own_images/myrepo")).json()["uuid"] == second
    await world.call("DELETE", f"/v1/own_images/{second}")
    assert (await world.call("GET", "/v1/own_images/myrepo")).json()["uuid"] == first


async def test_what_is_not_ready_cannot_be_run(world: World) -> None:
    id = await world.into("Running")
    await commit(world, id)
    body = {"image": "myrepo", "cpu": 0.1, "memory": 64}
    answer = await world.call("POST", "/v1/containers", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, "container.image-not-ready")
    await observe(world)
    await world.store.write(lambda tx: list(tx.own_images.observe(NODE, {}, {})))
    shown = (await world.call("GET", "/v1/own_images/myrepo")).json()
    assert (shown["status"], shown["status_reason"]) == ("lost", "Its node does not have it any more.")
    assert (await world.call("POST", "/v1/containers", json=body)).status_code == 409


async def test_lists_come_in_pages(world: World) -> None:
    for name in ("one", "two", "three"):
        await ready(world, name)
    url, seen = "/v1/own_images?limit=2&sort_key=name", []
    while url:
        page = (await world.call("GET", url)).json()
        seen.append([image["name"] for image in page["images"]])
        url = page["next"]
    assert seen == [["one:latest", "three:latest"], ["two:latest"]]
    named = (await world.call("GET", "/v1/own_images?name=two")).json()["images"]
    assert [image["name"] for image in named] == ["two:latest"]
    assert (await world.call("GET", "/v1/own_images?name=a/b")).json() == {"images": [], "next": None}
    for query in ("?sort_key=colour", "?limit=0", "?marker=nothing"):
        assert (await world.call("GET", f"/v1/own_images{query}")).status_code in (400, 404)


async def test_other_projects_see_none_of_it(world: World) -> None:
    agent, uuid = FakeAgent(world), await ready(world)
    for who in ("bob", "admin"):
        assert (await world.call("GET", "/v1/own_images", who=who)).json()["images"] == []
        assert (await world.call("GET", "/v1/images/myrepo/search?image_driver=glance", who=who)).json() == []
        for image in (uuid, "myrepo"):
            for method, more in (
                ("GET", ""),
                ("DELETE", ""),
                ("GET", "/archive"),
                ("POST", "/push"),
                ("GET", "/push/x"),
            ):
                more_of_it: dict[str, Any] = {"json": {"reference": "registry.example/x"}} if method == "POST" else {}
                answer = await world.call(
                    method, f"/v1/own_images/{image}{more}", who=who, headers={"Range": "bytes=0-"},
                    **more_of_it,
                )  # fmt: skip
                assert answer.status_code == 404, (who, method, more, answer.text)
            body = {"image": image, "image_driver": "glance", "cpu": 0.1, "memory": 64}
            assert (await world.call("POST", "/v1/containers", who=who, json=body)).status_code == 400
    assert agent.asked == []
    assert "krater.local" not in (await world.call("GET", "/v1/images", who="admin")).text


async def test_readers_read_only(world: World) -> None:
    FakeAgent(world)
    uuid = await ready(world)
    headers = {"Range": "bytes=0-"}
    assert (await world.call("GET", f"/v1/own_images/{uuid}", who="reader")).status_code == 200
    answer = await world.call("GET", f"/v1/own_images/{uuid}/archive", who="reader", headers=headers)
    assert answer.status_code == 206
    assert (await world.call("DELETE", f"/v1/own_images/{uuid}", who="reader")).status_code == 403
    body = {"reference": "registry.example/x"}
    assert (await world.call("POST", f"/v1/own_images/{uuid}/push", who="reader", json=body)).status_code == 403


async def test_deleting_tells_the_node_and_ends_what_was_being_made(world: World) -> None:
    id = await world.into("Running")
    uuid = (await commit(world, id)).json()["uuid"]
    world.hints.clear()
    assert (await world.call("DELETE", f"/v1/own_images/{uuid}")).status_code == 204
    assert world.hints == ["images"]
    assert await stored(world) == []
    assert (await world.call("DELETE", f"/v1/own_images/{uuid}")).status_code == 404
    listed = (await world.call("GET", f"/v1/containers/{id}/container_actions")).json()["containerActions"]
    assert listed[0]["message"] == "The image was deleted before it was made."


async def test_an_archive_comes_in_pieces(world: World) -> None:
    agent, uuid = FakeAgent(world), await ready(world)
    answer = await world.call("GET", f"/v1/own_images/{uuid}/archive", headers={"Range": "bytes=0-"})
    assert (answer.status_code, answer.content) == (206, b"archive")
    assert answer.headers["content-range"] == "bytes 0-6/7"
    assert answer.headers["content-type"] == "application/x-tar"
    await world.call("GET", f"/v1/own_images/{uuid}/archive", headers={"Range": "bytes=10-19"})
    stored_as = f"krater.local/p-kitchen/{uuid}:latest"
    assert agent.asked == [
        ReadImage(stored_as, "myrepo:latest", 0, 4 << 20),
        ReadImage(stored_as, "myrepo:latest", 10, 10),
    ]
    agent.answers[ReadImage] = ReadImageAnswer(b"", 7)
    beyond = await world.call("GET", f"/v1/own_images/{uuid}/archive", headers={"Range": "bytes=7-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */7")


@pytest.mark.parametrize(
    "text", ["", "bytes", "bytes=-5", "bytes=a-", "bytes=0-1,3-4", "items=0-", "bytes=" + "9" * 30]
)
async def test_bad_ranges(world: World, text: str) -> None:
    uuid = await ready(world)
    answer = await world.call("GET", f"/v1/own_images/{uuid}/archive", headers={"Range": text} if text else {})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "container.invalid")


async def test_a_push_is_begun_and_asked_after(world: World) -> None:
    agent, uuid = FakeAgent(world), await ready(world)
    body = {"reference": "registry.example:5000/app:1", "username": "ann", "password": "secret"}
    begun = await world.call("POST", f"/v1/own_images/{uuid}/push", json=body)
    assert begun.status_code == 202, begun.text
    id = begun.json()["push"]
    [asked] = agent.asked
    stored_as = f"krater.local/p-kitchen/{uuid}:latest"
    assert asked == PushImage(f"{uuid}/{id}", stored_as, "registry.example:5000/app:1", "ann", "secret")
    assert "secret" not in repr(asked)
    agent.answers[ImageProgress] = ProgressAnswer("done", 9, 9, digest=DIGEST)
    seen = (await world.call("GET", f"/v1/own_images/{uuid}/push/{id}")).json()
    assert seen == {"push": id, "state": "done", "done": 9, "total": 9, "reason": "", "digest": DIGEST}
    assert agent.asked[-1] == ImageProgress(f"{uuid}/{id}")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "schema-validation-error"),
        ({"reference": "x"}, "schema-validation-error"),
        ({"reference": 5}, "schema-validation-error"),
        ({"reference": "registry.example/app", "colour": "red"}, "schema-validation-error"),
        ({"reference": "registry.example/app", "password": "p" * 5000}, "schema-validation-error"),
        ({"reference": "registry.example/App"}, "reference-invalid-format"),
        ({"reference": "http://registry.example/app"}, "reference-invalid-format"),
        ({"reference": "krater.local/p-cellar/app"}, "reference-invalid-format"),
        ({"reference": "registry.example/app@sha256:" + "a" * 64}, "reference-invalid-format"),
    ],
)
async def test_bad_pushes(world: World, body: dict[str, Any], code: str) -> None:
    agent, uuid = FakeAgent(world), await ready(world)
    answer = await world.call("POST", f"/v1/own_images/{uuid}/push", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, f"container.{code}"), answer.text
    assert agent.asked == []


async def keep(world: World, name: str = "mine", who: str = "ann", **login: str) -> None:
    body = {"registry": {"name": name, "domain": "registry.example:5000", **login}}
    answer = await world.call("POST", "/v1/registries", json=body, who=who)
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("reference", ["team/app:1", "registry.example:5000/team/app:1"])
async def test_a_push_with_the_login_that_is_kept(world: World, reference: str) -> None:
    agent, uuid = FakeAgent(world), await ready(world)
    await keep(world, username="ann", password="s3cret-word")
    body = {"reference": reference, "registry": "mine"}
    begun = await world.call("POST", f"/v1/own_images/{uuid}/push", json=body)
    assert begun.status_code == 202, begun.text
    assert "s3cret-word" not in begun.text
    [asked] = agent.asked
    assert (asked.reference, asked.username, asked.password) == (
        "registry.example:5000/team/app:1", "ann", "s3cret-word",
    )  # fmt: skip


async def test_a_push_to_a_registry_without_a_login(world: World) -> None:
    agent, uuid = FakeAgent(world), await ready(world)
    await keep(world)
    body = {"reference": "team/app:1", "registry": "mine"}
    assert (await world.call("POST", f"/v1/own_images/{uuid}/push", json=body)).status_code == 202
    assert (agent.asked[0].reference, agent.asked[0].username) == ("registry.example:5000/team/app:1", "")


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ({"reference": "elsewhere.example/app"}, 400, "is in elsewhere.example"),
        ({"reference": "app", "username": "ann"}, 400, "leave out username and password"),
        ({"reference": "app", "registry": "other"}, 404, "other"),
        ({"reference": "app", "registry": "theirs"}, 404, "theirs"),
        ({"reference": "krater.local/p-kitchen/app"}, 400, "krater.local is no registry"),
        ({"reference": "10.0.0.1/app", "registry": ""}, 400, "inside the operator's network"),
    ],
)
async def test_a_login_goes_nowhere_else(world: World, more: dict[str, str], status: int, words: str) -> None:
    agent, uuid = FakeAgent(world), await ready(world)
    await keep(world, username="ann", password="s3cret-word")
    await keep(world, "theirs", "bob", username="bob", password="s3cret-word")
    answer = await world.call("POST", f"/v1/own_images/{uuid}/push", json={"registry": "mine", **more})
    assert (answer.status_code, agent.asked) == (status, []), answer.text
    assert words in answer.text


async def test_a_named_registry_is_asked_whatever_the_project_has(world: World) -> None:
    await ready(world, "team/app")
    await keep(world)
    body = {"image": "team/app", "registry": "mine"}
    made = (await world.call("POST", "/v1/containers", json=body)).json()
    assert (made["image"], made["image_driver"]) == ("team/app", "docker")
    refused = await world.call("POST", "/v1/containers", json={**body, "image_driver": "glance"})
    assert (refused.status_code, "registry: goes with" in refused.text) == (400, True)


@pytest.mark.parametrize(
    ("error", "status"), [(Unavailable("x"), 503), (NotFound("gone"), 404), (Conflict("too many"), 409)]
)
async def test_what_the_node_refuses(world: World, error: Any, status: int) -> None:
    agent, uuid = FakeAgent(world), await ready(world)
    agent.answers[PushImage] = agent.answers[ReadImage] = error
    pushed = await world.call("POST", f"/v1/own_images/{uuid}/push", json={"reference": "registry.example/app"})
    read = await world.call("GET", f"/v1/own_images/{uuid}/archive", headers={"Range": "bytes=0-"})
    assert (pushed.status_code, read.status_code) == (status, status)


async def test_a_row_that_is_gone_is_gone_for_everybody(world: World) -> None:
    uuid = await ready(world)
    await world.store.write(lambda tx: tx.own_images.delete(EVERYBODY, uuid))
    assert (await world.call("GET", f"/v1/own_images/{uuid}")).status_code == 404
