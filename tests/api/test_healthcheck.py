"""Health checks: what may be asked for, and how they are shown."""

from typing import Any

import pytest

from krater.model.assignment import Health, HealthState
from krater.model.workload import Healthcheck
from krater.store.interfaces import EVERYBODY, Page, WorkloadQuery
from tests.support.api import World


@pytest.mark.parametrize(
    ("asked", "stored", "shown"),
    [
        (None, None, {}),
        ({}, None, {}),
        ({"cmd": None, "interval": None}, None, {}),
        ({"cmd": "true"}, Healthcheck("true"), {"test": "true"}),
        (
            {"cmd": "curl -f 'http://localhost/a b' || exit 1", "interval": 30, "timeout": 5, "retries": 3},
            Healthcheck("curl -f 'http://localhost/a b' || exit 1", 30, 5, 3),
            {"test": "curl -f 'http://localhost/a b' || exit 1", "interval": 30, "retries": 3, "timeout": 5},
        ),
        (
            {"cmd": "true", "interval": "90", "timeout": "07", "retries": "1"},
            Healthcheck("true", 90, 7, 1),
            {"test": "true", "interval": 90, "retries": 1, "timeout": 7},
        ),
        ({"cmd": "true", "interval": 0, "retries": 0, "timeout": 0}, Healthcheck("true"), {"test": "true"}),
        (
            {"cmd": "x", "interval": 86400, "timeout": 600, "retries": 1000},
            Healthcheck("x", 86400, 600, 1000),
            {"test": "x", "interval": 86400, "retries": 1000, "timeout": 600},
        ),
    ],
)
async def test_what_is_asked_for_is_stored_and_shown(
    world: World, asked: Any, stored: Healthcheck | None, shown: dict[str, Any]
) -> None:
    made = await world.make(healthcheck=asked)
    assert made["healthcheck"] == shown
    assert (await world.stored(made["uuid"])).spec.containers[0].healthcheck == stored
    listed = (await world.call("GET", "/v1/containers")).json()["containers"]
    assert [c["healthcheck"] for c in listed] == [shown]


NO_NUMBERS: tuple[Any, ...] = (-1, "-1", 1.5, "1.5", "often", "", "30s", "²", True, [5], {}, 10**30)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("true", "healthcheck: expected an object"),
        (["true"], "healthcheck: expected an object"),
        (5, "healthcheck: expected an object"),
        ({"cmd": "true", "colour": "red"}, "there is no field 'colour'"),
        ({"test": "true"}, "there is no field 'test'"),
        ({"interval": 5}, "healthcheck.cmd: expected a command line"),
        ({"cmd": ""}, "healthcheck.cmd: expected a command line"),
        ({"cmd": " \t\n"}, "healthcheck.cmd: expected a command line"),
        ({"cmd": ["true"]}, "healthcheck.cmd: expected a text of at most 65536 characters"),
        ({"cmd": "x" * 65537}, "healthcheck.cmd: expected a text of at most 65536 characters"),
        ({"cmd": "a\0b"}, "NUL"),
        *(({"cmd": "true", key: bad}, f"healthcheck.{key}: expected a whole number, or its digits")
          for key in ("interval", "timeout", "retries")
          for bad in NO_NUMBERS),
        *(({"cmd": "true", key: bad}, f"healthcheck.{key}: {bad} is out of range")
          for key, bad in (("interval", 86401), ("timeout", 601), ("retries", 1001), ("interval", 10**18))),
        ({"cmd": "true", "interval": "99999999999"}, "healthcheck.interval: 99999999999 is out of range"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
async def test_nonsense_is_refused_and_leaves_nothing(world: World, asked: Any, words: str) -> None:
    answer = await world.call("POST", "/v1/containers?run=true", json={"image": "busybox", "healthcheck": asked})
    assert answer.status_code == 400, answer.text
    title = answer.json()["errors"][0]["title"]
    assert words in title
    assert len(title) < 400
    rows = await world.store.read(lambda tx: tx.workloads.find(EVERYBODY, WorkloadQuery(), Page(9)))
    assert rows == []


@pytest.mark.parametrize("asked", [None, {}, {"cmd": None}])
async def test_no_check_at_all_may_be_said_at_any_version(world: World, asked: Any) -> None:
    body = {"image": "busybox", "healthcheck": asked}
    assert (await world.call("POST", "/v1/containers", json=body, version="container 1.21")).status_code == 202


@pytest.mark.parametrize(
    ("health", "detail", "reason"),
    [
        (None, "Up 0 seconds", None),
        (Health(), "Up 0 seconds (health: starting)", None),
        (
            Health(HealthState.STARTING, 1, "exit code 1: no"),
            "Up 0 seconds (health: starting)",
            "Its health check failed once; the last said: exit code 1: no",
        ),
        (Health(HealthState.HEALTHY), "Up 0 seconds (healthy)", None),
        (
            Health(HealthState.UNHEALTHY, 3, "exit code 1: no"),
            "Up 0 seconds (unhealthy)",
            "Its health check failed 3 times in a row; the last said: exit code 1: no",
        ),
    ],
)
async def test_health_is_told_in_the_fields_there_are(
    world: World, health: Health | None, detail: str, reason: str | None
) -> None:
    id = (await world.make(healthcheck={"cmd": "true"}))["uuid"]
    await world.settle(id, health=health)
    shown = (await world.call("GET", f"/v1/containers/{id}")).json()
    assert (shown["status"], shown["status_detail"], shown["status_reason"]) == ("Running", detail, reason)


async def test_auto_heal_can_be_changed(world: World) -> None:
    id = (await world.running(auto_heal=True))["uuid"]
    answer = await world.call("PATCH", f"/v1/containers/{id}", json={"auto_heal": False})
    assert (answer.status_code, answer.json()["auto_heal"]) == (200, False)
    assert not (await world.stored(id)).spec.auto_heal
