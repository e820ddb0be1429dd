"""Capsules and projects: what each may have, and that they know nothing of each other."""

import asyncio

import pytest

from krater.model.workload import Desired
from tests.support.api import HOST, World
from tests.support.capsules import URL, code_of, leftovers, make, post, running, shown, stored
from tests.support.templates import member, template

pytestmark = pytest.mark.thorough

# Quota ----------------------------------------------------------------------------------------------------------------


async def test_a_capsule_counts_with_its_members_and_the_whole(world: World) -> None:
    await make(world, member(), member(), initContainers=[member()], resources={"limits": {"cpu": 1, "memory": 256}})
    used = await world.store.read(lambda tx: tx.quotas.usage("p-kitchen"))
    assert (used.containers, used.cpu, used.memory) == (3, 1.0, 256)


@pytest.mark.parametrize(
    ("limit", "word"), [({"containers": 2}, "containers"), ({"cpu": 0}, "cpu"), ({"memory": 100}, "memory")]
)
async def test_without_room_nothing_is_made(world: World, limit: dict[str, int], word: str) -> None:
    await world.store.write(lambda tx: tx.quotas.set_limits("p-kitchen", limit))
    volumes = [{"name": "vol", "cinder": {"size": 1}}]
    mounts = [{"name": "vol", "mountPath": "/data"}]
    answer = await post(
        world,
        template(*[member(volumeMounts=mounts, ports=[{"containerPort": 80}])] * 3, volumes=volumes),
    )
    assert (answer.status_code, code_of(answer)) == (403, "container.over-quota")
    assert word in answer.json()["errors"][0]["title"]
    assert await leftovers(world) == []


async def test_of_fifty_at_once_the_quota_takes_as_many_as_fit(world: World) -> None:
    await world.store.write(lambda tx: tx.quotas.set_limits("p-kitchen", {"containers": 7}))
    volumes = [{"name": "vol", "cinder": {"size": 1}}]
    one = member(volumeMounts=[{"name": "vol", "mountPath": "/data"}], ports=[{"containerPort": 80}])
    answers = await asyncio.gather(*(post(world, template(one, member(), volumes=volumes)) for _ in range(50)))
    made = [answer.json()["uuid"] for answer in answers if answer.status_code == 202]
    assert len(made) == 3
    assert {answer.status_code for answer in answers} == {202, 403}
    used = await world.store.read(lambda tx: tx.quotas.usage("p-kitchen"))
    holders = await world.store.read(lambda tx: tx.volumes.holders())
    assert (used.containers, sorted(holders)) == (6, sorted(made))


# Projects -------------------------------------------------------------------------------------------------------------


async def test_two_projects_know_nothing_of_each_other(world: World) -> None:
    ids = {who: (await running(world, who=who))["uuid"] for who in ("ann", "bob")}
    for who, other in (("ann", "bob"), ("bob", "ann")):
        assert [one["uuid"] for one in (await world.call("GET", URL, who=who)).json()["capsules"]] == [ids[who]]
        assert (await shown(world, "web", who=who))["uuid"] == ids[who]
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/stop"), ("GET", "/container_actions")):
            assert (await world.call(method, f"{URL}/{ids[other]}{path}", who=who)).status_code == 404
        assert (await stored(world, ids[other])).intent.desired is Desired.RUNNING


async def test_an_administrator_names_everybodys(world: World) -> None:
    id = (await running(world, who="bob"))["uuid"]
    assert (await shown(world, id, who="admin"))["project_id"] == "p-cellar"
    assert (await world.call("POST", f"{URL}/{id}/stop", who="admin")).status_code == 202


async def test_operators_may_show_the_host_to_all_and_lists_to_some(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("krater.api.policies._LOOK_EVERY", 0.0)
    rules = '"capsule:get:host": ""\n"capsule:get_all_all_projects": "user_id:u-bob"\n"capsule:stop": "!"\n'
    (world.directory / "policy.yaml").write_text(rules)
    id = (await running(world))["uuid"]
    assert (await shown(world, id))["host"] == HOST
    assert [
        one["uuid"] for one in (await world.call("GET", f"{URL}?all_projects=1", who="bob")).json()["capsules"]
    ] == [id]
    assert (await world.call("POST", f"{URL}/{id}/stop")).status_code == 403
