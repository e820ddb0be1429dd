"""The engine when parts of it are killed: itself, monitors, the image store; and starts broken off half-way."""

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from krater.agent.runtimes.oci.conmon import Conmon
from krater.agent.runtimes.oci.lifecycle import Lifecycle
from krater.agent.runtimes.oci.runtime import OciRuntime
from krater.errors import Temporary
from krater.model.assignment import ContainerState
from krater.model.workload import PullPolicy
from tests.support.engines import running
from tests.support.images import busybox_archive
from tests.support.oci import OciNode, config, until, until_state

pytestmark = pytest.mark.live

SOON = 10.0


class Crash(BaseException):
    """Stands for our end at one point of a start: nothing after it is done."""


async def is_up(engine: OciRuntime) -> bool:
    return (await engine.describe()).image_store_up


def monitor_of(node: OciNode) -> int:
    """The only conmon of the node."""
    found = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _is_monitor(entry, str(node.directory))
    ]
    assert len(found) == 1
    return found[0]


def _is_monitor(entry: Path, directory: str) -> bool:
    try:
        line = (entry / "cmdline").read_bytes()
    except OSError:
        return False
    return line.startswith(b"/usr/bin/conmon") and directory.encode() in line


async def test_a_container_outlives_its_monitor_and_its_end_is_still_told(node: OciNode, engine: OciRuntime) -> None:
    container = await running(node, engine)
    events = engine.events()
    os.kill(monitor_of(node), signal.SIGKILL)
    assert (await until_state(engine, container, ContainerState.RUNNING)).pid is not None
    await engine.signal(container, signal.SIGKILL)
    async with asyncio.timeout(SOON):
        async for changed in events:
            found = await engine.inspect(container)
            if changed == container and found is not None and found.finished_at is not None:
                break
    assert found is not None
    assert (found.state, found.exit_code, found.error) == (ContainerState.EXITED, 137, None)
    await engine.start(container, 1, 1, node.netns)
    await until_state(engine, container, ContainerState.RUNNING)


async def test_a_container_without_monitor_can_be_stopped_and_removed(node: OciNode, engine: OciRuntime) -> None:
    container = await running(node, engine)
    os.kill(monitor_of(node), signal.SIGKILL)
    again = await node.crashed(engine)
    await again.stop(container, 0)
    assert (await until_state(again, container, ContainerState.EXITED)).exit_code == 137
    await again.remove(container)
    assert (node.processes(), node.mounts(), node.groups()) == ([], [], [])


async def test_what_ends_while_nobody_looks_is_found(node: OciNode, engine: OciRuntime) -> None:
    container = await running(node, engine, config(("sh", "-c", "sleep 0.3; exit 6")))
    await engine.close()
    await asyncio.sleep(0.8)
    again = await node.engine()
    again.events()
    assert (await until_state(again, container, ContainerState.EXITED)).exit_code == 6
    await until(lambda: not node.groups())  # tidied up by the engine that found it


@pytest.mark.parametrize("point", ["before conmon", "after conmon", "before the record"])
async def test_a_start_broken_off_half_way_is_done_again(
    node: OciNode, engine: OciRuntime, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    wanted = config()
    await engine.create(wanted)
    with monkeypatch.context() as patch:
        _crash_at(patch, point)
        with pytest.raises(Crash):
            await engine.start(wanted.id, 1, 0, node.netns)
    again = await node.crashed(engine)
    found = (await again.list())[wanted.id]
    assert found.state is ContainerState.CREATED
    await again.start(wanted.id, 1, 0, node.netns)
    assert (await until_state(again, wanted.id, ContainerState.RUNNING)).run == 1
    assert len((await again.top(wanted.id, "")).rows) == 1
    monitor_of(node)


def _crash_at(patch: pytest.MonkeyPatch, point: str) -> None:
    create = Conmon.create

    async def never(*_: object) -> None:
        raise Crash

    async def created(*arguments: object) -> None:
        await create(*arguments)  # type: ignore[arg-type]
        raise Crash

    if point == "before conmon":
        patch.setattr(Conmon, "create", never)
    elif point == "after conmon":
        patch.setattr(Conmon, "create", created)
    else:
        patch.setattr(Lifecycle, "_launched", lambda *_: (_ for _ in ()).throw(Crash))


@pytest.mark.parametrize("point", ["before conmon", "after conmon", "before the record"])
async def test_a_start_broken_off_half_way_leaves_nothing_when_removed(
    node: OciNode, engine: OciRuntime, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    wanted = config()
    await engine.create(wanted)
    with monkeypatch.context() as patch:
        _crash_at(patch, point)
        with pytest.raises(Crash):
            await engine.start(wanted.id, 1, 0, node.netns)
    again = await node.crashed(engine)
    await again.remove(wanted.id)
    assert (node.processes(), node.mounts(), node.groups(), await again.list()) == ([], [], [], {})


async def test_a_container_half_made_is_none(node: OciNode, engine: OciRuntime) -> None:
    wanted = config()
    await engine.create(wanted)
    (node.directory / "e/containers" / wanted.id / "container.json").write_text("{")
    again = await node.crashed(engine)
    assert await again.list() == {}
    await again.create(wanted)
    await again.start(wanted.id, 1, 0, node.netns)
    await until_state(again, wanted.id, ContainerState.RUNNING)


async def test_of_a_container_whose_making_was_broken_off_nothing_stays(node: OciNode, engine: OciRuntime) -> None:
    wanted = config()
    await engine.create(wanted)
    (node.directory / "e/containers" / wanted.id / "container.json").unlink()  # what is written last
    await node.crashed(engine)
    await until(lambda: not any((node.directory / "e/containers").iterdir()))


async def test_a_container_whose_record_was_wiped_is_kept_for_whoever_removes_it(
    node: OciNode, engine: OciRuntime
) -> None:
    container = await running(node, engine)
    (node.directory / "e/containers" / container / "container.json").unlink()
    again = await node.crashed(engine)
    assert (await again.list(), bool(node.groups())) == ({}, True)
    await again.remove(container)
    assert (node.processes(), node.mounts(), node.groups(), node.left()) == ([], [], [], [])


async def test_the_image_store_survives_us_and_is_found_again(node: OciNode, engine: OciRuntime) -> None:
    before = node.containerd_pid()
    again = await node.crashed(engine)
    assert node.containerd_pid() == before
    assert (await again.describe()).image_store_up


async def test_a_dead_image_store_costs_no_container_and_comes_back(node: OciNode, engine: OciRuntime) -> None:
    container = await running(node, engine)
    before = node.containerd_pid()
    os.kill(before, signal.SIGKILL)
    assert (await engine.describe()).image_store_up is False
    assert (await engine.list())[container].state is ContainerState.RUNNING
    await running(node, engine)  # of an image that is known, not even a new one needs the store
    with pytest.raises(Temporary):
        await engine.images()
    await engine.stop(container, 0)
    await until(lambda: is_up(engine))
    assert node.containerd_pid() != before
    assert [image.name for image in await engine.images()] == ["docker.io/library/busybox:latest"]
    await engine.start(container, 2, 0, node.netns)


async def test_layers_in_use_are_never_garbage(node: OciNode, engine: OciRuntime) -> None:
    container = await running(node, engine)
    lower = node.directory / "e/containerd/root/io.containerd.snapshotter.v1.overlayfs/snapshots"
    await engine.remove_image("busybox")
    await asyncio.sleep(1.5)  # containerd collects half a second after a removal
    assert (await engine.exec(container, ("busybox", "true"), SOON, 10)).exit_code == 0
    assert os.listdir(lower)
    await engine.remove(container)
    await until(lambda: not os.listdir(lower))


async def test_idle_containers_cost_next_to_nothing(node: OciNode, engine: OciRuntime) -> None:
    await asyncio.gather(*(running(node, engine) for _ in range(20)))
    before, start = time.process_time(), time.monotonic()
    await asyncio.sleep(1.0)
    assert (time.process_time() - before) / (time.monotonic() - start) < 0.01
    began = time.monotonic()
    assert len(await engine.list()) == 20
    assert time.monotonic() - began < 0.2


async def test_images_removed_while_in_use_can_be_had_again(node: OciNode, engine: OciRuntime, tmp_path: Path) -> None:
    container = await running(node, engine)
    await engine.remove_image("busybox")
    await engine.import_image(busybox_archive(tmp_path / "again.tar"))
    await engine.ensure_image("busybox", PullPolicy.NEVER)
    await running(node, engine)
    await engine.remove(container)
    await running(node, engine)


async def test_two_engines_on_one_node_start_one_image_store(node: OciNode, engine: OciRuntime) -> None:
    other = await node.engine()
    for _ in range(3):
        os.kill(node.containerd_pid(), signal.SIGKILL)
        await until(lambda: is_up(engine))
        await until(lambda: is_up(other))
        await asyncio.sleep(0.5)  # time for a second one, were there one
        found = await asyncio.to_thread(
            subprocess.run, ["pgrep", "-fc", f"^containerd -c {node.directory}/"], capture_output=True
        )
        assert found.stdout.strip() == b"1"
