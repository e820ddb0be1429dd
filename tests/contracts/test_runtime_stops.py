"""Processes that were asked to end: asked once, with a time that runs on, whoever waits for it."""

import asyncio
import json
from pathlib import Path
from typing import cast

import pytest

from krater.agent.runtimes.fake import FakeRuntime
from krater.agent.runtimes.interfaces import Engine
from krater.model.assignment import ContainerState
from tests.support.engines import Node, running, seen
from tests.support.oci import OciNode, config, until

STUBBORN = ("sh", "-c", "trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done; ignore-term")
HOURS = 36_000.0


async def stubborn(node: Node, engine: Engine) -> str:
    """A container whose process hears that it should end, and does not."""
    container = await running(node, engine, config(STUBBORN))
    if not isinstance(engine, FakeRuntime):
        await until(lambda: "ready" in Path(engine.log_path(container)).read_text())
    return container


async def asking(engine: Engine, container: str, count: int = 1) -> asyncio.Task[None]:
    """A stop under way, so far that the process has heard of it, so often in all."""
    stop = asyncio.ensure_future(engine.stop(container, HOURS))
    await until(lambda: is_ending(engine, container))
    await until(lambda: asks(engine, container) == count)
    return stop


async def given_up(stop: asyncio.Task[None]) -> None:
    stop.cancel()
    await asyncio.gather(stop, return_exceptions=True)


async def is_ending(engine: Engine, container: str) -> bool:
    found = await engine.inspect(container)
    assert found is not None
    return found.is_ending


def asks(engine: Engine, container: str) -> int:
    """How often it was asked."""
    if isinstance(engine, FakeRuntime):
        return engine.world.asks[container]
    return Path(engine.log_path(container)).read_text().count("asked")


def later(node: Node, engine: Engine, container: str, seconds: float) -> None:
    """As if it had been asked so long ago."""
    if isinstance(engine, FakeRuntime):
        engine.world.containers[container].asked_at -= seconds
        return
    record = cast(OciNode, node).directory / "e/containers" / container / "process.json"
    told = json.loads(record.read_text())
    beside = record.with_suffix(".test")
    beside.write_text(json.dumps({**told, "asked_at": told["asked_at"] - seconds}))
    beside.replace(record)


@pytest.mark.parametrize("crashes", [False, True])
async def test_the_time_to_end_goes_on_with_the_next_stop(node: Node, engine: Engine, crashes: bool) -> None:
    container = await stubborn(node, engine)
    await given_up(await asking(engine, container))
    assert (await seen(engine, container)).state is ContainerState.RUNNING
    again = await node.crashed(engine) if crashes else engine
    stop = await asking(again, container)
    await asyncio.sleep(0.2)
    assert not stop.done()
    await given_up(stop)
    later(node, again, container, HOURS)
    async with asyncio.timeout(60):
        await again.stop(container, HOURS)
    found = await seen(again, container)
    assert (found.state, found.exit_code, found.is_ending) == (ContainerState.EXITED, 137, False)
    assert asks(again, container) == 1


async def test_a_smaller_grace_counts_from_when_it_was_asked(node: Node, engine: Engine) -> None:
    container = await stubborn(node, engine)
    await given_up(await asking(engine, container))
    later(node, engine, container, HOURS / 2)
    async with asyncio.timeout(60):
        await engine.stop(container, HOURS / 2)
    assert (await seen(engine, container)).state is ContainerState.EXITED
    assert asks(engine, container) == 1


@pytest.mark.parametrize("way", ["resumed", "paused"])
async def test_one_that_is_to_go_on_has_all_its_time_again(node: Node, engine: Engine, way: str) -> None:
    container = await stubborn(node, engine)
    await given_up(await asking(engine, container))
    later(node, engine, container, HOURS)
    await (engine.resume if way == "resumed" else engine.pause)(container)
    again = await node.crashed(engine)
    found = await seen(again, container)
    assert (found.state.value, found.is_ending) == ("running" if way == "resumed" else "paused", False)
    stop = await asking(again, container, 2)
    assert (await seen(again, container)).state is ContainerState.RUNNING
    await given_up(stop)
    await again.stop(container, 0)


async def test_another_process_was_not_asked(node: Node, engine: Engine) -> None:
    container = await stubborn(node, engine)
    await given_up(await asking(engine, container))
    await engine.stop(container, 0)
    await engine.start(container, 2, 0, node.netns)
    assert not await is_ending(engine, container)
