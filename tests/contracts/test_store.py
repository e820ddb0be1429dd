"""What every store does with workloads and transactions. The ledgers and networks have files of their own."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from krater.errors import Conflict, Invalid, NotFound, OverQuota
from krater.model.assignment import ContainerState, Observed, ObservedContainer, Placement
from krater.model.network import Address, NetRequest, Nic
from krater.model.quota import Limits, Usage
from krater.model.workload import Desired, Healthcheck, Intent, Kind, RestartName, RestartPolicy
from krater.store.interfaces import EVERYBODY, Page, Scope, Store, Tx, Workload, WorkloadQuery
from tests.support.stores import ANN, BOB, T0, Clock, capsule, placed, seen, spec, workload

ALL = Page(limit=1000)
SORT_KEYS = ["id", "uuid", "name", "image", "memory", "cpu", "disk", "host", "user_id", "project_id"]
SORT_KEYS += ["auto_remove", "created_at", "updated_at"]


async def added(store: Store, *rows: Workload) -> list[Workload]:
    return await store.write(lambda tx: [tx.workloads.add(row) for row in rows])


async def get(store: Store, scope: Scope, ident: str, kind: Kind | None = Kind.CONTAINER) -> Workload:
    return await store.read(lambda tx: tx.workloads.get(scope, ident, kind))


async def got(store: Store, id: str) -> Workload:
    return await get(store, EVERYBODY, id, None)


async def place(store: Store, id: str, placement: Placement) -> Workload:
    return await store.write(lambda tx: tx.workloads.place(id, placement))


async def intend(store: Store, id: str, desired: Desired, generation: int) -> Workload:
    return await store.write(lambda tx: tx.workloads.set_intent(id, Intent(desired, generation)))


async def find(store: Store, page: Page) -> list[Workload]:
    return await store.read(lambda tx: tx.workloads.find(ANN, WorkloadQuery(), page))


async def names(store: Store, query: WorkloadQuery | None = None, page: Page = ALL, scope: Any = ANN) -> list[str]:
    rows = await store.read(lambda tx: tx.workloads.find(scope, query or WorkloadQuery(), page))
    return [row.name for row in rows]


class TestWorkloads:
    async def test_all_of_a_workload_comes_back(self, store: Store) -> None:
        wanted = spec(restart=RestartPolicy(RestartName.ON_FAILURE, 3), hostname="wörld", hints={"a": "b"})
        wanted = replace(wanted, nets=(NetRequest("n", "p", ("10.0.0.1",)),), auto_heal=True, runtime="crun")
        full = replace(wanted.containers[0], healthcheck=Healthcheck("true", 15), command=("a", "b"), labels={"x": "y"})
        row = workload("w1", spec=replace(wanted, containers=(full,)))
        nic = Nic("p", "n", "fa:16:3e:00:00:01", "eth0", (Address("10.0.0.1", 24, None),))
        state = ObservedContainer("w1", 0, ContainerState.RUNNING, started_at=T0, ports=(80,), exit_code=None)
        (stored,) = await added(store, row)
        await store.write(lambda tx: tx.workloads.place("w1", Placement("node", 3, (nic,), None, 1)))
        await store.write(lambda tx: tx.workloads.observe("w1", Observed(1, (state,), settled=True, step="x")))
        found = await got(store, "w1")
        assert stored == replace(row, seq=stored.seq, version=1)
        assert found.spec == row.spec
        assert found.placement.nics == (nic,)
        assert found.observed.containers == (state,)
        assert found.created_at == row.created_at
        assert (found.version, found.seq) == (3, stored.seq)

    async def test_an_id_is_given_once(self, store: Store) -> None:
        await added(store, workload("w1"))
        with pytest.raises(Conflict):
            await added(store, workload("w1", project="p-bob"))

    async def test_seq_grows_and_is_not_given_again(self, store: Store) -> None:
        first, second = await added(store, workload("w1"), workload("w2"))
        await store.write(lambda tx: tx.workloads.delete("w2"))
        (third,) = await added(store, workload("w2"))
        assert first.seq < second.seq < third.seq

    async def test_it_is_found_by_id_before_name(self, store: Store) -> None:
        await added(store, workload("w1", name="w2"), workload("w2", name="other"))
        assert (await get(store, ANN, "w2")).id == "w2"
        assert (await get(store, ANN, "other")).id == "w2"

    async def test_a_name_that_several_have_is_a_conflict(self, store: Store) -> None:
        await added(store, workload(name="twin"), workload(name="twin"), workload("w3", project="p-bob", name="twin"))
        with pytest.raises(Conflict, match="twin"):
            await get(store, ANN, "twin")
        assert (await get(store, BOB, "twin")).id == "w3"

    async def test_what_is_anothers_does_not_exist(self, store: Store) -> None:
        await added(store, workload("w1", name="mine"))
        for ident in ("w1", "mine", "nothing"):
            with pytest.raises(NotFound):
                await get(store, BOB, ident)
            with pytest.raises(NotFound):
                await get(store, BOB, ident, None)
        assert await names(store, scope=BOB) == []
        assert await names(store, scope=EVERYBODY) == ["mine"]

    async def test_a_capsule_is_no_container_and_its_members_lead_to_it(self, store: Store) -> None:
        await added(store, capsule("c1", "m1", "m2", name="pod"))
        with pytest.raises(NotFound):
            await get(store, ANN, "c1")
        for ident in ("c1", "m1", "m2", "pod"):
            assert (await get(store, ANN, ident, None)).id == "c1"
        assert (await get(store, ANN, "pod", Kind.CAPSULE)).id == "c1"
        with pytest.raises(NotFound):
            await get(store, BOB, "m1", None)
        with pytest.raises(NotFound):
            await get(store, ANN, "m1", Kind.CAPSULE)
        await store.write(lambda tx: tx.workloads.delete("c1"))
        with pytest.raises(NotFound):
            await get(store, ANN, "m1", None)

    async def test_every_change_counts_up_and_is_dated(self, store: Store, clock: Clock) -> None:
        await added(store, workload("w1"))
        writes: list[Any] = [
            lambda tx: tx.workloads.set_intent("w1", Intent(Desired.STOPPED, 2), spec=spec(memory=64), name="new"),
            lambda tx: tx.workloads.place("w1", placed()),
            lambda tx: tx.workloads.observe("w1", seen()),
            lambda tx: tx.workloads.retire("w1", "over"),
        ]
        for version, write in enumerate(writes, start=2):
            at = clock.forward(1)
            changed = await store.write(write)
            assert (changed.version, changed.updated_at) == (version, at)
            assert await got(store, "w1") == changed
        assert (changed.intent.desired, changed.name, changed.removal) == (Desired.STOPPED, "new", "over")
        assert (changed.placement, changed.observed) == (placed(), seen())
        assert changed.spec.resources.memory == 64

    async def test_an_intent_follows_the_one_before(self, store: Store) -> None:
        await added(store, workload("w1"))
        for generation in (1, 3):
            with pytest.raises(Conflict):
                await intend(store, "w1", Desired.STOPPED, generation)
        assert (await intend(store, "w1", Desired.STOPPED, 2)).version == 2

    @pytest.mark.parametrize(
        "write",
        [
            lambda tx: tx.workloads.set_intent("w1", Intent(Desired.STOPPED, 2)),
            lambda tx: tx.workloads.place("w1", placed()),
            lambda tx: tx.workloads.observe("w1", seen()),
            lambda tx: tx.workloads.retire("w1", "over"),
        ],
    )
    async def test_what_is_gone_is_not_changed(self, store: Store, write: Any) -> None:
        with pytest.raises(NotFound):
            await store.write(write)

    async def test_deleting_twice_is_deleting(self, store: Store) -> None:
        await added(store, workload("w1"), workload("w2"))
        for _ in range(2):
            await store.write(lambda tx: tx.workloads.delete("w1"))
        assert [w.id for w in await store.read(lambda tx: tx.workloads.by_ids(["w1", "w2", "w3", "w2"]))] == ["w2"]

    async def test_by_ids_takes_many(self, store: Store) -> None:
        rows = await added(store, *(workload() for _ in range(1200)))
        for run in (store.read, store.write):
            found = await run(lambda tx: tx.workloads.by_ids([r.id for r in rows]))
            assert {w.id for w in found} == {r.id for r in rows}

    async def test_what_is_on_a_node(self, store: Store) -> None:
        await added(store, workload("w1", placement=placed("a")), workload("w2", project="p-bob"), workload("w3"))
        await store.write(lambda tx: tx.workloads.place("w2", placed("a")))
        await store.write(lambda tx: tx.workloads.place("w3", placed("b")))
        assert [w.id for w in await store.read(lambda tx: tx.workloads.on_node("a"))] == ["w1", "w2"]
        assert await store.read(lambda tx: tx.workloads.on_node("c")) == []

    async def test_unfinished_is_what_has_no_place_or_is_to_go(self, store: Store) -> None:
        rows = [workload(f"w{n}", placement=placed()) for n in range(5)]
        await added(store, *rows)

        def change(tx: Tx) -> None:
            tx.workloads.place("w1", Placement(None, 1))
            tx.workloads.set_intent("w2", Intent(Desired.REMOVED, 2))
            tx.workloads.retire("w3", "over")
            tx.workloads.observe("w4", seen())

        await store.write(change)
        await added(store, workload("w9"))
        assert await store.read(lambda tx: tx.workloads.unfinished()) == ["w1", "w2", "w3", "w9"]
        await store.write(lambda tx: tx.workloads.place("w9", placed()))
        await store.write(lambda tx: tx.workloads.delete("w2"))
        assert await store.read(lambda tx: tx.workloads.unfinished()) == ["w1", "w3"]


class TestFind:
    async def test_filters_are_any_of_the_values_and_all_of_the_filters(self, store: Store) -> None:
        await added(
            store,
            workload(name="a", user="u1", spec=spec(image="alpine", memory=64)),
            workload(name="b", user="u2", spec=spec(image="busybox", memory=128, auto_remove=True)),
            workload(name="c", user="u2", spec=spec(image="alpine", memory=64), placement=placed("node-2")),
            workload(name="d", project="p-bob"),
            capsule("k", "m", name="pod"),
        )
        queries = {
            WorkloadQuery(): "abc",
            WorkloadQuery(names=("a", "c", "x")): "ac",
            WorkloadQuery(images=("alpine",)): "ac",
            WorkloadQuery(users=("u2",), images=("alpine", "busybox")): "bc",
            WorkloadQuery(memory=(128,)): "b",
            WorkloadQuery(nodes=("node-2",)): "c",
            WorkloadQuery(auto_remove=True): "b",
            WorkloadQuery(auto_remove=False): "ac",
            WorkloadQuery(projects=("p-bob",)): "",
        }
        for query, expected in queries.items():
            assert "".join(await names(store, query)) == expected, query
        assert await names(store, WorkloadQuery(projects=("p-bob",)), scope=EVERYBODY) == ["d"]
        assert await names(store, WorkloadQuery(kind=Kind.CAPSULE)) == ["pod"]

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("key", SORT_KEYS)
    async def test_pages_are_the_list_cut_up(self, store: Store, key: str, descending: bool) -> None:
        await added(
            store,
            *(
                workload(name=f"n{n % 3}", spec=spec(memory=n % 2, image=f"i{n % 4}"), user=f"u{n % 2}")
                for n in range(11)
            ),
        )
        for row in (await find(store, Page(3)))[1:]:
            await place(store, row.id, placed())
        whole = await find(store, Page(1000, None, key, descending=descending))
        assert len(whole) == 11
        pages: list[Workload] = []
        while part := await find(store, Page(2, pages[-1].id if pages else None, key, descending=descending)):
            pages += part
        assert pages == whole

    async def test_the_default_order_is_that_of_creation(self, store: Store) -> None:
        await added(store, workload("z", name="1"), workload("a", name="2"))
        assert await names(store) == ["1", "2"]
        assert await names(store, page=Page(9, sort_key="uuid")) == ["2", "1"]
        assert await names(store, page=Page(9, descending=True)) == ["2", "1"]

    async def test_an_unknown_sort_key_is_invalid(self, store: Store) -> None:
        with pytest.raises(Invalid) as refused:
            await names(store, page=Page(9, sort_key="spec"))
        assert refused.value.field == "sort_key"

    async def test_a_marker_must_be_visible(self, store: Store) -> None:
        await added(store, workload("w1", project="p-bob"), capsule("c1", "m1"))
        for marker in ("w1", "c1", "nothing"):
            with pytest.raises(NotFound):
                await names(store, page=Page(9, marker))

    async def test_a_marker_need_not_pass_the_filters(self, store: Store) -> None:
        await added(store, workload("w1", name="a"), workload("w2", name="b"))
        assert await names(store, WorkloadQuery(names=("b",)), Page(9, "w1")) == ["b"]


class TestTransactions:
    async def test_what_raises_leaves_nothing(self, store: Store) -> None:
        (before,) = await added(store, workload("w1"))

        def fail(tx: Tx) -> None:
            tx.workloads.place("w1", placed())
            assert tx.workloads.get(ANN, "w1").placement == placed()
            tx.workloads.add(workload("w2"))
            tx.quotas.charge("p-ann", Usage(1), Limits())
            raise KeyError("no")

        with pytest.raises(KeyError):
            await store.write(fail)
        assert await got(store, "w1") == before
        assert await store.read(lambda tx: tx.quotas.usage("p-ann")) == Usage()
        with pytest.raises(NotFound):
            await got(store, "w2")

    async def test_nothing_that_was_rolled_back_is_remembered(self, store: Store) -> None:
        """The version a lost transaction gave is given again, to something else."""
        await added(store, workload("w1"))

        def fail(tx: Tx) -> None:
            tx.workloads.place("w1", placed("lost"))
            assert tx.workloads.find(ANN, WorkloadQuery(), ALL)[0].placement.node == "lost"
            assert tx.workloads.get(ANN, "w1").placement.node == "lost"
            assert tx.workloads.on_node("lost")
            raise KeyError("no")

        with pytest.raises(KeyError):
            await store.write(fail)
        kept = await store.write(lambda tx: tx.workloads.place("w1", placed("kept")))
        assert kept.version == 2
        assert (await got(store, "w1")).placement.node == "kept"

    async def test_one_that_came_again_is_not_mistaken_for_the_first(self, store: Store) -> None:
        await added(store, workload("w1", name="old"))
        assert (await got(store, "w1")).name == "old"
        await store.write(lambda tx: tx.workloads.delete("w1"))
        await added(store, workload("w1", name="new"))
        assert (await got(store, "w1")).name == "new"

    async def test_a_transaction_sees_its_own_writes(self, store: Store) -> None:
        def change(tx: Tx) -> list[str]:
            row = tx.workloads.add(workload("w1", name="before"))
            tx.workloads.set_intent("w1", Intent(Desired.RUNNING, row.intent.generation + 1), name="after")
            return [w.name for w in tx.workloads.find(ANN, WorkloadQuery(), ALL)]

        assert await store.write(change) == ["after"]

    async def test_readers_read_beside_a_writer(self, store: Store) -> None:
        rows = await added(store, *(workload() for _ in range(20)))

        async def write(id: str) -> None:
            for epoch in range(1, 6):
                await place(store, id, placed("n", epoch))

        async def read(id: str) -> None:
            last = 0
            for _ in range(20):
                found = await got(store, id)
                assert found.version == found.placement.epoch + 1
                assert found.version >= last
                last = found.version

        await asyncio.gather(*(write(r.id) for r in rows), *(read(r.id) for r in rows))

    async def test_a_quota_of_ten_takes_ten_of_fifty(self, store: Store) -> None:
        limits = Limits(containers=10, cpu=-1, memory=-1, disk=-1)

        def create(tx: Tx) -> None:
            tx.workloads.add(workload())
            tx.quotas.charge("p-ann", Usage(1, 0.1, 16), limits)

        results = await asyncio.gather(*(store.write(create) for _ in range(50)), return_exceptions=True)
        assert sum(isinstance(r, OverQuota) for r in results) == 40
        assert len(await names(store)) == 10
        assert await store.read(lambda tx: tx.quotas.usage("p-ann")) == Usage(10, 1.0, 160)

    async def test_what_would_work_after_its_end_is_no_transaction(self, store: Store) -> None:
        async def wrong(tx: Tx) -> None:
            tx.workloads.add(workload("w1"))

        with pytest.raises(TypeError):
            _ = await store.write(wrong)
        with pytest.raises(TypeError):
            await store.read(lambda tx: (w for w in tx.workloads.unfinished()))
        assert await names(store) == []
