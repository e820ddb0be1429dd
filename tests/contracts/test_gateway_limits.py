"""Limits of consoles: numbers, time, slowness, nonsense."""

import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidMessage

from krater.agent import pumps
from krater.agent import streams as agent_streams
from krater.agent.streams import Streams
from krater.bus.messages import OpenExec
from krater.errors import NotFound, Unavailable
from krater.gateway import app
from krater.model import frames
from tests.support.consoles import SOON, TYPED, Joined, all_of, refused
from tests.support.oci import until

pytestmark = pytest.mark.thorough


async def test_a_session_that_nobody_comes_to_goes(joined: Joined, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_streams, "OPEN_FOR", 0.05)
    url = joined.attach(await joined.container())
    await until(lambda: len(joined.streams) == 0)
    async with connect(url) as client:
        assert await all_of(client) == []


async def test_sessions_of_a_node_and_of_a_container_are_counted(console_directory: str) -> None:
    joined = Joined(console_directory)
    joined.streams = Streams(joined.engine, console_directory, 300, str)
    for name, room in (("one", 128), ("two", 128), ("three", 44)):
        for _ in range(room):
            joined.streams.open(name, None)
        with pytest.raises(Unavailable):
            joined.streams.open(name, None)


async def test_no_project_has_all_sessions_of_a_node(console_directory: str) -> None:
    joined = Joined(console_directory)
    joined.streams = Streams(joined.engine, console_directory, 10, lambda container: container.partition("-")[0])
    for number in range(5):
        joined.streams.open(f"ann-{number}", None)
    with pytest.raises(Unavailable, match="project"):
        joined.streams.open("ann-again", None)
    joined.streams.open("bob-1", None)


async def test_a_size_is_for_a_command_of_that_container(joined: Joined) -> None:
    container = await joined.container()
    attached = joined.streams.open(container, None)
    command = joined.streams.open(container, OpenExec(container, ("cat",), True))
    joined.streams.resize(container, command.session, 20, 60)
    for where, session in ((container, attached.session), ("other", command.session), (container, "0" * 64)):
        with pytest.raises(NotFound):
            joined.streams.resize(where, session, 20, 60)


async def test_silence_is_limited(console_directory: str) -> None:
    async with Joined(console_directory, idle_timeout=0.6).running() as joined:
        container = await joined.container()
        async with connect(joined.attach(container)) as client:
            for _ in range(4):
                await asyncio.sleep(0.3)
                await client.send(b"x")
                assert await client.recv() == b"x"
            await all_of(client)
            assert client.close_reason == "closed, since nothing was said for long"
    assert joined.engine.world.containers[container].seen.pid is not None


async def test_the_length_of_a_session_is_limited(console_directory: str) -> None:
    async with (
        Joined(console_directory, session_timeout=0.4).running() as joined,
        connect(joined.attach(await joined.container())) as client,
    ):
        await all_of(client)
        assert client.close_code == 1008


async def test_there_are_only_so_many_sessions(console_directory: str) -> None:
    async with Joined(console_directory, most_sessions=2).running() as joined:
        container = await joined.container()
        async with connect(joined.attach(container)), connect(joined.attach(container)):
            await until(lambda: len(joined.gateway) == 2)
            url = joined.attach(container)
            assert await refused(url) == 503
        await until(lambda: len(joined.gateway) == 0)
        async with connect(url) as client:  # the ticket was not used up
            await client.send(b"x")
            assert await client.recv() == b"x"


async def test_those_who_never_say_what_they_want_are_only_so_many(
    console_directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_HANDSHAKES", 3)
    monkeypatch.setattr(app, "NODE_WITHIN", 600.0)  # so nobody goes for having been silent too long
    async with Joined(console_directory, most_sessions=1).running() as joined:
        silent = [await asyncio.open_connection("127.0.0.1", joined.port) for _ in range(5)]
        ends = [asyncio.create_task(reader.read()) for reader, _ in silent]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED, timeout=SOON)
        sent_away = sum(end.done() for end in ends)
        for _, writer in silent:
            writer.transport.abort()
        assert sent_away == 1
        await asyncio.wait(ends)
        async with connect(joined.attach(await joined.container())) as client:  # those who went take no place
            await client.send(b"x")
            assert await client.recv() == b"x"


async def test_a_flood_of_nonsense_leaves_room_for_others(joined: Joined) -> None:
    container = await joined.container()

    async def flood(number: int) -> None:
        if number % 2:
            assert await refused(f"ws://127.0.0.1:{joined.port}/?token={number}.x&uuid={container}") == 401
            return
        _, writer = await asyncio.open_connection("127.0.0.1", joined.port)
        writer.write(b"nonsense\r\n\r\n" * number)
        writer.close()

    async with connect(joined.attach(container)) as before:
        await asyncio.gather(*(flood(number) for number in range(200)))
        async with connect(joined.attach(container)) as after:
            await after.send(b"hello")
            assert await before.recv() == await after.recv() == b"hello"


async def test_many_sessions_at_once(joined: Joined) -> None:
    clients = []
    for _ in range(4):
        container = await joined.container()
        clients += [await connect(joined.attach(container), subprotocols=[TYPED]) for _ in range(100)]
    await until(lambda: len(joined.gateway) == 400)
    await clients[-1].send(bytes([frames.STDIN]) + b"x")
    async with asyncio.timeout(SOON):
        assert {await client.recv() for client in clients[300:]} == {bytes([frames.STDOUT]) + b"x"}
    for client in clients:
        client.transport.abort()
    await until(lambda: len(joined.gateway) == 0)
    await until(lambda: len(joined.streams) == 0)


async def test_who_does_not_read_holds_nobody_up_and_is_told(joined: Joined, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pumps, "FIRST_PATIENCE", 0.2)
    container = await joined.container("serve")
    slow = await connect(joined.attach(container), subprotocols=[TYPED], max_queue=1)
    quick = await connect(joined.attach(container), subprotocols=[TYPED])
    process = joined.world.containers[container].process
    assert process is not None
    await until(lambda: len(process._readers) == 2)
    piece, count, got = b"x" * 65536, 600, 0
    for _ in range(count):
        process.say(piece)
        await asyncio.sleep(0)
        async with asyncio.timeout(SOON):
            while got < len(piece):
                got += len(await quick.recv()) - 1
        got -= len(piece)
    process.say(b"the end")
    await asyncio.sleep(0.5)
    seen = b""
    async with asyncio.timeout(SOON):
        while b"left out" not in seen:
            process.say(b".")
            seen = await slow.recv()  # type: ignore[assignment]
    assert seen[0] == frames.STDERR
    for client in (slow, quick):
        client.transport.abort()


async def test_a_command_waits_for_who_reads_it(joined: Joined) -> None:
    container = await joined.container()
    client = await connect(joined.execute(container, "cat"), subprotocols=[TYPED], max_queue=1)
    sent = 0
    piece = bytes([frames.STDIN]) + b"x" * 65536

    async def send() -> None:
        nonlocal sent
        while sent < 400:
            await client.send(piece)
            sent += 1

    sending = asyncio.create_task(send())
    await asyncio.sleep(0.5)
    got = 0
    async with asyncio.timeout(SOON):
        while got < 400 * 65536:
            got += len(await client.recv()) - 1
    await sending
    assert got == 400 * 65536
    await client.close()


async def test_oversized_messages_end_a_session(joined: Joined) -> None:
    async with connect(joined.attach(await joined.container()), subprotocols=[TYPED]) as client:
        await client.send(b"\0" * (frames.LARGEST + 10))
        await all_of(client)
        assert client.close_code == 1009


async def test_a_request_without_end_is_cut_off(joined: Joined) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", joined.port)
    writer.write(b"GET /?" + b"x" * 100_000)
    async with asyncio.timeout(SOON):
        with pytest.raises((ConnectionError, InvalidMessage, asyncio.IncompleteReadError)):
            await reader.readexactly(1 << 20)
    writer.close()
