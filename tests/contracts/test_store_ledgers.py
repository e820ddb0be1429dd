"""What every store does with nodes, claims of capacity and quotas."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from krater.errors import Conflict, NotFound, OverQuota
from krater.model.node import Capacity, Inventory, Node
from krater.model.quota import Limits, Usage
from krater.model.workload import Resources
from krater.store.interfaces import Store, Tx
from tests.support.stores import INVENTORY, T0, Clock, capsule, placed, workload

RATIOS = (1.0, 1.0, 0)
FREE = Limits(-1, -1, -1, -1)


async def announced(store: Store, id: str, host: str = "", inventory: Inventory = INVENTORY) -> Node:
    return await store.write(lambda tx: tx.nodes.announce(id, host or f"host-{id}", "nova", inventory, T0))


class TestNodes:
    async def test_the_first_report_makes_it_and_the_next_change_it(self, store: Store, clock: Clock) -> None:
        first = await announced(store, "n1", "alpha")
        assert first == Node("n1", "alpha", INVENTORY, "nova", T0, T0, report_count=1)
        at, more = clock.forward(10), replace(INVENTORY, cpus=8, labels={})
        second = await store.write(lambda tx: tx.nodes.announce("n1", "beta", "other", more, at))
        assert second == Node("n1", "beta", more, "other", at, T0, report_count=2)
        assert await store.read(lambda tx: tx.nodes.list()) == [second]

    async def test_a_host_is_one_node(self, store: Store) -> None:
        await announced(store, "n1", "alpha")
        await announced(store, "n2", "beta")
        for id in ("n2", "n3"):
            with pytest.raises(Conflict, match="alpha"):
                await announced(store, id, "alpha")

    async def test_it_is_found_by_id_before_host(self, store: Store) -> None:
        await announced(store, "n1", "n2")
        await announced(store, "n2", "beta")
        assert (await store.read(lambda tx: tx.nodes.get("n2"))).host == "beta"
        assert (await store.read(lambda tx: tx.nodes.get("beta"))).id == "n2"
        assert [n.host for n in await store.read(lambda tx: tx.nodes.list())] == ["beta", "n2"]
        with pytest.raises(NotFound):
            await store.read(lambda tx: tx.nodes.get("gamma"))

    async def test_the_operators_word_outlasts_reports(self, store: Store) -> None:
        await announced(store, "n1", "alpha")
        assert (await store.write(lambda tx: tx.nodes.set_disabled("alpha", True, "disk"))).disabled_reason == "disk"
        assert (await store.write(lambda tx: tx.nodes.set_forced_down("alpha", True))).forced_down
        node = await announced(store, "n1", "alpha")
        assert (node.disabled, node.disabled_reason, node.forced_down) == (True, "disk", True)
        node = await store.write(lambda tx: tx.nodes.set_disabled("alpha", False, "ignored"))
        assert (node.disabled, node.disabled_reason) == (False, None)
        assert not (await store.write(lambda tx: tx.nodes.set_forced_down("alpha", False))).forced_down

    @pytest.mark.parametrize(
        "write",
        [
            lambda tx: tx.nodes.set_disabled("none", True, None),
            lambda tx: tx.nodes.set_forced_down("none", True),
            lambda tx: tx.nodes.delete("none"),
        ],
    )
    async def test_what_is_not_there_is_not_found(self, store: Store, write: Any) -> None:
        with pytest.raises(NotFound):
            await store.write(write)

    async def test_one_with_workloads_stays(self, store: Store) -> None:
        await announced(store, "n1", "alpha")
        await store.write(lambda tx: tx.workloads.add(workload("w1", placement=placed("n1"))))
        await store.write(lambda tx: tx.allocations.claim("w2", "n1", Resources(1, 1), RATIOS))
        with pytest.raises(Conflict):
            await store.write(lambda tx: tx.nodes.delete("alpha"))
        await store.write(lambda tx: tx.workloads.delete("w1"))
        await store.write(lambda tx: tx.nodes.delete("alpha"))
        assert await store.read(lambda tx: tx.nodes.list()) == []
        assert await store.read(lambda tx: tx.allocations.owners()) == set()


async def claimed(
    store: Store, id: str, node: str = "n1", ask: Resources | None = None, ratios: tuple[float, float, int] = RATIOS
) -> None:
    await store.write(lambda tx: tx.allocations.claim(id, node, ask or Resources(1, 1024, 10), ratios))


async def capacity(store: Store, node: str = "n1") -> Capacity:
    return next(c for c in await store.read(lambda tx: tx.allocations.capacities()) if c.node.id == node)


class TestAllocations:
    async def test_claims_add_up_and_go_away(self, store: Store) -> None:
        node = await announced(store, "n1")
        assert await capacity(store) == Capacity(node, Resources(0, 0, 0), 0)
        await claimed(store, "w1", ask=Resources(0.1, 100, 1))
        await claimed(store, "w2", ask=Resources(0.2, 200, 2))
        assert await capacity(store) == Capacity(node, Resources(0.3, 300, 3), 2)
        assert await store.read(lambda tx: tx.allocations.owners()) == {"w1", "w2"}
        for _ in range(2):
            await store.write(lambda tx: tx.allocations.release("w1"))
        assert await capacity(store) == Capacity(node, Resources(0.2, 200, 2), 1)
        assert await store.read(lambda tx: tx.allocations.owners()) == {"w2"}

    async def test_claiming_again_changes_nothing(self, store: Store) -> None:
        await announced(store, "n1")
        for _ in range(3):
            await claimed(store, "w1", ask=Resources(4, 4096, 100))
        assert (await capacity(store)).used == Resources(4, 4096, 100)

    async def test_a_claim_replaces_the_one_before(self, store: Store) -> None:
        await announced(store, "n1")
        await announced(store, "n2")
        await claimed(store, "w1", ask=Resources(3, 3000, 90))
        await claimed(store, "w1", ask=Resources(4, 4000, 100))
        assert (await capacity(store)).used == Resources(4, 4000, 100)
        await claimed(store, "w1", ask=Resources(1, 1, 1))
        assert (await capacity(store)).used == Resources(1, 1, 1)
        await claimed(store, "w1", "n2")
        assert (await capacity(store)).used == Resources(0, 0, 0)
        assert (await capacity(store, "n2")).containers == 1

    @pytest.mark.parametrize("ask", [Resources(4.1, 1, 1), Resources(1, 4097, 1), Resources(1, 1, 101)])
    async def test_no_room_is_a_conflict_that_leaves_what_was_held(self, store: Store, ask: Resources) -> None:
        await announced(store, "n1")
        await announced(store, "n2")
        await claimed(store, "w1", "n2")
        for node in ("n1", "n2", "gone"):

            def try_it(tx: Tx, node: str = node) -> None:
                with pytest.raises(Conflict):
                    tx.allocations.claim("w1", node, ask, RATIOS)

            await store.write(try_it)
        assert (await capacity(store)).containers == 0
        assert (await capacity(store, "n2")).used == Resources(1, 1024, 10)

    async def test_ratios_promise_more_and_the_reserve_less(self, store: Store) -> None:
        await announced(store, "n1", inventory=replace(INVENTORY, cpus=2, memory=1024))
        ratios = (2.0, 1.5, 24)
        await claimed(store, "w1", ask=Resources(4, 1500), ratios=ratios)
        for ask in (Resources(0.01, 0), Resources(0, 1)):
            with pytest.raises(Conflict):
                await claimed(store, "w2", ask=ask, ratios=ratios)
        await claimed(store, "w2", ask=Resources(0, 0), ratios=ratios)

    async def test_less_is_never_refused_even_where_too_much_is_promised(self, store: Store) -> None:
        await announced(store, "n1")
        await claimed(store, "w1", ask=Resources(4, 4096, 100))
        await announced(store, "n1", inventory=replace(INVENTORY, cpus=1, memory=100, disk=1))
        await claimed(store, "w1", ask=Resources(3, 4096, 100))
        assert (await capacity(store)).used == Resources(3, 4096, 100)

    async def test_a_capsule_counts_its_containers(self, store: Store) -> None:
        await announced(store, "n1")
        await store.write(lambda tx: tx.workloads.add(capsule("c1", "m1", "m2", "m3")))
        await claimed(store, "c1")
        assert (await capacity(store)).containers == 3
        await store.write(lambda tx: tx.workloads.delete("c1"))
        await store.write(lambda tx: tx.allocations.release("c1"))
        assert (await capacity(store)).containers == 0

    async def test_a_node_is_never_promised_twice(self, store: Store) -> None:
        await announced(store, "n1")
        results = await asyncio.gather(*(claimed(store, f"w{n}") for n in range(50)), return_exceptions=True)
        assert sum(isinstance(r, Conflict) for r in results) == 46
        assert (await capacity(store)).used == Resources(4, 4096, 40)


class TestQuotas:
    async def charged(self, store: Store, more: Usage, limits: Limits = FREE, project: str = "p-ann") -> None:
        await store.write(lambda tx: tx.quotas.charge(project, more, limits))

    async def usage(self, store: Store, project: str = "p-ann") -> Usage:
        return await store.read(lambda tx: tx.quotas.usage(project))

    async def test_usage_adds_up_for_each_project(self, store: Store) -> None:
        assert await self.usage(store) == Usage()
        for _ in range(10):
            await self.charged(store, Usage(1, 0.1, 100, 1))
        await self.charged(store, Usage(1), project="p-bob")
        assert await self.usage(store) == Usage(10, 1.0, 1000, 10)
        await self.charged(store, Usage(-10, -1.0, -1000, -10))
        assert await self.usage(store) == Usage()
        assert await self.usage(store, "p-bob") == Usage(1)

    @pytest.mark.parametrize(
        ("more", "name"),
        [(Usage(3), "containers"), (Usage(0, 1.6), "cpu"), (Usage(0, 0, 51), "memory"), (Usage(0, 0, 0, 3), "disk")],
    )
    async def test_over_quota_names_the_resource_and_changes_nothing(
        self, store: Store, more: Usage, name: str
    ) -> None:
        limits = Limits(2, 2, 100, 2)
        await self.charged(store, Usage(0, 0.5, 50, 0), limits)
        with pytest.raises(OverQuota, match=name):
            await self.charged(store, more, limits)
        assert await self.usage(store) == Usage(0, 0.5, 50, 0)

    async def test_giving_back_is_never_refused(self, store: Store) -> None:
        await self.charged(store, Usage(5, 5.0, 5, 5))
        await self.charged(store, Usage(-1, -1.0, 0, -1), Limits(0, 0, 0, 0))
        assert await self.usage(store) == Usage(4, 4.0, 5, 4)

    async def test_exactly_the_limit_fits(self, store: Store) -> None:
        limits = Limits(3, 1, 30, 0)
        for _ in range(3):
            await self.charged(store, Usage(1, 1 / 3, 10, 0), limits)
        with pytest.raises(OverQuota):
            await self.charged(store, Usage(1), limits)

    async def test_limits_are_the_projects_then_the_default_classes_then_the_defaults(self, store: Store) -> None:
        defaults = Limits(1, 2, 3, 4)

        async def limits(project: str = "p-ann") -> Limits:
            return await store.read(lambda tx: tx.quotas.limits(project, defaults))

        assert await limits() == defaults
        await store.write(lambda tx: tx.quotas.set_class_limits("default", {"cpu": 20, "memory": 30}))
        await store.write(lambda tx: tx.quotas.set_class_limits("gold", {"cpu": 99}))
        await store.write(lambda tx: tx.quotas.set_limits("p-ann", {"memory": 300}))
        await store.write(lambda tx: tx.quotas.set_limits("p-ann", {"disk": -1}))
        assert await limits() == Limits(1, 20, 300, -1)
        assert await limits("p-bob") == Limits(1, 20, 30, 4)
        assert await store.read(lambda tx: tx.quotas.class_limits("gold", defaults)) == Limits(1, 99, 3, 4)
        assert await store.read(lambda tx: tx.quotas.class_limits("none", defaults)) == defaults
        for _ in range(2):
            await store.write(lambda tx: tx.quotas.clear_limits("p-ann"))
        assert await limits() == Limits(1, 20, 30, 4)

    async def test_no_changes_are_no_changes(self, store: Store) -> None:
        for _ in range(2):
            await store.write(lambda tx: tx.quotas.set_limits("p-ann", {}))
        assert await store.read(lambda tx: tx.quotas.limits("p-ann", Limits())) == Limits()
        with pytest.raises(ValueError, match="colour"):
            await store.write(lambda tx: tx.quotas.set_limits("p-ann", {"colour": 1}))
