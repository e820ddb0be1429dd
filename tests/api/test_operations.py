"""Operations on containers: which state allows which, and what each writes down."""

from typing import Any

import pytest

from krater.model.operations import ALLOWED
from krater.model.workload import Desired
from tests.support.api import World

STATES = (
    *("Created", "Running", "Stopped", "Paused", "Error", "Unknown"),
    *("Creating", "Restarting", "Rebuilding", "Deleting"),
)
OPERATIONS = ("start", "stop", "reboot", "rebuild", "pause", "unpause", "kill")


async def act(world: World, id: str, action: str, query: str = "", **more: Any) -> Any:
    return await world.call("POST", f"/v1/containers/{id}/{action}{query}", **more)


@pytest.mark.parametrize("status", STATES)
async def test_each_state_allows_what_the_table_says(world: World, status: str) -> None:
    for operation in OPERATIONS:
        id = await world.into(status)
        before = (await world.stored(id)).intent
        answer = await act(world, id, operation)
        if status in ALLOWED[operation]:
            assert (answer.status_code, answer.content) == (202, b"null"), (operation, answer.text)
            assert (await world.stored(id)).intent.generation == before.generation + 1
        else:
            assert answer.status_code == 409, operation
            [error] = answer.json()["errors"]
            assert error["code"] == "container.invalid-state-exception"
            assert error["title"] == f"Cannot {operation} container {id} in {status} state."
            assert (await world.stored(id)).intent == before
        await world.store.write(lambda tx: tx.nodes.set_forced_down("rack-1", False))
        await world.call("PATCH", f"/v1/containers/{id}", json={})
        await world.store.write(lambda tx, id=id: tx.workloads.delete(id))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("status", "action", "query", "desired", "run", "rebuild", "grace"),
    [
        ("Created", "start", "", Desired.RUNNING, 1, 0, None),
        ("Stopped", "start", "", Desired.RUNNING, 2, 0, None),
        ("Running", "stop", "", Desired.STOPPED, 1, 0, 10.0),
        ("Running", "stop", "?timeout=3", Desired.STOPPED, 1, 0, 3.0),
        ("Running", "stop", "?timeout=", Desired.STOPPED, 1, 0, 10.0),
        ("Running", "reboot", "?timeout=0", Desired.RUNNING, 2, 0, 0.0),
        ("Created", "reboot", "", Desired.RUNNING, 1, 0, 10.0),
        ("Running", "rebuild", "", Desired.RUNNING, 2, 1, 0.0),
        ("Stopped", "rebuild", "", Desired.CREATED, 1, 1, 0.0),
        ("Running", "pause", "", Desired.PAUSED, 1, 0, None),
        ("Paused", "unpause", "", Desired.RUNNING, 1, 0, None),
        ("Running", "kill", "", Desired.STOPPED, 1, 0, 0.0),
        ("Running", "kill", "?signal=None", Desired.STOPPED, 1, 0, 0.0),
        ("Running", "kill", "?signal=9", Desired.STOPPED, 1, 0, 0.0),
        ("Running", "kill", "?signal=kill", Desired.STOPPED, 1, 0, 0.0),
    ],
)
async def test_what_each_operation_writes_down(
    world: World, status: str, action: str, query: str, desired: Desired, run: int, rebuild: int, grace: float | None
) -> None:
    id = await world.into(status)
    answer = await act(world, id, action, query)
    assert answer.status_code == 202, answer.text
    intent = (await world.stored(id)).intent
    assert (intent.desired, intent.run, intent.rebuild) == (desired, run, rebuild)
    if grace is not None:
        assert intent.grace == grace
    newest = (await world.call("GET", f"/v1/containers/{id}/container_actions")).json()["containerActions"][0]
    assert newest["action"] == action
    assert newest["request_id"] == answer.headers["x-openstack-request-id"]
    assert (newest["user_id"], newest["finish_time"]) == ("u-ann", None)
    assert world.hints[-1] == id


@pytest.mark.parametrize(
    ("action", "query"),
    [
        ("stop", "?timeout=None"),
        ("stop", "?timeout=-1"),
        ("stop", "?timeout=1.5"),
        ("stop", "?timeout=1&timeout=2"),
        ("reboot", "?timeout=soon"),
        ("rebuild", "?image_driver=podman"),
        ("rebuild", "?image=Not%20An%20Image"),
        ("rebuild", "?image=x"),
        ("kill", "?signal=SIGNONSENSE"),
        ("kill", "?signal=999"),
        ("kill", "?signal=0"),
    ],
)
async def test_bad_arguments(world: World, action: str, query: str) -> None:
    id = (await world.running())["uuid"]
    answer = await act(world, id, action, query)
    assert answer.status_code == 400, answer.text
    assert (await world.stored(id)).intent.generation == 1


@pytest.mark.parametrize("signal", [9, None, True, "x" * 100])
async def test_a_signal_in_a_body_is_a_string(world: World, signal: Any) -> None:
    id = (await world.running())["uuid"]
    assert (await act(world, id, "kill", json={"signal": signal})).status_code == 400


async def test_an_argument_comes_once(world: World) -> None:
    id = (await world.running())["uuid"]
    answer = await act(world, id, "kill", "?signal=KILL", json={"signal": "KILL"})
    assert answer.status_code == 400
    assert "signal" in answer.json()["errors"][0]["title"]


async def test_rebuild_takes_another_image(world: World) -> None:
    id = (await world.running())["uuid"]
    assert (await act(world, id, "rebuild", json={"image": "alpine:3.20"})).status_code == 202
    shown = (await world.call("GET", f"/v1/containers/{id}")).json()
    assert (shown["image"], shown["status"]) == ("alpine:3.20", "Rebuilding")
    await world.settle(id)
    glance = await act(world, id, "rebuild", "?image=nothing&image_driver=glance")
    assert (glance.status_code, glance.json()["errors"][0]["code"]) == (400, "container.image-not-found")


async def test_what_an_operation_does_not_know_is_ignored(world: World) -> None:
    id = await world.into("Stopped")
    assert (await act(world, id, "start", "?colour=red", json={"x": 1})).status_code == 202


async def test_operations_find_containers_by_name(world: World) -> None:
    await world.running(name="web")
    assert (await act(world, "web", "stop")).status_code == 202
    assert (await act(world, "web", "stop", who="bob")).status_code == 404


async def test_two_requests_at_once_are_one_after_the_other(world: World) -> None:
    import asyncio

    id = (await world.running())["uuid"]
    answers = await asyncio.gather(*(act(world, id, "reboot") for _ in range(8)))
    accepted = [answer for answer in answers if answer.status_code == 202]
    intent = (await world.stored(id)).intent
    assert intent.generation == 1 + len(accepted)
    assert {answer.status_code for answer in answers} <= {202, 409}
