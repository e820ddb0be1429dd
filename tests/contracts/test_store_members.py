"""How a store finds the workload of one container, lone or member of a capsule."""

import pytest

from krater.errors import Conflict, NotFound
from krater.model.workload import Desired, Intent
from krater.store.interfaces import EVERYBODY, Scope, Store, Tx, Workload
from tests.support.stores import ANN, BOB, capsule, workload

FIRST, SECOND, POD, NOBODY = (f"{digit * 8}-0000-4000-8000-{digit * 12}" for digit in "123f")


async def added(store: Store, *rows: Workload) -> None:
    await store.write(lambda tx: [tx.workloads.add(row) for row in rows])


async def found(store: Store, scope: Scope, ident: str, *, locks: bool = False) -> str:
    run = store.write if locks else store.read
    return await run(lambda tx: tx.workloads.of_container(scope, ident).id)


@pytest.mark.parametrize("locks", [False, True])
async def test_a_member_leads_to_its_capsule_and_a_lone_one_to_itself(store: Store, locks: bool) -> None:
    await added(store, capsule(POD, FIRST, SECOND, name="pod"), workload("w1", name="web"))
    for ident, id in ((FIRST, POD), (SECOND, POD), ("w1", "w1"), ("web", "w1")):
        for scope in (ANN, EVERYBODY):
            assert await found(store, scope, ident, locks=locks) == id


@pytest.mark.parametrize("ident", [POD, "pod", NOBODY, "nothing", ""])
async def test_a_capsule_is_not_found_by_what_it_is_called_itself(store: Store, ident: str) -> None:
    await added(store, capsule(POD, FIRST, SECOND, name="pod"))
    with pytest.raises(NotFound):
        await found(store, ANN, ident)


async def test_what_is_anothers_does_not_exist(store: Store) -> None:
    await added(store, capsule(POD, FIRST, SECOND), workload("w1", name="web"))
    for ident in (FIRST, "w1", "web"):
        with pytest.raises(NotFound):
            await found(store, BOB, ident)


async def test_ids_come_before_names(store: Store) -> None:
    await added(
        store,
        capsule(POD, FIRST, SECOND),
        workload("w1", name=FIRST),
        workload("w2", name="w1"),
        workload("w3", project="p-bob", name=FIRST),
    )
    assert await found(store, ANN, FIRST) == POD
    assert await found(store, EVERYBODY, FIRST) == POD
    assert await found(store, ANN, "w1") == "w1"
    assert await found(store, BOB, FIRST) == "w3"


async def test_a_name_that_several_have_is_a_conflict(store: Store) -> None:
    await added(store, workload(name="twin"), workload(name="twin"))
    with pytest.raises(Conflict, match="use the id"):
        await found(store, ANN, "twin")


async def test_what_was_found_to_be_changed_is_changed_in_the_same_transaction(store: Store) -> None:
    await added(store, capsule(POD, FIRST, SECOND))

    def change(tx: Tx) -> Workload:
        row = tx.workloads.of_container(ANN, FIRST)
        return tx.workloads.set_intent(row.id, Intent(Desired.STOPPED, 2))

    assert (await store.write(change)).version == 2
    await store.write(lambda tx: tx.workloads.delete(POD))
    with pytest.raises(NotFound):
        await found(store, ANN, FIRST)
