"""The gateway and a node's sessions, joined over real sockets; only the engine is a fake."""

import asyncio
import base64
import shutil
import struct
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.typing import Origin, Subprotocol

from krater.agent import pumps
from krater.agent import streams as agent_streams
from krater.agent.runtimes.fake import FakeEngineWorld, FakeRuntime
from krater.agent.streams import Streams
from krater.bus.messages import OpenExec
from krater.config import Settings
from krater.errors import NotFound, Unavailable
from krater.gateway.app import Gateway
from krater.model import frames
from krater.model.frames import Opened
from krater.tickets import GATEWAY, Signer
from krater.wiring import gateway_socket
from tests.support.oci import config, until

SOON = 20.0
TYPED, BINARY, TEXT = Subprotocol("krater.v1"), Subprotocol("binary"), Subprotocol("base64")


class Joined:
    """A node with containers, a gateway, and tickets for it."""

    def __init__(self, directory: str, **settings: Any) -> None:
        chosen = Settings()
        self.settings = replace(chosen, gateway=replace(chosen.gateway, port=0, **settings))
        self.directory = directory
        self.signer = Signer(GATEWAY)
        self.world = FakeEngineWorld()
        self.world.images.add("busybox")
        self.engine = FakeRuntime(self.world)
        self.streams = Streams(self.engine, directory, 1000)
        self.gateway = Gateway(self.settings.gateway, self.signer.public_key, directory)
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Joined"]:
        with gateway_socket(self.settings) as listener:
            self.port = listener.getsockname()[1]
            tasks = [asyncio.create_task(self.streams.run()), asyncio.create_task(self.gateway.run(listener))]
            await until(lambda: shutil.os.path.exists(f"{self.directory}/{agent_streams.SOCKET}"))  # type: ignore[attr-defined]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def container(self, *command: str, **spec: Any) -> str:
        """A container that runs."""
        wanted = config(command or ("cat",), interactive=True, **spec)
        await self.engine.create(wanted)
        await self.engine.start(wanted.id, 1, 0, "/netns")
        return wanted.id

    def url(self, container: str, opened: Opened, kind: str = "attach", signer: Signer | None = None) -> str:
        """As the API makes it."""
        token = (signer or self.signer).issue(
            user="u", project="p", container=container, session=opened.session, kind=kind,
            address=opened.address, secret=opened.secret,
        )  # fmt: skip
        more = f"&exec_id={opened.session}" if kind == "exec" else ""
        return f"ws://127.0.0.1:{self.port}/?token={token}&uuid={container}{more}"

    def attach(self, container: str) -> str:
        """A URL to attach at."""
        return self.url(container, self.streams.open(container, None))

    def execute(self, container: str, *command: str, tty: bool = False) -> str:
        """A URL where a command waits."""
        return self.url(container, self.streams.open(container, OpenExec(container, command, tty)), "exec")


@pytest.fixture
def directory() -> Any:
    made = tempfile.mkdtemp(prefix="kr-", dir="/tmp")
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def joined(directory: str) -> AsyncIterator[Joined]:
    async with Joined(directory).running() as made:
        yield made


async def all_of(client: ClientConnection) -> list[bytes]:
    """Every message until the end."""
    found: list[bytes] = []
    async with asyncio.timeout(SOON):
        try:
            while True:
                message = await client.recv()
                found.append(message.encode() if isinstance(message, str) else message)
        except ConnectionClosed:
            return found


async def refused(url: str, **more: Any) -> int:
    """The HTTP status of the refusal."""
    with pytest.raises(InvalidStatus) as raised:
        async with connect(url, **more):
            pass
    return raised.value.response.status_code


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


async def test_a_session_that_nobody_comes_to_goes(joined: Joined, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_streams, "OPEN_FOR", 0.05)
    url = joined.attach(await joined.container())
    await until(lambda: len(joined.streams) == 0)
    async with connect(url) as client:
        assert await all_of(client) == []


async def test_sessions_of_a_node_and_of_a_container_are_counted(directory: str) -> None:
    joined = Joined(directory)
    joined.streams = Streams(joined.engine, directory, 300)
    for name, room in (("one", 128), ("two", 128), ("three", 44)):
        for _ in range(room):
            joined.streams.open(name, None)
        with pytest.raises(Unavailable):
            joined.streams.open(name, None)


async def test_a_size_is_for_a_command_of_that_container(joined: Joined) -> None:
    container = await joined.container()
    attached = joined.streams.open(container, None)
    command = joined.streams.open(container, OpenExec(container, ("cat",), True))
    joined.streams.resize(container, command.session, 20, 60)
    for where, session in ((container, attached.session), ("other", command.session), (container, "0" * 64)):
        with pytest.raises(NotFound):
            joined.streams.resize(where, session, 20, 60)


async def test_silence_is_limited(directory: str) -> None:
    async with Joined(directory, idle_timeout=0.6).running() as joined:
        container = await joined.container()
        async with connect(joined.attach(container)) as client:
            for _ in range(4):
                await asyncio.sleep(0.3)
                await client.send(b"x")
                assert await client.recv() == b"x"
            await all_of(client)
            assert client.close_reason == "closed, since nothing was said for long"
    assert joined.engine.world.containers[container].seen.pid is not None


async def test_the_length_of_a_session_is_limited(directory: str) -> None:
    async with (
        Joined(directory, session_timeout=0.4).running() as joined,
        connect(joined.attach(await joined.container())) as client,
    ):
        await all_of(client)
        assert client.close_code == 1008


async def test_there_are_only_so_many_sessions(directory: str) -> None:
    async with Joined(directory, most_sessions=2).running() as joined:
        container = await joined.container()
        async with connect(joined.attach(container)), connect(joined.attach(container)):
            await until(lambda: len(joined.gateway) == 2)
            url = joined.attach(container)
            assert await refused(url) == 503
        await until(lambda: len(joined.gateway) == 0)
        async with connect(url) as client:  # the ticket was not used up
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
