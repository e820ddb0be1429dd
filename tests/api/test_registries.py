"""Registries with a login, and where images may come from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from krater.config import RegistrySettings, Settings
from krater.store.interfaces import EVERYBODY, Page, RegistryQuery
from tests.support.api import World, open_world

KEYS = ["uuid", "links", "name", "project_id", "user_id", "domain", "username", "password"]
FULL = {"domain": "registry.example:5000", "name": "mine", "username": "me", "password": "s3cret-word"}


async def create(world: World, who: str = "ann", **fields: Any) -> Any:
    return await world.call("POST", "/v1/registries", who=who, json={"registry": {**FULL, **fields}})


async def made(world: World, who: str = "ann", **fields: Any) -> dict[str, Any]:
    answer = await create(world, who, **fields)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()["registry"]
    return found


async def stored(world: World) -> list[Any]:
    return await world.store.read(lambda tx: tx.registries.find(EVERYBODY, RegistryQuery(), Page(100)))


async def test_one_is_made_shown_changed_and_deleted(world: World) -> None:
    answer = await create(world)
    assert answer.status_code == 201
    one = answer.json()["registry"]
    assert list(one) == KEYS
    assert answer.headers["location"] == f"http://krater.test:9517/v1/registries/{one['uuid']}"
    assert (one["domain"], one["name"], one["username"], one["password"]) == (
        "registry.example:5000",
        "mine",
        "me",
        "***",
    )
    assert (one["project_id"], one["user_id"]) == ("p-kitchen", "u-ann")
    for ident in (one["uuid"], "mine"):
        assert (await world.call("GET", f"/v1/registries/{ident}")).json() == {"registry": one}
    changed = await world.call("PATCH", "/v1/registries/mine", json={"registry": {"name": "yours", "username": "you"}})
    assert changed.status_code == 200
    assert changed.json()["registry"] == {**one, "name": "yours", "username": "you"}
    gone = await world.call("DELETE", f"/v1/registries/{one['uuid']}")
    assert (gone.status_code, gone.content) == (204, b"")
    for method in ("GET", "PATCH", "DELETE"):
        answer = await world.call(method, "/v1/registries/yours", json={"registry": {}})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, "container.registry-not-found")


async def test_there_is_an_end_to_registries(world: World) -> None:
    for _ in range(100):
        await made(world)
    answer = await create(world)
    assert (answer.status_code, answer.json()["errors"][0]["title"]) == (409, "A project can have 100 registries.")
    await made(world, "bob")


async def test_the_least_there_can_be(world: World) -> None:
    answer = await world.call("POST", "/v1/registries", json={"registry": {"domain": "quay.io"}})
    one = answer.json()["registry"]
    assert (one["domain"], one["name"], one["username"], one["password"]) == ("quay.io", None, None, "***")


async def test_passwords_are_stored_encrypted_and_shown_nowhere(world: World, caplog: Any) -> None:
    await made(world)
    await world.call("PATCH", "/v1/registries/mine", json={"registry": {"password": "an0ther-word"}})
    [row] = await stored(world)
    for secret in ("s3cret-word", "an0ther-word"):
        assert secret not in repr(row)
        assert secret not in row.sealed
        assert secret not in caplog.text
        for path in (world.directory / "krater.sqlite", world.directory / "krater.sqlite-wal"):
            assert not path.exists() or secret.encode() not in path.read_bytes()
    assert (world.directory / "secret.keys").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (None, "'registry' is a required property"),
        ({}, "'registry' is a required property"),
        ({"registry": {}}, "'domain' is a required property"),
        ({"registry": {"domain": ""}}, "domain: expected"),
        ({"registry": {"domain": None}}, "domain: expected"),
        ({"registry": {"domain": "https://quay.io"}}, "domain: expected the host"),
        ({"registry": {"domain": "quay.io/team"}}, "domain: expected the host"),
        ({"registry": {"domain": "quay"}}, "domain: expected the host"),
        ({"registry": {"domain": "krater.local"}}, "domain: expected the host"),
        ({"registry": {"domain": "Krater.Local:5000"}}, "domain: expected the host"),
        ({"registry": {"domain": "a b.example"}}, "domain: expected the host"),
        ({"registry": {"domain": "x" * 300}}, "domain: expected"),
        ({"registry": {"domain": "127.0.0.1:5000"}}, "inside the operator's network"),
        ({"registry": {"domain": "localhost:5000"}}, "inside the operator's network"),
        ({"registry": {"domain": "10.1.2.3"}}, "inside the operator's network"),
        ({"registry": {"domain": "169.254.169.254"}}, "inside the operator's network"),
        ({"registry": {"domain": "[::1]:5000"}}, "inside the operator's network"),
        ({"registry": {"domain": "[::ffff:7f00:1]:5000"}}, "inside the operator's network"),
        ({"registry": {**FULL, "name": "x"}}, "name: expected 2 to 255"),
        ({"registry": {**FULL, "name": "-x"}}, "name: expected 2 to 255"),
        ({"registry": {**FULL, "name": "a b"}}, "name: expected 2 to 255"),
        ({"registry": {**FULL, "username": ""}}, "username: expected"),
        ({"registry": {**FULL, "password": ""}}, "password: expected"),
        ({"registry": {**FULL, "password": 1}}, "password: expected"),
        ({"registry": {**FULL, "username": None}}, "username: goes together with password"),
        ({"registry": {**FULL, "colour": "red"}}, "there is no field 'colour'"),
        ({"registry": FULL, "more": 1}, "there is no field 'more'"),
        ({"registry": [FULL]}, "registry: expected an object with domain"),
        ({"registry": {**FULL, "domain": "registry.example:65536"}}, "domain: expected the host"),
        ({"registry": {**FULL, "domain": "registry.example:0"}}, "domain: expected the host"),
        ([], "not a JSON object"),
    ],
)
async def test_what_is_refused_leaves_nothing(world: World, body: Any, words: str) -> None:
    headers = {"content-type": "application/json"}
    answer = await world.call("POST", "/v1/registries", headers=headers, **({} if body is None else {"json": body}))
    assert answer.status_code == 400, answer.text
    assert words in "".join(e["title"] for e in answer.json()["errors"])
    assert "s3cret" not in answer.text
    assert await stored(world) == []


async def test_another_media_type_is_refused(world: World) -> None:
    answer = await world.call("POST", "/v1/registries", content=b"{}", headers={"content-type": "text/plain"})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"domain": "127.0.0.1"}, "inside the operator's network"),
        ({"domain": "krater.local"}, "domain: expected the host"),
        ({"domain": "other.example"}, "password: has to be given again"),
        ({"username": None}, "username: goes together with password"),
        ({"name": "x"}, "name: expected"),
        ({"colour": 1}, "there is no field"),
    ],
)
async def test_changes_that_are_refused_change_nothing(world: World, changes: dict[str, Any], words: str) -> None:
    one = await made(world)
    answer = await world.call("PATCH", "/v1/registries/mine", json={"registry": changes})
    assert answer.status_code == 400
    assert words in answer.json()["errors"][0]["title"]
    assert (await world.call("GET", "/v1/registries/mine")).json()["registry"] == one


async def test_a_login_can_be_taken_away_and_moved_with_a_new_password(world: World) -> None:
    await made(world)
    moved = {"domain": "other.example", "password": "third"}
    assert (await world.call("PATCH", "/v1/registries/mine", json={"registry": moved})).status_code == 200
    answer = await world.call("PATCH", "/v1/registries/mine", json={"registry": {"username": None, "password": None}})
    assert answer.status_code == 200
    [row] = await stored(world)
    assert (row.domain, row.username, row.sealed) == ("other.example", None, None)
    assert (await world.call("PATCH", "/v1/registries/mine", json={"registry": {}})).status_code == 200


async def test_projects_do_not_see_each_other(world: World) -> None:
    one = await made(world)
    for method, body in (("GET", None), ("PATCH", {"registry": {"name": "stolen"}}), ("DELETE", None)):
        for ident in (one["uuid"], "mine"):
            assert (await world.call(method, f"/v1/registries/{ident}", who="bob", json=body)).status_code == 404
    assert (await world.call("GET", "/v1/registries", who="bob")).json() == {"registries": [], "next": None}
    assert (await world.call("GET", f"/v1/registries?marker={one['uuid']}", who="bob")).status_code == 404
    made_by_bob = await world.make("bob")
    assert made_by_bob["registry_id"] is None
    answer = await world.call("POST", "/v1/containers", who="bob", json={"image": "busybox", "registry": one["uuid"]})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, "container.registry-not-found")
    answer = await world.call("POST", "/v1/containers", who="admin", json={"image": "busybox", "registry": one["uuid"]})
    assert answer.status_code == 404, "a login is used for its own project's containers only"


async def test_readers_look_and_admins_see_all(world: World) -> None:
    one = await made(world)
    assert (await world.call("GET", "/v1/registries/mine", who="reader")).status_code == 200
    assert (await create(world, "reader")).status_code == 403
    assert (await world.call("DELETE", "/v1/registries/mine", who="reader")).status_code == 403
    assert (await world.call("GET", f"/v1/registries/{one['uuid']}", who="admin")).status_code == 200
    assert (await world.call("GET", "/v1/registries", who="admin")).json()["registries"] == []
    every = (await world.call("GET", "/v1/registries?all_projects=1", who="admin")).json()["registries"]
    assert [entry["uuid"] for entry in every] == [one["uuid"]]
    assert (await world.call("GET", "/v1/registries?all_projects=1")).status_code == 403
    assert (await world.call("GET", "/v1/registries?all_projects=perhaps")).status_code == 400


async def test_lists_filters_orders_and_pages(world: World) -> None:
    for name, domain in (("one", "a.example"), ("two", "b.example"), ("three", "a.example")):
        await made(world, name=name, domain=domain)

    async def names(query: str) -> list[str]:
        answer = await world.call("GET", f"/v1/registries?{query}")
        assert answer.status_code == 200, answer.text
        assert all("links" not in entry and entry["password"] == "***" for entry in answer.json()["registries"])
        return [entry["name"] for entry in answer.json()["registries"]]

    assert await names("") == ["one", "two", "three"]
    assert await names("domain=a.example") == ["one", "three"]
    assert await names("name=one&name=two") == ["one", "two"]
    assert await names("username=me&user_id=u-ann&project_id=p-kitchen") == ["one", "two", "three"]
    assert await names("username=you") == []
    assert await names("project_id=p-cellar") == []
    assert await names("sort_key=name&sort_dir=desc") == ["two", "three", "one"]
    url, seen = "/v1/registries?limit=2&domain=a.example&domain=b.example", []
    while url:
        page = (await world.call("GET", url)).json()
        seen.append([entry["name"] for entry in page["registries"]])
        url = page["next"]
    assert seen == [["one", "two"], ["three"]]
    for bad in ("colour=red", "limit=0", "sort_key=sealed", "sort_key=password", "sort_dir=up", "password=x"):
        assert (await world.call("GET", f"/v1/registries?{bad}")).status_code == 400, bad
    assert (await world.call("GET", "/v1/registries?marker=nothing")).status_code == 404


async def test_two_of_one_name_are_named_by_id(world: World) -> None:
    ids = [(await made(world))["uuid"] for _ in range(2)]
    assert (await world.call("GET", "/v1/registries/mine")).status_code == 409
    assert (await world.call("GET", f"/v1/registries/{ids[1]}")).json()["registry"]["uuid"] == ids[1]


async def test_a_registry_in_use_stays_until_its_container_is_gone(world: World) -> None:
    one = await made(world)
    container = await world.make(image="team/app:1", registry="mine")
    assert container["registry_id"] == one["uuid"]
    assert container["image"] == "team/app:1"
    answer = await world.call("DELETE", "/v1/registries/mine")
    assert answer.status_code == 409
    await world.store.write(lambda tx: tx.workloads.delete(container["uuid"]))
    assert (await world.call("DELETE", "/v1/registries/mine")).status_code == 204


@pytest.mark.parametrize(
    ("image", "status"),
    [
        ("app", 202),
        ("team/app:2", 202),
        ("registry.example:5000/team/app", 202),
        ("registry.example/team/app", 400),
        ("docker.io/library/busybox", 400),
        ("evil.example/app", 400),
    ],
)
async def test_a_login_goes_to_its_own_registry_only(world: World, image: str, status: int) -> None:
    await made(world)
    answer = await world.call("POST", "/v1/containers", json={"image": image, "registry": "mine"})
    assert answer.status_code == status, answer.text
    if status == 400:
        assert "image" in answer.json()["errors"][0]["title"]


@pytest.mark.parametrize(("version", "status"), [("container 1.30", 400), ("container 1.31", 202)])
async def test_containers_name_registries_since_1_31(world: World, version: str, status: int) -> None:
    await made(world)
    answer = await world.call("POST", "/v1/containers", version=version, json={"image": "app", "registry": "mine"})
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["errors"][0]["code"] == "container.invalid-param-in-version"


async def test_rebuilding_stays_with_the_registry(world: World) -> None:
    await made(world)
    container = await world.running(image="app", registry="mine")
    path = f"/v1/containers/{container['uuid']}/rebuild"
    assert (await world.call("POST", f"{path}?image=evil.example/app")).status_code == 400
    assert (await world.call("POST", f"{path}?image=other:2")).status_code == 202
    assert (await world.call("GET", f"/v1/containers/{container['uuid']}")).json()["registry_id"] is not None


IMAGES = {
    "busybox": True,
    "quay.io/team/app": True,
    "eu.gcr.example/app": True,
    "bad.gcr.example/app": False,
    "ghcr.io/team/app": False,
    "127.0.0.1/app": False,
    "127.0.0.1:5000/app": True,
    "localhost:1/app": False,
    "10.9.1.2/app": True,
    "10.8.1.2/app": False,
    "[fe80::1]/app": False,
}
RULES = RegistrySettings(
    allow=("docker.io", "quay.io", "*.gcr.example", "127.0.0.1", "10.*", "localhost"),
    deny=("bad.gcr.example",),
    reachable=("127.0.0.1:5000", "10.9.0.0/16"),
)


@pytest.mark.parametrize(("image", "good"), IMAGES.items())
async def test_allow_and_deny_lists(tmp_path: Path, image: str, good: bool) -> None:
    async with open_world(tmp_path, replace(Settings(), registries=RULES)) as world:
        answers = [
            await world.call("POST", "/v1/containers", json={"image": image}),
            await world.call("POST", "/v1/images", who="admin", json={"repo": image}),
        ]
        if good:
            made = await world.running()
            answers.append(await world.call("POST", f"/v1/containers/{made['uuid']}/rebuild?image={image}"))
        for answer in answers:
            assert answer.status_code == (202 if good else 400), answer.text
            if not good:
                title = answer.json()["errors"][0]["title"]
                assert "operator" in title
                if image.startswith("ghcr"):
                    assert "allowed are docker.io, quay.io" in title


async def test_the_default_registry_is_the_operators_choice(tmp_path: Path) -> None:
    settings = replace(Settings(), registries=RegistrySettings(default="mirror.example", deny=("docker.io",)))
    async with open_world(tmp_path, settings) as world:
        assert (await world.call("POST", "/v1/containers", json={"image": "busybox"})).status_code == 202
        pulled = await world.call("POST", "/v1/images", who="admin", json={"repo": "busybox"})
        assert pulled.json()["repo"] == "mirror.example/busybox"
        assert (await world.call("POST", "/v1/containers", json={"image": "docker.io/x/y"})).status_code == 400
