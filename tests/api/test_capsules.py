"""Capsules: both shapes, lists, every status code, and what becomes of them."""

from dataclasses import replace
from typing import Any

import pytest

from krater.model.assignment import ContainerState
from krater.model.workload import Desired, MemberIntent
from krater.store.interfaces import Action
from tests.support.api import HOST, World
from tests.support.capsules import URL, code_of, make, post, running, settle, shown, stored
from tests.support.templates import member, template

pytestmark = pytest.mark.thorough

NOBODY = "00000000-0000-4000-8000-000000000000"
OLD, NEW = "container 1.31", "container 1.32"
FIRST = ["uuid", "links", "user_id", "project_id"]
LATER = ["annotations", "addresses", "restart_policy", "created_at", "updated_at", "containers", "init_containers"]
OWN = ["hostname", "volumes", "security_groups", "grace", "auto_heal"]
STATE = ["cpu", "memory", "status", "status_reason"]
KEYS = [*FIRST, "name", *STATE, "labels", *LATER, *OWN]
CONSTANT = {"volumes_info": {}, "containers_uuids": [], "init_containers_uuids": [], "capsule_version": ""}
OLD_KEYS = [*FIRST, "meta_name", *STATE, "meta_labels", *LATER, *CONSTANT, *OWN]
MEMBER_KEYS = [
    *("uuid", "user_id", "project_id", "name", "image", "command", "entrypoint", "status", "status_reason"),
    *("task_state", "status_detail", "cpu", "cpu_policy", "memory", "disk", "environment", "labels", "workdir"),
    *("hostname", "ports", "addresses", "restart_policy", "interactive", "tty", "auto_remove", "auto_heal"),
    *("image_driver", "security_groups", "healthcheck", "registry_id", "created_at", "updated_at"),
    *("capsule_uuid", "member_name", "role", "ready", "exit_code", "restarts"),
]


# Making and showing ---------------------------------------------------------------------------------------------------


async def test_the_least_template_is_answered_with_every_key(world: World) -> None:
    answer = await post(world, template({"image": "busybox"}, name=None))
    assert answer.status_code == 202
    made = answer.json()
    assert list(made) == KEYS
    assert answer.headers["location"] == made["links"][0]["href"] == f"http://krater.test:9517{URL}/{made['uuid']}"
    nothing = ("name", "labels", "annotations", "addresses", "status_reason", "updated_at")
    assert [made[key] for key in nothing] == [None] * len(nothing)
    assert (made["status"], made["cpu"], made["memory"]) == ("Creating", 1.0, "512")
    assert made["restart_policy"] == {"Name": "always", "MaximumRetryCount": "0"}
    assert (made["grace"], made["auto_heal"], made["volumes"], made["init_containers"]) == (10, False, [], [])
    assert made["hostname"] == made["uuid"].replace("-", "")[:12]
    [only] = made["containers"]
    assert list(only) == MEMBER_KEYS
    assert (only["cpu"], only["memory"], only["addresses"], only["ports"]) == (None, None, {}, [])
    assert only["uuid"] != only["capsule_uuid"] == made["uuid"]
    assert only["name"] == f"capsule-{made['uuid']}-{only['member_name']}"
    workload = await stored(world, made["uuid"])
    assert (workload.intent.desired, workload.intent.run) == (Desired.RUNNING, 1)
    assert world.hints == [made["uuid"]]


@pytest.mark.parametrize("version", ["container 1.1", OLD, NEW, "container 1.40"])
async def test_the_shape_changed_with_1_32(world: World, version: str) -> None:
    asked = template(metadata={"labels": {"app": "web"}, "annotations": {"by": "ann"}}, restartPolicy="OnFailure")
    made = (await post(world, asked, version=version)).json()
    one = await shown(world, made["uuid"], version=version)
    [listed] = (await world.call("GET", URL, version=version)).json()["capsules"]
    is_old = version in ("container 1.1", OLD)
    for body in (made, one, listed):
        assert list(body) == (OLD_KEYS if is_old else KEYS)
        assert body["annotations"] == {"by": "ann"}
        if is_old:
            assert (body["meta_name"], body["meta_labels"]) == ("web", {"app": "web"})
            assert body["restart_policy"] == "on-failure"
            assert {key: body[key] for key in CONSTANT} == CONSTANT
        else:
            assert (body["name"], body["labels"]) == ("web", {"app": "web"})
            assert body["restart_policy"] == {"Name": "on-failure", "MaximumRetryCount": "0"}
    assert listed == one, "items of lists are whole"
    assert (made["addresses"], one["addresses"]) == (None, {})


async def test_who_may_sees_the_host(world: World) -> None:
    id = (await running(world))["uuid"]
    assert "host" not in await shown(world, id)
    seen = await shown(world, id, who="admin")
    assert seen["host"] == HOST
    assert {"host", "image_pull_policy", "runtime", "privileged"} <= seen["containers"][0].keys()


async def test_members_tell_how_they_are(world: World) -> None:
    crew = [member("db"), member("app", dependsOn=[{"container": "db"}])]
    id = (await make(world, *crew, initContainers=[member("prepare"), member("log", restartPolicy="Always")]))["uuid"]
    await settle(world, id, app={"ready": False, "attempt": 2})
    seen = await shown(world, id)
    assert seen["status"] == "Running"
    assert seen["status_reason"] == "app: Not ready."
    facts = ("member_name", "role", "status", "ready", "exit_code", "restarts")
    assert [tuple(one[fact] for fact in facts) for one in (*seen["init_containers"], *seen["containers"])] == [
        ("prepare", "init", "Stopped", None, 0, 0),
        ("log", "sidecar", "Running", None, None, 0),
        ("db", "main", "Running", None, None, 0),
        ("app", "main", "Running", False, None, 2),
    ]
    assert [one["name"] for one in seen["containers"]] == ["capsule-web-db", "capsule-web-app"]
    assert [(one["cpu"], one["memory"]) for one in seen["containers"]] == [(0.1, "64")] * 2


@pytest.mark.parametrize("ident", ["{id}", "web"])
@pytest.mark.parametrize("prefix", ["/v1/capsules/", "/v1/capsules//", "/capsules/"])
async def test_one_is_found_by_id_and_name(world: World, ident: str, prefix: str) -> None:
    id = (await make(world))["uuid"]
    answer = await world.call("GET", prefix + ident.format(id=id))
    assert (answer.status_code, answer.json()["uuid"]) == (200, id)


async def test_a_name_that_several_have_is_a_conflict(world: World) -> None:
    for _ in range(2):
        await make(world)
    answer = await world.call("GET", f"{URL}/web")
    assert (answer.status_code, code_of(answer)) == (409, "container.conflict")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", more) for more in ("", "/container_actions", "/container_actions/req-x")),
        *(("POST", more) for more in ("/start", "/stop", "/reboot")),
        ("DELETE", ""),
    ],
)
@pytest.mark.parametrize("kind", ["nobody", "others", "container", "member"])
async def test_what_is_not_there_is_404_in_the_words_of_containers(
    world: World, method: str, path: str, kind: str
) -> None:
    made = await make(world)
    idents = {
        "nobody": NOBODY,
        "others": (await make(world, who="bob"))["uuid"],
        "container": (await world.make())["uuid"],
        "member": made["containers"][0]["uuid"],
    }
    answer = await world.call(method, f"{URL}/{idents[kind]}{path}")
    assert (answer.status_code, code_of(answer)) == (404, "container.container-not-found")
    assert answer.json()["errors"][0]["title"] == f"Container {idents[kind]} could not be found."


async def test_members_are_no_containers_and_capsules_neither(world: World) -> None:
    made = await make(world)
    assert (await world.call("GET", "/v1/containers")).json()["containers"] == []
    assert (await world.call("GET", f"/v1/containers/{made['uuid']}")).status_code == 404


@pytest.mark.parametrize(("method", "path"), [("PATCH", "/web"), ("PUT", "/web"), ("DELETE", ""), ("PATCH", "")])
async def test_methods_there_are_not(world: World, method: str, path: str) -> None:
    answer = await world.call(method, f"{URL}{path}", json={})
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET" if path else "GET, POST")


# Lists ----------------------------------------------------------------------------------------------------------------


async def names(world: World, query: str = "", **more: Any) -> list[str]:
    answer = await world.call("GET", f"{URL}{query}", **more)
    assert answer.status_code == 200, answer.text
    return [one["name"] for one in answer.json()["capsules"]]


async def test_filters(world: World) -> None:
    for name, labels in (("one", {"app": "web", "tier": "1"}), ("two", {"app": "web"}), ("three", {})):
        made = await make(world, name=name, metadata={"labels": labels})
        if name != "three":
            await settle(world, made["uuid"])
    queries = {
        "": ["one", "two", "three"],
        "?name=two": ["two"],
        "?name=two&name=three": ["two", "three"],
        "?status=Running": ["one", "two"],
        "?status=Running&status=Creating": ["one", "two", "three"],
        "?status=Deleted": [],
        "?labels=app=web": ["one", "two"],
        "?labels=app=web,tier=1": ["one"],
        "?labels=app=web&labels=tier=1": ["one"],
        "?labels=app=": [],
        "?labels=app=web&status=Creating": [],
        "?sort_key=name&sort_dir=desc": ["two", "three", "one"],
        "?sort_key=status&sort_dir=desc": ["two", "one", "three"],
        "?limit=2": ["one", "two"],
        "?whatever=1": ["one", "two", "three"],
        "?all_projects=true": ["one", "two", "three"],
    }
    await make(world, name="theirs", who="bob")
    for query, expected in queries.items():
        assert await names(world, query) == expected, query
    assert await names(world, "?all_projects=yes", who="admin") == ["one", "two", "three", "theirs"]
    assert await names(world, who="admin") == []


async def test_pages_carry_their_filters(world: World) -> None:
    for name in ("one", "two", "three"):
        await make(world, name=name, metadata={"labels": {"app": "web"}})
    await make(world, name="other")
    path, seen = f"{URL}?labels=app=web&limit=2", []
    for _ in range(2):
        answer = (await world.call("GET", path)).json()
        seen += [one["name"] for one in answer["capsules"]]
        path = answer["next"] or ""
    assert (seen, path) == (["one", "two", "three"], "")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        *(("limit=0", 400), ("limit=x", 400), ("sort_dir=up", 400), ("sort_key=nothing", 400), ("labels=app", 400)),
        *(("labels==b", 400), ("all_projects=maybe", 400), (f"marker={NOBODY}", 404), ("name=a&labels=a=b", 200)),
    ],
)
async def test_what_a_list_refuses(world: World, query: str, status: int) -> None:
    assert (await world.call("GET", f"{URL}?{query}")).status_code == status


# What is done to them -------------------------------------------------------------------------------------------------

ALLOWED: dict[str, set[str]] = {
    "start": {"Stopped", "Error"},
    "stop": {"Creating", "Running", "Restarting", "Paused", "Error"},
    "reboot": {"Running", "Stopped", "Restarting", "Paused", "Error"},
}


async def into(world: World, status: str) -> str:
    """The id of a capsule of Ann's in this status."""
    id: str = (await make(world, member("app")))["uuid"]
    match status:
        case "Stopped":
            await settle(world, id)
            await world.call("POST", f"{URL}/{id}/stop")
            await settle(world, id)
        case "Error":
            await settle(world, id, failure="It broke.")
        case "Deleting":
            await world.call("DELETE", f"{URL}/{id}")
        case "Running":
            await settle(world, id)
        case "Restarting":
            await settle(world, id)
            await world.call("POST", f"{URL}/{id}/reboot")
        case "Paused":
            await settle(world, id, app={"state": ContainerState.PAUSED})
    assert (await shown(world, id))["status"] == status
    return id


@pytest.mark.parametrize("status", ["Creating", "Running", "Restarting", "Paused", "Stopped", "Error", "Deleting"])
@pytest.mark.parametrize("operation", ALLOWED)
async def test_operations_by_status(world: World, operation: str, status: str) -> None:
    id = await into(world, status)
    before = (await stored(world, id)).intent
    world.hints.clear()
    answer = await world.call("POST", f"{URL}/{id}/{operation}")
    after = (await stored(world, id)).intent
    if status not in ALLOWED[operation]:
        assert (answer.status_code, code_of(answer)) == (409, "container.invalid-state-exception")
        assert f"in {status} state" in answer.json()["errors"][0]["title"]
        assert (after, world.hints) == (before, [])
        return
    assert (answer.status_code, answer.content) == (202, b"null")
    assert (after.generation, world.hints) == (before.generation + 1, [id])
    assert after.desired is (Desired.STOPPED if operation == "stop" else Desired.RUNNING)
    assert after.run == before.run + (operation != "stop")


@pytest.mark.parametrize(
    ("query", "grace"), [("", 25.0), ("?timeout=3", 3.0), ("?timeout=", 25.0), ("?timeout=0", 0.0)]
)
@pytest.mark.parametrize("operation", ["stop", "reboot"])
async def test_processes_have_the_time_of_the_request_or_the_capsule(
    world: World, operation: str, query: str, grace: float
) -> None:
    id = (await running(world, terminationGracePeriodSeconds=25))["uuid"]
    assert (await world.call("POST", f"{URL}/{id}/{operation}{query}")).status_code == 202
    assert (await stored(world, id)).intent.grace == grace


async def test_an_impossible_timeout_is_refused(world: World) -> None:
    id = (await running(world))["uuid"]
    for wrong in ("x", "-1", "1.5", "86401", "9999999999"):
        for method, path in (("POST", "/stop"), ("POST", "/reboot"), ("DELETE", "")):
            refused = await world.call(method, f"{URL}/{id}{path}?timeout={wrong}")
            assert (refused.status_code, "timeout: " in refused.text) == (400, True)
            assert "allowed are 0 to 86400" in refused.text
    assert (await stored(world, id)).intent.desired is Desired.RUNNING
    refused = await world.call("POST", f"{URL}/{id}/reboot?timeout=86401")
    assert "timeout: 86401 is out of range; allowed are 0 to 86400 seconds" in refused.text


async def test_starting_the_whole_starts_members_that_were_stopped_alone(world: World) -> None:
    id = (await running(world, member("app"), member("db")))["uuid"]
    await world.call("POST", f"{URL}/{id}/stop")
    workload = await settle(world, id)
    app, db = (one.id for one in workload.spec.containers)
    members = {app: MemberIntent(Desired.STOPPED, run=2, grace=1.0), db: MemberIntent(Desired.STOPPED)}
    before = replace(workload.intent, generation=workload.intent.generation + 1, members=members)
    await world.store.write(lambda tx: tx.workloads.set_intent(id, before))
    await settle(world, id)
    assert (await world.call("POST", f"{URL}/{id}/start")).status_code == 202
    after = (await stored(world, id)).intent
    for one in (app, db):
        assert after.of(one).desired is Desired.RUNNING
        assert after.of(one).run == before.of(one).run + 1


async def test_a_removal_is_graceful_and_repeated_does_nothing_more(world: World) -> None:
    id = (await running(world, terminationGracePeriodSeconds=25))["uuid"]
    for _ in range(2):
        answer = await world.call("DELETE", f"{URL}/{id}")
        assert (answer.status_code, answer.content) == (204, b"")
        intent = (await stored(world, id)).intent
        assert (intent.desired, intent.grace, intent.generation) == (Desired.REMOVED, 25.0, 2)
    assert (await shown(world, id))["status"] == "Deleting"
    assert [one["action"] for one in await history(world, id)] == ["delete", "create"]


@pytest.mark.parametrize("status", ["Creating", "Running", "Stopped", "Error", "Deleting"])
async def test_a_removal_asks_for_no_state(world: World, status: str) -> None:
    id = await into(world, status)
    assert (await world.call("DELETE", f"{URL}/{id}?stop=True&force=1")).status_code == 204
    assert (await stored(world, id)).intent.desired is Desired.REMOVED


async def test_removing_in_all_projects_is_for_administrators(world: World) -> None:
    id = (await make(world))["uuid"]
    refused = await world.call("DELETE", f"{URL}/{id}?all_projects=true")
    assert (refused.status_code, code_of(refused)) == (403, "container.policy-not-authorized")
    assert "capsule:delete_all_projects" in refused.json()["errors"][0]["title"]
    assert (await world.call("DELETE", f"{URL}/{id}?all_projects=maybe")).status_code == 400
    assert (await world.call("DELETE", f"{URL}/{id}?all_projects=true", who="admin")).status_code == 204


# History --------------------------------------------------------------------------------------------------------------


async def history(world: World, id: str, **more: Any) -> list[dict[str, Any]]:
    answer = await world.call("GET", f"{URL}/{id}/container_actions", **more)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["containerActions"]
    return found


async def test_the_history_is_that_of_the_capsule_and_its_members(world: World) -> None:
    made = await running(world)
    id, of_member = made["uuid"], made["containers"][0]["uuid"]
    world.clock.move(5)
    action = Action(of_member, "stop", "req-member", "u-ann", "p-kitchen", 1, world.clock())
    await world.store.write(lambda tx: tx.actions.start(action))
    world.clock.move(5)
    asked = await world.call("POST", f"{URL}/{id}/stop")
    actions = await history(world, id)
    assert [(one["action"], one["container_uuid"]) for one in actions] == [
        ("stop", id),
        ("stop", of_member),
        ("create", id),
    ]
    for request_id, whose in (("req-member", of_member), (asked.headers["x-openstack-request-id"], id)):
        one = (await world.call("GET", f"{URL}/{id}/container_actions/{request_id}")).json()
        assert (one["container_uuid"], one["events"]) == (whose, [])
    missing = await world.call("GET", f"{URL}/{id}/container_actions/req-none")
    assert (missing.status_code, code_of(missing)) == (404, "container.resource-not-found")


async def test_the_history_outlives_the_capsule_and_stays_its_owners(world: World) -> None:
    id = (await make(world))["uuid"]
    await world.store.write(lambda tx: tx.workloads.delete(id))
    assert [one["action"] for one in await history(world, id)] == ["create"]
    assert (await world.call("GET", f"{URL}/{id}/container_actions", who="bob")).status_code == 404


async def test_a_member_that_broke_is_named(world: World) -> None:
    id = (await make(world, member("app"), restartPolicy="Never"))["uuid"]
    await settle(world, id, app={"state": ContainerState.EXITED, "exit_code": 3, "finished_at": world.clock()})
    seen = await shown(world, id)
    assert seen["status"] == "Error"
    assert seen["status_reason"].startswith("app: ")
    assert seen["containers"][0]["exit_code"] == 3
