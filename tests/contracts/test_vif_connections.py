"""What every `Vif` promises of connections into a sandbox: to its own servers, and to nobody else's."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from krater.agent.vif.fake import FakeNetworkWorld, FakeVif
from krater.agent.vif.interfaces import Vif
from krater.agent.vif.native import NativeVif
from krater.errors import Conflict, NotFound, Permanent
from tests.support.networks import card, instance_name
from tests.support.oci import until
from tests.support.reach import inside, listening

HERE, THERE, LOOPBACK, PORT = "10.211.1.2", "10.211.1.3", "127.0.0.1", 8080


class World:
    """A node with the sandboxes `one` and `two`, each with a card of one network."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.is_fake, self._fake = kind == "fake", FakeNetworkWorld()
        self.vif: Vif = FakeVif(self._fake)
        if not self.is_fake:
            self.vif = NativeVif(instance_name(), directory / "n", pool_size=1, linger=0.1)

    async def open(self) -> None:
        await self.vif.open()
        for number, sandbox in ((2, "one"), (3, "two")):
            await self.vif.make_sandbox(sandbox)
            await self.vif.plug(sandbox, card(number, ipv6=True))

    async def clear(self) -> None:
        await self.vif.open()
        for sandbox in await self.vif.sandboxes():
            await self.vif.remove_sandbox(sandbox)
        await self.vif.close()

    async def path(self, sandbox: str) -> str:
        return (await self.vif.sandboxes())[sandbox]

    @contextmanager
    def serving(self, sandbox: str, path: str, address: str) -> Iterator[None]:
        """Inside, whoever connects there is told the address they come from."""
        if not self.is_fake:
            with listening(path, address, PORT):
                yield
            return

        async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(address.encode())

        self._fake.servers[(sandbox, PORT)] = tell
        yield
        del self._fake.servers[(sandbox, PORT)]


@pytest.fixture(params=["fake", pytest.param("native", marks=pytest.mark.live)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    made = World(request.param, tmp_path)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(made.clear)
        await made.open()
        yield made


async def heard(connection: socket.socket) -> str:
    """All that is said on a connection."""
    found = b""
    with connection:
        while piece := await asyncio.get_running_loop().sock_recv(connection, 100):
            found += piece
    return found.decode()


@pytest.mark.parametrize("address", [HERE, LOOPBACK, "fd4b:1::2"])
async def test_a_server_is_reached_at_the_sandboxs_own_address_from_the_same_one(world: World, address: str) -> None:
    with world.serving("one", await world.path("one"), address):
        connection = await world.vif.connection("one", address, PORT)
        assert not connection.getblocking()
        assert await heard(connection) == address


async def test_nobody_listening_is_a_conflict(world: World) -> None:
    with pytest.raises(Conflict) as refusal:
        await world.vif.connection("one", HERE, PORT)
    assert refusal.value.message == "connection refused"


async def test_there_is_no_way_into_another_sandbox(world: World) -> None:
    with world.serving("two", await world.path("two"), THERE):
        with pytest.raises(Conflict) as refusal:
            await world.vif.connection("one", THERE, PORT)
        assert refusal.value.message == "cannot assign requested address"
        assert await heard(await world.vif.connection("two", THERE, PORT)) == THERE


async def test_the_loopback_of_a_sandbox_is_its_own(world: World) -> None:
    with socket.create_server((LOOPBACK, 0)) as ours:
        port = ours.getsockname()[1]
        with pytest.raises(Conflict):
            await world.vif.connection("one", LOOPBACK, port)
    with world.serving("one", await world.path("one"), LOOPBACK), pytest.raises(Conflict):
        await world.vif.connection("two", LOOPBACK, PORT)


async def test_an_address_that_was_taken_off_is_not_its_own_any_more(world: World) -> None:
    with world.serving("one", await world.path("one"), LOOPBACK):
        await world.vif.unplug("one", card(2).port)
        with pytest.raises(Conflict):
            await world.vif.connection("one", HERE, PORT)
        assert await heard(await world.vif.connection("one", LOOPBACK, PORT)) == LOOPBACK


async def test_there_must_be_such_a_sandbox_and_an_open_network(world: World) -> None:
    with pytest.raises(NotFound):
        await world.vif.connection("never", LOOPBACK, PORT)
    await world.vif.close()
    with pytest.raises(Permanent):
        await world.vif.connection("one", LOOPBACK, PORT)


async def test_our_own_place_is_what_it_was_after_many_at_once(world: World) -> None:
    with world.serving("one", await world.path("one"), LOOPBACK):
        calls = [world.vif.connection("one", LOOPBACK, PORT) for _ in range(30)]
        assert await asyncio.gather(*(heard(connection) for connection in await asyncio.gather(*calls))) == (
            [LOOPBACK] * 30
        )
        await until(lambda: _spaces() == {os.readlink("/proc/self/ns/net")})  # spares are made meanwhile


async def test_who_does_not_wait_any_longer_leaves_nothing_open(world: World) -> None:
    with world.serving("one", await world.path("one"), LOOPBACK):
        await heard(await world.vif.connection("one", LOOPBACK, PORT))
        before = _open_files()
        for moment in range(20):
            calling = asyncio.ensure_future(world.vif.connection("one", LOOPBACK, PORT))
            for _ in range(moment):
                await asyncio.sleep(0)
            if not calling.done():
                calling.cancel()
            with suppress(asyncio.CancelledError):
                (await calling).close()
        await heard(await world.vif.connection("one", LOOPBACK, PORT))
        await until(lambda: _open_files() <= before)


@pytest.mark.live
async def test_a_connection_that_hangs_can_be_given_up(tmp_path: Path) -> None:
    world = World("native", tmp_path)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(world.clear)
        await world.open()
        server = inside(await world.path("one"), lambda: socket.create_server((LOOPBACK, PORT), backlog=0))
        stack.enter_context(server)
        before = _open_files()
        kept: list[socket.socket] = []
        with suppress(TimeoutError):
            while len(kept) < 10:  # nobody accepts them: soon the kernel lets them wait
                async with asyncio.timeout(2):
                    kept.append(await world.vif.connection("one", LOOPBACK, PORT))
        assert len(kept) < 10
        await until(lambda: _open_files() <= before + len(kept))  # spare namespaces are made beside it
        for one in kept:
            one.close()


def _spaces() -> set[str]:
    """The network namespaces that our threads are in."""
    return {os.readlink(f"/proc/self/task/{task}/ns/net") for task in os.listdir("/proc/self/task")}


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
