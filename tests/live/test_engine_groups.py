"""Groups of containers on the real engine: what the kernel holds them to, and what they share."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from krater.agent.runtimes.oci.cgroups import Version1, detect
from krater.agent.runtimes.oci.crun import OciProgram
from krater.agent.runtimes.oci.runtime import OciRuntime
from krater.errors import Permanent
from krater.model.assignment import ContainerState
from krater.model.workload import Resources
from tests.support.engines import running, said_by_shell
from tests.support.images import busybox_archive
from tests.support.oci import OciNode, config, group, member, until

pytestmark = pytest.mark.live

SOON = 20.0
MIB = 1 << 20


def held_to(node: OciNode, name: str) -> tuple[int, int, int]:
    """What a control group is held to: microseconds of a tenth of a second (-1: no limit), shares, bytes of memory."""
    use = detect(node.cgroup)
    memory = use.usage(name).memory_limit
    if isinstance(use, Version1):
        directory = Path("/sys/fs/cgroup/cpu", node.cgroup, name)
        quota, shares = [int((directory / file).read_text()) for file in ("cpu.cfs_quota_us", "cpu.shares")]
        return quota, shares, memory
    directory = Path("/sys/fs/cgroup", node.cgroup, name)
    first = (directory / "cpu.max").read_text().split()[0]
    weight = int((directory / "cpu.weight").read_text())
    return -1 if first == "max" else int(first), 2 + (weight - 1) * 262142 // 9999, memory


def places_of(pid: int | None) -> set[str]:
    """The control groups of a process, in all hierarchies."""
    return {line.split(":", 2)[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()}


async def test_each_lies_in_the_control_group_of_all(node: OciNode, engine: OciRuntime) -> None:
    ours = group()
    for wanted in (member(ours), member(ours), config()):
        container = await running(node, engine, wanted)
        found = await engine.inspect(container)
        assert found is not None
        places = {place for place in places_of(found.pid) if node.cgroup in place}
        inner = f"{ours.id}/{container}" if wanted.group else container
        assert places == {f"/{node.cgroup}/{inner}"}


async def test_the_whole_is_limited_before_the_first_instruction_and_again_at_each_start(
    node: OciNode, engine: OciRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, release = group(cpu=0.5, memory=64), OciProgram.release
    limits: list[tuple[int, int, int]] = []

    def held(program: OciProgram, container: str) -> bool:
        limits.append(held_to(node, ours.id))
        return release(program, container)

    monkeypatch.setattr(OciProgram, "release", held)
    await running(node, engine, member(ours))
    detect(node.cgroup).limit(ours.id, 0, 0)
    await running(node, engine, member(ours))
    assert [limit[0::2] for limit in limits] == [(50_000, 64 * MIB)] * 2
    assert limits[0][1] == pytest.approx(512, abs=30)  # version 2 counts in coarser steps


async def test_each_has_its_share_and_its_own_limits_if_any(node: OciNode, engine: OciRuntime) -> None:
    ours = group(cpu=1.0, memory=128)
    free = await running(node, engine, member(ours, cpu=0.5, memory=16))
    bound = await running(node, engine, member(ours, cpu=2.0, limits=Resources(0.25, 32)))
    most = await running(node, engine, member(ours, limits=Resources(4.0, 0)))  # of which it will never see more than 1

    def told(container: str) -> tuple[int, int, int]:
        return held_to(node, f"{ours.id}/{container}")

    assert told(free)[0::2] == (-1, 0)
    assert told(free)[1] == pytest.approx(512, abs=30)
    assert told(bound)[0::2] == (25_000, 32 * MIB)
    assert told(bound)[1] == pytest.approx(2048, abs=30)
    assert told(most)[0::2] == (100_000, 0)
    await engine.update(bound, 3.0, 48)
    assert told(bound)[0::2] == (100_000, 48 * MIB)
    assert told(bound)[1] == pytest.approx(2048, abs=30)
    await engine.update(bound, 0.0, 0)
    await engine.stop(bound, 0)
    await engine.start(bound, 2, 0, node.netns)
    assert told(bound)[0::2] == (-1, 0)


async def test_what_is_too_small_for_anything_is_refused(engine: OciRuntime) -> None:
    for wanted in (member(group(memory=4)), member(group(), limits=Resources(1, 4))):
        with pytest.raises(Permanent, match="4 MiB of memory are too few"):
            await engine.create(wanted)
    await engine.create(member(group(), memory=4))  # that is nothing it is held to


async def test_what_one_writes_in_shm_counts_for_all(node: OciNode, engine: OciRuntime) -> None:
    ours = group(memory=32)
    one, two = [await running(node, engine, member(ours)) for _ in range(2)]
    await said_by_shell(engine, one, "head -c 20000000 /dev/zero > /dev/shm/large")
    await engine.stop(one, 0)
    assert await said_by_shell(engine, two, "stat -c %s /dev/shm/large") == "20000000"
    found = await engine.exec(two, ("sh", "-c", "head -c 30000000 /dev/zero > /dev/shm/more"), SOON, 1000)
    assert found.exit_code == 137
    await until(lambda: is_told(engine, two))
    for container in (one, two):
        await engine.remove(container)
    assert node.left() == []


async def is_told(engine: OciRuntime, container: str) -> bool:
    """Whether it runs, and is said to have run out of memory."""
    found = await engine.inspect(container)
    return found is not None and found.state is ContainerState.RUNNING and found.oom_killed


async def test_what_is_shared_is_all_there_is_of_ipc(node: OciNode, engine: OciRuntime) -> None:
    ours = group()
    one, two = [await running(node, engine, member(ours)) for _ in range(2)]
    lone = await running(node, engine, config())
    space = node.directory / "e/groups" / ours.id / "ipc"
    entered = await asyncio.create_subprocess_exec(
        "nsenter", f"--ipc={space}", "ipcmk", "-M", "4096", stdout=subprocess.DEVNULL
    )
    assert await entered.wait() == 0
    await said_by_shell(engine, one, "touch /dev/mqueue/queue")
    for container, expected in ((one, "queue 2"), (two, "queue 2"), (lone, "1")):
        assert await said_by_shell(engine, container, "echo $(ls /dev/mqueue) $(wc -l < /proc/sysvipc/shm)") == expected
    mounted = await said_by_shell(engine, two, "grep ' /dev/shm ' /proc/mounts")
    assert all(f",{word}" in mounted for word in ("nosuid", "nodev", "noexec", "size=65536k"))
    assert mounted.split()[3].startswith("rw,")
    assert await said_by_shell(engine, two, "stat -c %a /dev/shm; df /dev/shm | wc -l") == "1777\n2"
    assert [await said_by_shell(engine, container, "hostname") for container in (one, two)] == ["box", "box"]


async def test_runc_does_as_well(tmp_path: Path) -> None:
    node = OciNode(runtime="runc")
    try:
        engine = await node.engine()
        await engine.import_image(busybox_archive(tmp_path / "busybox.tar"))
        ours = group(cpu=0.5, memory=64)
        one, two = [await running(node, engine, member(ours, limits=Resources(1.0, 32))) for _ in range(2)]
        assert held_to(node, ours.id)[0::2] == (50_000, 64 * MIB)
        await said_by_shell(engine, one, "touch /dev/shm/hello /dev/mqueue/queue")
        assert await said_by_shell(engine, two, "ls /dev/shm /dev/mqueue | grep -c -e hello -e queue") == "3"
        await engine.remove(one)
        assert await said_by_shell(engine, two, "ls /dev/shm") == "hello"
        await engine.remove(two)
        assert node.left() == []
    finally:
        await node.clear()
