"""Who may do what: over the whole route table, and with an operator's own rules."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from krater.api.microversions import ALL
from krater.api.policies import DEFAULTS
from krater.api.router import Route
from krater.api.routes import ROUTES
from krater.config import ApiSettings, Settings
from krater.errors import Invalid, NotFound
from krater.model.network import Port
from krater.model.registry import Registry
from krater.model.security import Direction, SecurityRule
from krater.model.volume import Volume
from krater.store.interfaces import EVERYBODY, Tx
from tests.support.api import FakeAgent, World, open_world
from tests.support.capsules import make
from tests.support.templates import template

pytestmark = pytest.mark.thorough

ARGUMENTS: dict[str, dict[str, Any]] = {
    "POST /containers": {"json": {"image": "busybox"}},
    "POST /containers/{container}/execute": {"params": {"command": "ls"}},
    "GET /containers/{container}/get_archive": {"params": {"path": "/etc/motd"}},
    "POST /containers/{container}/put_archive": {"params": {"path": "/etc", "data": "AAAA"}},
    "GET /containers/{container}/archive": {"params": {"path": "/etc/motd"}},
    "PUT /containers/{container}/archive": {"params": {"path": "/etc"}, "content": b"tar"},
    "POST /containers/{container}/execute_resize": {"params": {"exec_id": "e" * 64, "h": "24", "w": "80"}},
    "POST /containers/{container}/resize": {"params": {"h": "24", "w": "80"}},
    "POST /containers/{container}/rename": {"params": {"name": "other"}},
    "POST /capsules": {"json": {"template": template(name=None)}},
    "POST /images": {"json": {"repo": "alpine"}},
    "POST /containers/{container}/commit": {"params": {"repository": "mine"}},
    "POST /own_images/{image}/push": {"json": {"reference": "registry.example/mine"}},
    "GET /own_images/{image}/archive": {"headers": {"Range": "bytes=0-"}},
    "POST /networks": {"json": {"name": "mine"}},
    "POST /ports": {"json": {"network": "default"}},
    "POST /registries": {"json": {"registry": {"domain": "registry.example"}}},
    "PATCH /registries/{registry}": {"json": {"registry": {"name": "some"}}},
    "POST /volumes": {"json": {"name": "mine", "size": 1}},
    "PATCH /volumes/{volume}": {"json": {"size": 3}},
    "POST /containers/{container}/add_security_group": {"params": {"name": "none"}},
    "POST /containers/{container}/remove_security_group": {"params": {"name": "none"}},
    "POST /containers/{container}/network_detach": {"params": {"port": "none"}},
    "POST /security_groups": {"json": {"name": "mine"}},
    "POST /security_groups/{group}/rules": {"json": {"protocol": "tcp"}},
    "PUT /services/force_down": {"params": {"forced_down": "False"}},
}
WHO = ("ann", "carl", "reader", "bob", "admin")
SEARCHED = {"params": {"image_driver": "glance"}}
GUARDED = [route for route in ROUTES if not route.public]


def key(route: Route) -> str:
    return f"{route.method} {route.path}"


async def ask(world: World, route: Route, container: str, who: str, *, minor: int | None = None) -> Any:
    """A request that is right in all but who makes it."""
    versions = route.versions or ALL
    values = {"container": container, "request": "req-x", "host": "rack-1", "network": "default", "port": "port-1"}
    values |= {"capsule": "web", "project": "p-kitchen", "volume": "volume-1", "group": "default", "rule": "rule-1"}
    path = ("/v1" if route.versions else "") + route.path
    for name in re.findall("{(.*?)}", path):
        path = path.replace(f"{{{name}}}", values.get(name, "some"))
    arguments = dict(ARGUMENTS.get(key(route), SEARCHED if path.endswith("/search") else {}))
    if route.path.startswith("/services/") or key(route) == "DELETE /services":
        arguments["params"] = {"host": "rack-1", "binary": "zun-compute", **arguments.get("params", {})}
    version = f"container 1.{versions.last if minor is None else minor}"
    return await world.call(route.method, path.replace("{", "").replace("}", ""), who=who, version=version, **arguments)


def expected(route: Route, who: str) -> str:
    """What the default rules say."""
    check = DEFAULTS[route.rule]
    is_admin = who == "admin"
    if check in ("rule:admin_api", "role:admin") and not is_admin:
        return "forbidden"
    if check == "rule:admin_or_writer" and who == "reader":
        return "forbidden"
    if who == "bob" and "{project}" in route.path:
        return "forbidden"
    hidden = ("{container}", "{capsule}", "{port}", "{registry}", "{volume}", "{rule}")
    is_theirs = any(name in route.path for name in hidden)
    if "/own_images/{image}" in route.path or (who == "bob" and is_theirs):  # there is no such image
        return "hidden"
    return "allowed"


def verdict(status: int) -> str:
    return {403: "forbidden", 404: "hidden", 401: "unknown"}.get(status, "allowed")


@pytest.mark.parametrize("route", GUARDED, ids=key)
async def test_the_default_rules_over_all_routes(world: World, route: Route) -> None:
    FakeAgent(world)
    for who in WHO:
        id = (await world.running(name=f"for-{who}"))["uuid"]
        for other in ("bob", "admin"):
            await world.make(other)
        if "{capsule}" in route.path and who == "ann":
            await make(world)
        if "{port}" in route.path:
            await add_port(world, id, "p-office" if who == "admin" else "p-kitchen")
        if "{registry}" in route.path:
            await add_registry(world)
        if "{volume}" in route.path:
            await add_volume(world, "p-office" if who == "admin" else "p-kitchen")
        if "{rule}" in route.path:
            await add_rule(world, "p-office" if who == "admin" else "p-kitchen")
        answer = await ask(world, route, id, who)
        want = expected(route, who)
        if route.path.endswith("{request}") and want == "allowed":
            want = "hidden"  # there is no such action
        assert verdict(answer.status_code) == want, (who, answer.status_code, answer.text[:300])
        assert answer.status_code != 500


async def add_registry(world: World) -> None:
    """One of Ann's project, called some."""
    registry = Registry("r-1", "some", "registry.example", None, None, "p-kitchen", "u-ann", world.clock())

    def add(tx: Tx) -> None:
        with suppress(NotFound):
            tx.registries.delete(EVERYBODY, "r-1")
        tx.registries.add(registry)

    await world.store.write(add)


async def add_port(world: World, container: str, project: str) -> None:
    """A free port of this project, called port-1."""
    [net] = (await world.stored(container)).spec.nets
    port = Port("port-1", net.network, project, "fa:16:3e:00:00:01", (), owned=False)

    def add(tx: Tx) -> None:
        with suppress(NotFound):
            tx.networks.delete_port(EVERYBODY, "port-1")
        tx.networks.add_port(port)

    await world.store.write(add)


async def add_volume(world: World, project: str) -> None:
    """A free volume of this project, called volume-1."""

    def add(tx: Tx) -> None:
        tx.volumes.remove("volume-1")
        tx.volumes.add(Volume("volume-1", "one", project, 1, world.clock()))

    await world.store.write(add)


async def add_rule(world: World, project: str) -> None:
    """A rule in the default group of this project, called rule-1."""

    def add(tx: Tx) -> None:
        with suppress(NotFound):
            tx.security_groups.delete_rule(EVERYBODY, "rule-1")
        group = tx.security_groups.ensure_default(project)
        tx.security_groups.add_rule(group.id, SecurityRule("rule-1", Direction.INGRESS, 4, "tcp", 1, 1))

    await world.store.write(add)


@pytest.mark.parametrize("route", GUARDED, ids=key)
async def test_nobody_comes_in_without_credentials(world: World, route: Route) -> None:
    answer = await ask(world, route, "some", "")
    assert answer.status_code == 401


def test_every_route_is_guarded_by_a_rule_that_exists() -> None:
    for route in GUARDED:
        assert route.rule in DEFAULTS, key(route)


@pytest.mark.parametrize("route", [route for route in GUARDED if route.versions], ids=key)
async def test_versions_of_all_routes(world: World, route: Route) -> None:
    versions = route.versions
    assert versions is not None
    for minor in sorted({1, versions.first - 1, versions.first, versions.last, versions.last + 1, 40} - {0, 41}):
        answer = await ask(world, route, "nobody", "admin", minor=minor)
        if minor in versions:
            assert answer.status_code != 406
            assert answer.headers["openstack-api-version"] == f"container 1.{minor}"
            assert answer.headers["openstack-api-minimum-version"] == "container 1.1"
            assert answer.headers["openstack-api-maximum-version"] == "container 1.40"
            assert answer.headers["vary"] == "OpenStack-API-Version"
        else:
            assert answer.status_code == 406
            assert answer.json()["errors"][0]["code"] == "container."
            assert "openstack-api-version" not in answer.headers


# An operator's own rules ----------------------------------------------------------------------------------------------


def write(world: World, text: str) -> None:
    (world.directory / "policy.yaml").write_text(text)


async def test_a_changed_file_holds_without_a_restart(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("krater.api.policies._LOOK_EVERY", 0.0)
    assert (await world.call("GET", "/v1/containers")).status_code == 200
    write(world, '"container:get_all": "role:admin"\n')
    answer = await world.call("GET", "/v1/containers")
    assert answer.status_code == 403
    assert answer.json()["errors"][0]["title"] == "Policy doesn't allow container:get_all to be performed."
    write(world, "not: [a, policy")
    assert (await world.call("GET", "/v1/containers")).status_code == 403, "the last good rules stay"
    (world.directory / "policy.yaml").unlink()
    assert (await world.call("GET", "/v1/containers")).status_code == 200


@pytest.mark.parametrize(
    ("rules", "sees", "sees_not"),
    [
        ('"container:get_one:host": ""', {"host"}, {"runtime"}),
        ('"container:get_one:addresses": "role:admin"', set(), {"addresses", "host"}),
        ('"container:get_one:uuid": "!"\n"container:get_one:links": "!"', {"name"}, {"uuid", "links"}),
    ],
)
async def test_fields_have_rules_of_their_own(
    world: World, monkeypatch: pytest.MonkeyPatch, rules: str, sees: set[str], sees_not: set[str]
) -> None:
    monkeypatch.setattr("krater.api.policies._LOOK_EVERY", 0.0)
    id = (await world.running())["uuid"]
    write(world, rules)
    one = (await world.call("GET", f"/v1/containers/{id}")).json()
    [listed] = (await world.call("GET", "/v1/containers")).json()["containers"]
    for shown in (one, listed):
        assert sees <= shown.keys()
        assert not sees_not & shown.keys()


async def test_a_hidden_field_cannot_be_asked_for_either(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("krater.api.policies._LOOK_EVERY", 0.0)
    write(world, '"container:get_one:image": "role:admin"')
    assert (await world.call("GET", "/v1/containers?image=busybox")).status_code == 403


async def test_rules_may_name_the_owner(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("krater.api.policies._LOOK_EVERY", 0.0)
    write(world, '"container:delete": "user_id:%(user_id)s"')
    id = await world.into("Stopped")
    assert (await world.call("DELETE", f"/v1/containers/{id}", who="carl")).status_code == 403
    assert (await world.call("DELETE", f"/v1/containers/{id}", who="ann")).status_code == 204


async def test_another_role_may_be_made_administrator(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("krater.api.policies._LOOK_EVERY", 0.0)
    write(world, '"context_is_admin": "role:admin or user_id:u-bob"')
    id = (await world.running())["uuid"]
    assert (await world.call("GET", f"/v1/containers/{id}", who="bob")).status_code == 200
    assert (await world.call("GET", "/v1/hosts", who="bob")).status_code == 200


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "expected lines"),
        ("a: 1", "expected lines"),
        ("a: [", "cannot be read"),
        ('"container:create": "role:admin and"', "is not a check"),
        ('"container:create": "rule:nothing"', "does not exist"),
        ('"one": "rule:two"\n"two": "rule:one"', "refers to itself"),
    ],
)
async def test_a_file_that_makes_no_sense_is_refused_at_start(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(text)
    with pytest.raises(Invalid, match=words):
        async with open_world(tmp_path, Settings(api=ApiSettings(policy_file=str(file)))):
            pass


async def test_a_named_file_that_goes_away_takes_no_rule_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("krater.api.policies._LOOK_EVERY", 0.0)
    file = tmp_path / "rules.yaml"
    file.write_text('"container:get_all": "!"')
    async with open_world(tmp_path, Settings(api=ApiSettings(policy_file=str(file)))) as world:
        file.unlink()
        assert (await world.call("GET", "/v1/containers")).status_code == 403
        file.write_text("{}")
        assert (await world.call("GET", "/v1/containers")).status_code == 200


async def test_a_named_file_has_to_be_there_at_start(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="the policy file is not there"):
        async with open_world(tmp_path, Settings(api=ApiSettings(policy_file=str(tmp_path / "rules.yaml")))):
            pass
