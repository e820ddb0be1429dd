"""What every engine promises of the images it makes, gives out and uploads."""

import asyncio
import io
import json
import tarfile
from dataclasses import replace
from typing import Any

import pytest

from krater.agent.runtimes.interfaces import OPERATOR, Asker, ContainerConfig, Engine, PushTarget
from krater.errors import NotFound, Permanent, Temporary
from krater.model.assignment import ContainerState
from krater.model.image import own_name
from krater.model.registry import Login
from krater.model.workload import PullPolicy
from tests.support.engines import NOBODY, Node, exited, running, seen
from tests.support.oci import SLEEP, until_state
from tests.support.oci import config as config_of

MIB = 1 << 20
OWN = own_name("kitchen", "8d1f2a4e")
KITCHEN, CELLAR = Asker("kitchen"), Asker("cellar")


def config(command: tuple[str, ...] | None = SLEEP, **more: Any) -> ContainerConfig:
    """A container of the kitchen's."""
    return replace(config_of(command, **more), project="kitchen")


async def names(engine: Engine) -> list[str]:
    return [image.name for image in await engine.images()]


@pytest.mark.parametrize("state", ["created", "running", "paused", "exited"])
async def test_a_container_becomes_an_image_and_stays_as_it_was(node: Node, engine: Engine, state: str) -> None:
    wanted = config(("sleep", "1000") if state != "exited" else ("true",), environment={"MADE": "here"})
    await engine.create(wanted)
    if state != "created":
        await engine.start(wanted.id, 1, 0, node.netns)
    if state == "paused":
        await engine.pause(wanted.id)
    if state == "exited":
        await exited(engine, wanted.id)
    before = await seen(engine, wanted.id)
    made = await engine.commit(wanted.id, OWN, MIB)
    assert (made.name, made.kept) == (OWN, False)
    assert await seen(engine, wanted.id) == before
    assert before.state is ContainerState(state)
    assert made in await engine.images()
    facts = await engine.ensure_image(OWN, PullPolicy.NEVER, None, KITCHEN)
    assert facts.digest == made.digest
    assert (*facts.entrypoint, *facts.command) == wanted.spec.command
    assert "MADE=here" in facts.environment


async def test_the_image_can_be_run_at_once_and_after_the_container_is_gone(node: Node, engine: Engine) -> None:
    container = await running(node, engine, config())
    await engine.commit(container, OWN, MIB)
    await engine.remove(container)
    again = await running(node, engine, config(None, image="mine", stored_image=OWN))
    assert (await seen(engine, again)).command == ("sleep", "1000")


async def test_making_it_again_takes_the_name_over(node: Node, engine: Engine) -> None:
    container = await running(node, engine, config())
    for _ in range(2):
        made = await engine.commit(container, OWN, MIB)
    assert (await names(engine)).count(OWN) == 1
    assert made in await engine.images()


async def test_what_is_not_there_cannot_be_committed(engine: Engine) -> None:
    with pytest.raises(NotFound):
        await engine.commit(NOBODY, OWN, MIB)
    assert OWN not in await names(engine)


async def test_an_image_cannot_be_larger_than_allowed(node: Node, engine: Engine) -> None:
    container = await running(node, engine, config())
    with pytest.raises(Permanent):
        await engine.commit(container, OWN, -1)
    assert (await seen(engine, container)).state is ContainerState.RUNNING
    assert OWN not in await names(engine)


async def read_whole(engine: Engine, name: str, reference: str, piece: int) -> bytes:
    part = await engine.read_image(name, reference, 0, piece)
    whole = part.content
    while len(whole) < part.total:
        part = await engine.read_image(name, reference, len(whole), piece)
        assert part.content
        whole += part.content
    return whole


async def test_an_archive_is_the_same_in_whatever_pieces_it_is_read(engine: Engine) -> None:
    whole = await read_whole(engine, "busybox", "mine:1", 1 << 30)
    assert await read_whole(engine, "busybox", "mine:1", len(whole) // 7 + 1) == whole
    assert (await engine.read_image("busybox", "mine:1", len(whole), 10)).content == b""
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
    [entry] = index["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == "docker.io/library/mine:1"


async def test_an_absent_image_is_neither_given_out_nor_pushed(engine: Engine) -> None:
    with pytest.raises(NotFound):
        await engine.read_image(OWN, "mine:1", 0, 10)
    with pytest.raises(NotFound):
        await engine.push_image(OWN, PushTarget("registry.example/mine:1"))


@pytest.mark.parametrize("policy", list(PullPolicy))
async def test_a_projects_image_is_never_pulled(node: Node, engine: Engine, policy: PullPolicy) -> None:
    async def login() -> Login | None:
        raise AssertionError("nobody is asked")

    with pytest.raises(Permanent) as refused:
        await engine.ensure_image(OWN, policy, None, Asker("kitchen", login))
    assert "krater.local" not in refused.value.message
    await engine.commit(await running(node, engine), OWN, MIB)
    assert (await engine.ensure_image(OWN, policy, None, Asker("kitchen", login))).name == OWN


@pytest.mark.parametrize("policy", list(PullPolicy))
async def test_nobody_else_has_anything_of_a_projects_image(node: Node, engine: Engine, policy: PullPolicy) -> None:
    await engine.commit(await running(node, engine), OWN, MIB)
    for other in (CELLAR, OPERATOR, Asker("kit"), Asker("*")):
        with pytest.raises(Permanent) as refused:
            await engine.ensure_image(OWN, policy, None, other)
        assert "krater.local" not in refused.value.message
    theirs = replace(config(None, image="mine", stored_image=OWN), project="cellar")
    with pytest.raises(Temporary):
        await engine.create(theirs)
    said = replace(config(None, image=OWN), project="cellar")  # should ever somebody be let say it
    with pytest.raises(Temporary):
        await engine.create(said)
    assert {theirs.id, said.id}.isdisjoint(await engine.list())


async def test_no_image_is_made_while_files_are_copied_into_the_container(node: Node, engine: Engine) -> None:
    container = await running(node, engine, config())
    writer = await engine.unpack(container, "/tmp", MIB)
    with pytest.raises(Temporary, match="being copied"):
        await engine.commit(container, OWN, MIB)
    assert OWN not in await names(engine)
    await writer.close()
    reader = await engine.pack(container, "/", 1 << 30)  # which only reads
    await engine.commit(container, OWN, MIB)
    await reader.close()
    assert (await seen(engine, container)).state is ContainerState.RUNNING


async def test_a_container_whose_image_was_removed_cannot_be_committed(node: Node, engine: Engine) -> None:
    container = await running(node, engine, config())
    for image in await names(engine):
        await engine.remove_image(image)
    reason = await refusal_of_commits(engine, container)
    assert "the image that the container was made of is not" in reason.lower()
    assert (await seen(engine, container)).state is ContainerState.RUNNING
    assert OWN not in await names(engine)


async def refusal_of_commits(engine: Engine, container: str) -> str:
    """Why none is made. What nobody needs any more goes a moment later."""
    async with asyncio.timeout(60):
        while True:
            try:
                await engine.commit(container, OWN, MIB)
            except Permanent as refused:
                return refused.message
            await engine.remove_image(OWN)
            await asyncio.sleep(0.1)


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(PushTarget("registry.example/mine:1", "somebody", "secret"))


async def test_a_commit_given_up_at_any_moment_leaves_the_container_running(node: Node, engine: Engine) -> None:
    container = await running(node, engine, config())
    for moment in range(12):
        work = asyncio.ensure_future(engine.commit(container, OWN, MIB))
        await asyncio.sleep(moment * 0.01)
        for _ in range(3):  # whoever changes their mind may do so again
            work.cancel()
            await asyncio.sleep(0)
        await asyncio.gather(work, return_exceptions=True)
        await until_state(engine, container, ContainerState.RUNNING)
    await engine.exec(container, ("true",), 10, 10)
    assert (await engine.commit(container, OWN, MIB)) in await engine.images()


async def test_a_paused_container_is_told_as_paused_while_it_is_committed(node: Node, engine: Engine) -> None:
    container = await running(node, engine, config())
    await engine.pause(container)
    work = asyncio.ensure_future(engine.commit(container, OWN, MIB))
    while not work.done():
        assert (await seen(engine, container)).state is ContainerState.PAUSED
        await asyncio.sleep(0.005)
    await work


async def test_a_running_container_is_told_as_running_while_it_is_committed(node: Node, engine: Engine) -> None:
    container = await running(node, engine, config())
    work = asyncio.ensure_future(engine.commit(container, OWN, MIB))
    while not work.done():
        assert (await seen(engine, container)).state is ContainerState.RUNNING
        await asyncio.sleep(0.005)
    await work
