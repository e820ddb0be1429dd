"""More tables of the Container API: spellings of booleans and numbers, list parameters, and what is allowed when."""

from typing import Any

import pytest

from krater.model.operations import ALLOWED
from tests.support.api import FakeAgent, World

pytestmark = pytest.mark.thorough

TRUE = ("True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes")
FALSE = ("False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no")
BODY = {"image": "busybox", "cpu": 0.1, "memory": 64}


async def ask(world: World, path: str, *, who: str = "ann", method: str = "GET", **more: Any) -> int:
    return (await world.call(method, path, who=who, **more)).status_code


# Booleans -------------------------------------------------------------------------------------------------------------


async def test_extended_booleans(world: World) -> None:
    """`run` on create, and the streams of logs."""
    FakeAgent(world)
    running = await world.into("Running")
    for word in (*TRUE, *FALSE):
        made = await world.call("POST", f"/v1/containers?run={word}", json=BODY)
        assert made.status_code == 202, word
        assert (await world.stored(made.json()["uuid"])).intent.run == int(word in TRUE), word
        assert await ask(world, f"/v1/containers/{running}/logs?stderr={word}&timestamps={word}") == 200, word
    for word in ("t", "y", "T", "Y", "f", "n", "2", "yEs", "tRUE", "maybe", "", "None"):
        assert await ask(world, f"/v1/containers?run={word}", method="POST", json=BODY) == 400, word


@pytest.mark.parametrize("field", ["interactive", "tty", "auto_heal"])
async def test_booleans_of_a_body(world: World, field: str) -> None:
    meanings = {True: (True, "True", "true", 1), False: (False, "False", "false", 0)}
    for meaning, values in meanings.items():
        for value in values:
            answer = await world.call("POST", "/v1/containers", json={**BODY, field: value})
            assert (answer.status_code, answer.json().get(field)) == (202, meaning), value
    wrongs: tuple[Any, ...] = ("1", "0", "on", "yes", "TRUE", "t", 2, 1.5, [], {})
    for wrong in wrongs:
        answer = await world.call("POST", "/v1/containers", json={**BODY, field: wrong})
        assert answer.status_code == 400, wrong
        assert field in answer.json()["errors"][0]["title"]


async def test_strict_booleans(world: World) -> None:
    for word in ("1", "t", "true", "on", "y", "yes", "0", "f", "false", "off", "n", "no", "TRUE", "Y"):
        assert await ask(world, f"/v1/containers?all_projects={word}", who="admin") == 200, word
    for word in ("2", "maybe", "", "None", "truee"):
        assert await ask(world, f"/v1/containers?all_projects={word}", who="admin") == 400, word


# Numbers --------------------------------------------------------------------------------------------------------------

NUMBERS: dict[str, tuple[list[tuple[Any, Any]], list[Any]]] = {
    "cpu": (
        [(0.1, 0.1), (16, 16.0), ("0.5", 0.5), (".5", 0.5), ("1", 1.0), (None, 1.0)],
        [0.09, 16.01, "17", "1.", "", ".", "-1", "1e1", " 1", "0x1", True, []],
    ),
    "memory": (
        [(4, "4"), ("4", "4"), ("0064", "64"), (8192, "8192"), (None, "512")],
        [3, 8193, "8193", "64m", "64.0", 64.5, "-4", "", "\u0664", True],
    ),
    "disk": ([(1, 1), ("20", 20), (None, 0)], [0, 161, "161", -1, "1G", 1.5, True]),
}
"""What is taken and how it is shown, and what is not. Nothing means the default, where Zun failed."""


@pytest.mark.parametrize("field", NUMBERS)
async def test_numbers_of_a_container(world: World, field: str) -> None:
    taken, refused = NUMBERS[field]
    for value, shown in taken:
        answer = await world.call("POST", "/v1/containers", json={**BODY, field: value})
        assert (answer.status_code, answer.json().get(field)) == (202, shown), value
    for value in refused:
        answer = await world.call("POST", "/v1/containers", json={**BODY, field: value})
        assert answer.status_code == 400, value
        [error] = answer.json()["errors"]
        assert error["code"] == "container.schema-validation-error"
        assert error["title"].startswith(field)


async def test_a_timeout_is_digits(world: World) -> None:
    for word in ("None", "-1", "1.5", "1s", "%20", "\u0661"):
        path = f"/v1/containers/{await world.into('Running')}/stop?timeout={word}"
        assert await ask(world, path, method="POST") == 400, word
    for word in ("0", "30", ""):
        path = f"/v1/containers/{await world.into('Running')}/stop?timeout={word}"
        assert await ask(world, path, method="POST") == 202, word


# Lists ----------------------------------------------------------------------------------------------------------------

LISTS = ("containers", "images", "hosts")


PARAMETERS = {
    200: ("", "limit=1", "limit=100000", "sort_dir=desc", "sort_key=uuid"),
    400: ("limit=0", "limit=-1", "limit=one", "limit=", "sort_dir=up", "sort_key=nonsense"),
    404: ("marker=00000000-0000-4000-8000-000000000000",),
}


@pytest.mark.parametrize("collection", LISTS)
async def test_parameters_of_lists(world: World, collection: str) -> None:
    await world.make("admin")
    for status, queries in PARAMETERS.items():
        for query in queries:
            answer = await world.call("GET", f"/v1/{collection}?{query}", who="admin")
            assert answer.status_code == status, query
            if status == 200:
                assert list(answer.json()) == [collection, "next"]
            elif query.startswith("limit"):
                assert answer.json()["errors"][0]["title"] == "Limit must be positive integer"


@pytest.mark.parametrize(
    ("collection", "status"), [("containers", 400), ("images", 200), ("hosts", 200), ("availability_zones", 200)]
)
async def test_parameters_that_a_list_does_not_know(world: World, collection: str, status: int) -> None:
    assert await ask(world, f"/v1/{collection}?nonsense=1", who="admin") == status


async def test_there_is_a_next_part_exactly_when_this_one_is_full(world: World) -> None:
    made = [(await world.make())["uuid"] for _ in range(3)]
    for limit, full in ((2, True), (3, True), (4, False)):
        answer = (await world.call("GET", f"/v1/containers?limit={limit}")).json()
        assert (answer["next"] is not None) is full
        if full:
            assert answer["next"] == (
                f"http://krater.test:9517/v1/containers?sort_key=id&sort_dir=asc&limit={limit}&marker={made[limit - 1]}"
            )


FILTERS = {
    "name=a1": 1,
    "name=a1&name=b1": 2,
    "memory=64": 2,
    "memory=nonsense": 0,
    "auto_remove=true": 0,
    "status=Running": 0,
    "status=Creating&status=Running": 2,
    "expand=True": 2,
    "project_id=p-cellar": 0,
}


async def test_filters_are_exact_and_repeated_ones_are_either(world: World) -> None:
    for name in ("a1", "b1"):
        await world.make(name=name)
    for query, count in FILTERS.items():
        answer = await world.call("GET", f"/v1/containers?{query}")
        assert (answer.status_code, len(answer.json()["containers"])) == (200, count), query


# States ---------------------------------------------------------------------------------------------------------------

STATES = (
    *("Created", "Running", "Stopped", "Paused", "Error", "Unknown", "Creating", "Deleted", "Dead", "Restarting"),
    *("Rebuilding", "Deleting"),
)
MATRIX = """
start                              | x |   | x |   | x |   |   |   |   |   |   |
stop                               |   | x |   |   |   |   |   |   |   |   |   |
reboot rebuild                     | x | x | x |   | x |   |   |   |   |   |   |
pause kill execute execute_resize  |   | x |   |   |   |   |   |   |   |   |   |
attach resize top stats            |   | x |   |   |   |   |   |   |   |   |   |
unpause                            |   |   |   | x |   |   |   |   |   |   |   |
update resize_container            | x | x | x | x |   |   |   |   |   |   |   |
add_security_group                 | x | x | x | x |   |   |   |   |   |   |   |
remove_security_group              | x | x | x | x |   |   |   |   |   |   |   |
get_archive put_archive            | x | x | x | x |   |   |   |   |   |   |   |
logs                               | x | x | x | x | x | x |   |   |   |   |   |
commit                             |   | x | x | x |   |   |   |   |   |   |   |
delete                             | x |   | x |   | x |   |   | x | x |   |   |
delete_force                       | x | x | x |   | x | x | x | x | x | x | x | x
delete_stop                        | x | x | x |   | x |   |   | x | x |   |   |
"""
"""The valid-state matrix of the specification, column by column as it stands there."""

WIDER = {
    "stop": {"Restarting"},
    "logs": {"Restarting"},
    "delete_stop": {"Creating", "Paused", "Unknown", "Restarting", "Rebuilding"},
}
"""What Krater allows beyond it, so that nobody is stuck: docs/compatibility.md."""


def matrix() -> list[tuple[str, frozenset[str]]]:
    rows = []
    for line in MATRIX.strip().splitlines():
        names, *cells = line.split("|")
        states = frozenset(state for state, cell in zip(STATES, cells, strict=True) if cell.strip())
        rows += [(name, states | WIDER.get(name, set())) for name in names.split()]
    return rows


def test_the_matrix_names_every_operation() -> None:
    assert {name for name, _ in matrix()} == set(ALLOWED)


@pytest.mark.parametrize(("operation", "states"), matrix())
def test_each_operation_is_allowed_where_the_specification_says(operation: str, states: frozenset[str]) -> None:
    assert ALLOWED[operation] == states


REQUESTS = {
    **{name: ("POST", f"/{name}") for name in ("start", "stop", "reboot", "rebuild", "pause", "unpause", "kill")},
    **{name: ("GET", f"/{name}") for name in ("top", "stats", "logs")},
    "execute": ("POST", "/execute?command=true"),
    "update": ("PATCH", ""),
    "resize_container": ("POST", "/resize_container"),
    "delete": ("DELETE", ""),
    "delete_stop": ("DELETE", "?stop=true"),
}


@pytest.mark.parametrize("status", [state for state in STATES if state not in ("Deleted", "Dead")])
async def test_what_a_state_does_not_allow_is_a_conflict_that_says_so(world: World, status: str) -> None:
    FakeAgent(world)
    allowed = dict(matrix())
    id = await world.into(status)
    for operation, (method, rest) in REQUESTS.items():
        if status in allowed[operation]:
            continue
        answer = await world.call(method, f"/v1/containers/{id}{rest}", json={"cpu": 0.2} if method == "PATCH" else {})
        [error] = answer.json()["errors"]
        assert (answer.status_code, error["code"]) == (409, "container.invalid-state-exception"), operation
        word = operation.partition("_")[0] if method == "DELETE" else operation
        assert error["title"] == f"Cannot {word} container {id} in {status} state."
