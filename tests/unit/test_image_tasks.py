"""Images that nodes are told to make: whose turn it is."""

import asyncio
from typing import Any

from krater.agent.image_tasks import ImageTasks
from krater.agent.runtimes.fake import FakeRuntime
from krater.bus.interfaces import CONTROLLER
from krater.bus.local import LocalBus
from krater.bus.messages import ImageTask, SendImages
from krater.model.assignment import NodeImage


async def test_a_project_that_commits_much_keeps_no_other_waiting() -> None:
    engine, bus, begun, is_made = FakeRuntime(), LocalBus(), [], asyncio.Event()

    async def commit(source: str, name: str, _: int) -> NodeImage:
        begun.append(source)
        if source.startswith("ann"):
            await asyncio.Event().wait()
        is_made.set()
        return engine.world.images.add(name)

    async def take(_: Any) -> None:
        return None

    engine.commit = commit  # type: ignore[assignment,method-assign]
    bus.serve(CONTROLLER, {SendImages: take})
    tasks = ImageTasks("n", bus, engine)
    running = asyncio.create_task(tasks.run())
    owners = ("ann", "ann", "ann", "bob")
    tasks.accept(
        ImageTask(str(n), f"krater.local/{owner}/{n}:latest", wanted=True, source=f"{owner}{n}")
        for n, owner in enumerate(owners)
    )
    async with asyncio.timeout(5):
        await is_made.wait()
    assert begun == ["ann0", "bob3"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await bus.close()
