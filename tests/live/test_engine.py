"""The real engine doing what only a real one can: exit codes, limits, isolation, and nothing left behind."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from krater.agent.runtimes.interfaces import Mount
from krater.agent.runtimes.oci import syscalls
from krater.agent.runtimes.oci.runtime import OciRuntime
from krater.errors import Conflict, Invalid, Permanent, Temporary
from krater.model.assignment import ContainerState, ObservedContainer
from tests.support.engines import exited, running
from tests.support.images import (
    busybox_layer,
    configuration,
    docker_members,
    small_layer,
    write_archive,
)
from tests.support.oci import OciNode, config, until

pytestmark = pytest.mark.live

SOON = 10.0


async def shell(node: OciNode, engine: OciRuntime, script: str, **more: object) -> tuple[str, ObservedContainer]:
    """What a script prints, and how its container ended."""
    wanted = config(("sh", "-c", script), **more)  # type: ignore[arg-type]
    container = await running(node, engine, wanted)
    found = await exited(engine, container)
    return "\n".join(log_lines(engine, container)), found


def log_lines(engine: OciRuntime, container: str) -> list[str]:
    text = Path(engine.log_path(container)).read_text()
    return [line.split(" ", 3)[3] for line in text.splitlines()]


async def test_nothing_is_left_of_a_removed_container_but_its_log(node: OciNode, engine: OciRuntime) -> None:
    states = [config() for _ in range(3)] + [config(("sh", "-c", "echo gone; touch /tmp/x /etc/y"))]
    for wanted in states:
        await engine.create(wanted)
    for wanted in states[1:]:
        await engine.start(wanted.id, 1, 0, node.netns)
    await engine.pause(states[2].id)
    await exited(engine, states[3].id)
    for wanted in states:
        await engine.remove(wanted.id)
    assert (node.processes(), node.mounts(), node.groups()) == ([], [], [])
    assert os.listdir(node.directory / "e/containers") == []
    assert os.listdir(node.directory / "e/crun") == []
    assert log_lines(engine, states[3].id) == ["gone"]


async def test_a_program_that_ends_with_a_code_or_a_signal(node: OciNode, engine: OciRuntime) -> None:
    assert (await shell(node, engine, "exit 7"))[1].exit_code == 7
    assert (await shell(node, engine, "sh -c 'kill -9 $$'; exit $?"))[1].exit_code == 137


async def test_a_stop_signal_that_is_handled_is_waited_for(node: OciNode, engine: OciRuntime) -> None:
    container = await running(
        node, engine, config(("sh", "-c", "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done"))
    )
    await until(lambda: log_lines(engine, container))
    await engine.pause(container)
    await engine.stop(container, SOON)
    found = await engine.inspect(container)
    assert found is not None
    assert found.exit_code == 5
    assert log_lines(engine, container) == ["ready", "bye"]


async def test_a_program_that_would_not_notice_is_not_waited_for(node: OciNode, engine: OciRuntime) -> None:
    container = await running(node, engine, config())
    async with asyncio.timeout(2):
        await engine.stop(container, 60)


async def test_too_much_memory_kills_and_is_told(node: OciNode, engine: OciRuntime) -> None:
    _, found = await shell(node, engine, "head -c 50000000 /dev/zero | tail >/dev/null; exit $?", memory=16)
    assert found.oom_killed


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("nope",), "no such program"),
        (("/no/such",), "no such program"),
        (("/etc/passwd",), "not an executable"),
        (("/bin/junk",), "cannot run on this machine"),
        (("/bin/lost",), "interpreter"),
    ],
)
async def test_what_cannot_start_is_explained(
    node: OciNode, engine: OciRuntime, tmp_path: Path, command: tuple[str, ...], words: str
) -> None:
    layers = [busybox_layer(), small_layer({"bin/junk": (0o755, b"\0junk"), "bin/lost": (0o755, b"#!/no/such\n")})]
    members = docker_members("junk:1", layers, configuration(layers))
    await engine.import_image(write_archive(tmp_path / "junk.tar", members))
    wanted = config(command, image="junk:1")
    await engine.create(wanted)
    with pytest.raises(Permanent, match=words):
        await engine.start(wanted.id, 1, 0, node.netns)
    found = await engine.inspect(wanted.id)
    assert found is not None
    assert found.error is not None
    assert words in found.error
    assert ".c:" not in found.error
    assert node.groups() == []


async def test_impossible_wishes_are_refused(node: OciNode, engine: OciRuntime, tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="memory"):
        await engine.create(config(memory=1))
    wanted = config(("true",), workdir="/etc/passwd")
    await engine.create(wanted)
    with pytest.raises(Permanent, match="working directory"):
        await engine.start(wanted.id, 1, 0, node.netns)
    wanted = config(("true",))
    await engine.create(wanted)
    (tmp_path / "unmounted").touch()
    for gone in ("/run/netns/gone", str(tmp_path / "unmounted")):
        with pytest.raises(Temporary, match="namespace"):
            await engine.start(wanted.id, 1, 0, gone)


async def test_a_container_sees_what_it_was_given(node: OciNode, engine: OciRuntime, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v/file").write_text("volume\n")
    mounted = (Mount(str(tmp_path / "v"), "/data"), Mount(str(tmp_path / "v"), "/data/inner/ro", read_only=True))
    script = "cat /data/file; touch /data/new; touch /data/inner/ro/x 2>/dev/null || echo refused"
    script += "; hostname; pwd; echo $GREETING"
    script += (
        "; cat /etc/resolv.conf; tail -n1 /etc/hosts; ulimit -c; df /dev/shm | tail -n1 | tr -s ' ' | cut -d' ' -f2"
    )
    text, _ = await shell(node, engine, script, mounted=mounted, environment={"GREETING": "hi"}, workdir="/made/for/me")
    assert text.splitlines() == [
        "volume", "refused", "box", "/made/for/me", "hi",
        "nameserver 192.0.2.1", "search example.test", "192.0.2.7\tfriend", "0", "65536",
    ]  # fmt: skip
    assert (tmp_path / "v/new").exists()


async def test_a_volume_mounted_later_is_seen(node: OciNode, engine: OciRuntime, tmp_path: Path) -> None:
    await shell(node, engine, "true")
    volume = tmp_path / "later"
    volume.mkdir()
    syscalls.mount("tmpfs", str(volume), "tmpfs", 0, "size=1m")
    try:
        (volume / "file").write_text("there\n")
        for _ in range(2):
            text, _ = await shell(node, engine, "cat /v/file", mounted=(Mount(str(volume), "/v"),))
            assert text == "there"
    finally:
        for container in await engine.list():
            await engine.remove(container)
        syscalls.umount(str(volume), syscalls.MNT_DETACH)


async def test_a_container_is_locked_in(node: OciNode, engine: OciRuntime) -> None:
    script = """
        grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\t'
        mknod /dev/sda b 8 0 2>/dev/null || echo no-mknod
        mount -t tmpfs x /mnt 2>/dev/null || echo no-mount
        unshare -m true 2>/dev/null || echo no-unshare
        (echo 1 > /proc/sys/kernel/panic) 2>/dev/null || echo no-sysctl
        cat /proc/kcore 2>/dev/null | wc -c
        f=$(ls /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/pids/cgroup.procs 2>/dev/null | head -n1)
        (echo 1 > $f) 2>/dev/null || echo no-cgroup
        cat /proc/sys/net/ipv4/ping_group_range
    """
    text, _ = await shell(node, engine, script)
    assert text.split() == [
        "CapEff:00000000800425fb", "CapBnd:00000000800425fb", "NoNewPrivs:1", "Seccomp:2", "no-mknod", "no-mount",
        "no-unshare", "no-sysctl", "0", "no-cgroup", "0", "2147483647",
    ]  # fmt: skip


async def test_an_image_runs_as_its_own_user(node: OciNode, engine: OciRuntime, tmp_path: Path) -> None:
    layers = [busybox_layer()]
    for user, expected in (("www", "uid=33(www) gid=33(www) groups=44(extra)"), ("99:44", "uid=99 gid=44(extra)")):
        members = docker_members(
            "user:1", layers, configuration(layers, User=user, Entrypoint=["sh", "-c"], Cmd=["id"])
        )
        await engine.import_image(write_archive(tmp_path / "user.tar", members))
        container = await running(node, engine, config(None, image="user:1"))
        await exited(engine, container)
        assert log_lines(engine, container)[0].startswith(expected)
        held = "grep CapEff /proc/self/status"
        assert (await shell(node, engine, held, image="user:1", entrypoint=("sh", "-c", held)))[0].endswith("0" * 16)


async def test_a_users_file_that_is_a_link_out_of_the_image_is_not_followed(
    node: OciNode, engine: OciRuntime, tmp_path: Path
) -> None:
    layers = [busybox_layer(), small_layer({"etc/passwd": (0o644, b"")})]
    members = docker_members("user:2", layers, configuration(layers, User="games"))
    await engine.import_image(write_archive(tmp_path / "user.tar", members))
    wanted = config(("true",), image="user:2")
    await engine.create(wanted)
    upper = node.directory / "e/containers" / wanted.id / "upper"
    (upper / "etc").mkdir()
    (upper / "etc/passwd").symlink_to("/../../../../../../../../etc/passwd")  # the host's own does have games
    with pytest.raises(Permanent, match="games"):
        await engine.start(wanted.id, 1, 0, node.netns)


@pytest.mark.parametrize("place", ["proc", "sys", "dev"])
async def test_no_link_of_an_image_leads_a_mount_over_what_is_the_kernels(
    node: OciNode, engine: OciRuntime, tmp_path: Path, place: str
) -> None:
    (source := tmp_path / "volume").mkdir()
    (source / "false").touch()
    script = f"ls /{place}/false; grep -c . /proc/self/mountinfo >/dev/null && echo genuine; ls /sys/kernel /dev/null"
    wanted = config(("sh", "-c", script), mounted=(Mount(str(source), "/away"),))
    await engine.create(wanted)
    (node.directory / "e/containers" / wanted.id / "upper" / "away").symlink_to(f"/{place}")
    await engine.start(wanted.id, 1, 0, node.netns)
    await exited(engine, wanted.id)
    lines = "\n".join(log_lines(engine, wanted.id))
    assert f"/{place}/false: No such file" in lines
    assert "genuine" in lines
    assert "/dev/null" in lines
    assert "sys/kernel: No such" not in lines


async def test_limits_are_those_asked_for(node: OciNode, engine: OciRuntime) -> None:
    container = await running(node, engine, config(("sh", "-c", "while :; do :; done"), cpu=0.25))
    await engine.stats(container)
    await asyncio.sleep(1.0)
    assert (await engine.stats(container)).cpu_percent < 40
    await engine.update(container, 0.1, 32)
    await engine.stats(container)
    await asyncio.sleep(1.0)
    found = await engine.stats(container)
    assert found.cpu_percent < 20
    assert found.memory_limit == 32 << 20


async def test_a_limit_below_what_is_in_use_is_refused(node: OciNode, engine: OciRuntime) -> None:
    script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=30 2>/dev/null; echo full; exec sleep 1000"
    container = await running(node, engine, config(("sh", "-c", script)))
    await until(lambda: log_lines(engine, container))
    with pytest.raises(Temporary, match="more than 8 MiB"):
        await engine.update(container, 1, 8)
    found = await engine.inspect(container)
    assert found is not None
    assert (found.state, found.memory) == (ContainerState.RUNNING, 64)


async def test_exec_has_the_same_rights_and_says_what_is_wrong(node: OciNode, engine: OciRuntime) -> None:
    container = await running(node, engine, config(environment={"A": "b"}))
    found = await engine.exec(container, ("sh", "-c", "echo $A; grep Seccomp: /proc/self/status; exit 9"), SOON, 1000)
    assert (found.output, found.exit_code) == (b"b\nSeccomp:\t2\n", 9)
    assert (await engine.exec(container, ("nope",), SOON, 1000)).exit_code == 127
    assert (await engine.exec(container, ("/etc/passwd",), SOON, 1000)).exit_code == 126
    with pytest.raises(Invalid):
        await engine.exec(container, (), SOON, 1000)
    await engine.pause(container)
    with pytest.raises(Conflict):
        await engine.exec(container, ("true",), SOON, 1000)


async def test_a_command_that_takes_too_long_leaves_no_process(node: OciNode, engine: OciRuntime) -> None:
    container = await running(node, engine, config())

    async def lose(patience: float) -> None:
        with pytest.raises(Conflict):
            await engine.exec(container, ("sh", "-c", "sleep 200 & sleep 300"), patience, 100)

    for thousandths in range(1, 31):
        await asyncio.gather(*(lose(thousandths / 1000) for _ in range(4)))
    await asyncio.gather(lose(0.3), lose(1.0))

    async def is_alone() -> bool:
        rows = (await engine.top(container, "-o stat,args")).rows
        return [args for stat, args in rows if "Z" not in stat] == ["sleep 1000"]

    await until(is_alone)
    run = node.directory / "e/containers" / container / "run"
    assert sorted(os.listdir(run)) == ["pid"]


async def test_an_interactive_container_keeps_its_input_open(node: OciNode, engine: OciRuntime) -> None:
    container = await running(node, engine, config(("cat",), interactive=True))
    terminal = await running(node, engine, config(("sh", "-c", "tty; sleep 1000"), interactive=True, tty=True))
    await asyncio.sleep(0.3)
    for name in (container, terminal):
        found = await engine.inspect(name)
        assert found is not None
        assert found.state is ContainerState.RUNNING
        assert (node.directory / "e/containers" / name / "bundle/attach").is_socket()
    assert log_lines(engine, terminal) == ["/dev/pts/0"]


async def test_a_container_signalled_by_number(node: OciNode, engine: OciRuntime) -> None:
    container = await running(node, engine, config(("sh", "-c", "trap 'exit 4' USR1; while :; do sleep 0.05; done")))
    await asyncio.sleep(0.2)
    await engine.signal(container, signal.SIGUSR1)
    assert (await exited(engine, container)).exit_code == 4
    with pytest.raises(Invalid):
        await engine.signal(container, 999)
