"""Listing containers: whose, which, in what order, in pages."""

from typing import Any

import pytest

from tests.support.api import World


def names(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()["containers"]]


async def fill(world: World, *made: str, who: str = "ann", **body: Any) -> dict[str, str]:
    """Containers of these names, with their ids."""
    return {name: (await world.make(who, name=name, **body))["uuid"] for name in made}


async def test_list_items_have_no_links(world: World) -> None:
    await fill(world, "one")
    [item] = (await world.call("GET", "/v1/containers")).json()["containers"]
    assert "links" not in item
    assert list(item)[:2] == ["uuid", "user_id"]


async def test_everybody_lists_their_own_project(world: World) -> None:
    await fill(world, "of-ann")
    await fill(world, "of-bob", who="bob")
    assert names(await world.call("GET", "/v1/containers")) == ["of-ann"]
    assert names(await world.call("GET", "/v1/containers", who="carl")) == ["of-ann"]
    assert names(await world.call("GET", "/v1/containers", who="bob")) == ["of-bob"]
    assert names(await world.call("GET", "/v1/containers", who="admin")) == []
    everything = await world.call("GET", "/v1/containers?all_projects=True", who="admin")
    assert names(everything) == ["of-ann", "of-bob"]
    assert (await world.call("GET", "/v1/containers?all_projects=True")).status_code == 403
    assert names(await world.call("GET", "/v1/containers?all_projects=False")) == ["of-ann"]


async def test_pages_follow_one_another_with_their_filters(world: World) -> None:
    await fill(world, "a1", "a2", "a3", "a4", image="alpine")
    await fill(world, "b1")
    url: str | None = "/v1/containers?limit=2&image=alpine&sort_key=name&sort_dir=desc"
    seen = []
    while url:
        answer = await world.call("GET", url)
        seen.append(names(answer))
        url = answer.json()["next"]
    assert seen == [["a4", "a3"], ["a2", "a1"], []]


async def test_next_carries_all_projects(world: World) -> None:
    await fill(world, "a1", "a2")
    answer = await world.call("GET", "/v1/containers?all_projects=True&limit=1", who="admin")
    assert "all_projects=True" in answer.json()["next"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["a1", "a2", "b1"]),
        ("name=a1", ["a1"]),
        ("name=a1&name=b1", ["a1", "b1"]),
        ("image=alpine", ["a1", "a2"]),
        ("image=alpine&name=b1", []),
        ("memory=128", ["b1"]),
        ("memory=lots", []),
        ("user_id=u-ann", ["a1", "a2", "b1"]),
        ("user_id=u-bob", []),
        ("project_id=p-cellar", []),
        ("auto_remove=true", ["b1"]),
        ("auto_remove=0", ["a1", "a2"]),
        ("status=Creating", ["a2", "b1"]),
        ("status=Running", ["a1"]),
        ("status=Running&status=Creating", ["a1", "a2", "b1"]),
        ("status=Nonsense", []),
        ("task_state=container_stopping", []),
        ("expand=1&resource_url=x", ["a1", "a2", "b1"]),
        ("sort_dir=desc", ["b1", "a2", "a1"]),
        ("sort_key=memory&sort_dir=desc&limit=1", ["b1"]),
        ("limit=100000", ["a1", "a2", "b1"]),
    ],
)
async def test_filters(world: World, query: str, expected: list[str]) -> None:
    made = await fill(world, "a1", "a2", image="alpine")
    await fill(world, "b1", memory=128, auto_remove=True)
    await world.settle(made["a1"])
    assert names(await world.call("GET", f"/v1/containers/?{query}")) == expected


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("limit=0", 400, "Limit must be positive integer"),
        ("limit=-1", 400, "Limit must be positive integer"),
        ("limit=ten", 400, "Limit must be positive integer"),
        ("limit=1&limit=2", 400, "limit"),
        ("sort_dir=up", 400, "sort_dir"),
        ("sort_key=colour", 400, "sort_key"),
        ("marker=0f3c2f6e-0000-4000-8000-000000000000", 404, "0f3c2f6e"),
        ("colour=red", 400, "Unknown parameters: 'colour'"),
        ("auto_remove=maybe", 400, "auto_remove"),
        ("all_projects=maybe", 400, "all_projects"),
        ("host=rack-1", 403, "container:get_one:host"),
        ("name=%ff", 400, "UTF-8"),
        ("name=a%00b", 400, "NUL"),
        ("&".join(f"k{i}=1" for i in range(200)), 400, "keys"),
    ],
)
async def test_bad_list_requests(world: World, query: str, status: int, words: str) -> None:
    answer = await world.call("GET", f"/v1/containers?{query}")
    assert answer.status_code == status, answer.text
    assert words in answer.json()["errors"][0]["title"]


async def test_status_filters_look_beyond_the_first_page(world: World) -> None:
    made = await fill(world, *(f"c{i:02}" for i in range(12)))
    for name in ("c05", "c11"):
        await world.settle(made[name])
    first = await world.call("GET", "/v1/containers?status=Running&limit=1")
    assert names(first) == ["c05"]
    assert names(await world.call("GET", first.json()["next"])) == ["c11"]


async def test_an_admin_filters_by_host(world: World) -> None:
    made = await fill(world, "here", "nowhere")
    await world.settle(made["here"])
    assert names(await world.call("GET", "/v1/containers?host=rack-1&all_projects=1", who="admin")) == ["here"]
    assert names(await world.call("GET", "/v1/containers?host=rack-9&all_projects=1", who="admin")) == []


@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("status", ["b", "d", "a", "c"]),  # Creating before Running, in the order of their making
        ("hostname", ["d", "c", "b", "a"]),
        ("workdir", ["b", "c", "d", "a"]),
        ("tty", ["a", "c", "d", "b"]),
    ],
)
async def test_lists_are_sorted_by_what_no_column_has(
    world: World, key: str, expected: list[str], direction: str
) -> None:
    made = {
        name: (await world.make(name=f"c-{name}", hostname=hostname, **body))["uuid"]
        for name, hostname, body in (
            ("a", "z", {"workdir": "/tmp"}), ("b", "y", {"tty": True}), ("c", "x", {}), ("d", "w", {})
        )
    }  # fmt: skip
    for name in "ac":
        await world.settle(made[name])
    expected = [f"c-{name}" for name in (expected if direction == "asc" else reversed(expected))]
    for limit in (1, 3, 10):
        url, seen = f"/v1/containers?sort_key={key}&sort_dir={direction}&limit={limit}", []
        while url:
            answer = await world.call("GET", url)
            seen += names(answer)
            url = answer.json()["next"]
        assert seen == expected
    running = await world.call("GET", f"/v1/containers?sort_key={key}&sort_dir={direction}&status=Running")
    assert names(running) == [name for name in expected if name in ("c-a", "c-c")]


async def test_a_marker_of_others_is_unknown_whatever_is_sorted_by(world: World) -> None:
    theirs = await world.make("bob", name="theirs")
    for marker in (theirs["uuid"], "nothing"):
        answer = await world.call("GET", f"/v1/containers?sort_key=status&marker={marker}")
        assert answer.status_code == 404, answer.text


async def test_who_sorts_by_nonsense_is_told_by_what_one_can_sort(world: World) -> None:
    answer = await world.call("GET", "/v1/containers?sort_key=colour")
    assert answer.status_code == 400
    for word in ("created_at", "status", "task_state"):
        assert word in answer.json()["errors"][0]["title"]
