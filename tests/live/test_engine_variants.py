"""The engine with other parts than its own: runc in place of crun, and an image store that somebody else keeps."""

import asyncio
import threading
from pathlib import Path

import pytest

from krater.agent.runtimes.oci import threads
from krater.errors import Conflict, Permanent
from krater.model.assignment import ContainerState
from tests.support.images import busybox_archive
from tests.support.oci import OciNode, config, until, until_state

pytestmark = pytest.mark.live

SOON = 10.0


async def test_runc_does_as_well_as_crun(tmp_path: Path) -> None:
    node = OciNode(runtime="runc")
    try:
        engine = await node.engine()
        assert (await engine.describe()).runtimes == ("runc",)
        await engine.import_image(busybox_archive(tmp_path / "busybox.tar"))
        wanted, wrong = config(), config(("nope",))
        for one in (wanted, wrong):
            await engine.create(one)
        await engine.start(wanted.id, 1, 0, node.netns)
        found = await engine.exec(wanted.id, ("grep", "Seccomp:", "/proc/self/status"), SOON, 100)
        assert (found.output, found.exit_code) == (b"Seccomp:\t2\n", 0)
        with pytest.raises(Conflict):
            await engine.exec(wanted.id, ("sleep", "100"), 0.5, 100)
        with pytest.raises(Permanent, match="no such program"):
            await engine.start(wrong.id, 1, 0, node.netns)
        await engine.pause(wanted.id)
        await engine.stop(wanted.id, 1)
        assert (await until_state(engine, wanted.id, ContainerState.EXITED)).exit_code == 137
        await engine.start(wanted.id, 2, 0, node.netns)
        await engine.remove(wanted.id)
        await engine.remove(wrong.id)
        assert (node.processes(), node.mounts(), node.groups()) == ([], [], [])
    finally:
        await node.clear()


async def test_millions_of_files_that_go_leave_room_for_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node, gate = OciNode(), threading.Event()
    try:
        engine = await node.engine()
        await engine.import_image(busybox_archive(tmp_path / "busybox.tar"))
        full, wanted = [config() for _ in range(threads.COUNT + 1)], config()
        for one in full:
            await engine.create(one)
        plain = threads.remove_tree
        monkeypatch.setattr(threads, "remove_tree", lambda tree: gate.wait() and plain(tree))
        removals = [asyncio.create_task(engine.remove(one.id)) for one in full]
        await until(lambda: len(list(node.directory.glob("e/containers/.*"))) == len(full))
        await engine.create(wanted)
        await engine.start(wanted.id, 1, 0, node.netns)
        await until_state(engine, wanted.id, ContainerState.RUNNING)
        assert not any(removal.done() for removal in removals)
        gate.set()
        await asyncio.gather(*removals)
        assert not list(node.directory.glob("e/containers/.*"))
    finally:
        gate.set()
        await node.clear()


async def test_what_a_crash_left_half_removed_goes_at_the_next_start(tmp_path: Path) -> None:
    node = OciNode()
    try:
        engine = await node.engine()
        left = node.directory / "e/containers/.gone.1/upper"
        left.mkdir(parents=True)
        (left / "file").touch()
        await node.crashed(engine)
        await until(lambda: not left.parent.exists())
    finally:
        await node.clear()


async def test_an_image_store_that_is_there_already_is_used_and_left_alone(tmp_path: Path) -> None:
    keeper = OciNode()
    try:
        await (await keeper.engine()).import_image(busybox_archive(tmp_path / "busybox.tar"))
        guest = OciNode(containerd_socket=str(keeper.directory / "e/containerd/containerd.sock"))
        try:
            engine = await guest.engine()
            assert [image.name for image in await engine.images()] == ["docker.io/library/busybox:latest"]
            wanted = config()
            await engine.create(wanted)
            await engine.start(wanted.id, 1, 0, guest.netns)
            await until_state(engine, wanted.id, ContainerState.RUNNING)
        finally:
            await guest.clear()
        assert (await (await keeper.engine()).describe()).image_store_up
    finally:
        await keeper.clear()


async def test_parts_that_are_not_installed_are_named() -> None:
    for options, words in (
        ({"runtime": "nope"}, "nope"),
        ({"conmon": "nope"}, "conmon"),
        ({"containerd": "nope"}, "image store"),
    ):
        node = OciNode(**options)
        with pytest.raises(Permanent, match=words):
            await node.engine()
        node.forget()
