"""Showing, changing and deleting containers."""

from typing import Any

import pytest

from krater.model.assignment import ContainerState, Placement, StepEvent
from krater.model.network import Address, Nic
from krater.model.workload import Desired, Resources
from krater.store.interfaces import Workload
from tests.support.api import NODE, World


async def fill(world: World, *made: str, who: str = "ann", **body: Any) -> dict[str, str]:
    """Containers of these names, with their ids."""
    return {name: (await world.make(who, name=name, **body))["uuid"] for name in made}


# One ------------------------------------------------------------------------------------------------------------------


async def test_names_and_ids_find_a_container_in_the_callers_project(world: World) -> None:
    made = await fill(world, "web")
    for ident in ("web", made["web"]):
        assert (await world.call("GET", f"/v1/containers/{ident}")).json()["uuid"] == made["web"]
        assert (await world.call("GET", f"/v1/containers/{ident}", who="carl")).status_code == 200
        assert (await world.call("GET", f"/v1/containers/{ident}", who="bob")).status_code == 404
        assert (await world.call("GET", f"/v1/containers/{ident}", who="admin")).status_code == 200
        assert (await world.call("GET", f"/v1/containers/{ident}?all_projects=1")).status_code == 403
        assert (await world.call("GET", f"/v1/containers/{ident}?all_projects=0&x=y")).status_code == 200


async def test_a_name_that_several_have_is_a_conflict(world: World) -> None:
    await fill(world, "web")
    await fill(world, "web")
    answer = await world.call("GET", "/v1/containers/web")
    assert answer.status_code == 409
    assert answer.json()["errors"][0]["code"] == "container.conflict"


@pytest.mark.parametrize(
    "ident", ["nobody", "0f3c2f6e-0000-4000-8000-000000000000", "%00", "x" * 4000, "..%2f..", "%F0%9F%90%B3"]
)
async def test_unknown_idents(world: World, ident: str) -> None:
    answer = await world.call("GET", f"/v1/containers/{ident}")
    assert answer.status_code == 404
    assert len(answer.text) < 2000


async def test_a_container_on_a_node_shows_what_the_node_saw(world: World) -> None:
    made = await fill(world, "web")
    id = made["web"]
    await world.settle(id, command=("sh",), ports=(80, 443))
    nic = Nic("port-1", "net-1", "fa:16:3e:00:00:01", "eth0", (Address("10.66.0.9", 24, "10.66.0.1", "subnet-1"),))
    await world.store.write(lambda tx: tx.workloads.place(id, Placement(NODE, 1, (nic,))))
    world.clock.move(125)
    await world.announce()
    shown = (await world.call("GET", f"/v1/containers/{id}")).json()
    assert (shown["status"], shown["task_state"], shown["status_detail"]) == ("Running", None, "Up 2 mins")
    assert (shown["command"], shown["ports"]) == (["sh"], [80, 443])
    assert shown["addresses"] == {
        "net-1": [
            {
                "addr": "10.66.0.9",
                "version": 4,
                "port": "port-1",
                "subnet_id": "subnet-1",
                "preserve_on_delete": False,
            }
        ]
    }
    grouped = (await world.call("GET", f"/v1/containers/{id}/network_list")).json()
    assert grouped == {
        "networks": [
            {
                "net_id": "net-1",
                "port_id": "port-1",
                "fixed_ips": [{"subnet_id": "subnet-1", "version": 4, "ip_address": "10.66.0.9"}],
            }
        ]
    }
    flat = (await world.call("GET", f"/v1/containers/{id}/network_list", version="container 1.13")).json()
    assert flat["networks"][0] == {
        "net_id": "net-1",
        "port_id": "port-1",
        "subnet_id": "subnet-1",
        "version": 4,
        "ip_address": "10.66.0.9",
    }


async def test_words_of_age_are_never_stale(world: World) -> None:
    id = (await world.running())["uuid"]

    async def shown() -> str:
        await world.announce()
        detail: str = (await world.call("GET", f"/v1/containers/{id}")).json()["status_detail"]
        assert (await world.call("GET", "/v1/containers")).json()["containers"][0]["status_detail"] == detail
        return detail

    found = []
    for step in (0, 1, 58, 1, 59, 1, 3600, 86400):
        world.clock.move(step)
        found.append(await shown())
    assert found == [
        "Up 0 seconds",
        "Up 1 seconds",
        "Up 59 seconds",
        "Up 1 mins",
        "Up 1 mins",
        "Up 2 mins",
        "Up 1 hours",
        "Up 1 days",
    ]


async def test_a_node_that_is_silent_makes_its_containers_unknown(world: World) -> None:
    id = (await world.running())["uuid"]
    world.clock.move(3600)
    shown = (await world.call("GET", f"/v1/containers/{id}")).json()
    assert shown["status"] == "Unknown"
    assert "does not report" in shown["status_reason"]


# Changes --------------------------------------------------------------------------------------------------------------


async def patch(world: World, id: str, body: Any, **more: Any) -> Any:
    return await world.call("PATCH", f"/v1/containers/{id}", json=body, **more)


async def test_an_update_is_shown_stored_and_charged(world: World) -> None:
    id = (await world.running(cpu=0.1, memory=100))["uuid"]
    answer = await patch(world, id, {"cpu": 0.2, "memory": 200, "name": "other", "auto_heal": "true"})
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert (shown["cpu"], shown["memory"], shown["name"], shown["auto_heal"]) == (0.2, "200", "other", True)
    stored = await world.stored(id)
    assert (stored.intent.generation, stored.spec.containers[0].name) == (2, "other")
    usage = await world.store.read(lambda tx: tx.quotas.usage("p-kitchen"))
    assert (usage.containers, round(usage.cpu, 3), usage.memory) == (1, 0.2, 200)


@pytest.mark.parametrize("body", [{}, None, {"name": None, "cpu": None, "memory": None, "auto_heal": None}])
async def test_an_empty_update_changes_nothing(world: World, body: Any) -> None:
    id = (await world.running())["uuid"]
    answer = await patch(world, id, body) if body is not None else await world.call("PATCH", f"/v1/containers/{id}")
    assert answer.status_code == 200, answer.text
    assert (await world.stored(id)).intent.generation == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"colour": 1}, 400, "schema-validation-error"),
        ({"cpu": 99}, 400, "schema-validation-error"),
        ({"memory": "x"}, 400, "schema-validation-error"),
        ({"name": "a/b"}, 400, "schema-validation-error"),
        ({"image": "alpine"}, 400, "schema-validation-error"),
    ],
)
async def test_bad_updates(world: World, body: Any, status: int, code: str) -> None:
    id = (await world.running())["uuid"]
    answer = await patch(world, id, body)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (status, f"container.{code}")


async def test_an_update_cannot_go_beyond_the_quota(world: World) -> None:
    id = (await world.running(cpu=10))["uuid"]
    await world.running(cpu=8)
    assert (await patch(world, id, {"cpu": 13})).status_code == 403
    assert (await patch(world, id, {"cpu": 1})).status_code == 200


async def claimed(world: World) -> int:
    """MiB of memory that are promised on the node."""
    [capacity] = await world.store.read(lambda tx: tx.allocations.capacities())
    return capacity.used.memory


async def test_nobody_grows_beyond_what_the_node_has(world: World) -> None:
    """16384 MiB, times 1.5, less what it keeps for itself."""
    one, two = [(await world.running(memory=64, name=name))["uuid"] for name in ("one", "two")]
    await world.store.write(lambda tx: tx.allocations.claim("others", NODE, Resources(0.1, 15_000), (16.0, 1.5, 512)))
    assert (await patch(world, one, {"memory": 8192})).status_code == 200
    before = await world.stored(two)
    refused = await world.call("POST", f"/v1/containers/{two}/resize_container", json={"memory": 8192})
    assert refused.status_code == 409, refused.text
    assert "no room" in refused.json()["errors"][0]["title"]
    assert await world.stored(two) == before
    assert await claimed(world) == 15_000 + 8192
    usage = await world.store.read(lambda tx: tx.quotas.usage("p-kitchen"))
    assert usage.memory == 8192 + 64
    assert (await patch(world, one, {"memory": 64})).status_code == 200
    assert (await patch(world, two, {"memory": 8192, "cpu": 0.5})).status_code == 200
    assert await claimed(world) == 15_000 + 8192 + 64


async def test_resize_container_answers_with_what_was(world: World) -> None:
    id = (await world.running(cpu=0.1))["uuid"]
    answer = await world.call("POST", f"/v1/containers/{id}/resize_container", json={"cpu": 0.5})
    assert (answer.status_code, answer.json()["cpu"]) == (202, 0.1)
    assert (await world.stored(id)).spec.resources.cpu == 0.5


@pytest.mark.parametrize("how", ["query", "body"])
async def test_rename_up_to_1_13(world: World, how: str) -> None:
    id = (await world.running(name="old"))["uuid"]
    more: dict[str, Any] = {"params": {"name": "new"}} if how == "query" else {"json": {"name": "new"}}
    answer = await world.call("POST", f"/v1/containers/{id}/rename", version="container 1.13", **more)
    assert (answer.status_code, answer.json()["name"]) == (200, "new")
    again = await world.call("POST", f"/v1/containers/{id}/rename", version="container 1.13", **more)
    assert again.status_code == 409
    bare = await world.call("POST", f"/v1/containers/{id}/rename", version="container 1.13")
    assert bare.status_code == 400


# Deleting -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "query", "who", "expected"),
    [
        ("Created", "", "ann", 204),
        ("Stopped", "", "ann", 204),
        ("Error", "", "ann", 204),
        ("Running", "", "ann", 409),
        ("Creating", "", "ann", 409),
        ("Paused", "", "ann", 409),
        ("Running", "force=False&stop=False&all_projects=False", "ann", 409),
        ("Running", "stop=true", "ann", 204),
        ("Paused", "stop=true", "ann", 204),
        ("Creating", "stop=true", "ann", 204),
        ("Restarting", "stop=true", "ann", 204),
        ("Deleting", "stop=true", "ann", 409),
        ("Running", "force=true", "ann", 403),
        ("Running", "force=true&stop=true", "ann", 204),
        ("Running", "all_projects=true", "ann", 403),
        ("Running", "force=maybe", "ann", 400),
        ("Running", "colour=red", "ann", 400),
        ("Running", "force=true", "admin", 204),
        ("Creating", "force=true", "admin", 204),
        ("Unknown", "force=true", "admin", 204),
        ("Deleting", "force=true", "admin", 204),
        ("Paused", "force=true", "admin", 409),
        ("Running", "stop=True&all_projects=True", "admin", 204),
        ("Stopped", "", "bob", 404),
    ],
)
async def test_deleting(world: World, status: str, query: str, who: str, expected: int) -> None:
    id = await world.into(status)
    before = (await world.stored(id)).intent.generation
    answer = await world.call("DELETE", f"/v1/containers/{id}?{query}", who=who)
    assert answer.status_code == expected, answer.text
    after = (await world.stored(id)).intent
    if expected == 204:
        assert answer.content == b""
        assert answer.headers["openstack-api-version"] == "container 1.40"
        assert (after.desired, after.generation) == (Desired.REMOVED, before + 1)
        assert after.grace == (10.0 if "stop" in query else 0.0)
    else:
        assert after.generation == before


@pytest.mark.parametrize(
    ("query", "version", "status"),
    [("force=1", "1.6", 400), ("force=1", "1.7", 403), ("stop=1", "1.11", 400), ("stop=1", "1.12", 204)],
)
async def test_deleting_by_version(world: World, query: str, version: str, status: int) -> None:
    id = (await world.running())["uuid"]
    answer = await world.call("DELETE", f"/v1/containers/{id}?{query}", version=f"container {version}")
    assert answer.status_code == status


async def test_the_history_outlives_the_container_and_its_owner_only_finds_it(world: World) -> None:
    id = await world.into("Stopped")
    await world.call("DELETE", f"/v1/containers/{id}")
    await world.store.write(lambda tx: tx.workloads.delete(id))
    listed = await world.call("GET", f"/v1/containers/{id}/container_actions")
    assert [a["action"] for a in listed.json()["containerActions"]] == ["delete", "create"]
    assert (await world.call("GET", f"/v1/containers/{id}/container_actions", who="bob")).status_code == 404
    assert (await world.call("GET", f"/v1/containers/{id}/container_actions", who="admin")).status_code == 200


async def test_events_show_their_errors_to_admins_only(world: World) -> None:
    answer = await world.call("POST", "/v1/containers", json={"image": "busybox"})
    id, request = answer.json()["uuid"], answer.headers["x-openstack-request-id"]
    event = StepEvent("pull", world.clock(), world.clock(), "no route to registry")
    await world.store.write(lambda tx: tx.actions.add_events(id, 1, [event]))
    url = f"/v1/containers/{id}/container_actions/{request}"
    for who, text in (("ann", None), ("admin", "no route to registry")):
        shown = (await world.call("GET", url, who=who)).json()
        assert list(shown)[-1] == "events"
        assert shown["events"] == [
            {
                "event": "pull",
                "start_time": "2026-01-31T12:00:00",
                "finish_time": "2026-01-31T12:00:00",
                "result": "Error",
                "traceback": text,
            }
        ]
    missing = await world.call("GET", f"/v1/containers/{id}/container_actions/req-none")
    assert (missing.status_code, missing.json()["errors"][0]["code"]) == (404, "container.resource-not-found")


async def test_a_refusal_of_the_controller_is_the_reason_shown(world: World) -> None:
    id = (await world.make())["uuid"]
    refused = Placement(None, 0, (), "There are not enough hosts available.", generation=1)

    def refuse(tx: Any) -> Workload:
        stored: Workload = tx.workloads.place(id, refused)
        return stored

    await world.store.write(refuse)
    shown = (await world.call("GET", f"/v1/containers/{id}")).json()
    assert (shown["status"], shown["status_reason"]) == ("Error", "There are not enough hosts available.")


async def test_a_crash_of_the_process_is_told(world: World) -> None:
    id = (await world.make())["uuid"]
    await world.settle(id, state=ContainerState.EXITED, exit_code=137, oom_killed=True, finished_at=world.clock())
    world.clock.move(61)
    await world.announce()
    shown = (await world.call("GET", f"/v1/containers/{id}")).json()
    assert shown["status_detail"] == "Exited(137) 1 mins ago "
    assert "memory" in shown["status_reason"]
