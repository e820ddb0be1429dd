"""What every store does with the history of workloads, with images and with revoked tokens."""

from dataclasses import replace
from datetime import timedelta

import pytest

from krater.errors import Conflict, Invalid, NotFound
from krater.model.assignment import NodeImage, StepEvent
from krater.store.interfaces import EVERYBODY, Action, Departure, Image, Page, Scope, Store, Tx
from tests.support.stores import ANN, BOB, T0, Clock, action, workload

LATER = T0 + timedelta(seconds=5)
STEP = StepEvent("pull", T0, LATER)


async def started(store: Store, *actions: Action) -> None:
    def start(tx: Tx) -> None:
        for one in actions:
            tx.actions.start(one)

    await store.write(start)


async def of(store: Store, scope: Scope, id: str) -> list[Action]:
    return await store.read(lambda tx: tx.actions.list(scope, id))


async def one(store: Store, request: str, scope: Scope = ANN, id: str = "w1") -> Action:
    return await store.read(lambda tx: tx.actions.get(scope, id, request))


class TestActions:
    async def test_the_newest_comes_first(self, store: Store) -> None:
        await started(store, action("w1", "r1"), action("w1", "r2", 2, name="stop"), action("w2", "r3"))
        assert await of(store, ANN, "w1") == [action("w1", "r2", 2, name="stop"), action("w1", "r1")]
        assert await of(store, ANN, "none") == []

    async def test_history_is_the_projects_own(self, store: Store) -> None:
        await started(store, action("w1", "r1"))
        assert await of(store, BOB, "w1") == []
        assert len(await of(store, EVERYBODY, "w1")) == 1
        assert (await one(store, "r1", EVERYBODY)).request_id == "r1"
        with pytest.raises(NotFound):
            await one(store, "r1", BOB)
        with pytest.raises(NotFound):
            await one(store, "r2")

    async def test_events_go_to_the_newest_unfinished_of_their_generation(self, store: Store) -> None:
        await started(store, action("w1", "r1", 1), action("w1", "r2", 2), action("w1", "r3", 3))
        await store.write(lambda tx: tx.actions.add_events("w1", 2, [STEP]))
        assert [len((await one(store, r)).events) for r in ("r1", "r2", "r3")] == [0, 1, 0]
        await store.write(lambda tx: tx.actions.finish("w1", 2, None, LATER))
        await store.write(lambda tx: tx.actions.add_events("w1", 2, [STEP]))
        assert [len((await one(store, r)).events) for r in ("r1", "r2", "r3")] == [0, 2, 0]
        await store.write(lambda tx: tx.actions.add_events("none", 2, [STEP]))

    async def test_a_step_that_is_told_with_a_long_name_is_cut(self, store: Store) -> None:
        await started(store, action("w1", "r1"))
        await store.write(lambda tx: tx.actions.add_events("w1", 1, [replace(STEP, step="ensure_image " + "a" * 255)]))
        assert (await one(store, "r1")).events[0].event == "ensure_image " + "a" * 242

    async def test_events_may_be_for_what_is_under_way_only(self, store: Store) -> None:
        await started(store, action("w1", "r1"))
        assert await store.write(lambda tx: tx.actions.add_events("w1", 1, [STEP], if_open=True))
        await store.write(lambda tx: tx.actions.finish("w1", 1, None, LATER))
        assert not await store.write(lambda tx: tx.actions.add_events("w1", 1, [STEP], if_open=True))
        assert not await store.write(lambda tx: tx.actions.add_events("none", 1, [STEP], if_open=True))
        assert await store.write(lambda tx: tx.actions.add_events("w1", 1, [STEP]))
        assert len((await one(store, "r1")).events) == 2

    async def test_events_say_how_a_step_went(self, store: Store) -> None:
        await started(store, action("w1", "r1"))
        bad = StepEvent("start", LATER, LATER, "no such file")
        await store.write(lambda tx: tx.actions.add_events("w1", 1, [STEP, bad]))
        first, second = (await one(store, "r1")).events
        assert (first.event, first.result, first.details) == ("pull", "Success", None)
        assert (first.start_time, first.finish_time) == (T0, LATER)
        assert (second.event, second.result, second.details) == ("start", "Error", "no such file")

    async def test_events_of_one_action_are_bounded(self, store: Store) -> None:
        await started(store, action("w1", "r1"))
        for _ in range(3):
            await store.write(lambda tx: tx.actions.add_events("w1", 1, [STEP] * 40))
        assert len((await one(store, "r1")).events) == 100

    async def test_the_history_of_one_workload_is_bounded(self, store: Store) -> None:
        await started(store, action("w2", "other"))
        await started(store, *(action("w1", f"r{number}", number) for number in range(205)))
        await store.write(lambda tx: tx.actions.add_events("w1", 204, [STEP]))
        await started(store, *(action("w1", f"r{number}", number) for number in range(205, 210)))
        found = [one.request_id for one in await of(store, ANN, "w1")]
        assert found == [f"r{number}" for number in range(209, 9, -1)]
        assert len(await of(store, ANN, "w2")) == 1

    async def test_finishing_closes_all_up_to_a_generation_once(self, store: Store) -> None:
        await started(store, action("w1", "r1", 1), action("w1", "r2", 2), action("w1", "r3", 3), action("w2", "r4", 1))
        await store.write(lambda tx: tx.actions.finish("w1", 1, None, T0))
        await store.write(lambda tx: tx.actions.finish("w1", 2, "no room", LATER))
        found = {a.request_id: (a.finish_time, a.message) for a in await of(store, ANN, "w1")}
        assert found == {"r1": (T0, None), "r2": (LATER, "no room"), "r3": (None, None)}
        assert (await one(store, "r4", id="w2")).finish_time is None

    async def test_history_outlives_the_workload_until_it_is_pruned(self, store: Store) -> None:
        await store.write(lambda tx: [tx.workloads.add(workload(id)) for id in ("w1", "w2")])
        await started(store, action("w1", "r1"), action("w1", "r2"), action("w2", "r3"), action("w3", "r4"))
        await store.write(lambda tx: tx.actions.add_events("w1", 1, [STEP]))
        for id in ("w1", "w2"):
            await store.write(lambda tx, id=id: tx.actions.finish(id, 1, None, LATER))  # type: ignore[misc]
        await store.write(lambda tx: tx.workloads.delete("w1"))
        assert len(await of(store, ANN, "w1")) == 2
        assert await store.write(lambda tx: tx.actions.prune(LATER, 100)) == 0
        assert await store.write(lambda tx: tx.actions.prune(LATER + timedelta(seconds=1), 100)) == 2
        assert await of(store, ANN, "w1") == []
        assert len(await of(store, ANN, "w2")) == 1
        assert len(await of(store, ANN, "w3")) == 1

    async def test_history_of_what_is_gone_is_bounded_for_each_project(self, store: Store) -> None:
        await store.write(lambda tx: tx.workloads.add(workload("here")))
        await started(store, action("here", "r0"), action("open", "r1"))
        for number in range(2, 8):
            await started(store, action(f"gone{number}", f"r{number}"))
            await store.write(lambda tx, id=f"gone{number}": tx.actions.finish(id, 1, None, LATER))  # type: ignore[misc]
        assert await store.write(lambda tx: tx.actions.prune(T0, 8)) == 0
        assert await store.write(lambda tx: tx.actions.prune(T0, 3)) == 3
        left = [id for id in ("here", "open", *(f"gone{n}" for n in range(2, 8))) if await of(store, ANN, id)]
        assert left == ["here", "open", "gone5", "gone6", "gone7"]
        assert await store.write(lambda tx: tx.actions.prune(T0, 3)) == 0


def image(id: str, repo: str = "alpine", tag: str = "3", node: str = "node-1") -> Image:
    return Image(id, repo, tag, node, "p-ann", "u-ann", T0)


PULLED = NodeImage("docker.io/library/alpine:3", "sha256:1", 7)


class TestImages:
    async def added(self, store: Store, *images: Image) -> list[Image]:
        return await store.write(lambda tx: [tx.images.add(i) for i in images])

    async def on_node(self, store: Store, node: str = "node-1") -> list[Image]:
        return [*await store.read(lambda tx: tx.images.on_node(node))]

    async def test_it_comes_back_as_it_was(self, store: Store) -> None:
        (stored,) = await self.added(store, replace(image("i1"), image_id="sha256:1", size=5, failure="x"))
        assert await store.read(lambda tx: tx.images.get("i1")) == stored
        assert replace(stored, seq=0) == replace(image("i1"), image_id="sha256:1", size=5, failure="x")
        with pytest.raises(NotFound):
            await store.read(lambda tx: tx.images.get("i2"))

    async def test_a_node_has_a_name_once(self, store: Store) -> None:
        await self.added(store, image("i1"))
        with pytest.raises(Conflict):
            await self.added(store, image("i2"))
        await self.added(store, image("i3", tag="4"), image("i4", node="node-2"), image("i5", repo="Alpine"))

    async def test_pages(self, store: Store) -> None:
        await self.added(store, *(image(f"i{n}", tag=str(9 - n)) for n in range(5)))

        async def ids(page: Page) -> list[str]:
            return [i.id for i in await store.read(lambda tx: tx.images.list(page))]

        assert await ids(Page(2)) == ["i0", "i1"]
        assert await ids(Page(2, "i1")) == ["i2", "i3"]
        assert await ids(Page(9, "i3", "tag")) == ["i2", "i1", "i0"]
        assert await ids(Page(9, "i1", "size", descending=True)) == ["i0"]
        with pytest.raises(NotFound):
            await ids(Page(2, "none"))
        with pytest.raises(Invalid) as refused:
            await ids(Page(2, None, "none"))
        assert refused.value.field == "sort_key"

    async def test_a_report_fills_in_what_is_wanted(self, store: Store) -> None:
        await self.added(store, image("i1"))
        await store.write(lambda tx: tx.images.observe("node-1", [("alpine", "3", PULLED)], {}, T0))
        (found,) = await self.on_node(store)
        assert (found.id, found.image_id, found.size, found.wanted) == ("i1", "sha256:1", 7, True)

    async def test_a_report_adds_what_is_new_and_drops_what_is_gone(self, store: Store) -> None:
        seen = [("alpine", "3", PULLED), ("busybox", "1", PULLED), ("busybox", "1", PULLED)]
        await self.added(store, image("other", node="node-2"))
        await store.write(lambda tx: tx.images.observe("node-1", seen, {}, T0))
        found = await self.on_node(store)
        assert [(i.repo, i.wanted, i.created_at) for i in found] == [("alpine", False, T0), ("busybox", False, T0)]
        await store.write(lambda tx: tx.images.observe("node-1", seen[:1], {}, LATER))
        assert await self.on_node(store) == found[:1]
        assert len(await self.on_node(store, "node-2")) == 1

    async def test_what_is_wanted_stays_and_what_is_removing_goes(self, store: Store) -> None:
        await self.added(store, image("i1"), image("i2", tag="4"))
        both = [("alpine", "3", PULLED), ("alpine", "4", PULLED)]
        await store.write(lambda tx: tx.images.observe("node-1", both, {}, T0))
        assert (await store.write(lambda tx: tx.images.set_removing("i2"))).removing
        await store.write(lambda tx: tx.images.observe("node-1", both, {}, T0))
        assert len(await self.on_node(store)) == 2
        await store.write(lambda tx: tx.images.observe("node-1", [], {}, T0))
        (found,) = await self.on_node(store)
        assert (found.id, found.image_id, found.size) == ("i1", None, None)
        with pytest.raises(NotFound):
            await store.write(lambda tx: tx.images.set_removing("i2"))

    async def test_a_failure_stands_until_the_image_is_there(self, store: Store) -> None:
        await self.added(store, image("i1"))
        await store.write(lambda tx: tx.images.observe("node-1", [], {"i1": "no such tag", "else": "x"}, T0))
        await store.write(lambda tx: tx.images.observe("node-1", [], {}, T0))
        assert (await self.on_node(store))[0].failure == "no such tag"
        await store.write(lambda tx: tx.images.observe("node-1", [("alpine", "3", PULLED)], {}, T0))
        assert (await self.on_node(store))[0].failure is None


class TestTokens:
    async def test_a_revocation_is_remembered_as_long_as_it_matters(self, store: Store, clock: Clock) -> None:
        assert not await store.read(lambda tx: tx.tokens.is_revoked("t1"))
        for _ in range(2):
            await store.write(lambda tx: tx.tokens.revoke("t1", LATER))
        assert await store.read(lambda tx: tx.tokens.is_revoked("t1"))
        assert not await store.read(lambda tx: tx.tokens.is_revoked("t2"))
        clock.forward(10)
        await store.write(lambda tx: tx.tokens.revoke("t2", clock.now + timedelta(seconds=5)))
        assert await store.read(lambda tx: tx.tokens.is_revoked("t2"))
        assert not await store.read(lambda tx: tx.tokens.is_revoked("t1"))


def departure(id: str, name: str = "web", project: str = "p-ann", after: float = 0) -> Departure:
    return Departure(id, project, "u-ann", name, "n1", T0 + timedelta(seconds=after))


class TestDepartures:
    async def left(self, store: Store, *departures: Departure) -> None:
        await store.write(lambda tx: tx.departures.add(departures))

    async def found(self, store: Store, scope: Scope, ident: str) -> Departure:
        return await store.read(lambda tx: tx.departures.get(scope, ident, T0))

    async def test_they_are_found_by_id_and_by_name_in_their_project(self, store: Store) -> None:
        await self.left(store, departure("a"), departure("b", "db"), departure("c", project="p-bob"))
        for scope, ident, id in (
            (ANN, "a", "a"),
            (ANN, "web", "a"),
            (ANN, "db", "b"),
            (BOB, "web", "c"),
            (EVERYBODY, "c", "c"),
        ):
            assert (await self.found(store, scope, ident)).id == id
        for scope, ident in ((BOB, "a"), (ANN, "c"), (ANN, "none"), (BOB, "db")):
            with pytest.raises(NotFound):
                await self.found(store, scope, ident)

    async def test_several_of_a_name_need_the_id(self, store: Store) -> None:
        await self.left(store, departure("a"), departure("b"))
        with pytest.raises(Conflict):
            await store.read(lambda tx: tx.departures.get(ANN, "web", T0))
        assert (await store.read(lambda tx: tx.departures.get(ANN, "b", T0))).id == "b"

    async def test_the_first_word_on_one_counts(self, store: Store) -> None:
        await self.left(store)
        await self.left(store, departure("a"), departure("a", after=5))
        await self.left(store, departure("a", "other", after=9))
        assert await store.read(lambda tx: tx.departures.get(ANN, "a", T0)) == departure("a")

    async def test_the_old_ones_are_not_found_and_then_forgotten(self, store: Store) -> None:
        await self.left(store, departure("a"), departure("b", after=10))
        with pytest.raises(NotFound):
            await store.read(lambda tx: tx.departures.get(ANN, "a", LATER))
        assert (await store.read(lambda tx: tx.departures.get(ANN, "web", LATER))).id == "b"
        assert await store.write(lambda tx: tx.departures.prune(LATER, 100)) == 1
        with pytest.raises(NotFound):
            await store.read(lambda tx: tx.departures.get(ANN, "a", T0))

    async def test_of_each_project_the_latest_are_kept(self, store: Store) -> None:
        await self.left(store, *(departure(id, after=after) for after, id in enumerate("abcd")))
        assert await store.write(lambda tx: tx.departures.prune(T0, 4)) == 0
        assert await store.write(lambda tx: tx.departures.prune(T0, 2)) == 2
        for id in "cd":
            assert (await store.read(lambda tx, id=id: tx.departures.get(ANN, id, T0))).id == id  # type: ignore[misc]
        for id in "ab":
            with pytest.raises(NotFound):
                await store.read(lambda tx, id=id: tx.departures.get(ANN, id, T0))  # type: ignore[misc]
