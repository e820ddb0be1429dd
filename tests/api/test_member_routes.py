"""Every request about a container, for one that is a member of a capsule: what it answers, or why not."""

from typing import Any

import pytest

from krater.api.commands.members import NOT_FOR_MEMBERS
from krater.api.microversions import ALL
from krater.api.policies import DEFAULTS
from krater.api.router import Route
from krater.api.routes import ROUTES
from tests.api.test_policy import ARGUMENTS, key
from tests.support.api import FakeAgent, World
from tests.support.stored_capsules import WEB, StoredCapsule

pytestmark = pytest.mark.thorough

ONE = "/containers/{container}"
ABOUT_ONE = [route for route in ROUTES if route.path == ONE or route.path.startswith(f"{ONE}/")]
ANSWERED = {
    "GET ": "capsule-pod-web",
    "POST start": "Cannot start container ID in Running state.",  # it runs: see the operations for the others
    "POST stop": "",
    "POST reboot": "",
    "POST pause": "",
    "POST unpause": "Cannot unpause container ID in Running state.",
    "POST kill": "",
    "GET logs": "line",
    "GET logs/stream": "line",
    "POST execute": "hello",
    "POST execute_resize": "null",
    "GET attach": "ws://krater.test:6784/?token=",
    "POST resize": "null",
    "POST commit": "uuid",
    "GET top": "sleep 1000000",
    "GET stats": "capsule-pod-web",
    "GET get_archive": "motd",
    "POST put_archive": "null",
    "GET archive": "",
    "PUT archive": "null",
    "GET network_list": "port-c",
    "GET container_actions": "containerActions",
    "GET container_actions/{request}": "Action req-x could not be found.",
}
REFUSED = {
    "DELETE ": "delete",
    "PATCH ": "update",
    "POST rebuild": "rebuild",
    "POST resize_container": "resize_container",
    "POST rename": "rename",
    "POST add_security_group": "add_security_group",
    "POST remove_security_group": "remove_security_group",
    "POST network_attach": "network_attach",
    "POST network_detach": "network_detach",
}


def short(route: Route) -> str:
    return f"{route.method} {route.path[len(ONE) + 1 :]}"


async def ask(world: World, route: Route, id: str, *, who: str = "ann", minor: int | None = None) -> Any:
    """A request that is right in all but who makes it."""
    versions = route.versions or ALL
    path = "/v1" + route.path.replace("{container}", id).replace("{request}", "req-x")
    version = f"container 1.{versions.last if minor is None else minor}"
    return await world.call(route.method, path, who=who, version=version, **ARGUMENTS.get(key(route), {}))


def test_the_tables_have_every_route() -> None:
    assert {short(route) for route in ABOUT_ONE} == ANSWERED.keys() | REFUSED.keys()
    assert not ANSWERED.keys() & REFUSED.keys()
    assert set(REFUSED.values()) == NOT_FOR_MEMBERS.keys()


@pytest.mark.parametrize("route", [r for r in ABOUT_ONE if short(r) in ANSWERED], ids=short)
async def test_what_members_have(world: World, route: Route) -> None:
    FakeAgent(world)
    capsule = await StoredCapsule.running(world)
    answer = await ask(world, route, capsule.ids[WEB])
    words = ANSWERED[short(route)].replace("ID", capsule.ids[WEB])
    status = 409 if "Cannot" in words else 404 if "could not be found" in words else route.status
    assert answer.status_code == status, answer.text
    assert words in answer.text


@pytest.mark.parametrize("route", [r for r in ABOUT_ONE if short(r) in REFUSED], ids=short)
async def test_what_members_have_not_says_what_there_is_instead(world: World, route: Route) -> None:
    agent = FakeAgent(world)
    capsule = await StoredCapsule.running(world)
    before = await capsule.row()
    answer = await ask(world, route, capsule.ids[WEB])
    assert answer.status_code == 409, answer.text
    [error] = answer.json()["errors"]
    operation = REFUSED[short(route)]
    assert error["code"] == "container.member-of-capsule"
    assert error["title"] == (
        f"Cannot {operation} container {capsule.ids[WEB]}: it is a member of capsule pod. {NOT_FOR_MEMBERS[operation]}"
    )
    assert "apsule" in NOT_FOR_MEMBERS[operation]
    assert (await capsule.row(), agent.asked, world.hints) == (before, [], [])


@pytest.mark.parametrize("route", ABOUT_ONE, ids=short)
async def test_of_another_projects_capsule_there_is_nothing(world: World, route: Route) -> None:
    agent = FakeAgent(world)
    capsule = await StoredCapsule.running(world)
    await StoredCapsule.running(world, "bob")
    before = await capsule.row()
    for who in ("bob", "ann"):
        ident = capsule.ids[WEB] if who == "bob" else capsule.id  # nor is a capsule itself a container
        answer = await ask(world, route, ident, who=who)
        assert answer.status_code == 404, (who, answer.text)
        assert answer.json()["errors"][0]["title"] == f"Container {ident} could not be found."
    assert (await capsule.row(), agent.asked) == (before, [])


@pytest.mark.parametrize("route", ABOUT_ONE, ids=short)
async def test_readers_look_and_change_nothing(world: World, route: Route) -> None:
    FakeAgent(world)
    capsule = await StoredCapsule.running(world)
    before = await capsule.row()
    answer = await ask(world, route, capsule.ids[WEB], who="reader")
    may = DEFAULTS[route.rule] == "rule:admin_or_owner"
    assert (answer.status_code == 403) is not may, answer.text
    assert await capsule.row() == before


@pytest.mark.parametrize("route", ABOUT_ONE, ids=short)
async def test_microversions_are_those_of_containers(world: World, route: Route) -> None:
    FakeAgent(world)
    capsule = await StoredCapsule.running(world)
    versions = route.versions or ALL
    for minor in sorted({1, versions.first - 1, versions.first, versions.last, versions.last + 1, 40} - {0, 41}):
        answer = await ask(world, route, capsule.ids[WEB], minor=minor)
        assert (answer.status_code == 406) is (minor not in versions), (minor, answer.text)
        assert answer.status_code < 500
