"""What every store does with volumes and injected files."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from krater.errors import Conflict, KraterError, NotFound
from krater.model.volume import Volume, VolumeStatus
from krater.store.interfaces import EVERYBODY, Scope, Store, Tx
from tests.support.stores import ANN, BOB, T0


def volume(id: str, project: str = "p-ann", **more: Any) -> Volume:
    return Volume(id, more.pop("name", f"name-{id}"), project, more.pop("size", 1), T0, **more)


async def added(store: Store, *volumes: Volume) -> None:
    def add(tx: Tx) -> None:
        for one in volumes:
            tx.volumes.add(one)

    await store.write(add)


async def listed(store: Store, scope: Scope = EVERYBODY) -> list[Volume]:
    return await store.read(lambda tx: tx.volumes.list(scope))


async def got(store: Store, ident: str, scope: Scope = EVERYBODY) -> Volume:
    return await store.read(lambda tx: tx.volumes.get(scope, ident))


async def test_it_comes_back_as_it_was(store: Store) -> None:
    full = volume("v1", size=7, auto_remove=True, workload="w1", node="n1", is_made=True, failure="why")
    await added(store, full, volume("v2", name=""))
    assert await listed(store) == [full, volume("v2", name="")]


async def test_it_is_its_projects_alone(store: Store) -> None:
    await added(store, volume("v1"), volume("v2", "p-bob", name="name-v1"))
    assert [v.id for v in await listed(store, ANN)] == ["v1"]
    assert (await got(store, "name-v1", BOB)).id == "v2"
    with pytest.raises(NotFound):
        await got(store, "v1", BOB)
    with pytest.raises(Conflict):
        await got(store, "name-v1")


async def test_a_name_is_taken_once_in_a_project(store: Store) -> None:
    await added(store, volume("v1", name="data"), volume("v2", "p-bob", name="data"), volume("v3", name=""))
    await added(store, volume("v4", name=""))
    with pytest.raises(Conflict):
        await added(store, volume("v5", name="data"))


async def test_an_id_wins_over_a_name(store: Store) -> None:
    await added(store, volume("v1", name="v2"), volume("v2", name="other"))
    assert (await got(store, "v2")).name == "other"


async def test_one_workload_holds_it(store: Store) -> None:
    await added(store, volume("v1"), volume("v2"))
    await store.write(lambda tx: tx.volumes.hold(["v1", "v2", "v1"], "w1"))
    await store.write(lambda tx: tx.volumes.hold(["v1"], "w1"))
    assert [v.id for v in await store.read(lambda tx: tx.volumes.held_by(["w1", "w9"]))] == ["v1", "v2"]
    with pytest.raises(Conflict):
        await store.write(lambda tx: tx.volumes.hold(["v2"], "w2"))
    assert await store.read(lambda tx: tx.volumes.holders()) == {"w1"}


async def test_of_many_at_once_one_gets_it(store: Store) -> None:
    await added(store, volume("v1"))

    async def take(workload: str) -> bool:
        try:
            await store.write(lambda tx: tx.volumes.hold(["v1"], workload))
        except KraterError:
            return False
        return True

    assert sum(await asyncio.gather(*(take(f"w{n}") for n in range(20)))) == 1


async def test_its_place_does_not_change(store: Store) -> None:
    await added(store, volume("v1", workload="w1"), volume("v2", workload="w1", node="n2"), volume("v3"))
    await store.write(lambda tx: tx.volumes.place("w1", "n1"))
    assert {v.id: v.node for v in await listed(store)} == {"v1": "n1", "v2": "n2", "v3": None}


async def test_release_frees_the_users_and_has_the_others_removed(store: Store) -> None:
    await added(
        store,
        volume("v1", workload="w1", node="n1"),
        volume("v2", name="", workload="w1", node="n1", auto_remove=True),
        volume("v3", name="", workload="w1", auto_remove=True),
        volume("v4", workload="w2"),
    )
    await store.write(lambda tx: tx.volumes.add_files("w1", {"f1": b"one"}))
    assert await store.write(lambda tx: tx.volumes.release("w1")) == {"n1"}
    assert {v.id: v.status for v in await listed(store)} == {
        "v1": VolumeStatus.AVAILABLE,
        "v2": VolumeStatus.DELETING,
        "v4": VolumeStatus.IN_USE,
    }
    assert await store.read(lambda tx: tx.volumes.files("w1")) == {}
    assert await store.write(lambda tx: tx.volumes.release("w1")) == set()
    assert await store.write(lambda tx: tx.volumes.release("")) == set()


async def test_what_is_to_be_removed_is_nobodys_and_its_name_free(store: Store) -> None:
    await added(store, volume("v1", name="data", node="n1"))
    assert await store.write(lambda tx: tx.volumes.remove("v1")) == "n1"
    await added(store, volume("v2", name="data"))
    assert (await got(store, "data")).id == "v2"
    with pytest.raises(Conflict):
        await store.write(lambda tx: tx.volumes.hold(["v1"], "w1"))
    assert [v.id for v in await store.read(lambda tx: tx.volumes.removing())] == ["v1"]
    assert await store.read(lambda tx: tx.volumes.use("p-ann")) == (1, 1)


async def test_what_no_node_can_have_is_gone_at_once(store: Store) -> None:
    await added(store, volume("v1"))
    assert await store.write(lambda tx: tx.volumes.remove("v1")) is None
    assert await store.write(lambda tx: tx.volumes.remove("v1")) is None
    assert await listed(store) == []


async def test_what_is_held_is_not_removed(store: Store) -> None:
    await added(store, volume("v1", workload="w1"))
    with pytest.raises(Conflict):
        await store.write(lambda tx: tx.volumes.remove("v1"))


async def test_a_nodes_list_is_folded(store: Store) -> None:
    await added(
        store,
        volume("v1", node="n1"),
        volume("v2", node="n1", is_removing=True),
        volume("v3", node="n1", is_removing=True),
        volume("v4", node="n2", is_removing=True),
        volume("v5", node="n1"),
    )
    await store.write(lambda tx: tx.volumes.observe("n1", ["v1", "v3", "foreign"], {"v3": "busy"}))
    found = {v.id: v for v in await listed(store)}
    assert set(found) == {"v1", "v3", "v4", "v5"}
    assert found["v1"].is_made
    assert not found["v5"].is_made
    assert (found["v3"].status, found["v3"].failure) == (VolumeStatus.ERROR, "busy")
    await store.write(lambda tx: tx.volumes.observe("n1", ["v1", "v3"], {}))
    assert (await got(store, "v3")).status is VolumeStatus.DELETING
    assert (await got(store, "v1")).is_made


async def test_a_lost_node_keeps_nothing_from_going(store: Store) -> None:
    await added(store, volume("v1", node="n1", is_removing=True), volume("v2", node="n1"))
    assert await store.write(lambda tx: tx.volumes.forget_removed("n1")) == 1
    assert [v.id for v in await listed(store)] == ["v2"]


async def test_use_counts_what_is_not_being_removed(store: Store) -> None:
    await added(store, volume("v1", size=3), volume("v2", size=4, workload="w"), volume("v3", "p-bob", size=9))
    assert await store.read(lambda tx: tx.volumes.use("p-ann")) == (2, 7)
    assert await store.read(lambda tx: tx.volumes.use("p-none")) == (0, 0)


async def test_a_size_is_changed(store: Store) -> None:
    await added(store, volume("v1"))
    await store.write(lambda tx: tx.volumes.set_size("v1", 5))
    assert await got(store, "v1") == replace(volume("v1"), size=5)


async def test_files_are_kept_as_they_are(store: Store) -> None:
    contents = {"f1": bytes(range(256)), "f2": b"", "f3": b"x" * 300_000}
    await store.write(lambda tx: tx.volumes.add_files("w1", contents))
    await store.write(lambda tx: tx.volumes.add_files("w2", {}))
    assert await store.read(lambda tx: tx.volumes.files("w1")) == contents
    assert await store.read(lambda tx: tx.volumes.holders()) == {"w1"}
