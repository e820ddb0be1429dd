"""Logs of the real engine, which conmon writes: rotated by us, and by itself when they are full before we look."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from krater.agent.logs import read_log
from krater.agent.runtimes.oci.runtime import OciRuntime
from krater.bus.messages import Logs
from tests.support.engines import exited, running
from tests.support.oci import OciNode, busybox_node, config, until

pytestmark = pytest.mark.live

FULL = 1 << 20  # bytes after which conmon begins another file by itself
LINE = 40  # bytes that a line has at least, with what conmon puts before it
KEPT = 2


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[OciNode]:
    """One whose logs are full soon."""
    async with busybox_node(tmp_path, log_limit=FULL, log_files=KEPT) as made:
        yield made


@pytest.fixture
async def engine(node: OciNode) -> OciRuntime:
    """The engine on it."""
    return await node.engine()


def logged(engine: OciRuntime, container: str) -> list[int]:
    """The numbers that a container has counted, as far as they can be read."""
    answer = read_log(engine.log_path(container), Logs(container, limit=1 << 30))
    return [int(line) for line in answer.text.decode().splitlines()]


def files(engine: OciRuntime, container: str) -> list[str]:
    """The names of its logs, those of one file together."""
    directory = Path(engine.log_path(container)).parent
    names: dict[int, list[str]] = {}
    for path in sorted(directory.iterdir()):
        names.setdefault(path.stat().st_ino, []).append(path.name.removeprefix("container."))
    return sorted("=".join(same) for same in names.values())


def inode(engine: OciRuntime, container: str) -> int:
    """Which file is being written."""
    return Path(engine.log_path(container)).stat().st_ino


async def test_a_rotated_log_loses_no_line(node: OciNode, engine: OciRuntime) -> None:
    script = "i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); [ $((i%100)) = 0 ] && sleep 0.01; done"
    container = await running(node, engine, config(("sh", "-c", script)))
    for _ in range(KEPT):
        await asyncio.sleep(0.1)
        await engine.tend_log(container, 0)
    await exited(engine, container)
    assert logged(engine, container) == list(range(3000))


async def test_a_burst_leaves_what_came_before_its_end(node: OciNode, engine: OciRuntime) -> None:
    """As when a process says a lot and dies: nobody was there to rotate its log."""
    last = FULL // LINE * 5 // 4
    container = await running(node, engine, config(("seq", str(last))))
    await exited(engine, container)
    assert files(engine, container) == ["log", "log.1"], "conmon has begun another file"
    assert logged(engine, container) == list(range(1, last + 1))
    await engine.tend_log(container, FULL)
    assert files(engine, container) == ["log.2", "log=log.1"], "the next burst leaves as much"
    assert logged(engine, container) == list(range(1, last + 1))


async def test_no_more_files_are_kept_than_asked_for(node: OciNode, engine: OciRuntime) -> None:
    loop = "i=0; while true; do i=$((i+1)); echo $i; sleep 0.01; done"
    container = await running(node, engine, config(("sh", "-c", loop)))
    await until(lambda: 1 in logged(engine, container))
    for _ in range(KEPT + 3):
        before = inode(engine, container)
        await engine.tend_log(container, -1)
        await until(lambda was=before: inode(engine, container) != was)
    await engine.tend_log(container, FULL)
    assert files(engine, container) == ["log.2", "log.3", "log=log.1"], "the one that is written, and so many before"
    assert 1 not in logged(engine, container)


async def test_the_log_of_one_that_has_ended_is_moved_aside(node: OciNode, engine: OciRuntime) -> None:
    container = await running(node, engine, config(("seq", "100")))
    await exited(engine, container)

    async def is_aside() -> bool:
        await engine.tend_log(container, 10)  # again: conmon may be about to end, and do nothing that it is told
        return files(engine, container) == ["log.1"]

    await until(is_aside)
    await engine.start(container, 2, 0, node.netns)
    await exited(engine, container)
    assert logged(engine, container) == [*range(1, 101)] * 2
    assert files(engine, container) == ["log.2", "log=log.1"]
