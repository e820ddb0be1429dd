"""Volumes: the noun, and the mounts of containers, as requests and answers."""

import base64
from typing import Any

import pytest

from krater.config import Settings, VolumeSettings
from krater.store.interfaces import EVERYBODY, Page, WorkloadQuery
from tests.support.api import NODE, World, open_world

URL = "/v1/volumes"


async def create(world: World, name: str = "data", size: Any = 1, **more: Any) -> Any:
    return await world.call("POST", URL, json={"name": name, "size": size}, **more)


async def listed(world: World, who: str = "ann") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await world.call("GET", URL, who=who)).json()["volumes"]
    return found


async def post(world: World, mounts: Any, **more: Any) -> Any:
    return await world.call("POST", "/v1/containers", json={"image": "busybox", "mounts": mounts}, **more)


async def nothing_is_there(world: World) -> None:
    assert await world.store.read(lambda tx: tx.workloads.find(EVERYBODY, WorkloadQuery(), Page(10))) == []
    assert await world.store.read(lambda tx: tx.volumes.holders()) == set()
    assert (await world.store.read(lambda tx: tx.quotas.usage("p-kitchen"))).containers == 0


async def place(world: World, ident: str) -> None:
    """What the controller does when a container of it is placed."""
    await world.store.write(lambda tx: tx.volumes.hold([tx.volumes.get(EVERYBODY, ident).id], "w-any"))
    await world.store.write(lambda tx: tx.volumes.place("w-any", NODE))
    await world.store.write(lambda tx: tx.volumes.release("w-any"))


# The noun -------------------------------------------------------------------------------------------------------------


async def test_a_volume_from_its_creation_to_its_end(world: World) -> None:
    made = (await create(world, size="3")).json()
    assert made == {
        "uuid": made["uuid"],
        "name": "data",
        "project_id": "p-kitchen",
        "size": 3,
        "status": "available",
        "status_reason": None,
        "container": "",
        "auto_remove": False,
        "host": None,
        "created_at": "2026-01-31T12:00:00",
    }
    assert await listed(world) == [made]
    for ident in ("data", made["uuid"]):
        assert (await world.call("GET", f"{URL}/{ident}")).json() == made
    answer = await world.call("DELETE", f"{URL}/data")
    assert answer.status_code == 202
    assert await listed(world) == []


async def test_one_that_a_node_has_goes_when_the_node_says_so(world: World) -> None:
    made = (await create(world)).json()
    await place(world, "data")
    assert (await world.call("DELETE", f"{URL}/data")).status_code == 202
    assert "volumes" in world.hints
    [found] = await listed(world)
    assert (found["status"], found["name"]) == ("deleting", "")
    assert (await world.call("GET", f"{URL}/data")).status_code == 404
    assert (await world.call("DELETE", f"{URL}/{made['uuid']}")).status_code == 202
    assert (await create(world)).status_code == 200, "its name is free"
    assert (await post(world, [{"source": made["uuid"], "destination": "/d"}])).status_code == 404
    await world.store.write(lambda tx: tx.volumes.observe(NODE, [], {}))
    assert [v["name"] for v in await listed(world)] == ["data"]


async def test_why_one_cannot_be_removed_is_told(world: World) -> None:
    made = (await create(world)).json()
    await place(world, "data")
    await world.call("DELETE", f"{URL}/data")
    await world.store.write(lambda tx: tx.volumes.observe(NODE, [made["uuid"]], {made["uuid"]: "It is stuck."}))
    found = (await world.call("GET", f"{URL}/{made['uuid']}")).json()
    assert (found["status"], found["status_reason"]) == ("error", "It is stuck.")


async def test_only_administrators_see_hosts(world: World) -> None:
    for who in ("ann", "admin"):
        await create(world, who=who)
    ids = [v["uuid"] for who in ("ann", "admin") for v in await listed(world, who)]
    await world.store.write(lambda tx: tx.volumes.hold(ids, "w-any"))
    await world.store.write(lambda tx: tx.volumes.place("w-any", NODE))
    assert [v["host"] for v in await listed(world)] == [None]
    assert [v["host"] for v in await listed(world, "admin")] == ["rack-1"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "name"),
        ({"name": "data"}, 400, "size"),
        ({"name": "d", "size": 1}, 400, "name"),
        ({"name": "../x", "size": 1}, 400, "name"),
        ({"name": "data", "size": 0}, 400, "size"),
        ({"name": "data", "size": -1}, 400, "size"),
        ({"name": "data", "size": "1g"}, 400, "size"),
        ({"name": "data", "size": None}, 400, "size"),
        ({"name": "data", "size": 1.5}, 400, "size"),
        ({"name": "data", "size": 1025}, 400, "allowed are 1 to 1024 GiB"),
        ({"name": "data", "size": 10**8}, 400, "allowed are 1 to 1024 GiB"),
        ({"name": "data", "size": 1, "type": "ssd"}, 400, "type"),
        ({"name": "data", "size": 1001}, 403, "1000 allowed"),
        ([], 400, ""),
    ],
)
async def test_what_is_refused_makes_nothing(world: World, body: Any, status: int, words: str) -> None:
    answer = await world.call("POST", URL, json=body)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["errors"][0]["title"]
    assert await listed(world) == []


async def test_a_name_is_taken_once_a_project(world: World) -> None:
    assert (await create(world)).status_code == 200
    assert (await create(world)).status_code == 409
    assert (await create(world, who="bob")).status_code == 200


async def test_it_grows_but_does_not_shrink(world: World) -> None:
    await create(world, size=2)
    for size, status in ((3, 200), ("4", 200), (4, 200), (3, 400), (0, 400), (1025, 400), (1001, 403)):
        assert (await world.call("PATCH", f"{URL}/data", json={"size": size})).status_code == status, size
    assert [v["size"] for v in await listed(world)] == [4]
    assert (await world.call("PATCH", f"{URL}/none", json={"size": 3})).status_code == 404
    await post(world, [{"source": "data", "destination": "/d"}])
    answer = await world.call("PATCH", f"{URL}/data", json={"size": 5})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, "container.volume-in-use")


async def test_another_projects_volumes_do_not_exist(world: World) -> None:
    made = (await create(world)).json()
    for ident in ("data", made["uuid"]):
        for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"size": 3})):
            assert (await world.call(method, f"{URL}/{ident}", json=body, who="bob")).status_code == 404
        answer = await post(world, [{"source": ident, "destination": "/d"}], who="bob")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, "container.volume-not-found")
    assert await listed(world, "bob") == []
    assert len(await listed(world)) == 1


async def test_a_project_has_so_many_and_so_much(world: World, tmp_path: Any) -> None:
    (tmp_path / "other").mkdir()
    settings = Settings(volumes=VolumeSettings(project_volumes=2, project_gigabytes=5, maximum_size=10))
    async with open_world(tmp_path / "other", settings) as small:
        assert (await create(small, size=6)).status_code == 403
        assert (await create(small, size=3)).status_code == 200
        answer = await post(small, [{"size": 2, "destination": "/a"}, {"size": 1, "destination": "/b"}])
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (403, "container.over-quota")
        await nothing_is_there(small)
        assert (await post(small, [{"size": 2, "destination": "/a"}])).status_code == 202
        assert (await create(small, "more")).status_code == 403
        assert (await create(small, size=5, who="bob")).status_code == 200


# Mounts ---------------------------------------------------------------------------------------------------------------


async def test_a_container_holds_its_volume(world: World) -> None:
    made = (await create(world)).json()
    container = (await post(world, [{"source": "data", "destination": "//mnt/data/"}])).json()
    found = (await world.call("GET", f"{URL}/data")).json()
    assert (found["status"], found["container"]) == ("in-use", container["uuid"])
    [mount] = (await world.stored(container["uuid"])).spec.containers[0].mounts
    assert (mount.destination, mount.volume, mount.read_only) == ("/mnt/data", made["uuid"], False)
    answer = await world.call("DELETE", f"{URL}/data")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, "container.volume-in-use")
    for ident in ("data", made["uuid"]):
        answer = await post(world, [{"source": ident, "destination": "/d"}])
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "container.volume-in-use")


async def test_a_volume_by_size_is_made_with_its_container(world: World) -> None:
    container = (await post(world, [{"size": "2", "destination": "/data", "type": "volume"}])).json()
    [found] = await listed(world)
    assert (found["name"], found["size"], found["container"], found["auto_remove"]) == ("", 2, container["uuid"], True)


async def test_a_file_is_kept_apart(world: World) -> None:
    source = base64.b64encode(b"\0words").decode()
    container = (await post(world, [{"type": "bind", "source": source, "destination": "/conf"}])).json()
    stored = await world.stored(container["uuid"])
    [mount] = stored.spec.containers[0].mounts
    assert mount.read_only
    assert await world.store.read(lambda tx: tx.volumes.files(stored.id)) == {mount.file: b"\0words"}
    assert source not in (await world.call("GET", f"/v1/containers/{stored.id}")).text
    assert source not in repr(stored)


B64 = base64.b64encode(b"hi").decode()
BAD: list[tuple[Any, int, str, str]] = [
    ([{"source": "none", "destination": "/d"}], 404, "volume-not-found", "none"),
    ([{"source": "used", "destination": "/d"}], 400, "volume-in-use", "used"),
    ([{"size": 1, "destination": "/a"}, {"source": "none", "destination": "/d"}], 404, "volume-not-found", "none"),
    ([{"size": 1, "destination": "d"}], 400, "schema-validation-error", "mounts[0].destination: expected an absolute"),
    ([{"size": 1, "destination": "/"}], 400, "schema-validation-error", "mounts[0].destination"),
    ([{"size": 1, "destination": "/a/../.."}], 400, "schema-validation-error", "'..'"),
    ([{"size": 1, "destination": "/a\n"}], 400, "schema-validation-error", "control"),
    ([{"size": 1, "destination": "/proc/self"}], 400, "schema-validation-error", "/proc"),
    ([{"size": 1, "destination": ""}], 400, "schema-validation-error", "destination"),
    ([{"size": 1, "destination": "/" + "x/" * 200}], 400, "schema-validation-error", "destination"),
    ([{"size": 1}], 400, "schema-validation-error", "destination"),
    ([{"destination": "/d"}], 400, "schema-validation-error", "exactly one of source"),
    ([{"destination": "/d", "size": 1, "source": "v"}], 400, "schema-validation-error", "exactly one of source"),
    ([{"destination": "/d", "size": 0}], 400, "volume-create-failed", "allowed are 1 to"),
    ([{"destination": "/d", "size": 2000}], 400, "volume-create-failed", "allowed are 1 to"),
    ([{"destination": "/d", "size": 10**18}], 400, "volume-create-failed", "allowed are 1 to"),
    ([{"destination": "/d", "size": "x"}], 400, "schema-validation-error", "size"),
    ([{"destination": "/d", "size": 1, "type": "nfs"}], 400, "schema-validation-error", "type"),
    ([{"destination": "/d", "size": 1, "fstype": "xfs"}], 400, "schema-validation-error", "fstype"),
    ([{"destination": "/d", "size": 1, "read_only": "maybe"}], 400, "schema-validation-error", "read_only"),
    ([{"destination": "/d", "size": 1}] * 2, 400, "schema-validation-error", "two mounts"),
    ([{"destination": "/d", "type": "bind", "source": "x y"}], 400, "schema-validation-error", "base64"),
    ([{"destination": "/d", "type": "bind"}], 400, "schema-validation-error", "source"),
    ([{"destination": "/d", "type": "bind", "source": "A" * 400_000}], 400, "schema-validation-error", "too large"),
    (
        [{"destination": "/d", "type": "bind", "source": B64}, {"destination": "/d/e", "size": 1}],
        *(400, "schema-validation-error", "is a file"),
    ),
    ([{"destination": f"/{n}", "size": 1} for n in range(65)], 400, "schema-validation-error", "mounts"),
    ([{"destination": f"/{n}", "size": 600} for n in range(2)], 403, "over-quota", "1000 allowed"),
    ({"destination": "/d", "size": 1}, 400, "schema-validation-error", "mounts"),
    ("data", 400, "schema-validation-error", "mounts"),
]


@pytest.mark.parametrize(("mounts", "status", "code", "words"), BAD, ids=lambda value: str(value)[:60])
async def test_a_bad_mount_leaves_nothing(world: World, mounts: Any, status: int, code: str, words: str) -> None:
    await create(world, "used", who="ann")
    await world.store.write(lambda tx: tx.volumes.hold([tx.volumes.get(EVERYBODY, "used").id], "w-other"))
    answer = await post(world, mounts)
    assert answer.status_code == status, answer.text
    [error] = answer.json()["errors"]
    assert error["code"] == f"container.{code}"
    assert words in error["title"]
    assert len(error["title"]) < 500
    await world.store.write(lambda tx: tx.volumes.release("w-other"))
    await nothing_is_there(world)
    assert [v["name"] for v in await listed(world)] == ["used"]


@pytest.mark.parametrize(
    ("mounts", "version", "status"),
    [(None, "1.40", 202), (None, "1.1", 202), ([], "1.1", 202), ([{"size": 1, "destination": "/d"}], "1.11", 202)],
)
async def test_none_is_none_and_old_clients_have_them_too(world: World, mounts: Any, version: str, status: int) -> None:
    assert (await post(world, mounts, version=f"container {version}")).status_code == status


async def test_when_the_quota_has_no_room_no_volume_is_held(world: World) -> None:
    await create(world)
    await world.store.write(lambda tx: tx.quotas.set_limits("p-kitchen", {"containers": 0}))
    assert (await post(world, [{"source": "data", "destination": "/d"}])).status_code == 403
    await nothing_is_there(world)


async def test_of_two_projects_containers_each_holds_its_own(world: World) -> None:
    for who in ("ann", "bob"):
        await create(world, who=who)
        assert (await post(world, [{"source": "data", "destination": "/d"}], who=who)).status_code == 202
    assert [v["status"] for who in ("ann", "bob") for v in await listed(world, who)] == ["in-use", "in-use"]
