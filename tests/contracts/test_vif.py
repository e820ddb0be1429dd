"""What every `Vif` promises."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from krater.agent.vif.fake import FakeNetworkWorld, FakeVif
from krater.agent.vif.interfaces import Vif
from krater.agent.vif.native import NativeVif
from krater.errors import Conflict, Invalid, NotFound
from tests.support.networks import card, instance_name

Restart = Callable[[], Awaitable[Vif]]


class World:
    """A node. `node()` gives the Vif; `restarted()` another one after the first just stopped existing."""

    def __init__(self, kind: str, directory: Path) -> None:
        self._kind, self._directory = kind, directory
        self._instance, self._fake = instance_name(), FakeNetworkWorld()
        self._all: list[Vif] = []

    def make(self) -> Vif:
        if self._kind == "fake":
            made: Vif = FakeVif(self._fake)
        else:
            made = NativeVif(self._instance, self._directory / "n", pool_size=2, linger=0.1)
        self._all.append(made)
        return made

    async def restarted(self) -> Vif:
        made = self.make()
        await made.open()
        return made

    async def clear(self) -> None:
        last = await self.restarted()
        for sandbox in await last.sandboxes():
            await last.remove_sandbox(sandbox)
        for vif in self._all:
            await vif.close()


@pytest.fixture(params=["fake", pytest.param("native", marks=pytest.mark.live)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    made = World(request.param, tmp_path)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(made.clear)
        yield made


@pytest.fixture
async def vif(world: World) -> Vif:
    return await world.restarted()


async def test_a_sandbox_is_there_once_made(vif: Vif) -> None:
    path = await vif.make_sandbox("one")
    assert await vif.sandboxes() == {"one": path}


async def test_making_a_sandbox_again_gives_the_same_one(vif: Vif) -> None:
    assert await vif.make_sandbox("one") == await vif.make_sandbox("one")
    assert len(await vif.sandboxes()) == 1


async def test_sandboxes_are_distinct(vif: Vif) -> None:
    names = [f"s{number}" for number in range(10)]
    paths = await asyncio.gather(*(vif.make_sandbox(name) for name in names))
    assert len(set(paths)) == 10
    assert set(await vif.sandboxes()) == set(names)


async def test_removing_a_sandbox_removes_its_cards(vif: Vif) -> None:
    await vif.make_sandbox("one")
    await vif.plug("one", card(2))
    await vif.remove_sandbox("one")
    assert await vif.sandboxes() == {}
    assert await vif.plugged() == {}


async def test_what_is_gone_may_be_removed_again(vif: Vif) -> None:
    await vif.remove_sandbox("never")
    await vif.unplug("never", "port")
    await vif.make_sandbox("one")
    await vif.unplug("one", "port")
    await vif.remove_sandbox("one")
    await vif.remove_sandbox("one")


async def test_a_plugged_card_is_told_of(vif: Vif) -> None:
    await vif.make_sandbox("one")
    await vif.plug("one", card(2))
    await vif.plug("one", card(2, "blue", 2, name="eth1", default_route=False))
    assert await vif.plugged() == {"one": frozenset({"port-red-2", "port-blue-2"})}


async def test_plugging_twice_is_success(vif: Vif) -> None:
    await vif.make_sandbox("one")
    await vif.plug("one", card(2))
    await vif.plug("one", card(2))
    assert await vif.plugged() == {"one": frozenset({"port-red-2"})}


async def test_a_port_plugged_elsewhere_moves(vif: Vif) -> None:
    await vif.make_sandbox("one")
    await vif.make_sandbox("two")
    await vif.plug("one", card(2))
    await vif.plug("two", card(2))
    assert await vif.plugged() == {"two": frozenset({"port-red-2"})}


async def test_unplugging_where_the_port_is_not_changes_nothing(vif: Vif) -> None:
    await vif.make_sandbox("one")
    await vif.make_sandbox("two")
    await vif.plug("one", card(2))
    await vif.unplug("two", "port-red-2")
    assert await vif.plugged() == {"one": frozenset({"port-red-2"})}


async def test_an_unplugged_card_may_be_plugged_again(vif: Vif) -> None:
    await vif.make_sandbox("one")
    await vif.plug("one", card(2))
    await vif.unplug("one", "port-red-2")
    assert await vif.plugged() == {}
    await vif.plug("one", card(2))
    assert await vif.plugged() == {"one": frozenset({"port-red-2"})}


async def test_two_cards_of_a_sandbox_cannot_share_a_name(vif: Vif) -> None:
    await vif.make_sandbox("one")
    await vif.plug("one", card(2))
    with pytest.raises(Conflict):
        await vif.plug("one", card(3))
    assert await vif.plugged() == {"one": frozenset({"port-red-2"})}


async def test_plugging_needs_a_sandbox(vif: Vif) -> None:
    with pytest.raises(NotFound):
        await vif.plug("never", card(2))


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "x" * 200])
async def test_a_sandbox_cannot_be_named_like_a_path(vif: Vif, name: str) -> None:
    with pytest.raises(Invalid):
        await vif.make_sandbox(name)


async def test_everything_is_found_again_after_a_restart(world: World) -> None:
    before = await world.restarted()
    path = await before.make_sandbox("one")
    await before.plug("one", card(2))
    after = await world.restarted()
    assert await after.sandboxes() == {"one": path}
    assert await after.plugged() == {"one": frozenset({"port-red-2"})}
    await after.sweep()
    assert await after.plugged() == {"one": frozenset({"port-red-2"})}


async def test_closing_leaves_what_sandboxes_use(world: World) -> None:
    before = await world.restarted()
    await before.make_sandbox("one")
    await before.plug("one", card(2))
    await before.close()
    await before.close()
    after = await world.restarted()
    assert await after.plugged() == {"one": frozenset({"port-red-2"})}


async def test_opening_twice_is_opening_once(vif: Vif) -> None:
    await vif.make_sandbox("one")
    await vif.open()
    assert set(await vif.sandboxes()) == {"one"}


async def test_many_at_once_do_not_meet(vif: Vif) -> None:
    async def live(number: int) -> None:
        sandbox = f"s{number}"
        await vif.make_sandbox(sandbox)
        await vif.plug(sandbox, card(number + 2, "red" if number % 2 else "blue", number % 2 + 1))
        if number % 4 == 0:
            await vif.unplug(sandbox, card(number + 2, "blue", 1).port)
        if number % 3 == 0:
            await vif.remove_sandbox(sandbox)

    await asyncio.gather(*(live(number) for number in range(24)))
    assert set(await vif.sandboxes()) == {f"s{number}" for number in range(24) if number % 3}
    assert set(await vif.plugged()) == {f"s{number}" for number in range(24) if number % 3 and number % 4}
