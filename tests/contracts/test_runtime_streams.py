"""What every engine promises about attaching to processes and starting commands to talk to."""

import asyncio
import os

import pytest

from krater.agent.runtimes.interfaces import Engine, Stream
from krater.errors import Conflict
from krater.model.assignment import ContainerState
from krater.model.frames import STDERR, STDOUT
from tests.support.engines import Node, running
from tests.support.oci import config, until, until_state

SOON = 20.0


async def all_of(stream: Stream) -> tuple[bytes, bytes]:
    """What it writes until its end, by stream."""
    found = {STDOUT: b"", STDERR: b""}
    async with asyncio.timeout(SOON):
        while pieces := await stream.read():
            for number, piece in pieces:
                found[number] += piece
    return found[STDOUT], found[STDERR]


async def until_processes(engine: Engine, container: str, count: int) -> None:
    """Until so many run in it."""

    async def are() -> bool:
        return len((await engine.top(container, "")).rows) == count

    await until(are)


async def until_said(stream: Stream, wanted: bytes) -> bytes:
    """What it writes until that is in it."""
    said = b""
    async with asyncio.timeout(SOON):
        while wanted not in said:
            pieces = await stream.read()
            assert pieces, f"ended after {said!r}"
            said += b"".join(piece for _, piece in pieces)
    return said


@pytest.mark.parametrize("tty", [False, True])
async def test_a_command_says_what_it_says_and_ends(node: Node, engine: Engine, tty: bool) -> None:
    container = await running(node, engine)
    stream = await engine.start_exec(container, ("echo", "hello", "world"), tty)
    assert stream.tty is tty
    assert (await all_of(stream))[0].replace(b"\r", b"") == b"hello world\n"
    assert await stream.wait() == 0
    await stream.close()
    await stream.close()


@pytest.mark.parametrize("tty", [False, True])
async def test_the_exit_code_of_a_command_is_told(node: Node, engine: Engine, tty: bool) -> None:
    stream = await engine.start_exec(await running(node, engine), ("false",), tty)
    assert await all_of(stream) == (b"", b"")
    assert await stream.wait() == 1
    await stream.close()


@pytest.mark.parametrize("tty", [False, True])
async def test_a_command_that_is_not_there_says_so(node: Node, engine: Engine, tty: bool) -> None:
    stream = await engine.start_exec(await running(node, engine), ("fail-start",), tty)
    out, error = await all_of(stream)
    assert b"fail-start" in out + error
    assert b"not found" in out + error
    assert await stream.wait() == 127
    await stream.close()


async def test_a_command_reads_input_until_its_end(node: Node, engine: Engine) -> None:
    stream = await engine.start_exec(await running(node, engine), ("cat",), False)
    sent = os.urandom(300_000)
    reading = asyncio.create_task(all_of(stream))
    for at in range(0, len(sent), 100_000):
        await stream.write(sent[at : at + 100_000])
    stream.end_input()
    stream.end_input()
    assert (await reading)[0] == sent
    assert await stream.wait() == 0
    await stream.write(b"nobody reads this")
    await stream.close()


async def test_a_terminal_has_the_size_it_was_asked_for(node: Node, engine: Engine) -> None:
    # the OCI runtime sets the size while the command starts already
    words = ("stty", "size") if type(engine).__name__ == "FakeRuntime" else ("sh", "-c", "sleep 0.3; stty size")
    stream = await engine.start_exec(await running(node, engine), words, True, (33, 77))
    assert (await all_of(stream))[0].replace(b"\r", b"") == b"33 77\n"
    await stream.close()


@pytest.mark.parametrize("tty", [False, True])
async def test_a_command_ends_with_its_stream(node: Node, engine: Engine, tty: bool) -> None:
    container = await running(node, engine)
    stream = await engine.start_exec(container, ("sleep", "1000"), tty)
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0.1)
    await stream.close()
    async with asyncio.timeout(SOON):
        assert not list(await reading)
        await until_processes(engine, container, 1)
    assert (await engine.inspect(container)).state is ContainerState.RUNNING  # type: ignore[union-attr]


async def test_a_command_ends_with_its_container(node: Node, engine: Engine) -> None:
    container = await running(node, engine)
    stream = await engine.start_exec(container, ("sleep", "1000"), False)
    if type(engine).__name__ == "OciRuntime":  # the fake one shows one process only
        async with asyncio.timeout(SOON):
            await until_processes(engine, container, 2)
    await engine.stop(container, 0)
    await all_of(stream)
    assert await stream.wait() == 137
    await stream.close()


async def test_input_of_a_container_comes_back_from_it_and_its_end_ends_it(node: Node, engine: Engine) -> None:
    container = await running(node, engine, config(("cat",), interactive=True))
    stream = await engine.attach(container)
    await stream.write(b"one\n")
    assert await until_said(stream, b"one\n") == b"one\n"
    await stream.close()
    assert (await engine.inspect(container)).state is ContainerState.RUNNING  # type: ignore[union-attr]
    again = await engine.attach(container)
    await again.write(b"two\n")
    await until_said(again, b"two\n")
    again.end_input()
    await all_of(again)
    assert await again.wait() == 0
    await again.close()
    assert (await until_state(engine, container, ContainerState.EXITED)).exit_code == 0


async def test_two_who_are_attached_see_the_same(node: Node, engine: Engine) -> None:
    container = await running(node, engine, config(("cat",), interactive=True))
    one, two = await engine.attach(container), await engine.attach(container)
    await one.write(b"hello\n")
    assert await until_said(one, b"hello\n") == await until_said(two, b"hello\n")
    for stream in (one, two):
        await stream.close()


async def test_input_does_not_end_with_the_engine(node: Node, engine: Engine) -> None:
    container = await running(node, engine, config(("cat",), interactive=True))
    stream = await engine.attach(container)
    await stream.write(b"before\n")
    await until_said(stream, b"before\n")
    again = await node.crashed(engine)
    after = await again.attach(container)
    await after.write(b"after\n")
    assert b"after\n" in await until_said(after, b"after\n")
    await after.close()


async def test_who_attaches_first_gets_what_was_said_at_the_start(node: Node, engine: Engine) -> None:
    words = ("sh", "-c", "echo ready; exec cat") if type(engine).__name__ == "OciRuntime" else ("echo", "ready")
    if words[0] == "echo":
        return  # the fake engine's echo has ended by then
    container = await running(node, engine, config(words, interactive=True))
    await asyncio.sleep(0.3)
    stream = await engine.attach(container)
    assert await until_said(stream, b"ready\n") == b"ready\n"
    await stream.close()


async def test_a_terminal_of_a_container_can_be_resized(node: Node, engine: Engine) -> None:
    container = await running(node, engine, config(("cat",), interactive=True, tty=True))
    await engine.resize_terminal(container, 40, 100)
    stream = await engine.attach(container)
    stream.resize(41, 101)
    await stream.write(b"x\n")
    await until_said(stream, b"x")
    stream.end_input()
    await stream.close()
    assert (await engine.inspect(container)).state is ContainerState.RUNNING  # type: ignore[union-attr]
    again = await engine.attach(container)
    await again.write(b"y\n")
    await until_said(again, b"y")
    await again.close()


async def test_what_does_not_run_has_no_streams(engine: Engine) -> None:
    wanted = config(interactive=True)
    await engine.create(wanted)
    with pytest.raises(Conflict):
        await engine.attach(wanted.id)
    with pytest.raises(Conflict):
        await engine.start_exec(wanted.id, ("true",), False)
    with pytest.raises(Conflict):
        await engine.resize_terminal(wanted.id, 24, 80)
