"""Files of containers as archives: whole in a JSON text, and streamed."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from krater.bus.archives import PackFiles, UnpackFiles
from krater.bus.interfaces import node_target
from krater.config import Settings
from krater.errors import Conflict, Permanent, Temporary, Unavailable
from tests.support.api import NODE, World, open_world
from tests.support.archives import archive_of, files, hostile, member, opened
from tests.support.node_files import FilesEngine, served


@pytest.fixture
def node(world: World) -> FilesEngine:
    return served(world.bus, NODE)[0]


def url(container: str, action: str) -> str:
    return f"/v1/containers/{container}/{action}"


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("status", ["Created", "Running", "Paused", "Stopped"])
async def test_an_archive_goes_in_and_comes_out(world: World, node: FilesEngine, status: str) -> None:
    id = await world.into(status)
    body = {"data": coded(files(motd="hello"))}
    put = await world.call("POST", url(id, "put_archive"), params={"path": "/tmp"}, json=body)
    assert (put.status_code, put.content) == (200, b"null")
    got = await world.call("GET", url(id, "get_archive"), params={"path": "/tmp/motd"})
    assert got.status_code == 200
    answer = got.json()
    assert set(answer) == {"data", "stat"}
    assert opened(base64.b64decode(answer["data"]))["motd"][1] == b"hello"
    assert answer["stat"] == {
        "name": "motd",
        "size": 5,
        "mode": 0o644,
        "mtime": "2001-09-09T01:46:40Z",
        "linkTarget": "",
    }
    assert node.open == 0


@pytest.mark.parametrize(("minor", "is_text"), [(1, True), (24, True), (25, False), (40, False)])
async def test_before_1_25_archives_are_plain_text(world: World, node: FilesEngine, minor: int, is_text: bool) -> None:
    id, version = (await world.running())["uuid"], f"container 1.{minor}"
    data = files(motd="häuser")
    body = {"path": "/tmp", "data": data.decode() if is_text else coded(data)}
    put = await world.call("POST", url(id, "put_archive"), version=version, json=body)
    assert put.status_code == 200, put.text
    got = await world.call("GET", url(id, "get_archive"), version=version, params={"path": "/tmp/motd"})
    text = got.json()["data"]
    found = opened(text.encode() if is_text else base64.b64decode(text))
    assert found["motd"][1].decode() == "häuser"


async def test_what_is_no_text_needs_1_25(world: World, node: FilesEngine) -> None:
    id = (await world.running())["uuid"]
    data = archive_of(member("motd", content=b"\xff"))
    await world.call("POST", url(id, "put_archive"), json={"path": "/tmp", "data": coded(data)})
    got = await world.call("GET", url(id, "get_archive"), version="container 1.24", params={"path": "/tmp/motd"})
    assert got.status_code == 400
    assert "1.25" in got.json()["errors"][0]["title"]


@pytest.mark.parametrize("how", [{"params": {"path": "/tmp"}}, {}])
async def test_the_path_may_come_in_query_or_body(world: World, node: FilesEngine, how: dict[str, Any]) -> None:
    id = (await world.running())["uuid"]
    body = {"data": coded(files(a="b"))} | ({} if how else {"path": "/tmp"})
    assert (await world.call("POST", url(id, "put_archive"), json=body, **how)).status_code == 200


GOOD = coded(files(a="b"))


@pytest.mark.parametrize(
    ("query", "body", "status", "word"),
    [
        ("", {"data": GOOD}, 400, "path"),
        ("?path=", {"data": GOOD}, 400, "path"),
        ("?path=/tmp", {}, 400, "data"),
        ("?path=/tmp", None, 400, "data"),
        ("?path=/tmp", {"data": None}, 400, "data"),
        ("?path=/tmp", {"data": 5}, 400, "data"),
        ("?path=/tmp", {"data": ["x"]}, 400, "data"),
        ("?path=/tmp", {"data": "no base64!"}, 400, "data"),
        ("?path=/tmp", {"data": "QUJ"}, 400, "data"),
        ("?path=/tmp", {"data": "ü"}, 400, "data"),
        ("?path=/tmp", {"data": ""}, 400, "archive"),
        ("?path=/tmp", {"data": "QUJD"}, 400, "archive"),
        ("?path=/tmp", [GOOD], 400, "JSON object"),
        ("?path=/tmp", "text", 400, "JSON object"),
        ("?path=/tmp", {"path": "/etc", "data": GOOD}, 400, "path"),
        ("?path=/tmp&path=/etc", {"data": GOOD}, 400, "path"),
        ("", {"path": ["/tmp"], "data": GOOD}, 400, "path"),
        ("", {"path": "/tmp\0", "data": GOOD}, 400, "NUL"),
        ("?path=/" + "x" * 5000, {"data": GOOD}, 400, "path"),
        ("?path=/nowhere", {"data": GOOD}, 404, "/nowhere"),
        ("?path=/tmp&colour=red", {"data": GOOD, "size": "XL"}, 200, "null"),
    ],
)
async def test_arguments_of_put_archive(
    world: World, node: FilesEngine, query: str, body: Any, status: int, word: str
) -> None:
    id = (await world.running())["uuid"]
    more = {} if body is None else {"json": body}
    answer = await world.call("POST", url(id, "put_archive") + query, **more)
    assert answer.status_code == status, answer.text
    assert word in answer.text
    assert node.open == 0


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b'{"data": "\\ud800", "path": "/tmp"}', b"[" * 5000])
async def test_bodies_that_are_no_json(world: World, node: FilesEngine, content: bytes) -> None:
    id = (await world.running())["uuid"]
    answer = await world.call("POST", url(id, "put_archive"), content=content)
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize("action", ["get_archive", "archive"])
@pytest.mark.parametrize(
    ("query", "status"),
    [("", 400), ("?path=", 400), ("?path=/nothing", 404), ("?path=/a%00b", 400), ("?path=/tmp&path=/", 400)],
)
async def test_arguments_of_reading(world: World, node: FilesEngine, action: str, query: str, status: int) -> None:
    id = (await world.running())["uuid"]
    assert (await world.call("GET", url(id, action) + query)).status_code == status
    assert node.open == 0


@pytest.mark.parametrize("what", ["absolute name", "dots", "character device", "not an archive"])
async def test_a_hostile_archive_is_refused_with_its_reason(world: World, node: FilesEngine, what: str) -> None:
    id, data = (await world.running())["uuid"], hostile()[what][0]
    whole = await world.call("POST", url(id, "put_archive"), json={"path": "/tmp", "data": coded(data)})
    streamed = await world.call("PUT", url(id, "archive"), params={"path": "/tmp"}, content=data)
    for answer in (whole, streamed):
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "container.archive-refused")
    assert node.open == 0


CALLS = [
    ("GET", "get_archive", {"params": {"path": "/tmp"}}),
    ("POST", "put_archive", {"params": {"path": "/tmp"}, "json": {"data": GOOD}}),
    ("GET", "archive", {"params": {"path": "/tmp"}}),
    ("HEAD", "archive", {"params": {"path": "/tmp"}}),
    ("PUT", "archive", {"params": {"path": "/tmp"}, "content": files(a="b")}),
]


@pytest.mark.parametrize(("method", "action", "more"), CALLS)
@pytest.mark.parametrize("status", ["Creating", "Error", "Restarting", "Rebuilding", "Deleting", "Unknown"])
async def test_other_states_do_not_allow_it(
    world: World, node: FilesEngine, status: str, method: str, action: str, more: dict[str, Any]
) -> None:
    id = await world.into(status)
    assert (await world.call(method, url(id, action), **more)).status_code == 409
    assert not node.files


@pytest.mark.parametrize(("method", "action", "more"), CALLS)
async def test_others_do_not_see_it(
    world: World, node: FilesEngine, method: str, action: str, more: dict[str, Any]
) -> None:
    id = (await world.running())["uuid"]
    assert (await world.call(method, url(id, action), who="bob", **more)).status_code == 404
    expected = 403 if method in ("PUT", "POST") else 200
    assert (await world.call(method, url(id, action), who="reader", **more)).status_code == expected
    assert (await world.call(method, url("nobody", action), **more)).status_code == 404


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unavailable(f"node:{NODE} does not answer."), 503),
        (Temporary("The copying broke off on the node; try again."), 503),
        (Conflict("The files of the container are read-only there."), 409),
        (Permanent("It cannot be done."), 500),
    ],
)
@pytest.mark.parametrize(("method", "action", "more"), CALLS)
async def test_what_the_node_says_is_answered(
    world: World, error: Exception, status: int, method: str, action: str, more: dict[str, Any]
) -> None:
    async def fail(_: object) -> None:
        raise error

    id = (await world.running())["uuid"]
    world.bus.serve(node_target(NODE), {PackFiles: fail, UnpackFiles: fail})
    answer = await world.call(method, url(id, action), **more)
    assert answer.status_code == status
    assert NODE not in answer.text


async def test_an_archive_is_streamed_both_ways(world: World, node: FilesEngine) -> None:
    id = (await world.running())["uuid"]
    data = files(**{f"f{n}": "x" * 10_000 for n in range(100)})
    put = await world.call("PUT", url(id, "archive"), params={"path": "/tmp"}, content=data)
    assert (put.status_code, put.content) == (200, b"null")
    got = await world.call("GET", url(id, "archive"), params={"path": "/tmp"})
    assert (got.status_code, got.headers["content-type"]) == (200, "application/x-tar")
    assert "content-length" not in got.headers
    assert len(opened(got.content)) == 101
    stat = json.loads(base64.b64decode(got.headers["x-krater-archive-stat"]))
    assert stat["name"] == "tmp"
    head = await world.call("HEAD", url(id, "archive"), params={"path": "/tmp/f1"})
    assert json.loads(base64.b64decode(head.headers["x-krater-archive-stat"]))["size"] == 10_000
    assert node.open == 0


async def test_limits(tmp_path: Path) -> None:
    settings = Settings()
    settings = replace(settings, api=replace(settings.api, archive_limit=20_000, archive_stream_limit=100_000))
    async with open_world(tmp_path, settings) as world:
        node, _ = served(world.bus, NODE)
        id = (await world.running())["uuid"]
        big = {"path": "/tmp", "data": coded(files(big="x" * 30_000))}
        refused = await world.call("POST", url(id, "put_archive"), json=big)
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (413, "container.request-too-large")
        enormous = await world.call("POST", url(id, "put_archive"), content=b"x" * 200_000)
        assert enormous.status_code == 413
        assert (await world.call("PUT", url(id, "archive?path=/tmp"), content=b"\0" * 200_000)).status_code == 413
        data = files(big="x" * 30_000)
        assert (await world.call("PUT", url(id, "archive?path=/tmp"), content=data)).status_code == 200
        whole = await world.call("GET", url(id, "get_archive?path=/tmp/big"))
        assert (whole.status_code, whole.json()["errors"][0]["code"]) == (400, "container.archive-too-large")
        assert (await world.call("GET", url(id, "archive?path=/tmp/big"))).status_code == 200
        assert node.open == 0


async def test_few_archives_at_once_are_kept_whole_in_memory(world: World, node: FilesEngine) -> None:
    """Those of one project leave room for others; and whoever was refused may come again."""
    id, others = (await world.running())["uuid"], (await world.running("bob"))["uuid"]
    gate = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b'{"path": "/tmp", '
        await gate.wait()
        yield b'"data": "%s"}' % GOOD.encode()

    waiting = [asyncio.create_task(world.call("POST", url(id, "put_archive"), content=slow())) for _ in range(6)]
    while sum(task.done() for task in waiting) < 2:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=0.05)
    theirs = await world.call("GET", url(others, "get_archive?path=/tmp"), who="bob")
    assert theirs.status_code == 200
    gate.set()
    assert sorted(answer.status_code for answer in await asyncio.gather(*waiting)) == [200] * 4 + [503] * 2
    assert (await world.call("GET", url(id, "get_archive?path=/tmp"))).status_code == 200


async def test_files_are_not_among_the_recorded_actions(world: World, node: FilesEngine) -> None:
    id = (await world.running())["uuid"]
    await world.call("PUT", url(id, "archive"), params={"path": "/tmp"}, content=files(a="b"))
    listed = (await world.call("GET", url(id, "container_actions"))).json()["containerActions"]
    assert [action["action"] for action in listed] == ["create"]
