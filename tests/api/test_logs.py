"""Logs as one answer and as a stream, of containers that are there and of those that are gone."""

import asyncio
from typing import Any

import pytest

from krater.api.streaming import Streams, send_stream
from krater.bus.interfaces import node_target
from krater.bus.messages import Logs, LogsAnswer
from krater.errors import Unavailable
from krater.model.assignment import ContainerState, Placement
from krater.store.interfaces import Departure
from tests.support.api import NODE, FakeAgent, World

GONE = "9" * 8 + "-0000-4000-8000-" + "1" * 12
WEEK = 7 * 86400


class LogNode:
    """A node with a log in memory, whose cursor is the number of bytes given out."""

    def __init__(self, world: World, text: bytes = b"") -> None:
        self.text = text
        self.asked: list[Logs] = []
        self.failure: Exception | None = None
        world.bus.serve(node_target(NODE), {Logs: self.read})

    async def read(self, request: Logs) -> LogsAnswer:
        self.asked.append(request)
        if self.failure is not None:
            raise self.failure
        start = int(request.cursor) if request.cursor.isdigit() else 0
        if not request.cursor and request.tail is not None:
            start = max(0, len(self.text) - request.tail)
        if start >= len(self.text):
            await asyncio.sleep(min(request.wait, 0.01))
        piece = self.text[start : start + request.limit]
        return LogsAnswer(piece, truncated=False, cursor=str(start + len(piece)))


async def gone(world: World, id: str = GONE, project: str = "p-kitchen", name: str = "web", ago: float = 60) -> None:
    """A container of Ann's that was removed."""
    world.clock.move(-ago)
    departure = Departure(id, project, "u-ann", name, NODE, world.clock())
    world.clock.move(ago)
    await world.store.write(lambda tx: tx.departures.add([departure]))


async def ended(world: World) -> str:
    id: str = (await world.running())["uuid"]
    await world.settle(id, state=ContainerState.EXITED, exit_code=0, finished_at=world.clock())
    return id


@pytest.mark.parametrize(
    "query",
    [
        *("tail=few", "tail=-1", "tail=1.5", "tail=1e3", "tail=9999999999", "tail=%C2%B2", "tail=1&tail=2"),
        *("since=yesterday", "since=-5", "since=2026-13-01 00:00:00,0", "since=1e9", "since=" + "1" * 41),
        *("stdout=maybe", "stderr=2", "timestamps=", "stdout=true&stdout=false"),
    ],
)
@pytest.mark.parametrize("how", ["logs", "logs/stream"])
async def test_bad_arguments_are_400_and_name_their_field(world: World, query: str, how: str) -> None:
    agent = FakeAgent(world)
    id = (await world.running())["uuid"]
    answer = await world.call("GET", f"/v1/containers/{id}/{how}?{query}")
    assert answer.status_code == 400, answer.text
    assert query.partition("=")[0] in answer.json()["errors"][0]["title"]
    assert agent.asked == []


@pytest.mark.parametrize("query", ["follow=maybe", "follow=", "follow=2"])
async def test_whether_to_follow_is_a_boolean(world: World, query: str) -> None:
    id = (await world.running())["uuid"]
    answer = await world.call("GET", f"/v1/containers/{id}/logs/stream?{query}")
    assert answer.status_code == 400
    assert "follow" in answer.json()["errors"][0]["title"]


@pytest.mark.parametrize("word", ["True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes"])
async def test_booleans_may_be_spelled_as_the_container_api_has_it(world: World, word: str) -> None:
    agent = FakeAgent(world)
    id = (await world.running())["uuid"]
    assert (await world.call("GET", f"/v1/containers/{id}/logs?timestamps={word}")).status_code == 200
    assert agent.asked == [Logs(id, timestamps=True)]


async def test_neither_stream_is_nothing(world: World) -> None:
    agent = FakeAgent(world)
    id = (await world.running())["uuid"]
    assert (await world.call("GET", f"/v1/containers/{id}/logs?stdout=no&stderr=no")).status_code == 200
    assert agent.asked == [Logs(id, stdout=False, stderr=False)]


class TestGone:
    @pytest.mark.parametrize("ident", [GONE, "web"])
    @pytest.mark.parametrize("how", ["logs", "logs/stream"])
    async def test_the_owner_reads_it_by_id_and_name(self, world: World, ident: str, how: str) -> None:
        node = LogNode(world, b"last words\n")
        await gone(world)
        answer = await world.call("GET", f"/v1/containers/{ident}/{how}")
        assert answer.status_code == 200
        assert (answer.json() if how == "logs" else answer.text) == "last words\n"
        assert {asked.container for asked in node.asked} == {GONE}

    @pytest.mark.parametrize("ident", [GONE, "web"])
    @pytest.mark.parametrize("how", ["logs", "logs/stream"])
    async def test_for_others_there_is_nothing(self, world: World, ident: str, how: str) -> None:
        node = LogNode(world, b"secret\n")
        await gone(world)
        answer = await world.call("GET", f"/v1/containers/{ident}/{how}", who="bob")
        assert answer.status_code == 404
        assert answer.json()["errors"][0]["code"] == "container.container-not-found"
        assert node.asked == []

    async def test_who_may_not_read_logs_may_not_read_these(self, world: World) -> None:
        LogNode(world, b"x")
        await gone(world)
        assert (await world.call("GET", f"/v1/containers/{GONE}/logs", who="reader")).status_code == 200
        assert (await world.call("GET", f"/v1/containers/{GONE}/logs", who="admin")).status_code == 200
        assert (await world.call("GET", f"/v1/containers/{GONE}/logs", who="")).status_code == 401

    async def test_only_for_a_time(self, world: World) -> None:
        LogNode(world, b"x")
        await gone(world, ago=WEEK - 1)
        assert (await world.call("GET", f"/v1/containers/{GONE}/logs")).status_code == 200
        world.clock.move(2)
        await world.announce()
        assert (await world.call("GET", f"/v1/containers/{GONE}/logs")).status_code == 404

    async def test_a_living_container_has_the_name_first(self, world: World) -> None:
        node = LogNode(world, b"x")
        await gone(world)
        id = (await world.running(name="web"))["uuid"]
        assert (await world.call("GET", "/v1/containers/web/logs")).status_code == 200
        assert node.asked[0].container == id

    async def test_of_several_of_a_name_the_id_must_be_given(self, world: World) -> None:
        LogNode(world, b"x")
        await gone(world)
        await gone(world, id=GONE.replace("1", "2"))
        answer = await world.call("GET", "/v1/containers/web/logs")
        assert answer.status_code == 409
        assert "use the id" in answer.json()["errors"][0]["title"]
        assert (await world.call("GET", f"/v1/containers/{GONE}/logs")).status_code == 200

    async def test_nothing_else_of_it_is_there(self, world: World) -> None:
        await gone(world)
        assert (await world.call("GET", f"/v1/containers/{GONE}")).status_code == 404
        assert (await world.call("POST", f"/v1/containers/{GONE}/start")).status_code == 404


class TestStream:
    async def test_it_is_the_bytes_themselves_and_ends_with_the_container(self, world: World) -> None:
        node = LogNode(world, b"one\n\xff\x00two\n")
        id = await ended(world)
        answer = await world.call("GET", f"/v1/containers/{id}/logs/stream")
        assert (answer.status_code, answer.content) == (200, b"one\n\xff\x00two\n")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert "content-length" not in answer.headers
        assert all(asked.limit <= 256 << 10 for asked in node.asked)

    async def test_a_large_log_comes_in_pieces(self, world: World) -> None:
        node = LogNode(world, b"0123456789abcdef\n" * 100_000)
        id = await ended(world)
        answer = await world.call("GET", f"/v1/containers/{id}/logs/stream")
        assert answer.content == node.text
        assert len(node.asked) > 6

    async def test_it_goes_on_while_the_container_runs(self, world: World) -> None:
        node = LogNode(world, b"begin\n")
        id = (await world.running())["uuid"]
        reading = asyncio.create_task(world.call("GET", f"/v1/containers/{id}/logs/stream"))
        for number in range(3):
            await asyncio.sleep(0.2)
            assert not reading.done()
            node.text += b"%d\n" % number
        await world.settle(id, state=ContainerState.EXITED, exit_code=0, finished_at=world.clock())
        assert (await reading).content == b"begin\n0\n1\n2\n"

    async def test_it_ends_when_the_container_is_removed(self, world: World) -> None:
        LogNode(world, b"x\n")
        id = (await world.running())["uuid"]
        reading = asyncio.create_task(world.call("GET", f"/v1/containers/{id}/logs/stream"))
        await asyncio.sleep(0.1)
        await world.store.write(lambda tx: tx.workloads.delete(id))
        assert (await reading).content == b"x\n"

    async def test_without_following_it_ends_where_the_log_ends_now(self, world: World) -> None:
        LogNode(world, b"x\n")
        id = (await world.running())["uuid"]
        answer = await world.call("GET", f"/v1/containers/{id}/logs/stream?follow=false")
        assert answer.content == b"x\n"

    async def test_only_the_end_of_it(self, world: World) -> None:
        node = LogNode(world, b"0123456789")
        id = await ended(world)
        assert (await world.call("GET", f"/v1/containers/{id}/logs/stream?tail=4")).content == b"6789"
        assert (await world.call("GET", f"/v1/containers/{id}/logs/stream?tail=0")).content == b""
        assert node.asked[0].limit == 8 << 20

    async def test_a_node_that_is_away_is_503_at_first_and_told_afterwards(self, world: World) -> None:
        node = LogNode(world, b"x\n")
        id = (await world.running())["uuid"]
        reading = asyncio.create_task(world.call("GET", f"/v1/containers/{id}/logs/stream"))
        await asyncio.sleep(0.2)
        node.failure = Unavailable(f"node:{NODE} does not answer.")
        answer = await reading
        assert answer.text.startswith("x\n\n[krater] The log breaks off here: The node of this container")
        assert (await world.call("GET", f"/v1/containers/{id}/logs/stream")).status_code == 503

    async def test_what_was_lost_is_told(self, world: World) -> None:
        answers = iter([LogsAnswer(b"a\n", False, "1"), LogsAnswer(b"z\n", True, "2"), LogsAnswer(b"", False, "2")])

        async def read(_: Logs) -> LogsAnswer:
            return next(answers)

        world.bus.serve(node_target(NODE), {Logs: read})
        id = await ended(world)
        answer = await world.call("GET", f"/v1/containers/{id}/logs/stream?follow=0")
        assert answer.text == (
            "a\n\n[krater] Some of the log is missing here: it was rotated away before it was read.\nz\n"
        )

    async def test_a_node_that_cannot_go_on_from_where_it_was_is_not_asked_for_ever(self, world: World) -> None:
        FakeAgent(world)
        id = (await world.running())["uuid"]
        async with asyncio.timeout(20):
            assert (await world.call("GET", f"/v1/containers/{id}/logs/stream")).content == b"line\n"

    async def test_a_container_without_a_node_has_an_empty_log(self, world: World) -> None:
        id = (await world.make())["uuid"]
        refused = Placement(refusal="There are not enough hosts available.", generation=1)
        await world.store.write(lambda tx: tx.workloads.place(id, refused))
        assert (await world.call("GET", f"/v1/containers/{id}/logs/stream")).content == b""

    async def test_a_head_request_follows_nothing(self, world: World) -> None:
        node = LogNode(world, b"x\n")
        id = (await world.running())["uuid"]
        answer = await world.call("HEAD", f"/v1/containers/{id}/logs/stream")
        assert (answer.status_code, answer.content, node.asked) == (200, b"", [])

    async def test_a_wrong_state_is_409(self, world: World) -> None:
        id = (await world.make())["uuid"]
        assert (await world.call("GET", f"/v1/containers/{id}/logs/stream")).status_code == 409


class TestSending:
    async def run(self, pieces: Any, receive: Any, send: Any) -> None:
        await send_stream(send, receive, 200, (), pieces)

    async def test_a_reader_that_goes_away_ends_it_at_once(self) -> None:
        leaving, closed = asyncio.Event(), asyncio.Event()

        async def pieces() -> Any:
            try:
                yield b"x"
                await asyncio.Event().wait()
            finally:
                closed.set()

        async def receive() -> Any:
            await leaving.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message.get("body"):
                leaving.set()

        async with asyncio.timeout(5):
            await self.run(pieces(), receive, send)
        assert closed.is_set()

    async def test_nothing_is_read_ahead_of_a_slow_reader(self) -> None:
        made = 0
        gates = [asyncio.Event() for _ in range(4)]

        async def pieces() -> Any:
            nonlocal made
            for _ in range(3):
                made += 1
                yield b"x"

        async def send(message: Any) -> None:
            if message.get("body"):
                await gates[made].wait()

        async def never() -> Any:
            await asyncio.Event().wait()

        sending = asyncio.create_task(self.run(pieces(), never, send))
        for number in (1, 2, 3):
            await asyncio.sleep(0.01)
            assert made == number
            gates[number].set()
        await sending

    def test_a_project_has_so_many_and_leaves_room_for_others(self) -> None:
        streams = Streams(most=3, most_of_one=2)
        with streams.counted("a"), streams.counted("a"):
            streams.require_room("b")
            with pytest.raises(Unavailable):
                streams.require_room("a")
            with streams.counted("b"), pytest.raises(Unavailable):
                streams.require_room("c")
        assert len(streams) == 0
        streams.require_room("a")
