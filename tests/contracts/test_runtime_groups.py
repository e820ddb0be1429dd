"""Containers that share a group: what every engine promises of them."""

import asyncio
from typing import cast

import pytest

from krater.agent.runtimes.fake import FakeRuntime
from krater.agent.runtimes.interfaces import Engine
from krater.errors import Conflict
from krater.model.assignment import ContainerState
from krater.model.workload import Resources
from tests.support.archives import files, get, put
from tests.support.engines import Node, exited, running, said, seen
from tests.support.oci import OciNode, group, member

pytestmark = pytest.mark.thorough

SOON = 20.0
MIB = 1 << 20
GiB = 1 << 30


def left(node: Node, engine: Engine) -> list[str]:
    """All that there is of containers and groups, but for logs."""
    if isinstance(engine, FakeRuntime):
        return [*engine.world.containers, *engine.world.groups]
    return cast(OciNode, node).left()


async def ipc_of(engine: Engine, container: str) -> str:
    return await said(engine, container, "readlink", "/proc/self/ns/ipc")


async def shm_of(engine: Engine, container: str) -> str:
    return await said(engine, container, "ls", "/dev/shm")


async def test_containers_of_a_group_share_ipc_and_nobody_else_does(node: Node, engine: Engine) -> None:
    ours, theirs = group(), group()
    one, two, other = [await running(node, engine, member(of)) for of in (ours, ours, theirs)]
    lone = await running(node, engine)
    spaces = [await ipc_of(engine, container) for container in (one, two, other, lone)]
    assert spaces[0] == spaces[1]
    assert len(set(spaces)) == 3
    await said(engine, one, "touch", "/dev/shm/hello")
    assert [await shm_of(engine, container) for container in (one, two, other, lone)] == ["hello", "hello", "", ""]


async def test_containers_started_at_once_share_too(node: Node, engine: Engine) -> None:
    shared = [group() for _ in range(3)]
    members = [member(of) for of in shared for _ in range(3)]
    await asyncio.gather(*(engine.create(wanted) for wanted in members))
    await asyncio.gather(*(engine.start(wanted.id, 1, 0, node.netns) for wanted in members))
    spaces = [await ipc_of(engine, wanted.id) for wanted in members]
    assert [spaces[at : at + 3] for at in (0, 3, 6)] == [[spaces[at]] * 3 for at in (0, 3, 6)]
    assert len(set(spaces)) == 3
    for wanted in members:
        await said(engine, wanted.id, "touch", f"/dev/shm/{wanted.id}")
    for of in shared:
        here = sorted(wanted.id for wanted in members if wanted.group == of)
        assert [(await shm_of(engine, container)).split() for container in here] == [here] * 3


async def test_what_is_shared_outlives_processes_containers_and_engines(
    node: Node,
    engine: Engine,
) -> None:
    ours = group()
    one, two = [await running(node, engine, member(ours)) for _ in range(2)]
    await said(engine, one, "touch", "/dev/shm/kept")
    space = await ipc_of(engine, one)
    for container in (one, two):
        await engine.stop(container, 0)
    await engine.remove(one)
    again = await node.crashed(engine)
    await again.start(two, 2, 0, node.netns)
    three = await running(node, again, member(ours))
    for container in (two, three):
        assert (await shm_of(again, container), await ipc_of(again, container)) == ("kept", space)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), None])
async def test_the_group_goes_with_its_last_container(
    node: Node,
    engine: Engine,
    order: tuple[int, ...] | None,
) -> None:
    ours = group()
    members = [await running(node, engine, member(ours)) for _ in range(2)]
    never_started = member(ours)
    await engine.create(never_started)
    members.append(never_started.id)
    await said(engine, members[0], "touch", "/dev/shm/gone")
    if order is None:
        await asyncio.gather(*(engine.remove(container) for container in members))
    else:
        for place in order:
            await engine.remove(members[place])
    assert left(node, engine) == []
    assert await shm_of(engine, await running(node, engine, member(ours))) == ""


async def test_an_engine_that_comes_back_finds_the_group_and_lets_it_go(node: Node, engine: Engine) -> None:
    ours = group()
    one, two = [await running(node, engine, member(ours)) for _ in range(2)]
    await said(engine, one, "touch", "/dev/shm/gone")
    again = await node.crashed(engine)
    await again.remove(one)
    await again.remove(two)
    assert left(node, engine) == []
    assert await shm_of(again, await running(node, again, member(ours))) == ""


async def test_stopping_pausing_and_killing_are_of_one_alone(node: Node, engine: Engine) -> None:
    ours = group()
    one, two, three = [await running(node, engine, member(ours)) for _ in range(3)]
    before = await seen(engine, one)
    await engine.pause(two)
    assert (await seen(engine, two)).state is ContainerState.PAUSED
    assert len((await engine.top(one, "")).rows) == 1
    with pytest.raises(Conflict):
        await engine.exec(two, ("true",), SOON, 10)
    await engine.resume(two)
    await engine.stop(two, 0)
    await engine.signal(three, 9)
    assert (await exited(engine, three)).exit_code == 137
    await engine.start(two, 2, 0, node.netns)
    await engine.remove(three)
    assert (await seen(engine, two)).state is ContainerState.RUNNING
    assert await seen(engine, one) == before


async def test_what_is_told_of_limits_are_those_of_its_own(node: Node, engine: Engine) -> None:
    ours = group(cpu=2.0, memory=128)
    free, bound = member(ours, cpu=0.5, memory=32), member(ours, limits=Resources(0.25, 64))
    for wanted in (free, bound):
        await running(node, engine, wanted)
    told = {container: (found.cpu, found.memory) for container, found in (await engine.list()).items()}
    assert told == {free.id: (0.0, 0), bound.id: (0.25, 64)}
    assert (await engine.stats(free.id)).memory_limit == 128 * MIB
    assert (await engine.stats(bound.id)).memory_limit == 64 * MIB
    await engine.update(bound.id, 0.0, 48)
    await engine.update(free.id, 4.0, 256)  # more than all have together
    again = await node.crashed(engine)
    told = {container: (found.cpu, found.memory) for container, found in (await again.list()).items()}
    assert told == {free.id: (4.0, 256), bound.id: (0.0, 48)}
    assert (await again.stats(free.id)).memory_limit == 128 * MIB


async def test_one_that_takes_all_memory_of_the_group_is_killed_and_only_of_that_one_it_is_told(
    node: Node,
    engine: Engine,
) -> None:
    takes_all = {"fake": ("oom",), "oci": ("sh", "-c", "head -c 100000000 /dev/zero | tail >/dev/null; exit $?")}
    ours = group(memory=32)
    calm = [await running(node, engine, member(ours)) for _ in range(2)]
    hog = await running(node, engine, member(ours, takes_all[(await engine.describe()).name]))
    found = await exited(engine, hog)
    assert (found.exit_code, found.oom_killed) == (137, True)
    for container in calm:
        other = await seen(engine, container)
        assert (other.state, other.oom_killed) == (ContainerState.RUNNING, False)
    for container in (hog, calm[0]):
        await engine.stop(container, 0)  # nothing is kept of its process any more but what is written of it
    again = await node.crashed(engine)
    told = {container: found.oom_killed for container, found in (await again.list()).items()}
    assert told == {hog: True, calm[0]: False, calm[1]: False}


async def test_files_images_and_consoles_are_those_of_one_container(node: Node, engine: Engine) -> None:
    ours = group()
    one = await running(node, engine, member(ours, ("cat",), interactive=True))
    two = await running(node, engine, member(ours))
    for container in (one, two):
        await put(engine, container, "/tmp", files(own=container))
    await engine.stop(two, 0)
    for container in (one, two):
        assert (await get(engine, container, "/tmp/own"))["own"][1] == container.encode()
    stream = await engine.attach(one)
    await stream.write(b"hello\n")
    async with asyncio.timeout(SOON):
        assert b"hello" in b"".join(piece for _, piece in await stream.read())
    await stream.close()
    made = await engine.commit(one, "krater.local/p/made:latest", GiB)
    assert made.name.startswith("krater.local/p/made")
    assert (await seen(engine, one)).state is ContainerState.RUNNING
