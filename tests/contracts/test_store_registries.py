"""What every store does with registries."""

from dataclasses import replace
from typing import Any

import pytest

from krater.errors import Conflict, Invalid, NotFound
from krater.model.registry import Registry
from krater.store.interfaces import EVERYBODY, Page, RegistryQuery, Store
from tests.support.stores import ANN, BOB, T0, Clock, workload


def registry(id: str, **changes: Any) -> Registry:
    made = Registry(id, f"name-{id}", "a.example", "me", f"sealed-{id}", "p-ann", "u-ann", T0)
    return replace(made, **changes)


async def added(store: Store, *registries: Registry) -> None:
    for one in registries:
        await store.write(lambda tx, one=one: tx.registries.add(one))  # type: ignore[misc]


async def test_it_is_found_by_id_before_name_and_by_its_project_only(store: Store) -> None:
    one, two = registry("r1", name="r2"), registry("r2", name="other")
    await added(store, one, two)
    assert await store.read(lambda tx: tx.registries.get(ANN, "r1")) == one
    assert await store.read(lambda tx: tx.registries.get(ANN, "r2")) == two
    assert await store.write(lambda tx: tx.registries.get(EVERYBODY, "other")) == two
    for ident in ("r1", "other", "nothing"):
        with pytest.raises(NotFound):
            await store.read(lambda tx, ident=ident: tx.registries.get(BOB, ident))  # type: ignore[misc]
    await added(store, registry("r3", name="other"))
    with pytest.raises(Conflict):
        await store.read(lambda tx: tx.registries.get(ANN, "other"))
    with pytest.raises(Conflict):
        await added(store, one)


async def test_what_may_be_changed_is(store: Store, clock: Clock) -> None:
    await added(store, registry("r1"))
    changed = registry("r1", name=None, domain="b.example", username=None, sealed=None)
    at = clock.forward(5)
    after = await store.write(lambda tx: tx.registries.change(changed, at))
    assert after == replace(changed, updated_at=at)
    assert await store.read(lambda tx: tx.registries.get(ANN, "r1")) == after
    with pytest.raises(NotFound):
        await store.write(lambda tx: tx.registries.change(registry("r9"), at))


async def test_one_in_use_stays_until_the_workload_is_gone(store: Store) -> None:
    await added(store, registry("r1"))

    def use(tx: Any) -> None:
        tx.workloads.add(workload("w1"))
        tx.registries.use("r1", "w1")

    await store.write(use)
    with pytest.raises(Conflict):
        await store.write(lambda tx: tx.registries.delete(ANN, "r1"))
    with pytest.raises(NotFound):
        await store.write(lambda tx: tx.registries.delete(BOB, "r1"))
    await store.write(lambda tx: tx.workloads.delete("w1"))
    await store.write(lambda tx: tx.registries.delete(ANN, "r1"))
    with pytest.raises(NotFound):
        await store.write(lambda tx: tx.registries.delete(ANN, "r1"))


async def test_pages_filters_and_orders(store: Store) -> None:
    rows = [registry("r1", name="b"), registry("r2", name="a", domain="z.example"), registry("r3", name=None)]
    await added(store, *rows, registry("x1", project_id="p-bob"))

    async def ids(query: RegistryQuery, page: Page) -> list[str]:
        return [r.id for r in await store.read(lambda tx: tx.registries.find(ANN, query, page))]

    every = RegistryQuery()
    assert await ids(every, Page(9)) == ["r1", "r2", "r3"]
    assert await ids(every, Page(2, sort_key="name")) == ["r3", "r2"]
    assert await ids(every, Page(2, "r2", "name")) == ["r1"]
    assert await ids(every, Page(9, "r2", descending=True)) == ["r1"]
    assert await ids(RegistryQuery(domain=("z.example",)), Page(9)) == ["r2"]
    assert await ids(RegistryQuery(name=("a", "b"), domain=("a.example",)), Page(9)) == ["r1"]
    for page, error in ((Page(9, sort_key="sealed"), Invalid), (Page(9, "r9"), NotFound), (Page(9, "x1"), NotFound)):
        with pytest.raises(error):
            await ids(every, page)


async def test_secrets_are_handed_out_in_parts_and_replaced_if_still_the_same(store: Store) -> None:
    await added(store, registry("r1"), registry("r2", sealed=None), registry("r3"))
    first = await store.read(lambda tx: tx.registries.sealed(0, 1))
    rest = await store.read(lambda tx: tx.registries.sealed(first[-1][0], 9))
    assert [(id, text) for _, id, text in (*first, *rest)] == [("r1", "sealed-r1"), ("r3", "sealed-r3")]
    await store.write(lambda tx: tx.registries.reseal("r1", "sealed-r1", "new"))
    await store.write(lambda tx: tx.registries.reseal("r3", "not this", "new"))
    found = await store.read(lambda tx: tx.registries.by_ids(["r1", "r3", "r9"]))
    assert {id: one.sealed for id, one in found.items()} == {"r1": "new", "r3": "sealed-r3"}
