"""What tests of engines share, whichever engine it is: where it lives, and containers to look at."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from krater.agent.runtimes.fake import FakeEngineWorld, FakeRuntime
from krater.agent.runtimes.interfaces import ContainerConfig, Engine
from krater.model.assignment import ContainerState, ObservedContainer
from krater.model.registry import Login
from tests.support.oci import PATIENCE, config, until_state

NOBODY = "0" * 32
"""The id of no container."""


class Node(Protocol):
    """Where engines come and go."""

    @property
    def netns(self) -> str: ...
    async def engine(self) -> Engine: ...
    async def crashed(self, engine: Engine) -> Engine: ...
    def private(self) -> AbstractContextManager[tuple[str, Login]]: ...


class FakeNode:
    """A world in memory."""

    netns = "/run/netns/fake"

    def __init__(self, directory: Path) -> None:
        self._world = FakeEngineWorld(logs=str(directory))
        self._world.images.add("busybox")

    async def engine(self) -> Engine:
        made = FakeRuntime(self._world)
        await made.open()
        return made

    async def crashed(self, engine: Engine) -> Engine:
        return await self.engine()

    @contextmanager
    def private(self) -> Iterator[tuple[str, Login]]:
        """An image that its registry gives to one login only."""
        name, login = "registry.example/team/secret:1", Login("registry.example", "me", "secret")
        images = self._world.images
        images.registry[name] = replace(images.registry["docker.io/library/busybox:latest"], name=name)
        images.logins[name] = login
        yield name, login


async def running(node: Node, engine: Engine, wanted: ContainerConfig | None = None) -> str:
    """A container that was started; its id."""
    made = wanted or config()
    await engine.create(made)
    await engine.start(made.id, 1, 0, node.netns)
    return made.id


async def seen(engine: Engine, container: str) -> ObservedContainer:
    """What the engine sees of it, however it is asked."""
    found = await engine.inspect(container)
    assert found is not None
    assert (await engine.list())[container] == found
    return found


async def exited(engine: Engine, container: str) -> ObservedContainer:
    """Wait until its process has ended."""
    return await until_state(engine, container, ContainerState.EXITED)


async def said(engine: Engine, container: str, *command: str) -> str:
    """What a command in it prints, which has to succeed."""
    found = await engine.exec(container, command, PATIENCE, 10_000)
    assert found.exit_code == 0, found.output
    return found.output.decode().strip()


async def said_by_shell(engine: Engine, container: str, script: str) -> str:
    """What a script in it prints, which has to succeed."""
    return await said(engine, container, "sh", "-c", script)
