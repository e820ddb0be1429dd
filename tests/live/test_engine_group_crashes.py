"""What is left of groups of containers after ends of all kinds, of the engine and of theirs: nothing."""

import asyncio
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from krater.agent.runtimes.interfaces import Group
from krater.agent.runtimes.oci import bundle, groups, syscalls
from krater.agent.runtimes.oci.cgroups import Version1, Version2, detect
from krater.agent.runtimes.oci.conmon import Conmon
from krater.agent.runtimes.oci.groups import Groups
from krater.agent.runtimes.oci.lifecycle import Lifecycle
from krater.agent.runtimes.oci.runtime import OciRuntime
from krater.agent.runtimes.oci.state import Shelf
from krater.errors import Permanent
from krater.model.assignment import ContainerState
from tests.support.engines import running, said_by_shell
from tests.support.oci import OciNode, config, group, member, until, until_state

pytestmark = pytest.mark.live

SOON = 20.0
MIB = 1 << 20


class Crash(BaseException):
    """Stands for our end at one point: nothing after it is done."""


STARTS = ("no space", "no namespace", "no shm", "before conmon", "after conmon", "before limits", "before the record")
REMOVALS = ("before clearing", "before the group", "before its control group", "before the files", "after the files")


def crash_in_start(patch: pytest.MonkeyPatch, point: str) -> None:
    create, mount = Conmon.create, syscalls.mount

    async def created(*arguments: object) -> None:
        await create(*arguments)  # type: ignore[arg-type]
        raise Crash

    def mounted(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
        if kind == ("tmpfs" if point == "no shm" else None):
            raise Crash
        mount(source, target, kind, flags, options)

    match point:
        case "no space":
            patch.setattr(groups, "_make_ipc", crash)
        case "no namespace" | "no shm":
            patch.setattr(syscalls, "mount", mounted)
        case "before conmon":
            patch.setattr(Conmon, "create", crash)
        case "after conmon":
            patch.setattr(Conmon, "create", created)
        case "before limits":
            patch.setattr(Groups, "limit", crash)
        case "before the record":
            patch.setattr(Lifecycle, "_launched", crash)


def crash(*_: object) -> None:
    raise Crash


def crash_in_removal(patch: pytest.MonkeyPatch, point: str) -> None:
    match point:
        case "before clearing":
            patch.setattr(bundle, "clear", crash)
        case "before the group":
            patch.setattr(Groups, "_let_go", crash)
        case "before its control group":
            for version in (Version1, Version2):
                patch.setattr(version, "remove_empty", crash)
        case "before the files":
            patch.setattr(bundle, "discard", crash)
        case "after the files":
            patch.setattr(Shelf, "forget", crash)


@pytest.mark.parametrize("point", STARTS)
async def test_a_start_broken_off_half_way_is_done_again_or_leaves_nothing(
    node: OciNode, engine: OciRuntime, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    gone, done, second = group(memory=64), group(memory=64), group(memory=64)
    broken = [member(of) for of in (gone, done, second)]
    await running(node, engine, member(second))
    with monkeypatch.context() as patch:
        for wanted in broken:
            await engine.create(wanted)
        crash_in_start(patch, point)
        for wanted in broken:
            if wanted.group != second or point not in ("no space", "no namespace", "no shm"):  # that is there already
                with pytest.raises(Crash):
                    await engine.start(wanted.id, 1, 0, node.netns)
    again = await node.crashed(engine)
    await again.remove(broken[0].id)
    assert not [path for path in node.left() if gone.id in path]
    for wanted in broken[1:]:
        await again.start(wanted.id, 1, 0, node.netns)
        assert (await until_state(again, wanted.id, ContainerState.RUNNING)).run == 1
        assert wanted.group is not None
        assert detect(node.cgroup).usage(wanted.group.id).memory_limit == 64 * MIB
    for container in await again.list():
        await again.remove(container)
    assert node.left() == []


@pytest.mark.parametrize("point", REMOVALS)
async def test_a_removal_broken_off_half_way_is_done_again(
    node: OciNode, engine: OciRuntime, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    ours, other = group(), group()
    last, stays = await running(node, engine, member(ours)), await running(node, engine, member(other))
    await running(node, engine, config())
    with monkeypatch.context() as patch:
        crash_in_removal(patch, point)
        with pytest.raises(Crash):
            await engine.remove(last)
    again = await node.crashed(engine)
    if point == "after the files":  # nobody will ask for it any more
        assert last not in await again.list()
    else:
        await again.remove(last)
    await until(lambda: not [path for path in node.left() if ours.id in path or last in path])
    assert await said_by_shell(again, stays, "touch /dev/shm/x; ls /dev/shm") == "x"
    for container in await again.list():
        await again.remove(container)
    assert node.left() == []


async def test_a_container_whose_files_were_wiped_leaves_nothing_and_costs_nobody_anything(
    node: OciNode, engine: OciRuntime
) -> None:
    ours, alone = group(), group()
    wiped, stays = [await running(node, engine, member(ours)) for _ in range(2)]
    only = await running(node, engine, member(alone))
    for container in (wiped, only):
        syscalls.umount(str(node.directory / "e/containers" / container / "rootfs"), syscalls.MNT_DETACH)
        shutil.rmtree(node.directory / "e/containers" / container)
    again = await node.crashed(engine)
    assert list(await again.list()) == [stays]
    for container in (wiped, only):
        await again.remove(container)
        await again.remove(container)
    assert not [path for path in node.left() if alone.id in path or wiped in path]
    assert await said_by_shell(again, stays, "touch /dev/shm/x; ls /dev/shm") == "x"
    await again.remove(stays)
    assert node.left() == []


async def test_one_that_cannot_start_takes_nobody_with_it(node: OciNode, engine: OciRuntime) -> None:
    ours = group()
    for wanted in (member(ours, ("nope",)), member(ours, ("nope",))):
        with pytest.raises(Permanent):
            await running(node, engine, wanted)
    stays = await running(node, engine, member(ours))
    for container in await engine.list():
        if container != stays:
            await engine.remove(container)
    assert await said_by_shell(engine, stays, "touch /dev/shm/x; ls /dev/shm") == "x"
    await engine.remove(stays)
    assert node.left() == []


async def test_no_other_view_of_the_machine_keeps_what_a_group_had(node: OciNode, engine: OciRuntime) -> None:
    stays, ours = await running(node, engine, config()), group()
    one, two = [await running(node, engine, member(ours)) for _ in range(2)]
    later = await running(node, engine, config())  # its monitor was started when the group was there
    assert views_of(ours.id)
    for container in (one, two):
        await engine.remove(container)
    assert views_of(ours.id) == []
    for container in (stays, later):
        await engine.remove(container)


def views_of(word: str) -> list[str]:
    """Mounts of any process of the machine that have this word in them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/mountinfo"):
        with suppress(OSError):
            found += [line for line in path.read_text().splitlines() if word in line]
    return found


async def test_groups_come_and_go_at_once_without_harm(node: OciNode, engine: OciRuntime) -> None:
    async def live(of: Group, delay: float) -> None:
        for _ in range(4):
            wanted = member(of)
            await engine.create(wanted)
            await engine.start(wanted.id, 1, 0, node.netns)
            await asyncio.sleep(delay)
            await engine.stop(wanted.id, 0)
            await engine.remove(wanted.id)

    shared = [group(0.5, 64) for _ in range(3)]
    await asyncio.gather(*(live(of, delay) for of in shared for delay in (0.0, 0.01, 0.03)))
    assert node.left() == []


_LIFE = """
import asyncio, sys
from dataclasses import replace
from uuid import uuid4
from krater.agent.runtimes.interfaces import Group
from krater.agent.runtimes.oci.runtime import OciOptions, OciRuntime
from tests.support.oci import config
directory, cgroup, netns = sys.argv[1:]

async def live():
    engine = OciRuntime(directory, OciOptions(cgroup_parent=cgroup))
    await engine.open()
    print("open", flush=True)
    while True:
        ours = Group(str(uuid4()), 0.5, 64)
        members = [replace(config(), group=ours) for _ in range(2)]
        await asyncio.gather(*(engine.create(one) for one in members))
        await asyncio.gather(*(engine.start(one.id, 1, 0, netns) for one in members))
        await engine.start_exec(members[0].id, ("sleep", "1000"), False)
        await asyncio.gather(*(engine.remove(one.id) for one in members[:1]))
        await asyncio.gather(*(engine.remove(one.id) for one in members[1:]))

asyncio.run(live())
"""


@pytest.mark.parametrize("lives", range(6))
async def test_nothing_is_left_after_a_sudden_end_whenever_it_comes(
    node: OciNode, engine: OciRuntime, lives: int
) -> None:
    arguments = [sys.executable, "-c", _LIFE, str(node.directory / "e"), node.cgroup, node.netns]
    for life in range(2):
        process = await asyncio.create_subprocess_exec(
            *arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, process_group=0
        )
        assert process.stdout is not None
        while await process.stdout.readline() != b"open\n":
            assert not process.stdout.at_eof()
        await asyncio.sleep(0.11 * lives + 0.037 * life)
        process.kill()
        await process.wait()
    again = await node.crashed(engine)
    for path in (node.directory / "e/containers").glob("[0-9a-f]*"):  # also one that was just being made
        await again.remove(path.name)
    with suppress(TimeoutError):
        await until(lambda: not node.left())  # trees that were being removed are, in the background
    assert node.left() == []
    await running(node, again, member(group()))


async def test_commands_of_a_killed_engine_end_in_a_group_too(node: OciNode, engine: OciRuntime) -> None:
    ours = group()
    one, two = [await running(node, engine, member(ours)) for _ in range(2)]
    mine = await engine.start_exec(one, ("sleep", "1001"), False)
    run = node.directory / "e/containers" / one / "run"
    await until(lambda: [path for path in run.glob("exec-*.pid") if path.read_text()])
    (file,) = run.glob("exec-*.pid")
    file.rename(run / f"exec-999999-1-{file.name.rpartition('-')[2]}")  # as one whose Krater is no more has left it
    again = await node.engine()
    assert [len((await again.top(container, "")).rows) for container in (one, two)] == [1, 1]
    await mine.close()
