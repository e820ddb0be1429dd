"""What every store promises of projects' own images."""

from dataclasses import replace

import pytest

from krater.errors import Invalid, NotFound
from krater.model.assignment import NodeImage
from krater.store.interfaces import APART, EVERYBODY, Action, OwnImage, Page, Scope, Store
from tests.support.stores import Clock

KITCHEN, CELLAR = Scope("kitchen"), Scope("cellar")
DIGEST = "sha256:1"


def image(id: str, repo: str = "app", tag: str = "latest", project: str = "kitchen", node: str = "n1") -> OwnImage:
    stored = f"krater.local/{project}/{id}:latest"
    return OwnImage(id, project, "ann", repo, tag, node, stored, "c1", f"req-{id}", Clock()())


async def add(store: Store, *images: OwnImage) -> None:
    for one in images:
        await store.write(lambda tx, one=one: tx.own_images.add(one))  # type: ignore[misc]


def there(*images: OwnImage) -> dict[str, NodeImage]:
    return {one.stored: NodeImage(one.stored, DIGEST, 7) for one in images}


async def test_an_image_is_found_by_id_and_name_in_its_project_only(store: Store) -> None:
    await add(store, image("1"))
    for scope in (KITCHEN, EVERYBODY):
        found = await store.read(
            lambda tx, s=scope: (tx.own_images.get(s, "1"), tx.own_images.named(s, "app", "latest"))  # type: ignore[misc]
        )
        assert found[0] == found[1] == replace(image("1"), seq=found[0].seq)
    for ask in (
        lambda tx: tx.own_images.get(CELLAR, "1"),
        lambda tx: tx.own_images.named(CELLAR, "app", "latest"),
        lambda tx: tx.own_images.named(KITCHEN, "app", "other"),
        lambda tx: tx.own_images.get(KITCHEN, "2"),
    ):
        with pytest.raises(NotFound):
            await store.read(ask)
    with pytest.raises(NotFound):
        await store.write(lambda tx: tx.own_images.delete(CELLAR, "1"))
    assert await store.read(lambda tx: (tx.own_images.count("kitchen"), tx.own_images.count("cellar"))) == (1, 0)


async def test_a_name_means_the_newest_that_is_ready(store: Store) -> None:
    one, two, three = image("1"), image("2"), image("3")
    await add(store, one, two, three)
    assert (await store.read(lambda tx: tx.own_images.named(KITCHEN, "app", "latest"))).id == "3"
    await store.write(lambda tx: list(tx.own_images.observe("n1", there(one, two), {})))
    assert (await store.read(lambda tx: tx.own_images.named(KITCHEN, "app", "latest"))).id == "2"
    await store.write(lambda tx: list(tx.own_images.observe("n1", there(one), {})))
    assert (await store.read(lambda tx: tx.own_images.named(KITCHEN, "app", "latest"))).id == "1"


async def test_what_a_node_tells_ends_what_was_being_made(store: Store) -> None:
    made, failed, waits, elsewhere = image("1"), image("2"), image("3"), image("4", node="n2")
    await add(store, made, failed, waits, elsewhere)
    failures = {"2": "no room", "4": "not of this node"}
    ended = await store.write(lambda tx: list(tx.own_images.observe("n1", there(made), failures)))
    assert [(o.image.id, o.error) for o in ended] == [("1", None), ("2", "no room")]
    again = await store.write(lambda tx: list(tx.own_images.observe("n1", there(made), failures)))
    assert again == []
    left = await store.read(lambda tx: tx.own_images.on_node("n1"))
    assert [(i.id, i.image_id, i.size, i.is_ready) for i in left] == [("1", DIGEST, 7, True), ("3", None, None, False)]
    assert [i.id for i in await store.read(lambda tx: tx.own_images.on_node("n2"))] == ["4"]


async def test_an_image_that_its_node_lost_and_has_again(store: Store) -> None:
    one = image("1")
    await add(store, one)
    for images, is_ready in ((there(one), True), ({}, False), (there(one), True)):
        await store.write(lambda tx, i=images: list(tx.own_images.observe("n1", i, {})))  # type: ignore[misc]
        assert (await store.read(lambda tx: tx.own_images.get(KITCHEN, "1"))).is_ready is is_ready


async def test_lists_are_of_one_project_and_come_in_pages(store: Store) -> None:
    await add(store, image("1", "b"), image("2", "a"), image("3", "c"), image("4", project="cellar"))

    async def ids(page: Page) -> list[str]:
        return [i.id for i in await store.read(lambda tx: tx.own_images.list(KITCHEN, page))]

    assert await ids(Page(10)) == ["1", "2", "3"]
    assert await ids(Page(2, sort_key="name")) == ["2", "1"]
    assert await ids(Page(2, marker="1", sort_key="name")) == ["3"]
    assert await ids(Page(10, marker="2", descending=True)) == ["1"]
    with pytest.raises(Invalid):
        await ids(Page(10, sort_key="colour"))
    with pytest.raises(NotFound):
        await ids(Page(10, marker="4"))


async def test_an_action_apart_ends_by_its_request_alone(store: Store, clock: Clock) -> None:
    for request, generation in (("commit", APART), ("start", 3)):
        action = Action("w", request, request, "ann", "kitchen", generation, clock())
        await store.write(lambda tx, a=action: tx.actions.start(a))  # type: ignore[misc]
    await store.write(lambda tx: tx.actions.finish("w", 3, None, clock()))
    ends = {a.action: a.finish_time for a in await store.read(lambda tx: tx.actions.list(KITCHEN, "w"))}
    assert ends["start"] is not None
    assert ends["commit"] is None
    await store.write(lambda tx: tx.actions.finish_request("w", "commit", "why", clock()))
    [commit] = [a for a in await store.read(lambda tx: tx.actions.list(KITCHEN, "w")) if a.action == "commit"]
    assert (commit.message, commit.finish_time) == ("why", clock())
