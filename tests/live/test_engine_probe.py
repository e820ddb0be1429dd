"""The OCI runtime is tried before it is trusted; and the unified hierarchy of control groups, as far as it is here."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
import structlog

from krater.agent.runtimes.oci import crun
from krater.agent.runtimes.oci.cgroups import Version2
from krater.errors import Temporary
from tests.support.images import busybox_archive
from tests.support.oci import OciNode, config
from tests.support.server import eventually

pytestmark = pytest.mark.live

UNIFIED = next(path for path in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup") if os.path.exists(f"{path}/cgroup.procs"))


@pytest.fixture
def broken_crun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A crun that is installed, tells its version and refuses this host."""
    program = tmp_path / "bin" / "crun"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        '[ "$1" = --version ] && echo "crun version 0.0.1" && exit 0\n'
        'echo "cgroups v0 not supported" >&2; exit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


async def test_runc_stands_in_for_a_crun_that_does_not_work(broken_crun: Path, tmp_path: Path) -> None:
    node = OciNode()
    try:
        with structlog.testing.capture_logs() as said:
            engine = await node.engine()
        assert (await engine.describe()).runtimes == ("runc",)
        warning = next(entry for entry in said if entry["log_level"] == "warning")
        assert warning["runtime"] == "runc"
        assert warning["because"] == "crun does not work on this host: cgroups v0 not supported"
        await engine.import_image(busybox_archive(tmp_path / "busybox.tar"))
        wanted = config()
        await engine.create(wanted)
        await engine.start(wanted.id, 1, 0, node.netns)
        await engine.remove(wanted.id)
        assert (node.processes(), node.mounts(), node.groups()) == ([], [], [])
    finally:
        await node.clear()


async def test_a_runtime_that_was_asked_for_is_not_replaced(broken_crun: Path) -> None:
    node = OciNode(runtime=str(broken_crun))
    try:
        with pytest.raises(Temporary, match="crun does not work on this host: cgroups v0 not supported"):
            await node.engine()
    finally:
        node.forget()


@pytest.mark.parametrize("name", crun.KNOWN)
async def test_trying_one_leaves_nothing(name: str) -> None:
    node = OciNode(runtime=name)
    try:
        engine = await node.engine()
        assert (await engine.describe()).runtimes == (name,)
        assert node.groups() == []
        assert list((node.directory / "e/crun").iterdir()) == []
    finally:
        await node.clear()


def _stands_still(pid: int) -> bool:
    """Whether it uses no processor for a while. The time of the moment in which it was frozen may be counted late."""
    before = _ticks(pid)
    time.sleep(0.2)
    return _ticks(pid) == before


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


class TestUnifiedHierarchy:
    """The real one, also on hosts where controllers are elsewhere: killing, freezing and removing need none."""

    @pytest.fixture
    def parent(self) -> Iterator[Path]:
        made = Path(UNIFIED, f"krater-test-{uuid4().hex[:8]}")
        made.mkdir()
        yield made
        Version2(str(made.parent)).kill(made.name)
        Version2(str(made.parent)).remove(made.name)

    @pytest.fixture
    def sleepers(self, parent: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
        """One process in a container's group, one in a group below that."""
        found = []
        for group in (parent / "c", parent / "c" / "inner"):
            group.mkdir()
            found.append(subprocess.Popen(["sleep", "1000"]))
            (group / "cgroup.procs").write_text(str(found[-1].pid))
        yield found
        for one in found:
            one.kill()
            one.wait()

    def test_all_of_a_group_is_killed_and_the_group_removed(
        self, parent: Path, sleepers: list[subprocess.Popen[bytes]]
    ) -> None:
        groups = Version2(str(parent))
        assert sorted(groups.pids("c")) == sorted(one.pid for one in sleepers)
        groups.kill("c")
        assert groups.pids("c") == []
        assert [one.wait() for one in sleepers] == [-9, -9]
        groups.remove("c")
        assert not (parent / "c").exists()
        groups.kill("c")
        groups.remove("c")

    def test_a_frozen_group_stands_still_and_can_be_killed(
        self, parent: Path, sleepers: list[subprocess.Popen[bytes]]
    ) -> None:
        groups = Version2(str(parent))
        with subprocess.Popen(["sh", "-c", "while :; do :; done"]) as busy, ExitStack() as stack:
            stack.callback(busy.kill)  # else a failure would wait for it
            (parent / "c" / "cgroup.procs").write_text(str(busy.pid))
            assert not groups.frozen("c")
            groups.freeze("c", True)
            assert groups.frozen("c")
            inner = parent / "c" / "inner" / "cgroup.events"
            eventually(lambda: "frozen 1" in inner.read_text(), what="a group within that is frozen too")
            eventually(lambda: _stands_still(busy.pid), what="a process that stands still")
            before = _ticks(busy.pid)
            groups.freeze("c", False)
            assert not groups.frozen("c")
            eventually(lambda: _ticks(busy.pid) > before, what="a process that goes on")
            groups.freeze("c", True)
            groups.kill("c")
            assert [one.wait() for one in (busy, *sleepers)] == [-9] * 3

    def test_a_group_goes_when_there_is_none_in_it(self, parent: Path, sleepers: list[subprocess.Popen[bytes]]) -> None:
        groups = Version2(str(parent))
        assert groups.find("inner") == "c/inner"
        assert not groups.remove_empty("c")
        groups.kill("c/inner")
        groups.remove("c/inner")
        assert groups.find("inner") == "inner"
        assert not groups.remove_empty("c")  # something runs in it
        assert groups.pids("c") == [sleepers[0].pid]
        groups.kill("c")
        eventually(lambda: groups.remove_empty("c"), what="a group that is gone")
        assert not (parent / "c").exists()
        assert groups.remove_empty("c")

    def test_what_a_group_without_controllers_does_not_count_is_nothing(
        self, parent: Path, sleepers: list[subprocess.Popen[bytes]]
    ) -> None:
        groups = Version2(str(parent))
        used = groups.usage("c")
        assert used.cpu >= 0
        assert (used.read, used.written) == (0, 0) or os.path.exists(parent / "c" / "io.stat")
        assert groups.oom_kills("c") == 0
