"""Quotas, their classes, and the one count of what there is."""

import asyncio
import random
from typing import Any

import pytest

from krater.model.quota import Limits, Usage
from krater.store.interfaces import EVERYBODY, Page, WorkloadQuery
from tests.support.api import World

DEFAULTS = {"containers": 40, "memory": 51200, "disk": 100, "cpu": 20}
FREE = Limits(-1, -1, -1, -1)
OWN = "/v1/quotas/p-kitchen"


async def admin(world: World, method: str, path: str, **more: Any) -> Any:
    return await world.call(method, path, who="admin", **more)


async def test_limits_are_set_shown_and_taken_back(world: World) -> None:
    assert (await world.call("GET", OWN)).json() == DEFAULTS
    answer = await admin(world, "PUT", OWN, json={"containers": 5, "cpu": "7"})
    assert (answer.status_code, answer.json()) == (200, {**DEFAULTS, "containers": 5, "cpu": 7})
    answer = await admin(world, "PUT", f"{OWN}?memory=-1")
    assert answer.json() == {**DEFAULTS, "containers": 5, "cpu": 7, "memory": -1}
    assert (await world.call("GET", OWN)).json() == answer.json()
    assert (await admin(world, "PUT", OWN)).json() == answer.json()
    assert (await world.call("GET", f"{OWN}/defaults")).json() == DEFAULTS
    gone = await admin(world, "DELETE", OWN)
    assert (gone.status_code, gone.content) == (200, b"null")
    assert (await world.call("GET", OWN)).json() == DEFAULTS


@pytest.mark.parametrize("value", ["true", "False", "", "0"])
async def test_usages_whatever_the_value(world: World, value: str) -> None:
    await world.make(cpu=0.5, memory=128, disk=3)
    shown = (await world.call("GET", f"{OWN}?usages={value}")).json()
    assert shown == {
        "containers": {"limit": 40, "in_use": 1},
        "memory": {"limit": 51200, "in_use": 128},
        "disk": {"limit": 100, "in_use": 3},
        "cpu": {"limit": 20, "in_use": 0.5},
    }


async def test_the_class_default_is_over_the_settings_and_a_projects_own_over_that(world: World) -> None:
    assert (await admin(world, "GET", "/v1/quota_classes/default")).json() == DEFAULTS
    answer = await admin(world, "PUT", "/v1/quota_classes/default", json={"containers": 3, "disk": 9})
    assert answer.json() == {**DEFAULTS, "containers": 3, "disk": 9}
    assert (await world.call("GET", f"{OWN}/defaults")).json() == answer.json()
    assert (await world.call("GET", OWN)).json() == answer.json()
    await admin(world, "PUT", OWN, json={"disk": 50})
    assert (await world.call("GET", OWN)).json() == {**DEFAULTS, "containers": 3, "disk": 50}
    other = await admin(world, "PUT", "/v1/quota_classes/gold", json={"containers": 99})
    assert other.json() == {**DEFAULTS, "containers": 99}
    assert (await world.call("GET", OWN)).json()["containers"] == 3
    for _ in range(3):
        await world.make()
    assert (await world.call("POST", "/v1/containers", json={"image": "busybox"})).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {"containers": -2},
        {"containers": "-2"},
        {"containers": "many"},
        {"containers": ""},
        {"containers": 1.5},
        {"containers": True},
        {"containers": [1]},
        {"containers": 10**30},
        {"containers": "9" * 30},
        {"volumes": 3},
        {"containers": 3, "colour": 1},
    ],
)
@pytest.mark.parametrize("path", [OWN, "/v1/quota_classes/default"])
async def test_bad_limits_change_nothing(world: World, path: str, body: dict[str, Any]) -> None:
    answer = await admin(world, "PUT", path, json=body)
    assert answer.status_code == 400, answer.text
    assert (await admin(world, "GET", path)).json() == DEFAULTS


@pytest.mark.parametrize(
    ("method", "path", "who", "status"),
    [
        ("GET", OWN, "bob", 403),
        ("GET", OWN, "reader", 200),
        ("GET", OWN, "admin", 200),
        ("GET", f"{OWN}/defaults", "bob", 403),
        ("PUT", OWN, "ann", 403),
        ("DELETE", OWN, "ann", 403),
        ("GET", "/v1/quota_classes/default", "ann", 403),
        ("PUT", "/v1/quota_classes/default", "ann", 403),
        ("GET", "/v1/quotas/kitchen", "ann", 200),
        ("GET", "/v1/quotas/~", "ann", 200),
        ("GET", "/v1/quotas", "admin", 404),
        ("GET", "/v1/quotas/" + "x" * 65, "admin", 400),
        ("GET", "/v1/quota_classes/" + "x" * 256, "admin", 400),
        ("POST", OWN, "admin", 405),
        ("DELETE", "/v1/quota_classes/default", "admin", 405),
    ],
)
async def test_who_may(world: World, method: str, path: str, who: str, status: int) -> None:
    assert (await world.call(method, path, who=who)).status_code == status


async def test_limits_below_what_there_is_take_nothing_away(world: World) -> None:
    made = await world.running(memory=512)
    await admin(world, "PUT", OWN, json={"memory": 100, "containers": 0})
    assert (await world.call("GET", f"/v1/containers/{made['uuid']}")).status_code == 200
    assert (await world.call("PATCH", f"/v1/containers/{made['uuid']}", json={"memory": 256})).status_code == 200
    assert (await world.call("PATCH", f"/v1/containers/{made['uuid']}", json={"memory": 257})).status_code == 403
    assert (await world.call("GET", f"{OWN}?usages=1")).json()["memory"] == {"limit": 100, "in_use": 256}


async def test_fifty_at_once_against_ten_are_exactly_ten(world: World) -> None:
    await admin(world, "PUT", OWN, json={"containers": 10})
    asked = [world.call("POST", "/v1/containers", json={"image": "busybox", "memory": 4}) for _ in range(50)]
    statuses = sorted(answer.status_code for answer in await asyncio.gather(*asked))
    assert statuses == [202] * 10 + [403] * 40
    assert await usage(world) == await counted(world)


async def test_fifty_at_once_while_others_go_never_pass_the_limit(world: World) -> None:
    await admin(world, "PUT", OWN, json={"containers": 10})
    first = [(await world.make(memory=4))["uuid"] for _ in range(10)]

    async def remove(id: str) -> None:
        await forget(world, id)
        assert (await usage(world)).containers <= 10

    asked = [world.call("POST", "/v1/containers", json={"image": "busybox", "memory": 4}) for _ in range(50)]
    answers = await asyncio.gather(*asked, *(remove(id) for id in first))
    good = [answer for answer in answers if answer is not None and answer.status_code == 202]
    assert len(good) <= 10
    for _ in range(10 - len(good)):
        await world.make(memory=4)
    assert (await world.call("POST", "/v1/containers", json={"image": "busybox"})).status_code == 403
    assert await usage(world) == await counted(world)


@pytest.mark.parametrize("seed", range(4))
async def test_usage_is_always_the_sum_of_what_there_is(world: World, seed: int) -> None:
    """A random life: creates, changes, refusals, removals."""
    chance = random.Random(seed)
    await admin(world, "PUT", OWN, json={"containers": 6, "memory": 600, "cpu": 3, "disk": 8})
    ids: list[str] = []
    for _ in range(60):
        memory, cpu = chance.choice((4, 64, 300)), chance.choice((0.1, 0.25, 1.7))
        match chance.choice(("create", "create", "update", "resize", "remove")):
            case "create":
                body = {"image": "busybox", "memory": memory, "cpu": cpu, "disk": chance.choice((1, 5))}
                answer = await world.call("POST", "/v1/containers", json=body)
                assert answer.status_code in (202, 403)
                if answer.status_code == 202:
                    ids.append(answer.json()["uuid"])
                    await world.settle(ids[-1])
            case "update" if ids:
                await world.call("PATCH", f"/v1/containers/{chance.choice(ids)}", json={"memory": memory, "cpu": cpu})
            case "resize" if ids:
                path = f"/v1/containers/{chance.choice(ids)}/resize_container"
                await world.call("POST", path, json={"memory": memory})
            case "remove" if ids:
                await forget(world, ids.pop(chance.randrange(len(ids))))
        assert await usage(world) == await counted(world)


async def forget(world: World, id: str) -> None:
    """As the controller does, when the node has nothing of it any more."""

    def see_off(tx: Any) -> None:
        resources = tx.workloads.get(EVERYBODY, id).spec.resources
        less = Usage(-1, -resources.cpu, -resources.memory, -resources.disk)
        tx.quotas.charge("p-kitchen", less, FREE)
        tx.workloads.delete(id)

    await world.store.write(see_off)


async def usage(world: World) -> Usage:
    return await world.store.read(lambda tx: tx.quotas.usage("p-kitchen"))


async def counted(world: World) -> Usage:
    rows = await world.store.read(lambda tx: tx.workloads.find(EVERYBODY, WorkloadQuery(), Page(1000)))
    own = [row.spec.resources for row in rows if row.project_id == "p-kitchen"]
    cpu = round(sum(r.cpu for r in own), 6)
    return Usage(len(own), cpu, sum(r.memory for r in own), sum(r.disk for r in own))
