"""What a gateway promises to clients, over real sockets; only the engine behind the node is a fake."""

import asyncio
import base64
import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Origin

from krater.model import frames
from krater.tickets import GATEWAY, Signer
from tests.support.consoles import BINARY, TEXT, TYPED, Joined, all_of, refused
from tests.support.oci import until


async def test_bytes_go_in_and_come_out(joined: Joined) -> None:
    async with connect(joined.attach(await joined.container()), subprotocols=[BINARY, TEXT]) as client:
        assert client.subprotocol == "binary"
        await client.send(b"hello")
        assert await client.recv() == b"hello"
        await client.send("text too")
        assert await client.recv() == b"text too"


async def test_who_offers_no_subprotocol_gets_bytes(joined: Joined) -> None:
    async with connect(joined.attach(await joined.container())) as client:
        await client.send(b"hello")
        assert await client.recv() == b"hello"


async def test_base64_goes_as_text(joined: Joined) -> None:
    async with connect(joined.attach(await joined.container()), subprotocols=[TEXT]) as client:
        await client.send(base64.b64encode(b"hello").decode())
        assert base64.b64decode(await client.recv()) == b"hello"
        await client.send("no base64!")
        await all_of(client)
        assert client.close_code == 1003


async def test_typed_frames_tell_streams_and_exit_codes(joined: Joined) -> None:
    container = await joined.container()
    async with connect(joined.execute(container, "exit", "7"), subprotocols=[TYPED, BINARY]) as client:
        assert client.subprotocol == "krater.v1"
        assert await all_of(client) == [bytes([frames.EXIT]) + struct.pack(">i", 7)]
        assert (client.close_code, client.close_reason) == (1000, "Target closed")
    async with connect(joined.execute(container, "fail-start"), subprotocols=[TYPED]) as client:
        said, ended = await all_of(client)
    assert said[0] == frames.STDERR
    assert b"fail-start" in said
    assert ended == bytes([frames.EXIT]) + struct.pack(">i", 127)


async def test_input_has_an_end_and_terminals_a_size(joined: Joined) -> None:
    container = await joined.container()
    async with connect(joined.execute(container, "cat"), subprotocols=[TYPED]) as client:
        await client.send(bytes([frames.STDIN]) + b"once")
        assert await client.recv() == bytes([frames.STDOUT]) + b"once"
        await client.send(bytes([frames.RESIZE]) + frames.size_content(30, 100))
        await client.send(bytes([frames.RESIZE]) + b"nonsense")
        await client.send(bytes([frames.STDIN_END]))
        assert await all_of(client) == [bytes([frames.EXIT]) + struct.pack(">i", 0)]


@pytest.mark.parametrize("message", ["text", b"", bytes([frames.STDOUT]) + b"x", b"\xffx"])
async def test_malformed_frames_end_a_session(joined: Joined, message: str | bytes) -> None:
    async with connect(joined.attach(await joined.container()), subprotocols=[TYPED]) as client:
        await client.send(message)
        assert await all_of(client) == []
        assert client.close_code == 1003


async def test_a_ticket_is_good_once(joined: Joined) -> None:
    url = joined.attach(await joined.container())
    async with connect(url):
        assert await refused(url) == 401
    assert await refused(url) == 401


@pytest.mark.parametrize("kind", ["expired", "foreign key", "other audience", "garbage", "none", "two"])
async def test_bad_tickets_are_refused(joined: Joined, kind: str) -> None:
    container = await joined.container()
    opened = joined.streams.open(container, None)
    past = datetime.now(UTC) - timedelta(hours=1)
    good = joined.url(container, opened)
    made: dict[str, Callable[[], str]] = {
        "foreign key": lambda: joined.url(container, opened, signer=Signer(GATEWAY)),
        "other audience": lambda: joined.url(container, opened, signer=Signer("elsewhere")),
        "garbage": lambda: f"ws://127.0.0.1:{joined.port}/?token={'x' * 5000}&uuid={container}",
        "none": lambda: f"ws://127.0.0.1:{joined.port}/",
        "two": lambda: f"{good}&token=x",
    }
    if kind == "expired":
        joined.signer._now = lambda: past
        made[kind] = lambda: joined.url(container, opened)
    assert await refused(made[kind]()) == 401
    assert len(joined.gateway) == 0


async def test_a_ticket_is_for_one_container_and_one_command(joined: Joined) -> None:
    one, other = await joined.container(), await joined.container()
    assert await refused(joined.attach(one).replace(f"uuid={one}", f"uuid={other}")) == 403
    assert await refused(joined.attach(one).replace(f"uuid={one}", "")) == 403
    assert await refused(joined.execute(one, "true").rpartition("=")[0] + "=" + "0" * 64) == 403
    assert await refused(joined.execute(one, "true").rpartition("&")[0]) == 403
    assert await refused(joined.attach(one) + "&exec_id=" + "0" * 64) == 403


async def test_pages_from_elsewhere_are_refused_and_use_no_ticket_up(joined: Joined) -> None:
    url = joined.attach(await joined.container())
    assert await refused(url, origin=Origin("http://evil.example")) == 403
    assert await refused(url, origin=Origin(f"https://127.0.0.1:{joined.port}")) == 403
    async with connect(url, origin=Origin(f"http://127.0.0.1:{joined.port}")) as client:
        await client.send(b"x")
        assert await client.recv() == b"x"


async def test_what_is_no_websocket_is_told_so(joined: Joined) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", joined.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 426 " in await reader.readline()
    writer.close()


async def test_a_session_is_reached_once_whatever_tickets_say(joined: Joined) -> None:
    container = await joined.container()
    opened = joined.streams.open(container, None)
    async with connect(joined.url(container, opened)) as first, connect(joined.url(container, opened)) as second:
        assert await all_of(second) == []
        await first.send(b"still here")
        assert await first.recv() == b"still here"


async def test_a_wrong_secret_is_let_in_nowhere(joined: Joined) -> None:
    container = await joined.container()
    opened = joined.streams.open(container, None)
    async with connect(joined.url(container, replace(opened, secret="0" * 64))) as client:
        assert await all_of(client) == []
    async with connect(joined.url(container, opened)) as client:
        await client.send(b"x")
        assert await client.recv() == b"x"


async def test_a_container_that_ended_meanwhile_is_told(joined: Joined) -> None:
    container = await joined.container()
    typed, plain = joined.attach(container), joined.attach(container)
    await joined.engine.stop(container, 0)
    async with connect(typed, subprotocols=[TYPED]) as client:
        [said] = await all_of(client)
        assert said[0] == frames.REFUSED
        assert client.close_code == 1011
    async with connect(plain, subprotocols=[BINARY]) as client:
        assert b"not running" in b"".join(await all_of(client))


async def test_a_container_that_ends_ends_its_consoles_with_its_exit_code(joined: Joined) -> None:
    container = await joined.container()
    async with connect(joined.attach(container), subprotocols=[TYPED]) as client:
        await client.send(bytes([frames.STDIN]) + b"x")
        await client.recv()
        await joined.engine.signal(container, 9)
        assert await all_of(client) == [bytes([frames.EXIT]) + struct.pack(">i", 137)]


async def test_a_command_ends_when_its_client_goes(joined: Joined) -> None:
    container = await joined.container()
    client = await connect(joined.execute(container, "sleep", "inf"))
    await until(lambda: any(s.stream for s in joined.streams._sessions.values()))
    client.transport.abort()
    await until(lambda: len(joined.streams) == 0)
    await until(lambda: len(joined.gateway) == 0)
